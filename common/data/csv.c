// The first line says how many columns there are and where each goes; every other line becomes a row of each array.
// Arrays double, because how many rows there are is known only at the end; large ones the system moves without copying.
#include "data/csv.h"

#include "base/alloc.h"
#include "base/error.h"
#include "csv_columns.h"
#include "csv_lines.h"
#include "csv_lookup.h"
#include "muster/status.h"
#include "number.h"

#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_FIRST = 256 };

// Of a suggestion, which has to fit into an error's text with the file's name.
enum { TEXTS_MAX = 20, TEXT_MAX_BYTES = 32, SUGGESTION_MAX_BYTES = 500 };

struct reading {
    const struct mst_csv_wanted *wanted;
    struct mst_csv_lines *lines;
    struct mst_csv_columns *columns;
    size_t capacity; // of the arrays, in rows
    struct mst_csv_table table;
};

void mst_csv_table_fini(struct mst_csv_table *table)
{
    for (size_t i = 0; i < table->n_arrays; i++) {
        free(table->arrays[i].values);
        free(table->arrays[i].labels);
    }
    free(table->arrays);
    *table = (struct mst_csv_table){0};
}

// Of file:line:column, the column counted from 1 as people count them, with its name.
static mst_status fail_at(const struct reading *r, const struct mst_csv_line *line, size_t column, const char *what,
                          struct mst_error *err)
{
    const char *name = r->columns->names ? r->columns->names[column] : "";
    return mst_fail(err, MST_DATA_LOSS, "%s:%" PRIu64 ":%zu: column %s%.60s%s%s", r->wanted->path, line->number,
                    column + 1, *name ? "\"" : "", name, *name ? "\" " : "", what);
}

static mst_status fail_field(const struct reading *r, const struct mst_csv_line *line, size_t column, const char *why,
                             struct mst_error *err)
{
    char what[200];
    snprintf(what, sizeof what, "holds \"%.40s\", %s", line->text + line->fields[column].at, why);
    return fail_at(r, line, column, what, err);
}

// A field without the blanks around it; true if something is left.
static bool trim(const struct mst_csv_line *line, size_t column, const char **text, size_t *len)
{
    *text = line->text + line->fields[column].at;
    *len = line->fields[column].len;
    while (*len > 0 && (**text == ' ' || **text == '\t')) {
        (*text)++;
        (*len)--;
    }
    while (*len > 0 && ((*text)[*len - 1] == ' ' || (*text)[*len - 1] == '\t'))
        (*len)--;
    return *len > 0;
}

// Spelled out, not too large a number.
static bool is_word(const char *text)
{
    return text[strcspn(text, "0123456789infINF")] > '9';
}

static mst_status put_feature(const struct reading *r, const struct mst_csv_line *line, size_t column, double number,
                              float *out, struct mst_error *err)
{
    *out = isnan(number) && r->wanted->options->fills_missing ? r->wanted->options->missing : (float)number;
    if (isinf(*out) && !is_word(line->text + line->fields[column].at))
        return fail_field(r, line, column, "a number too large for float32", err);
    return MST_OK;
}

// Labels so far were integers, and this one is none: they are values.
static void make_values(struct mst_csv_array *array, size_t n_rows)
{
    for (size_t i = 0; i < n_rows; i++) {
        float value = (float)array->labels[i];
        memcpy(&array->labels[i], &value, sizeof value);
    }
    array->values = (void *)array->labels;
    array->labels = NULL;
}

static mst_status put_target(struct reading *r, const struct mst_csv_line *line, size_t column, double number,
                             const struct mst_csv_place *place, struct mst_error *err)
{
    struct mst_csv_array *array = &r->table.arrays[place->group];
    bool is_weight = r->wanted->groups[place->group].kind == MST_CSV_WEIGHTS;
    if (!isfinite((float)number))
        return fail_field(r, line, column,
                          is_weight ? "and sample weights are finite float32" : "and labels are finite float32", err);
    bool is_label = number >= INT32_MIN && number <= INT32_MAX && number == (double)(int32_t)number;
    if (array->labels && !is_label)
        make_values(array, r->table.n_rows);
    if (array->labels)
        array->labels[r->table.n_rows] = (int32_t)number;
    else
        array->values[r->table.n_rows * array->n_columns + place->element] = (float)number;
    return MST_OK;
}

static mst_status put_number(struct reading *r, const struct mst_csv_line *line, size_t column, double number,
                             struct mst_error *err)
{
    for (uint32_t i = r->columns->first[column]; i != MST_CSV_NOWHERE; i = r->columns->places[i].next) {
        const struct mst_csv_place *place = &r->columns->places[i];
        struct mst_csv_array *array = &r->table.arrays[place->group];
        if (r->wanted->groups[place->group].kind != MST_CSV_FEATURES)
            MST_TRY(put_target(r, line, column, number, place, err));
        else
            MST_TRY(put_feature(r, line, column, number,
                                &array->values[r->table.n_rows * array->n_columns + place->element], err));
    }
    return MST_OK;
}

// Of an empty field: NaN, if all that read it are features with a number for what is missing.
static mst_status check_empty(const struct reading *r, const struct mst_csv_line *line, size_t column,
                              struct mst_error *err)
{
    for (uint32_t i = r->columns->first[column]; i != MST_CSV_NOWHERE; i = r->columns->places[i].next) {
        switch (r->wanted->groups[r->columns->places[i].group].kind) {
        case MST_CSV_TARGETS:
            return fail_at(r, line, column, "is the label and is empty", err);
        case MST_CSV_WEIGHTS:
            return fail_at(r, line, column, "is the sample weight and is empty", err);
        case MST_CSV_FEATURES:
            break;
        }
    }
    if (!r->wanted->options->fills_missing)
        return fail_at(r, line, column, "is empty; fill it, or say with \"missing\" which number stands for it", err);
    return MST_OK;
}

static mst_status read_category(const struct reading *r, const struct mst_csv_line *line, size_t column, double *out,
                                struct mst_error *err)
{
    const char *text;
    size_t len;
    char why[100];
    (void)trim(line, column, &text, &len);
    if (mst_csv_lookup_find(r->columns->lookups[column], text, len, out))
        return MST_OK;
    snprintf(why, sizeof why, "which is none of the column's %zu \"categories\": add it there",
             mst_csv_lookup_n(r->columns->lookups[column]));
    return fail_field(r, line, column, why, err);
}

// Puts a text among the others, in their order, unless it is there; false if it is one too many or does
// not fit between quotes of JSON.
static bool add_text(char texts[][TEXT_MAX_BYTES], size_t *n, const char *text, size_t len)
{
    char copy[TEXT_MAX_BYTES];
    snprintf(copy, sizeof copy, "%.*s", (int)len, text);
    if (len >= sizeof copy || strlen(copy) != len || strpbrk(copy, "\"\\\n\r"))
        return false;
    size_t at = 0;
    while (at < *n && strcmp(texts[at], copy) < 0)
        at++;
    if (at < *n && strcmp(texts[at], copy) == 0)
        return true;
    if (*n == TEXTS_MAX)
        return false;
    memmove(texts[at + 1], texts[at], (*n - at) * TEXT_MAX_BYTES);
    memcpy(texts[at], copy, sizeof copy);
    (*n)++;
    return true;
}

// What to write into the job for a column of few short texts, from this line on; "" for any other.
static void suggest_categories(const struct reading *r, const struct mst_csv_line *first, size_t column, char *out,
                               size_t out_bytes)
{
    char texts[TEXTS_MAX][TEXT_MAX_BYTES];
    size_t n = 0;
    double number;
    struct mst_error ignored;
    out[0] = '\0';
    for (struct mst_csv_line line = *first; line.n_fields > 0;) {
        const char *text;
        size_t len;
        bool is_there = column < line.n_fields && trim(&line, column, &text, &len);
        if (is_there && (strchr("0123456789+-.", *text) || mst_number_read(text, len, &number)))
            return; // numbers, and this text among them is a slip
        if ((is_there && !add_text(texts, &n, text, len)) || mst_csv_lines_next(r->lines, &line, &ignored) != MST_OK)
            return;
    }
    size_t used = (size_t)snprintf(out, out_bytes, "\"categories\": {\"%.60s\": [", r->columns->names[column]);
    for (size_t i = 0; i < n && used < out_bytes; i++)
        used += (size_t)snprintf(out + used, out_bytes - used, "%s\"%s\"", i ? ", " : "", texts[i]);
    if (used < out_bytes)
        used += (size_t)snprintf(out + used, out_bytes - used, "]}");
    if (used >= out_bytes)
        out[0] = '\0';
}

static mst_status fail_text(const struct reading *r, const struct mst_csv_line *line, size_t column,
                            struct mst_error *err)
{
    char held[80], suggestion[SUGGESTION_MAX_BYTES] = "";
    struct mst_csv_line at = {.number = line->number};
    snprintf(held, sizeof held, "%.40s", line->text + line->fields[column].at);
    if (r->columns->names)
        suggest_categories(r, line, column, suggestion, sizeof suggestion);
    char what[SUGGESTION_MAX_BYTES + 160];
    if (suggestion[0])
        snprintf(what, sizeof what, "holds \"%s\", which is no number; give %s, or name the columns to use", held,
                 suggestion);
    else
        snprintf(what, sizeof what,
                 "holds \"%s\", which is not a decimal number like 1234.5; correct it, leave it empty with \"missing\" "
                 "given, list the column's texts in \"categories\", or name the columns to use",
                 held);
    return fail_at(r, &at, column, what, err);
}

static mst_status read_field(struct reading *r, const struct mst_csv_line *line, size_t column, struct mst_error *err)
{
    const char *text;
    size_t len;
    double number = (double)NAN;
    if (!trim(line, column, &text, &len))
        MST_TRY(check_empty(r, line, column, err));
    else if (r->columns->lookups[column])
        MST_TRY(read_category(r, line, column, &number, err));
    else if (!mst_number_read(text, len, &number))
        return fail_text(r, line, column, err);
    return put_number(r, line, column, number, err);
}

static mst_status resize(struct reading *r, size_t capacity, struct mst_error *err)
{
    for (size_t g = 0; g < r->table.n_arrays; g++) {
        struct mst_csv_array *array = &r->table.arrays[g];
        size_t row_bytes = array->n_columns * sizeof(float);
        if (row_bytes == 0)
            continue;
        if (capacity > MST_CSV_DATA_MAX_BYTES / row_bytes)
            return mst_fail(err, MST_OUT_OF_RANGE, "%s has more than the limit of 64 GiB of numbers", r->wanted->path);
        bool is_labels = array->labels ||
                         (r->capacity == 0 && array->n_columns == 1 && r->wanted->groups[g].kind == MST_CSV_TARGETS);
        void *memory = realloc(is_labels ? (void *)array->labels : (void *)array->values, capacity * row_bytes);
        if (!memory)
            return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for %zu rows of %zu columns of %s", capacity,
                            array->n_columns, r->wanted->path);
        array->labels = is_labels ? memory : NULL;
        array->values = is_labels ? NULL : memory;
    }
    r->capacity = capacity;
    return MST_OK;
}

static mst_status add_row(struct reading *r, const struct mst_csv_line *line, struct mst_error *err)
{
    size_t n = r->columns->n;
    if (line->n_fields != n)
        return mst_fail(err, MST_DATA_LOSS, "%s:%" PRIu64 ":%zu: %zu fields, and the first line has %zu",
                        r->wanted->path, line->number, line->n_fields < n ? line->n_fields : n + 1, line->n_fields, n);
    if (r->table.n_rows == r->capacity)
        MST_TRY(resize(r, r->capacity ? 2 * r->capacity : ROWS_FIRST, err));
    for (size_t column = 0; column < n; column++) {
        if (r->columns->first[column] != MST_CSV_NOWHERE)
            MST_TRY(read_field(r, line, column, err));
    }
    r->table.n_rows++;
    return MST_OK;
}

static mst_status read_all(struct reading *r, struct mst_error *err)
{
    struct mst_csv_line line;
    const char *path = r->wanted->path;
    const struct mst_csv_options *options = r->wanted->options;
    MST_TRY(mst_csv_lines_open(path, options->separator ? options->separator : ',', &r->lines, err));
    MST_TRY(mst_csv_lines_next(r->lines, &line, err));
    if (line.n_fields == 0)
        return mst_fail(err, MST_DATA_LOSS, "%s is empty: it holds no examples", path);
    MST_TRY(mst_csv_columns_new(r->wanted, &line, &r->columns, err));
    r->table.n_arrays = r->wanted->n_groups;
    r->table.arrays = mst_alloc_array(r->wanted->n_groups, sizeof *r->table.arrays);
    for (size_t g = 0; g < r->table.n_arrays; g++)
        r->table.arrays[g].n_columns = r->columns->widths[g];
    if (options->is_headless)
        MST_TRY(add_row(r, &line, err));
    for (;;) {
        MST_TRY(mst_csv_lines_next(r->lines, &line, err));
        if (line.n_fields == 0)
            break;
        MST_TRY(add_row(r, &line, err));
    }
    if (r->table.n_rows == 0)
        return mst_fail(err, MST_DATA_LOSS, "%s has a header and no line behind it: it holds no examples", path);
    return resize(r, r->table.n_rows, err); // what doubling left over goes back
}

mst_status mst_csv_read(const char *path, const struct mst_csv_options *options, const struct mst_csv_group *groups,
                        size_t n_groups, struct mst_csv_table *out, struct mst_error *err)
{
    struct mst_csv_wanted wanted = {path, options, groups, n_groups};
    struct reading reading = {.wanted = &wanted};
    mst_status status = read_all(&reading, err);
    mst_csv_columns_free(reading.columns);
    mst_csv_lines_free(reading.lines);
    if (status != MST_OK)
        mst_csv_table_fini(&reading.table);
    *out = reading.table;
    return status;
}
