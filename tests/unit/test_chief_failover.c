// Who is primary and backup, from the chief's side: with servers that store and act as told, one rule at a time.
#include "chief/failover.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_MAX = 4, PATIENCE_MS = 3000 };

// A server as far as the chief's rules see it.
struct server {
    uint64_t incarnation;
    bool is_up;
    bool is_deaf; // gets nothing that is sent
    bool is_counting;
    struct mst_roles stored;
    struct mst_epoch acting;
    bool is_filled; // as a joiner, by its primary
    bool wants_drain;
    bool has_lost[N_MAX];
};

static struct mst_failover failover;
static struct server servers[N_MAX];
static size_t n_servers;
static uint64_t now_ms;

static void start(size_t n_ps, size_t n_replicas)
{
    struct mst_failover_config config = {.n_ps = n_ps, .n_replicas = n_replicas, .patience_ms = PATIENCE_MS};
    mst_failover_init(&failover, &config);
    memset(servers, 0, sizeof servers);
    n_servers = n_ps;
    now_ms = 1000;
}

static void end(void)
{
    for (size_t i = 0; i < n_servers; i++)
        mst_roles_fini(&servers[i].stored);
    mst_failover_fini(&failover);
}

static void come_up(size_t ps)
{
    servers[ps].is_up = true;
    mst_failover_up(&failover, ps, servers[ps].incarnation, now_ms);
}

// Starts (again), with nothing.
static void start_server(size_t ps)
{
    uint64_t incarnation = servers[ps].incarnation ? servers[ps].incarnation + 1 : 100 * (ps + 1);
    mst_roles_fini(&servers[ps].stored);
    servers[ps] = (struct server){.incarnation = incarnation};
    come_up(ps);
}

static void die(size_t ps, enum mst_failover_death how)
{
    servers[ps].is_up = false;
    mst_failover_dead(&failover, ps, how, now_ms);
}

static void read_server(size_t ps)
{
    const struct server *server = &servers[ps];
    struct mst_failover_memory memory = {server->stored.n_ps ? &server->stored : NULL, server->is_counting};
    mst_failover_read(&failover, ps, server->incarnation, &memory);
}

// It says how it stands; all handovers are quiet at once, and joiners complete when they are filled.
static void report(size_t ps)
{
    struct server *server = &servers[ps];
    struct mst_msg_group_status groups[N_MAX];
    memset(groups, 0, sizeof groups);
    for (uint32_t g = 0; g < n_servers; g++) {
        enum mst_replica_role role = mst_roles_of(&server->stored, g, (uint32_t)ps);
        uint32_t joiner = server->stored.n_ps ? server->stored.groups[g].joiner : MST_NO_PS;
        groups[g] = (struct mst_msg_group_status){.group = g, .role = role};
        groups[g].is_swept = role == MST_REPLICA_JOINER && server->is_filled;
        groups[g].is_complete = role == MST_REPLICA_PRIMARY && joiner != MST_NO_PS && servers[joiner].is_filled;
        groups[g].is_quiet = role == MST_REPLICA_PRIMARY && server->stored.groups[g].is_handed_over;
        for (uint32_t i = 0; role == MST_REPLICA_PRIMARY && i < n_servers; i++)
            if (server->has_lost[i] && mst_roles_of(&server->stored, g, i) != MST_REPLICA_NONE) {
                groups[g].has_lost = true;
                groups[g].lost = i;
            }
    }
    struct mst_msg_roles_reply reply = {.stored_term = server->stored.epoch.term,
                                        .stored_n = server->stored.epoch.n,
                                        .acting_term = server->acting.term,
                                        .acting_n = server->acting.n,
                                        .n_groups = n_servers,
                                        .groups = groups,
                                        .wants_drain = server->wants_drain};
    mst_failover_heard(&failover, ps, server->incarnation, &reply, now_ms);
}

static bool deliver(size_t ps)
{
    struct server *server = &servers[ps];
    bool is_committed;
    const struct mst_roles *roles = mst_failover_to_send(&failover, ps, &is_committed);
    if (!roles || !server->is_up || server->is_deaf)
        return false;
    mst_roles_copy(&server->stored, roles);
    if (is_committed) {
        server->acting = roles->epoch;
        server->is_counting |= roles->incarnations[ps] == server->incarnation;
    }
    report(ps);
    return true;
}

// Until nothing happens any more.
static void settle(void)
{
    for (bool is_moving = true; is_moving;) {
        is_moving = false;
        for (size_t i = 0; i < n_servers; i++)
            if (servers[i].is_up && !servers[i].is_deaf)
                report(i);
        while (mst_failover_advance(&failover, now_ms))
            is_moving = true;
        for (size_t i = 0; i < n_servers; i++)
            is_moving |= deliver(i);
    }
}

// A job in its first run: all servers are there, and act on the first roles.
static void start_job(size_t n_ps, size_t n_replicas)
{
    start(n_ps, n_replicas);
    mst_failover_begin(&failover, 1);
    for (size_t i = 0; i < n_ps; i++) {
        start_server(i);
        read_server(i);
    }
    settle();
}

static void fill(size_t ps)
{
    servers[ps].is_filled = true;
    settle();
}

static void assert_roles(const char *expected)
{
    const struct mst_roles *roles = mst_failover_committed(&failover);
    assert_non_null(roles);
    char *text = mst_roles_text(roles);
    assert_string_equal(strchr(text, ':') + 2, expected);
    free(text);
}

static void assert_waits_for(const char *expected)
{
    char text[512];
    mst_failover_describe(&failover, text, sizeof text);
    assert_string_equal(text, expected);
}

static void test_without_replicas_every_group_stays_at_home(void **state)
{
    (void)state;
    start(2, 0);
    mst_failover_begin(&failover, 1);
    for (size_t i = 0; i < 2; i++)
        start_server(i);
    die(1, MST_FAILOVER_GONE);
    start_server(1);
    settle();
    bool is_committed;
    assert_null(mst_failover_to_send(&failover, 1, &is_committed));
    assert_int_equal(mst_failover_primary(&failover, 1), 1);
    assert_false(mst_failover_is_full(&failover));
    assert_waits_for("");
    end();
}

static void test_a_job_begins_when_all_are_read_and_have_stored(void **state)
{
    (void)state;
    start(3, 1);
    mst_failover_begin(&failover, 1);
    for (size_t i = 0; i < 3; i++)
        start_server(i);
    read_server(0);
    read_server(1);
    settle();
    assert_null(mst_failover_committed(&failover));
    assert_waits_for("ps-2 to say what an earlier chief left");
    read_server(2);
    servers[1].is_deaf = true;
    settle();
    assert_null(mst_failover_committed(&failover));
    assert_waits_for("ps-1 to store the new roles");
    servers[1].is_deaf = false;
    settle();
    assert_roles("ps-0 > ps-1, ps-1 > ps-2, ps-2 > ps-0");
    assert_true(mst_failover_is_full(&failover));
    end();
}

static void test_a_backup_takes_a_dead_primarys_place_and_the_home_gets_it_back(void **state)
{
    (void)state;
    start_job(2, 1);
    die(0, MST_FAILOVER_GONE);
    settle();
    assert_roles("ps-1, ps-1");
    assert_false(mst_failover_is_full(&failover));
    start_server(0);
    settle();
    assert_roles("ps-1 + ps-0, ps-1 + ps-0");
    assert_false(mst_failover_is_full(&failover));
    fill(0);
    assert_roles("ps-0 > ps-1, ps-1 > ps-0");
    assert_true(mst_failover_is_full(&failover));
    end();
}

static void test_a_change_is_full_again_only_when_all_act_on_it(void **state)
{
    (void)state;
    start_job(3, 1);
    servers[2].wants_drain = true;
    report(2);
    assert_false(mst_failover_is_full(&failover)); // from now on
    assert_true(mst_failover_advance(&failover, now_ms));
    bool is_committed;
    assert_non_null(mst_failover_to_send(&failover, 0, &is_committed));
    assert_false(is_committed);
    assert_false(mst_failover_is_full(&failover));
    end();
}

static void test_a_live_server_that_has_not_stored_holds_a_commit_back_until_it_is_dead(void **state)
{
    (void)state;
    start_job(3, 1);
    servers[1].is_deaf = true;
    die(0, MST_FAILOVER_GONE);
    settle();
    assert_roles("ps-0 > ps-1, ps-1 > ps-2, ps-2 > ps-0");
    assert_waits_for("ps-1 to store the new roles");
    die(1, MST_FAILOVER_SILENT);
    settle();
    assert_roles("ps-0 > ps-1, ps-1 > ps-2, ps-2 > ps-0");
    assert_waits_for(
        "more parameter servers: 1 of 3 that were not started empty have the new roles, more than half must");
    servers[1].is_deaf = false;
    come_up(1);
    settle();
    assert_roles("ps-1, ps-1 > ps-2, ps-2");
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_replicas_every_group_stays_at_home),
        cmocka_unit_test(test_a_job_begins_when_all_are_read_and_have_stored),
        cmocka_unit_test(test_a_backup_takes_a_dead_primarys_place_and_the_home_gets_it_back),
        cmocka_unit_test(test_a_change_is_full_again_only_when_all_act_on_it),
        cmocka_unit_test(test_a_live_server_that_has_not_stored_holds_a_commit_back_until_it_is_dead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
