// Parameter servers of a synchronous job that die with all they hold. The chief meets another process, stores its state
// there, then sends the map; with the values of the last checkpoint it takes the last close as applied.
#include "rounds_private.h"

#include <string.h>

static bool is_ps(const struct world *w, uint32_t node)
{
    return node > 0 && node <= w->n_ps;
}

void rounds_send(struct world *w, const struct message *message)
{
    struct message sent = *message;
    sent.from = w->self;
    if (is_ps(w, sent.to)) {
        const struct sim_ps *ps = &w->ps[sent.to - 1];
        bool is_greeting = sent.kind == M_LINK || sent.kind == M_RECALL;
        if (!ps->is_up)
            return;
        sent.life = sent.from == 0 && !is_greeting ? w->chief.links[sent.to - 1].met : ps->life;
        if (sent.from > w->n_ps)
            w->workers[sent.from - 1 - w->n_ps].ps_life[sent.to - 1] = sent.life;
    } else if (is_ps(w, sent.from)) {
        sent.life = w->ps[sent.from - 1].life;
    }
    engine_send(&w->engine, &sent);
}

bool rounds_servers_hears(const struct world *w, const struct message *m)
{
    if (m->kind == M_RESTART || m->kind == M_TICK || m->kind == M_COMPUTED)
        return true;
    if (is_ps(w, m->to))
        return w->ps[m->to - 1].is_up && m->life == w->ps[m->to - 1].life;
    if (!is_ps(w, m->from))
        return true;
    if (m->to > w->n_ps)
        return m->life >= w->workers[m->to - 1 - w->n_ps].ps_life[m->from - 1];
    uint64_t met = w->chief.links[m->from - 1].met;
    return m->kind == M_LINKED || m->kind == M_RECALL_REPLY ? m->life >= met : m->life == met;
}

// ---- a parameter server ----

void rounds_servers_init(struct world *w)
{
    for (size_t ps = 0; ps < w->n_ps; ps++) {
        w->ps[ps].is_up = w->ps[ps].is_serving = true;
        w->ps[ps].life = 1;
    }
}

bool rounds_servers_may_die(const struct world *w)
{
    for (size_t ps = 0; ps < w->n_ps; ps++)
        if (!w->ps[ps].is_up || !w->ps[ps].state.len)
            return false;
    return w->chief.is_alive && !w->chief.is_recalling && rounds_chief_is_stored(w);
}

bool rounds_chief_may_die(const struct world *w)
{
    bool is_all_known = w->chief.is_alive;
    for (size_t ps = 0; ps < w->n_ps; ps++)
        is_all_known = is_all_known && w->ps[ps].is_up && (w->ps[ps].life == 1 || w->ps[ps].copy.table.has_begun);
    return is_all_known || rounds_servers_may_die(w);
}

static void make_table(struct world *w, size_t ps)
{
    mst_status status = mst_round_table_init(&w->ps[ps].copy.table, w->n_workers, rounds_n_parts(w, ps));
    MST_ASSERT(status == MST_OK);
}

static void note_unscaled(struct world *w)
{
    w->unscaled_rounds |= UINT64_C(1) << w->chief.coordinator.rounds.close_round % 64;
}

void rounds_servers_kill(struct world *w, size_t index)
{
    struct sim_ps *ps = &w->ps[index];
    note_unscaled(w);
    mst_round_table_fini(&ps->copy.table);
    mst_round_table_fini(&ps->backup.copy.table);
    *ps = (struct sim_ps){.life = ps->life, .counted_steps = ps->counted_steps, .n_lost = ps->n_lost};
    make_table(w, index);
    struct message restart = {.kind = M_RESTART, .to = 1 + (uint32_t)index};
    engine_schedule(&w->engine, &restart, 1 + engine_draw(&w->engine, 2 * LEASE_MS));
}

static void on_map(struct world *w, size_t index, const struct message *m)
{
    struct sim_ps *ps = &w->ps[index];
    if (m->term < ps->term)
        return;
    if (!ps->is_serving) {
        ps->is_serving = true;
        ps->has_steps = m->n_steps;
        for (size_t i = 0; i < w->n_workers; i++)
            mst_round_table_fence(&ps->copy.table, i, m->refused[i]);
        if (w->is_replicated)
            rounds_backups_sweep_later(w, index);
    }
    struct message reply = {.kind = M_MAPPED, .ps = (uint32_t)index};
    rounds_send(w, &reply);
}

bool rounds_servers_ps_receive(struct world *w, const struct message *m)
{
    struct sim_ps *ps = &w->ps[m->to - 1];
    struct message reply = {.kind = M_LINKED, .ps = m->to - 1, .is_serving = ps->is_serving};
    switch (m->kind) {
    case M_RESTART:
        ps->is_up = true;
        ps->life++;
        return true;
    case M_LINK:
        if (ps->term < m->term) { // it was started again: others know the term
            ps->term = m->term;
            ps->term_holder = m->incarnation;
        }
        rounds_send(w, &reply);
        return true;
    case M_MAP:
        on_map(w, m->to - 1, m);
        return true;
    case M_STATE:
    case M_RECALL:
        return false;
    default:
        return !ps->is_serving;
    }
}

// ---- the chief ----

static bool is_linked(const struct world *w, size_t ps)
{
    return w->ps[ps].is_up && w->chief.links[ps].met == w->ps[ps].life;
}

// By the planted bug.
static bool is_unnoticed(const struct world *w)
{
    return w->plant == ROUNDS_PLANT_PS_UNNOTICED || (w->plant == ROUNDS_PLANT_LOST_MOVED && w->is_replicated);
}

// Nobody speaks for the group, then its home, as chief/ps_groups.c tells it.
static void lose(struct world *w, size_t ps)
{
    struct mst_rounds *rounds = &w->chief.coordinator.rounds;
    if (!is_unnoticed(w))
        mst_rounds_ps_lost(rounds, ps);
    for (int i = 0; w->is_replicated && i < 2; i++)
        mst_rounds_ps_moved(rounds, ps);
}

static void note_gone(struct sim_chief *chief, size_t ps)
{
    struct sim_link *link = &chief->links[ps];
    if (link->is_back)
        mst_setback_emptied(&link->setback, mst_rounds_n_steps(&chief->coordinator.rounds), 0);
}

void rounds_servers_list_setbacks(const struct world *w, struct mst_msg_setback *out)
{
    for (size_t ps = 0; ps < w->n_ps; ps++) {
        const struct mst_setback *from = &w->chief.links[ps].setback;
        out[ps] = (struct mst_msg_setback){from->is_gone, from->is_open,   from->n_steps,
                                           from->n_torn,  from->from_step, from->counted_step};
    }
}

// One that was to begin anew says again that it has, if it has.
void rounds_servers_take_setback(struct world *w, size_t ps, const struct mst_msg_setback *from)
{
    struct sim_link *link = &w->chief.links[ps];
    link->setback = (struct mst_setback){.is_gone = from->is_gone,
                                         .is_open = from->is_open,
                                         .n_steps = from->n_steps,
                                         .from_step = from->from_step,
                                         .counted_step = from->counted_step};
    link->is_back = link->is_back || from->is_gone;
    link->is_placed = link->is_placed && !link->is_back;
    if (!from->is_gone)
        note_gone(&w->chief, ps);
}

void rounds_servers_met(struct world *w, size_t ps, uint64_t life, bool is_serving)
{
    struct sim_chief *chief = &w->chief;
    struct sim_link *link = &chief->links[ps];
    if (link->met == life)
        return;
    link->met = life;
    if (w->is_replicated && is_serving) { // what it was sent before is lost, and nothing else
        if (!chief->is_recalling && w->plant != ROUNDS_PLANT_MOVED_UNNOTICED)
            mst_rounds_ps_moved(&chief->coordinator.rounds, ps);
        return;
    }
    link->is_back = link->is_placed || link->is_back;
    link->is_placed = false;
    note_gone(chief, ps);
    chief->has_stored[ps] = false;
    note_unscaled(w);
    if (link->is_back && !chief->is_recalling)
        lose(w, ps);
    if (!chief->is_recalling)
        rounds_chief_touch(w); // the last close is known to nobody else, where all come back
}

static void place(struct world *w, size_t ps)
{
    struct sim_chief *chief = &w->chief;
    struct message m = {.kind = M_MAP, .to = 1 + (uint32_t)ps, .term = chief->term, .n_steps = chief->checkpoint_steps};
    for (uint32_t i = 0; i < w->n_workers; i++)
        m.refused[i] = mst_membership_refused(&chief->coordinator.membership, i);
    struct mst_setback *setback = &chief->links[ps].setback;
    if (!setback->is_restoring)
        note_gone(chief, ps);
    if (chief->links[ps].is_back)
        mst_setback_restoring(setback, chief->checkpoint_steps);
    rounds_send(w, &m);
}

void rounds_servers_tick(struct world *w)
{
    const struct sim_chief *chief = &w->chief;
    for (size_t ps = 0; ps < w->n_ps; ps++) {
        struct message m = {.kind = M_LINK, .to = 1 + (uint32_t)ps, .term = chief->term};
        m.incarnation = chief->incarnation;
        if (!is_linked(w, ps))
            rounds_send(w, &m);
        else if (!chief->links[ps].is_placed && rounds_chief_is_stored(w))
            place(w, ps);
    }
}

static void on_mapped(struct world *w, size_t index)
{
    struct mst_rounds *rounds = &w->chief.coordinator.rounds;
    struct sim_link *link = &w->chief.links[index];
    if (link->is_placed)
        return;
    link->is_placed = true;
    if (!link->is_back)
        return;
    link->is_back = false;
    uint64_t n_taken = w->plant == ROUNDS_PLANT_PS_NO_TAKEN ? 0 : rounds->close_steps;
    w->chief.n_lost_said += mst_setback_restored(&link->setback, n_taken);
    if (!w->chief.is_held)
        mst_rounds_pause(rounds);
    w->chief.is_held = true;
    if (!is_unnoticed(w))
        mst_rounds_ps_back(rounds, index);
    rounds_chief_touch(w);
}

bool rounds_servers_chief_receive(struct world *w, const struct message *m)
{
    if (m->kind == M_LINKED)
        rounds_servers_met(w, m->ps, m->life, m->is_serving);
    else if (m->kind == M_MAPPED)
        on_mapped(w, m->ps);
    else
        return false;
    return true;
}
