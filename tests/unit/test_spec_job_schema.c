// cluster-specs/job.schema.json is the table of the job file in the words of JSON Schema, draft 7: this builds it from
// the table and compares. Where the file is not up to date the right one is left in the build folder.
#include "spec/job.h"
#include "spec/partitioner.h"
#include "spec/schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *file_path, *fresh_path;

static json_t *schema_of_object(const struct mst_schema *schema, const char *at, const char *doc);

static const char *leaf_in(const char *path, const char *at)
{
    size_t len = strlen(at);
    if (len > 0 && (strncmp(path, at, len) != 0 || path[len] != '.'))
        return NULL;
    const char *leaf = len > 0 ? path + len + 1 : path;
    return strchr(leaf, '.') ? NULL : leaf;
}

static void put(json_t *object, const char *key, json_t *value)
{
    assert_non_null(value);
    assert_int_equal(json_object_set_new(object, key, value), 0);
}

static void put_types(json_t *object, unsigned types)
{
    static const struct {
        unsigned type;
        const char *name;
    } names[] = {{MST_TYPE_OBJECT | MST_TYPE_FREE, "object"},
                 {MST_TYPE_LIST, "array"},
                 {MST_TYPE_TEXT | MST_TYPE_PATH, "string"},
                 {MST_TYPE_INTEGER, "integer"},
                 {MST_TYPE_NUMBER, "number"},
                 {MST_TYPE_BOOL, "boolean"},
                 {MST_TYPE_NULL, "null"}};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (types & names[i].type)
            json_array_append_new(list, json_string(names[i].name));
    }
    put(object, "type", json_array_size(list) == 1 ? json_incref(json_array_get(list, 0)) : json_incref(list));
    json_decref(list);
}

static void put_choices(json_t *object, const char *choices)
{
    json_t *list = json_array();
    for (const char *choice = choices; *choice;) {
        size_t len = strcspn(choice, "|");
        json_array_append_new(list, json_stringn(choice, len));
        choice += len + (choice[len] == '|');
    }
    put(object, "enum", list);
}

static void put_value(json_t *object, const char *key, const char *json_text)
{
    put(object, key, json_loads(json_text, JSON_DECODE_ANY, NULL));
}

static json_t *schema_of_key(const struct mst_schema *schema, const struct mst_schema_key *key)
{
    if (key->types & MST_TYPE_OBJECT) {
        json_t *object = schema_of_object(schema, key->path, key->doc);
        put_types(object, key->types);
        if (key->default_json)
            put_value(object, "default", key->default_json);
        return object;
    }
    json_t *object = json_object();
    char doc[300];
    snprintf(doc, sizeof doc, "%s%s%s%s", key->doc, key->only ? " Only the default so far: " : "",
             key->only ? key->only : "", key->only ? "." : "");
    put(object, "description", json_string(doc));
    if (key->only) {
        put_value(object, "const", key->default_json);
        put_value(object, "default", key->default_json);
        return object;
    }
    put_types(object, key->types);
    if (key->types & (MST_TYPE_TEXT | MST_TYPE_PATH) && !key->choices)
        put(object, "minLength", json_integer(1));
    if (key->max_characters > 0)
        put(object, "maxLength", json_integer((json_int_t)key->max_characters));
    if (key->choices && key->types & ~(unsigned)MST_TYPE_TEXT) { // "enum" would be for numbers and null too
        char pattern[200];
        snprintf(pattern, sizeof pattern, "^(%s)$", key->choices);
        put(object, "pattern", json_string(pattern));
    } else if (key->choices) {
        put_choices(object, key->choices);
    }
    if (key->min != 0 || key->max != 0) {
        put(object, "minimum", json_integer(key->min));
        put(object, "maximum", json_integer(key->max));
    }
    if (key->default_json)
        put_value(object, "default", key->default_json);
    return object;
}

static json_t *schema_of_object(const struct mst_schema *schema, const char *at, const char *doc)
{
    json_t *object = json_object(), *properties = json_object(), *required = json_array();
    put(object, "description", json_string(doc));
    put(object, "type", json_string("object"));
    for (size_t i = 0; i < schema->n_keys; i++) {
        const struct mst_schema_key *key = &schema->keys[i];
        const char *leaf = leaf_in(key->path, at);
        if (!leaf || key->is_later)
            continue;
        put(properties, leaf, schema_of_key(schema, key));
        if (key->is_required)
            json_array_append_new(required, json_string(leaf));
    }
    put(object, "properties", properties);
    put(object, "additionalProperties", json_false());
    if (json_array_size(required) > 0)
        put(object, "required", json_incref(required));
    json_decref(required);
    return object;
}

// Which keys name the labels depends on the format.
static void put_data_rules(json_t *job)
{
    static const char *const sets[] = {"properties.data.properties.train", "properties.data.properties.eval"};
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        json_t *data = mst_json_at(job, sets[i]);
        put(data, "if",
            json_pack("{s:{s:{s:s}}, s:[s]}", "properties", "format", "const", "csv", "required", "format"));
        put(data, "then",
            json_pack("{s:[s], s:{s:b, s:b, s:{s:s}}, s:{s:s, s:[ss]}}", "required", "label", "properties", "labels", 0,
                      "sample_weights", 0, "features", "type", "string", "not", "type", "object", "required", "columns",
                      "inputs"));
        put(data, "else",
            json_pack("{s:[s], s:{s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b}}", "required", "labels", "properties",
                      "label", 0, "header", 0, "missing", 0, "columns", 0, "inputs", 0, "separator", 0, "sample_weight",
                      0, "categories", 0));
    }
}

// Which options there are depends on the class.
static json_t *schema_of_callback(void)
{
    json_t *names = json_array(), *cases = json_array();
    for (size_t i = 0; i < MST_CALLBACK_N_KINDS; i++) {
        enum mst_callback_kind kind = (enum mst_callback_kind)i;
        const struct mst_schema *schema = mst_callback_schema(kind);
        if (!schema)
            continue;
        json_t *config = schema_of_object(schema, schema->at, mst_callback_name(kind));
        json_t *then = json_pack("{s:{s:o}}", "properties", "config", config);
        if (json_object_get(config, "required"))
            put(then, "required", json_pack("[s]", "config"));
        json_array_append_new(names, json_string(mst_callback_name(kind)));
        json_array_append_new(cases, json_pack("{s:{s:{s:{s:s}}}, s:o}", "if", "properties", "class_name", "const",
                                               mst_callback_name(kind), "then", then));
    }
    return json_pack("{s:s, s:{s:{s:o}, s:{s:s}}, s:b, s:[s], s:o}", "type", "object", "properties", "class_name",
                     "enum", names, "config", "type", "object", "additionalProperties", 0, "required", "class_name",
                     "allOf", cases);
}

// What no table of single keys says: job_read.c's rules between keys, but for that of the two times in cluster, which
// JSON Schema cannot say.
static void put_rules(json_t *job)
{
    put_data_rules(job);
    put(job, "allOf",
        json_pack("[{s:{s:[ss], s:{s:{s:s}, s:{s:s}}}}, {s:{s:[s], s:{s:{s:s}}}, s:{s:[s], s:{s:{s:s}}}}]", "not",
                  "required", "epochs", "steps", "properties", "epochs", "type", "integer", "steps", "type", "integer",
                  "if", "required", "epochs", "properties", "epochs", "type", "null", "then", "required", "steps",
                  "properties", "steps", "type", "integer"));
    json_t *compile = mst_json_at(job, "properties.compile");
    put(compile, "required", json_pack("[ss]", "optimizer", "loss"));
    put(compile, "properties",
        json_pack("{s:{s:{s:s}}, s:{s:{s:s}}}", "optimizer", "not", "type", "null", "loss", "not", "type", "null"));
    json_t *cases = json_array();
    for (size_t i = MST_PARTITIONER_FIXED_SHARDS; i <= MST_PARTITIONER_MAX_SIZE; i++) {
        enum mst_partitioner_kind kind = (enum mst_partitioner_kind)i;
        const struct mst_schema *schema = mst_partitioner_schema(kind);
        json_t *config = schema_of_object(schema, schema->at, mst_partitioner_name(kind));
        json_t *then = json_pack("{s:{s:o}}", "properties", "config", config);
        if (json_object_get(config, "required"))
            put(then, "required", json_pack("[s]", "config"));
        json_array_append_new(cases,
                              json_pack("{s:{s:{s:{s:s}}, s:[s]}, s:o}", "if", "properties", "class_name", "const",
                                        mst_partitioner_name(kind), "required", "class_name", "then", then));
    }
    put(mst_json_at(job, "properties.partitioner"), "allOf", cases);
    put(mst_json_at(job, "properties.callbacks"), "items", schema_of_callback());
}

static char *fresh_text(void)
{
    json_t *head = json_pack("{s:s, s:s}", "$schema", "http://json-schema.org/draft-07/schema#", "title", "Muster job");
    json_t *job = schema_of_object(mst_job_schema(), "", "One training job of Muster, the same file for all roles.");
    put_rules(job);
    json_object_update_new(head, job);
    char *text = json_dumps(head, JSON_INDENT(2));
    json_decref(head);
    return text;
}

static void test_file_is_fresh(void **state)
{
    (void)state;
    char *wanted = fresh_text();
    json_t *file = json_load_file(file_path, JSON_REJECT_DUPLICATES, NULL);
    char *got = file ? json_dumps(file, JSON_INDENT(2)) : strdup("");
    bool is_fresh = strcmp(got, wanted) == 0;
    if (!is_fresh) {
        FILE *fresh = fopen(fresh_path, "w");
        assert_non_null(fresh);
        fprintf(fresh, "%s\n", wanted);
        fclose(fresh);
        print_error("%s is not what the table says; copy %s over it\n", file_path, fresh_path);
    }
    free(got);
    free(wanted);
    json_decref(file);
    assert_true(is_fresh);
}

// The table itself: every default is of its type and in its range, parents stand before children, no path twice.
static void check_table(const struct mst_schema *schema)
{
    for (size_t i = 0; i < schema->n_keys; i++) {
        const struct mst_schema_key *key = &schema->keys[i];
        assert_true(key->doc && key->doc[strlen(key->doc) - 1] == '.');
        assert_true(key->is_later || key->types != 0);
        assert_false(key->only && !key->default_json);
        assert_false(key->is_required && key->default_json);
        const char *dot = strrchr(key->path, '.');
        bool has_parent = !dot || strlen(schema->at) == (size_t)(dot - key->path);
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(schema->keys[k].path, key->path);
            has_parent = has_parent || (strlen(schema->keys[k].path) == (size_t)(dot - key->path) &&
                                        strncmp(schema->keys[k].path, key->path, (size_t)(dot - key->path)) == 0);
        }
        assert_true(has_parent);
        json_t *value = key->default_json ? json_loads(key->default_json, JSON_DECODE_ANY, NULL) : NULL;
        assert_true(!key->default_json || value);
        if (json_is_integer(value) && (key->min != 0 || key->max != 0))
            assert_in_range(json_integer_value(value), key->min, key->max);
        json_decref(value);
    }
}

static void test_tables(void **state)
{
    (void)state;
    check_table(mst_job_schema());
    for (size_t i = MST_PARTITIONER_FIXED_SHARDS; i <= MST_PARTITIONER_MAX_SIZE; i++)
        check_table(mst_partitioner_schema((enum mst_partitioner_kind)i));
    assert_null(mst_partitioner_schema(MST_PARTITIONER_NONE));
    for (size_t i = 0; i < MST_CALLBACK_N_KINDS; i++)
        if (mst_callback_schema((enum mst_callback_kind)i))
            check_table(mst_callback_schema((enum mst_callback_kind)i));
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    file_path = argv[1];
    fresh_path = argv[2];
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_file_is_fresh), cmocka_unit_test(test_tables)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
