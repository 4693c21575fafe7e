#include "cli/eval.h"

#include "base/cpus.h"
#include "base/error.h"
#include "base/log.h"
#include "chief/evaluate.h"
#include "chief/report.h"
#include "ckpt/checkpoint_list.h"
#include "cli/job_context.h"

#include <stdio.h>
#include <stdlib.h>

static void on_passed(void *context, const char *prefix, const char *why)
{
    (void)context;
    if (mst_log_is_json())
        MST_LOG(WARN, "cli", "checkpoint passed over", "prefix=%s reason=\"%s\"", prefix, why);
    else
        fprintf(stderr, "muster eval: %s passed over: %s\n", prefix, why);
}

static void print_scores(const struct mst_job_context *context, const char *prefix,
                         const struct mst_training_sums *sums)
{
    struct mst_scores scores = mst_scores_of(&context->compile, sums);
    json_t *line = json_pack("{s:s, s:I}", "checkpoint", prefix, "examples", (json_int_t)sums->examples);
    json_t *values = mst_scores_json(&scores);
    json_object_update(line, values);
    json_decref(values);
    char *text = json_dumps(line, JSON_REAL_PRECISION(9));
    puts(text);
    free(text);
    json_decref(line);
}

static mst_status evaluate(const struct mst_job_context *context, const struct mst_eval_options *options,
                           const char *prefix, struct mst_error *err)
{
    const struct mst_job *job = context->job;
    if (!context->eval)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: data.eval is missing; say what to evaluate on", job->file);
    struct mst_weights *weights;
    struct mst_weights_source source = {
        .model = context->model, .model_json = mst_buf_view(&context->model_text), .path = prefix};
    MST_TRY(mst_weights_load(&source, &weights, err));
    struct mst_evaluation evaluation = {.model = context->model,
                                        .compile = &context->compile,
                                        .source = context->eval,
                                        .batch_size = job->batch_size,
                                        .n_threads = options->n_threads ? options->n_threads : mst_cpus_usable(),
                                        .seed = job->seed};
    struct mst_training_sums sums;
    mst_status status = mst_evaluate(&evaluation, weights, &sums, err);
    if (status == MST_OK)
        print_scores(context, prefix, &sums);
    mst_training_sums_fini(&sums);
    mst_weights_free(weights);
    return status;
}

mst_status mst_eval(const struct mst_eval_options *options, struct mst_error *err)
{
    struct mst_job_context *context;
    struct mst_job_request request = {.path = options->job, .sets = options->sets, .n_sets = options->n_sets};
    MST_TRY(mst_job_context_new(&request, &context, err));
    char *newest = NULL;
    uint64_t step;
    mst_status status = MST_OK;
    if (!options->checkpoint)
        status = mst_checkpoint_newest(context->job->checkpoint_chief_dir, on_passed, NULL, &newest, &step, err);
    if (status == MST_NOT_FOUND)
        status =
            mst_fail(err, MST_NOT_FOUND, "no checkpoint is in %s; train first, or name one with --checkpoint PREFIX",
                     context->job->checkpoint_dir);
    if (status == MST_OK)
        status = evaluate(context, options, options->checkpoint ? options->checkpoint : newest, err);
    free(newest);
    mst_job_context_free(context);
    return status;
}
