// Names to addresses: numeric ones at once, others in the helper thread, unknown ones, and questions nobody waits for.
#include "rpc/resolve.h"

#include "base/alloc.h"
#include "base/error.h"
#include "event/loop.h"
#include "muster/status.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fixture {
    struct mst_loop *loop;
    struct mst_resolver *resolver;
    int n_answers;
    int n_wanted;
    mst_status status;
    char text[128];
    struct mst_socket_address addresses[MST_SOCKET_ADDRESSES_MAX];
    size_t n;
};

static int set_up(void **state)
{
    struct fixture *f = *state = mst_alloc(sizeof *f);
    assert_int_equal(mst_loop_new("names", &f->loop, NULL), MST_OK);
    assert_int_equal(mst_resolver_new(&f->resolver, NULL), MST_OK);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    mst_resolver_free(f->resolver);
    mst_loop_free(f->loop);
    free(f);
    return 0;
}

static void on_resolved(void *arg, mst_status status, const char *text, const struct mst_socket_address *addresses,
                        size_t n)
{
    struct fixture *f = arg;
    f->n_answers++;
    f->status = status;
    f->text[0] = '\0';
    strncat(f->text, text, sizeof f->text - 1);
    f->n = n;
    memcpy(f->addresses, addresses, n * sizeof *addresses);
}

static bool has_answers(void *arg)
{
    struct fixture *f = arg;
    return f->n_answers >= f->n_wanted;
}

static void ask(struct fixture *f, const char *host, uint16_t port)
{
    int before = f->n_answers;
    f->n_wanted = before + 1;
    assert_non_null(mst_resolver_ask(f->resolver, f->loop, host, port, on_resolved, f));
    assert_int_equal(f->n_answers, before); // never from within
    assert_true(mst_loop_run_until(f->loop, has_answers, f, 50000));
}

// Threads of resolvers, by their name.
static size_t n_resolver_threads(void)
{
    size_t n = 0;
    DIR *tasks = opendir("/proc/self/task");
    MST_ASSERT(tasks);
    for (const struct dirent *entry; (entry = readdir(tasks));) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *comm = fopen(path, "re");
        if (!comm)
            continue;
        n += fgets(name, sizeof name, comm) && strcmp(name, "resolver\n") == 0;
        fclose(comm);
    }
    closedir(tasks);
    return n;
}

// Those that were let go while busy, too: else the leak checker takes what libc keeps for them for lost.
static int wait_for_threads(void **state)
{
    (void)state;
    while (n_resolver_threads() > 0)
        sched_yield();
    return 0;
}

static void test_numeric_addresses_take_no_thread(void **state)
{
    struct fixture *f = *state;
    ask(f, "127.0.0.1", 4711);
    assert_int_equal(f->status, MST_OK);
    assert_int_equal(f->n, 1);
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&f->addresses[0].storage;
    assert_int_equal(v4->sin_family, AF_INET);
    assert_int_equal(ntohl(v4->sin_addr.s_addr), INADDR_LOOPBACK);
    assert_int_equal(ntohs(v4->sin_port), 4711);
    assert_int_equal(f->addresses[0].len, sizeof *v4);
    ask(f, "::1", 65535);
    assert_int_equal(f->status, MST_OK);
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&f->addresses[0].storage;
    assert_int_equal(v6->sin6_family, AF_INET6);
    assert_int_equal(ntohs(v6->sin6_port), 65535);
    assert_int_equal(n_resolver_threads(), 0);
}

static void test_a_name_is_looked_up(void **state)
{
    struct fixture *f = *state;
    ask(f, "localhost", 80);
    assert_int_equal(f->status, MST_OK);
    assert_in_range(f->n, 1, MST_SOCKET_ADDRESSES_MAX);
    ask(f, "localhost", 81); // the thread is there already
    assert_int_equal(f->status, MST_OK);
}

static void test_a_name_that_is_none(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"ps-1.no-such-job.invalid", "a name with spaces", "..", ""};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        ask(f, names[i], 80);
        assert_true(f->status == MST_NOT_FOUND || f->status == MST_UNAVAILABLE); // without a network: try again
        assert_int_equal(f->n, 0);
        assert_memory_equal(f->text, "DNS ", 4);
    }
}

static void test_a_cancelled_question_is_not_answered(void **state)
{
    struct fixture *f = *state;
    struct mst_lookup *numeric = mst_resolver_ask(f->resolver, f->loop, "127.0.0.1", 1, on_resolved, f);
    struct mst_lookup *named = mst_resolver_ask(f->resolver, f->loop, "localhost", 1, on_resolved, f);
    struct mst_lookup *unknown = mst_resolver_ask(f->resolver, f->loop, "x.invalid", 1, on_resolved, f);
    mst_lookup_cancel(numeric);
    mst_lookup_cancel(unknown);
    mst_lookup_cancel(named);
    mst_lookup_cancel(NULL);
    ask(f, "localhost", 2); // behind all of them
    assert_int_equal(f->n_answers, 1);
}

static void on_one_resolved(void *arg, mst_status status, const char *text, const struct mst_socket_address *addresses,
                            size_t n)
{
    (void)status;
    (void)text;
    (void)addresses;
    (void)n;
    *(bool *)arg = true;
}

// Some in the thread, some waiting, some answered but not told: whatever the order, nothing leaks or is told later.
static void test_a_resolver_that_goes_forgets(void **state)
{
    struct fixture *f = *state;
    for (int run = 0; run < 50; run++) {
        struct mst_lookup *lookups[4];
        bool is_told[4] = {false};
        for (int i = 0; i < 4; i++)
            lookups[i] = mst_resolver_ask(f->resolver, f->loop, i % 2 ? "localhost" : "127.0.0.1", 1, on_one_resolved,
                                          &is_told[i]);
        if (run % 2)
            mst_loop_poll(f->loop);
        for (int i = 0; i < 4; i++)
            if (!is_told[i])
                mst_lookup_cancel(lookups[i]);
        bool was_told[4];
        memcpy(was_told, is_told, sizeof was_told);
        mst_resolver_free(f->resolver);
        f->resolver = NULL;
        mst_loop_poll(f->loop);
        assert_memory_equal(is_told, was_told, sizeof was_told);
        assert_int_equal(mst_resolver_new(&f->resolver, NULL), MST_OK);
    }
}

static void test_a_loop_that_goes_drops_answers(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++)
        mst_lookup_cancel(mst_resolver_ask(f->resolver, f->loop, "127.0.0.1", 1, on_resolved, f));
    mst_resolver_free(f->resolver);
    mst_resolver_free(NULL);
    f->resolver = NULL;
    mst_loop_free(f->loop);
    f->loop = NULL;
    assert_int_equal(f->n_answers, 0);
}

static void test_splitting_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        const char *host; // NULL: refused
        uint16_t port;
    } rows[] = {
        {"localhost:2222", "localhost", 2222},
        {"ps-1.job.svc.cluster.local:1", "ps-1.job.svc.cluster.local", 1},
        {"10.0.0.7:65535", "10.0.0.7", 65535},
        {"[::1]:80", "::1", 80},
        {"[fe80::1%eth0]:80", "fe80::1%eth0", 80},
        {"localhost", NULL, 0},
        {"localhost:", NULL, 0},
        {":80", NULL, 0},
        {"", NULL, 0},
        {"[]:80", NULL, 0},
        {"h:0", NULL, 0},
        {"h:65536", NULL, 0},
        {"h:99999999999999999999999", NULL, 0},
        {"h:-1", NULL, 0},
        {"h:+1", NULL, 0},
        {"h: 1", NULL, 0},
        {"h:1x", NULL, 0},
        {"h:1 ", NULL, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char host[64];
        uint16_t port;
        struct mst_error err = {.text = ""};
        mst_status status = mst_address_split(rows[i].address, host, sizeof host, &port, &err);
        assert_int_equal(status, rows[i].host ? MST_OK : MST_INVALID_ARGUMENT);
        assert_string_equal(host, rows[i].host ? rows[i].host : "");
        assert_int_equal(port, rows[i].port);
        if (!rows[i].host)
            assert_non_null(strstr(err.text, rows[i].address));
    }
    char small[4];
    uint16_t port;
    assert_int_equal(mst_address_split("abc:1", small, sizeof small, &port, NULL), MST_OK);
    assert_int_equal(mst_address_split("abcd:1", small, sizeof small, &port, NULL), MST_INVALID_ARGUMENT);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    setenv("RES_OPTIONS", "timeout:1 attempts:1", 1); // a machine without a name server answers soon, too
    const struct CMUnitTest tests[] = {
        CASE(test_numeric_addresses_take_no_thread),
        CASE(test_a_name_is_looked_up),
        CASE(test_a_name_that_is_none),
        CASE(test_a_cancelled_question_is_not_answered),
        CASE(test_a_resolver_that_goes_forgets),
        CASE(test_a_loop_that_goes_drops_answers),
        CASE(test_splitting_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, wait_for_threads);
}
