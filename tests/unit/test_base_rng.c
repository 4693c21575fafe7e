// Philox4x32-10 against the known answers of its authors' library, and the keyed permutation.
#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static void check_block(const uint32_t counter[4], const uint32_t k[2], const uint32_t expected[4])
{
    struct mst_rng_key key = {{k[0], k[1]}, {counter[2], counter[3]}};
    uint32_t out[4];
    mst_rng_block(key, (uint64_t)counter[1] << 32 | counter[0], out);
    assert_memory_equal(out, expected, sizeof out);
}

// Source: Random123's kat_vectors, philox4x32 with 10 rounds.
static void test_known_answers(void **state)
{
    (void)state;
    check_block((const uint32_t[]){0, 0, 0, 0}, (const uint32_t[]){0, 0},
                (const uint32_t[]){0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    check_block((const uint32_t[]){0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
                (const uint32_t[]){0xffffffff, 0xffffffff},
                (const uint32_t[]){0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    check_block((const uint32_t[]){0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                (const uint32_t[]){0xa4093822, 0x299f31d0},
                (const uint32_t[]){0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

static void test_words_are_those_of_blocks(void **state)
{
    (void)state;
    struct mst_rng_key key = mst_rng_key_of(7, "dense/kernel", 3);
    for (uint64_t element = 0; element < 64; element++) {
        uint32_t block[4];
        mst_rng_block(key, element / 4, block);
        assert_int_equal(mst_rng_word(key, element), block[element % 4]);
    }
}

static void test_keys_differ_in_each_part(void **state)
{
    (void)state;
    struct mst_rng_key keys[] = {mst_rng_key_of(1, "a", 0), mst_rng_key_of(2, "a", 0), mst_rng_key_of(1, "b", 0),
                                 mst_rng_key_of(1, "a", 1)};
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(mst_rng_word(keys[i], 0), mst_rng_word(keys[j], 0));
    struct mst_rng_key again = mst_rng_key_of(1, "a", 0);
    assert_memory_equal(&again, &keys[0], sizeof again);
}

static void test_units_are_below_one(void **state)
{
    (void)state;
    assert_true(mst_rng_unit(0) == 0.0f);
    assert_true(mst_rng_unit(UINT32_MAX) < 1.0f);
    assert_true(mst_rng_unit(UINT32_C(1) << 31) == 0.5f);
}

static void test_the_permutation_is_a_bijection(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 2, 3, 4, 5, 15, 16, 17, 64, 65, 1000, 4095, 4096, 4097, 60000};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        uint64_t n = sizes[s];
        uint8_t *seen = calloc(n, 1);
        size_t n_fixed = 0;
        struct mst_rng_key key = mst_rng_key_of(11, "shuffle", s);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t p = mst_rng_permute(key, n, i);
            assert_true(p < n);
            assert_int_equal(seen[p]++, 0);
            n_fixed += p == i;
        }
        assert_true(n < 64 || n_fixed < 16); // one in expectation
        free(seen);
    }
}

static void test_permutations_of_keys_differ(void **state)
{
    (void)state;
    struct mst_rng_key first = mst_rng_key_of(11, "shuffle", 0), second = mst_rng_key_of(11, "shuffle", 1);
    size_t n_same = 0;
    for (uint64_t i = 0; i < 1000; i++)
        n_same += mst_rng_permute(first, 1000, i) == mst_rng_permute(second, 1000, i);
    assert_true(n_same < 20);
    // Far beyond what an epoch has: still inside, and not the identity.
    uint64_t huge = UINT64_C(1) << 60;
    assert_true(mst_rng_permute(first, huge, huge - 1) < huge);
}

static void test_the_system_gives_numbers(void **state)
{
    (void)state;
    assert_int_not_equal(mst_rng_system(), mst_rng_system());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_words_are_those_of_blocks),
        cmocka_unit_test(test_keys_differ_in_each_part),
        cmocka_unit_test(test_units_are_below_one),
        cmocka_unit_test(test_the_permutation_is_a_bijection),
        cmocka_unit_test(test_permutations_of_keys_differ),
        cmocka_unit_test(test_the_system_gives_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
