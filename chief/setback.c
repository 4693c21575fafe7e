#include "chief/setback.h"

void mst_setback_emptied(struct mst_setback *setback, uint64_t n_steps, uint64_t n_torn)
{
    setback->is_gone = true;
    setback->is_restoring = setback->is_open = false; // what was open is part of what is lost next
    setback->n_steps = n_steps;
    setback->n_torn = n_torn;
}

void mst_setback_restoring(struct mst_setback *setback, uint64_t checkpoint_step)
{
    if (setback->is_restoring)
        return;
    setback->is_restoring = true;
    setback->checkpoint_step = checkpoint_step;
}

// Lost up to this step: how many more than was known.
static uint64_t count_to(struct mst_setback *setback, uint64_t step)
{
    uint64_t before = setback->counted_step > setback->from_step ? setback->counted_step : setback->from_step;
    if (step <= before)
        return 0;
    setback->counted_step = step;
    return step - before;
}

uint64_t mst_setback_restored(struct mst_setback *setback, uint64_t n_taken)
{
    bool is_later = setback->checkpoint_step > setback->counted_step;
    setback->from_step = is_later ? setback->checkpoint_step : setback->counted_step;
    setback->is_gone = setback->is_restoring = false;
    setback->is_open = true;
    return count_to(setback, setback->n_steps > n_taken ? setback->n_steps : n_taken);
}

void mst_setback_seen(struct mst_setback *setback, const struct mst_setback_cut *cut)
{
    if (!setback->is_open)
        return;
    uint64_t n_torn = cut->n_torn > setback->n_torn ? cut->n_torn - setback->n_torn : 0;
    bool is_short = cut->n_updates != UINT64_MAX && cut->n_done > cut->n_updates + n_torn;
    setback->seen_step = cut->n_done;
    setback->seen_to = setback->n_steps + (is_short ? cut->n_done - cut->n_updates - n_torn : 0);
}

uint64_t mst_setback_settle(struct mst_setback *setback)
{
    if (!setback->is_open)
        return 0;
    setback->is_open = false;
    return count_to(setback, setback->seen_to);
}

uint64_t mst_setback_committed(struct mst_setback *setback, uint64_t step)
{
    return setback->seen_step == step ? count_to(setback, setback->seen_to) : 0;
}

uint64_t mst_setback_n_lost(const struct mst_setback *setback)
{
    return setback->counted_step > setback->from_step ? setback->counted_step - setback->from_step : 0;
}
