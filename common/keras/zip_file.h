/** @file
 *  The zip file around config.json, metadata.json and model.weights.h5, by libzip. Part of the module, private to it.
 *  Thread: one at a time.
 */
#pragma once

#include "base/bytes.h"
#include "muster/status.h"

#include <stddef.h>
#include <stdint.h>

/** Reads a member of at most max_bytes to out.
 *  Errors: DATA_LOSS no zip file, no such member, damaged; RESOURCE_EXHAUSTED larger than that */
MST_MUST_USE mst_status mst_zip_read(const char *file, const char *member, char *out, size_t max_bytes, size_t *len_out,
                                     struct mst_error *err);
/** Unpacks a member of at most max_bytes to new memory; the caller frees it.
 *  Errors: as mst_zip_read; RESOURCE_EXHAUSTED no memory */
MST_MUST_USE mst_status mst_zip_unpack(const char *file, const char *member, uint64_t max_bytes, void **out,
                                       size_t *len_out, struct mst_error *err);
/** Makes an archive of these three, uncompressed as Keras does it, flushed to the disk; weights is a path. */
MST_MUST_USE mst_status mst_zip_write(const char *file, struct mst_bytes metadata, struct mst_bytes config,
                                      const char *weights, struct mst_error *err);
