/** @file
 *  Checkpoints in a directory: one TensorBundle `model-<step>` each, and TensorFlow's `checkpoint` state file.
 *
 *      MST_TRY(mst_checkpoint_begin(&attempt, &w, err));                 // the chief; each PS: ckpt/checkpoint_part.h
 *      MST_TRY(mst_checkpoint_add(w, &tensor, shard, &piece, err));      // each piece
 *      MST_TRY(mst_checkpoint_write(w, &iterations, 1, err));
 *      MST_TRY(mst_checkpoint_commit(w, keep, err));
 *
 *  Names: a variable is `<layer>/<variable>`, a slot `<layer>/<variable>/<slot>`, the count of updates `iterations`
 *  (int64).
 *
 *  Order of a commit (what a crash leaves behind is in brackets):
 *  1. every data file under a temporary name, flushed [leftovers, which clean deletes];
 *  2. the index under a temporary name, flushed [the same];
 *  3. an index of the same step, if there is one, is deleted [that older checkpoint of the same step is gone];
 *  4. the data files are renamed, the directory flushed [data files without index, which clean deletes];
 *  5. the index is renamed, the directory flushed: from here on the checkpoint exists [`checkpoint` names the one
 *     before];
 *  6. `checkpoint` is replaced by renaming;
 *  7. older ones beyond `keep` are deleted, index first.
 *  A disk error at any point leaves the checkpoint before in place.
 *  Thread: one at a time for a writer; the functions without one: any.
 */
#pragma once

#include "muster/status.h"
#include "tfio/bundle.h"

#include <stddef.h>
#include <stdint.h>

/** In a job's checkpoint: the chief's state, bytes (chief/chief_state.h). */
#define MST_CHECKPOINT_STATE_TENSOR "chief_state"
/** … and of synchronous ones: a message Round with the close that it was made at (wire/messages.h). */
#define MST_CHECKPOINT_ROUNDS_TENSOR "rounds"

/** A tensor, or the rows of one that a PS holds, and its bytes in memory (little-endian). */
struct mst_checkpoint_value {
    struct mst_bundle_tensor tensor;
    const void *data; // mst_bundle_tensor_bytes of it
};

/** New text "dir/model-<step>": the prefix of the bundle. */
char *mst_checkpoint_prefix(const char *dir, uint64_t step);

/** One attempt to write a checkpoint. Its temporary files carry its id, so that a process of an attempt that was given
 *  up, and which goes on all the same because it stood still meanwhile, touches no file of the next one. */
struct mst_checkpoint_attempt {
    const char *dir;
    uint64_t step;
    size_t n_shards; // data files
    uint64_t id;     // the cut's, or what else no other attempt has
};

struct mst_checkpoint_writer;

/** New writer in *out; makes the folder if it is missing.
 *  Owner: copies. Errors: INVALID_ARGUMENT n_shards; disk errors */
MST_MUST_USE mst_status mst_checkpoint_begin(const struct mst_checkpoint_attempt *attempt,
                                             struct mst_checkpoint_writer **out, struct mst_error *err);
/** Notes a value that another process has written into its shard.
 *  Owner: copies. Errors: those of mst_bundle_index_add */
MST_MUST_USE mst_status mst_checkpoint_add(struct mst_checkpoint_writer *writer, const struct mst_bundle_tensor *tensor,
                                           size_t shard, const struct mst_bundle_piece *piece, struct mst_error *err);
/** Writes the chief's own values as the last shard (number n_shards-1); at most once.
 *  Errors: those of ckpt/checkpoint_part.h, and of mst_bundle_index_add */
MST_MUST_USE mst_status mst_checkpoint_write(struct mst_checkpoint_writer *writer,
                                             const struct mst_checkpoint_value *values, size_t n_values,
                                             struct mst_error *err);
/** The checkpoints of these steps are not deleted by commit, however old. Owner: copies */
void mst_checkpoint_spare(struct mst_checkpoint_writer *writer, const uint64_t *steps, size_t n_steps);
/** Commits as the opening says, keeps the newest `keep` whole ones (0: all) and those that are spared, and releases
 *  writer, also when it fails.
 *  Errors: DATA_LOSS a shard's file is missing or shorter than what was added from it; INVALID_ARGUMENT slices with a
 *          gap; disk errors. After an error from step 6 on, the checkpoint exists all the same */
MST_MUST_USE mst_status mst_checkpoint_commit(struct mst_checkpoint_writer *writer, size_t keep, struct mst_error *err);
/** Gives up: deletes this attempt's temporary files, and data files of its step that have no index; releases writer.
 *  NULL is fine. */
void mst_checkpoint_abort(struct mst_checkpoint_writer *writer);

/** Deletes what crashed writes have left in dir: temporary files, data files without an index. Only for the chief,
 *  while nobody writes. A missing dir is fine.
 *  Errors: disk errors */
MST_MUST_USE mst_status mst_checkpoint_clean(const char *dir, struct mst_error *err);
