// What the job's callbacks decide (chief/callbacks.h), carried out: the lines of a CSVLogger, and the end of the
// training when one stops it. What is being trained then is finished, so the training has gone a little further than
// the epoch that was decided about.
#include "chief/chief_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>

mst_status mst_chief_callbacks_new(struct mst_chief *chief, struct mst_error *err)
{
    const struct mst_job *job = chief->config.job;
    struct mst_callbacks_config config = {.callbacks = job->callbacks,
                                          .n_callbacks = job->n_callbacks,
                                          .compile = chief->config.compile,
                                          .is_validated = chief->config.eval && job->eval_every_epoch,
                                          .has_schedule = mst_optimizer_has_schedule(chief->config.optimizer)};
    chief->csv_logs = mst_alloc_array(job->n_callbacks + 1, sizeof(struct mst_csv_log *));
    return mst_callbacks_new(&config, &chief->callbacks, err);
}

static void on_line_written(void *arg)
{
    mst_chief_store(arg);
}

bool mst_chief_lines_are_written(const struct mst_chief *chief)
{
    for (size_t i = 0; i < chief->config.job->n_callbacks; i++)
        if (chief->csv_logs[i] && mst_csv_log_n_pending(chief->csv_logs[i]) > 0)
            return mst_clock_monotonic_ms() >= chief->lines_until_ms;
    return true;
}

void mst_chief_callbacks_begin(struct mst_chief *chief)
{
    const struct mst_job *job = chief->config.job;
    for (size_t i = 0; i < job->n_callbacks; i++) {
        const struct mst_job_callback *callback = &job->callbacks[i];
        if (callback->kind != MST_CALLBACK_CSV_LOGGER)
            continue;
        struct mst_csv_log_config config = {.path = callback->path,
                                            .separator = callback->separator,
                                            .appends = callback->appends,
                                            .continues = chief->is_recalled,
                                            .is_validated = chief->config.eval && job->eval_every_epoch,
                                            .has_rate = mst_callbacks_view(chief->callbacks, i).has_rate,
                                            .compile = chief->config.compile,
                                            .work = chief->work,
                                            .on_written = on_line_written,
                                            .arg = chief,
                                            .control = chief->config.control};
        chief->csv_logs[i] = mst_csv_log_new(&config);
    }
}

void mst_chief_callbacks_free(struct mst_chief *chief)
{
    for (size_t i = 0; chief->csv_logs && i < chief->config.job->n_callbacks; i++)
        mst_csv_log_free(chief->csv_logs[i]);
    free(chief->csv_logs);
    free(chief->epoch_checkpoints);
    mst_callbacks_free(chief->callbacks);
}

json_t *mst_chief_stopped_json(const struct mst_chief *chief)
{
    size_t by;
    uint64_t epoch;
    if (!mst_callbacks_stopped(chief->callbacks, &by, &epoch))
        return json_null();
    struct mst_callback_view view = mst_callbacks_view(chief->callbacks, by);
    json_t *best = view.has_best ? json_integer((json_int_t)view.best_epoch + 1) : json_null();
    return json_pack("{s:s, s:s, s:I, s:o}", "callback", mst_callback_name(chief->config.job->callbacks[by].kind),
                     "monitor", view.monitor, "epoch", (json_int_t)epoch + 1, "best_epoch", best);
}

static void stop(struct mst_chief *chief, const struct mst_callbacks_decision *decided, uint64_t epoch)
{
    struct mst_callback_view view = mst_callbacks_view(chief->callbacks, decided->stopped_by);
    bool is_over = mst_coordinator_finished(&chief->coordinator);
    MST_LOG(INFO, "chief", "stopping early", "epoch=%llu monitor=%s best=%.6g best_epoch=%llu steps=%llu over=%d",
            (unsigned long long)epoch + 1, view.monitor, view.best, (unsigned long long)view.best_epoch + 1,
            (unsigned long long)mst_chief_steps_done(chief), (int)is_over);
    mst_progress_write(chief->config.progress_fd, "stopped", mst_chief_stopped_json(chief));
    if (!is_over)
        mst_coordinator_stop(&chief->coordinator);
}

// The parameter servers hear of it now, or, if a heartbeat is under way, with the next one.
static void set_rate(struct mst_chief *chief, uint64_t epoch)
{
    float rate;
    if (!mst_callbacks_rate(chief->callbacks, &rate))
        return;
    mst_optimizer_set_learning_rate(chief->config.optimizer, rate);
    MST_LOG(INFO, "chief", "learning rate reduced", "epoch=%llu learning_rate=%.9g", (unsigned long long)epoch + 1,
            (double)rate);
    mst_progress_write(chief->config.progress_fd, "learning_rate",
                       json_pack("{s:I, s:f}", "epoch", (json_int_t)epoch + 1, "learning_rate", (double)rate));
    mst_chief_rate_changed(chief);
    mst_chief_links_beat(chief);
}

void mst_chief_callbacks_resume(struct mst_chief *chief, const int64_t *numbers, size_t n)
{
    float rate;
    size_t by;
    uint64_t epoch;
    if (!mst_callbacks_restore(chief->callbacks, numbers, n)) {
        MST_LOG(INFO, "chief", "callbacks begin anew", "reason=\"the checkpoint is of other callbacks\"");
        return;
    }
    mst_chief_best_resume(chief);
    if (mst_callbacks_rate(chief->callbacks, &rate))
        mst_optimizer_set_learning_rate(chief->config.optimizer, rate);
    if (!mst_callbacks_stopped(chief->callbacks, &by, &epoch))
        return;
    MST_LOG(INFO, "chief", "stopped before", "callback=%s epoch=%llu",
            mst_callback_name(chief->config.job->callbacks[by].kind), (unsigned long long)epoch + 1);
    mst_coordinator_stop(&chief->coordinator);
}

void mst_chief_act_on_epoch(struct mst_chief *chief, const struct mst_epoch_scores *known)
{
    struct mst_callbacks_decision decided;
    float rate = mst_optimizer_learning_rate(chief->config.optimizer, 0); // what it decays by later is another matter
    mst_callbacks_epoch(chief->callbacks, known, rate, &decided);
    chief->lines_until_ms = mst_clock_monotonic_ms() + chief->config.job->lease_ms / 4;
    for (size_t i = 0; i < chief->config.job->n_callbacks; i++)
        if (chief->csv_logs[i])
            mst_csv_log_epoch(chief->csv_logs[i], known, mst_callbacks_view(chief->callbacks, i).rate);
    mst_chief_best_epoch_known(chief, known->epoch);
    if (decided.rate != rate)
        set_rate(chief, known->epoch);
    if (decided.stops)
        stop(chief, &decided, known->epoch);
}
