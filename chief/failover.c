// Roles are proposed as a whole, but what changes is of one primary, who stores it first: two primaries with something
// to change take two epochs, the one that was just promoted before. No group ever waits for another one's sweep.
// A proposal that was not committed may be replaced by another one: nobody acts on it.
// What servers report (quiet, swept, complete, lost) counts only when they act on the very roles that are current: a
// proposal throws it away, and they say it again. Whom a primary has lost is kept until its group changes.
#include "chief/failover_private.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mst_failover_init(struct mst_failover *f, const struct mst_failover_config *config)
{
    MST_ASSERT(config->n_replicas < config->n_ps || config->n_replicas == 0);
    *f = (struct mst_failover){.config = *config};
    f->servers = mst_alloc_array(config->n_ps, sizeof *f->servers);
    f->groups = mst_alloc_array(config->n_ps, sizeof *f->groups);
    for (size_t i = 0; i < config->n_ps; i++) {
        f->servers[i].is_live = true; // until it is known to be dead
        f->groups[i].lost_ps = MST_NO_PS;
        f->groups[i].barred = mst_alloc_array(config->n_ps, sizeof *f->groups[i].barred);
    }
    if (config->n_replicas == 0) {
        f->phase = MST_FAILOVER_LEADING;
        mst_roles_init(&f->committed, config->n_ps, 0);
    }
}

void mst_failover_fini(struct mst_failover *f)
{
    for (size_t i = 0; i < f->config.n_ps; i++) {
        mst_roles_fini(&f->servers[i].memory);
        free(f->groups[i].barred);
    }
    free(f->servers);
    free(f->groups);
    mst_roles_fini(&f->current);
    mst_roles_fini(&f->committed);
    *f = (struct mst_failover){0};
}

void mst_failover_begin(struct mst_failover *f, uint64_t term)
{
    f->term = term;
    for (size_t i = 0; i < f->config.n_ps; i++)
        f->servers[i].is_read = false;
}

// ---- what is known of servers ----

static bool has_replicas(const struct mst_failover *f)
{
    return f->config.n_replicas > 0;
}

void mst_failover_up(struct mst_failover *f, size_t ps, uint64_t incarnation)
{
    struct mst_failover_ps *server = &f->servers[ps];
    for (size_t g = 0; g < f->config.n_ps && !server->is_live; g++)
        f->groups[g].barred[ps] = 0; // that it was dead was the reason
    server->is_live = true;
    server->is_gone = false;
    if (server->incarnation == incarnation)
        return;
    server->incarnation = incarnation;
    server->is_read = server->is_counting = server->is_draining = false;
    server->stored = server->acting = (struct mst_epoch){0};
    bool is_named = f->phase == MST_FAILOVER_LEADING && f->current.n_ps && f->current.incarnations[ps] == incarnation;
    server->named_n = is_named ? f->current.epoch.n : 0; // it may be reached for the first time only now
    mst_roles_fini(&server->memory);
    for (size_t g = 0; g < f->config.n_ps; g++)
        f->groups[g].barred[ps] = 0;
}

void mst_failover_dead(struct mst_failover *f, size_t ps, enum mst_failover_death how, uint64_t now_ms)
{
    struct mst_failover_ps *server = &f->servers[ps];
    if (server->is_live)
        server->dead_since_ms = now_ms;
    server->is_live = false;
    server->is_gone = server->is_gone || how == MST_FAILOVER_GONE;
}

void mst_failover_read(struct mst_failover *f, size_t ps, uint64_t incarnation,
                       const struct mst_failover_memory *memory)
{
    struct mst_failover_ps *server = &f->servers[ps];
    if (!has_replicas(f) || server->incarnation != incarnation || f->phase != MST_FAILOVER_READING)
        return;
    server->is_read = true;
    server->is_counting = memory->is_counting;
    if (memory->roles && memory->roles->n_ps == f->config.n_ps)
        mst_roles_copy(&server->memory, memory->roles);
}

static void take_report(struct mst_failover *f, uint32_t ps, const struct mst_msg_group_status *status, bool is_acting)
{
    if (status->group >= f->config.n_ps)
        return;
    struct mst_failover_group *group = &f->groups[status->group];
    enum mst_replica_role role = mst_roles_of(&f->current, status->group, ps);
    if (role == MST_REPLICA_JOINER)
        group->is_swept = status->is_swept;
    if (role != MST_REPLICA_PRIMARY || !is_acting)
        return;
    group->is_quiet = status->is_quiet;
    group->is_complete = status->is_complete;
    group->lost_ps = status->has_lost ? status->lost : MST_NO_PS;
}

// It acts on roles that name its incarnation: on a proposal of ours, or on the roles that this chief took over. Those
// matter if it was out of reach while the chief read, for what it knows could not be asked then.
static bool acts_by_name(const struct mst_failover *f, const struct mst_failover_ps *server)
{
    const struct mst_epoch *acting = &server->acting;
    return (server->named_n > 0 && acting->term == f->term && acting->n >= server->named_n) ||
           (server->found_named == server->incarnation && mst_epoch_is_same(acting, &f->found));
}

void mst_failover_heard(struct mst_failover *f, size_t ps, uint64_t incarnation,
                        const struct mst_msg_roles_reply *reply)
{
    struct mst_failover_ps *server = &f->servers[ps];
    struct mst_epoch stored = {reply->stored_term, reply->stored_n};
    struct mst_epoch acting = {reply->acting_term, reply->acting_n};
    if (!has_replicas(f) || server->incarnation != incarnation || f->phase != MST_FAILOVER_LEADING ||
        mst_epoch_is_newer(&server->stored, &stored) || mst_epoch_is_newer(&server->acting, &acting))
        return;
    server->stored = stored;
    server->acting = acting;
    server->is_draining |= reply->wants_drain;
    server->is_counting |= acts_by_name(f, server);
    bool is_acting = mst_epoch_is_same(&acting, &f->current.epoch);
    for (size_t i = 0; mst_epoch_is_same(&stored, &f->current.epoch) && i < reply->n_groups; i++)
        take_report(f, (uint32_t)ps, &reply->groups[i], is_acting);
}

void mst_failover_drain(struct mst_failover *f, size_t ps)
{
    f->servers[ps].is_draining = true;
}

void mst_failover_may_restore(struct mst_failover *f, size_t group)
{
    f->groups[group].may_restore = mst_failover_is_lost(f, group);
}

// ---- counting ----

static size_t n_counting(const struct mst_failover *f, bool (*is_meant)(const struct mst_failover *f, size_t ps))
{
    size_t n = 0;
    for (size_t i = 0; i < f->config.n_ps; i++)
        n += f->servers[i].is_counting && is_meant(f, i);
    return n;
}

static bool are_all(const struct mst_failover *f, bool (*is_meant)(const struct mst_failover *f, size_t ps))
{
    for (size_t i = 0; i < f->config.n_ps; i++)
        if (!is_meant(f, i))
            return false;
    return true;
}

static bool is_enough(const struct mst_failover *f, size_t n)
{
    return 2 * n > f->config.n_ps || (f->config.n_ps == 2 && n == 1);
}

static bool has_read(const struct mst_failover *f, size_t ps)
{
    return f->servers[ps].is_read && f->servers[ps].is_live;
}

static bool has_read_or_dead(const struct mst_failover *f, size_t ps)
{
    return f->servers[ps].is_read || !f->servers[ps].is_live;
}

static bool has_read_or_gone(const struct mst_failover *f, size_t ps)
{
    return f->servers[ps].is_read || f->servers[ps].is_gone;
}

static bool has_stored(const struct mst_failover *f, size_t ps)
{
    return f->servers[ps].is_live && mst_epoch_is_same(&f->servers[ps].stored, &f->current.epoch);
}

static bool has_stored_or_dead(const struct mst_failover *f, size_t ps)
{
    return has_stored(f, ps) || !f->servers[ps].is_live;
}

static bool is_same_group(const struct mst_group_roles *a, const struct mst_group_roles *b)
{
    return a->primary == b->primary && a->joiner == b->joiner && a->is_handed_over == b->is_handed_over &&
           a->n_backups == b->n_backups && memcmp(a->backups, b->backups, a->n_backups * sizeof *a->backups) == 0;
}

// What a server reported before it died, or before others were silent, may be the reason of a change that leaves it the
// only copy. So a group changes only when its primary has stored that, who then lived after it was proposed.
static bool have_primaries_stored(const struct mst_failover *f)
{
    for (size_t g = 0; g < f->config.n_ps; g++)
        if (f->groups[g].has_changed && !has_stored(f, f->current.groups[g].primary))
            return false;
    return true;
}

// Before the others, for what another one has stored the next chief may take for what was decided.
static bool must_store_first(const struct mst_failover *f, size_t ps)
{
    for (size_t g = 0; g < f->config.n_ps; g++)
        if (f->groups[g].has_changed && f->current.groups[g].primary == ps)
            return true;
    return false;
}

static bool is_overtaken(const struct mst_failover *f)
{
    for (size_t g = 0; g < f->config.n_ps; g++)
        if (f->groups[g].has_changed && !mst_failover_is_there(f, &f->current, f->current.groups[g].primary))
            return true;
    return false;
}

static bool can_commit(const struct mst_failover *f)
{
    if (!have_primaries_stored(f))
        return false;
    return are_all(f, has_stored) || (are_all(f, has_stored_or_dead) && is_enough(f, n_counting(f, has_stored)));
}

bool mst_failover_is_named(const struct mst_failover *f, size_t ps)
{
    return !has_replicas(f) || (f->committed.n_ps && f->committed.incarnations[ps] == f->servers[ps].incarnation);
}

bool mst_failover_is_live(const struct mst_failover *f, size_t ps)
{
    return !has_replicas(f) || f->servers[ps].is_live;
}

bool mst_failover_is_known(const struct mst_failover *f, bool (*has)(const void *arg, size_t ps), const void *arg)
{
    size_t n_counting = 0;
    bool have_all = true;
    for (size_t i = 0; i < f->config.n_ps; i++) {
        bool has_it = has(arg, i);
        if (!has_it && mst_failover_is_live(f, i))
            return false;
        have_all &= has_it && mst_failover_is_live(f, i);
        n_counting += has_it && f->servers[i].is_live && f->servers[i].is_counting;
    }
    return have_all || is_enough(f, n_counting);
}

// ---- proposing ----

// Whom a primary cannot reach is kept where the group stays as it is: it may have to wait for another primary's turn.
static void forget_reports(struct mst_failover *f, const struct mst_roles *next)
{
    for (size_t g = 0; g < f->config.n_ps; g++) {
        struct mst_failover_group *group = &f->groups[g];
        group->is_quiet = group->is_swept = group->is_complete = false;
        if (f->current.n_ps == 0 || !is_same_group(&f->current.groups[g], &next->groups[g]))
            group->lost_ps = MST_NO_PS;
    }
}

// Takes roles over as the next proposal.
static void propose(struct mst_failover *f, struct mst_roles *roles, uint64_t n)
{
    forget_reports(f, roles);
    mst_roles_fini(&f->current);
    f->current = *roles;
    f->current.epoch = (struct mst_epoch){f->term, n};
    for (size_t g = 0; g < f->config.n_ps; g++)
        f->groups[g].has_changed = f->committed.n_ps &&
                                   !is_same_group(&f->current.groups[g], &f->committed.groups[g]) &&
                                   f->current.groups[g].primary != MST_NO_PS &&
                                   mst_failover_is_there(f, &f->current, f->current.groups[g].primary);
    for (size_t i = 0; i < f->config.n_ps; i++) {
        struct mst_failover_ps *server = &f->servers[i];
        if (server->named_n == 0 && server->incarnation != 0 && server->incarnation == roles->incarnations[i])
            server->named_n = n;
    }
}

// An incarnation is named when nothing of the one before it is: what that one had is gone, and so it must go first.
static bool name_servers(const struct mst_failover *f, struct mst_roles *roles)
{
    bool is_change = false;
    for (size_t i = 0; i < f->config.n_ps; i++) {
        const struct mst_failover_ps *server = &f->servers[i];
        if (!server->is_live || server->incarnation == 0 || server->incarnation == roles->incarnations[i])
            continue;
        bool is_named = false;
        for (uint32_t g = 0; g < f->config.n_ps; g++)
            is_named |= mst_roles_of(roles, g, (uint32_t)i) != MST_REPLICA_NONE;
        if (is_named)
            continue;
        roles->incarnations[i] = server->incarnation;
        is_change = true;
    }
    return is_change;
}

// Whose changes are proposed: a group that goes on elsewhere is first.
static uint32_t who_changes(const struct mst_failover *f, const struct mst_roles *from, const struct mst_roles *next)
{
    uint32_t who = MST_NO_PS;
    for (size_t g = 0; g < f->config.n_ps; g++) {
        uint32_t primary = next->groups[g].primary;
        if (primary == MST_NO_PS || is_same_group(&next->groups[g], &from->groups[g]) ||
            !mst_failover_is_there(f, next, primary))
            continue;
        if (primary != from->groups[g].primary)
            return primary;
        if (who == MST_NO_PS)
            who = primary;
    }
    return who;
}

// The groups that others are primary of stay as they were. A change that its own primary has not stored would be taken
// for decided by the next chief if another one had stored it with a change of its own.
static void keep_one_primary(const struct mst_failover *f, const struct mst_roles *from, struct mst_roles *next,
                             uint32_t who)
{
    for (size_t g = 0; g < f->config.n_ps; g++) {
        uint32_t primary = next->groups[g].primary;
        if (primary != MST_NO_PS && primary != who && mst_failover_is_there(f, next, primary))
            next->groups[g] = from->groups[g];
    }
}

// from: the committed roles. If nothing has to change, that is proposed only in place of what is current.
static bool try_to_change(struct mst_failover *f, const struct mst_roles *from, uint64_t now_ms)
{
    struct mst_roles next = {0};
    bool is_full = mst_failover_is_full(f);
    mst_roles_copy(&next, from);
    for (size_t g = 0; g < f->config.n_ps; g++)
        mst_failover_repair(f, &next, g, now_ms);
    uint32_t who = who_changes(f, from, &next);
    if (who != MST_NO_PS)
        keep_one_primary(f, from, &next, who);
    bool is_change = name_servers(f, &next) || from != &f->current;
    for (size_t g = 0; g < f->config.n_ps; g++) {
        uint32_t primary = next.groups[g].primary;
        bool may_improve = primary != MST_NO_PS && primary == from->groups[g].primary &&
                           mst_failover_is_there(f, &next, primary) && (who == MST_NO_PS || who == primary);
        if (may_improve)
            mst_failover_improve(f, &next, g, is_full, now_ms);
        bool changes = !is_same_group(&next.groups[g], &from->groups[g]);
        if (may_improve && changes)
            who = primary;
        is_change |= changes;
    }
    if (is_change)
        propose(f, &next, f->current.epoch.n + 1);
    else
        mst_roles_fini(&next);
    return is_change;
}

// ---- a chief that starts ----

static const struct mst_roles *highest(const struct mst_failover *f)
{
    const struct mst_roles *best = NULL;
    for (size_t i = 0; i < f->config.n_ps; i++) {
        const struct mst_failover_ps *server = &f->servers[i];
        if (server->is_read && server->memory.n_ps &&
            (!best || mst_epoch_is_newer(&server->memory.epoch, &best->epoch)))
            best = &server->memory;
    }
    return best;
}

// None of the servers was started again since these roles.
static bool names_all(const struct mst_failover *f, const struct mst_roles *roles)
{
    for (size_t i = 0; i < f->config.n_ps; i++)
        if (!has_read(f, i) || f->servers[i].incarnation != roles->incarnations[i])
            return false;
    return true;
}

// Of two servers one may have stored alone what was decided, so a chief that starts is in no hurry to lead without it.
static bool are_read_or_given_up(const struct mst_failover *f, uint64_t now_ms)
{
    for (size_t i = 0; i < f->config.n_ps; i++) {
        const struct mst_failover_ps *server = &f->servers[i];
        bool may_come = server->is_live || (!server->is_gone && now_ms < server->dead_since_ms + f->config.patience_ms);
        if (!server->is_read && may_come)
            return false;
    }
    return true;
}

static bool try_to_lead(struct mst_failover *f, uint64_t now_ms)
{
    const struct mst_roles *best = highest(f);
    size_t n = n_counting(f, has_read);
    struct mst_roles first = {0};
    if (n == 0 && are_all(f, has_read) && !(best && names_all(f, best))) {
        mst_roles_init(&first, f->config.n_ps, f->config.n_replicas);
        for (size_t i = 0; i < f->config.n_ps; i++)
            first.incarnations[i] = f->servers[i].incarnation;
    } else if (best &&
               (names_all(f, best) || (is_enough(f, n) && (f->config.n_ps > 2 || are_read_or_given_up(f, now_ms))))) {
        mst_roles_copy(&first, best);
        f->found = best->epoch;
        for (size_t i = 0; i < f->config.n_ps; i++)
            f->servers[i].found_named = best->incarnations[i];
    } else {
        return false;
    }
    f->phase = MST_FAILOVER_LEADING;
    propose(f, &first, 1);
    return true;
}

bool mst_failover_advance(struct mst_failover *f, uint64_t now_ms)
{
    if (!has_replicas(f))
        return false;
    if (f->phase == MST_FAILOVER_READING)
        return try_to_lead(f, now_ms);
    if (mst_epoch_is_same(&f->committed.epoch, &f->current.epoch))
        return try_to_change(f, &f->current, now_ms);
    if (is_overtaken(f))
        return try_to_change(f, &f->committed, now_ms);
    if (!can_commit(f))
        return false;
    mst_roles_copy(&f->committed, &f->current);
    for (size_t g = 0; g < f->config.n_ps; g++)
        f->groups[g].may_restore = f->groups[g].may_restore && mst_failover_is_lost(f, g);
    return true;
}

// ---- queries ----

static bool is_committed(const struct mst_failover *f)
{
    return f->current.n_ps && mst_epoch_is_same(&f->committed.epoch, &f->current.epoch);
}

const struct mst_roles *mst_failover_to_send(const struct mst_failover *f, size_t ps, bool *is_committed_out)
{
    const struct mst_failover_ps *server = &f->servers[ps];
    *is_committed_out = is_committed(f);
    if (!has_replicas(f) || f->phase != MST_FAILOVER_LEADING || !server->is_live || server->incarnation == 0)
        return NULL;
    if (!*is_committed_out && !have_primaries_stored(f) && !must_store_first(f, ps)) {
        *is_committed_out = true;
        return mst_epoch_is_newer(&f->committed.epoch, &server->acting) ? &f->committed : NULL;
    }
    const struct mst_epoch *has = *is_committed_out ? &server->acting : &server->stored;
    return mst_epoch_is_newer(&f->current.epoch, has) ? &f->current : NULL;
}

const struct mst_roles *mst_failover_committed(const struct mst_failover *f)
{
    return f->committed.n_ps ? &f->committed : NULL;
}

uint32_t mst_failover_primary(const struct mst_failover *f, size_t group)
{
    return f->committed.n_ps ? f->committed.groups[group].primary : MST_NO_PS;
}

bool mst_failover_is_undecided(const struct mst_failover *f)
{
    return f->current.n_ps && !is_committed(f);
}

bool mst_failover_is_full(const struct mst_failover *f)
{
    if (!has_replicas(f) || !is_committed(f))
        return false;
    for (size_t i = 0; i < f->config.n_ps; i++) {
        const struct mst_failover_ps *server = &f->servers[i];
        const struct mst_group_roles *of = &f->current.groups[i];
        if (!mst_failover_is_there(f, &f->current, (uint32_t)i) || server->is_draining ||
            !mst_epoch_is_same(&server->acting, &f->current.epoch))
            return false;
        if (of->primary == MST_NO_PS || of->n_backups < f->config.n_replicas || of->is_handed_over ||
            f->groups[i].lost_ps != MST_NO_PS)
            return false;
    }
    return true;
}

bool mst_failover_is_lost(const struct mst_failover *f, size_t group)
{
    const struct mst_group_roles *of = f->committed.n_ps ? &f->committed.groups[group] : NULL;
    return of && of->primary == MST_NO_PS && of->n_backups == 0;
}

bool mst_failover_is_drained(const struct mst_failover *f, size_t ps)
{
    if (!f->servers[ps].is_draining || !is_committed(f))
        return false;
    if (f->servers[ps].is_live && mst_failover_is_lost(f, ps))
        return false; // nobody else may restore it
    for (uint32_t g = 0; g < f->config.n_ps; g++)
        if (mst_roles_of(&f->committed, g, (uint32_t)ps) != MST_REPLICA_NONE)
            return false;
    return true;
}

static bool is_leaving(const struct mst_failover *f, size_t ps)
{
    return f->servers[ps].is_draining;
}

bool mst_failover_is_all_draining(const struct mst_failover *f)
{
    return are_all(f, is_leaving);
}

// ---- for people ----

struct text {
    char *out;
    size_t bytes;
    size_t used;
};

static void say(struct text *text, const char *part)
{
    int n = snprintf(text->out + text->used, text->bytes - text->used, "%s%s", text->used ? ", " : "", part);
    if (n > 0)
        text->used = text->used + (size_t)n < text->bytes ? text->used + (size_t)n : text->bytes - 1;
}

// The servers of which something is not so.
static void say_all(const struct mst_failover *f, struct text *text, const char *what,
                    bool (*is_so)(const struct mst_failover *f, size_t ps))
{
    char part[160];
    for (size_t i = 0; i < f->config.n_ps; i++) {
        if (is_so(f, i))
            continue;
        snprintf(part, sizeof part, "ps-%zu to %s", i, what);
        say(text, part);
    }
}

static bool is_read_as_needed(const struct mst_failover *f, size_t ps)
{
    return f->config.n_ps > 2 ? has_read_or_dead(f, ps) : has_read_or_gone(f, ps);
}

void mst_failover_describe_shortage(const struct mst_failover *f, char *out, size_t out_bytes)
{
    bool is_reading = f->phase == MST_FAILOVER_READING;
    size_t n = n_counting(f, is_reading ? has_read : has_stored);
    out[0] = '\0';
    if (!has_replicas(f) || (!is_reading && is_committed(f)) || is_enough(f, n) ||
        !are_all(f, is_reading ? is_read_as_needed : has_stored_or_dead))
        return;
    char needed[64] = "one of the two";
    if (f->config.n_ps > 2)
        snprintf(needed, sizeof needed, "more than half of the %zu", f->config.n_ps);
    char knows[32] = "none here does";
    if (n > 0)
        snprintf(knows, sizeof knows, "%zu here %s", n, n == 1 ? "does" : "do");
    snprintf(out, out_bytes,
             "%s parameter servers %s to know who had which shards, and %s; one that is started again does not%s",
             needed, f->config.n_ps > 2 ? "have" : "has", knows, is_reading ? "" : ", until all are here");
}

// Who is not here, and why that matters.
static void say_shortage(const struct mst_failover *f, struct text *text)
{
    char why[256];
    char part[32];
    mst_failover_describe_shortage(f, why, sizeof why);
    if (text->used || !why[0])
        return;
    for (size_t i = 0; i < f->config.n_ps; i++) {
        snprintf(part, sizeof part, "ps-%zu", i);
        if (!f->servers[i].is_live)
            say(text, part);
    }
    if (!text->used)
        say(text, "more parameter servers");
    int n = snprintf(text->out + text->used, text->bytes - text->used, ": %s", why);
    if (n > 0)
        text->used = text->used + (size_t)n < text->bytes ? text->used + (size_t)n : text->bytes - 1;
}

// Of a group that nobody has a copy of.
static void say_lost(const struct mst_failover *f, size_t g, char *out, size_t out_bytes)
{
    if (!f->servers[g].is_live || f->servers[g].incarnation == 0)
        snprintf(out, out_bytes, "ps-%zu, which is to restore group %zu: no copy of it is left", g, g);
    else if (!f->groups[g].may_restore)
        snprintf(out, out_bytes, "all to store that no copy of group %zu is left, so that ps-%zu may restore it", g, g);
    else
        snprintf(out, out_bytes, "ps-%zu to restore group %zu, of which no copy is left", g, g);
}

static void say_group(const struct mst_failover *f, struct text *text, size_t g)
{
    char part[160];
    const struct mst_group_roles *of = &f->current.groups[g];
    bool is_handed_over = of->is_handed_over && !f->groups[g].is_quiet;
    part[0] = '\0';
    if (of->primary == MST_NO_PS && of->n_backups == 0)
        say_lost(f, g, part, sizeof part);
    else if (of->primary == MST_NO_PS)
        snprintf(part, sizeof part, "ps-%u, which has the only copy of group %zu", of->backups[0], g);
    else if (!mst_failover_is_there(f, &f->current, of->primary))
        snprintf(part, sizeof part, "ps-%u, which has the only copy of group %zu", of->primary, g);
    else if (is_handed_over)
        snprintf(part, sizeof part, "ps-%u to finish what is on its way, for group %zu moves", of->primary, g);
    else if (f->servers[of->primary].is_draining && of->joiner != MST_NO_PS)
        snprintf(part, sizeof part, "ps-%u to have a copy of group %zu, so that ps-%u may go", of->joiner, g,
                 of->primary);
    else if (f->servers[of->primary].is_draining)
        snprintf(part, sizeof part, "a server that takes group %zu from ps-%u", g, of->primary);
    if (part[0])
        say(text, part);
}

void mst_failover_describe(const struct mst_failover *f, char *out, size_t out_bytes)
{
    struct text text = {out, out_bytes, 0};
    out[0] = '\0';
    if (!has_replicas(f))
        return;
    if (f->phase == MST_FAILOVER_READING) {
        say_all(f, &text, "say what an earlier chief left", is_read_as_needed);
        say_shortage(f, &text);
    } else if (!is_committed(f)) {
        say_all(f, &text, "store the new roles", has_stored_or_dead);
        say_shortage(f, &text);
    } else {
        for (size_t g = 0; g < f->config.n_ps; g++)
            say_group(f, &text, g);
    }
}
