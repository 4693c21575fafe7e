// Arenas: alignment, zeroed memory, the maximum; and the allocation that torture tests make fail.
#include "base/arena.h"

#include "base/alloc.h"
#include "muster/status.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static void test_allocations_are_apart_zeroed_and_aligned(void **state)
{
    (void)state;
    struct mst_arena arena;
    mst_arena_init(&arena, 1 << 20);
    void *memory[300];
    for (size_t i = 0; i < 300; i++) {
        assert_int_equal(mst_arena_alloc(&arena, i, &memory[i]), MST_OK);
        assert_int_equal((uintptr_t)memory[i] % 16, 0);
        for (size_t j = 0; j < i; j++)
            assert_int_equal(((uint8_t *)memory[i])[j], 0);
        memset(memory[i], (int)i, i);
    }
    for (size_t i = 0; i < 300; i++)
        for (size_t j = 0; j < i; j++)
            assert_int_equal(((uint8_t *)memory[i])[j], (uint8_t)i);
    mst_arena_fini(&arena);
}

static void test_the_maximum(void **state)
{
    (void)state;
    struct mst_arena arena;
    void *memory;
    char *text;
    mst_arena_init(&arena, 64);
    assert_int_equal(mst_arena_alloc(&arena, 65, &memory), MST_RESOURCE_EXHAUSTED);
    assert_null(memory);
    assert_int_equal(mst_arena_alloc(&arena, SIZE_MAX, &memory), MST_RESOURCE_EXHAUSTED);
    assert_int_equal(mst_arena_alloc_array(&arena, SIZE_MAX / 8, 16, &memory), MST_RESOURCE_EXHAUSTED);
    assert_null(memory);
    assert_int_equal(mst_arena_alloc(&arena, 48, &memory), MST_OK);
    assert_int_equal(mst_arena_text(&arena, "longer than what is left", 24, &text), MST_RESOURCE_EXHAUSTED);
    assert_null(text);
    assert_int_equal(mst_arena_text(&arena, "abcdef", 3, &text), MST_OK);
    assert_string_equal(text, "abc");
    assert_int_equal(mst_arena_alloc(&arena, 1, &memory), MST_RESOURCE_EXHAUSTED);
    mst_arena_fini(&arena);
    assert_int_equal(mst_arena_alloc(&arena, 64, &memory), MST_OK); // fini makes it new
    mst_arena_fini(&arena);
}

static void test_large_and_small_blocks(void **state)
{
    (void)state;
    struct mst_arena arena;
    void *small, *large, *rows;
    mst_arena_init(&arena, 1 << 24);
    assert_int_equal(mst_arena_alloc(&arena, 100, &small), MST_OK);
    assert_int_equal(mst_arena_alloc(&arena, 1 << 20, &large), MST_OK);
    assert_int_equal(mst_arena_alloc_array(&arena, 1000, 24, &rows), MST_OK);
    memset(small, 1, 100);
    memset(large, 2, 1 << 20);
    memset(rows, 3, 24000);
    assert_int_equal(*(uint8_t *)small, 1);
    mst_arena_fini(&arena);
}

static void test_try_alloc_fails_when_told(void **state)
{
    (void)state;
    void *memory;
    for (size_t i = 1; i < 3; i++) {
        assert_int_equal(mst_try_alloc(10, &memory), MST_OK);
        assert_int_equal((uintptr_t)memory % MST_ALIGNMENT, 0);
        free(memory);
    }
    assert_int_equal(mst_try_alloc(10, &memory), MST_RESOURCE_EXHAUSTED); // MST_FAIL_NTH=3 is set by main
    assert_null(memory);
    assert_int_equal(mst_try_alloc(10, &memory), MST_OK);
    free(memory);
    assert_int_equal(mst_try_alloc(SIZE_MAX, &memory), MST_RESOURCE_EXHAUSTED);
}

static void test_copies(void **state)
{
    (void)state;
    uint8_t bytes[200];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    void *copy;
    assert_int_equal(mst_try_copy(bytes, sizeof bytes, &copy), MST_OK);
    assert_int_equal((uintptr_t)copy % MST_ALIGNMENT, 0);
    assert_memory_equal(copy, bytes, sizeof bytes);
    free(copy);
    assert_int_equal(mst_try_copy(NULL, 0, &copy), MST_OK);
    assert_non_null(copy);
    free(copy);
    assert_int_equal(mst_try_copy(bytes, SIZE_MAX, &copy), MST_RESOURCE_EXHAUSTED);
    assert_null(copy);
}

static void test_large_memory_begins_with_a_page(void **state)
{
    (void)state;
    for (size_t bytes = 64 << 10; bytes < 16 << 20; bytes = 3 * bytes + 1) {
        uint8_t *memory = mst_alloc_aligned(bytes);
        void *copy;
        assert_int_equal(mst_try_copy(memory, bytes, &copy), MST_OK);
        assert_int_equal((uintptr_t)memory % 4096, 0);
        assert_int_equal((uintptr_t)copy % 4096, 0);
        assert_int_equal(memory[bytes - 1], 0);
        free(memory);
        free(copy);
    }
}

static void test_aligned_and_texts(void **state)
{
    (void)state;
    uint8_t *memory = mst_alloc_aligned(65);
    assert_int_equal((uintptr_t)memory % MST_ALIGNMENT, 0);
    for (size_t i = 0; i < 65; i++)
        assert_int_equal(memory[i], 0);
    free(memory);
    char *text = mst_text("%s-%d", "ps", 3);
    assert_string_equal(text, "ps-3");
    free(text);
    uint32_t *array = mst_alloc_array(3, sizeof *array);
    array[2] = 7;
    array = mst_realloc_array(array, 1000, sizeof *array);
    assert_int_equal(array[2], 7);
    free(array);
    free(mst_alloc(0));
}

int main(void)
{
    setenv("MST_FAIL_NTH", "3", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocations_are_apart_zeroed_and_aligned),
        cmocka_unit_test(test_the_maximum),
        cmocka_unit_test(test_large_and_small_blocks),
        cmocka_unit_test(test_try_alloc_fails_when_told),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_large_memory_begins_with_a_page),
        cmocka_unit_test(test_aligned_and_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
