/** @file
 *  CRC-32C (Castagnoli), and the masked form of TFRecord and TensorBundle files.
 *  Uses carry-less products of 512 bits or SSE4.2 where the processor has them, else tables. Thread: any
 *  Source: RFC 3720 appendix B.4; mask: TensorFlow core/lib/hash/crc32c.h
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** Who both checksums and copies does so in pieces of this: the second pass then finds them in the core's cache. */
#define MST_CRC32C_PIECE_BYTES ((size_t)256 << 10)

/** The CRC of data, continuing from the CRC of what came before (0 at the start). */
uint32_t mst_crc32c_extend(uint32_t crc, const void *data, size_t len);
/** The CRC of data. */
uint32_t mst_crc32c(const void *data, size_t len);
/** ((crc >> 15) | (crc << 17)) + 0xa282ead8 */
uint32_t mst_crc32c_mask(uint32_t crc);
/** The inverse of mask. */
uint32_t mst_crc32c_unmask(uint32_t masked);
