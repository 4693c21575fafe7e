#include "base/arena.h"

#include "base/error.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 4096, ARENA_ALIGNMENT = 16 }; // a page: a decoded message seldom needs a second one

struct mst_arena_block {
    struct mst_arena_block *next;
    size_t used;
    size_t capacity;
    _Alignas(ARENA_ALIGNMENT) uint8_t data[];
};

void mst_arena_init(struct mst_arena *arena, size_t max_bytes)
{
    *arena = (struct mst_arena){.max_bytes = max_bytes};
}

void mst_arena_fini(struct mst_arena *arena)
{
    for (struct mst_arena_block *block = arena->blocks; block;) {
        struct mst_arena_block *next = block->next;
        free(block);
        block = next;
    }
    *arena = (struct mst_arena){.max_bytes = arena->max_bytes};
}

static mst_status add_block(struct mst_arena *arena, size_t bytes)
{
    size_t capacity = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
    struct mst_arena_block *block = calloc(1, sizeof *block + capacity);
    if (!block)
        return MST_RESOURCE_EXHAUSTED;
    block->capacity = capacity;
    block->next = arena->blocks;
    arena->blocks = block;
    return MST_OK;
}

mst_status mst_arena_alloc(struct mst_arena *arena, size_t bytes, void **out)
{
    *out = NULL;
    if (bytes > SIZE_MAX / 2)
        return MST_RESOURCE_EXHAUSTED;
    size_t rounded = (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
    if (rounded > arena->max_bytes || arena->used_bytes > arena->max_bytes - rounded)
        return MST_RESOURCE_EXHAUSTED;
    if (!arena->blocks || arena->blocks->capacity - arena->blocks->used < rounded)
        MST_TRY(add_block(arena, rounded));
    *out = arena->blocks->data + arena->blocks->used;
    arena->blocks->used += rounded;
    arena->used_bytes += rounded;
    return MST_OK;
}

mst_status mst_arena_alloc_array(struct mst_arena *arena, size_t n, size_t element_bytes, void **out)
{
    *out = NULL;
    size_t bytes;
    if (__builtin_mul_overflow(n, element_bytes, &bytes))
        return MST_RESOURCE_EXHAUSTED;
    return mst_arena_alloc(arena, bytes, out);
}

mst_status mst_arena_text(struct mst_arena *arena, const char *text, size_t len, char **out)
{
    void *memory;
    *out = NULL;
    MST_TRY(mst_arena_alloc(arena, len + 1, &memory));
    memcpy(memory, text, len);
    *out = memory;
    return MST_OK;
}
