/** @file
 *  Who is in the job and which of them we are: TF_CONFIG, understood. What text it comes from is tf_config.h's
 * business.
 *
 *      MST_TRY(mst_cluster_parse(&request, &cluster, err));       // spec/tf_config.h
 *      if (cluster->is_chief) …
 *      for (size_t i = 0; i < cluster->jobs[MST_ROLE_PS].n_tasks; i++) …address…
 *      mst_cluster_free(cluster);
 *
 *  Immutable after parsing. Thread: any.
 */
#pragma once

#include "muster/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** What a process does. LOCAL: one process that does everything (no TF_CONFIG). */
enum mst_role { MST_ROLE_LOCAL, MST_ROLE_CHIEF, MST_ROLE_WORKER, MST_ROLE_PS, MST_ROLE_EVALUATOR };
enum { MST_N_ROLES = MST_ROLE_EVALUATOR + 1 };

enum { MST_CLUSTER_MAX_TASKS = 4096 }; // of one job

/** One process of the cluster. */
struct mst_task {
    uint32_t index;
    char *address; // "host:port" or "[v6]:port", as in TF_CONFIG
    char *host;    // without brackets
    uint16_t port; // 0: the system picks (localhost only)
};

/** The tasks of one job, sorted by index. */
struct mst_task_list {
    struct mst_task *tasks;
    size_t n_tasks;
};

/** The whole, from the view of one process. */
struct mst_cluster {
    struct mst_task_list jobs[MST_N_ROLES]; // by role; LOCAL is empty
    json_t *spec;                           // as TF's ClusterSpec.as_dict(), jobs sorted by name; {} without TF_CONFIG
    enum mst_role role;                     // ours; MST_ROLE_CHIEF for `master` too
    uint32_t index;                         // ours
    const char *address;                    // ours; NULL: an evaluator outside the cluster, or no TF_CONFIG
    const char *chief_address;              // of the process that coordinates; NULL: not in our view
    bool is_chief;     // we coordinate: `chief`, `master`, worker 0 where there is no chief, or LOCAL
    bool has_master;   // the job is called `master`: it coordinates and trains
    bool chief_trains; // the coordinator also trains: `master`, worker 0 where there is no chief, LOCAL
    bool is_partial;   // sparseCluster, or a job as an index-keyed object: there may be tasks that we do not see
    size_t n_workers;  // tasks of the job `worker` that we see
    size_t n_ps;
};

/** Releases it; NULL is fine. */
void mst_cluster_free(struct mst_cluster *cluster);

/** "local", "chief", "worker", "ps", "evaluator". */
const char *mst_role_name(enum mst_role role);
/** What TF_CONFIG calls the job of a role: as mst_role_name, and "master". */
const char *mst_cluster_job_name(const struct mst_cluster *cluster, enum mst_role role);
/** The same of our own role. */
const char *mst_cluster_role_name(const struct mst_cluster *cluster);

/** The task of a role and index, borrowed from cluster.
 *  Errors: NOT_FOUND "No such job in cluster: 'ps'", "No task with index 3 in job 'ps'" (*out NULL) */
MST_MUST_USE mst_status mst_cluster_task(const struct mst_cluster *cluster, enum mst_role role, uint32_t index,
                                         const struct mst_task **out, struct mst_error *err);

/** Whether a job can run from this view; `muster config` prints clusters that cannot.
 *  Errors: INVALID_ARGUMENT a chief whose cluster is empty (enableDynamicWorker), a worker or an
 *  evaluator that sees no PS */
MST_MUST_USE mst_status mst_cluster_check_runnable(const struct mst_cluster *cluster, struct mst_error *err);
