/** @file
 *  Data leases: who trains which batches of which epoch, so that every batch is trained exactly once an epoch. Pure.
 *
 *      mst_leases_init(&leases, n_batches, n_epochs, max_steps);
 *      kind = mst_leases_grant(&leases, worker, number, seq, want, &lease);   // a range of whole batches
 *      while (mst_leases_complete(&leases, worker, number, done_seq, &lease)) // its leases up to done_seq are done
 *      mst_leases_revoke(&leases, worker, number, rows, n_rows, &revoked);    // dead: what it left goes to others
 *
 *  A worker's leases carry a sequence number of their own (1, 2, …): asking twice for the same one gives the same
 *  range.
 *  A lease id is unique and grows with time. The next epoch begins when the last range of this one is granted; nobody
 *  waits at an epoch's end. (DESIGN §5, Data leases.)
 *  Thread: one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MST_LEASES_PER_WORKER 2 // one being trained, one fetched ahead

struct mst_lease {
    uint64_t id;          // from 1, growing
    uint64_t seq;         // the worker's count of leases, from 1
    uint64_t epoch;       // from 0
    uint64_t first_batch; // of the epoch's permutation
    uint64_t n_batches;
};

enum mst_lease_kind {
    MST_LEASE_GRANTED,
    MST_LEASE_WAIT,     // all is given out, but a holder may still die
    MST_LEASE_FINISHED, // mst_leases_finished
    MST_LEASE_REFUSED,  // a sequence number that was never due, or is over
};

/** Progress of one worker as one shard holds it (the client row of a bucket). */
struct mst_lease_mark {
    uint64_t lease;
    uint64_t offset;
    bool is_restored; // the shard lost what came after it: this much is done, and more may have been
};

struct mst_leases_revoked {
    uint64_t n_done;     // batches of its leases that count as done
    uint64_t n_torn;     // of these, applied on some shards and not on others
    uint64_t n_returned; // batches that go to others, or to nobody once it is stopped
};

struct mst_lease_range {
    uint64_t epoch;
    uint64_t first_batch;
    uint64_t n_batches;
};

/** A worker's current incarnation, and what it holds. */
struct mst_lease_holder {
    uint32_t worker;
    uint64_t number;
    uint64_t last_seq;
    size_t n_held;
    struct mst_lease held[MST_LEASES_PER_WORKER]; // oldest first
};

struct mst_leases {
    uint64_t n_batches; // an epoch
    uint64_t n_epochs;
    uint64_t n_planned; // batches of the whole job
    uint64_t n_total;   // batches that will be done: those, unless it is stopped
    bool is_stopped;
    uint64_t n_granted; // batches cut from epochs so far
    uint64_t n_done;
    uint64_t n_torn;
    uint64_t n_epochs_done; // epochs 0 … n_epochs_done-1 have every batch done
    uint64_t *open_epochs;  // batches done in the epochs after those
    size_t n_open_epochs;
    uint64_t next_id;
    struct mst_lease_range *returned; // ranges of the dead, oldest first
    size_t n_ranges;
    struct mst_lease_holder *holders; // a worker's current incarnation each
    size_t n_holders;
};

/** All of n_epochs epochs of n_batches batches to be given out; at most max_steps batches in all if that is not 0. */
void mst_leases_init(struct mst_leases *leases, uint64_t n_batches, uint64_t n_epochs, uint64_t max_steps);
/** Counts the first n_steps batches as done already, by the run whose checkpoint is resumed. Before the first grant. */
void mst_leases_skip(struct mst_leases *leases, uint64_t n_steps);
/** Releases it. */
void mst_leases_fini(struct mst_leases *leases);
/** Lease number seq of this incarnation of the worker, of at most `want` batches (0: no new one now), in *out.
 *  seq may be one more than the last granted (a new lease, unless it holds MST_LEASES_PER_WORKER unfinished ones) or
 *  the last granted (the same lease once more). */
enum mst_lease_kind mst_leases_grant(struct mst_leases *leases, uint32_t worker, uint64_t number, uint64_t seq,
                                     uint64_t want, struct mst_lease *out);
/** Notes that the worker's leases with sequence numbers up to done_seq are done. True if one of them was held until
 *  now: the oldest such lease is then in *out (call again for the next). */
bool mst_leases_complete(struct mst_leases *leases, uint32_t worker, uint64_t number, uint64_t done_seq,
                         struct mst_lease *out);
/** Takes back all leases of a fenced incarnation. marks are its progress in every bucket, one each (zeros where it
 *  never pushed): the highest counts as done, what lies between the lowest and the highest is torn, the rest is
 *  returned. A restored one is no lowest. */
struct mst_leases_revoked mst_leases_revoke(struct mst_leases *leases, uint32_t worker, uint64_t number,
                                            const struct mst_lease_mark *marks, size_t n_marks);
/** Batches of leases that are held: how many of them are done is not known. */
uint64_t mst_leases_n_held(const struct mst_leases *leases);
/** Ends it early: no more leases are given out, those that are held are the last; what the dead left, or leave, is not
 *  done. */
void mst_leases_stop(struct mst_leases *leases);
/** True when every batch of every epoch is done, or every lease that was held when it was stopped. */
bool mst_leases_finished(const struct mst_leases *leases);
