// Forward and backward of the activations that work on single elements, for kernels_body.h. Each is one line: the
// value as an expression of x, and dx as an expression of dy and of x or y, whichever mst_activation_keeps says;
// `a` is alpha.
//
// Selections are written so that NaN comes through: `x < 0 ? 0 : x` is NaN for NaN, `x > 0 ? x : 0` would not be.

// The slices may be in place (y is x, or dx is dy), which the compiler cannot know to be harmless.
#if defined(__clang__)
#define ANY_ORDER _Pragma("clang loop vectorize(assume_safety)")
#else
#define ANY_ORDER _Pragma("GCC ivdep")
#endif

#define FORWARD(name, value)                                                                                           \
    static void name##_forward(const struct mst_activate *slice)                                                       \
    {                                                                                                                  \
        const float a = slice->activation.alpha;                                                                       \
        const size_t n = slice->rows * slice->columns;                                                                 \
        const float *from = slice->x;                                                                                  \
        float *to = slice->y;                                                                                          \
        (void)a;                                                                                                       \
        ANY_ORDER for (size_t i = 0; i < n; i++)                                                                       \
        {                                                                                                              \
            const float x = from[i];                                                                                   \
            to[i] = (value);                                                                                           \
        }                                                                                                              \
    }

// source: x or y, what backward reads besides dy.
#define BACKWARD(name, source, value)                                                                                  \
    static void name##_backward(const struct mst_activate_backward *slice)                                             \
    {                                                                                                                  \
        const float a = slice->activation.alpha;                                                                       \
        const size_t n = slice->rows * slice->columns;                                                                 \
        const float *from = slice->source;                                                                             \
        const float *gradient = slice->dy;                                                                             \
        float *to = slice->dx;                                                                                         \
        (void)a;                                                                                                       \
        ANY_ORDER for (size_t i = 0; i < n; i++)                                                                       \
        {                                                                                                              \
            const float source = from[i];                                                                              \
            const float dy = gradient[i];                                                                              \
            to[i] = (value);                                                                                           \
        }                                                                                                              \
    }

#define SELU_SCALE 1.05070098f
#define SELU_ALPHA 1.67326324f

INLINE float negative_part(float x)
{
    return x > 0.0f ? 0.0f : x;
}

INLINE float clamp_f(float x, float low, float high)
{
    float y = x < low ? low : x;
    return y > high ? high : y;
}

// σ(x) σ(-x), the slope of the sigmoid, without the cancellation in 1 - σ(x).
INLINE float sigmoid_slope(float x)
{
    float e = exp_f(-abs_f(x));
    float sum = 1.0f + e;
    return e / (sum * sum);
}

// 2 u of gelu's approximation (1 + tanh u) / 2 = σ(2 u).
INLINE float gelu_twice(float x)
{
    return 1.59576912f * (x + 0.044715f * x * x * x); // 2 √(2 / π)
}

INLINE float gelu_tanh_slope(float x)
{
    float twice = gelu_twice(x);
    return sigmoid_f(twice) + x * sigmoid_slope(twice) * (1.59576912f * (1.0f + 0.134145f * x * x));
}

// With n = e (e + 2) and e = e^x: tanh(softplus x) = n / (n + 2). Above 20 the quotient is 1.
INLINE float mish_n(float x)
{
    float e = exp_f(x > 20.0f ? 20.0f : x);
    return e * (e + 2.0f);
}

INLINE float mish_slope(float x)
{
    float n = mish_n(x);
    float t = n / (n + 2.0f);
    return t + x * sigmoid_f(x) * (2.0f / (n + 2.0f)) * (1.0f + t);
}

// (x + √(x² + b)) / 2; for negative x the same without cancellation.
INLINE float squareplus_f(float x, float b)
{
    float root = sqrtf(x * x + b);
    float low = 0.5f * b / (root - x);
    return x < 0.0f ? low : 0.5f * (x + root);
}

INLINE float hard_silu_slope(float x)
{
    float inside = ((x > -3.0f) & (x < 3.0f)) ? x / 6.0f : 0.0f;
    return clamp_f(x + 3.0f, 0.0f, 6.0f) / 6.0f + inside;
}

FORWARD(plain_relu, x < 0.0f ? 0.0f : x)
BACKWARD(plain_relu, y, y <= 0.0f ? 0.0f : dy)
FORWARD(leaky_relu, x < 0.0f ? a * x : x)
FORWARD(relu6, clamp_f(x, 0.0f, 6.0f))
BACKWARD(relu6, y, ((y > 0.0f) & (y < 6.0f)) ? dy : 0.0f)
FORWARD(sigmoid, sigmoid_f(x))
BACKWARD(sigmoid, y, (y * (1.0f - y)) * dy)
FORWARD(tanh, tanh_f(x))
BACKWARD(tanh, y, (1.0f - y * y) * dy)
FORWARD(elu, x > 0.0f ? x : a * expm1_f(negative_part(x)))
FORWARD(selu, (x > 0.0f ? x : SELU_ALPHA * expm1_f(negative_part(x))) * SELU_SCALE)
BACKWARD(selu, y, (y < 0.0f ? y + SELU_SCALE * SELU_ALPHA : SELU_SCALE) * dy)
FORWARD(celu, x > 0.0f ? x : a * expm1_f(negative_part(x) / a))
BACKWARD(celu, y, (y < 0.0f ? y / a + 1.0f : 1.0f) * dy)
FORWARD(softplus, softplus_f(x))
BACKWARD(softplus, x, sigmoid_f(x) * dy)
FORWARD(softsign, x / (1.0f + abs_f(x)))
BACKWARD(softsign, x, dy / ((1.0f + abs_f(x)) * (1.0f + abs_f(x))))
FORWARD(gelu, normal_cdf(x) * x)
BACKWARD(gelu, x, (normal_cdf(x) + x * normal_density(x)) * dy)
FORWARD(gelu_tanh, sigmoid_f(gelu_twice(x)) * x)
BACKWARD(gelu_tanh, x, gelu_tanh_slope(x) * dy)
FORWARD(silu, sigmoid_f(x) * x)
BACKWARD(silu, x, (sigmoid_f(x) + x * sigmoid_slope(x)) * dy)
FORWARD(exponential, exp_f(x))
BACKWARD(exponential, y, (y * dy))
FORWARD(hard_sigmoid, clamp_f(x + 3.0f, 0.0f, 6.0f) / 6.0f)
BACKWARD(hard_sigmoid, y, ((y > 0.0f) & (y < 1.0f)) ? dy / 6.0f : 0.0f)
FORWARD(hard_silu, clamp_f(x + 3.0f, 0.0f, 6.0f) / 6.0f * x)
BACKWARD(hard_silu, x, hard_silu_slope(x) * dy)
FORWARD(hard_tanh, clamp_f(x, -1.0f, 1.0f))
BACKWARD(hard_tanh, y, ((y > -1.0f) & (y < 1.0f)) ? dy : 0.0f)
FORWARD(hard_shrink, abs_f(x) <= a ? 0.0f : x)
BACKWARD(hard_shrink, y, y == 0.0f ? 0.0f : dy)
FORWARD(soft_shrink, x > a ? x - a : (x < -a ? x + a : (x == x ? 0.0f : x)))
BACKWARD(soft_shrink, y, y == 0.0f ? 0.0f : dy)
FORWARD(tanh_shrink, tanh_shrink_f(x))
BACKWARD(tanh_shrink, x, tanh_f(x) * tanh_f(x) * dy)
FORWARD(mish, mish_n(x) / (mish_n(x) + 2.0f) * x)
BACKWARD(mish, x, mish_slope(x) * dy)
FORWARD(log_sigmoid, -softplus_f(-x))
BACKWARD(log_sigmoid, x, sigmoid_f(-x) * dy)
FORWARD(squareplus, squareplus_f(x, a))
BACKWARD(squareplus, x, squareplus_f(x, a) / sqrtf(x * x + a) * dy)
FORWARD(sparse_plus, x <= -1.0f ? 0.0f : (x < 1.0f ? 0.25f * ((x + 1.0f) * (x + 1.0f)) : x))
BACKWARD(sparse_plus, x, x <= -1.0f ? 0.0f : (x < 1.0f ? 0.5f * (x + 1.0f) * dy : dy))
FORWARD(sparse_sigmoid, x <= -1.0f ? 0.0f : (x >= 1.0f ? 1.0f : 0.5f * (x + 1.0f)))
BACKWARD(sparse_sigmoid, y, ((y > 0.0f) & (y < 1.0f)) ? 0.5f * dy : 0.0f)

static void linear_forward(const struct mst_activate *slice)
{
    if (slice->y != slice->x)
        memcpy(slice->y, slice->x, slice->rows * slice->columns * sizeof *slice->y);
}

static void linear_backward(const struct mst_activate_backward *slice)
{
    if (slice->dx != slice->dy)
        memcpy(slice->dx, slice->dy, slice->rows * slice->columns * sizeof *slice->dx);
}

// With all three parameters: a (x - threshold) up to the threshold, then x, at most max_value.
static void relu_forward(const struct mst_activate *slice)
{
    const struct mst_activation relu = slice->activation;
    const size_t n = slice->rows * slice->columns;
    const float *x = slice->x;
    float *y = slice->y;
    if (relu.alpha == 0.0f && relu.threshold == 0.0f && relu.max_value == INFINITY) {
        plain_relu_forward(slice);
        return;
    }
    ANY_ORDER for (size_t i = 0; i < n; i++)
    {
        float low = relu.alpha == 0.0f ? 0.0f : relu.alpha * (x[i] - relu.threshold);
        float high = x[i] > relu.max_value ? relu.max_value : x[i];
        y[i] = x[i] <= relu.threshold ? low : high;
    }
}

static void relu_backward(const struct mst_activate_backward *slice)
{
    const struct mst_activation relu = slice->activation;
    const size_t n = slice->rows * slice->columns;
    const bool by_output = mst_activation_keeps(&relu) == MST_KEEPS_OUTPUT;
    const float *from = by_output ? slice->y : slice->x;
    const float border = by_output ? 0.0f : relu.threshold;
    const float *dy = slice->dy;
    float *dx = slice->dx;
    if (by_output && relu.alpha == 0.0f && relu.max_value == INFINITY) {
        plain_relu_backward(slice);
        return;
    }
    ANY_ORDER for (size_t i = 0; i < n; i++)
    {
        float high = from[i] < relu.max_value ? dy[i] : 0.0f;
        dx[i] = from[i] <= border ? relu.alpha * dy[i] : high;
    }
}

// x and y of a leaky relu have the same sign unless the slope turns it.
static void leaky_relu_backward(const struct mst_activate_backward *slice)
{
    const float a = slice->activation.alpha;
    const size_t n = slice->rows * slice->columns;
    const float *from = a >= 0.0f ? slice->y : slice->x;
    const float *dy = slice->dy;
    float *dx = slice->dx;
    ANY_ORDER for (size_t i = 0; i < n; i++)
    {
        dx[i] = from[i] > 0.0f ? dy[i] : a * dy[i];
    }
}

// For x < 0 the slope is a e^x = y + a.
static void elu_backward(const struct mst_activate_backward *slice)
{
    const float a = slice->activation.alpha;
    const size_t n = slice->rows * slice->columns;
    const float *dy = slice->dy;
    float *dx = slice->dx;
    if (a >= 0.0f) {
        const float *y = slice->y;
        ANY_ORDER for (size_t i = 0; i < n; i++)
        {
            dx[i] = y[i] > 0.0f ? dy[i] : (y[i] + a) * dy[i];
        }
    } else {
        const float *x = slice->x;
        ANY_ORDER for (size_t i = 0; i < n; i++)
        {
            dx[i] = x[i] > 0.0f ? dy[i] : a * exp_f(negative_part(x[i])) * dy[i];
        }
    }
}
