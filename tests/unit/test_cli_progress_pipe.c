// Lines come out of the pipe whole, however they went in, and nonsense does not.
#include "cli/progress_pipe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { LIMIT_MS = 10000, MANY = 100000 };

struct fixture {
    struct mst_loop *loop;
    struct mst_progress_pipe pipe;
    int write_fd;
    size_t n_events;
    json_int_t last; // "n" of the last one
    size_t n_wanted;
};

static void on_event(void *arg, const json_t *event)
{
    struct fixture *fixture = arg;
    fixture->n_events++;
    fixture->last = json_integer_value(json_object_get(event, "n"));
}

static int set_up(void **state)
{
    static struct fixture fixture;
    struct mst_error err;
    fixture = (struct fixture){.write_fd = -1};
    assert_int_equal(mst_loop_new("test", &fixture.loop, &err), MST_OK);
    assert_int_equal(mst_progress_pipe_init(&fixture.pipe, fixture.loop, on_event, &fixture, &fixture.write_fd, &err),
                     MST_OK);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->write_fd >= 0)
        close(fixture->write_fd);
    mst_progress_pipe_fini(&fixture->pipe);
    mst_loop_free(fixture->loop);
    return 0;
}

static void put(const struct fixture *fixture, const char *text)
{
    assert_int_equal(write(fixture->write_fd, text, strlen(text)), strlen(text));
}

static bool has_wanted(void *arg)
{
    const struct fixture *fixture = arg;
    return fixture->n_events >= fixture->n_wanted;
}

static void wait_events(struct fixture *fixture, size_t n)
{
    fixture->n_wanted = n;
    assert_true(mst_loop_run_until(fixture->loop, has_wanted, fixture, LIMIT_MS));
    assert_int_equal(fixture->n_events, n);
}

static void test_lines_in_pieces(void **state)
{
    struct fixture *fixture = *state;
    put(fixture, "{\"n\": 1}\n{\"n\":");
    wait_events(fixture, 1);
    put(fixture, " 2");
    mst_loop_poll(fixture->loop);
    assert_int_equal(fixture->n_events, 1);
    put(fixture, "}\n{\"n\": 3}\n");
    wait_events(fixture, 3);
    assert_int_equal(fixture->last, 3);
}

static void test_nonsense_is_left_out(void **state)
{
    struct fixture *fixture = *state;
    put(fixture, "\n\nnonsense\n[1]\n{\"n\": 1\n{\"n\": 2}\n");
    wait_events(fixture, 1);
    assert_int_equal(fixture->last, 2);
}

static void test_the_end_is_drained(void **state)
{
    struct fixture *fixture = *state;
    put(fixture, "{\"n\": 1}\n{\"n\": 2}\n{\"n\": 3");
    close(fixture->write_fd);
    fixture->write_fd = -1;
    mst_progress_pipe_drain(&fixture->pipe);
    assert_int_equal(fixture->n_events, 2);
    mst_progress_pipe_drain(&fixture->pipe); // nothing more, and no harm
    mst_loop_poll(fixture->loop);
    assert_int_equal(fixture->n_events, 2);
}

// Nobody reads: the chief's end refuses instead of waiting.
static void test_the_writer_never_waits(void **state)
{
    struct fixture *fixture = *state;
    static const char line[] = "{\"n\": 1}\n";
    size_t n_written = 0;
    while (n_written < MANY && write(fixture->write_fd, line, sizeof line - 1) > 0)
        n_written++;
    assert_int_equal(errno, EAGAIN);
    assert_true(n_written > 0 && n_written < MANY);
    mst_progress_pipe_drain(&fixture->pipe);
    assert_int_equal(fixture->n_events, n_written);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lines_in_pieces, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nonsense_is_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_end_is_drained, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_writer_never_waits, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
