// Layers that normalize: over a batch, over the values of an example, or by statistics of the data.
#include "layer.h"
#include "layer_read.h"

#include "base/arena.h"
#include "base/error.h"
#include "model_private.h"

#include <stdio.h>
#include <string.h>

#define FIELD(key, read) {#key, read, offsetof(struct mst_layer, key)}

static mst_status read_json(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    (void)path;
    (void)err;
    *(const json_t **)out = json_is_null(value) ? NULL : value;
    return MST_OK;
}

static void norm_defaults(struct mst_layer *layer)
{
    static const struct mst_initializer ones = {.kind = MST_INIT_ONES, .class_name = "Ones"};
    static const struct mst_initializer zeros = {.kind = MST_INIT_ZEROS, .class_name = "Zeros"};
    layer->epsilon = 1e-3;
    layer->momentum = 0.99;
    layer->center = layer->scales = true;
    layer->weights[MST_WEIGHT_GAMMA].initializer = ones;
    layer->weights[MST_WEIGHT_BETA].initializer = zeros;
    layer->weights[MST_WEIGHT_MEAN].initializer = zeros;
    layer->weights[MST_WEIGHT_VARIANCE].initializer = ones;
}

static mst_status check_norm(struct mst_layer *layer, const char *place, struct mst_error *err)
{
    if (!(layer->epsilon >= 0) || !(layer->momentum >= 0) || !(layer->momentum <= 1))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s.config: epsilon %g should not be negative, and momentum %g lie between 0 and 1", place,
                        layer->epsilon, layer->momentum);
    layer->row_norm = layer->rms_scaling ? MST_ROW_NORM_VARIANCE : (enum mst_row_norm_kind)layer->class->option;
    return MST_OK;
}

static void set_weight(struct mst_layer *layer, size_t weight, const char *suffix, const struct mst_shape *shape)
{
    layer->weights[weight].suffix = suffix;
    layer->weights[weight].shape = *shape;
}

static mst_status infer_batch_norm(const struct mst_infer *infer, struct mst_error *err)
{
    struct mst_layer *layer = infer->layer;
    struct mst_node *node = infer->node;
    const struct mst_axes *axes = &layer->axes;
    if (axes->n > 1)
        return mst_fail(err, MST_UNIMPLEMENTED, "%s over %zu axes is not built yet; over one is", infer->where,
                        axes->n);
    MST_TRY(mst_infer_axis(infer, axes->n > 0 ? axes->list[0] : -1, &node->in, &node->axis, err));
    struct mst_shape shape = {.rank = 1, .dims = {node->in.dims[node->axis]}};
    if (layer->scales)
        set_weight(layer, MST_WEIGHT_GAMMA, "gamma", &shape);
    if (layer->center)
        set_weight(layer, MST_WEIGHT_BETA, "beta", &shape);
    set_weight(layer, MST_WEIGHT_MEAN, "moving_mean", &shape);
    set_weight(layer, MST_WEIGHT_VARIANCE, "moving_variance", &shape);
    for (size_t w = MST_WEIGHT_MEAN; w <= MST_WEIGHT_VARIANCE; w++) {
        layer->weights[w].update = MST_UPDATE_MOVING_AVERAGE;
        layer->weights[w].momentum = layer->momentum;
    }
    return MST_OK;
}

// The axes are the last ones, in their order: then the values of a row lie together.
static mst_status infer_row_norm(const struct mst_infer *infer, struct mst_error *err)
{
    struct mst_layer *layer = infer->layer;
    struct mst_node *node = infer->node;
    struct mst_axes axes = layer->axes;
    struct mst_shape shape = {0};
    if (axes.n == 0)
        axes = (struct mst_axes){.n = 1, .list = {-1}};
    for (size_t i = 0; i < axes.n; i++) {
        size_t axis;
        MST_TRY(mst_infer_axis(infer, axes.list[i], &node->in, &axis, err));
        if (axis + axes.n - i != node->in.rank)
            return mst_fail(err, MST_UNIMPLEMENTED, "%s over other axes than the last ones is not built yet",
                            infer->where);
        shape.dims[shape.rank++] = node->in.dims[axis];
        node->axis = i == 0 ? axis : node->axis;
    }
    if (layer->row_norm == MST_ROW_NORM_LENGTH)
        return MST_OK;
    if (layer->row_norm == MST_ROW_NORM_RMS && layer->scales) {
        set_weight(layer, MST_WEIGHT_GAMMA, "scale", &shape);
        return MST_OK;
    }
    if (layer->scales || layer->row_norm == MST_ROW_NORM_VARIANCE)
        set_weight(layer, MST_WEIGHT_GAMMA, "gamma", &shape);
    if (layer->center && layer->row_norm == MST_ROW_NORM_LAYER)
        set_weight(layer, MST_WEIGHT_BETA, "beta", &shape);
    return MST_OK;
}

static void rms_defaults(struct mst_layer *layer)
{
    norm_defaults(layer);
    layer->epsilon = 1e-6;
    layer->center = false;
}

static void length_defaults(struct mst_layer *layer)
{
    norm_defaults(layer);
    layer->epsilon = 1e-12;
}

// One number, or as many as the axis has, however they are nested.
static mst_status read_numbers(const struct mst_infer *infer, const json_t *json, const char *key, size_t n,
                               const float **out, struct mst_error *err)
{
    void *memory;
    const json_t *list = json;
    MST_TRY(mst_arena_alloc_array(&infer->model->arena, n, sizeof(float), &memory));
    float *values = memory;
    *out = values;
    for (size_t depth = 0; json_array_size(list) == 1 && json_is_array(json_array_get(list, 0)) && depth < 8; depth++)
        list = json_array_get(list, 0);
    if (json_is_number(list) || (json_is_array(list) && (json_array_size(list) == n || json_array_size(list) == 1))) {
        size_t i = 0;
        for (; i < n; i++) {
            const json_t *one = json_is_number(list) ? list : json_array_get(list, json_array_size(list) == 1 ? 0 : i);
            if (!json_is_number(one))
                break;
            values[i] = (float)json_number_value(one);
        }
        if (i == n)
            return MST_OK;
    }
    return mst_fail(err, MST_INVALID_ARGUMENT, "%s.config.%s should be a number or a list of %zu of them", infer->where,
                    key, n);
}

static mst_status infer_standardize(const struct mst_infer *infer, struct mst_error *err)
{
    struct mst_layer *layer = infer->layer;
    struct mst_node *node = infer->node;
    const struct mst_axes *axes = &layer->axes;
    struct mst_shape shape = {0};
    if (axes->n > 1)
        return mst_fail(err, MST_UNIMPLEMENTED, "%s over %zu axes is not built yet; over one is", infer->where,
                        axes->n);
    node->axis = SIZE_MAX;
    size_t n = 1;
    if (axes->n == 1) {
        MST_TRY(mst_infer_axis(infer, axes->list[0], &node->in, &node->axis, err));
        n = node->in.dims[node->axis];
        shape = (struct mst_shape){.rank = 1, .dims = {n}};
    }
    if (node->call == 0 && layer->mean_json != NULL) {
        layer->n_means = n;
        MST_TRY(read_numbers(infer, layer->mean_json, "mean", n, &layer->mean, err));
        return read_numbers(infer, layer->variance_json, "variance", n, &layer->variance, err);
    }
    if (layer->mean != NULL)
        return mst_fail(err, MST_UNIMPLEMENTED,
                        "%s with a mean of its own is called more than once, which is not "
                        "built yet",
                        infer->where);
    // What adapt() learned stands in the weights alone.
    struct mst_shape scalar = {0};
    set_weight(layer, MST_WEIGHT_MEAN, "mean", &shape);
    set_weight(layer, MST_WEIGHT_VARIANCE, "variance", &shape);
    set_weight(layer, MST_WEIGHT_COUNT, "count", &scalar);
    for (size_t w = 0; w < MST_LAYER_MAX_WEIGHTS; w++)
        layer->weights[w].update = MST_UPDATE_FROZEN;
    layer->weights[MST_WEIGHT_MEAN].is_adapted = layer->weights[MST_WEIGHT_VARIANCE].is_adapted = true;
    return MST_OK;
}

static void standardize_defaults(struct mst_layer *layer)
{
    norm_defaults(layer);
    layer->weights[MST_WEIGHT_COUNT].initializer =
        (struct mst_initializer){.kind = MST_INIT_ZEROS, .class_name = "Zeros"};
    layer->axes = (struct mst_axes){.n = 1, .list = {-1}};
}

static mst_status check_standardize(struct mst_layer *layer, const char *place, struct mst_error *err)
{
    if ((layer->mean_json == NULL) != (layer->variance_json == NULL))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.config has a mean or a variance; it should have both or none",
                        place);
    return MST_OK;
}

static const struct mst_config_field batch_fields[] = {
    {"axis", mst_layer_read_axes, offsetof(struct mst_layer, axes)},
    FIELD(momentum, mst_config_number),
    FIELD(epsilon, mst_config_number),
    FIELD(center, mst_config_bool),
    {"scale", mst_config_bool, offsetof(struct mst_layer, scales)},
    MST_WEIGHT_FIELDS("beta", MST_WEIGHT_BETA),
    MST_WEIGHT_FIELDS("gamma", MST_WEIGHT_GAMMA),
    {"moving_mean_initializer", mst_layer_read_initializer, offsetof(struct mst_layer, weights[MST_WEIGHT_MEAN])},
    {"moving_variance_initializer", mst_layer_read_initializer,
     offsetof(struct mst_layer, weights[MST_WEIGHT_VARIANCE])},
    {"synchronized", mst_config_refuse, 0},
    {"renorm", mst_config_refuse, 0},
    {"renorm_clipping", mst_config_refuse, 0},
    {"renorm_momentum", NULL, 0}, // of renorm
    {"virtual_batch_size", mst_config_refuse, 0},
};
static const struct mst_config_field layer_fields[] = {
    {"axis", mst_layer_read_axes, offsetof(struct mst_layer, axes)},
    FIELD(epsilon, mst_config_number),
    FIELD(center, mst_config_bool),
    {"scale", mst_config_bool, offsetof(struct mst_layer, scales)},
    FIELD(rms_scaling, mst_config_bool),
    MST_WEIGHT_FIELDS("beta", MST_WEIGHT_BETA),
    MST_WEIGHT_FIELDS("gamma", MST_WEIGHT_GAMMA),
};
static const struct mst_config_field rms_fields[] = {
    {"axis", mst_layer_read_axes, offsetof(struct mst_layer, axes)},
    FIELD(epsilon, mst_config_number),
};
static const struct mst_config_field length_fields[] = {
    {"axis", mst_layer_read_axes, offsetof(struct mst_layer, axes)},
};
static const struct mst_config_field standardize_fields[] = {
    {"axis", mst_layer_read_axes, offsetof(struct mst_layer, axes)},
    {"mean", read_json, offsetof(struct mst_layer, mean_json)},
    {"variance", read_json, offsetof(struct mst_layer, variance_json)},
    FIELD(invert, mst_config_bool),
};

#define FIELDS(fields) fields, sizeof fields / sizeof fields[0]

static const struct mst_layer_class classes[] = {
    {"BatchNormalization", MST_LAYER_BATCH_NORM, FIELDS(batch_fields), check_norm, infer_batch_norm, 1, false, 0,
     norm_defaults},
    {"LayerNormalization", MST_LAYER_ROW_NORM, FIELDS(layer_fields), check_norm, infer_row_norm, 1, false,
     MST_ROW_NORM_LAYER, norm_defaults},
    {"RMSNormalization", MST_LAYER_ROW_NORM, FIELDS(rms_fields), check_norm, infer_row_norm, 1, false, MST_ROW_NORM_RMS,
     rms_defaults},
    {"UnitNormalization", MST_LAYER_ROW_NORM, FIELDS(length_fields), check_norm, infer_row_norm, 1, false,
     MST_ROW_NORM_LENGTH, length_defaults},
    {"Normalization", MST_LAYER_STANDARDIZE, FIELDS(standardize_fields), check_standardize, infer_standardize, 1, false,
     0, standardize_defaults},
};

const struct mst_layer_table mst_layers_norm = {classes, sizeof classes / sizeof classes[0]};
