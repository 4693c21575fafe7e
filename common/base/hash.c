#include "base/hash.h"

#include <string.h>
#include <xxhash.h>

uint64_t mst_hash_bytes(const void *data, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, len, seed);
}

uint64_t mst_hash_text(const char *text, uint64_t seed)
{
    return mst_hash_bytes(text, strlen(text), seed);
}
