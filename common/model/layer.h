/** @file
 *  One layer of a parsed model, and the table of the layers we have.
 *
 *      MST_TRY(mst_layer_parse(json, path, &layer, err));        // class, name, options
 *      MST_TRY(mst_layer_infer(&layer, &in_shape, path, err));   // out shape and sizes
 *
 *  Private to model/. A new layer is a line in the table of layer.c, its config's keys, its shape, and an operation in
 *  program_plan.c. Thread: any.
 */
#pragma once

#include "config.h"
#include "device/activation.h"
#include "model/initializer.h"
#include "muster/status.h"
#include "tensor/shape.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What a program does for a layer; several of Keras's classes share one.
enum mst_layer_kind {
    MST_LAYER_INPUT,
    MST_LAYER_VIEW, // the same numbers in another shape
    MST_LAYER_RESCALING,
    MST_LAYER_DENSE,
    MST_LAYER_ACTIVATION,
    MST_LAYER_DROPOUT,
};

struct mst_layer_class;

struct mst_layer {
    const struct mst_layer_class *class;
    const char *class_name; // Keras's, static
    enum mst_layer_kind kind;
    const char *name; // borrowed from the JSON while parsing, then from the model
    bool trainable;

    struct mst_shape input_shape; // InputLayer (or Keras 2's batch_input_shape)
    bool has_input_shape;
    bool built_known; // build_config says which input it was built for
    struct mst_shape built_shape;

    size_t units; // Dense
    bool use_bias;
    struct mst_initializer kernel_initializer;
    struct mst_initializer bias_initializer;
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
    const char *data_format; // Flatten; only while parsing

    // Inferred, without the axis of examples.
    struct mst_shape in;
    struct mst_shape out;
    size_t n_in;
    size_t n_out;
    size_t kernel; // index of its variable; SIZE_MAX: none
    size_t bias;
};

/** Reads a serialised layer. Owner: out's texts are borrowed from json
 *  Errors: UNIMPLEMENTED a layer or an option we lack, by name; INVALID_ARGUMENT */
MST_MUST_USE mst_status mst_layer_parse(const json_t *json, const char *path, struct mst_layer *out,
                                        struct mst_error *err);
/** Fills in, out, n_in, n_out for inputs of this shape; before names the layer that makes them.
 *  Errors: INVALID_ARGUMENT they do not suit it, naming both layers and both shapes, or are too large */
MST_MUST_USE mst_status mst_layer_infer(struct mst_layer *layer, const struct mst_shape *in, const char *before,
                                        const char *path, struct mst_error *err);
/** Reads [null, 28, 28]: a shape with an unknown number of examples before it. */
MST_MUST_USE mst_status mst_layer_batch_shape(const json_t *json, const char *path, struct mst_shape *out,
                                              struct mst_error *err);
/** Prints as Keras does, "(None, 28, 28)". Returns out. */
const char *mst_layer_show_shape(const struct mst_shape *shape, char out[MST_SHAPE_TEXT_BYTES]);
