// CSV files: what is a number, quotes and line ends, where the label is, and every error with its line and column.
#include "base/alloc.h"
#include "data/csv.h"
#include "data/dataset.h"
#include "data_files.h"
#include "muster/status.h"
#include "tensor/dtype.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_AND_LEN(text) (text), sizeof(text) - 1

static char *folder;
static char *path;

static int set_up(void **state)
{
    (void)state;
    folder = data_folder_new();
    path = mst_text("%s/file.csv", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(path);
    data_folder_free(folder);
    return 0;
}

struct wanted {
    size_t n_rows;
    size_t n_columns;
    const float *features;
    const int32_t *labels;
};

static void expect_table(const char *text, size_t len, const struct mst_csv_options *options,
                         const struct wanted *wanted)
{
    for (int form = FORM_PLAIN; form <= FORM_GZIP; form++) {
        struct mst_error err = {0};
        struct mst_csv_table table;
        data_file_write(path, (enum file_form)form, text, len);
        if (mst_csv_read(path, options, &table, &err) != MST_OK)
            fail_msg("%s", err.text);
        assert_int_equal(table.n_rows, wanted->n_rows);
        assert_int_equal(table.n_columns, wanted->n_columns);
        for (size_t i = 0; i < table.n_rows * table.n_columns; i++)
            assert_true(table.features[i] == wanted->features[i]);
        assert_true(!table.labels == !wanted->labels);
        if (table.labels)
            assert_memory_equal(table.labels, wanted->labels, table.n_rows * sizeof *table.labels);
        mst_csv_table_fini(&table);
        assert_null(table.features);
    }
}

static const float features[] = {1.5f, -2.0f, 300.0f, 0.25f};
static const int32_t labels[] = {1, 0};
static const struct wanted two_rows = {2, 2, features, labels};

static void test_label_by_name_and_number(void **state)
{
    (void)state;
    const struct mst_csv_options by_name = {.label = "kind"};
    const struct mst_csv_options by_number = {.label = "1"};
    const struct mst_csv_options headless = {.label = "1", .is_headless = true};
    expect_table(TEXT_AND_LEN("a,kind,b\n1.5,1,-2\n300,0,.25\n"), &by_name, &two_rows);
    expect_table(TEXT_AND_LEN("a,kind,b\n1.5,1,-2\n300,0,.25\n"), &by_number, &two_rows);
    expect_table(TEXT_AND_LEN("1.5,1,-2\n300,0,.25\n"), &headless, &two_rows);
    // A name is more than a number: the column called "1" is the third.
    const struct mst_csv_options called = {.label = "1"};
    expect_table(TEXT_AND_LEN("a,0,1\n1.5,-2,1\n300,.25,0\n"), &called, &two_rows);
    const struct wanted without = {2, 2, features, NULL};
    const struct mst_csv_options none = {0};
    expect_table(TEXT_AND_LEN("a,b\n1.5,-2\n300,.25\n"), &none, &without);
    const struct mst_csv_options optional = {.label = "kind", .label_is_optional = true};
    expect_table(TEXT_AND_LEN("a,b\n1.5,-2\n300,.25\n"), &optional, &without);
    expect_table(TEXT_AND_LEN("a,kind,b\n1.5,1,-2\n300,0,.25\n"), &optional, &two_rows);
}

static void test_forms_of_lines(void **state)
{
    (void)state;
    const struct mst_csv_options options = {.label = "ki,nd"};
    static const char *const texts[] = {
        "a,\"ki,nd\",b\n1.5,1,-2\n300,0,.25",                               // no line end at the end
        "a,\"ki,nd\",b\r\n1.5,1,-2\r\n300,0,.25\r\n",                       // CRLF
        "a,\"ki,nd\",b\r1.5,1,-2\r300,0,.25\r",                             // CR
        "\xef\xbb\xbf\"a\",\"ki,nd\",\"b\"\n\"1.5\",\"1\",-2\n300,0,.25\n", // a byte order mark, quotes everywhere
        "\na,\"ki,nd\",b\n\n1.5,1,-2\n\r\n\n300,0,.25\n\n",                 // empty lines
        "\"a\nof two lines\",\"ki,nd\",\"a \"\"b\"\"\"\n1.5,1.0,-2\n300,0e0,.25\n", // within quotes
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        expect_table(texts[i], strlen(texts[i]), &options, &two_rows);
    const struct mst_csv_options blanks = {.label = "kind"};
    expect_table(TEXT_AND_LEN("a , kind\t,b\n 1.5 ,1\t,-2\n3e2,+0,2.5e-1\n"), &blanks, &two_rows);
}

static void test_missing(void **state)
{
    (void)state;
    const float filled[] = {1.5f, -1.0f, -1.0f, 0.25f};
    const struct wanted wanted = {2, 2, filled, labels};
    const struct mst_csv_options options = {.label = "k", .fills_missing = true, .missing = -1.0f};
    expect_table(TEXT_AND_LEN("a,k,b\n1.5,1,\n \t,0,.25\n"), &options, &wanted);
    expect_table(TEXT_AND_LEN("a,k,b\n1.5,1,\"\"\n,0,.25\n"), &options, &wanted);
}

static void expect_failure(const char *text, size_t len, const struct mst_csv_options *options, mst_status want,
                           const char *words)
{
    struct mst_csv_table table;
    struct mst_error err = {0};
    data_file_write(path, FORM_PLAIN, text, len);
    mst_status status = mst_csv_read(path, options, &table, &err);
    if (status != want || !strstr(err.text, words) || !strstr(err.text, path))
        fail_msg("status %d, text \"%s\"; want status %d and \"%s\"", (int)status, err.text, (int)want, words);
    assert_null(table.features);
    assert_null(table.labels);
    assert_int_equal(table.n_rows, 0);
}

static void test_bad_fields(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *words;
    } rows[] = {
        {"a,k\n1,0\n,1\n", "file.csv:3:1: column \"a\" is empty; fill it, or say with \"missing\""},
        {"a,k\n1,0\n2,\n", "file.csv:3:2: column \"k\" is the label and is empty"},
        {"a,k\n1,0\nred,1\n", "file.csv:3:1: column \"a\" holds \"red\", which is not a decimal number"},
        {"a,k\nnan,0\n", ":2:1: column \"a\" holds \"nan\""},
        {"a,k\ninf,0\n", ":2:1: column \"a\" holds \"inf\""},
        {"a,k\n0x10,0\n", ":2:1: column \"a\" holds \"0x10\""},
        {"a,k\n1e999,0\n", ":2:1: column \"a\" holds \"1e999\""},
        {"a,k\n1e39,0\n", ":2:1: column \"a\" holds a number too large for float32"},
        {"a,k\n1-1,0\n", ":2:1: column \"a\" holds \"1-1\""},
        {"a,k\n1 2,0\n", ":2:1: column \"a\" holds \"1 2\""},
        {"a,k\n1,0.5\n", ":2:2: column \"k\" is the label and holds \"0.5\"; labels are integers"},
        {"a,k\n1,cat\n", ":2:2: column \"k\" is the label and holds \"cat\""},
        {"a,k\n1,2147483648\n", ":2:2: column \"k\" is the label and holds \"2147483648\""},
        {"a,k\n1,0\n\n1\n", "file.csv:4:1: 1 fields, and the first line has 2"},
        {"a,k\n1,0,3\n", "file.csv:2:3: 3 fields, and the first line has 2"},
        {"a,k\n\"1,0\n", "file.csv:2:1: the quote that begins here is never closed"},
        {"a,k\n1,\"0\"1\n", "file.csv:2:2: text behind a closing quote"},
        {"a,k\n1,0\"\n", "file.csv:2:2: a quote within a field"},
        {"\"a\nb\",k\n1,x\n", "file.csv:3:2: column \"k\""},
        {"", "is empty"},
        {"\n\r\n", "is empty"},
        {"a,k\n", "no examples"},
        {"k\n1\n", "no column besides the label"},
    };
    const struct mst_csv_options options = {.label = "k"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect_failure(rows[i].text, strlen(rows[i].text), &options, MST_DATA_LOSS, rows[i].words);
    expect_failure(TEXT_AND_LEN("a,k\n1,\0\n"), &options, MST_DATA_LOSS, "file.csv:2:2: a zero byte");
    const struct mst_csv_options headless = {.label = "1", .is_headless = true};
    expect_failure(TEXT_AND_LEN("1,0\nx,0\n"), &headless, MST_DATA_LOSS, "file.csv:2:1: column holds \"x\"");
}

static void test_bad_labels_columns(void **state)
{
    (void)state;
    const struct mst_csv_options options = {.label = "kind"};
    expect_failure(TEXT_AND_LEN("a,b\n1,0\n"), &options, MST_INVALID_ARGUMENT,
                   "there is no column \"kind\" for the label among its 2; they are a, b");
    expect_failure(TEXT_AND_LEN("kind,a,kind\n1,0,1\n"), &options, MST_INVALID_ARGUMENT,
                   "columns 1 and 3 are both called");
    const struct mst_csv_options number = {.label = "2", .is_headless = true};
    expect_failure(TEXT_AND_LEN("1,0\n"), &number, MST_INVALID_ARGUMENT, "there is no column \"2\"");
    struct mst_csv_table table;
    struct mst_error err = {0};
    assert_int_equal(mst_csv_read("/nonexistent/f.csv", &options, &table, &err), MST_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nonexistent/f.csv"));
    assert_int_equal(mst_csv_read(folder, &options, &table, &err), MST_DATA_LOSS);
}

static void test_limits(void **state)
{
    (void)state;
    enum { ROOM = 17 << 20 };
    const struct mst_csv_options options = {.label = "0"};
    char *text = malloc(ROOM);
    assert_non_null(text);
    memset(text, '1', ROOM);
    expect_failure(text, 5000, &options, MST_OUT_OF_RANGE, "file.csv:1:1: a field of more than 4096 bytes");
    memset(text, ',', ROOM);
    expect_failure(text, 70000, &options, MST_OUT_OF_RANGE, "more than 65536 columns");
    for (size_t i = 0; i < ROOM; i++)
        text[i] = i % 4000 ? '1' : ',';
    expect_failure(text, ROOM, &options, MST_OUT_OF_RANGE, "a line of more than 16777216 bytes");
    free(text);
}

// Lines and buffers of every alignment: the file is larger than the input buffer by far.
static void test_many_rows(void **state)
{
    (void)state;
    enum { N = 40000, ROOM = N * 32 };
    char *text = malloc(ROOM);
    assert_non_null(text);
    size_t len = (size_t)snprintf(text, ROOM, "x,y,\"label\"\n");
    for (int i = 0; i < N; i++)
        len += (size_t)snprintf(text + len, ROOM - len, "%d,%s%d.5%s,%d\r\n", i, i % 3 ? "\"" : "", i,
                                i % 3 ? "\"" : "", i % 7);
    data_file_write(path, FORM_GZIP, text, len);
    struct mst_dataset_source source = {.format = "csv", .features = path, .csv = {.label = "label"}};
    struct mst_dataset *dataset;
    struct mst_error err = {0};
    assert_int_equal(mst_dataset_open(&source, &dataset, &err), MST_OK);
    assert_int_equal(mst_dataset_n_examples(dataset), N);
    assert_int_equal(mst_dataset_feature_dtype(dataset), MST_DTYPE_F32);
    assert_int_equal(mst_dataset_feature_shape(dataset)->rank, 1);
    assert_int_equal(mst_dataset_feature_shape(dataset)->dims[0], 2);
    assert_int_equal(mst_dataset_example_bytes(dataset), 8);
    assert_int_equal(mst_dataset_load(dataset, &err), MST_OK);
    const float *rows = mst_dataset_features(dataset);
    for (int i = 0; i < N; i++) {
        assert_true(rows[2 * i] == (float)i && rows[2 * i + 1] == (float)i + 0.5f);
        assert_int_equal(mst_dataset_labels(dataset)[i], i % 7);
    }
    assert_int_equal(mst_dataset_check_labels(dataset, 7, &err), MST_OK);
    assert_int_equal(mst_dataset_check_labels(dataset, 6, &err), MST_OUT_OF_RANGE);
    assert_non_null(strstr(err.text, path));
    mst_dataset_free(dataset);
    source.csv.label = NULL;
    data_file_write(path, FORM_PLAIN, "x\n1\n", 4);
    assert_int_equal(mst_dataset_open(&source, &dataset, &err), MST_OK);
    assert_null(mst_dataset_labels(dataset));
    assert_int_equal(mst_dataset_check_labels(dataset, 6, &err), MST_FAILED_PRECONDITION);
    mst_dataset_free(dataset);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_label_by_name_and_number),
        cmocka_unit_test(test_forms_of_lines),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_bad_fields),
        cmocka_unit_test(test_bad_labels_columns),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_many_rows),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
