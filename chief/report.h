/** @file
 *  What a job tells the outside: result.json (DESIGN §2) and the progress lines on --progress-fd, one JSON object a
 *  line.
 *
 *      mst_progress_write(fd, "progress", fields);        // steals fields
 *      MST_TRY(mst_result_write(dir, &result, err));      // result.json, whole or not at all
 *
 *  Thread: one at a time.
 */
#pragma once

#include "chief/coordinator.h"
#include "model/compile.h"
#include "muster/status.h"

#include <jansson.h>

/** Figures of one process, for "roles". */
struct mst_role_figures {
    const char *role;
    uint32_t index;
    double cpu_seconds;
    uint64_t max_rss_bytes;
    uint64_t n_updates; // ps: applied; worker: steps trained
};

/** Loss and metrics over some examples, as Keras reports them; the loss comes first. */
struct mst_scores {
    bool is_known;
    size_t n;
    const char *names[MST_MEASURES_MAX]; // borrowed from the job's compile
    double values[MST_MEASURES_MAX];
};

#define MST_RESULT_FILE "result.json" // in output.dir

/** All that result.json says. Borrowed pointers. */
struct mst_result {
    const char *name;
    const char *status; // "finished"
    uint64_t steps;
    uint64_t examples;
    uint64_t epochs;
    double seconds;
    double first_step_seconds;
    struct mst_scores train; // over the last epoch
    struct mst_scores eval;
    const char *eval_warning; // why there is no eval, or NULL
    const struct mst_role_figures *roles;
    size_t n_roles;
    const char *checkpoint; // prefix, or NULL
    uint64_t n_checkpoints_failed;
    const char *checkpoint_failure; // why, of the last of them
    const char *model_dir;
    const char *archive;         // for Keras, or NULL
    const char *archive_warning; // why there is none, or NULL: none was wanted
    const char *blas_core;       // OpenBLAS's core type: bits of GEMMs depend on it
    uint64_t n_torn;
    double staleness_mean;
    uint64_t staleness_max;
    const uint64_t *staleness_counts; // MST_STALENESS_BINS
};

/** Scores from sums of what compile measures. */
struct mst_scores mst_scores_of(const struct mst_compile *compile, const struct mst_training_sums *sums);
/** New object with the scores by name; null when they are not known. */
json_t *mst_scores_json(const struct mst_scores *scores);
/** New object, all of result.json. */
json_t *mst_result_json(const struct mst_result *result);
/** Writes dir/result.json by way of a temporary name. Errors: UNAVAILABLE names path and cause */
MST_MUST_USE mst_status mst_result_write(const char *dir, const json_t *result, struct mst_error *err);
/** Writes {"event": event, fields…} as one line to fd; nothing if fd is -1. A reader that is gone is no error.
 *  Owner: steals fields */
void mst_progress_write(int fd, const char *event, json_t *fields);
