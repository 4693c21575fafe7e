// `muster admin drain`: what a signal to a server does, asked of the chief. The server is told with its roles, so that
// the next chief hears of it as after a signal, and is let go when it has nothing any more (failing_over.c).
// Who asks waits by asking again, and names the process that he means: the one that is started after it is not drained.
// So at the end of the job this process stays until he has asked once more, and heard of it.
#include "chief/chief_private.h"

#include "base/clock.h"

#include <stdio.h>

enum { ASKED_MS = 1000 }; // he asks ten times meanwhile (cli/admin.c)

// Let go, or dead while it was about to be.
static bool is_drained(const struct ps_link *link)
{
    const struct mst_failover *f = &link->chief->failover;
    return (link->is_let_go || !mst_failover_is_live(f, link->index)) && mst_failover_is_drained(f, link->index);
}

static bool has_nothing(const struct mst_chief *chief, uint32_t ps)
{
    const struct mst_roles *roles = mst_failover_committed(&chief->failover);
    for (size_t g = 0; roles && g < roles->n_ps; g++)
        if (mst_roles_of(roles, (uint32_t)g, ps) != MST_REPLICA_NONE)
            return false;
    return roles;
}

// The process that is meant is no more: another one is in its place, or, for a chief that did not meet it, nobody is.
static bool is_over(const struct ps_link *link, uint64_t incarnation)
{
    const struct mst_chief *chief = link->chief;
    if (incarnation == 0 || !mst_chief_has_replicas(chief))
        return false;
    if (link->incarnation)
        return incarnation != link->incarnation;
    return has_nothing(chief, link->index);
}

static void describe(const struct ps_link *link, char *out, size_t out_bytes)
{
    mst_failover_describe(&link->chief->failover, out, out_bytes);
    if (!out[0])
        snprintf(out, out_bytes, "the others to take what ps-%u has", link->index);
}

static mst_status begin(struct ps_link *link, struct mst_error *err)
{
    struct mst_chief *chief = link->chief;
    MST_TRY(mst_failover_may_drain(&chief->failover, link->index, mst_clock_monotonic_ms(), err));
    link->asked_to_leave = link->incarnation;
    link->is_told_to_leave = false;
    mst_chief_ps_stops(link, "somebody asked for that");
    return MST_OK;
}

static mst_status ask(struct mst_chief *chief, size_t ps, uint64_t incarnation, struct mst_chief_drain *out,
                      struct mst_error *err)
{
    *out = (struct mst_chief_drain){.incarnation = incarnation};
    if (ps >= chief->config.n_ps)
        return mst_fail(err, MST_NOT_FOUND, "there is no ps-%zu; the job has ps-0 to ps-%zu", ps,
                        chief->config.n_ps - 1);
    if (chief->phase >= CHIEF_TELLING)
        return mst_fail(err, MST_FAILED_PRECONDITION, "the job is over: all its processes end");
    if (mst_chief_has_replicas(chief) && chief->phase < CHIEF_RUNNING)
        return mst_fail(err, MST_UNAVAILABLE, "the job to begin");
    struct ps_link *link = &chief->links[ps];
    if (is_over(link, incarnation)) {
        for (size_t g = 0; g < chief->config.n_ps; g++)
            if (mst_failover_is_lost(&chief->failover, g))
                return mst_fail(err, MST_FAILED_PRECONDITION,
                                "that process of ps-%zu ended before others had all that it had", ps);
        out->is_drained = true;
        return MST_OK;
    }
    if (link->incarnation == 0 || link->draining != link->incarnation)
        MST_TRY(begin(link, err));
    out->incarnation = link->incarnation;
    out->is_drained = is_drained(link);
    if (!out->is_drained)
        describe(link, out->waits_for, sizeof out->waits_for);
    return MST_OK;
}

mst_status mst_chief_drain(struct mst_chief *chief, size_t ps, uint64_t incarnation, struct mst_chief_drain *out,
                           struct mst_error *err)
{
    mst_status status = ask(chief, ps, incarnation, out, err);
    if (status == MST_OK ? !out->is_drained : mst_status_is_retryable(status))
        chief->drain_asked_ms = mst_clock_monotonic_ms();
    return status;
}

bool mst_chief_drain_is_asked(struct mst_chief *chief)
{
    uint64_t since_ms = mst_clock_monotonic_ms() - chief->drain_asked_ms;
    if (chief->drain_asked_ms == 0 || since_ms >= ASKED_MS)
        return false;
    mst_timer_start_once(&chief->asked, ASKED_MS - since_ms);
    return true;
}

void mst_chief_on_asked(void *arg)
{
    mst_chief_check_told(arg);
}
