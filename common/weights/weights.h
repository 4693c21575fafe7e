/** @file
 *  A model's weights, all of them in memory, from and to files.
 *
 *      MST_TRY(mst_weights_read(model, "ckpt/model-4690", &weights, err));
 *      use(weights->values[v]);                                   // variable v, whole, row-major
 *      MST_TRY(mst_weights_write_dir(model, weights, model_json, "run/model", err));
 *      mst_weights_free(weights);
 *
 *  Thread: any one.
 */
#pragma once

#include "base/bytes.h"
#include "model/model.h"
#include "muster/status.h"

#include <stddef.h>

/** All variables of a model, whole. */
struct mst_weights {
    size_t n;
    float **values;
};

/** New weights in *out from the bundle with this prefix.
 *  Errors: NOT_FOUND, DATA_LOSS as mst_bundle_open; INVALID_ARGUMENT a variable is not in it, or has another shape or
 *          type */
MST_MUST_USE mst_status mst_weights_read(const struct mst_model *model, const char *prefix, struct mst_weights **out,
                                         struct mst_error *err);
/** Releases them; NULL is fine. */
void mst_weights_free(struct mst_weights *weights);
/** Writes dir as a model directory: model.json and the weights. Errors: those of mst_model_dir_write */
MST_MUST_USE mst_status mst_weights_write_dir(const struct mst_model *model, const struct mst_weights *weights,
                                              struct mst_bytes model_json, const char *dir, struct mst_error *err);
