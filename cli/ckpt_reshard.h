/** @file
 *  `muster ckpt reshard`: a checkpoint again, with other data files and other cuts of its tensors.
 */
#pragma once

#include "cli/options.h"

/** What the help text of `muster ckpt` says of it. */
extern const char mst_ckpt_reshard_summary[];
extern const char *const mst_ckpt_reshard_examples[];

/** Runs it with the words of the call. Errors: INVALID_ARGUMENT wrong words; those of mst_reshard */
MST_MUST_USE mst_status mst_ckpt_reshard_command(const struct mst_call *call, int *exit_code, struct mst_error *err);
