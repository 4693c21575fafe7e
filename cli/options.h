/** @file
 *  Options of a command from a table: parsing, help text and the refusal of what is not in it all come from the same
 *  rows.
 *
 *      struct mst_option rows[] = {
 *          MST_OPTION_TEXT("http", "[ADDR:]PORT", &address, "serve /metrics, /healthz and /readyz there"),
 *          MST_OPTION_COUNT("workers", "N", &n_workers, 1, 1024, "worker processes"),
 *      };
 *      struct mst_command command = {.name = "local", …, .options = rows, .n_options = 2};
 *      MST_TRY(mst_options_read(&command, call, &is_to_run, err));
 *
 *  Accepted: --name VALUE, --name=VALUE, operands anywhere, "--" before operands that begin with a dash, -h and --help.
 *  Values keep their defaults when the option does not come; an option that is no list may come once.
 *  Owner: texts point into argv. Thread: any.
 */
#pragma once

#include "muster/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum mst_option_kind {
    MST_OPTION_KIND_TEXT,  // value: const char **
    MST_OPTION_KIND_LIST,  // value: struct mst_text_list *, may come several times
    MST_OPTION_KIND_COUNT, // value: size_t *, min … max
    MST_OPTION_KIND_FD,    // value: int *, an open descriptor's number
    MST_OPTION_KIND_FLAG,  // value: bool *, becomes true; takes no argument
};

/** Texts given one by one. Owner: items is the list's, the texts are argv's. */
struct mst_text_list {
    const char **items;
    size_t n;
};

/** One row. */
struct mst_option {
    enum mst_option_kind kind;
    const char *name;     // without the dashes
    const char *argument; // as the help text shows it
    void *value;
    size_t min;
    size_t max;
    const char *help; // one sentence without a full stop; NULL: not in the help text (used between our own processes)
};

#define MST_OPTION_TEXT(name, argument, value, help)                                                                   \
    {MST_OPTION_KIND_TEXT, name, argument, (const char **){value}, 0, 0, help}
#define MST_OPTION_LIST(name, argument, value, help)                                                                   \
    {MST_OPTION_KIND_LIST, name, argument, (struct mst_text_list *){value}, 0, 0, help}
#define MST_OPTION_COUNT(name, argument, value, min, max, help)                                                        \
    {MST_OPTION_KIND_COUNT, name, argument, (size_t *){value}, min, max, help}
#define MST_OPTION_FD(name, argument, value, help) {MST_OPTION_KIND_FD, name, argument, (int *){value}, 0, 0, help}
#define MST_OPTION_FLAG(name, value, help)         {MST_OPTION_KIND_FLAG, name, "", (bool *){value}, 0, 0, help}

/** A sub-command as the parser and the help text see it. */
struct mst_command {
    const char *name;
    const char *summary;                // one line
    const char *details;                // paragraphs for the help text, or NULL
    const char *operand;                // "JOB" or "[JOB]", NULL: none
    const char **operand_value;         // where it goes; untouched when it does not come
    struct mst_text_list *operand_list; // instead of operand_value: takes any number of them
    const struct mst_option *options;
    size_t n_options;
    const char *const *examples; // command lines, each with what it does: pairs, NULL at the end
};

enum mst_options_outcome {
    MST_OPTIONS_RUN,
    MST_OPTIONS_HELP, // --help came: print it and leave with 0
};

/** How a command is called: to do its work, or only to show its table (for completion and manual pages). */
struct mst_call {
    int argc; // the words that follow the command's name
    char *const *argv;
    void (*on_command)(void *arg, const struct mst_command *command); // not NULL: gets the table, and nothing is done
    void *arg;
};

/** Reads the words of the call into the values of the table. *is_to_run_out: the command is to do its work; else its
 *  help was asked for and is printed, its table was asked for and is given, or this fails.
 *  Errors: those of mst_options_parse */
MST_MUST_USE mst_status mst_options_read(const struct mst_command *command, const struct mst_call *call,
                                         bool *is_to_run_out, struct mst_error *err);

/** Reads argv[0 … argc-1] (what follows the command's name) into the values of the table.
 *  Errors: INVALID_ARGUMENT names the option, the value and the remedy; for an unknown one the nearest that exists */
MST_MUST_USE mst_status mst_options_parse(const struct mst_command *command, int argc, char *const *argv,
                                          enum mst_options_outcome *out, struct mst_error *err);

/** What the help says of --help itself. */
extern const char mst_options_help_text[];

/** Prints usage, options and examples from the table, wrapped at 100 columns. */
void mst_options_help(const struct mst_command *command, FILE *to);

/** Releases what a list holds; it is empty and usable again. */
void mst_text_list_fini(struct mst_text_list *list);
