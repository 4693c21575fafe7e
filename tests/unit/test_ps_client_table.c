// Exactly-once push, one rule a test.
#include "ps/client_table.h"

#include "wire/worker_numbers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct mst_client_table table;

static int setup(void **state)
{
    (void)state;
    mst_client_table_init(&table);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mst_client_table_fini(&table);
    return 0;
}

static void applied(uint32_t worker, uint64_t number, uint64_t step)
{
    assert_int_equal(mst_client_table_admit(&table, worker, number, step), MST_PUSH_APPLY);
    struct mst_client_row row = {.number = number, .step = step, .lease = 7, .offset = step};
    mst_client_table_record(&table, worker, &row);
}

static void test_a_step_is_applied_once(void **state)
{
    (void)state;
    applied(2, 1, 1);
    assert_int_equal(mst_client_table_admit(&table, 2, 1, 1), MST_PUSH_REPEAT);
    applied(2, 1, 2);
    assert_int_equal(mst_client_table_admit(&table, 2, 1, 1), MST_PUSH_REFUSED_STEP);
}

static void test_steps_may_leave_gaps(void **state)
{
    (void)state;
    applied(0, 1, 1);
    applied(0, 1, 9);
    assert_int_equal(mst_client_table_admit(&table, 0, 1, 5), MST_PUSH_REFUSED_STEP);
}

static void test_a_newer_incarnation_starts_a_new_row(void **state)
{
    (void)state;
    applied(0, 1, 50);
    applied(0, 2, 1);
    assert_int_equal(mst_client_table_admit(&table, 0, 1, 51), MST_PUSH_REFUSED_NUMBER);
}

static void test_workers_do_not_disturb_each_other(void **state)
{
    (void)state;
    applied(0, 1, 5);
    applied(3, 1, 1);
    assert_int_equal(mst_client_table_admit(&table, 0, 1, 5), MST_PUSH_REPEAT);
    assert_int_equal(mst_client_table_admit(&table, 1, 1, 1), MST_PUSH_APPLY);
}

static void test_a_fence_refuses_for_good_and_tells_the_row(void **state)
{
    (void)state;
    applied(1, 4, 3);
    struct mst_client_row row = mst_client_table_fence(&table, 1, 4);
    assert_int_equal(row.lease, 7);
    assert_int_equal(row.offset, 3);
    assert_int_equal(mst_client_table_admit(&table, 1, 4, 4), MST_PUSH_REFUSED_FENCED);
    assert_int_equal(mst_client_table_admit(&table, 1, 3, 9), MST_PUSH_REFUSED_FENCED);
    applied(1, 5, 1);
    // The same fence again, after the next incarnation pushed: nothing of it is told, nothing is undone.
    row = mst_client_table_fence(&table, 1, 4);
    assert_int_equal(row.number, 0);
    assert_int_equal(mst_client_table_admit(&table, 1, 5, 1), MST_PUSH_REPEAT);
}

static void test_a_fence_of_an_unknown_worker_tells_zeros(void **state)
{
    (void)state;
    struct mst_client_row row = mst_client_table_fence(&table, 12, 2);
    assert_int_equal(row.number, 0);
    assert_int_equal(mst_client_table_admit(&table, 12, 2, 1), MST_PUSH_REFUSED_FENCED);
}

static void test_who_pulls_has_a_row(void **state)
{
    (void)state;
    struct mst_client_row *row = mst_client_table_pulled(&table, 1, 3);
    assert_non_null(row);
    assert_int_equal(row->number, 3);
    assert_null(mst_client_table_pulled(&table, 1, 2)); // a late one of an older number
    applied(1, 3, 1);
    assert_int_equal(mst_client_table_pulled(&table, 1, 3)->step, 1);
}

static void test_a_step_that_the_checkpoint_holds_is_no_new_one(void **state)
{
    (void)state;
    const struct mst_client_row row = {.number = 2, .step = 9, .lease = 7, .offset = 1};
    mst_client_table_restore(&table, 0, &row);
    assert_true(mst_client_table_row(&table, 0)->is_restored);
    assert_int_equal(mst_client_table_admit(&table, 0, 2, 9), MST_PUSH_REPEAT);
    applied(0, 2, 11);
    assert_false(mst_client_table_row(&table, 0)->is_restored);
    mst_client_table_restore(&table, 0, &row);
    assert_int_equal(mst_client_table_row(&table, 0)->step, 11);
}

static void test_the_row_before_is_kept(void **state)
{
    (void)state;
    applied(0, 2, 7);
    assert_non_null(mst_client_table_pulled(&table, 0, 3));
    assert_int_equal(mst_client_row_of(&table.rows[0], &table.last_rows[0], 2)->step, 7);
    assert_int_equal(mst_client_row_of(&table.rows[0], &table.last_rows[0], 3)->step, 0);
    applied(0, 3, 1);
    applied(0, 3, 2);
    assert_int_equal(mst_client_row_of(&table.rows[0], &table.last_rows[0], 2)->step, 7);
    assert_int_equal(mst_client_row_of(&table.rows[0], &table.last_rows[0], 1)->number, 3);
}

// Workers come in any order, and whoever came before is untouched by it.
static void test_room_doubles(void **state)
{
    (void)state;
    size_t n_times = 0;
    size_t n_room = 0;
    for (uint32_t w = 0; w < MST_WORKERS_MAX; w++) {
        applied(w, w + 1, 7);
        assert_int_equal(table.n_rows, w + 1); // what others are told of is no longer than it has to be
        n_times += table.n_room != n_room;
        n_room = table.n_room;
    }
    assert_true(n_times <= 15); // 4 · 2^14 = 65536
    assert_int_equal(table.n_room, MST_WORKERS_MAX);
    for (uint32_t w = 0; w < MST_WORKERS_MAX; w++)
        if (table.rows[w].number != w + 1 || table.rows[w].step != 7 || table.last_rows[w].number || table.fenced[w])
            fail_msg("worker %u is another one", w);
}

static void test_who_is_passed_over_is_unknown(void **state)
{
    (void)state;
    applied(70, 3, 1);
    assert_int_equal(table.n_rows, 71);
    for (uint32_t w = 0; w < 70; w++)
        assert_int_equal(mst_client_table_row(&table, w)->number, 0);
    assert_null(mst_client_table_row(&table, 71)); // there is room for it, and no row
    assert_int_equal(mst_client_table_fence(&table, 100, 2).number, 0);
    assert_int_equal(mst_client_table_row(&table, 70)->step, 1);
    assert_int_equal(mst_client_table_admit(&table, 100, 2, 1), MST_PUSH_REFUSED_FENCED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_room_doubles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_is_passed_over_is_unknown, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_row_before_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_step_is_applied_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_steps_may_leave_gaps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_newer_incarnation_starts_a_new_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_workers_do_not_disturb_each_other, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_fence_refuses_for_good_and_tells_the_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_fence_of_an_unknown_worker_tells_zeros, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_pulls_has_a_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_step_that_the_checkpoint_holds_is_no_new_one, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
