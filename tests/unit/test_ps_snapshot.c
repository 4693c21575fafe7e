// A bucket as it was at a cut, while it goes on elsewhere: kept, held by a gate, given away, lost for want of memory.
#include "ps/bucket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

enum { N = 12 };

static struct mst_optimizer *optimizer;
static struct mst_bucket *bucket;
static unsigned n_marked;

static void on_marked(void *arg)
{
    (void)arg;
    n_marked++;
}

static int set_up(void **state)
{
    (void)state;
    json_t *json =
        json_pack("{s:s, s:{s:f, s:f}}", "class_name", "SGD", "config", "learning_rate", 1.0, "momentum", 0.5);
    struct mst_error err;
    mst_status status = mst_optimizer_parse(json, "optimizer", &optimizer, &err);
    json_decref(json);
    const struct mst_piece piece = {.n_rows = 3, .row_floats = 4, .is_whole = true};
    if (status != MST_OK || mst_bucket_new(7, &piece, 1, optimizer, &bucket, &err) != MST_OK)
        return -1;
    bucket->on_marked = on_marked;
    n_marked = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mst_bucket_free(bucket);
    mst_optimizer_free(optimizer);
    return 0;
}

static enum mst_push_outcome push(uint32_t worker, uint64_t step)
{
    float staged[N];
    for (size_t i = 0; i < N; i++)
        staged[i] = 1;
    struct mst_gradients gradients = {.staged = staged};
    struct mst_bucket_push identity = {worker, 1, step, 5, step};
    struct mst_push_result result;
    mst_bucket_push(bucket, &identity, &gradients, &result);
    if (result.version)
        mst_version_unref(result.version);
    return result.outcome;
}

static void test_it_stays_as_it_was(void **state)
{
    (void)state;
    push(0, 1);
    float weight = bucket->current->floats[0];
    float velocity = bucket->slots->slots[0][0];
    mst_snapshot_mark(&bucket->snapshots, 9, bucket);
    push(0, 2);
    push(0, 3);
    const struct mst_snapshot *snapshot = mst_snapshot_of(&bucket->snapshots, 9);
    assert_non_null(snapshot);
    assert_true(snapshot->version->floats[0] == weight && snapshot->version->floats[N - 1] == weight);
    assert_true(snapshot->slots->slots[0][0] == velocity);
    assert_int_equal(snapshot->n_updates, 1);
    assert_int_equal(mst_snapshot_row(&bucket->snapshots, 9, 0, 1).step, 1);
    assert_int_equal(mst_snapshot_row(&bucket->snapshots, 9, 4, 1).step, 0);
    assert_true(bucket->current->floats[0] != weight);
    mst_snapshot_drop(&bucket->snapshots, 9);
    assert_null(mst_snapshot_of(&bucket->snapshots, 9));
}

static void test_it_is_given_away_once(void **state)
{
    (void)state;
    struct mst_snapshot taken;
    mst_snapshot_mark(&bucket->snapshots, 9, bucket);
    assert_true(mst_snapshot_take(&bucket->snapshots, 9, &taken));
    push(0, 1);
    assert_true(taken.version->floats[0] == 0);
    mst_snapshot_fini(&taken);
    assert_false(mst_snapshot_take(&bucket->snapshots, 9, &taken));
}

// Two that are marked, those that are being written or on their way to others, and three replies: more is never held at
// once.
static void test_what_is_kept_takes_no_buffer_from_replies(void **state)
{
    enum { N_TAKEN = MST_BUCKET_KEPT - MST_SNAPSHOTS, N_CUTS = N_TAKEN + MST_SNAPSHOTS };
    (void)state;
    struct mst_snapshot taken[N_TAKEN];
    struct mst_version *held[MST_BUCKET_VERSIONS];
    for (uint64_t cut = 1; cut <= N_CUTS; cut++) {
        assert_int_equal(push(0, cut), MST_PUSH_DONE);
        mst_snapshot_mark(&bucket->snapshots, cut, bucket);
        if (cut <= N_TAKEN)
            assert_true(mst_snapshot_take(&bucket->snapshots, cut, &taken[cut - 1]));
    }
    for (size_t i = 0; i < MST_BUCKET_VERSIONS; i++) {
        assert_int_equal(push(0, N_CUTS + 1 + i), MST_PUSH_DONE);
        held[i] = mst_bucket_pull(bucket, MST_NO_WORKER, 0);
    }
    assert_int_equal(push(0, N_CUTS + MST_BUCKET_VERSIONS + 1), MST_PUSH_LATER);
    assert_false(mst_bucket_can_apply(bucket));
    assert_int_equal(taken[0].n_updates, 1);
    assert_true(taken[0].version->floats[0] == -1 && taken[0].slots->slots[0][0] == -1);
    assert_true(taken[2].version->floats[0] == -4.25f && taken[2].slots->slots[0][0] == -1.75f);
    assert_int_equal(mst_snapshot_of(&bucket->snapshots, N_CUTS)->n_updates, N_CUTS);
    for (size_t i = 0; i < MST_BUCKET_VERSIONS; i++)
        mst_version_unref(held[i]);
    for (size_t i = 0; i < N_TAKEN; i++)
        mst_snapshot_fini(&taken[i]);
    assert_int_equal(push(0, N_CUTS + MST_BUCKET_VERSIONS + 1), MST_PUSH_DONE);
}

static size_t n_buffers(void)
{
    size_t n = 0;
    for (size_t v = 0; v < sizeof bucket->versions / sizeof bucket->versions[0]; v++)
        n += bucket->versions[v].floats != NULL;
    for (size_t i = 0; i < sizeof bucket->slot_sets / sizeof bucket->slot_sets[0]; i++)
        n += bucket->slot_sets[i].slots[0] != NULL;
    return n;
}

// The buffers of one cut serve the next one, until they are given back; what is held stays.
static void test_buffers_stay_for_the_next_cut(void **state)
{
    (void)state;
    assert_int_equal(n_buffers(), 2);
    for (uint64_t cut = 1; cut <= 5; cut++) {
        mst_snapshot_mark(&bucket->snapshots, cut, bucket);
        push(0, cut);
        mst_snapshot_drop(&bucket->snapshots, cut);
        push(1, cut);
        assert_int_equal(n_buffers(), 4);
    }
    mst_snapshot_mark(&bucket->snapshots, 6, bucket);
    push(0, 6);
    mst_bucket_trim(bucket);
    assert_int_equal(n_buffers(), 4);
    mst_snapshot_drop(&bucket->snapshots, 6);
    mst_bucket_trim(bucket);
    assert_int_equal(n_buffers(), 2);
    assert_int_equal(push(0, 7), MST_PUSH_DONE);
}

// What is reserved is what the first cut takes.
static void test_what_is_reserved_is_used(void **state)
{
    (void)state;
    mst_bucket_reserve(bucket);
    assert_int_equal(n_buffers(), 4);
    const float *reserved = bucket->versions[1].floats;
    mst_snapshot_mark(&bucket->snapshots, 1, bucket);
    push(0, 1);
    assert_ptr_equal(bucket->current->floats, reserved);
    assert_int_equal(n_buffers(), 4);
}

// Whoever writes it holds a bucket that nobody changed: then the update goes elsewhere too, and comes back.
static void test_it_is_in_place_again_when_it_was_let_go(void **state)
{
    (void)state;
    const float *before = bucket->current->floats;
    mst_snapshot_mark(&bucket->snapshots, 9, bucket);
    mst_snapshot_drop(&bucket->snapshots, 9);
    push(0, 1);
    assert_ptr_equal(bucket->current->floats, before);
    mst_snapshot_mark(&bucket->snapshots, 10, bucket);
    push(0, 2);
    assert_ptr_not_equal(bucket->current->floats, before);
    const float *after = bucket->current->floats;
    push(0, 3);
    assert_ptr_equal(bucket->current->floats, after);
}

static void test_a_third_one_takes_the_oldest_place(void **state)
{
    (void)state;
    for (uint64_t cut = 1; cut <= 3; cut++) {
        push(0, cut);
        mst_snapshot_mark(&bucket->snapshots, cut, bucket);
    }
    assert_null(mst_snapshot_of(&bucket->snapshots, 1));
    assert_int_equal(mst_snapshot_of(&bucket->snapshots, 2)->n_updates, 2);
    assert_int_equal(mst_snapshot_of(&bucket->snapshots, 3)->n_updates, 3);
}

static void test_a_gate_holds_pushes_and_marks(void **state)
{
    (void)state;
    struct mst_cut_gate gate;
    mst_cut_gate_init(&gate);
    assert_int_equal(push(0, 1), MST_PUSH_DONE);
    mst_cut_gate_hold(&gate, 4);
    bucket->gate = &gate;
    assert_int_equal(push(0, 1), MST_PUSH_DONE); // a repetition is answered
    assert_int_equal(push(0, 2), MST_PUSH_LATER);
    const struct mst_cut_row rows[] = {{0, 1, 1}, {1, 1, 3}};
    mst_cut_gate_admit(&gate, 4, rows, 2);
    assert_int_equal(push(0, 2), MST_PUSH_LATER);
    assert_int_equal(n_marked, 0);
    assert_int_equal(push(1, 3), MST_PUSH_DONE);
    assert_int_equal(n_marked, 1);
    assert_null(bucket->gate);
    assert_int_equal(push(0, 2), MST_PUSH_DONE); // and it goes on
    assert_int_equal(mst_snapshot_of(&bucket->snapshots, 4)->n_updates, 2);
    assert_int_equal(n_marked, 1);
    mst_cut_gate_fini(&gate);
}

static void test_without_memory_it_is_lost_and_training_goes_on(void **state)
{
    (void)state;
    mst_snapshot_mark(&bucket->snapshots, 9, bucket);
    assert_int_equal(push(0, 1), MST_PUSH_DONE); // MST_FAIL_NTH=3 is set by main: weights and velocity come before
    assert_true(mst_snapshot_is_lost(&bucket->snapshots, 9));
    assert_null(mst_snapshot_of(&bucket->snapshots, 9));
    assert_int_equal(push(0, 2), MST_PUSH_DONE);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_without_memory_it_is_lost_and_training_goes_on), // the first, for its allocations are counted
        CASE(test_it_stays_as_it_was),
        CASE(test_it_is_given_away_once),
        CASE(test_what_is_kept_takes_no_buffer_from_replies),
        CASE(test_buffers_stay_for_the_next_cut),
        CASE(test_what_is_reserved_is_used),
        CASE(test_it_is_in_place_again_when_it_was_let_go),
        CASE(test_a_third_one_takes_the_oldest_place),
        CASE(test_a_gate_holds_pushes_and_marks),
    };
    setenv("MST_FAIL_NTH", "3", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
