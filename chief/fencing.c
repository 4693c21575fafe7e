// Fences, carried: one call under way to each group's primary, repeated by the tick until it is answered.
#include "chief/chief_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "wire/worker_numbers.h"

#include <stdlib.h>

static void take_fence(struct ps_group *group, const struct mst_msg_fence_reply *reply)
{
    struct mst_chief *chief = group->chief;
    struct mst_lease_mark *marks = mst_alloc_array(reply->n_rows, sizeof *marks); // none where there are no buckets
    size_t n_marks = mst_coordinator_marks(reply->rows, reply->n_rows, marks);
    mst_chief_touch(chief);
    struct mst_leases_revoked revoked;
    if (mst_coordinator_fence_answered(&chief->coordinator, &group->fence, marks, n_marks, &revoked)) {
        const char *why =
            mst_membership_why_out(&chief->coordinator.membership, group->fence.worker, group->fence.number);
        MST_LOG(WARN, "chief", "worker fenced", "worker=%u number=%llu done=%llu torn=%llu returned=%llu reason=\"%s\"",
                group->fence.worker, (unsigned long long)group->fence.number, (unsigned long long)revoked.n_done,
                (unsigned long long)revoked.n_torn, (unsigned long long)revoked.n_returned, why);
        mst_chief_advance(chief);
    }
    free(marks);
}

static void on_fenced(void *arg, const struct mst_reply *reply)
{
    struct ps_group *group = mst_chief_group_answered(arg);
    if (!group)
        return;
    group->is_fencing = false;
    if (reply->status != MST_OK || group->chief->phase >= CHIEF_TELLING)
        return; // sent again by the tick
    struct mst_arena arena;
    struct mst_msg_fence_reply answer;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    struct mst_error err;
    mst_status status = mst_msg_fence_reply_decode(reply->message->meta, &arena, &answer, &err);
    if (status == MST_OK)
        status = mst_worker_rows_check(answer.rows, answer.n_rows, &err);
    if (status == MST_OK)
        take_fence(group, &answer);
    else
        mst_chief_odd_answer(group, MST_METHOD_FENCE, err.text);
    mst_arena_fini(&arena);
}

// A PS hears of a fence only when that is stored where every later chief will read it. Else this one may die after a PS
// heard, and the next one, to which the worker is alive, would admit it for ever under a number that is refused there.
void mst_chief_fences_go_on(struct mst_chief *chief)
{
    struct mst_fence fence;
    if (!mst_chief_is_stored(chief, chief->fence_mark))
        return;
    for (size_t cursor = 0; mst_membership_next_fence(&chief->coordinator.membership, &cursor, &fence);) {
        struct ps_group *group = &chief->groups[fence.ps];
        struct ps_link *primary = mst_chief_primary(group);
        if (group->is_fencing || !primary || !primary->is_placed || group->is_empty)
            continue;
        group->is_fencing = true;
        group->fence = fence;
        struct mst_msg_fence message = {chief->term, fence.worker, fence.number, group->index};
        MST_CHIEF_CALL(primary, FENCE, fence, &message, chief->config.job->lease_ms, on_fenced,
                       mst_chief_group_ask(group));
    }
}

void mst_chief_fences_begun(struct mst_chief *chief)
{
    mst_chief_touch(chief);
    chief->fence_mark = mst_chief_mark(chief);
    mst_chief_store(chief);
}

// Now, for with the next tick it may have been heard again, or spared because this process did not run.
void mst_chief_fence(struct mst_chief *chief, uint32_t worker, uint64_t number, const char *why)
{
    uint64_t now_ms = mst_clock_monotonic_ms();
    mst_membership_leave(&chief->coordinator.membership, worker, number, why, now_ms);
    if (mst_coordinator_tick(&chief->coordinator, now_ms) > 0)
        mst_chief_fences_begun(chief);
}
