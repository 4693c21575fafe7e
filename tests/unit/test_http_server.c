// Metrics and health over HTTP, asked by bare sockets: answers, refusals, and every bound of http.h.
#include "http/http_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "event/loop.h"
#include "muster/status.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_MS = 10000, ANSWER_MAX = 8 << 20 };

struct fixture {
    struct mst_loop *loop;
    struct mst_http *http;
    mst_status ready;
    const char *missing;
    char *answer; // of the last request
    size_t answer_len;
};

static mst_status is_ready(void *arg, struct mst_error *err)
{
    const struct fixture *f = arg;
    return mst_fail(err, f->ready, "%s", f->missing ? f->missing : "");
}

static int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    f->answer = mst_alloc(ANSWER_MAX + 1);
    assert_int_equal(mst_log_set_filter("all=error", NULL), MST_OK);
    assert_int_equal(mst_loop_new("http", &f->loop, NULL), MST_OK);
    assert_int_equal(mst_http_new(f->loop, "0", is_ready, f, &f->http, NULL), MST_OK);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    mst_http_free(f->http);
    mst_loop_free(f->loop);
    free(f->answer);
    free(f);
    return 0;
}

static int dial(const struct fixture *f)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MST_ASSERT(fd >= 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(mst_http_port(f->http)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0); // the kernel accepts
    return fd;
}

static void wait_for(const struct fixture *f, int fd, short what, uint64_t deadline_ms)
{
    mst_loop_poll(f->loop);
    struct pollfd socket = {.fd = fd, .events = what};
    poll(&socket, 1, 1);
    assert_true(mst_clock_monotonic_ms() < deadline_ms);
}

// Sends what the peer takes. False: it closed before the end.
static bool tell(const struct fixture *f, int fd, const void *data, size_t len)
{
    uint64_t deadline_ms = mst_clock_monotonic_ms() + PATIENCE_MS;
    const char *at = data;
    while (len) {
        ssize_t n = send(fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        } else {
            wait_for(f, fd, POLLOUT, deadline_ms);
        }
    }
    return true;
}

// Reads until the end, into f->answer; closes. Returns the status code, 0 if there was no answer.
static int hear(struct fixture *f, int fd)
{
    uint64_t deadline_ms = mst_clock_monotonic_ms() + PATIENCE_MS;
    f->answer_len = 0;
    while (true) {
        ssize_t n = recv(fd, f->answer + f->answer_len, ANSWER_MAX - f->answer_len, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            break;
        if (n > 0)
            f->answer_len += (size_t)n;
        else
            wait_for(f, fd, POLLIN, deadline_ms);
    }
    close(fd);
    f->answer[f->answer_len] = '\0';
    return f->answer_len > 12 ? (int)strtol(f->answer + sizeof "HTTP/1.1" - 1, NULL, 10) : 0;
}

static int ask(struct fixture *f, const char *request)
{
    int fd = dial(f);
    tell(f, fd, request, strlen(request));
    return hear(f, fd);
}

static const char *body_of(const struct fixture *f)
{
    const char *end = strstr(f->answer, "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

static void expect_header(const struct fixture *f, const char *line)
{
    const char *at = strstr(f->answer, line);
    if (!at || at > body_of(f) || strncmp(at + strlen(line), "\r\n", 2) != 0 || at[-1] != '\n')
        fail_msg("no header \"%s\" in:\n%s", line, f->answer);
}

// ---- answers ----

static void test_metrics(void **state)
{
    struct fixture *f = *state;
    mst_metric_add(mst_metric_counter("test_pushes_total", "Pushes", NULL), 7);
    assert_int_equal(ask(f, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    expect_header(f, "Content-Type: text/plain; version=0.0.4; charset=utf-8");
    expect_header(f, "Connection: close");
    assert_non_null(strstr(body_of(f), "# TYPE test_pushes_total counter\ntest_pushes_total 7\n"));
    char length[64];
    snprintf(length, sizeof length, "Content-Length: %zu", strlen(body_of(f)));
    expect_header(f, length);
    assert_int_equal(ask(f, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    expect_header(f, length);
    assert_string_equal(body_of(f), "");
    assert_int_equal(ask(f, "GET /metrics?name=x#y HTTP/1.0\r\n\r\n"), 200);
    assert_int_equal(ask(f, "GET http://somewhere/metrics HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
}

static void test_health_and_readiness(void **state)
{
    struct fixture *f = *state;
    f->ready = MST_UNAVAILABLE;
    f->missing = "waiting for ps-1 (DNS not found, 12 s)";
    assert_int_equal(ask(f, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    assert_string_equal(body_of(f), "alive\n");
    assert_int_equal(ask(f, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"), 503);
    assert_string_equal(body_of(f), "waiting for ps-1 (DNS not found, 12 s)\n");
    expect_header(f, "Content-Type: text/plain; charset=utf-8");
    f->missing = "";
    assert_int_equal(ask(f, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"), 503);
    assert_string_equal(body_of(f), "unavailable\n");
    f->ready = MST_OK;
    assert_int_equal(ask(f, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    assert_string_equal(body_of(f), "ready\n");
    f->missing = "waiting for workers: none is there";
    assert_int_equal(ask(f, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    assert_string_equal(body_of(f), "waiting for workers: none is there\n");
}

static void test_always_ready_without_a_callback(void **state)
{
    struct fixture *f = *state;
    mst_http_free(f->http);
    assert_int_equal(mst_http_new(f->loop, "127.0.0.1:0", NULL, NULL, &f->http, NULL), MST_OK);
    assert_int_equal(ask(f, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
}

static void test_other_paths_and_methods(void **state)
{
    struct fixture *f = *state;
    static const char *const paths[] = {"/", "/metrics/", "/healthzz", "//healthz", "*", "/%6detrics", "/a?/metrics"};
    char request[100];
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", paths[i]);
        assert_int_equal(ask(f, request), 404);
        assert_string_equal(body_of(f), "there are /metrics, /healthz and /readyz\n");
    }
    static const char *const methods[] = {"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        snprintf(request, sizeof request, "%s /metrics HTTP/1.1\r\nHost: x\r\n\r\n", methods[i]);
        assert_int_equal(ask(f, request), 405);
        expect_header(f, "Allow: GET, HEAD");
        assert_string_equal(body_of(f), "only GET and HEAD\n");
        snprintf(request, sizeof request, "%s /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", methods[i]);
        assert_int_equal(ask(f, request), 404);
    }
    uint64_t begin_ms = mst_clock_monotonic_ms();
    assert_int_equal(ask(f, "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n"), 405);
    assert_true(mst_clock_monotonic_ms() - begin_ms < 3000); // and it ends, though libevent would keep it
    assert_int_equal(ask(f, "BREW /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), 501);
    assert_int_equal(ask(f, "get /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), 501);
}

static void on_post(void *arg, const char *path, const char *query, struct mst_http_answer *answer)
{
    const struct fixture *f = arg;
    assert_string_equal(path, "/a/b%20c");
    answer->status = f->ready;
    answer->is_pending = query[0] != '\0';
    snprintf(answer->text, sizeof answer->text, "{\"query\":\"%s\"}", query);
}

static void test_posts(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ask(f, "POST /a/b%20c HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"), 404);
    mst_http_take_posts(f->http, on_post, f);
    assert_int_equal(ask(f, "POST /a/b%20c HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody"), 200);
    expect_header(f, "Content-Type: application/json");
    assert_string_equal(body_of(f), "{\"query\":\"\"}");
    assert_int_equal(ask(f, "POST /a/b%20c?d=e%3d HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"), 202);
    assert_string_equal(body_of(f), "{\"query\":\"d=e%3d\"}");
    assert_int_equal(ask(f, "POST /a/b%20c HTTP/1.1\r\nHost: x\r\nOrigin: http://y\r\nContent-Length: 0\r\n\r\n"), 403);
    expect_header(f, "Content-Type: text/plain; charset=utf-8");
    f->ready = MST_UNAVAILABLE;
    assert_int_equal(ask(f, "POST /a/b%20c HTTP/1.0\r\n\r\n"), 503);
    assert_string_equal(body_of(f), "{\"query\":\"\"}\n");
    assert_int_equal(ask(f, "PUT /a/b%20c HTTP/1.0\r\n\r\n"), 405);
    expect_header(f, "Allow: POST");
    assert_string_equal(body_of(f), "only POST\n");
    assert_int_equal(ask(f, "GET /a/b%20c HTTP/1.0\r\n\r\n"), 404);
}

static void test_a_connection_answers_one_request(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ask(f, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    assert_null(strstr(f->answer, "# TYPE"));
    // What a GET has for a body is not taken for a request.
    assert_int_equal(ask(f, "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 33\r\n\r\n"
                            "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
                     200);
    assert_null(strstr(f->answer, "# TYPE"));
}

// ---- bounds ----

static void test_headers_have_a_limit(void **state)
{
    struct fixture *f = *state;
    static const uint8_t header_line[] = {'X', ':', ' ', 'y', '\r', '\n'};
    char *request = mst_alloc(1 << 20);
    size_t len = (size_t)snprintf(request, 100, "GET /healthz HTTP/1.1\r\nX: ");
    memset(request + len, 'y', 7000);
    memcpy(request + len + 7000, "\r\n\r\n", 5);
    assert_int_equal(ask(f, request), 200);
    memset(request + len, 'y', 9000);
    memcpy(request + len + 9000, "\r\n\r\n", 5);
    assert_int_not_equal(ask(f, request), 200);
    // A line that never ends, and headers without end: the connection ends long before they do.
    memset(request + len, 'y', (1 << 20) - len - 1);
    int fd = dial(f);
    size_t n_sent = 0;
    while (n_sent < 100 && tell(f, fd, request, 1 << 20))
        n_sent++;
    assert_true(n_sent < 100);
    close(fd);
    for (size_t at = len - 3; at + 8 < 1 << 20; at += 6)
        memcpy(request + at, header_line, sizeof header_line);
    fd = dial(f);
    n_sent = 0;
    while (n_sent < 100 && tell(f, fd, request, 1 << 20))
        n_sent++;
    assert_true(n_sent < 100);
    close(fd);
    free(request);
    assert_int_equal(ask(f, "GET /healthz HTTP/1.1\r\n\r\n"), 200);
}

static void test_bodies_have_a_limit(void **state)
{
    struct fixture *f = *state;
    char request[8192];
    int len = snprintf(request, sizeof request, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 4096\r\n\r\n");
    memset(request + len, 'b', 4096);
    request[len + 4096] = '\0';
    assert_int_equal(ask(f, request), 405); // read and thrown away
    assert_int_equal(ask(f, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4097\r\n\r\n"), 413);
    assert_int_equal(ask(f, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n"), 413);
    assert_int_equal(ask(f, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n"), 413);
    assert_int_equal(ask(f, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), 404);
    assert_int_equal(ask(f, "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n"), 413);
}

static void test_what_is_no_request(void **state)
{
    struct fixture *f = *state;
    static const char *const rows[] = {"\r\n\r\n",
                                       "GET\r\n\r\n",
                                       "GET /\r\n\r\n",
                                       "GET / HTTP/9.9.9\r\n\r\n",
                                       "GET / FTP/1.1\r\n\r\n",
                                       "\x16\x03\x01\x02\x01\n\n",
                                       "GET /healthz HTTP/1.1\r\nno colon\r\n\r\n",
                                       "MSTR\x01\n"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_not_equal(ask(f, rows[i]), 200);
    // Half a request and away; a whole one and away before the answer.
    for (int i = 0; i < 50; i++) {
        int fd = dial(f);
        tell(f, fd, "GET /metrics HTTP/1.1\r\n\r\n", i % 2 ? 10 : 25);
        struct linger reset = {.l_onoff = i % 3 == 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(fd);
        mst_loop_poll(f->loop);
    }
    assert_int_equal(ask(f, "GET /healthz HTTP/1.1\r\n\r\n"), 200);
}

static void test_an_idle_connection_ends(void **state)
{
    struct fixture *f = *state;
    mst_http_set_limits(f->http, 30, 60000);
    int silent = dial(f), half = dial(f);
    tell(f, half, "GET /hea", 8);
    assert_int_equal(hear(f, silent), 0);
    assert_int_equal(hear(f, half), 0);
    mst_http_set_limits(f->http, 60000, 60000);
    assert_int_equal(ask(f, "GET /healthz HTTP/1.1\r\n\r\n"), 200);
}

static void test_a_trickling_connection_ends(void **state)
{
    struct fixture *f = *state;
    mst_http_set_limits(f->http, 60000, 200);
    int fd = dial(f);
    uint64_t begin_ms = mst_clock_monotonic_ms();
    assert_true(tell(f, fd, "GET /healthz HTTP/1.1\r\nX: ", 26));
    while (tell(f, fd, "y", 1))
        wait_for(f, fd, POLLIN, begin_ms + PATIENCE_MS);
    assert_true(mst_clock_monotonic_ms() - begin_ms >= 200);
    close(fd);
}

static void test_one_who_does_not_read_ends(void **state)
{
    struct fixture *f = *state;
    enum { N = 400, LABEL_BYTES = 10000 }; // 4 MB of metrics: more than the sockets hold
    char *labels = mst_alloc(LABEL_BYTES + 32);
    for (int i = 0; i < N; i++) {
        int len = snprintf(labels, 32, "n=\"%d\",of=\"", i);
        memset(labels + len, 'x', LABEL_BYTES);
        memcpy(labels + len + LABEL_BYTES, "\"", 2);
        mst_metric_set(mst_metric_gauge("test_many", "Many", labels), i);
    }
    // Read, all of it comes.
    assert_int_equal(ask(f, "GET /metrics HTTP/1.1\r\n\r\n"), 200);
    assert_true(f->answer_len > N * LABEL_BYTES);
    assert_non_null(strstr(f->answer, "test_many{n=\"399\""));
    // Not read at all, it ends.
    mst_http_set_limits(f->http, 60000, 200);
    int fd = dial(f);
    tell(f, fd, "GET /metrics HTTP/1.1\r\n\r\n", 25);
    uint64_t deadline_ms = mst_clock_monotonic_ms() + 400;
    while (mst_clock_monotonic_ms() < deadline_ms)
        wait_for(f, fd, 0, deadline_ms + PATIENCE_MS);
    assert_int_equal(hear(f, fd), 200);
    assert_null(strstr(f->answer, "test_many{n=\"399\"")); // the rest was not waited for
    free(labels);
}

static size_t n_ended(const int *fds, size_t n)
{
    size_t ended = 0;
    for (size_t i = 0; i < n; i++) {
        char byte;
        ssize_t got = recv(fds[i], &byte, 1, MSG_DONTWAIT | MSG_PEEK);
        ended += got == 0 || (got < 0 && errno != EAGAIN);
    }
    return ended;
}

static void test_one_connection_too_many_ends_the_oldest(void **state)
{
    struct fixture *f = *state;
    enum { N = 100 };
    int fds[N];
    for (size_t i = 0; i < N; i++) {
        fds[i] = dial(f);
        mst_loop_poll(f->loop);
    }
    uint64_t deadline_ms = mst_clock_monotonic_ms() + PATIENCE_MS;
    while (n_ended(fds, N) < N - MST_HTTP_CONNECTIONS_MAX + 1)
        wait_for(f, fds[0], 0, deadline_ms);
    assert_int_equal(n_ended(fds, N), N - MST_HTTP_CONNECTIONS_MAX + 1); // one place is kept free
    assert_int_equal(n_ended(fds, N - MST_HTTP_CONNECTIONS_MAX + 1), N - MST_HTTP_CONNECTIONS_MAX + 1);
    // However many sit there, a probe is answered at once.
    uint64_t begin_ms = mst_clock_monotonic_ms();
    assert_int_equal(ask(f, "GET /healthz HTTP/1.1\r\n\r\n"), 200);
    assert_true(mst_clock_monotonic_ms() - begin_ms < MST_HTTP_IDLE_SECONDS * 1000);
    for (size_t i = 0; i < N; i++)
        close(fds[i]);
}

static void test_no_descriptors_for_a_while(void **state)
{
    struct fixture *f = *state;
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int fd = dial(f);
    none = before;
    none.rlim_cur = (rlim_t)fd + 1; // all below are taken, or nearly
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    while (dup(0) >= 0)
        continue;
    tell(f, fd, "GET /healthz HTTP/1.1\r\n\r\n", 25);
    for (int i = 0; i < 5; i++)
        mst_loop_poll(f->loop); // cannot accept, and must not spin or die
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(hear(f, fd), 200);
}

// ---- life ----

static void test_freed_with_connections_open(void **state)
{
    struct fixture *f = *state;
    int silent = dial(f), asking = dial(f);
    mst_loop_poll(f->loop);
    tell(f, asking, "GET /metrics HTTP/1.1\r\n\r\n", 25);
    mst_loop_poll(f->loop);
    mst_http_free(f->http);
    f->http = NULL;
    mst_http_free(NULL);
    assert_int_equal(hear(f, silent), 0);
    hear(f, asking);
}

static void expect_new_fails(const struct fixture *f, const char *address, mst_status status, const char *says)
{
    struct mst_http *http;
    struct mst_error err = {.text = ""};
    assert_int_equal(mst_http_new(f->loop, address, NULL, NULL, &http, &err), status);
    assert_null(http);
    if (!strstr(err.text, says))
        fail_msg("\"%s\" does not say \"%s\"", err.text, says);
}

static void test_ports_that_cannot_be_had(void **state)
{
    struct fixture *f = *state;
    char address[32], says[64];
    snprintf(address, sizeof address, "%u", mst_http_port(f->http));
    snprintf(says, sizeof says, "HTTP port %s is in use", address);
    expect_new_fails(f, address, MST_UNAVAILABLE, says);
    snprintf(address, sizeof address, "127.0.0.1:%u", mst_http_port(f->http));
    expect_new_fails(f, address, MST_UNAVAILABLE, "give another --http port");
    expect_new_fails(f, "192.0.2.1:0", MST_INVALID_ARGUMENT, "192.0.2.1 is none of this machine");
    expect_new_fails(f, "[fe80::1%no-such-link]:0", MST_INVALID_ARGUMENT, "none of this machine");
    expect_new_fails(f, "no port", MST_INVALID_ARGUMENT, "no port");
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    signal(SIGPIPE, SIG_IGN); // as http.h asks
    const struct CMUnitTest tests[] = {
        CASE(test_metrics),
        CASE(test_health_and_readiness),
        CASE(test_always_ready_without_a_callback),
        CASE(test_other_paths_and_methods),
        CASE(test_posts),
        CASE(test_a_connection_answers_one_request),
        CASE(test_headers_have_a_limit),
        CASE(test_bodies_have_a_limit),
        CASE(test_what_is_no_request),
        CASE(test_an_idle_connection_ends),
        CASE(test_a_trickling_connection_ends),
        CASE(test_one_who_does_not_read_ends),
        CASE(test_one_connection_too_many_ends_the_oldest),
        CASE(test_no_descriptors_for_a_while),
        CASE(test_freed_with_connections_open),
        CASE(test_ports_that_cannot_be_had),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
