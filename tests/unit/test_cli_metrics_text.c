// Pages of metrics: what is read of ours, of others' and of hostile ones.
#include "cli/http_get.h"
#include "cli/metrics_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static struct mst_bytes bytes_of(const char *text)
{
    return (struct mst_bytes){text, strlen(text)};
}

static void test_samples(void **state)
{
    (void)state;
    struct mst_metrics_text metrics;
    mst_metrics_text_parse(bytes_of("# HELP a help\n# TYPE a counter\n"
                                    "a 1\na{x=\"1\",y=\"two}\\\"\"} 2.5 1700000000\nb{} NaN\n"
                                    "no value\nbad{x=\"1\" 3\n{} 3\n\n9 9\nlast{z=\"\"} 7"),
                           &metrics);
    assert_int_equal(metrics.n, 5);
    assert_true(mst_metrics_text_sum(&metrics, "a") == 3.5);
    assert_true(mst_metrics_text_sum(&metrics, "nothing") == 0);
    assert_string_equal(metrics.samples[4].name, "last");
    assert_true(metrics.samples[4].value == 7);
    mst_metrics_text_fini(&metrics);
    mst_metrics_text_parse((struct mst_bytes){NULL, 0}, &metrics);
    assert_int_equal(metrics.n, 0);
    mst_metrics_text_fini(&metrics);
}

static void test_labels(void **state)
{
    (void)state;
    char text[16];
    struct mst_metric_sample sample = {.name = "a", .labels = "x=\"1\", yy=\"a\\\"\\\\\\nb\",z=\"\x1b[2J\""};
    assert_true(mst_metric_label(&sample, "x", text, sizeof text));
    assert_string_equal(text, "1");
    assert_true(mst_metric_label(&sample, "yy", text, sizeof text));
    assert_string_equal(text, "a\"\\?b"); // a line end is nothing for a terminal
    assert_true(mst_metric_label(&sample, "z", text, sizeof text));
    assert_string_equal(text, "?[2J");
    assert_false(mst_metric_label(&sample, "y", text, sizeof text));
    assert_string_equal(text, "");
    char tiny[3];
    assert_true(mst_metric_label(&sample, "z", tiny, sizeof tiny));
    assert_string_equal(tiny, "?[");
    static const char *const broken[] = {"x", "x=", "x=1", "x=\"", "x=\"\\", "=\"\"", ",,,"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        sample.labels = broken[i];
        assert_false(mst_metric_label(&sample, "x", text, sizeof text));
    }
}

static void test_answers(void **state)
{
    (void)state;
    struct mst_bytes body;
    assert_int_equal(mst_http_answer_parse(bytes_of("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody"), &body), 200);
    assert_int_equal(body.len, 4);
    assert_memory_equal(body.data, "body", 4);
    assert_int_equal(mst_http_answer_parse(bytes_of("HTTP/1.0 503 \r\n\r\n"), &body), 503);
    assert_int_equal(body.len, 0);
    static const char *const broken[] = {"",
                                         "HTTP/1.1",
                                         "HTTP/1.1 200 OK\r\n",
                                         "HTTP/1.1 2x0 OK\r\n\r\n",
                                         "SSH-2.0-x 200 OK\r\n\r\n",
                                         "HTTP/1.1 099 OK\r\n\r\n"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        assert_int_equal(mst_http_answer_parse(bytes_of(broken[i]), &body), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
