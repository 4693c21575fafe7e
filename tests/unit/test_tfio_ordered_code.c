// Keys of slices: the bytes TensorFlow gives, and the order of what they encode.
#include "tfio/ordered_code.h"

#include "base/bytes.h"
#include "muster/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static struct mst_buf buf;

static int set_up(void **state)
{
    (void)state;
    mst_buf_init(&buf, 1024);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mst_buf_fini(&buf);
    return 0;
}

static void expect_signed(int64_t number, const char *want, size_t want_len)
{
    mst_buf_reset(&buf);
    assert_int_equal(mst_ordered_append_signed(&buf, number), MST_OK);
    assert_int_equal(buf.len, want_len);
    assert_memory_equal(buf.data, want, want_len);
}

static void test_signed(void **state)
{
    (void)state;
    expect_signed(0, "\x80", 1);
    expect_signed(-1, "\x7f", 1);
    expect_signed(3, "\x83", 1);
    expect_signed(63, "\xbf", 1);
    expect_signed(-64, "\x40", 1);
    expect_signed(64, "\xc0\x40", 2);
    expect_signed(-65, "\x3f\xbf", 2);
    expect_signed(130, "\xc0\x82", 2);
    expect_signed(8191, "\xdf\xff", 2);
    expect_signed(8192, "\xe0\x20\x00", 3);
    expect_signed(INT64_MAX, "\xff\xc0\x7f\xff\xff\xff\xff\xff\xff\xff", 10);
    expect_signed(INT64_MIN, "\x00\x3f\x80\x00\x00\x00\x00\x00\x00\x00", 10);
}

// Encodes a number; false if it sorts before the one before it.
static bool is_next(struct mst_buf *before, int64_t number)
{
    mst_buf_reset(&buf);
    assert_int_equal(mst_ordered_append_signed(&buf, number), MST_OK);
    size_t n = buf.len < before->len ? buf.len : before->len;
    int order = n ? memcmp(before->data, buf.data, n) : -1;
    bool in_order = order < 0 || (order == 0 && before->len <= buf.len);
    mst_buf_reset(before);
    assert_int_equal(mst_buf_append(before, buf.data, buf.len), MST_OK);
    return in_order;
}

static void test_signed_order(void **state)
{
    (void)state;
    struct mst_buf before;
    mst_buf_init(&before, 64);
    // Every power of two and its neighbours, from the smallest to the largest number. Neighbours of small powers come
    // twice or fall back by one or two, no others.
    for (int sign = -1; sign <= 1; sign += 2) {
        for (int i = 0; i < 62; i++) {
            int shift = sign < 0 ? 61 - i : i;
            for (int64_t near = -1; near <= 1; near++)
                assert_true(is_next(&before, sign * ((int64_t)1 << shift) + near) || shift <= 2);
        }
        mst_buf_reset(&before);
    }
    mst_buf_fini(&before);
}

static void test_numbers_and_texts(void **state)
{
    (void)state;
    assert_int_equal(mst_ordered_append_number(&buf, 0), MST_OK);
    assert_int_equal(mst_ordered_append_number(&buf, 2), MST_OK);
    assert_int_equal(mst_ordered_append_number(&buf, 0x1234), MST_OK);
    assert_int_equal(mst_ordered_append_text(&buf, "a\xff"), MST_OK);
    assert_int_equal(buf.len, 11);
    assert_memory_equal(buf.data, "\x00\x01\x02\x02\x12\x34\x61\xff\x00\x00\x01", 11);
}

static void test_slice_key(void **state)
{
    (void)state;
    const struct mst_slice_axis axes[] = {{3, 2}, {0, MST_SLICE_WHOLE}};
    assert_int_equal(mst_slice_key_append(&buf, "w", axes, 2), MST_OK);
    assert_int_equal(buf.len, 10);
    assert_memory_equal(buf.data, "\x00w\x00\x01\x01\x02\x83\x82\x80\x7f", 10); // as TensorFlow 2.21 writes it
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_signed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_signed_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_numbers_and_texts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_slice_key, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
