#include "rpc_stranger.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "muster/status.h"
#include "rpc_frames.h"
#include "wire/messages.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_MS = 10000 };

static void init(struct stranger *stranger, struct mst_loop *loop, int fd)
{
    *stranger = (struct stranger){.loop = loop, .fd = fd};
    mst_parser_init(&stranger->parser, MST_FRAME_META_MAX);
}

void stranger_pair(struct stranger *stranger, struct mst_loop *loop, int *fd_out)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    init(stranger, loop, fds[0]);
    *fd_out = fds[1];
}

static void connect_from(struct stranger *stranger, struct mst_loop *loop, const char *host, uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MST_ASSERT(fd >= 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    assert_int_equal(inet_pton(AF_INET, host, &address.sin_addr), 1);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0); // the kernel accepts
    init(stranger, loop, fd);
}

void stranger_connect(struct stranger *stranger, struct mst_loop *loop, uint16_t port)
{
    connect_from(stranger, loop, "127.0.0.1", port);
}

void stranger_tcp_pair(struct stranger *stranger, struct mst_loop *loop, int *fd_out)
{
    stranger_tcp_pair_from(stranger, loop, "127.0.0.1", fd_out);
}

void stranger_tcp_pair_from(struct stranger *stranger, struct mst_loop *loop, const char *host, int *fd_out)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MST_ASSERT(listener >= 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    assert_int_equal(bind(listener, (const struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    connect_from(stranger, loop, host, ntohs(address.sin_port));
    *fd_out = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(*fd_out >= 0);
    close(listener);
}

void stranger_close(struct stranger *stranger)
{
    if (stranger->fd >= 0)
        close(stranger->fd);
    mst_parser_fini(&stranger->parser);
    free(stranger->body);
    *stranger = (struct stranger){.fd = -1};
}

// Lets the loop run, and waits a moment for the socket.
static void wait_for(struct stranger *stranger, short what, uint64_t deadline_ms)
{
    if (stranger->loop)
        mst_loop_poll(stranger->loop);
    struct pollfd socket = {.fd = stranger->fd, .events = what};
    poll(&socket, 1, 1);
    assert_true(mst_clock_monotonic_ms() < deadline_ms);
}

bool stranger_send(struct stranger *stranger, const void *data, size_t len)
{
    uint64_t deadline_ms = mst_clock_monotonic_ms() + PATIENCE_MS;
    const uint8_t *at = data;
    while (len) {
        ssize_t n = send(stranger->fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        } else {
            wait_for(stranger, POLLOUT, deadline_ms);
        }
    }
    return true;
}

bool stranger_send_frame(struct stranger *stranger, const struct mst_frame *head, struct mst_bytes meta,
                         size_t body_bytes)
{
    struct mst_buf bytes;
    mst_buf_init(&bytes, SIZE_MAX / 4);
    rpc_append_frame(&bytes, head, meta, body_bytes);
    bool is_sent = stranger_send(stranger, bytes.data, bytes.len);
    mst_buf_fini(&bytes);
    return is_sent;
}

// Reads once. False: nothing there, or the end.
static bool read_some(struct stranger *stranger)
{
    struct iovec iov[8];
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = mst_parser_space(&stranger->parser, iov, 8)};
    ssize_t n = recvmsg(stranger->fd, &message, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        stranger->has_ended = true;
    if (n <= 0)
        return false;
    mst_parser_filled(&stranger->parser, (size_t)n);
    return true;
}

static void take_body(struct stranger *stranger)
{
    size_t len = (size_t)stranger->parser.message.body_bytes;
    free(stranger->body);
    stranger->body = mst_alloc(len);
    stranger->part = (struct iovec){stranger->body, len};
    struct mst_sink sink = {&stranger->part, 1};
    mst_parser_take(&stranger->parser, &sink);
}

const struct mst_message *stranger_read(struct stranger *stranger)
{
    uint64_t deadline_ms = mst_clock_monotonic_ms() + PATIENCE_MS;
    while (true) {
        enum mst_parser_event event;
        struct mst_error err = {.text = ""};
        if (mst_parser_next(&stranger->parser, &event, &err) != MST_OK)
            fail_msg("%s", err.text);
        if (event == MST_PARSER_MESSAGE)
            return &stranger->parser.message;
        if (event == MST_PARSER_HEAD)
            take_body(stranger);
        else if (!read_some(stranger)) {
            if (stranger->has_ended)
                return NULL;
            wait_for(stranger, POLLIN, deadline_ms);
        }
    }
}

void stranger_expect_error(struct stranger *stranger, uint64_t call, mst_status status, const char *says)
{
    const struct mst_message *message = stranger_read(stranger);
    assert_non_null(message);
    assert_int_equal(message->flags, MST_FRAME_REPLY | MST_FRAME_ERROR);
    assert_int_equal(message->call, call);
    struct mst_arena arena;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    struct mst_msg_error error;
    assert_int_equal(mst_msg_error_decode(message->meta, &arena, &error, NULL), MST_OK);
    assert_int_equal(error.status, status);
    if (!strstr(error.text, says))
        fail_msg("\"%s\" does not say \"%s\"", error.text, says);
    mst_arena_fini(&arena);
}

void stranger_expect_end(struct stranger *stranger)
{
    assert_null(stranger_read(stranger));
}

void run_until(struct mst_loop *loop, bool (*done)(void *arg), void *arg)
{
    assert_true(mst_loop_run_until(loop, done, arg, PATIENCE_MS));
}
