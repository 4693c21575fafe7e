// Each shell gets its script in one walk over the tables. What is written is data in the shell's own quotes, the code
// around it is fixed; a summary or help text may hold any character.
#include "cli/completion.h"

#include "base/error.h"

#include <ctype.h>
#include <string.h>

// What can be completed in an argument's place.
enum argument_kind { ARGUMENT_OTHER, ARGUMENT_CHOICES, ARGUMENT_FILE, ARGUMENT_COMMAND };

static enum argument_kind kind_of(const char *argument)
{
    static const char *const files[] = {"FILE", "DIR", "JOB", "PREFIX"};
    bool is_lower = strchr(argument, '|') != NULL;
    for (const char *at = argument; *at; at++)
        is_lower = is_lower && (islower((unsigned char)*at) || *at == '|' || *at == '-');
    if (is_lower)
        return ARGUMENT_CHOICES;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (strstr(argument, files[i]))
            return ARGUMENT_FILE;
    return strstr(argument, "COMMAND") ? ARGUMENT_COMMAND : ARGUMENT_OTHER;
}

static bool takes_argument(const struct mst_option *option)
{
    return option->kind != MST_OPTION_KIND_FLAG;
}

// "csv|jsonl" as "csv jsonl".
static void print_choices(const char *argument, FILE *to)
{
    for (const char *at = argument; *at; at++)
        fputc(*at == '|' ? ' ' : *at, to);
}

// In single quotes, for all three shells; what quotes itself cannot stand there.
static void print_quoted(const char *text, FILE *to)
{
    fputc('\'', to);
    for (const char *at = text; *at; at++)
        if (*at == '\'')
            fputs("'\\''", to);
        else
            fputc(*at, to);
    fputc('\'', to);
}

// The sub-command of "ckpt ls", NULL if the command is one word; *parent_len_out: of "ckpt".
static const char *second_word(const struct mst_command *command, size_t *parent_len_out)
{
    const char *space = strchr(command->name, ' ');
    *parent_len_out = space ? (size_t)(space - command->name) : strlen(command->name);
    return space ? space + 1 : NULL;
}

// ---- bash ----

struct writer {
    const struct mst_command_table *table;
    FILE *to;
    const char *parent; // zsh, fish: the sub-commands of this one are written
};

static void bash_second_word(void *arg, const struct mst_command *command)
{
    const struct writer *writer = arg;
    size_t parent_len;
    const char *word = second_word(command, &parent_len);
    if (word)
        fprintf(writer->to, "    '%.*s') subcommands+=' %s' ;;&\n", (int)parent_len, command->name, word);
}

static void bash_values(const struct mst_command *command, const struct mst_option *option, FILE *to)
{
    if (!option->help || !takes_argument(option))
        return;
    fprintf(to, "    '%s --%s') ", command->name, option->name);
    enum argument_kind kind = kind_of(option->argument);
    if (kind == ARGUMENT_CHOICES) {
        fputs("values='", to);
        print_choices(option->argument, to);
        fputs("' kind=words ;;\n", to);
    } else {
        fprintf(to, "kind=%s ;;\n", kind == ARGUMENT_FILE ? "files" : "none");
    }
}

static void bash_all_values(void *arg, const struct mst_command *command)
{
    const struct writer *writer = arg;
    for (size_t i = 0; i < command->n_options; i++)
        bash_values(command, &command->options[i], writer->to);
}

static void bash_operands(void *arg, const struct mst_command *command)
{
    const struct writer *writer = arg;
    FILE *to = writer->to;
    fprintf(to, "    '%s') options='--help", command->name);
    for (size_t i = 0; i < command->n_options; i++)
        if (command->options[i].help)
            fprintf(to, " --%s", command->options[i].name);
    enum argument_kind kind = command->operand ? kind_of(command->operand) : ARGUMENT_OTHER;
    if (kind == ARGUMENT_CHOICES) {
        fputs("' kind=words values='", to);
        print_choices(command->operand, to);
        fputs("' ;;\n", to);
    } else {
        fprintf(to, "' kind=%s ;;\n",
                kind == ARGUMENT_FILE      ? "files"
                : kind == ARGUMENT_COMMAND ? "words values=$commands"
                                           : "none");
    }
}

static void print_bash(struct writer *writer)
{
    FILE *to = writer->to;
    const char *program = writer->table->program;
    fprintf(to, "# Completion of %s for bash: source it, or see '%s completion --help'.\n_%s()\n{\n", program, program,
            program);
    fputs("    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}\n"
          "    local commands='",
          to);
    for (size_t i = 0; i < writer->table->n_rows; i++)
        fprintf(to, "%s%s", i ? " " : "", writer->table->rows[i].name);
    fputs("' subcommands= options= values= kind=none\n"
          "    COMPREPLY=()\n"
          "    if ((COMP_CWORD == 1)); then\n"
          "        COMPREPLY=($(compgen -W \"$commands --help --version\" -- \"$word\"))\n"
          "        return\n"
          "    fi\n"
          "    # --name=value comes in three words\n"
          "    if [[ $previous == '=' ]]; then\n"
          "        previous=${COMP_WORDS[COMP_CWORD - 2]}\n"
          "    elif [[ $word == '=' ]]; then\n"
          "        word=\n"
          "    fi\n",
          to);
    fputs("    case $command in\n", to);
    mst_command_table_visit(writer->table, bash_second_word, writer);
    fputs("    esac\n"
          "    if [[ -n $subcommands ]]; then\n"
          "        if ((COMP_CWORD == 2)); then\n"
          "            COMPREPLY=($(compgen -W \"$subcommands --help\" -- \"$word\"))\n"
          "            return\n"
          "        fi\n"
          "        command+=\" ${COMP_WORDS[2]}\"\n"
          "    fi\n"
          "    case $command in\n",
          to);
    mst_command_table_visit(writer->table, bash_operands, writer);
    fputs("    esac\n    case \"$command $previous\" in\n", to);
    mst_command_table_visit(writer->table, bash_all_values, writer);
    fputs("    *) [[ $word != -* ]] || { kind=words values=$options; } ;;\n"
          "    esac\n"
          "    case $kind in\n"
          "    words) mapfile -t COMPREPLY < <(compgen -W \"$values\" -- \"$word\") ;;\n"
          "    files)\n"
          "        compopt -o filenames 2>/dev/null\n"
          "        mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
          "        ;;\n"
          "    esac\n"
          "}\n",
          to);
    fprintf(to, "complete -F _%s %s\n", program, program);
}

// ---- zsh ----

// A text within a specification of _arguments: brackets and colons mean something there.
static void print_zsh_text(const char *text, FILE *to)
{
    for (const char *at = text; *at; at++) {
        if (strchr("[]:\\", *at))
            fputc('\\', to);
        if (*at == '\'')
            fputs("'\\''", to);
        else
            fputc(*at, to);
    }
}

static void zsh_argument(const char *argument, FILE *to)
{
    fputc(':', to);
    print_zsh_text(argument, to);
    enum argument_kind kind = kind_of(argument);
    if (kind == ARGUMENT_CHOICES) {
        fputs(":(", to);
        print_choices(argument, to);
        fputc(')', to);
    } else {
        fputs(kind == ARGUMENT_FILE ? ":_files" : kind == ARGUMENT_COMMAND ? ":->command" : ":", to);
    }
}

static void zsh_options(const struct mst_command *command, FILE *to)
{
    fprintf(to, "_arguments '(- *)--help[%s]'", mst_options_help_text);
    for (size_t i = 0; i < command->n_options; i++) {
        const struct mst_option *option = &command->options[i];
        if (!option->help)
            continue;
        fprintf(to, " \\\n            '%s--%s%s[", option->kind == MST_OPTION_KIND_LIST ? "*" : "", option->name,
                takes_argument(option) ? "=" : "");
        print_zsh_text(option->help, to);
        fputc(']', to);
        if (takes_argument(option))
            zsh_argument(option->argument, to);
        fputc('\'', to);
    }
    if (command->operand) {
        fputs(command->operand_list ? " \\\n            '*" : " \\\n            '1", to);
        zsh_argument(command->operand, to);
        fputc('\'', to);
    }
}

static void zsh_subcommand_name(void *arg, const struct mst_command *command)
{
    const struct writer *writer = arg;
    size_t parent_len;
    const char *word = second_word(command, &parent_len);
    if (!word || strlen(writer->parent) != parent_len || strncmp(command->name, writer->parent, parent_len) != 0)
        return;
    fputs(" '", writer->to);
    print_zsh_text(word, writer->to);
    fputc(':', writer->to);
    print_zsh_text(command->summary, writer->to);
    fputc('\'', writer->to);
}

static void zsh_command(void *arg, const struct mst_command *command)
{
    const struct writer *writer = arg;
    size_t parent_len;
    const char *word = second_word(command, &parent_len);
    fprintf(writer->to, "    '%s')\n", command->name);
    if (word)
        fputs("        shift words; ((CURRENT--))\n", writer->to);
    fputs("        ", writer->to);
    zsh_options(command, writer->to);
    fputs("\n        [[ $state != command ]] || _describe command commands\n        ;;\n", writer->to);
}

static void print_zsh(struct writer *writer)
{
    FILE *to = writer->to;
    const char *program = writer->table->program;
    fprintf(to, "#compdef %s\n# Completion of %s for zsh: a file _%s in a folder of $fpath.\n_%s() {\n", program,
            program, program, program);
    fputs("    local state command=$words[2]\n    local -a commands subcommands\n    commands=(\n", to);
    for (size_t i = 0; i < writer->table->n_rows; i++) {
        fprintf(to, "        '%s:", writer->table->rows[i].name);
        print_zsh_text(writer->table->rows[i].summary, to);
        fputs("'\n", to);
    }
    fputs("    )\n"
          "    if ((CURRENT == 2)); then\n"
          "        _describe command commands\n"
          "        return\n"
          "    fi\n"
          "    case $command in\n",
          to);
    for (size_t i = 0; i < writer->table->n_rows; i++) {
        writer->parent = writer->table->rows[i].name;
        fprintf(to, "    %s) subcommands=(", writer->parent);
        mst_command_table_visit(writer->table, zsh_subcommand_name, writer);
        fputs(") ;;\n", to);
    }
    fputs("    esac\n"
          "    if (($#subcommands)); then\n"
          "        if ((CURRENT == 3)); then\n"
          "            _describe sub-command subcommands\n"
          "            return\n"
          "        fi\n"
          "        command+=\" $words[3]\"\n"
          "    fi\n"
          "    shift words\n"
          "    ((CURRENT--))\n"
          "    case $command in\n",
          to);
    mst_command_table_visit(writer->table, zsh_command, writer);
    fprintf(to, "    esac\n}\nif [[ $funcstack[1] == _%s ]]; then\n    _%s \"$@\"\nelse\n    compdef _%s %s\nfi\n",
            program, program, program, program);
}

// ---- fish ----

static void fish_option(const struct mst_option *option, const char *program, const char *condition, FILE *to)
{
    fprintf(to, "complete -c %s -n %s -l %s", program, condition, option->name);
    if (takes_argument(option) && kind_of(option->argument) == ARGUMENT_CHOICES) {
        fputs(" -x -a '", to);
        print_choices(option->argument, to);
        fputc('\'', to);
    } else if (takes_argument(option)) {
        fputs(kind_of(option->argument) == ARGUMENT_FILE ? " -r -F" : " -x", to);
    }
    fputs(" -d ", to);
    print_quoted(option->help, to);
    fputc('\n', to);
}

static void fish_operand(const struct writer *writer, const char *operand, const char *condition)
{
    FILE *to = writer->to;
    enum argument_kind kind = kind_of(operand);
    if (kind != ARGUMENT_CHOICES && kind != ARGUMENT_COMMAND)
        return;
    fprintf(to, "complete -c %s -f -n %s -a '", writer->table->program, condition);
    if (kind == ARGUMENT_CHOICES)
        print_choices(operand, to);
    for (size_t i = 0; kind == ARGUMENT_COMMAND && i < writer->table->n_rows; i++)
        fprintf(to, "%s ", writer->table->rows[i].name);
    fputs("'\n", to);
}

static void fish_command(void *arg, const struct mst_command *command)
{
    const struct writer *writer = arg;
    FILE *to = writer->to;
    const char *program = writer->table->program;
    size_t parent_len;
    const char *word = second_word(command, &parent_len);
    char condition[160];
    snprintf(condition, sizeof condition, "'__fish_seen_subcommand_from %.*s%s%s'", (int)parent_len, command->name,
             word ? "; and __fish_seen_subcommand_from " : "", word ? word : "");
    if (word) {
        fprintf(to, "complete -c %s -f -n '__fish_seen_subcommand_from %.*s' -a %s -d ", program, (int)parent_len,
                command->name, word);
        print_quoted(command->summary, to);
        fputc('\n', to);
    }
    if (command->operand)
        fish_operand(writer, command->operand, condition);
    for (size_t i = 0; i < command->n_options; i++)
        if (command->options[i].help)
            fish_option(&command->options[i], program, condition, to);
}

static void print_fish(struct writer *writer)
{
    const char *program = writer->table->program;
    fprintf(writer->to,
            "# Completion of %s for fish: a file %s.fish in ~/.config/fish/completions.\n"
            "complete -c %s -n __fish_use_subcommand -f\n"
            "complete -c %s -l help -d 'print the help'\n"
            "complete -c %s -n __fish_use_subcommand -l version -d 'print the version'\n",
            program, program, program, program, program);
    for (size_t i = 0; i < writer->table->n_rows; i++) {
        fprintf(writer->to, "complete -c %s -n __fish_use_subcommand -a %s -d ", program, writer->table->rows[i].name);
        print_quoted(writer->table->rows[i].summary, writer->to);
        fputc('\n', writer->to);
    }
    mst_command_table_visit(writer->table, fish_command, writer);
}

mst_status mst_completion_print(const struct mst_command_table *table, const char *shell, FILE *to,
                                struct mst_error *err)
{
    struct writer writer = {.table = table, .to = to};
    if (strcmp(shell, "bash") == 0)
        print_bash(&writer);
    else if (strcmp(shell, "zsh") == 0)
        print_zsh(&writer);
    else if (strcmp(shell, "fish") == 0)
        print_fish(&writer);
    else
        return mst_fail(err, MST_INVALID_ARGUMENT, "there is no completion for '%s'; there is for bash, zsh and fish",
                        shell);
    return MST_OK;
}
