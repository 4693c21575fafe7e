// The largest messages are made and measured, so that a field that they get later counts, too.
#include "chief/round_sizes.h"

#include "base/alloc.h"
#include "base/error.h"
#include "chief/chief_state.h"
#include "wire/frame.h"
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

// All that the largest close borrows.
struct largest {
    uint64_t *numbers;
    struct mst_msg_part *parts;
    double *values;
    struct mst_msg_close close;
};

static void largest_init(struct largest *largest, const struct mst_rounds_config *config)
{
    size_t n = config->n_workers;
    size_t n_tail = MST_DEAL_TAIL_MAX + n;
    largest->numbers = mst_alloc_array(n_tail, sizeof *largest->numbers);
    largest->parts = mst_alloc_array(n, sizeof *largest->parts);
    largest->values = mst_alloc_array(config->n_sums, sizeof *largest->values);
    memset(largest->numbers, 0xff, n_tail * sizeof *largest->numbers);
    for (size_t w = 0; w < n; w++)
        largest->parts[w] = (struct mst_msg_part){UINT32_MAX, UINT64_MAX};
    const struct mst_msg_deal deal = {.epoch = UINT64_MAX,
                                      .k = UINT64_MAX,
                                      .n_tail = n_tail,
                                      .tail = largest->numbers,
                                      .n_plan = n,
                                      .plan = largest->parts};
    const struct mst_training_sums sums = largest_sums(config->n_sums, largest->values);
    largest->close = (struct mst_msg_close){.term = UINT64_MAX,
                                            .round = UINT64_MAX,
                                            .attempt = UINT64_MAX,
                                            .n_ins = n,
                                            .ins = largest->numbers,
                                            .was = deal,
                                            .next = deal,
                                            .is_over = true,
                                            .n_steps = UINT64_MAX,
                                            .epoch_sums = sums,
                                            .total_sums = sums,
                                            .n_workers = UINT32_MAX,
                                            .n_units = UINT64_MAX,
                                            .n_worker_steps = n,
                                            .worker_steps = largest->numbers,
                                            .epoch_sums_before = sums,
                                            .total_sums_before = sums};
}

static void largest_fini(struct largest *largest)
{
    free(largest->numbers);
    free(largest->parts);
    free(largest->values);
}

static size_t n_norms(const struct mst_rounds_config *config)
{
    return config->clip.norm > 0 ? config->n_variables + 1 : (size_t)(config->clip.global_norm > 0);
}

static uint64_t round_bytes(const struct mst_rounds_config *config)
{
    struct largest largest;
    struct mst_buf buf;
    largest_init(&largest, config);
    double *scales = mst_alloc_array(n_norms(config), sizeof *scales);
    const struct mst_msg_round round = {.term = UINT64_MAX,
                                        .known = UINT64_MAX,
                                        .has_close = true,
                                        .close = largest.close,
                                        .act_round = UINT64_MAX,
                                        .n_scales = n_norms(config),
                                        .scales = scales,
                                        .n_wanted = UINT32_MAX,
                                        .group = UINT32_MAX};
    mst_buf_init(&buf, SIZE_MAX / 4);
    uint64_t n_bytes = mst_msg_round_encode(&round, &buf) == MST_OK ? buf.len : UINT64_MAX;
    mst_buf_fini(&buf);
    free(scales);
    largest_fini(&largest);
    return n_bytes;
}

static uint64_t bytes_of(const struct mst_msg_round_reply *reply)
{
    struct mst_buf buf;
    mst_buf_init(&buf, SIZE_MAX / 4);
    mst_status status = mst_msg_round_reply_encode(reply, &buf);
    MST_ASSERT(status == MST_OK); // of one element
    uint64_t n_bytes = buf.len;
    mst_buf_fini(&buf);
    return n_bytes;
}

// Without what a state leaves out where it is too large.
static uint64_t state_bytes(const struct mst_rounds_config *config)
{
    struct largest largest;
    largest_init(&largest, config);
    const struct mst_msg_member member = {UINT32_MAX, UINT64_MAX, UINT64_MAX};
    uint64_t n_bytes =
        mst_chief_state_own_bytes(config->n_ps) +
        config->n_workers * mst_chief_state_bytes(&(struct mst_msg_chief_state){.n_members = 1, .members = &member}) +
        mst_chief_state_bytes(&(struct mst_msg_chief_state){.has_close = true, .close = largest.close});
    largest_fini(&largest);
    return n_bytes;
}

// Elements of a list are as large alone as among others.
static uint64_t reply_bytes(const struct mst_rounds_config *config)
{
    double *values = mst_alloc_array(config->n_sums, sizeof *values);
    const struct mst_msg_arrival arrival = {.worker = UINT32_MAX,
                                            .number = UINT64_MAX,
                                            .unit = UINT64_MAX,
                                            .weight = 1,
                                            .has_sums = true,
                                            .sums = largest_sums(config->n_sums, values)};
    const struct mst_msg_square_norm norm = {UINT32_MAX, UINT64_MAX, UINT64_MAX, true};
    struct mst_msg_round_reply reply = {.status = UINT64_MAX,
                                        .stored_round = UINT64_MAX,
                                        .stored_attempt = UINT64_MAX,
                                        .applied_round = UINT64_MAX,
                                        .arrivals = &arrival,
                                        .norms = &norm,
                                        .has_begun = true};
    uint64_t n_own = bytes_of(&reply);
    reply.n_arrivals = 1;
    uint64_t n_arrival = bytes_of(&reply) - n_own;
    reply.n_arrivals = 0;
    reply.n_norms = 1;
    uint64_t n_norm = bytes_of(&reply) - n_own;
    free(values);
    return n_own + config->n_workers * n_arrival + n_norms(config) * n_norm;
}

static mst_status check_state(const struct mst_rounds_config *config, struct mst_error *err)
{
    uint64_t n_bytes = state_bytes(config);
    if (n_bytes <= MST_CHIEF_STATE_MAX)
        return MST_OK;
    return mst_fail(err, MST_INVALID_ARGUMENT,
                    "consistency.workers: what a later chief has to know of synchronous rounds of %zu workers, with "
                    "%zu sums each (compile.metrics), may take %llu bytes, over the limit of %u: use fewer workers or "
                    "metrics, or a consistency.staleness above 0",
                    config->n_workers, config->n_sums, (unsigned long long)n_bytes, MST_CHIEF_STATE_MAX);
}

mst_status mst_round_sizes_check(const struct mst_rounds_config *config, struct mst_error *err)
{
    uint64_t n_round = round_bytes(config);
    uint64_t n_reply = reply_bytes(config);
    uint64_t n_bytes = n_round > n_reply ? n_round : n_reply;
    if (n_bytes <= MST_FRAME_META_MAX)
        return check_state(config, err);
    return mst_fail(err, MST_INVALID_ARGUMENT,
                    "consistency.workers: a message about a synchronous round of %zu workers, with %zu sums each "
                    "(compile.metrics) and norms of %zu groups (clipping), may take %llu bytes, over the limit of %u: "
                    "use fewer workers, metrics or clipped variables, or a consistency.staleness above 0",
                    config->n_workers, config->n_sums, n_norms(config), (unsigned long long)n_bytes,
                    MST_FRAME_META_MAX);
}

mst_status mst_round_sizes_check_replicas(const struct mst_rounds_config *config, struct mst_error *err)
{
    struct largest largest;
    largest_init(&largest, config);
    const struct mst_replica_sizes sizes = {.n_workers = config->n_workers,
                                            .n_norms = n_norms(config),
                                            .close_bytes = mst_replica_close_bytes(&largest.close)};
    largest_fini(&largest);
    return mst_replica_sizes_check(&sizes, err);
}
