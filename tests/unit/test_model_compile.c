// What a job's compile says of loss and metrics, in the forms that Keras 3.15's get_compile_config() gives.
#include "model/compile.h"
#include "model/model.h"
#include "model_texts.h"
#include "muster/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// Labels that a loss takes for classes are below the number of outputs, those of a single probability 0 or 1.
static void check_label_use(const struct mst_compile *compile, const struct mst_model *model, size_t n_outputs)
{
    static const bool about_classes[MST_LOSS_COSINE_SIMILARITY + 1] = {[MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY] =
                                                                           true,
                                                                       [MST_LOSS_CATEGORICAL_CROSSENTROPY] = true,
                                                                       [MST_LOSS_BINARY_CROSSENTROPY] = true,
                                                                       [MST_LOSS_HINGE] = true,
                                                                       [MST_LOSS_SQUARED_HINGE] = true,
                                                                       [MST_LOSS_CATEGORICAL_HINGE] = true,
                                                                       [MST_LOSS_KL_DIVERGENCE] = true,
                                                                       [MST_LOSS_COSINE_SIMILARITY] = true};
    enum mst_label_use use = about_classes[compile->losses[0].kind] ? MST_LABEL_ONE_HOT : MST_LABEL_NONE;
    size_t n_classes = use == MST_LABEL_ONE_HOT ? n_outputs : 0;
    if (compile->losses[0].kind == MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY)
        use = MST_LABEL_CLASS;
    else if (n_outputs == 1 && compile->losses[0].kind != MST_LOSS_CATEGORICAL_CROSSENTROPY) {
        use = MST_LABEL_VALUE;
        n_classes = compile->losses[0].kind == MST_LOSS_BINARY_CROSSENTROPY ? 2 : 0;
    }
    assert_int_equal(mst_compile_label_use(compile, model, 0), use);
    assert_int_equal(mst_compile_n_classes(compile, model, 0), n_classes);
}

static mst_status parse(const char *text, const char *n_outputs, struct mst_compile *out, struct mst_error *err)
{
    char layers[300];
    snprintf(layers, sizeof layers,
             MODEL_INPUT("[null, 4]") ",{\"class_name\": \"Dense\", \"config\": {\"name\": \"d\", \"units\": %s}}",
             n_outputs);
    char *model_json = model_text(layers);
    struct mst_model *model = model_parse_right(model_json);
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    mst_status status = mst_compile_parse(json, "compile", model, out, err);
    if (status == MST_OK)
        check_label_use(out, model, strtoul(n_outputs, NULL, 10));
    json_decref(json);
    mst_model_free(model);
    free(model_json);
    return status;
}

static struct mst_compile parse_right(const char *text, const char *n_outputs)
{
    struct mst_error err = {""};
    struct mst_compile compile;
    if (parse(text, n_outputs, &compile, &err) != MST_OK)
        fail_msg("%s: %s", text, err.text);
    return compile;
}

static void test_losses(void **state)
{
    (void)state;
    static const struct {
        const char *loss;
        enum mst_loss_kind kind;
        bool from_logits;
    } rows[] = {
        {"\"sparse_categorical_crossentropy\"", MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY, false},
        {"\"SparseCategoricalCrossentropy\"", MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY, false},
        {"{\"module\": \"keras.losses\", \"class_name\": \"SparseCategoricalCrossentropy\", \"config\": {\"name\": "
         "\"sparse_categorical_crossentropy\", \"reduction\": \"sum_over_batch_size\", \"from_logits\": true, "
         "\"ignore_class\": "
         "null}, \"registered_name\": null}",
         MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY, true},
        {"{\"class_name\": \"CategoricalCrossentropy\", \"config\": {\"name\": \"categorical_crossentropy\", "
         "\"reduction\": "
         "\"sum_over_batch_size\", \"from_logits\": false, \"label_smoothing\": 0.0, \"axis\": -1}}",
         MST_LOSS_CATEGORICAL_CROSSENTROPY, false},
        {"\"mse\"", MST_LOSS_MEAN_SQUARED_ERROR, false},
        {"\"MSE\"", MST_LOSS_MEAN_SQUARED_ERROR, false},
        {"{\"class_name\": \"MeanSquaredError\", \"config\": {\"reduction\": \"auto\", \"name\": "
         "\"mean_squared_error\"}}",
         MST_LOSS_MEAN_SQUARED_ERROR, false},
        {"{\"module\": \"builtins\", \"class_name\": \"function\", \"config\": \"mean_squared_error\", "
         "\"registered_name\": "
         "\"function\"}",
         MST_LOSS_MEAN_SQUARED_ERROR, false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[600];
        snprintf(text, sizeof text,
                 "{\"optimizer\": \"sgd\", \"loss\": %s, \"loss_weights\": null, \"metrics\": null, "
                 "\"weighted_metrics\": [], "
                 "\"run_eagerly\": false, \"steps_per_execution\": 1, \"jit_compile\": \"auto\"}",
                 rows[i].loss);
        struct mst_compile compile = parse_right(text, "3");
        assert_int_equal(compile.losses[0].kind, rows[i].kind);
        assert_int_equal(compile.losses[0].options.from_logits, rows[i].from_logits);
        assert_int_equal(compile.n_metrics, 0);
    }
}

// "accuracy" by the shape of the output and the loss, as Keras decides.
static void test_accuracy(void **state)
{
    (void)state;
    static const struct {
        const char *loss, *n_outputs;
        enum mst_metric_kind kind;
    } rows[] = {
        {"sparse_categorical_crossentropy", "3", MST_METRIC_SPARSE_CATEGORICAL_ACCURACY},
        {"categorical_crossentropy", "3", MST_METRIC_CATEGORICAL_ACCURACY},
        {"mse", "3", MST_METRIC_CATEGORICAL_ACCURACY},
        {"mse", "1", MST_METRIC_BINARY_ACCURACY},
        {"sparse_categorical_crossentropy", "1", MST_METRIC_BINARY_ACCURACY},
    };
    static const char *const names[] = {"accuracy", "acc"};
    for (size_t i = 0; i < COUNT(rows) * COUNT(names); i++) {
        char text[300];
        snprintf(text, sizeof text, "{\"optimizer\": \"sgd\", \"loss\": \"%s\", \"metrics\": [\"%s\"]}",
                 rows[i / COUNT(names)].loss, names[i % COUNT(names)]);
        struct mst_compile compile = parse_right(text, rows[i / COUNT(names)].n_outputs);
        assert_int_equal(compile.n_metrics, 1);
        assert_string_equal(compile.metrics[0].name, names[i % COUNT(names)]);
        assert_int_equal(compile.metrics[0].kind, rows[i / COUNT(names)].kind);
    }
}

static void test_metrics(void **state)
{
    (void)state;
    struct mst_compile compile = parse_right(
        "{\"loss\": \"sparse_categorical_crossentropy\", \"metrics\": [\"acc\", {\"module\": \"keras.metrics\", "
        "\"class_name\": "
        "\"SparseCategoricalAccuracy\", \"config\": {\"name\": \"sca\", \"dtype\": \"float32\"}, \"registered_name\": "
        "null}, "
        "{\"class_name\": \"SparseCategoricalAccuracy\", \"config\": {}}, \"sparse_categorical_crossentropy\", "
        "\"categorical_accuracy\"]}",
        "3");
    static const struct {
        const char *name;
        enum mst_metric_kind kind;
    } wanted[] = {{"acc", MST_METRIC_SPARSE_CATEGORICAL_ACCURACY},
                  {"sca", MST_METRIC_SPARSE_CATEGORICAL_ACCURACY},
                  {"sparse_categorical_accuracy", MST_METRIC_SPARSE_CATEGORICAL_ACCURACY},
                  {"sparse_categorical_crossentropy", MST_METRIC_LOSS},
                  {"categorical_accuracy", MST_METRIC_CATEGORICAL_ACCURACY}};
    assert_int_equal(compile.n_metrics, COUNT(wanted));
    for (size_t i = 0; i < COUNT(wanted); i++) {
        assert_string_equal(compile.metrics[i].name, wanted[i].name);
        assert_int_equal(compile.metrics[i].kind, wanted[i].kind);
    }
    // One list an output, as Keras also prints them.
    compile =
        parse_right("{\"loss\": \"mse\", \"metrics\": [[\"mse\", {\"class_name\": \"BinaryAccuracy\", \"config\": "
                    "{\"name\": \"b\", \"threshold\": 0.5}}]]}",
                    "1");
    assert_int_equal(compile.n_metrics, 2);
    assert_string_equal(compile.metrics[0].name, "mse");
    assert_string_equal(compile.metrics[1].name, "b");
}

// What is reported, by the names of Keras's compile_utils.py.
static void check_names(const char *text, const char *const *names, size_t n)
{
    struct mst_compile compile = parse_right(text, "3");
    assert_int_equal(mst_compile_n_measures(&compile), n);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(mst_measure_name(&compile, i), names[i]);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const twice[] = {"loss", "mse", "mse_1", "mse_2"};
    check_names("{\"loss\": \"mse\", \"metrics\": [\"mse\", \"mse\", \"mse\"]}", twice, COUNT(twice));
    static const char *const weighted[] = {"loss", "mse", "mae", "weighted_mse", "weighted_mse_1", "acc"};
    check_names("{\"loss\": {\"d\": \"mse\"}, \"metrics\": [\"mse\", \"mae\"], \"weighted_metrics\": {\"d\": "
                "[\"mse\", \"mse\", \"acc\"]}}",
                weighted, COUNT(weighted));
    static const char *const kinds[] = {"loss", "RootMeanSquaredError", "root_mean_squared_error", "r"};
    check_names("{\"loss\": [\"mse\"], \"metrics\": [\"RootMeanSquaredError\", {\"class_name\": "
                "\"RootMeanSquaredError\", \"config\": {}}, {\"class_name\": \"RootMeanSquaredError\", \"config\": "
                "{\"name\": \"r\"}}]}",
                kinds, COUNT(kinds));
}

// The value of a measure, of sums that are counts
static void test_values(void **state)
{
    (void)state;
    struct mst_compile compile =
        parse_right("{\"loss\": \"mse\", \"metrics\": [\"mae\", \"RootMeanSquaredError\", \"mape\"]}", "3");
    const double sums[] = {6, 4, 1, 2, 18, 2, 7, 0};
    const double wanted[] = {1.5, 0.5, 3, 0};
    assert_int_equal(mst_compile_n_sums(&compile), COUNT(sums));
    for (size_t i = 0; i < COUNT(wanted); i++)
        assert_true(mst_measure_value(&compile, i, sums) == wanted[i]);
}

static void test_loss_options(void **state)
{
    (void)state;
    static const struct {
        const char *loss, *n_outputs;
        enum mst_loss_kind kind;
        enum mst_reduction reduction;
    } rows[] = {
        {"\"CE\"", "1", MST_LOSS_BINARY_CROSSENTROPY, MST_REDUCTION_MEAN},
        {"\"crossentropy\"", "3", MST_LOSS_CATEGORICAL_CROSSENTROPY, MST_REDUCTION_MEAN},
        {"{\"class_name\": \"Huber\", \"config\": {\"reduction\": \"sum\"}}", "3", MST_LOSS_HUBER, MST_REDUCTION_SUM},
        {"{\"class_name\": \"Poisson\", \"config\": {\"reduction\": \"mean_with_sample_weight\"}}", "1",
         MST_LOSS_POISSON, MST_REDUCTION_WEIGHTED_MEAN},
        // Keras 2 writes the function, too
        {"{\"class_name\": \"MeanAbsoluteError\", \"config\": {\"reduction\": \"auto\", \"name\": "
         "\"mean_absolute_error\", \"fn\": \"mean_absolute_error\"}}",
         "1", MST_LOSS_MEAN_ABSOLUTE_ERROR, MST_REDUCTION_MEAN},
        {"{\"class_name\": \"LossFunctionWrapper\", \"config\": {\"fn\": \"binary_crossentropy\", \"reduction\": "
         "\"mean\", \"from_logits\": true}}",
         "1", MST_LOSS_BINARY_CROSSENTROPY, MST_REDUCTION_MEAN},
        {"{\"class_name\": \"LossFunctionWrapper\", \"config\": {\"fn\": {\"module\": \"builtins\", "
         "\"class_name\": \"function\", \"config\": \"hinge\", \"registered_name\": \"function\"}}}",
         "1", MST_LOSS_HINGE, MST_REDUCTION_MEAN},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[600];
        snprintf(text, sizeof text, "{\"loss\": %s, \"loss_weights\": 0.25}", rows[i].loss);
        struct mst_compile compile = parse_right(text, rows[i].n_outputs);
        assert_int_equal(compile.losses[0].kind, rows[i].kind);
        assert_int_equal(compile.losses[0].reduction, rows[i].reduction);
        assert_true(compile.losses[0].weight == 0.25);
    }
}

// What tf_keras writes for functions and for "accuracy".
static void test_wrapped_metrics(void **state)
{
    (void)state;
    struct mst_compile compile = parse_right(
        "{\"loss\": {\"class_name\": \"CategoricalCrossentropy\", \"config\": {\"reduction\": \"auto\", \"name\": "
        "\"categorical_crossentropy\", \"from_logits\": false, \"label_smoothing\": 0.0, \"axis\": -1, \"fn\": "
        "\"categorical_crossentropy\"}}, \"metrics\": [[{\"class_name\": \"MeanMetricWrapper\", \"config\": {\"name\": "
        "\"accuracy\", \"dtype\": \"float32\", \"fn\": \"categorical_accuracy\"}}, {\"class_name\": "
        "\"MeanMetricWrapper\", \"config\": {\"name\": \"error\", \"dtype\": \"float32\", \"fn\": "
        "\"mean_squared_error\"}}, {\"class_name\": \"AUC\", \"config\": {\"name\": \"auc\", \"dtype\": \"float32\", "
        "\"num_thresholds\": 200, \"curve\": \"ROC\", \"summation_method\": \"interpolation\", \"multi_label\": false, "
        "\"num_labels\": null, \"label_weights\": null}}]], \"loss_weights\": null, \"weighted_metrics\": null}",
        "3");
    assert_int_equal(compile.n_metrics, 3);
    assert_string_equal(compile.metrics[0].name, "accuracy");
    assert_int_equal(compile.metrics[0].kind, MST_METRIC_CATEGORICAL_ACCURACY);
    assert_string_equal(compile.metrics[1].name, "error");
    assert_int_equal(compile.metrics[1].kind, MST_METRIC_LOSS);
    assert_int_equal(compile.metrics[1].loss, MST_LOSS_MEAN_SQUARED_ERROR);
    assert_int_equal(compile.metrics[2].kind, MST_METRIC_AUC);
    assert_int_equal(compile.metrics[2].n_sums, 2 * 201);
}

struct refusal {
    const char *compile, *n_outputs;
    mst_status status;
    const char *sentence;
};

static void check_refusals(const struct refusal *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct mst_error err = {""};
        struct mst_compile compile;
        mst_status status = parse(rows[i].compile, rows[i].n_outputs, &compile, &err);
        if (status != rows[i].status || strcmp(err.text, rows[i].sentence) != 0)
            fail_msg("wanted %s\n      got    %s (%s)", rows[i].sentence, err.text, mst_status_name(status));
    }
}

static void test_refused_losses(void **state)
{
    (void)state;
    static const struct refusal rows[] = {
        {"[]", "3", MST_INVALID_ARGUMENT, "compile should be an object with optimizer, loss and metrics"},
        {"{}", "3", MST_INVALID_ARGUMENT, "compile.loss is missing; training needs one"},
        {"{\"loss\": null}", "3", MST_INVALID_ARGUMENT, "compile.loss is missing; training needs one"},
        {"{\"los\": \"mse\"}", "3", MST_INVALID_ARGUMENT, "compile.los is not a key here; did you mean 'loss'?"},
        {"{\"loss\": \"hinge_of_doom\"}", "3", MST_UNIMPLEMENTED,
         "compile.loss is 'hinge_of_doom', which is not built yet; the losses built are SparseCategoricalCrossentropy, "
         "CategoricalCrossentropy, BinaryCrossentropy, MeanSquaredError, MeanAbsoluteError, "
         "MeanAbsolutePercentageError, MeanSquaredLogarithmicError, Huber, LogCosh, Hinge, SquaredHinge, "
         "CategoricalHinge, KLDivergence, Poisson, CosineSimilarity"},
        {"{\"loss\": [\"mse\", \"mse\"]}", "3", MST_INVALID_ARGUMENT, "compile.loss: a list of 2 losses for 1 outputs"},
        {"{\"loss\": [null]}", "3", MST_INVALID_ARGUMENT, "compile.loss: no output has a loss; training needs one"},
        {"{\"loss\": {\"dense\": \"mse\"}}", "3", MST_INVALID_ARGUMENT,
         "compile.loss: the model has no output 'dense'; its outputs are d"},
        {"{\"loss\": {\"d\": null}}", "3", MST_INVALID_ARGUMENT,
         "compile.loss: no output has a loss; training needs one"},
        {"{\"loss\": {}}", "3", MST_INVALID_ARGUMENT, "compile.loss.d is missing: give each output a loss, or null"},
        {"{\"loss\": 7}", "3", MST_INVALID_ARGUMENT,
         "compile.loss is 7; it should be a name or an object with class_name and config"},
        {"{\"loss\": {\"class_name\": \"MeanSquaredError\", \"config\": {\"reduction\": \"none\"}}}", "3",
         MST_UNIMPLEMENTED,
         "compile.loss.config.reduction is \"none\", which is not built yet; sum_over_batch_size, mean, sum and "
         "mean_with_sample_weight are"},
        {"{\"loss\": {\"class_name\": \"MeanSquaredError\", \"config\": {\"reduction\": null}}}", "3",
         MST_UNIMPLEMENTED,
         "compile.loss.config.reduction is null, which is not built yet; sum_over_batch_size, mean, sum and "
         "mean_with_sample_weight are"},
        {"{\"loss\": {\"class_name\": \"SparseCategoricalCrossentropy\", \"config\": {\"ignore_class\": 0}}}", "3",
         MST_UNIMPLEMENTED, "compile.loss.config.ignore_class is set, which is not built yet; leave it out or null"},
        {"{\"loss\": {\"class_name\": \"CategoricalCrossentropy\", \"config\": {\"label_smoothing\": 1.5}}}", "3",
         MST_INVALID_ARGUMENT, "compile.loss.config.label_smoothing is 1.5; it should be 0 to 1"},
        {"{\"loss\": {\"class_name\": \"Huber\", \"config\": {\"delta\": -1.0}}}", "3", MST_INVALID_ARGUMENT,
         "compile.loss.config.delta is -1; it should be 0 or more"},
        {"{\"loss\": {\"class_name\": \"CosineSimilarity\", \"config\": {\"axis\": 0}}}", "3", MST_UNIMPLEMENTED,
         "compile.loss.config.axis is 0, which is not built yet; -1, the last axis, is"},
        {"{\"loss\": {\"class_name\": \"CategoricalCrossentropy\", \"config\": {\"axis\": 1}}}", "3", MST_UNIMPLEMENTED,
         "compile.loss.config.axis is 1, which is not built yet; -1, the last axis, is"},
        {"{\"loss\": {\"class_name\": \"CategoricalCrossentropy\", \"config\": {\"from_logit\": true}}}", "3",
         MST_INVALID_ARGUMENT, "compile.loss.config.from_logit is not a key here; did you mean 'from_logits'?"},
        {"{\"loss\": \"mse\", \"loss_weights\": [1.0, 2.0]}", "3", MST_INVALID_ARGUMENT,
         "compile.loss_weights should be given as compile.loss is: one number, a list with one for each of the 1 "
         "outputs, or one by each output's name"},
        {"{\"loss\": \"mse\", \"loss_weights\": {\"d\": 1.0}}", "3", MST_INVALID_ARGUMENT,
         "compile.loss_weights should be given as compile.loss is: one number, a list with one for each of the 1 "
         "outputs, or one by each output's name"},
        {"{\"loss\": {\"d\": \"mse\"}, \"loss_weights\": {\"e\": 1.0}}", "3", MST_INVALID_ARGUMENT,
         "compile.loss_weights: the weight of output 'd' is missing; it should be a number"},
        {"{\"loss\": [\"mse\"], \"loss_weights\": [\"much\"]}", "3", MST_INVALID_ARGUMENT,
         "compile.loss_weights: the weight of output 'd' is \"much\"; it should be a number"},
    };
    check_refusals(rows, COUNT(rows));
}

static void test_refused_metrics(void **state)
{
    (void)state;
    static const struct refusal rows[] = {
        {"{\"loss\": \"mse\", \"metrics\": \"mse\"}", "3", MST_INVALID_ARGUMENT,
         "compile.metrics should be a list of metrics"},
        {"{\"loss\": \"mse\", \"metrics\": [\"acuracy\"]}", "3", MST_UNIMPLEMENTED,
         "compile.metrics[0] is 'acuracy', which is not built yet; the metrics built are accuracy, AUC, Precision, "
         "Recall, TruePositives, FalsePositives, TrueNegatives, FalseNegatives, SensitivityAtSpecificity, "
         "SpecificityAtSensitivity, PrecisionAtRecall, RecallAtPrecision, F1Score, FBetaScore, R2Score, "
         "SparseCategoricalAccuracy, CategoricalAccuracy, BinaryAccuracy, SparseTopKCategoricalAccuracy, "
         "TopKCategoricalAccuracy, Accuracy, RootMeanSquaredError, SparseCategoricalCrossentropy, "
         "CategoricalCrossentropy, BinaryCrossentropy, MeanSquaredError, MeanAbsoluteError, "
         "MeanAbsolutePercentageError, MeanSquaredLogarithmicError, Huber, LogCosh, Hinge, SquaredHinge, "
         "CategoricalHinge, KLDivergence, Poisson, CosineSimilarity"},
        {"{\"loss\": \"mse\", \"metrics\": [\"sparse_categorical_accuracy\"]}", "3", MST_INVALID_ARGUMENT,
         "compile.metrics[0] needs class labels, but MeanSquaredError is against values"},
        {"{\"loss\": \"bce\", \"metrics\": [\"mae\", \"sparse_top_k_categorical_accuracy\"]}", "1",
         MST_INVALID_ARGUMENT, "compile.metrics[1] needs class labels, but BinaryCrossentropy is against values"},
        {"{\"loss\": \"sparse_categorical_crossentropy\", \"metrics\": [\"binary_accuracy\"]}", "3",
         MST_INVALID_ARGUMENT,
         "compile.metrics[0] needs a target for each of the 3 outputs, but SparseCategoricalCrossentropy has one class "
         "label an example"},
        {"{\"loss\": \"sparse_categorical_crossentropy\", \"metrics\": [\"mse\"]}", "3", MST_INVALID_ARGUMENT,
         "compile.metrics[0] needs a target for each of the 3 outputs, but SparseCategoricalCrossentropy has one class "
         "label an example"},
        {"{\"loss\": \"mse\", \"metrics\": [{\"class_name\": \"TopKCategoricalAccuracy\", \"config\": {\"k\": 0}}]}",
         "3", MST_INVALID_ARGUMENT, "compile.metrics[0].config.k is 0; it should be a whole number of at least 1"},
        {"{\"loss\": \"mse\", \"metrics\": {\"e\": \"mse\"}}", "3", MST_INVALID_ARGUMENT,
         "compile.metrics: the model has no output 'e'; its outputs are d"},
    };
    check_refusals(rows, COUNT(rows));
}

// One number a measure: what would be several is refused, as are options that have no meaning.
static void test_refused_counts(void **state)
{
    (void)state;
    static const struct {
        const char *class, *config, *n_outputs;
        mst_status status;
        const char *sentence;
    } rows[] = {
        {"Precision", "\"thresholds\": [0.1, 0.5]", "1", MST_UNIMPLEMENTED,
         "thresholds has 2 thresholds, which would be as many numbers; give a metric to each"},
        {"Recall", "\"thresholds\": 1.5", "1", MST_INVALID_ARGUMENT,
         "thresholds holds 1.5; thresholds are numbers from 0 to 1"},
        {"TruePositives", "\"thresholds\": [\"x\"]", "1", MST_INVALID_ARGUMENT,
         "thresholds holds \"x\"; thresholds are numbers from 0 to 1"},
        {"Precision", "\"class_id\": 3", "3", MST_INVALID_ARGUMENT, "class_id is 3; the output has classes 0 to 2"},
        {"Recall", "\"class_id\": -1", "3", MST_INVALID_ARGUMENT, "class_id is -1; the output has classes 0 to 2"},
        {"Recall", "\"top_k\": 0", "3", MST_INVALID_ARGUMENT, "top_k is 0; it should be a whole number of at least 1"},
        {"AUC", "\"curve\": \"COR\"", "1", MST_INVALID_ARGUMENT,
         "curve is \"COR\"; it should be one of ROC, PR, PRGAIN"},
        {"AUC", "\"summation_method\": 1", "1", MST_INVALID_ARGUMENT,
         "summation_method is 1; it should be one of interpolation, minoring, majoring"},
        {"AUC", "\"num_thresholds\": 1", "1", MST_INVALID_ARGUMENT, "num_thresholds is 1; it should be 2 to 32768"},
        {"AUC", "\"num_thresholds\": 32769", "1", MST_INVALID_ARGUMENT,
         "num_thresholds is 32769; it should be 2 to 32768"},
        {"AUC", "\"thresholds\": 0.5", "1", MST_INVALID_ARGUMENT, "thresholds should be a list of numbers"},
        {"AUC", "\"label_weights\": [1, 2]", "2", MST_UNIMPLEMENTED,
         "label_weights is [1,2], which is not built yet; leave it out or null"},
        {"SensitivityAtSpecificity", "\"num_thresholds\": 3", "1", MST_INVALID_ARGUMENT,
         "specificity should be a number from 0 to 1"},
        {"RecallAtPrecision", "\"precision\": 2", "1", MST_INVALID_ARGUMENT,
         "precision should be a number from 0 to 1"},
        {"F1Score", "\"average\": null", "3", MST_UNIMPLEMENTED,
         "average is null, which would be a number for each of the 3 outputs; choose an average"},
        {"FBetaScore", "\"average\": \"all\"", "3", MST_INVALID_ARGUMENT,
         "average is \"all\"; it should be one of micro, macro, weighted"},
        {"FBetaScore", "\"average\": \"micro\", \"beta\": 0", "3", MST_INVALID_ARGUMENT,
         "beta is 0; it should be above 0"},
        {"F1Score", "\"average\": \"micro\", \"threshold\": 0.0", "3", MST_INVALID_ARGUMENT,
         "threshold is 0; it should be above 0 and at most 1"},
        {"R2Score", "\"class_aggregation\": null", "3", MST_UNIMPLEMENTED,
         "class_aggregation is null, which would be a number for each of the 3 outputs; choose an average"},
        {"R2Score", "\"num_regressors\": 2", "3", MST_UNIMPLEMENTED,
         "num_regressors is 2, which is not built yet; leave it out or null"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[300], sentence[300];
        snprintf(text, sizeof text, "{\"loss\": \"mse\", \"metrics\": [{\"class_name\": \"%s\", \"config\": {%s}}]}",
                 rows[i].class, rows[i].config);
        snprintf(sentence, sizeof sentence, "compile.metrics[0].config.%s", rows[i].sentence);
        const struct refusal row = {text, rows[i].n_outputs, rows[i].status, sentence};
        check_refusals(&row, 1);
    }
}

static void test_refused_sums(void **state)
{
    (void)state;
    static const struct refusal sums[] = {
        {"{\"loss\": \"mse\", \"metrics\": [{\"class_name\": \"AUC\", \"config\": {\"num_thresholds\": 20000}}]}", "1",
         MST_INVALID_ARGUMENT,
         "compile.metrics[0]: 40002 numbers to add up, with the metrics before it more than 32768; use fewer "
         "thresholds"},
        {"{\"loss\": \"sparse_categorical_crossentropy\", \"metrics\": [\"AUC\"]}", "3", MST_INVALID_ARGUMENT,
         "compile.metrics[0] needs a target for each of the 3 outputs, but SparseCategoricalCrossentropy has one class "
         "label an example"},
    };
    check_refusals(sums, COUNT(sums));
}

// More thresholds than a job may list.
static void test_many_thresholds(void **state)
{
    (void)state;
    for (size_t n = MST_COMPILE_MAX_THRESHOLDS - 3; n <= MST_COMPILE_MAX_THRESHOLDS + 1; n++) {
        json_t *thresholds = json_array();
        for (size_t i = 0; i < n; i++)
            json_array_append_new(thresholds, json_real(0.5 / (double)(1 + i)));
        json_t *json = json_pack("{s:s, s:[{s:s, s:{s:o}}]}", "loss", "mse", "metrics", "class_name", "AUC", "config",
                                 "thresholds", thresholds);
        char *text = json_dumps(json, 0);
        struct mst_error err = {""};
        struct mst_compile compile;
        mst_status status = parse(text, "1", &compile, &err);
        assert_int_equal(status, n <= MST_COMPILE_MAX_THRESHOLDS - 2 ? MST_OK : MST_INVALID_ARGUMENT);
        if (status == MST_OK)
            assert_true(compile.thresholds[0] < 0 && compile.thresholds[n + 1] > 1 && compile.n_thresholds == n + 2);
        free(text);
        json_decref(json);
    }
}

static void test_class_weights(void **state)
{
    (void)state;
    static const struct {
        const char *json, *sentence;
    } refused[] = {
        {"[1]", "class_weight should be an object of weights by class"},
        {"{\"cat\": 1}", "class_weight: 'cat' is no class; classes are whole numbers"},
        {"{\"1.5\": 1}", "class_weight: '1.5' is no class; classes are whole numbers"},
        {"{\"\": 1}", "class_weight: '' is no class; classes are whole numbers"},
        {"{\"99999999999\": 1}", "class_weight: '99999999999' is no class; classes are whole numbers"},
        {"{\"1\": null}", "class_weight.1 is null; it should be a number"},
        {"{\"1\": 1e300}", "class_weight.1 is 1e300; it should be a number"},
    };
    struct mst_compile compile = parse_right("{\"loss\": \"mse\"}", "1");
    struct mst_error err = {""};
    json_t *json = json_loads("{\"7\": 2.5, \"-1\": 0, \"0\": 3}", 0, NULL);
    assert_int_equal(mst_compile_set_class_weights(&compile, json, "class_weight", &err), MST_OK);
    json_decref(json);
    assert_true(mst_compile_class_weight(&compile, 7) == 2.5f && mst_compile_class_weight(&compile, -1) == 0.0f);
    assert_true(mst_compile_class_weight(&compile, 0) == 3.0f && mst_compile_class_weight(&compile, 1) == 1.0f);
    assert_true(mst_compile_class_weight(&compile, INT32_MAX) == 1.0f);
    for (size_t i = 0; i < COUNT(refused); i++) {
        json = json_loads(refused[i].json, JSON_DECODE_ANY, NULL);
        assert_int_equal(mst_compile_set_class_weights(&compile, json, "class_weight", &err), MST_INVALID_ARGUMENT);
        assert_string_equal(err.text, refused[i].sentence);
        json_decref(json);
    }
    assert_int_equal(mst_compile_set_class_weights(&compile, NULL, "class_weight", &err), MST_OK);
    assert_true(mst_compile_class_weight(&compile, 7) == 1.0f);
}

#define TWO_OUTPUTS                                                                                                    \
    "{\"class_name\": \"Functional\", \"config\": {\"name\": \"two\", \"layers\": [{\"class_name\": \"InputLayer\", "  \
    "\"config\": {\"batch_shape\": [null, 4], \"name\": \"x\"}, \"name\": \"x\", \"inbound_nodes\": []}, "             \
    "{\"class_name\": "                                                                                                \
    "\"Dense\", \"config\": {\"name\": \"a\", \"units\": 1}, \"name\": \"a\", \"inbound_nodes\": [[[\"x\", 0, 0, "     \
    "{}]]]}, "                                                                                                         \
    "{\"class_name\": \"Dense\", \"config\": {\"name\": \"b\", \"units\": 3}, \"name\": \"b\", \"inbound_nodes\": "    \
    "[[[\"x\", "                                                                                                       \
    "0, 0, {}]]]}], \"input_layers\": [[\"x\", 0, 0]], \"output_layers\": [[\"a\", 0, 0], [\"b\", 0, 0]]}}"

// What a compile of two outputs, "a" and "b", reports, or why it is refused.
static void check_two(const char *text, const char *wanted)
{
    struct mst_model *model = model_parse_right(TWO_OUTPUTS);
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    struct mst_error err = {""};
    struct mst_compile compile;
    char got[1024] = "";
    if (mst_compile_parse(json, "compile", model, &compile, &err) == MST_OK) {
        for (size_t i = 0; i < mst_compile_n_measures(&compile); i++)
            snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i > 0 ? " " : "",
                     mst_measure_name(&compile, i));
        json_t *weights = json_pack("{s:f}", "0", 2.0);
        assert_int_equal(mst_compile_set_class_weights(&compile, weights, "class_weight", &err), MST_INVALID_ARGUMENT);
        assert_string_equal(err.text, "class_weight is for models of one output, as in Keras; this one has 2: use "
                                      "sample weights");
        json_decref(weights);
    } else {
        snprintf(got, sizeof got, "%s", err.text);
    }
    assert_string_equal(got, wanted);
    json_decref(json);
    mst_model_free(model);
}

static void test_two_outputs(void **state)
{
    (void)state;
    check_two("{\"loss\": \"mse\"}", "loss a_loss b_loss");
    check_two("{\"loss\": [\"mse\", null], \"metrics\": [[\"mae\", \"mae\"], null]}", "loss a_mae a_mae_1");
    check_two(
        "{\"loss\": {\"b\": \"mse\", \"a\": \"bce\"}, \"loss_weights\": {\"a\": 1, \"b\": 2}, \"metrics\": {\"b\": "
        "\"acc\"}, \"weighted_metrics\": [[], [\"acc\", \"mse\"]]}",
        "loss a_loss b_loss b_acc b_weighted_acc b_mse");
    check_two("{\"loss\": [\"mse\", \"mse\"], \"metrics\": [\"mae\", \"mse\"]}", "loss a_loss b_loss a_mae b_mse");
    check_two("{\"loss\": [\"mse\"]}", "compile.loss: a list of 1 losses for 2 outputs");
    check_two("{\"loss\": {\"a\": \"mse\"}}", "compile.loss.b is missing: give each output a loss, or null");
    check_two("{\"loss\": {\"a\": \"mse\", \"c\": \"mse\"}}",
              "compile.loss: the model has no output 'c'; its outputs are a, b");
    check_two("{\"loss\": \"mse\", \"metrics\": [\"mae\"]}",
              "compile.metrics has 1 entries for 2 outputs: give each output a list, or name the outputs");
    check_two("{\"loss\": \"mse\", \"metrics\": [[[\"mae\"]], []]}",
              "compile.metrics[0][0] is a list within the list of an output");
    check_two("{\"loss\": [null, \"mse\"], \"metrics\": [[\"mae\"], []]}",
              "compile.metrics[0][0]: metrics of an output without a loss are not built yet");
    check_two("{\"loss\": \"mse\", \"loss_weights\": [1, 2]}",
              "compile.loss_weights should be given as compile.loss is: one number, a list with one for each of the 2 "
              "outputs, or one by each output's name");
}

static void test_many_metrics(void **state)
{
    (void)state;
    json_t *metrics = json_array();
    for (size_t i = 0; i <= MST_MAX_METRICS; i++)
        json_array_append_new(metrics, json_pack("{s:s, s:{s:o}}", "class_name", "CategoricalAccuracy", "config",
                                                 "name", json_sprintf("m%zu", i)));
    json_t *compile_json = json_pack("{s:s, s:o}", "loss", "mse", "metrics", metrics);
    char *text = json_dumps(compile_json, 0);
    struct mst_error err = {""};
    struct mst_compile compile;
    assert_int_equal(parse(text, "3", &compile, &err), MST_INVALID_ARGUMENT);
    assert_string_equal(err.text, "compile.metrics[64]: more than 64 metrics");
    free(text);
    json_decref(compile_json);
}

// Losses take one row of outputs an example.
static void test_output_of_two_axes(void **state)
{
    (void)state;
    char *text = model_text(MODEL_INPUT("[null, 4, 3]") "," MODEL_DENSE("d", "2"));
    struct mst_model *model = model_parse_right(text);
    json_t *json = json_pack("{s:s}", "loss", "mse");
    struct mst_compile compile;
    struct mst_error err = {""};
    assert_int_equal(mst_compile_parse(json, "compile", model, &compile, &err), MST_UNIMPLEMENTED);
    assert_string_equal(
        err.text, "compile.loss: the model's output for an example has shape (4, 2); losses are built for one row "
                  "of outputs, so let a Flatten come last");
    json_decref(json);
    mst_model_free(model);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses),          cmocka_unit_test(test_accuracy),
        cmocka_unit_test(test_metrics),         cmocka_unit_test(test_names),
        cmocka_unit_test(test_wrapped_metrics), cmocka_unit_test(test_values),
        cmocka_unit_test(test_loss_options),    cmocka_unit_test(test_refused_losses),
        cmocka_unit_test(test_refused_metrics), cmocka_unit_test(test_refused_counts),
        cmocka_unit_test(test_refused_sums),    cmocka_unit_test(test_many_thresholds),
        cmocka_unit_test(test_class_weights),   cmocka_unit_test(test_two_outputs),
        cmocka_unit_test(test_many_metrics),    cmocka_unit_test(test_output_of_two_axes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
