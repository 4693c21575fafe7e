/** @file
 *  The chief's protocol as one pure state machine: membership, fences and data leases (in a synchronous job: rounds)
 *  together, and what the workers report about what they trained. Time is passed in; messages are carried by
 *  chief/chief.c and by tests/sim.
 *
 *      mst_coordinator_init(&c, &config);
 *      mst_coordinator_ask(&c, &ask, now_ms, &answer);            // a worker asks for a lease, reports finished ones
 *      mst_coordinator_tick(&c, now_ms);                          // declares the silent dead
 *      while (mst_membership_next_fence(&c.membership, &cursor, &fence)) …send it…
 *      mst_coordinator_fence_answered(&c, ps, worker, number, marks, n_marks, &revoked);
 *
 *  In a synchronous job nobody gets leases; instead
 *
 *      mst_rounds_report(&c.rounds, ps, &reply);                  // and mst_rounds_tell, as chief/rounds.h says
 *      while (mst_coordinator_advance(&c) != MST_COORDINATOR_SAME) …
 *
 *  Thread: one at a time.
 */
#pragma once

#include "chief/membership.h"
#include "chief/pacing.h"
#include "chief/rounds.h"
#include "wire/training_sums.h"

/** Which examples an epoch's batches have: progress by batches says nothing in another order. */
enum mst_batch_order {
    MST_BATCH_ORDER_UNSAID,
    MST_BATCH_ORDER_FILE,
    MST_BATCH_ORDER_SHUFFLED,
};

struct mst_coordinator_config {
    size_t n_ps;
    uint64_t n_batches; // an epoch
    uint64_t n_epochs;
    uint64_t max_steps; // 0: no limit
    uint64_t lease_ms;  // silence that counts as death
    uint64_t grace_ms;  // … once the connection closed
    uint64_t sleep_ms;  // without a tick for longer, this process did not run: several ticks
    size_t n_sums;      // values of the sums that workers report
    uint64_t max_lead;  // steps that a worker may lead the slowest; 0: no limit
    enum mst_batch_order order;
    uint64_t order_seed; // of a shuffled one
    // Of a synchronous job:
    size_t n_round_workers; // 0: it is none
    size_t n_backup;        // workers that a round does not wait for
    struct mst_clip clip;
    size_t n_variables;
};

struct mst_lease_ask {
    uint32_t worker;
    uint64_t number;
    uint64_t seq;                  // the lease wanted
    uint64_t done_seq;             // leases done
    struct mst_training_sums sums; // over all leases done under this number, n_sums values; borrowed
};

enum mst_answer_kind {
    MST_ANSWER_LEASE,
    MST_ANSWER_WAIT,     // nothing to give now; ask again
    MST_ANSWER_FINISHED, // all is trained
    MST_ANSWER_FENCED,   // this incarnation is out; greet again
};

struct mst_lease_answer {
    enum mst_answer_kind kind;
    const char *why; // FENCED: a literal
    struct mst_lease lease;
};

/** What is known of an epoch that is not over, or was the last to be over. */
struct mst_epoch_record {
    uint64_t epoch;
    uint64_t n_steps; // of the job, with it
    struct mst_training_sums sums;
};

/** How far the job is. */
struct mst_coordinator_progress {
    uint64_t n_steps; // done
    uint64_t n_steps_total;
    uint64_t epoch;      // that is trained; the number of epochs: none any more
    uint64_t last_epoch; // of the last step done
    uint64_t n_epochs;
    uint64_t n_epochs_done;
    uint64_t n_torn; // steps that some shards have and others have not
};

enum mst_coordinator_news {
    MST_COORDINATOR_SAME,
    MST_COORDINATOR_DECIDED,    // there is something to tell the PSs
    MST_COORDINATOR_ROUND_OVER, // all of them have applied it
};

/** How fast a worker is, and what it reported. */
struct mst_worker_pace {
    uint64_t number;                  // incarnation it was measured on
    uint64_t last_batches;            // size of the last lease
    uint64_t last_ms;                 // when it was given
    struct mst_training_sums counted; // of what it reported
    uint64_t n_steps;                 // all that were reported for the index, by any incarnation
};

struct mst_coordinator {
    bool is_synchronous;
    struct mst_rounds rounds;         // if it is
    struct mst_training_sums counted; // of those rounds' total, what `total` has
    struct mst_membership membership;
    struct mst_leases leases;
    struct mst_pacing pacing;
    size_t n_sums;
    enum mst_batch_order order;
    uint64_t order_seed;
    uint64_t sleep_ms;
    uint64_t ticked_ms; // the last tick; 0: none yet
    uint64_t slept_ms;  // time in which this process did not run, all of it
    struct mst_training_sums total;
    struct mst_epoch_record *epochs; // of the epochs from first_epoch on
    uint64_t first_epoch;
    size_t n_epoch_records;
    struct mst_worker_pace *paces; // by worker index
    size_t n_paces;
};

/** A job in which nothing is trained yet. */
void mst_coordinator_init(struct mst_coordinator *c, const struct mst_coordinator_config *config);
/** Releases it. */
void mst_coordinator_fini(struct mst_coordinator *c);
/** Answers a worker's question for a lease, after taking in the leases it reports as done. The same question again gets
 *  the same answer and counts nothing twice. */
void mst_coordinator_ask(struct mst_coordinator *c, const struct mst_lease_ask *ask, uint64_t now_ms,
                         struct mst_lease_answer *answer);
/** Answers a question that was kept after MST_ANSWER_WAIT; it is no sign of life. */
void mst_coordinator_ask_again(struct mst_coordinator *c, const struct mst_lease_ask *ask, uint64_t now_ms,
                               struct mst_lease_answer *answer);
/** Counts the first n_steps steps as done, by the run that is resumed. Before anybody asks. */
void mst_coordinator_skip(struct mst_coordinator *c, uint64_t n_steps);
/** How far a run was that had other batches: whole epochs, and n_done of the n_batches of the next one. */
struct mst_coordinator_place {
    uint64_t epoch;
    uint64_t n_done;
    uint64_t n_batches; // at least 1
};
/** Goes on at this place of a job that counts epochs, as many of its own batches into the epoch as is the same share;
 *  rounds count their steps from n_steps on, others count the batches up to there. Before anybody asks. */
void mst_coordinator_skip_to(struct mst_coordinator *c, const struct mst_coordinator_place *place, uint64_t n_steps);
/** Steps that were reported for a worker's index, by any incarnation; rounds that it was in. */
uint64_t mst_coordinator_steps_of(const struct mst_coordinator *c, uint32_t worker);
/** Declares dead who was silent too long; returns how many fences began. Time in which this process did not run (a tick
 *  more than sleep_ms after the one before) is no silence; it is added to slept_ms. */
size_t mst_coordinator_tick(struct mst_coordinator *c, uint64_t now_ms);
/** A PS answered a fence. True when it was the last one: the worker's leases are taken back, the figures in *revoked.
 */
bool mst_coordinator_fence_answered(struct mst_coordinator *c, const struct mst_fence *fence,
                                    const struct mst_lease_mark *marks, size_t n_marks,
                                    struct mst_leases_revoked *revoked);
/** The marks that rows of buckets are, in marks (room for n_rows); returns how many. A row of number 0 is none: a
 *  worker pulls before it pushes, so that bucket has not met it, or has forgotten it with all that its server lost. */
size_t mst_coordinator_marks(const struct mst_msg_client_row *rows, size_t n_rows, struct mst_lease_mark *marks);
/** True if everybody who holds leases has pushed to buckets with these rows (the newest of each worker) since they
 *  began anew: no step that it did before is on its way to other buckets. */
bool mst_coordinator_all_pushed(const struct mst_coordinator *c, const struct mst_msg_client_row *rows, size_t n_rows);
/** No more work is given out (mst_leases_stop). */
void mst_coordinator_stop(struct mst_coordinator *c);
/** A synchronous job: goes on from a close. Before anybody is admitted.
 *  Errors: those of mst_rounds_restore */
MST_MUST_USE mst_status mst_coordinator_restore(struct mst_coordinator *c, const struct mst_msg_close *close,
                                                enum mst_rounds_start start, struct mst_error *err);
/** A synchronous job: takes in who lives and decides the next thing about rounds. Look at epochs, at checkpoints and at
 *  the end when a round is over: nothing else happens before the next call. */
enum mst_coordinator_news mst_coordinator_advance(struct mst_coordinator *c);
/** How far the job is. */
struct mst_coordinator_progress mst_coordinator_progress(const struct mst_coordinator *c);
/** What was measured so far over the epoch that is trained; NULL: nothing yet. Owner: borrowed until the next call that
 *  is not const */
const struct mst_training_sums *mst_coordinator_epoch_sums(const struct mst_coordinator *c);
/** True when every batch is trained. */
bool mst_coordinator_finished(const struct mst_coordinator *c);
/** Takes the oldest record of an epoch whose batches are all done into *out; false if there is none.
 *  Owner: the sums are the caller's, for mst_training_sums_fini */
bool mst_coordinator_take_epoch(struct mst_coordinator *c, struct mst_epoch_record *out);
