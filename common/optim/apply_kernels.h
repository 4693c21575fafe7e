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
    vec blend_1;
    vec blend_2;
    vec epsilon;
};

static inline struct constants spread_constants(const struct mst_apply *apply)
{
    return (struct constants){spread(apply->rate), spread(apply->momentum), spread(apply->blend_1),
                              spread(apply->blend_2), spread(apply->epsilon)};
}

static inline __attribute__((always_inline)) void update_lanes(unsigned kind, const struct constants *c, vec g,
                                                               struct lanes *at)
{
    if (kind == MST_APPLY_SGD) {
        at->w = at->w - g * c->rate;
    } else if (kind == MST_APPLY_MOMENTUM || kind == MST_APPLY_NESTEROV) {
        vec step = g * c->rate;
        at->s0 = at->s0 * c->momentum - step;
        vec move = at->s0; // two statements: a ?: of two vector types that differ in their attributes does not compile
        if (kind == MST_APPLY_NESTEROV)
            move = at->s0 * c->momentum - step;
        at->w = at->w + move;
    } else {
        at->s0 = at->s0 + (g - at->s0) * c->blend_1;
        at->s1 = at->s1 + (g * g - at->s1) * c->blend_2;
        vec v = at->s1;
        if (kind == MST_APPLY_AMSGRAD) {
            // the old maximum stays only if it is greater, so a NaN in v comes through
            ivec old = at->s2 > v;
            v = (vec)((old & (ivec)at->s2) | (~old & (ivec)v));
            at->s2 = v;
        }
        at->w = at->w - at->s0 * c->rate / (vec_sqrt(v) + c->epsilon);
    }
}

static inline unsigned slots_of(unsigned kind)
{
    return kind == MST_APPLY_SGD ? 0 : kind <= MST_APPLY_NESTEROV ? 1 : kind == MST_APPLY_ADAM ? 2 : 3;
}

static inline __attribute__((always_inline)) ivec check_lanes(unsigned n_slots, const struct lanes *at)
{
    ivec bad = not_finite(at->w);
    if (n_slots > 0)
        bad |= not_finite(at->s0);
    if (n_slots > 1)
        bad |= not_finite(at->s1);
    return bad; // s2 is the maximum of what s1 was
}

// Elements [from, to) one at a time: the few before the first aligned vector and behind the last whole one.
static inline __attribute__((always_inline)) ivec apply_singles(unsigned kind, const struct mst_apply *apply,
                                                                const struct constants *c, size_t from, size_t to)
{
    unsigned n_slots = slots_of(kind);
    ivec bad = {0};
    for (size_t i = from; i < to; i++) {
        struct lanes at = {spread(apply->w_in[i]), {0}, {0}, {0}};
        if (n_slots > 0)
            at.s0 = spread(apply->slots[0][i]);
        if (n_slots > 1)
            at.s1 = spread(apply->slots[1][i]);
        if (n_slots > 2)
            at.s2 = spread(apply->slots[2][i]);
        update_lanes(kind, c, spread(apply->grad[i]), &at);
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

static inline __attribute__((always_inline)) ivec apply_vector(unsigned kind, enum mst_apply_store store,
                                                               const struct mst_apply *apply, const struct constants *c,
                                                               size_t i)
{
    unsigned n_slots = slots_of(kind);
    struct lanes at = {load(apply->w_in + i), {0}, {0}, {0}};
    if (n_slots > 0)
        at.s0 = load(apply->slots[0] + i);
    if (n_slots > 1)
        at.s1 = load(apply->slots[1] + i);
    if (n_slots > 2)
        at.s2 = load(apply->slots[2] + i);
    update_lanes(kind, c, load(apply->grad + i), &at);
    if (n_slots > 0)
        *(vec *)(apply->slots[0] + i) = at.s0;
    if (n_slots > 1)
        *(vec *)(apply->slots[1] + i) = at.s1;
    if (n_slots > 2)
        *(vec *)(apply->slots[2] + i) = at.s2;
    if (store == MST_APPLY_STREAMED)
        vec_stream(apply->w_out + i, at.w);
    else
        *(vec *)(apply->w_out + i) = at.w;
    return check_lanes(n_slots, &at);
}

static inline __attribute__((always_inline)) bool apply_all(unsigned kind, enum mst_apply_store store,
                                                            const struct mst_apply *apply)
{
    const struct constants c = spread_constants(apply);
    size_t misfit = ((uintptr_t)apply->w_out / sizeof(float)) % 16; // floats past a 64-byte line
    size_t head = misfit ? 16 - misfit : 0;
    if (head > apply->n)
        head = apply->n;
    ivec bad = apply_singles(kind, apply, &c, 0, head);
    size_t i = head;
    for (; i + 16 <= apply->n; i += 16)
        for (size_t j = 0; j < 16; j += ISA_LANES)
            bad |= apply_vector(kind, store, apply, &c, i + j);
    bad |= apply_singles(kind, apply, &c, i, apply->n);
    if (store == MST_APPLY_STREAMED)
        vec_fence();
    int32_t any = 0;
    for (size_t lane = 0; lane < ISA_LANES; lane++)
        any |= bad[lane];
    return any == 0;
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

mst_apply_fn *const APPLY_TABLE[MST_N_APPLY][MST_N_APPLY_STORES] = {
    [MST_APPLY_SGD] = {sgd_cached, sgd_streamed},
    [MST_APPLY_MOMENTUM] = {momentum_cached, momentum_streamed},
    [MST_APPLY_NESTEROV] = {nesterov_cached, nesterov_streamed},
    [MST_APPLY_ADAM] = {adam_cached, adam_streamed},
    [MST_APPLY_AMSGRAD] = {amsgrad_cached, amsgrad_streamed},
};
