/** @file
 *  A file as a stream of bytes, inflated when its first bytes say gzip. Private to data/.
 *
 *      MST_TRY(mst_byte_source_open(path, &source, err));
 *      MST_TRY(mst_byte_source_read(source, memory, wanted, &got, err));   // got < wanted: the end
 *      mst_byte_source_free(source);
 *
 *  Thread: one at a time.
 */
#pragma once

#include "muster/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mst_byte_source;

/** New stream in *out. Errors: NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE with path and the system's text */
MST_MUST_USE mst_status mst_byte_source_open(const char *path, struct mst_byte_source **out, struct mst_error *err);
/** Closes the file; NULL is fine. */
void mst_byte_source_free(struct mst_byte_source *source);
/** Fills data with the next `wanted` bytes, fewer only at the end of the stream. Several gzip members are one stream.
 *  Errors: DATA_LOSS broken or truncated gzip; UNAVAILABLE a read error */
MST_MUST_USE mst_status mst_byte_source_read(struct mst_byte_source *source, void *data, size_t wanted, size_t *got,
                                             struct mst_error *err);
/** True if the file is gzip. */
bool mst_byte_source_is_gzip(const struct mst_byte_source *source);
/** Size of the file, before inflation. */
uint64_t mst_byte_source_file_bytes(const struct mst_byte_source *source);
