/** @file
 *  Where files of Keras and TensorFlow keep the variables of a model. Private to weights/.
 *
 *      MST_TRY(mst_places_new(model, json, &places, err));
 *      places->items[v].archive        // "layers/sequential/layers/dense/vars/0": in model.weights.h5
 *      places->items[v].checkpoint     // "layer_with_weights-0/layer_with_weights-1/kernel": ends a key of Keras 2
 *
 *  Both count within a model: an archive by class, a checkpoint over the layers that have weights.
 *  Thread: immutable after new, so any.
 *  Source: keras/src/saving/saving_lib.py; tf_keras/src/engine/training.py and functional.py (trackable children)
 */
#pragma once

#include "base/bytes.h"
#include "model/model.h"

struct mst_place {
    char *archive;
    char *checkpoint;
    char *layer; // its name
};

struct mst_places {
    size_t n;
    struct mst_place *items; // by variable
};

/** New places in *out for the variables of a model; json is what it was parsed from.
 *  Errors: INVALID_ARGUMENT json is not that of the model */
MST_MUST_USE mst_status mst_places_new(const struct mst_model *model, struct mst_bytes json, struct mst_places **out,
                                       struct mst_error *err);
/** Releases them; NULL is fine. */
void mst_places_free(struct mst_places *places);
