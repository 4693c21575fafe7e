// The canonical text of a model. Only what changes a number is in it: no build_config, no Keras version, no dtype
// objects.
// Every process of a job hashes it, so that two roles that were given different models refuse each other.
#include "base/alloc.h"
#include "base/error.h"
#include "model_private.h"

#include <math.h>
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

static json_t *layer_json(const struct mst_layer *layer)
{
    json_t *object = json_object();
    put(object, "class_name", json_string(layer->class_name));
    put(object, "name", json_string(layer->name));
    switch (layer->kind) {
    case MST_LAYER_DENSE:
        put(object, "units", json_integer((json_int_t)layer->units));
        put(object, "activation", activation_json(&layer->activation));
        put(object, "kernel_initializer", initializer_json(&layer->kernel_initializer));
        put(object, "bias_initializer", layer->use_bias ? initializer_json(&layer->bias_initializer) : json_null());
        break;
    case MST_LAYER_ACTIVATION:
        put(object, "activation", activation_json(&layer->activation));
        break;
    case MST_LAYER_RESCALING:
        put(object, "scale", number(layer->scale));
        put(object, "offset", number(layer->offset));
        break;
    case MST_LAYER_DROPOUT:
        put(object, "rate", number(layer->rate));
        put(object, "seed", layer->seed.given ? json_integer((json_int_t)layer->seed.value) : json_null());
        break;
    case MST_LAYER_INPUT:
    case MST_LAYER_VIEW:
        break;
    }
    return object;
}

char *mst_model_canonical_json(const struct mst_model *model)
{
    json_t *object = json_object();
    json_t *layers = json_array();
    for (size_t i = 0; i < model->n_layers; i++)
        MST_ASSERT(json_array_append_new(layers, layer_json(&model->layers[i])) == 0);
    put(object, "class_name", json_string("Sequential"));
    put(object, "name", json_string(model->name));
    put(object, "input_shape", shape_json(&model->input_shape));
    put(object, "layers", layers);
    char *dumped = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    MST_ASSERT(dumped != NULL);
    char *text = mst_strdup(dumped);
    free(dumped);
    json_decref(object);
    return text;
}
