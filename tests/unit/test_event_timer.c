// Timers: once, periodic, moved, stopped, and ended from within.
#include "event/timer.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "event/loop.h"
#include "muster/status.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

static struct mst_loop *loop;

static int set_up(void **state)
{
    (void)state;
    return mst_loop_new("timers", &loop, NULL) == MST_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    mst_loop_free(loop);
    return 0;
}

struct ticker {
    struct mst_timer timer;
    int n_fired;
    int stop_at;
};

static void on_fire(void *arg)
{
    struct ticker *ticker = arg;
    if (++ticker->n_fired == ticker->stop_at)
        mst_timer_stop(&ticker->timer);
}

static bool has_fired(void *arg)
{
    return ((struct ticker *)arg)->n_fired > 0;
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

static void test_once(void **state)
{
    (void)state;
    struct ticker ticker = {.stop_at = -1};
    mst_timer_init(&ticker.timer, loop, on_fire, &ticker);
    assert_false(mst_timer_is_running(&ticker.timer));
    uint64_t begin_ms = mst_clock_monotonic_ms();
    mst_timer_start_once(&ticker.timer, 30);
    assert_true(mst_timer_is_running(&ticker.timer));
    assert_true(mst_loop_run_until(loop, has_fired, &ticker, UINT64_MAX));
    assert_true(mst_clock_monotonic_ms() - begin_ms >= 20); // libevent's clock is coarse: up to 10 ms
    assert_false(mst_timer_is_running(&ticker.timer));
    assert_false(mst_loop_run_until(loop, never, NULL, 20));
    assert_int_equal(ticker.n_fired, 1);
    mst_timer_fini(&ticker.timer);
}

static void test_a_running_one_is_moved(void **state)
{
    (void)state;
    struct ticker ticker = {.stop_at = -1};
    mst_timer_init(&ticker.timer, loop, on_fire, &ticker);
    mst_timer_start_once(&ticker.timer, 3600000);
    mst_timer_start_once(&ticker.timer, 0);
    assert_true(mst_loop_run_until(loop, has_fired, &ticker, UINT64_MAX));
    mst_timer_start_once(&ticker.timer, 0);
    mst_timer_start_once(&ticker.timer, 3600000);
    assert_false(mst_loop_run_until(loop, never, NULL, 10));
    assert_int_equal(ticker.n_fired, 1);
    mst_timer_start_periodic(&ticker.timer, 0); // counts as 1
    mst_timer_stop(&ticker.timer);
    assert_false(mst_timer_is_running(&ticker.timer));
    mst_timer_stop(&ticker.timer);
    assert_false(mst_loop_run_until(loop, never, NULL, 10));
    assert_int_equal(ticker.n_fired, 1);
    mst_timer_fini(&ticker.timer);
}

static void test_periodic_until_it_stops_itself(void **state)
{
    (void)state;
    struct ticker ticker = {.stop_at = 5};
    mst_timer_init(&ticker.timer, loop, on_fire, &ticker);
    mst_timer_start_periodic(&ticker.timer, 1);
    assert_false(mst_loop_run_until(loop, never, NULL, 60));
    assert_int_equal(ticker.n_fired, 5);
    mst_timer_fini(&ticker.timer);
}

static int n_gone;

static void on_free_itself(void *arg)
{
    struct ticker *ticker = arg;
    mst_timer_fini(&ticker->timer);
    free(ticker);
    n_gone++;
}

static bool both_gone(void *arg)
{
    (void)arg;
    return n_gone == 2;
}

static void test_its_owner_may_go_when_it_fires(void **state)
{
    (void)state;
    struct ticker *once = mst_alloc(sizeof *once), *periodic = mst_alloc(sizeof *periodic);
    mst_timer_init(&once->timer, loop, on_free_itself, once);
    mst_timer_start_once(&once->timer, 0);
    mst_timer_init(&periodic->timer, loop, on_free_itself, periodic);
    mst_timer_start_periodic(&periodic->timer, 1);
    assert_true(mst_loop_run_until(loop, both_gone, NULL, UINT64_MAX));
}

static void test_a_zeroed_one_is_fine(void **state)
{
    (void)state;
    struct mst_timer timer = {.loop = NULL};
    assert_false(mst_timer_is_running(&timer));
    mst_timer_stop(&timer);
    mst_timer_fini(&timer);
    mst_timer_init(&timer, loop, on_fire, NULL);
    mst_timer_fini(&timer); // never started
    mst_timer_fini(&timer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_running_one_is_moved, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_periodic_until_it_stops_itself, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_its_owner_may_go_when_it_fires, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_zeroed_one_is_fine, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
