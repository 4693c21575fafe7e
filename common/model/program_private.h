/** @file
 *  What a planned program is made of. Private to model/ (program.c runs it, program_plan.c lays it out, program_ops.c
 *  holds the operations).
 *
 *  values[i] is what operation i reads and values[i + 1] what it writes, each (rows, n) for the rows of the batch at
 *  hand; values[0] is the batch as floats. Gradients run backward through two buffers that change places.
 */
#pragma once

#include "model/program.h"
#include "model_private.h"

struct op;

/** Computes values[i + 1] from values[i]. */
typedef void forward_fn(struct mst_program *program, const struct op *op, const struct mst_program_step *step,
                        const float *in);
/** Turns program->gradient, that of the output, into that of the input (unless nobody wants it); writes grads. */
typedef void backward_fn(struct mst_program *program, const struct op *op, const struct mst_program_step *step,
                         const float *in);

/** What is done for one kind of layer. */
struct op_class {
    forward_fn *forward; // NULL: the output is the input
    backward_fn *backward;
};

struct op {
    const struct op_class *class;
    const struct mst_layer *layer;
    size_t index;                     // of the layer in the model
    float *out;                       // NULL: the output is the input
    float *before;                    // what the activation was given, if its gradient needs that
    size_t columns;                   // the last axis of the output
    struct mst_activation activation; // linear where the loss takes the logits
    bool keeps_before;                // for a metric that takes logits
    bool wants_input_gradient;        // a layer before it has variables
    const char *random_name;          // of its stream of random numbers: "dropout/<layer>"
};

struct mst_program {
    const struct mst_model *model;
    struct mst_device *device;
    struct mst_program_options options;
    enum mst_dtype input_dtype;
    bool has_loss;
    struct mst_compile compile;
    size_t n_outputs;

    void *memory; // the arena
    size_t arena_bytes;

    bool casts; // the first operation: features as floats, rescaled
    float cast_scale;
    float cast_offset;
    float *cast;
    size_t cast_layer; // the layer that rescales, if one does
    struct op *ops;
    size_t n_ops;
    const float **values;                    // n_ops + 1
    bool loss_takes_logits;                  // the last activation, a softmax or sigmoid, is left to the loss
    struct mst_activation output_activation; // that one
    float *probabilities;                    // its result, where the output is wanted
    size_t logits_op;                        // the operation that makes them for a metric, or SIZE_MAX
    float *label_values;                     // labels as targets
    float *soft_targets;                     // targets as the loss at hand changes them
    float *gradient;                         // current
    float *gradient_spare;
    const float *output;
    char *names; // random_name of all operations
};

/** The operations for a kind of layer. */
const struct op_class *mst_op_class_of(enum mst_layer_kind kind, enum mst_program_mode mode);
/** Loss and metrics of the outputs at hand; in training also the gradient of the outputs. */
void mst_program_measure(struct mst_program *program, const struct mst_program_step *step,
                         struct mst_program_result *result);
/** True if it is computed from the logits of a softmax or sigmoid that ends the model. */
bool mst_loss_prefers_logits(enum mst_loss_kind loss, size_t n_outputs);
/** True if the loss changes its targets: smoothed labels, -1 and 1 for 0 and 1. */
bool mst_loss_changes_targets(enum mst_loss_kind loss, const struct mst_loss_options *options);
/** True if loss or metrics need labels as rows of targets. */
bool mst_compile_wants_rows(const struct mst_compile *compile, size_t n_outputs);
/** Lays the program out: operations, buffers. Errors: those of mst_program_new */
MST_MUST_USE mst_status mst_program_plan(struct mst_program *program, struct mst_error *err);
