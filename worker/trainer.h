/** @file
 *  The step loop: takes units of batches as the session allows, runs the program, pushes buckets as their gradients
 *  become ready, and goes on when all have answered. Of several batches in a unit the mean gradient is pushed, as it
 *  becomes ready in the last one. Gradients are clipped by norm before they are pushed: clipnorm as each becomes ready,
 *  global_clipnorm after the last, so that no push overlaps the computation then. In synchronous rounds leases are not
 *  asked for, and `clip` is empty: the parameter servers clip the mean of all workers.
 *
 *      MST_TRY(mst_trainer_new(&config, &trainer, err));
 *      mst_trainer_admitted(trainer, number);            // pulls, then trains what leases allow
 *      mst_trainer_lease(trainer, number, &lease);
 *      … events.wants_lease(arg) whenever there may be something new to ask …
 *
 *  Thread: loop of the worker.
 */
#pragma once

#include "data/prefetch.h"
#include "event/loop.h"
#include "model/program.h"
#include "optim/clip.h"
#include "wire/training_sums.h"
#include "worker/exchange.h"
#include "worker/layout.h"

struct mst_trainer;

struct mst_trainer_events {
    /** A lease was finished or a place for one became free. */
    void (*wants_lease)(void *arg);
    /** A step is done: n of them so far, the last of so many examples and of this staleness. */
    void (*on_step)(void *arg, uint64_t n_steps, size_t n_examples, uint64_t staleness);
    /** A PS said that this incarnation is fenced, in these words. */
    void (*on_fenced)(void *arg, const char *text);
    /** Training cannot go on: bad data, a loss that is not a number. */
    void (*on_failed)(void *arg, mst_status status, const char *text);
    void *arg;
};

struct mst_trainer_config {
    struct mst_loop *loop;       // the step is its work (event/loop.h)
    struct mst_program *program; // borrowed
    struct mst_prefetch *prefetch;
    struct mst_batches *batches;
    const struct mst_model *model;
    const struct mst_layout *layout;
    size_t accumulate_steps; // batches of a unit, at least 1; those that are left at the end of an epoch may be fewer
    bool is_synchronous;     // rounds, not leases
    struct mst_clip clip;
    float *const *grads; // one whole variable each: a gradient, or what moves an average; of frozen ones NULL
    size_t n_sums;       // mst_compile_n_sums
    struct mst_trainer_events events;
};

/** New trainer in *out. Owner: borrows all of config until free. Errors: RESOURCE_EXHAUSTED */
MST_MUST_USE mst_status mst_trainer_new(const struct mst_trainer_config *config, struct mst_trainer **out,
                                        struct mst_error *err);
/** Releases it; NULL is fine. */
void mst_trainer_free(struct mst_trainer *trainer);
/** The chief gave this process a number: pulls all buckets, and forgets leases of an earlier number. */
void mst_trainer_admitted(struct mst_trainer *trainer, uint64_t number);
/** The chief or a PS said that this incarnation is out. */
void mst_trainer_fenced(struct mst_trainer *trainer);
/** A lease came for the question that was asked. */
void mst_trainer_lease(struct mst_trainer *trainer, uint64_t number, const struct mst_session_lease *lease);
/** Begins no further step. True if none is under way; else events.on_step comes when it is done. */
bool mst_trainer_drain(struct mst_trainer *trainer);
/** True if the chief is to be asked now: what in *out, and in *sums what all leases done under this number measured
 *  (its values are the trainer's, until the next call).
 *  The caller sends it: the question counts as under way until it is answered or mst_trainer_ask_again. */
bool mst_trainer_question(struct mst_trainer *trainer, struct mst_session_request *out, struct mst_training_sums *sums);
/** The question was lost, or answered with "wait". */
void mst_trainer_ask_again(struct mst_trainer *trainer);
/** Steps done. */
uint64_t mst_trainer_n_steps(const struct mst_trainer *trainer);
/** The round whose end is waited for with nothing to compute; 0: none. */
uint64_t mst_trainer_waits_for(const struct mst_trainer *trainer);
/** True if all that can be done is to wait for the answers of parameter servers, which come at once (not of rounds). */
bool mst_trainer_is_unanswered(const struct mst_trainer *trainer);
/** What an exchange is to call. Owner: borrowed */
struct mst_exchange_events mst_trainer_exchange_events(struct mst_trainer *trainer);
/** Connects the carrier, which is made after the trainer because it needs its events. */
void mst_trainer_set_exchange(struct mst_trainer *trainer, struct mst_exchange *exchange);
