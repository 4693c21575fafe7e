// One Philox word an element, and from it one value: uniforms take its upper 24 bits, normals its 32 bits through the
// inverse of the normal distribution (so no element ever needs a second draw, and a truncated normal is the same
// function on a narrower interval). Nothing here calls libm but sqrt, which IEEE 754 rounds correctly; so the bits
// are the same everywhere.
#include "initializer.h"

#include "base/error.h"
#include "base/rng.h"
#include "initializer_orthogonal.h"

#include <math.h>
#include <string.h>

// Φ(-2) and Φ(2) - Φ(-2): Keras cuts normals at two standard deviations …
#define CUT_LOW   0.022750131948179195
#define CUT_WIDTH 0.9544997361036416
// … which leaves this standard deviation of 1.
#define CUT_STDDEV 0.87962566103423978

// ln x for x in (0, 1): x = m 2^e with m around 1, and ln m = 2 artanh((m - 1) / (m + 1)) by its series, to 1e-16.
static double natural_log(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int exponent = (int)(bits >> 52 & 0x7FF) - 1023;
    bits = (bits & 0xFFFFFFFFFFFFFull) | 0x3FF0000000000000ull;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        exponent++;
    }
    double s = (m - 1.0) / (m + 1.0);
    double s2 = s * s;
    double sum = 0.0;
    for (int k = 21; k >= 1; k -= 2)
        sum = sum * s2 + 1.0 / k;
    return 2.0 * s * sum + exponent * 0.6931471805599453;
}

static double polynomial(const double c[8], double x)
{
    double sum = c[7];
    for (int k = 6; k >= 0; k--)
        sum = sum * x + c[k];
    return sum;
}

// The inverse of the standard normal distribution for p in [2^-33, 1 - 2^-33], relative error about 1e-16.
// Source: Wichura 1988, algorithm AS 241 (PPND16); its third region (p < 1e-11) cannot occur.
static double inverse_normal(double p)
{
    static const double a[8] = {3.3871328727963666080e0,  1.3314166789178437745e+2, 1.9715909503065514427e+3,
                                1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                3.3430575583588128105e+4, 2.5090809287301226727e+3};
    static const double b[8] = {1.0,
                                4.2313330701600911252e+1,
                                6.8718700749205790830e+2,
                                5.3941960214247511077e+3,
                                2.1213794301586595867e+4,
                                3.9307895800092710610e+4,
                                2.8729085735721942674e+4,
                                5.2264952788528545610e+3};
    static const double c[8] = {1.42343711074968357734e0,  4.63033784615654529590e0, 5.76949722146069140550e0,
                                3.64784832476320460504e0,  1.27045825245236838258e0, 2.41780725177450611770e-1,
                                2.27238449892691845833e-2, 7.74545014278341407640e-4};
    static const double d[8] = {1.0,
                                2.05319162663775882187e0,
                                1.67638483018380384940e0,
                                6.89767334985100004550e-1,
                                1.48103976427480074590e-1,
                                1.51986665636164571966e-2,
                                5.47593808499534494600e-4,
                                1.05075007164441684324e-9};
    double q = p - 0.5;
    if (fabs(q) <= 0.425) {
        double r = 0.180625 - q * q;
        return q * polynomial(a, r) / polynomial(b, r);
    }
    double tail = q < 0 ? p : 1.0 - p;
    double r = sqrt(-natural_log(tail)) - 1.6;
    double x = polynomial(c, r) / polynomial(d, r);
    return q < 0 ? -x : x;
}

static double standard_normal(uint32_t word)
{
    return inverse_normal(((double)word + 0.5) * 0x1p-32);
}

// What a word becomes: offset + width * (unit interval, normal, or normal within two standard deviations).
struct recipe {
    enum { SAME, UNIFORM, NORMAL, CUT_NORMAL } from;
    double offset;
    double width;
};

static double to_value(const struct recipe *recipe, uint32_t word)
{
    switch (recipe->from) {
    case UNIFORM:
        return recipe->offset + recipe->width * (double)mst_rng_unit(word);
    case NORMAL:
        return recipe->offset + recipe->width * standard_normal(word);
    case CUT_NORMAL:
        return recipe->offset + recipe->width * inverse_normal(CUT_LOW + CUT_WIDTH * (((double)word + 0.5) * 0x1p-32));
    case SAME:
        break;
    }
    return recipe->offset;
}

static void fans_of(const struct mst_shape *shape, double *in, double *out)
{
    // As Keras: a vector is its own fan; beyond two axes the leading ones are a convolution's window.
    double window = 1;
    *in = *out = 1;
    if (shape->rank == 1)
        *in = *out = (double)shape->dims[0];
    if (shape->rank < 2)
        return;
    for (size_t i = 0; i + 2 < shape->rank; i++)
        window *= (double)shape->dims[i];
    *in = window * (double)shape->dims[shape->rank - 2];
    *out = window * (double)shape->dims[shape->rank - 1];
}

static struct recipe scaling_of(const struct mst_initializer *init, const struct mst_shape *shape)
{
    double in;
    double out;
    fans_of(shape, &in, &out);
    double fan = init->mode == MST_FAN_IN ? in : init->mode == MST_FAN_OUT ? out : (in + out) / 2.0;
    double variance = init->a / (fan > 1.0 ? fan : 1.0);
    double limit = sqrt(3.0 * variance);
    switch (init->distribution) {
    case MST_DIST_UNIFORM:
        return (struct recipe){UNIFORM, -limit, 2.0 * limit};
    case MST_DIST_UNTRUNCATED_NORMAL:
        return (struct recipe){NORMAL, 0.0, sqrt(variance)};
    case MST_DIST_TRUNCATED_NORMAL:
        break;
    }
    return (struct recipe){CUT_NORMAL, 0.0, sqrt(variance) / CUT_STDDEV};
}

static struct recipe recipe_of(const struct mst_initializer *init, const struct mst_shape *shape)
{
    switch (init->kind) {
    case MST_INIT_ONES:
        return (struct recipe){SAME, 1.0, 0.0};
    case MST_INIT_CONSTANT:
        return (struct recipe){SAME, init->a, 0.0};
    case MST_INIT_RANDOM_NORMAL:
        return (struct recipe){NORMAL, init->a, init->b};
    case MST_INIT_TRUNCATED_NORMAL:
        return (struct recipe){CUT_NORMAL, init->a, init->b};
    case MST_INIT_RANDOM_UNIFORM:
        return (struct recipe){UNIFORM, init->a, init->b - init->a};
    case MST_INIT_VARIANCE_SCALING:
        return scaling_of(init, shape);
    case MST_INIT_ZEROS:
    case MST_INIT_IDENTITY:
    case MST_INIT_ORTHOGONAL:
        break;
    }
    return (struct recipe){SAME, 0.0, 0.0};
}

static void fill_random(struct mst_rng_key key, const struct recipe *recipe, struct mst_initializer_range range,
                        float *out)
{
    uint32_t words[4];
    size_t end = range.first + range.n;
    for (size_t i = range.first; i < end; i++) {
        if (i == range.first || i % 4 == 0)
            mst_rng_block(key, i / 4, words);
        out[i - range.first] = (float)to_value(recipe, words[i % 4]);
    }
}

mst_status mst_initializer_check(const struct mst_initializer *init, const struct mst_shape *shape, const char *path,
                                 struct mst_error *err)
{
    if (init->kind == MST_INIT_IDENTITY && shape->rank != 2)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: Identity makes matrices only, and this variable has %zu axes",
                        path, (size_t)shape->rank);
    if (init->kind != MST_INIT_ORTHOGONAL)
        return MST_OK;
    size_t n_elements;
    if (shape->rank < 2)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: Orthogonal needs two axes at least, and this variable has %zu",
                        path, (size_t)shape->rank);
    if (mst_shape_count(shape, &n_elements) != MST_OK || n_elements > MST_ORTHOGONAL_MAX_ELEMENTS)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s: Orthogonal makes matrices of at most %zu elements; use another initializer here", path,
                        (size_t)MST_ORTHOGONAL_MAX_ELEMENTS);
    return MST_OK;
}

void mst_initializer_fill(const struct mst_initializer *init, uint64_t seed, const char *variable,
                          const struct mst_shape *shape, struct mst_initializer_range range, float *out)
{
    struct recipe recipe = recipe_of(init, shape);
    // A seed of its own makes equal initializers equal, whatever variable they fill.
    struct mst_rng_key key =
        init->has_seed ? mst_rng_key_of(init->seed, "initializer", 1) : mst_rng_key_of(seed, variable, 0);
    if (init->kind == MST_INIT_ORTHOGONAL) {
        mst_orthogonal_fill(init->a, key, standard_normal, shape, range, out);
        return;
    }
    if (recipe.from != SAME) {
        fill_random(key, &recipe, range, out);
        return;
    }
    for (size_t i = 0; i < range.n; i++)
        out[i] = (float)recipe.offset;
    if (init->kind == MST_INIT_IDENTITY) {
        MST_ASSERT(shape->rank == 2);
        size_t n_columns = shape->dims[1];
        for (size_t i = 0; i < range.n; i++) {
            size_t element = range.first + i;
            if (element / n_columns == element % n_columns)
                out[i] = (float)init->a;
        }
    }
}
