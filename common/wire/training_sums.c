#include "wire/training_sums.h"

void mst_training_sums_add(struct mst_training_sums *a, const struct mst_training_sums *b)
{
    a->steps += b->steps;
    a->examples += b->examples;
    a->loss_sum += b->loss_sum;
    a->loss_weight += b->loss_weight;
    for (size_t i = 0; i < MST_METRICS_MAX; i++) {
        a->metric_sums[i] += b->metric_sums[i];
        a->metric_weights[i] += b->metric_weights[i];
    }
    a->staleness_sum += b->staleness_sum;
    if (a->staleness_max < b->staleness_max)
        a->staleness_max = b->staleness_max;
}

void mst_training_sums_subtract(struct mst_training_sums *a, const struct mst_training_sums *b)
{
    a->steps -= b->steps;
    a->examples -= b->examples;
    a->loss_sum -= b->loss_sum;
    a->loss_weight -= b->loss_weight;
    for (size_t i = 0; i < MST_METRICS_MAX; i++) {
        a->metric_sums[i] -= b->metric_sums[i];
        a->metric_weights[i] -= b->metric_weights[i];
    }
    a->staleness_sum -= b->staleness_sum;
}
