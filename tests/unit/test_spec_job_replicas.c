// Copies of shards on other servers: what they do not go with, and how many there may be.
#include "muster/status.h"
#include "spec/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char text[] = "{\"name\": \"tiny\", \"model\": \"model.json\", \"replicas\": 2,"
                           "\"compile\": {\"optimizer\": \"sgd\", \"loss\": \"mse\"},"
                           "\"data\": {\"train\": {\"features\": \"x.idx\", \"labels\": \"y.idx\"}}}";

static mst_status parse(const char *set, struct mst_job **out, struct mst_error *err)
{
    struct mst_job_request request = {
        .path = "a/job.json", .sets = &set, .n_sets = set != NULL, .current_dir = "/here"};
    return mst_job_parse(&request, text, strlen(text), out, err);
}

static void test_what_they_go_with(void **state)
{
    (void)state;
    static const char *const sets[] = {NULL, "consistency.staleness=1", "checkpoint.local=false"};
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        struct mst_job *job = NULL;
        struct mst_error err;
        assert_int_equal(parse(sets[i], &job, &err), MST_OK);
        assert_int_equal(job->replicas, 2);
        mst_job_free(job);
    }
}

static void test_what_they_exclude(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"checkpoint.local=true",
         "--set: checkpoint.local keeps each server's part on its own disk, and with replicas shards move to other "
         "servers: use a checkpoint.dir that all share"},
        {"replicas=3", "--set: replicas is 3, must be from 0 to 2"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct mst_job *job = NULL;
        struct mst_error err = {""};
        assert_int_equal(parse(rows[i][0], &job, &err), MST_INVALID_ARGUMENT);
        assert_string_equal(err.text, rows[i][1]);
        assert_null(job);
    }
}

static void test_more_copies_than_servers(void **state)
{
    (void)state;
    char file[] = "a/job.json";
    struct mst_job job = {.file = file};
    struct mst_error err;
    assert_int_equal(mst_job_check_ps(&job, 1, &err), MST_OK);
    job.replicas = 2;
    assert_int_equal(mst_job_check_ps(&job, 3, &err), MST_OK);
    assert_int_equal(mst_job_check_ps(&job, 2, &err), MST_INVALID_ARGUMENT);
    assert_string_equal(err.text,
                        "replicas is 2, must be less than the number of parameter servers, which is 2: start more of "
                        "them, or set less (in a/job.json or with --set)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_they_go_with),
        cmocka_unit_test(test_what_they_exclude),
        cmocka_unit_test(test_more_copies_than_servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
