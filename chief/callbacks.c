// Keras compares in float32, after subtracting min_delta in double (its ops turn Python numbers into float32 tensors),
// so this does too: an improvement that float32 cannot tell is none.
#include "chief/callbacks.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct callback {
    const struct mst_job_callback *job;
    bool is_of_validation;
    size_t measure;
    bool is_less_better;
    uint64_t cooldown; // epochs left of it
    struct mst_callback_view view;
};

struct mst_callbacks {
    struct mst_callbacks_config config;
    bool is_stopped;
    size_t stopped_by;
    uint64_t stopped_epoch;
    bool is_rate_set;
    float rate;
    struct callback all[]; // config.n_callbacks
};

// ---- what is watched ----

static bool find_measure(const struct mst_compile *compile, const char *name, size_t *out)
{
    for (size_t i = 0; i < mst_compile_n_measures(compile); i++) {
        if (strcmp(mst_measure_name(compile, i), name) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static mst_status refuse_monitor(const struct mst_callbacks_config *config, const struct mst_job_callback *job,
                                 size_t i, struct mst_error *err)
{
    char known[160] = "";
    size_t n = mst_compile_n_measures(config->compile);
    for (size_t m = 0; m < 2 * n; m++) {
        size_t len = strlen(known);
        int written = snprintf(known + len, sizeof known - len, "%s%s%s", m ? ", " : "", m < n ? "" : "val_",
                               mst_measure_name(config->compile, m % n));
        if (written < 0 || (size_t)written >= sizeof known - len - 4) {
            snprintf(known + len, sizeof known - len, "%s", " …");
            break;
        }
    }
    return mst_fail(err, MST_INVALID_ARGUMENT, "callbacks[%zu]: config.monitor is \"%.50s\", must be one of: %s", i,
                    job->monitor, known);
}

enum direction { IS_UNKNOWN, IS_DOWN, IS_UP };

static enum direction direction_of(const struct mst_metric *metric)
{
    switch (metric->kind) {
    case MST_METRIC_TRUE_POSITIVES:
    case MST_METRIC_FALSE_POSITIVES:
    case MST_METRIC_TRUE_NEGATIVES:
    case MST_METRIC_FALSE_NEGATIVES:
        return IS_UNKNOWN;
    case MST_METRIC_ROOT_MEAN_SQUARED_ERROR:
        return IS_DOWN;
    case MST_METRIC_LOSS:
        return metric->loss == MST_LOSS_COSINE_SIMILARITY ? IS_UP : IS_DOWN;
    default:
        return IS_UP;
    }
}

static enum direction direction_of_measure(const struct mst_compile *compile, size_t measure)
{
    size_t n_losses = mst_compile_n_measures(compile) - compile->n_metrics; // they come first
    return measure < n_losses ? IS_DOWN : direction_of(&compile->metrics[measure - n_losses]);
}

static mst_status find_monitor(const struct mst_callbacks_config *config, size_t i, struct callback *out,
                               struct mst_error *err)
{
    const struct mst_job_callback *job = &config->callbacks[i];
    bool is_train = find_measure(config->compile, job->monitor, &out->measure);
    out->is_of_validation = !is_train && strncmp(job->monitor, "val_", 4) == 0 &&
                            find_measure(config->compile, job->monitor + 4, &out->measure);
    if (!is_train && !out->is_of_validation)
        return refuse_monitor(config, job, i, err);
    if (out->is_of_validation && !config->is_validated)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "callbacks[%zu]: config.monitor is \"%.60s\", which needs data.eval and eval.every \"epoch\": "
                        "set both, or watch \"%.60s\"",
                        i, job->monitor, job->monitor + 4);
    enum direction direction = job->mode == MST_MONITOR_MIN   ? IS_DOWN
                               : job->mode == MST_MONITOR_MAX ? IS_UP
                                                              : direction_of_measure(config->compile, out->measure);
    if (direction == IS_UNKNOWN)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "callbacks[%zu]: config.mode auto does not tell whether less or more of \"%.60s\" is better: "
                        "say min or max",
                        i, job->monitor);
    out->is_less_better = direction == IS_DOWN;
    return MST_OK;
}

mst_status mst_callbacks_new(const struct mst_callbacks_config *config, struct mst_callbacks **out,
                             struct mst_error *err)
{
    *out = NULL;
    struct mst_callbacks *callbacks = mst_alloc(sizeof *callbacks + config->n_callbacks * sizeof callbacks->all[0]);
    callbacks->config = *config;
    mst_status status = MST_OK;
    bool has_rate = false;
    for (size_t i = 0; i < config->n_callbacks && status == MST_OK; i++) {
        struct callback *callback = &callbacks->all[i];
        callback->job = &config->callbacks[i];
        callback->view.monitor = callback->job->monitor;
        callback->view.has_rate = has_rate;
        has_rate = has_rate || callback->job->kind == MST_CALLBACK_REDUCE_LR_ON_PLATEAU;
        if (callback->job->kind == MST_CALLBACK_MODEL_CHECKPOINT && callback->job->has_baseline) {
            callback->view.has_best = true; // of no epoch so far
            callback->view.best = callback->job->baseline;
            callback->view.best_epoch = MST_NO_EPOCH;
        }
        if (callback->job->monitor)
            status = find_monitor(config, i, callback, err);
        if (status == MST_OK && config->has_schedule && callback->job->kind == MST_CALLBACK_REDUCE_LR_ON_PLATEAU)
            status = mst_fail(err, MST_INVALID_ARGUMENT,
                              "callbacks[%zu]: ReduceLROnPlateau needs a learning_rate that is a number, that of "
                              "compile.optimizer is a schedule: use one of them",
                              i);
    }
    if (status != MST_OK) {
        mst_callbacks_free(callbacks);
        return status;
    }
    *out = callbacks;
    return MST_OK;
}

void mst_callbacks_free(struct mst_callbacks *callbacks)
{
    free(callbacks);
}

// ---- an epoch ----

static bool is_better(const struct callback *callback, double value, double than)
{
    double delta = fabs(callback->job->min_delta);
    return callback->is_less_better ? (float)(value + delta)<(float)than : (float)(value - delta)>(float) than;
}

static bool is_improvement(const struct callback *callback, double value)
{
    return !callback->view.has_best || is_better(callback, value, callback->view.best);
}

static void set_best(struct callback *callback, double value, uint64_t epoch)
{
    callback->view.has_best = true;
    callback->view.best = value;
    callback->view.best_epoch = epoch;
    callback->view.has_step = false;
}

// True: training stops.
static bool stop_early(struct callback *callback, double value, uint64_t epoch)
{
    const struct mst_job_callback *job = callback->job;
    if (epoch < job->start_from_epoch)
        return false;
    callback->view.wait++;
    if (is_improvement(callback, value)) {
        set_best(callback, value, epoch);
        if (!job->has_baseline || is_better(callback, value, job->baseline))
            callback->view.wait = 0;
        return false;
    }
    return callback->view.wait >= job->patience && epoch > 0;
}

static void reduce_rate(struct callback *callback, double value, uint64_t epoch, float *rate)
{
    const struct mst_job_callback *job = callback->job;
    if (callback->cooldown > 0) {
        callback->cooldown--;
        callback->view.wait = 0;
    }
    if (is_improvement(callback, value)) {
        set_best(callback, value, epoch);
        callback->view.wait = 0;
        return;
    }
    if (callback->cooldown > 0 || ++callback->view.wait < job->patience || *rate <= (float)job->min_lr)
        return;
    *rate = (float)fmax((double)*rate * job->factor, job->min_lr);
    callback->cooldown = job->cooldown;
    callback->view.wait = 0;
}

static bool find_value(const struct callback *callback, const struct mst_epoch_scores *known, double *out)
{
    const struct mst_scores *scores = callback->is_of_validation ? &known->validation : &known->train;
    *out = scores->is_known ? scores->values[callback->measure] : 0;
    return scores->is_known;
}

static void act(struct mst_callbacks *callbacks, size_t i, double value, uint64_t epoch,
                struct mst_callbacks_decision *out)
{
    struct callback *callback = &callbacks->all[i];
    if (callback->job->kind == MST_CALLBACK_REDUCE_LR_ON_PLATEAU) {
        reduce_rate(callback, value, epoch, &out->rate);
    } else if (callback->job->kind == MST_CALLBACK_MODEL_CHECKPOINT) {
        if (is_improvement(callback, value))
            set_best(callback, value, epoch);
    } else if (stop_early(callback, value, epoch) && !out->stops) {
        out->stops = true;
        out->stopped_by = i;
    }
}

void mst_callbacks_epoch(struct mst_callbacks *callbacks, const struct mst_epoch_scores *known, float rate,
                         struct mst_callbacks_decision *out)
{
    *out = (struct mst_callbacks_decision){.rate = rate};
    float logged = rate;
    if (callbacks->is_stopped)
        return;
    for (size_t i = 0; i < callbacks->config.n_callbacks; i++) {
        struct callback *callback = &callbacks->all[i];
        double value;
        if (callback->job->kind == MST_CALLBACK_REDUCE_LR_ON_PLATEAU)
            logged = out->rate;
        callback->view.rate = (double)logged;
        if (callback->job->monitor && find_value(callback, known, &value))
            act(callbacks, i, value, known->epoch, out); // each sees this epoch, also after one that stops, as in Keras
    }
    if (out->rate != rate) {
        callbacks->is_rate_set = true;
        callbacks->rate = out->rate;
    }
    if (out->stops) {
        callbacks->is_stopped = true;
        callbacks->stopped_by = out->stopped_by;
        callbacks->stopped_epoch = known->epoch;
    }
}

struct mst_callback_view mst_callbacks_view(const struct mst_callbacks *callbacks, size_t i)
{
    return callbacks->all[i].view;
}

bool mst_callbacks_stopped(const struct mst_callbacks *callbacks, size_t *by_out, uint64_t *epoch_out)
{
    *by_out = callbacks->stopped_by;
    *epoch_out = callbacks->stopped_epoch;
    return callbacks->is_stopped;
}

bool mst_callbacks_rate(const struct mst_callbacks *callbacks, float *out)
{
    *out = callbacks->rate;
    return callbacks->is_rate_set;
}

// ---- checkpoints of the best ----

bool mst_callback_keeps_best(const struct mst_job_callback *callback)
{
    return callback->kind == MST_CALLBACK_MODEL_CHECKPOINT || callback->restores_best;
}

void mst_callbacks_saved(struct mst_callbacks *callbacks, uint64_t epoch, uint64_t step)
{
    for (size_t i = 0; i < callbacks->config.n_callbacks; i++) {
        struct mst_callback_view *view = &callbacks->all[i].view;
        if (!view->has_best || view->best_epoch != epoch)
            continue;
        view->has_step = true;
        view->step = step;
    }
}

void mst_callbacks_not_saved(struct mst_callbacks *callbacks, uint64_t epoch)
{
    for (size_t i = 0; i < callbacks->config.n_callbacks; i++)
        if (callbacks->all[i].view.best_epoch == epoch)
            callbacks->all[i].view.has_step = false;
}

// ---- what is remembered ----

// All of the job's callbacks, so that numbers of others are told from ours.
static uint64_t hash_of(const struct mst_callbacks *callbacks)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < callbacks->config.n_callbacks; i++) {
        const struct mst_job_callback *job = callbacks->all[i].job;
        char *text =
            mst_text("%d %s %d %a %llu %d %a %llu %a %a %llu %d", (int)job->kind, job->monitor ? job->monitor : "",
                     (int)job->mode, job->min_delta, (unsigned long long)job->patience, (int)job->has_baseline,
                     job->baseline, (unsigned long long)job->start_from_epoch, job->factor, job->min_lr,
                     (unsigned long long)job->cooldown, (int)job->restores_best);
        hash = mst_hash_text(text, hash);
        free(text);
    }
    return hash;
}

enum {
    AT_HASH,
    AT_IS_STOPPED,
    AT_STOPPED_BY,
    AT_STOPPED_EPOCH,
    AT_IS_RATE_SET,
    AT_RATE,
    N_COMMON,
    AT_HAS_BEST = 0, // of each callback
    AT_BEST,
    AT_BEST_EPOCH,
    AT_WAIT,
    AT_COOLDOWN,
    AT_HAS_STEP,
    AT_STEP,
    N_EACH,
};

static int64_t bits_of(double value)
{
    int64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double real_of(int64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

size_t mst_callbacks_n_numbers(const struct mst_callbacks *callbacks)
{
    return N_COMMON + callbacks->config.n_callbacks * N_EACH;
}

void mst_callbacks_save(const struct mst_callbacks *callbacks, int64_t *numbers)
{
    numbers[AT_HASH] = (int64_t)hash_of(callbacks);
    numbers[AT_IS_STOPPED] = callbacks->is_stopped;
    numbers[AT_STOPPED_BY] = (int64_t)callbacks->stopped_by;
    numbers[AT_STOPPED_EPOCH] = (int64_t)callbacks->stopped_epoch;
    numbers[AT_IS_RATE_SET] = callbacks->is_rate_set;
    numbers[AT_RATE] = bits_of((double)callbacks->rate);
    for (size_t i = 0; i < callbacks->config.n_callbacks; i++) {
        const struct callback *callback = &callbacks->all[i];
        int64_t *own = numbers + N_COMMON + i * N_EACH;
        own[AT_HAS_BEST] = callback->view.has_best;
        own[AT_BEST] = bits_of(callback->view.best);
        own[AT_BEST_EPOCH] = (int64_t)callback->view.best_epoch;
        own[AT_WAIT] = (int64_t)callback->view.wait;
        own[AT_COOLDOWN] = (int64_t)callback->cooldown;
        own[AT_HAS_STEP] = callback->view.has_step;
        own[AT_STEP] = (int64_t)callback->view.step;
    }
}

bool mst_callbacks_restore(struct mst_callbacks *callbacks, const int64_t *numbers, size_t n)
{
    if (n != mst_callbacks_n_numbers(callbacks) || numbers[AT_HASH] != (int64_t)hash_of(callbacks) ||
        (uint64_t)numbers[AT_STOPPED_BY] >= callbacks->config.n_callbacks)
        return false;
    callbacks->is_stopped = numbers[AT_IS_STOPPED] != 0;
    callbacks->stopped_by = (size_t)numbers[AT_STOPPED_BY];
    callbacks->stopped_epoch = (uint64_t)numbers[AT_STOPPED_EPOCH];
    callbacks->is_rate_set = numbers[AT_IS_RATE_SET] != 0;
    callbacks->rate = (float)real_of(numbers[AT_RATE]);
    for (size_t i = 0; i < callbacks->config.n_callbacks; i++) {
        struct callback *callback = &callbacks->all[i];
        const int64_t *own = numbers + N_COMMON + i * N_EACH;
        callback->view.has_best = own[AT_HAS_BEST] != 0;
        callback->view.best = real_of(own[AT_BEST]);
        callback->view.best_epoch = (uint64_t)own[AT_BEST_EPOCH];
        callback->view.wait = (uint64_t)own[AT_WAIT];
        callback->cooldown = (uint64_t)own[AT_COOLDOWN];
        callback->view.has_step = own[AT_HAS_STEP] != 0;
        callback->view.step = (uint64_t)own[AT_STEP];
    }
    return true;
}
