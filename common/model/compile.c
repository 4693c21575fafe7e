// Losses and metrics by table. "accuracy" is decided as Keras does from the shapes of output and target: one output
// is binary, class labels are sparse, the rest is categorical. A metric that is a loss is taken only if it is the
// job's loss: then it costs nothing.
#include "model/compile.h"

#include "base/error.h"
#include "config.h"

#include <stdio.h>
#include <string.h>

struct compile {
    const json_t *loss;
    const json_t *metrics;
};

struct loss_config {
    const char *name;
    const char *reduction;
    bool from_logits;
    double threshold; // of BinaryAccuracy
};

static mst_status keep(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    (void)path;
    (void)err;
    *(const json_t **)out = json_is_null(value) ? NULL : value;
    return MST_OK;
}

// Unlike other options, class 0 may be ignored, so 0 is not "off".
static mst_status refuse_ignore_class(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    (void)out;
    if (json_is_null(value))
        return MST_OK;
    return mst_fail(err, MST_UNIMPLEMENTED, "%s is set, which is not built yet; leave it out or null", path);
}

static mst_status last_axis(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    char shown[MST_CONFIG_SHOWN_BYTES];
    (void)out;
    if (json_is_integer(value) && json_integer_value(value) == -1)
        return MST_OK;
    return mst_fail(err, MST_UNIMPLEMENTED, "%s is %s, which is not built yet; -1, the last axis, is", path,
                    mst_config_show(value, shown));
}

static mst_status refuse_unless_empty(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    if ((json_is_array(value) && json_array_size(value) == 0) ||
        (json_is_object(value) && json_object_size(value) == 0))
        return MST_OK;
    return mst_config_refuse(value, path, out, err);
}

#define FIELD(key, read) {#key, read, offsetof(struct loss_config, key)}
#define COMMON           FIELD(name, mst_config_text), {"dtype", mst_config_float32, 0}
#define REDUCTION        FIELD(reduction, mst_config_text)
#define LOGITS           FIELD(from_logits, mst_config_bool), {"axis", last_axis, 0}

static const struct mst_config_field sparse_fields[] = {
    COMMON, REDUCTION, LOGITS, {"ignore_class", refuse_ignore_class, 0}};
static const struct mst_config_field plain_fields[] = {
    COMMON, REDUCTION, LOGITS, {"label_smoothing", mst_config_refuse, 0}};
static const struct mst_config_field mse_fields[] = {COMMON, REDUCTION};
static const struct mst_config_field accuracy_fields[] = {COMMON};
static const struct mst_config_field binary_fields[] = {COMMON, FIELD(threshold, mst_config_number)};

struct named_class {
    const char *class_name;
    const char *names[3]; // as a function or for short; NULL-terminated unless all are used
    int kind;
    const struct mst_config_field *fields;
    size_t n_fields;
};

#define FIELDS(fields) fields, sizeof fields / sizeof fields[0]

static const struct named_class losses[] = {
    {"SparseCategoricalCrossentropy",
     {"sparse_categorical_crossentropy"},
     MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY,
     FIELDS(sparse_fields)},
    {"CategoricalCrossentropy", {"categorical_crossentropy"}, MST_LOSS_CATEGORICAL_CROSSENTROPY, FIELDS(plain_fields)},
    {"MeanSquaredError", {"mean_squared_error", "mse", "MSE"}, MST_LOSS_MEAN_SQUARED_ERROR, FIELDS(mse_fields)},
};
static const struct named_class metrics[] = {
    {"SparseCategoricalAccuracy",
     {"sparse_categorical_accuracy"},
     MST_METRIC_SPARSE_CATEGORICAL_ACCURACY,
     FIELDS(accuracy_fields)},
    {"CategoricalAccuracy", {"categorical_accuracy"}, MST_METRIC_CATEGORICAL_ACCURACY, FIELDS(accuracy_fields)},
    {"BinaryAccuracy", {"binary_accuracy"}, MST_METRIC_BINARY_ACCURACY, FIELDS(binary_fields)},
};
enum { N_LOSSES = sizeof losses / sizeof losses[0], N_METRICS = sizeof metrics / sizeof metrics[0] };

static bool is_called(const struct named_class *class, const char *name)
{
    if (strcmp(class->class_name, name) == 0)
        return true;
    for (size_t i = 0; i < 3 && class->names[i] != NULL; i++) {
        if (strcmp(class->names[i], name) == 0)
            return true;
    }
    return false;
}

static const struct named_class *find_named(const struct named_class *table, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (is_called(&table[i], name))
            return &table[i];
    }
    return NULL;
}

// Reads the options of a loss or of a metric that is one.
static mst_status read_options(const struct mst_config_class *object, const struct named_class *class, const char *path,
                               struct loss_config *out, struct mst_error *err)
{
    char at[MST_CONFIG_PATH_BYTES];
    *out = (struct loss_config){.threshold = 0.5};
    snprintf(at, sizeof at, "%s.config", path);
    MST_TRY(mst_config_fields(object->config, at, class->fields, class->n_fields, out, err));
    if (out->reduction != NULL && strcmp(out->reduction, "sum_over_batch_size") != 0 &&
        strcmp(out->reduction, "auto") != 0)
        return mst_fail(err, MST_UNIMPLEMENTED,
                        "%s.reduction is '%.64s', which is not built yet; sum_over_batch_size is", at, out->reduction);
    if (out->threshold != 0.5)
        return mst_fail(err, MST_UNIMPLEMENTED, "%s.threshold is %g, which is not built yet; 0.5 is", at,
                        out->threshold);
    return MST_OK;
}

static mst_status read_loss(const json_t *json, const char *path, struct mst_compile *out, struct mst_error *err)
{
    struct mst_config_class object;
    struct loss_config options;
    const char *names[N_LOSSES];
    char list[256];
    if (json == NULL)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s is missing; training needs one", path);
    if (json_is_array(json))
        return mst_fail(err, MST_UNIMPLEMENTED, "%s is a list: models of several outputs are not built yet", path);
    MST_TRY(mst_config_object(json, path, &object, err));
    const struct named_class *class = find_named(losses, N_LOSSES, object.class_name);
    for (size_t i = 0; i < N_LOSSES; i++)
        names[i] = losses[i].class_name;
    if (class == NULL)
        return mst_fail(err, MST_UNIMPLEMENTED, "%s is '%.64s', which is not built yet; the losses built are %s", path,
                        object.class_name, mst_config_list(names, N_LOSSES, list, sizeof list));
    MST_TRY(read_options(&object, class, path, &options, err));
    out->loss = (enum mst_loss_kind) class->kind;
    out->from_logits = options.from_logits;
    return MST_OK;
}

static mst_status unknown_metric(const char *name, const char *path, struct mst_error *err)
{
    const char *names[1 + N_METRICS + N_LOSSES] = {"accuracy"};
    char list[512];
    for (size_t i = 0; i < N_METRICS; i++)
        names[1 + i] = metrics[i].class_name;
    for (size_t i = 0; i < N_LOSSES; i++)
        names[1 + N_METRICS + i] = losses[i].class_name;
    return mst_fail(err, MST_UNIMPLEMENTED, "%s is '%.64s', which is not built yet; the metrics built are %s", path,
                    name, mst_config_list(names, sizeof names / sizeof names[0], list, sizeof list));
}

static enum mst_metric_kind accuracy_of(const struct mst_compile *compile, size_t n_outputs)
{
    if (n_outputs == 1)
        return MST_METRIC_BINARY_ACCURACY;
    return compile->loss == MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY ? MST_METRIC_SPARSE_CATEGORICAL_ACCURACY
                                                                     : MST_METRIC_CATEGORICAL_ACCURACY;
}

// Sparse accuracy needs class labels, categorical accuracy a row of targets.
static mst_status check_accuracy(const struct mst_compile *compile, enum mst_metric_kind kind, size_t n_outputs,
                                 const char *path, struct mst_error *err)
{
    bool has_classes = compile->loss != MST_LOSS_MEAN_SQUARED_ERROR;
    if (kind == MST_METRIC_SPARSE_CATEGORICAL_ACCURACY && !has_classes)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s needs class labels, but mean squared error is against values",
                        path);
    if (kind == MST_METRIC_BINARY_ACCURACY && n_outputs != 1)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s needs a model of 1 output, this one has %zu", path, n_outputs);
    return MST_OK;
}

// Which metric it is, and its options; the name is what Keras calls one without a name of its own.
static mst_status find_metric(const struct mst_config_class *object, const char *path,
                              const struct mst_compile *compile, size_t n_outputs, struct mst_metric *out,
                              struct mst_error *err)
{
    struct loss_config options = {0};
    const struct named_class *metric = find_named(metrics, N_METRICS, object->class_name);
    const struct named_class *loss = find_named(losses, N_LOSSES, object->class_name);
    const struct named_class *class = metric != NULL ? metric : loss;
    bool is_accuracy = strcmp(object->class_name, "accuracy") == 0 || strcmp(object->class_name, "acc") == 0;
    if (!object->has_envelope && is_accuracy) {
        out->kind = accuracy_of(compile, n_outputs);
        snprintf(out->name, sizeof out->name, "%s", object->class_name);
        return MST_OK;
    }
    if (class == NULL)
        return unknown_metric(object->class_name, path, err);
    MST_TRY(read_options(object, class, path, &options, err));
    const char *default_name = object->has_envelope ? class->names[0] : object->class_name;
    snprintf(out->name, sizeof out->name, "%s", options.name != NULL ? options.name : default_name);
    out->kind = metric != NULL ? (enum mst_metric_kind)metric->kind : MST_METRIC_LOSS;
    if (metric != NULL)
        return check_accuracy(compile, out->kind, n_outputs, path, err);
    if (loss->kind != (int)compile->loss || options.from_logits != compile->from_logits)
        return mst_fail(err, MST_UNIMPLEMENTED,
                        "%s is %s with from_logits %s, which as a metric is built only when it is the loss", path,
                        loss->class_name, options.from_logits ? "true" : "false");
    return MST_OK;
}

static mst_status read_metric(const json_t *json, const char *path, size_t n_outputs, struct mst_compile *out,
                              struct mst_error *err)
{
    struct mst_config_class object;
    struct mst_metric metric = {0};
    MST_TRY(mst_config_object(json, path, &object, err));
    if (out->n_metrics == MST_MAX_METRICS)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: more than %d metrics", path, MST_MAX_METRICS);
    MST_TRY(find_metric(&object, path, out, n_outputs, &metric, err));
    for (size_t i = 0; i < out->n_metrics; i++) {
        if (strcmp(out->metrics[i].name, metric.name) == 0)
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s: there are two metrics named '%s'", path, metric.name);
    }
    out->metrics[out->n_metrics++] = metric;
    return MST_OK;
}

// A list of metrics, or (one list an output) a list that holds one list.
static mst_status read_metrics(const json_t *json, const char *path, size_t n_outputs, struct mst_compile *out,
                               struct mst_error *err)
{
    if (json == NULL)
        return MST_OK;
    if (!json_is_array(json))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s should be a list of metrics", path);
    size_t n = json_array_size(json);
    if (n == 1 && json_is_array(json_array_get(json, 0)))
        json = json_array_get(json, 0);
    n = json_array_size(json);
    for (size_t i = 0; i < n; i++) {
        char at[MST_CONFIG_PATH_BYTES];
        snprintf(at, sizeof at, "%s[%zu]", path, i);
        if (json_is_array(json_array_get(json, i)))
            return mst_fail(err, MST_UNIMPLEMENTED, "%s is a list: models of several outputs are not built yet", at);
        MST_TRY(read_metric(json_array_get(json, i), at, n_outputs, out, err));
    }
    return MST_OK;
}

mst_status mst_compile_parse(const json_t *compile, const char *path, const struct mst_model *model,
                             struct mst_compile *out, struct mst_error *err)
{
    static const struct mst_config_field fields[] = {
        {"optimizer", NULL, 0}, // read by optim
        {"loss", keep, offsetof(struct compile, loss)},
        {"metrics", keep, offsetof(struct compile, metrics)},
        {"loss_weights", refuse_unless_empty, 0},
        {"weighted_metrics", refuse_unless_empty, 0},
        {"sample_weight_mode", mst_config_refuse, 0},
        // How Keras runs a step, not what it computes.
        {"run_eagerly", NULL, 0},
        {"steps_per_execution", NULL, 0},
        {"jit_compile", NULL, 0},
        {"auto_scale_loss", NULL, 0},
    };
    struct compile parts = {0};
    char at[MST_CONFIG_PATH_BYTES];
    char text[MST_SHAPE_TEXT_BYTES];
    const struct mst_shape *shape = mst_model_output_shape(model);
    *out = (struct mst_compile){0};
    if (!json_is_object(compile))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s should be an object with optimizer, loss and metrics", path);
    MST_TRY(mst_config_fields(compile, path, fields, sizeof fields / sizeof fields[0], &parts, err));
    snprintf(at, sizeof at, "%s.loss", path);
    MST_TRY(read_loss(parts.loss, at, out, err));
    if (shape->rank != 1)
        return mst_fail(err, MST_UNIMPLEMENTED,
                        "%s: the model's output for an example has shape %s; losses are built for one "
                        "row of outputs, so let a Flatten come last",
                        at, mst_shape_print(shape, text, sizeof text));
    snprintf(at, sizeof at, "%s.metrics", path);
    return read_metrics(parts.metrics, at, shape->dims[0], out, err);
}

size_t mst_compile_n_classes(const struct mst_compile *compile, const struct mst_model *model)
{
    return compile->loss == MST_LOSS_MEAN_SQUARED_ERROR ? 0 : mst_model_output_shape(model)->dims[0];
}
