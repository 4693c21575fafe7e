// Fifty steps of whole models, as one process trains them: weights every ten steps against Keras's, then loss and
// metrics of an evaluation whose last batch is partial.
#include "base/alloc.h"
#include "golden_run.h"
#include "optim/clip.h"
#include "optim/optimizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The goals. SGD adds up the gradients' rounding, 50 times about 1e-7 of a step that is small beside the
// weight. Adam divides by the square root of the second moment, so a gradient near 0, known to 1e-7 of the largest
// only, moves its weight by a whole learning rate: two correct implementations were measured to differ by 3e-6 after
// 50 steps.
#define SGD_TOLERANCE  1e-6
#define ADAM_TOLERANCE 2e-5

// Gradients of the example's three layers: sums of 784 and 300 products, then of 64 rows whose signs differ, which
// leaves an eighth of their size. OpenBLAS's core types, which only order these sums differently, give 0.6e-6 to
// 1.1e-6.
#define EXAMPLE_TOLERANCE 4e-6

static struct mst_device *device;

struct training {
    struct golden_run run;
    struct mst_optimizer *optimizer;
    size_t n_slots;
    float ***slots; // slots[v][s]
    size_t steps;
    size_t batch;
};

static void start(struct training *t, struct golden *golden, size_t index)
{
    struct mst_error err = {0};
    const json_t *compile = golden_case_value(golden, index, "compile");
    bool is_image = json_is_true(golden_case_value(golden, index, "is_image"));
    *t = (struct training){.run = {.golden = golden, .index = index, .device = device}};
    t->steps = (size_t)json_integer_value(golden_case_value(golden, index, "steps"));
    t->batch = (size_t)json_integer_value(golden_case_value(golden, index, "batch"));
    const enum mst_dtype dtype = is_image ? MST_DTYPE_U8 : MST_DTYPE_F32;
    struct mst_program_options options = {.mode = MST_PROGRAM_TRAIN, .max_batch = t->batch, .input_dtypes = &dtype};
    assert_true(golden_run_init(&t->run, "w.0", &options));
    if (mst_optimizer_parse(json_object_get(compile, "optimizer"), "optimizer", &t->optimizer, &err) != MST_OK)
        fail_msg("%s", err.text);
    t->n_slots = mst_optimizer_n_slots(t->optimizer);
    t->slots = mst_alloc_array(t->run.n_variables, sizeof *t->slots);
    for (size_t v = 0; v < t->run.n_variables; v++) {
        t->slots[v] = mst_alloc_array(MST_OPTIMIZER_MAX_SLOTS, sizeof **t->slots);
        for (size_t s = 0; s < t->n_slots; s++)
            t->slots[v][s] = mst_alloc_array(mst_model_variable(t->run.model, v)->n_elements, sizeof(float));
    }
}

static void finish(struct training *t)
{
    for (size_t v = 0; v < t->run.n_variables; v++) {
        for (size_t s = 0; s < t->n_slots; s++)
            free(t->slots[v][s]);
        free(t->slots[v]);
    }
    free(t->slots);
    mst_optimizer_free(t->optimizer);
    golden_run_fini(&t->run);
}

static void check_weights(const struct training *t, size_t step)
{
    bool is_sgd = strcmp(mst_optimizer_name(t->optimizer), "SGD") == 0;
    for (size_t v = 0; v < t->run.n_variables; v++) {
        const struct mst_variable *variable = mst_model_variable(t->run.model, v);
        assert_true(golden_close(t->run.golden, t->run.params[v], variable->n_elements,
                                 is_sgd ? SGD_TOLERANCE : ADAM_TOLERANCE, "%s.w.%zu.%s", t->run.name, step,
                                 variable->name));
    }
}

static void check_first_batch(struct training *t)
{
    struct mst_program_step batch = golden_run_step(&t->run, 0, t->batch);
    golden_run_batch(&t->run, &batch);
    float loss = golden_run_value(&t->run, 0);
    assert_true(golden_close(t->run.golden, &loss, 1, EXAMPLE_TOLERANCE, "%s.loss", t->run.name));
    for (size_t v = 0; v < t->run.n_variables; v++) {
        const struct mst_variable *variable = mst_model_variable(t->run.model, v);
        assert_true(golden_close(t->run.golden, t->run.grads[v], variable->n_elements, EXAMPLE_TOLERANCE, "%s.g.%s",
                                 t->run.name, variable->name));
    }
}

// As the worker does (worker/trainer.c).
static void clip(struct training *t)
{
    struct mst_clip limits = mst_optimizer_clip(t->optimizer);
    double sum = 0;
    for (size_t v = 0; v < t->run.n_variables; v++) {
        size_t n = mst_model_variable(t->run.model, v)->n_elements;
        if (limits.norm > 0)
            mst_clip_by_norm(limits.norm, t->run.grads[v], n);
        sum += mst_clip_square_sum(t->run.grads[v], n);
    }
    float scale = limits.global_norm > 0 ? mst_clip_global_scale(limits.global_norm, sum) : 1.0f;
    for (size_t v = 0; v < t->run.n_variables; v++)
        mst_clip_scale(scale, t->run.grads[v], mst_model_variable(t->run.model, v)->n_elements);
}

static void train(struct training *t)
{
    for (size_t step = 1; step <= t->steps; step++) {
        struct mst_program_step batch = golden_run_step(&t->run, (step - 1) * t->batch, t->batch);
        golden_run_batch(&t->run, &batch);
        clip(t);
        for (size_t v = 0; v < t->run.n_variables; v++) {
            size_t n = mst_model_variable(t->run.model, v)->n_elements;
            float *w = t->run.params[v];
            assert_true(mst_optimizer_apply(t->optimizer, step - 1, n, t->run.grads[v], w, w, t->slots[v]));
        }
        if (step % 10 == 0)
            check_weights(t, step);
    }
}

// What Keras's evaluate returned for Keras's own final weights, in batches of 24: 800 examples leave a batch of 8.
static void check_evaluation(struct golden *golden, size_t index, bool is_image)
{
    enum { EVAL_BATCH = 24 };
    struct golden_run run = {.golden = golden, .index = index, .device = device};
    const enum mst_dtype dtype = is_image ? MST_DTYPE_U8 : MST_DTYPE_F32;
    struct mst_program_options options = {.mode = MST_PROGRAM_EVAL, .max_batch = EVAL_BATCH, .input_dtypes = &dtype};
    assert_true(golden_run_init(&run, "w.50", &options));
    for (size_t first = 0; first < run.n_examples; first += EVAL_BATCH) {
        size_t left = run.n_examples - first;
        struct mst_program_step step = golden_run_step(&run, first, left < EVAL_BATCH ? left : EVAL_BATCH);
        golden_run_batch(&run, &step);
    }
    // Keras adds the batches' losses in float32: a few times 1e-7 over 34 batches
    for (size_t i = 0; i < mst_compile_n_measures(&run.compile); i++) {
        float value = golden_run_value(&run, i);
        assert_true(golden_close(golden, &value, 1, i == 0 ? 1e-6 : 1e-7, "%s.evaluated.%s", run.name,
                                 mst_measure_name(&run.compile, i)));
    }
    golden_run_fini(&run);
}

static void check_trajectories(const char *dump)
{
    struct golden *golden = golden_open(dump);
    for (size_t i = 0; i < golden_n_cases(golden); i++) {
        struct training t;
        start(&t, golden, i);
        train(&t);
        finish(&t);
        check_evaluation(golden, i, json_is_true(golden_case_value(golden, i, "is_image")));
    }
    golden_free(golden);
}

static void test_trajectories(void **state)
{
    (void)state;
    check_trajectories("trajectories");
}

// Every gradient of these is longer than the limit in most of the steps.
static void test_clipped(void **state)
{
    (void)state;
    check_trajectories("clipped");
}

// The example's own model; here also the first batch, whose sums have 784 products.
static void test_example(void **state)
{
    (void)state;
    struct golden *golden = golden_open("example");
    for (size_t i = 0; i < golden_n_cases(golden); i++) {
        struct training t;
        start(&t, golden, i);
        check_first_batch(&t);
        train(&t);
        finish(&t);
    }
    golden_free(golden);
}

int main(int argc, char **argv)
{
    struct mst_error err = {0};
    if (argc > 1)
        golden_folder(argv[1]);
    if (mst_device_cpu_new(1, &device, &err) != MST_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_trajectories), cmocka_unit_test(test_clipped),
                                       cmocka_unit_test(test_example)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mst_device_free(device);
    return failed;
}
