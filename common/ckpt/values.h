/** @file
 *  Writes values into a data file of a bundle, looking for NaN and Inf on the way. Private to ckpt/.
 *  Thread: any.
 */
#pragma once

#include "ckpt/checkpoint.h"

struct mst_bundle_data;

/** Appends one value to an open file. Errors: as below */
MST_MUST_USE mst_status mst_values_append(struct mst_bundle_data *data, const struct mst_checkpoint_value *value,
                                          struct mst_bundle_piece *piece, struct mst_error *err);
/** Writes all values to the file at path, flushed; pieces is n_values long. On failure no file is left.
 *  Errors: DATA_LOSS a NaN or Inf; INVALID_ARGUMENT a bad tensor; disk errors */
MST_MUST_USE mst_status mst_values_write(const char *path, const struct mst_checkpoint_value *values, size_t n_values,
                                         struct mst_bundle_piece *pieces, struct mst_error *err);
