#include "cli/job_source.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX_BYTES = 200 };

// Inputs, or outputs: of the job and of the model.
struct side {
    const char *word;
    const char *keys; // of the job, that name them
    const struct mst_job_part *parts;
    size_t n_parts;
    const struct mst_model *model;
    const struct mst_compile *compile; // of outputs: which have a loss
    size_t n;                          // of the model
    const char *(*name)(const struct mst_model *model, size_t i);
};

static struct mst_dataset_part part_of(const struct mst_job_part *part)
{
    return (struct mst_dataset_part){.name = part->name,
                                     .path = part->path,
                                     .columns = (const char *const *)part->columns,
                                     .n_columns = part->n_columns};
}

static void print_name(struct mst_buf *text, const char *name)
{
    (void)!mst_buf_printf(text, "%s%s", text->len > 0 ? ", " : "", name); // what does not fit is left out
}

static mst_status fail_names(const struct side *side, const char *where, struct mst_error *err)
{
    struct mst_buf ours, theirs;
    mst_buf_init(&ours, NAMES_MAX_BYTES);
    mst_buf_init(&theirs, NAMES_MAX_BYTES);
    for (size_t i = 0; i < side->n_parts; i++)
        print_name(&ours, side->parts[i].name ? side->parts[i].name : "(without a name)");
    for (size_t i = 0; i < side->n; i++)
        print_name(&theirs, side->name(side->model, i));
    mst_fail(err, MST_INVALID_ARGUMENT, "%s has the %s %s, and the model's are %s: name these in %s", where, side->word,
             ours.data ? (const char *)ours.data : "none", theirs.data ? (const char *)theirs.data : "none",
             side->keys);
    mst_buf_fini(&ours);
    mst_buf_fini(&theirs);
    return MST_INVALID_ARGUMENT;
}

// Puts the parts in the model's order; an output without a loss may be missing. False if the names disagree.
static bool arrange(const struct side *side, struct mst_dataset_part *out)
{
    size_t n_used = 0;
    if (side->n_parts == 1 && !side->parts[0].name) {
        out[0] = part_of(&side->parts[0]);
        return side->n == 1;
    }
    for (size_t i = 0; i < side->n; i++) {
        const char *name = side->name(side->model, i);
        size_t k = 0;
        while (k < side->n_parts && (!side->parts[k].name || strcmp(side->parts[k].name, name) != 0))
            k++;
        if (k < side->n_parts)
            out[i] = part_of(&side->parts[k]);
        else if (!side->compile || side->compile->losses[i].is_given)
            return false;
        n_used += k < side->n_parts;
    }
    return n_used == side->n_parts;
}

static mst_status make_inputs(const struct mst_job_data *data, const struct mst_model *model, const char *where,
                              struct mst_dataset_source *source, struct mst_error *err)
{
    struct side side = {.word = "inputs",
                        .keys = data->file ? "inputs" : "features",
                        .parts = data->inputs,
                        .n_parts = data->n_inputs,
                        .model = model,
                        .n = mst_model_n_inputs(model),
                        .name = mst_model_input_name};
    struct mst_dataset_part *parts = mst_alloc_array(side.n, sizeof *parts);
    source->inputs = parts;
    source->n_inputs = side.n;
    return arrange(&side, parts) ? MST_OK : fail_names(&side, where, err);
}

static mst_status make_outputs(const struct mst_job_data *data, const struct mst_model *model,
                               const struct mst_compile *compile, const char *where, struct mst_dataset_source *source,
                               struct mst_error *err)
{
    struct side side = {.word = "outputs",
                        .keys = data->file ? "label" : "labels",
                        .parts = data->outputs,
                        .n_parts = data->n_outputs,
                        .model = model,
                        .compile = compile,
                        .n = mst_model_n_outputs(model),
                        .name = mst_model_output_name};
    source->outputs_are_optional = !compile;
    source->n_outputs = compile ? side.n : side.n_parts;
    struct mst_dataset_part *parts = mst_alloc_array(source->n_outputs + 1, sizeof *parts);
    source->outputs = parts;
    for (size_t i = 0; !compile && i < side.n_parts; i++)
        parts[i] = part_of(&side.parts[i]);
    return !compile || arrange(&side, parts) ? MST_OK : fail_names(&side, where, err);
}

static struct mst_csv_categories *categories_of(const struct mst_job_data *data)
{
    struct mst_csv_categories *categories = mst_alloc_array(data->n_categories + 1, sizeof *categories);
    for (size_t i = 0; i < data->n_categories; i++) {
        const struct mst_job_part *part = &data->categories[i];
        categories[i] = (struct mst_csv_categories){part->name, (const char *const *)part->columns, part->n_columns};
    }
    return categories;
}

mst_status mst_job_source_new(const struct mst_job_data *data, const struct mst_model *model,
                              const struct mst_compile *compile, const char *where, struct mst_dataset_source **out,
                              struct mst_error *err)
{
    *out = NULL;
    if (!data->format)
        return MST_OK;
    struct mst_dataset_source *source = mst_alloc(sizeof *source);
    source->format = data->format;
    source->file = data->file;
    source->weights = data->weights;
    source->csv = (struct mst_csv_options){.separator = data->separator,
                                           .is_headless = data->is_headless,
                                           .fills_missing = data->fills_missing,
                                           .missing = data->missing,
                                           .categories = categories_of(data),
                                           .n_categories = data->n_categories};
    mst_status status = make_inputs(data, model, where, source, err);
    if (status == MST_OK)
        status = make_outputs(data, model, compile, where, source, err);
    if (status != MST_OK) {
        mst_job_source_free(source);
        return status;
    }
    *out = source;
    return MST_OK;
}

void mst_job_source_free(struct mst_dataset_source *source)
{
    if (!source)
        return;
    free((struct mst_dataset_part *)source->inputs);
    free((struct mst_dataset_part *)source->outputs);
    free((struct mst_csv_categories *)source->csv.categories);
    free(source);
}
