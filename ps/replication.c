// A replica's way into and out of a data thread: pushes, pulls and fences wait here until the machine lets them be
// answered; roles, time and status come and go. Whatever may have changed, progress() asks the machine what is to be
// done, which costs little, so no event has to know what it brings about.
#include "ps/replication_private.h"
#include "ps/round_serve.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"

#include <stdlib.h>

enum { TICK_MIN_MS = 2 };

static uint64_t now_ms(void)
{
    return mst_clock_monotonic_ms();
}

// ---- what waits ----

enum forwarding_verdict mst_forwarding_admits(const struct replication *replication)
{
    if (mst_replica_role(&replication->replica) != MST_REPLICA_PRIMARY)
        return MST_FORWARD_REFUSED;
    bool admits = !replication->awaits_values && mst_replica_admits(&replication->replica, now_ms());
    return admits ? MST_FORWARD_OK : MST_FORWARD_LATER;
}

enum forwarding_verdict mst_forwarding_serves(const struct replication *replication)
{
    if (mst_replica_role(&replication->replica) != MST_REPLICA_PRIMARY)
        return MST_FORWARD_REFUSED;
    // Not while it is handed over: a pull may be noted as an operation, and there are to be no more of them.
    bool serves =
        mst_forwarding_admits(replication) == MST_FORWARD_OK && mst_replica_serves(&replication->replica, now_ms());
    return serves ? MST_FORWARD_OK : MST_FORWARD_LATER;
}

mst_status mst_forwarding_refuse(const struct replication *replication, uint32_t bucket, struct mst_error *err)
{
    const struct mst_epoch *epoch = &replication->replica.stored.epoch;
    return mst_fail(err, MST_ABORTED, "ps-%u is not the primary of bucket %u (epoch %llu.%llu)",
                    replication->replicating->config.ps, bucket, (unsigned long long)epoch->term,
                    (unsigned long long)epoch->n);
}

void mst_replication_keep_checksum(struct replication *replication, const struct mst_bucket *bucket)
{
    struct op *op = mst_forwarding_add_op(replication);
    if (!op)
        return;
    op->meta.kind = MST_OP_CHECKSUM;
    op->meta.bucket = bucket->id;
    op->meta.version = bucket->n_updates;
    op->meta.crc32c = mst_bucket_crc32c(bucket);
}

bool mst_replication_is_counted_only(const struct replication *replication, const struct mst_bucket *bucket)
{
    return mst_replica_is_sweeping(&replication->replica) &&
           mst_replica_is_counted(&replication->replica, mst_holding_position(replication->holding, bucket->id));
}

static void keep_gradient(struct replicating *replicating, struct op *op, struct pending_push *push)
{
    op->staging = push->staging;
    op->part = push->part;
    push->staging = NULL;
    replicating->thread->n_staging--; // it is not the pool's any more, which has room for another one
    mst_data_thread_resume_one(replicating->thread);
    replicating->op_bytes += op->part.iov_len;
    mst_metric_set(replicating->metrics.ops_bytes, (int64_t)replicating->op_bytes);
}

static void keep_push(struct replication *replication, struct pending_push *push, float rate)
{
    struct replicating *replicating = replication->replicating;
    struct op *op = mst_forwarding_add_op(replication);
    push->seq = replication->replica.seq;
    if (!op)
        return;
    op->meta.kind = MST_OP_PUSH;
    op->meta.bucket = push->bucket->id;
    op->meta.version = push->bucket->n_updates;
    op->meta.worker = push->push.worker;
    op->meta.number = push->push.number;
    op->meta.step = push->push.step;
    op->meta.lease = push->push.lease;
    op->meta.offset = push->push.offset;
    op->meta.learning_rate = (double)rate;
    mst_metric_add(replicating->metrics.ops, 1);
    if (!mst_replication_is_counted_only(replication, push->bucket))
        keep_gradient(replicating, op, push);
    if (push->bucket->n_updates % MST_CHECKSUM_VERSIONS == 0)
        mst_replication_keep_checksum(replication, push->bucket);
}

void mst_forwarding_pushed(struct pending_push *push, const struct mst_push_result *result)
{
    struct replication *replication = push->holding->replication;
    mst_version_unref(result->version); // what is current then is sent
    if (push->is_repeat)
        push->seq = replication->replica.seq; // it was one of them
    else
        keep_push(replication, push, result->rate);
    if (push->staging) {
        mst_data_thread_give_staging(replication->replicating->thread, push->staging);
        push->staging = NULL;
    }
    push->next = NULL;
    *replication->answering_end = push;
    replication->answering_end = &push->next;
    mst_replication_progress(replication);
}

void mst_forwarding_keep_pull(struct replication *replication, struct pending_push *pull)
{
    pull->next = replication->pulls;
    replication->pulls = pull;
}

void mst_forwarding_pulled(const struct pending_push *pull)
{
    struct replication *replication = pull->holding->replication;
    struct mst_client_table *clients = &pull->bucket->clients;
    uint32_t worker = pull->client->worker;
    const struct mst_client_row *row = mst_client_table_row(clients, worker);
    if (pull->bucket->is_frozen || (row && row->number >= pull->push.number))
        return;
    mst_client_table_pulled(clients, worker, pull->push.number);
    struct op *op = mst_forwarding_add_op(replication);
    if (!op)
        return;
    op->meta.kind = MST_OP_PULLED;
    op->meta.bucket = pull->bucket->id;
    op->meta.worker = worker;
    op->meta.number = pull->push.number;
    mst_forwarding_pump(replication);
}

static void drop_of(struct replication *replication, struct pending_push **at, const struct client *client)
{
    while (*at) {
        struct pending_push *push = *at;
        if (push->client != client) {
            at = &push->next;
            continue;
        }
        *at = push->next;
        mst_data_thread_give_push(replication->replicating->thread, push);
    }
}

void mst_forwarding_closed(struct replication *replication, const struct client *client)
{
    drop_of(replication, &replication->answering, client);
    drop_of(replication, &replication->pulls, client);
    replication->answering_end = &replication->answering;
    while (*replication->answering_end)
        replication->answering_end = &(*replication->answering_end)->next;
}

static struct pending_push *take_all_pulls(struct replication *replication)
{
    struct pending_push *pulls = replication->pulls;
    replication->pulls = NULL;
    return pulls;
}

static void answer_due(struct replication *replication)
{
    const struct mst_replica *replica = &replication->replica;
    while (replication->answering && mst_replica_may_answer(replica, replication->answering->seq, now_ms())) {
        struct pending_push *push = replication->answering;
        replication->answering = push->next;
        if (!replication->answering)
            replication->answering_end = &replication->answering;
        mst_data_thread_answer_push(push);
    }
    if (replication->pulls && mst_forwarding_serves(replication) == MST_FORWARD_OK)
        for (struct pending_push *pull = take_all_pulls(replication), *next; pull; pull = next) {
            next = pull->next;
            mst_data_thread_answer_pull(pull);
        }
}

static void refuse_all(struct replication *replication, struct pending_push *pushes)
{
    struct mst_data_thread *thread = replication->replicating->thread;
    while (pushes) {
        struct pending_push *push = pushes;
        struct mst_message message = {.method = push->method, .call = push->call};
        struct mst_error err;
        pushes = push->next;
        mst_status status = mst_forwarding_refuse(replication, push->bucket->id, &err);
        mst_conn_reply_error(push->client->conn, &message, status, "%s", err.text);
        mst_data_thread_give_push(thread, push);
    }
}

// ---- fences ----

void mst_replication_fence_buckets(struct mst_holding *holding, const struct mst_holding_fencing *fencing)
{
    mst_round_serve_fence(holding, fencing->worker, fencing->number);
    for (size_t i = 0; i < holding->n_buckets; i++) {
        struct mst_bucket *bucket = holding->buckets[i];
        if (bucket->is_frozen) // nothing is ever pushed to it, so it knows of no progress
            continue;
        struct mst_client_row row = mst_client_table_fence(&bucket->clients, fencing->worker, fencing->number);
        if (fencing->on_row)
            fencing->on_row(fencing->arg, bucket, &row);
    }
    mst_holding_look_at_marks(holding);
}

static void end_fencing(struct replication *replication, struct mst_holding_fencing **at, mst_status status)
{
    struct mst_holding_fencing *fencing = *at;
    struct mst_error err = {.text = ""};
    *at = fencing->next;
    if (status != MST_OK)
        (void)mst_forwarding_refuse(replication, replication->holding->buckets[0]->id, &err);
    fencing->on_done(fencing->arg, status, err.text);
}

static void apply_fence(struct replication *replication, struct mst_holding_fencing *fencing)
{
    mst_replication_fence_buckets(replication->holding, fencing);
    struct op *op = mst_forwarding_add_op(replication);
    fencing->seq = replication->replica.seq;
    fencing->is_applied = true;
    if (!op)
        return;
    op->meta.kind = MST_OP_FENCE;
    op->meta.bucket = replication->holding->buckets[0]->id;
    op->meta.worker = fencing->worker;
    op->meta.number = fencing->number;
}

static void see_to_fences(struct replication *replication)
{
    bool is_refused = mst_forwarding_admits(replication) == MST_FORWARD_REFUSED;
    for (struct mst_holding_fencing **at = &replication->fencings; *at;) {
        if (is_refused)
            end_fencing(replication, at, MST_ABORTED);
        else if ((*at)->is_applied && mst_replica_may_answer(&replication->replica, (*at)->seq, now_ms()))
            end_fencing(replication, at, MST_OK);
        else
            at = &(*at)->next;
    }
}

void mst_holding_fence(struct mst_holding *holding, struct mst_holding_fencing *fencing)
{
    struct replication *replication = holding->replication;
    if (!replication) {
        mst_replication_fence_buckets(holding, fencing);
        fencing->on_done(fencing->arg, MST_OK, "");
        return;
    }
    fencing->is_applied = false;
    fencing->next = replication->fencings;
    replication->fencings = fencing;
    mst_replication_progress(replication);
}

static void apply_fences(struct replication *replication)
{
    for (struct mst_holding_fencing *fencing = replication->fencings; fencing; fencing = fencing->next)
        if (!fencing->is_applied && mst_forwarding_admits(replication) == MST_FORWARD_OK) // no handover is under way
            apply_fence(replication, fencing);
}

// ---- status ----

static uint32_t lost_of(const struct replication *replication)
{
    uint32_t lost = mst_replica_lost(&replication->replica, now_ms());
    bool is_mismatched = replication->mismatched != MST_NO_PS &&
                         mst_epoch_is_same(&replication->mismatch_epoch, &replication->replica.stored.epoch);
    return lost == MST_NO_PS && is_mismatched ? replication->mismatched : lost;
}

enum { STATUS_QUIET = 4, STATUS_SWEPT = 8, STATUS_COMPLETE = 16, STATUS_LOST_SHIFT = 32 };

static void note_status(struct replication *replication)
{
    const struct mst_replica *replica = &replication->replica;
    uint64_t status = (uint64_t)mst_replica_role(replica);
    status |= mst_replica_is_quiet(replica, now_ms()) ? STATUS_QUIET : 0;
    status |= mst_replica_is_swept(replica) ? STATUS_SWEPT : 0;
    status |= mst_replica_is_complete(replica) ? STATUS_COMPLETE : 0;
    status |= (uint64_t)lost_of(replication) << STATUS_LOST_SHIFT;
    // Relaxed: the word is all there is to it.
    uint64_t before = atomic_exchange_explicit(&replication->status, status, memory_order_relaxed);
    if (before == status)
        return;
    uint32_t unreached = mst_replica_lost(replica, now_ms());
    if (unreached != MST_NO_PS && unreached != (uint32_t)(before >> STATUS_LOST_SHIFT))
        mst_forwarding_tell_unreached(replication, unreached);
    const struct mst_replicating_config *config = &replication->replicating->config;
    if (config->on_status)
        mst_loop_post(config->control, config->on_status, config->arg);
}

struct mst_holding_status mst_holding_status(const struct mst_holding *holding)
{
    // Nothing to hold, or no replicas: there is nothing that could be missing.
    if (!holding->replication)
        return (struct mst_holding_status){MST_REPLICA_NONE, true, true, true, MST_NO_PS};
    uint64_t status = atomic_load_explicit(&holding->replication->status, memory_order_relaxed);
    return (struct mst_holding_status){.role = (enum mst_replica_role)(status & 3),
                                       .is_quiet = status & STATUS_QUIET,
                                       .is_swept = status & STATUS_SWEPT,
                                       .is_complete = status & STATUS_COMPLETE,
                                       .lost = (uint32_t)(status >> STATUS_LOST_SHIFT)};
}

void mst_replication_progress(struct replication *replication)
{
    struct round_serving *rounds = replication->holding->serving;
    if (!replication->awaits_values) {
        apply_fences(replication);
        if (rounds)
            mst_round_replica_advance(rounds);
        mst_forwarding_pump(replication);
    }
    mst_forwarding_prune(replication, mst_replica_floor(&replication->replica));
    answer_due(replication);
    if (rounds)
        mst_round_replica_confirm(rounds);
    see_to_fences(replication);
    note_status(replication);
}

void mst_replication_look_again(struct replication *replication)
{
    mst_replication_progress(replication);
    mst_data_thread_try_held_later(replication->replicating->thread);
}

// ---- time ----

static void on_tick(void *arg)
{
    struct replicating *replicating = arg;
    uint64_t wake_ms = UINT64_MAX;
    bool could_wait = false;
    mst_forwarding_keep_links(replicating);
    for (struct mst_holding *holding = replicating->thread->holdings; holding; holding = holding->next) {
        if (!holding->replication)
            continue;
        mst_replication_progress(holding->replication);
        uint64_t next_ms = mst_replica_next_wake(&holding->replication->replica, now_ms());
        wake_ms = next_ms < wake_ms ? next_ms : wake_ms;
        could_wait = could_wait || mst_replica_role(&holding->replication->replica) == MST_REPLICA_PRIMARY;
    }
    if (could_wait)
        mst_data_thread_try_held_later(replicating->thread); // its own grants may have run out
    uint64_t now = now_ms();
    uint64_t longest_ms = replicating->config.lease_ms / 4;
    uint64_t delay_ms = wake_ms > now ? wake_ms - now : 0;
    delay_ms = delay_ms > longest_ms ? longest_ms : delay_ms;
    mst_timer_start_once(&replicating->tick, delay_ms < TICK_MIN_MS ? TICK_MIN_MS : delay_ms);
}

void mst_replicating_wake(struct replicating *replicating)
{
    mst_timer_start_once(&replicating->tick, 0);
}

// ---- roles ----

static void on_changed(struct replication *replication)
{
    if (!replication->replica.is_reigning) {
        mst_forwarding_prune(replication, UINT64_MAX);
        struct pending_push *pushes = replication->answering;
        replication->answering = NULL;
        replication->answering_end = &replication->answering;
        refuse_all(replication, pushes);
        mst_holding_forget_cuts(replication->holding); // nobody drops them here any more
    }
    if (mst_replica_role(&replication->replica) != MST_REPLICA_PRIMARY)
        refuse_all(replication, take_all_pulls(replication));
    if (replication->holding->serving)
        mst_round_replica_roles(replication->holding->serving);
    mst_replicating_wake(replication->replicating); // links
    mst_replication_look_again(replication);
}

void mst_holding_store_roles(struct mst_holding *holding, const struct mst_roles *roles)
{
    struct replication *replication = holding->replication;
    if (!replication)
        return;
    const struct mst_replica_view *stored = &replication->replica.stored;
    // A backup that nobody reached may still be promoted: then nothing was lost.
    bool was_lost =
        (stored->epoch.term > 0 || stored->epoch.n > 0) && stored->primary.ps == MST_NO_PS && stored->n_backups == 0;
    mst_replica_store(&replication->replica, roles);
    if (mst_replica_role(&replication->replica) != MST_REPLICA_PRIMARY)
        replication->awaits_values = false;
    else if (was_lost)
        mst_holding_await_values(holding);
    on_changed(replication);
}

void mst_holding_act(struct mst_holding *holding, const struct mst_epoch *epoch)
{
    struct replication *replication = holding->replication;
    if (!replication)
        return;
    mst_replica_act(&replication->replica, epoch, now_ms());
    mst_forwarding_hurry(replication);
    on_changed(replication);
}

void mst_holding_restored(struct mst_holding *holding)
{
    if (mst_holding_awaits_values(holding) == 0)
        return;
    holding->replication->awaits_values = false;
    if (holding->serving)
        mst_round_replica_reset(holding->serving);
    mst_replicating_wake(holding->replication->replicating);
    mst_replication_look_again(holding->replication);
}

void mst_holding_await_values(struct mst_holding *holding)
{
    struct replication *replication = holding->replication;
    if (!replication)
        return;
    replication->n_awaited += !replication->awaits_values;
    replication->awaits_values = true;
}

uint64_t mst_holding_awaits_values(const struct mst_holding *holding)
{
    const struct replication *replication = holding->replication;
    return replication && replication->awaits_values ? replication->n_awaited : 0;
}

// ---- life ----

static struct replication_metrics make_metrics(uint32_t index)
{
    char *labels = mst_text("thread=\"%u\"", index);
    struct replication_metrics metrics = {
        .ops = mst_metric_counter("muster_ps_forwarded_total", "Pushes forwarded to followers, a bucket each", labels),
        .ops_bytes =
            mst_metric_gauge("muster_ps_forward_bytes", "Gradients kept until all followers have them", labels),
        .swept = mst_metric_counter("muster_ps_swept_total", "Buckets sent to joining parameter servers", labels),
        .followed =
            mst_metric_counter("muster_ps_followed_total", "Pushes applied as a follower, a bucket each", labels),
        .mismatches = mst_metric_counter("muster_ps_replica_mismatches_total",
                                         "Followers whose values differed at the same version", labels),
    };
    free(labels);
    return metrics;
}

void mst_data_thread_replicate(struct mst_data_thread *thread, const struct mst_replicating_config *config)
{
    MST_ASSERT(!thread->replicating && !thread->holdings);
    struct replicating *replicating = mst_alloc(sizeof *replicating);
    *replicating = (struct replicating){.config = *config, .thread = thread, .metrics = make_metrics(thread->index)};
    mst_timer_init(&replicating->tick, thread->loop, on_tick, replicating);
    thread->replicating = replicating;
}

void mst_replicating_stop(struct replicating *replicating)
{
    if (!replicating)
        return;
    mst_timer_fini(&replicating->tick);
    mst_following_free(replicating);
    while (replicating->links) {
        struct link *link = replicating->links;
        replicating->links = link->next;
        mst_peer_free(link->peer); // releases of what was being sent run here
        free(link);
    }
}

void mst_replicating_free(struct replicating *replicating)
{
    if (!replicating)
        return;
    while (replicating->all_sents) {
        struct sent *sent = replicating->all_sents;
        replicating->all_sents = sent->next;
        free(sent);
    }
    while (replicating->free_ops) {
        struct op *op = replicating->free_ops;
        replicating->free_ops = op->next_free;
        free(op);
    }
    free(replicating);
}

void mst_replication_new(struct mst_holding *holding)
{
    struct replicating *replicating = holding->thread->replicating;
    struct replication *replication = mst_alloc(sizeof *replication);
    *replication = (struct replication){.holding = holding, .replicating = replicating, .mismatched = MST_NO_PS};
    replication->answering_end = &replication->answering;
    atomic_init(&replication->status, (uint64_t)MST_NO_PS << STATUS_LOST_SHIFT);
    struct mst_replica_config config = {.group = holding->group,
                                        .self = {replicating->config.ps, replicating->config.identity->incarnation},
                                        .lease_ms = replicating->config.lease_ms,
                                        .n_buckets = holding->n_buckets};
    mst_replica_init(&replication->replica, &config);
    holding->replication = replication;
}

static void free_all(struct pending_push *pushes)
{
    while (pushes) {
        struct pending_push *next = pushes->next;
        free(pushes);
        pushes = next;
    }
}

void mst_replication_free(struct replication *replication)
{
    if (!replication)
        return;
    for (size_t i = 0; i < replication->n_ops; i++) {
        struct op *op = mst_forwarding_find_op(replication, replication->first_seq + i);
        if (op->staging) {
            free(op->staging->floats);
            free(op->staging);
        }
        mst_round_mean_unref(op->mean);
        mst_arena_fini(&op->arena);
        free(op);
    }
    free(replication->ops);
    free_all(replication->answering);
    free_all(replication->pulls);
    mst_replica_fini(&replication->replica);
    free(replication);
}
