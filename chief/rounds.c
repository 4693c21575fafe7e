// The last close is all the state there is that must not be lost: every PS stores it before it is acted on, and a chief
// that starts goes on from the highest. Until all have stored it, and not later, another attempt may replace it, so it
// says what was measured before it. What PSs report is only looked at, never remembered beyond the next report, so that
// a repeated or a lost one changes nothing; but for the sums of contributions, which are kept with the round that they
// are of.
#include "chief/rounds_private.h"

#include "base/alloc.h"
#include "base/error.h"
#include "optim/square_norm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Attempts of one chief at a close: those of the next one are higher, also than what it does not know of. An operation
// of a primary that died may come to its backup after that was asked what it has.
enum { ATTEMPTS_MAX = 1 << 16 };

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
    bool has_begun;  // it has applied a close
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

struct mst_deal_shape mst_rounds_shape(const struct mst_rounds_config *config)
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
    struct mst_deal_shape shape = mst_rounds_shape(config);
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
    mst_training_sums_init(&rounds->epoch_sums_before, config->n_sums);
    mst_training_sums_init(&rounds->total_sums_before, config->n_sums);
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
    mst_training_sums_fini(&rounds->epoch_sums_before);
    mst_training_sums_fini(&rounds->total_sums_before);
    mst_deal_fini(&rounds->was);
    mst_deal_fini(&rounds->next);
    free(rounds->ins);
    free(rounds->worker_steps);
    free(rounds->scales);
    free(rounds->ps);
    free(rounds->seats);
    *rounds = (struct mst_rounds){0};
}

bool mst_rounds_is_trained(const struct mst_rounds *rounds, uint64_t n_steps)
{
    return rounds->next.n_plan == 0 || (rounds->config.max_steps && n_steps >= rounds->config.max_steps);
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
    // Of another chief's, or of a PS that has not seen the base yet. An earlier one may have closed the next round
    // without that this one heard of it.
    if (reply->stored_round > rounds->close_round + 1 || reply->applied_round > rounds->close_round)
        return;
    ps->has_reported = true;
    ps->has_begun = reply->has_begun;
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

// Nothing is known of what it has.
static void forget_report(struct mst_rounds *rounds, struct mst_rounds_ps *ps)
{
    struct arrival *arrivals = ps->arrivals;
    struct mst_square_norm *norms = ps->norms;
    *ps = (struct mst_rounds_ps){
        .is_idle = ps->is_idle, .is_away = ps->is_away, .is_fresh = ps->is_fresh, .arrivals = arrivals, .norms = norms};
    memset(arrivals, 0, rounds->config.n_workers * sizeof *arrivals);
    memset(norms, 0, n_groups(rounds) * sizeof *norms);
    rounds->n_told++;
}

void mst_rounds_ps_back(struct mst_rounds *rounds, size_t ps)
{
    rounds->ps[ps].is_away = false;
    rounds->ps[ps].is_fresh = true;
    forget_report(rounds, &rounds->ps[ps]);
}

void mst_rounds_ps_moved(struct mst_rounds *rounds, size_t ps)
{
    forget_report(rounds, &rounds->ps[ps]);
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

// A PS that came back alone knows nothing of the last round; its part of the norm is lost with its contributions. One
// that has applied it may have stored the next one, of a chief before: then all have applied it.
static bool has_stored_or_is_fresh(const struct mst_rounds *rounds, const struct mst_rounds_ps *ps)
{
    return ps->is_fresh || has_stored(rounds, ps) || has_applied(rounds, ps);
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
    for (size_t i = 0; i < rounds->n_ins; i++) {
        const struct mst_rounds_seat *seat = &rounds->seats[rounds->ins[i]];
        if (seat->sums_round != rounds->close_round)
            continue;
        mst_training_sums_add(&rounds->epoch_sums, &seat->sums);
        mst_training_sums_add(&rounds->total_sums, &seat->sums);
    }
}

// Counts what rounds->ins are in, and deals the next round.
static void make_close(struct mst_rounds *rounds)
{
    struct mst_deal_shape shape = mst_rounds_shape(&rounds->config);
    bool *is_in = mst_alloc_array(rounds->config.n_workers, sizeof *is_in);
    bool *is_living = mst_alloc_array(rounds->config.n_workers, sizeof *is_living);
    for (size_t i = 0; i < rounds->n_ins; i++) {
        is_in[rounds->ins[i]] = true;
        rounds->worker_steps[rounds->ins[i]]++;
    }
    for (size_t w = 0; w < rounds->config.n_workers; w++)
        is_living[w] = rounds->seats[w].state == MST_ROUND_WORKER_LIVE;
    rounds->close_term = rounds->term;
    rounds->close_steps += rounds->n_ins > 0;
    rounds->n_left_out += rounds->was.n_plan - rounds->n_ins;
    rounds->n_empty += rounds->n_ins == 0;
    rounds->n_scales = 0;
    add_sums(rounds);
    mst_deal_next(&rounds->next, &shape, &rounds->was, is_in, is_living);
    rounds->is_last = (rounds->is_stopped && rounds->n_ins == 0) || mst_rounds_is_trained(rounds, rounds->close_steps);
    rounds->n_told++;
    free(is_in);
    free(is_living);
}

// Closes the next round with rounds->ins, which is set.
static void close_round(struct mst_rounds *rounds)
{
    rounds->close_round++;
    rounds->close_attempt = rounds->term * ATTEMPTS_MAX;
    if (rounds->next.epoch != rounds->was.epoch)
        mst_training_sums_clear(&rounds->epoch_sums);
    mst_training_sums_copy(&rounds->epoch_sums_before, &rounds->epoch_sums);
    mst_training_sums_copy(&rounds->total_sums_before, &rounds->total_sums);
    mst_deal_fini(&rounds->was);
    rounds->was = rounds->next;
    make_close(rounds);
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

// ---- another attempt ----

// It may have lost contributions of the round that is closed, and could not apply another attempt without them.
static bool may_lack(const struct mst_rounds *rounds, const struct mst_rounds_ps *ps)
{
    return !ps->is_away && !ps->is_fresh && ps->has_reported && ps->has_begun &&
           ps->applied_round + 1 == rounds->close_round;
}

static bool has_lost(const struct mst_rounds *rounds, const struct mst_rounds_ps *ps, uint64_t worker)
{
    return may_lack(rounds, ps) && !ps->is_idle && !ps->arrivals[worker].is_here;
}

static bool is_lost(const struct mst_rounds *rounds, uint64_t worker)
{
    for (size_t i = 0; i < rounds->config.n_ps; i++)
        if (has_lost(rounds, &rounds->ps[i], worker))
            return true;
    return false;
}

static bool is_gone(const struct mst_rounds *rounds, uint64_t worker)
{
    return rounds->seats[worker].state == MST_ROUND_WORKER_GONE;
}

// Nobody has any more what a PS had before the round that is closed: it takes that one as applied.
static bool is_any_anew(const struct mst_rounds *rounds)
{
    for (size_t i = 0; i < rounds->config.n_ps; i++) {
        const struct mst_rounds_ps *ps = &rounds->ps[i];
        if (ps->is_away || ps->is_fresh || (ps->has_reported && !ps->has_begun))
            return true;
    }
    return false;
}

// What was lost of it does not come again, or perhaps not: a worker that was admitted anew would first pull what nobody
// has any more, and that PS waits for the close, which waits for the worker.
static bool is_given_up(const struct mst_rounds *rounds, uint64_t worker)
{
    return is_gone(rounds, worker) || is_any_anew(rounds);
}

// This one will never store the close: what it lacks comes from nobody, or it has another attempt of a chief before.
static bool never_stores(const struct mst_rounds *rounds, const struct mst_rounds_ps *ps)
{
    if (!may_lack(rounds, ps) || has_stored(rounds, ps))
        return false;
    if (ps->stored_round == rounds->close_round && ps->stored_attempt > rounds->close_attempt)
        return true;
    for (size_t i = 0; i < rounds->n_ins; i++)
        if (is_given_up(rounds, rounds->ins[i]) && has_lost(rounds, ps, rounds->ins[i]))
            return true;
    return false;
}

// Nobody acts on a close that one has not stored, so another attempt may replace it.
static bool must_close_again(const struct mst_rounds *rounds)
{
    bool is_stuck = false;
    for (size_t i = 0; i < rounds->config.n_ps; i++) {
        const struct mst_rounds_ps *ps = &rounds->ps[i];
        if (ps->is_away || ps->is_fresh)
            continue;
        if (!ps->has_reported || (ps->has_begun && has_applied(rounds, ps)))
            return false; // perhaps it lacks some; the next reports will tell
        is_stuck = is_stuck || never_stores(rounds, ps);
    }
    return is_stuck;
}

// As if the last close had not been made.
static void take_close_back(struct mst_rounds *rounds)
{
    for (size_t i = 0; i < rounds->n_ins; i++)
        rounds->worker_steps[rounds->ins[i]]--;
    rounds->close_steps -= rounds->n_ins > 0;
    rounds->n_left_out -= rounds->was.n_plan - rounds->n_ins;
    rounds->n_empty -= rounds->n_ins == 0;
    mst_training_sums_copy(&rounds->epoch_sums, &rounds->epoch_sums_before);
    mst_training_sums_copy(&rounds->total_sums, &rounds->total_sums_before);
    mst_deal_fini(&rounds->next);
}

// What it measured went with a group that nobody has any more, and this chief never heard of it.
static bool is_unmeasured(const struct mst_rounds *rounds, uint64_t worker)
{
    return is_any_anew(rounds) && rounds->seats[worker].sums_round != rounds->close_round;
}

// Whoever lives sends again what was lost, and is waited for: its sums are to be known, too. If it cannot, or they
// cannot be, what it contributed is dealt anew.
static bool try_close_again(struct mst_rounds *rounds)
{
    if (!must_close_again(rounds))
        return false;
    for (size_t i = 0; i < rounds->n_ins; i++)
        if (!is_given_up(rounds, rounds->ins[i]) && is_lost(rounds, rounds->ins[i]))
            return false;
    take_close_back(rounds);
    size_t n = 0;
    for (size_t i = 0; i < rounds->n_ins; i++)
        if (!is_lost(rounds, rounds->ins[i]) && !is_unmeasured(rounds, rounds->ins[i]))
            rounds->ins[n++] = rounds->ins[i];
    rounds->n_ins = n;
    uint64_t first = rounds->term * ATTEMPTS_MAX;
    rounds->close_attempt = rounds->close_attempt < first ? first : rounds->close_attempt + 1;
    rounds->n_again++;
    make_close(rounds);
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
            return try_close_again(rounds);
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
    if (rounds->act_round == rounds->close_round)
        return; // it is not taken back any more
    out->epoch_sums_before = rounds->epoch_sums_before;
    out->total_sums_before = rounds->total_sums_before;
}

static bool is_any_lost(const struct mst_rounds *rounds, const struct mst_rounds_ps *ps)
{
    bool is_any = false;
    for (size_t i = 0; i < rounds->n_ins; i++)
        is_any = is_any || has_lost(rounds, ps, rounds->ins[i]);
    return is_any;
}

void mst_rounds_tell(const struct mst_rounds *rounds, size_t ps, struct mst_msg_round *out)
{
    // What it lost is news, each of them: it is told the close again when it has all.
    size_t n_wanted = is_any_lost(rounds, &rounds->ps[ps]) ? 0 : n_least(rounds);
    *out = (struct mst_msg_round){.term = rounds->term,
                                  .known = rounds->ps[ps].status,
                                  .has_close = true,
                                  .act_round = rounds->act_round,
                                  .n_wanted = (uint32_t)n_wanted};
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
    struct mst_deal_shape shape = mst_rounds_shape(config);
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

// Closed, and not stored by all: what was lost of it comes again.
static size_t write_lost(const struct mst_rounds *rounds, char *out, size_t out_bytes, size_t used)
{
    for (size_t i = 0; i < rounds->n_ins && used < out_bytes; i++)
        if (is_lost(rounds, rounds->ins[i]))
            used = write_name(out, out_bytes, used, "worker-%zu", rounds->ins[i]);
    return used;
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
    if (rounds->act_round < rounds->close_round)
        used = write_lost(rounds, out, out_bytes, used);
    for (size_t i = 0; is_over && i < rounds->next.n_plan && used < out_bytes; i++) {
        const struct mst_msg_part *part = &rounds->next.plan[i];
        if (rounds->seats[part->worker].state != MST_ROUND_WORKER_GONE && !is_everywhere(rounds, part))
            used = write_name(out, out_bytes, used, "worker-%zu", part->worker);
    }
    if (used > 0 && used < out_bytes)
        snprintf(out + used, out_bytes - used, " for round %llu",
                 (unsigned long long)(is_over ? rounds->close_round + 1 : rounds->close_round));
}
