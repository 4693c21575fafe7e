// The three partitioners against what TensorFlow 2.21's own give for the same arguments and shapes.
#include "spec/partitioner.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
    size_t rank;
    uint64_t dims[3];
} shapes[] = {{1, {10}},       {2, {784, 300}},    {2, {300, 100}},   {2, {100, 10}},        {1, {1}},
              {2, {5, 7}},     {2, {1000000, 16}}, {2, {3, 1000000}}, {3, {26, 100000, 16}}, {1, {262144}},
              {2, {65536, 4}}, {1, {65537}}};

static void test_numbers_of_parts(void **state)
{
    (void)state;
    static const struct {
        struct mst_partitioner partitioner;
        uint64_t n_parts[COUNT(shapes)];
    } rows[] = {
        {{.kind = MST_PARTITIONER_NONE}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
        {{.kind = MST_PARTITIONER_FIXED_SHARDS, .num_shards = 1}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
        {{.kind = MST_PARTITIONER_FIXED_SHARDS, .num_shards = 2}, {2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 2}},
        {{.kind = MST_PARTITIONER_FIXED_SHARDS, .num_shards = 7}, {7, 7, 7, 7, 1, 5, 7, 3, 7, 7, 7, 7}},
        {{.kind = MST_PARTITIONER_FIXED_SHARDS, .num_shards = 1000},
         {10, 784, 300, 100, 1, 5, 1000, 3, 26, 1000, 1000, 1000}},
        {{.kind = MST_PARTITIONER_MIN_SIZE, .min_shard_bytes = 262144, .max_shards = 1},
         {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
        {{.kind = MST_PARTITIONER_MIN_SIZE, .min_shard_bytes = 262144, .max_shards = 2},
         {1, 2, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2}},
        {{.kind = MST_PARTITIONER_MIN_SIZE, .min_shard_bytes = 262144, .max_shards = 10},
         {1, 4, 1, 1, 1, 1, 10, 3, 10, 4, 4, 2}},
        {{.kind = MST_PARTITIONER_MIN_SIZE, .min_shard_bytes = 1, .max_shards = 1000},
         {10, 784, 300, 100, 1, 5, 1000, 3, 26, 1000, 1000, 1000}},
        {{.kind = MST_PARTITIONER_MIN_SIZE, .min_shard_bytes = 1000, .max_shards = 4},
         {1, 4, 4, 4, 1, 1, 4, 3, 4, 4, 4, 4}},
        {{.kind = MST_PARTITIONER_MIN_SIZE, .min_shard_bytes = 1099511627776, .max_shards = 5},
         {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
        {{.kind = MST_PARTITIONER_MAX_SIZE, .max_shard_bytes = 1},
         {10, 784, 300, 100, 1, 5, 1000000, 3, 26, 262144, 65536, 65537}},
        {{.kind = MST_PARTITIONER_MAX_SIZE, .max_shard_bytes = 262144}, {1, 4, 1, 1, 1, 1, 245, 3, 26, 4, 4, 2}},
        {{.kind = MST_PARTITIONER_MAX_SIZE, .max_shard_bytes = 1200, .max_shards = 100},
         {1, 100, 100, 4, 1, 1, 100, 3, 26, 100, 100, 100}},
        {{.kind = MST_PARTITIONER_MAX_SIZE, .max_shard_bytes = 4000, .max_shards = 0},
         {1, 262, 30, 1, 1, 1, 16130, 3, 26, 263, 263, 66}},
        {{.kind = MST_PARTITIONER_MAX_SIZE, .max_shard_bytes = 1073741824}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (size_t k = 0; k < COUNT(shapes); k++) {
            uint64_t n = mst_partitioner_n_parts(&rows[i].partitioner, shapes[k].dims, shapes[k].rank, sizeof(float));
            if (n != rows[i].n_parts[k])
                fail_msg("row %zu, shape %zu: %llu parts, not %llu", i, k, (unsigned long long)n,
                         (unsigned long long)rows[i].n_parts[k]);
        }
    }
}

// Texts count as bytes_per_string; doubles as 8.
static void test_other_elements(void **state)
{
    (void)state;
    static const struct {
        struct mst_partitioner partitioner;
        size_t rank;
        uint64_t dims[2], element_bytes, n_parts;
    } rows[] = {
        {{.kind = MST_PARTITIONER_MIN_SIZE, .min_shard_bytes = 100, .max_shards = 50, .bytes_per_string = 16},
         1,
         {100},
         0,
         16},
        {{.kind = MST_PARTITIONER_MIN_SIZE, .min_shard_bytes = 100, .max_shards = 50, .bytes_per_string = 3},
         1,
         {100},
         0,
         3},
        {{.kind = MST_PARTITIONER_MIN_SIZE, .min_shard_bytes = 262144, .max_shards = 8}, 2, {784, 300}, 8, 8},
        {{.kind = MST_PARTITIONER_MAX_SIZE, .max_shard_bytes = 100, .bytes_per_string = 16}, 1, {100}, 0, 17},
        {{.kind = MST_PARTITIONER_MAX_SIZE, .max_shard_bytes = 100, .bytes_per_string = 7}, 2, {100, 3}, 0, 25},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_int_equal(
            mst_partitioner_n_parts(&rows[i].partitioner, rows[i].dims, rows[i].rank, rows[i].element_bytes),
            rows[i].n_parts);
}

// No axis, an empty axis, empty rows, more bytes than 64 bits count.
static void test_edges(void **state)
{
    (void)state;
    const struct mst_partitioner fixed = {.kind = MST_PARTITIONER_FIXED_SHARDS, .num_shards = 4};
    const struct mst_partitioner min = {.kind = MST_PARTITIONER_MIN_SIZE, .min_shard_bytes = 1, .max_shards = 4};
    const struct mst_partitioner max = {.kind = MST_PARTITIONER_MAX_SIZE, .max_shard_bytes = 1};
    const uint64_t none[2] = {0, 5}, empty_rows[2] = {5, 0}, huge[2] = {UINT64_MAX, UINT64_MAX};
    assert_int_equal(mst_partitioner_n_parts(&fixed, NULL, 0, 4), 1);
    assert_int_equal(mst_partitioner_n_parts(&fixed, none, 2, 4), 1);
    assert_int_equal(mst_partitioner_n_parts(&min, empty_rows, 2, 4), 1);
    assert_int_equal(mst_partitioner_n_parts(&max, empty_rows, 2, 4), 1);
    assert_int_equal(mst_partitioner_n_parts(&min, huge, 2, 4), 4);
    assert_true(mst_partitioner_n_parts(&max, huge, 2, 4) == UINT64_MAX);
}

static void test_rows_of_parts(void **state)
{
    (void)state;
    static const struct {
        uint64_t dim, n_parts, n_rows[5];
    } rows[] = {
        {10, 4, {3, 3, 2, 2}}, {13, 5, {3, 3, 3, 2, 2}}, {5, 5, {1, 1, 1, 1, 1}}, {7, 1, {7}}, {784, 2, {392, 392}}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint64_t first = 0;
        for (uint64_t part = 0; part < rows[i].n_parts; part++) {
            struct mst_part_rows got = mst_part_rows_of(rows[i].dim, rows[i].n_parts, part);
            assert_int_equal(got.first, first);
            assert_int_equal(got.n_rows, rows[i].n_rows[part]);
            first += got.n_rows;
        }
        assert_int_equal(first, rows[i].dim);
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(mst_partitioner_name(MST_PARTITIONER_FIXED_SHARDS), "FixedShardsPartitioner");
    assert_string_equal(mst_partitioner_name(MST_PARTITIONER_MIN_SIZE), "MinSizePartitioner");
    assert_string_equal(mst_partitioner_name(MST_PARTITIONER_MAX_SIZE), "MaxSizePartitioner");
    assert_null(mst_partitioner_name(MST_PARTITIONER_NONE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_numbers_of_parts), cmocka_unit_test(test_other_elements),
                                       cmocka_unit_test(test_edges), cmocka_unit_test(test_rows_of_parts),
                                       cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
