// `.keras` archives: what is written is read back, what does not fit is one sentence, and damage of any kind is an
// error of the reader, never of the process that asked.
#include "keras/archive.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "data_files.h"
#include "tfio/disk_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char config[] = "{\"class_name\": \"Sequential\", \"config\": {\"layers\": []}}";
static const float kernel[6] = {1, -2, 3, 4.5F, 1e-30F, 6};
static const float bias[3] = {0.25F, 0, -7};
static const float moving[3] = {9, 8, 7};
static const struct mst_keras_array arrays[] = {
    {"layers/dense/vars/0", "first", {2, {2, 3}}, kernel},
    {"layers/dense/vars/1", "first", {1, {3}}, bias},
    {"layers/sequential/layers/batch_normalization/vars/2", "norm", {1, {3}}, moving},
};
enum { N = sizeof arrays / sizeof *arrays };

static char *folder;
static char *path;

static int set_up(void **state)
{
    (void)state;
    folder = data_folder_new();
    path = mst_text("%s/m.keras", folder);
    return mst_keras_write(path, (struct mst_bytes){config, sizeof config - 1}, arrays, N, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    free(path);
    data_folder_free(folder);
    return 0;
}

static void test_names(void **state)
{
    (void)state;
    assert_true(mst_keras_is_archive("a/b.keras"));
    assert_false(mst_keras_is_archive(".keras")); // a hidden file without a name
    assert_false(mst_keras_is_archive("keras"));
    assert_false(mst_keras_is_archive("b.keras.json"));
}

static void test_round_trip(void **state)
{
    (void)state;
    struct mst_buf text;
    struct mst_keras_archive *archive;
    struct mst_error err = {0};
    mst_status status = mst_keras_read_config(path, &text, &err);
    assert_string_equal(err.text, "");
    assert_int_equal(status, MST_OK);
    assert_int_equal(text.len, sizeof config - 1);
    assert_memory_equal(text.data, config, text.len);
    mst_buf_fini(&text);
    assert_int_equal(mst_keras_read_arrays(path, arrays, N, &archive, &err), MST_OK);
    assert_memory_equal(mst_keras_archive_values(archive, 0), kernel, sizeof kernel);
    assert_memory_equal(mst_keras_archive_values(archive, 1), bias, sizeof bias);
    assert_memory_equal(mst_keras_archive_values(archive, 2), moving, sizeof moving);
    mst_keras_archive_free(archive);
    char *left = mst_text("%s.h5.tmp", path);
    assert_int_not_equal(access(left, F_OK), 0);
    free(left);
}

static void expect_refused(const struct mst_keras_array *array, mst_status expected, const char *words)
{
    struct mst_keras_archive *archive;
    struct mst_error err = {0};
    assert_int_equal(mst_keras_read_arrays(path, array, 1, &archive, &err), expected);
    assert_null(archive);
    assert_non_null(strstr(err.text, path));
    if (strstr(err.text, words) == NULL)
        fail_msg("\"%s\" is not in: %s", words, err.text);
}

static void test_another_model(void **state)
{
    (void)state;
    struct mst_keras_array wider = {.path = "layers/dense/vars/0", .layer = "first", .shape = {2, {2, 4}}};
    struct mst_keras_array more = {.path = "layers/dense_1/vars/0", .layer = "second", .shape = {1, {4}}};
    struct mst_keras_array group = {.path = "layers/dense/vars", .layer = "first", .shape = {1, {3}}};
    expect_refused(&wider, MST_INVALID_ARGUMENT, "shape (2, 3), but layer 'first' of this model needs (2, 4)");
    expect_refused(&more, MST_INVALID_ARGUMENT, "has no layers/dense_1/vars/0, a weight of layer 'second'");
    expect_refused(&group, MST_INVALID_ARGUMENT, "has no layers/dense/vars,");
}

static void test_no_archive(void **state)
{
    (void)state;
    struct mst_buf text;
    struct mst_error err = {0};
    char *other = mst_text("%s/none.keras", folder);
    assert_int_equal(mst_keras_read_config(other, &text, &err), MST_NOT_FOUND);
    assert_non_null(strstr(err.text, other));
    data_file_write(other, FORM_PLAIN, "no zip", 6);
    assert_int_equal(mst_keras_read_config(other, &text, &err), MST_DATA_LOSS);
    assert_non_null(strstr(err.text, "is no `.keras` archive"));
    free(other);
}

static void test_cannot_write(void **state)
{
    (void)state;
    struct mst_error err = {0};
    char *inside = mst_text("%s/no-folder/m.keras", folder);
    assert_int_not_equal(mst_keras_write(inside, (struct mst_bytes){config, 2}, arrays, N, &err), MST_OK);
    assert_non_null(strstr(err.text, inside));
    free(inside);
}

static void test_no_module(void **state)
{
    (void)state;
    struct mst_buf text;
    struct mst_error err = {0};
    char *before = mst_strdup(getenv("MUSTER_MODULE_DIR"));
    assert_int_equal(setenv("MUSTER_MODULE_DIR", folder, 1), 0);
    assert_int_equal(mst_keras_read_config(path, &text, &err), MST_UNIMPLEMENTED);
    assert_non_null(strstr(err.text, "MUSTER_MODULE_DIR"));
    assert_int_equal(setenv("MUSTER_MODULE_DIR", before, 1), 0);
    free(before);
}

// One bit of a weight: only the checksum of the member knows.
static void test_one_bit(void **state)
{
    (void)state;
    struct mst_buf whole;
    assert_int_equal(mst_disk_read(path, 1 << 20, &whole, NULL), MST_OK);
    uint8_t *at = memmem(whole.data, whole.len, kernel, sizeof kernel);
    assert_non_null(at);
    *at ^= 1;
    data_file_write(path, FORM_PLAIN, whole.data, whole.len);
    expect_refused(&arrays[1], MST_DATA_LOSS, "is damaged: its model.weights.h5 cannot be unpacked");
    mst_buf_fini(&whole);
}

// Whatever a file holds, the answer is a status. Cut at every kind of place, and with bytes changed at random.
static void test_damage(void **state)
{
    (void)state;
    enum { TIMES = 60 };
    struct mst_buf whole;
    assert_int_equal(mst_disk_read(path, 1 << 20, &whole, NULL), MST_OK);
    size_t len = whole.len;
    char *damaged = mst_text("%s/damaged.keras", folder);
    const uint64_t seed = 20261125;
    struct mst_rng_key key = mst_rng_key_of(seed, "damage", 0);
    print_message("seed %llu\n", (unsigned long long)seed);
    size_t n_refused = 0;
    for (uint64_t t = 0; t < TIMES; t++) {
        struct mst_keras_archive *archive;
        struct mst_error err = {0};
        uint8_t *bytes = mst_alloc(len);
        size_t n = t < TIMES / 3 ? len * t / (TIMES / 3) : len;
        memcpy(bytes, whole.data, len);
        for (uint64_t b = 0; b < 16 && n == len; b++)
            bytes[mst_rng_word(key, (t * 64) + b) % len] = (uint8_t)mst_rng_word(key, t * 64 + 32 + b);
        data_file_write(damaged, FORM_PLAIN, bytes, n);
        mst_status status = mst_keras_read_arrays(damaged, arrays, N, &archive, &err);
        assert_true(status == MST_OK || err.text[0] != '\0');
        n_refused += status != MST_OK;
        mst_keras_archive_free(archive);
        free(bytes);
    }
    assert_true(n_refused >= TIMES / 3);
    free(damaged);
    mst_buf_fini(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test_setup_teardown(test_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_another_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_archive, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cannot_write, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_module, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_bit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damage, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
