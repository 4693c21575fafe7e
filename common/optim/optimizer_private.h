/** @file
 *  What a parsed optimizer holds. Private to optim/.
 */
#pragma once

#include "optim/optimizer.h"
#include "schedule.h"
#include "tensor/isa.h"

#include <stdatomic.h>

enum mst_optimizer_kind {
    MST_OPTIMIZER_SGD,
    MST_OPTIMIZER_ADAM,
    MST_OPTIMIZER_ADAMW,
    MST_OPTIMIZER_ADAGRAD,
    MST_OPTIMIZER_RMSPROP,
    MST_OPTIMIZER_LION,
    MST_OPTIMIZER_ADAMAX,
    MST_OPTIMIZER_ADADELTA,
    MST_OPTIMIZER_FTRL,
    MST_OPTIMIZER_NADAM,
    MST_N_OPTIMIZERS
};

// From here on u is beta_1, for 0.96^512 is less than half a unit in the last place of 1.
enum { MST_NADAM_PRODUCTS = 512 };

/** Numbers are kept as Keras keeps them: Python floats, cast to float32 where they are used. */
struct mst_optimizer {
    enum mst_optimizer_kind kind;
    enum mst_isa isa;
    double learning_rate;          // if there is no schedule
    _Atomic float set_rate;        // in its place …
    atomic_bool is_rate_set;       // … once this is so
    struct mst_schedule *schedule; // owned; or NULL
    double decay;                  // of Keras 2's legacy optimizers; 0: none
    bool is_legacy;
    double weight_decay; // 0: none
    double clipvalue;    // 0: none; so of the two norms, and at most one of the three is set
    double clipnorm;
    double global_clipnorm;
    double momentum; // SGD, RMSprop
    bool nesterov;
    double beta_1; // Adam, AdamW, Adamax, Nadam, Lion
    double beta_2;
    double epsilon;
    bool amsgrad;
    double rho; // RMSprop, Adadelta
    bool centered;
    double initial_accumulator; // Adagrad, Ftrl
    double l1;                  // Ftrl
    double l2;
    double l2_shrinkage;
    double beta;
    double learning_rate_power; // Ftrl: 0 or less
    float *u_products;          // Nadam: after 1, 2, … MST_NADAM_PRODUCTS updates; owned
};

struct mst_option;

/** The options, each with bits 1 << kind of the optimizers that have it. */
const struct mst_option *mst_optimizer_options(size_t *n_out);
/** Keras's other optimizers, from 0 on, and why each is not built; NULL after the last. */
const char *mst_optimizer_other(size_t i, const char **why_out);
/** Keras's class name of a kind. */
const char *mst_optimizer_kind_name(enum mst_optimizer_kind kind);
/** Computes what a parsed optimizer keeps beside its options. */
void mst_optimizer_prepare(struct mst_optimizer *optimizer);
