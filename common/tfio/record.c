#include "tfio/record.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "muster/status.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { LENGTH_BYTES = 8, CRC_BYTES = 4 };

static void put_little_endian(uint8_t *out, uint64_t value, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

mst_status mst_record_append(struct mst_buf *buf, struct mst_bytes data)
{
    uint8_t *out;
    if (data.len > SIZE_MAX - MST_RECORD_FRAME_BYTES)
        return MST_RESOURCE_EXHAUSTED;
    MST_TRY(mst_buf_reserve(buf, data.len + MST_RECORD_FRAME_BYTES, &out));
    put_little_endian(out, data.len, LENGTH_BYTES);
    put_little_endian(out + LENGTH_BYTES, mst_crc32c_mask(mst_crc32c(out, LENGTH_BYTES)), CRC_BYTES);
    out += LENGTH_BYTES + CRC_BYTES;
    if (data.len > 0)
        memcpy(out, data.data, data.len);
    put_little_endian(out + data.len, mst_crc32c_mask(mst_crc32c(data.data, data.len)), CRC_BYTES);
    buf->len += data.len + MST_RECORD_FRAME_BYTES;
    return MST_OK;
}
