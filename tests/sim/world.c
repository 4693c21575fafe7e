// The job and its faults, on an engine. Nodes are in nodes.c, what is checked is in oracle.c.
#include "base/alloc.h"
#include "world_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const plant_names[N_PLANTS] = {
    [PLANT_NONE] = "none",
    [PLANT_NO_CLIENT_TABLE] = "no-client-table",
    [PLANT_REPEAT_APPLIED] = "repeat-applied",
    [PLANT_NO_REFUSAL] = "no-refusal",
    [PLANT_LOWEST_MARK] = "lowest-mark",
    [PLANT_FORGET_MARKS] = "forget-marks",
    [PLANT_NEVER_FENCED] = "never-fenced",
    [PLANT_FROZEN_QUESTION] = "frozen-question",
    [PLANT_FROZEN_MARKS] = "frozen-marks",
    [PLANT_CUT_LOWEST] = "cut-lowest",
    [PLANT_CUT_HELD_LATE] = "cut-held-late",
    [PLANT_CUT_LEASES_START] = "cut-leases-start",
    [PLANT_CUT_LEASES_COMMIT] = "cut-leases-commit",
    [PLANT_CUT_FENCE_UNSAID] = "cut-fence-unsaid",
    [PLANT_LEAD_BY_MORE] = "lead-by-more",
    [PLANT_GRANT_EARLY] = "grant-early",
    [PLANT_ADMIT_EARLY] = "admit-early",
    [PLANT_SKIP_TERM] = "skip-term",
    [PLANT_FORGET_FENCED] = "forget-fenced",
    [PLANT_PS_EARLY] = "ps-early",
    [PLANT_PS_UNCOMMITTED] = "ps-uncommitted",
    [PLANT_PS_UNREFUSED] = "ps-unrefused",
    [PLANT_PS_ZERO_MARKS] = "ps-zero-marks",
    [PLANT_PS_ROWS_LOST] = "ps-rows-lost",
    [PLANT_PS_STORED] = "ps-stored",
    [PLANT_PS_LOST_AGAIN] = "ps-lost-again",
    [PLANT_PS_UNREPORTED] = "ps-unreported",
    [PLANT_PS_FIRST_CUT] = "ps-first-cut",
    [PLANT_PS_GONE_UNSTORED] = "ps-gone-unstored",
    [PLANT_OLD_MAP] = "old-map",
};

const char *plant_name(enum plant plant)
{
    return plant_names[plant];
}

uint64_t world_draw(struct world *w, uint64_t n)
{
    return engine_draw(&w->engine, n);
}

void world_fail(struct world *w, const char *format, ...)
{
    if (w->fault[0])
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(w->fault, sizeof w->fault, format, args);
    va_end(args);
}

uint32_t world_worker_node(const struct world *w, size_t worker)
{
    return (uint32_t)(1 + w->n_ps + worker);
}

static bool is_ps(const struct world *w, uint32_t node)
{
    return node > 0 && node <= w->n_ps;
}

void world_schedule(struct world *w, const struct message *message, uint64_t delay_ms)
{
    struct message own = *message;
    own.from = own.to;
    own.boot = w->chief_boot;
    if (is_ps(w, own.to))
        own.life = w->servers[own.to - 1].life;
    engine_schedule(&w->engine, &own, delay_ms);
}

void world_send(struct world *w, const struct message *message)
{
    struct message sent = *message;
    sent.from = w->self;
    sent.run = w->run;
    if (is_ps(w, sent.to)) {
        const struct sim_server *server = &w->servers[sent.to - 1];
        bool is_greeting = sent.kind == M_LINK || sent.kind == M_RECALL;
        if (!server->is_up)
            return;
        sent.life = sent.from == 0 && !is_greeting ? w->links[sent.to - 1].met : server->life;
        if (sent.from > w->n_ps)
            w->workers[sent.from - 1 - w->n_ps].ps_life[sent.to - 1] = sent.life;
    } else if (is_ps(w, sent.from)) {
        sent.life = w->servers[sent.from - 1].life;
    } else if (sent.from > 0 && sent.kind != M_GREET && sent.kind != M_LOST) {
        sent.run = w->workers[sent.from - 1 - w->n_ps].run;
    }
    engine_send(&w->engine, &sent);
}

// Its connection, or the process at one end of it, is gone by now.
static bool is_void(const struct world *w, const struct message *m)
{
    if (m->from == m->to)
        return is_ps(w, m->to) && m->kind != M_PS_START &&
               (!w->servers[m->to - 1].is_up || m->life != w->servers[m->to - 1].life);
    if (is_ps(w, m->to))
        return !w->servers[m->to - 1].is_up || m->life != w->servers[m->to - 1].life;
    if (!is_ps(w, m->from))
        return m->run != w->run;
    if (m->to > w->n_ps)
        return m->life < w->workers[m->to - 1 - w->n_ps].ps_life[m->from - 1];
    if (m->run != w->run)
        return true; // terms of an earlier life begin with the same numbers
    uint64_t met = w->links[m->from - 1].met;
    bool is_first = m->kind == M_LINKED || m->kind == M_RECALLED || (m->kind == M_STORED && m->is_refused);
    return is_first ? m->life < met : m->life != met; // the first answers tell a chief whom it meets
}

static void kill_worker(struct world *w, size_t worker)
{
    w->self = world_worker_node(w, worker);
    struct sim_worker *victim = &w->workers[worker];
    victim->is_alive = false;
    w->n_deaths++;
    struct message lost = {.kind = M_LOST, .worker = (uint32_t)worker, .number = victim->session.number};
    if (world_draw(w, 2)) // sometimes the connection closes, sometimes the host is just gone
        world_send(w, &lost);
    struct message restart = {.kind = M_RESTART, .to = world_worker_node(w, worker), .worker = (uint32_t)worker};
    world_schedule(w, &restart, 1 + world_draw(w, 2 * LEASE_MS));
}

static void kill_all(struct world *w)
{
    for (size_t i = 0; i < w->n_workers; i++)
        if (w->workers[i].is_alive)
            kill_worker(w, i);
    for (size_t ps = 0; ps < w->n_ps; ps++)
        if (w->servers[ps].is_up)
            servers_kill(w, ps);
    if (w->is_chief_up)
        chief_kill(w);
}

// A chief that dies while a server begins anew leaves it to the next one to count what that lost.
static bool is_any_back(const struct world *w)
{
    bool is_any = false;
    for (size_t ps = 0; ps < w->n_ps; ps++)
        is_any = is_any || w->links[ps].is_back;
    return is_any;
}

// A server may die; all of them, with the chief or all processes.
static void draw_server_faults(struct world *w)
{
    size_t ps = w->n_ps_kills_left ? (size_t)world_draw(w, w->n_ps) : 0;
    if (w->n_ps_kills_left && w->servers[ps].is_up && world_draw(w, 60) == 0) {
        w->n_ps_kills_left--;
        servers_kill(w, ps);
    } else if (w->n_all_kills_left && world_draw(w, 200) == 0) {
        w->n_all_kills_left--;
        kill_all(w);
    }
}

// Between two deliveries a worker may be killed or paused, or the chief paused.
static void draw_faults(struct world *w)
{
    if (w->now_ms >= FAULTS_END_MS)
        return;
    draw_server_faults(w);
    size_t worker = (size_t)world_draw(w, w->n_workers);
    if (!w->workers[worker].is_alive)
        return;
    if (w->n_kills_left && world_draw(w, 60) == 0) {
        w->n_kills_left--;
        kill_worker(w, worker);
    } else if (w->n_pauses_left && world_draw(w, 60) == 0) {
        w->n_pauses_left--;
        w->workers[worker].paused_until_ms = w->now_ms + world_draw(w, 4 * LEASE_MS);
    } else if (w->n_chief_pauses_left && world_draw(w, 60) == 0) {
        w->n_chief_pauses_left--;
        w->chief_paused_until_ms = w->now_ms + world_draw(w, 4 * LEASE_MS);
    } else if (w->n_chief_kills_left && w->is_chief_up && world_draw(w, 40) == 0) {
        w->n_chief_kills_left--;
        chief_kill(w);
    } else if (w->n_knowing_kills_left && w->is_chief_up && is_any_back(w) && world_draw(w, 4) == 0) {
        w->n_knowing_kills_left--;
        chief_kill(w);
    }
}

static void deliver(struct world *w, const struct message *m)
{
    w->self = m->to;
    if (is_void(w, m))
        return;
    if (m->to == 0) {
        if (w->now_ms < w->chief_paused_until_ms)
            engine_schedule(&w->engine, m, w->chief_paused_until_ms - w->now_ms);
        else
            chief_receive(w, m);
    } else if (m->to <= w->n_ps) {
        ps_receive(w, m);
    } else {
        struct sim_worker *worker = &w->workers[m->to - 1 - w->n_ps];
        if (w->now_ms < worker->paused_until_ms && m->kind != M_RESTART)
            engine_schedule(&w->engine, m,
                            worker->paused_until_ms - w->now_ms); // a stopped process finds it in its socket later
        else
            worker_receive(w, m);
    }
}

// How bad the network is, and how often what may die does.
static void draw_what_befalls(struct world *w)
{
    struct engine *engine = &w->engine;
    engine->drop_percent = (unsigned)world_draw(w, 2) * (unsigned)world_draw(w, 25);
    engine->duplicate_percent = (unsigned)world_draw(w, 2) * (unsigned)world_draw(w, 25);
    engine->slow_percent = (unsigned)world_draw(w, 2) * (unsigned)world_draw(w, 10);
    w->n_kills_left = (unsigned)world_draw(w, 4);
    w->n_pauses_left = (unsigned)world_draw(w, 4);
    w->n_chief_pauses_left = (unsigned)world_draw(w, 3);
    w->n_chief_kills_left = (unsigned)world_draw(w, 2) * (unsigned)world_draw(w, 4);
    w->n_ps_kills_left = world_draw(w, 2) ? (unsigned)world_draw(w, 4) : 0;
    w->n_all_kills_left = world_draw(w, 4) == 0 ? 1 + (unsigned)world_draw(w, 2) : 0;
    w->n_chief_kills_left += w->n_all_kills_left > 0;
    w->n_knowing_kills_left = w->n_ps_kills_left && w->n_chief_kills_left ? (unsigned)world_draw(w, 3) : 0;
    // The oracle of leads looks into one chief.
    w->max_lead = w->n_chief_kills_left ? 0 : world_draw(w, 2) * (1 + world_draw(w, 4));
    w->n_cuts_left = world_draw(w, 2) ? (unsigned)world_draw(w, 6) : 0;
}

struct world *world_new(uint64_t seed, enum plant plant)
{
    struct world *w = mst_alloc(sizeof *w);
    w->plant = plant;
    struct engine *engine = &w->engine;
    engine_init(engine, seed, sizeof(struct message));
    engine->slow_ms = 3 * LEASE_MS; // longer than a lease: an answer to somebody long declared dead
    engine->faults_end_ms = FAULTS_END_MS;
    w->n_ps = 1 + (size_t)world_draw(w, MAX_PS);
    w->n_workers = 1 + (size_t)world_draw(w, MAX_WORKERS);
    w->n_buckets = w->n_ps + (size_t)world_draw(w, MAX_BUCKETS - w->n_ps + 1);
    w->n_pushed = world_draw(w, 2) ? w->n_buckets : 1 + (size_t)world_draw(w, w->n_buckets);
    w->n_batches = 1 + world_draw(w, 8);
    w->n_epochs = 1 + world_draw(w, 3);
    draw_what_befalls(w);
    struct mst_coordinator_config config = {.n_ps = w->n_ps,
                                            .n_batches = w->n_batches,
                                            .n_epochs = w->n_epochs,
                                            .max_steps = world_draw(w, 2) ? 1 + world_draw(w, 20) : 0,
                                            .lease_ms = LEASE_MS,
                                            .grace_ms = GRACE_MS,
                                            .sleep_ms = HEARTBEAT_MS,
                                            .max_lead = w->max_lead};
    if (w->max_lead && plant == PLANT_LEAD_BY_MORE)
        config.max_lead++;
    w->config = config;
    mst_coordinator_init(&w->chief, &config);
    w->is_chief_up = true;
    w->chief_term = 1;
    mst_cuts_init(&w->cuts, w->n_ps);
    for (size_t i = 0; i < MAX_PS; i++)
        mst_cut_gate_init(&w->gates[i].gate);
    for (size_t b = 0; b < w->n_buckets; b++) {
        w->buckets[b].ps = (uint32_t)(b % config.n_ps);
        mst_client_table_init(&w->buckets[b].clients);
        history_init(w, &w->buckets[b].now);
        history_init(w, &w->buckets[b].marked);
        w->buckets[b].died = mst_alloc(w->n_batches * w->n_epochs);
    }
    servers_init(w);
    for (size_t i = 0; i < w->n_workers; i++) {
        mst_session_init(&w->workers[i].session, w->n_buckets, w->n_pushed);
        worker_start(w, i);
    }
    struct message tick = {.kind = M_TICK, .term = w->chief_term};
    world_schedule(w, &tick, 0);
    return w;
}

static bool is_finished(const struct world *w)
{
    return w->is_chief_up && !w->is_recalling && mst_coordinator_finished(&w->chief);
}

const char *world_run(struct world *w)
{
    const struct message *m;
    while (!w->fault[0] && !is_finished(w) && (m = engine_next(&w->engine))) {
        w->now_ms = w->engine.now_ms;
        if (w->now_ms > JOB_END_MS) {
            world_fail(w, "hang: %llu of %llu batches done after %d ms", (unsigned long long)w->chief.leases.n_done,
                       (unsigned long long)w->chief.leases.n_total, JOB_END_MS);
            break;
        }
        deliver(w, m);
        draw_faults(w);
    }
    oracle_check_end(w);
    return w->fault[0] ? w->fault : NULL;
}

size_t world_n_delivered(const struct world *w)
{
    return w->engine.n_delivered;
}

void world_free(struct world *w)
{
    mst_coordinator_fini(&w->chief);
    mst_cuts_fini(&w->cuts);
    for (size_t i = 0; i < w->n_ps; i++)
        mst_cut_gate_fini(&w->gates[i].gate);
    for (size_t b = 0; b < w->n_buckets; b++) {
        mst_client_table_fini(&w->buckets[b].clients);
        history_fini(&w->buckets[b].now);
        history_fini(&w->buckets[b].marked);
        free(w->buckets[b].died);
    }
    for (size_t i = 0; i < w->n_workers; i++)
        mst_session_fini(&w->workers[i].session);
    succession_free(w);
    servers_free(w);
    engine_fini(&w->engine);
    free(w);
}
