// Norms and what is scaled to them: against sums in long double, at sizes around the width of a vector.
#include "optim/clip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

enum { MAX_N = 70 };

static void fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (i % 3 == 0 ? -0.1f : 0.3f) * (float)(i + 1);
}

static double norm_of(const float *x, size_t n)
{
    long double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (long double)x[i] * (long double)x[i];
    return (double)sqrtl(sum);
}

static void test_sums_of_squares(void **state)
{
    (void)state;
    float x[MAX_N + 1];
    fill(x, MAX_N + 1);
    assert_true(mst_clip_square_sum(x, 0) == 0);
    for (size_t n = 1; n <= MAX_N; n++) {
        double want = norm_of(x + 1, n); // not aligned
        assert_true(fabs(sqrt(mst_clip_square_sum(x + 1, n)) - want) <= 1e-15 * want);
    }
}

static void test_a_norm_above_the_limit_becomes_the_limit(void **state)
{
    (void)state;
    float x[MAX_N], before[MAX_N];
    for (size_t n = 1; n <= MAX_N; n++) {
        fill(x, n);
        memcpy(before, x, sizeof x);
        double norm = norm_of(x, n);
        mst_clip_by_norm(norm / 3, x, n);
        assert_true(fabs(norm_of(x, n) - norm / 3) <= 1e-6 * norm);
        for (size_t i = 0; i < n; i++)
            assert_true(fabsf(x[i] - before[i] / 3) <= 1e-6f * fabsf(before[i]));
    }
}

static void test_a_norm_within_the_limit_changes_nothing(void **state)
{
    (void)state;
    float x[MAX_N], before[MAX_N];
    fill(x, MAX_N);
    memcpy(before, x, sizeof x);
    mst_clip_by_norm(norm_of(x, MAX_N) * 1.001, x, MAX_N);
    assert_memory_equal(x, before, sizeof x);
    mst_clip_scale(mst_clip_global_scale(10.0, 99.0), x, MAX_N);
    assert_memory_equal(x, before, sizeof x);
    memset(x, 0, sizeof x);
    memset(before, 0, sizeof before);
    mst_clip_by_norm(1.0, x, MAX_N); // the norm is 0
    mst_clip_scale(mst_clip_global_scale(1.0, 0.0), x, MAX_N);
    assert_memory_equal(x, before, sizeof x);
}

static void test_the_global_scale(void **state)
{
    (void)state;
    float x[MAX_N], before[MAX_N];
    fill(x, MAX_N);
    memcpy(before, x, sizeof x);
    float scale = mst_clip_global_scale(2.0, 64.0);
    assert_true(scale == 0.25f);
    mst_clip_scale(scale, x, MAX_N);
    for (size_t i = 0; i < MAX_N; i++)
        assert_true(x[i] == before[i] * 0.25f);
}

// As in Keras: NaN everywhere under a global norm. Under a norm of its own a variable keeps its NaN, and an infinite
// norm makes it one.
static void test_what_is_not_finite_stays_so(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t b = 0; b < 3; b++) {
        float x[MAX_N];
        fill(x, MAX_N);
        x[33] = bad[b];
        double sum = mst_clip_square_sum(x, MAX_N);
        assert_true(!isfinite(sum));
        assert_true(isnan(mst_clip_global_scale(1.0, sum)) != 0);
        mst_clip_by_norm(1.0, x, MAX_N);
        assert_true(isnan(x[33]) != 0);
    }
}

// Squares that are more than a float holds.
static void test_large_gradients_are_clipped_too(void **state)
{
    (void)state;
    float x[2] = {3e25f, -4e25f};
    mst_clip_by_norm(1.0, x, 2);
    assert_true(fabsf(x[0] - 0.6f) < 1e-6f && fabsf(x[1] + 0.8f) < 1e-6f);
}

static void test_what_an_optimizer_says(void **state)
{
    (void)state;
    struct mst_optimizer *optimizer;
    json_t *json = json_pack("{s:s, s:{s:f}}", "class_name", "Adam", "config", "global_clipnorm", 2.5);
    assert_int_equal(mst_optimizer_parse(json, "optimizer", &optimizer, NULL), MST_OK);
    struct mst_clip clip = mst_optimizer_clip(optimizer);
    assert_true(clip.norm == 0 && clip.global_norm == 2.5);
    mst_optimizer_free(optimizer);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_of_squares),
        cmocka_unit_test(test_a_norm_above_the_limit_becomes_the_limit),
        cmocka_unit_test(test_a_norm_within_the_limit_changes_nothing),
        cmocka_unit_test(test_the_global_scale),
        cmocka_unit_test(test_what_is_not_finite_stays_so),
        cmocka_unit_test(test_large_gradients_are_clipped_too),
        cmocka_unit_test(test_what_an_optimizer_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
