/** @file
 *  TF_CONFIG as TensorFlow's parsers read it, with the words they refuse it with.
 *
 *      struct mst_cluster_request request = {.tf_config = getenv("TF_CONFIG"), .task_type = flag_or_null};
 *      MST_TRY(mst_cluster_parse(&request, &cluster, err));
 *
 *  Accepted: `cluster` or `sparseCluster`, jobs as lists or as index-keyed objects, an index as text, `master` for
 * chief, no chief (worker 0 is), an evaluator in or out of the cluster, unknown keys. Where TF's own parsers
 * (ClusterSpec, the resolver, multi_worker_util, Estimator's RunConfig) disagree the union is accepted, and their text
 * is used where all of them refuse. Thread: any. Source: TensorFlow's cluster_resolver, server_lib and
 * multi_worker_util; Estimator's run_config; Kubeflow's and Volcano's operators
 */
#pragma once

#include "spec/cluster.h"

/** What there is to know a process's place from. All borrowed. */
struct mst_cluster_request {
    const char *tf_config;       // NULL: the variable is not set
    const char *task_type;       // --task-type, wins over TF_CONFIG; NULL: not given
    const char *task_index;      // --task-index, likewise
    const char *task_index_from; // --task-index-from: "hostname" or "env:NAME"
    const char *hostname;        // what "hostname" means; NULL: gethostname()
    bool is_onlooker;            // who is no member: `task` is not read, and the role is LOCAL with the cluster's tasks
};

/** New cluster in *out; without TF_CONFIG, or without a cluster in it, role LOCAL.
 *  Owner: the caller's (mst_cluster_free)
 *  Errors: INVALID_ARGUMENT one sentence, TF's own where all of its parsers refuse (*out NULL) */
MST_MUST_USE mst_status mst_cluster_parse(const struct mst_cluster_request *request, struct mst_cluster **out,
                                          struct mst_error *err);
