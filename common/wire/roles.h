/** @file
 *  Who is what in every group, as its owner keeps it: a message Roles (wire/messages.h) with memory of its own.
 *
 *      mst_roles_copy(&mine, &message);                     // a deep copy, in place of what was there
 *      if (mst_epoch_is_newer(&a->epoch, &b->epoch)) …
 *      role = mst_roles_of(&mine, group, ps);
 *      mst_roles_view(&mine, &message);                     // borrowed, to be encoded
 *      mst_roles_fini(&mine);
 *
 *  A *group* is all buckets that the plan gives to one parameter server, its *home*; there are as many groups as
 *  parameter servers. (DESIGN §5, Replication and failover.)
 *  Thread: one at a time.
 */
#pragma once

#include "wire/messages.h"

enum { MST_REPLICAS_MAX = 2 }; // backups of a group
#define MST_NO_PS UINT32_MAX   // in place of an index: none

/** Epochs are ordered by term, then n. (0, 0): none yet. */
struct mst_epoch {
    uint64_t term;
    uint64_t n;
};

struct mst_group_roles {
    uint32_t primary; // MST_NO_PS: all that held it are lost
    size_t n_backups;
    uint32_t backups[MST_REPLICAS_MAX];
    uint32_t joiner;     // MST_NO_PS: none
    bool is_handed_over; // its primary lets no new push in
};

struct mst_roles {
    struct mst_epoch epoch;
    size_t n_ps; // and groups
    struct mst_group_roles *groups;
    uint64_t *incarnations; // by PS, of those that count; 0: it does not
};

/** True if a is newer than b. */
bool mst_epoch_is_newer(const struct mst_epoch *a, const struct mst_epoch *b);
/** True if they are one and the same. */
bool mst_epoch_is_same(const struct mst_epoch *a, const struct mst_epoch *b);
/** Each group on its home, with the next n_replicas servers as backups; no incarnation counts yet. n_replicas < n_ps.
 *  Owner: *out is the caller's, for mst_roles_fini */
void mst_roles_init(struct mst_roles *out, size_t n_ps, size_t n_replicas);
/** Releases it; a zeroed one is fine. */
void mst_roles_fini(struct mst_roles *roles);
/** to becomes a copy of from. */
void mst_roles_copy(struct mst_roles *to, const struct mst_roles *from);
/** to becomes what a message says; before, it is a zeroed one or another copy.
 *  Errors: INVALID_ARGUMENT a message with other numbers of groups and incarnations, with a server that it does not
 *          have, twice the same one in a group, or too many backups (to stays as it was) */
MST_MUST_USE mst_status mst_roles_take(struct mst_roles *to, const struct mst_msg_roles *message,
                                       struct mst_error *err);
/** The message with the same content. Owner: *out is the caller's; what it points to lives in arena
 *  Errors: RESOURCE_EXHAUSTED the arena's maximum */
MST_MUST_USE mst_status mst_roles_view(const struct mst_roles *roles, struct mst_arena *arena,
                                       struct mst_msg_roles *out);
/** What a server is in a group. */
enum mst_replica_role mst_roles_of(const struct mst_roles *roles, uint32_t group, uint32_t ps);
/** New text for the log, "3.2: ps-0 > ps-1, ps-1 > ps-2 + ps-0": primary > backups + joiner, by group. Owner: the
 *  caller's */
char *mst_roles_text(const struct mst_roles *roles);
