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

static mst_status index_of_key(const char *job, const char *key, int64_t *out, struct mst_error *err)
{
    struct mst_python_int index;
    mst_status status = mst_python_int_of_text(key, &index, err);
    if (status != MST_OK)
        return mst_fail_prefix(err, status, "TF_CONFIG: cluster.%.100s", job);
    if (index.value < 0 || index.value > INT32_MAX)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "TF_CONFIG: cluster.%.100s: task index %.100s must be from 0 to %" PRId32, job, index.digits,
                        INT32_MAX);
    *out = index.value;
    return MST_OK;
}

static mst_status check_address_type(const json_t *address, struct mst_error *err)
{
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

// Fills in as many entries as there are tasks, sorted by index.
static mst_status read_entries(const char *job, const json_t *tasks, struct entry *entries, struct mst_error *err)
{
    size_t n = 0;
    for (; json_is_array(tasks) && n < json_array_size(tasks); n++)
        entries[n] = (struct entry){(int64_t)n, json_array_get(tasks, n)};
    const char *key;
    json_t *address;
    json_object_foreach((json_t *)tasks, key, address)
    {
        MST_TRY(index_of_key(job, key, &entries[n].index, err));
        entries[n++].address = address;
    }
    qsort(entries, n, sizeof *entries, on_compare_entries);
    for (size_t i = 0; i < n; i++)
        MST_TRY(check_address_type(entries[i].address, err));
    for (size_t i = 1; i < n; i++) {
        if (entries[i].index == entries[i - 1].index)
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "TF_CONFIG: cluster.%.100s names the task with index %" PRId64 " twice (%.200s and %.200s)",
                            job, entries[i].index, json_string_value(entries[i - 1].address),
                            json_string_value(entries[i].address));
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

static size_t n_tasks_in(const json_t *tasks)
{
    return json_is_array(tasks) ? json_array_size(tasks) : json_object_size(tasks);
}

static mst_status check_job_type(const char *job, const json_t *tasks, struct mst_error *err)
{
    if (json_is_array(tasks) || json_is_object(tasks))
        return MST_OK;
    struct mst_buf buf;
    mst_buf_init(&buf, 300);
    mst_status status = mst_python_repr_text(job, &buf); // a longer name is shown in part
    (void)status;
    mst_fail(err, MST_INVALID_ARGUMENT,
             "TF_CONFIG: The tasks for job %.*s must be a list or a dictionary from integers to strings.", (int)buf.len,
             (const char *)buf.data);
    mst_buf_fini(&buf);
    return MST_INVALID_ARGUMENT;
}

static mst_status read_job(struct mst_cluster *cluster, const char *job, const json_t *tasks, struct mst_error *err)
{
    size_t n = n_tasks_in(tasks);
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
        status = check_job_type(names[i], json_object_get(jobs, names[i]), err);
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

static void add_task(struct mst_task_list *list, const char *index, const json_t *address)
{
    list->tasks[list->n_tasks++] = (struct mst_task){.index = (uint32_t)strtoul(index, NULL, 10),
                                                     .address = mst_strdup(json_string_value(address))};
}

// The typed lists, addresses not yet taken apart. `master` shares the list of chief; both together are refused by name
// before anybody looks.
static void fill_lists(struct mst_cluster *cluster)
{
    const char *job, *key;
    json_t *tasks, *address;
    json_object_foreach(cluster->spec, job, tasks)
    {
        struct mst_task_list *list = &cluster->jobs[mst_role_of_job(job)];
        cluster->has_master = cluster->has_master || strcmp(job, "master") == 0;
        if (list->n_tasks > 0)
            continue;
        free(list->tasks);
        list->tasks = mst_alloc_array(n_tasks_in(tasks) + 1, sizeof *list->tasks);
        for (size_t i = 0; i < json_array_size(tasks); i++) {
            char index[24];
            snprintf(index, sizeof index, "%zu", i);
            add_task(list, index, json_array_get(tasks, i));
        }
        json_object_foreach(tasks, key, address) add_task(list, key, address);
    }
}

static mst_status parse_addresses(struct mst_cluster *cluster, struct mst_error *err)
{
    for (size_t role = 0; role < MST_N_ROLES; role++) {
        for (size_t i = 0; i < cluster->jobs[role].n_tasks; i++) {
            struct mst_task *task = &cluster->jobs[role].tasks[i];
            struct mst_address address;
            mst_status status = mst_address_parse(task->address, &address, err);
            if (status != MST_OK)
                return mst_fail_prefix(err, status, "TF_CONFIG: cluster.%s[%" PRIu32 "]",
                                       mst_cluster_job_name(cluster, (enum mst_role)role), task->index);
            task->host = mst_strdup(address.host);
            task->port = address.port;
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

static mst_status check_addresses_differ(const struct mst_cluster *cluster, struct mst_error *err)
{
    struct owner *owners = mst_alloc_array(MST_N_ROLES * (size_t)MST_CLUSTER_MAX_TASKS, sizeof *owners);
    size_t n = 0;
    for (size_t role = 0; role < MST_N_ROLES; role++) {
        for (size_t i = 0; i < cluster->jobs[role].n_tasks; i++)
            owners[n++] = (struct owner){&cluster->jobs[role].tasks[i], (enum mst_role)role};
    }
    qsort(owners, n, sizeof *owners, on_compare_owners);
    mst_status status = MST_OK;
    for (size_t i = 1; i < n && status == MST_OK; i++) {
        const struct owner *a = &owners[i - 1], *b = &owners[i];
        if (b->task->port != 0 && on_compare_owners(a, b) == 0)
            status =
                mst_fail(err, MST_INVALID_ARGUMENT,
                         "TF_CONFIG contradicts itself: %s %u and %s %u have the same address %s; give each its own",
                         mst_cluster_job_name(cluster, a->role), a->task->index, mst_cluster_job_name(cluster, b->role),
                         b->task->index, b->task->address);
    }
    free(owners);
    return status;
}

static mst_status find_place(const struct mst_cluster_request *request, const json_t *root, struct mst_cluster *cluster,
                             struct mst_error *err)
{
    struct mst_place place;
    MST_TRY(mst_place_read(request, json_object_get(root, "task"), &place, err));
    if (json_object_size(cluster->spec) == 0)
        return mst_place_alone(cluster, &place, err);
    MST_TRY(check_names(cluster, err));
    fill_lists(cluster);
    MST_TRY(mst_place_find(cluster, &place, err));
    MST_TRY(parse_addresses(cluster, err));
    return check_addresses_differ(cluster, err);
}

// The tasks alone, for who only wants to know where they are.
static mst_status look_on(struct mst_cluster *cluster, struct mst_error *err)
{
    cluster->role = MST_ROLE_LOCAL;
    MST_TRY(check_names(cluster, err));
    fill_lists(cluster);
    cluster->n_workers = cluster->jobs[MST_ROLE_WORKER].n_tasks;
    cluster->n_ps = cluster->jobs[MST_ROLE_PS].n_tasks;
    return parse_addresses(cluster, err);
}

static mst_status read_root(const struct mst_cluster_request *request, const json_t *root, struct mst_cluster *cluster,
                            struct mst_error *err)
{
    if (root && !json_is_object(root))
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "TF_CONFIG: must be a JSON object with \"cluster\" and \"task\", not %s",
                        mst_json_type_text(root));
    const json_t *jobs = json_object_get(root, "cluster");
    if (!jobs && (jobs = json_object_get(root, "sparseCluster")) != NULL)
        cluster->is_partial = true;
    if (jobs)
        MST_TRY(read_jobs(cluster, jobs, err));
    return request->is_onlooker ? look_on(cluster, err) : find_place(request, root, cluster, err);
}

// A variable that a template left empty is common enough for Python's own words and the remedy.
static mst_status parse_json(const char *text, json_t **out, struct mst_error *err)
{
    *out = NULL;
    size_t len = strlen(text), n_blank = strspn(text, " \t\r\n"), line = 1, column = 1;
    if (n_blank < len)
        return mst_json_parse(text, len, "TF_CONFIG", out, err);
    for (size_t i = 0; i < n_blank; i++) {
        line += text[i] == '\n';
        column = text[i] == '\n' ? 1 : column + 1;
    }
    return mst_fail(
        err, MST_INVALID_ARGUMENT,
        "TF_CONFIG: Expecting value: line %zu column %zu (char %zu); the variable is set but empty: unset it, "
        "or give it a cluster",
        line, column, n_blank);
}

mst_status mst_cluster_parse(const struct mst_cluster_request *request, struct mst_cluster **out, struct mst_error *err)
{
    *out = NULL;
    json_t *root = NULL;
    if (request->tf_config)
        MST_TRY(parse_json(request->tf_config, &root, err));
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
