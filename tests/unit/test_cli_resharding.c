// A checkpoint rewritten: every tensor's bytes stay, cuts and data files are as asked for, and after a failure nothing
// is there.
#include "cli/resharding.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "tfio/bundle_reader.h"
#include "tfio/bundle_writer.h"
#include "tfio/disk_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROWS = 7, WIDTH = 5 };

static char *folder;
static char *from;
static char *to;
static float kernel[ROWS * WIDTH];

static int on_name(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static size_t n_files(void)
{
    struct dirent **entries;
    int n = scandir(folder, &entries, on_name, NULL);
    assert_true(n >= 0);
    for (int i = 0; i < n; i++)
        free(entries[i]);
    free(entries);
    return (size_t)n;
}

static void add(struct mst_bundle_data *data, struct mst_bundle_index *index, const struct mst_bundle_tensor *tensor,
                const void *bytes, size_t len)
{
    struct mst_bundle_piece piece;
    assert_int_equal(mst_bundle_data_append(data, bytes, len, &piece, NULL), MST_OK);
    if (tensor->type == MST_TF_STRING) { // its checksum is over the length as a u32, then what follows the varint
        const uint8_t *at = bytes;
        uint8_t length[4] = {at[0], 0, 0, 0};
        piece.crc32c = mst_crc32c_mask(mst_crc32c_extend(mst_crc32c(length, 4), at + 1, len - 1));
    }
    assert_int_equal(mst_bundle_index_add(index, tensor, 0, &piece, NULL), MST_OK);
}

// A kernel in slices of 4 and 3 rows, a scalar, an empty tensor, and a text as TensorFlow lays it out.
static int set_up(void **state)
{
    (void)state;
    const char *root = getenv("TMPDIR");
    folder = mst_text("%s/muster-resharding-XXXXXX", root ? root : "/tmp");
    assert_non_null(mkdtemp(folder));
    from = mst_text("%s/from", folder);
    to = mst_text("%s/to", folder);
    for (size_t i = 0; i < ROWS * WIDTH; i++)
        kernel[i] = (float)i - 3.5f;
    int64_t iterations = 42;
    uint8_t text[1 + 4 + 3] = {3, 0, 0, 0, 0, 'a', 'b', 'c'};
    uint32_t sum = mst_crc32c_mask(mst_crc32c((const uint8_t[]){3, 0, 0, 0}, 4));
    memcpy(text + 1, &sum, 4);
    struct mst_bundle_data *data;
    struct mst_bundle_index *index = mst_bundle_index_new(1);
    char *path = mst_bundle_data_path(from, 0, 1);
    assert_int_equal(mst_bundle_data_new(path, &data, NULL), MST_OK);
    free(path);
    struct mst_bundle_tensor tensor = {"k", MST_TF_FLOAT, {2, {ROWS, WIDTH}}, 0, 4};
    add(data, index, &tensor, kernel, 4 * WIDTH * sizeof(float));
    tensor = (struct mst_bundle_tensor){"k", MST_TF_FLOAT, {2, {ROWS, WIDTH}}, 4, 3};
    add(data, index, &tensor, kernel + 4 * WIDTH, 3 * WIDTH * sizeof(float));
    tensor = (struct mst_bundle_tensor){"iterations", MST_TF_INT64, {0, {0}}, 0, 0};
    add(data, index, &tensor, &iterations, sizeof iterations);
    tensor = (struct mst_bundle_tensor){"none", MST_TF_FLOAT, {2, {0, 3}}, 0, 0};
    add(data, index, &tensor, kernel, 0);
    tensor = (struct mst_bundle_tensor){"text", MST_TF_STRING, {0, {0}}, 0, 0};
    add(data, index, &tensor, text, sizeof text);
    assert_int_equal(mst_bundle_data_close(data, NULL), MST_OK);
    path = mst_bundle_index_path(from);
    assert_int_equal(mst_bundle_index_write(index, path, NULL), MST_OK);
    free(path);
    mst_bundle_index_free(index);
    assert_int_equal(n_files(), 2);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    struct dirent **entries;
    int n = scandir(folder, &entries, on_name, NULL);
    for (int i = 0; i < n; i++) {
        char *path = mst_text("%s/%s", folder, entries[i]->d_name);
        unlink(path);
        free(path);
        free(entries[i]);
    }
    free(entries);
    rmdir(folder);
    free(to);
    free(from);
    free(folder);
    return 0;
}

static void expect_same(size_t n_slices, size_t n_shards)
{
    struct mst_bundle *bundle;
    float values[ROWS * WIDTH];
    int64_t iterations;
    struct mst_buf text;
    assert_int_equal(mst_bundle_open(to, &bundle, NULL), MST_OK);
    assert_int_equal(mst_bundle_n_entries(bundle), 4);
    assert_int_equal(mst_bundle_n_shards(bundle), n_shards);
    const struct mst_bundle_entry *entry = mst_bundle_find(bundle, "k");
    assert_int_equal(mst_bundle_n_slices(entry), n_slices);
    assert_int_equal(mst_bundle_read(bundle, entry, values, sizeof values, NULL), MST_OK);
    assert_memory_equal(values, kernel, sizeof values);
    entry = mst_bundle_find(bundle, "iterations");
    assert_int_equal(mst_bundle_read(bundle, entry, &iterations, sizeof iterations, NULL), MST_OK);
    assert_int_equal(iterations, 42);
    assert_int_equal(mst_bundle_read_text(bundle, mst_bundle_find(bundle, "text"), &text, NULL), MST_OK);
    assert_int_equal(text.len, 3);
    assert_memory_equal(text.data, "abc", 3);
    mst_buf_fini(&text);
    mst_bundle_free(bundle);
}

static void test_cuts_and_files(void **state)
{
    (void)state;
    static const struct {
        const char *partitioner; // NULL: as it is cut
        size_t n_shards;
        size_t n_slices;
    } cases[] = {{NULL, 0, 2},       {NULL, 3, 2},           {"none", 1, 1},        {"fixed:3", 2, 3},
                 {"fixed:99", 5, 7}, {"min-size:1:4", 1, 4}, {"max-size:40", 2, 4}, {"max-size:40:3", 2, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mst_resharding request = {.from = from, .to = to, .n_shards = cases[i].n_shards};
        struct mst_resharded done;
        request.is_recut = cases[i].partitioner != NULL;
        if (request.is_recut)
            assert_int_equal(mst_partitioner_read(cases[i].partitioner, &request.partitioner, NULL), MST_OK);
        assert_int_equal(mst_reshard(&request, &done, NULL), MST_OK);
        size_t n_shards = cases[i].n_shards ? cases[i].n_shards : 1;
        expect_same(cases[i].n_slices, n_shards);
        assert_int_equal(done.n_tensors, 4);
        assert_int_equal(done.n_shards, n_shards);
        assert_int_equal(done.n_slices, cases[i].n_slices > 1 ? cases[i].n_slices : 0);
        assert_int_equal(done.n_bytes, sizeof kernel + 8 + 8);
        assert_int_equal(n_files(), 2 + 1 + n_shards);
        struct mst_error err;
        assert_int_equal(mst_reshard(&request, &done, &err), MST_FAILED_PRECONDITION);
        assert_non_null(strstr(err.text, "to.index is there already"));
        char *index = mst_bundle_index_path(to);
        unlink(index);
        free(index);
        for (size_t shard = 0; shard < n_shards; shard++) {
            char *path = mst_bundle_data_path(to, shard, n_shards);
            unlink(path);
            free(path);
        }
    }
}

static void test_a_turned_bit_leaves_nothing(void **state)
{
    (void)state;
    char *path = mst_bundle_data_path(from, 0, 1);
    struct mst_buf content;
    assert_int_equal(mst_disk_read(path, 1 << 20, &content, NULL), MST_OK);
    content.data[30] ^= 1;
    assert_int_equal(mst_disk_write(path, mst_buf_view(&content), NULL), MST_OK);
    struct mst_resharding request = {.from = from, .to = to, .n_shards = 3};
    struct mst_resharded done;
    struct mst_error err;
    assert_int_equal(mst_reshard(&request, &done, &err), MST_DATA_LOSS);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(n_files(), 2);
    mst_buf_fini(&content);
    free(path);
}

// A folder is where the last step renames to.
static void test_a_failed_commit_leaves_nothing(void **state)
{
    (void)state;
    char *in_the_way = mst_bundle_data_path(to, 1, 2);
    assert_int_equal(mkdir(in_the_way, 0777), 0);
    struct mst_resharding request = {.from = from, .to = to, .n_shards = 2};
    struct mst_resharded done;
    assert_int_not_equal(mst_reshard(&request, &done, NULL), MST_OK);
    assert_int_equal(rmdir(in_the_way), 0);
    assert_int_equal(n_files(), 2);
    free(in_the_way);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "fixed",
                                      "fixed:",
                                      "fixed:0",
                                      "fixed:-1",
                                      "fixed:3:4",
                                      "fixed:3:",
                                      "min-size",
                                      "min-size:0:3",
                                      "max-size:1:2:3",
                                      "nothing",
                                      "max-size:1x",
                                      "min-size:1:",
                                      "fixed:99999999999999999999"};
    struct mst_partitioner partitioner;
    struct mst_error err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(mst_partitioner_read(bad[i], &partitioner, &err), MST_INVALID_ARGUMENT);
        assert_non_null(strstr(err.text, "max-size:BYTES[:SHARDS]"));
    }
    struct mst_resharding request = {.from = from, .to = to, .n_shards = MST_RESHARD_SHARDS_MAX + 1};
    struct mst_resharded done;
    assert_int_equal(mst_reshard(&request, &done, &err), MST_INVALID_ARGUMENT);
    request = (struct mst_resharding){.from = to, .to = from};
    assert_int_equal(mst_reshard(&request, &done, &err), MST_NOT_FOUND);
    assert_int_equal(n_files(), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cuts_and_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_turned_bit_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_failed_commit_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
