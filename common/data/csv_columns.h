/** @file
 *  Which column of a CSV file goes where. Private to data/.
 *
 *      struct mst_csv_wanted wanted = {path, &options, groups, n_groups};
 *      MST_TRY(mst_csv_columns_new(&wanted, &first_line, &columns, err));
 *      for (size_t i = columns->first[column]; i != MST_CSV_NOWHERE; i = columns->places[i].next)
 *          … columns->places[i].group, .element …
 *      mst_csv_columns_free(columns);
 */
#pragma once

#include "csv_lines.h"
#include "csv_lookup.h"
#include "data/csv.h"

enum { MST_CSV_NOWHERE = UINT32_MAX };

/** What mst_csv_read was asked. Borrowed. */
struct mst_csv_wanted {
    const char *path;
    const struct mst_csv_options *options;
    const struct mst_csv_group *groups;
    size_t n_groups;
};

/** One element of a group's row, filled from a column. */
struct mst_csv_place {
    uint32_t group;
    uint32_t element;
    uint32_t next; // of the same column, or MST_CSV_NOWHERE
};

struct mst_csv_columns {
    const char *path;
    size_t n;        // fields of every line
    char **names;    // NULL without a header
    uint32_t *first; // of each column: its first place
    struct mst_csv_place *places;
    size_t n_places;
    size_t *widths;                  // of each group: its columns; 0: not there
    struct mst_csv_lookup **lookups; // of each column; NULL: numbers
};

/** New table of places in *out from the first line.
 *  Owner:  borrows wanted->path and the texts of categories
 *  Errors: INVALID_ARGUMENT a column that is not there or ambiguous, a text or a column listed twice in
 *          categories; DATA_LOSS no column for a group */
MST_MUST_USE mst_status mst_csv_columns_new(const struct mst_csv_wanted *wanted, const struct mst_csv_line *line,
                                            struct mst_csv_columns **out, struct mst_error *err);
/** Releases it; NULL is fine. */
void mst_csv_columns_free(struct mst_csv_columns *columns);
