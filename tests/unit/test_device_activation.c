// The list of activations: names as Keras writes them, default parameters, and what backward needs to be given.
#include "device/activation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

static void test_every_name_is_found(void **state)
{
    (void)state;
    size_t list_len = 0;
    for (unsigned kind = 0; kind < MST_N_ACTIVATIONS; kind++) {
        const char *name = mst_activation_name((enum mst_activation_kind)kind);
        struct mst_activation found;
        struct mst_activation usual = mst_activation_default((enum mst_activation_kind)kind);
        assert_int_equal(mst_activation_find(name, &found), MST_OK);
        assert_int_equal(found.kind, kind);
        assert_memory_equal(&found.alpha, &usual.alpha, sizeof found.alpha);
        assert_true(found.max_value == INFINITY && found.threshold == 0.0f);
        assert_non_null(strstr(mst_activation_names(), name));
        list_len += strlen(name) + strlen(", ");
    }
    assert_int_equal(strlen(mst_activation_names()), list_len - strlen(", "));
    assert_memory_equal(mst_activation_names(), "linear, relu, ", strlen("linear, relu, "));
}

static void test_aliases_and_defaults(void **state)
{
    (void)state;
    struct mst_activation found;
    assert_int_equal(mst_activation_find("swish", &found), MST_OK);
    assert_int_equal(found.kind, MST_ACTIVATION_SILU);
    assert_int_equal(mst_activation_find("hard_swish", &found), MST_OK);
    assert_int_equal(found.kind, MST_ACTIVATION_HARD_SILU);
    assert_true(mst_activation_default(MST_ACTIVATION_LEAKY_RELU).alpha == 0.2f);
    assert_true(mst_activation_default(MST_ACTIVATION_ELU).alpha == 1.0f);
    assert_true(mst_activation_default(MST_ACTIVATION_HARD_SHRINK).alpha == 0.5f);
    assert_true(mst_activation_default(MST_ACTIVATION_SQUAREPLUS).alpha == 4.0f);
    const char *const strangers[] = {"", "Relu", "relu ", "rel", "sparsemax", "glu"};
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++) {
        assert_int_equal(mst_activation_find(strangers[i], &found), MST_NOT_FOUND);
        assert_int_equal(found.kind, MST_ACTIVATION_LINEAR);
    }
}

static enum mst_activation_keeps keeps(enum mst_activation_kind kind, float alpha, float max_value)
{
    struct mst_activation activation = {.kind = kind, .alpha = alpha, .max_value = max_value};
    return mst_activation_keeps(&activation);
}

static void test_what_backward_needs(void **state)
{
    (void)state;
    assert_int_equal(keeps(MST_ACTIVATION_LINEAR, 0, INFINITY), MST_KEEPS_NOTHING);
    assert_int_equal(keeps(MST_ACTIVATION_RELU, 0, INFINITY), MST_KEEPS_OUTPUT);
    assert_int_equal(keeps(MST_ACTIVATION_RELU, 0.1f, 6), MST_KEEPS_OUTPUT);
    // Where the output does not tell the input's side.
    assert_int_equal(keeps(MST_ACTIVATION_RELU, -0.1f, INFINITY), MST_KEEPS_INPUT);
    assert_int_equal(keeps(MST_ACTIVATION_RELU, 0.1f, 0), MST_KEEPS_INPUT);
    assert_int_equal(keeps(MST_ACTIVATION_LEAKY_RELU, -0.1f, INFINITY), MST_KEEPS_INPUT);
    assert_int_equal(keeps(MST_ACTIVATION_ELU, -1, INFINITY), MST_KEEPS_INPUT);
    assert_int_equal(keeps(MST_ACTIVATION_TANH, 0, INFINITY), MST_KEEPS_OUTPUT);
    assert_int_equal(keeps(MST_ACTIVATION_GELU, 0, INFINITY), MST_KEEPS_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_name_is_found),
        cmocka_unit_test(test_aliases_and_defaults),
        cmocka_unit_test(test_what_backward_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
