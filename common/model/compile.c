// Losses and metrics are given once for all outputs, as a list or by the outputs' names; here they are spread over the
// outputs and named, by Keras's rules. Where Keras's rules have no meaning, they are refused.
// Source: keras/src/trainers/compile_utils.py
#include "model/compile.h"

#include "base/error.h"
#include "compile_private.h"
#include "config.h"

#include <stdio.h>
#include <string.h>

struct compile {
    const json_t *loss;
    const json_t *loss_weights;
    const json_t *metrics;
    const json_t *weighted_metrics;
};

// What is being filled, and where errors say it stands.
struct parse {
    struct mst_compile *out;
    const struct mst_model *model;
    const char *path;
    bool is_weighted; // the metrics at hand
};

static mst_status keep(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    (void)path;
    (void)err;
    *(const json_t **)out = json_is_null(value) ? NULL : value;
    return MST_OK;
}

static size_t n_values_of(const struct parse *p, size_t output)
{
    return mst_model_output_shape(p->model, output)->dims[0];
}

// The output of this name, or SIZE_MAX.
static size_t find_output(const struct parse *p, const char *name)
{
    for (size_t o = 0; o < p->out->n_outputs; o++) {
        if (strcmp(mst_model_output_name(p->model, o), name) == 0)
            return o;
    }
    return SIZE_MAX;
}

static mst_status unknown_output(const struct parse *p, const char *path, const char *name, struct mst_error *err)
{
    const char *names[MST_MAX_OUTPUTS];
    char list[512];
    for (size_t o = 0; o < p->out->n_outputs; o++)
        names[o] = mst_model_output_name(p->model, o);
    return mst_fail(err, MST_INVALID_ARGUMENT, "%s: the model has no output '%.64s'; its outputs are %s", path, name,
                    mst_config_list(names, p->out->n_outputs, list, sizeof list));
}

// Of an object with an entry for each output.
static mst_status check_names(const struct parse *p, const json_t *json, const char *path, struct mst_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)json, name, value)
    {
        if (find_output(p, name) == SIZE_MAX)
            return unknown_output(p, path, name, err);
    }
    return MST_OK;
}

// A serialised object, not one entry an output.
static bool is_object_of_keras(const json_t *json)
{
    return json_is_object(json) && json_object_get(json, "class_name") != NULL;
}

// ---- losses ----

static mst_status read_loss(const struct parse *p, const json_t *json, const char *path, size_t output,
                            struct mst_error *err)
{
    struct mst_output_loss *loss = &p->out->losses[output];
    char text[MST_SHAPE_TEXT_BYTES];
    const struct mst_shape *shape = mst_model_output_shape(p->model, output);
    if (json_is_null(json))
        return MST_OK;
    // First the name of the loss: it is more often wrong than the shape.
    MST_TRY(mst_compile_read_loss(json, path, shape->rank > 0 ? shape->dims[shape->rank - 1] : 1, loss, err));
    if (shape->rank != 1)
        return mst_fail(err, MST_UNIMPLEMENTED,
                        "%s: the model's output for an example has shape %s; losses are built for one "
                        "row of outputs, so let a Flatten come last",
                        path, mst_shape_print(shape, text, sizeof text));
    return MST_OK;
}

static mst_status read_losses_by_name(const struct parse *p, const json_t *json, const char *path,
                                      struct mst_error *err)
{
    MST_TRY(check_names(p, json, path, err));
    for (size_t o = 0; o < p->out->n_outputs; o++) {
        char at[MST_CONFIG_PATH_BYTES];
        const char *name = mst_model_output_name(p->model, o);
        const json_t *value = json_object_get(json, name);
        snprintf(at, sizeof at, "%s.%s", path, name);
        if (value == NULL)
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s is missing: give each output a loss, or null", at);
        MST_TRY(read_loss(p, value, at, o, err));
    }
    return MST_OK;
}

static mst_status read_losses(const struct parse *p, const json_t *json, struct mst_error *err)
{
    size_t n_outputs = p->out->n_outputs;
    char path[MST_CONFIG_PATH_BYTES];
    snprintf(path, sizeof path, "%s.loss", p->path);
    if (json == NULL)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s is missing; training needs one", path);
    bool is_by_name = json_is_object(json) && !is_object_of_keras(json);
    if (is_by_name)
        MST_TRY(read_losses_by_name(p, json, path, err));
    if (json_is_array(json) && json_array_size(json) != n_outputs)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: a list of %zu losses for %zu outputs", path,
                        json_array_size(json), n_outputs);
    for (size_t o = 0; o < n_outputs && !is_by_name; o++) {
        char at[MST_CONFIG_PATH_BYTES];
        snprintf(at, sizeof at, json_is_array(json) ? "%s[%zu]" : "%s", path, o);
        MST_TRY(read_loss(p, json_is_array(json) ? json_array_get(json, o) : json, at, o, err));
    }
    for (size_t o = 0; o < n_outputs; o++) {
        if (p->out->losses[o].is_given)
            return MST_OK;
    }
    return mst_fail(err, MST_INVALID_ARGUMENT, "%s: no output has a loss; training needs one", path);
}

// The weight of an output's loss, which stands as the losses do: alone, in a list, by name.
static const json_t *weight_of(const struct parse *p, const json_t *json, size_t output)
{
    if (json_is_array(json))
        return json_array_get(json, output);
    return json_is_object(json) ? json_object_get(json, mst_model_output_name(p->model, output)) : json;
}

static mst_status read_loss_weights(const struct parse *p, const json_t *json, const json_t *losses,
                                    struct mst_error *err)
{
    size_t n_outputs = p->out->n_outputs;
    bool is_by_name = json_is_object(losses) && !is_object_of_keras(losses);
    bool is_empty =
        (json_is_array(json) && json_array_size(json) == 0) || (json_is_object(json) && json_object_size(json) == 0);
    if (json == NULL || is_empty)
        return MST_OK;
    if ((json_is_array(json) && json_array_size(json) != n_outputs) || (json_is_object(json) && !is_by_name) ||
        (json_is_number(json) && (json_is_array(losses) || is_by_name) && n_outputs > 1) ||
        (json_is_array(json) && !json_is_array(losses) && !is_by_name && n_outputs > 1))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s.loss_weights should be given as %s.loss is: one number, a list with one for each of the "
                        "%zu outputs, or one by each output's name",
                        p->path, p->path, n_outputs);
    for (size_t o = 0; o < n_outputs; o++) {
        const json_t *weight = weight_of(p, json, o);
        char shown[MST_CONFIG_SHOWN_BYTES];
        if (!p->out->losses[o].is_given || (json_is_array(json) && json_is_null(weight)))
            continue;
        if (!json_is_number(weight))
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "%s.loss_weights: the weight of output '%.64s' is %s; it should "
                            "be a number",
                            p->path, mst_model_output_name(p->model, o),
                            weight == NULL ? "missing" : mst_config_show(weight, shown));
        p->out->losses[o].weight = json_number_value(weight);
    }
    return MST_OK;
}

static bool is_taken(const struct mst_compile *compile, const char *name)
{
    for (size_t i = 0; i < mst_compile_n_measures(compile); i++) {
        if (strcmp(mst_measure_name(compile, i), name) == 0)
            return true;
    }
    return false;
}

// With several losses Keras reports each of them, too.
static mst_status name_losses(const struct parse *p, struct mst_error *err)
{
    struct mst_compile *out = p->out;
    size_t n = 0;
    for (size_t o = 0; o < out->n_outputs; o++)
        n += out->losses[o].is_given;
    for (size_t o = 0; o < out->n_outputs && n > 1; o++) {
        if (!out->losses[o].is_given)
            continue;
        const char *name = mst_model_output_name(p->model, o);
        char whole[MST_MODEL_MAX_NAME_BYTES + 32];
        snprintf(whole, sizeof whole, "%s_loss", name);
        for (size_t i = 1; is_taken(out, whole); i++) // outputs of one layer
            snprintf(whole, sizeof whole, "%s_loss_%zu", name, i);
        if (strlen(whole) >= MST_MEASURE_NAME_BYTES)
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s: the name of output '%.64s' is too long to report", p->path,
                            name);
        size_t at = out->n_output_losses++;
        out->output_losses[at].output = o;
        snprintf(out->output_losses[at].name, MST_MEASURE_NAME_BYTES, "%s", whole);
    }
    out->n_sums = 2 + 2 * out->n_output_losses;
    return MST_OK;
}

// ---- metrics ----

// The output's name before it, and what tells two of a name apart.
static mst_status name_metric(const struct parse *p, const char *path, struct mst_metric *metric, struct mst_error *err)
{
    char base[2 * MST_MODEL_MAX_NAME_BYTES + MST_MEASURE_NAME_BYTES];
    char whole[sizeof base + 32];
    const char *output = p->out->n_outputs > 1 ? mst_model_output_name(p->model, metric->output) : "";
    snprintf(base, sizeof base, "%s%s%s", output, *output ? "_" : "", metric->name);
    snprintf(whole, sizeof whole, "%s", base);
    if (metric->is_weighted && is_taken(p->out, whole)) {
        snprintf(base, sizeof base, "%s%sweighted_%s", output, *output ? "_" : "", metric->name);
        snprintf(whole, sizeof whole, "%s", base);
    }
    for (size_t i = 1; is_taken(p->out, whole); i++)
        snprintf(whole, sizeof whole, "%s_%zu", base, i);
    if (snprintf(metric->name, sizeof metric->name, "%s", whole) >= (int)sizeof metric->name)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: the name '%.64s…' is too long to report", path, whole);
    return MST_OK;
}

static mst_status read_metric(const struct parse *p, const json_t *json, const char *path, size_t output,
                              struct mst_error *err)
{
    struct mst_compile *out = p->out;
    struct mst_metric *metric = &out->metrics[out->n_metrics];
    if (out->n_metrics == MST_MAX_METRICS)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: more than %d metrics", path, MST_MAX_METRICS);
    if (!out->losses[output].is_given)
        return mst_fail(err, MST_UNIMPLEMENTED, "%s: metrics of an output without a loss are not built yet", path);
    *metric = (struct mst_metric){
        .output = output, .n_values = n_values_of(p, output), .is_weighted = p->is_weighted, .n_sums = 2};
    MST_TRY(mst_compile_read_metric(json, path, out, metric, err));
    MST_TRY(name_metric(p, path, metric, err));
    metric->first_sum = out->n_sums;
    if (metric->n_sums > MST_COMPILE_MAX_SUMS - out->n_sums)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s: %zu numbers to add up, with the metrics before it more than %d; use fewer thresholds",
                        path, metric->n_sums, MST_COMPILE_MAX_SUMS);
    out->n_sums += metric->n_sums;
    out->n_metrics++;
    return MST_OK;
}

// One metric, or a list of any depth.
static mst_status read_metrics_of(const struct parse *p, const json_t *json, const char *path, size_t output,
                                  struct mst_error *err)
{
    if (json_is_null(json))
        return MST_OK;
    if (!json_is_array(json))
        return read_metric(p, json, path, output, err);
    for (size_t i = 0; i < json_array_size(json); i++) {
        char at[MST_CONFIG_PATH_BYTES];
        const json_t *entry = json_array_get(json, i);
        snprintf(at, sizeof at, "%s[%zu]", path, i);
        if (json_is_array(entry) && p->out->n_outputs > 1)
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s is a list within the list of an output", at);
        // One list an output, for one output, is read as the output's list.
        for (size_t k = 0; k < json_array_size(entry); k++)
            MST_TRY(read_metric(p, json_array_get(entry, k), at, output, err));
        if (!json_is_array(entry))
            MST_TRY(read_metric(p, entry, at, output, err));
    }
    return MST_OK;
}

static mst_status read_metrics_by_name(const struct parse *p, const json_t *json, const char *path,
                                       struct mst_error *err)
{
    MST_TRY(check_names(p, json, path, err));
    for (size_t o = 0; o < p->out->n_outputs; o++) {
        char at[MST_CONFIG_PATH_BYTES];
        const char *name = mst_model_output_name(p->model, o);
        const json_t *value = json_object_get(json, name);
        snprintf(at, sizeof at, "%s.%s", path, name);
        if (value != NULL)
            MST_TRY(read_metrics_of(p, value, at, o, err));
    }
    return MST_OK;
}

static mst_status read_metrics(const struct parse *p, const json_t *json, const char *key, struct mst_error *err)
{
    size_t n_outputs = p->out->n_outputs;
    char path[MST_CONFIG_PATH_BYTES];
    snprintf(path, sizeof path, "%s.%s", p->path, key);
    if (json == NULL || (json_is_array(json) && json_array_size(json) == 0))
        return MST_OK;
    if (json_is_object(json) && !is_object_of_keras(json))
        return read_metrics_by_name(p, json, path, err);
    if (!json_is_array(json))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s should be a list of metrics", path);
    if (n_outputs == 1)
        return read_metrics_of(p, json, path, 0, err);
    if (json_array_size(json) != n_outputs)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s has %zu entries for %zu outputs: give each output a list, or name the outputs", path,
                        json_array_size(json), n_outputs);
    for (size_t o = 0; o < n_outputs; o++) {
        char at[MST_CONFIG_PATH_BYTES];
        snprintf(at, sizeof at, "%s[%zu]", path, o);
        MST_TRY(read_metrics_of(p, json_array_get(json, o), at, o, err));
    }
    return MST_OK;
}

// ---- all of it ----

mst_status mst_compile_parse(const json_t *compile, const char *path, const struct mst_model *model,
                             struct mst_compile *out, struct mst_error *err)
{
    static const struct mst_config_field fields[] = {
        {"optimizer", NULL, 0}, // read by optim
        {"loss", keep, offsetof(struct compile, loss)},
        {"loss_weights", keep, offsetof(struct compile, loss_weights)},
        {"metrics", keep, offsetof(struct compile, metrics)},
        {"weighted_metrics", keep, offsetof(struct compile, weighted_metrics)},
        {"sample_weight_mode", mst_config_refuse, 0},
        // How Keras runs a step, not what it computes.
        {"run_eagerly", NULL, 0},
        {"steps_per_execution", NULL, 0},
        {"jit_compile", NULL, 0},
        {"auto_scale_loss", NULL, 0},
    };
    struct compile parts = {0};
    struct parse p = {.out = out, .model = model, .path = path};
    memset(out, 0, sizeof *out);
    if (!json_is_object(compile))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s should be an object with optimizer, loss and metrics", path);
    MST_TRY(mst_config_fields(compile, path, fields, sizeof fields / sizeof fields[0], &parts, err));
    out->n_outputs = mst_model_n_outputs(model);
    if (out->n_outputs > MST_MAX_OUTPUTS)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: a model of %zu outputs; at most %d can have losses", path,
                        out->n_outputs, MST_MAX_OUTPUTS);
    for (size_t o = 0; o < out->n_outputs; o++)
        out->losses[o].weight = 1;
    MST_TRY(read_losses(&p, parts.loss, err));
    MST_TRY(read_loss_weights(&p, parts.loss_weights, parts.loss, err));
    MST_TRY(name_losses(&p, err));
    MST_TRY(read_metrics(&p, parts.metrics, "metrics", err));
    p.is_weighted = true;
    return read_metrics(&p, parts.weighted_metrics, "weighted_metrics", err);
}

enum mst_label_use mst_compile_label_use(const struct mst_compile *compile, const struct mst_model *model,
                                         size_t output)
{
    return mst_compile_loss_label_use(compile->losses[output].kind, mst_model_output_shape(model, output)->dims[0]);
}

size_t mst_compile_n_classes(const struct mst_compile *compile, const struct mst_model *model, size_t output)
{
    size_t n_values = mst_model_output_shape(model, output)->dims[0];
    enum mst_label_use use = mst_compile_label_use(compile, model, output);
    if (!compile->losses[output].is_given)
        return 0;
    if (use == MST_LABEL_CLASS || use == MST_LABEL_ONE_HOT)
        return n_values;
    return use == MST_LABEL_VALUE && compile->losses[output].kind == MST_LOSS_BINARY_CROSSENTROPY ? 2 : 0;
}
