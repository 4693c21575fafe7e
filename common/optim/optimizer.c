// Chooses the kernel and computes its constants in the float32 steps that Keras takes: beta ** step is a float32 power
// of a float32 beta (in double and rounded once, which is what a good powf gives), while 1 - beta is a difference of
// Python floats that is rounded when it meets the tensor.
#include "optim/optimizer.h"

#include "base/error.h"
#include "optim/apply.h"
#include "optimizer_private.h"

#include <math.h>
#include <stdlib.h>

// Out of place, results above this size are stored past the cache: they would push out more than they leave behind, and
// the store saves reading the line first. Below, the next reader (the reply to the worker) finds them in the cache.
#define STREAM_MIN_BYTES ((size_t)1 << 20)

void mst_optimizer_free(struct mst_optimizer *optimizer)
{
    free(optimizer);
}

const char *mst_optimizer_name(const struct mst_optimizer *optimizer)
{
    return optimizer->kind == MST_OPTIMIZER_SGD ? "SGD" : "Adam";
}

size_t mst_optimizer_n_slots(const struct mst_optimizer *optimizer)
{
    if (optimizer->kind == MST_OPTIMIZER_SGD)
        return optimizer->momentum != 0 ? 1 : 0;
    return optimizer->amsgrad ? 3 : 2;
}

const char *mst_optimizer_slot_name(const struct mst_optimizer *optimizer, size_t slot)
{
    static const char *const names[] = {"momentum", "velocity", "velocity_hat"};
    MST_ASSERT(slot < mst_optimizer_n_slots(optimizer));
    return names[slot];
}

float mst_optimizer_slot_initial(const struct mst_optimizer *optimizer, size_t slot)
{
    MST_ASSERT(slot < mst_optimizer_n_slots(optimizer));
    return 0;
}

float mst_optimizer_learning_rate(const struct mst_optimizer *optimizer, uint64_t iteration)
{
    (void)iteration; // schedules are refused by parse
    return (float)optimizer->learning_rate;
}

static float power(double beta, float step)
{
    return (float)pow((double)(float)beta, (double)step);
}

static unsigned kind_of_apply(const struct mst_optimizer *optimizer)
{
    if (optimizer->kind == MST_OPTIMIZER_ADAM)
        return optimizer->amsgrad ? MST_APPLY_AMSGRAD : MST_APPLY_ADAM;
    if (optimizer->momentum == 0)
        return MST_APPLY_SGD;
    return optimizer->nesterov ? MST_APPLY_NESTEROV : MST_APPLY_MOMENTUM;
}

// NOLINTNEXTLINE(readability-function-size): a kernel's arguments are its arrays
bool mst_optimizer_apply(const struct mst_optimizer *optimizer, uint64_t iteration, size_t n, const float *grad,
                         const float *w_in, float *w_out, float *const *slots)
{
    struct mst_apply apply = {.n = n, .grad = grad, .w_in = w_in, .w_out = w_out};
    for (size_t s = 0; s < mst_optimizer_n_slots(optimizer); s++)
        apply.slots[s] = slots[s];
    apply.rate = mst_optimizer_learning_rate(optimizer, iteration);
    if (optimizer->kind == MST_OPTIMIZER_ADAM) {
        float step = (float)(iteration + 1);
        apply.rate =
            apply.rate * sqrtf(1.0f - power(optimizer->beta_2, step)) / (1.0f - power(optimizer->beta_1, step));
        apply.blend_1 = (float)(1.0 - optimizer->beta_1);
        apply.blend_2 = (float)(1.0 - optimizer->beta_2);
        apply.epsilon = (float)optimizer->epsilon;
    }
    apply.momentum = (float)optimizer->momentum;
    bool streams = w_out != w_in && n * sizeof(float) >= STREAM_MIN_BYTES;
    mst_apply_fn *kernel =
        mst_apply_find(optimizer->isa, kind_of_apply(optimizer), streams ? MST_APPLY_STREAMED : MST_APPLY_CACHED);
    return kernel(&apply);
}
