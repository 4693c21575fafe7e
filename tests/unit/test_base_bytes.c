// Growing buffers: what they hold, and that they never pass their maximum.
#include "base/bytes.h"

#include "muster/status.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static void test_append_and_view(void **state)
{
    (void)state;
    struct mst_buf buf;
    mst_buf_init(&buf, 1000);
    assert_int_equal(mst_buf_view(&buf).len, 0);
    uint8_t expected[900];
    for (size_t i = 0; i < sizeof expected; i++) {
        expected[i] = (uint8_t)i;
        assert_int_equal(mst_buf_append(&buf, &expected[i], 1), MST_OK);
    }
    struct mst_bytes view = mst_buf_view(&buf);
    assert_int_equal(view.len, sizeof expected);
    assert_memory_equal(view.data, expected, sizeof expected);
    mst_buf_fini(&buf);
}

static void test_the_maximum_is_exact(void **state)
{
    (void)state;
    uint8_t data[100] = {0}, *end;
    struct mst_buf buf;
    mst_buf_init(&buf, sizeof data);
    assert_int_equal(mst_buf_append(&buf, data, sizeof data), MST_OK);
    assert_int_equal(mst_buf_append(&buf, data, 1), MST_RESOURCE_EXHAUSTED);
    assert_int_equal(mst_buf_reserve(&buf, SIZE_MAX, &end), MST_RESOURCE_EXHAUSTED);
    assert_null(end);
    assert_int_equal(buf.len, sizeof data); // what failed changed nothing
    assert_int_equal(mst_buf_append(&buf, NULL, 0), MST_OK);
    mst_buf_reset(&buf);
    assert_int_equal(mst_buf_append(&buf, data, sizeof data), MST_OK);
    mst_buf_fini(&buf);
    assert_int_equal(mst_buf_append(&buf, data, sizeof data + 1), MST_RESOURCE_EXHAUSTED); // fini keeps the maximum
    mst_buf_fini(&buf);
}

static void test_reserve_does_not_lengthen(void **state)
{
    (void)state;
    struct mst_buf buf;
    uint8_t *end;
    mst_buf_init(&buf, 1 << 20);
    assert_int_equal(mst_buf_reserve(&buf, 0, &end), MST_OK);
    assert_int_equal(mst_buf_reserve(&buf, 1 << 20, &end), MST_OK);
    memset(end, 7, 1 << 20); // all of it is there
    assert_int_equal(buf.len, 0);
    mst_buf_fini(&buf);
}

static void test_printf_ends_with_a_nul(void **state)
{
    (void)state;
    struct mst_buf buf;
    mst_buf_init(&buf, 12);
    assert_int_equal(mst_buf_printf(&buf, "%s", ""), MST_OK);
    assert_int_equal(buf.len, 0);
    assert_int_equal(mst_buf_printf(&buf, "a=%d", 12), MST_OK);
    assert_int_equal(mst_buf_printf(&buf, " b=%d", 34), MST_OK);
    assert_int_equal(buf.len, 9);
    assert_string_equal((const char *)buf.data, "a=12 b=34");
    assert_int_equal(mst_buf_printf(&buf, "%s", "xyz"), MST_RESOURCE_EXHAUSTED);
    assert_int_equal(buf.len, 9);
    mst_buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_and_view),
        cmocka_unit_test(test_the_maximum_is_exact),
        cmocka_unit_test(test_reserve_does_not_lengthen),
        cmocka_unit_test(test_printf_ends_with_a_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
