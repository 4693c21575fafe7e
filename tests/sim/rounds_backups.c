// Groups with a backup: it follows by operations in order, over a link that loses them, and takes over when the primary
// dies, with what came. What was contributed is lost. A backup that took over has one of its own again some time later.
#include "rounds_private.h"

#include <string.h>

enum { RESEND_MS = 20 };

bool rounds_backups_may_fail(const struct world *w, size_t index)
{
    for (size_t ps = 0; ps < w->n_ps; ps++)
        if (w->ps[ps].is_dead)
            return false;
    return w->is_replicated && w->ps[index].backup.is_there;
}

size_t rounds_backups_swept_or(const struct world *w, size_t index)
{
    for (size_t ps = 0; ps < w->n_ps; ps++)
        if (w->ps[ps].backup.is_there && w->ps[ps].backup.has_swept_close)
            return ps;
    return index;
}

static void schedule(struct world *w, size_t index, enum message_kind kind, uint64_t delay_ms)
{
    struct message m = {.kind = kind, .to = 1 + (uint32_t)index, .from = 1 + (uint32_t)index};
    m.life = w->ps[index].life;
    engine_schedule(&w->engine, &m, delay_ms);
}

void rounds_backups_fail(struct world *w, size_t index)
{
    w->ps[index].is_dead = true;
    uint64_t most_ms = engine_draw(&w->engine, 2) ? 30 : 2 * LEASE_MS;
    schedule(w, index, M_PROMOTE, 1 + engine_draw(&w->engine, most_ms));
}

void rounds_backups_sweep_later(struct world *w, size_t index)
{
    schedule(w, index, M_SWEEP, 1 + engine_draw(&w->engine, engine_draw(&w->engine, 2) ? 30 : LEASE_MS));
}

// ---- operations ----

static void send_op(struct world *w, size_t index, struct sim_op *op)
{
    struct message m = {.kind = M_OP, .to = 1 + (uint32_t)index, .ps = (uint32_t)index};
    m.bytes = (struct mst_bytes){(const unsigned char *)op, sizeof *op};
    m.from = m.to;
    m.life = w->ps[index].life;
    if (w->has_slow_links && engine_draw(&w->engine, 4) == 0)
        engine_schedule(&w->engine, &m, engine_draw(&w->engine, 2 * LEASE_MS)); // perhaps the last words of a primary
    else
        rounds_send(w, &m);
}

void rounds_backups_log(struct world *w, size_t index, const struct sim_op *op)
{
    struct sim_ps *ps = &w->ps[index];
    uint64_t seq = ++ps->copy.n_ops;
    bool is_early = (w->plant == ROUNDS_PLANT_STORED_EARLY && op->kind == OP_CLOSE) ||
                    (w->plant == ROUNDS_PLANT_APPLIED_EARLY && op->kind == OP_APPLY);
    if (op->kind != OP_FENCE && op->kind != OP_AGGREGATE && !is_early)
        ps->awaited = seq;
    if (!ps->backup.is_there) {
        ps->n_had = seq;
        return;
    }
    void *memory;
    mst_status status = mst_arena_alloc(&w->arena, sizeof *op, &memory);
    MST_ASSERT(status == MST_OK && ps->n_under_way < OPS_MAX);
    struct sim_op *kept = memory;
    *kept = *op;
    kept->seq = seq;
    ps->ops[ps->n_under_way++] = kept;
    send_op(w, index, kept);
    if (!ps->is_resending)
        schedule(w, index, M_RESEND, RESEND_MS);
    ps->is_resending = true;
}

bool rounds_backups_is_had(const struct sim_ps *ps)
{
    return ps->n_had >= ps->awaited;
}

static void on_resend(struct world *w, size_t index)
{
    struct sim_ps *ps = &w->ps[index];
    ps->is_resending = ps->n_under_way > 0;
    for (size_t i = 0; i < ps->n_under_way; i++)
        send_op(w, index, ps->ops[i]);
    if (ps->is_resending)
        schedule(w, index, M_RESEND, RESEND_MS);
}

static void on_had(struct world *w, size_t index, uint64_t n_ops)
{
    struct sim_ps *ps = &w->ps[index];
    size_t n = 0;
    if (n_ops <= ps->n_had)
        return;
    ps->n_had = n_ops;
    while (n < ps->n_under_way && ps->ops[n]->seq <= n_ops)
        n++;
    ps->n_under_way -= n;
    memmove(ps->ops, ps->ops + n, ps->n_under_way * sizeof ps->ops[0]);
    rounds_ps_said(w, index);
}

// ---- the backup ----

// The close of a message Round, in memory of the arena; false: there is none.
static bool read_close(struct mst_bytes bytes, struct mst_arena *arena, struct mst_msg_close *out)
{
    struct mst_msg_round round;
    if (!bytes.len)
        return false;
    mst_status status = mst_msg_round_decode(bytes, arena, &round, NULL);
    MST_ASSERT(status == MST_OK);
    *out = round.close;
    return true;
}

// An aggregate takes the place of another attempt's with its close only: the primary may die between the two.
static void follow_close(struct sim_backup *backup, const struct sim_op *op)
{
    struct sim_copy *copy = &backup->copy;
    struct mst_arena arena;
    struct mst_msg_close close;
    mst_arena_init(&arena, 1 << 20);
    if (read_close(op->close, &arena, &close))
        mst_round_table_store(&copy->table, &close);
    mst_arena_fini(&arena);
    copy->close = op->close;
    copy->norm = op->norm;
    memcpy(copy->units, backup->coming, sizeof copy->units);
}

static void follow_apply(struct world *w, size_t index, const struct sim_op *op)
{
    struct sim_copy *copy = &w->ps[index].backup.copy;
    if (copy->table.stored != op->round || copy->table.attempt != op->attempt) {
        rounds_fail(w, "the backup of ps %zu is to apply round %llu and has stored %llu", index,
                    (unsigned long long)op->round, (unsigned long long)copy->table.stored);
        return;
    }
    if (copy->table.has_begun)
        rounds_oracle_applies(w, index, copy, op->scale);
    mst_round_table_act(&copy->table);
    copy->applied = copy->close;
    w->ps[index].backup.has_swept_close = false;
}

static void on_op(struct world *w, size_t index, const struct sim_op *op)
{
    struct sim_backup *backup = &w->ps[index].backup;
    struct message reply = {.kind = M_OP_HAD, .to = 1 + (uint32_t)index, .ps = (uint32_t)index};
    if (!backup->is_there)
        return;
    if (op->seq == backup->copy.n_ops + 1) {
        backup->copy.n_ops++;
        if (op->kind == OP_AGGREGATE)
            memcpy(backup->coming, op->units, sizeof op->units);
        else if (op->kind == OP_CLOSE)
            follow_close(backup, op);
        else if (op->kind == OP_APPLY)
            follow_apply(w, index, op);
        else
            mst_round_table_fence(&backup->copy.table, op->worker, op->number);
    }
    reply.n = backup->copy.n_ops;
    rounds_send(w, &reply);
}

// Another process speaks for the group, with what it has followed.
static void on_promote(struct world *w, size_t index)
{
    struct sim_ps *ps = &w->ps[index];
    mst_round_table_fini(&ps->copy.table);
    ps->copy = ps->backup.copy;
    ps->backup = (struct sim_backup){0};
    ps->life++;
    ps->is_dead = ps->is_resending = ps->is_asked = false;
    ps->n_under_way = 0;
    ps->n_had = ps->awaited = ps->copy.n_ops;
    memset(ps->fence_seq, 0, sizeof ps->fence_seq);
    memset(ps->waits, 0, sizeof ps->waits);
    rounds_backups_sweep_later(w, index);
}

static void on_sweep(struct world *w, size_t index)
{
    struct sim_ps *ps = &w->ps[index];
    struct sim_copy *copy = &ps->backup.copy;
    struct mst_arena arena;
    struct mst_msg_close applied;
    struct mst_msg_close stored;
    struct mst_round_table *from = &ps->copy.table;
    *copy = ps->copy;
    mst_status status = mst_round_table_init(&copy->table, w->n_workers, from->n_parts);
    MST_ASSERT(status == MST_OK);
    mst_arena_init(&arena, 1 << 20);
    bool has_applied = from->has_begun && read_close(copy->applied, &arena, &applied);
    bool has_stored = from->has_close && (!from->has_begun || from->applied != from->stored) &&
                      read_close(copy->close, &arena, &stored);
    mst_round_table_take_closes(&copy->table, has_applied ? &applied : NULL, has_stored ? &stored : NULL);
    for (size_t i = 0; i < w->n_workers; i++)
        mst_round_table_fence(&copy->table, i, from->fenced[i]);
    mst_arena_fini(&arena);
    if (w->plant == ROUNDS_PLANT_SWEEP_NORMS)
        copy->norm = (struct mst_square_norm){0};
    ps->backup.is_there = true;
    ps->backup.has_swept_close = has_stored;
}

bool rounds_backups_receive(struct world *w, const struct message *m)
{
    size_t index = m->to - 1;
    bool is_dead = w->ps[index].is_dead;
    switch (m->kind) {
    case M_OP:
        on_op(w, index, (const struct sim_op *)m->bytes.data);
        return true;
    case M_OP_HAD:
        if (!is_dead)
            on_had(w, index, m->n);
        return true;
    case M_RESEND:
        if (!is_dead)
            on_resend(w, index);
        return true;
    case M_PROMOTE:
        on_promote(w, index);
        return true;
    case M_SWEEP:
        if (!is_dead)
            on_sweep(w, index);
        return true;
    case M_STATE:
    case M_RECALL:
    case M_LINK:
        return false; // others of its processes live
    default:
        return is_dead;
    }
}
