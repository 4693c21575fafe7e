// Places of one column are a list threaded through one array, so that a line is read from left to right and each field
// once, however many groups use it.
#include "csv_columns.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "number.h"

#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX_BYTES = 300, NUMBER_DIGITS_MAX = 6 };

enum { CATEGORIES = MST_CSV_WEIGHTS + 1 };

static const char *const kinds[] = {"a feature", "a label", "the sample weight", "categories"};

static void keep_names(struct mst_csv_columns *columns, const struct mst_csv_line *line)
{
    columns->names = mst_alloc_array(line->n_fields, sizeof *columns->names);
    for (size_t i = 0; i < line->n_fields; i++) {
        const char *text = line->text + line->fields[i].at;
        text += strspn(text, " \t");
        size_t len = strlen(text);
        while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
            len--;
        columns->names[i] = mst_text("%.*s", (int)len, text);
    }
}

static bool are_all_numbers(const struct mst_csv_columns *columns)
{
    double number;
    for (size_t i = 0; columns->names && i < columns->n; i++) {
        if (!mst_number_read(columns->names[i], strlen(columns->names[i]), &number))
            return false;
    }
    return columns->names != NULL;
}

static mst_status fail_column(const struct mst_csv_columns *columns, const char *name, size_t kind,
                              struct mst_error *err)
{
    struct mst_buf names;
    mst_buf_init(&names, NAMES_MAX_BYTES);
    mst_status status = MST_OK;
    for (size_t i = 0; columns->names && i < columns->n && status == MST_OK; i++)
        status = mst_buf_printf(&names, "%s%.40s", i ? ", " : "; they are ", columns->names[i]);
    bool may_be_separator = columns->n == 1 && columns->names && strpbrk(columns->names[0], ",;\t");
    mst_fail(err, MST_INVALID_ARGUMENT, "%s: there is no column \"%.100s\" for %s among its %zu%s%s%s", columns->path,
             name, kinds[kind], columns->n, names.data ? (const char *)names.data : "", status == MST_OK ? "" : ", …",
             may_be_separator           ? ": give the file's \"separator\""
             : are_all_numbers(columns) ? ": of a file without a header say \"header\": false and columns by number"
                                        : "");
    mst_buf_fini(&names);
    return MST_INVALID_ARGUMENT;
}

// A name first, because a column may be called "0". *out is n when there is none.
static mst_status find(const struct mst_csv_columns *columns, const char *name, size_t kind, size_t *out,
                       struct mst_error *err)
{
    *out = columns->n;
    for (size_t i = 0; columns->names && i < columns->n; i++) {
        if (strcmp(columns->names[i], name) != 0)
            continue;
        if (*out < columns->n)
            return mst_fail(
                err, MST_INVALID_ARGUMENT,
                "%s: columns %zu and %zu are both called \"%.100s\", which is %s: use their numbers, from 0",
                columns->path, *out + 1, i + 1, name, kinds[kind]);
        *out = i;
    }
    size_t n_digits = strspn(name, "0123456789");
    if (*out < columns->n || n_digits == 0 || n_digits > NUMBER_DIGITS_MAX || name[n_digits] != '\0')
        return MST_OK;
    size_t number = (size_t)strtoul(name, NULL, 10);
    *out = number < columns->n ? number : columns->n;
    return MST_OK;
}

static void put(struct mst_csv_columns *columns, size_t column, size_t group)
{
    struct mst_csv_place *place = &columns->places[columns->n_places];
    *place = (struct mst_csv_place){(uint32_t)group, (uint32_t)columns->widths[group]++, columns->first[column]};
    columns->first[column] = (uint32_t)columns->n_places++;
}

static mst_status put_group(struct mst_csv_columns *columns, const struct mst_csv_group *group, size_t number,
                            struct mst_error *err)
{
    size_t n_found = 0, column;
    for (size_t i = 0; i < group->n_columns; i++) {
        MST_TRY(find(columns, group->columns[i], group->kind, &column, err));
        n_found += column < columns->n;
        if (column == columns->n && !group->is_optional)
            return fail_column(columns, group->columns[i], group->kind, err);
    }
    for (size_t i = 0; n_found == group->n_columns && i < group->n_columns; i++) {
        MST_TRY(find(columns, group->columns[i], group->kind, &column, err));
        put(columns, column, number);
    }
    return MST_OK;
}

// The columns that no other group names. Of an optional group that is not there whole, none is a feature either.
static mst_status put_rest(struct mst_csv_columns *columns, const struct mst_csv_wanted *wanted, size_t number,
                           struct mst_error *err)
{
    const struct mst_csv_group *groups = wanted->groups;
    bool *is_named = mst_alloc_array(columns->n, sizeof *is_named);
    mst_status status = MST_OK;
    for (size_t g = 0; g < wanted->n_groups; g++) {
        for (size_t i = 0; i < groups[g].n_columns && status == MST_OK; i++) {
            size_t column;
            status = find(columns, groups[g].columns[i], groups[g].kind, &column, err);
            if (status == MST_OK && column < columns->n)
                is_named[column] = true;
        }
    }
    for (size_t column = 0; status == MST_OK && column < columns->n; column++) {
        if (!is_named[column])
            put(columns, column, number);
    }
    free(is_named);
    if (status == MST_OK && columns->widths[number] == 0)
        status = mst_fail(err, MST_DATA_LOSS, "%s has no column besides the labels: none is left for a feature",
                          columns->path);
    return status;
}

static mst_status put_all(struct mst_csv_columns *columns, const struct mst_csv_wanted *wanted, struct mst_error *err)
{
    for (size_t g = 0; g < wanted->n_groups; g++) {
        if (wanted->groups[g].n_columns > 0)
            MST_TRY(put_group(columns, &wanted->groups[g], g, err));
        else if (wanted->groups[g].kind == MST_CSV_FEATURES)
            MST_TRY(put_rest(columns, wanted, g, err));
    }
    return MST_OK;
}

// Whether a group that may be missing names it: then so may its categories.
static bool is_optional(const struct mst_csv_wanted *wanted, const char *name)
{
    for (size_t g = 0; g < wanted->n_groups; g++) {
        for (size_t i = 0; wanted->groups[g].is_optional && i < wanted->groups[g].n_columns; i++) {
            if (strcmp(wanted->groups[g].columns[i], name) == 0)
                return true;
        }
    }
    return false;
}

static mst_status put_categories(struct mst_csv_columns *columns, const struct mst_csv_wanted *wanted,
                                 struct mst_error *err)
{
    for (size_t i = 0; i < wanted->options->n_categories; i++) {
        const struct mst_csv_categories *categories = &wanted->options->categories[i];
        size_t column;
        MST_TRY(find(columns, categories->column, CATEGORIES, &column, err));
        if (column == columns->n && is_optional(wanted, categories->column))
            continue;
        if (column == columns->n)
            return fail_column(columns, categories->column, CATEGORIES, err);
        if (columns->lookups[column])
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "%s: categories names column %zu, \"%.60s\", twice: leave one out", columns->path,
                            column + 1, categories->column);
        MST_TRY(mst_csv_lookup_new(columns->path, categories, &columns->lookups[column], err));
    }
    return MST_OK;
}

mst_status mst_csv_columns_new(const struct mst_csv_wanted *wanted, const struct mst_csv_line *line,
                               struct mst_csv_columns **out, struct mst_error *err)
{
    struct mst_csv_columns *columns = mst_alloc(sizeof *columns);
    *out = NULL;
    columns->path = wanted->path;
    columns->n = line->n_fields;
    if (!wanted->options->is_headless)
        keep_names(columns, line);
    size_t n_places = 0;
    for (size_t g = 0; g < wanted->n_groups; g++)
        n_places += wanted->groups[g].n_columns > 0 ? wanted->groups[g].n_columns : columns->n;
    columns->places = mst_alloc_array(n_places, sizeof *columns->places);
    columns->first = mst_alloc_array(columns->n, sizeof *columns->first);
    for (size_t i = 0; i < columns->n; i++)
        columns->first[i] = MST_CSV_NOWHERE;
    columns->widths = mst_alloc_array(wanted->n_groups, sizeof *columns->widths);
    columns->lookups = mst_alloc_array(columns->n, sizeof *columns->lookups);
    mst_status status = put_all(columns, wanted, err);
    if (status == MST_OK)
        status = put_categories(columns, wanted, err);
    if (status != MST_OK) {
        mst_csv_columns_free(columns);
        return status;
    }
    *out = columns;
    return MST_OK;
}

void mst_csv_columns_free(struct mst_csv_columns *columns)
{
    if (!columns)
        return;
    for (size_t i = 0; columns->names && i < columns->n; i++)
        free(columns->names[i]);
    free(columns->names);
    for (size_t i = 0; columns->lookups && i < columns->n; i++)
        mst_csv_lookup_free(columns->lookups[i]);
    free(columns->lookups);
    free(columns->first);
    free(columns->places);
    free(columns->widths);
    free(columns);
}
