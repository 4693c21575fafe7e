// Normalizations of batches and rows: values and gradients against formulas in double, those against differences, and
// the same bits with 1, 2 and 3 threads.
#include "device_reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_DEVICES = 3 };

static struct mst_device *devices[N_DEVICES]; // of 1, 2 and 3 threads

static int set_up(void **state)
{
    (void)state;
    for (size_t d = 0; d < N_DEVICES; d++)
        devices[d] = device_new(d + 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t d = 0; d < N_DEVICES; d++)
        mst_device_free(devices[d]);
    return 0;
}

static double *doubles(size_t n)
{
    double *x = calloc(n + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

// One set of numbers that is normalized together: element i of it is x[i * step + i / run * jump].
struct set {
    size_t n;
    const float *x;
    size_t run; // elements side by side
    size_t jump;
};

static size_t place(const struct set *set, size_t i)
{
    return i / set->run * set->jump + i % set->run;
}

// What is done to a set, in double; mean and variance are given unless of_set.
struct rule {
    bool of_set;
    bool takes_mean; // off x
    bool about_mean; // squares
    bool is_length;  // of the set, cut off at 1 / epsilon
    double epsilon;
    double mean;
    double variance;
};

static void find_moments(const struct rule *rule, const struct set *set, const double *x, double *mean, double *inverse)
{
    double n = (double)set->n;
    double squares = 0;
    *mean = 0;
    for (size_t i = 0; i < set->n && rule->about_mean; i++)
        *mean += x[i] / n;
    for (size_t i = 0; i < set->n; i++)
        squares += (x[i] - *mean) * (x[i] - *mean);
    *inverse = rule->is_length ? fmin(1 / sqrt(squares), 1 / rule->epsilon) : 1 / sqrt(squares / n + rule->epsilon);
    if (!rule->of_set) {
        *mean = rule->mean;
        *inverse = 1 / sqrt(rule->variance + rule->epsilon);
    }
}

// v, without gamma and beta.
static void normalized(const struct rule *rule, const struct set *set, const double *x, double *v)
{
    double mean;
    double inverse;
    find_moments(rule, set, x, &mean, &inverse);
    for (size_t i = 0; i < set->n; i++)
        v[i] = (x[i] - (rule->takes_mean ? mean : 0)) * inverse;
}

// The slope of Σ g v by x[i], by difference.
static double difference(const struct rule *rule, const struct set *set, double *x, const double *g, size_t i)
{
    double *v = doubles(set->n);
    double h = rule->is_length && x[i] == 0 ? 1e-14 : 1e-5; // beside what is cut off
    double was = x[i];
    double sum = 0;
    for (int side = 1; side >= -1; side -= 2) {
        x[i] = was + side * h;
        normalized(rule, set, x, v);
        for (size_t k = 0; k < set->n; k++)
            sum += side * g[k] * v[k] / (2 * h);
    }
    x[i] = was;
    free(v);
    return sum;
}

// The gradient of Σ g v by x, proved by differences at a few elements.
static void slopes(const struct rule *rule, const struct set *set, double *x, const double *g, double *dx)
{
    double *v = doubles(set->n);
    double mean;
    double inverse;
    double g_sum = 0;
    double product = 0;
    normalized(rule, set, x, v);
    find_moments(rule, set, x, &mean, &inverse);
    for (size_t i = 0; i < set->n && rule->of_set; i++) {
        g_sum += rule->takes_mean ? g[i] : 0;
        product += g[i] * v[i];
    }
    double n = rule->is_length ? 1 : (double)set->n;
    if (rule->is_length && inverse == 1 / rule->epsilon)
        product = 0;
    for (size_t i = 0; i < set->n; i++)
        dx[i] = inverse * (g[i] - g_sum / n - (x[i] - mean) * inverse * product / n);
    for (size_t i = set->n / 5; i < set->n; i += 1 + set->n / 3) {
        double want = difference(rule, set, x, g, i);
        if (fabs(want - dx[i]) > 1e-5 * (fabs(dx[i]) + inverse))
            fail_msg("the reference's slope is %.9g, by difference %.9g", dx[i], want);
    }
    free(v);
}

// Batches

struct batch {
    struct mst_batch_norm_backward norm;
    size_t n;
    float *arrays[10];
    float *x, *gamma, *beta, *mean, *variance, *y, *dy, *dx, *dgamma, *dbeta;
};

static void batch_init(struct batch *b, const size_t shape[3], bool has_gamma)
{
    *b = (struct batch){.n = shape[0] * shape[1] * shape[2]};
    for (size_t i = 0; i < 10; i++)
        b->arrays[i] = device_floats(i == 0 || (i >= 5 && i <= 7) ? b->n : shape[1], 1.0f);
    b->x = b->arrays[0];
    b->gamma = b->arrays[1];
    b->beta = b->arrays[2];
    b->mean = b->arrays[3];
    b->variance = b->arrays[4];
    b->y = b->arrays[5];
    b->dy = b->arrays[6];
    b->dx = b->arrays[7];
    b->dgamma = b->arrays[8];
    b->dbeta = b->arrays[9];
    for (size_t i = 0; i < b->n; i++)
        b->x[i] = b->x[i] * 0.5f + (float)(i / shape[2] % shape[1] % 5); // means of all sizes
    b->norm = (struct mst_batch_norm_backward){.forward = {.outer = shape[0],
                                                           .channels = shape[1],
                                                           .inner = shape[2],
                                                           .epsilon = 1e-3f,
                                                           .x = b->x,
                                                           .gamma = has_gamma ? b->gamma : NULL,
                                                           .beta = has_gamma ? b->beta : NULL,
                                                           .mean = b->mean,
                                                           .variance = b->variance,
                                                           .y = b->y},
                                               .dy = b->dy,
                                               .dx = b->dx,
                                               .dgamma = b->dgamma,
                                               .dbeta = b->dbeta};
}

static void batch_fini(struct batch *b)
{
    for (size_t i = 0; i < 10; i++)
        free(b->arrays[i]);
}

static void check_channel(const struct batch *b, size_t channel)
{
    const struct mst_batch_norm *norm = &b->norm.forward;
    size_t begin = channel * norm->inner;
    struct set set = {norm->outer * norm->inner, b->x + begin, norm->inner, norm->channels * norm->inner};
    struct rule rule = {.of_set = b->norm.moments == MST_NORM_OF_BATCH,
                        .takes_mean = true,
                        .about_mean = true,
                        .epsilon = (double)norm->epsilon,
                        .mean = (double)b->mean[channel],
                        .variance = (double)b->variance[channel]};
    double gamma = norm->gamma != NULL ? (double)norm->gamma[channel] : 1;
    double beta = norm->beta != NULL ? (double)norm->beta[channel] : 0;
    double *x = doubles(set.n);
    double *v = doubles(set.n);
    double *g = doubles(set.n);
    double *dx = doubles(set.n);
    double sums[2] = {0};
    double sizes = 1e-5;
    for (size_t i = 0; i < set.n; i++)
        x[i] = (double)set.x[place(&set, i)];
    double mean;
    double inverse;
    find_moments(&rule, &set, x, &mean, &inverse);
    double variance = 1 / inverse / inverse - rule.epsilon;
    assert_true(device_close("mean", &b->mean[channel], &mean, 1, 1e-6, 1e-6));
    assert_true(device_close("variance", &b->variance[channel], &variance, 1, 1e-5, 1e-7));
    normalized(&rule, &set, x, v);
    for (size_t i = 0; i < set.n; i++) {
        double dy = (double)b->dy[begin + place(&set, i)];
        double y = v[i] * gamma + beta;
        assert_true(device_close("y", &b->y[begin + place(&set, i)], &y, 1, 1e-5, 2e-5));
        sums[0] += dy * v[i];
        sums[1] += dy;
        sizes += fabs(dy);
        g[i] = dy * gamma;
    }
    slopes(&rule, &set, x, g, dx);
    for (size_t i = 0; i < set.n; i++)
        assert_true(device_close("dx", &b->dx[begin + place(&set, i)], &dx[i], 1, 1e-5, 2e-5 * inverse));
    assert_true(device_close("dgamma", &b->dgamma[channel], &sums[0], 1, 1e-5, 1e-6 * sizes));
    assert_true(device_close("dbeta", &b->dbeta[channel], &sums[1], 1, 1e-5, 1e-6 * sizes));
    free(x);
    free(v);
    free(g);
    free(dx);
}

static void run_batch(struct mst_device *device, struct batch *b)
{
    device_fill(b->dx, b->n, 1.0f);
    device_fill(b->y, b->n, 1.0f);
    if (b->norm.moments == MST_NORM_OF_BATCH)
        device->ops->batch_moments(device, &b->norm.forward);
    device->ops->batch_norm(device, &b->norm.forward);
    device->ops->batch_norm_backward(device, &b->norm);
}

static const size_t shapes[][3] = {{1, 1, 1}, {2, 3, 1},   {64, 10, 1}, {700, 5, 1},   {33, 300, 1}, {9, 9000, 1},
                                   {5, 3, 7}, {1, 4, 100}, {3, 17, 33}, {9001, 64, 1}, {5, 8, 15000}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static void test_batch_norm(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4 * (size_t)N_SHAPES; i++) {
        struct batch b;
        batch_init(&b, shapes[i / 4], i % 2 == 0);
        b.norm.moments = i / 2 % 2 == 0 ? MST_NORM_OF_BATCH : MST_NORM_GIVEN;
        size_t channels = b.norm.forward.channels;
        run_batch(devices[0], &b);
        if (b.norm.moments == MST_NORM_OF_BATCH)
            for (size_t c = 0; c < channels; c += 1 + channels / 20)
                check_channel(&b, c);
        float *want[10];
        for (size_t k = 0; k < 10; k++) {
            size_t n = k == 0 || (k >= 5 && k <= 7) ? b.n : channels;
            want[k] = memcpy(device_floats(n, 0.0f), b.arrays[k], n * sizeof(float));
        }
        for (size_t d = 1; d < N_DEVICES; d++) {
            run_batch(devices[d], &b);
            for (size_t k = 3; k < 10; k++)
                assert_true(
                    device_same("another number of threads", b.arrays[k], want[k], k >= 5 && k <= 7 ? b.n : channels));
        }
        // In place.
        struct mst_batch_norm_backward in_place = b.norm;
        in_place.forward.y = memcpy(b.y, b.x, b.n * sizeof *b.x);
        in_place.forward.x = b.y;
        devices[1]->ops->batch_norm(devices[1], &in_place.forward);
        assert_true(device_same("y in place", b.y, want[5], b.n));
        in_place.forward.x = b.x;
        in_place.dx = b.dy;
        in_place.dgamma = in_place.dbeta = NULL;
        devices[1]->ops->batch_norm_backward(devices[1], &in_place);
        assert_true(device_same("dx in place", b.dy, want[7], b.n));
        for (size_t k = 0; k < 10; k++)
            free(want[k]);
        batch_fini(&b);
    }
}

// Moving averages: nothing of the gradient goes through them.
static void test_given_moments(void **state)
{
    (void)state;
    struct batch b;
    batch_init(&b, (const size_t[3]){50, 6, 1}, true);
    b.norm.moments = MST_NORM_GIVEN;
    for (size_t c = 0; c < 6; c++)
        b.variance[c] = fabsf(b.variance[c]);
    run_batch(devices[0], &b);
    for (size_t i = 0; i < b.n; i++) {
        size_t c = i % 6;
        double inverse = 1 / sqrt((double)b.variance[c] + 1e-3);
        double y = ((double)b.x[i] - (double)b.mean[c]) * inverse * (double)b.gamma[c] + (double)b.beta[c];
        double dx = (double)b.dy[i] * inverse * (double)b.gamma[c];
        assert_true(device_close("y", &b.y[i], &y, 1, 1e-5, 1e-5));
        assert_true(device_close("dx", &b.dx[i], &dx, 1, 1e-5, 1e-5));
    }
    batch_fini(&b);
}

// A large mean does not eat the variance up, as the difference of squares' means would let it.
static void test_large_mean(void **state)
{
    (void)state;
    struct batch b;
    batch_init(&b, (const size_t[3]){5000, 4, 1}, false);
    double mean[4] = {0};
    double variance[4] = {0};
    for (size_t i = 0; i < b.n; i++) {
        b.x[i] += 10000.0f;
        mean[i % 4] += (double)b.x[i] / 5000;
    }
    for (size_t i = 0; i < b.n; i++)
        variance[i % 4] += pow((double)b.x[i] - mean[i % 4], 2) / 5000;
    devices[0]->ops->batch_moments(devices[0], &b.norm.forward);
    assert_true(device_close("mean", b.mean, mean, 4, 1e-7, 0));
    assert_true(device_close("variance", b.variance, variance, 4, 1e-3, 0));
    batch_fini(&b);
}

static void test_nothing(void **state)
{
    (void)state;
    struct batch b;
    const float zero[3] = {0};
    batch_init(&b, (const size_t[3]){0, 3, 1}, true);
    devices[0]->ops->batch_moments(devices[0], &b.norm.forward);
    devices[0]->ops->batch_norm(devices[0], &b.norm.forward);
    devices[0]->ops->batch_norm_backward(devices[0], &b.norm);
    assert_true(device_same("mean", b.mean, zero, 3));
    assert_true(device_same("variance", b.variance, zero, 3));
    assert_true(device_same("dgamma", b.dgamma, zero, 3));
    batch_fini(&b);
}

// Rows

struct rows {
    struct mst_row_norm_backward norm;
    size_t n;
    float *arrays[10];
};

enum { X, GAMMA, BETA, MEAN, INVERSE, Y, DY, DX, DGAMMA, DBETA };

static const size_t row_shapes[][2] = {{0, 3}, {1, 1}, {3, 2}, {64, 10}, {5, 33}, {300, 128}, {3, 5000}, {8001, 100}};
enum { N_ROW_SHAPES = sizeof row_shapes / sizeof *row_shapes };

static size_t length_of(const size_t shape[2], size_t array)
{
    bool is_full = array == X || (array >= Y && array <= DX);
    return is_full ? shape[0] * shape[1] : array == MEAN || array == INVERSE ? shape[0] : shape[1];
}

static void rows_init(struct rows *r, enum mst_row_norm_kind kind, const size_t shape[2], bool has_gamma)
{
    *r = (struct rows){.n = shape[0] * shape[1]};
    for (size_t i = 0; i < 10; i++)
        r->arrays[i] = device_floats(length_of(shape, i), 1.0f);
    if (shape[0] > 2 && kind == MST_ROW_NORM_LENGTH)
        memset(r->arrays[X] + shape[1], 0, shape[1] * sizeof(float)); // a row of no length
    r->norm = (struct mst_row_norm_backward){.forward = {.kind = kind,
                                                         .rows = shape[0],
                                                         .columns = shape[1],
                                                         .epsilon = kind == MST_ROW_NORM_LENGTH ? 1e-7f : 1e-3f,
                                                         .x = r->arrays[X],
                                                         .gamma = has_gamma ? r->arrays[GAMMA] : NULL,
                                                         .beta = has_gamma ? r->arrays[BETA] : NULL,
                                                         .mean = r->arrays[MEAN],
                                                         .inverse = r->arrays[INVERSE],
                                                         .y = r->arrays[Y]},
                                             .dy = r->arrays[DY],
                                             .dx = r->arrays[DX],
                                             .dgamma = r->arrays[DGAMMA],
                                             .dbeta = r->arrays[DBETA]};
}

static void check_row(const struct rows *r, size_t row)
{
    const struct mst_row_norm *norm = &r->norm.forward;
    size_t n = norm->columns;
    struct set set = {n, norm->x + row * n, n, n};
    struct rule rule = {.of_set = true,
                        .takes_mean = norm->kind == MST_ROW_NORM_LAYER,
                        .about_mean = norm->kind == MST_ROW_NORM_LAYER || norm->kind == MST_ROW_NORM_VARIANCE,
                        .is_length = norm->kind == MST_ROW_NORM_LENGTH,
                        .epsilon = (double)norm->epsilon};
    double *x = doubles(n);
    double *v = doubles(n);
    double *g = doubles(n);
    double *dx = doubles(n);
    double mean;
    double inverse;
    for (size_t j = 0; j < n; j++) {
        x[j] = (double)set.x[j];
        g[j] = (double)r->norm.dy[row * n + j] * (norm->gamma != NULL ? (double)norm->gamma[j] : 1);
    }
    find_moments(&rule, &set, x, &mean, &inverse);
    normalized(&rule, &set, x, v);
    for (size_t j = 0; j < n; j++)
        v[j] = v[j] * (norm->gamma != NULL ? (double)norm->gamma[j] : 1) +
               (norm->beta != NULL ? (double)norm->beta[j] : 0);
    slopes(&rule, &set, x, g, dx);
    assert_true(device_close("y", norm->y + row * n, v, n, 1e-5, 1e-5));
    assert_true(device_close("dx", r->norm.dx + row * n, dx, n, 1e-5, 2e-5 * inverse));
    free(x);
    free(v);
    free(g);
    free(dx);
}

static void check_columns(const struct rows *r)
{
    const struct mst_row_norm *norm = &r->norm.forward;
    for (size_t j = 0; j < norm->columns; j += 1 + norm->columns / 30) {
        double sums[2] = {0};
        for (size_t row = 0; row < norm->rows; row++) {
            double x = (double)norm->x[row * norm->columns + j];
            double dy = (double)r->norm.dy[row * norm->columns + j];
            double shift = norm->kind == MST_ROW_NORM_LAYER ? (double)norm->mean[row] : 0;
            sums[0] += dy * (x - shift) * (double)norm->inverse[row];
            sums[1] += dy;
        }
        double error = 2e-6 * ((double)norm->rows + 1);
        assert_true(device_close("dgamma", r->norm.dgamma + j, &sums[0], 1, 1e-5, error));
        assert_true(device_close("dbeta", r->norm.dbeta + j, &sums[1], 1, 1e-5, error));
    }
}

// All results with every number of threads; want: those of one.
static void run_rows(struct rows *r, const size_t *shape, float **want)
{
    for (size_t d = 0; d < N_DEVICES; d++) {
        for (size_t k = MEAN; k <= DBETA; k++)
            if (k != DY)
                device_fill(r->arrays[k], length_of(shape, k), 1.0f);
        devices[d]->ops->row_norm(devices[d], &r->norm.forward);
        devices[d]->ops->row_norm_backward(devices[d], &r->norm);
        for (size_t k = 0; k < 10; k++) {
            size_t n = length_of(shape, k);
            if (d == 0)
                want[k] = memcpy(device_floats(n, 0.0f), r->arrays[k], n * sizeof(float));
            assert_true(device_same("another number of threads", r->arrays[k], want[k], n));
        }
    }
}

static void test_row_norm(void **state)
{
    (void)state;
    for (size_t i = 0; i < 8 * (size_t)N_ROW_SHAPES; i++) {
        struct rows r;
        const size_t *shape = row_shapes[i / 8];
        float *want[10];
        rows_init(&r, (enum mst_row_norm_kind)(i % 4), shape, i / 4 % 2 == 0);
        run_rows(&r, shape, want);
        for (size_t row = 0; row < shape[0]; row += 1 + shape[0] / 50)
            check_row(&r, row);
        check_columns(&r);
        // In place, and only one of the gradients.
        r.norm.dx = r.arrays[DY];
        r.norm.dbeta = NULL;
        devices[1]->ops->row_norm_backward(devices[1], &r.norm);
        assert_true(device_same("dx in place", r.arrays[DY], want[DX], r.n));
        assert_true(device_same("dgamma", r.arrays[DGAMMA], want[DGAMMA], shape[1]));
        r.norm.forward.y = r.arrays[X];
        devices[1]->ops->row_norm(devices[1], &r.norm.forward);
        assert_true(device_same("y in place", r.arrays[X], want[Y], r.n));
        for (size_t k = 0; k < 10; k++) {
            free(want[k]);
            free(r.arrays[k]);
        }
    }
}

int main(void)
{
    device_seed("test_device_norm");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_norm), cmocka_unit_test(test_given_moments), cmocka_unit_test(test_large_mean),
        cmocka_unit_test(test_nothing),    cmocka_unit_test(test_row_norm),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
