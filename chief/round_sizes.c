// The largest close is made and measured, so that a field that it gets later counts, too.
#include "chief/round_sizes.h"

#include "base/alloc.h"
#include "wire/replica_sizes.h"

#include <stdlib.h>
#include <string.h>

static struct mst_training_sums largest_sums(size_t n_values, double *values)
{
    struct mst_training_sums sums = {.steps = UINT64_MAX,
                                     .examples = UINT64_MAX,
                                     .staleness_sum = UINT64_MAX,
                                     .staleness_max = UINT64_MAX,
                                     .n_values = n_values,
                                     .values = values};
    for (size_t i = 0; i < MST_STALENESS_BINS; i++)
        sums.staleness_counts[i] = UINT64_MAX;
    return sums;
}

static uint64_t largest_close(const struct mst_rounds_config *config)
{
    size_t n = config->n_workers;
    size_t n_tail = MST_DEAL_TAIL_MAX + n;
    uint64_t *numbers = mst_alloc_array(n_tail, sizeof *numbers);
    struct mst_msg_part *parts = mst_alloc_array(n, sizeof *parts);
    double *values = mst_alloc_array(config->n_sums, sizeof *values);
    memset(numbers, 0xff, n_tail * sizeof *numbers);
    for (size_t w = 0; w < n; w++)
        parts[w] = (struct mst_msg_part){UINT32_MAX, UINT64_MAX};
    const struct mst_msg_deal deal = {
        .epoch = UINT64_MAX, .k = UINT64_MAX, .n_tail = n_tail, .tail = numbers, .n_plan = n, .plan = parts};
    const struct mst_training_sums sums = largest_sums(config->n_sums, values);
    const struct mst_msg_close close = {.term = UINT64_MAX,
                                        .round = UINT64_MAX,
                                        .attempt = UINT64_MAX,
                                        .n_ins = n,
                                        .ins = numbers,
                                        .was = deal,
                                        .next = deal,
                                        .is_over = true,
                                        .n_steps = UINT64_MAX,
                                        .epoch_sums = sums,
                                        .total_sums = sums,
                                        .n_workers = UINT32_MAX,
                                        .n_units = UINT64_MAX,
                                        .n_worker_steps = n,
                                        .worker_steps = numbers,
                                        .epoch_sums_before = sums,
                                        .total_sums_before = sums};
    uint64_t n_bytes = mst_replica_close_bytes(&close);
    free(numbers);
    free(parts);
    free(values);
    return n_bytes;
}

mst_status mst_round_sizes_check(const struct mst_rounds_config *config, struct mst_error *err)
{
    const struct mst_clip *clip = &config->clip;
    const struct mst_replica_sizes sizes = {.n_workers = config->n_workers,
                                            .n_norms = clip->norm > 0 ? config->n_variables + 1
                                                                      : (size_t)(clip->global_norm > 0),
                                            .close_bytes = largest_close(config)};
    return mst_replica_sizes_check(&sizes, err);
}
