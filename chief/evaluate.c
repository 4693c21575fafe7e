#include "chief/evaluate.h"

#include "base/alloc.h"
#include "base/error.h"
#include "data/batches.h"
#include "device/device.h"
#include "model/input.h"

#include <stdlib.h>

struct mst_scoring {
    struct mst_evaluation evaluation;
    struct mst_dataset *dataset;
    struct mst_batches *batches;
    struct mst_device *device;
    struct mst_program *program;
    struct mst_batch batch;
};

void mst_scoring_free(struct mst_scoring *scoring)
{
    if (!scoring)
        return;
    mst_batch_fini(&scoring->batch);
    mst_program_free(scoring->program);
    mst_device_free(scoring->device);
    mst_batches_free(scoring->batches);
    mst_dataset_free(scoring->dataset);
    free(scoring);
}

static mst_status set_up(struct mst_scoring *scoring, struct mst_error *err)
{
    const struct mst_evaluation *e = &scoring->evaluation;
    struct mst_batches_options order = {.batch_size = e->batch_size, .order = MST_ORDER_FILE};
    struct mst_program_options options = {.mode = MST_PROGRAM_EVAL, .max_batch = e->batch_size, .seed = e->seed};
    MST_TRY(mst_dataset_open(e->source, &scoring->dataset, err));
    MST_TRY(mst_input_check(scoring->dataset, e->model, e->compile, err));
    MST_TRY(mst_batches_new(scoring->dataset, &order, &scoring->batches, err));
    MST_TRY(mst_device_cpu_new(e->n_threads, &scoring->device, err));
    options.input_dtypes = mst_dataset_input_dtypes(scoring->dataset);
    MST_TRY(mst_program_new(e->model, e->compile, scoring->device, &options, &scoring->program, err));
    return mst_batch_init(&scoring->batch, scoring->batches, MST_BATCH_ALL, err);
}

mst_status mst_scoring_new(const struct mst_evaluation *evaluation, struct mst_scoring **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_scoring *scoring = mst_alloc(sizeof *scoring);
    scoring->evaluation = *evaluation;
    mst_status status = set_up(scoring, err);
    if (status != MST_OK) {
        mst_scoring_free(scoring);
        return status;
    }
    *out = scoring;
    return MST_OK;
}

mst_status mst_scoring_run(struct mst_scoring *scoring, const float *const *params, bool (*goes_on)(void *arg),
                           void *arg, struct mst_training_sums *out, struct mst_error *err)
{
    mst_training_sums_clear(out);
    struct mst_batch *batch = &scoring->batch;
    for (uint64_t number = 0; number < mst_batches_n_batches(scoring->batches); number++) {
        if (goes_on && !goes_on(arg))
            return mst_fail(err, MST_CANCELLED, "the evaluation was cancelled");
        MST_TRY(mst_batches_gather(scoring->batches, 0, number, batch, err));
        struct mst_program_step step = {.params = params,
                                        .inputs = (const void *const *)batch->inputs,
                                        .targets = batch->targets,
                                        .weights = batch->weights,
                                        .n_examples = batch->n_examples,
                                        .batch = number,
                                        .sums = out->values};
        struct mst_program_result result;
        MST_TRY(mst_program_run(scoring->program, &step, &result, err));
        out->steps++;
        out->examples += batch->n_examples;
    }
    return MST_OK;
}

mst_status mst_evaluate(const struct mst_evaluation *evaluation, const struct mst_weights *weights,
                        struct mst_training_sums *out, struct mst_error *err)
{
    mst_training_sums_init(out, mst_compile_n_sums(evaluation->compile));
    struct mst_scoring *scoring;
    MST_TRY(mst_scoring_new(evaluation, &scoring, err));
    mst_status status = mst_scoring_run(scoring, (const float *const *)weights->values, NULL, NULL, out, err);
    mst_scoring_free(scoring);
    return status;
}
