// Two tensors compared: every type's elements, counts, the first, the greatest, tolerance, and what is not a number.
#include "cli/tensor_difference.h"

#include "tfio/tf_types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct mst_tensor_difference compare(uint32_t type, const void *a, const void *b, size_t n, double tolerance)
{
    struct mst_tensor_pair pair = {type, n, a, b};
    struct mst_tensor_difference found;
    mst_tensor_difference(&pair, tolerance, &found);
    return found;
}

static void expect(const struct mst_tensor_difference *found, size_t n, size_t first, double absolute, double relative)
{
    assert_int_equal(found->n_different, n);
    assert_int_equal(found->first, first);
    assert_true(found->max_absolute == absolute);
    assert_true(found->max_relative == relative);
}

static void test_floats(void **state)
{
    (void)state;
    const float a[] = {1, 2, 3, -4};
    const float b[] = {1, 2.5f, 3, 4};
    struct mst_tensor_difference found = compare(MST_TF_FLOAT, a, b, 4, 0);
    expect(&found, 2, 1, 8, 2);
    assert_string_equal(found.a_text, "2");
    assert_string_equal(found.b_text, "2.5");
    found = compare(MST_TF_FLOAT, a, a, 4, 0);
    expect(&found, 0, 0, 0, 0);
    found = compare(MST_TF_FLOAT, NULL, NULL, 0, 0);
    expect(&found, 0, 0, 0, 0);
}

static void test_the_last_of_many(void **state)
{
    (void)state;
    const size_t n = 10001; // more than two blocks, and a rest
    float *a = calloc(n, sizeof *a);
    float *b = calloc(n, sizeof *b);
    assert_non_null(a);
    assert_non_null(b);
    b[n - 1] = 0.5f;
    struct mst_tensor_difference found = compare(MST_TF_FLOAT, a, b, n, 0);
    expect(&found, 1, n - 1, 0.5, 1);
    free(b);
    free(a);
}

static void test_tolerance(void **state)
{
    (void)state;
    const float a[] = {0, 100, NAN, INFINITY, -0.0f};
    const float b[] = {0.25f, 125, -NAN, INFINITY, 0};
    struct mst_tensor_difference found = compare(MST_TF_FLOAT, a, b, 5, 0.25);
    expect(&found, 0, 0, 0, 0); // 0.25 · max(1, …), and 0.25 · 125 is more than 25
    found = compare(MST_TF_FLOAT, a, b, 5, 0.125);
    expect(&found, 2, 0, 25, 1);
    found = compare(MST_TF_FLOAT, a, b, 5, 0);
    assert_int_equal(found.n_different, 4); // bit for bit: also the NaN's sign and the zero's
}

static void test_not_a_number(void **state)
{
    (void)state;
    const double a[] = {NAN, INFINITY};
    const double b[] = {1, -INFINITY};
    struct mst_tensor_difference found = compare(MST_TF_DOUBLE, a, b, 2, 1e9);
    assert_int_equal(found.n_different, 2);
    assert_true(isinf(found.max_absolute) && isinf(found.max_relative));
}

static void test_integers_keep_all_digits(void **state)
{
    (void)state;
    const int64_t a[] = {INT64_MIN, 9007199254740993};
    const int64_t b[] = {INT64_MAX, 9007199254740992};
    struct mst_tensor_difference found = compare(MST_TF_INT64, &a[1], &b[1], 1, 0);
    assert_true(found.max_absolute == 1);
    assert_string_equal(found.a_text, "9007199254740993");
    found = compare(MST_TF_INT64, a, b, 1, 0);
    assert_true(found.max_absolute == 18446744073709551616.0);
    found = compare(MST_TF_UINT64, &a[0], &b[0], 1, 0);
    assert_true(found.max_absolute == 1);
    const int8_t c = -3, d = 4;
    found = compare(MST_TF_INT8, &c, &d, 1, 0);
    assert_true(found.max_absolute == 7);
    assert_string_equal(found.a_text, "-3");
    found = compare(MST_TF_UINT8, &c, &d, 1, 0);
    assert_true(found.max_absolute == 249);
}

static void test_small_floats_and_complex(void **state)
{
    (void)state;
    const uint16_t halves[] = {0x3c00, 0x0001, 0x7c00, 0xc000}; // 1, the least, infinity, -2
    const uint16_t others[] = {0x3c01, 0x0000, 0x7bff, 0x4000};
    struct mst_tensor_difference found = compare(MST_TF_HALF, halves, others, 2, 0);
    assert_true(found.max_absolute == 0x1p-10);
    assert_string_equal(found.b_text, "1.00097656");
    found = compare(MST_TF_HALF, halves, others, 4, 0);
    assert_true(isinf(found.max_absolute));
    found = compare(MST_TF_HALF, &halves[3], &others[3], 1, 0);
    expect(&found, 1, 0, 4, 2);
    found = compare(MST_TF_BFLOAT16, &(uint16_t){0x3f80}, &(uint16_t){0x4040}, 1, 0);
    expect(&found, 1, 0, 2, 2.0 / 3);
    const float z[] = {1, 2};
    const float w[] = {1, -2};
    found = compare(MST_TF_COMPLEX64, z, w, 1, 0);
    expect(&found, 1, 0, 4, 2);
    assert_string_equal(found.b_text, "1-2i");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_floats),
        cmocka_unit_test(test_the_last_of_many),
        cmocka_unit_test(test_tolerance),
        cmocka_unit_test(test_not_a_number),
        cmocka_unit_test(test_integers_keep_all_digits),
        cmocka_unit_test(test_small_floats_and_complex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
