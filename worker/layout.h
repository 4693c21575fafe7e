/** @file
 *  Which variables lie in which bucket, as the chief's map says, seen from the worker: a bucket is a list of runs of
 *  floats in whole variables. Buckets of frozen variables stand last and are never pushed.
 *
 *      MST_TRY(mst_layout_new(model, &map, &layout, err));
 *      for (size_t i = layout->buckets[b].first; i < layout->buckets[b].first + layout->buckets[b].n; i++)
 *          run = &layout->runs[i];            // grads[run->variable] + run->at, run->n_floats
 *
 *  Thread: immutable, so any.
 */
#pragma once

#include "model/model.h"
#include "wire/messages.h"

/** Consecutive floats of one variable. */
struct mst_layout_run {
    size_t bucket;
    size_t variable;
    size_t at; // first float
    size_t n_floats;
};

struct mst_layout_bucket {
    uint32_t ps; // its home: which group it is in
    uint32_t thread;
    size_t first; // run
    size_t n;
    size_t n_floats;
};

struct mst_layout {
    struct mst_layout_run *runs;
    size_t n_runs;
    struct mst_layout_bucket *buckets;
    size_t n_buckets;
    size_t n_pushed; // buckets: the first ones
    uint64_t map_term;
    uint64_t map_epoch;
    uint32_t n_round_workers; // of a synchronous round; 0: there are no rounds
    size_t n_ps_threads;      // 0: every bucket stays where the map has it
    uint64_t *ps_threads;     // data threads, by PS
};

/** New layout in *out.
 *  Errors: DATA_LOSS the map does not fit the model: a variable it does not have, rows outside its shape or covered not
 *          once, frozen variables in a bucket that is pushed or before one; a PS of replicas without data threads */
MST_MUST_USE mst_status mst_layout_new(const struct mst_model *model, const struct mst_msg_map *map,
                                       struct mst_layout **out, struct mst_error *err);
/** Releases it; NULL is fine. */
void mst_layout_free(struct mst_layout *layout);
