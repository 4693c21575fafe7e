// `muster config`: the two parsers of spec, and their results as one JSON object. The order of keys is that of the job
// table, so that two outputs can be compared line by line.
#include "cli/config.h"

#include "base/error.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// New text with numbers as people write them, 0.1 and not 0.10000000000000001, unless one of them needs all 17 digits:
// what is printed must read back as the same job.
static char *text_of(const json_t *json)
{
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    MST_ASSERT(text);
    json_t *again = json_loads(text, 0, NULL);
    bool is_same = json_equal(json, again) == 1;
    json_decref(again);
    if (is_same)
        return text;
    free(text);
    text = json_dumps(json, JSON_INDENT(2));
    MST_ASSERT(text);
    return text;
}

mst_status mst_config_print(const struct mst_cluster *cluster, const struct mst_job *job, const json_t *model,
                            FILE *out, struct mst_error *err)
{
    json_t *json = json_pack("{s:s, s:I, s:b, s:O, s:O?}", "role", mst_cluster_role_name(cluster), "index",
                             (json_int_t)cluster->index, "is_chief", (int)cluster->is_chief, "cluster", cluster->spec,
                             "job", job ? job->resolved : NULL);
    MST_ASSERT(json);
    if (!job)
        json_object_set_new(json, "job", json_null());
    if (model)
        json_object_set_new(json, "model", json_deep_copy(model));
    char *text = text_of(json);
    json_decref(json);
    bool is_written = fputs(text, out) != EOF && fputc('\n', out) != EOF && fflush(out) == 0;
    free(text);
    if (!is_written)
        return mst_fail(err, MST_UNAVAILABLE, "the configuration cannot be written: %s", strerror(errno));
    return MST_OK;
}

mst_status mst_config_run(const struct mst_cluster_request *cluster_request, const struct mst_job_request *job_request,
                          const json_t *model, FILE *out, struct mst_error *err)
{
    struct mst_cluster *cluster = NULL;
    struct mst_job *job = NULL;
    mst_status status = mst_cluster_parse(cluster_request, &cluster, err);
    if (status == MST_OK && job_request)
        status = mst_job_load(job_request, &job, err);
    if (status == MST_OK)
        status = mst_config_print(cluster, job, model, out, err);
    mst_job_free(job);
    mst_cluster_free(cluster);
    return status;
}
