/** @file
 *  Field numbers of the messages in a bundle's index. Private to tfio/.
 *  Source: TensorFlow core/protobuf/tensor_bundle.proto, core/framework/{tensor_shape,tensor_slice,versions}.proto
 */
#pragma once

enum {
    HEADER_NUM_SHARDS = 1,
    HEADER_ENDIANNESS = 2,
    HEADER_VERSION = 3,
    VERSION_PRODUCER = 1,
    VERSION_MIN_CONSUMER = 2,
    ENTRY_DTYPE = 1,
    ENTRY_SHAPE = 2,
    ENTRY_SHARD = 3,
    ENTRY_OFFSET = 4,
    ENTRY_SIZE = 5,
    ENTRY_CRC = 6,
    ENTRY_SLICES = 7,
    SHAPE_DIM = 2,
    SHAPE_UNKNOWN_RANK = 3,
    DIM_SIZE = 1,
    SLICE_EXTENT = 1,
    EXTENT_START = 1,
    EXTENT_LENGTH = 2,
    BUNDLE_VERSION = 1 // what we write, and the newest min_consumer we read
};
