// Fields are read and written byte by byte, so the layout is the same on any machine. decode looks at the header alone,
// because the limits on lengths must be known to hold before there is memory for the meta that the CRC covers.
#include "wire/frame.h"

#include "base/crc32c.h"
#include "base/error.h"

#include <inttypes.h>
#include <string.h>

// Where the fields lie (frame.h, Layout).
enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_FLAGS = 5,
    AT_METHOD = 6,
    AT_CALL = 8,
    AT_META_BYTES = 16,
    AT_CRC = 20,
    AT_BODY_BYTES = 24,
};

static const uint8_t known_flags = MST_FRAME_REPLY | MST_FRAME_ERROR | MST_FRAME_BODY_CRC;

static void put(uint8_t *at, uint64_t value, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get(const uint8_t *at, size_t n_bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n_bytes; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static uint32_t crc_of(const uint8_t header[MST_FRAME_HEADER_BYTES], const void *meta, size_t meta_bytes)
{
    uint8_t copy[MST_FRAME_HEADER_BYTES];
    memcpy(copy, header, sizeof copy);
    put(copy + AT_CRC, 0, 4);
    uint32_t crc = mst_crc32c(copy, sizeof copy);
    return meta_bytes ? mst_crc32c_extend(crc, meta, meta_bytes) : crc;
}

void mst_frame_encode(const struct mst_frame *frame, const void *meta, uint8_t out[MST_FRAME_HEADER_BYTES])
{
    MST_ASSERT(frame->meta_bytes <= MST_FRAME_META_MAX && frame->body_bytes <= MST_FRAME_BODY_MAX);
    put(out + AT_MAGIC, MST_FRAME_MAGIC, 4);
    out[AT_VERSION] = MST_FRAME_VERSION;
    out[AT_FLAGS] = frame->flags;
    put(out + AT_METHOD, frame->method, 2);
    put(out + AT_CALL, frame->call, 8);
    put(out + AT_META_BYTES, frame->meta_bytes, 4);
    put(out + AT_BODY_BYTES, frame->body_bytes, 8);
    put(out + AT_CRC, crc_of(out, meta, frame->meta_bytes), 4);
}

static mst_status check_flags(const struct mst_frame *frame, struct mst_error *err)
{
    if (frame->flags & (uint8_t)~known_flags)
        return mst_fail(err, MST_INVALID_ARGUMENT, "frame has flags 0x%02x, known are 0x%02x", frame->flags,
                        known_flags);
    if ((frame->flags & MST_FRAME_ERROR) && !(frame->flags & MST_FRAME_REPLY))
        return mst_fail(err, MST_INVALID_ARGUMENT, "frame has flag ERROR without REPLY");
    if ((frame->flags & MST_FRAME_BODY_CRC) && frame->body_bytes < MST_FRAME_CRC_BYTES)
        return mst_fail(err, MST_INVALID_ARGUMENT, "frame has flag BODY_CRC and a body of %" PRIu64 " bytes",
                        frame->body_bytes);
    return MST_OK;
}

mst_status mst_frame_decode(const uint8_t header[MST_FRAME_HEADER_BYTES], struct mst_frame *out, struct mst_error *err)
{
    *out = (struct mst_frame){.flags = header[AT_FLAGS],
                              .method = (uint16_t)get(header + AT_METHOD, 2),
                              .call = get(header + AT_CALL, 8),
                              .meta_bytes = (uint32_t)get(header + AT_META_BYTES, 4),
                              .body_bytes = get(header + AT_BODY_BYTES, 8)};
    uint64_t magic = get(header + AT_MAGIC, 4);
    if (magic != MST_FRAME_MAGIC)
        return mst_fail(err, MST_INVALID_ARGUMENT, "not a Muster frame: begins with 0x%08" PRIx64, magic);
    if (header[AT_VERSION] != MST_FRAME_VERSION)
        return mst_fail(err, MST_FAILED_PRECONDITION,
                        "frame of wire version %u, this process speaks %d; run the same muster everywhere",
                        header[AT_VERSION], MST_FRAME_VERSION);
    if (out->meta_bytes > MST_FRAME_META_MAX)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "frame meta of %" PRIu32 " bytes exceeds %" PRIu32,
                        out->meta_bytes, MST_FRAME_META_MAX);
    if (out->body_bytes > MST_FRAME_BODY_MAX)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "frame body of %" PRIu64 " bytes exceeds %" PRIu64,
                        out->body_bytes, MST_FRAME_BODY_MAX);
    return check_flags(out, err);
}

mst_status mst_frame_check(const uint8_t header[MST_FRAME_HEADER_BYTES], const void *meta, struct mst_error *err)
{
    uint32_t written = (uint32_t)get(header + AT_CRC, 4);
    uint32_t computed = crc_of(header, meta, get(header + AT_META_BYTES, 4));
    if (written != computed)
        return mst_fail(err, MST_DATA_LOSS, "frame header says crc32c %08" PRIx32 ", its bytes give %08" PRIx32,
                        written, computed);
    return MST_OK;
}
