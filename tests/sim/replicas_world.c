// The simulated job with replicas: its size, its faults, and the loop that runs it.
#include "replicas_private.h"

#include "base/alloc.h"
#include "chief/failover_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const plant_names[N_REPLICAS_PLANTS] = {
    [REPLICAS_PLANT_NONE] = "none",
    [REPLICAS_PLANT_RELEASE_EARLY] = "release-early",
    [REPLICAS_PLANT_FENCE_EARLY] = "fence-early",
    [REPLICAS_PLANT_FENCE_ANY] = "fence-any",
    [REPLICAS_PLANT_FULL_COMMITTED] = "full-committed",
    [REPLICAS_PLANT_LINK_UNSAID] = "link-unsaid",
    [REPLICAS_PLANT_GRANT_OLD] = "grant-old",
    [REPLICAS_PLANT_TAKE_GAPS] = "take-gaps",
    [REPLICAS_PLANT_KEEP_ROWS] = "keep-rows",
    [REPLICAS_PLANT_SWEPT_EARLY] = "swept-early",
    [REPLICAS_PLANT_NO_REFUSAL] = "no-refusal-ps",
    [REPLICAS_PLANT_ACK_EARLY] = "ack-early",
    [REPLICAS_PLANT_APPLY_LAST] = "apply-last",
    [REPLICAS_PLANT_FORGET_ROWS] = "forget-rows",
    [REPLICAS_PLANT_PROMOTE_EARLY] = "promote-early",
    [REPLICAS_PLANT_REUSE_TERM] = "reuse-term",
    [REPLICAS_PLANT_OLD_OPS] = "old-ops",
    [REPLICAS_PLANT_ANY_INCARNATION] = "any-incarnation",
    [REPLICAS_PLANT_ALONE] = "alone",
    [REPLICAS_PLANT_LATE_BUCKET] = "late-bucket",
    [REPLICAS_PLANT_BARE_ON_ITS_WAY] = "bare-on-its-way",
    [REPLICAS_PLANT_BACKUP_EQUAL] = "backup-equal",
    [REPLICAS_PLANT_BACKUP_JOINS] = "backup-joins",
    [REPLICAS_PLANT_MINORITY] = "minority",
    [REPLICAS_PLANT_PROMOTE_JOINER] = "promote-joiner",
    [REPLICAS_PLANT_EMPTY_COUNTS] = "empty-counts",
    [REPLICAS_PLANT_FIRST_THREAD] = "first-thread",
    [REPLICAS_PLANT_TOLD_EARLY] = "told-early",
    [REPLICAS_PLANT_TEXT_EMPTY] = "text-empty",
    [REPLICAS_PLANT_NUMBER_UNSTORED] = "number-unstored",
    [REPLICAS_PLANT_FENCE_UNTOLD] = "fence-untold",
    [REPLICAS_PLANT_WATCH_NUMBER] = "watch-number",
    [REPLICAS_PLANT_SETBACK_UNTOLD] = "setback-untold",
    [REPLICAS_PLANT_SILENT_LOST] = "silent-lost",
    [REPLICAS_PLANT_LOST_UNRESTORED] = "lost-unrestored",
    [REPLICAS_PLANT_MAP_RESTORES_ALL] = "map-restores-all",
    [REPLICAS_PLANT_RESTORE_UNREFUSED] = "restore-unrefused",
    [REPLICAS_PLANT_RESTORE_ROWLESS] = "restore-rowless",
    [REPLICAS_PLANT_LOST_COUNTED_AGAIN] = "lost-counted-again",
    [REPLICAS_PLANT_HOME_UNSTORED] = "home-unstored",
};

const char *replicas_plant_name(int plant)
{
    return plant_names[plant];
}

void replicas_fail(struct world *w, const char *format, ...)
{
    if (w->fault[0])
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(w->fault, 256, format, args);
    va_end(args);
}

uint32_t replicas_ps_node(size_t ps)
{
    return (uint32_t)(MAX_CHIEFS + ps);
}

uint32_t replicas_worker_node(const struct world *w, size_t worker)
{
    return (uint32_t)(MAX_CHIEFS + w->n_ps + worker);
}

static bool is_ps(const struct world *w, uint32_t node)
{
    return node >= MAX_CHIEFS && node < MAX_CHIEFS + w->n_ps;
}

bool replicas_is_awake(const struct world *w, size_t ps)
{
    return w->ps[ps].is_up && w->ps[ps].paused_until_ms <= w->engine.now_ms;
}

uint32_t replicas_group_of(const struct world *w, size_t part)
{
    return (uint32_t)(part % w->n_ps);
}

size_t replicas_part(const struct world *w, size_t group, size_t thread)
{
    return thread * w->n_ps + group;
}

bool replicas_is_of_part(const struct message *m)
{
    return (m->kind >= M_FENCE && m->kind <= M_REFUSED) || m->kind == M_PUSH || m->kind == M_PUSHED;
}

// Also of the groups: planted bugs change them under one epoch.
static bool are_same_roles(const struct mst_roles *a, const struct mst_roles *b)
{
    return mst_epoch_is_same(&a->epoch, &b->epoch) && a->n_ps == b->n_ps &&
           memcmp(a->groups, b->groups, a->n_ps * sizeof *a->groups) == 0 &&
           memcmp(a->incarnations, b->incarnations, a->n_ps * sizeof *a->incarnations) == 0;
}

const struct mst_roles *replicas_keep(struct world *w, const struct mst_roles *roles)
{
    // The same ones are sent again and again; 4: two chiefs may each have some that are proposed.
    for (size_t i = 0; i < 4 && i < w->n_roles; i++)
        if (are_same_roles(w->roles[w->n_roles - 1 - i], roles))
            return w->roles[w->n_roles - 1 - i];
    w->roles = mst_realloc_array(w->roles, w->n_roles + 1, sizeof *w->roles);
    struct mst_roles *copy = mst_alloc(sizeof *copy);
    mst_roles_copy(copy, roles);
    w->roles[w->n_roles++] = copy;
    return copy;
}

// ---- the network ----

static bool is_cut(const struct world *w, uint32_t a, uint32_t b)
{
    if (is_ps(w, a) && is_ps(w, b))
        return w->is_link_cut[a - MAX_CHIEFS][b - MAX_CHIEFS];
    if (a < MAX_CHIEFS && is_ps(w, b))
        return w->ps[b - MAX_CHIEFS].is_cut || w->is_apart[a][b - MAX_CHIEFS];
    return b < MAX_CHIEFS && is_ps(w, a) && (w->ps[a - MAX_CHIEFS].is_cut || w->is_apart[b][a - MAX_CHIEFS]);
}

void replicas_send(struct world *w, uint32_t from, struct message *m)
{
    m->from = from;
    if (is_cut(w, from, m->to))
        return;
    if (from < MAX_CHIEFS && is_ps(w, m->to) && !w->ps[m->to - MAX_CHIEFS].is_up) {
        size_t ps = m->to - MAX_CHIEFS;
        struct message gone = {.kind = M_GONE, .to = from, .id = {(uint32_t)ps, w->ps[ps].incarnation}};
        if (engine_draw(&w->engine, 2)) // it is refused, or the host is gone
            engine_send(&w->engine, &gone);
        return;
    }
    engine_send(&w->engine, m);
}

static uint64_t *paused_until(struct world *w, uint32_t node)
{
    if (node < MAX_CHIEFS)
        return &w->chiefs[node].paused_until_ms;
    return is_ps(w, node) ? &w->ps[node - MAX_CHIEFS].paused_until_ms
                          : &w->workers[node - MAX_CHIEFS - w->n_ps].paused_until_ms;
}

static bool is_there(const struct world *w, const struct message *m)
{
    bool is_up;
    uint64_t incarnation;
    if (m->to < MAX_CHIEFS) {
        is_up = w->chiefs[m->to].is_up;
        incarnation = w->chiefs[m->to].incarnation;
    } else if (is_ps(w, m->to)) {
        is_up = w->ps[m->to - MAX_CHIEFS].is_up;
        incarnation = w->ps[m->to - MAX_CHIEFS].incarnation;
    } else {
        is_up = w->workers[m->to - MAX_CHIEFS - w->n_ps].is_up;
        incarnation = w->workers[m->to - MAX_CHIEFS - w->n_ps].incarnation;
    }
    return is_up && (m->to_incarnation == 0 || m->to_incarnation == incarnation) &&
           (m->kind == M_TICK || m->kind == M_COMPUTED || m->kind == M_VISIT || m->kind == M_BLOW ||
            m->kind == M_SECOND || !is_cut(w, m->from, m->to));
}

// ---- faults ----

// All but one of the servers, or all.
static bool is_calm_but(const struct world *w, size_t missing)
{
    for (size_t ps = 0; ps < w->n_ps; ps++) {
        if (ps != missing && (!replicas_is_awake(w, ps) || w->ps[ps].is_cut || w->ps[ps].wants_drain))
            return false;
        for (size_t other = 0; other < w->n_ps; other++)
            if (w->is_link_cut[ps][other])
                return false;
    }
    return true;
}

static bool is_calm(const struct world *w)
{
    return is_calm_but(w, MST_NO_PS);
}

static bool looks_full(const struct world *w, const struct mst_failover *f)
{
    for (size_t i = 0; i < f->committed.n_ps; i++)
        if (f->committed.groups[i].primary == MST_NO_PS || f->committed.groups[i].n_backups < w->n_replicas ||
            f->committed.incarnations[i] != w->ps[i].incarnation)
            return false; // also a death that the chief has not seen yet
    return f->committed.n_ps && (mst_failover_is_full(f) || w->plant == REPLICAS_PLANT_FULL_COMMITTED);
}

// The next parameter server may be lost.
static bool is_full(struct world *w)
{
    const struct sim_chief *leader = replicas_leader(w);
    return leader && !(w->chiefs[0].is_up && w->chiefs[1].is_up) && is_calm(w) && looks_full(w, &leader->failover);
}

static void restart_later(struct world *w, uint32_t node, uint64_t most_ms)
{
    struct message restart = {.kind = M_START, .to = node};
    engine_schedule(&w->engine, &restart, 1 + engine_draw(&w->engine, most_ms));
}

static void crash(struct world *w, size_t ps)
{
    struct message gone = {.kind = M_GONE, .id = {(uint32_t)ps, w->ps[ps].incarnation}};
    replicas_ps_end(w, ps);
    for (size_t other = 0; other < w->n_ps; other++) {
        gone.to = replicas_ps_node(other);
        gone.from = gone.to;
        if (other != ps && engine_draw(&w->engine, 2))
            engine_send(&w->engine, &gone);
    }
    restart_later(w, replicas_ps_node(ps), 4 * LEASE_MS);
}

// A chief is there that knows who has what, and no other one will be read before enough of them know it again.
static bool may_be_struck(struct world *w)
{
    return replicas_leader(w) && !(w->chiefs[0].is_up && w->chiefs[1].is_up);
}

static void blow(struct world *w, size_t ps)
{
    if (!may_be_struck(w) || !w->ps[ps].is_up)
        return;
    crash(w, ps);
    replicas_lost_dies(w, false);
}

// All copies of a group, or any server.
static void draw_blow(struct world *w, size_t ps)
{
    const struct mst_roles *roles = &replicas_leader(w)->failover.committed;
    bool is_at_once = engine_draw(&w->engine, 2);
    bool is_alone = engine_draw(&w->engine, 3) == 0;
    w->n_blows_left--;
    for (uint32_t other = 0; other < w->n_ps; other++) {
        enum mst_replica_role role = mst_roles_of(roles, (uint32_t)ps, other);
        struct message m = {.kind = M_BLOW, .to = replicas_ps_node(other)};
        if (is_alone ? other == ps : role == MST_REPLICA_PRIMARY || role == MST_REPLICA_BACKUP)
            engine_schedule(&w->engine, &m, is_at_once ? 1 : 1 + engine_draw(&w->engine, 3 * LEASE_MS));
    }
}

// ---- two of three copies ----

static void crash_first(struct world *w, size_t ps)
{
    size_t second = (ps + 1 + (size_t)engine_draw(&w->engine, w->n_ps - 1)) % w->n_ps;
    struct message m = {.kind = M_SECOND, .to = replicas_ps_node(second)};
    crash(w, ps);
    replicas_lost_dies(w, true);
    if (!w->is_twofold)
        return;
    w->first = (struct sim_first){ps, w->engine.now_ms, w->terms, w->incarnations};
    engine_schedule(&w->engine, &m, 1 + engine_draw(&w->engine, engine_draw(&w->engine, 2) ? 50 : 2 * LEASE_MS));
}

// Nobody had a reason to drop it since the first one died.
static bool is_kept(const struct world *w, const struct mst_failover *f, size_t ps)
{
    const struct sim_first *first = &w->first;
    bool is_kept = w->ps[ps].incarnation <= first->incarnations && f->servers[ps].is_live &&
                   f->servers[ps].dead_since_ms < first->at_ms;
    for (size_t g = 0; g < w->n_ps; g++)
        is_kept = is_kept && f->groups[g].lost_ps != ps && f->groups[g].barred[ps] < first->at_ms + f->config.avoid_ms;
    return is_kept;
}

// The second one dies if every group has a third copy then, whatever the roles say: what the oracle lets be lost stays
// as it was when the first one died.
static void crash_second(struct world *w, size_t ps)
{
    const struct sim_chief *leader = replicas_leader(w);
    bool may_crash = may_be_struck(w) && leader->term == w->first.term && is_calm_but(w, w->first.ps);
    for (size_t other = 0; may_crash && other < w->n_ps; other++)
        may_crash = other == w->first.ps || is_kept(w, &leader->failover, other);
    if (may_crash && ps != w->first.ps)
        crash(w, ps);
}

static void cut_link(struct world *w, size_t ps)
{
    size_t other = (ps + 1 + (size_t)engine_draw(&w->engine, w->n_ps - 1)) % w->n_ps;
    w->is_link_cut[ps][other] = w->is_link_cut[other][ps] = true;
}

static void heal_later(struct world *w, size_t ps)
{
    struct message heal = {.kind = M_HEAL, .to = replicas_ps_node(ps)};
    engine_schedule(&w->engine, &heal, 1 + engine_draw(&w->engine, 6 * LEASE_MS));
}

static void heal(struct world *w, size_t ps)
{
    w->ps[ps].is_cut = false;
    for (size_t other = 0; other < w->n_ps && !w->is_link_lost; other++)
        w->is_link_cut[ps][other] = w->is_link_cut[other][ps] = false;
}

// ---- a split ----

static void split_later(struct world *w, size_t step, uint64_t least_ms, uint64_t most_ms)
{
    struct message m = {.kind = M_SPLIT, .part = step};
    engine_schedule(&w->engine, &m, least_ms + engine_draw(&w->engine, most_ms));
}

// A chief goes on in the dark while another one leads and drops a server, then finds one that was started again, and
// writes to it what it knows. The next chief hears of that server, of the one that was dropped, and not of the third.
// At random this takes too many faults at once.
static void split(struct world *w, size_t step)
{
    size_t dropped = w->split;
    size_t emptied = (w->split + 1) % w->n_ps;
    size_t third = (w->split + 2) % w->n_ps;
    switch (step) {
    case 0:
        if (!is_full(w)) {
            split_later(w, 0, LEASE_MS / 4, LEASE_MS); // nothing has begun
            break;
        }
        for (size_t ps = 0; ps < w->n_ps; ps++)
            w->is_apart[0][ps] = true;
        replicas_chief_start(w, 1);
        split_later(w, 1, LEASE_MS, 2 * LEASE_MS);
        break;
    case 1:
        w->ps[dropped].is_cut = true;
        split_later(w, 2, 2 * LEASE_MS, 3 * LEASE_MS);
        break;
    case 2:
        if (!replicas_leader(w) || !replicas_leader(w)->failover.committed.n_ps) {
            split_later(w, 2, LEASE_MS / 4, LEASE_MS);
            break;
        }
        w->is_apart[1][emptied] = true;
        w->is_apart[0][emptied] = false;
        crash(w, emptied);
        replicas_lost_dies(w, false);
        split_later(w, 3, 1, LEASE_MS);
        break;
    case 3:
        split_later(w, w->ps[emptied].is_up ? 4 : 3, LEASE_MS / 4, LEASE_MS);
        break;
    default:
        memset(w->is_apart, 0, sizeof w->is_apart);
        w->ps[dropped].is_cut = false;
        w->ps[third].is_cut = true;
        heal_later(w, third);
        replicas_chief_end(w, 1);
        restart_later(w, 1, LEASE_MS);
    }
}

// ---- faults by chance ----

// The dice say so; may_strike is the more expensive question.
static bool strikes(struct world *w, const unsigned *n_left, unsigned one_in)
{
    return *n_left > 0 && engine_draw(&w->engine, one_in) == 0;
}

static bool may_be_late(struct world *w, size_t ps)
{
    return (w->is_free && replicas_is_awake(w, ps)) || is_full(w);
}

// It is about to restore a group of which it is the home.
static bool is_lost_home(struct world *w, size_t ps)
{
    const struct sim_chief *leader = replicas_leader(w);
    return w->ps[ps].is_up && leader && mst_failover_is_lost(&leader->failover, ps);
}

static void pause(struct world *w, uint64_t *until_ms, uint64_t most_ms)
{
    *until_ms = w->engine.now_ms + engine_draw(&w->engine, most_ms);
}

static void draw_ps_faults(struct world *w)
{
    size_t ps = (size_t)engine_draw(&w->engine, w->n_ps);
    if (strikes(w, &w->n_blows_left, 200) && may_be_struck(w) && (w->was_full || is_full(w))) {
        w->was_full = true;
        draw_blow(w, ps);
    } else if (strikes(w, &w->n_crashes_left, w->crash_odds) && is_full(w)) {
        w->n_crashes_left--;
        crash_first(w, ps);
    } else if (strikes(w, &w->n_drains_left, 60) && (is_full(w) || is_lost_home(w, ps))) {
        w->n_drains_left--;
        w->ps[ps].wants_drain = true;
    } else if (strikes(w, &w->n_pauses_left, 60) && may_be_late(w, ps)) {
        w->n_pauses_left--;
        pause(w, &w->ps[ps].paused_until_ms, 4 * LEASE_MS);
    } else if (strikes(w, &w->n_cuts_left, 60) && may_be_late(w, ps)) {
        w->n_cuts_left--;
        w->ps[ps].is_cut = true;
        heal_later(w, ps);
    } else if (strikes(w, &w->n_link_cuts_left, 60) && may_be_late(w, ps)) {
        w->n_link_cuts_left--;
        cut_link(w, ps);
        heal_later(w, ps);
    }
}

// More than half know what was decided, and none of them is about to leave, so a chief that starts will learn it.
static bool is_known(const struct world *w)
{
    size_t n = 0;
    for (size_t ps = 0; ps < w->n_ps; ps++)
        n += w->ps[ps].is_up && w->ps[ps].is_counting && !w->ps[ps].wants_drain;
    return !(w->is_harsh || w->is_twofold) || 2 * n > w->n_ps;
}

static void draw_chief_faults(struct world *w)
{
    size_t c = (size_t)engine_draw(&w->engine, MAX_CHIEFS);
    if (!w->chiefs[c].is_up) {
        if (w->chiefs[1 - c].is_up && strikes(w, &w->n_second_chiefs_left, 300) && is_known(w)) {
            w->n_second_chiefs_left--;
            replicas_chief_start(w, c);
        }
    } else if (strikes(w, &w->n_chief_kills_left, 300) && is_known(w)) {
        w->n_chief_kills_left--;
        replicas_chief_end(w, c);
        restart_later(w, (uint32_t)c, 3 * LEASE_MS);
    } else if (strikes(w, &w->n_chief_pauses_left, 300)) {
        w->n_chief_pauses_left--;
        pause(w, &w->chiefs[c].paused_until_ms, 4 * LEASE_MS);
    }
}

static void draw_worker_faults(struct world *w)
{
    size_t i = (size_t)engine_draw(&w->engine, w->n_workers);
    if (!w->workers[i].is_up)
        return;
    if (strikes(w, &w->n_worker_kills_left, 300)) {
        w->n_worker_kills_left--;
        replicas_worker_end(w, i);
        restart_later(w, replicas_worker_node(w, i), 2 * LEASE_MS);
    } else if (strikes(w, &w->n_worker_pauses_left, 300)) {
        w->n_worker_pauses_left--;
        pause(w, &w->workers[i].paused_until_ms, 6 * LEASE_MS);
    }
}

static void draw_faults(struct world *w)
{
    if (w->engine.now_ms >= FAULTS_END_MS)
        return;
    draw_ps_faults(w);
    draw_chief_faults(w);
    draw_worker_faults(w);
}

// ---- the job ----

static void start_process(struct world *w, uint32_t node)
{
    if (node < MAX_CHIEFS) {
        // Of two servers a chief reads one only; then there must not be another chief beside it.
        if ((w->chiefs[0].is_up || w->chiefs[1].is_up) && !is_known(w))
            restart_later(w, node, LEASE_MS);
        else if (w->n_ps > 2 || !w->chiefs[1 - node].is_up)
            replicas_chief_start(w, node);
    } else if (is_ps(w, node)) {
        replicas_ps_start(w, node - MAX_CHIEFS);
    } else {
        replicas_worker_start(w, node - MAX_CHIEFS - w->n_ps);
    }
}

static void deliver(struct world *w, const struct message *m)
{
    uint64_t until_ms = *paused_until(w, m->to);
    if (m->kind == M_START)
        start_process(w, m->to);
    else if (m->kind == M_HEAL)
        heal(w, m->to - MAX_CHIEFS);
    else if (m->kind == M_SPLIT)
        split(w, m->part);
    else if (!is_there(w, m))
        return;
    else if (m->kind == M_BLOW)
        blow(w, m->to - MAX_CHIEFS);
    else if (m->kind == M_SECOND)
        crash_second(w, m->to - MAX_CHIEFS);
    else if (w->engine.now_ms < until_ms)
        engine_schedule(&w->engine, m, until_ms - w->engine.now_ms); // it finds it in its socket later
    else if (m->to < MAX_CHIEFS)
        replicas_chief_receive(w, m->to, m);
    else if (is_ps(w, m->to))
        replicas_ps_receive(w, m->to - MAX_CHIEFS, m);
    else
        replicas_worker_receive(w, m->to - MAX_CHIEFS - w->n_ps, m);
}

// Nothing else than what came can have broken a rule: whoever becomes primary by time alone has a tick then.
static void check(struct world *w, const struct message *m)
{
    if (replicas_is_of_part(m) && (is_ps(w, m->to) || m->kind == M_FENCE_REPLY))
        replicas_oracle_check(w, m->part);
    else if (is_ps(w, m->to) && (m->kind != M_ROLES || m->roles) && m->kind != M_RECALL)
        for (size_t part = 0; part < w->n_parts; part++)
            replicas_oracle_check(w, part);
}

// Nothing else goes wrong there but on the network.
static void draw_split(struct world *w)
{
    struct engine *e = &w->engine;
    w->n_ps = 3;
    w->n_threads = 1;
    w->n_parts = w->n_ps;
    w->n_replicas = 1 + (size_t)engine_draw(e, 2);
    w->is_harsh = true;
    w->is_link_lost = false;
    w->n_crashes_left = w->n_pauses_left = w->n_cuts_left = w->n_link_cuts_left = w->n_drains_left = 0;
    w->n_blows_left = w->n_chief_kills_left = w->n_chief_pauses_left = w->n_second_chiefs_left = 0;
    w->split = (uint32_t)engine_draw(e, w->n_ps);
    split_later(w, 0, LEASE_MS, 2 * LEASE_MS);
}

// Groups are lost and chiefs die, and it takes long until servers have stored what a chief has to leave to the next.
static void draw_slow_states(struct world *w)
{
    w->is_state_slow = w->is_harsh = true;
    w->n_blows_left = w->n_chief_kills_left = 3;
}

static void draw_job(struct world *w)
{
    struct engine *e = &w->engine;
    w->n_ps = 2 + (size_t)engine_draw(e, MAX_PS - 1);
    w->n_replicas = w->n_ps > 2 ? 1 + (size_t)engine_draw(e, 2) : 1;
    w->n_buckets = 1 + (size_t)engine_draw(e, MAX_BUCKETS);
    w->n_workers = 1 + (size_t)engine_draw(e, MAX_WORKERS);
    w->n_steps = 3 + engine_draw(e, MAX_STEPS - 2);
    // Of two servers one is enough for new roles, so there each has to be back before the other one is gone.
    w->is_free = engine_draw(e, 2) && w->n_ps > 2;
    e->drop_percent = (unsigned)(engine_draw(e, 2) * engine_draw(e, 20));
    e->duplicate_percent = (unsigned)(engine_draw(e, 2) * engine_draw(e, 20));
    e->slow_percent = (unsigned)(engine_draw(e, 2) * engine_draw(e, 10));
    e->slow_ms = 3 * LEASE_MS;
    e->faults_end_ms = FAULTS_END_MS;
    w->n_crashes_left = (unsigned)engine_draw(e, 4);
    w->crash_odds = engine_draw(e, 2) ? 30 : 1 + (unsigned)engine_draw(e, 3);
    w->n_pauses_left = (unsigned)engine_draw(e, 4);
    w->n_cuts_left = (unsigned)engine_draw(e, 3);
    w->n_link_cuts_left = (unsigned)engine_draw(e, 3);
    w->is_link_lost = engine_draw(e, 6) == 0 && w->n_ps > 2;
    w->n_drains_left = (unsigned)engine_draw(e, 2);
    w->n_chief_kills_left = (unsigned)engine_draw(e, 4);
    w->n_chief_pauses_left = (unsigned)engine_draw(e, 3);
    w->n_second_chiefs_left = w->n_ps > 2 ? (unsigned)engine_draw(e, 3) : 0;
    w->n_worker_kills_left = (unsigned)engine_draw(e, 3);
    w->n_worker_pauses_left = (unsigned)engine_draw(e, 3);
    w->end_ms = engine_draw(e, FAULTS_END_MS);
    w->is_harsh = engine_draw(e, 4) == 0;
    w->n_blows_left = w->is_harsh ? 1 + (unsigned)engine_draw(e, 3) : 0;
    w->n_threads = engine_draw(e, 4) ? 1 : MAX_THREADS;
    w->n_parts = w->n_ps * w->n_threads;
    w->is_by_roles = engine_draw(e, 2);
    w->is_twofold = w->n_replicas == 2 && engine_draw(e, 2);
    uint64_t script = engine_draw(e, 16);
    if (script == 0)
        draw_split(w);
    else if (script == 1)
        draw_slow_states(w);
}

static bool has_cut_link(const struct world *w)
{
    for (size_t ps = 0; ps < w->n_ps; ps++)
        for (size_t other = 0; other < w->n_ps; other++)
            if (w->is_link_cut[ps][other])
                return true;
    return false;
}

// Everything is trained, and every copy is back, unless a link is lost for good: that is the more expensive question.
static bool is_done(struct world *w)
{
    if (w->engine.now_ms < w->end_ms)
        return false;
    for (size_t i = 0; i < w->n_workers; i++)
        if (!w->workers[i].is_up || w->workers[i].n_done < w->n_steps)
            return false;
    return replicas_lost_is_counted(w) && (is_full(w) || (w->is_link_lost && has_cut_link(w)));
}

static void describe_hang(struct world *w)
{
    const struct sim_chief *leader = replicas_leader(w);
    char why[160] = "no chief leads";
    if (leader)
        mst_failover_describe(&leader->failover, why, sizeof why);
    size_t n_done = 0;
    for (size_t i = 0; i < w->n_workers; i++)
        n_done += w->workers[i].n_done == w->n_steps;
    replicas_fail(w, "hang: %zu of %zu workers are done, full: %d, losses counted: %d, %s", n_done, w->n_workers,
                  is_full(w), replicas_lost_is_counted(w), why);
}

static void end(struct world *w)
{
    for (size_t c = 0; c < MAX_CHIEFS; c++)
        replicas_chief_end(w, c);
    for (size_t ps = 0; ps < w->n_ps; ps++) {
        replicas_ps_end(w, ps);
        free(w->ps[ps].copies);
    }
    for (size_t i = 0; i < w->n_workers; i++)
        replicas_worker_end(w, i);
    for (size_t i = 0; i < w->n_roles; i++) {
        mst_roles_fini(w->roles[i]);
        free(w->roles[i]);
    }
    free(w->roles);
    free(w->checkpoints);
    replicas_state_end(w);
    engine_fini(&w->engine);
}

const char *replicas_run(uint64_t seed, int plant, size_t *n_delivered, char *text)
{
    struct world *w = mst_alloc(sizeof *w);
    w->plant = (enum replicas_plant)plant;
    w->fault = text;
    text[0] = '\0';
    engine_init(&w->engine, seed, sizeof(struct message));
    draw_job(w);
    for (size_t ps = 0; ps < w->n_ps; ps++)
        w->ps[ps].copies = mst_alloc_array(w->n_parts, sizeof(struct sim_copy));
    for (uint32_t node = 0; node < MAX_CHIEFS + w->n_ps + w->n_workers; node++)
        if (node != 1) // the second chief may come later
            start_process(w, node);
    w->n_first = w->incarnations;
    const struct message *m;
    while (!w->fault[0] && !is_done(w) && (m = engine_next(&w->engine))) {
        if (w->engine.now_ms > JOB_END_MS) {
            describe_hang(w);
            break;
        }
        deliver(w, m);
        check(w, m);
        draw_faults(w);
    }
    *n_delivered += w->engine.n_delivered;
    end(w);
    free(w);
    return text[0] ? text : NULL;
}
