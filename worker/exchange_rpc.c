#include "worker/exchange_rpc.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A data thread of a PS that holds at least one of our buckets.
struct target {
    struct rpc_exchange *exchange;
    uint32_t ps;
    uint32_t thread;
    struct mst_peer *peer;
};

enum bucket_state {
    BUCKET_IDLE,   // answered
    BUCKET_WANTED, // to be sent when its connection is up
    BUCKET_SENT,
};

struct bucket {
    struct rpc_exchange *exchange;
    size_t index;
    struct target *target;
    enum bucket_state state;
    uint64_t turn; // counts what was sent; an answer to an earlier turn is ignored
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
    struct target *targets;
    size_t n_targets;
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

static void on_greet(void *arg, struct mst_peer *peer, struct mst_msg_greeting *greeting)
{
    struct target *target = arg;
    (void)peer;
    mst_identity_greet(target->exchange->config.identity, greeting);
    greeting->data_thread = (int32_t)target->thread;
}

static void on_up(void *arg, struct mst_peer *peer, const struct mst_msg_greeting_reply *reply)
{
    struct target *target = arg;
    struct rpc_exchange *x = target->exchange;
    (void)peer;
    (void)reply;
    for (size_t b = 0; b < x->config.layout->n_buckets; b++)
        if (x->buckets[b].target == target)
            send_bucket(&x->buckets[b]);
}

static void on_down(void *arg, struct mst_peer *peer, mst_status status, const char *text)
{
    (void)arg;
    MST_LOG(WARN, "worker", "parameter server lost", "peer=%s status=%s reason=\"%s\"", mst_peer_name(peer),
            mst_status_name(status), text);
}

static void on_greeting_refused(void *arg, struct mst_peer *peer, mst_status status, const char *text)
{
    struct target *target = arg;
    (void)peer;
    // Not the fence's status: a PS that refuses our job will not be pleased by another greeting.
    target->exchange->config.events.on_refused(target->exchange->config.events.arg,
                                               status == MST_FAILED_PRECONDITION ? MST_INVALID_ARGUMENT : status, text);
}

static const struct mst_peer_events peer_events = {on_greet, on_up, on_down, on_greeting_refused};

// ---- the operations ----

static void want_pull(struct bucket *bucket, uint64_t number, uint64_t round)
{
    bucket->state = BUCKET_WANTED;
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
    for (size_t t = 0; t < x->n_targets; t++)
        mst_peer_start(x->targets[t].peer);
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

// ---- making and freeing ----

static mst_status find_target(struct rpc_exchange *x, size_t bucket, struct target **out, struct mst_error *err)
{
    const struct mst_layout_bucket *place = &x->config.layout->buckets[bucket];
    for (size_t t = 0; t < x->n_targets; t++)
        if (x->targets[t].ps == place->ps && x->targets[t].thread == place->thread) {
            *out = &x->targets[t];
            return MST_OK;
        }
    if (place->ps >= x->config.n_ps || !x->config.ps_addresses[place->ps])
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "the chief's map uses ps-%u, which TF_CONFIG of this worker does not name", place->ps);
    struct target *target = &x->targets[x->n_targets];
    *target = (struct target){.exchange = x, .ps = place->ps, .thread = place->thread};
    char name[64];
    snprintf(name, sizeof name, "ps-%u", place->ps);
    struct mst_peer_config config = {
        .name = name, .address = x->config.ps_addresses[place->ps], .events = &peer_events, .arg = target};
    config.user_timeout_ms = x->config.user_timeout_ms;
    MST_TRY(mst_peer_new(x->config.loop, x->config.resolver, &config, &target->peer, err));
    x->n_targets++;
    *out = target;
    return MST_OK;
}

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
        MST_TRY(find_target(x, b, &bucket->target, err));
        for (size_t i = 0; i < place->n; i++) {
            const struct mst_layout_run *run = &layout->runs[place->first + i];
            if (x->config.grads && b < layout->n_pushed)
                bucket->grads[i] = part_of(run, x->config.grads);
            bucket->params[0][i] = part_of(run, x->params[0]);
            bucket->params[1][i] = part_of(run, x->params[1]);
        }
    }
    return MST_OK;
}

mst_status mst_exchange_rpc_new(const struct mst_exchange_rpc_config *config, struct mst_exchange **out,
                                struct mst_error *err)
{
    *out = NULL;
    struct rpc_exchange *x = mst_alloc(sizeof *x);
    x->base.ops = &ops;
    x->config = *config;
    x->targets = mst_alloc_array(config->layout->n_buckets, sizeof *x->targets);
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
    for (size_t t = 0; t < x->n_targets; t++)
        mst_peer_free(x->targets[t].peer);
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
    free(x->targets);
    free(x);
}

uint64_t mst_exchange_rpc_absent_ms(const struct mst_exchange *exchange)
{
    const struct rpc_exchange *x = (const struct rpc_exchange *)exchange;
    uint64_t longest_ms = 0;
    for (size_t t = 0; t < x->n_targets; t++)
        if (mst_peer_down_ms(x->targets[t].peer) > longest_ms)
            longest_ms = mst_peer_down_ms(x->targets[t].peer);
    return longest_ms;
}

void mst_exchange_rpc_state(const struct mst_exchange *exchange, char *out, size_t out_bytes)
{
    const struct rpc_exchange *x = (const struct rpc_exchange *)exchange;
    size_t used = 0;
    out[0] = '\0';
    for (size_t t = 0; t < x->n_targets; t++) {
        if (mst_peer_is_up(x->targets[t].peer))
            continue;
        char state[128];
        mst_peer_state(x->targets[t].peer, state, sizeof state);
        int n = snprintf(out + used, out_bytes - used, "%s%s (%s)", used ? ", " : "", mst_peer_name(x->targets[t].peer),
                         state);
        if (n < 0 || (size_t)n >= out_bytes - used)
            return;
        used += (size_t)n;
    }
}
