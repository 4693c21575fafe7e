/** @file
 *  Synchronous rounds, the chief's side: who is to contribute what to which round, when a round is closed and with
 *  whom, and when it is applied. Pure: no clock, no sockets; links carry its messages.
 *
 *      mst_rounds_init(&rounds, &config);
 *      MST_TRY(mst_rounds_restore(&rounds, &close, start, err)); // a chief that starts: the last close of a PS
 *      mst_rounds_set_worker(&rounds, worker, state);       // as they join, and when their fence is complete
 *      mst_rounds_report(&rounds, ps, &reply);              // what a PS has
 *      while (mst_rounds_advance(&rounds)) …                // applies and closes what is possible by now
 *      if (rounds.n_told != what this PS was last told)     // there is something new to tell
 *          mst_rounds_tell(&rounds, ps, &round);
 *
 *  Three steps a round, each a fact that stays true, so that loss, repetition and reordering of messages do no harm:
 *  1. closed: the contributions of at least max(1, expected - n_backup) workers are complete on every PS; the close
 *     names all that are. expected: the workers of the plan that are not fenced. None: it closes empty, as no step.
 *  2. acted on: every PS has stored the close, and the norms of its mean gradient are known, so the scales are.
 *  3. over: every PS has applied it. Only then is the next one closed.
 *  A round is dealt by the close of the one before. Round 0 (or the one of a checkpoint) is a close too: it names no
 *  workers, deals the first round and is acted on at once. A PS that holds no close yet takes it as applied.
 *  A PS that was lost and is back alone is told the last close in the same way.
 *  With replicas a PS is whoever is primary of a group, and contributions may be lost with one: workers send again what
 *  is not applied. Of a fenced worker nothing comes again, and perhaps of none if a PS was lost for good meanwhile: as
 *  long as a close is not stored by all, it is closed once more, as another attempt, with those that are there. Of two
 *  attempts the later chief's is the higher.
 *  Invariant: every PS applies the same contributions, and every unit is in exactly once an epoch. (DESIGN §5)
 *  Thread: one at a time.
 */
#pragma once

#include "chief/deal.h"
#include "optim/clip.h"
#include "wire/messages.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mst_rounds_config {
    size_t n_ps;
    size_t n_workers;     // of a round
    size_t n_backup;      // how many of them a round does not wait for
    uint64_t n_units;     // an epoch
    uint64_t n_epochs;    // as many as max_steps may take, if that decides
    uint64_t max_steps;   // rounds that are not empty; 0: no limit
    size_t n_sums;        // values of the sums that ride with contributions
    struct mst_clip clip; // what the optimizer clips by
    size_t n_variables;   // groups of clipnorm
};

enum mst_round_worker {
    MST_ROUND_WORKER_AWAITED, // it has not joined yet: waited for as for a slow one
    MST_ROUND_WORKER_LIVE,
    MST_ROUND_WORKER_GONE, // fenced on every PS: what is there of it counts, no more comes
};

/** An epoch whose last round is over. */
struct mst_rounds_epoch {
    uint64_t epoch;
    uint64_t n_steps;                     // of the job, with it
    const struct mst_training_sums *sums; // borrowed until the next advance
};

/** Whether the PSs have applied the close that is gone on from. */
enum mst_rounds_start {
    MST_ROUNDS_REPEAT,  // it was read from PSs: perhaps some have not even stored it
    MST_ROUNDS_APPLIED, // it is a checkpoint's, from which all PSs begin
};

struct mst_rounds_ps;
struct mst_rounds_seat;

struct mst_rounds {
    struct mst_rounds_config config;
    uint64_t term; // of the closes that are decided from now on
    // The last close.
    uint64_t close_term;
    uint64_t close_round;
    uint64_t close_attempt;
    uint64_t *ins; // n_workers at most
    size_t n_ins;
    struct mst_deal was;
    struct mst_deal next;
    bool is_last;
    uint64_t close_steps;                // rounds so far that were not empty
    struct mst_training_sums epoch_sums; // of was.epoch, so far
    struct mst_training_sums total_sums;
    struct mst_training_sums epoch_sums_before; // … without the last close
    struct mst_training_sums total_sums_before;
    uint64_t *worker_steps; // by worker: rounds that it is in
    // What became of it.
    uint64_t act_round;            // rounds up to this are applied, or are to be
    uint64_t over_round;           // rounds up to this are applied on every PS
    double *scales;                // of close_round, once it is acted on; by group
    size_t n_scales;               // 0: it is empty, or nothing is clipped
    struct mst_rounds_ps *ps;      // by index
    struct mst_rounds_seat *seats; // by worker
    size_t n_pauses;
    bool is_stopped;     // the next close is the last
    bool has_epoch;      // one is to be taken
    uint64_t n_told;     // grows whenever there is something new to tell the PSs
    uint64_t n_empty;    // empty rounds, since init
    uint64_t n_left_out; // contributions that were dealt and not in, since init
    uint64_t n_again;    // closes that replaced one which a contribution was lost of, since init
};

// ---- Lifecycle ----

/** Nothing is trained yet: round 0 deals the first one. All workers are awaited, all PSs are there and have nothing. */
void mst_rounds_init(struct mst_rounds *rounds, const struct mst_rounds_config *config);
/** Releases it. */
void mst_rounds_fini(struct mst_rounds *rounds);
/** Goes on from a close, word for word: the highest of those that the PSs have stored, or a checkpoint's. Before the
 *  first report. From a checkpoint of a job with another number of workers it deals what is left of the epoch anew.
 *  Owner:  copies it
 *  Errors: INVALID_ARGUMENT it is not of a job with as many units and sums, and, to be repeated, as many workers
 *          (nothing is changed) */
MST_MUST_USE mst_status mst_rounds_restore(struct mst_rounds *rounds, const struct mst_msg_close *close,
                                           enum mst_rounds_start start, struct mst_error *err);

/** Goes on after n_steps steps of which nothing else is known: none left anything out. Before the first report. */
void mst_rounds_skip(struct mst_rounds *rounds, uint64_t n_steps);
/** Goes on after n_steps steps with the epoch of this number, of which all units below `unit` are trained. Before the
 *  first report. */
void mst_rounds_skip_to(struct mst_rounds *rounds, uint64_t epoch, uint64_t unit, uint64_t n_steps);

// ---- What happens ----

/** The chief's term, before anything is told. */
void mst_rounds_set_term(struct mst_rounds *rounds, uint64_t term);
/** What became of a worker. Those past n_workers are nobody. */
void mst_rounds_set_worker(struct mst_rounds *rounds, size_t worker, enum mst_round_worker state);
/** A PS holds nothing that is pushed: no contributions arrive there. Before the first report. */
void mst_rounds_ps_idle(struct mst_rounds *rounds, size_t ps);
/** What a PS has. What is older than its last report, or makes no sense, is ignored. */
void mst_rounds_report(struct mst_rounds *rounds, size_t ps, const struct mst_msg_round_reply *reply);
/** A PS is gone: what is closed is applied without it; the next round is closed when it is back, and has what it lost
 *  of that one's contributions again. */
void mst_rounds_ps_lost(struct mst_rounds *rounds, size_t ps);
/** True from then until it is back: it is told nothing, for rounds may go on meanwhile that it takes no part in. */
bool mst_rounds_is_away(const struct mst_rounds *rounds, size_t ps);
/** It is back, with initial values or a checkpoint's: it takes the last closed round as applied. */
void mst_rounds_ps_back(struct mst_rounds *rounds, size_t ps);
/** Another process speaks for a PS that is not lost, with what was acknowledged; what else it has is not known. */
void mst_rounds_ps_moved(struct mst_rounds *rounds, size_t ps);
/** No round is closed until as many calls of mst_rounds_resume; one that is closed already is still applied. */
void mst_rounds_pause(struct mst_rounds *rounds);
/** Takes back one mst_rounds_pause. */
void mst_rounds_resume(struct mst_rounds *rounds);
/** The next round is the last one: it is closed empty. */
void mst_rounds_stop(struct mst_rounds *rounds);
/** Decides the next thing that can be decided; false if there is none (else call it again). */
bool mst_rounds_advance(struct mst_rounds *rounds);

// ---- Queries ----

/** All that is decided, for one PS; `known` is the status of its last report.
 *  Owner: *out borrows from rounds until the next call that is not const */
void mst_rounds_tell(const struct mst_rounds *rounds, size_t ps, struct mst_msg_round *out);
/** The last close, which a checkpoint keeps.
 *  Owner: as mst_rounds_tell */
void mst_rounds_close(const struct mst_rounds *rounds, struct mst_msg_close *out);
/** True if every PS that is there has applied the last closed round: while it is paused, nothing changes any more. */
bool mst_rounds_is_quiet(const struct mst_rounds *rounds);
/** True when the last round is over. */
bool mst_rounds_is_over(const struct mst_rounds *rounds);
/** Rounds that are over and were not empty. */
uint64_t mst_rounds_n_steps(const struct mst_rounds *rounds);
/** As many as the job will have, if nothing more is left out. */
uint64_t mst_rounds_n_steps_expected(const struct mst_rounds *rounds);
/** Epochs that are whole. */
uint64_t mst_rounds_n_epochs_done(const struct mst_rounds *rounds);
/** The epoch that became whole with the round that is over; false: none did, or it was taken. */
bool mst_rounds_take_epoch(struct mst_rounds *rounds, struct mst_rounds_epoch *out);
/** What the next round waits for: "worker-1, worker-3 for round 12"; "" if for nothing. */
void mst_rounds_awaited(const struct mst_rounds *rounds, char *out, size_t out_bytes);
