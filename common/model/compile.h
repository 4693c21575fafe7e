/** @file
 *  What a job's `compile` says, in Keras's serialisation: losses and metrics (the optimizer is read by optim), and what
 *  is added up to report them.
 *
 *      MST_TRY(mst_compile_parse(compile_json, "compile", model, &compile, err));
 *      double *sums = mst_alloc_array(mst_compile_n_sums(&compile), sizeof *sums);
 *      …programs add what batches measure; workers' sums are added to each other…
 *      for (size_t i = 0; i < mst_compile_n_measures(&compile); i++)
 *          report(mst_measure_name(&compile, i), mst_measure_value(&compile, i, sums));   // "loss", 0.31
 *
 *  "accuracy" (or "acc") becomes binary, categorical or sparse categorical accuracy by output and loss, as Keras does.
 *  With several outputs measures are named as Keras names them: "loss", "<output>_loss", "<output>_<metric>".
 *  Thread: any.
 */
#pragma once

#include "model/model.h"
#include "muster/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MST_MAX_OUTPUTS = 32,
    MST_MAX_METRICS = 64,
    MST_MEASURES_MAX = 1 + MST_MAX_OUTPUTS + MST_MAX_METRICS,
    MST_MEASURE_NAME_BYTES = 160,
    MST_COMPILE_MAX_SUMS = 1 << 15,       // of all measures together
    MST_COMPILE_MAX_THRESHOLDS = 1 << 10, // written out in metrics, together
    MST_COMPILE_MAX_CLASS_WEIGHTS = 1 << 10,
};

enum mst_loss_kind {
    MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY,
    MST_LOSS_CATEGORICAL_CROSSENTROPY,
    MST_LOSS_MEAN_SQUARED_ERROR,
    MST_LOSS_BINARY_CROSSENTROPY,
    MST_LOSS_MEAN_ABSOLUTE_ERROR,
    MST_LOSS_MEAN_ABSOLUTE_PERCENTAGE_ERROR,
    MST_LOSS_MEAN_SQUARED_LOGARITHMIC_ERROR,
    MST_LOSS_HUBER,
    MST_LOSS_LOG_COSH,
    MST_LOSS_HINGE,
    MST_LOSS_SQUARED_HINGE,
    MST_LOSS_CATEGORICAL_HINGE,
    MST_LOSS_KL_DIVERGENCE,
    MST_LOSS_POISSON,
    MST_LOSS_COSINE_SIMILARITY,
};

/** What a loss takes from a label where there are no dense targets. */
enum mst_label_use {
    MST_LABEL_CLASS,   // its class
    MST_LABEL_ONE_HOT, // a row of targets with a single 1
    MST_LABEL_VALUE,   // the target itself: one output
    MST_LABEL_NONE,    // nothing: several outputs against values need dense targets
};

/** How a loss is computed. */
struct mst_loss_options {
    bool from_logits;       // cross-entropies
    double label_smoothing; // binary and categorical cross-entropy
    double delta;           // Huber
};

/** What a batch's loss is made of the examples' losses l with weights w. */
enum mst_reduction {
    MST_REDUCTION_MEAN,          // Σ w l / n
    MST_REDUCTION_SUM,           // Σ w l
    MST_REDUCTION_WEIGHTED_MEAN, // Σ w l / Σ w
};

/** The loss of one output. */
struct mst_output_loss {
    bool is_given; // false: the output has none
    enum mst_loss_kind kind;
    struct mst_loss_options options;
    enum mst_reduction reduction;
    double weight; // in the job's loss
};

enum mst_metric_kind {
    MST_METRIC_SPARSE_CATEGORICAL_ACCURACY, // arg max of the output is the label
    MST_METRIC_CATEGORICAL_ACCURACY,        // arg max of the output is that of the target
    MST_METRIC_BINARY_ACCURACY,             // output > threshold is target
    MST_METRIC_SPARSE_TOP_K,                // fewer than k outputs are larger than the label's
    MST_METRIC_CATEGORICAL_TOP_K,           // the same for the arg max of the target
    MST_METRIC_LOSS,                        // a loss, under a metric's name; cosine similarity with the other sign
    MST_METRIC_ROOT_MEAN_SQUARED_ERROR,
    MST_METRIC_EQUALITY, // output == target: Keras's Accuracy
    // Counts over all values, or those of one class, against a threshold.
    MST_METRIC_TRUE_POSITIVES,
    MST_METRIC_FALSE_POSITIVES,
    MST_METRIC_TRUE_NEGATIVES,
    MST_METRIC_FALSE_NEGATIVES,
    MST_METRIC_PRECISION,
    MST_METRIC_RECALL,
    MST_METRIC_SENSITIVITY_AT_SPECIFICITY, // with evenly spread thresholds, from here on
    MST_METRIC_SPECIFICITY_AT_SENSITIVITY,
    MST_METRIC_PRECISION_AT_RECALL,
    MST_METRIC_RECALL_AT_PRECISION,
    MST_METRIC_AUC,
    MST_METRIC_F_SCORE,
    MST_METRIC_R2_SCORE,
};

enum mst_curve { MST_CURVE_ROC, MST_CURVE_PR, MST_CURVE_PRGAIN };
enum mst_summation { MST_SUMMATION_INTERPOLATION, MST_SUMMATION_MINORING, MST_SUMMATION_MAJORING };
enum mst_average { MST_AVERAGE_MACRO, MST_AVERAGE_MICRO, MST_AVERAGE_WEIGHTED };

/** A metric of one output. */
struct mst_metric {
    char name[MST_MEASURE_NAME_BYTES]; // as Keras reports it
    size_t output;
    bool is_weighted; // by the examples' weights: one of weighted_metrics
    enum mst_metric_kind kind;
    enum mst_loss_kind loss; // of MST_METRIC_LOSS
    struct mst_loss_options options;
    size_t n_values;        // of the output
    double threshold;       // binary accuracy; what the rates at another rate hold; F-scores: NaN: the largest
    size_t k;               // top-k; Precision and Recall: 0: all
    size_t n_thresholds;    // confusion counts
    size_t first_threshold; // in compile's thresholds; SIZE_MAX: spread evenly over [0, 1]
    size_t class_id;        // SIZE_MAX: all values
    bool is_by_label;       // AUC: the mean of the values' own
    enum mst_curve curve;
    enum mst_summation summation;
    enum mst_average average; // F-scores and R²
    double beta;              // F-scores
    size_t first_sum;         // its sums are [first_sum, first_sum + n_sums)
    size_t n_sums;
};

/** What an example of a class counts in training. */
struct mst_class_weight {
    int32_t class;
    float weight;
};

/** A plain value: may be copied, but is large. */
struct mst_compile {
    size_t n_outputs;
    struct mst_output_loss losses[MST_MAX_OUTPUTS];
    size_t n_output_losses; // reported: those that are given, if there are several
    struct {
        size_t output;
        char name[MST_MEASURE_NAME_BYTES];
    } output_losses[MST_MAX_OUTPUTS];
    size_t n_metrics;
    struct mst_metric metrics[MST_MAX_METRICS];
    size_t n_sums;
    size_t n_thresholds;
    float thresholds[MST_COMPILE_MAX_THRESHOLDS];                         // of a metric in ascending order
    size_t n_class_weights;                                               // 0: every example counts 1
    struct mst_class_weight class_weights[MST_COMPILE_MAX_CLASS_WEIGHTS]; // by class, ascending
};

/** Reads an object {"optimizer", "loss", "metrics", …}; path ("compile") is where errors say it stands.
 *  Owner:  borrows all; *out is zeroed on entry
 *  Errors: INVALID_ARGUMENT no loss, an unknown key, an output that does not suit the loss, too many metrics or sums;
 *          UNIMPLEMENTED names a loss, metric or option that is not built yet and lists those that are */
MST_MUST_USE mst_status mst_compile_parse(const json_t *compile, const char *path, const struct mst_model *model,
                                          struct mst_compile *out, struct mst_error *err);

/** Sets what examples count in training by their class, as fit's class_weight: {"0": 1.0, "1": 2.5}; other classes
 *  count 1. NULL or null: all count 1.
 *  Owner:  borrows json
 *  Errors: INVALID_ARGUMENT not an object of whole numbers and numbers, too many, a model of several outputs */
MST_MUST_USE mst_status mst_compile_set_class_weights(struct mst_compile *compile, const json_t *json, const char *path,
                                                      struct mst_error *err);
/** The weight of a class. Cost: a binary search */
float mst_compile_class_weight(const struct mst_compile *compile, int32_t class);

/** What the loss takes from labels of an output. */
enum mst_label_use mst_compile_label_use(const struct mst_compile *compile, const struct mst_model *model,
                                         size_t output);
/** The class name of a loss, for messages. */
const char *mst_loss_name(enum mst_loss_kind kind);
/** Number of classes that labels of an output must be below, 2 for binary cross-entropy with one value; 0: any label
 *  will do. */
size_t mst_compile_n_classes(const struct mst_compile *compile, const struct mst_model *model, size_t output);

/** Number of measures: what Keras reports of a batch or an epoch. Measure 0 is the loss. */
size_t mst_compile_n_measures(const struct mst_compile *compile);
/** Numbers that a program adds up for all measures together; they merge over batches and workers by addition. */
size_t mst_compile_n_sums(const struct mst_compile *compile);
/** Name of a measure as Keras reports it: "loss", "accuracy". Owner: borrowed from compile */
const char *mst_measure_name(const struct mst_compile *compile, size_t measure);
/** Value of a measure as Keras reports it, of merged sums; 0 where nothing was measured.
 *  Shape: sums (mst_compile_n_sums) */
double mst_measure_value(const struct mst_compile *compile, size_t measure, const double *sums);
