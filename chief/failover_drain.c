// Whether a server may be drained when somebody asks for that, who can wait: one after the other, so that no group is
// ever left with fewer copies than the drain of one server costs. (One that a signal told to stop is drained at once.)
#include "chief/failover_private.h"

#include "base/error.h"

#include <stdio.h>

// It is there, or its place is kept because it may come back soon.
static bool is_expected(const struct mst_failover *f, size_t ps, uint64_t now_ms)
{
    const struct mst_failover_ps *server = &f->servers[ps];
    return server->incarnation != 0 && (server->is_live || now_ms < server->dead_since_ms + f->config.patience_ms);
}

static bool is_kept_alive_by(const struct mst_failover *f, uint32_t holder, size_t ps)
{
    return holder != MST_NO_PS && holder != ps && mst_failover_is_there(f, &f->current, holder);
}

// A group that is only on the server itself.
static mst_status check_only_copy(const struct mst_failover *f, size_t g, size_t ps, size_t n_expected,
                                  struct mst_error *err)
{
    const struct mst_group_roles *of = &f->current.groups[g];
    if (mst_roles_of(&f->current, (uint32_t)g, (uint32_t)ps) == MST_REPLICA_NONE)
        return MST_OK;
    bool has_other = is_kept_alive_by(f, of->primary, ps);
    for (size_t b = 0; b < of->n_backups; b++)
        has_other = has_other || is_kept_alive_by(f, of->backups[b], ps);
    if (has_other)
        return MST_OK;
    if (n_expected <= 1)
        return mst_fail(err, MST_FAILED_PRECONDITION,
                        "ps-%zu has the only copy of group %zu, and no other parameter server is there to take it: "
                        "start one first",
                        ps, g);
    return mst_fail(err, MST_UNAVAILABLE, "another server to have a copy of group %zu than ps-%zu", g, ps);
}

static mst_status check_groups(const struct mst_failover *f, size_t ps, size_t n_expected, struct mst_error *err)
{
    size_t n_backups = n_expected - 1 < f->config.n_replicas ? n_expected - 1 : f->config.n_replicas;
    for (size_t g = 0; g < f->config.n_ps; g++)
        MST_TRY(check_only_copy(f, g, ps, n_expected, err));
    for (size_t g = 0; g < f->config.n_ps; g++)
        if (f->current.groups[g].primary == MST_NO_PS || f->current.groups[g].n_backups < n_backups)
            return mst_fail(err, MST_UNAVAILABLE, "all copies of group %zu to be there, so that redundancy is full", g);
    return MST_OK;
}

mst_status mst_failover_may_drain(const struct mst_failover *f, size_t ps, uint64_t now_ms, struct mst_error *err)
{
    char waits_for[256];
    size_t n_expected = 0;
    if (f->config.n_replicas == 0)
        return mst_fail(err, MST_FAILED_PRECONDITION,
                        "the job has no replicas, so nobody can take what ps-%zu has; start it with replicas 1 or 2",
                        ps);
    for (size_t i = 0; i < f->config.n_ps; i++) {
        n_expected += is_expected(f, i, now_ms);
        if (i != ps && f->servers[i].is_draining && f->servers[i].is_live)
            return mst_fail(err, MST_UNAVAILABLE, "ps-%zu to leave and come back, one server after the other", i);
    }
    if (!f->servers[ps].is_live || f->servers[ps].incarnation == 0)
        return mst_fail(err, MST_UNAVAILABLE, "ps-%zu, which is not there", ps);
    if (f->phase != MST_FAILOVER_LEADING || !mst_epoch_is_same(&f->committed.epoch, &f->current.epoch)) {
        mst_failover_describe(f, waits_for, sizeof waits_for);
        return mst_fail(err, MST_UNAVAILABLE, "%s", waits_for[0] ? waits_for : "the new roles to be stored");
    }
    return check_groups(f, ps, n_expected, err);
}
