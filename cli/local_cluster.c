// The chief comes first among the tasks, so that it is the first to run and the others find it listening; in truth all
// listen already, for their sockets were made here.
#include "cli/local_cluster.h"

#include "base/alloc.h"
#include "base/cpus.h"
#include "base/error.h"
#include "base/log.h"
#include "cli/child_process.h"
#include "tfio/disk_file.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BACKLOG = 512,
    PORT_MAX = 65535,
    PS_DATA_THREADS_MAX = 4, // more have to earn their place in a measurement
    ARGS_FIXED = 24,         // words of a command line besides --set
};

extern char **environ;

// ---- ports ----

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

// A socket bound to 127.0.0.1; port 0: any free one. Returns an errno, and the port in use.
static int bind_loopback(uint16_t port, int *fd_out, uint16_t *port_out)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int one = 1;
    *fd_out = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd_out < 0)
        return errno;
    setsockopt(*fd_out, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(*fd_out, (const struct sockaddr *)&address, len) != 0 ||
        getsockname(*fd_out, (struct sockaddr *)&address, &len) != 0) {
        int error = errno;
        close_fd(fd_out);
        return error;
    }
    *port_out = ntohs(address.sin_port);
    return 0;
}

static int listen_loopback(int *fd_out, uint16_t *port_out)
{
    int error = bind_loopback(0, fd_out, port_out);
    if (error == 0 && listen(*fd_out, BACKLOG) != 0) {
        error = errno;
        close_fd(fd_out);
    }
    return error;
}

static mst_status open_port(struct mst_local_task *task, struct mst_error *err)
{
    int error = listen_loopback(&task->listen_fd, &task->port);
    if (error == EMFILE || error == ENFILE)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED,
                        "no descriptor is left for the port of %s; start fewer processes, or raise the limit on open "
                        "files (ulimit -n)",
                        task->name);
    if (error)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "127.0.0.1 has no free port for %s: %s; start fewer processes",
                        task->name, strerror(error));
    return MST_OK;
}

// HTTP ports are opened by the processes themselves. Bound and not listened on here, nobody else gets them meanwhile,
// and the process they are for does.
static mst_status hold_http_port(struct mst_local_task *task, struct mst_error *err)
{
    int error = bind_loopback(task->http_port, &task->http_fd, &task->http_port);
    if (error)
        return mst_fail(err, error == EADDRINUSE ? MST_UNAVAILABLE : MST_PERMISSION_DENIED,
                        "--http-base-port: port %u of 127.0.0.1, for %s, cannot be taken: %s; give another base port",
                        task->http_port, task->name, strerror(error));
    return MST_OK;
}

// Any free ones; a process that gets none does without, and `muster top` without it.
static void hold_any_http_ports(struct mst_local_cluster *cluster)
{
    for (size_t i = 0; i < cluster->n_tasks; i++) {
        struct mst_local_task *task = &cluster->tasks[i];
        if (bind_loopback(0, &task->http_fd, &task->http_port) != 0)
            task->http_port = 0;
    }
}

// The chief, then workers, parameter servers, the evaluator, whatever the order of tasks is.
static mst_status number_http_ports(struct mst_local_cluster *cluster, struct mst_error *err)
{
    static const enum mst_task_role order[] = {MST_TASK_CHIEF, MST_TASK_WORKER, MST_TASK_PS, MST_TASK_EVALUATOR};
    size_t port = cluster->options->http_base_port;
    if (port == 0) {
        hold_any_http_ports(cluster);
        return MST_OK;
    }
    if (port + cluster->n_tasks - 1 > PORT_MAX)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "--http-base-port: %zu processes from port %zu on end above %d; give a lower port",
                        cluster->n_tasks, port, PORT_MAX);
    for (size_t r = 0; r < MST_TASK_ROLES; r++)
        for (size_t i = 0; i < cluster->n_tasks; i++)
            if (cluster->tasks[i].role == order[r])
                cluster->tasks[i].http_port = (uint16_t)port++;
    for (size_t i = 0; i < cluster->n_tasks; i++)
        MST_TRY(hold_http_port(&cluster->tasks[i], err));
    return MST_OK;
}

// ---- what a process is told ----

static void add_tasks(struct mst_local_cluster *cluster, enum mst_task_role role, size_t n, const char *logs_dir)
{
    json_t *addresses = json_array();
    for (size_t i = 0; i < n; i++) {
        struct mst_local_task *task = &cluster->tasks[cluster->n_tasks++];
        task->role = role;
        task->index = (uint32_t)i;
        task->listen_fd = -1;
        task->http_fd = -1;
        snprintf(task->name, sizeof task->name, "%s-%zu", mst_task_role_name(role), i);
        task->log_path = mst_text("%s/%s.log", logs_dir, task->name);
    }
    json_object_set_new(cluster->spec, mst_task_role_name(role), addresses);
}

static mst_status open_ports(struct mst_local_cluster *cluster, struct mst_error *err)
{
    for (size_t i = 0; i < cluster->n_tasks; i++) {
        struct mst_local_task *task = &cluster->tasks[i];
        MST_TRY(open_port(task, err));
        char address[32];
        snprintf(address, sizeof address, "127.0.0.1:%u", task->port);
        json_array_append_new(json_object_get(cluster->spec, mst_task_role_name(task->role)), json_string(address));
    }
    return MST_OK;
}

static bool is_variable(const char *setting, const char *name)
{
    size_t len = strlen(name);
    return strncmp(setting, name, len) == 0 && setting[len] == '=';
}

// Our environment, with what is not for children left out. When the command was given is told on: whoever started us
// may know better.
static void make_environment(struct mst_local_cluster *cluster, uint64_t started_ns)
{
    size_t n = 0;
    while (environ[n])
        n++;
    cluster->envp = mst_alloc_array(n + 4, sizeof(char *));
    for (size_t i = 0; i < n; i++)
        if (!is_variable(environ[i], "TF_CONFIG"))
            cluster->envp[cluster->n_env++] = environ[i];
    if (!getenv("MUSTER_STARTED_NS")) {
        cluster->started = mst_text("MUSTER_STARTED_NS=%llu", (unsigned long long)started_ns);
        cluster->envp[cluster->n_env++] = cluster->started;
    }
    // Matrix products run single-threaded on slices of ours; without this every process starts a thread for each CPU.
    static char blas_threads[] = "OPENBLAS_NUM_THREADS=1";
    if (!getenv("OPENBLAS_NUM_THREADS"))
        cluster->envp[cluster->n_env++] = blas_threads;
}

static mst_status empty_logs(const struct mst_local_cluster *cluster, struct mst_error *err)
{
    for (size_t i = 0; i < cluster->n_tasks; i++) {
        int fd = open(cluster->tasks[i].log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (fd < 0)
            return mst_disk_fail(err, errno, "open", cluster->tasks[i].log_path);
        close(fd);
    }
    return MST_OK;
}

static size_t share_of_cpus(size_t n_processes)
{
    size_t share = mst_cpus_usable() / n_processes;
    return share ? share : 1;
}

mst_status mst_local_cluster_new(const struct mst_local_options *options, const char *logs_dir, uint64_t started_ns,
                                 struct mst_local_cluster **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_local_cluster *cluster = mst_alloc(sizeof *cluster);
    cluster->options = options;
    cluster->progress_fd = -1;
    cluster->spec = json_object();
    cluster->tasks =
        mst_alloc_array(1 + options->n_ps + options->n_workers + options->n_evaluators, sizeof *cluster->tasks);
    size_t data_threads = share_of_cpus(options->n_ps);
    if (data_threads > PS_DATA_THREADS_MAX)
        data_threads = PS_DATA_THREADS_MAX;
    cluster->n_worker_threads = options->n_threads ? options->n_threads : share_of_cpus(options->n_workers);
    cluster->n_ps_data_threads = options->n_data_threads ? options->n_data_threads : data_threads;
    add_tasks(cluster, MST_TASK_CHIEF, 1, logs_dir);
    add_tasks(cluster, MST_TASK_PS, options->n_ps, logs_dir);
    add_tasks(cluster, MST_TASK_WORKER, options->n_workers, logs_dir);
    if (options->n_evaluators)
        add_tasks(cluster, MST_TASK_EVALUATOR, options->n_evaluators, logs_dir);
    make_environment(cluster, started_ns);
    mst_status status = open_ports(cluster, err);
    if (status == MST_OK)
        status = number_http_ports(cluster, err);
    if (status == MST_OK)
        status = empty_logs(cluster, err);
    if (status != MST_OK) {
        mst_local_cluster_free(cluster);
        return status;
    }
    *out = cluster;
    return MST_OK;
}

void mst_local_cluster_free(struct mst_local_cluster *cluster)
{
    if (!cluster)
        return;
    for (size_t i = 0; i < cluster->n_tasks; i++) {
        close_fd(&cluster->tasks[i].listen_fd);
        close_fd(&cluster->tasks[i].http_fd);
        free(cluster->tasks[i].log_path);
    }
    close_fd(&cluster->progress_fd);
    json_decref(cluster->spec);
    free(cluster->tasks);
    free(cluster->envp);
    free(cluster->started);
    free(cluster);
}

char *mst_local_cluster_tf_config(const struct mst_local_cluster *cluster, size_t task)
{
    const struct mst_local_task *described = &cluster->tasks[task];
    json_t *config = json_pack("{s:O, s:{s:s, s:i}}", "cluster", cluster->spec, "task", "type",
                               mst_task_role_name(described->role), "index", (int)described->index);
    char *json = json_dumps(config, JSON_COMPACT);
    json_decref(config);
    char *text = mst_strdup(json);
    free(json);
    return text;
}

json_t *mst_local_cluster_describe(const struct mst_local_cluster *cluster)
{
    json_t *roles = json_array();
    for (size_t i = 0; i < cluster->n_tasks; i++) {
        const struct mst_local_task *task = &cluster->tasks[i];
        char http[32];
        snprintf(http, sizeof http, "127.0.0.1:%u", task->http_port);
        json_t *role = json_pack("{s:s, s:i}", "role", mst_task_role_name(task->role), "index", (int)task->index);
        if (task->http_port)
            json_object_set_new(role, "http", json_string(http));
        json_array_append_new(roles, role);
    }
    return roles;
}

// ---- starting ----

// The words of a command line. Those that are made here are released with it.
struct arguments {
    char **words;
    size_t n;
    char *made[ARGS_FIXED];
    size_t n_made;
};

static void add(struct arguments *arguments, const char *option, const char *value)
{
    arguments->words[arguments->n++] = (char *)option; // exec takes char * and changes nothing
    arguments->words[arguments->n++] = (char *)value;
}

static void add_number(struct arguments *arguments, const char *option, size_t number)
{
    char *text = mst_text("%zu", number);
    arguments->made[arguments->n_made++] = text;
    add(arguments, option, text);
}

static void make_arguments(const struct mst_local_cluster *cluster, const struct mst_local_task *task,
                           struct arguments *out)
{
    const struct mst_local_options *options = cluster->options;
    *out = (struct arguments){.words = mst_alloc_array(ARGS_FIXED + 2 * options->n_sets, sizeof(char *))};
    add(out, "muster", "run");
    for (size_t i = 0; i < options->n_sets; i++)
        add(out, "--set", options->sets[i]);
    add_number(out, "--listen-fd", (size_t)task->listen_fd);
    if (task->role == MST_TASK_CHIEF && cluster->progress_fd >= 0)
        add_number(out, "--progress-fd", (size_t)cluster->progress_fd);
    if (task->role == MST_TASK_WORKER)
        add_number(out, "--threads", cluster->n_worker_threads);
    if (task->role == MST_TASK_EVALUATOR) // beside the training, as little as may be
        add_number(out, "--threads", 1);
    if (task->role == MST_TASK_PS)
        add_number(out, "--data-threads", cluster->n_ps_data_threads);
    if (task->http_port) {
        char *address = mst_text("127.0.0.1:%u", task->http_port);
        out->made[out->n_made++] = address;
        add(out, "--http", address);
    }
    if (mst_log_is_json())
        add(out, "--log", "json");
    if (options->log_level)
        add(out, "--log-level", options->log_level);
    add(out, "--", options->job);
}

mst_status mst_local_cluster_start(struct mst_local_cluster *cluster, size_t number, struct mst_error *err)
{
    struct mst_local_task *task = &cluster->tasks[number];
    MST_ASSERT(task->pid == 0 && task->listen_fd >= 0);
    struct arguments arguments;
    make_arguments(cluster, task, &arguments);
    char *tf_config = mst_local_cluster_tf_config(cluster, number);
    char *variable = mst_text("TF_CONFIG=%s", tf_config);
    cluster->envp[cluster->n_env] = variable;
    int fds[] = {task->listen_fd, cluster->progress_fd};
    struct mst_child_plan plan = {.argv = arguments.words,
                                  .envp = cluster->envp,
                                  .log_path = task->log_path,
                                  .fds = fds,
                                  .n_fds = task->role == MST_TASK_CHIEF && fds[1] >= 0 ? 2 : 1};
    mst_status status = mst_child_start(&plan, &task->pid, err);
    cluster->envp[cluster->n_env] = NULL;
    for (size_t i = 0; i < arguments.n_made; i++)
        free(arguments.made[i]);
    free(arguments.words);
    free(variable);
    free(tf_config);
    return status;
}
