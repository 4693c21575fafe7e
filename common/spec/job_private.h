/** @file
 *  Between the two halves of reading a job: job_read.c makes one resolved JSON of file and --set, job.c makes the
 * struct.
 */
#pragma once

#include "spec/job.h"

/** Takes a job's JSON to its resolved form: --set applied, checked, defaults filled in, paths absolute.
 *  Owner: steals json; *out is the caller's
 *  Errors: INVALID_ARGUMENT one sentence with file or --set, and key path (*out NULL) */
MST_MUST_USE mst_status mst_job_resolve(const struct mst_job_request *request, json_t *json, json_t **out,
                                        struct mst_error *err);

/** The kind of a partitioner's class name; NONE if it is none. */
enum mst_partitioner_kind mst_partitioner_kind_of(const char *class_name);
