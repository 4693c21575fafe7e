// What a program does for each kind of layer. A view costs nothing; a Dense is one GEMM with its bias and activation
// in the epilogue, and backward one GEMM for the kernel, one sum for the bias and, unless it is the first, one GEMM
// for the input.
#include "base/error.h"
#include "base/hash.h"
#include "base/rng.h"
#include "program_private.h"

// Rows of an operation that works on the last axis.
static size_t rows_of(const struct op *op, const struct mst_program_step *step)
{
    return step->n_examples * (op->node->n_out / op->columns);
}

float *mst_op_dx(const struct mst_program *program, const struct op *op, size_t input)
{
    const struct op_input *in = &op->inputs[input];
    if (!in->wants_gradient)
        return NULL;
    return in->adds ? in->spare : program->ops[in->value].gradient;
}

float *mst_op_dw(const struct op *op, const struct mst_program_step *step, size_t weight)
{
    const struct op_gradient *gradient = &op->gradients[weight];
    if (!gradient->is_trained)
        return NULL;
    return gradient->adds ? gradient->spare : step->grads[op->layer->variables[weight]];
}

static const float *in_of(const struct mst_program *program, const struct op *op)
{
    return program->values[op->inputs[0].value];
}

static void dense_forward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    const struct mst_layer *layer = op->layer;
    struct mst_gemm gemm = {.form = MST_GEMM_NN,
                            .write = MST_GEMM_SET,
                            .m = rows_of(op, step),
                            .n = layer->units,
                            .k = op->node->in.dims[op->node->in.rank - 1],
                            .a = in_of(program, op),
                            .b = step->params[layer->variables[MST_WEIGHT_KERNEL]],
                            .c = op->out,
                            .bias = layer->use_bias ? step->params[layer->variables[MST_WEIGHT_BIAS]] : NULL,
                            .activation = &op->activation,
                            .before = op->before};
    program->device->ops->gemm(program->device, &gemm);
}

static void activation_gradient(struct mst_program *program, const struct op *op, const struct mst_program_step *step,
                                const float *before, float *dx)
{
    struct mst_activate_backward backward = {.activation = op->activation,
                                             .rows = rows_of(op, step),
                                             .columns = op->columns,
                                             .x = before,
                                             .y = op->out,
                                             .dy = op->gradient,
                                             .dx = dx};
    program->device->ops->activate_backward(program->device, &backward);
}

static void dense_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    const struct mst_layer *layer = op->layer;
    struct mst_device *device = program->device;
    size_t rows = rows_of(op, step);
    size_t k = op->node->in.dims[op->node->in.rank - 1];
    float *dw = mst_op_dw(op, step, MST_WEIGHT_KERNEL);
    float *db = mst_op_dw(op, step, MST_WEIGHT_BIAS);
    float *dx = mst_op_dx(program, op, 0);
    if (op->activation.kind != MST_ACTIVATION_LINEAR)
        activation_gradient(program, op, step, op->before, op->gradient);
    if (dw != NULL) {
        struct mst_gemm kernel = {.form = MST_GEMM_TN,
                                  .write = MST_GEMM_SET,
                                  .m = k,
                                  .n = layer->units,
                                  .k = rows,
                                  .a = in_of(program, op),
                                  .b = op->gradient,
                                  .c = dw};
        device->ops->gemm(device, &kernel);
        mst_op_finish_dw(program, op, step, MST_WEIGHT_KERNEL);
    }
    if (db != NULL) {
        device->ops->column_sum(device, rows, layer->units, op->gradient, db);
        mst_op_finish_dw(program, op, step, MST_WEIGHT_BIAS);
    }
    if (dx == NULL)
        return;
    struct mst_gemm input = {.form = MST_GEMM_NT,
                             .write = MST_GEMM_SET,
                             .m = rows,
                             .n = k,
                             .k = layer->units,
                             .a = op->gradient,
                             .b = step->params[layer->variables[MST_WEIGHT_KERNEL]],
                             .c = dx};
    device->ops->gemm(device, &input);
}

static void dense_plan(const struct mst_program *program, struct op *op)
{
    enum mst_activation_keeps keeps = mst_activation_keeps(&op->activation);
    (void)program;
    op->keeps_in = true;
    op->keeps_out = keeps == MST_KEEPS_OUTPUT;
    op->keeps_before = keeps == MST_KEEPS_INPUT;
}

static void activation_forward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_activate activate = {.activation = op->activation,
                                    .rows = rows_of(op, step),
                                    .columns = op->columns,
                                    .x = in_of(program, op),
                                    .y = op->out};
    program->device->ops->activate(program->device, &activate);
}

static void activation_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    float *dx = mst_op_dx(program, op, 0);
    if (dx != NULL)
        activation_gradient(program, op, step, in_of(program, op), dx);
}

static void activation_plan(const struct mst_program *program, struct op *op)
{
    enum mst_activation_keeps keeps = mst_activation_keeps(&op->activation);
    (void)program;
    op->keeps_in = keeps == MST_KEEPS_INPUT;
    op->keeps_out = keeps == MST_KEEPS_OUTPUT;
}

static void rescaling_forward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_convert convert = {.n = step->n_examples * op->node->n_out,
                                  .scale = (float)op->node->scale,
                                  .offset = (float)op->node->offset,
                                  .y = op->out};
    program->device->ops->convert_f32(program->device, &convert, in_of(program, op));
}

static void rescaling_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_convert convert = {
        .n = step->n_examples * op->node->n_out, .scale = (float)op->node->scale, .y = mst_op_dx(program, op, 0)};
    if (convert.y != NULL)
        program->device->ops->convert_f32(program->device, &convert, op->gradient);
}

// A mask is a function of seed, layer and batch of the epoch: whoever computes the batch drops the same elements. A
// layer with a seed of its own does not depend on the job's.
static struct mst_dropout dropout_of(const struct mst_program *program, const struct op *op,
                                     const struct mst_program_step *step)
{
    uint64_t number[2] = {step->epoch, step->batch};
    uint64_t seed = op->layer->seed.given ? op->layer->seed.value : program->options.seed;
    return (struct mst_dropout){.n = step->n_examples * op->node->n_out,
                                .rate = (float)op->layer->rate,
                                .key = mst_rng_key_of(seed, op->random_name, mst_hash_bytes(number, sizeof number, 0)),
                                .first = 0};
}

static void dropout_forward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_dropout dropout = dropout_of(program, op, step);
    dropout.x = in_of(program, op);
    dropout.y = op->out;
    program->device->ops->dropout(program->device, &dropout);
}

static void dropout_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_dropout dropout = dropout_of(program, op, step);
    dropout.x = op->gradient;
    dropout.y = mst_op_dx(program, op, 0);
    if (dropout.y != NULL)
        program->device->ops->dropout(program->device, &dropout);
}

const struct op_class mst_op_view = {.in_place = true};

const struct op_class *mst_op_class_of(enum mst_layer_kind kind, enum mst_program_mode mode)
{
    static const struct op_class dense = {.forward = dense_forward, .backward = dense_backward, .plan = dense_plan};
    static const struct op_class activation = {
        .forward = activation_forward, .backward = activation_backward, .plan = activation_plan, .in_place = true};
    static const struct op_class rescaling = {
        .forward = rescaling_forward, .backward = rescaling_backward, .in_place = true};
    static const struct op_class dropout = {.forward = dropout_forward, .backward = dropout_backward, .in_place = true};
    static const struct op_class *const classes[MST_N_LAYER_KINDS] = {
        [MST_LAYER_VIEW] = &mst_op_view,
        [MST_LAYER_DENSE] = &dense,
        [MST_LAYER_ACTIVATION] = &activation,
        [MST_LAYER_RESCALING] = &rescaling,
        [MST_LAYER_DROPOUT] = &dropout,
        [MST_LAYER_PRELU] = &mst_op_prelu,
        [MST_LAYER_MERGE] = &mst_op_merge,
        [MST_LAYER_CONCATENATE] = &mst_op_concatenate,
        [MST_LAYER_DOT] = &mst_op_dot,
        [MST_LAYER_PERMUTE] = &mst_op_move,
        [MST_LAYER_REPEAT] = &mst_op_move,
        [MST_LAYER_POOL] = &mst_op_pool,
        [MST_LAYER_BATCH_NORM] = &mst_op_batch_norm,
        [MST_LAYER_ROW_NORM] = &mst_op_row_norm,
        [MST_LAYER_STANDARDIZE] = &mst_op_standardize,
        [MST_LAYER_EMBEDDING] = &mst_op_embedding,
    };
    MST_ASSERT(kind < MST_N_LAYER_KINDS && classes[kind] != NULL);
    return kind == MST_LAYER_DROPOUT && mode != MST_PROGRAM_TRAIN ? &mst_op_view : classes[kind];
}
