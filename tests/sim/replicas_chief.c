// The chiefs of a job with replicas: they carry chief/failover.h, and fence workers that are dead.
#include "replicas_private.h"

#include "chief/failover_private.h"

#include <string.h>

enum { PROBE_MS = CHIEF_TICK_MS, MAX_CHANGES = 20 };

void replicas_chief_start(struct world *w, size_t c)
{
    struct sim_chief *chief = &w->chiefs[c];
    replicas_chief_end(w, c);
    *chief = (struct sim_chief){.is_up = true, .incarnation = ++w->incarnations};
    if (w->plant != REPLICAS_PLANT_REUSE_TERM || w->terms == 0)
        w->terms++;
    chief->ticked_ms = w->engine.now_ms;
    chief->term = w->terms;
    struct mst_failover_config config = {
        .n_ps = w->n_ps, .n_replicas = w->n_replicas, .patience_ms = 2 * (uint64_t)LEASE_MS, .avoid_ms = LEASE_MS};
    mst_failover_init(&chief->failover, &config);
    mst_failover_begin(&chief->failover, chief->term);
    for (size_t ps = 0; ps < w->n_ps; ps++) {
        chief->heard_ms[ps] = w->engine.now_ms;
        chief->groups[ps].primary = MST_NO_PS;
    }
    struct message tick = {.kind = M_TICK, .to = (uint32_t)c, .to_incarnation = chief->incarnation};
    engine_schedule(&w->engine, &tick, 1);
}

void replicas_chief_end(struct world *w, size_t c)
{
    if (w->chiefs[c].is_up)
        mst_failover_fini(&w->chiefs[c].failover);
    w->chiefs[c].is_up = false;
}

struct sim_chief *replicas_leader(struct world *w)
{
    for (size_t c = 0; c < MAX_CHIEFS; c++)
        if (w->chiefs[c].is_up && w->chiefs[c].term == w->terms && w->chiefs[c].failover.phase == MST_FAILOVER_LEADING)
            return &w->chiefs[c];
    return NULL;
}

// ---- parameter servers ----

static void ask(struct world *w, size_t c, size_t ps)
{
    struct sim_chief *chief = &w->chiefs[c];
    struct message m = {.kind = M_RECALL, .to = replicas_ps_node(ps), .term = chief->term};
    m.from = (uint32_t)c;
    if (chief->failover.phase == MST_FAILOVER_LEADING) {
        m.kind = M_ROLES;
        m.to_incarnation = w->plant == REPLICAS_PLANT_ANY_INCARNATION ? 0 : chief->known[ps];
        const struct mst_roles *roles = mst_failover_to_send(&chief->failover, ps, &m.is_committed);
        m.roles = roles ? replicas_keep(w, roles) : NULL;
        if (!roles)
            m.to_incarnation = 0; // a new process is found by its greeting
    }
    replicas_send(w, (uint32_t)c, &m);
}

// A chief that did not run heard nobody: that is no silence of theirs.
static void note_silence(struct world *w, struct sim_chief *chief)
{
    uint64_t slept_ms = w->engine.now_ms - chief->ticked_ms;
    for (size_t ps = 0; slept_ms > 2 * PROBE_MS && ps < w->n_ps; ps++)
        chief->heard_ms[ps] += slept_ms;
    chief->ticked_ms = w->engine.now_ms;
    for (size_t ps = 0; ps < w->n_ps; ps++)
        if (w->engine.now_ms > chief->heard_ms[ps] + LEASE_MS)
            mst_failover_dead(&chief->failover, ps,
                              w->plant == REPLICAS_PLANT_SILENT_LOST ? MST_FAILOVER_GONE : MST_FAILOVER_SILENT,
                              w->engine.now_ms);
}

static void commit_minority(struct mst_failover *f)
{
    for (size_t ps = 0; ps < f->config.n_ps; ps++)
        if (f->servers[ps].is_live && mst_epoch_is_same(&f->servers[ps].stored, &f->current.epoch))
            mst_roles_copy(&f->committed, &f->current);
}

static void take_joiner_for_backup(const struct mst_failover *f, struct mst_roles *roles)
{
    for (size_t g = 0; g < roles->n_ps; g++) {
        struct mst_group_roles *of = &roles->groups[g];
        if (of->primary == MST_NO_PS || f->servers[of->primary].is_live || of->joiner == MST_NO_PS || of->n_backups > 0)
            continue;
        of->backups[of->n_backups++] = of->joiner;
        of->joiner = MST_NO_PS;
    }
}

static void take_backup_for_joiner(struct mst_failover *f)
{
    for (size_t g = 0; f->committed.n_ps && g < f->config.n_ps; g++) {
        struct mst_group_roles *of = &f->current.groups[g];
        uint32_t last = f->committed.groups[g].primary;
        if (of->primary == MST_NO_PS || last == MST_NO_PS || of->primary == last || f->servers[last].is_live ||
            of->n_backups == 0)
            continue;
        of->joiner = of->backups[0];
        of->n_backups = 0;
    }
}

static void plant(const struct world *w, struct mst_failover *f)
{
    if (f->phase != MST_FAILOVER_LEADING)
        return;
    if (w->plant == REPLICAS_PLANT_MINORITY && f->config.n_ps > 2)
        commit_minority(f);
    if (w->plant == REPLICAS_PLANT_PROMOTE_JOINER)
        take_joiner_for_backup(f, &f->current);
}

static bool is_news(const struct world *w, const struct mst_roles *roles, const struct mst_epoch *known)
{
    if (w->plant == REPLICAS_PLANT_WATCH_NUMBER)
        return roles->epoch.n > known->n;
    return mst_epoch_is_newer(&roles->epoch, known);
}

// Whoever waits for newer roles than these, as chief/role_questions.c does it.
static void tell_roles(struct world *w, size_t c)
{
    struct sim_chief *chief = &w->chiefs[c];
    const struct mst_roles *roles = mst_failover_committed(&chief->failover);
    for (size_t i = 0; roles && i < w->n_workers; i++) {
        if (!chief->watching[i] || !is_news(w, roles, &chief->watched[i]))
            continue;
        struct message m = {.kind = M_WATCHED, .to = replicas_worker_node(w, i), .to_incarnation = chief->watching[i]};
        m.roles = replicas_keep(w, roles);
        chief->watching[i] = 0;
        replicas_send(w, (uint32_t)c, &m);
    }
}

static void on_watch(struct world *w, size_t c, const struct message *m)
{
    w->chiefs[c].watching[m->op.worker] = m->id.incarnation;
    w->chiefs[c].watched[m->op.worker] = m->epoch;
    tell_roles(w, c);
}

static void advance(struct world *w, size_t c)
{
    struct sim_chief *chief = &w->chiefs[c];
    size_t n = 0;
    plant(w, &chief->failover);
    replicas_lost_known(w, chief);
    for (; n < MAX_CHANGES && mst_failover_advance(&chief->failover, w->engine.now_ms); n++) {
        if (w->plant == REPLICAS_PLANT_BACKUP_JOINS)
            take_backup_for_joiner(&chief->failover);
        replicas_lost_roles_changed(w, chief);
        for (size_t ps = 0; ps < w->n_ps; ps++)
            ask(w, c, ps);
    }
    if (n > 0) {
        replicas_lost_place(w, c);
        tell_roles(w, c);
    }
    if (n == MAX_CHANGES)
        replicas_fail(w, "the chief changed roles %zu times for one piece of news", n);
    if (replicas_leader(w) != chief || chief->has_led)
        return;
    chief->has_led = true;
    replicas_state_lead(w, c);
}

static void on_reply(struct world *w, size_t c, const struct message *m)
{
    struct sim_chief *chief = &w->chiefs[c];
    struct mst_failover *f = &chief->failover;
    uint32_t ps = m->id.ps;
    if (m->term != chief->term || m->id.incarnation < chief->known[ps])
        return;
    chief->heard_ms[ps] = w->engine.now_ms;
    if (chief->known[ps] != m->id.incarnation) {
        chief->is_placed[ps] = false;
        chief->stored_n[ps] = 0;
    }
    chief->known[ps] = m->id.incarnation;
    mst_failover_up(f, ps, m->id.incarnation);
    if (m->kind == M_RECALLED) {
        struct mst_failover_memory memory = {m->roles, m->is_counting || w->plant == REPLICAS_PLANT_EMPTY_COUNTS};
        mst_failover_read(f, ps, m->id.incarnation, &memory);
        replicas_state_read(chief, m->saved);
    } else {
        struct mst_msg_roles_reply reply = m->reply;
        reply.groups = m->groups;
        if (f->phase == MST_FAILOVER_LEADING)
            mst_failover_heard(f, ps, m->id.incarnation, &reply);
        if (w->plant == REPLICAS_PLANT_TEXT_EMPTY && reply.stored_term > 0)
            f->servers[ps].is_counting = true;
        if (mst_failover_is_drained(f, ps)) {
            struct message go = {
                .kind = M_GO, .to = replicas_ps_node(ps), .to_incarnation = m->id.incarnation, .term = chief->term};
            replicas_send(w, (uint32_t)c, &go);
        }
    }
    advance(w, c);
}

// ---- workers ----

static void send_fences(struct world *w, size_t c, uint32_t worker)
{
    const struct sim_chief *chief = &w->chiefs[c];
    const struct sim_member *member = &chief->members[worker];
    for (size_t part = 0; part < w->n_parts; part++)
        for (size_t ps = 0; ps < w->n_ps; ps++) {
            uint32_t g = replicas_group_of(w, part);
            bool is_asked = ps == mst_failover_primary(&chief->failover, g) || w->plant == REPLICAS_PLANT_FENCE_ANY;
            if (member->has_answered[part] || !is_asked || chief->groups[g].is_empty)
                continue;
            struct message m = {.kind = M_FENCE, .to = replicas_ps_node(ps), .term = chief->term, .part = part};
            m.from = (uint32_t)c;
            m.op = (struct sim_op){.is_fence = true, .worker = worker, .number = member->number};
            replicas_send(w, (uint32_t)c, &m);
        }
}

static void tick_workers(struct world *w, size_t c)
{
    struct sim_chief *chief = &w->chiefs[c];
    for (uint32_t i = 0; i < w->n_workers; i++) {
        struct sim_member *member = &chief->members[i];
        if (member->incarnation && !member->is_fencing && w->engine.now_ms > member->heard_ms + 2 * LEASE_MS) {
            member->is_fencing = chief->is_touched = true;
            memset(member->has_answered, 0, sizeof member->has_answered);
        }
        bool may_be_told = replicas_state_is_stored(chief) || w->plant == REPLICAS_PLANT_FENCE_UNTOLD;
        if (member->is_fencing && may_be_told)
            send_fences(w, c, i);
    }
}

// As ps_groups.c has it, an answer of who was primary of the group before counts no more: the group may be lost since.
static bool is_of_primary(const struct world *w, const struct sim_chief *chief, const struct message *m)
{
    uint32_t g = replicas_group_of(w, m->part);
    return w->plant == REPLICAS_PLANT_FENCE_ANY ||
           (m->id.ps == mst_failover_primary(&chief->failover, g) && m->id.incarnation == chief->known[m->id.ps] &&
            !chief->groups[g].is_empty);
}

static void on_fence_reply(struct world *w, struct sim_chief *chief, const struct message *m)
{
    struct sim_member *member = &chief->members[m->op.worker];
    if (!member->is_fencing || member->number != m->op.number || member->has_answered[m->part] ||
        !is_of_primary(w, chief, m))
        return;
    member->has_answered[m->part] = true;
    replicas_oracle_counted(w, m->part, m);
    for (size_t part = 0; part < w->n_parts; part++)
        if (!member->has_answered[part])
            return;
    member->is_fencing = false;
    member->incarnation = 0;
    chief->is_touched = true;
}

static void on_worker(struct world *w, size_t c, const struct message *m)
{
    struct sim_chief *chief = &w->chiefs[c];
    struct sim_member *member = &chief->members[m->op.worker];
    if (m->kind == M_HEARTBEAT) {
        if (member->incarnation == m->id.incarnation && member->number == m->op.number)
            member->heard_ms = w->engine.now_ms;
        if (member->incarnation == m->id.incarnation && member->number == m->op.number && !member->is_fencing)
            replicas_lost_reported(w, m);
        return;
    }
    if (member->is_fencing || (member->incarnation && member->incarnation != m->id.incarnation))
        return; // it asks again
    if (!member->incarnation) {
        member->number++;
        if (member->number > w->n_numbers[m->op.worker])
            w->n_numbers[m->op.worker] = member->number;
        chief->is_touched = true;
        if (member->number > MAX_NUMBERS) {
            replicas_fail(w, "worker %u got number %llu", m->op.worker, (unsigned long long)member->number);
            return;
        }
    }
    member->incarnation = m->id.incarnation;
    member->heard_ms = w->engine.now_ms;
    replicas_state_store(w, c);
    if (!replicas_state_is_stored(chief) && w->plant != REPLICAS_PLANT_NUMBER_UNSTORED)
        return; // it asks again
    struct message reply = {.kind = M_GREETED, .to = m->from, .to_incarnation = m->id.incarnation};
    reply.op.number = member->number;
    replicas_send(w, (uint32_t)c, &reply);
}

static void on_tick(struct world *w, size_t c, const struct message *m)
{
    struct sim_chief *chief = &w->chiefs[c];
    note_silence(w, chief);
    advance(w, c);
    for (size_t ps = 0; ps < w->n_ps; ps++)
        ask(w, c, ps);
    replicas_lost_place(w, c);
    if (replicas_leader(w) == chief) {
        tick_workers(w, c);
        replicas_state_store(w, c);
        replicas_lost_save(w, chief);
    }
    engine_schedule(&w->engine, m, PROBE_MS);
}

void replicas_chief_receive(struct world *w, size_t c, const struct message *m)
{
    struct sim_chief *chief = &w->chiefs[c];
    bool is_leader = replicas_leader(w) == chief;
    switch (m->kind) {
    case M_TICK:
        on_tick(w, c, m);
        break;
    case M_RECALLED:
    case M_ROLES_REPLY:
        on_reply(w, c, m);
        break;
    case M_WATCH:
        on_watch(w, c, m);
        break;
    case M_STATE_REPLY:
        if (is_leader)
            replicas_state_taken(w, c, m);
        advance(w, c); // a home may have waited for it
        break;
    case M_MAPPED:
        if (is_leader)
            replicas_lost_mapped(w, chief, m);
        break;
    case M_GONE:
        if (m->id.incarnation >= chief->known[m->id.ps])
            mst_failover_dead(&chief->failover, m->id.ps, MST_FAILOVER_GONE, w->engine.now_ms);
        advance(w, c);
        break;
    case M_OUT:
        if (m->term > chief->term)
            replicas_chief_end(w, c);
        break;
    case M_FENCE_REPLY:
        if (is_leader)
            on_fence_reply(w, chief, m);
        break;
    default:
        if (is_leader)
            on_worker(w, c, m);
    }
}
