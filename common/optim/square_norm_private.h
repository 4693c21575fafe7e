// The kernels behind mst_square_norm_add, one per instruction set.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MST_N_SQUARE_GRIDS = 3,
    MST_SQUARE_BLOCK = 8192, // floats: 2^11 for each of the four lanes that the narrowest kernel has
};

/** Sums the squares of at most MST_SQUARE_BLOCK floats: counts[] are multiples of 2^14, 2^-29 and 2^-72 (the last two
 *  may be negative: parts are rounded to nearest). False if a square is 2^56 or more, or NaN. */
typedef bool mst_square_norm_kernel_fn(const float *x, size_t n, int64_t counts[MST_N_SQUARE_GRIDS]);

mst_square_norm_kernel_fn mst_square_norm_base;
#if defined(__x86_64__)
mst_square_norm_kernel_fn mst_square_norm_avx2;
mst_square_norm_kernel_fn mst_square_norm_avx512;
#endif
