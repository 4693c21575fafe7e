// Weights come from a checkpoint of the job, or with the model from a model directory or a `.keras` archive. Examples
// are read as training reads them and go batch by batch through the program that goes only forward to the text.
#include "cli/predict.h"

#include "base/alloc.h"
#include "base/cpus.h"
#include "base/error.h"
#include "base/log.h"
#include "ckpt/checkpoint_list.h"
#include "cli/job_context.h"
#include "cli/job_source.h"
#include "cli/predictions.h"
#include "data/batches.h"
#include "device/device.h"
#include "keras/archive.h"
#include "model/input.h"
#include "model/program.h"
#include "spec/json_source.h"
#include "weights/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

// Large enough for full matrix products, small enough that a convolution's arena stays tens of megabytes.
enum { BATCH_EXAMPLES = 64 };

// A model and its weights.
struct trained {
    struct mst_job_context *context; // of a job, else NULL
    struct mst_model *own_model;     // of a model directory or an archive, else NULL
    struct mst_buf model_json;       // of that
    const struct mst_model *model;   // the one that is there
    char *prefix;                    // of the job's newest checkpoint
    struct mst_weights *weights;
};

static void on_passed(void *context, const char *prefix, const char *why)
{
    (void)context;
    if (mst_log_is_json())
        MST_LOG(WARN, "cli", "checkpoint passed over", "prefix=%s reason=\"%s\"", prefix, why);
    else
        fprintf(stderr, "muster predict: %s passed over: %s\n", prefix, why);
}

static mst_status open_job(const struct mst_predict_options *options, struct trained *trained, struct mst_error *err)
{
    struct mst_job_request request = {.path = options->model, .sets = options->sets, .n_sets = options->n_sets};
    MST_TRY(mst_job_context_new(&request, &trained->context, err));
    trained->model = trained->context->model;
    if (options->checkpoint)
        return MST_OK;
    const char *dir = trained->context->job->checkpoint_chief_dir;
    uint64_t step;
    mst_status status = mst_checkpoint_newest(dir, on_passed, NULL, &trained->prefix, &step, err);
    if (status == MST_NOT_FOUND)
        return mst_fail(err, MST_NOT_FOUND,
                        "no checkpoint is in %s; train first, name one with --checkpoint PREFIX, or give a model "
                        "directory in place of the job",
                        dir);
    return status;
}

static mst_status open_model(const struct mst_predict_options *options, struct trained *trained, struct mst_error *err)
{
    if (options->n_sets)
        return mst_fail(err, MST_INVALID_ARGUMENT, "--set %s changes a job, and %s is a model%s", options->sets[0],
                        options->model, mst_keras_is_archive(options->model) ? "" : " directory");
    MST_TRY(mst_weights_open_model(options->model, &trained->model_json, &trained->own_model, &trained->weights, err));
    trained->model = trained->own_model;
    return MST_OK;
}

static mst_status load_weights(const char *path, struct trained *trained, struct mst_error *err)
{
    struct mst_weights_source source = {.model = trained->model, .path = path};
    source.model_json = mst_buf_view(trained->context ? &trained->context->model_text : &trained->model_json);
    mst_weights_free(trained->weights);
    trained->weights = NULL;
    return mst_weights_load(&source, &trained->weights, err);
}

static mst_status open_trained(const struct mst_predict_options *options, struct trained *trained,
                               struct mst_error *err)
{
    struct stat info;
    bool is_directory = stat(options->model, &info) == 0 && S_ISDIR(info.st_mode);
    if (is_directory || mst_keras_is_archive(options->model))
        MST_TRY(open_model(options, trained, err));
    else
        MST_TRY(open_job(options, trained, err));
    const char *path = options->checkpoint ? options->checkpoint : trained->prefix;
    return path ? load_weights(path, trained, err) : MST_OK;
}

static void close_trained(struct trained *trained)
{
    mst_weights_free(trained->weights);
    free(trained->prefix);
    mst_model_free(trained->own_model);
    mst_buf_fini(&trained->model_json);
    mst_job_context_free(trained->context);
}

static mst_status run_batches(const struct mst_batches *batches, struct mst_program *program,
                              const struct trained *trained, struct mst_predictions *predictions, struct mst_error *err)
{
    size_t n_outputs = mst_model_n_outputs(trained->model);
    const float **outputs = mst_alloc_array(n_outputs, sizeof *outputs);
    struct mst_batch batch;
    mst_status status = mst_batch_init(&batch, batches, MST_BATCH_INPUTS, err);
    for (uint64_t number = 0; number < mst_batches_n_batches(batches) && status == MST_OK; number++) {
        status = mst_batches_gather(batches, 0, number, &batch, err);
        if (status != MST_OK)
            break;
        struct mst_program_step step = {.params = (const float *const *)trained->weights->values,
                                        .inputs = (const void *const *)batch.inputs,
                                        .n_examples = batch.n_examples,
                                        .batch = number};
        struct mst_program_result result;
        status = mst_program_run(program, &step, &result, err);
        for (size_t i = 0; status == MST_OK && i < n_outputs; i++)
            outputs[i] = mst_program_output(program, i);
        if (status == MST_OK)
            status = mst_predictions_add(predictions, outputs, batch.n_examples, err);
    }
    free(outputs);
    mst_batch_fini(&batch);
    return status;
}

static mst_status open_predictions(const struct mst_predict_options *options, const struct mst_model *model,
                                   enum mst_predictions_format format, struct mst_predictions **out,
                                   struct mst_error *err)
{
    size_t n = mst_model_n_outputs(model);
    struct mst_predictions_output *outputs = mst_alloc_array(n, sizeof *outputs);
    for (size_t i = 0; i < n; i++)
        outputs[i] =
            (struct mst_predictions_output){mst_model_output_name(model, i), *mst_model_output_shape(model, i)};
    mst_status status = mst_predictions_new(options->output, format, outputs, n, out, err);
    free(outputs);
    return status;
}

// The program is planned before the output is touched, so that what cannot be computed leaves no file at all.
static mst_status write_predictions(const struct mst_predict_options *options, const struct trained *trained,
                                    struct mst_batches *batches, enum mst_predictions_format format,
                                    struct mst_error *err)
{
    struct mst_device *device = NULL;
    struct mst_program *program = NULL;
    struct mst_predictions *predictions = NULL;
    struct mst_program_options plan = {
        .mode = MST_PROGRAM_PREDICT,
        .max_batch = BATCH_EXAMPLES,
        .input_dtypes = mst_dataset_input_dtypes(mst_batches_dataset(batches)),
    };
    mst_status status = mst_device_cpu_new(options->n_threads ? options->n_threads : mst_cpus_usable(), &device, err);
    if (status == MST_OK)
        status = mst_program_new(trained->model, NULL, device, &plan, &program, err);
    if (status == MST_OK)
        status = open_predictions(options, trained->model, format, &predictions, err);
    if (status == MST_OK)
        status = run_batches(batches, program, trained, predictions, err);
    if (status == MST_OK)
        status = mst_predictions_close(predictions, err);
    else
        mst_predictions_abort(predictions);
    mst_program_free(program);
    mst_device_free(device);
    return status;
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text);
    size_t end_len = strlen(end);
    return len >= end_len && strcasecmp(text + len - end_len, end) == 0;
}

static mst_status take_data(struct mst_job_data *data, const char *text, struct mst_error *err)
{
    json_t *json = NULL;
    MST_TRY(mst_json_parse(text, strlen(text), "--data", &json, err));
    mst_status status = mst_job_data_parse(json, "--data", data, err);
    json_decref(json);
    return status;
}

// The words of the job's own training data, or those of --data; examples to predict need no label.
static mst_status read_csv_words(const struct mst_predict_options *options, const struct trained *trained,
                                 struct mst_job_data *out, struct mst_error *err)
{
    const json_t *train = trained->context ? mst_json_at(trained->context->job->resolved, "data.train") : NULL;
    const char *format = json_string_value(json_object_get(train, "format"));
    if (options->data)
        MST_TRY(take_data(out, options->data, err));
    else if (format && strcmp(format, "csv") == 0)
        *out = mst_job_data_of(train);
    else
        MST_TRY(take_data(out, "{}", err));
    out->is_headless = out->is_headless || options->is_headless;
    free(out->file);
    out->file = mst_strdup(options->inputs[0]);
    return MST_OK;
}

// NAME=FILE where NAME is an input of the model; else the whole is a file.
static struct mst_job_part idx_part_of(const char *text, const struct mst_model *model)
{
    const char *equals = strchr(text, '=');
    for (size_t i = 0; equals && i < mst_model_n_inputs(model); i++) {
        const char *name = mst_model_input_name(model, i);
        if (strlen(name) == (size_t)(equals - text) && strncmp(text, name, strlen(name)) == 0)
            return (struct mst_job_part){.name = mst_strdup(name), .path = mst_strdup(equals + 1)};
    }
    return (struct mst_job_part){.path = mst_strdup(text)};
}

// A CSV file says nothing about itself, so its name tells.
static mst_status find_examples(const struct mst_predict_options *options, const struct trained *trained,
                                struct mst_job_data *out, struct mst_error *err)
{
    *out = (struct mst_job_data){0};
    const char *first = options->inputs[0];
    if (options->n_inputs == 1 && (ends_with(first, ".csv") || ends_with(first, ".csv.gz")))
        return read_csv_words(options, trained, out, err);
    if (options->data || options->label || options->is_headless)
        return mst_fail(err, MST_INVALID_ARGUMENT, "--%s is for CSV files, whose names end in .csv or .csv.gz",
                        options->data    ? "data"
                        : options->label ? "label"
                                         : "no-header");
    out->format = mst_strdup("idx");
    out->inputs = mst_alloc_array(options->n_inputs, sizeof *out->inputs);
    for (size_t i = 0; i < options->n_inputs; i++)
        out->inputs[out->n_inputs++] = idx_part_of(options->inputs[i], trained->model);
    return MST_OK;
}

// A file with the column of the labels still in it is the usual one.
static mst_status check_shapes(const struct mst_predict_options *options, const struct trained *trained,
                               const struct mst_dataset *dataset, struct mst_error *err)
{
    struct mst_error why = {""};
    mst_status status = mst_input_check_shapes(dataset, trained->model, &why);
    bool may_have_label = mst_dataset_input(dataset, 0)->shape.rank == 1 && !options->label && !options->data;
    if (status != MST_OK)
        (void)mst_fail(err, status, "%s%s", why.text,
                       may_have_label ? "; --label names one that is no feature, --data those that are" : "");
    return status;
}

static mst_status predict_source(const struct mst_predict_options *options, const struct trained *trained,
                                 const struct mst_dataset_source *source, enum mst_predictions_format format,
                                 struct mst_error *err)
{
    struct mst_batches_options order = {.batch_size = BATCH_EXAMPLES, .order = MST_ORDER_FILE};
    struct mst_dataset *dataset = NULL;
    struct mst_batches *batches = NULL;
    mst_status status = mst_dataset_open(source, &dataset, err);
    if (status == MST_OK)
        status = check_shapes(options, trained, dataset, err);
    if (status == MST_OK)
        status = mst_batches_new(dataset, &order, &batches, err);
    // What is wrong with the file's end is known before the first line is out, so a pipe gets all or nothing too.
    if (status == MST_OK)
        status = mst_dataset_load(dataset, err);
    if (status == MST_OK)
        status = write_predictions(options, trained, batches, format, err);
    mst_batches_free(batches);
    mst_dataset_free(dataset);
    return status;
}

static mst_status predict(const struct mst_predict_options *options, const struct trained *trained,
                          enum mst_predictions_format format, struct mst_error *err)
{
    struct mst_job_data data;
    struct mst_dataset_source *source = NULL;
    mst_status status = find_examples(options, trained, &data, err);
    if (status == MST_OK)
        status = mst_job_source_new(&data, trained->model, NULL, "--input", &source, err);
    if (status == MST_OK) {
        const struct mst_dataset_part label = {.columns = &options->label, .n_columns = 1};
        const struct mst_dataset_part *of_job = source->outputs;
        size_t n_of_job = source->n_outputs;
        if (options->label) { // which must be there
            source->outputs = &label;
            source->n_outputs = 1;
            source->outputs_are_optional = false;
        }
        status = predict_source(options, trained, source, format, err);
        source->outputs = of_job;
        source->n_outputs = n_of_job;
    }
    mst_job_source_free(source);
    mst_job_data_fini(&data);
    return status;
}

static mst_status read_format(const char *text, enum mst_predictions_format *out, struct mst_error *err)
{
    *out = text && strcmp(text, "jsonl") == 0 ? MST_PREDICTIONS_JSONL : MST_PREDICTIONS_CSV;
    if (text && *out == MST_PREDICTIONS_CSV && strcmp(text, "csv") != 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "--format: '%s' is not there; there are csv and jsonl", text);
    return MST_OK;
}

mst_status mst_predict(const struct mst_predict_options *options, struct mst_error *err)
{
    enum mst_predictions_format format;
    MST_TRY(read_format(options->format, &format, err));
    if (options->n_inputs == 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "muster predict needs --input FILE, the examples");
    struct trained trained = {0};
    mst_status status = open_trained(options, &trained, err);
    if (status == MST_OK)
        status = predict(options, &trained, format, err);
    close_trained(&trained);
    return status;
}
