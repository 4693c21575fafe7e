// Calls against a bare socket: replies in any order, late, wrong or never; and that each call ends exactly once.
#include "rpc/client.h"

#include "base/alloc.h"
#include "muster/status.h"
#include "rpc_frames.h"
#include "rpc_stranger.h"
#include "wire/messages.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_CALLS = 32, BODY_MAX = 100000 };

struct fixture;

// A call of the test, and how it ended.
struct attempt {
    struct fixture *f;
    uint64_t id; // on the wire
    int n_replies;
    mst_status status;
    char text[256];
    size_t meta_bytes;
    enum mst_body_verdict verdict;
    size_t n_heads;
    struct iovec part;
    enum { THEN_NOTHING, THEN_CALL_AGAIN, THEN_FREE_CLIENT } then;
    bool adds_body_crc;
};

struct fixture {
    struct mst_loop *loop;
    struct stranger stranger;
    struct mst_client *client;
    struct attempt attempts[N_CALLS];
    struct attempt again; // made by THEN_CALL_AGAIN
    size_t n_ended;
    size_t n_wanted;
    size_t n_released;
    int n_closed;
    mst_status status;
    bool frees_when_closed;
    uint8_t body[BODY_MAX];
};

static void on_closed(void *arg, struct mst_client *client, mst_status status, const char *text)
{
    struct fixture *f = arg;
    assert_ptr_equal(client, f->client);
    assert_null(mst_client_conn(client));
    assert_int_equal(mst_client_n_pending(client), 0);
    assert_non_null(strstr(text, "ps-3"));
    f->n_closed++;
    f->status = status;
    if (f->frees_when_closed) {
        mst_client_free(f->client);
        f->client = NULL;
    }
}

static int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    int fd;
    struct mst_conn *conn;
    assert_int_equal(mst_loop_new("client", &f->loop, NULL), MST_OK);
    stranger_pair(&f->stranger, f->loop, &fd);
    assert_int_equal(mst_conn_new(f->loop, fd, "ps-3", &conn, NULL), MST_OK);
    assert_int_equal(mst_client_new(conn, on_closed, f, &f->client), MST_OK);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    mst_client_free(f->client);
    stranger_close(&f->stranger);
    mst_loop_free(f->loop);
    free(f);
    return 0;
}

static enum mst_body_verdict on_body(void *arg, const struct mst_message *message, struct mst_sink *sink)
{
    struct attempt *attempt = arg;
    attempt->n_heads++;
    assert_true(message->body_bytes <= BODY_MAX);
    attempt->part = (struct iovec){attempt->f->body, (size_t)message->body_bytes};
    *sink = (struct mst_sink){&attempt->part, 1};
    return attempt->verdict;
}

static void make_call(struct fixture *f, struct attempt *attempt, uint64_t deadline_ms);

static void on_reply(void *arg, const struct mst_reply *reply)
{
    struct attempt *attempt = arg;
    struct fixture *f = attempt->f;
    attempt->n_replies++;
    attempt->status = reply->status;
    attempt->text[0] = '\0';
    strncat(attempt->text, reply->text, sizeof attempt->text - 1);
    attempt->meta_bytes = reply->message ? reply->message->meta.len : 0;
    f->n_ended++;
    if (attempt->then == THEN_CALL_AGAIN)
        make_call(f, &f->again, 0);
    if (attempt->then == THEN_FREE_CLIENT) {
        mst_client_free(f->client);
        f->client = NULL;
    }
}

static void on_release(void *arg)
{
    ((struct fixture *)arg)->n_released++;
}

static void make_call(struct fixture *f, struct attempt *attempt, uint64_t deadline_ms)
{
    static const struct iovec part = {(void *)(uintptr_t)"gradient", 8};
    attempt->f = f;
    struct mst_call call = {.method = MST_METHOD_PUSH,
                            .meta = {"question", 8},
                            .body = {&part, 1, on_release, f},
                            .adds_body_crc = attempt->adds_body_crc,
                            .deadline_ms = deadline_ms,
                            .on_body = on_body,
                            .on_reply = on_reply,
                            .arg = attempt};
    mst_client_call(f->client, &call);
}

// Makes n calls, and reads them at the other end.
static void make_calls(struct fixture *f, size_t n, uint64_t deadline_ms)
{
    for (size_t i = 0; i < n; i++)
        make_call(f, &f->attempts[i], deadline_ms);
    for (size_t i = 0; i < n; i++) {
        const struct mst_message *message = stranger_read(&f->stranger);
        assert_int_equal(message->flags, 0);
        assert_int_equal(message->method, MST_METHOD_PUSH);
        assert_memory_equal(message->meta.data, "question", 8);
        assert_memory_equal(f->stranger.body, "gradient", 8);
        f->attempts[i].id = message->call;
    }
}

static void answer(struct fixture *f, uint64_t id, struct mst_bytes meta, size_t body_bytes)
{
    struct mst_frame head = {.flags = MST_FRAME_REPLY, .method = MST_METHOD_PUSH, .call = id};
    assert_true(stranger_send_frame(&f->stranger, &head, meta, body_bytes));
}

static void answer_error(struct fixture *f, uint64_t id, mst_status status, const char *text)
{
    struct mst_buf meta;
    mst_buf_init(&meta, 1000);
    struct mst_msg_error error = {status, text};
    assert_int_equal(mst_msg_error_encode(&error, &meta), MST_OK);
    struct mst_frame head = {.flags = MST_FRAME_REPLY | MST_FRAME_ERROR, .method = MST_METHOD_PUSH, .call = id};
    assert_true(stranger_send_frame(&f->stranger, &head, mst_buf_view(&meta), 0));
    mst_buf_fini(&meta);
}

static bool has_ended(void *arg)
{
    struct fixture *f = arg;
    return f->n_ended >= f->n_wanted;
}

static bool has_closed(void *arg)
{
    return ((struct fixture *)arg)->n_closed > 0;
}

static bool has_heads(void *arg)
{
    struct fixture *f = arg;
    return f->attempts[0].n_heads >= f->n_wanted;
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

static void wait_for(struct fixture *f, size_t n)
{
    f->n_wanted = n;
    run_until(f->loop, has_ended, f);
    assert_int_equal(f->n_ended, n);
}

static void expect(const struct attempt *attempt, mst_status status, const char *says)
{
    assert_int_equal(attempt->n_replies, 1);
    assert_int_equal(attempt->status, status);
    if (!strstr(attempt->text, says))
        fail_msg("\"%s\" does not say \"%s\"", attempt->text, says);
}

// ---- replies ----

static void test_replies_in_any_order(void **state)
{
    struct fixture *f = *state;
    make_calls(f, N_CALLS, 60000);
    assert_int_equal(mst_client_n_pending(f->client), N_CALLS);
    assert_int_equal(f->n_released, N_CALLS);
    static const char meta[N_CALLS] = "";
    for (size_t i = 0; i < N_CALLS; i++) {
        size_t which = i * 13 % N_CALLS; // 13 and 32 have no common divisor
        answer(f, f->attempts[which].id, (struct mst_bytes){meta, which}, 0);
    }
    wait_for(f, N_CALLS);
    for (size_t i = 0; i < N_CALLS; i++) {
        expect(&f->attempts[i], MST_OK, "");
        assert_int_equal(f->attempts[i].meta_bytes, i);
    }
    assert_int_equal(mst_client_n_pending(f->client), 0);
}

static void test_a_checksum_for_one_call(void **state)
{
    struct fixture *f = *state;
    f->attempts[1].adds_body_crc = true;
    for (size_t i = 0; i < 3; i++)
        make_call(f, &f->attempts[i], 0);
    for (size_t i = 0; i < 3; i++) {
        const struct mst_message *message = stranger_read(&f->stranger); // and it is right
        assert_int_equal(message->flags, i == 1 ? MST_FRAME_BODY_CRC : 0);
        assert_int_equal(message->body_bytes, 8);
    }
}

static void test_an_error_reply_names_the_peer(void **state)
{
    struct fixture *f = *state;
    make_calls(f, 2, 0);
    answer_error(f, f->attempts[1].id, MST_ABORTED, "term 3 is over");
    struct mst_frame head = {
        .flags = MST_FRAME_REPLY | MST_FRAME_ERROR, .method = MST_METHOD_PUSH, .call = f->attempts[0].id};
    assert_true(stranger_send_frame(&f->stranger, &head, (struct mst_bytes){"\xff\xff", 2}, 30)); // with a body, too
    wait_for(f, 2);
    expect(&f->attempts[1], MST_ABORTED, "ps-3: term 3 is over");
    expect(&f->attempts[0], MST_INTERNAL, "ps-3 sent an error reply that cannot be read");
}

static void test_replies_to_nothing_are_ignored(void **state)
{
    struct fixture *f = *state;
    make_calls(f, 2, 0);
    uint64_t id = f->attempts[0].id;
    answer(f, id + (1 << 20), (struct mst_bytes){NULL, 0}, 0);
    answer(f, 0, (struct mst_bytes){NULL, 0}, 100); // its body is thrown away
    answer(f, UINT64_MAX, (struct mst_bytes){NULL, 0}, 0);
    struct mst_frame other_method = {.flags = MST_FRAME_REPLY, .method = MST_METHOD_PULL, .call = id};
    assert_true(stranger_send_frame(&f->stranger, &other_method, (struct mst_bytes){NULL, 0}, 0));
    answer(f, f->attempts[1].id, (struct mst_bytes){NULL, 0}, 0);
    answer(f, f->attempts[1].id, (struct mst_bytes){NULL, 0}, 0); // twice
    answer(f, id, (struct mst_bytes){NULL, 0}, 0);
    wait_for(f, 2);
    expect(&f->attempts[0], MST_OK, "");
    expect(&f->attempts[1], MST_OK, "");
}

static void test_the_peer_may_not_call(void **state)
{
    struct fixture *f = *state;
    struct mst_frame head = {.method = MST_METHOD_STATS, .call = 5};
    assert_true(stranger_send_frame(&f->stranger, &head, (struct mst_bytes){NULL, 0}, 0));
    stranger_expect_error(&f->stranger, 5, MST_UNIMPLEMENTED, "dialled");
}

static void test_bodies_of_replies(void **state)
{
    struct fixture *f = *state;
    make_calls(f, 3, 0);
    f->attempts[1].verdict = MST_BODY_DRAIN;
    for (size_t i = 0; i < 3; i++)
        answer(f, f->attempts[i].id, (struct mst_bytes){NULL, 0}, 50000);
    wait_for(f, 3);
    expect(&f->attempts[0], MST_OK, "");
    expect(&f->attempts[1], MST_INTERNAL, "ps-3 answered push with a body of 50000 bytes that does not fit");
    expect(&f->attempts[2], MST_OK, "");
    for (size_t i = 0; i < 50000; i++)
        assert_int_equal(f->body[i], rpc_pattern(f->attempts[2].id, i));
}

static void test_a_body_that_nobody_wanted(void **state)
{
    struct fixture *f = *state;
    struct attempt *attempt = &f->attempts[0];
    attempt->f = f;
    struct mst_call call = {.method = MST_METHOD_PUSH, .on_reply = on_reply, .arg = attempt};
    mst_client_call(f->client, &call);
    answer(f, stranger_read(&f->stranger)->call, (struct mst_bytes){NULL, 0}, 10);
    wait_for(f, 1);
    expect(attempt, MST_INTERNAL, "does not fit");
    call.on_reply = NULL; // nobody wants to know: fine
    mst_client_call(f->client, &call);
    answer(f, stranger_read(&f->stranger)->call, (struct mst_bytes){NULL, 0}, 0);
    make_call(f, &f->attempts[1], 0);
    answer(f, stranger_read(&f->stranger)->call, (struct mst_bytes){NULL, 0}, 0);
    wait_for(f, 2);
    assert_int_equal(mst_client_n_pending(f->client), 0);
}

// ---- deadlines ----

static void test_deadlines(void **state)
{
    struct fixture *f = *state;
    make_call(f, &f->attempts[0], 60000);
    make_call(f, &f->attempts[1], 20);
    make_call(f, &f->attempts[2], UINT64_MAX); // as good as none
    make_call(f, &f->attempts[3], 10);
    make_call(f, &f->attempts[4], 0);
    wait_for(f, 2);
    expect(&f->attempts[1], MST_DEADLINE_EXCEEDED, "ps-3 did not answer push within 20 ms");
    expect(&f->attempts[3], MST_DEADLINE_EXCEEDED, "within 10 ms");
    // Their replies come too late, also when their slots are other calls' by now.
    uint64_t ids[5];
    for (size_t i = 0; i < 5; i++)
        ids[i] = stranger_read(&f->stranger)->call;
    make_call(f, &f->attempts[5], 60000);
    make_call(f, &f->attempts[6], 60000);
    uint64_t reused = stranger_read(&f->stranger)->call;
    assert_true((reused ^ ids[1]) % MST_CLIENT_CALLS_MAX == 0 || (reused ^ ids[3]) % MST_CLIENT_CALLS_MAX == 0);
    for (size_t i = 0; i < 5; i++)
        answer(f, ids[i], (struct mst_bytes){NULL, 0}, 0);
    wait_for(f, 5);
    assert_false(mst_loop_run_until(f->loop, never, NULL, 10));
    assert_int_equal(f->attempts[5].n_replies + f->attempts[6].n_replies, 0);
    expect(&f->attempts[2], MST_OK, "");
}

static void test_a_deadline_within_a_body(void **state)
{
    struct fixture *f = *state;
    make_calls(f, 1, 30);
    struct mst_buf bytes;
    mst_buf_init(&bytes, 200000);
    struct mst_frame head = {.flags = MST_FRAME_REPLY, .method = MST_METHOD_PUSH, .call = f->attempts[0].id};
    rpc_append_frame(&bytes, &head, (struct mst_bytes){NULL, 0}, BODY_MAX);
    assert_true(stranger_send(&f->stranger, bytes.data, 60000));
    wait_for(f, 1);
    expect(&f->attempts[0], MST_DEADLINE_EXCEEDED, "");
    assert_int_equal(f->attempts[0].n_heads, 1);
    memset(f->body, 0, sizeof f->body); // the caller may use its memory for something else
    assert_true(stranger_send(&f->stranger, bytes.data + 60000, bytes.len - 60000));
    mst_buf_fini(&bytes);
    make_call(f, &f->attempts[1], 60000);
    answer(f, stranger_read(&f->stranger)->call, (struct mst_bytes){NULL, 0}, 0);
    wait_for(f, 2);
    expect(&f->attempts[1], MST_OK, "");
    for (size_t i = 0; i < BODY_MAX; i++)
        assert_int_equal(f->body[i], 0);
}

// A reply that waits for room when its call's time is over must not block those behind it.
static void test_a_deadline_while_parked(void **state)
{
    struct fixture *f = *state;
    f->attempts[0].verdict = MST_BODY_PARK;
    make_calls(f, 1, 30);
    answer(f, f->attempts[0].id, (struct mst_bytes){NULL, 0}, 1000);
    f->n_wanted = 1;
    run_until(f->loop, has_heads, f);
    assert_true(mst_conn_is_parked(mst_client_conn(f->client)));
    wait_for(f, 1);
    expect(&f->attempts[0], MST_DEADLINE_EXCEEDED, "");
    make_call(f, &f->attempts[1], 60000);
    answer(f, stranger_read(&f->stranger)->call, (struct mst_bytes){NULL, 0}, 1000);
    wait_for(f, 2);
    expect(&f->attempts[1], MST_OK, "");
}

// ---- ends ----

static void test_a_lost_connection_fails_all_once(void **state)
{
    struct fixture *f = *state;
    make_calls(f, 10, 60000);
    f->attempts[3].then = THEN_CALL_AGAIN;
    answer(f, f->attempts[0].id, (struct mst_bytes){NULL, 0}, 0);
    wait_for(f, 1);
    close(f->stranger.fd);
    f->stranger.fd = -1;
    run_until(f->loop, has_closed, f);
    for (size_t i = 1; i < 10; i++)
        expect(&f->attempts[i], MST_UNAVAILABLE, "connection with ps-3 closed by the peer");
    assert_int_equal(f->n_closed, 1);
    assert_int_equal(f->status, MST_UNAVAILABLE);
    // A call made when there is no connection fails from the loop, not from within.
    make_call(f, &f->attempts[10], 0);
    assert_int_equal(f->attempts[10].n_replies, 0);
    wait_for(f, 12); // and the one that was made again
    expect(&f->attempts[10], MST_UNAVAILABLE, "no connection with ps-3");
    expect(&f->again, MST_UNAVAILABLE, "no connection with ps-3");
    assert_int_equal(f->n_released, 12);
}

static void test_bytes_that_are_no_frame(void **state)
{
    struct fixture *f = *state;
    make_calls(f, 1, 0);
    assert_true(stranger_send(&f->stranger, "HTTP/1.1 400 Bad Request\r\nLength: 0\r\n\r\n", 39));
    run_until(f->loop, has_closed, f);
    expect(&f->attempts[0], MST_UNAVAILABLE, "not a Muster frame");
    assert_int_equal(f->status, MST_INVALID_ARGUMENT); // for the log
}

static void test_too_many_calls(void **state)
{
    struct fixture *f = *state;
    struct attempt *one = &f->attempts[0];
    one->f = f;
    struct mst_call call = {.method = MST_METHOD_STATS, .on_reply = on_reply, .arg = one};
    for (size_t i = 0; i < MST_CLIENT_CALLS_MAX; i++)
        mst_client_call(f->client, &call);
    make_call(f, &f->attempts[1], 0);
    assert_int_equal(f->attempts[1].n_replies, 0); // not from within
    assert_int_equal(mst_client_n_pending(f->client), MST_CLIENT_CALLS_MAX);
    assert_int_equal(f->n_released, 1);
    wait_for(f, 1);
    expect(&f->attempts[1], MST_RESOURCE_EXHAUSTED, "4096 calls to ps-3");
    // One that failed at once and is not told yet hears of it before the client goes.
    make_call(f, &f->attempts[2], 0);
    close(f->stranger.fd);
    f->stranger.fd = -1;
    f->frees_when_closed = true;
    run_until(f->loop, has_closed, f);
    assert_int_equal(one->n_replies, MST_CLIENT_CALLS_MAX);
    expect(&f->attempts[2], MST_RESOURCE_EXHAUSTED, "4096 calls to ps-3");
}

static void test_freed_within_each_kind_of_end(void **state)
{
    struct fixture *f = *state;
    for (int kind = 0; kind < 5; kind++) {
        make_calls(f, 3, kind == 3 ? 10 : 60000);
        for (size_t i = 0; i < 3; i++)
            f->attempts[i].then = THEN_FREE_CLIENT;
        f->attempts[0].verdict = MST_BODY_DRAIN;
        if (kind == 0)
            answer(f, f->attempts[1].id, (struct mst_bytes){NULL, 0}, 0);
        if (kind == 1)
            answer_error(f, f->attempts[1].id, MST_ABORTED, "no");
        if (kind == 2)
            answer(f, f->attempts[0].id, (struct mst_bytes){NULL, 0}, 100); // ends within on_head
        if (kind == 4) {
            close(f->stranger.fd);
            f->stranger.fd = -1;
        }
        wait_for(f, 1); // the others are forgotten
        assert_false(mst_loop_run_until(f->loop, never, NULL, 5));
        assert_int_equal(f->n_ended, 1);
        assert_int_equal(f->n_closed, 0);
        tear_down(state);
        set_up(state);
        f = *state;
    }
}

static void test_freeing_forgets(void **state)
{
    struct fixture *f = *state;
    make_calls(f, 3, 5);
    mst_client_free(f->client);
    f->client = NULL;
    assert_false(mst_loop_run_until(f->loop, never, NULL, 20));
    assert_int_equal(f->n_ended, 0);
    assert_int_equal(f->n_released, 3);
    stranger_expect_end(&f->stranger);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_replies_in_any_order),
        CASE(test_a_checksum_for_one_call),
        CASE(test_an_error_reply_names_the_peer),
        CASE(test_replies_to_nothing_are_ignored),
        CASE(test_the_peer_may_not_call),
        CASE(test_bodies_of_replies),
        CASE(test_a_body_that_nobody_wanted),
        CASE(test_deadlines),
        CASE(test_a_deadline_within_a_body),
        CASE(test_a_deadline_while_parked),
        CASE(test_a_lost_connection_fails_all_once),
        CASE(test_bytes_that_are_no_frame),
        CASE(test_too_many_calls),
        CASE(test_freed_within_each_kind_of_end),
        CASE(test_freeing_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
