/** @file
 *  `muster ckpt diff`: which tensors of two checkpoints differ, and by how much.
 */
#pragma once

#include "cli/options.h"

/** What the help text of `muster ckpt` says of it. */
extern const char mst_ckpt_diff_summary[];
extern const char *const mst_ckpt_diff_examples[];

/** Runs it with the words of the call; *exit_code becomes 1 when there is a difference, which is then printed.
 *  Errors: INVALID_ARGUMENT wrong words; those of reading the checkpoints */
MST_MUST_USE mst_status mst_ckpt_diff_command(const struct mst_call *call, int *exit_code, struct mst_error *err);
