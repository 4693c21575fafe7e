// Log lines in JSON: their form, and that whatever bytes the values hold the line is one JSON object that says them.
#include "base/log_json.h"

#include "base/log.h"
#include "base/rng.h"
#include "muster/status.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LINE_BYTES = 4096, N_RANDOM = 3000 };

static char line[LINE_BYTES + 1];

MST_PRINTF(1, 2) static size_t print(const char *keys, ...)
{
    struct mst_log_event event = {1764000245123999000u, "info", "worker/1", "rpc", "connection lost"};
    va_list args;
    va_start(args, keys);
    size_t len = mst_log_json_line(&event, keys, args, line, LINE_BYTES);
    va_end(args);
    assert_in_range(len, 2, LINE_BYTES);
    assert_int_equal(line[len - 1], '\n');
    assert_null(memchr(line, '\n', len - 1));
    line[len - 1] = '\0';
    assert_int_equal(strlen(line), len - 1);
    return len - 1;
}

static json_t *parse(void)
{
    json_error_t error;
    json_t *json = json_loads(line, JSON_REJECT_DUPLICATES, &error);
    if (!json)
        fail_msg("%s at %d: %s", error.text, error.position, line);
    return json;
}

static void test_the_form_of_a_line(void **state)
{
    (void)state;
    print("peer=%s reason=\"%s\" n=%zu share=%.3f", "ps-0", "two \"quoted\"\nlines\\", (size_t)18446744073709551615u,
          0.25);
    assert_string_equal(line, "{\"time\":\"2025-11-24T16:04:05.123Z\",\"level\":\"info\",\"event\":\"connection lost\","
                              "\"role\":\"worker\",\"index\":1,\"component\":\"rpc\",\"fields\":{\"peer\":\"ps-0\","
                              "\"reason\":\"two \\\"quoted\\\"\\u000alines\\\\\",\"n\":18446744073709551615,"
                              "\"share\":0.250}}");
}

static void test_what_is_a_number(void **state)
{
    (void)state;
    print("a=%d b=%lld c=%u.%u d=%g e=%g f=\"%d\" g=%s h=%02d i=%x j=%g k=%d%% l= m=%c", -3, -4LL, 1u, 2u,
          (double)INFINITY, (double)NAN, 5, "6", 7, 0xffu, 1e300, 8, '9');
    const char *fields = strstr(line, "\"fields\":");
    assert_non_null(fields);
    assert_string_equal(fields, "\"fields\":{\"a\":-3,\"b\":-4,\"c\":\"1.2\",\"d\":\"inf\",\"e\":\"nan\",\"f\":\"5\","
                                "\"g\":\"6\",\"h\":\"07\",\"i\":\"ff\",\"j\":1e+300,\"k\":\"8%\",\"l\":\"\",\"m\":9}}");
    print("%s", "");
    assert_non_null(strstr(line, "\"fields\":{}}"));
    print("a=%.*s%*d b=%-*d|", 2, "abc", 4, 1, 3, 2);
    assert_non_null(strstr(line, "{\"a\":\"ab   1\",\"b\":\"2  |\"}"));
    print("just %s", "words");
    assert_non_null(strstr(line, "\"words\""));
}

static void test_a_value_is_no_key(void **state)
{
    (void)state;
    print("peer=%s n=%d", "x n=7 \"reason\"=\"no\"", 1);
    json_t *json = parse();
    json_t *fields = json_object_get(json, "fields");
    assert_int_equal(json_object_size(fields), 2);
    assert_string_equal(json_string_value(json_object_get(fields, "peer")), "x n=7 \"reason\"=\"no\"");
    assert_int_equal(json_integer_value(json_object_get(fields, "n")), 1);
    json_decref(json);
}

static void test_bytes_that_are_no_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        const char *want;
    } cases[] = {
        {"\xff", "\uFFFD"},
        {"a\xc3(", "a\uFFFD("},
        {"\xc3", "\uFFFD"},
        {"\xc0\xaf", "\uFFFD\uFFFD"},
        {"\xed\xa0\x80", "\uFFFD\uFFFD\uFFFD"},
        {"\xf4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
        {"\xe0\x80\x80", "\uFFFD\uFFFD\uFFFD"},
        {"\xf0\x9f\x98\x80 \xc3\xa9 \xe2\x82\xac", "\xf0\x9f\x98\x80 \xc3\xa9 \xe2\x82\xac"},
        {"\x01\x1b[2J\x7f\t", "\x01\x1b[2J\x7f\t"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print("v=%s", cases[i].bytes);
        for (const char *at = line; *at; at++)
            assert_true((unsigned char)*at >= ' ' && *at != 0x7f); // nothing that a terminal would obey
        json_t *json = parse();
        assert_string_equal(json_string_value(json_object_get(json_object_get(json, "fields"), "v")), cases[i].want);
        json_decref(json);
    }
}

static void test_a_long_line_is_cut(void **state)
{
    (void)state;
    char *text = malloc(10001);
    assert_non_null(text);
    memset(text, 'x', 10000);
    text[10000] = '\0';
    for (size_t len = 3700; len < 4200; len++) {
        text[len] = '\0';
        print("value=%s n=%d last=%s", text, 12345, "\xff\xff");
        json_t *json = parse();
        json_t *fields = json_object_get(json, "fields");
        assert_true(json_string_length(json_object_get(fields, "value")) > 3600);
        json_decref(json);
        text[len] = 'x';
    }
    struct mst_log_event event = {0, "error", text, text, text};
    va_list none;
    memset(&none, 0, sizeof none);
    size_t n = mst_log_json_line(&event, "", none, line, LINE_BYTES);
    line[n] = '\0';
    json_decref(parse());
    free(text);
}

struct draws {
    struct mst_rng_key key;
    uint64_t n;
};

static uint32_t draw_word(struct draws *draws)
{
    return mst_rng_word(draws->key, draws->n++);
}

// Bytes of every kind, of which none is NUL: a text of a peer or a file name may be any.
static void random_bytes(struct draws *draws, char *out, size_t len)
{
    static const char special[] = "\"\\{}:,= %\n\r\t\x1b\x7f\xc3\xa9\xed\xa0\xf4\x90\xff";
    for (size_t i = 0; i < len; i++) {
        uint32_t draw = draw_word(draws);
        out[i] = draw & 1 ? special[(draw >> 1) % (sizeof special - 1)] : (char)(1 + (draw >> 1) % 255);
    }
    out[len] = '\0';
}

static void test_any_bytes(void **state)
{
    (void)state;
    const char *given = getenv("MUSTER_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : mst_rng_system();
    print_message("MUSTER_SEED=%llu\n", (unsigned long long)seed);
    struct draws draws = {mst_rng_key_of(seed, "bytes", 0), 0};
    char a[1500];
    char b[3000];
    for (int i = 0; i < N_RANDOM; i++) {
        random_bytes(&draws, a, draw_word(&draws) % (i % 10 ? 40 : sizeof a));
        random_bytes(&draws, b, draw_word(&draws) % (i % 10 ? 40 : sizeof b));
        print("first=%s second=\"%s\" n=%d", a, b, i);
        json_t *json = parse();
        assert_true(json_is_string(json_object_get(json, "event")));
        assert_true(json_is_object(json_object_get(json, "fields")));
        if (strlen(a) + strlen(b) < 300)
            assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "fields"), "n")), i);
        json_decref(json);
    }
}

static void test_the_log_writes_it(void **state)
{
    (void)state;
    struct mst_error err = {.text = ""};
    assert_int_equal(mst_log_set_format("xml", &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "xml"));
    assert_false(mst_log_is_json());
    assert_int_equal(mst_log_set_format("json", NULL), MST_OK);
    assert_true(mst_log_is_json());
    int fd = memfd_create("log", MFD_CLOEXEC);
    assert_true(fd >= 0);
    mst_log_set_fd(fd);
    MST_LOG(WARN, "rpc", "connection lost", "peer=%s", "ps-0");
    mst_log_set_fd(2);
    ssize_t n = pread(fd, line, LINE_BYTES, 0);
    assert_true(n > 0);
    line[n] = '\0';
    close(fd);
    json_t *json = parse();
    assert_string_equal(json_string_value(json_object_get(json, "role")), "muster");
    assert_true(json_is_null(json_object_get(json, "index")));
    json_decref(json);
    assert_int_equal(mst_log_set_format("text", NULL), MST_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_form_of_a_line), cmocka_unit_test(test_what_is_a_number),
        cmocka_unit_test(test_a_value_is_no_key),  cmocka_unit_test(test_bytes_that_are_no_utf8),
        cmocka_unit_test(test_a_long_line_is_cut), cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_the_log_writes_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
