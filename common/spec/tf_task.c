// Our own place: task.type and task.index, or the flags that win over them, held against the cluster in the order in
// which TensorFlow checks, so that a TF_CONFIG with two faults gets the text that TF would have given.
#include "spec/tf_config_private.h"

#include "base/error.h"
#include "spec/python_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ALLOWED_TYPES "('chief', 'worker', 'evaluator', 'ps', None)"

static mst_status read_type(const json_t *value, struct mst_place *out)
{
    struct mst_buf buf;
    mst_buf_init(&buf, sizeof out->type - 1);
    mst_status status = mst_python_str(value, &buf);
    out->type_form = MST_PLACE_GIVEN;
    if (status == MST_OK && buf.len > 0)
        memcpy(out->type, buf.data, buf.len);
    else if (status != MST_OK)
        snprintf(out->type, sizeof out->type, "a text of more than %zu characters", sizeof out->type - 1);
    mst_buf_fini(&buf);
    return MST_OK;
}

static mst_status set_index(const struct mst_python_int *index, struct mst_place *out)
{
    out->index_form = MST_PLACE_GIVEN;
    out->index = index->value;
    snprintf(out->index_text, sizeof out->index_text, "%s", index->digits);
    return MST_OK;
}

static mst_status index_of_text(const char *text, const char *source, struct mst_place *out, struct mst_error *err)
{
    struct mst_python_int index;
    mst_status status = mst_python_int_of_text(text, &index, err);
    if (status != MST_OK)
        return mst_fail_prefix(err, status, "%s", source);
    return set_index(&index, out);
}

// The pods of a StatefulSet are called <set>-<ordinal>, and may give a whole DNS name as their host name.
static mst_status index_of_hostname(const char *given, struct mst_place *out, struct mst_error *err)
{
    char host[256] = "";
    if (given)
        snprintf(host, sizeof host, "%s", given);
    else if (gethostname(host, sizeof host - 1) != 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "--task-index-from hostname: the system tells no host name");
    char *dot = strchr(host, '.');
    if (dot)
        *dot = '\0';
    const char *dash = strrchr(host, '-');
    size_t n_digits = dash ? strspn(dash + 1, "0123456789") : 0;
    if (!dash || dash == host || n_digits == 0 || dash[1 + n_digits] != '\0')
        return mst_fail(
            err, MST_INVALID_ARGUMENT,
            "--task-index-from hostname: host name \"%s\" does not end in -<ordinal> as a StatefulSet's pods do; "
            "give --task-index or --task-index-from env:NAME",
            host);
    return index_of_text(dash + 1, "--task-index-from hostname", out, err);
}

static mst_status index_of_flag(const struct mst_cluster_request *request, struct mst_place *out, struct mst_error *err)
{
    const char *from = request->task_index_from;
    if (strcmp(from, "hostname") == 0)
        return index_of_hostname(request->hostname, out, err);
    if (strncmp(from, "env:", 4) != 0 || from[4] == '\0')
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "--task-index-from \"%.200s\": must be hostname, or env:NAME with the name of a variable",
                        from);
    const char *value = getenv(from + 4);
    if (!value)
        return mst_fail(err, MST_INVALID_ARGUMENT, "--task-index-from %.200s: the variable %.200s is not set", from,
                        from + 4);
    char source[256];
    snprintf(source, sizeof source, "--task-index-from %.200s", from);
    return index_of_text(value, source, out, err);
}

mst_status mst_place_read(const struct mst_cluster_request *request, const json_t *task, struct mst_place *out,
                          struct mst_error *err)
{
    memset(out, 0, sizeof *out);
    if (request->task_index && request->task_index_from)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "--task-index and --task-index-from say the same thing: give one of them");
    if (task && !json_is_object(task)) {
        // Python: the value has no attribute 'get'.
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "TF_CONFIG: task must be an object as in {\"type\": \"worker\", \"index\": 0}, but is not one");
    }
    const json_t *type = json_object_get(task, "type"), *index = json_object_get(task, "index");
    if (request->task_type) {
        out->type_form = MST_PLACE_GIVEN;
        snprintf(out->type, sizeof out->type, "%s", request->task_type);
    } else if (type) {
        MST_TRY(read_type(type, out));
    }
    if (request->task_index)
        return index_of_text(request->task_index, "--task-index", out, err);
    if (request->task_index_from)
        return index_of_flag(request, out, err);
    if (!index)
        return MST_OK;
    struct mst_python_int number;
    mst_status status = mst_python_int(index, &number, err);
    if (status != MST_OK)
        return mst_fail_prefix(err, status, "TF_CONFIG: task.index");
    return set_index(&number, out);
}

enum mst_role mst_role_of_job(const char *name)
{
    for (size_t role = MST_ROLE_CHIEF; role < MST_N_ROLES; role++) {
        if (strcmp(name, mst_role_name((enum mst_role)role)) == 0)
            return (enum mst_role)role;
    }
    return strcmp(name, "master") == 0 ? MST_ROLE_CHIEF : MST_ROLE_LOCAL;
}

mst_status mst_place_alone(struct mst_cluster *cluster, const struct mst_place *place, struct mst_error *err)
{
    if (place->type_form == MST_PLACE_GIVEN && strcmp(place->type, "worker") != 0)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "TF_CONFIG: If \"cluster\" is not set in TF_CONFIG, task type must be WORKER.");
    if (place->index != 0)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "TF_CONFIG: If \"cluster\" is not set in TF_CONFIG, task index must be 0.");
    cluster->role = MST_ROLE_LOCAL;
    cluster->is_chief = true;
    cluster->chief_trains = true;
    return MST_OK;
}

static size_t n_tasks_of(const struct mst_cluster *cluster)
{
    size_t n = 0;
    for (size_t role = 0; role < MST_N_ROLES; role++)
        n += cluster->jobs[role].n_tasks;
    return n;
}

static mst_status check_role(const struct mst_cluster *cluster, const struct mst_place *place, struct mst_error *err)
{
    if (place->type_form == MST_PLACE_ABSENT || place->type[0] == '\0')
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "TF_CONFIG: If \"cluster\" is set in TF_CONFIG, task type must be set.");
    enum mst_role role = mst_role_of_job(place->type);
    if (role == MST_ROLE_LOCAL)
        return mst_fail(err, MST_INVALID_ARGUMENT, "TF_CONFIG: Unrecognized task_type: %s, valid task types are: %s",
                        place->type, ALLOWED_TYPES);
    if (place->index_form == MST_PLACE_ABSENT)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "TF_CONFIG: If \"cluster\" is set in TF_CONFIG, task index must be set.");
    if (place->index < 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "TF_CONFIG: Task index must be non-negative number.");
    if (cluster->has_master && json_object_get(cluster->spec, "chief"))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "TF_CONFIG: If `master` node exists in `cluster`, job `chief` is not supported.");
    if (cluster->has_master && role == MST_ROLE_EVALUATOR)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "TF_CONFIG: If `master` node exists in `cluster`, task_type `evaluator` is not supported.");
    // A view without any task is what TFJob gives to a chief of a dynamic job: understood, and refused when run.
    bool is_named = json_object_get(cluster->spec, place->type) != NULL;
    if (!is_named && role != MST_ROLE_EVALUATOR && n_tasks_of(cluster) > 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "TF_CONFIG: `task_type` '%s' not found in cluster_spec.",
                        place->type);
    return MST_OK;
}

static mst_status check_counts(const struct mst_cluster *cluster, struct mst_error *err)
{
    if (cluster->jobs[MST_ROLE_CHIEF].n_tasks > 1 && cluster->has_master)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "TF_CONFIG: The \"cluster\" in TF_CONFIG must have only one \"master\" node.");
    if (cluster->jobs[MST_ROLE_CHIEF].n_tasks > 1)
        return mst_fail(err, MST_INVALID_ARGUMENT, "TF_CONFIG: There must be at most one 'chief' job.");
    if (cluster->jobs[MST_ROLE_EVALUATOR].n_tasks > 1)
        return mst_fail(err, MST_INVALID_ARGUMENT, "TF_CONFIG: There must be at most one 'evaluator' job.");
    return MST_OK;
}

// TF compares with the number of tasks; we compare with the indices that are there, or worker 1 of {"1": …} were
// refused.
static mst_status find_own_task(struct mst_cluster *cluster, const struct mst_place *place, struct mst_error *err)
{
    struct mst_task_list *list = &cluster->jobs[cluster->role];
    for (size_t i = 0; i < list->n_tasks; i++) {
        if (list->tasks[i].index == place->index) {
            cluster->address = list->tasks[i].address;
            return MST_OK;
        }
    }
    bool is_in_range = place->index <= UINT32_MAX;
    if (list->n_tasks == 0 && is_in_range && (cluster->role == MST_ROLE_EVALUATOR || n_tasks_of(cluster) == 0))
        return MST_OK; // an evaluator needs no address, and its index has no upper bound
    // In a dynamic job a PS sees only itself, as number 0 whatever it is.
    bool sees_only_itself = cluster->role == MST_ROLE_PS && cluster->is_partial && n_tasks_of(cluster) == 1;
    if (sees_only_itself && is_in_range) {
        json_t *own = json_pack("{s:s}", place->index_text, list->tasks[0].address);
        json_object_set_new(cluster->spec, "ps", own);
        list->tasks[0].index = (uint32_t)place->index;
        cluster->address = list->tasks[0].address;
        return MST_OK;
    }
    if (list->n_tasks > 0 && place->index < list->tasks[list->n_tasks - 1].index)
        return mst_fail(err, MST_INVALID_ARGUMENT, "TF_CONFIG: No task with index %s in job '%s'", place->index_text,
                        place->type);
    return mst_fail(err, MST_INVALID_ARGUMENT, "TF_CONFIG: The `task_id` %.512s exceeds the maximum id of %s.",
                    place->index_text, place->type);
}

static mst_status check_enough(const struct mst_cluster *cluster, struct mst_error *err)
{
    if (cluster->is_partial || n_tasks_of(cluster) == 0)
        return MST_OK; // there may be others that we do not see
    if (cluster->n_ps == 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "TF_CONFIG: There must be at least one ps.");
    if (cluster->n_workers == 0 && !cluster->has_master)
        return mst_fail(err, MST_INVALID_ARGUMENT, "TF_CONFIG: There must be at least one worker.");
    return MST_OK;
}

static void find_chief(struct mst_cluster *cluster)
{
    const struct mst_task_list *chiefs = &cluster->jobs[MST_ROLE_CHIEF], *workers = &cluster->jobs[MST_ROLE_WORKER];
    bool has_chief = chiefs->n_tasks > 0 || cluster->role == MST_ROLE_CHIEF;
    cluster->chief_trains = cluster->has_master || !has_chief;
    cluster->is_chief =
        cluster->role == MST_ROLE_CHIEF || (!has_chief && cluster->role == MST_ROLE_WORKER && cluster->index == 0);
    if (chiefs->n_tasks > 0)
        cluster->chief_address = chiefs->tasks[0].address;
    else if (!has_chief && workers->n_tasks > 0 && workers->tasks[0].index == 0)
        cluster->chief_address = workers->tasks[0].address;
}

mst_status mst_place_find(struct mst_cluster *cluster, const struct mst_place *place, struct mst_error *err)
{
    cluster->n_workers = cluster->jobs[MST_ROLE_WORKER].n_tasks;
    cluster->n_ps = cluster->jobs[MST_ROLE_PS].n_tasks;
    MST_TRY(check_role(cluster, place, err));
    MST_TRY(check_counts(cluster, err));
    cluster->role = mst_role_of_job(place->type);
    // An empty list of masters is no master, but a chief of an empty view keeps the name it was given.
    cluster->has_master =
        cluster->jobs[MST_ROLE_CHIEF].n_tasks > 0 ? cluster->has_master : strcmp(place->type, "master") == 0;
    MST_TRY(find_own_task(cluster, place, err));
    cluster->index = (uint32_t)place->index;
    MST_TRY(check_enough(cluster, err));
    find_chief(cluster);
    return MST_OK;
}
