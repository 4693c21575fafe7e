/** @file
 *  Which checkpoints an operand of `muster ckpt` means: a prefix is itself (with or without `.index`), a directory all
 *  bundles in it or the newest whole one, a job its checkpoint directory.
 *
 *      struct mst_prefixes prefixes = {0};
 *      MST_TRY(mst_prefixes_of_operand("run/ckpt", &prefixes, err));
 *      … prefixes.items[i] …
 *      mst_prefixes_fini(&prefixes);                                 // also after a failure
 *
 *  Thread: any.
 */
#pragma once

#include "muster/status.h"

#include <stdbool.h>
#include <stddef.h>

#define MST_INDEX_SUFFIX ".index"

/** Prefixes, in order of names, numbers in them as numbers. Owner: the texts and items are the list's. */
struct mst_prefixes {
    char **items;
    size_t n;
};

/** True if the path is that of a directory. */
bool mst_is_directory(const char *path);

/** All bundles of a directory, appended to out. Errors: NOT_FOUND none is there; RESOURCE_EXHAUSTED; disk errors */
MST_MUST_USE mst_status mst_prefixes_of_directory(const char *dir, struct mst_prefixes *out, struct mst_error *err);
/** All of a job's checkpoint.dir, appended to out. Errors: those of mst_job_load and of_directory */
MST_MUST_USE mst_status mst_prefixes_of_job(const char *path, struct mst_prefixes *out, struct mst_error *err);
/** One prefix, or all of a directory, appended to out. Errors: those of of_directory and mst_prefix_of_name */
MST_MUST_USE mst_status mst_prefixes_of_operand(const char *name, struct mst_prefixes *out, struct mst_error *err);
/** Releases what is listed; it is empty and usable again. */
void mst_prefixes_fini(struct mst_prefixes *prefixes);

/** New text in *out: the prefix that is named. A name that is none fails with what a prefix is.
 *  Errors: NOT_FOUND; disk errors */
MST_MUST_USE mst_status mst_prefix_of_name(const char *name, char **out, struct mst_error *err);
/** New text in *out: the prefix that is named, or of a directory the last in order of names that is whole. Those that
 *  it passed over are told on standard error, with the reason.
 *  Errors: NOT_FOUND; DATA_LOSS none in the directory is whole; disk errors */
MST_MUST_USE mst_status mst_prefix_newest(const char *name, char **out, struct mst_error *err);
