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

/** What batch normalization does with lines of x: numbers stand for a column or for a line. */
struct mst_norm_lines {
    size_t lines;
    size_t columns;
    const float *x;
    const float *dy;
    const float *mean;
    const float *inverse;
    const float *scale;
    const float *offset;
    const float *dy_mean;
    const float *product_mean;
    float *sums;
    float *squares; // or products
    float *out;     // may be x or dy
};

/** Partial sums: pairs of lines, sums and squares (or products). */
struct mst_norm_parts {
    size_t n_parts;
    size_t columns;
    size_t n;      // elements behind a number of a part
    size_t n_last; // of the last part
    const float *parts;
};

typedef void mst_norm_fn(const struct mst_norm_lines *lines);
struct mst_prelu_block {
    size_t n;
    const float *x;
    const float *alpha;
    size_t alpha_step; // 0 or 1
    const float *dy;
    float *dx;
    float *dalpha;
};

typedef void mst_merge_fn(size_t n, const float *a, size_t a_step, const float *b, size_t b_step, float *y);

struct mst_kernels {
    mst_forward_fn *forward[MST_N_ACTIVATIONS];
    mst_backward_fn *backward[MST_N_ACTIVATIONS];
    // softmax or log_softmax with slice->inner
    mst_forward_fn *softmax_across;
    mst_backward_fn *softmax_across_backward;
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
    // blocks of both gradients of MST_MERGE_PRELU
    void (*prelu_slopes)(const struct mst_prelu_block *block);
    // y = x / divisor; y may be x
    void (*divide)(size_t n, float divisor, const float *x, float *y);
    // where x is y, what is left goes to out; elsewhere out = 0
    void (*take_where_equal)(size_t n, const float *x, size_t x_step, const float *y, float *left, float *out);
    mst_norm_fn *column_moments;  // sums of x and squares about their mean, of each column
    mst_norm_fn *line_moments;    // the same of each line
    mst_norm_fn *column_products; // sums of dy and of dy (x - mean) inverse, of each column
    mst_norm_fn *line_products;
    mst_norm_fn *normalize_columns; // out = (x - mean) scale + offset, which are numbers a column
    mst_norm_fn *normalize_lines;   // numbers a line
    mst_norm_fn *column_slopes;     // out = scale ((dy - dy_mean) - (x - mean) inverse product_mean)
    mst_norm_fn *line_slopes;
    // mean and variance of columns from `parts` pairs of lines (sums, squares), each of n elements, the last of n_last
    void (*join_moments)(const struct mst_norm_parts *parts, float *mean, float *variance);
    // the same of sums: their totals
    void (*join_sums)(const struct mst_norm_parts *parts, float *sums, float *products);
    void (*row_norm)(const struct mst_row_norm *slice);
    // products: sums of dy and of dy (x - shift) inverse, of each column
    void (*row_norm_products)(const struct mst_row_norm_backward *slice, float *sums, float *products);
    void (*row_norm_slopes)(const struct mst_row_norm_backward *slice);
    bool (*all_ids_below)(size_t n, size_t vocabulary, const int32_t *ids);
    // columns [from, to) of the table
    void (*scatter_add)(const struct mst_scatter *scatter, size_t from, size_t to);
    void (*ids_from_f32)(size_t n, const float *x, int32_t *ids);
    double (*sum_absolute)(size_t n, const float *x);
    double (*sum_squares)(size_t n, const float *x);
    void (*add_penalty)(const struct mst_penalty *slice);
    bool (*all_finite)(size_t n, const float *x);
};

extern const struct mst_kernels mst_kernels_base;
#if defined(__x86_64__)
extern const struct mst_kernels mst_kernels_avx2;
extern const struct mst_kernels mst_kernels_avx512;
#endif

/** The table of an instruction set. */
const struct mst_kernels *mst_kernels_find(enum mst_isa isa);
