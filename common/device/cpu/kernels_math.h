// exp, log, tanh, erfc and what follows from them, for one float without a branch, so that the compiler turns loops
// over them into vectors of any width. The operations are plain float additions, multiplications and divisions in
// source order, hence the same bits on every instruction set. Polynomials were fitted here (minimax by Remez's
// exchange, relative error of the whole function below 1e-8, so that float rounding dominates). Errors measured
// over all floats by test_device_math: see there for the limits, at most 2 ulp for exp, log and tanh.
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

INLINE uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

INLINE float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

INLINE float abs_f(float x)
{
    return float_of(bits_of(x) & 0x7FFFFFFFu);
}

// The magnitude of the first with the sign of the second.
INLINE float with_sign(float magnitude, float sign)
{
    return float_of((bits_of(magnitude) & 0x7FFFFFFFu) | (bits_of(sign) & 0x80000000u));
}

#define ROUNDING_SHIFT 12582912.0f // 1.5 * 2^23: adding it leaves the nearest whole number in the low bits

// e^x = 2^n e^r with |r| <= ln(2) / 2. ln 2 is taken off in two parts: n times the first (15 bits) is exact. The
// power of two is multiplied in two halves, so that results below FLT_MIN and just below the overflow come out
// right.
INLINE float exp_f(float x)
{
    float clamped = x > 89.0f ? 89.0f : x;           // e^89 overflows to Inf
    clamped = clamped < -105.0f ? -105.0f : clamped; // below half the smallest float: 0
    float shifted = clamped * 1.44269504f + ROUNDING_SHIFT;
    float n = shifted - ROUNDING_SHIFT;
    float r = clamped - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float p = 0.00138131502264f;
    p = p * r + 0.00836941897563f;
    p = p * r + 0.0416684566847f;
    p = p * r + 0.166665147898f;
    p = p * r + 0.499999930512f;
    p = p * (r * r) + r + 1.0f;
    uint32_t whole = bits_of(shifted) - bits_of(ROUNDING_SHIFT);
    uint32_t half = (uint32_t)((int32_t)whole >> 1);
    float scale = float_of((half + 127u) << 23);
    float rest = float_of((whole - half + 127u) << 23);
    return p * scale * rest;
}

// x = 2^e m with m in [sqrt(1/2), sqrt(2)); ln x = e ln 2 + ln m. Subnormals are scaled up first.
INLINE float log_f(float x)
{
    float scaled = x < FLT_MIN ? x * 0x1p23f : x;
    float bias = x < FLT_MIN ? 23.0f : 0.0f;
    uint32_t bits = bits_of(scaled) - 0x3F3504F3u; // so that the exponent steps at sqrt(1/2)
    float e = (float)((int32_t)bits >> 23) - bias;
    float f = float_of((bits & 0x007FFFFFu) + 0x3F3504F3u) - 1.0f;
    float p = 0.0674663817765f;
    p = p * f + -0.116756502071f;
    p = p * f + 0.118881622932f;
    p = p * f + -0.124055896471f;
    p = p * f + 0.14219552634f;
    p = p * f + -0.166679957806f;
    p = p * f + 0.20002118622f;
    p = p * f + -0.250000096015f;
    p = p * f + 0.333333126054f;
    float square = f * f;
    float low = p * f * square - e * 2.12194440e-4f;
    low = low - 0.5f * square;
    float y = e * 0.693359375f + (f + low);
    y = x == 0.0f ? -INFINITY : y;
    y = x < 0.0f ? NAN : y;
    return x < INFINITY ? y : x; // Inf and NaN (which compares false) come back as they are
}

// tanh x - x for |x| < 0.625.
INLINE float tanh_bend(float x)
{
    float z = x * x;
    float p = -0.00571708904713f;
    p = p * z + 0.0206506322361f;
    p = p * z + -0.0537435142741f;
    p = p * z + 0.133314915254f;
    p = p * z + -0.333332839369f;
    return p * z * x;
}

INLINE float tanh_f(float x)
{
    float a = abs_f(x);
    float small = tanh_bend(x) + x;
    float large = with_sign(1.0f - 2.0f / (exp_f(a + a) + 1.0f), x);
    large = x == x ? large : x;
    return a < 0.625f ? small : large;
}

// x - tanh x, without the cancellation near 0.
INLINE float tanh_shrink_f(float x)
{
    return abs_f(x) < 0.625f ? -tanh_bend(x) : x - tanh_f(x);
}

// ln(1 + u) for u >= 0: the error of rounding 1 + u is undone by the quotient (Goldberg 1991, theorem 4).
INLINE float log1p_f(float u)
{
    float w = 1.0f + u;
    float y = log_f(w) * (u / (w - 1.0f));
    return w == 1.0f ? u : y;
}

// e^x - 1 for x <= 0, by the same device.
INLINE float expm1_f(float x)
{
    float u = exp_f(x);
    float y = (u - 1.0f) * (x / log_f(u));
    y = u < 0.25f ? u - 1.0f : y; // nothing cancels, and log of 0 stays out
    return u == 1.0f ? x : y;
}

INLINE float sigmoid_f(float x)
{
    float e = exp_f(-abs_f(x)); // never overflows
    float tail = e / (1.0f + e);
    float y = x < 0.0f ? tail : 1.0f / (1.0f + e);
    return x == x ? y : x;
}

INLINE float softplus_f(float x)
{
    float tail = log1p_f(exp_f(-abs_f(x)));
    return (x > 0.0f ? x : 0.0f) + (x == x ? tail : x);
}

// The normal distribution: Φ(x) = erfc(-x / √2) / 2.
INLINE float normal_cdf(float x)
{
    float s = x * 0.707106781f;
    float a = abs_f(s);
    float z = s * s;
    float p = -9.68013941092e-6f;
    p = p * z + 0.000112705451883f;
    p = p * z + -0.000848471148704f;
    p = p * z + 0.00522107487594f;
    p = p * z + -0.0268654458186f;
    p = p * z + 0.112837827471f;
    p = p * z + -0.376126384838f;
    p = p * z + 1.12837916706f;
    float middle = 0.5f + 0.5f * (p * s); // erf for |s| < 1
    float t = 1.0f / (a + 2.0f);
    float q = 21.1735280225f;
    q = q * t + -24.4616407341f;
    q = q * t + 2.1566364734f;
    q = q * t + 3.15202225311f;
    q = q * t + 2.58133243599f;
    q = q * t + 2.01587188599f;
    q = q * t + 1.12467447754f;
    q = q * t + 0.564363248214f;
    q = q * t + -3.35130288847e-6f;
    float tail = 0.5f * (q * exp_f(-z)); // erfc for 1 <= |s|
    float outer = s < 0.0f ? tail : 1.0f - tail;
    return a < 1.0f ? middle : x == x ? outer : x;
}

// The density of the normal distribution.
INLINE float normal_density(float x)
{
    return exp_f(-0.5f * x * x) * 0.398942280f;
}
