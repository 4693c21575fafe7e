// Schedules by hand, with powers of two where a product can be exact; Keras's own numbers are in tests/golden.
#include "optim/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

static void check(const struct mst_schedule *schedule, uint64_t iteration, float want)
{
    float got = mst_schedule_rate(schedule, iteration);
    if (!(fabsf(got - want) <= 1e-6f * fabsf(want)))
        fail_msg("kind %u, iteration %llu: %.9g, want %.9g", (unsigned)schedule->kind, (unsigned long long)iteration,
                 (double)got, (double)want);
}

static void test_decays(void **state)
{
    (void)state;
    struct mst_schedule s = {
        .kind = MST_SCHEDULE_EXPONENTIAL, .initial = 2.0, .decay_steps = 4, .decay_rate = 0.25, .staircase = true};
    check(&s, 3, 2.0f);
    check(&s, 4, 0.5f);
    check(&s, 11, 0.125f);
    s.staircase = false;
    check(&s, 2, 1.0f);
    s.kind = MST_SCHEDULE_INVERSE_TIME;
    s.decay_rate = 0.5;
    check(&s, 4, 2.0f / 1.5f);
    check(&s, 8, 1.0f);
    s.staircase = true;
    check(&s, 7, 2.0f / 1.5f);
}

static void test_polynomial(void **state)
{
    (void)state;
    struct mst_schedule s = {
        .kind = MST_SCHEDULE_POLYNOMIAL, .initial = 1.25, .decay_steps = 8, .end = 0.25, .power = 2.0};
    check(&s, 0, 1.25f);
    check(&s, 4, 0.5f);
    check(&s, 8, 0.25f);
    check(&s, UINT64_MAX, 0.25f);
    s.cycle = true;
    check(&s, 0, 1.25f);
    check(&s, 12, 0.3125f); // of 16 steps a quarter is left
}

static void test_cosines(void **state)
{
    (void)state;
    struct mst_schedule s = {
        .kind = MST_SCHEDULE_COSINE, .initial = 1.0, .decay_steps = 10, .alpha = 0.5, .warmup_target = NAN};
    check(&s, 0, 1.0f);
    check(&s, 5, 0.75f);
    check(&s, 1000, 0.5f);
    s.warmup_target = 3.0;
    s.warmup_steps = 4;
    check(&s, 0, 1.0f);
    check(&s, 2, 2.0f);
    check(&s, 4, 3.0f);
    check(&s, 9, 2.25f);
    check(&s, 1000, 1.5f);
    s.kind = MST_SCHEDULE_COSINE_RESTARTS;
    s.t_mul = 2.0;
    s.m_mul = 0.5;
    s.alpha = 0.0;
    check(&s, 5, 0.5f);
    check(&s, 10, 0.5f); // restarted at half the rate
    check(&s, 20, 0.25f);
    check(&s, 30, 0.25f);
    s.t_mul = 1.0;
    check(&s, 25, 0.125f);
}

static void test_piecewise(void **state)
{
    (void)state;
    double boundaries[] = {2, 5.5};
    double values[] = {1.0, 0.5, 0.25};
    const struct mst_schedule s = {
        .kind = MST_SCHEDULE_PIECEWISE, .n_boundaries = 2, .boundaries = boundaries, .values = values};
    static const float want[] = {1.0f, 1.0f, 1.0f, 0.5f, 0.5f, 0.5f, 0.25f, 0.25f}; // a boundary is still before
    for (uint64_t i = 0; i < 8; i++)
        check(&s, i, want[i]);
    check(&s, UINT64_MAX, 0.25f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decays),
        cmocka_unit_test(test_polynomial),
        cmocka_unit_test(test_cosines),
        cmocka_unit_test(test_piecewise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
