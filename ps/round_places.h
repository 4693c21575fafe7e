/** @file
 *  One data thread's part of synchronous rounds: the contributions to the next round, what they come to, and who waits
 *  for it. ps/round_table.h is its protocol; here are the gradients.
 *
 *      MST_TRY(mst_round_places_new(&config, &rounds, err));        // reserves every buffer
 *      …read a gradient into place->contributions[worker], mst_round_table_hold(&rounds->table, …)
 *      mst_round_places_contributed(rounds, place);                 // adds up what can be added up already
 *      mst_round_places_store(rounds, &close);                      // means and norms of those that the close names
 *      if (mst_round_places_can_act(rounds))
 *          mst_round_places_act(rounds, scales, n_scales);          // a version each; whoever waits is told
 *
 *  A mean is the sum of weight times gradient in worker order, divided by the sum of the weights; one contribution
 *  alone is taken as it is. So neither the order in which they come nor the partitioning changes a bit.
 *  Thread: loop of the buckets, but mst_round_places_new.
 */
#pragma once

#include "optim/square_norm.h"
#include "ps/bucket.h"
#include "ps/round_table.h"

struct mst_round_places;

// Means that a place keeps though nobody has them: the sum of the next round is there at once, and one more while a
// follower is slow. What a sweep, or a follower that stood still, held beside them is freed when it comes back.
enum { MST_ROUND_MEANS_KEPT = 2 };

/** Somebody who is answered when a round is applied. Lives in the caller's struct. */
struct mst_round_waiter {
    struct mst_round_waiter *next;
    uint64_t round;
    uint64_t since_ns; // of the monotonic clock; 0: nobody measures
    uint32_t worker;
    uint64_t number; // that the worker goes by; 0: it has none
    /** Told once, off the list by then; releases it. */
    void (*on_applied)(struct mst_round_waiter *waiter, struct mst_bucket *bucket, const struct mst_msg_turn *turn,
                       bool is_finite);
};

/** What contributions come to, in memory of a place. With replicas it is shared with operations and buckets that are on
 *  their way to followers, and does not change then. */
struct mst_round_mean {
    struct mst_round_mean *next_free;
    struct mst_round_place *place;
    unsigned n_refs;
    float *floats;
    uint64_t round; // of the close
    uint64_t attempt;
};

/** A bucket in rounds. */
struct mst_round_place {
    struct mst_bucket *bucket;     // borrowed
    size_t part;                   // of the table; no meaning for a frozen one
    float **contributions;         // by worker; NULL: frozen
    struct mst_round_mean *sum;    // of those added up so far, or their mean
    size_t n_added;                // …, which are added[0 .. n_added - 1], in worker order
    uint32_t *added;               // n_workers
    double total_weight;           // … and their weights
    bool is_mean;                  // sum is divided
    bool has_norms;                // … and squared
    struct mst_square_norm *norms; // of each piece
    struct mst_round_waiter *waiters;
    bool is_finite; // of the last round applied
    // With replicas.
    struct mst_round_mean *stored; // what the stored close comes to, until it is applied
    bool is_lent;                  // … in the memory of the only contribution, which has other memory now
    struct mst_round_mean *coming; // follower: of the close that comes next
    struct mst_round_mean *free_means;
    size_t n_free_means;
};

struct mst_round_places {
    struct mst_round_table table;
    size_t n_workers;
    size_t n_places;
    struct mst_round_place *places; // one a bucket, in ascending id
    bool clips_global;              // norms of all variables together are wanted
    bool clips_each;                // … of each variable
    bool is_replicated;             // means are kept for followers; whoever waits is told by mst_round_places_tell
    float rate;                     // … and the stored close is applied with it
};

/** What to make. Borrowed for the call, but the buckets. */
struct mst_round_places_config {
    struct mst_bucket *const *buckets;
    size_t n_buckets;
    const struct mst_optimizer *optimizer;
    size_t n_workers;
};

/** New rounds of these buckets, with a buffer for each worker's contribution to each of them.
 *  Errors: RESOURCE_EXHAUSTED they could not be had (names how much) */
MST_MUST_USE mst_status mst_round_places_new(const struct mst_round_places_config *config,
                                             struct mst_round_places **out, struct mst_error *err);
/** Releases it; nobody is told any more. NULL is fine. */
void mst_round_places_free(struct mst_round_places *rounds);
/** Bytes of its buffers. */
uint64_t mst_round_places_bytes(const struct mst_round_places *rounds);

/** The place of the bucket with this id, or NULL. */
struct mst_round_place *mst_round_places_find(struct mst_round_places *rounds, uint32_t bucket);
/** A contribution was completed in this bucket: adds up those that no close can order otherwise. */
void mst_round_places_contributed(struct mst_round_places *rounds, struct mst_round_place *place);
/** Stores a close that is new, with means and, if the optimizer clips, norms. */
void mst_round_places_store(struct mst_round_places *rounds, const struct mst_msg_close *close);
/** Adds norms of the stored close's means to those of their groups.
 *  Shape: norms (model's variables + 1), is_here likewise, set where a group has rows here */
void mst_round_places_norms(const struct mst_round_places *rounds, struct mst_square_norm *norms, bool *is_here);
/** True if every bucket finds a buffer for the version that the stored close makes. */
bool mst_round_places_can_act(struct mst_round_places *rounds);
/** Acts on the stored close: every bucket gets its version and whoever waits for it is told, with replicas later. Only
 *  when it is to be, and can. scales: by clip group, see mst_msg_round; groups past n_scales are scaled by 1. */
void mst_round_places_act(struct mst_round_places *rounds, const double *scales, size_t n_scales);

/** Has waiter told when its round is applied to this bucket. Owner: keeps waiter until told or dropped */
void mst_round_places_wait(struct mst_round_place *place, struct mst_round_waiter *waiter);
/** Takes those off all lists that is_gone(arg, waiter) names, which releases them. */
void mst_round_places_drop(struct mst_round_places *rounds,
                           bool (*is_gone)(const void *arg, struct mst_round_waiter *waiter), const void *arg);

// ---- with replicas ----

/** A mean of nothing, of n_floats of the place's bucket, with one reference; NULL: there is no memory. */
struct mst_round_mean *mst_round_mean_new(struct mst_round_place *place);
/** One reference more. */
struct mst_round_mean *mst_round_mean_ref(struct mst_round_mean *mean);
/** One reference less; with the last one the place uses it again, or frees it if it keeps enough. NULL is fine. */
void mst_round_mean_unref(struct mst_round_mean *mean);
/** True if there is memory for the means of a close. */
bool mst_round_places_can_store(struct mst_round_places *rounds);
/** True if the bucket has the version of the close that is to be applied already: whoever was promoted in the middle of
 *  a sweep may have buckets on both sides of a round. */
bool mst_round_place_is_past(const struct mst_round_places *rounds, const struct mst_round_place *place);
/** Tells those who wait for a round that is applied. */
void mst_round_places_tell(struct mst_round_places *rounds);
/** All contributions, and what was added up of them, are forgotten; means of a stored close stay. */
void mst_round_places_forget(struct mst_round_places *rounds);
/** A follower stores a close: what came for it is its means. is_here: by place; it may have one. NULL: all */
void mst_round_places_follow_close(struct mst_round_places *rounds, const struct mst_msg_close *close,
                                   const bool *is_here);

/** What a primary says of a round that it applied. */
struct mst_round_applying {
    const double *scales;
    size_t n_scales;
    float rate;          // the learning rate that it was applied with
    const bool *is_here; // by place; the others are of another point. NULL: all
};

/** A follower applies the stored close. */
void mst_round_places_follow_apply(struct mst_round_places *rounds, const struct mst_round_applying *applying);
/** The bucket was replaced by one for which the stored close comes to `stored`, whose reference goes to the place. */
void mst_round_place_replaced(struct mst_round_place *place, struct mst_round_mean *stored);
