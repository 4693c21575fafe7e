// What must hold whatever happens: every PS applies the same contributions to the same round, in the same order and
// with the same scale, which is what the norms of all shards make it; every unit is in exactly once an epoch; what an
// epoch is said to have measured is what its contributions did.
#include "base/alloc.h"
#include "rounds_private.h"

#include <string.h>

struct mst_square_norm rounds_oracle_norm(const struct world *w, size_t ps, const struct sim_copy *copy)
{
    struct mst_square_norm norm = {0};
    if (rounds_n_parts(w, ps) == 0)
        return norm;
    float x = (float)ps + 1;
    for (size_t i = 0; i < copy->table.n_ins; i++)
        x += (float)copy->units[i];
    mst_square_norm_add(&norm, &x, 1);
    return norm;
}

static struct seen_round *round_at(struct world *w, uint64_t round)
{
    if (round >= w->n_rounds) {
        size_t n = (size_t)round + 64;
        w->rounds = mst_realloc_array(w->rounds, n, sizeof *w->rounds);
        memset(w->rounds + w->n_rounds, 0, (n - w->n_rounds) * sizeof *w->rounds);
        w->n_rounds = n;
    }
    return &w->rounds[round];
}

static void count_units(struct world *w, const struct seen_round *seen)
{
    for (size_t i = 0; i < seen->n_ins; i++)
        if (++w->used[seen->epoch * w->config.n_batches + seen->units[i]] > 1)
            rounds_fail(w, "unit %llu of epoch %llu is in twice", (unsigned long long)seen->units[i],
                        (unsigned long long)seen->epoch);
}

static void check_scale(struct world *w, const struct sim_copy *copy, double scale)
{
    const struct mst_round_table *table = &copy->table;
    struct mst_square_norm norm = {0};
    for (size_t ps = 0; ps < w->n_ps; ps++) {
        struct mst_square_norm part = rounds_oracle_norm(w, ps, copy);
        mst_square_norm_join(&norm, &part);
    }
    double expected =
        table->n_ins ? (double)mst_clip_global_scale(w->config.clip.global_norm, mst_square_norm_value(&norm)) : 0;
    if (scale != expected)
        rounds_fail(w, "round %llu is scaled with %.9g, and its norm says %.9g", (unsigned long long)table->stored,
                    scale, expected);
}

void rounds_oracle_applies(struct world *w, size_t ps, const struct sim_copy *copy, double scale)
{
    const struct mst_round_table *table = &copy->table;
    struct seen_round now = {
        .is_seen = true, .has_units = rounds_n_parts(w, ps) > 0, .epoch = table->dealt.epoch, .n_ins = table->n_ins};
    for (size_t i = 0; i < now.n_ins; i++) {
        now.ins[i] = table->ins[i];
        now.units[i] = copy->units[i];
    }
    if (now.has_units && !(w->unscaled_rounds >> table->stored % 64 & 1))
        check_scale(w, copy, scale);
    struct seen_round *seen = round_at(w, table->stored);
    if (seen->is_seen && (seen->n_ins != now.n_ins || seen->epoch != now.epoch ||
                          memcmp(seen->ins, now.ins, now.n_ins * sizeof now.ins[0]) != 0)) {
        rounds_fail(w, "shards apply different contributions to round %llu", (unsigned long long)table->stored);
        return;
    }
    if (seen->has_units && now.has_units && memcmp(seen->units, now.units, now.n_ins * sizeof now.units[0]) != 0)
        rounds_fail(w, "shards apply different units to round %llu", (unsigned long long)table->stored);
    if (!seen->has_units && now.has_units)
        count_units(w, &now);
    if (!seen->is_seen || now.has_units)
        *seen = now;
}

void rounds_oracle_acts(struct world *w, const struct mst_msg_close *close)
{
    struct seen_round *seen = round_at(w, close->round);
    if (seen->has_units || close->n_ins == 0)
        return;
    struct seen_round now = {.is_seen = true, .has_units = true, .epoch = close->was.epoch, .n_ins = close->n_ins};
    for (size_t i = 0; i < close->n_ins; i++) {
        now.ins[i] = close->ins[i];
        for (size_t k = 0; k < close->was.n_plan; k++)
            if (close->was.plan[k].worker == close->ins[i])
                now.units[i] = close->was.plan[k].unit;
    }
    count_units(w, &now);
    *seen = now;
}

void rounds_oracle_takes_over(struct world *w, size_t index, const struct mst_msg_close *close)
{
    struct sim_ps *ps = &w->ps[index];
    uint64_t from = ps->has_steps > ps->counted_steps ? ps->has_steps : ps->counted_steps;
    if (close->n_steps > from)
        ps->n_lost += close->n_steps - from;
    if (close->n_steps > ps->counted_steps)
        ps->counted_steps = close->n_steps;
}

// One that sent the map twice counts from the checkpoint that it named first, and a close that was taken as applied may
// have been a step more than its last attempt.
static void check_lost(struct world *w)
{
    uint64_t n_lost = 0;
    bool is_settled = true;
    bool is_exact = w->chief.checkpoint_steps == 0 && !w->is_closed_again;
    for (size_t i = 0; i < w->n_ps; i++) {
        const struct sim_ps *ps = &w->ps[i];
        is_exact = is_exact && rounds_n_parts(w, i) > 0; // else rounds go on without it
        n_lost += ps->n_lost;
        is_settled =
            is_settled && ps->copy.table.has_begun && w->chief.links[i].is_placed && w->chief.links[i].met == ps->life;
    }
    if (is_settled && (w->chief.n_lost_said < n_lost || (is_exact && w->chief.n_lost_said > n_lost)))
        rounds_fail(w, "servers lost %llu updates, and the chief says %llu", (unsigned long long)n_lost,
                    (unsigned long long)w->chief.n_lost_said);
}

void rounds_oracle_check_epoch(struct world *w, const struct mst_epoch_record *record)
{
    double expected = 0;
    uint64_t n_units = 0;
    for (size_t r = 0; r < w->n_rounds; r++)
        for (size_t i = 0; i < w->rounds[r].n_ins && w->rounds[r].epoch == record->epoch; i++) {
            expected += (double)w->rounds[r].units[i] + 1;
            n_units++;
        }
    if (record->sums.steps != n_units || record->sums.values[0] != expected)
        rounds_fail(w, "epoch %llu measured %.9g over %llu units, and is said to have measured %.9g over %llu",
                    (unsigned long long)record->epoch, expected, (unsigned long long)n_units, record->sums.values[0],
                    (unsigned long long)record->sums.steps);
}

// One that died takes the last round over when it is back.
static bool is_behind(const struct world *w, size_t index, uint64_t round)
{
    const struct sim_ps *ps = &w->ps[index];
    bool is_away = ps->life > 1 && !w->chief.links[index].is_placed;
    if (is_away || (!ps->copy.table.has_begun && (ps->life > 1 || !ps->is_up)))
        return false;
    return !ps->copy.table.has_begun || ps->copy.table.applied != round;
}

void rounds_oracle_check_even(struct world *w, const char *what)
{
    uint64_t round = w->chief.coordinator.rounds.close_round;
    for (size_t ps = 0; ps < w->n_ps; ps++)
        if (is_behind(w, ps, round))
            rounds_fail(w, "%s at round %llu, which ps %zu has not applied", what, (unsigned long long)round, ps);
}

void rounds_oracle_check_end(struct world *w)
{
    const struct mst_rounds *rounds = &w->chief.coordinator.rounds;
    if (w->fault[0])
        return;
    rounds_oracle_check_even(w, "the job ends");
    check_lost(w);
    uint64_t n_steps = 0;
    uint64_t n_in = 0;
    double measured = 0;
    for (size_t r = 0; r < w->n_rounds; r++) {
        n_steps += w->rounds[r].n_ins > 0;
        n_in += w->rounds[r].n_ins;
        for (size_t i = 0; i < w->rounds[r].n_ins; i++)
            measured += (double)w->rounds[r].units[i] + 1;
    }
    bool is_cut_short = w->stop_ms || (w->config.max_steps && n_steps == w->config.max_steps);
    for (uint64_t at = 0; at < w->config.n_batches * w->config.n_epochs && !is_cut_short; at++)
        if (w->used[at] != 1)
            rounds_fail(w, "unit %llu of epoch %llu is in %u times", (unsigned long long)(at % w->config.n_batches),
                        (unsigned long long)(at / w->config.n_batches), w->used[at]);
    if (mst_rounds_n_steps(rounds) != n_steps || (w->config.max_steps && n_steps > w->config.max_steps))
        rounds_fail(w, "%llu rounds were not empty, and the chief counted %llu", (unsigned long long)n_steps,
                    (unsigned long long)mst_rounds_n_steps(rounds));
    if (rounds->total_sums.steps != n_in || rounds->total_sums.values[0] != measured)
        rounds_fail(w, "%llu contributions measured %.9g, and the chief says %llu and %.9g", (unsigned long long)n_in,
                    measured, (unsigned long long)rounds->total_sums.steps, rounds->total_sums.values[0]);
}
