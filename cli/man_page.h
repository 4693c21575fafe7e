/** @file
 *  Manual pages, made from the tables that the commands read: muster(1) and one of each command, muster-local(1).
 *
 *      MST_TRY(mst_man_pages_write(&table, "build/man", err));
 *
 *  Thread: any.
 */
#pragma once

#include "cli/command_table.h"

/** Writes muster.1, muster-local.1, muster-ckpt-ls.1 … into a directory that is there.
 *  Errors: those of writing a file (tfio/disk_file.h) */
MST_MUST_USE mst_status mst_man_pages_write(const struct mst_command_table *table, const char *directory,
                                            struct mst_error *err);

/** Prints the page of one command in the man macros of troff; no time is in it, so that it is the same each time. */
void mst_man_page_print(const struct mst_command_table *table, const struct mst_command *command, FILE *to);

/** Prints the page of the program, which names those of the commands. */
void mst_man_page_print_program(const struct mst_command_table *table, FILE *to);
