// Laying a program out: which operations there are, who reads whom, where gradients go. Leading views and the first
// Rescaling join the cast of an input's raw numbers. A softmax or sigmoid that ends an output becomes an operation of
// its own where a cross-entropy takes the logits in its place; it runs only if somebody wants its value.
#include "base/alloc.h"
#include "base/error.h"
#include "program_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

// The node of the softmax or sigmoid that ends an output, or SIZE_MAX.
static size_t logits_node(const struct mst_program *program, size_t output)
{
    const struct mst_model *model = program->model;
    size_t i = model->outputs[output];
    while (i >= model->n_inputs && passes_on(program, &model->layers[model->nodes[i].layer]))
        i = model->nodes[i].inputs[0];
    if (i < model->n_inputs || model->nodes[i].is_turned)
        return SIZE_MAX;
    return keeps_logits(&model->layers[model->nodes[i].layer]) ? i : SIZE_MAX;
}

// The operations of a node while they are made.
struct making {
    size_t *of_node;   // the operation whose value is the node's
    size_t *logits_of; // the one that makes its logits, or SIZE_MAX
    bool *splits;      // its activation is an operation of its own
    size_t n_op_inputs;
};

static bool has_activity(const struct mst_layer *layer)
{
    return layer->activity.l1 != 0 || layer->activity.l2 != 0;
}

static struct op *new_op(struct mst_program *program, struct making *making, const struct mst_node *node,
                         size_t n_inputs)
{
    struct op *op = &program->ops[program->n_ops];
    op->index = program->n_ops++;
    op->node = node;
    op->layer = node->layer != SIZE_MAX ? &program->model->layers[node->layer] : NULL;
    op->inputs = program->op_inputs + making->n_op_inputs;
    op->n_inputs = n_inputs;
    op->columns = node->out.rank > 0 ? node->out.dims[node->out.rank - 1] : 1;
    op->activation = mst_activation_default(MST_ACTIVATION_LINEAR);
    making->n_op_inputs += n_inputs;
    return op;
}

static void make_layer_op(struct mst_program *program, struct making *making, size_t index)
{
    const struct mst_node *node = &program->model->nodes[index];
    struct op *op = new_op(program, making, node, node->n_inputs);
    enum mst_program_mode mode = program->options.mode;
    MST_ASSERT(op->layer != NULL);
    for (size_t k = 0; k < node->n_inputs; k++)
        op->inputs[k].value = making->of_node[node->inputs[k]];
    op->class = mst_op_class_of(node->operand.side != MST_OPERAND_NONE ? MST_LAYER_RESCALING : op->layer->kind, mode);
    if (node->is_turned)
        op->class = &mst_op_softmax;
    op->activation = op->layer->activation;
    op->has_activity = has_activity(op->layer) && !making->splits[index];
    making->of_node[index] = op->index;
    making->logits_of[index] = SIZE_MAX;
    if (!making->splits[index])
        return;
    op->activation = mst_activation_default(MST_ACTIVATION_LINEAR);
    if (op->layer->kind == MST_LAYER_ACTIVATION)
        op->class = &mst_op_view;
    struct op *last = new_op(program, making, node, 1);
    last->inputs[0].value = op->index;
    last->class = mst_op_class_of(MST_LAYER_ACTIVATION, mode);
    last->activation = last->layer->activation;
    last->is_activation = true;
    last->has_activity = has_activity(last->layer);
    making->logits_of[index] = op->index;
    making->of_node[index] = last->index;
}

static void plan_outputs(struct mst_program *program, struct making *making)
{
    const struct mst_model *model = program->model;
    for (size_t i = 0; i < model->n_outputs; i++) {
        struct program_output *output = &program->outputs[i];
        size_t logits = logits_node(program, i);
        output->n_values = model->nodes[model->outputs[i]].n_out;
        if (program->has_loss) {
            output->needs = mst_program_output_needs(&program->compile, i, output->n_values, logits != SIZE_MAX);
            output->has_loss = program->compile.losses[i].is_given;
        }
        if (logits != SIZE_MAX && (output->needs.logits || output->needs.metric_logits))
            making->splits[logits] = true;
    }
}

static void find_outputs(struct mst_program *program, const struct making *making)
{
    const struct mst_model *model = program->model;
    bool trains = program->options.mode == MST_PROGRAM_TRAIN;
    for (size_t i = 0; i < model->n_outputs; i++) {
        struct program_output *output = &program->outputs[i];
        size_t node = logits_node(program, i);
        size_t logits = node != SIZE_MAX ? making->logits_of[node] : SIZE_MAX;
        output->result_value = making->of_node[model->outputs[i]];
        output->loss_value = output->result_value;
        output->logits_value = output->needs.logits || output->needs.metric_logits ? logits : SIZE_MAX;
        if (logits == SIZE_MAX || !output->needs.logits)
            continue;
        output->loss_value = logits;
        output->loss_takes_logits = true;
        // In training only metrics look at the result, and the largest of a softmax is that of its logits; sigmoids
        // may be equal.
        if (trains && !output->needs.probabilities &&
            program->ops[making->of_node[node]].activation.kind != MST_ACTIVATION_SIGMOID)
            output->result_value = output->loss_value;
    }
}

static void make_ops(struct mst_program *program)
{
    const struct mst_model *model = program->model;
    struct making making = {.of_node = mst_alloc_array(model->n_nodes, sizeof(size_t)),
                            .logits_of = mst_alloc_array(model->n_nodes, sizeof(size_t)),
                            .splits = mst_alloc_array(model->n_nodes, sizeof(bool))};
    size_t n_inputs = model->n_nodes;
    for (size_t i = 0; i < model->n_nodes; i++)
        n_inputs += model->nodes[i].n_inputs;
    program->ops = mst_alloc_array(2 * model->n_nodes, sizeof *program->ops);
    program->op_inputs = mst_alloc_array(n_inputs, sizeof *program->op_inputs);
    plan_outputs(program, &making);
    for (size_t i = 0; i < model->n_nodes; i++) {
        if (i >= model->n_inputs) {
            make_layer_op(program, &making, i);
            continue;
        }
        making.of_node[i] = new_op(program, &making, &model->nodes[i], 0)->index;
        making.logits_of[i] = SIZE_MAX;
        program->ops[i].class = &mst_op_view;
    }
    find_outputs(program, &making);
    program->values = mst_alloc_array(program->n_ops, sizeof *program->values);
    free(making.of_node);
    free(making.logits_of);
    free(making.splits);
}

// Only what loss, metrics and results depend on runs.
static void find_readers(struct mst_program *program)
{
    for (size_t i = 0; i < program->model->n_inputs; i++)
        program->ops[i].runs = true;
    for (size_t i = 0; i < program->model->n_outputs; i++) {
        const struct program_output *output = &program->outputs[i];
        struct op *loss = &program->ops[output->loss_value];
        struct op *result = &program->ops[output->result_value];
        loss->runs = result->runs = true;
        loss->n_readers++;
        if (result != loss)
            result->n_readers++;
        if (output->logits_value != SIZE_MAX && output->logits_value != output->loss_value) {
            program->ops[output->logits_value].runs = true;
            program->ops[output->logits_value].n_readers++;
        }
    }
    for (size_t i = program->n_ops; i-- > 0;) {
        struct op *op = &program->ops[i];
        op->runs = op->runs || (op->has_activity && program->has_loss);
        for (size_t k = 0; k < op->n_inputs && op->runs; k++) {
            program->ops[op->inputs[k].value].runs = true;
            program->ops[op->inputs[k].value].n_readers++;
        }
    }
}

// The operation that alone reads a value, or NULL.
static struct op *only_reader(struct mst_program *program, size_t value)
{
    if (program->ops[value].n_readers != 1)
        return NULL;
    for (size_t i = value + 1; i < program->n_ops; i++) {
        struct op *op = &program->ops[i];
        for (size_t k = 0; k < op->n_inputs && op->runs; k++)
            if (op->inputs[k].value == value)
                return op;
    }
    return NULL;
}

static bool is_output(const struct mst_program *program, size_t value)
{
    bool is = false;
    for (size_t i = 0; i < program->model->n_outputs; i++)
        is = is || program->outputs[i].loss_value == value || program->outputs[i].result_value == value;
    return is;
}

// What the cast of an input does besides: views, and one Rescaling among them.
static void plan_cast(struct mst_program *program, size_t index)
{
    struct program_input *input = &program->inputs[index];
    size_t value = index;
    input->dtype = program->options.input_dtypes[index];
    input->scale = 1.0f;
    input->layer = SIZE_MAX;
    for (;;) {
        struct op *op = only_reader(program, value);
        if (op == NULL || op->n_inputs != 1 || is_output(program, op->index))
            break;
        value = op->index;
        if (op->layer->kind == MST_LAYER_VIEW)
            continue;
        bool rescales = op->layer->kind == MST_LAYER_RESCALING || op->node->operand.side != MST_OPERAND_NONE;
        if (!rescales || input->layer != SIZE_MAX)
            break;
        input->layer = op->node->layer;
        input->scale = (float)op->node->scale;
        input->offset = (float)op->node->offset;
        op->class = &mst_op_view;
    }
    input->casts = input->layer != SIZE_MAX || input->dtype != MST_DTYPE_F32;
}

static bool trains_weight(const struct mst_program *program, const struct op *op, size_t weight)
{
    size_t variable = op->layer != NULL ? op->layer->variables[weight] : SIZE_MAX;
    return variable != SIZE_MAX && program->model->variables[variable].update == MST_UPDATE_OPTIMIZER;
}

static void find_wanted(struct mst_program *program)
{
    for (size_t i = 0; i < program->n_ops; i++) {
        struct op *op = &program->ops[i];
        for (size_t w = 0; w < MST_LAYER_MAX_WEIGHTS; w++)
            op->wants_gradient = op->wants_gradient || (trains_weight(program, op, w) && !op->is_activation);
        for (size_t k = 0; k < op->n_inputs && !op->class->cuts_gradient; k++) {
            op->inputs[k].wants_gradient = program->ops[op->inputs[k].value].wants_gradient;
            op->wants_gradient = op->wants_gradient || op->inputs[k].wants_gradient;
        }
    }
}

// Who is the first to write a gradient, and who adds to it.
static void plan_inputs(struct mst_program *program, struct op *op)
{
    if (op->has_activity && op->runs && op->wants_gradient && !op->gets_gradient) {
        op->gets_gradient = op->starts_gradient = true;
        op->gradient_born = 2 * program->n_ops - op->index;
    }
    for (size_t k = 0; k < op->n_inputs; k++) {
        struct op_input *in = &op->inputs[k];
        struct op *from = &program->ops[in->value];
        in->wants_gradient = in->wants_gradient && op->gets_gradient;
        if (!in->wants_gradient)
            continue;
        in->adds = from->gets_gradient;
        if (!from->gets_gradient)
            from->gradient_born = 2 * program->n_ops - op->index;
        from->gets_gradient = true;
    }
}

// Of a layer called several times: who writes its grads first, and who completes them. last: of each variable.
static void plan_weights(const struct mst_program *program, struct op *op, struct op_gradient **last)
{
    for (size_t w = 0; w < MST_LAYER_MAX_WEIGHTS; w++) {
        if (!op->gets_gradient || op->is_activation || !trains_weight(program, op, w))
            continue;
        size_t variable = op->layer->variables[w];
        op->gradients[w] = (struct op_gradient){.is_trained = true, .adds = last[variable] != NULL, .is_last = true};
        if (last[variable] != NULL)
            last[variable]->is_last = false;
        last[variable] = &op->gradients[w];
    }
}

static void plan_gradients(struct mst_program *program)
{
    const struct mst_model *model = program->model;
    struct op_gradient **last = mst_alloc_array(model->n_variables, sizeof(struct op_gradient *));
    find_wanted(program);
    for (size_t i = 0; i < model->n_outputs; i++) {
        struct program_output *output = &program->outputs[i];
        struct op *op = &program->ops[output->loss_value];
        if (!output->has_loss || !op->wants_gradient)
            continue;
        output->adds = op->gets_gradient;
        op->gets_gradient = true;
        op->gradient_born = program->n_ops;
    }
    for (size_t i = program->n_ops; i-- > 0;) {
        plan_inputs(program, &program->ops[i]);
        plan_weights(program, &program->ops[i], last);
    }
    for (size_t v = 0; v < model->n_variables; v++)
        program->untrained[v] = last[v] == NULL && model->variables[v].update == MST_UPDATE_OPTIMIZER;
    free((void *)last);
}

static void name_streams(struct mst_program *program)
{
    size_t bytes = 0;
    for (size_t i = 0; i < program->n_ops; i++)
        bytes += program->ops[i].layer != NULL ? strlen(program->ops[i].layer->path) + 48 : 0;
    program->names = mst_alloc_array(bytes + 1, 1);
    char *at = program->names;
    for (size_t i = 0; i < program->n_ops; i++) {
        struct op *op = &program->ops[i];
        if (op->layer == NULL)
            continue;
        op->random_name = at;
        size_t room = strlen(op->layer->path) + 48;
        if (op->node->call == 0)
            snprintf(at, room, "dropout/%s", op->layer->path);
        else
            snprintf(at, room, "dropout/%s/call_%zu", op->layer->path, op->node->call);
        at += strlen(at) + 1;
    }
}

static mst_status check_ops(const struct mst_program *program, struct mst_error *err)
{
    for (size_t i = 0; i < program->n_ops; i++) {
        const struct op *op = &program->ops[i];
        if (op->class->update != NULL && op->node->call > 0 && op->layer->trainable &&
            program->options.mode == MST_PROGRAM_TRAIN)
            return mst_fail(err, MST_UNIMPLEMENTED,
                            "layer '%.64s' (%s) is called more than once; to train its moving averages then is not "
                            "built yet",
                            op->layer->path, op->layer->class_name);
        if (!program->device->ops->supports_activation(program->device, op->activation.kind))
            return mst_fail(err, MST_UNIMPLEMENTED, "layer '%.64s': device %s has no activation '%s'", op->layer->path,
                            program->device->name, mst_activation_name(op->activation.kind));
    }
    return MST_OK;
}

static void plan_op(const struct mst_program *program, struct op *op)
{
    if (op->class->plan != NULL)
        op->class->plan(program, op);
    op->keeps_out = op->keeps_out || op->has_activity;
}

mst_status mst_program_plan(struct mst_program *program, struct mst_error *err)
{
    const struct mst_model *model = program->model;
    program->inputs = mst_alloc_array(model->n_inputs, sizeof *program->inputs);
    program->outputs = mst_alloc_array(model->n_outputs, sizeof *program->outputs);
    program->n_outputs = model->n_outputs;
    program->untrained = mst_alloc_array(model->n_variables + 1, sizeof *program->untrained);
    make_ops(program);
    find_readers(program);
    for (size_t i = 0; i < model->n_inputs; i++)
        plan_cast(program, i);
    MST_TRY(check_ops(program, err));
    if (program->options.mode == MST_PROGRAM_TRAIN)
        plan_gradients(program);
    for (size_t i = 0; i < program->n_ops; i++)
        plan_op(program, &program->ops[i]);
    name_streams(program);
    return mst_program_place(program, err);
}
