// The permutation is computed for each position when it is wanted, never stored: a worker sees its share of an epoch
// once, so a table would cost the same computation (measured: 61 ns a position) plus its memory. Rows are prefetched
// into the cache a few ahead, because their order is random and each one is a dozen lines the hardware cannot guess.
#include "data/batches.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/rng.h"
#include "data/dataset.h"
#include "muster/status.h"

#include <stdbool.h>
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

// Each part begins on a cache line of its own.
static bool add_bytes(size_t n, size_t element_bytes, size_t *total)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, element_bytes, &bytes) || bytes > SIZE_MAX / 2 - *total - MST_ALIGNMENT)
        return false;
    *total += (bytes + MST_ALIGNMENT - 1) / MST_ALIGNMENT * MST_ALIGNMENT;
    return true;
}

static void *carve(char **at, size_t bytes)
{
    void *part = *at;
    *at += (bytes + MST_ALIGNMENT - 1) / MST_ALIGNMENT * MST_ALIGNMENT;
    return part;
}

static void lay_out(struct mst_batch *batch, const struct mst_batches *batches, enum mst_batch_parts parts)
{
    const struct mst_dataset *dataset = batches->dataset;
    size_t n = batches->batch_size;
    char *at = batch->memory;
    batch->inputs = carve(&at, mst_dataset_n_inputs(dataset) * sizeof *batch->inputs);
    for (size_t i = 0; i < mst_dataset_n_inputs(dataset); i++)
        batch->inputs[i] = carve(&at, n * mst_dataset_input(dataset, i)->example_bytes);
    if (parts == MST_BATCH_INPUTS)
        return;
    batch->targets = carve(&at, mst_dataset_n_outputs(dataset) * sizeof *batch->targets);
    for (size_t i = 0; i < mst_dataset_n_outputs(dataset); i++) {
        const struct mst_dataset_output *output = mst_dataset_output(dataset, i);
        void *room = carve(&at, n * output->width * sizeof(float));
        batch->targets[i] =
            (struct mst_target){.labels = output->labels ? room : NULL, .values = output->values ? room : NULL};
    }
    if (mst_dataset_weights(dataset))
        batch->weights = carve(&at, n * sizeof *batch->weights);
}

mst_status mst_batch_init(struct mst_batch *out, const struct mst_batches *batches, enum mst_batch_parts parts,
                          struct mst_error *err)
{
    const struct mst_dataset *dataset = batches->dataset;
    size_t n = batches->batch_size;
    size_t total = 0;
    *out = (struct mst_batch){0};
    bool fits = add_bytes(mst_dataset_n_inputs(dataset), sizeof *out->inputs, &total) &&
                add_bytes(mst_dataset_n_outputs(dataset), sizeof *out->targets, &total) &&
                add_bytes(n, sizeof *out->weights, &total);
    for (size_t i = 0; fits && i < mst_dataset_n_inputs(dataset); i++)
        fits = add_bytes(n, mst_dataset_input(dataset, i)->example_bytes, &total);
    for (size_t i = 0; fits && i < mst_dataset_n_outputs(dataset); i++)
        fits = add_bytes(n, mst_dataset_output(dataset, i)->width * sizeof(float), &total);
    if (!fits || mst_try_alloc(total, &out->memory) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for a batch of %zu examples of %zu inputs", n,
                        mst_dataset_n_inputs(dataset));
    lay_out(out, batches, parts);
    return MST_OK;
}

void mst_batch_fini(struct mst_batch *batch)
{
    free(batch->memory);
    *batch = (struct mst_batch){0};
}

static inline void gather_rows(void *to, const void *from, size_t row_bytes, const size_t *examples, size_t n)
{
    for (size_t i = 0; i < n; i++)
        memcpy((char *)to + i * row_bytes, (const char *)from + examples[i] * row_bytes, row_bytes);
}

// Labels and weights: rows of one size, which needs no call.
static void gather_words(void *to, const void *from, const size_t *examples, size_t n)
{
    gather_rows(to, from, sizeof(uint32_t), examples, n);
}

static void gather_targets(const struct mst_batches *batches, const size_t *examples, size_t n, struct mst_batch *out,
                           size_t n_before)
{
    const struct mst_dataset *dataset = batches->dataset;
    for (size_t k = 0; k < mst_dataset_n_outputs(dataset); k++) {
        const struct mst_dataset_output *output = mst_dataset_output(dataset, k);
        // The room is the batch's own, const only for those who read it.
        if (output->labels)
            gather_words((int32_t *)out->targets[k].labels + n_before, output->labels, examples, n);
        else if (output->values)
            gather_rows((float *)out->targets[k].values + n_before * output->width, output->values,
                        output->width * sizeof(float), examples, n);
    }
    if (out->weights)
        gather_words(out->weights + n_before, mst_dataset_weights(dataset), examples, n);
}

// Positions [first, first + n) of an epoch, n <= GATHER_CHUNK.
static void gather_chunk(const struct mst_batches *batches, const struct mst_rng_key *key, size_t first, size_t n,
                         struct mst_batch *out, size_t n_before)
{
    const struct mst_dataset *dataset = batches->dataset;
    const struct mst_dataset_input *input = mst_dataset_input(dataset, 0);
    size_t examples[GATHER_CHUNK];
    for (size_t i = 0; i < n; i++) {
        examples[i] = key ? (size_t)mst_rng_permute(*key, batches->n_examples, first + i) : first + i;
        prefetch_row((const uint8_t *)input->data + examples[i] * input->example_bytes, input->example_bytes);
    }
    for (size_t k = 0; k < mst_dataset_n_inputs(dataset); k++) {
        input = mst_dataset_input(dataset, k);
        gather_rows((char *)out->inputs[k] + n_before * input->example_bytes, input->data, input->example_bytes,
                    examples, n);
    }
    if (out->targets)
        gather_targets(batches, examples, n, out, n_before);
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
