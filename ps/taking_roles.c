// ROLES: who is primary, backup and joiner of which group. Roles are stored on every data thread, and acted on there,
// before the chief hears of it; buckets of a group that this server did not have so far are made on the way. A question
// that brings nothing new is held until there is something to say. Roles may come before the map: then they wait for
// the buckets.
#include "ps/ps_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"

#include <stdlib.h>

struct ps_roles {
    struct mst_ps *ps;
    struct mst_roles stored; // n_ps is 0 before the first
    struct mst_epoch told;   // that every data thread has stored
    struct mst_epoch acting;
    bool is_counting; // has acted on roles that name this process
    size_t n_visits;  // on their way
    uint64_t status;  // of what is said below; grows
    struct mst_msg_group_status *groups;
    size_t n_groups;
    bool is_held; // a question waits for news
    struct late_call held;
    uint64_t known;
    struct mst_timer hold;
};

// Roles on their way through the data threads, one after the other.
struct roles_visit {
    struct ps_roles *owner;
    struct mst_roles roles;
    bool acts;
    size_t next_thread;
    struct mst_holding **made;
    size_t n_made;
    mst_status status;
    struct mst_error err;
};

// ---- answering ----

static enum mst_replica_role role_by(const struct mst_ps *ps, const struct mst_roles *roles, size_t group)
{
    uint32_t self = ps->map.n_shards ? ps->map.ps : ps->config.identity->index;
    if (self >= roles->n_ps || group >= roles->n_ps || roles->incarnations[self] != ps->config.identity->incarnation)
        return MST_REPLICA_NONE; // a process of this server that is no more is meant
    return mst_roles_of(roles, (uint32_t)group, self);
}

// Once it was named it counts, whatever it stores later: it knows what was committed before.
static void act(struct ps_roles *roles, const struct mst_roles *by)
{
    const struct mst_ps *ps = roles->ps;
    uint32_t self = ps->map.n_shards ? ps->map.ps : ps->config.identity->index;
    roles->acting = by->epoch;
    roles->is_counting |= self < by->n_ps && by->incarnations[self] == ps->config.identity->incarnation;
}

enum mst_replica_role mst_ps_role(const struct mst_ps *ps, const struct mst_roles *roles, size_t group)
{
    return role_by(ps, roles, group);
}

static void answer_held(struct ps_roles *roles)
{
    const struct mst_msg_roles_reply reply = {.status = roles->status,
                                              .stored_term = roles->told.term,
                                              .stored_n = roles->told.n,
                                              .acting_term = roles->acting.term,
                                              .acting_n = roles->acting.n,
                                              .n_groups = roles->n_groups,
                                              .groups = roles->groups,
                                              .wants_drain = roles->ps->is_leaving};
    roles->is_held = false;
    mst_timer_stop(&roles->hold);
    MST_PS_ANSWER(&roles->held, roles_reply, &reply);
}

static void on_held_long(void *arg)
{
    struct ps_roles *roles = arg;
    if (roles->is_held)
        answer_held(roles);
}

static void answer_news(struct ps_roles *roles)
{
    if (roles->is_held && roles->n_visits == 0 && roles->status > roles->known)
        answer_held(roles);
}

// ---- how the groups stand ----

static struct mst_msg_group_status status_of(const struct ps_group *group, enum mst_replica_role role)
{
    struct mst_msg_group_status status = {
        .group = group->index, .role = role, .is_quiet = true, .is_swept = true, .is_complete = true};
    for (size_t t = 0; t < group->n_holdings; t++) {
        if (!group->holdings[t])
            return (struct mst_msg_group_status){.group = group->index, .role = role};
        struct mst_holding_status holding = mst_holding_status(group->holdings[t]);
        status.is_quiet = status.is_quiet && holding.is_quiet;
        status.is_swept = status.is_swept && holding.is_swept;
        status.is_complete = status.is_complete && holding.is_complete;
        if (holding.lost != MST_NO_PS) {
            status.has_lost = true;
            status.lost = holding.lost;
        }
    }
    return status;
}

static bool is_same(const struct mst_msg_group_status *a, const struct mst_msg_group_status *b)
{
    return a->group == b->group && a->role == b->role && a->is_quiet == b->is_quiet && a->is_swept == b->is_swept &&
           a->is_complete == b->is_complete && a->has_lost == b->has_lost && a->lost == b->lost;
}

static void show(size_t group, enum mst_replica_role role, const struct mst_epoch *epoch)
{
    char *labels = mst_text("group=\"%zu\"", group);
    mst_metric_set(mst_metric_gauge("muster_ps_group_role", "0 none, 1 primary, 2 backup, 3 joiner", labels), role);
    free(labels);
    mst_metric_set(mst_metric_gauge("muster_ps_roles_term", "Term of the roles that are stored", NULL),
                   (int64_t)epoch->term);
    mst_metric_set(mst_metric_gauge("muster_ps_roles_epoch", "Number of these roles under their term", NULL),
                   (int64_t)epoch->n);
}

// What the data threads say is of the roles that all of them have stored.
static void look(struct ps_roles *roles)
{
    const struct mst_ps *ps = roles->ps;
    bool is_changed = false;
    size_t n = 0;
    if (roles->n_visits > 0)
        return;
    for (size_t g = 0; g < roles->stored.n_ps; g++) {
        enum mst_replica_role role = role_by(ps, &roles->stored, g);
        const struct ps_group *group = mst_ps_group(ps, (uint32_t)g);
        if (role == MST_REPLICA_NONE)
            continue;
        struct mst_msg_group_status status = {.group = (uint32_t)g, .role = role};
        if (group && ps->phase == PS_SERVING)
            status = status_of(group, role);
        is_changed = is_changed || n >= roles->n_groups || !is_same(&status, &roles->groups[n]);
        roles->groups[n++] = status;
    }
    is_changed = is_changed || n != roles->n_groups;
    roles->n_groups = n;
    roles->status += is_changed;
    answer_news(roles);
}

static void on_status(void *arg)
{
    look(((struct mst_ps *)arg)->roles);
}

// ---- on the data threads ----

static void make_missing(struct roles_visit *visit, struct mst_data_thread *thread, size_t index)
{
    struct mst_ps *ps = visit->owner->ps;
    for (size_t g = 0; g < ps->n_groups; g++)
        for (size_t t = 0; t < ps->groups[g].n_holdings; t++) {
            struct mst_holding *holding;
            if (mst_ps_thread_of(ps, t) != index || role_by(ps, &visit->roles, g) == MST_REPLICA_NONE ||
                mst_holding_of(mst_data_thread_holdings(thread), (uint32_t)g, (uint32_t)t))
                continue;
            visit->status = mst_ps_build_holding(&ps->groups[g], (uint32_t)t, NULL, &holding, &visit->err);
            if (visit->status == MST_OK)
                visit->status = mst_ps_serve_holding(&ps->groups[g], thread, holding, &visit->err);
            if (visit->status != MST_OK)
                return;
            mst_holding_await_values(holding); // if it is to be primary: the group was lost, and the map comes again
            visit->made = mst_realloc_array(visit->made, visit->n_made + 1, sizeof(struct mst_holding *));
            visit->made[visit->n_made++] = holding;
        }
}

static void free_visit(void *arg)
{
    struct roles_visit *visit = arg;
    mst_roles_fini(&visit->roles);
    free(visit->made);
    free(visit);
}

static void on_visited(void *arg)
{
    struct roles_visit *visit = arg;
    struct ps_roles *roles = visit->owner;
    struct mst_ps *ps = roles->ps;
    for (size_t i = 0; i < visit->n_made; i++) {
        struct mst_holding *holding = visit->made[i];
        mst_ps_group(ps, holding->group)->holdings[holding->home_thread] = holding;
    }
    roles->n_visits--;
    if (visit->status != MST_OK)
        mst_ps_end(ps, visit->status, visit->err.text);
    if (mst_epoch_is_newer(&visit->roles.epoch, &roles->told))
        roles->told = visit->roles.epoch;
    if (visit->acts && mst_epoch_is_newer(&visit->roles.epoch, &roles->acting))
        act(roles, &visit->roles);
    for (size_t g = 0; g < ps->n_groups && visit->status == MST_OK; g++)
        if (ps->groups[g].rounds)
            mst_ps_rounds_roles(ps->groups[g].rounds, role_by(ps, &visit->roles, g) == MST_REPLICA_PRIMARY,
                                visit->acts);
    roles->status++;
    char *text = mst_roles_text(&visit->roles);
    MST_LOG(INFO, "ps", "roles", "are=\"%s\" acts=%d", text, visit->acts);
    free(text);
    for (size_t g = 0; g < visit->roles.n_ps; g++)
        show(g, role_by(ps, &visit->roles, g), &visit->roles.epoch);
    free_visit(visit);
    look(roles);
}

static void visit_thread(void *arg)
{
    struct roles_visit *visit = arg;
    struct mst_ps *ps = visit->owner->ps;
    size_t index = visit->next_thread++;
    struct mst_data_thread *thread = ps->threads[index];
    make_missing(visit, thread, index);
    for (struct mst_holding *holding = mst_data_thread_holdings(thread); holding; holding = holding->next) {
        mst_holding_store_roles(holding, &visit->roles);
        if (visit->acts)
            mst_holding_act(holding, &visit->roles.epoch);
    }
    bool goes_on = visit->status == MST_OK && visit->next_thread < ps->config.n_data_loops;
    mst_loop_post_or_drop(goes_on ? ps->config.data_loops[visit->next_thread] : ps->config.control,
                          goes_on ? visit_thread : on_visited, free_visit, visit);
}

static void visit_all(struct ps_roles *roles, bool acts)
{
    struct roles_visit *visit = mst_alloc(sizeof *visit);
    *visit = (struct roles_visit){.owner = roles, .acts = acts};
    mst_roles_copy(&visit->roles, &roles->stored);
    roles->n_visits++;
    mst_loop_post_or_drop(roles->ps->config.data_loops[0], visit_thread, free_visit, visit);
}

// ---- the call ----

static mst_status take(struct ps_roles *roles, const struct mst_msg_roles *message, struct mst_error *err)
{
    const struct mst_ps *ps = roles->ps;
    struct mst_epoch epoch = {message->term, message->n};
    if (message->n_groups == 0 || (epoch.term == 0 && epoch.n == 0))
        return mst_fail(err, MST_INVALID_ARGUMENT, "roles of no groups");
    if (roles->stored.n_ps && roles->stored.n_ps != message->n_groups)
        return mst_fail(err, MST_INVALID_ARGUMENT, "roles of %zu groups, and there are %zu", message->n_groups,
                        roles->stored.n_ps);
    bool is_newer = mst_epoch_is_newer(&epoch, &roles->stored.epoch);
    if (is_newer)
        MST_TRY(mst_roles_take(&roles->stored, message, err));
    bool acts = message->is_committed && mst_epoch_is_same(&epoch, &roles->stored.epoch) &&
                mst_epoch_is_newer(&epoch, &roles->acting);
    if (!is_newer && !acts)
        return MST_OK;
    roles->groups = mst_realloc_array(roles->groups, roles->stored.n_ps, sizeof *roles->groups);
    if (ps->phase == PS_BUILDING || ps->phase == PS_SERVING) {
        visit_all(roles, acts);
        return MST_OK;
    }
    roles->told = epoch;
    if (acts)
        act(roles, &roles->stored);
    roles->status++;
    look(roles);
    return MST_OK;
}

void mst_ps_on_roles(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct control_conn *control = arg;
    struct mst_ps *ps = control->ps;
    struct ps_roles *roles = ps->roles;
    struct mst_arena arena;
    struct mst_msg_roles decoded;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_roles_decode(message->meta, &arena, &decoded, &err);
    if (status == MST_OK && conn != ps->chief)
        status = mst_fail(&err, MST_ABORTED, "another connection is the chief's");
    if (status == MST_OK)
        status = take(roles, &decoded, &err);
    if (status != MST_OK) {
        mst_conn_reply_error(conn, message, status, "%s", err.text);
    } else {
        if (roles->is_held)
            answer_held(roles);
        ps->chief_heard_ms = mst_clock_monotonic_ms();
        if (decoded.is_to_leave && !ps->is_leaving && mst_ps_leave(ps, "it was asked to leave"))
            MST_LOG(WARN, "ps", "asked to leave", "reason=\"muster admin drain\"");
        roles->is_held = true;
        roles->held = mst_ps_late_call(control, message);
        roles->known = decoded.known;
        mst_timer_start_once(&roles->hold, ps->config.lease_ms / 2);
        answer_news(roles);
    }
    mst_arena_fini(&arena);
}

// ---- for the others ----

bool mst_ps_has_roles(const struct mst_ps *ps)
{
    return ps->roles->stored.n_ps > 0;
}

const struct mst_roles *mst_ps_roles_stored(const struct mst_ps *ps)
{
    return &ps->roles->stored;
}

bool mst_ps_is_counting(const struct mst_ps *ps)
{
    return ps->roles->is_counting;
}

bool mst_ps_is_acting(const struct mst_ps *ps)
{
    return mst_epoch_is_same(&ps->roles->acting, &ps->roles->stored.epoch);
}

mst_status mst_ps_roles_from_map(struct mst_ps *ps, struct mst_error *err)
{
    struct ps_roles *roles = ps->roles;
    const struct mst_msg_roles *map = &ps->map.roles;
    struct mst_epoch epoch = {map->term, map->n};
    if (map->n_groups == 0)
        return MST_OK;
    if (!ps->config.resolver || ps->config.n_ps < map->n_groups || ps->map.n_ps_threads != map->n_groups ||
        ps->map.ps >= map->n_groups || (roles->stored.n_ps && roles->stored.n_ps != map->n_groups))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "the map has roles of %zu parameter servers, and TF_CONFIG here names %zu: with replicas each "
                        "of them has to know all",
                        map->n_groups, ps->config.n_ps);
    for (size_t i = 0; i < map->n_groups; i++)
        if (!ps->config.ps_addresses[i] || ps->map.ps_threads[i] == 0)
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "TF_CONFIG does not name ps %zu: with replicas each of them has to know all", i);
    if (mst_epoch_is_newer(&epoch, &roles->stored.epoch)) {
        MST_TRY(mst_roles_take(&roles->stored, map, err));
        roles->groups = mst_realloc_array(roles->groups, roles->stored.n_ps, sizeof *roles->groups);
    }
    // What the map says is committed.
    if (mst_epoch_is_same(&epoch, &roles->stored.epoch))
        act(roles, &roles->stored);
    return MST_OK;
}

void mst_ps_roles_begin(struct mst_ps *ps)
{
    if (mst_ps_has_roles(ps))
        visit_all(ps->roles, mst_ps_is_acting(ps));
}

void mst_ps_replicate(struct mst_ps *ps, struct mst_data_thread *thread)
{
    const struct mst_replicating_config config = {.identity = ps->config.identity,
                                                  .ps = ps->map.ps,
                                                  .resolver = ps->config.resolver,
                                                  .addresses = ps->config.ps_addresses,
                                                  .threads = ps->map.ps_threads,
                                                  .n_ps = ps->map.n_ps_threads,
                                                  .lease_ms = ps->config.lease_ms,
                                                  .control = ps->config.control,
                                                  .on_status = on_status,
                                                  .arg = ps};
    mst_data_thread_replicate(thread, &config);
}

void mst_ps_wants_drain(struct mst_ps *ps)
{
    ps->roles->status++;
    answer_news(ps->roles);
}

struct ps_roles *mst_ps_roles_new(struct mst_ps *ps)
{
    struct ps_roles *roles = mst_alloc(sizeof *roles);
    *roles = (struct ps_roles){.ps = ps};
    mst_timer_init(&roles->hold, ps->config.control, on_held_long, roles);
    return roles;
}

void mst_ps_roles_free(struct ps_roles *roles)
{
    if (!roles)
        return;
    mst_timer_fini(&roles->hold);
    mst_roles_fini(&roles->stored);
    free(roles->groups);
    free(roles);
}
