// The table of two moments: rates, widths, roles that are not there, and pages that hold nonsense.
#include "cli/top_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static struct mst_http_get page(int code, const char *body)
{
    return (struct mst_http_get){.code = code, .body = {body, strlen(body)}, .why = "Connection refused"};
}

static int chief_code = 503; // of its /readyz

static void add(struct mst_top_snapshot *snapshot, const char *name, const char *address, const char *metrics)
{
    struct mst_http_get answer = page(metrics ? 200 : 0, metrics ? metrics : "");
    bool is_chief = strcmp(name, "chief-0") == 0;
    struct mst_http_get ready =
        page(is_chief ? chief_code : 200, is_chief ? "waiting for ps-1 (refused, 12 s)\n" : "ready\n");
    mst_top_snapshot_add(snapshot, name, address, &answer, &ready);
}

static const char *more; // metrics of the chief

// A job at `second`, its counters growing.
static struct mst_top_snapshot job_at(int second)
{
    struct mst_top_snapshot snapshot = {.at_seconds = second};
    char text[1024];
    snprintf(text, sizeof text,
             "muster_ps_bucket_bytes{thread=\"0\",bucket=\"10\"} 2048\n"
             "muster_ps_bucket_version{thread=\"0\",bucket=\"10\"} %d\n"
             "muster_ps_bucket_pushes_total{thread=\"0\",bucket=\"10\"} %d\n"
             "muster_ps_bucket_staleness_total{thread=\"0\",bucket=\"10\"} %d\n"
             "muster_ps_bucket_bytes{thread=\"1\",bucket=\"2\"} 1e6\n",
             100 * second, 50 * second, 75 * second);
    add(&snapshot, "ps-0", "a:1", text);
    snprintf(text, sizeof text,
             "muster_info{role=\"worker\",index=\"10\",job=\"my \\\"job\\\"\"} 1\nmuster_worker_steps_total %d\n"
             "muster_worker_examples_total %d\nprocess_cpu_seconds_total %d\n"
             "process_resident_memory_bytes 52428800\n",
             12345 * second, 64 * 12345 * second, second);
    add(&snapshot, "", "a:2", text);
    add(&snapshot, "worker-9", "a:3", NULL);
    snprintf(text, sizeof text,
             "muster_chief_epoch 2\nmuster_chief_epochs 5\nmuster_chief_step %d\nmuster_chief_steps 900\n"
             "muster_chief_loss 0.25\nmuster_chief_examples_per_second 1234.5\n%s",
             10 * second, more ? more : "");
    add(&snapshot, "chief-0", "a:4", text);
    mst_top_snapshot_sort(&snapshot);
    return snapshot;
}

static char *printed(const struct mst_top_snapshot *before, const struct mst_top_snapshot *now, size_t columns,
                     size_t rows)
{
    char *text = NULL;
    size_t len;
    FILE *file = open_memstream(&text, &len);
    assert_non_null(file);
    struct mst_top_style style = {.columns = columns, .rows = rows};
    mst_top_print(before, now, &style, file);
    assert_int_equal(fclose(file), 0);
    return text;
}

static void test_the_table(void **state)
{
    (void)state;
    struct mst_top_snapshot before = job_at(10);
    struct mst_top_snapshot now = job_at(12);
    char *text = printed(&before, &now, 80, 0);
    assert_string_equal(text, "my \"job\"  epoch 2/5  step 120/900  1234 examples/s  loss 0.2500\n"
                              "\n"
                              "ROLE          STEPS/s EXAMPL./s  CPU%   MEMORY     IN/s    OUT/s  STATE\n"
                              "chief-0      waiting for ps-1 (refused, 12 s)\n"
                              "worker-9     unreachable at a:3: Connection refused\n"
                              "worker-10      12.3 k     790 k   100   50.0 M        0        0  ready\n"
                              "ps-0                -         -     0        -        0        0  ready\n"
                              "\n"
                              "BUCKET   PS       THREAD     BYTES      VERSION  PUSHES/s  STALENESS\n"
                              "2        ps-0          1     977 k            0         0          -\n"
                              "10       ps-0          0      2048         1200        50        1.5\n");
    free(text);
    text = printed(&before, &now, 40, 9);
    assert_string_equal(text, "my \"job\"  epoch 2/5  step 120/900  1234\n"
                              "\n"
                              "ROLE          STEPS/s EXAMPL./s  CPU%\n"
                              "chief-0      waiting for ps-1 (refused,\n"
                              "worker-9     unreachable at a:3: Connect\n"
                              "worker-10      12.3 k     790 k   100\n"
                              "ps-0                -         -     0\n"
                              "\n"
                              "BUCKET   PS       THREAD     BYTES\n");
    free(text);
    text = printed(&before, &now, 80, 10);
    assert_non_null(strstr(text, "\n… and 2 more buckets\n"));
    free(text);
    mst_top_snapshot_fini(&before);
    mst_top_snapshot_fini(&now);
}

// The chief of a job under way is ready whatever it waits for.
static void test_one_that_is_ready_and_waits(void **state)
{
    (void)state;
    chief_code = 200;
    struct mst_top_snapshot before = job_at(10);
    struct mst_top_snapshot now = job_at(12);
    chief_code = 503;
    char *text = printed(&before, &now, 80, 0);
    assert_non_null(strstr(text, "\nchief-0      waiting for ps-1 (refused, 12 s)\n"));
    free(text);
    mst_top_snapshot_fini(&before);
    mst_top_snapshot_fini(&now);
}

static void test_replicas(void **state)
{
    (void)state;
    more = "muster_redundancy_full 1\nmuster_roles_term 3\nmuster_roles_epoch 12\n"
           "muster_group_primary{group=\"1\"} 1\nmuster_group_primary{group=\"0\"} 0\n";
    struct mst_top_snapshot before = job_at(10);
    char *text = printed(&before, &before, 80, 0);
    assert_non_null(strstr(text, "loss 0.2500\nredundancy full  roles 3.12  all groups at home\n\nROLE"));
    free(text);
    more = "muster_redundancy_full 0\nmuster_roles_term 3\nmuster_roles_epoch 14\n"
           "muster_group_primary{group=\"2\"} -1\nmuster_group_primary{group=\"0\"} 1\n"
           "muster_group_primary{group=\"1\"} 1\n";
    struct mst_top_snapshot now = job_at(12);
    more = NULL;
    text = printed(&before, &now, 80, 0);
    assert_non_null(strstr(text, "\nredundancy not full  roles 3.14  group 0: ps-1  group 2: lost\n\nROLE"));
    free(text);
    json_t *json = mst_top_json(&before, &now);
    char *dump = json_dumps(json_object_get(json_object_get(json, "job"), "replicas"), JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(dump, "{\"epoch\":14,\"primaries\":[1,1,null],\"redundancy_full\":false,\"term\":3}");
    free(dump);
    json_decref(json);
    mst_top_snapshot_fini(&before);
    mst_top_snapshot_fini(&now);
}

static void test_json(void **state)
{
    (void)state;
    struct mst_top_snapshot before = job_at(10);
    struct mst_top_snapshot now = job_at(12);
    json_t *json = mst_top_json(&before, &now);
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "job"), "name")), "my \"job\"");
    const json_t *roles = json_object_get(json, "roles");
    assert_int_equal(json_array_size(roles), 4);
    const json_t *lost = json_array_get(roles, 1);
    assert_true(json_is_false(json_object_get(lost, "up")));
    assert_string_equal(json_string_value(json_object_get(lost, "state")), "unreachable at a:3: Connection refused");
    const json_t *worker = json_array_get(roles, 2);
    assert_true(json_real_value(json_object_get(worker, "steps_per_second")) == 12345);
    const json_t *buckets = json_object_get(json_array_get(roles, 3), "buckets");
    assert_int_equal(json_array_size(buckets), 2);
    assert_true(json_real_value(json_object_get(json_array_get(buckets, 1), "staleness_mean")) == 1.5);
    json_decref(json);
    mst_top_snapshot_fini(&before);
    mst_top_snapshot_fini(&now);
}

// What a stranger's page says can spoil its own line and nothing else.
static void test_nonsense(void **state)
{
    (void)state;
    struct mst_top_snapshot before = {.at_seconds = 1};
    struct mst_top_snapshot now = {.at_seconds = 2};
    add(&now, "", "b:1",
        "muster_info{role=\"\xff\x1b[2J\",index=\"x\"} 1\nmuster_worker_steps_total 1e300\n"
        "process_resident_memory_bytes 1e300\nmuster_ps_bucket_version{bucket=\"99999999999999999999\"} -1e300\n"
        "muster_chief_steps NaN\nmuster_chief_loss Inf\n");
    struct mst_http_get refused = page(404, "not here");
    mst_top_snapshot_add(&now, "ps-7", "b:2", &refused, &refused);
    char *text = printed(&before, &now, 80, 0);
    assert_null(strchr(text, '\x1b'));
    assert_non_null(strstr(text, "ps-7         no metrics at b:2: it answers 404\n"));
    for (const char *line = text; *line; line = strchr(line, '\n') + 1)
        assert_true(strcspn(line, "\n") <= 3 * 80);
    free(text);
    json_t *json = mst_top_json(&before, &now);
    assert_non_null(json);
    char *dump = json_dumps(json, 0);
    assert_non_null(dump);
    free(dump);
    json_decref(json);
    mst_top_snapshot_fini(&now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_table), cmocka_unit_test(test_one_that_is_ready_and_waits),
        cmocka_unit_test(test_replicas),  cmocka_unit_test(test_json),
        cmocka_unit_test(test_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
