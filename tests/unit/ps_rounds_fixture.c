#include "ps_rounds_fixture.h"

#include "base/alloc.h"
#include "rpc/resolve.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static const char model_json[] =
    "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"s\", \"layers\": ["
    "{\"class_name\": \"InputLayer\", \"config\": {\"batch_shape\": [null, 4], \"name\": \"in\"}},"
    "{\"class_name\": \"Dense\", \"config\": {\"name\": \"dense\", \"units\": 3, \"kernel_initializer\": "
    "\"zeros\"}}]}}";
static const struct mst_msg_shard shards[] = {
    {.variable = 0, .n_parts = 1, .n_rows = 4, .thread = 0, .bucket = 0},
    {.variable = 1, .n_parts = 1, .n_rows = 3, .thread = 1, .bucket = 1},
};
static const size_t sizes[] = {KERNEL, BIAS};

static void on_end(void *arg, mst_status status, const char *text)
{
    (void)arg, (void)status, (void)text;
}

// ---- calls ----

// A call with the first `bytes` of its body of n_floats.
struct call {
    uint16_t method;
    uint64_t call;
    const float *body;
    size_t n_floats;
    size_t bytes;
};

// Appends it to out; releases meta.
static void append_call(struct mst_buf *out, const struct call *call, struct mst_buf *meta)
{
    uint8_t header[MST_FRAME_HEADER_BYTES];
    struct mst_frame frame = {.method = call->method,
                              .call = call->call,
                              .meta_bytes = (uint32_t)meta->len,
                              .body_bytes = call->n_floats * sizeof(float)};
    mst_frame_encode(&frame, meta->data, header);
    assert_int_equal(mst_buf_append(out, header, sizeof header), MST_OK);
    assert_int_equal(mst_buf_append(out, meta->data, meta->len), MST_OK);
    if (call->bytes)
        assert_int_equal(mst_buf_append(out, call->body, call->bytes), MST_OK);
    mst_buf_fini(meta);
}

static void send_call(struct stranger *stranger, const struct call *call, struct mst_buf *meta)
{
    struct mst_buf bytes;
    mst_buf_init(&bytes, SIZE_MAX / 4);
    append_call(&bytes, call, meta);
    assert_true(stranger_send(stranger, bytes.data, bytes.len));
    mst_buf_fini(&bytes);
}

// One without a body.
void send_meta(struct stranger *stranger, uint16_t method, uint64_t id, struct mst_buf *meta)
{
    const struct call call = {.method = method, .call = id};
    send_call(stranger, &call, meta);
}

const struct mst_message *expect_reply(struct stranger *stranger, uint64_t call)
{
    const struct mst_message *message = stranger_read(stranger);
    assert_non_null(message);
    if (message->flags & MST_FRAME_ERROR)
        fail_msg("%.*s", (int)message->meta.len, (const char *)message->meta.data);
    assert_int_equal(message->call, call);
    return message;
}

void greet(struct fixture *f, struct stranger *stranger, const struct mst_msg_greeting *greeting)
{
    stranger_connect(stranger, f->control, mst_ps_port(f->ps));
    struct mst_msg_greeting full;
    mst_identity_greet(&f->identity, &full);
    full.role = greeting->role;
    full.index = greeting->index;
    full.data_thread = greeting->data_thread;
    full.number = greeting->number;
    full.term = greeting->term;
    full.incarnation = 1000 + greeting->index;
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_greeting_encode(&full, &meta), MST_OK);
    send_meta(stranger, MST_METHOD_GREETING, 1, &meta);
    expect_reply(stranger, 1);
}

void send_map_of(struct fixture *f, const struct mst_msg_map *map)
{
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_map_encode(map, &meta), MST_OK);
    send_meta(&f->chief, MST_METHOD_MAP, ++f->call, &meta);
}

void send_map(struct fixture *f, uint32_t n_round_workers, const uint64_t *fenced, size_t n_fenced)
{
    const struct mst_msg_map map = {.term = TERM,
                                    .epoch = 1,
                                    .n_shards = sizeof shards / sizeof shards[0],
                                    .shards = shards,
                                    .n_fenced = n_fenced,
                                    .fenced = fenced,
                                    .n_round_workers = n_round_workers};
    send_map_of(f, &map);
}

void send_map_with_roles(struct fixture *f, uint32_t n_round_workers, const char *restore_prefix)
{
    static const struct mst_msg_group_roles home = {.has_primary = true};
    static const uint64_t threads[] = {N_THREADS};
    const struct mst_msg_map map = {.term = TERM,
                                    .epoch = 1,
                                    .n_shards = sizeof shards / sizeof shards[0],
                                    .shards = shards,
                                    .restore_prefix = restore_prefix,
                                    .n_round_workers = n_round_workers,
                                    .n_ps_threads = 1,
                                    .ps_threads = threads,
                                    .roles = {.term = TERM,
                                              .n = 1,
                                              .n_groups = 1,
                                              .groups = &home,
                                              .n_incarnations = 1,
                                              .incarnations = &f->identity.incarnation}};
    send_map_of(f, &map);
}

uint64_t ask(struct fixture *f, const struct mst_msg_round *round)
{
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_round_encode(round, &meta), MST_OK);
    send_meta(&f->chief, MST_METHOD_ROUND, ++f->call, &meta);
    return f->call;
}

struct mst_msg_round_reply hear(struct fixture *f, uint64_t call)
{
    struct mst_msg_round_reply reply;
    mst_arena_fini(&f->arena);
    assert_int_equal(mst_msg_round_reply_decode(expect_reply(&f->chief, call)->meta, &f->arena, &reply, NULL), MST_OK);
    return reply;
}

// Asks with this decision until the PS has it: everything there is about a round is said every time.
struct mst_msg_round_reply ask_until(struct fixture *f, struct mst_msg_round round,
                                     bool (*has)(const struct mst_msg_round_reply *reply, uint64_t n), uint64_t n)
{
    round.term = TERM;
    while (true) {
        struct mst_msg_round_reply reply = hear(f, ask(f, &round));
        if (has(&reply, n))
            return reply;
        round.known = reply.status;
    }
}

bool has_stored(const struct mst_msg_round_reply *reply, uint64_t n)
{
    return reply->stored_round == n;
}

bool has_applied(const struct mst_msg_round_reply *reply, uint64_t n)
{
    return reply->applied_round == n;
}

bool has_arrivals(const struct mst_msg_round_reply *reply, uint64_t n)
{
    return reply->n_arrivals == n;
}

// A close that deals unit UNIT + worker to everybody, to be acted on or not yet.
struct mst_msg_round round_of(uint64_t round, const uint64_t *ins, size_t n_ins, uint64_t act_round)
{
    static const struct mst_msg_part plan[N_WORKERS] = {{0, UNIT}, {1, UNIT + 1}, {2, UNIT + 2}};
    return (struct mst_msg_round){
        .term = TERM,
        .has_close = true,
        .act_round = act_round,
        .close = {
            .term = TERM, .round = round, .n_ins = n_ins, .ins = ins, .next = {.n_plan = N_WORKERS, .plan = plan}}};
}

void apply_round(struct fixture *f, uint64_t round, const uint64_t *ins, size_t n_ins)
{
    if (round > 0)
        ask_until(f, round_of(round, ins, n_ins, round - 1), has_stored, round);
    ask_until(f, round_of(round, ins, n_ins, round), has_applied, round);
}

// ---- workers ----

struct worker *join(struct fixture *f, uint32_t index, uint64_t number)
{
    struct worker *worker = mst_alloc(sizeof *worker);
    worker->index = index;
    worker->number = number;
    for (int32_t t = 0; t < N_THREADS; t++) {
        struct mst_msg_greeting greeting = {
            .role = MST_PEER_WORKER, .index = index, .data_thread = t, .number = number};
        greet(f, &worker->links[t], &greeting);
    }
    return worker;
}

void leave(struct worker *worker)
{
    for (size_t t = 0; t < N_THREADS; t++)
        stranger_close(&worker->links[t]);
    free(worker);
}

struct mst_msg_push meta_of(const struct worker *worker, uint32_t bucket, uint64_t round, double weight)
{
    return (struct mst_msg_push){.bucket = bucket,
                                 .map_term = TERM,
                                 .map_epoch = 1,
                                 .worker = worker->index,
                                 .number = worker->number,
                                 .step = round,
                                 .lease = 1,
                                 .offset = UNIT + worker->index + 1,
                                 .weight = weight};
}

// A push whose gradient is `gradient` throughout, with the first so many bytes of it.
void append_push(struct mst_buf *out, const struct mst_msg_push *push, float gradient, size_t bytes)
{
    float floats[KERNEL];
    for (size_t i = 0; i < KERNEL; i++)
        floats[i] = gradient;
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_push_encode(push, &meta), MST_OK);
    struct call call = {.method = MST_METHOD_PUSH, .call = push->step, .body = floats, .bytes = bytes};
    call.n_floats = sizes[push->bucket];
    append_call(out, &call, &meta);
}

void send_push(struct worker *worker, const struct mst_msg_push *push, float gradient, size_t bytes)
{
    struct mst_buf out;
    mst_buf_init(&out, SIZE_MAX / 4);
    append_push(&out, push, gradient, bytes);
    assert_true(stranger_send(&worker->links[push->bucket], out.data, out.len));
    mst_buf_fini(&out);
}

void push_to(struct worker *worker, uint32_t bucket, uint64_t round, float gradient, double weight)
{
    struct mst_msg_push push = meta_of(worker, bucket, round, weight);
    double values[] = {(double)gradient};
    if (bucket == 0)
        push.sums = (struct mst_training_sums){.steps = 1, .examples = 8, .n_values = 1, .values = values};
    send_push(worker, &push, gradient, sizes[bucket] * sizeof(float));
}

void push(struct worker *worker, uint64_t round, float gradient, double weight)
{
    for (uint32_t b = 0; b < N_THREADS; b++)
        push_to(worker, b, round, gradient, weight);
}

struct mst_msg_push_reply pushed(struct worker *worker, uint32_t bucket, uint64_t call, float expected)
{
    struct stranger *link = &worker->links[bucket];
    struct mst_msg_push_reply reply;
    struct mst_arena arena;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    const struct mst_message *message = expect_reply(link, call);
    assert_int_equal(message->body_bytes, sizes[bucket] * sizeof(float));
    assert_int_equal(mst_msg_push_reply_decode(message->meta, &arena, &reply, NULL), MST_OK);
    mst_arena_fini(&arena);
    float floats[KERNEL];
    memcpy(floats, link->body, sizes[bucket] * sizeof(float));
    for (size_t i = 0; i < sizes[bucket]; i++)
        assert_true(floats[i] == expected);
    return reply;
}

// Both answers of a round: what its parameters are and that all is said of the next.
void expect_round(struct worker *worker, uint64_t call, uint64_t round, float expected)
{
    for (uint32_t b = 0; b < N_THREADS; b++) {
        struct mst_msg_push_reply reply = pushed(worker, b, call, expected);
        assert_true(reply.bucket == b && reply.version == round && reply.turn.round == round && reply.is_finite);
        assert_true(reply.turn.has_unit && reply.turn.unit == UNIT + worker->index);
    }
}

void append_pull(struct mst_buf *out, const struct mst_msg_pull *pull, uint64_t id)
{
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_pull_encode(pull, &meta), MST_OK);
    const struct call call = {.method = MST_METHOD_PULL, .call = id};
    append_call(out, &call, &meta);
}

void send_pull(struct stranger *link, uint32_t bucket, uint32_t worker, uint64_t round, uint64_t call)
{
    const struct mst_msg_pull pull = {.bucket = bucket, .worker = worker, .number = 1, .round = round};
    struct mst_buf out;
    mst_buf_init(&out, SIZE_MAX / 4);
    append_pull(&out, &pull, call);
    assert_true(stranger_send(link, out.data, out.len));
    mst_buf_fini(&out);
}

struct mst_msg_pull_reply pulled(struct stranger *link, uint64_t call)
{
    struct mst_msg_pull_reply reply;
    struct mst_arena arena;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    assert_int_equal(mst_msg_pull_reply_decode(expect_reply(link, call)->meta, &arena, &reply, NULL), MST_OK);
    mst_arena_fini(&arena);
    return reply;
}

// What was sent over this link before is in the hands of its data thread.
void settle(struct worker *worker, uint32_t bucket)
{
    send_pull(&worker->links[bucket], bucket, worker->index, 0, 999);
    pulled(&worker->links[bucket], 999);
}

// ---- the fixture ----

static int set_up_term(void **state, uint64_t term)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    struct mst_error err;
    static const char *const addresses[] = {"127.0.0.1:1", "127.0.0.1:1"}; // nobody is called
    f->identity = (struct mst_identity){
        .job_name = "rounds", .job_hash = 1, .role = MST_PEER_PS, .incarnation = 7, .address = ""};
    mst_arena_init(&f->arena, MST_MSG_ARENA_MAX);
    json_t *json = json_pack("{s:s, s:{s:f}}", "class_name", "SGD", "config", "learning_rate", 1.0);
    assert_int_equal(mst_optimizer_parse(json, "optimizer", &f->optimizer, &err), MST_OK);
    json_decref(json);
    struct mst_bytes text = {model_json, strlen(model_json)};
    assert_int_equal(mst_model_parse(text, "model", &f->model, &err), MST_OK);
    assert_int_equal(mst_loop_new("control", &f->control, NULL), MST_OK);
    assert_int_equal(mst_resolver_new(&f->resolver, NULL), MST_OK);
    for (size_t t = 0; t < N_THREADS; t++)
        assert_int_equal(mst_loop_new("data", &f->data[t], NULL), MST_OK);
    struct mst_ps_config config = {.identity = &f->identity,
                                   .model = f->model,
                                   .optimizer = f->optimizer,
                                   .control = f->control,
                                   .data_loops = f->data,
                                   .n_data_loops = N_THREADS,
                                   .listen_fd = -1,
                                   .lease_ms = 20000,
                                   .resolver = f->resolver,
                                   .ps_addresses = addresses,
                                   .n_ps = 2,
                                   .on_end = on_end};
    assert_int_equal(mst_ps_new(&config, &f->ps, &err), MST_OK);
    for (size_t t = 0; t < N_THREADS; t++)
        assert_int_equal(mst_loop_thread_start(f->data[t], NULL), MST_OK);
    struct mst_msg_greeting greeting = {
        .role = MST_PEER_CHIEF, .data_thread = MST_GREETING_CONTROL, .number = 1, .term = term};
    greet(f, &f->chief, &greeting);
    f->call = 100;
    return 0;
}

int set_up(void **state)
{
    return set_up_term(state, TERM);
}

int set_up_before_the_job(void **state)
{
    return set_up_term(state, MST_TERM_NEWCOMER);
}

int set_up_serving(void **state)
{
    set_up(state);
    struct fixture *f = *state;
    send_map(f, N_WORKERS, NULL, 0);
    expect_reply(&f->chief, f->call);
    return 0;
}

int set_up_begun(void **state)
{
    set_up_serving(state);
    apply_round(*state, 0, NULL, 0);
    return 0;
}

int tear_down(void **state)
{
    struct fixture *f = *state;
    stranger_close(&f->chief);
    for (size_t t = 0; t < N_THREADS; t++) {
        mst_loop_stop(f->data[t]);
        mst_loop_thread_join(f->data[t]);
    }
    mst_ps_free(f->ps);
    for (size_t t = 0; t < N_THREADS; t++)
        mst_loop_free(f->data[t]);
    mst_loop_free(f->control);
    mst_resolver_free(f->resolver);
    mst_model_free(f->model);
    mst_optimizer_free(f->optimizer);
    mst_arena_fini(&f->arena);
    free(f);
    return 0;
}
