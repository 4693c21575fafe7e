/** @file
 *  The exchange within one process: pushes and pulls are calls, and the worker computes with the server's own memory.
 *
 *      MST_TRY(mst_exchange_direct_new(ps, layout, grads, &events, &exchange, err));
 *
 *  The worker holds a reference to the version of every bucket that it computes with, so an update goes into the spare
 *  buffer and nothing is copied (in synchronous rounds a gradient is, once). Every variable has to lie in one bucket,
 *  its parts in order (a plan with one bucket a server).
 *  Thread: the loop that is both the worker's and the PS's data loop.
 */
#pragma once

#include "ps/ps.h"
#include "worker/exchange.h"
#include "worker/layout.h"

/** New exchange in *out. Owner: borrows ps, layout, grads until free; copies events
 *  Errors: INVALID_ARGUMENT a bucket that the PS does not hold, or a variable in scattered pieces */
MST_MUST_USE mst_status mst_exchange_direct_new(struct mst_ps *ps, const struct mst_layout *layout, float *const *grads,
                                                const struct mst_exchange_events *events, struct mst_exchange **out,
                                                struct mst_error *err);
/** Gives its references back and releases it; NULL is fine. Before the PS is freed. */
void mst_exchange_direct_free(struct mst_exchange *exchange);
