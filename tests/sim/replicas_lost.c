// Groups whose copies are all gone: their home restores them from a checkpoint, as chief/ps_groups.c, chief/ps_links.c,
// ps/replication.c and ps/restoring.c do, and the chief counts by chief/setback.h what that loses. The oracle's part:
// only such a group is restored, and the number is that of the steps that were reported and are not there any more.
// A checkpoint is what every bucket has of the steps that were reported, of one moment; how cuts come about is another
// world's matter (world.h).
#include "replicas_private.h"

#include "base/alloc.h"

#include <string.h>

static uint64_t n_bits(const uint64_t *bits)
{
    uint64_t n = 0;
    for (size_t i = 0; i < N_WORDS; i++)
        n += (uint64_t)__builtin_popcountll(bits[i]);
    return n;
}

// ---- what is left ----

static bool holds(const struct world *w, const struct mst_roles *roles, size_t g, uint32_t ps)
{
    enum mst_replica_role role = mst_roles_of(roles, (uint32_t)g, ps);
    return (role == MST_REPLICA_PRIMARY || role == MST_REPLICA_BACKUP) && w->ps[ps].is_up &&
           roles->incarnations[ps] == w->ps[ps].incarnation;
}

// A copy counts that the committed roles name, unless others are proposed that do not: they may be committed by now.
static bool is_left(const struct world *w, const struct mst_failover *f, size_t g)
{
    for (uint32_t ps = 0; ps < w->n_ps; ps++)
        if (holds(w, &f->committed, g, ps) && holds(w, &f->current, g, ps))
            return true;
    return false;
}

void replicas_lost_dies(struct world *w, bool was_full)
{
    const struct sim_chief *leader = replicas_leader(w);
    for (size_t g = 0; leader && g < w->n_ps; g++) {
        struct sim_loss *loss = &w->losses[g];
        loss->may_be = (loss->may_be && !was_full) || !is_left(w, &leader->failover, g);
    }
}

// ---- checkpoints ----

static bool is_serving(const struct world *w, uint32_t ps, size_t g)
{
    bool is_serving = replicas_is_awake(w, ps);
    for (size_t t = 0; t < w->n_threads; t++) {
        const struct sim_copy *copy = &w->ps[ps].copies[replicas_part(w, g, t)];
        is_serving =
            is_serving && !copy->awaits_values && copy->replica.is_reigning && replicas_may_answer(w, ps, copy, 0);
    }
    return is_serving;
}

void replicas_lost_save(struct world *w, struct sim_chief *chief)
{
    if (!w->is_harsh || engine_draw(&w->engine, 8) != 0)
        return;
    for (size_t g = 0; g < w->n_ps; g++) {
        uint32_t primary = mst_failover_primary(&chief->failover, g);
        if (primary == MST_NO_PS || chief->groups[g].is_empty || !is_serving(w, primary, g))
            return;
    }
    w->checkpoints = mst_realloc_array(w->checkpoints, w->n_checkpoints + 1, sizeof *w->checkpoints);
    struct sim_checkpoint *checkpoint = &w->checkpoints[w->n_checkpoints++];
    memcpy(checkpoint->done, w->done, sizeof checkpoint->done);
    for (size_t part = 0; part < w->n_parts; part++) {
        uint32_t primary = mst_failover_primary(&chief->failover, replicas_group_of(w, part));
        const struct sim_copy *copy = &w->ps[primary].copies[part];
        for (size_t b = 0; b < w->n_buckets; b++)
            for (size_t i = 0; i < N_WORDS; i++)
                checkpoint->bits[part][b][i] = copy->buckets[b].state.bits[i] & w->done[i];
    }
    chief->checkpoint = w->n_checkpoints;
    chief->is_touched = true;
}

static const uint64_t *saved_bits(const struct world *w, size_t checkpoint, size_t part, size_t b)
{
    static const uint64_t none[N_WORDS];
    return checkpoint ? w->checkpoints[checkpoint - 1].bits[part][b] : none;
}

void replicas_lost_reported(struct world *w, const struct message *m)
{
    struct sim_op op = m->op;
    for (op.step = 1; op.step <= m->op.step; op.step++) {
        size_t bit = replicas_bit_of(&op);
        w->done[bit / 64] |= (uint64_t)1 << bit % 64;
    }
}

// ---- the chief ----

void replicas_lost_roles_changed(struct world *w, struct sim_chief *chief)
{
    for (size_t g = 0; g < w->n_ps; g++) {
        struct sim_group *group = &chief->groups[g];
        uint32_t primary = mst_failover_primary(&chief->failover, g);
        if (mst_failover_is_lost(&chief->failover, g) && !group->is_empty) {
            group->is_empty = true;
            group->gone_n = replicas_state_touch(chief);
            memcpy(w->losses[g].told, w->done, sizeof w->done);
            mst_setback_emptied(&group->setback, n_bits(w->done), 0);
        }
        if (primary != group->primary)
            group->is_restoring = false;
        group->primary = primary;
        if (primary != MST_NO_PS && group->is_empty)
            chief->is_placed[primary] = false;
    }
}

void replicas_lost_known(struct world *w, struct sim_chief *chief)
{
    for (size_t g = 0; g < w->n_ps; g++) {
        const struct sim_group *group = &chief->groups[g];
        if (group->is_empty && (replicas_state_has(chief, group->gone_n) || w->plant == REPLICAS_PLANT_HOME_UNSTORED))
            mst_failover_may_restore(&chief->failover, g);
    }
}

static void tell(struct world *w, struct sim_chief *chief, uint32_t ps)
{
    for (size_t g = 0; g < w->n_ps; g++) {
        struct sim_group *group = &chief->groups[g];
        if (group->primary != ps)
            continue;
        group->is_restoring = group->is_empty && mst_failover_is_named(&chief->failover, ps);
        if (!group->is_restoring)
            continue;
        uint64_t from = chief->checkpoint ? n_bits(w->checkpoints[chief->checkpoint - 1].done) : 0;
        mst_setback_restoring(&group->setback, from);
    }
}

void replicas_lost_place(struct world *w, size_t c)
{
    struct sim_chief *chief = &w->chiefs[c];
    const struct mst_roles *roles = mst_failover_committed(&chief->failover);
    bool is_ready = roles && replicas_state_is_stored(chief);
    for (uint32_t ps = 0; (w->is_harsh || w->is_twofold) && is_ready && ps < w->n_ps; ps++) {
        if (chief->is_placed[ps] || !mst_failover_is_live(&chief->failover, ps))
            continue;
        struct message m = {.kind = M_MAP, .to = replicas_ps_node(ps), .term = chief->term};
        m.to_incarnation = chief->known[ps];
        m.roles = replicas_keep(w, roles);
        m.checkpoint = chief->checkpoint;
        for (size_t i = 0; i < w->n_workers; i++) {
            const struct sim_member *member = &chief->members[i];
            m.refused[i] = member->incarnation && !member->is_fencing ? member->number - 1 : member->number;
        }
        tell(w, chief, ps);
        replicas_send(w, (uint32_t)c, &m);
    }
}

void replicas_lost_mapped(struct world *w, struct sim_chief *chief, const struct message *m)
{
    uint32_t ps = m->id.ps;
    bool is_all = true;
    if (m->term != chief->term || m->id.incarnation != chief->known[ps] || chief->is_placed[ps] ||
        !mst_epoch_is_same(&m->roles->epoch, &chief->failover.committed.epoch))
        return;
    for (size_t g = 0; g < w->n_ps; g++) {
        struct sim_group *group = &chief->groups[g];
        if (group->primary != ps || !group->is_empty)
            continue;
        if (!group->is_restoring) {
            is_all = false;
            continue;
        }
        if (w->plant == REPLICAS_PLANT_LOST_COUNTED_AGAIN)
            group->setback.counted_step = 0;
        group->is_empty = group->is_restoring = false;
        replicas_lost_counted(w, chief, g, mst_setback_restored(&group->setback, 0));
        chief->is_touched = true;
    }
    chief->is_placed[ps] = is_all;
}

// ---- a parameter server ----

static void restore_bucket(struct world *w, struct sim_bucket *bucket, const uint64_t *bits, const struct message *m)
{
    mst_client_table_fini(&bucket->clients);
    mst_client_table_init(&bucket->clients);
    memcpy(bucket->state.bits, bits, sizeof bucket->state.bits);
    bucket->state.hash = m->checkpoint;
    for (uint32_t i = 0; i < w->n_workers; i++) {
        for (uint64_t number = 1; number <= w->n_numbers[i]; number++) {
            struct mst_client_row row = {.number = number, .step = replicas_last_step(&bucket->state, i, number)};
            if (row.step > 0 && w->plant != REPLICAS_PLANT_RESTORE_ROWLESS)
                mst_client_table_restore(&bucket->clients, i, &row);
        }
        if (w->plant != REPLICAS_PLANT_RESTORE_UNREFUSED)
            mst_client_table_fence(&bucket->clients, i, m->refused[i]);
    }
}

static bool restore_part(struct world *w, struct sim_copy *copy, size_t part, const struct message *m)
{
    bool is_meant = copy->awaits_values || w->plant == REPLICAS_PLANT_MAP_RESTORES_ALL;
    if (!is_meant || mst_replica_role(&copy->replica) != MST_REPLICA_PRIMARY)
        return false;
    copy->awaits_values = false;
    for (size_t b = 0; b < w->n_buckets; b++)
        restore_bucket(w, &copy->buckets[b], saved_bits(w, m->checkpoint, part, b), m);
    return true;
}

void replicas_lost_map(struct world *w, size_t ps, const struct message *m)
{
    struct sim_ps *server = &w->ps[ps];
    // On one connection it comes after the roles and before the next ones.
    if (m->term < server->term || !mst_epoch_is_same(&m->roles->epoch, &server->acting))
        return;
    for (uint32_t g = 0; g < w->n_ps; g++) {
        bool is_any = false;
        for (size_t t = 0; t < w->n_threads; t++)
            is_any |= restore_part(w, &server->copies[replicas_part(w, g, t)], replicas_part(w, g, t), m);
        if (is_any)
            replicas_lost_restored(w, ps, g, m->checkpoint);
    }
    struct message reply = {.kind = M_MAPPED, .to = m->from, .term = m->term, .roles = m->roles};
    reply.id = (struct mst_replica_id){(uint32_t)ps, server->incarnation};
    replicas_send(w, replicas_ps_node(ps), &reply);
}

void replicas_lost_store(struct world *w, size_t ps, size_t part, const struct mst_roles *roles)
{
    struct sim_copy *copy = &w->ps[ps].copies[part];
    const struct mst_replica_view *stored = &copy->replica.stored;
    bool was_lost = (stored->epoch.term || stored->epoch.n) && stored->primary.ps == MST_NO_PS && !stored->n_backups;
    mst_replica_store(&copy->replica, roles);
    enum mst_replica_role role = mst_replica_role(&copy->replica);
    if (role != MST_REPLICA_NONE && !copy->is_made) {
        copy->is_made = true;
        copy->awaits_values = w->ps[ps].incarnation > w->n_first;
    }
    if (role != MST_REPLICA_PRIMARY || w->plant == REPLICAS_PLANT_LOST_UNRESTORED)
        copy->awaits_values = false;
    else if (was_lost)
        copy->awaits_values = true;
}

// ---- the oracle ----

static void forget_fences(struct world *w, size_t part, size_t b, const struct sim_state *state)
{
    for (size_t i = 0; i < w->n_workers; i++)
        for (uint64_t number = 1; number <= w->n_numbers[i]; number++)
            if (w->counted[part][b][i][number].is_counted)
                w->counted[part][b][i][number].step = replicas_last_step(state, i, number);
}

// Of what was reported, what its checkpoint lacks in any bucket.
static void note_open(struct world *w, size_t g, const uint64_t *counted, const uint64_t *reported)
{
    struct sim_loss *loss = &w->losses[g];
    memset(loss->open, 0, sizeof loss->open);
    for (size_t t = 0; t < w->n_threads; t++)
        for (size_t b = 0; b < w->n_buckets; b++) {
            const uint64_t *bits = saved_bits(w, loss->checkpoint, replicas_part(w, g, t), b);
            for (size_t i = 0; i < N_WORDS; i++)
                loss->open[i] |= reported[i] & ~bits[i] & ~counted[i];
        }
}

static void forget_acked(struct world *w, size_t ps, size_t part, struct sim_loss *loss)
{
    for (size_t b = 0; b < w->n_buckets; b++) {
        const uint64_t *bits = saved_bits(w, loss->checkpoint, part, b);
        for (size_t i = 0; i < N_WORDS; i++)
            loss->had[i] |= w->acked[part][b][i] & ~bits[i];
        memcpy(w->acked[part][b], bits, sizeof w->acked[part][b]);
        forget_fences(w, part, b, &w->ps[ps].copies[part].buckets[b].state);
    }
    w->is_changed[part] = true;
}

void replicas_lost_restored(struct world *w, size_t ps, size_t g, size_t checkpoint)
{
    struct sim_loss *loss = &w->losses[g];
    if (!loss->may_be)
        replicas_fail(w, "ps %zu restored group %zu, of which a copy is left", ps, g);
    // By roles that are only proposed it may have to be done again.
    const struct mst_replica *r = &w->ps[ps].copies[g].replica;
    loss->may_be = !mst_epoch_is_same(&r->stored.epoch, &r->acting.epoch);
    loss->checkpoint = checkpoint;
    loss->is_open = true;
    for (size_t t = 0; t < w->n_threads; t++)
        forget_acked(w, ps, replicas_part(w, g, t), loss);
}

void replicas_lost_counted(struct world *w, struct sim_chief *chief, size_t g, uint64_t n)
{
    struct sim_loss *loss = &w->losses[g];
    uint64_t sure[N_WORDS];
    note_open(w, g, chief->counted[g], loss->told);
    for (size_t i = 0; i < N_WORDS; i++) {
        loss->late[i] |= loss->had[i] & ~loss->told[i];
        sure[i] = loss->open[i] & ~loss->late[i];
    }
    uint64_t least = n_bits(sure); // without what was reported only after the group was gone
    uint64_t most = n_bits(loss->open);
    if (n < least || n > most)
        replicas_fail(w, "group %zu lost %llu to %llu steps, and the chief says %llu", g, (unsigned long long)least,
                      (unsigned long long)most, (unsigned long long)n);
    for (size_t i = 0; i < N_WORDS; i++)
        chief->counted[g][i] |= loss->open[i];
    memset(loss->open, 0, sizeof loss->open);
    memset(loss->had, 0, sizeof loss->had);
    loss->is_open = false;
}

bool replicas_lost_is_counted(const struct world *w)
{
    for (size_t g = 0; g < w->n_ps; g++)
        if (w->losses[g].is_open)
            return false;
    return true;
}
