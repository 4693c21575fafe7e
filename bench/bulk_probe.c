// The raw-socket probe of one exchange: one worker process writes a buffer of gradients to one server process on
// loopback, the server reads it straight into place, applies SGD to its parameters in one pass, in place, and writes
// them back. What Muster's exchange of the same bytes is measured against: no frames, no versions, no buckets, no
// deadlines.
//
// The worker blocks; the server is one libevent loop with plain events, which is the fastest of the ways tried there.
//
// usage: bulk_probe BYTES [SECONDS]     prints {"steps_per_second": …, "goodput_gb_per_second": …}, pushed plus pulled
// bytes
#include <errno.h>
#include <event2/event.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const float learning_rate = 0.001f;
static const double warm_up_seconds = 0.3; // page faults, and the socket buffers' growth

static _Noreturn void die(const char *what)
{
    perror(what);
    _exit(1);
}

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static float *new_floats(size_t n, float value)
{
    float *floats = aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64);
    if (!floats)
        die("aligned_alloc");
    for (size_t i = 0; i < n; i++)
        floats[i] = value;
    return floats;
}

static void set_nodelay(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

// ---- the server ----

struct server {
    struct event_base *base;
    size_t n;
    float *parameters;
    float *gradient;
    size_t n_received; // bytes of the gradient
    size_t n_sent;     // bytes of the parameters
    struct event *writable;
};

static void send_parameters(int fd, short what, void *arg)
{
    struct server *server = arg;
    size_t bytes = server->n * sizeof(float);
    (void)what;
    while (server->n_sent < bytes) {
        ssize_t n = write(fd, (char *)server->parameters + server->n_sent, bytes - server->n_sent);
        if (n < 0 && errno == EAGAIN) {
            event_add(server->writable, NULL);
            return;
        }
        if (n < 0)
            die("server write");
        server->n_sent += (size_t)n;
    }
}

static void apply(struct server *server)
{
    float *restrict parameters = server->parameters;
    const float *restrict gradient = server->gradient;
    for (size_t i = 0; i < server->n; i++)
        parameters[i] -= learning_rate * gradient[i];
}

static void on_readable(int fd, short what, void *arg)
{
    struct server *server = arg;
    size_t bytes = server->n * sizeof(float);
    (void)what;
    for (;;) {
        ssize_t n = read(fd, (char *)server->gradient + server->n_received, bytes - server->n_received);
        if (n == 0)
            event_base_loopbreak(server->base);
        if (n <= 0)
            return;
        server->n_received += (size_t)n;
        if (server->n_received == bytes) {
            apply(server);
            server->n_received = 0;
            server->n_sent = 0;
            send_parameters(fd, 0, server);
            return;
        }
    }
}

static _Noreturn void run_server(int listener, size_t n)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
        die("accept");
    set_nodelay(fd);
    evutil_make_socket_nonblocking(fd);
    struct server server = {.base = event_base_new(), .n = n};
    server.parameters = new_floats(n, 0.01f);
    server.gradient = new_floats(n, 0);
    server.writable = event_new(server.base, fd, EV_WRITE, send_parameters, &server);
    event_add(event_new(server.base, fd, EV_READ | EV_PERSIST, on_readable, &server), NULL);
    event_base_dispatch(server.base);
    _exit(0);
}

// ---- the worker ----

static void exchange(int fd, const float *gradient, float *parameters, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(fd, (const char *)gradient + done, bytes - done);
        if (n <= 0)
            die("worker write");
        done += (size_t)n;
    }
    for (size_t done = 0; done < bytes;) {
        ssize_t n = read(fd, (char *)parameters + done, bytes - done);
        if (n <= 0)
            die("worker read");
        done += (size_t)n;
    }
}

static int listen_on_loopback(struct sockaddr_in *address)
{
    socklen_t length = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || bind(fd, (struct sockaddr *)address, sizeof *address) != 0 || listen(fd, 1) != 0 ||
        getsockname(fd, (struct sockaddr *)address, &length) != 0)
        die("listen");
    return fd;
}

int main(int argc, char **argv)
{
    unsigned long bytes = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 3;
    if (bytes < sizeof(float) || bytes % sizeof(float) != 0 || bytes > 1ul << 30 || !(seconds > 0)) {
        fprintf(stderr, "usage: bulk_probe BYTES [SECONDS]   (a multiple of 4, up to 1 GiB)\n");
        return 2;
    }
    size_t n = bytes / sizeof(float);
    struct sockaddr_in address;
    int listener = listen_on_loopback(&address);
    pid_t server = fork();
    if (server == 0)
        run_server(listener, n);
    close(listener);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (server < 0 || fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    set_nodelay(fd);
    float *gradient = new_floats(n, 0.001f);
    float *parameters = new_floats(n, 0);
    for (double end = now_seconds() + warm_up_seconds; now_seconds() < end;)
        exchange(fd, gradient, parameters, bytes);
    double start = now_seconds();
    long steps = 0;
    for (; now_seconds() < start + seconds; steps++)
        exchange(fd, gradient, parameters, bytes);
    double elapsed = now_seconds() - start;
    close(fd);
    waitpid(server, NULL, 0);
    printf("{\"steps_per_second\": %.1f, \"goodput_gb_per_second\": %.4f}\n", (double)steps / elapsed,
           2e-9 * (double)bytes * (double)steps / elapsed);
    return 0;
}
