// A connection that moves between two loops, each on its own thread, while its peer sends: nothing is lost, torn or
// answered twice.
#include "rpc/conn.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/rng.h"
#include "muster/status.h"
#include "rpc/client.h"
#include "rpc_frames.h"
#include "rpc_stranger.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { N_CALLS = 1500, WINDOW = 16, BODY_MAX = 40000 };

#define SEED UINT64_C(20261124)

// ---- the side that moves ----

struct echo {
    uint8_t *data;
    struct iovec part;
};

struct mover {
    struct mst_loop *loops[2];
    struct mst_conn *conn;
    size_t at; // which loop
    size_t n_moves;
    size_t n_messages;
    size_t n_parks;
    bool was_parked; // the body at hand
    struct echo *incoming;
    struct mst_loop *home; // told when the peer closed
    bool has_ended;        // home's
};

static void on_echo_sent(void *arg)
{
    struct echo *echo = arg;
    free(echo->data);
    free(echo);
}

static void on_resume(void *arg)
{
    struct mover *mover = arg;
    mst_conn_resume(mover->conn);
}

static enum mst_body_verdict on_head(void *arg, struct mst_conn *conn, const struct mst_message *message,
                                     struct mst_sink *sink)
{
    struct mover *mover = arg;
    mst_loop_assert_owner(mover->loops[mover->at]);
    MST_ASSERT(mst_conn_loop(conn) == mover->loops[mover->at]);
    if (message->call % 5 == 0 && !mover->was_parked) {
        mover->was_parked = true;
        mover->n_parks++;
        mst_loop_post(mover->loops[mover->at], on_resume, mover);
        return MST_BODY_PARK;
    }
    mover->was_parked = false;
    struct echo *echo = mover->incoming = mst_alloc(sizeof *echo);
    echo->data = mst_alloc((size_t)message->body_bytes);
    echo->part = (struct iovec){echo->data, (size_t)message->body_bytes};
    *sink = (struct mst_sink){&echo->part, 1};
    return MST_BODY_TAKE;
}

static const struct mst_conn_events mover_events;

static void on_arrival(void *arg)
{
    struct mover *mover = arg;
    mst_conn_attach(mover->conn, mover->loops[mover->at]);
    mst_conn_set_events(mover->conn, &mover_events, mover);
}

static void on_message(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct mover *mover = arg;
    mst_loop_assert_owner(mover->loops[mover->at]);
    mover->n_messages++;
    struct echo *echo = mover->incoming;
    mover->incoming = NULL;
    struct mst_body body = {0};
    if (echo)
        body = (struct mst_body){&echo->part, 1, on_echo_sent, echo};
    mst_conn_reply(conn, message, message->meta, &body);
    if (message->call % 7 == 0) {
        mover->at = 1 - mover->at;
        mover->n_moves++;
        mst_conn_detach(conn);
        mst_loop_post(mover->loops[mover->at], on_arrival, mover);
    }
}

static void on_home(void *arg)
{
    ((struct mover *)arg)->has_ended = true;
}

static void on_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text)
{
    (void)conn;
    (void)text;
    struct mover *mover = arg;
    MST_ASSERT(status == MST_UNAVAILABLE);
    mst_loop_post(mover->home, on_home, mover);
}

static const struct mst_conn_events mover_events = {
    .on_head = on_head, .on_message = on_message, .on_closed = on_closed};

// ---- the side that calls ----

struct caller {
    struct mst_client *client;
    struct mst_rng_key key;
    size_t n_sent;
    size_t n_done;
    size_t n_free;
    struct lane {
        struct caller *caller;
        uint64_t number; // of the call
        uint8_t data[BODY_MAX];
        uint8_t back[BODY_MAX];
        struct iovec part;
        struct iovec sink_part;
        bool is_sent; // the body is released
    } lanes[WINDOW];
};

static void call_next(struct lane *lane);

static size_t body_bytes_of(const struct caller *caller, uint64_t number)
{
    uint32_t r = mst_rng_word(caller->key, number);
    return r % 4 == 0 ? 0 : r % 4 == 1 ? r / 8 % BODY_MAX : r / 8 % 500;
}

static enum mst_body_verdict on_reply_body(void *arg, const struct mst_message *message, struct mst_sink *sink)
{
    struct lane *lane = arg;
    assert_int_equal(message->body_bytes, lane->part.iov_len);
    lane->sink_part = (struct iovec){lane->back, (size_t)message->body_bytes};
    *sink = (struct mst_sink){&lane->sink_part, 1};
    return MST_BODY_TAKE;
}

static void on_sent(void *arg)
{
    struct lane *lane = arg;
    assert_false(lane->is_sent);
    lane->is_sent = true;
}

static void on_reply(void *arg, const struct mst_reply *reply)
{
    struct lane *lane = arg;
    assert_int_equal(reply->status, MST_OK);
    assert_true(lane->is_sent);
    assert_int_equal(reply->message->meta.len, sizeof lane->number);
    assert_memory_equal(reply->message->meta.data, &lane->number, sizeof lane->number);
    assert_int_equal(reply->message->body_bytes, lane->part.iov_len);
    assert_memory_equal(lane->back, lane->data, lane->part.iov_len);
    lane->caller->n_done++;
    call_next(lane);
}

static void call_next(struct lane *lane)
{
    struct caller *caller = lane->caller;
    if (caller->n_sent == N_CALLS)
        return;
    lane->number = caller->n_sent++;
    lane->part = (struct iovec){lane->data, body_bytes_of(caller, lane->number)};
    rpc_fill(lane->data, lane->part.iov_len, lane->number);
    lane->is_sent = false;
    struct mst_call call = {.method = MST_METHOD_PUSH,
                            .meta = {&lane->number, sizeof lane->number},
                            .body = {&lane->part, 1, on_sent, lane},
                            .on_body = on_reply_body,
                            .on_reply = on_reply,
                            .arg = lane};
    mst_client_call(caller->client, &call);
}

static bool all_done(void *arg)
{
    return ((struct caller *)arg)->n_done == N_CALLS;
}

static bool has_ended(void *arg)
{
    return ((struct mover *)arg)->has_ended;
}

static void test_a_connection_moves_while_it_is_used(void **state)
{
    (void)state;
    print_message("seed %llu\n", (unsigned long long)SEED);
    struct mst_loop *home;
    assert_int_equal(mst_loop_new("home", &home, NULL), MST_OK);
    struct mover mover = {.home = home};
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(mst_loop_new("mover", &mover.loops[i], NULL), MST_OK);
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(mst_conn_new(mover.loops[0], fds[0], "caller", &mover.conn, NULL), MST_OK);
    mst_conn_set_events(mover.conn, &mover_events, &mover);
    struct mst_conn *conn;
    struct caller *caller = mst_alloc(sizeof *caller);
    assert_int_equal(mst_conn_new(home, fds[1], "mover", &conn, NULL), MST_OK);
    mst_conn_add_body_crc(conn);
    assert_int_equal(mst_client_new(conn, NULL, NULL, &caller->client), MST_OK);
    caller->key = mst_rng_key_of(SEED, "moves", 0);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(mst_loop_thread_start(mover.loops[i], NULL), MST_OK);
    for (size_t i = 0; i < WINDOW; i++) {
        caller->lanes[i].caller = caller;
        call_next(&caller->lanes[i]);
    }
    run_until(home, all_done, caller);
    mst_client_free(caller->client);
    run_until(home, has_ended, &mover);
    for (size_t i = 0; i < 2; i++) {
        mst_loop_stop(mover.loops[i]);
        mst_loop_thread_join(mover.loops[i]);
    }
    assert_int_equal(mover.n_messages, N_CALLS);
    assert_true(mover.n_moves > N_CALLS / 10 && mover.n_parks > N_CALLS / 20);
    for (size_t i = 0; i < 2; i++)
        mst_loop_free(mover.loops[i]);
    mst_loop_free(home);
    free(caller);
}

// ---- in the middle of a frame, without threads ----

struct stay {
    struct mst_loop *loops[2];
    struct stranger stranger;
    struct mst_conn *conn;
    size_t n_messages;
    uint8_t body[BODY_MAX];
    struct iovec part;
};

static enum mst_body_verdict on_stay_head(void *arg, struct mst_conn *conn, const struct mst_message *message,
                                          struct mst_sink *sink)
{
    (void)conn;
    struct stay *stay = arg;
    stay->part = (struct iovec){stay->body, (size_t)message->body_bytes};
    *sink = (struct mst_sink){&stay->part, 1};
    return MST_BODY_TAKE;
}

static void on_stay_message(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct stay *stay = arg;
    stay->n_messages++;
    mst_conn_reply(conn, message, message->meta, NULL);
}

static const struct mst_conn_events stay_events = {.on_head = on_stay_head, .on_message = on_stay_message};

// Moved after every few bytes of two frames, with a reply queued while it is on no loop.
static void test_it_moves_within_a_frame(void **state)
{
    (void)state;
    struct stay *stay = mst_alloc(sizeof *stay);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(mst_loop_new("stay", &stay->loops[i], NULL), MST_OK);
    int fd;
    stranger_pair(&stay->stranger, stay->loops[0], &fd);
    assert_int_equal(mst_conn_new(stay->loops[0], fd, "stranger", &stay->conn, NULL), MST_OK);
    mst_conn_set_events(stay->conn, &stay_events, stay);
    struct mst_buf bytes;
    mst_buf_init(&bytes, 1 << 20);
    struct mst_frame head = {.flags = MST_FRAME_BODY_CRC, .method = MST_METHOD_PUSH, .call = 1};
    rpc_append_frame(&bytes, &head, (struct mst_bytes){"meta", 4}, 300);
    head.call = 2;
    rpc_append_frame(&bytes, &head, (struct mst_bytes){NULL, 0}, 1000);
    size_t at = 0;
    for (size_t i = 0; at < bytes.len; i++) {
        size_t n = bytes.len - at < 37 ? bytes.len - at : 37;
        assert_true(stranger_send(&stay->stranger, bytes.data + at, n));
        at += n;
        mst_loop_poll(stay->loops[i % 2]);
        mst_conn_detach(stay->conn);
        mst_conn_attach(stay->conn, stay->loops[1 - i % 2]);
        stay->stranger.loop = stay->loops[1 - i % 2];
    }
    mst_loop_poll(stay->stranger.loop);
    assert_int_equal(stay->n_messages, 2);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(stay->body[i], rpc_pattern(2, i));
    mst_conn_detach(stay->conn);
    struct mst_frame queued = {.flags = MST_FRAME_REPLY, .method = 1, .call = 3};
    mst_conn_send(stay->conn, &queued, (struct mst_bytes){NULL, 0}, NULL);
    mst_conn_attach(stay->conn, stay->stranger.loop);
    for (uint64_t call = 1; call <= 3; call++)
        assert_int_equal(stranger_read(&stay->stranger)->call, call);
    mst_conn_detach(stay->conn);
    mst_conn_close(stay->conn); // as a mailbox that is dropped does
    stranger_expect_end(&stay->stranger);
    stranger_close(&stay->stranger);
    mst_buf_fini(&bytes);
    for (size_t i = 0; i < 2; i++)
        mst_loop_free(stay->loops[i]);
    free(stay);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_connection_moves_while_it_is_used),
        cmocka_unit_test(test_it_moves_within_a_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
