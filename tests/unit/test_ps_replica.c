// A replica's rules about roles, leases and operations, one a test.
#include "replica_servers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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

static void test_what_was_refused_is_sent_again_soon(void **state)
{
    (void)state;
    name_roles(0, 1, MST_NO_PS, MST_NO_PS);
    store_and_act();
    settle();
    apply(0, 7);
    struct mst_replica *r = &servers[0].replica;
    struct mst_replica_message message;
    uint64_t pause_ms = 1;
    for (int i = 0; i < 9; i++) {
        assert_true(mst_replica_next(r, 1, now_ms, &message) && message.kind == MST_REPLICA_OP);
        mst_replica_sent(r, &message, now_ms);
        mst_replica_refused(r, &message, now_ms);
        mst_replica_refused(r, &message, now_ms); // another one of what was on its way
        assert_false(mst_replica_next(r, 1, now_ms, &message));
        assert_int_equal(mst_replica_next_wake(r, now_ms), now_ms + pause_ms);
        now_ms += pause_ms;
        pause_ms = 2 * pause_ms < LEASE_MS / 16 ? 2 * pause_ms : LEASE_MS / 16;
    }
    settle();
    assert_int_equal(mst_replica_acked(r), 1);
    apply(0, 8);
    assert_true(mst_replica_next(r, 1, now_ms, &message));
    mst_replica_sent(r, &message, now_ms);
    mst_replica_refused(r, &message, now_ms);
    assert_true(mst_replica_next(r, 1, now_ms + 1, &message));
}

static void test_a_broken_link_accuses_nobody_at_once(void **state)
{
    (void)state;
    name_roles(0, 1, MST_NO_PS, MST_NO_PS);
    store_and_act();
    settle();
    struct mst_replica *r = &servers[0].replica;
    struct mst_replica_message message;
    now_ms += 2 * LEASE_MS; // it did not run
    uint64_t begun_ms = now_ms;
    for (; now_ms < begun_ms + LEASE_MS / 2; now_ms = mst_replica_next_wake(r, now_ms)) {
        if (mst_replica_next(r, 1, now_ms, &message))
            mst_replica_unreached(r, 1, now_ms);
        assert_int_equal(mst_replica_lost(r, now_ms), MST_NO_PS);
    }
    for (; now_ms <= begun_ms + LEASE_MS; now_ms = mst_replica_next_wake(r, now_ms))
        if (mst_replica_next(r, 1, now_ms, &message))
            mst_replica_unreached(r, 1, now_ms);
    assert_int_equal(mst_replica_lost(r, now_ms), 1);
}

static void test_a_refusal_under_earlier_roles_means_nothing(void **state)
{
    (void)state;
    name_roles(0, 1, MST_NO_PS, MST_NO_PS);
    store_and_act();
    settle();
    apply(0, 7);
    struct mst_replica *r = &servers[0].replica;
    struct mst_replica_message message;
    assert_true(mst_replica_next(r, 1, now_ms, &message));
    mst_replica_sent(r, &message, now_ms);
    struct mst_replica_message early = message;
    name_roles(0, 1, MST_NO_PS, MST_NO_PS);
    store_and_act();
    mst_replica_refused(r, &early, now_ms);
    assert_true(mst_replica_next(r, 1, now_ms, &message) && message.kind == MST_REPLICA_OP && message.seq == 1);
    mst_replica_sent(r, &message, now_ms);
    mst_replica_refused(r, &early, now_ms);
    assert_false(mst_replica_next(r, 1, now_ms, &message)); // it is on its way
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
        TEST(test_what_was_refused_is_sent_again_soon),
        TEST(test_a_broken_link_accuses_nobody_at_once),
        TEST(test_a_refusal_under_earlier_roles_means_nothing),
        TEST(test_a_promoted_backup_waits_until_its_grant_ran_out),
        TEST(test_a_handover_needs_no_waiting),
        TEST(test_a_release_of_other_roles_is_nothing),
        TEST(test_a_restarted_server_is_not_who_the_roles_name),
        TEST(test_a_lost_group_begins_with_what_was_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
