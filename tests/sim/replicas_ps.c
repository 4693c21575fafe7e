// Parameter servers of a job with replicas: they carry what their copies of the groups say.
#include "replicas_private.h"

#include <string.h>

static struct sim_copy *copy_of(struct world *w, size_t ps, size_t part)
{
    return &w->ps[ps].copies[part];
}

static void answer(struct world *w, size_t ps, const struct message *question, struct message *reply)
{
    reply->to = question->from;
    reply->to_incarnation = question->id.incarnation;
    reply->id = (struct mst_replica_id){(uint32_t)ps, w->ps[ps].incarnation};
    replicas_send(w, replicas_ps_node(ps), reply);
}

void replicas_ps_start(struct world *w, size_t ps)
{
    struct sim_ps *server = &w->ps[ps];
    bool is_cut = server->is_cut;
    replicas_ps_end(w, ps);
    memset(server, 0, offsetof(struct sim_ps, copies));
    server->is_up = true;
    server->is_cut = is_cut;
    server->incarnation = ++w->incarnations;
    for (size_t g = 0; g < w->n_parts; g++) {
        struct mst_replica_config config = {.group = replicas_group_of(w, g),
                                            .self = {(uint32_t)ps, server->incarnation},
                                            .lease_ms = LEASE_MS,
                                            .n_buckets = w->n_buckets};
        memset(&server->copies[g], 0, offsetof(struct sim_copy, waiting));
        mst_replica_init(&server->copies[g].replica, &config);
        for (size_t b = 0; b < w->n_buckets; b++)
            mst_client_table_init(&server->copies[g].buckets[b].clients);
    }
    struct message tick = {.kind = M_TICK, .to = replicas_ps_node(ps), .to_incarnation = server->incarnation};
    engine_schedule(&w->engine, &tick, 1);
}

void replicas_ps_end(struct world *w, size_t ps)
{
    struct sim_ps *server = &w->ps[ps];
    if (!server->is_up)
        return;
    server->is_up = false;
    for (size_t g = 0; g < w->n_parts; g++) {
        mst_replica_fini(&server->copies[g].replica);
        for (size_t b = 0; b < w->n_buckets; b++)
            mst_client_table_fini(&server->copies[g].buckets[b].clients);
    }
    mst_roles_fini(&server->stored);
}

// ---- answers that wait ----

bool replicas_may_answer(const struct world *w, size_t ps, const struct sim_copy *copy, uint64_t seq)
{
    uint64_t now_ms = w->engine.now_ms;
    if (mst_replica_may_answer(&copy->replica, seq, now_ms))
        return true;
    if (w->plant == REPLICAS_PLANT_ACK_EARLY)
        return mst_replica_serves(&copy->replica, now_ms);
    if (w->plant != REPLICAS_PLANT_ALONE || !mst_replica_is_primary(&copy->replica, now_ms))
        return false;
    for (size_t i = 0; i < copy->replica.n_peers; i++) {
        const struct mst_replica_peer *peer = &copy->replica.peers[i];
        bool is_there = w->ps[peer->id.ps].incarnation == peer->id.incarnation && replicas_is_awake(w, peer->id.ps) &&
                        !w->is_link_cut[ps][peer->id.ps];
        if (is_there && (peer->acked < seq || peer->lease_ms <= now_ms))
            return false;
    }
    return true;
}

static void wait(struct world *w, size_t ps, const struct message *reply)
{
    struct sim_copy *copy = copy_of(w, ps, reply->part);
    if (copy->n_waiting == MAX_WAITING)
        return; // who is not answered asks again
    struct sim_waiting *waiting = &copy->waiting[copy->n_waiting++];
    *waiting = (struct sim_waiting){copy->replica.seq, reply->kind, reply->to, reply->to_incarnation, reply->op, {0}};
    if (reply->kind == M_FENCE_REPLY)
        memcpy(waiting->steps, reply->steps, sizeof waiting->steps);
}

static void give_answer(struct world *w, size_t ps, size_t part, const struct sim_waiting *waiting)
{
    struct message m = {.kind = waiting->kind,
                        .to = waiting->to,
                        .to_incarnation = waiting->to_incarnation,
                        .id = {(uint32_t)ps, w->ps[ps].incarnation},
                        .part = part,
                        .op = waiting->op};
    memcpy(m.steps, waiting->steps, sizeof m.steps);
    if (m.kind == M_PUSHED)
        replicas_oracle_acked(w, part, &m.op);
    replicas_send(w, replicas_ps_node(ps), &m);
}

static void answer_waiting(struct world *w, size_t ps, size_t part)
{
    struct sim_copy *copy = copy_of(w, ps, part);
    size_t n = 0;
    for (size_t i = 0; copy->replica.is_reigning && i < copy->n_waiting; i++) {
        const struct sim_waiting *waiting = &copy->waiting[i];
        if (replicas_may_answer(w, ps, copy, waiting->seq))
            give_answer(w, ps, part, waiting);
        else if (n++ != i)
            copy->waiting[n - 1] = *waiting;
    }
    copy->n_waiting = n;
}

// ---- what a primary sends ----

static void fill_bucket(struct world *w, const struct sim_copy *copy, size_t b, struct message *m)
{
    const struct sim_bucket *bucket = &copy->buckets[b];
    m->state = bucket->state;
    for (size_t i = 0; i < w->n_workers && i < bucket->clients.n_rows; i++) {
        const struct mst_client_row *row = &bucket->clients.rows[i];
        m->rows[i] = (struct sim_row){row->number, row->step, bucket->clients.fenced[i]};
    }
}

static void send_one(struct world *w, size_t ps, size_t part, const struct mst_replica_message *from)
{
    static const enum message_kind kinds[] = {[MST_REPLICA_OP] = M_OP,
                                              [MST_REPLICA_SWEEP] = M_SWEEP,
                                              [MST_REPLICA_GRANT] = M_GRANT,
                                              [MST_REPLICA_RELEASE] = M_RELEASE};
    struct sim_copy *copy = copy_of(w, ps, part);
    struct message m = {.kind = kinds[from->kind],
                        .to = replicas_ps_node(from->to.ps),
                        .to_incarnation = w->plant == REPLICAS_PLANT_ANY_INCARNATION ? 0 : from->to.incarnation,
                        .id = {(uint32_t)ps, w->ps[ps].incarnation},
                        .part = part,
                        .call = {copy->replica.config.self, from->epoch, from->seq, from->bucket, from->is_first},
                        .answer = {.asked_ms = w->engine.now_ms, .asked_seq = from->seq, .bucket = from->bucket}};
    if (from->kind == MST_REPLICA_OP) {
        if (from->seq <= copy->floor)
            replicas_fail(w, "ps %zu is to send operation %llu, which was said to be needed no more", ps,
                          (unsigned long long)from->seq);
        m.op = copy->ops[from->seq];
        m.call.bucket = m.op.bucket;
        m.call.is_bare = m.op.is_bare;
    } else if (from->kind == MST_REPLICA_SWEEP) {
        fill_bucket(w, copy, from->bucket, &m);
    }
    replicas_send(w, replicas_ps_node(ps), &m);
}

// What was sent and not answered for long was lost with its connection.
static void note_lost(struct world *w, struct sim_copy *copy)
{
    for (size_t i = 0; i < copy->replica.n_peers; i++) {
        const struct mst_replica_peer *peer = &copy->replica.peers[i];
        uint64_t since_ms = copy->unanswered_ms[peer->id.ps];
        if (since_ms && w->engine.now_ms > since_ms + LEASE_MS / 4) {
            mst_replica_unreached(&copy->replica, peer->id.ps, w->engine.now_ms);
            copy->unanswered_ms[peer->id.ps] = 0;
        }
    }
}

// Returns when there may be more.
static uint64_t pump_copy(struct world *w, size_t ps, size_t part)
{
    struct sim_copy *copy = copy_of(w, ps, part);
    uint64_t now_ms = w->engine.now_ms;
    for (uint32_t to = 0; to < w->n_ps && !copy->awaits_values; to++) {
        struct mst_replica_message message;
        while (mst_replica_next(&copy->replica, to, now_ms, &message)) {
            mst_replica_sent(&copy->replica, &message, now_ms);
            if (message.kind != MST_REPLICA_GRANT && copy->unanswered_ms[to] == 0)
                copy->unanswered_ms[to] = now_ms;
            send_one(w, ps, part, &message);
        }
    }
    answer_waiting(w, ps, part);
    uint64_t floor = mst_replica_floor(&copy->replica);
    if (floor > copy->floor)
        copy->floor = floor;
    return mst_replica_next_wake(&copy->replica, now_ms);
}

static void wake_at(struct world *w, size_t ps, uint64_t wake_ms)
{
    struct sim_ps *server = &w->ps[ps];
    uint64_t now_ms = w->engine.now_ms;
    if (wake_ms == UINT64_MAX || (server->wake_ms > now_ms && server->wake_ms <= wake_ms))
        return;
    server->wake_ms = wake_ms;
    struct message tick = {.kind = M_TICK, .to = replicas_ps_node(ps), .to_incarnation = server->incarnation};
    tick.is_committed = true; // of the copies' own
    engine_schedule(&w->engine, &tick, wake_ms - now_ms);
}

static void pump_all(struct world *w, size_t ps)
{
    uint64_t wake_ms = UINT64_MAX;
    for (size_t g = 0; g < w->n_parts; g++) {
        uint64_t at_ms = pump_copy(w, ps, g);
        wake_ms = at_ms < wake_ms ? at_ms : wake_ms;
    }
    wake_at(w, ps, wake_ms);
}

static bool is_all_answered(const struct mst_replica *r, uint32_t ps)
{
    for (size_t i = 0; i < r->n_peers; i++)
        if (r->peers[i].id.ps == ps)
            return r->peers[i].sent <= r->peers[i].acked && r->peers[i].n_sent == r->peers[i].n_swept;
    return true;
}

static void take_backup_for_equal(struct mst_replica *r, struct mst_replica_answer answer, uint64_t now_ms)
{
    if (answer.seq != MST_REPLICA_NOTHING && r->base != MST_REPLICA_NOTHING)
        answer.seq = r->base;
    mst_replica_granted(r, &answer, now_ms);
}

static void on_answer(struct world *w, size_t ps, const struct message *m)
{
    struct sim_copy *copy = copy_of(w, ps, m->part);
    const struct mst_replica_message refused = {.to = m->id, .epoch = m->answer.epoch};
    uint64_t now_ms = w->engine.now_ms;
    switch (m->kind) {
    case M_OP_REPLY:
        mst_replica_heard(&copy->replica, &m->answer, now_ms);
        break;
    case M_SWEEP_REPLY:
        mst_replica_swept(&copy->replica, &m->answer, now_ms);
        break;
    case M_GRANT_REPLY:
        if (w->plant == REPLICAS_PLANT_BACKUP_EQUAL)
            take_backup_for_equal(&copy->replica, m->answer, now_ms);
        else
            mst_replica_granted(&copy->replica, &m->answer, now_ms);
        break;
    case M_RELEASE_REPLY:
        mst_replica_released(&copy->replica, m->id.ps);
        break;
    default:
        mst_replica_refused(&copy->replica, &refused, now_ms);
    }
    if (m->kind != M_GRANT_REPLY)
        copy->unanswered_ms[m->id.ps] = is_all_answered(&copy->replica, m->id.ps) ? 0 : now_ms;
}

// ---- what a follower does ----

static void reply_to(struct world *w, size_t ps, const struct message *m, enum message_kind kind, uint64_t seq)
{
    struct message reply = {.kind = kind, .part = m->part, .answer = m->answer};
    reply.answer.from = copy_of(w, ps, m->part)->replica.config.self;
    reply.answer.epoch = m->call.epoch;
    reply.answer.seq = seq;
    answer(w, ps, m, &reply);
}

static void fence(struct world *w, struct sim_copy *copy, const struct sim_op *op)
{
    for (size_t b = 0; b < w->n_buckets && w->plant != REPLICAS_PLANT_NO_REFUSAL; b++)
        mst_client_table_fence(&copy->buckets[b].clients, op->worker, op->number);
}

static void do_op(struct world *w, size_t ps, size_t part, const struct sim_op *op)
{
    struct sim_copy *copy = copy_of(w, ps, part);
    if (op->is_fence) {
        fence(w, copy, op);
        return;
    }
    struct sim_bucket *bucket = &copy->buckets[op->bucket];
    struct mst_client_row row = {.number = op->number, .step = op->step};
    replicas_oracle_applies(w, ps, part, bucket, op);
    mst_client_table_record(&bucket->clients, op->worker, &row);
}

static void ps_op(struct world *w, size_t ps, const struct message *m)
{
    struct sim_copy *copy = copy_of(w, ps, m->part);
    struct mst_replica *r = &copy->replica;
    struct mst_replica_call call = m->call;
    if (w->plant == REPLICAS_PLANT_OLD_OPS) {
        call.epoch = r->stored.epoch;
        call.from = r->stored.primary;
    }
    if (w->plant == REPLICAS_PLANT_TAKE_GAPS && call.seq > r->seq)
        call.seq = r->seq + 1;
    if (w->plant == REPLICAS_PLANT_BARE_ON_ITS_WAY)
        call.is_bare = false;
    enum mst_follow_verdict verdict = mst_replica_take_op(r, &call, w->engine.now_ms);
    if (verdict == MST_FOLLOW_REFUSED) {
        reply_to(w, ps, m, M_REFUSED, 0);
        return;
    }
    if (verdict == MST_FOLLOW_APPLY && !m->op.is_bare) {
        struct mst_client_row *row = mst_client_table_row(&copy->buckets[m->op.bucket].clients, m->op.worker);
        struct mst_client_row before = row ? *row : (struct mst_client_row){0};
        do_op(w, ps, m->part, &m->op);
        if (w->plant == REPLICAS_PLANT_FORGET_ROWS && !m->op.is_fence)
            mst_client_table_record(&copy->buckets[m->op.bucket].clients, m->op.worker, &before);
    }
    reply_to(w, ps, m, M_OP_REPLY, w->plant == REPLICAS_PLANT_TAKE_GAPS ? m->call.seq : mst_replica_has(r));
}

static void take_bucket(struct world *w, struct sim_bucket *bucket, const struct message *m)
{
    struct mst_client_table old = bucket->clients;
    mst_client_table_init(&bucket->clients);
    bucket->state = m->state;
    for (uint32_t i = 0; i < w->n_workers; i++) {
        struct mst_client_row row = {.number = m->rows[i].number, .step = m->rows[i].step};
        const struct mst_client_row *own = mst_client_table_row(&old, i);
        if (w->plant == REPLICAS_PLANT_KEEP_ROWS && own &&
            (own->number > row.number || (own->number == row.number && own->step > row.step)))
            row = *own;
        mst_client_table_record(&bucket->clients, i, &row);
        mst_client_table_fence(&bucket->clients, i, m->rows[i].fenced);
    }
    mst_client_table_fini(&old);
}

static void ps_sweep(struct world *w, size_t ps, const struct message *m)
{
    struct sim_copy *copy = copy_of(w, ps, m->part);
    struct mst_replica_call call = m->call;
    if (w->plant == REPLICAS_PLANT_LATE_BUCKET && !call.is_first && call.seq < copy->replica.seq)
        call.seq = copy->replica.seq;
    enum mst_follow_verdict verdict = mst_replica_take_sweep(&copy->replica, &call, w->engine.now_ms);
    if (verdict == MST_FOLLOW_REFUSED) {
        reply_to(w, ps, m, M_REFUSED, 0);
        return;
    }
    if (verdict == MST_FOLLOW_APPLY)
        take_bucket(w, &copy->buckets[call.bucket], m);
    w->is_changed[m->part] = true;
    reply_to(w, ps, m, M_SWEEP_REPLY,
             w->plant == REPLICAS_PLANT_LATE_BUCKET && verdict == MST_FOLLOW_APPLY ? m->call.seq
                                                                                   : mst_replica_has(&copy->replica));
}

static void ps_grant(struct world *w, size_t ps, const struct message *m)
{
    struct mst_replica *r = &copy_of(w, ps, m->part)->replica;
    bool is_old = w->plant == REPLICAS_PLANT_GRANT_OLD && mst_epoch_is_newer(&r->stored.epoch, &m->call.epoch);
    bool is_granted = mst_replica_ask(r, &m->call, w->engine.now_ms);
    reply_to(w, ps, m, is_granted || is_old ? M_GRANT_REPLY : M_REFUSED, mst_replica_has_all(r));
}

static void ps_release(struct world *w, size_t ps, const struct message *m)
{
    struct mst_replica *r = &copy_of(w, ps, m->part)->replica;
    if (mst_replica_take_release(r, &m->call))
        reply_to(w, ps, m, M_RELEASE_REPLY, 0);
}

// ---- workers ----

// The gradient is not kept for those who follow.
static bool comes_bare(const struct world *w, const struct mst_replica *r, size_t bucket)
{
    if (w->plant != REPLICAS_PLANT_BARE_ON_ITS_WAY)
        return mst_replica_is_counted(r, bucket);
    for (size_t i = 0; i < r->n_peers; i++)
        if (r->peers[i].phase != MST_PEER_SWEPT || bucket < r->peers[i].n_swept)
            return false;
    return true;
}

static void ps_push(struct world *w, size_t ps, const struct message *m)
{
    struct sim_copy *copy = copy_of(w, ps, m->part);
    struct mst_replica *r = &copy->replica;
    const struct sim_op *op = &m->op;
    if (copy->awaits_values || !mst_replica_admits(r, w->engine.now_ms))
        return; // it is sent again, here or elsewhere
    struct message reply = {.kind = M_PUSHED, .to = m->from, .to_incarnation = m->id.incarnation, .part = m->part};
    reply.op = *op;
    struct sim_bucket *bucket = &copy->buckets[op->bucket];
    enum mst_push_verdict verdict = mst_client_table_admit(&bucket->clients, op->worker, op->number, op->step);
    if (verdict == MST_PUSH_REPEAT && w->plant == REPLICAS_PLANT_APPLY_LAST)
        verdict = MST_PUSH_APPLY;
    switch (verdict) {
    case MST_PUSH_APPLY:
        do_op(w, ps, m->part, op);
        copy->ops[mst_replica_applied(r)] = *op;
        copy->ops[r->seq].is_bare = comes_bare(w, r, op->bucket);
        break;
    case MST_PUSH_REPEAT:
        break; // when all that is here is at the backups, it is, too
    case MST_PUSH_REFUSED_STEP:
        return;
    default:
        reply.kind = M_FENCED;
        replicas_send(w, replicas_ps_node(ps), &reply);
        return;
    }
    wait(w, ps, &reply);
}

// ---- the chief ----

static void fence_rows(struct world *w, size_t ps, const struct message *m, struct message *reply)
{
    struct sim_copy *copy = copy_of(w, ps, m->part);
    *reply = (struct message){.kind = M_FENCE_REPLY, .to = m->from, .part = m->part, .op = m->op};
    reply->id = (struct mst_replica_id){(uint32_t)ps, w->ps[ps].incarnation};
    for (size_t b = 0; b < w->n_buckets; b++) {
        const struct mst_client_row *row = mst_client_table_row(&copy->buckets[b].clients, m->op.worker);
        reply->steps[b] = row && row->number == m->op.number ? row->step : 0;
    }
}

// One that was promoted in the middle of a sweep may have it in some buckets only.
static bool is_fenced(const struct world *w, const struct sim_copy *copy, const struct sim_op *op)
{
    for (size_t b = 0; b < w->n_buckets; b++) {
        const struct mst_client_table *clients = &copy->buckets[b].clients;
        if (op->worker >= clients->n_rows || clients->fenced[op->worker] < op->number)
            return false;
    }
    return true;
}

static void ps_fence(struct world *w, size_t ps, const struct message *m)
{
    struct sim_copy *copy = copy_of(w, ps, m->part);
    struct mst_replica *r = &copy->replica;
    struct message reply;
    if (m->term < w->ps[ps].term)
        return;
    fence_rows(w, ps, m, &reply);
    if (w->plant == REPLICAS_PLANT_FENCE_ANY && mst_replica_role(r) != MST_REPLICA_NONE) {
        fence(w, copy, &m->op);
        replicas_send(w, replicas_ps_node(ps), &reply);
        return;
    }
    if (copy->awaits_values || !mst_replica_admits(r, w->engine.now_ms))
        return;
    if (!is_fenced(w, copy, &m->op)) {
        fence(w, copy, &m->op);
        copy->ops[mst_replica_applied(r)] = m->op;
    }
    if (w->plant == REPLICAS_PLANT_FENCE_EARLY)
        replicas_send(w, replicas_ps_node(ps), &reply);
    else
        wait(w, ps, &reply);
}

static bool obeys(struct world *w, size_t ps, const struct message *m)
{
    struct sim_ps *server = &w->ps[ps];
    bool is_other = m->term == server->term && server->term_holder != m->from && m->kind == M_RECALL;
    if (m->term < server->term || (is_other && w->plant != REPLICAS_PLANT_REUSE_TERM)) {
        struct message out = {.kind = M_OUT, .term = server->term};
        out.to = m->from;
        replicas_send(w, replicas_ps_node(ps), &out);
        return false;
    }
    if (m->term > server->term)
        server->term_holder = m->from;
    server->term = m->term;
    return true;
}

static void ps_recall(struct world *w, size_t ps, const struct message *m)
{
    struct sim_ps *server = &w->ps[ps];
    if (!obeys(w, ps, m))
        return;
    struct message reply = {.kind = M_RECALLED, .term = m->term, .is_counting = server->is_counting};
    reply.roles = server->stored.n_ps ? replicas_keep(w, &server->stored) : NULL;
    reply.saved = server->saved;
    if (w->plant == REPLICAS_PLANT_TEXT_EMPTY && server->stored.n_ps)
        reply.is_counting = true;
    reply.to = m->from;
    reply.id = (struct mst_replica_id){(uint32_t)ps, server->incarnation};
    replicas_send(w, replicas_ps_node(ps), &reply);
}

static void release_early(struct world *w, size_t ps, size_t part, const struct mst_roles *roles)
{
    uint32_t to = roles->groups[replicas_group_of(w, part)].primary;
    struct mst_replica_message release = {.kind = MST_REPLICA_RELEASE, .epoch = roles->epoch};
    release.to = (struct mst_replica_id){to, to == MST_NO_PS ? 0 : roles->incarnations[to]};
    if (to != MST_NO_PS)
        send_one(w, ps, part, &release);
}

// What one data thread does of it.
static void visit_part(struct world *w, size_t ps, size_t part, const struct message *m)
{
    struct sim_copy *copy = copy_of(w, ps, part);
    struct mst_replica *r = &copy->replica;
    bool was_reigning = r->is_reigning;
    if (w->plant == REPLICAS_PLANT_ANY_INCARNATION)
        r->config.self.incarnation = m->roles->incarnations[ps];
    if (w->plant == REPLICAS_PLANT_RELEASE_EARLY && was_reigning && !m->is_committed &&
        m->roles->groups[replicas_group_of(w, part)].primary != ps)
        release_early(w, ps, part, m->roles);
    else
        replicas_lost_store(w, ps, part, m->roles);
    if (m->is_committed)
        mst_replica_act(r, &m->roles->epoch, w->engine.now_ms);
    if (w->plant == REPLICAS_PLANT_PROMOTE_EARLY && r->is_reigning && !was_reigning)
        r->n_grants = 0;
    if (was_reigning && !r->is_reigning)
        copy->n_waiting = 0;
    if (!r->is_reigning || !was_reigning)
        copy->floor = 0;
}

// Where the home threads differ: what the first one says, by the planted bug.
static size_t n_threads_heard(const struct world *w)
{
    return w->plant == REPLICAS_PLANT_FIRST_THREAD ? 1 : w->n_threads;
}

static struct mst_msg_group_status status_of(const struct world *w, const struct sim_ps *server, uint32_t g)
{
    struct mst_msg_group_status status = {.group = g, .is_quiet = true, .is_swept = true, .is_complete = true};
    for (size_t t = 0; t < n_threads_heard(w); t++) {
        const struct mst_replica *r = &server->copies[replicas_part(w, g, t)].replica;
        uint32_t lost = mst_replica_lost(r, w->engine.now_ms);
        status.role = mst_replica_role(r);
        status.is_quiet = status.is_quiet && mst_replica_is_quiet(r, w->engine.now_ms);
        status.is_swept = status.is_swept && mst_replica_is_swept(r);
        status.is_complete = status.is_complete && mst_replica_is_complete(r);
        if (lost != MST_NO_PS) {
            status.has_lost = true;
            status.lost = lost;
        }
    }
    if (w->plant == REPLICAS_PLANT_SWEPT_EARLY) {
        status.is_complete = true;
        status.is_swept = status.is_swept || status.role == MST_REPLICA_JOINER;
    }
    if (w->plant == REPLICAS_PLANT_LINK_UNSAID)
        status.has_lost = false;
    return status;
}

static void report(struct world *w, size_t ps, const struct message *m)
{
    const struct sim_ps *server = &w->ps[ps];
    struct message reply = {.kind = M_ROLES_REPLY, .term = m->term, .to = m->from};
    reply.id = (struct mst_replica_id){(uint32_t)ps, server->incarnation};
    reply.reply = (struct mst_msg_roles_reply){.stored_term = server->told.term,
                                               .stored_n = server->told.n,
                                               .acting_term = server->acting.term,
                                               .acting_n = server->acting.n,
                                               .n_groups = w->n_ps,
                                               .wants_drain = server->wants_drain};
    for (uint32_t g = 0; g < w->n_ps; g++)
        reply.groups[g] = status_of(w, server, g);
    replicas_send(w, replicas_ps_node(ps), &reply);
}

static void on_visited(struct world *w, size_t ps, const struct message *m)
{
    struct sim_ps *server = &w->ps[ps];
    if (mst_epoch_is_newer(&m->roles->epoch, &server->told))
        server->told = m->roles->epoch;
    if (m->is_committed && mst_epoch_is_newer(&m->roles->epoch, &server->acting)) {
        server->acting = m->roles->epoch;
        server->is_counting |= m->roles->incarnations[ps] == server->incarnation;
    }
}

// One thread after the other stores the roles, and acts on them if m->is_committed; the chief hears of the last one.
static void on_visit(struct world *w, size_t ps, const struct message *m)
{
    struct sim_ps *server = &w->ps[ps];
    size_t thread = m->part;
    for (uint32_t g = 0; g < w->n_ps; g++)
        visit_part(w, ps, replicas_part(w, g, thread), m);
    bool is_last = thread + 1 == w->n_threads;
    if (is_last || (w->plant == REPLICAS_PLANT_TOLD_EARLY && thread == 0))
        on_visited(w, ps, m);
    if (is_last) {
        server->n_visits--;
        report(w, ps, m);
        return;
    }
    struct message next = *m;
    next.kind = M_VISIT;
    next.part = thread + 1;
    next.to_incarnation = server->incarnation;
    uint64_t at_ms = w->engine.now_ms + engine_draw(&w->engine, engine_draw(&w->engine, 8) ? VISIT_MS : LEASE_MS);
    server->visit_ms = at_ms > server->visit_ms ? at_ms : server->visit_ms; // in the order in which they came
    engine_schedule(&w->engine, &next, server->visit_ms - w->engine.now_ms);
}

static void ps_roles(struct world *w, size_t ps, const struct message *m)
{
    struct sim_ps *server = &w->ps[ps];
    if (!obeys(w, ps, m))
        return;
    bool is_newer = m->roles && mst_epoch_is_newer(&m->roles->epoch, &server->stored.epoch);
    if (is_newer)
        mst_roles_copy(&server->stored, m->roles);
    bool acts = m->roles && m->is_committed && mst_epoch_is_same(&m->roles->epoch, &server->stored.epoch) &&
                mst_epoch_is_newer(&m->roles->epoch, &server->acting);
    if (is_newer || acts) {
        struct message visit = *m;
        visit.is_committed = acts;
        visit.part = 0;
        server->n_visits++;
        on_visit(w, ps, &visit);
    } else if (server->n_visits == 0 || w->plant == REPLICAS_PLANT_TOLD_EARLY) {
        report(w, ps, m);
    }
}

static void on_tick(struct world *w, size_t ps, const struct message *m)
{
    for (size_t g = 0; g < w->n_parts; g++)
        note_lost(w, copy_of(w, ps, g));
    engine_schedule(&w->engine, m, PS_TICK_MS);
}

static void on_gone(struct world *w, size_t ps, const struct message *m)
{
    for (size_t g = 0; g < w->n_parts; g++)
        mst_replica_gone(&copy_of(w, ps, g)->replica, &m->id);
}

static void drained(struct world *w, size_t ps)
{
    replicas_ps_end(w, ps);
    struct message restart = {.kind = M_START, .to = replicas_ps_node(ps)};
    engine_schedule(&w->engine, &restart, 1 + engine_draw(&w->engine, 4 * LEASE_MS));
}

void replicas_ps_receive(struct world *w, size_t ps, const struct message *m)
{
    static void (*const handlers[])(struct world *w, size_t ps, const struct message *m) = {
        [M_TICK] = on_tick,          [M_RECALL] = ps_recall,        [M_ROLES] = ps_roles,
        [M_GONE] = on_gone,          [M_FENCE] = ps_fence,          [M_OP] = ps_op,
        [M_OP_REPLY] = on_answer,    [M_SWEEP] = ps_sweep,          [M_SWEEP_REPLY] = on_answer,
        [M_GRANT] = ps_grant,        [M_GRANT_REPLY] = on_answer,   [M_RELEASE] = ps_release,
        [M_PUSH] = ps_push,          [M_RELEASE_REPLY] = on_answer, [M_REFUSED] = on_answer,
        [M_MAP] = replicas_lost_map, [M_VISIT] = on_visit,          [M_STATE] = replicas_state_take,
    };
    if (m->kind == M_GO) {
        drained(w, ps);
        return;
    }
    if (m->kind == M_TICK && m->is_committed && w->engine.now_ms < w->ps[ps].wake_ms)
        return; // an earlier one came since
    if (m->kind != M_TICK || !m->is_committed)
        handlers[m->kind](w, ps, m);
    if (replicas_is_of_part(m))
        wake_at(w, ps, pump_copy(w, ps, m->part));
    else if (m->kind != M_ROLES || m->roles)
        pump_all(w, ps);
}
