// The text about a process that ended a job, from its end and its log.
#include "base/alloc.h"
#include "cli/failure_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/muster-log-XXXXXX";

static int set_up(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    return close(fd);
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

static void check(struct mst_failure failure, const char *log, const char *want_format)
{
    FILE *file = fopen(path, "w");
    if (!file)
        abort();
    fputs(log, file);
    fclose(file);
    failure.log_path = path;
    char *text = mst_failure_text(&failure);
    // The path stands where the format has a #.
    char *want = mst_text("%s", want_format);
    char *mark = strchr(want, '#');
    if (mark) {
        char *with_path = mst_text("%.*s%s%s", (int)(mark - want), want, path, mark + 1);
        free(want);
        want = with_path;
    }
    assert_string_equal(text, want);
    free(want);
    free(text);
}

static const struct mst_failure bad_worker = {
    .name = "worker-1", .role = MST_TASK_WORKER, .wait_status = 1 << 8, .exit_code = 1};

static void test_it_said_why(void **state)
{
    (void)state;
    check(bad_worker, "one\ntwo\nmuster: the data is wrong\n",
          "muster: the last lines of #:\n    one\n    two\n"
          "muster: worker-1 ended with exit code 1, which ends the job: the data is wrong");
    check(bad_worker, "muster: the data is wrong",
          "muster: worker-1 ended with exit code 1, which ends the job: the data is wrong");
}

static void test_it_said_something_else(void **state)
{
    (void)state;
    check(bad_worker, "muster: of an earlier start\nAddressSanitizer: bad\n",
          "muster: the last lines of #:\n    muster: of an earlier start\n    AddressSanitizer: bad\n"
          "muster: worker-1 ended with exit code 1, which ends the job");
    check(bad_worker, "", "muster: its log # is empty\nmuster: worker-1 ended with exit code 1, which ends the job");
}

static void test_it_was_killed(void **state)
{
    (void)state;
    struct mst_failure failure = {.name = "ps-0", .role = MST_TASK_PS, .wait_status = SIGKILL, .exit_code = 138};
    check(
        failure, "muster: of an earlier start\n",
        "muster: the last lines of #:\n    muster: of an earlier start\n"
        "muster: ps-0 was killed by signal 9 (Killed), once more than --max-restarts 0 a minute allow, which ends the "
        "job");
    failure =
        (struct mst_failure){.name = "chief-0", .role = MST_TASK_CHIEF, .wait_status = 138 << 8, .exit_code = 138};
    check(failure, "muster: ps-0 was lost\n",
          "muster: chief-0 ended with exit code 138, which ends the job: ps-0 was lost");
    failure = (struct mst_failure){
        .name = "worker-0", .role = MST_TASK_WORKER, .wait_status = 138 << 8, .exit_code = 138, .max_restarts = 5};
    check(failure, "muster: the chief does not answer\n",
          "muster: worker-0 ended with exit code 138, once more than --max-restarts 5 a minute allow, which ends the "
          "job: "
          "the chief does not answer");
}

static void test_it_said_why_in_json(void **state)
{
    (void)state;
    check(bad_worker, "{\"event\":\"ended\",\"fields\":{\"exit_code\":1,\"reason\":\"no \\\"such\\\" file\"}}\n",
          "muster: worker-1 ended with exit code 1, which ends the job: no \"such\" file");
    check(bad_worker, "{\"event\":\"joined\",\"fields\":{\"reason\":\"x\"}}\n",
          "muster: the last lines of #:\n    {\"event\":\"joined\",\"fields\":{\"reason\":\"x\"}}\n"
          "muster: worker-1 ended with exit code 1, which ends the job");
    check(bad_worker, "{\"event\":\"ended\",\"fields\":{}}\n{half\n",
          "muster: the last lines of #:\n    {\"event\":\"ended\",\"fields\":{}}\n    {half\n"
          "muster: worker-1 ended with exit code 1, which ends the job");
}

static void test_many_lines(void **state)
{
    (void)state;
    check(bad_worker, "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\nten\neleven\n",
          "muster: the last lines of #:\n    2\n    3\n    4\n    5\n    6\n    7\n    8\n    9\n    ten\n    eleven\n"
          "muster: worker-1 ended with exit code 1, which ends the job");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_said_why),   cmocka_unit_test(test_it_said_something_else),
        cmocka_unit_test(test_it_was_killed), cmocka_unit_test(test_it_said_why_in_json),
        cmocka_unit_test(test_many_lines),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
