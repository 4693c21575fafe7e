// Told to stop. What was trained since the last checkpoint is written first, for which the job has to run, and every
// group has to be at a server that serves it. So a chief that was only just started goes on until it knows the job, and
// one of whose servers some are being replaced, or are on their way back, waits for them as long as its process may.
#include "chief/chief_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "ckpt/checkpoint_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// There may be a job, and no server could say so yet.
static bool is_looking(const struct mst_chief *chief)
{
    for (size_t i = 0; i < chief->config.n_ps; i++)
        if (mst_peer_is_first_try(chief->links[i].peer))
            return true;
    return false;
}

// Something would be lost without another checkpoint; or all is trained, and only the end is missing.
static bool has_news(const struct mst_chief *chief)
{
    if (chief->phase <= CHIEF_RECALLING)
        return chief->has_met_job || is_looking(chief);
    if (chief->phase == CHIEF_CLOSING)
        return !chief->is_saved;
    return mst_coordinator_finished(&chief->coordinator) || mst_chief_steps_done(chief) > chief->committed_step;
}

// What a server had answered, and lost when it was restored, is not pushed again, so that every cut would wait for it
// until it is given up. A worker that has no lease left has nothing else under way: of a fenced one the cut takes what
// there is.
static void fence_the_idle(struct mst_chief *chief)
{
    bool is_any_restored = false;
    for (size_t i = 0; i < chief->config.n_ps; i++)
        is_any_restored = is_any_restored || chief->groups[i].setback.is_open;
    if (!is_any_restored || chief->phase != CHIEF_RUNNING || chief->coordinator.is_synchronous)
        return;
    uint64_t now_ms = mst_clock_monotonic_ms();
    for (const struct parked *parked = chief->parked; parked; parked = parked->next)
        if (parked->method == MST_METHOD_LEASE && parked->ask.seq == parked->ask.done_seq + 1)
            mst_membership_leave(&chief->coordinator.membership, parked->ask.worker, parked->ask.number,
                                 "the job is to stop, and it had nothing to do any more", now_ms);
    if (mst_coordinator_tick(&chief->coordinator, now_ms) > 0)
        mst_chief_fences_begun(chief);
}

static void describe(const struct mst_chief *chief, char *out, size_t out_bytes)
{
    out[0] = '\0';
    if (chief->phase <= CHIEF_RECALLING)
        mst_chief_links_state(chief, out, out_bytes);
    else
        mst_chief_groups_state(chief, out, out_bytes);
    if (!out[0] && mst_chief_is_saving(chief))
        snprintf(out, out_bytes, "the checkpoint that is under way");
    if (!out[0] && chief->phase == CHIEF_PLACING)
        mst_chief_place_state(chief, out, out_bytes);
    if (!out[0])
        mst_failover_describe(&chief->failover, out, out_bytes);
    if (!out[0])
        snprintf(out, out_bytes, "%s",
                 chief->phase <= CHIEF_PLACING ? "what an earlier chief left" : "the last round to be applied");
}

// What was trained since the last checkpoint is lost, which nobody shall overlook.
static void stop_without(struct mst_chief *chief, const char *text)
{
    char waits[512];
    char *last = NULL;
    uint64_t step;
    struct mst_error why;
    struct mst_error err;
    describe(chief, waits, sizeof waits);
    if (chief->is_stop_failed)
        mst_fail(&why, MST_UNAVAILABLE, "%s", chief->save_failure);
    else
        mst_fail(&why, MST_UNAVAILABLE, "it waited for %s", waits);
    // A chief that was only just started does not know of it.
    if (mst_checkpoint_newest(chief->config.job->checkpoint_chief_dir, NULL, NULL, &last, &step, NULL) != MST_OK)
        last = NULL;
    MST_LOG(ERROR, "chief", "stopped without checkpoint", "reason=\"%s\" steps=%llu last=%s", why.text,
            (unsigned long long)mst_chief_steps_done(chief), last ? last : "none");
    free(last);
    mst_status status =
        mst_fail(&err, MST_UNAVAILABLE, "%s, and no checkpoint of it could be written: %s", text, why.text);
    mst_chief_tell(chief, status, err.text);
}

static void tell_waiting(struct mst_chief *chief)
{
    char waits[512];
    if (chief->is_stop_told)
        return;
    chief->is_stop_told = true;
    describe(chief, waits, sizeof waits);
    MST_LOG(WARN, "chief", "stop waits", "for=\"%s\"", waits);
}

// One more checkpoint, also after one that was under way; when it is there, or there is nothing to write, all are told.
void mst_chief_try_to_stop(struct mst_chief *chief)
{
    if (!chief->stop_text || chief->phase >= CHIEF_CLOSING)
        return;
    fence_the_idle(chief); // also while a cut may wait for them
    if (mst_chief_is_saving(chief) || chief->phase >= CHIEF_CLOSING)
        return;
    // Rounds pause now: what is closed is applied when all servers are there.
    bool is_quiet = chief->phase == CHIEF_RUNNING && mst_chief_rounds_are_quiet(chief);
    if (chief->is_stop_saved ? !chief->is_stop_failed : !has_news(chief)) {
        mst_chief_tell(chief, MST_UNAVAILABLE, chief->stop_text);
    } else if (!chief->is_stop_saved && is_quiet && mst_chief_groups_are_whole(chief)) {
        chief->is_stop_saved = true;
        mst_chief_save(chief);
    } else if (chief->is_stop_saved || mst_clock_monotonic_ms() >= chief->stop_until_ms) {
        stop_without(chief, chief->stop_text);
    } else {
        tell_waiting(chief);
    }
}

void mst_chief_stop(struct mst_chief *chief, const char *text)
{
    if (chief->stop_text || chief->phase >= CHIEF_CLOSING)
        return;
    chief->stop_text = mst_strdup(text);
    chief->stop_until_ms = mst_clock_monotonic_ms() + chief->config.grace_ms;
    MST_LOG(WARN, "chief", "stopping", "reason=\"%s\" steps=%llu", text,
            (unsigned long long)mst_chief_steps_done(chief));
    mst_chief_advance(chief);
}

void mst_chief_stop_now(struct mst_chief *chief, const char *text)
{
    if (chief->phase >= CHIEF_TELLING)
        return;
    if (has_news(chief))
        stop_without(chief, text);
    else
        mst_chief_tell(chief, MST_UNAVAILABLE, text);
}
