// What a terminal gets, seen from the other end of a pseudo terminal, and what a file gets.
#include "cli/progress_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { SEEN_BYTES = 65536 };

static int seen_fd; // what was written can be read here
static int view_fd;
static struct mst_supervision supervision;

static int open_terminal(unsigned short columns)
{
    seen_fd = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(seen_fd >= 0);
    assert_int_equal(grantpt(seen_fd), 0);
    assert_int_equal(unlockpt(seen_fd), 0);
    view_fd = open(ptsname(seen_fd), O_RDWR | O_NOCTTY);
    assert_true(view_fd >= 0);
    struct winsize size = {.ws_row = 24, .ws_col = columns};
    assert_int_equal(ioctl(view_fd, TIOCSWINSZ, &size), 0);
    setenv("TERM", "xterm", 1);
    return view_fd;
}

static int open_plain(void)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    seen_fd = fds[0];
    view_fd = fds[1];
    return view_fd;
}

// All that was written since the last call. A terminal hands bytes on when it comes to it, so a mark is sent after them
// and waited for.
static const char *seen(void)
{
    static const char mark = '\001';
    static char text[SEEN_BYTES];
    size_t n = 0;
    assert_int_equal(write(view_fd, &mark, 1), 1);
    while (n == 0 || text[n - 1] != mark) {
        ssize_t got = read(seen_fd, text + n, sizeof text - 1 - n);
        assert_true(got > 0);
        n += (size_t)got;
    }
    text[n - 1] = '\0';
    return text;
}

static int set_up(void **state)
{
    (void)state;
    mst_supervision_init(&supervision, 0);
    for (int role = 0; role <= MST_TASK_WORKER; role++) {
        size_t task = mst_supervision_add(&supervision, (enum mst_task_role)role);
        supervision.tasks[task].state = MST_TASK_UP;
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(seen_fd);
    close(view_fd);
    mst_supervision_fini(&supervision);
    return 0;
}

static struct mst_progress at_step(uint64_t step, uint64_t n_steps)
{
    return (struct mst_progress){
        .has_started = true, .has_figures = true, .epoch = 1, .n_epochs = 1, .step = step, .n_steps = n_steps};
}

static void test_terminal_is_drawn_over(void **state)
{
    (void)state;
    struct mst_progress_view view;
    mst_progress_view_init(&view, open_terminal(80), 0);
    struct mst_progress progress = at_step(10, 100);
    mst_progress_view_show(&view, &progress, &supervision, 1000);
    assert_string_equal(seen(), "\repoch 1/1  step 10/100  chief + ps + worker +\033[K");
    progress.step = 20;
    mst_progress_view_show(&view, &progress, &supervision, 1001);
    assert_string_equal(seen(), "\repoch 1/1  step 20/100  chief + ps + worker +\033[K");
    // A line of its own pushes the drawn one down.
    mst_progress_view_say(&view, "something happened");
    assert_string_equal(seen(), "\r\033[Ksomething happened\r\n"
                                "\repoch 1/1  step 20/100  chief + ps + worker +\033[K");
    mst_progress_view_end(&view);
    assert_string_equal(seen(), "\r\n");
    mst_progress_view_end(&view);
    mst_progress_view_say(&view, "the end");
    assert_string_equal(seen(), "the end\r\n");
}

static void test_terminal_of_every_width(void **state)
{
    (void)state;
    struct mst_progress_view view;
    mst_progress_view_init(&view, open_terminal(80), 0);
    struct mst_progress progress = at_step(123456, 1000000);
    for (unsigned short columns = 1; columns < 200; columns++) {
        struct winsize size = {.ws_row = 24, .ws_col = columns};
        assert_int_equal(ioctl(view_fd, TIOCSWINSZ, &size), 0);
        mst_progress_view_show(&view, &progress, &supervision, 1000);
        // The marks are ASCII here, and \r ESC [ K are no columns. The last one stays free.
        assert_true(strlen(seen()) - 4 < columns);
    }
}

static void test_dumb_terminal_gets_plain_lines(void **state)
{
    (void)state;
    struct mst_progress_view view;
    open_terminal(80);
    setenv("TERM", "dumb", 1);
    mst_progress_view_init(&view, view_fd, 0);
    struct mst_progress progress = at_step(50, 100);
    mst_progress_view_show(&view, &progress, &supervision, 5000);
    assert_string_equal(seen(), "epoch 1/1  step 50/100\r\n");
}

static size_t n_lines_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

// A second a step, four looks a second.
static void test_plain_lines_are_few(void **state)
{
    (void)state;
    struct mst_progress_view view;
    mst_progress_view_init(&view, open_plain(), 0);
    size_t n_lines = 0;
    for (uint64_t ms = 0; ms <= 100000; ms += 250) {
        struct mst_progress progress = at_step(ms / 1000, 100);
        mst_progress_view_show(&view, &progress, &supervision, ms);
        size_t n = n_lines_of(seen());
        assert_true(n <= 1);
        n_lines += n;
    }
    assert_int_equal(n_lines, 10); // one each tenth
}

static void test_plain_lines_of_a_long_job(void **state)
{
    (void)state;
    struct mst_progress_view view;
    mst_progress_view_init(&view, open_plain(), 0);
    size_t n_lines = 0;
    for (uint64_t ms = 0; ms < 3600000; ms += 250) {
        struct mst_progress progress = at_step(ms, 1000000000);
        mst_progress_view_show(&view, &progress, &supervision, ms);
        n_lines += n_lines_of(seen());
    }
    assert_in_range(n_lines, 59, 60); // one a minute
}

static void test_plain_lines_of_a_short_job(void **state)
{
    (void)state;
    struct mst_progress_view view;
    mst_progress_view_init(&view, open_plain(), 0);
    struct mst_progress progress = at_step(90, 100);
    mst_progress_view_show(&view, &progress, &supervision, 300);
    assert_string_equal(seen(), ""); // within the first second
    progress.step = 100;
    mst_progress_view_show(&view, &progress, &supervision, 400);
    assert_string_equal(seen(), "epoch 1/1  step 100/100  saving and evaluating\n");
    mst_progress_view_show(&view, &progress, &supervision, 5000);
    assert_string_equal(seen(), "");
}

static void test_plain_epochs_waits_and_troubles(void **state)
{
    (void)state;
    struct mst_progress_view view;
    mst_progress_view_init(&view, open_plain(), 0);
    struct mst_progress progress = {0};
    mst_progress_view_show(&view, &progress, &supervision, 500);
    assert_string_equal(seen(), ""); // nothing to tell before the first figures
    snprintf(progress.waiting, sizeof progress.waiting, "ps-1 (refused, 10 s)");
    mst_progress_view_show(&view, &progress, &supervision, 10000);
    mst_progress_view_show(&view, &progress, &supervision, 10250);
    assert_string_equal(seen(), "waiting for ps-1 (refused, 10 s)\n");
    progress = at_step(1, 1000);
    progress.n_epochs_done = 1;
    supervision.tasks[2].state = MST_TASK_WAITING;
    mst_progress_view_show(&view, &progress, &supervision, 12000);
    assert_string_equal(seen(), "epoch 1/1  step 1/1000  chief + ps + worker r\n");
    mst_progress_view_say(&view, "a line");
    assert_string_equal(seen(), "a line\n");
    mst_progress_view_end(&view);
    assert_string_equal(seen(), "");
}

static void test_a_reader_that_is_gone(void **state)
{
    (void)state;
    struct mst_progress_view view;
    mst_progress_view_init(&view, open_plain(), 0);
    close(seen_fd);
    mst_progress_view_say(&view, "nobody hears this");
}

#define VIEW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    signal(SIGPIPE, SIG_IGN); // as main.c does
    const struct CMUnitTest tests[] = {
        VIEW(test_terminal_is_drawn_over),          VIEW(test_terminal_of_every_width),
        VIEW(test_dumb_terminal_gets_plain_lines),  VIEW(test_plain_lines_are_few),
        VIEW(test_plain_lines_of_a_long_job),       VIEW(test_plain_lines_of_a_short_job),
        VIEW(test_plain_epochs_waits_and_troubles), VIEW(test_a_reader_that_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
