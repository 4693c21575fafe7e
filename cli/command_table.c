#include "cli/command_table.h"

#include "base/error.h"
#include "spec/json_source.h"

#include <string.h>

enum { COMMANDS_MAX = 64 };

mst_status mst_command_table_find(const struct mst_command_table *table, const char *name,
                                  const struct mst_command_row **out, struct mst_error *err)
{
    *out = NULL;
    MST_ASSERT(table->n_rows <= COMMANDS_MAX);
    const char *names[COMMANDS_MAX];
    for (size_t i = 0; i < table->n_rows; i++) {
        names[i] = table->rows[i].name;
        if (strcmp(name, names[i]) == 0) {
            *out = &table->rows[i];
            return MST_OK;
        }
    }
    const char *nearest = mst_nearest_word(name, names, table->n_rows);
    if (nearest)
        return mst_fail(err, MST_INVALID_ARGUMENT, "unknown command '%s'; did you mean '%s'?", name, nearest);
    return mst_fail(err, MST_INVALID_ARGUMENT, "unknown command '%s'; '%s --help' lists what there is", name,
                    table->program);
}

void mst_command_table_visit(const struct mst_command_table *table,
                             void (*on_command)(void *arg, const struct mst_command *command), void *arg)
{
    const struct mst_call call = {.on_command = on_command, .arg = arg};
    for (size_t i = 0; i < table->n_rows; i++) {
        int exit_code = 0;
        struct mst_error err;
        mst_status status = table->rows[i].run(&call, &exit_code, &err);
        MST_ASSERT(status == MST_OK); // a table that is only shown cannot fail
    }
}

void mst_command_table_help(const struct mst_command_table *table, FILE *to)
{
    fprintf(to, "usage: %s COMMAND [options]\n\n%s\n\ncommands:\n", table->program, table->summary);
    int widest = 0;
    for (size_t i = 0; i < table->n_rows; i++)
        widest = widest < (int)strlen(table->rows[i].name) ? (int)strlen(table->rows[i].name) : widest;
    for (size_t i = 0; i < table->n_rows; i++)
        fprintf(to, "  %-*s  %s\n", widest, table->rows[i].name, table->rows[i].summary);
    fputc('\n', to);
    for (const char *const *hint = table->hints; hint && *hint; hint++)
        fprintf(to, "%s\n", *hint);
}
