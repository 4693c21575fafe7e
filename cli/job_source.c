#include "cli/job_source.h"

#include "base/alloc.h"

#include <stdlib.h>

struct mst_dataset_source *mst_job_source_new(const struct mst_job_data *data)
{
    if (!data->format)
        return NULL;
    struct mst_dataset_source *source = mst_alloc(sizeof *source);
    *source = (struct mst_dataset_source){
        .format = data->format,
        .features = data->features,
        .labels = data->labels,
        .csv = {.label = data->label,
                .is_headless = data->is_headless,
                .fills_missing = data->fills_missing,
                .missing = data->missing},
    };
    return source;
}

void mst_job_source_free(struct mst_dataset_source *source)
{
    free(source);
}
