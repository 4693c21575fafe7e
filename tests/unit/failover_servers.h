// The chief's machine of roles, and parameter servers as far as its rules see them: they store and act as told, say how
// they stand, and are filled and quiet as soon as a test wants.
#pragma once

#include "chief/failover.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_MAX = 4, PATIENCE_MS = 3000, AVOID_MS = 1000 };

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
static bool is_unstored; // nobody else would know what is lost

static inline void start(size_t n_ps, size_t n_replicas)
{
    struct mst_failover_config config = {
        .n_ps = n_ps, .n_replicas = n_replicas, .patience_ms = PATIENCE_MS, .avoid_ms = AVOID_MS};
    mst_failover_init(&failover, &config);
    memset(servers, 0, sizeof servers);
    n_servers = n_ps;
    now_ms = 1000;
    is_unstored = false;
}

static inline void end(void)
{
    for (size_t i = 0; i < n_servers; i++)
        mst_roles_fini(&servers[i].stored);
    mst_failover_fini(&failover);
}

static inline void come_up(size_t ps)
{
    servers[ps].is_up = true;
    mst_failover_up(&failover, ps, servers[ps].incarnation);
}

// Starts (again), with nothing.
static inline void start_server(size_t ps)
{
    uint64_t incarnation = servers[ps].incarnation ? servers[ps].incarnation + 1 : 100 * (ps + 1);
    mst_roles_fini(&servers[ps].stored);
    servers[ps] = (struct server){.incarnation = incarnation};
    come_up(ps);
}

static inline void die(size_t ps, enum mst_failover_death how)
{
    servers[ps].is_up = false;
    mst_failover_dead(&failover, ps, how, now_ms);
}

static inline void read_server(size_t ps)
{
    const struct server *server = &servers[ps];
    struct mst_failover_memory memory = {server->stored.n_ps ? &server->stored : NULL, server->is_counting};
    mst_failover_read(&failover, ps, server->incarnation, &memory);
}

// It says how it stands; all handovers are quiet at once, and joiners complete when they are filled.
static inline void report(size_t ps)
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
    mst_failover_heard(&failover, ps, server->incarnation, &reply);
}

static inline bool deliver(size_t ps)
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

static inline void store_losses(void)
{
    for (size_t g = 0; g < n_servers && !is_unstored; g++)
        mst_failover_may_restore(&failover, g);
}

// Until nothing happens any more.
static inline void settle(void)
{
    for (bool is_moving = true; is_moving;) {
        is_moving = false;
        store_losses();
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
static inline void start_job(size_t n_ps, size_t n_replicas)
{
    start(n_ps, n_replicas);
    mst_failover_begin(&failover, 1);
    for (size_t i = 0; i < n_ps; i++) {
        start_server(i);
        read_server(i);
    }
    settle();
}

static inline void fill(size_t ps)
{
    servers[ps].is_filled = true;
    settle();
}

static inline void assert_roles(const char *expected)
{
    const struct mst_roles *roles = mst_failover_committed(&failover);
    assert_non_null(roles);
    char *text = mst_roles_text(roles);
    assert_string_equal(strchr(text, ':') + 2, expected);
    free(text);
}

static inline void assert_waits_for(const char *expected)
{
    char text[512];
    mst_failover_describe(&failover, text, sizeof text);
    assert_string_equal(text, expected);
}
