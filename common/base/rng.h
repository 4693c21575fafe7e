/** @file
 *  Counter-based random numbers: Philox4x32-10. A number is a pure function of (key, counter), so initial values,
 *  shuffles and dropout are the same under any partitioning, on any machine and in any order of evaluation.
 *
 *      struct mst_rng_key key = mst_rng_key_of(seed, "dense/kernel", 0);
 *      uint32_t r[4];
 *      mst_rng_block(key, element / 4, r);            // r[element % 4] belongs to this element
 *
 *  Thread: any. Cost: about 10 ns a block of four.
 *  Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct mst_rng_key {
    uint32_t k[2];
    uint32_t stream[2]; // the upper half of the counter
};

/** The key of stream `number` of what `name` names (a variable, "shuffle", "dropout/<layer>") under a job's seed. */
struct mst_rng_key mst_rng_key_of(uint64_t seed, const char *name, uint64_t number);

/** Four random words, those of the block with this index. */
void mst_rng_block(struct mst_rng_key key, uint64_t block, uint32_t out[4]);

/** The word of one element: word (element % 4) of block (element / 4). */
uint32_t mst_rng_word(struct mst_rng_key key, uint64_t element);

/** A random word as a float in [0, 1): its upper 24 bits. */
static inline float mst_rng_unit(uint32_t word)
{
    return (float)(word >> 8) * 0x1p-24f;
}

/** A random 64-bit number from the system, for incarnations and nonces. */
uint64_t mst_rng_system(void);

/** A keyed permutation of 0 … n-1: where position i of a shuffled epoch points, without storing it.
 *  Cost: O(1), about 100 ns. Source: Black & Rogaway 2002 (Feistel with cycle walking) */
uint64_t mst_rng_permute(struct mst_rng_key key, uint64_t n, uint64_t i);
