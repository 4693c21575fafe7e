// Every kernel of every instruction set that this processor has gives the bits of a plain loop over floats, whatever
// the size and the alignment, writes nothing beside its arrays, and tells what is not finite.
#include "base/rng.h"
#include "optim/apply.h"
#include "tensor/isa.h"
#include "tests/lib/tensors_equal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// arrays: gradient, weights in, weights out, three slots, three places for slots
enum { ROOM = 256, N_ARRAYS = 9, MAX_N = 150, OTHER_SLOTS = 6 };
// What is updated in place.
enum placement { ALL_IN_PLACE, SLOTS_IN_PLACE, NONE_IN_PLACE };

// One array in a guarded stretch of memory: `at` may begin anywhere in it.
struct arrays {
    _Alignas(64) float memory[N_ARRAYS][ROOM];
    size_t offset[N_ARRAYS];
    size_t n;
};

static const float guard = -12345.5f;

static float *at(struct arrays *a, size_t array)
{
    return &a->memory[array][a->offset[array]];
}

static struct mst_rng_key key;
static uint64_t n_drawn;

static float random_float(float scale)
{
    return scale * (2.0f * mst_rng_unit(mst_rng_word(key, n_drawn++)) - 1.0f);
}

static size_t slots_of(unsigned kind)
{
    static const size_t n[MST_N_APPLY] = {
        [MST_APPLY_MOMENTUM] = 1,         [MST_APPLY_NESTEROV] = 1,   [MST_APPLY_ADAM] = 2,
        [MST_APPLY_AMSGRAD] = 3,          [MST_APPLY_ADAGRAD] = 1,    [MST_APPLY_RMSPROP] = 1,
        [MST_APPLY_RMSPROP_MOMENTUM] = 2, [MST_APPLY_LION] = 1,       [MST_APPLY_RMSPROP_CENTERED] = 2,
        [MST_APPLY_RMSPROP_BOTH] = 3,     [MST_APPLY_ADAMAX] = 2,     [MST_APPLY_FTRL] = 2,
        [MST_APPLY_ADADELTA] = 2,         [MST_APPLY_FTRL_POWER] = 2, [MST_APPLY_NADAM] = 2,
    };
    return n[kind];
}

// What a slot may hold: sums and averages of squares are not negative, nor are norms; the variance of the centered
// RMSprop is not either, if the average is small against the squares.
static float slot_value(unsigned kind, size_t slot)
{
    float value = random_float(1.0f);
    bool is_square_first = kind == MST_APPLY_ADAGRAD || (kind >= MST_APPLY_RMSPROP && kind <= MST_APPLY_RMSPROP_BOTH) ||
                           kind == MST_APPLY_FTRL || kind == MST_APPLY_FTRL_POWER;
    bool is_average =
        (kind == MST_APPLY_RMSPROP_CENTERED && slot == 1) || (kind == MST_APPLY_RMSPROP_BOTH && slot == 2);
    if (is_average)
        return value * 0.01f;
    if (kind == MST_APPLY_ADADELTA)
        return fabsf(value) + 0.001f;
    if (is_square_first)
        return slot == 0 ? fabsf(value) + 0.001f : value;
    return slot == 0 ? value : fabsf(value);
}

// Gradients of very different sizes.
static void fill(struct arrays *a, unsigned kind, size_t n, size_t shift)
{
    a->n = n;
    for (size_t k = 0; k < N_ARRAYS; k++) {
        a->offset[k] = 16 + (shift + k * mst_rng_word(key, n_drawn++)) % 16;
        for (size_t i = 0; i < ROOM; i++)
            a->memory[k][i] = guard;
        for (size_t i = 0; i < n; i++)
            at(a, k)[i] = k >= 3   ? slot_value(kind, (k - 3) % 3)
                          : k != 0 ? random_float(1.0f)
                                   : random_float(i % 3 == 0 ? 1e-4f : 3.0f);
    }
}

static struct mst_apply apply_of(struct arrays *a)
{
    return (struct mst_apply){.n = a->n,
                              .grad = at(a, 0),
                              .w_in = at(a, 1),
                              .w_out = at(a, 2),
                              .slots_in = {at(a, 3), at(a, 4), at(a, 5)},
                              .slots = {at(a, 3), at(a, 4), at(a, 5)},
                              .rate = 0.0123f,
                              .momentum = 0.9f,
                              .keep_1 = 0.8f,
                              .keep_2 = 0.99f,
                              .blend_1 = 0.1f,
                              .blend_2 = 0.001f,
                              .rest_1 = 0.3f,
                              .rest_2 = 0.2f,
                              .rest_next = 0.6f,
                              .power = 0.3f,
                              .epsilon = 1e-7f,
                              .l1 = 0.4f,
                              .l2_twice = 0.03f,
                              .shrinkage_twice = 0.02f,
                              .clip = INFINITY};
}

static float clipped(float x, float limit)
{
    return x > limit ? limit : x < -limit ? -limit : x;
}

static float raised(float x, const struct mst_apply *a)
{
    return (float)pow((double)x, (double)a->power);
}

// RMSprop's element: its new velocity, then the average of the gradients and the momentum where there are any.
static float reference_rmsprop(unsigned kind, const struct mst_apply *a, size_t i, float g)
{
    bool is_centered = kind == MST_APPLY_RMSPROP_CENTERED || kind == MST_APPLY_RMSPROP_BOTH;
    float *average = a->slots[kind == MST_APPLY_RMSPROP_BOTH ? 2 : 1];
    float v = a->keep_2 * a->slots[0][i] + a->blend_2 * (g * g);
    float denominator = v;
    a->slots[0][i] = v;
    if (is_centered) {
        average[i] = a->keep_2 * average[i] + a->blend_2 * g;
        denominator = v - average[i] * average[i];
    }
    float move = a->rate * g / sqrtf(denominator + a->epsilon);
    if (kind == MST_APPLY_RMSPROP_MOMENTUM || kind == MST_APPLY_RMSPROP_BOTH)
        a->slots[1][i] = move = a->momentum * a->slots[1][i] + move;
    return move;
}

// The update as Keras's optimizers write it, one float operation at a time; returns the new weight.
static float reference_element(unsigned kind, const struct mst_apply *a, size_t i, float g, float w)
{
    float *s0 = a->slots[0];
    float *s1 = a->slots[1];
    float mixed, sum;
    switch (kind) {
    case MST_APPLY_SGD:
        return w - g * a->rate;
    case MST_APPLY_MOMENTUM:
    case MST_APPLY_NESTEROV:
        s0[i] = s0[i] * a->momentum - g * a->rate;
        return w + (kind == MST_APPLY_NESTEROV ? s0[i] * a->momentum - g * a->rate : s0[i]);
    case MST_APPLY_ADAGRAD:
        s0[i] = s0[i] + g * g;
        return w - a->rate * g / sqrtf(s0[i] + a->epsilon);
    case MST_APPLY_LION:
        mixed = s0[i] * a->keep_1 + g * a->blend_1;
        s0[i] = s0[i] * a->keep_2 + g * a->blend_2;
        return w - a->rate * (mixed > 0 ? 1.0f : mixed < 0 ? -1.0f : mixed);
    case MST_APPLY_ADAMAX:
        s0[i] = s0[i] + (g - s0[i]) * a->blend_1;
        s1[i] = fmaxf(s1[i] * a->keep_2, fabsf(g));
        return w - a->rate * s0[i] / (a->rest_1 * (s1[i] + a->epsilon));
    case MST_APPLY_ADADELTA:
        s0[i] = a->keep_2 * s0[i] + a->blend_2 * (g * g);
        mixed = -(sqrtf(s1[i] + a->epsilon) * g / sqrtf(s0[i] + a->epsilon));
        s1[i] = a->keep_2 * s1[i] + a->blend_2 * (mixed * mixed);
        return w + a->rate * mixed;
    case MST_APPLY_NADAM:
        s0[i] = s0[i] + (g - s0[i]) * a->blend_1;
        s1[i] = s1[i] + (g * g - s1[i]) * a->blend_2;
        mixed = a->keep_1 * s0[i] / a->rest_next + a->keep_2 * g / a->rest_1;
        return w - mixed * a->rate / (sqrtf(s1[i] / a->rest_2) + a->epsilon);
    case MST_APPLY_FTRL_POWER:
        sum = s0[i] + g * g;
        s1[i] = s1[i] + (g + a->shrinkage_twice * w - (raised(sum, a) - raised(s0[i], a)) / a->rate * w);
        s0[i] = sum;
        return (clipped(s1[i], a->l1) - s1[i]) / (raised(sum, a) / a->rate + a->l2_twice);
    case MST_APPLY_FTRL:
        sum = s0[i] + g * g;
        s1[i] = s1[i] + (g + a->shrinkage_twice * w - (sqrtf(sum) - sqrtf(s0[i])) / a->rate * w);
        s0[i] = sum;
        return (clipped(s1[i], a->l1) - s1[i]) / (sqrtf(sum) / a->rate + a->l2_twice);
    case MST_APPLY_AVERAGE:
        return w * a->keep_1 + g * a->blend_1;
    case MST_APPLY_ADAM:
    case MST_APPLY_AMSGRAD:
        s0[i] = s0[i] + (g - s0[i]) * a->blend_1;
        s1[i] = s1[i] + (g * g - s1[i]) * a->blend_2;
        sum = s1[i];
        if (kind == MST_APPLY_AMSGRAD)
            a->slots[2][i] = sum = fmaxf(a->slots[2][i], sum);
        return w - s0[i] * a->rate / (sqrtf(sum) + a->epsilon);
    default:
        return w - reference_rmsprop(kind, a, i, g);
    }
}

static void reference(unsigned kind, const struct mst_apply *a)
{
    for (size_t i = 0; i < a->n; i++) {
        float g = a->grad[i];
        float w = a->w_in[i];
        if (a->is_adjusted) {
            g = clipped(g, a->clip);
            w = w - w * a->decay * a->decay_rate;
        }
        a->w_out[i] = reference_element(kind, a, i, g, w);
    }
}

static void compare_memory(const struct arrays *got, const struct arrays *want, const char *name)
{
    for (size_t k = 0; k < N_ARRAYS; k++) {
        char text[128];
        snprintf(text, sizeof text, "%s, array %zu", name, k);
        assert_true(mst_test_floats_same_bits(text, got->memory[k], want->memory[k], ROOM));
    }
}

static void adjust(struct mst_apply *apply)
{
    apply->is_adjusted = true;
    apply->clip = 0.5f;
    apply->decay = 0.04f;
    apply->decay_rate = 0.3f;
}

static void place(struct mst_apply *apply, struct arrays *arrays, enum placement placement)
{
    if (placement == ALL_IN_PLACE)
        apply->w_out = at(arrays, 1);
    for (size_t s = 0; s < 3 && placement == NONE_IN_PLACE; s++) {
        arrays->offset[OTHER_SLOTS + s] = arrays->offset[2] + (apply->n % 2 ? s : 0);
        apply->slots[s] = at(arrays, OTHER_SLOTS + s);
    }
    apply->streams_slots = placement == NONE_IN_PLACE && apply->n % 2 == 0;
}

// Every third size with clipping and decay.
static void check_kernel(enum mst_isa isa, unsigned kind, enum mst_apply_store store, enum placement placement)
{
    static struct arrays got, want;
    char name[128];
    for (size_t n = 0; n <= MAX_N; n++) {
        snprintf(name, sizeof name, "%s kind %u store %u placement %u n %zu", mst_isa_name(isa), kind, (unsigned)store,
                 (unsigned)placement, n);
        fill(&got, kind, n, n * 5);
        struct mst_apply a = apply_of(&got);
        place(&a, &got, placement);
        want = got;
        struct mst_apply b = apply_of(&want);
        place(&b, &want, placement);
        if (n % 3 == 2) {
            adjust(&a);
            adjust(&b);
        }
        for (size_t s = 0; s < slots_of(kind); s++) // the plain loop works in place
            memmove(b.slots[s], b.slots_in[s], n * sizeof(float));
        assert_true(mst_apply_find(isa, kind, store)(&a));
        reference(kind, &b);
        compare_memory(&got, &want, name);
    }
}

static void test_same_bits_as_a_plain_loop(void **state)
{
    (void)state;
    for (enum mst_isa isa = MST_ISA_BASE; isa <= mst_isa_detect(); isa++)
        for (unsigned kind = 0; kind < MST_N_APPLY; kind++)
            for (enum mst_apply_store store = MST_APPLY_CACHED; store < MST_N_APPLY_STORES; store++) {
                check_kernel(isa, kind, store, ALL_IN_PLACE);
                check_kernel(isa, kind, store, SLOTS_IN_PLACE);
                check_kernel(isa, kind, store, NONE_IN_PLACE);
            }
}

static bool all_finite(unsigned kind, const struct mst_apply *a)
{
    for (size_t i = 0; i < a->n; i++) {
        if (!isfinite(a->w_out[i]))
            return false;
        for (size_t s = 0; s < slots_of(kind); s++)
            if (!isfinite(a->slots[s][i]))
                return false;
    }
    return true;
}

// The same bits, but that any NaN is as good as another.
static void compare_values(struct arrays *got, struct arrays *want, const char *name)
{
    for (size_t k = 0; k < N_ARRAYS; k++)
        for (size_t i = 0; i < ROOM; i++)
            if (isnan(got->memory[k][i]) && isnan(want->memory[k][i]))
                got->memory[k][i] = want->memory[k][i] = 0;
    compare_memory(got, want, name);
}

// Zeros, denormals, the largest floats: where flushing to zero or an estimate of the square root would show.
static void test_extremes(void **state)
{
    (void)state;
    static const float values[] = {0.0f,   -0.0f,   0x1p-149f, -0x1p-149f, 0x1p-126f, -0x1.8p-127f,
                                   1e-30f, -1e-20f, 1e-10f,    1.00001f,   1e10f,     -1e15f,
                                   1e18f,  -1e18f,  3.0f,      -0x1p-100f};
    enum { N_VALUES = sizeof values / sizeof *values };
    static struct arrays got, want;
    for (enum mst_isa isa = MST_ISA_BASE; isa <= mst_isa_detect(); isa++)
        for (unsigned kind = 0; kind < MST_N_APPLY; kind++) {
            fill(&got, kind, MAX_N, 3);
            for (size_t i = 0; i < MAX_N; i++) {
                at(&got, 0)[i] = values[i % N_VALUES];
                at(&got, 1)[i] = values[i / N_VALUES];
                at(&got, 3)[i] = values[(i + 5) % N_VALUES];
                at(&got, 4)[i] = fabsf(values[(i + 2) % N_VALUES]);
                at(&got, 5)[i] = fabsf(values[(i * 7) % N_VALUES]);
            }
            want = got;
            struct mst_apply a = apply_of(&got);
            struct mst_apply b = apply_of(&want);
            bool is_finite = mst_apply_find(isa, kind, MST_APPLY_CACHED)(&a);
            reference(kind, &b);
            if (kind < MST_APPLY_ADAGRAD) // those after it have square roots of differences and of these slots
                assert_true(is_finite);
            assert_true(is_finite == all_finite(kind, &b));
            compare_values(&got, &want, mst_isa_name(isa));
        }
}

// One bad number at any place of any array that is read makes the answer false, and only its own element bad.
static void spoil(enum mst_isa isa, unsigned kind, float bad, size_t array)
{
    static struct arrays a;
    if (kind == MST_APPLY_ADAMAX && array == 4)
        bad = fabsf(bad); // a norm has no sign
    for (size_t place = 0; place < MAX_N; place++) {
        fill(&a, kind, MAX_N, place);
        at(&a, array)[place] = bad;
        struct mst_apply apply = apply_of(&a);
        if (mst_apply_find(isa, kind, place % 2 ? MST_APPLY_CACHED : MST_APPLY_STREAMED)(&apply))
            fail_msg("%s kind %u: %g in element %zu of array %zu went unnoticed", mst_isa_name(isa), kind, (double)bad,
                     place, array);
        for (size_t i = 0; i < MAX_N; i++)
            assert_true(i == place || isfinite(at(&a, 2)[i]));
    }
}

static void test_not_finite_is_told(void **state)
{
    (void)state;
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (enum mst_isa isa = MST_ISA_BASE; isa <= mst_isa_detect(); isa++)
        for (unsigned kind = 0; kind < MST_N_APPLY; kind++)
            for (size_t b = 0; b < sizeof bad / sizeof *bad; b++) {
                spoil(isa, kind, bad[b], 0);
                spoil(isa, kind, bad[b], 1);
                if (slots_of(kind) > 0)
                    spoil(isa, kind, bad[b], 3);
                if (slots_of(kind) > 1)
                    spoil(isa, kind, bad[b], 4);
            }
}

// An overflow of finite numbers is told too: a weight, and a second moment whose weight stays finite.
static void test_overflow_is_told(void **state)
{
    (void)state;
    static struct arrays a;
    for (enum mst_isa isa = MST_ISA_BASE; isa <= mst_isa_detect(); isa++) {
        fill(&a, MST_APPLY_SGD, MAX_N, 1);
        at(&a, 1)[77] = 3e38f;
        at(&a, 0)[77] = -3e38f;
        struct mst_apply apply = apply_of(&a);
        apply.rate = 1.0f;
        assert_false(mst_apply_find(isa, MST_APPLY_SGD, MST_APPLY_CACHED)(&apply));
        fill(&a, MST_APPLY_ADAM, MAX_N, 1);
        at(&a, 0)[149] = 1e30f;
        apply = apply_of(&a);
        assert_false(mst_apply_find(isa, MST_APPLY_ADAM, MST_APPLY_CACHED)(&apply));
        assert_true(isfinite(at(&a, 2)[149]));
    }
}

int main(void)
{
    const char *given = getenv("MUSTER_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 1;
    printf("seed %" PRIu64 " (MUSTER_TEST_SEED), instruction sets up to %s\n", seed, mst_isa_name(mst_isa_detect()));
    key = mst_rng_key_of(seed, "test_optim_apply", 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits_as_a_plain_loop),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_not_finite_is_told),
        cmocka_unit_test(test_overflow_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
