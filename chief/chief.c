// The chief's phases, and the clock that drives them. WAITING until every PS is up, PLACING until each has made its
// shards, RUNNING until every batch is trained, CLOSING while the last checkpoint, the evaluation and the model are
// written, TELLING until everybody knows how it ended.
#include "chief/chief_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "chief/effective_rate.h"
#include "chief/lease_sizes.h"
#include "chief/round_sizes.h"
#include "data/dataset.h"
#include "weights/weights.h"
#include "wire/replica_sizes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TICKS_PER_BEAT = 4, // how much finer than heartbeats deaths are looked for
    PROGRESS_MS = 250,
    REMINDER_MS = 10000,
    PLACE_LEASES = 10, // that a lost server's place is kept for it: as long as a restart takes, 30 s by default
    GRACE_MS = 500,    // after a worker's connection closed, for it to be made again
};

uint64_t mst_chief_steps_done(const struct mst_chief *chief)
{
    return mst_coordinator_progress(&chief->coordinator).n_steps;
}

// ---- progress ----

static double seconds_between(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? (double)(to_ns - from_ns) * 1e-9 : 0;
}

// The same as gauges.
static void show_progress(const struct mst_chief *chief, const struct mst_coordinator_progress *progress, double rate,
                          const json_t *loss)
{
    const struct mst_chief_metrics *metrics = &chief->metrics;
    bool is_training = progress->epoch < progress->n_epochs;
    mst_metric_set(metrics->epoch, (int64_t)(is_training ? progress->epoch + 1 : progress->n_epochs));
    mst_metric_set(metrics->epochs, (int64_t)progress->n_epochs);
    mst_metric_set(metrics->step, (int64_t)progress->n_steps);
    mst_metric_set(metrics->steps, (int64_t)progress->n_steps_total);
    mst_metric_set(metrics->workers, (int64_t)mst_membership_n_live(&chief->coordinator.membership));
    mst_metric_set(metrics->held_back, (int64_t)mst_pacing_n_held_back(&chief->coordinator.pacing));
    mst_metric_set_real(metrics->rate, rate);
    mst_metric_set_real(metrics->loss, json_is_number(loss) ? json_number_value(loss) : (double)NAN);
}

static struct mst_chief_metrics make_metrics(void)
{
    return (struct mst_chief_metrics){
        .epoch = mst_metric_gauge("muster_chief_epoch", "Epoch that is trained, from 1", NULL),
        .epochs = mst_metric_gauge("muster_chief_epochs", "Epochs of the job", NULL),
        .step = mst_metric_gauge("muster_chief_step", "Steps done", NULL),
        .steps = mst_metric_gauge("muster_chief_steps", "Steps of the job", NULL),
        .workers = mst_metric_gauge("muster_chief_workers", "Workers that have joined and live", NULL),
        .held_back = mst_metric_gauge("muster_chief_workers_held_back",
                                      "Workers that wait for others because they lead by consistency.staleness", NULL),
        .rate = mst_metric_gauge("muster_chief_examples_per_second", "Examples trained a second since the start", NULL),
        .loss = mst_metric_gauge("muster_chief_loss", "Loss over the epoch so far", NULL),
        .failures =
            mst_metric_counter("muster_chief_checkpoint_failures_total", "Checkpoints that could not be written", NULL),
    };
}

static void report_progress(struct mst_chief *chief)
{
    struct mst_coordinator_progress progress = mst_coordinator_progress(&chief->coordinator);
    const struct mst_training_sums *total = &chief->coordinator.total;
    double seconds = seconds_between(chief->first_lease_ns, mst_clock_monotonic_ns());
    double rate = seconds > 0 ? (double)total->examples / seconds : 0;
    double step_rate = seconds > 0 ? (double)(progress.n_steps - chief->n_steps_resumed) / seconds : 0;
    const struct mst_training_sums *sums = mst_coordinator_epoch_sums(&chief->coordinator);
    struct mst_scores scores = mst_scores_of(chief->config.compile, sums ? sums : &chief->last_epoch.sums);
    json_t *metrics = mst_scores_json(&scores);
    json_t *loss = json_incref(json_object_get(metrics, "loss"));
    if (json_is_object(metrics))
        json_object_del(metrics, "loss");
    json_t *fields =
        json_pack("{s:I, s:I, s:I, s:I, s:f, s:f, s:i}", "epoch",
                  (json_int_t)(progress.epoch < progress.n_epochs ? progress.epoch + 1 : progress.n_epochs), "epochs",
                  (json_int_t)progress.n_epochs, "step", (json_int_t)progress.n_steps, "steps",
                  (json_int_t)progress.n_steps_total, "examples_per_second", rate, "eta_seconds",
                  step_rate > 0 ? (double)(progress.n_steps_total - progress.n_steps) / step_rate : 0, "workers",
                  (int)mst_membership_n_live(&chief->coordinator.membership));
    show_progress(chief, &progress, rate, loss);
    json_object_set_new(fields, "loss", loss ? loss : json_null());
    json_object_set_new(fields, "learning_rate",
                        json_real((double)mst_optimizer_learning_rate(chief->config.optimizer, progress.n_steps)));
    json_object_set_new(fields, "metrics", metrics);
    mst_progress_write(chief->config.progress_fd, "progress", fields);
}

void mst_chief_hold_rounds(struct mst_chief *chief)
{
    mst_chief_touch(chief);
    if (!chief->coordinator.is_synchronous)
        return;
    if (!chief->rounds_mark)
        mst_rounds_pause(&chief->coordinator.rounds);
    chief->rounds_mark = mst_chief_mark(chief);
}

static void report_epochs(struct mst_chief *chief)
{
    struct mst_epoch_record record;
    while (mst_coordinator_take_epoch(&chief->coordinator, &record)) {
        // The last close of an earlier chief is gone through again, and with it perhaps the end of an epoch.
        if (chief->last_epoch.sums.values && record.epoch <= chief->last_epoch.epoch) {
            mst_training_sums_fini(&record.sums);
            continue;
        }
        mst_chief_hold_rounds(chief); // with what an epoch's end changes
        mst_training_sums_fini(&chief->last_epoch.sums);
        chief->last_epoch = record;
        struct mst_scores scores = mst_scores_of(chief->config.compile, &record.sums);
        json_t *fields = json_pack("{s:I, s:I}", "epoch", (json_int_t)record.epoch + 1, "epochs",
                                   (json_int_t)mst_coordinator_progress(&chief->coordinator).n_epochs);
        json_object_set_new(fields, "train", mst_scores_json(&scores));
        mst_progress_write(chief->config.progress_fd, "epoch", fields);
        mst_board_epoch(chief->board, record.epoch, &scores,
                        mst_optimizer_learning_rate(chief->config.optimizer, record.n_steps));
        mst_board_staleness(chief->board, record.epoch, &record.sums);
        MST_LOG(INFO, "chief", "epoch done", "epoch=%llu loss=%.6g", (unsigned long long)record.epoch + 1,
                scores.values[0]);
        mst_chief_on_epoch_trained(chief, &record, &scores);
    }
}

// ---- phases ----

static bool checkpoint_is_due(const struct mst_chief *chief, uint64_t now_ms)
{
    const struct mst_job *job = chief->config.job;
    uint64_t done = mst_chief_steps_done(chief);
    if (now_ms < chief->cut.not_before_ms)
        return false;
    if (mst_chief_best_is_due(chief))
        return true;
    if (done <= chief->checkpoint_step)
        return false;
    if (job->checkpoint_every_steps &&
        done / job->checkpoint_every_steps > chief->checkpoint_step / job->checkpoint_every_steps)
        return true;
    return job->checkpoint_every_seconds > 0 &&
           (double)(now_ms - chief->checkpoint_ms) >= job->checkpoint_every_seconds * 1000;
}

static void begin_closing(struct mst_chief *chief)
{
    chief->phase = CHIEF_CLOSING;
    chief->trained_ns = mst_clock_monotonic_ns();
    report_progress(chief);
    struct mst_coordinator_progress progress = mst_coordinator_progress(&chief->coordinator);
    MST_LOG(INFO, "chief", "training done", "steps=%llu torn=%llu", (unsigned long long)progress.n_steps,
            (unsigned long long)progress.n_torn);
    mst_chief_want_final(chief);
    mst_chief_save(chief);
}

// The last checkpoint is there, and the evaluation, or what is to be waited for of it.
static void try_to_close(struct mst_chief *chief)
{
    if (chief->is_finished) {
        uint64_t waited_ms = mst_clock_monotonic_ms() - chief->finished_ms;
        if (mst_chief_is_stored(chief, mst_chief_mark(chief)) || waited_ms >= chief->config.job->lease_ms)
            mst_chief_tell(chief, MST_OK, "the job is finished");
        return;
    }
    if (chief->needs_last_save && !mst_chief_is_saving(chief) && mst_chief_groups_are_whole(chief)) {
        chief->needs_last_save = false;
        mst_chief_save(chief);
    }
    if (!chief->is_saved || chief->is_writing_result || !mst_chief_is_evaluated(chief))
        return;
    chief->is_writing_result = true;
    mst_chief_close(chief);
}

static void release_rounds(struct mst_chief *chief)
{
    if (!chief->rounds_mark || !mst_chief_is_stored(chief, chief->rounds_mark))
        return;
    chief->rounds_mark = 0;
    mst_rounds_resume(&chief->coordinator.rounds);
}

void mst_chief_advance(struct mst_chief *chief)
{
    if (chief->phase == CHIEF_RUNNING) {
        report_epochs(chief);
        if (mst_coordinator_finished(&chief->coordinator)) {
            if (!mst_chief_is_saving(chief) && mst_chief_groups_are_whole(chief))
                begin_closing(chief);
        } else if (!chief->stop_text && !mst_chief_is_saving(chief) &&
                   checkpoint_is_due(chief, mst_clock_monotonic_ms()) && mst_chief_groups_are_whole(chief) &&
                   mst_chief_rounds_are_quiet(chief)) {
            mst_chief_save(chief);
        }
    }
    mst_chief_try_to_stop(chief);
    if (chief->phase < CHIEF_TELLING)
        mst_chief_evaluations_advance(chief);
    if (chief->phase == CHIEF_CLOSING)
        try_to_close(chief);
    mst_chief_store(chief);
    release_rounds(chief);
    mst_chief_answer_parked(chief);
    mst_chief_rounds_go_on(chief);
}

static void count_failure(struct mst_chief *chief, const char *text)
{
    MST_LOG(ERROR, "chief", "checkpoint failed", "reason=\"%s\" last=%s", text,
            chief->checkpoint ? chief->checkpoint : "none");
    chief->n_saves_failed++;
    free(chief->save_failure);
    chief->save_failure = mst_strdup(text);
    mst_metric_add(chief->metrics.failures, 1);
    mst_progress_write(chief->config.progress_fd, "checkpoint_failed",
                       json_pack("{s:s, s:s?}", "reason", text, "last", chief->checkpoint));
}

void mst_chief_finish(struct mst_chief *chief)
{
    mst_chief_end_note(chief);
    chief->is_finished = true;
    chief->finished_ms = mst_clock_monotonic_ms();
    mst_chief_touch(chief);
    mst_chief_advance(chief);
}

void mst_chief_on_saved(struct mst_chief *chief, mst_status status, const char *text)
{
    if (chief->phase != CHIEF_RUNNING && chief->phase != CHIEF_CLOSING)
        return;
    bool is_put_off = status == MST_CANCELLED;
    if (chief->phase == CHIEF_CLOSING &&
        (is_put_off || (mst_status_is_retryable(status) && !mst_chief_groups_are_whole(chief)))) {
        chief->needs_last_save = true; // a server was lost meanwhile
        return;
    }
    if (status != MST_OK && (chief->phase == CHIEF_CLOSING || status == MST_DATA_LOSS)) {
        mst_chief_tell(chief, status, text); // NaN in the weights, or no last checkpoint: the job has not succeeded
        return;
    }
    if (is_put_off) {
        chief->is_stop_saved = false;
    } else if (status != MST_OK) {
        count_failure(chief, text);
        chief->checkpoint_ms = mst_clock_monotonic_ms();
        chief->checkpoint_step = mst_chief_steps_done(chief); // tried again when the next one is due
        chief->is_stop_failed = chief->is_stop_saved;
    }
    chief->is_saved = chief->phase == CHIEF_CLOSING;
    if (!chief->stop_text)
        mst_chief_rounds_resume(chief);
    mst_chief_advance(chief);
}

static void tell_effective_rate(const struct mst_chief *chief)
{
    const struct mst_job *job = chief->config.job;
    const struct mst_coordinator *c = &chief->coordinator;
    char *text = mst_effective_rate_text(job->batch_size, job->accumulate_steps,
                                         c->is_synchronous ? c->rounds.config.n_workers : 0);
    MST_LOG(INFO, "chief", "learning rate in effect", "says=\"%s\"", text);
    mst_progress_write(chief->config.progress_fd, "started", json_pack("{s:s}", "learning_rate", text));
    free(text);
}

void mst_chief_set_running(struct mst_chief *chief)
{
    chief->phase = CHIEF_RUNNING;
    mst_chief_remove_nonce(chief);
    chief->checkpoint_ms = mst_clock_monotonic_ms();
    chief->checkpoint_step = chief->is_recalled ? chief->committed_step : mst_chief_steps_done(chief);
    MST_LOG(INFO, "chief", "running", "term=%llu steps=%llu of=%llu", (unsigned long long)chief->term,
            (unsigned long long)mst_chief_steps_done(chief),
            (unsigned long long)mst_coordinator_progress(&chief->coordinator).n_steps_total);
    tell_effective_rate(chief);
    mst_chief_callbacks_begin(chief);
    mst_chief_rounds_begin(chief);
    mst_chief_take_up_epochs(chief);
    mst_chief_advance(chief);
}

// ---- the end ----

// Workers hear of it first: a worker whose parameter servers are gone could not tell the end from a failure.
static void tell_servers(struct mst_chief *chief)
{
    if (chief->are_servers_told)
        return;
    chief->are_servers_told = true;
    mst_chief_links_finish(chief);
}

// Who TF_CONFIG names and never came may come just now, and who was here may be on its way back (after a death, its own
// or the chief's), or stand still: without a chief it would wait for long. It has until the servers are told, half a
// lease after the end. A job that has failed says so to those that live: a chief that was just started may not have
// heard of them, or not know of any.
static bool is_waiting_for_late(const struct mst_chief *chief)
{
    const struct mst_membership *members = &chief->coordinator.membership;
    bool is_well = chief->end_status == MST_OK;
    bool has_others = is_well || chief->is_recalled || chief->has_met_job; // than those that are in this chief's list
    bool lacks_evaluator = chief->config.has_evaluator && !chief->evaluator_figures.role;
    bool lacks_worker = is_well && mst_membership_n_ever(members) < chief->config.n_workers;
    if (!is_well && !chief->is_recalled && chief->has_met_job)
        for (size_t w = 0; w < chief->config.n_workers; w++)
            lacks_worker = lacks_worker || !mst_chief_is_told(chief, w);
    for (size_t w = 0; w < members->n_members; w++) {
        const struct mst_member *member = &members->members[w];
        bool may_come = is_well ? member->state != MST_MEMBER_AWAITED : member->state == MST_MEMBER_LIVE;
        lacks_worker = lacks_worker || (member->number > 0 && may_come && !mst_chief_is_told(chief, w));
    }
    bool lacks_server = is_well && mst_chief_links_lack(chief);
    return !chief->are_servers_told && ((has_others && lacks_evaluator) || lacks_worker || lacks_server);
}

void mst_chief_check_told(struct mst_chief *chief)
{
    if (chief->phase != CHIEF_TELLING || mst_chief_n_worker_conns(chief) > 0 || is_waiting_for_late(chief))
        return;
    tell_servers(chief);
    for (size_t i = 0; i < chief->config.n_ps; i++)
        if (!chief->links[i].is_told)
            return;
    if (mst_chief_drain_is_asked(chief))
        return;
    chief->phase = CHIEF_OVER;
    mst_timer_stop(&chief->telling);
    chief->config.on_end(chief->config.arg, chief->end_status, chief->end_text);
}

// Who has not answered within a lease is left: it finds the chief gone and ends by itself.
static void on_telling_too_long(void *arg)
{
    struct mst_chief *chief = arg;
    if (!chief->are_servers_told) {
        mst_timer_start_once(&chief->telling, chief->config.job->lease_ms / 2);
        tell_servers(chief);
        return;
    }
    chief->phase = CHIEF_OVER;
    chief->config.on_end(chief->config.arg, chief->end_status, chief->end_text);
}

void mst_chief_tell(struct mst_chief *chief, mst_status status, const char *text)
{
    if (chief->phase >= CHIEF_TELLING)
        return;
    if (chief->phase == CHIEF_PLACING)
        mst_chief_remove_nonce(chief);
    chief->phase = CHIEF_TELLING;
    chief->end_status = status;
    chief->end_text = mst_strdup(text);
    mst_timer_stop(&chief->tick);
    mst_timer_stop(&chief->progress);
    mst_timer_stop(&chief->reminder);
    mst_timer_start_once(&chief->telling, chief->config.job->lease_ms / 2);
    if (status != MST_OK)
        MST_LOG(ERROR, "chief", "job failed", "status=%s reason=\"%s\" checkpoint=%s", mst_status_name(status), text,
                chief->checkpoint ? chief->checkpoint : "none");
    mst_chief_answer_parked(chief);
    mst_chief_check_told(chief);
}

void mst_chief_give_way(struct mst_chief *chief, mst_status status, const char *text)
{
    MST_LOG(ERROR, "chief", "gives way", "reason=\"%s\"", text);
    if (chief->phase == CHIEF_PLACING)
        mst_chief_remove_nonce(chief);
    chief->phase = CHIEF_OVER;
    chief->gives_way = true;
    chief->end_status = status;
    mst_timer_stop(&chief->tick);
    mst_timer_stop(&chief->progress);
    mst_timer_stop(&chief->reminder);
    chief->config.on_end(chief->config.arg, chief->end_status, text);
}

void mst_chief_fail(struct mst_chief *chief, mst_status status, const char *text)
{
    mst_chief_tell(chief, status, text);
}

// ---- the clock ----

static void describe_wait(const struct mst_chief *chief, char *out, size_t out_bytes)
{
    out[0] = '\0';
    if (chief->phase < CHIEF_TELLING)
        mst_chief_links_state(chief, out, out_bytes);
    if (!out[0] && chief->phase == CHIEF_PLACING)
        mst_chief_place_state(chief, out, out_bytes);
    if (!out[0] && chief->phase < CHIEF_TELLING)
        mst_failover_describe(&chief->failover, out, out_bytes);
    if (!out[0] && chief->phase == CHIEF_RUNNING && mst_membership_n_live(&chief->coordinator.membership) == 0)
        snprintf(out, out_bytes, "workers: none is there");
}

// At the start servers are waited for without a limit. Once a job is under way the others wait so long for what it
// needs to go on, and this one no longer: those that are here may have lost too much for it ever to do so.
static void limit_wait(struct mst_chief *chief, uint64_t now_ms)
{
    uint64_t limit_ms = chief->config.job->absence_ms;
    bool is_stuck = (chief->phase <= CHIEF_RECALLING && chief->has_met_job) ||
                    (chief->phase < CHIEF_TELLING && mst_failover_is_undecided(&chief->failover));
    if (!is_stuck) {
        chief->stuck_since_ms = 0;
    } else if (chief->stuck_since_ms == 0) {
        chief->stuck_since_ms = now_ms;
    } else if (now_ms - chief->stuck_since_ms > limit_ms) {
        char text[512];
        struct mst_error err;
        describe_wait(chief, text, sizeof text);
        if (!text[0])
            snprintf(text, sizeof text, "what an earlier chief left");
        mst_status status = mst_fail(&err, MST_UNAVAILABLE,
                                     "the job cannot go on: for %llu ms (cluster.absence_ms) it waited for %s; start "
                                     "all of it again, with checkpoint.resume",
                                     (unsigned long long)limit_ms, text);
        mst_chief_tell(chief, status, err.text);
    }
}

static void on_tick(void *arg)
{
    struct mst_chief *chief = arg;
    uint64_t now_ms = mst_clock_monotonic_ms();
    uint64_t slept_ms = chief->coordinator.slept_ms;
    size_t n_dead = mst_coordinator_tick(&chief->coordinator, now_ms);
    if (chief->coordinator.slept_ms > slept_ms) {
        chief->whole_since_ms = chief->stuck_since_ms = 0; // servers may have slept as well
        MST_LOG(WARN, "chief", "was not running", "ms=%llu",
                (unsigned long long)(chief->coordinator.slept_ms - slept_ms));
    }
    if (n_dead > 0) {
        mst_chief_fences_begun(chief);
        MST_LOG(WARN, "chief", "workers declared dead", "n=%zu", n_dead);
    }
    mst_chief_failover_tick(chief, now_ms);
    mst_chief_end_look(chief, now_ms);
    limit_wait(chief, now_ms);
    mst_chief_links_tick(chief, now_ms);
    mst_chief_cut_tick(chief, now_ms);
    mst_chief_save_tick(chief);
    if (now_ms - chief->last_beat_ms >= chief->config.job->heartbeat_ms) {
        chief->last_beat_ms = now_ms;
        mst_chief_links_beat(chief);
    }
    if (chief->phase < CHIEF_TELLING)
        mst_chief_advance(chief);
}

static void on_progress(void *arg)
{
    struct mst_chief *chief = arg;
    if (chief->phase != CHIEF_RUNNING || !chief->first_lease_ns)
        return;
    report_progress(chief);
    if (chief->coordinator.is_synchronous) { // rounds are stored as closes: the state would not know how long it took
        mst_chief_touch(chief);
        mst_chief_store(chief);
    }
}

static void on_reminder(void *arg)
{
    struct mst_chief *chief = arg;
    char text[1024];
    describe_wait(chief, text, sizeof text);
    if (!text[0] && chief->phase == CHIEF_RUNNING)
        mst_chief_rounds_state(chief, text, sizeof text);
    // A worker may be slow; that nothing at all was done since the last time is worth a line.
    uint64_t n_steps = mst_chief_steps_done(chief);
    if (!text[0] && chief->phase == CHIEF_RUNNING && n_steps == chief->reminded_step)
        mst_pacing_awaited(&chief->coordinator.pacing, text, sizeof text);
    chief->reminded_step = n_steps;
    if (!text[0])
        return;
    MST_LOG(INFO, "chief", "waiting", "for=\"%s\"", text);
    mst_progress_write(chief->config.progress_fd, "waiting", json_pack("{s:s}", "text", text));
}

mst_status mst_chief_ready(const struct mst_chief *chief, struct mst_error *err)
{
    char text[512];
    describe_wait(chief, text, sizeof text);
    if (chief->phase < CHIEF_RUNNING)
        return mst_fail(err, MST_UNAVAILABLE, "waiting for %s",
                        text[0] ? text : "parameter servers to make their shards");
    if (text[0])
        mst_fail(err, MST_OK, "waiting for %s", text);
    return MST_OK;
}

// ---- making and freeing ----

// What would not fit a message in the middle of the job.
static mst_status check_sizes(const struct mst_chief *chief, struct mst_error *err)
{
    const struct mst_replica_sizes sizes = {.n_workers = chief->config.n_workers};
    bool has_replicas = chief->config.job->replicas > 0;
    if (!chief->coordinator.is_synchronous) {
        MST_TRY(mst_lease_sizes_check(&chief->coordinator_config, chief->config.n_workers, err));
        return has_replicas ? mst_replica_sizes_check(&sizes, err) : MST_OK;
    }
    MST_TRY(mst_round_sizes_check(&chief->coordinator.rounds.config, err));
    return has_replicas ? mst_round_sizes_check_replicas(&chief->coordinator.rounds.config, err) : MST_OK;
}

static mst_status read_data_header(struct mst_chief *chief, struct mst_error *err)
{
    const struct mst_job *job = chief->config.job;
    struct mst_dataset *dataset;
    MST_TRY(mst_dataset_open(chief->config.train, &dataset, err));
    chief->n_examples = mst_dataset_n_examples(dataset);
    size_t n_batches = mst_dataset_n_batches(dataset, job->batch_size);
    mst_dataset_free(dataset);
    if (n_batches == 0)
        return mst_fail(err, MST_DATA_LOSS, "%s holds no examples", job->file);
    n_batches = (n_batches - 1) / job->accumulate_steps + 1; // from here on what is pushed as one counts as one
    size_t n_round_workers = 0;
    uint64_t n_steps = n_batches; // of an epoch
    if (job->consistency == MST_CONSISTENCY_SYNCHRONOUS) {
        n_round_workers = job->round_workers ? (size_t)job->round_workers : chief->config.n_workers;
        n_round_workers += n_round_workers == 0;
        n_steps = (n_batches - 1) / n_round_workers + 1;
    }
    uint64_t n_epochs = job->epochs ? job->epochs : (job->steps + n_steps - 1) / n_steps;
    struct mst_coordinator_config config = {
        .n_ps = chief->config.n_ps,
        .n_batches = n_batches,
        .n_epochs = n_epochs,
        .max_steps = job->steps,
        .lease_ms = job->lease_ms,
        .grace_ms = job->heartbeat_ms < GRACE_MS ? job->heartbeat_ms : GRACE_MS,
        .sleep_ms = job->heartbeat_ms,
        .n_sums = mst_compile_n_sums(chief->config.compile),
        .n_round_workers = n_round_workers,
        .n_backup = (size_t)job->backup_workers,
        .order = job->train.shuffle ? MST_BATCH_ORDER_SHUFFLED : MST_BATCH_ORDER_FILE,
        .order_seed = job->train.shuffle ? job->seed : 0,
        .clip = mst_optimizer_clip(chief->config.optimizer),
        .n_variables = mst_model_n_variables(chief->config.model),
        .max_lead = job->consistency == MST_CONSISTENCY_BOUNDED ? job->staleness : 0};
    chief->coordinator_config = config;
    mst_coordinator_init(&chief->coordinator, &config);
    mst_evaluations_init(&chief->evaluations, config.lease_ms, config.grace_ms);
    mst_cuts_init(&chief->cut.machine, chief->config.n_ps);
    return check_sizes(chief, err);
}

static mst_status make_failover(struct mst_chief *chief, struct mst_error *err)
{
    const struct mst_job *job = chief->config.job;
    MST_TRY(mst_job_check_ps(job, chief->config.n_ps, err));
    uint64_t patience_ms = PLACE_LEASES * job->lease_ms; // and well before limit_wait ends the job
    struct mst_failover_config config = {.n_ps = chief->config.n_ps,
                                         .n_replicas = (size_t)job->replicas,
                                         .patience_ms =
                                             patience_ms < job->absence_ms / 2 ? patience_ms : job->absence_ms / 2,
                                         .avoid_ms = job->lease_ms};
    mst_failover_init(&chief->failover, &config);
    return MST_OK;
}

static mst_status set_up(struct mst_chief *chief, struct mst_error *err)
{
    const struct mst_chief_config *config = &chief->config;
    MST_TRY(make_failover(chief, err));
    MST_TRY(read_data_header(chief, err));
    chief->was_finished = mst_chief_end_was_noted(chief);
    struct mst_server_config server = {.on_greeting = mst_chief_on_greeting, .arg = chief};
    MST_TRY(mst_server_new(config->control, &server, &chief->server));
    MST_TRY(config->listen_fd >= 0 ? mst_server_listen_fd(chief->server, config->listen_fd, err)
                                   : mst_server_listen(chief->server, config->port, err));
    MST_TRY(mst_loop_new("chief-work", &chief->work, err));
    MST_TRY(mst_loop_thread_start(chief->work, err));
    struct mst_board_config board = {.output_dir = config->job->output_dir, .work = chief->work};
    chief->board = mst_board_new(&board);
    MST_TRY(mst_chief_callbacks_new(chief, err));
    return mst_chief_links_new(chief, err);
}

mst_status mst_chief_new(const struct mst_chief_config *config, struct mst_chief **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_chief *chief = mst_alloc(sizeof *chief);
    chief->config = *config;
    chief->evaluated = json_array();
    mst_buf_init(&chief->state, MST_CHIEF_STATE_MAX);
    chief->metrics = make_metrics();
    mst_timer_init(&chief->tick, config->control, on_tick, chief);
    mst_timer_init(&chief->round_again, config->control, mst_chief_on_round_again, chief);
    mst_timer_init(&chief->progress, config->control, on_progress, chief);
    mst_timer_init(&chief->reminder, config->control, on_reminder, chief);
    mst_timer_init(&chief->telling, config->control, on_telling_too_long, chief);
    mst_timer_init(&chief->asked, config->control, mst_chief_on_asked, chief);
    mst_status status = set_up(chief, err);
    if (status != MST_OK) {
        mst_chief_free(chief);
        return status;
    }
    uint64_t tick_ms = config->job->heartbeat_ms / TICKS_PER_BEAT;
    mst_timer_start_periodic(&chief->tick, tick_ms ? tick_ms : 1);
    mst_timer_start_periodic(&chief->progress, PROGRESS_MS);
    mst_timer_start_periodic(&chief->reminder, REMINDER_MS);
    mst_chief_links_start(chief);
    MST_LOG(INFO, "chief", "listening", "port=%u ps=%zu examples=%zu batches=%llu", mst_server_port(chief->server),
            config->n_ps, chief->n_examples, (unsigned long long)chief->coordinator.leases.n_batches);
    *out = chief;
    return MST_OK;
}

void mst_chief_free(struct mst_chief *chief)
{
    if (!chief)
        return;
    if (chief->work) {
        mst_loop_stop(chief->work);
        mst_loop_thread_join(chief->work);
        mst_loop_free(chief->work);
    }
    mst_board_free(chief->board);
    mst_chief_callbacks_free(chief);
    mst_chief_save_free(chief);
    mst_chief_search_free(chief);
    mst_chief_part_search_free(chief);
    mst_chief_links_free(chief);
    mst_chief_workers_free(chief);
    mst_server_free(chief->server);
    mst_timer_fini(&chief->tick);
    mst_timer_fini(&chief->round_again);
    mst_timer_fini(&chief->progress);
    mst_timer_fini(&chief->reminder);
    mst_timer_fini(&chief->telling);
    mst_timer_fini(&chief->asked);
    mst_coordinator_fini(&chief->coordinator);
    mst_training_sums_fini(&chief->last_epoch.sums);
    mst_evaluations_fini(&chief->evaluations);
    mst_cuts_fini(&chief->cut.machine);
    mst_failover_fini(&chief->failover);
    free(chief->cut.late);
    mst_epoch_ledger_fini(&chief->ledger);
    json_decref(chief->evaluated);
    mst_weights_free(chief->config.initial);
    mst_plan_free(chief->plan);
    free(chief->shards);
    free(chief->nonce_path);
    free(chief->nonce);
    free(chief->restore_prefix);
    free(chief->rivals);
    free(chief->figures);
    free(chief->told);
    free(chief->checkpoint);
    free(chief->checkpoint_rows);
    free(chief->save_failure);
    free(chief->stop_text);
    free(chief->end_text);
    mst_buf_fini(&chief->state);
    free(chief);
}

uint16_t mst_chief_port(const struct mst_chief *chief)
{
    return mst_server_port(chief->server);
}
