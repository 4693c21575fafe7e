/** @file
 *  Reading one loss and one metric. Private to model/ (compile.c spreads them over the outputs, compile_classes.c knows
 *  Keras's classes, measure.c turns sums into values).
 *
 *  Sums of a compile, in this order: loss (2), each reported loss of an output (2), each metric (n_sums). The two are a
 *  sum and its weight. Thread: any.
 */
#pragma once

#include "config.h"
#include "model/compile.h"

/** Reads a loss: a name or a serialised object. Owner: borrows all; *out->weight is left
 *  Errors: INVALID_ARGUMENT, UNIMPLEMENTED as mst_compile_parse */
MST_MUST_USE mst_status mst_compile_read_loss(const json_t *json, const char *path, size_t n_values,
                                              struct mst_output_loss *out, struct mst_error *err);
/** Reads a metric whose output and n_values are set; its thresholds are added to compile's. first_sum and is_weighted
 *  are left.
 *  Errors: as mst_compile_parse */
MST_MUST_USE mst_status mst_compile_read_metric(const json_t *json, const char *path, struct mst_compile *compile,
                                                struct mst_metric *out, struct mst_error *err);
/** Reads a metric that counts (confusion.h, score.h); *name_out is NULL if it is none of these.
 *  Owner: *name_out is borrowed from object */
MST_MUST_USE mst_status mst_compile_read_counts(const struct mst_config_class *object, const char *path,
                                                struct mst_compile *compile, struct mst_metric *out,
                                                const char **name_out, struct mst_error *err);
/** The losses, the metrics that are means, and those that count, each from 0 on; false after the last. */
bool mst_compile_loss_entry(size_t i, struct mst_config_entry *out);
bool mst_compile_metric_entry(size_t i, struct mst_config_entry *out);
bool mst_compile_counts_entry(size_t i, struct mst_config_entry *out);
/** What a loss takes from a label of an output of n_values values. */
enum mst_label_use mst_compile_loss_label_use(enum mst_loss_kind loss, size_t n_values);
