// What a parameter server takes from its peers when it has replicas: operations, buckets of a sweep and questions for a
// lease, through the real handlers of a data thread over a connected pair, and roles in between. The input is a stream
// of frames whose checksums are made right first. Server 1 is backup in group 0 and joiner in group 1, and the same in
// groups 2 and 3, which have synchronous rounds; server 0, which speaks, is primary of all.
#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "event/loop.h"
#include "muster/status.h"
#include "ps/data_thread.h"
#include "ps/replication_private.h"
#include "ps/round_serve.h"
#include "rpc/conn.h"
#include "wire/frame.h"
#include "wire/methods.h"
#include "wire/worker_numbers.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    N_PS = 4,
    N_GROUPS = 4, // that are here
    N_WORKERS = 3,
    SELF = 1,
    PRIMARY = 0,
    N_BUCKETS = 2,
    ROWS = 6,
    FLOATS = 4 * ROWS,
    LEASE_MS = 60000,
    INCARNATION = 100, // of server 0; the others follow
    POLLS_MAX = 10000,
};

struct setting {
    struct mst_loop *loop;
    struct mst_data_thread *thread;
    struct mst_holding *holdings[N_GROUPS];
    struct mst_round_report reports[N_GROUPS];
    struct mst_round_order order;
    int fd;
    bool has_ended;
    bool has_moved; // other roles or a sweep came: what is there may be of any number
    uint64_t n_ops; // that can be read
};

// Addresses that nobody can dial: a server that becomes primary keeps what it would send.
static const char *const addresses[N_PS] = {"ps-0", "ps-1", "ps-2", "ps-3"};
static const uint64_t threads[N_PS] = {1, 1, 1, 1};
static const struct mst_identity identity = {.job_name = "fuzz",
                                             .job_hash = 1,
                                             .role = MST_PEER_PS,
                                             .index = SELF,
                                             .address = "",
                                             .incarnation = INCARNATION + SELF};

static void on_news(void *arg)
{
    (void)arg;
}

static const struct mst_optimizer *optimizer(void)
{
    static struct mst_optimizer *adam;
    if (!adam) {
        json_t *json = json_pack("{s:s, s:{s:f, s:f}}", "class_name", "Adam", "config", "learning_rate", 0.25,
                                 "global_clipnorm", 0.5);
        mst_status status = mst_optimizer_parse(json, "optimizer", &adam, NULL);
        MST_ASSERT(status == MST_OK);
        json_decref(json);
        mst_log_set_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    }
    return adam;
}

static struct mst_holding *make_holding(uint32_t group)
{
    struct mst_bucket **buckets = mst_alloc_array(N_BUCKETS, sizeof *buckets);
    const struct mst_piece piece = {.variable = 0, .n_rows = ROWS, .row_floats = 4, .is_whole = true};
    for (uint32_t b = 0; b < N_BUCKETS; b++) {
        mst_status status = mst_bucket_new(group * N_BUCKETS + b, &piece, 1, optimizer(), &buckets[b], NULL);
        MST_ASSERT(status == MST_OK);
        memset(buckets[b]->current->floats, 0, FLOATS * sizeof(float));
    }
    return mst_holding_new(group, 0, buckets, N_BUCKETS);
}

static bool has_rounds(size_t group)
{
    return group >= 2;
}

static void serve_rounds(struct setting *s, size_t group)
{
    const struct mst_round_places_config places = {.buckets = s->holdings[group]->buckets,
                                                   .n_buckets = N_BUCKETS,
                                                   .optimizer = optimizer(),
                                                   .n_workers = N_WORKERS};
    struct mst_round_serving_config config = {
        .report = &s->reports[group], .order = &s->order, .control = s->loop, .on_report = on_news};
    mst_status status = mst_round_places_new(&places, &config.rounds, NULL);
    MST_ASSERT(status == MST_OK);
    mst_round_report_init(&s->reports[group], N_WORKERS, 1);
    mst_holding_serve_rounds(s->holdings[group], &config);
}

static void store_and_act(struct setting *s, const struct mst_roles *roles, bool acts)
{
    for (size_t g = 0; g < N_GROUPS; g++) {
        mst_holding_store_roles(s->holdings[g], roles);
        if (acts)
            mst_holding_act(s->holdings[g], &roles->epoch);
    }
}

static void begin(struct setting *s)
{
    const struct mst_replicating_config replicating = {.identity = &identity,
                                                       .ps = SELF,
                                                       .addresses = addresses,
                                                       .threads = threads,
                                                       .n_ps = N_PS,
                                                       .lease_ms = LEASE_MS,
                                                       .control = s->loop,
                                                       .on_status = on_news};
    struct mst_roles roles;
    s->thread = mst_data_thread_new(s->loop, 0, LEASE_MS);
    mst_data_thread_replicate(s->thread, &replicating);
    for (uint32_t g = 0; g < N_GROUPS; g++) {
        s->holdings[g] = make_holding(g);
        mst_data_thread_serve(s->thread, s->holdings[g], 1, 1);
        if (has_rounds(g))
            serve_rounds(s, g);
    }
    mst_roles_init(&roles, N_PS, 1);
    roles.epoch = (struct mst_epoch){1, 1};
    for (uint32_t p = 0; p < N_PS; p++)
        roles.incarnations[p] = INCARNATION + p;
    for (size_t g = 0; g < N_GROUPS; g++)
        roles.groups[g] = g % 2 ? (struct mst_group_roles){.primary = PRIMARY, .joiner = SELF}
                                : (struct mst_group_roles){PRIMARY, 1, {SELF}, MST_NO_PS, false};
    store_and_act(s, &roles, true);
    mst_roles_fini(&roles);
}

static void connect_primary(struct setting *s)
{
    int fds[2];
    struct mst_conn *conn;
    int failed = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds);
    MST_ASSERT(!failed);
    mst_status status = mst_conn_new(s->loop, fds[1], "ps-0", &conn, NULL);
    MST_ASSERT(status == MST_OK);
    mst_conn_detach(conn);
    s->fd = fds[0];
    mst_data_thread_adopt_ps(s->thread, conn, PRIMARY, INCARNATION + PRIMARY);
}

// What is answered is not looked at, but it must be taken.
static void hear(struct setting *s)
{
    uint8_t answers[4096];
    mst_loop_poll(s->loop);
    ssize_t n = recv(s->fd, answers, sizeof answers, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        s->has_ended = true;
}

static void say(struct setting *s, const uint8_t *data, size_t size)
{
    unsigned n_polls = 0;
    while (size && !s->has_ended) {
        ssize_t n = send(s->fd, data, size, MSG_NOSIGNAL);
        if (n > 0) {
            data += n;
            size -= (size_t)n;
        }
        s->has_ended = n < 0 && errno != EAGAIN;
        hear(s);
        MST_ASSERT(++n_polls < POLLS_MAX);
    }
    if (!s->has_ended)
        hear(s);
}

// What a message says must be the same after a way through what its receiver keeps.
static void check_view(const struct mst_roles *roles, struct mst_arena *arena)
{
    struct mst_msg_roles view;
    struct mst_roles again = {0};
    mst_status status = mst_roles_view(roles, arena, &view);
    MST_ASSERT(status == MST_OK);
    status = mst_roles_take(&again, &view, NULL);
    MST_ASSERT(status == MST_OK);
    char *text = mst_roles_text(roles);
    char *same = mst_roles_text(&again);
    MST_ASSERT(!strcmp(text, same));
    free(text);
    free(same);
    mst_roles_fini(&again);
}

static void take_roles(struct setting *s, struct mst_bytes meta)
{
    struct mst_arena arena;
    struct mst_msg_roles message;
    struct mst_roles roles = {0};
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    if (mst_msg_roles_decode(meta, &arena, &message, &err) == MST_OK &&
        mst_roles_take(&roles, &message, &err) == MST_OK) {
        check_view(&roles, &arena);
        if (roles.n_ps == N_PS) { // ps/taking_roles.c refuses another number
            s->has_moved = true;
            store_and_act(s, &roles, message.is_committed);
        }
    }
    mst_roles_fini(&roles);
    mst_arena_fini(&arena);
}

static void count_op(struct setting *s, struct mst_bytes meta)
{
    struct mst_arena arena;
    struct mst_msg_op op;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    s->n_ops += mst_msg_op_decode(meta, &arena, &op, NULL) == MST_OK;
    mst_arena_fini(&arena);
}

// Frames one after the other, then what is none, as it is.
static void say_all(struct setting *s, uint8_t *data, size_t size)
{
    struct mst_frame frame;
    while (size >= MST_FRAME_HEADER_BYTES && mst_frame_decode(data, &frame, NULL) == MST_OK) {
        uint64_t with_meta = MST_FRAME_HEADER_BYTES + (uint64_t)frame.meta_bytes;
        if (with_meta > size || frame.body_bytes > size - with_meta)
            break;
        const struct mst_bytes meta = {data + MST_FRAME_HEADER_BYTES, frame.meta_bytes};
        size_t whole = (size_t)(with_meta + frame.body_bytes);
        mst_frame_encode(&frame, meta.data, data);
        if (frame.method == MST_METHOD_ROLES) {
            take_roles(s, meta);
        } else {
            if (frame.method == MST_METHOD_OP)
                count_op(s, meta);
            s->has_moved |= frame.method == MST_METHOD_SWEEP;
            say(s, data, whole);
        }
        data += whole;
        size -= whole;
    }
    say(s, data, size);
}

// A number that no chief gives would shut its worker out for good.
static void check_numbers(const struct mst_client_table *clients)
{
    for (size_t w = 0; w < clients->n_rows; w++) {
        MST_ASSERT(clients->rows[w].number <= MST_NUMBER_MAX);
        MST_ASSERT(clients->fenced[w] <= MST_NUMBER_MAX);
    }
}

static void check(const struct setting *s)
{
    for (size_t g = 0; g < N_GROUPS; g++)
        for (size_t b = 0; b < s->holdings[g]->n_buckets; b++)
            check_numbers(&s->holdings[g]->buckets[b]->clients);
    // A backup has only what it was sent: nothing that was refused counts.
    for (size_t g = 0; g < N_GROUPS && !s->has_moved; g += 2)
        MST_ASSERT(mst_replica_has(&s->holdings[g]->replication->replica) <= s->n_ops);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct setting s = {0};
    uint8_t *stream = mst_alloc(size + 1);
    if (size)
        memcpy(stream, data, size);
    mst_status status = mst_loop_new("all", &s.loop, NULL);
    MST_ASSERT(status == MST_OK);
    begin(&s);
    connect_primary(&s);
    say_all(&s, stream, size);
    shutdown(s.fd, SHUT_WR);
    for (unsigned n = 0; !s.has_ended; n++) {
        MST_ASSERT(n < POLLS_MAX);
        hear(&s);
    }
    check(&s);
    close(s.fd);
    for (int i = 0; i < 3; i++)
        mst_loop_poll(s.loop); // what is posted to it
    mst_data_thread_free(s.thread);
    for (size_t g = 0; g < N_GROUPS; g++)
        if (has_rounds(g))
            mst_round_report_fini(&s.reports[g]);
    mst_loop_free(s.loop);
    free(stream);
    return 0;
}
