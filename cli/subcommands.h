/** @file
 *  The sub-commands of a command (`muster ckpt ls`): one table that running and help come from.
 *
 *      static const struct mst_subcommand rows[] = {{"ls", ls_command, "Lists …", ls_examples}, …};
 *      static const struct mst_subcommands table = {"ckpt", "Lists, shows …", rows, LENGTH(rows)};
 *      return mst_subcommands_run(&table, call, exit_code, err);
 *
 *  Thread: any.
 */
#pragma once

#include "cli/command_table.h"

/** One of them. Its table of options is its own: mst_options_read has it. */
struct mst_subcommand {
    const char *word;
    mst_command_fn run;
    const char *summary;         // a sentence
    const char *const *examples; // as mst_command.examples; the first one is shown
};

struct mst_subcommands {
    const char *command; // "ckpt"
    const char *summary; // what it is, one sentence
    const struct mst_subcommand *rows;
    size_t n_rows;
};

/** Runs the sub-command that the call's first word names, with the rest of the call; prints the help; or visits all.
 *  *exit_code is 0 unless the sub-command says otherwise.
 *  Errors: INVALID_ARGUMENT there is no word, or none like it, with the nearest that exists; the sub-command's */
MST_MUST_USE mst_status mst_subcommands_run(const struct mst_subcommands *table, const struct mst_call *call,
                                            int *exit_code, struct mst_error *err);
