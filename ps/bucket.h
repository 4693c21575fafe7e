/** @file
 *  A bucket: the shards that one data thread pushes, pulls and versions as one; where the optimizer is applied.
 *
 *      MST_TRY(mst_bucket_new(&layout, optimizer, &bucket, err));
 *      outcome = mst_bucket_push(bucket, &push, &gradients, &version);   // exactly once, see ps/client_table.h
 *      … send from version->floats, then mst_version_unref(version)
 *      version = mst_bucket_pull(bucket);                                // a reference to the current version
 *
 *  A published version never changes while anybody holds a reference to it. An update is applied in place when nobody
 *  does, else into a spare buffer. Replies hold MST_BUCKET_VERSIONS buffers at most: when all are held, a push is
 *  answered MST_PUSH_LATER and comes again when a reference is given back (bucket->on_free). So is one that a cut holds
 *  back (bucket->gate); it comes again when the gate opens.
 *
 *  What a snapshot keeps (ps/snapshot.h) does not change either, weights and slots: the first update after a cut reads
 *  those and writes others, which costs no more than one in place. The buffers stay for the next cut until
 *  mst_bucket_trim. Without memory for them the snapshot is lost and training goes on.
 *
 *  The pieces that the optimizer updates lie first, moving averages behind them, so that one pass of the optimizer and
 *  one short pass an average make an update. Frozen variables have buckets of their own, which are only pulled.
 *  Thread: loop of the bucket.
 */
#pragma once

#include "model/model.h"
#include "optim/optimizer.h"
#include "ps/client_table.h"
#include "ps/cut_gate.h"
#include "ps/snapshot.h"
#include "wire/roles.h"

#include <stdbool.h>
#include <sys/uio.h>

enum { MST_BUCKET_VERSIONS = 3 };
// Beside those: what is marked, what is being written, and what is on its way to the backups and a joiner.
enum { MST_BUCKET_KEPT = MST_SNAPSHOTS + 1 + MST_REPLICAS_MAX + 1 };

/** Whole rows of one variable, as they lie in a bucket. */
struct mst_piece {
    uint32_t variable; // index in the model
    uint32_t part;     // of the partitioned variable
    uint64_t row_offset;
    uint64_t n_rows;
    uint64_t row_floats;
    bool is_whole; // all rows of the variable
    enum mst_variable_update update;
    double momentum; // MST_UPDATE_MOVING_AVERAGE
};

struct mst_bucket;
struct mst_metric;

/** One immutable state of a bucket's parameters. */
struct mst_version {
    struct mst_bucket *bucket;
    float *floats; // n_floats of the bucket
    uint64_t counter;
    unsigned n_refs;   // of replies, and one of the bucket to its current version
    unsigned n_kept;   // by snapshots
    struct iovec part; // all of floats, as a reply's body wants it
};

/** One state of the optimizer's slots. */
struct mst_slot_set {
    float *slots[MST_OPTIMIZER_MAX_SLOTS]; // n_trained of the bucket each
    unsigned n_kept;                       // by snapshots
};

/** What a push says about itself. */
struct mst_bucket_push {
    uint32_t worker;
    uint64_t number;
    uint64_t step;
    uint64_t lease;
    uint64_t offset;
};

/** A gradient: all floats of the bucket in one run (`staged`), or one pointer a piece. The other one is NULL. */
struct mst_gradients {
    const float *staged;
    const float *const *pieces;
};

enum mst_push_outcome {
    MST_PUSH_DONE,    // applied, or repeated: answer with the version
    MST_PUSH_LATER,   // all buffers are held, or a cut holds it; try again when one is free, or the gate opens
    MST_PUSH_REFUSED, // see verdict
};

struct mst_push_result {
    enum mst_push_outcome outcome;
    enum mst_push_verdict verdict;
    struct mst_version *version; // DONE: a reference, the caller's
    uint64_t staleness;          // updates by others since this worker was last answered
    float rate;                  // the learning rate that it was applied with
    bool is_finite;              // false: gradient or result held NaN or Inf
};

struct mst_bucket {
    uint32_t id;
    size_t n_pieces;
    struct mst_piece *pieces;
    size_t n_floats;
    size_t n_trained;                      // floats that the optimizer updates: the first ones
    bool is_frozen;                        // never pushed
    const struct mst_optimizer *optimizer; // borrowed
    size_t n_slots;
    struct mst_slot_set slot_sets[1 + MST_BUCKET_KEPT];
    struct mst_slot_set *slots; // the current one
    struct mst_version versions[MST_BUCKET_VERSIONS + MST_BUCKET_KEPT];
    struct mst_version *current;
    uint64_t n_updates; // applied ever: `iterations`
    struct mst_client_table clients;
    const struct mst_cut_gate *gate; // of a cut that this bucket is not part of yet; NULL: there is none
    void (*on_marked)(void *arg);    // it is part of the cut now, and gate is NULL again
    void *on_marked_arg;
    struct mst_snapshots snapshots;
    struct mst_bucket_metrics {
        struct mst_metric *version;
        struct mst_metric *pushes;
        struct mst_metric *staleness;
    } metrics;                                             // NULL before it is served
    void (*on_free)(void *arg, struct mst_bucket *bucket); // a buffer became free; may be NULL
    void *on_free_arg;
};

/** New bucket with zeros in it; the caller fills current->floats (and slots, when it restores) before it serves.
 *  Owner:  copies pieces; borrows optimizer until free
 *  Errors: INVALID_ARGUMENT pieces out of the order of their updates, or frozen ones with others; RESOURCE_EXHAUSTED
 *          the bytes could not be had */
MST_MUST_USE mst_status mst_bucket_new(uint32_t id, const struct mst_piece *pieces, size_t n_pieces,
                                       const struct mst_optimizer *optimizer, struct mst_bucket **out,
                                       struct mst_error *err);
/** Releases it; no version may be held any more. NULL is fine. */
void mst_bucket_free(struct mst_bucket *bucket);
/** Applies a push once; never to a frozen bucket.
 *  Owner: borrows gradients for the call; *result.version is a reference of the caller's */
void mst_bucket_push(struct mst_bucket *bucket, const struct mst_bucket_push *push,
                     const struct mst_gradients *gradients, struct mst_push_result *result);
/** Applies what a primary applied with this learning rate, in its order: the same bits before give the same after.
 *  Returns false if every buffer is held; then nothing is done. Owner: borrows gradient for the call */
bool mst_bucket_follow(struct mst_bucket *bucket, const struct mst_bucket_push *push, const float *gradient,
                       float rate);
/** crc32c of weights and slots, over the whole of them in this order. Cost: reads all of them */
uint32_t mst_bucket_crc32c(const struct mst_bucket *bucket);
/** Memory for all that a bucket holds, to be filled. */
struct mst_bucket_content {
    float *floats; // n_floats
    struct mst_slot_set slots;
    uint64_t n_updates;
    uint64_t counter;
};
/** Memory for what this bucket holds. Errors: RESOURCE_EXHAUSTED it was not to be had (*out is zeroed) */
MST_MUST_USE mst_status mst_bucket_content_new(const struct mst_bucket *bucket, struct mst_bucket_content *out);
/** Releases it; a zeroed one is fine. */
void mst_bucket_content_fini(const struct mst_bucket *bucket, struct mst_bucket_content *content);
/** Replaces what the bucket holds, and forgets its client rows, fences and snapshots. Nothing is copied: *content
 *  becomes memory that is not needed. Returns false if every buffer is held; then nothing is done. */
bool mst_bucket_replace(struct mst_bucket *bucket, struct mst_bucket_content *content);
/** Looks whether the bucket has all that the cut of its gate names; then it is marked (ps/snapshot.h), the gate is
 *  nothing to it any more, and on_marked is called. After a push, a fence, and what the gate admits has changed. */
void mst_bucket_try_mark(struct mst_bucket *bucket);
/** Counts an applied push in the bucket's metrics, if it has any. Thread: loop of the bucket, lock-free */
void mst_bucket_count(const struct mst_bucket *bucket, const struct mst_push_result *result);
/** Counts a round that was applied with so many contributions. Thread: loop of the bucket, lock-free */
void mst_bucket_count_round(const struct mst_bucket *bucket, size_t n_contributions);
/** A reference to the current version; notes that this worker has seen it (MST_NO_WORKER: nobody's). */
struct mst_version *mst_bucket_pull(struct mst_bucket *bucket, uint32_t worker, uint64_t number);
/** True if an update would find a buffer now, and any number of them without a new reference in between. */
bool mst_bucket_can_apply(struct mst_bucket *bucket);
/** Publishes the version after a synchronous round: its counter is the round's. gradient is the mean of its
 *  contributions, clipped, NULL for an empty round, which is no update: parameters and iterations stay. Only when
 *  mst_bucket_can_apply says so. Returns false if gradient or result held NaN or Inf. */
bool mst_bucket_apply_round(struct mst_bucket *bucket, uint64_t round, const float *gradient);
/** The same as a follower, with the learning rate that the primary used; gradient is not NULL. */
bool mst_bucket_follow_round(struct mst_bucket *bucket, uint64_t round, const float *gradient, float rate);
/** Gives a reference back. */
void mst_version_unref(struct mst_version *version);
/** From now on neither changes. For ps/snapshot.c */
void mst_version_keep(struct mst_version *version, struct mst_slot_set *slots);
/** The opposite. */
void mst_version_unkeep(struct mst_version *version, struct mst_slot_set *slots);
/** Makes the buffers now that the first update after a cut will write, memory and all, as far as there is any: pages
 *  that nobody used lately cost more than the update itself, and a virtual machine has to ask its host for them. */
void mst_bucket_reserve(struct mst_bucket *bucket);
/** Releases the buffers that nobody holds; they are made again when they are needed. */
void mst_bucket_trim(struct mst_bucket *bucket);
/** Bytes of one version. */
size_t mst_bucket_bytes(const struct mst_bucket *bucket);
/** Bytes of the optimizer's slots. */
size_t mst_bucket_slot_bytes(const struct mst_bucket *bucket);

#define MST_NO_WORKER UINT32_MAX
