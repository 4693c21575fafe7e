// Losses and metrics by table. "accuracy" is decided as Keras does from the shapes of output and target: one output
// is binary, class labels are sparse, the rest is categorical. A function of Keras's, wrapped or not, is the class that
// computes it.
#include "base/error.h"
#include "compile_private.h"
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

struct loss_config {
    const char *name;
    enum mst_reduction reduction;
    const json_t *function; // of a LossFunctionWrapper or MeanMetricWrapper; Keras 2 writes it into every loss
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

static mst_status last_axis(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    char shown[MST_CONFIG_SHOWN_BYTES];
    (void)out;
    if (json_is_integer(value) && json_integer_value(value) == -1)
        return MST_OK;
    return mst_fail(err, MST_UNIMPLEMENTED, "%s is %s, which is not built yet; -1, the last axis, is", path,
                    mst_config_show(value, shown));
}

static mst_status read_reduction(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    static const struct {
        const char *name;
        enum mst_reduction reduction;
    } known[] = {{"sum_over_batch_size", MST_REDUCTION_MEAN},
                 {"auto", MST_REDUCTION_MEAN}, // Keras 2's word for it
                 {"mean", MST_REDUCTION_MEAN},
                 {"sum", MST_REDUCTION_SUM},
                 {"mean_with_sample_weight", MST_REDUCTION_WEIGHTED_MEAN}};
    char shown[MST_CONFIG_SHOWN_BYTES];
    const char *name = json_string_value(value);
    for (size_t i = 0; name != NULL && i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, name) == 0) {
            *(enum mst_reduction *)out = known[i].reduction;
            return MST_OK;
        }
    }
    return mst_fail(err, MST_UNIMPLEMENTED,
                    "%s is %s, which is not built yet; sum_over_batch_size, mean, sum and mean_with_sample_weight are",
                    path, mst_config_show(value, shown));
}

#define FIELD(key, read) {#key, read, offsetof(struct loss_config, key)}
#define COMMON                                                                                                         \
    FIELD(name, mst_config_text), {"dtype", mst_config_float32, 0},                                                    \
    {                                                                                                                  \
        "fn", keep, offsetof(struct loss_config, function)                                                             \
    }
#define REDUCTION FIELD(reduction, read_reduction)
#define LOGITS    FIELD(from_logits, mst_config_bool), {"axis", last_axis, 0}

static const struct mst_config_field sparse_fields[] = {
    COMMON, REDUCTION, LOGITS, {"ignore_class", mst_config_refuse_even_0, 0}};
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
    {"KLDivergence",
     {"kl_divergence", "kld", "KLD", "kullback_leibler_divergence"},
     MST_LOSS_KL_DIVERGENCE,
     FIELDS(value_fields)},
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
    {"Accuracy", {"accuracy"}, MST_METRIC_EQUALITY, FIELDS(accuracy_fields)},
    {"RootMeanSquaredError", {"root_mean_squared_error"}, MST_METRIC_ROOT_MEAN_SQUARED_ERROR, FIELDS(accuracy_fields)},
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

static struct mst_config_entry entry_of(const struct named_class *class)
{
    return (struct mst_config_entry){class->class_name, class->names, N_NAMES, class->fields, class->n_fields};
}

bool mst_compile_loss_entry(size_t i, struct mst_config_entry *out)
{
    *out = i < N_LOSSES ? entry_of(&losses[i]) : (struct mst_config_entry){0};
    return i < N_LOSSES;
}

bool mst_compile_metric_entry(size_t i, struct mst_config_entry *out)
{
    *out = i <= N_METRICS ? entry_of(i < N_METRICS ? &metrics[i] : &log_cosh_error) : (struct mst_config_entry){0};
    return i <= N_METRICS;
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
    if (!(out->label_smoothing >= 0 && out->label_smoothing <= 1))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.label_smoothing is %g; it should be 0 to 1", at,
                        out->label_smoothing);
    if (!(out->delta >= 0))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.delta is %g; it should be 0 or more", at, out->delta);
    return MST_OK;
}

// The class of a function: what a wrapper wraps.
static const char *wrapped_name(const struct mst_config_class *object)
{
    const json_t *function = json_object_get(object->config, "fn");
    bool is_wrapper =
        strcmp(object->class_name, "LossFunctionWrapper") == 0 || strcmp(object->class_name, "MeanMetricWrapper") == 0;
    if (!is_wrapper || function == NULL)
        return object->class_name;
    if (json_is_object(function)) // as Keras 3 serialises a function
        function = json_object_get(function, "config");
    return json_is_string(function) ? json_string_value(function) : object->class_name;
}

static bool is_any_crossentropy(const char *name)
{
    return strcasecmp(name, "crossentropy") == 0 || strcasecmp(name, "ce") == 0;
}

static struct mst_loss_options options_of(const struct loss_config *config)
{
    return (struct mst_loss_options){config->from_logits, config->label_smoothing, config->delta};
}

mst_status mst_compile_read_loss(const json_t *json, const char *path, size_t n_values, struct mst_output_loss *out,
                                 struct mst_error *err)
{
    struct mst_config_class object;
    struct loss_config config;
    const char *names[N_LOSSES];
    char list[512];
    MST_TRY(mst_config_object(json, path, &object, err));
    out->is_given = true;
    if (!object.has_envelope && is_any_crossentropy(object.class_name)) {
        // Of labels, the categorical one is the sparse one.
        out->kind = n_values == 1 ? MST_LOSS_BINARY_CROSSENTROPY : MST_LOSS_CATEGORICAL_CROSSENTROPY;
        out->options = (struct mst_loss_options){.delta = 1.0};
        return MST_OK;
    }
    const struct named_class *class = find_named(losses, N_LOSSES, wrapped_name(&object));
    for (size_t i = 0; i < N_LOSSES; i++)
        names[i] = losses[i].class_name;
    if (class == NULL)
        return mst_fail(err, MST_UNIMPLEMENTED, "%s is '%.64s', which is not built yet; the losses built are %s", path,
                        object.class_name, mst_config_list(names, N_LOSSES, list, sizeof list));
    MST_TRY(read_options(&object, class, path, &config, err));
    out->kind = (enum mst_loss_kind) class->kind;
    out->options = options_of(&config);
    out->reduction = config.reduction;
    return MST_OK;
}

static mst_status unknown_metric(const char *name, const char *path, struct mst_error *err)
{
    const char *names[64] = {"accuracy"};
    char list[800];
    size_t n = 1;
    struct mst_config_entry entry;
    for (size_t i = 0; mst_compile_counts_entry(i, &entry); i++)
        names[n++] = entry.class_name;
    for (size_t i = 0; i < N_METRICS; i++)
        names[n++] = metrics[i].class_name;
    for (size_t i = 0; i < N_LOSSES; i++)
        names[n++] = losses[i].class_name;
    MST_ASSERT(n <= sizeof names / sizeof names[0]);
    return mst_fail(err, MST_UNIMPLEMENTED, "%s is '%.64s', which is not built yet; the metrics built are %s", path,
                    name, mst_config_list(names, n, list, sizeof list));
}

static enum mst_metric_kind accuracy_of(const struct mst_output_loss *loss, size_t n_values)
{
    if (n_values == 1)
        return MST_METRIC_BINARY_ACCURACY;
    return loss->kind == MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY ? MST_METRIC_SPARSE_CATEGORICAL_ACCURACY
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

enum mst_label_use mst_compile_loss_label_use(enum mst_loss_kind loss, size_t n_values)
{
    if (loss == MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY)
        return MST_LABEL_CLASS;
    if (loss == MST_LOSS_CATEGORICAL_CROSSENTROPY)
        return MST_LABEL_ONE_HOT;
    if (n_values == 1)
        return MST_LABEL_VALUE;
    return is_about_classes(loss) ? MST_LABEL_ONE_HOT : MST_LABEL_NONE;
}

// Sparse metrics need class labels; the others a target for each output, which a sparse loss has only if it has one.
static mst_status check_metric(const struct mst_output_loss *loss, const struct mst_metric *metric, const char *path,
                               struct mst_error *err)
{
    size_t n_values = metric->n_values;
    enum mst_label_use use = mst_compile_loss_label_use(loss->kind, n_values);
    bool is_sparse = metric->kind == MST_METRIC_SPARSE_CATEGORICAL_ACCURACY ||
                     metric->kind == MST_METRIC_SPARSE_TOP_K ||
                     (metric->kind == MST_METRIC_LOSS && metric->loss == MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY);
    if (is_sparse && (use == MST_LABEL_VALUE || use == MST_LABEL_NONE))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s needs class labels, but %s is against values", path,
                        mst_loss_name(loss->kind));
    bool wants_row =
        !is_sparse && metric->kind != MST_METRIC_CATEGORICAL_ACCURACY && metric->kind != MST_METRIC_CATEGORICAL_TOP_K;
    if (use == MST_LABEL_CLASS && wants_row && n_values > 1)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s needs a target for each of the %zu outputs, but %s has one class label an example", path,
                        n_values, mst_loss_name(loss->kind));
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

static bool is_any_accuracy(const char *name)
{
    return strcasecmp(name, "accuracy") == 0 || strcasecmp(name, "acc") == 0;
}

static mst_status set_name(struct mst_metric *metric, const char *name, const char *path, struct mst_error *err)
{
    int n = snprintf(metric->name, sizeof metric->name, "%s", name);
    if (n < (int)sizeof metric->name)
        return MST_OK;
    return mst_fail(err, MST_INVALID_ARGUMENT, "%s: a name of %d bytes; the limit is %zu", path, n,
                    sizeof metric->name - 1);
}

mst_status mst_compile_read_metric(const json_t *json, const char *path, struct mst_compile *compile,
                                   struct mst_metric *out, struct mst_error *err)
{
    const struct mst_output_loss *loss = &compile->losses[out->output];
    struct mst_config_class object;
    struct loss_config config = {0};
    const char *name;
    MST_TRY(mst_config_object(json, path, &object, err));
    if (!object.has_envelope && is_any_accuracy(object.class_name)) {
        out->kind = accuracy_of(loss, out->n_values);
        out->threshold = 0.5;
        return set_name(out, object.class_name, path, err);
    }
    MST_TRY(mst_compile_read_counts(&object, path, compile, out, &name, err));
    if (name != NULL) {
        MST_TRY(check_metric(loss, out, path, err));
        return set_name(out, name, path, err);
    }
    const struct named_class *class = find_metric_class(wrapped_name(&object), &out->kind);
    if (class == NULL)
        return unknown_metric(object.class_name, path, err);
    MST_TRY(read_options(&object, class, path, &config, err));
    if (out->kind == MST_METRIC_LOSS)
        out->loss = (enum mst_loss_kind) class->kind;
    out->options = options_of(&config);
    out->threshold = config.threshold;
    out->k = config.k;
    MST_TRY(check_metric(loss, out, path, err));
    // What Keras calls one without a name of its own.
    const char *default_name = object.has_envelope ? class->names[0] : object.class_name;
    return set_name(out, config.name != NULL ? config.name : default_name, path, err);
}
