#include "chief/setback.h"

void mst_setback_emptied(struct mst_setback *setback)
{
    setback->is_restoring = false;
}

void mst_setback_restoring(struct mst_setback *setback, uint64_t checkpoint_step, uint64_t n_steps)
{
    if (setback->is_restoring)
        return;
    setback->is_restoring = true;
    setback->checkpoint_step = checkpoint_step;
    setback->n_steps = n_steps;
}

uint64_t mst_setback_restored(struct mst_setback *setback, uint64_t n_taken)
{
    uint64_t from = setback->checkpoint_step > setback->counted_step ? setback->checkpoint_step : setback->counted_step;
    uint64_t to = setback->n_steps > n_taken ? setback->n_steps : n_taken;
    setback->is_restoring = false;
    if (to <= from)
        return 0;
    setback->counted_step = to;
    return to - from;
}
