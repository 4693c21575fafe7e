/** @file
 *  A bucket as it was at a cut, kept by copy on write: a cut costs a flag, and the first update after it a copy.
 *
 *      mst_snapshot_mark(&snapshots, cut, bucket);          // nothing is copied
 *      mst_snapshots_preserve(&snapshots, bucket);          // before every update: copies what is still shared
 *      snapshot = mst_snapshot_of(&snapshots, cut, bucket); // copied now, if it was not
 *      mst_snapshot_drop(&snapshots, cut);
 *
 *  Thread: loop of the bucket; floats of a snapshot that was taken (mst_snapshot_take): their owner's.
 */
#pragma once

#include "optim/optimizer.h"
#include "ps/client_table.h"

#include <stdbool.h>

enum { MST_SNAPSHOTS = 2 }; // of a bucket: one that is written, one that is evaluated

struct mst_bucket;

struct mst_snapshot {
    uint64_t cut; // 0: none
    uint64_t n_updates;
    uint64_t counter;
    bool is_copied; // false: the bucket still is what it was
    bool is_lost;   // there was no memory for the copy
    float *floats;
    float *slots[MST_OPTIMIZER_MAX_SLOTS];
    struct mst_client_row *rows; // of the workers at the cut, by index; copied when it was marked
    size_t n_rows;
};

struct mst_snapshots {
    struct mst_snapshot all[MST_SNAPSHOTS];
    size_t n_shared; // marked and not yet copied
};

/** Notes that the bucket, as it is, is that of this cut. When no place is free the oldest one is dropped. */
void mst_snapshot_mark(struct mst_snapshots *snapshots, uint64_t cut, const struct mst_bucket *bucket);
/** Copies what is still shared with the bucket, which is about to change. */
void mst_snapshots_preserve(struct mst_snapshots *snapshots, const struct mst_bucket *bucket);
/** The bucket at that cut, copied; NULL if it is not kept (any more) or there was no memory. Owner: borrowed */
const struct mst_snapshot *mst_snapshot_of(struct mst_snapshots *snapshots, uint64_t cut,
                                           const struct mst_bucket *bucket);
/** Where a worker was in this bucket at that cut; zeros if it had not pushed. */
struct mst_client_row mst_snapshot_row(const struct mst_snapshots *snapshots, uint64_t cut, uint32_t worker);
/** As mst_snapshot_of, given away: it is kept here no longer.
 *  Owner: *out is the caller's, for mst_snapshot_fini. False if it is not there */
bool mst_snapshot_take(struct mst_snapshots *snapshots, uint64_t cut, const struct mst_bucket *bucket,
                       struct mst_snapshot *out);
/** True if there was no memory to keep it. */
bool mst_snapshot_is_lost(const struct mst_snapshots *snapshots, uint64_t cut);
/** Forgets it; fine if it is not there. */
void mst_snapshot_drop(struct mst_snapshots *snapshots, uint64_t cut);
/** Releases one that was taken. */
void mst_snapshot_fini(struct mst_snapshot *snapshot);
/** Releases all. */
void mst_snapshots_fini(struct mst_snapshots *snapshots);
