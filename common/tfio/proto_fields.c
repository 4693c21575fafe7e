// Every length is compared with what is left before a pointer moves.
#include "tfio/proto_fields.h"

#include "base/bytes.h"
#include "base/error.h"
#include "muster/status.h"

#include <stddef.h>
#include <stdint.h>

static void skip(struct mst_bytes *rest, size_t n)
{
    rest->data = (const uint8_t *)rest->data + n;
    rest->len -= n;
}

mst_status mst_varint_take(struct mst_bytes *rest, uint64_t *out)
{
    const uint8_t *bytes = rest->data;
    uint64_t value = 0;
    *out = 0;
    for (size_t i = 0; i < rest->len && i < 10; i++) {
        value |= (uint64_t)(bytes[i] & 0x7f) << (7 * i);
        if (!(bytes[i] & 0x80)) {
            skip(rest, i + 1);
            *out = value;
            return MST_OK;
        }
    }
    return MST_DATA_LOSS;
}

static mst_status take_fixed(struct mst_bytes *rest, size_t n, uint64_t *out)
{
    const uint8_t *bytes = rest->data;
    if (rest->len < n)
        return MST_DATA_LOSS;
    for (size_t i = 0; i < n; i++)
        *out |= (uint64_t)bytes[i] << (8 * i);
    skip(rest, n);
    return MST_OK;
}

mst_status mst_proto_next(struct mst_bytes *rest, struct mst_proto_field *out)
{
    uint64_t tag, len;
    *out = (struct mst_proto_field){0};
    MST_TRY(mst_varint_take(rest, &tag));
    if (tag >> 3 == 0 || tag >> 3 > UINT32_MAX >> 3)
        return MST_DATA_LOSS;
    out->number = (uint32_t)(tag >> 3);
    switch (tag & 7) {
    case MST_PROTO_VARINT:
        out->wire = MST_PROTO_VARINT;
        return mst_varint_take(rest, &out->value);
    case MST_PROTO_FIXED64:
        out->wire = MST_PROTO_FIXED64;
        return take_fixed(rest, 8, &out->value);
    case MST_PROTO_FIXED32:
        out->wire = MST_PROTO_FIXED32;
        return take_fixed(rest, 4, &out->value);
    case MST_PROTO_BYTES:
        out->wire = MST_PROTO_BYTES;
        MST_TRY(mst_varint_take(rest, &len));
        if (len > rest->len)
            return MST_DATA_LOSS;
        out->bytes = (struct mst_bytes){rest->data, (size_t)len};
        skip(rest, (size_t)len);
        return MST_OK;
    default:
        return MST_DATA_LOSS; // groups: none of the messages we read has one
    }
}

mst_status mst_varint_append(struct mst_buf *buf, uint64_t value)
{
    uint8_t bytes[10];
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        bytes[n++] = (uint8_t)(value | 0x80);
    bytes[n++] = (uint8_t)value;
    return mst_buf_append(buf, bytes, n);
}

static mst_status append_tag(struct mst_buf *buf, uint32_t number, enum mst_proto_wire wire)
{
    return mst_varint_append(buf, (uint64_t)number << 3 | (uint64_t)wire);
}

mst_status mst_proto_append_varint(struct mst_buf *buf, uint32_t number, uint64_t value)
{
    MST_TRY(append_tag(buf, number, MST_PROTO_VARINT));
    return mst_varint_append(buf, value);
}

mst_status mst_proto_append_fixed32(struct mst_buf *buf, uint32_t number, uint32_t value)
{
    uint8_t bytes[4];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    MST_TRY(append_tag(buf, number, MST_PROTO_FIXED32));
    return mst_buf_append(buf, bytes, sizeof bytes);
}

mst_status mst_proto_append_bytes(struct mst_buf *buf, uint32_t number, struct mst_bytes bytes)
{
    MST_TRY(append_tag(buf, number, MST_PROTO_BYTES));
    MST_TRY(mst_varint_append(buf, bytes.len));
    return mst_buf_append(buf, bytes.data, bytes.len);
}
