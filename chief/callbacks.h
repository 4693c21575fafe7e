/** @file
 *  What the job's callbacks decide when all is known of an epoch, as Keras's do: whether training stops, the learning
 *  rate, which epoch is the best. Pure: the chief carries it out (chief/acting.c).
 *
 *      MST_TRY(mst_callbacks_new(&config, &callbacks, err));           // monitors exist and can be known
 *      mst_callbacks_epoch(callbacks, &known, rate, &decided);         // epochs in order, each once
 *      if (decided.stops) …
 *      mst_callbacks_free(callbacks);
 *
 *  An epoch of which the watched value is not known (its validation was skipped) is passed over, as Keras does with a
 *  warning. Once training is told to stop, nothing is decided any more. What is remembered can be taken out as numbers
 *  and put back, for a job that is resumed.
 *  Thread: one at a time.
 *  Source: keras/src/callbacks/{monitor_callback,early_stopping,reduce_lr_on_plateau,model_checkpoint}.py
 */
#pragma once

#include "chief/epoch_scores.h"
#include "spec/callback.h"

#define MST_NO_EPOCH         UINT64_MAX
#define MST_CALLBACKS_TENSOR "callbacks" // what is remembered, in a checkpoint

struct mst_callbacks;

/** Borrowed until free. */
struct mst_callbacks_config {
    const struct mst_job_callback *callbacks;
    size_t n_callbacks;
    const struct mst_compile *compile;
    bool is_validated; // each epoch is: data.eval is given and eval.every is "epoch"
    bool has_schedule; // the learning rate is a schedule's
};

/** What was decided about an epoch. */
struct mst_callbacks_decision {
    bool stops;
    size_t stopped_by; // the callback's place in the list
    float rate;        // from now on
};

/** What a callback that watches a value holds; epochs from 0. */
struct mst_callback_view {
    const char *monitor;
    bool has_best;
    double best;
    uint64_t best_epoch; // MST_NO_EPOCH: best is where it began
    bool has_step;       // the best epoch's checkpoint is there
    uint64_t step;       // … and is this one
    uint64_t wait;       // epochs in a row that were no better
    bool has_rate;       // a ReduceLROnPlateau stands before it in the list
    double rate;         // … and this is the learning_rate it wrote into the last epoch's logs
};

/** New callbacks in *out.
 *  Errors: INVALID_ARGUMENT a monitor that is not measured, not validated, or whose better direction is not known; the
 *          sentence begins with "callbacks[i]" */
MST_MUST_USE mst_status mst_callbacks_new(const struct mst_callbacks_config *config, struct mst_callbacks **out,
                                          struct mst_error *err);
/** Releases it; NULL is fine. */
void mst_callbacks_free(struct mst_callbacks *callbacks);
/** Tells all that is known of an epoch that is over; rate: the learning rate now. */
void mst_callbacks_epoch(struct mst_callbacks *callbacks, const struct mst_epoch_scores *known, float rate,
                         struct mst_callbacks_decision *out);
/** What callback i holds. Owner: borrowed from callbacks */
struct mst_callback_view mst_callbacks_view(const struct mst_callbacks *callbacks, size_t i);
/** True if the best epoch's checkpoint is to be kept for it. */
bool mst_callback_keeps_best(const struct mst_job_callback *callback);
/** The checkpoint of this step is the epoch's; whose best it is remembers that. */
void mst_callbacks_saved(struct mst_callbacks *callbacks, uint64_t epoch, uint64_t step);
/** The epoch has no checkpoint after all. */
void mst_callbacks_not_saved(struct mst_callbacks *callbacks, uint64_t epoch);
/** True once one has changed the learning rate, which is then in *out. */
bool mst_callbacks_rate(const struct mst_callbacks *callbacks, float *out);
/** How many numbers say what is remembered. */
size_t mst_callbacks_n_numbers(const struct mst_callbacks *callbacks);
/** Writes them. */
void mst_callbacks_save(const struct mst_callbacks *callbacks, int64_t *numbers);
/** Takes back what save wrote; false, and nothing is taken, if these are not the numbers of such callbacks. */
bool mst_callbacks_restore(struct mst_callbacks *callbacks, const int64_t *numbers, size_t n);
/** True once one has stopped the training; which and at the end of which epoch (from 0). */
bool mst_callbacks_stopped(const struct mst_callbacks *callbacks, size_t *by_out, uint64_t *epoch_out);
