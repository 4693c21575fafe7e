/** @file
 *  Loss and metrics of weights on a data set: what the chief does at the end of a job and what `muster eval` does.
 *
 *      MST_TRY(mst_weights_read(model, "ckpt/model-4690", &weights, err));
 *      struct mst_evaluation evaluation = {.model = model, .compile = &compile, .source = &source, .batch_size = 64};
 *      MST_TRY(mst_evaluate(&evaluation, weights, &sums, err));
 *      mst_weights_free(weights);
 *
 *  The evaluator, which evaluates again and again, keeps data and program: mst_scoring.
 *
 *  Thread: any one; an evaluation takes the calling thread for as long as it lasts.
 */
#pragma once

#include "data/dataset.h"
#include "model/program.h"
#include "weights/weights.h"
#include "wire/training_sums.h"

#include <stdbool.h>

/** What to evaluate. Borrowed for the call. */
struct mst_evaluation {
    const struct mst_model *model;
    const struct mst_compile *compile;
    const struct mst_dataset_source *source;
    size_t batch_size;
    size_t n_threads;
    uint64_t seed;
};

struct mst_scoring;

/** New scoring in *out: the data set, opened, and a planned program. Owner: borrows all of evaluation until free
 *  Errors: those of mst_dataset_open; INVALID_ARGUMENT shapes that do not fit; OUT_OF_RANGE a label */
MST_MUST_USE mst_status mst_scoring_new(const struct mst_evaluation *evaluation, struct mst_scoring **out,
                                        struct mst_error *err);
/** Releases it; NULL is fine. */
void mst_scoring_free(struct mst_scoring *scoring);
/** Loss and metrics of these variables over the whole data set, as sums in *out, which has room for them. Between
 *  batches goes_on(arg) is asked, if it is not NULL; false from it cancels.
 *  Shape:  params one pointer a variable of the model
 *  Errors: CANCELLED; those of mst_dataset_load */
MST_MUST_USE mst_status mst_scoring_run(struct mst_scoring *scoring, const float *const *params,
                                        bool (*goes_on)(void *arg), void *arg, struct mst_training_sums *out,
                                        struct mst_error *err);

/** Loss and metrics over the whole data set, as sums in *out.
 *  Owner:  the sums are the caller's, for mst_training_sums_fini, also after an error
 *  Errors: those of mst_dataset_open and mst_dataset_load; INVALID_ARGUMENT shapes that do not fit; OUT_OF_RANGE a
 *          label */
MST_MUST_USE mst_status mst_evaluate(const struct mst_evaluation *evaluation, const struct mst_weights *weights,
                                     struct mst_training_sums *out, struct mst_error *err);
