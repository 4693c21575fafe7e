/** @file
 *  TensorFlow's state file of a checkpoint directory, which lists what is there from the oldest to the newest. Private
 *  to ckpt/.
 *
 *  Numbers of steps do not say which checkpoint is newer: a run that begins anew, or goes on from an older one, writes
 *  lower ones beside those of the run before. The order of the file does. What the file does not list was committed
 *  since, before a crash: so it has to list whatever may still be there.
 *
 *  1. model_checkpoint_path: "model-<step>": the newest;
 *  2. all_model_checkpoint_paths: "model-<step>", a line each, from the oldest to the newest.
 *  Other lines belong to somebody else.
 *  Thread: any.
 */
#pragma once

#include "base/bytes.h"
#include "muster/status.h"

#include <stddef.h>
#include <stdint.h>

/** Steps that a state file lists, in its order, in *steps_out (new, the caller frees it). */
void mst_checkpoint_state_parse(struct mst_bytes text, uint64_t **steps_out, size_t *n_steps_out);
/** Puts steps of dir, which ascend, in order of age, the newest last: first those that the state file lists as it lists
 *  them, then the others. Without such a file they stay. */
void mst_checkpoint_state_sort(const char *dir, uint64_t *steps, size_t n_steps);
/** Writes the state file of dir: steps in order of age, at least one, the newest last. Errors: those of the disk */
MST_MUST_USE mst_status mst_checkpoint_state_write(const char *dir, const uint64_t *steps, size_t n_steps,
                                                   struct mst_error *err);
