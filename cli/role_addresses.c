#include "cli/role_addresses.h"

#include "base/alloc.h"
#include "base/error.h"
#include "cli/run_lock.h"
#include "spec/job.h"
#include "spec/tf_config.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(struct mst_role_addresses *roles, const char *name, char *address)
{
    roles->items = mst_realloc_array(roles->items, roles->n + 1, sizeof *roles->items);
    struct mst_role_address *item = &roles->items[roles->n++];
    snprintf(item->name, sizeof item->name, "%s", name);
    item->address = address;
}

static void clear(struct mst_role_addresses *roles)
{
    for (size_t i = 0; i < roles->n; i++)
        free(roles->items[i].address);
    roles->n = 0;
}

static mst_status check_addresses(const struct mst_role_addresses_request *request, struct mst_error *err)
{
    for (size_t i = 0; i < request->n_addresses; i++) {
        const char *address = request->addresses[i], *colon = strrchr(address, ':');
        const char *port = colon ? colon + 1 : address;
        if (*port == '\0' || port[strspn(port, "0123456789")] != '\0' || strtoul(port, NULL, 10) > UINT16_MAX)
            return mst_fail(err, MST_INVALID_ARGUMENT,
                            "'%s' is no address of a role; write HOST:PORT, or the port alone for this machine",
                            address);
    }
    return MST_OK;
}

static void add_given(struct mst_role_addresses *roles)
{
    for (size_t i = 0; i < roles->request->n_addresses; i++) {
        const char *address = roles->request->addresses[i];
        add(roles, "", strchr(address, ':') ? mst_strdup(address) : mst_text("127.0.0.1:%s", address));
    }
}

// Those that a `muster local` tells; false if none runs.
static bool add_local(struct mst_role_addresses *roles)
{
    json_t *told = mst_run_lock_read(roles->job->output_dir);
    const json_t *list = json_object_get(told, "roles");
    size_t i;
    const json_t *role;
    json_array_foreach(list, i, role)
    {
        const char *kind = json_string_value(json_object_get(role, "role"));
        const char *address = json_string_value(json_object_get(role, "http"));
        if (!kind || !address)
            continue;
        char name[64];
        snprintf(name, sizeof name, "%s-%lld", kind, (long long)json_integer_value(json_object_get(role, "index")));
        add(roles, name, mst_strdup(address));
    }
    json_decref(told);
    return roles->n > 0;
}

static void add_cluster(struct mst_role_addresses *roles)
{
    for (int role = 0; role < MST_N_ROLES; role++)
        for (size_t i = 0; i < roles->cluster->jobs[role].n_tasks; i++) {
            const struct mst_task *task = &roles->cluster->jobs[role].tasks[i];
            bool is_v6 = strchr(task->host, ':') != NULL;
            char name[64];
            snprintf(name, sizeof name, "%s-%u", mst_role_name((enum mst_role)role), task->index);
            add(roles, name,
                mst_text("%s%s%s:%zu", is_v6 ? "[" : "", task->host, is_v6 ? "]" : "", roles->request->http_port));
        }
}

mst_status mst_role_addresses_open(const struct mst_role_addresses_request *request, struct mst_role_addresses **out,
                                   struct mst_error *err)
{
    struct mst_role_addresses *roles = *out = mst_alloc(sizeof *roles);
    *roles = (struct mst_role_addresses){.request = request};
    if (request->n_addresses && request->job)
        return mst_fail(err, MST_INVALID_ARGUMENT, "give %s or --job, not both", request->given_as);
    if (request->n_sets && !request->job)
        return mst_fail(err, MST_INVALID_ARGUMENT, "--set %s changes a job, but there is no --job", request->sets[0]);
    if (request->job) {
        struct mst_job_request job = {.path = request->job, .sets = request->sets, .n_sets = request->n_sets};
        return mst_job_load(&job, &roles->job, err);
    }
    if (request->n_addresses)
        return check_addresses(request, err);
    if (!request->tf_config)
        return mst_fail(err, MST_INVALID_ARGUMENT,
                        "nothing says whom to ask: give --job JOB of a running muster local, or %s, or set TF_CONFIG",
                        request->given_as);
    struct mst_cluster_request cluster = {.tf_config = request->tf_config, .is_onlooker = true};
    MST_TRY(mst_cluster_parse(&cluster, &roles->cluster, err));
    return json_object_size(roles->cluster->spec) == 0
               ? mst_fail(err, MST_INVALID_ARGUMENT, "TF_CONFIG names no cluster, so there is nobody to ask")
               : MST_OK;
}

bool mst_role_addresses_find(struct mst_role_addresses *roles)
{
    clear(roles);
    if (roles->job)
        return add_local(roles);
    if (roles->cluster)
        add_cluster(roles);
    else
        add_given(roles);
    return true;
}

const char *mst_role_addresses_local_dir(const struct mst_role_addresses *roles)
{
    return roles->job ? roles->job->output_dir : NULL;
}

const struct mst_role_address *mst_role_addresses_chief(const struct mst_role_addresses *roles)
{
    const struct mst_role_address *worker = NULL;
    for (size_t i = 0; i < roles->n; i++) {
        const struct mst_role_address *item = &roles->items[i];
        if (item->name[0] == '\0' || strncmp(item->name, "chief-", sizeof "chief-" - 1) == 0)
            return item;
        if (strcmp(item->name, "worker-0") == 0)
            worker = item;
    }
    return worker;
}

void mst_role_addresses_free(struct mst_role_addresses *roles)
{
    if (!roles)
        return;
    clear(roles);
    free(roles->items);
    mst_job_free(roles->job);
    mst_cluster_free(roles->cluster);
    free(roles);
}
