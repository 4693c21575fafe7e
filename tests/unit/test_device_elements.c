// Activations that work on single elements: values and gradients against double and finite differences, in place and
// not, for every shape, and the same bits for any number of threads.
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

// (rows, columns); the last is more than three slices, even of those that are cheap.
static const size_t shapes[][2] = {{0, 7}, {5, 0}, {1, 1}, {1, 3}, {3, 7}, {16, 16}, {1, 129}, {33, 31}, {900, 901}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, LARGE = N_SHAPES - 1, N_VARIANTS = MST_N_ACTIVATIONS + 11 };

// Every activation with its defaults, then some with other parameters. Softmaxes have their test with the rows.
static struct mst_activation variant(size_t i)
{
    static const struct mst_activation more[] = {
        {MST_ACTIVATION_RELU, 0.25f, INFINITY, 0.0f},      {MST_ACTIVATION_RELU, 0.0f, 1.5f, 0.0f},
        {MST_ACTIVATION_RELU, 0.1f, 2.0f, 0.5f},           {MST_ACTIVATION_RELU, 0.1f, 0.0f, 0.0f},
        {MST_ACTIVATION_RELU, -0.3f, 1.0f, 0.5f},          {MST_ACTIVATION_LEAKY_RELU, -0.5f, INFINITY, 0.0f},
        {MST_ACTIVATION_ELU, 0.7f, INFINITY, 0.0f},        {MST_ACTIVATION_ELU, -0.5f, INFINITY, 0.0f},
        {MST_ACTIVATION_CELU, 0.4f, INFINITY, 0.0f},       {MST_ACTIVATION_SOFT_SHRINK, 0.125f, INFINITY, 0.0f},
        {MST_ACTIVATION_SQUAREPLUS, 0.5f, INFINITY, 0.0f},
    };
    return i < MST_N_ACTIVATIONS ? mst_activation_default((enum mst_activation_kind)i) : more[i - MST_N_ACTIVATIONS];
}

static bool is_on_rows(const struct mst_activation *activation)
{
    return activation->kind == MST_ACTIVATION_SOFTMAX || activation->kind == MST_ACTIVATION_LOG_SOFTMAX;
}

// One batch: x and dy, then what the device made of them.
struct batch {
    size_t rows;
    size_t columns;
    size_t n;
    float *x;
    float *dy;
    float *y;
    float *dx;
};

// Mostly where functions bend, and some far away.
static struct batch batch_new(size_t shape)
{
    struct batch b = {.rows = shapes[shape][0], .columns = shapes[shape][1]};
    static const float far[] = {0.0f, -0.0f, 20.0f, -20.0f, 60.0f, -60.0f, 1e-6f, -1e-6f};
    b.n = b.rows * b.columns;
    b.x = device_floats(b.n, 5.0f);
    b.dy = device_floats(b.n, 2.0f);
    b.y = device_floats(b.n, 1.0f);
    b.dx = device_floats(b.n, 1.0f);
    for (size_t i = 0; i < b.n && b.n > 100; i += 97)
        b.x[i] = far[i / 97 % (sizeof far / sizeof *far)];
    return b;
}

static void batch_free(struct batch *b)
{
    free(b->x);
    free(b->dy);
    free(b->y);
    free(b->dx);
}

static void run(struct mst_device *device, const struct mst_activation *activation, struct batch *b)
{
    struct mst_activate forward = {
        .activation = *activation, .rows = b->rows, .columns = b->columns, .x = b->x, .y = b->y};
    enum mst_activation_keeps keeps = mst_activation_keeps(activation);
    device->ops->activate(device, &forward);
    // Only what is promised to be needed.
    struct mst_activate_backward backward = {.activation = *activation,
                                             .rows = b->rows,
                                             .columns = b->columns,
                                             .x = keeps == MST_KEEPS_INPUT ? b->x : NULL,
                                             .y = keeps == MST_KEEPS_OUTPUT ? b->y : NULL,
                                             .dy = b->dy,
                                             .dx = b->dx};
    device->ops->activate_backward(device, &backward);
}

static void check_values(const char *name, const struct mst_activation *activation, const struct batch *b)
{
    size_t n_bends = 0;
    for (size_t i = 0; i < b->n; i++) {
        double y = device_activate(activation, (double)b->x[i]);
        double slope = device_slope(activation, (double)b->x[i]);
        double dx = slope * (double)b->dy[i];
        // Those that end in a product with a tiny tail of the normal distribution lose what its exponent rounds off.
        bool fits = device_close(name, &b->y[i], &y, 1, 3e-6, 1e-9);
        if (isnan(slope))
            n_bends++;
        else
            fits = fits && device_close("its gradient", &b->dx[i], &dx, 1, 1e-5, 5e-7);
        if (!fits)
            fail_msg("%s (alpha %g) at x = %a, dy = %a", name, (double)activation->alpha, (double)b->x[i],
                     (double)b->dy[i]);
    }
    assert_true(n_bends <= 2 + b->n / 20);
}

// All over again with y in x's place and dx in dy's.
static void check_in_place(struct mst_device *device, const struct mst_activation *activation, const struct batch *b)
{
    struct batch again = *b;
    again.x = device_floats(b->n, 1.0f);
    again.dx = device_floats(b->n, 1.0f);
    memcpy(again.x, b->x, b->n * sizeof *again.x);
    memcpy(again.dx, b->dy, b->n * sizeof *again.dx);
    struct mst_activate forward = {
        .activation = *activation, .rows = b->rows, .columns = b->columns, .x = again.x, .y = again.x};
    struct mst_activate_backward backward = {.activation = *activation,
                                             .rows = b->rows,
                                             .columns = b->columns,
                                             .x = b->x,
                                             .y = b->y,
                                             .dy = again.dx,
                                             .dx = again.dx};
    device->ops->activate(device, &forward);
    device->ops->activate_backward(device, &backward);
    assert_true(device_same("forward in place", again.x, b->y, b->n));
    assert_true(device_same("backward in place", again.dx, b->dx, b->n));
    free(again.x);
    free(again.dx);
}

static void test_against_double(void **state)
{
    (void)state;
    struct mst_device *device = device_new(1);
    for (size_t v = 0; v < N_VARIANTS; v++) {
        struct mst_activation activation = variant(v);
        for (size_t shape = 0; shape < LARGE && !is_on_rows(&activation); shape++) {
            struct batch b = batch_new(shape);
            run(device, &activation, &b);
            check_values(mst_activation_name(activation.kind), &activation, &b);
            check_in_place(device, &activation, &b);
            batch_free(&b);
        }
    }
    mst_device_free(device);
}

static void test_any_number_of_threads(void **state)
{
    (void)state;
    struct mst_device *devices[] = {device_new(1), device_new(2), device_new(3)};
    struct batch b = batch_new(LARGE);
    float *y = device_floats(b.n, 1.0f);
    float *dx = device_floats(b.n, 1.0f);
    for (size_t v = 0; v < N_VARIANTS; v++) {
        struct mst_activation activation = variant(v);
        run(devices[0], &activation, &b);
        memcpy(y, b.y, b.n * sizeof *y);
        memcpy(dx, b.dx, b.n * sizeof *dx);
        for (size_t d = 1; d < 3; d++) {
            memset(b.y, 0xFF, b.n * sizeof *b.y);
            memset(b.dx, 0xFF, b.n * sizeof *b.dx);
            run(devices[d], &activation, &b);
            assert_true(device_same(mst_activation_name(activation.kind), b.y, y, b.n));
            assert_true(device_same("its gradient", b.dx, dx, b.n));
        }
    }
    free(y);
    free(dx);
    batch_free(&b);
    for (size_t d = 0; d < 3; d++)
        mst_device_free(devices[d]);
}

static void test_nan_comes_through(void **state)
{
    (void)state;
    struct mst_device *device = device_new(1);
    for (size_t v = 0; v < N_VARIANTS; v++) {
        struct mst_activation activation = variant(v);
        float y[40];
        float x[40];
        device_fill(x, 40, 1.0f);
        x[17] = NAN;
        x[39] = -NAN;
        struct mst_activate forward = {.activation = activation, .rows = 2, .columns = 20, .x = x, .y = y};
        device->ops->activate(device, &forward);
        assert_true(isnan(y[17]));
        assert_true(isnan(y[39]));
        assert_true(is_on_rows(&activation) || !isnan(y[16]));
    }
    mst_device_free(device);
}

static const struct corner {
    struct mst_activation activation;
    float x;
    float y;
    float slope;
} corners[] = {
    // At a bend: as TensorFlow's gradients have it, where the kept output still tells.
    {{MST_ACTIVATION_RELU, 0.0f, INFINITY, 0.0f}, 0.0f, 0.0f, 0.0f},
    {{MST_ACTIVATION_RELU, 0.25f, INFINITY, 0.0f}, 0.0f, 0.0f, 0.25f},
    {{MST_ACTIVATION_RELU, 0.0f, INFINITY, 1.0f}, 1.0f, 0.0f, 0.0f},
    {{MST_ACTIVATION_RELU, 0.5f, 6.0f, 1.0f}, -1.0f, -1.0f, 0.5f},
    {{MST_ACTIVATION_RELU, 0.0f, 6.0f, 0.0f}, 7.0f, 6.0f, 0.0f},
    {{MST_ACTIVATION_RELU, 0.0f, INFINITY, 0.0f}, INFINITY, INFINITY, 1.0f},
    {{MST_ACTIVATION_RELU, 0.0f, INFINITY, 0.0f}, -INFINITY, 0.0f, 0.0f},
    {{MST_ACTIVATION_RELU, 0.0f, 6.0f, 0.5f}, -INFINITY, 0.0f, 0.0f},
    {{MST_ACTIVATION_RELU6, 0.0f, INFINITY, 0.0f}, 6.0f, 6.0f, 0.0f},
    {{MST_ACTIVATION_LEAKY_RELU, 0.2f, INFINITY, 0.0f}, 0.0f, 0.0f, 0.2f},
    {{MST_ACTIVATION_ELU, 1.0f, INFINITY, 0.0f}, 0.0f, 0.0f, 1.0f},
    {{MST_ACTIVATION_ELU, 1.0f, INFINITY, 0.0f}, -INFINITY, -1.0f, 0.0f},
    {{MST_ACTIVATION_SELU, 0.0f, INFINITY, 0.0f}, 0.0f, 0.0f, 1.05070098f},
    {{MST_ACTIVATION_SIGMOID, 0.0f, INFINITY, 0.0f}, INFINITY, 1.0f, 0.0f},
    {{MST_ACTIVATION_SIGMOID, 0.0f, INFINITY, 0.0f}, -INFINITY, 0.0f, 0.0f},
    {{MST_ACTIVATION_TANH, 0.0f, INFINITY, 0.0f}, -INFINITY, -1.0f, 0.0f},
    {{MST_ACTIVATION_SOFTPLUS, 0.0f, INFINITY, 0.0f}, -INFINITY, 0.0f, 0.0f},
    {{MST_ACTIVATION_SOFTPLUS, 0.0f, INFINITY, 0.0f}, 100.0f, 100.0f, 1.0f},
    {{MST_ACTIVATION_EXPONENTIAL, 0.0f, INFINITY, 0.0f}, 1000.0f, INFINITY, INFINITY},
    {{MST_ACTIVATION_HARD_SIGMOID, 0.0f, INFINITY, 0.0f}, -3.0f, 0.0f, 0.0f},
    {{MST_ACTIVATION_HARD_SHRINK, 0.5f, INFINITY, 0.0f}, 0.5f, 0.0f, 0.0f},
    {{MST_ACTIVATION_SOFT_SHRINK, 0.5f, INFINITY, 0.0f}, -0.5f, 0.0f, 0.0f},
    {{MST_ACTIVATION_SPARSE_PLUS, 0.0f, INFINITY, 0.0f}, 1.0f, 1.0f, 1.0f},
    {{MST_ACTIVATION_SPARSE_SIGMOID, 0.0f, INFINITY, 0.0f}, -1.0f, 0.0f, 0.0f},
};

static void test_corners(void **state)
{
    (void)state;
    struct mst_device *device = device_new(1);
    for (size_t i = 0; i < sizeof corners / sizeof *corners; i++) {
        const struct corner *c = &corners[i];
        float x = c->x;
        float one = 1.0f;
        float y;
        float dx;
        struct batch b = {.rows = 1, .columns = 1, .n = 1, .x = &x, .dy = &one, .y = &y, .dx = &dx};
        run(device, &c->activation, &b);
        if (y != c->y || dx != c->slope)
            fail_msg("%s of %g is %g with slope %g, want %g and %g", mst_activation_name(c->activation.kind), (double)x,
                     (double)y, (double)dx, (double)c->y, (double)c->slope);
    }
    mst_device_free(device);
}

static void test_all_are_supported(void **state)
{
    (void)state;
    struct mst_device *device = device_new(1);
    for (unsigned kind = 0; kind < MST_N_ACTIVATIONS; kind++)
        assert_true(device->ops->supports_activation(device, (enum mst_activation_kind)kind));
    assert_false(device->ops->supports_activation(device, MST_N_ACTIVATIONS));
    mst_device_free(device);
}

int main(void)
{
    device_seed("test_device_elements");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_double),    cmocka_unit_test(test_any_number_of_threads),
        cmocka_unit_test(test_nan_comes_through), cmocka_unit_test(test_corners),
        cmocka_unit_test(test_all_are_supported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
