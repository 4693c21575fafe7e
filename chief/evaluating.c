// Evaluations as the chief sees them: when one is wanted, what becomes of its scores (the board, progress, metrics,
// result.json), and what the end of the job still waits for. An epoch's training and validation scores meet in
// on_epoch_known, in the order of epochs: what acts on them belongs there.
#include "chief/chief_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECORDS_MAX = 10000 }; // in result.json; of more, the last ones

static bool awaits_validation(const struct mst_chief *chief)
{
    return chief->config.eval && chief->config.job->eval_every_epoch;
}

static void on_epoch_known(struct mst_chief *chief, const struct mst_epoch_scores *known)
{
    if (known->validation.is_known)
        MST_LOG(INFO, "chief", "epoch evaluated", "epoch=%llu loss=%.6g val_loss=%.6g",
                (unsigned long long)known->epoch + 1, known->train.values[0], known->validation.values[0]);
    mst_chief_act_on_epoch(chief, known);
    mst_chief_touch(chief); // a later chief is not to tell them again
}

static void tell_known(struct mst_chief *chief)
{
    struct mst_epoch_scores known;
    while (mst_epoch_ledger_take(&chief->ledger, &known))
        on_epoch_known(chief, &known);
}

// Which weights are the trained model depends on the epochs' validations.
static bool waits_for_epochs(const struct mst_chief *chief)
{
    size_t by;
    uint64_t epoch;
    return mst_chief_keeps_best(chief) && awaits_validation(chief) &&
           !mst_callbacks_stopped(chief->callbacks, &by, &epoch);
}

// ---- when one is wanted ----

static void want(struct mst_chief *chief, struct mst_evaluation_task task)
{
    mst_evaluations_want(&chief->evaluations, &task);
    chief->evaluated_step = task.step;
    MST_LOG(DEBUG, "chief", "evaluation wanted", "id=%llu epoch=%llu step=%llu", (unsigned long long)task.id,
            (unsigned long long)task.epoch + 1, (unsigned long long)task.step);
}

void mst_chief_on_epoch_trained(struct mst_chief *chief, const struct mst_epoch_record *record,
                                const struct mst_scores *scores)
{
    mst_chief_best_epoch_trained(chief, record->epoch);
    mst_epoch_ledger_trained(&chief->ledger, record, scores, awaits_validation(chief));
    // The last epoch's is the evaluation of the trained model, unless the model depends on it. That one overtakes an
    // epoch that is over with the last one.
    bool is_last = mst_coordinator_finished(&chief->coordinator) &&
                   record->epoch == mst_coordinator_progress(&chief->coordinator).last_epoch;
    if (awaits_validation(chief) && (!is_last || waits_for_epochs(chief)))
        want(chief, (struct mst_evaluation_task){
                        .epoch = record->epoch, .step = mst_chief_steps_done(chief), .is_epoch_end = true});
    tell_known(chief);
}

void mst_chief_keep_untold(struct mst_chief *chief, const struct mst_epoch_record *record)
{
    const struct mst_scores later = {.is_known = false};
    mst_epoch_ledger_trained(&chief->ledger, record, &later, true);
}

void mst_chief_take_up_epochs(struct mst_chief *chief)
{
    struct mst_epoch_ledger left = chief->ledger;
    chief->ledger = (struct mst_epoch_ledger){0};
    for (size_t i = 0; i < left.n; i++) {
        const struct mst_epoch_record *record = mst_epoch_ledger_at(&left, i);
        struct mst_scores scores = mst_scores_of(chief->config.compile, &record->sums);
        MST_LOG(INFO, "chief", "epoch taken up", "epoch=%llu", (unsigned long long)record->epoch + 1);
        if (i + 1 == left.n)
            mst_chief_on_epoch_trained(chief, record, &scores);
        else
            mst_epoch_ledger_trained(&chief->ledger, record, &scores, false);
    }
    mst_epoch_ledger_fini(&left);
}

static void want_by_steps(struct mst_chief *chief)
{
    uint64_t every = chief->config.job->eval_every_steps;
    uint64_t done = mst_chief_steps_done(chief);
    if (!every || !chief->config.eval || mst_coordinator_finished(&chief->coordinator))
        return;
    if (chief->evaluated_step == 0 && chief->evaluations.n_wanted == 0)
        chief->evaluated_step = chief->n_steps_resumed;
    if (done / every > chief->evaluated_step / every)
        want(chief, (struct mst_evaluation_task){.epoch = mst_coordinator_progress(&chief->coordinator).last_epoch,
                                                 .step = done});
}

void mst_chief_want_final(struct mst_chief *chief)
{
    struct final_evaluation *final = &chief->final;
    uint64_t n_steps = mst_chief_steps_done(chief);
    final->is_the_roles = chief->config.has_evaluator || chief->evaluations.seats[MST_SEAT_ROLE].was_here;
    final->wanted_ms = mst_clock_monotonic_ms();
    if (!chief->config.eval)
        return;
    if (mst_chief_keeps_best(chief))
        final->is_the_roles = false; // it has the last weights, which need not be the best
    if (final->is_the_roles)
        want(chief, (struct mst_evaluation_task){.epoch = mst_coordinator_progress(&chief->coordinator).last_epoch,
                                                 .step = n_steps,
                                                 .is_epoch_end = true,
                                                 .is_final = true});
    else if (!waits_for_epochs(chief))
        mst_evaluations_drop_waiting(&chief->evaluations); // the end evaluates by itself
}

// ---- what becomes of it ----

static void show_metrics(const struct mst_scores *scores)
{
    mst_metric_add(mst_metric_counter("muster_chief_evaluations_total", "Evaluations of data.eval done", NULL), 1);
    for (size_t i = 0; i < scores->n; i++) {
        char *label = mst_text("measure=\"%s\"", scores->names[i]);
        mst_metric_set_real(mst_metric_gauge("muster_chief_evaluation", "What the last evaluation measured", label),
                            scores->values[i]);
        free(label);
    }
}

static void keep(struct mst_chief *chief, const struct mst_evaluation_task *task, const struct mst_scores *scores)
{
    json_t *record = json_pack("{s:I, s:I}", "epoch", (json_int_t)task->epoch + 1, "step", (json_int_t)task->step);
    json_t *measured = mst_scores_json(scores);
    json_object_update(record, measured);
    json_decref(measured);
    if (json_array_size(chief->evaluated) == RECORDS_MAX)
        json_array_remove(chief->evaluated, 0);
    json_array_append_new(chief->evaluated, record);
}

void mst_chief_on_evaluation(struct mst_chief *chief, const struct mst_evaluation_task *task,
                             const struct mst_scores *scores)
{
    if (!scores->is_known) {
        mst_chief_on_evaluation_failed(chief, task, "data.eval holds no examples");
        return;
    }
    keep(chief, task, scores);
    mst_board_evaluation(chief->board, task->epoch, task->step, scores);
    show_metrics(scores);
    json_t *fields = json_pack("{s:I, s:I, s:b}", "epoch", (json_int_t)task->epoch + 1, "step", (json_int_t)task->step,
                               "final", (int)task->is_final);
    json_object_set_new(fields, "scores", mst_scores_json(scores));
    mst_progress_write(chief->config.progress_fd, "evaluation", fields);
    MST_LOG(INFO, "chief", "evaluated", "epoch=%llu step=%llu val_loss=%.6g", (unsigned long long)task->epoch + 1,
            (unsigned long long)task->step, scores->values[0]);
    if (task->is_final) {
        chief->final.is_settled = true;
        chief->final.scores = *scores;
    }
    if (task->is_epoch_end)
        mst_epoch_ledger_validated(&chief->ledger, task->epoch, scores);
    tell_known(chief);
}

void mst_chief_settle_epochs(struct mst_chief *chief)
{
    mst_epoch_ledger_give_up(&chief->ledger);
    tell_known(chief);
}

static void give_up_final(struct mst_chief *chief, const char *why)
{
    chief->final.is_settled = true;
    snprintf(chief->final.why, sizeof chief->final.why, "%s", why);
    MST_LOG(WARN, "chief", "no final evaluation", "reason=\"%s\"", why);
}

static void none_comes(struct mst_chief *chief, const struct mst_evaluation_task *task)
{
    if (task->is_epoch_end)
        mst_epoch_ledger_validated(&chief->ledger, task->epoch, NULL);
    tell_known(chief);
}

void mst_chief_on_evaluation_failed(struct mst_chief *chief, const struct mst_evaluation_task *task, const char *why)
{
    MST_LOG(WARN, "chief", "evaluation failed", "epoch=%llu step=%llu reason=\"%s\"",
            (unsigned long long)task->epoch + 1, (unsigned long long)task->step, why);
    if (task->is_final) {
        struct mst_error err;
        mst_fail(&err, MST_UNKNOWN, "the evaluator could not evaluate: %s", why);
        give_up_final(chief, err.text);
    }
    none_comes(chief, task);
}

void mst_chief_evaluations_advance(struct mst_chief *chief)
{
    if (chief->phase == CHIEF_RUNNING)
        want_by_steps(chief);
    mst_evaluations_tick(&chief->evaluations, mst_clock_monotonic_ms());
    struct mst_evaluation_task task;
    while (mst_evaluations_take_skipped(&chief->evaluations, &task)) {
        mst_metric_add(mst_metric_counter("muster_chief_evaluations_skipped_total",
                                          "Evaluations that a newer one overtook before they began", NULL),
                       1);
        MST_LOG(WARN, "chief", "evaluation skipped", "epoch=%llu step=%llu skipped=%llu",
                (unsigned long long)task.epoch + 1, (unsigned long long)task.step,
                (unsigned long long)chief->evaluations.n_skipped);
        none_comes(chief, &task);
    }
    tell_known(chief);
}

// ---- what the end waits for ----

// Nobody is there to evaluate: for one lease another one may come.
static bool is_alone_too_long(struct mst_chief *chief, uint64_t now_ms)
{
    struct final_evaluation *final = &chief->final;
    if (chief->evaluations.seats[MST_SEAT_ROLE].is_here)
        final->alone_ms = 0;
    else if (final->alone_ms == 0)
        final->alone_ms = now_ms;
    return final->alone_ms && now_ms - final->alone_ms >= chief->config.job->lease_ms;
}

bool mst_chief_is_evaluated(struct mst_chief *chief)
{
    struct final_evaluation *final = &chief->final;
    const struct mst_job *job = chief->config.job;
    uint64_t now_ms = mst_clock_monotonic_ms();
    bool is_timeout = (double)(now_ms - final->wanted_ms) >= job->eval_final_timeout_seconds * 1000;
    if (!chief->config.eval || final->is_settled)
        return true;
    if (!final->is_the_roles && waits_for_epochs(chief))
        return is_timeout || chief->ledger.n == 0;
    if (!final->is_the_roles) { // the end evaluates by itself, when its own thread has done what it began
        mst_evaluations_drop_waiting(&chief->evaluations);
        return is_timeout || !chief->evaluations.is_running;
    }
    struct mst_error err = {0};
    if (is_timeout)
        mst_fail(&err, MST_DEADLINE_EXCEEDED,
                 "the evaluator had not evaluated the trained model after %g s "
                 "(eval.final_timeout)",
                 job->eval_final_timeout_seconds);
    else if (is_alone_too_long(chief, now_ms))
        mst_fail(&err, MST_UNAVAILABLE, "no evaluator was there to evaluate the trained model");
    else
        return false;
    give_up_final(chief, err.text);
    return true;
}
