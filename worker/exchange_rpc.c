// A bucket is called at the primary of its group. When that changes, what is under way is sent to the new one, word for
// word; the connection to the old one is given up first if it may still read our gradients or write our parameters.
#include "worker/exchange_rpc.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "worker/targets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AGAIN_FIRST_MS = 20, AGAIN_MAX_MS = 1000 };

enum bucket_state {
    BUCKET_IDLE,   // answered
    BUCKET_WANTED, // to be sent when its connection is up
    BUCKET_SENT,
    BUCKET_HELD, // who was asked is not its primary: newer roles, or a while, and it is wanted again
};

struct bucket {
    struct rpc_exchange *exchange;
    size_t index;
    struct mst_target *target;
    enum bucket_state state;
    uint64_t held_since_ms; // since when nobody answered but to say that it is not the primary; 0: not so
    uint64_t turn;          // counts what was sent; an answer to an earlier turn is ignored
    uint64_t number;
    struct mst_exchange_push push; // id.step 0: a pull
    uint64_t round;                // of a pull: answered when that one is applied
    bool is_fresh;                 // its parameters came into the buffer that is not computed with
    size_t n_parts;
    struct iovec *grads;     // n_parts
    struct iovec *params[2]; // n_parts each
};

// A call under way. It outlives the bucket's turn when a connection is slow to tell that it broke.
struct flight {
    struct flight *next;  // in the list of free ones
    struct flight *older; // in the list of all
    struct bucket *bucket;
    uint64_t turn;
};

struct rpc_exchange {
    struct mst_exchange base;
    struct mst_exchange_rpc_config config;
    struct mst_targets targets;
    struct bucket *buckets;
    struct iovec *parts; // backs all lists of the buckets
    float **params[2];   // one a variable; of frozen ones the same in both
    float *memory[2];    // backs them; frozen ones lie in the first
    size_t current;      // which of the two is computed with
    uint64_t cut;        // that pulls name
    size_t n_fresh;      // buckets, of those that are pushed, that came into the other one
    struct flight *free_flights;
    struct flight *newest_flight;
    struct mst_buf meta;
    bool has_roles;
    struct mst_epoch epoch; // of the roles that are followed
    struct mst_timer again; // of buckets that are held
    uint64_t again_ms;
    char held_text[256]; // what was said of one
};

static void send_bucket(struct bucket *bucket);

// ---- answers ----

static struct flight *take_flight(struct rpc_exchange *x, struct bucket *bucket)
{
    struct flight *flight = x->free_flights;
    if (flight) {
        x->free_flights = flight->next;
    } else {
        flight = mst_alloc(sizeof *flight);
        flight->older = x->newest_flight;
        x->newest_flight = flight;
    }
    flight->bucket = bucket;
    flight->turn = bucket->turn;
    return flight;
}

static enum mst_body_verdict on_body(void *arg, const struct mst_message *message, struct mst_sink *sink)
{
    struct flight *flight = arg;
    struct bucket *bucket = flight->bucket;
    struct rpc_exchange *x = bucket->exchange;
    size_t n_bytes = x->config.layout->buckets[bucket->index].n_floats * sizeof(float);
    if (flight->turn != bucket->turn || message->body_bytes != n_bytes)
        return MST_BODY_DRAIN;
    *sink = (struct mst_sink){bucket->params[1 - x->current], bucket->n_parts};
    return MST_BODY_TAKE;
}

static mst_status read_answer(const struct bucket *bucket, const struct mst_message *message,
                              struct mst_exchange_answer *answer, struct mst_error *err)
{
    struct mst_arena arena;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = MST_OK;
    *answer = (struct mst_exchange_answer){.bucket = bucket->index, .number = bucket->number, .is_finite = true};
    if (bucket->push.id.step == 0) {
        struct mst_msg_pull_reply reply;
        status = mst_msg_pull_reply_decode(message->meta, &arena, &reply, err);
        answer->iterations = reply.iterations;
        answer->turn = reply.turn;
    } else {
        struct mst_msg_push_reply reply;
        status = mst_msg_push_reply_decode(message->meta, &arena, &reply, err);
        answer->step = bucket->push.id.step;
        answer->turn = reply.turn;
        answer->staleness = reply.staleness;
        answer->is_finite = reply.is_finite;
    }
    mst_arena_fini(&arena);
    return status;
}

static void answered(struct bucket *bucket, const struct mst_message *message)
{
    struct rpc_exchange *x = bucket->exchange;
    struct mst_exchange_answer answer;
    struct mst_error err;
    size_t n_bytes = x->config.layout->buckets[bucket->index].n_floats * sizeof(float);
    mst_status status = read_answer(bucket, message, &answer, &err);
    if (status == MST_OK && message->body_bytes != n_bytes) // on_body has thrown it away
        status = mst_fail(&err, MST_DATA_LOSS, "%s answered for bucket %zu with %llu bytes, which has %zu",
                          mst_peer_name(bucket->target->peer), bucket->index, (unsigned long long)message->body_bytes,
                          n_bytes);
    bucket->state = BUCKET_IDLE;
    bucket->held_since_ms = 0;
    x->again_ms = 0;
    if (status != MST_OK) {
        x->config.events.on_refused(x->config.events.arg, status, err.text);
        return;
    }
    x->n_fresh += bucket->index < x->config.layout->n_pushed && !bucket->is_fresh;
    bucket->is_fresh = true;
    x->config.events.on_answered(x->config.events.arg, &answer);
}

static bool may_pass(mst_status status)
{
    return status == MST_UNAVAILABLE || status == MST_DEADLINE_EXCEEDED || status == MST_CANCELLED;
}

// Not the primary, or not yet: it does not know of this bucket, or knows that another one serves it. What is kept of a
// cut stays with who has kept it.
static bool is_elsewhere(const struct rpc_exchange *x, const struct bucket *bucket, mst_status status)
{
    bool is_of_cut = bucket->push.id.step == 0 && x->cut != 0;
    return x->has_roles && !is_of_cut && (status == MST_ABORTED || status == MST_NOT_FOUND);
}

static void hold(struct bucket *bucket, const char *text)
{
    struct rpc_exchange *x = bucket->exchange;
    bucket->state = BUCKET_HELD;
    if (bucket->held_since_ms == 0) {
        MST_LOG(DEBUG, "worker", "bucket held", "bucket=%zu reason=\"%s\"", bucket->index, text);
        bucket->held_since_ms = mst_clock_monotonic_ms();
    }
    snprintf(x->held_text, sizeof x->held_text, "%s", text);
    if (mst_timer_is_running(&x->again))
        return;
    x->again_ms = x->again_ms ? 2 * x->again_ms : AGAIN_FIRST_MS;
    x->again_ms = x->again_ms < AGAIN_MAX_MS ? x->again_ms : AGAIN_MAX_MS;
    mst_timer_start_once(&x->again, x->again_ms);
}

static void on_again(void *arg)
{
    struct rpc_exchange *x = arg;
    for (size_t b = 0; b < x->config.layout->n_buckets; b++)
        if (x->buckets[b].state == BUCKET_HELD) {
            x->buckets[b].state = BUCKET_WANTED;
            send_bucket(&x->buckets[b]);
        }
}

static void on_reply(void *arg, const struct mst_reply *reply)
{
    struct flight *flight = arg;
    struct bucket *bucket = flight->bucket;
    struct rpc_exchange *x = bucket->exchange;
    bool is_current = flight->turn == bucket->turn;
    flight->next = x->free_flights;
    x->free_flights = flight;
    if (!is_current)
        return;
    if (reply->status == MST_OK) {
        answered(bucket, reply->message);
    } else if (may_pass(reply->status)) {
        MST_LOG(DEBUG, "worker", "exchange interrupted", "bucket=%zu reason=\"%s\"", bucket->index, reply->text);
        bucket->state = BUCKET_WANTED;
        if (reply->status == MST_DEADLINE_EXCEEDED) // a connection that does not answer is made anew
            mst_peer_break(bucket->target->peer, "was given up: a call was not answered");
    } else if (is_elsewhere(x, bucket, reply->status)) {
        hold(bucket, reply->text);
    } else {
        bucket->state = BUCKET_IDLE;
        x->config.events.on_refused(x->config.events.arg, reply->status, reply->text);
    }
}

// ---- sending ----

static void encode(struct rpc_exchange *x, const struct bucket *bucket)
{
    mst_buf_reset(&x->meta);
    mst_status status;
    const struct mst_session_push *id = &bucket->push.id;
    if (id->step == 0) {
        struct mst_msg_pull pull = {.bucket = (uint32_t)bucket->index,
                                    .map_term = x->config.map_term,
                                    .map_epoch = x->config.map_epoch,
                                    .worker = x->config.identity->index,
                                    .number = bucket->number,
                                    .round = bucket->round,
                                    .cut = x->cut};
        status = mst_msg_pull_encode(&pull, &x->meta);
    } else {
        struct mst_msg_push push = {.bucket = (uint32_t)bucket->index,
                                    .map_term = x->config.map_term,
                                    .map_epoch = x->config.map_epoch,
                                    .worker = x->config.identity->index,
                                    .number = id->number,
                                    .step = id->step,
                                    .lease = id->lease,
                                    .offset = id->offset,
                                    .weight = bucket->push.weight};
        if (bucket->push.sums && bucket->index == 0)
            push.sums = *bucket->push.sums;
        status = mst_msg_push_encode(&push, &x->meta);
    }
    MST_ASSERT(status == MST_OK); // a few numbers, and at most MST_SUMS_MAX sums
}

static void send_bucket(struct bucket *bucket)
{
    struct rpc_exchange *x = bucket->exchange;
    if (bucket->state != BUCKET_WANTED || !mst_peer_is_up(bucket->target->peer))
        return;
    bucket->state = BUCKET_SENT;
    bucket->turn++;
    encode(x, bucket);
    struct mst_call call = {.method = bucket->push.id.step ? MST_METHOD_PUSH : MST_METHOD_PULL,
                            .meta = mst_buf_view(&x->meta),
                            .deadline_ms = x->config.call_ms,
                            .on_body = on_body,
                            .on_reply = on_reply,
                            .arg = take_flight(x, bucket)};
    if (bucket->push.id.step)
        call.body = (struct mst_body){.parts = bucket->grads, .n_parts = bucket->n_parts};
    mst_peer_call(bucket->target->peer, &call);
}

static void send_all(struct rpc_exchange *x, const struct mst_target *target)
{
    for (size_t b = 0; b < x->config.layout->n_buckets; b++)
        if (x->buckets[b].target == target)
            send_bucket(&x->buckets[b]);
}

static void on_up(void *arg, struct mst_target *target)
{
    send_all(arg, target);
}

static void on_greeting_refused(void *arg, mst_status status, const char *text)
{
    struct rpc_exchange *x = arg;
    x->config.events.on_refused(x->config.events.arg, status, text);
}

// ---- the operations ----

static void want_pull(struct bucket *bucket, uint64_t number, uint64_t round)
{
    bucket->state = BUCKET_WANTED;
    bucket->held_since_ms = 0;
    bucket->number = number;
    bucket->push = (struct mst_exchange_push){0};
    bucket->round = round;
    send_bucket(bucket);
}

// What came into the spare parameter buffer is not to be computed with.
static void forget_fresh(struct rpc_exchange *x)
{
    x->n_fresh = 0;
    for (size_t b = 0; b < x->config.layout->n_buckets; b++)
        x->buckets[b].is_fresh = false;
}

static void pull(struct mst_exchange *exchange, uint64_t number)
{
    struct rpc_exchange *x = (struct rpc_exchange *)exchange;
    forget_fresh(x);
    mst_targets_start(&x->targets);
    for (size_t b = 0; b < x->config.layout->n_buckets; b++)
        want_pull(&x->buckets[b], number, 0);
}

static void pull_round(struct mst_exchange *exchange, const struct mst_round_session_pull *pull)
{
    struct rpc_exchange *x = (struct rpc_exchange *)exchange;
    want_pull(&x->buckets[pull->bucket], pull->number, pull->round);
}

static void push(struct mst_exchange *exchange, size_t index, const struct mst_exchange_push *push)
{
    struct rpc_exchange *x = (struct rpc_exchange *)exchange;
    struct bucket *bucket = &x->buckets[index];
    bucket->state = BUCKET_WANTED;
    bucket->held_since_ms = 0;
    bucket->number = push->id.number;
    bucket->push = *push;
    send_bucket(bucket);
}

static void drop(struct mst_exchange *exchange)
{
    struct rpc_exchange *x = (struct rpc_exchange *)exchange;
    for (size_t b = 0; b < x->config.layout->n_buckets; b++) {
        x->buckets[b].state = BUCKET_IDLE;
        x->buckets[b].turn++;
        x->buckets[b].held_since_ms = 0;
    }
    forget_fresh(x);
}

static const float *const *params(struct mst_exchange *exchange)
{
    struct rpc_exchange *x = (struct rpc_exchange *)exchange;
    if (x->n_fresh == x->config.layout->n_pushed) {
        x->current = 1 - x->current;
        forget_fresh(x);
    }
    return (const float *const *)x->params[x->current];
}

static const struct mst_exchange_ops ops = {pull, pull_round, push, drop, params};

// ---- where a bucket is ----

static mst_status use_target(struct rpc_exchange *x, size_t bucket, uint32_t ps, enum mst_target_use use,
                             struct mst_target **out, struct mst_error *err)
{
    const struct mst_layout *layout = x->config.layout;
    uint32_t thread = layout->buckets[bucket].thread;
    if (ps < layout->n_ps_threads)
        thread = (uint32_t)(thread % layout->ps_threads[ps]);
    MST_TRY(mst_targets_find(&x->targets, ps, thread, out, err));
    mst_targets_use(*out, use);
    return MST_OK;
}

// Each bucket's target under these roles; without any, and while its group has no primary, it is at its home.
static mst_status find_targets(struct rpc_exchange *x, const struct mst_roles *roles, struct mst_target **found,
                               struct mst_error *err)
{
    const struct mst_layout *layout = x->config.layout;
    for (size_t b = 0; b < layout->n_buckets; b++) {
        uint32_t home = layout->buckets[b].ps;
        uint32_t primary = home;
        struct mst_target *ahead;
        if (roles && home >= roles->n_ps)
            return mst_fail(err, MST_DATA_LOSS, "the chief's roles are of %zu groups, and bucket %zu is of group %u",
                            roles->n_ps, b, home);
        if (roles) {
            const struct mst_group_roles *group = &roles->groups[home];
            primary = group->primary == MST_NO_PS ? home : group->primary;
            for (size_t i = 0; i < group->n_backups; i++)
                MST_TRY(use_target(x, b, group->backups[i], MST_TARGET_AHEAD, &ahead, err));
        }
        MST_TRY(use_target(x, b, primary, MST_TARGET_USED, &found[b], err));
    }
    return MST_OK;
}

// What is under way on this connection is sent again: over a new one, or to another server.
static void renew(struct rpc_exchange *x, struct mst_target *target)
{
    for (size_t b = 0; b < x->config.layout->n_buckets; b++) {
        struct bucket *bucket = &x->buckets[b];
        if (bucket->target != target || bucket->state != BUCKET_SENT)
            continue;
        bucket->state = BUCKET_WANTED;
        bucket->turn++; // no answer to it counts any more; the flight stays until the end
    }
    mst_target_renew(target);
}

static void move(struct rpc_exchange *x, struct mst_target *const *found)
{
    size_t n_buckets = x->config.layout->n_buckets;
    for (size_t b = 0; b < n_buckets; b++) {
        struct bucket *bucket = &x->buckets[b];
        if (bucket->target && bucket->target != found[b] && bucket->state == BUCKET_SENT)
            renew(x, bucket->target);
    }
    for (size_t b = 0; b < n_buckets; b++) {
        x->buckets[b].target = found[b];
        if (x->buckets[b].state == BUCKET_HELD)
            x->buckets[b].state = BUCKET_WANTED;
    }
}

static mst_status follow(struct rpc_exchange *x, const struct mst_roles *roles, struct mst_error *err)
{
    size_t n_buckets = x->config.layout->n_buckets;
    struct mst_target **found = mst_alloc_array(n_buckets, sizeof(struct mst_target *));
    mst_targets_begin(&x->targets);
    mst_status status = find_targets(x, roles, found, err);
    if (status == MST_OK)
        move(x, found);
    mst_targets_end(&x->targets);
    free(found);
    return status;
}

mst_status mst_exchange_rpc_set_roles(struct mst_exchange *exchange, const struct mst_roles *roles,
                                      struct mst_error *err)
{
    struct rpc_exchange *x = (struct rpc_exchange *)exchange;
    if (x->has_roles && !mst_epoch_is_newer(&roles->epoch, &x->epoch))
        return MST_OK;
    MST_TRY(follow(x, roles, err));
    x->has_roles = true;
    x->epoch = roles->epoch;
    x->again_ms = 0;
    mst_timer_stop(&x->again);
    for (size_t b = 0; b < x->config.layout->n_buckets; b++)
        send_bucket(&x->buckets[b]);
    return MST_OK;
}

// ---- making and freeing ----

// What a variable takes of one side's buffer, in whole lines of 64 bytes.
static size_t floats_on(const struct rpc_exchange *x, size_t side, size_t v)
{
    const struct mst_variable *variable = mst_model_variable(x->config.model, v);
    return side == 1 && variable->update == MST_UPDATE_FROZEN ? 0 : (variable->n_elements + 15) / 16 * 16;
}

static mst_status make_params(struct rpc_exchange *x, struct mst_error *err)
{
    size_t n_variables = mst_model_n_variables(x->config.model);
    for (size_t side = 0; side < 2; side++) {
        size_t n_floats = 0;
        for (size_t v = 0; v < n_variables; v++)
            n_floats += floats_on(x, side, v);
        void *memory;
        if (mst_try_alloc(n_floats * sizeof(float), &memory) != MST_OK)
            return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for the %zu bytes of a parameter buffer",
                            n_floats * sizeof(float));
        x->memory[side] = memory;
        x->params[side] = mst_alloc_array(n_variables, sizeof(float *));
        size_t at = 0;
        for (size_t v = 0; v < n_variables; v++) {
            size_t n = floats_on(x, side, v);
            x->params[side][v] = n ? x->memory[side] + at : x->params[0][v];
            at += n;
        }
    }
    return MST_OK;
}

static struct iovec part_of(const struct mst_layout_run *run, float *const *variables)
{
    return (struct iovec){variables[run->variable] + run->at, run->n_floats * sizeof(float)};
}

static mst_status make_buckets(struct rpc_exchange *x, struct mst_error *err)
{
    const struct mst_layout *layout = x->config.layout;
    for (size_t b = 0; b < layout->n_buckets; b++) {
        const struct mst_layout_bucket *place = &layout->buckets[b];
        struct bucket *bucket = &x->buckets[b];
        struct iovec *parts = x->parts + 3 * place->first;
        *bucket = (struct bucket){.exchange = x, .index = b, .n_parts = place->n, .grads = parts};
        bucket->params[0] = parts + place->n;
        bucket->params[1] = parts + 2 * place->n;
        for (size_t i = 0; i < place->n; i++) {
            const struct mst_layout_run *run = &layout->runs[place->first + i];
            if (x->config.grads && b < layout->n_pushed)
                bucket->grads[i] = part_of(run, x->config.grads);
            bucket->params[0][i] = part_of(run, x->params[0]);
            bucket->params[1][i] = part_of(run, x->params[1]);
        }
    }
    x->has_roles = x->config.roles != NULL;
    if (x->has_roles)
        x->epoch = x->config.roles->epoch;
    return follow(x, x->config.roles, err);
}

static void make_targets(struct rpc_exchange *x)
{
    const struct mst_exchange_rpc_config *config = &x->config;
    struct mst_targets_config targets = {.loop = config->loop,
                                         .resolver = config->resolver,
                                         .identity = config->identity,
                                         .ps_addresses = config->ps_addresses,
                                         .n_ps = config->n_ps,
                                         .user_timeout_ms = config->user_timeout_ms,
                                         .adds_body_crc = config->adds_body_crc,
                                         .events = {on_up, on_greeting_refused},
                                         .arg = x};
    mst_targets_init(&x->targets, &targets);
    mst_timer_init(&x->again, config->loop, on_again, x);
}

mst_status mst_exchange_rpc_new(const struct mst_exchange_rpc_config *config, struct mst_exchange **out,
                                struct mst_error *err)
{
    *out = NULL;
    struct rpc_exchange *x = mst_alloc(sizeof *x);
    x->base.ops = &ops;
    x->config = *config;
    make_targets(x);
    x->buckets = mst_alloc_array(config->layout->n_buckets, sizeof *x->buckets);
    x->parts = mst_alloc_array(3 * config->layout->n_runs, sizeof *x->parts);
    mst_buf_init(&x->meta, MST_FRAME_META_MAX);
    mst_status status = make_params(x, err);
    if (status == MST_OK)
        status = make_buckets(x, err);
    if (status != MST_OK) {
        mst_exchange_rpc_free(&x->base);
        return status;
    }
    x->config.roles = NULL;
    *out = &x->base;
    return MST_OK;
}

void mst_exchange_rpc_set_cut(struct mst_exchange *exchange, uint64_t cut)
{
    ((struct rpc_exchange *)exchange)->cut = cut;
}

void mst_exchange_rpc_free(struct mst_exchange *exchange)
{
    struct rpc_exchange *x = (struct rpc_exchange *)exchange;
    if (!x)
        return;
    mst_targets_fini(&x->targets);
    mst_timer_fini(&x->again);
    while (x->newest_flight) {
        struct flight *flight = x->newest_flight;
        x->newest_flight = flight->older;
        free(flight);
    }
    for (size_t side = 0; side < 2; side++) {
        free(x->params[side]);
        free(x->memory[side]);
    }
    mst_buf_fini(&x->meta);
    free(x->parts);
    free(x->buckets);
    free(x);
}

uint64_t mst_exchange_rpc_absent_ms(const struct mst_exchange *exchange)
{
    const struct rpc_exchange *x = (const struct rpc_exchange *)exchange;
    uint64_t longest_ms = mst_targets_absent_ms(&x->targets);
    uint64_t now_ms = mst_clock_monotonic_ms();
    for (size_t b = 0; b < x->config.layout->n_buckets; b++) {
        uint64_t since_ms = x->buckets[b].held_since_ms;
        if (since_ms && now_ms - since_ms > longest_ms)
            longest_ms = now_ms - since_ms;
    }
    return longest_ms;
}

void mst_exchange_rpc_state(const struct mst_exchange *exchange, char *out, size_t out_bytes)
{
    const struct rpc_exchange *x = (const struct rpc_exchange *)exchange;
    mst_targets_state(&x->targets, out, out_bytes);
    for (size_t b = 0; b < x->config.layout->n_buckets && !out[0]; b++)
        if (x->buckets[b].held_since_ms)
            snprintf(out, out_bytes, "a primary for bucket %zu (%s)", b, x->held_text);
}
