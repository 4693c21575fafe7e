// The bare probe: what this machine reaches when nothing but the unavoidable is done. W worker processes and P server
// processes on loopback train the 784-300-100-10 MLP on made-up data: the GEMMs of a step, every gradient written to
// its server, SGD applied there in place, the new parameters read back. Blocking sockets in the workers, one event loop
// in each server, no overlap, no data, no versions (a reader may see half an update).
//
// With COPIES 1 each server also sends every gradient on to the next server, which reads it and answers a byte, before
// the worker has its parameters: the bytes of replicas 1, and nothing else of it.
//
// usage: exchange_probe W P BATCH [SECONDS [COPIES]]     prints {"steps_per_second": …, "examples_per_second": …}
//
// It is the yardstick of bench/: changed only together with a page in docs/decisions.
#include <cblas.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/util.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    IN = 784,
    H1 = 300,
    H2 = 100,
    OUT = 10,
    N_FLOATS = IN * H1 + H1 + H1 * H2 + H2 + H2 * OUT + OUT,
    MAX_PROCESSES = 16,
};

static const float learning_rate = 0.1f;

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

static float *new_floats(size_t n)
{
    float *floats = aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64);
    if (!floats)
        die("aligned_alloc");
    memset(floats, 0, n * sizeof(float));
    return floats;
}

static void set_nodelay(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

// ---- a server: one shard, one loop ----

struct shard {
    struct event_base *base;
    float *parameters;
    size_t n;
    const struct sockaddr_in *next; // where gradients go once more, or NULL
};

struct client {
    struct shard *shard;
    int fd;
    size_t received; // bytes of the gradient
    size_t sent;     // bytes of the parameters
    float *gradient;
    struct event *readable;
    struct event *writable;
    bool is_copy; // of another server: answered with a byte
    // To the next server, if there are copies:
    int next_fd;
    size_t passed; // bytes of the gradient
    struct event *next_writable;
    struct event *next_readable;
};

static void send_parameters(int fd, short what, void *arg)
{
    struct client *client = arg;
    size_t bytes = client->shard->n * sizeof(float);
    (void)what;
    while (client->sent < bytes) {
        ssize_t n = write(fd, (char *)client->shard->parameters + client->sent, bytes - client->sent);
        if (n < 0) {
            if (errno != EAGAIN)
                die("server write");
            event_add(client->writable, NULL);
            return;
        }
        client->sent += (size_t)n;
    }
}

static void pass_on(int fd, short what, void *arg)
{
    struct client *client = arg;
    size_t bytes = client->shard->n * sizeof(float);
    (void)what;
    while (client->passed < bytes) {
        ssize_t n = write(fd, (char *)client->gradient + client->passed, bytes - client->passed);
        if (n < 0) {
            if (errno != EAGAIN)
                die("server write");
            event_add(client->next_writable, NULL);
            return;
        }
        client->passed += (size_t)n;
    }
}

static void on_passed(int fd, short what, void *arg)
{
    struct client *client = arg;
    char answer;
    (void)what;
    if (read(fd, &answer, 1) == 1)
        send_parameters(client->fd, 0, client);
}

static void take_copy(struct client *client)
{
    client->received = 0;
    if (write(client->fd, "", 1) != 1)
        die("server write");
}

static void on_gradient(struct client *client)
{
    if (client->is_copy) {
        take_copy(client);
        return;
    }
    float *parameters = client->shard->parameters;
    const float *gradient = client->gradient;
    for (size_t i = 0; i < client->shard->n; i++)
        parameters[i] -= learning_rate * gradient[i];
    client->received = 0;
    client->sent = 0;
    client->passed = 0;
    if (client->shard->next)
        pass_on(client->next_fd, 0, client);
    else
        send_parameters(client->fd, 0, client);
}

static void on_readable(int fd, short what, void *arg)
{
    struct client *client = arg;
    size_t bytes = client->shard->n * sizeof(float);
    (void)what;
    for (;;) {
        ssize_t n = read(fd, (char *)client->gradient + client->received, bytes - client->received);
        if (n == 0)
            event_del(client->readable);
        if (n <= 0)
            return;
        client->received += (size_t)n;
        if (client->received == bytes) {
            on_gradient(client);
            return;
        }
    }
}

static int connect_to(struct sockaddr_in address)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    set_nodelay(fd);
    return fd;
}

// Whoever connects says with a byte what it is.
static void open_next(struct client *client)
{
    struct shard *shard = client->shard;
    client->next_fd = connect_to(*shard->next);
    if (write(client->next_fd, "c", 1) != 1)
        die("server write");
    evutil_make_socket_nonblocking(client->next_fd);
    client->next_writable = event_new(shard->base, client->next_fd, EV_WRITE, pass_on, client);
    client->next_readable = event_new(shard->base, client->next_fd, EV_READ | EV_PERSIST, on_passed, client);
    event_add(client->next_readable, NULL);
}

static void on_accept(int listener, short what, void *arg)
{
    struct shard *shard = arg;
    (void)what;
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
        return;
    char kind;
    if (read(fd, &kind, 1) != 1)
        die("server read");
    set_nodelay(fd);
    evutil_make_socket_nonblocking(fd);
    struct client *client = calloc(1, sizeof *client);
    if (!client)
        die("calloc");
    client->shard = shard;
    client->fd = fd;
    client->is_copy = kind == 'c';
    client->gradient = new_floats(shard->n);
    client->readable = event_new(shard->base, fd, EV_READ | EV_PERSIST, on_readable, client);
    client->writable = event_new(shard->base, fd, EV_WRITE, send_parameters, client);
    event_add(client->readable, NULL);
    if (shard->next && !client->is_copy)
        open_next(client);
}

static _Noreturn void run_server(int listener, size_t n, const struct sockaddr_in *next)
{
    struct shard shard = {event_base_new(), new_floats(n), n, next};
    for (size_t i = 0; i < n; i++)
        shard.parameters[i] = 0.01f;
    event_add(event_new(shard.base, listener, EV_READ | EV_PERSIST, on_accept, &shard), NULL);
    event_base_dispatch(shard.base);
    _exit(0);
}

// ---- a worker: compute, push, pull ----

struct layers {
    float *w1, *b1, *w2, *b2, *w3, *b3;
};

struct network {
    int batch;
    struct layers parameters;
    struct layers gradients;
    float *x, *h1, *h2, *out, *d1, *d2;
};

static struct layers split(float *all)
{
    struct layers layers;
    layers.w1 = all;
    layers.b1 = layers.w1 + IN * H1;
    layers.w2 = layers.b1 + H1;
    layers.b2 = layers.w2 + H1 * H2;
    layers.w3 = layers.b2 + H2;
    layers.b3 = layers.w3 + H2 * OUT;
    return layers;
}

enum form { NN, NT, TN };

// NOLINTNEXTLINE(readability-function-size): a GEMM has that many operands
static void gemm(enum form form, int m, int n, int k, const float *a, const float *b, float *c)
{
    cblas_sgemm(CblasRowMajor, form == TN ? CblasTrans : CblasNoTrans, form == NT ? CblasTrans : CblasNoTrans, m, n, k,
                1, a, form == TN ? m : k, b, form == NT ? k : n, 0, c, n);
}

static void add_bias_relu(float *x, const float *bias, int rows, int columns)
{
    for (int row = 0; row < rows; row++, x += columns)
        for (int i = 0; i < columns; i++) {
            float v = x[i] + bias[i];
            x[i] = v > 0 ? v : 0;
        }
}

static void mask_relu(float *gradient, const float *output, int n)
{
    for (int i = 0; i < n; i++)
        gradient[i] = output[i] <= 0 ? 0 : gradient[i];
}

static void softmax_gradient(struct network *net)
{
    for (int row = 0; row < net->batch; row++) {
        float *o = net->out + row * OUT;
        float largest = -1e9f;
        float sum = 0;
        for (int j = 0; j < OUT; j++)
            largest = o[j] > largest ? o[j] : largest;
        for (int j = 0; j < OUT; j++) {
            o[j] = expf(o[j] - largest);
            sum += o[j];
        }
        for (int j = 0; j < OUT; j++)
            o[j] = (o[j] / sum - (float)(j == row % OUT)) / (float)net->batch * 1e-3f;
    }
}

static void compute_step(struct network *net)
{
    const struct layers *p = &net->parameters;
    const struct layers *g = &net->gradients;
    int b = net->batch;
    gemm(NN, b, H1, IN, net->x, p->w1, net->h1);
    add_bias_relu(net->h1, p->b1, b, H1);
    gemm(NN, b, H2, H1, net->h1, p->w2, net->h2);
    add_bias_relu(net->h2, p->b2, b, H2);
    gemm(NN, b, OUT, H2, net->h2, p->w3, net->out);
    softmax_gradient(net);
    gemm(TN, H2, OUT, b, net->h2, net->out, g->w3);
    gemm(NT, b, H2, OUT, net->out, p->w3, net->d2);
    mask_relu(net->d2, net->h2, b * H2);
    gemm(TN, H1, H2, b, net->h1, net->d2, g->w2);
    gemm(NT, b, H1, H2, net->d2, p->w2, net->d1);
    mask_relu(net->d1, net->h1, b * H1);
    gemm(TN, IN, H1, b, net->x, net->d1, g->w1);
}

static void write_all(int fd, const float *floats, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(fd, (const char *)floats + done, bytes - done);
        if (n <= 0)
            die("worker write");
        done += (size_t)n;
    }
}

static void read_all(int fd, float *floats, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = read(fd, (char *)floats + done, bytes - done);
        if (n <= 0)
            die("worker read");
        done += (size_t)n;
    }
}

static long run_worker(const struct sockaddr_in *servers, int n_servers, size_t shard_floats, int batch, double seconds)
{
    int fds[MAX_PROCESSES];
    for (int s = 0; s < n_servers; s++)
        fds[s] = connect_to(servers[s]);
    for (int s = 0; s < n_servers; s++)
        if (write(fds[s], "w", 1) != 1)
            die("worker write");
    size_t n = shard_floats * (size_t)n_servers;
    float *parameters = new_floats(n);
    float *gradients = new_floats(n);
    for (size_t i = 0; i < n; i++)
        parameters[i] = 0.01f * (float)((int)(i % 13) - 6);
    size_t rows = (size_t)batch;
    struct network net = {.batch = batch, .parameters = split(parameters), .gradients = split(gradients)};
    net.x = new_floats(rows * IN);
    net.h1 = new_floats(rows * H1);
    net.h2 = new_floats(rows * H2);
    net.out = new_floats(rows * OUT);
    net.d1 = new_floats(rows * H1);
    net.d2 = new_floats(rows * H2);
    for (size_t i = 0; i < rows * IN; i++)
        net.x[i] = (float)(i % 255) / 255.0f;
    long steps = 0;
    for (double end = now_seconds() + seconds; now_seconds() < end; steps++) {
        compute_step(&net);
        for (int s = 0; s < n_servers; s++)
            write_all(fds[s], gradients + shard_floats * (size_t)s, shard_floats * sizeof(float));
        for (int s = 0; s < n_servers; s++)
            read_all(fds[s], parameters + shard_floats * (size_t)s, shard_floats * sizeof(float));
    }
    return steps;
}

static int listen_on_loopback(struct sockaddr_in *address)
{
    socklen_t length = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || bind(fd, (struct sockaddr *)address, sizeof *address) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)address, &length) != 0)
        die("listen");
    return fd;
}

int main(int argc, char **argv)
{
    int n_workers = argc > 3 ? (int)strtol(argv[1], NULL, 10) : 0;
    int n_servers = argc > 3 ? (int)strtol(argv[2], NULL, 10) : 0;
    int batch = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 0;
    double seconds = argc > 4 ? strtod(argv[4], NULL) : 4;
    int n_copies = argc > 5 ? (int)strtol(argv[5], NULL, 10) : 0;
    if (n_workers < 1 || n_workers > MAX_PROCESSES || n_servers < 1 || n_servers > MAX_PROCESSES || batch < 1 ||
        n_copies < 0 || n_copies > (n_servers > 1)) {
        fprintf(
            stderr,
            "usage: exchange_probe W P BATCH [SECONDS [COPIES]]   (W and P from 1 to %d; COPIES 0, or 1 if P > 1)\n",
            MAX_PROCESSES);
        return 2;
    }
    openblas_set_num_threads(1);
    size_t shard_floats = ((size_t)N_FLOATS + (size_t)n_servers - 1) / (size_t)n_servers;
    struct sockaddr_in addresses[MAX_PROCESSES];
    pid_t servers[MAX_PROCESSES];
    long *steps = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int listeners[MAX_PROCESSES];
    for (int s = 0; s < n_servers; s++)
        listeners[s] = listen_on_loopback(&addresses[s]);
    for (int s = 0; s < n_servers; s++) {
        servers[s] = fork();
        if (servers[s] == 0)
            run_server(listeners[s], shard_floats, n_copies ? &addresses[(s + 1) % n_servers] : NULL);
    }
    for (int s = 0; s < n_servers; s++)
        close(listeners[s]);
    pid_t workers[MAX_PROCESSES];
    for (int w = 0; w < n_workers; w++) {
        workers[w] = fork();
        if (workers[w] == 0) {
            steps[w] = run_worker(addresses, n_servers, shard_floats, batch, seconds);
            _exit(0);
        }
    }
    long total = 0;
    for (int w = 0; w < n_workers; w++) {
        waitpid(workers[w], NULL, 0);
        total += steps[w];
    }
    for (int s = 0; s < n_servers; s++) {
        kill(servers[s], SIGKILL);
        waitpid(servers[s], NULL, 0);
    }
    printf("{\"steps_per_second\": %.1f, \"examples_per_second\": %.1f}\n", (double)total / seconds,
           (double)total / seconds * batch);
    return 0;
}
