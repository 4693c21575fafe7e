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

/** One output of the model, as its loss and metrics see it. */
struct program_output {
    size_t n_values;
    bool loss_takes_logits;           // the last activation, a softmax or sigmoid, is left to the loss
    struct mst_activation activation; // that one
    float *probabilities;             // its result, where the output is wanted; NULL: it is not
    float *label_values;              // labels as targets; NULL: not wanted
    float *soft_targets;              // targets as the loss at hand changes them
    // Of the run at hand.
    const float *raw;    // what the last operation wrote: what the loss takes
    const float *values; // what the model returns, or raw where only the order counts
    const float *logits; // what a softmax or sigmoid that ends the model was given, or NULL
    float *gradient;     // of raw, to be written; NULL: not wanted
};

/** What the loss and the metrics of an output look at. */
struct output_needs {
    bool logits;        // the loss: those of a softmax or sigmoid that ends the model
    bool metric_logits; // a metric, too
    bool probabilities; // a metric looks at more than the order of the values
    bool rows;          // labels as rows of targets
    bool soft_targets;  // targets that a loss changes
};

struct mst_program {
    const struct mst_model *model;
    struct mst_device *device;
    struct mst_program_options options;
    enum mst_dtype input_dtype;
    bool has_loss;
    struct mst_compile compile;
    struct program_output outputs[MST_MAX_OUTPUTS];
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
    const float **values; // n_ops + 1
    size_t logits_op;     // the operation that makes them for a metric, or SIZE_MAX
    float *gradient;      // current
    float *gradient_spare;
    char *names; // random_name of all operations
};

/** The operations for a kind of layer. */
const struct op_class *mst_op_class_of(enum mst_layer_kind kind, enum mst_program_mode mode);
/** Loss and metrics of the outputs at hand, added to step->sums; in training also the gradients of the outputs. */
void mst_program_measure(struct mst_program *program, const struct mst_program_step *step,
                         struct mst_program_result *result);
/** What is looked at of an output of n_values values. */
struct output_needs mst_program_output_needs(const struct mst_compile *compile, size_t output, size_t n_values);
/** Lays the program out: operations, buffers. Errors: those of mst_program_new */
MST_MUST_USE mst_status mst_program_plan(struct mst_program *program, struct mst_error *err);
