// The last close is all the state there is that must not be lost: every PS stores it before it is acted on, and a chief
// that starts goes on from the highest. What the PSs report is only looked at, never remembered beyond the next report,
// so that a repeated or a lost one changes nothing.
#include "chief/rounds.h"

#include "base/alloc.h"
#include "base/error.h"
#include "optim/square_norm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A contribution as a PS reports it.
struct arrival {
    bool is_here;
    uint64_t unit;
};

struct mst_rounds_ps {
    bool is_idle; // it holds nothing that is pushed
    bool is_away;
    bool is_fresh; // back, and it has not said yet that it took the last close as applied
    bool has_reported;
    uint64_t status; // of its last report
    uint64_t stored_round;
    uint64_t stored_attempt;
    uint64_t applied_round;
    struct arrival *arrivals;      // by worker, of round applied_round + 1
    struct mst_square_norm *norms; // by group, of stored_round
};

struct mst_rounds_seat {
    enum mst_round_worker state;
    uint64_t sums_round;           // of which round sums are
    struct mst_training_sums sums; // of its contribution
};

static struct mst_deal_shape shape_of(const struct mst_rounds_config *config)
{
    return (struct mst_deal_shape){config->n_workers, config->n_units, config->n_epochs};
}

static size_t n_groups(const struct mst_rounds *rounds)
{
    const struct mst_clip *clip = &rounds->config.clip;
    return clip->norm > 0 ? rounds->config.n_variables + 1 : clip->global_norm > 0 ? 1 : 0;
}

// ---- lifecycle ----

void mst_rounds_init(struct mst_rounds *rounds, const struct mst_rounds_config *config)
{
    MST_ASSERT(config->n_workers > 0 && config->n_units > 0 && config->n_epochs > 0);
    *rounds = (struct mst_rounds){.config = *config, .n_told = 1};
    struct mst_deal_shape shape = shape_of(config);
    rounds->ins = mst_alloc_array(config->n_workers, sizeof *rounds->ins);
    rounds->worker_steps = mst_alloc_array(config->n_workers, sizeof *rounds->worker_steps);
    rounds->scales = mst_alloc_array(n_groups(rounds) + 1, sizeof *rounds->scales);
    rounds->ps = mst_alloc_array(config->n_ps, sizeof *rounds->ps);
    rounds->seats = mst_alloc_array(config->n_workers, sizeof *rounds->seats);
    for (size_t i = 0; i < config->n_ps; i++) {
        rounds->ps[i].arrivals = mst_alloc_array(config->n_workers, sizeof *rounds->ps[i].arrivals);
        rounds->ps[i].norms = mst_alloc_array(n_groups(rounds) + 1, sizeof *rounds->ps[i].norms);
    }
    for (size_t w = 0; w < config->n_workers; w++)
        mst_training_sums_init(&rounds->seats[w].sums, config->n_sums);
    mst_training_sums_init(&rounds->epoch_sums, config->n_sums);
    mst_training_sums_init(&rounds->total_sums, config->n_sums);
    mst_deal_at(&rounds->next, &shape, 0, 0);
}

void mst_rounds_fini(struct mst_rounds *rounds)
{
    for (size_t i = 0; i < rounds->config.n_ps; i++) {
        free(rounds->ps[i].arrivals);
        free(rounds->ps[i].norms);
    }
    for (size_t w = 0; w < rounds->config.n_workers; w++)
        mst_training_sums_fini(&rounds->seats[w].sums);
    mst_training_sums_fini(&rounds->epoch_sums);
    mst_training_sums_fini(&rounds->total_sums);
    mst_deal_fini(&rounds->was);
    mst_deal_fini(&rounds->next);
    free(rounds->ins);
    free(rounds->worker_steps);
    free(rounds->scales);
    free(rounds->ps);
    free(rounds->seats);
    *rounds = (struct mst_rounds){0};
}

// Nothing is left to train after so many steps.
static bool is_last(const struct mst_rounds *rounds, uint64_t n_steps)
{
    return rounds->next.n_plan == 0 || (rounds->config.max_steps && n_steps >= rounds->config.max_steps);
}

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
    if (close->epoch_sums.n_values > n_sums || close->total_sums.n_values > n_sums)
        return mst_fail(err, MST_INVALID_ARGUMENT, "the close of round %llu has %zu sums, and the job's measures %zu",
                        (unsigned long long)close->round, close->total_sums.n_values, n_sums);
    return MST_OK;
}

// The deals of a close.
static mst_status read_deals(struct mst_rounds *rounds, const struct mst_msg_close *close, struct mst_error *err)
{
    struct mst_deal_shape shape = shape_of(&rounds->config);
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
    struct mst_deal_shape shape = shape_of(&rounds->config);
    uint64_t epoch = rounds->next.epoch;
    if (rounds->next.n_plan == 0 && epoch < shape.n_epochs) {
        mst_deal_fini(&rounds->next);
        mst_deal_at(&rounds->next, &shape, epoch, 0);
    }
    rounds->is_last = is_last(rounds, rounds->close_steps);
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
    MST_TRY(check_close(rounds, close, err));
    if (close->n_units != rounds->config.n_units) {
        mst_rounds_skip(rounds, close->n_steps);
        return MST_OK;
    }
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
    if (start == MST_ROUNDS_REPEAT)
        mst_training_sums_copy(&rounds->total_sums, &close->total_sums);
    for (size_t w = 0; w < rounds->config.n_workers; w++)
        rounds->worker_steps[w] = start == MST_ROUNDS_REPEAT && w < close->n_worker_steps ? close->worker_steps[w] : 0;
    bool is_applied = start == MST_ROUNDS_APPLIED || close->round == 0;
    rounds->act_round = rounds->over_round = is_applied ? close->round : close->round - 1;
    rounds->n_told++;
    return MST_OK;
}

void mst_rounds_skip(struct mst_rounds *rounds, uint64_t n_steps)
{
    struct mst_deal_shape shape = shape_of(&rounds->config);
    uint64_t n_regular = (shape.n_units - 1) / shape.n_workers + 1;
    uint64_t epoch = n_steps / n_regular < shape.n_epochs ? n_steps / n_regular : shape.n_epochs;
    mst_deal_fini(&rounds->was);
    mst_deal_fini(&rounds->next);
    mst_deal_at(&rounds->next, &shape, epoch, n_steps % n_regular);
    rounds->was.epoch = n_steps > 0 && n_steps % n_regular == 0 ? epoch - 1 : epoch;
    rounds->close_steps = n_steps;
    rounds->close_round = rounds->act_round = rounds->over_round = n_steps;
    rounds->is_last = is_last(rounds, n_steps);
    rounds->n_told++;
}

// ---- what happens ----

void mst_rounds_set_term(struct mst_rounds *rounds, uint64_t term)
{
    rounds->n_told += rounds->term != term;
    rounds->term = term;
}

void mst_rounds_set_worker(struct mst_rounds *rounds, size_t worker, enum mst_round_worker state)
{
    if (worker >= rounds->config.n_workers)
        return;
    struct mst_rounds_seat *seat = &rounds->seats[worker];
    // Another number of arrivals is waited for from now on, and PSs do not tell of fewer than they were told.
    rounds->n_told += (state == MST_ROUND_WORKER_GONE) != (seat->state == MST_ROUND_WORKER_GONE);
    seat->state = state;
}

static void take_arrivals(struct mst_rounds *rounds, struct mst_rounds_ps *ps, const struct mst_msg_round_reply *reply)
{
    for (size_t w = 0; w < rounds->config.n_workers; w++)
        ps->arrivals[w].is_here = false;
    for (size_t i = 0; i < reply->n_arrivals; i++) {
        const struct mst_msg_arrival *from = &reply->arrivals[i];
        if (from->worker >= rounds->config.n_workers)
            continue;
        ps->arrivals[from->worker] = (struct arrival){true, from->unit};
        if (!from->has_sums || from->sums.n_values > rounds->config.n_sums)
            continue;
        struct mst_rounds_seat *seat = &rounds->seats[from->worker];
        seat->sums_round = reply->applied_round + 1;
        mst_training_sums_copy(&seat->sums, &from->sums);
    }
}

static void take_norms(const struct mst_rounds *rounds, struct mst_rounds_ps *ps,
                       const struct mst_msg_round_reply *reply)
{
    size_t n = n_groups(rounds);
    for (size_t g = 0; g < n; g++)
        ps->norms[g] = (struct mst_square_norm){0};
    for (size_t i = 0; i < reply->n_norms; i++) {
        const struct mst_msg_square_norm *from = &reply->norms[i];
        struct mst_square_norm norm = {from->hi, from->lo, from->is_infinite};
        if (from->group < n)
            mst_square_norm_join(&ps->norms[from->group], &norm);
    }
}

void mst_rounds_ps_idle(struct mst_rounds *rounds, size_t ps)
{
    rounds->ps[ps].is_idle = true;
}

void mst_rounds_report(struct mst_rounds *rounds, size_t ps_index, const struct mst_msg_round_reply *reply)
{
    struct mst_rounds_ps *ps = &rounds->ps[ps_index];
    if (ps->is_away || (ps->has_reported && reply->status <= ps->status))
        return;
    // Of another chief's, or of a PS that has not seen the base yet.
    if (reply->stored_round > rounds->close_round || reply->applied_round > rounds->close_round)
        return;
    ps->has_reported = true;
    ps->status = reply->status;
    ps->stored_round = reply->stored_round;
    ps->stored_attempt = reply->stored_attempt;
    ps->applied_round = reply->applied_round;
    ps->is_fresh = ps->is_fresh && reply->applied_round < rounds->close_round;
    take_arrivals(rounds, ps, reply);
    take_norms(rounds, ps, reply);
}

void mst_rounds_ps_lost(struct mst_rounds *rounds, size_t ps)
{
    rounds->ps[ps].is_away = true;
}

bool mst_rounds_is_away(const struct mst_rounds *rounds, size_t ps)
{
    return rounds->ps[ps].is_away;
}

void mst_rounds_ps_back(struct mst_rounds *rounds, size_t ps)
{
    struct arrival *arrivals = rounds->ps[ps].arrivals;
    struct mst_square_norm *norms = rounds->ps[ps].norms;
    bool is_idle = rounds->ps[ps].is_idle;
    rounds->ps[ps] = (struct mst_rounds_ps){.is_idle = is_idle, .is_fresh = true, .arrivals = arrivals, .norms = norms};
    memset(arrivals, 0, rounds->config.n_workers * sizeof *arrivals);
    rounds->n_told++;
}

void mst_rounds_pause(struct mst_rounds *rounds)
{
    rounds->n_pauses++;
}

void mst_rounds_resume(struct mst_rounds *rounds)
{
    MST_ASSERT(rounds->n_pauses > 0);
    rounds->n_pauses--;
}

void mst_rounds_stop(struct mst_rounds *rounds)
{
    rounds->is_stopped = true;
}

// ---- decisions ----

static bool has_stored(const struct mst_rounds *rounds, const struct mst_rounds_ps *ps)
{
    return ps->has_reported && ps->stored_round == rounds->close_round && ps->stored_attempt == rounds->close_attempt;
}

static bool has_applied(const struct mst_rounds *rounds, const struct mst_rounds_ps *ps)
{
    return ps->has_reported && ps->applied_round == rounds->close_round;
}

// True if every PS that is there fulfils it, and there is one.
static bool all_ps(const struct mst_rounds *rounds,
                   bool (*fulfils)(const struct mst_rounds *rounds, const struct mst_rounds_ps *ps))
{
    size_t n_there = 0;
    for (size_t i = 0; i < rounds->config.n_ps; i++) {
        if (rounds->ps[i].is_away)
            continue;
        if (!fulfils(rounds, &rounds->ps[i]))
            return false;
        n_there++;
    }
    return n_there > 0;
}

// A PS that came back alone knows nothing of the last round; its part of the norm is lost with its contributions.
static bool has_stored_or_is_fresh(const struct mst_rounds *rounds, const struct mst_rounds_ps *ps)
{
    return ps->is_fresh || has_stored(rounds, ps);
}

static void set_scales(struct mst_rounds *rounds)
{
    const struct mst_clip *clip = &rounds->config.clip;
    double limit = clip->norm > 0 ? clip->norm : clip->global_norm;
    rounds->n_scales = rounds->n_ins ? n_groups(rounds) : 0;
    for (size_t g = 0; g < rounds->n_scales; g++) {
        struct mst_square_norm norm = {0};
        for (size_t i = 0; i < rounds->config.n_ps; i++)
            if (!rounds->ps[i].is_away && !rounds->ps[i].is_fresh)
                mst_square_norm_join(&norm, &rounds->ps[i].norms[g]);
        rounds->scales[g] = (double)mst_clip_global_scale(limit, mst_square_norm_value(&norm));
    }
}

// The workers of the next round's plan that are to be waited for.
static size_t n_expected(const struct mst_rounds *rounds)
{
    size_t n = 0;
    for (size_t i = 0; i < rounds->next.n_plan; i++)
        n += rounds->seats[rounds->next.plan[i].worker].state != MST_ROUND_WORKER_GONE;
    return n;
}

// The fewest contributions that the next round can be closed with.
static size_t n_least(const struct mst_rounds *rounds)
{
    size_t expected = n_expected(rounds);
    return expected > rounds->config.n_backup ? expected - rounds->config.n_backup : expected > 0;
}

// A contribution that a round can be closed with: there, and the unit that was dealt, on every PS.
static bool is_everywhere(const struct mst_rounds *rounds, const struct mst_msg_part *part)
{
    for (size_t i = 0; i < rounds->config.n_ps; i++) {
        const struct mst_rounds_ps *ps = &rounds->ps[i];
        if (ps->is_away || ps->is_idle)
            continue;
        if (!has_applied(rounds, ps) || !ps->arrivals[part->worker].is_here ||
            ps->arrivals[part->worker].unit != part->unit)
            return false;
    }
    return true;
}

static bool is_anybody_living(const struct mst_rounds *rounds)
{
    for (size_t w = 0; w < rounds->config.n_workers; w++)
        if (rounds->seats[w].state == MST_ROUND_WORKER_LIVE)
            return true;
    return false;
}

static void add_sums(struct mst_rounds *rounds)
{
    if (rounds->next.epoch != rounds->was.epoch)
        mst_training_sums_clear(&rounds->epoch_sums);
    for (size_t i = 0; i < rounds->n_ins; i++) {
        const struct mst_rounds_seat *seat = &rounds->seats[rounds->ins[i]];
        if (seat->sums_round != rounds->close_round)
            continue;
        mst_training_sums_add(&rounds->epoch_sums, &seat->sums);
        mst_training_sums_add(&rounds->total_sums, &seat->sums);
    }
}

// Closes the next round with rounds->ins, which is set.
static void close_round(struct mst_rounds *rounds)
{
    struct mst_deal_shape shape = shape_of(&rounds->config);
    bool *is_in = mst_alloc_array(rounds->config.n_workers, sizeof *is_in);
    bool *is_living = mst_alloc_array(rounds->config.n_workers, sizeof *is_living);
    for (size_t i = 0; i < rounds->n_ins; i++) {
        is_in[rounds->ins[i]] = true;
        rounds->worker_steps[rounds->ins[i]]++;
    }
    for (size_t w = 0; w < rounds->config.n_workers; w++)
        is_living[w] = rounds->seats[w].state == MST_ROUND_WORKER_LIVE;
    rounds->close_term = rounds->term;
    rounds->close_round++;
    rounds->close_attempt = 0;
    rounds->close_steps += rounds->n_ins > 0;
    rounds->n_left_out += rounds->next.n_plan - rounds->n_ins;
    rounds->n_empty += rounds->n_ins == 0;
    rounds->n_scales = 0;
    add_sums(rounds);
    mst_deal_fini(&rounds->was);
    rounds->was = rounds->next;
    mst_deal_next(&rounds->next, &shape, &rounds->was, is_in, is_living);
    rounds->is_last = rounds->is_stopped || is_last(rounds, rounds->close_steps);
    rounds->n_told++;
    free(is_in);
    free(is_living);
}

// What was contributed to the next round is gone with a PS, and the sums of bucket 0 with it. Workers have kept it all
// and send it again when the PS is back; nobody could go on before that anyway.
static bool is_any_contribution_lost(const struct mst_rounds *rounds)
{
    for (size_t i = 0; i < rounds->config.n_ps; i++)
        if (rounds->ps[i].is_away && !rounds->ps[i].is_idle)
            return true;
    return false;
}

static bool try_close(struct mst_rounds *rounds)
{
    if (rounds->is_last || rounds->n_pauses || is_any_contribution_lost(rounds) || !all_ps(rounds, has_applied))
        return false;
    if (rounds->is_stopped) {
        rounds->n_ins = 0;
        close_round(rounds);
        return true;
    }
    size_t n_here = 0;
    for (size_t i = 0; i < rounds->next.n_plan; i++)
        n_here += is_everywhere(rounds, &rounds->next.plan[i]);
    if (n_here < n_least(rounds) || !is_anybody_living(rounds))
        return false;
    rounds->n_ins = 0;
    for (size_t i = 0; i < rounds->next.n_plan; i++)
        if (is_everywhere(rounds, &rounds->next.plan[i]))
            rounds->ins[rounds->n_ins++] = rounds->next.plan[i].worker;
    close_round(rounds);
    return true;
}

// The epoch of the last close is whole: the next round is of another, or `steps` ends the job within it.
static bool is_epoch_whole(const struct mst_rounds *rounds)
{
    return rounds->close_round > 0 && (rounds->next.epoch > rounds->was.epoch ||
                                       (rounds->config.max_steps && rounds->close_steps >= rounds->config.max_steps));
}

bool mst_rounds_advance(struct mst_rounds *rounds)
{
    if (rounds->over_round == rounds->close_round)
        return try_close(rounds);
    if (rounds->act_round < rounds->close_round) {
        if (!all_ps(rounds, has_stored_or_is_fresh))
            return false;
        set_scales(rounds);
        rounds->act_round = rounds->close_round;
        rounds->n_told++;
        return true;
    }
    if (!all_ps(rounds, has_applied))
        return false;
    rounds->over_round = rounds->close_round;
    rounds->has_epoch = is_epoch_whole(rounds);
    return true;
}

// ---- queries ----

void mst_rounds_close(const struct mst_rounds *rounds, struct mst_msg_close *out)
{
    *out = (struct mst_msg_close){.term = rounds->close_term,
                                  .round = rounds->close_round,
                                  .attempt = rounds->close_attempt,
                                  .n_ins = rounds->n_ins,
                                  .ins = rounds->ins,
                                  .was = mst_deal_message(&rounds->was),
                                  .next = mst_deal_message(&rounds->next),
                                  .is_over = rounds->is_last,
                                  .n_steps = rounds->close_steps,
                                  .epoch_sums = rounds->epoch_sums,
                                  .total_sums = rounds->total_sums,
                                  .n_workers = (uint32_t)rounds->config.n_workers,
                                  .n_units = rounds->config.n_units,
                                  .n_worker_steps = rounds->config.n_workers,
                                  .worker_steps = rounds->worker_steps};
}

void mst_rounds_tell(const struct mst_rounds *rounds, size_t ps, struct mst_msg_round *out)
{
    *out = (struct mst_msg_round){.term = rounds->term,
                                  .known = rounds->ps[ps].status,
                                  .has_close = true,
                                  .act_round = rounds->ps[ps].is_fresh ? rounds->close_round : rounds->act_round,
                                  .n_wanted = (uint32_t)n_least(rounds)};
    mst_rounds_close(rounds, &out->close);
    if (out->act_round == rounds->close_round) {
        out->n_scales = rounds->n_scales;
        out->scales = rounds->scales;
    }
}

bool mst_rounds_is_quiet(const struct mst_rounds *rounds)
{
    return rounds->over_round == rounds->close_round && all_ps(rounds, has_applied);
}

bool mst_rounds_is_over(const struct mst_rounds *rounds)
{
    return rounds->is_last && rounds->over_round == rounds->close_round;
}

uint64_t mst_rounds_n_steps(const struct mst_rounds *rounds)
{
    bool is_under_way = rounds->over_round < rounds->close_round && rounds->n_ins > 0;
    return rounds->close_steps - is_under_way;
}

uint64_t mst_rounds_n_steps_expected(const struct mst_rounds *rounds)
{
    const struct mst_rounds_config *config = &rounds->config;
    struct mst_deal_shape shape = shape_of(config);
    uint64_t n = rounds->close_steps;
    if (!rounds->is_last && !rounds->is_stopped) {
        uint64_t left = mst_deal_n_left(&rounds->next, &shape);
        uint64_t n_after = config->n_epochs - rounds->next.epoch - 1;
        n += (left + config->n_workers - 1) / config->n_workers;
        n += n_after * ((config->n_units - 1) / config->n_workers + 1);
    }
    return config->max_steps && n > config->max_steps ? config->max_steps : n;
}

uint64_t mst_rounds_n_epochs_done(const struct mst_rounds *rounds)
{
    bool is_over = rounds->over_round == rounds->close_round;
    return rounds->was.epoch + (is_over && is_epoch_whole(rounds));
}

bool mst_rounds_take_epoch(struct mst_rounds *rounds, struct mst_rounds_epoch *out)
{
    *out = (struct mst_rounds_epoch){0};
    if (!rounds->has_epoch)
        return false;
    rounds->has_epoch = false;
    *out = (struct mst_rounds_epoch){rounds->was.epoch, rounds->close_steps, &rounds->epoch_sums};
    return true;
}

static size_t write_name(char *out, size_t out_bytes, size_t used, const char *form, size_t index)
{
    char name[40];
    snprintf(name, sizeof name, form, index);
    int n = snprintf(out + used, out_bytes - used, "%s%s", used ? ", " : "", name);
    return n < 0 || (size_t)n >= out_bytes - used ? out_bytes : used + (size_t)n;
}

void mst_rounds_awaited(const struct mst_rounds *rounds, char *out, size_t out_bytes)
{
    size_t used = 0;
    out[0] = '\0';
    bool is_over = rounds->over_round == rounds->close_round;
    if (mst_rounds_is_over(rounds) || rounds->n_pauses)
        return;
    for (size_t i = 0; i < rounds->config.n_ps && used < out_bytes; i++) {
        const struct mst_rounds_ps *ps = &rounds->ps[i];
        if (!ps->is_away && !has_applied(rounds, ps))
            used = write_name(out, out_bytes, used, "ps-%zu", i);
    }
    for (size_t i = 0; is_over && i < rounds->next.n_plan && used < out_bytes; i++) {
        const struct mst_msg_part *part = &rounds->next.plan[i];
        if (rounds->seats[part->worker].state != MST_ROUND_WORKER_GONE && !is_everywhere(rounds, part))
            used = write_name(out, out_bytes, used, "worker-%zu", part->worker);
    }
    if (used > 0 && used < out_bytes)
        snprintf(out + used, out_bytes - used, " for round %llu",
                 (unsigned long long)(is_over ? rounds->close_round + 1 : rounds->close_round));
}
