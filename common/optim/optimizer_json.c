// Keras's serialisation to struct mst_optimizer and back. One table lists every key of both configs: those we read have
// a reader, those of features not built yet name the value that switches them off, so that a job that Keras printed
// with its defaults is read, and one that relies on such a feature is refused by the key's name.
#include "optim/optimizer.h"

#include "base/alloc.h"
#include "base/error.h"
#include "optimizer_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BUILT_OPTIMIZERS "SGD, Adam"

enum { SHOWN_BYTES = 80 };

// Keras 3's other optimizers: known by name, so that the refusal says "not built" and not "unknown".
static const char *const other_optimizers[] = {"RMSprop",        "AdamW",
                                               "Adadelta",       "Adagrad",
                                               "Adamax",         "Nadam",
                                               "Ftrl",           "Adafactor",
                                               "Lion",           "Lamb",
                                               "Muon",           "ScheduleFreeAdamW",
                                               "MultiOptimizer", "LossScaleOptimizer"};

static const char *show(const json_t *value, char out[SHOWN_BYTES])
{
    // 15 digits: what was written as 0.1 is shown as 0.1
    char *whole = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
    snprintf(out, SHOWN_BYTES, "%s", whole ? whole : "?");
    free(whole);
    return out;
}

static mst_status read_rate(const json_t *value, const char *where, struct mst_optimizer *optimizer,
                            struct mst_error *err)
{
    char text[SHOWN_BYTES];
    if (json_is_object(value)) {
        const char *name = json_string_value(json_object_get(value, "class_name"));
        return mst_fail(err, MST_UNIMPLEMENTED, "%s: the schedule %.64s is not built yet; give a number", where,
                        name ? name : show(value, text));
    }
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= 0) || !isfinite((float)number))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s is %s; it must be a number of 0 or more", where,
                        show(value, text));
    optimizer->learning_rate = number;
    return MST_OK;
}

// A number from 0 to max; a max below 1 also refuses what float32 rounds to 1.
static mst_status read_fraction(const json_t *value, const char *where, double max, double *out, struct mst_error *err)
{
    char text[SHOWN_BYTES];
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= 0 && number <= max) || (max < 1 && (float)number >= 1.0f))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s is %s; it must be a number from 0 to %s", where,
                        show(value, text), max < 1 ? "below 1" : "1");
    *out = number;
    return MST_OK;
}

static mst_status read_momentum(const json_t *value, const char *where, struct mst_optimizer *optimizer,
                                struct mst_error *err)
{
    return read_fraction(value, where, 1.0, &optimizer->momentum, err);
}

// The largest double below 1: betas of 1 would divide by zero.
#define BELOW_ONE (1.0 - 0x1p-53)

static mst_status read_beta_1(const json_t *value, const char *where, struct mst_optimizer *optimizer,
                              struct mst_error *err)
{
    return read_fraction(value, where, BELOW_ONE, &optimizer->beta_1, err);
}

static mst_status read_beta_2(const json_t *value, const char *where, struct mst_optimizer *optimizer,
                              struct mst_error *err)
{
    return read_fraction(value, where, BELOW_ONE, &optimizer->beta_2, err);
}

static mst_status read_epsilon(const json_t *value, const char *where, struct mst_optimizer *optimizer,
                               struct mst_error *err)
{
    char text[SHOWN_BYTES];
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= 0) || !isfinite((float)number))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s is %s; it must be a number of 0 or more", where,
                        show(value, text));
    optimizer->epsilon = number;
    return MST_OK;
}

static mst_status read_bool(const json_t *value, const char *where, bool *out, struct mst_error *err)
{
    char text[SHOWN_BYTES];
    if (!json_is_boolean(value))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s is %s; it must be true or false", where, show(value, text));
    *out = json_is_true(value);
    return MST_OK;
}

static mst_status read_nesterov(const json_t *value, const char *where, struct mst_optimizer *optimizer,
                                struct mst_error *err)
{
    return read_bool(value, where, &optimizer->nesterov, err);
}

static mst_status read_amsgrad(const json_t *value, const char *where, struct mst_optimizer *optimizer,
                               struct mst_error *err)
{
    return read_bool(value, where, &optimizer->amsgrad, err);
}

typedef mst_status read_fn(const json_t *value, const char *where, struct mst_optimizer *optimizer,
                           struct mst_error *err);

// When a key of a feature that is not built may be passed over.
enum passes {
    PASSES_NULL,     // only null
    PASSES_OFF,      // null, false or 0
    PASSES_ANYTHING, // says nothing about the arithmetic (a name), or only together with a key that is refused
};

enum { OF_SGD = 1, OF_ADAM = 2, OF_BOTH = 3 };

static const struct key {
    const char *name;
    unsigned owners;
    read_fn *read; // NULL: a feature not built yet
    enum passes passes;
} keys[] = {
    {"learning_rate", OF_BOTH, read_rate, 0},
    {"momentum", OF_SGD, read_momentum, 0},
    {"nesterov", OF_SGD, read_nesterov, 0},
    {"beta_1", OF_ADAM, read_beta_1, 0},
    {"beta_2", OF_ADAM, read_beta_2, 0},
    {"epsilon", OF_ADAM, read_epsilon, 0},
    {"amsgrad", OF_ADAM, read_amsgrad, 0},
    {"name", OF_BOTH, NULL, PASSES_ANYTHING},
    {"weight_decay", OF_BOTH, NULL, PASSES_OFF},
    {"clipnorm", OF_BOTH, NULL, PASSES_NULL},
    {"global_clipnorm", OF_BOTH, NULL, PASSES_NULL},
    {"clipvalue", OF_BOTH, NULL, PASSES_NULL},
    {"use_ema", OF_BOTH, NULL, PASSES_OFF},
    {"ema_momentum", OF_BOTH, NULL, PASSES_ANYTHING},
    {"ema_overwrite_frequency", OF_BOTH, NULL, PASSES_ANYTHING},
    {"loss_scale_factor", OF_BOTH, NULL, PASSES_NULL},
    {"gradient_accumulation_steps", OF_BOTH, NULL, PASSES_OFF},
    // Keras 2: is_legacy_optimizer and jit_compile change no arithmetic of ours
    {"is_legacy_optimizer", OF_BOTH, NULL, PASSES_ANYTHING},
    {"jit_compile", OF_BOTH, NULL, PASSES_ANYTHING},
    {"decay", OF_BOTH, NULL, PASSES_OFF},
};

enum { N_KEYS = sizeof keys / sizeof *keys };

static bool is_off(const json_t *value, enum passes passes)
{
    if (passes == PASSES_ANYTHING || json_is_null(value))
        return true;
    return passes == PASSES_OFF && (json_is_false(value) || (json_is_number(value) && json_number_value(value) == 0));
}

// Levenshtein distance; words of 64 letters and more are far from everything.
static size_t distance(const char *a, const char *b)
{
    size_t row[64];
    size_t n_a = strlen(a);
    size_t n_b = strlen(b);
    if (n_a >= 64 || n_b >= 64)
        return 64;
    for (size_t j = 0; j <= n_b; j++)
        row[j] = j;
    for (size_t i = 0; i < n_a; i++) {
        size_t diagonal = row[0]++;
        for (size_t j = 1; j <= n_b; j++) {
            size_t best = diagonal + (a[i] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n_b];
}

static mst_status unknown_key(const char *name, const char *path, unsigned owner, struct mst_error *err)
{
    const char *nearest = keys[0].name;
    size_t least = 64;
    for (size_t i = 0; i < N_KEYS; i++)
        if ((keys[i].owners & owner) && distance(name, keys[i].name) < least) {
            least = distance(name, keys[i].name);
            nearest = keys[i].name;
        }
    return mst_fail(err, MST_INVALID_ARGUMENT, "%s.config.%.64s is not an option of %s; the nearest is \"%s\"", path,
                    name, owner == OF_SGD ? "SGD" : "Adam", nearest);
}

static mst_status read_key(const char *name, const json_t *value, const char *path, struct mst_optimizer *optimizer,
                           struct mst_error *err)
{
    unsigned owner = optimizer->kind == MST_OPTIMIZER_SGD ? OF_SGD : OF_ADAM;
    const struct key *key = NULL;
    for (size_t i = 0; i < N_KEYS; i++)
        if ((keys[i].owners & owner) && strcmp(keys[i].name, name) == 0)
            key = &keys[i];
    if (!key)
        return unknown_key(name, path, owner, err);
    char *where = mst_text("%s.config.%s", path, name);
    mst_status status = MST_OK;
    char text[SHOWN_BYTES];
    if (key->read)
        status = key->read(value, where, optimizer, err);
    else if (!is_off(value, key->passes))
        status = mst_fail(err, MST_UNIMPLEMENTED, "%s is %s, but that option is not built yet; leave it out or null",
                          where, show(value, text));
    free(where);
    return status;
}

static mst_status read_config(const json_t *config, const char *path, struct mst_optimizer *optimizer,
                              struct mst_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)config, name, value) MST_TRY(read_key(name, value, path, optimizer, err));
    return MST_OK;
}

// "SGD", "sgd", "Adam", "adam"; Keras 2 printed "Custom>SGD" for optimizers it had rewritten.
static mst_status read_class(const char *name, const char *path, struct mst_optimizer *optimizer, struct mst_error *err)
{
    const char *bare = strncmp(name, "Custom>", 7) == 0 ? name + 7 : name;
    *optimizer = (struct mst_optimizer){.isa = mst_isa_detect()};
    if (strcasecmp(bare, "SGD") == 0) {
        optimizer->learning_rate = 0.01;
        return MST_OK;
    }
    if (strcasecmp(bare, "Adam") == 0) {
        optimizer->kind = MST_OPTIMIZER_ADAM;
        optimizer->learning_rate = 0.001;
        optimizer->beta_1 = 0.9;
        optimizer->beta_2 = 0.999;
        optimizer->epsilon = 1e-7;
        return MST_OK;
    }
    for (size_t i = 0; i < sizeof other_optimizers / sizeof *other_optimizers; i++)
        if (strcasecmp(bare, other_optimizers[i]) == 0)
            return mst_fail(err, MST_UNIMPLEMENTED,
                            "%s: the optimizer %s is not built yet; there are " BUILT_OPTIMIZERS, path,
                            other_optimizers[i]);
    return mst_fail(err, MST_INVALID_ARGUMENT, "%s: \"%.64s\" is no optimizer; there are " BUILT_OPTIMIZERS, path,
                    name);
}

// What Keras's serialisation puts beside class_name and config.
static mst_status check_envelope(const json_t *json, const char *path, struct mst_error *err)
{
    static const char *const known[] = {"class_name", "config",         "module",      "registered_name",
                                        "name",       "compile_config", "build_config"};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)json, name, value)
    {
        size_t i = 0;
        while (i < sizeof known / sizeof *known && strcmp(name, known[i]) != 0)
            i++;
        if (i == sizeof known / sizeof *known)
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "%s.%.64s is no key of a serialised optimizer; options belong into \"config\"", path, name);
    }
    return MST_OK;
}

static mst_status read_optimizer(const json_t *json, const char *path, struct mst_optimizer *optimizer,
                                 struct mst_error *err)
{
    char text[SHOWN_BYTES];
    if (json_is_string(json))
        return read_class(json_string_value(json), path, optimizer, err);
    if (!json_is_object(json))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s is %s; it must be an optimizer's name or {\"class_name\", "
                        "\"config\"}",
                        path, json ? show(json, text) : "missing");
    MST_TRY(check_envelope(json, path, err));
    const char *name = json_string_value(json_object_get(json, "class_name"));
    if (!name)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s has no \"class_name\" text; there are " BUILT_OPTIMIZERS, path);
    MST_TRY(read_class(name, path, optimizer, err));
    const json_t *config = json_object_get(json, "config");
    if (!config || json_is_null(config))
        return MST_OK;
    if (!json_is_object(config))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.config is %s; it must be an object", path, show(config, text));
    return read_config(config, path, optimizer, err);
}

mst_status mst_optimizer_parse(const json_t *json, const char *path, struct mst_optimizer **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_optimizer parsed = {0};
    MST_TRY(read_optimizer(json, path, &parsed, err));
    if (parsed.kind == MST_OPTIMIZER_SGD && parsed.momentum == 0)
        parsed.nesterov = false; // as in Keras it has no effect then
    struct mst_optimizer *optimizer = mst_alloc(sizeof *optimizer);
    *optimizer = parsed;
    *out = optimizer;
    return MST_OK;
}

json_t *mst_optimizer_to_json(const struct mst_optimizer *optimizer)
{
    json_t *config = optimizer->kind == MST_OPTIMIZER_SGD
                         ? json_pack("{s:f, s:f, s:b}", "learning_rate", optimizer->learning_rate, "momentum",
                                     optimizer->momentum, "nesterov", optimizer->nesterov)
                         : json_pack("{s:f, s:f, s:f, s:f, s:b}", "learning_rate", optimizer->learning_rate, "beta_1",
                                     optimizer->beta_1, "beta_2", optimizer->beta_2, "epsilon", optimizer->epsilon,
                                     "amsgrad", optimizer->amsgrad);
    json_t *json =
        config ? json_pack("{s:s, s:o}", "class_name", mst_optimizer_name(optimizer), "config", config) : NULL;
    MST_ASSERT(json); // only memory can be missing
    return json;
}
