/** @file
 *  How gradients go out and parameters come in. The worker does not know the carrier: sockets (worker/exchange_rpc.h)
 *  or a direct call within one process (cli/direct_exchange.h).
 *
 *      exchange->ops->pull(exchange, number);                        // all buckets, before the first step
 *      exchange->ops->push(exchange, bucket, &push);                 // as its gradients become ready
 *      … events->on_answered(arg, bucket, …) for each, in any order …
 *      params = exchange->ops->params(exchange);                     // once every bucket has answered
 *
 *  Gradients are read from the buffers of mst_exchange_layout until the push is answered; so is the answer's place: it
 *  is the spare parameter buffer, and params() swaps. A carrier sends again what a broken connection left unanswered.
 *  In synchronous rounds every answer has a turn, and single buckets are pulled at a round (worker/round_session.h).
 *  Thread: loop of the worker. Events come on it too, perhaps from within push or pull.
 */
#pragma once

#include "muster/status.h"
#include "worker/round_session.h"
#include "worker/session.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mst_exchange;

/** An answered push or pull. */
struct mst_exchange_answer {
    size_t bucket;
    uint64_t number; // of the push or pull it answers
    uint64_t step;   // 0: a pull
    uint64_t staleness;
    uint64_t iterations;      // a pull: updates that the bucket had
    bool is_finite;           // false: the update made NaN or Inf
    struct mst_msg_turn turn; // rounds: of the bucket
};

/** What all pushes of a step have in common. */
struct mst_exchange_push {
    struct mst_session_push id;
    double weight;                        // of the gradient in a mean with others: model/program.h
    const struct mst_training_sums *sums; // rounds: what the unit measured; goes with bucket 0. NULL: none
};

struct mst_exchange_events {
    void (*on_answered)(void *arg, const struct mst_exchange_answer *answer);
    /** The PS refuses this incarnation: FAILED_PRECONDITION it is fenced and has to greet again; else the job is lost.
     */
    void (*on_refused)(void *arg, mst_status status, const char *text);
    void *arg;
};

struct mst_exchange_ops {
    /** Asks for the current version of every bucket, frozen ones too. */
    void (*pull)(struct mst_exchange *exchange, uint64_t number);
    /** Asks for one of the first n_pushed buckets again, at that round or a later one. Rounds only. */
    void (*pull_round)(struct mst_exchange *exchange, const struct mst_round_session_pull *pull);
    /** Sends the gradient of one bucket, one of the first n_pushed.
     *  Owner: copies push; sums' values are borrowed until the answer */
    void (*push)(struct mst_exchange *exchange, size_t bucket, const struct mst_exchange_push *push);
    /** Forgets what is outstanding: this incarnation was fenced. */
    void (*drop)(struct mst_exchange *exchange);
    /** One pointer a variable to the parameters as last answered. Owner: borrowed until the next call of params */
    const float *const *(*params)(struct mst_exchange *exchange);
};

/** First member of every carrier. */
struct mst_exchange {
    const struct mst_exchange_ops *ops;
};
