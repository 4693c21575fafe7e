// Ports, TF_CONFIG and logs of a local cluster, without starting it.
#include "base/alloc.h"
#include "base/cpus.h"
#include "cli/local_cluster.h"
#include "spec/tf_config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/muster-cluster-XXXXXX";
static struct mst_local_cluster *cluster;

static int set_up_all(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; cluster && i < cluster->n_tasks; i++)
        unlink(cluster->tasks[i].log_path);
    mst_local_cluster_free(cluster);
    cluster = NULL;
    return 0;
}

static int tear_down_all(void **state)
{
    (void)state;
    return rmdir(folder);
}

static int new_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        abort();
    return fd;
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = new_socket();
    int result = connect(fd, (const struct sockaddr *)&address, sizeof address);
    close(fd);
    return result;
}

static void test_every_port_listens_before_anybody_runs(void **state)
{
    (void)state;
    const struct mst_local_options options = {.n_workers = 3, .n_ps = 2};
    struct mst_error err = {0};
    assert_int_equal(mst_local_cluster_new(&options, folder, 1, &cluster, &err), MST_OK);
    static const char *const names[] = {"chief-0", "ps-0", "ps-1", "worker-0", "worker-1", "worker-2"};
    assert_int_equal(cluster->n_tasks, sizeof names / sizeof *names);
    for (size_t i = 0; i < cluster->n_tasks; i++) {
        const struct mst_local_task *task = &cluster->tasks[i];
        assert_string_equal(task->name, names[i]);
        assert_int_equal(task->pid, 0);
        assert_int_not_equal(task->http_port, 0); // held, not listened on
        assert_int_not_equal(connect_to(task->http_port), 0);
        assert_int_equal(connect_to(task->port), 0);
        struct stat log;
        assert_int_equal(stat(task->log_path, &log), 0);
        assert_int_equal(log.st_size, 0);
    }
}

// Each process's TF_CONFIG is one that `muster run` understands, and all name the same addresses.
static void test_tf_config(void **state)
{
    (void)state;
    const struct mst_local_options options = {.n_workers = 2, .n_ps = 1, .n_evaluators = 1};
    struct mst_error err = {0};
    assert_int_equal(mst_local_cluster_new(&options, folder, 1, &cluster, &err), MST_OK);
    assert_int_equal(cluster->n_tasks, 5);
    for (size_t i = 0; i < cluster->n_tasks; i++) {
        char *text = mst_local_cluster_tf_config(cluster, i);
        struct mst_cluster_request request = {.tf_config = text};
        struct mst_cluster *parsed;
        assert_int_equal(mst_cluster_parse(&request, &parsed, &err), MST_OK);
        assert_string_equal(mst_cluster_role_name(parsed), mst_task_role_name(cluster->tasks[i].role));
        assert_int_equal(parsed->index, cluster->tasks[i].index);
        assert_int_equal(parsed->is_chief, i == 0);
        char address[32];
        snprintf(address, sizeof address, "127.0.0.1:%u", cluster->tasks[i].port);
        assert_string_equal(parsed->address, address);
        snprintf(address, sizeof address, "127.0.0.1:%u", cluster->tasks[0].port);
        assert_string_equal(parsed->chief_address, address);
        assert_int_equal(parsed->jobs[MST_ROLE_WORKER].n_tasks, 2);
        assert_int_equal(parsed->jobs[MST_ROLE_PS].n_tasks, 1);
        mst_cluster_free(parsed);
        free(text);
    }
}

static bool has_variable(const char *setting)
{
    for (char **variable = cluster->envp; *variable; variable++)
        if (strcmp(*variable, setting) == 0)
            return true;
    return false;
}

static void test_environment(void **state)
{
    (void)state;
    const struct mst_local_options options = {.n_workers = 1, .n_ps = 1};
    struct mst_error err = {0};
    setenv("TF_CONFIG", "{\"cluster\": {}}", 1);
    setenv("MUSTER_TEST_KEPT", "yes", 1);
    unsetenv("MUSTER_STARTED_NS");
    unsetenv("OPENBLAS_NUM_THREADS");
    assert_int_equal(mst_local_cluster_new(&options, folder, 123, &cluster, &err), MST_OK);
    assert_true(has_variable("MUSTER_TEST_KEPT=yes"));
    assert_true(has_variable("MUSTER_STARTED_NS=123"));
    assert_true(has_variable("OPENBLAS_NUM_THREADS=1"));
    assert_false(has_variable("TF_CONFIG={\"cluster\": {}}"));
    tear_down(NULL);
    // Who started us may know both better.
    setenv("MUSTER_STARTED_NS", "99", 1);
    setenv("OPENBLAS_NUM_THREADS", "2", 1);
    assert_int_equal(mst_local_cluster_new(&options, folder, 123, &cluster, &err), MST_OK);
    assert_true(has_variable("MUSTER_STARTED_NS=99"));
    assert_false(has_variable("MUSTER_STARTED_NS=123"));
    assert_true(has_variable("OPENBLAS_NUM_THREADS=2"));
    unsetenv("TF_CONFIG");
    unsetenv("MUSTER_STARTED_NS");
    unsetenv("OPENBLAS_NUM_THREADS");
}

// A port that somebody listens on, and his descriptor.
static uint16_t taken_port(int *fd_out)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    *fd_out = new_socket();
    assert_int_equal(bind(*fd_out, (const struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(*fd_out, 1), 0);
    assert_int_equal(getsockname(*fd_out, (struct sockaddr *)&address, &len), 0);
    return ntohs(address.sin_port);
}

static void test_http_port_in_use(void **state)
{
    (void)state;
    int fd;
    uint16_t port = taken_port(&fd);
    const struct mst_local_options options = {.n_workers = 1, .n_ps = 1, .http_base_port = port};
    struct mst_error err = {0};
    assert_int_equal(mst_local_cluster_new(&options, folder, 1, &cluster, &err), MST_UNAVAILABLE);
    assert_null(cluster);
    char *want = mst_text("--http-base-port: port %u of 127.0.0.1, for chief-0, cannot be taken", port);
    assert_memory_equal(err.text, want, strlen(want));
    free(want);
    close(fd);
}

static void test_http_ports_past_the_last(void **state)
{
    (void)state;
    const struct mst_local_options options = {.n_workers = 2, .n_ps = 2, .http_base_port = 65532};
    struct mst_error err = {0};
    assert_int_equal(mst_local_cluster_new(&options, folder, 1, &cluster, &err), MST_INVALID_ARGUMENT);
    assert_string_equal(err.text,
                        "--http-base-port: 5 processes from port 65532 on end above 65535; give a lower port");
}

static void test_no_descriptors_left(void **state)
{
    (void)state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit low = {.rlim_cur = 20, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    const struct mst_local_options options = {.n_workers = 40, .n_ps = 2};
    struct mst_error err = {0};
    mst_status status = mst_local_cluster_new(&options, folder, 1, &cluster, &err);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(status, MST_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(err.text, "no descriptor is left for the port of worker-"));
    assert_non_null(strstr(err.text, "ulimit -n"));
}

static void test_logs_that_cannot_be_written(void **state)
{
    (void)state;
    char *nowhere = mst_text("%s/nowhere", folder);
    const struct mst_local_options options = {.n_workers = 1, .n_ps = 1};
    struct mst_error err = {0};
    assert_int_equal(mst_local_cluster_new(&options, nowhere, 1, &cluster, &err), MST_NOT_FOUND);
    assert_non_null(strstr(err.text, "nowhere/chief-0.log"));
    free(nowhere);
}

static void test_shares_of_the_cpus(void **state)
{
    (void)state;
    struct mst_error err = {0};
    const struct mst_local_options told = {.n_workers = 1, .n_ps = 1, .n_threads = 7, .n_data_threads = 3};
    assert_int_equal(mst_local_cluster_new(&told, folder, 1, &cluster, &err), MST_OK);
    assert_int_equal(cluster->n_worker_threads, 7);
    assert_int_equal(cluster->n_ps_data_threads, 3);
    tear_down(NULL);
    // Nobody gets less than one, however few there are; a single worker gets them all.
    size_t n_cpus = mst_cpus_usable();
    const struct mst_local_options many = {.n_workers = 2 * n_cpus, .n_ps = 2 * n_cpus};
    assert_int_equal(mst_local_cluster_new(&many, folder, 1, &cluster, &err), MST_OK);
    assert_int_equal(cluster->n_worker_threads, 1);
    assert_int_equal(cluster->n_ps_data_threads, 1);
    tear_down(NULL);
    const struct mst_local_options one = {.n_workers = 1, .n_ps = 1};
    assert_int_equal(mst_local_cluster_new(&one, folder, 1, &cluster, &err), MST_OK);
    assert_int_equal(cluster->n_worker_threads, n_cpus);
}

#define CLUSTER(test) cmocka_unit_test_teardown(test, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLUSTER(test_every_port_listens_before_anybody_runs),
        CLUSTER(test_tf_config),
        CLUSTER(test_environment),
        CLUSTER(test_http_port_in_use),
        CLUSTER(test_http_ports_past_the_last),
        CLUSTER(test_no_descriptors_left),
        CLUSTER(test_logs_that_cannot_be_written),
        CLUSTER(test_shares_of_the_cpus),
    };
    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
