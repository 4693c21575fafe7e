// Layers and operations that join several tensors: elementwise, one after the other, or by products.
#include "layer.h"
#include "layer_read.h"

#include "base/error.h"

#include <string.h>

#define FIELD(key, read) {#key, read, offsetof(struct mst_layer, key)}

static mst_status check_merge(struct mst_layer *layer, const char *place, struct mst_error *err)
{
    (void)place;
    (void)err;
    layer->merge = (enum mst_merge_kind)layer->class->option;
    return MST_OK;
}

static mst_status check_divide(struct mst_layer *layer, const char *place, struct mst_error *err)
{
    (void)place;
    (void)err;
    layer->divides = true;
    return MST_OK;
}

// What Keras 2 makes of an operator: a layer of class TFOpLambda that names a function of TensorFlow.
static mst_status check_function(struct mst_layer *layer, const char *place, struct mst_error *err)
{
    static const struct {
        const char *name;
        enum mst_merge_kind merge;
        bool divides;
    } functions[] = {
        {"__operators__.add", MST_MERGE_ADD, false},         {"math.add", MST_MERGE_ADD, false},
        {"math.subtract", MST_MERGE_SUBTRACT, false},        {"math.multiply", MST_MERGE_MULTIPLY, false},
        {"math.maximum", MST_MERGE_MAXIMUM, false},          {"math.minimum", MST_MERGE_MINIMUM, false},
        {"math.truediv", MST_MERGE_MULTIPLY, true},          {"math.divide", MST_MERGE_MULTIPLY, true},
        {"__operators__.truediv", MST_MERGE_MULTIPLY, true},
    };
    const char *name = layer->function != NULL ? layer->function : "";
    layer->function = NULL;
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        if (strcmp(name, functions[i].name) == 0) {
            layer->merge = functions[i].merge;
            layer->divides = functions[i].divides;
            return MST_OK;
        }
    }
    return mst_fail(err, MST_UNIMPLEMENTED,
                    "%s.config.function is '%.64s', which is not built yet; +, -, * of tensors or numbers, / by a "
                    "number, maximum and minimum of tensors are",
                    place, name);
}

// x + 2 and its like are a Rescaling.
static mst_status infer_operand(const struct mst_infer *infer, struct mst_error *err)
{
    const struct mst_layer *layer = infer->layer;
    struct mst_node *node = infer->node;
    double value = node->operand.value;
    bool is_left = node->operand.side == MST_OPERAND_LEFT;
    node->scale = 1;
    if (layer->divides && !is_left && value != 0) {
        node->scale = 1 / value;
    } else if (layer->divides || layer->merge == MST_MERGE_MAXIMUM || layer->merge == MST_MERGE_MINIMUM) {
        return mst_fail(err, MST_UNIMPLEMENTED, "%s with the number %g %s a tensor is not built yet", infer->where,
                        value, is_left ? "before" : "after");
    } else if (layer->merge == MST_MERGE_MULTIPLY) {
        node->scale = value;
    } else if (layer->merge == MST_MERGE_ADD) {
        node->offset = value;
    } else {
        node->scale = is_left ? -1 : 1;
        node->offset = is_left ? value : -value;
    }
    return MST_OK;
}

// Axes are paired from the last on; one of size 1, and one that is missing, repeats.
static mst_status broadcast(const struct mst_infer *infer, size_t input, struct mst_error *err)
{
    struct mst_shape *out = &infer->node->out;
    const struct mst_shape *in = mst_infer_in(infer, input);
    const struct mst_shape before = *out;
    char first[MST_SHAPE_TEXT_BYTES];
    char second[MST_SHAPE_TEXT_BYTES];
    bool fits = in->rank == out->rank || !infer->layer->class->takes_operand;
    if (in->rank > out->rank) {
        size_t more = in->rank - out->rank;
        for (size_t i = in->rank; i-- > 0;)
            out->dims[i] = i >= more ? before.dims[i - more] : 1;
        out->rank = in->rank;
    }
    for (size_t i = 0; i < in->rank; i++) {
        size_t *dim = &out->dims[out->rank - 1 - i];
        size_t other = in->dims[in->rank - 1 - i];
        fits = fits && (*dim == other || *dim == 1 || other == 1);
        *dim = *dim == 1 ? other : *dim;
    }
    if (fits)
        return MST_OK;
    return mst_fail(err, MST_INVALID_ARGUMENT, "%s: '%s' gives %s and '%s' gives %s, which do not fit together",
                    infer->where, mst_infer_in_name(infer, 0), mst_layer_show_shape(mst_infer_in(infer, 0), first),
                    mst_infer_in_name(infer, input), mst_layer_show_shape(in, second));
}

static mst_status infer_merge(const struct mst_infer *infer, struct mst_error *err)
{
    const struct mst_node *node = infer->node;
    bool wants_two = infer->layer->class->takes_operand || infer->layer->merge == MST_MERGE_SUBTRACT;
    if (node->operand.side != MST_OPERAND_NONE)
        return infer_operand(infer, err);
    if (infer->layer->divides)
        return mst_fail(err, MST_UNIMPLEMENTED, "%s of two tensors is not built yet; by a number is", infer->where);
    if ((wants_two && node->n_inputs != 2) || node->n_inputs > MST_MERGE_MAX_INPUTS)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s is called with %zu inputs; it takes %s%d", infer->where,
                        node->n_inputs, wants_two ? "" : "1 to ", wants_two ? 2 : MST_MERGE_MAX_INPUTS);
    for (size_t i = 1; i < node->n_inputs; i++)
        MST_TRY(broadcast(infer, i, err));
    return MST_OK;
}

static mst_status infer_concatenate(const struct mst_infer *infer, struct mst_error *err)
{
    struct mst_node *node = infer->node;
    char first[MST_SHAPE_TEXT_BYTES];
    char second[MST_SHAPE_TEXT_BYTES];
    const struct mst_axes *axes = &infer->layer->axes;
    MST_TRY(mst_infer_axis(infer, axes->n > 0 ? axes->list[0] : -1, &node->in, &node->axis, err));
    for (size_t k = 1; k < node->n_inputs; k++) {
        const struct mst_shape *in = mst_infer_in(infer, k);
        bool fits = in->rank == node->in.rank;
        for (size_t i = 0; i < in->rank && fits; i++)
            fits = i == node->axis || in->dims[i] == node->in.dims[i];
        if (!fits)
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "%s: '%s' gives %s and '%s' gives %s; they may differ in axis %zu alone", infer->where,
                            mst_infer_in_name(infer, 0), mst_layer_show_shape(&node->in, first),
                            mst_infer_in_name(infer, k), mst_layer_show_shape(in, second), node->axis + 1);
        node->out.dims[node->axis] += in->dims[node->axis];
    }
    return MST_OK;
}

// An example of x as a matrix (m, k) or (k, m), of y as (k, n) or (n, k); one axis alone is a matrix of one row.
static mst_status infer_dot(const struct mst_infer *infer, struct mst_error *err)
{
    struct mst_node *node = infer->node;
    const struct mst_axes *axes = &infer->layer->axes;
    const struct mst_shape *x = &node->in;
    const struct mst_shape *y = mst_infer_in(infer, 1);
    char first[MST_SHAPE_TEXT_BYTES];
    char second[MST_SHAPE_TEXT_BYTES];
    size_t x_axis;
    size_t y_axis;
    MST_TRY(mst_infer_axis(infer, axes->list[0], x, &x_axis, err));
    MST_TRY(mst_infer_axis(infer, axes->list[axes->n > 1 ? 1 : 0], y, &y_axis, err));
    if (x->rank > 2 || y->rank > 2)
        return mst_fail(err, MST_UNIMPLEMENTED, "%s of %s and %s is not built yet; of one or two axes an example is",
                        infer->where, mst_layer_show_shape(x, first), mst_layer_show_shape(y, second));
    if (x->dims[x_axis] != y->dims[y_axis])
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s: '%s' gives %s and '%s' gives %s, whose axes %zu and %zu differ in size", infer->where,
                        mst_infer_in_name(infer, 0), mst_layer_show_shape(x, first), mst_infer_in_name(infer, 1),
                        mst_layer_show_shape(y, second), x_axis + 1, y_axis + 1);
    bool x_is_turned = x->rank == 2 && x_axis == 0;
    bool y_is_turned = y->rank == 1 || y_axis == 1;
    node->k = x->dims[x_axis];
    node->m = x->rank == 2 ? x->dims[1 - x_axis] : 1;
    node->n = y->rank == 2 ? y->dims[1 - y_axis] : 1;
    // A vector is a row as well as a column.
    if (x_is_turned && y->rank == 1)
        y_is_turned = false;
    if (x_is_turned && y_is_turned)
        return mst_fail(err, MST_UNIMPLEMENTED, "%s with axes (1, 2) is not built yet; (1, 1), (2, 1) and (2, 2) are",
                        infer->where);
    node->form = x_is_turned ? MST_GEMM_TN : y_is_turned ? MST_GEMM_NT : MST_GEMM_NN;
    if (infer->layer->normalize && node->form != MST_GEMM_NT)
        return mst_fail(err, MST_UNIMPLEMENTED, "%s with normalize is not built yet over other axes than the last ones",
                        infer->where);
    node->out = (struct mst_shape){0};
    if (x->rank == 2)
        node->out.dims[node->out.rank++] = node->m;
    if (y->rank == 2)
        node->out.dims[node->out.rank++] = node->n;
    if (node->out.rank == 0)
        node->out = (struct mst_shape){.rank = 1, .dims = {1}};
    return MST_OK;
}

static mst_status check_dot(struct mst_layer *layer, const char *place, struct mst_error *err)
{
    if (layer->axes.n == 0 || layer->axes.n > 2)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.config.axes should be an axis or a pair of them", place);
    return MST_OK;
}

static const struct mst_config_field concatenate_fields[] = {
    {"axis", mst_layer_read_axes, offsetof(struct mst_layer, axes)},
};
static const struct mst_config_field dot_fields[] = {
    FIELD(axes, mst_layer_read_axes),
    FIELD(normalize, mst_config_bool),
};
static const struct mst_config_field function_fields[] = {FIELD(function, mst_config_text)};

#define FIELDS(fields)        fields, sizeof fields / sizeof fields[0]
#define MERGE(name, kind)     {name, MST_LAYER_MERGE, NULL, 0, check_merge, infer_merge, SIZE_MAX, false, kind, NULL}
#define OPERATION(name, kind) {name, MST_LAYER_MERGE, NULL, 0, check_merge, infer_merge, SIZE_MAX, true, kind, NULL}

static const struct mst_layer_class classes[] = {
    MERGE("Add", MST_MERGE_ADD),
    MERGE("Subtract", MST_MERGE_SUBTRACT),
    MERGE("Multiply", MST_MERGE_MULTIPLY),
    MERGE("Average", MST_MERGE_AVERAGE),
    MERGE("Maximum", MST_MERGE_MAXIMUM),
    MERGE("Minimum", MST_MERGE_MINIMUM),
    {"Concatenate", MST_LAYER_CONCATENATE, FIELDS(concatenate_fields), NULL, infer_concatenate, SIZE_MAX, false, 0,
     NULL},
    {"Dot", MST_LAYER_DOT, FIELDS(dot_fields), check_dot, infer_dot, 2, false, 0, NULL},
    {"TFOpLambda", MST_LAYER_MERGE, FIELDS(function_fields), check_function, infer_merge, SIZE_MAX, true, 0, NULL},
};

static const struct mst_layer_class operations[] = {
    OPERATION("Add", MST_MERGE_ADD),
    OPERATION("Subtract", MST_MERGE_SUBTRACT),
    OPERATION("Multiply", MST_MERGE_MULTIPLY),
    OPERATION("Maximum", MST_MERGE_MAXIMUM),
    OPERATION("Minimum", MST_MERGE_MINIMUM),
    {"TrueDivide", MST_LAYER_MERGE, NULL, 0, check_divide, infer_merge, SIZE_MAX, true, 0, NULL},
    {"Divide", MST_LAYER_MERGE, NULL, 0, check_divide, infer_merge, SIZE_MAX, true, 0, NULL},
};

const struct mst_layer_table mst_layers_merge = {classes, sizeof classes / sizeof classes[0]};
const struct mst_layer_table mst_operations = {operations, sizeof operations / sizeof operations[0]};
