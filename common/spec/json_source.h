/** @file
 *  JSON as people write it: a text or a file becomes a jansson value, or an error that says file, line and column.
 *
 *      MST_TRY(mst_json_load_file("job.json", &json, err));
 *      …
 *      json_decref(json);
 *
 *  Duplicate keys are refused, so is nesting deeper than MST_JSON_MAX_DEPTH and a file larger than MST_JSON_MAX_BYTES.
 *  Here too: the nearest known word to a misspelt one. Thread: any.
 */
#pragma once

#include "muster/status.h"

#include <jansson.h>
#include <stddef.h>

enum {
    MST_JSON_MAX_DEPTH = 128,      // deeper than any model or compile we know by a factor of ten; bounds recursion
    MST_JSON_MAX_BYTES = 16 << 20, // a model of 100 000 layers still fits
};

/** New value from len bytes of text; source stands before each error ("TF_CONFIG:1:7: …").
 *  Any JSON value is accepted, not only objects and lists. Owner: *out is the caller's (json_decref)
 *  Errors: INVALID_ARGUMENT not JSON, a key twice, too deep, too large (*out NULL) */
MST_MUST_USE mst_status mst_json_parse(const char *text, size_t len, const char *source, json_t **out,
                                       struct mst_error *err);

/** New value from a file, as mst_json_parse with the path as source.
 *  Errors: INVALID_ARGUMENT also when the file cannot be read (path and cause) */
MST_MUST_USE mst_status mst_json_load_file(const char *path, json_t **out, struct mst_error *err);

/** What people call the type of a value: "an object", "a list", "a text", "an integer", "a number", "true", "null". */
const char *mst_json_type_text(const json_t *value);

/** The candidate nearest to word by edit distance, or NULL if none is near enough to be meant.
 *  Owner: borrowed from candidates. Cost: O(word · candidate) for each */
const char *mst_nearest_word(const char *word, const char *const *candidates, size_t n_candidates);
