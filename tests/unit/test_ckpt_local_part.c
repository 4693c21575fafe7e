// Parts of checkpoints on storage of one's own: what is written, what is listed, what is kept, what is passed over.
#include "ckpt/local_part.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "data_files.h"
#include "muster/status.h"
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
#include <unistd.h>

enum { ROWS = 3, WIDTH = 2 };

static char *folder;
static char *dir;
static float rows[ROWS * WIDTH] = {1, 2, 3, 4, 5, 6};
static float bias[WIDTH] = {7, 8};

static int set_up(void **state)
{
    (void)state;
    folder = data_folder_new();
    dir = mst_text("%s/ps-1", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(dir);
    data_folder_free(folder);
    return 0;
}

// Rows 4 to 6 of a kernel of 10, and a bias.
static mst_status write_part(uint64_t step, uint64_t id, const uint64_t *keep, size_t n_keep, struct mst_error *err)
{
    const struct mst_checkpoint_value values[] = {
        {{"dense/kernel", MST_TF_FLOAT, {2, {10, WIDTH}}, 4, ROWS}, rows},
        {{"dense/bias", MST_TF_FLOAT, {1, {WIDTH}}, 0, 0}, bias},
    };
    struct mst_local_part *part;
    MST_TRY(mst_local_part_new(dir, step, id, &part, err));
    for (size_t i = 0; i < 2; i++) {
        mst_status status = mst_local_part_add(part, &values[i], err);
        if (status != MST_OK) {
            mst_local_part_abort(part);
            return status;
        }
    }
    return mst_local_part_commit(part, keep, n_keep, err);
}

static void expect_listed(const uint64_t *steps, size_t n)
{
    struct mst_local_parts parts;
    assert_int_equal(mst_local_parts_list(dir, NULL, NULL, &parts, NULL), MST_OK);
    assert_int_equal(parts.n, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(parts.steps[i], steps[i]);
    mst_local_parts_fini(&parts);
}

static void test_what_is_in_a_part(void **state)
{
    (void)state;
    assert_int_equal(write_part(100, UINT64_MAX - 5, NULL, 0, NULL), MST_OK);
    struct mst_bundle *bundle;
    char *prefix = mst_checkpoint_prefix(dir, 100);
    assert_int_equal(mst_bundle_open(prefix, &bundle, NULL), MST_OK);
    char *name = mst_local_part_name("dense/kernel", 4, ROWS);
    assert_string_equal(name, "dense/kernel/@rows-4-3");
    const struct mst_bundle_entry *entry;
    struct mst_shape shape = {2, {ROWS, WIDTH}};
    float got[ROWS * WIDTH];
    assert_int_equal(mst_bundle_find_float(bundle, name, &shape, &entry, NULL), MST_OK);
    assert_int_equal(mst_bundle_read(bundle, entry, got, sizeof got, NULL), MST_OK);
    assert_memory_equal(got, rows, sizeof rows);
    shape = (struct mst_shape){1, {WIDTH}};
    assert_int_equal(mst_bundle_find_float(bundle, "dense/bias", &shape, &entry, NULL), MST_OK);
    int64_t numbers[MST_LOCAL_PART_NUMBERS_MAX];
    size_t n;
    assert_int_equal(mst_local_part_numbers(bundle, numbers, &n, NULL), MST_OK);
    assert_int_equal(n, 1);
    assert_int_equal((uint64_t)numbers[0], UINT64_MAX - 5);
    struct mst_local_parts parts;
    assert_int_equal(mst_local_parts_list(dir, NULL, NULL, &parts, NULL), MST_OK);
    assert_int_equal(mst_local_parts_find(&parts, 100, UINT64_MAX - 5), 0);
    assert_int_equal(mst_local_parts_find(&parts, 100, 5), 1); // another run's of the same step
    assert_int_equal(mst_local_parts_find(&parts, 99, UINT64_MAX - 5), 1);
    mst_local_parts_fini(&parts);
    free(name);
    free(prefix);
    mst_bundle_free(bundle);
}

static void test_what_is_kept(void **state)
{
    (void)state;
    expect_listed(NULL, 0); // no directory
    const uint64_t keep[] = {10, 30};
    for (uint64_t step = 10; step <= 40; step += 10)
        assert_int_equal(write_part(step, step, (const uint64_t[]){10, 20, 30}, 3, NULL), MST_OK);
    expect_listed((const uint64_t[]){10, 20, 30, 40}, 4);
    assert_int_equal(write_part(25, 7, keep, 2, NULL), MST_OK); // of a run that went back
    expect_listed((const uint64_t[]){10, 30, 25}, 3);
    assert_int_equal(write_part(50, 8, NULL, 0, NULL), MST_OK);
    expect_listed((const uint64_t[]){50}, 1);
}

static void test_nan_leaves_the_one_before(void **state)
{
    (void)state;
    struct mst_error err = {0};
    assert_int_equal(write_part(1, 1, NULL, 0, NULL), MST_OK);
    bias[1] = NAN;
    assert_int_equal(write_part(2, 2, NULL, 0, &err), MST_DATA_LOSS);
    bias[1] = 8;
    assert_non_null(strstr(err.text, "dense/bias"));
    expect_listed((const uint64_t[]){1}, 1);
}

struct passed {
    size_t n;
    char text[4][512];
};

static void on_passed(void *context, const char *prefix, const char *why)
{
    struct passed *passed = context;
    snprintf(passed->text[passed->n++], sizeof passed->text[0], "%s: %s", prefix, why);
}

static void test_damaged_parts_are_passed_over(void **state)
{
    (void)state;
    const uint64_t all[] = {1, 2, 3, 4};
    for (uint64_t step = 1; step <= 4; step++)
        assert_int_equal(write_part(step, step, all, 4, NULL), MST_OK);
    char *path = mst_text("%s/model-4.data-00000-of-00001", dir);
    struct mst_buf content;
    assert_int_equal(mst_disk_read(path, 1 << 20, &content, NULL), MST_OK);
    content.data[3] ^= 1;
    data_file_write(path, FORM_PLAIN, content.data, content.len);
    mst_buf_fini(&content);
    free(path);
    path = mst_text("%s/model-3.data-00000-of-00001", dir);
    assert_int_equal(unlink(path), 0);
    free(path);
    struct mst_checkpoint_writer *writer; // a checkpoint that is whole, but no part
    const struct mst_checkpoint_attempt attempt = {.dir = dir, .step = 2, .n_shards = 1};
    const struct mst_checkpoint_value value = {{"b", MST_TF_FLOAT, {1, {WIDTH}}, 0, 0}, bias};
    assert_int_equal(mst_checkpoint_begin(&attempt, &writer, NULL), MST_OK);
    assert_int_equal(mst_checkpoint_write(writer, &value, 1, NULL), MST_OK);
    assert_int_equal(mst_checkpoint_commit(writer, 0, NULL), MST_OK);
    path = mst_text("%s/model-9.data-00000-of-00001.tmp", dir);
    data_file_write(path, FORM_PLAIN, "x", 1);
    struct mst_local_parts parts;
    struct passed passed = {0};
    assert_int_equal(mst_local_parts_list(dir, on_passed, &passed, &parts, NULL), MST_OK);
    assert_int_equal(parts.n, 1);
    assert_int_equal(parts.steps[0], 1);
    assert_int_equal(passed.n, 3);
    assert_non_null(strstr(passed.text[0], "it is no part of checkpoint.local")); // the last that was committed
    assert_non_null(strstr(passed.text[1], "wrong checksum"));
    assert_non_null(strstr(passed.text[2], "model-3.data-00000-of-00001: No such file"));
    assert_int_not_equal(access(path, F_OK), 0); // what a crash left
    free(path);
    mst_local_parts_fini(&parts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_in_a_part, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nan_leaves_the_one_before, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged_parts_are_passed_over, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
