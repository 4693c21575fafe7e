// The queue of batches: order, bounds, drop, failures; the same in both modes.
#include "base/alloc.h"
#include "data/batches.h"
#include "data/dataset.h"
#include "data/prefetch.h"
#include "data_files.h"

#include "muster/status.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { N = 100, BATCH = 8, N_BATCHES = 13 };

static char *folder;
static struct mst_dataset *dataset;
static struct mst_batches *batches;

static void open_dataset(size_t body_len)
{
    uint8_t bytes[256], body[N];
    uint32_t n = N;
    for (size_t i = 0; i < N; i++)
        body[i] = (uint8_t)i;
    char *features_path = mst_text("%s/features", folder);
    char *labels_path = mst_text("%s/labels", folder);
    data_file_write(features_path, FORM_GZIP, bytes, data_file_idx(bytes, 0x08, 1, &n, body, body_len));
    data_file_write(labels_path, FORM_PLAIN, bytes, data_file_idx(bytes, 0x08, 1, &n, body, N));
    struct mst_batches_options options = {BATCH, 3, MST_ORDER_SHUFFLED};
    assert_int_equal(data_open_idx(features_path, labels_path, &dataset, NULL), MST_OK);
    assert_int_equal(mst_batches_new(dataset, &options, &batches, NULL), MST_OK);
    free(features_path);
    free(labels_path);
}

static int set_up(void **state)
{
    (void)state;
    folder = data_folder_new();
    open_dataset(N);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mst_batches_free(batches);
    mst_dataset_free(dataset);
    data_folder_free(folder);
    return 0;
}

static void check_batch(const struct mst_batch *batch, uint64_t epoch, uint64_t number)
{
    assert_int_equal(batch->epoch, epoch);
    assert_int_equal(batch->number, number);
    assert_int_equal(batch->n_examples, number == N_BATCHES - 1 ? N % BATCH : BATCH);
    for (size_t i = 0; i < batch->n_examples; i++) {
        size_t want = mst_batches_example(batches, epoch, number * BATCH + i);
        assert_int_equal(batch->targets[0].labels[i], want);
        assert_int_equal(((const uint8_t *)batch->inputs[0])[i], want);
    }
}

static void run_two_epochs(enum mst_prefetch_mode mode, size_t depth)
{
    struct mst_prefetch *prefetch;
    assert_int_equal(mst_prefetch_new(batches, depth, mode, &prefetch, NULL), MST_OK);
    uint64_t n_asked = 0;
    for (uint64_t n_taken = 0; n_taken < 2 * N_BATCHES; n_taken++) {
        // Numbers come in an order of their own, as leases give them.
        for (; mst_prefetch_n_free(prefetch) > 0 && n_asked < 2 * N_BATCHES; n_asked++)
            mst_prefetch_request(prefetch, n_asked / N_BATCHES, n_asked * 5 % N_BATCHES);
        const struct mst_batch *batch;
        assert_int_equal(mst_prefetch_take(prefetch, &batch, NULL), MST_OK);
        check_batch(batch, n_taken / N_BATCHES, n_taken * 5 % N_BATCHES);
        mst_prefetch_release(prefetch);
    }
    assert_int_equal(mst_prefetch_n_pending(prefetch), 0);
    assert_int_equal(mst_prefetch_n_free(prefetch), depth);
    mst_prefetch_free(prefetch);
}

static void test_order(void **state)
{
    (void)state;
    for (size_t depth = 1; depth <= 4; depth++) {
        run_two_epochs(MST_PREFETCH_INLINE, depth);
        run_two_epochs(MST_PREFETCH_THREAD, depth);
    }
}

static void test_held_batch_is_not_overwritten(void **state)
{
    (void)state;
    struct mst_prefetch *prefetch;
    const struct mst_batch *first, *second;
    assert_int_equal(mst_prefetch_new(batches, 2, MST_PREFETCH_THREAD, &prefetch, NULL), MST_OK);
    mst_prefetch_request(prefetch, 0, 0);
    mst_prefetch_request(prefetch, 0, 1);
    assert_int_equal(mst_prefetch_n_free(prefetch), 0);
    assert_int_equal(mst_prefetch_take(prefetch, &first, NULL), MST_OK);
    assert_int_equal(mst_prefetch_take(prefetch, &second, NULL), MST_OK);
    assert_int_equal(mst_prefetch_n_free(prefetch), 0);
    check_batch(first, 0, 0);
    check_batch(second, 0, 1);
    mst_prefetch_release(prefetch);
    mst_prefetch_request(prefetch, 0, 2);
    check_batch(second, 0, 1);
    mst_prefetch_free(prefetch); // with one held and one asked for
}

static void test_drop(void **state)
{
    (void)state;
    for (int mode = MST_PREFETCH_INLINE; mode <= MST_PREFETCH_THREAD; mode++) {
        struct mst_prefetch *prefetch;
        const struct mst_batch *batch;
        assert_int_equal(mst_prefetch_new(batches, 4, (enum mst_prefetch_mode)mode, &prefetch, NULL), MST_OK);
        for (uint64_t turn = 0; turn < 200; turn++) {
            for (uint64_t i = 0; i < 4; i++)
                mst_prefetch_request(prefetch, turn, i);
            assert_int_equal(mst_prefetch_take(prefetch, &batch, NULL), MST_OK);
            check_batch(batch, turn, 0);
            mst_prefetch_drop(prefetch);
            assert_int_equal(mst_prefetch_n_pending(prefetch), 0);
            assert_int_equal(mst_prefetch_n_free(prefetch), 3);
            mst_prefetch_request(prefetch, turn, 9);
            check_batch(batch, turn, 0); // what is held stays
            mst_prefetch_release(prefetch);
            assert_int_equal(mst_prefetch_take(prefetch, &batch, NULL), MST_OK);
            check_batch(batch, turn, 9);
            mst_prefetch_release(prefetch);
        }
        mst_prefetch_free(prefetch);
    }
}

static void test_failures(void **state)
{
    (void)state;
    struct mst_prefetch *prefetch;
    const struct mst_batch *batch;
    struct mst_error err = {0};
    assert_int_equal(mst_prefetch_new(batches, 0, MST_PREFETCH_INLINE, &prefetch, &err), MST_INVALID_ARGUMENT);
    assert_null(prefetch);
    assert_int_equal(mst_prefetch_new(batches, 2, MST_PREFETCH_THREAD, &prefetch, NULL), MST_OK);
    mst_prefetch_request(prefetch, 0, N_BATCHES);
    mst_prefetch_request(prefetch, 0, 1);
    assert_int_equal(mst_prefetch_take(prefetch, &batch, &err), MST_OUT_OF_RANGE);
    assert_non_null(strstr(err.text, "batch 13 of epoch 0"));
    mst_prefetch_release(prefetch);
    assert_int_equal(mst_prefetch_take(prefetch, &batch, &err), MST_OK);
    check_batch(batch, 0, 1);
    mst_prefetch_free(prefetch);
}

static void test_features_that_cannot_be_loaded(void **state)
{
    (void)state;
    mst_batches_free(batches);
    mst_dataset_free(dataset);
    open_dataset(N - 1);
    struct mst_prefetch *prefetch;
    const struct mst_batch *batch;
    assert_int_equal(mst_prefetch_new(batches, 2, MST_PREFETCH_THREAD, &prefetch, NULL), MST_OK);
    for (uint64_t i = 0; i < 2; i++) {
        struct mst_error err = {0};
        mst_prefetch_request(prefetch, 0, i);
        assert_int_equal(mst_prefetch_take(prefetch, &batch, &err), MST_DATA_LOSS);
        assert_non_null(strstr(err.text, "99 of the 100"));
        mst_prefetch_release(prefetch);
    }
    mst_prefetch_free(prefetch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_held_batch_is_not_overwritten),
        cmocka_unit_test(test_drop),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_features_that_cannot_be_loaded),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
