// The calls of a data thread while rounds are served. A body is read straight into the buffer that was reserved for its
// worker and bucket; only one connection reads into a buffer: a newer one of the same worker makes the older let go
// (the worker's end of it is gone, or it is of an incarnation that is). A contribution that is complete is told to the
// control loop before anything is added up, so that the chief hears of it meanwhile.
#include "ps/round_serve.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "ps/replication_private.h"
#include "ps/round_serve_private.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WAITS_MAX = 4 }; // calls of a connection that wait for rounds, a bucket: a worker has one, or two after a break

static struct waiting *take_waiting(struct round_serving *serving)
{
    struct waiting *waiting = serving->free_waitings;
    if (waiting)
        serving->free_waitings = waiting->next_free;
    else
        waiting = mst_alloc(sizeof *waiting);
    *waiting = (struct waiting){.serving = serving};
    return waiting;
}

void mst_round_serve_give_waiting(struct waiting *waiting)
{
    waiting->next_free = waiting->serving->free_waitings;
    waiting->serving->free_waitings = waiting;
}

static bool is_any(const void *arg, struct mst_round_waiter *waiter)
{
    (void)arg;
    mst_round_serve_give_waiting((struct waiting *)waiter);
    return true;
}

void mst_round_serve_free(struct round_serving *serving)
{
    if (!serving)
        return;
    mst_round_places_drop(serving->rounds, is_any, NULL);
    while (serving->free_waitings) {
        struct waiting *waiting = serving->free_waitings;
        serving->free_waitings = waiting->next_free;
        free(waiting);
    }
    mst_round_places_free(serving->rounds);
    mst_buf_fini(&serving->before);
    free(serving);
}

void mst_holding_serve_rounds(struct mst_holding *holding, const struct mst_round_serving_config *config)
{
    MST_ASSERT(!holding->serving);
    struct mst_data_thread *thread = holding->thread;
    struct round_serving *serving = mst_alloc(sizeof *serving);
    char *labels = mst_text("thread=\"%u\"", thread->index);
    *serving =
        (struct round_serving){.thread = thread, .holding = holding, .config = *config, .rounds = config->rounds};
    mst_buf_init(&serving->before, MST_FRAME_META_MAX);
    serving->rounds->is_replicated = holding->replication != NULL;
    serving->held = mst_metric_gauge("muster_ps_round_contributions_held",
                                     "Contributions to the next round that are here, a bucket each", labels);
    serving->wait_us = mst_metric_counter("muster_ps_round_wait_microseconds_total",
                                          "Time that contributions waited for their round, a bucket each", labels);
    free(labels);
    holding->serving = serving;
}

// ---- to the control loop ----

// From the lock that the caller takes to the post.
static void post_report(const struct round_serving *serving)
{
    struct mst_round_report *report = serving->config.report;
    bool was_posted = report->is_posted;
    report->is_posted = true;
    pthread_mutex_unlock(&report->lock);
    if (!was_posted)
        mst_loop_post(serving->config.control, serving->config.on_report, serving->config.arg);
}

struct mst_round_progress mst_round_serve_progress(const struct round_serving *serving)
{
    const struct mst_round_table *table = &serving->rounds->table;
    return (struct mst_round_progress){.reign = serving->reign,
                                       .has_stored = table->has_close,
                                       .stored = table->stored,
                                       .attempt = table->attempt,
                                       .has_begun = table->has_begun,
                                       .applied = table->applied};
}

void mst_round_serve_report(const struct round_serving *serving, const struct mst_round_progress *progress)
{
    struct mst_round_report *report = serving->config.report;
    pthread_mutex_lock(&report->lock);
    report->progress = *progress;
    post_report(serving);
}

void mst_round_serve_note_norms(const struct round_serving *serving)
{
    struct mst_round_report *report = serving->config.report;
    if (report->n_groups == 0)
        return;
    pthread_mutex_lock(&report->lock);
    for (size_t i = 0; i < report->n_groups; i++) {
        report->norms[i] = (struct mst_square_norm){0};
        report->is_here[i] = false;
    }
    mst_round_places_norms(serving->rounds, report->norms, report->is_here);
    pthread_mutex_unlock(&report->lock);
}

static void report_table(const struct round_serving *serving)
{
    struct mst_round_progress progress = mst_round_serve_progress(serving);
    mst_round_serve_report(serving, &progress);
}

// The sums come with one bucket, perhaps not the last one: they are kept in the report at once.
static void keep_sums(const struct round_serving *serving, uint32_t worker, const struct mst_training_sums *sums)
{
    struct mst_round_report *report = serving->config.report;
    pthread_mutex_lock(&report->lock);
    report->arrivals[worker].round = 0; // of the round before
    if (report->sums[worker].n_values < sums->n_values) {
        mst_training_sums_fini(&report->sums[worker]);
        mst_training_sums_init(&report->sums[worker], sums->n_values);
    }
    mst_training_sums_copy(&report->sums[worker], sums);
    pthread_mutex_unlock(&report->lock);
}

static void report_arrival(const struct round_serving *serving, uint32_t worker)
{
    struct mst_round_report *report = serving->config.report;
    const struct mst_round_table *table = &serving->rounds->table;
    const struct mst_round_contribution *here = &table->contributions[worker];
    bool has_sums = mst_round_places_find(serving->rounds, 0) != NULL;
    pthread_mutex_lock(&report->lock);
    report->arrivals[worker] = (struct mst_round_push){.worker = worker,
                                                       .number = here->number,
                                                       .round = table->applied + 1,
                                                       .unit = here->unit,
                                                       .weight = here->weight,
                                                       .sums = has_sums ? &report->sums[worker] : NULL};
    post_report(serving);
}

// ---- answers ----

static void answer(const struct client *client, const struct mst_message *call, struct mst_bucket *bucket,
                   const struct mst_msg_turn *turn, const struct mst_msg_push_reply *push)
{
    struct mst_data_thread *thread = client->thread;
    struct mst_version *version = mst_bucket_pull(bucket, client->worker, client->number);
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    mst_status status;
    if (call->method == MST_METHOD_PUSH) {
        struct mst_msg_push_reply reply = {.bucket = bucket->id,
                                           .version = version->counter,
                                           .map_term = thread->term,
                                           .map_epoch = thread->epoch,
                                           .iterations = bucket->n_updates,
                                           .is_repeat = push->is_repeat,
                                           .is_finite = push->is_finite,
                                           .turn = *turn};
        status = mst_msg_push_reply_encode(&reply, &meta);
    } else {
        struct mst_msg_pull_reply reply = {.bucket = bucket->id,
                                           .version = version->counter,
                                           .map_term = thread->term,
                                           .map_epoch = thread->epoch,
                                           .iterations = bucket->n_updates,
                                           .turn = *turn};
        status = mst_msg_pull_reply_encode(&reply, &meta);
        thread->counts.n_pulls++;
        mst_metric_add(thread->metrics.pulls, 1);
    }
    MST_ASSERT(status == MST_OK); // a few numbers
    mst_data_thread_send(client, call, &meta, version);
}

static void on_applied(struct mst_round_waiter *waiter, struct mst_bucket *bucket, const struct mst_msg_turn *turn,
                       bool is_finite)
{
    struct waiting waiting = *(struct waiting *)waiter;
    mst_round_serve_give_waiting((struct waiting *)waiter);
    if (waiting.base.since_ns)
        mst_metric_add(waiting.serving->wait_us, (int64_t)((mst_clock_monotonic_ns() - waiting.base.since_ns) / 1000));
    if (!waiting.client) {
        waiting.fn(waiting.arg, bucket->id, mst_bucket_pull(bucket, waiting.base.worker, 0), turn, is_finite);
        return;
    }
    struct mst_message call = {.method = waiting.method, .call = waiting.call};
    struct mst_msg_push_reply push = {.is_finite = is_finite};
    waiting.client->n_waiting--;
    answer(waiting.client, &call, bucket, turn, &push);
}

static void answer_now(const struct client *client, struct round_serving *serving, const struct mst_message *call,
                       const struct mst_round_place *place)
{
    struct mst_msg_turn turn;
    struct mst_msg_push_reply push = {.is_repeat = true, .is_finite = place->is_finite};
    client->thread->counts.n_repeats += call->method == MST_METHOD_PUSH;
    if (call->method == MST_METHOD_PUSH)
        mst_metric_add(client->thread->metrics.repeats, 1);
    mst_round_table_turn(&serving->rounds->table, client->worker, &turn);
    answer(client, call, place->bucket, &turn, &push);
}

static void wait_for(struct client *client, struct round_serving *serving, const struct mst_message *call,
                     struct mst_round_place *place, uint64_t round, uint64_t number)
{
    if (client->n_waiting == WAITS_MAX * serving->rounds->n_places) {
        mst_data_thread_count_refused(client->thread);
        mst_conn_reply_error(client->conn, call, MST_RESOURCE_EXHAUSTED, "%zu calls of %s wait for rounds already",
                             client->n_waiting, mst_conn_name(client->conn));
        return;
    }
    client->n_waiting++;
    struct waiting *waiting = take_waiting(serving);
    waiting->base =
        (struct mst_round_waiter){.round = round, .worker = client->worker, .number = number, .on_applied = on_applied};
    if (call->method == MST_METHOD_PUSH)
        waiting->base.since_ns = mst_clock_monotonic_ns();
    waiting->client = client;
    waiting->bucket = place->bucket->id;
    waiting->method = call->method;
    waiting->call = call->call;
    mst_round_places_wait(place, &waiting->base);
}

// A call for a round that is applied.
static void answer_over(struct client *client, struct round_serving *serving, const struct mst_message *call,
                        struct mst_round_place *place, uint64_t round, uint64_t number)
{
    if (!serving->holding->replication || mst_round_replica_has_told(serving)) {
        answer_now(client, serving, call, place);
        return;
    }
    serving->has_untold = true;
    wait_for(client, serving, call, place, round, number);
}

static mst_status status_of(enum mst_round_verdict verdict)
{
    switch (verdict) {
    case MST_ROUND_WAIT:
        return MST_UNAVAILABLE;
    case MST_ROUND_REFUSED_EARLY:
    case MST_ROUND_REFUSED_UNIT:
        return MST_INVALID_ARGUMENT;
    case MST_ROUND_REFUSED_NUMBER:
    case MST_ROUND_REFUSED_FENCED:
        return MST_FAILED_PRECONDITION;
    default:
        return MST_OK;
    }
}

static void refuse(const struct client *client, const struct mst_message *call, enum mst_round_verdict verdict)
{
    mst_data_thread_count_refused(client->thread);
    mst_conn_reply_error(client->conn, call, status_of(verdict), "%s of worker-%u refused: %s",
                         call->method == MST_METHOD_PUSH ? "push" : "pull", client->worker,
                         mst_round_verdict_text(verdict));
}

// ---- pushes ----

static mst_status push_of(const struct round_serving *serving, const struct mst_msg_push *meta,
                          struct mst_round_push *out, struct mst_error *err)
{
    *out = (struct mst_round_push){0};
    if (meta->worker >= serving->rounds->n_workers)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "worker-%u pushed to a synchronous round of %zu workers; consistency.workers has to be more",
                        meta->worker, serving->rounds->n_workers);
    if (!isfinite((float)meta->weight) || meta->weight < 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "worker-%u pushed a gradient of weight %g", meta->worker,
                        meta->weight);
    *out = (struct mst_round_push){.worker = meta->worker,
                                   .number = meta->number,
                                   .round = meta->step,
                                   .unit = meta->offset - 1, // 0 becomes a unit that nobody is dealt
                                   .weight = meta->weight,
                                   .sums = meta->bucket == 0 ? &meta->sums : NULL};
    return MST_OK;
}

// Whoever reads into this worker's buffer lets go.
static void stop_reading(const struct client *newer, const struct mst_round_place *place)
{
    for (struct client *client = newer->thread->clients; client; client = client->next) {
        if (client == newer || client->worker != newer->worker || client->place != place)
            continue;
        struct mst_message call = {.method = client->method, .call = client->call};
        client->place = NULL;
        mst_conn_abandon_body(client->conn);
        mst_conn_reply_error(client->conn, &call, MST_ABORTED, "worker-%u pushes the same over another connection",
                             client->worker);
    }
}

enum mst_body_verdict mst_round_serve_push_head(struct client *client, struct round_serving *serving,
                                                const struct mst_message *message, const struct mst_msg_push *meta,
                                                struct mst_sink *sink)
{
    const struct replication *replication = serving->holding->replication;
    client->is_held = replication && mst_forwarding_admits(replication) != MST_FORWARD_OK;
    if (client->is_held)
        return MST_BODY_PARK; // until it is the primary, or not
    struct mst_round_place *place = mst_round_places_find(serving->rounds, meta->bucket);
    struct mst_round_push push;
    struct mst_error err;
    mst_status status = push_of(serving, meta, &push, &err);
    if (status != MST_OK) {
        mst_data_thread_count_refused(client->thread);
        mst_conn_reply_error(client->conn, message, status, "%s", err.text);
        return MST_BODY_DRAIN;
    }
    enum mst_round_verdict verdict = mst_round_table_offer(&serving->rounds->table, place->part, &push);
    switch (verdict) {
    case MST_ROUND_TAKE:
        stop_reading(client, place);
        client->place = place;
        client->serving = serving;
        client->method = message->method;
        client->call = message->call;
        client->part = (struct iovec){place->contributions[push.worker], mst_bucket_bytes(place->bucket)};
        *sink = (struct mst_sink){&client->part, 1};
        return MST_BODY_TAKE;
    case MST_ROUND_HAVE:
        wait_for(client, serving, message, place, push.round, push.number);
        return MST_BODY_DRAIN;
    case MST_ROUND_OVER:
        answer_over(client, serving, message, place, push.round, push.number);
        return MST_BODY_DRAIN;
    case MST_ROUND_WAIT:
        return MST_BODY_PARK; // until the first close is acted on
    default:
        refuse(client, message, verdict);
        return MST_BODY_DRAIN;
    }
}

static void note_held(struct round_serving *serving, struct mst_round_place *place, const struct mst_round_push *push)
{
    mst_metric_set(serving->held, ++serving->n_held);
    if (push->sums)
        keep_sums(serving, push->worker, push->sums);
    if (mst_round_table_has(&serving->rounds->table, push->worker))
        report_arrival(serving, push->worker);
    mst_round_places_contributed(serving->rounds, place);
}

static void end_push(struct client *client, const struct mst_message *message, struct mst_round_place *place,
                     const struct mst_msg_push *meta)
{
    struct round_serving *serving = client->serving;
    struct mst_round_push push;
    mst_status status = push_of(serving, meta, &push, NULL);
    MST_ASSERT(status == MST_OK); // as when it began
    // What is there already could have come from the direct carrier only.
    enum mst_round_verdict verdict = mst_round_table_hold(&serving->rounds->table, place->part, &push);
    switch (verdict) {
    case MST_ROUND_TAKE:
        wait_for(client, serving, message, place, push.round, push.number);
        note_held(serving, place, &push);
        return;
    case MST_ROUND_HAVE:
        wait_for(client, serving, message, place, push.round, push.number);
        return;
    case MST_ROUND_OVER:
        answer_over(client, serving, message, place, push.round, push.number);
        return;
    default:
        refuse(client, message, verdict);
    }
}

void mst_round_serve_push(struct client *client, const struct mst_message *message)
{
    struct mst_round_place *place = client->place;
    client->place = NULL;
    struct mst_arena arena;
    struct mst_msg_push meta;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_push_decode(message->meta, &arena, &meta, NULL);
    MST_ASSERT(status == MST_OK); // as when it began
    end_push(client, message, place, &meta);
    mst_arena_fini(&arena);
}

// ---- pulls ----

void mst_round_serve_pull(struct client *client, struct round_serving *serving, const struct mst_message *message,
                          const struct mst_msg_pull *pull)
{
    struct mst_round_place *place = mst_round_places_find(serving->rounds, pull->bucket);
    const struct replication *replication = serving->holding->replication;
    struct mst_error err;
    if (replication && mst_forwarding_serves(replication) == MST_FORWARD_REFUSED) {
        mst_data_thread_count_refused(client->thread);
        mst_status status = mst_forwarding_refuse(replication, pull->bucket, &err);
        mst_conn_reply_error(client->conn, message, status, "%s", err.text);
        return;
    }
    bool wants_what_there_is = client->worker == MST_NO_WORKER && pull->round == 0;
    if (mst_round_table_is_fenced(&serving->rounds->table, client->worker, pull->number))
        refuse(client, message, MST_ROUND_REFUSED_FENCED);
    else if (wants_what_there_is || mst_round_table_is_due(&serving->rounds->table, pull->round))
        answer_over(client, serving, message, place, pull->round, pull->number);
    else
        wait_for(client, serving, message, place, pull->round, pull->number);
}

static bool is_of_client(const void *arg, struct mst_round_waiter *waiter)
{
    struct waiting *waiting = (struct waiting *)waiter;
    if (waiting->client != arg)
        return false;
    mst_round_serve_give_waiting(waiting);
    return true;
}

void mst_round_serve_closed(struct client *client, struct round_serving *serving)
{
    client->place = NULL;
    mst_round_places_drop(serving->rounds, is_of_client, client);
}

// ---- the order ----

// Updates of the buckets that are pushed: all have the same.
static uint64_t pushed_updates(const struct mst_round_places *rounds)
{
    for (size_t i = 0; i < rounds->n_places; i++)
        if (!rounds->places[i].bucket->is_frozen && !mst_round_place_is_past(rounds, &rounds->places[i]))
            return rounds->places[i].bucket->n_updates;
    return 0;
}

static void count_update(const struct round_serving *serving)
{
    const struct mst_round_table *table = &serving->rounds->table;
    if (!table->has_begun || table->n_ins == 0)
        return;
    serving->thread->counts.n_updates += table->n_parts;
    mst_metric_add(serving->thread->metrics.updates, (int64_t)table->n_parts);
}

// The order stays as it is until this is done.
void mst_round_serve_try_act(struct round_serving *serving)
{
    struct mst_round_places *rounds = serving->rounds;
    const struct mst_round_order *order = serving->config.order;
    const struct mst_bucket *bucket = rounds->n_places > 0 ? rounds->places[0].bucket : NULL;
    if (!serving->is_acting || !mst_round_places_can_act(rounds))
        return; // a version that becomes free comes here again
    bool begins = !rounds->table.has_begun;
    float rate = bucket ? mst_optimizer_learning_rate(bucket->optimizer, pushed_updates(rounds)) : 0;
    serving->is_acting = false;
    serving->n_held = 0;
    mst_metric_set(serving->held, 0);
    count_update(serving);
    rounds->rate = rate;
    mst_round_places_act(rounds, order->scales, order->n_scales);
    if (serving->holding->replication)
        mst_round_replica_applied(serving);
    else
        report_table(serving);
    if (begins && !serving->holding->replication)
        mst_data_thread_resume(serving->thread);
    else if (begins)
        mst_data_thread_try_held_later(serving->thread); // this may run within a call
}

void mst_round_serve_order(void *arg)
{
    struct round_serving *serving = ((const struct mst_holding *)arg)->serving;
    const struct mst_round_order *order = serving->config.order;
    if (order->reign != serving->reign || !order->has_close)
        return;
    if (serving->holding->replication) {
        mst_round_replica_order(serving);
        return;
    }
    // Looked at before anything is reported: an order that only stores may be added to from then on.
    bool acts = order->acts;
    if (mst_round_table_check(&serving->rounds->table, &order->close) == MST_ROUND_CLOSE_NEW) {
        mst_round_places_store(serving->rounds, &order->close);
        mst_round_serve_note_norms(serving);
        report_table(serving);
    }
    if (acts && mst_round_table_must_act(&serving->rounds->table, order->act_round)) {
        serving->is_acting = true;
        mst_round_serve_try_act(serving);
    }
}

static void act_again(void *arg)
{
    struct round_serving *serving = arg;
    if (serving->holding->replication)
        mst_replication_progress(serving->holding->replication);
    else
        mst_round_serve_try_act(serving);
}

// This may run from within a send.
void mst_round_serve_version_free(struct round_serving *serving)
{
    if (serving->is_acting)
        mst_loop_post(serving->thread->loop, act_again, serving);
}

static bool refuse_fenced(const void *arg, struct mst_round_waiter *waiter)
{
    struct waiting *waiting = (struct waiting *)waiter;
    if (!waiting->client || !mst_round_table_is_fenced(arg, waiter->worker, waiter->number))
        return false;
    struct mst_message call = {.method = waiting->method, .call = waiting->call};
    waiting->client->n_waiting--;
    refuse(waiting->client, &call, MST_ROUND_REFUSED_FENCED);
    mst_round_serve_give_waiting(waiting);
    return true;
}

// Who waits hears it at once: if all are fenced, no round is applied before one of them comes under its next number.
void mst_round_serve_fence(struct mst_holding *holding, uint32_t worker, uint64_t number)
{
    if (!holding->serving)
        return;
    struct mst_round_places *rounds = holding->serving->rounds;
    mst_round_table_fence(&rounds->table, worker, number);
    mst_round_places_drop(rounds, refuse_fenced, &rounds->table);
}

// ---- the direct carrier: a process that serves all by itself, so nothing of it has replicas ----

static void wait_directly(struct round_serving *serving, struct mst_round_place *place,
                          const struct mst_round_waiter *base, mst_round_answer_fn fn, void *arg)
{
    struct waiting *waiting = take_waiting(serving);
    waiting->base = *base;
    waiting->base.on_applied = on_applied;
    waiting->fn = fn;
    waiting->arg = arg;
    mst_round_places_wait(place, &waiting->base);
}

static void answer_directly(struct round_serving *serving, const struct mst_round_place *place, uint32_t worker,
                            mst_round_answer_fn fn, void *arg)
{
    struct mst_msg_turn turn;
    mst_round_table_turn(&serving->rounds->table, worker, &turn);
    fn(arg, place->bucket->id, mst_bucket_pull(place->bucket, worker, 0), &turn, place->is_finite);
}

static void copy_gradient(const struct mst_bucket *bucket, const struct mst_gradients *gradients, float *to)
{
    if (gradients->staged) {
        memcpy(to, gradients->staged, mst_bucket_bytes(bucket));
        return;
    }
    for (size_t i = 0; i < bucket->n_pieces; i++) {
        size_t n = bucket->pieces[i].n_rows * bucket->pieces[i].row_floats;
        memcpy(to, gradients->pieces[i], n * sizeof *to);
        to += n;
    }
}

// Where rounds of this bucket are served; *out is NULL if that fails.
static mst_status find_place(const struct mst_data_thread *thread, uint32_t bucket, struct round_serving **serving_out,
                             struct mst_round_place **out, struct mst_error *err)
{
    struct mst_holding *holding;
    *out = NULL;
    *serving_out = NULL;
    if (!mst_data_thread_find(thread, bucket, &holding))
        return mst_fail(err, MST_NOT_FOUND, "bucket %u is not on this data thread", bucket);
    struct round_serving *serving = holding->serving;
    if (!serving)
        return mst_fail(err, MST_UNAVAILABLE, "bucket %u: rounds are not served here", bucket);
    *serving_out = serving;
    *out = mst_round_places_find(serving->rounds, bucket);
    return MST_OK;
}

mst_status mst_data_thread_contribute(struct mst_data_thread *thread, const struct mst_msg_push *push,
                                      const struct mst_gradients *gradients, mst_round_answer_fn fn, void *arg,
                                      struct mst_error *err)
{
    struct round_serving *serving;
    struct mst_round_place *place;
    struct mst_round_push own;
    mst_status status = find_place(thread, push->bucket, &serving, &place, err);
    if (!place)
        return status;
    if (place->bucket->is_frozen)
        return mst_fail(err, MST_INVALID_ARGUMENT, "bucket %u is frozen, and worker-%u pushed to it", push->bucket,
                        push->worker);
    MST_TRY(push_of(serving, push, &own, err));
    enum mst_round_verdict verdict = mst_round_table_hold(&serving->rounds->table, place->part, &own);
    if (status_of(verdict) != MST_OK)
        return mst_fail(err, status_of(verdict), "push of worker-%u refused: %s", push->worker,
                        mst_round_verdict_text(verdict));
    if (verdict == MST_ROUND_OVER) {
        answer_directly(serving, place, push->worker, fn, arg);
        return MST_OK;
    }
    struct mst_round_waiter base = {.round = own.round, .worker = own.worker, .since_ns = mst_clock_monotonic_ns()};
    wait_directly(serving, place, &base, fn, arg);
    if (verdict == MST_ROUND_TAKE) {
        copy_gradient(place->bucket, gradients, place->contributions[own.worker]);
        note_held(serving, place, &own);
    }
    return MST_OK;
}

mst_status mst_data_thread_await(struct mst_data_thread *thread, const struct mst_msg_pull *pull,
                                 mst_round_answer_fn fn, void *arg, struct mst_error *err)
{
    struct round_serving *serving;
    struct mst_round_place *place;
    mst_status status = find_place(thread, pull->bucket, &serving, &place, err);
    if (!place)
        return status;
    if (mst_round_table_is_due(&serving->rounds->table, pull->round)) {
        answer_directly(serving, place, pull->worker, fn, arg);
        return MST_OK;
    }
    struct mst_round_waiter base = {.round = pull->round, .worker = pull->worker};
    wait_directly(serving, place, &base, fn, arg);
    return MST_OK;
}

static bool is_of_arg(const void *arg, struct mst_round_waiter *waiter)
{
    struct waiting *waiting = (struct waiting *)waiter;
    if (waiting->client || waiting->arg != arg)
        return false;
    mst_round_serve_give_waiting(waiting);
    return true;
}

void mst_data_thread_forget(struct mst_data_thread *thread, const void *arg)
{
    for (const struct mst_holding *holding = thread->holdings; holding; holding = holding->next)
        if (holding->serving)
            mst_round_places_drop(holding->serving->rounds, is_of_arg, arg);
}
