/** @file
 *  Whether a job's synchronous rounds fit the messages between a parameter server and its backups.
 *  Thread: any.
 */
#pragma once

#include "chief/rounds.h"

/** Checks the largest close that rounds of this config come to, and what else a backup gets of them. A tail that a job
 *  with other workers left behind may be longer; a parameter server looks at each close again.
 *  Errors: INVALID_ARGUMENT they do not fit (says of what) */
MST_MUST_USE mst_status mst_round_sizes_check(const struct mst_rounds_config *config, struct mst_error *err);
