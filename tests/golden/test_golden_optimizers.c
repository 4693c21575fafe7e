// Fifty updates with gradients that Keras was given too: weights every ten updates and the slots at the end.
#include "base/alloc.h"
#include "golden_file.h"
#include "muster/status.h"
#include "optim/clip.h"
#include "optim/optimizer.h"
#include "tests/lib/tensors_equal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The operations are Keras's, in its order, so SGD and every slot but one of Ftrl have its bits. Adam's rate has powers
// of the betas in it, which are rounded once here and by Eigen's approximation there: one unit in the last place of
// beta_2^t, where 1 - beta_2^t is small, would move the rate by 1e-5 of itself and a weight by 1e-5 of the learning
// rate. So do the powers and cosines of schedules. Ftrl's "linear" has a difference of square roots divided by the
// rate, for which Keras takes a general power. A norm that gradients are clipped to is summed in double here and in
// float there. The goal is 1e-6 of the largest.
#define TOLERANCE 1e-6

static bool is_approximate(const char *name)
{
    return strstr(name, "scheduled") || strstr(name, "clipnorm");
}

static bool weights_agree(const struct mst_optimizer *optimizer, const char *name, const float *got, const float *want,
                          size_t n)
{
    if (strcmp(mst_optimizer_name(optimizer), "SGD") == 0 && !is_approximate(name))
        return mst_test_floats_same_bits(name, got, want, n);
    return mst_test_floats_close(name, got, want, n, TOLERANCE);
}

static bool slots_agree(const struct mst_optimizer *optimizer, const char *name, const float *got, const float *want,
                        size_t n)
{
    if (strcmp(mst_optimizer_name(optimizer), "Ftrl") == 0 || is_approximate(name))
        return mst_test_floats_close(name, got, want, n, TOLERANCE);
    return mst_test_floats_same_bits(name, got, want, n);
}

// One variable is all there is.
static void clip(const struct mst_optimizer *optimizer, float *grad, size_t n)
{
    struct mst_clip limits = mst_optimizer_clip(optimizer);
    if (limits.norm > 0)
        mst_clip_by_norm(limits.norm, grad, n);
    if (limits.global_norm > 0)
        mst_clip_scale(mst_clip_global_scale(limits.global_norm, mst_clip_square_sum(grad, n)), grad, n);
}

static void check_case(struct golden *golden, size_t index)
{
    const char *name = golden_case_name(golden, index);
    struct mst_optimizer *optimizer;
    struct mst_error err = {0};
    float *slots[MST_OPTIMIZER_MAX_SLOTS];
    size_t n, n_grads, n_slots;
    char text[128];
    const json_t *json = golden_case_value(golden, index, "optimizer");
    if (mst_optimizer_parse(json, name, &optimizer, &err) != MST_OK)
        fail_msg("%s", err.text);
    const float *start = golden_tensor(golden, &n, "w.0");
    const float *grads = golden_tensor(golden, &n_grads, "grads");
    float *w = mst_alloc_array(n, sizeof *w);
    memcpy(w, start, n * sizeof *w);
    n_slots = mst_optimizer_n_slots(optimizer);
    assert_int_equal(n_slots, json_array_size(golden_case_value(golden, index, "slots")));
    for (size_t s = 0; s < n_slots; s++) {
        slots[s] = mst_alloc_array(n, sizeof *w);
        for (size_t i = 0; i < n; i++)
            slots[s][i] = mst_optimizer_slot_initial(optimizer, s);
    }
    uint64_t before = (uint64_t)json_integer_value(golden_case_value(golden, index, "before"));
    float *grad = mst_alloc_array(n, sizeof *grad);
    for (size_t step = 1; step <= n_grads / n; step++) {
        memcpy(grad, grads + (step - 1) * n, n * sizeof *grad);
        clip(optimizer, grad, n);
        assert_true(mst_optimizer_apply(optimizer, before + step - 1, n, grad, w, w, slots));
        if (step % 10 != 0)
            continue;
        const float *want = golden_tensor(golden, &n, "%s.w.%zu", name, step);
        snprintf(text, sizeof text, "%s after %zu updates", name, step);
        assert_true(weights_agree(optimizer, text, w, want, n));
    }
    for (size_t s = 0; s < n_slots; s++) {
        // Keras's path of a slot is "<variable>_<slot>"
        const float *want = golden_tensor(golden, &n, "%s.slot.kernel_%s", name, mst_optimizer_slot_name(optimizer, s));
        snprintf(text, sizeof text, "%s, slot %s", name, mst_optimizer_slot_name(optimizer, s));
        assert_true(slots_agree(optimizer, text, slots[s], want, n));
        free(slots[s]);
    }
    free(grad);
    free(w);
    mst_optimizer_free(optimizer);
}

static void test_updates(void **state)
{
    (void)state;
    struct golden *golden = golden_open("optimizers");
    for (size_t i = 0; i < golden_n_cases(golden); i++)
        check_case(golden, i);
    golden_free(golden);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        golden_folder(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_updates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
