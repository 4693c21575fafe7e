/** @file
 *  `muster top`: a table of what every role of a job does, drawn anew each second from their /metrics and /readyz.
 */
#pragma once

#include "cli/role_addresses.h"

#include <stdbool.h>

/** What the command line says. Texts borrowed. */
struct mst_top_options {
    struct mst_role_addresses_request whom;
    bool is_once;
    bool is_json;
};

/** Shows it until Ctrl-C or until the job is over; *exit_code_out: 143 after SIGTERM.
 *  Errors: INVALID_ARGUMENT nothing says whom to ask, or wrong; UNAVAILABLE no muster local runs there, or the table
 *  cannot be written. Thread: the only one of the process */
MST_MUST_USE mst_status mst_top(const struct mst_top_options *options, int *exit_code_out, struct mst_error *err);
