// MUSTER_ISA lowers the level, never raises it, and nonsense changes nothing.
#include "tensor/isa.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

static enum mst_isa detect(const char *wanted)
{
    setenv("MUSTER_ISA", wanted, 1);
    return mst_isa_detect();
}

static void test_levels(void **state)
{
    (void)state;
    static const char *const names[] = {"base", "avx2", "avx512"};
    unsetenv("MUSTER_ISA");
    enum mst_isa widest = mst_isa_detect();
    assert_true(widest >= MST_ISA_BASE && widest <= MST_ISA_AVX512);
    for (enum mst_isa isa = MST_ISA_BASE; isa <= MST_ISA_AVX512; isa++) {
        assert_string_equal(mst_isa_name(isa), names[isa]);
        assert_int_equal(detect(names[isa]), isa < widest ? isa : widest);
    }
}

static void test_nonsense(void **state)
{
    (void)state;
    static const char *const words[] = {"", "AVX2", "avx", "neon", "base "};
    unsetenv("MUSTER_ISA");
    enum mst_isa widest = mst_isa_detect();
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        assert_int_equal(detect(words[i]), widest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_levels), cmocka_unit_test(test_nonsense)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
