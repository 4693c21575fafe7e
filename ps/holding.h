/** @file
 *  A holding: the buckets of one group that have one home thread, as a data thread of a PS holds them, and what belongs
 *  to them together: the gate of a cut, the marks it waits for, synchronous rounds.
 *
 *      holding = mst_holding_new(group, home_thread, buckets, n);       // the buckets of the map
 *      mst_data_thread_serve(thread, holding, term, epoch);             // pushed, pulled and cut from now on
 *      mst_holding_hold(holding, cut);  mst_holding_admit(holding, &admit);
 *
 *  A group is all buckets that the plan gives to one PS, its home; a PS that keeps copies for others has holdings of
 *  several groups. A data thread has any number of holdings; staging buffers and connections are the thread's.
 *  Thread: loop of the data thread, but new.
 */
#pragma once

#include "ps/bucket.h"

struct mst_data_thread;
struct replication;
struct round_serving;

struct mst_holding {
    struct mst_holding *next;       // of the data thread
    struct mst_data_thread *thread; // NULL before it is served
    uint32_t group;                 // index of the PS that is its home
    uint32_t home_thread;           // there, by the plan
    struct mst_bucket **buckets;    // in ascending id
    size_t n_buckets;
    struct mst_cut_gate gate;
    size_t n_unmarked; // buckets that the cut waits for
    void (*on_marked)(void *arg);
    void *on_marked_arg;
    struct round_serving *serving;   // synchronous rounds, or NULL
    struct replication *replication; // NULL: these buckets are here alone (ps/replication.h)
};

/** A new holding that no thread serves. Owner: steals buckets (the array and all). Thread: any */
struct mst_holding *mst_holding_new(uint32_t group, uint32_t home_thread, struct mst_bucket **buckets,
                                    size_t n_buckets);
/** Releases it and its buckets, of which no version may be held any more. NULL is fine. */
void mst_holding_free(struct mst_holding *holding);
/** Of a data thread's holdings, from the first one on, that of this group and home thread, or NULL. */
struct mst_holding *mst_holding_of(struct mst_holding *first, uint32_t group, uint32_t home_thread);
/** Where the bucket with this id stands; n_buckets: it is not there. */
size_t mst_holding_position(const struct mst_holding *holding, uint32_t id);
/** The bucket with this id, or NULL. */
struct mst_bucket *mst_holding_find(const struct mst_holding *holding, uint32_t id);

/** Up to where a cut goes, and who is told. */
struct mst_holding_admission {
    uint64_t cut;
    const struct mst_cut_row *rows; // copied
    size_t n_rows;
    void (*on_marked)(void *arg);
    void *arg;
};

/** Lets no new step pass, for the cut of this id. */
void mst_holding_hold(struct mst_holding *holding, uint64_t cut);
/** Lets steps up to the rows pass; each bucket that has all of them is marked and goes on. After the last one on_marked
 *  is called, perhaps from within. Without a hold before it (rounds), every bucket is marked as it is. */
void mst_holding_admit(struct mst_holding *holding, const struct mst_holding_admission *admission);
/** A worker was fenced: the cut does not wait for it. */
void mst_holding_look_at_marks(struct mst_holding *holding);
/** What the cut waits for: calls missing(arg, row) for each worker and bucket that has not reached its row. */
void mst_holding_missing(const struct mst_holding *holding, void (*missing)(void *arg, const struct mst_cut_row *row),
                         void *arg);
/** Lets all pass again: the cut is given up. Fine if there is none. Returns the arg of an on_marked that is now not
 *  called any more, or NULL. */
void *mst_holding_open(struct mst_holding *holding);
/** The snapshots of this cut are not needed. */
void mst_holding_drop_cut(struct mst_holding *holding, uint64_t cut);
/** No snapshot is needed; one that was taken, to be written, stays until it is. */
void mst_holding_forget_cuts(struct mst_holding *holding);
/** Makes the buffers that the first cut will need (mst_bucket_reserve). */
void mst_holding_reserve(struct mst_holding *holding);
/** Releases the buffers of its buckets that nobody holds (mst_bucket_trim). */
void mst_holding_trim(struct mst_holding *holding);
