/** @file
 *  Where the examples of a job are, in the words of data/ and in the order of the model: the one place that knows all
 *  three rooms.
 *
 *      MST_TRY(mst_job_source_new(&job->train, model, &compile, "job.json: data.train", &source, err));
 *      MST_TRY(mst_dataset_open(source, &dataset, err));
 *      mst_job_source_free(source);
 *
 *  Input i of the source is input i of the model, and likewise outputs, whatever order the job names them in.
 *  Thread: any.
 */
#pragma once

#include "data/dataset.h"
#include "model/compile.h"
#include "model/model.h"
#include "spec/job.h"

/** New source of data.train or data.eval in *out; NULL when the job has none. compile NULL: outputs stay as they are
 *  given, and may be missing in the file. where: for messages.
 *  Owner:  borrows the texts of data, which must outlive it
 *  Errors: INVALID_ARGUMENT inputs or outputs of other names than the model's: both lists */
MST_MUST_USE mst_status mst_job_source_new(const struct mst_job_data *data, const struct mst_model *model,
                                           const struct mst_compile *compile, const char *where,
                                           struct mst_dataset_source **out, struct mst_error *err);
/** Releases it; NULL is fine. */
void mst_job_source_free(struct mst_dataset_source *source);
