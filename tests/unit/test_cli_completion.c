// Completion scripts and manual pages of a small table whose texts hold what shells and troff would obey. That the
// shells take them is tried in tests/cluster/test_completion.py.
#include "cli/completion.h"

#include "base/error.h"
#include "cli/man_page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mst_status on_train(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    (void)exit_code;
    const char *format = NULL;
    const char *job = NULL;
    int fd = -1;
    const struct mst_option options[] = {
        MST_OPTION_TEXT("format", "csv|jsonl", &format, "it's a [form]: \\ `no` $command"),
        MST_OPTION_TEXT("output", "FILE", &format, ".where it goes"),
        MST_OPTION_FD("secret-fd", "FD", &fd, NULL),
    };
    const struct mst_command command = {.name = "train",
                                        .summary = "Trains 'it'.",
                                        .operand = "JOB",
                                        .operand_value = &job,
                                        .options = options,
                                        .n_options = 3};
    bool is_to_run;
    return mst_options_read(&command, call, &is_to_run, err);
}

static mst_status on_box(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    (void)exit_code;
    bool is_to_run;
    const struct mst_command open = {.name = "box open", .summary = "Opens it."};
    const struct mst_command shut = {.name = "box shut", .summary = "Shuts it."};
    MST_TRY(mst_options_read(&open, call, &is_to_run, err));
    return mst_options_read(&shut, call, &is_to_run, err);
}

static const struct mst_command_row rows[] = {{"train", on_train, "train it's [so]"}, {"box", on_box, "boxes"}};
static const char *const hints[] = {"'try' it.", NULL};
static const struct mst_command_table table = {
    .program = "tool", .summary = "Does things.", .hints = hints, .rows = rows, .n_rows = 2};

static char *script(const char *shell)
{
    char *text = NULL;
    size_t len;
    FILE *file = open_memstream(&text, &len);
    struct mst_error err;
    assert_non_null(file);
    assert_int_equal(mst_completion_print(&table, shell, file, &err), MST_OK);
    assert_int_equal(fclose(file), 0);
    return text;
}

static void expect(const char *text, const char *const *parts)
{
    for (; *parts; parts++)
        if (!strstr(text, *parts))
            fail_msg("no %s in:\n%s", *parts, text);
    assert_null(strstr(text, "secret"));
}

static void test_scripts(void **state)
{
    (void)state;
    char *bash = script("bash");
    expect(bash, (const char *const[]){"_tool()", "commands='train box'", "'train --format') values='csv jsonl'",
                                       "'train --output') kind=files", "'box') subcommands+=' open'",
                                       "'train') options='--help --format --output' kind=files", NULL});
    free(bash);
    char *zsh = script("zsh");
    expect(zsh, (const char *const[]){"#compdef tool", "'train:train it'\\''s \\[so\\]'",
                                      "'--format=[it'\\''s a \\[form\\]\\: \\\\ `no` $command]:csv|jsonl:(csv jsonl)'",
                                      "box) subcommands=( 'open:Opens it.' 'shut:Shuts it.')", "'1:JOB:_files'", NULL});
    free(zsh);
    char *fish = script("fish");
    expect(fish, (const char *const[]){"-l format -x -a 'csv jsonl' -d 'it'\\''s a [form]", "-l output -r -F",
                                       "-n '__fish_seen_subcommand_from box' -a open -d 'Opens it.'", NULL});
    free(fish);
}

static void test_another_shell(void **state)
{
    (void)state;
    struct mst_error err;
    assert_int_equal(mst_completion_print(&table, "tcsh", stdout, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "'tcsh'"));
}

static struct mst_command seen[8];
static size_t n_seen;

static void on_command(void *arg, const struct mst_command *command)
{
    (void)arg;
    seen[n_seen++] = *command;
    if (strcmp(command->name, "train") != 0)
        return;
    char *text = NULL;
    size_t len;
    FILE *file = open_memstream(&text, &len);
    assert_non_null(file);
    mst_man_page_print(&table, command, file);
    assert_int_equal(fclose(file), 0);
    expect(text,
           (const char *const[]){".TH \"TOOL-TRAIN\" 1", "tool\\-train \\- Trains \\(aqit\\(aq\n",
                                 "\\fB\\-\\-format\\fR \\fIcsv|jsonl\\fR\n",
                                 "it\\(aqs a [form]: \\e \\(gano\\(ga $command\n", "\n\\&.where it goes\n", NULL});
    free(text);
}

static void test_manual_pages(void **state)
{
    (void)state;
    n_seen = 0;
    mst_command_table_visit(&table, on_command, NULL);
    assert_int_equal(n_seen, 3);
    assert_string_equal(seen[1].name, "box open");
    char *text = NULL;
    size_t len;
    FILE *file = open_memstream(&text, &len);
    assert_non_null(file);
    mst_man_page_print_program(&table, file);
    assert_int_equal(fclose(file), 0);
    expect(text, (const char *const[]){".SH COMMANDS\n", "\\fBtool\\-box\\-shut\\fR(1)\nShuts it.\n", NULL});
    free(text);
    struct mst_error err;
    assert_int_not_equal(mst_man_pages_write(&table, "/nowhere/at/all", &err), MST_OK);
    assert_non_null(strstr(err.text, "/nowhere/at/all/tool.1"));
}

static void test_finding(void **state)
{
    (void)state;
    const struct mst_command_row *row;
    struct mst_error err;
    assert_int_equal(mst_command_table_find(&table, "box", &row, &err), MST_OK);
    assert_ptr_equal(row, &rows[1]);
    assert_int_equal(mst_command_table_find(&table, "trian", &row, &err), MST_INVALID_ARGUMENT);
    assert_null(row);
    assert_non_null(strstr(err.text, "'train'"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scripts),
        cmocka_unit_test(test_another_shell),
        cmocka_unit_test(test_manual_pages),
        cmocka_unit_test(test_finding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
