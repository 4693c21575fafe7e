/** @file
 *  Predictions as text, one line an example: CSV or JSON lines, to a file that appears only when it is whole, or to
 *  standard output.
 *
 *      MST_TRY(mst_predictions_new("p.csv", MST_PREDICTIONS_CSV, outputs, n_outputs, &out, err));
 *      status = mst_predictions_add(out, values, n_examples, err);     // on failure: mst_predictions_abort(out)
 *      MST_TRY(mst_predictions_close(out, err));
 *
 *  CSV: the numbers of an example in row-major order; without a header for one output, else with the names
 *  <output>_<number>. JSON: arrays nested as the shape is, a bare number for a scalar; null for what is not finite,
 *  which JSON has no word for; several outputs are an object by their names. Numbers have 9 digits, so that a float32
 *  comes back as it was.
 *  Thread: one at a time.
 */
#pragma once

#include "muster/status.h"
#include "tensor/shape.h"

#include <stddef.h>

enum mst_predictions_format { MST_PREDICTIONS_CSV, MST_PREDICTIONS_JSONL };

struct mst_predictions;

/** One output of the model. */
struct mst_predictions_output {
    const char *name;
    struct mst_shape shape; // of one example
};

/** New writer in *out of examples of these outputs, n_outputs > 0.
 *  Owner: borrows the outputs' names. path NULL: standard output; else path.tmp until close.
 *  Errors: INVALID_ARGUMENT an example without elements, a directory; those of mst_disk_file_new */
MST_MUST_USE mst_status mst_predictions_new(const char *path, enum mst_predictions_format format,
                                            const struct mst_predictions_output *outputs, size_t n_outputs,
                                            struct mst_predictions **out, struct mst_error *err);
/** Writes n_examples lines.
 *  Shape:  values[output] (n_examples, shape) row-major
 *  Errors: UNAVAILABLE standard output is gone or full; those of mst_disk_file_append */
MST_MUST_USE mst_status mst_predictions_add(struct mst_predictions *predictions, const float *const *values,
                                            size_t n_examples, struct mst_error *err);
/** Ends the output: the file is on the disk under its name; releases the writer, also when it fails (then there is no
 *  new file). Errors: those of mst_predictions_add and of mst_disk_rename */
MST_MUST_USE mst_status mst_predictions_close(struct mst_predictions *predictions, struct mst_error *err);
/** Gives up: what was there under the name stays; NULL is fine. */
void mst_predictions_abort(struct mst_predictions *predictions);
