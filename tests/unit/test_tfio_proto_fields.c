// Fields there and back, and every cut of a message refused.
#include "tfio/proto_fields.h"

#include "base/bytes.h"
#include "muster/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static void test_round_trip(void **state)
{
    (void)state;
    struct mst_buf buf;
    struct mst_proto_field field;
    mst_buf_init(&buf, 1024);
    assert_int_equal(mst_proto_append_varint(&buf, 1, 0), MST_OK);
    assert_int_equal(mst_proto_append_varint(&buf, 2, UINT64_MAX), MST_OK);
    assert_int_equal(mst_proto_append_fixed32(&buf, 6, 0xdeadbeef), MST_OK);
    assert_int_equal(mst_proto_append_bytes(&buf, 1000, (struct mst_bytes){"text", 4}), MST_OK);
    struct mst_bytes rest = mst_buf_view(&buf);
    assert_int_equal(mst_proto_next(&rest, &field), MST_OK);
    assert_int_equal(field.number, 1);
    assert_int_equal(field.value, 0);
    assert_int_equal(mst_proto_next(&rest, &field), MST_OK);
    assert_true(field.value == UINT64_MAX);
    assert_int_equal(mst_proto_next(&rest, &field), MST_OK);
    assert_int_equal(field.wire, MST_PROTO_FIXED32);
    assert_int_equal(field.value, 0xdeadbeef);
    assert_int_equal(mst_proto_next(&rest, &field), MST_OK);
    assert_int_equal(field.number, 1000);
    assert_int_equal(field.bytes.len, 4);
    assert_memory_equal(field.bytes.data, "text", 4);
    assert_int_equal(rest.len, 0);
    // Cut anywhere inside the last field: its own failure, never a read past the end.
    for (size_t cut = buf.len - 1; cut > buf.len - 7; cut--) {
        rest = (struct mst_bytes){buf.data, cut};
        mst_status status = MST_OK;
        while (rest.len > 0 && status == MST_OK)
            status = mst_proto_next(&rest, &field);
        assert_int_equal(status, MST_DATA_LOSS);
    }
    mst_buf_fini(&buf);
}

static void expect_refused(const char *bytes, size_t len)
{
    struct mst_proto_field field;
    struct mst_bytes rest = {bytes, len};
    assert_int_equal(mst_proto_next(&rest, &field), MST_DATA_LOSS);
}

static void test_refused(void **state)
{
    (void)state;
    expect_refused("\x00\x01", 2);                                          // field 0
    expect_refused("\x0b\x0c", 2);                                          // a group
    expect_refused("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11);     // a length of 2^64 - 1
    expect_refused("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12); // a varint of 11 bytes
    expect_refused("\x35\x01\x02\x03", 4);                                  // fixed32 of three bytes
    expect_refused("\x31\x01\x02\x03\x04\x05\x06\x07", 8);                  // fixed64 of seven
    expect_refused("\xff\xff\xff\xff\xff\xff\x01\x00", 8);                  // a number past 2^29
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
