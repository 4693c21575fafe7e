/** @file
 *  A data set in memory: examples of one shape, with one integer label each.
 *
 *      struct mst_dataset_source source = {.format = "idx", .features = "images.gz", .labels = "labels.gz"};
 *      MST_TRY(mst_dataset_open(&source, &dataset, err));       // labels and the features' header: milliseconds
 *      MST_TRY(mst_dataset_check_labels(dataset, 10, err));
 *      MST_TRY(mst_dataset_load(dataset, err));                 // the features; a prefetch thread does it by itself
 *      mst_dataset_free(dataset);
 *
 *  Open reads all labels and only the header of the features, so that a role can go on connecting while the features
 *  are decoded; a CSV file, which does not say how many lines it has, is read whole at once. There is one copy of the
 *  features in memory, in the file's element type (u8 images stay u8; CSV is f32).
 *  Thread: immutable after load; load may be called from any thread and several times. Free when nobody uses it.
 */
#pragma once

#include "data/csv.h"
#include "muster/status.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

#include <stddef.h>
#include <stdint.h>

struct mst_dataset;

/** Where the examples are: the job's data.train or data.eval. Borrowed for the call. */
struct mst_dataset_source {
    const char *format;         // "idx" or "csv"
    const char *features;       // a path; of csv the one file
    const char *labels;         // idx: a path, or NULL: no labels
    struct mst_csv_options csv; // csv: how to read it
};

/** New data set in *out: labels read, the features' header checked; of csv all is read.
 *  Errors: UNIMPLEMENTED another format; INVALID_ARGUMENT no features; DATA_LOSS counts differ, or labels that are not
 *          a list of integers; those of mst_idx_open, of mst_csv_read */
MST_MUST_USE mst_status mst_dataset_open(const struct mst_dataset_source *source, struct mst_dataset **out,
                                         struct mst_error *err);
/** Releases it; NULL is fine. */
void mst_dataset_free(struct mst_dataset *dataset);

/** Decodes the features if nobody has yet; the first caller does it, the others wait; a failure is kept and told again.
 *  Errors: those of mst_idx_read; RESOURCE_EXHAUSTED. Thread: any. Cost: 47 MB of gzip images 0.2 s */
MST_MUST_USE mst_status mst_dataset_load(struct mst_dataset *dataset, struct mst_error *err);

/** Number of examples. */
size_t mst_dataset_n_examples(const struct mst_dataset *dataset);
/** Element type of the features: MST_DTYPE_U8, MST_DTYPE_I32 or MST_DTYPE_F32. */
enum mst_dtype mst_dataset_feature_dtype(const struct mst_dataset *dataset);
/** Shape of one example's features, without the axis of examples; rank 0 when each is one number. Owner: borrowed */
const struct mst_shape *mst_dataset_feature_shape(const struct mst_dataset *dataset);
/** Bytes of one example's features. */
size_t mst_dataset_example_bytes(const struct mst_dataset *dataset);
/** Features of all examples, one after the other; NULL before load. Owner: borrowed until free */
const void *mst_dataset_features(const struct mst_dataset *dataset);
/** Labels of all examples; NULL if there are none. Owner: borrowed until free */
const int32_t *mst_dataset_labels(const struct mst_dataset *dataset);

/** Checks that every label is in 0 … n_classes-1.
 *  Errors: OUT_OF_RANGE names file, example, label and limit; FAILED_PRECONDITION there are no labels. Thread: any */
MST_MUST_USE mst_status mst_dataset_check_labels(const struct mst_dataset *dataset, size_t n_classes,
                                                 struct mst_error *err);
/** Batches of an epoch, the last one perhaps partial; batch_size > 0. */
size_t mst_dataset_n_batches(const struct mst_dataset *dataset, size_t batch_size);
