#include "rpc_frames.h"

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "muster/status.h"

#include <stdlib.h>

uint8_t rpc_pattern(uint64_t number, size_t i)
{
    return (uint8_t)(number * 31 + i * 7 + (i >> 8));
}

void rpc_fill(void *data, size_t len, uint64_t number)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)data)[i] = rpc_pattern(number, i);
}

static void append(struct mst_buf *out, const void *data, size_t len)
{
    mst_status status = mst_buf_append(out, data, len);
    MST_ASSERT(status == MST_OK);
}

void rpc_append_frame(struct mst_buf *out, const struct mst_frame *head, struct mst_bytes meta, size_t body_bytes)
{
    uint8_t header[MST_FRAME_HEADER_BYTES], crc_bytes[MST_FRAME_CRC_BYTES];
    size_t n_crc = head->flags & MST_FRAME_BODY_CRC ? MST_FRAME_CRC_BYTES : 0;
    struct mst_frame frame = *head;
    frame.meta_bytes = (uint32_t)meta.len;
    frame.body_bytes = body_bytes + n_crc;
    mst_frame_encode(&frame, meta.data, header);
    append(out, header, sizeof header);
    append(out, meta.data, meta.len);
    uint8_t *body = mst_alloc(body_bytes);
    rpc_fill(body, body_bytes, head->call);
    append(out, body, body_bytes);
    uint32_t crc = mst_crc32c(body, body_bytes);
    for (size_t i = 0; i < n_crc; i++)
        crc_bytes[i] = (uint8_t)(crc >> (8 * i));
    append(out, crc_bytes, n_crc);
    free(body);
}
