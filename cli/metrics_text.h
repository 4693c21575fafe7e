/** @file
 *  A page of metrics in Prometheus's text format, read: how `muster top` knows what roles count.
 *
 *      struct mst_metrics_text metrics;
 *      mst_metrics_text_parse(body, &metrics);
 *      double steps = mst_metrics_text_sum(&metrics, "muster_worker_steps_total");   // over all labels; 0: none
 *      for (size_t i = 0; i < metrics.n; i++) …metrics.samples[i]…
 *      mst_metrics_text_fini(&metrics);
 *
 *  A line that is no sample is passed over: pages of other programs are read as far as they are understood.
 *  Source: prometheus.io, exposition formats, text format 0.0.4. Thread: any.
 */
#pragma once

#include "base/bytes.h"

#include <stdbool.h>

/** One line. Texts are the page's copy's. */
struct mst_metric_sample {
    const char *name;
    const char *labels; // what stands between the braces, "" without
    double value;
};

struct mst_metrics_text {
    char *text; // the page, cut into pieces
    struct mst_metric_sample *samples;
    size_t n;
};

/** Reads a page of any bytes. */
void mst_metrics_text_parse(struct mst_bytes page, struct mst_metrics_text *out);
/** The sum of a metric over its labels; 0 if it is not there. */
double mst_metrics_text_sum(const struct mst_metrics_text *metrics, const char *name);
/** Copies the value of a label, its escapes undone and what a terminal would obey made '?'; false if it has none. */
bool mst_metric_label(const struct mst_metric_sample *sample, const char *label, char *out, size_t out_bytes);
/** Releases it; zeroed is fine. */
void mst_metrics_text_fini(struct mst_metrics_text *metrics);
