/** @file
 *  Reading one loss and one metric. Private to model/ (compile.c spreads them over the outputs, compile_classes.c knows
 *  Keras's classes, measure.c turns sums into values).
 *
 *  Sums of a compile, in this order: loss (2), each reported loss of an output (2), each metric (n_sums). The two are a
 *  sum and its weight. Thread: any.
 */
#pragma once

#include "model/compile.h"

/** Reads a loss: a name or a serialised object. Owner: borrows all; *out->weight is left
 *  Errors: INVALID_ARGUMENT, UNIMPLEMENTED as mst_compile_parse */
MST_MUST_USE mst_status mst_compile_read_loss(const json_t *json, const char *path, size_t n_values,
                                              struct mst_output_loss *out, struct mst_error *err);
/** Reads a metric of an output of n_values values that has this loss; first_sum and is_weighted are left.
 *  Errors: as mst_compile_parse */
MST_MUST_USE mst_status mst_compile_read_metric(const json_t *json, const char *path,
                                                const struct mst_output_loss *loss, size_t n_values,
                                                struct mst_metric *out, struct mst_error *err);
/** What a loss takes from a label of an output of n_values values. */
enum mst_label_use mst_compile_loss_label_use(enum mst_loss_kind loss, size_t n_values);
