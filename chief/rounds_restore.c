// Where rounds go on from: the last close that servers have stored, a checkpoint's, or a number of steps alone.
#include "chief/rounds_private.h"

#include "base/error.h"

#include <string.h>

static mst_status check_close(const struct mst_rounds *rounds, const struct mst_msg_close *close, struct mst_error *err)
{
    size_t n_workers = close->n_workers;
    size_t n_sums = rounds->config.n_sums;
    bool is_ours = close->n_ins <= n_workers;
    for (size_t i = 0; is_ours && i < close->n_ins; i++)
        is_ours = close->ins[i] < n_workers && (i == 0 || close->ins[i - 1] < close->ins[i]);
    if (!is_ours)
        return mst_fail(err, MST_INVALID_ARGUMENT, "the close of round %llu names workers that a job of %zu has not",
                        (unsigned long long)close->round, n_workers);
    if (close->epoch_sums.n_values > n_sums || close->total_sums.n_values > n_sums ||
        close->epoch_sums_before.n_values > n_sums || close->total_sums_before.n_values > n_sums)
        return mst_fail(err, MST_INVALID_ARGUMENT, "the close of round %llu has %zu sums, and the job's measures %zu",
                        (unsigned long long)close->round, close->total_sums.n_values, n_sums);
    return MST_OK;
}

// The deals of a close.
static mst_status read_deals(struct mst_rounds *rounds, const struct mst_msg_close *close, struct mst_error *err)
{
    struct mst_deal_shape shape = mst_rounds_shape(&rounds->config);
    struct mst_deal_shape its_shape = {close->n_workers, shape.n_units, shape.n_epochs};
    struct mst_deal was = {0};
    struct mst_deal next = {0};
    mst_status status = mst_deal_read(&was, &its_shape, &close->was, err);
    if (status == MST_OK)
        status = mst_deal_read(&next, &its_shape, &close->next, err);
    if (status != MST_OK) {
        mst_deal_fini(&was);
        return status;
    }
    if (close->n_workers != shape.n_workers) {
        struct mst_deal its_next = next;
        mst_deal_anew(&next, &shape, &its_next, close->n_workers);
        mst_deal_fini(&its_next);
    }
    mst_deal_fini(&rounds->was);
    mst_deal_fini(&rounds->next);
    rounds->was = was;
    rounds->next = next;
    return MST_OK;
}

// A job that is resumed may have been given more epochs or steps than the one that made the checkpoint: it was over,
// and is not any more.
static void go_further(struct mst_rounds *rounds)
{
    struct mst_deal_shape shape = mst_rounds_shape(&rounds->config);
    uint64_t epoch = rounds->next.epoch;
    if (rounds->next.n_plan == 0 && epoch < shape.n_epochs) {
        mst_deal_fini(&rounds->next);
        mst_deal_at(&rounds->next, &shape, epoch, 0);
    }
    rounds->is_last = mst_rounds_is_trained(rounds, rounds->close_steps);
}

mst_status mst_rounds_restore(struct mst_rounds *rounds, const struct mst_msg_close *close, enum mst_rounds_start start,
                              struct mst_error *err)
{
    bool is_alike = close->n_workers == rounds->config.n_workers && close->n_units == rounds->config.n_units;
    if (!is_alike && start == MST_ROUNDS_REPEAT)
        return mst_fail(
            err, MST_INVALID_ARGUMENT,
            "the close of round %llu is of %u workers and %llu units an epoch, and this job's are %zu and %llu",
            (unsigned long long)close->round, close->n_workers, (unsigned long long)close->n_units,
            rounds->config.n_workers, (unsigned long long)rounds->config.n_units);
    if (close->n_units != rounds->config.n_units)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "it is of a job with %llu batches an epoch, this one has %llu: the data, batch_size or "
                        "accumulate_steps changed",
                        (unsigned long long)close->n_units, (unsigned long long)rounds->config.n_units);
    MST_TRY(check_close(rounds, close, err));
    MST_TRY(read_deals(rounds, close, err));
    rounds->close_term = close->term;
    rounds->close_round = close->round;
    rounds->close_attempt = close->attempt;
    rounds->n_ins = start == MST_ROUNDS_REPEAT ? close->n_ins : 0; // who was in what is applied is of no interest
    if (rounds->n_ins)
        memcpy(rounds->ins, close->ins, close->n_ins * sizeof *close->ins);
    rounds->is_last = close->is_over;
    rounds->close_steps = close->n_steps;
    if (start == MST_ROUNDS_APPLIED)
        go_further(rounds);
    mst_training_sums_copy(&rounds->epoch_sums, &close->epoch_sums);
    if (start ==
        MST_ROUNDS_REPEAT) { // what is applied is not taken back, and what was measured so far is another run's
        mst_training_sums_copy(&rounds->epoch_sums_before, &close->epoch_sums_before);
        mst_training_sums_copy(&rounds->total_sums, &close->total_sums);
        mst_training_sums_copy(&rounds->total_sums_before, &close->total_sums_before);
    }
    for (size_t w = 0; w < rounds->config.n_workers; w++)
        rounds->worker_steps[w] = start == MST_ROUNDS_REPEAT && w < close->n_worker_steps ? close->worker_steps[w] : 0;
    bool is_applied = start == MST_ROUNDS_APPLIED || close->round == 0;
    rounds->act_round = rounds->over_round = is_applied ? close->round : close->round - 1;
    rounds->n_told++;
    return MST_OK;
}

// All up to here is applied, and nothing was left out.
static void begin_at(struct mst_rounds *rounds, const struct mst_deal *next, uint64_t n_steps)
{
    mst_deal_fini(&rounds->was);
    mst_deal_fini(&rounds->next);
    rounds->next = *next;
    rounds->close_steps = n_steps;
    rounds->close_round = rounds->act_round = rounds->over_round = n_steps;
    rounds->is_last = mst_rounds_is_trained(rounds, n_steps);
    rounds->n_told++;
}

void mst_rounds_skip(struct mst_rounds *rounds, uint64_t n_steps)
{
    struct mst_deal_shape shape = mst_rounds_shape(&rounds->config);
    uint64_t n_regular = (shape.n_units - 1) / shape.n_workers + 1;
    uint64_t epoch = n_steps / n_regular < shape.n_epochs ? n_steps / n_regular : shape.n_epochs;
    struct mst_deal next;
    mst_deal_at(&next, &shape, epoch, n_steps % n_regular);
    begin_at(rounds, &next, n_steps);
    rounds->was.epoch = n_steps > 0 && n_steps % n_regular == 0 ? epoch - 1 : epoch;
}

void mst_rounds_skip_to(struct mst_rounds *rounds, uint64_t epoch, uint64_t unit, uint64_t n_steps)
{
    struct mst_deal_shape shape = mst_rounds_shape(&rounds->config);
    struct mst_deal_shape of_one = {1, shape.n_units, shape.n_epochs};
    struct mst_deal next;
    if (epoch > shape.n_epochs)
        epoch = shape.n_epochs;
    if (unit == 0) {
        mst_deal_at(&next, &shape, epoch, 0);
    } else { // as if one worker had come so far
        struct mst_deal before;
        mst_deal_at(&before, &of_one, epoch, unit);
        mst_deal_anew(&next, &shape, &before, 1);
        mst_deal_fini(&before);
    }
    begin_at(rounds, &next, n_steps);
    rounds->was.epoch = epoch > 0 && unit == 0 ? epoch - 1 : epoch;
}
