/** @file
 *  The commands of a program: the one table that running, help, completion and manual pages come from.
 *
 *      MST_TRY(mst_command_table_find(&table, word, &row, err));
 *      struct mst_call call = {.argc = argc, .argv = argv};
 *      MST_TRY(row->run(&call, &exit_code, err));
 *
 *  Thread: any.
 */
#pragma once

#include "cli/options.h"

/** A command reads its options and works; *exit_code stays 0 unless it says otherwise. */
typedef mst_status (*mst_command_fn)(const struct mst_call *call, int *exit_code, struct mst_error *err);

/** One command. Its table of options is its own: mst_options_read has it. */
struct mst_command_row {
    const char *name;
    mst_command_fn run;
    const char *summary; // a line without a full stop
};

struct mst_command_table {
    const char *program;      // "muster"
    const char *summary;      // what it is, one sentence
    const char *const *hints; // lines below the list of commands, NULL at the end
    const struct mst_command_row *rows;
    size_t n_rows;
};

/** The command of this name in *out, borrowed.
 *  Errors: INVALID_ARGUMENT names the nearest that exists */
MST_MUST_USE mst_status mst_command_table_find(const struct mst_command_table *table, const char *name,
                                               const struct mst_command_row **out, struct mst_error *err);

/** Calls on_command with the table of every command, sub-commands as their own ("ckpt ls"), in order. */
void mst_command_table_visit(const struct mst_command_table *table,
                             void (*on_command)(void *arg, const struct mst_command *command), void *arg);

/** Prints what `muster --help` prints. */
void mst_command_table_help(const struct mst_command_table *table, FILE *to);
