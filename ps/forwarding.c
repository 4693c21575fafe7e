// A primary's side. What was applied is kept, with the very buffer that its gradient was read into, until every
// follower has it; nothing is copied, and a follower's socket is written from that buffer.
//
// Links are of two data threads, not of holdings: what two PSs have to say to each other about many holdings is in one
// order and one connection.
#include "ps/replication_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BACKOFF_MAX_MS = 200,
    SWEEP_OPS_MAX_BYTES = 16 << 20,        // of gradients while something is swept: about a bucket with its slots
    SLOWEST_BYTES_PER_MS = 4096,           // a large bucket may take longer than a lease
    OPS_WINDOW = MST_CLIENT_CALLS_MAX / 2, // calls on a link beyond which operations wait; leases and buckets do not
};

static uint64_t now_ms(void)
{
    return mst_clock_monotonic_ms();
}

// ---- operations that are kept ----

struct op *mst_forwarding_find_op(const struct replication *replication, uint64_t seq)
{
    MST_ASSERT(seq >= replication->first_seq && seq - replication->first_seq < replication->n_ops);
    return replication->ops[seq & (replication->capacity - 1)];
}

static void free_op(struct replicating *replicating, struct op *op)
{
    if (op->staging || op->mean) {
        replicating->op_bytes -= op->part.iov_len;
        mst_metric_set(replicating->metrics.ops_bytes, (int64_t)replicating->op_bytes);
    }
    mst_round_mean_unref(op->mean);
    mst_arena_fini(&op->arena);
    if (op->staging) {
        replicating->thread->n_staging++; // the pool's again
        mst_data_thread_give_staging(replicating->thread, op->staging);
    }
    op->next_free = replicating->free_ops;
    replicating->free_ops = op;
}

static void end_op(struct replicating *replicating, struct op *op)
{
    op->is_over = true;
    if (op->n_sending == 0)
        free_op(replicating, op);
}

// A bucket of a sweep stands in one line with the operations before it: when the line is long, the sweep is slow.
static size_t ops_limit(const struct replicating *replicating)
{
    for (const struct mst_holding *holding = replicating->thread->holdings; holding; holding = holding->next)
        if (holding->replication && mst_replica_is_sweeping(&holding->replication->replica))
            return SWEEP_OPS_MAX_BYTES;
    return MST_OPS_MAX_BYTES;
}

void mst_forwarding_prune(struct replication *replication, uint64_t floor)
{
    while (replication->n_ops > 0 && replication->first_seq <= floor) {
        end_op(replication->replicating, mst_forwarding_find_op(replication, replication->first_seq));
        replication->first_seq++;
        replication->n_ops--;
    }
    struct replicating *replicating = replication->replicating;
    if (replicating->has_parked && replicating->op_bytes < ops_limit(replicating)) {
        replicating->has_parked = false;
        mst_data_thread_try_held_later(replicating->thread);
    }
}

static void grow(struct replication *replication)
{
    size_t capacity = replication->capacity ? 2 * replication->capacity : 16;
    struct op **ops = mst_alloc_array(capacity, sizeof *ops);
    for (size_t i = 0; i < replication->n_ops; i++) {
        uint64_t seq = replication->first_seq + i;
        ops[seq & (capacity - 1)] = replication->ops[seq & (replication->capacity - 1)];
    }
    free(replication->ops);
    replication->ops = ops;
    replication->capacity = capacity;
}

// The operation gets the next number. It is kept only while somebody follows.
struct op *mst_forwarding_add_op(struct replication *replication)
{
    uint64_t seq = mst_replica_applied(&replication->replica);
    if (replication->replica.n_peers == 0)
        return NULL;
    if (replication->n_ops == 0)
        replication->first_seq = seq;
    MST_ASSERT(seq == replication->first_seq + replication->n_ops);
    if (replication->n_ops == replication->capacity)
        grow(replication);
    struct replicating *replicating = replication->replicating;
    struct op *op = replicating->free_ops;
    if (op)
        replicating->free_ops = op->next_free;
    else
        op = mst_alloc(sizeof *op);
    *op = (struct op){
        .replicating = replicating,
        .meta = {.group = replication->holding->group, .thread = replication->holding->home_thread, .seq = seq}};
    replication->ops[seq & (replication->capacity - 1)] = op;
    replication->n_ops++;
    return op;
}

void mst_forwarding_give_mean(struct op *op, struct mst_round_mean *mean)
{
    struct replicating *replicating = op->replicating;
    op->mean = mean;
    op->part = (struct iovec){mean->floats, mst_bucket_bytes(mean->place->bucket)};
    replicating->op_bytes += op->part.iov_len;
    mst_metric_set(replicating->metrics.ops_bytes, (int64_t)replicating->op_bytes);
    mst_metric_add(replicating->metrics.ops, 1);
}

bool mst_forwarding_has_room(struct replication *replication)
{
    struct replicating *replicating = replication->replicating;
    if (mst_forwarding_admits(replication) != MST_FORWARD_OK)
        return false; // what is held is looked at again when roles change
    if (replicating->op_bytes >= ops_limit(replicating))
        replicating->has_parked = true;
    return !replicating->has_parked;
}

// ---- what came back ----

static struct sent *take_sent(struct replicating *replicating)
{
    struct sent *sent = replicating->free_sents;
    if (sent) {
        replicating->free_sents = sent->next_free;
        return sent;
    }
    sent = mst_alloc(sizeof *sent);
    sent->next = replicating->all_sents;
    replicating->all_sents = sent;
    return sent;
}

static struct mst_replica_answer answer_to(const struct sent *sent, uint64_t term, uint64_t n, uint64_t seq)
{
    return (struct mst_replica_answer){.from = sent->message.to,
                                       .epoch = {term, n},
                                       .asked_ms = sent->asked_ms,
                                       .asked_seq = sent->message.seq,
                                       .seq = seq,
                                       .bucket = sent->message.bucket};
}

static void note_mismatch(struct replication *replication, const struct sent *sent)
{
    struct mst_holding *holding = replication->holding;
    MST_LOG(ERROR, "ps", "replica differs",
            "group=%u thread=%u follower=%u note=\"its values at the same version are other ones; it is given up and "
            "filled anew\"",
            holding->group, holding->home_thread, sent->message.to.ps);
    mst_metric_add(replication->replicating->metrics.mismatches, 1);
    replication->mismatched = sent->message.to.ps;
    replication->mismatch_epoch = replication->replica.stored.epoch;
}

static mst_status take_op_reply(struct replication *replication, const struct sent *sent, struct mst_bytes meta,
                                struct mst_arena *arena)
{
    struct mst_msg_op_reply reply;
    MST_TRY(mst_msg_op_reply_decode(meta, arena, &reply, NULL));
    struct mst_replica_answer answer = answer_to(sent, reply.term, reply.n, reply.seq);
    mst_replica_heard(&replication->replica, &answer, now_ms());
    if (reply.is_mismatch)
        note_mismatch(replication, sent);
    return MST_OK;
}

static mst_status take_sweep_reply(struct replication *replication, const struct sent *sent, struct mst_bytes meta,
                                   struct mst_arena *arena)
{
    struct mst_msg_sweep_reply reply;
    MST_TRY(mst_msg_sweep_reply_decode(meta, arena, &reply, NULL));
    struct mst_replica_answer answer = answer_to(sent, reply.term, reply.n, reply.seq);
    mst_replica_swept(&replication->replica, &answer, now_ms());
    return MST_OK;
}

static mst_status take_grant_reply(struct replication *replication, const struct sent *sent, struct mst_bytes meta,
                                   struct mst_arena *arena)
{
    struct mst_msg_grant_reply reply;
    MST_TRY(mst_msg_grant_reply_decode(meta, arena, &reply, NULL));
    struct mst_replica_answer answer = answer_to(sent, reply.term, reply.n, reply.seq);
    if (sent->message.kind == MST_REPLICA_RELEASE)
        mst_replica_released(&replication->replica, sent->message.to.ps);
    else if (reply.is_granted)
        mst_replica_granted(&replication->replica, &answer, now_ms());
    return reply.is_granted ? MST_OK : MST_ABORTED;
}

// Operations of any holding may have waited for the window.
static void progress_all(const struct mst_data_thread *thread)
{
    for (struct mst_holding *holding = thread->holdings; holding; holding = holding->next)
        if (holding->replication)
            mst_replication_progress(holding->replication);
}

// What it does not understand it will not understand the next time, and a lease later it is lost.
static void note_refusal(struct replication *replication, const struct sent *sent, mst_status status, const char *text)
{
    const struct mst_epoch *epoch = &replication->replica.stored.epoch;
    replication->refuser = sent->message.to.ps;
    replication->refused_ms = now_ms();
    snprintf(replication->refusal, sizeof replication->refusal, "%s", text);
    bool is_for_good = status == MST_INVALID_ARGUMENT || status == MST_OUT_OF_RANGE || status == MST_UNIMPLEMENTED;
    if (!is_for_good || mst_epoch_is_same(&replication->complained, epoch)) {
        MST_LOG(DEBUG, "ps", "follower refused", "group=%u ps=%u reason=\"%s\"", replication->holding->group,
                sent->message.to.ps, text);
        return;
    }
    replication->complained = *epoch;
    MST_LOG(WARN, "ps", "not understood by follower",
            "group=%u ps=%u reason=\"%s\" note=\"all parameter servers are to run one version of muster\"",
            replication->holding->group, sent->message.to.ps, text);
}

static void on_reply(void *arg, const struct mst_reply *reply)
{
    struct sent *slot = arg;
    struct sent sent = *slot;
    struct replication *replication = sent.replication;
    bool was_full = sent.link->n_calls-- == OPS_WINDOW;
    slot->next_free = replication->replicating->free_sents;
    replication->replicating->free_sents = slot;
    mst_status status = reply->status;
    struct mst_arena arena;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    if (status == MST_OK) {
        struct mst_bytes meta = reply->message->meta;
        switch (sent.message.kind) {
        case MST_REPLICA_OP:
            status = take_op_reply(replication, &sent, meta, &arena);
            break;
        case MST_REPLICA_SWEEP:
            status = take_sweep_reply(replication, &sent, meta, &arena);
            break;
        default:
            status = take_grant_reply(replication, &sent, meta, &arena);
        }
    }
    mst_arena_fini(&arena);
    if (status != MST_OK) {
        note_refusal(replication, &sent, status, reply->text);
        mst_replica_refused(&replication->replica, &sent.message, now_ms());
        mst_replicating_wake(replication->replicating); // when that is sent again
    }
    if (was_full)
        progress_all(replication->replicating->thread);
    else
        mst_replication_progress(replication);
}

// ---- sending ----

// Releases meta.
static void call(struct link *link, struct mst_call *call, struct mst_buf *meta, struct replication *replication,
                 const struct mst_replica_message *message)
{
    struct sent *sent = take_sent(replication->replicating);
    sent->replication = replication;
    sent->link = link;
    sent->message = *message;
    sent->asked_ms = now_ms();
    call->meta = mst_buf_view(meta);
    call->deadline_ms = replication->replicating->config.lease_ms;
    for (size_t i = 0; i < call->body.n_parts; i++)
        call->deadline_ms += call->body.parts[i].iov_len / SLOWEST_BYTES_PER_MS;
    call->on_reply = on_reply;
    call->arg = sent;
    link->n_calls++;
    mst_peer_call(link->peer, call);
    mst_buf_fini(meta);
}

static void on_op_sent(void *arg)
{
    struct op *op = arg;
    op->n_sending--;
    if (op->is_over && op->n_sending == 0)
        free_op(op->replicating, op);
}

static void send_op(struct link *link, struct replication *replication, const struct mst_replica_message *message)
{
    struct op *op = mst_forwarding_find_op(replication, message->seq);
    struct mst_msg_op meta = op->meta;
    struct mst_buf buf;
    meta.term = message->epoch.term;
    meta.n = message->epoch.n;
    mst_buf_init(&buf, MST_FRAME_META_MAX);
    mst_status status = mst_msg_op_encode(&meta, &buf);
    MST_ASSERT(status == MST_OK); // a few numbers, or what was looked at before it became an operation
    struct mst_call to = {.method = MST_METHOD_OP};
    if (op->part.iov_base) {
        to.body = (struct mst_body){&op->part, 1, on_op_sent, op};
        op->n_sending++;
    }
    call(link, &to, &buf, replication, message);
}

static void free_sweep(void *arg)
{
    struct sweep_out *out = arg;
    mst_snapshot_fini(&out->snapshot);
    mst_round_mean_unref(out->mean);
    free(out);
}

// Afterwards the numbers in *sweep may be looked at, but nothing that it points to.
static mst_status encode_sweep(const struct replication *replication, const struct mst_replica_message *message,
                               struct mst_msg_sweep *sweep, struct mst_buf *buf)
{
    const struct mst_bucket *bucket = replication->holding->buckets[message->bucket];
    const struct mst_client_table *clients = &bucket->clients;
    struct mst_msg_client_row *rows = mst_alloc_array(clients->n_rows, sizeof *rows);
    *sweep = (struct mst_msg_sweep){.group = replication->holding->group,
                                    .thread = replication->holding->home_thread,
                                    .term = message->epoch.term,
                                    .n = message->epoch.n,
                                    .seq = message->seq,
                                    .bucket = bucket->id,
                                    .is_first = message->is_first,
                                    .n_updates = bucket->n_updates,
                                    .counter = bucket->current->counter,
                                    .rows = rows,
                                    .n_fenced = clients->n_rows,
                                    .fenced = clients->fenced};
    for (size_t w = 0; w < clients->n_rows; w++)
        if (clients->rows[w].number)
            rows[sweep->n_rows++] = mst_client_row_message(bucket->id, (uint32_t)w, &clients->rows[w]);
    struct mst_arena arena;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_round_replica_fill_sweep(replication->holding, sweep, &arena);
    if (status == MST_OK)
        status = mst_msg_sweep_encode(sweep, buf);
    mst_arena_fini(&arena);
    free(rows);
    return status;
}

// Training goes on while it is on its way: what is sent is kept as it is, as for a cut.
static struct sweep_out *keep_bucket(struct mst_bucket *bucket, struct mst_round_mean *mean)
{
    struct sweep_out *out = mst_alloc(sizeof *out);
    struct mst_snapshots now = {0};
    *out = (struct sweep_out){0};
    mst_snapshot_mark(&now, 1, bucket);
    bool is_kept = mst_snapshot_take(&now, 1, &out->snapshot);
    MST_ASSERT(is_kept); // nothing was there that could have been lost
    mst_snapshots_fini(&now);
    out->parts[0] = (struct iovec){out->snapshot.version->floats, mst_bucket_bytes(bucket)};
    for (size_t s = 0; s < bucket->n_slots; s++)
        out->parts[1 + s] = (struct iovec){out->snapshot.slots->slots[s], bucket->n_trained * sizeof(float)};
    out->n_parts = 1 + bucket->n_slots;
    if (mean) {
        out->mean = mst_round_mean_ref(mean);
        out->parts[out->n_parts++] = (struct iovec){mean->floats, mst_bucket_bytes(bucket)};
    }
    return out;
}

// Time does not make it smaller; other roles may.
static void give_sweep_up(struct replication *replication, const struct mst_replica_message *message,
                          const struct mst_msg_sweep *sweep)
{
    MST_LOG(ERROR, "ps", "follower not filled",
            "group=%u ps=%u reason=\"bucket %u with rows of %zu workers, %zu closes and norms of %zu groups does not "
            "fit a message of %u bytes\" note=\"the job goes on without this copy; it is tried again when roles "
            "change\"",
            sweep->group, message->to.ps, sweep->bucket, sweep->n_rows, sweep->n_closes, sweep->n_norms,
            MST_FRAME_META_MAX);
    mst_replica_cannot_sweep(&replication->replica, message->to.ps);
    mst_replicating_wake(replication->replicating); // it may be lost by that
}

static bool send_sweep(struct link *link, struct replication *replication, const struct mst_replica_message *message)
{
    struct mst_bucket *bucket = replication->holding->buckets[message->bucket];
    struct mst_msg_sweep sweep;
    struct mst_buf buf;
    mst_buf_init(&buf, MST_FRAME_META_MAX);
    if (encode_sweep(replication, message, &sweep, &buf) != MST_OK) {
        give_sweep_up(replication, message, &sweep);
        mst_buf_fini(&buf);
        return false;
    }
    struct sweep_out *out = keep_bucket(bucket, mst_round_replica_mean_of(replication->holding, bucket->id));
    struct mst_call to = {.method = MST_METHOD_SWEEP,
                          .adds_body_crc = true, // it is all that the joiner will have
                          .body = {.parts = out->parts, .n_parts = out->n_parts, .release = free_sweep, .arg = out}};
    mst_metric_add(replication->replicating->metrics.swept, 1);
    call(link, &to, &buf, replication, message);
    return true;
}

static void send_grant(struct link *link, struct replication *replication, const struct mst_replica_message *message)
{
    struct mst_msg_grant grant = {.group = replication->holding->group,
                                  .thread = replication->holding->home_thread,
                                  .term = message->epoch.term,
                                  .n = message->epoch.n,
                                  .is_release = message->kind == MST_REPLICA_RELEASE};
    struct mst_buf buf;
    mst_buf_init(&buf, MST_FRAME_META_MAX);
    mst_status status = mst_msg_grant_encode(&grant, &buf);
    MST_ASSERT(status == MST_OK); // a few numbers
    struct mst_call to = {.method = MST_METHOD_GRANT};
    call(link, &to, &buf, replication, message);
}

static bool send_message(struct link *link, struct replication *replication, const struct mst_replica_message *message)
{
    switch (message->kind) {
    case MST_REPLICA_OP:
        send_op(link, replication, message);
        return true;
    case MST_REPLICA_SWEEP:
        return send_sweep(link, replication, message);
    default:
        send_grant(link, replication, message);
        return true;
    }
}

static uint32_t remote_thread(const struct replication *replication, uint32_t ps)
{
    uint64_t n = replication->replicating->config.threads[ps];
    return (uint32_t)(replication->holding->home_thread % (n ? n : 1));
}

void mst_forwarding_tell_unreached(const struct replication *replication, uint32_t ps)
{
    char why[320] = "it does not answer";
    if (replication->refuser == ps && replication->refusal[0] &&
        now_ms() - replication->refused_ms <= replication->replicating->config.lease_ms)
        snprintf(why, sizeof why, "%s", replication->refusal);
    for (const struct link *link = replication->replicating->links; link; link = link->next)
        if (link->ps == ps && link->remote_thread == remote_thread(replication, ps) && !mst_peer_is_up(link->peer))
            mst_peer_state(link->peer, why, sizeof why);
    MST_LOG(WARN, "ps", "follower out of reach", "group=%u thread=%u ps=%u address=%s reason=\"%s\"",
            replication->holding->group, replication->holding->home_thread, ps,
            replication->replicating->config.addresses[ps], why);
}

void mst_forwarding_pump(struct replication *replication)
{
    struct mst_replica *replica = &replication->replica;
    for (struct link *link = replication->replicating->links; link; link = link->next) {
        struct mst_replica_message message;
        if (link->remote_thread != remote_thread(replication, link->ps))
            continue;
        while (mst_replica_next(replica, link->ps, now_ms(), &message)) {
            if (!mst_peer_is_up(link->peer) || message.to.incarnation != link->incarnation) {
                mst_replica_unreached(replica, link->ps, now_ms()); // so that it is known how long it is out of reach
                break;
            }
            if (message.kind == MST_REPLICA_OP && link->n_calls >= OPS_WINDOW)
                break;
            if (!send_message(link, replication, &message))
                break;
            mst_replica_sent(replica, &message, now_ms());
        }
    }
}

// ---- links ----

static void on_greet(void *arg, struct mst_peer *peer, struct mst_msg_greeting *greeting)
{
    const struct link *link = arg;
    (void)peer;
    mst_identity_greet(link->thread->replicating->config.identity, greeting);
    greeting->role = MST_PEER_PS;
    greeting->index = link->thread->replicating->config.ps;
    greeting->data_thread = (int32_t)link->remote_thread;
    greeting->wanted = link->ps + 1;
}

static void on_up(void *arg, struct mst_peer *peer, const struct mst_msg_greeting_reply *reply)
{
    struct link *link = arg;
    link->incarnation = reply->incarnation;
    mst_following_met(link->thread->replicating, link->ps, link->incarnation, mst_peer_conn(peer));
    MST_LOG(DEBUG, "ps", "linked", "ps=%u thread=%u", link->ps, link->remote_thread);
    for (struct mst_holding *holding = link->thread->holdings; holding; holding = holding->next)
        if (holding->replication) {
            mst_replica_linked(&holding->replication->replica, link->ps);
            mst_replication_progress(holding->replication);
        }
}

static void on_down(void *arg, struct mst_peer *peer, mst_status status, const char *text)
{
    struct link *link = arg;
    (void)peer, (void)status;
    MST_LOG(DEBUG, "ps", "link broken", "ps=%u reason=\"%s\"", link->ps, text);
    for (struct mst_holding *holding = link->thread->holdings; holding; holding = holding->next)
        if (holding->replication)
            mst_replica_unreached(&holding->replication->replica, link->ps, now_ms());
    mst_replicating_wake(link->thread->replicating);
}

// Asked again while it is needed: the process there may be another one by then.
static void on_refused(void *arg, struct mst_peer *peer, mst_status status, const char *text)
{
    struct link *link = arg;
    size_t n_unlogged;
    (void)status;
    if (mst_log_rate_allows(&link->refusals, now_ms(), &n_unlogged))
        MST_LOG(WARN, "ps", "link refused", "ps=%u reason=\"%s\" unlogged=%zu", link->ps, text, n_unlogged);
    mst_peer_ask_again(peer, text);
}

static const struct mst_peer_events link_events = {on_greet, on_up, on_down, on_refused};

static void need_link(const struct replication *replication, uint32_t ps)
{
    struct replicating *replicating = replication->replicating;
    const struct mst_replicating_config *config = &replicating->config;
    if (ps >= config->n_ps || ps == config->ps)
        return;
    uint32_t thread = remote_thread(replication, ps);
    for (struct link *link = replicating->links; link; link = link->next)
        if (link->ps == ps && link->remote_thread == thread) {
            link->is_needed = true;
            mst_peer_start(link->peer);
            return;
        }
    struct link *link = mst_alloc(sizeof *link);
    *link = (struct link){.thread = replicating->thread, .ps = ps, .remote_thread = thread, .is_needed = true};
    char *name = mst_text("ps-%u", ps);
    struct mst_peer_config peer = {.name = name,
                                   .address = config->addresses[ps],
                                   .user_timeout_ms = config->lease_ms,
                                   .backoff_max_ms = BACKOFF_MAX_MS,
                                   .adds_body_crc = replicating->thread->adds_body_crc,
                                   .events = &link_events,
                                   .arg = link};
    struct mst_error err;
    mst_status status = mst_peer_new(replicating->thread->loop, config->resolver, &peer, &link->peer, &err);
    free(name);
    if (status != MST_OK) {
        MST_LOG(ERROR, "ps", "link refused", "ps=%u reason=\"%s\" unlogged=0", ps, err.text);
        free(link);
        return;
    }
    link->next = replicating->links;
    replicating->links = link;
    mst_peer_start(link->peer);
}

static void need_links(const struct replication *replication)
{
    const struct mst_replica *replica = &replication->replica;
    for (size_t i = 0; i < replica->n_peers; i++)
        need_link(replication, replica->peers[i].id.ps);
    if (!replica->is_reigning && replica->release_until_ms > now_ms())
        need_link(replication, replica->stored.primary.ps);
}

void mst_forwarding_hurry(const struct replication *replication)
{
    const struct mst_replica *replica = &replication->replica;
    for (size_t i = 0; i < replica->n_peers; i++)
        for (struct link *link = replication->replicating->links; link; link = link->next)
            if (link->ps == replica->peers[i].id.ps && link->remote_thread == remote_thread(replication, link->ps))
                mst_peer_hurry(link->peer);
}

void mst_forwarding_keep_links(struct replicating *replicating)
{
    for (struct link *link = replicating->links; link; link = link->next)
        link->is_needed = mst_following_watches(replicating, link->ps); // where it goes to may answer that
    for (const struct mst_holding *holding = replicating->thread->holdings; holding; holding = holding->next)
        if (holding->replication)
            need_links(holding->replication);
    // One that stands costs nothing, and may be needed again.
    for (struct link *link = replicating->links; link; link = link->next)
        if (!link->is_needed && !mst_peer_is_up(link->peer))
            mst_peer_stop(link->peer);
}
