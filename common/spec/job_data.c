// data.train and data.eval: which keys go together, and the parts that they make. Each of the long forms (an object of
// names) and its short form give the same list of parts, the short one a single part without a name.
#include "spec/job_private.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

enum { COLUMN_NUMBER_MAX = 65535, CATEGORIES_MAX = 1 << 20 };

static bool is_csv(const json_t *data)
{
    const char *format = json_string_value(json_object_get(data, "format"));
    return format && strcmp(format, "csv") == 0;
}

// ---- checking ----

struct check {
    const json_t *data;
    const char *key;
    const char *source;
    struct mst_error *err;
};

static bool is_column(const json_t *value)
{
    json_int_t number = json_integer_value(value);
    return json_is_string(value) ? *json_string_value(value) != '\0'
                                 : json_is_integer(value) && number >= 0 && number <= COLUMN_NUMBER_MAX;
}

static bool is_columns(const json_t *value)
{
    size_t i;
    json_t *column;
    json_array_foreach(value, i, column)
    {
        if (!is_column(column))
            return false;
    }
    return json_is_array(value) ? json_array_size(value) > 0 && json_array_size(value) <= COLUMN_NUMBER_MAX
                                : is_column(value);
}

static bool is_text(const json_t *value)
{
    return json_is_string(value) && *json_string_value(value) != '\0';
}

// One value as `suits` wants it, or an object of names with one each.
static mst_status check_parts(const struct check *check, const char *leaf, bool (*suits)(const json_t *),
                              const char *wanted)
{
    json_t *value = json_object_get(check->data, leaf), *member;
    const char *name;
    if (!value)
        return MST_OK;
    if (!json_is_object(value) && !suits(value))
        return mst_fail(check->err, MST_INVALID_ARGUMENT, "%s: %s.%s must be %s", check->source, check->key, leaf,
                        wanted);
    if (json_is_object(value) && (json_object_size(value) == 0 || json_object_size(value) > MST_JOB_PARTS_MAX))
        return mst_fail(check->err, MST_INVALID_ARGUMENT, "%s: %s.%s has %zu names, must have 1 to %d", check->source,
                        check->key, leaf, json_object_size(value), MST_JOB_PARTS_MAX);
    json_object_foreach(value, name, member)
    {
        if (!suits(member))
            return mst_fail(check->err, MST_INVALID_ARGUMENT, "%s: %s.%s.%.100s must be %s", check->source, check->key,
                            leaf, name, wanted);
    }
    return MST_OK;
}

static bool is_texts(const json_t *value)
{
    size_t i;
    json_t *text;
    json_array_foreach(value, i, text)
    {
        if (!is_text(text))
            return false;
    }
    return json_array_size(value) > 0 && json_array_size(value) <= CATEGORIES_MAX;
}

static mst_status check_categories(const struct check *check)
{
    const char *name;
    json_t *texts;
    json_object_foreach(json_object_get(check->data, "categories"), name, texts)
    {
        if (!is_texts(texts))
            return mst_fail(check->err, MST_INVALID_ARGUMENT,
                            "%s: %s.categories.%.100s must be a list of 1 to %d texts, each read as its place from 0",
                            check->source, check->key, name, CATEGORIES_MAX);
    }
    return MST_OK;
}

static mst_status check_keys(const struct check *check, const char *const *others, size_t n_others, const char *needed)
{
    for (size_t i = 0; i < n_others; i++) {
        if (json_object_get(check->data, others[i]))
            return mst_fail(check->err, MST_INVALID_ARGUMENT,
                            "%s: %s.%s does not belong to format \"%s\": leave it out; %s says where the labels are",
                            check->source, check->key, others[i], is_csv(check->data) ? "csv" : "idx", needed);
    }
    if (!json_object_get(check->data, needed))
        return mst_fail(check->err, MST_INVALID_ARGUMENT, "%s: %s.%s is missing: say which %s holds the labels",
                        check->source, check->key, needed, is_csv(check->data) ? "column of the csv file" : "file");
    return MST_OK;
}

static mst_status check_idx(const struct check *check)
{
    static const char *const of_csv[] = {"label",  "header",    "missing",       "columns",
                                         "inputs", "separator", "sample_weight", "categories"};
    static const char *const wanted = "the path of a file";
    MST_TRY(check_keys(check, of_csv, sizeof of_csv / sizeof of_csv[0], "labels"));
    MST_TRY(check_parts(check, "features", is_text, wanted));
    return check_parts(check, "labels", is_text, wanted);
}

static mst_status check_csv(const struct check *check)
{
    static const char *const of_idx[] = {"labels", "sample_weights"};
    static const char *const wanted = "a column or a list of columns, by name or by number from 0 to 65535";
    MST_TRY(check_keys(check, of_idx, sizeof of_idx / sizeof of_idx[0], "label"));
    if (!json_is_string(json_object_get(check->data, "features")))
        return mst_fail(
            check->err, MST_INVALID_ARGUMENT,
            "%s: %s.features must be the path of the csv file: say in inputs which columns make which input",
            check->source, check->key);
    if (json_object_get(check->data, "columns") && json_object_get(check->data, "inputs"))
        return mst_fail(check->err, MST_INVALID_ARGUMENT,
                        "%s: %s.columns and %s.inputs are both given: give one of them", check->source, check->key,
                        check->key);
    MST_TRY(check_parts(check, "columns", is_columns, wanted));
    MST_TRY(check_parts(check, "inputs", is_columns, wanted));
    MST_TRY(check_parts(check, "label", is_columns, wanted));
    return check_categories(check);
}

mst_status mst_job_data_check(json_t *data, const char *key, const char *source, struct mst_error *err)
{
    struct check check = {data, key, source, err};
    if (!is_csv(data))
        return check_idx(&check);
    MST_TRY(check_csv(&check));
    if (!json_object_get(data, "header"))
        json_object_set_new(data, "header", json_true());
    if (!json_object_get(data, "missing"))
        json_object_set_new(data, "missing", json_null());
    if (!json_object_get(data, "separator"))
        json_object_set_new(data, "separator", json_string(","));
    return MST_OK;
}

// ---- the struct ----

static char *copy_of(const json_t *value)
{
    return json_is_string(value) ? mst_strdup(json_string_value(value)) : NULL;
}

// An integer is the column's number.
static char *column_of(const json_t *value)
{
    return json_is_integer(value) ? mst_text("%lld", (long long)json_integer_value(value)) : copy_of(value);
}

static struct mst_job_part part_of(const char *name, const json_t *value, bool is_columns)
{
    struct mst_job_part part = {.name = name ? mst_strdup(name) : NULL};
    if (!is_columns) {
        part.path = copy_of(value);
        return part;
    }
    part.n_columns = json_is_array(value) ? json_array_size(value) : value != NULL;
    part.columns = mst_alloc_array(part.n_columns, sizeof *part.columns);
    for (size_t i = 0; i < part.n_columns; i++)
        part.columns[i] = column_of(json_is_array(value) ? json_array_get(value, i) : value);
    return part;
}

static struct mst_job_part *parts_of(const json_t *value, bool is_columns, size_t *n_out)
{
    *n_out = json_is_object(value) ? json_object_size(value) : 1;
    struct mst_job_part *parts = mst_alloc_array(*n_out, sizeof *parts);
    const char *name;
    json_t *member;
    size_t n = 0;
    if (!json_is_object(value))
        parts[0] = part_of(NULL, value, is_columns);
    json_object_foreach((json_t *)value, name, member)
    {
        parts[n++] = part_of(name, member, is_columns);
    }
    return parts;
}

struct mst_job_data mst_job_data_of(const json_t *data)
{
    if (!json_is_object(data))
        return (struct mst_job_data){0};
    bool of_columns = is_csv(data);
    const json_t *missing = json_object_get(data, "missing");
    const char *separator = json_string_value(json_object_get(data, "separator"));
    struct mst_job_data out = {
        .format = copy_of(json_object_get(data, "format")),
        .file = of_columns ? copy_of(json_object_get(data, "features")) : NULL,
        .weights = column_of(json_object_get(data, of_columns ? "sample_weight" : "sample_weights")),
        .separator = (char)(!separator                      ? ','
                            : strcmp(separator, "tab") == 0 ? '\t'
                                                            : *separator),
        .is_headless = json_is_false(json_object_get(data, "header")),
        .fills_missing = json_is_number(missing),
        .missing = (float)json_number_value(missing),
        .shuffle = json_is_true(json_object_get(data, "shuffle")),
    };
    const json_t *inputs = json_object_get(data, of_columns ? "inputs" : "features");
    out.inputs = parts_of(inputs || !of_columns ? inputs : json_object_get(data, "columns"), of_columns, &out.n_inputs);
    const json_t *outputs = json_object_get(data, of_columns ? "label" : "labels");
    if (outputs)
        out.outputs = parts_of(outputs, of_columns, &out.n_outputs);
    const json_t *categories = json_object_get(data, "categories");
    if (categories)
        out.categories = parts_of(categories, true, &out.n_categories);
    return out;
}

static const char *source_is(const char *path, void *context)
{
    (void)path;
    return context;
}

mst_status mst_job_data_parse(const json_t *json, const char *source, struct mst_job_data *out, struct mst_error *err)
{
    static const char *const places[] = {"format", "features", "labels", "sample_weights", "shuffle"};
    *out = (struct mst_job_data){0};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (json_object_get(json, places[i]))
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s: %s does not belong here: leave it out", source, places[i]);
    }
    // The table knows these keys by their place in a job, so that is where they are put for the check.
    json_t *job = json_pack("{s:s, s:s, s:{}, s:{s:O?}}", "name", "-", "model", "-", "compile", "data", "train", json);
    json_t *data = mst_json_at(job, "data.train");
    bool has_label = json_object_get(data, "label") != NULL;
    if (json_is_object(data)) {
        data = json_copy(data);
        json_object_set_new(data, "format", json_string("csv"));
        json_object_set_new(data, "features", json_string("-"));
        if (!has_label)
            json_object_set_new(data, "label", json_integer(0));
        json_object_set_new(json_object_get(job, "data"), "train", data);
    }
    mst_status status = mst_schema_check(mst_job_schema(), job, source_is, (void *)source, err);
    if (status == MST_OK)
        status = mst_job_data_check(data, "data.train", source, err);
    if (status == MST_OK && !has_label)
        json_object_del(data, "label");
    if (status == MST_OK)
        *out = mst_job_data_of(data);
    json_decref(job);
    return status;
}

static void free_parts(struct mst_job_part *parts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t c = 0; c < parts[i].n_columns; c++)
            free(parts[i].columns[c]);
        free(parts[i].columns);
        free(parts[i].name);
        free(parts[i].path);
    }
    free(parts);
}

void mst_job_data_fini(struct mst_job_data *data)
{
    free(data->format);
    free(data->file);
    free(data->weights);
    free_parts(data->inputs, data->n_inputs);
    free_parts(data->outputs, data->n_outputs);
    free_parts(data->categories, data->n_categories);
    *data = (struct mst_job_data){0};
}

void mst_job_data_strip(json_t *data)
{
    static const char *const keys[] = {"features", "labels", "sample_weights"}; // of the last, that it is there
    for (size_t i = 0; json_is_object(data) && i < sizeof keys / sizeof keys[0]; i++) {
        json_t *value = json_object_get(data, keys[i]);
        for (void *at = json_object_iter(value); at; at = json_object_iter_next(value, at))
            json_object_iter_set_new(value, at, json_null());
        if (json_is_string(value) && i == 2)
            json_object_set_new(data, keys[i], json_true());
        else if (json_is_string(value))
            json_object_del(data, keys[i]);
    }
}
