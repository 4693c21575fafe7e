/** @file
 *  The kernels behind mst_optimizer_apply, one set per instruction set. Private to optim/.
 */
#pragma once

#include "tensor/isa.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    MST_APPLY_SGD,
    MST_APPLY_MOMENTUM,
    MST_APPLY_NESTEROV,
    MST_APPLY_ADAM,
    MST_APPLY_AMSGRAD,
    MST_APPLY_ADAGRAD,
    MST_APPLY_RMSPROP,
    MST_APPLY_RMSPROP_MOMENTUM,
    MST_APPLY_RMSPROP_CENTERED,
    MST_APPLY_RMSPROP_BOTH, // centered, with momentum
    MST_APPLY_LION,
    MST_APPLY_ADAMAX,
    MST_APPLY_ADADELTA,
    MST_APPLY_FTRL,       // learning_rate_power -0.5
    MST_APPLY_FTRL_POWER, // any other
    MST_APPLY_NADAM,
    MST_APPLY_AVERAGE, // a moving average in a weight's place, a statistic in a gradient's
    MST_N_APPLY
};

/** Where results go: kept in the cache, or past it (out of place, when they are large). */
enum mst_apply_store { MST_APPLY_CACHED, MST_APPLY_STREAMED, MST_N_APPLY_STORES };

/** One update's arrays (n each) and numbers. */
struct mst_apply {
    size_t n;
    const float *grad;
    const float *w_in;
    float *w_out;
    const float *slots_in[3];
    float *slots[3];    // where they go: slots_in, or none of it
    bool streams_slots; // with MST_APPLY_STREAMED: past the cache too; they lie as far from 64 bytes as w_out then
    float rate;         // the learning rate; Adam: alpha, the rate with both bias corrections
    float momentum;     // SGD, RMSprop
    float keep_1;       // Lion: beta_1; averages: momentum; Nadam: the next u
    float keep_2;       // Lion, Adamax: beta_2; RMSprop, Adadelta: rho; Nadam: 1 - this u
    float blend_1;      // Adam, Adamax, Nadam, Lion: 1 - beta_1; averages: 1 - momentum
    float blend_2;      // Adam, Nadam, Lion: 1 - beta_2; RMSprop, Adadelta: 1 - rho
    float rest_1;       // Adamax: 1 - beta_1^step; Nadam: 1 - the product of all u so far
    float rest_2;       // Nadam: 1 - beta_2^step
    float rest_next;    // Nadam: 1 - the product with the next u
    float epsilon;
    float l1;    // Ftrl
    float power; // Ftrl: - learning_rate_power
    float l2_twice;
    float shrinkage_twice;
    bool is_adjusted; // by the three below, before the update: gradients clipped, then weights decayed
    float clip;       // to [-clip, clip]; infinite: not at all
    float decay;      // w -= w * decay * decay_rate; 0: not at all
    float decay_rate; // the learning rate itself
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
