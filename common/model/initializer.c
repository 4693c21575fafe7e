// Reading initializers. Glorot, He and LeCun are named cases of variance scaling: a scale, a fan and a distribution;
// the table gives each its case, and the config may only change what Keras lets it change.
#include "initializer.h"

#include "base/error.h"
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// What any initializer's config may hold; which keys are allowed depends on the class.
struct init_config {
    double value, mean, stddev, minval, maxval, scale, gain;
    const char *mode;
    const char *distribution;
    struct mst_config_seed seed;
};

#define FIELD(key, read) {#key, read, offsetof(struct init_config, key)}
#define SEED             FIELD(seed, mst_config_seed)
#define AXES             {"input_axes", mst_config_refuse, 0}, {"output_axes", mst_config_refuse, 0}

static const struct mst_config_field no_fields[] = {SEED}; // Zeros and Ones take none, but for a seed of older versions
static const struct mst_config_field constant_fields[] = {FIELD(value, mst_config_number)};
static const struct mst_config_field identity_fields[] = {FIELD(gain, mst_config_number)};
static const struct mst_config_field orthogonal_fields[] = {FIELD(gain, mst_config_number), SEED};
static const struct mst_config_field normal_fields[] = {FIELD(mean, mst_config_number),
                                                        FIELD(stddev, mst_config_number), SEED};
static const struct mst_config_field uniform_fields[] = {FIELD(minval, mst_config_number),
                                                         FIELD(maxval, mst_config_number), SEED};
static const struct mst_config_field named_fields[] = {SEED, AXES};
static const struct mst_config_field scaling_fields[] = {FIELD(scale, mst_config_number), FIELD(mode, mst_config_text),
                                                         FIELD(distribution, mst_config_text), SEED, AXES};

struct init_class {
    const char *class_name;
    const char *function_name;
    enum mst_initializer_kind kind;
    double scale; // the named cases of variance scaling
    enum mst_fan_mode mode;
    enum mst_init_distribution distribution;
    const struct mst_config_field *fields;
    size_t n_fields;
};

#define FIELDS(fields) fields, sizeof fields / sizeof fields[0]
#define SCALING(class, function, scale, mode, distribution)                                                            \
    {class, function, MST_INIT_VARIANCE_SCALING, scale, mode, distribution, FIELDS(named_fields)}

static const struct init_class classes[] = {
    {"Zeros", "zeros", MST_INIT_ZEROS, 0, 0, 0, FIELDS(no_fields)},
    {"Ones", "ones", MST_INIT_ONES, 0, 0, 0, FIELDS(no_fields)},
    {"Constant", "constant", MST_INIT_CONSTANT, 0, 0, 0, FIELDS(constant_fields)},
    {"Identity", "identity", MST_INIT_IDENTITY, 0, 0, 0, FIELDS(identity_fields)},
    {"Orthogonal", "orthogonal", MST_INIT_ORTHOGONAL, 0, 0, 0, FIELDS(orthogonal_fields)},
    {"RandomNormal", "random_normal", MST_INIT_RANDOM_NORMAL, 0, 0, 0, FIELDS(normal_fields)},
    {"RandomUniform", "random_uniform", MST_INIT_RANDOM_UNIFORM, 0, 0, 0, FIELDS(uniform_fields)},
    {"TruncatedNormal", "truncated_normal", MST_INIT_TRUNCATED_NORMAL, 0, 0, 0, FIELDS(normal_fields)},
    {"VarianceScaling", "variance_scaling", MST_INIT_VARIANCE_SCALING, 1, MST_FAN_IN, MST_DIST_TRUNCATED_NORMAL,
     FIELDS(scaling_fields)},
    SCALING("GlorotUniform", "glorot_uniform", 1, MST_FAN_AVG, MST_DIST_UNIFORM),
    SCALING("GlorotNormal", "glorot_normal", 1, MST_FAN_AVG, MST_DIST_TRUNCATED_NORMAL),
    SCALING("HeUniform", "he_uniform", 2, MST_FAN_IN, MST_DIST_UNIFORM),
    SCALING("HeNormal", "he_normal", 2, MST_FAN_IN, MST_DIST_TRUNCATED_NORMAL),
    SCALING("LecunUniform", "lecun_uniform", 1, MST_FAN_IN, MST_DIST_UNIFORM),
    SCALING("LecunNormal", "lecun_normal", 1, MST_FAN_IN, MST_DIST_TRUNCATED_NORMAL),
};
enum { N_CLASSES = sizeof classes / sizeof classes[0] };

bool mst_initializer_entry(size_t i, struct mst_config_entry *out)
{
    *out = (struct mst_config_entry){0};
    if (i >= N_CLASSES)
        return false;
    *out = (struct mst_config_entry){classes[i].class_name, &classes[i].function_name, 1, classes[i].fields,
                                     classes[i].n_fields};
    return true;
}

// Other words of Keras for some of them.
static const char *const aliases[][2] = {{"zero", "Zeros"},
                                         {"one", "Ones"},
                                         {"normal", "RandomNormal"},
                                         {"uniform", "RandomUniform"},
                                         {"IdentityInitializer", "Identity"},
                                         {"OrthogonalInitializer", "Orthogonal"}};

static mst_status find_class(const char *name, const char *path, const struct init_class **out, struct mst_error *err)
{
    const char *names[N_CLASSES];
    char list[512];
    *out = NULL;
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++) {
        if (strcmp(name, aliases[i][0]) == 0)
            name = aliases[i][1];
    }
    for (size_t i = 0; i < N_CLASSES; i++) {
        names[i] = classes[i].class_name;
        if (strcmp(name, classes[i].class_name) == 0 || strcmp(name, classes[i].function_name) == 0) {
            *out = &classes[i];
            return MST_OK;
        }
    }
    return mst_fail(err, MST_UNIMPLEMENTED, "%s is '%.64s', which is not built yet; the initializers built are %s",
                    path, name, mst_config_list(names, N_CLASSES, list, sizeof list));
}

// The index of a word in a list of allowed ones.
static mst_status choose(const char *word, const char *const *words, size_t n, const char *where, size_t *out,
                         struct mst_error *err)
{
    char list[256];
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(word, words[i]) == 0) {
            *out = i;
            return MST_OK;
        }
    }
    return mst_fail(err, MST_INVALID_ARGUMENT, "%s is '%.64s'; it should be one of %s", where, word,
                    mst_config_list(words, n, list, sizeof list));
}

static mst_status read_scaling(const struct init_config *config, const char *path, struct mst_initializer *init,
                               struct mst_error *err)
{
    static const char *const modes[] = {"fan_in", "fan_out", "fan_avg"};
    static const enum mst_fan_mode mode_values[] = {MST_FAN_IN, MST_FAN_OUT, MST_FAN_AVG};
    static const char *const distributions[] = {"uniform", "truncated_normal", "untruncated_normal", "normal"};
    static const enum mst_init_distribution distribution_values[] = {
        MST_DIST_UNIFORM, MST_DIST_TRUNCATED_NORMAL, MST_DIST_UNTRUNCATED_NORMAL, MST_DIST_TRUNCATED_NORMAL};
    char where[MST_CONFIG_PATH_BYTES + 32];
    size_t choice;
    if (!(config->scale > 0) || !isfinite(config->scale))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.scale is %g; it should be above 0", path, config->scale);
    init->a = config->scale;
    if (config->mode != NULL) {
        snprintf(where, sizeof where, "%s.mode", path);
        MST_TRY(choose(config->mode, modes, 3, where, &choice, err));
        init->mode = mode_values[choice];
    }
    if (config->distribution != NULL) {
        snprintf(where, sizeof where, "%s.distribution", path);
        MST_TRY(choose(config->distribution, distributions, 4, where, &choice, err));
        init->distribution = distribution_values[choice];
    }
    return MST_OK;
}

mst_status mst_initializer_parse(const json_t *json, const char *path, struct mst_initializer *out,
                                 struct mst_error *err)
{
    struct mst_config_class object;
    const struct init_class *class;
    *out = (struct mst_initializer){.kind = MST_INIT_ZEROS, .class_name = "Zeros"};
    MST_TRY(mst_config_object(json, path, &object, err));
    MST_TRY(find_class(object.class_name, path, &class, err));
    // Keras's defaults of the plain random ones.
    struct init_config config = {.stddev = 0.05, .minval = -0.05, .maxval = 0.05, .scale = class->scale, .gain = 1.0};
    char at[MST_CONFIG_PATH_BYTES];
    snprintf(at, sizeof at, "%s.config", path);
    MST_TRY(mst_config_fields(object.config, at, class->fields, class->n_fields, &config, err));
    *out = (struct mst_initializer){.kind = class->kind,
                                    .mode = class->mode,
                                    .distribution = class->distribution,
                                    .has_seed = config.seed.given,
                                    .seed = config.seed.value,
                                    .class_name = class->class_name};
    switch (class->kind) {
    case MST_INIT_CONSTANT:
        out->a = config.value;
        return MST_OK;
    case MST_INIT_IDENTITY:
    case MST_INIT_ORTHOGONAL:
        out->a = config.gain;
        return MST_OK;
    case MST_INIT_RANDOM_NORMAL:
    case MST_INIT_TRUNCATED_NORMAL:
        out->a = config.mean;
        out->b = config.stddev;
        if (!(config.stddev >= 0))
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s.stddev is %g; it should not be negative", at, config.stddev);
        return MST_OK;
    case MST_INIT_RANDOM_UNIFORM:
        out->a = config.minval;
        out->b = config.maxval;
        if (!(config.minval <= config.maxval))
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s.minval %g is above maxval %g", at, config.minval,
                            config.maxval);
        return MST_OK;
    case MST_INIT_VARIANCE_SCALING:
        return read_scaling(&config, at, out, err);
    case MST_INIT_ZEROS:
    case MST_INIT_ONES:
        return MST_OK;
    }
    return MST_OK;
}
