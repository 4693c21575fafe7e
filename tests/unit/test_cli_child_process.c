// A child is this very test program, told by an argument what to do.
#include "base/alloc.h"
#include "cli/child_process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static char folder[] = "/tmp/muster-child-XXXXXX";
static char *log_path;

// ---- what the child does ----

// Says what it was given: its arguments, its group, the signals it would die of.
static int tell(const char *fd_text)
{
    int fd = (int)strtol(fd_text, NULL, 10);
    struct sigaction action;
    sigset_t blocked;
    sigaction(SIGTERM, NULL, &action);
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    printf("on stdout\n");
    fflush(stdout);
    fprintf(stderr, "variable=%s own_group=%d default=%d unblocked=%d stdin=%zd\n", getenv("CHILD_VARIABLE"),
            getpgrp() == getpid(), action.sa_handler == SIG_DFL, !sigismember(&blocked, SIGTERM), read(0, &fd, 0));
    dprintf(fd, "by the descriptor");
    return 7;
}

// Starts a child that waits for ever, tells its pid, and is killed itself.
static int be_parent_of(const char *log, const char *fd_text)
{
    int fd = (int)strtol(fd_text, NULL, 10);
    char wait_word[] = "wait";
    char name[] = "child";
    char *argv[] = {name, wait_word, (char *)fd_text, NULL};
    struct mst_child_plan plan = {.argv = argv, .envp = environ, .log_path = log, .fds = &fd, .n_fds = 1};
    pid_t pid;
    if (mst_child_start(&plan, &pid, NULL) != MST_OK)
        return 1;
    close(fd); // the child alone holds it now
    pause();
    return 0;
}

// ---- tests ----

static int set_up_all(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    log_path = mst_text("%s/child.log", folder);
    return 0;
}

static int tear_down_all(void **state)
{
    (void)state;
    unlink(log_path);
    free(log_path);
    return rmdir(folder);
}

static int set_up(void **state)
{
    (void)state;
    unlink(log_path);
    return 0;
}

static pid_t start(char *const *argv, int fd)
{
    char variable[] = "CHILD_VARIABLE=given";
    // A sanitizer's options have to reach the child.
    char *options = getenv("ASAN_OPTIONS") ? mst_text("ASAN_OPTIONS=%s", getenv("ASAN_OPTIONS")) : NULL;
    char *envp[] = {variable, options, NULL};
    struct mst_child_plan plan = {.argv = argv, .envp = envp, .log_path = log_path, .fds = &fd, .n_fds = 1};
    struct mst_error err = {0};
    pid_t pid;
    assert_int_equal(mst_child_start(&plan, &pid, &err), MST_OK);
    assert_true(pid > 0);
    free(options);
    return pid;
}

static int wait_for(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void ignore(int number)
{
    (void)number;
}

static void test_what_a_child_is_given(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    char fd_text[16];
    snprintf(fd_text, sizeof fd_text, "%d", fds[1]);
    char name[] = "child";
    char word[] = "tell";
    char *argv[] = {name, word, fd_text, NULL};
    signal(SIGTERM, ignore); // a handler of ours is not the child's
    int status = wait_for(start(argv, fds[1]));
    signal(SIGTERM, SIG_DFL);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    char *log = mst_log_tail(log_path, 10);
    assert_string_equal(log, "on stdout\nvariable=given own_group=1 default=1 unblocked=1 stdin=0\n");
    free(log);
    char text[64] = "";
    close(fds[1]);
    assert_int_equal(read(fds[0], text, sizeof text - 1), strlen("by the descriptor"));
    assert_string_equal(text, "by the descriptor");
    close(fds[0]);
}

static void test_logs_are_appended_to(void **state)
{
    (void)state;
    char name[] = "child";
    char word[] = "tell";
    char fd_text[] = "2";
    char *argv[] = {name, word, fd_text, NULL};
    wait_for(start(argv, 2));
    wait_for(start(argv, 2));
    char *log = mst_log_tail(log_path, 100);
    char *second = strstr(log + 1, "on stdout");
    assert_non_null(second);
    free(log);
}

// The middle process is killed; the child's end of a pipe closes only when the child is gone too.
static void test_a_child_dies_with_its_parent(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    char fd_text[16];
    snprintf(fd_text, sizeof fd_text, "%d", fds[1]);
    char name[] = "child";
    char word[] = "parent";
    char *argv[] = {name, word, log_path, fd_text, NULL};
    pid_t parent = start(argv, fds[1]);
    close(fds[1]);
    char text[32] = "";
    assert_int_equal(read(fds[0], text, strlen("waiting")), strlen("waiting"));
    assert_string_equal(text, "waiting");
    struct pollfd quiet = {.fd = fds[0], .events = POLLIN};
    assert_int_equal(poll(&quiet, 1, 0), 0); // it lives
    kill(parent, SIGKILL);
    wait_for(parent);
    assert_int_equal(read(fds[0], text, sizeof text), 0);
    close(fds[0]);
}

static void test_a_log_that_cannot_be_opened(void **state)
{
    (void)state;
    char name[] = "child";
    char *argv[] = {name, NULL};
    char *path = mst_text("%s/nowhere/child.log", folder);
    struct mst_child_plan plan = {.argv = argv, .envp = environ, .log_path = path};
    struct mst_error err = {0};
    pid_t pid = 1;
    assert_int_equal(mst_child_start(&plan, &pid, &err), MST_NOT_FOUND);
    assert_int_equal(pid, 0);
    assert_non_null(strstr(err.text, path));
    free(path);
}

static FILE *open_log(void)
{
    FILE *file = fopen(log_path, "w");
    if (!file)
        abort();
    return file;
}

static void check_tail(const char *content, size_t n_lines, const char *want)
{
    FILE *file = open_log();
    fputs(content, file);
    fclose(file);
    char *tail = mst_log_tail(log_path, n_lines);
    assert_string_equal(tail, want);
    free(tail);
}

static void test_tails(void **state)
{
    (void)state;
    check_tail("", 3, "");
    check_tail("one\n", 3, "one\n");
    check_tail("one\ntwo\nthree\n", 2, "two\nthree\n");
    check_tail("one\ntwo\nthr", 2, "two\nthr");
    check_tail("one\n\n\n", 2, "\n\n");
    check_tail("one\ntwo\n", 0, "");
    check_tail("\033[2J bell\a del\x7f\ttab\n", 1, "?[2J bell? del?\ttab\n");
    char *none = mst_log_tail("/nowhere/at/all", 3);
    assert_string_equal(none, "");
    free(none);
}

static void test_tail_of_a_large_file(void **state)
{
    (void)state;
    FILE *file = open_log();
    for (int i = 0; i < 20000; i++)
        fprintf(file, "line %d\n", i);
    fclose(file);
    char *tail = mst_log_tail(log_path, 2);
    assert_string_equal(tail, "line 19998\nline 19999\n");
    free(tail);
    tail = mst_log_tail(log_path, 1000000);
    assert_true(strlen(tail) <= 32768);
    free(tail);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "tell") == 0)
        return tell(argv[2]);
    if (argc == 4 && strcmp(argv[1], "parent") == 0)
        return be_parent_of(argv[2], argv[3]);
    if (argc == 3 && strcmp(argv[1], "wait") == 0) {
        dprintf((int)strtol(argv[2], NULL, 10), "waiting");
        for (;;)
            pause();
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_what_a_child_is_given, set_up),
        cmocka_unit_test_setup(test_logs_are_appended_to, set_up),
        cmocka_unit_test_setup(test_a_child_dies_with_its_parent, set_up),
        cmocka_unit_test_setup(test_a_log_that_cannot_be_opened, set_up),
        cmocka_unit_test_setup(test_tails, set_up),
        cmocka_unit_test_setup(test_tail_of_a_large_file, set_up),
    };
    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
