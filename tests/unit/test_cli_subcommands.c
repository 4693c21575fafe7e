// The word of a sub-command finds it; anything else is told what there is.
#include "cli/subcommands.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static char heard[64]; // "word:first argument" of what ran

static mst_status hear(const char *word, const struct mst_call *call, int *exit_code)
{
    size_t used = strlen(heard);
    snprintf(heard + used, sizeof heard - used, "%s:%s ", word, call->argc ? call->argv[0] : "");
    *exit_code = 3;
    return MST_OK;
}

static mst_status on_fill(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    (void)err;
    return hear("fill", call, exit_code);
}

static mst_status on_drain(const struct mst_call *call, int *exit_code, struct mst_error *err)
{
    (void)err;
    return hear("drain", call, exit_code);
}

static const char *const examples[] = {"muster pool drain", "empties it", NULL};
static const struct mst_subcommand rows[] = {{"fill", on_fill, "Fills it.", examples},
                                             {"flush", on_fill, "Flushes it.", examples},
                                             {"drain", on_drain, "Empties it.", examples}};
static const struct mst_subcommands table = {"pool", "Fills and empties.", rows, 3};

static mst_status run(const char *word, int *exit_code, struct mst_error *err)
{
    char first[16];
    char second[] = "x";
    char *words[] = {first, second};
    const struct mst_call call = {.argc = word ? 2 : 0, .argv = words};
    snprintf(first, sizeof first, "%s", word ? word : "");
    heard[0] = '\0';
    return mst_subcommands_run(&table, &call, exit_code, err);
}

static void test_the_word_runs_it_with_the_rest(void **state)
{
    (void)state;
    int exit_code = 1;
    assert_int_equal(run("drain", &exit_code, NULL), MST_OK);
    assert_string_equal(heard, "drain:x ");
    assert_int_equal(exit_code, 3);
}

static void test_what_there_is(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        const char *says;
    } cases[] = {{NULL, "muster pool needs a sub-command: fill, flush or drain ('muster pool --help')"},
                 {"drian", "unknown sub-command 'pool drian'; did you mean 'muster pool drain'"},
                 {"zzzzzz", "unknown sub-command 'pool zzzzzz'; see 'muster pool --help'"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mst_error err = {""};
        int exit_code = 1;
        assert_int_equal(run(cases[i].word, &exit_code, &err), MST_INVALID_ARGUMENT);
        assert_string_equal(err.text, cases[i].says);
        assert_string_equal(heard, "");
        assert_int_equal(exit_code, 0);
    }
}

static void on_command(void *arg, const struct mst_command *command)
{
    (void)arg;
    (void)command;
}

static void test_a_visit_sees_all(void **state)
{
    (void)state;
    const struct mst_call call = {.on_command = on_command};
    int exit_code;
    heard[0] = '\0';
    assert_int_equal(mst_subcommands_run(&table, &call, &exit_code, NULL), MST_OK);
    assert_string_equal(heard, "fill: fill: drain: ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_word_runs_it_with_the_rest),
        cmocka_unit_test(test_what_there_is),
        cmocka_unit_test(test_a_visit_sees_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
