/** @file
 *  Counts of true and false positives and negatives at thresholds, and what Keras makes of them: Precision, AUC, ….
 *
 *      mst_confusion_add(compile, metric, &rows, sums);       // one pass over the batch
 *      value = mst_confusion_value(compile, metric, sums);    // of sums that were merged
 *
 *  Sums of T thresholds t_0 ≤ … and L labels (1 unless AUC keeps labels apart): first those of positive targets, then
 *  those of negative ones, each L times T + 1 weights of values by the number of thresholds that they are above. So one
 *  addition counts a value at all thresholds. Private to model/. Thread: any.
 *  Source: keras/src/metrics/metrics_utils.py and confusion_metrics.py
 */
#pragma once

#include "model/compile.h"

/** A batch. */
struct mst_confusion_rows {
    size_t n;
    size_t n_values;
    const float *values;  // (n, n_values)
    const float *targets; // (n, n_values): positive where not 0
    const float *weights; // (n), or NULL: all 1
};

/** True if a metric of this kind is one of confusion counts. */
bool mst_confusion_has(enum mst_metric_kind kind);
/** Number of its sums. */
size_t mst_confusion_n_sums(const struct mst_metric *metric);
/** Adds a batch to the metric's sums. Cost: one addition a value; top_k: k comparisons a value */
void mst_confusion_add(const struct mst_compile *compile, const struct mst_metric *metric,
                       const struct mst_confusion_rows *rows, double *sums);
/** What Keras reports of the metric's sums. */
double mst_confusion_value(const struct mst_metric *metric, const double *sums);
