// One replica of a group on each of three servers, one rule a test. What a bucket holds stands for what its operations
// did: a number that each one changes, so that two copies are equal only if they had the same ones in the same order.
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

static void start(uint32_t ps, uint64_t incarnation)
{
    struct server *server = &servers[ps];
    mst_replica_fini(&server->replica);
    *server = (struct server){0};
    struct mst_replica_config config = {
        .group = 0, .self = {ps, incarnation}, .lease_ms = LEASE_MS, .n_buckets = N_BUCKETS};
    mst_replica_init(&server->replica, &config);
}

static void store(uint32_t ps)
{
    mst_replica_store(&servers[ps].replica, &roles);
}

static void store_and_act(void)
{
    for (uint32_t ps = 0; ps < N_PS; ps++)
        store(ps);
    for (uint32_t ps = 0; ps < N_PS; ps++)
        mst_replica_act(&servers[ps].replica, &roles.epoch, now_ms);
}

static void name_roles(uint32_t primary, uint32_t backup, uint32_t second, uint32_t joiner)
{
    roles.epoch.n++;
    roles.groups[0] = (struct mst_group_roles){.primary = primary, .joiner = joiner};
    if (backup != MST_NO_PS)
        roles.groups[0].backups[roles.groups[0].n_backups++] = backup;
    if (second != MST_NO_PS)
        roles.groups[0].backups[roles.groups[0].n_backups++] = second;
}

static int set_up(void **state)
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

static int tear_down(void **state)
{
    (void)state;
    mst_roles_fini(&roles);
    for (uint32_t ps = 0; ps < N_PS; ps++)
        mst_replica_fini(&servers[ps].replica);
    return 0;
}

static uint64_t mix(uint64_t value, uint64_t op)
{
    return (value ^ op) * 1099511628211u + 1;
}

static size_t bucket_of(uint64_t seq)
{
    return seq % N_BUCKETS;
}

static uint64_t apply(uint32_t ps, uint64_t op)
{
    struct server *server = &servers[ps];
    uint64_t seq = mst_replica_applied(&server->replica);
    assert_true(seq < MAX_OPS);
    server->ops[seq] = op;
    server->is_bare[seq] = mst_replica_is_counted(&server->replica, bucket_of(seq));
    server->buckets[bucket_of(seq)] = mix(server->buckets[bucket_of(seq)], op);
    return seq;
}

static void deliver_op(struct server *from, struct server *to, const struct mst_replica_call *call,
                       struct mst_replica_answer *answer)
{
    enum mst_follow_verdict verdict = mst_replica_take_op(&to->replica, call, now_ms);
    if (verdict == MST_FOLLOW_REFUSED) {
        mst_replica_refused(&from->replica, answer->from.ps, now_ms);
        return;
    }
    if (verdict == MST_FOLLOW_APPLY) {
        assert_false(call->is_bare);
        to->ops[call->seq] = from->ops[call->seq];
        to->buckets[call->bucket] = mix(to->buckets[call->bucket], from->ops[call->seq]);
    }
    answer->seq = mst_replica_has(&to->replica);
    mst_replica_heard(&from->replica, answer, now_ms);
}

static void deliver_sweep(struct server *from, struct server *to, const struct mst_replica_call *call,
                          struct mst_replica_answer *answer)
{
    enum mst_follow_verdict verdict = mst_replica_take_sweep(&to->replica, call, now_ms);
    if (verdict == MST_FOLLOW_REFUSED) {
        mst_replica_refused(&from->replica, answer->from.ps, now_ms);
        return;
    }
    if (verdict == MST_FOLLOW_APPLY)
        to->buckets[call->bucket] = from->buckets[call->bucket];
    answer->seq = mst_replica_has(&to->replica);
    mst_replica_swept(&from->replica, answer, now_ms);
}

// Sends the next message from one server to another and brings the answer back. False: there was none.
static bool carry(uint32_t from, uint32_t to)
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
    switch (message.kind) {
    case MST_REPLICA_OP:
        deliver_op(&servers[from], &servers[to], &call, &answer);
        break;
    case MST_REPLICA_SWEEP:
        deliver_sweep(&servers[from], &servers[to], &call, &answer);
        break;
    case MST_REPLICA_GRANT:
        answer.seq = mst_replica_has_all(receiver);
        if (mst_replica_ask(receiver, &call, now_ms))
            mst_replica_granted(sender, &answer, now_ms);
        else
            mst_replica_refused(sender, to, now_ms);
        break;
    default:
        if (mst_replica_take_release(receiver, &call))
            mst_replica_released(sender, to);
    }
    return true;
}

// All that is to be sent now.
static void settle(void)
{
    for (bool is_busy = true; is_busy;) {
        is_busy = false;
        for (uint32_t from = 0; from < N_PS; from++)
            for (uint32_t to = 0; to < N_PS; to++)
                if (from != to && carry(from, to))
                    is_busy = true;
    }
}

static void assert_equal_copies(uint32_t a, uint32_t b)
{
    for (size_t i = 0; i < N_BUCKETS; i++)
        assert_int_equal(servers[a].buckets[i], servers[b].buckets[i]);
    assert_int_equal(servers[a].replica.seq, servers[b].replica.seq);
}

// ---- a primary and its backup ----

static void test_without_backups_it_serves_alone(void **state)
{
    (void)state;
    name_roles(0, MST_NO_PS, MST_NO_PS, MST_NO_PS);
    store_and_act();
    struct mst_replica *r = &servers[0].replica;
    assert_true(mst_replica_serves(r, now_ms));
    uint64_t seq = apply(0, 7);
    assert_true(mst_replica_may_answer(r, seq, now_ms));
    assert_int_equal(mst_replica_acked(r), UINT64_MAX);
    assert_int_equal(mst_replica_floor(r), seq);
    assert_int_equal(mst_replica_next_wake(r, now_ms), UINT64_MAX);
    assert_false(mst_replica_serves(&servers[1].replica, now_ms));
    assert_int_equal(mst_replica_role(&servers[1].replica), MST_REPLICA_NONE);
}

static void test_roles_are_stored_before_they_are_acted_on(void **state)
{
    (void)state;
    name_roles(0, MST_NO_PS, MST_NO_PS, MST_NO_PS);
    store(0);
    assert_false(mst_replica_is_primary(&servers[0].replica, now_ms));
    struct mst_epoch other = {9, 9};
    mst_replica_act(&servers[0].replica, &other, now_ms);
    assert_false(mst_replica_is_primary(&servers[0].replica, now_ms));
    mst_replica_act(&servers[0].replica, &roles.epoch, now_ms);
    assert_true(mst_replica_is_primary(&servers[0].replica, now_ms));
    roles.epoch.n++;
    store(0);
    assert_false(mst_replica_is_primary(&servers[0].replica, now_ms)); // until that one is committed
}

static void test_a_push_is_answered_when_its_backup_has_it(void **state)
{
    (void)state;
    name_roles(0, 1, MST_NO_PS, MST_NO_PS);
    store_and_act();
    struct mst_replica *r = &servers[0].replica;
    assert_true(mst_replica_admits(r, now_ms));
    assert_false(mst_replica_serves(r, now_ms)); // no lease yet
    uint64_t seq = apply(0, 7);
    assert_int_equal(mst_replica_floor(r), 0);
    settle();
    assert_true(mst_replica_may_answer(r, seq, now_ms));
    assert_int_equal(mst_replica_floor(r), seq);
    assert_equal_copies(0, 1);
    assert_false(mst_replica_may_answer(r, apply(0, 8), now_ms));
}

static void test_without_its_lease_it_does_not_serve(void **state)
{
    (void)state;
    name_roles(0, 1, MST_NO_PS, MST_NO_PS);
    store_and_act();
    settle();
    struct mst_replica *r = &servers[0].replica;
    assert_int_equal(mst_replica_next_wake(r, now_ms), now_ms + LEASE_MS / 4);
    now_ms += LEASE_MS;
    assert_false(mst_replica_serves(r, now_ms));
    assert_true(mst_replica_admits(r, now_ms));
    assert_int_equal(mst_replica_lost(r, now_ms + 1), MST_NO_PS); // it did not run, so it did not try
    struct mst_replica_message message;
    for (int i = 0; i < 4; i++, now_ms += LEASE_MS / 4) {
        assert_int_equal(mst_replica_lost(r, now_ms), MST_NO_PS);
        assert_true(mst_replica_next(r, 1, now_ms, &message));
        mst_replica_sent(r, &message, now_ms);
    }
    assert_int_equal(mst_replica_lost(r, now_ms), 1);
    settle();
    assert_true(mst_replica_serves(r, now_ms));
    assert_int_equal(mst_replica_lost(r, now_ms + 1), MST_NO_PS);
}

static void test_operations_come_without_gaps(void **state)
{
    (void)state;
    name_roles(0, 1, MST_NO_PS, MST_NO_PS);
    store_and_act();
    struct mst_replica *backup = &servers[1].replica;
    struct mst_replica_call op = {{0, 1}, roles.epoch, 2, 0, false, false};
    assert_int_equal(mst_replica_take_op(backup, &op, now_ms), MST_FOLLOW_GAP);
    op.seq = 1;
    assert_int_equal(mst_replica_take_op(backup, &op, now_ms), MST_FOLLOW_APPLY);
    assert_int_equal(mst_replica_take_op(backup, &op, now_ms), MST_FOLLOW_HAVE);
    op.seq = 2;
    op.epoch.n--;
    assert_int_equal(mst_replica_take_op(backup, &op, now_ms), MST_FOLLOW_REFUSED);
    op.epoch.n++;
    op.from.incarnation = 2;
    assert_int_equal(mst_replica_take_op(backup, &op, now_ms), MST_FOLLOW_REFUSED);
    op.from = (struct mst_replica_id){2, 1};
    assert_int_equal(mst_replica_take_op(backup, &op, now_ms), MST_FOLLOW_REFUSED);
    assert_false(mst_replica_ask(backup, &op, now_ms));
    assert_int_equal(mst_replica_has(backup), 1);
}

static void test_a_gap_is_sent_again(void **state)
{
    (void)state;
    name_roles(0, 1, MST_NO_PS, MST_NO_PS);
    store_and_act();
    settle();
    apply(0, 7);
    apply(0, 8);
    struct mst_replica *r = &servers[0].replica;
    struct mst_replica_message lost;
    assert_true(mst_replica_next(r, 1, now_ms, &lost));
    mst_replica_sent(r, &lost, now_ms);
    assert_true(carry(0, 1)); // the second one
    assert_false(mst_replica_next(r, 1, now_ms, &lost));
    now_ms = mst_replica_next_wake(r, now_ms);
    settle();
    assert_int_equal(mst_replica_acked(r), 2);
    assert_equal_copies(0, 1);
}

// ---- another primary ----

static void test_a_promoted_backup_waits_until_its_grant_ran_out(void **state)
{
    (void)state;
    name_roles(0, 1, MST_NO_PS, MST_NO_PS);
    store_and_act();
    settle();
    name_roles(1, MST_NO_PS, MST_NO_PS, MST_NO_PS);
    store(1);
    mst_replica_act(&servers[1].replica, &roles.epoch, now_ms);
    struct mst_replica *r = &servers[1].replica;
    assert_false(mst_replica_is_primary(r, now_ms));
    assert_int_equal(mst_replica_next_wake(r, now_ms), now_ms + LEASE_MS);
    assert_true(mst_replica_serves(&servers[0].replica, now_ms)); // it does not know of these roles
    assert_false(mst_replica_serves(&servers[0].replica, now_ms + LEASE_MS));
    assert_true(mst_replica_serves(r, now_ms + LEASE_MS));
    struct mst_replica_id gone = {0, 2};
    mst_replica_gone(r, &gone); // not the one that holds it
    assert_false(mst_replica_is_primary(r, now_ms));
    gone.incarnation = 1;
    mst_replica_gone(r, &gone);
    assert_true(mst_replica_is_primary(r, now_ms));
}

static void test_a_handover_needs_no_waiting(void **state)
{
    (void)state;
    name_roles(0, 1, 2, MST_NO_PS);
    store_and_act();
    settle();
    apply(0, 7);
    name_roles(0, 1, 2, MST_NO_PS);
    roles.groups[0].is_handed_over = true;
    store_and_act();
    assert_false(mst_replica_admits(&servers[0].replica, now_ms));
    assert_false(mst_replica_is_quiet(&servers[0].replica, now_ms));
    settle();
    assert_true(mst_replica_is_quiet(&servers[0].replica, now_ms));
    name_roles(1, 0, 2, MST_NO_PS);
    store_and_act();
    settle();
    assert_true(mst_replica_serves(&servers[1].replica, now_ms));
    assert_int_equal(servers[1].replica.peers[0].phase, MST_PEER_FOLLOWS); // nothing was swept
    uint64_t seq = apply(1, 8);
    settle();
    assert_true(mst_replica_may_answer(&servers[1].replica, seq, now_ms));
    assert_equal_copies(0, 1);
    assert_equal_copies(1, 2);
}

static void test_a_release_of_other_roles_is_nothing(void **state)
{
    (void)state;
    name_roles(0, 1, MST_NO_PS, MST_NO_PS);
    store_and_act();
    settle();
    name_roles(1, 0, MST_NO_PS, MST_NO_PS);
    store(0);
    struct mst_replica_message release;
    assert_true(mst_replica_next(&servers[0].replica, 1, now_ms, &release));
    assert_int_equal(release.kind, MST_REPLICA_RELEASE);
    struct mst_replica_call call = {{0, 1}, release.epoch, 0, 0, false, false};
    assert_false(mst_replica_take_release(&servers[1].replica, &call)); // it has not stored them yet
    name_roles(0, 1, MST_NO_PS, MST_NO_PS);                             // they were never committed
    store_and_act();
    settle();
    assert_true(mst_replica_serves(&servers[0].replica, now_ms));
    name_roles(1, 0, MST_NO_PS, MST_NO_PS);
    store(1);
    assert_false(mst_replica_take_release(&servers[1].replica, &call));
    mst_replica_act(&servers[1].replica, &roles.epoch, now_ms);
    assert_false(mst_replica_is_primary(&servers[1].replica, now_ms));
}

// Of two backups one has an operation that was never acknowledged.
static void test_the_other_backup_is_compared_and_swept(void **state)
{
    (void)state;
    name_roles(0, 1, 2, MST_NO_PS);
    store_and_act();
    settle();
    apply(0, 7);
    apply(0, 8);
    carry(0, 2);
    carry(0, 2);
    carry(0, 1);
    start(0, 2);
    name_roles(1, 2, MST_NO_PS, MST_NO_PS);
    store_and_act();
    settle();
    struct mst_replica *r = &servers[1].replica;
    assert_false(mst_replica_is_primary(r, now_ms));
    struct mst_replica_id gone = {0, 1};
    mst_replica_gone(r, &gone);
    uint64_t seq = apply(1, 9);
    assert_int_equal(r->peers[0].phase, MST_PEER_SWEPT);
    assert_int_equal(mst_replica_acked(r), 0);
    assert_false(mst_replica_is_complete(r));
    settle();
    assert_true(mst_replica_may_answer(r, seq, now_ms));
    assert_equal_copies(1, 2);
}

static void test_who_has_half_a_sweep_says_so(void **state)
{
    (void)state;
    name_roles(0, 1, 2, MST_NO_PS);
    store_and_act();
    settle();
    apply(0, 7);
    carry(0, 2);
    name_roles(1, 2, MST_NO_PS, MST_NO_PS);
    store_and_act();
    now_ms += LEASE_MS;
    carry(1, 2);
    carry(1, 2); // the first of two buckets
    assert_int_equal(mst_replica_has_all(&servers[2].replica), MST_REPLICA_NOTHING);
    start(0, 2);
    roles.incarnations[0] = 2;
    name_roles(2, 0, MST_NO_PS, MST_NO_PS);
    store_and_act();
    now_ms += LEASE_MS;
    assert_true(mst_replica_is_primary(&servers[2].replica, now_ms));
    assert_int_equal(servers[2].replica.peers[0].phase, MST_PEER_SWEPT); // whatever number it may have
}

// ---- joining ----

// Its primary dies, and of its two backups the first is promoted, the other one its joiner.
static void promote_first_of_two(void)
{
    struct mst_replica_id gone = {0, 1};
    start(0, 2);
    name_roles(1, MST_NO_PS, MST_NO_PS, 2);
    store_and_act();
    settle();
    assert_false(mst_replica_is_primary(&servers[1].replica, now_ms));
    assert_int_equal(servers[1].replica.peers[0].phase, MST_PEER_ASKED); // not compared before its own grant ran out
    mst_replica_gone(&servers[1].replica, &gone);
}

static void test_a_backup_beside_the_promoted_one_joins_without_a_sweep(void **state)
{
    (void)state;
    name_roles(0, 1, 2, MST_NO_PS);
    store_and_act();
    apply(0, 7);
    settle();
    promote_first_of_two();
    struct mst_replica *r = &servers[1].replica;
    uint64_t seq = apply(1, 8);
    assert_true(mst_replica_may_answer(r, seq, now_ms)); // nobody waits for it yet
    now_ms += LEASE_MS / 4;
    assert_true(carry(1, 2));
    assert_int_equal(r->peers[0].phase, MST_PEER_FOLLOWS);
    assert_false(mst_replica_is_complete(r)); // what was answered without it is not there
    assert_false(mst_replica_may_answer(r, apply(1, 9), now_ms));
    settle();
    assert_true(mst_replica_is_complete(r));
    assert_true(mst_replica_is_swept(&servers[2].replica));
    assert_true(mst_replica_may_answer(r, r->seq, now_ms));
    assert_equal_copies(1, 2);
    assert_false(servers[2].replica.is_begun);
}

static void test_a_backup_beside_the_promoted_one_is_swept_if_it_has_more(void **state)
{
    (void)state;
    name_roles(0, 1, 2, MST_NO_PS);
    store_and_act();
    settle();
    apply(0, 7);
    carry(0, 2);
    promote_first_of_two();
    apply(1, 8);
    now_ms += LEASE_MS / 4;
    assert_true(carry(1, 2));
    assert_int_equal(servers[1].replica.peers[0].phase, MST_PEER_SWEPT);
    settle();
    assert_true(mst_replica_is_complete(&servers[1].replica));
    assert_equal_copies(1, 2);
}

// It was backup of the same primary, but not to the end: its number says nothing of what came since.
static void test_a_backup_that_was_dropped_is_not_compared(void **state)
{
    (void)state;
    name_roles(0, 1, 2, MST_NO_PS);
    store_and_act();
    settle();
    name_roles(0, 1, MST_NO_PS, MST_NO_PS);
    for (uint32_t ps = 0; ps < 2; ps++) {
        store(ps);
        mst_replica_act(&servers[ps].replica, &roles.epoch, now_ms);
    }
    name_roles(1, MST_NO_PS, MST_NO_PS, 2);
    store_and_act();
    assert_int_equal(servers[1].replica.peers[0].phase, MST_PEER_SWEPT);
}

static void test_a_joiner_is_swept_and_then_waited_for(void **state)
{
    (void)state;
    name_roles(0, MST_NO_PS, MST_NO_PS, MST_NO_PS);
    store_and_act();
    apply(0, 7);
    apply(0, 8);
    struct mst_replica *r = &servers[0].replica;
    name_roles(0, MST_NO_PS, MST_NO_PS, 1);
    store_and_act();
    assert_true(carry(0, 1));
    uint64_t seq = apply(0, 9);
    assert_true(mst_replica_may_answer(r, seq, now_ms)); // nobody waits for it yet
    assert_false(mst_replica_is_swept(&servers[1].replica));
    assert_false(mst_replica_is_complete(r));
    settle();
    assert_true(mst_replica_is_swept(&servers[1].replica));
    assert_true(mst_replica_is_complete(r));
    assert_equal_copies(0, 1);
    seq = apply(0, 10);
    assert_false(mst_replica_may_answer(r, seq, now_ms));
    assert_true(mst_replica_is_complete(r));
    assert_false(mst_replica_serves(r, now_ms + LEASE_MS));
    name_roles(0, 1, MST_NO_PS, MST_NO_PS);
    store_and_act();
    settle();
    assert_true(mst_replica_may_answer(r, seq, now_ms));
    assert_equal_copies(0, 1);
}

static void test_operations_on_buckets_to_come_only_count(void **state)
{
    (void)state;
    name_roles(0, MST_NO_PS, MST_NO_PS, 1);
    store_and_act();
    struct mst_replica *joiner = &servers[1].replica;
    struct mst_replica_call op = {{0, 1}, roles.epoch, 6, 1, false, false};
    assert_int_equal(mst_replica_take_op(joiner, &op, now_ms), MST_FOLLOW_GAP);
    assert_int_equal(mst_replica_has(joiner), MST_REPLICA_NOTHING);
    struct mst_replica_call first = {{0, 1}, roles.epoch, 5, 0, true, false};
    assert_int_equal(mst_replica_take_sweep(joiner, &first, now_ms), MST_FOLLOW_APPLY);
    assert_int_equal(mst_replica_take_op(joiner, &op, now_ms), MST_FOLLOW_COUNT);
    struct mst_replica_call second = {{0, 1}, roles.epoch, 5, 1, false, false};
    assert_int_equal(mst_replica_take_sweep(joiner, &second, now_ms), MST_FOLLOW_GAP); // as it was before operation 6
    second.seq = 6;
    assert_int_equal(mst_replica_take_sweep(joiner, &second, now_ms), MST_FOLLOW_APPLY);
    struct mst_replica_call third = {{0, 1}, roles.epoch, 6, 2, false, false};
    assert_int_equal(mst_replica_take_sweep(joiner, &third, now_ms), MST_FOLLOW_APPLY);
    op.seq = 7;
    assert_int_equal(mst_replica_take_op(joiner, &op, now_ms), MST_FOLLOW_APPLY);
    assert_int_equal(mst_replica_take_sweep(joiner, &first, now_ms), MST_FOLLOW_HAVE); // late
    assert_int_equal(mst_replica_has_all(joiner), 7);
}

static void test_what_comes_with_a_bucket_is_not_kept_for_before(void **state)
{
    (void)state;
    name_roles(0, MST_NO_PS, MST_NO_PS, 1);
    store_and_act();
    struct mst_replica *r = &servers[0].replica;
    assert_true(mst_replica_is_sweeping(r));
    assert_true(mst_replica_is_counted(r, 0) && mst_replica_is_counted(r, 1));
    struct mst_replica_message message;
    while (mst_replica_next(r, 1, now_ms, &message) && message.kind != MST_REPLICA_SWEEP)
        mst_replica_sent(r, &message, now_ms);
    mst_replica_sent(r, &message, now_ms);
    assert_true(!mst_replica_is_counted(r, 0) && mst_replica_is_counted(r, 1)); // the first is on its way
    mst_replica_refused(r, 1, now_ms);
    assert_false(mst_replica_is_counted(r, 0)); // it may have come all the same
    now_ms += LEASE_MS;
    assert_true(carry(0, 1));
    for (uint64_t op = 1; op <= 4; op++)
        apply(0, op);
    settle();
    assert_false(mst_replica_is_sweeping(r));
    assert_equal_copies(0, 1);
}

// Over an old connection, say, and its primary does not know.
static void test_a_bucket_that_is_there_against_expectation(void **state)
{
    (void)state;
    name_roles(0, 2, MST_NO_PS, 1);
    store_and_act();
    struct mst_replica *joiner = &servers[1].replica;
    struct mst_replica_call bucket = {{0, 1}, roles.epoch, 5, 0, true, false};
    assert_int_equal(mst_replica_take_sweep(joiner, &bucket, now_ms), MST_FOLLOW_APPLY);
    struct mst_replica_call op = {{0, 1}, roles.epoch, 6, 0, false, true};
    assert_int_equal(mst_replica_take_op(joiner, &op, now_ms), MST_FOLLOW_GAP);
    assert_int_equal(mst_replica_has(joiner), MST_REPLICA_NOTHING); // all is swept again
    op.seq = 1;
    assert_int_equal(mst_replica_take_op(&servers[2].replica, &op, now_ms), MST_FOLLOW_REFUSED); // it has all
}

static void test_the_next_bucket_is_on_its_way_with_the_one_before(void **state)
{
    (void)state;
    name_roles(0, MST_NO_PS, MST_NO_PS, 1);
    store_and_act();
    struct mst_replica *r = &servers[0].replica;
    struct mst_replica_message message;
    size_t n = 0;
    for (; mst_replica_next(r, 1, now_ms, &message); mst_replica_sent(r, &message, now_ms))
        n += message.kind == MST_REPLICA_SWEEP;
    assert_int_equal(n, 1); // the first says that a sweep begins: alone
    struct mst_replica_answer answer = {{1, 1}, roles.epoch, now_ms, r->seq, r->seq, 0};
    mst_replica_swept(r, &answer, now_ms);
    for (n = 0; mst_replica_next(r, 1, now_ms, &message); mst_replica_sent(r, &message, now_ms))
        n += message.kind == MST_REPLICA_SWEEP;
    assert_int_equal(n, 2);
    answer.bucket = 2;
    mst_replica_swept(r, &answer, now_ms);
    assert_int_equal(r->peers[0].n_swept, 1); // not in order
    answer.bucket = 1;
    mst_replica_swept(r, &answer, now_ms);
    assert_int_equal(r->peers[0].n_swept, 2);
}

static void test_a_joiner_that_was_dropped_between_begins_anew(void **state)
{
    (void)state;
    name_roles(0, MST_NO_PS, MST_NO_PS, 1);
    store_and_act();
    settle();
    assert_true(mst_replica_is_complete(&servers[0].replica));
    name_roles(0, MST_NO_PS, MST_NO_PS, MST_NO_PS);
    store(1); // it alone: they were never committed
    name_roles(0, MST_NO_PS, MST_NO_PS, 1);
    store_and_act();
    apply(0, 7);
    assert_false(mst_replica_is_swept(&servers[1].replica));
    now_ms++;
    settle();
    now_ms += LEASE_MS;
    settle();
    assert_true(mst_replica_is_swept(&servers[1].replica));
    assert_equal_copies(0, 1);
}

static void test_a_restarted_server_is_not_who_the_roles_name(void **state)
{
    (void)state;
    name_roles(0, 1, MST_NO_PS, MST_NO_PS);
    store_and_act();
    settle();
    start(1, 2);
    store_and_act(); // the same roles
    struct mst_replica_call op = {{0, 1}, roles.epoch, 1, 0, false, false};
    assert_int_equal(mst_replica_take_op(&servers[1].replica, &op, now_ms), MST_FOLLOW_REFUSED);
    assert_int_equal(mst_replica_role(&servers[1].replica), MST_REPLICA_NONE);
}

static void test_a_lost_group_begins_with_what_was_loaded(void **state)
{
    (void)state;
    name_roles(0, MST_NO_PS, MST_NO_PS, MST_NO_PS);
    store_and_act();
    apply(0, 7);
    start(0, 2);
    roles.incarnations[0] = 2;
    name_roles(0, MST_NO_PS, MST_NO_PS, 1);
    store_and_act();
    settle();
    assert_true(mst_replica_is_complete(&servers[0].replica));
    assert_equal_copies(0, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_without_backups_it_serves_alone),
        TEST(test_roles_are_stored_before_they_are_acted_on),
        TEST(test_a_push_is_answered_when_its_backup_has_it),
        TEST(test_without_its_lease_it_does_not_serve),
        TEST(test_operations_come_without_gaps),
        TEST(test_a_gap_is_sent_again),
        TEST(test_a_promoted_backup_waits_until_its_grant_ran_out),
        TEST(test_a_handover_needs_no_waiting),
        TEST(test_a_release_of_other_roles_is_nothing),
        TEST(test_the_other_backup_is_compared_and_swept),
        TEST(test_who_has_half_a_sweep_says_so),
        TEST(test_a_backup_beside_the_promoted_one_joins_without_a_sweep),
        TEST(test_a_backup_beside_the_promoted_one_is_swept_if_it_has_more),
        TEST(test_a_backup_that_was_dropped_is_not_compared),
        TEST(test_a_joiner_is_swept_and_then_waited_for),
        TEST(test_what_comes_with_a_bucket_is_not_kept_for_before),
        TEST(test_a_bucket_that_is_there_against_expectation),
        TEST(test_the_next_bucket_is_on_its_way_with_the_one_before),
        TEST(test_operations_on_buckets_to_come_only_count),
        TEST(test_a_joiner_that_was_dropped_between_begins_anew),
        TEST(test_a_restarted_server_is_not_who_the_roles_name),
        TEST(test_a_lost_group_begins_with_what_was_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
