// One batch under each loss and metric beyond those of test_golden_layers.c: loss, metrics and gradients, against what
// Keras computed; and the same numbers from labels where the targets are what labels say.
#include "base/alloc.h"
#include "golden_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

// Of the largest value of the tensor, as in test_golden_layers.c; of a gradient, of the largest of the whole model's,
// for the only element of the bias of one output is a sum that may cancel.
#define TOLERANCE 1e-6

static struct mst_device *device;
static size_t n_from_labels;

static void check_result(const struct golden_run *run)
{
    float value = golden_run_value(run, 0);
    assert_true(golden_close(run->golden, &value, 1, TOLERANCE, "%s.loss", run->name));
    for (size_t i = 1; i < mst_compile_n_measures(&run->compile); i++) {
        value = golden_run_value(run, i);
        assert_true(golden_close(run->golden, &value, 1, TOLERANCE, "%s.evaluated.%s", run->name,
                                 mst_measure_name(&run->compile, i)));
    }
}

// The labels that say the same as the targets, or NULL.
static int32_t *labels_of(const struct golden_run *run)
{
    size_t n_outputs = run->n_outputs;
    enum mst_label_use use = mst_compile_label_use(&run->compile, run->model, 0);
    int32_t *labels = mst_alloc_array(run->n_examples, sizeof *labels);
    bool same = run->targets != NULL && use != MST_LABEL_NONE;
    for (size_t r = 0; r < run->n_examples && same; r++) {
        const float *row = run->targets + r * n_outputs;
        float sum = 0;
        for (size_t j = 0; j < n_outputs && use == MST_LABEL_ONE_HOT; j++) {
            labels[r] = row[j] == 1.0f ? (int32_t)j : labels[r];
            same = same && (row[j] == 0.0f || row[j] == 1.0f);
            sum += row[j];
        }
        if (use == MST_LABEL_ONE_HOT) {
            same = same && sum == 1.0f;
        } else {
            same = same && row[0] >= -1.0f && row[0] <= 1e6f && row[0] == (float)(int32_t)row[0];
            labels[r] = same ? (int32_t)row[0] : 0;
        }
    }
    if (same)
        return labels;
    free(labels);
    return NULL;
}

static void check_gradients(const struct golden_run *run)
{
    double of_model = 0;
    for (size_t v = 0; v < run->n_variables; v++)
        of_model =
            fmax(of_model, golden_largest(run->golden, "%s.g.%s", run->name, mst_model_variable(run->model, v)->name));
    for (size_t v = 0; v < run->n_variables; v++) {
        const struct mst_variable *variable = mst_model_variable(run->model, v);
        double of_variable = golden_largest(run->golden, "%s.g.%s", run->name, variable->name);
        double tolerance = of_variable > 0 ? TOLERANCE * of_model / of_variable : TOLERANCE;
        assert_true(golden_close(run->golden, run->grads[v], variable->n_elements, tolerance, "%s.g.%s", run->name,
                                 variable->name));
    }
}

static void check_step(struct golden_run *run, const struct mst_program_step *step, enum mst_program_mode mode)
{
    golden_run_restart(run);
    golden_run_batch(run, step);
    check_result(run);
    if (mode == MST_PROGRAM_EVAL)
        assert_true(golden_close(run->golden, mst_program_output(run->program, 0), run->n_examples * run->n_outputs,
                                 TOLERANCE, "%s.output", run->name));
    if (mode == MST_PROGRAM_TRAIN)
        check_gradients(run);
}

static void check_mode(struct golden *golden, size_t index, enum mst_program_mode mode)
{
    struct golden_run run = {.golden = golden, .index = index, .device = device};
    const enum mst_dtype float32 = MST_DTYPE_F32;
    struct mst_program_options options = {.mode = mode, .max_batch = 20, .input_dtypes = &float32};
    assert_true(golden_run_init(&run, "w", &options));
    struct mst_program_step step = golden_run_step(&run, 0, run.n_examples);
    check_step(&run, &step, mode);
    int32_t *labels = labels_of(&run);
    if (labels != NULL) {
        const struct mst_target target = {.labels = labels};
        step.targets = &target;
        check_step(&run, &step, mode);
        n_from_labels++;
    }
    free(labels);
    golden_run_fini(&run);
}

static void test_more_losses(void **state)
{
    (void)state;
    struct golden *golden = golden_open("more_losses");
    for (size_t i = 0; i < golden_n_cases(golden); i++) {
        check_mode(golden, i, MST_PROGRAM_EVAL);
        check_mode(golden, i, MST_PROGRAM_TRAIN);
    }
    assert_true(golden_n_cases(golden) > 50 && n_from_labels > 30);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_more_losses)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mst_device_free(device);
    return failed;
}
