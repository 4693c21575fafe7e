/** @file
 *  A process's own part of a checkpoint, on storage that nobody else needs to see (checkpoint.local).
 *
 *      MST_TRY(mst_local_part_new("ckpt/ps-0", step, id, &part, err));
 *      MST_TRY(mst_local_part_add(part, &value, err));                                    // each
 *      MST_TRY(mst_local_part_commit(part, keep, n_keep, err));
 *
 *      MST_TRY(mst_local_parts_list("ckpt/ps-0", on_passed, NULL, &parts, err));      // those that are whole
 *      … parts.steps[i], parts.ids[i] …
 *      mst_local_parts_fini(&parts);
 *
 *  A part is a TensorBundle `model-<step>` of one data file, committed as ckpt/checkpoint.h says. What is in it:
 *  1. a variable or slot that the process holds whole, under its name;
 *  2. rows of one, under `<name>/@rows-<first>-<n>`, a tensor of n rows;
 *  3. `checkpoint/part`, int64 numbers, of which the first is the id: all parts of one checkpoint have the same, so
 *     that parts of two runs that came to the same step are not taken for one.
 *  Thread: any.
 */
#pragma once

#include "ckpt/checkpoint.h"
#include "ckpt/checkpoint_list.h"
#include "muster/status.h"
#include "tfio/bundle_reader.h"

#include <stddef.h>
#include <stdint.h>

#define MST_LOCAL_PART_TENSOR "checkpoint/part"
enum { MST_LOCAL_PART_NUMBERS_MAX = 8 };

struct mst_local_part;

/** Parts in a directory, the newest last. */
struct mst_local_parts {
    uint64_t *steps;
    uint64_t *ids;
    size_t n;
};

/** New text: the name under which n_rows rows from row_offset on of a variable are stored; n_rows 0: all of it. */
char *mst_local_part_name(const char *name, uint64_t row_offset, uint64_t n_rows);

/** New part in *out, nothing in it yet; makes dir and deletes leftovers there. Errors: disk errors */
MST_MUST_USE mst_status mst_local_part_new(const char *dir, uint64_t step, uint64_t id, struct mst_local_part **out,
                                           struct mst_error *err);
/** Appends a variable, a slot, or rows of one.
 *  Errors: DATA_LOSS a float that is NaN or Inf; INVALID_ARGUMENT a bad tensor; disk errors. Then only abort may
 *          follow */
MST_MUST_USE mst_status mst_local_part_add(struct mst_local_part *part, const struct mst_checkpoint_value *value,
                                           struct mst_error *err);
/** Commits it, deletes all older ones but those of the steps to keep, and releases part, also when it fails.
 *  Errors: those of mst_checkpoint_commit */
MST_MUST_USE mst_status mst_local_part_commit(struct mst_local_part *part, const uint64_t *keep, size_t n_keep,
                                              struct mst_error *err);
/** Gives up: nothing of it is left. NULL is fine. */
void mst_local_part_abort(struct mst_local_part *part);
/** The numbers of `checkpoint/part` in *numbers (room for MST_LOCAL_PART_NUMBERS_MAX) and how many in *n_out.
 *  Errors: NOT_FOUND the bundle is no part; those of mst_bundle_read */
MST_MUST_USE mst_status mst_local_part_numbers(const struct mst_bundle *bundle, int64_t *numbers, size_t *n_out,
                                               struct mst_error *err);

/** Deletes leftovers in dir, reads every part through, and lists those that are whole; on_passed hears of the others
 *  (newest first) and may be NULL. A directory that is not there has none.
 *  Errors: PERMISSION_DENIED, RESOURCE_EXHAUSTED one that may be whole cannot be opened; those of mst_checkpoint_list
 *  Owner:  out is the caller's, to be finished; also after a failure
 *  Cost:   reads all parts */
MST_MUST_USE mst_status mst_local_parts_list(const char *dir, mst_checkpoint_passed_fn on_passed, void *context,
                                             struct mst_local_parts *out, struct mst_error *err);
/** Index of the part of this step and id, or parts->n. */
size_t mst_local_parts_find(const struct mst_local_parts *parts, uint64_t step, uint64_t id);
/** Releases what is listed. A zeroed one is fine. */
void mst_local_parts_fini(struct mst_local_parts *parts);
