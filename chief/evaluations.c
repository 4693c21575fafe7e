#include "chief/evaluations.h"

#include "base/alloc.h"

#include <stdlib.h>

void mst_evaluations_init(struct mst_evaluations *e, uint64_t lease_ms, uint64_t grace_ms)
{
    *e = (struct mst_evaluations){.lease_ms = lease_ms, .grace_ms = grace_ms};
}

void mst_evaluations_fini(struct mst_evaluations *e)
{
    free(e->skipped);
    *e = (struct mst_evaluations){0};
}

static void skip(struct mst_evaluations *e, const struct mst_evaluation_task *task)
{
    e->skipped = mst_realloc_array(e->skipped, e->n_to_take + 1, sizeof *e->skipped);
    e->skipped[e->n_to_take++] = *task;
    e->n_skipped++;
}

// ---- who is here ----

static struct mst_evaluator *acting(struct mst_evaluations *e, enum mst_evaluator_seat seat, uint64_t number)
{
    struct mst_evaluator *evaluator = &e->seats[seat];
    return evaluator->is_here && evaluator->number == number ? evaluator : NULL;
}

enum mst_greet_verdict mst_evaluations_greet(struct mst_evaluations *e, enum mst_evaluator_seat seat,
                                             uint64_t incarnation, uint64_t now_ms, uint64_t *number_out)
{
    struct mst_evaluator *evaluator = &e->seats[seat];
    mst_evaluations_tick(e, now_ms);
    if (evaluator->is_here && evaluator->incarnation != incarnation)
        return MST_GREET_BUSY;
    if (!evaluator->is_here)
        evaluator->number++;
    evaluator->is_here = evaluator->was_here = true;
    evaluator->incarnation = incarnation;
    evaluator->silent_at_ms = now_ms + e->lease_ms;
    *number_out = evaluator->number;
    return MST_GREET_ADMITTED;
}

bool mst_evaluations_heard(struct mst_evaluations *e, enum mst_evaluator_seat seat, uint64_t number, uint64_t now_ms)
{
    struct mst_evaluator *evaluator = acting(e, seat, number);
    if (evaluator)
        evaluator->silent_at_ms = now_ms + e->lease_ms;
    return evaluator != NULL;
}

void mst_evaluations_lost(struct mst_evaluations *e, enum mst_evaluator_seat seat, uint64_t number, uint64_t now_ms)
{
    struct mst_evaluator *evaluator = acting(e, seat, number);
    if (evaluator && evaluator->silent_at_ms > now_ms + e->grace_ms)
        evaluator->silent_at_ms = now_ms + e->grace_ms;
}

static void empty(struct mst_evaluations *e, enum mst_evaluator_seat seat)
{
    e->seats[seat].is_here = false;
    if (!e->is_running || e->running_seat != seat)
        return;
    e->is_running = false;
    if (e->is_waiting) {
        skip(e, &e->running);
        return;
    }
    e->is_waiting = true;
    e->waiting = e->running;
}

void mst_evaluations_leave(struct mst_evaluations *e, enum mst_evaluator_seat seat, uint64_t number)
{
    if (acting(e, seat, number))
        empty(e, seat);
}

void mst_evaluations_tick(struct mst_evaluations *e, uint64_t now_ms)
{
    for (enum mst_evaluator_seat seat = 0; seat < MST_SEATS; seat++)
        if (e->seats[seat].is_here && e->seats[seat].silent_at_ms <= now_ms)
            empty(e, seat);
}

// ---- what is to be done ----

void mst_evaluations_want(struct mst_evaluations *e, struct mst_evaluation_task *task)
{
    task->id = ++e->n_wanted;
    if (e->is_waiting && e->waiting.epoch == task->epoch && e->waiting.step == task->step) {
        task->is_final |= e->waiting.is_final;
        task->is_epoch_end |= e->waiting.is_epoch_end;
    } else if (e->is_waiting) {
        skip(e, &e->waiting);
    }
    e->is_waiting = true;
    e->waiting = *task;
}

void mst_evaluations_drop_waiting(struct mst_evaluations *e)
{
    if (e->is_waiting)
        skip(e, &e->waiting);
    e->is_waiting = false;
}

enum mst_evaluation_answer mst_evaluations_next(struct mst_evaluations *e, enum mst_evaluator_seat seat,
                                                uint64_t number, uint64_t now_ms, struct mst_evaluation_task *out)
{
    if (!mst_evaluations_heard(e, seat, number, now_ms))
        return MST_EVALUATION_OUT;
    if (e->is_running && e->running_seat == seat) {
        *out = e->running;
        return MST_EVALUATION_DO;
    }
    if (e->is_running || !e->is_waiting || (seat == MST_SEAT_OWN && e->seats[MST_SEAT_ROLE].is_here))
        return MST_EVALUATION_WAIT;
    e->is_running = true;
    e->is_waiting = false;
    e->running = *out = e->waiting;
    e->running_seat = seat;
    return MST_EVALUATION_DO;
}

bool mst_evaluations_done(struct mst_evaluations *e, enum mst_evaluator_seat seat, uint64_t number, uint64_t id,
                          struct mst_evaluation_task *out)
{
    if (!acting(e, seat, number) || !e->is_running || e->running_seat != seat || e->running.id != id)
        return false;
    e->is_running = false;
    e->n_done++;
    *out = e->running;
    return true;
}

bool mst_evaluations_take_skipped(struct mst_evaluations *e, struct mst_evaluation_task *out)
{
    if (e->n_to_take == 0)
        return false;
    *out = e->skipped[0];
    e->n_to_take--;
    for (size_t i = 0; i < e->n_to_take; i++)
        e->skipped[i] = e->skipped[i + 1];
    return true;
}
