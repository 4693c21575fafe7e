// Tables: what is written is read back in order over several blocks, and damage is found.
#include "tfio/table_writer.h"

#include "base/bytes.h"
#include "base/error.h"
#include "muster/status.h"
#include "tfio/table_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_KEYS = 20000 };

static void make_pair(size_t i, char *key, size_t key_bytes, char *value, size_t value_bytes)
{
    snprintf(key, key_bytes, "layer_%06zu/kernel", i);
    snprintf(value, value_bytes, "value %zu of a table with several blocks", i * i);
}

static struct mst_table *table_of(size_t n, struct mst_bytes *file)
{
    struct mst_table *table = mst_table_new();
    for (size_t i = 0; i < n; i++) {
        char key[64], value[64];
        make_pair(i, key, sizeof key, value, sizeof value);
        assert_int_equal(
            mst_table_add(table, (struct mst_bytes){key, strlen(key)}, (struct mst_bytes){value, strlen(value)}),
            MST_OK);
    }
    assert_int_equal(mst_table_finish(table, file), MST_OK);
    return table;
}

static mst_status on_entry(void *context, struct mst_bytes key, struct mst_bytes value, struct mst_error *err)
{
    size_t *n = context;
    char want_key[64], want_value[64];
    make_pair(*n, want_key, sizeof want_key, want_value, sizeof want_value);
    if (key.len != strlen(want_key) || memcmp(key.data, want_key, key.len) != 0 || value.len != strlen(want_value) ||
        memcmp(value.data, want_value, value.len) != 0)
        return mst_fail(err, MST_INTERNAL, "entry %zu is another", *n);
    (*n)++;
    return MST_OK;
}

static void test_round_trip(void **state)
{
    (void)state;
    const size_t sizes[] = {0, 1, 15, 16, 17, N_KEYS};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct mst_bytes file;
        struct mst_table *table = table_of(sizes[i], &file);
        size_t n = 0;
        assert_int_equal(mst_table_each(file, on_entry, &n, NULL), MST_OK);
        assert_int_equal(n, sizes[i]);
        mst_table_free(table);
    }
}

static void test_several_blocks(void **state)
{
    (void)state;
    struct mst_bytes file;
    struct mst_table *table = table_of(N_KEYS, &file);
    assert_true(file.len > 3 * (256 << 10));
    mst_table_free(table);
}

static void test_every_turned_byte(void **state)
{
    (void)state;
    struct mst_bytes file;
    struct mst_table *table = table_of(40, &file);
    uint8_t *copy = malloc(file.len); // exact, so that ASan sees a byte too many
    for (size_t i = 0; i < file.len; i++) {
        for (uint8_t bit = 1; bit; bit = (uint8_t)(bit << 1)) {
            memcpy(copy, file.data, file.len);
            copy[i] ^= bit;
            size_t n = 0;
            struct mst_error err = {0};
            mst_status status = mst_table_each((struct mst_bytes){copy, file.len}, on_entry, &n, &err);
            if (status == MST_OK)
                assert_int_equal(n, 40); // padding of the footer
            else
                assert_true(status != MST_INTERNAL && err.text[0]);
        }
    }
    free(copy);
    for (size_t len = 0; len < file.len; len++) {
        size_t n = 0;
        copy = malloc(len + 1);
        memcpy(copy + 1, (const uint8_t *)file.data, len);
        assert_int_equal(mst_table_each((struct mst_bytes){copy + 1, len}, on_entry, &n, NULL), MST_DATA_LOSS);
        free(copy);
    }
    mst_table_free(table);
}

static mst_status on_entry_stop(void *context, struct mst_bytes key, struct mst_bytes value, struct mst_error *err)
{
    (void)context, (void)key, (void)value;
    return mst_fail(err, MST_CANCELLED, "enough");
}

static void test_walk_ends_early(void **state)
{
    (void)state;
    struct mst_bytes file;
    struct mst_table *table = table_of(3, &file);
    struct mst_error err = {0};
    assert_int_equal(mst_table_each(file, on_entry_stop, NULL, &err), MST_CANCELLED);
    assert_string_equal(err.text, "enough");
    mst_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_several_blocks),
        cmocka_unit_test(test_every_turned_byte),
        cmocka_unit_test(test_walk_ends_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
