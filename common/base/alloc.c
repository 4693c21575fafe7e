#include "base/alloc.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE_BYTES      ((size_t)4096)
#define HUGE_PAGE_BYTES ((size_t)2 << 20)
#define LARGE_BYTES     ((size_t)64 << 10)

_Noreturn static void die_out_of_memory(size_t bytes)
{
    fprintf(stderr, "out of memory: %zu bytes could not be had\n", bytes);
    abort();
}

void *mst_alloc(size_t bytes)
{
    void *memory = calloc(1, bytes ? bytes : 1);
    if (!memory)
        die_out_of_memory(bytes);
    return memory;
}

void *mst_alloc_array(size_t n, size_t element_bytes)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, element_bytes, &bytes))
        die_out_of_memory(SIZE_MAX);
    return mst_alloc(bytes);
}

void *mst_realloc_array(void *old, size_t n, size_t element_bytes)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, element_bytes, &bytes))
        die_out_of_memory(SIZE_MAX);
    void *memory = realloc(old, bytes ? bytes : 1);
    if (!memory)
        die_out_of_memory(bytes);
    return memory;
}

static size_t rounded(size_t bytes)
{
    return bytes ? (bytes + MST_ALIGNMENT - 1) / MST_ALIGNMENT * MST_ALIGNMENT : MST_ALIGNMENT;
}

// Large memory begins with a page. What malloc maps for it would begin 64 bytes behind one, and a body that came behind
// a header of 33 to 63 bytes would go, within its page, 1 to 31 bytes behind where the kernel has it: Zen 3 copies
// such bytes (rep movsb) at 2 GB/s, all others at 30.
static void *alloc_unset(size_t bytes)
{
    void *memory;
    size_t alignment = bytes < LARGE_BYTES ? MST_ALIGNMENT : PAGE_BYTES;
    return bytes > SIZE_MAX - alignment || posix_memalign(&memory, alignment, rounded(bytes)) != 0 ? NULL : memory;
}

static void *alloc_aligned(size_t bytes)
{
    void *memory = alloc_unset(bytes);
    if (memory)
        memset(memory, 0, rounded(bytes));
    return memory;
}

void *mst_alloc_aligned(size_t bytes)
{
    void *memory = alloc_aligned(bytes);
    if (!memory)
        die_out_of_memory(bytes);
    return memory;
}

char *mst_strdup(const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        die_out_of_memory(strlen(text));
    return copy;
}

char *mst_text(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0)
        die_out_of_memory(0);
    return text;
}

// Torture tests fail the n-th fallible allocation; 0 means never. Read once: getenv is not for hot paths.
static bool fails_now(void)
{
    static _Atomic long fail_nth = -1;
    static _Atomic long n_calls;
    long nth = atomic_load_explicit(&fail_nth, memory_order_relaxed);
    if (nth < 0) {
        const char *text = getenv("MST_FAIL_NTH");
        nth = text ? strtol(text, NULL, 10) : 0;
        if (nth < 0)
            nth = 0;
        atomic_store_explicit(&fail_nth, nth, memory_order_relaxed);
    }
    return nth > 0 && atomic_fetch_add_explicit(&n_calls, 1, memory_order_relaxed) + 1 == nth;
}

mst_status mst_try_alloc(size_t bytes, void **out)
{
    *out = fails_now() ? NULL : alloc_aligned(bytes);
    return *out ? MST_OK : MST_RESOURCE_EXHAUSTED;
}

static size_t in_pages(size_t bytes)
{
    return bytes ? (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES : PAGE_BYTES;
}

static void *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

// A huge page begins at a multiple of its size: more is mapped than is wanted, and what lies beside it given back. A
// fault brings 2 MiB in place of 4 KiB then.
static void *map_huge(size_t bytes)
{
    uint8_t *memory = map(bytes + HUGE_PAGE_BYTES);
    if (!memory)
        return NULL;
    size_t before = (HUGE_PAGE_BYTES - (uintptr_t)memory % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    if (before > 0)
        (void)munmap(memory, before);
    memory += before;
    (void)munmap(memory + bytes, HUGE_PAGE_BYTES - before);
    // The rest of the last huge page stays in small ones. A hint: without it everything works on small pages.
    (void)madvise(memory, bytes / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES, MADV_HUGEPAGE);
    return memory;
}

mst_status mst_try_pages(size_t bytes, void **out)
{
    *out = NULL;
    if (fails_now() || bytes > SIZE_MAX - 2 * HUGE_PAGE_BYTES)
        return MST_RESOURCE_EXHAUSTED;
    size_t mapped = in_pages(bytes);
    *out = mapped < HUGE_PAGE_BYTES ? map(mapped) : map_huge(mapped);
    return *out ? MST_OK : MST_RESOURCE_EXHAUSTED;
}

void mst_free_pages(void *memory, size_t bytes)
{
    if (memory)
        (void)munmap(memory, in_pages(bytes));
}

mst_status mst_try_copy(const void *bytes, size_t len, void **out)
{
    *out = fails_now() ? NULL : alloc_unset(len);
    if (*out && len > 0)
        memcpy(*out, bytes, len);
    return *out ? MST_OK : MST_RESOURCE_EXHAUSTED;
}
