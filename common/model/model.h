/** @file
 *  A Keras model read from what `model.to_json()` prints: its layers, their shapes and its variables.
 *
 *      MST_TRY(mst_model_parse(json, "model.json", &model, err));
 *      for (size_t i = 0; i < mst_model_n_variables(model); i++)
 *          place(mst_model_variable(model, i));              // "dense/kernel", (784, 300), GlorotUniform
 *      mst_model_free(model);
 *
 *  Read so far: Sequential of InputLayer, Flatten, Rescaling, Dense, Activation, ReLU, LeakyReLU, ELU, Softmax,
 *  Dropout, in float32. Everything else is refused by name, with its place in the model; nothing is ignored that would
 *  change a number. Variables are in layer order, the kernel of a layer before its bias, which is also the order of
 *  programs' parameters.
 *  Thread: immutable after parse, so any.
 */
#pragma once

#include "base/bytes.h"
#include "model/initializer.h"
#include "muster/status.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

#include <stddef.h>
#include <stdint.h>

enum {
    MST_MODEL_MAX_LAYERS = 4096,
    MST_MODEL_MAX_NAME_BYTES = 256,
};
#define MST_MODEL_MAX_VARIABLE_BYTES ((uint64_t)64 << 30) // all variables of a model
#define MST_MODEL_MAX_EXAMPLE_BYTES  ((uint64_t)1 << 30)  // the output of a layer for one example

struct mst_model;

/** What changes a variable while a model is trained. */
enum mst_variable_update {
    MST_UPDATE_OPTIMIZER,      // its gradient, by the optimizer
    MST_UPDATE_MOVING_AVERAGE, // the batch's statistic s in a gradient's place: v * momentum + s * (1 - momentum)
    MST_UPDATE_FROZEN,         // nothing: it is pulled once and never pushed
};

/** One array of weights. Owner: the model. */
struct mst_variable {
    const char *name; // "<layer>/kernel": unique in the model
    size_t layer;     // index of its layer
    struct mst_shape shape;
    size_t n_elements;
    struct mst_initializer initializer;
    enum mst_variable_update update;
    bool is_adapted; // what adapt() of Keras learns from data: its initial value means nothing
    double momentum; // MOVING_AVERAGE: from 0 to 1
    double l1;       // its regularizer, which adds l1 Σ |x| + l2 Σ x² to the loss while it is trained
    double l2;
};

/** New model in *out.
 *  Owner:  borrows text and file (the name that errors begin with)
 *  Errors: INVALID_ARGUMENT broken JSON (line, column), misspelt or wrong-typed keys, shapes that do not fit, absurd
 *          sizes; UNIMPLEMENTED a layer, an option or a kind of model not built yet, by name; RESOURCE_EXHAUSTED no
 *          memory */
MST_MUST_USE mst_status mst_model_parse(struct mst_bytes text, const char *file, struct mst_model **out,
                                        struct mst_error *err);
/** Releases it; NULL is fine. */
void mst_model_free(struct mst_model *model);

/** The model's name. Owner: borrowed until free */
const char *mst_model_name(const struct mst_model *model);
/** Number of inputs: the arrays that an example has. */
size_t mst_model_n_inputs(const struct mst_model *model);
/** Name of an input, as Keras calls it: its InputLayer's, or its key in a dict of inputs. Owner: borrowed until free */
const char *mst_model_input_name(const struct mst_model *model, size_t input);
/** Shape of one example's input, without the axis of examples. Owner: borrowed until free */
const struct mst_shape *mst_model_input_shape(const struct mst_model *model, size_t input);
/** What the model declares its input to be; a program casts what it is given. */
enum mst_dtype mst_model_input_dtype(const struct mst_model *model, size_t input);
/** Number of outputs. */
size_t mst_model_n_outputs(const struct mst_model *model);
/** Name of an output, as Keras's compile wants it: that of the layer it comes from, or its key in a dict of outputs.
 *  Owner: borrowed until free */
const char *mst_model_output_name(const struct mst_model *model, size_t output);
/** Shape of one example's output, without the axis of examples. Owner: borrowed until free */
const struct mst_shape *mst_model_output_shape(const struct mst_model *model, size_t output);
/** Number of layers, the InputLayer not counted. */
size_t mst_model_n_layers(const struct mst_model *model);
/** Name of a layer. Owner: borrowed until free */
const char *mst_model_layer_name(const struct mst_model *model, size_t layer);
/** Number of variables. */
size_t mst_model_n_variables(const struct mst_model *model);
/** One variable; index < n_variables. Owner: borrowed until free */
const struct mst_variable *mst_model_variable(const struct mst_model *model, size_t index);
/** Elements of all variables. */
uint64_t mst_model_n_parameters(const struct mst_model *model);

/** New text: the model as one canonical line of JSON (every default filled in, keys in a fixed order), so that two
 *  files that mean the same model give the same text; for the job's hash. The caller frees it. */
char *mst_model_canonical_json(const struct mst_model *model);
