// A lasting link: made, lost and made again; refused for now or for good; and peers that are not there yet.
#include "rpc/peer.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "muster/status.h"
#include "rpc/listener.h"
#include "rpc/resolve.h"
#include "rpc/server.h"
#include "rpc/service.h"
#include "rpc_stranger.h"
#include "wire/greeting.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONNS_MAX = 64 };

// What a callback does to the peer.
enum then { THEN_NOTHING, THEN_FREE, THEN_STOP, THEN_RETRY, THEN_ASK_AGAIN };

struct fixture {
    struct mst_loop *loop;
    struct mst_resolver *resolver;
    // the one dialled
    struct mst_server *server;
    uint16_t port;
    mst_status refuses_with; // OK: accepts
    bool is_mute;            // takes greetings, answers nothing
    bool speaks_nonsense;    // answers greetings with what is none
    struct mst_conn *conns[CONNS_MAX];
    size_t n_greetings;
    size_t n_body_crcs;
    // the one who dials
    struct mst_peer *peer;
    size_t n_greets;
    size_t n_ups;
    size_t n_downs;
    size_t n_refused;
    size_t n_gone;
    size_t n_wanted;
    mst_status status;
    char text[256];
    bool wants_gone; // to know when it is gone
    enum then when_up, when_down, when_refused, when_greeting;
    // its calls
    size_t n_replies;
    mst_status reply_status;
    char reply_text[256];
    int n_calls_again; // made by on_reply
};

// ---- the one dialled ----

static enum mst_body_verdict on_push_head(void *arg, struct mst_conn *conn, const struct mst_message *message,
                                          struct mst_sink *sink)
{
    (void)conn;
    (void)sink;
    struct fixture *f = arg;
    f->n_body_crcs += (message->flags & MST_FRAME_BODY_CRC) != 0;
    return MST_BODY_DRAIN;
}

static void on_pull(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    (void)arg;
    mst_conn_reply(conn, message, message->meta, NULL);
}

static void on_stats(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    (void)arg;
    (void)conn;
    (void)message; // is never answered
}

static void on_conn_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text)
{
    (void)status;
    (void)text;
    struct fixture *f = arg;
    for (size_t i = 0; i < CONNS_MAX; i++)
        if (f->conns[i] == conn)
            f->conns[i] = NULL;
}

static const struct mst_handler handlers[] = {
    {MST_METHOD_PUSH, on_push_head, on_stats}, {MST_METHOD_PULL, NULL, on_pull}, {MST_METHOD_STATS, NULL, on_stats}};
static const struct mst_service service = {handlers, 3, on_conn_closed};

static void on_greeting(void *arg, struct mst_conn *conn, const struct mst_message *message,
                        const struct mst_msg_greeting *greeting)
{
    struct fixture *f = arg;
    assert_string_equal(greeting->job_name, "mnist");
    f->n_greetings++;
    if (f->refuses_with != MST_OK) {
        mst_conn_reply_error(conn, message, f->refuses_with, "not you");
        mst_conn_close_flushed(conn);
        return;
    }
    struct mst_msg_greeting_reply reply = {.version = MST_WIRE_VERSION, .n_data_threads = 2};
    struct mst_buf meta;
    mst_buf_init(&meta, 1000);
    assert_int_equal(mst_msg_greeting_reply_encode(&reply, &meta), MST_OK);
    if (f->speaks_nonsense)
        mst_conn_reply(conn, message, (struct mst_bytes){"\xff\xff\xff", 3}, NULL);
    else if (!f->is_mute)
        mst_conn_reply(conn, message, mst_buf_view(&meta), NULL);
    mst_buf_fini(&meta);
    f->conns[f->n_greetings % CONNS_MAX] = conn;
    mst_service_attach(&service, f, conn);
}

static void listen_on(struct fixture *f, uint16_t port)
{
    struct mst_server_config config = {.on_greeting = on_greeting, .arg = f};
    assert_int_equal(mst_server_new(f->loop, &config, &f->server), MST_OK);
    assert_int_equal(mst_server_listen(f->server, port, NULL), MST_OK);
    f->port = mst_server_port(f->server);
}

static void hang_up(struct fixture *f)
{
    for (size_t i = 0; i < CONNS_MAX; i++) {
        mst_conn_close(f->conns[i]);
        f->conns[i] = NULL;
    }
}

// ---- the one who dials ----

static void then(struct fixture *f, enum then what)
{
    if (what == THEN_FREE) {
        mst_peer_free(f->peer);
        f->peer = NULL;
    }
    if (what == THEN_STOP)
        mst_peer_stop(f->peer);
    if (what == THEN_RETRY)
        mst_peer_retry(f->peer, "asked to");
    if (what == THEN_ASK_AGAIN)
        mst_peer_ask_again(f->peer, f->text);
}

static void on_greet(void *arg, struct mst_peer *peer, struct mst_msg_greeting *greeting)
{
    struct fixture *f = arg;
    assert_ptr_equal(peer, f->peer);
    f->n_greets++;
    *greeting = (struct mst_msg_greeting){.min_version = 1, .max_version = 1, .job_name = "mnist", .address = ""};
    then(f, f->when_greeting);
}

static void on_up(void *arg, struct mst_peer *peer, const struct mst_msg_greeting_reply *reply)
{
    struct fixture *f = arg;
    assert_int_equal(reply->n_data_threads, 2);
    assert_true(mst_peer_is_up(peer));
    f->n_ups++;
    then(f, f->when_up);
}

static void on_down(void *arg, struct mst_peer *peer, mst_status status, const char *text)
{
    struct fixture *f = arg;
    assert_false(mst_peer_is_up(peer));
    f->n_downs++;
    f->status = status;
    snprintf(f->text, sizeof f->text, "%s", text);
    then(f, f->when_down);
}

static void on_refused(void *arg, struct mst_peer *peer, mst_status status, const char *text)
{
    struct fixture *f = arg;
    assert_false(mst_peer_is_up(peer));
    f->n_refused++;
    f->status = status;
    snprintf(f->text, sizeof f->text, "%s", text);
    then(f, f->when_refused);
}

static const struct mst_peer_events events = {on_greet, on_up, on_down, on_refused};

static void on_gone(void *arg, struct mst_peer *peer)
{
    struct fixture *f = arg;
    assert_false(mst_peer_is_up(peer));
    f->n_gone++;
}

static void dial(struct fixture *f, const char *address)
{
    struct mst_peer_config config = {.name = "ps-1",
                                     .address = address,
                                     .user_timeout_ms = 3000,
                                     .adds_body_crc = true,
                                     .events = &events,
                                     .arg = f,
                                     .on_gone = f->wants_gone ? on_gone : NULL};
    assert_int_equal(mst_peer_new(f->loop, f->resolver, &config, &f->peer, NULL), MST_OK);
    mst_peer_start(f->peer);
    mst_peer_start(f->peer); // it has begun: fine
}

static void dial_port(struct fixture *f, uint16_t port)
{
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    dial(f, address);
    assert_string_equal(mst_peer_address(f->peer), address);
    assert_string_equal(mst_peer_name(f->peer), "ps-1");
}

// A port of this machine where nobody listens.
static uint16_t free_port(void)
{
    int fd;
    assert_int_equal(mst_listener_open(0, &fd, NULL), MST_OK);
    uint16_t port = mst_listener_port(fd);
    close(fd);
    return port;
}

static int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    assert_int_equal(mst_log_set_filter("all=error", NULL), MST_OK);
    assert_int_equal(mst_loop_new("peers", &f->loop, NULL), MST_OK);
    return mst_resolver_new(&f->resolver, NULL) == MST_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    mst_peer_free(f->peer);
    hang_up(f);
    mst_server_free(f->server);
    mst_resolver_free(f->resolver);
    mst_loop_free(f->loop);
    free(f);
    return 0;
}

static bool has_ups(void *arg)
{
    struct fixture *f = arg;
    return f->n_ups >= f->n_wanted;
}

static bool has_downs(void *arg)
{
    struct fixture *f = arg;
    return f->n_downs >= f->n_wanted;
}

static bool has_refusals(void *arg)
{
    struct fixture *f = arg;
    return f->n_refused >= f->n_wanted;
}

static bool has_gone(void *arg)
{
    struct fixture *f = arg;
    return f->n_gone >= f->n_wanted;
}

static bool has_greetings(void *arg)
{
    struct fixture *f = arg;
    return f->n_greetings >= f->n_wanted;
}

static bool has_greets(void *arg)
{
    struct fixture *f = arg;
    return f->n_greets >= f->n_wanted;
}

static bool has_replies(void *arg)
{
    struct fixture *f = arg;
    return f->n_replies >= f->n_wanted;
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

static void wait_for(struct fixture *f, bool (*done)(void *arg), size_t n)
{
    f->n_wanted = n;
    run_until(f->loop, done, f);
}

static void expect_state(const struct fixture *f, const char *says)
{
    char text[200];
    mst_peer_state(f->peer, text, sizeof text);
    if (!strstr(text, says))
        fail_msg("\"%s\" does not say \"%s\"", text, says);
}

static void on_reply(void *arg, const struct mst_reply *reply);

static void make_call(struct fixture *f, uint16_t method)
{
    static const struct iovec part = {(void *)(uintptr_t)"gradient", 8};
    struct mst_call call = {.method = method, .on_reply = on_reply, .arg = f};
    if (method == MST_METHOD_PUSH)
        call.body = (struct mst_body){.parts = &part, .n_parts = 1};
    mst_peer_call(f->peer, &call);
}

static void on_reply(void *arg, const struct mst_reply *reply)
{
    struct fixture *f = arg;
    f->n_replies++;
    f->reply_status = reply->status;
    snprintf(f->reply_text, sizeof f->reply_text, "%s", reply->text);
    if (f->n_calls_again > 0) {
        expect_state(f, f->n_calls_again-- == 3 ? "just disconnected" : "closed by the peer");
        make_call(f, MST_METHOD_PULL);
    }
}

// ---- tests ----

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
        CASE(test_up_and_calls),
        CASE(test_lost_and_found),
        CASE(test_a_call_made_again_at_once),
        CASE(test_a_peer_that_is_gone),
        CASE(test_broken_by_its_owner),
        CASE(test_a_call_while_down),
        CASE(test_a_peer_that_comes_later),
        CASE(test_a_name_that_does_not_resolve),
        CASE(test_a_name_that_does),
        CASE(test_refused_for_good),
        CASE(test_refused_for_now),
        CASE(test_the_back_off),
        CASE(test_no_answer_or_nonsense),
        CASE(test_stop_and_start),
        CASE(test_its_callbacks_may_end_it),
        CASE(test_a_wrong_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
