/** @file
 *  Memory that lives as long as one request, one file, one plan: many allocations, one release.
 *
 *      struct mst_arena arena;
 *      mst_arena_init(&arena, 1 << 20);              // at most 1 MiB in all
 *      MST_TRY(mst_arena_alloc(&arena, n, &memory));
 *      mst_arena_fini(&arena);
 *
 *  Thread: one at a time.
 */
#pragma once

#include "muster/status.h"

#include <stddef.h>

struct mst_arena_block;

struct mst_arena {
    struct mst_arena_block *blocks;
    size_t used_bytes;
    size_t max_bytes;
};

/** An empty arena that never holds more than max_bytes. */
void mst_arena_init(struct mst_arena *arena, size_t max_bytes);
/** Releases all of it; the arena is empty and usable again. */
void mst_arena_fini(struct mst_arena *arena);
/** Zeroed memory, aligned to 16, in *out until fini. Errors: RESOURCE_EXHAUSTED over the maximum, or none to be had */
MST_MUST_USE mst_status mst_arena_alloc(struct mst_arena *arena, size_t bytes, void **out);
/** Zeroed memory for n elements. Errors: RESOURCE_EXHAUSTED, also when n * element_bytes overflows */
MST_MUST_USE mst_status mst_arena_alloc_array(struct mst_arena *arena, size_t n, size_t element_bytes, void **out);
/** A NUL-terminated copy of len bytes of text. Errors: RESOURCE_EXHAUSTED */
MST_MUST_USE mst_status mst_arena_text(struct mst_arena *arena, const char *text, size_t len, char **out);
