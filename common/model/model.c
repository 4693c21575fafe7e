// A model in three passes: layers and calls are read (graph.c), then the calls are written out as nodes, their shapes
// inferred from the inputs on (graph_build.c), then variables are made in layer order. The JSON is released
// afterwards; the model owns copies of the names, in an arena whose maximum bounds what a hostile file can make us
// hold.
#include "model/model.h"

#include "base/alloc.h"
#include "base/error.h"
#include "graph.h"
#include "model_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODEL_ARENA_BYTES = 64 << 20 };

static mst_status add_variable(struct mst_model *model, size_t layer_index, const struct mst_weight *weight,
                               struct mst_error *err)
{
    const struct mst_layer *layer = &model->layers[layer_index];
    const struct mst_shape *shape = &weight->shape;
    struct mst_variable *v = &model->variables[model->n_variables];
    char text[MST_SHAPE_TEXT_BYTES];
    size_t path_len = strlen(layer->path);
    size_t suffix_len = strlen(weight->suffix);
    void *memory;
    MST_TRY(mst_arena_alloc(&model->arena, path_len + suffix_len + 2, &memory));
    char *name = memory;
    snprintf(name, path_len + suffix_len + 2, "%s/%s", layer->path, weight->suffix);
    *v = (struct mst_variable){.name = name,
                               .layer = layer_index,
                               .shape = *shape,
                               .initializer = weight->initializer,
                               .update = weight->update,
                               .is_adapted = weight->is_adapted && layer->is_live,
                               .momentum = weight->momentum,
                               .l1 = weight->regularizer.l1,
                               .l2 = weight->regularizer.l2};
    // A frozen layer, and one that no output depends on, keep what they have; but a regularizer is at work there, too.
    if (!layer->trainable || (!layer->is_live && v->l1 == 0 && v->l2 == 0))
        v->update = MST_UPDATE_FROZEN;
    MST_TRY(mst_initializer_check(&weight->initializer, shape, name, err));
    const uint64_t limit = MST_MODEL_MAX_VARIABLE_BYTES / sizeof(float);
    double elements = 1;
    for (size_t i = 0; i < shape->rank; i++)
        elements *= (double)shape->dims[i];
    if (mst_shape_count(shape, &v->n_elements) != MST_OK || v->n_elements > limit - model->n_parameters)
        return mst_fail(
            err, MST_INVALID_ARGUMENT,
            "variable '%s' of shape %s has %.12g bytes, which brings the model over its limit of %llu bytes", name,
            mst_shape_print(shape, text, sizeof text), elements * (double)sizeof(float),
            (unsigned long long)MST_MODEL_MAX_VARIABLE_BYTES);
    model->n_parameters += v->n_elements;
    model->n_variables++;
    return MST_OK;
}

static mst_status make_variables(struct mst_model *model, struct mst_error *err)
{
    void *memory;
    MST_TRY(mst_arena_alloc_array(&model->arena, MST_LAYER_MAX_WEIGHTS * model->n_layers, sizeof *model->variables,
                                  &memory));
    model->variables = memory;
    for (size_t i = 0; i < model->n_layers; i++) {
        struct mst_layer *layer = &model->layers[i];
        for (size_t w = 0; w < MST_LAYER_MAX_WEIGHTS; w++) {
            if (layer->weights[w].suffix == NULL)
                continue;
            layer->variables[w] = model->n_variables;
            MST_TRY(add_variable(model, i, &layer->weights[w], err));
        }
    }
    if (model->n_variables == 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "the model has no variables; there is nothing to train");
    return MST_OK;
}

static mst_status read_model(struct mst_model *model, struct mst_graph_reader *reader, const json_t *json,
                             struct mst_error *err)
{
    struct mst_scope *scope;
    char *name;
    MST_TRY(mst_graph_read(reader, json, "", "", &scope, err));
    if (model->n_layers == 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "the model has no layer but its InputLayer");
    MST_TRY(mst_arena_text(&model->arena, scope->name, strlen(scope->name), &name));
    model->name = name;
    MST_TRY(mst_graph_build(model, scope, err));
    for (size_t i = 0; i < model->n_layers; i++)
        model->layers[i].mean_json = model->layers[i].variance_json = NULL; // the file's
    return make_variables(model, err);
}

static mst_status build(struct mst_model *model, const json_t *json, struct mst_error *err)
{
    struct mst_graph_reader reader = {.model = model};
    mst_arena_init(&reader.arena, MODEL_ARENA_BYTES);
    mst_status status = read_model(model, &reader, json, err);
    mst_arena_fini(&reader.arena);
    return status;
}

mst_status mst_model_parse(struct mst_bytes text, const char *file, struct mst_model **out, struct mst_error *err)
{
    json_error_t where;
    *out = NULL;
    json_t *json = json_loadb(text.data != NULL ? text.data : "", text.len, JSON_REJECT_DUPLICATES, &where);
    if (json == NULL && text.data != NULL && text.len > 0 && strchr("{[ \t\r\n", *(const char *)text.data) == NULL)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s: this is no JSON; give what model.to_json() of Keras prints, or the archive of "
                        "model.save(\"my.keras\")",
                        file);
    if (json == NULL)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s:%d:%d: %s", file, where.line < 1 ? 1 : where.line,
                        where.column < 1 ? 1 : where.column, where.text);
    struct mst_model *model = mst_alloc(sizeof *model);
    mst_arena_init(&model->arena, MODEL_ARENA_BYTES);
    if (err != NULL)
        err->text[0] = '\0';
    mst_status status = build(model, json, err);
    json_decref(json);
    if (status != MST_OK) {
        mst_model_free(model);
        if (err != NULL && err->text[0] == '\0')
            return mst_fail(err, status, "%s: no memory for the model's layers (at most %d bytes)", file,
                            MODEL_ARENA_BYTES);
        return mst_fail_prefix(err, status, "%s", file);
    }
    *out = model;
    return MST_OK;
}

void mst_model_free(struct mst_model *model)
{
    if (model == NULL)
        return;
    mst_arena_fini(&model->arena);
    free(model->layers);
    free(model->nodes);
    free(model);
}

const char *mst_model_name(const struct mst_model *model)
{
    return model->name;
}

size_t mst_model_n_inputs(const struct mst_model *model)
{
    return model->n_inputs;
}

const char *mst_model_input_name(const struct mst_model *model, size_t input)
{
    MST_ASSERT(input < model->n_inputs);
    return model->inputs[input].name;
}

const struct mst_shape *mst_model_input_shape(const struct mst_model *model, size_t input)
{
    MST_ASSERT(input < model->n_inputs);
    return &model->nodes[input].out;
}

enum mst_dtype mst_model_input_dtype(const struct mst_model *model, size_t input)
{
    MST_ASSERT(input < model->n_inputs);
    return model->inputs[input].dtype;
}

size_t mst_model_n_outputs(const struct mst_model *model)
{
    return model->n_outputs;
}

const char *mst_model_output_name(const struct mst_model *model, size_t output)
{
    MST_ASSERT(output < model->n_outputs);
    return model->output_names[output];
}

const struct mst_shape *mst_model_output_shape(const struct mst_model *model, size_t output)
{
    MST_ASSERT(output < model->n_outputs);
    return &model->nodes[model->outputs[output]].out;
}

const char *mst_model_node_name(const struct mst_model *model, size_t node)
{
    size_t layer = model->nodes[node].layer;
    return layer == SIZE_MAX ? model->inputs[node].name : model->layers[layer].path;
}

size_t mst_model_n_layers(const struct mst_model *model)
{
    return model->n_layers;
}

const char *mst_model_layer_name(const struct mst_model *model, size_t layer)
{
    MST_ASSERT(layer < model->n_layers);
    return model->layers[layer].path;
}

size_t mst_model_n_variables(const struct mst_model *model)
{
    return model->n_variables;
}

const struct mst_variable *mst_model_variable(const struct mst_model *model, size_t index)
{
    MST_ASSERT(index < model->n_variables);
    return &model->variables[index];
}

uint64_t mst_model_n_parameters(const struct mst_model *model)
{
    return model->n_parameters;
}
