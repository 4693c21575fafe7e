#include "worker/accumulator.h"

#include "base/alloc.h"
#include "base/error.h"
#include "optim/weighted_sum.h"

#include <stdlib.h>

struct mst_accumulator {
    const struct mst_model *model;
    size_t n_batches;   // of the unit
    size_t n_come;      // of them, the one at hand included
    float weight;       // of the batch at hand
    float total_weight; // summed as a round sums it
    float *memory;      // backs sums
    float **sums;       // one a variable; NULL of frozen ones
};

// Whole lines of 64 bytes; nothing for a frozen variable.
static size_t floats_of(const struct mst_model *model, size_t v)
{
    const struct mst_variable *variable = mst_model_variable(model, v);
    return variable->update == MST_UPDATE_FROZEN ? 0 : (variable->n_elements + 15) / 16 * 16;
}

mst_status mst_accumulator_new(const struct mst_model *model, struct mst_accumulator **out, struct mst_error *err)
{
    *out = NULL;
    size_t n_floats = 0;
    size_t n_variables = mst_model_n_variables(model);
    for (size_t v = 0; v < n_variables; v++)
        n_floats += floats_of(model, v);
    void *memory;
    if (mst_try_alloc(n_floats * sizeof(float), &memory) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for the %zu bytes of consistency.accumulate_steps",
                        n_floats * sizeof(float));
    struct mst_accumulator *accumulator = mst_alloc(sizeof *accumulator);
    accumulator->model = model;
    accumulator->memory = memory;
    accumulator->sums = mst_alloc_array(n_variables, sizeof(float *));
    float *at = accumulator->memory;
    for (size_t v = 0; v < n_variables; v++) {
        accumulator->sums[v] = floats_of(model, v) ? at : NULL;
        at += floats_of(model, v);
    }
    *out = accumulator;
    return MST_OK;
}

void mst_accumulator_free(struct mst_accumulator *accumulator)
{
    if (!accumulator)
        return;
    free(accumulator->sums);
    free(accumulator->memory);
    free(accumulator);
}

void mst_accumulator_begin(struct mst_accumulator *accumulator, size_t n_batches)
{
    accumulator->n_batches = n_batches;
    accumulator->n_come = 0;
    accumulator->total_weight = 0;
}

void mst_accumulator_next(struct mst_accumulator *accumulator, double weight)
{
    MST_ASSERT(accumulator->n_come < accumulator->n_batches);
    accumulator->n_come++;
    accumulator->weight = (float)weight;
    accumulator->total_weight += accumulator->weight;
}

bool mst_accumulator_add(struct mst_accumulator *accumulator, size_t variable, float *grad)
{
    size_t n = mst_model_variable(accumulator->model, variable)->n_elements;
    float *sum = accumulator->sums[variable];
    if (accumulator->n_batches == 1)
        return true;
    mst_weighted_sum_add(accumulator->weight, grad, accumulator->n_come == 1, sum, n);
    if (accumulator->n_come < accumulator->n_batches)
        return false;
    mst_weighted_sum_mean(accumulator->total_weight, sum, grad, n);
    return true;
}

double mst_accumulator_weight(const struct mst_accumulator *accumulator)
{
    return (double)accumulator->total_weight;
}
