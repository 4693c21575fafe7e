/** @file
 *  model.weights.h5, by HDF5. Part of the module, private to it.
 *
 *  A reader follows no link out of the file, loads no filter and takes no data from elsewhere.
 *  Thread: one at a time.
 */
#pragma once

#include "keras/archive.h"

/** Reads each array to out[i]; bytes is what is in the HDF5 file, file what errors name.
 *  Errors: DATA_LOSS no HDF5 file, damaged; INVALID_ARGUMENT an array is missing or of another shape or type */
MST_MUST_USE mst_status mst_weights_file_read(struct mst_bytes bytes, const char *file,
                                              const struct mst_keras_array *arrays, size_t n, float *const *out,
                                              struct mst_error *err);
/** Writes a file of these arrays, in groups as Keras makes them. Errors: UNAVAILABLE the disk */
MST_MUST_USE mst_status mst_weights_file_write(const char *path, const struct mst_keras_array *arrays, size_t n,
                                               struct mst_error *err);
