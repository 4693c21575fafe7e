// Our initial values have the distribution of Keras's: for each initializer a sample of ours is compared with 201
// quantiles of one of Keras's. The numbers themselves are not the same, for the generators are not.
#include "base/alloc.h"
#include "golden_file.h"
#include "model/initializer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a;
    float y = *(const float *)b;
    return (x > y) - (x < y);
}

// How many of the sorted values are below x.
static size_t count_below(const float *sorted, size_t n, float x)
{
    size_t low = 0;
    size_t high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (sorted[middle] < x)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// Of two samples of n from one distribution, the share of the first below the second's p-quantile is p, with a
// standard error of sqrt(2 p (1 - p) / n). Five of them: a false alarm once in a million comparisons, and there are
// 5000.
static void check_quantiles(const char *name, const float *sorted, size_t n, const float *quantiles, size_t n_quantiles)
{
    for (size_t q = 1; q + 1 < n_quantiles; q++) {
        double p = (double)q / (double)(n_quantiles - 1);
        double share = (double)count_below(sorted, n, quantiles[q]) / (double)n;
        double error = fabs(share - p) / sqrt(2 * p * (1 - p) / (double)n);
        if (error > 5)
            fail_msg("%s: %.3f %% of ours are below Keras's %.1f %% quantile %g: %.1f standard errors", name,
                     100 * share, 100 * p, (double)quantiles[q], error);
    }
}

// Bounded distributions end alike: both samples reach within a thousandth of the range of its ends. A sample of 10^5
// has no value there once in e^100 times (uniform) or e^22 (a cut normal, whose density there is 0.23 of a uniform
// one's).
static void check_ends(const char *name, const float *sorted, size_t n, const float *quantiles, size_t n_quantiles)
{
    float low = quantiles[0];
    float high = quantiles[n_quantiles - 1];
    float room = 1e-3f * (high - low);
    if (fabsf(sorted[0] - low) > room || fabsf(sorted[n - 1] - high) > room)
        fail_msg("%s: ours reach from %g to %g, Keras's from %g to %g", name, (double)sorted[0], (double)sorted[n - 1],
                 (double)low, (double)high);
}

static bool is_unbounded(const struct mst_initializer *init)
{
    return init->kind == MST_INIT_RANDOM_NORMAL ||
           (init->kind == MST_INIT_VARIANCE_SCALING && init->distribution == MST_DIST_UNTRUNCATED_NORMAL);
}

static void check_case(struct golden *golden, size_t index)
{
    const char *name = golden_case_name(golden, index);
    const json_t *axis;
    struct mst_initializer init;
    struct mst_error err = {0};
    struct mst_shape shape = {0};
    size_t i, n, n_quantiles;
    if (mst_initializer_parse(golden_case_value(golden, index, "initializer"), name, &init, &err) != MST_OK)
        fail_msg("%s", err.text);
    json_array_foreach(golden_case_value(golden, index, "shape"), i, axis) shape.dims[shape.rank++] =
        (size_t)json_integer_value(axis);
    assert_int_equal(mst_shape_count(&shape, &n), MST_OK);
    assert_int_equal(mst_initializer_check(&init, &shape, name, &err), MST_OK);
    float *values = mst_alloc_array(n, sizeof *values);
    mst_initializer_fill(&init, 1, name, &shape, (struct mst_initializer_range){0, n}, values);
    qsort(values, n, sizeof *values, compare_floats);
    const float *quantiles = golden_tensor(golden, &n_quantiles, "%s.quantiles", name);
    if (init.kind == MST_INIT_ZEROS || init.kind == MST_INIT_ONES || init.kind == MST_INIT_CONSTANT ||
        init.kind == MST_INIT_IDENTITY) {
        for (size_t q = 0; q < n_quantiles; q++) { // as generate.py picks them
            size_t place = (size_t)nearbyint((double)q * (double)(n - 1) / (double)(n_quantiles - 1));
            if (values[place] != quantiles[q])
                fail_msg("%s: value %zu of the sorted ones is %g, want %g", name, place, (double)values[place],
                         (double)quantiles[q]);
        }
    } else {
        check_quantiles(name, values, n, quantiles, n_quantiles);
        if (!is_unbounded(&init))
            check_ends(name, values, n, quantiles, n_quantiles);
    }
    free(values);
}

static void test_distributions(void **state)
{
    (void)state;
    struct golden *golden = golden_open("initializers");
    for (size_t i = 0; i < golden_n_cases(golden); i++)
        check_case(golden, i);
    golden_free(golden);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        golden_folder(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_distributions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
