// A bucket's versions: immutable while anybody holds them, in place when nobody does, three buffers at most; and that a
// push counts once. The optimizer is SGD with a rate of 1, so an update is a plain subtraction.
#include "ps/bucket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

enum { N = 40 };

static struct mst_optimizer *optimizer;
static struct mst_bucket *bucket;
static unsigned n_freed;

static void on_free(void *arg, struct mst_bucket *freed)
{
    assert_ptr_equal(arg, &n_freed);
    assert_ptr_equal(freed, bucket);
    n_freed++;
}

static int set_up(void **state)
{
    (void)state;
    json_t *json = json_pack("{s:s, s:{s:f}}", "class_name", "SGD", "config", "learning_rate", 1.0);
    struct mst_error err;
    mst_status status = mst_optimizer_parse(json, "optimizer", &optimizer, &err);
    json_decref(json);
    if (status != MST_OK)
        return -1;
    // Two variables: 3 rows of 10 and 10 rows of 1.
    const struct mst_piece pieces[] = {{.variable = 0, .n_rows = 3, .row_floats = 10, .is_whole = true},
                                       {.variable = 1, .n_rows = 10, .row_floats = 1, .is_whole = true}};
    status = mst_bucket_new(7, pieces, 2, optimizer, &bucket, &err);
    if (status != MST_OK)
        return -1;
    n_freed = 0;
    bucket->on_free = on_free;
    bucket->on_free_arg = &n_freed;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mst_bucket_free(bucket);
    mst_optimizer_free(optimizer);
    return 0;
}

static void push_as(uint32_t worker, uint64_t number, uint64_t step, float gradient, struct mst_push_result *result)
{
    float staged[N];
    for (size_t i = 0; i < N; i++)
        staged[i] = gradient;
    struct mst_gradients gradients = {.staged = staged};
    struct mst_bucket_push push = {worker, number, step, 5, step};
    mst_bucket_push(bucket, &push, &gradients, result);
}

// Applies one update and keeps no reference.
static void push_once(uint64_t step, float gradient)
{
    struct mst_push_result result;
    push_as(0, 1, step, gradient, &result);
    assert_int_equal(result.outcome, MST_PUSH_DONE);
    assert_int_equal(result.verdict, MST_PUSH_APPLY);
    mst_version_unref(result.version);
}

static void expect_all(const float *floats, float value)
{
    for (size_t i = 0; i < N; i++)
        assert_true(floats[i] == value);
}

static void test_nobody_holds_it_so_it_is_updated_in_place(void **state)
{
    (void)state;
    const float *before = bucket->current->floats;
    push_once(1, 2.0f);
    push_once(2, 3.0f);
    assert_ptr_equal(bucket->current->floats, before);
    expect_all(before, -5.0f);
    assert_int_equal(bucket->n_updates, 2);
    assert_int_equal(bucket->current->counter, 2);
    assert_null(bucket->versions[1].floats); // no spare buffer was needed, so none was made
}

static void test_a_held_version_never_changes(void **state)
{
    (void)state;
    push_once(1, 1.0f);
    struct mst_version *held = mst_bucket_pull(bucket, MST_NO_WORKER, 0);
    push_once(2, 1.0f);
    push_once(3, 1.0f); // in place in the second buffer
    expect_all(held->floats, -1.0f);
    assert_int_equal(held->counter, 1);
    expect_all(bucket->current->floats, -3.0f);
    assert_int_equal(held->part.iov_len, N * sizeof(float));
    mst_version_unref(held);
    assert_true(n_freed > 0);
}

static void test_three_buffers_and_no_more(void **state)
{
    (void)state;
    struct mst_version *held[3];
    struct mst_push_result result;
    for (unsigned i = 0; i < 3; i++) {
        held[i] = mst_bucket_pull(bucket, MST_NO_WORKER, 0);
        if (i < 2)
            push_once(i + 1, 1.0f);
    }
    push_as(0, 1, 3, 1.0f, &result);
    assert_int_equal(result.outcome, MST_PUSH_LATER);
    assert_null(result.version);
    assert_int_equal(bucket->n_updates, 2);
    for (unsigned i = 0; i < 3; i++)
        expect_all(held[i]->floats, -(float)i);
    unsigned before = n_freed;
    mst_version_unref(held[0]); // an old version: its buffer is free now
    assert_int_equal(n_freed, before + 1);
    push_as(0, 1, 3, 1.0f, &result); // the same push comes again
    assert_int_equal(result.outcome, MST_PUSH_DONE);
    assert_int_equal(result.verdict, MST_PUSH_APPLY);
    expect_all(result.version->floats, -3.0f);
    expect_all(held[2]->floats, -2.0f);
    mst_version_unref(result.version);
    mst_version_unref(held[1]);
    mst_version_unref(held[2]);
}

static void test_a_repeated_push_is_answered_and_not_applied(void **state)
{
    (void)state;
    struct mst_push_result result;
    push_once(1, 1.0f);
    push_as(0, 1, 1, 1.0f, &result);
    assert_int_equal(result.outcome, MST_PUSH_DONE);
    assert_int_equal(result.verdict, MST_PUSH_REPEAT);
    expect_all(result.version->floats, -1.0f);
    mst_version_unref(result.version);
    assert_int_equal(bucket->n_updates, 1);
}

static void test_an_older_step_or_incarnation_is_refused(void **state)
{
    (void)state;
    struct mst_push_result result;
    push_as(3, 2, 9, 1.0f, &result);
    mst_version_unref(result.version);
    push_as(3, 2, 8, 1.0f, &result);
    assert_int_equal(result.verdict, MST_PUSH_REFUSED_STEP);
    push_as(3, 1, 10, 1.0f, &result);
    assert_int_equal(result.verdict, MST_PUSH_REFUSED_NUMBER);
    mst_client_table_fence(&bucket->clients, 3, 2);
    push_as(3, 2, 10, 1.0f, &result);
    assert_int_equal(result.verdict, MST_PUSH_REFUSED_FENCED);
    assert_int_equal(result.outcome, MST_PUSH_REFUSED);
    assert_int_equal(bucket->n_updates, 1);
    push_as(3, 3, 1, 1.0f, &result); // its next incarnation begins at step 1
    assert_int_equal(result.verdict, MST_PUSH_APPLY);
    mst_version_unref(result.version);
}

static void test_staleness_counts_the_updates_of_others(void **state)
{
    (void)state;
    struct mst_push_result result;
    mst_version_unref(mst_bucket_pull(bucket, 1, 1));
    push_once(1, 1.0f);
    push_once(2, 1.0f);
    push_as(1, 1, 1, 1.0f, &result);
    assert_int_equal(result.staleness, 2);
    mst_version_unref(result.version);
    push_as(1, 1, 2, 1.0f, &result);
    assert_int_equal(result.staleness, 0);
    mst_version_unref(result.version);
}

static void test_pieces_are_applied_like_one_run(void **state)
{
    (void)state;
    float first[30];
    float second[10];
    for (size_t i = 0; i < 30; i++)
        first[i] = (float)i;
    for (size_t i = 0; i < 10; i++)
        second[i] = 100.0f + (float)i;
    const float *pieces[] = {first, second};
    struct mst_gradients gradients = {.pieces = pieces};
    struct mst_bucket_push push = {0, 1, 1, 1, 1};
    struct mst_push_result result;
    mst_bucket_push(bucket, &push, &gradients, &result);
    for (size_t i = 0; i < N; i++)
        assert_true(result.version->floats[i] == (i < 30 ? -(float)i : -(100.0f + (float)(i - 30))));
    mst_version_unref(result.version);
}

static void test_what_is_not_finite_is_flagged(void **state)
{
    (void)state;
    struct mst_push_result result;
    push_as(0, 1, 1, NAN, &result);
    assert_int_equal(result.outcome, MST_PUSH_DONE);
    assert_false(result.is_finite);
    mst_version_unref(result.version);
}

// Ten weights, then two averages with momenta of their own.
static struct mst_bucket *mixed_bucket(void)
{
    const struct mst_piece pieces[] = {
        {.variable = 0, .n_rows = 10, .row_floats = 1},
        {.variable = 2, .n_rows = 5, .row_floats = 1, .update = MST_UPDATE_MOVING_AVERAGE, .momentum = 0.75},
        {.variable = 1, .n_rows = 3, .row_floats = 1, .update = MST_UPDATE_MOVING_AVERAGE, .momentum = 1.0},
    };
    struct mst_bucket *mixed;
    assert_int_equal(mst_bucket_new(8, pieces, 3, optimizer, &mixed, NULL), MST_OK);
    for (size_t i = 0; i < 18; i++)
        mixed->current->floats[i] = 1.0f;
    return mixed;
}

static void test_averages_move_while_weights_are_updated(void **state)
{
    (void)state;
    const float statistics[18] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 3, 3, 3, 3, 9, 9, 9};
    const float *pieces[] = {statistics, statistics + 10, statistics + 15};
    for (int as_pieces = 0; as_pieces < 2; as_pieces++) {
        struct mst_bucket *mixed = mixed_bucket();
        assert_int_equal(mixed->n_trained, 10);
        assert_false(mixed->is_frozen);
        struct mst_gradients gradients = {.staged = as_pieces ? NULL : statistics, .pieces = as_pieces ? pieces : NULL};
        struct mst_bucket_push push = {0, 1, 1, 1, 1};
        struct mst_push_result result;
        struct mst_version *held = as_pieces ? mst_bucket_pull(mixed, MST_NO_WORKER, 0) : NULL; // out of place
        mst_bucket_push(mixed, &push, &gradients, &result);
        assert_true(result.is_finite);
        for (size_t i = 0; i < 18; i++)
            assert_true(result.version->floats[i] == (i < 10 ? 0.0f : i < 15 ? 1.5f : 1.0f));
        mst_version_unref(result.version);
        if (held)
            mst_version_unref(held);
        mst_bucket_free(mixed);
    }
}

static void test_an_average_that_is_not_finite_is_flagged(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY};
    for (size_t b = 0; b < 2; b++) {
        struct mst_bucket *mixed = mixed_bucket();
        float statistics[18] = {0};
        statistics[12] = bad[b];
        struct mst_gradients gradients = {.staged = statistics};
        struct mst_bucket_push push = {0, 1, 1, 1, 1};
        struct mst_push_result result;
        mst_bucket_push(mixed, &push, &gradients, &result);
        assert_false(result.is_finite);
        mst_version_unref(result.version);
        mst_bucket_free(mixed);
    }
}

static void test_only_what_the_optimizer_updates_has_slots(void **state)
{
    (void)state;
    struct mst_optimizer *adam;
    json_t *json = json_string("adam");
    assert_int_equal(mst_optimizer_parse(json, "optimizer", &adam, NULL), MST_OK);
    json_decref(json);
    const struct mst_piece pieces[] = {
        {.variable = 0, .n_rows = 10, .row_floats = 1},
        {.variable = 1, .n_rows = 3, .row_floats = 1, .update = MST_UPDATE_MOVING_AVERAGE},
        {.variable = 2, .n_rows = 7, .row_floats = 1, .update = MST_UPDATE_FROZEN},
    };
    const size_t want_bytes[] = {10 * 2 * sizeof(float), 0, 0};
    for (size_t i = 0; i < 3; i++) {
        struct mst_bucket *one;
        assert_int_equal(mst_bucket_new(1, &pieces[i], 1, adam, &one, NULL), MST_OK);
        assert_int_equal(mst_bucket_slot_bytes(one), want_bytes[i]);
        assert_true(one->is_frozen == (i == 2));
        mst_bucket_free(one);
    }
    const size_t wrong[][2] = {{1, 0}, {0, 2}, {2, 0}};
    for (size_t i = 0; i < 3; i++) {
        const struct mst_piece two[] = {pieces[wrong[i][0]], pieces[wrong[i][1]]};
        struct mst_bucket *none;
        assert_int_equal(mst_bucket_new(1, two, 2, adam, &none, NULL), MST_INVALID_ARGUMENT);
        assert_null(none);
    }
    mst_optimizer_free(adam);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nobody_holds_it_so_it_is_updated_in_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_held_version_never_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_three_buffers_and_no_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_repeated_push_is_answered_and_not_applied, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_older_step_or_incarnation_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_staleness_counts_the_updates_of_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pieces_are_applied_like_one_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_not_finite_is_flagged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_averages_move_while_weights_are_updated, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_average_that_is_not_finite_is_flagged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_only_what_the_optimizer_updates_has_slots, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
