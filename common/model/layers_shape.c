// Layers that only move numbers: Reshape, Permute, RepeatVector, Identity; and Embedding, which takes rows of a table.
#include "layer.h"
#include "layer_read.h"

#include "base/error.h"

#include <string.h>

#define FIELD(key, read) {#key, read, offsetof(struct mst_layer, key)}

static mst_status infer_reshape(const struct mst_infer *infer, struct mst_error *err)
{
    struct mst_node *node = infer->node;
    const struct mst_axes *target = &infer->layer->axes;
    char text[MST_SHAPE_TEXT_BYTES];
    size_t known = 1;
    size_t free_axis = SIZE_MAX;
    bool fits = target->n < MST_SHAPE_MAX_RANK;
    node->out = (struct mst_shape){.rank = target->n};
    for (size_t i = 0; i < target->n && fits; i++) {
        if (target->list[i] == -1 && free_axis == SIZE_MAX) {
            free_axis = i;
            continue;
        }
        fits = target->list[i] >= 1 && !__builtin_mul_overflow(known, (size_t)target->list[i], &known);
        node->out.dims[i] = fits ? (size_t)target->list[i] : 0;
    }
    if (fits && free_axis != SIZE_MAX) {
        node->out.dims[free_axis] = node->n_in / known;
        fits = node->n_in % known == 0 && node->n_in >= known;
    } else {
        fits = fits && known == node->n_in;
    }
    if (fits)
        return MST_OK;
    return mst_fail(err, MST_INVALID_ARGUMENT,
                    "%s: its target_shape does not hold the %zu numbers of %s that '%s' gives", infer->where,
                    node->n_in, mst_layer_show_shape(&node->in, text), mst_infer_in_name(infer, 0));
}

static mst_status check_reshape(struct mst_layer *layer, const char *place, struct mst_error *err)
{
    if (layer->axes.n == 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.config has no target_shape", place);
    return MST_OK;
}

static mst_status infer_permute(const struct mst_infer *infer, struct mst_error *err)
{
    struct mst_node *node = infer->node;
    const struct mst_axes *dims = &infer->layer->axes;
    char text[MST_SHAPE_TEXT_BYTES];
    unsigned seen = 0;
    bool fits = dims->n == node->in.rank && dims->n > 0;
    for (size_t i = 0; i < dims->n && fits; i++) {
        fits = dims->list[i] >= 1 && (size_t)dims->list[i] <= dims->n && !(seen >> dims->list[i] & 1);
        if (!fits)
            break;
        seen |= 1u << dims->list[i];
        node->out.dims[i] = node->in.dims[dims->list[i] - 1];
    }
    if (fits)
        return MST_OK;
    return mst_fail(err, MST_INVALID_ARGUMENT, "%s: its dims do not put the axes 1 to %zu of %s in another order",
                    infer->where, node->in.rank, mst_layer_show_shape(&node->in, text));
}

static mst_status infer_repeat(const struct mst_infer *infer, struct mst_error *err)
{
    struct mst_node *node = infer->node;
    char text[MST_SHAPE_TEXT_BYTES];
    if (node->in.rank != 1 || infer->layer->count == 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s repeats vectors n times, but '%s' gives %s and n is %zu",
                        infer->where, mst_infer_in_name(infer, 0), mst_layer_show_shape(&node->in, text),
                        infer->layer->count);
    node->out = (struct mst_shape){.rank = 2, .dims = {infer->layer->count, node->in.dims[0]}};
    return MST_OK;
}

static mst_status check_pool(struct mst_layer *layer, const char *place, struct mst_error *err)
{
    if (layer->data_format != NULL && strcmp(layer->data_format, "channels_last") != 0)
        return mst_fail(err, MST_UNIMPLEMENTED,
                        "%s.config.data_format is '%.64s', which is not built yet; channels_last is", place,
                        layer->data_format);
    return MST_OK;
}

static mst_status infer_pool(const struct mst_infer *infer, struct mst_error *err)
{
    struct mst_node *node = infer->node;
    char text[MST_SHAPE_TEXT_BYTES];
    size_t wanted = (size_t)infer->layer->class->option + 1;
    if (node->in.rank != wanted)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s takes %zu axes an example, but '%s' gives %s", infer->where,
                        wanted, mst_infer_in_name(infer, 0), mst_layer_show_shape(&node->in, text));
    node->out = (struct mst_shape){.rank = 1, .dims = {node->in.dims[wanted - 1]}};
    return MST_OK;
}

// Ids come as floats, which count to 2^24.
static mst_status check_embedding(struct mst_layer *layer, const char *place, struct mst_error *err)
{
    const size_t limit = (size_t)1 << 24;
    if (layer->count == 0 || layer->units == 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.config has no %s", place,
                        layer->count == 0 ? "input_dim" : "output_dim");
    if (layer->count > limit)
        return mst_fail(err, MST_UNIMPLEMENTED, "%s.config.input_dim is %zu, which is not built yet; %zu is the limit",
                        place, layer->count, limit);
    return MST_OK;
}

static mst_status infer_embedding(const struct mst_infer *infer, struct mst_error *err)
{
    struct mst_node *node = infer->node;
    struct mst_layer *layer = infer->layer;
    if (node->in.rank + 1 >= MST_SHAPE_MAX_RANK)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: its input has %zu axes; one more is too many", infer->where,
                        node->in.rank);
    node->out.dims[node->out.rank++] = layer->units;
    layer->weights[MST_WEIGHT_TABLE].suffix = "embeddings";
    layer->weights[MST_WEIGHT_TABLE].shape = (struct mst_shape){.rank = 2, .dims = {layer->count, layer->units}};
    return MST_OK;
}

static void embedding_defaults(struct mst_layer *layer)
{
    layer->weights[MST_WEIGHT_TABLE].initializer =
        (struct mst_initializer){.kind = MST_INIT_RANDOM_UNIFORM, .a = -0.05, .b = 0.05, .class_name = "RandomUniform"};
}

static const struct mst_config_field reshape_fields[] = {
    {"target_shape", mst_layer_read_axes, offsetof(struct mst_layer, axes)},
};
static const struct mst_config_field permute_fields[] = {
    {"dims", mst_layer_read_axes, offsetof(struct mst_layer, axes)},
};
static const struct mst_config_field repeat_fields[] = {
    {"n", mst_config_size, offsetof(struct mst_layer, count)},
};
static const struct mst_config_field pool_fields[] = {
    FIELD(data_format, mst_config_text),
    {"keepdims", mst_config_refuse, 0},
};
static const struct mst_config_field embedding_fields[] = {
    {"input_dim", mst_config_size, offsetof(struct mst_layer, count)},
    {"output_dim", mst_config_size, offsetof(struct mst_layer, units)},
    MST_WEIGHT_FIELDS("embeddings", MST_WEIGHT_TABLE),
    {"mask_zero", mst_config_refuse, 0},
    {"weights", mst_config_refuse, 0},
    {"sparse", mst_config_refuse, 0},
    {"input_length", NULL, 0}, // Keras 2: the shape says it
    {"lora_rank", mst_config_refuse, 0},
    {"lora_alpha", mst_config_refuse, 0},
    {"quantization_config", mst_config_refuse, 0},
};

#define FIELDS(fields) fields, sizeof fields / sizeof fields[0]

static const struct mst_layer_class classes[] = {
    {"Reshape", MST_LAYER_VIEW, FIELDS(reshape_fields), check_reshape, infer_reshape, 1, false, 0, NULL},
    {"Permute", MST_LAYER_PERMUTE, FIELDS(permute_fields), NULL, infer_permute, 1, false, 0, NULL},
    {"RepeatVector", MST_LAYER_REPEAT, FIELDS(repeat_fields), NULL, infer_repeat, 1, false, 0, NULL},
    {"GlobalAveragePooling1D", MST_LAYER_POOL, FIELDS(pool_fields), check_pool, infer_pool, 1, false, 1, NULL},
    {"GlobalAveragePooling2D", MST_LAYER_POOL, FIELDS(pool_fields), check_pool, infer_pool, 1, false, 2, NULL},
    {"Identity", MST_LAYER_VIEW, NULL, 0, NULL, NULL, 1, false, 0, NULL},
    {"Embedding", MST_LAYER_EMBEDDING, FIELDS(embedding_fields), check_embedding, infer_embedding, 1, false, 0,
     embedding_defaults},
};

const struct mst_layer_table mst_layers_shape = {classes, sizeof classes / sizeof classes[0]};
