// What a worker does with the number that a chief of a few lines gives it: one that cannot be ends it by name, the one
// that says that the job is over is told to no other chief, and signs of life are of the newest.
#include "worker/joining.h"

#include "base/alloc.h"
#include "rpc/server.h"
#include "rpc/service.h"
#include "rpc_frames.h"
#include "rpc_stranger.h"
#include "wire/methods.h"
#include "wire/worker_numbers.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNS_MAX = 8 };

struct fixture {
    struct mst_loop *loop;
    struct mst_resolver *resolver;
    // the chief
    struct mst_server *server;
    struct mst_conn *conns[CONNS_MAX]; // the worker's two, and those of before
    size_t n_conns;
    uint64_t number; // that it gives
    uint64_t held;   // the highest that a greeting said
    uint64_t out;    // … and that is out
    uint64_t beaten; // the last that a sign of life said
    // the worker
    struct mst_identity identity;
    struct mst_joining *joining;
    char address[32];
    size_t n_maps;
    uint64_t admitted;
    bool is_over;
    mst_status status;
    char text[256];
};

// ---- the chief ----

static void on_map_asked(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    const struct mst_msg_map map = {.term = 1, .epoch = 1};
    (void)arg;
    RPC_ANSWER(conn, message, map, &map);
}

static void on_heartbeat(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    const struct mst_msg_heartbeat_reply reply = {.job_state = MST_JOB_RUNNING};
    struct mst_arena arena;
    struct mst_msg_heartbeat heartbeat;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    assert_int_equal(mst_msg_heartbeat_decode(message->meta, &arena, &heartbeat, NULL), MST_OK);
    ((struct fixture *)arg)->beaten = heartbeat.number;
    mst_arena_fini(&arena);
    RPC_ANSWER(conn, message, heartbeat_reply, &reply);
}

static void on_conn_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text)
{
    struct fixture *f = arg;
    (void)status, (void)text;
    for (size_t i = 0; i < f->n_conns; i++)
        if (f->conns[i] == conn)
            f->conns[i] = NULL;
}

static const struct mst_handler handlers[] = {{MST_METHOD_MAP, NULL, on_map_asked},
                                              {MST_METHOD_HEARTBEAT, NULL, on_heartbeat}};
static const struct mst_service service = {handlers, 2, on_conn_closed};

static void on_greeting(void *arg, struct mst_conn *conn, const struct mst_message *message,
                        const struct mst_msg_greeting *greeting)
{
    struct fixture *f = arg;
    f->held = f->held > greeting->held ? f->held : greeting->held;
    f->out = f->out > greeting->number ? f->out : greeting->number;
    const struct mst_msg_greeting_reply reply = {
        .version = MST_WIRE_VERSION, .role = MST_PEER_CHIEF, .number = f->number};
    RPC_ANSWER(conn, message, greeting_reply, &reply);
    mst_service_attach(&service, f, conn);
    assert_true(f->n_conns < CONNS_MAX);
    f->conns[f->n_conns++] = conn;
}

static void hang_up(struct fixture *f)
{
    for (size_t i = 0; i < f->n_conns; i++)
        if (f->conns[i])
            mst_conn_close(f->conns[i]);
    f->n_conns = 0;
}

// ---- the worker ----

static mst_status on_map(void *arg, const struct mst_msg_map *map, struct mst_error *err)
{
    struct fixture *f = arg;
    (void)map, (void)err;
    f->n_maps++;
    return MST_OK;
}

static void on_admitted(void *arg, uint64_t number)
{
    ((struct fixture *)arg)->admitted = number;
}

static void on_over(void *arg, mst_status status, const char *text)
{
    struct fixture *f = arg;
    f->is_over = true;
    f->status = status;
    snprintf(f->text, sizeof f->text, "%s", text);
}

static int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    assert_int_equal(mst_loop_new("all", &f->loop, NULL), MST_OK);
    assert_int_equal(mst_resolver_new(&f->resolver, NULL), MST_OK);
    const struct mst_server_config server = {.on_greeting = on_greeting, .arg = f};
    assert_int_equal(mst_server_new(f->loop, &server, &f->server), MST_OK);
    assert_int_equal(mst_server_listen(f->server, 0, NULL), MST_OK);
    snprintf(f->address, sizeof f->address, "127.0.0.1:%u", mst_server_port(f->server));
    f->identity =
        (struct mst_identity){.job_name = "j", .role = MST_PEER_WORKER, .index = 3, .address = "", .incarnation = 9};
    const struct mst_joining_config config = {
        .identity = &f->identity,
        .loop = f->loop,
        .control = f->loop,
        .resolver = f->resolver,
        .chief_address = f->address,
        .heartbeat_ms = 1000,
        .lease_ms = 60000,
        .absence_ms = 120000,
        .events = {.on_map = on_map, .on_admitted = on_admitted, .on_over = on_over, .arg = f}};
    f->joining = mst_joining_new(&config);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    mst_joining_stop(f->joining);
    mst_joining_free(f->joining);
    hang_up(f);
    mst_server_free(f->server);
    mst_resolver_free(f->resolver);
    mst_loop_free(f->loop);
    free(f);
    return 0;
}

static bool is_over(void *arg)
{
    return ((const struct fixture *)arg)->is_over;
}

static bool has_map(void *arg)
{
    return ((const struct fixture *)arg)->n_maps > 0;
}

static bool is_admitted(void *arg)
{
    const struct fixture *f = arg;
    return f->admitted == f->number;
}

static bool has_beaten(void *arg)
{
    const struct fixture *f = arg;
    return f->beaten == f->number;
}

static void test_a_number_that_cannot_be_ends_it(void **state)
{
    struct fixture *f = *state;
    f->number = MST_NUMBER_MAX + 1;
    mst_joining_start(f->joining);
    run_until(f->loop, is_over, f);
    assert_int_equal(f->status, MST_FAILED_PRECONDITION);
    assert_non_null(strstr(f->text, "worker-3 goes by the number 281474976710656"));
    assert_int_equal(f->n_maps, 0);
    assert_int_equal(mst_joining_number(f->joining), 0);
}

static void test_no_number_is_told_to_nobody(void **state)
{
    struct fixture *f = *state;
    f->number = MST_NO_NUMBER; // its job is over
    mst_joining_start(f->joining);
    run_until(f->loop, has_map, f);
    f->number = 1; // another chief is at the address
    hang_up(f);
    run_until(f->loop, is_admitted, f);
    assert_int_equal(f->held, 0);
    f->number = 2;
    mst_joining_again(f->joining);
    run_until(f->loop, is_admitted, f);
    assert_int_equal(f->held, 1);
    assert_int_equal(f->out, 1);
    assert_false(f->is_over);
}

static void test_signs_of_life_are_of_the_number_that_counts(void **state)
{
    struct fixture *f = *state;
    f->number = 1;
    mst_joining_start(f->joining);
    run_until(f->loop, has_beaten, f);
    run_until(f->loop, has_map, f);
    f->number = 2;
    mst_joining_again(f->joining);
    run_until(f->loop, has_beaten, f); // on its own connection, which nobody closed
    assert_false(f->is_over);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_number_that_cannot_be_ends_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_number_is_told_to_nobody, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_signs_of_life_are_of_the_number_that_counts, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
