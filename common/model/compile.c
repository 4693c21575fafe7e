// Losses and metrics by table. "accuracy" is decided as Keras does from the shapes of output and target: one output
// is binary, class labels are sparse, the rest is categorical. A metric that is the job's loss costs nothing.
#include "model/compile.h"

#include "base/error.h"
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

struct compile {
    const json_t *loss;
    const json_t *metrics;
};

struct loss_config {
    const char *name;
    const char *reduction;
    bool from_logits;
    double label_smoothing;
    double delta;
    double threshold; // of BinaryAccuracy
    size_t k;         // of top-k accuracies
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
static const struct mst_config_field smooth_fields[] = {COMMON, REDUCTION, LOGITS,
                                                        FIELD(label_smoothing, mst_config_number)};
static const struct mst_config_field value_fields[] = {COMMON, REDUCTION};
static const struct mst_config_field huber_fields[] = {COMMON, REDUCTION, FIELD(delta, mst_config_number)};
static const struct mst_config_field cosine_fields[] = {COMMON, REDUCTION, {"axis", last_axis, 0}};
static const struct mst_config_field accuracy_fields[] = {COMMON};
static const struct mst_config_field binary_fields[] = {COMMON, FIELD(threshold, mst_config_number)};
static const struct mst_config_field top_k_fields[] = {
    COMMON, FIELD(k, mst_config_size), {"from_sorted_ids", mst_config_refuse, 0}};

enum { N_NAMES = 4 };

struct named_class {
    const char *class_name;
    const char *names[N_NAMES]; // as a function or for short; NULL-terminated unless all are used
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
    {"CategoricalCrossentropy", {"categorical_crossentropy"}, MST_LOSS_CATEGORICAL_CROSSENTROPY, FIELDS(smooth_fields)},
    {"BinaryCrossentropy", {"binary_crossentropy", "bce", "BCE"}, MST_LOSS_BINARY_CROSSENTROPY, FIELDS(smooth_fields)},
    {"MeanSquaredError", {"mean_squared_error", "mse", "MSE"}, MST_LOSS_MEAN_SQUARED_ERROR, FIELDS(value_fields)},
    {"MeanAbsoluteError", {"mean_absolute_error", "mae", "MAE"}, MST_LOSS_MEAN_ABSOLUTE_ERROR, FIELDS(value_fields)},
    {"MeanAbsolutePercentageError",
     {"mean_absolute_percentage_error", "mape", "MAPE"},
     MST_LOSS_MEAN_ABSOLUTE_PERCENTAGE_ERROR,
     FIELDS(value_fields)},
    {"MeanSquaredLogarithmicError",
     {"mean_squared_logarithmic_error", "msle", "MSLE"},
     MST_LOSS_MEAN_SQUARED_LOGARITHMIC_ERROR,
     FIELDS(value_fields)},
    {"Huber", {"huber", "huber_loss"}, MST_LOSS_HUBER, FIELDS(huber_fields)},
    {"LogCosh", {"log_cosh", "logcosh"}, MST_LOSS_LOG_COSH, FIELDS(value_fields)},
    {"Hinge", {"hinge"}, MST_LOSS_HINGE, FIELDS(value_fields)},
    {"SquaredHinge", {"squared_hinge"}, MST_LOSS_SQUARED_HINGE, FIELDS(value_fields)},
    {"CategoricalHinge", {"categorical_hinge"}, MST_LOSS_CATEGORICAL_HINGE, FIELDS(value_fields)},
    {"KLDivergence", {"kl_divergence", "kld", "KLD"}, MST_LOSS_KL_DIVERGENCE, FIELDS(value_fields)},
    {"Poisson", {"poisson"}, MST_LOSS_POISSON, FIELDS(value_fields)},
    {"CosineSimilarity", {"cosine_similarity"}, MST_LOSS_COSINE_SIMILARITY, FIELDS(cosine_fields)},
};
static const struct named_class metrics[] = {
    {"SparseCategoricalAccuracy",
     {"sparse_categorical_accuracy"},
     MST_METRIC_SPARSE_CATEGORICAL_ACCURACY,
     FIELDS(accuracy_fields)},
    {"CategoricalAccuracy", {"categorical_accuracy"}, MST_METRIC_CATEGORICAL_ACCURACY, FIELDS(accuracy_fields)},
    {"BinaryAccuracy", {"binary_accuracy"}, MST_METRIC_BINARY_ACCURACY, FIELDS(binary_fields)},
    {"SparseTopKCategoricalAccuracy",
     {"sparse_top_k_categorical_accuracy"},
     MST_METRIC_SPARSE_TOP_K,
     FIELDS(top_k_fields)},
    {"TopKCategoricalAccuracy", {"top_k_categorical_accuracy"}, MST_METRIC_CATEGORICAL_TOP_K, FIELDS(top_k_fields)},
};
// What Keras calls otherwise where it is a metric.
static const struct named_class log_cosh_error = {
    "LogCoshError", {"logcosh", "log_cosh_error"}, MST_LOSS_LOG_COSH, FIELDS(accuracy_fields)};
enum { N_LOSSES = sizeof losses / sizeof losses[0], N_METRICS = sizeof metrics / sizeof metrics[0] };

const char *mst_loss_name(enum mst_loss_kind kind)
{
    for (size_t i = 0; i < N_LOSSES; i++) {
        if (losses[i].kind == (int)kind)
            return losses[i].class_name;
    }
    return "?";
}

static bool is_called(const struct named_class *class, const char *name)
{
    if (strcmp(class->class_name, name) == 0)
        return true;
    for (size_t i = 0; i < N_NAMES && class->names[i] != NULL; i++) {
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
    *out = (struct loss_config){.threshold = 0.5, .delta = 1.0, .k = 5};
    snprintf(at, sizeof at, "%s.config", path);
    MST_TRY(mst_config_fields(object->config, at, class->fields, class->n_fields, out, err));
    if (out->reduction != NULL && strcmp(out->reduction, "sum_over_batch_size") != 0 &&
        strcmp(out->reduction, "auto") != 0)
        return mst_fail(err, MST_UNIMPLEMENTED,
                        "%s.reduction is '%.64s', which is not built yet; sum_over_batch_size is", at, out->reduction);
    if (!(out->label_smoothing >= 0 && out->label_smoothing <= 1))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.label_smoothing is %g; it should be 0 to 1", at,
                        out->label_smoothing);
    if (!(out->delta >= 0))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.delta is %g; it should be 0 or more", at, out->delta);
    return MST_OK;
}

static struct mst_loss_options options_of(const struct loss_config *config)
{
    return (struct mst_loss_options){config->from_logits, config->label_smoothing, config->delta};
}

static mst_status read_loss(const json_t *json, const char *path, struct mst_compile *out, struct mst_error *err)
{
    struct mst_config_class object;
    struct loss_config options;
    const char *names[N_LOSSES];
    char list[512];
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
    out->options = options_of(&options);
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

// Losses of several outputs that are about classes; the others are about values.
static bool is_about_classes(enum mst_loss_kind loss)
{
    switch (loss) {
    case MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY:
    case MST_LOSS_CATEGORICAL_CROSSENTROPY:
    case MST_LOSS_BINARY_CROSSENTROPY:
    case MST_LOSS_HINGE:
    case MST_LOSS_SQUARED_HINGE:
    case MST_LOSS_CATEGORICAL_HINGE:
    case MST_LOSS_KL_DIVERGENCE:
    case MST_LOSS_COSINE_SIMILARITY:
        return true;
    default:
        return false;
    }
}

static enum mst_label_use label_use(enum mst_loss_kind loss, size_t n_outputs)
{
    if (loss == MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY)
        return MST_LABEL_CLASS;
    if (loss == MST_LOSS_CATEGORICAL_CROSSENTROPY)
        return MST_LABEL_ONE_HOT;
    if (n_outputs == 1)
        return MST_LABEL_VALUE;
    return is_about_classes(loss) ? MST_LABEL_ONE_HOT : MST_LABEL_NONE;
}

// Sparse metrics need class labels; the others a target for each output, which a sparse loss has only if it has one.
static mst_status check_metric(const struct mst_compile *compile, const struct mst_metric *metric, size_t n_outputs,
                               const char *path, struct mst_error *err)
{
    enum mst_label_use use = label_use(compile->loss, n_outputs);
    bool is_loss = metric->kind == MST_METRIC_LOSS;
    bool is_sparse_loss = is_loss && metric->loss == MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY;
    if ((metric->kind == MST_METRIC_SPARSE_CATEGORICAL_ACCURACY || metric->kind == MST_METRIC_SPARSE_TOP_K ||
         is_sparse_loss) &&
        (use == MST_LABEL_VALUE || use == MST_LABEL_NONE))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s needs class labels, but %s is against values", path,
                        mst_loss_name(compile->loss));
    bool wants_row = metric->kind == MST_METRIC_BINARY_ACCURACY || (is_loss && !is_sparse_loss);
    if (use == MST_LABEL_CLASS && wants_row && n_outputs > 1)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s needs a target for each of the %zu outputs, but %s has one class label an example", path,
                        n_outputs, mst_loss_name(compile->loss));
    return MST_OK;
}

static const struct named_class *find_metric_class(const char *name, enum mst_metric_kind *kind_out)
{
    const struct named_class *metric = find_named(metrics, N_METRICS, name);
    *kind_out = metric != NULL ? (enum mst_metric_kind)metric->kind : MST_METRIC_LOSS;
    if (metric != NULL)
        return metric;
    return is_called(&log_cosh_error, name) ? &log_cosh_error : find_named(losses, N_LOSSES, name);
}

// Which metric it is, and its options; the name is what Keras calls one without a name of its own.
static mst_status find_metric(const struct mst_config_class *object, const char *path,
                              const struct mst_compile *compile, size_t n_outputs, struct mst_metric *out,
                              struct mst_error *err)
{
    struct loss_config config = {0};
    bool is_accuracy = strcasecmp(object->class_name, "accuracy") == 0 || strcasecmp(object->class_name, "acc") == 0;
    *out = (struct mst_metric){.threshold = 0.5};
    if (!object->has_envelope && is_accuracy) {
        out->kind = accuracy_of(compile, n_outputs);
        snprintf(out->name, sizeof out->name, "%s", object->class_name);
        return MST_OK;
    }
    const struct named_class *class = find_metric_class(object->class_name, &out->kind);
    if (class == NULL)
        return unknown_metric(object->class_name, path, err);
    MST_TRY(read_options(object, class, path, &config, err));
    const char *default_name = object->has_envelope ? class->names[0] : object->class_name;
    snprintf(out->name, sizeof out->name, "%s", config.name != NULL ? config.name : default_name);
    if (out->kind == MST_METRIC_LOSS)
        out->loss = (enum mst_loss_kind) class->kind;
    out->options = options_of(&config);
    out->threshold = config.threshold;
    out->k = config.k;
    return check_metric(compile, out, n_outputs, path, err);
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
    const struct mst_shape *shape = mst_model_output_shape(model, 0);
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

enum mst_label_use mst_compile_label_use(const struct mst_compile *compile, const struct mst_model *model,
                                         size_t output)
{
    return label_use(compile->loss, mst_model_output_shape(model, output)->dims[0]);
}

size_t mst_compile_n_classes(const struct mst_compile *compile, const struct mst_model *model, size_t output)
{
    size_t n_outputs = mst_model_output_shape(model, output)->dims[0];
    enum mst_label_use use = label_use(compile->loss, n_outputs);
    if (use == MST_LABEL_CLASS || use == MST_LABEL_ONE_HOT)
        return n_outputs;
    return use == MST_LABEL_VALUE && compile->loss == MST_LOSS_BINARY_CROSSENTROPY ? 2 : 0;
}

size_t mst_compile_n_measures(const struct mst_compile *compile)
{
    return 1 + compile->n_metrics;
}

// Each is a mean: a sum and its weight.
size_t mst_compile_n_sums(const struct mst_compile *compile)
{
    return 2 * mst_compile_n_measures(compile);
}

const char *mst_measure_name(const struct mst_compile *compile, size_t measure)
{
    return measure == 0 ? "loss" : compile->metrics[measure - 1].name;
}

double mst_measure_value(const struct mst_compile *compile, size_t measure, const double *sums)
{
    (void)compile;
    return sums[2 * measure + 1] != 0 ? sums[2 * measure] / sums[2 * measure + 1] : 0;
}
