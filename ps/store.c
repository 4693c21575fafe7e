#include "ps/store.h"

#include "base/alloc.h"
#include "base/error.h"
#include "ckpt/local_part.h"
#include "tfio/bundle_reader.h"

#include <stdlib.h>
#include <string.h>

static size_t n_rows_of(const struct mst_variable *variable)
{
    return variable->shape.rank == 0 ? 1 : variable->shape.dims[0];
}

static mst_status piece_of(const struct mst_model *model, const struct mst_msg_shard *shard, struct mst_piece *out,
                           struct mst_error *err)
{
    if (shard->variable >= mst_model_n_variables(model))
        return mst_fail(err, MST_INVALID_ARGUMENT, "the map names variable %u and the model has %zu", shard->variable,
                        mst_model_n_variables(model));
    const struct mst_variable *variable = mst_model_variable(model, shard->variable);
    size_t n_rows = n_rows_of(variable);
    if (shard->n_rows == 0 || shard->row_offset > n_rows || shard->n_rows > n_rows - shard->row_offset)
        return mst_fail(err, MST_INVALID_ARGUMENT, "the map has rows %llu+%llu of %s, which has %zu",
                        (unsigned long long)shard->row_offset, (unsigned long long)shard->n_rows, variable->name,
                        n_rows);
    *out = (struct mst_piece){.variable = shard->variable,
                              .part = shard->part,
                              .row_offset = shard->row_offset,
                              .n_rows = shard->n_rows,
                              .row_floats = variable->n_elements / n_rows,
                              .is_whole = shard->n_rows == n_rows,
                              .update = variable->update,
                              .momentum = variable->momentum};
    return MST_OK;
}

static void fill_initial(struct mst_bucket *bucket, const struct mst_model *model, uint64_t seed)
{
    float *at = bucket->current->floats;
    for (size_t i = 0; i < bucket->n_pieces; i++) {
        const struct mst_piece *piece = &bucket->pieces[i];
        const struct mst_variable *variable = mst_model_variable(model, piece->variable);
        struct mst_initializer_range range = {piece->row_offset * piece->row_floats, piece->n_rows * piece->row_floats};
        mst_initializer_fill(&variable->initializer, seed, variable->name, &variable->shape, range, at);
        at += range.n;
    }
}

// From a part of our own: exactly this piece lies in it, under its own name.
static mst_status read_own_piece(const struct mst_bundle *bundle, const char *name, const struct mst_variable *variable,
                                 const struct mst_piece *piece, float *out, struct mst_error *err)
{
    const struct mst_bundle_entry *entry;
    struct mst_shape shape = variable->shape;
    char *stored = mst_local_part_name(name, piece->row_offset, piece->is_whole ? 0 : piece->n_rows);
    if (!piece->is_whole)
        shape.dims[0] = (size_t)piece->n_rows;
    mst_status status = mst_bundle_find_float(bundle, stored, &shape, &entry, err);
    if (status == MST_OK)
        status = mst_bundle_read(bundle, entry, out, piece->n_rows * piece->row_floats * sizeof(float), err);
    free(stored);
    return status;
}

static mst_status read_piece(const struct mst_bundle *bundle, const char *name, const struct mst_variable *variable,
                             const struct mst_piece *piece, float *out, struct mst_error *err)
{
    const struct mst_bundle_entry *entry;
    if (mst_bundle_find(bundle, MST_LOCAL_PART_TENSOR))
        return read_own_piece(bundle, name, variable, piece, out, err);
    MST_TRY(mst_bundle_find_float(bundle, name, &variable->shape, &entry, err));
    size_t bytes = piece->n_rows * piece->row_floats * sizeof(float);
    if (variable->shape.rank == 0)
        return mst_bundle_read(bundle, entry, out, bytes, err);
    return mst_bundle_read_rows(bundle, entry, piece->row_offset, piece->n_rows, out, bytes, err);
}

static size_t n_slots_of(const struct mst_bucket *bucket, const struct mst_piece *piece)
{
    return piece->update == MST_UPDATE_OPTIMIZER ? bucket->n_slots : 0;
}

// What a job begins from (iterations 0) may be weights alone; then slots stay as a new bucket has them.
static bool has_slot(const struct mst_bundle *bundle, const char *name, uint64_t iterations)
{
    return iterations > 0 || mst_bundle_find(bundle, name) != NULL;
}

static mst_status restore_bucket(struct mst_bucket *bucket, const struct mst_model *model,
                                 const struct mst_bundle *bundle, uint64_t iterations, struct mst_error *err)
{
    size_t at = 0;
    for (size_t i = 0; i < bucket->n_pieces; i++) {
        const struct mst_piece *piece = &bucket->pieces[i];
        const struct mst_variable *variable = mst_model_variable(model, piece->variable);
        MST_TRY(read_piece(bundle, variable->name, variable, piece, bucket->current->floats + at, err));
        for (size_t s = 0; s < n_slots_of(bucket, piece); s++) {
            char *name = mst_text("%s/%s", variable->name, mst_optimizer_slot_name(bucket->optimizer, s));
            mst_status status = MST_OK;
            if (has_slot(bundle, name, iterations))
                status = read_piece(bundle, name, variable, piece, bucket->slots->slots[s] + at, err);
            free(name);
            if (status != MST_OK)
                return status;
        }
        at += piece->n_rows * piece->row_floats;
    }
    return MST_OK;
}

static bool is_ours(const struct mst_store_request *request, const struct mst_msg_shard *shard)
{
    return shard->ps == request->ps && shard->thread == request->thread;
}

// The map lists shards by bucket; a run of ours with one bucket id is one bucket.
static mst_status make_buckets(const struct mst_store_request *request, struct mst_bucket **buckets, size_t *n,
                               struct mst_error *err)
{
    const struct mst_msg_map *map = request->map;
    struct mst_piece *pieces = mst_alloc_array(map->n_shards, sizeof *pieces);
    mst_status status = MST_OK;
    for (size_t i = 0; i < map->n_shards && status == MST_OK;) {
        if (!is_ours(request, &map->shards[i])) {
            i++;
            continue;
        }
        uint32_t id = map->shards[i].bucket;
        size_t n_pieces = 0;
        for (; i < map->n_shards && is_ours(request, &map->shards[i]) && map->shards[i].bucket == id; i++) {
            status = piece_of(request->model, &map->shards[i], &pieces[n_pieces++], err);
            if (status != MST_OK)
                break;
        }
        if (status == MST_OK && *n > 0 && buckets[*n - 1]->id >= id)
            status =
                mst_fail(err, MST_INVALID_ARGUMENT, "the map lists bucket %u after bucket %u", id, buckets[*n - 1]->id);
        if (status == MST_OK)
            status = mst_bucket_new(id, pieces, n_pieces, request->optimizer, &buckets[*n], err);
        *n += status == MST_OK;
    }
    free(pieces);
    return status;
}

// What the checkpoint says itself: a server that comes back goes on with the job's count, not with its checkpoint's.
static uint64_t iterations_of(const struct mst_bundle *bundle, uint64_t otherwise)
{
    const struct mst_bundle_entry *entry = mst_bundle_find(bundle, "iterations");
    int64_t iterations;
    if (!entry || entry->type != MST_TF_INT64 ||
        mst_bundle_read(bundle, entry, &iterations, sizeof iterations, NULL) != MST_OK || iterations < 0)
        return otherwise;
    return (uint64_t)iterations;
}

static void count_from(struct mst_bucket *bucket, uint64_t iterations)
{
    bucket->n_updates = iterations;
    bucket->current->counter = iterations;
}

// It may take minutes, and a process that ends waits for it.
static mst_status go_on(const struct mst_store_request *request, struct mst_error *err)
{
    if (request->is_cancelled && atomic_load_explicit(request->is_cancelled, memory_order_relaxed))
        return mst_fail(err, MST_CANCELLED, "this parameter server ends");
    return MST_OK;
}

static mst_status fill_buckets(const struct mst_store_request *request, struct mst_bucket **buckets, size_t n,
                               struct mst_error *err)
{
    const struct mst_msg_map *map = request->map;
    if (map->restore_prefix[0] == '\0') {
        for (size_t i = 0; i < n; i++) {
            MST_TRY(go_on(request, err));
            fill_initial(buckets[i], request->model, map->seed);
            count_from(buckets[i], map->iterations);
        }
        return MST_OK;
    }
    struct mst_bundle *bundle;
    MST_TRY(mst_bundle_open(map->restore_prefix, &bundle, err));
    uint64_t n_trained = iterations_of(bundle, map->iterations);
    mst_status status = MST_OK;
    for (size_t i = 0; i < n && status == MST_OK; i++) {
        status = go_on(request, err);
        if (status == MST_OK)
            status = restore_bucket(buckets[i], request->model, bundle, n_trained, err);
        count_from(buckets[i], map->iterations);
    }
    mst_bundle_free(bundle);
    return status == MST_OK ? MST_OK : mst_fail_prefix(err, status, "%s", map->restore_prefix);
}

static void free_buckets(struct mst_bucket **buckets, size_t n)
{
    for (size_t i = 0; i < n; i++)
        mst_bucket_free(buckets[i]);
    free(buckets);
}

mst_status mst_store_build_empty(const struct mst_store_request *request, struct mst_bucket ***out, size_t *n_out,
                                 struct mst_error *err)
{
    *out = NULL;
    *n_out = 0;
    struct mst_bucket **buckets = mst_alloc_array(request->map->n_shards, sizeof *buckets);
    size_t n = 0;
    mst_status status = make_buckets(request, buckets, &n, err);
    if (status != MST_OK) {
        free_buckets(buckets, n);
        return status;
    }
    *out = buckets;
    *n_out = n;
    return MST_OK;
}

mst_status mst_store_build(const struct mst_store_request *request, struct mst_bucket ***out, size_t *n_out,
                           struct mst_error *err)
{
    MST_TRY(mst_store_build_empty(request, out, n_out, err));
    mst_status status = fill_buckets(request, *out, *n_out, err);
    if (status != MST_OK) {
        free_buckets(*out, *n_out);
        *out = NULL;
        *n_out = 0;
    }
    return status;
}

void mst_store_view_abandon(struct mst_store_view *view)
{
    for (size_t i = 0; i < view->n_values; i++)
        free(view->names[i]);
    free(view->names);
    free(view->values);
    *view = (struct mst_store_view){0};
}

void mst_store_view_fini(struct mst_store_view *view)
{
    mst_snapshot_fini(&view->snapshot);
    mst_store_view_abandon(view);
}

static void add_value(struct mst_store_view *view, const struct mst_piece *piece, const struct mst_variable *variable,
                      char *name, const float *floats)
{
    view->names[view->n_values] = name;
    view->values[view->n_values++] =
        (struct mst_checkpoint_value){.tensor = {.name = name,
                                                 .type = MST_TF_FLOAT,
                                                 .shape = variable->shape,
                                                 .row_offset = piece->is_whole ? 0 : piece->row_offset,
                                                 .n_rows = piece->is_whole ? 0 : piece->n_rows},
                                      .data = floats};
}

static void add_values(const struct mst_bucket *bucket, const struct mst_model *model, struct mst_store_view *view)
{
    size_t at = 0;
    for (size_t i = 0; i < bucket->n_pieces; i++) {
        const struct mst_piece *piece = &bucket->pieces[i];
        const struct mst_variable *variable = mst_model_variable(model, piece->variable);
        add_value(view, piece, variable, mst_strdup(variable->name), view->snapshot.version->floats + at);
        for (size_t s = 0; s < n_slots_of(bucket, piece); s++)
            add_value(view, piece, variable,
                      mst_text("%s/%s", variable->name, mst_optimizer_slot_name(bucket->optimizer, s)),
                      view->snapshot.slots->slots[s] + at);
        at += piece->n_rows * piece->row_floats;
    }
}

// What is current is marked as a cut of its own, and used up at once.
static mst_status take_snapshot(struct mst_bucket *bucket, uint64_t cut, struct mst_snapshot *out,
                                struct mst_error *err)
{
    struct mst_snapshots now = {0};
    bool is_now = cut == 0 || bucket->is_frozen;
    if (is_now)
        mst_snapshot_mark(&now, 1, bucket);
    if (mst_snapshot_take(is_now ? &now : &bucket->snapshots, is_now ? 1 : cut, out))
        return MST_OK;
    if (mst_snapshot_is_lost(&bucket->snapshots, cut))
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory to keep the %zu bytes of bucket %u",
                        mst_bucket_bytes(bucket) + mst_bucket_slot_bytes(bucket), bucket->id);
    return mst_fail(err, MST_ABORTED, "bucket %u is not kept as it was at cut %llu", bucket->id,
                    (unsigned long long)cut);
}

mst_status mst_store_view(struct mst_bucket *bucket, uint64_t cut, const struct mst_model *model,
                          struct mst_store_view *out, struct mst_error *err)
{
    *out = (struct mst_store_view){.n_updates = UINT64_MAX};
    MST_TRY(take_snapshot(bucket, cut, &out->snapshot, err));
    if (!bucket->is_frozen)
        out->n_updates = out->snapshot.n_updates;
    size_t n_values = bucket->n_pieces * (1 + bucket->n_slots);
    out->values = mst_alloc_array(n_values, sizeof *out->values);
    out->names = mst_alloc_array(n_values, sizeof *out->names);
    add_values(bucket, model, out);
    return MST_OK;
}
