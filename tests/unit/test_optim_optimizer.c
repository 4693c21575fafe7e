// What an optimizer computes: Keras's formulas with hand-checked numbers, bias correction far into a training, in place
// and out of place, by name of slot.
#include "base/alloc.h"
#include "muster/status.h"
#include "optim/optimizer.h"
#include "tests/lib/tensors_equal.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct mst_optimizer *optimizer_of(const char *text)
{
    struct mst_error err = {0};
    struct mst_optimizer *optimizer;
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    if (mst_optimizer_parse(json, "compile.optimizer", &optimizer, &err) != MST_OK)
        fail_msg("%s: %s", text, err.text);
    json_decref(json);
    return optimizer;
}

static void check_slots(const char *text, const char *name, size_t n, ...)
{
    struct mst_optimizer *optimizer = optimizer_of(text);
    va_list names;
    assert_string_equal(mst_optimizer_name(optimizer), name);
    assert_int_equal(mst_optimizer_n_slots(optimizer), n);
    va_start(names, n);
    for (size_t s = 0; s < n; s++) {
        assert_string_equal(mst_optimizer_slot_name(optimizer, s), va_arg(names, const char *));
        assert_true(mst_optimizer_slot_initial(optimizer, s) == 0.0f);
    }
    va_end(names);
    mst_optimizer_free(optimizer);
}

static void test_slots(void **state)
{
    (void)state;
    check_slots("\"sgd\"", "SGD", 0);
    check_slots("{\"class_name\":\"SGD\",\"config\":{\"momentum\":0.0,\"nesterov\":true}}", "SGD", 0);
    check_slots("{\"class_name\":\"SGD\",\"config\":{\"momentum\":0.5}}", "SGD", 1, "momentum");
    check_slots("\"adam\"", "Adam", 2, "momentum", "velocity");
    check_slots("\"adamw\"", "AdamW", 2, "momentum", "velocity");
    check_slots("\"rmsprop\"", "RMSprop", 1, "velocity");
    check_slots("{\"class_name\":\"RMSprop\",\"config\":{\"momentum\":0.5}}", "RMSprop", 2, "velocity", "momentum");
    check_slots("{\"class_name\":\"RMSprop\",\"config\":{\"centered\":true}}", "RMSprop", 2, "velocity",
                "average_gradient");
    check_slots("{\"class_name\":\"RMSprop\",\"config\":{\"momentum\":0.5,\"centered\":true}}", "RMSprop", 3,
                "velocity", "momentum", "average_gradient");
    check_slots("\"adadelta\"", "Adadelta", 2, "accumulated_grad", "accumulated_delta_var");
    check_slots("\"lion\"", "Lion", 1, "momentum");
    check_slots("\"nadam\"", "Nadam", 2, "momentum", "velocity");
    check_slots("\"adamax\"", "Adamax", 2, "momentum", "norm");
    check_slots("{\"class_name\":\"Adam\",\"config\":{\"amsgrad\":true}}", "Adam", 3, "momentum", "velocity",
                "velocity_hat");
}

// Accumulators begin above zero, so that the first step is not divided by nothing.
static void test_accumulators(void **state)
{
    (void)state;
    static const char *const names[] = {"Adagrad", "Ftrl"};
    for (size_t i = 0; i < 2; i++) {
        char text[128];
        snprintf(text, sizeof text, "{\"class_name\":\"%s\",\"config\":{\"initial_accumulator_value\":0.75}}",
                 names[i]);
        struct mst_optimizer *optimizer = optimizer_of(text);
        assert_string_equal(mst_optimizer_name(optimizer), names[i]);
        assert_int_equal(mst_optimizer_n_slots(optimizer), i + 1);
        assert_string_equal(mst_optimizer_slot_name(optimizer, 0), "accumulator");
        assert_true(mst_optimizer_slot_initial(optimizer, 0) == 0.75f);
        if (i == 1) {
            assert_string_equal(mst_optimizer_slot_name(optimizer, 1), "linear");
            assert_true(mst_optimizer_slot_initial(optimizer, 1) == 0.0f);
        }
        mst_optimizer_free(optimizer);
    }
}

// Gradients are clipped and weights decayed by the rate, both before the update.
static void test_decay_and_clipping(void **state)
{
    (void)state;
    struct mst_optimizer *sgd = optimizer_of("{\"class_name\":\"SGD\",\"config\":{\"learning_rate\":0.5,"
                                             "\"weight_decay\":0.25,\"clipvalue\":2.0}}");
    const float grad[] = {8.0f, -8.0f, 1.0f, INFINITY};
    float w[] = {16.0f, 0.0f, -8.0f, 8.0f};
    assert_true(mst_optimizer_apply(sgd, 0, 4, grad, w, w, NULL)); // w = w * 7/8 - g/2
    assert_true(w[0] == 13.0f && w[1] == 1.0f && w[2] == -7.5f && w[3] == 6.0f);
    const float bad[] = {0.0f, NAN, 0.0f, 0.0f};
    assert_false(mst_optimizer_apply(sgd, 1, 4, bad, w, w, NULL));
    mst_optimizer_free(sgd);
}

// A schedule's rate is taken from the number of updates before this one.
static void test_scheduled_rate(void **state)
{
    (void)state;
    struct mst_optimizer *sgd =
        optimizer_of("{\"class_name\":\"SGD\",\"config\":{\"weight_decay\":0.5,\"learning_rate\":{\"class_name\":"
                     "\"ExponentialDecay\","
                     "\"config\":{\"initial_learning_rate\":1.0,\"decay_steps\":2,\"decay_rate\":0.25}}}}");
    const float grad = 4.0f;
    float w = 8.0f;
    assert_true(mst_optimizer_learning_rate(sgd, 0) == 1.0f && mst_optimizer_learning_rate(sgd, 1) == 0.5f);
    assert_true(mst_optimizer_apply(sgd, 2, 1, &grad, &w, &w, NULL)); // rate 1/4: w = 8 - 8/8 - 1
    assert_true(w == 6.0f);
    mst_optimizer_free(sgd);
}

static void test_sgd_by_hand(void **state)
{
    (void)state;
    // Powers of two, so that every product is exact.
    struct mst_optimizer *plain = optimizer_of("{\"class_name\":\"SGD\",\"config\":{\"learning_rate\":0.25}}");
    float grad[] = {4.0f, -8.0f};
    float w[] = {1.0f, 2.0f};
    assert_true(mst_optimizer_apply(plain, 0, 2, grad, w, w, NULL));
    assert_true(w[0] == 0.0f && w[1] == 4.0f);
    mst_optimizer_free(plain);

    struct mst_optimizer *heavy =
        optimizer_of("{\"class_name\":\"SGD\",\"config\":{\"learning_rate\":0.25,\"momentum\":0.5}}");
    float m[] = {8.0f, 0.0f};
    float *slots[] = {m};
    assert_true(mst_optimizer_apply(heavy, 7, 2, grad, w, w, slots)); // m = m/2 - g/4; w += m
    assert_true(m[0] == 3.0f && m[1] == 2.0f && w[0] == 3.0f && w[1] == 6.0f);
    mst_optimizer_free(heavy);

    struct mst_optimizer *nesterov =
        optimizer_of("{\"class_name\":\"SGD\",\"config\":{\"learning_rate\":0.25,\"momentum\":0.5,\"nesterov\":true}}");
    assert_true(mst_optimizer_apply(nesterov, 8, 2, grad, w, w, slots)); // w += m/2 - g/4
    assert_true(m[0] == 0.5f && m[1] == 3.0f && w[0] == 2.25f && w[1] == 9.5f);
    mst_optimizer_free(nesterov);
}

// The first step of Adam moves every weight by the learning rate against the sign of its gradient, whatever its size.
static void test_adam_first_step(void **state)
{
    (void)state;
    struct mst_optimizer *adam = optimizer_of("{\"class_name\":\"Adam\",\"config\":{\"learning_rate\":0.125}}");
    const float grad[] = {1e-3f, -1.0f, 1e3f, -1e6f};
    float w[4] = {0}, m[4] = {0}, v[4] = {0};
    float *slots[] = {m, v};
    assert_true(mst_optimizer_apply(adam, 0, 4, grad, w, w, slots));
    for (size_t i = 0; i < 4; i++) {
        // epsilon takes 1e-7 / (sqrt(1e-3) * 1e-3) = 0.3 % of the smallest gradient's step
        float want = grad[i] > 0 ? -0.125f : 0.125f;
        assert_true(fabsf(w[i] - want) <= 0.125f * (i == 0 ? 0.004f : 1e-4f));
    }
    mst_optimizer_free(adam);
}

// Adam's rate with both corrections at step t, in double from float betas. Near 1 the difference 1 - beta_2^t has lost
// up to 2^-24 / (1 - beta_2^t) of its value to the rounding of the power, as in Keras; sqrt halves that.
static void check_rate(const struct mst_optimizer *adam, double beta_1, double beta_2, uint64_t iteration)
{
    // With m = 1, v = 1 before and a gradient of 1, both moments stay 1 and w moves by rate / (1 + epsilon).
    const float grad = 1.0f;
    float w = 0.0f, m = 1.0f, v = 1.0f;
    float *slots[] = {&m, &v};
    double t = (double)iteration + 1.0;
    double rest_1 = 1.0 - pow((double)(float)beta_1, t);
    double rest_2 = 1.0 - pow((double)(float)beta_2, t);
    double want = -0.001 * sqrt(rest_2) / rest_1;
    double tolerance = 4 * 0x1p-24 + 0x1p-24 / rest_1 + 0.5 * 0x1p-24 / rest_2;
    assert_true(mst_optimizer_apply(adam, iteration, 1, &grad, &w, &w, slots));
    if (fabs((double)w - want) > -want * tolerance)
        fail_msg("iteration %llu: %.9g, want %.9g", (unsigned long long)iteration, (double)w, want);
}

static void test_bias_correction(void **state)
{
    (void)state;
    struct mst_optimizer *adam = optimizer_of("{\"class_name\":\"Adam\",\"config\":{\"epsilon\":0.0}}");
    for (uint64_t iteration = 0; iteration < 5000; iteration++)
        check_rate(adam, 0.9, 0.999, iteration);
    for (uint64_t iteration = 5000; iteration <= 1000000; iteration += 4973)
        check_rate(adam, 0.9, 0.999, iteration);
    check_rate(adam, 0.9, 0.999, 1000000);
    check_rate(adam, 0.9, 0.999, (uint64_t)1 << 40);
    mst_optimizer_free(adam);
    adam = optimizer_of("{\"class_name\":\"Adam\",\"config\":{\"epsilon\":0.0,\"beta_1\":0.0,\"beta_2\":0.999999}}");
    for (uint64_t iteration = 0; iteration <= 1000000; iteration += 997)
        check_rate(adam, 0.0, 0.999999, iteration);
    mst_optimizer_free(adam);
}

static void fill(float *out, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        out[i] = (float)(seed >> 8) * 0x1p-23f - 1.0f;
    }
}

// Above 1 MiB a result out of place takes the kernels that store past the cache: the same bits at any offset.
static void check_large(const char *text, size_t offset)
{
    const size_t n = 300000;
    struct mst_optimizer *optimizer = optimizer_of(text);
    size_t n_slots = mst_optimizer_n_slots(optimizer);
    // Gradient, weights in and out, slots, twice the same slots again, places for slots and weights.
    float *arrays[16];
    for (size_t k = 0; k < 16; k++) {
        arrays[k] = mst_alloc_aligned((n + 32) * sizeof(float));
        fill(arrays[k], n + 32, (uint32_t)(k < 3 ? k : k % 3 + 3));
        bool is_square = k > 3 && k % 3 != 0;
        for (size_t i = 0; i < n + 32 && is_square; i++)
            arrays[k][i] = fabsf(arrays[k][i]);
    }
    float *in_place = mst_alloc_aligned((n + 32) * sizeof(float));
    memcpy(in_place, arrays[1], (n + 32) * sizeof(float));
    float *first[] = {arrays[3] + offset, arrays[4] + offset, arrays[5] + offset};
    float *second[] = {arrays[6] + offset, arrays[7] + offset, arrays[8] + offset};
    float edges[] = {arrays[2][offset + n], offset ? arrays[2][offset - 1] : 0.0f};
    assert_true(mst_optimizer_apply(optimizer, 3, n, arrays[0] + 1, arrays[1] + 2, arrays[2] + offset, first));
    assert_true(mst_optimizer_apply(optimizer, 3, n, arrays[0] + 1, in_place + 2, in_place + 2, second));
    assert_true(mst_test_floats_same_bits(text, arrays[2] + offset, in_place + 2, n));
    const float *third[] = {arrays[9] + offset, arrays[10] + offset, arrays[11] + offset};
    float *places[] = {arrays[12] + offset, arrays[13] + offset, arrays[14] + offset};
    float *weights = arrays[15] + offset;
    assert_true(mst_optimizer_apply_to(optimizer, 3, mst_optimizer_learning_rate(optimizer, 3), n, arrays[0] + 1,
                                       arrays[1] + 2, weights, third, places));
    assert_true(mst_test_floats_same_bits(text, weights, in_place + 2, n));
    for (size_t s = 0; s < n_slots; s++) {
        assert_true(mst_test_floats_same_bits(text, first[s], second[s], n));
        assert_true(mst_test_floats_same_bits(text, places[s], second[s], n));
    }
    assert_true(arrays[2][offset + n] == edges[0] && (offset == 0 || arrays[2][offset - 1] == edges[1]));
    for (size_t k = 0; k < 16; k++)
        free(arrays[k]);
    free(in_place);
    mst_optimizer_free(optimizer);
}

static void test_out_of_place_is_in_place(void **state)
{
    (void)state;
    static const char *const all[] = {"\"sgd\"",
                                      "{\"class_name\":\"SGD\",\"config\":{\"momentum\":0.9}}",
                                      "{\"class_name\":\"SGD\",\"config\":{\"momentum\":0.9,\"nesterov\":true}}",
                                      "\"adam\"",
                                      "{\"class_name\":\"Adam\",\"config\":{\"amsgrad\":true}}",
                                      "\"adamw\"",
                                      "{\"class_name\":\"SGD\",\"config\":{\"clipvalue\":0.5}}",
                                      "\"lion\""};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (size_t offset = 0; offset < 20; offset += 7)
            check_large(all[i], offset);
}

static void test_nan_is_told(void **state)
{
    (void)state;
    struct mst_optimizer *adam = optimizer_of("\"adam\"");
    float grad[40] = {0}, w[40] = {0}, m[40] = {0}, v[40] = {0};
    float *slots[] = {m, v};
    assert_true(mst_optimizer_apply(adam, 0, 40, grad, w, w, slots));
    grad[39] = NAN;
    assert_false(mst_optimizer_apply(adam, 1, 40, grad, w, w, slots));
    assert_true(isnan(w[39]) && w[38] == 0.0f);
    assert_true(mst_optimizer_apply(adam, 2, 0, grad, w, w, slots)); // nothing is finite
    mst_optimizer_free(adam);
}

// Keras keeps the product of all u in a variable; here it follows from the count of updates, by a table and a power
// behind it. A beta_1 near 1, so that the product still matters there.
static void test_nadam_by_the_count_of_updates(void **state)
{
    (void)state;
    struct mst_optimizer *nadam =
        optimizer_of("{\"class_name\":\"Nadam\",\"config\":{\"beta_1\":0.999,\"beta_2\":0.99,\"learning_rate\":1.0}}");
    double product = 1;
    for (uint64_t step = 1; step <= 3000; step++) {
        double u = 0.999 * (1 - 0.5 * pow(0.96, (double)step));
        double u_next = 0.999 * (1 - 0.5 * pow(0.96, (double)(step + 1)));
        product *= u;
        float w = 0, grad = 2, m = 0, v = 0;
        float *slots[] = {&m, &v};
        assert_true(mst_optimizer_apply(nadam, step - 1, 1, &grad, &w, &w, slots));
        double ahead = u_next * 0.002 / (1 - product * u_next) + (1 - u) * 2 / (1 - product);
        double want = -ahead / sqrt(0.04 / (1 - pow(0.99, (double)step)));
        if (!(fabs((double)w - want) <= 2e-4 * fabs(want)))
            fail_msg("step %u: %.9g, want %.9g", (unsigned)step, (double)w, want);
    }
    mst_optimizer_free(nadam);
}

// The weights of tf_keras 2.19's keras.optimizers.legacy after five updates. Its Adam subtracts betas in float32 where
// today's does not, which moves a weight by a few millionths.
static void test_legacy_decay(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        float want[2];
    } cases[] = {
        {"{\"class_name\":\"SGD\",\"config\":{\"learning_rate\":0.1,\"decay\":0.5,\"momentum\":0.9}}",
         {0.127395004f, -1.77909744f}},
        {"{\"class_name\":\"Adam\",\"config\":{\"learning_rate\":0.1,\"decay\":0.1}}", {0.589458227f, -1.57740998f}},
        {"{\"class_name\":\"Adam\",\"config\":{\"decay\":0.1,\"learning_rate\":{\"class_name\":\"ExponentialDecay\","
         "\"config\":{\"initial_learning_rate\":0.1,\"decay_steps\":2,\"decay_rate\":0.5}}}}",
         {0.754648387f, -1.74899995f}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct mst_optimizer *legacy = optimizer_of(cases[c].text);
        float w[2] = {1, -2}, first[2] = {0}, second[2] = {0};
        float *slots[] = {first, second};
        for (unsigned step = 0; step < 5; step++) {
            const float grad[2] = {0.5f * (float)(step + 1), -0.25f};
            assert_true(mst_optimizer_apply(legacy, step, 2, grad, w, w, slots));
        }
        for (size_t i = 0; i < 2; i++)
            if (!(fabsf(w[i] - cases[c].want[i]) <= 6e-6f))
                fail_msg("case %zu: %.9g, tf_keras %.9g", c, (double)w[i], (double)cases[c].want[i]);
        mst_optimizer_free(legacy);
    }
}

static void test_the_learning_rate_can_be_set(void **state)
{
    (void)state;
    json_t *json = json_pack("{s:s, s:{s:f}}", "class_name", "SGD", "config", "learning_rate", 0.5);
    struct mst_optimizer *optimizer;
    assert_int_equal(mst_optimizer_parse(json, "o", &optimizer, NULL), MST_OK);
    const float grad = 1;
    float w = 0;
    assert_true(mst_optimizer_apply(optimizer, 0, 1, &grad, &w, &w, NULL));
    assert_true(w == -0.5f);
    mst_optimizer_set_learning_rate(optimizer, 0.25f);
    mst_optimizer_set_learning_rate(optimizer, -1);
    mst_optimizer_set_learning_rate(optimizer, NAN);
    assert_true(mst_optimizer_learning_rate(optimizer, 7) == 0.25f);
    assert_true(mst_optimizer_apply(optimizer, 1, 1, &grad, &w, &w, NULL));
    assert_true(w == -0.75f);
    mst_optimizer_set_learning_rate(optimizer, 0);
    assert_true(mst_optimizer_learning_rate(optimizer, 7) == 0);
    mst_optimizer_free(optimizer);
    json_decref(json);
}

static void test_a_schedule_is_not_set(void **state)
{
    (void)state;
    json_t *json =
        json_pack("{s:s, s:{s:{s:s, s:{s:f, s:i, s:f}}}}", "class_name", "SGD", "config", "learning_rate", "class_name",
                  "ExponentialDecay", "config", "initial_learning_rate", 0.5, "decay_steps", 10, "decay_rate", 0.5);
    struct mst_optimizer *optimizer;
    assert_int_equal(mst_optimizer_parse(json, "o", &optimizer, NULL), MST_OK);
    assert_true(mst_optimizer_has_schedule(optimizer));
    mst_optimizer_set_learning_rate(optimizer, 3);
    assert_true(mst_optimizer_learning_rate(optimizer, 0) == 0.5f);
    mst_optimizer_free(optimizer);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_accumulators),
        cmocka_unit_test(test_decay_and_clipping),
        cmocka_unit_test(test_scheduled_rate),
        cmocka_unit_test(test_sgd_by_hand),
        cmocka_unit_test(test_adam_first_step),
        cmocka_unit_test(test_bias_correction),
        cmocka_unit_test(test_nadam_by_the_count_of_updates),
        cmocka_unit_test(test_legacy_decay),
        cmocka_unit_test(test_nan_is_told),
        cmocka_unit_test(test_out_of_place_is_in_place),
        cmocka_unit_test(test_the_learning_rate_can_be_set),
        cmocka_unit_test(test_a_schedule_is_not_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
