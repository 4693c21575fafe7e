/** @file
 *  The names in a checkpoint directory, and what a name there is. Private to ckpt/.
 *
 *  1. model-<step>.index and model-<step>.data-0000i-of-0000N: a bundle;
 *  2. either with `.<attempt>.tmp`: being written, by that attempt; or with `.tmp`;
 *  3. checkpoint, TensorFlow's state file;
 *  4. checkpoint.tmp.
 *  All else belongs to somebody else and is left alone.
 *  Thread: any.
 */
#pragma once

#include "muster/status.h"

#include <stddef.h>
#include <stdint.h>

#define MST_CHECKPOINT_STATE "checkpoint"
#define MST_CHECKPOINT_TMP   ".tmp"

enum mst_checkpoint_kind {
    MST_CHECKPOINT_OTHER, // not ours
    MST_CHECKPOINT_INDEX,
    MST_CHECKPOINT_DATA,
    MST_CHECKPOINT_TEMPORARY // any of ours with .tmp
};

/** New text: what a file is called while this attempt writes it. */
char *mst_checkpoint_temporary(const char *path, uint64_t attempt);

/** What a name (without folder) is, and for all but OTHER and checkpoint.tmp its step in *step (else 0). */
enum mst_checkpoint_kind mst_checkpoint_name_kind(const char *name, uint64_t *step);

/** Called for each file of ours. Another status than OK ends the walk and is returned. */
typedef mst_status (*mst_checkpoint_file_fn)(void *context, const char *name, enum mst_checkpoint_kind kind,
                                             uint64_t step, struct mst_error *err);
/** Calls on_file for each name in dir that is ours, in no order; on_file may delete it.
 *  Errors: NOT_FOUND no such folder; RESOURCE_EXHAUSTED over MST_CHECKPOINT_LIST_MAX names; disk errors; those of
 *          on_file */
MST_MUST_USE mst_status mst_checkpoint_each_file(const char *dir, mst_checkpoint_file_fn on_file, void *context,
                                                 struct mst_error *err);
