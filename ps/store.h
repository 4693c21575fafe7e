/** @file
 *  Makes the buckets of a map: memory, initial values or those of a checkpoint; and copies one out for one.
 *
 *      MST_TRY(mst_store_build(&request, &buckets, &n, err));
 *      MST_TRY(mst_store_view(buckets[i], cut, model, &view, err));
 *
 *  Thread: loop of the buckets for copy; any for build.
 */
#pragma once

#include "ckpt/checkpoint.h"
#include "model/model.h"
#include "ps/bucket.h"
#include "wire/messages.h"

#include <stdatomic.h>

/** What to build. Borrowed for the call. */
struct mst_store_request {
    const struct mst_model *model;
    const struct mst_optimizer *optimizer;
    const struct mst_msg_map *map;
    uint32_t ps;
    uint32_t thread;
    const atomic_bool *is_cancelled; // looked at before each bucket is filled; NULL: nobody cancels it
};

/** The buckets that the map gives to this server and thread, filled, in ascending id.
 *  Owner:  *out and what it points to are the caller's
 *  Errors: INVALID_ARGUMENT a map that does not fit the model; RESOURCE_EXHAUSTED; CANCELLED; those of reading a
 *          checkpoint */
MST_MUST_USE mst_status mst_store_build(const struct mst_store_request *request, struct mst_bucket ***out,
                                        size_t *n_out, struct mst_error *err);

/** The same with zeros in them: another server sends what they hold.
 *  Errors: INVALID_ARGUMENT a map that does not fit the model; RESOURCE_EXHAUSTED */
MST_MUST_USE mst_status mst_store_build_empty(const struct mst_store_request *request, struct mst_bucket ***out,
                                              size_t *n_out, struct mst_error *err);

/** A bucket as checkpoint values: weights and slots of one version, which stay where they are. */
struct mst_store_view {
    struct mst_checkpoint_value *values;
    size_t n_values;
    uint64_t n_updates;           // UINT64_MAX: the bucket is never pushed
    char **names;                 // backs values[i].tensor.name
    struct mst_snapshot snapshot; // backs values[i].data
};

/** Keeps a bucket as it is at this cut, whose snapshot is used up; as it is now, if it is frozen or cut is 0. Any
 *  thread may read the values.
 *  Errors: RESOURCE_EXHAUSTED there was no memory to keep it; ABORTED the cut is not kept here (any more) (*out is
 *          zeroed) */
MST_MUST_USE mst_status mst_store_view(struct mst_bucket *bucket, uint64_t cut, const struct mst_model *model,
                                       struct mst_store_view *out, struct mst_error *err);
/** Releases a view. A zeroed one is fine. Thread: loop of the bucket */
void mst_store_view_fini(struct mst_store_view *view);
/** Releases a view and leaves the bucket alone, which is gone or goes with its loop. */
void mst_store_view_abandon(struct mst_store_view *view);
