// Philox4x32-10 as published: ten rounds of two 32x32 multiplications, the key bumped by Weyl constants between rounds.
// The permutation is a 4-round Feistel network over the smallest even number of bits that holds n, walked until the
// result falls below n (less than four steps on average, since 4^k < 4 n).
#include "base/rng.h"

#include "base/error.h"
#include "base/hash.h"

#include <sys/random.h>

struct mst_rng_key mst_rng_key_of(uint64_t seed, const char *name, uint64_t number)
{
    uint64_t k = mst_hash_text(name, seed);
    uint64_t stream = mst_hash_bytes(&number, sizeof number, k);
    return (struct mst_rng_key){{(uint32_t)k, (uint32_t)(k >> 32)}, {(uint32_t)stream, (uint32_t)(stream >> 32)}};
}

void mst_rng_block(struct mst_rng_key key, uint64_t block, uint32_t out[4])
{
    uint32_t c0 = (uint32_t)block;
    uint32_t c1 = (uint32_t)(block >> 32);
    uint32_t c2 = key.stream[0];
    uint32_t c3 = key.stream[1];
    uint32_t k0 = key.k[0];
    uint32_t k1 = key.k[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint32_t mst_rng_word(struct mst_rng_key key, uint64_t element)
{
    uint32_t block[4];
    mst_rng_block(key, element / 4, block);
    return block[element % 4];
}

uint64_t mst_rng_system(void)
{
    uint64_t number;
    ssize_t got = getrandom(&number, sizeof number, 0);
    MST_ASSERT(got == (ssize_t)sizeof number); // never short below 256 bytes (getrandom(2))
    return number;
}

static uint64_t feistel(struct mst_rng_key key, unsigned half_bits, uint64_t value)
{
    uint64_t mask = (1ull << half_bits) - 1;
    uint64_t left = value >> half_bits;
    uint64_t right = value & mask;
    for (uint64_t round = 0; round < 4; round++) {
        uint32_t words[4];
        mst_rng_block(key, right << 2 | round, words);
        uint64_t mixed = (words[0] | (uint64_t)words[1] << 32) & mask;
        uint64_t next = left ^ mixed;
        left = right;
        right = next;
    }
    return left << half_bits | right;
}

uint64_t mst_rng_permute(struct mst_rng_key key, uint64_t n, uint64_t i)
{
    MST_ASSERT(i < n && n <= 1ull << 60);
    unsigned half_bits = 1;
    while (1ull << (2 * half_bits) < n)
        half_bits++;
    do
        i = feistel(key, half_bits, i);
    while (i >= n);
    return i;
}
