// Sums of squares on the fixed grid, for every instruction set, against integers made of the floats' bits one by one.
// A seed may be given as the argument.
#include "optim/square_norm.h"

#include "tensor/isa.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_N = 30000 };

__extension__ typedef unsigned __int128 wide;

static uint64_t seed = 20261125;
static uint64_t random_state;
static float values[MAX_N];

static uint64_t next_random(void)
{
    random_state += 0x9e3779b97f4a7c15u;
    uint64_t x = random_state;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

// The square of x as a multiple of 2^-72, rounded to nearest; false if that is 2^128 or more.
static bool square_of(float x, wide *out)
{
    *out = 0;
    if (!isfinite(x))
        return false;
    int exponent;
    uint64_t mantissa = (uint64_t)ldexp(fabs(frexp((double)x, &exponent)), 24); // x = mantissa * 2^(exponent - 24)
    wide square = (wide)mantissa * mantissa;
    int shift = 2 * (exponent - 24) + 72;
    if (square == 0 || shift < -49)
        return true;
    if (shift > 127)
        return false;
    if (shift >= 0) {
        *out = square << shift;
        return *out >> shift == square;
    }
    *out = (square >> -shift) + (square >> (-shift - 1) & 1); // what is cut off is never a half: that is no square
    return true;
}

static struct mst_square_norm expected(const float *x, size_t n)
{
    wide sum = 0;
    for (size_t i = 0; i < n; i++) {
        wide square;
        if (!square_of(x[i], &square) || sum + square < sum)
            return (struct mst_square_norm){.is_infinite = true};
        sum += square;
    }
    return (struct mst_square_norm){.hi = (uint64_t)(sum >> 64), .lo = (uint64_t)sum};
}

static void assert_norm(const struct mst_square_norm *got, const struct mst_square_norm *want, const char *what)
{
    if (got->hi != want->hi || got->lo != want->lo || got->is_infinite != want->is_infinite)
        fail_msg("%s: %016" PRIx64 "%016" PRIx64 " infinite %d, not %016" PRIx64 "%016" PRIx64 " infinite %d", what,
                 got->hi, got->lo, got->is_infinite, want->hi, want->lo, want->is_infinite);
}

static void check(const float *x, size_t n, const char *what)
{
    struct mst_square_norm want = expected(x, n);
    setenv("MUSTER_ISA", "avx512", 1);
    enum mst_isa widest = mst_isa_detect();
    for (enum mst_isa isa = MST_ISA_BASE; isa <= widest; isa++) {
        char name[100];
        snprintf(name, sizeof name, "%s, n %zu, %s", what, n, mst_isa_name(isa));
        setenv("MUSTER_ISA", mst_isa_name(isa), 1);
        struct mst_square_norm got = {0};
        mst_square_norm_add(&got, x, n);
        assert_norm(&got, &want, name);
    }
}

// Any mantissa and sign, with exponents of [low, high].
static void fill(int low, int high)
{
    for (size_t i = 0; i < MAX_N; i++) {
        uint64_t bits = next_random();
        int exponent = low + (int)(next_random() % (uint64_t)(high - low + 1));
        float x = ldexpf(1.0f + (float)(bits & 0x7fffff) * 0x1p-23f, exponent);
        values[i] = bits >> 63 ? -x : x;
    }
}

static void test_every_size_about_a_vector_and_a_block(void **state)
{
    (void)state;
    fill(-30, 3);
    for (size_t n = 0; n <= 70; n++)
        check(values + n % 5, n, "small");
    for (size_t n = 8190; n <= 8194; n++)
        check(values + n % 5, n, "about a block");
    check(values, MAX_N, "four blocks");
}

static void test_every_exponent(void **state)
{
    (void)state;
    for (int exponent = -149; exponent <= 127; exponent++) {
        fill(exponent, exponent);
        check(values, 37, "one exponent");
    }
    fill(-40, 20);
    check(values, MAX_N, "exponents mixed");
    fill(-149, -30);
    check(values, MAX_N, "small and denormal");
}

// Every lane at the bounds that the sums inside the kernel are made for.
static void test_the_largest_sums_of_a_block(void **state)
{
    (void)state;
    const float bounds[] = {90.50966f, 90.509674f, 0x1.fffffep27f, 0x1p21f, 0x1.6a09e6p6f, 0x1.6a09e4p-16f, 0x1p-15f};
    for (size_t b = 0; b < sizeof bounds / sizeof *bounds; b++) {
        for (size_t i = 0; i < MAX_N; i++)
            values[i] = bounds[b];
        check(values, 8192, "a block of equals");
        check(values, MAX_N, "all equal");
    }
}

// A quarter of a unit is a square, nine quarters are, and what lies just below and above a half is nearly one.
static void test_rounding_to_nearest(void **state)
{
    (void)state;
    const float near[] = {0x1p-36f,        0x1p-37f,        0x1.8p-37f,      0x1.8p-36f,      0x1.6a09e4p-37f,
                          0x1.6a09e6p-37f, 0x1.6a09e8p-37f, 0x1.3988e0p-36f, 0x1.3988e2p-36f, 0x1.000002p-36f};
    for (size_t i = 0; i < sizeof near / sizeof *near; i++)
        check(&near[i], 1, "near a half");
    for (size_t i = 0; i < 4096; i++) {
        values[i] = ldexpf((float)(0x800000 + (next_random() & 0x7fffff)), -60 + (int)(i % 8));
        check(values + i, 1, "a few units");
    }
}

static void test_too_large_and_not_finite(void **state)
{
    (void)state;
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY, 1e18f, -1e18f, 0x1p28f, 3.4e38f};
    const size_t places[] = {0, 7, 40, 8191, 8192, 20000, MAX_N - 1};
    for (size_t b = 0; b < sizeof bad / sizeof *bad; b++)
        for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
            fill(-20, 3);
            values[places[p]] = bad[b];
            assert_true(expected(values, MAX_N).is_infinite);
            check(values, MAX_N, "out of range");
        }
    for (size_t i = 0; i < 4; i++)
        values[i] = 0x1p27f;
    assert_true(expected(values, 4).is_infinite);
    check(values, 4, "2^56");
    values[3] = 0x1.fffffep26f;
    assert_false(expected(values, 4).is_infinite);
    check(values, 4, "below 2^56");
    fill(23, 24);
    check(values, MAX_N, "a sum that grows too large");
    for (size_t n = 200; n < 300; n++)
        check(values, n, "a sum that grows too large, or not");
}

static void test_partitions_and_orders_change_nothing(void **state)
{
    (void)state;
    for (size_t round = 0; round < 300; round++) {
        fill(-40, round % 3 == 0 ? 26 : 5);
        if (round % 50 == 49)
            values[next_random() % MAX_N] = NAN;
        size_t n = next_random() % MAX_N;
        struct mst_square_norm want = expected(values, n), shards[3] = {0};
        for (size_t from = 0; from < n;) {
            size_t length = 1 + next_random() % (round % 2 ? 9 : 9000);
            length = length < n - from ? length : n - from;
            const char *level = mst_isa_name((enum mst_isa)(next_random() % 3));
            setenv("MUSTER_ISA", level, 1);
            mst_square_norm_add(&shards[next_random() % 3], values + from, length);
            from += length;
        }
        size_t first = next_random() % 3;
        struct mst_square_norm got = {0};
        for (size_t s = 0; s < 3; s++)
            mst_square_norm_join(&got, &shards[(first + s) % 3]);
        char name[60];
        snprintf(name, sizeof name, "seed %" PRIu64 " round %zu n %zu", seed, round, n);
        assert_norm(&got, &want, name);
    }
}

static void test_joining_overflows_as_adding_does(void **state)
{
    (void)state;
    struct mst_square_norm a = {.hi = UINT64_MAX, .lo = UINT64_MAX}, one = {.lo = 1}, b = a;
    const struct mst_square_norm infinite = {.is_infinite = true}, zero = {0};
    mst_square_norm_join(&a, &zero);
    assert_norm(&a, &b, "with nothing");
    mst_square_norm_join(&a, &one);
    assert_norm(&a, &infinite, "one too many");
    mst_square_norm_join(&a, &one);
    assert_norm(&a, &infinite, "for good");
    mst_square_norm_join(&one, &infinite);
    assert_norm(&one, &infinite, "with an infinite one");
    mst_square_norm_add(&one, values, 3);
    assert_norm(&one, &infinite, "adding to an infinite one");
}

static void test_values(void **state)
{
    (void)state;
    struct mst_square_norm norm = {0};
    assert_true(mst_square_norm_value(&norm) == 0);
    mst_square_norm_add(&norm, (const float[]){3.0f, -4.0f, 0.5f, 1e-30f}, 4);
    assert_true(mst_square_norm_value(&norm) == 25.25);
    mst_square_norm_add(&norm, (const float[]){0x1p27f}, 1);
    assert_true(mst_square_norm_value(&norm) == 0x1p54 + 24); // a double has no quarters up there, nor ones
    mst_square_norm_add(&norm, (const float[]){NAN}, 1);
    assert_true(isinf(mst_square_norm_value(&norm)) && mst_square_norm_value(&norm) > 0);
}

static int set_up(void **state)
{
    (void)state;
    random_state = seed;
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_every_size_about_a_vector_and_a_block, set_up),
        cmocka_unit_test_setup(test_every_exponent, set_up),
        cmocka_unit_test(test_the_largest_sums_of_a_block),
        cmocka_unit_test_setup(test_rounding_to_nearest, set_up),
        cmocka_unit_test_setup(test_too_large_and_not_finite, set_up),
        cmocka_unit_test_setup(test_partitions_and_orders_change_nothing, set_up),
        cmocka_unit_test(test_joining_overflows_as_adding_does),
        cmocka_unit_test(test_values),
    };
    if (argc > 1)
        seed = strtoull(argv[1], NULL, 10);
    printf("seed %" PRIu64 "\n", seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
