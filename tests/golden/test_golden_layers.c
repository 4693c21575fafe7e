// One batch through small models: output, loss, metrics and gradients of every kind of layer, activation and loss, against
// what Keras computed. Features go in as floats and, where they are bytes, as bytes and integers too.
#include "golden_run.h"
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

// The goal for single layers: 1e-6 of the largest value of the tensor. A float has 6e-8; sums of at most 16 products
// and one transcendental function of a few units in the last place leave about 3e-7.
#define TOLERANCE 1e-6

static struct mst_device *device;

static bool has_dropout(const struct golden *golden, size_t index)
{
    char *text = json_dumps(golden_case_value(golden, index, "model"), JSON_COMPACT);
    bool found = strstr(text, "\"Dropout\"") != NULL;
    free(text);
    return found;
}

static void check_output(struct golden_run *run, const struct mst_program_step *step, enum mst_program_mode mode)
{
    size_t n;
    char text[160];
    const float *want = golden_tensor(run->golden, &n, "%s.output", run->name);
    assert_int_equal(n, step->n_examples * run->n_outputs);
    snprintf(text, sizeof text, "%s, output of %s", run->name, mode == MST_PROGRAM_EVAL ? "evaluation" : "prediction");
    assert_true(mst_test_floats_close(text, mst_program_output(run->program), want, n, TOLERANCE));
}

static void check_loss(const struct golden_run *run, const struct mst_program_result *result)
{
    size_t n;
    char text[160];
    const float *want = golden_tensor(run->golden, &n, "%s.loss", run->name);
    float loss = (float)(result->loss_sum / result->weight);
    snprintf(text, sizeof text, "%s, loss", run->name);
    assert_true(mst_test_floats_close(text, &loss, want, 1, TOLERANCE));
    if (!golden_has_tensor(run->golden, "%s.metrics", run->name))
        return;
    const float *metrics = golden_tensor(run->golden, &n, "%s.metrics", run->name);
    assert_int_equal(n, result->n_metrics);
    for (size_t m = 0; m < n; m++) {
        float value = (float)(result->metric_sums[m] / result->weight);
        snprintf(text, sizeof text, "%s, metric %s", run->name, run->compile.metrics[m].name);
        assert_true(mst_test_floats_close(text, &value, metrics + m, 1, TOLERANCE));
    }
}

static void check_gradients(const struct golden_run *run)
{
    for (size_t v = 0; v < run->n_variables; v++) {
        const char *variable = mst_model_variable(run->model, v)->name;
        size_t n;
        char text[200];
        const float *want = golden_tensor(run->golden, &n, "%s.g.%s", run->name, variable);
        snprintf(text, sizeof text, "%s, gradient of %s", run->name, variable);
        assert_true(mst_test_floats_close(text, run->grads[v], want, n, TOLERANCE));
    }
}

static void check_mode(const struct golden *golden, size_t index, enum mst_program_mode mode, enum mst_dtype dtype)
{
    struct golden_run run = {.golden = golden, .index = index, .device = device};
    struct mst_program_options options = {.mode = mode, .max_batch = 64, .feature_dtype = dtype};
    if (!golden_run_init(&run, "w", &options))
        return;
    struct mst_program_step step = golden_run_step(&run, 0, run.n_examples);
    struct mst_program_result result = golden_run_batch(&run, &step);
    if (mode != MST_PROGRAM_TRAIN)
        check_output(&run, &step, mode);
    if (mode != MST_PROGRAM_PREDICT)
        check_loss(&run, &result);
    if (mode == MST_PROGRAM_TRAIN)
        check_gradients(&run);
    golden_run_fini(&run);
}

static void check_dump(const char *name)
{
    static const enum mst_dtype dtypes[] = {MST_DTYPE_F32, MST_DTYPE_U8, MST_DTYPE_I32};
    struct golden *golden = golden_open(name);
    for (size_t i = 0; i < golden_n_cases(golden); i++)
        for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
            check_mode(golden, i, MST_PROGRAM_PREDICT, dtypes[d]);
            check_mode(golden, i, MST_PROGRAM_EVAL, dtypes[d]);
            if (!has_dropout(golden, i)) // Keras computed these with dropout off
                check_mode(golden, i, MST_PROGRAM_TRAIN, dtypes[d]);
        }
    golden_free(golden);
}

static void test_layers(void **state)
{
    (void)state;
    check_dump("layers");
}

static void test_losses(void **state)
{
    (void)state;
    check_dump("losses");
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_layers), cmocka_unit_test(test_losses)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mst_device_free(device);
    return failed;
}
