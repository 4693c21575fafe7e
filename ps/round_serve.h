/** @file
 *  Synchronous rounds of a holding: connections and the direct carrier on one side, the control loop on the other.
 *
 *      mst_round_report_init(&report, n_workers, n_groups);
 *      struct mst_round_serving_config config = {.rounds = rounds, .report = &report, .order = &order, …};
 *      mst_holding_serve_rounds(holding, &config);                   // after mst_data_thread_serve
 *      mst_loop_post(data_loop, mst_round_serve_order, holding);     // the order has changed
 *      …on_report(arg) on the control loop: mst_round_report_read(&report, &progress), mst_round_report_join(…)
 *
 *  The control loop changes the order only when every holding has reported that it is done with the one before; a
 *  report always says all, so several changes cost one wake-up.
 *
 *  With replicas a group has rounds wherever its buckets are, and whoever is primary serves them: the control loop
 *  begins a reign in every holding before it orders anything. Stored and applied is what all followers have stored and
 *  applied, too; a close is theirs with the means that it comes to.
 */
#pragma once

#include "ps/data_thread.h"
#include "ps/round_places.h"

#include <pthread.h>
#include <stdatomic.h>

/** What the control loop wants of every holding of a group. */
struct mst_round_order {
    // With replicas: which time that this PS is primary of the group; 0 without. An order of another reign than the one
    // that has begun in a holding is not looked at, so this alone is changed while holdings may be reading the rest.
    _Atomic uint64_t reign;
    bool has_close; // false: nothing is wanted
    struct mst_msg_close close;
    uint64_t act_round; // with the close's round: act on it
    bool acts;          // act_round counts
    size_t n_scales;
    const double *scales;
};

/** How far a holding is; with replicas, what its followers have, too. */
struct mst_round_progress {
    uint64_t reign; // the last that began
    bool has_stored;
    uint64_t stored;
    uint64_t attempt;
    bool has_begun;
    uint64_t applied;
};

/** What a holding tells the control loop; in memory of the latter. */
struct mst_round_report {
    pthread_mutex_t lock;
    bool is_posted; // guarded by lock, as is the rest: on_report is on its way
    struct mst_round_progress progress;
    size_t n_workers;
    struct mst_round_push *arrivals; // by worker; round 0: none. sums point to what is in sums
    struct mst_training_sums *sums;  // by worker
    size_t n_groups;
    struct mst_square_norm *norms; // by clip group, of the stored close
    bool *is_here;                 // the group has rows on this thread
    // With replicas, whatever the role: as messages, see mst_round_report_closes.
    struct mst_buf applied_close;
    struct mst_buf stored_close;
};

/** The closes that a holding has. */
struct mst_round_closes {
    bool has_applied;
    struct mst_msg_close applied;
    bool has_stored; // … and has not applied
    struct mst_msg_close stored;
};

/** What the control loop gives a holding. */
struct mst_round_serving_config {
    struct mst_round_places *rounds;
    struct mst_round_report *report;
    const struct mst_round_order *order;
    struct mst_loop *control;
    void (*on_report)(void *arg); // posted to control
    void *arg;
};

/** An empty report. */
void mst_round_report_init(struct mst_round_report *report, size_t n_workers, size_t n_groups);
/** Releases it. A zeroed one is fine. Thread: the data thread has stopped */
void mst_round_report_fini(struct mst_round_report *report);
/** How far it is; the next change posts again. Thread: control */
void mst_round_report_read(struct mst_round_report *report, struct mst_round_progress *out);
/** Joins the contributions that are complete in the holding to a table of which it is a part. Thread: control */
void mst_round_report_join(struct mst_round_report *report, struct mst_round_table *table, size_t part);
/** Adds the holding's norms to those of all. Shape: norms, is_here (n_groups). Thread: control */
void mst_round_report_norms(struct mst_round_report *report, struct mst_square_norm *norms, bool *is_here);

/** With replicas: copies out which closes are here. They stay as they are from the report of a reign that has begun to
 *  the first order under it. Owner: *out borrows from arena
 *  Errors: RESOURCE_EXHAUSTED. Thread: any */
MST_MUST_USE mst_status mst_round_report_closes(struct mst_round_report *report, struct mst_arena *arena,
                                                struct mst_round_closes *out);

/** Serves rounds from now on. Owner: steals config->rounds, keeps what else the config points to. Thread: loop */
void mst_holding_serve_rounds(struct mst_holding *holding, const struct mst_round_serving_config *config);
/** Does what the order says. Thread: loop; arg is the holding */
void mst_round_serve_order(void *arg);
/** This PS is primary of the group, under the order's reign: what an older order wanted is dropped, and when all that
 *  is here is at the followers, reign and progress are reported. The order is left as it is, but for its reign, until
 *  every holding has reported that. Thread: loop; arg is the holding */
void mst_round_serve_begin(void *arg);
/** Refuses what comes under a worker's numbers up to `number`, and what waits. What is here of them stays. Without
 *  rounds it does nothing. Thread: loop */
void mst_round_serve_fence(struct mst_holding *holding, uint32_t worker, uint64_t number);
