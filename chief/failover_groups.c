// What one group's roles should be instead, by what is known of the servers: first that it is served at all, then
// that it has all its copies, then that they are where they belong. One change at a time; the next one follows when
// this one is committed and, where it depends on what servers report, acted on.
#include "chief/failover_private.h"

#include <string.h>

// What the current roles name on this server is there: it is not dead, and no other incarnation.
bool mst_failover_is_there(const struct mst_failover *f, const struct mst_roles *roles, uint32_t ps)
{
    const struct mst_failover_ps *server = &f->servers[ps];
    return server->is_live && server->incarnation != 0 && server->incarnation == roles->incarnations[ps];
}

// What they name on it will never be there again.
static bool is_gone(const struct mst_failover *f, const struct mst_roles *roles, uint32_t ps)
{
    const struct mst_failover_ps *server = &f->servers[ps];
    return server->is_gone || (server->incarnation != 0 && server->incarnation != roles->incarnations[ps]);
}

static void remove_backup(struct mst_group_roles *of, size_t at)
{
    of->n_backups--;
    memmove(of->backups + at, of->backups + at + 1, (of->n_backups - at) * sizeof *of->backups);
}

static size_t backup_at(const struct mst_group_roles *of, uint32_t ps)
{
    size_t at = 0;
    while (at < of->n_backups && of->backups[at] != ps)
        at++;
    return at;
}

static bool is_holder(const struct mst_group_roles *of, uint32_t ps)
{
    return of->primary == ps || backup_at(of, ps) < of->n_backups;
}

// How far a server is behind a group's home: what the group prefers.
static size_t distance(const struct mst_failover *f, size_t group, uint32_t ps)
{
    return (ps + f->config.n_ps - group) % f->config.n_ps;
}

static bool is_draining(const struct mst_failover *f, uint32_t ps)
{
    return f->servers[ps].is_draining;
}

// The backup that is nearest to the home, of those that are to stay; MST_NO_PS: none.
static uint32_t best_backup(const struct mst_failover *f, const struct mst_roles *roles, size_t g)
{
    const struct mst_group_roles *of = &roles->groups[g];
    uint32_t best = MST_NO_PS;
    for (size_t b = 0; b < of->n_backups; b++)
        if (mst_failover_is_there(f, roles, of->backups[b]) && !is_draining(f, of->backups[b]) &&
            (best == MST_NO_PS || distance(f, g, of->backups[b]) < distance(f, g, best)))
            best = of->backups[b];
    return best;
}

static void remove_gone(const struct mst_failover *f, struct mst_roles *roles, size_t g)
{
    struct mst_group_roles *of = &roles->groups[g];
    for (size_t b = of->n_backups; b-- > 0;)
        if (is_gone(f, roles, of->backups[b]))
            remove_backup(of, b);
    of->joiner = MST_NO_PS; // there is nobody who could fill it
    if (of->primary == MST_NO_PS || !is_gone(f, roles, of->primary))
        return; // it may come back with all that it holds
    of->primary = MST_NO_PS;
    of->is_handed_over = false;
}

// Nobody has it. Its home restores it, once it knows that what it may still have of it is worth nothing. What is lost
// by that only the chief can count, so the next one has to know before.
static void give_home(const struct mst_failover *f, struct mst_roles *roles, size_t g)
{
    const struct mst_failover_ps *home = &f->servers[g];
    if (f->groups[g].may_restore && mst_failover_is_there(f, roles, (uint32_t)g) &&
        mst_epoch_is_same(&home->acting, &f->current.epoch) && f->current.groups[g].primary == MST_NO_PS &&
        f->current.groups[g].n_backups == 0)
        roles->groups[g].primary = (uint32_t)g;
}

// A backup or joiner that is dead, or to leave.
static bool goes(const struct mst_failover *f, const struct mst_roles *roles, size_t g, uint32_t ps)
{
    const struct mst_group_roles *of = &roles->groups[g];
    return !mst_failover_is_there(f, roles, ps) ||
           (is_draining(f, ps) && (ps == of->joiner || !is_draining(f, of->primary)));
}

// … or one that its primary cannot reach.
static bool must_go(const struct mst_failover *f, const struct mst_roles *roles, size_t g, uint32_t ps)
{
    return goes(f, roles, g, ps) || f->groups[g].lost_ps == ps;
}

static void drop(struct mst_failover *f, struct mst_roles *roles, size_t g, uint64_t now_ms)
{
    struct mst_group_roles *of = &roles->groups[g];
    uint32_t lost = f->groups[g].lost_ps;
    for (size_t b = of->n_backups; b-- > 0;)
        if (must_go(f, roles, g, of->backups[b]))
            remove_backup(of, b);
    if (of->joiner != MST_NO_PS && must_go(f, roles, g, of->joiner))
        of->joiner = MST_NO_PS;
    if (lost < f->config.n_ps)
        f->groups[g].barred[lost] = now_ms + f->config.avoid_ms;
}

// Of more backups than are wanted: one that is to leave, else the one that is farthest from the home.
static void drop_worst(const struct mst_failover *f, struct mst_group_roles *of, size_t g)
{
    size_t worst = 0;
    for (size_t b = 1; b < of->n_backups; b++) {
        bool is_worse = distance(f, g, of->backups[b]) > distance(f, g, of->backups[worst]);
        if (is_draining(f, of->backups[b]) != is_draining(f, of->backups[worst]))
            is_worse = is_draining(f, of->backups[b]);
        if (is_worse)
            worst = b;
    }
    remove_backup(of, worst);
}

static void take_joiner_in(const struct mst_failover *f, struct mst_group_roles *of, size_t g)
{
    if (of->n_backups >= f->config.n_replicas)
        drop_worst(f, of, g);
    of->backups[of->n_backups++] = of->joiner;
    of->joiner = MST_NO_PS;
}

static bool can_join(const struct mst_failover *f, const struct mst_roles *roles, size_t g, uint32_t ps,
                     uint64_t now_ms)
{
    return mst_failover_is_there(f, roles, ps) && !is_draining(f, ps) && !is_holder(&roles->groups[g], ps) &&
           f->groups[g].barred[ps] <= now_ms;
}

// Its primary is not there: a live backup takes its place. Another one stays, also one that the last primary could not
// reach: until it is compared with the new one nothing is acknowledged, so it may be the next. With no backup, and none
// to come back, the group is lost.
static void replace_primary(const struct mst_failover *f, struct mst_roles *roles, size_t g)
{
    struct mst_group_roles *of = &roles->groups[g];
    uint32_t next = best_backup(f, roles, g);
    for (size_t b = 0; next == MST_NO_PS && b < of->n_backups; b++)
        if (mst_failover_is_there(f, roles, of->backups[b]))
            next = of->backups[b];
    if (next == MST_NO_PS) {
        remove_gone(f, roles, g);
        return;
    }
    remove_backup(of, backup_at(of, next));
    of->primary = next;
    of->joiner = MST_NO_PS; // the new primary fills it from the beginning
    of->is_handed_over = false;
    for (size_t b = of->n_backups; b-- > 0;)
        if (goes(f, roles, g, of->backups[b]))
            remove_backup(of, b);
}

// A place is kept for the server that it belongs to, for a while.
static bool is_kept(const struct mst_failover *f, size_t g, uint32_t ps, uint64_t now_ms)
{
    const struct mst_failover_ps *server = &f->servers[ps];
    if (f->groups[g].barred[ps] > now_ms)
        return true;
    return (!server->is_live && now_ms < server->dead_since_ms + f->config.patience_ms) ||
           (server->is_live && is_draining(f, ps));
}

static size_t n_staying(const struct mst_failover *f, const struct mst_group_roles *of)
{
    size_t n = 0;
    for (size_t b = 0; b < of->n_backups; b++)
        n += !is_draining(f, of->backups[b]);
    return n;
}

// The nearest server behind the home that can join. MST_NO_PS: there is none, or only one whose place is elsewhere, and
// those that belong here may come yet.
static uint32_t next_joiner(const struct mst_failover *f, const struct mst_roles *roles, size_t g, uint64_t now_ms)
{
    const struct mst_group_roles *of = &roles->groups[g];
    size_t n_missing = f->config.n_replicas - n_staying(f, of);
    size_t n_kept = 0;
    for (size_t d = 0; d < f->config.n_ps; d++) {
        uint32_t ps = (uint32_t)((g + d) % f->config.n_ps);
        bool is_stranger = d > f->config.n_replicas;
        if (can_join(f, roles, g, ps, now_ms))
            return is_stranger && n_missing <= n_kept && !is_draining(f, of->primary) ? MST_NO_PS : ps;
        n_kept += !is_stranger && !is_holder(of, ps) && is_kept(f, g, ps, now_ms);
    }
    return MST_NO_PS;
}

// Where the primary should be instead; MST_NO_PS: nowhere else.
static uint32_t heir(const struct mst_failover *f, const struct mst_roles *roles, size_t g)
{
    const struct mst_group_roles *of = &roles->groups[g];
    uint32_t best = best_backup(f, roles, g);
    if (best == MST_NO_PS || is_draining(f, of->primary))
        return best;
    bool is_home = best == g;
    bool is_stranger = distance(f, g, of->primary) > f->config.n_replicas;
    return is_home || (is_stranger && distance(f, g, best) <= f->config.n_replicas) ? best : MST_NO_PS;
}

static void hand_over(const struct mst_failover *f, struct mst_roles *roles, size_t g)
{
    struct mst_group_roles *of = &roles->groups[g];
    uint32_t next = heir(f, roles, g);
    of->is_handed_over = false;
    if (next == MST_NO_PS)
        return; // it was to go to one that is dead now
    uint32_t last = of->primary;
    of->backups[backup_at(of, next)] = last;
    of->primary = next;
    if (is_draining(f, last))
        remove_backup(of, backup_at(of, last));
}

// A server to which a full group belongs rather than to one that has it.
static uint32_t better_holder(const struct mst_failover *f, const struct mst_roles *roles, size_t g, uint64_t now_ms)
{
    const struct mst_group_roles *of = &roles->groups[g];
    bool has_stranger = false;
    for (size_t b = 0; b < of->n_backups; b++)
        has_stranger |= distance(f, g, of->backups[b]) > f->config.n_replicas;
    for (size_t d = 0; has_stranger && d <= f->config.n_replicas; d++) {
        uint32_t ps = (uint32_t)((g + d) % f->config.n_ps);
        if (can_join(f, roles, g, ps, now_ms))
            return ps;
    }
    return MST_NO_PS;
}

// What has to be, so that the group is served.
void mst_failover_repair(struct mst_failover *f, struct mst_roles *roles, size_t g, uint64_t now_ms)
{
    const struct mst_group_roles *of = &roles->groups[g];
    if (of->primary == MST_NO_PS && of->n_backups == 0)
        give_home(f, roles, g);
    else if (of->primary == MST_NO_PS || !mst_failover_is_there(f, roles, of->primary))
        replace_primary(f, roles, g);
    else
        drop(f, roles, g, now_ms);
}

// What should be, so that it has all its copies, where they belong. Of a group whose primary is there and stays.
void mst_failover_improve(struct mst_failover *f, struct mst_roles *roles, size_t g, bool is_full, uint64_t now_ms)
{
    struct mst_group_roles *of = &roles->groups[g];
    uint32_t next = heir(f, roles, g);
    if (of->is_handed_over) {
        if (f->groups[g].is_quiet || next == MST_NO_PS)
            hand_over(f, roles, g);
    } else if (next != MST_NO_PS && (is_draining(f, of->primary) || (is_full && of->joiner == MST_NO_PS))) {
        of->is_handed_over = true;
        of->joiner = MST_NO_PS; // the next primary fills it from the beginning
    } else if (of->joiner != MST_NO_PS) {
        if (f->groups[g].is_swept && f->groups[g].is_complete)
            take_joiner_in(f, of, g);
    } else if (n_staying(f, of) < f->config.n_replicas) {
        of->joiner = next_joiner(f, roles, g, now_ms);
    } else if (is_full) {
        of->joiner = better_holder(f, roles, g, now_ms);
    }
}
