// A line that comes again and again is logged at first, then rarely, and counted.
#include "base/log_rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_at_first_then_rarely(void **state)
{
    (void)state;
    struct mst_log_rate rate = {0};
    size_t n_logged = 0;
    size_t n_unlogged = 0;
    size_t n;
    for (uint64_t now_ms = 0; now_ms < 600000; now_ms += 250) {
        if (!mst_log_rate_allows(&rate, now_ms, &n))
            continue;
        assert_true(now_ms >= 1250 || n_logged == now_ms / 250);
        n_logged++;
        n_unlogged += n;
    }
    assert_int_equal(n_logged, 10 * MST_LOG_RATE_LINES);
    assert_int_equal(n_logged + n_unlogged + rate.n_unlogged, 2400);
}

static void test_a_rare_one_is_always_logged(void **state)
{
    (void)state;
    struct mst_log_rate rate = {0};
    size_t n;
    for (uint64_t i = 0; i < 100; i++) {
        assert_true(mst_log_rate_allows(&rate, i * MST_LOG_RATE_MS / MST_LOG_RATE_LINES, &n));
        assert_int_equal(n, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_first_then_rarely),
        cmocka_unit_test(test_a_rare_one_is_always_logged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
