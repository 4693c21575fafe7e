#include "ps/snapshot.h"

#include "base/alloc.h"
#include "base/error.h"
#include "ps/bucket.h"

#include <stdlib.h>
#include <string.h>

static void let_go(struct mst_snapshot *snapshot)
{
    if (snapshot->version)
        mst_version_unkeep(snapshot->version, snapshot->slots);
    snapshot->version = NULL;
    snapshot->slots = NULL;
}

void mst_snapshot_fini(struct mst_snapshot *snapshot)
{
    let_go(snapshot);
    free(snapshot->rows);
    *snapshot = (struct mst_snapshot){0};
}

void mst_snapshots_fini(struct mst_snapshots *snapshots)
{
    for (size_t i = 0; i < MST_SNAPSHOTS; i++)
        mst_snapshot_fini(&snapshots->all[i]);
}

// MST_SNAPSHOTS: it is not here.
static size_t place_of(const struct mst_snapshots *snapshots, uint64_t cut)
{
    size_t i = 0;
    while (i < MST_SNAPSHOTS && snapshots->all[i].cut != cut)
        i++;
    return i;
}

static const struct mst_snapshot *find(const struct mst_snapshots *snapshots, uint64_t cut)
{
    size_t i = cut ? place_of(snapshots, cut) : MST_SNAPSHOTS;
    return i < MST_SNAPSHOTS ? &snapshots->all[i] : NULL;
}

// That of the same cut, a free one, or the oldest.
static struct mst_snapshot *choose_place(struct mst_snapshots *snapshots, uint64_t cut)
{
    size_t i = place_of(snapshots, cut);
    if (i == MST_SNAPSHOTS)
        i = place_of(snapshots, 0);
    if (i < MST_SNAPSHOTS)
        return &snapshots->all[i];
    struct mst_snapshot *oldest = &snapshots->all[0];
    for (i = 1; i < MST_SNAPSHOTS; i++)
        if (snapshots->all[i].cut < oldest->cut)
            oldest = &snapshots->all[i];
    return oldest;
}

void mst_snapshot_mark(struct mst_snapshots *snapshots, uint64_t cut, struct mst_bucket *bucket)
{
    MST_ASSERT(cut != 0);
    struct mst_snapshot *place = choose_place(snapshots, cut);
    mst_snapshot_fini(place);
    *place = (struct mst_snapshot){.cut = cut, .n_updates = bucket->n_updates, .counter = bucket->current->counter};
    place->version = bucket->current;
    place->slots = bucket->slots;
    mst_version_keep(place->version, place->slots);
    place->n_rows = bucket->clients.n_rows;
    place->rows = mst_alloc_array(2 * place->n_rows, sizeof *place->rows);
    if (place->n_rows) {
        memcpy(place->rows, bucket->clients.rows, place->n_rows * sizeof *place->rows);
        memcpy(place->rows + place->n_rows, bucket->clients.last_rows, place->n_rows * sizeof *place->rows);
    }
}

const struct mst_snapshot *mst_snapshot_of(const struct mst_snapshots *snapshots, uint64_t cut)
{
    const struct mst_snapshot *snapshot = find(snapshots, cut);
    return snapshot && snapshot->version ? snapshot : NULL;
}

struct mst_client_row mst_snapshot_row(const struct mst_snapshots *snapshots, uint64_t cut, uint32_t worker,
                                       uint64_t number)
{
    const struct mst_snapshot *snapshot = find(snapshots, cut);
    if (!snapshot || worker >= snapshot->n_rows)
        return (struct mst_client_row){0};
    const struct mst_client_row *row = &snapshot->rows[worker];
    return *mst_client_row_of(row, row + snapshot->n_rows, number);
}

uint64_t mst_snapshot_n_updates(const struct mst_snapshots *snapshots, uint64_t cut)
{
    const struct mst_snapshot *snapshot = find(snapshots, cut);
    return snapshot ? snapshot->n_updates : 0;
}

bool mst_snapshot_take(struct mst_snapshots *snapshots, uint64_t cut, struct mst_snapshot *out)
{
    *out = (struct mst_snapshot){0};
    if (!mst_snapshot_of(snapshots, cut))
        return false;
    struct mst_snapshot *snapshot = &snapshots->all[place_of(snapshots, cut)];
    free(snapshot->rows);
    snapshot->rows = NULL;
    snapshot->n_rows = 0;
    *out = *snapshot;
    *snapshot = (struct mst_snapshot){0};
    return true;
}

bool mst_snapshot_is_lost(const struct mst_snapshots *snapshots, uint64_t cut)
{
    const struct mst_snapshot *snapshot = find(snapshots, cut);
    return snapshot && snapshot->is_lost;
}

bool mst_snapshots_lose(struct mst_snapshots *snapshots)
{
    bool any = false;
    for (size_t i = 0; i < MST_SNAPSHOTS; i++) {
        struct mst_snapshot *snapshot = &snapshots->all[i];
        if (!snapshot->version)
            continue;
        let_go(snapshot);
        snapshot->is_lost = true;
        any = true;
    }
    return any;
}

void mst_snapshot_drop(struct mst_snapshots *snapshots, uint64_t cut)
{
    if (find(snapshots, cut))
        mst_snapshot_fini(&snapshots->all[place_of(snapshots, cut)]);
}
