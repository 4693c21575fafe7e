// Bundles: TensorFlow's bytes, round trips with shards and slices, rows across slices, and every turned byte.
#include "tfio/bundle.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "data_files.h"
#include "muster/status.h"
#include "tfio/bundle_reader.h"
#include "tfio/bundle_writer.h"
#include "tfio/disk_file.h"
#include "tfio/tf_types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The index that TensorFlow 2.21 wrote of b [2], w [5,2] in slices of 3 and 2 rows, and iterations: SaveV2 twice (b
// with the first slice, iterations with the second), then MergeV2Checkpoints.
static const uint8_t golden_index[] = {
    0x00, 0x00, 0x06, 0x08, 0x02, 0x1a, 0x02, 0x08, 0x01, 0x00, 0x0a, 0x15, 0x00, 0x77, 0x00, 0x01, 0x01, 0x02, 0x80,
    0x83, 0x80, 0x7f, 0x08, 0x01, 0x12, 0x08, 0x12, 0x02, 0x08, 0x03, 0x12, 0x02, 0x08, 0x02, 0x20, 0x08, 0x28, 0x18,
    0x35, 0xc0, 0xdb, 0x3d, 0x17, 0x06, 0x04, 0x17, 0x83, 0x82, 0x80, 0x7f, 0x08, 0x01, 0x12, 0x08, 0x12, 0x02, 0x08,
    0x02, 0x12, 0x02, 0x08, 0x02, 0x18, 0x01, 0x20, 0x08, 0x28, 0x10, 0x35, 0x50, 0x0f, 0x12, 0xbc, 0x00, 0x01, 0x0f,
    0x62, 0x08, 0x01, 0x12, 0x04, 0x12, 0x02, 0x08, 0x02, 0x28, 0x08, 0x35, 0x59, 0x3c, 0xe5, 0x35, 0x00, 0x0a, 0x0d,
    0x69, 0x74, 0x65, 0x72, 0x61, 0x74, 0x69, 0x6f, 0x6e, 0x73, 0x08, 0x09, 0x12, 0x00, 0x18, 0x01, 0x28, 0x08, 0x35,
    0x37, 0xf9, 0x71, 0x39, 0x00, 0x01, 0x1e, 0x77, 0x08, 0x01, 0x12, 0x08, 0x12, 0x02, 0x08, 0x05, 0x12, 0x02, 0x08,
    0x02, 0x3a, 0x06, 0x0a, 0x02, 0x10, 0x03, 0x0a, 0x00, 0x3a, 0x08, 0x0a, 0x04, 0x08, 0x03, 0x10, 0x02, 0x0a, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0xb6, 0xa4, 0xe2, 0x10, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00,
    0x00, 0x00, 0x00, 0xc0, 0xf2, 0xa1, 0xb0, 0x00, 0x01, 0x03, 0x78, 0x00, 0xa0, 0x01, 0x00, 0x00, 0x00, 0x00, 0x01,
    0x00, 0x00, 0x00, 0x00, 0x80, 0xe4, 0x04, 0xd1, 0xa5, 0x01, 0x08, 0xb2, 0x01, 0x0f, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb,
};

static char *folder;
static char *prefix;

static int set_up(void **state)
{
    (void)state;
    folder = data_folder_new();
    prefix = mst_text("%s/b", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(prefix);
    data_folder_free(folder);
    return 0;
}

static struct mst_bundle_tensor whole(const char *name, enum mst_tf_type type, size_t rank, size_t d0, size_t d1)
{
    return (struct mst_bundle_tensor){name, type, {rank, {d0, d1}}, 0, 0};
}

static struct mst_bundle_tensor rows(const char *name, size_t d0, size_t d1, uint64_t row, uint64_t n_rows)
{
    return (struct mst_bundle_tensor){name, MST_TF_FLOAT, {2, {d0, d1}}, row, n_rows};
}

struct item {
    struct mst_bundle_tensor tensor;
    size_t shard;
    const void *data;
};

static mst_status write_bundle(const struct item *items, size_t n_items, size_t n_shards, struct mst_error *err)
{
    struct mst_bundle_index *index = mst_bundle_index_new(n_shards);
    for (size_t shard = 0; shard < n_shards; shard++) {
        struct mst_bundle_data *data;
        char *path = mst_bundle_data_path(prefix, shard, n_shards);
        assert_int_equal(mst_bundle_data_new(path, &data, NULL), MST_OK);
        for (size_t i = 0; i < n_items; i++) {
            struct mst_bundle_piece piece;
            uint64_t bytes;
            if (items[i].shard != shard)
                continue;
            assert_int_equal(mst_bundle_tensor_bytes(&items[i].tensor, &bytes, NULL), MST_OK);
            assert_int_equal(mst_bundle_data_append(data, items[i].data, bytes, &piece, NULL), MST_OK);
            assert_int_equal(mst_bundle_index_add(index, &items[i].tensor, shard, &piece, NULL), MST_OK);
        }
        assert_int_equal(mst_bundle_data_close(data, NULL), MST_OK);
        free(path);
    }
    char *path = mst_bundle_index_path(prefix);
    mst_status status = mst_bundle_index_write(index, path, err);
    free(path);
    mst_bundle_index_free(index);
    return status;
}

static const float bias[2] = {1, 2};
static const float kernel[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
static const int64_t iterations = 9;

static void write_golden(void)
{
    const struct item items[] = {
        {whole("b", MST_TF_FLOAT, 1, 2, 0), 0, bias},
        {rows("w", 5, 2, 0, 3), 0, kernel},
        {whole("iterations", MST_TF_INT64, 0, 0, 0), 1, &iterations},
        {rows("w", 5, 2, 3, 2), 1, kernel + 6},
    };
    assert_int_equal(write_bundle(items, 4, 2, NULL), MST_OK);
}

static void test_the_bytes_of_tensorflow(void **state)
{
    (void)state;
    struct mst_buf buf;
    char *path = mst_bundle_index_path(prefix);
    write_golden();
    assert_int_equal(mst_disk_read(path, 1 << 20, &buf, NULL), MST_OK);
    assert_int_equal(buf.len, sizeof golden_index);
    assert_memory_equal(buf.data, golden_index, sizeof golden_index);
    mst_buf_fini(&buf);
    free(path);
}

static void check_golden(const struct mst_bundle *bundle)
{
    float values[10];
    int64_t count;
    assert_int_equal(mst_bundle_n_shards(bundle), 2);
    assert_int_equal(mst_bundle_n_entries(bundle), 3);
    const struct mst_bundle_entry *entry = mst_bundle_entry_at(bundle, 2);
    assert_string_equal(entry->name, "w");
    assert_true(entry->is_partitioned);
    assert_int_equal(entry->size_bytes, sizeof kernel);
    struct mst_bundle_slice slice;
    assert_int_equal(mst_bundle_n_slices(entry), 2);
    mst_bundle_slice_at(bundle, entry, 1, &slice);
    assert_int_equal(slice.shard, 1);
    assert_int_equal(slice.size_bytes, 16);
    assert_int_equal(slice.start[0], 3);
    assert_int_equal(slice.length[0], 2);
    assert_int_equal(slice.start[1], 0);
    assert_int_equal(slice.length[1], 2);
    assert_int_equal(mst_bundle_read(bundle, entry, values, sizeof values, NULL), MST_OK);
    assert_memory_equal(values, kernel, sizeof kernel);
    for (size_t row = 0; row < 5; row++) {
        for (size_t n = 0; n <= 5 - row; n++) {
            memset(values, 0, sizeof values);
            assert_int_equal(mst_bundle_read_rows(bundle, entry, row, n, values, 8 * n, NULL), MST_OK);
            assert_memory_equal(values, kernel + 2 * row, 8 * n);
        }
    }
    entry = mst_bundle_find(bundle, "iterations");
    assert_non_null(entry);
    assert_int_equal(mst_bundle_n_slices(entry), 1);
    assert_int_equal(mst_bundle_verify_entry(bundle, entry, NULL), MST_OK);
    assert_int_equal(entry->type, MST_TF_INT64);
    assert_int_equal(mst_bundle_read(bundle, entry, &count, sizeof count, NULL), MST_OK);
    assert_int_equal(count, 9);
    assert_null(mst_bundle_find(bundle, "a"));
    assert_null(mst_bundle_find(bundle, "x"));
    assert_int_equal(mst_bundle_verify(bundle, NULL), MST_OK);
}

static void test_reads_back(void **state)
{
    (void)state;
    struct mst_bundle *bundle;
    struct mst_error err = {0};
    float values[10];
    write_golden();
    assert_int_equal(mst_bundle_open(prefix, &bundle, &err), MST_OK);
    check_golden(bundle);
    const struct mst_bundle_entry *entry = mst_bundle_find(bundle, "w");
    assert_int_equal(mst_bundle_read(bundle, entry, values, 36, &err), MST_INVALID_ARGUMENT);
    assert_int_equal(mst_bundle_read_rows(bundle, entry, 4, 2, values, 16, &err), MST_INVALID_ARGUMENT);
    assert_int_equal(mst_bundle_read_rows(bundle, entry, UINT64_MAX, 2, values, 16, &err), MST_INVALID_ARGUMENT);
    entry = mst_bundle_find(bundle, "iterations");
    assert_int_equal(mst_bundle_read_rows(bundle, entry, 0, 1, values, 8, &err), MST_INVALID_ARGUMENT);
    mst_bundle_free(bundle);
}

// Large enough for the direct path, the buffered path and several restarts; rows of whole and cut pieces.
static void test_many_tensors(void **state)
{
    (void)state;
    enum { N = 3000, ROWS = 1000, WIDTH = 33 };
    static char names[N][48];
    float *big = mst_alloc_array(ROWS * WIDTH, sizeof(float));
    struct item *items = mst_alloc_array(N + 3, sizeof *items);
    for (size_t i = 0; i < ROWS * WIDTH; i++)
        big[i] = (float)i;
    for (size_t i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "layer_%zu/with_a_name_of_some_length/kernel", i);
        items[i] = (struct item){whole(names[i], MST_TF_FLOAT, 1, i % 3, 0), i % 3, big + i};
    }
    items[N] = (struct item){rows("big", ROWS, WIDTH, 600, 400), 0, big + 600 * WIDTH};
    items[N + 1] = (struct item){rows("big", ROWS, WIDTH, 0, 1), 2, big};
    items[N + 2] = (struct item){rows("big", ROWS, WIDTH, 1, 599), 1, big + WIDTH};
    assert_int_equal(write_bundle(items, N + 3, 3, NULL), MST_OK);
    struct mst_bundle *bundle;
    assert_int_equal(mst_bundle_open(prefix, &bundle, NULL), MST_OK);
    assert_int_equal(mst_bundle_n_entries(bundle), N + 1);
    for (size_t i = 0; i < N; i++) {
        float values[2];
        const struct mst_bundle_entry *entry = mst_bundle_find(bundle, names[i]);
        assert_non_null(entry);
        assert_int_equal(mst_bundle_read(bundle, entry, values, i % 3 * 4, NULL), MST_OK);
        assert_memory_equal(values, big + i, i % 3 * 4);
    }
    const size_t ranges[][2] = {{0, ROWS}, {0, 1}, {1, 599}, {599, 2}, {600, 1}, {999, 1}, {10, 900}, {0, 0}};
    const struct mst_bundle_entry *entry = mst_bundle_find(bundle, "big");
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        size_t bytes = ranges[i][1] * WIDTH * sizeof(float);
        float *values = mst_alloc(bytes);
        assert_int_equal(mst_bundle_read_rows(bundle, entry, ranges[i][0], ranges[i][1], values, bytes, NULL), MST_OK);
        assert_memory_equal(values, big + ranges[i][0] * WIDTH, bytes);
        free(values);
    }
    mst_bundle_free(bundle);
    free(items);
    free(big);
}

static void expect_index_refused(const struct item *items, size_t n_items, const char *words)
{
    struct mst_error err = {0};
    assert_int_equal(write_bundle(items, n_items, 1, &err), MST_INVALID_ARGUMENT);
    if (!strstr(err.text, words))
        fail_msg("\"%s\", want \"%s\"", err.text, words);
    char *path = mst_bundle_index_path(prefix);
    assert_int_not_equal(access(path, F_OK), 0);
    free(path);
}

// A tensor is written in pieces; its checksum is that of all of it.
static void test_a_large_tensor(void **state)
{
    (void)state;
    const size_t n = (1u << 20) + 12;
    uint8_t *bytes = mst_alloc(n);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 24);
    char *path = mst_text("%s/large", folder);
    struct mst_bundle_data *data;
    struct mst_bundle_piece small;
    struct mst_bundle_piece large;
    assert_int_equal(mst_bundle_data_new(path, &data, NULL), MST_OK);
    assert_int_equal(mst_bundle_data_append(data, bytes, 8, &small, NULL), MST_OK);
    assert_int_equal(mst_bundle_data_append(data, bytes, n, &large, NULL), MST_OK);
    assert_int_equal(mst_bundle_data_close(data, NULL), MST_OK);
    assert_int_equal(large.offset_bytes, 4096); // at a block of the disk; zeros lie before it
    assert_int_equal(large.size_bytes, n);
    assert_int_equal(large.crc32c, mst_crc32c_mask(mst_crc32c(bytes, n)));
    struct mst_buf buf;
    assert_int_equal(mst_disk_read(path, n + 4096, &buf, NULL), MST_OK);
    assert_int_equal(buf.len, n + 4096);
    assert_memory_equal((const uint8_t *)buf.data + 4096, bytes, n);
    mst_buf_fini(&buf);
    free(path);
    free(bytes);
}

static void test_writer_refuses(void **state)
{
    (void)state;
    const struct item twice[] = {{whole("w", MST_TF_FLOAT, 1, 2, 0), 0, kernel},
                                 {whole("w", MST_TF_FLOAT, 1, 2, 0), 0, kernel}};
    expect_index_refused(twice, 2, "w is given 2 times");
    const struct item gap[] = {{rows("w", 5, 2, 0, 2), 0, kernel}, {rows("w", 5, 2, 3, 2), 0, kernel}};
    expect_index_refused(gap, 2, "leave a gap at row 2");
    const struct item overlap[] = {{rows("w", 5, 2, 0, 3), 0, kernel}, {rows("w", 5, 2, 2, 3), 0, kernel}};
    expect_index_refused(overlap, 2, "overlap at row 3");
    const struct item short_of[] = {{rows("w", 5, 2, 0, 3), 0, kernel}};
    expect_index_refused(short_of, 1, "end at row 3 of 5");
    const struct item late[] = {{rows("w", 5, 2, 1, 4), 0, kernel}};
    expect_index_refused(late, 1, "leave a gap at row 0");
    const struct item shapes[] = {{rows("w", 5, 2, 0, 3), 0, kernel}, {rows("w", 5, 1, 3, 2), 0, kernel}};
    expect_index_refused(shapes, 2, "disagree");
    struct mst_bundle_index *index = mst_bundle_index_new(1);
    struct mst_bundle_tensor tensor = whole("w", MST_TF_FLOAT, 1, 2, 0);
    struct mst_bundle_piece piece = {0, 8, 0};
    assert_int_equal(mst_bundle_index_add(index, &tensor, 1, &piece, NULL), MST_INVALID_ARGUMENT);
    piece.size_bytes = 4;
    assert_int_equal(mst_bundle_index_add(index, &tensor, 0, &piece, NULL), MST_INVALID_ARGUMENT);
    tensor.name = "";
    assert_int_equal(mst_bundle_index_add(index, &tensor, 0, &piece, NULL), MST_INVALID_ARGUMENT);
    tensor = rows("w", 5, 2, 4, 2);
    assert_int_equal(mst_bundle_index_add(index, &tensor, 0, &piece, NULL), MST_INVALID_ARGUMENT);
    mst_bundle_index_free(index);
}

// Whatever byte of whatever file is turned or missing: refused with a sentence, or what is read is what was written.
static void damage(const char *path, size_t len)
{
    struct mst_buf original;
    assert_int_equal(mst_disk_read(path, 1 << 20, &original, NULL), MST_OK);
    size_t n_refused = 0;
    for (size_t i = 0; i < len; i++) {
        struct mst_bundle *bundle;
        struct mst_error err = {0};
        original.data[i] ^= 0x41;
        data_file_write(path, FORM_PLAIN, original.data, len);
        mst_status status = mst_bundle_open(prefix, &bundle, &err);
        if (status == MST_OK)
            status = mst_bundle_verify(bundle, &err);
        if (status == MST_OK)
            check_golden(bundle);
        else
            assert_true(strncmp(err.text, prefix, strlen(prefix)) == 0 && strlen(err.text) > strlen(path));
        n_refused += status != MST_OK;
        mst_bundle_free(bundle);
        original.data[i] ^= 0x41;
    }
    assert_true(n_refused + 40 >= len); // all but the padding of the footer
    for (size_t cut = 0; cut < len; cut++) {
        struct mst_bundle *bundle;
        data_file_write(path, FORM_PLAIN, original.data, cut);
        assert_int_equal(mst_bundle_open(prefix, &bundle, NULL), MST_DATA_LOSS);
        assert_null(bundle);
    }
    data_file_write(path, FORM_PLAIN, original.data, len);
    mst_buf_fini(&original);
}

static void test_every_turned_byte(void **state)
{
    (void)state;
    write_golden();
    const size_t sizes[] = {32, 24};
    for (size_t shard = 0; shard < 2; shard++) {
        char *path = mst_bundle_data_path(prefix, shard, 2);
        damage(path, sizes[shard]);
        free(path);
    }
    char *path = mst_bundle_index_path(prefix);
    damage(path, sizeof golden_index);
    free(path);
}

// Every byte of the first block turned and its checksum made right again: then only the meaning is wrong, and all the
// checks behind the checksum are reached.
static void test_every_turned_byte_under_a_good_checksum(void **state)
{
    (void)state;
    enum { BLOCK_BYTES = 0x98 + 4 }; // entries, one restart, their number
    uint8_t bytes[sizeof golden_index];
    char *path = mst_bundle_index_path(prefix);
    write_golden();
    size_t n_entries = BLOCK_BYTES;
    while (memcmp(golden_index + n_entries, "\x01\x00\x00\x00\x00", 5) != 0)
        n_entries++;
    size_t type_at = n_entries + 4;
    for (size_t i = 0; i < type_at; i++) {
        for (unsigned delta = 1; delta < 256; delta += 6) {
            memcpy(bytes, golden_index, sizeof bytes);
            bytes[i] = (uint8_t)(bytes[i] + delta);
            uint32_t crc = mst_crc32c_mask(mst_crc32c(bytes, type_at + 1));
            for (size_t k = 0; k < 4; k++)
                bytes[type_at + 1 + k] = (uint8_t)(crc >> (8 * k));
            data_file_write(path, FORM_PLAIN, bytes, sizeof bytes);
            struct mst_bundle *bundle;
            struct mst_error err = {0};
            if (mst_bundle_open(prefix, &bundle, &err) == MST_OK)
                (void)!mst_bundle_verify(bundle, &err);
            else
                assert_true(strlen(err.text) > strlen(prefix));
            mst_bundle_free(bundle);
        }
    }
    free(path);
}

static void test_missing_files(void **state)
{
    (void)state;
    struct mst_bundle *bundle;
    struct mst_error err = {0};
    assert_int_equal(mst_bundle_open(prefix, &bundle, &err), MST_NOT_FOUND);
    assert_non_null(strstr(err.text, "b.index"));
    write_golden();
    char *path = mst_bundle_data_path(prefix, 1, 2);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mst_bundle_open(prefix, &bundle, &err), MST_NOT_FOUND);
    assert_non_null(strstr(err.text, "b.data-00001-of-00002"));
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_bytes_of_tensorflow, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reads_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_tensors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_large_tensor, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_writer_refuses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_turned_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_turned_byte_under_a_good_checksum, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_missing_files, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
