/** @file
 *  Allocation in two kinds: sizes we choose abort when memory is out, sizes a peer, file or user chooses may fail.
 *  MST_FAIL_NTH=n in the environment makes the n-th mst_try_… of the process fail (torture tests).
 *  Thread: any. Memory from all of them is released with free(), but for mst_try_pages.
 */
#pragma once

#include "muster/status.h"

#include <stddef.h>

#define MST_ALIGNMENT 64 // a cache line, and the widest vector

/** New zeroed memory; aborts when there is none. For sizes we choose. */
void *mst_alloc(size_t bytes) __attribute__((malloc, returns_nonnull));

/** New zeroed memory for n elements; aborts on overflow or when there is none. */
void *mst_alloc_array(size_t n, size_t element_bytes) __attribute__((malloc, returns_nonnull));

/** Resizes as realloc does; aborts when there is none. New bytes are not zeroed. */
void *mst_realloc_array(void *old, size_t n, size_t element_bytes) __attribute__((returns_nonnull));

/** New zeroed memory aligned to MST_ALIGNMENT, from 64 KiB on to a page; aborts when there is none. For tensors. */
void *mst_alloc_aligned(size_t bytes) __attribute__((malloc, returns_nonnull));

/** New copy of a text; aborts when there is none. */
char *mst_strdup(const char *text) __attribute__((malloc, returns_nonnull));

/** New text as printf would print it; aborts when there is none. */
char *mst_text(const char *format, ...) MST_PRINTF(1, 2) __attribute__((malloc, returns_nonnull));

/** New zeroed memory, aligned as by mst_alloc_aligned, in *out, for sizes others choose (checked against a limit by
 *  the caller). Errors: RESOURCE_EXHAUSTED none to be had (*out NULL) */
MST_MUST_USE mst_status mst_try_alloc(size_t bytes, void **out);

/** New zeroed memory of whole pages in *out, huge ones where it is large enough (2 MiB) and the system has them: for
 *  arrays that are read and written as a whole. Released with mst_free_pages, back to the system.
 *  Errors: RESOURCE_EXHAUSTED none to be had (*out NULL) */
MST_MUST_USE mst_status mst_try_pages(size_t bytes, void **out);

/** Releases memory of mst_try_pages, which had so many bytes; NULL is fine. */
void mst_free_pages(void *memory, size_t bytes);

/** New copy of bytes, aligned as by mst_alloc_aligned, in *out.
 *  Errors: RESOURCE_EXHAUSTED none to be had (*out NULL) */
MST_MUST_USE mst_status mst_try_copy(const void *bytes, size_t len, void **out);
