/** @file
 *  Whether what the chief of a job with leases has to leave to the next one fits a message, however many workers there
 *  are. (chief/round_sizes.h: of synchronous rounds.)
 *
 *      MST_TRY(mst_lease_sizes_check(&config, n_workers, err)); // when the job starts
 *
 *  Thread: any.
 */
#pragma once

#include "chief/coordinator.h"

/** Checks the state of a chief of so many workers, each of which holds all leases that it may while as many came back
 *  from a dead one. Of more workers than the cluster names the chief says so when it comes to that.
 *  Errors: INVALID_ARGUMENT it does not fit */
MST_MUST_USE mst_status mst_lease_sizes_check(const struct mst_coordinator_config *config, size_t n_workers,
                                              struct mst_error *err);
