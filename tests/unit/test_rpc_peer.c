// A lasting link: made, lost and made again, and ended by who has it.
#include "dialling.h"

#include "muster/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

static void test_up_and_calls(void **state)
{
    struct fixture *f = *state;
    listen_on(f, 0);
    dial_port(f, f->port);
    assert_false(mst_peer_is_up(f->peer));
    assert_true(mst_peer_is_first_try(f->peer));
    assert_null(mst_peer_conn(f->peer));
    wait_for(f, has_ups, 1);
    expect_state(f, "connected");
    assert_int_equal(mst_peer_down_ms(f->peer), 0);
    assert_non_null(mst_peer_conn(f->peer));
    make_call(f, MST_METHOD_PULL);
    wait_for(f, has_replies, 1);
    assert_int_equal(f->reply_status, MST_OK);
    make_call(f, MST_METHOD_PUSH);
    make_call(f, MST_METHOD_PULL);
    wait_for(f, has_replies, 2);
    assert_int_equal(f->n_body_crcs, 1);
}

static void test_lost_and_found(void **state)
{
    struct fixture *f = *state;
    listen_on(f, 0);
    dial_port(f, f->port);
    for (size_t i = 1; i <= 5; i++) {
        wait_for(f, has_ups, i);
        make_call(f, MST_METHOD_STATS);
        mst_loop_poll(f->loop);
        hang_up(f);
        wait_for(f, has_downs, i);
        assert_int_equal(f->n_replies, i); // before on_down
        assert_int_equal(f->reply_status, MST_UNAVAILABLE);
        assert_int_equal(f->status, MST_UNAVAILABLE);
        expect_state(f, "closed by the peer, 0 s");
        assert_null(mst_peer_conn(f->peer));
    }
    wait_for(f, has_ups, 6);
    assert_int_equal(f->n_greetings, 6);
}

// A connection that broke is no death; a refused one at the same address is, and told once.
static void test_a_peer_that_is_gone(void **state)
{
    struct fixture *f = *state;
    f->wants_gone = true;
    listen_on(f, 0);
    dial_port(f, f->port);
    for (size_t i = 1; i <= 2; i++) {
        wait_for(f, has_ups, 2 * i - 1);
        hang_up(f);
        wait_for(f, has_ups, 2 * i); // it listened on
        assert_int_equal(f->n_gone, i - 1);
        mst_server_free(f->server);
        f->server = NULL;
        hang_up(f);
        wait_for(f, has_gone, i);
        assert_int_equal(f->n_downs, 2 * i);
        expect_state(f, "connection refused");
        size_t n_greets = f->n_greets;
        assert_false(mst_loop_run_until(f->loop, never, NULL, 200)); // dialled again and again
        assert_int_equal(f->n_gone, i);
        assert_int_equal(f->n_greets, n_greets);
        listen_on(f, f->port);
    }
    wait_for(f, has_ups, 5);
}

// A peer that stands and does not answer is given up: calls fail, and it is dialled again.
static void test_broken_by_its_owner(void **state)
{
    struct fixture *f = *state;
    listen_on(f, 0);
    dial_port(f, f->port);
    mst_peer_break(f->peer, "is not made yet"); // nothing to break
    wait_for(f, has_ups, 1);
    make_call(f, MST_METHOD_STATS);
    mst_peer_break(f->peer, "was given up");
    assert_int_equal(f->n_downs, 0); // never from within
    wait_for(f, has_downs, 1);
    assert_int_equal(f->n_replies, 1);
    assert_int_equal(f->reply_status, MST_UNAVAILABLE);
    wait_for(f, has_ups, 2);
}

// What is called while a lost connection ends its calls is not forgotten with it.
static void test_a_call_made_again_at_once(void **state)
{
    struct fixture *f = *state;
    listen_on(f, 0);
    dial_port(f, f->port);
    wait_for(f, has_ups, 1);
    f->n_calls_again = 3;
    make_call(f, MST_METHOD_STATS);
    mst_loop_poll(f->loop);
    hang_up(f);
    wait_for(f, has_replies, 4);
    assert_int_equal(f->reply_status, MST_UNAVAILABLE);
}

static void test_a_call_while_down(void **state)
{
    struct fixture *f = *state;
    dial_port(f, free_port());
    make_call(f, MST_METHOD_PULL);
    assert_int_equal(f->n_replies, 0); // not from within
    wait_for(f, has_replies, 1);
    assert_int_equal(f->reply_status, MST_UNAVAILABLE);
    assert_non_null(strstr(f->reply_text, "ps-1 at 127.0.0.1:"));
    assert_non_null(strstr(f->reply_text, "is not connected"));
}

static void test_stop_and_start(void **state)
{
    struct fixture *f = *state;
    listen_on(f, 0);
    dial_port(f, f->port);
    wait_for(f, has_ups, 1);
    make_call(f, MST_METHOD_STATS);
    mst_peer_stop(f->peer);
    mst_peer_stop(f->peer);
    expect_state(f, "idle");
    mst_peer_retry(f->peer, "an idle one stays idle");
    expect_state(f, "idle");
    assert_false(mst_loop_run_until(f->loop, never, NULL, 80));
    assert_int_equal(f->n_replies + f->n_downs, 0); // forgotten
    mst_peer_start(f->peer);
    wait_for(f, has_ups, 2);
    mst_peer_retry(f->peer, "a new number is wanted");
    expect_state(f, "a new number is wanted, 0 s");
    wait_for(f, has_ups, 3);
    assert_int_equal(f->n_downs, 0);
    // Stopped and started again in every state on the way.
    for (int i = 0; i < 20; i++) {
        mst_peer_stop(f->peer);
        mst_peer_start(f->peer);
        for (int round = 0; round < i / 2; round++)
            mst_loop_poll(f->loop);
    }
    size_t before = f->n_ups;
    if (!mst_peer_is_up(f->peer))
        wait_for(f, has_ups, before + 1);
}

static void test_its_callbacks_may_end_it(void **state)
{
    struct fixture *f = *state;
    listen_on(f, 0);
    for (enum then what = THEN_FREE; what <= THEN_RETRY; what++) {
        size_t before = f->n_ups;
        f->when_up = what;
        dial_port(f, f->port);
        wait_for(f, has_ups, before + 1);
        assert_true(!f->peer || !mst_peer_is_up(f->peer));
        f->when_up = THEN_NOTHING;
        if (what == THEN_RETRY)
            wait_for(f, has_ups, before + 2);
        mst_peer_free(f->peer);
        f->peer = NULL;
    }
    for (enum then what = THEN_FREE; what <= THEN_RETRY; what++) {
        size_t before = f->n_ups, downs = f->n_downs;
        f->when_down = what;
        dial_port(f, f->port);
        wait_for(f, has_ups, before + 1);
        hang_up(f);
        wait_for(f, has_downs, downs + 1);
        f->when_down = THEN_NOTHING;
        if (what == THEN_RETRY)
            wait_for(f, has_ups, before + 2);
        mst_peer_free(f->peer);
        f->peer = NULL;
    }
    for (enum then what = THEN_STOP; what <= THEN_RETRY; what++) {
        size_t before = f->n_greets, greetings = f->n_greetings;
        f->when_greeting = what;
        dial_port(f, f->port);
        wait_for(f, has_greets, before + 1);
        assert_false(mst_loop_run_until(f->loop, never, NULL, 20));
        assert_int_equal(f->n_greetings, greetings); // nothing was sent
        f->when_greeting = THEN_NOTHING;
        mst_peer_free(f->peer);
        f->peer = NULL;
    }
    mst_peer_free(NULL);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_up_and_calls),
        CASE(test_lost_and_found),
        CASE(test_a_peer_that_is_gone),
        CASE(test_broken_by_its_owner),
        CASE(test_a_call_made_again_at_once),
        CASE(test_a_call_while_down),
        CASE(test_stop_and_start),
        CASE(test_its_callbacks_may_end_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
