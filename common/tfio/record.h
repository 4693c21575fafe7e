/** @file
 *  TFRecord framing: how TensorFlow puts records one after another into a file.
 *
 *      MST_TRY(mst_record_append(&buf, mst_buf_view(&message)));
 *
 *  Layout of a record:
 *  1. u64 length of the data, little-endian as all of it;
 *  2. u32 masked crc32c of 1;
 *  3. the data;
 *  4. u32 masked crc32c of 3.
 *  Thread: any. Source: TensorFlow core/lib/io/record_writer
 */
#pragma once

#include "base/bytes.h"

enum { MST_RECORD_FRAME_BYTES = 16 }; // of a record beside its data

/** Appends a record that holds data. Errors: RESOURCE_EXHAUSTED (buf is as it was) */
MST_MUST_USE mst_status mst_record_append(struct mst_buf *buf, struct mst_bytes data);
