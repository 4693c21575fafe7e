/** @file
 *  A trained model in a program that embeds Muster: loads what a job wrote, or a `.keras` archive, and predicts.
 *
 *      struct mst_loaded_model_options options = {.max_batch = 64, .n_threads = 2};
 *      struct mst_loaded_model *model;
 *      struct mst_error err;
 *      mst_status status = mst_loaded_model_open("run/model", &options, &model, &err);
 *      float *inputs = …, *outputs = …;      // n * n_inputs and n * n_outputs floats
 *      status = mst_loaded_model_predict(model, inputs, n, outputs, &err);
 *      mst_loaded_model_free(model);
 *
 *  Predictions are those of Keras's model.predict for the same weights: dropout is off, and what the model ends with
 *  (logits or probabilities) is what comes out.
 *  Thread: one caller at a time per model; open as many as there are callers.
 */
#pragma once

#include "muster/status.h"

#include <stddef.h>

struct mst_loaded_model;

/** How it computes. Zeros are the defaults. */
struct mst_loaded_model_options {
    size_t max_batch; // examples computed at once (0: 64); predict takes any number
    size_t n_threads; // 0: the CPUs that this process may use
};

/** New model in *out from a model directory (model.json, weights.index, weights.data-…) or a `.keras` archive. options
 *  may be NULL.
 *  Owner:  the caller frees *out; borrows path and options for the call
 *  Errors: NOT_FOUND no such directory or file; INVALID_ARGUMENT, UNIMPLEMENTED what is wrong with model.json;
 *          DATA_LOSS damaged weights; RESOURCE_EXHAUSTED memory */
MST_PUBLIC MST_MUST_USE mst_status mst_loaded_model_open(const char *path,
                                                         const struct mst_loaded_model_options *options,
                                                         struct mst_loaded_model **out, struct mst_error *err);
/** Releases it; NULL is fine. */
MST_PUBLIC void mst_loaded_model_free(struct mst_loaded_model *model);

/** Floats of one example's input; of a model with several, those of all, in the order of Keras's model.inputs. */
MST_PUBLIC size_t mst_loaded_model_n_inputs(const struct mst_loaded_model *model);
/** Floats of one example's output; of a model with several, those of all, in the order of Keras's model.outputs. */
MST_PUBLIC size_t mst_loaded_model_n_outputs(const struct mst_loaded_model *model);
/** Computes the outputs of n examples.
 *  Shape:  inputs (n, n_inputs) row-major; outputs (n, n_outputs)
 *  Owner:  borrows inputs; outputs is the caller's
 *  Errors: those of a program's run; none for numbers that are not finite */
MST_PUBLIC MST_MUST_USE mst_status mst_loaded_model_predict(struct mst_loaded_model *model, const float *inputs,
                                                            size_t n, float *outputs, struct mst_error *err);
