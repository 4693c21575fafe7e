/** @file
 *  The CPU's loops, one table per instruction set; each works on a slice that one thread was given. Private to
 *  device/cpu.
 */
#pragma once

#include "device/device.h"
#include "tensor/isa.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** x to y, n elements or, for softmax, rows of `columns`. y may be x. */
typedef void mst_forward_fn(const struct mst_activate *slice);
/** dy to dx. dx may be dy. */
typedef void mst_backward_fn(const struct mst_activate_backward *slice);

typedef void mst_merge_fn(size_t n, const float *a, size_t a_step, const float *b, size_t b_step, float *y);

struct mst_kernels {
    mst_forward_fn *forward[MST_N_ACTIVATIONS];
    mst_backward_fn *backward[MST_N_ACTIVATIONS];
    void (*bias_add)(size_t rows, size_t columns, const float *bias, const float *x, float *y);
    // bias and relu in one pass, for gemm's epilogue
    void (*bias_relu)(size_t rows, size_t columns, const float *bias, float *y);
    // columns [from, to) of x (rows, columns)
    void (*column_sum)(size_t rows, size_t columns, size_t from, size_t to, const float *x, float *out);
    void (*convert_f32)(const struct mst_convert *slice, const float *x);
    void (*convert_u8)(const struct mst_convert *slice, const uint8_t *x);
    void (*convert_i32)(const struct mst_convert *slice, const int32_t *x);
    void (*dropout)(const struct mst_dropout *slice);
    // each writes the losses of its rows
    void (*sparse_crossentropy)(const struct mst_loss *slice, float *losses);
    void (*crossentropy)(const struct mst_loss *slice, float *losses);
    void (*mean_squared_error)(const struct mst_loss *slice, float *losses);
    void (*dense_loss[MST_N_DENSE_LOSSES])(const struct mst_loss *slice, float *losses);
    // multiplies losses and the rows of slice->grad
    void (*weigh_rows)(const struct mst_loss *slice, const float *weights, float *losses);
    // two axes, the second not walked by threads
    void (*copy_block)(const struct mst_copy *block);
    // y = a ? b; a step is 0 (one number for all) or 1. y may be a. Not for MST_MERGE_AVERAGE
    mst_merge_fn *merge[MST_N_MERGES];
    // y = x / divisor; y may be x
    void (*divide)(size_t n, float divisor, const float *x, float *y);
    // where x is y, what is left goes to out; elsewhere out = 0
    void (*take_where_equal)(size_t n, const float *x, size_t x_step, const float *y, float *left, float *out);
    bool (*all_finite)(size_t n, const float *x);
};

extern const struct mst_kernels mst_kernels_base;
#if defined(__x86_64__)
extern const struct mst_kernels mst_kernels_avx2;
extern const struct mst_kernels mst_kernels_avx512;
#endif

/** The table of an instruction set. */
const struct mst_kernels *mst_kernels_find(enum mst_isa isa);
