// Copies with steps: random axes, transposes, blocks, repetitions and sums against loops over every index, with 1, 2
// and 3 threads.
#include "device_reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_DEVICES = 3 };

static struct mst_device *devices[N_DEVICES]; // of 1, 2 and 3 threads

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

static size_t n_of(const struct mst_copy *copy)
{
    size_t n = 1;
    for (size_t a = 0; a < copy->n_axes; a++)
        n *= copy->shape[a];
    return n;
}

static size_t extent_of(const struct mst_copy *copy, const size_t *steps)
{
    size_t last = 0;
    for (size_t a = 0; a < copy->n_axes; a++)
        last += (copy->shape[a] - 1) * steps[a];
    return n_of(copy) > 0 ? last + 1 : 0;
}

// In double, index by index.
static void reference(const struct mst_copy *copy, double *y)
{
    for (size_t i = 0; i < n_of(copy); i++) {
        size_t rest = i;
        size_t from = 0;
        size_t to = 0;
        for (size_t a = copy->n_axes; a-- > 0;) {
            from += rest % copy->shape[a] * copy->from[a];
            to += rest % copy->shape[a] * copy->to[a];
            rest /= copy->shape[a];
        }
        y[to] = (copy->write == MST_COPY_ADD ? y[to] : 0.0) + (double)copy->x[from];
    }
}

// Both arrays are exactly as long as the steps reach, so that ASan sees one element too far.
static void check(const char *name, struct mst_copy copy)
{
    size_t n_x = extent_of(&copy, copy.from);
    size_t n_y = extent_of(&copy, copy.to);
    float *x = device_floats(n_x, 1.0f);
    float *before = device_floats(n_y, 1.0f);
    float *y[N_DEVICES];
    double *want = malloc((n_y + 1) * sizeof *want);
    assert_non_null(want);
    copy.x = x;
    for (size_t i = 0; i < n_y; i++)
        want[i] = (double)before[i];
    reference(&copy, want);
    for (size_t d = 0; d < N_DEVICES; d++) {
        y[d] = device_floats(n_y, 1.0f);
        copy.y = n_y > 0 ? memcpy(y[d], before, n_y * sizeof *before) : y[d];
        devices[d]->ops->copy(devices[d], &copy);
        // A sum of n terms below 1 in floats.
        double error = copy.write == MST_COPY_ADD ? 1e-7 * ((double)n_of(&copy) / (double)(n_y + 1) + 2.0) : 0.0;
        assert_true(device_close(name, y[d], want, n_y, 0.0, error));
        assert_true(device_same(name, y[d], y[0], n_y));
    }
    for (size_t d = 0; d < N_DEVICES; d++)
        free(y[d]);
    free(x);
    free(before);
    free(want);
}

static void test_add_and_copy(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 15, 16, 17, 1000, 800003};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        check("copy", (struct mst_copy){.n_axes = 1, .shape = {sizes[s]}, .from = {1}, .to = {1}});
        check("y += x",
              (struct mst_copy){.write = MST_COPY_ADD, .n_axes = 1, .shape = {sizes[s]}, .from = {1}, .to = {1}});
    }
    check("one element", (struct mst_copy){.n_axes = 0});
    check("y += x of one", (struct mst_copy){.write = MST_COPY_ADD, .n_axes = 0});
}

// The second of three arrays (rows, middle, inner) joined along the middle, and its gradient back.
static void test_block_of_concatenation(void **state)
{
    (void)state;
    static const size_t shapes[][4] = {
        {1, 1, 1, 1}, {5, 3, 4, 9}, {64, 1, 33, 5}, {700, 17, 20, 40}, {2, 300, 1000, 301}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        size_t rows = shapes[s][0];
        size_t middle = shapes[s][1];
        size_t inner = shapes[s][2];
        size_t all = middle * inner + shapes[s][3];
        struct mst_copy copy = {
            .n_axes = 3, .shape = {rows, middle, inner}, .from = {middle * inner, inner, 1}, .to = {all, inner, 1}};
        check("into a concatenation", copy);
        copy.from[0] = all;
        copy.to[0] = middle * inner;
        check("out of a concatenation", copy);
        copy.write = MST_COPY_ADD;
        check("out of a concatenation, added", copy);
    }
}

static void contiguous(size_t n_axes, const size_t *shape, size_t *steps)
{
    size_t step = 1;
    for (size_t a = n_axes; a-- > 0;) {
        steps[a] = step;
        step *= shape[a];
    }
}

// Axes of x in a random order.
static struct mst_copy random_permutation(size_t n_axes, const size_t *x_shape)
{
    struct mst_copy copy = {.n_axes = n_axes};
    size_t x_steps[MST_DEVICE_MAX_AXES];
    size_t order[MST_DEVICE_MAX_AXES];
    contiguous(n_axes, x_shape, x_steps);
    for (size_t a = 0; a < n_axes; a++)
        order[a] = a;
    for (size_t a = n_axes; a-- > 1;) {
        size_t other = (size_t)((double)(device_random(0.5f) + 0.5f) * (double)(a + 1)) % (a + 1);
        size_t was = order[a];
        order[a] = order[other];
        order[other] = was;
    }
    for (size_t a = 0; a < n_axes; a++) {
        copy.shape[a] = x_shape[order[a]];
        copy.from[a] = x_steps[order[a]];
    }
    contiguous(n_axes, copy.shape, copy.to);
    return copy;
}

static void test_permute(void **state)
{
    (void)state;
    static const size_t large[] = {700, 1201};
    for (size_t i = 0; i < 200; i++) {
        size_t n_axes = 1 + i % MST_DEVICE_MAX_AXES;
        size_t shape[MST_DEVICE_MAX_AXES];
        for (size_t a = 0; a < n_axes; a++)
            shape[a] = 1 + (i * 7 + a * 5) % (n_axes <= 3 ? 37 : 4);
        struct mst_copy copy = random_permutation(n_axes, shape);
        check("permute", copy);
        copy.write = MST_COPY_ADD;
        check("permute, added", copy);
    }
    struct mst_copy transpose = {
        .n_axes = 2, .shape = {large[1], large[0]}, .from = {1, large[1]}, .to = {large[0], 1}};
    check("transpose", transpose);
    // (batch, steps, heads, size) to (batch, heads, steps, size), and the last two changed
    check("heads", (struct mst_copy){.n_axes = 4,
                                     .shape = {8, 4, 128, 64},
                                     .from = {128 * 4 * 64, 64, 4 * 64, 1},
                                     .to = {128 * 4 * 64, 128 * 64, 64, 1}});
    check("images",
          (struct mst_copy){.n_axes = 3, .shape = {16, 3, 10000}, .from = {30000, 1, 3}, .to = {30000, 10000, 1}});
}

// What is repeated forward is summed backward.
static void test_repeat_and_sum(void **state)
{
    (void)state;
    static const size_t shapes[][3] = {{1, 1, 1}, {3, 5, 7}, {64, 10, 33}, {5, 301, 700}, {1000, 900, 1}, {2, 0, 3}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        for (size_t repeated = 0; repeated < 8; repeated++) {
            struct mst_copy copy = {.n_axes = 3};
            size_t own[3];
            memcpy(copy.shape, shapes[s], sizeof shapes[s]);
            contiguous(3, copy.shape, copy.to);
            for (size_t a = 0; a < 3; a++)
                own[a] = (repeated >> a & 1) != 0 ? 1 : copy.shape[a];
            contiguous(3, own, copy.from);
            for (size_t a = 0; a < 3; a++)
                copy.from[a] = (repeated >> a & 1) != 0 ? 0 : copy.from[a];
            check("repeat", copy);
            struct mst_copy back = copy;
            back.write = MST_COPY_ADD;
            memcpy(back.from, copy.to, sizeof back.from);
            memcpy(back.to, copy.from, sizeof back.to);
            check("sum", back);
        }
    }
}

int main(void)
{
    device_seed("test_device_copy");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_and_copy),
        cmocka_unit_test(test_block_of_concatenation),
        cmocka_unit_test(test_permute),
        cmocka_unit_test(test_repeat_and_sum),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
