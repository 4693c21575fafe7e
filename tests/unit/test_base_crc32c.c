// CRC-32C against RFC 3720's vectors and against a bit-by-bit reference, at every alignment and split.
#include "base/crc32c.h"

#include "base/crc32c_private.h"
#include "base/rng.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static void test_vectors(void **state)
{
    (void)state;
    uint8_t bytes[48] = {0};
    assert_int_equal(mst_crc32c(bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, 32);
    assert_int_equal(mst_crc32c(bytes, 32), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    assert_int_equal(mst_crc32c(bytes, 32), 0x46dd794e);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = (uint8_t)(31 - i);
    assert_int_equal(mst_crc32c(bytes, 32), 0x113fdb5c);
    static const uint8_t iscsi_read[48] = {0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0,
                                           0x14, 0,    0, 0, 0, 0, 4, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18,
                                           0x28, 0,    0, 0, 0, 0, 0, 0, 2, 0, 0, 0,    0, 0, 0, 0};
    assert_int_equal(mst_crc32c(iscsi_read, 48), 0xd9963a56);
    assert_int_equal(mst_crc32c("123456789", 9), 0xe3069283);
    assert_int_equal(mst_crc32c("", 0), 0);
}

static uint32_t reference(const uint8_t *data, size_t len)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    }
    return ~crc;
}

// Long enough for the three streams, and for the folds, at each alignment, in every way that the processor has.
static void test_lengths_and_alignments(void **state)
{
    (void)state;
    static uint8_t data[10000];
    struct mst_rng_key key = mst_rng_key_of(1, "crc", 0);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)mst_rng_word(key, i);
    static const size_t lengths[] = {1,    7,    8,    9,    63,   1023, 1024, 1025, 1279,
                                     1280, 1535, 1536, 3071, 3072, 3073, 6144, 9001, 9991};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        for (size_t offset = 0; offset < 9; offset++) {
            uint32_t expected = reference(data + offset, lengths[i]);
            assert_int_equal(mst_crc32c(data + offset, lengths[i]), expected);
            for (enum mst_crc32c_way way = MST_CRC32C_TABLES; way <= MST_CRC32C_FOLDING_512; way++)
                if (mst_crc32c_can(way))
                    assert_int_equal(mst_crc32c_extend_by(way, 0, data + offset, lengths[i]), expected);
        }
}

static void test_extending_is_the_same(void **state)
{
    (void)state;
    static uint8_t data[7000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 37);
    uint32_t whole = mst_crc32c(data, sizeof data);
    for (size_t split = 0; split <= sizeof data; split += split < 20 ? 1 : 331) {
        uint32_t crc = mst_crc32c_extend(0, data, split);
        assert_int_equal(mst_crc32c_extend(crc, data + split, sizeof data - split), whole);
    }
}

static void test_masks(void **state)
{
    (void)state;
    assert_int_equal(mst_crc32c_mask(0), 0xa282ead8);
    for (uint32_t crc = 1; crc; crc <<= 1) {
        assert_int_not_equal(mst_crc32c_mask(crc), crc);
        assert_int_equal(mst_crc32c_unmask(mst_crc32c_mask(crc)), crc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_lengths_and_alignments),
        cmocka_unit_test(test_extending_is_the_same),
        cmocka_unit_test(test_masks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
