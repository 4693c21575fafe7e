// What is printed of a log that grows: lines that are objects as they are, all else as the text of an event.
#include "cli/log_follow.h"

#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char log_path[] = "/tmp/muster-follow-XXXXXX";
static int log_fd;
static int real_stderr;
static int seen_fds[2];

static int set_up(void **state)
{
    (void)state;
    log_fd = mkstemp(log_path);
    assert_true(log_fd >= 0);
    assert_int_equal(mst_log_set_format("json", NULL), MST_OK);
    real_stderr = dup(STDERR_FILENO);
    assert_int_equal(pipe(seen_fds), 0);
    assert_true(fcntl(seen_fds[0], F_SETFL, O_NONBLOCK) == 0 && dup2(seen_fds[1], STDERR_FILENO) == STDERR_FILENO);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    dup2(real_stderr, STDERR_FILENO);
    assert_int_equal(mst_log_set_format("text", NULL), MST_OK);
    return unlink(log_path);
}

static void grow(const char *text)
{
    assert_int_equal(write(log_fd, text, strlen(text)), strlen(text));
}

// What was printed on standard error since the last call.
static const char *seen(void)
{
    static char text[65536];
    ssize_t n = read(seen_fds[0], text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void expect_text(const char *line, const char *want)
{
    json_t *json = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);
    json_t *fields = json_object_get(json, "fields");
    assert_string_equal(json_string_value(json_object_get(json, "event")), "output");
    assert_string_equal(json_string_value(json_object_get(fields, "process")), "worker-1");
    assert_string_equal(json_string_value(json_object_get(fields, "text")), want);
    json_decref(json);
}

static void test_what_is_printed(void **state)
{
    (void)state;
    struct mst_log_follow follow;
    mst_log_follow_init(&follow, "worker-1", log_path);
    mst_log_follow_pump(&follow);
    assert_string_equal(seen(), "");
    grow("{\"a\": 1 }\n{\"b\"");
    mst_log_follow_pump(&follow);
    assert_string_equal(seen(), "{\"a\": 1 }\n");
    grow(":2}\n\n");
    mst_log_follow_pump(&follow);
    assert_string_equal(seen(), "{\"b\":2}\n");
    grow("warning: \"x\"\n");
    mst_log_follow_pump(&follow);
    expect_text(seen(), "warning: \"x\"");
    grow("[1]\n");
    mst_log_follow_pump(&follow);
    expect_text(seen(), "[1]");
    grow("{\"half\": \"of a li");
    mst_log_follow_pump(&follow);
    assert_string_equal(seen(), "");
    mst_log_follow_end(&follow);
    expect_text(seen(), "{\"half\": \"of a li");
    grow("{\"again\":true}\n");
    mst_log_follow_end(&follow);
    assert_string_equal(seen(), "{\"again\":true}\n");
    mst_log_follow_fini(&follow);
}

static void test_a_line_without_end(void **state)
{
    (void)state;
    struct mst_log_follow follow;
    assert_int_equal(ftruncate(log_fd, 0), 0);
    assert_int_equal(lseek(log_fd, 0, SEEK_SET), 0);
    mst_log_follow_init(&follow, "worker-1", log_path);
    char block[1001];
    memset(block, 'x', 1000);
    block[1000] = '\0';
    for (int i = 0; i < 300; i++)
        grow(block);
    mst_log_follow_end(&follow);
    const char *text = seen();
    size_t n_lines = 0;
    for (const char *line = text; *line; line = strchr(line, '\n') + 1, n_lines++) {
        json_t *json = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);
        assert_non_null(json);
        json_decref(json);
    }
    assert_in_range(n_lines, 2, 10); // in pieces, and what is kept in memory is bounded
    mst_log_follow_fini(&follow);
    mst_log_follow_init(&follow, "worker-1", "/nowhere/at/all");
    mst_log_follow_end(&follow);
    assert_string_equal(seen(), "");
    mst_log_follow_fini(&follow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_printed),
        cmocka_unit_test(test_a_line_without_end),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
