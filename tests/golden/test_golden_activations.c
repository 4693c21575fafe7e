// Every activation and its slope at the points where formulas change, beside them, and far out: which side a point
// belongs to is Keras's convention, and a training that meets it (a pixel of exactly 0, a saturated unit) goes
// Keras's way.
#include "base/alloc.h"
#include "device/device.h"
#include "golden_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Keras forms differences like 1 - tanh² and x + √(x² + 4), whose terms are rounded at their own size, 1 and x: some
// units of 6e-8 of it. Ours mostly avoid them, so the error is Keras's; 1e-6 of the value is the goal for a
// layer.
#define RELATIVE 1e-6
#define ABSOLUTE 4e-7

// Slopes at single points where we do not follow, each by what is right on one of its sides.
static const struct {
    const char *name;
    float at;
    float ours;
    float keras;
} exceptions[] = {
    {"celu", 0.0f, 1.0f, 2.0f},      // a maximum and a minimum that both pass the gradient of a tie
    {"hard_tanh", 1.0f, 0.0f, 1.0f}, // told by the output, which is 1 above 1 too
    {"hard_tanh", -1.0f, 0.0f, 1.0f},
    {"hard_silu", 0x1.7ffffep+1f, 1.5f, 1.0f},      // the float below 3, which plus 3 rounds to 6
    {"sparse_sigmoid", 0x1.fffffep-1f, 0.0f, 0.5f}, // the float below 1, for which the output rounds to 1
};

static struct mst_device *device;

static bool is_exception(const char *name, float at, float got, float want)
{
    for (size_t i = 0; i < sizeof exceptions / sizeof *exceptions; i++)
        if (strcmp(name, exceptions[i].name) == 0 && at == exceptions[i].at &&
            fabsf(got - exceptions[i].ours) < 1e-6f && fabsf(want - exceptions[i].keras) < 1e-6f)
            return true;
    return false;
}

static size_t check_each(const char *name, const char *what, const float *x, const float *got, const float *want,
                         size_t n)
{
    size_t n_bad = 0;
    for (size_t i = 0; i < n; i++) {
        double error = fabs((double)got[i] - (double)want[i]);
        double allowed = RELATIVE * fabs((double)want[i]) + ABSOLUTE * fmax(1.0, fabs((double)x[i]));
        if (error <= allowed || got[i] == want[i] || is_exception(name, x[i], got[i], want[i]))
            continue;
        fprintf(stderr, "%s %s at %.9g: %.9g, want %.9g\n", name, what, (double)x[i], (double)got[i], (double)want[i]);
        n_bad++;
    }
    return n_bad;
}

static void test_each(void **state)
{
    (void)state;
    struct golden *golden = golden_open("activations");
    size_t n, n_bad = 0;
    const float *x = golden_tensor(golden, &n, "x");
    float *y = mst_alloc_array(n, sizeof *y);
    float *slope = mst_alloc_array(n, sizeof *slope);
    float *ones = mst_alloc_array(n, sizeof *ones);
    for (size_t i = 0; i < n; i++)
        ones[i] = 1.0f;
    for (size_t i = 0; i < golden_n_cases(golden); i++) {
        const char *name = golden_case_name(golden, i);
        struct mst_activation activation;
        assert_int_equal(mst_activation_find(name, &activation), MST_OK);
        struct mst_activate forward = {.activation = activation, .rows = 1, .columns = n, .x = x, .y = y};
        struct mst_activate_backward backward = {
            .activation = activation, .rows = 1, .columns = n, .x = x, .y = y, .dy = ones, .dx = slope};
        device->ops->activate(device, &forward);
        device->ops->activate_backward(device, &backward);
        n_bad += check_each(name, "is", x, y, golden_tensor(golden, &n, "%s.y", name), n);
        n_bad += check_each(name, "has slope", x, slope, golden_tensor(golden, &n, "%s.slope", name), n);
    }
    assert_int_equal(n_bad, 0);
    free(y);
    free(slope);
    free(ones);
    golden_free(golden);
}

int main(int argc, char **argv)
{
    struct mst_error err = {0};
    if (argc > 1)
        golden_folder(argv[1]);
    if (mst_device_cpu_new(1, &device, &err) != MST_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mst_device_free(device);
    return failed;
}
