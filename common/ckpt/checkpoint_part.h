/** @file
 *  One process's part of a checkpoint, written value by value: a data file under its temporary name (ckpt/checkpoint.h
 *  says how it becomes part of a checkpoint).
 *
 *      MST_TRY(mst_checkpoint_part_new(&attempt, shard, &part, err));
 *      MST_TRY(mst_checkpoint_part_add(part, &value, &piece, err));       // each; the pieces go to the chief
 *      MST_TRY(mst_checkpoint_part_close(part, err));
 *
 *  Thread: one at a time.
 */
#pragma once

#include "ckpt/checkpoint.h"

struct mst_checkpoint_part;

/** New text: the path of a shard's data file while it is written. */
char *mst_checkpoint_part_path(const struct mst_checkpoint_attempt *attempt, size_t shard);
/** New part in *out, an empty file. Errors: disk errors with path and the system's text */
MST_MUST_USE mst_status mst_checkpoint_part_new(const struct mst_checkpoint_attempt *attempt, size_t shard,
                                                struct mst_checkpoint_part **out, struct mst_error *err);
/** Appends a value and says where it lies.
 *  Errors: DATA_LOSS a float that is NaN or Inf (names tensor and element); INVALID_ARGUMENT a bad tensor; disk errors.
 *  Then only abort may follow */
MST_MUST_USE mst_status mst_checkpoint_part_add(struct mst_checkpoint_part *part,
                                                const struct mst_checkpoint_value *value,
                                                struct mst_bundle_piece *piece, struct mst_error *err);
/** Flushes it to the disk and releases part, also when it fails. Errors: disk errors (no file is left) */
MST_MUST_USE mst_status mst_checkpoint_part_close(struct mst_checkpoint_part *part, struct mst_error *err);
/** Deletes the file and releases part; NULL is fine. */
void mst_checkpoint_part_abort(struct mst_checkpoint_part *part);
