// The permutation is computed for each position when it is wanted, never stored: a worker sees its share of an epoch
// once, so a table would cost the same computation (measured: 61 ns a position) plus its memory. Rows are prefetched
// into the cache a few ahead, because their order is random and each one is a dozen lines the hardware cannot guess.
#include "data/batches.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/rng.h"
#include "data/dataset.h"
#include "muster/status.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { GATHER_CHUNK = 64, PREFETCH_LINE = 64, PREFETCH_MAX_BYTES = 1024 };

struct mst_batches {
    struct mst_dataset *dataset;
    size_t batch_size;
    uint64_t seed;
    enum mst_order order;
    size_t n_examples;
    size_t n_batches;
};

mst_status mst_batches_new(struct mst_dataset *dataset, const struct mst_batches_options *options,
                           struct mst_batches **out, struct mst_error *err)
{
    *out = NULL;
    if (options->batch_size < 1 || options->batch_size > MST_BATCH_SIZE_MAX)
        return mst_fail(err, MST_INVALID_ARGUMENT, "batch_size is %zu; it must be from 1 to %d", options->batch_size,
                        MST_BATCH_SIZE_MAX);
    struct mst_batches *batches = mst_alloc(sizeof *batches);
    *batches = (struct mst_batches){
        .dataset = dataset,
        .batch_size = options->batch_size,
        .seed = options->seed,
        .order = options->order,
        .n_examples = mst_dataset_n_examples(dataset),
        .n_batches = mst_dataset_n_batches(dataset, options->batch_size),
    };
    *out = batches;
    return MST_OK;
}

void mst_batches_free(struct mst_batches *batches)
{
    free(batches);
}

struct mst_dataset *mst_batches_dataset(const struct mst_batches *batches)
{
    return batches->dataset;
}

size_t mst_batches_batch_size(const struct mst_batches *batches)
{
    return batches->batch_size;
}

uint64_t mst_batches_n_batches(const struct mst_batches *batches)
{
    return batches->n_batches;
}

size_t mst_batches_n_examples(const struct mst_batches *batches, uint64_t number)
{
    MST_ASSERT(number < batches->n_batches);
    size_t first = (size_t)number * batches->batch_size;
    size_t left = batches->n_examples - first;
    return left < batches->batch_size ? left : batches->batch_size;
}

size_t mst_batches_example(const struct mst_batches *batches, uint64_t epoch, size_t position)
{
    MST_ASSERT(position < batches->n_examples);
    if (batches->order == MST_ORDER_FILE)
        return position;
    return (size_t)mst_rng_permute(mst_rng_key_of(batches->seed, "shuffle", epoch), batches->n_examples, position);
}

static void prefetch_row(const uint8_t *row, size_t bytes)
{
    for (size_t i = 0; i < bytes && i < PREFETCH_MAX_BYTES; i += PREFETCH_LINE)
        __builtin_prefetch(row + i);
}

// Positions [first, first + n) of an epoch, n <= GATHER_CHUNK.
static void gather_chunk(const struct mst_batches *batches, const struct mst_rng_key *key, size_t first, size_t n,
                         struct mst_batch *out, size_t n_before)
{
    const uint8_t *features = mst_dataset_features(batches->dataset);
    const int32_t *labels = mst_dataset_labels(batches->dataset);
    size_t row_bytes = mst_dataset_example_bytes(batches->dataset);
    size_t examples[GATHER_CHUNK];
    for (size_t i = 0; i < n; i++) {
        examples[i] = key ? (size_t)mst_rng_permute(*key, batches->n_examples, first + i) : first + i;
        if (out->features)
            prefetch_row(features + examples[i] * row_bytes, row_bytes);
    }
    if (out->features)
        for (size_t i = 0; i < n; i++)
            memcpy((uint8_t *)out->features + (n_before + i) * row_bytes, features + examples[i] * row_bytes,
                   row_bytes);
    if (out->labels && labels)
        for (size_t i = 0; i < n; i++)
            out->labels[n_before + i] = labels[examples[i]];
}

mst_status mst_batches_gather(const struct mst_batches *batches, uint64_t epoch, uint64_t number, struct mst_batch *out,
                              struct mst_error *err)
{
    out->epoch = epoch;
    out->number = number;
    out->n_examples = 0;
    if (number >= batches->n_batches)
        return mst_fail(err, MST_OUT_OF_RANGE,
                        "batch %llu of epoch %llu does not exist; an epoch has %zu batches of %zu",
                        (unsigned long long)number, (unsigned long long)epoch, batches->n_batches, batches->batch_size);
    MST_TRY(mst_dataset_load(batches->dataset, err));
    struct mst_rng_key key = mst_rng_key_of(batches->seed, "shuffle", epoch);
    size_t first = (size_t)number * batches->batch_size;
    size_t n_examples = mst_batches_n_examples(batches, number);
    for (size_t i = 0; i < n_examples; i += GATHER_CHUNK) {
        size_t n = n_examples - i < GATHER_CHUNK ? n_examples - i : GATHER_CHUNK;
        gather_chunk(batches, batches->order == MST_ORDER_SHUFFLED ? &key : NULL, first + i, n, out, i);
    }
    out->n_examples = n_examples;
    return MST_OK;
}
