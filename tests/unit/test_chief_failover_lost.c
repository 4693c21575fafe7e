// Groups whose holders all die, and whom it takes to restore them.
#include "failover_servers.h"

static void test_a_group_without_copies_is_lost_and_restored_at_home(void **state)
{
    (void)state;
    start_job(3, 1);
    die(0, MST_FAILOVER_GONE);
    settle();
    assert_roles("ps-1, ps-1 > ps-2, ps-2");
    die(1, MST_FAILOVER_GONE);
    settle(); // one of three alone decides nothing
    assert_false(mst_failover_is_lost(&failover, 0));
    start_server(0);
    settle();
    assert_waits_for("ps-1: more than half of the 3 parameter servers have to know who had which shards, and 1 here "
                     "does; one that is started again does not, until all are here");
    start_server(1);
    while (!mst_failover_is_lost(&failover, 0)) {
        deliver(0);
        deliver(1);
        deliver(2);
        assert_true(mst_failover_advance(&failover, now_ms));
    }
    assert_int_equal(mst_failover_primary(&failover, 0), MST_NO_PS);
    assert_int_equal(mst_failover_primary(&failover, 1), 2);
    is_unstored = true; // the next chief would not count what is lost
    settle();
    assert_true(mst_failover_is_lost(&failover, 0));
    assert_waits_for("all to store that no copy of group 0 is left, so that ps-0 may restore it");
    is_unstored = false;
    settle();
    assert_false(mst_failover_is_lost(&failover, 0));
    assert_int_equal(mst_failover_primary(&failover, 0), 0);
    fill(0);
    fill(1);
    assert_roles("ps-0 > ps-1, ps-1 > ps-2, ps-2 > ps-0");
    assert_true(mst_failover_is_full(&failover));
    end();
}

// Both that have group 0 die and come back empty; the next chief would not count what that loses.
static void lose_group(void)
{
    die(0, MST_FAILOVER_GONE);
    settle();
    die(1, MST_FAILOVER_GONE);
    start_server(0);
    start_server(1);
    is_unstored = true;
    settle();
    assert_true(mst_failover_is_lost(&failover, 0));
}

// What was stored of one loss says nothing of the next one.
static void test_each_loss_is_known_before_it_is_restored(void **state)
{
    (void)state;
    start_job(3, 1);
    mst_failover_may_restore(&failover, 0); // too early
    for (int times = 0; times < 2; times++) {
        lose_group();
        is_unstored = false;
        fill(0);
        fill(1);
        assert_roles("ps-0 > ps-1, ps-1 > ps-2, ps-2 > ps-0");
    }
    end();
}

static void test_a_silent_holder_is_waited_for(void **state)
{
    (void)state;
    start_job(3, 1);
    die(0, MST_FAILOVER_SILENT);
    settle();
    die(1, MST_FAILOVER_SILENT); // it alone has group 0
    start_server(0);
    settle();
    assert_false(mst_failover_is_lost(&failover, 0));
    assert_waits_for("ps-1: more than half of the 3 parameter servers have to know who had which shards, and 1 here "
                     "does; one that is started again does not, until all are here");
    come_up(1);
    settle();
    fill(0);
    fill(1); // group 1 went to ps-2 meanwhile
    assert_roles("ps-0 > ps-1, ps-1 > ps-2, ps-2 > ps-0");
    end();
}

static void test_all_servers_may_be_started_again_under_one_chief(void **state)
{
    (void)state;
    start_job(2, 1);
    die(0, MST_FAILOVER_GONE);
    die(1, MST_FAILOVER_GONE);
    settle();
    start_server(0);
    settle();
    start_server(1);
    settle();
    assert_false(mst_failover_is_lost(&failover, 0));
    assert_false(mst_failover_is_lost(&failover, 1));
    fill(0);
    fill(1);
    assert_roles("ps-0 > ps-1, ps-1 > ps-0");
    end();
}

// It is told to leave just before it is given its group, for which all wait: it restores it, and hands it over.
static void test_a_home_that_is_to_leave_restores_its_group_before(void **state)
{
    (void)state;
    start_job(3, 1);
    lose_group();
    servers[0].wants_drain = true;
    settle();
    assert_true(mst_failover_is_lost(&failover, 0));
    assert_false(mst_failover_is_drained(&failover, 0));
    is_unstored = false;
    settle();
    assert_false(mst_failover_is_lost(&failover, 0));
    assert_false(mst_failover_is_drained(&failover, 0));
    assert_waits_for("ps-1 to have a copy of group 0, so that ps-0 may go");
    fill(1);
    assert_roles("ps-1, ps-2 > ps-1, ps-2");
    assert_true(mst_failover_is_drained(&failover, 0));
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_group_without_copies_is_lost_and_restored_at_home),
        cmocka_unit_test(test_each_loss_is_known_before_it_is_restored),
        cmocka_unit_test(test_a_home_that_is_to_leave_restores_its_group_before),
        cmocka_unit_test(test_a_silent_holder_is_waited_for),
        cmocka_unit_test(test_all_servers_may_be_started_again_under_one_chief),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
