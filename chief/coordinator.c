// A lease is sized so that it takes a worker about LEASE_TARGET_MS: long enough that asking costs nothing, short enough
// that progress is seen and that a death gives little work back. Near the end of the job leases shrink, so that no
// worker is left alone with a long one.
#include "chief/coordinator.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

enum { LEASE_TARGET_MS = 200, FIRST_LEASE_BATCHES = 4, LEASE_BATCHES_MAX = 4096 };

struct mst_worker_pace {
    uint64_t number;                  // incarnation it was measured on
    uint64_t last_batches;            // size of the last lease
    uint64_t last_ms;                 // when it was given
    struct mst_training_sums counted; // of what it reported
    uint64_t n_steps;                 // all that were reported for the index, by any incarnation
};

void mst_coordinator_init(struct mst_coordinator *c, const struct mst_coordinator_config *config)
{
    *c = (struct mst_coordinator){0};
    mst_membership_init(&c->membership, config->n_ps, config->lease_ms, config->grace_ms);
    mst_leases_init(&c->leases, config->n_batches, config->n_epochs, config->max_steps);
    mst_pacing_init(&c->pacing, config->max_lead);
    c->n_sums = config->n_sums;
    c->sleep_ms = config->sleep_ms;
    mst_training_sums_init(&c->total, config->n_sums);
}

void mst_coordinator_fini(struct mst_coordinator *c)
{
    mst_membership_fini(&c->membership);
    mst_leases_fini(&c->leases);
    mst_pacing_fini(&c->pacing);
    for (size_t i = 0; i < c->n_epoch_records; i++)
        mst_training_sums_fini(&c->epochs[i].sums);
    for (size_t i = 0; i < c->n_paces; i++)
        mst_training_sums_fini(&c->paces[i].counted);
    mst_training_sums_fini(&c->total);
    free(c->epochs);
    free(c->paces);
    *c = (struct mst_coordinator){0};
}

static struct mst_training_sums *sums_of_epoch(struct mst_coordinator *c, uint64_t epoch)
{
    MST_ASSERT(epoch >= c->first_epoch);
    size_t at = (size_t)(epoch - c->first_epoch);
    while (at >= c->n_epoch_records) {
        c->epochs = mst_realloc_array(c->epochs, c->n_epoch_records + 1, sizeof *c->epochs);
        c->epochs[c->n_epoch_records] = (struct mst_epoch_record){.epoch = c->first_epoch + c->n_epoch_records};
        mst_training_sums_init(&c->epochs[c->n_epoch_records].sums, c->n_sums);
        c->n_epoch_records++;
    }
    return &c->epochs[at].sums;
}

static struct mst_worker_pace *pace_of(struct mst_coordinator *c, uint32_t worker, uint64_t number)
{
    if (worker >= c->n_paces) {
        size_t n = (size_t)worker + 1;
        c->paces = mst_realloc_array(c->paces, n, sizeof *c->paces);
        memset(c->paces + c->n_paces, 0, (n - c->n_paces) * sizeof *c->paces);
        for (; c->n_paces < n; c->n_paces++)
            mst_training_sums_init(&c->paces[c->n_paces].counted, c->n_sums);
    }
    struct mst_worker_pace *pace = &c->paces[worker];
    if (pace->number != number) {
        pace->number = number;
        pace->last_batches = pace->last_ms = 0;
        mst_training_sums_clear(&pace->counted);
    }
    return pace;
}

// Doubles while leases take less than the target, so that the first steps of a job do not wait for an estimate.
static uint64_t wanted_batches(struct mst_coordinator *c, const struct mst_worker_pace *pace, uint64_t now_ms)
{
    uint64_t want = FIRST_LEASE_BATCHES;
    if (pace->last_batches) {
        uint64_t took_ms = now_ms > pace->last_ms ? now_ms - pace->last_ms : 1;
        want = pace->last_batches * LEASE_TARGET_MS / took_ms;
        if (want > 2 * pace->last_batches)
            want = 2 * pace->last_batches;
    }
    uint64_t left = c->leases.n_total - c->leases.n_done;
    uint64_t n_live = mst_membership_n_live(&c->membership);
    uint64_t fair = left / (4 * (n_live ? n_live : 1));
    if (want > fair)
        want = fair;
    if (want > LEASE_BATCHES_MAX)
        want = LEASE_BATCHES_MAX;
    return want ? want : 1;
}

static void take_completed(struct mst_coordinator *c, const struct mst_lease_ask *ask)
{
    struct mst_lease lease;
    bool any = false;
    uint64_t epoch = 0;
    while (mst_leases_complete(&c->leases, ask->worker, ask->number, ask->done_seq, &lease)) {
        any = true;
        epoch = lease.epoch;
        mst_pacing_done(&c->pacing, ask->worker, ask->number, lease.n_batches);
    }
    if (!any)
        return; // a repeated or late question: what it reports is counted, or will be by a newer one
    struct mst_worker_pace *pace = pace_of(c, ask->worker, ask->number);
    pace->n_steps += ask->sums.steps - pace->counted.steps;
    mst_training_sums_add_growth(&c->total, &ask->sums, &pace->counted);
    mst_training_sums_add_growth(sums_of_epoch(c, epoch), &ask->sums, &pace->counted);
    mst_training_sums_copy(&pace->counted, &ask->sums);
}

void mst_coordinator_skip(struct mst_coordinator *c, uint64_t n_steps)
{
    mst_leases_skip(&c->leases, n_steps);
    c->first_epoch = c->leases.n_epochs_done;
}

void mst_coordinator_ask(struct mst_coordinator *c, const struct mst_lease_ask *ask, uint64_t now_ms,
                         struct mst_lease_answer *answer)
{
    mst_membership_heard(&c->membership, ask->worker, ask->number, now_ms);
    mst_coordinator_ask_again(c, ask, now_ms, answer);
}

void mst_coordinator_ask_again(struct mst_coordinator *c, const struct mst_lease_ask *ask, uint64_t now_ms,
                               struct mst_lease_answer *answer)
{
    *answer = (struct mst_lease_answer){.kind = MST_ANSWER_FENCED};
    if (!mst_membership_is_acting(&c->membership, ask->worker, ask->number))
        return;
    take_completed(c, ask);
    struct mst_worker_pace *pace = pace_of(c, ask->worker, ask->number);
    uint64_t want = wanted_batches(c, pace, now_ms);
    uint64_t allowed = mst_pacing_allows(&c->pacing, ask->worker, ask->number);
    uint64_t last_id = c->leases.next_id;
    enum mst_lease_kind kind = mst_leases_grant(&c->leases, ask->worker, ask->number, ask->seq,
                                                want < allowed ? want : allowed, &answer->lease);
    bool is_new = kind == MST_LEASE_GRANTED && c->leases.next_id != last_id;
    mst_pacing_given(&c->pacing, ask->worker, ask->number, is_new ? answer->lease.n_batches : 0);
    if (is_new) {
        pace->last_batches = answer->lease.n_batches;
        pace->last_ms = now_ms;
    }
    // A refused sequence number can only be an old question that was under way for long: its asker wants no answer.
    answer->kind = kind == MST_LEASE_GRANTED    ? MST_ANSWER_LEASE
                   : kind == MST_LEASE_FINISHED ? MST_ANSWER_FINISHED
                                                : MST_ANSWER_WAIT;
}

uint64_t mst_coordinator_steps_of(const struct mst_coordinator *c, uint32_t worker)
{
    return worker < c->n_paces ? c->paces[worker].n_steps : 0;
}

// Who is declared dead holds nobody back, though its leases are still its own until every PS has answered.
static void forget_fenced(struct mst_coordinator *c)
{
    for (size_t i = c->pacing.n_runners; i-- > 0;) {
        struct mst_pacing_runner runner = c->pacing.runners[i];
        if (!mst_membership_is_acting(&c->membership, runner.worker, runner.number))
            mst_pacing_forget(&c->pacing, runner.worker, runner.number);
    }
}

size_t mst_coordinator_tick(struct mst_coordinator *c, uint64_t now_ms)
{
    uint64_t since_ms = c->ticked_ms ? now_ms - c->ticked_ms : 0;
    c->ticked_ms = now_ms;
    if (since_ms > c->sleep_ms) {
        c->slept_ms += since_ms;
        mst_membership_slept(&c->membership, since_ms, now_ms);
    }
    size_t n_dead = mst_membership_tick(&c->membership, now_ms);
    if (n_dead > 0)
        forget_fenced(c);
    return n_dead;
}

bool mst_coordinator_fence_answered(struct mst_coordinator *c, const struct mst_fence *fence,
                                    const struct mst_lease_mark *marks, size_t n_marks,
                                    struct mst_leases_revoked *revoked)
{
    *revoked = (struct mst_leases_revoked){0};
    if (!mst_membership_fence_answered(&c->membership, fence->ps, fence->worker, fence->number, marks, n_marks))
        return false;
    const struct mst_lease_mark *all;
    size_t n_all;
    uint64_t number = mst_membership_take_fenced(&c->membership, fence->worker, &all, &n_all);
    *revoked = mst_leases_revoke(&c->leases, fence->worker, number, all, n_all);
    return true;
}

void mst_coordinator_stop(struct mst_coordinator *c)
{
    mst_leases_stop(&c->leases);
}

bool mst_coordinator_finished(const struct mst_coordinator *c)
{
    return mst_leases_finished(&c->leases);
}

bool mst_coordinator_take_epoch(struct mst_coordinator *c, struct mst_epoch_record *out)
{
    *out = (struct mst_epoch_record){0};
    if (c->first_epoch >= c->leases.n_epochs_done)
        return false;
    sums_of_epoch(c, c->first_epoch); // an epoch whose batches were all counted by fences has no sums yet
    *out = c->epochs[0];
    c->n_epoch_records--;
    memmove(c->epochs, c->epochs + 1, c->n_epoch_records * sizeof *c->epochs);
    c->first_epoch++;
    return true;
}
