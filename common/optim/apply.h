/** @file
 *  The kernels behind mst_optimizer_apply, one set per instruction set. Private to optim/.
 */
#pragma once

#include "tensor/isa.h"

#include <stdbool.h>
#include <stddef.h>

enum { MST_APPLY_SGD, MST_APPLY_MOMENTUM, MST_APPLY_NESTEROV, MST_APPLY_ADAM, MST_APPLY_AMSGRAD, MST_N_APPLY };

/** Where results go: kept in the cache, or past it (out of place, when they are large). */
enum mst_apply_store { MST_APPLY_CACHED, MST_APPLY_STREAMED, MST_N_APPLY_STORES };

/** One update's arrays (n each) and numbers. */
struct mst_apply {
    size_t n;
    const float *grad;
    const float *w_in;
    float *w_out;
    float *slots[3];
    float rate;     // SGD: the learning rate; Adam: alpha, the rate with both bias corrections
    float momentum; // SGD
    float blend_1;  // Adam: 1 - beta_1
    float blend_2;  // Adam: 1 - beta_2
    float epsilon;  // Adam
};

/** Applies and returns true if every new weight and slot value is finite. */
typedef bool mst_apply_fn(const struct mst_apply *apply);

extern mst_apply_fn *const mst_apply_base[MST_N_APPLY][MST_N_APPLY_STORES];
#if defined(__x86_64__)
extern mst_apply_fn *const mst_apply_avx2[MST_N_APPLY][MST_N_APPLY_STORES];
extern mst_apply_fn *const mst_apply_avx512[MST_N_APPLY][MST_N_APPLY_STORES];
#endif

/** The kernel for an instruction set. */
mst_apply_fn *mst_apply_find(enum mst_isa isa, unsigned kind, enum mst_apply_store store);
