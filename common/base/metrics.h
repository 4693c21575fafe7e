/** @file
 *  Counters, gauges and histograms for /metrics. Hot paths add to a counter with one relaxed atomic; the text is built
 *  on read.
 *
 *      static struct mst_metric *pushes;      // at start:
 *      pushes = mst_metric_counter("muster_ps_pushes_total", "Pushes applied", NULL);
 *      mst_metric_add(pushes, 1);
 *
 *  Metrics live until the process ends. Names follow Prometheus: muster_<role>_<what>_<unit>[_total].
 */
#pragma once

#include "base/bytes.h"

#include <stddef.h>
#include <stdint.h>

struct mst_metric;

/** The counter of this name and labels (`bucket="0"`, or NULL), made on first use. Owner: borrowed, never freed.
 *  Thread: any (takes a lock; keep the pointer) */
struct mst_metric *mst_metric_counter(const char *name, const char *help, const char *labels);
/** The gauge of this name and labels. Thread: any (takes a lock; keep the pointer) */
struct mst_metric *mst_metric_gauge(const char *name, const char *help, const char *labels);
/** The histogram of this name and labels: how many observed values are at most limits[i], for each of the n_limits
 *  rising limits (copied), and how many there are. Thread: any (takes a lock; keep the pointer) */
struct mst_metric *mst_metric_histogram(const char *name, const char *help, const char *labels, const int64_t *limits,
                                        size_t n_limits);
/** Adds a value to a histogram. Thread: any, lock-free. Cost: O(n_limits) */
void mst_metric_observe(struct mst_metric *metric, int64_t value);
/** Adds to a counter or gauge. Thread: any, lock-free */
void mst_metric_add(struct mst_metric *metric, int64_t delta);
/** Sets a gauge. Thread: any, lock-free */
void mst_metric_set(struct mst_metric *metric, int64_t value);
/** Sets a gauge to a real number (seconds, loss); kept to six decimals. Thread: any, lock-free */
void mst_metric_set_real(struct mst_metric *metric, double value);
/** What it stands at (whole part); of a histogram, the sum of the values. Thread: any */
int64_t mst_metric_read(const struct mst_metric *metric);
/** Appends all metrics in Prometheus's text format 0.0.4, families grouped. Thread: any
 *  Errors: RESOURCE_EXHAUSTED the buffer's maximum */
MST_MUST_USE mst_status mst_metrics_print(struct mst_buf *out);
