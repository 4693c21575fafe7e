// What a worker of synchronous rounds may do next, one rule a test.
#include "worker/round_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { N_PUSHED = 2, N_BUCKETS = 3 }; // the last one is frozen

static struct mst_round_session session;

static int setup(void **state)
{
    (void)state;
    mst_round_session_init(&session, N_BUCKETS, N_PUSHED);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mst_round_session_fini(&session);
    return 0;
}

static struct mst_msg_turn unit_after(uint64_t round)
{
    return (struct mst_msg_turn){.round = round, .epoch = 2, .unit = 10 + round, .has_unit = true};
}

static struct mst_msg_turn idle_after(uint64_t round)
{
    return (struct mst_msg_turn){.round = round, .epoch = 2};
}

// True if it was the last one outstanding.
static bool answer(uint64_t number, uint64_t step, size_t bucket, struct mst_msg_turn turn)
{
    struct mst_round_session_answer told = {number, step, bucket, turn};
    return mst_round_session_answered(&session, &told);
}

static void expect_pull(size_t bucket, uint64_t round)
{
    struct mst_round_session_pull pull;
    assert_true(mst_round_session_next_pull(&session, &pull));
    assert_int_equal(pull.number, session.number);
    assert_int_equal(pull.bucket, bucket);
    assert_int_equal(pull.round, round);
}

static void expect_no_pull(void)
{
    struct mst_round_session_pull pull;
    assert_false(mst_round_session_next_pull(&session, &pull));
}

static void expect_no_unit(void)
{
    struct mst_round_session_unit unit;
    assert_false(mst_round_session_next_unit(&session, &unit));
}

static void admit(uint64_t number)
{
    mst_round_session_admitted(&session, number);
    for (size_t b = 0; b < N_BUCKETS; b++)
        expect_pull(b, 0);
    expect_no_pull();
}

// Admitted, and all buckets at that round with a unit for the next.
static void start_at(uint64_t number, uint64_t round)
{
    admit(number);
    assert_false(answer(number, 0, 2, unit_after(0)));
    assert_false(answer(number, 0, 0, unit_after(round)));
    assert_true(answer(number, 0, 1, unit_after(round)));
    expect_no_pull();
}

static void test_nothing_before_admission_and_pull(void **state)
{
    (void)state;
    expect_no_pull();
    expect_no_unit();
    assert_false(answer(0, 0, 0, unit_after(3)));
    admit(1);
    expect_no_unit();
    assert_false(answer(1, 0, 0, unit_after(3)));
    assert_false(answer(1, 0, 0, unit_after(3))); // twice
    assert_false(answer(1, 0, 1, unit_after(3)));
    expect_no_unit();
    assert_true(answer(1, 0, 2, unit_after(0))); // frozen: its round does not matter
    struct mst_round_session_unit unit;
    assert_true(mst_round_session_next_unit(&session, &unit));
    assert_int_equal(unit.round, 4);
    assert_int_equal(unit.epoch, 2);
    assert_int_equal(unit.unit, 13);
}

static void test_push_is_the_round(void **state)
{
    (void)state;
    start_at(1, 0);
    struct mst_session_push push;
    mst_round_session_push_all(&session, &push);
    assert_int_equal(push.number, 1);
    assert_int_equal(push.step, 1);
    assert_int_equal(push.lease, 3);   // epoch + 1
    assert_int_equal(push.offset, 11); // unit + 1
    assert_true(mst_round_session_is_pushing(&session));
    assert_int_equal(mst_round_session_waits_for(&session), 1);
    expect_no_unit();
    expect_no_pull();
    assert_false(answer(1, 1, 2, unit_after(1))); // a frozen bucket is not pushed
    assert_false(answer(1, 0, 0, unit_after(1))); // a pull is not under way
    assert_false(answer(1, 1, 0, unit_after(0))); // an answer before the round
    assert_false(answer(1, 1, 0, unit_after(1)));
    assert_true(answer(1, 1, 1, unit_after(1)));
    assert_false(mst_round_session_is_pushing(&session));
    assert_int_equal(mst_round_session_waits_for(&session), 0);
    struct mst_round_session_unit unit;
    assert_true(mst_round_session_next_unit(&session, &unit));
    assert_int_equal(unit.round, 2);
}

static void test_older_buckets_are_pulled_again(void **state)
{
    (void)state;
    admit(1);
    assert_false(answer(1, 0, 0, unit_after(4)));
    assert_false(answer(1, 0, 2, unit_after(9)));
    assert_true(answer(1, 0, 1, unit_after(5)));
    expect_no_unit();
    expect_pull(0, 5);
    expect_no_pull();
    assert_int_equal(mst_round_session_waits_for(&session), 5);
    assert_false(answer(1, 0, 0, unit_after(4))); // an old answer
    assert_true(answer(1, 0, 0, unit_after(6)));  // meanwhile the next one is applied there
    expect_pull(1, 6);
    assert_true(answer(1, 0, 1, unit_after(6)));
    struct mst_round_session_unit unit;
    assert_true(mst_round_session_next_unit(&session, &unit));
    assert_int_equal(unit.round, 7);
    assert_int_equal(unit.unit, 16);
}

static void test_late_push_goes_on_at_the_newest_round(void **state)
{
    (void)state;
    start_at(1, 0);
    struct mst_session_push push;
    mst_round_session_push_all(&session, &push);
    assert_false(answer(1, 1, 0, unit_after(3)));
    assert_true(answer(1, 1, 1, unit_after(2)));
    expect_no_unit();
    expect_pull(1, 3);
    expect_no_pull();
    assert_true(answer(1, 0, 1, unit_after(3)));
    mst_round_session_push_all(&session, &push);
    assert_int_equal(push.step, 4);
}

static void test_without_a_unit_it_waits_for_the_round(void **state)
{
    (void)state;
    admit(1);
    assert_false(answer(1, 0, 0, idle_after(0)));
    assert_false(answer(1, 0, 2, idle_after(0)));
    assert_true(answer(1, 0, 1, idle_after(0)));
    expect_no_unit();
    expect_pull(0, 1);
    expect_pull(1, 1);
    expect_no_pull();
    assert_int_equal(mst_round_session_waits_for(&session), 1);
    assert_false(mst_round_session_is_pushing(&session));
    assert_false(answer(1, 0, 0, unit_after(1)));
    assert_true(answer(1, 0, 1, unit_after(1)));
    struct mst_round_session_unit unit;
    assert_true(mst_round_session_next_unit(&session, &unit));
    assert_int_equal(unit.round, 2);
}

static void test_over(void **state)
{
    (void)state;
    start_at(1, 6);
    struct mst_session_push push;
    mst_round_session_push_all(&session, &push);
    struct mst_msg_turn over = {.round = 7, .epoch = 3, .is_over = true};
    assert_false(answer(1, 7, 0, over));
    assert_false(mst_round_session_is_over(&session));
    assert_true(answer(1, 7, 1, over));
    assert_true(mst_round_session_is_over(&session));
    expect_no_unit();
    expect_no_pull();
}

static void test_fenced_and_admitted_again(void **state)
{
    (void)state;
    start_at(1, 0);
    struct mst_session_push push;
    mst_round_session_push_all(&session, &push);
    mst_round_session_fenced(&session);
    assert_false(mst_round_session_is_pushing(&session));
    assert_false(answer(1, 1, 0, unit_after(1)));
    expect_no_pull();
    expect_no_unit();
    admit(2);
    mst_round_session_admitted(&session, 2); // said again
    mst_round_session_admitted(&session, 1); // an old word
    expect_no_pull();
    assert_false(answer(1, 1, 0, unit_after(1)));
    assert_false(answer(2, 1, 0, unit_after(1)));
    assert_false(answer(2, 0, 0, unit_after(1)));
    assert_false(answer(2, 0, 1, unit_after(1)));
    assert_true(answer(2, 0, 2, unit_after(0)));
    mst_round_session_push_all(&session, &push);
    assert_int_equal(push.number, 2);
    assert_int_equal(push.step, 2);
}

static void test_over_from_the_start(void **state)
{
    (void)state;
    admit(1);
    struct mst_msg_turn over = {.is_over = true};
    assert_false(answer(1, 0, 0, over));
    assert_false(answer(1, 0, 1, over));
    assert_true(answer(1, 0, 2, over));
    assert_true(mst_round_session_is_over(&session));
    expect_no_pull();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_before_admission_and_pull, setup, teardown),
        cmocka_unit_test_setup_teardown(test_push_is_the_round, setup, teardown),
        cmocka_unit_test_setup_teardown(test_older_buckets_are_pulled_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_late_push_goes_on_at_the_newest_round, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_a_unit_it_waits_for_the_round, setup, teardown),
        cmocka_unit_test_setup_teardown(test_over, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fenced_and_admitted_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_over_from_the_start, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
