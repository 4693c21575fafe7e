// Bodies over TCP, where a connection waits for much of a large one at once: whatever the bits that it comes in, all is
// told when it is there, also what is small and follows, and an end in its midst.
#include "rpc/conn.h"

#include "base/alloc.h"
#include "muster/status.h"
#include "rpc_frames.h"
#include "rpc_stranger.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BODY_MAX = 5 << 20, BIT_BYTES = 50000 };

struct fixture {
    struct mst_loop *loop;
    struct stranger stranger;
    int fd; // the connection's
    struct mst_conn *conn;
    size_t n_messages;
    size_t n_wanted;
    bool has_closed;
    char text[512];
    size_t n_body;
    struct iovec part;
    struct mst_buf frame;
    uint8_t body[BODY_MAX];
};

static enum mst_body_verdict on_head(void *arg, struct mst_conn *conn, const struct mst_message *message,
                                     struct mst_sink *sink)
{
    (void)conn;
    struct fixture *f = arg;
    f->part = (struct iovec){f->body, (size_t)message->body_bytes};
    *sink = (struct mst_sink){&f->part, 1};
    return MST_BODY_TAKE;
}

static void on_message(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    (void)conn;
    struct fixture *f = arg;
    f->n_messages++;
    f->n_body = (size_t)message->body_bytes;
}

static void on_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text)
{
    (void)conn;
    (void)status;
    struct fixture *f = arg;
    f->has_closed = true;
    f->conn = NULL;
    strncat(f->text, text, sizeof f->text - 1);
}

static const struct mst_conn_events events = {.on_head = on_head, .on_message = on_message, .on_closed = on_closed};

static int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    assert_int_equal(mst_loop_new("conn", &f->loop, NULL), MST_OK);
    stranger_tcp_pair(&f->stranger, f->loop, &f->fd);
    assert_int_equal(mst_conn_new(f->loop, f->fd, "ps-0", &f->conn, NULL), MST_OK);
    mst_conn_set_events(f->conn, &events, f);
    mst_buf_init(&f->frame, BODY_MAX + 1000);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    mst_buf_fini(&f->frame);
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

static bool has_closed(void *arg)
{
    return ((struct fixture *)arg)->has_closed;
}

static int low_water(const struct fixture *f)
{
    int n = 0;
    socklen_t len = sizeof n;
    assert_int_equal(getsockopt(f->fd, SOL_SOCKET, SO_RCVLOWAT, &n, &len), 0);
    return n;
}

static bool waits_for_much(void *arg)
{
    return low_water(arg) > 1;
}

static void make_frame(struct fixture *f, uint64_t call, uint8_t flags, size_t body_bytes)
{
    mst_buf_reset(&f->frame);
    struct mst_frame head = {.flags = flags, .method = MST_METHOD_PUSH, .call = call};
    rpc_append_frame(&f->frame, &head, (struct mst_bytes){"meta", 4}, body_bytes);
}

static void send_bits(struct fixture *f, size_t from, size_t to)
{
    for (size_t at = from; at < to; at += BIT_BYTES) {
        assert_true(stranger_send(&f->stranger, f->frame.data + at, to - at < BIT_BYTES ? to - at : BIT_BYTES));
        mst_loop_poll(f->loop);
    }
}

static void test_large_and_small_ones_in_bits(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {BODY_MAX, 1, 70000, 65536, 3 << 20, 0, 1 << 20, 65535};
    for (uint64_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        make_frame(f, 10 + i, i % 2 ? 0 : MST_FRAME_BODY_CRC, sizes[i]);
        send_bits(f, 0, f->frame.len);
        f->n_wanted = i + 1;
        run_until(f->loop, has_messages, f);
        assert_int_equal(f->n_body, sizes[i]);
        for (size_t k = 0; k < sizes[i]; k++)
            if (f->body[k] != rpc_pattern(10 + i, k))
                fail_msg("body of %zu bytes: byte %zu is %u", sizes[i], k, f->body[k]);
        assert_true(low_water(f) <= 1); // what comes next may be small
    }
}

static void test_an_end_within_a_body(void **state)
{
    struct fixture *f = *state;
    make_frame(f, 1, 0, BODY_MAX);
    send_bits(f, 0, 2 << 20);
    run_until(f->loop, waits_for_much, f);
    stranger_close(&f->stranger);
    run_until(f->loop, has_closed, f);
    assert_non_null(strstr(f->text, "closed by the peer within a frame"));
    assert_int_equal(f->n_messages, 0);
}

static void congestion_control(int fd, char out[16])
{
    socklen_t len = 16;
    memset(out, 0, len);
    assert_int_equal(getsockopt(fd, SOL_TCP, TCP_CONGESTION, out, &len), 0);
}

static void test_nothing_paces_within_a_host(void **state)
{
    struct fixture *f = *state;
    char ours[16], theirs[16];
    congestion_control(f->fd, ours);
    assert_string_equal(ours, "reno");
    // From another address: it could be another host, whose network the system knows better.
    int fd;
    struct stranger stranger;
    stranger_tcp_pair_from(&stranger, f->loop, "127.0.0.2", &fd);
    congestion_control(stranger.fd, theirs);
    struct mst_conn *conn;
    assert_int_equal(mst_conn_new(f->loop, fd, "ps-1", &conn, NULL), MST_OK);
    congestion_control(fd, ours);
    assert_string_equal(ours, theirs);
    mst_conn_close(conn);
    stranger_close(&stranger);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_large_and_small_ones_in_bits),
        CASE(test_an_end_within_a_body),
        CASE(test_nothing_paces_within_a_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
