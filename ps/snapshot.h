/** @file
 *  A bucket as it was at a cut. Nothing is copied: a snapshot keeps the arrays that the bucket had, and the next update
 *  writes into others (ps/bucket.h).
 *
 *      mst_snapshot_mark(&snapshots, cut, bucket);
 *      snapshot = mst_snapshot_of(&snapshots, cut);         // to look at
 *      if (mst_snapshot_take(&snapshots, cut, &snapshot))   // to keep beyond this loop's turn
 *          … mst_snapshot_fini(&snapshot);
 *      mst_snapshot_drop(&snapshots, cut);
 *
 *  Thread: loop of the bucket; what a taken snapshot points to may be read by any thread until it is released, there.
 */
#pragma once

#include "optim/optimizer.h"
#include "ps/client_table.h"

#include <stdbool.h>

enum { MST_SNAPSHOTS = 2 }; // of a bucket: one that is written, one that is evaluated

struct mst_bucket;
struct mst_version;
struct mst_slot_set;

struct mst_snapshot {
    uint64_t cut; // 0: none
    uint64_t n_updates;
    uint64_t counter;
    bool is_lost;                // there was no memory to keep it
    struct mst_version *version; // kept; NULL: lost
    struct mst_slot_set *slots;  // kept
    struct mst_client_row *rows; // of the workers at the cut, by index, then those before; not of one that was taken
    size_t n_rows;
};

struct mst_snapshots {
    struct mst_snapshot all[MST_SNAPSHOTS];
};

/** Keeps the bucket, as it is, as that of this cut. When no place is free the oldest one is dropped. */
void mst_snapshot_mark(struct mst_snapshots *snapshots, uint64_t cut, struct mst_bucket *bucket);
/** The bucket at that cut; NULL if it is not kept (any more) or was lost. Owner: borrowed */
const struct mst_snapshot *mst_snapshot_of(const struct mst_snapshots *snapshots, uint64_t cut);
/** Where a worker was in this bucket at that cut; zeros if it had not pushed. */
struct mst_client_row mst_snapshot_row(const struct mst_snapshots *snapshots, uint64_t cut, uint32_t worker,
                                       uint64_t number);
/** How many updates the bucket had counted at that cut, lost or taken or not; 0 if it is not known (any more). */
uint64_t mst_snapshot_n_updates(const struct mst_snapshots *snapshots, uint64_t cut);
/** As mst_snapshot_of, given away: it is in its place no longer.
 *  Owner: *out is the caller's, for mst_snapshot_fini. False if it is not there */
bool mst_snapshot_take(struct mst_snapshots *snapshots, uint64_t cut, struct mst_snapshot *out);
/** True if there was no memory to keep it. */
bool mst_snapshot_is_lost(const struct mst_snapshots *snapshots, uint64_t cut);
/** Keeps none of them any longer, for want of memory; those that were taken stay. False if there was none. */
bool mst_snapshots_lose(struct mst_snapshots *snapshots);
/** Forgets it; fine if it is not there. */
void mst_snapshot_drop(struct mst_snapshots *snapshots, uint64_t cut);
/** Releases one that was taken; a zeroed one is fine. */
void mst_snapshot_fini(struct mst_snapshot *snapshot);
/** Releases all. */
void mst_snapshots_fini(struct mst_snapshots *snapshots);
