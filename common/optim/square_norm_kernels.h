// The body of the kernel behind mst_square_norm_add. A file that defines ISA_LANES and SQUARE_NORM_KERNEL includes this
// once.
//
// How integers are added without integers: adding 1.5 * 2^(52+g) to a double and taking it away again rounds it to a
// multiple of 2^g, and doubles that are multiples of 2^g add up exactly while sums stay within 2^(53+g). So a square is
// cut into at most three parts, of the grids 2^14, 2^-29 and 2^-72, each what is nearest to the rest that the coarser
// ones left, and each part has sums of its own. The rest is exact at each cut (its bits are among those of the square),
// and the coarser parts are multiples of 2^-72, so the last cut rounds the square itself to nearest.
//
// No lane adds more than 2^11 squares before the sums are taken out, which keeps each within its 2^53 multiples: the
// coarse parts are at most 2^56 (= 2^42 multiples) each, the middle ones 2^13 (2^42 again), the fine ones 2^-30 (2^42).
//
// Squares of gradients are small, and below 2^13 the coarse part is zero: a block is done without it first, and once
// more with it if a square was not below that.
#include "square_norm_private.h"

#include <string.h>

enum { HALF = ISA_LANES / 2 };

typedef float half __attribute__((vector_size(HALF * 4), aligned(4), may_alias));
typedef double dvec __attribute__((vector_size(HALF * 8)));
typedef int64_t mask __attribute__((vector_size(HALF * 8)));

// The sums of one set of lanes, and whether all squares so far were below the bound.
struct sums {
    dvec coarse;
    dvec middle;
    dvec fine;
    mask is_below;
};

static inline __attribute__((always_inline)) dvec cut(dvec value, double magic)
{
    return (value + magic) - magic;
}

static inline __attribute__((always_inline)) void add_squares(bool is_wide, const float *x, struct sums *sums)
{
    dvec square = __builtin_convertvector(*(const half *)x, dvec);
    square = square * square;
    sums->is_below &= square < (is_wide ? 0x1p56 : 0x1p13); // never of a NaN
    if (is_wide) {
        dvec coarse = cut(square, 0x1.8p66);
        sums->coarse += coarse;
        square -= coarse;
    }
    dvec middle = cut(square, 0x1.8p23);
    sums->middle += middle;
    sums->fine += cut(square - middle, 0x1.8p-20);
}

static inline __attribute__((always_inline)) bool take_out(const struct sums *sums, int64_t counts[MST_N_SQUARE_GRIDS])
{
    int64_t is_below = -1;
    for (size_t lane = 0; lane < HALF; lane++)
        is_below &= sums->is_below[lane];
    if (!is_below)
        return false;
    for (size_t lane = 0; lane < HALF; lane++) {
        counts[0] += (int64_t)(sums->coarse[lane] * 0x1p-14);
        counts[1] += (int64_t)(sums->middle[lane] * 0x1p29);
        counts[2] += (int64_t)(sums->fine[lane] * 0x1p72);
    }
    return true;
}

// Two sets of lanes, so that additions need not wait for each other.
static inline __attribute__((always_inline)) bool add_block(bool is_wide, const float *x, size_t n,
                                                            int64_t counts[MST_N_SQUARE_GRIDS])
{
    const struct sums none = {.is_below = (mask){0} == 0};
    struct sums even = none, odd = none;
    size_t i = 0;
    for (; i + ISA_LANES <= n; i += ISA_LANES) {
        add_squares(is_wide, x + i, &even);
        add_squares(is_wide, x + i + HALF, &odd);
    }
    if (i < n) {
        float rest[ISA_LANES] = {0};
        memcpy(rest, x + i, (n - i) * sizeof *x);
        add_squares(is_wide, rest, &even);
        add_squares(is_wide, rest + HALF, &odd);
    }
    return take_out(&even, counts) && take_out(&odd, counts);
}

bool SQUARE_NORM_KERNEL(const float *x, size_t n, int64_t counts[MST_N_SQUARE_GRIDS])
{
    memset(counts, 0, MST_N_SQUARE_GRIDS * sizeof *counts);
    if (add_block(false, x, n, counts))
        return true;
    memset(counts, 0, MST_N_SQUARE_GRIDS * sizeof *counts);
    return add_block(true, x, n, counts);
}
