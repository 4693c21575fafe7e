#include "bundle_text.h"

#include "base/crc32c.h"
#include "base/error.h"
#include "proto_fields.h"

static uint32_t u32_at(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

mst_status mst_bundle_text_of(struct mst_bytes piece, uint32_t masked_crc, struct mst_bytes *text_out)
{
    uint64_t len;
    struct mst_bytes rest = piece;
    *text_out = (struct mst_bytes){0};
    MST_TRY(mst_varint_take(&rest, &len));
    if (rest.len < sizeof(uint32_t) || len != rest.len - sizeof(uint32_t) || len > UINT32_MAX)
        return MST_DATA_LOSS;
    const uint8_t *at = rest.data;
    uint8_t len_bytes[4] = {(uint8_t)len, (uint8_t)(len >> 8), (uint8_t)(len >> 16), (uint8_t)(len >> 24)};
    uint32_t sum = mst_crc32c_extend(0, len_bytes, sizeof len_bytes);
    if (mst_crc32c_mask(sum) != u32_at(at) || mst_crc32c_mask(mst_crc32c_extend(sum, at, rest.len)) != masked_crc)
        return MST_DATA_LOSS;
    *text_out = (struct mst_bytes){at + sizeof(uint32_t), (size_t)len};
    return MST_OK;
}
