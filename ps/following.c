// A follower's side: what a primary sends is read into a buffer of the connection's own (never one of the pool, or two
// servers that follow each other could wait for each other's), checked by the machine when it is whole, answered, and
// then applied: the answer says that it is here, and what is here is applied before anything else is looked at.
//
// A bucket of a sweep is read beside the one that is there and takes its place in one go: a follower that is promoted
// while half of one came has the whole one before.
#include "ps/replication_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "rpc/probe.h"
#include "wire/worker_numbers.h"

#include <stdlib.h>
#include <string.h>

enum { PROBE_AGAIN_MS = 20 };

// A connection of a PS that is, or was, primary of something that is here.
struct follower {
    struct follower *next;
    struct mst_data_thread *thread;
    struct mst_conn *conn;
    uint32_t ps;
    uint64_t incarnation;
    bool has_address;
    struct mst_socket_address address; // where it listens
    float *floats;                     // operations are read into
    size_t n_bytes;
    struct mst_round_mean *mean;                     // … or in rounds, as is the last part of a bucket
    struct iovec parts[2 + MST_OPTIMIZER_MAX_SLOTS]; // the body that comes in
    struct mst_bucket *sweeping;                     // it is one of a sweep, for this bucket
    struct mst_bucket_content content;
};

// Asks whether the process of a lost connection is gone.
struct death_watch {
    struct death_watch *next;
    struct mst_data_thread *thread;
    struct mst_replica_id who;
    struct mst_socket_address address;
    uint64_t until_ms;
    struct mst_probe *probe;
    struct mst_timer again;
};

static uint64_t now_ms(void)
{
    return mst_clock_monotonic_ms();
}

// ---- finding what a call is about ----

static struct mst_holding *find_holding(const struct mst_data_thread *thread, uint32_t group, uint32_t home_thread)
{
    struct mst_holding *holding = mst_holding_of(thread->holdings, group, home_thread);
    return holding && holding->replication ? holding : NULL; // without buckets it has none
}

static struct mst_replica_call call_of(const struct follower *follower, uint64_t term, uint64_t n, uint64_t seq)
{
    return (struct mst_replica_call){.from = {follower->ps, follower->incarnation}, .epoch = {term, n}, .seq = seq};
}

static void refuse(const struct follower *follower, const struct mst_message *message,
                   const struct mst_holding *holding)
{
    const struct mst_epoch none = {0, 0};
    const struct mst_epoch *stored = holding ? &holding->replication->replica.stored.epoch : &none;
    mst_conn_reply_error(follower->conn, message, MST_ABORTED, "ps-%u does not follow ps-%u in this (epoch %llu.%llu)",
                         follower->thread->replicating->config.ps, follower->ps, (unsigned long long)stored->term,
                         (unsigned long long)stored->n);
}

// ---- operations ----

static void answer_op(const struct follower *follower, const struct mst_message *message,
                      const struct replication *replication, bool is_mismatch)
{
    const struct mst_epoch *stored = &replication->replica.stored.epoch;
    struct mst_msg_op_reply reply = {stored->term, stored->n, mst_replica_has(&replication->replica), is_mismatch};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    mst_status status = mst_msg_op_reply_encode(&reply, &meta);
    MST_ASSERT(status == MST_OK); // a few numbers
    mst_conn_reply(follower->conn, message, mst_buf_view(&meta), NULL);
    mst_buf_fini(&meta);
}

static bool reserve(struct follower *follower, size_t n_bytes)
{
    void *memory;
    if (follower->n_bytes >= n_bytes)
        return true;
    free(follower->floats);
    follower->floats = NULL;
    follower->n_bytes = 0;
    if (mst_try_alloc(n_bytes, &memory) != MST_OK)
        return false;
    follower->floats = memory;
    follower->n_bytes = n_bytes;
    return true;
}

static void drop_mean(struct follower *follower)
{
    mst_round_mean_unref(follower->mean);
    follower->mean = NULL;
}

// Into memory that it can stay in.
static bool take_mean(struct follower *follower, const struct mst_holding *holding, uint32_t bucket)
{
    drop_mean(follower);
    follower->mean = mst_round_replica_mean_new(holding, bucket);
    return follower->mean != NULL;
}

static enum mst_body_verdict on_op_head(void *arg, struct mst_conn *conn, const struct mst_message *message,
                                        struct mst_sink *sink)
{
    struct follower *follower = arg;
    struct mst_arena arena;
    struct mst_msg_op op;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_op_decode(message->meta, &arena, &op, &err);
    mst_arena_fini(&arena); // only numbers are looked at before the body is there
    struct mst_holding *holding = status == MST_OK ? find_holding(follower->thread, op.group, op.thread) : NULL;
    size_t position = holding ? mst_holding_position(holding, op.bucket) : 0;
    bool is_aggregate = holding && holding->serving && op.kind == MST_OP_AGGREGATE;
    drop_mean(follower);
    if (status != MST_OK) {
        mst_conn_reply_error(conn, message, status, "%s", err.text);
    } else if (!holding || position == holding->n_buckets) {
        refuse(follower, message, holding);
    } else if (message->body_bytes != mst_bucket_bytes(holding->buckets[position]) ||
               (op.kind != MST_OP_PUSH && !is_aggregate)) {
        mst_conn_reply_error(conn, message, MST_INVALID_ARGUMENT, "an operation on bucket %u with a body of %llu bytes",
                             op.bucket, (unsigned long long)message->body_bytes);
    } else if (is_aggregate ? !take_mean(follower, holding, op.bucket)
                            : !reserve(follower, (size_t)message->body_bytes)) {
        mst_conn_reply_error(conn, message, MST_RESOURCE_EXHAUSTED, "no memory for the %llu bytes of an operation",
                             (unsigned long long)message->body_bytes);
    } else {
        float *floats = is_aggregate ? follower->mean->floats : follower->floats;
        follower->parts[0] = (struct iovec){floats, (size_t)message->body_bytes};
        *sink = (struct mst_sink){follower->parts, 1};
        return MST_BODY_TAKE;
    }
    return MST_BODY_DRAIN;
}

static void apply_push(struct mst_holding *holding, struct mst_bucket *bucket, const struct mst_msg_op *op,
                       const float *gradient)
{
    struct mst_bucket_push push = {op->worker, op->number, op->step, op->lease, op->offset};
    if (mst_client_table_admit(&bucket->clients, op->worker, op->number, op->step) != MST_PUSH_APPLY ||
        bucket->n_updates + 1 != op->version)
        MST_LOG(ERROR, "ps", "replica out of step", "bucket=%u version=%llu primary=%llu worker=%u", bucket->id,
                (unsigned long long)bucket->n_updates, (unsigned long long)op->version, op->worker);
    bool is_applied = mst_bucket_follow(bucket, &push, gradient, (float)op->learning_rate);
    MST_ASSERT(is_applied); // looked at before it was taken
    if (bucket->metrics.version)
        mst_metric_set(bucket->metrics.version, (int64_t)bucket->n_updates);
    mst_metric_add(holding->replication->replicating->metrics.followed, 1);
}

static void apply(struct mst_holding *holding, struct mst_bucket *bucket, const struct mst_msg_op *op,
                  const float *gradient, struct mst_round_mean *mean)
{
    const struct mst_holding_fencing fencing = {.worker = op->worker, .number = op->number};
    switch (op->kind) {
    case MST_OP_PUSH:
        apply_push(holding, bucket, op, gradient);
        break;
    case MST_OP_FENCE:
        mst_replication_fence_buckets(holding, &fencing);
        break;
    case MST_OP_PULLED:
        mst_client_table_pulled(&bucket->clients, op->worker, op->number);
        break;
    case MST_OP_AGGREGATE:
    case MST_OP_CLOSE:
    case MST_OP_APPLY:
        mst_round_replica_follow(holding, op, mean);
        break;
    default:
        break;
    }
}

// A push, or what a round comes to, that is only counted here, because its bucket comes later, came without gradient.
static bool is_bare(const struct follower *follower, const struct mst_msg_op *op, const struct mst_message *message)
{
    if (op->kind == MST_OP_AGGREGATE)
        return !follower->mean;
    return op->kind == MST_OP_PUSH && message->body_bytes == 0;
}

static mst_status check_op(const struct mst_msg_op *op, const struct mst_bucket *bucket,
                           const struct mst_message *message, struct mst_error *err)
{
    bool is_of_worker = op->kind == MST_OP_PUSH || op->kind == MST_OP_FENCE || op->kind == MST_OP_PULLED;
    if (is_of_worker)
        MST_TRY(mst_worker_number_check(op->worker, op->number, err));
    if (op->kind == MST_OP_PUSH &&
        (bucket->is_frozen || (message->body_bytes > 0 && message->body_bytes != mst_bucket_bytes(bucket))))
        return mst_fail(err, MST_INVALID_ARGUMENT, "a push of bucket %u without its gradient", bucket->id);
    if (op->kind == MST_OP_PUSH && !mst_bucket_can_apply((struct mst_bucket *)(uintptr_t)bucket))
        return mst_fail(err, MST_UNAVAILABLE, "bucket %u: every buffer is held here; send it again", bucket->id);
    return MST_OK;
}

static bool is_of_rounds(const struct mst_msg_op *op)
{
    return op->kind == MST_OP_AGGREGATE || op->kind == MST_OP_CLOSE || op->kind == MST_OP_APPLY;
}

static void take_op(struct follower *follower, const struct mst_message *message, const struct mst_msg_op *op)
{
    struct mst_holding *holding = find_holding(follower->thread, op->group, op->thread);
    size_t position = holding ? mst_holding_position(holding, op->bucket) : 0;
    struct mst_error err;
    if (!holding || position == holding->n_buckets) {
        refuse(follower, message, holding);
        return;
    }
    struct mst_bucket *bucket = holding->buckets[position];
    mst_status status = is_of_rounds(op) ? mst_round_replica_check_op(holding, op, follower->mean, &err)
                                         : check_op(op, bucket, message, &err);
    if (status != MST_OK) {
        mst_conn_reply_error(follower->conn, message, status, "%s", err.text);
        return;
    }
    struct mst_replica_call call = call_of(follower, op->term, op->n, op->seq);
    call.bucket = position;
    call.is_bare = is_bare(follower, op, message);
    enum mst_follow_verdict verdict = mst_replica_take_op(&holding->replication->replica, &call, now_ms());
    if (verdict == MST_FOLLOW_REFUSED) {
        refuse(follower, message, holding);
        return;
    }
    bool applies = verdict == MST_FOLLOW_APPLY;
    // These are of all buckets; those that a sweep brings later bring them, too.
    if (op->kind == MST_OP_FENCE || op->kind == MST_OP_CLOSE || op->kind == MST_OP_APPLY)
        applies = applies || verdict == MST_FOLLOW_COUNT;
    bool is_mismatch = applies && op->kind == MST_OP_CHECKSUM && mst_bucket_crc32c(bucket) != op->crc32c;
    is_mismatch = is_mismatch || (applies && is_of_rounds(op) && mst_round_replica_differs(holding, op));
    answer_op(follower, message, holding->replication, is_mismatch);
    if (applies && !is_mismatch)
        apply(holding, bucket, op, follower->floats, follower->mean);
}

static void on_op(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct follower *follower = arg;
    struct mst_arena arena;
    struct mst_msg_op op;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_op_decode(message->meta, &arena, &op, &err);
    if (status == MST_OK)
        take_op(follower, message, &op);
    else
        mst_conn_reply_error(conn, message, status, "%s", err.text);
    mst_arena_fini(&arena);
    drop_mean(follower);
}

// ---- sweeps ----

static void answer_sweep(const struct follower *follower, const struct mst_message *message,
                         const struct replication *replication)
{
    const struct mst_epoch *stored = &replication->replica.stored.epoch;
    struct mst_msg_sweep_reply reply = {stored->term, stored->n, mst_replica_has(&replication->replica)};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    mst_status status = mst_msg_sweep_reply_encode(&reply, &meta);
    MST_ASSERT(status == MST_OK); // a few numbers
    mst_conn_reply(follower->conn, message, mst_buf_view(&meta), NULL);
    mst_buf_fini(&meta);
}

static mst_status check_sweep(const struct mst_msg_sweep *sweep, struct mst_error *err)
{
    MST_TRY(mst_worker_fences_check(sweep->fenced, sweep->n_fenced, err));
    return mst_worker_rows_check(sweep->rows, sweep->n_rows, err);
}

static void drop_room(struct follower *follower)
{
    if (follower->sweeping)
        mst_bucket_content_fini(follower->sweeping, &follower->content);
    follower->sweeping = NULL;
    drop_mean(follower);
}

static bool take_room(struct follower *follower, const struct mst_holding *holding, struct mst_bucket *bucket,
                      bool has_aggregate, struct mst_sink *sink)
{
    drop_room(follower);
    if (has_aggregate && !take_mean(follower, holding, bucket->id))
        return false;
    if (mst_bucket_content_new(bucket, &follower->content) != MST_OK)
        return false;
    follower->sweeping = bucket;
    follower->parts[0] = (struct iovec){follower->content.floats, mst_bucket_bytes(bucket)};
    for (size_t s = 0; s < bucket->n_slots; s++)
        follower->parts[1 + s] = (struct iovec){follower->content.slots.slots[s], bucket->n_trained * sizeof(float)};
    *sink = (struct mst_sink){follower->parts, 1 + bucket->n_slots};
    if (has_aggregate)
        follower->parts[sink->n_parts++] = (struct iovec){follower->mean->floats, mst_bucket_bytes(bucket)};
    return true;
}

static enum mst_body_verdict on_sweep_head(void *arg, struct mst_conn *conn, const struct mst_message *message,
                                           struct mst_sink *sink)
{
    struct follower *follower = arg;
    struct mst_arena arena;
    struct mst_msg_sweep sweep;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_sweep_decode(message->meta, &arena, &sweep, &err);
    struct mst_holding *holding = status == MST_OK ? find_holding(follower->thread, sweep.group, sweep.thread) : NULL;
    size_t position = holding ? mst_holding_position(holding, sweep.bucket) : 0;
    enum mst_body_verdict verdict = MST_BODY_DRAIN;
    if (status != MST_OK) {
        mst_conn_reply_error(conn, message, status, "%s", err.text);
    } else if (!holding || position == holding->n_buckets) {
        refuse(follower, message, holding);
    } else {
        struct mst_bucket *bucket = holding->buckets[position];
        size_t n_bytes = (sweep.has_aggregate ? 2 : 1) * mst_bucket_bytes(bucket) + mst_bucket_slot_bytes(bucket);
        if (message->body_bytes != n_bytes)
            mst_conn_reply_error(conn, message, MST_INVALID_ARGUMENT, "bucket %u came with %llu bytes, it has %zu",
                                 bucket->id, (unsigned long long)message->body_bytes, n_bytes);
        else if (take_room(follower, holding, bucket, sweep.has_aggregate, sink))
            verdict = MST_BODY_TAKE;
        else
            mst_conn_reply_error(conn, message, MST_RESOURCE_EXHAUSTED, "no memory for bucket %u", bucket->id);
    }
    mst_arena_fini(&arena);
    return verdict;
}

// What is here becomes what came.
static bool replace(struct mst_bucket *bucket, const struct mst_msg_sweep *sweep, struct mst_bucket_content *content)
{
    content->n_updates = sweep->n_updates;
    content->counter = sweep->counter;
    if (!mst_bucket_replace(bucket, content))
        return false;
    for (size_t w = 0; w < sweep->n_fenced; w++)
        if (sweep->fenced[w])
            mst_client_table_fence(&bucket->clients, (uint32_t)w, sweep->fenced[w]);
    for (size_t i = 0; i < sweep->n_rows; i++) {
        const struct mst_msg_client_row *from = &sweep->rows[i];
        struct mst_client_row row = {from->number, from->step,       from->lease,
                                     from->offset, sweep->n_updates, from->is_restored};
        mst_client_table_record(&bucket->clients, from->worker, &row);
    }
    return true;
}

static void take_sweep(struct follower *follower, const struct mst_message *message, const struct mst_msg_sweep *sweep)
{
    struct mst_holding *holding = find_holding(follower->thread, sweep->group, sweep->thread);
    size_t position = holding ? mst_holding_position(holding, sweep->bucket) : 0;
    if (!holding || position == holding->n_buckets || follower->sweeping != holding->buckets[position]) {
        refuse(follower, message, holding);
        return;
    }
    struct mst_error err;
    mst_status status = mst_round_replica_check_sweep(holding, sweep, &err);
    if (status != MST_OK) {
        mst_conn_reply_error(follower->conn, message, status, "%s", err.text);
        return;
    }
    struct mst_replica *replica = &holding->replication->replica;
    struct mst_replica_call call = call_of(follower, sweep->term, sweep->n, sweep->seq);
    call.bucket = position;
    call.is_first = sweep->is_first;
    bool applies = mst_replica_check_sweep(replica, &call) == MST_FOLLOW_APPLY;
    if (applies && !replace(follower->sweeping, sweep, &follower->content)) {
        mst_conn_reply_error(follower->conn, message, MST_UNAVAILABLE, "bucket %u: every buffer is held here",
                             sweep->bucket);
        return;
    }
    if (applies)
        mst_round_replica_swept(holding, sweep, follower->mean);
    if (mst_replica_take_sweep(replica, &call, now_ms()) == MST_FOLLOW_REFUSED)
        refuse(follower, message, holding);
    else
        answer_sweep(follower, message, holding->replication);
    mst_replication_progress(holding->replication); // it may be whole now
}

static void on_sweep(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct follower *follower = arg;
    struct mst_arena arena;
    struct mst_msg_sweep sweep;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_sweep_decode(message->meta, &arena, &sweep, &err);
    if (status == MST_OK)
        status = check_sweep(&sweep, &err);
    if (status == MST_OK)
        take_sweep(follower, message, &sweep);
    else
        mst_conn_reply_error(conn, message, status, "%s", err.text);
    mst_arena_fini(&arena);
    drop_room(follower);
}

// ---- leases ----

static void take_grant(struct follower *follower, const struct mst_message *message, const struct mst_msg_grant *grant)
{
    struct mst_holding *holding = find_holding(follower->thread, grant->group, grant->thread);
    if (!holding) {
        refuse(follower, message, NULL);
        return;
    }
    struct mst_replica *replica = &holding->replication->replica;
    struct mst_replica_call call = call_of(follower, grant->term, grant->n, 0);
    bool is_granted =
        grant->is_release ? mst_replica_take_release(replica, &call) : mst_replica_ask(replica, &call, now_ms());
    struct mst_msg_grant_reply reply = {.term = replica->stored.epoch.term,
                                        .n = replica->stored.epoch.n,
                                        .seq = mst_replica_has_all(replica),
                                        .is_granted = is_granted};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    mst_status status = mst_msg_grant_reply_encode(&reply, &meta);
    MST_ASSERT(status == MST_OK); // a few numbers
    mst_conn_reply(follower->conn, message, mst_buf_view(&meta), NULL);
    mst_buf_fini(&meta);
    if (grant->is_release)
        mst_replication_look_again(holding->replication);
}

static void on_grant(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct mst_arena arena;
    struct mst_msg_grant grant;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_grant_decode(message->meta, &arena, &grant, &err);
    mst_arena_fini(&arena); // it is numbers
    if (status == MST_OK)
        take_grant(arg, message, &grant);
    else
        mst_conn_reply_error(conn, message, status, "%s", err.text);
}

// ---- is it gone? ----

// One that is in no list any more.
static void free_watch(struct death_watch *watch)
{
    mst_probe_free(watch->probe);
    mst_timer_fini(&watch->again);
    free(watch);
}

static void end_watch(struct death_watch *watch)
{
    struct death_watch **at = &watch->thread->replicating->watches;
    while (*at != watch)
        at = &(*at)->next;
    *at = watch->next;
    free_watch(watch);
}

// Another connection of the same process lives: then that one is.
static bool is_connected(const struct death_watch *watch)
{
    for (const struct follower *follower = watch->thread->replicating->followers; follower; follower = follower->next)
        if (follower->ps == watch->who.ps && follower->incarnation == watch->who.incarnation)
            return true;
    return false;
}

static void on_gone(struct death_watch *watch, const char *proof)
{
    MST_LOG(INFO, "ps", "parameter server gone", "ps=%u note=\"its connection ended and %s\"", watch->who.ps, proof);
    for (struct mst_holding *holding = watch->thread->holdings; holding; holding = holding->next)
        if (holding->replication) {
            mst_replica_gone(&holding->replication->replica, &watch->who);
            mst_replication_look_again(holding->replication);
        }
}

static void on_probed(void *arg, enum mst_probe_result result)
{
    struct death_watch *watch = arg;
    mst_probe_free(watch->probe);
    watch->probe = NULL;
    if (is_connected(watch) || now_ms() >= watch->until_ms) {
        end_watch(watch);
    } else if (result == MST_PROBE_REFUSED) {
        on_gone(watch, "its address refuses new ones");
        end_watch(watch);
    } else {
        mst_timer_start_once(&watch->again, PROBE_AGAIN_MS);
    }
}

// A port that a parent keeps (muster local) refuses nobody; but where another process answers, the one before is gone.
void mst_following_met(struct replicating *replicating, uint32_t ps, uint64_t incarnation, const struct mst_conn *conn)
{
    struct mst_socket_address address;
    if (!conn || !mst_conn_peer_address(conn, &address))
        return;
    for (struct death_watch *watch = replicating->watches, *next; watch; watch = next) {
        next = watch->next;
        if (watch->who.ps != ps || watch->who.incarnation == incarnation ||
            !mst_socket_address_is_same(&watch->address, &address))
            continue;
        on_gone(watch, "another process answers at its address");
        end_watch(watch);
    }
}

bool mst_following_watches(const struct replicating *replicating, uint32_t ps)
{
    const struct death_watch *watch = replicating->watches;
    while (watch && watch->who.ps != ps)
        watch = watch->next;
    return watch != NULL;
}

static void probe(void *arg)
{
    struct death_watch *watch = arg;
    if (now_ms() >= watch->until_ms)
        end_watch(watch);
    else if (mst_probe_new(watch->thread->loop, &watch->address, on_probed, watch, &watch->probe) != MST_OK)
        mst_timer_start_once(&watch->again, PROBE_AGAIN_MS);
}

// Leases that were granted to it run that long; after that nothing hangs on the answer.
static void watch_for_death(const struct follower *follower)
{
    struct replicating *replicating = follower->thread->replicating;
    if (!follower->has_address)
        return;
    struct death_watch *watch = mst_alloc(sizeof *watch);
    *watch = (struct death_watch){.next = replicating->watches,
                                  .thread = follower->thread,
                                  .who = {follower->ps, follower->incarnation},
                                  .address = follower->address,
                                  .until_ms = now_ms() + replicating->config.lease_ms};
    replicating->watches = watch;
    mst_timer_init(&watch->again, follower->thread->loop, probe, watch);
    probe(watch);
}

// ---- connections ----

static void free_follower(struct follower *follower)
{
    drop_room(follower);
    free(follower->floats);
    free(follower);
}

static void on_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text)
{
    struct follower *follower = arg;
    (void)conn;
    MST_LOG(DEBUG, "ps", "primary disconnected", "ps=%u status=%s reason=\"%s\"", follower->ps, mst_status_name(status),
            text);
    for (struct follower **at = &follower->thread->replicating->followers; *at; at = &(*at)->next)
        if (*at == follower) {
            *at = follower->next;
            break;
        }
    if (status == MST_UNAVAILABLE)
        watch_for_death(follower);
    free_follower(follower);
}

static const struct mst_handler handlers[] = {
    {MST_METHOD_OP, on_op_head, on_op},
    {MST_METHOD_SWEEP, on_sweep_head, on_sweep},
    {MST_METHOD_GRANT, NULL, on_grant},
};
static const struct mst_service service = {handlers, sizeof handlers / sizeof handlers[0], on_closed};

// The host that it came from, and the port that it listens on.
static bool find_address(const struct mst_replicating_config *config, uint32_t ps, const struct mst_conn *conn,
                         struct mst_socket_address *out)
{
    char host[256];
    uint16_t port;
    if (!mst_conn_peer_address(conn, out) ||
        mst_address_split(config->addresses[ps], host, sizeof host, &port, NULL) != MST_OK)
        return false;
    mst_socket_address_set_port(out, port);
    return true;
}

void mst_data_thread_adopt_ps(struct mst_data_thread *thread, struct mst_conn *conn, uint32_t ps, uint64_t incarnation)
{
    const struct mst_replicating_config *config = thread->replicating ? &thread->replicating->config : NULL;
    if (!config || ps >= config->n_ps) {
        mst_conn_close(conn);
        return;
    }
    struct follower *follower = mst_alloc(sizeof *follower);
    *follower = (struct follower){
        .next = thread->replicating->followers, .thread = thread, .conn = conn, .ps = ps, .incarnation = incarnation};
    thread->replicating->followers = follower;
    mst_conn_attach(conn, thread->loop);
    follower->has_address = find_address(config, ps, conn, &follower->address);
    mst_conn_set_user_timeout(conn, config->lease_ms);
    mst_conn_set_send_timeout(conn, config->lease_ms);
    mst_service_attach(&service, follower, conn);
}

void mst_following_free(struct replicating *replicating)
{
    while (replicating->watches) {
        struct death_watch *watch = replicating->watches;
        replicating->watches = watch->next;
        free_watch(watch);
    }
    while (replicating->followers) {
        struct follower *follower = replicating->followers;
        replicating->followers = follower->next;
        mst_conn_close(follower->conn);
        free_follower(follower);
    }
}
