// Reading models: what a Sequential or Functional holds, the layers by their tables, and models within models. A
// layer goes into the model's list as it stands in the file; the JSON is borrowed until the graph is built.
#include "graph.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdio.h>
#include <string.h>

static mst_status read_layers(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    size_t n = json_array_size(value);
    if (!json_is_array(value) || n == 0 || n > MST_MODEL_MAX_LAYERS)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s should be a list of 1 to %d layers", path, MST_MODEL_MAX_LAYERS);
    *(const json_t **)out = value;
    return MST_OK;
}

static mst_status read_any(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    (void)path;
    (void)err;
    *(const json_t **)out = json_is_null(value) ? NULL : value;
    return MST_OK;
}

static mst_status read_shape_list(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    (void)path;
    (void)err;
    *(const json_t **)out = json_is_array(value) ? value : NULL;
    return MST_OK;
}

static bool is_model_class(const char *class_name)
{
    return class_name != NULL && (strcmp(class_name, "Sequential") == 0 || strcmp(class_name, "Functional") == 0 ||
                                  strcmp(class_name, "Model") == 0);
}

static mst_status check_model(const struct mst_scope *scope, const char *path, struct mst_error *err)
{
    if (scope->name == NULL || strlen(scope->name) > MST_MODEL_MAX_NAME_BYTES)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.name is missing or longer than %d bytes", path,
                        MST_MODEL_MAX_NAME_BYTES);
    if (scope->layers == NULL)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s has no layers", path);
    if (!scope->is_sequential && (scope->input_layers == NULL || scope->output_layers == NULL))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s has no %s", path,
                        scope->input_layers == NULL ? "input_layers" : "output_layers");
    return MST_OK;
}

static mst_status read_model(const json_t *json, struct mst_scope *scope, struct mst_error *err)
{
    static const struct mst_config_field fields[] = {
        {"name", mst_config_text, offsetof(struct mst_scope, name)},
        {"trainable", mst_config_bool, offsetof(struct mst_scope, trainable)},
        {"dtype", mst_config_float32, 0},
        {"layers", read_layers, offsetof(struct mst_scope, layers)},
        {"build_input_shape", read_shape_list, offsetof(struct mst_scope, build_input_shape)},
        {"input_layers", read_any, offsetof(struct mst_scope, input_layers)},
        {"output_layers", read_any, offsetof(struct mst_scope, output_layers)},
    };
    struct mst_config_class object;
    char path[MST_CONFIG_PATH_BYTES];
    snprintf(path, sizeof path, "%smodel", scope->prefix);
    MST_TRY(mst_config_object(json, path, &object, err));
    if (!object.has_envelope)
        return mst_fail(err, MST_INVALID_ARGUMENT, "this is no model: it should be what model.to_json() prints");
    if (!is_model_class(object.class_name))
        return mst_fail(err, MST_UNIMPLEMENTED,
                        "class_name '%.64s' is not built yet; Sequential and Functional models are", object.class_name);
    scope->is_sequential = strcmp(object.class_name, "Sequential") == 0;
    size_t n_fields = sizeof fields / sizeof fields[0] - (scope->is_sequential ? 2 : 0);
    snprintf(path, sizeof path, "%sconfig", scope->prefix);
    MST_TRY(mst_config_fields(object.config, path, fields, n_fields, scope, err));
    MST_TRY(check_model(scope, path, err));
    if (scope->build_input_shape == NULL) {
        const json_t *shape = json_object_get(json_object_get(json, "build_config"), "input_shape");
        scope->build_input_shape = json_is_array(shape) ? shape : NULL;
    }
    return MST_OK;
}

// Layer names are unique within a model, as Keras demands: variables are named after them.
static mst_status check_unique(const struct mst_scope *scope, struct mst_error *err)
{
    for (size_t i = 0; i < scope->n_items; i++) {
        for (size_t j = 0; j < i; j++) {
            if (scope->items[j].json != NULL && strcmp(scope->items[i].name, scope->items[j].name) == 0)
                return mst_fail(err, MST_INVALID_ARGUMENT, "%s and %s are both named '%.64s'; names must be unique",
                                scope->items[j].place, scope->items[i].place, scope->items[i].name);
        }
    }
    return MST_OK;
}

static mst_status print(struct mst_graph_reader *reader, char **out, const char *before, const char *after,
                        const char *end)
{
    char text[4 * MST_CONFIG_PATH_BYTES];
    int len = snprintf(text, sizeof text, "%s%s%s", before, after, end);
    return mst_arena_text(&reader->arena, text, (size_t)len < sizeof text ? (size_t)len : sizeof text - 1, out);
}

static mst_status add_layer(struct mst_graph_reader *reader, const struct mst_scope *scope,
                            const struct mst_layer *layer, struct mst_graph_item *item)
{
    struct mst_model *model = reader->model;
    char *text;
    if (model->n_layers == reader->layers_room) {
        reader->layers_room = reader->layers_room > 0 ? 2 * reader->layers_room : 16;
        model->layers = mst_realloc_array(model->layers, reader->layers_room, sizeof *model->layers);
    }
    struct mst_layer *own = &model->layers[model->n_layers];
    *own = *layer;
    own->trainable = layer->trainable && scope->trainable;
    own->data_format = own->function = NULL;
    // A shared layer may have been built for a call of another shape.
    own->built_known = layer->built_known && scope->is_sequential;
    size_t path_len = strlen(scope->path);
    size_t name_len = strlen(layer->name);
    void *path;
    MST_TRY(mst_arena_alloc(&model->arena, path_len + name_len + 1, &path));
    memcpy(path, scope->path, path_len);
    memcpy((char *)path + path_len, layer->name, name_len + 1);
    own->path = path;
    own->name = own->path + path_len;
    MST_TRY(mst_arena_text(&model->arena, item->place, strlen(item->place), &text));
    own->place = text;
    item->kind = MST_ITEM_LAYER;
    item->layer = model->n_layers++;
    return MST_OK;
}

static mst_status read_nested(struct mst_graph_reader *reader, struct mst_scope *scope, struct mst_graph_item *item,
                              struct mst_error *err)
{
    const char *name = json_string_value(json_object_get(json_object_get(item->json, "config"), "name"));
    char shown[MST_MODEL_MAX_NAME_BYTES + 8];
    char *prefix;
    char *path;
    if (name == NULL || strlen(name) == 0 || strlen(name) > MST_MODEL_MAX_NAME_BYTES || strchr(name, '/') != NULL)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s.config.name is '%.64s'; a model within a model needs a name of 1 to %d bytes without '/'",
                        item->place, name != NULL ? name : "", MST_MODEL_MAX_NAME_BYTES);
    if (reader->depth + 1 >= MST_GRAPH_MAX_DEPTH || ++reader->n_models > MST_MODEL_MAX_LAYERS)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s '%.64s': models are nested at most %d deep, %d of them",
                        item->place, name, MST_GRAPH_MAX_DEPTH, MST_MODEL_MAX_LAYERS);
    snprintf(shown, sizeof shown, " '%s'.", name);
    MST_TRY(print(reader, &prefix, item->place, shown, ""));
    MST_TRY(print(reader, &path, scope->path, name, "/"));
    item->name = name;
    item->kind = MST_ITEM_SCOPE;
    reader->depth++;
    MST_TRY(mst_graph_read(reader, item->json, prefix, path, &item->scope, err));
    reader->depth--;
    return MST_OK;
}

static mst_status read_item(struct mst_graph_reader *reader, struct mst_scope *scope, struct mst_graph_item *item,
                            struct mst_error *err)
{
    struct mst_layer layer;
    void *memory;
    if (is_model_class(json_string_value(json_object_get(item->json, "class_name"))))
        return read_nested(reader, scope, item, err);
    MST_TRY(mst_layer_parse(item->json, item->place, &layer, err));
    item->name = layer.name;
    if (layer.kind != MST_LAYER_INPUT)
        return add_layer(reader, scope, &layer, item);
    MST_TRY(mst_arena_alloc(&reader->arena, sizeof layer, &memory));
    item->kind = MST_ITEM_INPUT;
    item->input = memory;
    *item->input = layer;
    return MST_OK;
}

// A Sequential's input is an item like a Functional's, whether the file has an InputLayer or not.
static mst_status read_items(struct mst_graph_reader *reader, struct mst_scope *scope, struct mst_error *err)
{
    size_t n = json_array_size(scope->layers);
    void *memory;
    const char *first = json_string_value(json_object_get(json_array_get(scope->layers, 0), "class_name"));
    bool adds_input = scope->is_sequential && (first == NULL || strcmp(first, "InputLayer") != 0);
    MST_TRY(mst_arena_alloc_array(&reader->arena, n + 1, sizeof *scope->items, &memory));
    scope->items = memory;
    if (adds_input)
        scope->items[scope->n_items++] =
            (struct mst_graph_item){.kind = MST_ITEM_INPUT, .name = "input", .place = "layers[0]"};
    for (size_t i = 0; i < n; i++) {
        struct mst_graph_item *item = &scope->items[scope->n_items];
        char number[32];
        char *place;
        snprintf(number, sizeof number, "layers[%zu]", i);
        MST_TRY(print(reader, &place, scope->prefix, number, ""));
        item->place = place;
        item->json = json_array_get(scope->layers, i);
        MST_TRY(read_item(reader, scope, item, err));
        if (scope->is_sequential && item->kind == MST_ITEM_INPUT && i > 0)
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s '%.64s' is an InputLayer, which can only stand first", place,
                            item->name);
        scope->n_items++;
    }
    return MST_OK;
}

// A layer that a Keras 2 Sequential begins with, or one that Keras 3 built, says what it takes.
static mst_status find_sequential_shape(struct mst_graph_reader *reader, struct mst_scope *scope, struct mst_error *err)
{
    struct mst_graph_item *input = &scope->items[0];
    void *memory;
    if (input->input != NULL) {
        if (!input->input->has_input_shape)
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s '%.64s' (InputLayer) has no batch_shape", input->place,
                            input->name);
        return MST_OK;
    }
    MST_TRY(mst_arena_alloc(&reader->arena, sizeof *input->input, &memory));
    struct mst_layer *made = memory;
    made->input_dtype = MST_DTYPE_F32;
    const struct mst_graph_item *first = scope->n_items > 1 ? &scope->items[1] : NULL;
    const struct mst_layer *layer =
        first != NULL && first->kind == MST_ITEM_LAYER ? &reader->model->layers[first->layer] : NULL;
    char path[MST_CONFIG_PATH_BYTES];
    snprintf(path, sizeof path, "%sconfig.build_input_shape", scope->prefix);
    if (layer != NULL && layer->has_input_shape)
        made->input_shape = layer->input_shape;
    else if (layer != NULL && layer->built_known)
        made->input_shape = layer->built_shape;
    else if (scope->build_input_shape != NULL)
        MST_TRY(mst_layer_batch_shape(scope->build_input_shape, path, &made->input_shape, err));
    else if (first != NULL && first->kind == MST_ITEM_SCOPE && mst_graph_input_shape(first->scope, 0) != NULL)
        made->input_shape = *mst_graph_input_shape(first->scope, 0);
    else
        return MST_OK;
    made->has_input_shape = true;
    input->input = made;
    return MST_OK;
}

const struct mst_shape *mst_graph_input_shape(const struct mst_scope *scope, size_t input)
{
    const struct mst_layer *layer = input < scope->n_inputs ? scope->items[scope->inputs[input]].input : NULL;
    return layer != NULL && layer->has_input_shape ? &layer->input_shape : NULL;
}

// The one name that means another function in Keras 2.
static mst_status refuse_hard_sigmoid(const struct mst_graph_reader *reader, const struct mst_scope *scope,
                                      size_t first_layer, struct mst_error *err)
{
    const struct mst_layer *layers = reader->model->layers;
    size_t n_layers = reader->model->n_layers;
    bool is_keras_2 = false;
    for (size_t i = 0; i < scope->n_items; i++)
        is_keras_2 = is_keras_2 || (scope->items[i].input != NULL && scope->items[i].input->is_keras_2);
    for (size_t i = first_layer; i < n_layers; i++)
        is_keras_2 = is_keras_2 || layers[i].is_keras_2;
    for (size_t i = first_layer; i < n_layers && is_keras_2; i++)
        if (layers[i].activation.kind == MST_ACTIVATION_HARD_SIGMOID)
            return mst_fail(
                err, MST_UNIMPLEMENTED,
                "%s '%.64s' (%s) has the activation hard_sigmoid, which in Keras 2 is another function than "
                "in Keras 3; that of Keras 3 is built",
                layers[i].place, layers[i].name, layers[i].class_name);
    return MST_OK;
}

mst_status mst_graph_read(struct mst_graph_reader *reader, const json_t *json, const char *prefix, const char *path,
                          struct mst_scope **out, struct mst_error *err)
{
    void *memory;
    *out = NULL;
    MST_TRY(mst_arena_alloc(&reader->arena, sizeof **out, &memory));
    struct mst_scope *scope = memory;
    scope->prefix = prefix;
    scope->path = path;
    scope->trainable = true;
    MST_TRY(read_model(json, scope, err));
    size_t first_layer = reader->model->n_layers;
    MST_TRY(read_items(reader, scope, err));
    for (size_t i = first_layer; i < reader->model->n_layers; i++)
        reader->model->layers[i].trainable = reader->model->layers[i].trainable && scope->trainable;
    MST_TRY(check_unique(scope, err));
    MST_TRY(refuse_hard_sigmoid(reader, scope, first_layer, err));
    if (scope->is_sequential)
        MST_TRY(find_sequential_shape(reader, scope, err));
    MST_TRY(mst_graph_read_calls(reader, scope, err));
    *out = scope;
    return MST_OK;
}
