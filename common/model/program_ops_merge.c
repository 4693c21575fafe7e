// Operations that join or move tensors: merges, concatenations, products, permutations, rows of a table.
#include "program_private.h"

#include <string.h>

static size_t product(const size_t *dims, size_t n)
{
    size_t all = 1;
    for (size_t i = 0; i < n; i++)
        all *= dims[i];
    return all;
}

static const struct mst_node *node_of(const struct mst_program *program, const struct op *op, size_t input)
{
    return program->ops[op->inputs[input].value].node;
}

// Axes of the value are paired with those of an input from the last on. Where nothing repeats, all is one axis.
static void fill_merge(const struct mst_program *program, const struct op *op, const struct mst_program_step *step,
                       struct mst_merge_input *inputs, struct mst_merge *merge)
{
    const struct mst_shape *out = &op->node->out;
    bool repeats = false;
    *merge = (struct mst_merge){
        .kind = op->layer->merge, .n_axes = out->rank + 1, .n_inputs = op->n_inputs, .inputs = inputs, .y = op->out};
    merge->shape[0] = step->n_examples;
    memcpy(merge->shape + 1, out->dims, out->rank * sizeof out->dims[0]);
    for (size_t k = 0; k < op->n_inputs; k++) {
        const struct mst_shape *in = &node_of(program, op, k)->out;
        size_t missing = out->rank - in->rank;
        inputs[k] = (struct mst_merge_input){.shape = {step->n_examples}, .x = program->values[op->inputs[k].value]};
        for (size_t i = 0; i < out->rank; i++) {
            inputs[k].shape[i + 1] = i < missing ? 1 : in->dims[i - missing];
            repeats = repeats || inputs[k].shape[i + 1] != out->dims[i];
        }
    }
    if (repeats)
        return;
    merge->n_axes = 1;
    merge->shape[0] = step->n_examples * op->node->n_out;
    for (size_t k = 0; k < op->n_inputs; k++)
        inputs[k].shape[0] = merge->shape[0];
}

static void merge_forward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_merge_input inputs[MST_MERGE_MAX_INPUTS];
    struct mst_merge merge;
    fill_merge(program, op, step, inputs, &merge);
    program->device->ops->merge(program->device, &merge);
}

static void merge_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_merge_input inputs[MST_MERGE_MAX_INPUTS];
    struct mst_merge merge;
    bool wanted = false;
    fill_merge(program, op, step, inputs, &merge);
    merge.dy = op->gradient;
    for (size_t k = 0; k < op->n_inputs; k++) {
        inputs[k].dx = mst_op_dx(program, op, k);
        wanted = wanted || inputs[k].dx != NULL;
    }
    if (wanted)
        program->device->ops->merge_backward(program->device, &merge);
}

static void merge_plan(const struct mst_program *program, struct op *op)
{
    enum mst_merge_kind kind = op->layer->merge;
    (void)program;
    op->keeps_out = kind == MST_MERGE_MAXIMUM || kind == MST_MERGE_MINIMUM;
    op->keeps_in = op->keeps_out || kind == MST_MERGE_MULTIPLY;
}

// A merge of x with its weights, which are repeated over the examples and over shared axes.
static void fill_prelu(const struct mst_program *program, const struct op *op, const struct mst_program_step *step,
                       struct mst_merge_input inputs[2], struct mst_merge *merge)
{
    const struct mst_shape *in = &op->node->in;
    const struct mst_shape *alpha = &op->layer->weights[MST_WEIGHT_ALPHA].shape;
    *merge = (struct mst_merge){
        .kind = MST_MERGE_PRELU, .n_axes = in->rank + 1, .n_inputs = 2, .inputs = inputs, .y = op->out};
    inputs[0] = (struct mst_merge_input){.x = program->values[op->inputs[0].value]};
    inputs[1] = (struct mst_merge_input){.x = step->params[op->layer->variables[MST_WEIGHT_ALPHA]]};
    merge->shape[0] = inputs[0].shape[0] = step->n_examples;
    inputs[1].shape[0] = 1;
    for (size_t i = 0; i < in->rank; i++) {
        merge->shape[i + 1] = inputs[0].shape[i + 1] = in->dims[i];
        inputs[1].shape[i + 1] = alpha->dims[i];
    }
}

static void prelu_forward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_merge_input inputs[2];
    struct mst_merge merge;
    fill_prelu(program, op, step, inputs, &merge);
    program->device->ops->merge(program->device, &merge);
}

static void prelu_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_merge_input inputs[2];
    struct mst_merge merge;
    fill_prelu(program, op, step, inputs, &merge);
    merge.dy = op->gradient;
    inputs[0].dx = mst_op_dx(program, op, 0);
    inputs[1].dx = mst_op_dw(op, step, MST_WEIGHT_ALPHA);
    program->device->ops->merge_backward(program->device, &merge);
    if (inputs[1].dx != NULL)
        mst_op_finish_dw(program, op, step, MST_WEIGHT_ALPHA);
}

// A block of the concatenation: (rows, its part of a row), a row of the whole being wider.
static struct mst_copy block_of(const struct mst_program *program, const struct op *op,
                                const struct mst_program_step *step, size_t input, size_t *first)
{
    const struct mst_shape *out = &op->node->out;
    const struct mst_shape *in = &node_of(program, op, input)->out;
    size_t inner = product(out->dims + op->node->axis + 1, out->rank - op->node->axis - 1);
    size_t part = in->dims[op->node->axis] * inner;
    size_t whole = out->dims[op->node->axis] * inner;
    *first += part;
    return (struct mst_copy){.n_axes = 2,
                             .shape = {step->n_examples * product(out->dims, op->node->axis), part},
                             .from = {part, 1},
                             .to = {whole, 1}};
}

static void concatenate_forward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    size_t first = 0;
    for (size_t k = 0; k < op->n_inputs; k++) {
        size_t at = first;
        struct mst_copy copy = block_of(program, op, step, k, &first);
        copy.x = program->values[op->inputs[k].value];
        copy.y = op->out + at;
        program->device->ops->copy(program->device, &copy);
    }
}

static void turn(struct mst_copy *copy)
{
    size_t from[MST_DEVICE_MAX_AXES];
    memcpy(from, copy->from, sizeof from);
    memcpy(copy->from, copy->to, sizeof from);
    memcpy(copy->to, from, sizeof from);
}

static void concatenate_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    size_t first = 0;
    for (size_t k = 0; k < op->n_inputs; k++) {
        size_t at = first;
        struct mst_copy copy = block_of(program, op, step, k, &first);
        turn(&copy);
        copy.x = op->gradient + at;
        copy.y = mst_op_dx(program, op, k);
        if (copy.y != NULL)
            program->device->ops->copy(program->device, &copy);
    }
}

// Steps of an axis of a row-major array.
static size_t step_of(const struct mst_shape *shape, size_t axis)
{
    return product(shape->dims + axis + 1, shape->rank - axis - 1);
}

static struct mst_copy permutation(const struct op *op, const struct mst_program_step *step)
{
    const struct mst_node *node = op->node;
    struct mst_copy copy = {.n_axes = node->out.rank + 1, .shape = {step->n_examples}};
    copy.from[0] = copy.to[0] = node->n_out;
    for (size_t i = 0; i < node->out.rank; i++) {
        copy.shape[i + 1] = node->out.dims[i];
        copy.from[i + 1] = step_of(&node->in, (size_t)op->layer->axes.list[i] - 1);
        copy.to[i + 1] = step_of(&node->out, i);
    }
    return copy;
}

static struct mst_copy repetition(const struct op *op, const struct mst_program_step *step)
{
    size_t n = op->node->n_in;
    size_t times = op->layer->count;
    return (struct mst_copy){
        .n_axes = 3, .shape = {step->n_examples, times, n}, .from = {n, 0, 1}, .to = {times * n, n, 1}};
}

static void move_forward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_copy copy = op->layer->kind == MST_LAYER_PERMUTE ? permutation(op, step) : repetition(op, step);
    copy.x = program->values[op->inputs[0].value];
    copy.y = op->out;
    program->device->ops->copy(program->device, &copy);
}

static void move_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    bool repeats = op->layer->kind == MST_LAYER_REPEAT;
    struct mst_copy copy = repeats ? repetition(op, step) : permutation(op, step);
    turn(&copy);
    copy.x = op->gradient;
    copy.y = mst_op_dx(program, op, 0);
    if (copy.y == NULL)
        return;
    if (repeats) {
        // A sum over the repetitions, onto nothing.
        memset(copy.y, 0, step->n_examples * op->node->n_in * sizeof(float));
        copy.write = MST_COPY_ADD;
    }
    program->device->ops->copy(program->device, &copy);
}

// A softmax over another axis than the last.
static size_t rows_before(const struct op *op, const struct mst_program_step *step)
{
    return step->n_examples * product(op->node->in.dims, op->node->axis);
}

static void softmax_forward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_activate activate = {.activation = op->activation,
                                    .rows = rows_before(op, step),
                                    .columns = op->node->in.dims[op->node->axis],
                                    .inner = step_of(&op->node->in, op->node->axis),
                                    .x = program->values[op->inputs[0].value],
                                    .y = op->out};
    program->device->ops->activate(program->device, &activate);
}

static void softmax_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_activate_backward backward = {.activation = op->activation,
                                             .rows = rows_before(op, step),
                                             .columns = op->node->in.dims[op->node->axis],
                                             .inner = step_of(&op->node->in, op->node->axis),
                                             .y = op->out,
                                             .dy = op->gradient,
                                             .dx = mst_op_dx(program, op, 0)};
    if (backward.dx != NULL)
        program->device->ops->activate_backward(program->device, &backward);
}

static void softmax_plan(const struct mst_program *program, struct op *op)
{
    (void)program;
    op->keeps_out = true;
}

struct matrices {
    enum mst_gemm_form form;
    size_t m, n, k;
};

static void multiply(struct mst_program *program, const struct mst_program_step *step, struct matrices of,
                     const float *a, const float *b, float *c)
{
    struct mst_gemm_batch batch = {
        .n = step->n_examples,
        .gemm = {.form = of.form, .write = MST_GEMM_SET, .m = of.m, .n = of.n, .k = of.k, .a = a, .b = b, .c = c},
        .a_step = of.m * of.k,
        .b_step = of.k * of.n,
        .c_step = of.m * of.n};
    program->device->ops->gemm_batch(program->device, &batch);
}

// With normalize=True an input is taken with rows of length 1. What is kept for it: those rows, two numbers a row for
// their gradient, and that of the rows.
struct dot_side {
    struct mst_row_norm norm;
    float *gradient;
};

static struct dot_side dot_side(const struct mst_program *program, const struct op *op,
                                const struct mst_program_step *step, size_t input)
{
    size_t batch = program->options.max_batch;
    size_t k = op->node->k;
    float *at = op->kept;
    for (size_t i = 0; i < input; i++)
        at += batch * (2 * node_of(program, op, i)->n_out + 2 * (node_of(program, op, i)->n_out / k));
    size_t n = node_of(program, op, input)->n_out;
    return (struct dot_side){.norm = {.kind = MST_ROW_NORM_LENGTH,
                                      .rows = step->n_examples * (n / k),
                                      .columns = k,
                                      .epsilon = 1e-7f,
                                      .x = program->values[op->inputs[input].value],
                                      .mean = at + batch * n,
                                      .inverse = at + batch * (n + n / k),
                                      .y = at},
                             .gradient = at + batch * (n + 2 * (n / k))};
}

static void dot_forward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    const struct mst_node *node = op->node;
    const float *in[2];
    for (size_t i = 0; i < 2; i++) {
        in[i] = program->values[op->inputs[i].value];
        if (!op->layer->normalize)
            continue;
        struct dot_side side = dot_side(program, op, step, i);
        program->device->ops->row_norm(program->device, &side.norm);
        in[i] = side.norm.y;
    }
    multiply(program, step, (struct matrices){node->form, node->m, node->n, node->k}, in[0], in[1], op->out);
}

// dz is (m, n): the gradients dx and dy of the inputs x and y, of those that are not NULL.
static void multiply_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step,
                              const float *const in[2], float *const out[2])
{
    const struct mst_node *node = op->node;
    const float *dz = op->gradient;
    size_t m = node->m;
    size_t n = node->n;
    size_t k = node->k;
    bool is_turned = node->form == MST_GEMM_NT;
    if (node->form == MST_GEMM_TN) {
        if (out[0] != NULL)
            multiply(program, step, (struct matrices){MST_GEMM_NT, k, m, n}, in[1], dz, out[0]);
        if (out[1] != NULL)
            multiply(program, step, (struct matrices){MST_GEMM_NN, k, n, m}, in[0], dz, out[1]);
        return;
    }
    if (out[0] != NULL)
        multiply(program, step, (struct matrices){is_turned ? MST_GEMM_NN : MST_GEMM_NT, m, k, n}, dz, in[1], out[0]);
    if (out[1] != NULL && is_turned)
        multiply(program, step, (struct matrices){MST_GEMM_TN, n, k, m}, dz, in[0], out[1]);
    else if (out[1] != NULL)
        multiply(program, step, (struct matrices){MST_GEMM_TN, k, n, m}, in[0], dz, out[1]);
}

static void dot_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    const float *in[2];
    float *out[2];
    for (size_t i = 0; i < 2; i++) {
        in[i] = program->values[op->inputs[i].value];
        out[i] = mst_op_dx(program, op, i);
        if (!op->layer->normalize)
            continue;
        struct dot_side side = dot_side(program, op, step, i);
        in[i] = side.norm.y;
        out[i] = out[i] != NULL ? side.gradient : NULL;
    }
    multiply_backward(program, op, step, in, out);
    for (size_t i = 0; i < 2 && op->layer->normalize; i++) {
        struct dot_side side = dot_side(program, op, step, i);
        struct mst_row_norm_backward backward = {
            .forward = side.norm, .dy = side.gradient, .dx = mst_op_dx(program, op, i)};
        if (backward.dx != NULL)
            program->device->ops->row_norm_backward(program->device, &backward);
    }
}

static void dot_plan(const struct mst_program *program, struct op *op)
{
    op->keeps_in = true;
    for (size_t i = 0; i < 2 && op->layer->normalize; i++) {
        size_t n = node_of(program, op, i)->n_out;
        op->kept_floats += program->options.max_batch * (2 * n + 2 * (n / op->node->k));
    }
}

// The mean over all axes but the last.
static struct mst_copy pooled(const struct op *op, const struct mst_program_step *step, size_t *n_steps)
{
    size_t n = op->node->n_out;
    *n_steps = op->node->n_in / n;
    return (struct mst_copy){
        .n_axes = 3, .shape = {step->n_examples, *n_steps, n}, .from = {*n_steps * n, n, 1}, .to = {n, 0, 1}};
}

static void pool_forward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    size_t n_steps;
    struct mst_copy copy = pooled(op, step, &n_steps);
    struct mst_convert mean = {.n = step->n_examples * op->node->n_out, .scale = 1.0f / (float)n_steps, .y = op->out};
    memset(op->out, 0, mean.n * sizeof(float));
    copy.write = MST_COPY_ADD;
    copy.x = program->values[op->inputs[0].value];
    copy.y = op->out;
    program->device->ops->copy(program->device, &copy);
    program->device->ops->convert_f32(program->device, &mean, op->out);
}

static void pool_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    size_t n_steps;
    struct mst_copy copy = pooled(op, step, &n_steps);
    float *dx = mst_op_dx(program, op, 0);
    struct mst_convert mean = {.n = step->n_examples * op->node->n_in, .scale = 1.0f / (float)n_steps, .y = dx};
    if (dx == NULL)
        return;
    turn(&copy);
    copy.x = op->gradient;
    copy.y = dx;
    program->device->ops->copy(program->device, &copy);
    program->device->ops->convert_f32(program->device, &mean, dx);
}

static void keep_inputs(const struct mst_program *program, struct op *op)
{
    (void)program;
    op->keeps_in = true;
}

static void embedding_forward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_gather gather = {.n = step->n_examples * op->node->n_in,
                                .vocabulary = op->layer->count,
                                .columns = op->layer->units,
                                .ids = (const int32_t *)(const void *)op->kept,
                                .table = step->params[op->layer->variables[MST_WEIGHT_TABLE]],
                                .y = op->out};
    program->device->ops->ids_from_f32(program->device, gather.n, program->values[op->inputs[0].value],
                                       (int32_t *)(void *)op->kept);
    size_t bad = program->device->ops->gather(program->device, &gather);
    if (bad == gather.n || program->bad_op != NULL)
        return;
    program->bad_op = op;
    program->bad_id = gather.ids[bad];
    program->bad_example = bad / op->node->n_in;
}

static void embedding_backward(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    struct mst_scatter scatter = {.write = MST_COPY_SET,
                                  .n = step->n_examples * op->node->n_in,
                                  .vocabulary = op->layer->count,
                                  .columns = op->layer->units,
                                  .ids = (const int32_t *)(const void *)op->kept,
                                  .dy = op->gradient,
                                  .dtable = mst_op_dw(op, step, MST_WEIGHT_TABLE)};
    if (scatter.dtable == NULL)
        return;
    program->device->ops->scatter_add(program->device, &scatter);
    mst_op_finish_dw(program, op, step, MST_WEIGHT_TABLE);
}

// An id is as large as a float.
static void embedding_plan(const struct mst_program *program, struct op *op)
{
    _Static_assert(sizeof(int32_t) == sizeof(float), "ids take the room of floats");
    op->kept_floats = program->options.max_batch * op->node->n_in;
}

const struct op_class mst_op_merge = {.forward = merge_forward, .backward = merge_backward, .plan = merge_plan};
const struct op_class mst_op_prelu = {.forward = prelu_forward, .backward = prelu_backward, .plan = keep_inputs};
const struct op_class mst_op_softmax = {
    .forward = softmax_forward, .backward = softmax_backward, .plan = softmax_plan, .in_place = true};
const struct op_class mst_op_concatenate = {.forward = concatenate_forward, .backward = concatenate_backward};
const struct op_class mst_op_move = {.forward = move_forward, .backward = move_backward};
const struct op_class mst_op_dot = {.forward = dot_forward, .backward = dot_backward, .plan = dot_plan};
const struct op_class mst_op_pool = {.forward = pool_forward, .backward = pool_backward};
const struct op_class mst_op_embedding = {
    .forward = embedding_forward, .backward = embedding_backward, .plan = embedding_plan, .cuts_gradient = true};
