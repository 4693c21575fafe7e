/** @file
 *  Asks whether anybody listens at an address: one connection attempt, closed as soon as it stands.
 *
 *      MST_TRY(mst_probe_new(loop, &address, on_probed, arg, &probe));   // on_probed runs once, from the loop
 *      mst_probe_free(probe);                                            // from on_probed, or before it
 *
 *  Thread: loop.
 */
#pragma once

#include "rpc/resolve.h"

struct mst_probe;

enum mst_probe_result {
    MST_PROBE_REFUSED, // the host answers, and nobody listens there
    MST_PROBE_TAKEN,   // somebody took the connection
    MST_PROBE_UNKNOWN, // no answer within a second, or no way there
};

/** A probe under way. Owner: copies address; *out is the caller's
 *  Errors: RESOURCE_EXHAUSTED no socket to be had (*out is NULL) */
MST_MUST_USE mst_status mst_probe_new(struct mst_loop *loop, const struct mst_socket_address *address,
                                      void (*on_probed)(void *arg, enum mst_probe_result result), void *arg,
                                      struct mst_probe **out);
/** Ends it; on_probed does not run any more. NULL is fine. Callable from on_probed. */
void mst_probe_free(struct mst_probe *probe);
