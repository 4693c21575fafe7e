// The cluster once it is understood: look-ups, and what a view of it is good for.
#include "spec/cluster.h"

#include "base/error.h"

#include <stdlib.h>

void mst_cluster_free(struct mst_cluster *cluster)
{
    if (!cluster)
        return;
    for (size_t role = 0; role < MST_N_ROLES; role++) {
        struct mst_task_list *list = &cluster->jobs[role];
        for (size_t i = 0; i < list->n_tasks; i++) {
            free(list->tasks[i].address);
            free(list->tasks[i].host);
        }
        free(list->tasks);
    }
    json_decref(cluster->spec);
    free(cluster);
}

const char *mst_role_name(enum mst_role role)
{
    static const char *const names[] = {
        [MST_ROLE_LOCAL] = "local", [MST_ROLE_CHIEF] = "chief",         [MST_ROLE_WORKER] = "worker",
        [MST_ROLE_PS] = "ps",       [MST_ROLE_EVALUATOR] = "evaluator",
    };
    MST_ASSERT((size_t)role < MST_N_ROLES);
    return names[role];
}

const char *mst_cluster_job_name(const struct mst_cluster *cluster, enum mst_role role)
{
    return role == MST_ROLE_CHIEF && cluster->has_master ? "master" : mst_role_name(role);
}

const char *mst_cluster_role_name(const struct mst_cluster *cluster)
{
    return mst_cluster_job_name(cluster, cluster->role);
}

mst_status mst_cluster_task(const struct mst_cluster *cluster, enum mst_role role, uint32_t index,
                            const struct mst_task **out, struct mst_error *err)
{
    *out = NULL;
    const struct mst_task_list *list = &cluster->jobs[role];
    if (list->n_tasks == 0)
        return mst_fail(err, MST_NOT_FOUND, "No such job in cluster: '%s'", mst_cluster_job_name(cluster, role));
    for (size_t i = 0; i < list->n_tasks; i++) {
        if (list->tasks[i].index == index) {
            *out = &list->tasks[i];
            return MST_OK;
        }
    }
    return mst_fail(err, MST_NOT_FOUND, "No task with index %u in job '%s'", index,
                    mst_cluster_job_name(cluster, role));
}

mst_status mst_cluster_check_runnable(const struct mst_cluster *cluster, struct mst_error *err)
{
    bool needs_ps = cluster->role != MST_ROLE_LOCAL && cluster->role != MST_ROLE_PS;
    if (!needs_ps || cluster->n_ps > 0)
        return MST_OK;
    if (cluster->is_chief)
        return mst_fail(
            err, MST_INVALID_ARGUMENT,
            "TF_CONFIG: the cluster that %s sees is empty, as TFJob's enableDynamicWorker makes it; a chief must "
            "see every ps: turn enableDynamicWorker off, or leave the chief out so that worker 0 is it",
            mst_cluster_role_name(cluster));
    if (cluster->role == MST_ROLE_EVALUATOR)
        return mst_fail(
            err, MST_INVALID_ARGUMENT,
            "TF_CONFIG: the evaluator sees no ps, as TFJob's enableDynamicWorker makes it; it must see every ps: turn "
            "enableDynamicWorker off, or leave the evaluator out: the chief evaluates then");
    return mst_fail(err, MST_INVALID_ARGUMENT, "TF_CONFIG: There must be at least one ps.");
}
