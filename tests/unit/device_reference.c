#include "device_reference.h"

#include "base/rng.h"
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

static struct mst_rng_key key;
static uint64_t n_drawn;

void device_seed(const char *test)
{
    const char *given = getenv("MUSTER_TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : 1;
    printf("seed %" PRIu64 " (MUSTER_TEST_SEED), instruction sets up to %s\n", seed, mst_isa_name(mst_isa_detect()));
    key = mst_rng_key_of(seed, test, 0);
    n_drawn = 0;
}

float device_random(float scale)
{
    return scale * (2.0f * mst_rng_unit(mst_rng_word(key, n_drawn++)) - 1.0f);
}

void device_fill(float *x, size_t n, float scale)
{
    // Whole blocks of four: a word at a time costs four times as much, and millions are drawn.
    uint32_t words[4] = {0};
    for (size_t i = 0; i < n; i++) {
        if (i % 4 == 0)
            mst_rng_block(key, n_drawn++ | (uint64_t)1 << 60, words);
        x[i] = scale * (2.0f * mst_rng_unit(words[i % 4]) - 1.0f);
    }
}

float *device_floats(size_t n, float scale)
{
    float *x = malloc(n > 0 ? n * sizeof *x : 1);
    assert_non_null(x);
    device_fill(x, n, scale);
    return x;
}

struct mst_device *device_new(size_t n_threads)
{
    struct mst_device *device;
    struct mst_error err = {0};
    if (mst_device_cpu_new(n_threads, &device, &err) != MST_OK)
        fail_msg("no device of %zu threads: %s", n_threads, err.text);
    return device;
}

static bool is_close(double got, double want, double relative, double absolute)
{
    if (isnan(want))
        return isnan(got);
    if (isinf(want))
        return got == want;
    return fabs(got - want) <= relative * fabs(want) + absolute;
}

bool device_close(const char *name, const float *got, const double *want, size_t n, double relative, double absolute)
{
    for (size_t i = 0; i < n; i++) {
        if (!is_close((double)got[i], want[i], relative, absolute)) {
            fprintf(stderr, "%s: element %zu of %zu is %.9g, want %.9g\n", name, i, n, (double)got[i], want[i]);
            return false;
        }
    }
    return true;
}

bool device_same(const char *name, const float *got, const float *want, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&got[i], &want[i], sizeof got[i]) != 0 && !(isnan(got[i]) && isnan(want[i]))) {
            fprintf(stderr, "%s: element %zu of %zu is %a, want %a\n", name, i, n, (double)got[i], (double)want[i]);
            return false;
        }
    }
    return true;
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

static double sigmoid(double x)
{
    return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}

static double softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

static double relu(const struct mst_activation *activation, double x)
{
    double threshold = (double)activation->threshold;
    return x <= threshold ? (double)activation->alpha * (x - threshold) : fmin(x, (double)activation->max_value);
}

static double shrink(const struct mst_activation *activation, double x)
{
    double a = (double)activation->alpha;
    if (activation->kind == MST_ACTIVATION_HARD_SHRINK)
        return fabs(x) > a ? x : 0;
    return x > a ? x - a : x < -a ? x + a : 0;
}

// Without cancellation near 0, where the difference of doubles is no reference either.
static double tanh_shrink(double x)
{
    double z = x * x;
    if (fabs(x) > 0.01)
        return x - tanh(x);
    return x * z * (1.0 / 3 - z * (2.0 / 15 - z * (17.0 / 315 - z * (62.0 / 2835))));
}

static double sparse(enum mst_activation_kind kind, double x)
{
    if (x <= -1)
        return 0;
    if (kind == MST_ACTIVATION_SPARSE_SIGMOID)
        return x >= 1 ? 1 : (x + 1) / 2;
    return x >= 1 ? x : (x + 1) * (x + 1) / 4;
}

double device_activate(const struct mst_activation *activation, double x)
{
    const double a = (double)activation->alpha;
    switch (activation->kind) {
    case MST_ACTIVATION_LINEAR:
        return x;
    case MST_ACTIVATION_RELU:
        return relu(activation, x);
    case MST_ACTIVATION_LEAKY_RELU:
        return x < 0 ? a * x : x;
    case MST_ACTIVATION_RELU6:
        return clamp(x, 0, 6);
    case MST_ACTIVATION_SIGMOID:
        return sigmoid(x);
    case MST_ACTIVATION_TANH:
        return tanh(x);
    case MST_ACTIVATION_ELU:
        return x > 0 ? x : a * expm1(x);
    case MST_ACTIVATION_SELU:
        return 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * expm1(x));
    case MST_ACTIVATION_CELU:
        return fmax(x, 0) + a * expm1(fmin(x, 0) / a);
    case MST_ACTIVATION_SOFTPLUS:
        return softplus(x);
    case MST_ACTIVATION_SOFTSIGN:
        return x / (1 + fabs(x));
    case MST_ACTIVATION_GELU:
        return x * 0.5 * erfc(-x * 0.70710678118654752440);
    case MST_ACTIVATION_GELU_TANH:
        return x * sigmoid(2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x)); // (1 + tanh u) / 2 = σ(2 u)
    case MST_ACTIVATION_SILU:
        return x * sigmoid(x);
    case MST_ACTIVATION_EXPONENTIAL:
        return exp(x);
    case MST_ACTIVATION_HARD_SIGMOID:
        return clamp(x + 3, 0, 6) / 6;
    case MST_ACTIVATION_HARD_SILU:
        return x * clamp(x + 3, 0, 6) / 6;
    case MST_ACTIVATION_HARD_TANH:
        return clamp(x, -1, 1);
    case MST_ACTIVATION_HARD_SHRINK:
    case MST_ACTIVATION_SOFT_SHRINK:
        return shrink(activation, x);
    case MST_ACTIVATION_TANH_SHRINK:
        return tanh_shrink(x);
    case MST_ACTIVATION_MISH:
        return x * tanh(softplus(x));
    case MST_ACTIVATION_LOG_SIGMOID:
        return -softplus(-x);
    case MST_ACTIVATION_SQUAREPLUS:
        return x < 0 ? a / 2 / (sqrt(x * x + a) - x) : (x + sqrt(x * x + a)) / 2;
    case MST_ACTIVATION_SPARSE_PLUS:
    case MST_ACTIVATION_SPARSE_SIGMOID:
        return sparse(activation->kind, x);
    case MST_ACTIVATION_SOFTMAX: // on rows
    case MST_ACTIVATION_LOG_SOFTMAX:
    case MST_N_ACTIVATIONS:
        break;
    }
    fail_msg("no reference for %s", mst_activation_name(activation->kind));
    return NAN;
}

double device_slope(const struct mst_activation *activation, double x)
{
    const double h = 1e-5;
    double here = device_activate(activation, x);
    double above = (device_activate(activation, x + h) - here) / h;
    double below = (here - device_activate(activation, x - h)) / h;
    // A curve's two differences are apart by h times its second derivative; exp has the largest.
    bool bends = fabs(above - below) > 1e-4 * fmax(1, fabs(above));
    return bends ? (double)NAN : (above + below) / 2;
}
