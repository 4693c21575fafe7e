// Keras prints an object as an envelope {"module","class_name","config","registered_name"} whose config holds what
// the class's get_config returned. Each class has one table of its keys; what is not in the table would silently
// change nothing here and something in Keras, so it is an error. Keys that are missing keep the default that the
// caller put in.
#include "config.h"

#include "base/error.h"

#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *mst_config_show(const json_t *value, char out[MST_CONFIG_SHOWN_BYTES])
{
    // 15 digits are what a double keeps of what people write: 0.1, not 0.10000000000000001.
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
    size_t len = text != NULL ? strlen(text) : 0;
    if (len < MST_CONFIG_SHOWN_BYTES) {
        snprintf(out, MST_CONFIG_SHOWN_BYTES, "%s", text != NULL ? text : "");
    } else {
        len = MST_CONFIG_SHOWN_BYTES - sizeof "...";
        // Not inside of a UTF-8 character.
        while (len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80)
            len--;
        snprintf(out, MST_CONFIG_SHOWN_BYTES, "%.*s...", (int)len, text);
    }
    free(text);
    return out;
}

const char *mst_config_list(const char *const *names, size_t n, char *out, size_t size)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < n && at < size; i++) {
        int wrote = snprintf(out + at, size - at, "%s%s", i > 0 ? ", " : "", names[i]);
        at += wrote > 0 ? (size_t)wrote : 0;
    }
    return out;
}

// Levenshtein distance with one row; both words are shorter than 64 or they count as far apart.
static size_t distance(const char *a, const char *b)
{
    size_t row[64];
    size_t n_a = strlen(a);
    size_t n_b = strlen(b);
    if (n_a >= 64 || n_b >= 64)
        return SIZE_MAX;
    for (size_t j = 0; j <= n_b; j++)
        row[j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t one_more = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = replaced < one_more ? replaced : one_more;
        }
    }
    return row[n_b];
}

const char *mst_config_nearest(const char *key, const char *const *names, size_t n)
{
    const char *nearest = NULL;
    size_t best = strlen(key) / 2 + 1; // more changes than that are another word
    for (size_t i = 0; i < n; i++) {
        size_t d = distance(key, names[i]);
        if (d < best) {
            best = d;
            nearest = names[i];
        }
    }
    return nearest;
}

static mst_status unknown_key(const char *key, const char *path, const struct mst_config_field *fields, size_t n,
                              struct mst_error *err)
{
    const char *names[64];
    char list[512];
    n = n < 64 ? n : 64;
    for (size_t i = 0; i < n; i++)
        names[i] = fields[i].key;
    const char *nearest = mst_config_nearest(key, names, n);
    if (nearest != NULL)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.%.64s is not a key here; did you mean '%s'?", path, key,
                        nearest);
    return mst_fail(err, MST_INVALID_ARGUMENT, "%s.%.64s is not a key here; the keys are %s", path, key,
                    mst_config_list(names, n, list, sizeof list));
}

mst_status mst_config_fields(const json_t *config, const char *path, const struct mst_config_field *fields,
                             size_t n_fields, void *object, struct mst_error *err)
{
    const char *key;
    json_t *value;
    if (config == NULL)
        return MST_OK;
    // jansson's iteration macro wants a json_t it may change; it does not change it here.
    json_object_foreach((json_t *)config, key, value)
    {
        size_t f = 0;
        while (f < n_fields && strcmp(key, fields[f].key) != 0)
            f++;
        if (f == n_fields)
            return unknown_key(key, path, fields, n_fields, err);
        if (fields[f].read == NULL)
            continue;
        char at[MST_CONFIG_PATH_BYTES];
        snprintf(at, sizeof at, "%s.%s", path, key);
        MST_TRY(fields[f].read(value, at, (char *)object + fields[f].offset, err));
    }
    return MST_OK;
}

struct envelope {
    const char *module;
    const char *class_name;
    const char *registered_name;
    const json_t *config;
};

static mst_status read_json(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    (void)path;
    (void)err;
    *(const json_t **)out = value;
    return MST_OK;
}

static mst_status text_or_null(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    return json_is_null(value) ? MST_OK : mst_config_text(value, path, out, err);
}

// A class of the user's own is named by its module or by "Package>Name"; its config may look like one of Keras's.
static mst_status refuse_custom(const struct envelope *e, const char *path, struct mst_error *err)
{
    bool is_keras = e->module == NULL || strncmp(e->module, "keras", 5) == 0 ||
                    strncmp(e->module, "tf_keras.", 9) == 0 || strcmp(e->module, "builtins") == 0;
    bool is_registered = e->registered_name != NULL && strcmp(e->registered_name, "function") != 0 &&
                         strcmp(e->registered_name, e->class_name) != 0;
    if (is_keras && !is_registered)
        return MST_OK;
    return mst_fail(
        err, MST_UNIMPLEMENTED, "%s: '%.64s' is a class of your own (%s '%.64s'), which cannot be read from JSON", path,
        e->class_name, is_registered ? "registered as" : "module", is_registered ? e->registered_name : e->module);
}

mst_status mst_config_object(const json_t *json, const char *path, struct mst_config_class *out, struct mst_error *err)
{
    static const struct mst_config_field fields[] = {
        {"module", text_or_null, offsetof(struct envelope, module)},
        {"class_name", mst_config_text, offsetof(struct envelope, class_name)},
        {"config", read_json, offsetof(struct envelope, config)},
        {"registered_name", text_or_null, offsetof(struct envelope, registered_name)},
        {"name", NULL, 0},           // a Functional repeats the layer's name here
        {"inbound_nodes", NULL, 0},  // read by the Functional that it is in
        {"build_config", NULL, 0},   // shapes, which are inferred again
        {"compile_config", NULL, 0}, // the job says what to compile
        {"shared_object_id", NULL, 0},
        {"keras_version", NULL, 0},
        {"backend", NULL, 0},
    };
    char shown[MST_CONFIG_SHOWN_BYTES];
    *out = (struct mst_config_class){0};
    if (json_is_string(json)) {
        out->class_name = json_string_value(json);
        return MST_OK;
    }
    if (!json_is_object(json))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s is %s; it should be a name or an object with class_name and config", path,
                        mst_config_show(json, shown));
    struct envelope e = {0};
    MST_TRY(mst_config_fields(json, path, fields, sizeof fields / sizeof fields[0], &e, err));
    if (e.class_name == NULL)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s has no class_name", path);
    MST_TRY(refuse_custom(&e, path, err));
    out->has_envelope = true;
    out->class_name = e.class_name;
    out->module = e.module;
    if (strcmp(e.class_name, "function") == 0) {
        if (!json_is_string(e.config))
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s.config should be the name of a function", path);
        out->class_name = json_string_value(e.config);
        return MST_OK;
    }
    if (e.config != NULL && !json_is_null(e.config) && !json_is_object(e.config))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.config is %s; it should be an object", path,
                        mst_config_show(e.config, shown));
    out->config = json_is_object(e.config) ? e.config : NULL;
    return MST_OK;
}

static mst_status wrong(const json_t *value, const char *path, const char *wanted, struct mst_error *err)
{
    char shown[MST_CONFIG_SHOWN_BYTES];
    return mst_fail(err, MST_INVALID_ARGUMENT, "%s is %s; it should be %s", path, mst_config_show(value, shown),
                    wanted);
}

mst_status mst_config_size(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    // Python may print a float that is a whole number where an int was meant.
    double number = json_number_value(value);
    if (!json_is_number(value) || number < 1 || number > 1e15 || number != floor(number))
        return wrong(value, path, "a whole number of at least 1", err);
    *(size_t *)out = (size_t)number;
    return MST_OK;
}

mst_status mst_config_bool(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    if (!json_is_boolean(value))
        return wrong(value, path, "true or false", err);
    *(bool *)out = json_is_true(value);
    return MST_OK;
}

mst_status mst_config_number(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    if (!json_is_number(value))
        return wrong(value, path, "a number", err);
    *(double *)out = json_number_value(value);
    return MST_OK;
}

mst_status mst_config_number_or_null(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    return json_is_null(value) ? MST_OK : mst_config_number(value, path, out, err);
}

mst_status mst_config_seed(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    struct mst_config_seed *seed = out;
    if (json_is_null(value))
        return MST_OK;
    if (!json_is_integer(value))
        return wrong(value, path, "null or a whole number (a SeedGenerator cannot be shared between processes)", err);
    seed->value = (unsigned long long)json_integer_value(value);
    seed->given = true;
    return MST_OK;
}

mst_status mst_config_text(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    if (!json_is_string(value))
        return wrong(value, path, "a text", err);
    *(const char **)out = json_string_value(value);
    return MST_OK;
}

mst_status mst_config_refuse(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    char shown[MST_CONFIG_SHOWN_BYTES];
    (void)out;
    if (json_is_null(value) || json_is_false(value) || (json_is_number(value) && json_number_value(value) == 0))
        return MST_OK;
    return mst_fail(err, MST_UNIMPLEMENTED, "%s is %s, which is not built yet; leave it out or null", path,
                    mst_config_show(value, shown));
}

mst_status mst_config_refuse_even_0(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    (void)out;
    if (json_is_null(value))
        return MST_OK;
    return mst_fail(err, MST_UNIMPLEMENTED, "%s is set, which is not built yet; leave it out or null", path);
}

struct policy {
    const char *name;
};

mst_status mst_config_float32(const json_t *value, const char *path, void *out, struct mst_error *err)
{
    static const struct mst_config_field fields[] = {
        {"name", mst_config_text, offsetof(struct policy, name)},
        {"source_name", NULL, 0}, // of a quantized policy, whose name is refused
    };
    struct mst_config_class object;
    (void)out;
    if (json_is_null(value))
        return MST_OK;
    MST_TRY(mst_config_object(value, path, &object, err));
    MST_ASSERT(object.class_name != NULL);
    struct policy policy = {.name = object.class_name};
    if (object.has_envelope) {
        char at[MST_CONFIG_PATH_BYTES];
        snprintf(at, sizeof at, "%s.config", path);
        MST_TRY(mst_config_fields(object.config, at, fields, sizeof fields / sizeof fields[0], &policy, err));
    }
    if (strcmp(policy.name, "float32") != 0)
        return mst_fail(err, MST_UNIMPLEMENTED, "%s is '%.64s', which is not built yet; float32 is", path, policy.name);
    return MST_OK;
}
