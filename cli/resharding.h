/** @file
 *  Rewrites a checkpoint with another number of data files and other cuts of its tensors; every value stays as it is,
 *  bit for bit.
 *
 *      struct mst_resharding request = {.from = "run/ckpt/model-4690", .to = "whole/model-4690", .n_shards = 1};
 *      MST_TRY(mst_reshard(&request, &done, err));
 *
 *  Data files and index are written under temporary names (`.tmp`), then renamed, the index last: `to` is a
 *  checkpoint, or it is not there. A tensor of a type without a fixed size (TensorFlow's object graph) is copied whole,
 *  as it lies.
 *  Thread: any.
 */
#pragma once

#include "muster/status.h"
#include "spec/partitioner.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Of data files: all of them are open while they are written.
enum { MST_RESHARD_SHARDS_MAX = 512 };

/** What to do. Borrowed for the call. */
struct mst_resharding {
    const char *from;                   // prefix
    const char *to;                     // prefix
    size_t n_shards;                    // data files, at most MST_RESHARD_SHARDS_MAX; 0: as many as `from` has
    bool is_recut;                      // by partitioner; else every tensor is cut as it is in `from`
    struct mst_partitioner partitioner; // kind NONE: whole tensors
};

/** What was written. */
struct mst_resharded {
    size_t n_tensors;
    size_t n_cut;    // of them: in more than one slice
    size_t n_slices; // of those that are cut
    size_t n_shards;
    uint64_t n_bytes;
};

/** The partitioner that a text means: "none", "fixed:SHARDS", "min-size:BYTES[:SHARDS]", "max-size:BYTES[:SHARDS]".
 *  Errors: INVALID_ARGUMENT says what is wrong, and the forms */
MST_MUST_USE mst_status mst_partitioner_read(const char *text, struct mst_partitioner *out, struct mst_error *err);

/** Writes the checkpoint; makes the folders of `to`. *out says what, if it succeeds.
 *  Errors: FAILED_PRECONDITION `to` is there already; INVALID_ARGUMENT too many data files or slices; those of reading
 *          `from` (DATA_LOSS a wrong checksum); disk errors. After an error nothing is left of `to`
 *  Cost:   memory for the largest tensor */
MST_MUST_USE mst_status mst_reshard(const struct mst_resharding *request, struct mst_resharded *out,
                                    struct mst_error *err);
