// Numbers and indexes at the border of what can be.
#include "wire/worker_numbers.h"

#include "base/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static int64_t n_wrong(void)
{
    return mst_metric_read(mst_metric_counter("muster_wrong_numbers_total", "", NULL));
}

static void test_a_number_is_one_that_a_chief_gives(void **state)
{
    (void)state;
    struct mst_error err;
    int64_t n = n_wrong();
    assert_int_equal(mst_worker_number_check(3, 1, &err), MST_OK);
    assert_int_equal(mst_worker_number_check(3, MST_NUMBER_MAX, &err), MST_OK);
    assert_int_equal(mst_worker_number_check_if_any(3, 0, &err), MST_OK);
    assert_int_equal(n_wrong(), n);
    assert_int_equal(mst_worker_number_check(3, 0, &err), MST_FAILED_PRECONDITION);
    assert_int_equal(mst_worker_number_check(3, MST_NUMBER_MAX + 1, &err), MST_FAILED_PRECONDITION);
    assert_int_equal(mst_worker_number_check_if_any(3, MST_NO_NUMBER, &err), MST_FAILED_PRECONDITION);
    assert_non_null(strstr(err.text, "worker-3 goes by the number 18446744073709551615, and a chief gives 1 to "
                                     "281474976710655"));
    assert_non_null(strstr(err.text, "start that worker again"));
    assert_int_equal(n_wrong(), n + 3);
}

static void test_an_evaluators_number_is_too(void **state)
{
    (void)state;
    struct mst_error err;
    assert_int_equal(mst_evaluator_number_check(UINT32_MAX, 1, &err), MST_OK);
    assert_int_equal(mst_evaluator_number_check(2, MST_NUMBER_MAX, &err), MST_OK);
    assert_int_equal(mst_evaluator_number_check(2, 0, &err), MST_FAILED_PRECONDITION);
    assert_int_equal(mst_evaluator_number_check(2, MST_NUMBER_MAX + 1, &err), MST_FAILED_PRECONDITION);
    assert_non_null(strstr(err.text, "evaluator-2 goes by the number 281474976710656"));
    assert_non_null(strstr(err.text, "start that evaluator again"));
}

static void test_an_index_is_below_the_limit(void **state)
{
    (void)state;
    struct mst_error err;
    assert_int_equal(mst_worker_index_check(MST_WORKERS_MAX - 1, &err), MST_OK);
    assert_int_equal(mst_worker_index_check(MST_WORKERS_MAX, &err), MST_OUT_OF_RANGE);
    assert_int_equal(mst_worker_number_check(UINT32_MAX, 1, &err), MST_OUT_OF_RANGE);
    assert_non_null(strstr(err.text, "worker index 4294967295 is past the limit"));
}

static void test_rows_and_fences_are_looked_at_one_by_one(void **state)
{
    (void)state;
    struct mst_error err;
    struct mst_msg_client_row rows[] = {{.worker = 0}, {.worker = 1, .number = 7}};
    assert_int_equal(mst_worker_rows_check(rows, 2, &err), MST_OK);
    rows[1].number = MST_NO_NUMBER;
    assert_int_equal(mst_worker_rows_check(rows, 1, &err), MST_OK);
    assert_int_equal(mst_worker_rows_check(rows, 2, &err), MST_FAILED_PRECONDITION);
    rows[1] = (struct mst_msg_client_row){.worker = MST_WORKERS_MAX};
    assert_int_equal(mst_worker_rows_check(rows, 2, &err), MST_OUT_OF_RANGE);

    static uint64_t fenced[MST_WORKERS_MAX + 1] = {0, 5};
    assert_int_equal(mst_worker_fences_check(fenced, MST_WORKERS_MAX, &err), MST_OK);
    assert_int_equal(mst_worker_fences_check(fenced, MST_WORKERS_MAX + 1, &err), MST_OUT_OF_RANGE);
    fenced[1] = MST_NO_NUMBER;
    assert_int_equal(mst_worker_fences_check(fenced, 2, &err), MST_FAILED_PRECONDITION);
    assert_non_null(strstr(err.text, "worker-1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_number_is_one_that_a_chief_gives),
        cmocka_unit_test(test_an_evaluators_number_is_too),
        cmocka_unit_test(test_an_index_is_below_the_limit),
        cmocka_unit_test(test_rows_and_fences_are_looked_at_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
