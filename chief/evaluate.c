#include "chief/evaluate.h"

#include "base/alloc.h"
#include "data/batches.h"
#include "device/device.h"
#include "model/input.h"

#include <stdlib.h>

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
