/** @file
 *  Protocol buffer fields by hand: enough for the small messages inside TensorFlow's files, without generated code, and
 *  without anything allocated for what a hostile file says.
 *
 *      while (rest.len > 0) {
 *          MST_TRY(mst_proto_next(&rest, &field));      // unknown fields are simply not looked at
 *          if (field.number == 1 && field.wire == MST_PROTO_VARINT) …
 *      }
 *
 *  Thread: any. Source: protobuf encoding guide (varint, 64-bit, length-delimited, 32-bit).
 */
#pragma once

#include "base/bytes.h"

#include <stdint.h>

enum mst_proto_wire { MST_PROTO_VARINT = 0, MST_PROTO_FIXED64 = 1, MST_PROTO_BYTES = 2, MST_PROTO_FIXED32 = 5 };

struct mst_proto_field {
    uint32_t number;
    enum mst_proto_wire wire;
    uint64_t value;         // of a varint or fixed field
    struct mst_bytes bytes; // of a length-delimited one, borrowed
};

/** Takes the next field off the front of *rest (not empty). Errors: DATA_LOSS cut off, a group, or number 0 */
MST_MUST_USE mst_status mst_proto_next(struct mst_bytes *rest, struct mst_proto_field *out);
/** Takes a varint off the front of *rest. Errors: DATA_LOSS cut off or longer than 10 bytes */
MST_MUST_USE mst_status mst_varint_take(struct mst_bytes *rest, uint64_t *out);

/** Appends a varint. Errors: RESOURCE_EXHAUSTED */
MST_MUST_USE mst_status mst_varint_append(struct mst_buf *buf, uint64_t value);
/** Appends a varint field, also when it is 0. Errors: RESOURCE_EXHAUSTED */
MST_MUST_USE mst_status mst_proto_append_varint(struct mst_buf *buf, uint32_t number, uint64_t value);
/** Appends a fixed32 field. Errors: RESOURCE_EXHAUSTED */
MST_MUST_USE mst_status mst_proto_append_fixed32(struct mst_buf *buf, uint32_t number, uint32_t value);
/** Appends a length-delimited field: a text or an encoded message. Errors: RESOURCE_EXHAUSTED */
MST_MUST_USE mst_status mst_proto_append_bytes(struct mst_buf *buf, uint32_t number, struct mst_bytes bytes);
