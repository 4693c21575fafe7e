/** @file
 *  Finds the checkpoints of a directory and the newest one that is whole.
 *
 *      char *prefix;
 *      MST_TRY(mst_checkpoint_newest("ckpt", on_passed_over, NULL, &prefix, &step, err));
 *      MST_TRY(mst_bundle_open(prefix, &bundle, err));      // tfio/bundle_reader.h
 *
 *  Whole: its index is readable with good checksums, and every data file it names is there and long enough.
 *  Thread: any.
 */
#pragma once

#include "muster/status.h"

#include <stddef.h>
#include <stdint.h>

// Of names in a checkpoint directory: more means that it is not one.
enum { MST_CHECKPOINT_LIST_MAX = 100000 };

/** Called for each checkpoint that was passed over, with the reason as one sentence. */
typedef void (*mst_checkpoint_passed_fn)(void *context, const char *prefix, const char *why);

/** Steps of all committed checkpoints in dir (whole or not), ascending, in *steps_out (new, the caller frees it).
 *  Errors: NOT_FOUND no such directory; RESOURCE_EXHAUSTED over MST_CHECKPOINT_LIST_MAX; disk errors */
MST_MUST_USE mst_status mst_checkpoint_list(const char *dir, uint64_t **steps_out, size_t *n_steps_out,
                                            struct mst_error *err);
/** Prefix (new text) and step of the newest whole checkpoint. on_passed may be NULL.
 *  Errors: NOT_FOUND no directory, or no checkpoint in it; DATA_LOSS there are some, and none is whole (says what is
 *          wrong with the newest); PERMISSION_DENIED, RESOURCE_EXHAUSTED one that may be whole cannot be opened */
MST_MUST_USE mst_status mst_checkpoint_newest(const char *dir, mst_checkpoint_passed_fn on_passed, void *context,
                                              char **prefix_out, uint64_t *step_out, struct mst_error *err);
/** The same, and whole means here that every byte was read and has its checksum.
 *  Errors: as mst_checkpoint_newest. Cost: reads the checkpoint that it returns, and those that it passes over */
MST_MUST_USE mst_status mst_checkpoint_newest_verified(const char *dir, mst_checkpoint_passed_fn on_passed,
                                                       void *context, char **prefix_out, uint64_t *step_out,
                                                       struct mst_error *err);
/** Reads every tensor of the bundle with this prefix and checks its CRC.
 *  Errors: those of mst_bundle_open and mst_bundle_verify */
MST_MUST_USE mst_status mst_checkpoint_verify(const char *prefix, struct mst_error *err);
