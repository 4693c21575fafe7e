/** @file
 *  One layer of a parsed model, the calls of it that make the graph, and the tables of the layers we have.
 *
 *      MST_TRY(mst_layer_parse(json, place, &layer, err));       // class, name, options
 *      MST_TRY(mst_layer_infer(&infer, err));                    // of one call: out shape, sizes, shapes of weights
 *
 *  Private to model/. A new layer is a line in the table of a layers_*.c, its config's keys, its shape, the shapes of
 *  its weights, and an operation in a program_ops*.c. Thread: any.
 */
#pragma once

#include "config.h"
#include "device/device.h"
#include "model/initializer.h"
#include "model/model.h"
#include "muster/status.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MST_LAYER_MAX_WEIGHTS = 5 };

// What a program does for a layer; several of Keras's classes share one.
enum mst_layer_kind {
    MST_LAYER_INPUT,
    MST_LAYER_VIEW, // the same numbers in another shape
    MST_LAYER_RESCALING,
    MST_LAYER_DENSE,
    MST_LAYER_ACTIVATION,
    MST_LAYER_DROPOUT,
    MST_LAYER_PRELU,
    MST_LAYER_MERGE,
    MST_LAYER_CONCATENATE,
    MST_LAYER_DOT,
    MST_LAYER_PERMUTE,
    MST_LAYER_REPEAT,
    MST_LAYER_POOL, // GlobalAveragePooling
    MST_LAYER_BATCH_NORM,
    MST_LAYER_ROW_NORM,
    MST_LAYER_STANDARDIZE, // Normalization
    MST_LAYER_EMBEDDING,
    MST_N_LAYER_KINDS,
};

// Which of its weights; the numbers of struct mst_layer.weights.
enum {
    MST_WEIGHT_KERNEL = 0,
    MST_WEIGHT_BIAS = 1,
    MST_WEIGHT_GAMMA = 0,
    MST_WEIGHT_BETA = 1,
    MST_WEIGHT_MEAN = 2, // of batches, or of the data
    MST_WEIGHT_VARIANCE = 3,
    MST_WEIGHT_COUNT = 4, // after them, as in Keras
    MST_WEIGHT_TABLE = 0,
    MST_WEIGHT_ALPHA = 0,
};

/** A list of whole numbers as Keras prints it; one number is a list of one. */
struct mst_axes {
    size_t n; // 0: null or not given
    long long list[MST_SHAPE_MAX_RANK];
};

struct mst_layer;
struct mst_infer;

typedef mst_status mst_layer_check_fn(struct mst_layer *layer, const char *place, struct mst_error *err);
typedef mst_status mst_layer_infer_fn(const struct mst_infer *infer, struct mst_error *err);

/** A line of a table of layers. */
struct mst_layer_class {
    const char *class_name;
    enum mst_layer_kind kind;
    const struct mst_config_field *fields;
    size_t n_fields;
    mst_layer_check_fn *check; // after the keys are read; NULL: nothing to check
    mst_layer_infer_fn *infer; // from node->in to node->out, and the shapes of its weights; NULL: the same shape, none
    size_t n_inputs;           // 1, or SIZE_MAX: any number
    bool takes_operand;        // an operation, which may be called with a number
    int option;                // for check: which of several classes that share it
    void (*defaults)(struct mst_layer *layer); // before the keys are read; NULL: Dense's
};

struct mst_layer_table {
    const struct mst_layer_class *classes;
    size_t n_classes;
};

/** The tables; each where its layers stand. */
extern const struct mst_layer_table mst_layers_core;
extern const struct mst_layer_table mst_layers_merge;
extern const struct mst_layer_table mst_layers_shape;
extern const struct mst_layer_table mst_layers_norm;
extern const struct mst_layer_table mst_operations; // functions of keras.ops that stand in a Functional

/** l1 Σ |x| + l2 Σ x², added to the loss. */
struct mst_regularizer {
    double l1;
    double l2;
};

/** One array of a layer's weights; what the model makes a variable of. */
struct mst_weight {
    const char *suffix; // "kernel"; NULL: the layer has none
    struct mst_shape shape;
    struct mst_initializer initializer;
    enum mst_variable_update update;
    bool is_adapted;
    double momentum;
    struct mst_regularizer regularizer;
};

struct mst_layer {
    const struct mst_layer_class *class;
    const char *class_name; // Keras's, static
    enum mst_layer_kind kind;
    const char *name;  // borrowed from the JSON while parsing, then from the model
    const char *path;  // "inner/dense": with the models that it is in
    const char *place; // "layers[1] 'inner'.layers[0]": where in the file
    bool trainable;

    struct mst_shape input_shape; // InputLayer (or Keras 2's batch_input_shape)
    bool has_input_shape;
    bool is_keras_2; // it says batch_input_shape
    enum mst_dtype input_dtype;
    bool built_known; // build_config says which input it was built for
    struct mst_shape built_shape;

    size_t units; // Dense
    bool use_bias;
    struct mst_activation activation; // Dense and the activation layers
    double max_value;                 // ReLU as it is read
    double negative_slope;
    double threshold;
    double alpha;
    double axis;
    double scale; // Rescaling
    double offset;
    double rate; // Dropout
    struct mst_config_seed seed;
    const char *data_format;         // Flatten; only while parsing
    struct mst_regularizer activity; // of the values that it makes, divided by the examples

    enum mst_merge_kind merge;
    bool divides;         // an operation: the first by the second
    const char *function; // of Keras 2; only while parsing
    struct mst_axes axes; // Concatenate, Dot, Permute, Reshape's target, normalizations: as they are read
    bool normalize;       // Dot
    size_t count;         // RepeatVector's n; Embedding's input_dim
    double epsilon;       // normalizations
    double momentum;
    bool center;
    bool scales;
    bool rms_scaling;
    bool invert;
    enum mst_row_norm_kind row_norm;
    const json_t *mean_json; // Normalization; only while parsing
    const json_t *variance_json;
    const float *mean; // what they say, one for each of the axis
    const float *variance;
    size_t n_means;

    struct mst_weight weights[MST_LAYER_MAX_WEIGHTS];
    size_t variables[MST_LAYER_MAX_WEIGHTS]; // indexes of the model's; SIZE_MAX: none
    size_t n_calls;
    bool is_live;              // an output depends on it
    struct mst_shape first_in; // of its first call
};

/** A number in place of a tensor, as in `x * 2`: what some operations are called with. */
struct mst_operand {
    enum { MST_OPERAND_NONE, MST_OPERAND_LEFT, MST_OPERAND_RIGHT } side;
    double value;
};

/** One call of a layer, or an input of the model: it makes one tensor. Shapes are without the axis of examples. */
struct mst_node {
    size_t layer;   // SIZE_MAX: an input of the model
    size_t call;    // how many calls of the layer came before
    size_t *inputs; // indexes of nodes, all smaller than its own
    size_t n_inputs;
    struct mst_operand operand;
    double scale; // of a Rescaling: of the layer, or of an operation with a number
    double offset;
    size_t axis;             // of those of an example, for layers that have one: 0 is the first after the examples
    bool is_turned;          // Softmax: its axis is not the last
    enum mst_gemm_form form; // Dot: of the matrices (m, k) and (k, n) of an example
    size_t m, n, k;
    struct mst_shape in; // of the first input
    struct mst_shape out;
    size_t n_in;
    size_t n_out;
};

struct mst_model;

/** A call whose shape is being inferred. */
struct mst_infer {
    struct mst_model *model;
    struct mst_layer *layer;
    struct mst_node *node; // layer, call and inputs are known
    const char *where;     // "layers[1] 'dense' (Dense)"
};

/** The tables of layers, from 0 on; NULL after the last. */
const struct mst_layer_table *mst_layer_tables(size_t i);
/** The keys that every layer's config may have. */
const struct mst_config_field *mst_layer_common_fields(size_t *n_out);
/** The regularizers that there are, from 0 on; false after the last. */
bool mst_regularizer_entry(size_t i, struct mst_config_entry *out);

/** Reads a serialised layer that stands at place. Owner: out's texts are borrowed from json
 *  Errors: UNIMPLEMENTED a layer or an option we lack, by name; INVALID_ARGUMENT */
MST_MUST_USE mst_status mst_layer_parse(const json_t *json, const char *place, struct mst_layer *out,
                                        struct mst_error *err);
/** Fills in, out, n_in, n_out of a call, and at the first call the shapes of the layer's weights.
 *  Errors: INVALID_ARGUMENT the inputs do not suit it, naming both layers and both shapes, or are too large */
MST_MUST_USE mst_status mst_layer_infer(const struct mst_infer *infer, struct mst_error *err);
/** Shape of an input of the call, and the name of what makes it. */
const struct mst_shape *mst_infer_in(const struct mst_infer *infer, size_t input);
const char *mst_infer_in_name(const struct mst_infer *infer, size_t input);
/** Reads [null, 28, 28]: a shape with an unknown number of examples before it. */
MST_MUST_USE mst_status mst_layer_batch_shape(const json_t *json, const char *path, struct mst_shape *out,
                                              struct mst_error *err);
/** Elements of one example in *out. Errors: INVALID_ARGUMENT too many, with the bytes; what: "input" or "output" */
MST_MUST_USE mst_status mst_layer_count_example(const struct mst_shape *shape, const char *where, const char *what,
                                                size_t *out, struct mst_error *err);
/** Prints as Keras does, "(None, 28, 28)". Returns out. */
const char *mst_layer_show_shape(const struct mst_shape *shape, char out[MST_SHAPE_TEXT_BYTES]);
