// Predictions as text: both formats, shapes, numbers that are not finite, and a file that is whole or not there.
#include "base/alloc.h"
#include "base/bytes.h"
#include "cli/predictions.h"
#include "muster/status.h"
#include "tensor/shape.h"
#include "tfio/disk_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *folder;
static char *path;
static char *temporary;

static int set_up(void **state)
{
    (void)state;
    const char *root = getenv("TMPDIR");
    folder = mst_text("%s/muster-predictions-XXXXXX", root ? root : "/tmp");
    assert_non_null(mkdtemp(folder));
    path = mst_text("%s/out", folder);
    temporary = mst_text("%s.tmp", path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    unlink(temporary);
    rmdir(folder);
    free(temporary);
    free(path);
    free(folder);
    return 0;
}

static void expect_file(const char *name, const char *want)
{
    struct mst_buf content;
    assert_int_equal(mst_disk_read(name, 1 << 20, &content, NULL), MST_OK);
    assert_int_equal(content.len, strlen(want));
    assert_memory_equal(content.data, want, content.len);
    mst_buf_fini(&content);
}

static mst_status new_of_one(const char *to, enum mst_predictions_format format, const struct mst_shape *shape,
                             struct mst_predictions **out, struct mst_error *err)
{
    const struct mst_predictions_output output = {"out", *shape};
    return mst_predictions_new(to, format, &output, 1, out, err);
}

static mst_status add_to_one(struct mst_predictions *predictions, const float *values, size_t n_examples,
                             struct mst_error *err)
{
    return mst_predictions_add(predictions, &values, n_examples, err);
}

static void expect_text(enum mst_predictions_format format, const struct mst_shape *shape, const float *values,
                        size_t n_examples, const char *want)
{
    struct mst_predictions *predictions;
    struct mst_error err = {0};
    assert_int_equal(new_of_one(path, format, shape, &predictions, &err), MST_OK);
    assert_int_equal(add_to_one(predictions, values, n_examples, &err), MST_OK);
    assert_int_equal(mst_predictions_close(predictions, &err), MST_OK);
    expect_file(path, want);
    assert_int_not_equal(access(temporary, F_OK), 0);
}

static void test_formats(void **state)
{
    (void)state;
    const struct mst_shape vector = {.rank = 1, .dims = {3}};
    const float values[] = {0.5f, -1.0f, 1e-20f, 0.1f, 16777217.0f, 3.0f};
    expect_text(MST_PREDICTIONS_CSV, &vector, values, 2,
                "0.5,-1,9.99999968e-21\n"
                "0.100000001,16777216,3\n");
    expect_text(MST_PREDICTIONS_JSONL, &vector, values, 2,
                "[0.5, -1, 9.99999968e-21]\n"
                "[0.100000001, 16777216, 3]\n");
    const struct mst_shape scalar = {.rank = 0};
    expect_text(MST_PREDICTIONS_CSV, &scalar, values, 2, "0.5\n-1\n");
    expect_text(MST_PREDICTIONS_JSONL, &scalar, values, 2, "0.5\n-1\n");
    const struct mst_shape none = {.rank = 1, .dims = {1}};
    expect_text(MST_PREDICTIONS_JSONL, &none, values, 1, "[0.5]\n");
    expect_text(MST_PREDICTIONS_CSV, &none, values, 0, "");
}

static void test_nested_shapes(void **state)
{
    (void)state;
    const struct mst_shape cube = {.rank = 3, .dims = {2, 1, 2}};
    const float values[] = {1, 2, 3, 4, 5, 6, 7, 8};
    expect_text(MST_PREDICTIONS_JSONL, &cube, values, 2, "[[[1, 2]], [[3, 4]]]\n[[[5, 6]], [[7, 8]]]\n");
    expect_text(MST_PREDICTIONS_CSV, &cube, values, 2, "1,2,3,4\n5,6,7,8\n");
}

static void test_several_outputs(void **state)
{
    (void)state;
    const struct mst_predictions_output outputs[] = {
        {"kind", {.rank = 1, .dims = {2}}}, {"weight", {.rank = 0}}, {"a\"b", {.rank = 2, .dims = {1, 2}}}};
    const float kinds[] = {1, 2, 3, 4}, weights[] = {5, NAN}, more[] = {6, 7, 8, 9};
    const float *const values[] = {kinds, weights, more};
    static const char *const wanted[] = {"kind_0,kind_1,weight_0,a\"b_0,a\"b_1\n1,2,5,6,7\n3,4,nan,8,9\n",
                                         "{\"kind\": [1, 2], \"weight\": 5, \"a?b\": [[6, 7]]}\n"
                                         "{\"kind\": [3, 4], \"weight\": null, \"a?b\": [[8, 9]]}\n"};
    for (int format = MST_PREDICTIONS_CSV; format <= MST_PREDICTIONS_JSONL; format++) {
        struct mst_predictions *predictions;
        assert_int_equal(mst_predictions_new(path, (enum mst_predictions_format)format, outputs, 3, &predictions, NULL),
                         MST_OK);
        assert_int_equal(mst_predictions_add(predictions, values, 2, NULL), MST_OK);
        assert_int_equal(mst_predictions_close(predictions, NULL), MST_OK);
        expect_file(path, wanted[format]);
    }
}

static void test_not_finite(void **state)
{
    (void)state;
    const struct mst_shape vector = {.rank = 1, .dims = {3}};
    const float values[] = {NAN, INFINITY, -INFINITY};
    expect_text(MST_PREDICTIONS_JSONL, &vector, values, 1, "[null, null, null]\n");
    expect_text(MST_PREDICTIONS_CSV, &vector, values, 1, "nan,inf,-inf\n");
}

// More than is gathered before it is handed on, in several calls.
static void test_many_examples(void **state)
{
    (void)state;
    enum { N_CALLS = 50, N_EXAMPLES = 1000 };
    const struct mst_shape vector = {.rank = 1, .dims = {2}};
    static float values[N_EXAMPLES][2];
    for (size_t i = 0; i < N_EXAMPLES; i++)
        values[i][0] = values[i][1] = 0.25f;
    struct mst_predictions *predictions;
    assert_int_equal(new_of_one(path, MST_PREDICTIONS_CSV, &vector, &predictions, NULL), MST_OK);
    for (size_t i = 0; i < N_CALLS; i++)
        assert_int_equal(add_to_one(predictions, values[0], N_EXAMPLES, NULL), MST_OK);
    assert_int_equal(mst_predictions_close(predictions, NULL), MST_OK);
    struct mst_buf content;
    assert_int_equal(mst_disk_read(path, 1 << 20, &content, NULL), MST_OK);
    const char line[] = "0.25,0.25\n";
    size_t line_len = sizeof line - 1;
    assert_int_equal(content.len, N_CALLS * N_EXAMPLES * line_len);
    for (size_t at = 0; at < content.len; at += line_len)
        assert_memory_equal(content.data + at, line, line_len);
    mst_buf_fini(&content);
}

static void test_the_old_file_stays(void **state)
{
    (void)state;
    const struct mst_shape vector = {.rank = 1, .dims = {1}};
    const float values[] = {1, 2};
    expect_text(MST_PREDICTIONS_CSV, &vector, values, 2, "1\n2\n");
    struct mst_predictions *predictions;
    assert_int_equal(new_of_one(path, MST_PREDICTIONS_CSV, &vector, &predictions, NULL), MST_OK);
    assert_int_equal(add_to_one(predictions, values, 1, NULL), MST_OK);
    expect_file(path, "1\n2\n");
    mst_predictions_abort(predictions);
    expect_file(path, "1\n2\n");
    assert_int_not_equal(access(temporary, F_OK), 0);
}

static void test_refusals(void **state)
{
    (void)state;
    struct mst_predictions *predictions;
    struct mst_error err = {0};
    const struct mst_shape empty = {.rank = 2, .dims = {3, 0}};
    assert_int_equal(new_of_one(path, MST_PREDICTIONS_CSV, &empty, &predictions, &err), MST_INVALID_ARGUMENT);
    assert_null(predictions);
    const struct mst_shape vector = {.rank = 1, .dims = {1}};
    assert_int_equal(new_of_one("/nonexistent/p.csv", MST_PREDICTIONS_CSV, &vector, &predictions, &err), MST_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nonexistent/p.csv"));
    assert_null(predictions);
    // A name that is a folder, before or only at the end: nothing is left beside it.
    assert_int_equal(new_of_one(folder, MST_PREDICTIONS_CSV, &vector, &predictions, &err), MST_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "is a directory; name a file in it"));
    assert_null(predictions);
    char *late = mst_text("%s/late", folder);
    assert_int_equal(new_of_one(late, MST_PREDICTIONS_CSV, &vector, &predictions, &err), MST_OK);
    assert_int_equal(mkdir(late, 0700), 0);
    assert_int_not_equal(mst_predictions_close(predictions, &err), MST_OK);
    assert_int_equal(rmdir(late), 0);
    free(late);
    char *beside = mst_text("%s.tmp", folder);
    assert_int_not_equal(access(beside, F_OK), 0);
    free(beside);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),         cmocka_unit_test(test_nested_shapes),
        cmocka_unit_test(test_several_outputs), cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_many_examples),   cmocka_unit_test(test_the_old_file_stays),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
