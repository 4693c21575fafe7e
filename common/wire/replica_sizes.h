/** @file
 *  How large what a primary sends its followers can become. A message that does not fit would come up in the middle of
 *  a job; so the chief asks when it starts, and a parameter server when a close comes.
 *
 *      struct mst_replica_sizes sizes = {.n_workers = n, .close_bytes = mst_replica_close_bytes(&largest)};
 *      MST_TRY(mst_replica_sizes_check(&sizes, err));
 *
 *  Thread: any.
 */
#pragma once

#include "wire/messages.h"

#include <stddef.h>
#include <stdint.h>

/** What the sizes depend on. */
struct mst_replica_sizes {
    size_t n_workers;     // client rows of a bucket
    size_t n_norms;       // groups of clipping
    uint64_t close_bytes; // the largest close of a round; 0: there are no rounds
};

/** Bytes that a close is in a message. */
uint64_t mst_replica_close_bytes(const struct mst_msg_close *close);
/** No operation and no bucket of a sweep has more bytes of meta than this. */
uint64_t mst_replica_meta_bytes(const struct mst_replica_sizes *sizes);
/** Errors: INVALID_ARGUMENT they may be more than a message has (says of what) */
MST_MUST_USE mst_status mst_replica_sizes_check(const struct mst_replica_sizes *sizes, struct mst_error *err);
