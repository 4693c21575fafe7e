// Weighted sums and means bit for bit against one operation at a time, at sizes around the width of a vector.
#include "optim/weighted_sum.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

enum { MAX_N = 70, WORKERS = 3 };

static const float weights[WORKERS] = {32.0f, 7.0f, 0.3f};

// volatile: each result is rounded to a float and stored before it is used
static float product(float a, float b)
{
    volatile float p = a * b;
    return p;
}

static float add(float a, float b)
{
    volatile float s = a + b;
    return s;
}

static float element(size_t worker, size_t i)
{
    const float extremes[] = {0.0f, -0.0f, 1e-45f, 3e38f, -1e-38f, 1.0f / 3.0f};
    if ((i + worker) % 9 < 6)
        return extremes[(i + worker) % 9];
    return (i % 2 ? -0.1f : 0.7f) * (float)(i + 1) / (float)(worker + 3);
}

static void assert_same_bits(const float *got, const float *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], sizeof got[i]) != 0)
            fail_msg("element %zu of %zu is %a, not %a", i, n, (double)got[i], (double)want[i]);
}

static void test_sums_in_worker_order(void **state)
{
    (void)state;
    for (size_t n = 0; n <= MAX_N; n++) {
        float x[MAX_N + 1], sum[MAX_N + 1], want[MAX_N];
        for (size_t i = 0; i <= MAX_N; i++)
            sum[i] = NAN; // the first does not look at it
        for (size_t worker = 0; worker < WORKERS; worker++) {
            for (size_t i = 0; i < n; i++) {
                x[i + 1] = element(worker, i);
                float p = product(weights[worker], x[i + 1]);
                want[i] = worker == 0 ? p : add(p, want[i]);
            }
            mst_weighted_sum_add(weights[worker], x + 1, worker == 0, sum + 1, n);
            assert_same_bits(sum + 1, want, n);
        }
        assert_true(isnan(sum[0]) && (n == MAX_N || isnan(sum[n + 1])));
    }
}

// 1 + 2^-12 squared is 1 + 2^-11 + 2^-24, and a float keeps the first two: less them, nothing is left. Fused, the
// last is.
static void test_nothing_is_fused(void **state)
{
    (void)state;
    float x[MAX_N], sum[MAX_N];
    for (size_t i = 0; i < MAX_N; i++) {
        x[i] = 0x1.001p0f;
        sum[i] = -0x1.002p0f;
    }
    mst_weighted_sum_add(0x1.001p0f, x, false, sum, MAX_N);
    for (size_t i = 0; i < MAX_N; i++)
        assert_true(sum[i] == 0);
}

static void test_means(void **state)
{
    (void)state;
    for (size_t n = 0; n <= MAX_N; n++) {
        float sum[MAX_N + 1], out[MAX_N + 1], want[MAX_N];
        for (size_t i = 0; i < n; i++) {
            sum[i + 1] = element(1, i);
            volatile float mean = sum[i + 1] / 39.3f;
            want[i] = mean;
        }
        mst_weighted_sum_mean(39.3f, sum + 1, out + 1, n);
        assert_same_bits(out + 1, want, n);
        mst_weighted_sum_mean(39.3f, sum + 1, sum + 1, n);
        assert_same_bits(sum + 1, want, n);
    }
}

static void test_what_is_not_finite_stays_so(void **state)
{
    (void)state;
    float x[MAX_N] = {0}, sum[MAX_N] = {0};
    x[3] = NAN;
    x[66] = INFINITY;
    mst_weighted_sum_add(2.0f, x, false, sum, MAX_N);
    mst_weighted_sum_mean(2.0f, sum, sum, MAX_N);
    for (size_t i = 0; i < MAX_N; i++)
        assert_true(i == 3 ? isnan(sum[i]) : i == 66 ? isinf(sum[i]) : sum[i] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_in_worker_order),
        cmocka_unit_test(test_nothing_is_fused),
        cmocka_unit_test(test_means),
        cmocka_unit_test(test_what_is_not_finite_stays_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
