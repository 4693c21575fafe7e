/** @file
 *  Whether a data set fits a model: shapes, labels, classes. Thread: any
 */
#pragma once

#include "data/dataset.h"
#include "model/compile.h"

/** Checks that examples have the shape of the model's input. file: the features' path, for messages.
 *  Errors: INVALID_ARGUMENT both shapes */
MST_MUST_USE mst_status mst_input_check_shape(const struct mst_dataset *dataset, const struct mst_model *model,
                                              const char *file, struct mst_error *err);
/** Checks that examples have the shape of the model's input and that labels suit its loss.
 *  file: the features' path, for messages.
 *  Errors: INVALID_ARGUMENT both shapes, or several outputs against values; OUT_OF_RANGE a label outside the classes;
 *          FAILED_PRECONDITION no labels */
MST_MUST_USE mst_status mst_input_check(const struct mst_dataset *dataset, const struct mst_model *model,
                                        const struct mst_compile *compile, const char *file, struct mst_error *err);
