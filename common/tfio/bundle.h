/** @file
 *  TensorBundle V2, TensorFlow's checkpoint format: what its writer and its reader share.
 *
 *  A bundle with prefix P and N shards is N data files, P.data-0000i-of-0000N, of raw little-endian tensor bytes, and
 *  one table, P.index, that says for each tensor name its type, shape, shard, offset, size and CRC. A partitioned
 *  variable has an entry without data that lists its slices, and an entry with data for each slice. bundle_writer.h
 *  writes one: every process its data file, one process the index. bundle_reader.h reads any.
 *  Source: TensorFlow core/util/tensor_bundle, core/util/saved_tensor_slice_util.cc
 */
#pragma once

#include "muster/status.h"
#include "tensor/shape.h"
#include "tfio/tf_types.h"

#include <stddef.h>
#include <stdint.h>

enum {
    MST_BUNDLE_NAME_MAX = 4096,   // bytes of a tensor name
    MST_BUNDLE_SHARDS_MAX = 99999 // what -0000i-of-0000N has digits for
};

/** Where the bytes of a tensor, or of a slice of it, lie: what a data writer returns and the index holds. */
struct mst_bundle_piece {
    uint64_t offset_bytes;
    uint64_t size_bytes;
    uint32_t crc32c; // of the bytes, masked as the file carries it
};

/** A tensor, or the rows [row_offset, row_offset + n_rows) of a partitioned one. */
struct mst_bundle_tensor {
    const char *name;
    enum mst_tf_type type;
    struct mst_shape shape; // of the whole variable
    uint64_t row_offset;    // on axis 0
    uint64_t n_rows;        // 0: the whole tensor, not a slice
};

/** Bytes of what the tensor describes (the slice, if it is one) in *out.
 *  Errors: INVALID_ARGUMENT a type without a fixed size, rows outside the shape; RESOURCE_EXHAUSTED more than 2^63 */
MST_MUST_USE mst_status mst_bundle_tensor_bytes(const struct mst_bundle_tensor *tensor, uint64_t *out,
                                                struct mst_error *err);

/** New text "prefix.index". */
char *mst_bundle_index_path(const char *prefix);
/** New text "prefix.data-0000i-of-0000N". */
char *mst_bundle_data_path(const char *prefix, size_t shard, size_t n_shards);
