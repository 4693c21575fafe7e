/** @file
 *  A job with everything that is read from its files: the job, the model, loss and metrics, the optimizer, and the
 *  hash by which processes know that they run the same one.
 *
 *      MST_TRY(mst_job_context_new(&request, &context, err));
 *      mst_job_context_free(context);
 *
 *  Thread: immutable after new, so any.
 */
#pragma once

#include "base/bytes.h"
#include "data/dataset.h"
#include "model/compile.h"
#include "optim/optimizer.h"
#include "spec/job.h"
#include "weights/weights.h"

struct mst_job_context {
    struct mst_job *job;
    struct mst_buf model_text;
    struct mst_model *model;
    struct mst_compile compile;
    struct mst_optimizer *optimizer;
    uint64_t hash;
    struct mst_dataset_source *train; // data.train
    struct mst_dataset_source *eval;  // data.eval; NULL: no evaluation
};

/** New context in *out. Errors: INVALID_ARGUMENT, UNIMPLEMENTED with file and key, or file, line and column */
MST_MUST_USE mst_status mst_job_context_new(const struct mst_job_request *request, struct mst_job_context **out,
                                            struct mst_error *err);
/** New object: the variables of the model and the names of its metrics, for `muster config`. */
json_t *mst_job_context_describe(const struct mst_job_context *context);
/** The weights that the job begins with, new in *out: those of init_from, or of a model that is an archive; NULL if
 *  there are none, or if there is a checkpoint to resume.
 *  Errors: INVALID_ARGUMENT names the file and what is wrong with it; those of mst_weights_load */
MST_MUST_USE mst_status mst_job_context_initial(const struct mst_job_context *context, struct mst_weights **out,
                                                struct mst_error *err);
/** Releases it; NULL is fine. */
void mst_job_context_free(struct mst_job_context *context);
