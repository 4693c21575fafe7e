#include "chief/evaluate.h"

#include "data/batches.h"
#include "device/device.h"
#include "model/input.h"

#include <stdlib.h>

static mst_status run_batches(const struct mst_batches *batches, struct mst_program *program,
                              const struct mst_weights *weights, struct mst_training_sums *out, struct mst_error *err)
{
    struct mst_batch batch;
    mst_status status = mst_batch_init(&batch, batches, MST_BATCH_ALL, err);
    for (uint64_t number = 0; number < mst_batches_n_batches(batches) && status == MST_OK; number++) {
        status = mst_batches_gather(batches, 0, number, &batch, err);
        if (status != MST_OK)
            break;
        struct mst_program_step step = {.params = (const float *const *)weights->values,
                                        .inputs = (const void *const *)batch.inputs,
                                        .targets = batch.targets,
                                        .weights = batch.weights,
                                        .n_examples = batch.n_examples,
                                        .batch = number,
                                        .sums = out->values};
        struct mst_program_result result;
        status = mst_program_run(program, &step, &result, err);
        out->steps++;
        out->examples += batch.n_examples;
    }
    mst_batch_fini(&batch);
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
        status = mst_input_check(dataset, e->model, e->compile, err);
    if (status == MST_OK)
        status = mst_batches_new(dataset, &order, &batches, err);
    if (status == MST_OK)
        status = mst_device_cpu_new(e->n_threads, &device, err);
    struct mst_program_options options = {.mode = MST_PROGRAM_EVAL, .max_batch = e->batch_size, .seed = e->seed};
    if (status == MST_OK) {
        options.input_dtypes = mst_dataset_input_dtypes(dataset);
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
