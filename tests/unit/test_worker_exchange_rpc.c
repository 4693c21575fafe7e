// An exchange and two parameter servers of a few lines: who is asked for a bucket, and what happens to a push when
// another one becomes its primary, says that it is not, or is gone.
#include "worker/exchange_rpc.h"

#include "base/alloc.h"
#include "base/log.h"
#include "rpc/server.h"
#include "rpc/service.h"
#include "rpc_stranger.h"
#include "worker/targets.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_PS = 2, N_BUCKETS = 2, CONNS_MAX = 16, FLOATS_MAX = 48, META_MAX = 256 };

// One Dense layer: kernel (8, 6) is bucket 0, at home on thread 1 of ps-0; bias (6) is bucket 1, on thread 0 of ps-1.
static const char model_json[] =
    "{\"module\": \"keras\", \"class_name\": \"Sequential\", \"config\": {\"name\": \"s\", \"layers\": ["
    "{\"module\": \"keras.layers\", \"class_name\": \"InputLayer\", \"config\": {\"batch_shape\": [null, 8], "
    "\"dtype\": \"float32\", \"name\": \"in\"}},"
    "{\"module\": \"keras.layers\", \"class_name\": \"Dense\", \"config\": {\"name\": \"dense\", \"units\": 6}}]}}";
static const struct mst_msg_shard shards[] = {{.variable = 0, .n_rows = 8, .ps = 0, .thread = 1, .bucket = 0},
                                              {.variable = 1, .n_rows = 6, .ps = 1, .thread = 0, .bucket = 1}};
static const size_t n_floats[N_BUCKETS] = {48, 6};
static const uint64_t ps_threads[N_PS] = {2, 1};

struct push {
    uint8_t meta[META_MAX];
    size_t n_meta;
    float body[FLOATS_MAX];
};

struct fake_ps {
    struct fixture *fixture;
    struct mst_server *server;
    uint16_t port;
    struct mst_conn *conns[CONNS_MAX];
    size_t n_conns;
    size_t n_greetings[2]; // by data thread
    bool is_primary_of[N_BUCKETS];
    bool is_mute; // keeps every question
    struct iovec sink;
    struct push pushes[N_BUCKETS]; // the last one
    size_t n_pushes[N_BUCKETS];
    size_t n_pulls[N_BUCKETS];
    size_t n_refused[N_BUCKETS];
};

struct fixture {
    struct mst_loop *loop;
    struct mst_resolver *resolver;
    struct mst_model *model;
    struct mst_layout *layout;
    struct fake_ps ps[N_PS];
    char addresses[N_PS][32];
    const char *address_list[N_PS];
    struct mst_identity identity;
    struct mst_roles roles;
    float grads[N_BUCKETS][FLOATS_MAX];
    float *grad_list[N_BUCKETS];
    struct mst_exchange *exchange;
    size_t n_answered[N_BUCKETS];
    size_t n_wanted[N_BUCKETS];
    mst_status refused;
    char text[256];
};

// ---- the servers ----

static void answer(struct fake_ps *ps, struct mst_conn *conn, const struct mst_message *message, size_t bucket)
{
    float params[FLOATS_MAX];
    for (size_t i = 0; i < n_floats[bucket]; i++)
        params[i] = (float)(ps - ps->fixture->ps + 1);
    struct mst_buf meta;
    mst_buf_init(&meta, 1000);
    struct mst_msg_push_reply pushed = {.bucket = (uint32_t)bucket, .is_finite = true};
    struct mst_msg_pull_reply pulled = {.bucket = (uint32_t)bucket};
    mst_status status = message->method == MST_METHOD_PUSH ? mst_msg_push_reply_encode(&pushed, &meta)
                                                           : mst_msg_pull_reply_encode(&pulled, &meta);
    assert_int_equal(status, MST_OK);
    struct iovec part = {params, n_floats[bucket] * sizeof(float)};
    struct mst_body body = {.parts = &part, .n_parts = 1};
    mst_conn_reply(conn, message, mst_buf_view(&meta), &body);
    assert_int_equal(mst_conn_n_queued(conn), 0); // a few bytes: the socket has taken them, and params may go
    mst_buf_fini(&meta);
}

static void answer_or_refuse(struct fake_ps *ps, struct mst_conn *conn, const struct mst_message *message,
                             size_t bucket)
{
    if (ps->is_mute)
        return;
    if (ps->is_primary_of[bucket]) {
        answer(ps, conn, message, bucket);
        return;
    }
    ps->n_refused[bucket]++;
    mst_conn_reply_error(conn, message, MST_ABORTED, "not the primary of bucket %zu", bucket);
}

static void on_pull(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct fake_ps *ps = arg;
    struct mst_arena arena;
    struct mst_msg_pull pull;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    assert_int_equal(mst_msg_pull_decode(message->meta, &arena, &pull, NULL), MST_OK);
    mst_arena_fini(&arena);
    ps->n_pulls[pull.bucket]++;
    answer_or_refuse(ps, conn, message, pull.bucket);
}

static size_t pushed_bucket(const struct mst_message *message)
{
    struct mst_arena arena;
    struct mst_msg_push push;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    assert_int_equal(mst_msg_push_decode(message->meta, &arena, &push, NULL), MST_OK);
    mst_arena_fini(&arena);
    assert_in_range(push.bucket, 0, N_BUCKETS - 1);
    return push.bucket;
}

static enum mst_body_verdict on_push_head(void *arg, struct mst_conn *conn, const struct mst_message *message,
                                          struct mst_sink *sink)
{
    struct fake_ps *ps = arg;
    (void)conn;
    size_t bucket = pushed_bucket(message);
    assert_int_equal(message->body_bytes, n_floats[bucket] * sizeof(float));
    ps->sink = (struct iovec){ps->pushes[bucket].body, message->body_bytes};
    *sink = (struct mst_sink){&ps->sink, 1};
    return MST_BODY_TAKE;
}

static void on_push(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct fake_ps *ps = arg;
    size_t bucket = pushed_bucket(message);
    struct push *push = &ps->pushes[bucket];
    assert_in_range(message->meta.len, 1, META_MAX);
    memcpy(push->meta, message->meta.data, message->meta.len);
    push->n_meta = message->meta.len;
    ps->n_pushes[bucket]++;
    answer_or_refuse(ps, conn, message, bucket);
}

static void on_conn_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text)
{
    struct fake_ps *ps = arg;
    (void)status;
    (void)text;
    for (size_t i = 0; i < ps->n_conns; i++)
        if (ps->conns[i] == conn)
            ps->conns[i] = NULL;
}

static const struct mst_handler handlers[] = {{MST_METHOD_PUSH, on_push_head, on_push},
                                              {MST_METHOD_PULL, NULL, on_pull}};
static const struct mst_service service = {handlers, 2, on_conn_closed};

static void on_greeting(void *arg, struct mst_conn *conn, const struct mst_message *message,
                        const struct mst_msg_greeting *greeting)
{
    struct fake_ps *ps = arg;
    assert_in_range(greeting->data_thread, 0, ps_threads[ps - ps->fixture->ps] - 1);
    assert_in_range(ps->n_conns, 0, CONNS_MAX - 1);
    ps->n_greetings[greeting->data_thread]++;
    ps->conns[ps->n_conns++] = conn;
    struct mst_msg_greeting_reply reply = {.version = MST_WIRE_VERSION, .n_data_threads = 2};
    struct mst_buf meta;
    mst_buf_init(&meta, 1000);
    assert_int_equal(mst_msg_greeting_reply_encode(&reply, &meta), MST_OK);
    mst_conn_reply(conn, message, mst_buf_view(&meta), NULL);
    mst_buf_fini(&meta);
    mst_service_attach(&service, ps, conn);
}

static void hang_up(struct fake_ps *ps)
{
    for (size_t i = 0; i < ps->n_conns; i++) {
        mst_conn_close(ps->conns[i]);
        ps->conns[i] = NULL;
    }
}

// As a killed process: its connections are reset, and new ones refused.
static void die(struct fake_ps *ps)
{
    hang_up(ps);
    mst_server_free(ps->server);
    ps->server = NULL;
}

static void live(struct fixture *f, size_t index)
{
    struct fake_ps *ps = &f->ps[index];
    struct mst_server_config config = {.on_greeting = on_greeting, .arg = ps};
    ps->fixture = f;
    assert_int_equal(mst_server_new(f->loop, &config, &ps->server), MST_OK);
    assert_int_equal(mst_server_listen(ps->server, ps->port, NULL), MST_OK);
    ps->port = mst_server_port(ps->server);
    snprintf(f->addresses[index], sizeof f->addresses[index], "127.0.0.1:%u", ps->port);
    f->address_list[index] = f->addresses[index];
}

// ---- the worker ----

static void on_answered(void *arg, const struct mst_exchange_answer *answer)
{
    struct fixture *f = arg;
    f->n_answered[answer->bucket]++;
}

static void on_refused(void *arg, mst_status status, const char *text)
{
    struct fixture *f = arg;
    f->refused = status;
    snprintf(f->text, sizeof f->text, "%s", text);
}

static bool is_answered(void *arg)
{
    const struct fixture *f = arg;
    return f->refused != MST_OK || (f->n_answered[0] >= f->n_wanted[0] && f->n_answered[1] >= f->n_wanted[1]);
}

static void expect_answers(struct fixture *f, size_t kernel, size_t bias)
{
    f->n_wanted[0] = kernel;
    f->n_wanted[1] = bias;
    run_until(f->loop, is_answered, f);
    assert_int_equal(f->refused, MST_OK);
    assert_int_equal(f->n_answered[0], kernel);
    assert_int_equal(f->n_answered[1], bias);
}

static void push(struct fixture *f, size_t bucket, uint64_t step)
{
    struct mst_exchange_push pushed = {.id = {.number = 3, .step = step, .lease = 4, .offset = step}, .weight = 16};
    f->exchange->ops->push(f->exchange, bucket, &pushed);
}

// The exchange; with roles: as the map has them.
static void make(struct fixture *f, const struct mst_roles *roles)
{
    struct mst_exchange_rpc_config config = {.loop = f->loop,
                                             .resolver = f->resolver,
                                             .identity = &f->identity,
                                             .model = f->model,
                                             .layout = f->layout,
                                             .ps_addresses = f->address_list,
                                             .n_ps = N_PS,
                                             .grads = f->grad_list,
                                             .map_term = 1,
                                             .map_epoch = 1,
                                             .roles = roles,
                                             .call_ms = 60000,
                                             .events = {on_answered, on_refused, f}};
    assert_int_equal(mst_exchange_rpc_new(&config, &f->exchange, NULL), MST_OK);
}

// All pulled once.
static void join(struct fixture *f, const struct mst_roles *roles)
{
    make(f, roles);
    f->exchange->ops->pull(f->exchange, 3);
    expect_answers(f, 1, 1);
}

// Under a newer epoch this PS is the primary of both groups, the other one its backup or, if it is lost, nothing.
static void promote(struct fixture *f, uint32_t ps, size_t n_backups)
{
    f->roles.epoch.n++;
    for (size_t g = 0; g < N_PS; g++)
        f->roles.groups[g] =
            (struct mst_group_roles){.primary = ps, .n_backups = n_backups, .backups = {1 - ps}, .joiner = MST_NO_PS};
    for (size_t b = 0; b < N_BUCKETS; b++) {
        f->ps[ps].is_primary_of[b] = true;
        f->ps[1 - ps].is_primary_of[b] = false;
    }
}

static void follow(struct fixture *f)
{
    assert_int_equal(mst_exchange_rpc_set_roles(f->exchange, &f->roles, NULL), MST_OK);
}

static int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    assert_int_equal(mst_log_set_filter("all=error", NULL), MST_OK);
    assert_int_equal(mst_loop_new("exchange", &f->loop, NULL), MST_OK);
    assert_int_equal(mst_resolver_new(&f->resolver, NULL), MST_OK);
    assert_int_equal(mst_model_parse((struct mst_bytes){model_json, strlen(model_json)}, "model.json", &f->model, NULL),
                     MST_OK);
    struct mst_msg_map map = {.n_shards = 2, .shards = shards, .n_ps_threads = N_PS, .ps_threads = ps_threads};
    assert_int_equal(mst_layout_new(f->model, &map, &f->layout, NULL), MST_OK);
    f->identity = (struct mst_identity){.job_name = "job", .role = MST_PEER_WORKER, .address = "", .incarnation = 9};
    for (size_t b = 0; b < N_BUCKETS; b++) {
        f->grad_list[b] = f->grads[b];
        for (size_t i = 0; i < FLOATS_MAX; i++)
            f->grads[b][i] = (float)(100 * b + i);
    }
    mst_roles_init(&f->roles, N_PS, 1);
    f->roles.epoch = (struct mst_epoch){1, 1};
    for (size_t ps = 0; ps < N_PS; ps++) {
        live(f, ps);
        f->ps[ps].is_primary_of[ps] = true;
    }
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    mst_exchange_rpc_free(f->exchange);
    for (size_t ps = 0; ps < N_PS; ps++)
        die(&f->ps[ps]);
    mst_roles_fini(&f->roles);
    mst_layout_free(f->layout);
    mst_model_free(f->model);
    mst_resolver_free(f->resolver);
    mst_loop_free(f->loop);
    free(f);
    return 0;
}

// ---- conditions ----

static bool kernel_arrived(void *arg)
{
    const struct fixture *f = arg;
    return f->ps[0].n_pushes[0] > 0;
}

static bool kernel_refused_thrice(void *arg)
{
    const struct fixture *f = arg;
    return f->ps[0].n_refused[0] >= 3;
}

static bool servers_are_greeted(void *arg)
{
    const struct fixture *f = arg;
    return f->ps[0].n_greetings[0] && f->ps[0].n_greetings[1] && f->ps[1].n_greetings[0];
}

static bool somebody_is_missed(void *arg)
{
    const struct fixture *f = arg;
    return mst_exchange_rpc_absent_ms(f->exchange) > 0;
}

// ---- tests ----

static void test_without_roles_a_bucket_stays_at_its_home(void **state)
{
    struct fixture *f = *state;
    join(f, NULL);
    push(f, 0, 1);
    push(f, 1, 1);
    expect_answers(f, 2, 2);
    assert_int_equal(f->ps[0].n_pushes[0], 1);
    assert_int_equal(f->ps[1].n_pushes[1], 1);
    assert_int_equal(f->ps[0].n_pushes[1] + f->ps[1].n_pushes[0], 0);
    assert_int_equal(f->ps[0].n_greetings[0], 0); // nobody there has a bucket
    assert_memory_equal(f->ps[0].pushes[0].body, f->grads[0], 48 * sizeof(float));
    assert_true(f->exchange->ops->params(f->exchange)[0][47] == 1);
    assert_true(f->exchange->ops->params(f->exchange)[1][5] == 2);
    assert_int_equal(mst_exchange_rpc_absent_ms(f->exchange), 0);
}

static void test_without_roles_a_refusal_is_one(void **state)
{
    struct fixture *f = *state;
    join(f, NULL);
    f->ps[0].is_primary_of[0] = false;
    push(f, 0, 1);
    f->n_wanted[0] = 2;
    run_until(f->loop, is_answered, f);
    assert_int_equal(f->refused, MST_ABORTED);
    assert_non_null(strstr(f->text, "not the primary"));
}

static void test_links_to_backups_are_made_ahead(void **state)
{
    struct fixture *f = *state;
    join(f, &f->roles);
    run_until(f->loop, servers_are_greeted,
              f); // bucket 1 may come to thread 0 of ps-0, bucket 0 to the only one of ps-1
    promote(f, 1, 1);
    follow(f);
    push(f, 0, 1);
    push(f, 1, 1);
    expect_answers(f, 2, 2);
    assert_int_equal(f->ps[1].n_greetings[0], 1); // no link more than there was
    assert_int_equal(f->ps[1].n_pushes[0], 1);
}

static void test_a_push_goes_to_the_new_primary_word_for_word(void **state)
{
    struct fixture *f = *state;
    join(f, &f->roles);
    f->ps[0].is_mute = true; // as one that is stopped
    push(f, 0, 1);
    run_until(f->loop, kernel_arrived, f);
    promote(f, 1, 0);
    follow(f);
    expect_answers(f, 2, 1);
    const struct push *first = &f->ps[0].pushes[0], *second = &f->ps[1].pushes[0];
    assert_int_equal(first->n_meta, second->n_meta);
    assert_memory_equal(first->meta, second->meta, first->n_meta);
    assert_memory_equal(first->body, second->body, 48 * sizeof(float));
    push(f, 1, 1);
    expect_answers(f, 2, 2);
    assert_true(f->exchange->ops->params(f->exchange)[0][0] == 2); // what the new one answered
}

static void test_who_is_not_the_primary_is_asked_again(void **state)
{
    struct fixture *f = *state;
    join(f, &f->roles);
    f->ps[0].is_primary_of[0] = false; // it knows of newer roles, and we do not
    push(f, 0, 1);
    run_until(f->loop, kernel_refused_thrice, f);
    assert_int_equal(f->refused, MST_OK);
    assert_true(mst_exchange_rpc_absent_ms(f->exchange) > 0);
    char text[512];
    mst_exchange_rpc_state(f->exchange, text, sizeof text);
    assert_non_null(strstr(text, "a primary for bucket 0"));
    assert_non_null(strstr(text, "not the primary of bucket 0"));
    f->ps[0].is_primary_of[0] = true;
    expect_answers(f, 2, 1);
    assert_int_equal(mst_exchange_rpc_absent_ms(f->exchange), 0);
}

static void test_newer_roles_need_no_wait(void **state)
{
    struct fixture *f = *state;
    join(f, &f->roles);
    f->ps[0].is_primary_of[0] = false;
    push(f, 0, 1);
    run_until(f->loop, kernel_refused_thrice, f);
    promote(f, 1, 1);
    follow(f);
    expect_answers(f, 2, 1);
    assert_int_equal(f->ps[1].n_pushes[0], 1);
}

static void test_a_killed_primary_is_no_error(void **state)
{
    struct fixture *f = *state;
    join(f, &f->roles);
    die(&f->ps[0]);
    push(f, 0, 1);
    push(f, 1, 1);
    expect_answers(f, 1, 2);
    run_until(f->loop, somebody_is_missed, f);
    char text[512];
    mst_exchange_rpc_state(f->exchange, text, sizeof text);
    assert_non_null(strstr(text, "ps-0 ("));
    promote(f, 1, 0);
    follow(f);
    expect_answers(f, 2, 2);
    assert_int_equal(mst_exchange_rpc_absent_ms(f->exchange), 0); // nobody misses ps-0
    mst_exchange_rpc_state(f->exchange, text, sizeof text);
    assert_string_equal(text, "");
}

static void test_who_comes_back_is_used_again(void **state)
{
    struct fixture *f = *state;
    join(f, &f->roles);
    die(&f->ps[0]);
    promote(f, 1, 0);
    follow(f);
    push(f, 0, 1);
    push(f, 1, 1);
    expect_answers(f, 2, 2);
    live(f, 0);
    promote(f, 0, 1);
    follow(f);
    push(f, 0, 2);
    push(f, 1, 2);
    expect_answers(f, 3, 3);
    assert_int_equal(f->ps[0].n_pushes[1], 1);
}

static void test_a_move_disturbs_no_other_bucket(void **state)
{
    struct fixture *f = *state;
    promote(f, 1, 1);
    join(f, &f->roles);
    f->ps[1].is_mute = true; // both are under way on one connection, and one moves
    push(f, 0, 1);
    push(f, 1, 1);
    f->ps[0].is_primary_of[0] = true;
    f->roles.epoch.n++;
    f->roles.groups[0] = (struct mst_group_roles){.primary = 0, .n_backups = 1, .backups = {1}, .joiner = MST_NO_PS};
    follow(f);
    f->ps[1].is_mute = false;
    expect_answers(f, 2, 2);
    assert_int_equal(f->ps[0].n_pushes[0], 1);
    assert_true(f->exchange->ops->params(f->exchange)[0][0] == 1);
    assert_true(f->exchange->ops->params(f->exchange)[1][0] == 2);
}

static void test_older_roles_are_ignored(void **state)
{
    struct fixture *f = *state;
    struct mst_roles older = {0};
    mst_roles_copy(&older, &f->roles);
    promote(f, 1, 1);
    join(f, &f->roles);
    assert_int_equal(mst_exchange_rpc_set_roles(f->exchange, &older, NULL), MST_OK);
    mst_roles_fini(&older);
    push(f, 0, 1);
    expect_answers(f, 2, 1);
    assert_int_equal(f->ps[1].n_pushes[0], 1);
}

static void test_a_lost_group_is_waited_for_at_its_home(void **state)
{
    struct fixture *f = *state;
    join(f, &f->roles);
    f->roles.epoch.n++;
    f->roles.groups[0] = (struct mst_group_roles){.primary = MST_NO_PS, .joiner = MST_NO_PS};
    f->ps[0].is_primary_of[0] = false;
    follow(f);
    push(f, 0, 1);
    run_until(f->loop, kernel_refused_thrice, f);
    assert_int_equal(f->refused, MST_OK);
    f->ps[0].is_primary_of[0] = true; // restored
    expect_answers(f, 2, 1);
}

static void test_a_dropped_push_is_held_no_more(void **state)
{
    struct fixture *f = *state;
    join(f, &f->roles);
    f->ps[0].is_primary_of[0] = false;
    push(f, 0, 1);
    run_until(f->loop, kernel_refused_thrice, f);
    f->exchange->ops->drop(f->exchange);
    assert_int_equal(mst_exchange_rpc_absent_ms(f->exchange), 0);
    f->ps[0].is_primary_of[0] = true;
    f->exchange->ops->pull(f->exchange, 4);
    expect_answers(f, 2, 2);
}

static void test_what_is_not_kept_of_a_cut_is_told(void **state)
{
    struct fixture *f = *state;
    join(f, &f->roles);
    f->ps[0].is_primary_of[0] = false;
    mst_exchange_rpc_set_cut(f->exchange, 5);
    f->exchange->ops->pull(f->exchange, 4);
    f->n_wanted[0] = 2;
    run_until(f->loop, is_answered, f);
    assert_int_equal(f->refused, MST_ABORTED); // another one would not have kept it either
}

static void test_roles_of_too_few_groups_are_refused(void **state)
{
    struct fixture *f = *state;
    struct mst_roles few;
    struct mst_error err;
    join(f, &f->roles);
    mst_roles_init(&few, 1, 0);
    few.epoch = (struct mst_epoch){9, 9};
    assert_int_equal(mst_exchange_rpc_set_roles(f->exchange, &few, &err), MST_DATA_LOSS);
    assert_non_null(strstr(err.text, "bucket 1 is of group 1"));
    mst_roles_fini(&few);
}

// ---- targets ----

static bool has_one_conn_less(void *arg)
{
    const struct fixture *f = arg;
    size_t n = 0;
    for (size_t i = 0; i < f->ps[0].n_conns; i++)
        n += f->ps[0].conns[i] != NULL;
    return n == 1;
}

static bool has_two_greetings(void *arg)
{
    const struct fixture *f = arg;
    return f->ps[0].n_greetings[0] && f->ps[0].n_greetings[1];
}

static void on_target_up(void *arg, struct mst_target *target)
{
    (void)arg;
    assert_true(mst_peer_is_up(target->peer));
}

static void test_unused_links_end_after_a_while(void **state)
{
    struct fixture *f = *state;
    struct mst_targets targets;
    struct mst_target *used, *other;
    struct mst_targets_config config = {.loop = f->loop,
                                        .resolver = f->resolver,
                                        .identity = &f->identity,
                                        .ps_addresses = f->address_list,
                                        .n_ps = N_PS,
                                        .linger_ms = 1,
                                        .events = {on_target_up, on_refused},
                                        .arg = f};
    mst_targets_init(&targets, &config);
    for (int round = 0; round < 2; round++) {
        mst_targets_begin(&targets);
        assert_int_equal(mst_targets_find(&targets, 0, 0, &used, NULL), MST_OK);
        assert_int_equal(mst_targets_find(&targets, 0, 1, &other, NULL), MST_OK);
        mst_targets_use(used, MST_TARGET_USED);
        mst_targets_use(used, MST_TARGET_AHEAD); // the less counts nothing
        if (round == 0)
            mst_targets_use(other, MST_TARGET_AHEAD);
        mst_targets_end(&targets);
        mst_targets_start(&targets);
        assert_int_equal(used->use, MST_TARGET_USED);
        run_until(f->loop, round == 0 ? has_two_greetings : has_one_conn_less, f);
    }
    assert_true(mst_peer_is_up(used->peer));
    assert_false(mst_peer_is_up(other->peer));
    assert_int_equal(mst_targets_find(&targets, N_PS, 0, &other, NULL), MST_INVALID_ARGUMENT);
    mst_targets_fini(&targets);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_without_roles_a_bucket_stays_at_its_home),
        CASE(test_without_roles_a_refusal_is_one),
        CASE(test_links_to_backups_are_made_ahead),
        CASE(test_a_push_goes_to_the_new_primary_word_for_word),
        CASE(test_who_is_not_the_primary_is_asked_again),
        CASE(test_newer_roles_need_no_wait),
        CASE(test_a_killed_primary_is_no_error),
        CASE(test_who_comes_back_is_used_again),
        CASE(test_a_move_disturbs_no_other_bucket),
        CASE(test_older_roles_are_ignored),
        CASE(test_a_lost_group_is_waited_for_at_its_home),
        CASE(test_a_dropped_push_is_held_no_more),
        CASE(test_what_is_not_kept_of_a_cut_is_told),
        CASE(test_roles_of_too_few_groups_are_refused),
        CASE(test_unused_links_end_after_a_while),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
