/** @file
 *  Where the examples of a job are, in the words of data/: the one place that knows both rooms.
 *
 *      struct mst_dataset_source *source = mst_job_source_new(&job->train);
 *      MST_TRY(mst_dataset_open(source, &dataset, err));
 *      mst_job_source_free(source);
 *
 *  Thread: any.
 */
#pragma once

#include "data/dataset.h"
#include "spec/job.h"

/** New source of data.train or data.eval; NULL when the job has none.
 *  Owner:  borrows the texts of data, which must outlive it */
struct mst_dataset_source *mst_job_source_new(const struct mst_job_data *data);
/** Releases it; NULL is fine. */
void mst_job_source_free(struct mst_dataset_source *source);
