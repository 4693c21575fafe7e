// Model directories: written whole or not at all, replaced in one step, and nothing else is ever replaced.
#include "ckpt/model_dir.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "ckpt/checkpoint.h"
#include "data_files.h"
#include "muster/status.h"
#include "tfio/bundle_reader.h"
#include "tfio/tf_types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *folder;
static char *dir;
static float bias[4] = {1, 2, 3, 4};

static int set_up(void **state)
{
    (void)state;
    folder = data_folder_new();
    dir = mst_text("%s/run/model", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(dir);
    data_folder_free(folder);
    return 0;
}

static mst_status write_model(const char *to, const char *json, struct mst_error *err)
{
    struct mst_checkpoint_value value = {{"dense/bias", MST_TF_FLOAT, {1, {4}}, 0, 0}, bias};
    return mst_model_dir_write(to, (struct mst_bytes){json, strlen(json)}, &value, 1, err);
}

static void check_model(const char *json)
{
    struct mst_buf buf;
    struct mst_bundle *weights;
    float values[4];
    assert_int_equal(mst_model_dir_open(dir, &buf, &weights, NULL), MST_OK);
    assert_int_equal(buf.len, strlen(json));
    assert_memory_equal(buf.data, json, buf.len);
    const struct mst_bundle_entry *entry = mst_bundle_find(weights, "dense/bias");
    assert_int_equal(mst_bundle_read(weights, entry, values, sizeof values, NULL), MST_OK);
    assert_memory_equal(values, bias, sizeof values);
    mst_bundle_free(weights);
    mst_buf_fini(&buf);
}

static void expect_nothing_beside(void)
{
    char *temporary = mst_text("%s.tmp", dir);
    char *old = mst_text("%s.old", dir);
    assert_int_not_equal(access(temporary, F_OK), 0);
    assert_int_not_equal(access(old, F_OK), 0);
    free(old);
    free(temporary);
}

static void test_write_and_replace(void **state)
{
    (void)state;
    assert_int_equal(write_model(dir, "{\"a\": 1}", NULL), MST_OK);
    check_model("{\"a\": 1}");
    bias[2] = 7;
    char *slashed = mst_text("%s//", dir);
    assert_int_equal(write_model(slashed, "{}", NULL), MST_OK);
    free(slashed);
    check_model("{}");
    expect_nothing_beside();
}

static void test_failure_leaves_the_old_one(void **state)
{
    (void)state;
    struct mst_error err = {0};
    assert_int_equal(write_model(dir, "{}", NULL), MST_OK);
    float saved = bias[1];
    bias[1] = NAN;
    assert_int_equal(write_model(dir, "{\"new\": 1}", &err), MST_DATA_LOSS);
    assert_non_null(strstr(err.text, "dense/bias"));
    bias[1] = saved;
    check_model("{}");
    expect_nothing_beside();
}

static void test_what_is_not_ours_stays(void **state)
{
    (void)state;
    struct mst_error err = {0};
    char *file = mst_text("%s/photo", folder);
    data_file_write(file, FORM_PLAIN, "x", 1);
    assert_int_equal(write_model(file, "{}", &err), MST_FAILED_PRECONDITION);
    assert_non_null(strstr(err.text, file));
    assert_int_equal(write_model(folder, "{}", &err), MST_FAILED_PRECONDITION); // a folder with something else in it
    assert_int_equal(access(file, F_OK), 0);
    free(file);
    char *empty = mst_text("%s/empty", folder);
    assert_int_equal(mkdir(empty, 0777), 0);
    assert_int_equal(write_model(empty, "{}", &err), MST_OK);
    free(empty);
}

static void test_open_failures(void **state)
{
    (void)state;
    struct mst_buf buf;
    struct mst_bundle *weights;
    struct mst_error err = {0};
    assert_int_equal(mst_model_dir_open(dir, &buf, &weights, &err), MST_NOT_FOUND);
    assert_non_null(strstr(err.text, "model.json"));
    assert_int_equal(write_model(dir, "{}", NULL), MST_OK);
    char *path = mst_text("%s/weights.data-00000-of-00001", dir);
    assert_int_equal(truncate(path, 3), 0);
    assert_int_equal(mst_model_dir_open(dir, &buf, &weights, &err), MST_DATA_LOSS);
    assert_non_null(strstr(err.text, "is truncated"));
    assert_null(weights);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mst_model_dir_open(dir, &buf, &weights, &err), MST_NOT_FOUND);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_write_and_replace, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failure_leaves_the_old_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_not_ours_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_open_failures, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
