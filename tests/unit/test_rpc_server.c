// A listening port: greetings in time, late, wrong or never; limits; and connections handed to another loop.
#include "rpc/server.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "muster/status.h"
#include "rpc/service.h"
#include "rpc_stranger.h"
#include "wire/greeting.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
    struct mst_loop *loop;
    struct mst_loop *data_loop; // NULL: serve where it came in
    struct mst_server *server;
    bool keeps; // on_greeting only keeps the connection
    struct mst_conn *kept;
    uint64_t kept_call;
    size_t n_greeted;
    size_t n_closed; // of those served
    size_t n_wanted;
    char job[32];
};

static void on_pull(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    (void)arg;
    mst_conn_reply(conn, message, message->meta, NULL);
}

static void on_served_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text)
{
    (void)conn;
    (void)status;
    (void)text;
    ((struct fixture *)arg)->n_closed++;
}

static const struct mst_handler handlers[] = {{MST_METHOD_PULL, NULL, on_pull}};
static const struct mst_service service = {handlers, 1, on_served_closed};

static void accept_greeting(struct mst_conn *conn, const struct mst_message *message)
{
    struct mst_buf meta;
    mst_buf_init(&meta, 1000);
    struct mst_msg_greeting_reply reply = {.version = MST_WIRE_VERSION};
    assert_int_equal(mst_msg_greeting_reply_encode(&reply, &meta), MST_OK);
    mst_conn_reply(conn, message, mst_buf_view(&meta), NULL);
    mst_buf_fini(&meta);
}

struct arrival {
    struct fixture *f;
    struct mst_conn *conn;
};

static void on_arrival(void *arg)
{
    struct arrival *arrival = arg;
    mst_conn_attach(arrival->conn, arrival->f->data_loop);
    mst_service_attach(&service, arrival->f, arrival->conn);
    free(arrival);
}

static void on_greeting(void *arg, struct mst_conn *conn, const struct mst_message *message,
                        const struct mst_msg_greeting *greeting)
{
    struct fixture *f = arg;
    f->n_greeted++;
    f->job[0] = '\0';
    strncat(f->job, greeting->job_name, sizeof f->job - 1);
    if (f->keeps) {
        f->kept = conn;
        f->kept_call = message->call;
        return;
    }
    if (strcmp(greeting->job_name, "other") == 0) {
        mst_conn_reply_error(conn, message, MST_FAILED_PRECONDITION, "another job");
        mst_conn_close_flushed(conn);
        return;
    }
    accept_greeting(conn, message);
    if (!f->data_loop) {
        mst_service_attach(&service, f, conn);
        return;
    }
    struct arrival *arrival = mst_alloc(sizeof *arrival);
    *arrival = (struct arrival){f, conn};
    mst_conn_detach(conn);
    mst_loop_post(f->data_loop, on_arrival, arrival);
}

static void start(struct fixture *f, size_t max_connections, uint64_t greeting_ms)
{
    struct mst_server_config config = {
        .max_connections = max_connections, .greeting_ms = greeting_ms, .on_greeting = on_greeting, .arg = f};
    assert_int_equal(mst_server_new(f->loop, &config, &f->server), MST_OK);
    assert_int_equal(mst_server_port(f->server), 0);
    assert_int_equal(mst_server_listen(f->server, 0, NULL), MST_OK);
    assert_int_not_equal(mst_server_port(f->server), 0);
}

static int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    return mst_loop_new("server", &f->loop, NULL) == MST_OK && mst_log_set_filter("all=error", NULL) == MST_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    mst_server_free(f->server);
    mst_loop_free(f->loop);
    free(f);
    return 0;
}

static void join(struct fixture *f, struct stranger *stranger)
{
    stranger_connect(stranger, f->loop, mst_server_port(f->server));
}

static void greet(struct stranger *stranger, const char *job)
{
    struct mst_buf meta;
    mst_buf_init(&meta, 1 << 20);
    struct mst_msg_greeting greeting = {.min_version = 1, .max_version = 1, .job_name = job, .role = MST_PEER_WORKER};
    assert_int_equal(mst_msg_greeting_encode(&greeting, &meta), MST_OK);
    struct mst_frame head = {.method = MST_METHOD_GREETING, .call = 1};
    stranger_send_frame(stranger, &head, mst_buf_view(&meta), 0);
    mst_buf_fini(&meta);
}

static void pull(struct stranger *stranger, uint64_t call)
{
    struct mst_frame head = {.method = MST_METHOD_PULL, .call = call};
    stranger_send_frame(stranger, &head, (struct mst_bytes){"meta", 4}, 0);
}

static void expect_reply(struct stranger *stranger, uint64_t call)
{
    const struct mst_message *message = stranger_read(stranger);
    assert_non_null(message);
    assert_int_equal(message->flags, MST_FRAME_REPLY);
    assert_int_equal(message->call, call);
}

static int64_t n_refused(void)
{
    return mst_metric_read(mst_metric_counter("muster_rpc_connections_refused_total", "", NULL));
}

static bool has_closed(void *arg)
{
    struct fixture *f = arg;
    return f->n_closed >= f->n_wanted;
}

static bool has_connections(void *arg)
{
    struct fixture *f = arg;
    return mst_server_n_connections(f->server) == f->n_wanted;
}

static bool has_greeted(void *arg)
{
    struct fixture *f = arg;
    return f->n_greeted >= f->n_wanted;
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

static void wait_for(struct fixture *f, bool (*done)(void *arg), size_t n)
{
    f->n_wanted = n;
    run_until(f->loop, done, f);
}

// ---- greetings ----

static void test_a_greeting_and_what_follows_at_once(void **state)
{
    struct fixture *f = *state;
    struct stranger stranger;
    start(f, 0, 0);
    join(f, &stranger);
    greet(&stranger, "mnist");
    pull(&stranger, 2); // without waiting for the answer
    expect_reply(&stranger, 1);
    expect_reply(&stranger, 2);
    assert_string_equal(f->job, "mnist");
    assert_int_equal(mst_server_n_connections(f->server), 1);
    stranger_close(&stranger);
    wait_for(f, has_closed, 1);
    wait_for(f, has_connections, 0);
}

static void test_an_answer_may_take_its_time(void **state)
{
    struct fixture *f = *state;
    struct stranger stranger;
    f->keeps = true;
    start(f, 0, 20);
    join(f, &stranger);
    greet(&stranger, "mnist");
    pull(&stranger, 2);
    wait_for(f, has_greeted, 1);
    assert_false(mst_loop_run_until(f->loop, never, NULL, 50)); // longer than a greeting may take: it has come
    struct mst_message message = {.method = MST_METHOD_GREETING, .call = f->kept_call};
    accept_greeting(f->kept, &message);
    mst_service_attach(&service, f, f->kept);
    expect_reply(&stranger, 1);
    expect_reply(&stranger, 2);
    stranger_close(&stranger);
    wait_for(f, has_closed, 1);
}

static void test_refused_by_the_owner(void **state)
{
    struct fixture *f = *state;
    struct stranger stranger;
    start(f, 0, 0);
    join(f, &stranger);
    greet(&stranger, "other");
    stranger_expect_error(&stranger, 1, MST_FAILED_PRECONDITION, "another job");
    stranger_expect_end(&stranger);
    stranger_close(&stranger);
    wait_for(f, has_connections, 0);
}

static void test_no_greeting_in_time(void **state)
{
    struct fixture *f = *state;
    struct stranger silent, slow;
    int64_t before = n_refused();
    start(f, 0, 50);
    join(f, &silent);
    join(f, &slow);
    // One says nothing; the other trickles a valid header for ever.
    uint8_t header[MST_FRAME_HEADER_BYTES];
    struct mst_frame head = {.method = MST_METHOD_GREETING, .meta_bytes = 1};
    mst_frame_encode(&head, "x", header);
    assert_true(stranger_send(&slow, header, sizeof header));
    stranger_expect_end(&silent);
    stranger_expect_end(&slow);
    stranger_close(&silent);
    stranger_close(&slow);
    wait_for(f, has_connections, 0);
    assert_int_equal(n_refused(), before + 2);
    assert_int_equal(f->n_greeted, 0);
}

static void test_what_comes_before_a_greeting(void **state)
{
    struct fixture *f = *state;
    start(f, 0, 0);
    static const char garbage[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS client hello ...";
    for (int kind = 0; kind < 7; kind++) {
        struct stranger stranger;
        int64_t before = n_refused();
        join(f, &stranger);
        struct mst_frame head = {.method = MST_METHOD_GREETING, .call = 3};
        static uint8_t meta[20000];
        mst_status status = MST_OK;
        size_t body_bytes = 0, meta_bytes = 0;
        switch (kind) {
        case 0: // garbage is not answered
            assert_true(stranger_send(&stranger, garbage, sizeof garbage - 1));
            break;
        case 1:
            head.method = MST_METHOD_PUSH;
            status = MST_FAILED_PRECONDITION;
            break;
        case 2:
            body_bytes = 100;
            status = MST_FAILED_PRECONDITION;
            break;
        case 3: // more meta than a greeting may have
            meta_bytes = sizeof meta;
            status = MST_RESOURCE_EXHAUSTED;
            break;
        case 4: // meta that is no greeting
            meta[0] = 0x1a;
            meta[1] = 0x7f;
            meta_bytes = 5;
            status = MST_INVALID_ARGUMENT;
            break;
        case 5: // a reply to nobody
            head.flags = MST_FRAME_REPLY;
            status = MST_FAILED_PRECONDITION;
            break;
        default: // a push with its body
            head.method = MST_METHOD_PUSH;
            body_bytes = 5000;
            status = MST_FAILED_PRECONDITION;
        }
        if (kind > 0) {
            stranger_send_frame(&stranger, &head, (struct mst_bytes){meta, meta_bytes}, body_bytes);
            stranger_expect_error(&stranger, 3, status, "");
        }
        stranger_expect_end(&stranger);
        stranger_close(&stranger);
        wait_for(f, has_connections, 0);
        assert_int_equal(n_refused(), before + 1);
    }
    assert_int_equal(f->n_greeted, 0);
}

// ---- limits ----

static void test_too_many_connections(void **state)
{
    struct fixture *f = *state;
    struct stranger strangers[3], fourth;
    int64_t before = n_refused();
    start(f, 3, 0);
    for (size_t i = 0; i < 3; i++)
        join(f, &strangers[i]);
    wait_for(f, has_connections, 3);
    join(f, &fourth);
    stranger_expect_end(&fourth);
    stranger_close(&fourth);
    assert_int_equal(n_refused(), before + 1);
    greet(&strangers[1], "mnist"); // the others are unharmed
    expect_reply(&strangers[1], 1);
    stranger_close(&strangers[0]);
    wait_for(f, has_connections, 2);
    join(f, &fourth); // there is room again
    greet(&fourth, "mnist");
    expect_reply(&fourth, 1);
    stranger_close(&fourth);
    stranger_close(&strangers[1]);
    stranger_close(&strangers[2]);
    wait_for(f, has_connections, 0);
}

// Counts lines of the log that hold a text.
static size_t count_lines(int fd, const char *says)
{
    off_t size = lseek(fd, 0, SEEK_END);
    assert_true(size >= 0);
    char *text = mst_alloc((size_t)size + 1);
    assert_int_equal(pread(fd, text, (size_t)size, 0), size);
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, says)); at++)
        n++;
    free(text);
    return n;
}

static void test_a_flood_does_not_fill_the_log(void **state)
{
    struct fixture *f = *state;
    int fd = memfd_create("log", MFD_CLOEXEC);
    mst_log_set_fd(fd);
    assert_int_equal(mst_log_set_filter("", NULL), MST_OK);
    int64_t before = n_refused();
    start(f, 0, 0);
    for (size_t i = 0; i < 200; i++) {
        struct stranger stranger;
        join(f, &stranger);
        assert_true(stranger_send(&stranger, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 35));
        stranger_expect_end(&stranger);
        stranger_close(&stranger);
    }
    mst_log_set_fd(2);
    assert_int_equal(n_refused(), before + 200);
    size_t n_lines = count_lines(fd, "connection refused");
    assert_in_range(n_lines, 1, 50); // five a second
    assert_int_equal(count_lines(fd, "peer=127.0.0.1:") + count_lines(fd, "peer=::ffff:127.0.0.1:"), n_lines);
    close(fd);
}

static void test_no_descriptors_for_a_while(void **state)
{
    struct fixture *f = *state;
    struct rlimit before, none;
    struct stranger stranger;
    start(f, 0, 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    join(f, &stranger);
    int last = dup(0);
    none = before;
    none.rlim_cur = (rlim_t)last + 1; // all below are taken, or are by the next line
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    while (dup(0) >= 0)
        continue;
    greet(&stranger, "mnist");
    int64_t refused = n_refused();
    for (int i = 0; i < 20; i++)
        mst_loop_poll(f->loop); // cannot accept, and must not spin or die
    assert_in_range(n_refused() - refused, 1, 2);
    assert_int_equal(f->n_greeted, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    expect_reply(&stranger, 1);
    stranger_close(&stranger);
    wait_for(f, has_closed, 1);
}

// ---- handing over, and the end ----

static void test_a_connection_handed_to_another_loop(void **state)
{
    struct fixture *f = *state;
    struct stranger stranger;
    assert_int_equal(mst_loop_new("data", &f->data_loop, NULL), MST_OK);
    assert_int_equal(mst_loop_thread_start(f->data_loop, NULL), MST_OK);
    start(f, 1, 0);
    join(f, &stranger);
    greet(&stranger, "mnist");
    for (uint64_t call = 2; call < 50; call++)
        pull(&stranger, call);
    for (uint64_t call = 1; call < 50; call++)
        expect_reply(&stranger, call);
    assert_int_equal(mst_server_n_connections(f->server), 1); // counted where it went, too
    struct stranger second;
    join(f, &second);
    stranger_expect_end(&second);
    stranger_close(&second);
    // The port goes, the connection stays.
    mst_server_free(f->server);
    f->server = NULL;
    pull(&stranger, 50);
    expect_reply(&stranger, 50);
    stranger_close(&stranger);
    mst_loop_stop(f->data_loop);
    mst_loop_thread_join(f->data_loop);
    while (f->n_closed == 0)
        mst_loop_poll(f->data_loop);
    mst_loop_free(f->data_loop);
}

static void test_the_server_goes(void **state)
{
    struct fixture *f = *state;
    struct stranger guest, served;
    start(f, 0, 0);
    join(f, &guest);
    join(f, &served);
    greet(&served, "mnist");
    expect_reply(&served, 1);
    wait_for(f, has_connections, 2);
    uint16_t port = mst_server_port(f->server);
    mst_server_stop_listening(f->server);
    mst_server_stop_listening(f->server);
    assert_int_equal(mst_server_port(f->server), 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    MST_ASSERT(fd >= 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_not_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    greet(&guest, "mnist"); // what is open stays
    expect_reply(&guest, 1);
    struct stranger another;
    assert_int_equal(mst_server_listen(f->server, 0, NULL), MST_OK); // and it may listen again
    join(f, &another);
    wait_for(f, has_connections, 3);
    mst_server_free(f->server);
    f->server = NULL;
    mst_server_free(NULL);
    stranger_expect_end(&another); // had not greeted
    pull(&served, 2);
    expect_reply(&served, 2);
    stranger_close(&another);
    stranger_close(&served);
    stranger_close(&guest);
    wait_for(f, has_closed, 2);
}

static void test_a_port_in_use(void **state)
{
    struct fixture *f = *state;
    start(f, 0, 0);
    struct mst_server_config config = {.on_greeting = on_greeting, .arg = f};
    struct mst_server *second;
    struct mst_error err;
    char says[32];
    assert_int_equal(mst_server_new(f->loop, &config, &second), MST_OK);
    assert_int_equal(mst_server_listen(second, mst_server_port(f->server), &err), MST_UNAVAILABLE);
    snprintf(says, sizeof says, "port %u is in use", mst_server_port(f->server));
    assert_non_null(strstr(err.text, says));
    mst_server_free(second);
}

static void test_a_socket_from_the_parent(void **state)
{
    struct fixture *f = *state;
    struct mst_server_config config = {.on_greeting = on_greeting, .arg = f};
    struct stranger stranger;
    struct mst_error err;
    assert_int_equal(mst_server_new(f->loop, &config, &f->server), MST_OK);
    int udp = socket(AF_INET, SOCK_DGRAM, 0), idle = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(mst_server_listen_fd(f->server, udp, &err), MST_INVALID_ARGUMENT);
    assert_int_equal(mst_server_listen_fd(f->server, idle, &err), MST_INVALID_ARGUMENT); // it does not listen
    assert_int_equal(mst_server_listen_fd(f->server, 9999, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "9999"));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    MST_ASSERT(fd >= 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(mst_server_listen_fd(f->server, fd, NULL), MST_OK);
    join(f, &stranger);
    greet(&stranger, "mnist");
    expect_reply(&stranger, 1);
    stranger_close(&stranger);
    wait_for(f, has_closed, 1);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_a_greeting_and_what_follows_at_once),
        CASE(test_an_answer_may_take_its_time),
        CASE(test_refused_by_the_owner),
        CASE(test_no_greeting_in_time),
        CASE(test_what_comes_before_a_greeting),
        CASE(test_too_many_connections),
        CASE(test_a_flood_does_not_fill_the_log),
        CASE(test_no_descriptors_for_a_while),
        CASE(test_a_connection_handed_to_another_loop),
        CASE(test_the_server_goes),
        CASE(test_a_port_in_use),
        CASE(test_a_socket_from_the_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
