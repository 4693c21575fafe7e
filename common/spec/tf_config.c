// TF_CONFIG to cluster. First ClusterSpec's own reading of the job lists (any job name, list or index-keyed object), as
// a JSON value in the form of its as_dict(); then, since only a few names mean something to us, the typed lists.
// tf_task.c then finds our place.
#include "spec/tf_config.h"

#include "base/alloc.h"
#include "base/error.h"
#include "spec/address.h"
#include "spec/json_source.h"
#include "spec/python_text.h"
#include "spec/tf_config_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// One "index: address" of a job, before anything else is known.
struct entry {
    int64_t index;
    const json_t *address;
};

static int on_compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return (x->index > y->index) - (x->index < y->index);
}

static mst_status read_entry(const char *job, const char *key, const json_t *address, struct entry *out,
                             struct mst_error *err)
{
    if (key) {
        struct mst_python_int index;
        mst_status status = mst_python_int_of_text(key, &index, err);
        if (status != MST_OK)
            return mst_fail_prefix(err, status, "TF_CONFIG: cluster.%.100s", job);
        if (index.value < 0 || index.value > INT32_MAX)
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "TF_CONFIG: cluster.%.100s: task index %.100s must be from 0 to %" PRId32, job,
                            index.digits, INT32_MAX);
        out->index = index.value;
    }
    out->address = address;
    if (json_is_string(address))
        return MST_OK;
    struct mst_buf buf;
    mst_buf_init(&buf, 512);
    mst_status status = mst_python_repr(address, &buf); // a longer value is shown in part
    (void)status;
    mst_fail(err, MST_INVALID_ARGUMENT, "TF_CONFIG: Task address %.*s must be bytes or unicode", (int)buf.len,
             (const char *)buf.data);
    mst_buf_fini(&buf);
    return MST_INVALID_ARGUMENT;
}

static mst_status read_entries(const char *job, const json_t *tasks, struct entry *entries, struct mst_error *err)
{
    size_t i = 0;
    if (json_is_array(tasks)) {
        for (; i < json_array_size(tasks); i++) {
            entries[i].index = (int64_t)i;
            MST_TRY(read_entry(job, NULL, json_array_get(tasks, i), &entries[i], err));
        }
        return MST_OK;
    }
    const char *key;
    json_t *address;
    json_object_foreach((json_t *)tasks, key, address)
    {
        MST_TRY(read_entry(job, key, address, &entries[i], err));
        i++;
    }
    qsort(entries, i, sizeof *entries, on_compare_entries);
    for (size_t k = 1; k < i; k++) {
        if (entries[k].index == entries[k - 1].index)
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "TF_CONFIG: cluster.%.100s names the task with index %" PRId64 " twice (%.200s and %.200s)",
                            job, entries[k].index, json_string_value(entries[k - 1].address),
                            json_string_value(entries[k].address));
    }
    return MST_OK;
}

// as_dict(): a list if the indices are 0 … n-1, an index-keyed object if not or if there is none.
static json_t *as_dict(const struct entry *entries, size_t n)
{
    bool is_dense = n > 0 && entries[n - 1].index + 1 == (int64_t)n;
    json_t *value = is_dense ? json_array() : json_object();
    for (size_t i = 0; i < n; i++) {
        json_t *address = json_string(json_string_value(entries[i].address));
        char key[24];
        snprintf(key, sizeof key, "%" PRId64, entries[i].index);
        int failed = is_dense ? json_array_append_new(value, address) : json_object_set_new(value, key, address);
        MST_ASSERT(failed == 0);
    }
    return value;
}

static mst_status read_job(struct mst_cluster *cluster, const char *job, const json_t *tasks, struct mst_error *err)
{
    if (!json_is_array(tasks) && !json_is_object(tasks)) {
        struct mst_buf buf;
        mst_buf_init(&buf, 300);
        mst_status status = mst_python_repr_text(job, &buf); // a longer name is shown in part
        (void)status;
        mst_fail(err, MST_INVALID_ARGUMENT,
                 "TF_CONFIG: The tasks for job %.*s must be a list or a dictionary from integers to strings.",
                 (int)buf.len, (const char *)buf.data);
        mst_buf_fini(&buf);
        return MST_INVALID_ARGUMENT;
    }
    size_t n = json_is_array(tasks) ? json_array_size(tasks) : json_object_size(tasks);
    if (n > MST_CLUSTER_MAX_TASKS)
        return mst_fail(err, MST_INVALID_ARGUMENT, "TF_CONFIG: cluster.%.100s has %zu tasks, the limit is %d", job, n,
                        MST_CLUSTER_MAX_TASKS);
    if (json_is_object(tasks))
        cluster->is_partial = true;
    struct entry *entries = mst_alloc_array(n + 1, sizeof *entries);
    mst_status status = read_entries(job, tasks, entries, err);
    if (status == MST_OK)
        json_object_set_new(cluster->spec, job, as_dict(entries, n));
    free(entries);
    return status;
}

static int on_compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static mst_status read_jobs(struct mst_cluster *cluster, const json_t *jobs, struct mst_error *err)
{
    if (!json_is_object(jobs))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "TF_CONFIG: `cluster` must be a dictionary mapping one or more job names to lists of network "
                        "addresses, or a `ClusterDef` protocol buffer");
    const char **names = mst_alloc_array(json_object_size(jobs) + 1, sizeof *names), *name;
    json_t *tasks;
    size_t n = 0;
    json_object_foreach((json_t *)jobs, name, tasks) names[n++] = name;
    qsort(names, n, sizeof *names, on_compare_names);
    mst_status status = MST_OK;
    for (size_t i = 0; i < n && status == MST_OK; i++)
        status = read_job(cluster, names[i], json_object_get(jobs, names[i]), err);
    free(names);
    return status;
}

// repr(ClusterSpec): as the dict, but index keys are integers there.
static mst_status repr_cluster(const json_t *spec, struct mst_buf *buf)
{
    const char *job, *index, *separator = "ClusterSpec({";
    json_t *tasks, *address;
    json_object_foreach((json_t *)spec, job, tasks)
    {
        MST_TRY(mst_buf_printf(buf, "%s", separator));
        MST_TRY(mst_python_repr_text(job, buf));
        MST_TRY(mst_buf_append(buf, ": ", 2));
        separator = ", ";
        if (json_is_array(tasks)) {
            MST_TRY(mst_python_repr(tasks, buf));
            continue;
        }
        const char *inner = "";
        MST_TRY(mst_buf_append(buf, "{", 1));
        json_object_foreach(tasks, index, address)
        {
            MST_TRY(mst_buf_printf(buf, "%s%s: ", inner, index));
            MST_TRY(mst_python_repr(address, buf));
            inner = ", ";
        }
        MST_TRY(mst_buf_append(buf, "}", 1));
    }
    return mst_buf_append(buf, "})", 2);
}

static mst_status check_names(const struct mst_cluster *cluster, struct mst_error *err)
{
    const char *job;
    json_t *tasks;
    json_object_foreach(cluster->spec, job, tasks)
    {
        if (mst_role_of_job(job) != MST_ROLE_LOCAL)
            continue;
        struct mst_buf buf;
        mst_buf_init(&buf, 800); // a longer cluster is shown in part
        mst_status status = repr_cluster(cluster->spec, &buf);
        mst_fail(
            err, MST_INVALID_ARGUMENT,
            "TF_CONFIG: Disallowed task type found in cluster spec. Allowed types are ('chief', 'worker', 'evaluator', "
            "'ps', None) and the cluster spec is %.*s%s",
            (int)buf.len, (const char *)buf.data, status == MST_OK ? "." : "…");
        mst_buf_fini(&buf);
        return MST_INVALID_ARGUMENT;
    }
    return MST_OK;
}

static mst_status add_task(struct mst_task *task, const char *job, const char *index, const char *text,
                           struct mst_error *err)
{
    struct mst_address address;
    mst_status status = mst_address_parse(text, &address, err);
    if (status != MST_OK)
        return mst_fail_prefix(err, status, "TF_CONFIG: cluster.%s[%s]", job, index);
    *task = (struct mst_task){.index = (uint32_t)strtoul(index, NULL, 10),
                              .address = mst_strdup(text),
                              .host = mst_strdup(address.host),
                              .port = address.port};
    return MST_OK;
}

// The typed lists. `master` shares the list of chief; both together are refused by name before anybody looks.
static mst_status fill_lists(struct mst_cluster *cluster, struct mst_error *err)
{
    const char *job, *key;
    json_t *tasks, *address;
    json_object_foreach(cluster->spec, job, tasks)
    {
        struct mst_task_list *list = &cluster->jobs[mst_role_of_job(job)];
        cluster->has_master = cluster->has_master || strcmp(job, "master") == 0;
        if (list->n_tasks > 0)
            continue;
        size_t n = json_is_array(tasks) ? json_array_size(tasks) : json_object_size(tasks);
        free(list->tasks);
        list->tasks = mst_alloc_array(n + 1, sizeof *list->tasks);
        for (size_t i = 0; json_is_array(tasks) && i < n; i++) {
            char index[24];
            snprintf(index, sizeof index, "%zu", i);
            MST_TRY(add_task(&list->tasks[i], job, index, json_string_value(json_array_get(tasks, i)), err));
            list->n_tasks++;
        }
        if (json_is_array(tasks))
            continue;
        json_object_foreach(tasks, key, address)
        {
            MST_TRY(add_task(&list->tasks[list->n_tasks], job, key, json_string_value(address), err));
            list->n_tasks++;
        }
    }
    return MST_OK;
}

// A task with its job, for finding an address that two tasks share.
struct owner {
    const struct mst_task *task;
    enum mst_role role;
};

static int on_compare_owners(const void *a, const void *b)
{
    const struct owner *x = a, *y = b;
    int order = strcasecmp(x->task->host, y->task->host);
    return order != 0 ? order : (x->task->port > y->task->port) - (x->task->port < y->task->port);
}

static const char *owner_name(const struct mst_cluster *cluster, const struct owner *owner)
{
    return owner->role == MST_ROLE_CHIEF && cluster->has_master ? "master" : mst_role_name(owner->role);
}

static mst_status check_addresses_differ(const struct mst_cluster *cluster, struct mst_error *err)
{
    struct owner *owners = mst_alloc_array(MST_N_ROLES * (size_t)MST_CLUSTER_MAX_TASKS, sizeof *owners);
    size_t n = 0;
    for (enum mst_role role = MST_ROLE_CHIEF; role < MST_N_ROLES; role++) {
        for (size_t i = 0; i < cluster->jobs[role].n_tasks; i++)
            owners[n++] = (struct owner){&cluster->jobs[role].tasks[i], role};
    }
    qsort(owners, n, sizeof *owners, on_compare_owners);
    mst_status status = MST_OK;
    for (size_t i = 1; i < n && status == MST_OK; i++) {
        const struct owner *a = &owners[i - 1], *b = &owners[i];
        if (b->task->port != 0 && on_compare_owners(a, b) == 0)
            status = mst_fail(
                err, MST_INVALID_ARGUMENT,
                "TF_CONFIG contradicts itself: %s %u and %s %u have the same address %s; give each its own",
                owner_name(cluster, a), a->task->index, owner_name(cluster, b), b->task->index, b->task->address);
    }
    free(owners);
    return status;
}

static mst_status read_cluster(struct mst_cluster *cluster, const json_t *jobs, const struct mst_place *place,
                               struct mst_error *err)
{
    MST_TRY(read_jobs(cluster, jobs, err));
    if (json_object_size(cluster->spec) == 0)
        return mst_place_alone(cluster, place, err);
    MST_TRY(check_names(cluster, err));
    MST_TRY(fill_lists(cluster, err));
    MST_TRY(mst_place_find(cluster, place, err));
    return check_addresses_differ(cluster, err);
}

static mst_status read_root(const struct mst_cluster_request *request, const json_t *root, struct mst_cluster *cluster,
                            struct mst_error *err)
{
    if (root && !json_is_object(root))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "TF_CONFIG: must be a JSON object with \"cluster\" and \"task\", not %s",
                        mst_json_type_text(root));
    struct mst_place place;
    MST_TRY(mst_place_read(request, json_object_get(root, "task"), &place, err));
    const json_t *jobs = json_object_get(root, "cluster");
    if (!jobs && (jobs = json_object_get(root, "sparseCluster")) != NULL)
        cluster->is_partial = true;
    if (!jobs)
        return mst_place_alone(cluster, &place, err);
    return read_cluster(cluster, jobs, &place, err);
}

mst_status mst_cluster_parse(const struct mst_cluster_request *request, struct mst_cluster **out, struct mst_error *err)
{
    *out = NULL;
    json_t *root = NULL;
    if (request->tf_config)
        MST_TRY(mst_json_parse(request->tf_config, strlen(request->tf_config), "TF_CONFIG", &root, err));
    struct mst_cluster *cluster = mst_alloc(sizeof *cluster);
    cluster->spec = json_object();
    MST_ASSERT(cluster->spec);
    mst_status status = read_root(request, root, cluster, err);
    json_decref(root);
    if (status != MST_OK) {
        mst_cluster_free(cluster);
        return status;
    }
    *out = cluster;
    return MST_OK;
}
