/** @file
 *  64-bit hashes (XXH3) of bytes: job ids, keys of random streams, tables. Stable across machines and versions.
 *  Thread: any
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** XXH3-64 of len bytes with a seed. Source: xxHash specification */
uint64_t mst_hash_bytes(const void *data, size_t len, uint64_t seed);
/** XXH3-64 of a NUL-terminated text. */
uint64_t mst_hash_text(const char *text, uint64_t seed);
