// Who is primary of which group, carried: one ROLES call under way to each parameter server, which it answers when it
// has something new, and another one as soon as there are other roles for it. A server is dead when its process is gone
// (its connection was reset and its port refuses another one), or when nothing was heard of it for a lease.
// With no replicas nothing here does anything: each group is at home for good, and no call is made.
#include "chief/chief_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"

#include <stdio.h>
#include <stdlib.h>

bool mst_chief_has_replicas(const struct mst_chief *chief)
{
    return chief->failover.config.n_replicas > 0;
}

// ---- metrics ----

static void make_metrics(struct mst_chief *chief)
{
    struct mst_chief_failover_metrics *metrics = &chief->failover_metrics;
    metrics->is_full =
        mst_metric_gauge("muster_redundancy_full", "1 when every group has all its copies: a server may die", NULL);
    metrics->term = mst_metric_gauge("muster_roles_term", "Term of the roles that are acted on", NULL);
    metrics->n = mst_metric_gauge("muster_roles_epoch", "Number of these roles under their term", NULL);
    metrics->primaries = mst_alloc_array(chief->config.n_ps, sizeof *metrics->primaries);
    for (size_t g = 0; g < chief->config.n_ps; g++) {
        char labels[32];
        snprintf(labels, sizeof labels, "group=\"%zu\"", g);
        metrics->primaries[g] =
            mst_metric_gauge("muster_group_primary", "Parameter server that is primary of a group; -1: none", labels);
    }
}

static void show(struct mst_chief *chief)
{
    struct mst_chief_failover_metrics *metrics = &chief->failover_metrics;
    bool is_full = mst_failover_is_full(&chief->failover);
    mst_metric_set(metrics->is_full, is_full);
    if (is_full == chief->is_redundant)
        return;
    chief->is_redundant = is_full;
    const struct mst_epoch *epoch = &chief->failover.current.epoch;
    if (is_full)
        MST_LOG(INFO, "chief", "redundancy is full", "roles=%llu.%llu", (unsigned long long)epoch->term,
                (unsigned long long)epoch->n);
    else
        MST_LOG(WARN, "chief", "redundancy is not full", "roles=%llu.%llu", (unsigned long long)epoch->term,
                (unsigned long long)epoch->n);
}

// ---- what becomes of a change ----

// Workers and evaluators go by them from now on, and so does the chief.
static void take_roles(struct mst_chief *chief, const struct mst_roles *roles)
{
    char *text = mst_roles_text(roles);
    MST_LOG(INFO, "chief", "roles", "are=\"%s\"", text);
    free(text);
    chief->roles_followed = roles->epoch;
    mst_metric_set(chief->failover_metrics.term, (int64_t)roles->epoch.term);
    mst_metric_set(chief->failover_metrics.n, (int64_t)roles->epoch.n);
    for (size_t g = 0; g < roles->n_ps; g++) {
        uint32_t primary = roles->groups[g].primary;
        mst_metric_set(chief->failover_metrics.primaries[g], primary == MST_NO_PS ? -1 : (int64_t)primary);
    }
    if (chief->phase == CHIEF_RECALLING)
        mst_chief_recall_done(chief); // before it is said what is lost: an earlier chief may have known
    if (chief->phase >= CHIEF_TELLING)
        return;
    mst_chief_roles_changed(chief);
    if (chief->phase < CHIEF_TELLING)
        mst_chief_advance(chief);
}

// ---- the calls ----

static void take_reply(struct ps_link *link, const struct mst_reply *reply)
{
    struct mst_chief *chief = link->chief;
    struct mst_arena arena;
    struct mst_msg_roles_reply answer;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    if (mst_msg_roles_reply_decode(reply->message->meta, &arena, &answer, &err) == MST_OK) {
        if (answer.status > link->roles_known)
            link->roles_known = answer.status;
        if (answer.wants_drain)
            mst_chief_ps_stops(link, "it was told to stop");
        mst_failover_heard(&chief->failover, link->index, link->incarnation, &answer);
    } else {
        MST_LOG(WARN, "chief", "report of roles not read", "ps=%u reason=\"%s\"", link->index, err.text);
    }
    mst_arena_fini(&arena);
}

static void on_reply(void *arg, const struct mst_reply *reply)
{
    struct ps_link *link = arg;
    struct mst_chief *chief = link->chief;
    link->n_roles_calls--;
    if (chief->phase >= CHIEF_TELLING)
        return;
    if (reply->status == MST_ABORTED) {
        mst_chief_give_way(chief, MST_ALREADY_EXISTS, reply->text);
        return;
    }
    if (reply->status != MST_OK)
        return; // the link broke, or it is silent: the tick asks again
    mst_chief_heard(link);
    take_reply(link, reply);
    mst_chief_failover_go_on(chief);
}

static void ask(struct ps_link *link, const struct mst_roles *roles, bool is_committed)
{
    struct mst_chief *chief = link->chief;
    struct mst_arena arena;
    struct mst_msg_roles message;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_roles_view(roles, &arena, &message);
    MST_ASSERT(status == MST_OK); // a few numbers a server
    message.is_committed = is_committed;
    message.known = link->roles_known;
    message.is_to_leave = link->asked_to_leave == link->incarnation;
    link->is_told_to_leave = message.is_to_leave;
    link->roles_told = roles->epoch;
    link->is_told_committed = is_committed;
    link->n_roles_calls++;
    MST_CHIEF_CALL(link, ROLES, roles, &message, chief->config.job->lease_ms, on_reply, link);
    mst_arena_fini(&arena);
}

// What it has to be told that is not on its way; else one call has to be under way, so that it can say what is new.
static void talk(struct ps_link *link)
{
    const struct mst_failover *f = &link->chief->failover;
    if (f->phase != MST_FAILOVER_LEADING || !mst_peer_is_up(link->peer) || !mst_failover_is_live(f, link->index))
        return;
    bool is_committed;
    const struct mst_roles *news = mst_failover_to_send(f, link->index, &is_committed);
    const struct mst_roles *roles = news ? news : is_committed ? &f->committed : &f->current;
    bool is_told = mst_epoch_is_same(&link->roles_told, &roles->epoch) && link->is_told_committed == is_committed;
    bool is_to_hear = link->asked_to_leave == link->incarnation && !link->is_told_to_leave;
    if (link->n_roles_calls == 0 || (news && !is_told) || is_to_hear)
        ask(link, roles, is_committed);
}

// Nothing is left of what a server had that was told to stop, and it knows: it may.
static void dismiss(struct ps_link *link)
{
    struct mst_chief *chief = link->chief;
    bool is_committed;
    if (link->is_let_go || link->draining != link->incarnation || !mst_peer_is_up(link->peer) ||
        !mst_failover_is_drained(&chief->failover, link->index) ||
        mst_failover_to_send(&chief->failover, link->index, &is_committed))
        return;
    MST_LOG(INFO, "chief", "parameter server let go", "ps=%u", link->index);
    link->is_let_go = true;
    // CANCELLED is the exit code of SIGTERM, whoever asked for it: it may be started again.
    struct mst_msg_finish finish = {chief->term, MST_CANCELLED, "it was told to stop, and others have what it had"};
    MST_CHIEF_CALL(link, FINISH, finish, &finish, chief->config.job->lease_ms, NULL, NULL);
}

// Also called by what it calls; then the outer call goes on.
void mst_chief_failover_go_on(struct mst_chief *chief)
{
    struct mst_failover *f = &chief->failover;
    if (!mst_chief_has_replicas(chief) || chief->phase < CHIEF_RECALLING || chief->phase >= CHIEF_TELLING ||
        chief->is_failing_over)
        return;
    chief->is_failing_over = true;
    mst_chief_groups_known(chief);
    while (chief->phase < CHIEF_TELLING && mst_failover_advance(f, mst_clock_monotonic_ms())) {
        const struct mst_roles *committed = mst_failover_committed(f);
        if (committed && !mst_epoch_is_same(&committed->epoch, &chief->roles_followed)) {
            for (size_t i = 0; i < chief->config.n_ps; i++)
                talk(&chief->links[i]); // before all else, so that it is acted on
            take_roles(chief, committed);
        }
    }
    chief->is_failing_over = false;
    for (size_t i = 0; chief->phase < CHIEF_TELLING && i < chief->config.n_ps; i++) {
        talk(&chief->links[i]);
        dismiss(&chief->links[i]);
    }
    show(chief);
}

// ---- who lives ----

void mst_chief_heard(struct ps_link *link)
{
    link->heard_ms = mst_clock_monotonic_ms();
}

void mst_chief_failover_up(struct ps_link *link)
{
    struct mst_chief *chief = link->chief;
    mst_chief_heard(link);
    link->is_let_go = link->is_told_to_leave = false;
    link->roles_told = (struct mst_epoch){0};
    link->roles_known = 0;
    mst_failover_up(&chief->failover, link->index, link->incarnation);
    mst_chief_failover_go_on(chief);
}

static void declare_dead(struct ps_link *link, enum mst_failover_death how)
{
    struct mst_chief *chief = link->chief;
    uint64_t now_ms = mst_clock_monotonic_ms();
    if (mst_failover_is_live(&chief->failover, link->index) && link->incarnation && !link->is_let_go)
        MST_LOG(WARN, "chief", "parameter server dead", "ps=%u how=\"%s\" silent_ms=%llu", link->index,
                how == MST_FAILOVER_GONE ? "its process is gone" : "silent for a lease",
                (unsigned long long)(now_ms - link->heard_ms));
    mst_failover_dead(&chief->failover, link->index, how, now_ms);
    mst_chief_try_recall(chief);
    mst_chief_failover_go_on(chief);
    if (chief->phase >= CHIEF_PLACING && chief->phase < CHIEF_TELLING) {
        mst_chief_store(chief); // what only waited for it
        mst_chief_links_place(chief);
        mst_chief_fences_go_on(chief);
    }
}

void mst_chief_failover_gone(void *arg, struct mst_peer *peer)
{
    struct ps_link *link = arg;
    (void)peer;
    if (mst_chief_has_replicas(link->chief) && link->chief->phase < CHIEF_TELLING)
        declare_dead(link, MST_FAILOVER_GONE);
}

// Who was let go and hung up does not come back as what it was, whether or not its port refuses: under a supervisor
// that keeps the port it does not, and until the next process is there each lease would wait for it to store what was
// decided.
void mst_chief_failover_down(struct ps_link *link)
{
    if (link->is_let_go)
        declare_dead(link, MST_FAILOVER_GONE);
}

void mst_chief_failover_tick(struct mst_chief *chief, uint64_t now_ms)
{
    if (!mst_chief_has_replicas(chief))
        return;
    uint64_t slept_ms = chief->coordinator.slept_ms - chief->failover_slept_ms; // nobody could be heard meanwhile
    chief->failover_slept_ms = chief->coordinator.slept_ms;
    for (size_t i = 0; i < chief->config.n_ps && chief->phase < CHIEF_TELLING; i++) {
        struct ps_link *link = &chief->links[i];
        link->heard_ms += slept_ms;
        if (link->heard_ms > now_ms)
            link->heard_ms = now_ms;
        if (!mst_failover_is_live(&chief->failover, i) || now_ms - link->heard_ms < chief->config.job->lease_ms)
            continue;
        mst_peer_break(link->peer, "was given up: silent for a lease");
        declare_dead(link, MST_FAILOVER_SILENT);
    }
    mst_chief_failover_go_on(chief);
}

void mst_chief_failover_read(struct ps_link *link, const struct mst_msg_recall_reply *reply)
{
    struct mst_roles roles = {0};
    struct mst_error err;
    if (!mst_chief_has_replicas(link->chief))
        return;
    mst_chief_heard(link);
    if (reply->roles.n_groups && mst_roles_take(&roles, &reply->roles, &err) != MST_OK)
        MST_LOG(WARN, "chief", "report of roles not read", "ps=%u reason=\"%s\"", link->index, err.text);
    if (roles.n_ps && roles.n_ps != link->chief->config.n_ps) {
        mst_fail(&err, MST_FAILED_PRECONDITION, MST_CHIEF_OTHER_LIST, (size_t)roles.n_ps, link->chief->config.n_ps);
        mst_roles_fini(&roles);
        mst_chief_give_way(link->chief, MST_FAILED_PRECONDITION, err.text);
        return;
    }
    struct mst_failover_memory memory = {roles.n_ps ? &roles : NULL, reply->is_acting};
    mst_failover_read(&link->chief->failover, link->index, link->incarnation, &memory);
    mst_roles_fini(&roles);
    mst_chief_failover_go_on(link->chief);
}

// ---- told to go ----

void mst_chief_ps_stops(struct ps_link *link, const char *text)
{
    struct mst_chief *chief = link->chief;
    if (!mst_chief_has_replicas(chief)) {
        mst_chief_stop(chief, text);
        return;
    }
    if (link->draining == link->incarnation || chief->phase >= CHIEF_TELLING)
        return;
    link->draining = link->incarnation; // (a chief that starts may hear of it before it runs the job)
    MST_LOG(WARN, "chief", "parameter server leaves", "ps=%u reason=\"%s\"", link->index, text);
    mst_failover_drain(&chief->failover, link->index);
    if (mst_failover_is_all_draining(&chief->failover))
        mst_chief_stop(chief, text); // nobody is left to hand over to
    mst_chief_failover_go_on(chief);
}

// ---- making and freeing ----

void mst_chief_failover_start(struct mst_chief *chief)
{
    for (size_t i = 0; i < chief->config.n_ps; i++)
        mst_chief_heard(&chief->links[i]);
    if (mst_chief_has_replicas(chief))
        make_metrics(chief);
}

void mst_chief_failover_free(struct mst_chief *chief)
{
    free(chief->failover_metrics.primaries);
}
