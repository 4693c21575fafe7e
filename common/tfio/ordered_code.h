/** @file
 *  The keys under which a bundle keeps the slices of a partitioned variable: an encoding whose bytewise order is the
 *  order of what it encodes.
 *
 *  Layout of a slice key:
 *  1. the number 0;
 *  2. the name as a string;
 *  3. the number of axes;
 *  4. for each axis the signed numbers start and length, length -1 for a whole axis.
 *  A number: one byte with its length, then that many bytes big-endian.
 *  A string: bytes with 00 -> 00 FF, FF -> FF 00, then 00 01.
 *  A signed number: one byte 80 + n for -64 <= n < 64, else as many leading one bits as there are bytes.
 *  Thread: any. Source: TensorFlow core/lib/strings/ordered_code, core/util/saved_tensor_slice_util
 */
#pragma once

#include "base/bytes.h"

#include <stdint.h>

/** One axis of a slice: [start, start + length), or the whole axis if length is MST_SLICE_WHOLE (start is then 0). */
struct mst_slice_axis {
    int64_t start;
    int64_t length;
};

#define MST_SLICE_WHOLE ((int64_t)-1)

/** Appends the key of a slice. Errors: RESOURCE_EXHAUSTED */
MST_MUST_USE mst_status mst_slice_key_append(struct mst_buf *buf, const char *name, const struct mst_slice_axis *axes,
                                             size_t n_axes);
/** Appends a number >= 0. Errors: RESOURCE_EXHAUSTED */
MST_MUST_USE mst_status mst_ordered_append_number(struct mst_buf *buf, uint64_t number);
/** Appends a signed number. Errors: RESOURCE_EXHAUSTED */
MST_MUST_USE mst_status mst_ordered_append_signed(struct mst_buf *buf, int64_t number);
/** Appends a string. Errors: RESOURCE_EXHAUSTED */
MST_MUST_USE mst_status mst_ordered_append_text(struct mst_buf *buf, const char *text);
