// The texts of a column in data.train and data.eval: what is kept of them, and each sentence of refusal.
#include "muster/status.h"
#include "spec/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static mst_status parse(const char *train, struct mst_job **out, struct mst_error *err)
{
    char text[1000];
    snprintf(text, sizeof text,
             "{\"name\": \"tiny\", \"model\": \"m.json\", \"compile\": {\"optimizer\": \"sgd\", \"loss\": \"mse\"}, "
             "\"data\": {\"train\": %s}}",
             train);
    const struct mst_job_request request = {.path = "a/job.json", .current_dir = "/here"};
    return mst_job_parse(&request, text, strlen(text), out, err);
}

static void test_categories(void **state)
{
    (void)state;
    struct mst_error err = {""};
    struct mst_job *job;
    assert_int_equal(parse("{\"format\": \"csv\", \"features\": \"f\", \"label\": \"y\", "
                           "\"categories\": {\"y\": [\"b\", \"a\"], \"2\": [\"c\"]}}",
                           &job, &err),
                     MST_OK);
    assert_int_equal(job->train.n_categories, 2);
    assert_string_equal(job->train.categories[0].name, "y");
    assert_int_equal(job->train.categories[0].n_columns, 2);
    assert_string_equal(job->train.categories[0].columns[0], "b");
    assert_string_equal(job->train.categories[0].columns[1], "a");
    assert_string_equal(job->train.categories[1].columns[0], "c");
    mst_job_free(job);
    assert_int_equal(parse("{\"format\": \"csv\", \"features\": \"f\", \"label\": \"y\"}", &job, &err), MST_OK);
    assert_int_equal(job->train.n_categories, 0);
    mst_job_free(job);
}

static void test_wrong_categories(void **state)
{
    (void)state;
    static const char of_csv[] = "{\"format\": \"csv\", \"features\": \"f\", \"label\": 4, \"categories\": %s}",
                      of_idx[] = "{\"features\": \"f\", \"labels\": \"l\", \"categories\": %s}",
                      not_texts[] = "data.train.categories.k must be a list of 1 to 1048576 texts, each read as its "
                                    "place from 0";
    static const char *const rows[][3] = {
        {of_csv, "{\"k\": [\"a\", 1]}", not_texts},
        {of_csv, "{\"k\": [\"a\", \"\"]}", not_texts},
        {of_csv, "{\"k\": []}", not_texts},
        {of_csv, "{\"k\": \"a\"}", not_texts},
        {of_csv, "{\"k\": null}", not_texts},
        {of_csv, "[\"a\"]", "data.train.categories is a list ([\"a\"]), must be an object"},
        {of_idx, "{}",
         "data.train.categories does not belong to format \"idx\": leave it out; labels says where the labels are"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char train[300], wanted[300];
        struct mst_error err = {""};
        struct mst_job *job;
        snprintf(train, sizeof train, "%.*s%s%s", (int)(strstr(rows[i][0], "%s") - rows[i][0]), rows[i][0], rows[i][1],
                 strstr(rows[i][0], "%s") + 2);
        snprintf(wanted, sizeof wanted, "a/job.json: %s", rows[i][2]);
        assert_int_equal(parse(train, &job, &err), MST_INVALID_ARGUMENT);
        assert_string_equal(err.text, wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_categories),
        cmocka_unit_test(test_wrong_categories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
