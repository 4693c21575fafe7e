/** @file
 *  Where the roles of a job serve HTTP, from whatever the user has: the addresses themselves, the job that a
 *  `muster local` runs, or TF_CONFIG. How `muster top` and `muster admin` find whom to ask.
 *
 *      MST_TRY(mst_role_addresses_open(&request, &roles, err));
 *      if (mst_role_addresses_find(roles)) for (i < roles->n) …roles->items[i].address…
 *      mst_role_addresses_free(roles);
 *
 *  Thread: one at a time.
 */
#pragma once

#include "muster/status.h"

#include <stdbool.h>
#include <stddef.h>

struct mst_job;
struct mst_cluster;

/** What the command line says. Texts borrowed until free. */
struct mst_role_addresses_request {
    const char *const *addresses; // "[HOST:]PORT"
    size_t n_addresses;
    const char *job; // whose `muster local` is asked; NULL: not given
    const char *const *sets;
    size_t n_sets;
    const char *tf_config; // without addresses and job; NULL: there is none
    size_t http_port;      // of the roles that TF_CONFIG names
    const char *given_as;  // what gives addresses, for the refusal when nothing says whom to ask
};

/** Somebody to ask. */
struct mst_role_address {
    char name[64]; // "ps-1"; "": it says itself
    char *address; // "host:port"
};

struct mst_role_addresses {
    const struct mst_role_addresses_request *request;
    struct mst_job *job;         // of a `muster local`
    struct mst_cluster *cluster; // of TF_CONFIG
    struct mst_role_address *items;
    size_t n;
};

/** Reads what the request names. *out is to be freed also after a failure, NULL is fine.
 *  Errors: INVALID_ARGUMENT nothing says whom to ask, or it is wrong; those of reading the job */
MST_MUST_USE mst_status mst_role_addresses_open(const struct mst_role_addresses_request *request,
                                                struct mst_role_addresses **out, struct mst_error *err);
/** Looks who is to be asked now, where that can change. False: no `muster local` runs the job. */
bool mst_role_addresses_find(struct mst_role_addresses *roles);
/** The directory that the `muster local` of the job writes to; NULL where none is asked. Owner: borrowed */
const char *mst_role_addresses_local_dir(const struct mst_role_addresses *roles);
/** The one that coordinates: the chief, or worker 0 where there is none. NULL: it is not among them. */
const struct mst_role_address *mst_role_addresses_chief(const struct mst_role_addresses *roles);
/** Releases it; NULL is fine. */
void mst_role_addresses_free(struct mst_role_addresses *roles);
