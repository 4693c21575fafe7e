// The frame's layout byte by byte, and every way a header can be refused.
#include "wire/frame.h"

#include "base/crc32c.h"
#include "base/rng.h"
#include "muster/status.h"
#include "wire/methods.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static const struct mst_frame sample = {.flags = MST_FRAME_REPLY | MST_FRAME_BODY_CRC,
                                        .method = 0x1234,
                                        .call = 0x0102030405060708,
                                        .meta_bytes = 5,
                                        .body_bytes = 0x1a2b3c4d};

// The CRC is over the header with its own field zero, then meta.
static uint32_t crc_of(const uint8_t *header, const void *meta, size_t meta_bytes)
{
    uint8_t copy[MST_FRAME_HEADER_BYTES];
    memcpy(copy, header, sizeof copy);
    memset(copy + 20, 0, 4);
    return mst_crc32c_extend(mst_crc32c(copy, sizeof copy), meta, meta_bytes);
}

static void test_the_layout(void **state)
{
    (void)state;
    uint8_t header[MST_FRAME_HEADER_BYTES];
    mst_frame_encode(&sample, "hello", header);
    static const uint8_t before_crc[] = {'M', 'S', 'T', 'R', 1, 5, 0x34, 0x12, 8, 7, 6, 5, 4, 3, 2, 1, 5, 0, 0, 0};
    static const uint8_t after_crc[] = {0x4d, 0x3c, 0x2b, 0x1a, 0, 0, 0, 0};
    assert_memory_equal(header, before_crc, sizeof before_crc);
    assert_memory_equal(header + 24, after_crc, sizeof after_crc);
    uint32_t crc = crc_of(header, "hello", 5);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(header[20 + i], crc >> (8 * i) & 0xff);
}

static void test_round_trips(void **state)
{
    (void)state;
    static const struct mst_frame frames[] = {
        {0},
        {.method = UINT16_MAX, .call = UINT64_MAX, .body_bytes = MST_FRAME_BODY_MAX},
        {.flags = MST_FRAME_REPLY | MST_FRAME_ERROR, .method = 1, .call = 7, .meta_bytes = 3},
        {.flags = MST_FRAME_BODY_CRC, .body_bytes = MST_FRAME_CRC_BYTES},
        {.flags = MST_FRAME_REPLY, .meta_bytes = MST_FRAME_META_MAX},
    };
    static uint8_t meta[MST_FRAME_META_MAX];
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        uint8_t header[MST_FRAME_HEADER_BYTES];
        struct mst_frame out;
        mst_frame_encode(&frames[i], frames[i].meta_bytes ? meta : NULL, header);
        assert_int_equal(mst_frame_decode(header, &out, NULL), MST_OK);
        assert_int_equal(out.flags, frames[i].flags);
        assert_int_equal(out.method, frames[i].method);
        assert_int_equal(out.call, frames[i].call);
        assert_int_equal(out.meta_bytes, frames[i].meta_bytes);
        assert_int_equal(out.body_bytes, frames[i].body_bytes);
        assert_int_equal(mst_frame_check(header, meta, NULL), MST_OK);
    }
}

static void test_every_flipped_bit_is_noticed(void **state)
{
    (void)state;
    uint8_t bytes[MST_FRAME_HEADER_BYTES + 5];
    memset(bytes, 'x', sizeof bytes);
    mst_frame_encode(&sample, "xxxxx", bytes);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        struct mst_frame out;
        mst_status status = mst_frame_decode(bytes, &out, NULL);
        // check reads as much meta as the header says: only what a reader would have read.
        if (status == MST_OK && out.meta_bytes <= 5)
            status = mst_frame_check(bytes, bytes + MST_FRAME_HEADER_BYTES, NULL);
        assert_true(status != MST_OK || out.meta_bytes > 5);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void put(uint8_t *at, uint64_t value, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        size_t n_bytes;
        uint64_t value;
        mst_status status;
        const char *says;
    } rows[] = {
        {0, 4, 0x4d535452, MST_INVALID_ARGUMENT, "0x4d535452"}, // the other byte order
        {0, 4, 0x20544547, MST_INVALID_ARGUMENT, "not a Muster frame"},
        {4, 1, 0, MST_FAILED_PRECONDITION, "version 0"},
        {4, 1, 2, MST_FAILED_PRECONDITION, "version 2, this process speaks 1"},
        {5, 1, 8, MST_INVALID_ARGUMENT, "flags 0x08"},
        {5, 1, 0xff, MST_INVALID_ARGUMENT, "flags 0xff"},
        {5, 1, MST_FRAME_ERROR, MST_INVALID_ARGUMENT, "ERROR without REPLY"},
        {16, 4, MST_FRAME_META_MAX + 1, MST_RESOURCE_EXHAUSTED, "meta of 1048577 bytes exceeds 1048576"},
        {16, 4, UINT32_MAX, MST_RESOURCE_EXHAUSTED, "4294967295"},
        {24, 8, MST_FRAME_BODY_MAX + 1, MST_RESOURCE_EXHAUSTED, "body of 1073741825 bytes exceeds 1073741824"},
        {24, 8, UINT64_MAX, MST_RESOURCE_EXHAUSTED, "18446744073709551615"},
        {24, 8, 3, MST_INVALID_ARGUMENT, "BODY_CRC and a body of 3 bytes"},
        {24, 8, 0, MST_INVALID_ARGUMENT, "BODY_CRC and a body of 0 bytes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t header[MST_FRAME_HEADER_BYTES];
        mst_frame_encode(&sample, "hello", header);
        put(header + rows[i].at, rows[i].value, rows[i].n_bytes);
        struct mst_frame out;
        struct mst_error err;
        assert_int_equal(mst_frame_decode(header, &out, &err), rows[i].status);
        if (!strstr(err.text, rows[i].says))
            fail_msg("\"%s\" does not say \"%s\"", err.text, rows[i].says);
    }
}

static void test_a_wrong_crc(void **state)
{
    (void)state;
    uint8_t header[MST_FRAME_HEADER_BYTES];
    struct mst_error err;
    mst_frame_encode(&sample, "hello", header);
    assert_int_equal(mst_frame_check(header, "hellp", &err), MST_DATA_LOSS);
    assert_non_null(strstr(err.text, "crc32c"));
    header[20] ^= 1;
    assert_int_equal(mst_frame_check(header, "hello", NULL), MST_DATA_LOSS);
}

static void test_random_headers(void **state)
{
    (void)state;
    struct mst_rng_key key = mst_rng_key_of(20261124, "frame", 0);
    print_message("seed 20261124\n");
    for (uint64_t i = 0; i < 20000; i++) {
        uint32_t words[8];
        mst_rng_block(key, 2 * i, words);
        mst_rng_block(key, 2 * i + 1, words + 4);
        if (i % 2)
            words[0] = MST_FRAME_MAGIC; // so that the rest is looked at
        if (i % 4 == 3)
            words[1] = (words[1] & 0xffff0700) | MST_FRAME_VERSION;
        uint8_t header[MST_FRAME_HEADER_BYTES];
        memcpy(header, words, sizeof header);
        struct mst_frame out;
        if (mst_frame_decode(header, &out, NULL) == MST_OK) {
            assert_true(out.meta_bytes <= MST_FRAME_META_MAX && out.body_bytes <= MST_FRAME_BODY_MAX);
            assert_int_equal(out.flags & ~7, 0);
        }
    }
}

static void test_methods_have_names(void **state)
{
    (void)state;
    assert_string_equal(mst_method_name(MST_METHOD_GREETING), "greeting");
    assert_string_equal(mst_method_name(MST_METHOD_FINISH), "finish");
    assert_string_equal(mst_method_name(0), "unknown");
    assert_string_equal(mst_method_name(UINT16_MAX), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_layout),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_every_flipped_bit_is_noticed),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_a_wrong_crc),
        cmocka_unit_test(test_random_headers),
        cmocka_unit_test(test_methods_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
