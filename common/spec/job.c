// The struct of a job from its resolved JSON, in which every key is there and right, so that nothing here can fail.
#include "spec/job.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "spec/job_private.h"
#include "spec/json_source.h"

#include <stdlib.h>

static char *text_at(const json_t *json, const char *path)
{
    const char *text = json_string_value(mst_json_at(json, path));
    return text ? mst_strdup(text) : NULL;
}

// null is 0.
static uint64_t integer_at(const json_t *json, const char *path)
{
    return (uint64_t)json_integer_value(mst_json_at(json, path));
}

static double number_at(const json_t *json, const char *path)
{
    return json_number_value(mst_json_at(json, path));
}

static bool bool_at(const json_t *json, const char *path)
{
    return json_is_true(mst_json_at(json, path));
}

static struct mst_partitioner partitioner_of(const json_t *json)
{
    if (!json_is_object(json))
        return (struct mst_partitioner){.kind = MST_PARTITIONER_NONE};
    return (struct mst_partitioner){
        .kind = mst_partitioner_kind_of(json_string_value(json_object_get(json, "class_name"))),
        .num_shards = integer_at(json, "config.num_shards"),
        .min_shard_bytes = integer_at(json, "config.min_shard_bytes"),
        .max_shard_bytes = integer_at(json, "config.max_shard_bytes"),
        .max_shards = integer_at(json, "config.max_shards"),
        .bytes_per_string = integer_at(json, "config.bytes_per_string"),
    };
}

static enum mst_consistency consistency_of(const json_t *staleness)
{
    if (!json_is_integer(staleness))
        return MST_CONSISTENCY_ASYNC;
    return json_integer_value(staleness) == 0 ? MST_CONSISTENCY_SYNCHRONOUS : MST_CONSISTENCY_BOUNDED;
}

static struct mst_job *job_of(const char *file, json_t *json)
{
    struct mst_job *job = mst_alloc(sizeof *job);
    *job = (struct mst_job){
        .file = mst_strdup(file),
        .name = text_at(json, "name"),
        .model_path = text_at(json, "model"),
        .init_from = text_at(json, "init_from"),
        .compile = json_incref(json_object_get(json, "compile")),
        .class_weight = json_incref(json_object_get(json, "class_weight")),
        .train = mst_job_data_of(mst_json_at(json, "data.train")),
        .eval = mst_job_data_of(mst_json_at(json, "data.eval")),
        .batch_size = integer_at(json, "batch_size"),
        .epochs = integer_at(json, "epochs"),
        .steps = integer_at(json, "steps"),
        .seed = integer_at(json, "seed"),
        .consistency = consistency_of(mst_json_at(json, "consistency.staleness")),
        .staleness = integer_at(json, "consistency.staleness"),
        .backup_workers = integer_at(json, "consistency.backup_workers"),
        .round_workers = integer_at(json, "consistency.workers"),
        .accumulate_steps = integer_at(json, "consistency.accumulate_steps"),
        .partitioner = partitioner_of(json_object_get(json, "partitioner")),
        .replicas = integer_at(json, "replicas"),
        .checkpoint_dir = text_at(json, "checkpoint.dir"),
        .checkpoint_every_steps = integer_at(json, "checkpoint.every_steps"),
        .checkpoint_every_seconds = number_at(json, "checkpoint.every_seconds"),
        .checkpoint_keep = integer_at(json, "checkpoint.keep"),
        .checkpoint_resume = bool_at(json, "checkpoint.resume"),
        .checkpoint_local = bool_at(json, "checkpoint.local"),
        .checkpoint_max_bytes_per_second = integer_at(json, "checkpoint.max_bytes_per_second"),
        .eval_every_epoch = json_is_string(mst_json_at(json, "eval.every")),
        .eval_every_steps = integer_at(json, "eval.every"),
        .eval_final_timeout_seconds = number_at(json, "eval.final_timeout"),
        .heartbeat_ms = integer_at(json, "cluster.heartbeat_ms"),
        .lease_ms = integer_at(json, "cluster.lease_ms"),
        .absence_ms = integer_at(json, "cluster.absence_ms"),
        .adds_checksums = bool_at(json, "cluster.checksums"),
        .output_dir = text_at(json, "output.dir"),
        .output_keras = bool_at(json, "output.keras"),
        .resolved = json,
    };
    job->checkpoint_chief_dir =
        job->checkpoint_local ? mst_text("%s/chief", job->checkpoint_dir) : mst_strdup(job->checkpoint_dir);
    job->callbacks = mst_job_callbacks_of(json_object_get(json, "callbacks"), &job->n_callbacks);
    return job;
}

static mst_status job_of_json(const struct mst_job_request *request, json_t *json, struct mst_job **out,
                              struct mst_error *err)
{
    json_t *resolved = NULL;
    if (json_object_get(json, "class_name") && json_object_get(json, "config")) {
        json_decref(json);
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "%s: this is a Keras model; a job is a file of its own, which names it as \"model\"",
                        request->path);
    }
    MST_TRY(mst_job_resolve(request, json, &resolved, err));
    *out = job_of(request->path, resolved);
    return MST_OK;
}

mst_status mst_job_load(const struct mst_job_request *request, struct mst_job **out, struct mst_error *err)
{
    *out = NULL;
    json_t *json = NULL;
    MST_TRY(mst_json_load_file(request->path, &json, err));
    return job_of_json(request, json, out, err);
}

mst_status mst_job_parse(const struct mst_job_request *request, const char *text, size_t len, struct mst_job **out,
                         struct mst_error *err)
{
    *out = NULL;
    json_t *json = NULL;
    MST_TRY(mst_json_parse(text, len, request->path, &json, err));
    return job_of_json(request, json, out, err);
}

mst_status mst_job_check_ps(const struct mst_job *job, size_t n_ps, struct mst_error *err)
{
    if (job->replicas == 0 || job->replicas < n_ps)
        return MST_OK;
    return mst_fail(err, MST_INVALID_ARGUMENT,
                    "replicas is %llu, must be less than the number of parameter servers, which is %zu: start more of "
                    "them, or set less (in %s or with --set)",
                    (unsigned long long)job->replicas, n_ps, job->file);
}

void mst_job_free(struct mst_job *job)
{
    if (!job)
        return;
    mst_job_data_fini(&job->train);
    mst_job_data_fini(&job->eval);
    free(job->file);
    free(job->name);
    free(job->model_path);
    free(job->init_from);
    free(job->checkpoint_dir);
    free(job->checkpoint_chief_dir);
    free(job->output_dir);
    mst_job_callbacks_free(job->callbacks, job->n_callbacks);
    json_decref(job->compile);
    json_decref(job->class_weight);
    json_decref(job->resolved);
    free(job);
}

static uint64_t hash_json(const json_t *json, uint64_t seed)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    MST_ASSERT(text);
    uint64_t hash = mst_hash_text(text, seed);
    free(text);
    return hash;
}

mst_status mst_job_hash(const struct mst_job *job, const char *model_text, size_t model_len, uint64_t *out,
                        struct mst_error *err)
{
    *out = 0;
    json_t *model = NULL;
    MST_TRY(mst_json_parse(model_text, model_len, job->model_path, &model, err));
    // Two hosts may keep the same files in different places, and only the chief writes.
    static const char *const places[] = {"model", "init_from", "checkpoint", "output"};
    static const char *const data_sets[] = {"data.train", "data.eval"};
    json_t *json = json_deep_copy(job->resolved);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        json_object_del(json, places[i]);
    for (size_t i = 0; i < sizeof data_sets / sizeof data_sets[0]; i++)
        mst_job_data_strip(mst_json_at(json, data_sets[i]));
    mst_job_callbacks_strip(json_object_get(json, "callbacks"));
    *out = hash_json(model, hash_json(json, 0));
    json_decref(json);
    json_decref(model);
    return MST_OK;
}
