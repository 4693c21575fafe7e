/** @file
 *  What the tables of layers share: readers of values that only layers have, and steps of their shapes.
 *  Private to model/. Thread: any.
 */
#pragma once

#include "config.h"
#include "layer.h"

/** A whole layer as object: batch_shape. */
mst_config_read_fn mst_layer_read_input_shape;
/** struct mst_activation, of a name; null is linear. */
mst_config_read_fn mst_layer_read_activation;
/** The initializer of a struct mst_weight. */
mst_config_read_fn mst_layer_read_initializer;
/** struct mst_axes: a whole number, or a list of them; null is none. */
mst_config_read_fn mst_layer_read_axes;
/** struct mst_regularizer, L1, L2 or L1L2. */
mst_config_read_fn mst_layer_read_regularizer;
/** double, a whole number; a list of axes is refused. */
mst_config_read_fn mst_layer_read_axis;

/** Errors: INVALID_ARGUMENT the input is one number an example, without an axis */
MST_MUST_USE mst_status mst_infer_needs_axis(const struct mst_infer *infer, struct mst_error *err);
/** Turns an axis that counts the examples (1, or from the end -1) into one of an example's, in *out.
 *  Errors: INVALID_ARGUMENT there is no such axis; UNIMPLEMENTED it is that of the examples */
MST_MUST_USE mst_status mst_infer_axis(const struct mst_infer *infer, long long axis, const struct mst_shape *shape,
                                       size_t *out, struct mst_error *err);
/** The table's line for an initializer and a regularizer of a weight, and for a constraint. */
#define MST_WEIGHT_FIELDS(key, weight)                                                                                 \
    {key "_initializer", mst_layer_read_initializer, offsetof(struct mst_layer, weights[weight])},                     \
        {key "_regularizer", mst_layer_read_regularizer, offsetof(struct mst_layer, weights[weight].regularizer)},     \
        {key "_constraint", mst_config_refuse, 0}
