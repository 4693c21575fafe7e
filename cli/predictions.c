// A batch of lines is printed into one buffer and handed on whole. The file is written beside its place and renamed:
// whoever reads predictions by their name never sees a part of them.
#include "cli/predictions.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "tfio/disk_file.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// An example of 2^24 outputs; lines are handed on before more of them are gathered.
enum { TEXT_MAX_BYTES = 512 << 20, TEXT_GATHERED_BYTES = 256 << 10 };

struct output {
    struct mst_predictions_output of;
    size_t n_elements; // of an example
};

struct mst_predictions {
    enum mst_predictions_format format;
    struct output *outputs;
    size_t n_outputs;
    char *path; // NULL: standard output
    char *temporary;
    struct mst_disk_file *file;
    struct mst_buf text;
};

static void release(struct mst_predictions *predictions)
{
    mst_buf_fini(&predictions->text);
    free(predictions->outputs);
    free(predictions->path);
    free(predictions->temporary);
    free(predictions);
}

// The first line of a CSV file that needs one.
static mst_status print_header(struct mst_predictions *predictions)
{
    for (size_t k = 0; k < predictions->n_outputs; k++) {
        const struct output *output = &predictions->outputs[k];
        for (size_t i = 0; i < output->n_elements; i++)
            MST_TRY(mst_buf_printf(&predictions->text, "%s%s_%zu", k + i > 0 ? "," : "", output->of.name, i));
    }
    return mst_buf_append(&predictions->text, "\n", 1);
}

static mst_status start(struct mst_predictions *predictions, const char *path, struct mst_error *err)
{
    for (size_t k = 0; k < predictions->n_outputs; k++) {
        struct output *output = &predictions->outputs[k];
        if (mst_shape_count(&output->of.shape, &output->n_elements) != MST_OK || output->n_elements == 0)
            return mst_fail(err, MST_INVALID_ARGUMENT, "the model's output %s has no elements", output->of.name);
    }
    if (predictions->format == MST_PREDICTIONS_CSV && predictions->n_outputs > 1 && print_header(predictions) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for a header of all outputs");
    if (!path)
        return MST_OK;
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return mst_fail(err, MST_INVALID_ARGUMENT, "--output: %s is a directory; name a file in it", path);
    predictions->path = mst_strdup(path);
    predictions->temporary = mst_text("%s.tmp", path);
    return mst_disk_file_new(predictions->temporary, &predictions->file, err);
}

mst_status mst_predictions_new(const char *path, enum mst_predictions_format format,
                               const struct mst_predictions_output *outputs, size_t n_outputs,
                               struct mst_predictions **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_predictions *predictions = mst_alloc(sizeof *predictions);
    predictions->format = format;
    predictions->n_outputs = n_outputs;
    predictions->outputs = mst_alloc_array(n_outputs, sizeof *predictions->outputs);
    for (size_t k = 0; k < n_outputs; k++)
        predictions->outputs[k].of = outputs[k];
    mst_buf_init(&predictions->text, TEXT_MAX_BYTES);
    mst_status status = start(predictions, path, err);
    if (status != MST_OK) {
        release(predictions);
        return status;
    }
    *out = predictions;
    return MST_OK;
}

static mst_status hand_on(struct mst_predictions *predictions, struct mst_error *err)
{
    struct mst_bytes text = mst_buf_view(&predictions->text);
    mst_status status = MST_OK;
    if (predictions->file)
        status = mst_disk_file_append(predictions->file, text.data, text.len, err);
    else if (text.len > 0 && fwrite(text.data, 1, text.len, stdout) != text.len)
        status = mst_fail(err, MST_UNAVAILABLE, "standard output cannot be written (%s)", strerror(errno));
    mst_buf_reset(&predictions->text);
    return status;
}

static mst_status print_csv(struct mst_buf *text, const struct output *output, const float *values)
{
    for (size_t i = 0; i < output->n_elements; i++)
        MST_TRY(mst_buf_printf(text, i ? ",%.9g" : "%.9g", (double)values[i]));
    return MST_OK;
}

// How many axes begin (or, one element later, end) at element i: those of which i is a multiple of the size.
static size_t n_brackets(const struct mst_shape *shape, size_t i)
{
    size_t n = 0;
    size_t block = 1;
    for (; n < shape->rank; n++) {
        block *= shape->dims[shape->rank - 1 - n];
        if (i % block != 0)
            break;
    }
    return n;
}

static mst_status print_json(struct mst_buf *text, const struct output *output, const float *values)
{
    for (size_t i = 0; i < output->n_elements; i++) {
        if (i > 0)
            MST_TRY(mst_buf_append(text, ", ", 2));
        for (size_t n = n_brackets(&output->of.shape, i); n > 0; n--)
            MST_TRY(mst_buf_append(text, "[", 1));
        if (isfinite(values[i]))
            MST_TRY(mst_buf_printf(text, "%.9g", (double)values[i]));
        else
            MST_TRY(mst_buf_append(text, "null", 4));
        for (size_t n = n_brackets(&output->of.shape, i + 1); n > 0; n--)
            MST_TRY(mst_buf_append(text, "]", 1));
    }
    return MST_OK;
}

// Keras's names of layers hold no quotes, backslashes or control characters that JSON would have to escape; whatever
// else a file holds does not get into the text.
static mst_status print_key(struct mst_buf *text, const char *name, bool is_first)
{
    MST_TRY(mst_buf_append(text, is_first ? "{\"" : ", \"", is_first ? 2 : 3));
    for (; *name; name++) {
        bool is_plain = (unsigned char)*name >= 0x20 && *name != '"' && *name != '\\';
        MST_TRY(mst_buf_append(text, is_plain ? name : "?", 1));
    }
    return mst_buf_append(text, "\": ", 3);
}

static mst_status print_example(struct mst_predictions *predictions, const float *const *values, size_t example)
{
    struct mst_buf *text = &predictions->text;
    bool is_csv = predictions->format == MST_PREDICTIONS_CSV;
    bool has_keys = !is_csv && predictions->n_outputs > 1;
    for (size_t k = 0; k < predictions->n_outputs; k++) {
        const struct output *output = &predictions->outputs[k];
        const float *of_example = values[k] + example * output->n_elements;
        if (has_keys)
            MST_TRY(print_key(text, output->of.name, k == 0));
        else if (k > 0)
            MST_TRY(mst_buf_append(text, ",", 1));
        MST_TRY(is_csv ? print_csv(text, output, of_example) : print_json(text, output, of_example));
    }
    return mst_buf_append(text, has_keys ? "}\n" : "\n", has_keys ? 2 : 1);
}

mst_status mst_predictions_add(struct mst_predictions *predictions, const float *const *values, size_t n_examples,
                               struct mst_error *err)
{
    for (size_t i = 0; i < n_examples; i++) {
        if (print_example(predictions, values, i) != MST_OK)
            return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for an example of %zu outputs as text",
                            predictions->n_outputs);
        if (predictions->text.len >= TEXT_GATHERED_BYTES)
            MST_TRY(hand_on(predictions, err));
    }
    return MST_OK;
}

mst_status mst_predictions_close(struct mst_predictions *predictions, struct mst_error *err)
{
    mst_status status = hand_on(predictions, err);
    if (status == MST_OK && !predictions->file && fflush(stdout) != 0)
        status = mst_fail(err, MST_UNAVAILABLE, "standard output cannot be written (%s)", strerror(errno));
    if (status != MST_OK) {
        mst_predictions_abort(predictions);
        return status;
    }
    if (predictions->file) {
        status = mst_disk_file_close(predictions->file, err);
        if (status == MST_OK) {
            status = mst_disk_rename(predictions->temporary, predictions->path, err);
            if (status != MST_OK)
                (void)!mst_disk_remove(predictions->temporary, NULL); // the rename's failure is the one to tell
        }
    }
    release(predictions);
    return status;
}

void mst_predictions_abort(struct mst_predictions *predictions)
{
    if (!predictions)
        return;
    mst_disk_file_abort(predictions->file);
    release(predictions);
}
