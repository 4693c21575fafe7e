// A connection that has not greeted is a guest: it has a deadline and a small limit on meta, and its first frame must
// be a greeting without a body. After that it is the owner's. The quota counts connections wherever they went: each
// holds a share of it, given back when the connection is freed, on whatever thread that is.
#include "rpc/server.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/log_rate.h"
#include "base/metrics.h"
#include "event/timer.h"
#include "rpc/conn_private.h"
#include "rpc/listener.h"

#include <errno.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MAX_CONNECTIONS = 4096,
    GREETING_MS = 10000,
    GREETING_META_MAX = 16 << 10, // addresses and names
    ACCEPTS = 64,                 // in a row, before others get their turn
    ACCEPT_PAUSE_MS = 100,        // when descriptors ran out
    LOGS_A_SECOND = 5,
};

// Outlives the server while connections do.
struct quota {
    atomic_size_t n_shares; // one for the server, one a connection; the last one frees
};

struct guest {
    struct mst_server *server;
    struct mst_conn *conn;
    struct mst_timer deadline;
    struct guest *next;
    struct guest **link;
};

struct mst_server {
    struct mst_loop *loop;
    struct mst_server_config config;
    int fd;
    struct event accept_event;
    struct mst_timer pause;
    struct guest *guests;
    struct quota *quota;
    struct mst_metric *accepted;
    struct mst_metric *refused;
    struct mst_metric *greetings_refused;
    struct mst_log_rate greetings_told;
    uint64_t log_second; // of the last line about a refusal
    size_t n_logged;     // in that second
    size_t n_unlogged;   // since the last line
};

static void give_back_share(void *arg)
{
    struct quota *quota = arg;
    // acq_rel: whoever frees has seen everything that the others did with it
    if (atomic_fetch_sub_explicit(&quota->n_shares, 1, memory_order_acq_rel) == 1)
        free(quota);
}

static void forget_guest(struct guest *guest)
{
    *guest->link = guest->next;
    if (guest->next)
        guest->next->link = guest->link;
    mst_timer_fini(&guest->deadline);
    free(guest);
}

// Counts it, and logs it unless too many were logged in this second: a port scan must not fill a disk.
static void report_refusal(struct mst_server *server, const char *peer, const char *reason)
{
    mst_metric_add(server->refused, 1);
    uint64_t second = mst_clock_monotonic_ms() / 1000;
    if (second != server->log_second)
        server->n_logged = 0;
    server->log_second = second;
    if (server->n_logged >= LOGS_A_SECOND) {
        server->n_unlogged++;
        return;
    }
    server->n_logged++;
    MST_LOG(WARN, "rpc", "connection refused", "peer=%s reason=\"%s\" unlogged=%zu", peer, reason, server->n_unlogged);
    server->n_unlogged = 0;
}

// ---- before the greeting ----

static void refuse_guest(struct guest *guest, const struct mst_message *message, mst_status status, const char *text)
{
    struct mst_conn *conn = guest->conn;
    report_refusal(guest->server, mst_conn_name(conn), text);
    mst_conn_reply_error(conn, message, status, "%s", text);
    forget_guest(guest);
    mst_conn_close_flushed(conn);
}

static enum mst_body_verdict on_guest_head(void *arg, struct mst_conn *conn, const struct mst_message *message,
                                           struct mst_sink *sink)
{
    (void)conn;
    (void)sink;
    refuse_guest(arg, message, MST_FAILED_PRECONDITION, "the first message must be a greeting, without a body");
    return MST_BODY_DRAIN;
}

static void on_guest_message(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct guest *guest = arg;
    struct mst_server *server = guest->server;
    if (message->method != MST_METHOD_GREETING || (message->flags & MST_FRAME_REPLY)) {
        refuse_guest(guest, message, MST_FAILED_PRECONDITION, "the first message must be a greeting");
        return;
    }
    struct mst_arena arena;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    struct mst_msg_greeting greeting;
    struct mst_error err;
    mst_status status = mst_msg_greeting_decode(message->meta, &arena, &greeting, &err);
    if (status != MST_OK) {
        refuse_guest(guest, message, status, err.text);
    } else {
        forget_guest(guest);
        mst_conn_set_events(conn, NULL, NULL); // until its owner does: what it says next is not the guest's any more
        mst_conn_set_max_meta(conn, MST_FRAME_META_MAX);
        server->config.on_greeting(server->config.arg, conn, message, &greeting);
    }
    mst_arena_fini(&arena);
}

static void on_guest_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text)
{
    struct guest *guest = arg;
    if (status != MST_UNAVAILABLE)
        report_refusal(guest->server, mst_conn_name(conn), text);
    forget_guest(guest);
}

static void on_guest_late(void *arg)
{
    struct guest *guest = arg;
    struct mst_conn *conn = guest->conn;
    char why[64];
    snprintf(why, sizeof why, "no greeting within %llu ms", (unsigned long long)guest->server->config.greeting_ms);
    report_refusal(guest->server, mst_conn_name(conn), why);
    forget_guest(guest);
    mst_conn_close(conn);
}

static const struct mst_conn_events guest_events = {
    .on_head = on_guest_head, .on_message = on_guest_message, .on_closed = on_guest_closed};

static void name_of(const struct sockaddr *address, socklen_t len, char *out, size_t out_bytes)
{
    char host[64], port[16];
    if (getnameinfo(address, len, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(out, out_bytes, "%s:%s", host, port);
    else
        snprintf(out, out_bytes, "unknown address");
}

static void admit(struct mst_server *server, int fd, const char *name)
{
    // Only this thread adds shares, so the limit holds though others give theirs back meanwhile.
    if (mst_server_n_connections(server) >= server->config.max_connections) {
        char why[64];
        snprintf(why, sizeof why, "%zu connections are open, the limit", server->config.max_connections);
        report_refusal(server, name, why);
        close(fd);
        return;
    }
    struct mst_conn *conn;
    struct mst_error err;
    if (mst_conn_new(server->loop, fd, name, &conn, &err) != MST_OK) {
        report_refusal(server, name, err.text);
        return;
    }
    mst_metric_add(server->accepted, 1);
    atomic_fetch_add_explicit(&server->quota->n_shares, 1, memory_order_relaxed);
    mst_conn_set_on_freed(conn, give_back_share, server->quota);
    mst_conn_set_max_meta(conn, GREETING_META_MAX);
    struct guest *guest = mst_alloc(sizeof *guest);
    *guest = (struct guest){.server = server, .conn = conn, .next = server->guests, .link = &server->guests};
    if (guest->next)
        guest->next->link = &guest->next;
    server->guests = guest;
    mst_timer_init(&guest->deadline, server->loop, on_guest_late, guest);
    mst_timer_start_once(&guest->deadline, server->config.greeting_ms);
    mst_conn_set_events(conn, &guest_events, guest);
}

// ---- listening ----

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct mst_server *server = arg;
    for (size_t i = 0; i < ACCEPTS && server->fd >= 0; i++) {
        struct sockaddr_storage address;
        socklen_t len = sizeof address;
        int accepted = accept4(fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (accepted < 0) {
            int error = errno;
            if (error == ECONNABORTED || error == EINTR)
                continue;
            if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
                report_refusal(server, "unknown", strerror(error));
                event_del(&server->accept_event);
                mst_timer_start_once(&server->pause, ACCEPT_PAUSE_MS);
            }
            return;
        }
        char name[96];
        name_of((struct sockaddr *)&address, len, name, sizeof name);
        admit(server, accepted, name);
    }
}

static void on_pause_over(void *arg)
{
    struct mst_server *server = arg;
    if (server->fd >= 0)
        event_add(&server->accept_event, NULL);
}

mst_status mst_server_new(struct mst_loop *loop, const struct mst_server_config *config, struct mst_server **out)
{
    struct mst_server *server = mst_alloc(sizeof *server);
    server->loop = loop;
    server->config = *config;
    if (!server->config.max_connections)
        server->config.max_connections = MAX_CONNECTIONS;
    if (!server->config.greeting_ms)
        server->config.greeting_ms = GREETING_MS;
    server->fd = -1;
    mst_timer_init(&server->pause, loop, on_pause_over, server);
    server->quota = mst_alloc(sizeof *server->quota);
    atomic_init(&server->quota->n_shares, 1);
    server->accepted = mst_metric_counter("muster_rpc_connections_total", "Connections accepted", NULL);
    server->refused = mst_metric_counter("muster_rpc_connections_refused_total",
                                         "Connections ended before a valid greeting, or over the limit", NULL);
    server->greetings_refused =
        mst_metric_counter("muster_rpc_greetings_refused_total",
                           "Greetings of another job, version or role, or of a second process", NULL);
    *out = server;
    return MST_OK;
}

void mst_server_free(struct mst_server *server)
{
    if (!server)
        return;
    mst_server_stop_listening(server);
    for (struct guest *guest = server->guests, *next; guest; guest = next) {
        struct mst_conn *conn = guest->conn;
        next = guest->next;
        forget_guest(guest);
        mst_conn_close(conn);
    }
    mst_timer_fini(&server->pause);
    give_back_share(server->quota);
    free(server);
}

static void begin_accepting(struct mst_server *server, int fd)
{
    MST_ASSERT(server->fd < 0);
    server->fd = fd;
    int result = event_assign(&server->accept_event, mst_loop_base(server->loop), fd, EV_READ | EV_PERSIST,
                              on_acceptable, server);
    MST_ASSERT(result == 0);
    event_add(&server->accept_event, NULL);
}

mst_status mst_server_listen(struct mst_server *server, uint16_t port, struct mst_error *err)
{
    int fd;
    MST_TRY(mst_listener_open(port, &fd, err));
    begin_accepting(server, fd);
    return MST_OK;
}

mst_status mst_server_listen_fd(struct mst_server *server, int fd, struct mst_error *err)
{
    mst_status status = mst_listener_adopt(fd, err);
    if (status != MST_OK) {
        close(fd);
        return status;
    }
    begin_accepting(server, fd);
    return MST_OK;
}

uint16_t mst_server_port(const struct mst_server *server)
{
    return server->fd < 0 ? 0 : mst_listener_port(server->fd);
}

void mst_server_stop_listening(struct mst_server *server)
{
    if (server->fd < 0)
        return;
    event_del(&server->accept_event);
    mst_timer_stop(&server->pause);
    close(server->fd);
    server->fd = -1;
}

size_t mst_server_n_connections(const struct mst_server *server)
{
    return atomic_load_explicit(&server->quota->n_shares, memory_order_relaxed) - 1;
}

bool mst_server_tells_refusal(struct mst_server *server, size_t *n_unlogged_out)
{
    mst_metric_add(server->greetings_refused, 1);
    return mst_log_rate_allows(&server->greetings_told, mst_clock_monotonic_ms(), n_unlogged_out);
}
