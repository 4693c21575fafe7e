// What is lost with a server that dies, one rule a test.
#include "chief/setback.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct mst_setback setback;

static int setup(void **state)
{
    (void)state;
    setback = (struct mst_setback){0};
    return 0;
}

static uint64_t come_back(uint64_t checkpoint_step, uint64_t n_steps, uint64_t n_taken)
{
    mst_setback_emptied(&setback, n_steps, 3);
    mst_setback_restoring(&setback, checkpoint_step);
    return mst_setback_restored(&setback, n_taken);
}

static uint64_t settle(uint64_t n_done, uint64_t n_torn, uint64_t n_updates)
{
    const struct mst_setback_cut cut = {n_done, n_torn, n_updates};
    mst_setback_seen(&setback, &cut);
    return mst_setback_settle(&setback);
}

static void test_what_came_after_the_checkpoint_is_lost(void **state)
{
    (void)state;
    assert_int_equal(come_back(100, 130, 0), 30);
}

static void test_a_round_that_is_taken_over_is_lost_too(void **state)
{
    (void)state;
    assert_int_equal(come_back(100, 130, 131), 31);
}

static void test_what_was_lost_before_is_not_lost_again(void **state)
{
    (void)state;
    assert_int_equal(come_back(100, 130, 0), 30);
    assert_int_equal(come_back(100, 137, 0), 7);
    assert_int_equal(come_back(200, 205, 0), 5);
}

static void test_one_that_dies_again_before_it_serves(void **state)
{
    (void)state;
    mst_setback_emptied(&setback, 130, 3);
    mst_setback_restoring(&setback, 100);
    assert_int_equal(come_back(120, 130, 0), 10);
}

static void test_what_it_was_first_told_counts(void **state)
{
    (void)state;
    mst_setback_emptied(&setback, 130, 3);
    mst_setback_restoring(&setback, 100);
    mst_setback_restoring(&setback, 120); // the answer was lost: it serves since, and trains
    assert_int_equal(mst_setback_restored(&setback, 0), 30);
}

// 4 steps of those that were done had not been reported; since then 20 were done by all.
static void test_a_cut_tells_what_nobody_had_reported(void **state)
{
    (void)state;
    assert_int_equal(come_back(100, 130, 0), 30);
    assert_int_equal(settle(154, 3, 150), 4);
    assert_int_equal(mst_setback_n_lost(&setback), 34);
    assert_int_equal(settle(180, 3, 170), 0); // it is counted
    assert_int_equal(come_back(100, 160, 0), 26);
    assert_int_equal(mst_setback_n_lost(&setback), 26);
}

static void test_what_had_not_been_reported_is_in_the_checkpoint(void **state)
{
    (void)state;
    assert_int_equal(come_back(100, 90, 0), 0);
    assert_int_equal(settle(110, 3, 100), 0);
    assert_int_equal(mst_setback_n_lost(&setback), 0);
    assert_int_equal(come_back(120, 90, 0), 0);
    assert_int_equal(settle(135, 3, 100), 5);
    assert_int_equal(mst_setback_n_lost(&setback), 5);
}

static void test_one_that_dies_before_a_cut_loses_it_all_together(void **state)
{
    (void)state;
    assert_int_equal(come_back(100, 130, 0), 30);
    assert_int_equal(come_back(100, 140, 0), 10); // 4 of them are those that nobody had reported
    assert_int_equal(settle(162, 3, 160), 2);
    assert_int_equal(mst_setback_n_lost(&setback), 12);
}

// A cut that was too early for all of it, but is what it begins with when it dies again.
static void test_what_a_checkpoint_lacks_is_counted(void **state)
{
    (void)state;
    assert_int_equal(come_back(100, 130, 0), 30);
    mst_setback_seen(&setback, &(struct mst_setback_cut){154, 3, 150});
    assert_int_equal(mst_setback_committed(&setback, 153), 0); // another one
    assert_int_equal(mst_setback_committed(&setback, 154), 4);
    assert_int_equal(mst_setback_committed(&setback, 154), 0);
    assert_int_equal(come_back(154, 160, 0), 6);
    assert_int_equal(settle(171, 3, 170), 1);
}

static void test_what_is_torn_since_is_not_lost(void **state)
{
    (void)state;
    assert_int_equal(come_back(100, 130, 0), 30);
    assert_int_equal(settle(154, 6, 150), 1);
    assert_int_equal(come_back(200, 230, 0), 30);
    assert_int_equal(settle(255, 13, 250), 0);
    assert_int_equal(mst_setback_n_lost(&setback), 30);
}

static void test_where_nothing_is_pushed_nothing_is_unknown(void **state)
{
    (void)state;
    assert_int_equal(come_back(100, 130, 0), 30);
    assert_int_equal(settle(154, 3, UINT64_MAX), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_what_came_after_the_checkpoint_is_lost, setup),
        cmocka_unit_test_setup(test_a_round_that_is_taken_over_is_lost_too, setup),
        cmocka_unit_test_setup(test_what_was_lost_before_is_not_lost_again, setup),
        cmocka_unit_test_setup(test_one_that_dies_again_before_it_serves, setup),
        cmocka_unit_test_setup(test_what_it_was_first_told_counts, setup),
        cmocka_unit_test_setup(test_a_cut_tells_what_nobody_had_reported, setup),
        cmocka_unit_test_setup(test_what_had_not_been_reported_is_in_the_checkpoint, setup),
        cmocka_unit_test_setup(test_one_that_dies_before_a_cut_loses_it_all_together, setup),
        cmocka_unit_test_setup(test_what_a_checkpoint_lacks_is_counted, setup),
        cmocka_unit_test_setup(test_what_is_torn_since_is_not_lost, setup),
        cmocka_unit_test_setup(test_where_nothing_is_pushed_nothing_is_unknown, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
