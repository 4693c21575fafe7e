// Rows by number and their gradient, ids that are none, sums over variables and penalties, with 1, 2 and 3 threads.
#include "device_reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
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

static int32_t *random_ids(size_t n, size_t vocabulary)
{
    int32_t *ids = malloc((n > 0 ? n : 1) * sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)((device_random(0.5f) + 0.5f) * (float)vocabulary) % (int32_t)vocabulary;
    return ids;
}

// (n, vocabulary, columns); the last of more than two slices
static const size_t tables[][3] = {{0, 3, 4}, {1, 1, 1}, {5, 3, 0}, {20, 7, 3}, {300, 50, 17}, {8001, 1000, 70}};
enum { N_TABLES = sizeof tables / sizeof *tables };

static void test_gather(void **state)
{
    (void)state;
    for (size_t t = 0; t < N_TABLES; t++) {
        size_t columns = tables[t][2];
        size_t n = tables[t][0] * columns;
        int32_t *ids = random_ids(tables[t][0], tables[t][1]);
        float *table = device_floats(tables[t][1] * columns, 1.0f);
        float *y = device_floats(n, 1.0f);
        float *want = device_floats(n, 1.0f);
        for (size_t i = 0; i < n; i++)
            want[i] = table[(size_t)ids[i / columns] * columns + i % columns];
        struct mst_gather gather = {tables[t][0], tables[t][1], columns, ids, table, y};
        for (size_t d = 0; d < N_DEVICES; d++) {
            device_fill(y, n, 1.0f);
            assert_int_equal(devices[d]->ops->gather(devices[d], &gather), tables[t][0]);
            assert_true(device_same("gather", y, want, n));
        }
        free(ids);
        free(table);
        free(y);
        free(want);
    }
}

// To the bit: in floats, from the first id to the last.
static void test_scatter(void **state)
{
    (void)state;
    for (size_t t = 0; t < 2 * (size_t)N_TABLES; t++) {
        const size_t *shape = tables[t / 2];
        size_t columns = shape[2];
        size_t n = shape[0] * columns;
        size_t n_table = shape[1] * columns;
        int32_t *ids = random_ids(shape[0], shape[1]);
        float *dy = device_floats(n, 1.0f);
        float *before = device_floats(n_table, 1.0f);
        float *got = device_floats(n_table, 1.0f);
        float *want = device_floats(n_table, 0.0f);
        struct mst_scatter scatter = {
            t % 2 == 0 ? MST_COPY_SET : MST_COPY_ADD, shape[0], shape[1], columns, ids, dy, got};
        memset(want, 0, n_table * sizeof *want);
        if (scatter.write == MST_COPY_ADD)
            memcpy(want, before, n_table * sizeof *want);
        for (size_t i = 0; i < n; i++)
            want[(size_t)ids[i / columns] * columns + i % columns] += dy[i];
        for (size_t d = 0; d < N_DEVICES; d++) {
            memcpy(got, before, n_table * sizeof *got);
            devices[d]->ops->scatter_add(devices[d], &scatter);
            assert_true(device_same("scatter", got, want, n_table));
        }
        free(ids);
        free(dy);
        free(before);
        free(got);
        free(want);
    }
}

// Arrays are as long as they say, so that ASan would see a row that is not there.
static void test_ids_outside(void **state)
{
    (void)state;
    static const int32_t strangers[] = {-1, 7, INT32_MAX, INT32_MIN};
    for (size_t s = 0; s < sizeof strangers / sizeof *strangers; s++) {
        int32_t ids[40];
        float *table = device_floats(7 * 3, 1.0f);
        float *dtable = device_floats(7 * 3, 1.0f);
        float *y = device_floats(40 * 3, 1.0f);
        for (size_t i = 0; i < 40; i++)
            ids[i] = i == 31 || i == 35 ? strangers[s] : (int32_t)(i % 7);
        struct mst_gather gather = {40, 7, 3, ids, table, y};
        assert_int_equal(devices[0]->ops->gather(devices[0], &gather), 31);
        struct mst_scatter scatter = {MST_COPY_SET, 40, 7, 3, ids, y, dtable};
        devices[0]->ops->scatter_add(devices[0], &scatter);
        float want = 0.0f;
        for (size_t i = 3; i < 40; i += 7)
            want += i == 31 ? 0.0f : y[i * 3];
        assert_true(dtable[3 * 3] == want);
        free(table);
        free(dtable);
        free(y);
    }
}

static void test_ids_from(void **state)
{
    (void)state;
    static const float floats[] = {0.0f,          1.0f,           2.9f,          -0.9f,  -3.5f,    16777216.0f,
                                   2147483520.0f, -2147483648.0f, 2147483648.0f, -1e20f, INFINITY, NAN};
    static const int32_t want[] = {0,          1,         2,         0,         -3,        16777216,
                                   2147483520, INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN};
    enum { N = sizeof floats / sizeof *floats };
    int32_t ids[N];
    devices[0]->ops->ids_from_f32(devices[0], N, floats, ids);
    assert_memory_equal(ids, want, sizeof want);
}

static const size_t sizes[] = {0, 1, 15, 16, 17, 1000, 65536, 65537, 800003};

static void test_sums(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t n = sizes[s];
        float *x = device_floats(n, 2.0f);
        double absolute = 0;
        double squares = 0;
        for (size_t i = 0; i < n; i++) {
            absolute += fabs((double)x[i]);
            squares += (double)x[i] * (double)x[i];
        }
        double got = devices[0]->ops->sum_absolute(devices[0], n, x);
        double got_squares = devices[0]->ops->sum_squares(devices[0], n, x);
        assert_true(fabs(got - absolute) <= 1e-12 * absolute);
        assert_true(fabs(got_squares - squares) <= 1e-12 * squares);
        for (size_t d = 1; d < N_DEVICES; d++) {
            assert_true(devices[d]->ops->sum_absolute(devices[d], n, x) == got);
            assert_true(devices[d]->ops->sum_squares(devices[d], n, x) == got_squares);
        }
        free(x);
    }
}

static void test_penalty(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t n = sizes[s];
        float *x = device_floats(n, 2.0f);
        float *before = device_floats(n, 1.0f);
        float *grad = device_floats(n, 1.0f);
        double *want = calloc(n + 1, sizeof *want);
        assert_non_null(want);
        if (n > 3)
            x[3] = 0.0f; // its sign is 0
        for (size_t i = 0; i < n; i++) {
            double sign = x[i] > 0.0f ? 1 : x[i] < 0.0f ? -1 : 0;
            want[i] = (double)before[i] + 0.01 * sign + 2 * 0.003 * (double)x[i];
        }
        for (size_t d = 0; d < N_DEVICES; d++) {
            struct mst_penalty penalty = {n, 0.01f, 0.003f, x, grad};
            memcpy(grad, before, n * sizeof *grad);
            devices[d]->ops->add_penalty(devices[d], &penalty);
            assert_true(device_close("penalty", grad, want, n, 1e-6, 1e-7));
        }
        free(x);
        free(before);
        free(grad);
        free(want);
    }
}

int main(void)
{
    device_seed("test_device_tables");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gather),   cmocka_unit_test(test_scatter), cmocka_unit_test(test_ids_outside),
        cmocka_unit_test(test_ids_from), cmocka_unit_test(test_sums),    cmocka_unit_test(test_penalty),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
