/** @file
 *  Gradients of several batches made into one: their mean, each by its weight, summed in the order of the batches. The
 *  same bits as a synchronous round makes of the same batches from as many workers.
 *
 *      MST_TRY(mst_accumulator_new(model, &accumulator, err));
 *      mst_accumulator_begin(accumulator, n_batches);              // 1 … of the unit
 *      … for each batch: mst_accumulator_next(accumulator, weight), then for each variable:
 *      if (mst_accumulator_add(accumulator, variable, grad)) …     // grad is the mean now
 *      mst_accumulator_weight(accumulator)                         // of all its batches
 *
 *  A unit of one batch is taken as it is. Statistics for moving averages are averaged like gradients.
 *  Thread: one at a time.
 */
#pragma once

#include "model/model.h"
#include "muster/status.h"

#include <stdbool.h>
#include <stddef.h>

struct mst_accumulator;

/** New accumulator in *out, with room for one more gradient of every variable that is not frozen.
 *  Owner: borrows model until free
 *  Errors: RESOURCE_EXHAUSTED */
MST_MUST_USE mst_status mst_accumulator_new(const struct mst_model *model, struct mst_accumulator **out,
                                            struct mst_error *err);
/** Releases it; NULL is fine. */
void mst_accumulator_free(struct mst_accumulator *accumulator);
/** Forgets what was added. */
void mst_accumulator_begin(struct mst_accumulator *accumulator, size_t n_batches);
/** The gradients of the next batch come, with this weight. */
void mst_accumulator_next(struct mst_accumulator *accumulator, double weight);
/** Adds the gradient of a whole variable; once a batch for each. True if it was the last batch's: grad then holds the
 *  mean.
 *  Cost: the time that the memory takes; no allocation */
bool mst_accumulator_add(struct mst_accumulator *accumulator, size_t variable, float *grad);
/** Weight of all batches that have come. */
double mst_accumulator_weight(const struct mst_accumulator *accumulator);
