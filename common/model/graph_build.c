// Writing the calls out. A nested model disappears: its calls become nodes wherever it is called, so that a layer of a
// shared model has as many nodes as calls. What no output depends on is dropped at the end; a variable that only such
// nodes read is never trained, as in Keras.
#include "graph.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct build {
    struct mst_model *model;
    size_t room;
    size_t n_runs; // calls of models
};

static mst_status new_node(struct build *build, struct mst_node **out, struct mst_error *err)
{
    struct mst_model *model = build->model;
    *out = NULL;
    if (model->n_nodes == MST_MODEL_MAX_NODES)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "written out, the model's shared and nested models make more than %d calls of layers",
                        MST_MODEL_MAX_NODES);
    if (model->n_nodes == build->room) {
        build->room = build->room > 0 ? 2 * build->room : 32;
        model->nodes = mst_realloc_array(model->nodes, build->room, sizeof *model->nodes);
    }
    *out = &model->nodes[model->n_nodes++];
    **out = (struct mst_node){.layer = SIZE_MAX};
    return MST_OK;
}

static mst_status call_layer(struct build *build, size_t layer_index, const struct mst_graph_call *call,
                             const size_t *tensors, size_t *out, struct mst_error *err)
{
    struct mst_model *model = build->model;
    struct mst_layer *layer = &model->layers[layer_index];
    struct mst_node *node;
    void *memory;
    char where[MST_CONFIG_PATH_BYTES];
    MST_TRY(mst_arena_alloc_array(&model->arena, call->n_refs, sizeof *out, &memory));
    size_t *inputs = memory;
    for (size_t i = 0; i < call->n_refs; i++)
        inputs[i] = tensors[call->refs[i]];
    MST_TRY(new_node(build, &node, err));
    MST_ASSERT(node != NULL);
    node->layer = layer_index;
    node->call = layer->n_calls++;
    node->inputs = inputs;
    node->n_inputs = call->n_refs;
    node->operand = call->operand;
    snprintf(where, sizeof where, "%s '%.64s' (%s)", layer->place, layer->name, layer->class_name);
    struct mst_infer infer = {.model = model, .layer = layer, .node = node, .where = where};
    *out = model->n_nodes - 1;
    return mst_layer_infer(&infer, err);
}

static mst_status check_inputs(const struct build *build, const struct mst_graph_item *item, const size_t *in,
                               size_t n_in, struct mst_error *err)
{
    const struct mst_scope *scope = item->scope;
    char wanted[MST_SHAPE_TEXT_BYTES];
    char given[MST_SHAPE_TEXT_BYTES];
    if (n_in != scope->n_inputs)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s '%.64s' is called with %zu inputs; it has %zu", item->place,
                        item->name, n_in, scope->n_inputs);
    for (size_t i = 0; i < n_in; i++) {
        const struct mst_shape *shape = mst_graph_input_shape(scope, i);
        const struct mst_shape *got = &build->model->nodes[in[i]].out;
        if (shape != NULL && !mst_shape_equal(shape, got))
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s '%.64s' takes inputs of shape %s, but '%s' gives %s",
                            item->place, item->name, mst_layer_show_shape(shape, wanted),
                            mst_model_node_name(build->model, in[i]), mst_layer_show_shape(got, given));
    }
    return MST_OK;
}

static mst_status run_scope(struct build *build, const struct mst_scope *scope, const size_t *in, size_t *out,
                            struct mst_error *err);

static mst_status call_scope(struct build *build, const struct mst_graph_item *item, const struct mst_graph_call *call,
                             const size_t *tensors, size_t *out, struct mst_error *err)
{
    size_t *in = mst_alloc_array(call->n_refs, sizeof *in);
    for (size_t i = 0; i < call->n_refs; i++)
        in[i] = tensors[call->refs[i]];
    mst_status status = check_inputs(build, item, in, call->n_refs, err);
    if (status == MST_OK)
        status = run_scope(build, item->scope, in, out, err);
    free(in);
    return status;
}

static size_t number_of_input(const struct mst_scope *scope, size_t item)
{
    size_t i = 0;
    while (scope->inputs[i] != item)
        i++;
    return i;
}

static mst_status run_call(struct build *build, const struct mst_scope *scope, const struct mst_graph_call *call,
                           const size_t *in, size_t *tensors, struct mst_error *err)
{
    const struct mst_graph_item *item = &scope->items[call->item];
    size_t *out = tensors + call->first_tensor;
    if (item->kind == MST_ITEM_LAYER)
        return call_layer(build, item->layer, call, tensors, out, err);
    if (item->kind == MST_ITEM_SCOPE)
        return call_scope(build, item, call, tensors, out, err);
    *out = in[number_of_input(scope, call->item)];
    return MST_OK;
}

static mst_status run_scope(struct build *build, const struct mst_scope *scope, const size_t *in, size_t *out,
                            struct mst_error *err)
{
    mst_status status = MST_OK;
    if (++build->n_runs > MST_MODEL_MAX_NODES)
        return mst_fail(err, MST_INVALID_ARGUMENT, "written out, the model calls models more than %d times",
                        MST_MODEL_MAX_NODES);
    size_t *tensors = mst_alloc_array(scope->n_tensors, sizeof *tensors);
    for (size_t i = 0; i < scope->n_calls && status == MST_OK; i++)
        status = run_call(build, scope, &scope->calls[scope->order[i]], in, tensors, err);
    for (size_t i = 0; i < scope->n_outputs && status == MST_OK; i++)
        out[i] = tensors[scope->outputs[i]];
    free(tensors);
    return status;
}

static mst_status make_inputs(struct build *build, const struct mst_scope *scope, struct mst_error *err)
{
    struct mst_model *model = build->model;
    void *memory;
    MST_TRY(mst_arena_alloc_array(&model->arena, scope->n_inputs, sizeof *model->inputs, &memory));
    model->inputs = memory;
    for (size_t i = 0; i < scope->n_inputs; i++) {
        const struct mst_graph_item *item = &scope->items[scope->inputs[i]];
        const struct mst_shape *shape = mst_graph_input_shape(scope, i);
        struct mst_node *node;
        char where[MST_CONFIG_PATH_BYTES];
        char *name;
        if (shape == NULL)
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "the shape of the input is not known; begin the model with keras.Input(shape), or build "
                            "it before to_json()");
        MST_TRY(new_node(build, &node, err));
        MST_ASSERT(node != NULL);
        MST_TRY(mst_arena_text(&model->arena, item->name, strlen(item->name), &name));
        model->inputs[i] = (struct mst_model_input){.name = name, .dtype = item->input->input_dtype};
        model->n_inputs = i + 1;
        node->in = node->out = *shape;
        snprintf(where, sizeof where, "%s '%.64s' (InputLayer)", item->place, item->name);
        MST_TRY(mst_layer_count_example(shape, where, "input", &node->n_out, err));
        node->n_in = node->n_out;
    }
    return MST_OK;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// Where a model's inputs or outputs are a dict of n tensors, its keys name them, in the order that Python's tree has:
// sorted. New list of texts borrowed from the JSON, or NULL: no such dict.
static const char **keys_of(const json_t *layers, size_t n)
{
    if (!json_is_object(layers) || json_object_size(layers) != n)
        return NULL;
    const char **keys = mst_alloc_array(n, sizeof *keys);
    const char *key;
    json_t *ignored;
    size_t at = 0;
    bool are_names = true;
    json_object_foreach((json_t *)layers, key, ignored)
    {
        are_names = are_names && key[0] != '\0' && strlen(key) <= MST_MODEL_MAX_NAME_BYTES;
        keys[at++] = key;
    }
    qsort((void *)keys, n, sizeof *keys, compare_texts);
    if (are_names)
        return keys;
    free((void *)keys);
    return NULL;
}

static mst_status name_by_keys(struct mst_model *model, const struct mst_scope *scope)
{
    const char **in = keys_of(scope->input_layers, model->n_inputs);
    const char **out = keys_of(scope->output_layers, model->n_outputs);
    mst_status status = MST_OK;
    char *copy = NULL;
    for (size_t i = 0; in != NULL && i < model->n_inputs && status == MST_OK; i++) {
        status = mst_arena_text(&model->arena, in[i], strlen(in[i]), &copy);
        model->inputs[i].name = copy;
    }
    for (size_t i = 0; out != NULL && i < model->n_outputs && status == MST_OK; i++) {
        status = mst_arena_text(&model->arena, out[i], strlen(out[i]), &copy);
        model->output_names[i] = copy;
    }
    free((void *)out);
    free((void *)in);
    return status;
}

// As Keras 2 makes them unique: "sub", "sub_1".
static mst_status name_outputs(struct mst_model *model, const struct mst_scope *scope)
{
    for (size_t i = 0; i < model->n_outputs; i++) {
        const char *base = scope->items[scope->calls[scope->tensors[scope->outputs[i]]].item].name;
        char name[MST_MODEL_MAX_NAME_BYTES + 32];
        char *copy;
        size_t n_same = 0;
        for (size_t j = 0; j < i; j++)
            n_same += strcmp(base, scope->items[scope->calls[scope->tensors[scope->outputs[j]]].item].name) == 0;
        if (n_same == 0)
            snprintf(name, sizeof name, "%s", base);
        else
            snprintf(name, sizeof name, "%s_%zu", base, n_same);
        MST_TRY(mst_arena_text(&model->arena, name, strlen(name), &copy));
        model->output_names[i] = copy;
    }
    return name_by_keys(model, scope);
}

static void drop_dead_nodes(struct mst_model *model)
{
    bool *live = mst_alloc_array(model->n_nodes, sizeof *live);
    size_t *moved = mst_alloc_array(model->n_nodes, sizeof *moved);
    size_t n = 0;
    for (size_t i = 0; i < model->n_outputs; i++)
        live[model->outputs[i]] = true;
    for (size_t i = model->n_nodes; i-- > 0;) {
        live[i] = live[i] || i < model->n_inputs;
        for (size_t k = 0; k < model->nodes[i].n_inputs && live[i]; k++)
            live[model->nodes[i].inputs[k]] = true;
    }
    for (size_t i = 0; i < model->n_nodes; i++) {
        moved[i] = n;
        if (!live[i])
            continue;
        for (size_t k = 0; k < model->nodes[i].n_inputs; k++)
            model->nodes[i].inputs[k] = moved[model->nodes[i].inputs[k]];
        model->nodes[n++] = model->nodes[i];
        if (model->nodes[i].layer != SIZE_MAX)
            model->layers[model->nodes[i].layer].is_live = true;
    }
    for (size_t i = 0; i < model->n_outputs; i++)
        model->outputs[i] = moved[model->outputs[i]];
    model->n_nodes = n;
    free(live);
    free(moved);
}

mst_status mst_graph_build(struct mst_model *model, const struct mst_scope *scope, struct mst_error *err)
{
    struct build build = {.model = model};
    void *memory;
    MST_TRY(make_inputs(&build, scope, err));
    MST_TRY(mst_arena_alloc_array(&model->arena, scope->n_outputs, sizeof *model->outputs, &memory));
    model->outputs = memory;
    MST_TRY(mst_arena_alloc_array(&model->arena, scope->n_outputs, sizeof *model->output_names, &memory));
    model->output_names = memory;
    model->n_outputs = scope->n_outputs;
    size_t *in = mst_alloc_array(model->n_inputs, sizeof *in);
    for (size_t i = 0; i < model->n_inputs; i++)
        in[i] = i;
    mst_status status = run_scope(&build, scope, in, model->outputs, err);
    free(in);
    MST_TRY(status);
    MST_TRY(name_outputs(model, scope));
    drop_dead_nodes(model);
    return MST_OK;
}
