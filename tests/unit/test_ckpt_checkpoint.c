// Checkpoints: what is there after a commit, after a crash at any point of it, and after a full disk.
#include "ckpt/checkpoint.h"
#include "ckpt/checkpoint_part.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "ckpt/checkpoint_list.h"
#include "data_files.h"
#include "muster/status.h"
#include "tfio/bundle.h"
#include "tfio/bundle_reader.h"
#include "tfio/disk_file.h"
#include "tfio/tf_types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROWS = 6, WIDTH = 3, ATTEMPT = 7 };

static char *folder;
static float kernel[ROWS * WIDTH];

static int set_up(void **state)
{
    (void)state;
    folder = data_folder_new();
    for (size_t i = 0; i < ROWS * WIDTH; i++)
        kernel[i] = (float)i;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    data_folder_free(folder);
    return 0;
}

static bool exists(const char *name)
{
    char *path = mst_text("%s/%s", folder, name);
    bool is_there = access(path, F_OK) == 0;
    free(path);
    return is_there;
}

static void touch(const char *name)
{
    char *path = mst_text("%s/%s", folder, name);
    data_file_write(path, FORM_PLAIN, "x", 1);
    free(path);
}

static struct mst_checkpoint_attempt attempt_at(uint64_t step)
{
    return (struct mst_checkpoint_attempt){.dir = folder, .step = step, .n_shards = 3, .id = ATTEMPT};
}

// Two PSs with the kernel cut 4 + 2, the chief with `iterations`: up to but without the commit.
static mst_status prepare(uint64_t step, struct mst_checkpoint_writer **writer, struct mst_error *err)
{
    const uint64_t cut[2][2] = {{0, 4}, {4, 2}};
    const struct mst_checkpoint_attempt attempt = attempt_at(step);
    assert_int_equal(mst_checkpoint_begin(&attempt, writer, err), MST_OK);
    for (size_t shard = 0; shard < 2; shard++) {
        struct mst_bundle_piece piece;
        struct mst_checkpoint_value value = {
            {"dense/kernel", MST_TF_FLOAT, {2, {ROWS, WIDTH}}, cut[shard][0], cut[shard][1]},
            kernel + cut[shard][0] * WIDTH};
        struct mst_checkpoint_part *part;
        MST_TRY(mst_checkpoint_part_new(&attempt, shard, &part, err));
        mst_status status = mst_checkpoint_part_add(part, &value, &piece, err);
        if (status != MST_OK) {
            mst_checkpoint_part_abort(part);
            return status;
        }
        MST_TRY(mst_checkpoint_part_close(part, err));
        assert_int_equal(mst_checkpoint_add(*writer, &value.tensor, shard, &piece, err), MST_OK);
    }
    int64_t iterations = (int64_t)step;
    struct mst_checkpoint_value value = {{"iterations", MST_TF_INT64, {0, {0}}, 0, 0}, &iterations};
    return mst_checkpoint_write(*writer, &value, 1, err);
}

static void commit(uint64_t step, size_t keep)
{
    struct mst_checkpoint_writer *writer;
    assert_int_equal(prepare(step, &writer, NULL), MST_OK);
    assert_int_equal(mst_checkpoint_commit(writer, keep, NULL), MST_OK);
}

static void check_state(const char *want)
{
    struct mst_buf buf;
    char *path = mst_text("%s/checkpoint", folder);
    assert_int_equal(mst_disk_read(path, 1 << 20, &buf, NULL), MST_OK);
    assert_int_equal(buf.len, strlen(want));
    assert_memory_equal(buf.data, want, buf.len);
    mst_buf_fini(&buf);
    free(path);
}

static void expect_newest(uint64_t want)
{
    char *prefix;
    uint64_t step;
    struct mst_bundle *bundle;
    float values[ROWS * WIDTH];
    int64_t iterations;
    assert_int_equal(mst_checkpoint_newest(folder, NULL, NULL, &prefix, &step, NULL), MST_OK);
    assert_int_equal(step, want);
    assert_int_equal(mst_checkpoint_verify(prefix, NULL), MST_OK);
    assert_int_equal(mst_bundle_open(prefix, &bundle, NULL), MST_OK);
    assert_int_equal(mst_bundle_read(bundle, mst_bundle_find(bundle, "dense/kernel"), values, sizeof values, NULL),
                     MST_OK);
    assert_memory_equal(values, kernel, sizeof values);
    assert_int_equal(
        mst_bundle_read(bundle, mst_bundle_find(bundle, "iterations"), &iterations, sizeof iterations, NULL), MST_OK);
    assert_int_equal(iterations, want);
    mst_bundle_free(bundle);
    free(prefix);
}

static void test_commit_and_keep(void **state)
{
    (void)state;
    commit(10, 2);
    check_state("model_checkpoint_path: \"model-10\"\nall_model_checkpoint_paths: \"model-10\"\n");
    commit(9, 2); // as a run that resumed from an older one might
    check_state("model_checkpoint_path: \"model-9\"\nall_model_checkpoint_paths: \"model-10\"\n"
                "all_model_checkpoint_paths: \"model-9\"\n");
    expect_newest(9);
    commit(100, 2);
    assert_false(exists("model-10.index"));
    assert_false(exists("model-10.data-00000-of-00003"));
    assert_true(exists("model-9.index"));
    assert_true(exists("model-100.data-00002-of-00003"));
    check_state("model_checkpoint_path: \"model-100\"\nall_model_checkpoint_paths: \"model-9\"\n"
                "all_model_checkpoint_paths: \"model-100\"\n");
    expect_newest(100);
    commit(100, 2); // the same step once more
    expect_newest(100);
    commit(11, 1);
    assert_false(exists("model-100.index"));
    assert_false(exists("model-9.index"));
    expect_newest(11);
    commit(12, 0); // keeps all
    assert_true(exists("model-11.index"));
}

static void write_state(const char *text)
{
    char *path = mst_text("%s/checkpoint", folder);
    data_file_write(path, FORM_PLAIN, text, strlen(text));
    free(path);
}

// A run that began anew wrote lower numbers beside those of the run before; numbers do not say which is newer.
static void test_the_newest_by_age(void **state)
{
    (void)state;
    commit(40, 0);
    commit(100, 0);
    commit(20, 0);
    expect_newest(20);
    commit(30, 0);
    expect_newest(30);
    commit(100, 0); // as far as the run before
    expect_newest(100);
    write_state("all_model_checkpoint_paths: \"model-100\"\nall_model_checkpoint_paths: \"model-40\"\n"
                "all_model_checkpoint_paths: \"model-30\"\n"); // a crash came before 20 was listed
    expect_newest(20);
    commit(31, 3);
    check_state("model_checkpoint_path: \"model-31\"\nall_model_checkpoint_paths: \"model-30\"\n"
                "all_model_checkpoint_paths: \"model-20\"\nall_model_checkpoint_paths: \"model-31\"\n");
}

// What is not in our form lists nothing, and what it lists need not be there.
static void test_strange_state_files(void **state)
{
    (void)state;
    commit(7, 0);
    commit(8, 0);
    const char *const strange[] = {
        "",
        "\n\n",
        "all_model_checkpoint_paths: \"model-7\nall_model_checkpoint_paths: model-7\"\n",
        "all_model_checkpoint_paths: \"model-07\"\nall_model_checkpoint_paths: \"model-7.index\"\n",
        "all_model_checkpoint_paths: \"model-8\"\r\nall_model_checkpoint_paths: \"\"\nall_model_checkpoint_paths: \"",
        "all_model_checkpoint_paths: \"/somewhere/model-8\"\nall_model_checkpoint_paths: \"ckpt-7\"\n",
        "all_model_checkpoint_paths: \"model-99\"\nall_model_checkpoint_paths: \"model-8\"",
        "model_checkpoint_path: \"model-7\"\n"};
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        write_state(strange[i]);
        expect_newest(strstr(strange[i], "model-99") ? 7 : 8); // (listed there is 8 alone)
    }
}

// Nobody writes to them, so who opened one to read would wait for ever.
static void test_pipes_are_not_waited_for(void **state)
{
    (void)state;
    commit(7, 0);
    commit(8, 0);
    const char *const names[] = {"checkpoint", "model-8.data-00001-of-00003"};
    for (size_t i = 0; i < 2; i++) {
        char *path = mst_text("%s/%s", folder, names[i]);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkfifo(path, 0600), 0);
        free(path);
        expect_newest(8 - i);
    }
}

static void test_what_is_spared_stays(void **state)
{
    (void)state;
    const uint64_t spared[] = {10, 7};
    struct mst_checkpoint_writer *writer;
    commit(10, 1);
    assert_int_equal(prepare(11, &writer, NULL), MST_OK);
    mst_checkpoint_spare(writer, spared, 2);
    assert_int_equal(mst_checkpoint_commit(writer, 1, NULL), MST_OK);
    assert_true(exists("model-10.index") && exists("model-10.data-00000-of-00003"));
    expect_newest(11);
    assert_int_equal(prepare(12, &writer, NULL), MST_OK);
    mst_checkpoint_spare(writer, spared, 1);
    assert_int_equal(mst_checkpoint_commit(writer, 1, NULL), MST_OK);
    assert_true(exists("model-10.index") && !exists("model-11.index"));
    commit(13, 1); // not any more
    assert_false(exists("model-10.index") || exists("model-12.index"));
    expect_newest(13);
}

static void test_missing_or_short_shard(void **state)
{
    (void)state;
    struct mst_checkpoint_writer *writer;
    struct mst_error err = {0};
    commit(1, 5);
    assert_int_equal(prepare(2, &writer, &err), MST_OK);
    char *path = mst_text("%s/model-2.data-00001-of-00003.7.tmp", folder);
    assert_int_equal(truncate(path, 3), 0);
    assert_int_equal(mst_checkpoint_commit(writer, 5, &err), MST_DATA_LOSS);
    assert_non_null(strstr(err.text, "has 3 bytes, its tensors end at 24"));
    assert_false(exists("model-2.data-00000-of-00003.7.tmp"));
    assert_int_equal(prepare(2, &writer, &err), MST_OK);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mst_checkpoint_commit(writer, 5, &err), MST_DATA_LOSS);
    assert_non_null(strstr(err.text, "shard 1 of 3 was not written"));
    assert_false(exists("model-2.index"));
    assert_false(exists("model-2.index.7.tmp"));
    expect_newest(1);
    free(path);
}

// A PS stood still while it wrote; the step was written again without it, and then it goes on.
static void test_an_attempt_that_was_given_up_touches_nothing(void **state)
{
    (void)state;
    struct mst_checkpoint_attempt given_up = attempt_at(2);
    struct mst_checkpoint_writer *writer;
    struct mst_checkpoint_part *early;
    struct mst_checkpoint_part *late;
    given_up.id = ATTEMPT - 1;
    assert_int_equal(mst_checkpoint_part_new(&given_up, 0, &early, NULL), MST_OK);
    assert_int_equal(prepare(2, &writer, NULL), MST_OK);
    assert_int_equal(mst_checkpoint_part_new(&given_up, 1, &late, NULL), MST_OK);
    mst_checkpoint_part_abort(early);
    assert_int_equal(mst_checkpoint_commit(writer, 1, NULL), MST_OK);
    assert_int_equal(mst_checkpoint_part_close(late, NULL), MST_OK);
    expect_newest(2);
    assert_true(exists("model-2.data-00001-of-00003.6.tmp")); // goes with its step
    commit(3, 1);
    assert_false(exists("model-2.data-00001-of-00003.6.tmp"));
    expect_newest(3);
}

static void test_nan_is_never_saved(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    struct mst_checkpoint_writer *writer;
    struct mst_error err = {0};
    commit(1, 5);
    for (size_t i = 0; i < 3; i++) {
        float saved = kernel[13];
        kernel[13] = bad[i];
        assert_int_equal(prepare(2, &writer, &err), MST_DATA_LOSS);
        assert_non_null(strstr(err.text, "dense/kernel holds NaN or Inf (element 1 of the 6 from row 4 on)"));
        mst_checkpoint_abort(writer);
        kernel[13] = saved;
    }
    assert_false(exists("model-2.data-00000-of-00003.7.tmp"));
    assert_false(exists("model-2.data-00001-of-00003.7.tmp"));
    expect_newest(1);
}

struct passed {
    size_t n;
    char text[4][1024];
};

static void on_passed(void *context, const char *prefix, const char *why)
{
    struct passed *passed = context;
    snprintf(passed->text[passed->n++], sizeof passed->text[0], "%s: %s", prefix, why);
}

static void test_newest_passes_over_broken_ones(void **state)
{
    (void)state;
    for (uint64_t step = 1; step <= 4; step++)
        commit(step, 0);
    char *path = mst_text("%s/model-4.data-00000-of-00003", folder);
    assert_int_equal(unlink(path), 0);
    free(path);
    path = mst_text("%s/model-3.data-00001-of-00003", folder);
    assert_int_equal(truncate(path, 5), 0);
    free(path);
    path = mst_text("%s/model-2.index", folder);
    assert_int_equal(truncate(path, 100), 0);
    free(path);
    struct passed passed = {0};
    char *prefix;
    uint64_t step;
    assert_int_equal(mst_checkpoint_newest(folder, on_passed, &passed, &prefix, &step, NULL), MST_OK);
    assert_int_equal(step, 1);
    free(prefix);
    assert_int_equal(passed.n, 3);
    assert_non_null(strstr(passed.text[0], "model-4.data-00000-of-00003: No such file"));
    assert_non_null(strstr(passed.text[1], "is truncated"));
    assert_non_null(strstr(passed.text[2], "not a table, or truncated"));
    path = mst_text("%s/model-1.data-00000-of-00003", folder);
    assert_int_equal(unlink(path), 0);
    free(path);
    struct mst_error err = {0};
    assert_int_equal(mst_checkpoint_newest(folder, NULL, NULL, &prefix, &step, &err), MST_DATA_LOSS);
    assert_non_null(strstr(err.text, "none of the 4 checkpoints in "));
    assert_non_null(strstr(err.text, "the newest: cannot open "));
    assert_null(prefix);
    assert_int_equal(mst_checkpoint_newest("/nonexistent", NULL, NULL, &prefix, &step, &err), MST_NOT_FOUND);
}

static void test_an_empty_folder_holds_none(void **state)
{
    (void)state;
    char *prefix;
    uint64_t step;
    struct mst_error err = {0};
    touch("somebody-elses.index");
    assert_int_equal(mst_checkpoint_newest(folder, NULL, NULL, &prefix, &step, &err), MST_NOT_FOUND);
    assert_non_null(strstr(err.text, "holds no checkpoint"));
}

static void test_only_reading_finds_a_turned_byte(void **state)
{
    (void)state;
    commit(1, 0);
    commit(2, 0);
    char *path = mst_text("%s/model-2.data-00001-of-00003", folder);
    char *prefix;
    uint64_t step;
    struct mst_buf buf;
    struct passed passed = {0};
    assert_int_equal(mst_disk_read(path, 1 << 20, &buf, NULL), MST_OK);
    buf.data[7] ^= 1;
    data_file_write(path, FORM_PLAIN, buf.data, buf.len);
    mst_buf_fini(&buf);
    assert_int_equal(mst_checkpoint_newest(folder, on_passed, &passed, &prefix, &step, NULL), MST_OK);
    assert_int_equal(step, 2);
    free(prefix);
    assert_int_equal(mst_checkpoint_newest_verified(folder, on_passed, &passed, &prefix, &step, NULL), MST_OK);
    assert_int_equal(step, 1);
    free(prefix);
    assert_int_equal(passed.n, 1);
    assert_non_null(strstr(passed.text[0], path));
    assert_non_null(strstr(passed.text[0], "wrong checksum"));
    free(path);
}

// What cannot be opened for want of descriptors may be whole: it is not passed over.
static void test_what_cannot_be_opened_is_not_passed_over(void **state)
{
    (void)state;
    commit(1, 0);
    commit(2, 0);
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    int lowest = dup(0);
    assert_true(lowest >= 0);
    close(lowest);
    struct rlimit tight = {(rlim_t)lowest + 1, old.rlim_max}; // the folder or the index, and no data file
    struct passed passed = {0};
    char *prefix;
    uint64_t step;
    struct mst_error err = {0};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    mst_status status = mst_checkpoint_newest(folder, on_passed, &passed, &prefix, &step, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(status, MST_RESOURCE_EXHAUSTED);
    assert_int_equal(passed.n, 0);
    assert_non_null(strstr(err.text, "model-2.data-"));
}

static void test_verify_finds_a_turned_byte(void **state)
{
    (void)state;
    commit(1, 0);
    char *path = mst_text("%s/model-1.data-00001-of-00003", folder);
    char *prefix = mst_checkpoint_prefix(folder, 1);
    struct mst_error err = {0};
    struct mst_buf buf;
    assert_int_equal(mst_disk_read(path, 1 << 20, &buf, NULL), MST_OK);
    buf.data[7] ^= 1;
    data_file_write(path, FORM_PLAIN, buf.data, buf.len);
    assert_int_equal(mst_checkpoint_verify(prefix, &err), MST_DATA_LOSS);
    assert_non_null(strstr(err.text, "\"dense/kernel\""));
    mst_buf_fini(&buf);
    free(prefix);
    free(path);
}

static void test_clean(void **state)
{
    (void)state;
    static const char *const leftovers[] = {
        "model-2.data-00000-of-00003.tmp",
        "model-2.data-00000-of-00003.18446744073709551615.tmp",
        "model-2.index.7.tmp",
        "checkpoint.tmp",
        "model-3.data-00001-of-00002",
        "model-1.data-00000-of-00003.7.tmp",
    };
    static const char *const others[] = {
        "model-2.txt",
        "model-x.index",
        "model-02.index",
        "model-.index",
        "model-2.data-0000-of-00003",
        "model-2.json",
        "model-2.index.x.tmp",
        "model-2.index.07.tmp",
        "model-2.index.7",
        "model-2.index.18446744073709551616.tmp",
        "notes",
        "model-99999999999999999999.data-00000-of-00001",
    };
    commit(1, 0);
    for (size_t i = 0; i < sizeof leftovers / sizeof *leftovers; i++)
        touch(leftovers[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        touch(others[i]);
    assert_int_equal(mst_checkpoint_clean(folder, NULL), MST_OK);
    for (size_t i = 0; i < sizeof leftovers / sizeof *leftovers; i++)
        assert_false(exists(leftovers[i]));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_true(exists(others[i]));
    expect_newest(1);
    assert_int_equal(mst_checkpoint_clean("/nonexistent", NULL), MST_OK);
}

// The states a crash can leave, in the order of the commit: each time what was whole before is still found.
static void test_crash_at_any_point(void **state)
{
    (void)state;
    struct mst_checkpoint_writer *writer;
    commit(1, 0);
    assert_int_equal(prepare(2, &writer, NULL), MST_OK); // 1: data files
    expect_newest(1);
    touch("model-2.index.7.tmp"); // 2: the index
    expect_newest(1);
    static const char *const names[] = {"model-2.data-00000-of-00003", "model-2.data-00001-of-00003",
                                        "model-2.data-00002-of-00003"};
    for (size_t i = 0; i < 3; i++) { // 4: renames
        char *from = mst_text("%s/%s.7.tmp", folder, names[i]);
        char *to = mst_text("%s/%s", folder, names[i]);
        assert_int_equal(rename(from, to), 0);
        expect_newest(1);
        free(to);
        free(from);
    }
    mst_checkpoint_abort(writer);
    for (size_t i = 0; i < 3; i++)
        assert_false(exists(names[i]));
    expect_newest(1);
    touch(names[0]); // of a process that died there
    assert_int_equal(mst_checkpoint_clean(folder, NULL), MST_OK);
    for (size_t i = 0; i < 3; i++)
        assert_false(exists(names[i]));
    commit(2, 0);
    char *path = mst_text("%s/checkpoint", folder);
    data_file_write(path, FORM_PLAIN, "model_checkpoint_path: \"model-1\"\n", 33); // 6: not yet replaced
    expect_newest(2);
    free(path);
}

static void test_disk_errors(void **state)
{
    (void)state;
    struct mst_checkpoint_writer *writer;
    struct mst_error err = {0};
    char *dir = mst_text("%s/file/ckpt", folder);
    touch("file");
    struct mst_checkpoint_attempt attempt = {.dir = dir, .step = 1, .n_shards = 1, .id = ATTEMPT};
    assert_int_not_equal(mst_checkpoint_begin(&attempt, &writer, &err), MST_OK);
    assert_null(writer);
    assert_non_null(strstr(err.text, dir));
    struct mst_checkpoint_part *part;
    assert_int_equal(mst_checkpoint_part_new(&attempt, 0, &part, &err), MST_NOT_FOUND);
    assert_null(part);
    assert_non_null(strstr(err.text, "model-1.data-00000-of-00001.7.tmp"));
    free(dir);
    attempt = (struct mst_checkpoint_attempt){.dir = folder, .step = 1, .id = ATTEMPT};
    assert_int_equal(mst_checkpoint_begin(&attempt, &writer, &err), MST_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commit_and_keep, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_newest_by_age, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_strange_state_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pipes_are_not_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_spared_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_missing_or_short_shard, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_attempt_that_was_given_up_touches_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nan_is_never_saved, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_newest_passes_over_broken_ones, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_empty_folder_holds_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_only_reading_finds_a_turned_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_opened_is_not_passed_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_verify_finds_a_turned_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_clean, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_crash_at_any_point, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_disk_errors, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
