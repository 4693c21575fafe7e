#include "ps/data_thread_private.h"
#include "ps/replication_private.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "wire/worker_numbers.h"

#include <stdlib.h>
#include <string.h>

static struct data_thread_metrics make_metrics(uint32_t index)
{
    char *labels = mst_text("thread=\"%u\"", index);
    struct data_thread_metrics metrics = {
        mst_metric_counter("muster_ps_updates_total", "Pushes applied, a bucket each", labels),
        mst_metric_counter("muster_ps_pulls_total", "Pulls answered, a bucket each", labels),
        mst_metric_counter("muster_ps_repeats_total", "Pushes that came again and were answered, not applied", labels),
        mst_metric_counter("muster_ps_refused_total", "Pushes and pulls refused", labels),
        mst_metric_counter("muster_ps_parked_total", "Times a push waited for a staging buffer", labels),
    };
    free(labels);
    return metrics;
}

struct mst_data_thread *mst_data_thread_new(struct mst_loop *loop, uint32_t index, uint64_t send_timeout_ms)
{
    struct mst_data_thread *thread = mst_alloc(sizeof *thread);
    *thread = (struct mst_data_thread){
        .loop = loop, .index = index, .send_timeout_ms = send_timeout_ms, .metrics = make_metrics(index)};
    return thread;
}

void mst_data_thread_add_body_crc(struct mst_data_thread *thread)
{
    thread->adds_body_crc = true;
}

static void free_pushes(struct pending_push *pushes)
{
    while (pushes) {
        struct pending_push *next = pushes->next;
        free(pushes);
        pushes = next;
    }
}

void mst_data_thread_free(struct mst_data_thread *thread)
{
    if (!thread)
        return;
    while (thread->clients) {
        struct client *client = thread->clients;
        thread->clients = client->next;
        mst_conn_close(client->conn); // releases of replies run here, so buckets must still be there
        if (client->reading) {
            free(client->reading->staging->floats);
            free(client->reading->staging);
            free(client->reading);
        }
        free(client);
    }
    for (struct pending_push *push = thread->waiting; push; push = push->next) {
        free(push->staging->floats);
        free(push->staging);
    }
    free_pushes(thread->waiting);
    mst_replicating_stop(thread->replicating);
    while (thread->free_staging) {
        struct staging *staging = thread->free_staging;
        thread->free_staging = staging->next;
        free(staging->floats);
        free(staging);
    }
    while (thread->holdings) {
        struct mst_holding *holding = thread->holdings;
        thread->holdings = holding->next;
        mst_holding_free(holding);
    }
    free_pushes(thread->free_pushes);
    mst_replicating_free(thread->replicating);
    free(thread);
}

struct mst_bucket *mst_data_thread_find(const struct mst_data_thread *thread, uint32_t id,
                                        struct mst_holding **holding_out)
{
    for (struct mst_holding *holding = thread->holdings; holding; holding = holding->next) {
        struct mst_bucket *bucket = mst_holding_find(holding, id);
        *holding_out = holding;
        if (bucket)
            return bucket;
    }
    *holding_out = NULL;
    return NULL;
}

// ---- answering ----

static void release_version(void *arg)
{
    mst_version_unref(arg);
}

// Bytes that a reply owns.
struct copy {
    struct iovec part;
    float floats[];
};

// An evaluator gets a copy: it may read as slowly as it likes, and holds no version that the next push could need.
static void send_copy(struct mst_conn *conn, const struct mst_message *message, struct mst_buf *meta,
                      const struct mst_bucket *bucket, const float *floats)
{
    size_t n_bytes = mst_bucket_bytes(bucket);
    void *memory = NULL;
    if (mst_try_alloc(sizeof(struct copy) + n_bytes, &memory) == MST_OK) {
        struct copy *copy = memory;
        memcpy(copy->floats, floats, n_bytes);
        copy->part = (struct iovec){copy->floats, n_bytes};
        struct mst_body body = {.parts = &copy->part, .n_parts = 1, .release = free, .arg = copy};
        mst_conn_reply(conn, message, mst_buf_view(meta), &body);
    } else {
        mst_conn_reply_error(conn, message, MST_RESOURCE_EXHAUSTED,
                             "no memory for a copy of the %zu bytes of bucket %u", n_bytes, bucket->id);
    }
    mst_buf_fini(meta);
}

void mst_data_thread_send(const struct client *client, const struct mst_message *call, struct mst_buf *meta,
                          struct mst_version *version)
{
    if (client->worker == MST_NO_WORKER) {
        send_copy(client->conn, call, meta, version->bucket, version->floats);
        mst_version_unref(version);
        return;
    }
    struct mst_body body = {&version->part, 1, release_version, version};
    mst_conn_reply(client->conn, call, mst_buf_view(meta), &body);
    mst_buf_fini(meta);
}

// Takes the reference to version.
static void answer_push(const struct pending_push *push, struct mst_version *version)
{
    const struct mst_data_thread *thread = push->client->thread;
    struct mst_msg_push_reply reply = {.bucket = push->bucket->id,
                                       .version = version->counter,
                                       .map_term = thread->term,
                                       .map_epoch = thread->epoch,
                                       .iterations = push->bucket->n_updates,
                                       .staleness = push->staleness,
                                       .is_repeat = push->is_repeat,
                                       .is_finite = push->is_finite};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    mst_status status = mst_msg_push_reply_encode(&reply, &meta);
    MST_ASSERT(status == MST_OK); // a few numbers
    struct mst_message call = {.method = push->method, .call = push->call};
    mst_data_thread_send(push->client, &call, &meta, version);
}

void mst_data_thread_answer_push(struct pending_push *push)
{
    answer_push(push, mst_bucket_pull(push->bucket, push->push.worker, push->push.number));
    mst_data_thread_give_push(push->client->thread, push);
}

static void count_push(struct mst_data_thread *thread, const struct mst_bucket *bucket,
                       const struct mst_push_result *result)
{
    bool is_repeat = result->verdict == MST_PUSH_REPEAT;
    thread->counts.n_updates += !is_repeat;
    thread->counts.n_repeats += is_repeat;
    mst_metric_add(is_repeat ? thread->metrics.repeats : thread->metrics.updates, 1);
    mst_bucket_count(bucket, result);
}

void mst_data_thread_count_refused(struct mst_data_thread *thread)
{
    thread->counts.n_refused++;
    mst_metric_add(thread->metrics.refused, 1);
}

static void refuse(struct mst_data_thread *thread, struct mst_conn *conn, const struct mst_message *call,
                   enum mst_push_verdict verdict, uint32_t worker)
{
    mst_data_thread_count_refused(thread);
    // A step before the last was answered already; anything else means that this incarnation is out.
    mst_status status = verdict == MST_PUSH_REFUSED_STEP ? MST_ALREADY_EXISTS : MST_FAILED_PRECONDITION;
    mst_conn_reply_error(conn, call, status, "push of worker-%u refused: %s", worker, mst_push_verdict_text(verdict));
}

static bool refuse_unless_primary(struct mst_data_thread *thread, const struct pending_push *push)
{
    struct mst_error err;
    struct mst_message call = {.method = push->method, .call = push->call};
    if (mst_forwarding_admits(push->holding->replication) != MST_FORWARD_REFUSED)
        return false;
    mst_data_thread_count_refused(thread);
    mst_status status = mst_forwarding_refuse(push->holding->replication, push->bucket->id, &err);
    mst_conn_reply_error(push->client->conn, &call, status, "%s", err.text);
    return true;
}

// Applies and answers, or has it answered when the followers have it, and takes the push; false if all versions are
// held, or this may not apply now, and it has to wait.
static bool try_apply(struct mst_data_thread *thread, struct pending_push *push)
{
    if (push->holding->replication && mst_forwarding_admits(push->holding->replication) != MST_FORWARD_OK) {
        if (!refuse_unless_primary(thread, push))
            return false;
        mst_data_thread_give_push(thread, push);
        return true;
    }
    struct mst_gradients gradients = {.staged = push->staging ? push->staging->floats : NULL};
    struct mst_push_result result;
    mst_bucket_push(push->bucket, &push->push, &gradients, &result);
    if (result.outcome == MST_PUSH_LATER)
        return false;
    if (result.outcome == MST_PUSH_DONE) {
        count_push(thread, push->bucket, &result);
        push->staleness = result.staleness;
        push->is_repeat = result.verdict == MST_PUSH_REPEAT;
        push->is_finite = result.is_finite;
        if (push->holding->replication) {
            mst_forwarding_pushed(push, &result);
            return true;
        }
        answer_push(push, result.version);
    } else {
        struct mst_message call = {.method = push->method, .call = push->call};
        refuse(thread, push->client->conn, &call, result.verdict, push->push.worker);
    }
    mst_data_thread_give_push(thread, push);
    return true;
}

static void apply_waiting(void *arg)
{
    struct mst_data_thread *thread = arg;
    struct pending_push **at = &thread->waiting;
    while (*at) {
        struct pending_push *push = *at;
        struct pending_push *next = push->next;
        if (try_apply(thread, push))
            *at = next;
        else
            at = &push->next;
    }
    if (thread->on_room)
        thread->on_room(thread->on_room_arg);
}

// A version became free: from the loop, since this may run from within a send.
static void on_version_free(void *arg, struct mst_bucket *bucket)
{
    const struct mst_holding *holding = arg;
    struct mst_data_thread *thread = holding->thread;
    (void)bucket;
    if (thread->waiting || thread->on_room)
        mst_loop_post(thread->loop, apply_waiting, thread);
    if (holding->serving)
        mst_round_serve_version_free(holding->serving);
}

// ---- cuts ----

void mst_data_thread_resume(const struct mst_data_thread *thread)
{
    for (struct client *client = thread->clients; client; client = client->next)
        mst_conn_resume(client->conn);
}

// What the gate held is looked at again: whole pushes here, and those whose body was not read.
static void try_held(void *arg)
{
    struct mst_data_thread *thread = arg;
    mst_data_thread_resume(thread);
    apply_waiting(thread);
    for (struct mst_holding *holding = thread->holdings; holding; holding = holding->next)
        if (holding->serving && holding->replication)
            mst_replication_progress(holding->replication);
}

void mst_data_thread_try_held_later(struct mst_data_thread *thread)
{
    mst_loop_post(thread->loop, try_held, thread);
}

void mst_data_thread_on_room(struct mst_data_thread *thread, void (*fn)(void *arg), void *arg)
{
    thread->on_room = fn;
    thread->on_room_arg = arg;
}

// A push that a cut holds back is not read: the buffers are for those that the cut waits for.
static bool is_held(const struct mst_bucket *bucket, const struct mst_msg_push *meta)
{
    return bucket->gate && !mst_cut_gate_admits(bucket->gate, meta->worker, meta->number, meta->step);
}

// ---- calls ----

static mst_status check_push(const struct client *client, const struct pending_push *found,
                             const struct mst_msg_push *meta, const struct mst_message *message, struct mst_error *err)
{
    const struct mst_data_thread *thread = client->thread;
    const struct mst_bucket *bucket = found->bucket;
    if (!bucket)
        return mst_fail(err, MST_NOT_FOUND, "bucket %u is not on this data thread", meta->bucket);
    if (meta->map_term != thread->term || meta->map_epoch != thread->epoch)
        return mst_fail(err, MST_ABORTED, "bucket %u: map epoch %llu.%llu was pushed to, %llu.%llu is served",
                        meta->bucket, (unsigned long long)meta->map_term, (unsigned long long)meta->map_epoch,
                        (unsigned long long)thread->term, (unsigned long long)thread->epoch);
    if (bucket->is_frozen)
        return mst_fail(err, MST_INVALID_ARGUMENT, "bucket %u is frozen, and worker-%u pushed to it", meta->bucket,
                        meta->worker);
    if (client->worker == MST_NO_WORKER)
        return mst_fail(err, MST_PERMISSION_DENIED, "an evaluator pulls, it pushes nothing");
    if (meta->worker != client->worker)
        return mst_fail(err, MST_INVALID_ARGUMENT, "worker-%u pushed as worker-%u", client->worker, meta->worker);
    MST_TRY(mst_worker_number_check(meta->worker, meta->number, err));
    if (message->body_bytes != mst_bucket_bytes(bucket))
        return mst_fail(err, MST_INVALID_ARGUMENT, "bucket %u: %llu bytes were pushed, it has %zu", meta->bucket,
                        (unsigned long long)message->body_bytes, mst_bucket_bytes(bucket));
    const struct replication *replication = found->holding->replication;
    if (replication && mst_forwarding_admits(replication) == MST_FORWARD_REFUSED)
        return mst_forwarding_refuse(replication, meta->bucket, err);
    return MST_OK;
}

static enum mst_body_verdict refuse_push(struct mst_data_thread *thread, struct mst_conn *conn,
                                         const struct mst_message *message, mst_status status, const char *text)
{
    mst_data_thread_count_refused(thread);
    mst_conn_reply_error(conn, message, status, "%s", text);
    return MST_BODY_DRAIN;
}

static enum mst_body_verdict stage_push(struct client *client, const struct pending_push *found,
                                        const struct mst_message *message, const struct mst_msg_push *meta,
                                        struct mst_sink *sink)
{
    struct mst_data_thread *thread = client->thread;
    struct replication *replication = found->holding->replication;
    client->is_held = is_held(found->bucket, meta) || (replication && !mst_forwarding_has_room(replication));
    struct staging *staging = client->is_held ? NULL : mst_data_thread_take_staging(thread);
    if (!staging) {
        if (!client->is_held)
            mst_metric_add(thread->metrics.parked, 1);
        return MST_BODY_PARK;
    }
    struct pending_push *push = mst_data_thread_take_push(thread);
    *push = (struct pending_push){.client = client, .method = message->method, .call = message->call};
    push->bucket = found->bucket;
    push->holding = found->holding;
    push->push = (struct mst_bucket_push){meta->worker, meta->number, meta->step, meta->lease, meta->offset};
    push->staging = staging;
    push->part = (struct iovec){staging->floats, mst_bucket_bytes(push->bucket)};
    client->reading = push;
    *sink = (struct mst_sink){&push->part, 1};
    return MST_BODY_TAKE;
}

static enum mst_body_verdict on_push_head(void *arg, struct mst_conn *conn, const struct mst_message *message,
                                          struct mst_sink *sink)
{
    struct client *client = arg;
    struct mst_data_thread *thread = client->thread;
    struct mst_msg_push meta;
    struct mst_error err;
    struct mst_arena arena;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_push_decode(message->meta, &arena, &meta, &err);
    struct pending_push found = {0};
    if (status == MST_OK) {
        found.bucket = mst_data_thread_find(thread, meta.bucket, &found.holding);
        status = check_push(client, &found, &meta, message, &err);
    }
    enum mst_body_verdict verdict;
    if (status != MST_OK)
        verdict = refuse_push(thread, conn, message, status, err.text);
    else if (found.holding->serving)
        verdict = mst_round_serve_push_head(client, found.holding->serving, message, &meta, sink);
    else
        verdict = stage_push(client, &found, message, &meta, sink);
    mst_arena_fini(&arena);
    return verdict;
}

static void on_push(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct client *client = arg;
    struct pending_push *push = client->reading;
    if (client->place) {
        mst_round_serve_push(client, message);
        return;
    }
    if (!push) {
        mst_conn_reply_error(conn, message, MST_INVALID_ARGUMENT, "a push without a gradient");
        return;
    }
    client->reading = NULL;
    if (try_apply(client->thread, push))
        return;
    struct pending_push **end = &client->thread->waiting;
    while (*end)
        end = &(*end)->next;
    *end = push;
}

static void count_pull(struct mst_data_thread *thread)
{
    thread->counts.n_pulls++;
    mst_metric_add(thread->metrics.pulls, 1);
}

// From what is kept of a cut.
static void pull_cut(struct client *client, const struct mst_message *message, struct mst_bucket *bucket, uint64_t cut)
{
    const struct mst_snapshot *snapshot = mst_snapshot_of(&bucket->snapshots, cut);
    if (!snapshot) {
        mst_data_thread_count_refused(client->thread);
        mst_conn_reply_error(client->conn, message, MST_ABORTED, "bucket %u is not kept as it was at cut %llu",
                             bucket->id, (unsigned long long)cut);
        return;
    }
    struct mst_msg_pull_reply reply = {.bucket = bucket->id,
                                       .version = snapshot->counter,
                                       .map_term = client->thread->term,
                                       .map_epoch = client->thread->epoch,
                                       .iterations = snapshot->n_updates};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    mst_status status = mst_msg_pull_reply_encode(&reply, &meta);
    MST_ASSERT(status == MST_OK); // a few numbers
    count_pull(client->thread);
    send_copy(client->conn, message, &meta, bucket, snapshot->version->floats);
}

static void answer_pull(const struct client *client, const struct mst_message *message, struct mst_bucket *bucket,
                        uint64_t number)
{
    struct mst_data_thread *thread = client->thread;
    struct mst_version *version = mst_bucket_pull(bucket, client->worker, number);
    struct mst_msg_pull_reply reply = {.bucket = bucket->id,
                                       .version = version->counter,
                                       .map_term = thread->term,
                                       .map_epoch = thread->epoch,
                                       .iterations = bucket->n_updates};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    mst_status status = mst_msg_pull_reply_encode(&reply, &meta);
    MST_ASSERT(status == MST_OK); // a few numbers
    count_pull(thread);
    mst_data_thread_send(client, message, &meta, version);
}

void mst_data_thread_answer_pull(struct pending_push *pull)
{
    struct mst_message call = {.method = pull->method, .call = pull->call};
    if (pull->client->worker != MST_NO_WORKER)
        mst_forwarding_pulled(pull);
    answer_pull(pull->client, &call, pull->bucket, pull->push.number);
    mst_data_thread_give_push(pull->client->thread, pull);
}

// With replicas: only a primary with its lease answers.
static void pull_replica(struct client *client, const struct mst_message *message, struct mst_bucket *bucket,
                         uint64_t number, struct replication *replication)
{
    struct mst_data_thread *thread = client->thread;
    struct pending_push *pull = mst_data_thread_take_push(thread);
    struct mst_error err;
    *pull = (struct pending_push){.client = client, .method = message->method, .call = message->call};
    pull->bucket = bucket;
    pull->holding = replication->holding;
    pull->push.number = number;
    switch (mst_forwarding_serves(replication)) {
    case MST_FORWARD_OK:
        mst_data_thread_answer_pull(pull);
        return;
    case MST_FORWARD_LATER:
        mst_forwarding_keep_pull(replication, pull);
        return;
    case MST_FORWARD_REFUSED:
        break;
    }
    mst_status status = mst_forwarding_refuse(replication, bucket->id, &err);
    mst_data_thread_count_refused(thread);
    mst_conn_reply_error(client->conn, message, status, "%s", err.text);
    mst_data_thread_give_push(thread, pull);
}

// What an evaluator goes by is nothing to us.
static mst_status check_pull(const struct client *client, const struct mst_msg_pull *pull, struct mst_error *err)
{
    if (client->worker == MST_NO_WORKER)
        return MST_OK;
    if (pull->worker != client->worker)
        return mst_fail(err, MST_INVALID_ARGUMENT, "worker-%u pulled as worker-%u", client->worker, pull->worker);
    return mst_worker_number_check(pull->worker, pull->number, err);
}

static void on_pull(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct client *client = arg;
    struct mst_data_thread *thread = client->thread;
    struct mst_arena arena;
    struct mst_msg_pull pull;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_pull_decode(message->meta, &arena, &pull, &err);
    mst_arena_fini(&arena);
    struct mst_holding *holding = NULL;
    struct mst_bucket *bucket = status == MST_OK ? mst_data_thread_find(thread, pull.bucket, &holding) : NULL;
    if (status == MST_OK)
        status = bucket ? check_pull(client, &pull, &err)
                        : mst_fail(&err, MST_NOT_FOUND, "bucket %u is not on this data thread", pull.bucket);
    if (status != MST_OK || !bucket) {
        mst_data_thread_count_refused(thread);
        mst_conn_reply_error(conn, message, status, "%s", err.text);
        return;
    }
    if (pull.cut && !bucket->is_frozen)
        pull_cut(client, message, bucket, pull.cut);
    else if (holding->serving)
        mst_round_serve_pull(client, holding->serving, message, &pull);
    else if (holding->replication)
        pull_replica(client, message, bucket, pull.number, holding->replication);
    else
        answer_pull(client, message, bucket, pull.number);
}

// What a lost worker had sent wholly or in part and is not applied is dropped: it was not acknowledged, so it comes
// again.
static void on_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text)
{
    struct client *client = arg;
    struct mst_data_thread *thread = client->thread;
    MST_LOG(DEBUG, "ps", "data connection closed", "worker=%u number=%llu status=%s reason=\"%s\"", client->worker,
            (unsigned long long)client->number, mst_status_name(status), text);
    (void)conn;
    for (struct mst_holding *holding = thread->holdings; holding; holding = holding->next) {
        if (holding->serving)
            mst_round_serve_closed(client, holding->serving);
        if (holding->replication)
            mst_forwarding_closed(holding->replication, client);
    }
    if (client->reading)
        mst_data_thread_give_push(thread, client->reading);
    for (struct pending_push **at = &thread->waiting; *at;) {
        struct pending_push *push = *at;
        if (push->client != client) {
            at = &push->next;
            continue;
        }
        *at = push->next;
        mst_data_thread_give_push(thread, push);
    }
    for (struct client **at = &thread->clients; *at; at = &(*at)->next)
        if (*at == client) {
            *at = client->next;
            break;
        }
    free(client);
}

static const struct mst_handler handlers[] = {
    {MST_METHOD_PUSH, on_push_head, on_push},
    {MST_METHOD_PULL, NULL, on_pull},
};
static const struct mst_service service = {handlers, sizeof handlers / sizeof handlers[0], on_closed};

void mst_data_thread_adopt(struct mst_data_thread *thread, struct mst_conn *conn, uint32_t worker, uint64_t number)
{
    struct client *client = mst_alloc(sizeof *client);
    *client = (struct client){.next = thread->clients, .thread = thread, .conn = conn, .worker = worker};
    client->number = number;
    thread->clients = client;
    mst_conn_attach(conn, thread->loop);
    mst_conn_set_send_timeout(conn, thread->send_timeout_ms);
    if (thread->adds_body_crc)
        mst_conn_add_body_crc(conn);
    mst_service_attach(&service, client, conn);
}

static struct mst_bucket_metrics make_bucket_metrics(uint32_t thread, const struct mst_bucket *bucket)
{
    char *labels = mst_text("thread=\"%u\",bucket=\"%u\"", thread, bucket->id);
    struct mst_bucket_metrics metrics = {
        .version = mst_metric_gauge("muster_ps_bucket_version", "Version that is served", labels),
        .pushes = mst_metric_counter("muster_ps_bucket_pushes_total", "Pushes applied", labels),
        .staleness = mst_metric_counter("muster_ps_bucket_staleness_total",
                                        "Updates by others since the pushing worker was last answered, summed", labels),
    };
    mst_metric_set(metrics.version, (int64_t)bucket->current->counter);
    mst_metric_set(mst_metric_gauge("muster_ps_bucket_bytes", "Bytes of parameters", labels),
                   (int64_t)mst_bucket_bytes(bucket));
    free(labels);
    return metrics;
}

void mst_data_thread_serve(struct mst_data_thread *thread, struct mst_holding *holding, uint64_t term, uint64_t epoch)
{
    MST_ASSERT(!holding->thread);
    holding->thread = thread;
    holding->next = thread->holdings;
    thread->holdings = holding;
    if (thread->replicating && holding->n_buckets > 0)
        mst_replication_new(holding);
    thread->term = term;
    thread->epoch = epoch;
    for (size_t i = 0; i < holding->n_buckets; i++) {
        struct mst_bucket *bucket = holding->buckets[i];
        bucket->on_free = on_version_free;
        bucket->on_free_arg = holding;
        bucket->metrics = make_bucket_metrics(thread->index, bucket);
        if (!bucket->is_frozen && thread->staging_bytes < mst_bucket_bytes(bucket))
            thread->staging_bytes = mst_bucket_bytes(bucket);
    }
    size_t n = thread->staging_bytes ? MST_STAGING_MAX_BYTES / thread->staging_bytes : 0;
    thread->n_staging_max = n < 2 ? 2 : n > MST_STAGING_MAX ? MST_STAGING_MAX : n;
}

struct mst_holding *mst_data_thread_holdings(const struct mst_data_thread *thread)
{
    return thread->holdings;
}

struct mst_data_thread_counts mst_data_thread_counts(const struct mst_data_thread *thread)
{
    return thread->counts;
}
