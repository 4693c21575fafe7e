// Merges of several inputs, repeated along any axes or none: values and gradients against loops in double over every
// index, gradients of those against differences, and the same bits with 1, 2 and 3 threads.
#include "device_reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_DEVICES = 3, MAX_INPUTS = 4 };

static struct mst_device *devices[N_DEVICES]; // of 1, 2 and 3 threads

static const char *const names[MST_N_MERGES] = {"add",     "subtract", "multiply", "average",
                                                "maximum", "minimum",  "prelu"};

static int set_up(void **state)
{
    (void)state;
    for (size_t d = 0; d < N_DEVICES; d++)
        devices[d] = device_new(d + 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t d = 0; d < N_DEVICES; d++)
        mst_device_free(devices[d]);
    return 0;
}

struct batch {
    struct mst_merge merge;
    struct mst_merge_input inputs[MAX_INPUTS];
    size_t n;
    size_t n_own[MAX_INPUTS];
    float *x[MAX_INPUTS];
    float *dx[MAX_INPUTS];
    float *y;
    float *dy;
};

// Where element i of y is in an input.
static size_t place_of(const struct mst_merge *merge, const size_t *own, size_t i)
{
    size_t at = 0;
    size_t step = 1;
    for (size_t a = merge->n_axes; a-- > 0;) {
        at += (own[a] == 1 ? 0 : i % merge->shape[a]) * step;
        step *= own[a];
        i /= merge->shape[a];
    }
    return at;
}

// repeated: bit a of number i says whether input i has extent 1 along axis a.
static void batch_init(struct batch *b, enum mst_merge_kind kind, size_t n_inputs, const size_t shape[4],
                       const unsigned *repeated)
{
    *b = (struct batch){.merge = {.kind = kind, .n_axes = 4, .n_inputs = n_inputs}, .n = 1};
    for (size_t a = 0; a < 4; a++)
        b->n *= b->merge.shape[a] = shape[a];
    for (size_t i = 0; i < n_inputs; i++) {
        b->n_own[i] = 1;
        for (size_t a = 0; a < 4; a++)
            b->n_own[i] *= b->inputs[i].shape[a] = (repeated[i] >> a & 1) != 0 ? 1 : shape[a];
        b->inputs[i].x = b->x[i] = device_floats(b->n_own[i], 2.0f);
        b->inputs[i].dx = b->dx[i] = device_floats(b->n_own[i], 2.0f);
        // Equal elements are common.
        for (size_t k = 0; k < b->n_own[i] && kind >= MST_MERGE_MAXIMUM; k++)
            b->x[i][k] = roundf(b->x[i][k]);
    }
    b->merge.inputs = b->inputs;
    b->merge.y = b->y = device_floats(b->n, 1.0f);
    b->merge.dy = b->dy = device_floats(b->n, 1.0f);
}

static void batch_fini(struct batch *b)
{
    for (size_t i = 0; i < b->merge.n_inputs; i++) {
        free(b->x[i]);
        free(b->dx[i]);
    }
    free(b->y);
    free(b->dy);
}

static double of_two(enum mst_merge_kind kind, double a, double b)
{
    switch (kind) {
    case MST_MERGE_SUBTRACT:
        return a - b;
    case MST_MERGE_MULTIPLY:
        return a * b;
    case MST_MERGE_MAXIMUM:
        return fmax(a, b);
    case MST_MERGE_MINIMUM:
        return fmin(a, b);
    case MST_MERGE_PRELU:
        return fmax(a, 0) - b * fmax(-a, 0);
    case MST_MERGE_ADD:
    case MST_MERGE_AVERAGE:
    case MST_N_MERGES:
        break;
    }
    return a + b;
}

static double value(enum mst_merge_kind kind, size_t n, const double *x)
{
    double y = x[0];
    for (size_t i = 1; i < n; i++)
        y = of_two(kind, y, x[i]);
    return kind == MST_MERGE_AVERAGE ? y / (double)n : y;
}

// By one input: of a maximum 1 for the first that has it, else by difference, exact enough for what is linear in each.
static double slope(enum mst_merge_kind kind, size_t n, const double *x, size_t input)
{
    double moved[MAX_INPUTS];
    if (kind == MST_MERGE_PRELU && x[0] >= 0) // at 0 both branches are flat
        return input == 0 && x[0] > 0 ? 1.0 : 0.0;
    if (kind == MST_MERGE_PRELU)
        return input == 0 ? x[1] : x[0];
    if (kind >= MST_MERGE_MAXIMUM) {
        size_t first = 0;
        while (first + 1 < n && x[first] != value(kind, n, x))
            first++;
        return first == input ? 1.0 : 0.0;
    }
    memcpy(moved, x, n * sizeof *x);
    moved[input] += 1.0;
    return value(kind, n, moved) - value(kind, n, x);
}

// dx is 0 before.
static void reference(const struct batch *b, double *y, double *const *dx)
{
    size_t n_inputs = b->merge.n_inputs;
    for (size_t e = 0; e < b->n; e++) {
        double x[MAX_INPUTS] = {0};
        for (size_t i = 0; i < n_inputs; i++)
            x[i] = (double)b->x[i][place_of(&b->merge, b->inputs[i].shape, e)];
        y[e] = value(b->merge.kind, n_inputs, x);
        for (size_t i = 0; i < n_inputs; i++)
            dx[i][place_of(&b->merge, b->inputs[i].shape, e)] +=
                slope(b->merge.kind, n_inputs, x, i) * (double)b->dy[e];
    }
}

static void check(struct batch *b)
{
    const char *name = names[b->merge.kind];
    size_t n_inputs = b->merge.n_inputs;
    double *y = calloc(b->n + 1, sizeof *y);
    double *dx[MAX_INPUTS];
    float *first_dx[MAX_INPUTS];
    float *first_y = device_floats(b->n, 0.0f);
    for (size_t i = 0; i < n_inputs; i++) {
        dx[i] = calloc(b->n_own[i] + 1, sizeof **dx);
        assert_non_null(dx[i]);
        first_dx[i] = device_floats(b->n_own[i], 0.0f);
    }
    reference(b, y, dx);
    for (size_t d = 0; d < N_DEVICES; d++) {
        device_fill(b->y, b->n, 1.0f);
        devices[d]->ops->merge(devices[d], &b->merge);
        assert_true(device_close(name, b->y, y, b->n, 1e-6, 1e-6));
        if (d == 0)
            memcpy(first_y, b->y, b->n * sizeof *first_y);
        assert_true(device_same(name, b->y, first_y, b->n));
        for (size_t i = 0; i < n_inputs; i++)
            device_fill(b->dx[i], b->n_own[i], 1.0f);
        devices[d]->ops->merge_backward(devices[d], &b->merge);
        for (size_t i = 0; i < n_inputs; i++) {
            // The terms of a sum are at most 8, and so is the error of each rounding below 4e-7 times their number.
            double error = 2e-6 + 4e-7 * (double)(b->n_own[i] > 0 ? b->n / b->n_own[i] : 0);
            assert_true(device_close(name, b->dx[i], dx[i], b->n_own[i], 1e-6, error));
            if (d == 0)
                memcpy(first_dx[i], b->dx[i], b->n_own[i] * sizeof **first_dx);
            assert_true(device_same(name, b->dx[i], first_dx[i], b->n_own[i]));
        }
    }
    for (size_t i = 0; i < n_inputs; i++) {
        free(dx[i]);
        free(first_dx[i]);
    }
    free(y);
    free(first_y);
}

static size_t n_inputs_of(enum mst_merge_kind kind, size_t wanted)
{
    return kind == MST_MERGE_SUBTRACT || kind == MST_MERGE_PRELU ? 2 : wanted;
}

static void test_same_shapes(void **state)
{
    (void)state;
    static const size_t shapes[][4] = {{1, 1, 1, 1},    {3, 1, 1, 5}, {2, 3, 4, 5},
                                       {1, 1, 1, 2049}, {7, 1, 1, 0}, {64, 2, 50, 85}};
    static const unsigned none[MAX_INPUTS] = {0};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes * MST_N_MERGES * MAX_INPUTS; i++) {
        struct batch b;
        enum mst_merge_kind kind = (enum mst_merge_kind)(i % MST_N_MERGES);
        size_t s = i / MST_N_MERGES / MAX_INPUTS;
        size_t n_inputs = 1 + i / MST_N_MERGES % MAX_INPUTS;
        if (s == 5 && n_inputs != 2)
            continue; // the large one once a kind
        batch_init(&b, kind, n_inputs_of(kind, n_inputs), shapes[s], none);
        check(&b);
        batch_fini(&b);
    }
}

// Every pair of ways in which two inputs may be repeated, and a third that is whole.
static void test_repeated(void **state)
{
    (void)state;
    static const size_t shapes[][4] = {{3, 4, 2, 5}, {2, 1, 3, 17}, {5, 2, 2, 1}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        for (unsigned pair = 0; pair < 256; pair++) {
            for (size_t kind = 0; kind < MST_N_MERGES; kind++) {
                struct batch b;
                const unsigned repeated[MAX_INPUTS] = {kind == MST_MERGE_PRELU ? 0 : pair & 15, pair >> 4, 0};
                // Without a third some axes are 1 in both: those of y are too.
                size_t shape[4];
                size_t n_inputs = n_inputs_of((enum mst_merge_kind)kind, 3);
                for (size_t a = 0; a < 4; a++)
                    shape[a] = n_inputs == 2 && (repeated[0] & repeated[1] & 1u << a) != 0 ? 1 : shapes[s][a];
                batch_init(&b, (enum mst_merge_kind)kind, n_inputs, shape, repeated);
                check(&b);
                batch_fini(&b);
            }
        }
    }
}

// Sizes that several threads share: (B, 1, 5) with (B, 4, 5), a number an example, a bias.
static void test_repeated_large(void **state)
{
    (void)state;
    static const size_t shape[4] = {1000, 4, 1, 140};
    static const unsigned repeated[][2] = {{2, 0}, {0, 8}, {1, 0}};
    for (size_t i = 0; i < sizeof repeated / sizeof *repeated; i++) {
        for (size_t kind = MST_MERGE_SUBTRACT; kind <= MST_MERGE_MULTIPLY; kind++) {
            struct batch b;
            batch_init(&b, (enum mst_merge_kind)kind, 2, shape, repeated[i]);
            check(&b);
            batch_fini(&b);
        }
    }
}

static void test_in_place_and_not_wanted(void **state)
{
    (void)state;
    static const size_t shape[4] = {3, 2, 5, 7};
    static const unsigned repeated[MAX_INPUTS] = {0, 4, 0};
    for (size_t kind = 0; kind < MST_N_MERGES; kind++) {
        struct batch b;
        batch_init(&b, (enum mst_merge_kind)kind, n_inputs_of((enum mst_merge_kind)kind, 3), shape, repeated);
        devices[0]->ops->merge(devices[0], &b.merge);
        devices[0]->ops->merge_backward(devices[0], &b.merge);
        float *gradient = memcpy(device_floats(b.n_own[1], 0.0f), b.dx[1], b.n_own[1] * sizeof(float));
        device_fill(b.dx[1], b.n_own[1], 1.0f);
        for (size_t i = 0; i < b.merge.n_inputs; i++)
            b.inputs[i].dx = i == 1 ? b.dx[1] : NULL;
        devices[0]->ops->merge_backward(devices[0], &b.merge);
        assert_true(device_same(names[kind], b.dx[1], gradient, b.n_own[1]));
        b.merge.y = b.x[0];
        devices[0]->ops->merge(devices[0], &b.merge);
        assert_true(device_same(names[kind], b.x[0], b.y, b.n));
        free(gradient);
        batch_fini(&b);
    }
}

static void test_nan(void **state)
{
    (void)state;
    static const size_t shape[4] = {1, 1, 1, 40};
    static const unsigned none[MAX_INPUTS] = {0};
    for (size_t kind = 0; kind < MST_N_MERGES; kind++) {
        struct batch b;
        batch_init(&b, (enum mst_merge_kind)kind, 2, shape, none);
        b.x[0][3] = NAN;
        b.x[1][17] = NAN;
        devices[0]->ops->merge(devices[0], &b.merge);
        for (size_t i = 0; i < 40; i++)
            assert_int_equal(isnan(b.y[i]) != 0, i == 3 || i == 17);
        batch_fini(&b);
    }
}

int main(void)
{
    device_seed("test_device_merge");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_shapes),
        cmocka_unit_test(test_repeated),
        cmocka_unit_test(test_repeated_large),
        cmocka_unit_test(test_in_place_and_not_wanted),
        cmocka_unit_test(test_nan),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
