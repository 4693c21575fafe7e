/** @file
 *  Scripts that complete commands, options and their values in a shell, made from the tables that the commands read.
 *
 *      source <(muster completion bash)
 *
 *  A value or operand is completed by what the table calls it: "csv|jsonl" are the words themselves, FILE, DIR, JOB and
 *  their like are file names, "[COMMAND]" is a command; all else is left to whoever types.
 *  Thread: any.
 */
#pragma once

#include "cli/command_table.h"

/** Prints the script for "bash", "zsh" or "fish". Errors: INVALID_ARGUMENT another shell */
MST_MUST_USE mst_status mst_completion_print(const struct mst_command_table *table, const char *shell, FILE *to,
                                             struct mst_error *err);
