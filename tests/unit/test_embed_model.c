// A model directory loaded by a program that embeds Muster: predictions computed by hand, any number of examples, and
// what is said of directories that are not whole.
#include "muster/model.h"

#include "base/alloc.h"
#include "ckpt/model_dir.h"
#include "data_files.h"
#include "tfio/tf_types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

// 3 inputs, relu(x w + b) with 2 outputs, and a dropout that predictions leave out.
static const char model_json[] =
    "{\"module\": \"keras\", \"class_name\": \"Sequential\", \"config\": {\"name\": \"s\", \"layers\": ["
    "{\"module\": \"keras.layers\", \"class_name\": \"InputLayer\", \"config\": {\"batch_shape\": [null, 3], "
    "\"dtype\": "
    "\"float32\", \"name\": \"in\"}},"
    "{\"module\": \"keras.layers\", \"class_name\": \"Dense\", \"config\": {\"name\": \"dense\", \"units\": 2, "
    "\"activation\": "
    "\"relu\", \"use_bias\": true}},"
    "{\"module\": \"keras.layers\", \"class_name\": \"Dropout\", \"config\": {\"name\": \"drop\", \"rate\": 0.5}}]}}";

static const float kernel[6] = {1, -1, 2, 0.5f, -3, 4};
static const float bias[2] = {0.25f, -0.5f};

static char *folder;
static char *dir;

static int set_up(void **state)
{
    (void)state;
    folder = data_folder_new();
    dir = mst_text("%s/model", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(dir);
    data_folder_free(folder);
    return 0;
}

static void write_model_of(const char *text, size_t n_values)
{
    struct mst_checkpoint_value values[] = {{{"dense/kernel", MST_TF_FLOAT, {2, {3, 2}}, 0, 0}, kernel},
                                            {{"dense/bias", MST_TF_FLOAT, {1, {2}}, 0, 0}, bias}};
    struct mst_bytes json = {text, strlen(text)};
    assert_int_equal(mst_model_dir_write(dir, json, values, n_values, NULL), MST_OK);
}

static void write_model(size_t n_values)
{
    write_model_of(model_json, n_values);
}

static float expected(const float *x, size_t column)
{
    float sum = 0;
    for (size_t i = 0; i < 3; i++)
        sum += x[i] * kernel[2 * i + column];
    sum += bias[column];
    return sum > 0 ? sum : 0;
}

static void test_predicts_any_number_of_examples(void **state)
{
    (void)state;
    write_model(2);
    struct mst_loaded_model_options options = {.max_batch = 4, .n_threads = 1};
    struct mst_loaded_model *model;
    struct mst_error err;
    assert_int_equal(mst_loaded_model_open(dir, &options, &model, &err), MST_OK);
    assert_int_equal(mst_loaded_model_n_inputs(model), 3);
    assert_int_equal(mst_loaded_model_n_outputs(model), 2);
    for (size_t n = 0; n <= 11; n++) {
        float inputs[33];
        float outputs[22];
        for (size_t i = 0; i < 3 * n; i++)
            inputs[i] = (float)((int)(i * 7 % 11) - 5);
        assert_int_equal(mst_loaded_model_predict(model, inputs, n, outputs, &err), MST_OK);
        for (size_t i = 0; i < 2 * n; i++)
            assert_true(outputs[i] == expected(inputs + 3 * (i / 2), i % 2)); // small whole numbers: exact
    }
    mst_loaded_model_free(model);
}

// A row of two inputs, one after the other, gives a row of two outputs.
static void test_several_inputs_and_outputs(void **state)
{
    (void)state;
    write_model_of("{\"class_name\":\"Functional\",\"config\":{\"name\":\"m\",\"layers\":["
                   "{\"class_name\":\"InputLayer\",\"config\":{\"name\":\"a\",\"batch_shape\":[null,1]},"
                   "\"inbound_nodes\":[]},{\"class_name\":\"InputLayer\",\"config\":{\"name\":\"b\","
                   "\"batch_shape\":[null,2]},\"inbound_nodes\":[]},{\"class_name\":\"Concatenate\","
                   "\"config\":{\"name\":\"c\"},\"inbound_nodes\":[[[\"a\",0,0,{}],[\"b\",0,0,{}]]]},"
                   "{\"class_name\":\"Dense\",\"config\":{\"name\":\"dense\",\"units\":2,\"activation\":"
                   "\"relu\"},\"inbound_nodes\":[[[\"c\",0,0,{}]]]}],\"input_layers\":[[\"a\",0,0],"
                   "[\"b\",0,0]],\"output_layers\":[[\"c\",0,0],[\"dense\",0,0]]}}",
                   2);
    struct mst_loaded_model_options options = {.max_batch = 2, .n_threads = 1};
    struct mst_loaded_model *model;
    struct mst_error err;
    assert_int_equal(mst_loaded_model_open(dir, &options, &model, &err), MST_OK);
    assert_int_equal(mst_loaded_model_n_inputs(model), 3);
    assert_int_equal(mst_loaded_model_n_outputs(model), 5);
    float inputs[9] = {1, 2, 3, -4, 5, -6, 7, 8, -9};
    float outputs[15];
    assert_int_equal(mst_loaded_model_predict(model, inputs, 3, outputs, &err), MST_OK);
    for (size_t r = 0; r < 3; r++) {
        for (size_t i = 0; i < 3; i++)
            assert_true(outputs[5 * r + i] == inputs[3 * r + i]);
        for (size_t i = 0; i < 2; i++)
            assert_true(outputs[5 * r + 3 + i] == expected(inputs + 3 * r, i));
    }
    mst_loaded_model_free(model);
}

static void test_says_what_is_missing(void **state)
{
    (void)state;
    struct mst_loaded_model *model;
    struct mst_error err;
    assert_int_equal(mst_loaded_model_open(dir, NULL, &model, &err), MST_NOT_FOUND);
    assert_non_null(strstr(err.text, dir));
    assert_null(model);
    write_model(1);
    assert_int_equal(mst_loaded_model_open(dir, NULL, &model, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "dense/bias"));
    assert_null(model);
    mst_loaded_model_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_predicts_any_number_of_examples, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_several_inputs_and_outputs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_says_what_is_missing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
