// `muster config`: the two parsers of spec, and their results as one JSON object. The order of keys is that of the job
// table, so that two outputs can be compared line by line.
#include "cli/config.h"

#include "base/error.h"

#include <errno.h>
#include <string.h>

mst_status mst_config_print(const struct mst_cluster *cluster, const struct mst_job *job, FILE *out,
                            struct mst_error *err)
{
    json_t *json = json_pack("{s:s, s:I, s:b, s:O, s:O?}", "role", mst_cluster_role_name(cluster), "index",
                             (json_int_t)cluster->index, "is_chief", (int)cluster->is_chief, "cluster", cluster->spec,
                             "job", job ? job->resolved : NULL);
    MST_ASSERT(json);
    if (!job)
        json_object_set_new(json, "job", json_null());
    int failed = json_dumpf(json, out, JSON_INDENT(2));
    json_decref(json);
    if (failed || fputc('\n', out) == EOF || fflush(out) != 0)
        return mst_fail(err, MST_UNAVAILABLE, "the configuration cannot be written: %s", strerror(errno));
    return MST_OK;
}

mst_status mst_config_run(const struct mst_cluster_request *cluster_request, const struct mst_job_request *job_request,
                          FILE *out, struct mst_error *err)
{
    struct mst_cluster *cluster = NULL;
    struct mst_job *job = NULL;
    mst_status status = mst_cluster_parse(cluster_request, &cluster, err);
    if (status == MST_OK && job_request)
        status = mst_job_load(job_request, &job, err);
    if (status == MST_OK)
        status = mst_config_print(cluster, job, out, err);
    mst_job_free(job);
    mst_cluster_free(cluster);
    return status;
}
