/** @file
 *  The frame around every message: pure functions on bytes.
 *
 *  Layout, 32 bytes little-endian, then meta, then body:
 *   1. u32 magic            "MSTR"
 *   2. u8  version          MST_FRAME_VERSION
 *   3. u8  flags            enum mst_frame_flag
 *   4. u16 method           wire/methods.h
 *   5. u64 call             chosen by the caller, repeated in the reply
 *   6. u32 meta bytes       at most MST_FRAME_META_MAX; a protobuf message of wire/messages.h
 *   7. u32 crc32c           of the header with this field 0, then meta
 *   8. u64 body bytes       at most MST_FRAME_BODY_MAX; with BODY_CRC the last 4 are the crc32c of those before
 *  The meta of an ERROR reply is an error message (status, text), whatever the method.
 *
 *  Thread: any.
 */
#pragma once

#include "base/bytes.h"

#include <stdint.h>

#define MST_FRAME_MAGIC        UINT32_C(0x5254534d) // "MSTR" in memory
#define MST_FRAME_VERSION      1
#define MST_FRAME_HEADER_BYTES 32
#define MST_FRAME_CRC_BYTES    4
#define MST_FRAME_META_MAX     (UINT32_C(1) << 20)
#define MST_FRAME_BODY_MAX     (UINT64_C(1) << 30)

enum mst_frame_flag {
    MST_FRAME_REPLY = 1,
    MST_FRAME_ERROR = 2,    // only with REPLY
    MST_FRAME_BODY_CRC = 4, // only with a body of at least 4 bytes
};

struct mst_frame {
    uint8_t flags;
    uint16_t method;
    uint64_t call;
    uint32_t meta_bytes;
    uint64_t body_bytes; // as on the wire, a CRC included
};

/** Writes the header of frame, whose meta (frame->meta_bytes of it) is given for the CRC. */
void mst_frame_encode(const struct mst_frame *frame, const void *meta, uint8_t out[MST_FRAME_HEADER_BYTES]);
/** Reads a header and checks all of it but the CRC; nothing in *out is to be trusted before mst_frame_check.
 *  Errors: INVALID_ARGUMENT magic, flags; FAILED_PRECONDITION another version; RESOURCE_EXHAUSTED a length over its
 *          limit */
MST_MUST_USE mst_status mst_frame_decode(const uint8_t header[MST_FRAME_HEADER_BYTES], struct mst_frame *out,
                                         struct mst_error *err);
/** Checks the CRC of header and meta (as many bytes as the header says). Errors: DATA_LOSS */
MST_MUST_USE mst_status mst_frame_check(const uint8_t header[MST_FRAME_HEADER_BYTES], const void *meta,
                                        struct mst_error *err);
