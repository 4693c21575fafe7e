/** @file
 *  Whether a data set fits a model: shapes, labels, classes. Input i of the one is input i of the other, and likewise
 *  outputs: whoever opens the data set puts them in the model's order. Thread: any
 */
#pragma once

#include "data/dataset.h"
#include "model/compile.h"

/** Checks that examples have the shapes of the model's inputs; a last axis of one element may be there or not.
 *  Errors: INVALID_ARGUMENT both shapes, or both numbers of inputs */
MST_MUST_USE mst_status mst_input_check_shapes(const struct mst_dataset *dataset, const struct mst_model *model,
                                               struct mst_error *err);
/** Checks that examples have the shapes of the model's inputs and that labels suit its loss.
 *  Errors: INVALID_ARGUMENT both shapes, several outputs against one value, values where the loss takes classes, or of
 *          another number than the output has; OUT_OF_RANGE a label outside the classes; FAILED_PRECONDITION no
 *          labels */
MST_MUST_USE mst_status mst_input_check(const struct mst_dataset *dataset, const struct mst_model *model,
                                        const struct mst_compile *compile, struct mst_error *err);
