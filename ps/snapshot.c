#include "ps/snapshot.h"

#include "base/alloc.h"
#include "base/error.h"
#include "ps/bucket.h"

#include <stdlib.h>
#include <string.h>

void mst_snapshot_fini(struct mst_snapshot *snapshot)
{
    free(snapshot->floats);
    free(snapshot->rows);
    for (size_t s = 0; s < MST_OPTIMIZER_MAX_SLOTS; s++)
        free(snapshot->slots[s]);
    *snapshot = (struct mst_snapshot){0};
}

void mst_snapshots_fini(struct mst_snapshots *snapshots)
{
    for (size_t i = 0; i < MST_SNAPSHOTS; i++)
        mst_snapshot_fini(&snapshots->all[i]);
    snapshots->n_shared = 0;
}

static bool is_shared(const struct mst_snapshot *snapshot)
{
    return snapshot->cut != 0 && !snapshot->is_copied && !snapshot->is_lost;
}

static struct mst_snapshot *find(struct mst_snapshots *snapshots, uint64_t cut)
{
    for (size_t i = 0; i < MST_SNAPSHOTS; i++)
        if (snapshots->all[i].cut == cut)
            return &snapshots->all[i];
    return NULL;
}

static void release(struct mst_snapshots *snapshots, struct mst_snapshot *snapshot)
{
    snapshots->n_shared -= is_shared(snapshot);
    mst_snapshot_fini(snapshot);
}

void mst_snapshot_mark(struct mst_snapshots *snapshots, uint64_t cut, const struct mst_bucket *bucket)
{
    MST_ASSERT(cut != 0);
    struct mst_snapshot *place = find(snapshots, cut);
    for (size_t i = 0; !place && i < MST_SNAPSHOTS; i++)
        if (snapshots->all[i].cut == 0)
            place = &snapshots->all[i];
    if (!place) {
        place = &snapshots->all[0];
        for (size_t i = 1; i < MST_SNAPSHOTS; i++)
            if (snapshots->all[i].cut < place->cut)
                place = &snapshots->all[i];
    }
    release(snapshots, place);
    *place = (struct mst_snapshot){.cut = cut, .n_updates = bucket->n_updates, .counter = bucket->current->counter};
    snapshots->n_shared++;
    place->n_rows = bucket->clients.n_rows;
    place->rows = mst_alloc_array(place->n_rows, sizeof *place->rows);
    if (place->n_rows)
        memcpy(place->rows, bucket->clients.rows, place->n_rows * sizeof *place->rows);
}

static float *copy_of(const float *floats, size_t n)
{
    void *memory;
    return mst_try_copy(floats, n * sizeof(float), &memory) == MST_OK ? memory : NULL;
}

static void copy(struct mst_snapshots *snapshots, struct mst_snapshot *snapshot, const struct mst_bucket *bucket)
{
    snapshots->n_shared--;
    snapshot->is_copied = true;
    snapshot->floats = copy_of(bucket->current->floats, bucket->n_floats);
    bool has_all = snapshot->floats != NULL;
    for (size_t s = 0; s < bucket->n_slots; s++) {
        snapshot->slots[s] = copy_of(bucket->slots[s], bucket->n_trained);
        has_all = has_all && snapshot->slots[s];
    }
    if (has_all)
        return;
    uint64_t cut = snapshot->cut;
    mst_snapshot_fini(snapshot);
    *snapshot = (struct mst_snapshot){.cut = cut, .is_lost = true};
}

void mst_snapshots_preserve(struct mst_snapshots *snapshots, const struct mst_bucket *bucket)
{
    for (size_t i = 0; snapshots->n_shared > 0 && i < MST_SNAPSHOTS; i++)
        if (is_shared(&snapshots->all[i]))
            copy(snapshots, &snapshots->all[i], bucket);
}

const struct mst_snapshot *mst_snapshot_of(struct mst_snapshots *snapshots, uint64_t cut,
                                           const struct mst_bucket *bucket)
{
    struct mst_snapshot *snapshot = cut ? find(snapshots, cut) : NULL;
    if (snapshot && is_shared(snapshot))
        copy(snapshots, snapshot, bucket);
    return snapshot && snapshot->is_copied ? snapshot : NULL;
}

struct mst_client_row mst_snapshot_row(const struct mst_snapshots *snapshots, uint64_t cut, uint32_t worker)
{
    for (size_t i = 0; i < MST_SNAPSHOTS; i++)
        if (cut && snapshots->all[i].cut == cut && worker < snapshots->all[i].n_rows)
            return snapshots->all[i].rows[worker];
    return (struct mst_client_row){0};
}

bool mst_snapshot_take(struct mst_snapshots *snapshots, uint64_t cut, const struct mst_bucket *bucket,
                       struct mst_snapshot *out)
{
    *out = (struct mst_snapshot){0};
    if (!mst_snapshot_of(snapshots, cut, bucket))
        return false;
    struct mst_snapshot *snapshot = find(snapshots, cut);
    *out = *snapshot;
    *snapshot = (struct mst_snapshot){0};
    return true;
}

bool mst_snapshot_is_lost(const struct mst_snapshots *snapshots, uint64_t cut)
{
    for (size_t i = 0; i < MST_SNAPSHOTS; i++)
        if (cut && snapshots->all[i].cut == cut)
            return snapshots->all[i].is_lost;
    return false;
}

void mst_snapshot_drop(struct mst_snapshots *snapshots, uint64_t cut)
{
    struct mst_snapshot *snapshot = cut ? find(snapshots, cut) : NULL;
    if (snapshot)
        release(snapshots, snapshot);
}
