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
 */
#pragma once

#include "ps/data_thread.h"
#include "ps/round_places.h"

#include <pthread.h>

/** What the control loop wants of every holding of a group. */
struct mst_round_order {
    struct mst_msg_close close;
    uint64_t act_round; // with the close's round: act on it
    bool acts;          // act_round counts
    size_t n_scales;
    const double *scales;
};

/** How far a holding is. */
struct mst_round_progress {
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

/** Serves rounds from now on. Owner: steals config->rounds, keeps what else the config points to. Thread: loop */
void mst_holding_serve_rounds(struct mst_holding *holding, const struct mst_round_serving_config *config);
/** Does what the order says. Thread: loop; arg is the holding */
void mst_round_serve_order(void *arg);
/** Refuses contributions of a worker's numbers up to `number`. Without rounds it does nothing. Thread: loop */
void mst_round_serve_fence(struct mst_holding *holding, uint32_t worker, uint64_t number);
