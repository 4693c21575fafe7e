// One question at a time: what to evaluate. Its answer starts a pull of all buckets; when all are in, the evaluation is
// the loop's work between its rounds; the next question carries the sums. The answer names a cut, of which the pull
// takes what the servers keep; where none could be made it takes each bucket as it is.
#include "worker/evaluator.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "chief/evaluate.h"
#include "event/loop.h"
#include "event/timer.h"
#include "wire/worker_numbers.h"
#include "worker/exchange_rpc.h"
#include "worker/joining.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    REMINDER_MS = 10000,
    ASK_CALL_MS = 20000, // the chief answers a question in a tenth of it
    ASK_AGAIN_MS = 20,   // after WAIT: the chief has kept the question already
    PULL_LEASES = 4,     // leases without an answer before a pull is sent again over a new connection
};

// What came of the last evaluation; told again until the chief has answered.
struct outcome {
    uint64_t id; // 0: none
    uint64_t number;
    mst_status status;
    struct mst_error err;
    uint64_t first_iterations;
    uint64_t last_iterations;
};

struct mst_evaluator_role {
    struct mst_evaluator_config config;
    struct mst_evaluation evaluation;
    struct mst_scoring *scoring; // made for the first evaluation
    struct mst_joining *joining;
    struct mst_timer reminder;
    struct mst_timer ask_again;
    struct mst_layout *layout;
    struct mst_exchange *exchange;
    bool is_asking;
    uint64_t pulling; // id of the evaluation whose parameters are being pulled; 0: none
    uint64_t pull;    // counts pulls: an answer to an earlier one is ignored
    size_t n_pulled;  // buckets in
    uint64_t first_iterations;
    uint64_t last_iterations;
    struct outcome outcome;
    struct mst_training_sums sums; // of the outcome
    uint64_t n_done;
    struct mst_metric *done_metric;
    _Atomic bool is_ready;
    _Atomic bool is_cancelled;
    bool is_over;
    mst_status leave_status;
    char leave_text[256];
};

static void ask(struct mst_evaluator_role *evaluator);

static void end(struct mst_evaluator_role *evaluator, mst_status status, const char *text)
{
    if (evaluator->is_over)
        return;
    evaluator->is_over = true;
    mst_timer_stop(&evaluator->reminder);
    mst_timer_stop(&evaluator->ask_again);
    mst_joining_stop(evaluator->joining);
    evaluator->config.on_end(evaluator->config.arg, status, text);
}

// ---- evaluating ----

static void finish_evaluation(struct mst_evaluator_role *evaluator, struct outcome *outcome)
{
    outcome->id = evaluator->pulling;
    outcome->number = mst_joining_number(evaluator->joining);
    evaluator->outcome = *outcome;
    evaluator->pulling = 0;
    if (outcome->status == MST_OK) {
        mst_metric_add(evaluator->done_metric, 1);
        mst_joining_set_progress(evaluator->joining, ++evaluator->n_done);
    } else {
        MST_LOG(WARN, "evaluator", "evaluation failed", "id=%llu status=%s reason=\"%s\"",
                (unsigned long long)outcome->id, mst_status_name(outcome->status), outcome->err.text);
    }
    ask(evaluator);
}

// Between batches: what came meanwhile is heard, so that the job's end and a signal need not wait.
static bool goes_on(void *arg)
{
    struct mst_evaluator_role *evaluator = arg;
    mst_loop_poll(evaluator->config.loop);
    return !evaluator->is_over && !atomic_load_explicit(&evaluator->is_cancelled, memory_order_relaxed);
}

// The loop's work: an evaluation whose parameters are all in.
static bool evaluate(void *arg)
{
    struct mst_evaluator_role *evaluator = arg;
    if (evaluator->is_over || !evaluator->pulling || evaluator->n_pulled < evaluator->layout->n_buckets)
        return false;
    struct outcome outcome = {.first_iterations = evaluator->first_iterations,
                              .last_iterations = evaluator->last_iterations};
    const float *const *params = evaluator->exchange->ops->params(evaluator->exchange);
    if (!evaluator->scoring)
        outcome.status = mst_scoring_new(&evaluator->evaluation, &evaluator->scoring, &outcome.err);
    if (outcome.status == MST_OK)
        outcome.status =
            mst_scoring_run(evaluator->scoring, params, goes_on, evaluator, &evaluator->sums, &outcome.err);
    if (outcome.status == MST_OK)
        MST_LOG(INFO, "evaluator", "evaluated", "id=%llu first=%llu last=%llu%s",
                (unsigned long long)evaluator->pulling, (unsigned long long)outcome.first_iterations,
                (unsigned long long)outcome.last_iterations,
                outcome.first_iterations == outcome.last_iterations ? "" : " note=\"buckets are of different steps\"");
    if (outcome.status != MST_CANCELLED)
        finish_evaluation(evaluator, &outcome);
    return false;
}

// ---- pulling ----

static void on_answered(void *arg, const struct mst_exchange_answer *answer)
{
    struct mst_evaluator_role *evaluator = arg;
    if (answer->number != evaluator->pull || !evaluator->pulling)
        return;
    evaluator->n_pulled++;
    if (answer->bucket >= evaluator->layout->n_pushed)
        return; // frozen: always the same
    if (evaluator->first_iterations > answer->iterations)
        evaluator->first_iterations = answer->iterations;
    if (evaluator->last_iterations < answer->iterations)
        evaluator->last_iterations = answer->iterations;
}

static void on_refused(void *arg, mst_status status, const char *text)
{
    struct mst_evaluator_role *evaluator = arg;
    if (!evaluator->pulling || evaluator->n_pulled == evaluator->layout->n_buckets)
        return;
    struct outcome outcome = {.status = status};
    snprintf(outcome.err.text, sizeof outcome.err.text, "%s", text);
    evaluator->exchange->ops->drop(evaluator->exchange);
    finish_evaluation(evaluator, &outcome);
}

static void begin(struct mst_evaluator_role *evaluator, uint64_t id, uint64_t cut)
{
    if (evaluator->pulling == id)
        return;
    evaluator->pulling = id;
    evaluator->pull++;
    evaluator->n_pulled = 0;
    evaluator->first_iterations = UINT64_MAX;
    evaluator->last_iterations = 0;
    mst_exchange_rpc_set_cut(evaluator->exchange, cut);
    evaluator->exchange->ops->pull(evaluator->exchange, evaluator->pull);
}

static mst_status on_map(void *arg, const struct mst_msg_map *map, struct mst_error *err)
{
    struct mst_evaluator_role *evaluator = arg;
    const struct mst_evaluator_config *config = &evaluator->config;
    MST_TRY(mst_layout_new(config->model, map, &evaluator->layout, err));
    struct mst_exchange_rpc_config exchange = {.loop = config->loop,
                                               .resolver = config->resolver,
                                               .identity = config->identity,
                                               .model = config->model,
                                               .layout = evaluator->layout,
                                               .ps_addresses = config->ps_addresses,
                                               .n_ps = config->n_ps,
                                               .map_term = map->term,
                                               .map_epoch = map->epoch,
                                               .roles = mst_joining_roles(evaluator->joining),
                                               .call_ms = PULL_LEASES * config->job->lease_ms,
                                               .events = {on_answered, on_refused, evaluator}};
    MST_TRY(mst_exchange_rpc_new(&exchange, &evaluator->exchange, err));
    if (mst_joining_number(evaluator->joining) != MST_NO_NUMBER)
        MST_LOG(INFO, "evaluator", "joined", "number=%llu buckets=%zu",
                (unsigned long long)mst_joining_number(evaluator->joining), evaluator->layout->n_buckets);
    atomic_store_explicit(&evaluator->is_ready, true, memory_order_relaxed);
    mst_loop_set_work(config->loop, evaluate, evaluator);
    ask(evaluator);
    return MST_OK;
}

static mst_status on_roles(void *arg, const struct mst_roles *roles, struct mst_error *err)
{
    struct mst_evaluator_role *evaluator = arg;
    return mst_exchange_rpc_set_roles(evaluator->exchange, roles, err);
}

// ---- questions ----

static void take_answer(struct mst_evaluator_role *evaluator, const struct mst_msg_evaluate_reply *reply)
{
    switch (reply->kind) {
    case MST_EVALUATE_REPLY_WAIT:
        mst_timer_start_once(&evaluator->ask_again, ASK_AGAIN_MS);
        break;
    case MST_EVALUATE_REPLY_EVALUATE:
        begin(evaluator, reply->id, reply->cut);
        break;
    case MST_EVALUATE_REPLY_FINISHED:
        end(evaluator, MST_OK, "the job is finished");
        break;
    case MST_EVALUATE_REPLY_OUT:
        MST_LOG(WARN, "evaluator", "replaced", "number=%llu",
                (unsigned long long)mst_joining_number(evaluator->joining));
        mst_joining_again(evaluator->joining);
        break;
    case MST_EVALUATE_REPLY_FAILED:
    case MST_EVALUATE_REPLY_KINDS:
        end(evaluator, reply->status ? reply->status : MST_INTERNAL, reply->text);
        break;
    }
}

static void on_answer(void *arg, const struct mst_reply *reply)
{
    struct mst_evaluator_role *evaluator = arg;
    evaluator->is_asking = false;
    if (evaluator->is_over)
        return;
    if (reply->status != MST_OK) { // the link broke (on_admitted asks), or the chief was busy
        mst_timer_start_once(&evaluator->ask_again, ASK_AGAIN_MS);
        return;
    }
    struct mst_arena arena;
    struct mst_msg_evaluate_reply answer;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_evaluate_reply_decode(reply->message->meta, &arena, &answer, &err);
    evaluator->outcome.id = 0; // it is told
    if (status == MST_OK)
        take_answer(evaluator, &answer);
    else
        end(evaluator, status, err.text);
    mst_arena_fini(&arena);
}

static void ask(struct mst_evaluator_role *evaluator)
{
    const struct outcome *outcome = &evaluator->outcome;
    if (evaluator->is_over || evaluator->is_asking || evaluator->pulling || !evaluator->exchange ||
        !mst_peer_is_up(mst_joining_chief(evaluator->joining)))
        return;
    struct mst_msg_evaluate message = {.index = evaluator->config.identity->index,
                                       .number = mst_joining_number(evaluator->joining)};
    if (outcome->id && outcome->number == message.number) {
        message.done = outcome->id;
        message.status = outcome->status;
        message.text = outcome->err.text;
        if (outcome->status == MST_OK)
            message.sums = evaluator->sums;
        message.first_iterations = outcome->first_iterations;
        message.last_iterations = outcome->last_iterations;
    }
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    mst_status status = mst_msg_evaluate_encode(&message, &meta);
    MST_ASSERT(status == MST_OK); // numbers and a bounded text
    struct mst_call call = {.method = MST_METHOD_EVALUATE,
                            .meta = mst_buf_view(&meta),
                            .deadline_ms = ASK_CALL_MS,
                            .on_reply = on_answer,
                            .arg = evaluator};
    evaluator->is_asking = true;
    mst_peer_call(mst_joining_chief(evaluator->joining), &call);
    mst_buf_fini(&meta);
}

static void on_ask_again(void *arg)
{
    ask(arg);
}

static void on_admitted(void *arg, uint64_t number)
{
    struct mst_evaluator_role *evaluator = arg;
    (void)number;
    evaluator->is_asking = false; // a question of the old link is forgotten or has failed
    ask(evaluator);
}

static void on_over(void *arg, mst_status status, const char *text)
{
    end(arg, status, text);
}

// ---- leaving ----

void mst_evaluator_cancel(struct mst_evaluator_role *evaluator)
{
    // Relaxed: the evaluation wants to see it soon, nothing else is read by it.
    atomic_store_explicit(&evaluator->is_cancelled, true, memory_order_relaxed);
}

static void on_told(void *arg)
{
    struct mst_evaluator_role *evaluator = arg;
    end(evaluator, evaluator->leave_status, evaluator->leave_text);
}

static void leave(void *arg)
{
    struct mst_evaluator_role *evaluator = arg;
    if (!evaluator->is_over)
        mst_joining_leave(evaluator->joining, on_told, evaluator);
}

void mst_evaluator_leave(struct mst_evaluator_role *evaluator, mst_status status, const char *text)
{
    evaluator->leave_status = status;
    snprintf(evaluator->leave_text, sizeof evaluator->leave_text, "%s", text);
    mst_evaluator_cancel(evaluator);
    mst_loop_post(evaluator->config.loop, leave, evaluator);
}

// ---- making and freeing ----

static void describe_wait(const struct mst_evaluator_role *evaluator, char *out, size_t out_bytes)
{
    mst_joining_state(evaluator->joining, out, out_bytes);
    if (!out[0] && evaluator->exchange && evaluator->pulling)
        mst_exchange_rpc_state(evaluator->exchange, out, out_bytes);
}

static void on_reminder(void *arg)
{
    struct mst_evaluator_role *evaluator = arg;
    char text[1024];
    describe_wait(evaluator, text, sizeof text);
    if (text[0])
        MST_LOG(INFO, "evaluator", "waiting", "for=\"%s\"", text);
}

mst_status mst_evaluator_ready(const struct mst_evaluator_role *evaluator, struct mst_error *err)
{
    if (atomic_load_explicit(&evaluator->is_ready, memory_order_relaxed))
        return MST_OK;
    return mst_fail(err, MST_UNAVAILABLE, "waiting for the chief to place the variables");
}

static void describe_evaluation(struct mst_evaluator_role *evaluator)
{
    const struct mst_evaluator_config *config = &evaluator->config;
    evaluator->evaluation = (struct mst_evaluation){.model = config->model,
                                                    .compile = config->compile,
                                                    .source = config->eval,
                                                    .batch_size = config->job->batch_size,
                                                    .n_threads = config->n_threads,
                                                    .seed = config->job->seed};
}

struct mst_evaluator_role *mst_evaluator_new(const struct mst_evaluator_config *config)
{
    struct mst_evaluator_role *evaluator = mst_alloc(sizeof *evaluator);
    evaluator->config = *config;
    describe_evaluation(evaluator);
    mst_training_sums_init(&evaluator->sums, mst_compile_n_sums(config->compile));
    mst_timer_init(&evaluator->reminder, config->loop, on_reminder, evaluator);
    mst_timer_init(&evaluator->ask_again, config->loop, on_ask_again, evaluator);
    evaluator->done_metric =
        mst_metric_counter("muster_evaluator_evaluations_total", "Evaluations done by this process", NULL);
    struct mst_joining_config joining = {.identity = config->identity,
                                         .loop = config->loop,
                                         .control = config->control,
                                         .resolver = config->resolver,
                                         .chief_address = config->chief_address,
                                         .ps_addresses = config->ps_addresses,
                                         .n_ps = config->n_ps,
                                         .heartbeat_ms = config->job->heartbeat_ms,
                                         .lease_ms = config->job->lease_ms,
                                         .absence_ms = config->job->absence_ms,
                                         .events = {on_map, on_roles, on_admitted, on_over, evaluator}};
    evaluator->joining = mst_joining_new(&joining);
    return evaluator;
}

void mst_evaluator_start(struct mst_evaluator_role *evaluator)
{
    mst_timer_start_periodic(&evaluator->reminder, REMINDER_MS);
    mst_joining_start(evaluator->joining);
}

void mst_evaluator_free(struct mst_evaluator_role *evaluator)
{
    if (!evaluator)
        return;
    mst_loop_set_work(evaluator->config.loop, NULL, NULL);
    mst_timer_fini(&evaluator->reminder);
    mst_timer_fini(&evaluator->ask_again);
    mst_joining_free(evaluator->joining);
    mst_exchange_rpc_free(evaluator->exchange);
    mst_scoring_free(evaluator->scoring);
    mst_layout_free(evaluator->layout);
    mst_training_sums_fini(&evaluator->sums);
    free(evaluator);
}
