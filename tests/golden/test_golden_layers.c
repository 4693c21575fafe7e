// One batch through small models: output, loss, metrics and gradients of every kind of layer, activation and loss,
// against what Keras computed. Features go in as floats and, where they are bytes, as bytes and integers too.
#include "golden_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The goal for single layers: 1e-6 of the largest value of the tensor. A float has 6e-8; sums of at most 16
// products and one transcendental function of a few units in the last place leave about 3e-7.
#define TOLERANCE 1e-6

static struct mst_device *device;

static bool has_dropout(struct golden *golden, size_t index)
{
    char *text = json_dumps(golden_case_value(golden, index, "model"), JSON_COMPACT);
    bool found = strstr(text, "\"class_name\":\"Dropout\"") != NULL && strstr(text, "\"rate\":0.0") == NULL;
    free(text);
    return found;
}

// Loss and metrics under the names that Keras reports.
static void check_measured(const struct golden_run *run)
{
    float loss = golden_run_value(run, 0);
    assert_true(golden_close(run->golden, &loss, 1, TOLERANCE, "%s.loss", run->name));
    for (size_t i = 0; i < mst_compile_n_measures(&run->compile); i++) {
        float value = golden_run_value(run, i);
        assert_true(golden_close(run->golden, &value, 1, TOLERANCE, "%s.evaluated.%s", run->name,
                                 mst_measure_name(&run->compile, i)));
    }
}

static void check_gradients(const struct golden_run *run)
{
    for (size_t v = 0; v < run->n_variables; v++) {
        const struct mst_variable *variable = mst_model_variable(run->model, v);
        assert_true(golden_close(run->golden, run->grads[v], variable->n_elements, TOLERANCE, "%s.g.%s", run->name,
                                 variable->name));
    }
}

static void check_mode(struct golden *golden, size_t index, enum mst_program_mode mode, enum mst_dtype dtype)
{
    struct golden_run run = {.golden = golden, .index = index, .device = device};
    struct mst_program_options options = {.mode = mode, .max_batch = 64, .input_dtypes = &dtype};
    if (!golden_run_init(&run, "w", &options))
        return;
    struct mst_program_step step = golden_run_step(&run, 0, run.n_examples);
    golden_run_batch(&run, &step);
    if (mode != MST_PROGRAM_TRAIN)
        assert_true(golden_close(golden, mst_program_output(run.program, 0), run.n_examples * run.n_outputs, TOLERANCE,
                                 "%s.output", run.name));
    if (mode != MST_PROGRAM_PREDICT)
        check_measured(&run);
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
