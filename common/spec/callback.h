/** @file
 *  What a job says under `callbacks`: Keras's callbacks by class, with Keras's options and defaults.
 *
 *      for (size_t i = 0; i < job->n_callbacks; i++)
 *          if (job->callbacks[i].kind == MST_CALLBACK_EARLY_STOPPING) … job->callbacks[i].patience …
 *
 *  Options of other kinds are 0. Which monitors there are depends on compile, so chief/callbacks.h checks them.
 *  Thread: any.
 *  Source: keras/src/callbacks, its files
 */
#pragma once

#include "spec/schema.h"

enum mst_callback_kind {
    MST_CALLBACK_EARLY_STOPPING,
    MST_CALLBACK_REDUCE_LR_ON_PLATEAU,
    MST_CALLBACK_MODEL_CHECKPOINT,
    MST_CALLBACK_CSV_LOGGER,
    MST_CALLBACK_TERMINATE_ON_NAN,
    MST_CALLBACK_N_KINDS,
};

enum mst_monitor_mode { MST_MONITOR_AUTO, MST_MONITOR_MIN, MST_MONITOR_MAX };

enum { MST_CALLBACKS_MAX = 32 }; // in a job

/** One callback and its options. */
struct mst_job_callback {
    enum mst_callback_kind kind;
    char *monitor;
    enum mst_monitor_mode mode;
    double min_delta; // as given; Keras takes its absolute value
    uint64_t patience;
    bool has_baseline;
    double baseline;           // ModelCheckpoint: initial_value_threshold
    uint64_t start_from_epoch; // EarlyStopping
    bool restores_best;        // EarlyStopping
    double factor;             // ReduceLROnPlateau
    double min_lr;             // ReduceLROnPlateau
    uint64_t cooldown;         // ReduceLROnPlateau
    char *path;                // CSVLogger, ModelCheckpoint: absolute
    char separator;            // CSVLogger
    bool appends;              // CSVLogger
};

/** Keras's class name: "EarlyStopping". */
const char *mst_callback_name(enum mst_callback_kind kind);
/** The table of a callback's options; NULL: it is not built yet. */
const struct mst_schema *mst_callback_schema(enum mst_callback_kind kind);
