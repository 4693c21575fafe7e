// What a cut holds back stays with the data thread (connections that are not read, whole pushes that wait): when a gate
// changes, the thread looks at all of it again, which is rare enough.
#include "ps/data_thread_private.h"
#include "ps/replication_private.h"

#include "base/alloc.h"

#include <stdlib.h>

struct mst_holding *mst_holding_new(uint32_t group, uint32_t home_thread, struct mst_bucket **buckets, size_t n_buckets)
{
    struct mst_holding *holding = mst_alloc(sizeof *holding);
    *holding =
        (struct mst_holding){.group = group, .home_thread = home_thread, .buckets = buckets, .n_buckets = n_buckets};
    mst_cut_gate_init(&holding->gate);
    return holding;
}

void mst_holding_free(struct mst_holding *holding)
{
    if (!holding)
        return;
    mst_cut_gate_fini(&holding->gate);
    mst_replication_free(holding->replication); // its operations hold means of rounds
    mst_round_serve_free(holding->serving);
    for (size_t i = 0; i < holding->n_buckets; i++)
        mst_bucket_free(holding->buckets[i]);
    free(holding->buckets);
    free(holding);
}

struct mst_holding *mst_holding_of(struct mst_holding *first, uint32_t group, uint32_t home_thread)
{
    struct mst_holding *holding = first;
    while (holding && (holding->group != group || holding->home_thread != home_thread))
        holding = holding->next;
    return holding;
}

size_t mst_holding_position(const struct mst_holding *holding, uint32_t id)
{
    // Buckets of a holding are few and their ids grow; a handful of steps.
    size_t low = 0;
    size_t high = holding->n_buckets;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (holding->buckets[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < holding->n_buckets && holding->buckets[low]->id == id ? low : holding->n_buckets;
}

struct mst_bucket *mst_holding_find(const struct mst_holding *holding, uint32_t id)
{
    size_t position = mst_holding_position(holding, id);
    return position < holding->n_buckets ? holding->buckets[position] : NULL;
}

// ---- cuts ----

static void on_bucket_marked(void *arg)
{
    struct mst_holding *holding = arg;
    mst_data_thread_try_held_later(holding->thread); // from the loop: this may run from within a push
    if (--holding->n_unmarked > 0)
        return;
    mst_cut_gate_open(&holding->gate);
    holding->on_marked(holding->on_marked_arg);
}

static void set_gates(struct mst_holding *holding, const struct mst_cut_gate *gate)
{
    holding->n_unmarked = 0;
    for (size_t i = 0; i < holding->n_buckets; i++) {
        struct mst_bucket *bucket = holding->buckets[i];
        bucket->gate = bucket->is_frozen ? NULL : gate;
        bucket->on_marked = on_bucket_marked;
        bucket->on_marked_arg = holding;
        holding->n_unmarked += bucket->gate != NULL;
    }
}

void mst_holding_hold(struct mst_holding *holding, uint64_t cut)
{
    mst_cut_gate_hold(&holding->gate, cut);
    set_gates(holding, &holding->gate);
}

void mst_holding_look_at_marks(struct mst_holding *holding)
{
    for (size_t i = 0; i < holding->n_buckets; i++)
        mst_bucket_try_mark(holding->buckets[i]);
}

void mst_holding_admit(struct mst_holding *holding, const struct mst_holding_admission *admission)
{
    mst_cut_gate_admit(&holding->gate, admission->cut, admission->rows, admission->n_rows);
    set_gates(holding, &holding->gate);
    holding->on_marked = admission->on_marked;
    holding->on_marked_arg = admission->arg;
    if (holding->n_unmarked == 0) {
        mst_cut_gate_open(&holding->gate);
        admission->on_marked(admission->arg);
        return;
    }
    mst_holding_look_at_marks(holding);
    mst_data_thread_try_held_later(holding->thread);
}

void mst_holding_missing(const struct mst_holding *holding, void (*missing)(void *arg, const struct mst_cut_row *row),
                         void *arg)
{
    for (size_t i = 0; i < holding->n_buckets; i++) {
        const struct mst_cut_gate *gate = holding->buckets[i]->gate;
        for (size_t r = 0; gate && r < gate->n_rows; r++)
            if (!mst_cut_gate_has(&gate->rows[r], &holding->buckets[i]->clients))
                missing(arg, &gate->rows[r]);
    }
}

void *mst_holding_open(struct mst_holding *holding)
{
    void *waiting = holding->gate.phase == MST_CUT_GATE_ADMITTING ? holding->on_marked_arg : NULL;
    mst_cut_gate_open(&holding->gate);
    set_gates(holding, NULL);
    mst_data_thread_try_held_later(holding->thread);
    return waiting;
}

void mst_holding_drop_cut(struct mst_holding *holding, uint64_t cut)
{
    for (size_t i = 0; i < holding->n_buckets; i++)
        mst_snapshot_drop(&holding->buckets[i]->snapshots, cut);
}

void mst_holding_forget_cuts(struct mst_holding *holding)
{
    for (size_t i = 0; i < holding->n_buckets; i++)
        mst_snapshots_fini(&holding->buckets[i]->snapshots);
}

void mst_holding_reserve(struct mst_holding *holding)
{
    for (size_t i = 0; i < holding->n_buckets; i++)
        mst_bucket_reserve(holding->buckets[i]);
}

void mst_holding_trim(struct mst_holding *holding)
{
    for (size_t i = 0; i < holding->n_buckets; i++)
        mst_bucket_trim(holding->buckets[i]);
}
