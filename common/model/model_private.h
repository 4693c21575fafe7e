/** @file
 *  What stands behind struct mst_model, for the programs that are planned from it. Private to model/.
 *
 *  A model is flat: nested models are written out where they are called. Layers stand in the file's order, each once;
 *  nodes are the calls of them in an order in which each stands after what it reads, first the model's inputs.
 */
#pragma once

#include "base/arena.h"
#include "layer.h"
#include "model/model.h"

enum { MST_MODEL_MAX_NODES = 16384 };

struct mst_model_input {
    const char *name;
    enum mst_dtype dtype;
};

struct mst_model {
    struct mst_arena arena; // names and lists
    const char *name;
    struct mst_layer *layers; // without the InputLayers
    size_t n_layers;
    struct mst_model_input *inputs; // input i is node i
    size_t n_inputs;
    struct mst_node *nodes;
    size_t n_nodes;
    size_t *outputs; // nodes
    const char **output_names;
    size_t n_outputs;
    struct mst_variable *variables;
    size_t n_variables;
    uint64_t n_parameters;
};

/** The layer or input that a node belongs to. */
const char *mst_model_node_name(const struct mst_model *model, size_t node);
