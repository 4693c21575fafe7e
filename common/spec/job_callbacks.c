// The list `callbacks`: a table of options for each class, checked and filled in as the job's own table is; what the
// tables cannot say (a factor below 1, one character) is checked by hand.
#include "spec/callback.h"

#include "base/alloc.h"
#include "base/error.h"
#include "spec/job_private.h"
#include "spec/json_source.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MAX_EPOCHS   1000000000

// What callbacks that watch a value have in common.
#define MONITOR_KEYS                                                                                                   \
    {.path = "config.monitor",                                                                                         \
     .types = MST_TYPE_TEXT,                                                                                           \
     .default_json = "\"val_loss\"",                                                                                   \
     .max_characters = 200,                                                                                            \
     .doc = "What is watched: loss or a metric of the epoch's training, or with val_ before it of its validation."},   \
        {.path = "config.mode",                                                                                        \
         .types = MST_TYPE_TEXT,                                                                                       \
         .default_json = "\"auto\"",                                                                                   \
         .choices = "auto|min|max",                                                                                    \
         .doc = "Whether less or more is better; auto: by the name of what is watched."},                              \
        {.path = "config.verbose",                                                                                     \
         .types = MST_TYPE_INTEGER | MST_TYPE_BOOL,                                                                    \
         .default_json = "0",                                                                                          \
         .min = 0,                                                                                                     \
         .max = 1,                                                                                                     \
         .doc = "Accepted as Keras has it; the log tells what a callback does in any case."}

static const struct mst_schema_key early_stopping_keys[] = {
    MONITOR_KEYS,
    {.path = "config.min_delta",
     .types = MST_TYPE_NUMBER,
     .default_json = "0",
     .doc = "The least change that counts as better."},
    {.path = "config.patience",
     .types = MST_TYPE_INTEGER,
     .default_json = "0",
     .min = 0,
     .max = MAX_EPOCHS,
     .doc = "Epochs in a row that may be no better before the training is stopped."},
    {.path = "config.baseline",
     .types = MST_TYPE_NUMBER | MST_TYPE_NULL,
     .default_json = "null",
     .doc = "A value that has to be passed for an epoch to count as better; null: none."},
    {.path = "config.restore_best_weights",
     .types = MST_TYPE_BOOL,
     .default_json = "false",
     .doc = "Whether the trained model is that of the best epoch."},
    {.path = "config.start_from_epoch",
     .types = MST_TYPE_INTEGER,
     .default_json = "0",
     .min = 0,
     .max = MAX_EPOCHS,
     .doc = "Epochs that are not looked at."},
};

static const struct mst_schema_key plateau_keys[] = {
    MONITOR_KEYS,
    {.path = "config.factor",
     .types = MST_TYPE_NUMBER,
     .default_json = "0.1",
     .min = 0,
     .max = 1,
     .doc = "What the learning rate is multiplied by; below 1."},
    {.path = "config.patience",
     .types = MST_TYPE_INTEGER,
     .default_json = "10",
     .min = 0,
     .max = MAX_EPOCHS,
     .doc = "Epochs in a row that may be no better before the learning rate is reduced."},
    {.path = "config.min_delta",
     .types = MST_TYPE_NUMBER,
     .default_json = "0.0001",
     .doc = "The least change that counts as better."},
    {.path = "config.cooldown",
     .types = MST_TYPE_INTEGER,
     .default_json = "0",
     .min = 0,
     .max = MAX_EPOCHS,
     .doc = "Epochs after a reduction that are not counted."},
    {.path = "config.min_lr",
     .types = MST_TYPE_NUMBER,
     .default_json = "0.0",
     .min = 0,
     .max = MAX_EPOCHS,
     .doc = "The learning rate is not reduced below this."},
};

static const struct mst_schema_key checkpoint_keys[] = {
    {.path = "config.filepath",
     .types = MST_TYPE_PATH,
     .is_required = true,
     .doc = "The .keras archive that the best epoch's model is written to when the job ends."},
    MONITOR_KEYS,
    {.path = "config.save_best_only",
     .types = MST_TYPE_BOOL,
     .is_required = true,
     .doc = "Must be true: checkpoint.every_steps saves at intervals."},
    {.path = "config.save_weights_only",
     .types = MST_TYPE_BOOL,
     .default_json = "false",
     .only = "what is written is a whole model",
     .doc = "Whether only weights are written."},
    {.path = "config.save_freq",
     .types = MST_TYPE_TEXT | MST_TYPE_INTEGER,
     .default_json = "\"epoch\"",
     .only = "the best is looked for at the ends of epochs",
     .doc = "When it is looked for."},
    {.path = "config.initial_value_threshold",
     .types = MST_TYPE_NUMBER | MST_TYPE_NULL,
     .default_json = "null",
     .doc = "A value that has to be passed for the first epoch to count as best; null: none."},
};

static const struct mst_schema_key csv_logger_keys[] = {
    {.path = "config.filename",
     .types = MST_TYPE_PATH,
     .is_required = true,
     .doc = "The file that gets a line for each epoch."},
    {.path = "config.separator",
     .types = MST_TYPE_TEXT,
     .default_json = "\",\"",
     .max_characters = 1,
     .doc = "The one character between two fields."},
    {.path = "config.append",
     .types = MST_TYPE_BOOL,
     .default_json = "false",
     .doc = "Whether the lines are added to a file that is there; else it is emptied."},
};

static const struct mst_schema_key terminate_keys[] = {
    {.path = "config.raise_error",
     .types = MST_TYPE_BOOL,
     .default_json = "false",
     .doc = "Accepted as Keras has it; weights that are no numbers fail the job in any case."},
};

static const struct {
    const char *name;
    struct mst_schema schema;
} kinds[MST_CALLBACK_N_KINDS] = {
    [MST_CALLBACK_EARLY_STOPPING] = {"EarlyStopping", {"config", early_stopping_keys, COUNT(early_stopping_keys)}},
    [MST_CALLBACK_REDUCE_LR_ON_PLATEAU] = {"ReduceLROnPlateau", {"config", plateau_keys, COUNT(plateau_keys)}},
    [MST_CALLBACK_MODEL_CHECKPOINT] = {"ModelCheckpoint", {"config", checkpoint_keys, COUNT(checkpoint_keys)}},
    [MST_CALLBACK_CSV_LOGGER] = {"CSVLogger", {"config", csv_logger_keys, COUNT(csv_logger_keys)}},
    [MST_CALLBACK_TERMINATE_ON_NAN] = {"TerminateOnNaN", {"config", terminate_keys, COUNT(terminate_keys)}},
};

const char *mst_callback_name(enum mst_callback_kind kind)
{
    return kinds[kind].name;
}

const struct mst_schema *mst_callback_schema(enum mst_callback_kind kind)
{
    return kinds[kind].schema.n_keys ? &kinds[kind].schema : NULL;
}

// ---- checking ----

// Where one stands: "job.json: callbacks[0]".
static const char *source_of(const char *path, void *context)
{
    (void)path;
    return context;
}

static bool find_kind(const char *name, enum mst_callback_kind *out)
{
    for (size_t i = 0; name && i < COUNT(kinds); i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            *out = (enum mst_callback_kind)i;
            return true;
        }
    }
    return false;
}

static mst_status refuse_class(const json_t *class_name, const char *source, struct mst_error *err)
{
    char known[160] = "";
    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (!mst_callback_schema((enum mst_callback_kind)i))
            continue;
        strncat(known, i ? "|" : "", sizeof known - strlen(known) - 1);
        strncat(known, kinds[i].name, sizeof known - strlen(known) - 1);
    }
    if (json_is_string(class_name))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: class_name is \"%.40s\", must be one of: %s", source,
                        json_string_value(class_name), known);
    return mst_fail(err, MST_INVALID_ARGUMENT, "%s: class_name is %s, must be one of: %s", source,
                    class_name ? mst_json_type_text(class_name) : "missing", known);
}

static mst_status check_checkpoint(const json_t *config, const char *source, struct mst_error *err)
{
    const char *path = json_string_value(json_object_get(config, "filepath"));
    size_t len = strlen(path);
    if (!json_is_true(json_object_get(config, "save_best_only")))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s: config.save_best_only must be true; checkpoint.every_steps saves at intervals", source);
    if (len < 6 || strcmp(path + len - 6, ".keras") != 0 || strchr(path, '{'))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s: config.filepath is \"%.60s\", must end in .keras and have no {…} in it: the best model is "
                        "written to one file",
                        source, path);
    return MST_OK;
}

static mst_status check_config(enum mst_callback_kind kind, const json_t *config, const char *source,
                               struct mst_error *err)
{
    const char *separator = json_string_value(json_object_get(config, "separator"));
    double factor = json_number_value(json_object_get(config, "factor"));
    if (kind == MST_CALLBACK_MODEL_CHECKPOINT)
        return check_checkpoint(config, source, err);
    if (kind == MST_CALLBACK_REDUCE_LR_ON_PLATEAU && factor >= 1)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: config.factor is %g, must be below 1", source, factor);
    if (kind == MST_CALLBACK_CSV_LOGGER && separator && (strlen(separator) != 1 || strchr("\r\n\"", separator[0])))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s: config.separator must be one character of ASCII, neither a quotation mark nor a new line",
                        source);
    return MST_OK;
}

static mst_status check_one(json_t *callback, const char *source, struct mst_error *err)
{
    enum mst_callback_kind kind;
    const char *name;
    json_t *value;
    if (!json_is_object(callback))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s must be an object {\"class_name\", \"config\"}, not %s", source,
                        mst_json_type_text(callback));
    json_object_foreach(callback, name, value)
    {
        if (strcmp(name, "class_name") != 0 && strcmp(name, "config") != 0)
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s: %.60s is not known; known here: class_name, config", source,
                            name);
    }
    if (!find_kind(json_string_value(json_object_get(callback, "class_name")), &kind) || !mst_callback_schema(kind))
        return refuse_class(json_object_get(callback, "class_name"), source, err);
    if (!json_object_get(callback, "config"))
        json_object_set_new(callback, "config", json_object());
    json_t *config = json_object_get(callback, "config");
    const struct mst_schema *schema = mst_callback_schema(kind);
    if (!json_is_object(config))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: config is %s, must be an object", source,
                        mst_json_type_text(config));
    MST_TRY(mst_schema_check(schema, config, source_of, (void *)source, err));
    mst_schema_fill(schema, config);
    return check_config(kind, config, source, err);
}

mst_status mst_job_callbacks_check(json_t *callbacks, const char *source, struct mst_error *err)
{
    if (json_array_size(callbacks) > MST_CALLBACKS_MAX)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: callbacks has %zu elements, the limit is %d", source,
                        json_array_size(callbacks), MST_CALLBACKS_MAX);
    for (size_t i = 0; i < json_array_size(callbacks); i++) {
        char *where = mst_text("%s: callbacks[%zu]", source, i);
        mst_status status = check_one(json_array_get(callbacks, i), where, err);
        free(where);
        if (status != MST_OK)
            return status;
    }
    return MST_OK;
}

const char *const *mst_job_callback_paths(void)
{
    static const char *const keys[] = {"filename", "filepath", NULL};
    return keys;
}

void mst_job_callbacks_strip(json_t *callbacks)
{
    for (size_t i = 0; i < json_array_size(callbacks); i++) {
        json_t *config = json_object_get(json_array_get(callbacks, i), "config");
        for (const char *const *key = mst_job_callback_paths(); *key; key++)
            json_object_del(config, *key);
    }
}

// ---- reading what is checked ----

static char *text_of(const json_t *config, const char *key)
{
    const char *text = json_string_value(json_object_get(config, key));
    return text ? mst_strdup(text) : NULL;
}

static enum mst_monitor_mode mode_of(const json_t *config)
{
    const char *mode = json_string_value(json_object_get(config, "mode"));
    if (!mode || strcmp(mode, "auto") == 0)
        return MST_MONITOR_AUTO;
    return strcmp(mode, "min") == 0 ? MST_MONITOR_MIN : MST_MONITOR_MAX;
}

static struct mst_job_callback callback_of(const json_t *json)
{
    const json_t *config = json_object_get(json, "config");
    const char *separator = json_string_value(json_object_get(config, "separator"));
    const json_t *baseline = json_object_get(config, "baseline");
    if (!baseline)
        baseline = json_object_get(config, "initial_value_threshold");
    struct mst_job_callback callback = {
        .monitor = text_of(config, "monitor"),
        .mode = mode_of(config),
        .min_delta = json_number_value(json_object_get(config, "min_delta")),
        .patience = (uint64_t)json_integer_value(json_object_get(config, "patience")),
        .has_baseline = json_is_number(baseline),
        .baseline = json_number_value(baseline),
        .restores_best = json_is_true(json_object_get(config, "restore_best_weights")),
        .start_from_epoch = (uint64_t)json_integer_value(json_object_get(config, "start_from_epoch")),
        .factor = json_number_value(json_object_get(config, "factor")),
        .min_lr = json_number_value(json_object_get(config, "min_lr")),
        .cooldown = (uint64_t)json_integer_value(json_object_get(config, "cooldown")),
        .path = text_of(config, json_object_get(config, "filename") ? "filename" : "filepath"),
        .separator = separator ? separator[0] : '\0',
        .appends = json_is_true(json_object_get(config, "append")),
    };
    bool is_known = find_kind(json_string_value(json_object_get(json, "class_name")), &callback.kind);
    MST_ASSERT(is_known); // checked
    return callback;
}

struct mst_job_callback *mst_job_callbacks_of(const json_t *callbacks, size_t *n_out)
{
    *n_out = json_array_size(callbacks);
    struct mst_job_callback *all = mst_alloc_array(*n_out + 1, sizeof *all);
    for (size_t i = 0; i < *n_out; i++)
        all[i] = callback_of(json_array_get(callbacks, i));
    return all;
}

void mst_job_callbacks_free(struct mst_job_callback *callbacks, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(callbacks[i].monitor);
        free(callbacks[i].path);
    }
    free(callbacks);
}
