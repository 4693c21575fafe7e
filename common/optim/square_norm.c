// Blocks go through the kernel of the instruction set, and their counts into the 128-bit sum here.
#include "optim/square_norm.h"

#include "square_norm_private.h"
#include "tensor/isa.h"

#include <math.h>
#include <string.h>

__extension__ typedef __int128 wide;

static mst_square_norm_kernel_fn *find_kernel(void)
{
#if defined(__x86_64__)
    enum mst_isa isa = mst_isa_detect();
    if (isa == MST_ISA_AVX512)
        return mst_square_norm_avx512;
    if (isa == MST_ISA_AVX2)
        return mst_square_norm_avx2;
#endif
    return mst_square_norm_base;
}

static void set_infinite(struct mst_square_norm *norm)
{
    *norm = (struct mst_square_norm){.is_infinite = true};
}

static void add_integer(struct mst_square_norm *norm, uint64_t hi, uint64_t lo)
{
    uint64_t carry = __builtin_add_overflow(norm->lo, lo, &norm->lo);
    bool is_over = __builtin_add_overflow(norm->hi, hi, &norm->hi);
    is_over |= __builtin_add_overflow(norm->hi, carry, &norm->hi);
    if (is_over)
        set_infinite(norm);
}

// All as a multiple of 2^-72. The sum is not negative, though the two finer counts may be: they borrow from the coarse
// one, a multiple of 2^86 units, of which 2^42 are too many.
static void add_counts(struct mst_square_norm *norm, const int64_t counts[MST_N_SQUARE_GRIDS])
{
    const wide coarse_unit = (wide)1 << 86;
    wide fine = (wide)counts[1] * ((wide)1 << 43) + counts[2];
    wide coarse = counts[0] + fine / coarse_unit;
    fine %= coarse_unit;
    if (fine < 0) {
        fine += coarse_unit;
        coarse--;
    }
    if (coarse >= (wide)1 << 42) {
        set_infinite(norm);
        return;
    }
    // bits 0 to 63 of the fine part are lo's; its other 22 lie below the coarse part in hi
    add_integer(norm, (uint64_t)coarse << 22 | (uint64_t)(fine >> 64), (uint64_t)fine);
}

void mst_square_norm_add(struct mst_square_norm *norm, const float *x, size_t n_floats)
{
    mst_square_norm_kernel_fn *kernel = find_kernel();
    for (size_t i = 0; i < n_floats && !norm->is_infinite; i += MST_SQUARE_BLOCK) {
        size_t n = n_floats - i < MST_SQUARE_BLOCK ? n_floats - i : MST_SQUARE_BLOCK;
        int64_t counts[MST_N_SQUARE_GRIDS];
        if (kernel(x + i, n, counts))
            add_counts(norm, counts);
        else
            set_infinite(norm);
    }
}

void mst_square_norm_join(struct mst_square_norm *into, const struct mst_square_norm *from)
{
    if (into->is_infinite || from->is_infinite)
        set_infinite(into);
    else
        add_integer(into, from->hi, from->lo);
}

double mst_square_norm_value(const struct mst_square_norm *norm)
{
    if (norm->is_infinite)
        return INFINITY;
    __extension__ unsigned __int128 sum = (unsigned __int128)norm->hi << 64 | norm->lo;
    return (double)sum * 0x1p-72;
}
