// repr(), str() and int() against what Python 3.11 says of the same values.
#include "base/bytes.h"
#include "muster/status.h"
#include "spec/python_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void check_repr(const char *json_text, const char *wanted)
{
    struct mst_buf buf;
    mst_buf_init(&buf, 1000);
    json_t *json = json_loads(json_text, JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    assert_int_equal(mst_python_repr(json, &buf), MST_OK);
    assert_int_equal(mst_buf_append(&buf, "", 1), MST_OK);
    assert_string_equal((const char *)buf.data, wanted);
    json_decref(json);
    mst_buf_fini(&buf);
}

static void test_repr_of_numbers(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"0.0", "0.0"},
        {"-0.5", "-0.5"},
        {"0.1", "0.1"},
        {"1e16", "1e+16"},
        {"123456789012345680.0", "1.2345678901234568e+17"},
        {"1e15", "1000000000000000.0"},
        {"9999999999999998.0", "9999999999999998.0"},
        {"1e-4", "0.0001"},
        {"1e-5", "1e-05"},
        {"1.5e-7", "1.5e-07"},
        {"1e300", "1e+300"},
        {"5e-324", "5e-324"},
        {"1.7976931348623157e308", "1.7976931348623157e+308"},
        {"3.141592653589793", "3.141592653589793"},
        {"100.0", "100.0"},
        {"0.30000000000000004", "0.30000000000000004"},
        {"1e22", "1e+22"},
        {"123456.789", "123456.789"},
        {"7", "7"},
        {"-9223372036854775808", "-9223372036854775808"},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        check_repr(rows[i][0], rows[i][1]);
}

static void test_repr_of_texts(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"\"it's\"", "\"it's\""},
        {"\"say \\\"x\\\"\"", "'say \"x\"'"},
        {"\"both ' and \\\"\"", "'both \\' and \"'"},
        {"\"tab\\tnl\\ncr\\r\"", "'tab\\tnl\\ncr\\r'"},
        {"\"\\u007f\\u0080\\u00ad\\u2028\\u3000\\ufeff\"", "'\\x7f\\x80\\xad\\u2028\\u3000\\ufeff'"},
        {"\"\\u00e9\\u65e5\\u672c\\ud83c\\udf89\"", "'é日本🎉'"},
        {"\"\\udb40\\udc01\"", "'\\U000e0001'"},
        {"\"back\\\\slash\"", "'back\\\\slash'"},
        {"\"\\u001f\"", "'\\x1f'"},
        {"\"\"", "''"},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        check_repr(rows[i][0], rows[i][1]);
}

static void test_repr_of_containers(void **state)
{
    (void)state;
    check_repr("[1, [true, false, null], {}, []]", "[1, [True, False, None], {}, []]");
    check_repr("{\"b\": 1, \"a\": [2.5, \"x\"]}", "{'b': 1, 'a': [2.5, 'x']}");
}

static void test_str(void **state)
{
    (void)state;
    struct mst_buf buf;
    mst_buf_init(&buf, 100);
    json_t *text = json_string("it's"), *none = json_null();
    assert_int_equal(mst_python_str(text, &buf), MST_OK);
    assert_int_equal(mst_python_str(none, &buf), MST_OK);
    assert_int_equal(buf.len, strlen("it'sNone"));
    assert_memory_equal(buf.data, "it'sNone", buf.len);
    json_decref(text);
    mst_buf_fini(&buf);
}

static void test_no_room(void **state)
{
    (void)state;
    struct mst_buf buf;
    json_t *json = json_loads("[\"abc\", {\"k\": [1, 2.5, true]}]", 0, NULL);
    for (size_t room = 0; room < 30; room++) {
        mst_buf_init(&buf, room);
        assert_int_equal(mst_python_repr(json, &buf), MST_RESOURCE_EXHAUSTED);
        assert_true(buf.len <= room);
        mst_buf_fini(&buf);
    }
    json_decref(json);
}

static void test_int(void **state)
{
    (void)state;
    static const struct {
        const char *json, *digits;
        int64_t value;
    } rows[] = {
        {"\"1\"", "1", 1},
        {"\" 1 \"", "1", 1},
        {"\"\\u001f01\\n\"", "1", 1},
        {"\"+7\"", "7", 7},
        {"\"-0\"", "0", 0},
        {"\"-00\"", "0", 0},
        {"\"1_000\"", "1000", 1000},
        {"\"99999999999999999999\"", "99999999999999999999", INT64_MAX},
        {"\"-99999999999999999999\"", "-99999999999999999999", INT64_MIN},
        {"1.7", "1", 1},
        {"-1.7", "-1", -1},
        {"-0.5", "0", 0},
        {"1e20", "100000000000000000000", INT64_MAX},
        {"true", "1", 1},
        {"false", "0", 0},
        {"-3", "-3", -3},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct mst_error err = {""};
        struct mst_python_int number;
        json_t *json = json_loads(rows[i].json, JSON_DECODE_ANY, NULL);
        if (mst_python_int(json, &number, &err) != MST_OK)
            fail_msg("%s: %s", rows[i].json, err.text);
        assert_string_equal(number.digits, rows[i].digits);
        assert_true(number.value == rows[i].value);
        json_decref(json);
    }
}

static void test_no_int(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"\"\"", "invalid literal for int() with base 10: ''"},
        {"\"1.0\"", "invalid literal for int() with base 10: '1.0'"},
        {"\"0x1\"", "invalid literal for int() with base 10: '0x1'"},
        {"\"_1\"", "invalid literal for int() with base 10: '_1'"},
        {"\"1_\"", "invalid literal for int() with base 10: '1_'"},
        {"\"1__0\"", "invalid literal for int() with base 10: '1__0'"},
        {"\"+ 1\"", "invalid literal for int() with base 10: '+ 1'"},
        {"\"+\"", "invalid literal for int() with base 10: '+'"},
        {"\"it's\"", "invalid literal for int() with base 10: \"it's\""},
        {"null", "int() argument must be a string, a bytes-like object or a real number, not 'NoneType'"},
        {"[]", "int() argument must be a string, a bytes-like object or a real number, not 'list'"},
        {"{}", "int() argument must be a string, a bytes-like object or a real number, not 'dict'"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct mst_error err = {""};
        struct mst_python_int number;
        json_t *json = json_loads(rows[i][0], JSON_DECODE_ANY, NULL);
        assert_int_equal(mst_python_int(json, &number, &err), MST_INVALID_ARGUMENT);
        assert_string_equal(err.text, rows[i][1]);
        json_decref(json);
    }
}

// A literal of many characters is shown as Python shows it, 200 of them; too many digits are refused, not cut.
static void test_long_int(void **state)
{
    (void)state;
    char text[2000];
    struct mst_error err;
    struct mst_python_int number;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(mst_python_int_of_text(text, &number, &err), MST_INVALID_ARGUMENT);
    assert_int_equal(strlen(err.text), strlen("invalid literal for int() with base 10: ") + 200);
    memset(text, '7', sizeof text - 1);
    assert_int_equal(mst_python_int_of_text(text, &number, &err), MST_INVALID_ARGUMENT);
    assert_string_equal(err.text, "an index of more than 510 digits");
    text[510] = '\0';
    assert_int_equal(mst_python_int_of_text(text, &number, &err), MST_OK);
    assert_string_equal(number.digits, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_repr_of_numbers),
                                       cmocka_unit_test(test_repr_of_texts),
                                       cmocka_unit_test(test_repr_of_containers),
                                       cmocka_unit_test(test_str),
                                       cmocka_unit_test(test_no_room),
                                       cmocka_unit_test(test_int),
                                       cmocka_unit_test(test_no_int),
                                       cmocka_unit_test(test_long_int)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
