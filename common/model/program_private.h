/** @file
 *  What a planned program is made of. Private to model/ (program.c runs it, program_plan.c lays it out,
 *  program_arena.c places its buffers, program_ops*.c hold the operations, program_measure.c loss and metrics).
 *
 *  An operation makes one value, (rows, n) for the rows of the batch at hand; values are numbered as the operations,
 *  which stand in an order in which each comes after what it reads, first one for each input of the model. Backward
 *  runs from the last to the first; the gradient of a value is complete when its operation's turn comes.
 */
#pragma once

#include "model/program.h"
#include "model_private.h"

struct op;

/** Computes the operation's value; turns its gradient into those of its inputs, see mst_op_dx, and writes grads. */
typedef void op_run_fn(struct mst_program *program, const struct op *op, const struct mst_program_step *step);
/** Says what the operation keeps: fills op's keeps_in, keeps_out, kept_floats. */
typedef void op_plan_fn(const struct mst_program *program, struct op *op);

/** What is done for one kind of layer. */
struct op_class {
    op_run_fn *forward;  // NULL: the value is its input's, in another shape
    op_run_fn *backward; // NULL: the gradient is that of the value
    op_plan_fn *plan;    // NULL: it keeps nothing
    op_run_fn *update;   // the statistics of moving averages; NULL: it has none
    bool in_place;       // backward may write the gradient of its input over that of its value
    bool cuts_gradient;  // none goes to its inputs
};

/** What an operation reads. */
struct op_input {
    size_t value;
    bool wants_gradient;
    bool adds;    // another reader has written the gradient before
    float *spare; // where it is written then
};

/** A variable that an operation trains. */
struct op_gradient {
    bool is_trained;
    bool adds;    // another call of the layer has written grads before
    bool is_last; // grads are complete after this one
    float *spare; // where it is written then
};

struct op {
    const struct op_class *class;
    const struct mst_layer *layer; // NULL: an input of the model
    const struct mst_node *node;
    size_t index; // its own, and that of its value
    struct op_input *inputs;
    size_t n_inputs;
    size_t n_readers;                 // operations that run and read it; an output counts as one
    size_t columns;                   // the last axis of the value
    struct mst_activation activation; // linear where that is an operation of its own
    struct op_gradient gradients[MST_LAYER_MAX_WEIGHTS];
    bool is_activation;   // of a layer whose value without it is another operation's
    bool has_activity;    // a regularizer of its value
    bool starts_gradient; // nobody else has written it before
    bool runs;            // its value is wanted
    bool wants_gradient;  // it or something before it has variables that are trained
    bool gets_gradient;   // and the loss depends on it
    bool keeps_before;    // backward reads what the activation was given
    bool keeps_in;        // backward reads its inputs
    bool keeps_out;       // backward reads its value
    float *out;           // NULL: the value is its input's
    float *before;        // what the activation was given, if its gradient needs that
    size_t kept_floats;   // of `kept`, for the largest batch
    float *kept;          // from forward to backward
    float *gradient;      // of its value
    size_t gradient_born; // when it is first written, see program_arena.c
    char *random_name;    // of its stream of random numbers: "dropout/<layer>"
};

/** An input of the model as floats. */
struct program_input {
    enum mst_dtype dtype;
    bool casts; // and rescales
    float scale;
    float offset;
    size_t layer; // the one that rescales, or SIZE_MAX
};

/** What the loss and the metrics of an output look at. */
struct output_needs {
    bool logits;        // the loss: those of a softmax or sigmoid that ends the model
    bool metric_logits; // a metric, too
    bool probabilities; // a metric looks at more than the order of the values
    bool rows;          // labels as rows of targets
    bool soft_targets;  // targets that a loss changes
};

/** One output of the model, as its loss and metrics see it. */
struct program_output {
    size_t n_values;
    struct output_needs needs;
    bool has_loss;
    bool loss_takes_logits; // the last activation, a softmax or sigmoid, is left to the loss
    size_t loss_value;      // what the loss takes
    size_t result_value;    // what the model returns, or loss_value where only the order counts
    size_t logits_value;    // what a softmax or sigmoid that ends the model was given; SIZE_MAX: not wanted
    bool adds;              // another output has written the gradient of its value before
    float *spare;           // where it is written then
    float *label_values;    // labels as targets; NULL: not wanted
    float *soft_targets;    // targets as the loss at hand changes them
    // Of the run at hand.
    const float *raw;    // loss_value
    const float *values; // result_value
    const float *logits; // logits_value, or NULL
    float *gradient;     // of raw, to be written; NULL: not wanted
};

struct mst_program {
    const struct mst_model *model;
    struct mst_device *device;
    struct mst_program_options options;
    bool has_loss;
    struct mst_compile compile;

    void *memory; // the arena
    size_t arena_bytes;

    struct program_input *inputs;
    struct program_output *outputs;
    size_t n_outputs;
    struct op *ops;
    size_t n_ops;
    float *class_weights;       // of the examples at hand; NULL: they have none
    struct op_input *op_inputs; // of all operations
    const float **values;       // n_ops
    bool *untrained;            // variables that the optimizer expects a gradient of, though no loss depends on them
    char *names;                // random_name of all operations
    const struct op *bad_op;    // of the run at hand: an Embedding that got an id outside of its table; NULL: none
    int32_t bad_id;
    size_t bad_example;
};

/** The operations for a kind of layer. */
const struct op_class *mst_op_class_of(enum mst_layer_kind kind, enum mst_program_mode mode);
/** An operation whose value is its input's, and those of program_ops_merge.c and program_ops_norm.c. */
extern const struct op_class mst_op_view;
extern const struct op_class mst_op_merge;
extern const struct op_class mst_op_prelu;
extern const struct op_class mst_op_softmax; // over another axis than the last
extern const struct op_class mst_op_concatenate;
extern const struct op_class mst_op_move;
extern const struct op_class mst_op_dot;
extern const struct op_class mst_op_pool;
extern const struct op_class mst_op_embedding;
extern const struct op_class mst_op_batch_norm;
extern const struct op_class mst_op_row_norm;
extern const struct op_class mst_op_standardize;
/** Tells that a gradient or a statistic is complete. */
void mst_op_tell(const struct mst_program_step *step, size_t variable);
/** Where to write the gradient of an input, or NULL if nobody wants it. */
float *mst_op_dx(const struct mst_program *program, const struct op *op, size_t input);
/** Where to write the gradient of a weight, or NULL if it is not trained. */
float *mst_op_dw(const struct op *op, const struct mst_program_step *step, size_t weight);
/** After it is written: adds it to what other calls of the layer wrote, and tells it when it is complete. */
void mst_op_finish_dw(const struct mst_program *program, const struct op *op, const struct mst_program_step *step,
                      size_t weight);

/** Loss and metrics of the outputs at hand, added to step->sums; in training also the gradients of the outputs. */
void mst_program_measure(struct mst_program *program, const struct mst_program_step *step,
                         struct mst_program_result *result);
/** What is looked at of an output of n_values values; has_logits: a softmax or sigmoid ends it. */
struct output_needs mst_program_output_needs(const struct mst_compile *compile, size_t output, size_t n_values,
                                             bool has_logits);
/** What the regularizers add to the loss of the batch at hand. */
double mst_program_penalties(const struct mst_program *program, const struct mst_program_step *step);
/** Lays the program out: operations, buffers. Errors: those of mst_program_new */
MST_MUST_USE mst_status mst_program_plan(struct mst_program *program, struct mst_error *err);
/** Places the buffers of planned operations in one arena. Errors: RESOURCE_EXHAUSTED */
MST_MUST_USE mst_status mst_program_place(struct mst_program *program, struct mst_error *err);
