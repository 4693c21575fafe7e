// Loss, metrics and weighted metrics over several batches, with sample and class weights, against what Keras's evaluate
// reports; and the loss and gradients of a training step with weights. The batches are measured by two programs' sums,
// as by two workers, which are added up: the numbers must be those of all examples together.
#include "base/alloc.h"
#include "golden_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Of the value: Keras adds counts and areas in float32. Gradients, of the largest of the model's: a tanh near 1 leaves
// few digits of its slope.
#define TOLERANCE          1e-6
#define GRADIENT_TOLERANCE 3e-6

static struct mst_device *device;
static size_t n_weighted;

struct weighted_run {
    struct golden_run run;
    const float *weights; // NULL: none
    size_t batch;
};

static void start(struct weighted_run *w, struct golden *golden, size_t index, enum mst_program_mode mode)
{
    const enum mst_dtype float32 = MST_DTYPE_F32;
    *w = (struct weighted_run){.run = {.golden = golden, .index = index, .device = device}};
    w->batch = (size_t)json_integer_value(golden_case_value(golden, index, "batch"));
    struct mst_program_options options = {.mode = mode, .max_batch = w->batch, .input_dtypes = &float32};
    assert_true(golden_run_init(&w->run, "w", &options));
    size_t n;
    if (json_is_true(golden_case_value(golden, index, "is_weighted"))) {
        w->weights = golden_tensor(golden, &n, "%s.weights", w->run.name);
        assert_int_equal(n, w->run.n_examples);
        n_weighted++;
    }
}

static struct mst_program_step step_of(struct weighted_run *w, size_t first, size_t n)
{
    struct mst_program_step step = golden_run_step(&w->run, first, n);
    step.weights = w->weights != NULL ? w->weights + first : NULL;
    return step;
}

// Class weights are for training: the evaluation is given what they make of the labels.
static float *weights_by_class(const struct weighted_run *w)
{
    const struct golden_run *run = &w->run;
    if (run->compile.n_class_weights == 0)
        return NULL;
    float *weights = mst_alloc_array(run->n_examples, sizeof *weights);
    for (size_t r = 0; r < run->n_examples; r++) {
        size_t class = 0;
        for (size_t i = 0; run->targets != NULL && i < run->n_outputs; i++)
            class = run->targets[r * run->n_outputs + i] == 1.0f ? i : class;
        if (run->targets != NULL && run->n_outputs == 1)
            class = (size_t)run->targets[r];
        weights[r] = mst_compile_class_weight(&run->compile, run->labels ? run->labels[r] : (int32_t)class);
    }
    return weights;
}

static void check_evaluation(struct golden *golden, size_t index)
{
    struct weighted_run w;
    start(&w, golden, index, MST_PROGRAM_EVAL);
    struct golden_run *run = &w.run;
    size_t n_sums = mst_compile_n_sums(&run->compile);
    double *workers = mst_alloc_array(2 * n_sums, sizeof *workers);
    float *by_class = weights_by_class(&w);
    if (by_class != NULL)
        w.weights = by_class;
    for (size_t first = 0; first < run->n_examples; first += w.batch) {
        size_t left = run->n_examples - first;
        struct mst_program_step step = step_of(&w, first, left < w.batch ? left : w.batch);
        step.sums = workers + first / w.batch % 2 * n_sums;
        golden_run_batch(run, &step);
    }
    for (size_t i = 0; i < n_sums; i++)
        run->sums[i] = workers[i] + workers[n_sums + i];
    for (size_t i = 0; i < mst_compile_n_measures(&run->compile); i++) {
        float value = golden_run_value(run, i);
        assert_true(golden_close(golden, &value, 1, TOLERANCE, "%s.evaluated.%s", run->name,
                                 mst_measure_name(&run->compile, i)));
    }
    free(workers);
    free(by_class);
    golden_run_fini(run);
}

static void check_training(struct golden *golden, size_t index)
{
    struct weighted_run w;
    start(&w, golden, index, MST_PROGRAM_TRAIN);
    struct golden_run *run = &w.run;
    struct mst_program_step step = step_of(&w, 0, w.batch);
    golden_run_batch(run, &step);
    float loss = golden_run_value(run, 0);
    assert_true(golden_close(golden, &loss, 1, TOLERANCE, "%s.loss", run->name));
    double of_model = 0;
    for (size_t v = 0; v < run->n_variables; v++)
        of_model =
            fmax(of_model, golden_largest(golden, "%s.g.%s", run->name, mst_model_variable(run->model, v)->name));
    for (size_t v = 0; v < run->n_variables; v++) {
        const struct mst_variable *variable = mst_model_variable(run->model, v);
        double largest = golden_largest(golden, "%s.g.%s", run->name, variable->name);
        assert_true(golden_close(golden, run->grads[v], variable->n_elements,
                                 largest > 0 ? GRADIENT_TOLERANCE * of_model / largest : GRADIENT_TOLERANCE, "%s.g.%s",
                                 run->name, variable->name));
    }
    golden_run_fini(run);
}

static void test_metrics(void **state)
{
    (void)state;
    struct golden *golden = golden_open("metrics");
    for (size_t i = 0; i < golden_n_cases(golden); i++) {
        check_evaluation(golden, i);
        check_training(golden, i);
    }
    assert_true(golden_n_cases(golden) > 12 && n_weighted > 12);
    golden_free(golden);
}

int main(int argc, char **argv)
{
    struct mst_error err = {0};
    if (argc > 1)
        golden_folder(argv[1]);
    if (mst_device_cpu_new(2, &device, &err) != MST_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_metrics)};
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    mst_device_free(device);
    return n_failed;
}
