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
    return step->n_examples * (op->layer->n_out / op->columns);
}

static void swap_gradients(struct mst_program *program)
{
    float *current = program->gradient;
    program->gradient = program->gradient_spare;
    program->gradient_spare = current;
}

static void tell(const struct mst_program_step *step, size_t variable)
{
    if (step->on_gradient != NULL)
        step->on_gradient(step->context, variable);
}

static void dense_forward(struct mst_program *program, const struct op *op, const struct mst_program_step *step,
                          const float *in)
{
    const struct mst_layer *layer = op->layer;
    struct mst_gemm gemm = {.form = MST_GEMM_NN,
                            .write = MST_GEMM_SET,
                            .m = rows_of(op, step),
                            .n = layer->units,
                            .k = layer->in.dims[layer->in.rank - 1],
                            .a = in,
                            .b = step->params[layer->kernel],
                            .c = op->out,
                            .bias = layer->use_bias ? step->params[layer->bias] : NULL,
                            .activation = &op->activation,
                            .before = op->before};
    program->device->ops->gemm(program->device, &gemm);
}

static void activation_gradient(struct mst_program *program, const struct op *op, const struct mst_program_step *step,
                                const float *before)
{
    struct mst_activate_backward backward = {.activation = op->activation,
                                             .rows = rows_of(op, step),
                                             .columns = op->columns,
                                             .x = before,
                                             .y = op->out,
                                             .dy = program->gradient,
                                             .dx = program->gradient};
    if (op->activation.kind != MST_ACTIVATION_LINEAR)
        program->device->ops->activate_backward(program->device, &backward);
}

static void dense_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step,
                           const float *in)
{
    const struct mst_layer *layer = op->layer;
    struct mst_device *device = program->device;
    size_t rows = rows_of(op, step);
    size_t k = layer->in.dims[layer->in.rank - 1];
    activation_gradient(program, op, step, op->before);
    struct mst_gemm kernel = {.form = MST_GEMM_TN,
                              .write = MST_GEMM_SET,
                              .m = k,
                              .n = layer->units,
                              .k = rows,
                              .a = in,
                              .b = program->gradient,
                              .c = step->grads[layer->kernel]};
    device->ops->gemm(device, &kernel);
    tell(step, layer->kernel);
    if (layer->use_bias) {
        device->ops->column_sum(device, rows, layer->units, program->gradient, step->grads[layer->bias]);
        tell(step, layer->bias);
    }
    if (!op->wants_input_gradient)
        return;
    struct mst_gemm input = {.form = MST_GEMM_NT,
                             .write = MST_GEMM_SET,
                             .m = rows,
                             .n = k,
                             .k = layer->units,
                             .a = program->gradient,
                             .b = step->params[layer->kernel],
                             .c = program->gradient_spare};
    device->ops->gemm(device, &input);
    swap_gradients(program);
}

static void activation_forward(struct mst_program *program, const struct op *op, const struct mst_program_step *step,
                               const float *in)
{
    struct mst_activate activate = {
        .activation = op->activation, .rows = rows_of(op, step), .columns = op->columns, .x = in, .y = op->out};
    program->device->ops->activate(program->device, &activate);
}

static void activation_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step,
                                const float *in)
{
    activation_gradient(program, op, step, in);
}

static void rescaling_forward(struct mst_program *program, const struct op *op, const struct mst_program_step *step,
                              const float *in)
{
    struct mst_convert convert = {.n = step->n_examples * op->layer->n_out,
                                  .scale = (float)op->layer->scale,
                                  .offset = (float)op->layer->offset,
                                  .y = op->out};
    program->device->ops->convert_f32(program->device, &convert, in);
}

static void rescaling_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step,
                               const float *in)
{
    (void)in;
    struct mst_convert convert = {
        .n = step->n_examples * op->layer->n_out, .scale = (float)op->layer->scale, .y = program->gradient};
    program->device->ops->convert_f32(program->device, &convert, program->gradient);
}

// A mask is a function of seed, layer and batch of the epoch: whoever computes the batch drops the same elements. A
// layer with a seed of its own does not depend on the job's.
static struct mst_dropout dropout_of(const struct mst_program *program, const struct op *op,
                                     const struct mst_program_step *step)
{
    uint64_t number[2] = {step->epoch, step->batch};
    uint64_t seed = op->layer->seed.given ? op->layer->seed.value : program->options.seed;
    return (struct mst_dropout){.n = step->n_examples * op->layer->n_out,
                                .rate = (float)op->layer->rate,
                                .key = mst_rng_key_of(seed, op->random_name, mst_hash_bytes(number, sizeof number, 0)),
                                .first = 0};
}

static void dropout_forward(struct mst_program *program, const struct op *op, const struct mst_program_step *step,
                            const float *in)
{
    struct mst_dropout dropout = dropout_of(program, op, step);
    dropout.x = in;
    dropout.y = op->out;
    program->device->ops->dropout(program->device, &dropout);
}

static void dropout_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step,
                             const float *in)
{
    (void)in;
    struct mst_dropout dropout = dropout_of(program, op, step);
    dropout.x = program->gradient;
    dropout.y = program->gradient;
    program->device->ops->dropout(program->device, &dropout);
}

const struct op_class *mst_op_class_of(enum mst_layer_kind kind, enum mst_program_mode mode)
{
    static const struct op_class view = {NULL, NULL};
    static const struct op_class classes[] = {
        [MST_LAYER_DENSE] = {dense_forward, dense_backward},
        [MST_LAYER_ACTIVATION] = {activation_forward, activation_backward},
        [MST_LAYER_RESCALING] = {rescaling_forward, rescaling_backward},
        [MST_LAYER_DROPOUT] = {dropout_forward, dropout_backward},
    };
    MST_ASSERT(kind != MST_LAYER_INPUT);
    if (kind == MST_LAYER_VIEW || (kind == MST_LAYER_DROPOUT && mode != MST_PROGRAM_TRAIN))
        return &view;
    return &classes[kind];
}
