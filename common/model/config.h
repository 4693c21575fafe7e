/** @file
 *  Reading Keras's serialised objects strictly: every key is known and of its type, or the error names its path.
 *
 *      static const struct mst_config_field fields[] = {{"units", mst_config_size, offsetof(struct dense, units)}, …};
 *      MST_TRY(mst_config_object(json, path, &object, err));                  // {"class_name", "config", …} or a name
 *      MST_TRY(mst_config_fields(object.config, path, fields, n_fields, &dense, err));
 *
 *  Private to model/. Thread: any.
 */
#pragma once

#include "muster/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum { MST_CONFIG_PATH_BYTES = 512, MST_CONFIG_SHOWN_BYTES = 80 };

/** Reads one value into out, which points into the object being filled. */
typedef mst_status mst_config_read_fn(const json_t *value, const char *path, void *out, struct mst_error *err);

struct mst_config_field {
    const char *key;
    mst_config_read_fn *read; // NULL: any value, changes no number
    size_t offset;            // of what it fills in the object
};

/** A class of Keras's as one of our tables has it: what docs/keras.md is made of (tools/check-keras). All borrowed from
 *  the table. */
struct mst_config_entry {
    const char *class_name;
    const char *const *names; // other words for it; NULL ends them before n_names
    size_t n_names;
    const struct mst_config_field *fields;
    size_t n_fields;
};

/** A serialised object; both borrowed from its JSON. */
struct mst_config_class {
    const char *class_name; // or the name of a function: "relu"
    const char *module;     // where Keras has it, or NULL
    const json_t *config;   // an object, or NULL for a bare name
    bool has_envelope;      // it was an object with class_name, not a bare name
};

/** Unwraps {"module", "class_name", "config", "registered_name", …} or a bare name.
 *  Errors: INVALID_ARGUMENT another type, unknown keys; UNIMPLEMENTED a class registered by the user */
MST_MUST_USE mst_status mst_config_object(const json_t *json, const char *path, struct mst_config_class *out,
                                          struct mst_error *err);
/** Reads all keys of config by the table; a key that is not in it is an error that names the nearest one.
 *  A NULL config (a bare name) has no keys. */
MST_MUST_USE mst_status mst_config_fields(const json_t *config, const char *path, const struct mst_config_field *fields,
                                          size_t n_fields, void *object, struct mst_error *err);

/** Readers for the table. size_t > 0; bool; double; double that null leaves as it is; a seed with a flag behind it. */
mst_config_read_fn mst_config_size;
mst_config_read_fn mst_config_bool;
mst_config_read_fn mst_config_number;
mst_config_read_fn mst_config_number_or_null;
mst_config_read_fn mst_config_seed;
/** const char *, borrowed from the JSON. */
mst_config_read_fn mst_config_text;
/** Refuses everything but null (or false, or 0), by name: an option not built yet. */
mst_config_read_fn mst_config_refuse;
/** Refuses everything but null: an option not built yet of which 0 is a value, as a class is. */
mst_config_read_fn mst_config_refuse_even_0;
/** float32, as text or as a DTypePolicy; others refused by name. */
mst_config_read_fn mst_config_float32;

/** What mst_config_seed fills. */
struct mst_config_seed {
    unsigned long long value;
    bool given;
};

/** Prints a JSON value in at most MST_CONFIG_SHOWN_BYTES into out, for an error. Returns out. */
const char *mst_config_show(const json_t *value, char out[MST_CONFIG_SHOWN_BYTES]);
/** Joins names with ", " for an error text; cut at size. Returns out. */
const char *mst_config_list(const char *const *names, size_t n, char *out, size_t size);
/** The name in the list that differs least from key, or NULL if all differ by much. Cost: O(n · length²) */
const char *mst_config_nearest(const char *key, const char *const *names, size_t n);
