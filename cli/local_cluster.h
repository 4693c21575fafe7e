/** @file
 *  The processes of `muster local`: their ports, their TF_CONFIG, their command lines, their logs.
 *
 *      MST_TRY(mst_local_cluster_new(options, logs_dir, started_ns, &cluster, err));   // ports are taken, nothing runs
 *      for (size_t i = 0; i < cluster->n_tasks; i++)
 *          MST_TRY(mst_local_cluster_start(cluster, i, err));            // cluster->tasks[i].pid
 *      mst_local_cluster_free(cluster);
 *
 *  Every port is a listening socket of this process before anybody starts, so none can be lost to somebody else and who
 *  starts first connects without a retry; the process that it is for inherits it. Chief and parameter servers are not
 *  started again, so once they run theirs are closed here, and a dead one refuses connections.
 *  Thread: the only one of the process.
 */
#pragma once

#include "cli/local.h"
#include "cli/supervision.h"

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

struct mst_local_task {
    enum mst_task_role role;
    uint32_t index;
    char name[32];      // "worker-1"
    int listen_fd;      // kept: it may be started again
    uint16_t port;      // of 127.0.0.1
    uint16_t http_port; // 0: none
    int http_fd;        // holds that port, without listening; -1: none
    char *log_path;
    pid_t pid; // 0: does not run
};

struct mst_local_cluster {
    const struct mst_local_options *options;
    struct mst_local_task *tasks; // chief, parameter servers, workers, evaluator
    size_t n_tasks;
    json_t *spec;             // TF_CONFIG's "cluster"
    int progress_fd;          // the chief's end of its progress pipe; -1: none; kept: it may be started again
    char **envp;              // what all processes share, a free place for TF_CONFIG before the NULL
    size_t n_env;             // without TF_CONFIG
    char *started;            // "MUSTER_STARTED_NS=…"
    size_t n_worker_threads;  // compute threads of each worker
    size_t n_ps_data_threads; // of each parameter server
};

/** New cluster in *out, nothing running, its logs empty files in logs_dir (which is there).
 *  started_ns: CLOCK_MONOTONIC when the command was given. Owner: keeps options
 *  Errors: UNAVAILABLE an HTTP port is in use; INVALID_ARGUMENT HTTP ports past 65535; RESOURCE_EXHAUSTED no ports or
 *  descriptors left; disk errors of the logs */
MST_MUST_USE mst_status mst_local_cluster_new(const struct mst_local_options *options, const char *logs_dir,
                                              uint64_t started_ns, struct mst_local_cluster **out,
                                              struct mst_error *err);
/** Closes and releases it; NULL is fine. Processes are not its business. */
void mst_local_cluster_free(struct mst_local_cluster *cluster);

/** Starts a task that does not run; progress_fd goes to the chief. Errors: those of mst_child_start */
MST_MUST_USE mst_status mst_local_cluster_start(struct mst_local_cluster *cluster, size_t task, struct mst_error *err);
/** New list of {"role", "index", "http": "127.0.0.1:PORT"}. */
json_t *mst_local_cluster_describe(const struct mst_local_cluster *cluster);
/** New text: TF_CONFIG of a task. */
char *mst_local_cluster_tf_config(const struct mst_local_cluster *cluster, size_t task);
