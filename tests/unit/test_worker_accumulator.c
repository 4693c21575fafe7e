// The mean of several batches' gradients, each by its weight: the bits that a round makes of as many contributions.
#include "worker/accumulator.h"

#include "optim/weighted_sum.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

// Variables 0 and 1 are frozen; 2 is a kernel (2, 3), 3 a bias (3).
static const char model_json[] =
    "{\"module\": \"keras\", \"class_name\": \"Sequential\", \"config\": {\"name\": \"s\", \"layers\": ["
    "{\"module\": \"keras.layers\", \"class_name\": \"InputLayer\", \"config\": {\"batch_shape\": [null, 3], "
    "\"dtype\": \"float32\", \"name\": \"in\"}},"
    "{\"module\": \"keras.layers\", \"class_name\": \"Dense\", \"config\": {\"name\": \"frozen\", \"units\": 2, "
    "\"trainable\": false}},"
    "{\"module\": \"keras.layers\", \"class_name\": \"Dense\", \"config\": {\"name\": \"dense\", \"units\": 3}}]}}";

enum { KERNEL = 2, BIAS = 3, N = 6 };

static const float batches[3][N] = {{0.1f, -2.5f, 3e-7f, 1e8f, 0, 1.0f / 3},
                                    {7.7f, 1.5f, -3e-7f, 3e7f, 0, 2.0f / 3},
                                    {-0.3f, 1.0f, 5e-8f, -1e8f, 0, 1e-3f}};
static const double weights[3] = {64, 64, 17};

static struct mst_model *model;
static struct mst_accumulator *accumulator;

static int set_up(void **state)
{
    (void)state;
    struct mst_bytes text = {model_json, strlen(model_json)};
    return mst_model_parse(text, "model.json", &model, NULL) == MST_OK &&
                   mst_accumulator_new(model, &accumulator, NULL) == MST_OK
               ? 0
               : -1;
}

static int tear_down(void **state)
{
    (void)state;
    mst_accumulator_free(accumulator);
    mst_model_free(model);
    return 0;
}

static void test_mean_of_three(void **state)
{
    (void)state;
    float sum[N], mean[N];
    for (size_t b = 0; b < 3; b++)
        mst_weighted_sum_add((float)weights[b], batches[b], b == 0, sum, N);
    mst_weighted_sum_mean(64 + 64 + 17, sum, mean, N);
    for (size_t again = 0; again < 2; again++) { // what the unit before left behind does not matter
        float kernel[N], bias[3];
        mst_accumulator_begin(accumulator, 3);
        for (size_t b = 0; b < 3; b++) {
            memcpy(kernel, batches[b], sizeof kernel);
            memcpy(bias, batches[b], sizeof bias);
            mst_accumulator_next(accumulator, weights[b]);
            assert_int_equal(mst_accumulator_add(accumulator, BIAS, bias), b == 2);
            assert_int_equal(mst_accumulator_add(accumulator, KERNEL, kernel), b == 2);
        }
        assert_memory_equal(kernel, mean, sizeof kernel);
        assert_memory_equal(bias, mean, sizeof bias);
        assert_true(mst_accumulator_weight(accumulator) == 145.0);
    }
}

static void test_one_is_taken_as_it_is(void **state)
{
    (void)state;
    float kernel[N];
    memcpy(kernel, batches[2], sizeof kernel);
    mst_accumulator_begin(accumulator, 1);
    mst_accumulator_next(accumulator, weights[2]);
    assert_true(mst_accumulator_add(accumulator, KERNEL, kernel));
    assert_memory_equal(kernel, batches[2], sizeof kernel);
    assert_true(mst_accumulator_weight(accumulator) == 17.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_mean_of_three, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_is_taken_as_it_is, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
