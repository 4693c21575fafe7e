// The text of /metrics, and counting from several threads while it is printed.
#include "base/metrics.h"

#include "base/bytes.h"
#include "muster/status.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { N_THREADS = 4, N_ADDS = 5000 };

static void test_the_text(void **state)
{
    (void)state;
    struct mst_metric *plain = mst_metric_counter("test_pushes_total", "Pushes applied", NULL);
    struct mst_metric *loss = mst_metric_gauge("test_loss", "Loss of the last epoch", NULL);
    struct mst_metric *second = mst_metric_counter("test_bytes_total", "Bytes", "bucket=\"1\"");
    mst_metric_set(mst_metric_gauge("test_workers", "Workers", NULL), 3);
    struct mst_metric *first = mst_metric_counter("test_bytes_total", "Bytes", "bucket=\"0\""); // joins its family
    mst_metric_add(plain, 41);
    mst_metric_add(plain, 1);
    mst_metric_set_real(loss, 0.25);
    mst_metric_add(first, 10);
    mst_metric_add(second, -1);
    struct mst_buf text;
    mst_buf_init(&text, 1 << 16);
    assert_int_equal(mst_metrics_print(&text), MST_OK);
    assert_string_equal((const char *)text.data, "# HELP test_pushes_total Pushes applied\n"
                                                 "# TYPE test_pushes_total counter\n"
                                                 "test_pushes_total 42\n"
                                                 "# HELP test_loss Loss of the last epoch\n"
                                                 "# TYPE test_loss gauge\n"
                                                 "test_loss 0.250000\n"
                                                 "# HELP test_bytes_total Bytes\n"
                                                 "# TYPE test_bytes_total counter\n"
                                                 "test_bytes_total{bucket=\"1\"} -1\n"
                                                 "test_bytes_total{bucket=\"0\"} 10\n"
                                                 "# HELP test_workers Workers\n"
                                                 "# TYPE test_workers gauge\n"
                                                 "test_workers 3\n");
    mst_buf_fini(&text);
}

static void test_a_histogram(void **state)
{
    (void)state;
    static const int64_t limits[] = {0, 1, 4};
    struct mst_metric *plain = mst_metric_histogram("test_wait", "Waits", NULL, limits, 3);
    struct mst_metric *labelled = mst_metric_histogram("test_wait", "Waits", "peer=\"1\"", limits, 1);
    assert_ptr_equal(mst_metric_histogram("test_wait", "Waits", NULL, limits, 3), plain);
    static const int64_t values[] = {0, 0, 1, 2, 4, 5, 100};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        mst_metric_observe(plain, values[i]);
    mst_metric_observe(labelled, 3);
    assert_int_equal(mst_metric_read(plain), 112);
    struct mst_buf text;
    mst_buf_init(&text, 1 << 16);
    assert_int_equal(mst_metrics_print(&text), MST_OK);
    assert_non_null(strstr((const char *)text.data, "# HELP test_wait Waits\n"
                                                    "# TYPE test_wait histogram\n"
                                                    "test_wait_bucket{le=\"0\"} 2\n"
                                                    "test_wait_bucket{le=\"1\"} 3\n"
                                                    "test_wait_bucket{le=\"4\"} 5\n"
                                                    "test_wait_bucket{le=\"+Inf\"} 7\n"
                                                    "test_wait_sum 112\n"
                                                    "test_wait_count 7\n"
                                                    "test_wait_bucket{peer=\"1\",le=\"0\"} 0\n"
                                                    "test_wait_bucket{peer=\"1\",le=\"+Inf\"} 1\n"
                                                    "test_wait_sum{peer=\"1\"} 3\n"
                                                    "test_wait_count{peer=\"1\"} 1\n"));
    mst_buf_fini(&text);
}

static void test_a_name_is_one_metric(void **state)
{
    (void)state;
    assert_ptr_equal(mst_metric_counter("test_pushes_total", "Pushes applied", NULL),
                     mst_metric_counter("test_pushes_total", "Pushes applied", NULL));
    assert_ptr_not_equal(mst_metric_counter("test_bytes_total", "Bytes", "bucket=\"0\""),
                         mst_metric_counter("test_bytes_total", "Bytes", "bucket=\"1\""));
    assert_ptr_not_equal(mst_metric_counter("test_bytes_total", "Bytes", NULL),
                         mst_metric_counter("test_bytes_total", "Bytes", "bucket=\"1\""));
}

static void test_reals(void **state)
{
    (void)state;
    struct mst_metric *gauge = mst_metric_gauge("test_real", "A real number", NULL);
    static const struct {
        double value;
        const char *printed;
    } rows[] = {{-1.5, " -1.500000\n"},  {1e-7, " 0.000000\n"}, {123456789.125, " 123456789.125000\n"},
                {(double)NAN, " NaN\n"}, {1e300, " NaN\n"},     {(double)-INFINITY, " NaN\n"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mst_metric_set_real(gauge, rows[i].value);
        struct mst_buf text;
        mst_buf_init(&text, 1 << 16);
        assert_int_equal(mst_metrics_print(&text), MST_OK);
        const char *line = strstr((const char *)text.data, "\ntest_real ");
        assert_non_null(line);
        assert_memory_equal(line + strlen("\ntest_real"), rows[i].printed, strlen(rows[i].printed));
        mst_buf_fini(&text);
    }
    mst_metric_set_real(gauge, 7.9);
    assert_int_equal(mst_metric_read(gauge), 7);
}

static void test_the_buffer_has_a_maximum(void **state)
{
    (void)state;
    struct mst_buf text;
    mst_buf_init(&text, 50);
    assert_int_equal(mst_metrics_print(&text), MST_RESOURCE_EXHAUSTED);
    mst_buf_fini(&text);
}

static void *count(void *arg)
{
    (void)arg;
    struct mst_metric *shared = mst_metric_counter("test_shared_total", "Counted by all", NULL);
    for (int i = 0; i < N_ADDS; i++) {
        mst_metric_add(shared, 1);
        if (i % 1000 == 0) {
            char labels[32];
            snprintf(labels, sizeof labels, "n=\"%d\"", i / 1000);
            mst_metric_set_real(mst_metric_gauge("test_each", "Made by whoever comes first", labels), i);
        }
    }
    return NULL;
}

static void test_threads_count_while_it_is_printed(void **state)
{
    (void)state;
    pthread_t threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, NULL), 0);
    for (int i = 0; i < 20; i++) {
        struct mst_buf text;
        mst_buf_init(&text, 1 << 16);
        assert_int_equal(mst_metrics_print(&text), MST_OK);
        mst_buf_fini(&text);
    }
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(mst_metric_read(mst_metric_counter("test_shared_total", "", NULL)), N_THREADS * N_ADDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_text),
        cmocka_unit_test(test_a_histogram),
        cmocka_unit_test(test_a_name_is_one_metric),
        cmocka_unit_test(test_reals),
        cmocka_unit_test(test_the_buffer_has_a_maximum),
        cmocka_unit_test(test_threads_count_while_it_is_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
