// Worker numbers that no chief gives, from whoever says them: refused by name, counted, and nothing else is changed.
#include "base/metrics.h"
#include "chief/chief_private.h"
#include "chief_fixture.h"
#include "wire/worker_numbers.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const uint64_t impossible[] = {MST_NUMBER_MAX + 1, UINT64_MAX / 2, MST_NO_NUMBER};
enum { N_IMPOSSIBLE = sizeof impossible / sizeof impossible[0] };

static int64_t n_wrong(void)
{
    return mst_metric_read(mst_metric_counter("muster_wrong_numbers_total", "", NULL));
}

static int set_up(void **state)
{
    struct chief_fixture *f = *state = chief_fixture_new(1, 0);
    chief_fixture_run(f);
    return 0;
}

static void expect_refused(struct chief_fixture *f, const struct mst_msg_greeting *greeting, mst_status status,
                           const char *says)
{
    struct stranger worker;
    int64_t n = n_wrong();
    chief_greet(f, &worker, greeting);
    stranger_expect_error(&worker, 1, status, says);
    stranger_expect_end(&worker);
    stranger_close(&worker);
    assert_int_equal(n_wrong(), n + 1);
}

static void test_a_greeting_is_refused(void **state)
{
    struct chief_fixture *f = *state;
    struct mst_msg_greeting greeting = {.role = MST_PEER_WORKER, .index = MST_WORKERS_MAX, .incarnation = 50};
    expect_refused(f, &greeting, MST_OUT_OF_RANGE, "an index below 65536");
    greeting.index = 1;
    for (size_t i = 0; i < N_IMPOSSIBLE; i++) {
        greeting.number = impossible[i];
        greeting.held = 0;
        expect_refused(f, &greeting, MST_FAILED_PRECONDITION, "worker-1 goes by the number");
        greeting.number = 0;
        greeting.held = impossible[i];
        expect_refused(f, &greeting, MST_FAILED_PRECONDITION, "start that worker again");
    }
    assert_int_equal(mst_membership_n_numbers(&f->chief->coordinator.membership), 0);
    struct stranger worker;
    greeting.held = 4; // of a life that nobody remembers
    chief_greet(f, &worker, &greeting);
    assert_int_equal(chief_admitted(&worker), 5);
    stranger_close(&worker);
}

static void ask_lease(const struct chief_fixture *f, struct stranger *worker, uint64_t call, uint64_t number)
{
    double values[MST_SUMS_MAX] = {0};
    const struct mst_training_sums sums = {.n_values = mst_compile_n_sums(&f->compile), .values = values};
    const struct mst_msg_lease lease = {.number = number, .seq = 1, .sums = sums};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_lease_encode(&lease, &meta), MST_OK);
    chief_ask(worker, MST_METHOD_LEASE, call, &meta);
}

static void beat(struct stranger *worker, uint64_t call, uint64_t number)
{
    const struct mst_msg_heartbeat heartbeat = {.role = MST_PEER_WORKER, .number = number};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_heartbeat_encode(&heartbeat, &meta), MST_OK);
    chief_ask(worker, MST_METHOD_HEARTBEAT, call, &meta);
}

static void expect_answer(struct stranger *worker, uint64_t call)
{
    const struct mst_message *message = stranger_read(worker);
    assert_non_null(message);
    assert_int_equal(message->call, call);
    assert_false(message->flags & MST_FRAME_ERROR);
}

static void test_questions_are_refused_and_the_worker_goes_on(void **state)
{
    struct chief_fixture *f = *state;
    struct stranger worker;
    const struct mst_msg_greeting greeting = {.role = MST_PEER_WORKER, .incarnation = 50};
    chief_greet(f, &worker, &greeting);
    assert_int_equal(chief_admitted(&worker), 1);
    for (size_t i = 0; i < N_IMPOSSIBLE; i++) {
        int64_t n = n_wrong();
        ask_lease(f, &worker, 10 + i, impossible[i]);
        stranger_expect_error(&worker, 10 + i, MST_FAILED_PRECONDITION, "worker-0 goes by the number");
        beat(&worker, 20 + i, impossible[i]);
        stranger_expect_error(&worker, 20 + i, MST_FAILED_PRECONDITION, "worker-0 goes by the number");
        assert_int_equal(n_wrong(), n + 2);
    }
    assert_int_equal(f->chief->coordinator.leases.n_granted, 0);
    beat(&worker, 30, 1);
    expect_answer(&worker, 30);
    ask_lease(f, &worker, 31, 1);
    expect_answer(&worker, 31);
    assert_true(f->chief->coordinator.leases.n_granted > 0);
    stranger_close(&worker);
}

static void ask_evaluation(struct stranger *evaluator, uint64_t call, uint64_t number)
{
    const struct mst_msg_evaluate evaluate = {.index = 3, .number = number};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_evaluate_encode(&evaluate, &meta), MST_OK);
    chief_ask(evaluator, MST_METHOD_EVALUATE, call, &meta);
}

static void test_an_evaluators_questions_are_refused_and_it_goes_on(void **state)
{
    struct chief_fixture *f = *state;
    struct stranger evaluator;
    const struct mst_msg_greeting greeting = {.role = MST_PEER_EVALUATOR, .index = 3, .incarnation = 50};
    chief_greet(f, &evaluator, &greeting);
    assert_int_equal(chief_admitted(&evaluator), 1);
    for (size_t i = 0; i < N_IMPOSSIBLE; i++) {
        int64_t n = n_wrong();
        ask_evaluation(&evaluator, 10 + i, impossible[i]);
        stranger_expect_error(&evaluator, 10 + i, MST_FAILED_PRECONDITION, "evaluator-3 goes by the number");
        assert_int_equal(n_wrong(), n + 1);
    }
    ask_evaluation(&evaluator, 20, 0);
    stranger_expect_error(&evaluator, 20, MST_FAILED_PRECONDITION, "start that evaluator again");
    assert_true(f->chief->evaluations.seats[MST_SEAT_ROLE].is_here);
    stranger_close(&evaluator);
}

static bool is_fenced(void *arg)
{
    const struct chief_fixture *f = arg;
    return f->chief->coordinator.membership.members[0].state == MST_MEMBER_ABSENT;
}

// The answer to a fence is no answer then, and the fence is sent again.
static void test_a_servers_rows_are_refused(void **state)
{
    struct chief_fixture *f = *state;
    struct stranger worker;
    const struct mst_msg_greeting greeting = {.role = MST_PEER_WORKER, .incarnation = 50};
    chief_greet(f, &worker, &greeting);
    assert_int_equal(chief_admitted(&worker), 1);
    int64_t n = n_wrong();
    f->ps[0].n_odd_fences = 1;
    const struct mst_msg_finish leaves = {.status = MST_OK};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_finish_encode(&leaves, &meta), MST_OK);
    chief_ask(&worker, MST_METHOD_FINISH, 2, &meta);
    expect_answer(&worker, 2);
    run_until(f->loop, is_fenced, f);
    assert_int_equal(f->ps[0].n_fences, 2);
    assert_int_equal(n_wrong(), n + 1);
    stranger_close(&worker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_greeting_is_refused, set_up, chief_fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_questions_are_refused_and_the_worker_goes_on, set_up,
                                        chief_fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_an_evaluators_questions_are_refused_and_it_goes_on, set_up,
                                        chief_fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_a_servers_rows_are_refused, set_up, chief_fixture_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
