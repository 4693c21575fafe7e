// Keras's serialisation to struct mst_optimizer and back. One table lists every key of every config: those we read have
// a rule and a place, those of features not built yet name the value that switches them off, so that a job that Keras
// printed with its defaults is read, and one that relies on such a feature is refused by the key's name.
#include "optim/optimizer.h"

#include "base/alloc.h"
#include "base/error.h"
#include "optimizer_private.h"
#include "option.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BUILT_OPTIMIZERS "SGD, Adam, AdamW, Adagrad, RMSprop, Lion, Adamax, Adadelta, Ftrl, Nadam"

// Keras 3's other optimizers and why they are not here. An update is computed element by element, on servers that may
// hold a part of a variable.
static const struct {
    const char *name;
    const char *why;
} other_optimizers[] = {
    {"Adafactor", "it keeps means over whole rows and columns"},
    {"Lamb", "its rate follows the norms of whole variables"},
    {"Muon", "it works on whole matrices"},
    {"ScheduleFreeAdamW", "it evaluates other weights than it trains"},
    {"MultiOptimizer", "one optimizer updates all variables"},
    {"LossScaleOptimizer", "losses are float32 and need no scale"},
};

// What Keras's constructors begin with; everything else is 0.
static const struct mst_optimizer defaults[MST_N_OPTIMIZERS] = {
    [MST_OPTIMIZER_SGD] = {.learning_rate = 0.01},
    [MST_OPTIMIZER_ADAM] = {.learning_rate = 0.001, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-7},
    [MST_OPTIMIZER_ADAMW] =
        {.learning_rate = 0.001, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-7, .weight_decay = 0.004},
    [MST_OPTIMIZER_ADAGRAD] = {.learning_rate = 0.001, .initial_accumulator = 0.1, .epsilon = 1e-7},
    [MST_OPTIMIZER_RMSPROP] = {.learning_rate = 0.001, .rho = 0.9, .epsilon = 1e-7},
    [MST_OPTIMIZER_LION] = {.learning_rate = 0.001, .beta_1 = 0.9, .beta_2 = 0.99},
    [MST_OPTIMIZER_ADAMAX] = {.learning_rate = 0.001, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-7},
    [MST_OPTIMIZER_ADADELTA] = {.learning_rate = 0.001, .rho = 0.95, .epsilon = 1e-7},
    [MST_OPTIMIZER_FTRL] = {.learning_rate = 0.001, .initial_accumulator = 0.1, .learning_rate_power = -0.5},
    [MST_OPTIMIZER_NADAM] = {.learning_rate = 0.001, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-7},
};

enum {
    OF_SGD = 1 << MST_OPTIMIZER_SGD,
    OF_ADAM = 1 << MST_OPTIMIZER_ADAM,
    OF_ADAMW = 1 << MST_OPTIMIZER_ADAMW,
    OF_ADAGRAD = 1 << MST_OPTIMIZER_ADAGRAD,
    OF_RMSPROP = 1 << MST_OPTIMIZER_RMSPROP,
    OF_LION = 1 << MST_OPTIMIZER_LION,
    OF_ADAMAX = 1 << MST_OPTIMIZER_ADAMAX,
    OF_ADADELTA = 1 << MST_OPTIMIZER_ADADELTA,
    OF_FTRL = 1 << MST_OPTIMIZER_FTRL,
    OF_NADAM = 1 << MST_OPTIMIZER_NADAM,
    OF_MOMENTS = OF_ADAM | OF_ADAMW | OF_ADAMAX | OF_NADAM,
    OF_ALL = (1 << MST_N_OPTIMIZERS) - 1
};

#define AT(member) offsetof(struct mst_optimizer, member)

static const struct mst_option options[] = {
    {"learning_rate", OF_ALL, MST_OPTION_NOT_NEGATIVE, AT(learning_rate)},
    {"momentum", OF_SGD | OF_RMSPROP, MST_OPTION_TO_1, AT(momentum)},
    {"nesterov", OF_SGD, MST_OPTION_BOOL, AT(nesterov)},
    {"beta_1", OF_MOMENTS, MST_OPTION_BELOW_1, AT(beta_1)},
    {"beta_2", OF_ADAM | OF_ADAMW | OF_NADAM, MST_OPTION_BELOW_1, AT(beta_2)},
    {"beta_1", OF_LION, MST_OPTION_ABOVE_0_TO_1, AT(beta_1)},
    {"beta_2", OF_LION | OF_ADAMAX, MST_OPTION_TO_1, AT(beta_2)}, // nothing is divided by 1 - beta_2 there
    {"rho", OF_RMSPROP | OF_ADADELTA, MST_OPTION_TO_1, AT(rho)},
    {"centered", OF_RMSPROP, MST_OPTION_BOOL, AT(centered)},
    {"epsilon", OF_MOMENTS | OF_ADAGRAD | OF_RMSPROP | OF_ADADELTA, MST_OPTION_NOT_NEGATIVE, AT(epsilon)},
    {"amsgrad", OF_ADAM | OF_ADAMW, MST_OPTION_BOOL, AT(amsgrad)},
    {"initial_accumulator_value", OF_ADAGRAD | OF_FTRL, MST_OPTION_NOT_NEGATIVE, AT(initial_accumulator)},
    {"learning_rate_power", OF_FTRL, MST_OPTION_NOT_POSITIVE, AT(learning_rate_power)},
    {"l1_regularization_strength", OF_FTRL, MST_OPTION_NOT_NEGATIVE, AT(l1)},
    {"l2_regularization_strength", OF_FTRL, MST_OPTION_NOT_NEGATIVE, AT(l2)},
    {"l2_shrinkage_regularization_strength", OF_FTRL, MST_OPTION_NOT_NEGATIVE, AT(l2_shrinkage)},
    {"beta", OF_FTRL, MST_OPTION_NOT_NEGATIVE, AT(beta)},
    {"name", OF_ALL, MST_OPTION_IGNORED, 0},
    {"weight_decay", OF_ADAMW, MST_OPTION_NOT_NEGATIVE, AT(weight_decay)}, // Keras refuses null there
    {"weight_decay", OF_ALL & ~(unsigned)OF_ADAMW, MST_OPTION_OR_OFF, AT(weight_decay)},
    {"clipnorm", OF_ALL, MST_OPTION_OR_OFF, AT(clipnorm)},
    {"global_clipnorm", OF_ALL, MST_OPTION_OR_OFF, AT(global_clipnorm)},
    {"clipvalue", OF_ALL, MST_OPTION_OR_OFF, AT(clipvalue)},
    {"use_ema", OF_ALL, MST_OPTION_ONLY_OFF, 0},
    {"ema_momentum", OF_ALL, MST_OPTION_IGNORED, 0},
    {"ema_overwrite_frequency", OF_ALL, MST_OPTION_IGNORED, 0},
    {"loss_scale_factor", OF_ALL, MST_OPTION_ONLY_NULL, 0},
    {"gradient_accumulation_steps", OF_ALL, MST_OPTION_ONLY_OFF, 0},
    // Keras 2; jit_compile changes no arithmetic of ours
    {"is_legacy_optimizer", OF_ALL, MST_OPTION_OTHER, 0},
    {"jit_compile", OF_ALL, MST_OPTION_IGNORED, 0},
    {"decay", OF_ALL, MST_OPTION_OR_OFF, AT(decay)},
};

enum { N_OPTIONS = sizeof options / sizeof *options };

const struct mst_option *mst_optimizer_options(size_t *n_out)
{
    *n_out = N_OPTIONS;
    return options;
}

const char *mst_optimizer_other(size_t i, const char **why_out)
{
    *why_out = NULL;
    if (i >= sizeof other_optimizers / sizeof *other_optimizers)
        return NULL;
    *why_out = other_optimizers[i].why;
    return other_optimizers[i].name;
}

static mst_status read_legacy(const json_t *value, const char *where, struct mst_optimizer *optimizer,
                              struct mst_error *err)
{
    char text[MST_OPTION_SHOWN_BYTES];
    if (!json_is_boolean(value) && !json_is_null(value))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s is %s; it must be true or false", where,
                        mst_option_show(value, text));
    optimizer->is_legacy = json_is_true(value);
    return MST_OK;
}

static mst_status read_value(const struct mst_option *option, const json_t *value, const char *where,
                             struct mst_optimizer *optimizer, struct mst_error *err)
{
    if (option->rule == MST_OPTION_OTHER)
        return read_legacy(value, where, optimizer, err);
    if (json_is_object(value) && strcmp(option->name, "learning_rate") == 0)
        return mst_schedule_parse(value, where, &optimizer->schedule, err);
    return mst_option_read(option, value, where, optimizer, err);
}

static mst_status read_key(const char *name, const json_t *value, const char *path, struct mst_optimizer *optimizer,
                           struct mst_error *err)
{
    unsigned owner = 1u << optimizer->kind;
    const struct mst_option *option = mst_option_find(options, N_OPTIONS, owner, name);
    if (!option)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.config.%.64s is not an option of %s; the nearest is \"%s\"",
                        path, name, mst_optimizer_name(optimizer), mst_option_nearest(options, N_OPTIONS, owner, name));
    char *where = mst_text("%s.config.%s", path, name);
    mst_status status = read_value(option, value, where, optimizer, err);
    free(where);
    return status;
}

// Keras counts what is given, though it be 0.
static mst_status check_clipping(const json_t *config, const char *path, struct mst_error *err)
{
    static const char *const keys[] = {"clipnorm", "global_clipnorm", "clipvalue"};
    const char *before = NULL;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *value = json_object_get(config, keys[i]);
        if (!value || json_is_null(value))
            continue;
        if (before)
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "%s.config sets both %s and %s; only one of clipnorm, global_clipnorm and clipvalue can be "
                            "set",
                            path, before, keys[i]);
        before = keys[i];
    }
    return MST_OK;
}

static mst_status read_config(const json_t *config, const char *path, struct mst_optimizer *optimizer,
                              struct mst_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)config, name, value) MST_TRY(read_key(name, value, path, optimizer, err));
    return check_clipping(config, path, err);
}

// "SGD", "sgd", "Adam", "adam"; Keras 2 printed "Custom>SGD" for optimizers it had rewritten.
static mst_status read_class(const char *name, const char *path, struct mst_optimizer *optimizer, struct mst_error *err)
{
    const char *bare = strncmp(name, "Custom>", 7) == 0 ? name + 7 : name;
    for (unsigned k = 0; k < MST_N_OPTIMIZERS; k++)
        if (strcasecmp(bare, mst_optimizer_kind_name((enum mst_optimizer_kind)k)) == 0) {
            *optimizer = defaults[k];
            optimizer->kind = (enum mst_optimizer_kind)k;
            optimizer->isa = mst_isa_detect();
            return MST_OK;
        }
    for (size_t i = 0; i < sizeof other_optimizers / sizeof *other_optimizers; i++)
        if (strcasecmp(bare, other_optimizers[i].name) == 0)
            return mst_fail(err, MST_UNIMPLEMENTED,
                            "%s: the optimizer %s is not built: %s; there are " BUILT_OPTIMIZERS, path,
                            other_optimizers[i].name, other_optimizers[i].why);
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

// The optimizers of Keras 2.10 and before, later keras.optimizers.legacy: most compute what those of today do.
static mst_status check_legacy(const json_t *json, const char *path, const struct mst_optimizer *optimizer,
                               struct mst_error *err)
{
    const char *module = json_string_value(json_object_get(json, "module"));
    const json_t *decay = json_object_get(json_object_get(json, "config"), "decay"); // no other optimizer prints it
    bool is_legacy = optimizer->is_legacy || (decay && !json_is_null(decay)) ||
                     (module && strcmp(module, "keras.optimizers.legacy") == 0);
    const char *why = NULL;
    if (optimizer->kind == MST_OPTIMIZER_ADAGRAD ||
        (optimizer->kind == MST_OPTIMIZER_RMSPROP && optimizer->momentum == 0))
        why = "adds epsilon to the square root and not below it";
    else if (optimizer->kind == MST_OPTIMIZER_NADAM)
        why = "has another schedule of momenta, which its decay belongs to";
    if (!is_legacy || !why)
        return MST_OK;
    return mst_fail(err, MST_UNIMPLEMENTED,
                    "%s: Keras 2's legacy %s %s, and is not built; leave out \"decay\", \"is_legacy_optimizer\" and "
                    "\"module\" to take that of today",
                    path, mst_optimizer_name(optimizer), why);
}

static mst_status read_optimizer(const json_t *json, const char *path, struct mst_optimizer *optimizer,
                                 struct mst_error *err)
{
    char text[MST_OPTION_SHOWN_BYTES];
    if (json_is_string(json))
        return read_class(json_string_value(json), path, optimizer, err);
    if (!json_is_object(json))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s is %s; it must be an optimizer's name or {\"class_name\", "
                        "\"config\"}",
                        path, json ? mst_option_show(json, text) : "missing");
    MST_TRY(check_envelope(json, path, err));
    const char *name = json_string_value(json_object_get(json, "class_name"));
    if (!name)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s has no \"class_name\" text; there are " BUILT_OPTIMIZERS, path);
    MST_TRY(read_class(name, path, optimizer, err));
    const json_t *config = json_object_get(json, "config");
    if (!config || json_is_null(config))
        return MST_OK;
    if (!json_is_object(config))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s.config is %s; it must be an object", path,
                        mst_option_show(config, text));
    MST_TRY(read_config(config, path, optimizer, err));
    return check_legacy(json, path, optimizer, err);
}

mst_status mst_optimizer_parse(const json_t *json, const char *path, struct mst_optimizer **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_optimizer *optimizer = mst_alloc(sizeof *optimizer);
    *optimizer = (struct mst_optimizer){0};
    mst_status status = read_optimizer(json, path, optimizer, err);
    if (status != MST_OK) {
        mst_optimizer_free(optimizer);
        return status;
    }
    if (optimizer->kind == MST_OPTIMIZER_SGD && optimizer->momentum == 0)
        optimizer->nesterov = false; // as in Keras it has no effect then
    mst_optimizer_prepare(optimizer);
    *out = optimizer;
    return MST_OK;
}

json_t *mst_optimizer_to_json(const struct mst_optimizer *optimizer)
{
    json_t *config = json_object();
    mst_options_print(options, N_OPTIONS, 1u << optimizer->kind, optimizer, config);
    if (optimizer->schedule)
        json_object_set_new(config, "learning_rate", mst_schedule_to_json(optimizer->schedule));
    json_t *json = json_pack("{s:s, s:o}", "class_name", mst_optimizer_name(optimizer), "config", config);
    MST_ASSERT(json); // only memory can be missing
    return json;
}
