/** @file
 *  What stands behind struct mst_model, for the programs that are planned from it. Private to model/.
 */
#pragma once

#include "base/arena.h"
#include "layer.h"
#include "model/model.h"

struct mst_model {
    struct mst_arena arena; // names and both lists
    const char *name;
    struct mst_shape input_shape;
    const char *input_name;
    struct mst_layer *layers; // without the InputLayer
    size_t n_layers;
    struct mst_variable *variables;
    size_t n_variables;
    uint64_t n_parameters;
};
