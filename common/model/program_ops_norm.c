// Normalizations. A BatchNormalization that is trained uses the batch's moments and hands them out as statistics of its
// moving averages; one that is frozen, and every one outside of training, uses the moving averages.
#include "program_private.h"

#include <math.h>
#include <string.h>

static bool uses_batch(const struct mst_program *program, const struct op *op)
{
    return program->options.mode == MST_PROGRAM_TRAIN && op->layer->trainable;
}

static const float *param(const struct op *op, const struct mst_program_step *step, size_t weight)
{
    size_t variable = op->layer->variables[weight];
    return variable != SIZE_MAX ? step->params[variable] : NULL;
}

static size_t product(const size_t *dims, size_t n)
{
    size_t all = 1;
    for (size_t i = 0; i < n; i++)
        all *= dims[i];
    return all;
}

static struct mst_batch_norm batch_norm_of(const struct mst_program *program, const struct op *op,
                                           const struct mst_program_step *step)
{
    const struct mst_shape *in = &op->node->in;
    size_t axis = op->node->axis;
    struct mst_batch_norm norm = {.outer = step->n_examples * product(in->dims, axis),
                                  .channels = in->dims[axis],
                                  .inner = product(in->dims + axis + 1, in->rank - axis - 1),
                                  .epsilon = (float)op->layer->epsilon,
                                  .x = program->values[op->inputs[0].value],
                                  .gamma = param(op, step, MST_WEIGHT_GAMMA),
                                  .beta = param(op, step, MST_WEIGHT_BETA),
                                  .y = op->out};
    if (uses_batch(program, op)) {
        norm.mean = op->kept;
        norm.variance = op->kept + norm.channels;
    } else {
        // Only read then.
        norm.mean = (float *)(uintptr_t)param(op, step, MST_WEIGHT_MEAN);
        norm.variance = (float *)(uintptr_t)param(op, step, MST_WEIGHT_VARIANCE);
    }
    return norm;
}

static void batch_norm_forward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_batch_norm norm = batch_norm_of(program, op, step);
    if (uses_batch(program, op))
        program->device->ops->batch_moments(program->device, &norm);
    program->device->ops->batch_norm(program->device, &norm);
}

static void finish_both(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    if (op->gradients[MST_WEIGHT_GAMMA].is_trained)
        mst_op_finish_dw(program, op, step, MST_WEIGHT_GAMMA);
    if (op->gradients[MST_WEIGHT_BETA].is_trained)
        mst_op_finish_dw(program, op, step, MST_WEIGHT_BETA);
}

static void batch_norm_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_batch_norm_backward backward = {.forward = batch_norm_of(program, op, step),
                                               .moments = uses_batch(program, op) ? MST_NORM_OF_BATCH : MST_NORM_GIVEN,
                                               .dy = op->gradient,
                                               .dx = mst_op_dx(program, op, 0),
                                               .dgamma = mst_op_dw(op, step, MST_WEIGHT_GAMMA),
                                               .dbeta = mst_op_dw(op, step, MST_WEIGHT_BETA)};
    program->device->ops->batch_norm_backward(program->device, &backward);
    finish_both(program, op, step);
}

static void batch_norm_update(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    size_t channels = op->node->in.dims[op->node->axis];
    if (!uses_batch(program, op))
        return;
    for (size_t w = MST_WEIGHT_MEAN; w <= MST_WEIGHT_VARIANCE; w++) {
        size_t variable = op->layer->variables[w];
        memcpy(step->grads[variable], op->kept + (w - MST_WEIGHT_MEAN) * channels, channels * sizeof(float));
        mst_op_tell(step, variable);
    }
}

static void batch_norm_plan(const struct mst_program *program, struct op *op)
{
    op->keeps_in = true;
    op->kept_floats = uses_batch(program, op) ? 2 * op->node->in.dims[op->node->axis] : 0;
}

static struct mst_row_norm row_norm_of(const struct mst_program *program, const struct op *op,
                                       const struct mst_program_step *step)
{
    const struct mst_shape *in = &op->node->in;
    size_t columns = product(in->dims + op->node->axis, in->rank - op->node->axis);
    size_t rows = step->n_examples * (op->node->n_in / columns);
    return (struct mst_row_norm){.kind = op->layer->row_norm,
                                 .rows = rows,
                                 .columns = columns,
                                 .epsilon = (float)op->layer->epsilon,
                                 .x = program->values[op->inputs[0].value],
                                 .gamma = param(op, step, MST_WEIGHT_GAMMA),
                                 .beta = param(op, step, MST_WEIGHT_BETA),
                                 .mean = op->kept,
                                 .inverse = op->kept + op->kept_floats / 2,
                                 .y = op->out};
}

static void row_norm_forward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_row_norm norm = row_norm_of(program, op, step);
    program->device->ops->row_norm(program->device, &norm);
}

static void row_norm_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_row_norm_backward backward = {.forward = row_norm_of(program, op, step),
                                             .dy = op->gradient,
                                             .dx = mst_op_dx(program, op, 0),
                                             .dgamma = mst_op_dw(op, step, MST_WEIGHT_GAMMA),
                                             .dbeta = mst_op_dw(op, step, MST_WEIGHT_BETA)};
    program->device->ops->row_norm_backward(program->device, &backward);
    finish_both(program, op, step);
}

static void row_norm_plan(const struct mst_program *program, struct op *op)
{
    const struct mst_shape *in = &op->node->in;
    size_t columns = product(in->dims + op->node->axis, in->rank - op->node->axis);
    op->keeps_in = true;
    op->kept_floats = 2 * program->options.max_batch * (op->node->n_in / columns);
}

// y = (x - mean) / s or mean + x s with s = max(√variance, 1e-7): a scale and an offset for each value of the axis,
// which a batch normalization applies with a mean of 0 and a variance of 1.
static struct mst_batch_norm standardize_of(const struct mst_program *program, const struct op *op,
                                            const struct mst_program_step *step)
{
    const struct mst_shape *in = &op->node->in;
    size_t axis = op->node->axis;
    bool has_axis = axis != SIZE_MAX;
    size_t channels = has_axis ? in->dims[axis] : 1;
    return (struct mst_batch_norm){.outer = step->n_examples * (has_axis ? product(in->dims, axis) : op->node->n_in),
                                   .channels = channels,
                                   .inner = has_axis ? product(in->dims + axis + 1, in->rank - axis - 1) : 1,
                                   .epsilon = 0,
                                   .x = program->values[op->inputs[0].value],
                                   .gamma = op->kept,
                                   .beta = op->kept + channels,
                                   .mean = op->kept + 2 * channels,
                                   .variance = op->kept + 3 * channels,
                                   .y = op->out};
}

static void standardize_forward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_batch_norm norm = standardize_of(program, op, step);
    const struct mst_layer *layer = op->layer;
    const float *mean = layer->mean != NULL ? layer->mean : param(op, step, MST_WEIGHT_MEAN);
    const float *variance = layer->variance != NULL ? layer->variance : param(op, step, MST_WEIGHT_VARIANCE);
    for (size_t c = 0; c < norm.channels; c++) {
        float s = fmaxf(sqrtf(variance[c]), 1e-7f);
        op->kept[c] = layer->invert ? s : 1.0f / s;
        op->kept[norm.channels + c] = layer->invert ? mean[c] : 0.0f;
        op->kept[2 * norm.channels + c] = layer->invert ? 0.0f : mean[c];
        op->kept[3 * norm.channels + c] = 1.0f;
    }
    program->device->ops->batch_norm(program->device, &norm);
}

static void standardize_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_batch_norm_backward backward = {.forward = standardize_of(program, op, step),
                                               .moments = MST_NORM_GIVEN,
                                               .dy = op->gradient,
                                               .dx = mst_op_dx(program, op, 0)};
    if (backward.dx != NULL)
        program->device->ops->batch_norm_backward(program->device, &backward);
}

static void standardize_plan(const struct mst_program *program, struct op *op)
{
    (void)program;
    op->keeps_in = true;
    op->kept_floats = 4 * (op->node->axis != SIZE_MAX ? op->node->in.dims[op->node->axis] : 1);
}

const struct op_class mst_op_batch_norm = {.forward = batch_norm_forward,
                                           .backward = batch_norm_backward,
                                           .plan = batch_norm_plan,
                                           .update = batch_norm_update,
                                           .in_place = true};
const struct op_class mst_op_row_norm = {
    .forward = row_norm_forward, .backward = row_norm_backward, .plan = row_norm_plan, .in_place = true};
const struct op_class mst_op_standardize = {
    .forward = standardize_forward, .backward = standardize_backward, .plan = standardize_plan, .in_place = true};
