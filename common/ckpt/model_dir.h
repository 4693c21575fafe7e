/** @file
 *  A model directory: what training hands over to `muster eval`, `predict` and later the model server.
 *
 *      MST_TRY(mst_model_dir_write("run/model", json, values, n_values, err));
 *      MST_TRY(mst_model_dir_open("run/model", &json, &bundle, err));
 *
 *  Layout:
 *  1. model.json, the Keras model as it was given;
 *  2. weights.index and weights.data-00000-of-00001, a TensorBundle with one tensor for each variable, whole.
 *  It is written beside its place and renamed, so it is never seen half-written.
 *  Thread: any.
 */
#pragma once

#include "base/bytes.h"
#include "ckpt/checkpoint.h"
#include "muster/status.h"
#include "tfio/bundle_reader.h"

#include <stddef.h>

enum { MST_MODEL_JSON_MAX_BYTES = 64 << 20 };

/** Writes the directory, in place of one that is there; makes its parents.
 *  Errors: DATA_LOSS a float that is NaN or Inf; FAILED_PRECONDITION something that is not a model directory is in its
 *          place; disk errors. After an error what was there before is still there */
MST_MUST_USE mst_status mst_model_dir_write(const char *dir, struct mst_bytes model_json,
                                            const struct mst_checkpoint_value *values, size_t n_values,
                                            struct mst_error *err);
/** Reads model.json into *json (an empty buffer that this call initialises; the caller finishes it) and opens the
 *  weights.
 *  Errors: NOT_FOUND; RESOURCE_EXHAUSTED model.json over MST_MODEL_JSON_MAX_BYTES; those of mst_bundle_open */
MST_MUST_USE mst_status mst_model_dir_open(const char *dir, struct mst_buf *json, struct mst_bundle **weights_out,
                                           struct mst_error *err);
