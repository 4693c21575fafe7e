// CSV files: what is a number, quotes and line ends, where the label is, and every error with its line and column.
#include "base/alloc.h"
#include "data/csv.h"
#include "data/dataset.h"
#include "data_files.h"
#include "muster/status.h"
#include "tensor/dtype.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
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

// A label, perhaps, and all other columns as features.
struct way {
    const char *label;
    bool label_is_optional;
    bool is_headless;
    bool fills_missing;
    float missing;
};

static mst_status read_way(const char *file, const struct way *way, struct mst_csv_table *out, struct mst_error *err)
{
    const struct mst_csv_group groups[] = {
        {.kind = MST_CSV_FEATURES},
        {MST_CSV_TARGETS, &way->label, 1, way->label_is_optional},
    };
    struct mst_csv_options options = {
        .is_headless = way->is_headless, .fills_missing = way->fills_missing, .missing = way->missing};
    return mst_csv_read(file, &options, groups, way->label ? 2 : 1, out, err);
}

struct wanted {
    size_t n_rows;
    size_t n_columns;
    const float *features;
    const int32_t *labels;
};

static void expect_table(const char *text, size_t len, const struct way *options, const struct wanted *wanted)
{
    for (int form = FORM_PLAIN; form <= FORM_GZIP; form++) {
        struct mst_error err = {0};
        struct mst_csv_table table;
        data_file_write(path, (enum file_form)form, text, len);
        if (read_way(path, options, &table, &err) != MST_OK)
            fail_msg("%s", err.text);
        assert_int_equal(table.n_rows, wanted->n_rows);
        assert_int_equal(table.arrays[0].n_columns, wanted->n_columns);
        for (size_t i = 0; i < table.n_rows * wanted->n_columns; i++)
            assert_true(table.arrays[0].values[i] == wanted->features[i]);
        const int32_t *got = table.n_arrays > 1 ? table.arrays[1].labels : NULL;
        assert_true(!got == !wanted->labels);
        if (got)
            assert_memory_equal(got, wanted->labels, table.n_rows * sizeof *got);
        mst_csv_table_fini(&table);
        assert_null(table.arrays);
    }
}

static const float features[] = {1.5f, -2.0f, 300.0f, 0.25f};
static const int32_t labels[] = {1, 0};
static const struct wanted two_rows = {2, 2, features, labels};

static void test_label_by_name_and_number(void **state)
{
    (void)state;
    const struct way by_name = {.label = "kind"};
    const struct way by_number = {.label = "1"};
    const struct way headless = {.label = "1", .is_headless = true};
    expect_table(TEXT_AND_LEN("a,kind,b\n1.5,1,-2\n300,0,.25\n"), &by_name, &two_rows);
    expect_table(TEXT_AND_LEN("a,kind,b\n1.5,1,-2\n300,0,.25\n"), &by_number, &two_rows);
    expect_table(TEXT_AND_LEN("1.5,1,-2\n300,0,.25\n"), &headless, &two_rows);
    // A name is more than a number: the column called "1" is the third.
    const struct way called = {.label = "1"};
    expect_table(TEXT_AND_LEN("a,0,1\n1.5,-2,1\n300,.25,0\n"), &called, &two_rows);
    const struct wanted without = {2, 2, features, NULL};
    const struct way none = {0};
    expect_table(TEXT_AND_LEN("a,b\n1.5,-2\n300,.25\n"), &none, &without);
    const struct way optional = {.label = "kind", .label_is_optional = true};
    expect_table(TEXT_AND_LEN("a,b\n1.5,-2\n300,.25\n"), &optional, &without);
    expect_table(TEXT_AND_LEN("a,kind,b\n1.5,1,-2\n300,0,.25\n"), &optional, &two_rows);
}

static void test_forms_of_lines(void **state)
{
    (void)state;
    const struct way options = {.label = "ki,nd"};
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
    const struct way blanks = {.label = "kind"};
    expect_table(TEXT_AND_LEN("a , kind\t,b\n 1.5 ,1\t,-2\n3e2,+0,2.5e-1\n"), &blanks, &two_rows);
}

static void test_missing(void **state)
{
    (void)state;
    const float filled[] = {1.5f, -1.0f, -1.0f, 0.25f};
    const struct wanted wanted = {2, 2, filled, labels};
    const struct way options = {.label = "k", .fills_missing = true, .missing = -1.0f};
    expect_table(TEXT_AND_LEN("a,k,b\n1.5,1,\n \t,0,.25\n"), &options, &wanted);
    expect_table(TEXT_AND_LEN("a,k,b\n1.5,1,\"\"\n,0,.25\n"), &options, &wanted);
}

static void expect_failure(const char *text, size_t len, const struct way *options, mst_status want, const char *words)
{
    struct mst_csv_table table;
    struct mst_error err = {0};
    data_file_write(path, FORM_PLAIN, text, len);
    mst_status status = read_way(path, options, &table, &err);
    if (status != want || !strstr(err.text, words) || !strstr(err.text, path))
        fail_msg("status %d, text \"%s\"; want status %d and \"%s\"", (int)status, err.text, (int)want, words);
    assert_null(table.arrays);
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
        {"a,k\n1,0\nred,1\n",
         "file.csv:3:1: column \"a\" holds \"red\", which is no number; give \"categories\": {\"a\": [\"red\"]}, or"},
        {"a,k\n1,nan\n", ":2:2: column \"k\" holds \"nan\", and labels are finite"},
        {"a,k\n1,-inf\n", ":2:2: column \"k\" holds \"-inf\", and labels are finite"},
        {"a,k\nnano,0\n", ":2:1: column \"a\" holds \"nano\""},
        {"a,k\n0x10,0\n", ":2:1: column \"a\" holds \"0x10\""},
        {"a,k\n1e999,0\n", ":2:1: column \"a\" holds \"1e999\", a number too large for float32"},
        {"a,k\n1e39,0\n", ":2:1: column \"a\" holds \"1e39\", a number too large for float32"},
        {"a,k\n1-1,0\n", ":2:1: column \"a\" holds \"1-1\""},
        {"a,k\n1 2,0\n", ":2:1: column \"a\" holds \"1 2\""},
        {"a,k\n1,cat\n", ":2:2: column \"k\" holds \"cat\", which is no number; give \"categories\": "},
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
    const struct way options = {.label = "k"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect_failure(rows[i].text, strlen(rows[i].text), &options, MST_DATA_LOSS, rows[i].words);
    expect_failure(TEXT_AND_LEN("a,k\n1,\0\n"), &options, MST_DATA_LOSS, "file.csv:2:2: a zero byte");
    const struct way headless = {.label = "1", .is_headless = true};
    expect_failure(TEXT_AND_LEN("1,0\nx,0\n"), &headless, MST_DATA_LOSS, "file.csv:2:1: column holds \"x\"");
}

static void test_bad_labels_columns(void **state)
{
    (void)state;
    const struct way options = {.label = "kind"};
    expect_failure(TEXT_AND_LEN("a,b\n1,0\n"), &options, MST_INVALID_ARGUMENT,
                   "there is no column \"kind\" for a label among its 2; they are a, b");
    expect_failure(TEXT_AND_LEN("a;kind\n1;0\n"), &options, MST_INVALID_ARGUMENT,
                   "among its 1; they are a;kind: give the file's \"separator\"");
    expect_failure(TEXT_AND_LEN("1.5,2\n1,0\n"), &options, MST_INVALID_ARGUMENT,
                   "they are 1.5, 2: of a file without a header say \"header\": false");
    expect_failure(TEXT_AND_LEN("kind,a,kind\n1,0,1\n"), &options, MST_INVALID_ARGUMENT,
                   "columns 1 and 3 are both called");
    const struct way number = {.label = "2", .is_headless = true};
    expect_failure(TEXT_AND_LEN("1,0\n"), &number, MST_INVALID_ARGUMENT, "there is no column \"2\"");
    struct mst_csv_table table;
    struct mst_error err = {0};
    assert_int_equal(read_way("/nonexistent/f.csv", &options, &table, &err), MST_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nonexistent/f.csv"));
    assert_int_equal(read_way(folder, &options, &table, &err), MST_DATA_LOSS);
}

static void test_limits(void **state)
{
    (void)state;
    enum { ROOM = 17 << 20 };
    const struct way options = {.label = "0"};
    char *text = malloc(ROOM);
    assert_non_null(text);
    memset(text, '1', ROOM);
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
    const char *const name = "label";
    const struct mst_dataset_part input = {0}, output = {.columns = &name, .n_columns = 1};
    struct mst_dataset_source source = {
        .format = "csv", .file = path, .inputs = &input, .n_inputs = 1, .outputs = &output, .n_outputs = 1};
    struct mst_dataset *dataset;
    struct mst_error err = {0};
    assert_int_equal(mst_dataset_open(&source, &dataset, &err), MST_OK);
    assert_int_equal(mst_dataset_n_examples(dataset), N);
    const struct mst_dataset_input *view = mst_dataset_input(dataset, 0);
    assert_int_equal(view->dtype, MST_DTYPE_F32);
    assert_int_equal(view->shape.rank, 1);
    assert_int_equal(view->shape.dims[0], 2);
    assert_int_equal(view->example_bytes, 8);
    assert_int_equal(mst_dataset_load(dataset, &err), MST_OK);
    const float *rows = view->data;
    for (int i = 0; i < N; i++) {
        assert_true(rows[2 * i] == (float)i && rows[2 * i + 1] == (float)i + 0.5f);
        assert_int_equal(mst_dataset_output(dataset, 0)->labels[i], i % 7);
    }
    assert_int_equal(mst_dataset_check_labels(dataset, 0, 7, &err), MST_OK);
    assert_int_equal(mst_dataset_check_labels(dataset, 0, 6, &err), MST_OUT_OF_RANGE);
    assert_non_null(strstr(err.text, path));
    mst_dataset_free(dataset);
    source.n_outputs = 0;
    data_file_write(path, FORM_PLAIN, "x\n1\n", 4);
    assert_int_equal(mst_dataset_open(&source, &dataset, &err), MST_OK);
    assert_int_equal(mst_dataset_n_outputs(dataset), 0);
    assert_int_equal(mst_dataset_check_labels(dataset, 0, 6, &err), MST_FAILED_PRECONDITION);
    mst_dataset_free(dataset);
    free(text);
}

static mst_status read_groups(const char *text, const struct mst_csv_options *options,
                              const struct mst_csv_group *groups, size_t n_groups, struct mst_csv_table *out)
{
    struct mst_error err = {0};
    data_file_write(path, FORM_PLAIN, text, strlen(text));
    mst_status status = mst_csv_read(path, options, groups, n_groups, out, &err);
    if (status != MST_OK)
        print_message("%s\n", err.text);
    return status;
}

// Text in a column that nobody names does not matter; a column may serve twice, and the order is that of the names.
static void test_groups(void **state)
{
    (void)state;
    const char *const wide[] = {"c", "a"}, *const deep[] = {"0"}, *const y[] = {"y"}, *const ys[] = {"y", "c"},
                      *const weight[] = {"w"}, *const none[] = {"z"};
    const struct mst_csv_group groups[] = {
        {MST_CSV_FEATURES, wide, 2, false}, {MST_CSV_FEATURES, deep, 1, false}, {MST_CSV_TARGETS, y, 1, false},
        {MST_CSV_TARGETS, ys, 2, false},    {MST_CSV_WEIGHTS, weight, 1, true}, {MST_CSV_TARGETS, none, 1, true},
    };
    const struct mst_csv_options options = {.separator = ';'};
    struct mst_csv_table table;
    assert_int_equal(read_groups("a;text;c;y;w\n1;\"x;\ny, z\";-inf;5;0.5\n2;;3;6;1\n", &options, groups, 6, &table),
                     MST_DATA_LOSS); // -inf among labels
    assert_int_equal(read_groups("a;text;c;y;w\n1;\"x;\ny, z\";4;5;0.5\n2;;3;6.5;1\n", &options, groups, 6, &table),
                     MST_OK);
    assert_int_equal(table.n_rows, 2);
    const float wanted_wide[] = {4, 1, 3, 2}, wanted_deep[] = {1, 2}, wanted_y[] = {5, 6.5f},
                wanted_ys[] = {5, 4, 6.5f, 3}, wanted_w[] = {0.5f, 1};
    assert_memory_equal(table.arrays[0].values, wanted_wide, sizeof wanted_wide);
    assert_memory_equal(table.arrays[1].values, wanted_deep, sizeof wanted_deep);
    assert_null(table.arrays[2].labels);
    assert_memory_equal(table.arrays[2].values, wanted_y, sizeof wanted_y);
    assert_memory_equal(table.arrays[3].values, wanted_ys, sizeof wanted_ys);
    assert_memory_equal(table.arrays[4].values, wanted_w, sizeof wanted_w);
    assert_int_equal(table.arrays[5].n_columns, 0);
    assert_null(table.arrays[5].values);
    mst_csv_table_fini(&table);
}

// Integers until the 300th row, when there is more than one array behind them.
static void test_labels_that_turn_out_to_be_values(void **state)
{
    (void)state;
    enum { N = 1000 };
    char text[16 * N];
    size_t len = (size_t)snprintf(text, sizeof text, "x\ty\n");
    for (int i = 0; i < N; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%d\t%d%s\n", i, i - 300, i == 300 ? ".25" : "");
    const char *const y = "y";
    const struct mst_csv_group groups[] = {{.kind = MST_CSV_FEATURES}, {MST_CSV_TARGETS, &y, 1, false}};
    const struct mst_csv_options options = {.separator = '\t'};
    struct mst_csv_table table;
    assert_int_equal(read_groups(text, &options, groups, 2, &table), MST_OK);
    assert_null(table.arrays[1].labels);
    for (int i = 0; i < N; i++)
        assert_true(table.arrays[1].values[i] == (float)(i - 300) + (i == 300 ? 0.25f : 0.0f));
    mst_csv_table_fini(&table);
}

static void test_words(void **state)
{
    (void)state;
    const struct mst_csv_group all = {.kind = MST_CSV_FEATURES};
    const struct mst_csv_options options = {.is_headless = true}, filled = {.is_headless = true, .fills_missing = true};
    struct mst_csv_table table;
    assert_int_equal(read_groups("inf,-Infinity,nan,+INF\n", &options, &all, 1, &table), MST_OK);
    const float *values = table.arrays[0].values;
    assert_true(values[0] > 0 && isinf(values[0]) && values[1] < 0 && isinf(values[1]) && isnan(values[2]));
    assert_true(values[3] > 0 && isinf(values[3]));
    mst_csv_table_fini(&table);
    assert_int_equal(read_groups("inf,NaN,\"\",1\n", &filled, &all, 1, &table), MST_OK);
    assert_true(table.arrays[0].values[1] == 0.0f && table.arrays[0].values[2] == 0.0f);
    mst_csv_table_fini(&table);
}

// Every number that a fast path could round otherwise: against strtod.
static void test_nearest(void **state)
{
    (void)state;
    static const char *const hard[] = {"9007199254740993",
                                       "9007199254740992",
                                       "1e22",
                                       "1e23",
                                       "8.5e-23",
                                       "123456789012345678",
                                       "0.1e-22",
                                       "1234567890123456789012",
                                       "0.30000000000000004",
                                       "4.9e-324",
                                       "1.7976931348623157e308",
                                       "000000000000000000001.5",
                                       "0.000000000000000000000000000001",
                                       "1e-30",
                                       "-0",
                                       "1.",
                                       ".5",
                                       "+7",
                                       "3.4028235e38",
                                       "1e-50"};
    const struct mst_csv_group all = {.kind = MST_CSV_FEATURES};
    const struct mst_csv_options options = {.is_headless = true};
    uint64_t seed = 88172645463325252u;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < 3000; i++) {
        char text[64];
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        if (i < sizeof hard / sizeof hard[0])
            snprintf(text, sizeof text, "%s", hard[i]);
        else
            snprintf(text, sizeof text, "%llu.%llue%d", (unsigned long long)(seed >> (seed % 64)),
                     (unsigned long long)(seed % 100000), (int)(seed % 40) - 38);
        double want = strtod(text, NULL);
        if (want > 3e38)
            continue;
        struct mst_csv_table table;
        assert_int_equal(read_groups(text, &options, &all, 1, &table), MST_OK);
        float got = table.arrays[0].values[0], wanted = (float)want;
        if (memcmp(&got, &wanted, sizeof got) != 0)
            fail_msg("%s: %.9g, want %.9g", text, (double)got, (double)wanted);
        mst_csv_table_fini(&table);
    }
}

// Every place of a quote, a line end and a separator at the edge of what is read at once.
static void test_edges_of_the_buffer(void **state)
{
    (void)state;
    enum { READ_BYTES = 256 << 10 };
    static const char tail[] = "\",\"1\"\r\n\"a\"\"b\",2\r\n";
    const char *const y = "1";
    const struct mst_csv_group group = {MST_CSV_TARGETS, &y, 1, false};
    const struct mst_csv_options options = {.is_headless = true};
    char *text = malloc(READ_BYTES + 64);
    assert_non_null(text);
    for (size_t shift = 0; shift < sizeof tail + 2; shift++) {
        memset(text, 'x', READ_BYTES + 64);
        text[0] = '"';
        snprintf(text + READ_BYTES - shift, sizeof tail, "%s", tail);
        struct mst_csv_table table;
        assert_int_equal(read_groups(text, &options, &group, 1, &table), MST_OK);
        assert_int_equal(table.n_rows, 2);
        assert_int_equal(table.arrays[0].labels[0], 1);
        assert_int_equal(table.arrays[0].labels[1], 2);
        mst_csv_table_fini(&table);
    }
    free(text);
}

static void test_categories(void **state)
{
    (void)state;
    static const char *const kinds[] = {"rose", "iris", "a \"b\"", "7"}, *const colours[] = {"red", "blue"};
    static const char *const kind = "kind", *const used[] = {"colour", "x"};
    const struct mst_csv_categories categories[] = {{"kind", kinds, 4}, {"0", colours, 2}};
    const struct mst_csv_options options = {.categories = categories, .n_categories = 2, .fills_missing = true};
    const struct mst_csv_group groups[] = {{MST_CSV_FEATURES, used, 2, false}, {MST_CSV_TARGETS, &kind, 1, false}};
    struct mst_csv_table table;
    static const char text[] = "colour,kind,x\n blue ,7,1\nred,\"iris\",2\nblue,\"a \"\"b\"\"\",3\n,rose,4\n";
    assert_int_equal(read_groups(text, &options, groups, 2, &table), MST_OK);
    static const int32_t numbers[] = {3, 1, 2, 0};
    static const float values[] = {1, 1, 0, 2, 1, 3, 0, 4}; // what is missing is 0
    assert_memory_equal(table.arrays[1].labels, numbers, sizeof numbers);
    assert_memory_equal(table.arrays[0].values, values, sizeof values);
    mst_csv_table_fini(&table);
    // Examples to predict come without the labels, and so without their texts.
    struct mst_csv_group alone[] = {groups[0], groups[1]};
    alone[1].is_optional = true;
    assert_int_equal(read_groups("colour,x\nblue,1\n", &options, alone, 2, &table), MST_OK);
    mst_csv_table_fini(&table);
}

static void expect_refused(const char *text, const struct mst_csv_options *options, mst_status want, const char *words)
{
    static const char *const k = "k";
    const struct mst_csv_group groups[] = {{.kind = MST_CSV_FEATURES}, {MST_CSV_TARGETS, &k, 1, false}};
    struct mst_csv_table table;
    struct mst_error err = {0};
    data_file_write(path, FORM_PLAIN, text, strlen(text));
    mst_status status = mst_csv_read(path, options, groups, 2, &table, &err);
    if (status != want || !strstr(err.text, words))
        fail_msg("status %d, text \"%s\"; want status %d and \"%s\"", (int)status, err.text, (int)want, words);
}

static void test_bad_categories(void **state)
{
    (void)state;
    static const char *const texts[] = {"b", "a", "b"};
    struct mst_csv_categories list[] = {{"k", texts, 2}, {"1", texts, 2}};
    struct mst_csv_options options = {.categories = list, .n_categories = 1};
    expect_refused("x,k\n1,a\n1,c\n", &options, MST_DATA_LOSS,
                   ":3:2: column \"k\" holds \"c\", which is none of the column's 2 \"categories\": add it there");
    expect_refused("x,k\n1,\n", &options, MST_DATA_LOSS, "column \"k\" is the label and is empty");
    list[0].n = 3;
    expect_refused("x,k\n1,a\n", &options, MST_INVALID_ARGUMENT, "categories of column \"k\" name \"b\" twice");
    list[0].n = 2;
    options.n_categories = 2;
    expect_refused("x,k\n1,a\n", &options, MST_INVALID_ARGUMENT, "categories names column 2, \"1\", twice");
    list[0].column = "kind";
    expect_refused("x,k\n1,a\n", &options, MST_INVALID_ARGUMENT,
                   "there is no column \"kind\" for categories among its 2; they are x, k");
}

// A column of few short texts is answered with what to write; any other with the way to it.
static void test_suggestions(void **state)
{
    (void)state;
    const struct mst_csv_options options = {0};
    expect_refused(
        "x,k\n1,0\n1,b\n1, a\n1,b\n1,\n", &options, MST_DATA_LOSS,
        ":3:2: column \"k\" holds \"b\", which is no number; give \"categories\": {\"k\": [\"a\", \"b\"]}, or");
    static const char *const wordy = "which is not a decimal number like 1234.5; correct it, leave it empty";
    expect_refused("x,k\n1,\"say \"\"a\"\"\"\n", &options, MST_DATA_LOSS, wordy);
    expect_refused("x,k\n1,a\n1,\"b\n", &options, MST_DATA_LOSS, wordy);
    expect_refused("x,k\n1,a\n1,b234567890123456789012345678901234567890\n", &options, MST_DATA_LOSS, wordy);
    expect_refused("x,k\n1,n/a\n1,2\n", &options, MST_DATA_LOSS, wordy);
    expect_refused("x;k\n1;\"1,5\"\n", &(const struct mst_csv_options){.separator = ';'}, MST_DATA_LOSS, wordy);
    char text[400] = "x,k\n";
    for (int i = 0; i < 21; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "1,text %d\n", i);
    expect_refused(text, &options, MST_DATA_LOSS, wordy);
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
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_categories),
        cmocka_unit_test(test_bad_categories),
        cmocka_unit_test(test_suggestions),
        cmocka_unit_test(test_labels_that_turn_out_to_be_values),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_edges_of_the_buffer),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
