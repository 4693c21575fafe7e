// Models that are graphs against what Keras computed of them: outputs, loss and all gradients, and the statistics of
// moving averages; each read in both dialects of Keras where both have its layers.
#include "base/alloc.h"
#include "golden_file.h"
#include "model/program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ARRAYS = 4 };

// The goal for whole models, of the largest value of a tensor.
#define TOLERANCE 1e-5

static struct mst_device *device;

struct graph {
    struct golden *golden;
    const char *name;
    struct mst_model *model;
    struct mst_compile compile;
    size_t n_variables;
    const float **params;
    float **grads;
    size_t *n_told;
    const void *inputs[MAX_ARRAYS];
    struct mst_target targets[MAX_ARRAYS];
    size_t n_examples;
};

static void on_gradient(void *context, size_t variable)
{
    struct graph *graph = context;
    graph->n_told[variable]++;
}

static void open_graph(struct graph *graph, size_t index, size_t dialect)
{
    struct mst_error err = {0};
    graph->name = golden_case_name(graph->golden, index);
    const json_t *json = json_array_get(golden_case_value(graph->golden, index, "models"), dialect);
    char *text = json_dumps(json, JSON_COMPACT);
    if (mst_model_parse((struct mst_bytes){text, strlen(text)}, graph->name, &graph->model, &err) != MST_OK)
        fail_msg("dialect %zu: %s", dialect, err.text);
    free(text);
    const json_t *compile = golden_case_value(graph->golden, index, "compile");
    if (mst_compile_parse(compile, "compile", graph->model, &graph->compile, &err) != MST_OK)
        fail_msg("%s: %s", graph->name, err.text);
    graph->n_variables = mst_model_n_variables(graph->model);
    graph->params = mst_alloc_array(graph->n_variables, sizeof(float *));
    graph->grads = mst_alloc_array(graph->n_variables, sizeof(float *));
    graph->n_told = mst_alloc_array(graph->n_variables, sizeof(size_t));
    for (size_t v = 0; v < graph->n_variables; v++) {
        const struct mst_variable *variable = mst_model_variable(graph->model, v);
        size_t n;
        graph->params[v] = golden_tensor(graph->golden, &n, "%s.w.%s", graph->name, variable->name);
        assert_int_equal(n, variable->n_elements);
        if (variable->update == MST_UPDATE_FROZEN)
            continue;
        graph->grads[v] = mst_alloc_array(n, sizeof(float));
        for (size_t i = 0; i < n; i++)
            graph->grads[v][i] = -777.0f; // what is not written shows
    }
    size_t n = 0;
    assert_true(mst_model_n_inputs(graph->model) <= MAX_ARRAYS && mst_model_n_outputs(graph->model) <= MAX_ARRAYS);
    for (size_t i = 0; i < mst_model_n_inputs(graph->model); i++) {
        size_t n_in;
        graph->inputs[i] = golden_tensor(graph->golden, &n, "%s.x.%zu", graph->name, i);
        assert_int_equal(mst_shape_count(mst_model_input_shape(graph->model, i), &n_in), MST_OK);
        graph->n_examples = n / n_in;
    }
    for (size_t i = 0; i < mst_model_n_outputs(graph->model); i++)
        graph->targets[i].values = golden_tensor(graph->golden, &n, "%s.y.%zu", graph->name, i);
}

static void close_graph(struct graph *graph)
{
    mst_model_free(graph->model);
    for (size_t v = 0; v < graph->n_variables; v++)
        free(graph->grads[v]);
    free((void *)graph->params);
    free(graph->grads);
    free(graph->n_told);
}

static void check_loss(struct graph *graph, const double *sums, const char *key)
{
    float loss = (float)mst_measure_value(&graph->compile, 0, sums);
    assert_true(golden_close(graph->golden, &loss, 1, TOLERANCE, "%s.%s", graph->name, key));
}

static void check_outputs(struct graph *graph, const struct mst_program *program)
{
    for (size_t i = 0; i < mst_model_n_outputs(graph->model); i++) {
        size_t n;
        assert_int_equal(mst_shape_count(mst_model_output_shape(graph->model, i), &n), MST_OK);
        assert_true(golden_close(graph->golden, mst_program_output(program, i), n * graph->n_examples, TOLERANCE,
                                 "%s.output.%zu", graph->name, i));
    }
}

// Of a variable that no loss depends on Keras has no gradient, and ours is 0.
static void check_gradients(struct graph *graph)
{
    for (size_t v = 0; v < graph->n_variables; v++) {
        const struct mst_variable *variable = mst_model_variable(graph->model, v);
        assert_int_equal(graph->n_told[v], variable->update == MST_UPDATE_FROZEN ? 0 : 1);
        if (graph->grads[v] != NULL)
            assert_true(golden_close(graph->golden, graph->grads[v], variable->n_elements, TOLERANCE, "%s.g.%s",
                                     graph->name, variable->name));
    }
}

static void run_graph(struct graph *graph, enum mst_program_mode mode)
{
    static const enum mst_dtype dtypes[MAX_ARRAYS] = {MST_DTYPE_F32, MST_DTYPE_F32, MST_DTYPE_F32, MST_DTYPE_F32};
    struct mst_program_options options = {.mode = mode, .max_batch = 9, .input_dtypes = dtypes};
    double *sums = mst_alloc_array(mst_compile_n_sums(&graph->compile), sizeof *sums);
    struct mst_program *program;
    struct mst_program_result result;
    struct mst_error err = {0};
    if (mst_program_new(graph->model, &graph->compile, device, &options, &program, &err) != MST_OK)
        fail_msg("%s: %s", graph->name, err.text);
    struct mst_program_step step = {.params = graph->params,
                                    .grads = graph->grads,
                                    .inputs = graph->inputs,
                                    .targets = graph->targets,
                                    .n_examples = graph->n_examples,
                                    .sums = sums,
                                    .on_gradient = on_gradient,
                                    .context = graph};
    if (mst_program_run(program, &step, &result, &err) != MST_OK)
        fail_msg("%s: %s", graph->name, err.text);
    assert_true(result.loss_is_finite);
    if (mode != MST_PROGRAM_TRAIN)
        check_outputs(graph, program);
    if (mode == MST_PROGRAM_EVAL)
        check_loss(graph, sums, "evaluated");
    if (mode == MST_PROGRAM_TRAIN) {
        check_loss(graph, sums, "loss");
        check_gradients(graph);
    }
    mst_program_free(program);
    free(sums);
}

static void test_graphs(void **state)
{
    (void)state;
    struct golden *golden = golden_open("graphs");
    for (size_t i = 0; i < golden_n_cases(golden); i++) {
        size_t n_dialects = json_array_size(golden_case_value(golden, i, "models"));
        for (size_t dialect = 0; dialect < n_dialects; dialect++) {
            struct graph graph = {.golden = golden};
            open_graph(&graph, i, dialect);
            run_graph(&graph, MST_PROGRAM_PREDICT);
            run_graph(&graph, MST_PROGRAM_EVAL);
            run_graph(&graph, MST_PROGRAM_TRAIN);
            close_graph(&graph);
        }
    }
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_graphs)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mst_device_free(device);
    return failed;
}
