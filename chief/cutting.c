// Carries a cut between the machine (chief/cuts.h) and the groups' primaries: one call under way to each, repeated by
// the tick until it is answered, given up after a few leases.
#include "chief/chief_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "wire/worker_numbers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CUT_LEASES = 3,    // a cut that takes longer is given up
    PAUSE_FACTOR = 10, // after one that failed, training goes on for so many times as long as that held it
};

static void send_all(struct mst_chief *chief);

static bool is_among(const struct mst_msg_client_row *row, const struct mst_msg_client_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (rows[i].worker == row->worker && rows[i].number == row->number && rows[i].step == row->step)
            return true;
    return false;
}

// A push that two cuts have waited for in vain, one lease each and the time between them: its worker lives, but does
// not get through to a server, and nothing could ever be saved while it is in.
static void expel_the_stuck(struct mst_chief *chief)
{
    struct mst_chief_cut *cut = &chief->cut;
    const struct mst_cuts *machine = &cut->machine;
    for (size_t i = 0; i < machine->n_missing; i++) {
        const struct mst_msg_client_row *row = &machine->missing[i];
        if (!is_among(row, cut->late, cut->n_late) || is_among(row, machine->missing, i))
            continue;
        MST_LOG(WARN, "chief", "worker expelled", "worker=%u number=%llu step=%llu", row->worker,
                (unsigned long long)row->number, (unsigned long long)row->step);
        mst_chief_fence(chief, row->worker, row->number,
                        "two checkpoints have waited for a push of it in vain, which some parameter servers have");
    }
    free(cut->late);
    cut->late = mst_alloc_array(machine->n_missing, sizeof *cut->late);
    cut->n_late = machine->n_missing;
    if (cut->n_late)
        memcpy(cut->late, machine->missing, cut->n_late * sizeof *cut->late);
}

static void failed(struct mst_chief *chief)
{
    struct mst_chief_cut *cut = &chief->cut;
    uint64_t now_ms = mst_clock_monotonic_ms();
    cut->not_before_ms = now_ms + PAUSE_FACTOR * (now_ms - cut->began_ms);
    expel_the_stuck(chief);
    MST_LOG(WARN, "chief", "cut given up", "cut=%llu reason=\"%s\"", (unsigned long long)cut->machine.id,
            cut->machine.why);
    void (*on_over)(struct mst_chief *, bool) = cut->on_over;
    cut->on_over = NULL;
    if (on_over)
        on_over(chief, false);
}

static void keep_state(struct mst_chief *chief)
{
    if (mst_cuts_keep(&chief->cut.machine, &chief->coordinator) != MST_OK)
        MST_LOG(WARN, "chief", "state not kept", "max_bytes=%zu", chief->cut.machine.state.max_bytes);
}

static void marked(struct mst_chief *chief)
{
    struct mst_chief_cut *cut = &chief->cut;
    bool is_synchronous = chief->coordinator.is_synchronous;
    if (is_synchronous) // the last close says what is trained; of the state, the members count
        keep_state(chief);
    mst_cuts_settle(&cut->machine, &chief->coordinator_config, mst_clock_monotonic_ms());
    bool is_counted = cut->machine.is_settled && !is_synchronous;
    cut->n_done = is_counted ? cut->machine.n_done : mst_chief_steps_done(chief);
    if (is_counted)
        mst_chief_groups_settle(chief, cut->machine.n_torn);
    MST_LOG(INFO, "chief", "cut marked", "cut=%llu pause_us=%llu ms=%llu", (unsigned long long)cut->machine.id,
            (unsigned long long)cut->machine.pause_us, (unsigned long long)(mst_clock_monotonic_ms() - cut->began_ms));
    void (*on_over)(struct mst_chief *, bool) = cut->on_over;
    cut->on_over = NULL;
    if (on_over)
        on_over(chief, true);
}

static void take_news(struct mst_chief *chief, enum mst_cuts_news news)
{
    switch (news) {
    case MST_CUTS_HELD:
        keep_state(chief);
        break;
    case MST_CUTS_MARKED:
        marked(chief);
        break;
    case MST_CUTS_FAILED:
        failed(chief);
        break;
    case MST_CUTS_NOTHING:
        break;
    }
    send_all(chief);
}

static enum mst_cuts_news take_answer(struct ps_group *group, const struct mst_msg_cut_reply *answer)
{
    const struct mst_chief *chief = group->chief;
    struct mst_cuts *machine = &group->chief->cut.machine;
    if (group->setback.is_open && machine->phase == MST_CUTS_HOLDING && answer->id == machine->id)
        group->has_all = mst_coordinator_all_pushed(&chief->coordinator, answer->rows, answer->n_rows);
    return mst_cuts_answered(machine, group->index, answer);
}

static void on_answer(void *arg, const struct mst_reply *reply)
{
    struct ps_group *group = mst_chief_group_answered(arg);
    if (!group)
        return;
    struct mst_chief *chief = group->chief;
    group->is_cutting = false;
    if (reply->status != MST_OK || chief->phase >= CHIEF_TELLING)
        return; // sent again by the tick
    struct mst_arena arena;
    struct mst_msg_cut_reply answer;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    enum mst_cuts_news news = MST_CUTS_NOTHING;
    struct mst_error err;
    mst_status status = mst_msg_cut_reply_decode(reply->message->meta, &arena, &answer, &err);
    if (status == MST_OK)
        status = mst_worker_rows_check(answer.rows, answer.n_rows, &err);
    if (status == MST_OK)
        news = take_answer(group, &answer);
    else
        mst_chief_odd_answer(group, MST_METHOD_CUT, err.text);
    mst_arena_fini(&arena);
    take_news(chief, news);
}

static void send_cut(struct ps_group *group, const struct mst_msg_cut *message)
{
    group->is_cutting = true;
    MST_CHIEF_CALL(mst_chief_primary(group), CUT, cut, message, 2 * group->chief->config.job->lease_ms, on_answer,
                   mst_chief_group_ask(group));
}

static void send_all(struct mst_chief *chief)
{
    struct mst_msg_cut message;
    size_t i;
    for (size_t cursor = 0; mst_cuts_next(&chief->cut.machine, &cursor, &i, &message);) {
        struct ps_group *group = &chief->groups[i];
        message.group = group->index;
        if (!group->is_cutting && mst_chief_primary(group))
            send_cut(group, &message);
    }
}

void mst_chief_cut_begin(struct mst_chief *chief, void (*on_over)(struct mst_chief *chief, bool is_marked))
{
    MST_ASSERT(!mst_cuts_is_busy(&chief->cut.machine));
    chief->cut.on_over = on_over;
    chief->cut.began_ms = mst_clock_monotonic_ms();
    mst_cuts_begin(&chief->cut.machine, chief->term, !chief->coordinator.is_synchronous);
    send_all(chief);
}

void mst_chief_cut_interrupt(struct mst_chief *chief, const struct ps_group *group)
{
    char why[64];
    snprintf(why, sizeof why, "group %u has another primary", group->index);
    if (mst_cuts_give_up(&chief->cut.machine, why)) {
        failed(chief);
        chief->cut.not_before_ms = 0; // that it took long is over
    }
    mst_cuts_ps_lost(&chief->cut.machine, group->index); // it never heard of this cut
    send_all(chief);
}

bool mst_chief_cut_is_busy(const struct mst_chief *chief)
{
    return mst_cuts_is_busy(&chief->cut.machine);
}

void mst_chief_cut_tick(struct mst_chief *chief, uint64_t now_ms)
{
    if (!mst_cuts_is_busy(&chief->cut.machine))
        return;
    uint64_t limit_ms = CUT_LEASES * chief->config.job->lease_ms;
    // Told to stop, there is no time to wait for a server that is away.
    bool is_hopeless = chief->stop_text && !mst_chief_groups_are_whole(chief);
    bool is_late = is_hopeless || now_ms - chief->cut.began_ms > limit_ms;
    if (is_late && mst_cuts_give_up(&chief->cut.machine, "a parameter server did not answer in time"))
        failed(chief);
    for (size_t i = 0; i < chief->config.n_ps; i++)
        if (is_late && !mst_chief_primary(&chief->groups[i]))
            mst_cuts_ps_lost(&chief->cut.machine, i);
    send_all(chief);
}

void mst_chief_cut_drop(struct mst_chief *chief, uint64_t cut)
{
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        struct ps_link *primary = mst_chief_primary(&chief->groups[i]);
        struct mst_msg_cut message = {.term = chief->term, .id = cut, .phase = MST_CUT_DROP, .group = (uint32_t)i};
        if (primary) // unheard, it goes with the next cut but one
            MST_CHIEF_CALL(primary, CUT, cut, &message, chief->config.job->lease_ms, NULL, NULL);
    }
}
