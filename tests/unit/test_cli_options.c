// The table of options: what it takes, what it refuses and in which words, and the help text it makes.
#include "cli/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_OPTIONS = 5, HELP_WIDTH = 100 };

// What a command line is read into.
struct values {
    const char *job;
    const char *http;
    struct mst_text_list sets;
    size_t workers;
    int fd;
    const char *secret;
};

static const char long_help[] = "a sentence that is much longer than a line of the help text can be, so that it has to "
                                "be wrapped, and wrapped again, "
                                "and of which each line but the first begins under the first";

struct table {
    struct values values;
    struct mst_option options[N_OPTIONS];
    struct mst_command command;
};

static void make_table(struct table *table, const char *operand)
{
    static const char *const examples[] = {"muster try job.json", "tries it", NULL};
    *table = (struct table){.values = {.workers = 1, .fd = -1}};
    struct values *values = &table->values;
    const struct mst_option options[N_OPTIONS] = {
        MST_OPTION_TEXT("http", "[ADDR:]PORT", &values->http, long_help),
        MST_OPTION_LIST("set", "KEY=VALUE", &values->sets, "override a key"),
        MST_OPTION_COUNT("workers", "N", &values->workers, 1, 1024, "worker processes"),
        MST_OPTION_FD("listen-fd", "FD", &values->fd, "listen there"),
        MST_OPTION_TEXT("secret", "X", &values->secret, NULL),
    };
    memcpy(table->options, options, sizeof options);
    table->command = (struct mst_command){.name = "try",
                                          .summary = "Tries things.",
                                          .details = "It does so at length.",
                                          .operand = operand,
                                          .operand_value = &values->job,
                                          .options = table->options,
                                          .n_options = N_OPTIONS,
                                          .examples = examples};
}

// Splits a command line at its blanks and reads it; the words live in a buffer of the caller's.
static mst_status parse(struct table *table, const char *line, char *words, size_t words_bytes,
                        enum mst_options_outcome *outcome, struct mst_error *err)
{
    char *argv[16];
    int argc = 0;
    snprintf(words, words_bytes, "%s", line);
    for (char *word = words; *word;) {
        argv[argc++] = word;
        word += strcspn(word, " ");
        if (*word)
            *word++ = '\0';
    }
    return mst_options_parse(&table->command, argc, argv, outcome, err);
}

static void test_values(void **state)
{
    (void)state;
    struct table table;
    char words[256];
    struct mst_error err = {0};
    enum mst_options_outcome outcome;
    make_table(&table, "JOB");
    assert_int_equal(parse(&table, "--set a.b=1 --http 127.0.0.1:80 job.json --set=c=d=e --workers=1024 --listen-fd 7",
                           words, sizeof words, &outcome, &err),
                     MST_OK);
    assert_int_equal(outcome, MST_OPTIONS_RUN);
    assert_string_equal(table.values.job, "job.json");
    assert_string_equal(table.values.http, "127.0.0.1:80");
    assert_int_equal(table.values.sets.n, 2);
    assert_string_equal(table.values.sets.items[0], "a.b=1");
    assert_string_equal(table.values.sets.items[1], "c=d=e");
    assert_int_equal(table.values.workers, 1024);
    assert_int_equal(table.values.fd, 7);
    mst_text_list_fini(&table.values.sets);
    assert_int_equal(table.values.sets.n, 0);
}

static void test_flag(void **state)
{
    (void)state;
    bool json = false;
    const char *operand = NULL;
    const struct mst_option options[] = {MST_OPTION_FLAG("json", &json, "as JSON")};
    const struct mst_command command = {
        .name = "try", .operand = "JOB", .operand_value = &operand, .options = options, .n_options = 1};
    enum mst_options_outcome outcome;
    struct mst_error err = {0};
    char job[] = "job.json", flag[] = "--json", valued_flag[] = "--json=1";
    char *const without[] = {job};
    assert_int_equal(mst_options_parse(&command, 1, without, &outcome, &err), MST_OK);
    assert_false(json);
    char *const with[] = {flag, job}; // the word behind it is no value of it
    assert_int_equal(mst_options_parse(&command, 2, with, &outcome, &err), MST_OK);
    assert_true(json);
    assert_string_equal(operand, "job.json");
    char *const valued[] = {valued_flag, job};
    assert_int_equal(mst_options_parse(&command, 2, valued, &outcome, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "--json takes no value"));
}

static void test_defaults_stay(void **state)
{
    (void)state;
    struct table table;
    char words[256];
    enum mst_options_outcome outcome;
    make_table(&table, "[JOB]");
    assert_int_equal(parse(&table, "", words, sizeof words, &outcome, NULL), MST_OK);
    assert_null(table.values.job);
    assert_null(table.values.http);
    assert_int_equal(table.values.workers, 1);
    assert_int_equal(table.values.fd, -1);
}

static void test_operand_behind_dashes(void **state)
{
    (void)state;
    struct table table;
    char words[256];
    enum mst_options_outcome outcome;
    make_table(&table, "JOB");
    assert_int_equal(parse(&table, "--workers 2 -- --help", words, sizeof words, &outcome, NULL), MST_OK);
    assert_int_equal(outcome, MST_OPTIONS_RUN);
    assert_string_equal(table.values.job, "--help");
    make_table(&table, "JOB");
    assert_int_equal(parse(&table, "-", words, sizeof words, &outcome, NULL), MST_OK);
    assert_string_equal(table.values.job, "-");
}

static void test_help_wins(void **state)
{
    (void)state;
    static const char *const lines[] = {"--help", "-h", "job.json --workers 3 --help --nonsense"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct table table;
        char words[256];
        enum mst_options_outcome outcome = MST_OPTIONS_RUN;
        make_table(&table, "JOB");
        assert_int_equal(parse(&table, lines[i], words, sizeof words, &outcome, NULL), MST_OK);
        assert_int_equal(outcome, MST_OPTIONS_HELP);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *text;
    } refusals[] = {
        {"job --wrokers 2", "unknown option --wrokers; did you mean --workers? ('muster try --help')"},
        {"job --wrokers=2", "unknown option --wrokers; did you mean --workers? ('muster try --help')"},
        {"job --zzzzzzzzzz", "unknown option --zzzzzzzzzz; 'muster try --help' lists what there is"},
        {"job --secre 1", "unknown option --secre; 'muster try --help' lists what there is"},
        {"job -w 2", "unknown option -w; options begin with two dashes ('muster try --help')"},
        {"job --workers", "--workers needs a value: --workers N"},
        {"job --workers 0", "--workers: '0' is not a whole number from 1 to 1024"},
        {"job --workers 1025", "--workers: '1025' is not a whole number from 1 to 1024"},
        {"job --workers -3", "--workers: '-3' is not a whole number from 1 to 1024"},
        {"job --workers 2x", "--workers: '2x' is not a whole number from 1 to 1024"},
        {"job --workers=", "--workers: '' is not a whole number from 1 to 1024"},
        {"job --workers 99999999999999999999",
         "--workers: '99999999999999999999' is not a whole number from 1 to 1024"},
        {"job --workers 2 --workers 2", "--workers is given twice; give it once"},
        {"job --listen-fd -1", "--listen-fd: '-1' is not a whole number from 0 to 1048576"},
        {"job --http=", "--http: the value is empty, [ADDR:]PORT is expected"},
        {"job another", "muster try takes one JOB; 'another' is one too many"},
        {"--workers 2", "muster try needs JOB, as in 'muster try job.json' ('muster try --help')"},
    };
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        struct table table;
        char words[256];
        struct mst_error err = {0};
        enum mst_options_outcome outcome;
        make_table(&table, "JOB");
        assert_int_equal(parse(&table, refusals[i].line, words, sizeof words, &outcome, &err), MST_INVALID_ARGUMENT);
        assert_string_equal(err.text, refusals[i].text);
        mst_text_list_fini(&table.values.sets);
    }
}

static void test_no_operand_to_take(void **state)
{
    (void)state;
    struct table table;
    char words[256];
    struct mst_error err = {0};
    enum mst_options_outcome outcome;
    make_table(&table, NULL);
    assert_int_equal(parse(&table, "job", words, sizeof words, &outcome, &err), MST_INVALID_ARGUMENT);
    assert_string_equal(err.text, "muster try takes no operand, so 'job' has no meaning");
}

static char *help_text(const struct mst_command *command)
{
    char *text = NULL;
    size_t len = 0;
    FILE *file = open_memstream(&text, &len);
    mst_options_help(command, file);
    fclose(file);
    return text;
}

static void test_help_text(void **state)
{
    (void)state;
    struct table table;
    make_table(&table, "JOB");
    char *text = help_text(&table.command);
    assert_non_null(strstr(text, "usage: muster try JOB [options]\n"));
    assert_non_null(strstr(text, "\nTries things.\n"));
    assert_non_null(strstr(text, "\nIt does so at length.\n"));
    assert_non_null(strstr(text, "\n  --set KEY=VALUE             override a key\n"));
    assert_non_null(strstr(text, "\n  --help                      print this text\n"));
    assert_non_null(strstr(text, "\n  muster try job.json\n      tries it\n"));
    assert_null(strstr(text, "secret")); // used between our own processes
    free(text);
}

// Every line within the width, and the words of the long sentence all there in order.
static void test_help_is_wrapped(void **state)
{
    (void)state;
    struct table table;
    make_table(&table, "JOB");
    char *text = help_text(&table.command);
    char joined[2048] = "";
    size_t used = 0;
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        assert_true(len <= HELP_WIDTH);
        size_t blanks = strspn(line, " ");
        used += (size_t)snprintf(joined + used, sizeof joined - used, "%.*s ", (int)(len - blanks), line + blanks);
        line += len + (line[len] == '\n');
    }
    assert_non_null(strstr(joined, long_help));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_flag),
        cmocka_unit_test(test_defaults_stay),
        cmocka_unit_test(test_operand_behind_dashes),
        cmocka_unit_test(test_help_wins),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_no_operand_to_take),
        cmocka_unit_test(test_help_text),
        cmocka_unit_test(test_help_is_wrapped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
