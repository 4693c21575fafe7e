// Synchronous rounds of several replicas, as a worker's connection sees it when another server becomes primary.
#include "ps/replication_private.h"
#include "round_replicas.h"
#include "wire/methods.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

// Sends the first `bytes` of a body of n_floats; releases meta.
static void send_call(struct stranger *worker, uint16_t method, uint64_t call, struct mst_buf *meta, size_t n_floats,
                      size_t bytes)
{
    static const float body[FLOATS];
    uint8_t header[MST_FRAME_HEADER_BYTES];
    struct mst_buf out;
    const struct mst_frame frame = {
        .method = method, .call = call, .meta_bytes = (uint32_t)meta->len, .body_bytes = n_floats * sizeof(float)};
    mst_buf_init(&out, SIZE_MAX / 4);
    mst_frame_encode(&frame, meta->data, header);
    assert_int_equal(mst_buf_append(&out, header, sizeof header), MST_OK);
    assert_int_equal(mst_buf_append(&out, meta->data, meta->len), MST_OK);
    assert_int_equal(mst_buf_append(&out, body, bytes), MST_OK);
    assert_true(stranger_send(worker, out.data, out.len));
    mst_buf_fini(&out);
    mst_buf_fini(meta);
}

static void send_push(struct stranger *worker, uint64_t call, uint32_t bucket, uint64_t round, size_t bytes)
{
    const struct mst_msg_push push = {.bucket = bucket,
                                      .map_term = 1,
                                      .map_epoch = 1,
                                      .number = 1,
                                      .step = round,
                                      .offset = 11, // what worker 0 was dealt, and one
                                      .weight = 1};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_push_encode(&push, &meta), MST_OK);
    send_call(worker, MST_METHOD_PUSH, call, &meta, FLOATS, bytes);
}

static void send_pull(struct stranger *worker, uint64_t call, uint32_t bucket, uint64_t round)
{
    const struct mst_msg_pull pull = {.bucket = bucket, .number = 1, .round = round};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_pull_encode(&pull, &meta), MST_OK);
    send_call(worker, MST_METHOD_PULL, call, &meta, 0, 0);
}

// Worker 0's connection.
static void connect_worker(struct fixture *f, uint32_t ps, struct stranger *worker)
{
    struct mst_msg_greeting greeting;
    struct mst_buf meta;
    stranger_connect(worker, f->loop, f->ports[ps]);
    mst_identity_greet(&f->servers[ps].identity, &greeting);
    greeting.role = MST_PEER_WORKER;
    greeting.index = 0;
    greeting.number = 1;
    greeting.incarnation = 1000;
    greeting.data_thread = 0;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_msg_greeting_encode(&greeting, &meta), MST_OK);
    send_call(worker, MST_METHOD_GREETING, 1, &meta, 0, 0);
    assert_non_null(stranger_read(worker));
}

static void expect_answer(struct stranger *worker, uint64_t call)
{
    const struct mst_message *message = stranger_read(worker);
    assert_non_null(message);
    assert_int_equal(message->flags, MST_FRAME_REPLY);
    assert_int_equal(message->call, call);
    assert_int_equal(message->body_bytes, FLOATS * sizeof(float));
}

static size_t n_waiting(const struct server *server)
{
    return server->thread->clients ? server->thread->clients->n_waiting : 0;
}

static bool has_three_calls(void *arg)
{
    const struct server *server = arg;
    return n_waiting(server) == 2 && server->thread->clients->place;
}

static void test_all_calls_are_refused_when_another_is_primary(void **state)
{
    struct fixture *f = *state;
    struct stranger worker;
    give_roles(f, 0, 1, MST_NO_PS);
    begin(&f->servers[0]);
    connect_worker(f, 0, &worker);
    send_push(&worker, 11, 0, 1, FLOATS * sizeof(float));
    send_pull(&worker, 12, 2, 1);
    send_push(&worker, 13, 1, 1, 8); // the rest of it comes later
    run_until(f->loop, has_three_calls, &f->servers[0]);
    give_roles(f, 1, 0, MST_NO_PS);
    stranger_expect_error(&worker, 11, MST_ABORTED, "ps-0 is not the primary of bucket 0 (epoch 1.2)");
    stranger_expect_error(&worker, 12, MST_ABORTED, "ps-0 is not the primary of bucket 2 (epoch 1.2)");
    stranger_expect_error(&worker, 13, MST_ABORTED, "ps-0 is not the primary of bucket 1 (epoch 1.2)");
    assert_int_equal(n_waiting(&f->servers[0]), 0);
    static const float rest[FLOATS - 2];
    assert_true(stranger_send(&worker, rest, sizeof rest)); // is thrown away
    send_push(&worker, 14, 0, 1, FLOATS * sizeof(float));
    stranger_expect_error(&worker, 14, MST_ABORTED, "ps-0 is not the primary of bucket 0");
    send_pull(&worker, 15, 1, 0);
    stranger_expect_error(&worker, 15, MST_ABORTED, "ps-0 is not the primary of bucket 1");
    assert_false(mst_round_table_holds(&f->servers[0].rounds->table, 0, 0));
    stranger_close(&worker);
}

static bool is_parked(void *arg)
{
    const struct server *server = arg;
    return server->thread->clients && mst_conn_is_parked(server->thread->clients->conn);
}

static bool holds(void *arg)
{
    return mst_round_table_holds(&((const struct server *)arg)->rounds->table, 0, 0);
}

// Roles that name it are stored before they are committed.
static void test_calls_wait_for_a_primary_to_be(void **state)
{
    struct fixture *f = *state;
    struct stranger workers[2];
    struct server *second = &f->servers[1];
    give_roles(f, 0, 1, MST_NO_PS);
    begin(&f->servers[0]);
    run_round(&f->servers[0], 1, half);
    kill_server(&f->servers[0]);
    f->roles.groups[0] = (struct mst_group_roles){.primary = 1, .joiner = MST_NO_PS};
    f->roles.epoch.n++;
    mst_holding_store_roles(second->holding, &f->roles);
    connect_worker(f, 1, &workers[1]);
    send_pull(&workers[1], 21, 0, 1);
    connect_worker(f, 1, &workers[0]);
    send_push(&workers[0], 22, 0, 2, FLOATS * sizeof(float));
    run_until(f->loop, is_parked, second);
    mst_holding_act(second->holding, &f->roles.epoch);
    expect_answer(&workers[1], 21);
    run_until(f->loop, holds, second);
    assert_int_equal(contribute_to(second, 0, 2, 1), MST_OK);
    const struct mst_msg_close close = close_of(2, 0, 1);
    begin_reign(second);
    await_report(second, has_begun_reign, 1, 0);
    order(second, &close, true, half);
    expect_answer(&workers[0], 22);
    send_push(&workers[0], 23, 0, 2, FLOATS * sizeof(float)); // again
    expect_answer(&workers[0], 23);
    stranger_close(&workers[0]);
    stranger_close(&workers[1]);
}

static bool is_waiting_twice(void *arg)
{
    return n_waiting(arg) == 2;
}

// A round that is applied here only is nobody's to know: what comes again waits, as what came first does.
static void test_a_round_that_the_backup_has_not_is_not_told(void **state)
{
    struct fixture *f = *state;
    struct stranger worker;
    struct server *primary = &f->servers[0];
    const struct mst_msg_close close = close_of(1, 0, 1);
    give_roles(f, 0, 1, MST_NO_PS);
    begin(primary);
    connect_worker(f, 0, &worker);
    send_push(&worker, 41, 0, 1, FLOATS * sizeof(float));
    run_until(f->loop, holds, primary);
    assert_int_equal(contribute_to(primary, 0, 1, 1), MST_OK);
    order(primary, &close, false, NULL);
    await_report(primary, has_stored, 1, 0);
    kill_server(&f->servers[1]);
    order(primary, &close, true, half);
    assert_int_equal(primary->rounds->table.applied, 1);
    send_push(&worker, 42, 0, 1, FLOATS * sizeof(float));
    run_until(f->loop, is_waiting_twice, primary);
    assert_int_equal(f->n_heard, 0);
    give_roles(f, 0, MST_NO_PS, MST_NO_PS);
    uint64_t first = stranger_read(&worker)->call;
    assert_int_equal(first + stranger_read(&worker)->call, 41 + 42);
    assert_int_equal(f->n_heard, 1);
    stranger_close(&worker);
}

static bool is_waiting(void *arg)
{
    return n_waiting(arg) == 1;
}

static bool is_quiet(void *arg)
{
    return mst_holding_status(((const struct server *)arg)->holding).is_quiet;
}

// An order that comes while it is handed over is done by nobody; the next primary is asked again.
static void test_an_order_waits_while_it_is_handed_over(void **state)
{
    struct fixture *f = *state;
    struct stranger worker;
    const struct mst_msg_close close = close_of(1, 0, 2);
    struct server *first = &f->servers[0];
    give_roles(f, 0, 1, MST_NO_PS);
    begin(first);
    connect_worker(f, 0, &worker);
    send_pull(&worker, 31, 0, 1);
    run_until(f->loop, is_waiting, first);
    contribute(first, 0, 1);
    contribute(first, 1, 1);
    f->roles.groups[0].is_handed_over = true;
    f->roles.epoch.n++;
    for (uint32_t p = 0; p < N_PS; p++)
        mst_holding_store_roles(f->servers[p].holding, &f->roles);
    for (uint32_t p = 0; p < N_PS; p++)
        mst_holding_act(f->servers[p].holding, &f->roles.epoch);
    order(first, &close, true, half);
    run_until(f->loop, is_quiet, first);
    assert_int_equal(first->rounds->table.stored, 0);
    f->roles.groups[0].is_handed_over = false;
    give_roles(f, 1, 0, MST_NO_PS);
    stranger_expect_error(&worker, 31, MST_ABORTED, "ps-0 is not the primary of bucket 0");
    begin_reign(&f->servers[1]);
    await_report(&f->servers[1], has_begun_reign, 1, 0);
    run_round(&f->servers[1], 1, half);
    expect_as_alone(f, 0);
    expect_as_alone(f, 1);
    stranger_close(&worker);
}

// ---- whoever is promoted in the middle of a sweep ----

static bool has_one_bucket(void *arg)
{
    return ((const struct server *)arg)->holding->replication->replica.n_swept == 1;
}

static bool has_applied_two(void *arg)
{
    return ((const struct server *)arg)->rounds->table.applied == 2;
}

static bool has_stored_two(void *arg)
{
    return ((const struct server *)arg)->rounds->table.stored == 2;
}

// Two backups of ps-0, of which `late` hears nothing more; then ps-0 dies, and ps-1 is primary until ps-2 has one
// bucket of it. What is done in between is the round that only one of them knows of.
static void part_company(struct fixture *f, uint32_t late, bool (*is_there)(void *arg))
{
    struct mst_group_roles *group = &f->roles.groups[0];
    const struct mst_msg_close close = close_of(2, 0, 2);
    give_roles(f, 0, 1, MST_NO_PS);
    group->n_backups = 2;
    group->backups[1] = 2;
    f->roles.epoch.n++;
    for (uint32_t p = 0; p < N_PS; p++)
        mst_holding_store_roles(f->servers[p].holding, &f->roles);
    for (uint32_t p = 0; p < N_PS; p++)
        mst_holding_act(f->servers[p].holding, &f->roles.epoch);
    begin(&f->servers[0]);
    run_round(&f->servers[0], 1, half);
    contribute(&f->servers[0], 0, 2);
    contribute(&f->servers[0], 1, 2);
    if (is_there == has_applied_two) {
        order(&f->servers[0], &close, false, NULL);
        await_report(&f->servers[0], has_stored, 2, 0);
    }
    *group = (struct mst_group_roles){.primary = 1, .joiner = MST_NO_PS, .n_backups = 1, .backups = {2}};
    f->roles.epoch.n++;
    mst_holding_store_roles(f->servers[late].holding, &f->roles);
    order(&f->servers[0], &close, is_there == has_applied_two, half);
    run_until(f->loop, is_there, &f->servers[3 - late]);
    kill_server(&f->servers[0]);
    mst_holding_store_roles(f->servers[3 - late].holding, &f->roles);
    mst_holding_act(f->servers[1].holding, &f->roles.epoch);
    mst_holding_act(f->servers[2].holding, &f->roles.epoch);
    run_until(f->loop, has_one_bucket, &f->servers[2]);
    *group = (struct mst_group_roles){.primary = 2, .joiner = MST_NO_PS};
    f->roles.epoch.n++;
    mst_holding_store_roles(f->servers[2].holding, &f->roles); // takes no more of it
    kill_server(&f->servers[1]);
    assert_int_equal(f->servers[2].holding->replication->replica.n_swept, 1);
    give_roles(f, 2, MST_NO_PS, MST_NO_PS);
    begin_reign(&f->servers[2]);
    await_report(&f->servers[2], has_begun_reign, 1, 0);
    assert_true(has_reported(&f->servers[2], has_applied, 1, 0));
}

// Nobody was told that the round is applied: it is applied where it is not.
static void expect_second_round(struct fixture *f)
{
    const struct mst_msg_close close = close_of(2, 0, 2);
    struct server *last = &f->servers[2];
    assert_true(has_reported(last, has_stored, 2, 0));
    expect_closes(last, 1, true, 2, 0);
    order(last, &close, true, half);
    await_report(last, has_applied, 2, 0);
    apply_alone(f, 2, 2, 0.5);
    expect_as_alone(f, 2);
    run_round(last, 3, half);
    expect_as_alone(f, 2);
}

static void test_half_a_sweep_with_the_round_applied(void **state)
{
    part_company(*state, 2, has_applied_two);
    expect_second_round(*state);
}

static void test_half_a_sweep_of_one_that_was_behind(void **state)
{
    part_company(*state, 1, has_applied_two);
    expect_second_round(*state);
}

static void test_half_a_sweep_with_the_close_stored(void **state)
{
    struct fixture *f = *state;
    part_company(f, 2, has_stored_two);
    assert_true(has_reported(&f->servers[2], has_stored, 1, 0)); // not all buckets have what it comes to
    expect_closes(&f->servers[2], 1, false, 0, 0);
    run_round(&f->servers[2], 2, half);
    expect_as_alone(f, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_calls_are_refused_when_another_is_primary, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_calls_wait_for_a_primary_to_be, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_round_that_the_backup_has_not_is_not_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_half_a_sweep_with_the_round_applied, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_half_a_sweep_of_one_that_was_behind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_half_a_sweep_with_the_close_stored, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_order_waits_while_it_is_handed_over, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
