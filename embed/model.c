// The same planned program as in training, in the mode that only goes forward; weights are read whole from the
// directory's bundle.
#include "muster/model.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/cpus.h"
#include "base/error.h"
#include "ckpt/model_dir.h"
#include "device/device.h"
#include "model/model.h"
#include "model/program.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_BATCH_DEFAULT = 64 };

struct mst_loaded_model {
    struct mst_model *model;
    struct mst_device *device;
    struct mst_program *program;
    float **weights; // one whole variable each
    size_t n_inputs;
    size_t n_outputs;
    size_t max_batch;
};

static mst_status read_weights(struct mst_loaded_model *loaded, const struct mst_bundle *bundle, struct mst_error *err)
{
    size_t n = mst_model_n_variables(loaded->model);
    loaded->weights = mst_alloc_array(n, sizeof *loaded->weights);
    for (size_t v = 0; v < n; v++) {
        const struct mst_variable *variable = mst_model_variable(loaded->model, v);
        const struct mst_bundle_entry *entry;
        MST_TRY(mst_bundle_find_float(bundle, variable->name, &variable->shape, &entry, err));
        size_t bytes = variable->n_elements * sizeof(float);
        void *memory;
        if (mst_try_alloc(bytes, &memory) != MST_OK)
            return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for the %zu bytes of %s", bytes, variable->name);
        loaded->weights[v] = memory;
        MST_TRY(mst_bundle_read(bundle, entry, memory, bytes, err));
    }
    return MST_OK;
}

static mst_status read_directory(struct mst_loaded_model *loaded, const char *dir, struct mst_error *err)
{
    struct mst_buf json = {0};
    struct mst_bundle *bundle = NULL;
    char *file = mst_text("%s/model.json", dir);
    mst_status status = mst_model_dir_open(dir, &json, &bundle, err);
    if (status == MST_OK)
        status = mst_model_parse(mst_buf_view(&json), file, &loaded->model, err);
    if (status == MST_OK) {
        status = read_weights(loaded, bundle, err);
        if (status != MST_OK)
            status = mst_fail_prefix(err, status, "%s", dir);
    }
    mst_bundle_free(bundle);
    mst_buf_fini(&json);
    free(file);
    return status;
}

static mst_status plan(struct mst_loaded_model *loaded, size_t n_threads, struct mst_error *err)
{
    MST_TRY(mst_shape_count(mst_model_input_shape(loaded->model, 0), &loaded->n_inputs));
    MST_TRY(mst_shape_count(mst_model_output_shape(loaded->model, 0), &loaded->n_outputs));
    MST_TRY(mst_device_cpu_new(n_threads ? n_threads : mst_cpus_usable(), &loaded->device, err));
    const enum mst_dtype dtypes[] = {MST_DTYPE_F32};
    struct mst_program_options options = {
        .mode = MST_PROGRAM_PREDICT, .max_batch = loaded->max_batch, .input_dtypes = dtypes};
    return mst_program_new(loaded->model, NULL, loaded->device, &options, &loaded->program, err);
}

mst_status mst_loaded_model_open(const char *dir, const struct mst_loaded_model_options *options,
                                 struct mst_loaded_model **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_loaded_model *loaded = mst_alloc(sizeof *loaded);
    loaded->max_batch = options && options->max_batch ? options->max_batch : MAX_BATCH_DEFAULT;
    mst_status status = read_directory(loaded, dir, err);
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
    for (size_t v = 0; model->weights && v < mst_model_n_variables(model->model); v++)
        free(model->weights[v]);
    free(model->weights);
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

mst_status mst_loaded_model_predict(struct mst_loaded_model *model, const float *inputs, size_t n, float *outputs,
                                    struct mst_error *err)
{
    for (size_t at = 0; at < n;) {
        size_t n_now = n - at < model->max_batch ? n - at : model->max_batch;
        const void *const features[] = {inputs + at * model->n_inputs};
        struct mst_program_step step = {
            .params = (const float *const *)model->weights, .inputs = features, .n_examples = n_now};
        struct mst_program_result result;
        MST_TRY(mst_program_run(model->program, &step, &result, err));
        memcpy(outputs + at * model->n_outputs, mst_program_output(model->program, 0),
               n_now * model->n_outputs * sizeof(float));
        at += n_now;
    }
    return MST_OK;
}
