// Greetings, silence and fences, one rule a test.
#include "chief/membership.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { N_PS = 2, LEASE_MS = 3000, GRACE_MS = 500 };

static struct mst_membership members;

static int setup(void **state)
{
    (void)state;
    mst_membership_init(&members, N_PS, LEASE_MS, GRACE_MS);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mst_membership_fini(&members);
    return 0;
}

static void admitted(uint64_t incarnation, uint64_t now_ms, uint64_t number)
{
    uint64_t got;
    assert_int_equal(mst_membership_greet(&members, 0, incarnation, now_ms, &got), MST_GREET_ADMITTED);
    assert_int_equal(got, number);
}

static void test_the_same_process_keeps_its_number(void **state)
{
    (void)state;
    admitted(77, 0, 1);
    admitted(77, 10, 1);
    assert_int_equal(mst_membership_n_live(&members), 1);
}

static void test_a_second_process_waits_for_the_first_to_die(void **state)
{
    (void)state;
    uint64_t number;
    struct mst_lease_mark mark = {.lease = 5, .offset = 2};
    const struct mst_lease_mark *marks;
    size_t n_marks;
    admitted(77, 0, 1);
    assert_int_equal(mst_membership_greet(&members, 0, 88, 10, &number), MST_GREET_BUSY);
    assert_true(mst_membership_heard(&members, 0, 1, 100));
    assert_int_equal(mst_membership_tick(&members, 100 + LEASE_MS - 1), 0);
    assert_int_equal(mst_membership_refused(&members, 0), 0); // number 1 acts
    assert_int_equal(mst_membership_tick(&members, 100 + LEASE_MS), 1);
    assert_int_equal(mst_membership_greet(&members, 0, 88, 3200, &number), MST_GREET_BUSY); // being fenced
    assert_int_equal(mst_membership_refused(&members, 0), 1);
    assert_int_equal(mst_membership_refused(&members, 9), 0);
    assert_false(mst_membership_heard(&members, 0, 1, 3200));
    assert_false(mst_membership_fence_answered(&members, 0, 0, 1, &mark, 1));
    assert_false(mst_membership_fence_answered(&members, 0, 0, 1, &mark, 1)); // the same PS again
    assert_true(mst_membership_fence_answered(&members, 1, 0, 1, &mark, 1));
    assert_int_equal(mst_membership_take_fenced(&members, 0, &marks, &n_marks), 1);
    assert_int_equal(n_marks, 2);
    assert_int_equal(marks[1].offset, 2);
    admitted(88, 3300, 2);
}

static void test_fences_are_repeated_until_each_ps_answered(void **state)
{
    (void)state;
    struct mst_fence fence;
    struct mst_lease_mark mark = {0};
    admitted(77, 0, 1);
    mst_membership_tick(&members, LEASE_MS);
    size_t cursor = 0;
    assert_true(mst_membership_next_fence(&members, &cursor, &fence));
    assert_int_equal(fence.ps, 0);
    assert_true(mst_membership_next_fence(&members, &cursor, &fence));
    assert_int_equal(fence.ps, 1);
    assert_false(mst_membership_next_fence(&members, &cursor, &fence));
    mst_membership_fence_answered(&members, 0, 0, 1, &mark, 1);
    cursor = 0;
    assert_true(mst_membership_next_fence(&members, &cursor, &fence));
    assert_int_equal(fence.ps, 1);
}

static void test_a_closed_connection_leaves_a_short_grace(void **state)
{
    (void)state;
    admitted(77, 0, 1);
    mst_membership_lost(&members, 0, 1, 100);
    assert_int_equal(mst_membership_tick(&members, 100 + GRACE_MS - 1), 0);
    assert_true(mst_membership_heard(&members, 0, 1, 599)); // it was only the connection
    assert_int_equal(mst_membership_tick(&members, 600), 0);
    mst_membership_lost(&members, 0, 1, 700);
    assert_int_equal(mst_membership_tick(&members, 700 + GRACE_MS), 1);
}

static void test_messages_of_unknown_workers_are_not_heard(void **state)
{
    (void)state;
    assert_false(mst_membership_heard(&members, 9, 1, 0));
    mst_membership_lost(&members, 9, 1, 0);
    assert_int_equal(mst_membership_tick(&members, 1u << 30), 0);
}

static void test_one_that_leaves_is_fenced_at_once(void **state)
{
    (void)state;
    admitted(77, 0, 1);
    mst_membership_leave(&members, 0, 2, "it left", 10); // of another number: nothing
    mst_membership_leave(&members, 7, 1, "it left", 10);
    assert_int_equal(mst_membership_tick(&members, 10), 0);
    mst_membership_leave(&members, 0, 1, "it left", 10);
    assert_int_equal(mst_membership_tick(&members, 10), 1);
    assert_false(mst_membership_heard(&members, 0, 1, 11)); // its last heartbeat
}

static void test_a_job_that_is_gone_on_with(void **state)
{
    (void)state;
    uint64_t number;
    admitted(77, 0, 1);
    mst_membership_begin_again(&members, 3, 1000);
    assert_int_equal(members.n_members, 3);
    assert_int_equal(mst_membership_n_live(&members), 0);
    assert_int_equal(mst_membership_n_ever(&members), 0);
    assert_false(mst_membership_heard(&members, 0, 999, 1));
    assert_false(mst_membership_is_busy(&members, 0, 88));
    admitted(77, 10, 1000); // the same process has to begin anew as well
    assert_int_equal(mst_membership_greet(&members, 2, 99, 10, &number), MST_GREET_ADMITTED);
    assert_int_equal(number, 1000); // an index that was not known
    assert_int_equal(mst_membership_n_ever(&members), 2);
    mst_membership_begin_again(&members, 0, 500); // by a clock that was set back
    admitted(78, 20, 1001);
    assert_int_equal(members.members[1].state, MST_MEMBER_AWAITED);
    assert_int_equal(members.members[1].number, 999);
}

static void test_a_number_of_a_forgotten_life_is_not_given_again(void **state)
{
    (void)state;
    mst_membership_had(&members, 0, 4);
    assert_int_equal(members.members[0].state, MST_MEMBER_AWAITED);
    assert_int_equal(mst_membership_n_ever(&members), 0);
    mst_membership_had(&members, 0, 2);
    mst_membership_had(&members, 0, UINT64_MAX); // nobody's
    admitted(77, 0, 5);
    mst_membership_had(&members, 0, 9); // it lives, under the number that it has
    admitted(77, 10, 5);
    assert_true(mst_membership_is_acting(&members, 0, 5));
}

static void test_our_own_sleep_is_no_silence(void **state)
{
    (void)state;
    admitted(77, 0, 1);
    assert_true(mst_membership_heard(&members, 0, 1, 1000));
    mst_membership_slept(&members, 60000, 61100); // from 1100 on
    assert_int_equal(mst_membership_tick(&members, 61100), 0);
    assert_int_equal(mst_membership_tick(&members, 61000 + LEASE_MS - 1), 0); // what was left of its lease
    assert_int_equal(mst_membership_tick(&members, 61000 + LEASE_MS), 1);
}

static void test_a_sleep_gives_no_more_than_a_lease(void **state)
{
    (void)state;
    admitted(77, 0, 1);
    assert_true(mst_membership_heard(&members, 0, 1, 1400)); // after the tick that the sleep is counted from
    mst_membership_slept(&members, 60000, 61100);
    assert_int_equal(mst_membership_tick(&members, 61100 + LEASE_MS - 1), 0);
    assert_int_equal(mst_membership_tick(&members, 61100 + LEASE_MS), 1);
}

static void test_a_chief_that_is_always_late_sees_the_dead(void **state)
{
    (void)state;
    admitted(77, 0, 1);
    uint64_t now_ms = 0;
    size_t n_begun = 0;
    for (; n_begun == 0 && now_ms < 100 * LEASE_MS; now_ms += 1500) {
        mst_membership_slept(&members, 1500, now_ms);
        n_begun = mst_membership_tick(&members, now_ms);
    }
    assert_int_equal(n_begun, 1);
    assert_in_range(now_ms, LEASE_MS + 1500, LEASE_MS + 3 * 1500);
}

static void test_who_is_heard_is_spared_again(void **state)
{
    (void)state;
    admitted(77, 0, 1);
    mst_membership_slept(&members, 10000, 10100);
    assert_true(mst_membership_heard(&members, 0, 1, 10200));
    mst_membership_slept(&members, 10000, 20300);
    assert_int_equal(mst_membership_tick(&members, 20300), 0);
    mst_membership_slept(&members, 10000, 30300); // and was not heard in between
    assert_int_equal(mst_membership_tick(&members, 30300), 1);
}

static void test_what_is_heard_on_waking_counts_from_then(void **state)
{
    (void)state;
    admitted(77, 0, 1);
    mst_membership_leave(&members, 0, 1, "it left", 10100); // read before the late tick
    mst_membership_slept(&members, 10000, 10101);
    assert_int_equal(mst_membership_tick(&members, 10101), 1);
}

static void expect_why(uint64_t number, const char *why)
{
    assert_string_equal(mst_membership_why_out(&members, 0, number), why);
}

static void test_why_a_number_is_out(void **state)
{
    (void)state;
    expect_why(1, "this chief does not know that number");
    admitted(77, 0, 1);
    assert_int_equal(mst_membership_tick(&members, 1u << 20), 1);
    expect_why(1, "nothing was heard of it for cluster.lease_ms");
    mst_membership_restore(&members, 0, MST_MEMBER_LIVE, 77, 2, 5000);
    mst_membership_lost(&members, 0, 2, 10);
    assert_int_equal(mst_membership_tick(&members, 4999), 1);
    expect_why(2, "its connection closed, and it made no other one");
    expect_why(1, "a later number of this worker has been given");
    mst_membership_restore(&members, 0, MST_MEMBER_LIVE, 77, 3, 5000);
    mst_membership_leave(&members, 0, 3, "it left", 10);
    assert_int_equal(mst_membership_tick(&members, 10), 1);
    expect_why(3, "it left");
    mst_membership_restore(&members, 0, MST_MEMBER_FENCING, 77, 4, 0);
    expect_why(4, "an earlier chief had fenced it");
    mst_membership_restore(&members, 0, MST_MEMBER_ABSENT, 0, 5, 0);
    expect_why(5, "an earlier chief had fenced it");
    mst_membership_begin_again(&members, 1, 9);
    expect_why(8, "the job went on from a checkpoint, and all numbers from before are out");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_same_process_keeps_its_number, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_second_process_waits_for_the_first_to_die, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fences_are_repeated_until_each_ps_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_closed_connection_leaves_a_short_grace, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_that_leaves_is_fenced_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_why_a_number_is_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_messages_of_unknown_workers_are_not_heard, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_job_that_is_gone_on_with, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_number_of_a_forgotten_life_is_not_given_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_our_own_sleep_is_no_silence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_sleep_gives_no_more_than_a_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_chief_that_is_always_late_sees_the_dead, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_is_heard_is_spared_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_heard_on_waking_counts_from_then, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
