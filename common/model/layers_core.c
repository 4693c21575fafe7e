// The layers that a stack of Dense layers is made of: which keys their config may have, what must hold between them,
// which shape they make.
#include "layer.h"
#include "layer_read.h"

#include "base/error.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FIELD(key, read) {#key, read, offsetof(struct mst_layer, key)}

// What must hold between the keys

static mst_status check_flatten(struct mst_layer *layer, const char *place, struct mst_error *err)
{
    if (layer->data_format != NULL && strcmp(layer->data_format, "channels_last") != 0)
        return mst_fail(err, MST_UNIMPLEMENTED,
                        "%s.config.data_format is '%.64s', which is not built yet; channels_last is", place,
                        layer->data_format);
    return MST_OK;
}

static mst_status check_dense(struct mst_layer *layer, const char *place, struct mst_error *err)
{
    if (layer->units == 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.config has no units", place);
    return MST_OK;
}

static mst_status check_relu(struct mst_layer *layer, const char *place, struct mst_error *err)
{
    if (!(layer->max_value >= 0) || !(layer->negative_slope >= 0) || !(layer->threshold >= 0))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s.config: max_value %g, negative_slope %g and threshold %g should not be negative", place,
                        layer->max_value, layer->negative_slope, layer->threshold);
    layer->activation = mst_activation_default(MST_ACTIVATION_RELU);
    layer->activation.alpha = (float)layer->negative_slope;
    layer->activation.max_value = (float)layer->max_value;
    layer->activation.threshold = (float)layer->threshold;
    return MST_OK;
}

static mst_status check_leaky_relu(struct mst_layer *layer, const char *place, struct mst_error *err)
{
    (void)place;
    (void)err;
    layer->activation = mst_activation_default(MST_ACTIVATION_LEAKY_RELU);
    layer->activation.alpha =
        isnan(layer->alpha) ? 0.3f : (float)layer->alpha; // the layer's default, not the function's
    return MST_OK;
}

static mst_status check_elu(struct mst_layer *layer, const char *place, struct mst_error *err)
{
    (void)place;
    (void)err;
    layer->activation = mst_activation_default(MST_ACTIVATION_ELU);
    if (!isnan(layer->alpha))
        layer->activation.alpha = (float)layer->alpha;
    return MST_OK;
}

static mst_status check_softmax(struct mst_layer *layer, const char *place, struct mst_error *err)
{
    (void)place;
    (void)err;
    layer->activation = mst_activation_default(MST_ACTIVATION_SOFTMAX);
    return MST_OK;
}

static mst_status check_dropout(struct mst_layer *layer, const char *place, struct mst_error *err)
{
    if (!(layer->rate >= 0) || !(layer->rate < 1))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.config.rate is %g; it should be at least 0 and below 1", place,
                        layer->rate);
    return MST_OK;
}

// Shapes

static mst_status infer_flatten(const struct mst_infer *infer, struct mst_error *err)
{
    (void)err;
    infer->node->out = (struct mst_shape){.rank = 1, .dims = {infer->node->n_in}};
    return MST_OK;
}

static mst_status infer_rescaling(const struct mst_infer *infer, struct mst_error *err)
{
    (void)err;
    infer->node->scale = infer->layer->scale;
    infer->node->offset = infer->layer->offset;
    return MST_OK;
}

static mst_status infer_dense(const struct mst_infer *infer, struct mst_error *err)
{
    struct mst_layer *layer = infer->layer;
    struct mst_node *node = infer->node;
    MST_TRY(mst_infer_needs_axis(infer, err));
    node->out.dims[node->in.rank - 1] = layer->units;
    layer->weights[MST_WEIGHT_KERNEL].suffix = "kernel";
    layer->weights[MST_WEIGHT_KERNEL].shape =
        (struct mst_shape){.rank = 2, .dims = {node->in.dims[node->in.rank - 1], layer->units}};
    if (layer->use_bias) {
        layer->weights[MST_WEIGHT_BIAS].suffix = "bias";
        layer->weights[MST_WEIGHT_BIAS].shape = (struct mst_shape){.rank = 1, .dims = {layer->units}};
    }
    return MST_OK;
}

static mst_status infer_softmax(const struct mst_infer *infer, struct mst_error *err)
{
    struct mst_node *node = infer->node;
    const double axis = infer->layer->axis;
    MST_TRY(mst_infer_needs_axis(infer, err));
    if (axis != floor(axis) || !(fabs(axis) < 100))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.config.axis is %g; it should be a whole number", infer->where,
                        axis);
    MST_TRY(mst_infer_axis(infer, (long long)axis, &node->in, &node->axis, err));
    node->is_turned = node->axis + 1 != node->in.rank;
    return MST_OK;
}

static mst_status infer_activation(const struct mst_infer *infer, struct mst_error *err)
{
    enum mst_activation_kind kind = infer->layer->activation.kind;
    if (kind == MST_ACTIVATION_SOFTMAX || kind == MST_ACTIVATION_LOG_SOFTMAX)
        return mst_infer_needs_axis(infer, err);
    return MST_OK;
}

// Shared axes have one weight for all their places.
static mst_status infer_prelu(const struct mst_infer *infer, struct mst_error *err)
{
    struct mst_layer *layer = infer->layer;
    struct mst_shape shape = infer->node->in;
    for (size_t i = 0; i < layer->axes.n; i++) {
        size_t axis;
        MST_TRY(mst_infer_axis(infer, layer->axes.list[i], &shape, &axis, err));
        shape.dims[axis] = 1;
    }
    layer->weights[MST_WEIGHT_ALPHA].suffix = "alpha";
    layer->weights[MST_WEIGHT_ALPHA].shape = shape;
    return MST_OK;
}

static void prelu_defaults(struct mst_layer *layer)
{
    layer->weights[MST_WEIGHT_ALPHA].initializer =
        (struct mst_initializer){.kind = MST_INIT_ZEROS, .class_name = "Zeros"};
}

// The table

static const struct mst_config_field input_fields[] = {
    {"batch_shape", mst_layer_read_input_shape, 0},
    {"sparse", mst_config_refuse, 0},
    {"ragged", mst_config_refuse, 0},
    {"optional", mst_config_refuse, 0},
};
static const struct mst_config_field flatten_fields[] = {FIELD(data_format, mst_config_text)};
static const struct mst_config_field rescaling_fields[] = {FIELD(scale, mst_config_number),
                                                           FIELD(offset, mst_config_number)};
static const struct mst_config_field dense_fields[] = {
    FIELD(units, mst_config_size),
    FIELD(activation, mst_layer_read_activation),
    FIELD(use_bias, mst_config_bool),
    MST_WEIGHT_FIELDS("kernel", MST_WEIGHT_KERNEL),
    MST_WEIGHT_FIELDS("bias", MST_WEIGHT_BIAS),
    {"lora_rank", mst_config_refuse, 0},
    {"lora_alpha", mst_config_refuse, 0},
    {"quantization_config", mst_config_refuse, 0},
};
static const struct mst_config_field activation_fields[] = {FIELD(activation, mst_layer_read_activation)};
static const struct mst_config_field relu_fields[] = {FIELD(max_value, mst_config_number_or_null),
                                                      FIELD(negative_slope, mst_config_number_or_null),
                                                      FIELD(threshold, mst_config_number_or_null)};
static const struct mst_config_field leaky_relu_fields[] = {
    {"negative_slope", mst_config_number, offsetof(struct mst_layer, alpha)},
    {"alpha", mst_config_number, offsetof(struct mst_layer, alpha)}, // Keras 2
};
static const struct mst_config_field elu_fields[] = {FIELD(alpha, mst_config_number)};
static const struct mst_config_field prelu_fields[] = {
    MST_WEIGHT_FIELDS("alpha", MST_WEIGHT_ALPHA),
    {"shared_axes", mst_layer_read_axes, offsetof(struct mst_layer, axes)},
};
static const struct mst_config_field softmax_fields[] = {FIELD(axis, mst_layer_read_axis)};
static const struct mst_config_field dropout_fields[] = {
    FIELD(rate, mst_config_number),
    FIELD(seed, mst_config_seed),
    {"noise_shape", mst_config_refuse, 0},
};

#define FIELDS(fields) fields, sizeof fields / sizeof fields[0]

static const struct mst_layer_class classes[] = {
    {"InputLayer", MST_LAYER_INPUT, FIELDS(input_fields), NULL, NULL, 0, false, 0, NULL},
    {"Flatten", MST_LAYER_VIEW, FIELDS(flatten_fields), check_flatten, infer_flatten, 1, false, 0, NULL},
    {"Rescaling", MST_LAYER_RESCALING, FIELDS(rescaling_fields), NULL, infer_rescaling, 1, false, 0, NULL},
    {"Dense", MST_LAYER_DENSE, FIELDS(dense_fields), check_dense, infer_dense, 1, false, 0, NULL},
    {"Activation", MST_LAYER_ACTIVATION, FIELDS(activation_fields), NULL, infer_activation, 1, false, 0, NULL},
    {"ReLU", MST_LAYER_ACTIVATION, FIELDS(relu_fields), check_relu, NULL, 1, false, 0, NULL},
    {"LeakyReLU", MST_LAYER_ACTIVATION, FIELDS(leaky_relu_fields), check_leaky_relu, NULL, 1, false, 0, NULL},
    {"ELU", MST_LAYER_ACTIVATION, FIELDS(elu_fields), check_elu, NULL, 1, false, 0, NULL},
    {"PReLU", MST_LAYER_PRELU, FIELDS(prelu_fields), NULL, infer_prelu, 1, false, 0, prelu_defaults},
    {"Softmax", MST_LAYER_ACTIVATION, FIELDS(softmax_fields), check_softmax, infer_softmax, 1, false, 0, NULL},
    {"Dropout", MST_LAYER_DROPOUT, FIELDS(dropout_fields), check_dropout, NULL, 1, false, 0, NULL},
};

const struct mst_layer_table mst_layers_core = {classes, sizeof classes / sizeof classes[0]};
