// The table of statuses against gRPC's numbers, and sentences: written, cut, prefixed.
#include "base/error.h"

#include "muster/status.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

// What a newer peer may send.
static mst_status status_of(int number)
{
    mst_status status;
    memcpy(&status, &number, sizeof status);
    return status;
}

static void test_the_table(void **state)
{
    (void)state;
    static const struct {
        int number;
        const char *name;
        int http;
        bool is_retryable;
        int exit_code;
    } rows[] = {
        {0, "OK", 200, false, 0},
        {1, "CANCELLED", 499, false, 143},
        {2, "UNKNOWN", 500, false, 1},
        {3, "INVALID_ARGUMENT", 400, false, 2},
        {4, "DEADLINE_EXCEEDED", 504, true, 138},
        {5, "NOT_FOUND", 404, false, 1},
        {6, "ALREADY_EXISTS", 409, false, 138},
        {7, "PERMISSION_DENIED", 403, false, 2},
        {8, "RESOURCE_EXHAUSTED", 429, true, 138},
        {9, "FAILED_PRECONDITION", 400, false, 2},
        {10, "ABORTED", 409, true, 138},
        {11, "OUT_OF_RANGE", 400, false, 1},
        {12, "UNIMPLEMENTED", 501, false, 2},
        {13, "INTERNAL", 500, false, 1},
        {14, "UNAVAILABLE", 503, true, 138},
        {15, "DATA_LOSS", 500, false, 1},
        {16, "UNAUTHENTICATED", 401, false, 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mst_status status = status_of(rows[i].number);
        assert_string_equal(mst_status_name(status), rows[i].name);
        assert_true(strlen(mst_status_text(status)) > 1);
        assert_int_equal(mst_status_http(status), rows[i].http);
        assert_int_equal(mst_status_is_retryable(status), rows[i].is_retryable);
        assert_int_equal(mst_status_exit_code(status), rows[i].exit_code);
    }
}

static void test_a_number_outside_the_table_is_unknown(void **state)
{
    (void)state;
    static const int numbers[] = {17, 1000, -1, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        assert_string_equal(mst_status_name(status_of(numbers[i])), "UNKNOWN");
        assert_int_equal(mst_status_exit_code(status_of(numbers[i])), 1);
    }
}

static void test_fail_writes_and_returns(void **state)
{
    (void)state;
    struct mst_error err;
    assert_int_equal(mst_fail(&err, MST_NOT_FOUND, "no %s in %d places", "key", 3), MST_NOT_FOUND);
    assert_string_equal(err.text, "no key in 3 places");
    assert_int_equal(mst_fail(NULL, MST_ABORTED, "nobody reads %d", 1), MST_ABORTED);
}

static void test_a_long_sentence_is_cut(void **state)
{
    (void)state;
    struct mst_error err;
    assert_int_equal(mst_fail(&err, MST_INTERNAL, "%3000s", "x"), MST_INTERNAL);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

static void test_a_prefix_goes_before(void **state)
{
    (void)state;
    struct mst_error err;
    mst_fail(&err, MST_DATA_LOSS, "truncated");
    assert_int_equal(mst_fail_prefix(&err, MST_DATA_LOSS, "file %s", "a.idx"), MST_DATA_LOSS);
    assert_string_equal(err.text, "file a.idx: truncated");
    assert_int_equal(mst_fail_prefix(NULL, MST_DATA_LOSS, "file"), MST_DATA_LOSS);
    // A prefix that leaves no room, and a text that fills what is left, are cut, not overrun.
    mst_fail_prefix(&err, MST_DATA_LOSS, "%2000s", "y");
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    mst_fail_prefix(&err, MST_DATA_LOSS, "z");
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_memory_equal(err.text, "z: ", 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_table),
        cmocka_unit_test(test_a_number_outside_the_table_is_unknown),
        cmocka_unit_test(test_fail_writes_and_returns),
        cmocka_unit_test(test_a_long_sentence_is_cut),
        cmocka_unit_test(test_a_prefix_goes_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
