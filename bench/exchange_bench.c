// Muster's exchange by itself: a parameter server in a process of its own, as `muster run` makes it, and a worker's
// exchange here, with nothing to compute between an answer and the next push. Everything on the way is the product's:
// greetings, plan and buckets, frames, staging buffers, client tables, SGD, versions, replies; only the chief is a few
// calls of ours, which are over before the clock starts. The counterpart of bulk_probe.c; the output is the same.
//
// usage: exchange_bench BYTES [SECONDS [DATA_THREADS]]     prints {"steps_per_second": …, "goodput_gb_per_second": …,
// "buckets": …}, pushed plus pulled bytes of parameters
#include "base/alloc.h"
#include "base/clock.h"
#include "base/cpus.h"
#include "base/log.h"
#include "base/rng.h"
#include "chief/plan.h"
#include "event/loop.h"
#include "model/model.h"
#include "optim/optimizer.h"
#include "ps/ps.h"
#include "rpc/peer.h"
#include "rpc/resolve.h"
#include "worker/exchange_rpc.h"
#include "worker/layout.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    COLUMNS = 256, // of the kernel, so rows of 1 KiB
    DATA_THREADS_MAX = 64,
    DATA_THREADS_DEFAULT_MAX = 4, // as `muster run`
    CALL_MS = 10000,
    LEASE_MS = 3000,
    WARM_UP_NS = 300000000, // page faults, and the socket buffers' growth
};

static _Noreturn void die(const char *text)
{
    fprintf(stderr, "exchange_bench: %s\n", text);
    exit(1);
}

#define MUST(call)                                                                                                     \
    do {                                                                                                               \
        if ((call) != MST_OK)                                                                                          \
            die(err.text);                                                                                             \
    } while (0)

struct bench {
    size_t n_floats;
    uint64_t seconds_ns;
    struct mst_model *model;
    struct mst_optimizer *optimizer;
    struct mst_loop *loop;
    struct mst_resolver *resolver;
    struct mst_identity chief_identity;
    struct mst_identity worker_identity;
    char address[32]; // of the PS
    const char *addresses[1];
    struct mst_peer *chief_link;
    struct mst_plan *plan;
    struct mst_msg_shard *shards;
    struct mst_msg_map map;
    struct mst_layout *layout;
    float *grads[1];
    struct mst_exchange *exchange;
    size_t n_left; // buckets that have not answered
    struct mst_exchange_push push;
    uint64_t warm_ns;  // when steps begin to count
    uint64_t start_ns; // of the first that counts; 0: not yet
    uint64_t n_steps;
    uint64_t elapsed_ns;
};

// ---- the job: one Dense layer whose kernel is the bytes, SGD ----

static struct mst_model *parse_model(size_t n_floats)
{
    struct mst_model *model;
    struct mst_error err;
    char *text =
        mst_text("{\"class_name\": \"Sequential\", \"config\": {\"name\": \"bulk\", \"layers\": ["
                 "{\"class_name\": \"InputLayer\", \"config\": {\"name\": \"in\", \"batch_shape\": [null, %zu]}},"
                 "{\"class_name\": \"Dense\", \"config\": {\"name\": \"dense\", \"units\": %d, "
                 "\"use_bias\": false}}]}}",
                 n_floats / COLUMNS, COLUMNS);
    MUST(mst_model_parse((struct mst_bytes){text, strlen(text)}, "model", &model, &err));
    free(text);
    return model;
}

static struct mst_optimizer *parse_optimizer(void)
{
    struct mst_optimizer *optimizer;
    struct mst_error err;
    json_t *json = json_string("SGD");
    MUST(mst_optimizer_parse(json, "optimizer", &optimizer, &err));
    json_decref(json);
    return optimizer;
}

static struct mst_identity identity_of(enum mst_peer_role role)
{
    return (struct mst_identity){
        .job_name = "bulk", .job_hash = 1, .role = role, .address = "127.0.0.1:0", .incarnation = mst_rng_system()};
}

// ---- the parameter server ----

static void on_ps_end(void *arg, mst_status status, const char *text)
{
    (void)arg;
    if (status != MST_OK)
        die(text);
}

static _Noreturn void run_ps(const struct bench *bench, int listener, size_t n_threads)
{
    struct mst_error err;
    struct mst_loop *control;
    struct mst_loop *data_loops[DATA_THREADS_MAX];
    struct mst_ps *ps;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    MUST(mst_loop_new("control", &control, &err));
    for (size_t i = 0; i < n_threads; i++)
        MUST(mst_loop_new("data", &data_loops[i], &err));
    struct mst_identity identity = identity_of(MST_PEER_PS);
    struct mst_ps_config config = {.identity = &identity,
                                   .model = bench->model,
                                   .optimizer = bench->optimizer,
                                   .control = control,
                                   .data_loops = data_loops,
                                   .n_data_loops = n_threads,
                                   .listen_fd = listener,
                                   .lease_ms = LEASE_MS,
                                   .on_end = on_ps_end};
    MUST(mst_ps_new(&config, &ps, &err));
    for (size_t i = 0; i < n_threads; i++)
        MUST(mst_loop_thread_start(data_loops[i], &err));
    mst_loop_run(control);
    exit(0);
}

// ---- the worker's side ----

static void begin_step(struct bench *bench)
{
    bench->push.id.step++;
    bench->push.id.offset++;
    bench->n_left = bench->layout->n_buckets;
    for (size_t b = 0; b < bench->layout->n_buckets; b++)
        bench->exchange->ops->push(bench->exchange, b, &bench->push);
}

static void on_answered(void *arg, const struct mst_exchange_answer *answer)
{
    struct bench *bench = arg;
    if (!answer->is_finite)
        die("a parameter became NaN or Inf");
    if (--bench->n_left > 0)
        return;
    bench->exchange->ops->params(bench->exchange);
    uint64_t now = mst_clock_monotonic_ns();
    if (bench->start_ns == 0 && now >= bench->warm_ns)
        bench->start_ns = now;
    else if (bench->start_ns > 0)
        bench->n_steps++;
    if (bench->start_ns > 0 && now - bench->start_ns >= bench->seconds_ns) {
        bench->elapsed_ns = now - bench->start_ns;
        mst_loop_stop(bench->loop);
        return;
    }
    begin_step(bench);
}

static void on_refused(void *arg, mst_status status, const char *text)
{
    (void)arg;
    (void)status;
    die(text);
}

static void start_exchange(struct bench *bench)
{
    struct mst_error err;
    MUST(mst_layout_new(bench->model, &bench->map, &bench->layout, &err));
    struct mst_exchange_rpc_config config = {.loop = bench->loop,
                                             .resolver = bench->resolver,
                                             .identity = &bench->worker_identity,
                                             .model = bench->model,
                                             .layout = bench->layout,
                                             .ps_addresses = bench->addresses,
                                             .n_ps = 1,
                                             .grads = bench->grads,
                                             .map_term = bench->map.term,
                                             .map_epoch = bench->map.epoch,
                                             .call_ms = CALL_MS,
                                             .events = {on_answered, on_refused, bench}};
    MUST(mst_exchange_rpc_new(&config, &bench->exchange, &err));
    bench->push = (struct mst_exchange_push){.id = {.number = 1, .lease = 1}, .weight = 1};
    bench->n_left = bench->layout->n_buckets;
    bench->warm_ns = mst_clock_monotonic_ns() + WARM_UP_NS;
    bench->exchange->ops->pull(bench->exchange, 1);
}

// ---- the chief's side: one greeting, one map ----

static void on_placed(void *arg, const struct mst_reply *reply)
{
    if (reply->status != MST_OK)
        die(reply->text);
    start_exchange(arg);
}

static void make_map(struct bench *bench, size_t n_threads)
{
    struct mst_error err;
    struct mst_plan_variable kernel = {"dense/kernel", bench->n_floats / COLUMNS, COLUMNS * sizeof(float), 1,
                                       MST_PLAN_OPTIMIZER};
    struct mst_plan_ps server = {n_threads};
    struct mst_plan_request request = {&kernel, 1, &server, 1, MST_BUCKET_MAX_BYTES};
    MUST(mst_plan_new(&request, &bench->plan, &err));
    bench->shards = mst_alloc_array(bench->plan->n_pieces, sizeof *bench->shards);
    for (size_t i = 0; i < bench->plan->n_pieces; i++) {
        const struct mst_plan_piece *piece = &bench->plan->pieces[i];
        bench->shards[i] = (struct mst_msg_shard){.variable = piece->variable,
                                                  .n_parts = 1,
                                                  .row_offset = piece->row_offset,
                                                  .n_rows = piece->n_rows,
                                                  .thread = piece->thread,
                                                  .bucket = piece->bucket};
    }
    bench->map = (struct mst_msg_map){
        .term = 1, .epoch = 1, .seed = 1, .n_shards = bench->plan->n_pieces, .shards = bench->shards};
}

static void on_greet(void *arg, struct mst_peer *peer, struct mst_msg_greeting *greeting)
{
    struct bench *bench = arg;
    (void)peer;
    mst_identity_greet(&bench->chief_identity, greeting);
    greeting->term = 1;
}

static void on_up(void *arg, struct mst_peer *peer, const struct mst_msg_greeting_reply *reply)
{
    struct bench *bench = arg;
    struct mst_buf meta;
    if (bench->plan)
        die("the parameter server's connection broke");
    make_map(bench, reply->n_data_threads);
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    if (mst_msg_map_encode(&bench->map, &meta) != MST_OK)
        die("the map does not fit a frame");
    struct mst_call call = {.method = MST_METHOD_MAP,
                            .meta = mst_buf_view(&meta),
                            .deadline_ms = CALL_MS,
                            .on_reply = on_placed,
                            .arg = bench};
    mst_peer_call(peer, &call);
    mst_buf_fini(&meta);
}

static void on_link_refused(void *arg, struct mst_peer *peer, mst_status status, const char *text)
{
    (void)peer;
    on_refused(arg, status, text);
}

static const struct mst_peer_events chief_events = {on_greet, on_up, NULL, on_link_refused};

// ---- putting it together ----

static int listen_on_loopback(char *address_out, size_t address_bytes)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        die("no port to listen on");
    snprintf(address_out, address_bytes, "127.0.0.1:%u", ntohs(address.sin_port));
    return fd;
}

static void run_worker(struct bench *bench)
{
    struct mst_error err;
    MUST(mst_loop_new("worker", &bench->loop, &err));
    MUST(mst_resolver_new(&bench->resolver, &err));
    bench->chief_identity = identity_of(MST_PEER_CHIEF);
    bench->worker_identity = identity_of(MST_PEER_WORKER);
    bench->grads[0] = mst_alloc_aligned(bench->n_floats * sizeof(float));
    for (size_t i = 0; i < bench->n_floats; i++)
        bench->grads[0][i] = 1e-3f;
    struct mst_peer_config link = {.name = "ps-0", .address = bench->address, .events = &chief_events, .arg = bench};
    MUST(mst_peer_new(bench->loop, bench->resolver, &link, &bench->chief_link, &err));
    mst_peer_start(bench->chief_link);
    mst_loop_run(bench->loop);
    double seconds = (double)bench->elapsed_ns * 1e-9;
    double bytes = 2.0 * (double)bench->n_floats * sizeof(float) * (double)bench->n_steps;
    printf("{\"steps_per_second\": %.1f, \"goodput_gb_per_second\": %.4f, \"buckets\": %zu}\n",
           (double)bench->n_steps / seconds, bytes / seconds * 1e-9, bench->layout->n_buckets);
    mst_exchange_rpc_free(bench->exchange);
    mst_peer_free(bench->chief_link);
    mst_resolver_free(bench->resolver);
    mst_loop_free(bench->loop);
    mst_layout_free(bench->layout);
    mst_plan_free(bench->plan);
    free(bench->shards);
    free(bench->grads[0]);
}

int main(int argc, char **argv)
{
    size_t bytes = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 3;
    size_t usable = mst_cpus_usable();
    size_t n_threads = argc > 3                            ? strtoul(argv[3], NULL, 10)
                       : usable < DATA_THREADS_DEFAULT_MAX ? usable
                                                           : DATA_THREADS_DEFAULT_MAX;
    size_t row_bytes = COLUMNS * sizeof(float);
    if (bytes < row_bytes || bytes % row_bytes != 0 || bytes > 1u << 30 || !(seconds > 0 && seconds < 3600) ||
        n_threads < 1 || n_threads > DATA_THREADS_MAX) {
        fprintf(stderr, "usage: exchange_bench BYTES [SECONDS [DATA_THREADS]]   (a multiple of %zu, up to 1 GiB)\n",
                row_bytes);
        return 2;
    }
    struct mst_error err;
    MUST(mst_log_set_filter("all=error", &err));
    struct bench bench = {.n_floats = bytes / sizeof(float), .seconds_ns = (uint64_t)(seconds * 1e9)};
    bench.model = parse_model(bench.n_floats);
    bench.optimizer = parse_optimizer();
    int listener = listen_on_loopback(bench.address, sizeof bench.address);
    bench.addresses[0] = bench.address;
    pid_t ps = fork();
    if (ps < 0)
        die("no process for the parameter server");
    if (ps == 0)
        run_ps(&bench, listener, n_threads);
    close(listener);
    run_worker(&bench);
    kill(ps, SIGKILL);
    waitpid(ps, NULL, 0);
    mst_optimizer_free(bench.optimizer);
    mst_model_free(bench.model);
    return 0;
}
