// evhttp reads requests and writes answers; what it does not bound is bounded here: how many connections there are and
// how long each lives. evhttp tells nobody about a connection before its first request is whole, which a peer that
// trickles never finishes, so each connection's bufferevent is made here and one reference to it kept. Letting go of a
// connection, evhttp frees its bufferevent, which takes its callbacks away: that is how sweep() knows, and gives up the
// last reference, which closes the socket.
//
// One request a connection: every answer says "Connection: close", so there is no pipelining and no body of a GET that
// could be taken for the next request. When all places are taken, the oldest connection makes room: a probe gets its
// answer however many strangers sit there.
#include "http/http_private.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "event/loop.h"
#include "event/timer.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BACKLOG = 1024, // a queue that overflows makes a probe wait for a retransmission
    SWEEP_IDLE_MS = 1000,
    SWEEP_MS = 100,    // while there are connections
    SWEEP_FULL_MS = 1, // while there is no room for another
};

static const char plain_type[] = "text/plain; charset=utf-8";
static const char json_type[] = "application/json";
static const char metrics_type[] = "text/plain; version=0.0.4; charset=utf-8";

struct connection {
    struct bufferevent *bev; // a reference; NULL: place free
    uint64_t born_ns;        // in milliseconds several would be equally old
};

struct mst_http {
    struct mst_loop *loop;
    struct evhttp *evhttp;
    struct evconnlistener *listener; // evhttp's once bound
    struct mst_timer sweep_timer;
    struct connection connections[MST_HTTP_CONNECTIONS_MAX];
    mst_http_ready_fn ready;
    void *ready_arg;
    mst_http_post_fn post; // NULL: there is nothing to post
    void *post_arg;
    struct mst_metric *cpu;
    struct mst_metric *resident;
    uint16_t port;
    uint64_t life_ms;
};

// ---- addresses ----

static bool read_port(const char *text, uint16_t *out)
{
    unsigned value = 0;
    size_t n = 0;
    for (; n < 5 && text[n] >= '0' && text[n] <= '9'; n++)
        value = value * 10 + (unsigned)(text[n] - '0');
    *out = (uint16_t)value;
    return n > 0 && text[n] == '\0' && value <= UINT16_MAX;
}

// A zone (fe80::1%eth0) is left to getaddrinfo.
static bool is_v6(const char *host)
{
    char address[INET6_ADDRSTRLEN] = "";
    size_t len = strcspn(host, "%");
    struct in6_addr v6;
    if (len >= sizeof address)
        return false;
    memcpy(address, host, len);
    return inet_pton(AF_INET6, address, &v6) == 1 && (host[len] == '\0' || host[len + 1] != '\0');
}

static bool split(const char *text, struct mst_http_address *out)
{
    const char *colon = strrchr(text, ':');
    if (!read_port(colon ? colon + 1 : text, &out->port))
        return false;
    if (!colon)
        return true;
    size_t len = (size_t)(colon - text);
    bool is_bracketed = len >= 2 && text[0] == '[' && colon[-1] == ']';
    if (is_bracketed) {
        text++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof out->host)
        return false;
    memcpy(out->host, text, len);
    out->host[len] = '\0';
    struct in_addr v4;
    return is_bracketed ? is_v6(out->host) : inet_pton(AF_INET, out->host, &v4) == 1;
}

mst_status mst_http_address_parse(const char *text, struct mst_http_address *out, struct mst_error *err)
{
    memset(out, 0, sizeof *out);
    if (split(text, out))
        return MST_OK;
    memset(out, 0, sizeof *out);
    return mst_fail(
        err, MST_INVALID_ARGUMENT,
        "HTTP address \"%.200s\": expected PORT, ADDR:PORT or [IPV6]:PORT with a numeric address and a port "
        "from 0 to 65535, such as 8080 or 127.0.0.1:8080",
        text);
}

// ---- listening ----

static int bind_to(int fd, const struct addrinfo *info)
{
    int one = 1;
    int zero = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one,
               sizeof one); // a restart need not wait for old connections to time out
    if (info->ai_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero) != 0)
        return errno;
    return bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0 ? 0 : errno;
}

// A listening socket on a numeric host; 0 or an errno.
static int try_listen(const char *host, uint16_t port, int *fd_out)
{
    *fd_out = -1;
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *info = NULL;
    if (getaddrinfo(host, service, &hints, &info) != 0)
        return EADDRNOTAVAIL;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error = fd < 0 ? errno : bind_to(fd, info);
    freeaddrinfo(info);
    if (error && fd >= 0)
        close(fd);
    if (!error)
        *fd_out = fd;
    return error;
}

static mst_status listen_on(const struct mst_http_address *address, int *fd_out, struct mst_error *err)
{
    bool is_any = address->host[0] == '\0';
    int error = try_listen(is_any ? "::" : address->host, address->port, fd_out); // "::" takes IPv4 too
    if (is_any && error && error != EADDRINUSE && error != EACCES)
        error = try_listen("0.0.0.0", address->port, fd_out); // a machine without IPv6
    switch (error) {
    case 0:
        return MST_OK;
    case EADDRINUSE:
        return mst_fail(err, MST_UNAVAILABLE,
                        "HTTP port %u is in use; stop what listens there, or give another --http port (0: any)",
                        address->port);
    case EACCES:
        return mst_fail(err, MST_UNAVAILABLE, "HTTP port %u may not be used by this user; give one above 1023",
                        address->port);
    case EADDRNOTAVAIL:
        return mst_fail(
            err, MST_INVALID_ARGUMENT,
            "HTTP address %s is none of this machine; give one of its own, or the port alone for all of them",
            address->host);
    default:
        return mst_fail(err, MST_UNAVAILABLE, "HTTP port %u cannot be listened on: %s", address->port, strerror(error));
    }
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage storage = {0};
    socklen_t len = sizeof storage;
    if (getsockname(fd, (struct sockaddr *)&storage, &len) != 0)
        return 0;
    return storage.ss_family == AF_INET6 ? ntohs(((const struct sockaddr_in6 *)&storage)->sin6_port)
                                         : ntohs(((const struct sockaddr_in *)&storage)->sin_port);
}

// ---- connections ----

// evhttp has a callback for events on every connection it holds, and none on one it has freed.
static bool is_held(struct bufferevent *bev)
{
    bufferevent_event_cb on_event = NULL;
    bufferevent_getcb(bev, NULL, NULL, &on_event, NULL);
    return on_event != NULL;
}

// evhttp reads the end, or fails to write, in the next round, and frees the connection.
static void end(const struct connection *connection)
{
    shutdown(bufferevent_getfd(connection->bev), SHUT_RDWR);
}

static size_t sweep(struct mst_http *http)
{
    size_t n_open = 0;
    uint64_t now_ns = mst_clock_monotonic_ns();
    for (size_t i = 0; i < MST_HTTP_CONNECTIONS_MAX; i++) {
        struct connection *connection = &http->connections[i];
        if (!connection->bev)
            continue;
        if (!is_held(connection->bev)) {
            bufferevent_decref(connection->bev);
            connection->bev = NULL;
            continue;
        }
        n_open++;
        if (now_ns - connection->born_ns >= http->life_ms * 1000000)
            end(connection);
    }
    return n_open;
}

// Comes round for ever: it also ends the pause after a failed accept.
static void on_sweep(void *arg)
{
    struct mst_http *http = arg;
    size_t n_open = sweep(http);
    if (n_open < MST_HTTP_CONNECTIONS_MAX)
        evconnlistener_enable(http->listener);
    mst_timer_start_once(&http->sweep_timer, n_open == 0                         ? SWEEP_IDLE_MS
                                             : n_open < MST_HTTP_CONNECTIONS_MAX ? SWEEP_MS
                                                                                 : SWEEP_FULL_MS);
}

// The last place is taken: nobody is accepted until the oldest connection is gone.
static void make_room(struct mst_http *http)
{
    const struct connection *oldest = &http->connections[0];
    for (size_t i = 1; i < MST_HTTP_CONNECTIONS_MAX; i++)
        if (http->connections[i].born_ns < oldest->born_ns)
            oldest = &http->connections[i];
    end(oldest);
    evconnlistener_disable(http->listener);
    mst_timer_start_once(&http->sweep_timer, 0); // after the sockets' events of the next round
}

// evhttp accepted somebody and wants a bufferevent for it; NULL would make it take one that nobody here knows.
static struct bufferevent *on_connection(struct event_base *base, void *arg)
{
    struct mst_http *http = arg;
    struct connection *place = NULL;
    size_t n_taken = 1;
    for (size_t i = 0; i < MST_HTTP_CONNECTIONS_MAX; i++) {
        n_taken += http->connections[i].bev != NULL;
        if (!http->connections[i].bev)
            place = &http->connections[i];
    }
    MST_ASSERT(place); // with all places taken the listener is off
    struct bufferevent *bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    MST_ASSERT(bev);
    bufferevent_incref(bev);
    *place = (struct connection){.bev = bev, .born_ns = mst_clock_monotonic_ns()};
    if (n_taken == MST_HTTP_CONNECTIONS_MAX)
        make_room(http);
    else if (n_taken == 1)
        mst_timer_start_once(&http->sweep_timer, SWEEP_MS);
    return bev;
}

// No descriptors left: trying again at once would only spin; the next sweep does. arg is evhttp's.
static void on_accept_failed(struct evconnlistener *listener, void *arg)
{
    (void)arg;
    MST_LOG(WARN, "http", "accept failed", "reason=\"%s\"", strerror(errno));
    evconnlistener_disable(listener);
}

// ---- answers ----

static void answer(struct evhttp_request *request, int code, const char *type, struct mst_bytes body)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
    char length[24];
    snprintf(length, sizeof length, "%zu", body.len);
    evhttp_add_header(headers, "Content-Type", type);
    evhttp_add_header(headers, "Content-Length", length); // by hand, because HEAD is answered with it too
    evhttp_add_header(headers, "Connection", "close");
    if (evhttp_request_get_command(request) != EVHTTP_REQ_HEAD)
        evbuffer_add(evhttp_request_get_output_buffer(request), body.data, body.len);
    evhttp_send_reply(request, code, NULL, NULL);
}

static void answer_text(struct evhttp_request *request, int code, const char *text)
{
    char line[sizeof(struct mst_error) + 1];
    int len = snprintf(line, sizeof line, "%s\n", text);
    answer(request, code, plain_type, (struct mst_bytes){line, (size_t)len});
}

enum { HTTP_ACCEPTED = 202 }; // which evhttp does not name

// What the process uses, looked at when somebody asks.
static void update_process_metrics(const struct mst_http *http)
{
    char text[128] = "";
    FILE *file = fopen("/proc/self/statm", "re");
    bool is_known = file && fgets(text, sizeof text, file);
    if (file)
        fclose(file);
    const char *resident = strchr(text, ' '); // the second number, in pages
    if (is_known && resident)
        mst_metric_set(http->resident, strtoll(resident, NULL, 10) * sysconf(_SC_PAGESIZE));
    mst_metric_set_real(http->cpu, (double)mst_clock_cpu_ns() * 1e-9);
}

static void answer_metrics(const struct mst_http *http, struct evhttp_request *request)
{
    update_process_metrics(http);
    struct mst_buf text;
    mst_buf_init(&text, MST_HTTP_METRICS_MAX_BYTES);
    if (mst_metrics_print(&text) == MST_OK)
        answer(request, HTTP_OK, metrics_type, mst_buf_view(&text));
    else
        answer_text(request, HTTP_INTERNAL, "the metrics are too long for one answer");
    mst_buf_fini(&text);
}

static void answer_ready(const struct mst_http *http, struct evhttp_request *request)
{
    struct mst_error err = {.text = ""};
    mst_status status = http->ready ? http->ready(http->ready_arg, &err) : MST_OK;
    if (status == MST_OK)
        answer_text(request, HTTP_OK, err.text[0] ? err.text : "ready");
    else
        answer_text(request, HTTP_SERVUNAVAIL, err.text[0] ? err.text : mst_status_text(status));
}

// After a CONNECT evhttp keeps the connection whatever its answer says.
static void on_answered(struct evhttp_request *request, void *arg)
{
    (void)arg;
    struct bufferevent *bev = evhttp_connection_get_bufferevent(evhttp_request_get_connection(request));
    shutdown(bufferevent_getfd(bev), SHUT_RDWR);
}

static void answer_post(const struct mst_http *http, struct evhttp_request *request)
{
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
    const char *path = evhttp_uri_get_path(uri);
    const char *query = evhttp_uri_get_query(uri);
    if (evhttp_find_header(evhttp_request_get_input_headers(request), "Origin")) {
        answer_text(request, mst_status_http(MST_PERMISSION_DENIED), "nothing is posted here from web pages");
        return;
    }
    struct mst_http_answer posted = {.text = ""};
    http->post(http->post_arg, path ? path : "", query ? query : "", &posted);
    if (posted.status != MST_OK)
        answer_text(request, mst_status_http(posted.status), posted.text);
    else
        answer(request, posted.is_pending ? HTTP_ACCEPTED : HTTP_OK, json_type,
               (struct mst_bytes){posted.text, strlen(posted.text)});
}

static bool is_page(const char *path)
{
    return path && (strcmp(path, "/metrics") == 0 || strcmp(path, "/healthz") == 0 || strcmp(path, "/readyz") == 0);
}

static void answer_page(const struct mst_http *http, struct evhttp_request *request, const char *path)
{
    if (strcmp(path, "/metrics") == 0)
        answer_metrics(http, request);
    else if (strcmp(path, "/healthz") == 0)
        answer_text(request, HTTP_OK, "alive");
    else
        answer_ready(http, request);
}

// allows: what the path is there for.
static void refuse_method(struct evhttp_request *request, const char *allows, const char *text)
{
    evhttp_add_header(evhttp_request_get_output_headers(request), "Allow", allows);
    if (evhttp_request_get_command(request) == EVHTTP_REQ_CONNECT)
        evhttp_request_set_on_complete_cb(request, on_answered, NULL);
    answer_text(request, HTTP_BADMETHOD, text);
}

static void on_request(struct evhttp_request *request, void *arg)
{
    const struct mst_http *http = arg;
    enum evhttp_cmd_type method = evhttp_request_get_command(request);
    const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));
    bool is_reading = method == EVHTTP_REQ_GET || method == EVHTTP_REQ_HEAD;
    if (is_page(path) && is_reading)
        answer_page(http, request, path);
    else if (is_page(path) || method == EVHTTP_REQ_CONNECT) // which has no path
        refuse_method(request, "GET, HEAD", "only GET and HEAD");
    else if (is_reading || !http->post)
        answer_text(request, HTTP_NOTFOUND, "there are /metrics, /healthz and /readyz");
    else if (method == EVHTTP_REQ_POST)
        answer_post(http, request);
    else
        refuse_method(request, "POST", "only POST");
}

// ---- lifecycle ----

// Methods that HTTP knows get to on_request, which says 405; evhttp answers the others 501.
static const ev_uint16_t known_methods = EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT |
                                         EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE |
                                         EVHTTP_REQ_CONNECT | EVHTTP_REQ_PATCH;

static void start(struct mst_http *http, int fd)
{
    struct event_base *base = mst_loop_base(http->loop);
    http->evhttp = evhttp_new(base);
    http->listener = evconnlistener_new(base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC,
                                        0 /* listens already */, fd);
    MST_ASSERT(http->evhttp && http->listener); // only memory can fail them
    evconnlistener_set_error_cb(http->listener, on_accept_failed);
    evhttp_set_max_headers_size(http->evhttp, MST_HTTP_HEADERS_MAX_BYTES);
    evhttp_set_max_body_size(http->evhttp, MST_HTTP_BODY_MAX_BYTES);
    evhttp_set_allowed_methods(http->evhttp, known_methods);
    evhttp_set_bevcb(http->evhttp, on_connection, http);
    evhttp_set_gencb(http->evhttp, on_request, http);
    mst_timer_init(&http->sweep_timer, http->loop, on_sweep, http);
    const struct evhttp_bound_socket *bound = evhttp_bind_listener(http->evhttp, http->listener);
    MST_ASSERT(bound);
    mst_timer_start_once(&http->sweep_timer, SWEEP_IDLE_MS);
}

mst_status mst_http_new(struct mst_loop *loop, const char *address, mst_http_ready_fn ready, void *ready_arg,
                        struct mst_http **out, struct mst_error *err)
{
    mst_loop_assert_owner(loop);
    *out = NULL;
    struct mst_http_address where;
    int fd;
    MST_TRY(mst_http_address_parse(address, &where, err));
    MST_TRY(listen_on(&where, &fd, err));
    struct mst_http *http = mst_alloc(sizeof *http);
    http->loop = loop;
    http->ready = ready;
    http->ready_arg = ready_arg;
    http->cpu = mst_metric_counter("process_cpu_seconds_total", "Processor time, user and system", NULL);
    http->resident = mst_metric_gauge("process_resident_memory_bytes", "Memory in use", NULL);
    start(http, fd);
    http->port = port_of(evconnlistener_get_fd(http->listener));
    mst_http_set_limits(http, MST_HTTP_IDLE_SECONDS * UINT64_C(1000), MST_HTTP_LIFE_MS);
    MST_LOG(INFO, "http", "listening", "port=%u address=%s", http->port, where.host[0] ? where.host : "all");
    *out = http;
    return MST_OK;
}

void mst_http_free(struct mst_http *http)
{
    if (!http)
        return;
    mst_loop_assert_owner(http->loop);
    mst_timer_fini(&http->sweep_timer);
    evhttp_free(http->evhttp); // listener and connections too
    for (size_t i = 0; i < MST_HTTP_CONNECTIONS_MAX; i++)
        if (http->connections[i].bev)
            bufferevent_decref(http->connections[i].bev);
    free(http);
}

void mst_http_set_limits(struct mst_http *http, uint64_t idle_ms, uint64_t life_ms)
{
    struct timeval idle = {.tv_sec = (time_t)(idle_ms / 1000), .tv_usec = (suseconds_t)(idle_ms % 1000) * 1000};
    evhttp_set_timeout_tv(http->evhttp, &idle);
    http->life_ms = life_ms;
}

void mst_http_take_posts(struct mst_http *http, mst_http_post_fn post, void *arg)
{
    http->post = post;
    http->post_arg = arg;
}

uint16_t mst_http_port(const struct mst_http *http)
{
    return http->port;
}
