// A map seen from the worker: which floats of which variable make a bucket; and maps that do not fit the model.
#include "worker/layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

// One Dense layer: kernel (8, 6) and bias (6).
static const char model_json[] =
    "{\"module\": \"keras\", \"class_name\": \"Sequential\", \"config\": {\"name\": \"s\", \"layers\": ["
    "{\"module\": \"keras.layers\", \"class_name\": \"InputLayer\", \"config\": {\"batch_shape\": [null, 8], "
    "\"dtype\": \"float32\", \"name\": \"in\"}},"
    "{\"module\": \"keras.layers\", \"class_name\": \"Dense\", \"config\": {\"name\": \"dense\", \"units\": 6}}]}}";

static struct mst_model *model;

static int set_up(void **state)
{
    (void)state;
    return mst_model_parse((struct mst_bytes){model_json, strlen(model_json)}, "model.json", &model, NULL) == MST_OK
               ? 0
               : -1;
}

static int tear_down(void **state)
{
    (void)state;
    mst_model_free(model);
    return 0;
}

static void test_runs_of_a_bucket_are_floats_of_whole_variables(void **state)
{
    (void)state;
    const struct mst_msg_shard shards[] = {
        {.variable = 0, .row_offset = 0, .n_rows = 5, .ps = 0, .thread = 1, .bucket = 0},
        {.variable = 0, .row_offset = 5, .n_rows = 3, .ps = 1, .thread = 0, .bucket = 1},
        {.variable = 1, .row_offset = 0, .n_rows = 6, .ps = 1, .thread = 0, .bucket = 1},
    };
    struct mst_msg_map map = {.n_shards = 3, .shards = shards};
    struct mst_layout *layout;
    assert_int_equal(mst_layout_new(model, &map, &layout, NULL), MST_OK);
    assert_int_equal(layout->n_buckets, 2);
    assert_int_equal(layout->buckets[0].ps, 0);
    assert_int_equal(layout->buckets[0].thread, 1);
    assert_int_equal(layout->buckets[0].n_floats, 30);
    assert_int_equal(layout->buckets[1].n, 2);
    assert_int_equal(layout->buckets[1].n_floats, 24);
    const struct mst_layout_run *run = &layout->runs[layout->buckets[1].first];
    assert_int_equal(run->variable, 0);
    assert_int_equal(run->at, 30);
    assert_int_equal(run->n_floats, 18);
    assert_int_equal(run[1].variable, 1);
    assert_int_equal(run[1].at, 0);
    assert_int_equal(run[1].bucket, 1);
    mst_layout_free(layout);
}

static void expect_refusal(const struct mst_msg_shard *shards, size_t n, const char *words)
{
    struct mst_msg_map map = {.n_shards = n, .shards = shards};
    struct mst_layout *layout;
    struct mst_error err;
    assert_int_equal(mst_layout_new(model, &map, &layout, &err), MST_DATA_LOSS);
    assert_non_null(strstr(err.text, words));
    assert_null(layout);
}

static void test_a_map_of_another_model_is_refused(void **state)
{
    (void)state;
    const struct mst_msg_shard no_such[] = {{.variable = 2, .n_rows = 1}};
    const struct mst_msg_shard too_many[] = {{.variable = 0, .row_offset = 4, .n_rows = 5}};
    const struct mst_msg_shard overflow[] = {{.variable = 0, .row_offset = UINT64_MAX, .n_rows = 2}};
    const struct mst_msg_shard missing[] = {{.variable = 0, .n_rows = 8}};
    const struct mst_msg_shard gap[] = {{.variable = 0, .n_rows = 8}, {.variable = 1, .n_rows = 6, .bucket = 2}};
    expect_refusal(no_such, 1, "variable 2");
    expect_refusal(too_many, 1, "dense/kernel");
    expect_refusal(overflow, 1, "dense/kernel");
    expect_refusal(missing, 1, "48 of 54");
    expect_refusal(gap, 2, "bucket 2");
    expect_refusal(NULL, 0, "0 of 54");
}

static void set_update(size_t variable, enum mst_variable_update update)
{
    ((struct mst_variable *)mst_model_variable(model, variable))->update = update;
}

static void test_frozen_buckets_stand_last(void **state)
{
    (void)state;
    const struct mst_msg_shard kernel_first[] = {{.variable = 0, .n_rows = 8, .bucket = 0},
                                                 {.variable = 1, .n_rows = 6, .bucket = 1}};
    const struct mst_msg_shard together[] = {{.variable = 0, .n_rows = 8}, {.variable = 1, .n_rows = 6}};
    struct mst_msg_map map = {.n_shards = 2, .shards = kernel_first};
    struct mst_layout *layout;
    set_update(1, MST_UPDATE_FROZEN);
    assert_int_equal(mst_layout_new(model, &map, &layout, NULL), MST_OK);
    assert_int_equal(layout->n_buckets, 2);
    assert_int_equal(layout->n_pushed, 1);
    mst_layout_free(layout);
    expect_refusal(together, 2, "dense/bias, which is frozen, in bucket 0");
    set_update(0, MST_UPDATE_FROZEN);
    expect_refusal(kernel_first, 2, "nothing to train");
    set_update(1, MST_UPDATE_MOVING_AVERAGE);
    expect_refusal(kernel_first, 2, "dense/bias, which is not frozen, in bucket 1");
    set_update(0, MST_UPDATE_OPTIMIZER);
    map.shards = together;
    assert_int_equal(mst_layout_new(model, &map, &layout, NULL), MST_OK);
    assert_int_equal(layout->n_pushed, 1);
    mst_layout_free(layout);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_runs_of_a_bucket_are_floats_of_whole_variables, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_map_of_another_model_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_frozen_buckets_stand_last, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
