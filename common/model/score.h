/** @file
 *  F-scores and R²: sums over the columns of an output.
 *
 *      mst_score_add(metric, &rows, sums);
 *      value = mst_score_value(metric, sums);
 *
 *  Sums: for each of the output's values four: of an F-score true positives, false positives, false negatives and
 *  targets; of R² targets, their squares, squared errors and weights.
 *  Private to model/. Thread: any.
 *  Source: keras/src/metrics/f_score_metrics.py, regression_metrics.py
 */
#pragma once

#include "confusion.h"

/** True if a metric of this kind is one of these. */
bool mst_score_has(enum mst_metric_kind kind);
/** Number of its sums. */
size_t mst_score_n_sums(const struct mst_metric *metric);
/** Adds a batch to the metric's sums. */
void mst_score_add(const struct mst_metric *metric, const struct mst_confusion_rows *rows, double *sums);
/** What Keras reports of the metric's sums. */
double mst_score_value(const struct mst_metric *metric, const double *sums);
