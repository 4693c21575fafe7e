#include "chief/report.h"

#include "base/alloc.h"
#include "tfio/disk_file.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static_assert((int)MST_COMPILE_MAX_SUMS <= (int)MST_SUMS_MAX, "what a job measures fits a message");

struct mst_scores mst_scores_of(const struct mst_compile *compile, const struct mst_training_sums *sums)
{
    struct mst_scores scores = {.is_known = sums->examples > 0};
    if (!scores.is_known)
        return scores;
    scores.n = mst_compile_n_measures(compile);
    for (size_t i = 0; i < scores.n; i++) {
        scores.names[i] = mst_measure_name(compile, i);
        scores.values[i] = mst_measure_value(compile, i, sums->values);
    }
    return scores;
}

// JSON has no NaN: a loss that is not a number is null.
static json_t *real_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *mst_scores_json(const struct mst_scores *scores)
{
    if (!scores->is_known)
        return json_null();
    json_t *object = json_object();
    for (size_t i = 0; i < scores->n; i++)
        json_object_set_new(object, scores->names[i], real_or_null(scores->values[i]));
    return object;
}

static json_t *roles_json(const struct mst_result *result)
{
    json_t *roles = json_array();
    for (size_t i = 0; i < result->n_roles; i++) {
        const struct mst_role_figures *role = &result->roles[i];
        json_t *object = json_pack("{s:s, s:I, s:f, s:I}", "role", role->role, "index", (json_int_t)role->index,
                                   "cpu_seconds", role->cpu_seconds, "max_rss_bytes", (json_int_t)role->max_rss_bytes);
        if (strcmp(role->role, "ps") == 0)
            json_object_set_new(object, "updates", json_integer((json_int_t)role->n_updates));
        else if (strcmp(role->role, "worker") == 0)
            json_object_set_new(object, "steps", json_integer((json_int_t)role->n_updates));
        json_array_append_new(roles, object);
    }
    return roles;
}

// counts has one more than limits: what is above the last.
static json_t *staleness_json(const struct mst_result *result)
{
    json_t *limits = json_array();
    json_t *counts = json_array();
    for (size_t i = 0; i < MST_STALENESS_BINS; i++) {
        if (i + 1 < MST_STALENESS_BINS)
            json_array_append_new(limits, json_integer((json_int_t)mst_staleness_bin_limit(i)));
        json_array_append_new(counts, json_integer((json_int_t)result->staleness_counts[i]));
    }
    return json_pack("{s:f, s:I, s:{s:o, s:o}}", "mean", result->staleness_mean, "max",
                     (json_int_t)result->staleness_max, "histogram", "limits", limits, "counts", counts);
}

json_t *mst_result_json(const struct mst_result *result)
{
    json_t *object =
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:f}", "name", result->name, "status", result->status, "steps",
                  (json_int_t)result->steps, "epochs", (json_int_t)result->epochs, "examples",
                  (json_int_t)result->examples, "seconds", result->seconds, "examples_per_second",
                  result->seconds > 0 ? (double)result->examples / result->seconds : 0, "first_step_seconds",
                  result->first_step_seconds);
    json_object_set_new(object, "train", mst_scores_json(&result->train));
    json_object_set_new(object, "eval", mst_scores_json(&result->eval));
    if (result->eval_warning)
        json_object_set_new(object, "warning", json_string(result->eval_warning));
    json_object_set_new(object, "roles", roles_json(result));
    json_object_set_new(object, "checkpoint", result->checkpoint ? json_string(result->checkpoint) : json_null());
    json_object_set_new(object, "checkpoints_failed", json_integer((json_int_t)result->n_checkpoints_failed));
    if (result->n_checkpoints_failed)
        json_object_set_new(object, "checkpoint_warning",
                            json_sprintf("%llu checkpoints could not be written, the last because %s",
                                         (unsigned long long)result->n_checkpoints_failed, result->checkpoint_failure));
    json_object_set_new(object, "model", result->model_dir ? json_string(result->model_dir) : json_null());
    json_object_set_new(object, "keras", result->archive ? json_string(result->archive) : json_null());
    if (result->archive_warning)
        json_object_set_new(object, "keras_warning", json_string(result->archive_warning));
    json_object_set_new(object, "blas_core", json_string(result->blas_core));
    json_object_set_new(object, "torn", json_integer((json_int_t)result->n_torn));
    json_object_set_new(object, "staleness", staleness_json(result));
    return object;
}

mst_status mst_result_write(const char *dir, const json_t *result, struct mst_error *err)
{
    char *path = mst_text("%s/%s", dir, MST_RESULT_FILE);
    char *temporary = mst_text("%s/.result.json.tmp", dir);
    char *json = json_dumps(result, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    char *text = mst_text("%s\n", json);
    mst_status status = mst_disk_write(temporary, (struct mst_bytes){text, strlen(text)}, err);
    if (status == MST_OK)
        status = mst_disk_rename(temporary, path, err);
    free(text);
    free(json);
    free(temporary);
    free(path);
    return status;
}

void mst_progress_write(int fd, const char *event, json_t *fields)
{
    json_t *line = json_pack("{s:s}", "event", event);
    json_object_update(line, fields);
    json_decref(fields);
    if (fd >= 0) {
        char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9));
        char *whole = mst_text("%s\n", text);
        ssize_t written = write(fd, whole, strlen(whole));
        (void)written; // SIGPIPE is ignored by the process; who does not listen misses it
        free(whole);
        free(text);
    }
    json_decref(line);
}
