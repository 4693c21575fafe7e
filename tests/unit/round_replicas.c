// What tests of synchronous rounds of several replicas begin with: see the header.
#include "round_replicas.h"

#include "base/alloc.h"
#include "optim/weighted_sum.h"
#include "rpc/resolve.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- servers ----

static void on_greeting(void *arg, struct mst_conn *conn, const struct mst_message *message,
                        const struct mst_msg_greeting *greeting)
{
    struct server *server = arg;
    struct mst_msg_greeting_reply reply;
    struct mst_buf meta;
    mst_identity_answer(&server->identity, &reply);
    reply.n_data_threads = 1;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_greeting_reply_encode(&reply, &meta), MST_OK);
    mst_conn_reply(conn, message, mst_buf_view(&meta), NULL);
    mst_buf_fini(&meta);
    mst_conn_detach(conn);
    if (greeting->role == MST_PEER_PS)
        mst_data_thread_adopt_ps(server->thread, conn, greeting->index, greeting->incarnation);
    else
        mst_data_thread_adopt(server->thread, conn, greeting->index, greeting->number);
}

static struct mst_bucket *make_bucket(const struct fixture *f, uint32_t id, float initial)
{
    struct mst_bucket *bucket;
    const struct mst_piece piece = {.variable = id,
                                    .n_rows = FLOATS / 4,
                                    .row_floats = 4,
                                    .is_whole = true,
                                    .update = id < N_PUSHED ? MST_UPDATE_OPTIMIZER : MST_UPDATE_FROZEN};
    assert_int_equal(mst_bucket_new(id, &piece, 1, f->optimizer, &bucket, NULL), MST_OK);
    for (size_t i = 0; i < FLOATS; i++)
        bucket->current->floats[i] = initial + 0.01f * (float)i;
    return bucket;
}

static void on_report(void *arg)
{
    (void)arg;
}

static void serve_rounds(struct server *server)
{
    struct mst_round_places_config places = {.buckets = server->holding->buckets,
                                             .n_buckets = N_BUCKETS,
                                             .optimizer = server->f->optimizer,
                                             .n_workers = N_WORKERS};
    struct mst_round_serving_config config = {.report = &server->report,
                                              .order = &server->order,
                                              .control = server->f->loop,
                                              .on_report = on_report,
                                              .arg = server};
    assert_int_equal(mst_round_places_new(&places, &config.rounds, NULL), MST_OK);
    server->rounds = config.rounds;
    mst_round_report_init(&server->report, N_WORKERS, N_GROUPS);
    mst_holding_serve_rounds(server->holding, &config);
}

void start_server(struct fixture *f, uint32_t index, uint64_t incarnation, float initial)
{
    struct server *server = &f->servers[index];
    *server = (struct server){.f = f, .index = index, .is_up = true};
    server->identity = (struct mst_identity){.job_name = "rounds",
                                             .job_hash = 1,
                                             .role = MST_PEER_PS,
                                             .index = index,
                                             .address = "",
                                             .incarnation = incarnation};
    struct mst_server_config config = {.on_greeting = on_greeting, .arg = server};
    assert_int_equal(mst_server_new(f->loop, &config, &server->server), MST_OK);
    assert_int_equal(mst_server_listen(server->server, f->ports[index], NULL), MST_OK); // 0 at first: any
    f->ports[index] = mst_server_port(server->server);
    snprintf(f->addresses[index], sizeof f->addresses[index], "127.0.0.1:%u", f->ports[index]);
    server->thread = mst_data_thread_new(f->loop, 0, LEASE_MS);
    struct mst_replicating_config replicating = {.identity = &server->identity,
                                                 .ps = index,
                                                 .resolver = f->resolver,
                                                 .addresses = f->address_list,
                                                 .threads = f->threads,
                                                 .n_ps = N_PS,
                                                 .lease_ms = LEASE_MS,
                                                 .control = f->loop};
    mst_data_thread_replicate(server->thread, &replicating);
    struct mst_bucket **buckets = mst_alloc_array(N_BUCKETS, sizeof(struct mst_bucket *));
    for (uint32_t b = 0; b < N_BUCKETS; b++)
        buckets[b] = make_bucket(f, b, initial);
    server->holding = mst_holding_new(0, 0, buckets, N_BUCKETS);
    mst_data_thread_serve(server->thread, server->holding, 1, 1);
    serve_rounds(server);
    f->roles.incarnations[index] = incarnation;
}

void kill_server(struct server *server)
{
    if (!server->is_up)
        return;
    for (int i = 0; i < 3; i++) // what is posted to it; a thread of its own would have stopped
        mst_loop_poll(server->f->loop);
    mst_server_free(server->server);
    mst_data_thread_free(server->thread);
    mst_round_report_fini(&server->report);
    server->is_up = false;
}

int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    json_t *json =
        json_pack("{s:s, s:{s:f, s:f}}", "class_name", "Adam", "config", "learning_rate", 0.25, "global_clipnorm", 0.5);
    assert_int_equal(mst_optimizer_parse(json, "optimizer", &f->optimizer, NULL), MST_OK);
    json_decref(json);
    assert_int_equal(mst_loop_new("all", &f->loop, NULL), MST_OK);
    assert_int_equal(mst_resolver_new(&f->resolver, NULL), MST_OK);
    mst_roles_init(&f->roles, N_PS, 1);
    f->roles.epoch = (struct mst_epoch){1, 0};
    for (uint32_t p = 0; p < N_PS; p++) {
        f->address_list[p] = f->addresses[p];
        f->threads[p] = 1;
        start_server(f, p, 100 + p, 1);
    }
    for (uint32_t b = 0; b < N_PUSHED; b++)
        f->lone[b] = make_bucket(f, b, 1);
    return 0;
}

int tear_down(void **state)
{
    struct fixture *f = *state;
    for (size_t p = 0; p < N_PS; p++)
        kill_server(&f->servers[p]);
    for (size_t b = 0; b < N_PUSHED; b++)
        mst_bucket_free(f->lone[b]);
    mst_roles_fini(&f->roles);
    mst_resolver_free(f->resolver);
    mst_loop_free(f->loop);
    mst_optimizer_free(f->optimizer);
    free(f);
    return 0;
}

// ---- the chief's part ----

struct awaited {
    struct server *server;
    struct mst_round_progress progress;
};

bool has_begun_reign(void *arg)
{
    struct awaited *awaited = arg;
    struct mst_round_progress progress;
    mst_round_report_read(&awaited->server->report, &progress);
    return progress.reign == awaited->progress.reign;
}

bool has_stored(void *arg)
{
    struct awaited *awaited = arg;
    struct mst_round_progress progress;
    mst_round_report_read(&awaited->server->report, &progress);
    return progress.has_stored && progress.stored == awaited->progress.stored &&
           progress.attempt == awaited->progress.attempt;
}

bool has_applied(void *arg)
{
    struct awaited *awaited = arg;
    struct mst_round_progress progress;
    mst_round_report_read(&awaited->server->report, &progress);
    return progress.has_begun && progress.applied == awaited->progress.applied;
}

bool has_reported(struct server *server, bool (*is_so)(void *arg), uint64_t round, uint64_t attempt)
{
    struct awaited awaited = {server, {.reign = round, .stored = round, .attempt = attempt, .applied = round}};
    return is_so(&awaited);
}

void await_report(struct server *server, bool (*is_so)(void *arg), uint64_t round, uint64_t attempt)
{
    struct awaited awaited = {server, {.reign = round, .stored = round, .attempt = attempt, .applied = round}};
    run_until(server->f->loop, is_so, &awaited);
}

void begin_reign(struct server *server)
{
    server->order.reign = ++server->n_reigns;
    mst_round_serve_begin(server->holding);
}

// MST_NO_PS: none.
void give_roles(struct fixture *f, uint32_t primary, uint32_t backup, uint32_t joiner)
{
    struct mst_group_roles *group = &f->roles.groups[0];
    *group = (struct mst_group_roles){.primary = primary, .joiner = joiner};
    if (backup != MST_NO_PS) {
        group->n_backups = 1;
        group->backups[0] = backup;
    }
    f->roles.epoch.n++;
    for (size_t p = 0; p < N_PS; p++)
        if (f->servers[p].is_up)
            mst_holding_store_roles(f->servers[p].holding, &f->roles);
    for (size_t p = 0; p < N_PS; p++)
        if (f->servers[p].is_up)
            mst_holding_act(f->servers[p].holding, &f->roles.epoch);
}

static const struct mst_msg_part plan[N_WORKERS] = {{0, 10}, {1, 11}};
const uint64_t both[N_WORKERS] = {0, 1};
const double no_scale[N_GROUPS] = {1};
const double half[N_GROUPS] = {0.5};

struct mst_msg_close close_of(uint64_t round, uint64_t attempt, size_t n_ins)
{
    return (struct mst_msg_close){.term = 1,
                                  .round = round,
                                  .attempt = attempt,
                                  .n_ins = n_ins,
                                  .ins = both,
                                  .next = {.n_plan = 2, .plan = plan}};
}

void order(struct server *server, const struct mst_msg_close *close, bool acts, const double *scales)
{
    server->order = (struct mst_round_order){.reign = server->n_reigns,
                                             .has_close = true,
                                             .close = *close,
                                             .acts = acts,
                                             .act_round = close->round,
                                             .n_scales = N_GROUPS,
                                             .scales = scales};
    mst_round_serve_order(server->holding);
}

void begin(struct server *server)
{
    const struct mst_msg_close close = close_of(0, 0, 0);
    begin_reign(server);
    await_report(server, has_begun_reign, server->n_reigns, 0);
    order(server, &close, true, no_scale);
    await_report(server, has_applied, 0, 0);
}

// ---- workers ----

static void on_answer(void *arg, uint32_t bucket, struct mst_version *version, const struct mst_msg_turn *turn,
                      bool is_finite)
{
    struct fixture *f = arg;
    (void)bucket;
    assert_true(is_finite);
    f->n_heard++;
    f->heard_round = turn->round;
    mst_version_unref(version);
}

static float gradient_at(uint64_t round, uint32_t worker, uint32_t bucket, size_t i)
{
    return 0.1f * (float)((round * 7 + worker * 5 + bucket * 3 + i) % 11) - 0.45f;
}

mst_status contribute_to(struct server *server, uint32_t worker, uint64_t round, uint32_t bucket)
{
    float gradient[FLOATS];
    for (size_t i = 0; i < FLOATS; i++)
        gradient[i] = gradient_at(round, worker, bucket, i);
    const float *const pieces[] = {gradient};
    const struct mst_gradients gradients = {.pieces = pieces};
    const struct mst_msg_push push = {.bucket = bucket,
                                      .worker = worker,
                                      .number = 1,
                                      .step = round,
                                      .offset = plan[worker].unit + 1,
                                      .weight = 1 + 2 * (double)worker};
    return mst_data_thread_contribute(server->thread, &push, &gradients, on_answer, server->f, NULL);
}

void contribute(struct server *server, uint32_t worker, uint64_t round)
{
    for (uint32_t b = 0; b < N_PUSHED; b++)
        assert_int_equal(contribute_to(server, worker, round, b), MST_OK);
}

// The round as it should be.
void apply_alone(struct fixture *f, uint64_t round, size_t n_ins, double scale)
{
    for (uint32_t b = 0; b < N_PUSHED; b++) {
        float sum[FLOATS];
        float total = 0;
        for (uint32_t w = 0; w < n_ins; w++) {
            float gradient[FLOATS];
            for (size_t i = 0; i < FLOATS; i++)
                gradient[i] = gradient_at(round, w, b, i);
            if (n_ins == 1)
                memcpy(sum, gradient, sizeof sum);
            else
                mst_weighted_sum_add(1 + 2 * (float)w, gradient, w == 0, sum, FLOATS);
            total += 1 + 2 * (float)w;
        }
        if (n_ins > 1)
            mst_weighted_sum_mean(total, sum, sum, FLOATS);
        for (size_t i = 0; i < FLOATS; i++)
            sum[i] *= (float)scale;
        mst_bucket_apply_round(f->lone[b], round, sum);
    }
}

void expect_as_alone(const struct fixture *f, uint32_t ps)
{
    for (uint32_t b = 0; b < N_PUSHED; b++) {
        const struct mst_bucket *bucket = f->servers[ps].holding->buckets[b];
        assert_int_equal(bucket->n_updates, f->lone[b]->n_updates);
        assert_int_equal(bucket->current->counter, f->lone[b]->current->counter);
        assert_memory_equal(bucket->current->floats, f->lone[b]->current->floats, FLOATS * sizeof(float));
        assert_int_equal(mst_bucket_crc32c(bucket), mst_bucket_crc32c(f->lone[b]));
    }
}

void run_round(struct server *server, uint64_t round, const double *scales)
{
    const struct mst_msg_close close = close_of(round, 0, 2);
    contribute(server, 0, round);
    contribute(server, 1, round);
    order(server, &close, false, NULL);
    await_report(server, has_stored, round, 0);
    order(server, &close, true, scales);
    await_report(server, has_applied, round, 0);
    apply_alone(server->f, round, 2, scales[0]);
}

void expect_closes(struct server *server, uint64_t applied, bool has_stored_one, uint64_t stored, uint64_t attempt)
{
    struct mst_arena arena;
    struct mst_round_closes closes;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    assert_int_equal(mst_round_report_closes(&server->report, &arena, &closes), MST_OK);
    assert_true(closes.has_applied);
    assert_int_equal(closes.applied.round, applied);
    assert_int_equal(closes.applied.next.n_plan, N_WORKERS);
    assert_int_equal(closes.has_stored, has_stored_one);
    if (has_stored_one) {
        assert_int_equal(closes.stored.round, stored);
        assert_int_equal(closes.stored.attempt, attempt);
    }
    mst_arena_fini(&arena);
    const struct mst_round_table *table = &server->rounds->table;
    assert_true(table->has_begun);
    assert_int_equal(table->applied, applied);
    assert_int_equal(table->stored, has_stored_one ? stored : applied);
    assert_true(table->dealt.workers[1].has_unit && table->dealt.workers[1].unit == 11);
}
