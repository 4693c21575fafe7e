// What a map says becomes buckets: the same initial values however variables are cut and dealt, and the same values and
// slots back from a checkpoint, under another cut too.
#include "ps/store.h"

#include "base/bytes.h"
#include "ckpt/checkpoint.h"
#include "ckpt/local_part.h"
#include "data_files.h"
#include "tfio/bundle.h"
#include "tfio/disk_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 8, COLUMNS = 6, N_FLOATS = ROWS * COLUMNS + COLUMNS };

// One Dense layer: kernel (8, 6) and bias (6).
static const char model_json[] =
    "{\"module\": \"keras\", \"class_name\": \"Sequential\", \"config\": {\"name\": \"s\", \"layers\": ["
    "{\"module\": \"keras.layers\", \"class_name\": \"InputLayer\", \"config\": {\"batch_shape\": [null, 8], "
    "\"dtype\": "
    "\"float32\", \"name\": \"in\"}},"
    "{\"module\": \"keras.layers\", \"class_name\": \"Dense\", \"config\": {\"name\": \"dense\", \"units\": 6, "
    "\"bias_initializer\": {\"class_name\": \"RandomNormal\", \"config\": {}}}}]}}";

// The kernel cut in two parts on two servers, the bias with the second; and all of it in one bucket.
static const struct mst_msg_shard cut[] = {
    {.variable = 0, .part = 0, .n_parts = 2, .row_offset = 0, .n_rows = 5, .ps = 0, .bucket = 0},
    {.variable = 0, .part = 1, .n_parts = 2, .row_offset = 5, .n_rows = 3, .ps = 1, .bucket = 1},
    {.variable = 1, .part = 0, .n_parts = 1, .row_offset = 0, .n_rows = 6, .ps = 1, .bucket = 1},
};
static const struct mst_msg_shard whole[] = {
    {.variable = 0, .n_parts = 1, .n_rows = 8, .ps = 0, .bucket = 0},
    {.variable = 1, .n_parts = 1, .n_rows = 6, .ps = 0, .bucket = 0},
};

static struct mst_model *model;
static struct mst_optimizer *optimizer;
static char *folder;

static int set_up(void **state)
{
    (void)state;
    struct mst_error err;
    folder = data_folder_new();
    json_t *json = json_string("adam");
    mst_status status = mst_optimizer_parse(json, "optimizer", &optimizer, &err);
    json_decref(json);
    if (status == MST_OK)
        status = mst_model_parse((struct mst_bytes){model_json, strlen(model_json)}, "model.json", &model, &err);
    if (status != MST_OK)
        fprintf(stderr, "%s\n", err.text);
    return status == MST_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    mst_model_free(model);
    mst_optimizer_free(optimizer);
    data_folder_free(folder);
    return 0;
}

static struct mst_msg_map map_of(const struct mst_msg_shard *shards, size_t n)
{
    return (struct mst_msg_map){.term = 1,
                                .epoch = 1,
                                .seed = 11,
                                .n_shards = n,
                                .shards = shards,
                                .restore_prefix = "",
                                .nonce_path = "",
                                .nonce = ""};
}

static struct mst_bucket *build_one(const struct mst_msg_map *map, uint32_t ps)
{
    struct mst_store_request request = {model, optimizer, map, ps, 0, NULL};
    struct mst_bucket **buckets;
    size_t n;
    struct mst_error err;
    if (mst_store_build(&request, &buckets, &n, &err) != MST_OK)
        fail_msg("%s", err.text);
    assert_int_equal(n, 1);
    struct mst_bucket *bucket = buckets[0];
    free(buckets);
    return bucket;
}

static void test_initial_values_are_the_same_under_any_cut(void **state)
{
    (void)state;
    struct mst_msg_map map = map_of(whole, 2);
    struct mst_bucket *all = build_one(&map, 0);
    map = map_of(cut, 3);
    struct mst_bucket *first = build_one(&map, 0);
    struct mst_bucket *second = build_one(&map, 1);
    assert_int_equal(all->n_floats, N_FLOATS);
    assert_int_equal(first->n_floats, 5 * COLUMNS);
    assert_memory_equal(first->current->floats, all->current->floats, first->n_floats * sizeof(float));
    assert_memory_equal(second->current->floats, all->current->floats + first->n_floats,
                        second->n_floats * sizeof(float));
    assert_true(all->current->floats[0] != all->current->floats[1]);
    mst_bucket_free(all);
    mst_bucket_free(first);
    mst_bucket_free(second);
}

static void train(struct mst_bucket *bucket, uint64_t n_steps)
{
    float gradient[N_FLOATS];
    for (size_t i = 0; i < N_FLOATS; i++)
        gradient[i] = (float)i - 20.0f;
    struct mst_gradients gradients = {.staged = gradient};
    for (uint64_t step = 1; step <= n_steps; step++) {
        struct mst_bucket_push push = {0, 1, step, 1, step};
        struct mst_push_result result;
        mst_bucket_push(bucket, &push, &gradients, &result);
        mst_version_unref(result.version);
    }
}

// Writes one server's buckets as the checkpoint of step 3.
static char *save(struct mst_bucket *bucket)
{
    struct mst_store_view view;
    struct mst_error err;
    assert_int_equal(mst_store_view(bucket, 0, model, &view, &err), MST_OK);
    assert_int_equal(view.n_updates, 3);
    struct mst_checkpoint_writer *writer;
    const struct mst_checkpoint_attempt attempt = {.dir = folder, .step = 3, .n_shards = 1};
    assert_int_equal(mst_checkpoint_begin(&attempt, &writer, &err), MST_OK);
    assert_int_equal(mst_checkpoint_write(writer, view.values, view.n_values, &err), MST_OK);
    if (mst_checkpoint_commit(writer, 5, &err) != MST_OK)
        fail_msg("%s", err.text);
    mst_store_view_fini(&view);
    return mst_checkpoint_prefix(folder, 3);
}

static void test_a_checkpoint_comes_back_under_another_cut(void **state)
{
    (void)state;
    struct mst_msg_map map = map_of(whole, 2);
    struct mst_bucket *all = build_one(&map, 0);
    train(all, 3);
    char *prefix = save(all);
    map = map_of(cut, 3);
    map.restore_prefix = prefix;
    map.iterations = 3;
    struct mst_bucket *second = build_one(&map, 1);
    size_t at = 5 * COLUMNS;
    assert_memory_equal(second->current->floats, all->current->floats + at, second->n_floats * sizeof(float));
    for (size_t s = 0; s < all->n_slots; s++)
        assert_memory_equal(second->slots->slots[s], all->slots->slots[s] + at, second->n_floats * sizeof(float));
    assert_int_equal(second->n_updates, 3);
    mst_bucket_free(second);
    mst_bucket_free(all);
    free(prefix);
}

static mst_status build(const struct mst_msg_map *map, uint32_t ps, struct mst_error *err)
{
    struct mst_store_request request = {model, optimizer, map, ps, 0, NULL};
    struct mst_bucket **buckets;
    size_t n;
    mst_status status = mst_store_build(&request, &buckets, &n, err);
    for (size_t i = 0; i < n; i++)
        mst_bucket_free(buckets[i]);
    free(buckets);
    return status;
}

// Whatever byte of the data file is turned, nobody begins from it.
static void test_a_turned_byte_is_not_taken(void **state)
{
    (void)state;
    struct mst_msg_map map = map_of(whole, 2);
    struct mst_bucket *all = build_one(&map, 0);
    train(all, 3);
    char *prefix = save(all);
    char *path = mst_bundle_data_path(prefix, 0, 1);
    struct mst_buf content;
    assert_int_equal(mst_disk_read(path, 1 << 20, &content, NULL), MST_OK);
    assert_int_equal(content.len, 3 * N_FLOATS * sizeof(float));
    map.restore_prefix = prefix;
    map.iterations = 3;
    struct mst_error err = {0};
    for (size_t at = 0; at < content.len; at += 13) {
        content.data[at] ^= 0x40;
        data_file_write(path, FORM_PLAIN, content.data, content.len);
        content.data[at] ^= 0x40;
        assert_int_equal(build(&map, 0, &err), MST_DATA_LOSS);
        assert_non_null(strstr(err.text, path));
    }
    data_file_write(path, FORM_PLAIN, content.data, content.len);
    assert_int_equal(build(&map, 0, &err), MST_OK);
    mst_buf_fini(&content);
    mst_bucket_free(all);
    free(path);
    free(prefix);
}

// What one server keeps on storage of its own: its rows and slots come back, and fit no other cut.
static void test_a_part_comes_back_under_the_same_cut(void **state)
{
    (void)state;
    struct mst_msg_map map = map_of(cut, 3);
    struct mst_bucket *second = build_one(&map, 1);
    train(second, 3);
    struct mst_store_view view;
    struct mst_local_part *part;
    struct mst_error err = {0};
    assert_int_equal(mst_store_view(second, 0, model, &view, &err), MST_OK);
    assert_int_equal(mst_local_part_new(folder, 3, 77, &part, &err), MST_OK);
    for (size_t i = 0; i < view.n_values; i++)
        assert_int_equal(mst_local_part_add(part, &view.values[i], &err), MST_OK);
    assert_int_equal(mst_local_part_commit(part, NULL, 0, &err), MST_OK);
    mst_store_view_fini(&view);
    char *prefix = mst_checkpoint_prefix(folder, 3);
    map.restore_prefix = prefix;
    map.iterations = 3;
    struct mst_bucket *again = build_one(&map, 1);
    assert_memory_equal(again->current->floats, second->current->floats, second->n_floats * sizeof(float));
    for (size_t s = 0; s < second->n_slots; s++)
        assert_memory_equal(again->slots->slots[s], second->slots->slots[s], second->n_floats * sizeof(float));
    assert_int_equal(build(&map, 0, &err), MST_INVALID_ARGUMENT); // the rows of the other server
    assert_non_null(strstr(err.text, "dense/kernel/@rows-0-5"));
    map = map_of(whole, 2);
    map.restore_prefix = prefix;
    map.iterations = 3;
    assert_int_equal(build(&map, 0, &err), MST_INVALID_ARGUMENT);
    mst_bucket_free(again);
    mst_bucket_free(second);
    free(prefix);
}

static void set_updates(enum mst_variable_update kernel, enum mst_variable_update bias)
{
    ((struct mst_variable *)mst_model_variable(model, 0))->update = kernel;
    ((struct mst_variable *)mst_model_variable(model, 1))->update = bias;
    ((struct mst_variable *)mst_model_variable(model, 1))->momentum = 0.5;
}

static bool has_value(const struct mst_store_view *view, const char *name)
{
    for (size_t i = 0; i < view->n_values; i++)
        if (strcmp(view->values[i].tensor.name, name) == 0)
            return true;
    return false;
}

// An average is saved and restored with the weights, and only weights have slots.
static void test_an_average_comes_back_from_a_checkpoint(void **state)
{
    (void)state;
    set_updates(MST_UPDATE_OPTIMIZER, MST_UPDATE_MOVING_AVERAGE);
    struct mst_msg_map map = map_of(whole, 2);
    struct mst_bucket *all = build_one(&map, 0);
    train(all, 3);
    struct mst_store_view view;
    assert_int_equal(mst_store_view(all, 0, model, &view, NULL), MST_OK);
    assert_int_equal(view.n_values, 4);
    assert_true(has_value(&view, "dense/bias") && has_value(&view, "dense/kernel/velocity"));
    mst_store_view_fini(&view);
    char *prefix = save(all);
    map.restore_prefix = prefix;
    map.iterations = 3;
    struct mst_bucket *again = build_one(&map, 0);
    assert_memory_equal(again->current->floats, all->current->floats, mst_bucket_bytes(all));
    assert_memory_equal(again->slots->slots[1], all->slots->slots[1], again->n_trained * sizeof(float));
    mst_bucket_free(again);
    mst_bucket_free(all);
    free(prefix);
}

// A server that holds frozen variables only: saved without slots, and it says nothing of updates.
static void test_a_frozen_bucket_is_saved_and_counts_no_updates(void **state)
{
    (void)state;
    set_updates(MST_UPDATE_FROZEN, MST_UPDATE_FROZEN);
    struct mst_msg_map map = map_of(whole, 2);
    struct mst_bucket *all = build_one(&map, 0);
    struct mst_store_view view;
    assert_true(all->is_frozen);
    assert_int_equal(mst_store_view(all, 0, model, &view, NULL), MST_OK);
    assert_int_equal(view.n_values, 2);
    assert_true(view.n_updates == UINT64_MAX);
    mst_store_view_fini(&view);
    mst_bucket_free(all);
}

static void expect_refusal(const struct mst_msg_shard *shards, size_t n, const char *words)
{
    struct mst_msg_map map = map_of(shards, n);
    struct mst_store_request request = {model, optimizer, &map, 0, 0, NULL};
    struct mst_bucket **buckets;
    size_t n_buckets;
    struct mst_error err;
    assert_int_equal(mst_store_build(&request, &buckets, &n_buckets, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, words));
    assert_null(buckets);
}

static void test_a_map_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    const struct mst_msg_shard no_such[] = {{.variable = 9, .n_rows = 1}};
    const struct mst_msg_shard too_many[] = {{.variable = 0, .row_offset = 4, .n_rows = 5}};
    const struct mst_msg_shard overflow[] = {{.variable = 0, .row_offset = UINT64_MAX, .n_rows = 2}};
    const struct mst_msg_shard no_row[] = {{.variable = 0, .n_rows = 0}};
    const struct mst_msg_shard order[] = {{.variable = 0, .n_rows = 8, .bucket = 4},
                                          {.variable = 1, .n_rows = 6, .bucket = 2}};
    expect_refusal(no_such, 1, "variable 9");
    expect_refusal(too_many, 1, "dense/kernel");
    expect_refusal(overflow, 1, "dense/kernel");
    expect_refusal(no_row, 1, "dense/kernel");
    expect_refusal(order, 2, "bucket 2");
    set_updates(MST_UPDATE_OPTIMIZER, MST_UPDATE_FROZEN);
    expect_refusal(whole, 2, "variables 0 and 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_initial_values_are_the_same_under_any_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_checkpoint_comes_back_under_another_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_turned_byte_is_not_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_part_comes_back_under_the_same_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_average_comes_back_from_a_checkpoint, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_frozen_bucket_is_saved_and_counts_no_updates, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_map_that_does_not_fit_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
