/** @file
 *  What a job's `compile` says, in Keras's serialisation: loss and metrics (the optimizer is read by optim).
 *
 *      MST_TRY(mst_compile_parse(compile_json, "compile", model, &compile, err));
 *      compile.metrics[0].name                                  // "accuracy"
 *
 *  "accuracy" (or "acc") becomes binary, categorical or sparse categorical accuracy by output and loss, as Keras does.
 *  Thread: any.
 */
#pragma once

#include "model/model.h"
#include "muster/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum { MST_MAX_METRICS = 8, MST_METRIC_NAME_BYTES = 64 };

enum mst_loss_kind {
    MST_LOSS_SPARSE_CATEGORICAL_CROSSENTROPY,
    MST_LOSS_CATEGORICAL_CROSSENTROPY,
    MST_LOSS_MEAN_SQUARED_ERROR,
};

enum mst_metric_kind {
    MST_METRIC_SPARSE_CATEGORICAL_ACCURACY, // arg max of the output is the label
    MST_METRIC_CATEGORICAL_ACCURACY,        // arg max of the output is that of the target
    MST_METRIC_BINARY_ACCURACY,             // output > 0.5 is target
    MST_METRIC_LOSS,                        // the loss, under a metric's name
};

struct mst_metric {
    char name[MST_METRIC_NAME_BYTES]; // as Keras reports it
    enum mst_metric_kind kind;
};

/** A plain value: may be copied. */
struct mst_compile {
    enum mst_loss_kind loss;
    bool from_logits; // cross-entropies only
    size_t n_metrics;
    struct mst_metric metrics[MST_MAX_METRICS];
};

/** Reads an object {"optimizer", "loss", "metrics"}; path ("compile") is where errors say it stands.
 *  Owner:  borrows all; *out is zeroed on entry
 *  Errors: INVALID_ARGUMENT no loss, an unknown key, an output that does not suit the loss; UNIMPLEMENTED names a loss,
 *          metric or option that is not built yet and lists those that are */
MST_MUST_USE mst_status mst_compile_parse(const json_t *compile, const char *path, const struct mst_model *model,
                                          struct mst_compile *out, struct mst_error *err);

/** Number of classes that labels must be below, for losses with class labels; 0 for others. */
size_t mst_compile_n_classes(const struct mst_compile *compile, const struct mst_model *model);
