// How a replica comes to be one more copy: compared, swept, waited for. One rule a test.
#include "replica_servers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void begin_with_two_backups(void)
{
    name_roles(0, 1, 2, MST_NO_PS);
    store_and_act();
    settle();
}

// Their primary dies, and of its two backups the first is promoted.
static void promote_first_of_two(void)
{
    start(0, 2);
    name_roles(1, 2, MST_NO_PS, MST_NO_PS);
    store_and_act();
}

static void see_it_gone(uint32_t ps)
{
    struct mst_replica_id gone = {0, 1};
    mst_replica_gone(&servers[ps].replica, &gone);
}

static void test_the_other_backup_is_compared(void **state)
{
    (void)state;
    begin_with_two_backups();
    apply(0, 7);
    settle();
    promote_first_of_two();
    struct mst_replica *r = &servers[1].replica;
    assert_false(mst_replica_is_primary(r, now_ms));
    see_it_gone(1);
    uint64_t seq = apply(1, 8);
    assert_false(mst_replica_may_answer(r, seq, now_ms)); // this one may die, too, and only it has that
    assert_true(carry(1, 2));
    assert_int_equal(r->peers[0].phase, MST_PEER_FOLLOWS);
    assert_false(mst_replica_may_answer(r, seq, now_ms));
    assert_true(carry(1, 2));
    assert_true(mst_replica_may_answer(r, seq, now_ms));
    assert_equal_copies(1, 2);
    assert_false(servers[2].replica.is_begun); // nothing was sent again
}

// Of two backups one has an operation that was never acknowledged.
static void test_the_other_backup_is_compared_and_swept(void **state)
{
    (void)state;
    begin_with_two_backups();
    apply(0, 7);
    apply(0, 8);
    carry(0, 2);
    carry(0, 2);
    carry(0, 1);
    promote_first_of_two();
    settle();
    struct mst_replica *r = &servers[1].replica;
    assert_false(mst_replica_is_primary(r, now_ms));
    see_it_gone(1);
    uint64_t seq = apply(1, 9);
    assert_int_equal(r->peers[0].phase, MST_PEER_SWEPT);
    assert_int_equal(mst_replica_acked(r), 0);
    assert_false(mst_replica_is_complete(r));
    settle();
    assert_true(mst_replica_may_answer(r, seq, now_ms));
    assert_equal_copies(1, 2);
}

// The promoted one dies before it has sent all: what it did not send is as it was, with all that was acknowledged.
static void test_the_other_backup_takes_over_in_the_middle_of_its_sweep(void **state)
{
    (void)state;
    begin_with_two_backups();
    apply(0, 7);
    apply(0, 8);
    settle();
    apply(0, 9);
    carry(0, 2);
    promote_first_of_two();
    see_it_gone(1);
    apply(1, 10);
    assert_true(carry(1, 2)); // the question
    assert_true(carry(1, 2)); // and a bucket
    assert_int_equal(servers[1].replica.peers[0].n_swept, 1);
    struct mst_replica_id gone = {1, 1};
    start(1, 2);
    name_roles(2, MST_NO_PS, MST_NO_PS, MST_NO_PS);
    store_and_act();
    see_it_gone(2);
    mst_replica_gone(&servers[2].replica, &gone);
    struct mst_replica *r = &servers[2].replica;
    assert_int_equal(servers[2].buckets[bucket_of(1)], mix(0, 7));
    assert_int_equal(servers[2].buckets[bucket_of(2)], mix(0, 8));
    assert_true(mst_replica_may_answer(r, apply(2, 11), now_ms));
    roles.incarnations[1] = 2;
    name_roles(2, MST_NO_PS, MST_NO_PS, 1);
    store_and_act();
    settle();
    assert_true(mst_replica_is_complete(r));
    assert_equal_copies(2, 1);
}

static void test_who_has_half_a_sweep_says_so(void **state)
{
    (void)state;
    begin_with_two_backups();
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

// A backup that cannot be sent what there is holds everybody up until it is dropped; a joiner holds up nobody.
static void test_a_bucket_that_does_not_fit_a_message(void **state)
{
    (void)state;
    struct mst_replica *r = &servers[0].replica;
    struct mst_replica_message message;
    name_roles(0, MST_NO_PS, MST_NO_PS, MST_NO_PS);
    store_and_act();
    apply(0, 7);
    start(1, 2);
    roles.incarnations[1] = 2;
    name_roles(0, MST_NO_PS, MST_NO_PS, 1);
    store_and_act();
    assert_true(mst_replica_next(r, 1, now_ms, &message) && message.kind == MST_REPLICA_SWEEP);
    mst_replica_cannot_sweep(r, 1);
    settle();
    for (int i = 0; i < 20; i++) { // it is asked for leases, and not forgotten
        now_ms += LEASE_MS / 8;
        settle();
        assert_true(!mst_replica_next(r, 1, now_ms, &message) || message.kind == MST_REPLICA_GRANT);
    }
    assert_int_equal(mst_replica_lost(r, now_ms), MST_NO_PS);
    assert_true(mst_replica_may_answer(r, apply(0, 8), now_ms));
    name_roles(0, 1, MST_NO_PS, MST_NO_PS); // not what a chief does before it is complete
    store_and_act();
    assert_true(mst_replica_next(r, 1, now_ms, &message) && message.kind == MST_REPLICA_SWEEP);
    mst_replica_cannot_sweep(r, 1);
    assert_int_equal(mst_replica_lost(r, now_ms), 1);
}

// ---- joining ----

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
    mst_replica_unreached(r, 1, now_ms);
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

static void test_one_bucket_is_on_its_way(void **state)
{
    (void)state;
    name_roles(0, MST_NO_PS, MST_NO_PS, 1);
    store_and_act();
    struct mst_replica *r = &servers[0].replica;
    struct mst_replica_message message;
    size_t n = 0;
    for (; mst_replica_next(r, 1, now_ms, &message); mst_replica_sent(r, &message, now_ms))
        n += message.kind == MST_REPLICA_SWEEP;
    assert_int_equal(n, 1);
    struct mst_replica_answer answer = {{1, 1}, roles.epoch, now_ms, r->seq, r->seq, 0};
    mst_replica_swept(r, &answer, now_ms);
    for (n = 0; mst_replica_next(r, 1, now_ms, &message); mst_replica_sent(r, &message, now_ms))
        n += message.kind == MST_REPLICA_SWEEP;
    assert_int_equal(n, 1);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_other_backup_is_compared),
        TEST(test_the_other_backup_is_compared_and_swept),
        TEST(test_the_other_backup_takes_over_in_the_middle_of_its_sweep),
        TEST(test_who_has_half_a_sweep_says_so),
        TEST(test_a_bucket_that_does_not_fit_a_message),
        TEST(test_a_joiner_is_swept_and_then_waited_for),
        TEST(test_what_comes_with_a_bucket_is_not_kept_for_before),
        TEST(test_a_bucket_that_is_there_against_expectation),
        TEST(test_one_bucket_is_on_its_way),
        TEST(test_operations_on_buckets_to_come_only_count),
        TEST(test_a_joiner_that_was_dropped_between_begins_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
