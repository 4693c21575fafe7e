// The same planned program as in training, in the mode that only goes forward.
#include "muster/model.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/cpus.h"
#include "base/error.h"
#include "device/device.h"
#include "model/model.h"
#include "model/program.h"
#include "weights/weights.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_BATCH_DEFAULT = 64 };

struct loaded_input {
    size_t n;      // floats of an example
    size_t first;  // where they begin in a row of all inputs
    float *values; // (max_batch, n); NULL for the only input
};

struct mst_loaded_model {
    struct mst_model *model;
    struct mst_device *device;
    struct mst_program *program;
    struct mst_weights *weights;
    struct loaded_input *inputs;
    size_t n_inputs; // floats of a row
    size_t n_outputs;
    size_t max_batch;
};

// A model of several inputs gets a row of all of them, which is taken apart here.
static mst_status measure_inputs(struct mst_loaded_model *loaded, struct mst_error *err)
{
    size_t n = mst_model_n_inputs(loaded->model);
    loaded->inputs = mst_alloc_array(n, sizeof *loaded->inputs);
    for (size_t i = 0; i < n; i++) {
        struct loaded_input *input = &loaded->inputs[i];
        void *memory;
        size_t bytes;
        MST_TRY(mst_shape_count(mst_model_input_shape(loaded->model, i), &input->n));
        input->first = loaded->n_inputs;
        loaded->n_inputs += input->n;
        if (n == 1)
            return MST_OK;
        if (__builtin_mul_overflow(loaded->max_batch, input->n * sizeof(float), &bytes) ||
            mst_try_alloc(bytes, &memory) != MST_OK)
            return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for %zu examples of input '%s'", loaded->max_batch,
                            mst_model_input_name(loaded->model, i));
        input->values = memory;
    }
    return MST_OK;
}

static mst_status plan(struct mst_loaded_model *loaded, size_t n_threads, struct mst_error *err)
{
    size_t n = mst_model_n_inputs(loaded->model);
    MST_TRY(mst_device_cpu_new(n_threads ? n_threads : mst_cpus_usable(), &loaded->device, err));
    MST_TRY(measure_inputs(loaded, err));
    for (size_t i = 0; i < mst_model_n_outputs(loaded->model); i++) {
        size_t n_output;
        MST_TRY(mst_shape_count(mst_model_output_shape(loaded->model, i), &n_output));
        loaded->n_outputs += n_output;
    }
    enum mst_dtype *dtypes = mst_alloc_array(n, sizeof *dtypes);
    for (size_t i = 0; i < n; i++)
        dtypes[i] = MST_DTYPE_F32;
    struct mst_program_options options = {
        .mode = MST_PROGRAM_PREDICT, .max_batch = loaded->max_batch, .input_dtypes = dtypes};
    mst_status status = mst_program_new(loaded->model, NULL, loaded->device, &options, &loaded->program, err);
    free(dtypes);
    return status;
}

mst_status mst_loaded_model_open(const char *path, const struct mst_loaded_model_options *options,
                                 struct mst_loaded_model **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_loaded_model *loaded = mst_alloc(sizeof *loaded);
    loaded->max_batch = options && options->max_batch ? options->max_batch : MAX_BATCH_DEFAULT;
    struct mst_buf json = {0};
    mst_status status = mst_weights_open_model(path, &json, &loaded->model, &loaded->weights, err);
    mst_buf_fini(&json);
    if (status == MST_OK)
        status = plan(loaded, options ? options->n_threads : 0, err);
    if (status != MST_OK) {
        mst_loaded_model_free(loaded);
        return status;
    }
    *out = loaded;
    return MST_OK;
}

void mst_loaded_model_free(struct mst_loaded_model *model)
{
    if (!model)
        return;
    mst_program_free(model->program);
    mst_device_free(model->device);
    mst_weights_free(model->weights);
    for (size_t i = 0; model->inputs && i < mst_model_n_inputs(model->model); i++)
        free(model->inputs[i].values);
    free(model->inputs);
    mst_model_free(model->model);
    free(model);
}

size_t mst_loaded_model_n_inputs(const struct mst_loaded_model *model)
{
    return model->n_inputs;
}

size_t mst_loaded_model_n_outputs(const struct mst_loaded_model *model)
{
    return model->n_outputs;
}

static void take_apart(struct mst_loaded_model *model, const float *rows, size_t n, const void **out)
{
    size_t n_inputs = mst_model_n_inputs(model->model);
    out[0] = rows;
    for (size_t i = 0; i < n_inputs && n_inputs > 1; i++) {
        const struct loaded_input *input = &model->inputs[i];
        for (size_t r = 0; r < n; r++)
            memcpy(input->values + r * input->n, rows + r * model->n_inputs + input->first, input->n * sizeof(float));
        out[i] = input->values;
    }
}

static void put_together(const struct mst_loaded_model *model, size_t n, float *rows)
{
    size_t first = 0;
    for (size_t i = 0; i < mst_model_n_outputs(model->model); i++) {
        size_t n_output = 0;
        const float *values = mst_program_output(model->program, i);
        if (mst_shape_count(mst_model_output_shape(model->model, i), &n_output) != MST_OK)
            return;
        for (size_t r = 0; r < n; r++)
            memcpy(rows + r * model->n_outputs + first, values + r * n_output, n_output * sizeof(float));
        first += n_output;
    }
}

mst_status mst_loaded_model_predict(struct mst_loaded_model *model, const float *inputs, size_t n, float *outputs,
                                    struct mst_error *err)
{
    const void **features = mst_alloc_array(mst_model_n_inputs(model->model), sizeof(void *));
    mst_status status = MST_OK;
    for (size_t at = 0; at < n && status == MST_OK;) {
        size_t n_now = n - at < model->max_batch ? n - at : model->max_batch;
        struct mst_program_step step = {
            .params = (const float *const *)model->weights->values, .inputs = features, .n_examples = n_now};
        struct mst_program_result result;
        take_apart(model, inputs + at * model->n_inputs, n_now, features);
        status = mst_program_run(model->program, &step, &result, err);
        if (status == MST_OK)
            put_together(model, n_now, outputs + at * model->n_outputs);
        at += n_now;
    }
    free((void *)features);
    return status;
}
