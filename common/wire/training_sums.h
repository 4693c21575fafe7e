/** @file
 *  What workers measure over batches and the chief adds up: sums, so that they merge exactly over a cluster.
 *
 *      mst_training_sums_add(&epoch, &ask.sums);
 *      loss = epoch.loss_sum / epoch.loss_weight;
 *
 *  Thread: any.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { MST_METRICS_MAX = 8 }; // metrics of one job

struct mst_training_sums {
    uint64_t steps;
    uint64_t examples;
    double loss_sum; // of example losses
    double loss_weight;
    double metric_sums[MST_METRICS_MAX];
    double metric_weights[MST_METRICS_MAX];
    uint64_t staleness_sum; // updates by others between a pull and the push it led to, over all steps
    uint64_t staleness_max;
};

/** Adds b to a. */
void mst_training_sums_add(struct mst_training_sums *a, const struct mst_training_sums *b);
/** Takes b, which a contains, off a; the maximum stays a's. */
void mst_training_sums_subtract(struct mst_training_sums *a, const struct mst_training_sums *b);
