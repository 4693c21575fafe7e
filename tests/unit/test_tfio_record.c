// Records against the bytes that TensorFlow's TFRecordWriter writes.
#include "tfio/record.h"

#include "base/bytes.h"
#include "muster/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static void test_as_tensorflow_writes_them(void **state)
{
    (void)state;
    static const char empty[] = "\x00\x00\x00\x00\x00\x00\x00\x00\x29\x03\x98\x07\xd8\xea\x82\xa2";
    static const char digits[] = "\x09\x00\x00\x00\x00\x00\x00\x00\x37\xf9\x71\x39"
                                 "123456789\xe5\xb0\x8a\xc7";
    struct mst_buf buf;
    mst_buf_init(&buf, 1024);
    assert_int_equal(mst_record_append(&buf, (struct mst_bytes){NULL, 0}), MST_OK);
    assert_int_equal(buf.len, sizeof empty - 1);
    assert_memory_equal(buf.data, empty, sizeof empty - 1);
    assert_int_equal(mst_record_append(&buf, (struct mst_bytes){"123456789", 9}), MST_OK);
    assert_int_equal(buf.len, sizeof empty - 1 + sizeof digits - 1);
    assert_memory_equal(buf.data + sizeof empty - 1, digits, sizeof digits - 1);
    mst_buf_fini(&buf);
}

static void test_no_room(void **state)
{
    (void)state;
    struct mst_buf buf;
    mst_buf_init(&buf, 2 * MST_RECORD_FRAME_BYTES + 8);
    assert_int_equal(mst_record_append(&buf, (struct mst_bytes){"12345678", 8}), MST_OK);
    assert_int_equal(mst_record_append(&buf, (struct mst_bytes){"1", 1}), MST_RESOURCE_EXHAUSTED);
    assert_int_equal(mst_record_append(&buf, (struct mst_bytes){"1", SIZE_MAX}), MST_RESOURCE_EXHAUSTED);
    assert_int_equal(buf.len, MST_RECORD_FRAME_BYTES + 8);
    assert_int_equal(mst_record_append(&buf, (struct mst_bytes){NULL, 0}), MST_OK);
    assert_int_equal(buf.len, buf.max_bytes);
    mst_buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_tensorflow_writes_them),
        cmocka_unit_test(test_no_room),
    };
    return cmocka_run_group_tests_name("tfio/record", tests, NULL, NULL);
}
