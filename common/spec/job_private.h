/** @file
 *  Between the two halves of reading a job: job_read.c makes one resolved JSON of file and --set, job.c makes the
 * struct.
 */
#pragma once

#include "spec/job.h"

/** How many inputs or outputs a data set may have. */
enum { MST_JOB_PARTS_MAX = 256 };

/** Takes a job's JSON to its resolved form: --set applied, checked, defaults filled in, paths absolute.
 *  Owner: steals json; *out is the caller's
 *  Errors: INVALID_ARGUMENT one sentence with file or --set, and key path (*out NULL) */
MST_MUST_USE mst_status mst_job_resolve(const struct mst_job_request *request, json_t *json, json_t **out,
                                        struct mst_error *err);

/** Checks what the table cannot say of a data set's keys, and fills in the defaults that its format has.
 *  key: "data.train" or "data.eval"; source: the file or "--set", for errors
 *  Errors: INVALID_ARGUMENT source, key and the remedy */
MST_MUST_USE mst_status mst_job_data_check(json_t *data, const char *key, const char *source, struct mst_error *err);
/** Takes the places of the files out of a resolved data set, but leaves the names of what they hold. */
void mst_job_data_strip(json_t *data);

/** Checks the list of callbacks and fills in their defaults. source: the file or "--set", for errors
 *  Errors: INVALID_ARGUMENT source, place in the list, key and the remedy */
MST_MUST_USE mst_status mst_job_callbacks_check(json_t *callbacks, const char *source, struct mst_error *err);
/** The options of callbacks that are paths, up to NULL. */
const char *const *mst_job_callback_paths(void);
/** Takes the places of files out of a resolved list. */
void mst_job_callbacks_strip(json_t *callbacks);
/** New array of a checked list's callbacks. Owner: the caller, until mst_job_callbacks_free */
struct mst_job_callback *mst_job_callbacks_of(const json_t *callbacks, size_t *n_out);
/** Releases it; NULL is fine. */
void mst_job_callbacks_free(struct mst_job_callback *callbacks, size_t n);

/** The kind of a partitioner's class name; NONE if it is none. */
enum mst_partitioner_kind mst_partitioner_kind_of(const char *class_name);
