// The simulated synchronous job: its size, its faults, and the loop that runs it.
#include "rounds_private.h"

#include "base/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const plant_names[N_ROUNDS_PLANTS] = {
    [ROUNDS_PLANT_NONE] = "none",
    [ROUNDS_PLANT_ONE_SHARD] = "one-shard",
    [ROUNDS_PLANT_ACK_ARRIVAL] = "ack-arrival",
    [ROUNDS_PLANT_RECLOSE] = "reclose",
    [ROUNDS_PLANT_FORGET_CLOSE] = "forget-close",
    [ROUNDS_PLANT_WAIT_N] = "wait-n",
    [ROUNDS_PLANT_ACT_UNSTORED] = "act-unstored",
    [ROUNDS_PLANT_FENCE_DROPS] = "fence-drops",
    [ROUNDS_PLANT_TERM_SKIP] = "term-skip",
    [ROUNDS_PLANT_NO_EMPTY] = "no-empty",
    [ROUNDS_PLANT_NO_APPEND] = "no-append",
    [ROUNDS_PLANT_PULL_ANY] = "pull-any",
    [ROUNDS_PLANT_CUT_EARLY] = "cut-early",
    [ROUNDS_PLANT_ANY_NUMBER] = "any-number",
    [ROUNDS_PLANT_FENCE_UNSTORED] = "fence-unstored",
    [ROUNDS_PLANT_PS_UNNOTICED] = "ps-unnoticed",
    [ROUNDS_PLANT_PS_OWN_CLOSE] = "ps-own-close",
    [ROUNDS_PLANT_PS_NO_TAKEN] = "ps-no-taken",
    [ROUNDS_PLANT_PS_NO_STATE_CLOSE] = "ps-no-state-close",
    [ROUNDS_PLANT_STORED_EARLY] = "stored-early",
    [ROUNDS_PLANT_APPLIED_EARLY] = "applied-early",
    [ROUNDS_PLANT_MOVED_UNNOTICED] = "moved-unnoticed",
    [ROUNDS_PLANT_NO_AGAIN] = "no-again",
    [ROUNDS_PLANT_REPEAT_TEXT] = "repeat-text",
    [ROUNDS_PLANT_SAME_ATTEMPT] = "same-attempt",
    [ROUNDS_PLANT_LOST_MOVED] = "lost-moved",
    [ROUNDS_PLANT_SWEEP_NORMS] = "sweep-norms",
    [ROUNDS_PLANT_SETBACK_UNSAID] = "setback-unsaid",
};

const char *rounds_plant_name(int plant)
{
    return plant_names[plant];
}

void rounds_fail(struct world *w, const char *format, ...)
{
    if (w->fault[0])
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(w->fault, 256, format, args);
    va_end(args);
}

struct mst_bytes rounds_keep(struct world *w, const struct mst_buf *buf)
{
    void *memory;
    mst_status status = mst_arena_alloc(&w->arena, buf->len + 1, &memory);
    MST_ASSERT(status == MST_OK);
    memcpy(memory, buf->data, buf->len);
    return (struct mst_bytes){memory, buf->len};
}

uint32_t rounds_worker_node(const struct world *w, size_t worker)
{
    return (uint32_t)(1 + w->n_ps + worker);
}

uint32_t rounds_ps_of(const struct world *w, size_t bucket)
{
    return (uint32_t)(bucket % w->n_ps);
}

size_t rounds_part(const struct world *w, size_t bucket)
{
    return bucket / w->n_ps;
}

size_t rounds_n_parts(const struct world *w, size_t ps)
{
    return w->n_pushed > ps ? (w->n_pushed - ps - 1) / w->n_ps + 1 : 0;
}

// ---- faults ----

static bool is_last_one(const struct world *w, size_t worker)
{
    for (size_t i = 0; i < w->n_workers; i++)
        if (i != worker && !w->workers[i].is_gone)
            return false;
    return true;
}

static void kill_worker(struct world *w, size_t worker)
{
    struct sim_worker *victim = &w->workers[worker];
    victim->is_alive = false;
    w->self = rounds_worker_node(w, worker);
    struct message lost = {.kind = M_LOST, .worker = (uint32_t)worker, .number = victim->session.number};
    if (engine_draw(&w->engine, 2)) // sometimes the connection closes, sometimes the host is just gone
        rounds_send(w, &lost);
    bool may_go = victim->session.number > 0 && !is_last_one(w, worker);
    victim->is_gone = engine_draw(&w->engine, 3) == 0 && may_go;
    if (victim->is_gone)
        return;
    struct message restart = {.kind = M_RESTART, .to = rounds_worker_node(w, worker), .worker = (uint32_t)worker};
    engine_schedule(&w->engine, &restart, 1 + engine_draw(&w->engine, 2 * LEASE_MS));
}

static void kill_chief(struct world *w)
{
    w->chief.is_alive = false;
    struct message restart = {.kind = M_RESTART};
    uint64_t most_ms = engine_draw(&w->engine, 2) ? 20 : 2 * LEASE_MS;
    engine_schedule(&w->engine, &restart, 1 + engine_draw(&w->engine, most_ms));
}

static bool strikes(struct world *w, unsigned *n_left)
{
    if (*n_left == 0 || engine_draw(&w->engine, 80) != 0)
        return false;
    (*n_left)--;
    return true;
}

// More often when it has just decided something about a round, of which nobody has heard yet, or knows what is lost.
static bool strikes_chief(struct world *w)
{
    const struct mst_rounds *rounds = &w->chief.coordinator.rounds;
    bool has_decided = rounds->close_round != w->seen_close || rounds->act_round != w->seen_act;
    has_decided = has_decided || w->chief.is_held;
    w->seen_close = rounds->close_round;
    w->seen_act = rounds->act_round;
    if (!has_decided || w->n_chief_kills_left == 0 || engine_draw(&w->engine, 4) != 0)
        return strikes(w, &w->n_chief_kills_left);
    w->n_chief_kills_left--;
    return true;
}

// More often while a close is on its way to be stored, or nobody is there who knows.
static bool strikes_primary(struct world *w)
{
    const struct mst_rounds *rounds = &w->chief.coordinator.rounds;
    bool is_well = w->chief.is_alive && rounds->act_round == rounds->close_round;
    if (is_well || w->n_failovers_left == 0 || engine_draw(&w->engine, 10) != 0)
        return strikes(w, &w->n_failovers_left);
    w->n_failovers_left--;
    return true;
}

// A group of which the primary is dead, and the backup has not taken over; else this one.
static size_t dead_or(const struct world *w, size_t ps)
{
    for (size_t i = 0; i < w->n_ps; i++)
        if (w->ps[i].is_dead)
            return i;
    return ps;
}

// Between two deliveries somebody may be killed or paused.
static void draw_faults(struct world *w)
{
    uint64_t now_ms = w->engine.now_ms;
    if (now_ms >= FAULTS_END_MS)
        return;
    size_t worker = (size_t)engine_draw(&w->engine, w->n_workers);
    size_t ps = (size_t)engine_draw(&w->engine, w->n_ps);
    if (w->n_failovers_left > 0 && engine_draw(&w->engine, 2))
        ps = rounds_backups_swept_or(w, ps);
    bool is_alive = w->workers[worker].is_alive;
    if (is_alive && strikes(w, &w->n_kills_left))
        kill_worker(w, worker);
    else if (is_alive && strikes(w, &w->n_pauses_left))
        w->workers[worker].paused_until_ms = now_ms + engine_draw(&w->engine, 4 * LEASE_MS);
    else if (rounds_chief_may_die(w) && strikes_chief(w))
        kill_chief(w);
    else if (rounds_backups_may_fail(w, ps) && strikes_primary(w))
        rounds_backups_fail(w, ps);
    else if (rounds_servers_may_die(w) && strikes(w, &w->n_ps_kills_left))
        rounds_servers_kill(w, dead_or(w, ps));
    else if (w->chief.is_alive && strikes(w, &w->n_chief_pauses_left))
        w->chief.paused_until_ms = now_ms + engine_draw(&w->engine, 4 * LEASE_MS);
}

static void deliver(struct world *w, const struct message *m)
{
    uint64_t paused_until_ms = 0;
    w->self = m->to;
    if (!rounds_servers_hears(w, m))
        return;
    if (m->to == 0)
        paused_until_ms = w->chief.paused_until_ms;
    else if (m->to > w->n_ps)
        paused_until_ms = w->workers[m->to - 1 - w->n_ps].paused_until_ms;
    if (w->engine.now_ms < paused_until_ms && m->kind != M_RESTART)
        engine_schedule(&w->engine, m, paused_until_ms - w->engine.now_ms); // it finds it in its socket later
    else if (m->to == 0)
        rounds_chief_receive(w, m);
    else if (m->to <= w->n_ps)
        rounds_ps_receive(w, m);
    else
        rounds_worker_receive(w, m);
}

// ---- the job ----

static void draw_job(struct world *w)
{
    struct engine *e = &w->engine;
    w->n_ps = 1 + (size_t)engine_draw(e, MAX_PS);
    w->n_workers = 1 + (size_t)engine_draw(e, MAX_WORKERS);
    w->n_buckets = w->n_ps + (size_t)engine_draw(e, MAX_BUCKETS - w->n_ps + 1);
    w->n_pushed = engine_draw(e, 2) ? w->n_buckets : 1 + (size_t)engine_draw(e, w->n_buckets);
    e->drop_percent = (unsigned)(engine_draw(e, 2) * engine_draw(e, 25));
    e->duplicate_percent = (unsigned)(engine_draw(e, 2) * engine_draw(e, 25));
    e->slow_percent = (unsigned)(engine_draw(e, 2) * engine_draw(e, 10));
    e->slow_ms = 3 * LEASE_MS; // longer than a lease: an answer to somebody long declared dead
    e->faults_end_ms = FAULTS_END_MS;
    w->n_kills_left = (unsigned)engine_draw(e, 4);
    w->n_pauses_left = (unsigned)engine_draw(e, 4);
    w->n_chief_kills_left = (unsigned)engine_draw(e, 5);
    w->n_chief_pauses_left = (unsigned)engine_draw(e, 3);
    w->n_ps_kills_left = engine_draw(e, 2) ? (unsigned)engine_draw(e, 4) : 0;
    w->is_replicated = engine_draw(e, 2) == 0;
    if (w->is_replicated) {
        w->n_ps_kills_left = engine_draw(e, 4) ? 0 : 1 + (unsigned)engine_draw(e, 2);
        w->has_slow_links = engine_draw(e, 3) == 0;
        w->n_failovers_left = 1 + (unsigned)engine_draw(e, 4);
    }
    w->stop_ms = engine_draw(e, 8) ? 0 : 1 + engine_draw(e, 2000);
    w->config = (struct mst_coordinator_config){.n_ps = w->n_ps,
                                                .n_batches = 1 + engine_draw(e, 12),
                                                .n_epochs = 1 + engine_draw(e, 3),
                                                .max_steps = engine_draw(e, 4) ? 0 : 1 + engine_draw(e, 12),
                                                .lease_ms = LEASE_MS,
                                                .grace_ms = GRACE_MS,
                                                .sleep_ms = HEARTBEAT_MS,
                                                .n_sums = 1,
                                                .n_round_workers = w->n_workers,
                                                .n_backup = (size_t)engine_draw(e, w->n_workers),
                                                .clip = {.global_norm = 10}};
}

static void start(struct world *w, uint64_t seed)
{
    engine_init(&w->engine, seed, sizeof(struct message));
    mst_arena_init(&w->arena, 256 << 20);
    draw_job(w);
    w->used = mst_alloc(w->config.n_batches * w->config.n_epochs);
    for (size_t ps = 0; ps < w->n_ps; ps++) {
        mst_status status = mst_round_table_init(&w->ps[ps].copy.table, w->n_workers, rounds_n_parts(w, ps));
        MST_ASSERT(status == MST_OK);
        w->ps[ps].backup.is_there = w->is_replicated;
        status = mst_round_table_init(&w->ps[ps].backup.copy.table, w->n_workers, rounds_n_parts(w, ps));
        MST_ASSERT(status == MST_OK);
    }
    rounds_servers_init(w);
    rounds_chief_start(w);
    for (size_t i = 0; i < w->n_workers; i++) {
        mst_round_session_init(&w->workers[i].session, w->n_buckets, w->n_pushed);
        rounds_worker_start(w, i);
    }
}

static void end(struct world *w)
{
    mst_coordinator_fini(&w->chief.coordinator);
    for (size_t ps = 0; ps < w->n_ps; ps++) {
        mst_round_table_fini(&w->ps[ps].copy.table);
        mst_round_table_fini(&w->ps[ps].backup.copy.table);
    }
    for (size_t i = 0; i < w->n_workers; i++)
        mst_round_session_fini(&w->workers[i].session);
    free(w->used);
    free(w->rounds);
    mst_arena_fini(&w->arena);
    engine_fini(&w->engine);
}

// The chief knows that all is trained, and so does every worker that lives.
static bool is_done(const struct world *w)
{
    bool is_done = rounds_chief_is_done(w);
    for (size_t i = 0; is_done && i < w->n_workers; i++)
        is_done = !w->workers[i].is_alive || mst_round_session_is_over(&w->workers[i].session);
    return is_done;
}

const char *rounds_run(uint64_t seed, int plant, size_t *n_delivered, char *text)
{
    struct world *w = mst_alloc(sizeof *w);
    w->plant = (enum rounds_plant)plant;
    w->fault = text;
    text[0] = '\0';
    start(w, seed);
    const struct message *m;
    while (!w->fault[0] && !is_done(w) && (m = engine_next(&w->engine))) {
        if (w->engine.now_ms > JOB_END_MS) {
            rounds_fail(w, "hang: round %llu of epoch %llu after %d ms",
                        (unsigned long long)w->chief.coordinator.rounds.close_round,
                        (unsigned long long)w->chief.coordinator.rounds.next.epoch, JOB_END_MS);
            break;
        }
        deliver(w, m);
        draw_faults(w);
    }
    rounds_oracle_check_end(w);
    *n_delivered += w->engine.n_delivered;
    end(w);
    free(w);
    return text[0] ? text : NULL;
}
