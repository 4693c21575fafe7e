// Data leases, one rule a test.
#include "chief/leases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct mst_leases leases;
static struct mst_lease lease;

static void start(uint64_t n_batches, uint64_t n_epochs, uint64_t max_steps)
{
    mst_leases_init(&leases, n_batches, n_epochs, max_steps);
}

static int teardown(void **state)
{
    (void)state;
    mst_leases_fini(&leases);
    return 0;
}

static void granted(uint32_t worker, uint64_t seq, uint64_t want, uint64_t epoch, uint64_t first, uint64_t n)
{
    assert_int_equal(mst_leases_grant(&leases, worker, 1, seq, want, &lease), MST_LEASE_GRANTED);
    assert_int_equal(lease.epoch, epoch);
    assert_int_equal(lease.first_batch, first);
    assert_int_equal(lease.n_batches, n);
}

static void completed(uint32_t worker, uint64_t seq)
{
    struct mst_lease done;
    assert_true(mst_leases_complete(&leases, worker, 1, seq, &done));
}

static void test_ranges_cover_each_epoch_once(void **state)
{
    (void)state;
    start(5, 2, 0);
    granted(0, 1, 3, 0, 0, 3);
    granted(1, 1, 3, 0, 3, 2); // never across an epoch's end
    completed(0, 1);
    granted(0, 2, 4, 1, 0, 4);
    completed(1, 1);
    assert_int_equal(leases.n_epochs_done, 1);
    granted(1, 2, 9, 1, 4, 1);
    assert_int_equal(mst_leases_grant(&leases, 1, 1, 3, 1, &lease), MST_LEASE_WAIT);
    completed(0, 2);
    completed(1, 2);
    assert_true(mst_leases_finished(&leases));
    assert_int_equal(leases.n_epochs_done, 2);
    assert_int_equal(mst_leases_grant(&leases, 1, 1, 3, 1, &lease), MST_LEASE_FINISHED);
}

static void test_asking_twice_gives_the_same_lease(void **state)
{
    (void)state;
    start(10, 1, 0);
    granted(0, 1, 4, 0, 0, 4);
    uint64_t id = lease.id;
    granted(0, 1, 2, 0, 0, 4);
    assert_int_equal(lease.id, id);
    assert_int_equal(leases.n_granted, 4);
    assert_int_equal(mst_leases_grant(&leases, 0, 1, 5, 1, &lease), MST_LEASE_REFUSED);
}

static void test_a_worker_holds_two_at_most(void **state)
{
    (void)state;
    start(10, 1, 0);
    granted(0, 1, 1, 0, 0, 1);
    granted(0, 2, 1, 0, 1, 1);
    assert_int_equal(mst_leases_grant(&leases, 0, 1, 3, 1, &lease), MST_LEASE_WAIT);
    completed(0, 1);
    granted(0, 3, 1, 0, 2, 1);
}

static void test_completing_again_counts_nothing(void **state)
{
    (void)state;
    struct mst_lease done;
    start(4, 1, 0);
    granted(0, 1, 2, 0, 0, 2);
    completed(0, 1);
    assert_false(mst_leases_complete(&leases, 0, 1, 1, &done));
    assert_int_equal(leases.n_done, 2);
}

static void test_steps_end_the_job_inside_an_epoch(void **state)
{
    (void)state;
    start(4, 3, 6);
    granted(0, 1, 9, 0, 0, 4);
    granted(0, 2, 9, 1, 0, 2);
    completed(0, 2); // both
    completed(0, 2);
    assert_true(mst_leases_finished(&leases));
    assert_int_equal(leases.n_epochs_done, 2);
}

static void test_what_a_dead_worker_left_goes_to_others(void **state)
{
    (void)state;
    start(10, 1, 0);
    granted(0, 1, 4, 0, 0, 4);
    uint64_t id = lease.id;
    granted(0, 2, 4, 0, 4, 4);
    struct mst_lease_mark marks[] = {{.lease = id, .offset = 3}, {.lease = id, .offset = 2}};
    struct mst_leases_revoked revoked = mst_leases_revoke(&leases, 0, 1, marks, 2);
    assert_int_equal(revoked.n_done, 3);
    assert_int_equal(revoked.n_torn, 1);
    assert_int_equal(revoked.n_returned, 5);
    granted(1, 1, 9, 0, 3, 1);
    granted(1, 2, 9, 0, 4, 4);
    completed(1, 2);
    completed(1, 2);
    granted(1, 3, 9, 0, 8, 2);
    completed(1, 3);
    assert_true(mst_leases_finished(&leases));
    assert_int_equal(leases.n_torn, 1);
}

static void test_what_a_server_lost_is_not_torn(void **state)
{
    (void)state;
    start(8, 1, 0);
    granted(0, 1, 8, 0, 0, 8);
    struct mst_lease_mark marks[] = {{.lease = lease.id, .offset = 2, .is_restored = true},
                                     {.lease = lease.id, .offset = 6},
                                     {.lease = lease.id, .offset = 5}};
    struct mst_leases_revoked revoked = mst_leases_revoke(&leases, 0, 1, marks, 3);
    assert_int_equal(revoked.n_done, 6);
    assert_int_equal(revoked.n_torn, 1);
    granted(1, 1, 9, 0, 6, 2);
    struct mst_lease_mark only = {.lease = lease.id, .offset = 1, .is_restored = true};
    revoked = mst_leases_revoke(&leases, 1, 1, &only, 1);
    assert_int_equal(revoked.n_done, 1); // the checkpoint has it
    assert_int_equal(revoked.n_torn, 0);
}

static void test_a_bucket_that_saw_nothing_makes_the_first_batch_torn(void **state)
{
    (void)state;
    start(3, 1, 0);
    granted(0, 1, 3, 0, 0, 3);
    struct mst_lease_mark marks[] = {{.lease = 0, .offset = 0}, {.lease = lease.id, .offset = 1}};
    struct mst_leases_revoked revoked = mst_leases_revoke(&leases, 0, 1, marks, 2);
    assert_int_equal(revoked.n_done, 1);
    assert_int_equal(revoked.n_torn, 1);
    assert_int_equal(revoked.n_returned, 2);
}

static void test_marks_of_a_later_lease_finish_the_earlier(void **state)
{
    (void)state;
    start(9, 1, 0);
    granted(0, 1, 4, 0, 0, 4);
    granted(0, 2, 4, 0, 4, 4);
    struct mst_lease_mark marks[] = {{.lease = lease.id, .offset = 1}};
    struct mst_leases_revoked revoked = mst_leases_revoke(&leases, 0, 1, marks, 1);
    assert_int_equal(revoked.n_done, 5);
    assert_int_equal(revoked.n_torn, 0);
    assert_int_equal(revoked.n_returned, 3);
}

static void test_stopping_lets_what_is_held_be_done(void **state)
{
    (void)state;
    start(5, 3, 0);
    granted(0, 1, 5, 0, 0, 5);
    granted(1, 1, 3, 1, 0, 3);
    granted(1, 2, 2, 1, 3, 2);
    granted(2, 1, 2, 2, 0, 2);
    completed(0, 1);
    const struct mst_lease_mark mark = {0};
    assert_int_equal(mst_leases_revoke(&leases, 2, 1, &mark, 1).n_returned, 2); // goes to nobody
    mst_leases_stop(&leases);
    assert_int_equal(leases.n_total, 10);
    assert_int_equal(mst_leases_grant(&leases, 0, 1, 2, 4, &lease), MST_LEASE_WAIT);
    granted(1, 2, 2, 1, 3, 2); // the same question once more
    completed(1, 1);
    assert_false(mst_leases_finished(&leases));
    struct mst_leases_revoked revoked = mst_leases_revoke(&leases, 1, 1, &mark, 1);
    assert_true(revoked.n_returned == 2 && revoked.n_done == 0);
    assert_true(mst_leases_finished(&leases)); // what it had left is withdrawn
    assert_true(leases.n_total == 8 && leases.n_done == 8 && leases.n_epochs_done == 1);
    assert_int_equal(mst_leases_grant(&leases, 0, 1, 2, 4, &lease), MST_LEASE_FINISHED);
}

static void test_stopping_with_nothing_held_ends_at_once(void **state)
{
    (void)state;
    start(4, 2, 0);
    mst_leases_skip(&leases, 4);
    mst_leases_stop(&leases);
    assert_true(mst_leases_finished(&leases));
    assert_int_equal(mst_leases_grant(&leases, 0, 1, 1, 4, &lease), MST_LEASE_FINISHED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_ranges_cover_each_epoch_once, teardown),
        cmocka_unit_test_teardown(test_asking_twice_gives_the_same_lease, teardown),
        cmocka_unit_test_teardown(test_a_worker_holds_two_at_most, teardown),
        cmocka_unit_test_teardown(test_completing_again_counts_nothing, teardown),
        cmocka_unit_test_teardown(test_steps_end_the_job_inside_an_epoch, teardown),
        cmocka_unit_test_teardown(test_what_a_dead_worker_left_goes_to_others, teardown),
        cmocka_unit_test_teardown(test_what_a_server_lost_is_not_torn, teardown),
        cmocka_unit_test_teardown(test_a_bucket_that_saw_nothing_makes_the_first_batch_torn, teardown),
        cmocka_unit_test_teardown(test_stopping_lets_what_is_held_be_done, teardown),
        cmocka_unit_test_teardown(test_stopping_with_nothing_held_ends_at_once, teardown),
        cmocka_unit_test_teardown(test_marks_of_a_later_lease_finish_the_earlier, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
