// Shapes: counts that do not fit, printing as Python does, texts that are cut.
#include "muster/status.h"
#include "tensor/shape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static void test_count(void **state)
{
    (void)state;
    static const struct {
        struct mst_shape shape;
        mst_status status;
        size_t n;
    } cases[] = {
        {{0, {0}}, MST_OK, 1},
        {{1, {10}}, MST_OK, 10},
        {{2, {784, 300}}, MST_OK, 235200},
        {{3, {7, 0, 5}}, MST_OK, 0},
        {{8, {1, 2, 1, 2, 1, 2, 1, 2}}, MST_OK, 16},
        {{2, {SIZE_MAX, 1}}, MST_OK, SIZE_MAX},
        {{2, {SIZE_MAX, 2}}, MST_OUT_OF_RANGE, 0},
        {{3, {(size_t)1 << 32, (size_t)1 << 31, 2}}, MST_OUT_OF_RANGE, 0},
        {{9, {1}}, MST_OUT_OF_RANGE, 0},
        {{SIZE_MAX, {1}}, MST_OUT_OF_RANGE, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = 77;
        assert_int_equal(mst_shape_count(&cases[i].shape, &n), cases[i].status);
        assert_int_equal(n, cases[i].n);
    }
}

static void test_equal(void **state)
{
    (void)state;
    const struct mst_shape a = {2, {3, 4}}, b = {2, {3, 4, 9}}, c = {2, {4, 3}}, d = {3, {3, 4, 1}};
    const struct mst_shape scalar = {0, {5}}, other_scalar = {0, {6}}, vector = {1, {5}};
    assert_true(mst_shape_equal(&a, &a));
    assert_true(mst_shape_equal(&a, &b)); // axes beyond the rank do not count
    assert_false(mst_shape_equal(&a, &c));
    assert_false(mst_shape_equal(&a, &d));
    assert_true(mst_shape_equal(&scalar, &other_scalar));
    assert_false(mst_shape_equal(&scalar, &vector));
}

static void test_print(void **state)
{
    (void)state;
    char text[MST_SHAPE_TEXT_BYTES];
    static const struct {
        struct mst_shape shape;
        const char *text;
    } cases[] = {
        {{0, {0}}, "()"}, {{1, {10}}, "(10,)"}, {{2, {784, 300}}, "(784, 300)"}, {{4, {1, 0, 3, 28}}, "(1, 0, 3, 28)"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(mst_shape_print(&cases[i].shape, text, sizeof text), cases[i].text);
    // the longest fits, and a rank from a broken file is no reason to read past the axes
    struct mst_shape longest = {.rank = 8};
    for (size_t axis = 0; axis < 8; axis++)
        longest.dims[axis] = SIZE_MAX;
    mst_shape_print(&longest, text, sizeof text);
    assert_int_equal(strlen(text), 8 * 20 + 7 * 2 + 2);
    longest.rank = 1000;
    mst_shape_print(&longest, text, sizeof text);
    assert_int_equal(strlen(text), 8 * 20 + 7 * 2 + 2);
}

static void test_print_cut(void **state)
{
    (void)state;
    const struct mst_shape shape = {2, {784, 300}};
    for (size_t room = 1; room <= 11; room++) {
        char text[16];
        memset(text, '#', sizeof text);
        mst_shape_print(&shape, text, room);
        assert_int_equal(strlen(text), room - 1);
        assert_memory_equal(text, "(784, 300)", room - 1);
        for (size_t i = room; i < sizeof text; i++)
            assert_int_equal(text[i], '#');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_count), cmocka_unit_test(test_equal),
                                       cmocka_unit_test(test_print), cmocka_unit_test(test_print_cut)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
