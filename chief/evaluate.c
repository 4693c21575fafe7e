#include "chief/evaluate.h"

#include "base/alloc.h"
#include "base/error.h"
#include "data/batches.h"
#include "device/device.h"
#include "model/input.h"

#include <stdlib.h>

void mst_weights_free(struct mst_weights *weights)
{
    if (!weights)
        return;
    for (size_t v = 0; v < weights->n; v++)
        free(weights->values[v]);
    free(weights->values);
    free(weights);
}

static mst_status read_variable(const struct mst_bundle *bundle, const struct mst_variable *variable, float **out,
                                struct mst_error *err)
{
    const struct mst_bundle_entry *entry;
    MST_TRY(mst_bundle_find_float(bundle, variable->name, &variable->shape, &entry, err));
    size_t bytes = variable->n_elements * sizeof(float);
    void *memory;
    if (mst_try_alloc(bytes, &memory) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for the %zu bytes of %s", bytes, variable->name);
    *out = memory;
    return mst_bundle_read(bundle, entry, memory, bytes, err);
}

mst_status mst_weights_read(const struct mst_model *model, const char *prefix, struct mst_weights **out,
                            struct mst_error *err)
{
    *out = NULL;
    struct mst_bundle *bundle;
    MST_TRY(mst_bundle_open(prefix, &bundle, err));
    struct mst_weights *weights = mst_alloc(sizeof *weights);
    weights->n = mst_model_n_variables(model);
    weights->values = mst_alloc_array(weights->n, sizeof *weights->values);
    mst_status status = MST_OK;
    for (size_t v = 0; v < weights->n && status == MST_OK; v++)
        status = read_variable(bundle, mst_model_variable(model, v), &weights->values[v], err);
    mst_bundle_free(bundle);
    if (status != MST_OK) {
        mst_weights_free(weights);
        return mst_fail_prefix(err, status, "%s", prefix);
    }
    *out = weights;
    return MST_OK;
}

mst_status mst_weights_write_dir(const struct mst_model *model, const struct mst_weights *weights,
                                 struct mst_bytes model_json, const char *dir, struct mst_error *err)
{
    struct mst_checkpoint_value *values = mst_alloc_array(weights->n, sizeof *values);
    for (size_t v = 0; v < weights->n; v++) {
        const struct mst_variable *variable = mst_model_variable(model, v);
        values[v] = (struct mst_checkpoint_value){
            .tensor = {.name = variable->name, .type = MST_TF_FLOAT, .shape = variable->shape},
            .data = weights->values[v]};
    }
    mst_status status = mst_model_dir_write(dir, model_json, values, weights->n, err);
    free(values);
    return status;
}

static mst_status run_batches(const struct mst_batches *batches, struct mst_program *program,
                              const struct mst_weights *weights, struct mst_training_sums *out, struct mst_error *err)
{
    size_t batch_size = mst_batches_batch_size(batches);
    struct mst_batch batch = {
        .features = mst_alloc_aligned(batch_size * mst_dataset_example_bytes(mst_batches_dataset(batches))),
        .labels = mst_alloc_array(batch_size, sizeof(int32_t))};
    const void *inputs[] = {batch.features};
    const struct mst_target targets[] = {{.labels = batch.labels}};
    mst_status status = MST_OK;
    for (uint64_t number = 0; number < mst_batches_n_batches(batches) && status == MST_OK; number++) {
        status = mst_batches_gather(batches, 0, number, &batch, err);
        if (status != MST_OK)
            break;
        struct mst_program_step step = {.params = (const float *const *)weights->values,
                                        .inputs = inputs,
                                        .targets = targets,
                                        .n_examples = batch.n_examples,
                                        .batch = number,
                                        .sums = out->values};
        struct mst_program_result result;
        status = mst_program_run(program, &step, &result, err);
        out->steps++;
        out->examples += batch.n_examples;
    }
    free(batch.features);
    free(batch.labels);
    return status;
}

mst_status mst_evaluate(const struct mst_evaluation *e, const struct mst_weights *weights,
                        struct mst_training_sums *out, struct mst_error *err)
{
    mst_training_sums_init(out, mst_compile_n_sums(e->compile));
    struct mst_dataset *dataset = NULL;
    struct mst_batches *batches = NULL;
    struct mst_device *device = NULL;
    struct mst_program *program = NULL;
    struct mst_batches_options order = {.batch_size = e->batch_size, .order = MST_ORDER_FILE};
    mst_status status = mst_dataset_open(e->source, &dataset, err);
    if (status == MST_OK)
        status = mst_input_check(dataset, e->model, e->compile, e->source->features, err);
    if (status == MST_OK)
        status = mst_batches_new(dataset, &order, &batches, err);
    if (status == MST_OK)
        status = mst_device_cpu_new(e->n_threads, &device, err);
    enum mst_dtype dtypes[1];
    struct mst_program_options options = {
        .mode = MST_PROGRAM_EVAL, .max_batch = e->batch_size, .input_dtypes = dtypes, .seed = e->seed};
    if (status == MST_OK) {
        dtypes[0] = mst_dataset_feature_dtype(dataset);
        status = mst_program_new(e->model, e->compile, device, &options, &program, err);
    }
    if (status == MST_OK)
        status = run_batches(batches, program, weights, out, err);
    mst_program_free(program);
    mst_device_free(device);
    mst_batches_free(batches);
    mst_dataset_free(dataset);
    return status;
}
