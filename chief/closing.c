// After the last checkpoint: what the servers cost (STATS), then on the work thread the weights are read back from that
// checkpoint, evaluated and written as a model directory; then result.json; then everybody is told.
#include "chief/chief_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "chief/evaluate.h"
#include "tfio/disk_file.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { STATS_MS = 10000 };

// The argument of one PS's answer.
struct stats_part {
    struct closing *closing;
    struct ps_link *link;
};

struct closing {
    struct mst_chief *chief;
    struct mst_loop_hook hook; // it goes with the control loop if the process is told to stop meanwhile
    size_t n_waiting;          // PSs that have not answered STATS
    char *model_dir;
    char *archive;         // for Keras, if it could be written
    char *archive_warning; // else why not
    char *prefix;          // of the checkpoint that is the trained model
    bool is_restored;
    char **best; // by callback: prefix of its best epoch, or NULL
    struct mst_training_sums eval;
    bool has_eval;
    mst_status status;
    struct mst_error err;
    struct stats_part parts[]; // by PS
};

static void free_closing(void *arg)
{
    struct closing *closing = arg;
    mst_loop_hook_remove(&closing->hook);
    mst_training_sums_fini(&closing->eval);
    free(closing->model_dir);
    free(closing->archive);
    free(closing->archive_warning);
    free(closing->prefix);
    for (size_t i = 0; i < closing->chief->config.job->n_callbacks; i++)
        free(closing->best[i]);
    free(closing->best);
    free(closing);
}

static uint64_t n_examples_done(const struct mst_chief *chief)
{
    const struct mst_leases *leases = &chief->coordinator.leases;
    if (chief->coordinator.is_synchronous)
        return chief->coordinator.total.examples; // which is exact
    uint64_t whole = leases->n_done / leases->n_batches;
    uint64_t rest = leases->n_done % leases->n_batches;
    uint64_t resumed_whole = chief->n_steps_resumed / leases->n_batches;
    uint64_t resumed_rest = chief->n_steps_resumed % leases->n_batches;
    uint64_t batch = chief->config.job->batch_size * chief->config.job->accumulate_steps;
    // Only the last step of an epoch is smaller, and it is never among the first `rest` ones.
    return (whole - resumed_whole) * chief->n_examples + rest * batch - resumed_rest * batch;
}

static struct mst_role_figures *gather_figures(struct mst_chief *chief, size_t *n_out)
{
    struct mst_role_figures *all = mst_alloc_array(2 + chief->config.n_ps + chief->n_figures, sizeof *all);
    size_t n = 0;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    all[n++] = (struct mst_role_figures){.role = "chief",
                                         .index = chief->config.identity->index,
                                         .cpu_seconds = (double)mst_clock_cpu_ns() * 1e-9,
                                         .max_rss_bytes = (uint64_t)usage.ru_maxrss * 1024};
    for (size_t i = 0; i < chief->config.n_ps; i++)
        all[n++] = chief->links[i].figures;
    for (size_t i = 0; i < chief->n_figures; i++)
        if (chief->figures[i].role) {
            all[n] = chief->figures[i];
            all[n++].n_updates = mst_coordinator_steps_of(&chief->coordinator, (uint32_t)i);
        }
    if (chief->evaluator_figures.role)
        all[n++] = chief->evaluator_figures;
    *n_out = n;
    return all;
}

static double seconds_of(uint64_t from_ns, uint64_t to_ns)
{
    return from_ns && to_ns > from_ns ? (double)(to_ns - from_ns) * 1e-9 : 0;
}

static json_t *make_result(struct closing *closing)
{
    struct mst_chief *chief = closing->chief;
    const struct mst_training_sums *total = &chief->coordinator.total;
    size_t n_roles;
    struct mst_role_figures *roles = gather_figures(chief, &n_roles);
    struct mst_result result = {.name = chief->config.job->name,
                                .status = "finished",
                                .steps = mst_chief_steps_done(chief),
                                .epochs = mst_coordinator_progress(&chief->coordinator).n_epochs_done,
                                .examples = n_examples_done(chief),
                                .seconds = seconds_of(chief->first_lease_ns, chief->trained_ns),
                                .first_step_seconds = seconds_of(chief->config.started_ns, chief->first_step_ns),
                                .train = mst_scores_of(chief->config.compile, &chief->last_epoch.sums),
                                .eval = chief->final.scores,
                                .eval_warning = chief->final.scores.is_known ? NULL
                                                : chief->config.eval         ? chief->final.why
                                                                     : "data.eval is not given: nothing was evaluated",
                                .roles = roles,
                                .n_roles = n_roles,
                                .checkpoint = chief->checkpoint,
                                .n_checkpoints_failed = chief->n_saves_failed,
                                .checkpoint_failure = chief->save_failure,
                                .model_dir = closing->model_dir,
                                .archive = closing->archive,
                                .archive_warning = closing->archive_warning,
                                .blas_core = openblas_get_corename(),
                                .n_torn = mst_coordinator_progress(&chief->coordinator).n_torn,
                                .staleness_mean =
                                    total->steps ? (double)total->staleness_sum / (double)total->steps : 0,
                                .staleness_max = total->staleness_max,
                                .staleness_counts = total->staleness_counts};
    json_t *json = mst_result_json(&result);
    json_object_set_new(json, "lost_updates", json_integer((json_int_t)chief->n_lost_updates));
    json_object_set_new(json, "evaluations", json_incref(chief->evaluated));
    json_object_set_new(json, "evaluations_skipped", json_integer((json_int_t)chief->evaluations.n_skipped));
    json_object_set_new(json, "stopped", mst_chief_stopped_json(chief));
    json_object_set_new(json, "best", mst_chief_best_json(chief));
    free(roles);
    return json;
}

static mst_status write_result(struct closing *closing)
{
    struct mst_chief *chief = closing->chief;
    json_t *result = make_result(closing);
    mst_status status = mst_result_write(chief->config.job->output_dir, result, &closing->err);
    if (status == MST_OK)
        mst_progress_write(chief->config.progress_fd, "finished", json_pack("{s:O}", "result", result));
    json_decref(result);
    return status;
}

static void show_evaluation(const struct closing *closing)
{
    struct mst_chief *chief = closing->chief;
    uint64_t n_steps = mst_chief_steps_done(chief);
    struct mst_evaluation_task task = {.epoch = mst_coordinator_progress(&chief->coordinator).last_epoch,
                                       .step = n_steps,
                                       .is_epoch_end = !closing->is_restored,
                                       .is_final = true};
    struct mst_scores scores = mst_scores_of(chief->config.compile, &closing->eval);
    mst_chief_on_evaluation(chief, &task, &scores);
}

static void over(void *arg)
{
    struct closing *closing = arg;
    struct mst_chief *chief = closing->chief;
    mst_status status = closing->status;
    if (status == MST_OK) {
        if (closing->has_eval)
            show_evaluation(closing);
        mst_chief_settle_epochs(chief);
        status = write_result(closing);
    }
    if (status == MST_OK) {
        MST_LOG(INFO, "chief", "job finished", "steps=%llu model=%s", (unsigned long long)mst_chief_steps_done(chief),
                closing->model_dir);
        mst_chief_finish(chief);
    } else {
        mst_chief_tell(chief, status, closing->err.text);
    }
    free_closing(closing);
}

static mst_status evaluate(struct closing *closing, const struct mst_weights *weights)
{
    const struct mst_chief_config *config = &closing->chief->config;
    const struct mst_job *job = config->job;
    if (!config->eval || closing->chief->final.is_the_roles) // (settled before this began)
        return MST_OK;
    struct mst_evaluation evaluation = {.model = config->model,
                                        .compile = config->compile,
                                        .source = config->eval,
                                        .batch_size = job->batch_size,
                                        .n_threads = config->n_threads,
                                        .seed = job->seed};
    closing->has_eval = true;
    return mst_evaluate(&evaluation, weights, &closing->eval, &closing->err);
}

// The model directory is the result; that Keras can load it too is a convenience, whose failure costs no finished job.
static void write_archive(struct closing *closing, const struct mst_weights *weights)
{
    const struct mst_chief_config *config = &closing->chief->config;
    struct mst_error err;
    char *file = mst_text("%s/model.keras", config->job->output_dir);
    if (mst_weights_write_archive(config->model, weights, config->model_text, file, &err) == MST_OK) {
        closing->archive = file;
        return;
    }
    MST_LOG(WARN, "chief", "no archive for Keras", "file=%s reason=\"%s\"", file, err.text);
    closing->archive_warning = mst_text("no %s: %s", file, err.text);
    free(file);
}

// The files of ModelCheckpoints.
static void write_best(struct closing *closing)
{
    const struct mst_chief_config *config = &closing->chief->config;
    for (size_t i = 0; closing->status == MST_OK && i < config->job->n_callbacks; i++) {
        const struct mst_job_callback *callback = &config->job->callbacks[i];
        const char *prefix = callback->kind == MST_CALLBACK_MODEL_CHECKPOINT ? closing->best[i] : NULL;
        struct mst_weights *weights = NULL;
        struct mst_error err = {0};
        if (prefix &&
            (mst_weights_read(config->model, prefix, &weights, &err) != MST_OK ||
             mst_weights_write_archive(config->model, weights, config->model_text, callback->path, &err) != MST_OK))
            MST_LOG(WARN, "chief", "best model not written", "file=%s reason=\"%s\"", callback->path, err.text);
        mst_weights_free(weights);
    }
}

// On the work thread.
static void finish_work(void *arg)
{
    struct closing *closing = arg;
    const struct mst_chief_config *config = &closing->chief->config;
    struct mst_weights *weights = NULL;
    closing->model_dir = mst_text("%s/model", config->job->output_dir);
    closing->status = mst_disk_make_folders(config->job->output_dir, &closing->err);
    if (closing->status == MST_OK)
        closing->status = mst_weights_read(config->model, closing->prefix, &weights, &closing->err);
    if (closing->status == MST_OK)
        closing->status = evaluate(closing, weights);
    if (closing->status == MST_OK)
        closing->status =
            mst_weights_write_dir(config->model, weights, config->model_text, closing->model_dir, &closing->err);
    if (closing->status == MST_OK && config->job->output_keras)
        write_archive(closing, weights);
    mst_weights_free(weights);
    write_best(closing);
    mst_loop_post(config->control, over, closing);
}

static void on_stats(void *arg, const struct mst_reply *reply)
{
    struct stats_part *part = arg;
    struct closing *closing = part->closing;
    struct mst_arena arena;
    struct mst_msg_stats_reply stats;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    part->link->figures = (struct mst_role_figures){.role = "ps", .index = part->link->index};
    if (reply->status == MST_OK && mst_msg_stats_reply_decode(reply->message->meta, &arena, &stats, NULL) == MST_OK) {
        part->link->figures.cpu_seconds = stats.cpu_seconds;
        part->link->figures.max_rss_bytes = stats.max_rss_bytes;
        part->link->figures.n_updates = stats.updates;
    }
    mst_arena_fini(&arena);
    if (--closing->n_waiting == 0)
        mst_loop_post(closing->chief->work, finish_work, closing);
}

void mst_chief_close(struct mst_chief *chief)
{
    struct closing *closing = mst_alloc(sizeof *closing + chief->config.n_ps * sizeof closing->parts[0]);
    closing->chief = chief;
    closing->hook = (struct mst_loop_hook){.on_free = free_closing, .arg = closing};
    mst_loop_hook_add(chief->config.control, &closing->hook);
    closing->n_waiting = chief->config.n_ps;
    closing->best = mst_alloc_array(chief->config.job->n_callbacks + 1, sizeof closing->best[0]);
    for (size_t i = 0; i < chief->config.job->n_callbacks; i++)
        closing->best[i] = mst_chief_best_prefix(chief, i);
    closing->prefix = mst_chief_restored_prefix(chief);
    closing->is_restored = closing->prefix != NULL;
    if (closing->is_restored)
        MST_LOG(INFO, "chief", "best weights restored", "prefix=%s", closing->prefix);
    else
        closing->prefix = mst_strdup(chief->checkpoint);
    struct mst_msg_stats message = {chief->term};
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        closing->parts[i] = (struct stats_part){closing, &chief->links[i]};
        MST_CHIEF_CALL(&chief->links[i], STATS, stats, &message, STATS_MS, on_stats, &closing->parts[i]);
    }
}
