// What a program promises beside its numbers (tests/golden has those): batches of any size, the order of gradients,
// masks keyed by epoch and batch, where a NaN began, labels that are none, features of three types, limits.
#include "base/alloc.h"
#include "program_case.h"
#include "tests/lib/tensors_equal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPARSE                                                                                                         \
    "{\"loss\":{\"class_name\":\"SparseCategoricalCrossentropy\",\"config\":{\"from_logits\":true}},\"metrics\":["     \
    "\"accuracy\"]}"
#define MSE   "{\"loss\":\"mse\"}"
#define THREE DENSE("first", 7, "relu") "," DENSE("second", 5, "tanh") "," DENSE("third", 4, "linear")

static struct mst_device *device;

static const enum mst_dtype float32 = MST_DTYPE_F32;
static const struct mst_program_options training = {
    .mode = MST_PROGRAM_TRAIN, .max_batch = 16, .input_dtypes = &float32, .seed = 5};
static const struct mst_program_options evaluation = {
    .mode = MST_PROGRAM_EVAL, .max_batch = 16, .input_dtypes = &float32, .seed = 5};

static float x[16 * 64];
static int32_t labels[16];

static struct mst_program_step step_of(struct program_case *c, size_t first, size_t n)
{
    return program_case_step(c, x + first * c->n_features, labels + first, n);
}

static void draw(size_t n_classes)
{
    program_random_fill(x, sizeof x / sizeof *x, 1.0f);
    for (size_t r = 0; r < 16; r++)
        labels[r] = (int32_t)(program_random_word() % n_classes);
}

// Sums over batches of any size are those of one batch, and a row's output does not depend on its neighbours.
static void test_partial_batches(void **state)
{
    (void)state;
    static const size_t cuts[][5] = {{16}, {15, 1}, {1, 15}, {5, 5, 6}, {3, 1, 9, 2, 1}};
    struct program_case c;
    float whole[16 * 4];
    draw(4);
    program_case_init(&c, device, "[6]", THREE, SPARSE, &evaluation);
    struct mst_program_step all = step_of(&c, 0, 16);
    struct program_result want = program_case_run(&c, &all);
    double n_matches = c.sums[2];
    memcpy(whole, mst_program_output(c.program, 0), sizeof whole);
    for (size_t k = 0; k < sizeof cuts / sizeof *cuts; k++) {
        double sums[4] = {0};
        for (size_t i = 0, first = 0; i < 5 && cuts[k][i] > 0; first += cuts[k][i++]) {
            struct mst_program_step step = step_of(&c, first, cuts[k][i]);
            step.sums = sums;
            program_case_run(&c, &step);
            // OpenBLAS orders the 5 to 7 products of an element by the shape of the matrix: a few units of 2^-24
            assert_true(mst_test_floats_close("output", mst_program_output(c.program, 0), whole + first * 4,
                                              cuts[k][i] * 4, 5e-7));
        }
        assert_true(fabs(mst_measure_value(&c.compile, 0, sums) - want.loss) < 1e-6 * want.loss);
        assert_true(sums[1] == 16 && sums[2] == n_matches && sums[3] == 16);
    }
    program_case_fini(&c);
}

struct order {
    struct program_case *c;
    size_t n;
    size_t variables[8];
    float *copies[8];
};

static void on_gradient(void *context, size_t variable)
{
    struct order *order = context;
    size_t bytes = mst_model_variable(order->c->model, variable)->n_elements * sizeof(float);
    assert_true(order->n < 8);
    order->variables[order->n] = variable;
    order->copies[order->n] = mst_alloc(bytes);
    memcpy(order->copies[order->n++], order->c->grads[variable], bytes);
}

// From the last layer to the first, each once, and nothing is written to a gradient after it was told.
static void test_order_of_gradients(void **state)
{
    (void)state;
    static const char *const want[] = {"third/kernel", "third/bias",   "second/kernel",
                                       "second/bias",  "first/kernel", "first/bias"};
    struct program_case c;
    draw(4);
    program_case_init(&c, device, "[6]", THREE, SPARSE, &training);
    for (int repeat = 0; repeat < 3; repeat++) {
        struct order order = {.c = &c};
        struct mst_program_step step = step_of(&c, 0, 11);
        step.on_gradient = on_gradient;
        step.context = &order;
        program_case_run(&c, &step);
        assert_int_equal(order.n, 6);
        for (size_t i = 0; i < 6; i++) {
            const struct mst_variable *variable = mst_model_variable(c.model, order.variables[i]);
            assert_string_equal(variable->name, want[i]);
            assert_true(
                mst_test_floats_same_bits(want[i], c.grads[order.variables[i]], order.copies[i], variable->n_elements));
            free(order.copies[i]);
        }
    }
    program_case_fini(&c);
}

static void copy_gradients(const struct program_case *c, float *out)
{
    for (size_t v = 0; v < c->n_variables; v++) {
        size_t n = mst_model_variable(c->model, v)->n_elements;
        memcpy(out, c->grads[v], n * sizeof(float));
        out += n;
    }
}

// Any number of threads, and every instruction set, gives the same bits.
static void test_same_bits(void **state)
{
    (void)state;
    static const char *const isas[] = {"base", "avx2", "avx512"};
    struct program_case c;
    float *want = NULL;
    char *before = getenv("MUSTER_ISA") ? mst_strdup(getenv("MUSTER_ISA")) : NULL;
    draw(4);
    for (size_t i = 0; i < 3; i++)
        for (size_t n_threads = 1; n_threads <= 3; n_threads++) {
            struct mst_device *other;
            struct mst_error err = {0};
            setenv("MUSTER_ISA", isas[i], 1);
            assert_int_equal(mst_device_cpu_new(n_threads, &other, &err), MST_OK);
            program_random_restart(); // the same weights
            program_case_init(&c, other, "[6]", DENSE("wide", 133, "gelu") "," DROPOUT("drop", 0.3) "," THREE, SPARSE,
                              &training);
            struct mst_program_step step = step_of(&c, 0, 16);
            program_case_run(&c, &step);
            float *got = mst_alloc_array(c.n_parameters, sizeof(float));
            copy_gradients(&c, got);
            if (want == NULL)
                want = got;
            assert_true(mst_test_floats_same_bits(isas[i], got, want, c.n_parameters));
            if (got != want)
                free(got);
            program_case_fini(&c);
            mst_device_free(other);
        }
    free(want);
    if (before)
        setenv("MUSTER_ISA", before, 1);
    else
        unsetenv("MUSTER_ISA");
    free(before);
}

enum { N_DROPPED = 500 };

// The mask of a batch, from the gradient of a Dense behind the dropout: dw = 2 y x, where x is 1 / (1 - rate) or 0.
static void mask_of(const char *layers, const struct mst_program_options *options, uint64_t epoch, uint64_t batch,
                    size_t n, bool *out)
{
    struct program_case c;
    float *ones = mst_alloc_array(n * N_DROPPED, sizeof *ones);
    int32_t *zeros = mst_alloc_array(n, sizeof *zeros);
    for (size_t i = 0; i < n * N_DROPPED; i++)
        ones[i] = 1.0f;
    program_case_init(&c, device, "[500]", layers, MSE, options);
    for (size_t i = 0; i < N_DROPPED; i++)
        c.params[0][i] = 1.0f;
    c.params[1][0] = 0.0f;
    // one row at a time would be another mask: the rows are told apart by which of them has a target far away
    for (size_t r = 0; r < n; r++) {
        struct mst_program_step step = program_case_step(&c, ones, zeros, n);
        step.epoch = epoch;
        step.batch = batch;
        for (size_t k = 0; k < n; k++)
            zeros[k] = k == r ? 1 << 24 : 0;
        program_case_run(&c, &step);
        for (size_t i = 0; i < N_DROPPED;
             i++) // -2 · 2^24 · x / n, and what the other rows add is below 2 · 1000 · x / n
            out[r * N_DROPPED + i] = fabsf(c.grads[0][i]) > 1e6f;
    }
    program_case_fini(&c);
    free(ones);
    free(zeros);
}

static bool same_masks(const bool *a, const bool *b, size_t n)
{
    return memcmp(a, b, n * sizeof *a) == 0;
}

#define DROPPED(name, seed)                                                                                            \
    LAYER("Dropout", name, ",\"rate\":0.25,\"seed\":" seed ",\"noise_shape\":null") "," DENSE("sum", 1, "linear")

// A mask is a function of the seed, the layer's name, epoch and batch, and of nothing else.
static void test_dropout_keys(void **state)
{
    (void)state;
    enum { N = 2 * N_DROPPED };
    struct mst_program_options other_seed = training, wider = training;
    bool base[N], got[3 * N_DROPPED];
    other_seed.seed = 6;
    wider.max_batch = 40;
    mask_of(DROPPED("drop", "null"), &training, 1, 7, 2, base);
    mask_of(DROPPED("drop", "null"), &training, 1, 7, 2, got);
    assert_true(same_masks(base, got, N));
    mask_of(DROPPED("drop", "null"), &wider, 1, 7, 3, got); // a longer batch begins with the same rows
    assert_true(same_masks(base, got, N));
    assert_false(same_masks(base, base + N_DROPPED, N_DROPPED));
    mask_of(DROPPED("drop", "null"), &training, 1, 8, 2, got);
    assert_false(same_masks(base, got, N));
    mask_of(DROPPED("drop", "null"), &training, 2, 7, 2, got);
    assert_false(same_masks(base, got, N));
    mask_of(DROPPED("drop", "null"), &training, 7, 1, 2, got);
    assert_false(same_masks(base, got, N));
    mask_of(DROPPED("drop", "null"), &other_seed, 1, 7, 2, got);
    assert_false(same_masks(base, got, N));
    mask_of(DROPPED("drop_1", "null"), &training, 1, 7, 2, got);
    assert_false(same_masks(base, got, N));
    // a seed of the layer's own takes the place of the job's
    bool own[N];
    mask_of(DROPPED("drop", "5"), &other_seed, 1, 7, 2, own);
    mask_of(DROPPED("drop", "5"), &training, 1, 7, 2, got);
    assert_true(same_masks(own, got, N));
    mask_of(DROPPED("drop", "9"), &training, 1, 7, 2, got);
    assert_false(same_masks(own, got, N));
}

// A quarter is dropped: 40 batches of 2 · 500 elements, five standard errors of sqrt(0.25 · 0.75 / 40000).
static void test_dropout_rate(void **state)
{
    (void)state;
    size_t dropped = 0;
    bool mask[2 * N_DROPPED];
    for (uint64_t batch = 0; batch < 40; batch++) {
        mask_of(DROPPED("drop", "null"), &training, 0, batch, 2, mask);
        for (size_t i = 0; i < 2 * N_DROPPED; i++)
            dropped += !mask[i];
    }
    assert_true(fabs((double)dropped / 40000 - 0.25) < 5 * sqrt(0.25 * 0.75 / 40000));
}

// Kept elements are divided by what is kept, and nothing is dropped outside training.
static void test_dropout_scale(void **state)
{
    (void)state;
    struct program_case c;
    draw(1);
    for (size_t i = 0; i < 64; i++)
        x[i] = 1.0f;
    program_case_init(&c, device, "[8]", DROPPED("drop", "null"), MSE, &training);
    struct mst_program_step step = step_of(&c, 0, 1);
    struct program_result result = program_case_run(&c, &step);
    float y = c.grads[1][0] / 2; // the bias's gradient is 2 (y - 0)
    size_t n_kept = 0;
    for (size_t i = 0; i < 8; i++) {
        float kept = c.grads[0][i] / (2 * y);
        assert_true(kept == 0.0f || fabsf(kept - 4.0f / 3.0f) < 1e-6f);
        n_kept += kept != 0.0f;
    }
    assert_true(n_kept > 0 && n_kept < 8); // with this seed
    assert_true(fabs(result.loss - (double)(y * y)) < 1e-6 * result.loss);
    program_case_fini(&c);

    program_case_init(&c, device, "[8]", DROPPED("drop", "null"), MSE, &evaluation);
    float sum = c.params[1][0];
    for (size_t i = 0; i < 8; i++)
        sum += c.params[0][i];
    step = step_of(&c, 0, 1);
    program_case_run(&c, &step);
    assert_true(fabsf(mst_program_output(c.program, 0)[0] - sum) < 1e-6f);
    program_case_fini(&c);
}

// A class label is a row with a single 1 also where the values are no probabilities, of a loss and of a metric.
static void test_labels_of_any_values(void **state)
{
    (void)state;
    static const char *const compiles[] = {
        "{\"loss\":\"categorical_crossentropy\"}",
        "{\"loss\":{\"class_name\":\"CategoricalCrossentropy\",\"config\":{\"from_logits\":true}},"
        "\"metrics\":[\"categorical_crossentropy\"]}",
    };
    for (size_t i = 0; i < sizeof compiles / sizeof compiles[0]; i++) {
        struct program_case c;
        float rows[16 * 4] = {0};
        double wanted[4] = {0};
        draw(4);
        for (size_t r = 0; r < 16; r++)
            rows[r * 4 + (size_t)labels[r]] = 1.0f;
        program_case_init(&c, device, "[6]", THREE, compiles[i], &evaluation);
        struct mst_program_step step = step_of(&c, 0, 16);
        const struct mst_target target = {.values = rows};
        step.sums = wanted;
        step.targets = &target;
        program_case_run(&c, &step);
        step = step_of(&c, 0, 16);
        program_case_run(&c, &step);
        for (size_t m = 0; m < mst_compile_n_measures(&c.compile); m++)
            assert_true(mst_measure_value(&c.compile, m, c.sums) == mst_measure_value(&c.compile, m, wanted));
        program_case_fini(&c);
    }
}

static void never(void *context, size_t variable)
{
    (void)context;
    fail_msg("a gradient of variable %zu although the loss is not finite", variable);
}

struct bad_case {
    const char *layers;
    const char *compile;
    const char *variable; // whose first element becomes value; NULL: a feature does, unless value is 0
    float value;
    size_t layer;
    const char *name;
};

static void check_bad(const struct bad_case *bad)
{
    struct program_case c;
    draw(4);
    program_case_init(&c, device, "[6]", bad->layers, bad->compile, &training);
    if (bad->variable != NULL)
        c.params[program_variable(&c, bad->variable)][0] = bad->value;
    else if (bad->value != 0)
        x[13] = bad->value;
    float *before = mst_alloc_array(c.n_parameters, sizeof(float));
    float *after = mst_alloc_array(c.n_parameters, sizeof(float));
    copy_gradients(&c, before);
    struct mst_program_step step = step_of(&c, 0, 5);
    step.on_gradient = never;
    struct program_result result = program_case_run(&c, &step);
    copy_gradients(&c, after);
    assert_false(result.loss_is_finite);
    assert_int_equal(result.bad_layer, bad->layer);
    assert_string_equal(result.bad_layer_name, bad->name);
    assert_true(mst_test_floats_same_bits("gradients", after, before, c.n_parameters));
    free(before);
    free(after);
    program_case_fini(&c);
}

#define ONE DENSE("third", 4, "linear")

// Where a NaN or Inf began is named, no gradient is written or told.
static void test_bad_layer(void **state)
{
    (void)state;
    const struct bad_case cases[] = {
        {THREE, SPARSE, "first/kernel", NAN, 0, "first"},
        {THREE, SPARSE, "second/kernel", NAN, 1, "second"},
        {THREE, SPARSE, "third/bias", INFINITY, 2, "third"},
        {THREE, SPARSE, NULL, NAN, 0, "the features"},
        {ONE, SPARSE, NULL, -INFINITY, 0, "the features"},
        {LAYER("Flatten", "flat", "") "," LAYER("Rescaling", "scale", ",\"scale\":3e38,\"offset\":3e38") "," ONE,
         SPARSE, NULL, 0, 1, "scale"},
        {DENSE("big", 3, "linear") "," LAYER("Activation", "boom", ",\"activation\":\"exponential\"") "," ONE, SPARSE,
         "big/bias", 1000.0f, 1, "boom"},
        {DENSE("big", 1, "linear"), MSE, "big/bias", 1e30f, 1, "the loss"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_bad(&cases[i]);
}

static void check_refused(const struct mst_program_step *wanted, const char *layers, const char *compile,
                          mst_status want, const char *sentence)
{
    struct program_case c;
    struct mst_error err = {0};
    struct mst_program_result result;
    struct mst_program_step step = *wanted;
    program_case_init(&c, device, "[6]", layers, compile, &training);
    step.params = (const float *const *)c.params;
    step.grads = c.grads;
    step.inputs = (const void *const[]){x};
    step.sums = c.sums;
    step.on_gradient = never;
    assert_int_equal(mst_program_run(c.program, &step, &result, &err), want);
    assert_string_equal(err.text, sentence);
    program_case_fini(&c);
}

static void test_labels_outside_the_classes(void **state)
{
    (void)state;
    const int32_t bad[] = {4, -1, INT32_MIN, INT32_MAX};
    char sentence[128];
    draw(4);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        labels[2] = bad[i];
        const struct mst_target target = {.labels = labels};
        struct mst_program_step step = {.targets = &target, .n_examples = 5, .batch = 41};
        snprintf(sentence, sizeof sentence, "label %d of example 2 of batch 41 is outside the model's classes 0 to 3",
                 bad[i]);
        check_refused(&step, THREE, SPARSE, MST_OUT_OF_RANGE, sentence);
        check_refused(&step, THREE, "{\"loss\":\"categorical_crossentropy\"}", MST_OUT_OF_RANGE, sentence);
        check_refused(&step, THREE, "{\"loss\":\"bce\"}", MST_OUT_OF_RANGE, sentence);
        check_refused(&step, THREE, "{\"loss\":\"categorical_hinge\"}", MST_OUT_OF_RANGE, sentence);
        labels[2] = bad[i] == 4 ? 2 : bad[i]; // of one output, 0 and 1 are classes
        labels[0] = labels[1] = 1;
        snprintf(sentence, sizeof sentence, "label %d of example 2 of batch 41 is outside the model's classes 0 to 1",
                 labels[2]);
        check_refused(&step, DENSE("one", 1, "sigmoid"), "{\"loss\":\"bce\"}", MST_OUT_OF_RANGE, sentence);
    }
    labels[2] = 3;
    labels[5] = 99; // not in the batch
    struct program_case c;
    program_case_init(&c, device, "[6]", THREE, SPARSE, &training);
    struct mst_program_step step = step_of(&c, 0, 5);
    program_case_run(&c, &step);
    program_case_fini(&c);
}

static void test_steps_refused(void **state)
{
    (void)state;
    draw(4);
    struct mst_target target = {.labels = labels};
    struct mst_program_step step = {.targets = &target, .n_examples = 0};
    check_refused(&step, THREE, SPARSE, MST_INVALID_ARGUMENT,
                  "a batch of 0 examples for a program planned for 1 to 16");
    step.n_examples = 17;
    check_refused(&step, THREE, SPARSE, MST_INVALID_ARGUMENT,
                  "a batch of 17 examples for a program planned for 1 to 16");
    step.n_examples = 3;
    check_refused(&step, THREE, MSE, MST_INVALID_ARGUMENT,
                  "MeanSquaredError against one label an example needs a model of 1 output, this one has 4");
    check_refused(&step, THREE, "{\"loss\":\"poisson\",\"metrics\":[\"mae\"]}", MST_INVALID_ARGUMENT,
                  "Poisson against one label an example needs a model of 1 output, this one has 4");
    target.labels = NULL;
    check_refused(&step, THREE, SPARSE, MST_INVALID_ARGUMENT, "the data has no labels, which the loss needs");
    check_refused(&step, THREE, MSE, MST_INVALID_ARGUMENT, "the data has no labels, which the loss needs");
}

// Class labels are targets with a single 1, and a label of one output is its target.
static void test_labels_as_targets(void **state)
{
    (void)state;
    static const char *const compiles[] = {"{\"loss\":\"categorical_crossentropy\",\"metrics\":[\"accuracy\"]}",
                                           "{\"loss\":\"mse\"}"};
    static const char *const stacks[] = {DENSE("only", 4, "softmax"), DENSE("only", 1, "linear")};
    for (size_t k = 0; k < 2; k++) {
        struct program_case c;
        float targets[16 * 4] = {0}, first[32], second[32];
        draw(4);
        program_case_init(&c, device, "[6]", stacks[k], compiles[k], &training);
        for (size_t r = 0; r < 16; r++) {
            if (k == 0)
                targets[r * 4 + (size_t)labels[r]] = 1.0f;
            else
                targets[r] = (float)labels[r];
        }
        struct mst_program_step step = step_of(&c, 0, 16);
        struct program_result by_labels = program_case_run(&c, &step);
        copy_gradients(&c, first);
        const struct mst_target dense = {.values = targets};
        step.targets = &dense;
        struct program_result by_targets = program_case_run(&c, &step);
        copy_gradients(&c, second);
        assert_true(fabs(by_labels.loss - by_targets.loss) < 1e-6 * by_labels.loss);
        assert_true(by_labels.metrics[0] == by_targets.metrics[0]);
        // the row's sum of targets and its one target are added up differently
        assert_true(mst_test_floats_close("gradients", first, second, c.n_parameters, 1e-6));
        program_case_fini(&c);
    }
}

// Bytes, integers and floats of the same value give the same bits.
static void test_types_of_features(void **state)
{
    (void)state;
    static const char *const stacks[] = {
        LAYER("Rescaling", "scale", ",\"scale\":0.00392156862745098,\"offset\":-0.5") "," LAYER("Flatten", "flat",
                                                                                                "") "," THREE,
        LAYER("Flatten", "flat", "") "," THREE,
        LAYER("Flatten", "flat", "") "," LAYER("Rescaling", "scale", ",\"scale\":0.25,\"offset\":1.0") "," LAYER(
            "Rescaling", "again", ",\"scale\":0.125,\"offset\":0.0") "," THREE,
        DENSE("pairs", 2, "elu") "," LAYER("Flatten", "flat", "") "," THREE};
    static const enum mst_dtype dtypes[] = {MST_DTYPE_F32, MST_DTYPE_U8, MST_DTYPE_I32};
    uint8_t bytes[16 * 6];
    int32_t integers[16 * 6];
    draw(4);
    for (size_t i = 0; i < 16 * 6; i++) {
        bytes[i] = (uint8_t)program_random_word();
        integers[i] = bytes[i];
        x[i] = bytes[i];
    }
    const void *const features[] = {x, bytes, integers};
    for (size_t k = 0; k < sizeof stacks / sizeof *stacks; k++) {
        float grads[3][512];
        double losses[3];
        for (size_t d = 0; d < 3; d++) {
            struct program_case c;
            struct mst_program_options options = training;
            options.input_dtypes = &dtypes[d];
            program_random_restart(); // the same weights
            program_case_init(&c, device, "[3,2]", stacks[k], SPARSE, &options);
            assert_true(c.n_parameters <= 512);
            struct mst_program_step step = program_case_step(&c, features[d], labels, 13);
            losses[d] = program_case_run(&c, &step).loss;
            copy_gradients(&c, grads[d]);
            assert_true(losses[d] == losses[0]);
            assert_true(mst_test_floats_same_bits(mst_dtype_name(dtypes[d]), grads[d], grads[0], c.n_parameters));
            program_case_fini(&c);
        }
    }
}

// Steps leave no trace: the same step gives the same bits whatever ran between, and nothing writes to the parameters.
static void test_steps_are_independent(void **state)
{
    (void)state;
    struct program_case c;
    draw(4);
    program_case_init(&c, device, "[6]", DROPOUT("drop", 0.5) "," THREE, SPARSE, &training);
    float *params = mst_alloc_array(c.n_parameters, sizeof(float));
    float *first = mst_alloc_array(c.n_parameters, sizeof(float));
    float *second = mst_alloc_array(c.n_parameters, sizeof(float));
    float *at = params;
    for (size_t v = 0; v < c.n_variables; v++) {
        size_t n = mst_model_variable(c.model, v)->n_elements;
        memcpy(at, c.params[v], n * sizeof(float));
        at += n;
    }
    struct mst_program_step step = step_of(&c, 0, 16);
    struct mst_program_step other = step_of(&c, 3, 7);
    other.batch = 9;
    double loss = program_case_run(&c, &step).loss;
    copy_gradients(&c, first);
    program_case_run(&c, &other);
    assert_true(program_case_run(&c, &step).loss == loss);
    copy_gradients(&c, second);
    assert_true(mst_test_floats_same_bits("gradients", second, first, c.n_parameters));
    at = params;
    for (size_t v = 0; v < c.n_variables; v++) {
        size_t n = mst_model_variable(c.model, v)->n_elements;
        assert_true(mst_test_floats_same_bits("parameters", c.params[v], at, n));
        at += n;
    }
    free(params);
    free(first);
    free(second);
    program_case_fini(&c);
}

static void check_no_program(struct mst_model *model, const struct mst_compile *compile,
                             const struct mst_program_options *options, mst_status want, const char *words)
{
    struct mst_error err = {0};
    struct mst_program *program = (struct mst_program *)&err;
    mst_status status = mst_program_new(model, compile, device, options, &program, &err);
    if (status != want || strstr(err.text, words) == NULL)
        fail_msg("got %s: %s\nwant %s: … %s …", mst_status_name(status), err.text, mst_status_name(want), words);
    assert_null(program);
}

static void test_limits(void **state)
{
    (void)state;
    struct mst_model *model = program_model("[1000]", DENSE("wide", 100000, "relu") "," DENSE("narrow", 2, "linear"));
    struct mst_compile compile = {.n_outputs = 1, .losses = {{true, MST_LOSS_MEAN_SQUARED_ERROR, {0}, 0, 1}}};
    struct mst_program_options options = training;
    options.max_batch = 0;
    check_no_program(model, &compile, &options, MST_INVALID_ARGUMENT,
                     "a batch of 0 examples; it should be 1 to 1073741824");
    options.max_batch = ((size_t)1 << 30) + 1;
    check_no_program(model, &compile, &options, MST_INVALID_ARGUMENT, "a batch of 1073741825 examples");
    options.max_batch = SIZE_MAX;
    check_no_program(model, &compile, &options, MST_INVALID_ARGUMENT, "it should be 1 to 1073741824");
    options.max_batch = 1 << 30;
    check_no_program(model, &compile, &options, MST_RESOURCE_EXHAUSTED, "a batch of 1073741824 examples needs 859");
    options.max_batch = 30000; // 30000 rows of twice 100000 floats: 24 GB
    check_no_program(model, &compile, &options, MST_RESOURCE_EXHAUSTED, "the limit is 17179869184; lower batch_size");
    options = training;
    const enum mst_dtype float64 = MST_DTYPE_F64;
    options.input_dtypes = &float64;
    check_no_program(model, &compile, &options, MST_INVALID_ARGUMENT,
                     "features are float64; a program takes uint8, int32 or float32");
    check_no_program(model, NULL, &training, MST_INVALID_ARGUMENT, "training and evaluation need a loss");
    mst_program_free(NULL);
    mst_model_free(model);
}

// Prediction needs neither a loss nor labels; training's buffers are not made for it.
static void test_prediction(void **state)
{
    (void)state;
    struct mst_program_options options = training;
    struct program_case c, trained;
    draw(4);
    options.mode = MST_PROGRAM_PREDICT;
    program_case_init(&c, device, "[6]", DENSE("only", 3, "softmax"), NULL, &options);
    struct mst_program_step step = program_case_step(&c, x, NULL, 16);
    step.targets = NULL;
    struct program_result result = program_case_run(&c, &step);
    assert_true(result.loss == 0 && result.loss_is_finite);
    for (size_t r = 0; r < 16; r++) {
        const float *row = mst_program_output(c.program, 0) + r * 3;
        assert_true(fabsf(row[0] + row[1] + row[2] - 1.0f) < 1e-6f);
    }
    program_case_init(&trained, device, "[6]", DENSE("only", 3, "softmax"), SPARSE, &training);
    assert_true(mst_program_arena_bytes(c.program) > 0);
    assert_true(mst_program_arena_bytes(c.program) < mst_program_arena_bytes(trained.program));
    program_case_fini(&trained);
    program_case_fini(&c);
}

// What a batch counts among others: its examples, unless every loss divides by their weights.
static void test_weight_of_a_batch(void **state)
{
    (void)state;
    static const struct {
        const char *compile;
        bool has_weights;
        double weight;
    } cases[] = {
        {"{\"loss\":\"mse\"}", true, 16},
        {"{\"loss\":{\"class_name\":\"Huber\",\"config\":{\"reduction\":\"sum\"}}}", true, 16},
        {"{\"loss\":{\"class_name\":\"Huber\",\"config\":{\"reduction\":\"mean_with_sample_weight\"}}}", true, 4.5},
        {"{\"loss\":{\"class_name\":\"Huber\",\"config\":{\"reduction\":\"mean_with_sample_weight\"}}}", false, 16},
    };
    float weights[16] = {0.5f, 4.0f};
    draw(4);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct program_case c;
        program_case_init(&c, device, "[6]", DENSE("only", 1, "linear"), cases[i].compile, &training);
        struct mst_program_step step = step_of(&c, 0, 16);
        step.weights = cases[i].has_weights ? weights : NULL;
        assert_true(program_case_run(&c, &step).weight == cases[i].weight);
        program_case_fini(&c);
    }
    struct program_case c;
    float none[16] = {0};
    program_case_init(&c, device, "[6]", DENSE("only", 1, "linear"), cases[2].compile, &training);
    struct mst_program_step step = step_of(&c, 0, 16);
    step.weights = none;
    double weight = program_case_run(&c, &step).weight;
    assert_true(weight > 0 && weight < 1e-10);
    program_case_fini(&c);
}

int main(void)
{
    struct mst_error err = {0};
    program_random_seed("test_model_program");
    if (mst_device_cpu_new(2, &device, &err) != MST_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_partial_batches),
        cmocka_unit_test(test_order_of_gradients),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_dropout_keys),
        cmocka_unit_test(test_dropout_rate),
        cmocka_unit_test(test_dropout_scale),
        cmocka_unit_test(test_labels_of_any_values),
        cmocka_unit_test(test_bad_layer),
        cmocka_unit_test(test_labels_outside_the_classes),
        cmocka_unit_test(test_steps_refused),
        cmocka_unit_test(test_labels_as_targets),
        cmocka_unit_test(test_types_of_features),
        cmocka_unit_test(test_steps_are_independent),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_prediction),
        cmocka_unit_test(test_weight_of_a_batch),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mst_device_free(device);
    return failed;
}
