// Batches: every example once an epoch, the same whoever asks and in whatever order, rows and labels together.
#include "base/alloc.h"
#include "data/batches.h"
#include "data/dataset.h"
#include "data_files.h"

#include "muster/status.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { N = 203, ROW = 3, BATCH = 70 }; // a batch longer than one gather chunk, and a partial last one

static char *folder;
static struct mst_dataset *dataset;

// Example i has the features {i, i+1, i+2} mod 256 and the label i.
static int set_up(void **state)
{
    (void)state;
    uint8_t bytes[4096], body[N * ROW], labels[N * 4];
    uint32_t dims[2] = {N, ROW};
    folder = data_folder_new();
    for (size_t i = 0; i < N; i++) {
        for (size_t k = 0; k < ROW; k++)
            body[i * ROW + k] = (uint8_t)(i + k);
        memcpy(labels + 4 * i, (uint8_t[4]){0, 0, 0, (uint8_t)i}, 4);
    }
    char *features_path = mst_text("%s/features", folder);
    char *labels_path = mst_text("%s/labels", folder);
    data_file_write(features_path, FORM_PLAIN, bytes, data_file_idx(bytes, 0x08, 2, dims, body, sizeof body));
    data_file_write(labels_path, FORM_GZIP, bytes, data_file_idx(bytes, 0x0C, 1, dims, labels, sizeof labels));
    const struct mst_dataset_part inputs[] = {{.name = "rows", .path = features_path},
                                              {.name = "numbers", .path = labels_path}};
    const struct mst_dataset_part outputs[] = {{.name = "label", .path = labels_path},
                                               {.name = "values", .path = features_path}};
    struct mst_dataset_source source = {
        .format = "idx", .inputs = inputs, .n_inputs = 2, .outputs = outputs, .n_outputs = 2, .weights = labels_path};
    mst_status status = mst_dataset_open(&source, &dataset, NULL);
    free(features_path);
    free(labels_path);
    return status == MST_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    mst_dataset_free(dataset);
    data_folder_free(folder);
    return 0;
}

static struct mst_batches *batches_of(size_t batch_size, uint64_t seed, enum mst_order order)
{
    struct mst_batches_options options = {batch_size, seed, order};
    struct mst_batches *batches;
    assert_int_equal(mst_batches_new(dataset, &options, &batches, NULL), MST_OK);
    return batches;
}

static void check_epoch(const struct mst_batches *batches, uint64_t epoch, int32_t *order)
{
    struct mst_batch batch;
    assert_int_equal(mst_batch_init(&batch, batches, MST_BATCH_ALL, NULL), MST_OK);
    size_t n_seen[N] = {0};
    size_t position = 0;
    for (uint64_t number = 0; number < mst_batches_n_batches(batches); number++) {
        assert_int_equal(mst_batches_gather(batches, epoch, number, &batch, NULL), MST_OK);
        assert_int_equal(batch.n_examples, mst_batches_n_examples(batches, number));
        const uint8_t *rows = batch.inputs[0];
        const int32_t *numbers = batch.inputs[1], *labels = batch.targets[0].labels;
        const float *values = batch.targets[1].values;
        for (size_t i = 0; i < batch.n_examples; i++, position++) {
            assert_in_range(labels[i], 0, N - 1);
            n_seen[labels[i]]++;
            order[position] = labels[i];
            assert_int_equal(mst_batches_example(batches, epoch, position), labels[i]);
            for (size_t k = 0; k < ROW; k++) {
                assert_int_equal(rows[i * ROW + k], (labels[i] + (int)k) & 255);
                assert_true(values[i * ROW + k] == (float)rows[i * ROW + k]);
            }
            assert_int_equal(numbers[i], labels[i]);
            assert_true(batch.weights[i] == (float)labels[i]);
        }
    }
    mst_batch_fini(&batch);
    assert_int_equal(position, N);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(n_seen[i], 1);
}

static void test_every_example_once(void **state)
{
    (void)state;
    int32_t first[N], again[N], other_epoch[N], other_seed[N], in_file[N];
    struct mst_batches *shuffled = batches_of(BATCH, 7, MST_ORDER_SHUFFLED);
    assert_int_equal(mst_batches_n_batches(shuffled), 3);
    assert_int_equal(mst_batches_n_examples(shuffled, 2), N - 2 * BATCH);
    check_epoch(shuffled, 0, first);
    check_epoch(shuffled, 0, again);
    check_epoch(shuffled, 1, other_epoch);
    assert_memory_equal(first, again, sizeof first);
    assert_memory_not_equal(first, other_epoch, sizeof first);
    mst_batches_free(shuffled);
    struct mst_batches *reseeded = batches_of(BATCH, 8, MST_ORDER_SHUFFLED);
    check_epoch(reseeded, 0, other_seed);
    assert_memory_not_equal(first, other_seed, sizeof first);
    mst_batches_free(reseeded);
    // The order does not depend on the size of the batches.
    struct mst_batches *small = batches_of(9, 7, MST_ORDER_SHUFFLED);
    check_epoch(small, 0, again);
    assert_memory_equal(first, again, sizeof first);
    mst_batches_free(small);
    struct mst_batches *plain = batches_of(BATCH, 7, MST_ORDER_FILE);
    check_epoch(plain, 5, in_file);
    for (int32_t i = 0; i < N; i++)
        assert_int_equal(in_file[i], i);
    mst_batches_free(plain);
}

static void test_refused(void **state)
{
    (void)state;
    struct mst_batches *batches = batches_of(BATCH, 1, MST_ORDER_SHUFFLED);
    struct mst_error err = {0};
    struct mst_batch batch = {0};
    assert_int_equal(mst_batches_gather(batches, 2, 3, &batch, &err), MST_OUT_OF_RANGE);
    assert_non_null(strstr(err.text, "batch 3 of epoch 2"));
    assert_int_equal(batch.n_examples, 0);
    mst_batches_free(batches);
    struct mst_batches_options none = {0, 1, MST_ORDER_FILE};
    assert_int_equal(mst_batches_new(dataset, &none, &batches, &err), MST_INVALID_ARGUMENT);
    none.batch_size = (size_t)MST_BATCH_SIZE_MAX + 1;
    assert_int_equal(mst_batches_new(dataset, &none, &batches, &err), MST_INVALID_ARGUMENT);
    assert_null(batches);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_example_once),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
