// The groups of buckets: what is asked of one goes to the PS that is its primary. Each question has a record of its
// own, so that what a former primary answers late is not taken for the answer of the present one.
#include "chief/chief_private.h"

#include "base/alloc.h"
#include "base/log.h"

#include <stdlib.h>

// A question to a group's primary.
struct group_call {
    struct group_call *next;
    struct ps_group *group;
    uint64_t n_changes; // the group's, when it was asked
};

struct ps_link *mst_chief_primary(const struct ps_group *group)
{
    return &group->chief->links[group->index];
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

bool mst_chief_groups_are_whole(const struct mst_chief *chief)
{
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        const struct ps_link *primary = mst_chief_primary(&chief->groups[i]);
        if (!primary->is_placed || !mst_peer_is_up(primary->peer))
            return false;
    }
    return true;
}

void mst_chief_groups_emptied(struct ps_link *link)
{
    struct mst_chief *chief = link->chief;
    struct ps_group *group = &chief->groups[link->index];
    group->was_empty = link->is_placed || group->was_empty;
    if (group->was_empty && chief->coordinator.is_synchronous) // one that never served is waited for as it is
        mst_rounds_ps_lost(&chief->coordinator.rounds, group->index);
}

void mst_chief_groups_restored(struct ps_link *link)
{
    struct mst_chief *chief = link->chief;
    const struct ps_group *group = &chief->groups[link->index];
    uint64_t n_lost = link->placed_steps > chief->committed_step ? link->placed_steps - chief->committed_step : 0;
    if (!group->was_empty)
        return;
    chief->n_lost_updates += n_lost;
    if (chief->coordinator.is_synchronous)
        mst_rounds_ps_back(&chief->coordinator.rounds, group->index);
    mst_chief_touch(chief);
    MST_LOG(WARN, "chief", "parameter server restored", "ps=%u lost_updates=%llu steps=%llu from=%s", link->index,
            (unsigned long long)n_lost, (unsigned long long)link->placed_steps,
            chief->checkpoint       ? chief->checkpoint
            : chief->restore_prefix ? chief->restore_prefix
                                    : "initial values");
}

void mst_chief_groups_new(struct mst_chief *chief)
{
    chief->groups = mst_alloc_array(chief->config.n_ps, sizeof *chief->groups);
    for (size_t i = 0; i < chief->config.n_ps; i++)
        chief->groups[i] = (struct ps_group){.chief = chief, .index = (uint32_t)i};
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
