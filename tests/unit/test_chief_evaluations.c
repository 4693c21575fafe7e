// Who evaluates what: seats, numbers, what is skipped, which answer counts.
#include "chief/evaluations.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { LEASE_MS = 1000, GRACE_MS = 100 };

static struct mst_evaluations e;

static int set_up(void **state)
{
    (void)state;
    mst_evaluations_init(&e, LEASE_MS, GRACE_MS);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mst_evaluations_fini(&e);
    return 0;
}

static uint64_t greet(enum mst_evaluator_seat seat, uint64_t incarnation, uint64_t now_ms)
{
    uint64_t number = 0;
    assert_int_equal(mst_evaluations_greet(&e, seat, incarnation, now_ms, &number), MST_GREET_ADMITTED);
    return number;
}

static uint64_t want(uint64_t epoch, uint64_t step)
{
    struct mst_evaluation_task task = {.epoch = epoch, .step = step, .is_epoch_end = true};
    mst_evaluations_want(&e, &task);
    return task.id;
}

static void expect_next(enum mst_evaluator_seat seat, uint64_t number, uint64_t id)
{
    struct mst_evaluation_task task = {0};
    assert_int_equal(mst_evaluations_next(&e, seat, number, 0, &task), MST_EVALUATION_DO);
    assert_int_equal(task.id, id);
}

static void expect_answer(enum mst_evaluator_seat seat, uint64_t number, enum mst_evaluation_answer answer)
{
    struct mst_evaluation_task task;
    assert_int_equal(mst_evaluations_next(&e, seat, number, 0, &task), answer);
}

static void expect_skipped(uint64_t id)
{
    struct mst_evaluation_task task = {0};
    assert_true(mst_evaluations_take_skipped(&e, &task));
    assert_int_equal(task.id, id);
}

static void expect_none_skipped(void)
{
    struct mst_evaluation_task task;
    assert_false(mst_evaluations_take_skipped(&e, &task));
}

static void test_one_after_the_other(void **state)
{
    (void)state;
    uint64_t number = greet(MST_SEAT_ROLE, 77, 0);
    assert_int_equal(number, 1);
    expect_answer(MST_SEAT_ROLE, number, MST_EVALUATION_WAIT);
    uint64_t first = want(0, 100);
    expect_next(MST_SEAT_ROLE, number, first);
    expect_next(MST_SEAT_ROLE, number, first); // a question that was lost gets the same answer
    struct mst_evaluation_task done;
    assert_false(mst_evaluations_done(&e, MST_SEAT_ROLE, number, first + 1, &done));
    assert_true(mst_evaluations_done(&e, MST_SEAT_ROLE, number, first, &done));
    assert_true(done.id == first && done.epoch == 0 && done.step == 100 && done.is_epoch_end && !done.is_final);
    assert_false(mst_evaluations_done(&e, MST_SEAT_ROLE, number, first, &done)); // told twice, counted once
    expect_next(MST_SEAT_ROLE, number, want(1, 200));
    assert_int_equal(e.n_done, 1);
}

static void test_the_newest_waits_and_older_ones_are_skipped(void **state)
{
    (void)state;
    uint64_t number = greet(MST_SEAT_ROLE, 77, 0);
    uint64_t running = want(0, 100);
    expect_next(MST_SEAT_ROLE, number, running);
    uint64_t second = want(1, 200);
    uint64_t third = want(2, 300);
    uint64_t fourth = want(3, 400);
    expect_skipped(second);
    expect_skipped(third);
    expect_none_skipped();
    struct mst_evaluation_task done;
    assert_true(mst_evaluations_done(&e, MST_SEAT_ROLE, number, running, &done));
    expect_next(MST_SEAT_ROLE, number, fourth);
    assert_int_equal(e.n_skipped, 2);
    mst_evaluations_drop_waiting(&e); // none waits
    expect_none_skipped();
    uint64_t fifth = want(4, 500);
    mst_evaluations_drop_waiting(&e);
    expect_skipped(fifth);
}

static void test_two_wants_for_one_step_are_one(void **state)
{
    (void)state;
    want(3, 400);
    struct mst_evaluation_task final = {.epoch = 3, .step = 400, .is_final = true};
    mst_evaluations_want(&e, &final);
    expect_none_skipped();
    assert_true(e.waiting.is_final && e.waiting.is_epoch_end && e.waiting.id == final.id);
    want(4, 400); // of another epoch that ended with the same step: not the same
    expect_skipped(final.id);
}

static void test_another_process_is_busy_until_the_first_is_silent(void **state)
{
    (void)state;
    uint64_t first = greet(MST_SEAT_ROLE, 77, 0);
    uint64_t number = 0;
    assert_int_equal(greet(MST_SEAT_ROLE, 77, 10), first); // another connection of the same
    assert_int_equal(mst_evaluations_greet(&e, MST_SEAT_ROLE, 78, 20, &number), MST_GREET_BUSY);
    uint64_t id = want(0, 100);
    expect_next(MST_SEAT_ROLE, first, id); // heard at 0
    assert_int_equal(mst_evaluations_greet(&e, MST_SEAT_ROLE, 78, LEASE_MS - 1, &number), MST_GREET_BUSY);
    uint64_t second = greet(MST_SEAT_ROLE, 78, LEASE_MS);
    assert_int_equal(second, first + 1);
    expect_answer(MST_SEAT_ROLE, first, MST_EVALUATION_OUT);
    expect_next(MST_SEAT_ROLE, second, id); // what the first had begun
    struct mst_evaluation_task done;
    assert_false(mst_evaluations_done(&e, MST_SEAT_ROLE, first, id, &done)); // it woke up
    assert_true(mst_evaluations_done(&e, MST_SEAT_ROLE, second, id, &done));
}

static void test_a_lost_connection_and_a_farewell(void **state)
{
    (void)state;
    uint64_t number = greet(MST_SEAT_ROLE, 77, 0);
    mst_evaluations_lost(&e, MST_SEAT_ROLE, number, 50);
    mst_evaluations_tick(&e, 50 + GRACE_MS - 1);
    assert_true(e.seats[MST_SEAT_ROLE].is_here);
    assert_true(mst_evaluations_heard(&e, MST_SEAT_ROLE, number, 60)); // it was connected again
    mst_evaluations_tick(&e, 50 + GRACE_MS);
    assert_true(e.seats[MST_SEAT_ROLE].is_here);
    mst_evaluations_lost(&e, MST_SEAT_ROLE, number, 200);
    mst_evaluations_tick(&e, 200 + GRACE_MS);
    assert_false(e.seats[MST_SEAT_ROLE].is_here);
    assert_true(e.seats[MST_SEAT_ROLE].was_here);
    assert_false(mst_evaluations_heard(&e, MST_SEAT_ROLE, number, 300));
    number = greet(MST_SEAT_ROLE, 79, 300);
    mst_evaluations_leave(&e, MST_SEAT_ROLE, number - 1); // of an older one: nothing
    assert_true(e.seats[MST_SEAT_ROLE].is_here);
    mst_evaluations_leave(&e, MST_SEAT_ROLE, number);
    assert_false(e.seats[MST_SEAT_ROLE].is_here);
}

static void test_what_a_dead_one_had_begun_is_skipped_for_a_newer_one(void **state)
{
    (void)state;
    uint64_t number = greet(MST_SEAT_ROLE, 77, 0);
    uint64_t old = want(0, 100);
    expect_next(MST_SEAT_ROLE, number, old);
    uint64_t newer = want(1, 200);
    mst_evaluations_tick(&e, LEASE_MS);
    expect_skipped(old);
    expect_next(MST_SEAT_ROLE, greet(MST_SEAT_ROLE, 78, LEASE_MS), newer);
}

static void test_the_chiefs_own_thread_steps_back(void **state)
{
    (void)state;
    uint64_t own = greet(MST_SEAT_OWN, 1, 0);
    uint64_t first = want(0, 100);
    expect_next(MST_SEAT_OWN, own, first);
    uint64_t role = greet(MST_SEAT_ROLE, 77, 0);
    uint64_t second = want(1, 200);
    expect_answer(MST_SEAT_ROLE, role, MST_EVALUATION_WAIT); // one at a time
    struct mst_evaluation_task done;
    assert_false(mst_evaluations_done(&e, MST_SEAT_ROLE, role, first, &done)); // not its own
    assert_true(mst_evaluations_done(&e, MST_SEAT_OWN, own, first, &done));
    expect_answer(MST_SEAT_OWN, own, MST_EVALUATION_WAIT);
    expect_next(MST_SEAT_ROLE, role, second);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_one_after_the_other),
        CASE(test_the_newest_waits_and_older_ones_are_skipped),
        CASE(test_two_wants_for_one_step_are_one),
        CASE(test_another_process_is_busy_until_the_first_is_silent),
        CASE(test_a_lost_connection_and_a_farewell),
        CASE(test_what_a_dead_one_had_begun_is_skipped_for_a_newer_one),
        CASE(test_the_chiefs_own_thread_steps_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
