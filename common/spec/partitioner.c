// TensorFlow computes with floats; integers give the same numbers up to 2^53 bytes, and right ones beyond.
#include "spec/partitioner.h"

static uint64_t min_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t ceil_div(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

// Saturates: a variable of more than 2^64 bytes is refused elsewhere, and any number of parts will do until then.
static uint64_t product(uint64_t a, uint64_t b)
{
    uint64_t result = 0;
    return __builtin_mul_overflow(a, b, &result) ? UINT64_MAX : result;
}

uint64_t mst_partitioner_n_parts(const struct mst_partitioner *partitioner, const uint64_t *shape, size_t rank,
                                 uint64_t element_bytes)
{
    if (rank == 0 || shape[0] == 0)
        return 1;
    uint64_t row_bytes = element_bytes > 0 ? element_bytes : partitioner->bytes_per_string;
    for (size_t i = 1; i < rank; i++)
        row_bytes = product(row_bytes, shape[i]);
    uint64_t dim = shape[0], n_parts = 1;
    switch (partitioner->kind) {
    case MST_PARTITIONER_NONE:
        break;
    case MST_PARTITIONER_FIXED_SHARDS:
        n_parts = partitioner->num_shards;
        break;
    case MST_PARTITIONER_MIN_SIZE:
        n_parts = min_of(partitioner->max_shards, ceil_div(product(row_bytes, dim), partitioner->min_shard_bytes));
        break;
    case MST_PARTITIONER_MAX_SIZE:
        // A row of no bytes fits as often as one likes.
        n_parts = row_bytes == 0 ? 1 : ceil_div(dim, max_of(1, partitioner->max_shard_bytes / row_bytes));
        if (partitioner->max_shards > 0)
            n_parts = min_of(n_parts, partitioner->max_shards);
        break;
    }
    return max_of(1, min_of(n_parts, dim));
}

struct mst_part_rows mst_part_rows_of(uint64_t dim, uint64_t n_parts, uint64_t part)
{
    uint64_t base = dim / n_parts, n_longer = dim % n_parts;
    return (struct mst_part_rows){.first = part * base + min_of(part, n_longer), .n_rows = base + (part < n_longer)};
}

const char *mst_partitioner_name(enum mst_partitioner_kind kind)
{
    switch (kind) {
    case MST_PARTITIONER_FIXED_SHARDS:
        return "FixedShardsPartitioner";
    case MST_PARTITIONER_MIN_SIZE:
        return "MinSizePartitioner";
    case MST_PARTITIONER_MAX_SIZE:
        return "MaxSizePartitioner";
    case MST_PARTITIONER_NONE:
        break;
    }
    return NULL;
}
