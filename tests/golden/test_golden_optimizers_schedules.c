// Learning rates of every schedule against Keras's, update by update: the first 300 and some far into a training.
#include "golden_file.h"
#include "muster/status.h"
#include "optim/optimizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

// Sums, products and quotients are rounded as Keras's are. Powers, logarithms and cosines are rounded once here and
// approximated by Eigen there, which can be one unit in the last place off; where 1 + cos nearly cancels that is up to
// 2^-24 of the first rate, so the difference is measured against the largest rate of the schedule.
#define TOLERANCE 1.2e-7

static void check_case(struct golden *golden, size_t index)
{
    const char *name = golden_case_name(golden, index);
    struct mst_optimizer *optimizer;
    struct mst_error err = {0};
    size_t n, n_rates, n_same = 0;
    json_t *json = json_pack("{s:s, s:{s:O}}", "class_name", "SGD", "config", "learning_rate",
                             golden_case_value(golden, index, "schedule"));
    if (mst_optimizer_parse(json, name, &optimizer, &err) != MST_OK)
        fail_msg("%s", err.text);
    const float *steps = golden_tensor(golden, &n, "steps");
    const float *rates = golden_tensor(golden, &n_rates, "%s.rates", name);
    float largest = 0;
    assert_int_equal(n, n_rates);
    for (size_t i = 0; i < n; i++)
        largest = fmaxf(largest, rates[i]);
    assert_true(largest > 0);
    for (size_t i = 0; i < n; i++) {
        float rate = mst_optimizer_learning_rate(optimizer, (uint64_t)steps[i]);
        n_same += rate == rates[i];
        if (!(fabsf(rate - rates[i]) <= (float)TOLERANCE * largest))
            fail_msg("%s, step %.0f: %.9g, Keras %.9g", name, (double)steps[i], (double)rate, (double)rates[i]);
    }
    print_message("%s: %zu of %zu rates have Keras's bits\n", name, n_same, n);
    mst_optimizer_free(optimizer);
    json_decref(json);
}

static void test_rates(void **state)
{
    (void)state;
    struct golden *golden = golden_open("schedules");
    assert_true(golden_n_cases(golden) > 0);
    for (size_t i = 0; i < golden_n_cases(golden); i++)
        check_case(golden, i);
    golden_free(golden);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        golden_folder(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
