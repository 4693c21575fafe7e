#include "cli/subcommands.h"

#include "base/error.h"
#include "spec/json_source.h"

#include <string.h>

enum { ROWS_MAX = 16 };

// "ls|inspect", "ls, inspect or diff"
static void list_words(const struct mst_subcommands *table, const char *between, const char *last, char *out,
                       size_t out_bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < table->n_rows && used < out_bytes; i++) {
        const char *before = i == 0 ? "" : i + 1 == table->n_rows ? last : between;
        used += (size_t)snprintf(out + used, out_bytes - used, "%s%s", before, table->rows[i].word);
    }
}

static void print_help(const struct mst_subcommands *table)
{
    char words[256];
    list_words(table, "|", "|", words, sizeof words);
    printf("usage: muster %s %s … [options]\n\n%s\n\noptions:\n", table->command, words, table->summary);
    for (size_t i = 0; i < table->n_rows; i++)
        printf("  %-8s  %s\n", table->rows[i].word, table->rows[i].summary);
    printf("\n'muster %s %s --help' says more%s.\n\nexamples:\n", table->command, table->rows[0].word,
           table->n_rows > 1 ? ", and so do the others" : "");
    for (size_t i = 0; i < table->n_rows; i++)
        printf("  %s\n      %s\n", table->rows[i].examples[0], table->rows[i].examples[1]);
}

mst_status mst_subcommands_run(const struct mst_subcommands *table, const struct mst_call *call, int *exit_code,
                               struct mst_error *err)
{
    const char *words[ROWS_MAX];
    char list[256];
    MST_ASSERT(table->n_rows > 0 && table->n_rows <= ROWS_MAX);
    *exit_code = 0;
    for (size_t i = 0; call->on_command && i < table->n_rows; i++)
        MST_TRY(table->rows[i].run(call, exit_code, err));
    if (call->on_command)
        return MST_OK;
    if (call->argc < 1) {
        list_words(table, ", ", " or ", list, sizeof list);
        return mst_fail(err, MST_INVALID_ARGUMENT, "muster %s needs a sub-command: %s ('muster %s --help')",
                        table->command, list, table->command);
    }
    const char *word = call->argv[0];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        print_help(table);
        return MST_OK;
    }
    const struct mst_call rest = {.argc = call->argc - 1, .argv = call->argv + 1};
    for (size_t i = 0; i < table->n_rows; i++) {
        words[i] = table->rows[i].word;
        if (strcmp(word, words[i]) == 0)
            return table->rows[i].run(&rest, exit_code, err);
    }
    const char *nearest = mst_nearest_word(word, words, table->n_rows);
    return mst_fail(err, MST_INVALID_ARGUMENT, "unknown sub-command '%s %s'; %s'muster %s %s'", table->command, word,
                    nearest ? "did you mean " : "see ", table->command, nearest ? nearest : "--help");
}
