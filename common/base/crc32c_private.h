/** @file
 *  The ways to compute a CRC-32C, for tests: all give the same.
 *  Thread: any
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mst_crc32c_way {
    MST_CRC32C_TABLES,
    MST_CRC32C_SSE42,       // short inputs and what is left of long ones
    MST_CRC32C_FOLDING_256, // and carry-less products of 256 bits for long ones
    MST_CRC32C_FOLDING_512, // or of 512
};

/** True if this processor has the instructions. */
bool mst_crc32c_can(enum mst_crc32c_way way);
/** As mst_crc32c_extend, in a way that mst_crc32c_can. */
uint32_t mst_crc32c_extend_by(enum mst_crc32c_way way, uint32_t crc, const void *data, size_t len);
