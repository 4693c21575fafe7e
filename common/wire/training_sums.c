#include "wire/training_sums.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

uint64_t mst_staleness_bin_limit(size_t bin)
{
    if (bin == 0)
        return 0;
    return bin + 1 < MST_STALENESS_BINS ? UINT64_C(1) << (bin - 1) : UINT64_MAX;
}

size_t mst_staleness_bin(uint64_t staleness)
{
    size_t bin = 0;
    while (staleness > mst_staleness_bin_limit(bin))
        bin++;
    return bin;
}

void mst_training_sums_note_staleness(struct mst_training_sums *sums, uint64_t staleness)
{
    sums->staleness_sum += staleness;
    if (sums->staleness_max < staleness)
        sums->staleness_max = staleness;
    sums->staleness_counts[mst_staleness_bin(staleness)]++;
}

void mst_training_sums_init(struct mst_training_sums *sums, size_t n_values)
{
    *sums = (struct mst_training_sums){.n_values = n_values};
    if (n_values > 0)
        sums->values = mst_alloc_array(n_values, sizeof *sums->values);
}

void mst_training_sums_fini(struct mst_training_sums *sums)
{
    free(sums->values);
    *sums = (struct mst_training_sums){0};
}

void mst_training_sums_clear(struct mst_training_sums *sums)
{
    for (size_t i = 0; i < sums->n_values; i++)
        sums->values[i] = 0;
    *sums = (struct mst_training_sums){.n_values = sums->n_values, .values = sums->values};
}

void mst_training_sums_copy(struct mst_training_sums *to, const struct mst_training_sums *from)
{
    mst_training_sums_clear(to);
    mst_training_sums_add(to, from);
}

void mst_training_sums_add(struct mst_training_sums *a, const struct mst_training_sums *b)
{
    MST_ASSERT(b->n_values <= a->n_values);
    a->steps += b->steps;
    a->examples += b->examples;
    a->staleness_sum += b->staleness_sum;
    if (a->staleness_max < b->staleness_max)
        a->staleness_max = b->staleness_max;
    for (size_t i = 0; i < MST_STALENESS_BINS; i++)
        a->staleness_counts[i] += b->staleness_counts[i];
    for (size_t i = 0; i < b->n_values; i++)
        a->values[i] += b->values[i];
}

void mst_training_sums_add_growth(struct mst_training_sums *a, const struct mst_training_sums *now,
                                  const struct mst_training_sums *before)
{
    MST_ASSERT(now->n_values <= a->n_values && before->n_values >= now->n_values);
    a->steps += now->steps - before->steps;
    a->examples += now->examples - before->examples;
    a->staleness_sum += now->staleness_sum - before->staleness_sum;
    if (a->staleness_max < now->staleness_max)
        a->staleness_max = now->staleness_max;
    for (size_t i = 0; i < MST_STALENESS_BINS; i++)
        a->staleness_counts[i] += now->staleness_counts[i] - before->staleness_counts[i];
    for (size_t i = 0; i < now->n_values; i++)
        a->values[i] += now->values[i] - before->values[i];
}
