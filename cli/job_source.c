#include "cli/job_source.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

static struct mst_dataset_part *part_new(const char *path, const char *const *columns, size_t n_columns)
{
    struct mst_dataset_part *part = mst_alloc(sizeof *part);
    *part = (struct mst_dataset_part){.path = path, .columns = columns, .n_columns = n_columns};
    return part;
}

struct mst_dataset_source *mst_job_source_new(const struct mst_job_data *data)
{
    if (!data->format)
        return NULL;
    bool is_csv = strcmp(data->format, "csv") == 0;
    struct mst_dataset_source *source = mst_alloc(sizeof *source);
    *source = (struct mst_dataset_source){
        .format = data->format,
        .file = is_csv ? data->features : NULL,
        .inputs = part_new(is_csv ? NULL : data->features, NULL, 0),
        .n_inputs = 1,
        .outputs = part_new(data->labels, (const char *const *)&data->label, is_csv ? 1 : 0),
        .n_outputs = 1,
        .csv = {.is_headless = data->is_headless, .fills_missing = data->fills_missing, .missing = data->missing},
    };
    return source;
}

void mst_job_source_free(struct mst_dataset_source *source)
{
    if (!source)
        return;
    free((struct mst_dataset_part *)source->inputs);
    free((struct mst_dataset_part *)source->outputs);
    free(source);
}
