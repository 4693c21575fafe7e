// One pass over argv; each row knows its kind, so there is no code per option. Help is printed from the same rows: an
// option that is not described is one that only our own processes use.
#include "cli/options.h"

#include "base/alloc.h"
#include "base/error.h"
#include "spec/json_source.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { HELP_COLUMN = 30, HELP_WIDTH = 100, MAX_OPTIONS = 64 };

const char mst_options_help_text[] = "print this text";

// What one parse has seen.
struct parse {
    const struct mst_command *command;
    int argc;
    char *const *argv;
    int at;
    bool seen[MAX_OPTIONS];
    bool operand_seen;
};

static bool wants_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static mst_status fail_unknown(const struct mst_command *command, const char *word, size_t name_len,
                               struct mst_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)name_len, word);
    const char *names[MAX_OPTIONS];
    size_t n = 0;
    for (size_t i = 0; i < command->n_options; i++)
        if (command->options[i].help)
            names[n++] = command->options[i].name;
    const char *nearest = mst_nearest_word(name, names, n);
    if (nearest)
        return mst_fail(err, MST_INVALID_ARGUMENT, "unknown option --%s; did you mean --%s? ('muster %s --help')", name,
                        nearest, command->name);
    return mst_fail(err, MST_INVALID_ARGUMENT, "unknown option --%s; 'muster %s --help' lists what there is", name,
                    command->name);
}

static mst_status read_number(const struct mst_option *option, const char *text, size_t max, size_t *out,
                              struct mst_error *err)
{
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    bool digits = text[0] >= '0' && text[0] <= '9' && *end == '\0'; // strtoull itself would take "-1" and " 1"
    if (!digits || errno == ERANGE || number < option->min || number > max)
        return mst_fail(err, MST_INVALID_ARGUMENT, "--%s: '%s' is not a whole number from %zu to %zu", option->name,
                        text, option->min, max);
    *out = (size_t)number;
    return MST_OK;
}

static mst_status store(const struct mst_option *option, const char *text, struct mst_error *err)
{
    size_t number = 0;
    switch (option->kind) {
    case MST_OPTION_KIND_TEXT:
        if (!*text)
            return mst_fail(err, MST_INVALID_ARGUMENT, "--%s: the value is empty, %s is expected", option->name,
                            option->argument);
        *(const char **)option->value = text;
        return MST_OK;
    case MST_OPTION_KIND_LIST: {
        struct mst_text_list *list = option->value;
        list->items = mst_realloc_array(list->items, list->n + 1, sizeof *list->items);
        list->items[list->n++] = text;
        return MST_OK;
    }
    case MST_OPTION_KIND_COUNT:
        return read_number(option, text, option->max, option->value, err);
    case MST_OPTION_KIND_FD:
        MST_TRY(read_number(option, text, 1 << 20, &number, err));
        *(int *)option->value = (int)number;
        return MST_OK;
    case MST_OPTION_KIND_FLAG:
        return mst_fail(err, MST_INVALID_ARGUMENT, "--%s takes no value, so '%s' has no meaning", option->name, text);
    }
    return MST_OK;
}

static mst_status parse_option(struct parse *p, const char *word, struct mst_error *err)
{
    const char *name = word + 2;
    size_t name_len = strcspn(name, "=");
    const struct mst_option *option = NULL;
    size_t index = 0;
    for (; index < p->command->n_options && !option; index++) {
        const char *known = p->command->options[index].name;
        if (strlen(known) == name_len && memcmp(known, name, name_len) == 0)
            option = &p->command->options[index];
    }
    if (!option)
        return fail_unknown(p->command, name, name_len, err);
    if (p->seen[index - 1] && option->kind != MST_OPTION_KIND_LIST)
        return mst_fail(err, MST_INVALID_ARGUMENT, "--%s is given twice; give it once", option->name);
    p->seen[index - 1] = true;
    if (name[name_len] == '=')
        return store(option, name + name_len + 1, err);
    if (option->kind == MST_OPTION_KIND_FLAG) {
        *(bool *)option->value = true;
        return MST_OK;
    }
    if (p->at == p->argc)
        return mst_fail(err, MST_INVALID_ARGUMENT, "--%s needs a value: --%s %s", option->name, option->name,
                        option->argument);
    return store(option, p->argv[p->at++], err);
}

static mst_status parse_operand(struct parse *p, const char *word, struct mst_error *err)
{
    if (!p->command->operand)
        return mst_fail(err, MST_INVALID_ARGUMENT, "muster %s takes no operand, so '%s' has no meaning",
                        p->command->name, word);
    struct mst_text_list *list = p->command->operand_list;
    if (list) {
        list->items = mst_realloc_array(list->items, list->n + 1, sizeof *list->items);
        list->items[list->n++] = word;
        p->operand_seen = true;
        return MST_OK;
    }
    if (p->operand_seen)
        return mst_fail(err, MST_INVALID_ARGUMENT, "muster %s takes one %s; '%s' is one too many", p->command->name,
                        p->command->operand, word);
    p->operand_seen = true;
    *p->command->operand_value = word;
    return MST_OK;
}

mst_status mst_options_parse(const struct mst_command *command, int argc, char *const *argv,
                             enum mst_options_outcome *out, struct mst_error *err)
{
    MST_ASSERT(command->n_options <= MAX_OPTIONS);
    struct parse p = {.command = command, .argc = argc, .argv = argv};
    bool only_operands = false;
    *out = MST_OPTIONS_RUN;
    while (p.at < argc) {
        const char *word = argv[p.at++];
        if (only_operands || word[0] != '-' || strcmp(word, "-") == 0) {
            MST_TRY(parse_operand(&p, word, err));
        } else if (strcmp(word, "--") == 0) {
            only_operands = true;
        } else if (wants_help(word)) {
            *out = MST_OPTIONS_HELP;
            return MST_OK;
        } else if (word[1] == '-') {
            MST_TRY(parse_option(&p, word, err));
        } else {
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "unknown option %s; options begin with two dashes ('muster %s --help')", word,
                            command->name);
        }
    }
    if (command->operand && command->operand[0] != '[' && !p.operand_seen)
        return mst_fail(err, MST_INVALID_ARGUMENT, "muster %s needs %s, as in '%s' ('muster %s --help')", command->name,
                        command->operand, command->examples ? command->examples[0] : command->operand, command->name);
    return MST_OK;
}

mst_status mst_options_read(const struct mst_command *command, const struct mst_call *call, bool *is_to_run_out,
                            struct mst_error *err)
{
    enum mst_options_outcome outcome;
    *is_to_run_out = false;
    if (call->on_command) {
        call->on_command(call->arg, command);
        return MST_OK;
    }
    MST_TRY(mst_options_parse(command, call->argc, call->argv, &outcome, err));
    *is_to_run_out = outcome == MST_OPTIONS_RUN;
    if (outcome == MST_OPTIONS_HELP)
        mst_options_help(command, stdout);
    return MST_OK;
}

// Words of text from column on, wrapped; the first line already stands at that column.
static void print_wrapped(const char *text, size_t column, FILE *to)
{
    size_t at = column;
    for (const char *word = text; *word;) {
        size_t len = strcspn(word, " ");
        if (at > column && at + 1 + len > HELP_WIDTH) {
            fprintf(to, "\n%*s", (int)column, "");
            at = column;
        } else if (at > column) {
            fputc(' ', to);
            at++;
        }
        fwrite(word, 1, len, to);
        at += len;
        word += len;
        word += strspn(word, " ");
    }
    fputc('\n', to);
}

static void print_option(const char *name, const char *argument, const char *help, FILE *to)
{
    int used = fprintf(to, "  --%s%s%s", name, *argument ? " " : "", argument);
    if (used < 0 || used > HELP_COLUMN - 2)
        fprintf(to, "\n%*s", HELP_COLUMN, "");
    else
        fprintf(to, "%*s", HELP_COLUMN - used, "");
    print_wrapped(help, HELP_COLUMN, to);
}

void mst_options_help(const struct mst_command *command, FILE *to)
{
    fprintf(to, "usage: muster %s%s%s [options]\n\n", command->name, command->operand ? " " : "",
            command->operand ? command->operand : "");
    print_wrapped(command->summary, 0, to);
    if (command->details) {
        fputc('\n', to);
        print_wrapped(command->details, 0, to);
    }
    fprintf(to, "\noptions:\n");
    for (size_t i = 0; i < command->n_options; i++)
        if (command->options[i].help)
            print_option(command->options[i].name, command->options[i].argument, command->options[i].help, to);
    print_option("help", "", mst_options_help_text, to);
    if (command->examples)
        fprintf(to, "\nexamples:\n");
    for (const char *const *example = command->examples; example && example[0]; example += 2)
        fprintf(to, "  %s\n      %s\n", example[0], example[1]);
}

void mst_text_list_fini(struct mst_text_list *list)
{
    free(list->items);
    *list = (struct mst_text_list){0};
}
