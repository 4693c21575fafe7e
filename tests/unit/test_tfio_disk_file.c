// Files on the disk: content, and failures with path and text.
#include "tfio/disk_file.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "data_files.h"
#include "muster/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *folder;
static char *path;

static int set_up(void **state)
{
    (void)state;
    folder = data_folder_new();
    path = mst_text("%s/file", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(path);
    data_folder_free(folder);
    return 0;
}

// Large pieces from whole pages of memory, at blocks of the disk and beside them, between small ones.
static void test_pieces_on_whole_blocks(void **state)
{
    (void)state;
    enum { LARGE = 5 << 20 };
    const size_t sizes[] = {LARGE, 40, LARGE, 1000000, 3, 300001, LARGE - 4096, 4096};
    uint8_t *bytes = aligned_alloc(MST_DISK_BLOCK_BYTES, LARGE);
    uint8_t *want = mst_alloc(4 * (size_t)LARGE + (2 << 20));
    size_t total = 0;
    struct mst_disk_file *file;
    assert_int_equal(mst_disk_file_new(path, &file, NULL), MST_OK);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t k = 0; k < sizes[i]; k++)
            bytes[k] = (uint8_t)(k * 7 + k / 4096 + i);
        if (i % 4 != 3) {
            assert_int_equal(mst_disk_file_align(file, NULL), MST_OK);
            total = (total + MST_DISK_BLOCK_BYTES - 1) / MST_DISK_BLOCK_BYTES * MST_DISK_BLOCK_BYTES;
        }
        assert_int_equal(mst_disk_file_append(file, bytes, sizes[i], NULL), MST_OK);
        memcpy(want + total, bytes, sizes[i]);
        total += sizes[i];
        assert_int_equal(mst_disk_file_size_bytes(file), total);
    }
    assert_int_equal(mst_disk_file_close(file, NULL), MST_OK);
    struct mst_buf buf;
    assert_int_equal(mst_disk_read(path, total, &buf, NULL), MST_OK);
    assert_int_equal(buf.len, total);
    assert_memory_equal(buf.data, want, total);
    mst_buf_fini(&buf);
    free(bytes);
    free(want);
}

static void test_pieces_of_all_sizes(void **state)
{
    (void)state;
    const size_t sizes[] = {1, 3, 100, 300000, 0, 262144, 7, 262143, 2, 600000};
    struct mst_disk_file *file;
    uint8_t *bytes = mst_alloc(600000);
    size_t total = 0;
    assert_int_equal(mst_disk_file_new(path, &file, NULL), MST_OK);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        memset(bytes, (int)('a' + i), sizes[i]);
        assert_int_equal(mst_disk_file_append(file, bytes, sizes[i], NULL), MST_OK);
        total += sizes[i];
        assert_int_equal(mst_disk_file_size_bytes(file), total);
    }
    assert_int_equal(mst_disk_file_close(file, NULL), MST_OK);
    struct mst_buf buf;
    assert_int_equal(mst_disk_read(path, total, &buf, NULL), MST_OK);
    assert_int_equal(buf.len, total);
    size_t at = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(buf.data[at++], 'a' + (int)i);
    mst_buf_fini(&buf);
    struct mst_error err = {0};
    assert_int_equal(mst_disk_read(path, total - 1, &buf, &err), MST_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(err.text, path));
    mst_buf_fini(&buf);
    free(bytes);
}

// More than is written back at a time, in one piece and behind a small one.
static void test_a_large_piece(void **state)
{
    (void)state;
    const size_t n = (17u << 20) + 3;
    uint8_t *bytes = mst_alloc(n);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 24);
    struct mst_disk_file *file;
    assert_int_equal(mst_disk_file_new(path, &file, NULL), MST_OK);
    assert_int_equal(mst_disk_file_append(file, bytes, 5, NULL), MST_OK);
    assert_int_equal(mst_disk_file_append(file, bytes + 5, n - 5, NULL), MST_OK);
    assert_int_equal(mst_disk_file_close(file, NULL), MST_OK);
    struct mst_buf buf;
    assert_int_equal(mst_disk_read(path, n, &buf, NULL), MST_OK);
    assert_int_equal(buf.len, n);
    assert_memory_equal(buf.data, bytes, n);
    mst_buf_fini(&buf);
    free(bytes);
}

static void test_failures_name_the_path(void **state)
{
    (void)state;
    struct mst_disk_file *file;
    struct mst_error err = {0};
    assert_int_equal(mst_disk_file_new("/nonexistent/x", &file, &err), MST_NOT_FOUND);
    assert_string_equal(err.text, "cannot create /nonexistent/x: No such file or directory");
    assert_null(file);
    // A full disk.
    assert_int_equal(mst_disk_write("/dev/full", (struct mst_bytes){"x", 1}, &err), MST_RESOURCE_EXHAUSTED);
    assert_string_equal(err.text, "cannot write /dev/full: No space left on device");
    assert_int_equal(access("/dev/full", F_OK), 0);
    assert_int_equal(mst_disk_rename("/nonexistent/x", path, &err), MST_NOT_FOUND);
    assert_int_equal(mst_disk_sync_folder("/nonexistent", &err), MST_NOT_FOUND);
    assert_int_equal(mst_disk_remove("/nonexistent/x", &err), MST_OK);
    struct mst_buf buf;
    assert_int_equal(mst_disk_read(folder, 100, &buf, &err), MST_DATA_LOSS);
    mst_buf_fini(&buf);
}

static void test_abort_leaves_nothing(void **state)
{
    (void)state;
    struct mst_disk_file *file;
    assert_int_equal(mst_disk_file_new(path, &file, NULL), MST_OK);
    assert_int_equal(access(path, F_OK), 0);
    mst_disk_file_abort(file);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void test_make_folders(void **state)
{
    (void)state;
    char *deep = mst_text("%s/a/b//c/", folder);
    struct stat info;
    struct mst_error err = {0};
    assert_int_equal(mst_disk_make_folders(deep, NULL), MST_OK);
    assert_int_equal(mst_disk_make_folders(deep, NULL), MST_OK);
    assert_int_equal(stat(deep, &info), 0);
    assert_true(S_ISDIR(info.st_mode));
    assert_int_equal(mst_disk_sync_folder(deep, NULL), MST_OK);
    assert_int_equal(mst_disk_write(path, (struct mst_bytes){"x", 1}, NULL), MST_OK);
    assert_int_equal(mst_disk_make_folders(path, &err), MST_FAILED_PRECONDITION);
    assert_non_null(strstr(err.text, "is not a folder"));
    free(deep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pieces_of_all_sizes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pieces_on_whole_blocks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_large_piece, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failures_name_the_path, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_abort_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_make_folders, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
