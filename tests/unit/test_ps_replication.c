// Replication between the data threads of several servers in one process, over sockets of this machine: real
// connections, one loop, roles from the test in the chief's place. Two buckets of Adam, so that slots count as well.
// The lease is a minute and a wait fails after ten seconds, so nothing here passes because a lease ran out.
#include "base/alloc.h"
#include "ps/data_thread.h"
#include "ps/replication_private.h"
#include "rpc/peer.h"
#include "rpc/server.h"
#include "rpc_stranger.h"
#include "wire/methods.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_PS = 3, N_BUCKETS = 2, ROWS = 6, FLOATS = 4 * ROWS, GROUP = 0, LEASE_MS = 60000, WORKER = 1 };

struct server {
    struct fixture *f;
    uint32_t index;
    struct mst_identity identity;
    struct mst_server *server;
    struct mst_data_thread *thread;
    struct mst_holding *holding;
    bool is_up;
};

// A worker's connection with one server, and its last call.
struct dial {
    struct fixture *f;
    uint32_t ps;
    uint32_t worker;
    struct mst_peer *peer;
    float floats[FLOATS];
    struct iovec part;
    float gradient[FLOATS];
    struct iovec gradient_part;
    bool is_done;
    mst_status status;
    char text[256];
    struct mst_msg_push_reply reply;
};

struct fixture {
    struct mst_loop *loop;
    struct mst_resolver *resolver;
    struct mst_optimizer *optimizer;
    struct server servers[N_PS];
    uint16_t ports[N_PS];
    char addresses[N_PS][32];
    const char *address_list[N_PS];
    uint64_t threads[N_PS];
    struct mst_roles roles;
    uint64_t step; // the worker's
    unsigned n_status;
};

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

static void on_status(void *arg)
{
    ((struct fixture *)arg)->n_status++;
}

static struct mst_holding *make_holding(const struct fixture *f, float initial)
{
    struct mst_bucket **buckets = mst_alloc_array(N_BUCKETS, sizeof *buckets);
    const struct mst_piece piece = {.variable = 0, .n_rows = ROWS, .row_floats = 4, .is_whole = true};
    for (uint32_t b = 0; b < N_BUCKETS; b++) {
        assert_int_equal(mst_bucket_new(b, &piece, 1, f->optimizer, &buckets[b], NULL), MST_OK);
        for (size_t i = 0; i < FLOATS; i++)
            buckets[b]->current->floats[i] = initial + 0.01f * (float)i;
    }
    return mst_holding_new(GROUP, 0, buckets, N_BUCKETS);
}

// A process with this incarnation; what it has at first is of its own making, unless all begin.
static void start_server(struct fixture *f, uint32_t index, uint64_t incarnation, float initial)
{
    struct server *server = &f->servers[index];
    *server = (struct server){.f = f, .index = index, .is_up = true};
    server->identity = (struct mst_identity){.job_name = "replicas",
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
                                                 .control = f->loop,
                                                 .on_status = on_status,
                                                 .arg = f};
    mst_data_thread_replicate(server->thread, &replicating);
    server->holding = make_holding(f, initial);
    mst_data_thread_serve(server->thread, server->holding, 1, 1);
    f->roles.incarnations[index] = incarnation;
}

// As the kernel does it when a process dies: all sockets are closed.
static void kill_server(struct server *server)
{
    if (!server->is_up)
        return;
    mst_server_free(server->server);
    mst_data_thread_free(server->thread);
    server->is_up = false;
}

static int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    json_t *json = json_pack("{s:s, s:{s:f}}", "class_name", "Adam", "config", "learning_rate", 0.25);
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
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    for (size_t p = 0; p < N_PS; p++)
        kill_server(&f->servers[p]);
    mst_roles_fini(&f->roles);
    mst_resolver_free(f->resolver);
    mst_loop_free(f->loop);
    mst_optimizer_free(f->optimizer);
    free(f);
    return 0;
}

// ---- the chief's part ----

static void store_and_act(struct fixture *f)
{
    f->roles.epoch.n++;
    for (size_t p = 0; p < N_PS; p++)
        if (f->servers[p].is_up)
            mst_holding_store_roles(f->servers[p].holding, &f->roles);
    for (size_t p = 0; p < N_PS; p++)
        if (f->servers[p].is_up)
            mst_holding_act(f->servers[p].holding, &f->roles.epoch);
}

// MST_NO_PS: none.
static void give_roles(struct fixture *f, uint32_t primary, uint32_t backup, uint32_t joiner)
{
    struct mst_group_roles *group = &f->roles.groups[GROUP];
    *group = (struct mst_group_roles){.primary = primary, .joiner = joiner};
    if (backup != MST_NO_PS) {
        group->n_backups = 1;
        group->backups[0] = backup;
    }
    store_and_act(f);
}

// ---- workers ----

static void on_greet(void *arg, struct mst_peer *peer, struct mst_msg_greeting *greeting)
{
    const struct dial *dial = arg;
    (void)peer;
    mst_identity_greet(&dial->f->servers[dial->ps].identity, greeting);
    greeting->role = MST_PEER_WORKER;
    greeting->index = dial->worker;
    greeting->number = 1;
    greeting->data_thread = 0;
}

static void on_up(void *arg, struct mst_peer *peer, const struct mst_msg_greeting_reply *reply)
{
    (void)arg, (void)peer, (void)reply;
}

static void on_refused(void *arg, struct mst_peer *peer, mst_status status, const char *text)
{
    (void)arg, (void)peer, (void)status;
    fail_msg("%s", text);
}

static const struct mst_peer_events dial_events = {.on_greet = on_greet, .on_up = on_up, .on_refused = on_refused};

static bool is_dialled(void *arg)
{
    return mst_peer_is_up(((struct dial *)arg)->peer);
}

static struct dial *dial_server_as(struct fixture *f, uint32_t ps, uint32_t worker)
{
    struct dial *dial = mst_alloc(sizeof *dial);
    *dial = (struct dial){.f = f, .ps = ps, .worker = worker};
    struct mst_peer_config config = {.name = "ps", .address = f->addresses[ps], .events = &dial_events, .arg = dial};
    assert_int_equal(mst_peer_new(f->loop, f->resolver, &config, &dial->peer, NULL), MST_OK);
    mst_peer_start(dial->peer);
    run_until(f->loop, is_dialled, dial);
    return dial;
}

static struct dial *dial_server(struct fixture *f, uint32_t ps)
{
    return dial_server_as(f, ps, WORKER);
}

static void hang_up(struct dial *dial)
{
    mst_peer_free(dial->peer);
    free(dial);
}

static enum mst_body_verdict on_body(void *arg, const struct mst_message *message, struct mst_sink *sink)
{
    struct dial *dial = arg;
    assert_int_equal(message->body_bytes, sizeof dial->floats);
    dial->part = (struct iovec){dial->floats, sizeof dial->floats};
    *sink = (struct mst_sink){&dial->part, 1};
    return MST_BODY_TAKE;
}

static void on_reply(void *arg, const struct mst_reply *reply)
{
    struct dial *dial = arg;
    struct mst_arena arena;
    dial->is_done = true;
    dial->status = reply->status;
    snprintf(dial->text, sizeof dial->text, "%s", reply->text);
    if (reply->status != MST_OK || reply->message->method != MST_METHOD_PUSH)
        return;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    assert_int_equal(mst_msg_push_reply_decode(reply->message->meta, &arena, &dial->reply, NULL), MST_OK);
    mst_arena_fini(&arena);
}

static void send_push(struct dial *dial, uint32_t bucket, uint64_t step)
{
    for (size_t i = 0; i < FLOATS; i++)
        dial->gradient[i] = 0.5f + 0.1f * (float)((step * 7 + bucket * 3 + i) % 11) - 0.6f;
    dial->gradient_part = (struct iovec){dial->gradient, sizeof dial->gradient};
    dial->is_done = false;
    const struct mst_msg_push push = {.bucket = bucket,
                                      .map_term = 1,
                                      .map_epoch = 1,
                                      .worker = dial->worker,
                                      .number = 1,
                                      .step = step,
                                      .lease = 1,
                                      .offset = step};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_push_encode(&push, &meta), MST_OK);
    struct mst_call call = {.method = MST_METHOD_PUSH,
                            .meta = mst_buf_view(&meta),
                            .body = {&dial->gradient_part, 1, NULL, NULL},
                            .on_body = on_body,
                            .on_reply = on_reply,
                            .arg = dial};
    mst_peer_call(dial->peer, &call);
    mst_buf_fini(&meta);
}

static void send_pull(struct dial *dial, uint32_t bucket)
{
    const struct mst_msg_pull pull = {.bucket = bucket, .worker = dial->worker, .number = 1};
    struct mst_buf meta;
    dial->is_done = false;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_pull_encode(&pull, &meta), MST_OK);
    struct mst_call call = {
        .method = MST_METHOD_PULL, .meta = mst_buf_view(&meta), .on_body = on_body, .on_reply = on_reply, .arg = dial};
    mst_peer_call(dial->peer, &call);
    mst_buf_fini(&meta);
}

static bool is_answered(void *arg)
{
    return ((struct dial *)arg)->is_done;
}

static void await(struct dial *dial)
{
    run_until(dial->f->loop, is_answered, dial);
    if (dial->status != MST_OK)
        fail_msg("%s", dial->text);
}

// One step of both buckets, answered.
static void step(struct dial *dial)
{
    struct fixture *f = dial->f;
    f->step++;
    for (uint32_t b = 0; b < N_BUCKETS; b++) {
        send_push(dial, b, f->step);
        await(dial);
        assert_false(dial->reply.is_repeat);
        assert_int_equal(dial->reply.iterations, f->step);
    }
}

static void expect_refused(struct dial *dial, mst_status status, const char *says)
{
    run_until(dial->f->loop, is_answered, dial);
    assert_int_equal(dial->status, status);
    if (!strstr(dial->text, says))
        fail_msg("'%s' does not say '%s'", dial->text, says);
}

// ---- what is there ----

static struct mst_bucket *bucket_of(const struct fixture *f, uint32_t ps, uint32_t bucket)
{
    return f->servers[ps].holding->buckets[bucket];
}

static void expect_same(const struct fixture *f, uint32_t a, uint32_t b)
{
    for (uint32_t i = 0; i < N_BUCKETS; i++) {
        const struct mst_bucket *x = bucket_of(f, a, i);
        const struct mst_bucket *y = bucket_of(f, b, i);
        assert_int_equal(x->n_updates, y->n_updates);
        assert_int_equal(x->current->counter, y->current->counter);
        assert_memory_equal(x->current->floats, y->current->floats, FLOATS * sizeof(float));
        assert_true(x->n_slots == 2 && y->n_slots == 2);
        for (size_t s = 0; s < x->n_slots; s++)
            assert_memory_equal(x->slots->slots[s], y->slots->slots[s], FLOATS * sizeof(float));
        assert_int_equal(mst_bucket_crc32c(x), mst_bucket_crc32c(y));
        assert_true(x->clients.n_rows > WORKER && y->clients.n_rows > WORKER);
        assert_int_equal(x->clients.rows[WORKER].step, y->clients.rows[WORKER].step);
        assert_int_equal(x->clients.rows[WORKER].offset, y->clients.rows[WORKER].offset);
        assert_int_equal(x->clients.fenced[WORKER], y->clients.fenced[WORKER]);
    }
}

static bool is_complete(void *arg)
{
    return mst_holding_status(((const struct server *)arg)->holding).is_complete;
}

static bool is_quiet(void *arg)
{
    return mst_holding_status(((const struct server *)arg)->holding).is_quiet;
}

static bool has_lost(void *arg)
{
    return mst_holding_status(((const struct server *)arg)->holding).lost != MST_NO_PS;
}

// ---- tests ----

static void test_a_backup_has_what_was_answered(void **state)
{
    struct fixture *f = *state;
    give_roles(f, 0, 1, MST_NO_PS);
    struct dial *dial = dial_server(f, 0);
    for (int i = 0; i < 20; i++) {
        step(dial);
        expect_same(f, 0, 1);
    }
    mst_optimizer_set_learning_rate(f->optimizer, 0.125f); // it goes with the operation
    step(dial);
    expect_same(f, 0, 1);
    assert_int_equal(mst_holding_status(f->servers[0].holding).role, MST_REPLICA_PRIMARY);
    assert_int_equal(mst_holding_status(f->servers[1].holding).role, MST_REPLICA_BACKUP);
    hang_up(dial);
}

static void test_what_is_not_primary_says_so(void **state)
{
    struct fixture *f = *state;
    give_roles(f, 0, 1, MST_NO_PS);
    struct dial *dial = dial_server(f, 1);
    send_push(dial, 1, 1);
    expect_refused(dial, MST_ABORTED, "ps-1 is not the primary of bucket 1 (epoch 1.1)");
    send_pull(dial, 0);
    expect_refused(dial, MST_ABORTED, "ps-1 is not the primary of bucket 0 (epoch 1.1)");
    assert_int_equal(bucket_of(f, 1, 1)->n_updates, 0);
    hang_up(dial);
}

static void test_a_dead_primary_is_followed_at_once(void **state)
{
    struct fixture *f = *state;
    give_roles(f, 0, 1, MST_NO_PS);
    struct dial *dial = dial_server(f, 0);
    step(dial);
    step(dial);
    hang_up(dial);
    kill_server(&f->servers[0]);
    dial = dial_server(f, 1);
    give_roles(f, 1, MST_NO_PS, MST_NO_PS);
    send_push(dial, 0, f->step); // the worker does not know whether it was answered
    await(dial);
    assert_true(dial->reply.is_repeat);
    assert_int_equal(bucket_of(f, 1, 0)->n_updates, f->step);
    step(dial);
    hang_up(dial);
}

static void test_a_joiner_is_filled_while_training_goes_on(void **state)
{
    struct fixture *f = *state;
    give_roles(f, 0, 1, MST_NO_PS);
    struct dial *dial = dial_server(f, 0);
    step(dial);
    kill_server(&f->servers[1]);
    give_roles(f, 0, MST_NO_PS, MST_NO_PS);
    step(dial);
    start_server(f, 1, 200, 7);
    give_roles(f, 0, MST_NO_PS, 1);
    for (int i = 0; i < 10 || !is_complete(&f->servers[0]); i++)
        step(dial);
    assert_true(mst_holding_status(f->servers[1].holding).is_swept);
    step(dial);
    expect_same(f, 0, 1);
    give_roles(f, 0, 1, MST_NO_PS);
    step(dial);
    expect_same(f, 0, 1);
    hang_up(dial);
    // And it may be promoted.
    kill_server(&f->servers[0]);
    give_roles(f, 1, MST_NO_PS, MST_NO_PS);
    dial = dial_server(f, 1);
    step(dial);
    hang_up(dial);
}

static void test_a_handover_needs_no_lease_to_run_out(void **state)
{
    struct fixture *f = *state;
    give_roles(f, 0, 1, MST_NO_PS);
    struct dial *dial = dial_server(f, 0);
    step(dial);
    mst_snapshot_mark(&bucket_of(f, 0, 0)->snapshots, 1, bucket_of(f, 0, 0));
    f->roles.groups[GROUP].is_handed_over = true;
    store_and_act(f);
    assert_non_null(mst_snapshot_of(&bucket_of(f, 0, 0)->snapshots, 1));
    send_push(dial, 0, f->step + 1);
    run_until(f->loop, is_quiet, &f->servers[0]);
    assert_false(dial->is_done);
    assert_int_equal(bucket_of(f, 0, 0)->n_updates, f->step);
    give_roles(f, 1, 0, MST_NO_PS);
    assert_null(mst_snapshot_of(&bucket_of(f, 0, 0)->snapshots, 1)); // the chief asks another one from now on
    expect_refused(dial, MST_ABORTED, "ps-0 is not the primary");
    hang_up(dial);
    dial = dial_server(f, 1);
    step(dial);
    step(dial);
    expect_same(f, 0, 1);
    hang_up(dial);
}

struct fenced {
    bool is_done;
    mst_status status;
    unsigned n_rows;
    uint64_t step;
};

static void on_row(void *arg, const struct mst_bucket *bucket, const struct mst_client_row *row)
{
    struct fenced *fenced = arg;
    (void)bucket;
    fenced->n_rows++;
    fenced->step = row->step;
}

static void on_fenced(void *arg, mst_status status, const char *text)
{
    struct fenced *fenced = arg;
    (void)text;
    fenced->is_done = true;
    fenced->status = status;
}

static bool is_fenced(void *arg)
{
    return ((const struct fenced *)arg)->is_done;
}

static void test_a_fence_is_at_the_backup_when_it_is_answered(void **state)
{
    struct fixture *f = *state;
    give_roles(f, 0, 1, MST_NO_PS);
    struct dial *dial = dial_server(f, 0);
    step(dial);
    struct fenced fenced = {0};
    struct mst_holding_fencing fencing = {
        .worker = WORKER, .number = 1, .on_row = on_row, .on_done = on_fenced, .arg = &fenced};
    mst_holding_fence(f->servers[0].holding, &fencing);
    run_until(f->loop, is_fenced, &fenced);
    assert_int_equal(fenced.status, MST_OK);
    assert_true(fenced.n_rows == N_BUCKETS && fenced.step == f->step);
    expect_same(f, 0, 1);
    assert_int_equal(bucket_of(f, 1, 0)->clients.fenced[WORKER], 1);
    send_push(dial, 0, f->step + 1);
    expect_refused(dial, MST_FAILED_PRECONDITION, "refused");
    fenced = (struct fenced){0};
    mst_holding_fence(f->servers[1].holding, &fencing);
    assert_true(fenced.is_done && fenced.status == MST_ABORTED);
    hang_up(dial);
}

static void test_other_values_at_the_same_version_are_found(void **state)
{
    struct fixture *f = *state;
    give_roles(f, 0, 1, MST_NO_PS);
    struct dial *dial = dial_server(f, 0);
    step(dial);
    bucket_of(f, 1, 1)->slots->slots[0][3] += 1;
    while (f->step < MST_CHECKSUM_VERSIONS)
        step(dial);
    run_until(f->loop, has_lost, &f->servers[0]);
    assert_int_equal(mst_holding_status(f->servers[0].holding).lost, 1);
    // Dropped and filled anew it is as it should be, and nothing is held against it.
    give_roles(f, 0, MST_NO_PS, MST_NO_PS);
    give_roles(f, 0, MST_NO_PS, 1);
    while (!is_complete(&f->servers[0]))
        step(dial);
    give_roles(f, 0, 1, MST_NO_PS);
    step(dial);
    expect_same(f, 0, 1);
    assert_false(has_lost(&f->servers[0]));
    hang_up(dial);
}

// Several workers at once, while the connection with the follower breaks again and again.
static void test_broken_links_lose_and_repeat_nothing(void **state)
{
    enum { N_DIALS = 4, N_ROUNDS = 60 };
    struct fixture *f = *state;
    struct dial *dials[N_DIALS];
    give_roles(f, 0, 1, 2);
    for (uint32_t d = 0; d < N_DIALS; d++)
        dials[d] = dial_server_as(f, 0, d);
    for (uint64_t i = 1; i <= N_ROUNDS; i++) {
        for (uint32_t d = 0; d < N_DIALS; d++)
            send_push(dials[d], (uint32_t)(i + d) % N_BUCKETS, i);
        if (i % 3 == 0)
            for (struct link *link = f->servers[0].thread->replicating->links; link; link = link->next)
                mst_peer_break(link->peer, "was cut by the test");
        for (uint32_t d = 0; d < N_DIALS; d++) {
            await(dials[d]);
            assert_false(dials[d]->reply.is_repeat);
        }
        expect_same(f, 0, 1);
    }
    assert_int_equal(bucket_of(f, 0, 0)->n_updates + bucket_of(f, 0, 1)->n_updates, N_DIALS * N_ROUNDS);
    run_until(f->loop, is_complete, &f->servers[0]);
    send_push(dials[0], 0, N_ROUNDS + 1);
    await(dials[0]);
    expect_same(f, 0, 2); // the joiner is waited for as well
    assert_int_equal(f->servers[0].thread->replicating->op_bytes, 0);
    for (uint32_t d = 0; d < N_DIALS; d++)
        hang_up(dials[d]);
}

static bool is_known_at_the_backup(void *arg)
{
    const struct fixture *f = arg;
    const struct mst_client_table *clients = &bucket_of(f, 1, 1)->clients;
    return clients->n_rows > WORKER && clients->rows[WORKER].number == 1 && clients->rows[WORKER].step == 0;
}

// Else a worker that dies in its first step would be one that the new primary never met.
static void test_a_backup_knows_who_pulled(void **state)
{
    struct fixture *f = *state;
    give_roles(f, 0, 1, MST_NO_PS);
    struct dial *dial = dial_server(f, 0);
    send_pull(dial, 1);
    await(dial);
    run_until(f->loop, is_known_at_the_backup, f);
    assert_int_equal(bucket_of(f, 1, 0)->clients.n_rows, 0);
    // More at once than calls fit on the link: some wait.
    struct replication *replication = f->servers[0].holding->replication;
    for (int i = 0; i < 2 * MST_CLIENT_CALLS_MAX; i++) {
        struct mst_msg_op *op = &mst_forwarding_add_op(replication)->meta;
        op->kind = MST_OP_PULLED;
        op->worker = WORKER;
        op->number = 1;
    }
    mst_replication_progress(replication);
    assert_in_range(replication->replicating->links->n_calls, 1, MST_CLIENT_CALLS_MAX - 1);
    step(dial);
    expect_same(f, 0, 1);
    hang_up(dial);
}

static void test_a_pull_waits_for_the_lease(void **state)
{
    struct fixture *f = *state;
    kill_server(&f->servers[1]);
    give_roles(f, 0, 1, MST_NO_PS);
    struct dial *dial = dial_server(f, 0);
    send_pull(dial, 0);
    send_push(dial, 1, 1);
    struct dial *other = dial_server(f, 0); // what came before is in
    assert_false(dial->is_done);
    give_roles(f, 0, MST_NO_PS, MST_NO_PS);
    await(dial);
    hang_up(other);
    hang_up(dial);
}

static void test_a_lost_group_waits_for_its_values(void **state)
{
    struct fixture *f = *state;
    give_roles(f, MST_NO_PS, MST_NO_PS, MST_NO_PS);
    give_roles(f, 0, MST_NO_PS, MST_NO_PS);
    struct dial *dial = dial_server(f, 0);
    send_pull(dial, 0);
    struct dial *other = dial_server(f, 0); // what came before is in
    assert_true(!dial->is_done && mst_holding_awaits_values(f->servers[0].holding));
    mst_holding_restored(f->servers[0].holding);
    await(dial);
    step(dial);
    hang_up(other);
    hang_up(dial);
}

static void test_a_backup_that_was_out_of_reach_is_promoted(void **state)
{
    struct fixture *f = *state;
    give_roles(f, 0, 1, MST_NO_PS);
    struct dial *dial = dial_server(f, 0);
    step(dial);
    hang_up(dial);
    kill_server(&f->servers[0]);
    give_roles(f, MST_NO_PS, 1, MST_NO_PS);
    give_roles(f, 1, MST_NO_PS, MST_NO_PS);
    dial = dial_server(f, 1);
    step(dial); // with what it has: nothing was lost
    hang_up(dial);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_backup_has_what_was_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_not_primary_says_so, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_dead_primary_is_followed_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_joiner_is_filled_while_training_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_handover_needs_no_lease_to_run_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_fence_is_at_the_backup_when_it_is_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_values_at_the_same_version_are_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_broken_links_lose_and_repeat_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_backup_knows_who_pulled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_pull_waits_for_the_lease, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_lost_group_waits_for_its_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_backup_that_was_out_of_reach_is_promoted, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
