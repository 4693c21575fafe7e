/** @file
 *  How bytes travel: mst_bytes borrows, mst_buf owns and grows up to a maximum set at init.
 *
 *      struct mst_buf buf;
 *      mst_buf_init(&buf, MST_FRAME_META_MAX);
 *      MST_TRY(mst_buf_append(&buf, data, len));   // RESOURCE_EXHAUSTED past the maximum
 *      …
 *      mst_buf_fini(&buf);
 */
#pragma once

#include "muster/status.h"

#include <stddef.h>
#include <stdint.h>

/** Bytes that belong to somebody else. */
struct mst_bytes {
    const void *data;
    size_t len;
};

/** Bytes of its own; data is NULL only while capacity is 0. */
struct mst_buf {
    uint8_t *data;
    size_t len;
    size_t capacity;
    size_t max_bytes;
};

/** An empty buffer that never grows past max_bytes. */
void mst_buf_init(struct mst_buf *buf, size_t max_bytes);
/** Releases the memory; buf is empty and usable again with the same maximum. */
void mst_buf_fini(struct mst_buf *buf);
/** Forgets the content, keeps the memory. */
void mst_buf_reset(struct mst_buf *buf);
/** Makes room for `more` bytes behind len, and returns where they go in *out.
 *  Errors: RESOURCE_EXHAUSTED maximum passed or no memory */
MST_MUST_USE mst_status mst_buf_reserve(struct mst_buf *buf, size_t more, uint8_t **out);
/** Copies data to the end. Errors: RESOURCE_EXHAUSTED */
MST_MUST_USE mst_status mst_buf_append(struct mst_buf *buf, const void *data, size_t len);
/** Appends a printed text without its NUL (data stays NUL-terminated behind len). Errors: RESOURCE_EXHAUSTED */
MST_MUST_USE mst_status mst_buf_printf(struct mst_buf *buf, const char *format, ...) MST_PRINTF(2, 3);
/** What the buffer holds, borrowed until the next change. */
struct mst_bytes mst_buf_view(const struct mst_buf *buf);
