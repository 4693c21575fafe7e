// IDX files, good ones of every type and bad ones of every kind.
#include "base/alloc.h"
#include "data/idx.h"
#include "data_files.h"
#include "muster/status.h"

#include "tensor/dtype.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

static mst_status read_whole(void *data, size_t room, struct mst_idx **idx, struct mst_error *err)
{
    mst_status status = mst_idx_open(path, idx, err);
    if (status != MST_OK)
        return status;
    assert_true(mst_idx_data_bytes(*idx) <= room);
    return mst_idx_read(*idx, data, err);
}

static void check_ints(uint8_t type, const void *body, size_t body_len, enum mst_dtype dtype, const void *want,
                       size_t want_len)
{
    uint8_t bytes[256], got[256];
    uint32_t dims[2] = {2, 2};
    size_t len = data_file_idx(bytes, type, 2, dims, body, body_len);
    for (int form = FORM_PLAIN; form <= FORM_GZIP; form++) {
        struct mst_error err = {0};
        struct mst_idx *idx;
        data_file_write(path, (enum file_form)form, bytes, len);
        assert_int_equal(read_whole(got, sizeof got, &idx, &err), MST_OK);
        assert_int_equal(mst_idx_dtype(idx), dtype);
        assert_int_equal(mst_idx_rank(idx), 2);
        assert_int_equal(mst_idx_dim(idx, 1), 2);
        assert_int_equal(mst_idx_n_elements(idx), 4);
        assert_int_equal(mst_idx_data_bytes(idx), want_len);
        assert_memory_equal(got, want, want_len);
        assert_int_equal(mst_idx_read(idx, got, &err), MST_FAILED_PRECONDITION);
        mst_idx_free(idx);
    }
}

static void test_element_types(void **state)
{
    (void)state;
    const uint8_t u8[] = {0, 1, 128, 255};
    check_ints(0x08, u8, sizeof u8, MST_DTYPE_U8, u8, sizeof u8);
    const int32_t i8_want[] = {0, 1, -128, -1};
    check_ints(0x09, u8, sizeof u8, MST_DTYPE_I32, i8_want, sizeof i8_want);
    const uint8_t i16[] = {0, 7, 0x7f, 0xff, 0x80, 0, 0xff, 0xfe};
    const int32_t i16_want[] = {7, 32767, -32768, -2};
    check_ints(0x0B, i16, sizeof i16, MST_DTYPE_I32, i16_want, sizeof i16_want);
    const uint8_t i32[] = {0, 0, 0, 9, 0x7f, 0xff, 0xff, 0xff, 0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};
    const int32_t i32_want[] = {9, INT32_MAX, INT32_MIN, -1};
    check_ints(0x0C, i32, sizeof i32, MST_DTYPE_I32, i32_want, sizeof i32_want);
    const uint8_t f32[] = {0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0x3e, 0x80, 0, 0};
    const float f_want[] = {1.0f, -2.0f, 0.0f, 0.25f};
    check_ints(0x0D, f32, sizeof f32, MST_DTYPE_F32, f_want, sizeof f_want);
    const uint8_t f64[] = {0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0xc0, 0,    0, 0, 0, 0, 0, 0,
                           0,    0,    0, 0, 0, 0, 0, 0, 0x3f, 0xd0, 0, 0, 0, 0, 0, 0};
    check_ints(0x0E, f64, sizeof f64, MST_DTYPE_F32, f_want, sizeof f_want);
}

static void expect_failure(const void *bytes, size_t len, enum file_form form, mst_status want, const char *words)
{
    uint8_t data[256];
    struct mst_idx *idx;
    struct mst_error err = {0};
    data_file_write(path, form, bytes, len);
    mst_status status = read_whole(data, sizeof data, &idx, &err);
    if (status != want || !strstr(err.text, words) || !strstr(err.text, path))
        fail_msg("status %d, text \"%s\"; want status %d and \"%s\"", (int)status, err.text, (int)want, words);
    mst_idx_free(idx);
}

static void test_bad_files(void **state)
{
    (void)state;
    uint8_t bytes[64];
    uint32_t dims[3] = {2, 3, 1};
    const uint8_t body[6] = {1, 2, 3, 4, 5, 6};
    size_t len = data_file_idx(bytes, 0x08, 3, dims, body, sizeof body);
    for (int f = FORM_PLAIN; f <= FORM_GZIP; f++) {
        enum file_form form = (enum file_form)f;
        for (size_t cut = 0; cut < len; cut++)
            expect_failure(bytes, cut, form, MST_DATA_LOSS, "truncated");
        bytes[len] = 9;
        expect_failure(bytes, len + 1, form, MST_DATA_LOSS, form == FORM_GZIP ? "goes on after the 6" : "1 more than");
        bytes[0] = 'P';
        expect_failure(bytes, len, form, MST_DATA_LOSS, "begins with 50 00");
        bytes[0] = 0;
        bytes[2] = 0x0A;
        expect_failure(bytes, len, form, MST_DATA_LOSS, "type 0x0a");
        bytes[2] = 0x08;
        bytes[3] = 0;
        expect_failure(bytes, len, form, MST_DATA_LOSS, "0 dimensions");
        bytes[3] = 9;
        expect_failure(bytes, len, form, MST_DATA_LOSS, "9 dimensions");
        bytes[3] = 3;
    }
}

static void test_hostile_sizes(void **state)
{
    (void)state;
    uint8_t bytes[64];
    uint32_t huge[3] = {UINT32_MAX, UINT32_MAX, UINT32_MAX};
    size_t len = data_file_idx(bytes, 0x08, 3, huge, "", 0);
    expect_failure(bytes, len, FORM_PLAIN, MST_OUT_OF_RANGE, "64 GiB");
    expect_failure(bytes, len, FORM_GZIP, MST_OUT_OF_RANGE, "64 GiB");
    uint32_t large[3] = {1 << 20, 1 << 10, 8}; // within the limit, beyond the file
    len = data_file_idx(bytes, 0x08, 3, large, "", 0);
    expect_failure(bytes, len, FORM_PLAIN, MST_DATA_LOSS, "truncated");
    expect_failure(bytes, len, FORM_GZIP, MST_DATA_LOSS, "cannot hold");
}

static void test_broken_gzip(void **state)
{
    (void)state;
    uint8_t bytes[256], packed[256];
    uint8_t body[100];
    uint32_t dims[1] = {100};
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (uint8_t)(i * 37);
    size_t len = data_file_idx(bytes, 0x08, 1, dims, body, sizeof body);
    data_file_write(path, FORM_GZIP, bytes, len);
    FILE *file = fopen(path, "rb");
    size_t n_packed = fread(packed, 1, sizeof packed, file);
    fclose(file);
    // Cut anywhere behind the magic, or with one bit of the compressed data, checksum or length turned.
    for (size_t cut = 2; cut < n_packed; cut++)
        expect_failure(packed, cut, FORM_PLAIN, MST_DATA_LOSS, "truncated");
    for (size_t i = 10; i < n_packed; i++) {
        packed[i] ^= 0x10;
        uint8_t data[256];
        struct mst_idx *idx;
        struct mst_error err = {0};
        data_file_write(path, FORM_PLAIN, packed, n_packed);
        mst_status status = mst_idx_open(path, &idx, &err);
        if (status == MST_OK && mst_idx_data_bytes(idx) <= sizeof data)
            status = mst_idx_read(idx, data, &err);
        // Some bits are padding: turning those harms nothing.
        if (status == MST_OK)
            assert_memory_equal(data, body, sizeof body);
        mst_idx_free(idx);
        packed[i] ^= 0x10;
    }
    // Two members are one stream, as gzip files may be.
    uint8_t both[512];
    data_file_write(path, FORM_GZIP, bytes, 50);
    file = fopen(path, "rb");
    size_t n_both = fread(both, 1, 256, file);
    fclose(file);
    data_file_write(path, FORM_GZIP, bytes + 50, len - 50);
    file = fopen(path, "rb");
    n_both += fread(both + n_both, 1, 256, file);
    fclose(file);
    data_file_write(path, FORM_PLAIN, both, n_both);
    struct mst_idx *idx;
    uint8_t data[100];
    assert_int_equal(read_whole(data, sizeof data, &idx, NULL), MST_OK);
    assert_memory_equal(data, body, sizeof body);
    mst_idx_free(idx);
}

static void test_no_file(void **state)
{
    (void)state;
    struct mst_idx *idx;
    struct mst_error err = {0};
    assert_int_equal(mst_idx_open("/nonexistent/images.gz", &idx, &err), MST_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nonexistent/images.gz"));
    assert_null(idx);
    assert_int_equal(mst_idx_open(folder, &idx, &err), MST_DATA_LOSS);
    assert_non_null(strstr(err.text, "not a regular file"));
    char *pipe = mst_text("%s/pipe", folder); // to which nobody writes
    assert_int_equal(mkfifo(pipe, 0600), 0);
    assert_int_equal(mst_idx_open(pipe, &idx, &err), MST_DATA_LOSS);
    assert_non_null(strstr(err.text, "not a regular file"));
    free(pipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_element_types), cmocka_unit_test(test_bad_files), cmocka_unit_test(test_hostile_sizes),
        cmocka_unit_test(test_broken_gzip),   cmocka_unit_test(test_no_file),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
