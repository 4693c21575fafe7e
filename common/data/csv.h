/** @file
 *  A CSV file as arrays of numbers: groups of columns, each a matrix with a row for every line.
 *
 *      const struct mst_csv_group groups[] = {{.kind = MST_CSV_FEATURES},                       // all other columns
 *                                             {.kind = MST_CSV_TARGETS, .columns = &label, .n_columns = 1}};
 *      MST_TRY(mst_csv_read("train.csv.gz", &options, groups, 2, &table, err));
 *      … table.arrays[0].values[row * table.arrays[0].n_columns + column], table.arrays[1].labels[row] …
 *      mst_csv_table_fini(&table);
 *
 *  Fields of the columns that a group names are numbers, or texts of the column's categories, quoted or not, blanks
 *  around them allowed; what stands in other columns does not matter. A column may be in several groups. Every line has
 *  as many fields as the first.
 *  csv_lines.h has the form of the file and its limits; whether it is gzip is told from its first bytes.
 *  Thread: any.
 */
#pragma once

#include "muster/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Of one group in memory: what a worker could hold at all.
#define MST_CSV_DATA_MAX_BYTES ((uint64_t)64 << 30)

/** The texts of a column, each of which is read as its place in the list, from 0. Borrowed. */
struct mst_csv_categories {
    const char *column; // as of a group
    const char *const *texts;
    size_t n;
};

/** How to read it. Zeros are the defaults: commas, a header, nothing missing, numbers alone. Borrowed. */
struct mst_csv_options {
    char separator;     // 0: a comma
    bool is_headless;   // the first line is an example too
    bool fills_missing; // a feature that is empty or NaN is `missing`; else an empty one is an error
    float missing;
    const struct mst_csv_categories *categories;
    size_t n_categories;
};

enum mst_csv_kind {
    MST_CSV_FEATURES, // float32; inf and nan as they are spelled
    MST_CSV_TARGETS,  // finite; one column of int32 alone is labels, all else values
    MST_CSV_WEIGHTS,  // finite float32, one column
};

/** Columns that make one array. Borrowed. */
struct mst_csv_group {
    enum mst_csv_kind kind;
    const char *const *columns; // names, or numbers from 0; a name is more than a number
    size_t n_columns;           // 0: of features all columns that no other group names, in their order; else none
    bool is_optional;           // a file that lacks one of the columns has no such array, and is fine
};

/** One group's numbers: (n_rows, n_columns). */
struct mst_csv_array {
    size_t n_columns; // 0: an optional group that is not there
    float *values;    // NULL: labels
    int32_t *labels;
};

/** What it holds. Owner: the caller, until mst_csv_table_fini. */
struct mst_csv_table {
    size_t n_rows;
    size_t n_arrays; // as many as groups, in their order
    struct mst_csv_array *arrays;
};

/** Reads the whole file into *out (all zeros after a failure).
 *  Errors: NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE the file; INVALID_ARGUMENT no such column (with those there
 *          are), a category listed twice; DATA_LOSS no column left for a group, no examples, a field that is no
 *          number or no category or is empty, a line of another length (with path:line:column); OUT_OF_RANGE,
 *          RESOURCE_EXHAUSTED over a limit
 *  Cost:   one pass; memory beyond the arrays: one line and 256 KiB */
MST_MUST_USE mst_status mst_csv_read(const char *path, const struct mst_csv_options *options,
                                     const struct mst_csv_group *groups, size_t n_groups, struct mst_csv_table *out,
                                     struct mst_error *err);
/** Releases it; it is all zeros then. */
void mst_csv_table_fini(struct mst_csv_table *table);
