// The man macros, not mdoc: they are what every reader of manual pages understands. A text of the tables is one
// paragraph; what troff would take for a request or an escape in it is quoted.
#include "cli/man_page.h"

#include "base/alloc.h"
#include "tfio/disk_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// A text that stands at the start of a line, or behind a macro if is_argument.
static void print_escaped(const char *text, size_t len, FILE *to)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\\')
            fputs("\\e", to);
        else if (text[i] == '-')
            fputs("\\-", to);
        else if (text[i] == '\'')
            fputs("\\(aq", to);
        else if (text[i] == '`')
            fputs("\\(ga", to);
        else if (text[i] == '"')
            fputs("\\(dq", to);
        else if (text[i] == '^')
            fputs("\\(ha", to);
        else if (text[i] == '~')
            fputs("\\(ti", to);
        else if (i == 0 && text[i] == '.')
            fputs("\\&.", to);
        else
            fputc(text[i], to);
    }
}

static void print_text(const char *text, FILE *to)
{
    print_escaped(text, strlen(text), to);
    fputc('\n', to);
}

// "ckpt ls" as "muster-ckpt-ls".
static char *page_name(const struct mst_command_table *table, const char *command)
{
    char *name = mst_text("%s-%s", table->program, command);
    for (char *at = name; *at; at++)
        if (*at == ' ')
            *at = '-';
    return name;
}

// The head of a page; a summary that ends in a full stop loses it, for NAME has none.
static void print_head(const struct mst_command_table *table, const char *name, const char *summary, FILE *to)
{
    size_t len = strlen(summary);
    fprintf(to, ".TH \"");
    for (const char *at = name; *at; at++)
        fputc(*at >= 'a' && *at <= 'z' ? *at - 'a' + 'A' : *at, to);
    fprintf(to, "\" 1 \"\" \"%s %s\" \"\"\n.nh\n.ad l\n.SH NAME\n", table->program, MUSTER_VERSION);
    print_escaped(name, strlen(name), to);
    fputs(" \\- ", to);
    print_escaped(summary, len > 0 && summary[len - 1] == '.' ? len - 1 : len, to);
    fputs("\n.SH SYNOPSIS\n", to);
}

static void print_option(const char *name, const char *argument, const char *help, FILE *to)
{
    fputs(".TP\n\\fB\\-\\-", to);
    print_escaped(name, strlen(name), to);
    fputs("\\fR", to);
    if (*argument) {
        fputs(" \\fI", to);
        print_escaped(argument, strlen(argument), to);
        fputs("\\fR", to);
    }
    fputc('\n', to);
    print_text(help, to);
}

void mst_man_page_print(const struct mst_command_table *table, const struct mst_command *command, FILE *to)
{
    char *name = page_name(table, command->name);
    print_head(table, name, command->summary, to);
    fprintf(to, "\\fB%s %s\\fR", table->program, command->name);
    if (command->operand) {
        fputs(" \\fI", to);
        print_escaped(command->operand, strlen(command->operand), to);
        fputs("\\fR", to);
    }
    fputs(" [\\fIoptions\\fR]\n.SH DESCRIPTION\n", to);
    print_text(command->summary, to);
    if (command->details) {
        fputs(".PP\n", to);
        print_text(command->details, to);
    }
    fputs(".SH OPTIONS\n", to);
    for (size_t i = 0; i < command->n_options; i++)
        if (command->options[i].help)
            print_option(command->options[i].name, command->options[i].argument, command->options[i].help, to);
    print_option("help", "", mst_options_help_text, to);
    if (command->examples)
        fputs(".SH EXAMPLES\n", to);
    for (const char *const *example = command->examples; example && example[0]; example += 2) {
        fputs(".TP\n\\fB", to);
        print_escaped(example[0], strlen(example[0]), to);
        fputs("\\fR\n", to);
        print_text(example[1], to);
    }
    fprintf(to, ".SH SEE ALSO\n\\fB%s\\fR(1)\n", table->program);
    free(name);
}

struct pages {
    const struct mst_command_table *table;
    FILE *to;              // of the program's page
    const char *directory; // where pages are written
    mst_status status;
    struct mst_error *err;
};

static void on_listed(void *arg, const struct mst_command *command)
{
    struct pages *pages = arg;
    char *name = page_name(pages->table, command->name);
    fputs(".TP\n\\fB", pages->to);
    print_escaped(name, strlen(name), pages->to);
    fputs("\\fR(1)\n", pages->to);
    print_text(command->summary, pages->to);
    free(name);
}

void mst_man_page_print_program(const struct mst_command_table *table, FILE *to)
{
    struct pages pages = {.table = table, .to = to};
    print_head(table, table->program, table->summary, to);
    fprintf(to, "\\fB%s\\fR \\fICOMMAND\\fR [\\fIoptions\\fR]\n.SH DESCRIPTION\n", table->program);
    print_text(table->summary, to);
    for (const char *const *hint = table->hints; hint && *hint; hint++) {
        fputs(".PP\n", to);
        print_text(*hint, to);
    }
    fputs(".SH COMMANDS\n", to);
    mst_command_table_visit(table, on_listed, &pages);
}

// Opens, prints and closes one page; command NULL: the program's.
static mst_status write_page(const struct pages *pages, const struct mst_command *command)
{
    char *name = command ? page_name(pages->table, command->name) : mst_text("%s", pages->table->program);
    char *path = mst_text("%s/%s.1", pages->directory, name);
    free(name);
    FILE *file = fopen(path, "we");
    bool is_written = file != NULL;
    if (file && command)
        mst_man_page_print(pages->table, command, file);
    else if (file)
        mst_man_page_print_program(pages->table, file);
    if (file) {
        is_written = !ferror(file);
        is_written = fclose(file) == 0 && is_written;
    }
    mst_status status = is_written ? MST_OK : mst_disk_fail(pages->err, errno, "write", path);
    free(path);
    return status;
}

static void on_page(void *arg, const struct mst_command *command)
{
    struct pages *pages = arg;
    if (pages->status == MST_OK)
        pages->status = write_page(pages, command);
}

mst_status mst_man_pages_write(const struct mst_command_table *table, const char *directory, struct mst_error *err)
{
    struct pages pages = {.table = table, .directory = directory, .err = err};
    pages.status = write_page(&pages, NULL);
    mst_command_table_visit(table, on_page, &pages);
    return pages.status;
}
