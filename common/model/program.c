// Running a planned program: cast, forward, loss and metrics (program_measure.c), and from the last operation back to
// the first that has variables. Whether values are finite is looked at only when the loss is not: one layer after the
// other, to name the first.
#include "model/program.h"

#include "base/alloc.h"
#include "base/error.h"
#include "program_private.h"

#include <stdlib.h>

mst_status mst_program_new(const struct mst_model *model, const struct mst_compile *compile, struct mst_device *device,
                           const struct mst_program_options *options, struct mst_program **out, struct mst_error *err)
{
    *out = NULL;
    enum mst_dtype dtype = options->input_dtypes[0];
    // 2^30: below, no product of sizes with the 2^28 floats of an example overflows.
    if (options->max_batch == 0 || options->max_batch > (size_t)1 << 30)
        return mst_fail(err, MST_INVALID_ARGUMENT, "a batch of %zu examples; it should be 1 to %d", options->max_batch,
                        1 << 30);
    if (dtype != MST_DTYPE_F32 && dtype != MST_DTYPE_U8 && dtype != MST_DTYPE_I32)
        return mst_fail(err, MST_INVALID_ARGUMENT, "features are %s; a program takes uint8, int32 or float32",
                        mst_dtype_name(dtype));
    if (compile == NULL && options->mode != MST_PROGRAM_PREDICT)
        return mst_fail(err, MST_INVALID_ARGUMENT, "training and evaluation need a loss");
    struct mst_program *program = mst_alloc(sizeof *program);
    program->model = model;
    program->device = device;
    program->options = *options;
    program->options.input_dtypes = NULL; // the caller's
    program->input_dtype = dtype;
    program->has_loss = options->mode != MST_PROGRAM_PREDICT;
    if (program->has_loss)
        program->compile = *compile;
    program->n_outputs = 1;
    program->outputs[0].n_values = model->layers[model->n_layers - 1].n_out;
    mst_status status = mst_program_plan(program, err);
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
    free((void *)program->values);
    free(program->ops);
    free(program);
}

static mst_status check_labels(const struct mst_program *program, const struct mst_program_step *step,
                               struct mst_error *err)
{
    const int32_t *labels = step->targets[0].labels;
    size_t n_classes = mst_compile_n_classes(&program->compile, program->model, 0);
    for (size_t i = 0; i < step->n_examples && n_classes > 0; i++) {
        // A negative label becomes a huge one.
        if ((size_t)labels[i] >= n_classes)
            return mst_fail(err, MST_OUT_OF_RANGE,
                            "label %d of example %zu of batch %llu is outside the model's classes 0 to %zu", labels[i],
                            i, (unsigned long long)step->batch, n_classes - 1);
    }
    return MST_OK;
}

static mst_status check_step(const struct mst_program *program, const struct mst_program_step *step,
                             struct mst_error *err)
{
    bool is_sparse = program->compile.losses[0].kind == MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY;
    if (step->n_examples == 0 || step->n_examples > program->options.max_batch)
        return mst_fail(err, MST_INVALID_ARGUMENT, "a batch of %zu examples for a program planned for 1 to %zu",
                        step->n_examples, program->options.max_batch);
    if (!program->has_loss)
        return MST_OK;
    if (step->weights != NULL)
        return mst_fail(err, MST_UNIMPLEMENTED, "sample weights are not built yet; leave them out");
    if (step->targets[0].values != NULL && !is_sparse)
        return MST_OK;
    if (step->targets[0].labels == NULL)
        return mst_fail(err, MST_INVALID_ARGUMENT, "the data has no labels, which the loss needs");
    if (mst_compile_label_use(&program->compile, program->model, 0) == MST_LABEL_NONE)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s against one label an example needs a model of 1 output, this one has %zu",
                        mst_loss_name(program->compile.losses[0].kind), program->outputs[0].n_values);
    return check_labels(program, step, err);
}

static const float *cast_features(struct mst_program *program, const struct mst_program_step *step)
{
    struct mst_convert convert = {.n = step->n_examples * program->model->layers[0].n_in,
                                  .scale = program->cast_scale,
                                  .offset = program->cast_offset,
                                  .y = program->cast};
    if (!program->casts)
        return step->inputs[0];
    if (program->input_dtype == MST_DTYPE_U8)
        program->device->ops->convert_u8(program->device, &convert, step->inputs[0]);
    else if (program->input_dtype == MST_DTYPE_I32)
        program->device->ops->convert_i32(program->device, &convert, step->inputs[0]);
    else
        program->device->ops->convert_f32(program->device, &convert, step->inputs[0]);
    return program->cast;
}

static void finish_output(struct mst_program *program, const struct mst_program_step *step,
                          struct program_output *output)
{
    output->raw = output->values = program->values[program->n_ops];
    output->gradient = program->gradient;
    output->logits = NULL;
    if (output->loss_takes_logits) {
        output->logits = output->raw;
    } else if (program->logits_op != SIZE_MAX) {
        const struct op *op = &program->ops[program->logits_op];
        output->logits = op->keeps_before ? op->before : program->values[program->logits_op];
    }
    if (output->probabilities != NULL) {
        struct mst_activate last = {.activation = output->activation,
                                    .rows = step->n_examples,
                                    .columns = output->n_values,
                                    .x = output->raw,
                                    .y = output->probabilities};
        program->device->ops->activate(program->device, &last);
        output->values = output->probabilities;
    }
}

static void run_forward(struct mst_program *program, const struct mst_program_step *step)
{
    program->values[0] = cast_features(program, step);
    for (size_t i = 0; i < program->n_ops; i++) {
        const struct op *op = &program->ops[i];
        const float *in = program->values[i];
        if (op->class->forward != NULL)
            op->class->forward(program, op, step, in);
        program->values[i + 1] = op->out != NULL ? op->out : in;
    }
    finish_output(program, step, &program->outputs[0]);
}

static bool features_are_finite(const struct mst_program *program, const struct mst_program_step *step)
{
    size_t n = step->n_examples * program->model->layers[0].n_in;
    return program->input_dtype != MST_DTYPE_F32 ||
           program->device->ops->all_finite(program->device, n, step->inputs[0]);
}

static void find_bad_layer(struct mst_program *program, const struct mst_program_step *step,
                           struct mst_program_result *result)
{
    struct mst_device *device = program->device;
    result->bad_layer_name = "the features";
    if (!features_are_finite(program, step))
        return;
    result->bad_layer = program->cast_layer;
    result->bad_layer_name = program->model->layers[program->cast_layer].name;
    if (!device->ops->all_finite(device, step->n_examples * program->model->layers[0].n_in, program->values[0]))
        return;
    for (size_t i = 0; i < program->n_ops; i++) {
        const struct mst_layer *layer = program->ops[i].layer;
        result->bad_layer = program->ops[i].index;
        result->bad_layer_name = layer->name;
        if (!device->ops->all_finite(device, step->n_examples * layer->n_out, program->values[i + 1]))
            return;
    }
    result->bad_layer = program->model->n_layers;
    result->bad_layer_name = "the loss";
}

static void run_backward(struct mst_program *program, const struct mst_program_step *step)
{
    for (size_t i = program->n_ops; i-- > 0;) {
        const struct op *op = &program->ops[i];
        if (op->class->backward != NULL)
            op->class->backward(program, op, step, program->values[i]);
        if (!op->wants_input_gradient)
            return;
    }
}

mst_status mst_program_run(struct mst_program *program, const struct mst_program_step *step,
                           struct mst_program_result *result, struct mst_error *err)
{
    *result = (struct mst_program_result){.loss_is_finite = true};
    MST_TRY(check_step(program, step, err));
    run_forward(program, step);
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
