#include "wire/roles.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

bool mst_epoch_is_newer(const struct mst_epoch *a, const struct mst_epoch *b)
{
    return a->term > b->term || (a->term == b->term && a->n > b->n);
}

bool mst_epoch_is_same(const struct mst_epoch *a, const struct mst_epoch *b)
{
    return a->term == b->term && a->n == b->n;
}

static void make(struct mst_roles *out, size_t n_ps)
{
    *out = (struct mst_roles){.n_ps = n_ps,
                              .groups = mst_alloc_array(n_ps, sizeof *out->groups),
                              .incarnations = mst_alloc_array(n_ps, sizeof *out->incarnations)};
}

void mst_roles_init(struct mst_roles *out, size_t n_ps, size_t n_replicas)
{
    MST_ASSERT(n_replicas < n_ps && n_replicas <= MST_REPLICAS_MAX);
    make(out, n_ps);
    for (size_t g = 0; g < n_ps; g++) {
        out->groups[g] = (struct mst_group_roles){.primary = (uint32_t)g, .n_backups = n_replicas, .joiner = MST_NO_PS};
        for (size_t b = 0; b < n_replicas; b++)
            out->groups[g].backups[b] = (uint32_t)((g + 1 + b) % n_ps);
    }
}

void mst_roles_fini(struct mst_roles *roles)
{
    free(roles->groups);
    free(roles->incarnations);
    *roles = (struct mst_roles){0};
}

void mst_roles_copy(struct mst_roles *to, const struct mst_roles *from)
{
    struct mst_roles copy;
    make(&copy, from->n_ps);
    copy.epoch = from->epoch;
    if (from->n_ps) {
        memcpy(copy.groups, from->groups, from->n_ps * sizeof *copy.groups);
        memcpy(copy.incarnations, from->incarnations, from->n_ps * sizeof *copy.incarnations);
    }
    mst_roles_fini(to);
    *to = copy;
}

// Adds a server to the list of those that a group has named so far.
static mst_status name(uint32_t *named, size_t *n_named, uint64_t ps, size_t group, size_t n_ps, struct mst_error *err)
{
    if (ps >= n_ps)
        return mst_fail(err, MST_INVALID_ARGUMENT, "roles: group %zu names ps-%llu, and there are %zu", group,
                        (unsigned long long)ps, n_ps);
    for (size_t i = 0; i < *n_named; i++)
        if (named[i] == ps)
            return mst_fail(err, MST_INVALID_ARGUMENT, "roles: group %zu names ps-%llu twice", group,
                            (unsigned long long)ps);
    named[(*n_named)++] = (uint32_t)ps;
    return MST_OK;
}

static mst_status take_group(struct mst_group_roles *to, const struct mst_msg_group_roles *from, size_t group,
                             size_t n_ps, struct mst_error *err)
{
    uint32_t named[MST_REPLICAS_MAX + 2];
    size_t n_named = 0;
    if (from->n_backups > MST_REPLICAS_MAX)
        return mst_fail(err, MST_INVALID_ARGUMENT, "roles: group %zu has %zu backups, at most %d", group,
                        from->n_backups, MST_REPLICAS_MAX);
    *to = (struct mst_group_roles){.primary = MST_NO_PS,
                                   .n_backups = from->n_backups,
                                   .joiner = MST_NO_PS,
                                   .is_handed_over = from->is_handed_over};
    if (from->has_primary) {
        MST_TRY(name(named, &n_named, from->primary, group, n_ps, err));
        to->primary = from->primary;
    }
    for (size_t b = 0; b < from->n_backups; b++) {
        MST_TRY(name(named, &n_named, from->backups[b], group, n_ps, err));
        to->backups[b] = (uint32_t)from->backups[b];
    }
    if (from->has_joiner) {
        MST_TRY(name(named, &n_named, from->joiner, group, n_ps, err));
        to->joiner = from->joiner;
    }
    return MST_OK;
}

mst_status mst_roles_take(struct mst_roles *to, const struct mst_msg_roles *message, struct mst_error *err)
{
    struct mst_roles taken;
    if (message->n_groups != message->n_incarnations)
        return mst_fail(err, MST_INVALID_ARGUMENT, "roles of %zu groups and %zu parameter servers", message->n_groups,
                        message->n_incarnations);
    make(&taken, message->n_groups);
    taken.epoch = (struct mst_epoch){message->term, message->n};
    for (size_t g = 0; g < taken.n_ps; g++) {
        mst_status status = take_group(&taken.groups[g], &message->groups[g], g, taken.n_ps, err);
        if (status != MST_OK) {
            mst_roles_fini(&taken);
            return status;
        }
        taken.incarnations[g] = message->incarnations[g];
    }
    mst_roles_fini(to);
    *to = taken;
    return MST_OK;
}

mst_status mst_roles_view(const struct mst_roles *roles, struct mst_arena *arena, struct mst_msg_roles *out)
{
    void *groups;
    void *backups;
    MST_TRY(mst_arena_alloc_array(arena, roles->n_ps, sizeof(struct mst_msg_group_roles), &groups));
    MST_TRY(mst_arena_alloc_array(arena, roles->n_ps * MST_REPLICAS_MAX, sizeof(uint64_t), &backups));
    for (size_t g = 0; g < roles->n_ps; g++) {
        const struct mst_group_roles *from = &roles->groups[g];
        uint64_t *list = (uint64_t *)backups + g * MST_REPLICAS_MAX;
        for (size_t b = 0; b < from->n_backups; b++)
            list[b] = from->backups[b];
        ((struct mst_msg_group_roles *)groups)[g] =
            (struct mst_msg_group_roles){.has_primary = from->primary != MST_NO_PS,
                                         .primary = from->primary != MST_NO_PS ? from->primary : 0,
                                         .n_backups = from->n_backups,
                                         .backups = list,
                                         .has_joiner = from->joiner != MST_NO_PS,
                                         .joiner = from->joiner != MST_NO_PS ? from->joiner : 0,
                                         .is_handed_over = from->is_handed_over};
    }
    *out = (struct mst_msg_roles){.term = roles->epoch.term,
                                  .n = roles->epoch.n,
                                  .n_groups = roles->n_ps,
                                  .groups = groups,
                                  .n_incarnations = roles->n_ps,
                                  .incarnations = roles->incarnations};
    return MST_OK;
}

enum mst_replica_role mst_roles_of(const struct mst_roles *roles, uint32_t group, uint32_t ps)
{
    if (group >= roles->n_ps)
        return MST_REPLICA_NONE;
    const struct mst_group_roles *of = &roles->groups[group];
    if (of->primary == ps)
        return MST_REPLICA_PRIMARY;
    for (size_t b = 0; b < of->n_backups; b++)
        if (of->backups[b] == ps)
            return MST_REPLICA_BACKUP;
    return of->joiner == ps ? MST_REPLICA_JOINER : MST_REPLICA_NONE;
}

char *mst_roles_text(const struct mst_roles *roles)
{
    char *text = mst_text("%llu.%llu:", (unsigned long long)roles->epoch.term, (unsigned long long)roles->epoch.n);
    for (size_t g = 0; g < roles->n_ps; g++) {
        const struct mst_group_roles *of = &roles->groups[g];
        char *before = text;
        text = of->primary == MST_NO_PS ? mst_text("%s%s nobody", before, g ? "," : "")
                                        : mst_text("%s%s ps-%u", before, g ? "," : "", of->primary);
        free(before);
        for (size_t b = 0; b < of->n_backups; b++) {
            before = text;
            text = mst_text("%s > ps-%u", before, of->backups[b]);
            free(before);
        }
        if (of->joiner != MST_NO_PS) {
            before = text;
            text = mst_text("%s + ps-%u", before, of->joiner);
            free(before);
        }
    }
    return text;
}
