// Bias, sums of columns, conversions, dropout, accuracies and the search for what is not finite, for sizes from
// nothing to more than three slices, with 1, 2 and 3 threads.
#include "base/rng.h"
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

static const size_t sizes[] = {0, 1, 3, 15, 16, 17, 63, 64, 65, 1000, 98309, 800003};
static const size_t shapes[][2] = {{0, 5}, {5, 0}, {1, 1}, {1, 33}, {2, 10}, {17, 100}, {64, 301}, {901, 900}};
enum { N_SIZES = sizeof sizes / sizeof *sizes, N_SHAPES = sizeof shapes / sizeof *shapes };

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

static void test_bias_add(void **state)
{
    (void)state;
    for (size_t s = 0; s < N_SHAPES; s++) {
        size_t rows = shapes[s][0];
        size_t columns = shapes[s][1];
        size_t n = rows * columns;
        float *x = device_floats(n, 1.0f);
        float *bias = device_floats(columns, 1.0f);
        float *y = device_floats(n, 1.0f);
        float *want = device_floats(n, 1.0f);
        for (size_t i = 0; i < n; i++)
            want[i] = x[i] + bias[i % columns];
        for (size_t d = 0; d < N_DEVICES; d++) {
            device_fill(y, n, 1.0f);
            devices[d]->ops->bias_add(devices[d], rows, columns, bias, x, y);
            assert_true(device_same("bias", y, want, n));
            memcpy(y, x, n * sizeof *y);
            devices[d]->ops->bias_add(devices[d], rows, columns, bias, y, y);
            assert_true(device_same("bias in place", y, want, n));
        }
        free(x);
        free(bias);
        free(y);
        free(want);
    }
}

static void test_column_sum(void **state)
{
    (void)state;
    for (size_t s = 0; s < N_SHAPES; s++) {
        size_t rows = shapes[s][0];
        size_t columns = shapes[s][1];
        float *x = device_floats(rows * columns, 1.0f);
        float *out = device_floats(columns, 1.0f);
        float *want = device_floats(columns, 0.0f);
        // In floats and in this order: promised to the bit.
        for (size_t c = 0; c < columns; c++) {
            want[c] = 0.0f;
            for (size_t r = 0; r < rows; r++)
                want[c] += x[r * columns + c];
        }
        for (size_t d = 0; d < N_DEVICES; d++) {
            device_fill(out, columns, 1.0f);
            devices[d]->ops->column_sum(devices[d], rows, columns, x, out);
            assert_true(device_same("column sum", out, want, columns));
        }
        free(x);
        free(out);
        free(want);
    }
}

static void test_convert(void **state)
{
    (void)state;
    for (size_t s = 0; s < N_SIZES; s++) {
        size_t n = sizes[s];
        struct mst_convert convert = {.n = n, .scale = 1.0f / 127.5f, .offset = -1.0f};
        float *x = device_floats(n, 300.0f);
        uint8_t *bytes = malloc(n + 1);
        int32_t *ints = malloc((n + 1) * sizeof *ints);
        float *y = device_floats(n, 1.0f);
        float *want = device_floats(3 * n, 1.0f); // of floats, bytes and ints
        for (size_t i = 0; i < n; i++) {
            bytes[i] = (uint8_t)(i * 37);
            ints[i] = (int32_t)(x[i] * 1e6f);
            want[i] = x[i] * convert.scale + convert.offset;
            want[n + i] = (float)bytes[i] * convert.scale + convert.offset;
            want[2 * n + i] = (float)ints[i] * convert.scale + convert.offset;
        }
        for (size_t d = 0; d < N_DEVICES; d++) {
            convert.y = y;
            devices[d]->ops->convert_f32(devices[d], &convert, x);
            assert_true(device_same("from f32", y, want, n));
            devices[d]->ops->convert_u8(devices[d], &convert, bytes);
            assert_true(device_same("from u8", y, want + n, n));
            devices[d]->ops->convert_i32(devices[d], &convert, ints);
            assert_true(device_same("from i32", y, want + 2 * n, n));
            memcpy(y, x, n * sizeof *y);
            devices[d]->ops->convert_f32(devices[d], &convert, y);
            assert_true(device_same("from f32 in place", y, want, n));
        }
        free(x);
        free(bytes);
        free(ints);
        free(y);
        free(want);
    }
}

// The mask is a function of key and element, the same forward and backward and wherever the array begins.
static void test_dropout(void **state)
{
    (void)state;
    static const uint64_t firsts[] = {0, 4, 1000, ((uint64_t)1 << 34) - 8, UINT64_C(1) << 62};
    for (size_t s = 0; s < N_SIZES; s++) {
        size_t n = sizes[s];
        struct mst_dropout dropout = {.n = n, .rate = 0.3f, .key = mst_rng_key_of(11, "dropout/test", s)};
        float *x = device_floats(n, 1.0f);
        float *y = device_floats(n, 1.0f);
        float *want = device_floats(n, 1.0f);
        dropout.first = firsts[s % (sizeof firsts / sizeof *firsts)];
        for (size_t i = 0; i < n; i++) {
            bool is_dropped = mst_rng_unit(mst_rng_word(dropout.key, dropout.first + i)) < dropout.rate;
            want[i] = is_dropped ? 0.0f : x[i] / (1.0f - dropout.rate);
        }
        for (size_t d = 0; d < N_DEVICES; d++) {
            dropout.x = x;
            dropout.y = y;
            devices[d]->ops->dropout(devices[d], &dropout);
            assert_true(device_same("dropout", y, want, n));
            dropout.x = dropout.y = memcpy(y, x, n * sizeof *y);
            devices[d]->ops->dropout(devices[d], &dropout);
            assert_true(device_same("dropout in place", y, want, n));
        }
        free(x);
        free(y);
        free(want);
    }
}

static void test_dropout_rates(void **state)
{
    (void)state;
    enum { N = 100000 };
    float *x = device_floats(N, 1.0f);
    float *y = device_floats(N, 1.0f);
    for (size_t i = 0; i < N; i++)
        x[i] = i == 5 ? NAN : 1.0f;
    struct mst_dropout dropout = {.n = N, .key = mst_rng_key_of(3, "dropout/rates", 0), .x = x, .y = y};
    devices[0]->ops->dropout(devices[0], &dropout);
    assert_true(device_same("rate 0 drops nothing", y, x, N));
    dropout.rate = 0.75f;
    devices[0]->ops->dropout(devices[0], &dropout);
    size_t n_kept = 0;
    for (size_t i = 0; i < N; i++) {
        assert_true(i == 5 || y[i] == 0.0f || y[i] == 4.0f);
        n_kept += y[i] == 4.0f;
    }
    // Eight standard deviations of the binomial distribution, √(N p (1 - p)) = 137, about the mean.
    assert_in_range(n_kept, N / 4 - 1100, N / 4 + 1100);
    // An element whose number is the rate itself stays.
    dropout.rate = mst_rng_unit(mst_rng_word(dropout.key, 7));
    devices[0]->ops->dropout(devices[0], &dropout);
    assert_true(y[7] == 1.0f / (1.0f - dropout.rate));
    free(x);
    free(y);
}

static void test_matches(void **state)
{
    (void)state;
    const float outputs[] = {0.1f, 0.9f, 0.9f, 0.4f, 0.3f, 0.2f, -1.0f, -2.0f, -0.5f, 0.6f, 0.5f, 0.51f};
    const int32_t labels[] = {1, 0, 2, 1};
    const float targets[] = {0.0f, 1.0f, 0.0f, 0.0f, 0.0f, 1.0f, 0.0f, 0.0f, 1.0f, 1.0f, 0.0f, 1.0f};
    struct mst_matches matches = {
        .rows = 4, .columns = 3, .outputs = outputs, .labels = labels, .targets = targets, .threshold = 0.5f};
    const struct mst_device_ops *ops = devices[0]->ops;
    // Row 0: the first of equals. Row 3: its largest is number 0.
    assert_int_equal(ops->count_matches_sparse(devices[0], &matches), 3);
    assert_int_equal(ops->count_matches_categorical(devices[0], &matches), 3);
    // 0.5 is not above 0.5.
    assert_int_equal(ops->count_matches_binary(devices[0], &matches), 9);
    matches.threshold = 0.45f;
    assert_int_equal(ops->count_matches_binary(devices[0], &matches), 8);
    const int32_t strangers[] = {-1, 3, 2, INT32_MAX};
    matches.labels = strangers;
    assert_int_equal(ops->count_matches_sparse(devices[0], &matches), 1);
    matches.rows = 0;
    assert_int_equal(ops->count_matches_sparse(devices[0], &matches), 0);
    assert_int_equal(ops->count_matches_categorical(devices[0], &matches), 0);
    assert_int_equal(ops->count_matches_binary(devices[0], &matches), 0);
}

// Fewer than k larger outputs; equals do not count as larger.
static void test_top_k(void **state)
{
    (void)state;
    const float outputs[] = {0.1f, 0.9f, 0.9f, 0.4f, 0.3f, 0.2f, -1.0f, -2.0f, -0.5f, 0.6f, NAN, 0.51f};
    const int32_t labels[] = {2, 1, 1, 0};
    const float targets[] = {0.0f, 0.0f, 1.0f, 0.0f, 1.0f, 0.0f, 0.0f, 1.0f, 0.0f, 1.0f, 0.0f, 0.0f};
    static const size_t wanted[] = {0, 1, 2, 3, 3};
    struct mst_matches matches = {.rows = 4, .columns = 3, .outputs = outputs, .labels = labels};
    const struct mst_device_ops *ops = devices[0]->ops;
    for (matches.k = 0; matches.k < 5; matches.k++) {
        matches.labels = labels;
        matches.targets = NULL;
        assert_int_equal(ops->count_in_top_k(devices[0], &matches), wanted[matches.k]);
        matches.labels = NULL;
        matches.targets = targets;
        assert_int_equal(ops->count_in_top_k(devices[0], &matches), wanted[matches.k]);
    }
    const int32_t strangers[] = {-1, 3, 2, INT32_MAX};
    matches.labels = strangers;
    assert_int_equal(ops->count_in_top_k(devices[0], &matches), 1);
}

static void test_all_finite(void **state)
{
    (void)state;
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (size_t s = 0; s < N_SIZES - 1; s++) {
        size_t n = sizes[s];
        float *x = device_floats(n, 3e38f);
        assert_true(devices[0]->ops->all_finite(devices[0], n, x));
        for (size_t i = 0; i < n; i += 1 + n / 40) {
            float before = x[i];
            x[i] = bad[i % 4];
            assert_false(devices[0]->ops->all_finite(devices[0], n, x));
            x[i] = before;
        }
        free(x);
    }
}

static void test_new(void **state)
{
    (void)state;
    struct mst_error err = {0};
    struct mst_device *device = devices[0];
    char text[128];
    char small[8];
    assert_int_equal(mst_device_cpu_new(0, &device, &err), MST_INVALID_ARGUMENT);
    assert_null(device);
    assert_non_null(strstr(err.text, "0 threads"));
    assert_int_equal(mst_device_cpu_new(MST_DEVICE_MAX_THREADS + 1, &device, NULL), MST_INVALID_ARGUMENT);
    mst_device_free(NULL);
    assert_int_equal(devices[2]->abi, MST_DEVICE_ABI);
    assert_string_equal(devices[2]->name, "cpu");
    assert_memory_equal(mst_device_describe(devices[2], text, sizeof text), "cpu: 3 threads, ", 16);
    assert_non_null(strstr(text, "OpenBLAS "));
    assert_string_equal(mst_device_describe(devices[2], small, sizeof small), "cpu: 3 ");
}

int main(void)
{
    device_seed("test_device_ops");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bias_add), cmocka_unit_test(test_column_sum),    cmocka_unit_test(test_convert),
        cmocka_unit_test(test_dropout),  cmocka_unit_test(test_dropout_rates), cmocka_unit_test(test_matches),
        cmocka_unit_test(test_top_k),    cmocka_unit_test(test_all_finite),    cmocka_unit_test(test_new),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
