// Counts at thresholds against counting one threshold after the other, over random batches with ties, borders, NaN and
// infinities; the sums of parts are those of the whole.
#include "model/confusion.h"

#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 37, VALUES = 6 };

static struct mst_rng_key key;
static uint64_t n_drawn;

static uint32_t draw(uint32_t below)
{
    return mst_rng_word(key, n_drawn++) % below;
}

struct batch {
    float values[ROWS * VALUES];
    float targets[ROWS * VALUES];
    float weights[ROWS];
};

// Eighths, so that there are ties and values on thresholds, and what no model should give.
static void draw_batch(struct batch *batch)
{
    static const float strange[] = {NAN, INFINITY, -INFINITY, -0.25f, 1.5f, 1.0f, 0.0f};
    for (size_t i = 0; i < ROWS * VALUES; i++) {
        batch->values[i] = draw(20) == 0 ? strange[draw(sizeof strange / sizeof *strange)] : (float)draw(9) / 8;
        batch->targets[i] = (float)(draw(3) == 0);
    }
    for (size_t r = 0; r < ROWS; r++)
        batch->weights[r] = (float)draw(5) / 2;
}

static struct mst_confusion_rows rows_of(const struct batch *batch, size_t first, size_t n, const float *weights)
{
    return (struct mst_confusion_rows){.n = n,
                                       .n_values = VALUES,
                                       .values = batch->values + first * VALUES,
                                       .targets = batch->targets + first * VALUES,
                                       .weights = weights ? weights + first : NULL};
}

// How many values of the row come before this one, the first of equals first.
static size_t rank_of(const float *row, size_t at)
{
    size_t rank = 0;
    for (size_t i = 0; i < VALUES; i++)
        rank += row[i] > row[at] || (row[i] == row[at] && i < at);
    return rank;
}

// What is counted of a kind above one threshold.
static double count(const struct batch *batch, const struct mst_metric *metric, float threshold, const float *weights)
{
    double sum = 0;
    for (size_t i = 0; i < ROWS * VALUES; i++) {
        size_t column = i % VALUES;
        const float *row = batch->values + i - column;
        bool is_above = batch->values[i] > threshold;
        bool is_positive = batch->targets[i] != 0;
        if (metric->class_id != SIZE_MAX && column != metric->class_id)
            continue;
        if (metric->k > 0)
            is_above = is_above && !isnan(batch->values[i]) && rank_of(row, column) < metric->k;
        bool is_counted = (metric->kind == MST_METRIC_TRUE_POSITIVES && is_above && is_positive) ||
                          (metric->kind == MST_METRIC_FALSE_POSITIVES && is_above && !is_positive) ||
                          (metric->kind == MST_METRIC_TRUE_NEGATIVES && !is_above && !is_positive) ||
                          (metric->kind == MST_METRIC_FALSE_NEGATIVES && !is_above && is_positive);
        sum += is_counted ? (weights ? (double)weights[i / VALUES] : 1) : 0;
    }
    return sum;
}

static void test_counts(void **state)
{
    (void)state;
    static struct mst_compile compile;
    struct batch batch;
    for (size_t round = 0; round < 200; round++) {
        draw_batch(&batch);
        compile.thresholds[0] = (float)draw(9) / 8;
        struct mst_metric metric = {.kind = MST_METRIC_TRUE_POSITIVES + (enum mst_metric_kind)draw(4),
                                    .n_values = VALUES,
                                    .n_thresholds = 1,
                                    .k = draw(VALUES),
                                    .class_id = draw(2) ? SIZE_MAX : draw(VALUES)};
        const float *weights = draw(2) ? batch.weights : NULL;
        double whole[4] = {0}, parts[4] = {0};
        assert_int_equal(mst_confusion_n_sums(&metric), 4);
        struct mst_confusion_rows all = rows_of(&batch, 0, ROWS, weights);
        mst_confusion_add(&compile, &metric, &all, whole);
        for (size_t first = 0; first < ROWS;) {
            size_t n = 1 + draw((uint32_t)(ROWS - first));
            struct mst_confusion_rows some = rows_of(&batch, first, n, weights);
            mst_confusion_add(&compile, &metric, &some, parts);
            first += n;
        }
        assert_memory_equal(whole, parts, sizeof whole); // halves add up exactly
        assert_true(mst_confusion_value(&metric, whole) == count(&batch, &metric, compile.thresholds[0], weights));
    }
}

// The area by trapezoids over counts at each threshold.
static double area(const struct batch *batch, const float *thresholds, size_t n)
{
    struct mst_metric metric = {.class_id = SIZE_MAX};
    double x = 0, y = 0, sum = 0;
    for (size_t i = n; i-- > 0;) {
        double of[4];
        for (size_t k = 0; k < 4; k++) {
            metric.kind = MST_METRIC_TRUE_POSITIVES + (enum mst_metric_kind)k;
            of[k] = count(batch, &metric, thresholds[i], batch->weights);
        }
        double next_x = of[1] / (of[1] + of[2]), next_y = of[0] / (of[0] + of[3]);
        sum += i + 1 < n ? (next_x - x) * (next_y + y) / 2 : 0;
        x = next_x;
        y = next_y;
    }
    return sum;
}

// Thresholds that are listed and those that are spread evenly give the same; what is outside 0 to 1 counts as 0 or 1
// where they are even, for Keras clips it there.
static void test_areas(void **state)
{
    (void)state;
    static struct mst_compile compile;
    struct batch batch;
    for (size_t round = 0; round < 100; round++) {
        size_t n = 3 + draw(14);
        double even[2 * 32] = {0}, listed[2 * 32] = {0};
        draw_batch(&batch);
        for (size_t i = 0; i < ROWS * VALUES; i++)
            batch.values[i] = isfinite(batch.values[i]) ? fminf(fmaxf(batch.values[i], 0), 1) : 0.25f;
        for (size_t i = 0; i < n; i++)
            compile.thresholds[i] = (float)((double)i / (double)(n - 1));
        compile.thresholds[0] = -1e-7f;
        compile.thresholds[n - 1] = 1.0000001f;
        struct mst_metric metric = {.kind = MST_METRIC_AUC,
                                    .n_values = VALUES,
                                    .n_thresholds = n,
                                    .first_threshold = SIZE_MAX,
                                    .class_id = SIZE_MAX};
        struct mst_confusion_rows all = rows_of(&batch, 0, ROWS, batch.weights);
        mst_confusion_add(&compile, &metric, &all, even);
        double value = mst_confusion_value(&metric, even);
        metric.first_threshold = 0;
        mst_confusion_add(&compile, &metric, &all, listed);
        assert_true(mst_confusion_value(&metric, listed) == area(&batch, compile.thresholds, n));
        if (8 % (n - 1) == 0) // eighths and thresholds are exact
            assert_true(value == mst_confusion_value(&metric, listed));
        assert_true(value > 0 && value < 1);
    }
}

// No values, no targets of a kind: 0, as Keras divides.
static void test_nothing_counted(void **state)
{
    (void)state;
    static const double none[16] = {0};
    for (int kind = MST_METRIC_TRUE_POSITIVES; kind <= MST_METRIC_AUC; kind++) {
        struct mst_metric metric = {.kind = (enum mst_metric_kind)kind,
                                    .n_values = 2,
                                    .n_thresholds = 3,
                                    .is_by_label = kind == MST_METRIC_AUC,
                                    .first_threshold = SIZE_MAX,
                                    .class_id = SIZE_MAX};
        assert_true(mst_confusion_has(metric.kind));
        assert_true(mst_confusion_value(&metric, none) == 0);
    }
    assert_false(mst_confusion_has(MST_METRIC_BINARY_ACCURACY));
}

int main(void)
{
    const char *given = getenv("MUSTER_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 1;
    printf("test_model_confusion: seed %" PRIu64 " (MUSTER_TEST_SEED)\n", seed);
    key = mst_rng_key_of(seed, "test_model_confusion", 0);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_counts), cmocka_unit_test(test_areas),
                                       cmocka_unit_test(test_nothing_counted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
