/** @file
 *  What a parsed optimizer holds. Private to optim/.
 */
#pragma once

#include "optim/optimizer.h"
#include "schedule.h"
#include "tensor/isa.h"

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
    MST_N_OPTIMIZERS
};

/** Numbers are kept as Keras keeps them: Python floats, cast to float32 where they are used. */
struct mst_optimizer {
    enum mst_optimizer_kind kind;
    enum mst_isa isa;
    double learning_rate;          // if there is no schedule
    struct mst_schedule *schedule; // owned; or NULL
    double weight_decay;           // 0: none
    double clipvalue;              // 0: none; so of the two norms, and at most one of the three is set
    double clipnorm;
    double global_clipnorm;
    double momentum; // SGD, RMSprop
    bool nesterov;
    double beta_1; // Adam, AdamW, Adamax, Lion
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
};

/** Keras's class name of a kind. */
const char *mst_optimizer_kind_name(enum mst_optimizer_kind kind);
