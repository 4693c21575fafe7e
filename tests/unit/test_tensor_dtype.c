// Element types: sizes, names, TensorFlow's numbers, and what is outside the table.
#include "muster/status.h"
#include "tensor/dtype.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static void test_table(void **state)
{
    (void)state;
    // types.proto: DT_FLOAT 1, DT_DOUBLE 2, …
    static const struct {
        enum mst_dtype dtype;
        int number;
        const char *name;
        size_t bytes;
    } rows[] = {
        {MST_DTYPE_F32, 1, "float32", 4},  {MST_DTYPE_F64, 2, "float64", 8}, {MST_DTYPE_I32, 3, "int32", 4},
        {MST_DTYPE_U8, 4, "uint8", 1},     {MST_DTYPE_I16, 5, "int16", 2},   {MST_DTYPE_I8, 6, "int8", 1},
        {MST_DTYPE_I64, 9, "int64", 8},    {MST_DTYPE_BOOL, 10, "bool", 1},  {MST_DTYPE_BF16, 14, "bfloat16", 2},
        {MST_DTYPE_F16, 19, "float16", 2}, {MST_DTYPE_U32, 22, "uint32", 4}, {MST_DTYPE_U64, 23, "uint64", 8}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum mst_dtype parsed;
        assert_int_equal(rows[i].dtype, rows[i].number);
        assert_string_equal(mst_dtype_name(rows[i].dtype), rows[i].name);
        assert_int_equal(mst_dtype_size_bytes(rows[i].dtype), rows[i].bytes);
        assert_int_equal(mst_dtype_parse(rows[i].name, &parsed), MST_OK);
        assert_int_equal(parsed, rows[i].dtype);
    }
}

// As a byte copy from a file would give it.
static enum mst_dtype from_file(int number)
{
    enum mst_dtype dtype;
    memcpy(&dtype, &number, sizeof dtype);
    return dtype;
}

static void test_outside(void **state)
{
    (void)state;
    static const int numbers[] = {0, 7, 8, 11, 24, 101, -1, 1000};
    static const char *const names[] = {"", "float", "Float32", "float32 ", "unknown", "f32"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        assert_int_equal(mst_dtype_size_bytes(from_file(numbers[i])), 0);
        assert_string_equal(mst_dtype_name(from_file(numbers[i])), "unknown");
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        enum mst_dtype parsed;
        assert_int_equal(mst_dtype_parse(names[i], &parsed), MST_INVALID_ARGUMENT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_outside)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
