#include "cli/job_context.h"

#include "base/alloc.h"
#include "base/error.h"
#include "chief/callbacks.h"
#include "ckpt/checkpoint_list.h"
#include "cli/job_source.h"
#include "keras/archive.h"
#include "spec/json_source.h"
#include "tfio/disk_file.h"

#include <stdlib.h>
#include <string.h>

static mst_status read_model(struct mst_job_context *context, struct mst_error *err)
{
    const char *path = context->job->model_path;
    mst_status status = mst_keras_is_archive(path) ? mst_keras_read_config(path, &context->model_text, err)
                                                   : mst_disk_read(path, MST_JSON_MAX_BYTES, &context->model_text, err);
    if (status != MST_OK) // what names the model is the configuration, so this is an error of the configuration
        return mst_fail_prefix(err, MST_INVALID_ARGUMENT, "%s: model", context->job->file);
    return mst_model_parse(mst_buf_view(&context->model_text), path, &context->model, err);
}

static mst_status read_sources(struct mst_job_context *context, const char *file, struct mst_error *err)
{
    char *where = mst_text("%s: data.train", file);
    mst_status status =
        mst_job_source_new(&context->job->train, context->model, &context->compile, where, &context->train, err);
    free(where);
    where = mst_text("%s: data.eval", file);
    if (status == MST_OK)
        status = mst_job_source_new(&context->job->eval, context->model, &context->compile, where, &context->eval, err);
    free(where);
    return status;
}

// The chief alone acts on them, but everybody refuses the same jobs.
static mst_status check_callbacks(const struct mst_job_context *context, struct mst_error *err)
{
    const struct mst_job *job = context->job;
    struct mst_callbacks_config config = {.callbacks = job->callbacks,
                                          .n_callbacks = job->n_callbacks,
                                          .compile = &context->compile,
                                          .is_validated = job->eval.format && job->eval_every_epoch,
                                          .has_schedule = mst_optimizer_has_schedule(context->optimizer)};
    struct mst_callbacks *callbacks;
    mst_status status = mst_callbacks_new(&config, &callbacks, err);
    mst_callbacks_free(callbacks);
    return status == MST_OK ? MST_OK : mst_fail_prefix(err, status, "%s", job->file);
}

static mst_status read_all(struct mst_job_context *context, const struct mst_job_request *request,
                           struct mst_error *err)
{
    MST_TRY(mst_job_load(request, &context->job, err));
    MST_TRY(read_model(context, err));
    char *path = mst_text("%s: compile", request->path);
    mst_status status = mst_compile_parse(context->job->compile, path, context->model, &context->compile, err);
    free(path);
    if (status != MST_OK)
        return status;
    path = mst_text("%s: class_weight", request->path);
    status = mst_compile_set_class_weights(&context->compile, context->job->class_weight, path, err);
    free(path);
    if (status != MST_OK)
        return status;
    if (context->compile.n_class_weights > 0 && context->job->train.weights)
        return mst_fail(
            err, MST_INVALID_ARGUMENT,
            "%s: class_weight and data.train.%s cannot be used at the same time, as in Keras: leave one out",
            request->path, strcmp(context->job->train.format, "csv") == 0 ? "sample_weight" : "sample_weights");
    path = mst_text("%s: compile.optimizer", request->path);
    status = mst_optimizer_parse(json_object_get(context->job->compile, "optimizer"), path, &context->optimizer, err);
    free(path);
    if (status != MST_OK)
        return status;
    MST_TRY(read_sources(context, request->path, err));
    MST_TRY(check_callbacks(context, err));
    return mst_job_hash(context->job, (const char *)context->model_text.data, context->model_text.len, &context->hash,
                        err);
}

mst_status mst_job_context_new(const struct mst_job_request *request, struct mst_job_context **out,
                               struct mst_error *err)
{
    *out = NULL;
    struct mst_job_context *context = mst_alloc(sizeof *context);
    mst_buf_init(&context->model_text, MST_JSON_MAX_BYTES);
    mst_status status = read_all(context, request, err);
    if (status != MST_OK) {
        mst_job_context_free(context);
        return status;
    }
    *out = context;
    return MST_OK;
}

json_t *mst_job_context_describe(const struct mst_job_context *context)
{
    json_t *variables = json_array();
    json_int_t n_elements = 0;
    for (size_t v = 0; v < mst_model_n_variables(context->model); v++) {
        const struct mst_variable *variable = mst_model_variable(context->model, v);
        json_t *shape = json_array();
        for (size_t d = 0; d < variable->shape.rank; d++)
            json_array_append_new(shape, json_integer((json_int_t)variable->shape.dims[d]));
        json_array_append_new(variables, json_pack("{s:s, s:o}", "name", variable->name, "shape", shape));
        n_elements += (json_int_t)variable->n_elements;
    }
    json_t *metrics = json_array();
    for (size_t m = 0; m < context->compile.n_metrics; m++)
        json_array_append_new(metrics, json_string(context->compile.metrics[m].name));
    return json_pack("{s:I, s:o, s:o}", "elements", n_elements, "variables", variables, "metrics", metrics);
}

static bool has_checkpoint(const struct mst_job *job)
{
    char *prefix = NULL;
    uint64_t step;
    bool has = mst_checkpoint_newest(job->checkpoint_chief_dir, NULL, NULL, &prefix, &step, NULL) == MST_OK;
    free(prefix);
    return has;
}

// A Normalization that nobody adapted would pass its input on as it is.
static mst_status check_adapted(const struct mst_job_context *context, struct mst_error *err)
{
    for (size_t v = 0; v < mst_model_n_variables(context->model); v++) {
        const struct mst_variable *variable = mst_model_variable(context->model, v);
        if (variable->is_adapted)
            return mst_fail(
                err, MST_INVALID_ARGUMENT,
                "%s: model: what the layer \"%s\" learnt by adapt() is not in %s: Keras writes it to weights "
                "alone; give the archive of model.save(\"my.keras\") as model or init_from, or the layer's "
                "mean and variance",
                context->job->file, mst_model_layer_name(context->model, variable->layer), context->job->model_path);
    }
    return MST_OK;
}

mst_status mst_job_context_initial(const struct mst_job_context *context, struct mst_weights **out,
                                   struct mst_error *err)
{
    const struct mst_job *job = context->job;
    struct mst_weights_source source = {.model = context->model, .model_json = mst_buf_view(&context->model_text)};
    *out = NULL;
    source.path = job->init_from;
    if (!source.path && mst_keras_is_archive(job->model_path))
        source.path = job->model_path;
    if (job->checkpoint_resume && has_checkpoint(job))
        return MST_OK;
    if (!source.path)
        return check_adapted(context, err);
    mst_status status = mst_weights_load(&source, out, err);
    if (status == MST_OK)
        return MST_OK;
    // What names the file is the configuration, so one that is not there is an error of the configuration.
    return mst_fail_prefix(err, status == MST_NOT_FOUND ? MST_INVALID_ARGUMENT : status, "%s: %s", job->file,
                           job->init_from ? "init_from" : "model");
}

void mst_job_context_free(struct mst_job_context *context)
{
    if (!context)
        return;
    mst_job_source_free(context->train);
    mst_job_source_free(context->eval);
    mst_optimizer_free(context->optimizer);
    mst_model_free(context->model);
    mst_buf_fini(&context->model_text);
    mst_job_free(context->job);
    free(context);
}
