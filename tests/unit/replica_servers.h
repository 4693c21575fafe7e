// One replica of a group on each of three servers. What a bucket holds stands for what its operations did: a number
// that each one changes, so that two copies are equal only if they had the same ones in the same order. For one test
// program.
#pragma once

#include "ps/replica.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { N_PS = 3, N_BUCKETS = 3, LEASE_MS = 800, MAX_OPS = 64 };

struct server {
    struct mst_replica replica;
    uint64_t buckets[N_BUCKETS];
    uint64_t ops[MAX_OPS]; // by seq: what it changes its bucket by
    bool is_bare[MAX_OPS]; // … which is not kept for who follows
};

static struct server servers[N_PS];
static struct mst_roles roles;
static uint64_t now_ms;

static inline void start(uint32_t ps, uint64_t incarnation)
{
    struct server *server = &servers[ps];
    mst_replica_fini(&server->replica);
    *server = (struct server){0};
    struct mst_replica_config config = {
        .group = 0, .self = {ps, incarnation}, .lease_ms = LEASE_MS, .n_buckets = N_BUCKETS};
    mst_replica_init(&server->replica, &config);
}

static inline void store(uint32_t ps)
{
    mst_replica_store(&servers[ps].replica, &roles);
}

static inline void store_and_act(void)
{
    for (uint32_t ps = 0; ps < N_PS; ps++)
        store(ps);
    for (uint32_t ps = 0; ps < N_PS; ps++)
        mst_replica_act(&servers[ps].replica, &roles.epoch, now_ms);
}

static inline void name_roles(uint32_t primary, uint32_t backup, uint32_t second, uint32_t joiner)
{
    roles.epoch.n++;
    roles.groups[0] = (struct mst_group_roles){.primary = primary, .joiner = joiner};
    if (backup != MST_NO_PS)
        roles.groups[0].backups[roles.groups[0].n_backups++] = backup;
    if (second != MST_NO_PS)
        roles.groups[0].backups[roles.groups[0].n_backups++] = second;
}

static inline int set_up(void **state)
{
    (void)state;
    now_ms = 1000;
    mst_roles_init(&roles, N_PS, 0);
    roles.epoch = (struct mst_epoch){1, 0};
    for (uint32_t ps = 0; ps < N_PS; ps++) {
        start(ps, 1);
        roles.incarnations[ps] = 1;
    }
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    mst_roles_fini(&roles);
    for (uint32_t ps = 0; ps < N_PS; ps++)
        mst_replica_fini(&servers[ps].replica);
    return 0;
}

static inline uint64_t mix(uint64_t value, uint64_t op)
{
    return (value ^ op) * 1099511628211u + 1;
}

static inline size_t bucket_of(uint64_t seq)
{
    return seq % N_BUCKETS;
}

static inline uint64_t apply(uint32_t ps, uint64_t op)
{
    struct server *server = &servers[ps];
    uint64_t seq = mst_replica_applied(&server->replica);
    assert_true(seq < MAX_OPS);
    server->ops[seq] = op;
    server->is_bare[seq] = mst_replica_is_counted(&server->replica, bucket_of(seq));
    server->buckets[bucket_of(seq)] = mix(server->buckets[bucket_of(seq)], op);
    return seq;
}

// False: it was refused.
static inline bool deliver_op(struct server *from, struct server *to, const struct mst_replica_call *call,
                              struct mst_replica_answer *answer)
{
    enum mst_follow_verdict verdict = mst_replica_take_op(&to->replica, call, now_ms);
    if (verdict == MST_FOLLOW_REFUSED)
        return false;
    if (verdict == MST_FOLLOW_APPLY) {
        assert_false(call->is_bare);
        to->ops[call->seq] = from->ops[call->seq];
        to->buckets[call->bucket] = mix(to->buckets[call->bucket], from->ops[call->seq]);
    }
    answer->seq = mst_replica_has(&to->replica);
    mst_replica_heard(&from->replica, answer, now_ms);
    return true;
}

static inline bool deliver_sweep(struct server *from, struct server *to, const struct mst_replica_call *call,
                                 struct mst_replica_answer *answer)
{
    enum mst_follow_verdict verdict = mst_replica_take_sweep(&to->replica, call, now_ms);
    if (verdict == MST_FOLLOW_REFUSED)
        return false;
    if (verdict == MST_FOLLOW_APPLY)
        to->buckets[call->bucket] = from->buckets[call->bucket];
    answer->seq = mst_replica_has(&to->replica);
    mst_replica_swept(&from->replica, answer, now_ms);
    return true;
}

// Sends the next message from one server to another and brings the answer back. False: there was none.
static inline bool carry(uint32_t from, uint32_t to)
{
    struct mst_replica_message message;
    struct mst_replica *sender = &servers[from].replica;
    struct mst_replica *receiver = &servers[to].replica;
    if (!mst_replica_next(sender, to, now_ms, &message))
        return false;
    mst_replica_sent(sender, &message, now_ms);
    bool is_op = message.kind == MST_REPLICA_OP;
    struct mst_replica_call call = {sender->config.self, message.epoch,
                                    message.seq,         is_op ? bucket_of(message.seq) : message.bucket,
                                    message.is_first,    is_op && servers[from].is_bare[message.seq]};
    struct mst_replica_answer answer = {
        receiver->config.self, receiver->stored.epoch, now_ms, message.seq, 0, call.bucket};
    bool is_taken = true;
    switch (message.kind) {
    case MST_REPLICA_OP:
        is_taken = deliver_op(&servers[from], &servers[to], &call, &answer);
        break;
    case MST_REPLICA_SWEEP:
        is_taken = deliver_sweep(&servers[from], &servers[to], &call, &answer);
        break;
    case MST_REPLICA_GRANT:
        answer.seq = mst_replica_has_all(receiver);
        is_taken = mst_replica_ask(receiver, &call, now_ms);
        if (is_taken)
            mst_replica_granted(sender, &answer, now_ms);
        break;
    default:
        if (mst_replica_take_release(receiver, &call))
            mst_replica_released(sender, to);
    }
    if (!is_taken)
        mst_replica_refused(sender, &message, now_ms);
    return true;
}

// All that is to be sent now.
static inline void settle(void)
{
    for (bool is_busy = true; is_busy;) {
        is_busy = false;
        for (uint32_t from = 0; from < N_PS; from++)
            for (uint32_t to = 0; to < N_PS; to++)
                if (from != to && carry(from, to))
                    is_busy = true;
    }
}

static inline void assert_equal_copies(uint32_t a, uint32_t b)
{
    for (size_t i = 0; i < N_BUCKETS; i++)
        assert_int_equal(servers[a].buckets[i], servers[b].buckets[i]);
    assert_int_equal(servers[a].replica.seq, servers[b].replica.seq);
}

// ---- a primary and its backup ----
