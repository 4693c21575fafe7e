// Sockets without blocking, one poll for all: a role that hangs costs the others nothing but the time limit.
#include "cli/http_get.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 65536, HOST_BYTES = 256 };

// One request under way; fd -1: it is over.
struct flight {
    struct mst_http_get *get;
    int fd;
    size_t n_sent;
    char request[512];
    size_t request_len;
};

int mst_http_answer_parse(struct mst_bytes answer, struct mst_bytes *body_out)
{
    const char *text = answer.data;
    *body_out = (struct mst_bytes){0};
    // "HTTP/1.1 200 " and what follows
    if (answer.len < 12 || memcmp(text, "HTTP/1.", 7) != 0 || text[8] != ' ')
        return 0;
    int code = 0;
    for (size_t i = 9; i < 12; i++) {
        if (!isdigit((unsigned char)text[i]))
            return 0;
        code = code * 10 + (text[i] - '0');
    }
    const char *end = memmem(text, answer.len, "\r\n\r\n", 4);
    if (!end || code < 100)
        return 0;
    *body_out = (struct mst_bytes){end + 4, answer.len - (size_t)(end + 4 - text)};
    return code;
}

static void finish(struct flight *flight, const char *why)
{
    struct mst_http_get *get = flight->get;
    if (flight->fd >= 0)
        close(flight->fd);
    flight->fd = -1;
    if (why)
        snprintf(get->why, sizeof get->why, "%s", why);
    else if ((get->code = mst_http_answer_parse(mst_buf_view(&get->answer), &get->body)) == 0)
        snprintf(get->why, sizeof get->why, "what answers is no HTTP server");
}

static void begin(struct flight *flight)
{
    struct mst_http_get *get = flight->get;
    mst_buf_init(&get->answer, MST_HTTP_GET_MAX_BYTES);
    get->code = 0;
    get->why[0] = '\0';
    flight->fd = -1;
    const char *colon = strrchr(get->address, ':');
    char host[HOST_BYTES];
    size_t host_len = colon ? (size_t)(colon - get->address) : 0;
    bool has_brackets = host_len > 2 && get->address[0] == '[' && get->address[host_len - 1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(has_brackets ? host_len - 2 : host_len), get->address + has_brackets);
    flight->request_len = (size_t)snprintf(
        flight->request, sizeof flight->request, "%s %s HTTP/1.0\r\nHost: %s\r\n%sConnection: close\r\n\r\n",
        get->is_post ? "POST" : "GET", get->path, host, get->is_post ? "Content-Length: 0\r\n" : "");
    if (flight->request_len >= sizeof flight->request) {
        finish(flight, "the address is too long");
        return;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int error = getaddrinfo(host_len ? host : NULL, colon ? colon + 1 : get->address, &hints, &found);
    if (error) {
        finish(flight, gai_strerror(error));
        return;
    }
    flight->fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (flight->fd < 0 || (connect(flight->fd, found->ai_addr, found->ai_addrlen) != 0 && errno != EINPROGRESS))
        finish(flight, strerror(errno));
    freeaddrinfo(found);
}

static void on_writable(struct flight *flight)
{
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(flight->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    ssize_t n =
        error ? -1
              : send(flight->fd, flight->request + flight->n_sent, flight->request_len - flight->n_sent, MSG_NOSIGNAL);
    if (n >= 0)
        flight->n_sent += (size_t)n;
    else if (error || (errno != EAGAIN && errno != EINTR))
        finish(flight, strerror(error ? error : errno));
}

static void on_readable(struct flight *flight)
{
    struct mst_buf *answer = &flight->get->answer;
    uint8_t *room;
    if (mst_buf_reserve(answer, READ_BYTES, &room) != MST_OK) {
        finish(flight, "the answer is too long");
        return;
    }
    ssize_t n = read(flight->fd, room, READ_BYTES);
    if (n > 0)
        answer->len += (size_t)n;
    else if (n == 0)
        finish(flight, NULL);
    else if (errno != EAGAIN && errno != EINTR)
        finish(flight, strerror(errno));
}

// Fills in what is waited for; returns how many are under way.
static size_t list_open(const struct flight *flights, size_t n, struct pollfd *polls)
{
    size_t n_open = 0;
    for (size_t i = 0; i < n; i++) {
        bool is_sending = flights[i].n_sent < flights[i].request_len;
        polls[i] = (struct pollfd){.fd = flights[i].fd, .events = is_sending ? POLLOUT : POLLIN};
        n_open += flights[i].fd >= 0;
    }
    return n_open;
}

void mst_http_get_all(struct mst_http_get *gets, size_t n, unsigned timeout_ms)
{
    struct flight *flights = mst_alloc_array(n, sizeof *flights);
    struct pollfd *polls = mst_alloc_array(n, sizeof *polls);
    uint64_t deadline_ms = mst_clock_monotonic_ms() + timeout_ms;
    for (size_t i = 0; i < n; i++) {
        flights[i].get = &gets[i];
        begin(&flights[i]);
    }
    while (list_open(flights, n, polls) > 0) {
        uint64_t now_ms = mst_clock_monotonic_ms();
        if (now_ms >= deadline_ms)
            break;
        if (poll(polls, (nfds_t)n, (int)(deadline_ms - now_ms)) < 0)
            break; // a signal: whoever called looks at it
        for (size_t i = 0; i < n; i++)
            if (flights[i].fd >= 0 && polls[i].revents)
                (polls[i].events == POLLOUT ? on_writable : on_readable)(&flights[i]);
    }
    for (size_t i = 0; i < n; i++)
        if (flights[i].fd >= 0)
            finish(&flights[i], "no answer in time");
    free(flights);
    free(polls);
}

void mst_http_get_fini(struct mst_http_get *get)
{
    mst_buf_fini(&get->answer);
    get->body = (struct mst_bytes){0};
}
