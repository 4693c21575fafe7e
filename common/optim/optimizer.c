// Chooses the kernel and computes its constants in the float32 steps that Keras takes: beta ** step is a float32 power
// of a float32 beta (in double and rounded once, which is what a good powf gives), while 1 - beta is a difference of
// Python floats that is rounded when it meets the tensor.
#include "optim/optimizer.h"

#include "base/alloc.h"
#include "base/error.h"
#include "optim/apply.h"
#include "optimizer_private.h"

#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

// Out of place, results above this size are stored past the cache: they would push out more than they leave behind, and
// the store saves reading the line first. Below, the next reader (the reply to the worker) finds them in the cache.
#define STREAM_MIN_BYTES ((size_t)1 << 20)

void mst_optimizer_free(struct mst_optimizer *optimizer)
{
    if (!optimizer)
        return;
    mst_schedule_free(optimizer->schedule);
    free(optimizer->u_products);
    free(optimizer);
}

const char *mst_optimizer_kind_name(enum mst_optimizer_kind kind)
{
    static const char *const names[MST_N_OPTIMIZERS] = {
        [MST_OPTIMIZER_SGD] = "SGD",         [MST_OPTIMIZER_ADAM] = "Adam",         [MST_OPTIMIZER_ADAMW] = "AdamW",
        [MST_OPTIMIZER_ADAGRAD] = "Adagrad", [MST_OPTIMIZER_RMSPROP] = "RMSprop",   [MST_OPTIMIZER_LION] = "Lion",
        [MST_OPTIMIZER_ADAMAX] = "Adamax",   [MST_OPTIMIZER_ADADELTA] = "Adadelta", [MST_OPTIMIZER_FTRL] = "Ftrl",
        [MST_OPTIMIZER_NADAM] = "Nadam",
    };
    return names[kind];
}

const char *mst_optimizer_name(const struct mst_optimizer *optimizer)
{
    return mst_optimizer_kind_name(optimizer->kind);
}

// The slots of each kind of update, by Keras's names; a kernel's s0, s1, s2.
static const char *const slot_names[MST_N_APPLY][MST_OPTIMIZER_MAX_SLOTS] = {
    [MST_APPLY_MOMENTUM] = {"momentum"},
    [MST_APPLY_NESTEROV] = {"momentum"},
    [MST_APPLY_ADAM] = {"momentum", "velocity"},
    [MST_APPLY_AMSGRAD] = {"momentum", "velocity", "velocity_hat"},
    [MST_APPLY_ADAGRAD] = {"accumulator"},
    [MST_APPLY_RMSPROP] = {"velocity"},
    [MST_APPLY_RMSPROP_MOMENTUM] = {"velocity", "momentum"},
    [MST_APPLY_RMSPROP_CENTERED] = {"velocity", "average_gradient"},
    [MST_APPLY_RMSPROP_BOTH] = {"velocity", "momentum", "average_gradient"},
    [MST_APPLY_LION] = {"momentum"},
    [MST_APPLY_ADAMAX] = {"momentum", "norm"},
    [MST_APPLY_ADADELTA] = {"accumulated_grad", "accumulated_delta_var"},
    [MST_APPLY_FTRL] = {"accumulator", "linear"},
    [MST_APPLY_FTRL_POWER] = {"accumulator", "linear"},
    [MST_APPLY_NADAM] = {"momentum", "velocity"},
};

static unsigned kind_of_apply(const struct mst_optimizer *optimizer)
{
    switch (optimizer->kind) {
    case MST_OPTIMIZER_SGD:
        if (optimizer->momentum == 0)
            return MST_APPLY_SGD;
        return optimizer->nesterov ? MST_APPLY_NESTEROV : MST_APPLY_MOMENTUM;
    case MST_OPTIMIZER_RMSPROP:
        if (optimizer->momentum == 0)
            return optimizer->centered ? MST_APPLY_RMSPROP_CENTERED : MST_APPLY_RMSPROP;
        return optimizer->centered ? MST_APPLY_RMSPROP_BOTH : MST_APPLY_RMSPROP_MOMENTUM;
    case MST_OPTIMIZER_ADAGRAD:
        return MST_APPLY_ADAGRAD;
    case MST_OPTIMIZER_LION:
        return MST_APPLY_LION;
    case MST_OPTIMIZER_ADAMAX:
        return MST_APPLY_ADAMAX;
    case MST_OPTIMIZER_ADADELTA:
        return MST_APPLY_ADADELTA;
    case MST_OPTIMIZER_FTRL:
        return optimizer->learning_rate_power == -0.5 ? MST_APPLY_FTRL : MST_APPLY_FTRL_POWER;
    case MST_OPTIMIZER_NADAM:
        return MST_APPLY_NADAM;
    default:
        return optimizer->amsgrad ? MST_APPLY_AMSGRAD : MST_APPLY_ADAM;
    }
}

size_t mst_optimizer_n_slots(const struct mst_optimizer *optimizer)
{
    const char *const *names = slot_names[kind_of_apply(optimizer)];
    size_t n = 0;
    while (n < MST_OPTIMIZER_MAX_SLOTS && names[n])
        n++;
    return n;
}

const char *mst_optimizer_slot_name(const struct mst_optimizer *optimizer, size_t slot)
{
    MST_ASSERT(slot < mst_optimizer_n_slots(optimizer));
    return slot_names[kind_of_apply(optimizer)][slot];
}

float mst_optimizer_slot_initial(const struct mst_optimizer *optimizer, size_t slot)
{
    MST_ASSERT(slot < mst_optimizer_n_slots(optimizer));
    bool is_accumulator = optimizer->kind == MST_OPTIMIZER_ADAGRAD || optimizer->kind == MST_OPTIMIZER_FTRL;
    return is_accumulator && slot == 0 ? (float)optimizer->initial_accumulator : 0.0f;
}

float mst_optimizer_learning_rate(const struct mst_optimizer *optimizer, uint64_t iteration)
{
    // Acquire: who sees that the rate is set sees the rate. An update under way on another thread takes the one before
    // or the one after, and nothing hangs on which.
    float rate;
    if (atomic_load_explicit(&optimizer->is_rate_set, memory_order_acquire))
        rate = atomic_load_explicit(&optimizer->set_rate, memory_order_relaxed);
    else if (optimizer->schedule)
        rate = mst_schedule_rate(optimizer->schedule, iteration);
    else
        rate = (float)optimizer->learning_rate;
    return optimizer->decay == 0 ? rate : rate / (1.0f + (float)optimizer->decay * (float)iteration);
}

void mst_optimizer_set_learning_rate(struct mst_optimizer *optimizer, float rate)
{
    if (mst_optimizer_has_schedule(optimizer) || !isfinite(rate) || rate < 0)
        return;
    atomic_store_explicit(&optimizer->set_rate, rate, memory_order_relaxed);
    atomic_store_explicit(&optimizer->is_rate_set, true, memory_order_release);
}

bool mst_optimizer_has_schedule(const struct mst_optimizer *optimizer)
{
    return optimizer->schedule != NULL;
}

static float power(double beta, float step)
{
    return (float)pow((double)(float)beta, (double)step);
}

// Nadam's momentum of one update.
static float u_of(const struct mst_optimizer *o, float step)
{
    return (float)o->beta_1 * (1.0f - 0.5f * power(0.96, step));
}

void mst_optimizer_prepare(struct mst_optimizer *optimizer)
{
    if (optimizer->kind != MST_OPTIMIZER_NADAM)
        return;
    optimizer->u_products = mst_alloc_array(MST_NADAM_PRODUCTS, sizeof(float));
    float product = 1.0f;
    for (size_t i = 0; i < MST_NADAM_PRODUCTS; i++) {
        product = product * (float)optimizer->beta_1 * (1.0f - 0.5f * power(0.96, (float)(i + 1)));
        optimizer->u_products[i] = product;
    }
}

static float u_product(const struct mst_optimizer *o, float step)
{
    if (step <= MST_NADAM_PRODUCTS)
        return o->u_products[(size_t)step - 1];
    return o->u_products[MST_NADAM_PRODUCTS - 1] * power(o->beta_1, step - MST_NADAM_PRODUCTS);
}

static void set_nadam(const struct mst_optimizer *o, float step, struct mst_apply *apply)
{
    float product = u_product(o, step);
    apply->keep_1 = u_of(o, step + 1.0f);
    apply->keep_2 = 1.0f - u_of(o, step);
    apply->rest_1 = 1.0f - product;
    apply->rest_2 = 1.0f - power(o->beta_2, step);
    apply->rest_next = 1.0f - product * apply->keep_1;
}

// The constants that a kind has beside those of a plain copy. Ftrl's l2 takes beta in by the rate, as in ftrl.py.
static void set_constants(const struct mst_optimizer *o, float step, struct mst_apply *apply)
{
    float rate = apply->rate;
    apply->momentum = (float)o->momentum;
    apply->epsilon = (float)o->epsilon;
    apply->blend_1 = (float)(1.0 - o->beta_1);
    apply->blend_2 = (float)(1.0 - o->beta_2);
    apply->keep_1 = (float)o->beta_1;
    apply->keep_2 = (float)o->beta_2;
    if (o->kind == MST_OPTIMIZER_ADAM || o->kind == MST_OPTIMIZER_ADAMW) {
        apply->rate = rate * sqrtf(1.0f - power(o->beta_2, step)) / (1.0f - power(o->beta_1, step));
    } else if (o->kind == MST_OPTIMIZER_ADAMAX) {
        apply->rest_1 = 1.0f - power(o->beta_1, step);
    } else if (o->kind == MST_OPTIMIZER_LION || o->kind == MST_OPTIMIZER_NADAM) {
        apply->blend_1 = 1.0f - (float)o->beta_1; // lion.py and nadam.py cast the betas before they subtract
        apply->blend_2 = 1.0f - (float)o->beta_2;
        if (o->kind == MST_OPTIMIZER_NADAM)
            set_nadam(o, step, apply);
    } else if (o->kind == MST_OPTIMIZER_RMSPROP || o->kind == MST_OPTIMIZER_ADADELTA) {
        apply->keep_2 = (float)o->rho;
        apply->blend_2 = (float)(1.0 - o->rho);
    } else if (o->kind == MST_OPTIMIZER_FTRL) {
        apply->l1 = (float)o->l1;
        apply->power = (float)-o->learning_rate_power;
        apply->l2_twice = 2.0f * ((float)o->l2 + (float)o->beta / (2.0f * rate));
        apply->shrinkage_twice = (float)(2.0 * o->l2_shrinkage);
    }
}

static mst_apply_fn *find_kernel(const struct mst_optimizer *optimizer, unsigned kind, const struct mst_apply *apply)
{
    bool streams = apply->w_out != apply->w_in && apply->n * sizeof(float) >= STREAM_MIN_BYTES;
    return mst_apply_find(optimizer->isa, kind, streams ? MST_APPLY_STREAMED : MST_APPLY_CACHED);
}

static size_t past_a_line(const float *floats)
{
    return (uintptr_t)floats % 64;
}

static void set_slots(struct mst_apply *apply, size_t n_slots, const float *const *in, float *const *out)
{
    apply->streams_slots = true;
    for (size_t s = 0; out && s < n_slots; s++) { // without slots there may be no arrays of them
        apply->slots_in[s] = in[s];
        apply->slots[s] = out[s];
        apply->streams_slots =
            apply->streams_slots && in[s] != out[s] && past_a_line(out[s]) == past_a_line(apply->w_out);
    }
}

// NOLINTNEXTLINE(readability-function-size): a kernel's arguments are its arrays
bool mst_optimizer_apply_to(const struct mst_optimizer *optimizer, uint64_t iteration, float rate, size_t n,
                            const float *grad, const float *w_in, float *w_out, const float *const *slots_in,
                            float *const *slots_out)
{
    struct mst_apply apply = {.n = n, .grad = grad, .w_in = w_in, .w_out = w_out};
    set_slots(&apply, mst_optimizer_n_slots(optimizer), slots_in, slots_out);
    apply.rate = rate;
    apply.is_adjusted = optimizer->weight_decay != 0 || optimizer->clipvalue != 0;
    apply.decay = (float)optimizer->weight_decay;
    apply.decay_rate = apply.rate;
    apply.clip = optimizer->clipvalue != 0 ? (float)optimizer->clipvalue : INFINITY;
    set_constants(optimizer, (float)(iteration + 1), &apply);
    return find_kernel(optimizer, kind_of_apply(optimizer), &apply)(&apply);
}

// NOLINTNEXTLINE(readability-function-size): the same
bool mst_optimizer_apply(const struct mst_optimizer *optimizer, uint64_t iteration, size_t n, const float *grad,
                         const float *w_in, float *w_out, float *const *slots)
{
    const float *slots_in[MST_OPTIMIZER_MAX_SLOTS] = {0};
    for (size_t s = 0; slots && s < mst_optimizer_n_slots(optimizer); s++)
        slots_in[s] = slots[s];
    float rate = mst_optimizer_learning_rate(optimizer, iteration);
    return mst_optimizer_apply_to(optimizer, iteration, rate, n, grad, w_in, w_out, slots_in, slots);
}

bool mst_optimizer_move_average(const struct mst_optimizer *optimizer, double momentum, size_t n,
                                const float *statistic, const float *in, float *out)
{
    struct mst_apply apply = {.n = n, .grad = statistic, .w_in = in, .w_out = out};
    apply.keep_1 = (float)momentum;
    apply.blend_1 = (float)(1.0 - momentum);
    return find_kernel(optimizer, MST_APPLY_AVERAGE, &apply)(&apply);
}
