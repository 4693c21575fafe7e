// Every dialect of TF_CONFIG and every sentence it is refused with, from tests/golden/config; and what stands beside
// the printed form in the struct that the roles read.
#include "cli/config.h"
#include "config_cases.h"
#include "muster/status.h"
#include "spec/cluster.h"
#include "spec/tf_config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *golden_path;

// What `muster config` prints, without "job", in one line.
static char *printed(const struct mst_cluster_request *request, mst_status *status, struct mst_error *err)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    *status = mst_config_run(request, NULL, NULL, out, err);
    fclose(out);
    if (*status != MST_OK) {
        assert_int_equal(len, 0); // nothing printed
        return text;
    }
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    assert_true(json_is_null(json_object_get(json, "job")));
    json_object_del(json, "job");
    free(text);
    text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return text;
}

static bool is_as_expected(const struct config_case *c)
{
    const struct mst_cluster_request request = {.tf_config = c->tf_config,
                                                .task_type = c->task_type,
                                                .task_index = c->task_index,
                                                .task_index_from = c->task_index_from,
                                                .hostname = c->hostname};
    struct mst_error err = {""};
    mst_status status;
    if (c->env_name)
        setenv(c->env_name, c->env_value, 1);
    char *text = printed(&request, &status, &err);
    if (c->env_name)
        unsetenv(c->env_name);
    const char *got = status == MST_OK ? text : err.text;
    mst_status wanted = c->outcome == CONFIG_PRINTS ? MST_OK : MST_INVALID_ARGUMENT;
    bool is_right = status == wanted && strcmp(got, c->expected) == 0;
    if (!is_right)
        print_error("== %s\n  wanted %s\n  got    %s (%s)\n", c->name, c->expected, got, mst_status_name(status));
    free(text);
    return is_right;
}

static void test_golden(void **state)
{
    (void)state;
    size_t n = 0, n_wrong = 0;
    struct config_case *cases = config_cases_load(golden_path, &n);
    for (size_t i = 0; i < n; i++)
        n_wrong += !is_as_expected(&cases[i]);
    config_cases_free(cases, n);
    print_message("%zu cases\n", n);
    assert_int_equal(n_wrong, 0);
}

static struct mst_cluster *parse(const char *tf_config)
{
    struct mst_error err = {""};
    struct mst_cluster *cluster = NULL;
    struct mst_cluster_request request = {.tf_config = tf_config};
    if (mst_cluster_parse(&request, &cluster, &err) != MST_OK)
        fail_msg("%s", err.text);
    return cluster;
}

static void test_struct(void **state)
{
    (void)state;
    struct mst_cluster *cluster =
        parse("{\"cluster\": {\"chief\": [\"[::1]:1\"], \"worker\": {\"2\": \"w:3\", \"0\": \"x:2\"},"
              "\"ps\": [\"p:4\"]}, \"task\": {\"type\": \"worker\", \"index\": 2}}");
    assert_int_equal(cluster->role, MST_ROLE_WORKER);
    assert_int_equal(cluster->index, 2);
    assert_string_equal(cluster->address, "w:3");
    assert_string_equal(cluster->chief_address, "[::1]:1");
    assert_string_equal(cluster->jobs[MST_ROLE_CHIEF].tasks[0].host, "::1");
    assert_false(cluster->is_chief);
    assert_false(cluster->chief_trains);
    assert_false(cluster->has_master);
    assert_true(cluster->is_partial);
    assert_int_equal(cluster->n_workers, 2);
    assert_int_equal(cluster->n_ps, 1);
    assert_int_equal(cluster->jobs[MST_ROLE_WORKER].tasks[0].index, 0);
    assert_int_equal(cluster->jobs[MST_ROLE_WORKER].tasks[1].port, 3);
    mst_cluster_free(cluster);
}

// Who coordinates, and whether they train.
static void test_chiefs(void **state)
{
    (void)state;
    static const struct {
        const char *tf_config;
        const char *chief_address;
        bool is_chief, trains;
    } cases[] = {
        {NULL, NULL, true, true},
        {"{\"cluster\": {\"chief\": [\"c:1\"], \"worker\": [\"w:1\"], \"ps\": [\"p:1\"]},"
         "\"task\": {\"type\": \"chief\", \"index\": 0}}",
         "c:1", true, false},
        {"{\"cluster\": {\"master\": [\"m:1\"], \"worker\": [\"w:1\"], \"ps\": [\"p:1\"]},"
         "\"task\": {\"type\": \"master\", \"index\": 0}}",
         "m:1", true, true},
        {"{\"cluster\": {\"worker\": [\"w:1\"], \"ps\": [\"p:1\"]}, \"task\": {\"type\": \"worker\", \"index\": 0}}",
         "w:1", true, true},
        {"{\"cluster\": {\"worker\": [\"w:1\"], \"ps\": [\"p:1\"]}, \"task\": {\"type\": \"ps\", \"index\": 0}}", "w:1",
         false, true},
        {"{\"sparseCluster\": {\"worker\": {\"1\": \"w:1\"}, \"ps\": [\"p:1\"]},"
         "\"task\": {\"type\": \"worker\", \"index\": 1}}",
         NULL, false, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mst_cluster *cluster = parse(cases[i].tf_config);
        assert_int_equal(cluster->is_chief, cases[i].is_chief);
        assert_int_equal(cluster->chief_trains, cases[i].trains);
        if (cases[i].chief_address)
            assert_string_equal(cluster->chief_address, cases[i].chief_address);
        else
            assert_null(cluster->chief_address);
        mst_cluster_free(cluster);
    }
}

static void test_task_lookup(void **state)
{
    (void)state;
    struct mst_error err;
    const struct mst_task *task;
    struct mst_cluster *cluster =
        parse("{\"cluster\": {\"master\": [\"m:1\"], \"worker\": {\"2\": \"w:3\"}, \"ps\": [\"p:4\"]},"
              "\"task\": {\"type\": \"worker\", \"index\": 2}}");
    assert_int_equal(mst_cluster_task(cluster, MST_ROLE_WORKER, 2, &task, &err), MST_OK);
    assert_string_equal(task->address, "w:3");
    assert_int_equal(mst_cluster_task(cluster, MST_ROLE_WORKER, 0, &task, &err), MST_NOT_FOUND);
    assert_string_equal(err.text, "No task with index 0 in job 'worker'");
    assert_null(task);
    assert_int_equal(mst_cluster_task(cluster, MST_ROLE_CHIEF, 3, &task, &err), MST_NOT_FOUND);
    assert_string_equal(err.text, "No task with index 3 in job 'master'");
    assert_int_equal(mst_cluster_task(cluster, MST_ROLE_EVALUATOR, 0, &task, &err), MST_NOT_FOUND);
    assert_string_equal(err.text, "No such job in cluster: 'evaluator'");
    mst_cluster_free(cluster);
}

// What is understood and printed, but cannot train.
static void test_runnable(void **state)
{
    (void)state;
    static const struct {
        const char *tf_config, *refusal;
    } cases[] = {
        {NULL, NULL},
        {"{\"cluster\": {\"worker\": {}, \"ps\": [\"p:1\"]}, \"task\": {\"type\": \"ps\", \"index\": 1}}", NULL},
        {"{\"cluster\": {\"worker\": {\"1\": \"w:1\"}, \"ps\": [\"p:1\"]}, \"task\": {\"type\": \"worker\", \"index\": "
         "1}}",
         NULL},
        {"{\"cluster\": {\"worker\": {}, \"ps\": []}, \"task\": {\"type\": \"evaluator\", \"index\": 0}}",
         "TF_CONFIG: the evaluator sees no ps, as TFJob's enableDynamicWorker makes it; it must see every ps: turn "
         "enableDynamicWorker off, or leave the evaluator out: the chief evaluates then"},
        {"{\"cluster\": {\"worker\": {}, \"ps\": []}, \"task\": {\"type\": \"chief\", \"index\": 0}}",
         "TF_CONFIG: the cluster that chief sees is empty, as TFJob's enableDynamicWorker makes it; a chief must see "
         "every "
         "ps: turn enableDynamicWorker off, or leave the chief out so that worker 0 is it"},
        {"{\"sparseCluster\": {\"worker\": {}, \"ps\": []}, \"task\": {\"type\": \"master\", \"index\": 0}}",
         "TF_CONFIG: the cluster that master sees is empty, as TFJob's enableDynamicWorker makes it; a chief must see "
         "every "
         "ps: turn enableDynamicWorker off, or leave the chief out so that worker 0 is it"},
        {"{\"cluster\": {\"worker\": {\"1\": \"w:1\"}, \"ps\": []}, \"task\": {\"type\": \"worker\", \"index\": 1}}",
         "TF_CONFIG: There must be at least one ps."},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mst_error err = {""};
        struct mst_cluster *cluster = parse(cases[i].tf_config);
        mst_status status = mst_cluster_check_runnable(cluster, &err);
        assert_int_equal(status, cases[i].refusal ? MST_INVALID_ARGUMENT : MST_OK);
        if (cases[i].refusal)
            assert_string_equal(err.text, cases[i].refusal);
        mst_cluster_free(cluster);
    }
}

// {"cluster": {"worker": ["h0:1", "h1:1", …], "ps": […]}} of so many tasks each.
static char *large_config(size_t n)
{
    json_t *workers = json_array(), *ps = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(workers, json_sprintf("w%zu:1", i));
        json_array_append_new(ps, json_sprintf("p%zu:1", i));
    }
    json_t *root = json_pack("{s:{s:o, s:o}, s:{s:s, s:i}}", "cluster", "worker", workers, "ps", ps, "task", "type",
                             "ps", "index", (int)n - 1);
    char *text = json_dumps(root, 0);
    json_decref(root);
    return text;
}

static void test_limits(void **state)
{
    (void)state;
    struct mst_error err;
    char *text = large_config(MST_CLUSTER_MAX_TASKS);
    struct mst_cluster *cluster = parse(text);
    assert_int_equal(cluster->n_workers, MST_CLUSTER_MAX_TASKS);
    assert_string_equal(cluster->address, "p4095:1");
    mst_cluster_free(cluster);
    free(text);
    text = large_config(MST_CLUSTER_MAX_TASKS + 1);
    struct mst_cluster_request request = {.tf_config = text};
    assert_int_equal(mst_cluster_parse(&request, &cluster, &err), MST_INVALID_ARGUMENT);
    assert_string_equal(err.text, "TF_CONFIG: cluster.ps has 4097 tasks, the limit is 4096");
    assert_null(cluster);
    free(text);
}

// A text too long for one sentence is cut, not overrun; err may be NULL.
static void test_long_texts(void **state)
{
    (void)state;
    char text[8000], filler[3000];
    memset(filler, 'x', sizeof filler - 1);
    filler[sizeof filler - 1] = '\0';
    static const char *const formats[] = {
        "{\"cluster\": {\"%s\": 1}}",
        "{\"cluster\": {\"%s\": [\"w:1\"]}}",
        "{\"cluster\": {\"worker\": [\"%s\"], \"ps\": [\"p:1\"]}, \"task\": {\"type\": \"ps\", \"index\": 0}}",
        "{\"cluster\": {\"worker\": [[\"%s\"]]}}",
        "{\"cluster\": {\"worker\": {\"%s\": \"w:1\"}}}",
        "{\"cluster\": {\"worker\": [\"w:1\"]}, \"task\": {\"type\": \"%s\"}}",
        "{\"cluster\": {\"worker\": [\"w:1\"]}, \"task\": {\"index\": \"%s\"}}",
    };
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        struct mst_error err = {""};
        struct mst_cluster *cluster;
        int len = snprintf(text, 1, formats[i], filler);
        assert_true(len > 0 && (size_t)len < sizeof text);
        snprintf(text, sizeof text, formats[i], filler);
        struct mst_cluster_request request = {.tf_config = text};
        assert_int_equal(mst_cluster_parse(&request, &cluster, &err), MST_INVALID_ARGUMENT);
        assert_true(strlen(err.text) < sizeof err.text);
        assert_int_equal(strncmp(err.text, "TF_CONFIG", 9), 0);
        assert_int_equal(mst_cluster_parse(&request, &cluster, NULL), MST_INVALID_ARGUMENT);
    }
}

static void test_onlookers_need_no_task(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"cluster\": {\"chief\": [\"c:1\"], \"ps\": [\"p:1\", \"q:2\"], \"worker\": [\"w:1\"]}}",
        "{\"cluster\": {\"chief\": [\"c:1\"], \"ps\": [\"p:1\", \"q:2\"], \"worker\": [\"w:1\"]}, \"task\": 7}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct mst_error err = {""};
        struct mst_cluster *cluster;
        struct mst_cluster_request request = {.tf_config = texts[i]};
        assert_int_equal(mst_cluster_parse(&request, &cluster, &err), MST_INVALID_ARGUMENT);
        request.is_onlooker = true;
        if (mst_cluster_parse(&request, &cluster, &err) != MST_OK)
            fail_msg("%s", err.text);
        assert_int_equal(cluster->role, MST_ROLE_LOCAL);
        assert_int_equal(cluster->jobs[MST_ROLE_PS].n_tasks, 2);
        assert_string_equal(cluster->jobs[MST_ROLE_PS].tasks[1].host, "q");
        assert_int_equal(cluster->n_workers, 1);
        mst_cluster_free(cluster);
    }
    struct mst_error err = {""};
    struct mst_cluster *cluster;
    struct mst_cluster_request bad = {.tf_config = "{\"cluster\": {\"ps\": [\"p:x\"]}}", .is_onlooker = true};
    assert_int_equal(mst_cluster_parse(&bad, &cluster, &err), MST_INVALID_ARGUMENT);
    assert_null(cluster);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    golden_path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),     cmocka_unit_test(test_struct),
        cmocka_unit_test(test_chiefs),     cmocka_unit_test(test_task_lookup),
        cmocka_unit_test(test_runnable),   cmocka_unit_test(test_limits),
        cmocka_unit_test(test_long_texts), cmocka_unit_test(test_onlookers_need_no_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
