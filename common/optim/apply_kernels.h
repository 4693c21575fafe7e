// The bodies of the apply kernels. A file that defines ISA_LANES, APPLY_TABLE and (on x86) the width's square root and
// streaming store includes this once; every width gives the same bits, because each element is computed by itself with
// the same operations: no contraction to FMA (build flags), no reciprocal estimates.
//
// One pass: read gradient, weights and slots, write them back. The NaN check rides along: x - x is +0 for every finite
// x and NaN for NaN and Inf, so OR-ing the bits of the differences stays zero exactly while all is finite; it costs two
// instructions a vector in loops that wait for memory. A NaN or Inf in the gradient makes a slot or a weight so.
//
// Elements before the first aligned vector of w_out and behind the last whole one are done one at a time through the
// same code with vectors of which one lane counts.
#include "optim/apply.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef float vec __attribute__((vector_size(ISA_LANES * 4), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(ISA_LANES * 4), aligned(4), may_alias));

static inline vec load(const float *from)
{
    return *(const vec *)from;
}

static inline vec spread(float value)
{
    return (vec){0} + value; // (+0) + (-0) is +0: no constant here is -0
}

static inline ivec not_finite(vec value)
{
    return (ivec)(value - value);
}

// Weights and slots of one vector; each kind of update changes the ones it has.
struct lanes {
    vec w;
    vec s0;
    vec s1;
    vec s2;
};

struct constants {
    vec rate;
    vec momentum;
    vec keep_1;
    vec keep_2;
    vec blend_1;
    vec blend_2;
    vec rest_1;
    vec rest_2;
    vec rest_next;
    vec epsilon;
    vec l1;
    vec power;
    vec l2_twice;
    vec shrinkage_twice;
    vec clip;
    vec decay;
    vec decay_rate;
};

static inline struct constants spread_constants(const struct mst_apply *apply)
{
    return (struct constants){.rate = spread(apply->rate),
                              .momentum = spread(apply->momentum),
                              .keep_1 = spread(apply->keep_1),
                              .keep_2 = spread(apply->keep_2),
                              .blend_1 = spread(apply->blend_1),
                              .blend_2 = spread(apply->blend_2),
                              .rest_1 = spread(apply->rest_1),
                              .rest_2 = spread(apply->rest_2),
                              .rest_next = spread(apply->rest_next),
                              .epsilon = spread(apply->epsilon),
                              .l1 = spread(apply->l1),
                              .power = spread(apply->power),
                              .l2_twice = spread(apply->l2_twice),
                              .shrinkage_twice = spread(apply->shrinkage_twice),
                              .clip = spread(apply->clip),
                              .decay = spread(apply->decay),
                              .decay_rate = spread(apply->decay_rate)};
}

static inline __attribute__((always_inline)) vec choose(ivec condition, vec yes, vec no)
{
    return (vec)((condition & (ivec)yes) | (~condition & (ivec)no));
}

// A NaN is neither above nor below, and comes through.
static inline __attribute__((always_inline)) vec clip_lanes(vec x, vec limit)
{
    x = choose(x > limit, limit, x);
    return choose(x < -limit, -limit, x);
}

static inline __attribute__((always_inline)) vec sign_lanes(vec x)
{
    const vec zero = {0};
    vec sign = choose(x > zero, spread(1.0f), x); // zeros and NaN stay
    return choose(x < zero, spread(-1.0f), sign);
}

static inline __attribute__((always_inline)) void update_sgd(unsigned kind, const struct constants *c, vec g,
                                                             struct lanes *at)
{
    if (kind == MST_APPLY_SGD) {
        at->w = at->w - g * c->rate;
        return;
    }
    vec step = g * c->rate;
    at->s0 = at->s0 * c->momentum - step;
    vec move = at->s0; // two statements: a ?: of two vector types that differ in their attributes does not compile
    if (kind == MST_APPLY_NESTEROV)
        move = at->s0 * c->momentum - step;
    at->w = at->w + move;
}

static inline __attribute__((always_inline)) void update_adam(unsigned kind, const struct constants *c, vec g,
                                                              struct lanes *at)
{
    at->s0 = at->s0 + (g - at->s0) * c->blend_1;
    if (kind == MST_APPLY_ADAMAX) {
        // the old norm stays unless the gradient is greater: a NaN in either shows in a slot
        const ivec no_sign = (ivec){0} + 0x7fffffff;
        vec size = (vec)((ivec)g & no_sign);
        at->s1 = at->s1 * c->keep_2;
        at->s1 = choose(size > at->s1, size, at->s1);
        at->w = at->w - c->rate * at->s0 / (c->rest_1 * (at->s1 + c->epsilon));
        return;
    }
    at->s1 = at->s1 + (g * g - at->s1) * c->blend_2;
    vec v = at->s1;
    if (kind == MST_APPLY_AMSGRAD) {
        // the old maximum stays only if it is greater, so a NaN in v comes through
        v = choose(at->s2 > v, at->s2, v);
        at->s2 = v;
    }
    at->w = at->w - at->s0 * c->rate / (vec_sqrt(v) + c->epsilon);
}

static inline __attribute__((always_inline)) void update_rmsprop(unsigned kind, const struct constants *c, vec g,
                                                                 struct lanes *at)
{
    at->s0 = c->keep_2 * at->s0 + c->blend_2 * (g * g);
    vec denominator = at->s0;
    if (kind == MST_APPLY_RMSPROP_CENTERED) {
        at->s1 = c->keep_2 * at->s1 + c->blend_2 * g;
        denominator = at->s0 - at->s1 * at->s1;
    } else if (kind == MST_APPLY_RMSPROP_BOTH) {
        at->s2 = c->keep_2 * at->s2 + c->blend_2 * g;
        denominator = at->s0 - at->s2 * at->s2;
    }
    vec move = c->rate * g / vec_sqrt(denominator + c->epsilon);
    if (kind == MST_APPLY_RMSPROP_MOMENTUM || kind == MST_APPLY_RMSPROP_BOTH) {
        at->s1 = c->momentum * at->s1 + move;
        move = at->s1;
    }
    at->w = at->w - move;
}

static inline __attribute__((always_inline)) void update_adadelta(const struct constants *c, vec g, struct lanes *at)
{
    at->s0 = c->keep_2 * at->s0 + c->blend_2 * (g * g);
    vec move = -(vec_sqrt(at->s1 + c->epsilon) * g / vec_sqrt(at->s0 + c->epsilon));
    at->s1 = c->keep_2 * at->s1 + c->blend_2 * (move * move);
    at->w = at->w + c->rate * move;
}

static inline __attribute__((always_inline)) void update_nadam(const struct constants *c, vec g, struct lanes *at)
{
    at->s0 = at->s0 + (g - at->s0) * c->blend_1;
    at->s1 = at->s1 + (g * g - at->s1) * c->blend_2;
    vec ahead = c->keep_1 * at->s0 / c->rest_next + c->keep_2 * g / c->rest_1;
    at->w = at->w - ahead * c->rate / (vec_sqrt(at->s1 / c->rest_2) + c->epsilon);
}

// Lane by lane and rounded once, so that every instruction set gives the same bits: 18 ns a weight.
static inline __attribute__((always_inline)) vec power_lanes(vec x, vec power)
{
    for (size_t lane = 0; lane < ISA_LANES; lane++)
        x[lane] = (float)pow((double)x[lane], (double)power[lane]);
    return x;
}

static inline __attribute__((always_inline)) void update_ftrl(unsigned kind, const struct constants *c, vec g,
                                                              struct lanes *at)
{
    vec sum = at->s0 + g * g;
    vec root, root_before;
    if (kind == MST_APPLY_FTRL) {
        root = vec_sqrt(sum);
        root_before = vec_sqrt(at->s0);
    } else {
        root = power_lanes(sum, c->power);
        root_before = power_lanes(at->s0, c->power);
    }
    vec shrunk = g + c->shrinkage_twice * at->w;
    at->s1 = at->s1 + (shrunk - (root - root_before) / c->rate * at->w);
    at->s0 = sum;
    at->w = (clip_lanes(at->s1, c->l1) - at->s1) / (root / c->rate + c->l2_twice);
}

static inline __attribute__((always_inline)) void update_lanes(unsigned kind, const struct constants *c, vec g,
                                                               struct lanes *at)
{
    if (kind <= MST_APPLY_NESTEROV) {
        update_sgd(kind, c, g, at);
    } else if (kind == MST_APPLY_ADAGRAD) {
        at->s0 = at->s0 + g * g;
        at->w = at->w - c->rate * g / vec_sqrt(at->s0 + c->epsilon);
    } else if (kind >= MST_APPLY_RMSPROP && kind <= MST_APPLY_RMSPROP_BOTH) {
        update_rmsprop(kind, c, g, at);
    } else if (kind == MST_APPLY_LION) {
        at->w = at->w - c->rate * sign_lanes(at->s0 * c->keep_1 + g * c->blend_1);
        at->s0 = at->s0 * c->keep_2 + g * c->blend_2;
    } else if (kind == MST_APPLY_ADADELTA) {
        update_adadelta(c, g, at);
    } else if (kind == MST_APPLY_FTRL || kind == MST_APPLY_FTRL_POWER) {
        update_ftrl(kind, c, g, at);
    } else if (kind == MST_APPLY_NADAM) {
        update_nadam(c, g, at);
    } else if (kind == MST_APPLY_AVERAGE) {
        at->w = at->w * c->keep_1 + g * c->blend_1;
    } else {
        update_adam(kind, c, g, at);
    }
}

// What comes before the update. Without decay w - w * 0 is w still, but for a -0, which becomes +0.
static inline __attribute__((always_inline)) vec adjust_lanes(const struct constants *c, vec g, struct lanes *at)
{
    at->w = at->w - at->w * c->decay * c->decay_rate;
    return clip_lanes(g, c->clip);
}

static inline unsigned slots_of(unsigned kind)
{
    switch (kind) {
    case MST_APPLY_SGD:
    case MST_APPLY_AVERAGE:
        return 0;
    case MST_APPLY_MOMENTUM:
    case MST_APPLY_NESTEROV:
    case MST_APPLY_ADAGRAD:
    case MST_APPLY_RMSPROP:
    case MST_APPLY_LION:
        return 1;
    case MST_APPLY_AMSGRAD:
    case MST_APPLY_RMSPROP_BOTH:
        return 3;
    default:
        return 2;
    }
}

static inline __attribute__((always_inline)) ivec check_lanes(unsigned n_slots, const struct lanes *at)
{
    ivec bad = not_finite(at->w);
    if (n_slots > 0)
        bad |= not_finite(at->s0);
    if (n_slots > 1)
        bad |= not_finite(at->s1);
    return bad; // s2 is the maximum of what s1 was, or an average of what s0 has the squares of
}

// Elements [from, to) one at a time: the few before the first aligned vector and behind the last whole one.
static inline __attribute__((always_inline)) ivec apply_singles(unsigned kind, bool is_adjusted,
                                                                const struct mst_apply *apply,
                                                                const struct constants *c, size_t from, size_t to)
{
    unsigned n_slots = slots_of(kind);
    ivec bad = {0};
    for (size_t i = from; i < to; i++) {
        struct lanes at = {spread(apply->w_in[i]), {0}, {0}, {0}};
        if (n_slots > 0)
            at.s0 = spread(apply->slots_in[0][i]);
        if (n_slots > 1)
            at.s1 = spread(apply->slots_in[1][i]);
        if (n_slots > 2)
            at.s2 = spread(apply->slots_in[2][i]);
        vec g = spread(apply->grad[i]);
        if (is_adjusted)
            g = adjust_lanes(c, g, &at);
        update_lanes(kind, c, g, &at);
        apply->w_out[i] = at.w[0];
        if (n_slots > 0)
            apply->slots[0][i] = at.s0[0];
        if (n_slots > 1)
            apply->slots[1][i] = at.s1[0];
        if (n_slots > 2)
            apply->slots[2][i] = at.s2[0];
        bad |= check_lanes(n_slots, &at);
    }
    return bad;
}

static inline __attribute__((always_inline)) void store_slot(enum mst_apply_store store, const struct mst_apply *apply,
                                                             float *to, vec value)
{
    if (store == MST_APPLY_STREAMED && apply->streams_slots)
        vec_stream(to, value);
    else
        *(vec *)to = value;
}

static inline __attribute__((always_inline)) ivec apply_vector(unsigned kind, enum mst_apply_store store,
                                                               bool is_adjusted, const struct mst_apply *apply,
                                                               const struct constants *c, size_t i)
{
    unsigned n_slots = slots_of(kind);
    struct lanes at = {load(apply->w_in + i), {0}, {0}, {0}};
    if (n_slots > 0)
        at.s0 = load(apply->slots_in[0] + i);
    if (n_slots > 1)
        at.s1 = load(apply->slots_in[1] + i);
    if (n_slots > 2)
        at.s2 = load(apply->slots_in[2] + i);
    vec g = load(apply->grad + i);
    if (is_adjusted)
        g = adjust_lanes(c, g, &at);
    update_lanes(kind, c, g, &at);
    if (n_slots > 0)
        store_slot(store, apply, apply->slots[0] + i, at.s0);
    if (n_slots > 1)
        store_slot(store, apply, apply->slots[1] + i, at.s1);
    if (n_slots > 2)
        store_slot(store, apply, apply->slots[2] + i, at.s2);
    if (store == MST_APPLY_STREAMED)
        vec_stream(apply->w_out + i, at.w);
    else
        *(vec *)(apply->w_out + i) = at.w;
    return check_lanes(n_slots, &at);
}

static inline __attribute__((always_inline)) bool apply_run(unsigned kind, enum mst_apply_store store, bool is_adjusted,
                                                            const struct mst_apply *apply)
{
    const struct constants c = spread_constants(apply);
    size_t misfit = ((uintptr_t)apply->w_out / sizeof(float)) % 16; // floats past a 64-byte line
    size_t head = misfit ? 16 - misfit : 0;
    if (head > apply->n)
        head = apply->n;
    ivec bad = apply_singles(kind, is_adjusted, apply, &c, 0, head);
    size_t i = head;
    for (; i + 16 <= apply->n; i += 16)
        for (size_t j = 0; j < 16; j += ISA_LANES)
            bad |= apply_vector(kind, store, is_adjusted, apply, &c, i + j);
    bad |= apply_singles(kind, is_adjusted, apply, &c, i, apply->n);
    if (store == MST_APPLY_STREAMED)
        vec_fence();
    int32_t any = 0;
    for (size_t lane = 0; lane < ISA_LANES; lane++)
        any |= bad[lane];
    return any == 0;
}

// Two loops, so that an update without clipping and decay pays nothing for them.
static inline __attribute__((always_inline)) bool apply_all(unsigned kind, enum mst_apply_store store,
                                                            const struct mst_apply *apply)
{
    return apply->is_adjusted ? apply_run(kind, store, true, apply) : apply_run(kind, store, false, apply);
}

#define KERNEL(name, kind)                                                                                             \
    static bool name##_cached(const struct mst_apply *apply)                                                           \
    {                                                                                                                  \
        return apply_all(kind, MST_APPLY_CACHED, apply);                                                               \
    }                                                                                                                  \
    static bool name##_streamed(const struct mst_apply *apply)                                                         \
    {                                                                                                                  \
        return apply_all(kind, MST_APPLY_STREAMED, apply);                                                             \
    }

KERNEL(sgd, MST_APPLY_SGD)
KERNEL(momentum, MST_APPLY_MOMENTUM)
KERNEL(nesterov, MST_APPLY_NESTEROV)
KERNEL(adam, MST_APPLY_ADAM)
KERNEL(amsgrad, MST_APPLY_AMSGRAD)
KERNEL(adagrad, MST_APPLY_ADAGRAD)
KERNEL(rmsprop, MST_APPLY_RMSPROP)
KERNEL(rmsprop_momentum, MST_APPLY_RMSPROP_MOMENTUM)
KERNEL(rmsprop_centered, MST_APPLY_RMSPROP_CENTERED)
KERNEL(rmsprop_both, MST_APPLY_RMSPROP_BOTH)
KERNEL(lion, MST_APPLY_LION)
KERNEL(adamax, MST_APPLY_ADAMAX)
KERNEL(adadelta, MST_APPLY_ADADELTA)
KERNEL(ftrl, MST_APPLY_FTRL)
KERNEL(ftrl_power, MST_APPLY_FTRL_POWER)
KERNEL(nadam, MST_APPLY_NADAM)
KERNEL(average, MST_APPLY_AVERAGE)

mst_apply_fn *const APPLY_TABLE[MST_N_APPLY][MST_N_APPLY_STORES] = {
    [MST_APPLY_SGD] = {sgd_cached, sgd_streamed},
    [MST_APPLY_MOMENTUM] = {momentum_cached, momentum_streamed},
    [MST_APPLY_NESTEROV] = {nesterov_cached, nesterov_streamed},
    [MST_APPLY_ADAM] = {adam_cached, adam_streamed},
    [MST_APPLY_AMSGRAD] = {amsgrad_cached, amsgrad_streamed},
    [MST_APPLY_ADAGRAD] = {adagrad_cached, adagrad_streamed},
    [MST_APPLY_RMSPROP] = {rmsprop_cached, rmsprop_streamed},
    [MST_APPLY_RMSPROP_MOMENTUM] = {rmsprop_momentum_cached, rmsprop_momentum_streamed},
    [MST_APPLY_RMSPROP_CENTERED] = {rmsprop_centered_cached, rmsprop_centered_streamed},
    [MST_APPLY_RMSPROP_BOTH] = {rmsprop_both_cached, rmsprop_both_streamed},
    [MST_APPLY_LION] = {lion_cached, lion_streamed},
    [MST_APPLY_ADAMAX] = {adamax_cached, adamax_streamed},
    [MST_APPLY_ADADELTA] = {adadelta_cached, adadelta_streamed},
    [MST_APPLY_FTRL] = {ftrl_cached, ftrl_streamed},
    [MST_APPLY_FTRL_POWER] = {ftrl_power_cached, ftrl_power_streamed},
    [MST_APPLY_NADAM] = {nadam_cached, nadam_streamed},
    [MST_APPLY_AVERAGE] = {average_cached, average_streamed},
};
