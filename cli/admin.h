/** @file
 *  `muster admin drain`: changes a job that runs. It asks the chief, and waits until what was asked for is done.
 */
#pragma once

#include "cli/options.h"

/** Runs `muster admin` with the words of the call: the sub-command and its options. *exit_code becomes 1 when it cannot
 *  be, or not in time, and why is printed.
 *  Errors: INVALID_ARGUMENT wrong words */
MST_MUST_USE mst_status mst_admin_command(const struct mst_call *call, int *exit_code, struct mst_error *err);
