// IDLE -> RESOLVING -> CONNECTING -> GREETING -> UP, and WAITING (the back-off) wherever one of these fails. `why`
// keeps the last failure through the next attempt, because that is what a person wants to read: not that it is trying,
// but what is wrong.
// Callbacks that may free the peer are the last thing a function does.
#include "rpc/peer.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "rpc/failed_calls.h"

#include <event2/event_struct.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BACKOFF_FIRST_MS = 50, BACKOFF_SUSPECT_MS = 1, BACKOFF_MAX_MS = 1000 };

enum peer_state { PEER_IDLE, PEER_WAITING, PEER_RESOLVING, PEER_CONNECTING, PEER_GREETING, PEER_UP };

struct mst_peer {
    enum peer_state state;
    struct mst_loop *loop;
    struct mst_resolver *resolver;
    struct mst_peer_config config; // its texts are our copies
    char host[256];
    uint16_t port;
    struct mst_lookup *lookup;
    struct mst_socket_address addresses[MST_SOCKET_ADDRESSES_MAX];
    size_t n_addresses;
    size_t next_address;
    int fd; // while connecting
    struct event connect_event;
    struct mst_timer backoff;
    uint64_t backoff_ms; // the last one; 0 after being up
    struct mst_client *client;
    struct mst_failed_calls failed;
    uint64_t down_since_ms;
    uint64_t up_since_ms;
    struct mst_socket_address met_at; // where it was up last
    bool is_suspect;                  // it was up, and whether it is gone is not known
    bool is_hasty;                    // dialled anew at once
    bool is_refused;                  // … there, just now
    char why[256];
};

static void resolve(void *arg);
static void connect_next(struct mst_peer *peer);

mst_status mst_peer_new(struct mst_loop *loop, struct mst_resolver *resolver, const struct mst_peer_config *config,
                        struct mst_peer **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_peer *peer = mst_alloc(sizeof *peer);
    mst_status status = mst_address_split(config->address, peer->host, sizeof peer->host, &peer->port, err);
    if (status != MST_OK) {
        free(peer);
        return mst_fail_prefix(err, status, "%s", config->name);
    }
    peer->loop = loop;
    peer->resolver = resolver;
    peer->config = *config;
    peer->config.name = mst_strdup(config->name);
    peer->config.address = mst_strdup(config->address);
    peer->fd = -1;
    peer->down_since_ms = mst_clock_monotonic_ms();
    mst_timer_init(&peer->backoff, loop, resolve, peer);
    mst_failed_calls_init(&peer->failed, loop);
    *out = peer;
    return MST_OK;
}

static void close_connecting(struct mst_peer *peer)
{
    if (peer->fd < 0)
        return;
    event_del(&peer->connect_event);
    close(peer->fd);
    peer->fd = -1;
}

// Leaves whatever state it is in; the caller sets the next one.
static void leave(struct mst_peer *peer)
{
    mst_lookup_cancel(peer->lookup);
    peer->lookup = NULL;
    close_connecting(peer);
    mst_timer_stop(&peer->backoff);
    struct mst_client *client = peer->client;
    peer->client = NULL;
    mst_client_free(client);
    if (peer->state == PEER_UP)
        peer->down_since_ms = mst_clock_monotonic_ms();
}

void mst_peer_free(struct mst_peer *peer)
{
    if (!peer)
        return;
    leave(peer);
    mst_timer_fini(&peer->backoff);
    mst_failed_calls_fini(&peer->failed);
    free((char *)(uintptr_t)peer->config.name);
    free((char *)(uintptr_t)peer->config.address);
    free(peer);
}

static void wait_again(struct mst_peer *peer, const char *why)
{
    leave(peer);
    snprintf(peer->why, sizeof peer->why, "%s", why);
    MST_LOG(DEBUG, "rpc", "peer waits", "peer=%s reason=\"%s\"", peer->config.name, why);
    peer->state = PEER_WAITING;
    uint64_t first_ms = peer->is_hasty ? BACKOFF_SUSPECT_MS : BACKOFF_FIRST_MS;
    peer->backoff_ms = peer->backoff_ms ? 2 * peer->backoff_ms : first_ms;
    uint64_t max_ms = peer->config.backoff_max_ms ? peer->config.backoff_max_ms : BACKOFF_MAX_MS;
    if (peer->backoff_ms > max_ms)
        peer->backoff_ms = max_ms;
    mst_timer_start_once(&peer->backoff, peer->backoff_ms);
}

// ---- greeting ----

static void on_client_closed(void *arg, struct mst_client *client, mst_status status, const char *text)
{
    (void)client; // freed by leave
    struct mst_peer *peer = arg;
    bool was_up = peer->state == PEER_UP;
    // One that takes connections only to drop them is asked with a pause.
    peer->is_hasty = was_up && peer->config.on_gone && mst_clock_monotonic_ms() - peer->up_since_ms >= BACKOFF_FIRST_MS;
    peer->is_suspect = was_up ? peer->config.on_gone != NULL : peer->is_suspect;
    wait_again(peer, text);
    if (was_up && peer->config.events->on_down)
        peer->config.events->on_down(peer->config.arg, peer, status, text);
}

static void refused(struct mst_peer *peer, mst_status status, const char *text)
{
    // The text is the reply's, which goes with the client.
    struct mst_error kept;
    snprintf(kept.text, sizeof kept.text, "%s", text);
    if (mst_status_is_retryable(status) || status == MST_DATA_LOSS) { // it was changed on its way
        wait_again(peer, kept.text);
        return;
    }
    leave(peer);
    peer->state = PEER_IDLE;
    snprintf(peer->why, sizeof peer->why, "refused: %s", kept.text);
    peer->config.events->on_refused(peer->config.arg, peer, status, kept.text);
}

static void on_greeted(void *arg, const struct mst_reply *reply)
{
    struct mst_peer *peer = arg;
    if (reply->status != MST_OK) {
        refused(peer, reply->status, reply->text);
        return;
    }
    struct mst_arena arena;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    struct mst_msg_greeting_reply greeting;
    struct mst_error err;
    mst_status status = mst_msg_greeting_reply_decode(reply->message->meta, &arena, &greeting, &err);
    if (status != MST_OK) {
        wait_again(peer, err.text);
    } else {
        peer->state = PEER_UP;
        peer->backoff_ms = 0;
        peer->why[0] = '\0';
        peer->up_since_ms = mst_clock_monotonic_ms();
        peer->met_at = peer->addresses[peer->next_address - 1];
        peer->is_suspect = false;
        peer->config.events->on_up(peer->config.arg, peer, &greeting);
    }
    mst_arena_fini(&arena);
}

static void greet(struct mst_peer *peer)
{
    struct mst_conn *conn;
    struct mst_error err;
    int fd = peer->fd;
    event_del(&peer->connect_event);
    peer->fd = -1;
    if (mst_conn_new(peer->loop, fd, peer->config.name, &conn, &err) != MST_OK) {
        wait_again(peer, err.text);
        return;
    }
    if (peer->config.user_timeout_ms)
        mst_conn_set_user_timeout(conn, peer->config.user_timeout_ms);
    if (peer->config.adds_body_crc)
        mst_conn_add_body_crc(conn);
    mst_status status = mst_client_new(conn, on_client_closed, peer, &peer->client);
    peer->state = PEER_GREETING;
    struct mst_msg_greeting greeting = {.data_thread = MST_GREETING_CONTROL};
    const struct mst_client *client = peer->client;
    peer->config.events->on_greet(peer->config.arg, peer, &greeting);
    if (peer->client != client)
        return; // it was stopped, or is to try again
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    if (status == MST_OK)
        status = mst_msg_greeting_encode(&greeting, &meta);
    if (status == MST_OK) {
        struct mst_call call = {.method = MST_METHOD_GREETING,
                                .meta = mst_buf_view(&meta),
                                .deadline_ms = MST_PEER_CONNECT_MS,
                                .on_reply = on_greeted,
                                .arg = peer};
        mst_client_call(peer->client, &call);
    } else {
        wait_again(peer, "no memory for a greeting");
    }
    mst_buf_fini(&meta);
}

// ---- connecting ----

static const char *connect_text(int error)
{
    switch (error) {
    case ECONNREFUSED:
        return "connection refused";
    case ETIMEDOUT:
        return "no answer";
    case EHOSTUNREACH:
    case ENETUNREACH:
        return "no route to it";
    default:
        return strerror(error);
    }
}

// An address did not take the connection.
static void note_failure(struct mst_peer *peer, int error)
{
    const struct mst_socket_address *address = &peer->addresses[peer->next_address - 1];
    peer->is_refused |= error == ECONNREFUSED && mst_socket_address_is_same(address, &peer->met_at);
    snprintf(peer->why, sizeof peer->why, "%s", connect_text(error));
}

// Perhaps the next address takes it.
static void connect_failed(struct mst_peer *peer, int error)
{
    close_connecting(peer);
    note_failure(peer, error);
    connect_next(peer);
}

// On one machine a connect to a free port of the ephemeral range can meet itself.
static bool met_itself(int fd)
{
    struct mst_socket_address local, remote;
    return mst_socket_address_ends(fd, &local, &remote) && mst_socket_address_is_same(&local, &remote);
}

static void on_connected(evutil_socket_t fd, short what, void *arg)
{
    struct mst_peer *peer = arg;
    int error = 0;
    socklen_t len = sizeof error;
    if (what & EV_TIMEOUT)
        error = ETIMEDOUT;
    else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (!error && met_itself(fd))
        error = ECONNREFUSED;
    if (error)
        connect_failed(peer, error);
    else
        greet(peer);
}

static void connect_next(struct mst_peer *peer)
{
    while (peer->next_address < peer->n_addresses) {
        const struct mst_socket_address *address = &peer->addresses[peer->next_address++];
        int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd >= 0 && (connect(fd, (const struct sockaddr *)&address->storage, address->len) == 0 ||
                        errno == EINPROGRESS || errno == EINTR)) {
            peer->fd = fd;
            int result =
                event_assign(&peer->connect_event, mst_loop_base(peer->loop), fd, EV_WRITE, on_connected, peer);
            MST_ASSERT(result == 0);
            struct timeval limit = {.tv_sec = MST_PEER_CONNECT_MS / 1000};
            event_add(&peer->connect_event, &limit);
            return;
        }
        note_failure(peer, errno);
        if (fd >= 0)
            close(fd);
    }
    struct mst_error why;
    snprintf(why.text, sizeof why.text, "%s", peer->why);
    bool is_gone = peer->is_suspect && peer->is_refused;
    peer->is_suspect = peer->is_suspect && !is_gone;
    wait_again(peer, why.text);
    if (is_gone)
        peer->config.on_gone(peer->config.arg, peer);
}

static void on_resolved(void *arg, mst_status status, const char *text, const struct mst_socket_address *addresses,
                        size_t n)
{
    struct mst_peer *peer = arg;
    peer->lookup = NULL;
    if (status != MST_OK) {
        wait_again(peer, text);
        return;
    }
    memcpy(peer->addresses, addresses, n * sizeof *addresses);
    peer->n_addresses = n;
    peer->next_address = 0;
    peer->is_refused = false;
    peer->state = PEER_CONNECTING;
    connect_next(peer);
}

static void resolve(void *arg)
{
    struct mst_peer *peer = arg;
    peer->state = PEER_RESOLVING;
    peer->lookup = mst_resolver_ask(peer->resolver, peer->loop, peer->host, peer->port, on_resolved, peer);
}

// ---- use ----

void mst_peer_start(struct mst_peer *peer)
{
    mst_loop_assert_owner(peer->loop);
    if (peer->state != PEER_IDLE)
        return;
    peer->down_since_ms = mst_clock_monotonic_ms();
    peer->backoff_ms = 0;
    peer->why[0] = '\0';
    resolve(peer);
}

void mst_peer_stop(struct mst_peer *peer)
{
    leave(peer);
    peer->state = PEER_IDLE;
    peer->why[0] = '\0';
}

void mst_peer_retry(struct mst_peer *peer, const char *why)
{
    if (peer->state == PEER_IDLE)
        return;
    wait_again(peer, why);
}

void mst_peer_ask_again(struct mst_peer *peer, const char *why)
{
    if (peer->state == PEER_IDLE)
        wait_again(peer, why);
}

void mst_peer_hurry(struct mst_peer *peer)
{
    if (peer->state == PEER_WAITING)
        mst_timer_start_once(&peer->backoff, 0);
}

void mst_peer_break(struct mst_peer *peer, const char *why)
{
    struct mst_conn *conn = mst_peer_conn(peer);
    if (conn)
        mst_conn_break(conn, why);
}

bool mst_peer_is_up(const struct mst_peer *peer)
{
    return peer->state == PEER_UP;
}

bool mst_peer_is_first_try(const struct mst_peer *peer)
{
    bool is_trying = peer->state == PEER_RESOLVING || peer->state == PEER_CONNECTING || peer->state == PEER_GREETING;
    return is_trying && peer->backoff_ms == 0;
}

void mst_peer_call(struct mst_peer *peer, const struct mst_call *call)
{
    // While a lost connection ends its calls the client is about to go, and would forget this one.
    if (peer->state == PEER_UP && mst_client_conn(peer->client)) {
        mst_client_call(peer->client, call);
        return;
    }
    char state[320];
    mst_peer_state(peer, state, sizeof state);
    struct mst_error text;
    mst_fail(&text, MST_UNAVAILABLE, "%s at %s is not connected: %s", peer->config.name, peer->config.address, state);
    mst_failed_calls_add(&peer->failed, call, MST_UNAVAILABLE, text.text);
}

const char *mst_peer_name(const struct mst_peer *peer)
{
    return peer->config.name;
}

const char *mst_peer_address(const struct mst_peer *peer)
{
    return peer->config.address;
}

void mst_peer_state(const struct mst_peer *peer, char *out, size_t out_bytes)
{
    static const char *const doing[] = {
        [PEER_IDLE] = "idle",
        [PEER_WAITING] = "waiting",
        [PEER_RESOLVING] = "looking up its name",
        [PEER_CONNECTING] = "connecting",
        [PEER_GREETING] = "greeted, no answer yet",
        [PEER_UP] = "connected",
    };
    bool is_ending = peer->state == PEER_UP && !mst_client_conn(peer->client); // its calls are told so first
    const char *text = is_ending ? "just disconnected" : peer->why[0] ? peer->why : doing[peer->state];
    if (peer->state == PEER_UP || peer->state == PEER_IDLE)
        snprintf(out, out_bytes, "%s", text);
    else
        snprintf(out, out_bytes, "%s, %llu s", text, (unsigned long long)(mst_peer_down_ms(peer) / 1000));
}

uint64_t mst_peer_down_ms(const struct mst_peer *peer)
{
    return peer->state == PEER_UP ? 0 : mst_clock_monotonic_ms() - peer->down_since_ms;
}

struct mst_conn *mst_peer_conn(struct mst_peer *peer)
{
    return peer->state == PEER_UP ? mst_client_conn(peer->client) : NULL;
}
