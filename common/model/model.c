// A Sequential in three passes: each layer is read by the table (layer.c), then shapes are inferred from the input
// on, then variables are made in layer order. The JSON is released afterwards; the model owns copies of the names, in
// an arena whose maximum bounds what a hostile file can make us hold.
#include "model/model.h"

#include "base/alloc.h"
#include "base/error.h"
#include "model_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODEL_ARENA_BYTES = 64 << 20 };

struct sequential {
    const char *name;
    const json_t *layers;
    const json_t *build_input_shape;
    bool trainable;
};

static mst_status read_layers(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    size_t n = json_array_size(value);
    if (!json_is_array(value) || n == 0 || n > MST_MODEL_MAX_LAYERS)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s should be a list of 1 to %d layers", path, MST_MODEL_MAX_LAYERS);
    *(const json_t **)out = value;
    return MST_OK;
}

static mst_status read_shape_list(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    (void)path;
    (void)err;
    *(const json_t **)out = json_is_array(value) ? value : NULL;
    return MST_OK;
}

static mst_status read_sequential(const json_t *json, struct sequential *out, struct mst_error *err)
{
    static const struct mst_config_field fields[] = {
        {"name", mst_config_text, offsetof(struct sequential, name)},
        {"trainable", mst_config_bool, offsetof(struct sequential, trainable)},
        {"dtype", mst_config_float32, 0},
        {"layers", read_layers, offsetof(struct sequential, layers)},
        {"build_input_shape", read_shape_list, offsetof(struct sequential, build_input_shape)},
    };
    struct mst_config_class object;
    *out = (struct sequential){.trainable = true};
    MST_TRY(mst_config_object(json, "model", &object, err));
    if (!object.has_envelope)
        return mst_fail(err, MST_INVALID_ARGUMENT, "this is no model: it should be what model.to_json() prints");
    if (strcmp(object.class_name, "Sequential") != 0)
        return mst_fail(err, MST_UNIMPLEMENTED, "class_name '%.64s' is not built yet; Sequential is",
                        object.class_name);
    MST_TRY(mst_config_fields(object.config, "config", fields, sizeof fields / sizeof fields[0], out, err));
    if (out->name == NULL || strlen(out->name) > MST_MODEL_MAX_NAME_BYTES)
        return mst_fail(err, MST_INVALID_ARGUMENT, "config.name is missing or longer than %d bytes",
                        MST_MODEL_MAX_NAME_BYTES);
    if (out->layers == NULL)
        return mst_fail(err, MST_INVALID_ARGUMENT, "config has no layers");
    if (!out->trainable)
        return mst_fail(err, MST_UNIMPLEMENTED, "config.trainable is false: frozen models are not built yet");
    if (out->build_input_shape == NULL) {
        const json_t *shape = json_object_get(json_object_get(json, "build_config"), "input_shape");
        out->build_input_shape = json_is_array(shape) ? shape : NULL;
    }
    return MST_OK;
}

// Layer names are unique, as Keras demands: variables are named after them.
static mst_status check_unique(const struct mst_layer *layers, size_t n, struct mst_error *err)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++) {
            if (strcmp(layers[i].name, layers[j].name) == 0)
                return mst_fail(err, MST_INVALID_ARGUMENT,
                                "layers[%zu] and layers[%zu] are both named '%.64s'; names must "
                                "be unique",
                                j, i, layers[i].name);
        }
    }
    return MST_OK;
}

// The shape of one example: from the InputLayer, or what the model was built for.
static mst_status find_input(struct mst_model *model, const struct sequential *seq, struct mst_error *err)
{
    struct mst_layer *first = &model->layers[0];
    if (first->kind == MST_LAYER_INPUT && !first->has_input_shape)
        return mst_fail(err, MST_INVALID_ARGUMENT, "layers[0] '%.64s' (InputLayer) has no batch_shape", first->name);
    if (first->has_input_shape)
        model->input_shape = first->input_shape;
    else if (first->built_known)
        model->input_shape = first->built_shape;
    else if (seq->build_input_shape != NULL)
        return mst_layer_batch_shape(seq->build_input_shape, "config.build_input_shape", &model->input_shape, err);
    else
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "the shape of the input is not known; begin the model with "
                        "keras.Input(shape), or build it before to_json()");
    return MST_OK;
}

static mst_status infer_shapes(struct mst_model *model, struct mst_error *err)
{
    const struct mst_shape *shape = &model->input_shape;
    const char *before = "input";
    size_t n_skipped = model->layers[0].kind == MST_LAYER_INPUT;
    for (size_t i = 0; i < model->n_layers; i++) {
        struct mst_layer *layer = &model->layers[i];
        char path[MST_CONFIG_PATH_BYTES];
        snprintf(path, sizeof path, "layers[%zu]", i);
        if (i >= n_skipped && layer->kind == MST_LAYER_INPUT)
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s '%.64s' is an InputLayer, which can only stand first", path,
                            layer->name);
        MST_TRY(mst_layer_infer(layer, shape, before, path, err));
        shape = &layer->out;
        before = layer->name;
    }
    if (n_skipped == model->n_layers)
        return mst_fail(err, MST_INVALID_ARGUMENT, "the model has no layer but its InputLayer");
    model->n_layers -= n_skipped;
    model->layers += n_skipped;
    return MST_OK;
}

static mst_status add_variable(struct mst_model *model, size_t layer_index, const char *suffix,
                               const struct mst_initializer *init, const struct mst_shape *shape, struct mst_error *err)
{
    struct mst_variable *v = &model->variables[model->n_variables];
    const char *layer = model->layers[layer_index].name;
    char name[MST_MODEL_MAX_NAME_BYTES + 16];
    char text[MST_SHAPE_TEXT_BYTES];
    int len = snprintf(name, sizeof name, "%s/%s", layer, suffix);
    char *copy;
    MST_TRY(mst_arena_text(&model->arena, name, (size_t)len, &copy));
    *v = (struct mst_variable){.name = copy, .layer = layer_index, .shape = *shape, .initializer = *init};
    MST_TRY(mst_initializer_check(init, shape, name, err));
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
    MST_TRY(mst_arena_alloc_array(&model->arena, 2 * model->n_layers, sizeof *model->variables, &memory));
    model->variables = memory;
    for (size_t i = 0; i < model->n_layers; i++) {
        struct mst_layer *layer = &model->layers[i];
        if (layer->kind != MST_LAYER_DENSE)
            continue;
        if (!layer->trainable)
            return mst_fail(err, MST_UNIMPLEMENTED,
                            "layer '%.64s' (%s) has trainable false: frozen layers are not built yet", layer->name,
                            layer->class_name);
        struct mst_shape kernel = {.rank = 2, .dims = {layer->in.dims[layer->in.rank - 1], layer->units}};
        struct mst_shape bias = {.rank = 1, .dims = {layer->units}};
        layer->kernel = model->n_variables;
        MST_TRY(add_variable(model, i, "kernel", &layer->kernel_initializer, &kernel, err));
        if (layer->use_bias) {
            layer->bias = model->n_variables;
            MST_TRY(add_variable(model, i, "bias", &layer->bias_initializer, &bias, err));
        }
    }
    if (model->n_variables == 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "the model has no variables; there is nothing to train");
    return MST_OK;
}

static mst_status own_names(struct mst_model *model, const struct sequential *seq)
{
    char *copy;
    MST_TRY(mst_arena_text(&model->arena, seq->name, strlen(seq->name), &copy));
    model->name = copy;
    for (size_t i = 0; i < model->n_layers; i++) {
        MST_TRY(mst_arena_text(&model->arena, model->layers[i].name, strlen(model->layers[i].name), &copy));
        model->layers[i].name = copy;
        model->layers[i].data_format = NULL;
    }
    // Without an InputLayer, what Keras would name the one that it makes.
    model->input_name = model->layers[0].kind == MST_LAYER_INPUT ? model->layers[0].name : "input_layer";
    return MST_OK;
}

static mst_status build(struct mst_model *model, const json_t *json, struct mst_error *err)
{
    struct sequential seq;
    void *memory;
    MST_TRY(read_sequential(json, &seq, err));
    model->n_layers = json_array_size(seq.layers);
    MST_TRY(mst_arena_alloc_array(&model->arena, model->n_layers, sizeof *model->layers, &memory));
    model->layers = memory;
    for (size_t i = 0; i < model->n_layers; i++) {
        char path[MST_CONFIG_PATH_BYTES];
        snprintf(path, sizeof path, "layers[%zu]", i);
        MST_TRY(mst_layer_parse(json_array_get(seq.layers, i), path, &model->layers[i], err));
    }
    MST_TRY(own_names(model, &seq));
    MST_TRY(check_unique(model->layers, model->n_layers, err));
    MST_TRY(find_input(model, &seq, err));
    MST_TRY(infer_shapes(model, err));
    return make_variables(model, err);
}

mst_status mst_model_parse(struct mst_bytes text, const char *file, struct mst_model **out, struct mst_error *err)
{
    json_error_t where;
    *out = NULL;
    json_t *json = json_loadb(text.data != NULL ? text.data : "", text.len, JSON_REJECT_DUPLICATES, &where);
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
    free(model);
}

const char *mst_model_name(const struct mst_model *model)
{
    return model->name;
}

size_t mst_model_n_inputs(const struct mst_model *model)
{
    (void)model;
    return 1;
}

const char *mst_model_input_name(const struct mst_model *model, size_t input)
{
    MST_ASSERT(input == 0);
    return model->input_name;
}

const struct mst_shape *mst_model_input_shape(const struct mst_model *model, size_t input)
{
    MST_ASSERT(input == 0);
    return &model->input_shape;
}

enum mst_dtype mst_model_input_dtype(const struct mst_model *model, size_t input)
{
    (void)model;
    MST_ASSERT(input == 0);
    return MST_DTYPE_F32;
}

size_t mst_model_n_outputs(const struct mst_model *model)
{
    (void)model;
    return 1;
}

const char *mst_model_output_name(const struct mst_model *model, size_t output)
{
    MST_ASSERT(output == 0);
    return model->layers[model->n_layers - 1].name;
}

const struct mst_shape *mst_model_output_shape(const struct mst_model *model, size_t output)
{
    MST_ASSERT(output == 0);
    return &model->layers[model->n_layers - 1].out;
}

size_t mst_model_n_layers(const struct mst_model *model)
{
    return model->n_layers;
}

const char *mst_model_layer_name(const struct mst_model *model, size_t layer)
{
    MST_ASSERT(layer < model->n_layers);
    return model->layers[layer].name;
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
