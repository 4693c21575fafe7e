// The table of layers: which keys their config may have, what must hold between them, and which shape they make. The
// readers of single values stand in config.c; here are those that only layers have (activations, initializers,
// shapes).
#include "layer.h"

#include "base/error.h"
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef mst_status check_fn(struct mst_layer *layer, const char *path, struct mst_error *err);
typedef mst_status infer_fn(struct mst_layer *layer, const char *before, const char *path, struct mst_error *err);

struct mst_layer_class {
    const char *class_name;
    enum mst_layer_kind kind;
    const struct mst_config_field *fields;
    size_t n_fields;
    check_fn *check; // after the keys are read; NULL: nothing to check
    infer_fn *infer; // from layer->in to layer->out; NULL: the same shape
};

#define FIELD(key, read) {#key, read, offsetof(struct mst_layer, key)}

// Readers of values

mst_status mst_layer_batch_shape(const json_t *json, const char *path, struct mst_shape *out, struct mst_error *err)
{
    char shown[MST_CONFIG_SHOWN_BYTES];
    *out = (struct mst_shape){0};
    size_t n = json_array_size(json);
    if (!json_is_array(json) || n == 0 || n > MST_SHAPE_MAX_RANK)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s is %s; it should be a list like [null, 28, 28] of at most %d sizes", path,
                        mst_config_show(json, shown), MST_SHAPE_MAX_RANK);
    if (!json_is_null(json_array_get(json, 0)))
        return mst_fail(err, MST_UNIMPLEMENTED,
                        "%s is %s: a fixed number of examples is not built yet; use Input(shape) without batch_size",
                        path, mst_config_show(json, shown));
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

static mst_status read_input_shape(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    struct mst_layer *layer = out;
    MST_TRY(mst_layer_batch_shape(value, path, &layer->input_shape, err));
    layer->has_input_shape = true;
    return MST_OK;
}

static mst_status read_activation(const json_t *value, const char *path, void *out, struct mst_error *err)
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

static mst_status read_initializer(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    return mst_initializer_parse(value, path, out, err);
}

static mst_status read_axis(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    if (!json_is_integer(value))
        return mst_config_number(value, path, out, err); // a list of axes is refused as no number
    *(double *)out = (double)json_integer_value(value);
    return MST_OK;
}

// What must hold between the keys

static mst_status check_flatten(struct mst_layer *layer, const char *path, struct mst_error *err)
{
    if (layer->data_format != NULL && strcmp(layer->data_format, "channels_last") != 0)
        return mst_fail(err, MST_UNIMPLEMENTED,
                        "%s.config.data_format is '%.64s', which is not built yet; channels_last is", path,
                        layer->data_format);
    return MST_OK;
}

static mst_status check_dense(struct mst_layer *layer, const char *path, struct mst_error *err)
{
    if (layer->units == 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.config has no units", path);
    return MST_OK;
}

static mst_status check_relu(struct mst_layer *layer, const char *path, struct mst_error *err)
{
    if (!(layer->max_value >= 0) || !(layer->negative_slope >= 0) || !(layer->threshold >= 0))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s.config: max_value %g, negative_slope %g and threshold %g should not be negative", path,
                        layer->max_value, layer->negative_slope, layer->threshold);
    layer->activation = mst_activation_default(MST_ACTIVATION_RELU);
    layer->activation.alpha = (float)layer->negative_slope;
    layer->activation.max_value = (float)layer->max_value;
    layer->activation.threshold = (float)layer->threshold;
    return MST_OK;
}

static mst_status check_leaky_relu(struct mst_layer *layer, const char *path, struct mst_error *err)
{
    (void)path;
    (void)err;
    layer->activation = mst_activation_default(MST_ACTIVATION_LEAKY_RELU);
    layer->activation.alpha =
        isnan(layer->alpha) ? 0.3f : (float)layer->alpha; // the layer's default, not the function's
    return MST_OK;
}

static mst_status check_elu(struct mst_layer *layer, const char *path, struct mst_error *err)
{
    (void)path;
    (void)err;
    layer->activation = mst_activation_default(MST_ACTIVATION_ELU);
    if (!isnan(layer->alpha))
        layer->activation.alpha = (float)layer->alpha;
    return MST_OK;
}

static mst_status check_softmax(struct mst_layer *layer, const char *path, struct mst_error *err)
{
    (void)path;
    (void)err;
    layer->activation = mst_activation_default(MST_ACTIVATION_SOFTMAX);
    return MST_OK;
}

static mst_status check_dropout(struct mst_layer *layer, const char *path, struct mst_error *err)
{
    if (!(layer->rate >= 0) || !(layer->rate < 1))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.config.rate is %g; it should be at least 0 and below 1", path,
                        layer->rate);
    return MST_OK;
}

// Shapes

static mst_status infer_flatten(struct mst_layer *layer, const char *before, const char *path, struct mst_error *err)
{
    (void)before;
    (void)path;
    (void)err;
    layer->out = (struct mst_shape){.rank = 1, .dims = {layer->n_in}};
    return MST_OK;
}

static mst_status needs_an_axis(const struct mst_layer *layer, const char *before, const char *path,
                                struct mst_error *err)
{
    if (layer->in.rank > 0)
        return MST_OK;
    return mst_fail(err, MST_INVALID_ARGUMENT,
                    "%s works on the last axis of its input, but '%s' gives (None,), which has none", path, before);
}

static mst_status infer_dense(struct mst_layer *layer, const char *before, const char *path, struct mst_error *err)
{
    MST_TRY(needs_an_axis(layer, before, path, err));
    layer->out = layer->in;
    layer->out.dims[layer->in.rank - 1] = layer->units;
    return MST_OK;
}

static mst_status infer_softmax(struct mst_layer *layer, const char *before, const char *path, struct mst_error *err)
{
    MST_TRY(needs_an_axis(layer, before, path, err));
    layer->out = layer->in;
    if (layer->axis != -1.0 && layer->axis != (double)layer->in.rank)
        return mst_fail(err, MST_UNIMPLEMENTED, "%s.config.axis is %g, which is not built yet; -1, the last axis, is",
                        path, layer->axis);
    return MST_OK;
}

static mst_status infer_activation(struct mst_layer *layer, const char *before, const char *path, struct mst_error *err)
{
    layer->out = layer->in;
    if (layer->activation.kind == MST_ACTIVATION_SOFTMAX || layer->activation.kind == MST_ACTIVATION_LOG_SOFTMAX)
        return needs_an_axis(layer, before, path, err);
    return MST_OK;
}

// The table

// What every layer's config may have.
static const struct mst_config_field common_fields[] = {
    FIELD(name, mst_config_text),
    FIELD(trainable, mst_config_bool),
    {"dtype", mst_config_float32, 0},
    {"batch_input_shape", read_input_shape, 0}, // Keras 2, on the first layer
    {"activity_regularizer", mst_config_refuse, 0},
};
static const struct mst_config_field input_fields[] = {
    {"batch_shape", read_input_shape, 0},
    {"sparse", mst_config_refuse, 0},
    {"ragged", mst_config_refuse, 0},
    {"optional", mst_config_refuse, 0},
};
static const struct mst_config_field flatten_fields[] = {FIELD(data_format, mst_config_text)};
static const struct mst_config_field rescaling_fields[] = {FIELD(scale, mst_config_number),
                                                           FIELD(offset, mst_config_number)};
static const struct mst_config_field dense_fields[] = {
    FIELD(units, mst_config_size),
    FIELD(activation, read_activation),
    FIELD(use_bias, mst_config_bool),
    FIELD(kernel_initializer, read_initializer),
    FIELD(bias_initializer, read_initializer),
    {"kernel_regularizer", mst_config_refuse, 0},
    {"bias_regularizer", mst_config_refuse, 0},
    {"kernel_constraint", mst_config_refuse, 0},
    {"bias_constraint", mst_config_refuse, 0},
    {"lora_rank", mst_config_refuse, 0},
    {"lora_alpha", mst_config_refuse, 0},
    {"quantization_config", mst_config_refuse, 0},
};
static const struct mst_config_field activation_fields[] = {FIELD(activation, read_activation)};
static const struct mst_config_field relu_fields[] = {FIELD(max_value, mst_config_number_or_null),
                                                      FIELD(negative_slope, mst_config_number_or_null),
                                                      FIELD(threshold, mst_config_number_or_null)};
static const struct mst_config_field leaky_relu_fields[] = {
    {"negative_slope", mst_config_number, offsetof(struct mst_layer, alpha)},
    {"alpha", mst_config_number, offsetof(struct mst_layer, alpha)}, // Keras 2
};
static const struct mst_config_field elu_fields[] = {FIELD(alpha, mst_config_number)};
static const struct mst_config_field softmax_fields[] = {FIELD(axis, read_axis)};
static const struct mst_config_field dropout_fields[] = {
    FIELD(rate, mst_config_number),
    FIELD(seed, mst_config_seed),
    {"noise_shape", mst_config_refuse, 0},
};

#define FIELDS(fields) fields, sizeof fields / sizeof fields[0]

static const struct mst_layer_class classes[] = {
    {"InputLayer", MST_LAYER_INPUT, FIELDS(input_fields), NULL, NULL},
    {"Flatten", MST_LAYER_VIEW, FIELDS(flatten_fields), check_flatten, infer_flatten},
    {"Rescaling", MST_LAYER_RESCALING, FIELDS(rescaling_fields), NULL, NULL},
    {"Dense", MST_LAYER_DENSE, FIELDS(dense_fields), check_dense, infer_dense},
    {"Activation", MST_LAYER_ACTIVATION, FIELDS(activation_fields), NULL, infer_activation},
    {"ReLU", MST_LAYER_ACTIVATION, FIELDS(relu_fields), check_relu, NULL},
    {"LeakyReLU", MST_LAYER_ACTIVATION, FIELDS(leaky_relu_fields), check_leaky_relu, NULL},
    {"ELU", MST_LAYER_ACTIVATION, FIELDS(elu_fields), check_elu, NULL},
    {"Softmax", MST_LAYER_ACTIVATION, FIELDS(softmax_fields), check_softmax, infer_softmax},
    {"Dropout", MST_LAYER_DROPOUT, FIELDS(dropout_fields), check_dropout, NULL},
};
enum { N_CLASSES = sizeof classes / sizeof classes[0], N_COMMON = sizeof common_fields / sizeof common_fields[0] };

static mst_status find_class(const struct mst_config_class *object, const char *path,
                             const struct mst_layer_class **out, struct mst_error *err)
{
    const char *names[N_CLASSES];
    char list[512];
    *out = NULL;
    for (size_t i = 0; i < N_CLASSES; i++) {
        names[i] = classes[i].class_name;
        if (strcmp(object->class_name, names[i]) == 0) {
            *out = &classes[i];
            return MST_OK;
        }
    }
    return mst_fail(err, MST_UNIMPLEMENTED, "%s: this layer is not built yet; the layers built are %s", path,
                    mst_config_list(names, N_CLASSES, list, sizeof list));
}

static mst_status check_name(const struct mst_layer *layer, const char *path, struct mst_error *err)
{
    size_t len = layer->name != NULL ? strlen(layer->name) : 0;
    if (len == 0 || len > MST_MODEL_MAX_NAME_BYTES || strchr(layer->name, '/') != NULL)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s.config.name is '%.64s'; a layer needs a name of 1 to %d bytes without '/'", path,
                        layer->name != NULL ? layer->name : "", MST_MODEL_MAX_NAME_BYTES);
    return MST_OK;
}

// Reads what the layer was built for, if Keras printed it; other forms of build_config say nothing that we need.
static mst_status read_built_shape(const json_t *json, const char *path, struct mst_layer *layer, struct mst_error *err)
{
    const json_t *shape = json_object_get(json_object_get(json, "build_config"), "input_shape");
    if (!json_is_array(shape) || layer->kind == MST_LAYER_INPUT)
        return MST_OK;
    char at[MST_CONFIG_PATH_BYTES];
    snprintf(at, sizeof at, "%s.build_config.input_shape", path);
    MST_TRY(mst_layer_batch_shape(shape, at, &layer->built_shape, err));
    layer->built_known = true;
    return MST_OK;
}

mst_status mst_layer_parse(const json_t *json, const char *path, struct mst_layer *out, struct mst_error *err)
{
    struct mst_config_class object;
    const struct mst_layer_class *class;
    struct mst_config_field fields[32];
    // Keras's defaults; those of the activation layers are set by their checks.
    *out = (struct mst_layer){.trainable = true,
                              .use_bias = true,
                              .max_value = INFINITY,
                              .alpha = NAN,
                              .axis = -1.0,
                              .scale = 1.0,
                              .kernel = SIZE_MAX,
                              .bias = SIZE_MAX};
    out->activation = mst_activation_default(MST_ACTIVATION_LINEAR);
    out->kernel_initializer = (struct mst_initializer){.kind = MST_INIT_VARIANCE_SCALING,
                                                       .a = 1.0,
                                                       .mode = MST_FAN_AVG,
                                                       .distribution = MST_DIST_UNIFORM,
                                                       .class_name = "GlorotUniform"};
    out->bias_initializer = (struct mst_initializer){.kind = MST_INIT_ZEROS, .class_name = "Zeros"};
    MST_TRY(mst_config_object(json, path, &object, err));
    // Whatever is wrong with it, people look for its name.
    const char *name = json_string_value(json_object_get(object.config, "name"));
    char where[MST_CONFIG_PATH_BYTES];
    snprintf(where, sizeof where, "%s '%.64s' (%.64s)", path, name != NULL ? name : "", object.class_name);
    MST_TRY(find_class(&object, where, &class, err));
    out->class = class;
    out->class_name = class->class_name;
    out->kind = class->kind;
    MST_ASSERT(N_COMMON + class->n_fields <= sizeof fields / sizeof fields[0]);
    memcpy(fields, common_fields, sizeof common_fields);
    memcpy(fields + N_COMMON, class->fields, class->n_fields * sizeof fields[0]);
    char at[MST_CONFIG_PATH_BYTES];
    snprintf(at, sizeof at, "%s.config", where);
    MST_TRY(mst_config_fields(object.config, at, fields, N_COMMON + class->n_fields, out, err));
    MST_TRY(check_name(out, path, err));
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

static mst_status count_example(const struct mst_shape *shape, const char *path, const char *what, size_t *out,
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
                    "%s: the %s of one example has shape %s, %.12g bytes; the limit is %zu bytes", path, what,
                    mst_layer_show_shape(shape, text), bytes, (size_t)MST_MODEL_MAX_EXAMPLE_BYTES);
}

mst_status mst_layer_infer(struct mst_layer *layer, const struct mst_shape *in, const char *before, const char *path,
                           struct mst_error *err)
{
    char where[MST_CONFIG_PATH_BYTES];
    char built[MST_SHAPE_TEXT_BYTES];
    char given[MST_SHAPE_TEXT_BYTES];
    snprintf(where, sizeof where, "%s '%.64s' (%s)", path, layer->name, layer->class_name);
    layer->in = *in;
    layer->out = *in;
    if (layer->built_known && !mst_shape_equal(&layer->built_shape, in))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s was built for inputs of shape %s, but '%s' gives %s", where,
                        mst_layer_show_shape(&layer->built_shape, built), before, mst_layer_show_shape(in, given));
    MST_TRY(count_example(&layer->in, where, "input", &layer->n_in, err));
    if (layer->class->infer != NULL)
        MST_TRY(layer->class->infer(layer, before, where, err));
    return count_example(&layer->out, where, "output", &layer->n_out, err);
}
