// In rounds a push is a contribution, which the data thread copies and answers when its round is applied.
#include "cli/direct_exchange.h"

#include "base/alloc.h"
#include "base/error.h"
#include "ps/data_thread.h"

#include <stdlib.h>

struct direct_bucket {
    struct mst_bucket *bucket;
    struct mst_data_thread *thread;
    uint64_t number;               // rounds: of the call that is not answered
    uint64_t step;                 // … and of the push; 0: a pull
    struct mst_version *version;   // held; NULL before the first pull
    const float **grads;           // one a piece
    struct mst_exchange_push push; // that has to wait, while has_push
    bool has_push;
};

struct direct_exchange {
    struct mst_exchange base;
    const struct mst_layout *layout;
    struct mst_exchange_events events;
    struct direct_bucket *buckets;
    const float **grads;  // backs those of the buckets
    const float **params; // by variable
};

static void hold(struct direct_exchange *x, size_t index, struct mst_version *version)
{
    struct direct_bucket *bucket = &x->buckets[index];
    const struct mst_layout_bucket *place = &x->layout->buckets[index];
    if (bucket->version)
        mst_version_unref(bucket->version);
    bucket->version = version;
    size_t at = 0;
    for (size_t i = 0; i < place->n; i++) {
        const struct mst_layout_run *run = &x->layout->runs[place->first + i];
        if (run->at == 0)
            x->params[run->variable] = version->floats + at;
        at += run->n_floats;
    }
}

static void answer(struct direct_exchange *x, const struct mst_exchange_answer *answer)
{
    x->events.on_answered(x->events.arg, answer);
}

// ---- rounds ----

static void on_round(void *arg, uint32_t index, struct mst_version *version, const struct mst_msg_turn *turn,
                     bool is_finite)
{
    struct direct_exchange *x = arg;
    struct mst_exchange_answer told = {.bucket = index,
                                       .number = x->buckets[index].number,
                                       .step = x->buckets[index].step,
                                       .is_finite = is_finite,
                                       .turn = *turn};
    hold(x, index, version);
    answer(x, &told);
}

static void pull_round(struct mst_exchange *exchange, const struct mst_round_session_pull *pull)
{
    struct direct_exchange *x = (struct direct_exchange *)exchange;
    struct direct_bucket *bucket = &x->buckets[pull->bucket];
    struct mst_error err;
    struct mst_msg_pull message = {.bucket = (uint32_t)pull->bucket,
                                   .map_term = x->layout->map_term,
                                   .map_epoch = x->layout->map_epoch,
                                   .number = pull->number,
                                   .round = pull->round};
    bucket->number = pull->number;
    bucket->step = 0;
    mst_status status = mst_data_thread_await(bucket->thread, &message, on_round, x, &err);
    if (status != MST_OK)
        x->events.on_refused(x->events.arg, status, err.text);
}

static void contribute(struct direct_exchange *x, size_t index, const struct mst_exchange_push *push)
{
    struct direct_bucket *bucket = &x->buckets[index];
    struct mst_gradients gradients = {.pieces = bucket->grads};
    struct mst_error err;
    struct mst_msg_push message = {.bucket = (uint32_t)index,
                                   .map_term = x->layout->map_term,
                                   .map_epoch = x->layout->map_epoch,
                                   .number = push->id.number,
                                   .step = push->id.step,
                                   .lease = push->id.lease,
                                   .offset = push->id.offset,
                                   .weight = push->weight};
    if (push->sums && index == 0)
        message.sums = *push->sums;
    bucket->number = push->id.number;
    bucket->step = push->id.step;
    mst_status status = mst_data_thread_contribute(bucket->thread, &message, &gradients, on_round, x, &err);
    if (status != MST_OK)
        x->events.on_refused(x->events.arg, status, err.text);
}

// ---- the operations ----

static void pull(struct mst_exchange *exchange, uint64_t number)
{
    struct direct_exchange *x = (struct direct_exchange *)exchange;
    for (size_t b = 0; b < x->layout->n_buckets; b++) {
        if (x->layout->n_round_workers > 0 && b < x->layout->n_pushed) {
            struct mst_round_session_pull as_it_is = {.number = number, .bucket = b};
            pull_round(exchange, &as_it_is);
            continue;
        }
        hold(x, b, mst_bucket_pull(x->buckets[b].bucket, 0, number));
        struct mst_exchange_answer told = {.bucket = b, .number = number, .is_finite = true};
        answer(x, &told);
    }
}

static void on_room(void *arg);

static void try_push(struct direct_exchange *x, size_t index, const struct mst_exchange_push *push)
{
    struct direct_bucket *bucket = &x->buckets[index];
    const struct mst_session_push *id = &push->id;
    struct mst_bucket_push identity = {0, id->number, id->step, id->lease, id->offset};
    struct mst_gradients gradients = {.pieces = bucket->grads};
    struct mst_push_result result;
    mst_bucket_push(bucket->bucket, &identity, &gradients, &result);
    bucket->has_push = result.outcome == MST_PUSH_LATER;
    if (bucket->has_push) {
        bucket->push = *push;
        mst_data_thread_on_room(bucket->thread, on_room, x);
        return;
    }
    if (result.outcome == MST_PUSH_REFUSED) {
        x->events.on_refused(x->events.arg, MST_FAILED_PRECONDITION, mst_push_verdict_text(result.verdict));
        return;
    }
    mst_bucket_count(bucket->bucket, &result);
    hold(x, index, result.version);
    struct mst_exchange_answer told = {.bucket = index,
                                       .number = id->number,
                                       .step = id->step,
                                       .staleness = result.staleness,
                                       .is_finite = result.is_finite};
    answer(x, &told);
}

static void push(struct mst_exchange *exchange, size_t index, const struct mst_exchange_push *push)
{
    struct direct_exchange *x = (struct direct_exchange *)exchange;
    if (x->layout->n_round_workers > 0)
        contribute(x, index, push);
    else
        try_push(x, index, push);
}

// Of the loop: a cut has let go of pushes, or a version is free.
static void on_room(void *arg)
{
    struct direct_exchange *x = arg;
    for (size_t b = 0; b < x->layout->n_pushed; b++)
        if (x->buckets[b].has_push)
            mst_data_thread_on_room(x->buckets[b].thread, NULL, NULL); // until one has to wait again
    for (size_t b = 0; b < x->layout->n_pushed; b++) {
        struct mst_exchange_push push = x->buckets[b].push;
        if (x->buckets[b].has_push)
            try_push(x, b, &push);
    }
}

static void drop(struct mst_exchange *exchange)
{
    struct direct_exchange *x = (struct direct_exchange *)exchange;
    for (size_t b = 0; b < x->layout->n_buckets; b++) // but in rounds nothing is ever outstanding
        mst_data_thread_forget(x->buckets[b].thread, x);
    for (size_t b = 0; b < x->layout->n_pushed; b++)
        x->buckets[b].has_push = false;
}

static const float *const *params(struct mst_exchange *exchange)
{
    return ((struct direct_exchange *)exchange)->params;
}

static const struct mst_exchange_ops ops = {pull, pull_round, push, drop, params};

// Parts of one variable that follow each other in a bucket are the variable.
static bool continues(const struct mst_layout_run *run, const struct mst_layout_run *before)
{
    return before && before->variable == run->variable && before->at + before->n_floats == run->at;
}

static mst_status find_buckets(struct direct_exchange *x, struct mst_ps *ps, float *const *grads, struct mst_error *err)
{
    for (size_t b = 0; b < x->layout->n_buckets; b++) {
        const struct mst_layout_bucket *place = &x->layout->buckets[b];
        x->buckets[b].bucket = mst_ps_bucket(ps, place->thread, (uint32_t)b);
        x->buckets[b].thread = mst_ps_data_thread(ps, place->thread);
        x->buckets[b].grads = x->grads + place->first;
        if (!x->buckets[b].bucket)
            return mst_fail(err, MST_INVALID_ARGUMENT, "bucket %zu is not held by this process", b);
        for (size_t i = 0; i < place->n; i++) {
            const struct mst_layout_run *run = &x->layout->runs[place->first + i];
            if (b < x->layout->n_pushed)
                x->grads[place->first + i] = grads[run->variable] + run->at;
            if (run->at != 0 && !continues(run, i ? run - 1 : NULL))
                return mst_fail(err, MST_INVALID_ARGUMENT, "variable %zu lies in pieces that do not follow each other",
                                run->variable);
        }
    }
    return MST_OK;
}

mst_status mst_exchange_direct_new(struct mst_ps *ps, const struct mst_layout *layout, float *const *grads,
                                   const struct mst_exchange_events *events, struct mst_exchange **out,
                                   struct mst_error *err)
{
    *out = NULL;
    struct direct_exchange *x = mst_alloc(sizeof *x);
    size_t n_variables = 0;
    for (size_t i = 0; i < layout->n_runs; i++)
        if (n_variables <= layout->runs[i].variable)
            n_variables = layout->runs[i].variable + 1;
    x->base.ops = &ops;
    x->layout = layout;
    x->events = *events;
    x->buckets = mst_alloc_array(layout->n_buckets, sizeof *x->buckets);
    x->grads = mst_alloc_array(layout->n_runs, sizeof *x->grads);
    x->params = mst_alloc_array(n_variables, sizeof *x->params);
    mst_status status = find_buckets(x, ps, grads, err);
    if (status != MST_OK) {
        mst_exchange_direct_free(&x->base);
        return status;
    }
    *out = &x->base;
    return MST_OK;
}

void mst_exchange_direct_free(struct mst_exchange *exchange)
{
    struct direct_exchange *x = (struct direct_exchange *)exchange;
    if (!x)
        return;
    for (size_t b = 0; b < x->layout->n_buckets; b++)
        if (x->buckets[b].version)
            mst_version_unref(x->buckets[b].version);
    free(x->buckets);
    free(x->grads);
    free(x->params);
    free(x);
}
