#include "ckpt/checkpoint_part.h"

#include "base/alloc.h"
#include "checkpoint_names.h"
#include "tfio/bundle_writer.h"
#include "values.h"

#include <stdlib.h>

struct mst_checkpoint_part {
    struct mst_bundle_data *data;
};

mst_status mst_checkpoint_part_new(const char *dir, uint64_t step, size_t shard, size_t n_shards,
                                   struct mst_checkpoint_part **out, struct mst_error *err)
{
    *out = NULL;
    char *prefix = mst_checkpoint_prefix(dir, step);
    char *path = mst_bundle_data_path(prefix, shard, n_shards);
    char *temporary = mst_text("%s" MST_CHECKPOINT_TMP, path);
    struct mst_bundle_data *data;
    mst_status status = mst_bundle_data_new(temporary, &data, err);
    free(temporary);
    free(path);
    free(prefix);
    if (status != MST_OK)
        return status;
    *out = mst_alloc(sizeof **out);
    (*out)->data = data;
    return MST_OK;
}

mst_status mst_checkpoint_part_add(struct mst_checkpoint_part *part, const struct mst_checkpoint_value *value,
                                   struct mst_bundle_piece *piece, struct mst_error *err)
{
    return mst_values_append(part->data, value, piece, err);
}

mst_status mst_checkpoint_part_close(struct mst_checkpoint_part *part, struct mst_error *err)
{
    mst_status status = mst_bundle_data_close(part->data, err);
    free(part);
    return status;
}

void mst_checkpoint_part_abort(struct mst_checkpoint_part *part)
{
    if (!part)
        return;
    mst_bundle_data_abort(part->data);
    free(part);
}
