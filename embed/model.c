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

struct mst_loaded_model {
    struct mst_model *model;
    struct mst_device *device;
    struct mst_program *program;
    struct mst_weights *weights;
    size_t n_inputs;
    size_t n_outputs;
    size_t max_batch;
};

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
            .params = (const float *const *)model->weights->values, .inputs = features, .n_examples = n_now};
        struct mst_program_result result;
        MST_TRY(mst_program_run(model->program, &step, &result, err));
        memcpy(outputs + at * model->n_outputs, mst_program_output(model->program, 0),
               n_now * model->n_outputs * sizeof(float));
        at += n_now;
    }
    return MST_OK;
}
