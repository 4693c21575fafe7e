// The groups of buckets: what is asked of one goes to the PS that is its primary. Each question has a record of its
// own, so that what a former primary answers late is not taken for the answer of the present one.
#include "chief/chief_private.h"

#include "base/alloc.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

// A question to a group's primary.
struct group_call {
    struct group_call *next;
    struct ps_group *group;
    uint64_t n_changes; // the group's, when it was asked
};

struct ps_link *mst_chief_primary(const struct ps_group *group)
{
    struct ps_link *link = group->primary == MST_NO_PS ? NULL : &group->chief->links[group->primary];
    // Without a connection it is lost, also while its unanswered calls are told so and it is not yet down.
    return link && mst_peer_conn(link->peer) ? link : NULL;
}

struct group_call *mst_chief_group_ask(struct ps_group *group)
{
    struct group_call *call = mst_alloc(sizeof *call);
    *call = (struct group_call){.next = group->calls, .group = group, .n_changes = group->n_changes};
    group->calls = call;
    return call;
}

struct ps_group *mst_chief_group_answered(struct group_call *call)
{
    struct ps_group *group = call->group;
    bool is_of_primary = call->n_changes == group->n_changes;
    struct group_call **at = &group->calls;
    while (*at != call)
        at = &(*at)->next;
    *at = call->next;
    free(call);
    return is_of_primary ? group : NULL;
}

static bool is_whole(const struct ps_group *group)
{
    const struct ps_link *primary = mst_chief_primary(group);
    return primary && primary->is_placed && !group->is_empty;
}

void mst_chief_odd_answer(const struct ps_group *group, uint16_t method, const char *text)
{
    MST_LOG(WARN, "chief", "answer refused", "ps=%u group=%u method=%s reason=\"%s\"", group->primary, group->index,
            mst_method_name(method), text);
}

bool mst_chief_groups_are_whole(const struct mst_chief *chief)
{
    for (size_t i = 0; i < chief->config.n_ps; i++)
        if (!is_whole(&chief->groups[i]))
            return false;
    return true;
}

// Why it is not whole: "ps-1 (connection refused, 3 s)".
static void describe(const struct ps_group *group, char *out, size_t out_bytes)
{
    const struct mst_chief *chief = group->chief;
    char state[192];
    if (group->primary == MST_NO_PS) {
        snprintf(out, out_bytes, "group %u, of which no copy is left", group->index);
        return;
    }
    mst_chief_link_state(&chief->links[group->primary], state, sizeof state);
    if (mst_chief_has_replicas(chief))
        snprintf(out, out_bytes, "ps-%u for group %u (%s)", group->primary, group->index, state);
    else
        snprintf(out, out_bytes, "ps-%u (%s)", group->primary, state);
}

void mst_chief_groups_state(const struct mst_chief *chief, char *out, size_t out_bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < chief->config.n_ps && used < out_bytes; i++) {
        char text[256];
        if (is_whole(&chief->groups[i]))
            continue;
        describe(&chief->groups[i], text, sizeof text);
        int n = snprintf(out + used, out_bytes - used, "%s%s", used ? ", " : "", text);
        used += n > 0 ? (size_t)n : out_bytes;
    }
    mst_chief_add_shortage(chief, out, out_bytes);
}

bool mst_chief_is_awaited(const struct ps_link *link)
{
    const struct mst_roles *roles = mst_failover_committed(&link->chief->failover);
    if (!roles)
        return true;
    for (size_t i = 0; i < roles->n_ps; i++) {
        const struct mst_group_roles *of = &roles->groups[i];
        bool would_be = of->n_backups ? of->backups[0] == link->index : i == link->index;
        if (of->primary == link->index || (of->primary == MST_NO_PS && would_be))
            return true;
    }
    return false;
}

// ---- groups that nobody has any more ----

static void note_gone(struct ps_group *group)
{
    struct mst_chief *chief = group->chief;
    group->is_empty = true;
    mst_chief_touch(chief);
    group->gone_mark = mst_chief_mark(chief);
    if (chief->coordinator.is_synchronous)
        mst_rounds_ps_lost(&chief->coordinator.rounds, group->index);
}

void mst_chief_group_gone(struct ps_group *group)
{
    struct mst_chief *chief = group->chief;
    mst_setback_emptied(&group->setback, mst_chief_steps_done(chief), chief->coordinator.leases.n_torn);
    note_gone(group); // by this number its updates are counted, by whatever chief
}

void mst_chief_groups_known(struct mst_chief *chief)
{
    for (size_t i = 0; i < chief->config.n_ps; i++)
        if (chief->groups[i].is_empty && mst_chief_is_stored(chief, chief->groups[i].gone_mark))
            mst_failover_may_restore(&chief->failover, i);
}

void mst_chief_groups_emptied(struct ps_link *link)
{
    struct ps_group *group = &link->chief->groups[link->index];
    group->is_restoring = false;
    // One that never served is awaited as it is.
    if (!mst_chief_has_replicas(link->chief) && (link->is_placed || group->is_empty))
        mst_chief_group_gone(group);
}

uint64_t mst_chief_groups_restoring(struct ps_link *link)
{
    struct mst_chief *chief = link->chief;
    uint64_t n_steps = mst_chief_steps_done(chief);
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        struct ps_group *group = &chief->groups[i];
        if (group->primary != link->index)
            continue;
        // Roles that name the process before it make nobody primary: it restores nothing by them.
        group->is_restoring = group->is_empty && mst_failover_is_named(&chief->failover, link->index);
        if (!group->is_restoring)
            continue;
        if (chief->coordinator.is_synchronous && !group->setback.is_restoring) // a round may have been over since
            mst_setback_emptied(&group->setback, n_steps, 0);
        mst_setback_restoring(&group->setback, chief->committed_step);
        if (!chief->coordinator.is_synchronous)
            n_steps = group->setback.n_steps;
    }
    return n_steps;
}

static void restored(struct ps_group *group, const struct ps_link *link)
{
    struct mst_chief *chief = group->chief;
    // In rounds it takes the last close as applied.
    uint64_t n_lost = mst_setback_restored(
        &group->setback, chief->coordinator.is_synchronous ? chief->coordinator.rounds.close_steps : 0);
    group->is_empty = group->is_restoring = false;
    group->has_all = false; // of a cut under way it answered before
    chief->n_lost_updates += n_lost;
    // The next chief, if it does not know of this, counts by the last close. So that is not to change before.
    mst_chief_hold_rounds(chief);
    if (chief->coordinator.is_synchronous)
        mst_rounds_ps_back(&chief->coordinator.rounds, group->index);
    MST_LOG(WARN, "chief", "parameter server restored", "ps=%u lost_updates=%llu steps=%llu from=%s", link->index,
            (unsigned long long)n_lost, (unsigned long long)group->setback.n_steps,
            link->placed_prefix ? link->placed_prefix : "initial values");
}

bool mst_chief_groups_restored(struct ps_link *link)
{
    struct mst_chief *chief = link->chief;
    bool is_all = true;
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        struct ps_group *group = &chief->groups[i];
        if (group->primary != link->index || !group->is_empty)
            continue;
        if (group->is_restoring)
            restored(group, link);
        else
            is_all = false;
    }
    return is_all;
}

static void count_more(struct ps_group *group, uint64_t n_more)
{
    struct mst_chief *chief = group->chief;
    chief->n_lost_updates += n_more;
    mst_chief_touch(chief);
    MST_LOG(WARN, "chief", "lost updates counted", "ps=%u lost_updates=%llu unreported=%llu", group->index,
            (unsigned long long)mst_setback_n_lost(&group->setback), (unsigned long long)n_more);
}

// What nobody had reported when they were gone: a cut that began since, and is not too early, knows of it.
void mst_chief_groups_settle(struct mst_chief *chief, uint64_t n_torn)
{
    const struct mst_chief_cut *cut = &chief->cut;
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        struct ps_group *group = &chief->groups[i];
        const struct mst_setback_cut said = {cut->n_done, n_torn, cut->machine.n_updates[i]};
        mst_setback_seen(&group->setback, &said);
        if (group->setback.is_open && group->has_all)
            count_more(group, mst_setback_settle(&group->setback));
    }
}

void mst_chief_groups_committed(struct mst_chief *chief)
{
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        struct ps_group *group = &chief->groups[i];
        uint64_t n_more = mst_setback_committed(&group->setback, chief->committed_step);
        if (n_more)
            count_more(group, n_more);
    }
}

struct mst_msg_setback *mst_chief_list_setbacks(const struct mst_chief *chief)
{
    struct mst_msg_setback *list = mst_alloc_array(chief->config.n_ps, sizeof *list);
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        const struct mst_setback *from = &chief->groups[i].setback;
        list[i] = (struct mst_msg_setback){from->is_gone, from->is_open,   from->n_steps,
                                           from->n_torn,  from->from_step, from->counted_step};
    }
    return list;
}

void mst_chief_take_setback(struct ps_group *group, const struct mst_msg_setback *from)
{
    group->setback = (struct mst_setback){.is_gone = from->is_gone,
                                          .is_open = from->is_open,
                                          .n_steps = from->n_steps,
                                          .n_torn = from->n_torn,
                                          .from_step = from->from_step,
                                          .counted_step = from->counted_step};
    // Whether it was restored since, only its server knows: told again, it says so, and that is counted.
    if (from->is_gone)
        note_gone(group);
}

// ---- roles ----

// What the old primary answers from now on counts no more; the new one is asked everything again.
static void change_primary(struct ps_group *group, uint32_t primary)
{
    struct mst_chief *chief = group->chief;
    group->primary = primary;
    group->n_changes++;
    group->is_fencing = group->is_cutting = group->is_restoring = false;
    group->n_round_calls = 0;
    if (chief->coordinator.is_synchronous)
        mst_rounds_ps_moved(&chief->coordinator.rounds, group->index);
    mst_chief_save_interrupt(chief); // before its cut is given up, so that it is put off, not counted as failed
    mst_chief_cut_interrupt(chief, group);
}

void mst_chief_roles_changed(struct mst_chief *chief)
{
    bool is_any_gone = false;
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        struct ps_group *group = &chief->groups[i];
        uint32_t primary = mst_failover_primary(&chief->failover, i);
        if (mst_failover_is_lost(&chief->failover, i) && !group->is_empty) {
            MST_LOG(ERROR, "chief", "group lost", "group=%zu steps=%llu checkpoint=%s", i,
                    (unsigned long long)mst_chief_steps_done(chief), chief->checkpoint ? chief->checkpoint : "none");
            mst_chief_group_gone(group);
            is_any_gone = true;
        }
        if (primary != group->primary)
            change_primary(group, primary);
        if (primary != MST_NO_PS && group->is_empty) {
            chief->links[primary].is_placed = false; // MAP tells it to restore the group
            chief->links[primary].place_mark = mst_chief_mark(chief);
        }
    }
    if (is_any_gone)
        mst_chief_store(chief);
    mst_chief_answer_parked(chief);
    mst_chief_links_place(chief);
    mst_chief_fences_go_on(chief);
    mst_chief_rounds_go_on(chief);
}

void mst_chief_groups_new(struct mst_chief *chief)
{
    chief->groups = mst_alloc_array(chief->config.n_ps, sizeof *chief->groups);
    for (size_t i = 0; i < chief->config.n_ps; i++)
        chief->groups[i] = (struct ps_group){.chief = chief, .index = (uint32_t)i, .primary = (uint32_t)i};
}

void mst_chief_groups_free(struct mst_chief *chief)
{
    for (size_t i = 0; chief->groups && i < chief->config.n_ps; i++)
        for (struct group_call *call = chief->groups[i].calls, *next; call; call = next) {
            next = call->next;
            free(call);
        }
    free(chief->groups);
    chief->groups = NULL;
}
