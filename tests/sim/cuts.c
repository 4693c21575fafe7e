// Cuts in the simulated world: the chief makes them now and then, parameter servers hold, admit, mark and give up, as
// chief/cutting.c and ps/cutting.c do with sockets and clocks; and what a job would do that is resumed from each cut.
#include "world_private.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

enum { CUT_LEASES = 3 };

// ---- the chief ----

static void keep(struct world *w)
{
    mst_status status = mst_cuts_keep(&w->cuts, &w->chief);
    if (status != MST_OK)
        world_fail(w, "the chief's state could not be kept");
}

static void send_all(struct world *w)
{
    struct mst_msg_cut message;
    size_t ps;
    for (size_t cursor = 0; mst_cuts_next(&w->cuts, &cursor, &ps, &message);) {
        struct message m = {.kind = M_CUT, .to = 1 + (uint32_t)ps, .ps = (uint32_t)ps};
        m.term = w->chief_term;
        m.cut = message.id;
        m.cut_phase = message.phase;
        m.n_rows = message.n_rows;
        for (size_t i = 0; i < message.n_rows; i++)
            m.rows[i] = message.rows[i];
        world_send(w, &m);
    }
}

void cuts_chief_tick(struct world *w)
{
    uint64_t limit_ms = CUT_LEASES * LEASE_MS;
    if (mst_cuts_is_busy(&w->cuts)) {
        bool is_late = w->now_ms - w->cut_began_ms > limit_ms;
        if (is_late)
            mst_cuts_give_up(&w->cuts, "late");
        for (size_t ps = 0; ps < w->n_ps && is_late; ps++)
            if (!servers_is_linked(w, ps))
                mst_cuts_ps_lost(&w->cuts, ps);
    } else if (w->n_cuts_left && !w->saving && world_draw(w, 4) == 0) {
        w->n_cuts_left--;
        w->cut_began_ms = w->now_ms;
        mst_cuts_begin(&w->cuts, w->chief_term, true);
        if (w->plant == PLANT_CUT_LEASES_START)
            keep(w);
    }
    send_all(w);
}

// Rows of the lowest step in place of the highest.
static void plant_lowest(struct world *w, const struct message *m)
{
    for (size_t i = 0; i < m->n_rows; i++)
        for (size_t k = 0; k < w->cuts.n_rows; k++)
            if (w->cuts.rows[k].worker == m->rows[i].worker && w->cuts.rows[k].step > m->rows[i].step)
                w->cuts.rows[k] = m->rows[i];
}

static void check_cut(struct world *w);

void cuts_chief_answered(struct world *w, const struct message *m)
{
    struct mst_msg_cut_reply reply = {.id = m->cut,
                                      .n_rows = m->n_rows,
                                      .rows = m->rows,
                                      .is_marked = m->is_marked,
                                      .is_refused = m->is_refused,
                                      .text = "over",
                                      .n_updates = m->n_updates};
    if (w->links[m->ps].setback.is_open && w->cuts.phase == MST_CUTS_HOLDING && m->cut == w->cuts.id)
        w->links[m->ps].has_all = mst_coordinator_all_pushed(&w->chief, m->rows, m->n_rows);
    enum mst_cuts_news news = mst_cuts_answered(&w->cuts, m->ps, &reply);
    if (news == MST_CUTS_HELD && w->plant == PLANT_CUT_LOWEST)
        plant_lowest(w, m);
    if (news == MST_CUTS_HELD && w->plant != PLANT_CUT_LEASES_START)
        keep(w);
    if (news == MST_CUTS_MARKED) {
        if (w->plant == PLANT_CUT_LEASES_COMMIT)
            keep(w);
        check_cut(w);
        servers_save(w);
    }
    send_all(w);
}

void cuts_chief_dies(struct world *w)
{
    mst_cuts_fini(&w->cuts);
    mst_cuts_init(&w->cuts, w->n_ps);
}

// ---- a parameter server ----

static void forget_marks(struct world *w, uint32_t ps)
{
    for (size_t b = 0; b < w->n_buckets; b++)
        if (w->buckets[b].ps == ps)
            w->buckets[b].is_gated = false;
}

static void give_up(struct world *w, struct sim_gate *ps, uint32_t index)
{
    mst_cut_gate_open(&ps->gate);
    forget_marks(w, index);
}

static void answer(struct world *w, uint32_t ps, uint64_t cut, struct message *m)
{
    m->kind = M_CUT_ANSWER;
    m->to = 0;
    m->ps = ps;
    m->cut = cut;
    world_send(w, m);
}

static void take_newest(const struct mst_client_table *clients, struct message *m)
{
    for (size_t i = 0; i < clients->n_rows; i++) {
        const struct mst_client_row *row = &clients->rows[i];
        struct mst_msg_client_row *newest = NULL;
        for (size_t k = 0; k < m->n_rows && !newest; k++)
            if (m->rows[k].worker == i)
                newest = &m->rows[k];
        if (row->number == 0 ||
            (newest && (newest->number > row->number || (newest->number == row->number && newest->step >= row->step))))
            continue;
        if (!newest)
            newest = &m->rows[m->n_rows++];
        *newest = (struct mst_msg_client_row){.worker = (uint32_t)i,
                                              .number = row->number,
                                              .step = row->step,
                                              .lease = row->lease,
                                              .offset = row->offset,
                                              .is_restored = row->is_restored};
    }
}

static void answer_held(struct world *w, uint32_t ps)
{
    struct message m = {.n_rows = 0};
    for (size_t b = 0; b < w->n_pushed; b++)
        if (w->buckets[b].ps == ps)
            take_newest(&w->buckets[b].clients, &m);
    answer(w, ps, w->gates[ps].gate.id, &m);
}

// Where a bucket was marked with less than the cut says.
static void add_marked_rows(const struct world *w, const struct sim_bucket *bucket, const struct sim_gate *ps,
                            struct message *m)
{
    for (size_t i = 0; i < ps->n_admitted; i++) {
        const struct mst_cut_row *admitted = &ps->admitted[i];
        struct mst_client_row row = *mst_client_row_of(&bucket->marked_rows[admitted->worker],
                                                       &bucket->marked_last[admitted->worker], admitted->number);
        if (!mst_cut_gate_is_short(admitted, &row))
            continue;
        if (w->plant == PLANT_CUT_FENCE_UNSAID)
            continue;
        m->rows[m->n_rows++] = (struct mst_msg_client_row){.worker = admitted->worker,
                                                           .number = row.number,
                                                           .step = row.step,
                                                           .lease = row.lease,
                                                           .offset = row.offset};
    }
}

static void answer_marked(struct world *w, uint32_t ps)
{
    struct message m = {.is_marked = true, .n_updates = UINT64_MAX};
    for (size_t b = 0; b < w->n_pushed; b++) {
        const struct sim_bucket *bucket = &w->buckets[b];
        if (bucket->ps != ps)
            continue;
        if (m.n_updates == UINT64_MAX || bucket->marked_updates > m.n_updates)
            m.n_updates = bucket->marked_updates;
        add_marked_rows(w, bucket, &w->gates[ps], &m);
    }
    answer(w, ps, w->gates[ps].marked, &m);
}

static void mark(struct world *w, struct sim_bucket *bucket)
{
    bucket->is_gated = false;
    bucket->marked_updates = bucket->n_updates;
    bucket->marked_life = w->servers[bucket->ps].life;
    history_copy(w, &bucket->marked, &bucket->now);
    memset(bucket->marked_rows, 0, sizeof bucket->marked_rows);
    memset(bucket->marked_last, 0, sizeof bucket->marked_last);
    memset(bucket->marked_fenced, 0, sizeof bucket->marked_fenced);
    for (size_t i = 0; i < bucket->clients.n_rows; i++) {
        bucket->marked_rows[i] = bucket->clients.rows[i];
        bucket->marked_last[i] = bucket->clients.last_rows[i];
        bucket->marked_fenced[i] = bucket->clients.fenced[i];
    }
}

void cuts_ps_look(struct world *w, uint32_t ps)
{
    struct sim_gate *server = &w->gates[ps];
    bool is_all = server->gate.phase == MST_CUT_GATE_ADMITTING;
    for (size_t b = 0; b < w->n_pushed; b++) {
        struct sim_bucket *bucket = &w->buckets[b];
        if (bucket->ps == ps && bucket->is_gated && mst_cut_gate_is_reached(&server->gate, &bucket->clients))
            mark(w, bucket);
        is_all = is_all && (bucket->ps != ps || !bucket->is_gated);
    }
    if (!is_all)
        return;
    server->marked = server->gate.id;
    mst_cut_gate_open(&server->gate);
    answer_marked(w, ps);
}

bool cuts_ps_admits(const struct world *w, const struct sim_bucket *bucket, const struct message *m)
{
    const struct mst_cut_gate *gate = &w->gates[bucket->ps].gate;
    return !bucket->is_gated || mst_cut_gate_admits(gate, m->worker, m->push.number, m->push.step);
}

static void wait_in_silence(struct world *w, uint32_t ps, uint64_t cut)
{
    struct sim_gate *server = &w->gates[ps];
    struct message m = {.kind = M_CUT_SILENCE, .to = 1 + ps, .ps = ps, .cut = cut, .number = ++server->n_waits};
    world_schedule(w, &m, LEASE_MS);
}

static void on_hold(struct world *w, const struct message *m)
{
    struct sim_gate *server = &w->gates[m->ps];
    if (server->gate.phase == MST_CUT_GATE_HELD && server->gate.id == m->cut) {
        answer_held(w, m->ps);
        return;
    }
    if (m->cut <= server->last_cut) {
        struct message refused = {.is_refused = true};
        answer(w, m->ps, m->cut, &refused);
        return;
    }
    give_up(w, server, m->ps);
    server->last_cut = m->cut;
    mst_cut_gate_hold(&server->gate, m->cut);
    size_t n = 0;
    for (size_t b = 0; b < w->n_pushed; b++)
        if (w->buckets[b].ps == m->ps)
            w->buckets[b].is_gated = w->plant != PLANT_CUT_HELD_LATE || n++ == 0;
    wait_in_silence(w, m->ps, m->cut);
    answer_held(w, m->ps);
}

static void on_admit(struct world *w, const struct message *m)
{
    struct sim_gate *server = &w->gates[m->ps];
    if (server->marked == m->cut) {
        answer_marked(w, m->ps);
        return;
    }
    if (server->gate.phase == MST_CUT_GATE_OPEN || server->gate.id != m->cut) {
        struct message refused = {.is_refused = true};
        answer(w, m->ps, m->cut, &refused);
        return;
    }
    if (server->gate.phase == MST_CUT_GATE_ADMITTING)
        return;
    server->n_admitted = m->n_rows;
    for (size_t i = 0; i < m->n_rows; i++)
        server->admitted[i] = (struct mst_cut_row){m->rows[i].worker, m->rows[i].number, m->rows[i].step};
    mst_cut_gate_admit(&server->gate, m->cut, server->admitted, server->n_admitted);
    for (size_t b = 0; b < w->n_pushed; b++)
        w->buckets[b].is_gated |= w->buckets[b].ps == m->ps;
    wait_in_silence(w, m->ps, m->cut);
    cuts_ps_look(w, m->ps);
}

void cuts_ps_new_term(struct world *w, uint32_t ps)
{
    give_up(w, &w->gates[ps], ps);
}

void cuts_ps_receive(struct world *w, const struct message *m)
{
    struct sim_gate *server = &w->gates[m->ps];
    bool is_under_way = server->gate.phase != MST_CUT_GATE_OPEN && server->gate.id == m->cut;
    if (m->kind == M_CUT_SILENCE) {
        if (!is_under_way || m->number != server->n_waits)
            return;
        give_up(w, server, m->ps);
        struct message refused = {.is_refused = true};
        answer(w, m->ps, m->cut, &refused);
    } else if (ps_refuses_term(w, m)) {
        return;
    } else if (m->cut_phase == MST_CUT_HOLD) {
        on_hold(w, m);
    } else if (m->cut_phase == MST_CUT_ADMIT) {
        on_admit(w, m);
    } else {
        if (is_under_way)
            give_up(w, server, m->ps);
        if (server->last_cut < m->cut)
            server->last_cut = m->cut;
        struct message done = {.n_rows = 0};
        answer(w, m->ps, m->cut, &done);
    }
}

// ---- the oracle ----

// What is still to be done by the settled state, batch by batch.
static void drain(struct world *w, struct mst_coordinator *resumed, bool *left)
{
    struct mst_lease lease;
    uint64_t seq = 1;
    for (;; seq++) {
        enum mst_lease_kind kind = mst_leases_grant(&resumed->leases, 0, UINT64_MAX, seq, 1, &lease);
        if (kind != MST_LEASE_GRANTED)
            break;
        left[lease.epoch * w->n_batches + lease.first_batch] = true;
        mst_leases_complete(&resumed->leases, 0, UINT64_MAX, seq, &lease);
    }
    if (!mst_leases_finished(&resumed->leases))
        world_fail(w, "a job that is resumed from cut %llu would not end", (unsigned long long)w->cuts.id);
}

static void check_batches(struct world *w, const bool *left, uint64_t n_torn)
{
    uint64_t n_known;
    uint64_t n_partly = oracle_count_torn(w, history_marked, left, &n_known);
    for (uint64_t at = 0; at < w->chief.leases.n_total; at++) {
        size_t n = 0;
        size_t n_ever = 0;
        for (size_t b = 0; b < w->n_pushed; b++) {
            n += w->buckets[b].marked.applied[at];
            n_ever += w->buckets[b].marked.ever[at];
        }
        if (left[at] && n > 0)
            world_fail(w, "batch %llu is part of cut %llu on %zu buckets and would be trained again",
                       (unsigned long long)at, (unsigned long long)w->cuts.id, n);
        if (!left[at] && n_ever == 0)
            world_fail(w, "batch %llu is not part of cut %llu and would never be trained", (unsigned long long)at,
                       (unsigned long long)w->cuts.id);
    }
    if (n_torn > n_partly || n_torn < n_known)
        world_fail(w, "cut %llu has %llu batches on some buckets only, and %llu were counted as torn",
                   (unsigned long long)w->cuts.id, (unsigned long long)n_partly, (unsigned long long)n_torn);
}

// The newest row of a worker that a bucket was marked with.
static struct mst_client_row newest_marked(const struct world *w, uint32_t worker)
{
    struct mst_client_row most = {0};
    for (size_t b = 0; b < w->n_pushed; b++) {
        const struct mst_client_row *row = &w->buckets[b].marked_rows[worker];
        if (row->step && (row->number > most.number || (row->number == most.number && row->step > most.step)))
            most = *row;
    }
    return most;
}

// When it was marked: its server may have died since, with what it refused.
static bool was_fenced(const struct world *w, uint32_t worker, uint64_t number)
{
    for (size_t b = 0; b < w->n_pushed; b++)
        if (w->buckets[b].marked_fenced[worker] >= number)
            return true;
    return false;
}

// Of a worker that nobody fenced, every bucket was marked at the same step; its next number may have pulled by then.
static void check_even(struct world *w)
{
    for (uint32_t worker = 0; worker < w->n_workers; worker++) {
        struct mst_client_row most = newest_marked(w, worker);
        bool is_even = true;
        for (size_t b = 0; b < w->n_pushed; b++) {
            const struct mst_client_row *row = &w->buckets[b].marked_rows[worker];
            is_even = is_even && row->number >= most.number && (row->number > most.number || row->step == most.step);
        }
        if (!is_even && !was_fenced(w, worker, most.number))
            world_fail(w, "cut %llu is uneven for worker %u, which nobody fenced", (unsigned long long)w->cuts.id,
                       worker);
    }
}

// A job that is resumed from this cut trains every batch once, but for the torn ones.
static void check_cut(struct world *w)
{
    check_even(w);
    mst_cuts_settle(&w->cuts, &w->config, w->now_ms);
    struct mst_coordinator resumed;
    struct mst_chief_state beside;
    struct mst_arena arena;
    struct mst_error err;
    bool *left = mst_alloc_array(w->n_batches * w->n_epochs, sizeof *left);
    mst_arena_init(&arena, 1 << 20);
    mst_coordinator_init(&resumed, &w->config);
    if (mst_chief_state_decode(mst_buf_view(&w->cuts.state), &arena, &resumed, w->now_ms, &beside, &err) == MST_OK) {
        uint64_t n_torn = resumed.leases.n_torn;
        drain(w, &resumed, left);
        check_batches(w, left, n_torn);
        servers_settle(w);
        oracle_settled(w, left);
    } else {
        world_fail(w, "the state of cut %llu cannot be read: %s", (unsigned long long)w->cuts.id, err.text);
    }
    mst_coordinator_fini(&resumed);
    mst_arena_fini(&arena);
    free(left);
}
