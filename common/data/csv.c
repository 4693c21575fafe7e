// The first line says how many columns there are and which is the label; every other line becomes a row. Rows are
// gathered in arrays that double, because how many there are is known only at the end.
#include "data/csv.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "csv_lines.h"
#include "muster/status.h"

#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_FIRST = 256, NAMES_MAX_BYTES = 300, NO_LABEL = MST_CSV_COLUMNS_MAX };

struct reading {
    const char *path;
    const struct mst_csv_options *options;
    struct mst_csv_lines *lines;
    size_t n_fields; // of every line
    size_t label;    // its column, or NO_LABEL
    char **names;    // of the columns, n_fields long; NULL without a header
    size_t capacity; // of the table's arrays, in rows
    struct mst_csv_table table;
};

void mst_csv_table_fini(struct mst_csv_table *table)
{
    free(table->features);
    free(table->labels);
    *table = (struct mst_csv_table){0};
}

// Of file:line:column, the column counted from 1 as people count them, with its name.
static mst_status fail_at(const struct reading *r, const struct mst_csv_line *line, size_t column, const char *what,
                          struct mst_error *err)
{
    const char *name = r->names ? r->names[column] : "";
    return mst_fail(err, MST_DATA_LOSS, "%s:%" PRIu64 ":%zu: column %s%.100s%s%s", r->path, line->number, column + 1,
                    *name ? "\"" : "", name, *name ? "\" " : "", what);
}

static void trim(const char **text, size_t *len)
{
    while (*len > 0 && (**text == ' ' || **text == '\t')) {
        (*text)++;
        (*len)--;
    }
    while (*len > 0 && ((*text)[*len - 1] == ' ' || (*text)[*len - 1] == '\t'))
        (*len)--;
}

// Decimal only: strtod alone would take "nan", "inf" and hexadecimal.
static bool read_number(const char *text, size_t len, double *out)
{
    if (len == 0 || strspn(text, "0123456789+-.eE") < len)
        return false;
    char *end = NULL;
    *out = strtod(text, &end);
    return end == text + len && isfinite(*out);
}

static mst_status read_feature(const struct reading *r, const struct mst_csv_line *line, size_t column, float *out,
                               struct mst_error *err)
{
    const char *text = mst_csv_field(line, column);
    size_t len = strlen(text);
    double number;
    trim(&text, &len);
    if (len == 0 && r->options->fills_missing) {
        *out = r->options->missing;
        return MST_OK;
    }
    if (len == 0)
        return fail_at(r, line, column, "is empty; fill it, or say with \"missing\" which number stands for it", err);
    if (!read_number(text, len, &number)) {
        char what[200];
        snprintf(what, sizeof what, "holds \"%.60s\", which is not a decimal number; write categories as numbers",
                 text);
        return fail_at(r, line, column, what, err);
    }
    *out = (float)number;
    if (!isfinite(*out))
        return fail_at(r, line, column, "holds a number too large for float32", err);
    return MST_OK;
}

static mst_status read_label(const struct reading *r, const struct mst_csv_line *line, int32_t *out,
                             struct mst_error *err)
{
    const char *text = mst_csv_field(line, r->label);
    size_t len = strlen(text);
    double number;
    trim(&text, &len);
    if (len == 0)
        return fail_at(r, line, r->label, "is the label and is empty", err);
    if (!read_number(text, len, &number) || number != floor(number) || fabs(number) > INT32_MAX) {
        char what[200];
        snprintf(what, sizeof what, "is the label and holds \"%.60s\"; labels are integers, classes from 0", text);
        return fail_at(r, line, r->label, what, err);
    }
    *out = (int32_t)number;
    return MST_OK;
}

static mst_status grow(struct reading *r, struct mst_error *err)
{
    size_t capacity = r->capacity ? 2 * r->capacity : ROWS_FIRST;
    size_t row_bytes = r->table.n_columns * sizeof(float);
    if (capacity > MST_CSV_DATA_MAX_BYTES / row_bytes)
        return mst_fail(err, MST_OUT_OF_RANGE, "%s has more than the limit of 64 GiB of features", r->path);
    void *features = realloc(r->table.features, capacity * row_bytes);
    if (features)
        r->table.features = features;
    void *labels = r->label != NO_LABEL ? realloc(r->table.labels, capacity * sizeof(int32_t)) : NULL;
    if (labels)
        r->table.labels = labels;
    if (!features || (r->label != NO_LABEL && !labels))
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for %zu rows of %zu columns of %s", capacity,
                        r->table.n_columns, r->path);
    r->capacity = capacity;
    return MST_OK;
}

static mst_status add_row(struct reading *r, const struct mst_csv_line *line, struct mst_error *err)
{
    if (line->n_fields != r->n_fields)
        return mst_fail(err, MST_DATA_LOSS, "%s:%" PRIu64 ":%zu: %zu fields, and the first line has %zu", r->path,
                        line->number, line->n_fields < r->n_fields ? line->n_fields : r->n_fields + 1, line->n_fields,
                        r->n_fields);
    if (r->table.n_rows == r->capacity)
        MST_TRY(grow(r, err));
    float *to = r->table.features + r->table.n_rows * r->table.n_columns;
    for (size_t column = 0; column < r->n_fields; column++) {
        if (column == r->label)
            MST_TRY(read_label(r, line, &r->table.labels[r->table.n_rows], err));
        else
            MST_TRY(read_feature(r, line, column, to++, err));
    }
    r->table.n_rows++;
    return MST_OK;
}

static mst_status fail_label(const struct reading *r, struct mst_error *err)
{
    struct mst_buf names;
    mst_buf_init(&names, NAMES_MAX_BYTES);
    mst_status status = MST_OK;
    for (size_t i = 0; r->names && i < r->n_fields && status == MST_OK; i++)
        status = mst_buf_printf(&names, "%s%.40s", i ? ", " : "; they are ", r->names[i]);
    mst_fail(err, MST_INVALID_ARGUMENT, "%s: there is no column \"%.100s\" for the label among its %zu%s%s", r->path,
             r->options->label, r->n_fields, names.data ? (const char *)names.data : "", status == MST_OK ? "" : ", …");
    mst_buf_fini(&names);
    return MST_INVALID_ARGUMENT;
}

// A name first, because a column may be called "0".
static mst_status find_label(struct reading *r, struct mst_error *err)
{
    const char *label = r->options->label;
    r->label = NO_LABEL;
    if (!label)
        return MST_OK;
    for (size_t i = 0; r->names && i < r->n_fields; i++) {
        if (strcmp(r->names[i], label) != 0)
            continue;
        if (r->label != NO_LABEL)
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s: columns %zu and %zu are both called \"%.100s\", the label",
                            r->path, r->label + 1, i + 1, label);
        r->label = i;
    }
    size_t n_digits = strspn(label, "0123456789");
    if (r->label == NO_LABEL && n_digits > 0 && n_digits < 7 && label[n_digits] == '\0') {
        size_t number = (size_t)strtoul(label, NULL, 10);
        r->label = number < r->n_fields ? number : NO_LABEL;
    }
    return r->label == NO_LABEL && !r->options->label_is_optional ? fail_label(r, err) : MST_OK;
}

static void keep_names(struct reading *r, const struct mst_csv_line *line)
{
    r->names = mst_alloc_array(line->n_fields, sizeof *r->names);
    for (size_t i = 0; i < line->n_fields; i++) {
        const char *text = mst_csv_field(line, i);
        size_t len = strlen(text);
        trim(&text, &len);
        r->names[i] = mst_text("%.*s", (int)len, text);
    }
}

static mst_status read_all(struct reading *r, struct mst_error *err)
{
    struct mst_csv_line line;
    MST_TRY(mst_csv_lines_open(r->path, &r->lines, err));
    MST_TRY(mst_csv_lines_next(r->lines, &line, err));
    if (line.n_fields == 0)
        return mst_fail(err, MST_DATA_LOSS, "%s is empty: it holds no examples", r->path);
    r->n_fields = line.n_fields;
    if (!r->options->is_headless)
        keep_names(r, &line);
    MST_TRY(find_label(r, err));
    r->table.n_columns = r->n_fields - (r->label != NO_LABEL);
    if (r->table.n_columns == 0)
        return mst_fail(err, MST_DATA_LOSS, "%s has no column besides the label", r->path);
    if (r->options->is_headless)
        MST_TRY(add_row(r, &line, err));
    for (;;) {
        MST_TRY(mst_csv_lines_next(r->lines, &line, err));
        if (line.n_fields == 0)
            break;
        MST_TRY(add_row(r, &line, err));
    }
    if (r->table.n_rows == 0)
        return mst_fail(err, MST_DATA_LOSS, "%s has a header and no line behind it: it holds no examples", r->path);
    return MST_OK;
}

mst_status mst_csv_read(const char *path, const struct mst_csv_options *options, struct mst_csv_table *out,
                        struct mst_error *err)
{
    struct reading reading = {.path = path, .options = options};
    mst_status status = read_all(&reading, err);
    for (size_t i = 0; reading.names && i < reading.n_fields; i++)
        free(reading.names[i]);
    free(reading.names);
    mst_csv_lines_free(reading.lines);
    if (status != MST_OK)
        mst_csv_table_fini(&reading.table);
    *out = reading.table;
    return status;
}
