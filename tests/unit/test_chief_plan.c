// Placement: TensorFlow's row split, balance by bytes, bucket sizes.
#include "chief/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static struct mst_plan *plan_of(const struct mst_plan_variable *variables, size_t n, size_t n_ps, size_t n_threads,
                                uint64_t bucket_max_bytes)
{
    struct mst_plan_ps ps[8];
    for (size_t i = 0; i < n_ps; i++)
        ps[i].n_threads = n_threads;
    struct mst_plan_request request = {variables, n, ps, n_ps, bucket_max_bytes};
    struct mst_plan *plan;
    struct mst_error err;
    assert_int_equal(mst_plan_new(&request, &plan, &err), MST_OK);
    return plan;
}

// Every row of every variable lies in exactly one piece, and a bucket in one thread of one server.
static void check_cover(const struct mst_plan *plan, const struct mst_plan_variable *variables, size_t n)
{
    for (size_t v = 0; v < n; v++)
        for (uint64_t row = 0; row < variables[v].n_rows; row++) {
            size_t n_found = 0;
            for (size_t i = 0; i < plan->n_pieces; i++)
                n_found += plan->pieces[i].variable == v && row >= plan->pieces[i].row_offset &&
                           row < plan->pieces[i].row_offset + plan->pieces[i].n_rows;
            assert_int_equal(n_found, 1);
        }
    for (size_t i = 1; i < plan->n_pieces; i++) {
        const struct mst_plan_piece *a = &plan->pieces[i - 1];
        const struct mst_plan_piece *b = &plan->pieces[i];
        assert_true(b->bucket == a->bucket || b->bucket == a->bucket + 1);
        if (a->bucket == b->bucket) {
            assert_int_equal(a->ps, b->ps);
            assert_int_equal(a->thread, b->thread);
        }
    }
}

static const struct mst_plan_variable mlp[] = {
    {"dense/kernel", 784, 1200, 2, MST_PLAN_OPTIMIZER},  {"dense/bias", 300, 4, 1, MST_PLAN_OPTIMIZER},
    {"dense_1/kernel", 300, 400, 1, MST_PLAN_OPTIMIZER}, {"dense_1/bias", 100, 4, 1, MST_PLAN_OPTIMIZER},
    {"dense_2/kernel", 100, 40, 1, MST_PLAN_OPTIMIZER},  {"dense_2/bias", 10, 4, 1, MST_PLAN_OPTIMIZER},
};

static void test_the_example_is_balanced_over_two_servers(void **state)
{
    (void)state;
    struct mst_plan *plan = plan_of(mlp, 6, 2, 1, MST_BUCKET_MAX_BYTES);
    check_cover(plan, mlp, 6);
    assert_int_equal(plan->n_buckets, 2);
    uint64_t total = plan->ps_bytes[0] + plan->ps_bytes[1];
    assert_int_equal(total, 266610 * 4);
    uint64_t larger = plan->ps_bytes[0] > plan->ps_bytes[1] ? plan->ps_bytes[0] : plan->ps_bytes[1];
    assert_true(larger <= total * 57 / 100); // the kernel of the second layer is whole: 11 % of all bytes
    char *text = mst_plan_text(plan);
    assert_non_null(strstr(text, "in 1 bucket; ps-1: "));
    free(text);
    mst_plan_free(plan);
}

static void test_parts_are_cut_as_tensorflow_cuts_them(void **state)
{
    (void)state;
    const struct mst_plan_variable variable = {"w", 13, 8, 5, MST_PLAN_OPTIMIZER};
    struct mst_plan *plan = plan_of(&variable, 1, 1, 1, MST_BUCKET_MAX_BYTES);
    const uint64_t want[] = {3, 3, 3, 2, 2};
    assert_int_equal(plan->n_pieces, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(plan->pieces[i].n_rows, want[i]);
    mst_plan_free(plan);
}

static void test_a_large_variable_is_cut_into_buckets_over_the_threads(void **state)
{
    (void)state;
    const struct mst_plan_variable variable = {"embeddings", 40000, 1024, 1, MST_PLAN_OPTIMIZER};
    struct mst_plan *plan = plan_of(&variable, 1, 1, 3, MST_BUCKET_MAX_BYTES);
    check_cover(plan, &variable, 1);
    assert_int_equal(plan->n_buckets, 10);
    size_t of_thread[3] = {0};
    for (size_t i = 0; i < plan->n_pieces; i++) {
        assert_true(plan->pieces[i].n_rows * 1024 <= MST_BUCKET_MAX_BYTES);
        of_thread[plan->pieces[i].thread]++;
    }
    for (size_t t = 0; t < 3; t++)
        assert_in_range(of_thread[t], 3, 4);
    mst_plan_free(plan);
}

static void test_one_bucket_a_server_when_there_is_no_limit(void **state)
{
    (void)state;
    const struct mst_plan_variable variables[] = {{"a", 40000, 1024, 1, MST_PLAN_OPTIMIZER},
                                                  {"b", 4, 4, 1, MST_PLAN_OPTIMIZER}};
    struct mst_plan *plan = plan_of(variables, 2, 1, 1, UINT64_MAX);
    assert_int_equal(plan->n_buckets, 1);
    assert_int_equal(plan->n_pieces, 2);
    mst_plan_free(plan);
}

static void test_more_servers_than_parts_leaves_some_empty(void **state)
{
    (void)state;
    const struct mst_plan_variable variable = {"w", 2, 4, 1, MST_PLAN_OPTIMIZER};
    struct mst_plan *plan = plan_of(&variable, 1, 3, 1, MST_BUCKET_MAX_BYTES);
    assert_int_equal(plan->n_buckets, 1);
    assert_int_equal(plan->ps_bytes[1] + plan->ps_bytes[2], 0);
    mst_plan_free(plan);
}

static const struct mst_plan_variable *variable_of(const struct mst_plan_variable *variables,
                                                   const struct mst_plan_piece *piece)
{
    return &variables[piece->variable];
}

// Two convolutions with BatchNormalization between frozen layers.
static const struct mst_plan_variable mixed[] = {
    {"frozen/kernel", 9000, 1024, 1, MST_PLAN_FROZEN},   {"conv/kernel", 900, 1024, 1, MST_PLAN_OPTIMIZER},
    {"bn/gamma", 256, 4, 1, MST_PLAN_OPTIMIZER},         {"bn/moving_mean", 256, 4, 1, MST_PLAN_AVERAGE},
    {"bn/moving_variance", 256, 4, 1, MST_PLAN_AVERAGE}, {"frozen_1/kernel", 100, 4, 1, MST_PLAN_FROZEN},
    {"dense/kernel", 1100, 1024, 1, MST_PLAN_OPTIMIZER},
};
enum { N_MIXED = sizeof mixed / sizeof *mixed };

static void test_what_is_frozen_lies_by_itself_and_last(void **state)
{
    (void)state;
    for (size_t n_ps = 1; n_ps <= 3; n_ps++) {
        struct mst_plan *plan = plan_of(mixed, N_MIXED, n_ps, 2, MST_BUCKET_MAX_BYTES);
        check_cover(plan, mixed, N_MIXED);
        for (size_t i = 1; i < plan->n_pieces; i++) {
            enum mst_plan_update before = variable_of(mixed, &plan->pieces[i - 1])->update;
            enum mst_plan_update update = variable_of(mixed, &plan->pieces[i])->update;
            bool is_same = plan->pieces[i].bucket == plan->pieces[i - 1].bucket;
            assert_true(!is_same || before <= update);
            assert_true(!is_same || (before == MST_PLAN_FROZEN) == (update == MST_PLAN_FROZEN));
            assert_true(before != MST_PLAN_FROZEN || update == MST_PLAN_FROZEN);
        }
        mst_plan_free(plan);
    }
}

static void test_averages_make_no_bucket_more(void **state)
{
    (void)state;
    struct mst_plan_variable without[2] = {mixed[1], mixed[6]};
    struct mst_plan_variable with[4] = {mixed[1], mixed[3], mixed[4], mixed[6]};
    struct mst_plan *few = plan_of(without, 2, 1, 1, MST_BUCKET_MAX_BYTES);
    struct mst_plan *more = plan_of(with, 4, 1, 1, MST_BUCKET_MAX_BYTES);
    assert_int_equal(more->n_buckets, few->n_buckets);
    mst_plan_free(few);
    mst_plan_free(more);
}

// A large frozen variable goes where there is least, and what is pushed is dealt as if it were not there.
static void test_frozen_bytes_do_not_disturb_the_balance(void **state)
{
    (void)state;
    struct mst_plan *plan = plan_of(mixed, N_MIXED, 2, 1, MST_BUCKET_MAX_BYTES);
    uint64_t pushed[2] = {0};
    for (size_t i = 0; i < plan->n_pieces; i++)
        if (variable_of(mixed, &plan->pieces[i])->update != MST_PLAN_FROZEN)
            pushed[plan->pieces[i].ps] += plan->pieces[i].n_rows * variable_of(mixed, &plan->pieces[i])->row_bytes;
    assert_int_equal(pushed[0], 1100 * 1024);
    assert_int_equal(pushed[1], 900 * 1024 + 3 * 1024);
    mst_plan_free(plan);
}

static void test_refusals(void **state)
{
    (void)state;
    struct mst_plan *plan;
    struct mst_error err;
    struct mst_plan_ps ps = {1};
    struct mst_plan_request no_ps = {mlp, 6, &ps, 0, MST_BUCKET_MAX_BYTES};
    assert_int_equal(mst_plan_new(&no_ps, &plan, &err), MST_INVALID_ARGUMENT);
    struct mst_plan_request no_variables = {mlp, 0, &ps, 1, MST_BUCKET_MAX_BYTES};
    assert_int_equal(mst_plan_new(&no_variables, &plan, &err), MST_INVALID_ARGUMENT);
    assert_null(plan);
    struct mst_plan_request all_frozen = {mixed, 1, &ps, 1, MST_BUCKET_MAX_BYTES};
    assert_int_equal(mst_plan_new(&all_frozen, &plan, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "every variable of the model is frozen"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_example_is_balanced_over_two_servers),
        cmocka_unit_test(test_parts_are_cut_as_tensorflow_cuts_them),
        cmocka_unit_test(test_a_large_variable_is_cut_into_buckets_over_the_threads),
        cmocka_unit_test(test_one_bucket_a_server_when_there_is_no_limit),
        cmocka_unit_test(test_more_servers_than_parts_leaves_some_empty),
        cmocka_unit_test(test_what_is_frozen_lies_by_itself_and_last),
        cmocka_unit_test(test_averages_make_no_bucket_more),
        cmocka_unit_test(test_frozen_bytes_do_not_disturb_the_balance),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
