/** @file
 *  A table of keys that says everything about a JSON file: what may stand where, its type, range, default and meaning.
 *  The parser, the defaults that `muster config` prints and cluster-specs/job.schema.json come from, or are held
 * against, that one table.
 *
 *      static const struct mst_schema_key keys[] = {
 *          {.path = "batch_size", .types = MST_TYPE_INTEGER, .min = 1, .max = 1 << 20, .default_json = "32", .doc =
 * "…"},
 *      };
 *      MST_TRY(mst_schema_check(&schema, json, on_source, ctx, err));   // every key known, typed, in range
 *      mst_schema_fill(&schema, json);                                  // defaults where a key is missing
 *
 *  Thread: any.
 */
#pragma once

#include "muster/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** What a value may be; one or several. */
enum mst_schema_type {
    MST_TYPE_OBJECT = 1 << 0,  // its keys stand in the table, as "object.key"
    MST_TYPE_TEXT = 1 << 1,    // not empty
    MST_TYPE_PATH = 1 << 2,    // a text; relative to the file it stands in
    MST_TYPE_INTEGER = 1 << 3, // 64 or 64.0
    MST_TYPE_NUMBER = 1 << 4,  // an integer or a real
    MST_TYPE_BOOL = 1 << 5,
    MST_TYPE_NULL = 1 << 6, // as if the key were not there
    MST_TYPE_FREE = 1 << 7, // an object whose keys somebody else knows (compile)
    MST_TYPE_LIST = 1 << 8, // whose elements somebody else knows
};

/** One key. */
struct mst_schema_key {
    const char *path;
    unsigned types; // of enum mst_schema_type
    bool is_required;
    bool is_later;            // of a later issue: any value is refused, by name
    const char *default_json; // NULL: none
    int64_t min, max;         // of integers and numbers; both 0: no range
    size_t max_characters;    // of texts; 0: no limit
    const char *choices;      // of texts, separated by '|'; NULL: any
    const char *only;         // why nothing but the default is accepted; NULL: the whole range is
    const char *below_min;    // how an integer below min is refused in other words, with one %s; NULL: ours
    const char *doc;
};

struct mst_schema {
    const char *at; // the path of the object that is checked, "" for the whole file; the keys' paths begin with it
    const struct mst_schema_key *keys;
    size_t n_keys;
};

/** Names where a key came from, for errors: the file, or "--set". Borrowed. */
typedef const char *mst_schema_source_fn(const char *path, void *context);

/** Checks a whole value against the table: unknown keys (naming the nearest known one), types, ranges, required keys.
 *  Errors: INVALID_ARGUMENT with source and key path */
MST_MUST_USE mst_status mst_schema_check(const struct mst_schema *schema, const json_t *json,
                                         mst_schema_source_fn *source_of, void *context, struct mst_error *err);

/** Writes the default of each missing key into a checked value, and makes the objects they stand in; an object that is
 *  missing and optional without a default (data.eval, partitioner) stays null. */
void mst_schema_fill(const struct mst_schema *schema, json_t *json);

/** The value at a dotted path, or NULL. Owner: borrowed from json */
json_t *mst_json_at(const json_t *json, const char *path);

/** Puts a value at a dotted path, making objects on the way (in place of null too). Owner: steals value
 *  Errors: INVALID_ARGUMENT something on the way is not an object: its path */
MST_MUST_USE mst_status mst_json_put(json_t *json, const char *path, json_t *value, struct mst_error *err);
