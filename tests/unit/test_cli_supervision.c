// What ends of processes mean, one rule a test.
#include "cli/supervision.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <string.h>

enum { CHIEF, PS, WORKER_0, WORKER_1, MAX_RESTARTS = 3 };

static struct mst_supervision supervision;

// Statuses as waitpid gives them.
static int exited(int code)
{
    return code << 8;
}

static int killed(int number)
{
    return number;
}

static int set_up(void **state)
{
    (void)state;
    mst_supervision_init(&supervision, MAX_RESTARTS);
    assert_int_equal(mst_supervision_add(&supervision, MST_TASK_CHIEF), CHIEF);
    assert_int_equal(mst_supervision_add(&supervision, MST_TASK_PS), PS);
    assert_int_equal(mst_supervision_add(&supervision, MST_TASK_WORKER), WORKER_0);
    assert_int_equal(mst_supervision_add(&supervision, MST_TASK_WORKER), WORKER_1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mst_supervision_fini(&supervision);
    return 0;
}

static enum mst_verdict ends(size_t task, int wait_status, uint64_t now_ms)
{
    return mst_supervision_exited(&supervision, task, wait_status, now_ms);
}

static void test_all_finish(void **state)
{
    (void)state;
    assert_int_equal(ends(WORKER_0, exited(0), 1), MST_VERDICT_GO_ON);
    assert_int_equal(ends(PS, exited(0), 1), MST_VERDICT_GO_ON);
    assert_false(mst_supervision_is_ending(&supervision));
    assert_int_equal(ends(CHIEF, exited(0), 1), MST_VERDICT_FINISHED);
    assert_true(mst_supervision_is_ending(&supervision));
    assert_int_equal(ends(WORKER_1, exited(0), 2), MST_VERDICT_GO_ON);
    assert_int_equal(mst_supervision_exit_code(&supervision), 0);
}

static void test_lost_workers_are_started_again(void **state)
{
    (void)state;
    assert_int_equal(ends(WORKER_0, killed(SIGKILL), 1), MST_VERDICT_RESTART);
    assert_int_equal(supervision.tasks[WORKER_0].state, MST_TASK_WAITING);
    assert_int_equal(ends(WORKER_1, exited(138), 1), MST_VERDICT_RESTART);
    assert_int_equal(ends(WORKER_1, exited(255), 2), MST_VERDICT_RESTART);
    assert_false(mst_supervision_is_ending(&supervision));
}

static void test_too_many_restarts_in_a_minute(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < MAX_RESTARTS; i++)
        assert_int_equal(ends(WORKER_0, killed(SIGSEGV), 1000 + i), MST_VERDICT_RESTART);
    assert_int_equal(ends(WORKER_1, killed(SIGSEGV), 1010), MST_VERDICT_RESTART); // each has its own count
    assert_int_equal(ends(WORKER_0, killed(SIGSEGV), 60999), MST_VERDICT_FAILED);
    assert_int_equal(supervision.culprit, WORKER_0);
    assert_int_equal(supervision.tasks[WORKER_0].state, MST_TASK_LOST);
    assert_int_equal(mst_supervision_exit_code(&supervision), 138);
}

static void test_restarts_of_an_hour_ago_do_not_count(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 10 * MAX_RESTARTS; i++)
        assert_int_equal(ends(WORKER_0, killed(SIGSEGV), 1000 + i * 20000), MST_VERDICT_RESTART);
}

static void test_no_restarts_allowed(void **state)
{
    (void)state;
    mst_supervision_fini(&supervision);
    mst_supervision_init(&supervision, 0);
    mst_supervision_add(&supervision, MST_TASK_WORKER);
    assert_int_equal(ends(0, killed(SIGKILL), 1), MST_VERDICT_FAILED);
    assert_int_equal(mst_supervision_exit_code(&supervision), 138);
}

static void test_permanent_codes_end_the_job(void **state)
{
    (void)state;
    static const size_t tasks[] = {CHIEF, PS, WORKER_0};
    static const int codes[] = {1, 2, 127};
    for (size_t t = 0; t < sizeof tasks / sizeof *tasks; t++)
        for (size_t c = 0; c < sizeof codes / sizeof *codes; c++) {
            tear_down(NULL);
            set_up(NULL);
            assert_int_equal(ends(tasks[t], exited(codes[c]), 1), MST_VERDICT_FAILED);
            assert_int_equal(supervision.culprit, tasks[t]);
            assert_int_equal(mst_supervision_exit_code(&supervision), codes[c]);
        }
}

static void test_an_evaluator_never_ends_the_job(void **state)
{
    (void)state;
    size_t evaluator = mst_supervision_add(&supervision, MST_TASK_EVALUATOR);
    for (uint64_t i = 0; i < MAX_RESTARTS; i++)
        assert_int_equal(ends(evaluator, i ? killed(SIGKILL) : exited(138), 1000 + i), MST_VERDICT_RESTART);
    assert_int_equal(ends(evaluator, killed(SIGKILL), 2000), MST_VERDICT_WITHOUT);
    assert_int_equal(supervision.tasks[evaluator].state, MST_TASK_LOST);
    size_t other = mst_supervision_add(&supervision, MST_TASK_EVALUATOR);
    assert_int_equal(ends(other, exited(2), 2000), MST_VERDICT_WITHOUT);
    assert_false(mst_supervision_is_ending(&supervision));
    assert_int_equal(ends(CHIEF, exited(0), 3000), MST_VERDICT_FINISHED);
    assert_int_equal(ends(evaluator, killed(SIGKILL), 4000), MST_VERDICT_GO_ON);
    assert_int_equal(mst_supervision_exit_code(&supervision), 0);
}

static void test_lost_chief_or_ps_is_started_again(void **state)
{
    (void)state;
    static const size_t tasks[] = {CHIEF, PS};
    for (size_t t = 0; t < sizeof tasks / sizeof *tasks; t++) {
        tear_down(NULL);
        set_up(NULL);
        for (uint64_t i = 0; i < MAX_RESTARTS; i++)
            assert_int_equal(ends(tasks[t], killed(SIGKILL), i), MST_VERDICT_RESTART);
        assert_int_equal(ends(tasks[t], killed(SIGKILL), MAX_RESTARTS), MST_VERDICT_FAILED);
        assert_int_equal(mst_supervision_exit_code(&supervision), 138);
    }
}

// It ends by itself only when it has told everybody that the job is over.
static void test_a_chief_that_gives_up_ends_the_job(void **state)
{
    (void)state;
    static const int codes[] = {138, 143, 255};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        tear_down(NULL);
        set_up(NULL);
        assert_int_equal(ends(PS, exited(codes[i]), 1), MST_VERDICT_RESTART);
        assert_int_equal(ends(CHIEF, exited(codes[i]), 2), MST_VERDICT_FAILED);
        assert_int_equal(mst_supervision_exit_code(&supervision), 138);
    }
}

static void test_a_chief_that_is_killed_when_all_is_told(void **state)
{
    (void)state;
    assert_int_equal(ends(PS, exited(0), 1), MST_VERDICT_GO_ON);
    assert_int_equal(ends(CHIEF, killed(SIGKILL), 2), MST_VERDICT_FINISHED);
    assert_int_equal(mst_supervision_exit_code(&supervision), 0);
}

static void test_the_first_failure_decides(void **state)
{
    (void)state;
    for (size_t i = 0; i < MAX_RESTARTS; i++)
        ends(PS, killed(SIGKILL), 1);
    assert_int_equal(ends(PS, killed(SIGKILL), 1), MST_VERDICT_FAILED);
    assert_int_equal(ends(WORKER_0, exited(1), 2), MST_VERDICT_GO_ON);
    assert_int_equal(ends(WORKER_1, killed(SIGKILL), 2), MST_VERDICT_GO_ON);
    assert_int_equal(ends(CHIEF, exited(0), 3), MST_VERDICT_GO_ON);
    assert_int_equal(supervision.culprit, PS);
    assert_int_equal(mst_supervision_exit_code(&supervision), 138);
}

static void test_signals(void **state)
{
    (void)state;
    mst_supervision_stop(&supervision, SIGINT);
    mst_supervision_stop(&supervision, SIGTERM); // the first decides
    assert_true(mst_supervision_is_ending(&supervision));
    assert_int_equal(ends(WORKER_0, exited(130), 1), MST_VERDICT_GO_ON);
    assert_int_equal(ends(WORKER_1, killed(SIGINT), 1), MST_VERDICT_GO_ON);
    assert_int_equal(ends(PS, exited(1), 1), MST_VERDICT_GO_ON);
    assert_int_equal(ends(CHIEF, exited(130), 1), MST_VERDICT_GO_ON);
    assert_int_equal(mst_supervision_exit_code(&supervision), 130);
    for (size_t i = 0; i < supervision.n_tasks; i++)
        assert_int_equal(supervision.tasks[i].state, MST_TASK_LEFT);
}

static void test_a_signal_that_finds_the_job_finished(void **state)
{
    (void)state;
    mst_supervision_stop(&supervision, SIGTERM);
    assert_int_equal(mst_supervision_exit_code(&supervision), 143);
    assert_int_equal(ends(CHIEF, exited(0), 1), MST_VERDICT_FINISHED);
    assert_int_equal(mst_supervision_exit_code(&supervision), 0);
}

static void test_deaths_after_the_finish(void **state)
{
    (void)state;
    ends(CHIEF, exited(0), 1);
    assert_int_equal(ends(WORKER_0, killed(SIGKILL), 2), MST_VERDICT_GO_ON);
    assert_int_equal(ends(PS, exited(143), 2), MST_VERDICT_GO_ON);
    assert_int_equal(mst_supervision_exit_code(&supervision), 0);
    assert_int_equal(ends(WORKER_1, exited(1), 2), MST_VERDICT_FAILED);
    assert_int_equal(mst_supervision_exit_code(&supervision), 1);
}

static void test_causes_before_consequences(void **state)
{
    (void)state;
    assert_true(mst_exit_is_cause(killed(SIGKILL), exited(138)));
    assert_true(mst_exit_is_cause(exited(1), exited(138)));
    assert_true(mst_exit_is_cause(exited(0), exited(138)));
    assert_false(mst_exit_is_cause(exited(138), exited(1)));
    assert_false(mst_exit_is_cause(exited(138), exited(138)));
    assert_false(mst_exit_is_cause(exited(1), exited(1)));
}

static void test_texts(void **state)
{
    (void)state;
    char text[96];
    mst_exit_text(killed(SIGKILL), text, sizeof text);
    assert_string_equal(text, "was killed by signal 9 (Killed)");
    mst_exit_text(exited(138), text, sizeof text);
    assert_string_equal(text, "ended with exit code 138");
    assert_string_equal(mst_task_role_name(MST_TASK_PS), "ps");
}

#define RULE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(test_all_finish),
        RULE(test_lost_workers_are_started_again),
        RULE(test_too_many_restarts_in_a_minute),
        RULE(test_restarts_of_an_hour_ago_do_not_count),
        RULE(test_no_restarts_allowed),
        RULE(test_permanent_codes_end_the_job),
        RULE(test_an_evaluator_never_ends_the_job),
        RULE(test_lost_chief_or_ps_is_started_again),
        RULE(test_a_chief_that_gives_up_ends_the_job),
        RULE(test_a_chief_that_is_killed_when_all_is_told),
        RULE(test_the_first_failure_decides),
        RULE(test_signals),
        RULE(test_a_signal_that_finds_the_job_finished),
        RULE(test_deaths_after_the_finish),
        RULE(test_causes_before_consequences),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
