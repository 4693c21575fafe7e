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
/** double, a whole number; a list of axes is refused. */
mst_config_read_fn mst_layer_read_axis;

/** Errors: INVALID_ARGUMENT the input is one number an example, without an axis */
MST_MUST_USE mst_status mst_infer_needs_axis(const struct mst_infer *infer, struct mst_error *err);
