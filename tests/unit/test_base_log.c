// Log lines: filters, their form, and that lines of several threads do not mix.
#include "base/log.h"

#include "base/alloc.h"
#include "muster/status.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { N_THREADS = 4, N_LINES = 200 };

// What was logged since begin(), for the test to free.
static int log_file = -1;

static void begin(void)
{
    log_file = memfd_create("log", MFD_CLOEXEC);
    assert_true(log_file >= 0);
    assert_int_equal(fcntl(log_file, F_SETFL, O_APPEND), 0); // a memfd has no lock on its position, as files have
    mst_log_set_fd(log_file);
}

static char *end(void)
{
    mst_log_set_fd(2);
    off_t size = lseek(log_file, 0, SEEK_END);
    assert_true(size >= 0);
    char *text = mst_alloc((size_t)size + 1);
    assert_int_equal(pread(log_file, text, (size_t)size, 0), size);
    close(log_file);
    return text;
}

static void test_filters(void **state)
{
    (void)state;
    assert_int_equal(mst_log_set_filter("", NULL), MST_OK);
    assert_true(mst_log_enabled(MST_LOG_INFO, "rpc"));
    assert_false(mst_log_enabled(MST_LOG_DEBUG, "rpc"));
    assert_int_equal(mst_log_set_filter("all=warn,rpc=debug,-ckpt,,", NULL), MST_OK);
    assert_true(mst_log_enabled(MST_LOG_DEBUG, "rpc"));
    assert_false(mst_log_enabled(MST_LOG_ERROR, "ckpt"));
    assert_true(mst_log_enabled(MST_LOG_WARN, "ps"));
    assert_false(mst_log_enabled(MST_LOG_INFO, "ps"));
    assert_int_equal(mst_log_set_filter("-all,ps=error", NULL), MST_OK);
    assert_false(mst_log_enabled(MST_LOG_ERROR, "rpc"));
    assert_true(mst_log_enabled(MST_LOG_ERROR, "ps"));
}

static void test_a_bad_filter_is_named(void **state)
{
    (void)state;
    static const char *const bad[] = {"rpc",       "rpc=",
                                      "=info",     "rpc=loud",
                                      "-",         "a=info,rpc=information",
                                      "-rpc=info", "a-component-with-a-very-long-name=info"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct mst_error err = {.text = ""};
        assert_int_equal(mst_log_set_filter(bad[i], &err), MST_INVALID_ARGUMENT);
        assert_non_null(strstr(err.text, strrchr(bad[i], ',') ? "rpc=information" : bad[i]));
    }
    char many[1000] = "";
    for (int i = 0; i < 40; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "c%d=info,", i);
    assert_int_equal(mst_log_set_filter(many, NULL), MST_INVALID_ARGUMENT);
}

static int evaluations;

static int evaluate(void)
{
    return ++evaluations;
}

static void test_the_form_of_a_line(void **state)
{
    (void)state;
    assert_int_equal(mst_log_set_filter("all=info", NULL), MST_OK);
    mst_log_set_role("worker/1");
    begin();
    MST_LOG(WARN, "rpc", "connection lost", "peer=%s reason=\"%s\"", "ps-0", "two\nlines");
    MST_LOG(DEBUG, "rpc", "not shown", "n=%d", evaluate());
    MST_LOG(INFO, "rpc", "no keys", "");
    char *text = end();
    assert_int_equal(evaluations, 0); // what is not shown is not evaluated
    assert_int_equal(text[10], 'T');
    assert_int_equal(text[26], 'Z');
    char *first = text + 28;
    char *second = strchr(first, '\n') + 1 + 28;
    second[-29] = '\0';
    assert_string_equal(first, "warn worker/1 rpc: connection lost peer=ps-0 reason=\"two lines\"");
    assert_string_equal(second, "info worker/1 rpc: no keys\n");
    free(text);
    mst_log_set_role("muster");
}

static void test_a_long_line_is_cut(void **state)
{
    (void)state;
    char *value = malloc(10001);
    memset(value, 'x', 10000);
    value[10000] = '\0';
    begin();
    MST_LOG(ERROR, "rpc", "long", "value=%s", value);
    MST_LOG(ERROR, "rpc", value, "value=%d", 1);
    char *text = end();
    char *newline = strchr(text, '\n');
    assert_true(newline - text < 4096 && newline - text > 4000);
    char *last = strchr(newline + 1, '\n');
    assert_true(last && last[1] == '\0' && last - newline < 4097);
    free(text);
    free(value);
}

static void *write_lines(void *arg)
{
    for (int i = 0; i < N_LINES; i++)
        MST_LOG(INFO, "test", "line", "thread=%d n=%d end", *(const int *)arg, i);
    return NULL;
}

static void test_lines_of_threads_do_not_mix(void **state)
{
    (void)state;
    begin();
    pthread_t threads[N_THREADS];
    int numbers[N_THREADS];
    for (int i = 0; i < N_THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
    }
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    char *text = end();
    int next[N_THREADS] = {0};
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        static const char head[] = "info muster test: line thread=", middle[] = " n=";
        char *at = line + 28;
        assert_memory_equal(at, head, sizeof head - 1);
        long thread = strtol(at + sizeof head - 1, &at, 10);
        assert_memory_equal(at, middle, sizeof middle - 1);
        long n = strtol(at + sizeof middle - 1, &at, 10);
        assert_string_equal(at, " end");
        assert_in_range(thread, 0, N_THREADS - 1);
        assert_int_equal(n, next[thread]++);
    }
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(next[i], N_LINES);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_a_bad_filter_is_named),
        cmocka_unit_test(test_the_form_of_a_line),
        cmocka_unit_test(test_a_long_line_is_cut),
        cmocka_unit_test(test_lines_of_threads_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
