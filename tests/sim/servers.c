// Parameter servers that die with all they hold, and what they begin with when they come back: the chief meets another
// process, stores its state there, then sends the map, with the last committed checkpoint and whom to refuse, as
// chief/ps_links.c, chief/placing.c and ps/chief_calls.c do; checkpoints are written of cuts, as chief/saving.c does.
// When no PS knows of the job any more it begins anew, as by chief/placing.c.
#include "world_private.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

static const struct sim_checkpoint *checkpoint_of(const struct world *w, size_t id)
{
    return id ? &w->checkpoints[id - 1] : NULL;
}

// ---- a parameter server ----

static void forget_clients(struct sim_bucket *bucket)
{
    mst_client_table_fini(&bucket->clients);
    mst_client_table_init(&bucket->clients);
    bucket->is_gated = false;
}

void servers_kill(struct world *w, size_t ps)
{
    struct sim_server *server = &w->servers[ps];
    w->n_ps_deaths++;
    if (server->is_serving)
        oracle_dies(w, ps);
    for (size_t b = 0; b < w->n_buckets; b++) {
        if (w->buckets[b].ps != ps)
            continue;
        if (server->is_serving)
            memcpy(w->buckets[b].died, w->buckets[b].now.applied, w->n_batches * w->n_epochs);
        forget_clients(&w->buckets[b]);
    }
    mst_cut_gate_open(&w->gates[ps].gate);
    w->gates[ps] = (struct sim_gate){.gate = w->gates[ps].gate};
    server->is_up = server->is_serving = server->is_building = false;
    server->term = server->map = 0;
    server->state = 0;
    struct message start = {.kind = M_PS_START, .to = 1 + (uint32_t)ps};
    world_schedule(w, &start, 1 + world_draw(w, 2 * LEASE_MS));
}

// Steps of workers that are in what it begins with: pushed again, they are none.
static void take_rows(struct world *w, size_t ps, const struct sim_checkpoint *from)
{
    for (size_t b = 0; b < w->n_pushed; b++)
        for (size_t i = 0; from && i < from->n_rows && w->buckets[b].ps == ps; i++) {
            const struct mst_msg_client_row *row = &from->rows[i];
            if (w->plant != PLANT_PS_ROWS_LOST)
                mst_client_table_restore(
                    &w->buckets[b].clients, row->worker,
                    &(struct mst_client_row){row->number, row->step, row->lease, row->offset, 0, true});
        }
}

static void refuse(struct world *w, size_t ps, const struct message *m)
{
    for (size_t b = 0; b < w->n_pushed; b++)
        for (uint32_t i = 0; i < w->n_workers && w->buckets[b].ps == ps && w->plant != PLANT_PS_UNREFUSED; i++)
            if (m->refused[i])
                mst_client_table_fence(&w->buckets[b].clients, i, m->refused[i]);
}

static void on_built(struct world *w, const struct message *m)
{
    size_t ps = m->to - 1;
    struct sim_server *server = &w->servers[ps];
    const struct sim_checkpoint *from = checkpoint_of(w, m->checkpoint);
    if (from && !from->is_committed)
        world_fail(w, "ps %zu begins with the checkpoint of cut %llu, which is not committed", ps,
                   (unsigned long long)from->cut);
    oracle_restored(w, ps, from);
    for (size_t b = 0; b < w->n_pushed; b++)
        if (w->buckets[b].ps == ps)
            w->buckets[b].n_updates = m->n_updates;
    take_rows(w, ps, m->is_marked ? from : NULL);
    refuse(w, ps, m);
    server->is_building = false;
    server->is_serving = true;
    struct message reply = {.kind = M_MAPPED, .ps = (uint32_t)ps};
    world_send(w, &reply);
}

static void on_map(struct world *w, const struct message *m)
{
    struct sim_server *server = &w->servers[m->to - 1];
    if (server->is_serving) {
        struct message reply = {.kind = M_MAPPED, .ps = m->to - 1};
        world_send(w, &reply);
    } else if (!server->is_building) {
        server->is_building = true;
        server->map = m->map;
        struct message built = *m;
        built.kind = M_BUILT;
        world_schedule(w, &built, 1 + world_draw(w, 30));
    }
}

static void on_link(struct world *w, const struct message *m)
{
    struct sim_server *server = &w->servers[m->to - 1];
    if (server->term < m->term)
        server->term = m->term; // it was started again: others know the term
    struct message reply = {.kind = M_LINKED, .ps = m->to - 1};
    world_send(w, &reply);
}

static void on_save(struct world *w, const struct message *m)
{
    struct sim_checkpoint *checkpoint = &w->checkpoints[m->checkpoint - 1];
    struct message reply = {.kind = M_SAVED, .ps = m->ps, .checkpoint = m->checkpoint};
    reply.is_refused = w->gates[m->ps].marked != checkpoint->cut;
    for (size_t b = 0; b < w->n_pushed && !reply.is_refused; b++)
        if (w->buckets[b].ps == m->ps && !(checkpoint->saved >> m->ps & 1))
            history_copy(w, &checkpoint->buckets[b], &w->buckets[b].marked);
    if (!reply.is_refused)
        checkpoint->saved |= 1u << m->ps;
    world_send(w, &reply);
}

// True if it is served now; a worker whose map is that of a lost job is told so.
static bool is_served(struct world *w, const struct message *m)
{
    const struct sim_server *server = &w->servers[m->to - 1];
    if (!server->is_serving)
        return w->plant == PLANT_PS_EARLY;
    if (m->map == server->map || m->kind == M_PULL)
        return true;
    struct message reply = {.kind = M_ABORTED, .to = world_worker_node(w, m->worker), .worker = m->worker};
    reply.incarnation = m->incarnation;
    world_send(w, &reply);
    return false;
}

bool servers_ps_receive(struct world *w, const struct message *m)
{
    struct sim_server *server = &w->servers[m->to - 1];
    switch (m->kind) {
    case M_PS_START:
        server->is_up = true;
        server->life++;
        break;
    case M_LINK:
        on_link(w, m);
        break;
    case M_MAP:
        if (!ps_refuses_term(w, m))
            on_map(w, m);
        break;
    case M_BUILT:
        on_built(w, m);
        break;
    case M_SAVE:
        if (!ps_refuses_term(w, m))
            on_save(w, m);
        break;
    case M_PULL:
    case M_PUSH:
        return !is_served(w, m);
    case M_FENCE:
    case M_CUT:
        return !server->is_serving;
    default:
        return false;
    }
    return true;
}

// ---- the chief ----

bool servers_is_linked(const struct world *w, size_t ps)
{
    return w->servers[ps].is_up && w->links[ps].met == w->servers[ps].life;
}

void servers_chief_tick(struct world *w)
{
    for (uint32_t ps = 0; ps < w->n_ps; ps++) {
        struct message m = {.kind = M_LINK, .to = 1 + ps, .term = w->chief_term};
        if (!servers_is_linked(w, ps))
            world_send(w, &m);
        m = (struct message){.kind = M_SAVE, .to = 1 + ps, .ps = ps, .term = w->chief_term, .checkpoint = w->saving};
        if (w->saving)
            world_send(w, &m);
    }
    servers_place(w);
}

void servers_place(struct world *w)
{
    size_t id = w->plant == PLANT_PS_UNCOMMITTED && w->saving ? w->saving : w->checkpoint;
    const struct sim_checkpoint *from = checkpoint_of(w, id);
    for (uint32_t ps = 0; ps < w->n_ps; ps++) {
        bool is_known = w->chief_n >= w->links[ps].place_mark || w->plant == PLANT_PS_GONE_UNSTORED;
        if (w->links[ps].is_placed || !servers_is_linked(w, ps) || !chief_is_stored(w) || !is_known)
            continue;
        struct message m = {.kind = M_MAP, .to = 1 + ps, .term = w->chief_term, .map = w->map, .checkpoint = id};
        for (uint32_t i = 0; i < w->n_workers; i++)
            m.refused[i] = mst_membership_refused(&w->chief.membership, i);
        m.is_marked = from && from->run == w->run; // its rows are of workers that may still push
        struct sim_link *link = &w->links[ps];
        if (link->is_back)
            mst_setback_restoring(&link->setback, from ? from->step : 0);
        m.n_updates = link->is_back ? link->setback.n_steps : w->chief.leases.n_done;
        world_send(w, &m);
    }
}

static void note_gone(struct world *w, size_t ps)
{
    struct sim_link *link = &w->links[ps];
    oracle_tells(w, ps);
    mst_setback_emptied(&link->setback, w->chief.leases.n_done, w->chief.leases.n_torn);
    chief_touch(w);
    link->place_mark = w->chief_n + w->is_touched;
}

void servers_list_setbacks(const struct world *w, struct mst_msg_setback *out)
{
    for (size_t ps = 0; ps < w->n_ps; ps++) {
        const struct mst_setback *from = &w->links[ps].setback;
        out[ps] = (struct mst_msg_setback){from->is_gone, from->is_open,   from->n_steps,
                                           from->n_torn,  from->from_step, from->counted_step};
    }
}

void servers_take_setback(struct world *w, size_t ps, const struct mst_msg_setback *from)
{
    struct sim_link *link = &w->links[ps];
    link->setback = (struct mst_setback){.is_gone = from->is_gone,
                                         .is_open = from->is_open,
                                         .n_steps = from->n_steps,
                                         .n_torn = from->n_torn,
                                         .from_step = from->from_step,
                                         .counted_step = from->counted_step};
    link->is_back = from->is_gone || (!link->is_placed && w->chief.leases.n_granted > 0);
    if (link->is_back && !from->is_gone)
        note_gone(w, ps);
    link->is_placed = link->is_placed && !link->is_back;
}

bool servers_met(struct world *w, size_t ps, uint64_t life)
{
    struct sim_link *link = &w->links[ps];
    if (link->met == life)
        return false;
    link->met = life;
    // Workers may train here before the chief has the answer to the map: that a job begins with all answers is not so.
    link->is_back = link->is_placed || link->is_back || w->chief.leases.n_granted > 0;
    link->is_placed = false;
    if (link->is_back)
        note_gone(w, ps);
    return true;
}

static void on_linked(struct world *w, const struct message *m)
{
    if (!servers_met(w, m->ps, m->life))
        return;
    if (w->plant != PLANT_PS_STORED)
        w->stored_n[m->ps] = 0;
    chief_store(w);
}

static void on_mapped(struct world *w, const struct message *m)
{
    struct sim_link *link = &w->links[m->ps];
    if (link->is_placed)
        return;
    link->is_placed = true;
    if (!link->is_back)
        return;
    link->is_back = false;
    if (w->plant == PLANT_PS_LOST_AGAIN)
        link->setback.counted_step = 0;
    uint64_t n_lost = mst_setback_restored(&link->setback, 0);
    link->has_all = false;
    link->n_said += n_lost;
    oracle_counted(w, m->ps, n_lost);
    chief_touch(w);
}

static void count_more(struct world *w, size_t ps, uint64_t n)
{
    if (w->plant != PLANT_PS_UNREPORTED)
        w->links[ps].n_said += n;
    w->n_lost += n;
}

void servers_settle(struct world *w)
{
    for (size_t ps = 0; ps < w->n_ps; ps++) {
        struct sim_link *link = &w->links[ps];
        const struct mst_setback_cut said = {w->cuts.n_done, w->cuts.n_torn, w->cuts.n_updates[ps]};
        mst_setback_seen(&link->setback, &said);
        if (link->has_all || w->plant == PLANT_PS_FIRST_CUT)
            count_more(w, ps, mst_setback_settle(&link->setback));
    }
}

// ---- checkpoints ----

void servers_save(struct world *w)
{
    for (size_t ps = 0; ps < w->n_ps; ps++)
        if (!w->links[ps].is_placed)
            return; // what it lost is not counted yet
    w->checkpoints = mst_realloc_array(w->checkpoints, w->n_checkpoints + 1, sizeof *w->checkpoints);
    struct sim_checkpoint *checkpoint = &w->checkpoints[w->n_checkpoints++];
    *checkpoint = (struct sim_checkpoint){.cut = w->cuts.id, .step = w->cuts.n_done, .run = w->run};
    mst_buf_init(&checkpoint->state, w->cuts.state.max_bytes);
    if (mst_buf_append(&checkpoint->state, w->cuts.state.data, w->cuts.state.len) != MST_OK)
        world_fail(w, "a checkpoint has no place for the chief's state");
    for (size_t b = 0; b < w->n_buckets; b++)
        history_init(w, &checkpoint->buckets[b]);
    for (size_t i = 0; i < w->cuts.n_rows && i < MAX_WORKERS; i++)
        checkpoint->rows[checkpoint->n_rows++] = w->cuts.rows[i];
    w->saving = w->n_checkpoints;
}

static void on_saved(struct world *w, const struct message *m)
{
    if (m->checkpoint != w->saving)
        return;
    const struct sim_checkpoint *checkpoint = checkpoint_of(w, w->saving);
    if (m->is_refused) {
        w->saving = 0;
    } else if (checkpoint->saved == (1u << w->n_ps) - 1) {
        struct message committed = {.kind = M_COMMITTED, .checkpoint = w->saving};
        world_schedule(w, &committed, 1 + world_draw(w, 20));
    }
}

static void on_committed(struct world *w, const struct message *m)
{
    if (m->checkpoint != w->saving)
        return;
    w->checkpoints[w->saving - 1].is_committed = true;
    w->checkpoint = w->saving;
    w->saving = 0;
    chief_touch(w);
    for (size_t ps = 0; ps < w->n_ps; ps++) {
        count_more(w, ps, mst_setback_committed(&w->links[ps].setback, w->checkpoints[w->checkpoint - 1].step));
        w->links[ps].place_mark = w->chief_n + w->is_touched;
    }
}

bool servers_chief_receive(struct world *w, const struct message *m)
{
    switch (m->kind) {
    case M_LINKED:
        on_linked(w, m);
        break;
    case M_MAPPED:
        on_mapped(w, m);
        break;
    case M_SAVED:
        on_saved(w, m);
        break;
    case M_COMMITTED:
        on_committed(w, m);
        break;
    default:
        return false;
    }
    return true;
}

void servers_chief_dies(struct world *w)
{
    w->saving = 0;
    w->checkpoint = 0;
    memset(w->links, 0, sizeof w->links);
}

static size_t newest_committed(const struct world *w)
{
    size_t id = w->n_checkpoints;
    while (id > 0 && !w->checkpoints[id - 1].is_committed)
        id--;
    return id;
}

void servers_begin_anew(struct world *w)
{
    w->run++;
    w->checkpoint = newest_committed(w);
    if (w->plant != PLANT_OLD_MAP && !w->checkpoint)
        w->map++; // workers of a life that left no checkpoint know another
    const struct sim_checkpoint *from = checkpoint_of(w, w->checkpoint);
    oracle_begun_anew(w, from);
    struct mst_arena arena;
    struct mst_chief_state beside;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    if (from &&
        mst_chief_state_decode(mst_buf_view(&from->state), &arena, &w->chief, w->now_ms, &beside, &err) != MST_OK)
        world_fail(w, "a job cannot go on from cut %llu: %s", (unsigned long long)from->cut, err.text);
    if (from) // numbers of earlier lives are out; w->run is the time of the day
        mst_membership_begin_again(&w->chief.membership, w->n_workers, w->run << 32);
    mst_training_sums_clear(&w->chief.total);
    mst_arena_fini(&arena);
}

// ---- life ----

void servers_init(struct world *w)
{
    w->run = w->map = w->chief_boot = 1;
    w->pushers = mst_alloc_array(w->n_batches * w->n_epochs, sizeof *w->pushers);
    for (size_t ps = 0; ps < w->n_ps; ps++) {
        w->servers[ps] = (struct sim_server){.term = 1, .is_up = true, .life = 1};
        servers_met(w, ps, 1);
    }
    chief_touch(w); // which map there is, is stored before it is served
}

void servers_free(struct world *w)
{
    for (size_t i = 0; i < w->n_checkpoints; i++) {
        mst_buf_fini(&w->checkpoints[i].state);
        for (size_t b = 0; b < w->n_buckets; b++)
            history_fini(&w->checkpoints[i].buckets[b]);
    }
    free(w->checkpoints);
    free(w->pushers);
}
