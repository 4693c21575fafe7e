// Reading a layer: its class from the tables, its config by the keys of the class, and the shape that a call of it
// makes. What is particular to a layer stands with its table, in a layers_*.c.
#include "layer.h"

#include "base/error.h"
#include "layer_read.h"
#include "model_private.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// Readers of values

// The shape of one example out of that of a batch of any size.
static mst_status read_example_shape(const json_t *json, const char *path, struct mst_shape *out, struct mst_error *err)
{
    char shown[MST_CONFIG_SHOWN_BYTES];
    *out = (struct mst_shape){0};
    size_t n = json_array_size(json);
    if (!json_is_array(json) || n == 0 || n > MST_SHAPE_MAX_RANK)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s is %s; it should be a list like [null, 28, 28] of at most %d sizes", path,
                        mst_config_show(json, shown), MST_SHAPE_MAX_RANK);
    for (size_t i = 1; i < n; i++) {
        char at[MST_CONFIG_PATH_BYTES];
        snprintf(at, sizeof at, "%s[%zu]", path, i);
        if (json_is_null(json_array_get(json, i)))
            return mst_fail(err, MST_UNIMPLEMENTED, "%s is null: inputs of unknown size are not built yet", at);
        MST_TRY(mst_config_size(json_array_get(json, i), at, &out->dims[i - 1], err));
    }
    out->rank = n - 1;
    return MST_OK;
}

mst_status mst_layer_batch_shape(const json_t *json, const char *path, struct mst_shape *out, struct mst_error *err)
{
    char shown[MST_CONFIG_SHOWN_BYTES];
    MST_TRY(read_example_shape(json, path, out, err));
    if (json_is_null(json_array_get(json, 0)))
        return MST_OK;
    return mst_fail(err, MST_UNIMPLEMENTED,
                    "%s is %s: a fixed number of examples is not built yet; use Input(shape) without batch_size", path,
                    mst_config_show(json, shown));
}

mst_status mst_layer_read_input_shape(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    struct mst_layer *layer = out;
    // Keras 2's Embedding says so that it takes any shape.
    for (size_t i = 1; i < json_array_size(value) && layer->kind != MST_LAYER_INPUT; i++)
        if (json_is_null(json_array_get(value, i)))
            return MST_OK;
    MST_TRY(mst_layer_batch_shape(value, path, &layer->input_shape, err));
    layer->has_input_shape = true;
    return MST_OK;
}

static mst_status read_batch_input_shape(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    struct mst_layer *layer = out;
    layer->is_keras_2 = true;
    return mst_layer_read_input_shape(value, path, out, err);
}

mst_status mst_layer_read_activation(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    struct mst_activation *activation = out;
    struct mst_config_class object;
    *activation = mst_activation_default(MST_ACTIVATION_LINEAR);
    if (json_is_null(value))
        return MST_OK;
    MST_TRY(mst_config_object(value, path, &object, err));
    if (object.config != NULL)
        return mst_fail(
            err, MST_UNIMPLEMENTED,
            "%s is an object of class '%.64s', which is not built yet; name a function, or let a layer follow", path,
            object.class_name);
    if (mst_activation_find(object.class_name, activation) != MST_OK)
        return mst_fail(err, MST_UNIMPLEMENTED, "%s is '%.64s', which is not built yet; the activations built are %s",
                        path, object.class_name, mst_activation_names());
    return MST_OK;
}

mst_status mst_layer_read_initializer(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    struct mst_weight *weight = out;
    return mst_initializer_parse(value, path, &weight->initializer, err);
}

mst_status mst_layer_read_axis(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    if (!json_is_integer(value))
        return mst_config_number(value, path, out, err); // a list of axes is refused as no number
    *(double *)out = (double)json_integer_value(value);
    return MST_OK;
}

mst_status mst_layer_read_axes(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    struct mst_axes *axes = out;
    char shown[MST_CONFIG_SHOWN_BYTES];
    *axes = (struct mst_axes){0};
    if (json_is_null(value))
        return MST_OK;
    size_t n = json_is_array(value) ? json_array_size(value) : 1;
    for (size_t i = 0; i < n && n <= MST_SHAPE_MAX_RANK; i++) {
        const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_integer(item) || json_integer_value(item) < -1000000000000 ||
            json_integer_value(item) > 1000000000000)
            break;
        axes->list[axes->n++] = json_integer_value(item);
    }
    if (axes->n == n)
        return MST_OK;
    return mst_fail(err, MST_INVALID_ARGUMENT, "%s is %s; it should be a whole number or a list of at most %d of them",
                    path, mst_config_show(value, shown), MST_SHAPE_MAX_RANK);
}

static const struct mst_config_field regularizer_fields[] = {
    {"l1", mst_config_number_or_null, offsetof(struct mst_regularizer, l1)},
    {"l2", mst_config_number_or_null, offsetof(struct mst_regularizer, l2)},
};

static const struct regularizer_class {
    const char *class_name;
    const char *name; // a name stands for Keras's defaults, 0.01 each
    struct mst_regularizer defaults;
    size_t first_field;
    size_t n_fields;
} regularizers[] = {
    {"L1", "l1", {0.01, 0}, 0, 1},
    {"L2", "l2", {0, 0.01}, 1, 1},
    {"L1L2", "l1_l2", {0, 0}, 0, 2},
};
enum { N_REGULARIZERS = sizeof regularizers / sizeof regularizers[0] };

bool mst_regularizer_entry(size_t i, struct mst_config_entry *out)
{
    *out = (struct mst_config_entry){0};
    if (i >= N_REGULARIZERS)
        return false;
    *out = (struct mst_config_entry){regularizers[i].class_name, &regularizers[i].name, 1,
                                     regularizer_fields + regularizers[i].first_field, regularizers[i].n_fields};
    return true;
}

mst_status mst_layer_read_regularizer(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    struct mst_regularizer *regularizer = out;
    struct mst_config_class object;
    const struct regularizer_class *class = NULL;
    char at[MST_CONFIG_PATH_BYTES];
    *regularizer = (struct mst_regularizer){0};
    if (json_is_null(value))
        return MST_OK;
    MST_TRY(mst_config_object(value, path, &object, err));
    MST_ASSERT(object.class_name != NULL);
    for (size_t i = 0; i < N_REGULARIZERS; i++) {
        if (strcmp(object.class_name, regularizers[i].class_name) == 0 ||
            strcmp(object.class_name, regularizers[i].name) == 0)
            class = &regularizers[i];
    }
    if (class == NULL)
        return mst_fail(err, MST_UNIMPLEMENTED, "%s is '%.64s', which is not built yet; L1, L2 and L1L2 are", path,
                        object.class_name);
    *regularizer = class->defaults;
    // Keras's L1L2(l1=0.0, l2=0.0), but l1_l2() has 0.01 for both.
    if (class->n_fields == 2 && !object.has_envelope)
        *regularizer = (struct mst_regularizer){0.01, 0.01};
    snprintf(at, sizeof at, "%s.config", path);
    MST_TRY(mst_config_fields(object.config, at, regularizer_fields + class->first_field, class->n_fields, regularizer,
                              err));
    if (!isfinite(regularizer->l1) || !isfinite(regularizer->l2))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: l1 %g and l2 %g should be finite", path, regularizer->l1,
                        regularizer->l2);
    return MST_OK;
}

mst_status mst_infer_axis(const struct mst_infer *infer, long long axis, const struct mst_shape *shape, size_t *out,
                          struct mst_error *err)
{
    char text[MST_SHAPE_TEXT_BYTES];
    long long n = (long long)shape->rank + 1;
    long long at = axis < 0 ? axis + n : axis;
    *out = 0;
    if (at < 0 || at >= n)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: axis %lld does not exist in an input of shape %s", infer->where,
                        axis, mst_layer_show_shape(shape, text));
    if (at == 0)
        return mst_fail(err, MST_UNIMPLEMENTED, "%s: axis %lld is that of the examples, which is not built yet",
                        infer->where, axis);
    *out = (size_t)at - 1;
    return MST_OK;
}

// What an InputLayer declares; the data may come as other numbers, which are cast.
static mst_status read_input_dtype(const json_t *value, const char *path, enum mst_dtype *out, struct mst_error *err)
{
    static const char *const integers[] = {"int8", "int16", "int32", "int64", "uint16", "uint32", "bool"};
    const char *name = json_string_value(value);
    *out = MST_DTYPE_F32;
    if (name == NULL)
        return mst_config_float32(value, path, NULL, err);
    if (strcmp(name, "uint8") == 0)
        *out = MST_DTYPE_U8;
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++)
        *out = strcmp(name, integers[i]) == 0 ? MST_DTYPE_I32 : *out;
    return *out != MST_DTYPE_F32 ? MST_OK : mst_config_float32(value, path, NULL, err);
}

static mst_status read_dtype(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    struct mst_layer *layer = out;
    if (layer->kind == MST_LAYER_INPUT)
        return read_input_dtype(value, path, &layer->input_dtype, err);
    return mst_config_float32(value, path, NULL, err);
}

// What every layer's config may have.
static const struct mst_config_field common_fields[] = {
    {"name", mst_config_text, offsetof(struct mst_layer, name)},
    {"trainable", mst_config_bool, offsetof(struct mst_layer, trainable)},
    {"dtype", read_dtype, 0},
    {"batch_input_shape", read_batch_input_shape, 0}, // Keras 2, on the first layer
    {"activity_regularizer", mst_layer_read_regularizer, offsetof(struct mst_layer, activity)},
};
enum { N_COMMON = sizeof common_fields / sizeof common_fields[0] };

static const struct mst_layer_table *const tables[] = {&mst_layers_core, &mst_layers_merge, &mst_layers_shape,
                                                       &mst_layers_norm};
enum { N_TABLES = sizeof tables / sizeof tables[0], MAX_CLASSES = 128 };

const struct mst_layer_table *mst_layer_tables(size_t i)
{
    return i < N_TABLES ? tables[i] : NULL;
}

const struct mst_config_field *mst_layer_common_fields(size_t *n_out)
{
    *n_out = N_COMMON;
    return common_fields;
}

static const struct mst_layer_class *find_in(const struct mst_layer_table *table, const char *class_name)
{
    for (size_t i = 0; i < table->n_classes; i++)
        if (strcmp(class_name, table->classes[i].class_name) == 0)
            return &table->classes[i];
    return NULL;
}

static mst_status not_built(const char *where, struct mst_error *err)
{
    const char *names[MAX_CLASSES];
    char list[768];
    size_t n = 0;
    for (size_t t = 0; t < N_TABLES; t++)
        for (size_t i = 0; i < tables[t]->n_classes && n < MAX_CLASSES; i++)
            names[n++] = tables[t]->classes[i].class_name;
    return mst_fail(err, MST_UNIMPLEMENTED, "%.200s: this layer is not built yet; the layers built are %s", where,
                    mst_config_list(names, n, list, sizeof list));
}

static mst_status find_class(const struct mst_config_class *object, const char *where,
                             const struct mst_layer_class **out, struct mst_error *err)
{
    bool is_operation = object->module != NULL && strncmp(object->module, "keras.src.ops", 13) == 0;
    *out = is_operation ? find_in(&mst_operations, object->class_name) : NULL;
    for (size_t t = 0; t < N_TABLES && *out == NULL && !is_operation; t++)
        *out = find_in(tables[t], object->class_name);
    if (*out != NULL)
        return MST_OK;
    if (is_operation)
        return mst_fail(
            err, MST_UNIMPLEMENTED,
            "%s: this operation is not built yet; +, -, * of tensors or numbers, / by a number, maximum and "
            "minimum of tensors are",
            where);
    return not_built(where, err);
}

static mst_status check_name(const struct mst_layer *layer, const char *place, struct mst_error *err)
{
    size_t len = layer->name != NULL ? strlen(layer->name) : 0;
    if (len == 0 || len > MST_MODEL_MAX_NAME_BYTES || strchr(layer->name, '/') != NULL)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s.config.name is '%.64s'; a layer needs a name of 1 to %d bytes without '/'", place,
                        layer->name != NULL ? layer->name : "", MST_MODEL_MAX_NAME_BYTES);
    return MST_OK;
}

// Reads what the layer was built for, if Keras printed it; other forms of build_config say nothing that we need.
static mst_status read_built_shape(const json_t *json, const char *where, struct mst_layer *layer,
                                   struct mst_error *err)
{
    const json_t *shape = json_object_get(json_object_get(json, "build_config"), "input_shape");
    if (!json_is_array(shape) || json_is_array(json_array_get(shape, 0)) || layer->kind == MST_LAYER_INPUT ||
        layer->class->n_inputs != 1)
        return MST_OK;
    // A layer of a nested model may have been built for any length.
    for (size_t i = 1; i < json_array_size(shape); i++)
        if (json_is_null(json_array_get(shape, i)))
            return MST_OK;
    char at[MST_CONFIG_PATH_BYTES];
    snprintf(at, sizeof at, "%s.build_config.input_shape", where);
    // One that was adapted says how many examples it saw.
    MST_TRY(read_example_shape(shape, at, &layer->built_shape, err));
    layer->built_known = true;
    return MST_OK;
}

// Keras's defaults; those of the activation layers are set by their checks.
static void set_defaults(struct mst_layer *layer)
{
    *layer = (struct mst_layer){.trainable = true,
                                .use_bias = true,
                                .max_value = INFINITY,
                                .alpha = NAN,
                                .axis = -1.0,
                                .scale = 1.0,
                                .input_dtype = MST_DTYPE_F32};
    layer->activation = mst_activation_default(MST_ACTIVATION_LINEAR);
    for (size_t w = 0; w < MST_LAYER_MAX_WEIGHTS; w++) {
        layer->variables[w] = SIZE_MAX;
        layer->weights[w].initializer = (struct mst_initializer){.kind = MST_INIT_ZEROS, .class_name = "Zeros"};
    }
    layer->weights[MST_WEIGHT_KERNEL].initializer = (struct mst_initializer){.kind = MST_INIT_VARIANCE_SCALING,
                                                                             .a = 1.0,
                                                                             .mode = MST_FAN_AVG,
                                                                             .distribution = MST_DIST_UNIFORM,
                                                                             .class_name = "GlorotUniform"};
}

mst_status mst_layer_parse(const json_t *json, const char *place, struct mst_layer *out, struct mst_error *err)
{
    struct mst_config_class object;
    struct mst_config_field fields[40];
    set_defaults(out);
    MST_TRY(mst_config_object(json, place, &object, err));
    // Whatever is wrong with it, people look for its name.
    const char *name = json_string_value(json_object_get(object.config, "name"));
    char where[MST_CONFIG_PATH_BYTES];
    snprintf(where, sizeof where, "%s '%.64s' (%.64s)", place, name != NULL ? name : "", object.class_name);
    MST_TRY(find_class(&object, where, &out->class, err));
    const struct mst_layer_class *class = out->class;
    MST_ASSERT(class != NULL);
    out->class_name = class->class_name;
    out->kind = class->kind;
    if (class->defaults != NULL)
        class->defaults(out);
    MST_ASSERT(N_COMMON + class->n_fields <= sizeof fields / sizeof fields[0]);
    memcpy(fields, common_fields, sizeof common_fields);
    if (class->n_fields > 0)
        memcpy(fields + N_COMMON, class->fields, class->n_fields * sizeof fields[0]);
    char at[MST_CONFIG_PATH_BYTES];
    snprintf(at, sizeof at, "%s.config", where);
    MST_TRY(mst_config_fields(object.config, at, fields, N_COMMON + class->n_fields, out, err));
    MST_TRY(check_name(out, place, err));
    if (class->check != NULL)
        MST_TRY(class->check(out, where, err));
    return read_built_shape(json, where, out, err);
}

const char *mst_layer_show_shape(const struct mst_shape *shape, char out[MST_SHAPE_TEXT_BYTES])
{
    size_t at = (size_t)snprintf(out, MST_SHAPE_TEXT_BYTES, shape->rank == 0 ? "(None,)" : "(None");
    for (size_t i = 0; i < shape->rank && at < MST_SHAPE_TEXT_BYTES; i++)
        at += (size_t)snprintf(out + at, MST_SHAPE_TEXT_BYTES - at, i + 1 < shape->rank ? ", %zu" : ", %zu)",
                               shape->dims[i]);
    return out;
}

mst_status mst_layer_count_example(const struct mst_shape *shape, const char *where, const char *what, size_t *out,
                                   struct mst_error *err)
{
    char text[MST_SHAPE_TEXT_BYTES];
    const size_t limit = MST_MODEL_MAX_EXAMPLE_BYTES / sizeof(float);
    if (mst_shape_count(shape, out) == MST_OK && *out <= limit)
        return MST_OK;
    double bytes = sizeof(float);
    for (size_t i = 0; i < shape->rank; i++)
        bytes *= (double)shape->dims[i];
    *out = 0;
    return mst_fail(err, MST_INVALID_ARGUMENT,
                    "%s: the %s of one example has shape %s, %.12g bytes; the limit is %zu bytes", where, what,
                    mst_layer_show_shape(shape, text), bytes, (size_t)MST_MODEL_MAX_EXAMPLE_BYTES);
}

const struct mst_shape *mst_infer_in(const struct mst_infer *infer, size_t input)
{
    MST_ASSERT(input < infer->node->n_inputs);
    return &infer->model->nodes[infer->node->inputs[input]].out;
}

const char *mst_infer_in_name(const struct mst_infer *infer, size_t input)
{
    MST_ASSERT(input < infer->node->n_inputs);
    return mst_model_node_name(infer->model, infer->node->inputs[input]);
}

mst_status mst_infer_needs_axis(const struct mst_infer *infer, struct mst_error *err)
{
    if (infer->node->in.rank > 0)
        return MST_OK;
    return mst_fail(err, MST_INVALID_ARGUMENT,
                    "%s works on the last axis of its input, but '%s' gives (None,), which has none", infer->where,
                    mst_infer_in_name(infer, 0));
}

static mst_status check_arity(const struct mst_infer *infer, struct mst_error *err)
{
    size_t wanted = infer->layer->class->n_inputs;
    size_t got = infer->node->n_inputs;
    if (wanted == SIZE_MAX ? got > 0 : got == wanted)
        return MST_OK;
    return mst_fail(err, MST_INVALID_ARGUMENT, "%s is called with %zu inputs; it takes %s", infer->where, got,
                    wanted == SIZE_MAX ? "one or more"
                    : wanted == 1      ? "one"
                                       : "two");
}

// A later call of a layer must suit the weights that its first one made.
static mst_status check_weights(const struct mst_infer *infer, const struct mst_weight *first, struct mst_error *err)
{
    char before[MST_SHAPE_TEXT_BYTES];
    char now[MST_SHAPE_TEXT_BYTES];
    for (size_t w = 0; w < MST_LAYER_MAX_WEIGHTS; w++) {
        if (!mst_shape_equal(&first[w].shape, &infer->layer->weights[w].shape))
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "%s was first called with an input of shape %s, but call %zu gets %s from '%s', which "
                            "does not suit its %s",
                            infer->where, mst_layer_show_shape(&infer->layer->first_in, before), infer->node->call + 1,
                            mst_layer_show_shape(&infer->node->in, now), mst_infer_in_name(infer, 0), first[w].suffix);
    }
    return MST_OK;
}

mst_status mst_layer_infer(const struct mst_infer *infer, struct mst_error *err)
{
    char built[MST_SHAPE_TEXT_BYTES];
    char given[MST_SHAPE_TEXT_BYTES];
    struct mst_layer *layer = infer->layer;
    struct mst_node *node = infer->node;
    struct mst_weight first[MST_LAYER_MAX_WEIGHTS];
    MST_TRY(check_arity(infer, err));
    node->in = *mst_infer_in(infer, 0);
    node->out = node->in;
    if (layer->built_known && node->call == 0 && !mst_shape_equal(&layer->built_shape, &node->in))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s was built for inputs of shape %s, but '%s' gives %s",
                        infer->where, mst_layer_show_shape(&layer->built_shape, built), mst_infer_in_name(infer, 0),
                        mst_layer_show_shape(&node->in, given));
    MST_TRY(mst_layer_count_example(&node->in, infer->where, "input", &node->n_in, err));
    memcpy(first, layer->weights, sizeof first);
    if (layer->class->infer != NULL)
        MST_TRY(layer->class->infer(infer, err));
    if (node->call > 0)
        MST_TRY(check_weights(infer, first, err));
    else
        layer->first_in = node->in;
    return mst_layer_count_example(&node->out, infer->where, "output", &node->n_out, err);
}
