// A job whose closes would not fit what a backup gets is refused when it starts.
#include "chief/round_sizes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static mst_status check(size_t n_workers, size_t n_sums, size_t n_clipped, struct mst_error *err)
{
    const struct mst_rounds_config config = {.n_ps = 3,
                                             .n_workers = n_workers,
                                             .n_units = 100000,
                                             .n_epochs = 3,
                                             .n_sums = n_sums,
                                             .clip = {.norm = n_clipped ? 1 : 0},
                                             .n_variables = n_clipped};
    return mst_round_sizes_check(&config, err);
}

static void test_what_is_usual_fits(void **state)
{
    (void)state;
    struct mst_error err;
    assert_int_equal(check(2, 4, 0, &err), MST_OK);
    assert_int_equal(check(1000, 20, 300, &err), MST_OK);
    assert_int_equal(check(8, 1000, 10000, &err), MST_OK);
}

static void test_what_does_not_is_refused_by_name(void **state)
{
    (void)state;
    struct mst_error err;
    assert_int_equal(check(20000, 4, 0, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "rows of 20000 workers"));
    assert_int_equal(check(4, MST_SUMS_MAX, 0, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "measures"));
    assert_int_equal(check(4, 4, 50000, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "norms of 50001 groups"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_usual_fits),
        cmocka_unit_test(test_what_does_not_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
