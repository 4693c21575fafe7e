/** @file
 *  A model planned for a device: static shapes, one arena, no allocation per step.
 *
 *      struct mst_program_options options = {
 *          .mode = MST_PROGRAM_TRAIN, .max_batch = 64, .input_dtypes = dtypes};
 *      MST_TRY(mst_program_new(model, &compile, device, &options, &program, err));
 *      struct mst_program_step step = {.params = params, .grads = grads, .inputs = inputs, .targets = targets,
 *                                      .n_examples = 64, .sums = sums, .on_gradient = on_gradient, .context = worker};
 *      MST_TRY(mst_program_run(program, &step, &result, err));
 *      loss = mst_measure_value(&compile, 0, sums);
 *      mst_program_free(program);
 *
 *  Variables are numbered as in the model; params[v] and grads[v] are whole variables in row-major order. Gradients
 *  are those of the mean loss over the batch. on_gradient(v) comes as soon as grads[v] is complete, from the last
 *  layer to the first, so that a push can begin while earlier layers are still computed; params may be read until the
 *  run returns.
 *
 *  A softmax or sigmoid that ends the model under a cross-entropy is computed together with it from the logits, as
 *  Keras does on TensorFlow, whatever from_logits says.
 *  Thread: one at a time; owns the device's threads during a run.
 */
#pragma once

#include "data/target.h"
#include "device/device.h"
#include "model/compile.h"
#include "model/model.h"
#include "muster/status.h"
#include "tensor/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mst_program_mode {
    MST_PROGRAM_TRAIN,   // forward with dropout, loss, metrics, backward
    MST_PROGRAM_EVAL,    // forward, loss, metrics
    MST_PROGRAM_PREDICT, // forward only; compile may be NULL
};

#define MST_PROGRAM_MAX_ARENA_BYTES ((uint64_t)16 << 30)

struct mst_program_options {
    enum mst_program_mode mode;
    size_t max_batch;                   // the largest n_examples of a step
    const enum mst_dtype *input_dtypes; // one a model input: MST_DTYPE_U8, MST_DTYPE_I32 or MST_DTYPE_F32; copied
    uint64_t seed;                      // of the job: dropout
};

/** Called when the gradient of a variable, or the statistic of a moving average, is complete; for no frozen one. */
typedef void mst_gradient_fn(void *context, size_t variable);

/** One batch; borrowed for the call. */
struct mst_program_step {
    const float *const *params; // one whole variable each
    float *const *grads;        // MST_PROGRAM_TRAIN; overwritten; of moving averages the statistic; of frozen NULL
    const void *const *inputs;  // one array a model input: (n_examples, input shape) of its dtype
    const struct mst_target *targets; // one a model output; NULL in MST_PROGRAM_PREDICT
    const float *weights;             // (n_examples): of the examples; NULL: all 1
    size_t n_examples;                // 1 … max_batch; the last batch of an epoch may be partial
    uint64_t epoch;                   // with batch: whose dropout masks
    uint64_t batch;                   // number of the batch within the epoch, over all workers
    double *sums;                     // mst_compile_n_sums, to which the batch's are added; PREDICT: NULL
    mst_gradient_fn *on_gradient;     // NULL: not wanted
    void *context;
};

/** How a run went. */
struct mst_program_result {
    bool loss_is_finite;
    // What the batch counts in a mean of gradients over several, so that it is that of one batch of all their examples:
    // its examples, or the sum of their weights where every loss is divided by that. Set before the first on_gradient.
    double weight;
    // Only if the loss is not finite (then there are no gradients and no on_gradient): the first layer whose output
    // holds NaN or Inf; "the features" (layer 0) if they do already; "the loss" if every layer's output is finite.
    size_t bad_layer;
    const char *bad_layer_name; // borrowed until the program is freed
};

struct mst_program;

/** New program in *out.
 *  Owner:  keeps model and device (borrowed, must outlive it); copies compile
 *  Errors: INVALID_ARGUMENT max_batch 0, an input of a dtype it cannot cast; UNIMPLEMENTED; RESOURCE_EXHAUSTED the
 *          arena */
MST_MUST_USE mst_status mst_program_new(const struct mst_model *model, const struct mst_compile *compile,
                                        struct mst_device *device, const struct mst_program_options *options,
                                        struct mst_program **out, struct mst_error *err);
/** Releases it; NULL is fine. */
void mst_program_free(struct mst_program *program);
/** Runs one batch. A loss that is not finite is no error: see result.
 *  Errors: INVALID_ARGUMENT no example or more than planned, no labels, labels that do not suit the loss, weights in
 *          spite of class weights;
 *          OUT_OF_RANGE a label outside the classes
 *  Cost:   no allocation */
MST_MUST_USE mst_status mst_program_run(struct mst_program *program, const struct mst_program_step *step,
                                        struct mst_program_result *result, struct mst_error *err);
/** An output of the last run's n_examples examples: what Keras's predict returns. Not for MST_PROGRAM_TRAIN.
 *  Shape:  (n_examples, output's shape)
 *  Owner:  borrowed until the next run */
const float *mst_program_output(const struct mst_program *program, size_t output);
/** Bytes of the arena. */
size_t mst_program_arena_bytes(const struct mst_program *program);
