/** @file
 *  What a parsed optimizer holds. Private to optim/.
 */
#pragma once

#include "optim/optimizer.h"
#include "tensor/isa.h"

enum mst_optimizer_kind { MST_OPTIMIZER_SGD, MST_OPTIMIZER_ADAM };

/** Numbers are kept as Keras keeps them: Python floats, cast to float32 where they are used. */
struct mst_optimizer {
    enum mst_optimizer_kind kind;
    enum mst_isa isa;
    double learning_rate;
    double momentum; // SGD
    bool nesterov;
    double beta_1; // Adam
    double beta_2;
    double epsilon;
    bool amsgrad;
};
