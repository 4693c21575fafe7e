// JSON with the place of an error, the limits, files, and the word that somebody may have meant.
#include "muster/status.h"
#include "spec/json_source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void test_values(void **state)
{
    (void)state;
    static const char *const texts[] = {"{}", " [1, 2.5]\n", "\"x\"", "7", "true", "null", "{\"a\": {\"a\": 1}}"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct mst_error err = {""};
        json_t *json = NULL;
        if (mst_json_parse(texts[i], strlen(texts[i]), "x.json", &json, &err) != MST_OK)
            fail_msg("%s", err.text);
        assert_non_null(json);
        json_decref(json);
    }
}

static void check_refused(const char *text, size_t len, const char *wanted)
{
    struct mst_error err = {""};
    json_t *json = (json_t *)&err;
    assert_int_equal(mst_json_parse(text, len, "x.json", &json, &err), MST_INVALID_ARGUMENT);
    assert_string_equal(err.text, wanted);
    assert_null(json);
    assert_int_equal(mst_json_parse(text, len, "x.json", &json, NULL), MST_INVALID_ARGUMENT);
}

static void test_syntax_errors(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", "x.json:1:1: Expecting value, but the text is empty"},
        {" \n\t", "x.json:1:1: Expecting value, but the text is empty"},
        {"{\"name\": \"tiny\",\n \"model\": }", "x.json:2:11: unexpected token near '}'"},
        {"{\"a\": 1,}", "x.json:1:9: string or '}' expected near '}'"},
        {"[1 2]", "x.json:1:4: ']' expected near '2'"},
        {"{\"é\": 1,\n\"é\": 2}", "x.json:2:3: duplicate object key near '\"é\"'"},
        {"{\"a\": {\"b\": 1, \"b\": 1}}", "x.json:1:18: duplicate object key near '\"b\"'"},
        {"[NaN]", "x.json:1:4: invalid token near 'NaN'"},
        {"[1e999]", "x.json:1:6: real number overflow near '1e999'"},
        {"\xef\xbb\xbf{}", "x.json:1:1: begins with a byte order mark; save it as UTF-8 without one"},
        {"\x89HDF\r\n",
         "x.json: is HDF5, not JSON; of a Keras model give what model.to_json() prints, or the archive of "
         "model.save(\"my.keras\")"},
        {"PK\x03\x04",
         "x.json: is a zip file, not JSON; an archive of Keras is called something.keras, and a job names it "
         "as \"model\""},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        check_refused(rows[i][0], strlen(rows[i][0]), rows[i][1]);
    check_refused("\"a\0b\"", 5, "x.json:1:2: control character 0x0 near '\"a'");
}

// Brackets inside of texts do not nest.
static void test_depth(void **state)
{
    (void)state;
    char text[1000];
    struct mst_error err;
    json_t *json;
    size_t n = 0;
    for (size_t i = 0; i < MST_JSON_MAX_DEPTH; i++)
        text[n++] = '[';
    n += (size_t)snprintf(text + n, sizeof text - n, "\"\\\"[[[[{{{{\"");
    for (size_t i = 0; i < MST_JSON_MAX_DEPTH; i++)
        text[n++] = ']';
    assert_int_equal(mst_json_parse(text, n, "x.json", &json, &err), MST_OK);
    json_decref(json);
    n = (size_t)snprintf(text, sizeof text, "[\"é\",\n\"é\", ");
    for (size_t i = 0; i < MST_JSON_MAX_DEPTH; i++)
        text[n++] = i % 2 ? '[' : '{';
    check_refused(text, n, "x.json:2:133: nested deeper than 128 levels");
}

static void test_size(void **state)
{
    (void)state;
    size_t len = (size_t)MST_JSON_MAX_BYTES + 1;
    char *text = malloc(len);
    assert_non_null(text);
    memset(text, ' ', len);
    text[0] = '1';
    check_refused(text, len, "x.json: 16777217 bytes exceed the limit of 16777216");
    free(text);
}

static void test_files(void **state)
{
    (void)state;
    struct mst_error err;
    json_t *json;
    char path[] = "/tmp/muster-test-XXXXXX", wanted[200];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "{\"a\": }", 7), 7);
    assert_int_equal(mst_json_load_file(path, &json, &err), MST_INVALID_ARGUMENT);
    snprintf(wanted, sizeof wanted, "%s:1:7: unexpected token near '}'", path);
    assert_string_equal(err.text, wanted);
    assert_int_equal(pwrite(fd, "[]     ", 7, 0), 7);
    assert_int_equal(mst_json_load_file(path, &json, &err), MST_OK);
    json_decref(json);
    assert_int_equal(ftruncate(fd, (off_t)MST_JSON_MAX_BYTES + (1 << 20)), 0);
    assert_int_equal(mst_json_load_file(path, &json, &err), MST_INVALID_ARGUMENT);
    snprintf(wanted, sizeof wanted, "%s: more than the limit of 16777216 bytes", path);
    assert_string_equal(err.text, wanted);
    close(fd);
    unlink(path);
    assert_int_equal(mst_json_load_file(path, &json, &err), MST_INVALID_ARGUMENT);
    snprintf(wanted, sizeof wanted, "%s: cannot be opened: No such file or directory", path);
    assert_string_equal(err.text, wanted);
    assert_int_equal(mst_json_load_file("/tmp", &json, &err), MST_INVALID_ARGUMENT);
    assert_string_equal(err.text, "/tmp: cannot be read: Is a directory");
    assert_null(json);
}

static void test_nearest_word(void **state)
{
    (void)state;
    static const char *const words[] = {"shuffle", "batch_size", "epochs", "name", "ps"};
    static const char *const rows[][2] = {
        {"shufle", "shuffle"},
        {"batchsize", "batch_size"},
        {"batch-size", "batch_size"},
        {"epcohs", "epochs"},
        {"Name", "name"},
        {"naem", "name"},
        {"sp", "ps"},
        {"learning_rate", NULL},
        {"size_of_batches", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *got = mst_nearest_word(rows[i][0], words, COUNT(words));
        if (!rows[i][1])
            assert_null(got);
        else
            assert_string_equal(got ? got : "nothing", rows[i][1]);
    }
    char word[1000];
    memset(word, 'a', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    assert_null(mst_nearest_word(word, words, COUNT(words)));
    assert_null(mst_nearest_word("name", NULL, 0));
}

static void test_type_texts(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"{}", "an object"}, {"[]", "a list"},    {"\"\"", "a text"},
                                          {"1", "an integer"}, {"1.5", "a number"}, {"true", "true"},
                                          {"false", "false"},  {"null", "null"}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        json_t *json = json_loads(rows[i][0], JSON_DECODE_ANY, NULL);
        assert_string_equal(mst_json_type_text(json), rows[i][1]);
        json_decref(json);
    }
    assert_string_equal(mst_json_type_text(NULL), "nothing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values),    cmocka_unit_test(test_syntax_errors),
                                       cmocka_unit_test(test_depth),     cmocka_unit_test(test_size),
                                       cmocka_unit_test(test_files),     cmocka_unit_test(test_nearest_word),
                                       cmocka_unit_test(test_type_texts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
