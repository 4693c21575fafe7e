// Clocks, hashes and the number of CPUs.
#include "base/clock.h"

#include "base/cpus.h"
#include "base/hash.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <time.h>

static void test_wall_times_are_printed(void **state)
{
    (void)state;
    char text[28];
    mst_clock_print_wall(0, text, sizeof text);
    assert_string_equal(text, "1970-01-01T00:00:00.000000Z");
    mst_clock_print_wall(1795532645123456789u, text, sizeof text);
    assert_string_equal(text, "2026-11-24T15:04:05.123456Z");
    mst_clock_print_wall(951782400999999999u, text, sizeof text); // a leap day
    assert_string_equal(text, "2000-02-29T00:00:00.999999Z");
    char little[8];
    mst_clock_print_wall(0, little, sizeof little);
    assert_string_equal(little, "1970-01");
}

static void test_monotonic_is_monotonic(void **state)
{
    (void)state;
    uint64_t before_ms = mst_clock_monotonic_ms();
    uint64_t last = mst_clock_monotonic_ns();
    for (size_t i = 0; i < 10000; i++) {
        uint64_t now = mst_clock_monotonic_ns();
        assert_true(now >= last);
        last = now;
    }
    uint64_t after_ms = mst_clock_monotonic_ms();
    assert_true(before_ms <= last / 1000000 && last / 1000000 <= after_ms);
}

static void test_wall_and_cpu(void **state)
{
    (void)state;
    assert_true(mst_clock_wall_ns() / 1000000000 - (uint64_t)time(NULL) + 2 <= 4);
    uint64_t begin = mst_clock_cpu_ns();
    volatile unsigned work = 0;
    while (mst_clock_cpu_ns() == begin)
        work++;
    assert_true(mst_clock_cpu_ns() > begin);
}

static void test_hashes(void **state)
{
    (void)state;
    // XXH3-64 of nothing under seed 0, from the specification's reference.
    assert_int_equal(mst_hash_bytes("", 0, 0), 0x2d06800538d394c2u);
    assert_int_equal(mst_hash_text("abc", 5), mst_hash_bytes("abc", 3, 5));
    assert_int_not_equal(mst_hash_text("abc", 5), mst_hash_text("abc", 6));
    assert_int_not_equal(mst_hash_text("abc", 5), mst_hash_text("abd", 5));
}

static void test_there_is_a_cpu(void **state)
{
    (void)state;
    assert_true(mst_cpus_usable() >= 1 && mst_cpus_usable() < 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wall_times_are_printed), cmocka_unit_test(test_monotonic_is_monotonic),
        cmocka_unit_test(test_wall_and_cpu),           cmocka_unit_test(test_hashes),
        cmocka_unit_test(test_there_is_a_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
