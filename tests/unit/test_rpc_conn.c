// One connection against a bare socket: messages, bodies, parking, draining, limits, and every way it may end.
#include "rpc/conn.h"

#include "base/alloc.h"
#include "base/metrics.h"
#include "muster/status.h"
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
#include <unistd.h>

enum { BODY_MAX = 1 << 20 };

// What to do when something comes.
enum act { ACT_NOTHING, ACT_REPLY, ACT_CLOSE, ACT_CLOSE_FLUSHED, ACT_REPLY_AND_CLOSE_FLUSHED, ACT_IGNORE_FROM_NOW };

struct fixture {
    struct mst_loop *loop;
    struct stranger stranger;
    struct mst_conn *conn; // NULL once it is gone
    enum mst_body_verdict verdict;
    enum act on_head;
    enum act on_message;
    size_t n_heads;
    size_t n_messages;
    size_t n_closed;
    size_t n_released;
    size_t n_wanted; // for has_*
    uint64_t last_call;
    size_t last_body_bytes;
    mst_status status; // how it closed
    char text[512];
    uint8_t body[BODY_MAX];
    struct iovec parts[3];
};

static void act(struct fixture *f, enum act what, struct mst_conn *conn, const struct mst_message *message)
{
    if (what == ACT_REPLY || what == ACT_REPLY_AND_CLOSE_FLUSHED)
        mst_conn_reply(conn, message, message->meta, NULL);
    if (what == ACT_CLOSE)
        mst_conn_close(conn);
    if (what == ACT_CLOSE_FLUSHED || what == ACT_REPLY_AND_CLOSE_FLUSHED)
        mst_conn_close_flushed(conn);
    if (what == ACT_CLOSE || what == ACT_CLOSE_FLUSHED || what == ACT_REPLY_AND_CLOSE_FLUSHED)
        f->conn = NULL;
    if (what == ACT_IGNORE_FROM_NOW)
        mst_conn_set_events(conn, NULL, NULL);
}

static enum mst_body_verdict on_head(void *arg, struct mst_conn *conn, const struct mst_message *message,
                                     struct mst_sink *sink)
{
    struct fixture *f = arg;
    f->n_heads++;
    if (f->verdict == MST_BODY_TAKE) {
        assert_true(message->body_bytes <= BODY_MAX);
        size_t n = (size_t)message->body_bytes, third = n / 3;
        f->parts[0] = (struct iovec){f->body, third};
        f->parts[1] = (struct iovec){f->body + third, third};
        f->parts[2] = (struct iovec){f->body + 2 * third, n - 2 * third};
        *sink = (struct mst_sink){f->parts, 3};
    }
    enum mst_body_verdict verdict = f->verdict;
    act(f, f->on_head, conn, message);
    return verdict;
}

static void on_message(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct fixture *f = arg;
    f->n_messages++;
    f->last_call = message->call;
    f->last_body_bytes = (size_t)message->body_bytes;
    act(f, f->on_message, conn, message);
}

static void on_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text)
{
    struct fixture *f = arg;
    f->n_closed++;
    f->status = status;
    strncat(f->text, text, sizeof f->text - 1);
    mst_conn_close(conn); // allowed, and does nothing: it goes when this returns
    f->conn = NULL;
}

static const struct mst_conn_events events = {.on_head = on_head, .on_message = on_message, .on_closed = on_closed};

static int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    int fd;
    assert_int_equal(mst_loop_new("conn", &f->loop, NULL), MST_OK);
    stranger_pair(&f->stranger, f->loop, &fd);
    assert_int_equal(mst_conn_new(f->loop, fd, "ps-0", &f->conn, NULL), MST_OK);
    mst_conn_set_events(f->conn, &events, f);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    mst_conn_close(f->conn);
    stranger_close(&f->stranger);
    mst_loop_free(f->loop);
    free(f);
    return 0;
}

static bool has_messages(void *arg)
{
    struct fixture *f = arg;
    return f->n_messages >= f->n_wanted;
}

static bool has_heads(void *arg)
{
    struct fixture *f = arg;
    return f->n_heads >= f->n_wanted;
}

static bool has_closed(void *arg)
{
    return ((struct fixture *)arg)->n_closed > 0;
}

static bool has_released(void *arg)
{
    struct fixture *f = arg;
    return f->n_released >= f->n_wanted;
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

static void send_frame(struct fixture *f, uint64_t call, uint8_t flags, size_t body_bytes)
{
    struct mst_frame head = {.flags = flags, .method = MST_METHOD_PUSH, .call = call};
    assert_true(stranger_send_frame(&f->stranger, &head, (struct mst_bytes){"meta", 4}, body_bytes));
}

static void check_body(const struct fixture *f, uint64_t call)
{
    for (size_t i = 0; i < f->last_body_bytes; i++)
        assert_int_equal(f->body[i], rpc_pattern(call, i));
}

static void expect_closed(struct fixture *f, mst_status status, const char *says)
{
    wait_for(f, has_closed, 1);
    assert_int_equal(f->n_closed, 1);
    assert_int_equal(f->status, status);
    if (!strstr(f->text, says) || !strstr(f->text, "ps-0"))
        fail_msg("\"%s\" does not say \"%s\"", f->text, says);
}

static int64_t n_bad(void)
{
    return mst_metric_read(mst_metric_counter("muster_rpc_bad_frames_total", "", NULL));
}

static void test_no_memory_for_a_connection(void **state)
{
    (void)state;
    struct mst_loop *loop;
    struct stranger stranger;
    struct mst_conn *conn;
    struct mst_error err;
    int fd;
    assert_int_equal(mst_loop_new("conn", &loop, NULL), MST_OK);
    stranger_pair(&stranger, loop, &fd);
    assert_int_equal(mst_conn_new(loop, fd, "ps-0", &conn, &err), MST_RESOURCE_EXHAUSTED); // MST_FAIL_NTH=1, see main
    assert_null(conn);
    assert_non_null(strstr(err.text, "ps-0"));
    stranger_expect_end(&stranger); // the socket was not left open
    stranger_close(&stranger);
    assert_int_equal(mst_conn_new(loop, 99999, "ps-0", &conn, &err), MST_RESOURCE_EXHAUSTED); // no socket at all
    mst_loop_free(loop);
}

// ---- messages and bodies ----

static void test_messages_both_ways(void **state)
{
    struct fixture *f = *state;
    f->on_message = ACT_REPLY;
    for (uint64_t call = 1; call <= 100; call++)
        send_frame(f, call, 0, 0);
    for (uint64_t call = 1; call <= 100; call++) {
        const struct mst_message *reply = stranger_read(&f->stranger);
        assert_int_equal(reply->flags, MST_FRAME_REPLY);
        assert_int_equal(reply->method, MST_METHOD_PUSH);
        assert_int_equal(reply->call, call);
        assert_int_equal(reply->meta.len, 4);
    }
    assert_int_equal(f->n_messages, 100);
    assert_int_equal(f->n_heads, 0);
    assert_string_equal(mst_conn_name(f->conn), "ps-0");
    assert_ptr_equal(mst_conn_loop(f->conn), f->loop);
    mst_conn_set_user(f->conn, f);
    assert_ptr_equal(mst_conn_user(f->conn), f);
}

static void test_bodies_go_into_their_sinks(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {1, 2, 3, 100, 8192, 70000, BODY_MAX};
    for (uint64_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        send_frame(f, 10 + i, i % 2 ? MST_FRAME_BODY_CRC : 0, sizes[i]);
        wait_for(f, has_messages, i + 1);
        assert_int_equal(f->last_body_bytes, sizes[i]); // without its CRC
        check_body(f, 10 + i);
    }
}

static void test_a_body_with_a_wrong_crc(void **state)
{
    struct fixture *f = *state;
    int64_t before = n_bad();
    struct mst_buf bytes;
    mst_buf_init(&bytes, 1000);
    struct mst_frame head = {.flags = MST_FRAME_BODY_CRC, .method = MST_METHOD_PUSH, .call = 3};
    rpc_append_frame(&bytes, &head, (struct mst_bytes){NULL, 0}, 100);
    bytes.data[50] ^= 1;
    assert_true(stranger_send(&f->stranger, bytes.data, bytes.len));
    mst_buf_fini(&bytes);
    expect_closed(f, MST_DATA_LOSS, "body of push");
    assert_int_equal(f->n_messages, 0);
    assert_int_equal(n_bad(), before + 1);
    stranger_expect_error(&f->stranger, 3, MST_DATA_LOSS, "crc32c");
    stranger_expect_end(&f->stranger);
}

static void on_release(void *arg)
{
    ((struct fixture *)arg)->n_released++;
}

static void test_bodies_sent_have_a_crc_if_wanted(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[300000];
    rpc_fill(data, sizeof data, 7);
    struct iovec parts[] = {{data, 1000}, {data + 1000, 0}, {data + 1000, sizeof data - 1000}};
    struct mst_body body = {parts, 3, on_release, f};
    struct mst_frame head = {.method = MST_METHOD_PULL, .call = 7};
    for (size_t i = 0; i < 2; i++) {
        mst_conn_send(f->conn, &head, (struct mst_bytes){"m", 1}, &body);
        const struct mst_message *message = stranger_read(&f->stranger); // its parser checks the CRC
        assert_int_equal(message->flags, i ? MST_FRAME_BODY_CRC : 0);
        assert_int_equal(message->body_bytes, sizeof data);
        assert_memory_equal(f->stranger.body, data, sizeof data);
        wait_for(f, has_released, i + 1);
        mst_conn_add_body_crc(f->conn);
    }
    assert_int_equal(f->n_released, 2);
}

static void test_a_parked_body_waits(void **state)
{
    struct fixture *f = *state;
    f->verdict = MST_BODY_PARK;
    send_frame(f, 1, 0, 5000);
    send_frame(f, 2, 0, 0);
    wait_for(f, has_heads, 1);
    assert_true(mst_conn_is_parked(f->conn));
    assert_false(mst_loop_run_until(f->loop, never, NULL, 20));
    assert_int_equal(f->n_heads, 1);
    mst_conn_resume(f->conn);
    assert_int_equal(f->n_heads, 1); // asked from the loop, not from within
    wait_for(f, has_heads, 2);
    assert_true(mst_conn_is_parked(f->conn)); // still no room
    f->verdict = MST_BODY_TAKE;
    mst_conn_resume(f->conn);
    mst_conn_resume(f->conn); // nothing parked any more: fine
    wait_for(f, has_messages, 1);
    check_body(f, 1);
    assert_int_equal(f->n_heads, 3);
    wait_for(f, has_messages, 2);
    assert_false(mst_conn_is_parked(f->conn));
}

static void test_an_unwanted_body_is_thrown_away(void **state)
{
    struct fixture *f = *state;
    f->verdict = MST_BODY_DRAIN;
    send_frame(f, 1, MST_FRAME_BODY_CRC, 200000);
    send_frame(f, 2, 0, 0);
    wait_for(f, has_messages, 1);
    assert_int_equal(f->last_call, 2);
    assert_int_equal(f->n_heads, 1);
}

static void test_an_unwanted_body_that_is_too_large(void **state)
{
    struct fixture *f = *state;
    f->verdict = MST_BODY_DRAIN;
    struct mst_frame head = {.method = MST_METHOD_PUSH, .call = 1, .body_bytes = MST_CONN_DRAIN_MAX + 1};
    uint8_t header[MST_FRAME_HEADER_BYTES];
    mst_frame_encode(&head, NULL, header);
    assert_true(stranger_send(&f->stranger, header, sizeof header));
    expect_closed(f, MST_RESOURCE_EXHAUSTED, "unwanted body");
    stranger_expect_error(&f->stranger, 1, MST_RESOURCE_EXHAUSTED, "unwanted body");
}

static void test_nobody_takes_bodies(void **state)
{
    struct fixture *f = *state;
    static const struct mst_conn_events without = {.on_message = on_message, .on_closed = on_closed};
    mst_conn_set_events(f->conn, &without, f);
    send_frame(f, 1, 0, 100);
    stranger_expect_error(&f->stranger, 1, MST_UNIMPLEMENTED, "push takes no body");
    send_frame(f, 2, MST_FRAME_REPLY, 100); // a reply is not answered
    send_frame(f, 3, 0, 0);
    wait_for(f, has_messages, 1);
    assert_int_equal(f->last_call, 3);
}

static void test_an_abandoned_body(void **state)
{
    struct fixture *f = *state;
    struct mst_buf bytes;
    mst_buf_init(&bytes, BODY_MAX);
    struct mst_frame head = {.flags = MST_FRAME_BODY_CRC, .method = MST_METHOD_PUSH, .call = 1};
    rpc_append_frame(&bytes, &head, (struct mst_bytes){"meta", 4}, 100000);
    mst_conn_abandon_body(f->conn); // none is being read: fine
    assert_true(stranger_send(&f->stranger, bytes.data, 50000));
    wait_for(f, has_heads, 1);
    mst_conn_abandon_body(f->conn);
    memset(f->body, 0, sizeof f->body);
    assert_true(stranger_send(&f->stranger, bytes.data + 50000, bytes.len - 50000));
    mst_buf_fini(&bytes);
    send_frame(f, 2, 0, 0);
    wait_for(f, has_messages, 1);
    assert_int_equal(f->last_call, 2);
    for (size_t i = 0; i < 100000; i++)
        assert_int_equal(f->body[i], 0);
}

// ---- bytes that are no frame ----

static void test_garbage_is_not_answered(void **state)
{
    struct fixture *f = *state;
    int64_t before = n_bad();
    static const char request[] = "GET / HTTP/1.1\r\nHost: muster\r\n\r\n";
    assert_true(stranger_send(&f->stranger, request, sizeof request - 1));
    expect_closed(f, MST_INVALID_ARGUMENT, "not a Muster frame");
    assert_int_equal(n_bad(), before + 1);
    stranger_expect_end(&f->stranger);
}

static void test_another_version_is_answered(void **state)
{
    struct fixture *f = *state;
    uint8_t header[MST_FRAME_HEADER_BYTES];
    struct mst_frame head = {.method = MST_METHOD_GREETING, .call = 9};
    mst_frame_encode(&head, NULL, header);
    header[4] = 2;
    assert_true(stranger_send(&f->stranger, header, sizeof header));
    expect_closed(f, MST_FAILED_PRECONDITION, "version 2");
    stranger_expect_error(&f->stranger, 9, MST_FAILED_PRECONDITION, "same muster everywhere");
    stranger_expect_end(&f->stranger);
}

// Behind a good frame it was changed on the way: who sent it may send it again over another connection.
static void test_a_frame_that_was_changed_on_the_way_is_retryable(void **state)
{
    struct fixture *f = *state;
    struct mst_buf bytes;
    mst_buf_init(&bytes, 1000);
    struct mst_frame head = {.method = MST_METHOD_PUSH, .call = 5};
    rpc_append_frame(&bytes, &head, (struct mst_bytes){"meta", 4}, 0);
    size_t n_first = bytes.len;
    head.call = 6;
    rpc_append_frame(&bytes, &head, (struct mst_bytes){"meta", 4}, 0);
    bytes.data[n_first + 22] ^= 1;
    assert_true(stranger_send(&f->stranger, bytes.data, bytes.len));
    mst_buf_fini(&bytes);
    expect_closed(f, MST_DATA_LOSS, "crc32c");
    assert_int_equal(f->n_messages, 1);
    stranger_expect_error(&f->stranger, 6, MST_UNAVAILABLE, "crc32c");
    stranger_expect_end(&f->stranger);
}

// The error must get through although the peer has more to say: bytes not read would make the kernel reset it.
static void test_the_last_word_outlives_unread_bytes(void **state)
{
    struct fixture *f = *state;
    struct mst_buf bytes;
    mst_buf_init(&bytes, 1 << 20);
    struct mst_frame head = {.method = MST_METHOD_PUSH, .call = 5};
    rpc_append_frame(&bytes, &head, (struct mst_bytes){"meta", 4}, 0);
    bytes.data[22] ^= 1;
    uint8_t *place;
    assert_int_equal(mst_buf_reserve(&bytes, 500000, &place), MST_OK);
    memset(place, 'x', 500000);
    bytes.len += 500000;
    assert_true(stranger_send(&f->stranger, bytes.data, bytes.len));
    mst_buf_fini(&bytes);
    expect_closed(f, MST_DATA_LOSS, "crc32c");
    stranger_expect_error(&f->stranger, 5, MST_DATA_LOSS, "crc32c");
    stranger_expect_end(&f->stranger);
}

// ---- how it ends ----

static void test_the_peer_closes(void **state)
{
    struct fixture *f = *state;
    send_frame(f, 1, 0, 0);
    shutdown(f->stranger.fd, SHUT_WR);
    expect_closed(f, MST_UNAVAILABLE, "closed by the peer");
    assert_int_equal(f->n_messages, 1); // what came before the end counts
    assert_null(strstr(f->text, "within"));
    stranger_expect_end(&f->stranger);
}

// A peer that asks, says that it will say no more, and still gets what it asked for.
static void test_a_half_closed_peer_is_answered(void **state)
{
    struct fixture *f = *state;
    f->on_message = ACT_REPLY;
    send_frame(f, 1, 0, 0);
    send_frame(f, 2, 0, 300);
    shutdown(f->stranger.fd, SHUT_WR);
    expect_closed(f, MST_UNAVAILABLE, "closed by the peer");
    assert_int_equal(stranger_read(&f->stranger)->call, 1);
    assert_int_equal(stranger_read(&f->stranger)->call, 2);
    stranger_expect_end(&f->stranger);
}

static void test_the_peer_closes_within_a_frame(void **state)
{
    struct fixture *f = *state;
    assert_true(stranger_send(&f->stranger, "MSTR", 4));
    close(f->stranger.fd);
    f->stranger.fd = -1;
    expect_closed(f, MST_UNAVAILABLE, "within a frame");
}

static void test_a_lost_peer_is_told_from_the_loop(void **state)
{
    struct fixture *f = *state;
    close(f->stranger.fd);
    f->stranger.fd = -1;
    struct iovec part = {f->body, 100};
    struct mst_body body = {&part, 1, on_release, f};
    struct mst_frame head = {.method = MST_METHOD_PULL};
    for (int i = 0; i < 3; i++)
        mst_conn_send(f->conn, &head, (struct mst_bytes){NULL, 0}, &body);
    assert_int_equal(f->n_closed, 0);
    assert_int_equal(f->n_released, 3); // also of those that could not be sent any more
    expect_closed(f, MST_UNAVAILABLE, "lost");
    assert_int_equal(f->n_released, 3);
}

static void test_closing_releases_and_says_nothing(void **state)
{
    struct fixture *f = *state;
    static uint8_t large[4 << 20];
    struct iovec part = {large, sizeof large};
    struct mst_body body = {&part, 1, on_release, f};
    struct mst_frame head = {.method = MST_METHOD_PULL};
    mst_conn_send(f->conn, &head, (struct mst_bytes){NULL, 0}, &body);
    mst_conn_send(f->conn, &head, (struct mst_bytes){NULL, 0}, &body);
    assert_int_equal(mst_conn_n_queued(f->conn), 2);
    assert_int_equal(f->n_released, 0);
    mst_conn_close(f->conn);
    f->conn = NULL;
    assert_int_equal(f->n_released, 2);
    assert_int_equal(f->n_closed, 0);
    mst_conn_close(NULL);
    mst_conn_close_flushed(NULL);
}

static void test_closing_within_callbacks(void **state)
{
    struct fixture *f = *state;
    static const enum act acts[] = {ACT_CLOSE, ACT_CLOSE_FLUSHED, ACT_REPLY_AND_CLOSE_FLUSHED};
    for (size_t i = 0; i < 6; i++) {
        enum act what = acts[i % 3];
        bool in_head = i >= 3;
        f->on_head = in_head ? what : ACT_NOTHING;
        f->on_message = in_head ? ACT_NOTHING : what;
        f->n_heads = f->n_messages = 0;
        send_frame(f, 1, 0, in_head ? 100 : 0);
        send_frame(f, 2, 0, 100); // is never seen
        wait_for(f, in_head ? has_heads : has_messages, 1);
        if (what == ACT_REPLY_AND_CLOSE_FLUSHED)
            assert_int_equal(stranger_read(&f->stranger)->call, 1);
        stranger_expect_end(&f->stranger);
        assert_int_equal(f->n_heads + f->n_messages, 1);
        assert_int_equal(f->n_closed, 0);
        tear_down(state);
        set_up(state);
        f = *state;
    }
}

static void test_a_flush_sends_what_waits(void **state)
{
    struct fixture *f = *state;
    static uint8_t large[3 << 20];
    rpc_fill(large, sizeof large, 1);
    struct iovec part = {large, sizeof large};
    struct mst_body body = {&part, 1, on_release, f};
    struct mst_frame head = {.method = MST_METHOD_PULL, .call = 1};
    mst_conn_send(f->conn, &head, (struct mst_bytes){NULL, 0}, &body);
    mst_conn_close_flushed(f->conn);
    f->conn = NULL;
    assert_int_equal(stranger_read(&f->stranger)->body_bytes, sizeof large);
    assert_memory_equal(f->stranger.body, large, sizeof large);
    stranger_expect_end(&f->stranger);
    assert_int_equal(f->n_released, 1);
}

static void test_a_flush_gives_up(void **state)
{
    struct fixture *f = *state;
    static uint8_t large[8 << 20];
    struct iovec part = {large, sizeof large};
    struct mst_body body = {&part, 1, on_release, f};
    struct mst_frame head = {.method = MST_METHOD_PULL, .call = 1};
    mst_conn_send(f->conn, &head, (struct mst_bytes){NULL, 0}, &body);
    mst_conn_close_flushed(f->conn); // nobody reads
    f->conn = NULL;
    wait_for(f, has_released, 1);
}

static void test_a_loop_that_goes_takes_what_lingers(void **state)
{
    struct fixture *f = *state;
    static uint8_t large[8 << 20];
    struct iovec part = {large, sizeof large};
    struct mst_body body = {&part, 1, on_release, f};
    struct mst_frame head = {.method = MST_METHOD_PULL, .call = 1};
    mst_conn_send(f->conn, &head, (struct mst_bytes){NULL, 0}, &body);
    mst_conn_close_flushed(f->conn);
    f->conn = NULL;
    mst_loop_poll(f->loop);
    mst_loop_free(f->loop);
    f->loop = NULL;
    assert_int_equal(f->n_released, 1);
}

static void test_nobody_listens_for_a_while(void **state)
{
    struct fixture *f = *state;
    f->on_message = ACT_IGNORE_FROM_NOW;
    for (uint64_t call = 1; call <= 3; call++)
        send_frame(f, call, 0, 0);
    assert_false(mst_loop_run_until(f->loop, never, NULL, 20));
    assert_int_equal(f->n_messages, 1);
    f->on_message = ACT_NOTHING;
    mst_conn_set_events(f->conn, &events, f); // what was read meanwhile is not lost
    wait_for(f, has_messages, 3);
}

// ---- a peer that does not read ----

static void test_replies_do_not_pile_up(void **state)
{
    struct fixture *f = *state;
    f->on_message = ACT_REPLY;
    // Many calls with much meta, echoed, and nothing read: it stops reading calls.
    static uint8_t meta[4000];
    struct mst_frame head = {.method = MST_METHOD_PULL};
    struct mst_buf calls;
    mst_buf_init(&calls, 16 << 20);
    for (head.call = 1; head.call <= 3000; head.call++)
        rpc_append_frame(&calls, &head, (struct mst_bytes){meta, sizeof meta}, 0);
    size_t at = 0;
    for (int n_idle = 0; n_idle < 50; n_idle++) {
        ssize_t n = send(f->stranger.fd, calls.data + at, calls.len - at, MSG_DONTWAIT);
        at += n > 0 ? (size_t)n : 0;
        n_idle = n > 0 ? 0 : n_idle;
        mst_loop_poll(f->loop);
    }
    assert_true(at < calls.len);
    assert_int_equal(mst_conn_n_queued(f->conn), MST_CONN_REPLIES_MAX);
    size_t n_before = f->n_messages;
    assert_true(n_before < 3000);
    // Once it reads, everything is answered, in order.
    for (uint64_t call = 1; call <= 3000; call++) {
        const struct mst_message *reply = stranger_read(&f->stranger);
        assert_int_equal(reply->call, call);
        ssize_t n = at < calls.len ? send(f->stranger.fd, calls.data + at, calls.len - at, MSG_DONTWAIT) : 0;
        at += n > 0 ? (size_t)n : 0;
    }
    assert_int_equal(at, calls.len);
    mst_buf_fini(&calls);
}

// Calls that wait to be sent do not keep it from reading: else two sides that wait for each other would wait for ever.
static void test_calls_that_wait_do_not_stop_reading(void **state)
{
    struct fixture *f = *state;
    static uint8_t part_data[4000];
    struct iovec part = {part_data, sizeof part_data};
    struct mst_body body = {&part, 1, on_release, f};
    struct mst_frame head = {.method = MST_METHOD_PUSH};
    for (size_t i = 0; i < 4 * MST_CONN_REPLIES_MAX; i++)
        mst_conn_send(f->conn, &head, (struct mst_bytes){NULL, 0}, &body);
    assert_true(mst_conn_n_queued(f->conn) > MST_CONN_REPLIES_MAX);
    send_frame(f, 1, MST_FRAME_REPLY, 0);
    wait_for(f, has_messages, 1);
    assert_true(mst_conn_n_queued(f->conn) > MST_CONN_REPLIES_MAX);
}

static void test_the_send_timeout(void **state)
{
    struct fixture *f = *state;
    static uint8_t large[8 << 20];
    struct iovec part = {large, sizeof large};
    struct mst_body body = {&part, 1, on_release, f};
    struct mst_frame head = {.method = MST_METHOD_PULL};
    mst_conn_send(f->conn, &head, (struct mst_bytes){NULL, 0}, &body);
    mst_conn_set_send_timeout(f->conn, 30); // counts for what waits already
    expect_closed(f, MST_DEADLINE_EXCEEDED, "took no frame");
    assert_int_equal(f->n_released, 1);
}

static void test_the_send_timeout_is_of_each_frame(void **state)
{
    struct fixture *f = *state;
    mst_conn_set_send_timeout(f->conn, 60000);
    static uint8_t large[2 << 20];
    struct iovec part = {large, sizeof large};
    struct mst_body body = {&part, 1, on_release, f};
    struct mst_frame head = {.method = MST_METHOD_PULL};
    for (size_t i = 1; i <= 3; i++) {
        mst_conn_send(f->conn, &head, (struct mst_bytes){NULL, 0}, &body);
        assert_non_null(stranger_read(&f->stranger));
        wait_for(f, has_released, i);
    }
    assert_int_equal(f->n_closed, 0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    setenv("MST_FAIL_NTH", "1", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory_for_a_connection), // first: it uses up the allocation that fails
        CASE(test_messages_both_ways),
        CASE(test_bodies_go_into_their_sinks),
        CASE(test_a_body_with_a_wrong_crc),
        CASE(test_bodies_sent_have_a_crc_if_wanted),
        CASE(test_a_parked_body_waits),
        CASE(test_an_unwanted_body_is_thrown_away),
        CASE(test_an_unwanted_body_that_is_too_large),
        CASE(test_nobody_takes_bodies),
        CASE(test_an_abandoned_body),
        CASE(test_garbage_is_not_answered),
        CASE(test_another_version_is_answered),
        CASE(test_a_frame_that_was_changed_on_the_way_is_retryable),
        CASE(test_the_last_word_outlives_unread_bytes),
        CASE(test_the_peer_closes),
        CASE(test_a_half_closed_peer_is_answered),
        CASE(test_the_peer_closes_within_a_frame),
        CASE(test_a_lost_peer_is_told_from_the_loop),
        CASE(test_closing_releases_and_says_nothing),
        CASE(test_closing_within_callbacks),
        CASE(test_a_flush_sends_what_waits),
        CASE(test_a_flush_gives_up),
        CASE(test_a_loop_that_goes_takes_what_lingers),
        CASE(test_nobody_listens_for_a_while),
        CASE(test_replies_do_not_pile_up),
        CASE(test_calls_that_wait_do_not_stop_reading),
        CASE(test_the_send_timeout),
        CASE(test_the_send_timeout_is_of_each_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
