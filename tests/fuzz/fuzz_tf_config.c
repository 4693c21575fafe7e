// TF_CONFIG: any text, alone and with the flags of a StatefulSet. What is accepted and printed must be read again as
// the same cluster and place.
#include "base/error.h"
#include "muster/status.h"
#include "spec/cluster.h"
#include "spec/tf_config.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const struct mst_cluster *cluster)
{
    json_t *root =
        json_pack("{s:O, s:{s:s, s:I}}", cluster->is_partial ? "sparseCluster" : "cluster", cluster->spec, "task",
                  "type", cluster->role == MST_ROLE_LOCAL ? "worker" : mst_cluster_role_name(cluster), "index",
                  (json_int_t)cluster->index);
    char *text = json_dumps(root, JSON_COMPACT);
    struct mst_cluster_request request = {.tf_config = text};
    struct mst_cluster *again;
    struct mst_error err = {""};
    MST_ASSERT(mst_cluster_parse(&request, &again, &err) == MST_OK);
    MST_ASSERT(json_equal(again->spec, cluster->spec) && again->role == cluster->role &&
               again->index == cluster->index && again->is_chief == cluster->is_chief);
    mst_cluster_free(again);
    free(text);
    json_decref(root);
}

static void read_one(const struct mst_cluster_request *request)
{
    struct mst_cluster *cluster;
    struct mst_error err = {""};
    mst_status status = mst_cluster_parse(request, &cluster, &err);
    MST_ASSERT((status == MST_OK) == (cluster != NULL));
    MST_ASSERT((status == MST_OK) == (err.text[0] == '\0'));
    if (status == MST_OK)
        check_again(cluster);
    if (status == MST_OK && mst_cluster_check_runnable(cluster, &err) != MST_OK)
        MST_ASSERT(err.text[0] != '\0');
    mst_cluster_free(cluster);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1); // an environment variable ends at its first NUL
    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    read_one(&(struct mst_cluster_request){.tf_config = text});
    read_one(&(struct mst_cluster_request){
        .tf_config = text, .task_type = "ps", .task_index_from = "hostname", .hostname = "mnist-ps-1.mnist"});
    read_one(&(struct mst_cluster_request){.task_type = text, .task_index = text});
    free(text);
    return 0;
}
