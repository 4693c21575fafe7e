// Running a planned program: casts, forward, loss and metrics (program_measure.c), and from the last operation back to
// the first that has variables. Whether values are finite is looked at only when the loss is not: forward runs once
// more, for buffers are used again, and the first layer whose value is not finite is named.
#include "model/program.h"

#include "base/alloc.h"
#include "base/error.h"
#include "program_private.h"

#include <stdlib.h>
#include <string.h>

mst_status mst_program_new(const struct mst_model *model, const struct mst_compile *compile, struct mst_device *device,
                           const struct mst_program_options *options, struct mst_program **out, struct mst_error *err)
{
    *out = NULL;
    // 2^30: below, no product of sizes with the 2^28 floats of an example overflows.
    if (options->max_batch == 0 || options->max_batch > (size_t)1 << 30)
        return mst_fail(err, MST_INVALID_ARGUMENT, "a batch of %zu examples; it should be 1 to %d", options->max_batch,
                        1 << 30);
    for (size_t i = 0; i < model->n_inputs; i++) {
        enum mst_dtype dtype = options->input_dtypes[i];
        if (dtype != MST_DTYPE_F32 && dtype != MST_DTYPE_U8 && dtype != MST_DTYPE_I32)
            return mst_fail(err, MST_INVALID_ARGUMENT, "features are %s; a program takes uint8, int32 or float32",
                            mst_dtype_name(dtype));
    }
    if (compile == NULL && options->mode != MST_PROGRAM_PREDICT)
        return mst_fail(err, MST_INVALID_ARGUMENT, "training and evaluation need a loss");
    struct mst_program *program = mst_alloc(sizeof *program);
    program->model = model;
    program->device = device;
    program->options = *options;
    program->has_loss = options->mode != MST_PROGRAM_PREDICT;
    if (program->has_loss)
        program->compile = *compile;
    mst_status status = mst_program_plan(program, err);
    program->options.input_dtypes = NULL; // the caller's
    if (status != MST_OK) {
        mst_program_free(program);
        return status;
    }
    *out = program;
    return MST_OK;
}

void mst_program_free(struct mst_program *program)
{
    if (program == NULL)
        return;
    free(program->memory);
    free(program->names);
    free(program->untrained);
    free((void *)program->values);
    free(program->op_inputs);
    free(program->ops);
    free(program->outputs);
    free(program->inputs);
    free(program);
}

static mst_status check_labels(const struct mst_program *program, const struct mst_program_step *step, size_t output,
                               struct mst_error *err)
{
    const int32_t *labels = step->targets[output].labels;
    size_t n_classes = mst_compile_n_classes(&program->compile, program->model, output);
    for (size_t i = 0; i < step->n_examples && n_classes > 0; i++) {
        // A negative label becomes a huge one.
        if ((size_t)labels[i] >= n_classes)
            return mst_fail(err, MST_OUT_OF_RANGE,
                            "label %d of example %zu of batch %llu is outside the model's classes 0 to %zu", labels[i],
                            i, (unsigned long long)step->batch, n_classes - 1);
    }
    return MST_OK;
}

static mst_status check_target(const struct mst_program *program, const struct mst_program_step *step, size_t output,
                               struct mst_error *err)
{
    const struct mst_output_loss *loss = &program->compile.losses[output];
    bool is_sparse = loss->kind == MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY;
    if (!loss->is_given || (step->targets[output].values != NULL && !is_sparse))
        return MST_OK;
    if (step->targets[output].labels == NULL)
        return mst_fail(err, MST_INVALID_ARGUMENT, "the data has no labels, which the loss needs");
    if (mst_compile_label_use(&program->compile, program->model, output) == MST_LABEL_NONE)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s against one label an example needs a model of 1 output, this one has %zu",
                        mst_loss_name(loss->kind), program->outputs[output].n_values);
    return check_labels(program, step, output, err);
}

static mst_status check_step(const struct mst_program *program, const struct mst_program_step *step,
                             struct mst_error *err)
{
    if (step->n_examples == 0 || step->n_examples > program->options.max_batch)
        return mst_fail(err, MST_INVALID_ARGUMENT, "a batch of %zu examples for a program planned for 1 to %zu",
                        step->n_examples, program->options.max_batch);
    if (!program->has_loss)
        return MST_OK;
    if (step->weights != NULL && program->class_weights != NULL)
        return mst_fail(err, MST_INVALID_ARGUMENT, "class_weight and sample weights cannot be used at the same time");
    for (size_t i = 0; i < program->n_outputs; i++)
        MST_TRY(check_target(program, step, i, err));
    return MST_OK;
}

static const float *cast_input(struct mst_program *program, const struct mst_program_step *step, size_t index)
{
    const struct program_input *input = &program->inputs[index];
    struct mst_convert convert = {.n = step->n_examples * program->ops[index].node->n_out,
                                  .scale = input->scale,
                                  .offset = input->offset,
                                  .y = program->ops[index].out};
    if (!input->casts)
        return step->inputs[index];
    if (input->dtype == MST_DTYPE_U8)
        program->device->ops->convert_u8(program->device, &convert, step->inputs[index]);
    else if (input->dtype == MST_DTYPE_I32)
        program->device->ops->convert_i32(program->device, &convert, step->inputs[index]);
    else
        program->device->ops->convert_f32(program->device, &convert, step->inputs[index]);
    return program->ops[index].out;
}

static void run_op(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    if (op->layer == NULL) {
        program->values[op->index] = cast_input(program, step, op->index);
    } else if (op->class->forward == NULL) {
        program->values[op->index] = program->values[op->inputs[0].value];
    } else {
        program->values[op->index] = op->out;
        op->class->forward(program, op, step);
    }
}

static void run_forward(struct mst_program *program, const struct mst_program_step *step)
{
    for (size_t i = 0; i < program->n_ops; i++)
        if (program->ops[i].runs)
            run_op(program, &program->ops[i], step);
    for (size_t i = 0; i < program->n_outputs; i++) {
        struct program_output *output = &program->outputs[i];
        output->raw = program->values[output->loss_value];
        output->values = program->values[output->result_value];
        output->logits = output->logits_value != SIZE_MAX ? program->values[output->logits_value] : NULL;
    }
}

static bool inputs_are_finite(const struct mst_program *program, const struct mst_program_step *step)
{
    bool finite = true;
    for (size_t i = 0; i < program->model->n_inputs; i++) {
        size_t n = step->n_examples * program->ops[i].node->n_out;
        finite = finite && (program->inputs[i].dtype != MST_DTYPE_F32 ||
                            program->device->ops->all_finite(program->device, n, step->inputs[i]));
    }
    return finite;
}

static void find_bad_layer(struct mst_program *program, const struct mst_program_step *step,
                           struct mst_program_result *result)
{
    struct mst_device *device = program->device;
    result->bad_layer_name = "the features";
    if (!inputs_are_finite(program, step))
        return;
    for (size_t i = 0; i < program->n_ops; i++) {
        const struct op *op = &program->ops[i];
        size_t layer = op->layer != NULL ? op->node->layer : program->inputs[i].layer;
        if (!op->runs)
            continue;
        run_op(program, op, step);
        if (layer == SIZE_MAX ||
            device->ops->all_finite(device, step->n_examples * op->node->n_out, program->values[i]))
            continue;
        result->bad_layer = layer;
        result->bad_layer_name = program->model->layers[layer].path;
        return;
    }
    result->bad_layer = program->model->n_layers;
    result->bad_layer_name = "the loss";
}

void mst_op_tell(const struct mst_program_step *step, size_t variable)
{
    if (step->on_gradient != NULL)
        step->on_gradient(step->context, variable);
}

// y += x
static void add_to(const struct mst_program *program, size_t n, const float *x, float *y, enum mst_copy_write write)
{
    struct mst_copy copy = {.write = write, .n_axes = 1, .shape = {n}, .from = {1}, .to = {1}, .x = x, .y = y};
    program->device->ops->copy(program->device, &copy);
}

static void add_penalty(const struct mst_program *program, size_t n, float l1, float l2, const float *x, float *grad)
{
    struct mst_penalty penalty = {.n = n, .l1 = l1, .l2 = l2, .x = x, .grad = grad};
    program->device->ops->add_penalty(program->device, &penalty);
}

void mst_op_finish_dw(const struct mst_program *program, const struct op *op, const struct mst_program_step *step,
                      size_t weight)
{
    const struct op_gradient *gradient = &op->gradients[weight];
    size_t variable = op->layer->variables[weight];
    if (gradient->adds)
        add_to(program, program->model->variables[variable].n_elements, gradient->spare, step->grads[variable],
               MST_COPY_ADD);
    if (!gradient->is_last)
        return;
    const struct mst_variable *v = &program->model->variables[variable];
    if (v->l1 != 0 || v->l2 != 0)
        add_penalty(program, v->n_elements, (float)v->l1, (float)v->l2, step->params[variable], step->grads[variable]);
    mst_op_tell(step, variable);
}

// Adds what was written apart to the gradients that had been written before. A view has only its own to hand on.
static void finish_op(struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    for (size_t k = 0; k < op->n_inputs; k++) {
        const struct op_input *in = &op->inputs[k];
        const struct op *from = &program->ops[in->value];
        size_t n = step->n_examples * from->node->n_out;
        if (!in->wants_gradient)
            continue;
        if (op->class->backward == NULL && from->gradient != op->gradient)
            add_to(program, n, op->gradient, from->gradient, in->adds ? MST_COPY_ADD : MST_COPY_SET);
        else if (op->class->backward != NULL && in->adds)
            add_to(program, n, in->spare, from->gradient, MST_COPY_ADD);
    }
}

// Keras divides the penalty of a layer's values by the examples.
static void add_activity(const struct mst_program *program, const struct op *op, const struct mst_program_step *step)
{
    double n = (double)step->n_examples;
    add_penalty(program, step->n_examples * op->node->n_out, (float)(op->layer->activity.l1 / n),
                (float)(op->layer->activity.l2 / n), program->values[op->index], op->gradient);
}

static double penalty_of(const struct mst_program *program, double l1, double l2, size_t n, const float *x)
{
    double sum = 0;
    if (l1 != 0)
        sum += l1 * program->device->ops->sum_absolute(program->device, n, x);
    if (l2 != 0)
        sum += l2 * program->device->ops->sum_squares(program->device, n, x);
    return sum;
}

// What the regularizers add to the loss. Those of variables that are not trained add nothing.
double mst_program_penalties(const struct mst_program *program, const struct mst_program_step *step)
{
    double sum = 0;
    for (size_t v = 0; v < program->model->n_variables; v++) {
        const struct mst_variable *variable = &program->model->variables[v];
        if (variable->update == MST_UPDATE_OPTIMIZER)
            sum += penalty_of(program, variable->l1, variable->l2, variable->n_elements, step->params[v]);
    }
    for (size_t i = 0; i < program->n_ops; i++) {
        const struct op *op = &program->ops[i];
        if (op->has_activity)
            sum += penalty_of(program, op->layer->activity.l1, op->layer->activity.l2,
                              step->n_examples * op->node->n_out, program->values[i]) /
                   (double)step->n_examples;
    }
    return sum;
}

// The optimizer waits for the gradient of every variable, also of one that no loss depends on.
static void tell_untrained(const struct mst_program *program, const struct mst_program_step *step)
{
    for (size_t v = 0; v < program->model->n_variables; v++) {
        if (!program->untrained[v])
            continue;
        const struct mst_variable *variable = &program->model->variables[v];
        memset(step->grads[v], 0, variable->n_elements * sizeof(float));
        if (variable->l1 != 0 || variable->l2 != 0)
            add_penalty(program, variable->n_elements, (float)variable->l1, (float)variable->l2, step->params[v],
                        step->grads[v]);
        mst_op_tell(step, v);
    }
}

static void run_backward(struct mst_program *program, const struct mst_program_step *step)
{
    tell_untrained(program, step);
    for (size_t i = 0; i < program->model->n_outputs; i++) {
        const struct program_output *output = &program->outputs[i];
        if (output->adds)
            add_to(program, step->n_examples * output->n_values, output->spare,
                   program->ops[output->loss_value].gradient, MST_COPY_ADD);
    }
    for (size_t i = program->n_ops; i-- > 0;) {
        const struct op *op = &program->ops[i];
        if (op->class->update != NULL && op->runs)
            op->class->update(program, op, step);
        if (!op->gets_gradient)
            continue;
        if (op->starts_gradient)
            memset(op->gradient, 0, step->n_examples * op->node->n_out * sizeof(float));
        if (op->has_activity)
            add_activity(program, op, step);
        if (op->class->backward != NULL)
            op->class->backward(program, op, step);
        finish_op(program, op, step);
    }
}

mst_status mst_program_run(struct mst_program *program, const struct mst_program_step *step,
                           struct mst_program_result *result, struct mst_error *err)
{
    *result = (struct mst_program_result){.loss_is_finite = true};
    MST_TRY(check_step(program, step, err));
    program->bad_op = NULL;
    run_forward(program, step);
    if (program->bad_op != NULL)
        return mst_fail(err, MST_OUT_OF_RANGE,
                        "example %zu of batch %llu has the id %d; layer '%.64s' (Embedding) takes 0 to %zu",
                        program->bad_example, (unsigned long long)step->batch, program->bad_id,
                        program->bad_op->layer->path, program->bad_op->layer->count - 1);
    if (!program->has_loss)
        return MST_OK;
    mst_program_measure(program, step, result);
    if (!result->loss_is_finite)
        find_bad_layer(program, step, result);
    else if (program->options.mode == MST_PROGRAM_TRAIN)
        run_backward(program, step);
    return MST_OK;
}

const float *mst_program_output(const struct mst_program *program, size_t output)
{
    MST_ASSERT(output < program->n_outputs);
    return program->outputs[output].values;
}

size_t mst_program_arena_bytes(const struct mst_program *program)
{
    return program->arena_bytes;
}
