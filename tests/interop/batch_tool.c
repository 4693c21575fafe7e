// What test_random_models.py drives: computes one batch of a model for each line of stdin, a JSON object, and answers
// with a line of JSON. Arrays are files of raw numbers, row-major.
//
//   {"model": PATH,             a .keras archive or a model directory, with its weights
//    "same": TEXT,              a model.to_json() that should mean the same model; may be absent
//    "weights": PATH,           weights to take in place of the model's own; may be absent
//    "copy": PATH,              an archive to write; may be absent
//    "compile": {…},            absent: outputs alone
//    "train": true|false,       with gradients
//    "n": EXAMPLES,
//    "inputs": [[DTYPE, PATH], …],                   u8, i32 or f32
//    "targets": [["labels"|"values", PATH], …],      an entry is null: none
//    "example_weights": PATH,                        may be absent
//    "out": PREFIX}             writes PREFIXoutput.I, and PREFIXgrad.V for every variable that is not frozen
//
//   {"variables": [NAME, …], "evaluated": {NAME: VALUE, …}, "trained": {…}} or {"error": TEXT}
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "device/device.h"
#include "model/compile.h"
#include "model/model.h"
#include "model/program.h"
#include "muster/status.h"
#include "spec/json_source.h"
#include "tensor/dtype.h"
#include "weights/weights.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_INPUTS = 64, MAX_PATH_BYTES = 4096 };

// One request.
struct task {
    json_t *request;
    json_t *answer;
    struct mst_device *device;
    struct mst_buf model_json;
    struct mst_model *model;
    struct mst_weights *weights;
    struct mst_compile compile;
    bool has_compile;
    void *inputs[MAX_INPUTS];
    enum mst_dtype dtypes[MAX_INPUTS];
    struct mst_target targets[MST_MAX_OUTPUTS];
    void *target_memory[MST_MAX_OUTPUTS];
    float *example_weights;
    float **grads;
    double *sums;
};

static const char *text_of(const struct task *task, const char *key)
{
    return json_string_value(json_object_get(task->request, key));
}

static size_t n_elements(const struct mst_shape *shape)
{
    size_t n = 1;
    for (size_t i = 0; i < shape->rank; i++)
        n *= shape->dims[i];
    return n;
}

static mst_status read_file(const char *path, size_t n_bytes, void **out, struct mst_error *err)
{
    FILE *file = path ? fopen(path, "rb") : NULL;
    if (!file)
        return mst_fail(err, MST_NOT_FOUND, "cannot open %s", path ? path : "a file that is not named");
    *out = mst_alloc(n_bytes + 1);
    size_t n = fread(*out, 1, n_bytes + 1, file);
    fclose(file);
    if (n != n_bytes)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s should have %zu bytes", path, n_bytes);
    return MST_OK;
}

static mst_status write_file(const struct task *task, const char *kind, size_t i, const float *data, size_t n,
                             struct mst_error *err)
{
    char path[MAX_PATH_BYTES];
    snprintf(path, sizeof path, "%s%s.%zu", text_of(task, "out"), kind, i);
    FILE *file = fopen(path, "wb");
    if (!file)
        return mst_fail(err, MST_NOT_FOUND, "cannot open %s", path);
    bool is_written = fwrite(data, sizeof *data, n, file) == n;
    if (fclose(file) != 0 || !is_written)
        return mst_fail(err, MST_DATA_LOSS, "cannot write %s", path);
    return MST_OK;
}

static mst_status compare_json(const struct task *task, const char *text, struct mst_error *err)
{
    struct mst_model *other;
    MST_TRY(mst_model_parse((struct mst_bytes){text, strlen(text)}, "same", &other, err));
    char *first = mst_model_canonical_json(task->model);
    char *second = mst_model_canonical_json(other);
    mst_status status = MST_OK;
    if (strcmp(first, second) != 0)
        status = mst_fail(err, MST_INVALID_ARGUMENT, "the archive's model and to_json() differ");
    free(first);
    free(second);
    mst_model_free(other);
    return status;
}

static mst_status open_model(struct task *task, struct mst_error *err)
{
    const char *same = text_of(task, "same");
    const char *weights = text_of(task, "weights");
    const char *copy = text_of(task, "copy");
    const char *path = text_of(task, "model");
    if (!path || !text_of(task, "out"))
        return mst_fail(err, MST_INVALID_ARGUMENT, "model and out are not named");
    MST_TRY(mst_weights_open_model(path, &task->model_json, &task->model, &task->weights, err));
    if (same)
        MST_TRY(compare_json(task, same, err));
    if (weights) {
        struct mst_weights_source source = {task->model, mst_buf_view(&task->model_json), weights};
        mst_weights_free(task->weights);
        task->weights = NULL;
        MST_TRY(mst_weights_load(&source, &task->weights, err));
    }
    if (copy)
        MST_TRY(mst_weights_write_archive(task->model, task->weights, mst_buf_view(&task->model_json), copy, err));
    json_t *names = json_array();
    for (size_t v = 0; v < mst_model_n_variables(task->model); v++)
        json_array_append_new(names, json_string(mst_model_variable(task->model, v)->name));
    json_object_set_new(task->answer, "variables", names);
    return MST_OK;
}

static mst_status read_inputs(struct task *task, size_t n, struct mst_error *err)
{
    static const struct {
        const char *name;
        enum mst_dtype dtype;
    } dtypes[] = {{"u8", MST_DTYPE_U8}, {"i32", MST_DTYPE_I32}, {"f32", MST_DTYPE_F32}};
    const json_t *inputs = json_object_get(task->request, "inputs");
    size_t n_inputs = mst_model_n_inputs(task->model);
    if (json_array_size(inputs) != n_inputs || n_inputs > MAX_INPUTS)
        return mst_fail(err, MST_INVALID_ARGUMENT, "the model has %zu inputs", n_inputs);
    for (size_t i = 0; i < n_inputs; i++) {
        const char *name = json_string_value(json_array_get(json_array_get(inputs, i), 0));
        task->dtypes[i] = MST_DTYPE_F32;
        for (size_t d = 0; d < sizeof dtypes / sizeof dtypes[0]; d++) {
            if (name && strcmp(name, dtypes[d].name) == 0)
                task->dtypes[i] = dtypes[d].dtype;
        }
        size_t size = mst_dtype_size_bytes(task->dtypes[i]) * n * n_elements(mst_model_input_shape(task->model, i));
        MST_TRY(
            read_file(json_string_value(json_array_get(json_array_get(inputs, i), 1)), size, &task->inputs[i], err));
    }
    return MST_OK;
}

static mst_status read_targets(struct task *task, size_t n, struct mst_error *err)
{
    const json_t *targets = json_object_get(task->request, "targets");
    const char *example_weights = text_of(task, "example_weights");
    MST_TRY(mst_compile_parse(json_object_get(task->request, "compile"), "compile", task->model, &task->compile, err));
    task->has_compile = true;
    for (size_t i = 0; i < mst_model_n_outputs(task->model); i++) {
        const json_t *target = json_array_get(targets, i);
        if (!json_is_array(target))
            continue;
        bool is_labels = strcmp(json_string_value(json_array_get(target, 0)), "labels") == 0;
        size_t size = 4 * n * (is_labels ? 1 : n_elements(mst_model_output_shape(task->model, i)));
        MST_TRY(read_file(json_string_value(json_array_get(target, 1)), size, &task->target_memory[i], err));
        task->targets[i] = is_labels ? (struct mst_target){.labels = task->target_memory[i]}
                                     : (struct mst_target){.values = task->target_memory[i]};
    }
    void *memory = NULL;
    if (example_weights)
        MST_TRY(read_file(example_weights, n * sizeof(float), &memory, err));
    task->example_weights = memory;
    return MST_OK;
}

static void answer_measures(struct task *task, const char *key)
{
    json_t *measures = json_object();
    for (size_t i = 0; i < mst_compile_n_measures(&task->compile); i++)
        json_object_set_new(measures, mst_measure_name(&task->compile, i),
                            json_real(mst_measure_value(&task->compile, i, task->sums)));
    json_object_set_new(task->answer, key, measures);
}

static mst_status write_grads(const struct task *task, struct mst_error *err)
{
    for (size_t v = 0; v < mst_model_n_variables(task->model); v++) {
        const struct mst_variable *variable = mst_model_variable(task->model, v);
        if (variable->update != MST_UPDATE_FROZEN)
            MST_TRY(write_file(task, "grad", v, task->grads[v], variable->n_elements, err));
    }
    return MST_OK;
}

static mst_status write_outputs(const struct task *task, const struct mst_program *program, size_t n,
                                struct mst_error *err)
{
    for (size_t i = 0; i < mst_model_n_outputs(task->model); i++)
        MST_TRY(write_file(task, "output", i, mst_program_output(program, i),
                           n * n_elements(mst_model_output_shape(task->model, i)), err));
    return MST_OK;
}

static mst_status run(struct task *task, enum mst_program_mode mode, size_t n, struct mst_error *err)
{
    struct mst_program *program = NULL;
    struct mst_program_result result;
    struct mst_program_options options = {.mode = mode, .max_batch = n, .input_dtypes = task->dtypes};
    struct mst_program_step step = {.params = (const float *const *)task->weights->values,
                                    .grads = mode == MST_PROGRAM_TRAIN ? task->grads : NULL,
                                    .inputs = (const void *const *)task->inputs,
                                    .n_examples = n};
    if (mode != MST_PROGRAM_PREDICT) {
        step.targets = task->targets;
        step.weights = task->example_weights;
        step.sums = task->sums;
        memset(task->sums, 0, mst_compile_n_sums(&task->compile) * sizeof *task->sums);
    }
    MST_TRY(
        mst_program_new(task->model, task->has_compile ? &task->compile : NULL, task->device, &options, &program, err));
    mst_status status = mst_program_run(program, &step, &result, err);
    if (status == MST_OK && !result.loss_is_finite)
        status = mst_fail(err, MST_DATA_LOSS, "not finite: %s", result.bad_layer_name);
    if (status == MST_OK && mode == MST_PROGRAM_PREDICT)
        status = write_outputs(task, program, n, err);
    if (status == MST_OK && mode == MST_PROGRAM_TRAIN)
        status = write_grads(task, err);
    if (status == MST_OK && mode != MST_PROGRAM_PREDICT)
        answer_measures(task, mode == MST_PROGRAM_TRAIN ? "trained" : "evaluated");
    mst_program_free(program);
    return status;
}

static mst_status serve(struct task *task, struct mst_error *err)
{
    size_t n = (size_t)json_integer_value(json_object_get(task->request, "n"));
    MST_TRY(open_model(task, err));
    MST_TRY(read_inputs(task, n, err));
    MST_TRY(run(task, MST_PROGRAM_PREDICT, n, err));
    if (!json_object_get(task->request, "compile"))
        return MST_OK;
    MST_TRY(read_targets(task, n, err));
    size_t n_variables = mst_model_n_variables(task->model);
    task->grads = mst_alloc_array(n_variables + 1, sizeof *task->grads);
    for (size_t v = 0; v < n_variables; v++) {
        const struct mst_variable *variable = mst_model_variable(task->model, v);
        bool is_wanted = variable->update != MST_UPDATE_FROZEN;
        task->grads[v] = is_wanted ? mst_alloc_array(variable->n_elements, sizeof(float)) : NULL;
        for (size_t i = 0; is_wanted && i < variable->n_elements; i++)
            task->grads[v][i] = -777.0f; // what is not written shows
    }
    task->sums = mst_alloc_array(mst_compile_n_sums(&task->compile), sizeof *task->sums);
    MST_TRY(run(task, MST_PROGRAM_EVAL, n, err));
    if (json_is_true(json_object_get(task->request, "train")))
        MST_TRY(run(task, MST_PROGRAM_TRAIN, n, err));
    return MST_OK;
}

static void clear(struct task *task)
{
    for (size_t v = 0; task->grads && v < mst_model_n_variables(task->model); v++)
        free(task->grads[v]);
    free(task->grads);
    free(task->sums);
    free(task->example_weights);
    for (size_t i = 0; i < MAX_INPUTS; i++)
        free(task->inputs[i]);
    for (size_t i = 0; i < MST_MAX_OUTPUTS; i++)
        free(task->target_memory[i]);
    mst_weights_free(task->weights);
    mst_model_free(task->model);
    mst_buf_fini(&task->model_json);
    json_decref(task->request);
    json_decref(task->answer);
}

static void answer_line(const char *line, size_t len, struct mst_device *device)
{
    static struct task task; // large
    struct mst_error err = {0};
    task = (struct task){.device = device, .answer = json_object()};
    mst_buf_init(&task.model_json, 0);
    mst_status status = mst_json_parse(line, len, "request", &task.request, &err);
    if (status == MST_OK)
        status = serve(&task, &err);
    if (status != MST_OK)
        json_object_set_new(task.answer, "error", json_sprintf("%s: %s", mst_status_name(status), err.text));
    char *text = json_dumps(task.answer, JSON_COMPACT | JSON_ENSURE_ASCII);
    puts(text);
    fflush(stdout);
    free(text);
    clear(&task);
}

int main(void)
{
    struct mst_device *device;
    struct mst_error err = {0};
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    if (mst_device_cpu_new(1, &device, &err) != MST_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    while ((len = getline(&line, &size, stdin)) > 0)
        answer_line(line, (size_t)len, device);
    free(line);
    mst_device_free(device);
    return 0;
}
