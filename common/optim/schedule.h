/** @file
 *  Learning-rate schedules as Keras serialises them, computed in float32 in Keras's order of operations. Private to
 *  optim/.
 *  Thread: immutable after parse, so any.
 */
#pragma once

#include "muster/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MST_SCHEDULE_MAX_BOUNDARIES = 10000 };

enum mst_schedule_kind {
    MST_SCHEDULE_EXPONENTIAL,
    MST_SCHEDULE_INVERSE_TIME,
    MST_SCHEDULE_POLYNOMIAL,
    MST_SCHEDULE_COSINE,
    MST_SCHEDULE_COSINE_RESTARTS,
    MST_SCHEDULE_PIECEWISE,
    MST_N_SCHEDULES
};

/** Numbers are kept as Keras keeps them: Python floats, cast to float32 where they are used. */
struct mst_schedule {
    enum mst_schedule_kind kind;
    double initial;
    double decay_steps; // of restarts: first_decay_steps
    double decay_rate;
    bool staircase;
    double end; // polynomial
    double power;
    bool cycle;
    double alpha;         // cosine
    double warmup_target; // NaN: no warmup
    double warmup_steps;
    double t_mul; // restarts
    double m_mul;
    size_t n_boundaries; // piecewise
    double *boundaries;
    double *values; // n_boundaries + 1
};

struct mst_option;

/** The options, each with bits 1 << kind of the schedules that have it. */
const struct mst_option *mst_schedule_options(size_t *n_out);
/** Keras's class name of a kind. */
const char *mst_schedule_kind_name(enum mst_schedule_kind kind);
/** New schedule in *out from {"class_name", "config", "module", "registered_name"}.
 *  Owner:  borrows json and path, the place that errors begin with
 *  Errors: INVALID_ARGUMENT no schedule of Keras, an unknown key, a key that is missing, a value out of range */
MST_MUST_USE mst_status mst_schedule_parse(const json_t *json, const char *path, struct mst_schedule **out,
                                           struct mst_error *err);
/** Releases it; NULL is fine. */
void mst_schedule_free(struct mst_schedule *schedule);
/** The learning rate of the update after `iteration` others.
 *  Source: keras/src/optimizers/schedules/learning_rate_schedule.py; Loshchilov & Hutter 2016 (cosine) */
float mst_schedule_rate(const struct mst_schedule *schedule, uint64_t iteration);
/** New JSON object {"class_name", "config"}. Owner: the caller's (json_decref) */
json_t *mst_schedule_to_json(const struct mst_schedule *schedule);
