/** @file
 *  A data set in memory: named inputs of one example shape each, named outputs, and perhaps a weight for each example.
 *
 *      const struct mst_dataset_part image = {.path = "images.gz"}, digit = {.path = "labels.gz"};
 *      struct mst_dataset_source source = {
 *          .format = "idx", .inputs = &image, .n_inputs = 1, .outputs = &digit, .n_outputs = 1};
 *      MST_TRY(mst_dataset_open(&source, &dataset, err));       // labels and the inputs' headers: milliseconds
 *      MST_TRY(mst_dataset_check_labels(dataset, 0, 10, err));
 *      MST_TRY(mst_dataset_load(dataset, err));                 // the inputs; a prefetch thread does it by itself
 *      mst_dataset_free(dataset);
 *
 *  Open reads all outputs and weights and only the headers of the inputs, so that a role can go on connecting while
 *  they are decoded; a CSV file, which does not say how many lines it has, is read whole at once. There is one copy of
 *  the inputs in memory, in the file's element type (u8 images stay u8; CSV is f32).
 *  An output is labels (one int32 an example: a list of integers, or a CSV column of nothing but integers) or values
 *  (float32: everything else); what labels mean, the loss decides.
 *  Thread: immutable after load; load may be called from any thread and several times. Free when nobody uses it.
 */
#pragma once

#include "data/csv.h"
#include "muster/status.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

#include <stddef.h>
#include <stdint.h>

enum { MST_DATASET_PARTS_MAX = 256 };

struct mst_dataset;

/** One input or output, and where it is. Borrowed for the call. */
struct mst_dataset_part {
    const char *name;           // NULL: the only one of its kind, whatever the model calls it
    const char *path;           // idx: its file; NULL, of an output: it has no labels
    const char *const *columns; // csv: its columns, by name or by number from 0
    size_t n_columns;           // csv: 0: of an input all columns that no other part names, of an output none
};

/** Where the examples are: the job's data.train or data.eval. Borrowed for the call. */
struct mst_dataset_source {
    const char *format; // "idx" or "csv"
    const char *file;   // csv: the one file; idx: NULL
    const struct mst_dataset_part *inputs;
    size_t n_inputs; // 1 … MST_DATASET_PARTS_MAX
    const struct mst_dataset_part *outputs;
    size_t n_outputs;
    const char *weights;        // idx: a path; csv: a column; NULL: all examples weigh the same
    bool outputs_are_optional;  // csv: outputs whose columns the file lacks have no labels; likewise weights
    struct mst_csv_options csv; // csv: how to read it
};

/** One input. Owner: the data set's */
struct mst_dataset_input {
    const char *name; // or NULL
    const char *file;
    enum mst_dtype dtype;   // MST_DTYPE_U8, MST_DTYPE_I32 or MST_DTYPE_F32
    struct mst_shape shape; // of one example; rank 0 when it is one number
    size_t example_bytes;
    const void *data; // of all examples, one after the other; NULL before load
};

/** One output. Owner: the data set's */
struct mst_dataset_output {
    const char *name; // or NULL
    const char *file;
    size_t width;          // elements of an example; 0: no labels
    const int32_t *labels; // (n_examples), or NULL
    const float *values;   // (n_examples, width), or NULL
};

/** New data set in *out: outputs and weights read, the inputs' headers checked; of csv all is read.
 *  Errors: UNIMPLEMENTED another format; INVALID_ARGUMENT no input; DATA_LOSS counts differ; those of mst_idx_open, of
 *          mst_csv_read */
MST_MUST_USE mst_status mst_dataset_open(const struct mst_dataset_source *source, struct mst_dataset **out,
                                         struct mst_error *err);
/** Releases it; NULL is fine. */
void mst_dataset_free(struct mst_dataset *dataset);

/** Decodes the inputs if nobody has yet; the first caller does it, the others wait; a failure is kept and told again.
 *  Errors: those of mst_idx_read; RESOURCE_EXHAUSTED. Thread: any. Cost: 47 MB of gzip images 0.2 s */
MST_MUST_USE mst_status mst_dataset_load(struct mst_dataset *dataset, struct mst_error *err);

/** Number of examples. */
size_t mst_dataset_n_examples(const struct mst_dataset *dataset);
/** Number of inputs, at least 1. */
size_t mst_dataset_n_inputs(const struct mst_dataset *dataset);
/** An input, in the order of the source; i < n_inputs. Owner: borrowed */
const struct mst_dataset_input *mst_dataset_input(const struct mst_dataset *dataset, size_t i);
/** Element types of all inputs. Owner: borrowed until free */
const enum mst_dtype *mst_dataset_input_dtypes(const struct mst_dataset *dataset);
/** Number of outputs. */
size_t mst_dataset_n_outputs(const struct mst_dataset *dataset);
/** An output, in the order of the source; i < n_outputs. Owner: borrowed */
const struct mst_dataset_output *mst_dataset_output(const struct mst_dataset *dataset, size_t i);
/** Weights of all examples; NULL: all 1. Owner: borrowed until free */
const float *mst_dataset_weights(const struct mst_dataset *dataset);

/** Checks that every label of an output is in 0 … n_classes-1.
 *  Errors: OUT_OF_RANGE names file, example, label and limit; INVALID_ARGUMENT they are values, not classes;
 *          FAILED_PRECONDITION there are no labels. Thread: any */
MST_MUST_USE mst_status mst_dataset_check_labels(const struct mst_dataset *dataset, size_t output, size_t n_classes,
                                                 struct mst_error *err);
/** Batches of an epoch, the last one perhaps partial; batch_size > 0. */
size_t mst_dataset_n_batches(const struct mst_dataset *dataset, size_t batch_size);
