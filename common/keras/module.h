/** @file
 *  What the module `muster-keras.so` offers: all that needs HDF5 and libzip. Private to keras/.
 *
 *  A process that never touches an archive maps neither library. Thread: one at a time.
 */
#pragma once

#include "keras/archive.h"

// Grows by one with every change of struct mst_keras_module; a module of another version is refused.
enum { MST_KERAS_MODULE_ABI = 1 };
#define MST_KERAS_MODULE_SYMBOL "mst_keras_module"

struct mst_keras_module {
    unsigned abi;
    /** Reads config.json to out, which has room for MST_KERAS_CONFIG_MAX_BYTES. */
    mst_status (*read_config)(const char *file, char *out, size_t *len_out, struct mst_error *err);
    /** Reads each array to out[i]. */
    mst_status (*read_arrays)(const char *file, const struct mst_keras_array *arrays, size_t n, float *const *out,
                              struct mst_error *err);
    mst_status (*write)(const char *file, struct mst_bytes config, const struct mst_keras_array *arrays, size_t n,
                        struct mst_error *err);
};

/** The module's one symbol. */
const struct mst_keras_module *mst_keras_module(void);
