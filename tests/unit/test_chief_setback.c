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
    mst_setback_emptied(&setback);
    mst_setback_restoring(&setback, checkpoint_step, n_steps);
    return mst_setback_restored(&setback, n_taken);
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
    mst_setback_emptied(&setback);
    mst_setback_restoring(&setback, 100, 130);
    assert_int_equal(come_back(120, 130, 0), 10);
}

static void test_what_it_was_first_told_counts(void **state)
{
    (void)state;
    mst_setback_emptied(&setback);
    mst_setback_restoring(&setback, 100, 130);
    mst_setback_restoring(&setback, 120, 140); // the answer was lost: it serves since, and trains
    assert_int_equal(mst_setback_restored(&setback, 0), 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_what_came_after_the_checkpoint_is_lost, setup),
        cmocka_unit_test_setup(test_a_round_that_is_taken_over_is_lost_too, setup),
        cmocka_unit_test_setup(test_what_was_lost_before_is_not_lost_again, setup),
        cmocka_unit_test_setup(test_one_that_dies_again_before_it_serves, setup),
        cmocka_unit_test_setup(test_what_it_was_first_told_counts, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
