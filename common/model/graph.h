/** @file
 *  The models of a file as they were written: each a scope of layers, nested models and the calls between them.
 *
 *      MST_TRY(mst_graph_read(&reader, json, "", "", &scope, err));   // layers into the model, calls into scopes
 *      MST_TRY(mst_graph_build(model, scope, err));                      // calls written out as nodes
 *
 *  Private to model/. graph.c reads models and their layers, graph_calls.c who calls whom, graph_build.c writes the
 *  calls out, a nested model's wherever it is called. Thread: any.
 */
#pragma once

#include "base/arena.h"
#include "layer.h"
#include "model_private.h"
#include "muster/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum { MST_GRAPH_MAX_DEPTH = 32, MST_GRAPH_MAX_REFS = 65536 };

enum mst_item_kind { MST_ITEM_INPUT, MST_ITEM_LAYER, MST_ITEM_SCOPE };

/** A layer of a model as the file lists it. */
struct mst_graph_item {
    enum mst_item_kind kind;
    const char *name;
    const char *place;       // "layers[3]"
    struct mst_layer *input; // INPUT: its InputLayer, or NULL where the file has none
    size_t layer;            // LAYER: index in the model
    struct mst_scope *scope; // SCOPE
    const json_t *json;      // as serialised; NULL where the file has none
    size_t first_call;       // of its calls in the scope
    size_t n_calls;
};

/** One call of an item; it makes n_results tensors. */
struct mst_graph_call {
    size_t item;
    size_t *refs; // tensors of the scope
    size_t n_refs;
    struct mst_operand operand;
    size_t first_tensor;
    size_t n_results;
    bool is_read;
};

/** A model: Sequential or Functional. All lists stand in the reader's arena. */
struct mst_scope {
    const char *name;
    const char *prefix; // of places: "", "layers[3] 'inner'."
    const char *path;   // of variables: "", "inner/"
    bool is_sequential;
    bool is_keras_2;
    bool trainable;
    const json_t *layers;
    const json_t *input_layers;
    const json_t *output_layers;
    const json_t *build_input_shape;
    struct mst_graph_item *items;
    size_t n_items;
    struct mst_graph_call *calls;
    size_t n_calls;
    size_t *tensors; // the call that makes each
    size_t n_tensors;
    size_t *order;  // calls, each after what it reads
    size_t *inputs; // items
    size_t n_inputs;
    size_t *outputs; // tensors
    size_t n_outputs;
};

struct mst_graph_reader {
    struct mst_model *model; // takes the layers
    struct mst_arena arena;
    size_t layers_room;
    size_t n_models;
    size_t depth; // of the model at hand
};

/** Reads a model and all that are nested in it.
 *  Owner:  *out until the reader's arena is released; texts are borrowed from json
 *  Errors: INVALID_ARGUMENT, UNIMPLEMENTED, RESOURCE_EXHAUSTED the arena (err untouched) */
MST_MUST_USE mst_status mst_graph_read(struct mst_graph_reader *reader, const json_t *json, const char *prefix,
                                       const char *path, struct mst_scope **out, struct mst_error *err);
/** Reads the calls of a scope whose items are read: who reads whose tensors, and in which order. */
MST_MUST_USE mst_status mst_graph_read_calls(struct mst_graph_reader *reader, struct mst_scope *scope,
                                             struct mst_error *err);
/** The shape that the file declares for a scope's input, or NULL. */
const struct mst_shape *mst_graph_input_shape(const struct mst_scope *scope, size_t input);
/** Writes the calls out as nodes of the model, with their shapes. */
MST_MUST_USE mst_status mst_graph_build(struct mst_model *model, const struct mst_scope *scope, struct mst_error *err);
