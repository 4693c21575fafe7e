// Reading: one readv takes what the parser has room for (the rest of a body in its final place, then the small buffer),
// until a short read says that the socket is empty or the budget is spent, so that one busy peer does not starve the
// others. Within a body more is surely on its way, and asking the socket once more costs less than a round of the loop.
// When it has nothing, the next event comes when much of a large body is there (SO_RCVLOWAT): to be woken for every
// segment costs the peer, who does the waking, and this thread more than they win by copying at the same time.
// Writing: at once when nothing waits, else when the socket takes more; many frames a sendmsg.
// A callback may close or detach the connection. `gone` points to a flag on the stack of the event handler that is
// running then; close and detach set it, and the handler returns without another look at the connection.
// A failure found while sending is told from the loop, never from within mst_conn_send: callers need not expect that.
#include "rpc/conn_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/metrics.h"
#include "event/timer.h"
#include "rpc/parser.h"
#include "rpc/send_queue.h"
#include "wire/messages.h"

#include <event2/event.h>
#include <event2/event_struct.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    PARTS = 256,               // of one readv or sendmsg: 4 KiB of stack
    WRITES = 16,               // sendmsg calls in a row before other connections get their turn
    READ_BUDGET = 8 << 20,     // bytes, likewise
    LINGER_MS = 2000,          // for the last frames, and for the peer to read them
    LOW_WATER_BYTES = 1 << 20, // of a body; smaller ones are better copied while they come
};

enum conn_state {
    CONN_OPEN,
    CONN_BROKEN,  // why is in failure; on_closed is still to be told
    CONN_CLOSED,  // on_closed is running or has run
    CONN_FLUSHES, // no owner any more: sends the rest, then waits for the peer to close
};

struct mst_conn {
    enum conn_state state;
    struct mst_loop *loop; // NULL while detached
    int fd;
    char *name;
    const struct mst_conn_events *events;
    void *arg;
    void *user;
    const struct mst_service *service;
    void *service_arg;
    void (*on_freed)(void *arg);
    void *on_freed_arg;
    struct mst_parser parser;
    struct mst_send_queue sends;
    struct event read_event;
    struct event write_event;
    struct mst_timer timer;    // send time-out, or the end of lingering
    struct mst_loop_hook hook; // while it has no owner
    uint64_t send_timeout_ms;
    bool is_parked;
    bool is_choked; // too many replies wait: nothing is read
    bool adds_crc;
    bool waits_for_much; // the socket is readable only when much of a body is there
    bool is_shut;        // our half is closed
    bool has_heard;      // a whole frame
    bool has_last_word;  // an error frame, perhaps still on its way
    bool *gone;
    mst_status failure;
    struct mst_error failure_text;
};

static struct {
    struct mst_metric *received;
    struct mst_metric *sent;
    struct mst_metric *bad;
} metrics;

static void make_metrics(void)
{
    metrics.received = mst_metric_counter("muster_rpc_received_bytes_total", "Bytes received from peers", NULL);
    metrics.sent = mst_metric_counter("muster_rpc_sent_bytes_total", "Bytes sent to peers", NULL);
    metrics.bad =
        mst_metric_counter("muster_rpc_bad_frames_total", "Connections ended for bytes that are no frame", NULL);
}

// ---- life ----

static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);
static void on_timer(void *arg);

static void bind_events(struct mst_conn *conn)
{
    struct event_base *base = mst_loop_base(conn->loop);
    int result = event_assign(&conn->read_event, base, conn->fd, EV_READ | EV_PERSIST, on_readable, conn);
    MST_ASSERT(result == 0);
    result = event_assign(&conn->write_event, base, conn->fd, EV_WRITE, on_writable, conn);
    MST_ASSERT(result == 0);
    mst_timer_init(&conn->timer, conn->loop, on_timer, conn);
}

// Where both ends are one host, no network lies between them that could be congested: a system's default that paces by
// timers (bbr) only makes a byte cost a quarter more CPU time. Every kernel has reno, for every user, and it does not
// pace. What is not TCP (tests use socket pairs) takes no option, and needs none.
static void set_options(int fd)
{
    static const char unpaced[] = "reno";
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct mst_socket_address local, remote;
    if (mst_socket_address_ends(fd, &local, &remote) && mst_socket_address_is_same_host(&local, &remote))
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, unpaced, sizeof unpaced - 1);
}

mst_status mst_conn_new(struct mst_loop *loop, int fd, const char *name, struct mst_conn **out, struct mst_error *err)
{
    *out = NULL;
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_metrics);
    void *memory;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || mst_try_alloc(sizeof(struct mst_conn), &memory)) {
        close(fd);
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "connection with %s: no memory, or not a socket", name);
    }
    set_options(fd);
    struct mst_conn *conn = memory;
    conn->loop = loop;
    conn->fd = fd;
    conn->name = mst_strdup(name);
    mst_parser_init(&conn->parser, MST_FRAME_META_MAX);
    bind_events(conn);
    *out = conn;
    return MST_OK;
}

static void leave_loop(struct mst_conn *conn)
{
    if (!conn->loop)
        return;
    mst_loop_assert_owner(conn->loop);
    event_del(&conn->read_event);
    event_del(&conn->write_event);
    mst_timer_stop(&conn->timer);
    mst_loop_hook_remove(&conn->hook);
    if (conn->gone)
        *conn->gone = true;
    conn->gone = NULL;
}

static void free_conn(struct mst_conn *conn)
{
    leave_loop(conn);
    close(conn->fd);
    conn->state = CONN_CLOSED; // a release may try to send
    mst_send_queue_fini(&conn->sends);
    mst_parser_fini(&conn->parser);
    if (conn->on_freed)
        conn->on_freed(conn->on_freed_arg);
    free(conn->name);
    free(conn);
}

void mst_conn_close(struct mst_conn *conn)
{
    if (conn && conn->state != CONN_CLOSED) // within on_closed: freed when that returns
        free_conn(conn);
}

static void on_loop_freed(void *arg)
{
    free_conn(arg);
}

// Nobody owns it from now on: it sends what waits, tells the peer that no more comes, and reads on until the peer
// closes, for closing with unread bytes would make the kernel reset the connection and lose the last frame.
static void linger(struct mst_conn *conn)
{
    conn->state = CONN_FLUSHES;
    conn->events = NULL;
    conn->is_parked = false;
    conn->hook = (struct mst_loop_hook){.on_free = on_loop_freed, .arg = conn};
    mst_loop_hook_add(conn->loop, &conn->hook);
    mst_timer_start_once(&conn->timer, LINGER_MS);
    event_add(&conn->read_event, NULL);
    event_active(&conn->write_event, EV_WRITE, 0);
}

void mst_conn_close_flushed(struct mst_conn *conn)
{
    if (!conn || conn->state == CONN_CLOSED)
        return;
    if (conn->state != CONN_OPEN || !conn->loop) {
        free_conn(conn);
        return;
    }
    if (conn->gone)
        *conn->gone = true;
    conn->gone = NULL;
    linger(conn);
}

// Tells the owner that it is over; the connection itself goes at once, or lingers with an error frame for the peer.
static void finish(struct mst_conn *conn, mst_status status, const char *text)
{
    bool lingers = conn->state == CONN_OPEN && (conn->has_last_word || conn->sends.n > 0);
    const struct mst_conn_events *events = conn->events;
    conn->state = CONN_CLOSED;
    event_del(&conn->read_event);
    event_del(&conn->write_event);
    mst_timer_stop(&conn->timer);
    if (!lingers)
        mst_send_queue_fini(&conn->sends);
    if (conn->gone)
        *conn->gone = true;
    conn->gone = NULL;
    if (events && events->on_closed)
        events->on_closed(conn->arg, conn, status, text);
    if (lingers)
        linger(conn);
    else
        free_conn(conn);
}

// Ends the connection from the loop, not from within the caller.
static void fail_later(struct mst_conn *conn, mst_status status, const char *why)
{
    conn->failure = mst_fail(&conn->failure_text, status, "connection with %s %s", conn->name, why);
    conn->state = CONN_BROKEN;
    mst_send_queue_fini(&conn->sends);
    if (conn->loop)
        event_active(&conn->write_event, EV_WRITE, 0);
}

void mst_conn_break(struct mst_conn *conn, const char *why)
{
    if (conn->state == CONN_OPEN)
        fail_later(conn, MST_UNAVAILABLE, why);
}

static void fail_now(struct mst_conn *conn, mst_status status, const char *why)
{
    conn->failure = mst_fail(&conn->failure_text, status, "connection with %s %s", conn->name, why);
    conn->state = CONN_BROKEN;
    struct mst_error text = conn->failure_text;
    finish(conn, status, text.text);
}

static void stop_reading(struct mst_conn *conn)
{
    event_del(&conn->read_event);
}

// Unless something else still speaks against it.
static void start_reading(struct mst_conn *conn)
{
    if (!conn->loop || conn->state != CONN_OPEN || !conn->events || conn->is_parked || conn->is_choked)
        return;
    event_add(&conn->read_event, NULL);
    if (!mst_parser_is_idle(&conn->parser))
        event_active(&conn->read_event, EV_READ, 0); // what was read before may hold whole frames
}

// ---- writing ----

// Writes what the socket takes now.
static void flush(struct mst_conn *conn)
{
    for (size_t i = 0; i < WRITES && conn->sends.n; i++) {
        struct iovec iov[PARTS];
        struct msghdr message = {.msg_iov = iov};
        message.msg_iovlen = mst_send_queue_gather(&conn->sends, iov, PARTS);
        ssize_t n_sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL);
        if (n_sent < 0) {
            if (errno == EAGAIN || errno == EINTR)
                break;
            char why[128];
            snprintf(why, sizeof why, "lost: %s", strerror(errno));
            fail_later(conn, MST_UNAVAILABLE, why);
            return;
        }
        mst_metric_add(metrics.sent, n_sent);
        mst_send_queue_advance(&conn->sends, (size_t)n_sent);
    }
    if (!conn->sends.n)
        return;
    event_add(&conn->write_event, NULL);
    if (conn->send_timeout_ms && conn->state == CONN_OPEN && !mst_timer_is_running(&conn->timer))
        mst_timer_start_once(&conn->timer, conn->send_timeout_ms);
}

static void on_timer(void *arg)
{
    struct mst_conn *conn = arg;
    if (conn->state == CONN_FLUSHES) {
        free_conn(conn);
        return;
    }
    uint64_t now_ms = mst_clock_monotonic_ms();
    if (!conn->sends.n || !conn->send_timeout_ms)
        return;
    uint64_t waited_ms = now_ms - mst_send_queue_oldest_ms(&conn->sends);
    if (waited_ms >= conn->send_timeout_ms) {
        char why[96];
        snprintf(why, sizeof why, "ended: it took no frame for %llu ms", (unsigned long long)waited_ms);
        fail_now(conn, MST_DEADLINE_EXCEEDED, why);
        return;
    }
    mst_timer_start_once(&conn->timer, conn->send_timeout_ms - waited_ms);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct mst_conn *conn = arg;
    if (conn->state == CONN_OPEN || conn->state == CONN_FLUSHES)
        flush(conn);
    if (conn->state == CONN_BROKEN) {
        struct mst_error text = conn->failure_text;
        if (conn->hook.link)
            free_conn(conn); // it broke while it lingered
        else if (conn->events)
            finish(conn, conn->failure, text.text); // else told when there is somebody to tell
        return;
    }
    if (conn->state == CONN_FLUSHES && !conn->sends.n && !conn->is_shut) {
        conn->is_shut = true;
        shutdown(conn->fd, SHUT_WR);
    }
    if (conn->is_choked && conn->sends.n_replies < MST_CONN_REPLIES_MAX / 2) {
        conn->is_choked = false;
        start_reading(conn);
    }
}

void mst_conn_send(struct mst_conn *conn, const struct mst_frame *head, struct mst_bytes meta,
                   const struct mst_body *body)
{
    if (conn->loop)
        mst_loop_assert_owner(conn->loop);
    if (conn->state != CONN_OPEN) {
        if (body && body->release)
            body->release(body->arg);
        return;
    }
    struct mst_frame frame = *head;
    if (conn->adds_crc)
        frame.flags |= MST_FRAME_BODY_CRC;
    bool was_idle = conn->sends.n == 0;
    mst_send_queue_add(&conn->sends, &frame, meta, body, mst_clock_monotonic_ms());
    if (was_idle && conn->loop)
        flush(conn);
}

void mst_conn_reply(struct mst_conn *conn, const struct mst_message *message, struct mst_bytes meta,
                    const struct mst_body *body)
{
    struct mst_frame head = {.flags = MST_FRAME_REPLY, .method = message->method, .call = message->call};
    mst_conn_send(conn, &head, meta, body);
}

void mst_conn_reply_error(struct mst_conn *conn, const struct mst_message *message, mst_status status,
                          const char *format, ...)
{
    struct mst_error text;
    va_list args;
    va_start(args, format);
    vsnprintf(text.text, sizeof text.text, format, args);
    va_end(args);
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    struct mst_msg_error error = {.status = status, .text = text.text};
    if (mst_msg_error_encode(&error, &meta) == MST_OK) {
        struct mst_frame head = {
            .flags = MST_FRAME_REPLY | MST_FRAME_ERROR, .method = message->method, .call = message->call};
        mst_conn_send(conn, &head, mst_buf_view(&meta), NULL);
    }
    mst_buf_fini(&meta);
}

// ---- reading ----

// The bytes are no frame of ours: the peer hears of it (as `told`) if it spoke our frames at all.
static void refuse(struct mst_conn *conn, mst_status status, mst_status told, const char *text)
{
    mst_metric_add(metrics.bad, 1);
    struct mst_error why;
    mst_fail(&why, status, "connection with %s ended: %s", conn->name, text);
    conn->has_last_word = conn->parser.knows_frame && !(conn->parser.message.flags & MST_FRAME_REPLY);
    if (conn->has_last_word)
        mst_conn_reply_error(conn, &conn->parser.message, told, "%s", text);
    if (conn->state == CONN_BROKEN)
        finish(conn, conn->failure, why.text);
    else
        finish(conn, status, why.text);
}

// Bad bytes behind a good frame were changed on the way: to the caller a lost connection, and worth another try.
static mst_status told_of(const struct mst_conn *conn, mst_status status)
{
    return conn->has_heard ? MST_UNAVAILABLE : status;
}

// A body begins. False: nothing more is read for now, or the connection is gone.
static bool announce(struct mst_conn *conn, bool *gone)
{
    struct mst_message *message = &conn->parser.message;
    struct mst_sink sink = {0};
    enum mst_body_verdict verdict = MST_BODY_DRAIN;
    if (conn->events->on_head)
        verdict = conn->events->on_head(conn->arg, conn, message, &sink);
    else if (!(message->flags & MST_FRAME_REPLY))
        mst_conn_reply_error(conn, message, MST_UNIMPLEMENTED, "%s takes no body", mst_method_name(message->method));
    if (*gone)
        return false;
    if (verdict == MST_BODY_TAKE) {
        mst_parser_take(&conn->parser, &sink);
        return true;
    }
    if (verdict == MST_BODY_PARK) {
        conn->is_parked = true;
        stop_reading(conn);
        return false;
    }
    uint64_t n_bytes = message->body_bytes;
    if (n_bytes > MST_CONN_DRAIN_MAX) {
        char why[96];
        snprintf(why, sizeof why, "an unwanted body of %llu bytes", (unsigned long long)n_bytes);
        refuse(conn, MST_RESOURCE_EXHAUSTED, MST_RESOURCE_EXHAUSTED, why);
        *gone = true;
        return false;
    }
    mst_parser_drain(&conn->parser);
    return true;
}

// Hands out every frame that is whole. False: nothing is to be read now, or the connection is gone.
static bool pump(struct mst_conn *conn, bool *gone)
{
    while (true) {
        if (conn->is_parked || conn->state != CONN_OPEN || !conn->events)
            return false;
        if (conn->sends.n_replies >= MST_CONN_REPLIES_MAX) {
            conn->is_choked = true;
            stop_reading(conn);
            return false;
        }
        enum mst_parser_event event;
        struct mst_error err;
        mst_status status = mst_parser_next(&conn->parser, &event, &err);
        if (status != MST_OK) {
            refuse(conn, status, told_of(conn, status), err.text);
            *gone = true;
            return false;
        }
        if (event == MST_PARSER_NEED)
            return true;
        if (event == MST_PARSER_HEAD) {
            if (!announce(conn, gone))
                return false;
        } else {
            conn->has_heard = true;
            conn->events->on_message(conn->arg, conn, &conn->parser.message);
            if (*gone)
                return false;
        }
    }
}

// Reads once. False: the connection failed.
static bool read_some(struct mst_conn *conn, size_t *n_read, bool *is_short)
{
    struct iovec iov[PARTS];
    size_t n_parts = mst_parser_space(&conn->parser, iov, PARTS);
    size_t n_room = 0;
    for (size_t i = 0; i < n_parts; i++)
        n_room += iov[i].iov_len;
    ssize_t n = readv(conn->fd, iov, (int)n_parts);
    *n_read = 0;
    *is_short = true;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0) {
        char why[128];
        if (n < 0)
            snprintf(why, sizeof why, "lost: %s", strerror(errno));
        else
            snprintf(why, sizeof why, "%s",
                     mst_parser_is_idle(&conn->parser) ? "closed by the peer" : "closed by the peer within a frame");
        fail_now(conn, MST_UNAVAILABLE, why);
        return false;
    }
    mst_metric_add(metrics.received, n);
    mst_parser_filled(&conn->parser, (size_t)n);
    *n_read = (size_t)n;
    *is_short = (size_t)n < n_room && conn->parser.state != MST_PARSE_BODY;
    return true;
}

// What is left of a body is sure to come, or the end of the connection, which is told at once.
static void set_low_water(struct mst_conn *conn)
{
    bool waits_for_much = conn->parser.state == MST_PARSE_BODY && conn->parser.body_left >= LOW_WATER_BYTES;
    if (waits_for_much == conn->waits_for_much)
        return;
    conn->waits_for_much = waits_for_much;
    int low_water = waits_for_much ? LOW_WATER_BYTES : 1;
    setsockopt(conn->fd, SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof low_water);
}

// While lingering: nobody wants it.
static void discard(struct mst_conn *conn)
{
    uint8_t unwanted[16 << 10];
    size_t n_left = READ_BUDGET;
    while (n_left) {
        ssize_t n = read(conn->fd, unwanted, sizeof unwanted);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            if (conn->sends.n && n == 0) {
                stop_reading(conn); // the peer only closed its half; it may still read
                return;
            }
            free_conn(conn);
            return;
        }
        n_left -= (size_t)n < n_left ? (size_t)n : n_left;
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct mst_conn *conn = arg;
    if (conn->state == CONN_FLUSHES) {
        discard(conn);
        return;
    }
    bool gone = false;
    conn->gone = &gone;
    size_t n_done = 0, n_read;
    bool is_short = false;
    // First what an earlier read left: after a park, a choke or a move to this loop.
    while (pump(conn, &gone)) {
        if (is_short || n_done >= READ_BUDGET)
            break;
        if (!read_some(conn, &n_read, &is_short))
            return;
        n_done += n_read;
    }
    if (gone)
        return;
    conn->gone = NULL;
    set_low_water(conn);
}

void mst_conn_set_events(struct mst_conn *conn, const struct mst_conn_events *events, void *arg)
{
    conn->events = events;
    conn->arg = arg;
    if (!conn->loop)
        return;
    if (conn->state == CONN_BROKEN)
        event_active(&conn->write_event, EV_WRITE, 0);
    if (events)
        start_reading(conn);
    else
        stop_reading(conn);
}

void mst_conn_resume(struct mst_conn *conn)
{
    if (!conn->is_parked)
        return;
    conn->is_parked = false;
    start_reading(conn);
}

bool mst_conn_is_parked(const struct mst_conn *conn)
{
    return conn->is_parked;
}

void mst_conn_abandon_body(struct mst_conn *conn)
{
    if (conn->parser.state == MST_PARSE_BODY)
        mst_parser_drain(&conn->parser);
}

// ---- moving ----

void mst_conn_detach(struct mst_conn *conn)
{
    leave_loop(conn);
    conn->loop = NULL;
}

void mst_conn_attach(struct mst_conn *conn, struct mst_loop *loop)
{
    MST_ASSERT(!conn->loop);
    conn->loop = loop;
    mst_loop_assert_owner(loop);
    bind_events(conn);
    if (conn->sends.n || conn->state == CONN_BROKEN)
        event_active(&conn->write_event, EV_WRITE, 0);
    start_reading(conn);
}

// ---- settings ----

void mst_conn_set_user(struct mst_conn *conn, void *user)
{
    conn->user = user;
}

void *mst_conn_user(const struct mst_conn *conn)
{
    return conn->user;
}

const char *mst_conn_name(const struct mst_conn *conn)
{
    return conn->name;
}

struct mst_loop *mst_conn_loop(const struct mst_conn *conn)
{
    return conn->loop;
}

void mst_conn_set_user_timeout(struct mst_conn *conn, uint64_t timeout_ms)
{
    // At worst a death is noticed later. Probes begin early, so that the last one is not acknowledged in time either.
    unsigned value = (unsigned)timeout_ms;
    int on = 1, probe_s = (int)(timeout_ms / 4000 < 1 ? 1 : timeout_ms / 4000 > 3600 ? 3600 : timeout_ms / 4000);
    setsockopt(conn->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, sizeof value);
    setsockopt(conn->fd, IPPROTO_TCP, TCP_KEEPIDLE, &probe_s, sizeof probe_s);
    setsockopt(conn->fd, IPPROTO_TCP, TCP_KEEPINTVL, &probe_s, sizeof probe_s);
    setsockopt(conn->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

void mst_conn_set_send_timeout(struct mst_conn *conn, uint64_t timeout_ms)
{
    conn->send_timeout_ms = timeout_ms;
    if (conn->loop && conn->state == CONN_OPEN && conn->sends.n && timeout_ms)
        mst_timer_start_once(&conn->timer, 0); // looks at how long the oldest has waited
}

void mst_conn_add_body_crc(struct mst_conn *conn)
{
    conn->adds_crc = true;
}

bool mst_conn_peer_address(const struct mst_conn *conn, struct mst_socket_address *out)
{
    struct mst_socket_address local;
    return mst_socket_address_ends(conn->fd, &local, out);
}

size_t mst_conn_n_queued(const struct mst_conn *conn)
{
    return conn->sends.n;
}

void mst_conn_set_max_meta(struct mst_conn *conn, uint32_t max_meta_bytes)
{
    conn->parser.max_meta_bytes = max_meta_bytes;
}

void mst_conn_set_on_freed(struct mst_conn *conn, void (*on_freed)(void *arg), void *arg)
{
    conn->on_freed = on_freed;
    conn->on_freed_arg = arg;
}

void mst_conn_set_service(struct mst_conn *conn, const struct mst_service *service, void *arg)
{
    conn->service = service;
    conn->service_arg = arg;
}

const struct mst_service *mst_conn_service(const struct mst_conn *conn, void **arg_out)
{
    *arg_out = conn->service_arg;
    return conn->service;
}
