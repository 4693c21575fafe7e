/** @file
 *  Into how many parts a variable is cut, and which rows each part holds: TensorFlow's three partitioners, exactly.
 *
 *      uint64_t n = mst_partitioner_n_parts(&job->partitioner, shape, rank, sizeof(float));
 *      struct mst_part_rows rows = mst_part_rows_of(shape[0], n, i);
 *
 *  Only axis 0 is cut; a variable of rank 0 never is. Thread: any.
 *  Source: TensorFlow's sharded_variable.py, partitioned_variables.py and parameter_server_strategy_v2.py
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum mst_partitioner_kind {
    MST_PARTITIONER_NONE, // whole variables, TF's default
    MST_PARTITIONER_FIXED_SHARDS,
    MST_PARTITIONER_MIN_SIZE,
    MST_PARTITIONER_MAX_SIZE,
};

/** A partitioner and its arguments; those of other kinds are 0. */
struct mst_partitioner {
    enum mst_partitioner_kind kind;
    uint64_t num_shards;      // FixedShards
    uint64_t min_shard_bytes; // MinSize
    uint64_t max_shard_bytes; // MaxSize
    uint64_t max_shards;      // MinSize; MaxSize, 0: no limit
    uint64_t bytes_per_string;
};

/** Rows of axis 0. */
struct mst_part_rows {
    uint64_t first;
    uint64_t n_rows;
};

/** Number of parts, 1 … shape[0] (1 for rank 0 and for an empty axis). element_bytes 0: texts, which count as
 *  bytes_per_string. */
uint64_t mst_partitioner_n_parts(const struct mst_partitioner *partitioner, const uint64_t *shape, size_t rank,
                                 uint64_t element_bytes);

/** The rows of one part: dim / n_parts each, and one more for the first dim % n_parts. part < n_parts <= dim. */
struct mst_part_rows mst_part_rows_of(uint64_t dim, uint64_t n_parts, uint64_t part);

/** TF's class name, "MinSizePartitioner"; NULL for NONE. */
const char *mst_partitioner_name(enum mst_partitioner_kind kind);
