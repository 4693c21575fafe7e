// Laying a program out. Every buffer is sized for the largest batch and placed in one arena, in two passes of the
// same code: the first counts bytes, the second hands out pointers. Leading views and the first Rescaling join the
// cast of the raw features; a softmax that ends the model is left to a cross-entropy that takes logits.
#include "base/alloc.h"
#include "base/error.h"
#include "program_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Hands out slices of the arena, or only counts while there is none.
struct layout {
    char *memory;
    uint64_t used_bytes;
};

static float *place(struct layout *layout, uint64_t n_floats)
{
    const uint64_t align = MST_ALIGNMENT;
    float *at = layout->memory != NULL ? (float *)(void *)(layout->memory + layout->used_bytes) : NULL;
    layout->used_bytes += (n_floats * sizeof(float) + align - 1) / align * align;
    return at;
}

// Keras remembers the logits of a softmax or sigmoid, and a cross-entropy takes them in its place, also for a
// sigmoid, whose probabilities it would have divided by their sum.
static bool keeps_logits(const struct mst_layer *layer)
{
    return (layer->kind == MST_LAYER_DENSE || layer->kind == MST_LAYER_ACTIVATION) &&
           (layer->activation.kind == MST_ACTIVATION_SOFTMAX || layer->activation.kind == MST_ACTIVATION_SIGMOID);
}

// Layers that return the very tensor that they are given, so that Keras still finds its logits.
static bool passes_on(const struct mst_program *program, const struct mst_layer *layer)
{
    if (layer->kind == MST_LAYER_DROPOUT)
        return program->options.mode != MST_PROGRAM_TRAIN || layer->rate == 0;
    return layer->kind == MST_LAYER_ACTIVATION && layer->activation.kind == MST_ACTIVATION_LINEAR;
}

// How many layers the cast of the features does: views, and one Rescaling among them.
static size_t plan_cast(struct mst_program *program)
{
    const struct mst_model *model = program->model;
    bool rescales = false;
    size_t i = 0;
    program->cast_scale = 1.0f;
    program->cast_offset = 0.0f;
    for (; i + 1 < model->n_layers; i++) {
        const struct mst_layer *layer = &model->layers[i];
        if (layer->kind == MST_LAYER_VIEW)
            continue;
        if (layer->kind != MST_LAYER_RESCALING || rescales)
            break;
        rescales = true;
        program->cast_layer = i;
        program->cast_scale = (float)layer->scale;
        program->cast_offset = (float)layer->offset;
    }
    program->casts = rescales || program->input_dtype != MST_DTYPE_F32;
    return i;
}

// The softmax or sigmoid that ends the model, or SIZE_MAX.
static size_t logits_layer(const struct mst_program *program)
{
    size_t i = program->model->n_layers - 1;
    while (i > 0 && passes_on(program, &program->model->layers[i]))
        i--;
    return keeps_logits(&program->model->layers[i]) ? i : SIZE_MAX;
}

static void plan_op(struct mst_program *program, struct op *op, size_t layer_index)
{
    const struct mst_layer *layer = &program->model->layers[layer_index];
    op->layer = layer;
    op->index = layer_index;
    op->class = mst_op_class_of(layer->kind, program->options.mode);
    op->columns = layer->out.rank > 0 ? layer->out.dims[layer->out.rank - 1] : 1;
    op->activation = layer->activation;
    if (layer_index != logits_layer(program) || !program->has_loss)
        return;
    struct program_output *output = &program->outputs[0];
    struct output_needs needs = mst_program_output_needs(&program->compile, 0, output->n_values);
    if (needs.logits) {
        output->loss_takes_logits = true;
        output->activation = layer->activation;
        op->activation = mst_activation_default(MST_ACTIVATION_LINEAR);
        if (layer->kind == MST_LAYER_ACTIVATION)
            op->class = mst_op_class_of(MST_LAYER_VIEW, program->options.mode);
    } else if (needs.metric_logits) {
        program->logits_op = (size_t)(op - program->ops);
        op->keeps_before = layer->kind == MST_LAYER_DENSE;
    }
}

// Nothing before the first variable needs a gradient.
static void plan_gradients(struct mst_program *program)
{
    bool has_variables = false;
    for (size_t i = 0; i < program->n_ops; i++) {
        program->ops[i].wants_input_gradient = has_variables;
        has_variables = has_variables || program->ops[i].layer->kind == MST_LAYER_DENSE;
    }
}

// What only loss and metrics need.
static void place_measured(struct mst_program *program, struct layout *layout, bool trains)
{
    for (size_t o = 0; o < program->n_outputs; o++) {
        struct program_output *output = &program->outputs[o];
        uint64_t n = (uint64_t)program->options.max_batch * output->n_values;
        struct output_needs needs = {0};
        if (program->has_loss)
            needs = mst_program_output_needs(&program->compile, o, output->n_values);
        // In training only metrics look at the output, and the largest of a softmax is that of its logits; sigmoids may
        // be equal.
        if (output->loss_takes_logits &&
            (!trains || output->activation.kind == MST_ACTIVATION_SIGMOID || needs.probabilities))
            output->probabilities = place(layout, n);
        if (needs.rows)
            output->label_values = place(layout, n);
        if (needs.soft_targets)
            output->soft_targets = place(layout, n);
    }
}

static void lay_out(struct mst_program *program, struct layout *layout)
{
    uint64_t batch = program->options.max_batch;
    uint64_t widest = program->outputs[0].n_values;
    bool trains = program->options.mode == MST_PROGRAM_TRAIN;
    layout->used_bytes = 0;
    if (program->casts)
        program->cast = place(layout, batch * program->model->layers[0].n_in);
    for (size_t i = 0; i < program->n_ops; i++) {
        struct op *op = &program->ops[i];
        const struct mst_layer *layer = op->layer;
        if (op->class->forward != NULL)
            op->out = place(layout, batch * layer->n_out);
        if (op->keeps_before ||
            (trains && layer->kind == MST_LAYER_DENSE && mst_activation_keeps(&op->activation) == MST_KEEPS_INPUT))
            op->before = place(layout, batch * layer->n_out);
        if (layer->n_out > widest)
            widest = layer->n_out;
        if (op->wants_input_gradient && layer->n_in > widest)
            widest = layer->n_in;
    }
    if (trains) {
        program->gradient = place(layout, batch * widest);
        program->gradient_spare = place(layout, batch * widest);
    }
    place_measured(program, layout, trains);
}

static void name_streams(struct mst_program *program)
{
    enum { NAME_BYTES = MST_MODEL_MAX_NAME_BYTES + 16 };
    program->names = mst_alloc_array(program->n_ops, NAME_BYTES);
    for (size_t i = 0; i < program->n_ops; i++) {
        char *name = program->names + i * NAME_BYTES;
        snprintf(name, NAME_BYTES, "dropout/%s", program->ops[i].layer->name);
        program->ops[i].random_name = name;
    }
}

static mst_status check_device(const struct mst_program *program, struct mst_error *err)
{
    for (size_t i = 0; i < program->n_ops; i++) {
        const struct op *op = &program->ops[i];
        if (!program->device->ops->supports_activation(program->device, op->activation.kind))
            return mst_fail(err, MST_UNIMPLEMENTED, "layer '%.64s': device %s has no activation '%s'", op->layer->name,
                            program->device->name, mst_activation_name(op->activation.kind));
    }
    return MST_OK;
}

mst_status mst_program_plan(struct mst_program *program, struct mst_error *err)
{
    struct layout layout = {0};
    void *memory;
    size_t first = plan_cast(program);
    program->n_ops = program->model->n_layers - first;
    program->logits_op = SIZE_MAX;
    program->ops = mst_alloc_array(program->n_ops, sizeof *program->ops);
    program->values = mst_alloc_array(program->n_ops + 1, sizeof *program->values);
    for (size_t i = 0; i < program->n_ops; i++)
        plan_op(program, &program->ops[i], first + i);
    MST_TRY(check_device(program, err));
    plan_gradients(program);
    name_streams(program);
    lay_out(program, &layout);
    if (layout.used_bytes > MST_PROGRAM_MAX_ARENA_BYTES)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED,
                        "a batch of %zu examples needs %llu bytes for this model; the limit is %llu; lower batch_size",
                        program->options.max_batch, (unsigned long long)layout.used_bytes,
                        (unsigned long long)MST_PROGRAM_MAX_ARENA_BYTES);
    program->arena_bytes = (size_t)layout.used_bytes;
    if (mst_try_alloc(program->arena_bytes + MST_ALIGNMENT, &memory) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for the %zu bytes of a batch of %zu examples",
                        program->arena_bytes, program->options.max_batch);
    program->memory = memory;
    layout.memory = memory;
    lay_out(program, &layout);
    return MST_OK;
}
