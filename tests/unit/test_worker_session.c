// What a worker may send next, one rule a test.
#include "worker/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { N_BUCKETS = 2 };

static struct mst_session session;

static int setup(void **state)
{
    (void)state;
    mst_session_init(&session, N_BUCKETS, N_BUCKETS);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mst_session_fini(&session);
    return 0;
}

static void admit_and_pull(uint64_t number)
{
    mst_session_admitted(&session, number);
    for (size_t b = 0; b < N_BUCKETS; b++)
        mst_session_pulled(&session, number, b);
}

static void give_lease(uint64_t seq, uint64_t first, uint64_t n)
{
    struct mst_session_lease lease = {.id = 10 + seq, .seq = seq, .epoch = 1, .first_batch = first, .n_batches = n};
    mst_session_lease(&session, session.number, &lease);
}

static void train_one(void)
{
    struct mst_session_push push;
    mst_session_push_all(&session, &push);
    assert_false(mst_session_pushed(&session, push.number, push.step, 0));
    assert_true(mst_session_pushed(&session, push.number, push.step, 1));
}

static void test_nothing_before_admission_and_pull(void **state)
{
    (void)state;
    struct mst_session_request request;
    struct mst_session_batch batch;
    assert_false(mst_session_wants_lease(&session, &request));
    mst_session_admitted(&session, 1);
    give_lease(1, 0, 3);
    assert_false(mst_session_next_batch(&session, &batch));
    mst_session_pulled(&session, 1, 0);
    assert_false(mst_session_next_batch(&session, &batch));
    mst_session_pulled(&session, 1, 1);
    assert_true(mst_session_next_batch(&session, &batch));
    assert_int_equal(batch.epoch, 1);
    assert_int_equal(batch.batch, 0);
}

static void test_leases_are_trained_in_order_and_asked_for_ahead(void **state)
{
    (void)state;
    struct mst_session_request request;
    struct mst_session_batch batch;
    admit_and_pull(1);
    assert_true(mst_session_wants_lease(&session, &request));
    assert_int_equal(request.seq, 1);
    give_lease(1, 4, 2);
    assert_true(mst_session_wants_lease(&session, &request));
    assert_int_equal(request.seq, 2);
    give_lease(2, 9, 1);
    assert_false(mst_session_wants_lease(&session, &request));
    train_one();
    assert_true(mst_session_next_batch(&session, &batch));
    assert_int_equal(batch.batch, 5);
    train_one();
    assert_true(mst_session_next_batch(&session, &batch));
    assert_int_equal(batch.batch, 9);
    assert_true(mst_session_wants_lease(&session, &request));
    assert_int_equal(request.seq, 3);
    assert_int_equal(request.done_seq, 1);
}

static void test_a_repeated_lease_is_taken_once(void **state)
{
    (void)state;
    admit_and_pull(1);
    give_lease(1, 0, 2);
    give_lease(1, 0, 2);
    assert_int_equal(session.n_leases, 1);
}

static void test_a_push_names_its_place_and_waits_for_all_buckets(void **state)
{
    (void)state;
    struct mst_session_push push;
    struct mst_session_batch batch;
    admit_and_pull(3);
    give_lease(1, 0, 5);
    mst_session_push_all(&session, &push);
    assert_int_equal(push.number, 3);
    assert_int_equal(push.step, 1);
    assert_int_equal(push.lease, 11);
    assert_int_equal(push.offset, 1);
    assert_false(mst_session_next_batch(&session, &batch));
    assert_false(mst_session_pushed(&session, 3, 1, 1));
    assert_false(mst_session_pushed(&session, 3, 1, 1)); // the same answer again
    assert_false(mst_session_pushed(&session, 3, 0, 0)); // of another step
    assert_true(mst_session_pushed(&session, 3, 1, 0));
}

static void test_a_fenced_worker_forgets_everything(void **state)
{
    (void)state;
    struct mst_session_push push;
    struct mst_session_request request;
    admit_and_pull(1);
    give_lease(1, 0, 5);
    mst_session_push_all(&session, &push);
    mst_session_fenced(&session);
    assert_false(mst_session_wants_lease(&session, &request));
    mst_session_admitted(&session, 2);
    assert_int_equal(session.step, 0);
    assert_int_equal(session.n_outstanding, N_BUCKETS);
    assert_false(mst_session_pushed(&session, 1, 1, 0)); // an answer to the old number
    assert_true(mst_session_wants_lease(&session, &request));
    assert_int_equal(request.seq, 1);
}

static void test_a_question_is_asked_once_until_there_is_news(void **state)
{
    (void)state;
    struct mst_session_request request;
    admit_and_pull(1);
    give_lease(1, 0, 1);
    assert_true(mst_session_wants_lease(&session, &request));
    mst_session_asked(&session, &request);
    assert_false(mst_session_wants_lease(&session, &request));
    train_one(); // the chief may wait for just this lease to give the answer
    assert_true(mst_session_wants_lease(&session, &request));
    assert_int_equal(request.seq, 2);
    assert_int_equal(request.done_seq, 1);
    mst_session_asked(&session, &request);
    assert_false(mst_session_wants_lease(&session, &request));
    mst_session_ask_again(&session);
    assert_true(mst_session_wants_lease(&session, &request));
}

// Bucket 1 is frozen: the first pull waits for it, no step does.
static void test_a_frozen_bucket_is_pulled_and_never_waited_for_again(void **state)
{
    (void)state;
    struct mst_session_push push;
    struct mst_session_batch batch;
    struct mst_session frozen;
    const struct mst_session_lease lease = {.id = 1, .seq = 1, .epoch = 1, .n_batches = 4};
    mst_session_init(&frozen, 2, 1);
    for (uint64_t number = 1; number <= 2; number++) {
        mst_session_admitted(&frozen, number);
        mst_session_lease(&frozen, number, &lease);
        mst_session_pulled(&frozen, number, 0);
        assert_false(mst_session_next_batch(&frozen, &batch));
        mst_session_pulled(&frozen, number, 1);
        for (uint64_t step = 1; step <= 2; step++) {
            assert_true(mst_session_next_batch(&frozen, &batch));
            mst_session_push_all(&frozen, &push);
            assert_int_equal(frozen.n_outstanding, 1);
            assert_false(mst_session_pushed(&frozen, number, step, 1));
            assert_true(mst_session_pushed(&frozen, number, step, 0));
        }
        mst_session_push_all(&frozen, &push);
        mst_session_fenced(&frozen); // its next incarnation pulls all again
    }
    mst_session_fini(&frozen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_before_admission_and_pull, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leases_are_trained_in_order_and_asked_for_ahead, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_repeated_lease_is_taken_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_push_names_its_place_and_waits_for_all_buckets, setup, teardown),
        cmocka_unit_test(test_a_frozen_bucket_is_pulled_and_never_waited_for_again),
        cmocka_unit_test_setup_teardown(test_a_fenced_worker_forgets_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_question_is_asked_once_until_there_is_news, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
