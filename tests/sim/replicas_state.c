// What a chief of a job with replicas has of its workers, stored on the parameter servers for the next one, as
// chief/remembering.c does it: every server that lives stores it, and enough of those that count
// (mst_failover_is_known), before a worker hears of its number or a server of a fence.
#include "replicas_private.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

static bool has_stored(const void *arg, size_t ps)
{
    const struct sim_chief *chief = arg;
    return chief->stored_n[ps] >= chief->saved->n;
}

static bool is_known(const struct sim_chief *chief)
{
    return !chief->saved || mst_failover_is_known(&chief->failover, has_stored, chief);
}

bool replicas_state_is_stored(const struct sim_chief *chief)
{
    return !chief->is_touched && is_known(chief);
}

uint64_t replicas_state_touch(struct sim_chief *chief)
{
    chief->is_touched = true;
    return chief->saved ? chief->saved->n + 1 : 1;
}

bool replicas_state_has(const struct sim_chief *chief, uint64_t n)
{
    return chief->saved && chief->saved->n >= n && is_known(chief);
}

static void save(struct world *w, struct sim_chief *chief)
{
    struct sim_saved *saved = mst_alloc(sizeof *saved);
    saved->term = chief->term;
    saved->n = chief->saved ? chief->saved->n + 1 : 1;
    memcpy(saved->members, chief->members, sizeof saved->members);
    memcpy(saved->counted, chief->counted, sizeof saved->counted);
    saved->checkpoint = chief->checkpoint;
    for (size_t g = 0; g < w->n_ps && w->plant != REPLICAS_PLANT_SETBACK_UNTOLD; g++)
        saved->setbacks[g] = chief->groups[g].setback;
    w->saved = mst_realloc_array(w->saved, w->n_saved + 1, sizeof(struct sim_saved *));
    w->saved[w->n_saved++] = saved;
    chief->saved = saved;
    chief->is_touched = false;
}

void replicas_state_store(struct world *w, size_t c)
{
    struct sim_chief *chief = &w->chiefs[c];
    if (!chief->has_led)
        return;
    if (chief->is_touched && is_known(chief))
        save(w, chief);
    for (size_t ps = 0; chief->saved && ps < w->n_ps; ps++) {
        struct message m = {.kind = M_STATE, .to = replicas_ps_node(ps), .term = chief->term, .saved = chief->saved};
        m.to_incarnation = chief->known[ps];
        // Not the first to a process: on its connection that comes before the roles by which it counts.
        bool is_lost = w->is_state_slow && chief->stored_n[ps] && engine_draw(&w->engine, 8);
        if (!is_lost && !has_stored(chief, ps) && mst_failover_is_live(&chief->failover, ps))
            replicas_send(w, (uint32_t)c, &m);
    }
}

static bool is_newer(const struct sim_saved *a, const struct sim_saved *b)
{
    return a && (!b || a->term > b->term || (a->term == b->term && a->n > b->n));
}

void replicas_state_take(struct world *w, size_t ps, const struct message *m)
{
    struct sim_ps *server = &w->ps[ps];
    if (m->term < server->term)
        return;
    if (is_newer(m->saved, server->saved))
        server->saved = m->saved;
    struct message reply = {.kind = M_STATE_REPLY, .to = m->from, .term = m->term, .saved = m->saved};
    reply.id = (struct mst_replica_id){(uint32_t)ps, server->incarnation};
    replicas_send(w, replicas_ps_node(ps), &reply);
}

void replicas_state_taken(struct world *w, size_t c, const struct message *m)
{
    struct sim_chief *chief = &w->chiefs[c];
    uint64_t *n = &chief->stored_n[m->id.ps];
    if (m->term != chief->term || m->id.incarnation != chief->known[m->id.ps] || m->saved->n <= *n)
        return;
    *n = m->saved->n;
    replicas_state_store(w, c);
}

void replicas_state_read(struct sim_chief *chief, const struct sim_saved *saved)
{
    if (is_newer(saved, chief->best))
        chief->best = saved;
}

void replicas_state_lead(struct world *w, size_t c)
{
    struct sim_chief *chief = &w->chiefs[c];
    if (chief->best) {
        memcpy(chief->members, chief->best->members, sizeof chief->members);
        memcpy(chief->counted, chief->best->counted, sizeof chief->counted);
        chief->checkpoint = chief->best->checkpoint;
    }
    for (size_t g = 0; chief->best && g < w->n_ps; g++) {
        struct sim_group *group = &chief->groups[g];
        group->setback = chief->best->setbacks[g];
        group->setback.is_restoring = false;
        group->is_empty = group->setback.is_gone;
        group->gone_n = 1; // of this chief's
    }
    for (size_t i = 0; i < w->n_workers; i++) {
        chief->members[i].heard_ms = w->engine.now_ms;
        memset(chief->members[i].has_answered, 0, sizeof chief->members[i].has_answered);
    }
    chief->is_touched = true;
    replicas_state_store(w, c);
}

void replicas_state_end(struct world *w)
{
    for (size_t i = 0; i < w->n_saved; i++)
        free(w->saved[i]);
    free(w->saved);
}
