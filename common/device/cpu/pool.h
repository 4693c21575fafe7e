/** @file
 *  A few threads that share the slices of one operation. Private to device/cpu.
 *
 *      MST_TRY(mst_pool_new(n_threads, &pool));
 *      mst_pool_run(pool, n_slices, add_slice, &job);     // add_slice(&job, 0 … n_slices - 1, n_slices)
 *      mst_pool_free(pool);
 *
 *  How work is cut is the caller's affair and must not depend on who does a slice. The calling thread takes slices
 *  like the others: one whose helper the system has not let run yet is not waited for.
 *  Thread: one caller at a time.
 */
#pragma once

#include "muster/status.h"

#include <stddef.h>

struct mst_pool;

/** Does one slice. Thread: any of the pool's, several at once */
typedef void mst_slice_fn(void *context, size_t slice, size_t n_slices);

enum { MST_POOL_MAX_SLICES = 0xFFFF };

/** New pool of n_threads, the caller's among them, in *out.
 *  Errors: RESOURCE_EXHAUSTED no thread to be had (*out NULL) */
MST_MUST_USE mst_status mst_pool_new(size_t n_threads, struct mst_pool **out);
/** Ends the threads; NULL is fine. */
void mst_pool_free(struct mst_pool *pool);
/** Does all slices; on return what they wrote is the caller's. A single slice runs on the calling thread.
 *  Cost: no allocation, no lock; one system call if helpers sleep */
void mst_pool_run(struct mst_pool *pool, size_t n_slices, mst_slice_fn *fn, void *context);

/** Where slice number `slice` of n elements begins: a multiple of granule, or n. Slice n_slices begins at n. */
static inline size_t mst_slice_begin(size_t n, size_t granule, size_t slice, size_t n_slices)
{
    size_t n_granules = (n + granule - 1) / granule;
    size_t begin = n_granules * slice / n_slices * granule;
    return begin < n ? begin : n;
}
