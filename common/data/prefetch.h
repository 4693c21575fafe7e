/** @file
 *  A bounded queue of batches gathered ahead: asked for by number, taken in the order of asking.
 *
 *      MST_TRY(mst_prefetch_new(batches, 4, MST_PREFETCH_THREAD, &prefetch, err));
 *      while (mst_prefetch_n_free(prefetch) > 0 && more)
 *          mst_prefetch_request(prefetch, epoch, number++);
 *      MST_TRY(mst_prefetch_take(prefetch, &batch, err));       // waits for the oldest one
 *      …                                                         // batch->inputs, batch->targets
 *      mst_prefetch_release(prefetch);                           // the oldest taken; its memory is used again
 *
 *  All memory is allocated by new. In both modes a thread begins to load the data set at once, beside whatever the
 *  caller does next. With MST_PREFETCH_THREAD it then gathers; with MST_PREFETCH_INLINE it ends, and take gathers:
 *  cheaper where all cores are busy anyway (a gather of 64 images costs 6 us, handing it over costs 2 us more CPU).
 *  Thread: request, take, release and drop from one thread, the owner's.
 */
#pragma once

#include "data/batches.h"
#include "muster/status.h"

#include <stddef.h>
#include <stdint.h>

enum mst_prefetch_mode { MST_PREFETCH_INLINE, MST_PREFETCH_THREAD };

enum { MST_PREFETCH_DEPTH_MAX = 64 };

struct mst_prefetch;

/** New queue of `depth` batches; its thread starts loading the data set at once.
 *  Owner:  keeps batches (borrowed, must outlive it)
 *  Errors: INVALID_ARGUMENT depth outside 1 … MST_PREFETCH_DEPTH_MAX; RESOURCE_EXHAUSTED no memory or no thread */
MST_MUST_USE mst_status mst_prefetch_new(const struct mst_batches *batches, size_t depth, enum mst_prefetch_mode mode,
                                         struct mst_prefetch **out, struct mst_error *err);
/** Stops the thread (after the load or the batch it is at) and releases all; NULL is fine. */
void mst_prefetch_free(struct mst_prefetch *prefetch);

/** How many more batches may be asked for now: depth less those asked for and not yet released. */
size_t mst_prefetch_n_free(const struct mst_prefetch *prefetch);
/** How many were asked for and not yet taken. */
size_t mst_prefetch_n_pending(const struct mst_prefetch *prefetch);
/** Asks for a batch; n_free must be above 0. Never waits. A number past the epoch fails when it is taken. */
void mst_prefetch_request(struct mst_prefetch *prefetch, uint64_t epoch, uint64_t number);
/** The oldest batch asked for and not yet taken, in *out; waits until it is there. n_pending must be above 0.
 *  Owner:  borrowed until it is released
 *  Errors: those of mst_batches_gather (the batch then counts as taken; release it) */
MST_MUST_USE mst_status mst_prefetch_take(struct mst_prefetch *prefetch, const struct mst_batch **out,
                                          struct mst_error *err);
/** Gives back the oldest batch taken and not yet released; there must be one. */
void mst_prefetch_release(struct mst_prefetch *prefetch);
/** Forgets what was asked for and not yet taken; waits for a gather in progress. For leases that were taken away. */
void mst_prefetch_drop(struct mst_prefetch *prefetch);
