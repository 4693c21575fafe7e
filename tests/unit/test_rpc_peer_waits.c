// A peer that is not there yet, or refuses for now or for good: how long it is waited for, and what is said.
#include "dialling.h"

#include "base/clock.h"
#include "muster/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

static bool is_refused_connection(void *arg)
{
    char text[200];
    mst_peer_state(((struct fixture *)arg)->peer, text, sizeof text);
    return !mst_peer_is_first_try(((struct fixture *)arg)->peer) && strncmp(text, "connection refused, ", 20) == 0;
}

static void test_a_peer_that_comes_later(void **state)
{
    struct fixture *f = *state;
    uint16_t port = free_port();
    dial_port(f, port);
    run_until(f->loop, is_refused_connection, f);
    assert_true(mst_peer_down_ms(f->peer) < 60000);
    listen_on(f, port);
    wait_for(f, has_ups, 1);
}

static bool has_no_name(void *arg)
{
    char text[200];
    mst_peer_state(((struct fixture *)arg)->peer, text, sizeof text);
    return strncmp(text, "DNS ", 4) == 0;
}

static void test_a_name_that_does_not_resolve(void **state)
{
    struct fixture *f = *state;
    dial(f, "ps-1.no-such-job.invalid:4711");
    expect_state(f, "looking up its name, 0 s");
    assert_true(mst_loop_run_until(f->loop, has_no_name, f, 40000));
    // It goes on asking, and may go while it does.
    assert_false(mst_loop_run_until(f->loop, never, NULL, 120));
    expect_state(f, "DNS ");
    mst_peer_free(f->peer);
    f->peer = NULL;
    dial(f, "ps-1.no-such-job.invalid:4711");
    mst_peer_free(f->peer); // at once
    f->peer = NULL;
    mst_loop_poll(f->loop);
}

static void test_a_name_that_does(void **state)
{
    struct fixture *f = *state;
    listen_on(f, 0);
    char address[32];
    snprintf(address, sizeof address, "localhost:%u", f->port);
    dial(f, address);
    wait_for(f, has_ups, 1);
}

static void test_refused_for_good(void **state)
{
    struct fixture *f = *state;
    static const mst_status final[] = {MST_FAILED_PRECONDITION, MST_INVALID_ARGUMENT, MST_UNIMPLEMENTED};
    listen_on(f, 0);
    for (size_t i = 0; i < 3; i++) {
        f->refuses_with = final[i];
        dial_port(f, f->port);
        wait_for(f, has_refusals, i + 1);
        assert_int_equal(f->status, final[i]);
        assert_string_equal(f->text, "ps-1: not you");
        expect_state(f, "refused: ps-1: not you");
        assert_false(mst_loop_run_until(f->loop, never, NULL, 80)); // it does not ask again
        assert_int_equal(f->n_greetings, i + 1);
        mst_peer_free(f->peer);
        f->peer = NULL;
    }
    f->when_refused = THEN_FREE;
    dial_port(f, f->port);
    wait_for(f, has_refusals, 4);
    assert_null(f->peer);
    f->when_refused = THEN_ASK_AGAIN; // with the pauses of the back-off: 50, 100 and 200 ms
    uint64_t begun_ms = mst_clock_monotonic_ms();
    dial_port(f, f->port);
    wait_for(f, has_refusals, 4 + 4);
    assert_true(mst_clock_monotonic_ms() - begun_ms >= 300); // timers count from the round of the loop, so a bit less
    f->when_refused = THEN_NOTHING;
    wait_for(f, has_refusals, f->n_refused + 1);
    f->refuses_with = MST_OK;
    mst_peer_start(f->peer); // told to try again, it does
    wait_for(f, has_ups, 1);
}

static void test_refused_for_now(void **state)
{
    struct fixture *f = *state;
    listen_on(f, 0);
    f->refuses_with = MST_ABORTED;
    dial_port(f, f->port);
    wait_for(f, has_greetings, 2);
    f->refuses_with = MST_DATA_LOSS; // the greeting was changed on the way
    wait_for(f, has_greetings, 4);
    expect_state(f, "not you");
    assert_int_equal(f->n_refused, 0);
    f->refuses_with = MST_OK;
    wait_for(f, has_ups, 1);
    assert_int_equal(f->n_downs, 0); // it had not been up
}

static void test_the_back_off(void **state)
{
    struct fixture *f = *state;
    listen_on(f, 0);
    f->refuses_with = MST_UNAVAILABLE;
    dial_port(f, f->port);
    // At 0, 50, 150, 350, 750 ms, 1550, then each second; later on a slow machine, never much earlier.
    uint64_t begun_ms = mst_clock_monotonic_ms();
    wait_for(f, has_greetings, 5);
    assert_true(mst_clock_monotonic_ms() - begun_ms >= 650);
}

static void test_no_answer_or_nonsense(void **state)
{
    struct fixture *f = *state;
    listen_on(f, 0);
    f->speaks_nonsense = true;
    dial_port(f, f->port);
    wait_for(f, has_greetings, 3); // tries again
    expect_state(f, "not a message GreetingReply");
    f->speaks_nonsense = false;
    f->is_mute = true;
    wait_for(f, has_greetings, 4);
    hang_up(f); // without an answer
    wait_for(f, has_greetings, 5);
    expect_state(f, "closed by the peer");
    f->is_mute = false;
    hang_up(f);
    wait_for(f, has_ups, 1);
    assert_int_equal(f->n_downs, 0);
    assert_int_equal(f->n_refused, 0);
}

static void test_news_of_it_end_the_wait(void **state)
{
    struct fixture *f = *state;
    listen_on(f, 0);
    f->refuses_with = MST_UNAVAILABLE;
    dial_port(f, f->port);
    mst_peer_hurry(f->peer); // on its way already
    wait_for(f, has_greetings, 5);
    assert_false(mst_loop_run_until(f->loop, never, NULL, 20)); // the refusal has come: it waits for 800 ms
    expect_state(f, "not you");
    f->refuses_with = MST_OK;
    f->n_wanted = 1;
    mst_peer_hurry(f->peer);
    assert_true(mst_loop_run_until(f->loop, has_ups, f, 600));
    mst_peer_hurry(f->peer);
    assert_true(mst_peer_is_up(f->peer));
    mst_peer_stop(f->peer);
    mst_peer_hurry(f->peer);
    expect_state(f, "idle");
}

static void test_a_wrong_address(void **state)
{
    struct fixture *f = *state;
    struct mst_peer_config config = {.name = "ps-1", .address = "no port", .events = &events, .arg = f};
    struct mst_error err;
    assert_int_equal(mst_peer_new(f->loop, f->resolver, &config, &f->peer, &err), MST_INVALID_ARGUMENT);
    assert_null(f->peer);
    assert_string_equal(err.text, "ps-1: address 'no port' is not host:port with a port from 1 to 65535");
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    setenv("RES_OPTIONS", "timeout:1 attempts:1", 1); // a machine without a name server answers soon, too
    const struct CMUnitTest tests[] = {
        CASE(test_a_peer_that_comes_later), CASE(test_a_name_that_does_not_resolve),
        CASE(test_a_name_that_does),        CASE(test_refused_for_good),
        CASE(test_refused_for_now),         CASE(test_the_back_off),
        CASE(test_no_answer_or_nonsense),   CASE(test_news_of_it_end_the_wait),
        CASE(test_a_wrong_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
