/** @file
 *  A model's weights, all of them in memory, from and to files.
 *
 *      struct mst_weights_source source = {.model = model, .model_json = json, .path = "pretrained.keras"};
 *      MST_TRY(mst_weights_load(&source, &weights, err));
 *      use(weights->values[v]);                                   // variable v, whole, row-major
 *      MST_TRY(mst_weights_write_dir(model, weights, json, "run/model", err));
 *      mst_weights_free(weights);
 *
 *  Thread: any one; an archive is read by a child (keras/archive.h).
 */
#pragma once

#include "base/bytes.h"
#include "model/model.h"
#include "muster/status.h"

#include <stddef.h>

struct mst_keras_archive;

/** All variables of a model, whole. */
struct mst_weights {
    size_t n;
    float **values;
    struct mst_keras_archive *archive; // that holds the values, or NULL: each is memory of its own
};

/** Weights in a file of any kind. Borrowed for the call. */
struct mst_weights_source {
    const struct mst_model *model;
    struct mst_bytes model_json; // what the model was parsed from
    const char *path;
};

/** New weights in *out from what lies at the path: a `.keras` archive, a model directory, a directory of checkpoints
 *  (the newest; TensorFlow's, too, by its file `checkpoint`), or a checkpoint's prefix, with or without `.index`.
 *  Checkpoints of tf.train.Checkpoint are read by the rules of tf_names.h.
 *  Errors: NOT_FOUND; DATA_LOSS; INVALID_ARGUMENT it is of another model; those of mst_keras_read_arrays */
MST_MUST_USE mst_status mst_weights_load(const struct mst_weights_source *source, struct mst_weights **out,
                                         struct mst_error *err);
/** New weights in *out from the bundle with this prefix, by their own names alone.
 *  Errors: NOT_FOUND, DATA_LOSS as mst_bundle_open; INVALID_ARGUMENT a variable is not in it, or has another shape or
 *          type */
MST_MUST_USE mst_status mst_weights_read(const struct mst_model *model, const char *prefix, struct mst_weights **out,
                                         struct mst_error *err);
/** New model and its weights from a model directory or a `.keras` archive; model_json is an empty buffer that this call
 *  initialises and the caller finishes.
 *  Errors: those of mst_model_parse and mst_weights_load */
MST_MUST_USE mst_status mst_weights_open_model(const char *path, struct mst_buf *model_json,
                                               struct mst_model **model_out, struct mst_weights **out,
                                               struct mst_error *err);
/** Releases them; NULL is fine. */
void mst_weights_free(struct mst_weights *weights);

/** Writes dir as a model directory: model.json and the weights. Errors: those of mst_model_dir_write */
MST_MUST_USE mst_status mst_weights_write_dir(const struct mst_model *model, const struct mst_weights *weights,
                                              struct mst_bytes model_json, const char *dir, struct mst_error *err);
/** Writes a `.keras` archive of the model and the weights. Errors: those of mst_keras_write */
MST_MUST_USE mst_status mst_weights_write_archive(const struct mst_model *model, const struct mst_weights *weights,
                                                  struct mst_bytes model_json, const char *file, struct mst_error *err);
