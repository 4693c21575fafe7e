// From the file and the --set arguments to the resolved job: a JSON value in which every key of the table stands, in
// its order, and every path is absolute. Reading it again gives the same job, so it can be printed and used as a file.
#include "spec/job_private.h"

#include "base/alloc.h"
#include "base/error.h"
#include "spec/json_source.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The key paths that --set gave, by which errors know whom to blame and paths what they are relative to.
struct sets {
    const char *file;
    char **paths;
    size_t n_paths;
};

static bool is_under(const char *path, const char *set)
{
    size_t len = strlen(set);
    return strncmp(path, set, len) == 0 && (path[len] == '\0' || path[len] == '.');
}

static bool is_set(const struct sets *sets, const char *path)
{
    for (size_t i = 0; i < sets->n_paths; i++) {
        if (is_under(path, sets->paths[i]))
            return true;
    }
    return false;
}

static const char *source_of(const char *path, void *context)
{
    const struct sets *sets = context;
    return is_set(sets, path) ? "--set" : sets->file;
}

static mst_status apply_set(const char *set, json_t *json, struct sets *sets, struct mst_error *err)
{
    const char *equals = strchr(set, '=');
    if (!equals || equals == set)
        return mst_fail(err, MST_INVALID_ARGUMENT, "--set \"%.200s\": write key=value, as in --set batch_size=64", set);
    char *path = mst_alloc((size_t)(equals - set) + 1);
    memcpy(path, set, (size_t)(equals - set));
    sets->paths[sets->n_paths++] = path;
    json_t *value = NULL;
    if (mst_json_parse(equals + 1, strlen(equals + 1), "--set", &value, NULL) != MST_OK)
        value = json_string(equals + 1); // not JSON, so a text
    if (!value)
        return mst_fail(err, MST_INVALID_ARGUMENT, "--set %.200s: the value is not UTF-8", path);
    mst_status status = mst_json_put(json, path, value, err);
    return status == MST_OK ? MST_OK : mst_fail_prefix(err, status, "--set");
}

// On the command line one of them replaces the file's other one; both in one place contradict each other.
static mst_status choose_epochs_or_steps(json_t *json, const struct sets *sets, struct mst_error *err)
{
    bool sets_epochs = is_set(sets, "epochs"), sets_steps = is_set(sets, "steps");
    json_t *epochs = json_object_get(json, "epochs"), *steps = json_object_get(json, "steps");
    if (!epochs || !steps || json_is_null(epochs) || json_is_null(steps)) {
        if (steps && !json_is_null(steps))
            json_object_set_new(json, "epochs", json_null());
        else if (epochs && json_is_null(epochs))
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s: epochs is null and steps is not given: give one of them",
                            sets->file);
        return MST_OK;
    }
    if (sets_epochs == sets_steps)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: epochs and steps are both given: give one of them",
                        sets_epochs ? "--set" : sets->file);
    json_object_set_new(json, sets_steps ? "epochs" : "steps", json_null());
    return MST_OK;
}

enum mst_partitioner_kind mst_partitioner_kind_of(const char *class_name)
{
    for (enum mst_partitioner_kind kind = MST_PARTITIONER_FIXED_SHARDS; kind <= MST_PARTITIONER_MAX_SIZE; kind++) {
        if (strcmp(class_name, mst_partitioner_name(kind)) == 0)
            return kind;
    }
    return MST_PARTITIONER_NONE;
}

static mst_status check_data(json_t *json, const char *key, struct sets *sets, struct mst_error *err)
{
    json_t *data = mst_json_at(json, key);
    return json_is_object(data) ? mst_job_data_check(data, key, source_of(key, sets), err) : MST_OK;
}

// The name stands in every greeting, in logs and on terminals.
static mst_status check_name(const json_t *json, const struct sets *sets, struct mst_error *err)
{
    const char *name = json_string_value(json_object_get(json, "name"));
    for (const char *at = name; at && *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "%s: name holds the control character 0x%02x; write it without line ends, tabs and the "
                            "like",
                            is_set(sets, "name") ? "--set" : sets->file, (unsigned)*at);
    }
    return MST_OK;
}

// Keys of synchronous rounds mean nothing without them.
static mst_status check_consistency(const json_t *json, struct sets *sets, struct mst_error *err)
{
    static const char *const of_rounds[] = {"consistency.backup_workers", "consistency.workers"};
    const json_t *staleness = mst_json_at(json, "consistency.staleness");
    double values[2];
    for (size_t i = 0; i < 2; i++) {
        values[i] = json_number_value(mst_json_at(json, of_rounds[i]));
        if (values[i] != 0 && !(json_is_number(staleness) && json_number_value(staleness) == 0))
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "%s: %s is for synchronous rounds: leave it out, or set consistency.staleness to 0",
                            source_of(of_rounds[i], sets), of_rounds[i]);
    }
    if (values[1] != 0 && values[0] >= values[1])
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s: consistency.backup_workers is %.0f, must be less than consistency.workers, which is %.0f",
                        source_of(of_rounds[0], sets), values[0], values[1]);
    return MST_OK;
}

// The chief makes files of the weights of a checkpoint; of parts elsewhere it has only those of the last one.
static mst_status check_local(json_t *json, struct sets *sets, struct mst_error *err)
{
    const json_t *callbacks = json_object_get(json, "callbacks");
    size_t i;
    json_t *callback;
    if (!json_is_true(mst_json_at(json, "checkpoint.local")))
        return MST_OK;
    json_array_foreach(callbacks, i, callback)
    {
        const char *name = json_string_value(json_object_get(callback, "class_name"));
        bool restores = json_is_true(mst_json_at(callback, "config.restore_best_weights"));
        if (restores || (name && strcmp(name, mst_callback_name(MST_CALLBACK_MODEL_CHECKPOINT)) == 0))
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "%s: callbacks[%zu]: %s needs the checkpoint of the best epoch, which checkpoint.local "
                            "leaves in parts: use a checkpoint.dir that all share",
                            source_of("checkpoint.local", sets), i, restores ? "restore_best_weights" : name);
    }
    return MST_OK;
}

// What copies on other servers do not go with.
static mst_status check_replicas(json_t *json, struct sets *sets, struct mst_error *err)
{
    if (json_integer_value(json_object_get(json, "replicas")) == 0)
        return MST_OK;
    if (json_is_true(mst_json_at(json, "checkpoint.local")))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s: checkpoint.local keeps each server's part on its own disk, and with replicas shards move "
                        "to other servers: use a checkpoint.dir that all share",
                        source_of("checkpoint.local", sets));
    return MST_OK;
}

// What one table cannot say: a partitioner's arguments by its class, the parts of compile, and how two keys go
// together.
static mst_status check_rest(json_t *json, struct sets *sets, struct mst_error *err)
{
    static const char *const needed[] = {"optimizer", "loss"};
    MST_TRY(check_name(json, sets, err));
    MST_TRY(check_consistency(json, sets, err));
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        const json_t *part = json_object_get(json_object_get(json, "compile"), needed[i]);
        if (!part || json_is_null(part))
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s: compile.%s is missing: say it as Keras serialises it",
                            sets->file, needed[i]);
    }
    MST_TRY(check_data(json, "data.train", sets, err));
    MST_TRY(check_data(json, "data.eval", sets, err));
    MST_TRY(mst_job_callbacks_check(json_object_get(json, "callbacks"), source_of("callbacks", sets), err));
    MST_TRY(check_local(json, sets, err));
    MST_TRY(check_replicas(json, sets, err));
    json_t *partitioner = json_object_get(json, "partitioner");
    if (json_is_object(partitioner)) {
        const char *class_name = json_string_value(json_object_get(partitioner, "class_name"));
        const struct mst_schema *schema = mst_partitioner_schema(mst_partitioner_kind_of(class_name));
        json_t *config = json_object_get(partitioner, "config");
        MST_TRY(mst_schema_check(schema, config, source_of, sets, err));
        mst_schema_fill(schema, config);
    }
    json_int_t heartbeat_ms = json_integer_value(mst_json_at(json, "cluster.heartbeat_ms"));
    json_int_t lease_ms = json_integer_value(mst_json_at(json, "cluster.lease_ms"));
    if (lease_ms < 2 * heartbeat_ms)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s: cluster.lease_ms is %lld, must be at least two heartbeats (cluster.heartbeat_ms is %lld)",
                        source_of("cluster.lease_ms", sets), (long long)lease_ms, (long long)heartbeat_ms);
    return MST_OK;
}

static char *absolute(const char *path, const char *dir)
{
    while (path[0] == '.' && path[1] == '/') {
        path += 2;
        path += strspn(path, "/");
    }
    if (path[0] == '/')
        return mst_strdup(path);
    if (path[0] == '\0' || strcmp(path, ".") == 0)
        return mst_strdup(dir);
    return mst_text("%s%s%s", dir, strcmp(dir, "/") == 0 ? "" : "/", path);
}

static char *dir_of(const char *file, const char *current_dir)
{
    char *whole = absolute(file, current_dir);
    char *slash = strrchr(whole, '/');
    slash[slash == whole ? 1 : 0] = '\0';
    return whole;
}

// One path, or one of several under names.
static mst_status resolve_path(json_t *object, const char *leaf, const char *path, const char *dir, const char *source,
                               struct mst_error *err)
{
    char *whole = absolute(json_string_value(json_object_get(object, leaf)), dir);
    mst_status status = MST_OK;
    if (strlen(whole) >= PATH_MAX)
        status = mst_fail(err, MST_INVALID_ARGUMENT, "%s: %.200s has %zu characters, the limit is %d", source, path,
                          strlen(whole), PATH_MAX - 1);
    else
        json_object_set_new(object, leaf, json_string(whole));
    free(whole);
    return status;
}

struct folders {
    const char *of_file;
    const char *current;
};

static mst_status resolve_key(json_t *json, const char *path, const struct sets *sets, const struct folders *folders,
                              struct mst_error *err)
{
    const char *dot = strrchr(path, '.');
    char *parent = mst_text("%.*s", (int)(dot ? dot - path : 0), path);
    json_t *object = mst_json_at(json, parent);
    free(parent);
    const char *leaf = dot ? dot + 1 : path;
    json_t *value = json_object_get(object, leaf);
    if (json_is_string(value))
        return resolve_path(object, leaf, path, is_set(sets, path) ? folders->current : folders->of_file,
                            source_of(path, (void *)sets), err);
    const char *name;
    json_t *member;
    mst_status status = MST_OK;
    json_object_foreach(value, name, member)
    {
        char *whole = mst_text("%s.%s", path, name);
        if (status == MST_OK)
            status = resolve_path(value, name, whole, is_set(sets, whole) ? folders->current : folders->of_file,
                                  source_of(whole, (void *)sets), err);
        free(whole);
    }
    return status;
}

static mst_status resolve_callback_paths(json_t *json, const struct sets *sets, const struct folders *folders,
                                         struct mst_error *err)
{
    json_t *callbacks = json_object_get(json, "callbacks");
    const char *dir = is_set(sets, "callbacks") ? folders->current : folders->of_file;
    for (size_t i = 0; i < json_array_size(callbacks); i++) {
        json_t *config = json_object_get(json_array_get(callbacks, i), "config");
        for (const char *const *key = mst_job_callback_paths(); *key; key++) {
            if (json_object_get(config, *key))
                MST_TRY(resolve_path(config, *key, *key, dir, source_of("callbacks", (void *)sets), err));
        }
    }
    return MST_OK;
}

static mst_status resolve_paths(json_t *json, const struct sets *sets, const char *file_dir, const char *current_dir,
                                struct mst_error *err)
{
    const struct mst_schema *schema = mst_job_schema();
    const struct folders folders = {file_dir, current_dir};
    for (size_t i = 0; i < schema->n_keys; i++) {
        if (schema->keys[i].types & MST_TYPE_PATH)
            MST_TRY(resolve_key(json, schema->keys[i].path, sets, &folders, err));
    }
    MST_TRY(resolve_callback_paths(json, sets, &folders, err));
    if (json_is_string(mst_json_at(json, "checkpoint.dir")))
        return MST_OK;
    char *dir = absolute("ckpt", json_string_value(mst_json_at(json, "output.dir")));
    mst_status status = mst_json_put(json, "checkpoint.dir", json_string(dir), err);
    free(dir);
    return status;
}

static mst_status resolve(const struct mst_job_request *request, json_t *json, struct sets *sets,
                          const char *current_dir, struct mst_error *err)
{
    if (!json_is_object(json))
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: must be a JSON object, not %s", request->path,
                        mst_json_type_text(json));
    for (size_t i = 0; i < request->n_sets; i++)
        MST_TRY(apply_set(request->sets[i], json, sets, err));
    MST_TRY(mst_schema_check(mst_job_schema(), json, source_of, sets, err));
    MST_TRY(choose_epochs_or_steps(json, sets, err));
    mst_schema_fill(mst_job_schema(), json);
    MST_TRY(check_rest(json, sets, err));
    char *file_dir = dir_of(request->path, current_dir);
    mst_status status = resolve_paths(json, sets, file_dir, current_dir, err);
    free(file_dir);
    return status;
}

mst_status mst_job_resolve(const struct mst_job_request *request, json_t *json, json_t **out, struct mst_error *err)
{
    *out = NULL;
    struct sets sets = {.file = request->path, .paths = mst_alloc_array(request->n_sets + 1, sizeof(char *))};
    char here[PATH_MAX] = "";
    mst_status status = MST_OK;
    if (!request->current_dir && !getcwd(here, sizeof here))
        status = mst_fail(err, MST_INVALID_ARGUMENT, "%s: the current directory is not known: %s", request->path,
                          strerror(errno));
    if (status == MST_OK)
        status = resolve(request, json, &sets, request->current_dir ? request->current_dir : here, err);
    for (size_t i = 0; i < sets.n_paths; i++)
        free(sets.paths[i]);
    free(sets.paths);
    if (status == MST_OK)
        *out = json;
    else
        json_decref(json);
    return status;
}
