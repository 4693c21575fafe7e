// Synchronous rounds over real sockets: a whole PS with two data threads, strangers as its chief and its workers. The
// kernel lies on data thread 0, the bias on 1; SGD with a rate of 1, so an update is a plain subtraction.
#include "base/alloc.h"
#include "model/model.h"
#include "ps/ps.h"
#include "rpc_stranger.h"
#include "wire/greeting.h"
#include "wire/methods.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { N_THREADS = 2, N_WORKERS = 3, KERNEL = 4 * 3, BIAS = 3, TERM = 5, UNIT = 40 };

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

struct fixture {
    struct mst_loop *control;
    struct mst_loop *data[N_THREADS];
    struct mst_identity identity;
    struct mst_model *model;
    struct mst_optimizer *optimizer;
    struct mst_ps *ps;
    struct stranger chief;
    uint64_t call;
    struct mst_arena arena; // of the last answer
};

// A worker's two connections.
struct worker {
    uint32_t index;
    uint64_t number;
    struct stranger links[N_THREADS];
};

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
static void send_meta(struct stranger *stranger, uint16_t method, uint64_t id, struct mst_buf *meta)
{
    const struct call call = {.method = method, .call = id};
    send_call(stranger, &call, meta);
}

static const struct mst_message *expect_reply(struct stranger *stranger, uint64_t call)
{
    const struct mst_message *message = stranger_read(stranger);
    assert_non_null(message);
    if (message->flags & MST_FRAME_ERROR)
        fail_msg("%.*s", (int)message->meta.len, (const char *)message->meta.data);
    assert_int_equal(message->call, call);
    return message;
}

static void greet(struct fixture *f, struct stranger *stranger, const struct mst_msg_greeting *greeting)
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

static void send_map(struct fixture *f, uint32_t n_round_workers)
{
    struct mst_msg_map map = {.term = TERM,
                              .epoch = 1,
                              .n_shards = sizeof shards / sizeof shards[0],
                              .shards = shards,
                              .n_round_workers = n_round_workers};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_map_encode(&map, &meta), MST_OK);
    send_meta(&f->chief, MST_METHOD_MAP, ++f->call, &meta);
}

static uint64_t ask(struct fixture *f, const struct mst_msg_round *round)
{
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_round_encode(round, &meta), MST_OK);
    send_meta(&f->chief, MST_METHOD_ROUND, ++f->call, &meta);
    return f->call;
}

static struct mst_msg_round_reply hear(struct fixture *f, uint64_t call)
{
    struct mst_msg_round_reply reply;
    mst_arena_fini(&f->arena);
    assert_int_equal(mst_msg_round_reply_decode(expect_reply(&f->chief, call)->meta, &f->arena, &reply, NULL), MST_OK);
    return reply;
}

// Asks with this decision until the PS has it: everything there is about a round is said every time.
static struct mst_msg_round_reply ask_until(struct fixture *f, struct mst_msg_round round,
                                            bool (*has)(const struct mst_msg_round_reply *reply, uint64_t n),
                                            uint64_t n)
{
    round.term = TERM;
    while (true) {
        struct mst_msg_round_reply reply = hear(f, ask(f, &round));
        if (has(&reply, n))
            return reply;
        round.known = reply.status;
    }
}

static bool has_stored(const struct mst_msg_round_reply *reply, uint64_t n)
{
    return reply->stored_round == n;
}

static bool has_applied(const struct mst_msg_round_reply *reply, uint64_t n)
{
    return reply->applied_round == n;
}

static bool has_arrivals(const struct mst_msg_round_reply *reply, uint64_t n)
{
    return reply->n_arrivals == n;
}

// A close that deals unit UNIT + worker to everybody, to be acted on or not yet.
static struct mst_msg_round round_of(uint64_t round, const uint64_t *ins, size_t n_ins, uint64_t act_round)
{
    static const struct mst_msg_part plan[N_WORKERS] = {{0, UNIT}, {1, UNIT + 1}, {2, UNIT + 2}};
    return (struct mst_msg_round){
        .term = TERM,
        .has_close = true,
        .act_round = act_round,
        .close = {
            .term = TERM, .round = round, .n_ins = n_ins, .ins = ins, .next = {.n_plan = N_WORKERS, .plan = plan}}};
}

static void apply_round(struct fixture *f, uint64_t round, const uint64_t *ins, size_t n_ins)
{
    if (round > 0)
        ask_until(f, round_of(round, ins, n_ins, round - 1), has_stored, round);
    ask_until(f, round_of(round, ins, n_ins, round), has_applied, round);
}

// ---- workers ----

static struct worker *join(struct fixture *f, uint32_t index, uint64_t number)
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

static void leave(struct worker *worker)
{
    for (size_t t = 0; t < N_THREADS; t++)
        stranger_close(&worker->links[t]);
    free(worker);
}

static struct mst_msg_push meta_of(const struct worker *worker, uint32_t bucket, uint64_t round, double weight)
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
static void append_push(struct mst_buf *out, const struct mst_msg_push *push, float gradient, size_t bytes)
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

static void send_push(struct worker *worker, const struct mst_msg_push *push, float gradient, size_t bytes)
{
    struct mst_buf out;
    mst_buf_init(&out, SIZE_MAX / 4);
    append_push(&out, push, gradient, bytes);
    assert_true(stranger_send(&worker->links[push->bucket], out.data, out.len));
    mst_buf_fini(&out);
}

static void push_to(struct worker *worker, uint32_t bucket, uint64_t round, float gradient, double weight)
{
    struct mst_msg_push push = meta_of(worker, bucket, round, weight);
    double values[] = {(double)gradient};
    if (bucket == 0)
        push.sums = (struct mst_training_sums){.steps = 1, .examples = 8, .n_values = 1, .values = values};
    send_push(worker, &push, gradient, sizes[bucket] * sizeof(float));
}

static void push(struct worker *worker, uint64_t round, float gradient, double weight)
{
    for (uint32_t b = 0; b < N_THREADS; b++)
        push_to(worker, b, round, gradient, weight);
}

static struct mst_msg_push_reply pushed(struct worker *worker, uint32_t bucket, uint64_t call, float expected)
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
static void expect_round(struct worker *worker, uint64_t call, uint64_t round, float expected)
{
    for (uint32_t b = 0; b < N_THREADS; b++) {
        struct mst_msg_push_reply reply = pushed(worker, b, call, expected);
        assert_true(reply.bucket == b && reply.version == round && reply.turn.round == round && reply.is_finite);
        assert_true(reply.turn.has_unit && reply.turn.unit == UNIT + worker->index);
    }
}

static void append_pull(struct mst_buf *out, const struct mst_msg_pull *pull, uint64_t id)
{
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_pull_encode(pull, &meta), MST_OK);
    const struct call call = {.method = MST_METHOD_PULL, .call = id};
    append_call(out, &call, &meta);
}

static void send_pull(struct stranger *link, uint32_t bucket, uint32_t worker, uint64_t round, uint64_t call)
{
    const struct mst_msg_pull pull = {.bucket = bucket, .worker = worker, .number = 1, .round = round};
    struct mst_buf out;
    mst_buf_init(&out, SIZE_MAX / 4);
    append_pull(&out, &pull, call);
    assert_true(stranger_send(link, out.data, out.len));
    mst_buf_fini(&out);
}

static struct mst_msg_pull_reply pulled(struct stranger *link, uint64_t call)
{
    struct mst_msg_pull_reply reply;
    struct mst_arena arena;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    assert_int_equal(mst_msg_pull_reply_decode(expect_reply(link, call)->meta, &arena, &reply, NULL), MST_OK);
    mst_arena_fini(&arena);
    return reply;
}

// What was sent over this link before is in the hands of its data thread.
static void settle(struct worker *worker, uint32_t bucket)
{
    send_pull(&worker->links[bucket], bucket, worker->index, 0, 999);
    pulled(&worker->links[bucket], 999);
}

// ---- tests ----

static int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    struct mst_error err;
    f->identity = (struct mst_identity){.job_name = "rounds", .job_hash = 1, .role = MST_PEER_PS, .address = ""};
    mst_arena_init(&f->arena, MST_MSG_ARENA_MAX);
    json_t *json = json_pack("{s:s, s:{s:f}}", "class_name", "SGD", "config", "learning_rate", 1.0);
    assert_int_equal(mst_optimizer_parse(json, "optimizer", &f->optimizer, &err), MST_OK);
    json_decref(json);
    struct mst_bytes text = {model_json, strlen(model_json)};
    assert_int_equal(mst_model_parse(text, "model", &f->model, &err), MST_OK);
    assert_int_equal(mst_loop_new("control", &f->control, NULL), MST_OK);
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
                                   .on_end = on_end};
    assert_int_equal(mst_ps_new(&config, &f->ps, &err), MST_OK);
    for (size_t t = 0; t < N_THREADS; t++)
        assert_int_equal(mst_loop_thread_start(f->data[t], NULL), MST_OK);
    struct mst_msg_greeting greeting = {
        .role = MST_PEER_CHIEF, .data_thread = MST_GREETING_CONTROL, .number = 1, .term = TERM};
    greet(f, &f->chief, &greeting);
    f->call = 100;
    return 0;
}

static int set_up_serving(void **state)
{
    set_up(state);
    struct fixture *f = *state;
    send_map(f, N_WORKERS);
    expect_reply(&f->chief, f->call);
    return 0;
}

static int set_up_begun(void **state)
{
    set_up_serving(state);
    apply_round(*state, 0, NULL, 0);
    return 0;
}

static int tear_down(void **state)
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
    mst_model_free(f->model);
    mst_optimizer_free(f->optimizer);
    mst_arena_fini(&f->arena);
    free(f);
    return 0;
}

static void test_a_round_is_the_weighted_mean_and_answers_everybody(void **state)
{
    struct fixture *f = *state;
    struct worker *a = join(f, 0, 1);
    struct worker *b = join(f, 1, 1);
    struct worker *c = join(f, 2, 1);
    push(c, 1, 8, 2);
    push(a, 1, 1, 1);
    push(b, 1, 3, 1);
    struct mst_msg_round_reply reply = ask_until(f, round_of(0, NULL, 0, 0), has_arrivals, 3);
    for (uint32_t w = 0; w < 3; w++) {
        const struct mst_msg_arrival *arrival = &reply.arrivals[w];
        assert_true(arrival->worker == w && arrival->number == 1 && arrival->unit == UNIT + w && arrival->has_sums);
    }
    assert_true(reply.arrivals[2].weight == 2 && reply.arrivals[2].sums.values[0] == 8);
    static const uint64_t all[] = {0, 1, 2};
    apply_round(f, 1, all, 3);
    expect_round(a, 1, 1, -5); // (1 + 3 + 2 * 8) / 4
    expect_round(b, 1, 1, -5);
    expect_round(c, 1, 1, -5);
    // And on.
    push(a, 2, 1, 1);
    ask_until(f, round_of(1, all, 3, 1), has_arrivals, 1);
    apply_round(f, 2, all, 1);
    expect_round(a, 2, 2, -6);
    leave(a);
    leave(b);
    leave(c);
}

static void test_pulls_wait_for_the_beginning_and_for_their_round(void **state)
{
    struct fixture *f = *state;
    struct worker *a = join(f, 0, 1);
    send_pull(&a->links[0], 0, 0, 0, 7);
    send_pull(&a->links[1], 1, 0, 1, 8);
    struct mst_msg_round_reply reply = hear(f, ask(f, &(struct mst_msg_round){.term = TERM, .known = 99}));
    assert_int_equal(reply.applied_round, 0);
    apply_round(f, 0, NULL, 0);
    struct mst_msg_pull_reply pull = pulled(&a->links[0], 7);
    assert_true(pull.version == 0 && pull.turn.has_unit && pull.turn.unit == UNIT);
    apply_round(f, 1, NULL, 0); // nobody was in
    pull = pulled(&a->links[1], 8);
    assert_true(pull.version == 1 && pull.iterations == 0 && pull.turn.round == 1);
    leave(a);
}

static void test_a_push_waits_for_the_beginning(void **state)
{
    struct fixture *f = *state;
    struct worker *a = join(f, 0, 1);
    push(a, 1, 2, 1);
    apply_round(f, 0, NULL, 0);
    ask_until(f, round_of(0, NULL, 0, 0), has_arrivals, 1);
    static const uint64_t ins[] = {0};
    apply_round(f, 1, ins, 1);
    expect_round(a, 1, 1, -2);
    leave(a);
}

static void test_an_evaluator_pulls_what_there_is(void **state)
{
    struct fixture *f = *state;
    struct stranger evaluator;
    greet(f, &evaluator, &(struct mst_msg_greeting){.role = MST_PEER_EVALUATOR, .data_thread = 0});
    send_pull(&evaluator, 0, 0, 0, 3); // before the first round
    struct mst_msg_pull_reply pull = pulled(&evaluator, 3);
    assert_false(pull.turn.has_unit);
    stranger_close(&evaluator);
}

static void test_a_late_push_is_told_that_the_round_is_over(void **state)
{
    struct fixture *f = *state;
    struct worker *a = join(f, 0, 1);
    struct worker *b = join(f, 1, 1);
    static const uint64_t ins[] = {0};
    push(a, 1, 2, 1);
    push_to(b, 1, 1, 100, 1); // one half in time
    settle(b, 1);
    ask_until(f, round_of(0, NULL, 0, 0), has_arrivals, 1);
    apply_round(f, 1, ins, 1);
    push_to(b, 0, 1, 100, 1); // … the other late
    struct mst_msg_push_reply late = pushed(b, 0, 1, -2);
    assert_true(late.is_repeat && late.turn.round == 1);
    struct mst_msg_push_reply early = pushed(b, 1, 1, -2);
    assert_true(!early.is_repeat && early.turn.round == 1);
    expect_round(a, 1, 1, -2);
    leave(a);
    leave(b);
}

static void test_what_a_lost_connection_left_half_is_pushed_again(void **state)
{
    struct fixture *f = *state;
    struct worker *a = join(f, 0, 1);
    push_to(a, 1, 1, 2, 1); // whole on one thread
    struct mst_msg_push meta = meta_of(a, 0, 1, 1);
    send_push(a, &meta, 77, 20); // half on the other
    leave(a);
    a = join(f, 0, 1);
    push(a, 1, 2, 1);
    ask_until(f, round_of(0, NULL, 0, 0), has_arrivals, 1);
    static const uint64_t ins[] = {0};
    apply_round(f, 1, ins, 1);
    expect_round(a, 1, 1, -2);
    leave(a);
}

static void test_a_newer_connection_takes_over_what_an_older_reads(void **state)
{
    struct fixture *f = *state;
    struct worker *older = join(f, 0, 1);
    // In one piece, so that the push is begun when the pull's answer is here and anybody else is heard.
    const struct mst_msg_pull pull = {.bucket = 0, .worker = 0, .number = 1};
    const struct mst_msg_push meta = meta_of(older, 0, 1, 1);
    struct mst_buf both;
    mst_buf_init(&both, SIZE_MAX / 4);
    append_pull(&both, &pull, 5);
    append_push(&both, &meta, 77, 20);
    assert_true(stranger_send(&older->links[0], both.data, both.len));
    mst_buf_fini(&both);
    pulled(&older->links[0], 5);
    struct worker *newer = join(f, 0, 1);
    push(newer, 1, 2, 1);
    ask_until(f, round_of(0, NULL, 0, 0), has_arrivals, 1);
    stranger_expect_error(&older->links[0], 1, MST_ABORTED, "over another connection");
    static const uint64_t ins[] = {0};
    apply_round(f, 1, ins, 1);
    expect_round(newer, 1, 1, -2);
    leave(older);
    leave(newer);
}

static void test_a_doubled_push_counts_once(void **state)
{
    struct fixture *f = *state;
    struct worker *a = join(f, 0, 1);
    push(a, 1, 2, 1);
    ask_until(f, round_of(0, NULL, 0, 0), has_arrivals, 1);
    leave(a); // the answers are lost
    a = join(f, 0, 1);
    push(a, 1, 55, 1); // whatever comes now is thrown away
    static const uint64_t ins[] = {0};
    apply_round(f, 1, ins, 1);
    expect_round(a, 1, 1, -2);
    push(a, 1, 55, 1); // and once more, after its round
    expect_round(a, 1, 1, -2);
    leave(a);
}

static void fence(struct fixture *f, uint32_t worker, uint64_t number)
{
    struct mst_msg_fence fence = {.term = TERM, .worker = worker, .number = number};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_fence_encode(&fence, &meta), MST_OK);
    send_meta(&f->chief, MST_METHOD_FENCE, ++f->call, &meta);
    expect_reply(&f->chief, f->call);
}

static void test_a_fence_refuses_what_comes_and_keeps_what_is_there(void **state)
{
    struct fixture *f = *state;
    struct worker *old = join(f, 1, 1);
    push_to(old, 0, 1, 4, 1);
    settle(old, 0);
    struct mst_msg_push meta = meta_of(old, 1, 1, 1);
    send_push(old, &meta, 4, 8); // half of it
    fence(f, 1, 1);
    const float rest[] = {4};
    assert_true(stranger_send(&old->links[1], rest, sizeof rest));
    stranger_expect_error(&old->links[1], 1, MST_FAILED_PRECONDITION, "declared dead");
    struct worker *new = join(f, 1, 2);
    push(new, 1, 4, 1); // the half that is there, and the other one
    struct mst_msg_round_reply reply = ask_until(f, round_of(0, NULL, 0, 0), has_arrivals, 1);
    assert_int_equal(reply.arrivals[0].number, 2);
    static const uint64_t ins[] = {1};
    apply_round(f, 1, ins, 1);
    expect_round(new, 1, 1, -4);
    leave(old);
    leave(new);
}

static void test_pushes_that_cannot_be_are_refused(void **state)
{
    struct fixture *f = *state;
    struct worker *a = join(f, 0, 1);
    struct worker *stranger = join(f, N_WORKERS, 1);
    push_to(a, 0, 3, 1, 1);
    stranger_expect_error(&a->links[0], 3, MST_INVALID_ARGUMENT, "a round after the next");
    struct mst_msg_push meta = meta_of(a, 0, 1, 1);
    meta.offset++;
    send_push(a, &meta, 1, KERNEL * sizeof(float));
    stranger_expect_error(&a->links[0], 1, MST_INVALID_ARGUMENT, "not the unit");
    push_to(a, 0, 1, 1, -1);
    stranger_expect_error(&a->links[0], 1, MST_INVALID_ARGUMENT, "weight -1");
    push_to(stranger, 0, 1, 1, 1);
    stranger_expect_error(&stranger->links[0], 1, MST_INVALID_ARGUMENT, "consistency.workers");
    leave(a);
    leave(stranger);
}

static void test_a_question_is_held_and_a_newer_one_answers_it(void **state)
{
    struct fixture *f = *state;
    struct mst_msg_round quiet = round_of(0, NULL, 0, 0);
    struct mst_msg_round_reply reply = hear(f, ask(f, &quiet)); // known is 0: answered at once
    quiet.known = reply.status;
    uint64_t first = ask(f, &quiet);
    uint64_t second = ask(f, &quiet);
    assert_int_equal(hear(f, first).status, quiet.known);
    struct worker *a = join(f, 0, 1);
    push(a, 1, 2, 1);
    reply = hear(f, second);
    assert_int_equal(reply.n_arrivals, 1);
    assert_true(reply.status > quiet.known);
    leave(a);
}

static void test_the_chief_hears_something_within_a_second(void **state)
{
    struct fixture *f = *state;
    struct mst_msg_round quiet = round_of(0, NULL, 0, 0);
    quiet.known = hear(f, ask(f, &quiet)).status;
    assert_int_equal(hear(f, ask(f, &quiet)).status, quiet.known);
}

static void test_decisions_that_cannot_be_are_refused(void **state)
{
    struct fixture *f = *state;
    static const uint64_t absent[] = {0};
    struct mst_msg_round round = round_of(1, absent, 1, 0);
    stranger_expect_error(&f->chief, ask(f, &round), MST_INVALID_ARGUMENT, "contributions that are not here");
    round = round_of(2, NULL, 0, 0);
    stranger_expect_error(&f->chief, ask(f, &round), MST_INVALID_ARGUMENT, "not of the next round");
    round = round_of(0, NULL, 0, 1);
    const double scales[] = {1, 1};
    round.scales = scales;
    round.n_scales = 2;
    stranger_expect_error(&f->chief, ask(f, &round), MST_INVALID_ARGUMENT, "2 scales came for 0 clip groups");
    round = round_of(0, NULL, 0, 0);
    round.term = TERM - 1;
    stranger_expect_error(&f->chief, ask(f, &round), MST_ABORTED, "term 4 is over");
}

static void test_a_map_without_rounds_has_none(void **state)
{
    struct fixture *f = *state;
    struct mst_msg_round round = round_of(0, NULL, 0, 0);
    stranger_expect_error(&f->chief, ask(f, &round), MST_UNAVAILABLE, "does not hold its shards");
    send_map(f, 0);
    expect_reply(&f->chief, f->call);
    stranger_expect_error(&f->chief, ask(f, &round), MST_INVALID_ARGUMENT, "without synchronous rounds");
}

static void test_a_map_of_too_many_workers_is_refused(void **state)
{
    struct fixture *f = *state;
    send_map(f, 1u << 20);
    stranger_expect_error(&f->chief, f->call, MST_INVALID_ARGUMENT, "past the limit");
}

#define TEST(test, begin) cmocka_unit_test_setup_teardown(test, begin, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_round_is_the_weighted_mean_and_answers_everybody, set_up_begun),
        TEST(test_pulls_wait_for_the_beginning_and_for_their_round, set_up_serving),
        TEST(test_a_push_waits_for_the_beginning, set_up_serving),
        TEST(test_an_evaluator_pulls_what_there_is, set_up_serving),
        TEST(test_a_late_push_is_told_that_the_round_is_over, set_up_begun),
        TEST(test_what_a_lost_connection_left_half_is_pushed_again, set_up_begun),
        TEST(test_a_newer_connection_takes_over_what_an_older_reads, set_up_begun),
        TEST(test_a_doubled_push_counts_once, set_up_begun),
        TEST(test_a_fence_refuses_what_comes_and_keeps_what_is_there, set_up_begun),
        TEST(test_pushes_that_cannot_be_are_refused, set_up_begun),
        TEST(test_a_question_is_held_and_a_newer_one_answers_it, set_up_begun),
        TEST(test_the_chief_hears_something_within_a_second, set_up_begun),
        TEST(test_decisions_that_cannot_be_are_refused, set_up_begun),
        TEST(test_a_map_without_rounds_has_none, set_up),
        TEST(test_a_map_of_too_many_workers_is_refused, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
