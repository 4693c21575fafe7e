// Initial values: the same bits for every way of cutting a variable, the distributions that Keras documents, and what
// is refused. tests/golden compares the distributions with samples of real Keras.
#include "base/alloc.h"
#include "base/rng.h"
#include "model/initializer.h"
#include "muster/status.h"
#include "tests/lib/tensors_equal.h"

#include <jansson.h>
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

static struct mst_initializer parse(const char *text)
{
    struct mst_error err = {0};
    struct mst_initializer init;
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    if (mst_initializer_parse(json, "init", &init, &err) != MST_OK)
        fail_msg("%s: %s", text, err.text);
    json_decref(json);
    return init;
}

static float *fill(const char *text, uint64_t seed, const char *variable, const struct mst_shape *shape, size_t n)
{
    struct mst_initializer init = parse(text);
    float *values = mst_alloc_array(n, sizeof *values);
    mst_initializer_fill(&init, seed, variable, shape, (struct mst_initializer_range){0, n}, values);
    return values;
}

#define KERAS(class, config)                                                                                           \
    "{\"module\":\"keras.initializers\",\"class_name\":\"" class "\",\"config\":{" config "},\"registered_name\":"     \
                                                                 "null}"
#define NAMED(class) KERAS(class, "\"seed\":null,\"input_axes\":null,\"output_axes\":null")

static const char *const all[] = {
    NAMED("GlorotUniform"),
    NAMED("GlorotNormal"),
    NAMED("HeUniform"),
    NAMED("HeNormal"),
    NAMED("LecunUniform"),
    NAMED("LecunNormal"),
    KERAS("VarianceScaling",
          "\"scale\":0.5,\"mode\":\"fan_out\",\"distribution\":\"untruncated_normal\",\"seed\":null"),
    KERAS("RandomNormal", "\"mean\":0.25,\"stddev\":0.125,\"seed\":null"),
    KERAS("RandomUniform", "\"minval\":-0.5,\"maxval\":2.5,\"seed\":null"),
    KERAS("TruncatedNormal", "\"mean\":-1.0,\"stddev\":0.05,\"seed\":7"),
    KERAS("Zeros", ""),
    KERAS("Ones", ""),
    KERAS("Constant", "\"value\":0.75"),
    KERAS("Identity", "\"gain\":2.0"),
    KERAS("Orthogonal", "\"gain\":0.5,\"seed\":null"),
};
enum { N_ALL = sizeof all / sizeof all[0] };

// Any cut into ranges, one element long or all of it, gives the bits of the whole.
static void test_any_partition(void **state)
{
    (void)state;
    const struct mst_shape shape = {.rank = 2, .dims = {37, 29}};
    const size_t n = 37 * 29;
    float *part = mst_alloc_array(n, sizeof *part);
    for (size_t i = 0; i < N_ALL; i++) {
        struct mst_initializer init = parse(all[i]);
        float *whole = fill(all[i], 3, "dense/kernel", &shape, n);
        for (int repeat = 0; repeat < 20; repeat++) {
            memset(part, 0xFF, n * sizeof *part);
            for (size_t at = 0, len; at < n; at += len) {
                len = 1 + mst_rng_word(key, n_drawn++) % (repeat == 0 ? 3 : 400);
                len = len > n - at ? n - at : len;
                mst_initializer_fill(&init, 3, "dense/kernel", &shape, (struct mst_initializer_range){at, len},
                                     part + at);
            }
            assert_true(mst_test_floats_same_bits(init.class_name, part, whole, n));
        }
        free(whole);
    }
    free(part);
}

static bool same(const float *a, const float *b, size_t n)
{
    return memcmp(a, b, n * sizeof *a) == 0;
}

// What the numbers depend on: the job's seed and the variable's name, or a seed of the initializer's own.
static void test_keys(void **state)
{
    (void)state;
    enum { N = 64 };
    const struct mst_shape shape = {.rank = 2, .dims = {8, 8}};
    const char *seeded = KERAS("GlorotUniform", "\"seed\":5");
    float *base = fill(all[0], 1, "dense/kernel", &shape, N);
    float *again = fill("\"glorot_uniform\"", 1, "dense/kernel", &shape, N);
    float *other_seed = fill(all[0], 2, "dense/kernel", &shape, N);
    float *other_name = fill(all[0], 1, "dense_1/kernel", &shape, N);
    float *own = fill(seeded, 1, "dense/kernel", &shape, N);
    float *own_again = fill(seeded, 2, "other/kernel", &shape, N);
    float *own_zero = fill(KERAS("GlorotUniform", "\"seed\":0"), 1, "dense/kernel", &shape, N);
    assert_true(same(base, again, N));
    assert_false(same(base, other_seed, N));
    assert_false(same(base, other_name, N));
    assert_false(same(base, own, N));
    assert_true(same(own, own_again, N));
    assert_false(same(own, own_zero, N));
    assert_false(same(base, own_zero, N));
    float *const buffers[] = {base, again, other_seed, other_name, own, own_again, own_zero};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        free(buffers[i]);
}

// These bits are part of what a seed promises: a job begins with them on every machine and in every later version.
static void test_pinned_bits(void **state)
{
    (void)state;
    const struct mst_shape shape = {.rank = 2, .dims = {784, 300}};
    static const struct {
        const char *text;
        float want[4];
    } pins[] = {
        {"\"glorot_uniform\"", {-0x1.04c464p-10f, 0x1.371aeap-5f, 0x1.4bd67cp-7f, 0x1.0671e6p-4f}},
        {"\"he_normal\"", {-0x1.e18aa6p-11f, 0x1.33e07p-5f, 0x1.33bf0cp-7f, 0x1.3cd0e6p-4f}},
        {"\"random_normal\"", {-0x1.b74f44p-11f, 0x1.1b0bcep-5f, 0x1.18e0d4p-7f, 0x1.2f2e2ep-4f}},
    };
    for (size_t i = 0; i < sizeof pins / sizeof *pins; i++) {
        float *got = fill(pins[i].text, 1, "dense/kernel", &shape, 4);
        assert_true(mst_test_floats_same_bits(pins[i].text, got, pins[i].want, 4));
        free(got);
    }
}

static double normal_cdf(double x)
{
    return 0.5 * erfc(-x / sqrt(2.0));
}

enum shape_of { UNIFORM, NORMAL, CUT };

// One case: the distribution that Keras's formulas give for this shape.
struct distribution {
    const char *text;
    struct mst_shape shape;
    enum shape_of shape_of;
    double low; // uniform: bounds; others: mean and standard deviation before the cut
    double high;
};

// Each value is the inverse of its word: Φ(x) gives the word back, to the rounding of x to a float.
static void check_inverse(const struct distribution *d, const char *variable, const float *values, size_t n)
{
    struct mst_rng_key stream = mst_rng_key_of(9, variable, 0);
    const double cut = normal_cdf(-2.0);
    for (size_t i = 0; i < n; i++) {
        uint32_t word = mst_rng_word(stream, i);
        double p = ((double)word + 0.5) * 0x1p-32;
        double x = ((double)values[i] - d->low) / d->high;
        if (d->shape_of == CUT)
            p = cut + (1.0 - 2.0 * cut) * p;
        // the float nearest to mean + stddev x is off by 2^-25 of itself at most
        double room = fabs((double)values[i]) * 0x1p-24 / d->high * exp(-0.5 * x * x) / sqrt(2 * M_PI) + 1e-15;
        if (fabs(normal_cdf(x) - p) > room)
            fail_msg("%s, element %zu: Φ(%.17g) = %.17g, its word says %.17g", d->text, i, x, normal_cdf(x), p);
    }
}

static void check_moments(const struct distribution *d, const float *values, size_t n)
{
    double mean = 0.0;
    double square = 0.0;
    for (size_t i = 0; i < n; i++)
        mean += (double)values[i];
    mean /= (double)n;
    for (size_t i = 0; i < n; i++)
        square += ((double)values[i] - mean) * ((double)values[i] - mean);
    double variance = square / (double)n;
    double want_mean = d->shape_of == UNIFORM ? (d->low + d->high) / 2 : d->low;
    // a normal cut at two standard deviations keeps 0.87962566103423978² of its variance
    double want_variance = d->shape_of == UNIFORM  ? (d->high - d->low) * (d->high - d->low) / 12
                           : d->shape_of == NORMAL ? d->high * d->high
                                                   : d->high * d->high * 0.87962566103423978 * 0.87962566103423978;
    // five standard errors; the variance's is at most sqrt(2 / n) of it (normal), less for the others
    double error = fabs(mean - want_mean) / sqrt(want_variance / (double)n);
    if (error > 5)
        fail_msg("%s: mean %.9g, want %.9g, off by %.2f standard errors", d->text, mean, want_mean, error);
    error = fabs(variance - want_variance) / (want_variance * sqrt(2.0 / (double)n));
    if (error > 5)
        fail_msg("%s: variance %.9g, want %.9g, off by %.2f standard errors", d->text, variance, want_variance, error);
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a;
    float y = *(const float *)b;
    return (x > y) - (x < y);
}

static double cdf(const struct distribution *d, double x)
{
    const double cut = normal_cdf(-2.0);
    if (d->shape_of == UNIFORM)
        return (x - d->low) / (d->high - d->low);
    double p = normal_cdf((x - d->low) / d->high);
    return d->shape_of == CUT ? (p - cut) / (1.0 - 2.0 * cut) : p;
}

// Kolmogorov and Smirnov: sqrt(n) times the largest distance is above 2.3 once in 20 000 cases.
static void check_shape(const struct distribution *d, float *values, size_t n)
{
    double worst = 0.0;
    qsort(values, n, sizeof *values, compare_floats);
    for (size_t i = 0; i < n; i++) {
        double p = cdf(d, (double)values[i]);
        worst = fmax(worst, fmax(p - (double)i / (double)n, (double)(i + 1) / (double)n - p));
    }
    if (worst * sqrt((double)n) > 2.3)
        fail_msg("%s: Kolmogorov-Smirnov %.3f", d->text, worst * sqrt((double)n));
    double low = d->shape_of == CUT ? d->low - 2 * d->high : d->low;
    double high = d->shape_of == CUT ? d->low + 2 * d->high : d->high;
    if (d->shape_of == NORMAL)
        return;
    // bounds hold for the floats nearest to them
    assert_true(values[0] >= (float)low && values[n - 1] <= (float)high);
    // and are nearly reached: within 20 of n
    assert_true(cdf(d, (double)values[0]) < 20.0 / (double)n && cdf(d, (double)values[n - 1]) > 1 - 20.0 / (double)n);
}

static void test_distributions(void **state)
{
    (void)state;
    const double cut = 0.87962566103423978;
    const struct mst_shape matrix = {2, {784, 300}}, vector = {1, {4000}}, scalar = {0, {0}},
                           kernel = {4, {3, 5, 8, 4}};
    const struct mst_shape thin = {2, {1, 5000}};
    const struct distribution cases[] = {
        {"\"glorot_uniform\"", matrix, UNIFORM, -sqrt(6.0 / 1084), sqrt(6.0 / 1084)},
        {"\"glorot_normal\"", matrix, CUT, 0, sqrt(2.0 / 1084) / cut},
        {"\"he_uniform\"", matrix, UNIFORM, -sqrt(6.0 / 784), sqrt(6.0 / 784)},
        {"\"he_normal\"", matrix, CUT, 0, sqrt(2.0 / 784) / cut},
        {"\"lecun_uniform\"", matrix, UNIFORM, -sqrt(3.0 / 784), sqrt(3.0 / 784)},
        {"\"lecun_normal\"", matrix, CUT, 0, sqrt(1.0 / 784) / cut},
        {"\"glorot_uniform\"", vector, UNIFORM, -sqrt(6.0 / 8000), sqrt(6.0 / 8000)},
        {"\"he_normal\"", thin, CUT, 0, sqrt(2.0) / cut},
        {"\"lecun_uniform\"", scalar, UNIFORM, -sqrt(3.0), sqrt(3.0)},
        {"\"glorot_uniform\"", kernel, UNIFORM, -sqrt(6.0 / 180), sqrt(6.0 / 180)}, // a window of 15 before 8 and 4
        {"\"he_normal\"", kernel, CUT, 0, sqrt(2.0 / 120) / cut},
        {all[6], matrix, NORMAL, 0, sqrt(0.5 / 300)},
        {"{\"class_name\":\"VarianceScaling\",\"config\":{\"scale\":3.0,\"mode\":\"fan_avg\",\"distribution\":"
         "\"uniform\"}}",
         matrix, UNIFORM, -sqrt(9.0 / 542), sqrt(9.0 / 542)},
        {"{\"class_name\":\"VarianceScaling\",\"config\":{\"distribution\":\"normal\"}}", matrix, CUT, 0,
         sqrt(1.0 / 784) / cut},
        {"\"random_normal\"", matrix, NORMAL, 0, 0.05},
        {"\"truncated_normal\"", matrix, CUT, 0, 0.05},
        {"\"random_uniform\"", matrix, UNIFORM, -0.05, 0.05},
        {all[7], matrix, NORMAL, 0.25, 0.125},
        {all[8], matrix, UNIFORM, -0.5, 2.5},
    };
    const size_t n = 100000;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float *values = fill(cases[i].text, 9, "layer/kernel", &cases[i].shape, n);
        if (cases[i].shape_of != UNIFORM)
            check_inverse(&cases[i], "layer/kernel", values, n);
        check_moments(&cases[i], values, n);
        check_shape(&cases[i], values, n);
        free(values);
    }
}

// Neighbours, and the same element of two variables, have nothing to do with each other.
static void test_independence(void **state)
{
    (void)state;
    const struct mst_shape shape = {.rank = 2, .dims = {500, 200}};
    const size_t n = 100000;
    float *a = fill("\"random_normal\"", 4, "a/kernel", &shape, n);
    float *b = fill("\"random_normal\"", 4, "b/kernel", &shape, n);
    for (size_t lag = 0; lag < 6; lag++) {
        double own = 0.0;
        double cross = 0.0;
        for (size_t i = 0; i + lag < n; i++) {
            own += (double)a[i] * (double)a[i + lag];
            cross += (double)a[i] * (double)b[i + lag];
        }
        // the mean product of two independent normals has standard error stddev² / sqrt(n)
        double unit = 0.0025 * sqrt((double)n);
        assert_true(lag == 0 || fabs(own) < 5 * unit);
        assert_true(fabs(cross) < 5 * unit);
    }
    free(a);
    free(b);
}

static void test_constants(void **state)
{
    (void)state;
    const struct mst_shape shape = {.rank = 2, .dims = {3, 4}};
    static const float identity[12] = {2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0};
    float *values = fill(all[13], 1, "x", &shape, 12);
    assert_true(mst_test_floats_same_bits("identity", values, identity, 12));
    free(values);
    static const char *const texts[] = {"\"zeros\"", "\"ones\"", "\"zero\"", "\"one\"", all[12], "\"constant\""};
    static const float wants[] = {0.0f, 1.0f, 0.0f, 1.0f, 0.75f, 0.0f};
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
        values = fill(texts[t], 1, "x", &shape, 12);
        for (size_t i = 0; i < 12; i++)
            assert_true(values[i] == wants[t]);
        free(values);
    }
    struct mst_error err = {0};
    struct mst_initializer init = parse("\"identity\"");
    const struct mst_shape vector = {.rank = 1, .dims = {3}};
    assert_int_equal(mst_initializer_check(&init, &shape, "init", &err), MST_OK);
    assert_int_equal(mst_initializer_check(&init, &vector, "init", &err), MST_INVALID_ARGUMENT);
    assert_string_equal(err.text, "init: Identity makes matrices only, and this variable has 1 axes");
}

static double dot(const float *a, const float *b, size_t n, size_t stride)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i * stride] * (double)b[i * stride];
    return sum;
}

// Rows or columns, whichever are fewer, are orthogonal and of length `gain`; as in Keras, a tensor is a matrix of its
// last axis.
static void check_orthogonal(const struct mst_shape *shape, size_t n_rows, size_t n_columns)
{
    float *q = fill(KERAS("Orthogonal", "\"gain\":3.0,\"seed\":null"), 1, "k", shape, n_rows * n_columns);
    bool is_tall = n_rows > n_columns;
    size_t n = is_tall ? n_columns : n_rows;
    size_t length = is_tall ? n_rows : n_columns;
    size_t step = is_tall ? 1 : n_columns;
    for (size_t a = 0; a < n; a++)
        for (size_t b = 0; b <= a; b++) // floats of products that add up to 9
            assert_true(fabs(dot(q + a * step, q + b * step, length, is_tall ? n_columns : 1) - (a == b ? 9.0 : 0.0)) <
                        1e-5);
    free(q);
}

static void test_orthogonal(void **state)
{
    (void)state;
    check_orthogonal(&(struct mst_shape){2, {60, 13}}, 60, 13);
    check_orthogonal(&(struct mst_shape){2, {13, 60}}, 13, 60);
    check_orthogonal(&(struct mst_shape){2, {31, 31}}, 31, 31);
    check_orthogonal(&(struct mst_shape){3, {4, 5, 7}}, 20, 7);
    check_orthogonal(&(struct mst_shape){2, {9, 1}}, 9, 1);
    struct mst_initializer init = parse("\"orthogonal\"");
    const struct mst_shape vector = {1, {8}};
    const struct mst_shape large = {2, {1 << 12, 1 << 11}};
    struct mst_error err;
    assert_int_equal(mst_initializer_check(&init, &vector, "init", &err), MST_INVALID_ARGUMENT);
    assert_int_equal(mst_initializer_check(&init, &large, "init", &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "at most 4194304 elements"));
}

static void test_names(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"\"GlorotUniform\"", "GlorotUniform"},
                                           {"\"glorot_normal\"", "GlorotNormal"},
                                           {"\"HeNormal\"", "HeNormal"},
                                           {"\"he_uniform\"", "HeUniform"},
                                           {"\"lecun_normal\"", "LecunNormal"},
                                           {"\"LecunUniform\"", "LecunUniform"},
                                           {"\"variance_scaling\"", "VarianceScaling"},
                                           {"\"normal\"", "RandomNormal"},
                                           {"\"uniform\"", "RandomUniform"},
                                           {"\"truncated_normal\"", "TruncatedNormal"},
                                           {"\"IdentityInitializer\"", "Identity"},
                                           {"\"zeros\"", "Zeros"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_string_equal(parse(names[i][0]).class_name, names[i][1]);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        mst_status status;
        const char *words;
    } cases[] = {
        {KERAS("STFT", ""), MST_UNIMPLEMENTED,
         "init is 'STFT', which is not built yet; the initializers built are Zeros, Ones, Constant, Identity, "
         "Orthogonal"},
        {KERAS("GlorotUniform", "\"input_axes\":[0],\"output_axes\":[1]"), MST_UNIMPLEMENTED,
         "init.config.input_axes is [0], which is not built yet"},
        {KERAS("GlorotUniform", "\"seed\":1.5"), MST_INVALID_ARGUMENT, "init.config.seed is 1.5"},
        {KERAS("RandomNormal", "\"stddev\":-1.0"), MST_INVALID_ARGUMENT, "init.config.stddev is -1"},
        {KERAS("RandomNormal", "\"stdev\":1.0"), MST_INVALID_ARGUMENT, "stddev"},
        {KERAS("RandomUniform", "\"minval\":1.0,\"maxval\":0.0"), MST_INVALID_ARGUMENT,
         "init.config.minval 1 is above maxval 0"},
        {KERAS("VarianceScaling", "\"scale\":0.0"), MST_INVALID_ARGUMENT, "init.config.scale is 0"},
        {KERAS("VarianceScaling", "\"mode\":\"fan\""), MST_INVALID_ARGUMENT,
         "init.config.mode is 'fan'; it should be one of fan_in, fan_out, fan_avg"},
        {KERAS("VarianceScaling", "\"distribution\":\"gamma\""), MST_INVALID_ARGUMENT,
         "init.config.distribution is 'gamma'; it should be one of uniform, truncated_normal, untruncated_normal"},
        {KERAS("Constant", "\"value\":\"1\""), MST_INVALID_ARGUMENT, "init.config.value is \"1\""},
        {"12", MST_INVALID_ARGUMENT, "init is 12"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mst_error err = {0};
        struct mst_initializer init;
        json_t *json = json_loads(cases[i].text, JSON_DECODE_ANY, NULL);
        mst_status status = mst_initializer_parse(json, "init", &init, &err);
        json_decref(json);
        if (status != cases[i].status || strstr(err.text, cases[i].words) == NULL)
            fail_msg("%s\n got %s: %s\nwant %s: … %s …", cases[i].text, mst_status_name(status), err.text,
                     mst_status_name(cases[i].status), cases[i].words);
    }
}

int main(void)
{
    const char *given = getenv("MUSTER_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 1;
    printf("seed %" PRIu64 " (MUSTER_TEST_SEED) of the partitions\n", seed);
    key = mst_rng_key_of(seed, "test_model_initializer", 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_partition), cmocka_unit_test(test_keys),         cmocka_unit_test(test_pinned_bits),
        cmocka_unit_test(test_distributions), cmocka_unit_test(test_independence), cmocka_unit_test(test_constants),
        cmocka_unit_test(test_orthogonal),    cmocka_unit_test(test_names),        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
