/** @file
 *  Finds a model's variables in a TensorBundle, whoever wrote it. Private to weights/.
 *
 *  The rules, tried in this order for each variable; a tensor must be float32 (a scalar: or int64) and of its shape:
 *  1. its name, `dense/kernel`: ours, TensorFlow 1's;
 *  2. the name that the object graph of tf.train.Checkpoint gives it, with or without the model's name before it, or
 *     without those of nested models: Keras 3's, and Keras 2's where no two layers share a name;
 *  3. a key that ends with its place, `layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE`: Keras 2's, also where
 *     the layers were named by another session (`dense_7`).
 *  Rules 2 and 3 pass over what an optimizer keeps, and take no tensor when two would do.
 *  Thread: immutable after new, so any.
 */
#pragma once

#include "model/model.h"
#include "places.h"
#include "tfio/bundle_reader.h"

struct mst_tf_names;

/** New finder in *out for this bundle. Owner: keeps bundle. Errors: DATA_LOSS an object graph that cannot be read */
MST_MUST_USE mst_status mst_tf_names_new(const struct mst_bundle *bundle, struct mst_tf_names **out,
                                         struct mst_error *err);
/** Releases it; NULL is fine. */
void mst_tf_names_free(struct mst_tf_names *names);
/** The tensor of a variable in *out, borrowed from the bundle; place may be NULL: rule 3 is not tried.
 *  Errors: INVALID_ARGUMENT no rule finds it, or it is of another type or shape */
MST_MUST_USE mst_status mst_tf_names_find(const struct mst_tf_names *names, const struct mst_model *model,
                                          const struct mst_variable *variable, const struct mst_place *place,
                                          const struct mst_bundle_entry **out, struct mst_error *err);
