/** @file
 *  A CSV file as a table of numbers: every column a feature, but for one that may hold the label.
 *
 *      struct mst_csv_options options = {.label = "species"};
 *      MST_TRY(mst_csv_read("train.csv.gz", &options, &table, err));
 *      … table.features[row * table.n_columns + column], table.labels[row] …
 *      mst_csv_table_fini(&table);
 *
 *  Fields are decimal numbers, quoted or not, blanks around them allowed. Every line has as many fields as the first.
 *  csv_lines.h has the form of the file and its limits; whether it is gzip is told from its first bytes.
 *  Thread: any.
 */
#pragma once

#include "muster/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Of the features in memory: what a worker could hold at all.
#define MST_CSV_DATA_MAX_BYTES ((uint64_t)64 << 30)

/** How to read it. Zeros are the defaults: a header, no label, nothing missing. */
struct mst_csv_options {
    const char *label;      // name of the label's column, or its number from 0; NULL: none
    bool is_headless;       // the first line is an example too
    bool label_is_optional; // a file without the label's column has no labels, and is fine
    bool fills_missing;     // an empty feature is `missing`, else it is an error
    float missing;
};

/** What it holds. Owner: the caller, until mst_csv_table_fini. */
struct mst_csv_table {
    size_t n_rows;
    size_t n_columns; // of features
    float *features;  // (n_rows, n_columns)
    int32_t *labels;  // (n_rows), or NULL
};

/** Reads the whole file into *out (all zeros after a failure).
 *  Errors: NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE the file; INVALID_ARGUMENT no such label column (with those there
 *          are); DATA_LOSS no examples, a field that is no number, empty, or a label that is no integer, a line of
 *          another length (with path:line:column); OUT_OF_RANGE, RESOURCE_EXHAUSTED over a limit
 *  Cost:   40 MB/s on one core: 20,000 lines of 785 fields in 1.3 s */
MST_MUST_USE mst_status mst_csv_read(const char *path, const struct mst_csv_options *options, struct mst_csv_table *out,
                                     struct mst_error *err);
/** Releases it; it is all zeros then. */
void mst_csv_table_fini(struct mst_csv_table *table);
