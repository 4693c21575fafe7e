/** @file
 *  Whether a job's synchronous rounds fit the messages that they are made with: between the chief and a parameter
 *  server, and with replicas between that and its backups.
 *
 *      MST_TRY(mst_round_sizes_check(&config, err));            // when the job starts
 *      if (job->replicas > 0)
 *          MST_TRY(mst_round_sizes_check_replicas(&config, err));
 *
 *  Thread: any.
 */
#pragma once

#include "chief/rounds.h"

/** Checks the largest close that rounds of this config come to, the largest answer of a parameter server (what each
 *  worker measured may come at once), and the chief's state, which holds a close. A tail that a job with other workers
 *  left behind may be longer; then the chief says so when it comes to that.
 *  Errors: INVALID_ARGUMENT they do not fit (names the keys) */
MST_MUST_USE mst_status mst_round_sizes_check(const struct mst_rounds_config *config, struct mst_error *err);
/** Checks the largest close, and what else a backup gets of rounds. A longer tail is looked at by the parameter server.
 *  Errors: INVALID_ARGUMENT they do not fit (says of what) */
MST_MUST_USE mst_status mst_round_sizes_check_replicas(const struct mst_rounds_config *config, struct mst_error *err);
