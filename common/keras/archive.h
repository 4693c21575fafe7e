/** @file
 *  `.keras` archives, what `model.save("m.keras")` of Keras writes: a zip file of config.json (the model, as to_json()
 *  prints it), metadata.json and model.weights.h5 (HDF5).
 *
 *      MST_TRY(mst_keras_read_config("m.keras", &text, err));
 *      places[i] = (struct mst_keras_array){.path = "layers/dense/vars/0", .layer = "dense", .shape = shape};
 *      MST_TRY(mst_keras_read_arrays("m.keras", places, n, &archive, err));
 *      use(mst_keras_archive_values(archive, 0));
 *      mst_keras_archive_free(archive);
 *
 *  An array is found by its place in the HDF5 file: `layers/<class, in snake case>[_<k>]/vars/<i>` for the i-th weight
 *  of a layer, counted by class within the model it belongs to; a nested model's layers stand under its own place.
 *  Files of strangers are read by a process of its own, so that one that upsets HDF5 costs a sentence and not the job.
 *  Thread: any, but readers fork: call them before the process has threads that hold locks.
 *  Source: keras/src/saving/saving_lib.py
 */
#pragma once

#include "base/bytes.h"
#include "muster/status.h"
#include "tensor/shape.h"

#include <stdbool.h>
#include <stddef.h>

enum { MST_KERAS_CONFIG_MAX_BYTES = 64 << 20 };

/** One weight. Borrowed for the call. */
struct mst_keras_array {
    const char *path;  // in model.weights.h5
    const char *layer; // name of its layer
    struct mst_shape shape;
    const float *values; // to be written; readers do not look at it
};

struct mst_keras_archive;

/** True if a path is named like an archive. */
bool mst_keras_is_archive(const char *path);

/** Reads config.json into *out (an empty buffer that this call initialises; the caller finishes it).
 *  Errors: NOT_FOUND no such file; DATA_LOSS no zip file, nothing of that name in it, damaged; RESOURCE_EXHAUSTED over
 *          MST_KERAS_CONFIG_MAX_BYTES; UNIMPLEMENTED the module with HDF5 and libzip is not installed;
 *          DEADLINE_EXCEEDED */
MST_MUST_USE mst_status mst_keras_read_config(const char *file, struct mst_buf *out, struct mst_error *err);

/** Reads these weights; new archive in *out. What else is in the file is not looked at.
 *  Errors: INVALID_ARGUMENT a weight is missing or of another shape: the file is of another model; those of
 *          read_config */
MST_MUST_USE mst_status mst_keras_read_arrays(const char *file, const struct mst_keras_array *arrays, size_t n,
                                              struct mst_keras_archive **out, struct mst_error *err);
/** Values of the array with this number, row-major. Owner: borrowed until free */
const float *mst_keras_archive_values(const struct mst_keras_archive *archive, size_t index);
/** Releases it; NULL is fine. */
void mst_keras_archive_free(struct mst_keras_archive *archive);

/** Writes an archive beside its place and renames it, so it is never seen half-written.
 *  Errors: UNIMPLEMENTED as above; disk errors with path and the system's text */
MST_MUST_USE mst_status mst_keras_write(const char *file, struct mst_bytes config, const struct mst_keras_array *arrays,
                                        size_t n, struct mst_error *err);
