#include "chief/cuts.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATE_MAX_BYTES = 64 << 20, STATE_ARENA_MAX = 256 << 20 };

void mst_cuts_init(struct mst_cuts *cuts, size_t n_ps)
{
    *cuts = (struct mst_cuts){.n_ps = n_ps, .answered = mst_alloc(n_ps)};
    cuts->n_updates = mst_alloc_array(n_ps, sizeof *cuts->n_updates);
    mst_buf_init(&cuts->state, STATE_MAX_BYTES);
}

static void forget(struct mst_cuts *cuts)
{
    free(cuts->rows);
    free(cuts->marks);
    free(cuts->missing);
    cuts->rows = cuts->missing = NULL;
    cuts->marks = NULL;
    cuts->n_rows = cuts->n_marks = cuts->n_missing = 0;
    cuts->pause_us = 0;
    cuts->is_settled = false;
    mst_buf_reset(&cuts->state);
}

void mst_cuts_fini(struct mst_cuts *cuts)
{
    forget(cuts);
    mst_buf_fini(&cuts->state);
    free(cuts->answered);
    free(cuts->n_updates);
    *cuts = (struct mst_cuts){0};
}

bool mst_cuts_is_busy(const struct mst_cuts *cuts)
{
    return cuts->phase != MST_CUTS_IDLE;
}

static void enter(struct mst_cuts *cuts, enum mst_cuts_phase phase)
{
    cuts->phase = phase;
    memset(cuts->answered, 0, cuts->n_ps);
    cuts->n_answered = 0;
}

void mst_cuts_begin(struct mst_cuts *cuts, uint64_t term, bool is_held)
{
    MST_ASSERT(!mst_cuts_is_busy(cuts));
    forget(cuts);
    if (cuts->term != term) {
        cuts->term = term;
        cuts->n_begun = 0;
    }
    cuts->id = term << 32 | ++cuts->n_begun;
    enter(cuts, is_held ? MST_CUTS_HOLDING : MST_CUTS_ADMITTING);
}

bool mst_cuts_next(const struct mst_cuts *cuts, size_t *cursor, size_t *ps_out, struct mst_msg_cut *message)
{
    static const enum mst_cut_phase phases[] = {
        [MST_CUTS_HOLDING] = MST_CUT_HOLD, [MST_CUTS_ADMITTING] = MST_CUT_ADMIT, [MST_CUTS_RESUMING] = MST_CUT_RESUME};
    *message = (struct mst_msg_cut){0};
    for (; mst_cuts_is_busy(cuts) && *cursor < cuts->n_ps; ++*cursor) {
        if (cuts->answered[*cursor])
            continue;
        *ps_out = (*cursor)++;
        *message = (struct mst_msg_cut){.term = cuts->term, .id = cuts->id, .phase = phases[cuts->phase]};
        if (cuts->phase == MST_CUTS_ADMITTING) {
            message->n_rows = cuts->n_rows;
            message->rows = cuts->rows;
        }
        return true;
    }
    return false;
}

static bool is_above(const struct mst_msg_client_row *a, const struct mst_msg_client_row *b)
{
    return a->number > b->number || (a->number == b->number && a->step > b->step);
}

static void take_highest(struct mst_cuts *cuts, const struct mst_msg_client_row *row)
{
    for (size_t i = 0; i < cuts->n_rows; i++)
        if (cuts->rows[i].worker == row->worker) {
            if (is_above(row, &cuts->rows[i]))
                cuts->rows[i] = *row;
            return;
        }
    cuts->rows = mst_realloc_array(cuts->rows, cuts->n_rows + 1, sizeof *cuts->rows);
    cuts->rows[cuts->n_rows++] = *row;
}

static void add_mark(struct mst_cuts *cuts, const struct mst_msg_client_row *row)
{
    cuts->marks = mst_realloc_array(cuts->marks, cuts->n_marks + 1, sizeof *cuts->marks);
    cuts->marks[cuts->n_marks++] = (struct mst_chief_state_row){row->worker, row->number, row->lease, row->offset};
}

bool mst_cuts_give_up(struct mst_cuts *cuts, const char *why)
{
    if (cuts->phase != MST_CUTS_HOLDING && cuts->phase != MST_CUTS_ADMITTING)
        return false;
    snprintf(cuts->why, sizeof cuts->why, "%s", why);
    enter(cuts, MST_CUTS_RESUMING);
    return true;
}

static enum mst_cuts_news all_answered(struct mst_cuts *cuts)
{
    switch (cuts->phase) {
    case MST_CUTS_HOLDING:
        enter(cuts, MST_CUTS_ADMITTING);
        return MST_CUTS_HELD;
    case MST_CUTS_ADMITTING:
        for (size_t i = 0; i < cuts->n_rows; i++)
            add_mark(cuts, &cuts->rows[i]); // the highest: at least one bucket has it
        enter(cuts, MST_CUTS_IDLE);
        return MST_CUTS_MARKED;
    default:
        enter(cuts, MST_CUTS_IDLE);
        return MST_CUTS_NOTHING;
    }
}

static enum mst_cuts_news count(struct mst_cuts *cuts, size_t ps)
{
    cuts->answered[ps] = 1;
    return ++cuts->n_answered < cuts->n_ps ? MST_CUTS_NOTHING : all_answered(cuts);
}

enum mst_cuts_news mst_cuts_answered(struct mst_cuts *cuts, size_t ps, const struct mst_msg_cut_reply *reply)
{
    if (!mst_cuts_is_busy(cuts) || reply->id != cuts->id || cuts->answered[ps])
        return MST_CUTS_NOTHING;
    if (cuts->phase == MST_CUTS_RESUMING)
        return count(cuts, ps);
    if (reply->is_refused) {
        char why[sizeof cuts->why];
        snprintf(why, sizeof why, "ps-%zu refused it: %s", ps, reply->text);
        cuts->missing = mst_alloc_array(reply->n_rows, sizeof *cuts->missing);
        cuts->n_missing = reply->n_rows;
        if (reply->n_rows)
            memcpy(cuts->missing, reply->rows, reply->n_rows * sizeof *cuts->missing);
        mst_cuts_give_up(cuts, why);
        return MST_CUTS_FAILED;
    }
    // An answer to HOLD that comes late, or to ADMIT that comes before it was sent, would be another phase's.
    if (reply->is_marked != (cuts->phase == MST_CUTS_ADMITTING))
        return MST_CUTS_NOTHING;
    for (size_t i = 0; i < reply->n_rows; i++)
        if (cuts->phase == MST_CUTS_HOLDING)
            take_highest(cuts, &reply->rows[i]);
        else
            add_mark(cuts, &reply->rows[i]);
    cuts->n_updates[ps] = reply->n_updates;
    if (cuts->pause_us < reply->pause_us)
        cuts->pause_us = reply->pause_us;
    return count(cuts, ps);
}

void mst_cuts_ps_lost(struct mst_cuts *cuts, size_t ps)
{
    char why[64];
    snprintf(why, sizeof why, "ps-%zu was lost", ps);
    mst_cuts_give_up(cuts, why);
    if (cuts->phase == MST_CUTS_RESUMING && !cuts->answered[ps])
        (void)count(cuts, ps);
}

mst_status mst_cuts_keep(struct mst_cuts *cuts, const struct mst_coordinator *c)
{
    const struct mst_chief_state nothing = {0}; // of what stands beside the coordinator
    mst_buf_reset(&cuts->state);
    mst_status status = mst_chief_state_encode(&nothing, c, &cuts->state);
    if (status != MST_OK)
        mst_buf_reset(&cuts->state);
    return status;
}

void mst_cuts_settle(struct mst_cuts *cuts, const struct mst_coordinator_config *config, uint64_t now_ms)
{
    if (cuts->state.len == 0)
        return;
    struct mst_coordinator copy;
    struct mst_arena arena;
    struct mst_chief_state beside;
    struct mst_error err;
    mst_coordinator_init(&copy, config);
    mst_arena_init(&arena, STATE_ARENA_MAX);
    mst_status status = mst_chief_state_decode(mst_buf_view(&cuts->state), &arena, &copy, now_ms, &beside, &err);
    if (status == MST_OK) {
        mst_chief_state_settle(&copy, cuts->marks, cuts->n_marks);
        cuts->n_done = copy.leases.n_done;
        cuts->n_torn = copy.leases.n_torn;
        cuts->is_settled = true;
        mst_buf_reset(&cuts->state);
        if (!copy.leases.is_stopped) // whoever goes on with one that is goes on by the number of steps
            status = mst_chief_state_encode(&beside, &copy, &cuts->state);
    }
    MST_ASSERT(status == MST_OK); // its own bytes, and settled they are no more
    mst_arena_fini(&arena);
    mst_coordinator_fini(&copy);
}
