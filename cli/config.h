/** @file
 *  `muster config [JOB]`: prints what was understood from TF_CONFIG and the job, every default filled in, as one JSON
 *  object, without starting anything.
 *
 *      {"role":"worker","index":1,"is_chief":false,"cluster":{…},"job":{…}}
 *
 *  With a job there is also "model": its variables and the names of what is measured.
 *  role is "local" and cluster {} without TF_CONFIG (one process does everything); job is null when no JOB is given.
 */
#pragma once

#include "spec/cluster.h"
#include "spec/job.h"
#include "spec/tf_config.h"

#include <jansson.h>
#include <stdio.h>

/** Parses both and prints them to out; job may be NULL (no JOB given), and so may model,
 *  which is printed as it is.
 *  Errors: INVALID_ARGUMENT what is wrong, one sentence (nothing printed); UNAVAILABLE out cannot be written */
MST_MUST_USE mst_status mst_config_run(const struct mst_cluster_request *cluster, const struct mst_job_request *job,
                                       const json_t *model, FILE *out, struct mst_error *err);

/** Prints what is already parsed; job and model may be NULL. Errors: UNAVAILABLE out cannot be written */
MST_MUST_USE mst_status mst_config_print(const struct mst_cluster *cluster, const struct mst_job *job,
                                         const json_t *model, FILE *out, struct mst_error *err);
