// The canonical text of a model. Only what changes a number is in it: no build_config, no Keras version, no dtype
// objects.
// Every process of a job hashes it, so that two roles that were given different models refuse each other.
#include "base/alloc.h"
#include "base/error.h"
#include "model_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void put(json_t *object, const char *key, json_t *value)
{
    MST_ASSERT(value != NULL && json_object_set_new(object, key, value) == 0);
}

// Infinity (a ReLU without maximum) has no JSON number.
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *shape_json(const struct mst_shape *shape)
{
    json_t *list = json_array();
    for (size_t i = 0; i < shape->rank; i++)
        MST_ASSERT(json_array_append_new(list, json_integer((json_int_t)shape->dims[i])) == 0);
    return list;
}

static json_t *activation_json(const struct mst_activation *activation)
{
    json_t *object = json_object();
    put(object, "name", json_string(mst_activation_name(activation->kind)));
    put(object, "alpha", number((double)activation->alpha));
    if (activation->kind == MST_ACTIVATION_RELU) {
        put(object, "max_value", number((double)activation->max_value));
        put(object, "threshold", number((double)activation->threshold));
    }
    return object;
}

static json_t *initializer_json(const struct mst_initializer *init)
{
    json_t *object = json_object();
    put(object, "kind", json_integer(init->kind));
    put(object, "a", number(init->a));
    put(object, "b", number(init->b));
    put(object, "mode", json_integer(init->mode));
    put(object, "distribution", json_integer(init->distribution));
    put(object, "seed", init->has_seed ? json_integer((json_int_t)init->seed) : json_null());
    return object;
}

static json_t *axes_json(const struct mst_axes *axes)
{
    json_t *list = json_array();
    for (size_t i = 0; i < axes->n; i++)
        MST_ASSERT(json_array_append_new(list, json_integer(axes->list[i])) == 0);
    return list;
}

static void put_regularizer(json_t *object, const char *key, const struct mst_regularizer *regularizer)
{
    json_t *both = json_object();
    if (regularizer->l1 == 0 && regularizer->l2 == 0) {
        json_decref(both);
        return;
    }
    put(both, "l1", number(regularizer->l1));
    put(both, "l2", number(regularizer->l2));
    put(object, key, both);
}

static void put_norm(json_t *object, const struct mst_layer *layer)
{
    put(object, "axis", axes_json(&layer->axes));
    put(object, "epsilon", number(layer->epsilon));
    put(object, "momentum", number(layer->momentum));
    put(object, "center", json_boolean(layer->center));
    put(object, "scale", json_boolean(layer->scales));
    put(object, "rms_scaling", json_boolean(layer->rms_scaling));
    put(object, "invert", json_boolean(layer->invert));
}

// Dense's keys are those of the first versions, so that the hash of a job stays what it was.
static void put_weights(json_t *object, const struct mst_layer *layer)
{
    static const char *const keys[MST_LAYER_MAX_WEIGHTS] = {"regularizer_0", "regularizer_1", "regularizer_2",
                                                            "regularizer_3", "regularizer_4"};
    for (size_t w = 0; w < MST_LAYER_MAX_WEIGHTS; w++) {
        char key[80];
        if (layer->weights[w].suffix == NULL)
            continue;
        put_regularizer(object, keys[w], &layer->weights[w].regularizer);
        snprintf(key, sizeof key, "%s_initializer", layer->weights[w].suffix);
        put(object, key, initializer_json(&layer->weights[w].initializer));
    }
    if (layer->kind == MST_LAYER_DENSE && !layer->use_bias)
        put(object, "bias_initializer", json_null());
    put_regularizer(object, "activity_regularizer", &layer->activity);
}

// The values of a Normalization that has its own.
static void put_floats(json_t *object, const char *key, const float *values, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n && values != NULL; i++)
        MST_ASSERT(json_array_append_new(list, number((double)values[i])) == 0);
    put(object, key, list);
}

static void put_options(json_t *object, const struct mst_layer *layer)
{
    switch (layer->kind) {
    case MST_LAYER_DENSE:
        put(object, "units", json_integer((json_int_t)layer->units));
        put(object, "activation", activation_json(&layer->activation));
        break;
    case MST_LAYER_ACTIVATION:
        put(object, "activation", activation_json(&layer->activation));
        if (layer->axis != -1 && layer->axis != (double)layer->first_in.rank)
            put(object, "axis", number(layer->axis));
        break;
    case MST_LAYER_RESCALING:
        put(object, "scale", number(layer->scale));
        put(object, "offset", number(layer->offset));
        break;
    case MST_LAYER_DROPOUT:
        put(object, "rate", number(layer->rate));
        put(object, "seed", layer->seed.given ? json_integer((json_int_t)layer->seed.value) : json_null());
        break;
    case MST_LAYER_MERGE:
        put(object, "merge", json_integer(layer->merge));
        put(object, "divides", json_boolean(layer->divides));
        break;
    case MST_LAYER_DOT:
        put(object, "axes", axes_json(&layer->axes));
        put(object, "normalize", json_boolean(layer->normalize));
        break;
    case MST_LAYER_CONCATENATE:
    case MST_LAYER_PERMUTE:
    case MST_LAYER_PRELU:
        put(object, "axes", axes_json(&layer->axes));
        break;
    case MST_LAYER_REPEAT:
    case MST_LAYER_EMBEDDING:
        put(object, "count", json_integer((json_int_t)layer->count));
        put(object, "units", json_integer((json_int_t)layer->units));
        break;
    case MST_LAYER_STANDARDIZE:
        put_floats(object, "mean", layer->mean, layer->n_means);
        put_floats(object, "variance", layer->variance, layer->n_means);
        put_norm(object, layer);
        break;
    case MST_LAYER_BATCH_NORM:
    case MST_LAYER_ROW_NORM:
        put_norm(object, layer);
        break;
    case MST_LAYER_VIEW:
        if (layer->axes.n > 0)
            put(object, "target_shape", axes_json(&layer->axes));
        break;
    case MST_LAYER_POOL:
    case MST_LAYER_INPUT:
    case MST_N_LAYER_KINDS:
        break;
    }
}

static json_t *layer_json(const struct mst_layer *layer)
{
    json_t *object = json_object();
    put(object, "class_name", json_string(layer->class_name));
    put(object, "name", json_string(layer->path));
    if (!layer->trainable)
        put(object, "trainable", json_false());
    put_options(object, layer);
    put_weights(object, layer);
    return object;
}

// One after the other, each layer called once: what a Sequential is, whatever the file calls it.
static bool is_chain(const struct mst_model *model)
{
    bool is = model->n_inputs == 1 && model->n_outputs == 1 && model->n_nodes == model->n_layers + 1 &&
              model->outputs[0] == model->n_nodes - 1 && model->inputs[0].dtype == MST_DTYPE_F32;
    for (size_t i = 1; i < model->n_nodes && is; i++) {
        const struct mst_node *node = &model->nodes[i];
        is = node->layer == i - 1 && node->n_inputs == 1 && node->inputs[0] == i - 1 &&
             node->operand.side == MST_OPERAND_NONE;
    }
    return is;
}

static json_t *inputs_json(const struct mst_model *model)
{
    json_t *list = json_array();
    for (size_t i = 0; i < model->n_inputs; i++) {
        json_t *object = json_object();
        put(object, "name", json_string(model->inputs[i].name));
        put(object, "shape", shape_json(&model->nodes[i].out));
        put(object, "dtype", json_string(mst_dtype_name(model->inputs[i].dtype)));
        MST_ASSERT(json_array_append_new(list, object) == 0);
    }
    return list;
}

static json_t *numbers_json(const size_t *numbers, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        MST_ASSERT(json_array_append_new(list, json_integer((json_int_t)numbers[i])) == 0);
    return list;
}

// Each call: its layer, the tensors that it reads, and the number in a tensor's place if there is one.
static json_t *calls_json(const struct mst_model *model)
{
    json_t *list = json_array();
    for (size_t i = model->n_inputs; i < model->n_nodes; i++) {
        const struct mst_node *node = &model->nodes[i];
        json_t *call = json_array();
        MST_ASSERT(json_array_append_new(call, json_integer((json_int_t)node->layer)) == 0);
        MST_ASSERT(json_array_append_new(call, numbers_json(node->inputs, node->n_inputs)) == 0);
        if (node->operand.side != MST_OPERAND_NONE) {
            MST_ASSERT(json_array_append_new(call, json_integer(node->operand.side)) == 0);
            MST_ASSERT(json_array_append_new(call, number(node->operand.value)) == 0);
        }
        MST_ASSERT(json_array_append_new(list, call) == 0);
    }
    return list;
}

char *mst_model_canonical_json(const struct mst_model *model)
{
    json_t *object = json_object();
    json_t *layers = json_array();
    for (size_t i = 0; i < model->n_layers; i++)
        MST_ASSERT(json_array_append_new(layers, layer_json(&model->layers[i])) == 0);
    put(object, "name", json_string(model->name));
    put(object, "layers", layers);
    if (is_chain(model)) {
        put(object, "class_name", json_string("Sequential"));
        put(object, "input_shape", shape_json(&model->nodes[0].out));
    } else {
        put(object, "class_name", json_string("Functional"));
        put(object, "inputs", inputs_json(model));
        put(object, "calls", calls_json(model));
        put(object, "outputs", numbers_json(model->outputs, model->n_outputs));
    }
    char *dumped = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    MST_ASSERT(dumped != NULL);
    char *text = mst_strdup(dumped);
    free(dumped);
    json_decref(object);
    return text;
}
