/** @file
 *  How a string tensor of one element lies in a data file. Private to tfio/.
 *
 *  1. the text's length, a varint · 2. u32 masked CRC of the length as a u32 · 3. the text.
 *  The index's CRC is over the length as a u32, then 2, then 3. Thread: any.
 *  Source: TensorFlow core/util/tensor_bundle/tensor_bundle.cc, WriteStringTensor
 */
#pragma once

#include "base/bytes.h"

#include <stdint.h>

/** The text within a stored piece, borrowed from it; masked_crc is the index's.
 *  Errors: DATA_LOSS cut off, more bytes than the length says, a wrong checksum */
MST_MUST_USE mst_status mst_bundle_text_of(struct mst_bytes piece, uint32_t masked_crc, struct mst_bytes *text_out);
