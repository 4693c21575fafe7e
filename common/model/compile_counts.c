// Metrics that count: confusion counts at thresholds, F-scores, R². A metric of Keras's that returns a list of numbers
// is refused, for a measure is one number.
#include "base/error.h"
#include "compile_private.h"
#include "config.h"
#include "score.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct counts_config {
    const char *name;
    const json_t *thresholds;
    size_t top_k;
    const json_t *class_id;
    size_t num_thresholds;
    enum mst_curve curve;
    enum mst_summation summation;
    bool multi_label;
    bool from_logits;
    double held; // the rate that another one is given at
    double beta;
    double threshold;
    const char *average;
};

struct word {
    const char *word;
    int value;
};

static mst_status read_word(const json_t *value, const char *path, const struct word *words, int *out,
                            struct mst_error *err)
{
    char shown[MST_CONFIG_SHOWN_BYTES];
    const char *names[8];
    char list[128];
    size_t n = 0;
    for (; words[n].word != NULL; n++) {
        names[n] = words[n].word;
        if (json_is_string(value) && strcasecmp(json_string_value(value), words[n].word) == 0) {
            *out = words[n].value;
            return MST_OK;
        }
    }
    return mst_fail(err, MST_INVALID_ARGUMENT, "%s is %s; it should be one of %s", path, mst_config_show(value, shown),
                    mst_config_list(names, n, list, sizeof list));
}

static mst_status read_curve(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    static const struct word words[] = {
        {"ROC", MST_CURVE_ROC}, {"PR", MST_CURVE_PR}, {"PRGAIN", MST_CURVE_PRGAIN}, {NULL, 0}};
    int word = 0;
    MST_TRY(read_word(value, path, words, &word, err));
    *(enum mst_curve *)out = (enum mst_curve)word;
    return MST_OK;
}

static mst_status read_summation(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    static const struct word words[] = {{"interpolation", MST_SUMMATION_INTERPOLATION},
                                        {"minoring", MST_SUMMATION_MINORING},
                                        {"majoring", MST_SUMMATION_MAJORING},
                                        {NULL, 0}};
    int word = 0;
    MST_TRY(read_word(value, path, words, &word, err));
    *(enum mst_summation *)out = (enum mst_summation)word;
    return MST_OK;
}

static mst_status keep(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    (void)path;
    (void)err;
    *(const json_t **)out = json_is_null(value) ? NULL : value;
    return MST_OK;
}

static mst_status size_or_null(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    return json_is_null(value) ? MST_OK : mst_config_size(value, path, out, err);
}

static mst_status text_or_null(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    *(const char **)out = NULL;
    return json_is_null(value) ? MST_OK : mst_config_text(value, path, out, err);
}

#define AT(field) offsetof(struct counts_config, field)
#define COMMON    {"name", mst_config_text, AT(name)}, {"dtype", mst_config_float32, 0}
#define HELD(key)                                                                                                      \
    COMMON, {key, mst_config_number, AT(held)}, {"num_thresholds", mst_config_size, AT(num_thresholds)},               \
    {                                                                                                                  \
        "class_id", keep, AT(class_id)                                                                                 \
    }

static const struct mst_config_field count_fields[] = {COMMON, {"thresholds", keep, AT(thresholds)}};
static const struct mst_config_field rate_fields[] = {
    COMMON, {"thresholds", keep, AT(thresholds)}, {"top_k", size_or_null, AT(top_k)}, {"class_id", keep, AT(class_id)}};
static const struct mst_config_field at_specificity_fields[] = {HELD("specificity")};
static const struct mst_config_field at_sensitivity_fields[] = {HELD("sensitivity")};
static const struct mst_config_field at_recall_fields[] = {HELD("recall")};
static const struct mst_config_field at_precision_fields[] = {HELD("precision")};
static const struct mst_config_field auc_fields[] = {COMMON,
                                                     {"num_thresholds", mst_config_size, AT(num_thresholds)},
                                                     {"curve", read_curve, AT(curve)},
                                                     {"summation_method", read_summation, AT(summation)},
                                                     {"thresholds", keep, AT(thresholds)},
                                                     {"multi_label", mst_config_bool, AT(multi_label)},
                                                     {"num_labels", NULL, 0}, // the output says it
                                                     {"label_weights", mst_config_refuse, 0},
                                                     {"from_logits", mst_config_bool, AT(from_logits)}};
static const struct mst_config_field f1_score_fields[] = {
    COMMON, {"average", text_or_null, AT(average)}, {"threshold", mst_config_number_or_null, AT(threshold)}};
static const struct mst_config_field f_score_fields[] = {COMMON,
                                                         {"average", text_or_null, AT(average)},
                                                         {"beta", mst_config_number, AT(beta)},
                                                         {"threshold", mst_config_number_or_null, AT(threshold)}};
static const struct mst_config_field r2_fields[] = {
    COMMON, {"class_aggregation", text_or_null, AT(average)}, {"num_regressors", mst_config_refuse, 0}};

struct counts_class {
    const char *class_name;
    const char *name; // what Keras calls one without a name of its own
    enum mst_metric_kind kind;
    const struct mst_config_field *fields;
    size_t n_fields;
    const char *held; // the key of counts_config.held, or NULL
};

#define FIELDS(fields) fields, sizeof fields / sizeof fields[0]

static const struct counts_class classes[] = {
    {"AUC", "auc", MST_METRIC_AUC, FIELDS(auc_fields), NULL},
    {"Precision", "precision", MST_METRIC_PRECISION, FIELDS(rate_fields), NULL},
    {"Recall", "recall", MST_METRIC_RECALL, FIELDS(rate_fields), NULL},
    {"TruePositives", "true_positives", MST_METRIC_TRUE_POSITIVES, FIELDS(count_fields), NULL},
    {"FalsePositives", "false_positives", MST_METRIC_FALSE_POSITIVES, FIELDS(count_fields), NULL},
    {"TrueNegatives", "true_negatives", MST_METRIC_TRUE_NEGATIVES, FIELDS(count_fields), NULL},
    {"FalseNegatives", "false_negatives", MST_METRIC_FALSE_NEGATIVES, FIELDS(count_fields), NULL},
    {"SensitivityAtSpecificity", "sensitivity_at_specificity", MST_METRIC_SENSITIVITY_AT_SPECIFICITY,
     FIELDS(at_specificity_fields), "specificity"},
    {"SpecificityAtSensitivity", "specificity_at_sensitivity", MST_METRIC_SPECIFICITY_AT_SENSITIVITY,
     FIELDS(at_sensitivity_fields), "sensitivity"},
    {"PrecisionAtRecall", "precision_at_recall", MST_METRIC_PRECISION_AT_RECALL, FIELDS(at_recall_fields), "recall"},
    {"RecallAtPrecision", "recall_at_precision", MST_METRIC_RECALL_AT_PRECISION, FIELDS(at_precision_fields),
     "precision"},
    {"F1Score", "f1_score", MST_METRIC_F_SCORE, FIELDS(f1_score_fields), NULL},
    {"FBetaScore", "fbeta_score", MST_METRIC_F_SCORE, FIELDS(f_score_fields), NULL},
    {"R2Score", "r2_score", MST_METRIC_R2_SCORE, FIELDS(r2_fields), NULL},
};
enum { N_CLASSES = sizeof classes / sizeof classes[0] };

bool mst_compile_counts_entry(size_t i, struct mst_config_entry *out)
{
    *out = (struct mst_config_entry){0};
    if (i >= N_CLASSES)
        return false;
    *out =
        (struct mst_config_entry){classes[i].class_name, &classes[i].name, 1, classes[i].fields, classes[i].n_fields};
    return true;
}

// ---- thresholds ----

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static mst_status too_many(const char *path, struct mst_error *err)
{
    return mst_fail(err, MST_INVALID_ARGUMENT,
                    "%s.thresholds: the metrics of a job may list %d thresholds; num_thresholds may be more", path,
                    MST_COMPILE_MAX_THRESHOLDS - 2);
}

// Appends a threshold, a number from 0 to 1.
static mst_status add_threshold(const json_t *value, const char *path, struct mst_compile *compile,
                                struct mst_error *err)
{
    char shown[MST_CONFIG_SHOWN_BYTES];
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= 0 && number <= 1))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.thresholds holds %s; thresholds are numbers from 0 to 1", path,
                        mst_config_show(value, shown));
    if (compile->n_thresholds + 2 > MST_COMPILE_MAX_THRESHOLDS)
        return too_many(path, err);
    compile->thresholds[compile->n_thresholds++] = (float)number;
    return MST_OK;
}

// As numpy.allclose does, against what num_thresholds would have given.
static bool are_even(const float *thresholds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double even = (double)i / (double)(n - 1);
        if (fabs((double)thresholds[i] - even) > 1e-7 + 1e-5 * even)
            return false;
    }
    return true;
}

// The thresholds of an AUC, with one below 0 and one above 1.
static mst_status read_auc_thresholds(const struct counts_config *config, const char *path, struct mst_compile *compile,
                                      struct mst_metric *out, struct mst_error *err)
{
    size_t first = compile->n_thresholds;
    if (config->thresholds == NULL)
        return MST_OK;
    if (first + 2 > MST_COMPILE_MAX_THRESHOLDS)
        return too_many(path, err);
    if (!json_is_array(config->thresholds))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.thresholds should be a list of numbers", path);
    compile->thresholds[compile->n_thresholds++] = 0.0f;
    for (size_t i = 0; i < json_array_size(config->thresholds); i++)
        MST_TRY(add_threshold(json_array_get(config->thresholds, i), path, compile, err));
    float *all = compile->thresholds + first;
    size_t n = compile->n_thresholds - first + 1;
    qsort(all + 1, n - 2, sizeof *all, compare_floats);
    all[n - 1] = 1.0f;
    compile->n_thresholds++;
    out->n_thresholds = n;
    out->first_threshold = first;
    if (n >= 3 && are_even(all, n)) {
        compile->n_thresholds = first;
        out->first_threshold = SIZE_MAX;
    }
    all[0] = -1e-7f;
    all[n - 1] = (float)(1.0 + 1e-7);
    return MST_OK;
}

// The one threshold of a count or a rate.
static mst_status read_threshold(const struct counts_config *config, const char *path, struct mst_compile *compile,
                                 struct mst_metric *out, struct mst_error *err)
{
    const json_t *value = config->thresholds;
    if (json_is_array(value) && json_array_size(value) == 1)
        value = json_array_get(value, 0);
    if (json_is_array(value))
        return mst_fail(err, MST_UNIMPLEMENTED,
                        "%s.thresholds has %zu thresholds, which would be as many numbers; give a metric to each", path,
                        json_array_size(value));
    out->n_thresholds = 1;
    out->first_threshold = compile->n_thresholds;
    json_t *usual = json_real(0.5);
    mst_status status = add_threshold(value != NULL ? value : usual, path, compile, err);
    json_decref(usual);
    if (status == MST_OK && value == NULL && out->k > 0) // all of the k largest are positive
        compile->thresholds[out->first_threshold] = -1e10f;
    return status;
}

// ---- one metric ----

static mst_status read_class_id(const json_t *value, const char *path, struct mst_metric *out, struct mst_error *err)
{
    char shown[MST_CONFIG_SHOWN_BYTES];
    out->class_id = SIZE_MAX;
    if (value == NULL)
        return MST_OK;
    if (!json_is_integer(value) || json_integer_value(value) < 0 || (size_t)json_integer_value(value) >= out->n_values)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.class_id is %s; the output has classes 0 to %zu", path,
                        mst_config_show(value, shown), out->n_values - 1);
    out->class_id = (size_t)json_integer_value(value);
    return MST_OK;
}

static mst_status read_counts(const struct counts_class *class, const struct counts_config *config, const char *path,
                              struct mst_compile *compile, struct mst_metric *out, struct mst_error *err)
{
    MST_TRY(read_class_id(config->class_id, path, out, err));
    out->k = config->top_k;
    out->curve = config->curve;
    out->summation = config->summation;
    out->is_by_label = config->multi_label;
    out->options.from_logits = config->from_logits;
    out->threshold = config->held;
    if (class->kind < MST_METRIC_SENSITIVITY_AT_SPECIFICITY)
        return read_threshold(config, path, compile, out, err);
    if (config->num_thresholds < 2 || config->num_thresholds > MST_COMPILE_MAX_SUMS)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.num_thresholds is %zu; it should be 2 to %d", path,
                        config->num_thresholds, MST_COMPILE_MAX_SUMS);
    if (class->held != NULL && !(config->held >= 0 && config->held <= 1))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.%s should be a number from 0 to 1", path, class->held);
    out->n_thresholds = config->num_thresholds;
    out->first_threshold = SIZE_MAX;
    return class->held == NULL ? read_auc_thresholds(config, path, compile, out, err) : MST_OK;
}

static mst_status read_average(const struct counts_config *config, const char *path, struct mst_metric *out,
                               struct mst_error *err)
{
    static const struct word words[] = {
        {"micro", MST_AVERAGE_MICRO}, {"macro", MST_AVERAGE_MACRO}, {"weighted", MST_AVERAGE_WEIGHTED}, {NULL, 0}};
    static const struct word r2_words[] = {
        {"uniform_average", MST_AVERAGE_MACRO}, {"variance_weighted_average", MST_AVERAGE_WEIGHTED}, {NULL, 0}};
    bool is_r2 = out->kind == MST_METRIC_R2_SCORE;
    char at[MST_CONFIG_PATH_BYTES];
    snprintf(at, sizeof at, "%s.%s", path, is_r2 ? "class_aggregation" : "average");
    if (config->average == NULL) {
        out->average = MST_AVERAGE_MACRO;
        if (out->n_values == 1)
            return MST_OK;
        return mst_fail(err, MST_UNIMPLEMENTED,
                        "%s is null, which would be a number for each of the %zu outputs; "
                        "choose an average",
                        at, out->n_values);
    }
    json_t *text = json_string(config->average);
    int word = 0;
    mst_status status = read_word(text, at, is_r2 ? r2_words : words, &word, err);
    json_decref(text);
    out->average = (enum mst_average)word;
    return status;
}

static mst_status read_score(const struct counts_config *config, const char *path, struct mst_metric *out,
                             struct mst_error *err)
{
    if (!(config->beta > 0))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.beta is %g; it should be above 0", path, config->beta);
    if (!isnan(config->threshold) && !(config->threshold > 0 && config->threshold <= 1))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.threshold is %g; it should be above 0 and at most 1", path,
                        config->threshold);
    out->beta = config->beta;
    out->threshold = config->threshold;
    return read_average(config, path, out, err);
}

static const struct counts_class *find_class(const char *name)
{
    for (size_t i = 0; i < N_CLASSES; i++) {
        if (strcmp(classes[i].class_name, name) == 0 || strcmp(classes[i].name, name) == 0)
            return &classes[i];
    }
    return NULL;
}

mst_status mst_compile_read_counts(const struct mst_config_class *object, const char *path, struct mst_compile *compile,
                                   struct mst_metric *out, const char **name_out, struct mst_error *err)
{
    const struct counts_class *class = find_class(object->class_name);
    *name_out = NULL;
    if (class == NULL)
        return MST_OK;
    struct counts_config config = {.num_thresholds = 200, .held = NAN, .beta = 1.0, .threshold = NAN};
    if (class->kind == MST_METRIC_R2_SCORE)
        config.average = "uniform_average";
    char at[MST_CONFIG_PATH_BYTES];
    snprintf(at, sizeof at, "%s.config", path);
    MST_TRY(mst_config_fields(object->config, at, class->fields, class->n_fields, &config, err));
    out->kind = class->kind;
    if (mst_score_has(class->kind)) {
        MST_TRY(read_score(&config, at, out, err));
        out->n_sums = mst_score_n_sums(out);
    } else {
        MST_TRY(read_counts(class, &config, at, compile, out, err));
        out->n_sums = mst_confusion_n_sums(out);
    }
    *name_out = config.name != NULL ? config.name : object->has_envelope ? class->name : object->class_name;
    return MST_OK;
}
