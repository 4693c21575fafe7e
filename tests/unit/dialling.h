// A peer that is dialled and who dials it, in one loop, and what each of them saw. For one test program.
#pragma once

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

static inline enum mst_body_verdict on_push_head(void *arg, struct mst_conn *conn, const struct mst_message *message,
                                                 struct mst_sink *sink)
{
    (void)conn;
    (void)sink;
    struct fixture *f = arg;
    f->n_body_crcs += (message->flags & MST_FRAME_BODY_CRC) != 0;
    return MST_BODY_DRAIN;
}

static inline void on_pull(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    (void)arg;
    mst_conn_reply(conn, message, message->meta, NULL);
}

static inline void on_stats(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    (void)arg;
    (void)conn;
    (void)message; // is never answered
}

static inline void on_conn_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text)
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

static inline void on_greeting(void *arg, struct mst_conn *conn, const struct mst_message *message,
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

static inline void listen_on(struct fixture *f, uint16_t port)
{
    struct mst_server_config config = {.on_greeting = on_greeting, .arg = f};
    assert_int_equal(mst_server_new(f->loop, &config, &f->server), MST_OK);
    assert_int_equal(mst_server_listen(f->server, port, NULL), MST_OK);
    f->port = mst_server_port(f->server);
}

static inline void hang_up(struct fixture *f)
{
    for (size_t i = 0; i < CONNS_MAX; i++) {
        mst_conn_close(f->conns[i]);
        f->conns[i] = NULL;
    }
}

// ---- the one who dials ----

static inline void then(struct fixture *f, enum then what)
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

static inline void on_greet(void *arg, struct mst_peer *peer, struct mst_msg_greeting *greeting)
{
    struct fixture *f = arg;
    assert_ptr_equal(peer, f->peer);
    f->n_greets++;
    *greeting = (struct mst_msg_greeting){.min_version = 1, .max_version = 1, .job_name = "mnist", .address = ""};
    then(f, f->when_greeting);
}

static inline void on_up(void *arg, struct mst_peer *peer, const struct mst_msg_greeting_reply *reply)
{
    struct fixture *f = arg;
    assert_int_equal(reply->n_data_threads, 2);
    assert_true(mst_peer_is_up(peer));
    f->n_ups++;
    then(f, f->when_up);
}

static inline void on_down(void *arg, struct mst_peer *peer, mst_status status, const char *text)
{
    struct fixture *f = arg;
    assert_false(mst_peer_is_up(peer));
    f->n_downs++;
    f->status = status;
    snprintf(f->text, sizeof f->text, "%s", text);
    then(f, f->when_down);
}

static inline void on_refused(void *arg, struct mst_peer *peer, mst_status status, const char *text)
{
    struct fixture *f = arg;
    assert_false(mst_peer_is_up(peer));
    f->n_refused++;
    f->status = status;
    snprintf(f->text, sizeof f->text, "%s", text);
    then(f, f->when_refused);
}

static const struct mst_peer_events events = {on_greet, on_up, on_down, on_refused};

static inline void on_gone(void *arg, struct mst_peer *peer)
{
    struct fixture *f = arg;
    assert_false(mst_peer_is_up(peer));
    f->n_gone++;
}

static inline void dial(struct fixture *f, const char *address)
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

static inline void dial_port(struct fixture *f, uint16_t port)
{
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    dial(f, address);
    assert_string_equal(mst_peer_address(f->peer), address);
    assert_string_equal(mst_peer_name(f->peer), "ps-1");
}

// A port of this machine where nobody listens.
static inline uint16_t free_port(void)
{
    int fd;
    assert_int_equal(mst_listener_open(0, &fd, NULL), MST_OK);
    uint16_t port = mst_listener_port(fd);
    close(fd);
    return port;
}

static inline int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    assert_int_equal(mst_log_set_filter("all=error", NULL), MST_OK);
    assert_int_equal(mst_loop_new("peers", &f->loop, NULL), MST_OK);
    return mst_resolver_new(&f->resolver, NULL) == MST_OK ? 0 : -1;
}

static inline int tear_down(void **state)
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

static inline bool has_ups(void *arg)
{
    struct fixture *f = arg;
    return f->n_ups >= f->n_wanted;
}

static inline bool has_downs(void *arg)
{
    struct fixture *f = arg;
    return f->n_downs >= f->n_wanted;
}

static inline bool has_refusals(void *arg)
{
    struct fixture *f = arg;
    return f->n_refused >= f->n_wanted;
}

static inline bool has_gone(void *arg)
{
    struct fixture *f = arg;
    return f->n_gone >= f->n_wanted;
}

static inline bool has_greetings(void *arg)
{
    struct fixture *f = arg;
    return f->n_greetings >= f->n_wanted;
}

static inline bool has_greets(void *arg)
{
    struct fixture *f = arg;
    return f->n_greets >= f->n_wanted;
}

static inline bool has_replies(void *arg)
{
    struct fixture *f = arg;
    return f->n_replies >= f->n_wanted;
}

static inline bool never(void *arg)
{
    (void)arg;
    return false;
}

static inline void wait_for(struct fixture *f, bool (*done)(void *arg), size_t n)
{
    f->n_wanted = n;
    run_until(f->loop, done, f);
}

static inline void expect_state(const struct fixture *f, const char *says)
{
    char text[200];
    mst_peer_state(f->peer, text, sizeof text);
    if (!strstr(text, says))
        fail_msg("\"%s\" does not say \"%s\"", text, says);
}

static inline void on_reply(void *arg, const struct mst_reply *reply);

static inline void make_call(struct fixture *f, uint16_t method)
{
    static const struct iovec part = {(void *)(uintptr_t)"gradient", 8};
    struct mst_call call = {.method = method, .on_reply = on_reply, .arg = f};
    if (method == MST_METHOD_PUSH)
        call.body = (struct mst_body){.parts = &part, .n_parts = 1};
    mst_peer_call(f->peer, &call);
}

static inline void on_reply(void *arg, const struct mst_reply *reply)
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
