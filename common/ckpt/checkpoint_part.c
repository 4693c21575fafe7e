#include "ckpt/checkpoint_part.h"

#include "base/alloc.h"
#include "checkpoint_names.h"
#include "tfio/bundle_writer.h"
#include "values.h"

#include <stdlib.h>

struct mst_checkpoint_part {
    struct mst_bundle_data *data;
};

char *mst_checkpoint_part_path(const struct mst_checkpoint_attempt *attempt, size_t shard)
{
    char *prefix = mst_checkpoint_prefix(attempt->dir, attempt->step);
    char *path = mst_bundle_data_path(prefix, shard, attempt->n_shards);
    char *temporary = mst_checkpoint_temporary(path, attempt->id);
    free(path);
    free(prefix);
    return temporary;
}

mst_status mst_checkpoint_part_new(const struct mst_checkpoint_attempt *attempt, size_t shard,
                                   struct mst_checkpoint_part **out, struct mst_error *err)
{
    *out = NULL;
    char *path = mst_checkpoint_part_path(attempt, shard);
    struct mst_bundle_data *data;
    mst_status status = mst_bundle_data_new(path, &data, err);
    free(path);
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
