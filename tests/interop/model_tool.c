// What a comparison with real Keras drives: one batch through a model, everything as raw little-endian floats.
//
//   model_tool describe MODEL.json                     one line an input, an output and a variable, in our order:
//                                                      input NAME DTYPE DIM…, output NAME DIM…,
//                                                      variable NAME (trained|average|frozen) DIM…
//   model_tool run MODEL.json COMPILE.json N           stdin:  all variables, then N examples of each input, then the
//                                                              N dense targets of each output
//                                                      stdout: each output as predict gives it, the loss as evaluate
//                                                              gives it, that of a training step, and the gradient of
//                                                              each trained variable (of an average its statistic)
#include "base/alloc.h"
#include "model/compile.h"
#include "model/model.h"
#include "model/program.h"
#include "tensor/dtype.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct mst_error error;

static void check(mst_status status)
{
    if (status == MST_OK)
        return;
    fprintf(stderr, "%s: %s\n", mst_status_name(status), error.text);
    exit(1);
}

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(2);
}

static struct mst_model *read_model(const char *path)
{
    json_error_t where;
    struct mst_model *model;
    json_t *json = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
    if (json == NULL)
        fail(where.text);
    char *text = json_dumps(json, JSON_COMPACT);
    check(mst_model_parse((struct mst_bytes){text, strlen(text)}, path, &model, &error));
    free(text);
    json_decref(json);
    return model;
}

static void print_dims(const struct mst_shape *shape)
{
    for (size_t i = 0; i < shape->rank; i++)
        printf(" %zu", shape->dims[i]);
    putchar('\n');
}

static void describe(const struct mst_model *model)
{
    static const char *const updates[] = {
        [MST_UPDATE_OPTIMIZER] = "trained", [MST_UPDATE_MOVING_AVERAGE] = "average", [MST_UPDATE_FROZEN] = "frozen"};
    for (size_t i = 0; i < mst_model_n_inputs(model); i++) {
        printf("input %s %s", mst_model_input_name(model, i), mst_dtype_name(mst_model_input_dtype(model, i)));
        print_dims(mst_model_input_shape(model, i));
    }
    for (size_t i = 0; i < mst_model_n_outputs(model); i++) {
        printf("output %s", mst_model_output_name(model, i));
        print_dims(mst_model_output_shape(model, i));
    }
    for (size_t i = 0; i < mst_model_n_variables(model); i++) {
        const struct mst_variable *variable = mst_model_variable(model, i);
        printf("variable %s %s", variable->name, updates[variable->update]);
        print_dims(&variable->shape);
    }
}

static size_t count(const struct mst_shape *shape)
{
    size_t n;
    check(mst_shape_count(shape, &n));
    return n;
}

static float *read_floats(size_t n)
{
    float *values = mst_alloc_array(n + 1, sizeof *values);
    if (fread(values, sizeof *values, n, stdin) != n)
        fail("stdin ends too early");
    return values;
}

static void write_floats(const float *values, size_t n)
{
    if (fwrite(values, sizeof *values, n, stdout) != n)
        fail("stdout is closed");
}

struct batch {
    struct mst_model *model;
    struct mst_compile compile;
    struct mst_device *device;
    float **params;
    float **grads;
    void **inputs;
    struct mst_target *targets;
    enum mst_dtype *dtypes;
    size_t n;
};

static void read_batch(struct batch *batch)
{
    const struct mst_model *model = batch->model;
    size_t n_variables = mst_model_n_variables(model);
    batch->params = mst_alloc_array(n_variables, sizeof(float *));
    batch->grads = mst_alloc_array(n_variables, sizeof(float *));
    batch->inputs = mst_alloc_array(mst_model_n_inputs(model), sizeof(void *));
    batch->dtypes = mst_alloc_array(mst_model_n_inputs(model), sizeof *batch->dtypes);
    batch->targets = mst_alloc_array(mst_model_n_outputs(model), sizeof *batch->targets);
    for (size_t v = 0; v < n_variables; v++) {
        batch->params[v] = read_floats(mst_model_variable(model, v)->n_elements);
        batch->grads[v] = mst_alloc_array(mst_model_variable(model, v)->n_elements, sizeof(float));
    }
    for (size_t i = 0; i < mst_model_n_inputs(model); i++) {
        batch->inputs[i] = read_floats(batch->n * count(mst_model_input_shape(model, i)));
        batch->dtypes[i] = MST_DTYPE_F32;
    }
    for (size_t i = 0; i < mst_model_n_outputs(model); i++)
        batch->targets[i].values = read_floats(batch->n * count(mst_model_output_shape(model, i)));
}

static void run_mode(const struct batch *batch, enum mst_program_mode mode)
{
    struct mst_program_options options = {.mode = mode, .max_batch = batch->n, .input_dtypes = batch->dtypes};
    double *sums = mst_alloc_array(mst_compile_n_sums(&batch->compile), sizeof *sums);
    struct mst_program *program;
    struct mst_program_result result;
    check(mst_program_new(batch->model, &batch->compile, batch->device, &options, &program, &error));
    struct mst_program_step step = {.params = (const float *const *)batch->params,
                                    .grads = batch->grads,
                                    .inputs = (const void *const *)batch->inputs,
                                    .targets = batch->targets,
                                    .n_examples = batch->n,
                                    .sums = sums};
    check(mst_program_run(program, &step, &result, &error));
    for (size_t i = 0; i < mst_model_n_outputs(batch->model) && mode == MST_PROGRAM_EVAL; i++)
        write_floats(mst_program_output(program, i), batch->n * count(mst_model_output_shape(batch->model, i)));
    float loss = (float)mst_measure_value(&batch->compile, 0, sums);
    write_floats(&loss, 1);
    free(sums);
    mst_program_free(program);
}

static void run(struct mst_model *model, const char *compile, const char *n)
{
    json_error_t where;
    struct batch batch = {.model = model, .n = strtoul(n, NULL, 10)};
    json_t *json = json_load_file(compile, JSON_REJECT_DUPLICATES, &where);
    if (json == NULL)
        fail(where.text);
    check(mst_compile_parse(json, "compile", model, &batch.compile, &error));
    json_decref(json);
    check(mst_device_cpu_new(1, &batch.device, &error));
    read_batch(&batch);
    run_mode(&batch, MST_PROGRAM_EVAL);
    run_mode(&batch, MST_PROGRAM_TRAIN);
    for (size_t v = 0; v < mst_model_n_variables(model); v++) {
        const struct mst_variable *variable = mst_model_variable(model, v);
        if (variable->update != MST_UPDATE_FROZEN)
            write_floats(batch.grads[v], variable->n_elements);
        free(batch.params[v]);
        free(batch.grads[v]);
    }
    for (size_t i = 0; i < mst_model_n_inputs(model); i++)
        free(batch.inputs[i]);
    for (size_t i = 0; i < mst_model_n_outputs(model); i++)
        free((void *)(uintptr_t)batch.targets[i].values);
    free(batch.params);
    free(batch.grads);
    free(batch.inputs);
    free(batch.dtypes);
    free(batch.targets);
    mst_device_free(batch.device);
}

int main(int argc, char **argv)
{
    if (argc < 3 || (strcmp(argv[1], "describe") != 0 && (strcmp(argv[1], "run") != 0 || argc != 5)))
        fail("usage: model_tool describe MODEL | run MODEL COMPILE N");
    struct mst_model *model = read_model(argv[2]);
    if (strcmp(argv[1], "run") == 0)
        run(model, argv[3], argv[4]);
    else
        describe(model);
    mst_model_free(model);
    return 0;
}
