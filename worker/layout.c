#include "worker/layout.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdint.h>
#include <stdlib.h>

static size_t row_floats(const struct mst_variable *variable)
{
    return variable->shape.rank == 0 ? 1 : variable->n_elements / (size_t)variable->shape.dims[0];
}

static size_t n_rows(const struct mst_variable *variable)
{
    return variable->shape.rank == 0 ? 1 : (size_t)variable->shape.dims[0];
}

static mst_status check_shard(const struct mst_model *model, const struct mst_msg_shard *shard, struct mst_error *err)
{
    if (shard->variable >= mst_model_n_variables(model))
        return mst_fail(err, MST_DATA_LOSS, "the chief's map names variable %u, and the model has %zu", shard->variable,
                        mst_model_n_variables(model));
    const struct mst_variable *variable = mst_model_variable(model, shard->variable);
    if (shard->n_rows == 0 || shard->row_offset > n_rows(variable) ||
        shard->n_rows > n_rows(variable) - shard->row_offset)
        return mst_fail(err, MST_DATA_LOSS, "the chief's map has rows %llu+%llu of %s, which has %zu",
                        (unsigned long long)shard->row_offset, (unsigned long long)shard->n_rows, variable->name,
                        n_rows(variable));
    return MST_OK;
}

// The floats of all runs add up to those of the model; as each run lies inside its variable and runs of a variable do
// not overlap (the plan is cut in order), this is a cover.
static mst_status check_cover(const struct mst_model *model, const struct mst_msg_map *map, struct mst_error *err)
{
    uint64_t n_floats = 0;
    for (size_t i = 0; i < map->n_shards; i++) {
        MST_TRY(check_shard(model, &map->shards[i], err));
        n_floats += map->shards[i].n_rows * row_floats(mst_model_variable(model, map->shards[i].variable));
    }
    if (n_floats != mst_model_n_parameters(model))
        return mst_fail(err, MST_DATA_LOSS, "the chief's map covers %llu of %llu parameters",
                        (unsigned long long)n_floats, (unsigned long long)mst_model_n_parameters(model));
    return MST_OK;
}

static mst_status add_run(struct mst_layout *layout, const struct mst_model *model, const struct mst_msg_shard *shard,
                          struct mst_error *err)
{
    bool is_new = layout->n_buckets == 0 || shard->bucket != layout->n_buckets - 1;
    if (is_new && shard->bucket != layout->n_buckets)
        return mst_fail(err, MST_DATA_LOSS, "the chief's map names bucket %u after bucket %zu", shard->bucket,
                        layout->n_buckets);
    if (is_new)
        layout->buckets[layout->n_buckets++] =
            (struct mst_layout_bucket){.ps = shard->ps, .thread = shard->thread, .first = layout->n_runs};
    const struct mst_variable *variable = mst_model_variable(model, shard->variable);
    bool is_frozen = variable->update == MST_UPDATE_FROZEN;
    if (is_new && !is_frozen)
        layout->n_pushed++;
    if (is_frozen != (shard->bucket >= layout->n_pushed))
        return mst_fail(err, MST_DATA_LOSS, "the chief's map has %s, which is %s, in bucket %u among others",
                        variable->name, is_frozen ? "frozen" : "not frozen", shard->bucket);
    size_t floats = row_floats(variable);
    struct mst_layout_bucket *bucket = &layout->buckets[shard->bucket];
    layout->runs[layout->n_runs++] = (struct mst_layout_run){.bucket = shard->bucket,
                                                             .variable = shard->variable,
                                                             .at = (size_t)shard->row_offset * floats,
                                                             .n_floats = (size_t)shard->n_rows * floats};
    bucket->n++;
    bucket->n_floats += (size_t)shard->n_rows * floats;
    return MST_OK;
}

static mst_status copy_threads(struct mst_layout *layout, const struct mst_msg_map *map, struct mst_error *err)
{
    layout->n_ps_threads = map->n_ps_threads;
    layout->ps_threads = mst_alloc_array(map->n_ps_threads, sizeof *layout->ps_threads);
    for (size_t ps = 0; ps < map->n_ps_threads; ps++) {
        layout->ps_threads[ps] = map->ps_threads[ps];
        if (map->ps_threads[ps] == 0 || map->ps_threads[ps] > UINT32_MAX)
            return mst_fail(err, MST_DATA_LOSS, "the chief's map gives ps-%zu %llu data threads", ps,
                            (unsigned long long)map->ps_threads[ps]);
    }
    return MST_OK;
}

static mst_status fill(struct mst_layout *layout, const struct mst_model *model, const struct mst_msg_map *map,
                       struct mst_error *err)
{
    for (size_t i = 0; i < map->n_shards; i++)
        MST_TRY(add_run(layout, model, &map->shards[i], err));
    if (layout->n_pushed == 0)
        return mst_fail(err, MST_DATA_LOSS, "the chief's map has frozen variables only, so there is nothing to train");
    return copy_threads(layout, map, err);
}

mst_status mst_layout_new(const struct mst_model *model, const struct mst_msg_map *map, struct mst_layout **out,
                          struct mst_error *err)
{
    *out = NULL;
    MST_TRY(check_cover(model, map, err));
    struct mst_layout *layout = mst_alloc(sizeof *layout);
    layout->map_term = map->term;
    layout->map_epoch = map->epoch;
    layout->n_round_workers = map->n_round_workers;
    layout->runs = mst_alloc_array(map->n_shards, sizeof *layout->runs);
    layout->buckets = mst_alloc_array(map->n_shards, sizeof *layout->buckets);
    mst_status status = fill(layout, model, map, err);
    if (status != MST_OK) {
        mst_layout_free(layout);
        return status;
    }
    *out = layout;
    return MST_OK;
}

void mst_layout_free(struct mst_layout *layout)
{
    if (!layout)
        return;
    free(layout->ps_threads);
    free(layout->runs);
    free(layout->buckets);
    free(layout);
}
