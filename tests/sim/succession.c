// Chiefs that die, and those that come after them: what the chief decides is stored on every PS before anybody is
// told; the next chief claims a higher term, reads all PSs, takes the highest state and stores it again. As
// chief/remembering.c and ps/memory.c do it over sockets.
#include "world_private.h"

#include "base/alloc.h"
#include "chief/chief_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATE_MAX = 1 << 16 };

struct sim_state {
    uint64_t term;
    uint64_t n;
    struct mst_buf bytes;
    uint64_t n_said[MAX_PS]; // the oracle's, as the links had it
};

static const struct sim_state *state_of(const struct world *w, size_t id)
{
    return &w->states[id - 1]; // 0 is none
}

// ---- storing ----

void chief_touch(struct world *w)
{
    w->is_touched = true;
}

static uint64_t stored_n(const struct world *w)
{
    uint64_t n = UINT64_MAX;
    for (size_t p = 0; p < w->n_ps; p++)
        n = w->stored_n[p] < n ? w->stored_n[p] : n;
    return n;
}

void chief_touch_fence(struct world *w)
{
    chief_touch(w);
    w->fence_mark = w->chief_n + w->is_touched;
}

bool chief_is_stored(const struct world *w)
{
    return w->chief_n > 0 && stored_n(w) >= w->chief_n;
}

bool chief_may_fence(const struct world *w)
{
    return stored_n(w) >= w->fence_mark;
}

static void send_states(struct world *w)
{
    for (uint32_t p = 0; p < w->n_ps; p++) {
        struct message m = {.kind = M_STATE, .to = 1 + p, .term = w->chief_term, .state = w->n_states};
        if (w->stored_n[p] < w->chief_n)
            world_send(w, &m);
    }
}

static void encode(struct world *w)
{
    char checkpoint[24];
    snprintf(checkpoint, sizeof checkpoint, "%zu", w->checkpoint);
    static const uint64_t threads[MAX_PS] = {1, 1, 1};
    struct mst_msg_setback setbacks[MAX_PS];
    struct mst_chief_state beside = {.checkpoint = checkpoint,
                                     .map_epoch = w->map,
                                     .n_ps = w->n_ps,
                                     .ps_threads = threads,
                                     .n_setbacks = w->n_ps,
                                     .setbacks = setbacks};
    servers_list_setbacks(w, setbacks);
    w->states = mst_realloc_array(w->states, w->n_states + 1, sizeof *w->states);
    struct sim_state *state = &w->states[w->n_states++];
    *state = (struct sim_state){.term = w->chief_term, .n = ++w->chief_n};
    for (size_t p = 0; p < w->n_ps; p++)
        state->n_said[p] = w->links[p].n_said;
    mst_buf_init(&state->bytes, STATE_MAX);
    if (mst_chief_state_encode(&beside, &w->chief, &state->bytes) != MST_OK)
        world_fail(w, "the chief's state has more than %d bytes", STATE_MAX);
    w->is_touched = false;
    send_states(w);
}

static void release(struct world *w)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n_held; i++)
        if (w->held[i].mark <= stored_n(w))
            world_send(w, &w->held[i].message);
        else if (n++ != i)
            w->held[n - 1] = w->held[i];
    w->n_held = n;
}

void chief_store(struct world *w)
{
    if (w->is_chief_up && !w->is_recalling && w->is_touched && stored_n(w) >= w->chief_n)
        encode(w);
    release(w);
}

void chief_answer(struct world *w, const struct message *answer)
{
    bool is_early = w->plant == PLANT_GRANT_EARLY && answer->kind == M_ANSWER;
    if (is_early) {
        world_send(w, answer);
        return;
    }
    if (w->n_held == MAX_HELD) // the oldest is lost, and asked for again
        memmove(w->held, w->held + 1, --w->n_held * sizeof w->held[0]);
    w->held[w->n_held++] = (struct sim_held){*answer, w->chief_n + w->is_touched};
}

static void on_stored(struct world *w, const struct message *m)
{
    if (m->is_refused) { // another one has come since: this one ends, and is started again
        if (m->term == w->chief_term)
            chief_kill(w);
        return;
    }
    const struct sim_state *state = state_of(w, m->state);
    if (state->term == w->chief_term && w->stored_n[m->ps] < state->n)
        w->stored_n[m->ps] = state->n;
    servers_place(w);
    chief_store(w);
}

// ---- succession ----

void chief_kill(struct world *w)
{
    mst_coordinator_fini(&w->chief);
    cuts_chief_dies(w);
    servers_chief_dies(w);
    w->is_chief_up = false;
    w->chief_paused_until_ms = 0;
    w->n_held = 0;
    struct message start = {.kind = M_CHIEF_START};
    world_schedule(w, &start, 1 + world_draw(w, 2 * LEASE_MS));
}

static void ask_recall(struct world *w)
{
    for (uint32_t p = 0; p < w->n_ps; p++) {
        if (!servers_is_linked(w, p))
            w->recalled &= ~(1u << p); // its link broke
        struct message m = {.kind = M_RECALL, .to = 1 + p, .term = w->chief_term};
        if (!(w->recalled >> p & 1))
            world_send(w, &m);
    }
}

static void start(struct world *w)
{
    w->chief_boot++;
    mst_coordinator_init(&w->chief, &w->config);
    w->is_chief_up = w->is_recalling = true;
    w->is_touched = false;
    w->chief_n = w->fence_mark = w->best_state = 0;
    w->recalled = 0;
    memset(w->stored_n, 0, sizeof w->stored_n);
    w->chief_term = 0;
    for (size_t p = 0; p < w->n_ps; p++)
        w->chief_term = w->servers[p].term > w->chief_term ? w->servers[p].term : w->chief_term;
    w->chief_term++;
    struct message tick = {.kind = M_TICK};
    world_schedule(w, &tick, HEARTBEAT_MS / 2);
    ask_recall(w);
}

static bool is_higher(const struct sim_state *a, const struct sim_state *b)
{
    return a->term > b->term || (a->term == b->term && a->n > b->n);
}

static bool are_all_up(const struct world *w)
{
    for (size_t p = 0; p < w->n_ps; p++)
        if (!w->servers[p].is_up)
            return false;
    return true;
}

// Which PSs serve what the state says; one that does not was started again.
static void take_servers(struct world *w, const struct mst_chief_state *beside)
{
    w->checkpoint = strtoull(beside->checkpoint, NULL, 10);
    w->map = beside->map_epoch;
    for (size_t p = 0; p < w->n_ps; p++) {
        w->links[p].is_placed = w->recalled_maps[p] == w->map;
        w->links[p].n_said = state_of(w, w->best_state)->n_said[p];
        servers_take_setback(w, p, &beside->setbacks[p]);
    }
}

static void take_best(struct world *w)
{
    struct mst_arena arena;
    struct mst_chief_state beside;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    if (!w->best_state) {
        w->checkpoint = 0;
        servers_begin_anew(w);
    } else if (mst_chief_state_decode(mst_buf_view(&state_of(w, w->best_state)->bytes), &arena, &w->chief, w->now_ms,
                                      &beside, &err) != MST_OK) {
        world_fail(w, "%s", err.text);
    } else {
        take_servers(w, &beside);
    }
    mst_arena_fini(&arena);
    w->is_recalling = false;
    chief_touch(w);
    chief_store(w);
}

static void on_recalled(struct world *w, const struct message *m)
{
    if (m->term != w->chief_term || !w->is_recalling)
        return;
    servers_met(w, m->ps, m->life);
    w->recalled |= 1u << m->ps;
    w->recalled_maps[m->ps] = m->is_serving ? m->map : 0;
    if (m->state && (!w->best_state || is_higher(state_of(w, m->state), state_of(w, w->best_state))))
        w->best_state = m->state;
    if (w->recalled == (1u << w->n_ps) - 1)
        take_best(w);
}

bool succession_receive(struct world *w, const struct message *m)
{
    if (m->kind == M_CHIEF_START && are_all_up(w)) {
        start(w);
        return true;
    }
    if (m->kind == M_CHIEF_START) { // it waits until all have greeted
        world_schedule(w, m, HEARTBEAT_MS / 2);
        return true;
    }
    if (!w->is_chief_up || (m->from == 0 && m->boot != w->chief_boot))
        return true; // nobody hears it, or the timer is a dead one's
    if (m->kind == M_STORED)
        on_stored(w, m);
    else if (m->kind == M_RECALLED)
        on_recalled(w, m);
    else if (m->kind == M_TICK && w->is_recalling) {
        ask_recall(w);
        world_schedule(w, m, HEARTBEAT_MS / 2);
    } else if (!w->is_recalling) {
        if (m->kind == M_TICK)
            send_states(w); // those that were lost
        return false;
    }
    return true;
}

// ---- the PS's side ----

bool ps_refuses_term(struct world *w, const struct message *m)
{
    return m->term < w->servers[m->to - 1].term && w->plant != PLANT_SKIP_TERM;
}

static void refuse_chief(struct world *w, const struct message *m)
{
    struct message refused = {.kind = M_STORED, .ps = m->to - 1, .term = m->term, .is_refused = true};
    world_send(w, &refused);
}

void ps_keep(struct world *w, const struct message *m)
{
    struct sim_server *server = &w->servers[m->to - 1];
    bool is_old = m->term < server->term;
    if (ps_refuses_term(w, m)) {
        refuse_chief(w, m);
        return;
    }
    if (!server->state || is_old || is_higher(state_of(w, m->state), state_of(w, server->state)))
        server->state = m->state;
    struct message reply = {.kind = M_STORED, .ps = m->to - 1, .state = server->state};
    world_send(w, &reply);
}

void ps_recall(struct world *w, const struct message *m)
{
    struct sim_server *server = &w->servers[m->to - 1];
    if (m->term < server->term) {
        refuse_chief(w, m);
        return;
    }
    if (m->term > server->term)
        cuts_ps_new_term(w, m->to - 1);
    server->term = m->term;
    struct message reply = {.kind = M_RECALLED, .ps = m->to - 1, .term = m->term, .state = server->state};
    reply.is_serving = server->is_serving;
    reply.map = server->map;
    world_send(w, &reply);
}

void succession_free(struct world *w)
{
    for (size_t i = 0; i < w->n_states; i++)
        mst_buf_fini(&w->states[i].bytes);
    free(w->states);
}
