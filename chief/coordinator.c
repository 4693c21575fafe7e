// A lease is sized so that it takes a worker about LEASE_TARGET_MS: long enough that asking costs nothing, short enough
// that progress is seen and that a death gives little work back. Near the end of the job leases shrink, so that no
// worker is left alone with a long one.
#include "chief/coordinator.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

enum { LEASE_TARGET_MS = 200, FIRST_LEASE_BATCHES = 4, LEASE_BATCHES_MAX = 4096 };

void mst_coordinator_init(struct mst_coordinator *c, const struct mst_coordinator_config *config)
{
    *c = (struct mst_coordinator){0};
    mst_membership_init(&c->membership, config->n_ps, config->lease_ms, config->grace_ms);
    // Rounds count their own steps.
    uint64_t max_steps = config->n_round_workers > 0 ? 0 : config->max_steps;
    mst_leases_init(&c->leases, config->n_batches, config->n_epochs, max_steps);
    mst_pacing_init(&c->pacing, config->max_lead);
    c->n_sums = config->n_sums;
    c->order = config->order;
    c->order_seed = config->order_seed;
    c->sleep_ms = config->sleep_ms;
    mst_training_sums_init(&c->total, config->n_sums);
    mst_training_sums_init(&c->counted, config->n_sums);
    c->is_synchronous = config->n_round_workers > 0;
    if (!c->is_synchronous)
        return;
    struct mst_rounds_config rounds = {.n_ps = config->n_ps,
                                       .n_workers = config->n_round_workers,
                                       .n_backup = config->n_backup,
                                       .n_units = config->n_batches,
                                       .n_epochs = config->n_epochs,
                                       .max_steps = config->max_steps,
                                       .n_sums = config->n_sums,
                                       .clip = config->clip,
                                       .n_variables = config->n_variables};
    mst_rounds_init(&c->rounds, &rounds);
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
    mst_training_sums_fini(&c->counted);
    mst_rounds_fini(&c->rounds);
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
    if (c->is_synchronous) {
        mst_rounds_skip(&c->rounds, n_steps);
        return;
    }
    mst_leases_skip(&c->leases, n_steps);
    c->first_epoch = c->leases.n_epochs_done;
}

// The batch from which on nothing is done; a share of one is done again.
static uint64_t batch_at(const struct mst_coordinator_place *place, uint64_t n_batches)
{
    uint64_t product;
    if (place->n_done >= place->n_batches)
        return 0;
    if (__builtin_mul_overflow(place->n_done, n_batches, &product))
        return place->n_done / (place->n_batches / n_batches + 1);
    return product / place->n_batches;
}

void mst_coordinator_skip_to(struct mst_coordinator *c, const struct mst_coordinator_place *place, uint64_t n_steps)
{
    uint64_t n_batches = c->leases.n_batches;
    uint64_t batch = batch_at(place, n_batches);
    uint64_t n_before;
    if (c->is_synchronous) {
        mst_rounds_skip_to(&c->rounds, place->epoch, batch, n_steps);
        return;
    }
    if (__builtin_mul_overflow(place->epoch, n_batches, &n_before))
        n_before = UINT64_MAX - batch;
    mst_coordinator_skip(c, n_before + batch);
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
    if (!mst_membership_is_acting(&c->membership, ask->worker, ask->number)) {
        answer->why = mst_membership_why_out(&c->membership, ask->worker, ask->number);
        return;
    }
    if (c->is_synchronous) { // its turns come from the PSs
        answer->kind = mst_rounds_is_over(&c->rounds) ? MST_ANSWER_FINISHED : MST_ANSWER_WAIT;
        return;
    }
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
    if (c->is_synchronous)
        return worker < c->rounds.config.n_workers ? c->rounds.worker_steps[worker] : 0;
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

size_t mst_coordinator_marks(const struct mst_msg_client_row *rows, size_t n_rows, struct mst_lease_mark *marks)
{
    size_t n = 0;
    for (size_t i = 0; i < n_rows; i++)
        if (rows[i].number)
            marks[n++] = (struct mst_lease_mark){rows[i].lease, rows[i].offset, rows[i].is_restored};
    return n;
}

static bool has_pushed(const struct mst_lease_holder *holder, const struct mst_msg_client_row *rows, size_t n_rows)
{
    for (size_t i = 0; i < n_rows; i++)
        if (rows[i].worker == holder->worker && rows[i].number == holder->number && rows[i].step > 0 &&
            !rows[i].is_restored)
            return true;
    return false;
}

bool mst_coordinator_all_pushed(const struct mst_coordinator *c, const struct mst_msg_client_row *rows, size_t n_rows)
{
    for (size_t i = 0; i < c->leases.n_holders; i++)
        if (c->leases.holders[i].n_held > 0 && !has_pushed(&c->leases.holders[i], rows, n_rows))
            return false;
    return true;
}

void mst_coordinator_stop(struct mst_coordinator *c)
{
    if (c->is_synchronous)
        mst_rounds_stop(&c->rounds);
    else
        mst_leases_stop(&c->leases);
}

// ---- rounds ----

mst_status mst_coordinator_restore(struct mst_coordinator *c, const struct mst_msg_close *close,
                                   enum mst_rounds_start start, struct mst_error *err)
{
    MST_TRY(mst_rounds_restore(&c->rounds, close, start, err));
    if (start == MST_ROUNDS_REPEAT) // of the same run
        mst_training_sums_add_growth(&c->total, &c->rounds.total_sums, &c->counted);
    mst_training_sums_copy(&c->counted, &c->rounds.total_sums);
    mst_training_sums_copy(&c->total, &c->rounds.total_sums);
    return MST_OK;
}

static enum mst_round_worker round_state_of(const struct mst_coordinator *c, size_t worker)
{
    if (worker >= c->membership.n_members || c->membership.members[worker].number == 0)
        return MST_ROUND_WORKER_AWAITED;
    switch (c->membership.members[worker].state) {
    case MST_MEMBER_LIVE:
        return MST_ROUND_WORKER_LIVE;
    case MST_MEMBER_AWAITED:
    case MST_MEMBER_FENCING: // some PS may still take a contribution of it
        return MST_ROUND_WORKER_AWAITED;
    default:
        return MST_ROUND_WORKER_GONE;
    }
}

static void take_round(struct mst_coordinator *c)
{
    struct mst_rounds *rounds = &c->rounds;
    mst_training_sums_add_growth(&c->total, &rounds->total_sums, &c->counted);
    mst_training_sums_copy(&c->counted, &rounds->total_sums);
    struct mst_rounds_epoch epoch;
    if (!mst_rounds_take_epoch(rounds, &epoch))
        return;
    c->epochs = mst_realloc_array(c->epochs, c->n_epoch_records + 1, sizeof *c->epochs);
    struct mst_epoch_record *record = &c->epochs[c->n_epoch_records++];
    *record = (struct mst_epoch_record){.epoch = epoch.epoch, .n_steps = epoch.n_steps};
    mst_training_sums_init(&record->sums, c->n_sums);
    mst_training_sums_copy(&record->sums, epoch.sums);
}

enum mst_coordinator_news mst_coordinator_advance(struct mst_coordinator *c)
{
    if (!c->is_synchronous)
        return MST_COORDINATOR_SAME;
    for (size_t w = 0; w < c->rounds.config.n_workers; w++)
        mst_rounds_set_worker(&c->rounds, w, round_state_of(c, w));
    uint64_t over_round = c->rounds.over_round;
    if (!mst_rounds_advance(&c->rounds))
        return MST_COORDINATOR_SAME;
    if (c->rounds.over_round == over_round)
        return MST_COORDINATOR_DECIDED;
    take_round(c);
    return MST_COORDINATOR_ROUND_OVER;
}

// ---- how far it is ----

struct mst_coordinator_progress mst_coordinator_progress(const struct mst_coordinator *c)
{
    if (c->is_synchronous) {
        const struct mst_rounds *rounds = &c->rounds;
        return (struct mst_coordinator_progress){.n_steps = mst_rounds_n_steps(rounds),
                                                 .n_steps_total = mst_rounds_n_steps_expected(rounds),
                                                 .epoch = rounds->next.epoch,
                                                 .last_epoch = rounds->was.epoch,
                                                 .n_epochs = rounds->config.n_epochs,
                                                 .n_epochs_done = mst_rounds_n_epochs_done(rounds)};
    }
    const struct mst_leases *leases = &c->leases;
    return (struct mst_coordinator_progress){.n_steps = leases->n_done,
                                             .n_steps_total = leases->n_total,
                                             .epoch = leases->n_done / leases->n_batches,
                                             .last_epoch =
                                                 leases->n_done ? (leases->n_done - 1) / leases->n_batches : 0,
                                             .n_epochs = leases->n_epochs,
                                             .n_epochs_done = leases->n_epochs_done,
                                             .n_torn = leases->n_torn};
}

const struct mst_training_sums *mst_coordinator_epoch_sums(const struct mst_coordinator *c)
{
    const struct mst_training_sums *sums = NULL;
    if (c->is_synchronous && c->rounds.was.epoch == c->rounds.next.epoch)
        sums = &c->rounds.epoch_sums;
    else if (!c->is_synchronous && c->n_epoch_records > 0)
        sums = &c->epochs[0].sums;
    return sums && sums->examples > 0 ? sums : NULL;
}

bool mst_coordinator_finished(const struct mst_coordinator *c)
{
    return c->is_synchronous ? mst_rounds_is_over(&c->rounds) : mst_leases_finished(&c->leases);
}

bool mst_coordinator_take_epoch(struct mst_coordinator *c, struct mst_epoch_record *out)
{
    *out = (struct mst_epoch_record){0};
    if (c->is_synchronous ? c->n_epoch_records == 0 : c->first_epoch >= c->leases.n_epochs_done)
        return false;
    if (!c->is_synchronous) {
        sums_of_epoch(c, c->first_epoch); // an epoch whose batches were all counted by fences has no sums yet
        uint64_t n_steps = (c->first_epoch + 1) * c->leases.n_batches;
        c->epochs[0].n_steps = n_steps < c->leases.n_planned ? n_steps : c->leases.n_planned;
    }
    *out = c->epochs[0];
    c->n_epoch_records--;
    memmove(c->epochs, c->epochs + 1, c->n_epoch_records * sizeof *c->epochs);
    c->first_epoch = out->epoch + 1; // (a new chief may take the last one again)
    return true;
}
