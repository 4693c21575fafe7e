// The table of methods that serves a connection: what reaches a handler, and how the rest is refused.
#include "rpc/service.h"

#include "base/alloc.h"
#include "muster/status.h"
#include "rpc_frames.h"
#include "rpc_stranger.h"
#include "wire/methods.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

struct fixture {
    struct mst_loop *loop;
    struct stranger stranger;
    struct mst_conn *conn;
    int n_pulls;
    int n_pushes;
    int n_closed;
    uint8_t body[1000];
    struct iovec part;
};

static void on_pull(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct fixture *f = arg;
    f->n_pulls++;
    mst_conn_reply(conn, message, message->meta, NULL);
}

static enum mst_body_verdict on_push_head(void *arg, struct mst_conn *conn, const struct mst_message *message,
                                          struct mst_sink *sink)
{
    struct fixture *f = arg;
    if (message->body_bytes > sizeof f->body) {
        mst_conn_reply_error(conn, message, MST_RESOURCE_EXHAUSTED, "at most %zu bytes", sizeof f->body);
        return MST_BODY_DRAIN;
    }
    f->part = (struct iovec){f->body, (size_t)message->body_bytes};
    *sink = (struct mst_sink){&f->part, 1};
    return MST_BODY_TAKE;
}

static void on_push(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct fixture *f = arg;
    f->n_pushes++;
    mst_conn_reply(conn, message, message->meta, NULL);
}

static void on_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text)
{
    struct fixture *f = arg;
    (void)text;
    assert_ptr_equal(conn, f->conn);
    assert_int_equal(status, MST_UNAVAILABLE);
    f->n_closed++;
    f->conn = NULL;
}

static const struct mst_handler handlers[] = {
    {MST_METHOD_PUSH, on_push_head, on_push},
    {MST_METHOD_PULL, NULL, on_pull},
};
static const struct mst_service service = {handlers, 2, on_closed};
static const struct mst_service silent = {handlers, 2, NULL};

static int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    int fd;
    assert_int_equal(mst_loop_new("service", &f->loop, NULL), MST_OK);
    stranger_pair(&f->stranger, f->loop, &fd);
    assert_int_equal(mst_conn_new(f->loop, fd, "worker-1", &f->conn, NULL), MST_OK);
    mst_service_attach(&service, f, f->conn);
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

static void call(struct fixture *f, uint16_t method, uint8_t flags, size_t body_bytes)
{
    struct mst_frame head = {.flags = flags, .method = method, .call = method};
    assert_true(stranger_send_frame(&f->stranger, &head, (struct mst_bytes){"meta", 4}, body_bytes));
}

static void expect_reply(struct fixture *f, uint64_t id)
{
    const struct mst_message *message = stranger_read(&f->stranger);
    assert_non_null(message);
    assert_int_equal(message->flags, MST_FRAME_REPLY);
    assert_int_equal(message->call, id);
}

static void test_calls_reach_their_handlers(void **state)
{
    struct fixture *f = *state;
    call(f, MST_METHOD_PULL, 0, 0);
    expect_reply(f, MST_METHOD_PULL);
    call(f, MST_METHOD_PUSH, 0, 500);
    expect_reply(f, MST_METHOD_PUSH);
    call(f, MST_METHOD_PUSH, 0, 0); // without a body on_head is not asked
    expect_reply(f, MST_METHOD_PUSH);
    assert_int_equal(f->n_pulls, 1);
    assert_int_equal(f->n_pushes, 2);
    assert_int_equal(f->body[499], rpc_pattern(MST_METHOD_PUSH, 499));
}

static void test_other_methods_are_refused(void **state)
{
    struct fixture *f = *state;
    call(f, MST_METHOD_SAVE, 0, 0);
    stranger_expect_error(&f->stranger, MST_METHOD_SAVE, MST_UNIMPLEMENTED, "method 8 (save) is not served here");
    call(f, 60000, 0, 300);
    stranger_expect_error(&f->stranger, 60000, MST_UNIMPLEMENTED, "method 60000 (unknown)");
    call(f, MST_METHOD_PULL, 0, 0); // the stream is sound
    expect_reply(f, MST_METHOD_PULL);
}

static void test_bodies_that_are_not_wanted(void **state)
{
    struct fixture *f = *state;
    call(f, MST_METHOD_PULL, 0, 300);
    stranger_expect_error(&f->stranger, MST_METHOD_PULL, MST_INVALID_ARGUMENT, "pull takes no body, this one has 300");
    call(f, MST_METHOD_PUSH, 0, 1001);
    stranger_expect_error(&f->stranger, MST_METHOD_PUSH, MST_RESOURCE_EXHAUSTED, "at most 1000");
    call(f, MST_METHOD_PUSH, MST_FRAME_REPLY, 100); // replies are ignored, with their bodies
    call(f, MST_METHOD_PULL, MST_FRAME_REPLY, 0);
    call(f, MST_METHOD_PULL, 0, 0);
    expect_reply(f, MST_METHOD_PULL);
    assert_int_equal(f->n_pushes, 0);
    assert_int_equal(f->n_pulls, 1);
}

static bool is_closed(void *arg)
{
    return ((struct fixture *)arg)->n_closed > 0;
}

static bool is_gone(void *arg)
{
    return ((struct stranger *)arg)->has_ended;
}

static void test_the_end(void **state)
{
    struct fixture *f = *state;
    stranger_close(&f->stranger);
    run_until(f->loop, is_closed, f);
    tear_down(state);
    set_up(state);
    f = *state;
    mst_service_attach(&silent, f, f->conn); // nobody wants to know
    assert_true(stranger_send(&f->stranger, "garbage that is no frame of ours", 32));
    stranger_expect_end(&f->stranger);
    run_until(f->loop, is_gone, &f->stranger);
    f->conn = NULL;
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_calls_reach_their_handlers),
        CASE(test_other_methods_are_refused),
        CASE(test_bodies_that_are_not_wanted),
        CASE(test_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
