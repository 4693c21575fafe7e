// One question for newer roles is kept at a chief of a few lines: answered, unanswered, answered with nonsense, asked
// again over a new link.
#include "worker/role_watch.h"

#include "base/alloc.h"
#include "base/log.h"
#include "rpc/server.h"
#include "rpc/service.h"
#include "rpc_stranger.h"
#include "wire/greeting.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

enum { N_PS = 3 };

struct fixture {
    struct mst_loop *loop;
    struct mst_resolver *resolver;
    // the chief
    struct mst_server *server;
    struct mst_conn *conn;
    struct mst_message question; // the one that is kept; its meta is not
    bool has_question;
    struct mst_epoch asked; // what it said is known
    size_t n_questions;
    struct mst_roles roles;
    // who asks
    struct mst_peer *peer;
    struct mst_role_watch watch;
    size_t n_heard;
    struct mst_epoch heard;
    bool stops; // when it hears
};

// ---- the chief ----

static void on_watch_roles(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct fixture *f = arg;
    struct mst_arena arena;
    struct mst_msg_roles_question question;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    assert_int_equal(mst_msg_roles_question_decode(message->meta, &arena, &question, NULL), MST_OK);
    mst_arena_fini(&arena);
    assert_ptr_equal(conn, f->conn);
    assert_false(f->has_question); // never two at once
    f->question = *message;
    f->has_question = true;
    f->asked = (struct mst_epoch){question.term, question.n};
    f->n_questions++;
}

static void on_conn_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text)
{
    struct fixture *f = arg;
    (void)status;
    (void)text;
    assert_ptr_equal(conn, f->conn);
    f->conn = NULL;
}

static const struct mst_handler handlers[] = {{MST_METHOD_WATCH_ROLES, NULL, on_watch_roles}};
static const struct mst_service service = {handlers, 1, on_conn_closed};

static void on_greeting(void *arg, struct mst_conn *conn, const struct mst_message *message,
                        const struct mst_msg_greeting *greeting)
{
    struct fixture *f = arg;
    (void)greeting;
    struct mst_msg_greeting_reply reply = {.version = MST_WIRE_VERSION};
    struct mst_buf meta;
    mst_buf_init(&meta, 1000);
    assert_int_equal(mst_msg_greeting_reply_encode(&reply, &meta), MST_OK);
    mst_conn_reply(conn, message, mst_buf_view(&meta), NULL);
    mst_buf_fini(&meta);
    f->conn = conn;
    mst_service_attach(&service, f, conn);
}

static void answer(struct fixture *f)
{
    struct mst_arena arena;
    struct mst_msg_roles message;
    struct mst_buf meta;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    assert_int_equal(mst_roles_view(&f->roles, &arena, &message), MST_OK);
    assert_int_equal(mst_msg_roles_encode(&message, &meta), MST_OK);
    f->has_question = false;
    mst_conn_reply(f->conn, &f->question, mst_buf_view(&meta), NULL);
    mst_buf_fini(&meta);
    mst_arena_fini(&arena);
}

// ---- who asks ----

static void on_greet(void *arg, struct mst_peer *peer, struct mst_msg_greeting *greeting)
{
    (void)arg;
    (void)peer;
    *greeting = (struct mst_msg_greeting){.min_version = 1, .max_version = 9, .job_name = "job", .address = ""};
}

static void on_up(void *arg, struct mst_peer *peer, const struct mst_msg_greeting_reply *reply)
{
    struct fixture *f = arg;
    (void)peer;
    (void)reply;
    mst_role_watch_up(&f->watch);
}

static const struct mst_peer_events peer_events = {on_greet, on_up, NULL, NULL};

static void on_roles(void *arg, const struct mst_roles *roles)
{
    struct fixture *f = arg;
    assert_ptr_equal(roles, &f->watch.roles);
    f->n_heard++;
    f->heard = roles->epoch;
    if (f->stops)
        mst_role_watch_stop(&f->watch);
}

static bool is_asked(void *arg)
{
    const struct fixture *f = arg;
    return f->has_question;
}

static bool has_heard(void *arg)
{
    const struct fixture *f = arg;
    return f->n_heard > 0;
}

static void start(struct fixture *f)
{
    struct mst_arena arena;
    struct mst_msg_roles message;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    assert_int_equal(mst_roles_view(&f->roles, &arena, &message), MST_OK);
    assert_int_equal(mst_role_watch_take(&f->watch, &message, NULL), MST_OK);
    mst_arena_fini(&arena);
    mst_role_watch_start(&f->watch, f->peer);
    run_until(f->loop, is_asked, f);
    assert_int_equal(f->asked.term, 2);
    assert_int_equal(f->asked.n, 1);
}

static int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    assert_int_equal(mst_log_set_filter("all=error", NULL), MST_OK);
    assert_int_equal(mst_loop_new("watch", &f->loop, NULL), MST_OK);
    assert_int_equal(mst_resolver_new(&f->resolver, NULL), MST_OK);
    struct mst_server_config config = {.on_greeting = on_greeting, .arg = f};
    assert_int_equal(mst_server_new(f->loop, &config, &f->server), MST_OK);
    assert_int_equal(mst_server_listen(f->server, 0, NULL), MST_OK);
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%u", mst_server_port(f->server));
    struct mst_peer_config peer = {.name = "chief", .address = address, .events = &peer_events, .arg = f};
    assert_int_equal(mst_peer_new(f->loop, f->resolver, &peer, &f->peer, NULL), MST_OK);
    mst_role_watch_init(&f->watch, f->loop, on_roles, f);
    mst_peer_start(f->peer);
    mst_roles_init(&f->roles, N_PS, 1);
    f->roles.epoch = (struct mst_epoch){2, 1};
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    mst_role_watch_stop(&f->watch);
    mst_role_watch_fini(&f->watch);
    mst_peer_free(f->peer);
    mst_conn_close(f->conn);
    mst_server_free(f->server);
    mst_roles_fini(&f->roles);
    mst_resolver_free(f->resolver);
    mst_loop_free(f->loop);
    free(f);
    return 0;
}

// ---- tests ----

static void test_newer_roles_are_told_and_asked_for_again(void **state)
{
    struct fixture *f = *state;
    start(f);
    f->roles.epoch.n = 4;
    f->roles.groups[0].primary = 1;
    f->roles.groups[0].n_backups = 0;
    answer(f);
    run_until(f->loop, is_asked, f);
    assert_int_equal(f->n_heard, 1);
    assert_int_equal(f->heard.n, 4);
    assert_int_equal(f->watch.roles.groups[0].primary, 1);
    assert_int_equal(f->asked.n, 4);
}

static void test_a_higher_term_is_newer(void **state)
{
    struct fixture *f = *state;
    start(f);
    f->roles.epoch = (struct mst_epoch){3, 0};
    answer(f);
    run_until(f->loop, has_heard, f);
    assert_int_equal(f->heard.term, 3);
}

static void test_a_new_link_asks_again(void **state)
{
    struct fixture *f = *state;
    start(f);
    for (size_t round = 0; round < 2; round++) { // lost by the chief, then given up by us, which tells no call
        f->has_question = false;
        if (round == 0) {
            mst_conn_close(f->conn);
            f->conn = NULL;
        } else {
            mst_peer_retry(f->peer, "given up");
        }
        run_until(f->loop, is_asked, f);
    }
    assert_int_equal(f->n_questions, 3);
    f->roles.epoch.n++;
    answer(f);
    run_until(f->loop, has_heard, f);
}

static void test_roles_that_are_not_newer_are_not_told(void **state)
{
    struct fixture *f = *state;
    start(f);
    answer(f); // the same
    run_until(f->loop, is_asked, f);
    f->roles.epoch = (struct mst_epoch){1, 9};
    answer(f); // older
    run_until(f->loop, is_asked, f);
    assert_int_equal(f->n_heard, 0);
    assert_int_equal(f->watch.roles.epoch.term, 2);
}

static void test_nonsense_is_asked_for_again(void **state)
{
    struct fixture *f = *state;
    start(f);
    f->has_question = false;
    mst_conn_reply(f->conn, &f->question, (struct mst_bytes){"\xff\xff\xff", 3}, NULL);
    run_until(f->loop, is_asked, f);
    f->has_question = false;
    mst_conn_reply_error(f->conn, &f->question, MST_INTERNAL, "no roles");
    run_until(f->loop, is_asked, f);
    assert_int_equal(f->n_heard, 0);
}

static void test_who_hears_may_stop_it(void **state)
{
    struct fixture *f = *state;
    start(f);
    f->stops = true;
    f->roles.epoch.n++;
    answer(f);
    run_until(f->loop, has_heard, f);
    for (int i = 0; i < 10; i++)
        mst_loop_poll(f->loop);
    assert_false(f->has_question);
}

static void test_without_start_nothing_is_asked(void **state)
{
    struct fixture *f = *state;
    while (!mst_peer_is_up(f->peer))
        mst_loop_poll(f->loop);
    for (int i = 0; i < 10; i++)
        mst_loop_poll(f->loop);
    assert_int_equal(f->n_questions, 0);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_newer_roles_are_told_and_asked_for_again),
        CASE(test_a_higher_term_is_newer),
        CASE(test_a_new_link_asks_again),
        CASE(test_roles_that_are_not_newer_are_not_told),
        CASE(test_nonsense_is_asked_for_again),
        CASE(test_who_hears_may_stop_it),
        CASE(test_without_start_nothing_is_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
