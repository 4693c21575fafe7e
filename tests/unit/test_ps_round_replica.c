// Synchronous rounds of several replicas: what they store, apply, and go on from.
#include "ps/replication_private.h"
#include "round_replicas.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

// ---- tests ----

static void test_a_backup_stores_and_applies_what_its_primary_does(void **state)
{
    struct fixture *f = *state;
    struct server *primary = &f->servers[0];
    const struct mst_msg_close close = close_of(1, 0, 2);
    give_roles(f, 0, 1, MST_NO_PS);
    begin(primary);
    contribute(primary, 0, 1);
    contribute(primary, 1, 1);
    order(primary, &close, false, NULL);
    assert_int_equal(primary->rounds->table.stored, 1);
    assert_false(has_reported(primary, has_stored, 1, 0)); // it is stored here only
    await_report(primary, has_stored, 1, 0);
    expect_closes(&f->servers[1], 0, true, 1, 0);
    order(primary, &close, true, half);
    assert_int_equal(primary->rounds->table.applied, 1);
    assert_false(has_reported(primary, has_applied, 1, 0));
    assert_int_equal(f->n_heard, 0); // nobody is told before the backup has applied it
    await_report(primary, has_applied, 1, 0);
    assert_int_equal(f->n_heard, 2 * N_PUSHED);
    assert_int_equal(f->heard_round, 1);
    apply_alone(f, 1, 2, 0.5);
    expect_as_alone(f, 0);
    expect_as_alone(f, 1);
    expect_closes(&f->servers[1], 1, false, 0, 0);
    for (uint64_t round = 2; round < 6; round++)
        run_round(primary, round, half);
    expect_as_alone(f, 0);
    expect_as_alone(f, 1);
    assert_int_equal(f->servers[1].holding->buckets[N_PUSHED]->current->counter, 5); // the frozen one, too
}

static void test_who_is_promoted_goes_on_from_what_is_stored(void **state)
{
    struct fixture *f = *state;
    struct server *promoted = &f->servers[1];
    const struct mst_msg_close close = close_of(2, 0, 2);
    struct mst_square_norm norms[2][N_GROUPS] = {0};
    bool is_here[N_GROUPS] = {false};
    give_roles(f, 0, 1, MST_NO_PS);
    begin(&f->servers[0]);
    run_round(&f->servers[0], 1, no_scale);
    contribute(&f->servers[0], 0, 2);
    contribute(&f->servers[0], 1, 2);
    order(&f->servers[0], &close, false, NULL);
    await_report(&f->servers[0], has_stored, 2, 0);
    mst_round_report_norms(&f->servers[0].report, norms[0], is_here);
    assert_true(is_here[0]);
    kill_server(&f->servers[0]);
    give_roles(f, 1, MST_NO_PS, MST_NO_PS);
    begin_reign(promoted);
    await_report(promoted, has_begun_reign, 1, 0);
    assert_true(has_reported(promoted, has_stored, 2, 0));
    assert_true(has_reported(promoted, has_applied, 1, 0));
    expect_closes(promoted, 1, true, 2, 0);
    mst_round_report_norms(&promoted->report, norms[1], is_here);
    assert_memory_equal(norms[0], norms[1], sizeof norms[0]);
    order(promoted, &close, true, half);
    await_report(promoted, has_applied, 2, 0);
    apply_alone(f, 2, 2, 0.5);
    expect_as_alone(f, 1);
    contribute(promoted, 0, 2); // whose answer was lost
    assert_int_equal(f->heard_round, 2);
    run_round(promoted, 3, no_scale);
    expect_as_alone(f, 1);
}

static bool has_complained(void *arg)
{
    const struct replication *replication = ((const struct server *)arg)->holding->replication;
    return mst_epoch_is_same(&replication->complained, &replication->replica.stored.epoch);
}

static void test_what_a_backup_does_not_understand_is_sent_again(void **state)
{
    struct fixture *f = *state;
    struct server *primary = &f->servers[0];
    size_t *n_workers = &f->servers[1].rounds->table.n_workers;
    const size_t n = *n_workers;
    const struct mst_msg_close close = close_of(1, 0, 2);
    give_roles(f, 0, 1, MST_NO_PS);
    begin(primary);
    contribute(primary, 0, 1);
    contribute(primary, 1, 1);
    *n_workers = 1; // as if it were of another version, or job
    order(primary, &close, false, NULL);
    run_until(f->loop, has_complained, primary);
    assert_false(has_reported(primary, has_stored, 1, 0));
    *n_workers = n;
    await_report(primary, has_stored, 1, 0);
    expect_closes(&f->servers[1], 0, true, 1, 0);
}

static void test_a_higher_attempt_is_made_of_what_comes_again(void **state)
{
    struct fixture *f = *state;
    struct server *promoted = &f->servers[1];
    struct mst_msg_close close = close_of(1, 0, 2);
    give_roles(f, 0, 1, 2);
    begin(&f->servers[0]);
    contribute(&f->servers[0], 0, 1);
    contribute(&f->servers[0], 1, 1);
    order(&f->servers[0], &close, false, NULL);
    await_report(&f->servers[0], has_stored, 1, 0);
    kill_server(&f->servers[0]);
    give_roles(f, 1, 2, MST_NO_PS);
    begin_reign(promoted);
    await_report(promoted, has_begun_reign, 1, 0); // the other one is swept, if it has to be
    close = close_of(1, 1, 1);
    assert_int_equal(mst_round_table_check(&promoted->rounds->table, &close), MST_ROUND_CLOSE_WAITS);
    contribute(promoted, 0, 1);
    order(promoted, &close, false, NULL);
    await_report(promoted, has_stored, 1, 1);
    expect_closes(&f->servers[2], 0, true, 1, 1);
    order(promoted, &close, true, half);
    await_report(promoted, has_applied, 1, 1);
    apply_alone(f, 1, 1, 0.5);
    expect_as_alone(f, 1);
    expect_as_alone(f, 2);
}

static void test_attempts_of_one_primary(void **state)
{
    struct fixture *f = *state;
    struct server *primary = &f->servers[0];
    give_roles(f, 0, 1, MST_NO_PS);
    begin(primary);
    contribute(primary, 0, 1);
    contribute(primary, 1, 1);
    // One alone lends its memory; what is made again of it is the same.
    static const size_t n_ins[] = {2, 1, 1};
    for (uint64_t attempt = 0; attempt < 3; attempt++) {
        const struct mst_msg_close close = close_of(1, attempt, n_ins[attempt]);
        order(primary, &close, attempt == 2, half);
        await_report(primary, has_stored, 1, attempt);
    }
    await_report(primary, has_applied, 1, 2);
    apply_alone(f, 1, 1, 0.5);
    expect_as_alone(f, 0);
    expect_as_alone(f, 1);
    run_round(primary, 2, no_scale);
    expect_as_alone(f, 1);
}

static bool is_complete(void *arg)
{
    return mst_holding_status(((const struct server *)arg)->holding).is_complete;
}

static bool has_one_bucket(void *arg)
{
    return ((const struct server *)arg)->holding->replication->replica.n_swept == 1;
}

// The joiner has stored what the primary has, and applies it.
static void test_a_joiner_gets_the_stored_close(void **state)
{
    struct fixture *f = *state;
    struct server *primary = &f->servers[0];
    const struct mst_msg_close close = close_of(2, 0, 2);
    kill_server(&f->servers[2]);
    start_server(f, 2, 200, 7);
    give_roles(f, 0, MST_NO_PS, MST_NO_PS);
    begin(primary);
    run_round(primary, 1, half);
    contribute(primary, 0, 2);
    contribute(primary, 1, 2);
    order(primary, &close, false, NULL);
    await_report(primary, has_stored, 2, 0);
    give_roles(f, 0, MST_NO_PS, 2);
    run_until(f->loop, is_complete, primary);
    expect_as_alone(f, 2);
    expect_closes(&f->servers[2], 1, true, 2, 0);
    order(primary, &close, true, half);
    await_report(primary, has_applied, 2, 0);
    apply_alone(f, 2, 2, 0.5);
    expect_as_alone(f, 0);
    expect_as_alone(f, 2);
    give_roles(f, 0, 2, MST_NO_PS);
    kill_server(primary);
    give_roles(f, 2, MST_NO_PS, MST_NO_PS);
    begin_reign(&f->servers[2]);
    await_report(&f->servers[2], has_begun_reign, 1, 0);
    run_round(&f->servers[2], 3, half);
    expect_as_alone(f, 2);
}

static bool has_sent_one(void *arg)
{
    return ((const struct server *)arg)->holding->replication->replica.peers[0].n_sent == 1;
}

// A primary with a joiner that it has sent one bucket, and a close that it stores then: what the round comes to goes to
// the joiner with the operation in that bucket, and with the bucket in the next one.
static void store_beside_the_first_bucket(struct fixture *f, const struct mst_msg_close *close)
{
    struct server *primary = &f->servers[0];
    kill_server(&f->servers[2]);
    start_server(f, 2, 200, 7);
    give_roles(f, 0, MST_NO_PS, MST_NO_PS);
    begin(primary);
    run_round(primary, 1, half);
    contribute(primary, 0, close->round);
    contribute(primary, 1, close->round);
    give_roles(f, 0, MST_NO_PS, 2);
    run_until(f->loop, has_sent_one, primary);
    order(primary, close, false, NULL);
    struct replication *replication = primary->holding->replication;
    assert_int_equal(replication->n_ops, N_PUSHED + 1);
    assert_non_null(mst_forwarding_find_op(replication, replication->replica.seq - 2)->mean);
    assert_null(mst_forwarding_find_op(replication, replication->replica.seq - 1)->mean);
    assert_int_equal(replication->replicating->op_bytes, FLOATS * sizeof(float));
}

static void expect_joined(struct fixture *f, const struct mst_msg_close *close)
{
    struct server *primary = &f->servers[0];
    run_until(f->loop, is_complete, primary);
    expect_closes(&f->servers[2], 1, true, 2, 0);
    order(primary, close, true, half);
    await_report(primary, has_applied, 2, 0);
    apply_alone(f, 2, 2, 0.5);
    expect_as_alone(f, 0);
    expect_as_alone(f, 2);
    run_round(primary, 3, half);
    expect_as_alone(f, 2);
}

static void test_what_a_bucket_to_come_brings_comes_once(void **state)
{
    struct fixture *f = *state;
    const struct mst_msg_close close = close_of(2, 0, 2);
    store_beside_the_first_bucket(f, &close);
    expect_joined(f, &close);
}

static bool has_forgotten(void *arg)
{
    return !((const struct server *)arg)->holding->replication->replica.is_begun;
}

// As a bucket of an older sweep that was late would be: then all comes again.
static void test_a_mean_that_is_missed_is_swept_again(void **state)
{
    struct fixture *f = *state;
    struct server *joiner = &f->servers[2];
    const struct mst_msg_close close = close_of(2, 0, 2);
    store_beside_the_first_bucket(f, &close);
    run_until(f->loop, has_one_bucket, joiner);
    joiner->holding->replication->replica.is_swept[1] = true;
    run_until(f->loop, has_forgotten, joiner);
    expect_joined(f, &close);
}

// Rounds go on while it is filled: what is here is applied, what is not comes as it is then.
static void test_a_joiner_is_filled_between_rounds(void **state)
{
    struct fixture *f = *state;
    struct server *primary = &f->servers[0];
    for (int acts = 0; acts < 2; acts++) {
        const struct mst_msg_close close = close_of(1 + 2 * (uint64_t)acts, 0, 2);
        kill_server(&f->servers[2]);
        start_server(f, 2, 200 + (uint64_t)acts, 7);
        give_roles(f, 0, 1, MST_NO_PS);
        if (acts == 0)
            begin(primary);
        contribute(primary, 0, close.round);
        contribute(primary, 1, close.round);
        if (acts) {
            order(primary, &close, false, NULL);
            await_report(primary, has_stored, close.round, 0);
        }
        give_roles(f, 0, 1, 2);
        run_until(f->loop, has_one_bucket, &f->servers[2]);
        order(primary, &close, true, half); // stored, and sent, while one bucket is there, or was before
        await_report(primary, has_applied, close.round, 0);
        apply_alone(f, close.round, 2, 0.5);
        run_until(f->loop, is_complete, primary);
        expect_as_alone(f, 2);
        run_round(primary, close.round + 1, half);
        expect_as_alone(f, 0);
        expect_as_alone(f, 1);
        expect_as_alone(f, 2);
        expect_closes(&f->servers[2], close.round + 1, false, 0, 0);
    }
}

static bool is_too_large(void *arg)
{
    const struct mst_replica *r = &((const struct server *)arg)->holding->replication->replica;
    return r->n_peers == 2 && r->peers[1].is_too_large;
}

// More workers than a bucket has room for beside it: rounds go on, and other roles try it again.
static void test_a_bucket_that_does_not_fit_is_given_up(void **state)
{
    struct fixture *f = *state;
    struct server *primary = &f->servers[0];
    const struct mst_client_row row = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, 0, true};
    struct mst_client_table *clients = &primary->holding->buckets[1]->clients;
    kill_server(&f->servers[2]);
    start_server(f, 2, 200, 7);
    give_roles(f, 0, 1, MST_NO_PS);
    begin(primary);
    for (uint32_t w = 20000; w-- > N_WORKERS;) // the table grows once
        mst_client_table_record(clients, w, &row);
    give_roles(f, 0, 1, 2);
    run_until(f->loop, is_too_large, primary);
    for (uint64_t round = 1; round < 4; round++)
        run_round(primary, round, half);
    expect_as_alone(f, 1);
    assert_int_equal(primary->holding->replication->replica.peers[1].n_sent, 1); // it is not even tried
    assert_int_equal(mst_holding_status(primary->holding).lost, MST_NO_PS);
    assert_false(mst_holding_status(primary->holding).is_complete);
    clients->n_rows = N_WORKERS;
    give_roles(f, 0, 1, 2);
    run_until(f->loop, is_complete, primary);
    run_round(primary, 4, half);
    expect_as_alone(f, 2);
    clients->n_rows = 20000; // as they are released
}

static void test_who_is_not_primary_any_more_drops_what_it_was_to_do(void **state)
{
    struct fixture *f = *state;
    struct server *first = &f->servers[0];
    struct server *second = &f->servers[1];
    const struct mst_msg_close close = close_of(1, 0, 2);
    give_roles(f, 0, 1, MST_NO_PS);
    begin(first);
    contribute(first, 0, 1);
    assert_true(mst_round_table_has(&first->rounds->table, 0));
    give_roles(f, 1, 0, MST_NO_PS);
    assert_false(mst_round_table_has(&first->rounds->table, 0));
    order(first, &close, true, half);
    assert_int_equal(first->rounds->table.stored, 0);
    begin_reign(second);
    await_report(second, has_begun_reign, 1, 0);
    run_round(second, 1, half);
    expect_as_alone(f, 0);
    expect_as_alone(f, 1);
    // And back, under a new reign; an order of the old one is not looked at.
    give_roles(f, 0, 1, MST_NO_PS);
    const struct mst_msg_close next = close_of(2, 0, 0);
    first->n_reigns = 0;
    order(first, &next, true, half);
    assert_int_equal(first->rounds->table.stored, 1);
    first->n_reigns = 1;
    begin_reign(first);
    await_report(first, has_begun_reign, 2, 0);
    run_round(first, 2, half);
    expect_as_alone(f, 0);
    expect_as_alone(f, 1);
}

static bool has_lost(void *arg)
{
    return mst_holding_status(((const struct server *)arg)->holding).lost == 1;
}

// Values are compared from time to time, closes always.
static void test_a_backup_that_differs_is_given_up(void **state)
{
    struct fixture *f = *state;
    struct server *primary = &f->servers[0];
    give_roles(f, 0, 1, MST_NO_PS);
    begin(primary);
    for (uint32_t b = 0; b < N_PUSHED; b++) {
        f->lone[b]->n_updates = MST_CHECKSUM_VERSIONS - 1;
        for (uint32_t p = 0; p < 2; p++)
            f->servers[p].holding->buckets[b]->n_updates = MST_CHECKSUM_VERSIONS - 1;
    }
    run_round(primary, 1, half);
    expect_as_alone(f, 1);
    run_round(primary, 2, half);
    assert_false(has_lost(primary));
    f->servers[1].holding->buckets[1]->current->floats[3] += 1;
    f->servers[0].holding->buckets[1]->n_updates = MST_CHECKSUM_VERSIONS - 1;
    run_round(primary, 3, half);
    run_until(f->loop, has_lost, primary);
    give_roles(f, 0, MST_NO_PS, MST_NO_PS);
    give_roles(f, 0, MST_NO_PS, 1); // it is filled anew
    run_until(f->loop, is_complete, primary);
    give_roles(f, 0, 1, MST_NO_PS);
    run_round(primary, 4, half);
    assert_memory_equal(f->servers[0].holding->buckets[1]->current->floats,
                        f->servers[1].holding->buckets[1]->current->floats, FLOATS * sizeof(float));
    assert_false(has_lost(primary));
    f->servers[1].rounds->table.applied = 7;
    contribute(primary, 0, 5);
    const struct mst_msg_close close = close_of(5, 0, 1);
    order(primary, &close, false, NULL);
    run_until(f->loop, has_lost, primary);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_backup_stores_and_applies_what_its_primary_does, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_who_is_promoted_goes_on_from_what_is_stored, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_a_backup_does_not_understand_is_sent_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_higher_attempt_is_made_of_what_comes_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_attempts_of_one_primary, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_joiner_gets_the_stored_close, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_joiner_is_filled_between_rounds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_a_bucket_to_come_brings_comes_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_mean_that_is_missed_is_swept_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_bucket_that_does_not_fit_is_given_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_backup_that_differs_is_given_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_who_is_not_primary_any_more_drops_what_it_was_to_do, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
