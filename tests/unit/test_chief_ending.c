// Whose end a note of the end is: a chief of the same run trains nothing again, a new run of the same job does.
#include "base/alloc.h"
#include "base/clock.h"
#include "chief/chief_private.h"
#include "chief_fixture.h"
#include "data_files.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MS = 1000000 };

static char *path_of(const struct chief_fixture *f, const char *name)
{
    return mst_text("%s/%s", f->job->output_dir, name);
}

static void write_file(const struct chief_fixture *f, const char *name, const char *text)
{
    char *path = path_of(f, name);
    data_file_write(path, FORM_PLAIN, text, strlen(text));
    free(path);
}

static bool has_note(const struct chief_fixture *f)
{
    char *path = path_of(f, MST_CHIEF_END_NOTE);
    bool has = access(path, F_OK) == 0;
    free(path);
    return has;
}

// What a chief left that was killed so long ago, when all was written.
static void leave_note(const struct chief_fixture *f, uint64_t ago_ms)
{
    char note[64];
    snprintf(note, sizeof note, "%016" PRIx64 " %" PRIu64 "\n", f->identity.job_hash,
             mst_clock_wall_ns() / MS - ago_ms);
    write_file(f, MST_CHIEF_END_NOTE, note);
    write_file(f, MST_RESULT_FILE, "{}");
}

static int set_up(void **state)
{
    struct chief_fixture *f = *state = chief_fixture_prepare(1, 0);
    assert_int_equal(mkdir(f->job->output_dir, 0777), 0);
    return 0;
}

static int tear_down(void **state)
{
    struct chief_fixture *f = *state;
    mst_chief_end_forget(f->job);
    chief_fixture_free(f);
    return 0;
}

static bool tells(void *arg)
{
    return ((const struct chief_fixture *)arg)->chief->phase >= CHIEF_TELLING;
}

static void expect_finished(struct chief_fixture *f)
{
    run_until(f->loop, tells, f);
    assert_int_equal(f->chief->end_status, MST_OK);
    assert_string_equal(f->chief->end_text, MST_CHIEF_WAS_FINISHED);
    assert_int_equal(f->ps[0].n_maps, 0);
    assert_true(has_note(f)); // until the process has ended well
}

static void expect_anew(struct chief_fixture *f)
{
    chief_fixture_run(f);
    assert_int_equal(f->ps[0].n_maps, 1);
    assert_false(has_note(f));
}

static void test_soon_after_it_is_the_same_run(void **state)
{
    struct chief_fixture *f = *state;
    leave_note(f, 1000);
    chief_fixture_start(f, 0);
    expect_finished(f);
}

static void test_when_all_others_have_given_up_it_is_another(void **state)
{
    struct chief_fixture *f = *state;
    leave_note(f, f->job->absence_ms);
    chief_fixture_start(f, 0);
    expect_anew(f);
}

static void test_a_chief_that_the_same_command_starts_again(void **state)
{
    struct chief_fixture *f = *state;
    f->job->absence_ms = 2000;
    leave_note(f, 5000);
    chief_fixture_start(f, mst_clock_monotonic_ns() - (uint64_t)6000 * MS);
    expect_finished(f);
}

static void test_a_chief_of_a_later_command(void **state)
{
    struct chief_fixture *f = *state;
    leave_note(f, 1000);
    chief_fixture_start(f, mst_clock_monotonic_ns() - (uint64_t)500 * MS);
    expect_anew(f);
}

static void test_a_clock_that_was_set_back(void **state)
{
    struct chief_fixture *f = *state;
    leave_note(f, -(uint64_t)3600000); // in an hour
    chief_fixture_start(f, mst_clock_monotonic_ns() - MS);
    expect_finished(f);
}

static void test_what_is_no_note_of_this_job(void **state)
{
    static const char *const notes[] = {"", "abc", "0000000000000abc\n", "0000000000000abd 99999999999999\n", " \n"};
    (void)state;
    for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++) {
        void *one;
        set_up(&one);
        write_file(one, MST_CHIEF_END_NOTE, notes[i]);
        write_file(one, MST_RESULT_FILE, "{}");
        chief_fixture_start(one, 0);
        expect_anew(one);
        tear_down(&one);
    }
}

static void test_without_a_result_nothing_was_finished(void **state)
{
    struct chief_fixture *f = *state;
    leave_note(f, 1000);
    char *path = path_of(f, MST_RESULT_FILE);
    assert_int_equal(unlink(path), 0);
    free(path);
    chief_fixture_start(f, 0);
    expect_anew(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_soon_after_it_is_the_same_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_when_all_others_have_given_up_it_is_another, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_chief_that_the_same_command_starts_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_chief_of_a_later_command, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_clock_that_was_set_back, set_up, tear_down),
        cmocka_unit_test(test_what_is_no_note_of_this_job),
        cmocka_unit_test_setup_teardown(test_without_a_result_nothing_was_finished, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
