// Walking a JSON object along its table. Keys are found by comparing whole paths: tables have some fifty rows, and a
// job is read once.
#include "spec/schema.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "spec/json_source.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_MAX_CHARS = 256 }; // the table's longest path has 36; a longer one of a user is cut in messages

struct walk {
    const struct mst_schema *schema;
    mst_schema_source_fn *source_of;
    void *context;
    struct mst_error *err;
};

static mst_status refuse(const struct walk *walk, const char *path, const char *format, ...) MST_PRINTF(3, 4);

static mst_status refuse(const struct walk *walk, const char *path, const char *format, ...)
{
    char *sentence = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&sentence, format, args);
    va_end(args);
    mst_fail(walk->err, MST_INVALID_ARGUMENT, "%s: %.200s %s", walk->source_of(path, walk->context), path,
             length < 0 ? "" : sentence);
    free(length < 0 ? NULL : sentence);
    return MST_INVALID_ARGUMENT;
}

// A value as it stands in the file, short enough for a sentence, without control characters. 15 digits are what a
// double keeps of what people write: 0.1, not 0.10000000000000001.
static void shorten(const json_t *value, char *out, size_t out_bytes)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(15));
    bool is_long = text && strlen(text) > 60;
    snprintf(out, out_bytes, "%.60s%s", text ? text : "", is_long ? "…" : "");
    free(text);
}

// Likewise a key, which has no quotes in our sentences.
static void shorten_key(const char *key, char *out, size_t out_bytes)
{
    snprintf(out, out_bytes, "%.60s%s", key, strlen(key) > 60 ? "…" : "");
    for (char *c = out; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
}

static const struct mst_schema_key *find_key(const struct mst_schema *schema, const char *path)
{
    for (size_t i = 0; i < schema->n_keys; i++) {
        if (strcmp(schema->keys[i].path, path) == 0)
            return &schema->keys[i];
    }
    return NULL;
}

// The last word of a key that stands directly in the object at `at`, else NULL.
static const char *leaf_in(const char *path, const char *at)
{
    size_t len = strlen(at);
    if (len > 0 && (strncmp(path, at, len) != 0 || path[len] != '.'))
        return NULL;
    const char *leaf = len > 0 ? path + len + 1 : path;
    return strchr(leaf, '.') ? NULL : leaf;
}

static void join(char *out, size_t out_bytes, const char *at, const char *key)
{
    snprintf(out, out_bytes, "%s%s%s", at, at[0] ? "." : "", key);
}

// Someone who writes "shuffle" at the top means data.train.shuffle; else the nearest word here; else what there is
// here.
static mst_status refuse_unknown(const struct walk *walk, const char *at, const char *key)
{
    const struct mst_schema *schema = walk->schema;
    const char **leaves = mst_alloc_array(schema->n_keys, sizeof *leaves);
    const char *elsewhere = NULL;
    size_t n = 0;
    struct mst_buf known;
    mst_buf_init(&known, 700);
    for (size_t i = 0; i < schema->n_keys; i++) {
        const char *path = schema->keys[i].path, *leaf = leaf_in(path, at), *dot = strrchr(path, '.');
        if (leaf)
            leaves[n++] = leaf;
        if (leaf && mst_buf_printf(&known, "%s%s", known.len > 0 ? ", " : "", leaf) != MST_OK)
            break;
        if (!elsewhere && dot && strcmp(dot + 1, key) == 0)
            elsewhere = path;
    }
    const char *nearest = mst_nearest_word(key, leaves, n);
    char path[PATH_MAX_CHARS], meant[PATH_MAX_CHARS], shown[80];
    shorten_key(key, shown, sizeof shown);
    join(path, sizeof path, at, shown);
    if (nearest)
        join(meant, sizeof meant, at, nearest);
    else
        snprintf(meant, sizeof meant, "%s", elsewhere ? elsewhere : "");
    mst_status status = meant[0] ? refuse(walk, path, "is not known: did you mean %s?", meant)
                                 : refuse(walk, path, "is not known; known here: %.*s", (int)known.len,
                                          known.data ? (const char *)known.data : "");
    mst_buf_fini(&known);
    free(leaves);
    return status;
}

// 64.0 is an integer, as JSON Schema has it; beyond 2^53 a double no longer says which one.
static bool is_whole(const json_t *real)
{
    double value = json_real_value(real);
    return value == floor(value) && fabs(value) <= (double)(INT64_C(1) << 53);
}

static unsigned types_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return MST_TYPE_OBJECT | MST_TYPE_FREE;
    case JSON_STRING:
        return MST_TYPE_TEXT | MST_TYPE_PATH;
    case JSON_INTEGER:
        return MST_TYPE_INTEGER | MST_TYPE_NUMBER;
    case JSON_REAL:
        return MST_TYPE_NUMBER | (is_whole(value) ? MST_TYPE_INTEGER : 0);
    case JSON_TRUE:
    case JSON_FALSE:
        return MST_TYPE_BOOL;
    case JSON_NULL:
        return MST_TYPE_NULL;
    case JSON_ARRAY:
        return MST_TYPE_LIST;
    }
    return 0;
}

static void name_types(unsigned types, char *out, size_t out_bytes)
{
    static const struct {
        unsigned type;
        const char *name;
    } names[] = {
        {MST_TYPE_OBJECT | MST_TYPE_FREE, "an object"},
        {MST_TYPE_LIST, "a list"},
        {MST_TYPE_TEXT, "a text"},
        {MST_TYPE_PATH, "a path"},
        {MST_TYPE_INTEGER, "an integer"},
        {MST_TYPE_NUMBER, "a number"},
        {MST_TYPE_BOOL, "true or false"},
        {MST_TYPE_NULL, "null"},
    };
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (types & names[i].type && len < out_bytes)
            len += (size_t)snprintf(out + len, out_bytes - len, "%s%s", len > 0 ? " or " : "", names[i].name);
    }
}

static bool is_choice(const char *choices, const char *text)
{
    size_t len = strlen(text);
    for (const char *choice = choices; choice; choice = strchr(choice, '|')) {
        choice += *choice == '|';
        if (strncmp(choice, text, len) == 0 && (choice[len] == '|' || choice[len] == '\0'))
            return true;
    }
    return false;
}

static mst_status check_text(const struct walk *walk, const struct mst_schema_key *key, const json_t *value)
{
    char shown[80];
    shorten(value, shown, sizeof shown);
    size_t n_characters = 0;
    for (const char *c = json_string_value(value); *c; c++)
        n_characters += ((unsigned char)*c & 0xc0) != 0x80;
    if (n_characters == 0)
        return refuse(walk, key->path, "must not be empty");
    if (key->max_characters > 0 && n_characters > key->max_characters)
        return refuse(walk, key->path, "has %zu characters, the limit is %zu", n_characters, key->max_characters);
    if (key->choices && !is_choice(key->choices, json_string_value(value)))
        return refuse(walk, key->path, "is %s, must be %s of: %s", shown,
                      strchr(key->choices, '|') ? "one" : "this one", key->choices);
    return MST_OK;
}

static mst_status check_range(const struct walk *walk, const struct mst_schema_key *key, const json_t *value)
{
    bool is_integer = json_is_integer(value);
    bool is_below = is_integer ? json_integer_value(value) < key->min : json_real_value(value) < (double)key->min;
    bool is_above = is_integer ? json_integer_value(value) > key->max : json_real_value(value) > (double)key->max;
    if ((key->min == 0 && key->max == 0) || (!is_below && !is_above))
        return MST_OK;
    char shown[80];
    shorten(value, shown, sizeof shown);
    if (is_below && key->below_min) {
        // A format of the table with one %s, which no compiler can check here.
        const char *before = strstr(key->below_min, "%s");
        return mst_fail(walk->err, MST_INVALID_ARGUMENT, "%s: %s: %.*s%s", walk->source_of(key->path, walk->context),
                        key->path, (int)(before - key->below_min), key->below_min, shown);
    }
    return refuse(walk, key->path, "is %s, must be from %" PRId64 " to %" PRId64, shown, key->min, key->max);
}

// 0.0 is 0, as it is everywhere else in a job.
static bool is_default(const struct mst_schema_key *key, const json_t *value)
{
    json_t *wanted = json_loads(key->default_json, JSON_DECODE_ANY, NULL);
    bool both_numbers = json_is_number(wanted) && json_is_number(value);
    bool is_same =
        both_numbers ? json_number_value(wanted) == json_number_value(value) : json_equal(wanted, value) == 1;
    json_decref(wanted);
    return is_same;
}

static mst_status check_value(const struct walk *walk, const struct mst_schema_key *key, const json_t *value)
{
    char shown[80], wanted[128];
    shorten(value, shown, sizeof shown);
    if (key->is_later)
        return refuse(walk, key->path, "is not built yet: leave it out");
    if (!(types_of(value) & key->types)) {
        name_types(key->types, wanted, sizeof wanted);
        return refuse(walk, key->path, "is %s (%s), must be %s", mst_json_type_text(value), shown, wanted);
    }
    if (json_is_string(value))
        MST_TRY(check_text(walk, key, value));
    if (json_is_number(value))
        MST_TRY(check_range(walk, key, value));
    if (key->only && !is_default(key, value))
        return refuse(walk, key->path, "is %s, but %s: leave it out or set it to %s", shown, key->only,
                      key->default_json);
    return MST_OK;
}

// All that is missing at once, so that nobody has to find out one by one.
static mst_status check_required(const struct walk *walk, const char *at, const json_t *object)
{
    const struct mst_schema_key *first = NULL;
    struct mst_buf others;
    mst_buf_init(&others, 700);
    for (size_t i = 0; i < walk->schema->n_keys; i++) {
        const struct mst_schema_key *key = &walk->schema->keys[i];
        const char *leaf = leaf_in(key->path, at);
        if (!leaf || !key->is_required || json_object_get(object, leaf))
            continue;
        if (first && mst_buf_printf(&others, ", %s", key->path) != MST_OK)
            break;
        first = first ? first : key;
    }
    mst_status status = MST_OK;
    if (first && others.len > 0)
        status = mst_fail(walk->err, MST_INVALID_ARGUMENT, "%s: %s%.*s are missing",
                          walk->source_of(first->path, walk->context), first->path, (int)others.len,
                          (const char *)others.data);
    else if (first)
        status = refuse(walk, first->path, "is missing: %s", first->doc);
    mst_buf_fini(&others);
    return status;
}

static mst_status check_object(const struct walk *walk, const char *at, const json_t *object)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value)
    {
        char path[PATH_MAX_CHARS];
        join(path, sizeof path, at, name);
        const struct mst_schema_key *key = strchr(name, '.') ? NULL : find_key(walk->schema, path);
        if (!key)
            return refuse_unknown(walk, at, name);
        MST_TRY(check_value(walk, key, value));
        if (json_is_object(value) && key->types & MST_TYPE_OBJECT)
            MST_TRY(check_object(walk, path, value));
    }
    return check_required(walk, at, object);
}

mst_status mst_schema_check(const struct mst_schema *schema, const json_t *json, mst_schema_source_fn *source_of,
                            void *context, struct mst_error *err)
{
    struct walk walk = {schema, source_of, context, err};
    if (!json_is_object(json))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: must be a JSON object, not %s", source_of(schema->at, context),
                        mst_json_type_text(json));
    return check_object(&walk, schema->at, json);
}

// Setting a key that was deleted puts it at the end, so that a filled object has the order of the table. A whole number
// is written as one whatever the file wrote, so that 64 and 64.0 give the same job.
static void fill_object(const struct mst_schema *schema, const char *at, json_t *object)
{
    for (size_t i = 0; i < schema->n_keys; i++) {
        const struct mst_schema_key *key = &schema->keys[i];
        const char *leaf = leaf_in(key->path, at);
        if (!leaf || key->is_later)
            continue;
        json_t *value = json_incref(json_object_get(object, leaf));
        if (json_is_real(value) && is_whole(value)) {
            json_t *integer = json_integer((json_int_t)json_real_value(value));
            json_decref(value);
            value = integer;
        }
        if (!value && key->default_json)
            value = json_loads(key->default_json, JSON_DECODE_ANY, NULL);
        else if (!value && key->types & MST_TYPE_OBJECT)
            value = json_object();
        if (!value)
            continue;
        json_object_del(object, leaf);
        int failed = json_object_set_new(object, leaf, value);
        MST_ASSERT(failed == 0);
        if (json_is_object(value) && key->types & MST_TYPE_OBJECT)
            fill_object(schema, key->path, value);
    }
}

void mst_schema_fill(const struct mst_schema *schema, json_t *json)
{
    fill_object(schema, schema->at, json);
}

json_t *mst_json_at(const json_t *json, const char *path)
{
    while (json && *path) {
        size_t len = strcspn(path, ".");
        json = json_object_getn(json, path, len);
        path += len + (path[len] == '.');
    }
    return (json_t *)json;
}

// Whether a name of a path can stand in json: at points to it, len is its length.
static mst_status check_step(const json_t *json, const char *path, const char *at, size_t len, struct mst_error *err)
{
    if (len == 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%.200s is no key: a name is empty", path);
    if (json_is_object(json))
        return MST_OK;
    size_t n_before = at == path ? 0 : (size_t)(at - path) - 1;
    return mst_fail(err, MST_INVALID_ARGUMENT, "%.*s is %s, so there is no %.200s in it",
                    (int)(n_before > 200 ? 200 : n_before), path, mst_json_type_text(json), at);
}

// The object that holds the last name of the path, made where it is missing or null.
static mst_status enter(json_t *json, const char *path, json_t **out, const char **last_out, struct mst_error *err)
{
    size_t depth = 1;
    const char *at = path;
    for (size_t len; len = strcspn(at, "."), at[len] == '.'; at += len + 1) {
        MST_TRY(check_step(json, path, at, len, err));
        if (++depth > MST_JSON_MAX_DEPTH)
            return mst_fail(err, MST_INVALID_ARGUMENT, "%.60s… is nested deeper than %d levels", path,
                            MST_JSON_MAX_DEPTH);
        json_t *next = json_object_getn(json, at, len);
        if (!next || json_is_null(next)) {
            next = json_object();
            if (json_object_setn_new(json, at, len, next) != 0)
                return mst_fail(err, MST_INVALID_ARGUMENT, "%.200s is no key: not UTF-8", path);
        }
        json = next;
    }
    *out = json;
    *last_out = at;
    return check_step(json, path, at, strlen(at), err);
}

mst_status mst_json_put(json_t *json, const char *path, json_t *value, struct mst_error *err)
{
    json_t *object = NULL;
    const char *last = NULL;
    mst_status status = enter(json, path, &object, &last, err);
    if (status != MST_OK) {
        json_decref(value);
        return status;
    }
    return json_object_set_new(object, last, value) == 0
               ? MST_OK
               : mst_fail(err, MST_INVALID_ARGUMENT, "%.200s is no key: not UTF-8", path);
}
