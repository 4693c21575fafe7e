// Everything here is a fact that stays true: a contribution that is here, a close that is stored, a round that is
// applied. So repeated or late messages change nothing, and what the chief is told may be told again.
#include "ps/round_table.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static mst_status make_array(size_t n, size_t bytes, void **out)
{
    if (n > SIZE_MAX / bytes)
        return MST_RESOURCE_EXHAUSTED;
    return mst_try_alloc(n * bytes, out);
}

#define MAKE(table, field, n)                                                                                          \
    do {                                                                                                               \
        void *memory_ = NULL;                                                                                          \
        if (make_array((n), sizeof *(table)->field, &memory_) != MST_OK) {                                             \
            mst_round_table_fini(table);                                                                               \
            return MST_RESOURCE_EXHAUSTED;                                                                             \
        }                                                                                                              \
        (table)->field = memory_;                                                                                      \
    } while (0)

mst_status mst_round_table_init(struct mst_round_table *table, size_t n_workers, size_t n_parts)
{
    *table = (struct mst_round_table){.n_workers = n_workers, .n_parts = n_parts};
    MST_ASSERT(n_workers <= UINT32_MAX && n_parts <= UINT32_MAX);
    MAKE(table, contributions, n_workers);
    MAKE(table, is_held, n_workers * n_parts);
    MAKE(table, fenced, n_workers);
    MAKE(table, newest, n_workers);
    MAKE(table, ins, n_workers);
    MAKE(table, dealt.workers, n_workers);
    MAKE(table, next.workers, n_workers);
    return MST_OK;
}

void mst_round_table_fini(struct mst_round_table *table)
{
    for (size_t w = 0; table->contributions && w < table->n_workers; w++)
        mst_training_sums_fini(&table->contributions[w].sums);
    free(table->contributions);
    free(table->is_held);
    free(table->fenced);
    free(table->newest);
    free(table->ins);
    free(table->dealt.workers);
    free(table->next.workers);
    *table = (struct mst_round_table){0};
}

enum mst_round_verdict mst_round_table_offer(const struct mst_round_table *table, size_t part,
                                             const struct mst_round_push *push)
{
    MST_ASSERT(part < table->n_parts && push->worker < table->n_workers);
    if (mst_round_table_is_fenced(table, push->worker, push->number))
        return MST_ROUND_REFUSED_FENCED;
    if (push->number < table->newest[push->worker])
        return MST_ROUND_REFUSED_NUMBER;
    if (!table->has_begun)
        return MST_ROUND_WAIT;
    if (push->round <= table->applied)
        return MST_ROUND_OVER;
    if (push->round > table->applied + 1)
        return MST_ROUND_REFUSED_EARLY;
    const struct mst_round_dealt *dealt = &table->dealt.workers[push->worker];
    if (!dealt->has_unit || dealt->unit != push->unit)
        return MST_ROUND_REFUSED_UNIT;
    return mst_round_table_holds(table, part, push->worker) ? MST_ROUND_HAVE : MST_ROUND_TAKE;
}

static void keep_sums(struct mst_round_contribution *contribution, const struct mst_training_sums *sums)
{
    // They grow once: all of a job's sums have as many values.
    if (contribution->sums.n_values < sums->n_values) {
        mst_training_sums_fini(&contribution->sums);
        mst_training_sums_init(&contribution->sums, sums->n_values);
    }
    mst_training_sums_copy(&contribution->sums, sums);
    contribution->has_sums = true;
}

static void note_part(struct mst_round_table *table, size_t part, const struct mst_round_push *push)
{
    struct mst_round_contribution *contribution = &table->contributions[push->worker];
    table->is_held[part * table->n_workers + push->worker] = true;
    if (contribution->n_held == 0 || contribution->number < push->number)
        contribution->number = push->number;
    contribution->unit = push->unit;
    contribution->weight = push->weight;
    if (push->sums)
        keep_sums(contribution, push->sums);
    contribution->n_held++;
    table->status += contribution->n_held == table->n_parts;
}

enum mst_round_verdict mst_round_table_hold(struct mst_round_table *table, size_t part,
                                            const struct mst_round_push *push)
{
    enum mst_round_verdict verdict = mst_round_table_offer(table, part, push);
    if (verdict == MST_ROUND_TAKE) {
        table->newest[push->worker] = push->number;
        note_part(table, part, push);
    }
    return verdict;
}

void mst_round_table_join(struct mst_round_table *table, size_t part, const struct mst_round_push *push)
{
    MST_ASSERT(part < table->n_parts && push->worker < table->n_workers);
    if (table->has_begun && push->round == table->applied + 1 && !mst_round_table_holds(table, part, push->worker))
        note_part(table, part, push);
}

bool mst_round_table_holds(const struct mst_round_table *table, size_t part, size_t worker)
{
    return table->is_held[part * table->n_workers + worker];
}

bool mst_round_table_has(const struct mst_round_table *table, size_t worker)
{
    return table->n_parts > 0 && table->contributions[worker].n_held == table->n_parts;
}

void mst_round_table_fence(struct mst_round_table *table, size_t worker, uint64_t number)
{
    if (worker < table->n_workers && table->fenced[worker] < number)
        table->fenced[worker] = number;
}

bool mst_round_table_is_fenced(const struct mst_round_table *table, size_t worker, uint64_t number)
{
    return worker < table->n_workers && number <= table->fenced[worker];
}

bool mst_round_table_is_of_its_workers(const struct mst_round_table *table, const struct mst_msg_close *close)
{
    for (size_t i = 0; i < close->n_ins; i++)
        if (close->ins[i] >= table->n_workers || (i > 0 && close->ins[i] <= close->ins[i - 1]))
            return false;
    for (size_t i = 0; i < close->next.n_plan; i++)
        if (close->next.plan[i].worker >= table->n_workers ||
            (i > 0 && close->next.plan[i].worker <= close->next.plan[i - 1].worker))
            return false;
    return true;
}

enum mst_round_close_verdict mst_round_table_check(const struct mst_round_table *table,
                                                   const struct mst_msg_close *close)
{
    if (!mst_round_table_is_of_its_workers(table, close))
        return MST_ROUND_CLOSE_REFUSED;
    if (table->has_close &&
        (close->round < table->stored || (close->round == table->stored && close->attempt <= table->attempt)))
        return MST_ROUND_CLOSE_OLD;
    if (!table->has_begun)
        return MST_ROUND_CLOSE_NEW;
    if (close->round <= table->applied)
        return MST_ROUND_CLOSE_OLD; // a later attempt at what is applied
    if (close->round > table->applied + 1)
        return MST_ROUND_CLOSE_REFUSED;
    for (size_t i = 0; i < close->n_ins && table->n_parts > 0; i++)
        if (!mst_round_table_has(table, close->ins[i]))
            return MST_ROUND_CLOSE_WAITS;
    return MST_ROUND_CLOSE_NEW;
}

static void take_deal(struct mst_round_deal *deal, size_t n_workers, const struct mst_msg_close *close)
{
    deal->epoch = close->next.epoch;
    deal->is_over = close->is_over;
    for (size_t w = 0; w < n_workers; w++)
        deal->workers[w] = (struct mst_round_dealt){0};
    for (size_t i = 0; i < close->next.n_plan && !close->is_over; i++)
        deal->workers[close->next.plan[i].worker] = (struct mst_round_dealt){close->next.plan[i].unit, true};
}

void mst_round_table_store(struct mst_round_table *table, const struct mst_msg_close *close)
{
    table->has_close = true;
    table->stored = close->round;
    table->attempt = close->attempt;
    table->n_ins = close->n_ins;
    if (close->n_ins)
        memcpy(table->ins, close->ins, close->n_ins * sizeof *table->ins);
    take_deal(&table->next, table->n_workers, close);
    table->status++;
}

static void drop_contributions(struct mst_round_table *table)
{
    for (size_t w = 0; w < table->n_workers; w++) {
        table->contributions[w].n_held = 0;
        table->contributions[w].has_sums = false;
    }
    memset(table->is_held, 0, table->n_parts * table->n_workers * sizeof *table->is_held);
}

bool mst_round_table_must_act(const struct mst_round_table *table, uint64_t act_round)
{
    return table->has_close && table->stored <= act_round && (!table->has_begun || table->applied < table->stored);
}

void mst_round_table_drop(struct mst_round_table *table)
{
    drop_contributions(table);
    table->status++;
}

void mst_round_table_act(struct mst_round_table *table)
{
    struct mst_round_deal old = table->dealt;
    table->dealt = table->next;
    table->next = old; // only its memory is used again
    table->has_begun = true;
    table->applied = table->stored;
    drop_contributions(table);
    table->status++;
}

void mst_round_table_take_closes(struct mst_round_table *table, const struct mst_msg_close *applied,
                                 const struct mst_msg_close *stored)
{
    drop_contributions(table);
    table->has_begun = table->has_close = false;
    table->applied = table->stored = table->attempt = table->n_ins = 0;
    if (applied) {
        mst_round_table_store(table, applied);
        mst_round_table_act(table);
    }
    if (stored)
        mst_round_table_store(table, stored);
    table->status++;
}

bool mst_round_table_is_due(const struct mst_round_table *table, uint64_t round)
{
    return table->has_begun && round <= table->applied;
}

void mst_round_table_turn(const struct mst_round_table *table, size_t worker, struct mst_msg_turn *out)
{
    *out = (struct mst_msg_turn){.round = table->applied, .epoch = table->dealt.epoch, .is_over = table->dealt.is_over};
    if (worker < table->n_workers) {
        out->unit = table->dealt.workers[worker].unit;
        out->has_unit = table->dealt.workers[worker].has_unit;
    }
}

void mst_round_table_reply(const struct mst_round_table *table, struct mst_msg_arrival *arrivals,
                           struct mst_msg_round_reply *out)
{
    *out = (struct mst_msg_round_reply){.status = table->status,
                                        .stored_round = table->stored,
                                        .stored_attempt = table->attempt,
                                        .applied_round = table->applied,
                                        .has_begun = table->has_begun,
                                        .arrivals = arrivals};
    for (size_t w = 0; w < table->n_workers; w++) {
        const struct mst_round_contribution *here = &table->contributions[w];
        if (!mst_round_table_has(table, w))
            continue;
        arrivals[out->n_arrivals++] = (struct mst_msg_arrival){.worker = (uint32_t)w,
                                                               .number = here->number,
                                                               .unit = here->unit,
                                                               .weight = here->weight,
                                                               .has_sums = here->has_sums,
                                                               .sums = here->sums};
    }
}

const char *mst_round_verdict_text(enum mst_round_verdict verdict)
{
    static const char *const texts[] = {
        [MST_ROUND_TAKE] = "taken",
        [MST_ROUND_HAVE] = "here already",
        [MST_ROUND_OVER] = "its round is over",
        [MST_ROUND_WAIT] = "rounds have not begun here",
        [MST_ROUND_REFUSED_EARLY] = "a round after the next one",
        [MST_ROUND_REFUSED_UNIT] = "not the unit that it was dealt for this round",
        [MST_ROUND_REFUSED_NUMBER] = "an older incarnation of this worker",
        [MST_ROUND_REFUSED_FENCED] = "an incarnation that was declared dead; it has to greet again",
    };
    return texts[verdict];
}
