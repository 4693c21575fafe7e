// What must hold at any moment of a job with replicas, counted from outside.
#include "replicas_private.h"

size_t replicas_bit_of(const struct sim_op *op)
{
    return ((size_t)op->worker * MAX_NUMBERS + (size_t)op->number - 1) * MAX_STEPS + (size_t)op->step - 1;
}

static bool has_bit(const uint64_t *bits, size_t bit)
{
    return bits[bit / 64] >> bit % 64 & 1;
}

void replicas_oracle_applies(struct world *w, size_t ps, size_t part, struct sim_bucket *bucket,
                             const struct sim_op *op)
{
    size_t bit = replicas_bit_of(op);
    if (has_bit(bucket->state.bits, bit))
        replicas_fail(w, "ps %zu applied step %llu of worker %u.%llu twice in part %zu", ps,
                      (unsigned long long)op->step, op->worker, (unsigned long long)op->number, part);
    bucket->state.bits[bit / 64] |= (uint64_t)1 << bit % 64;
    w->is_changed[part] = true;
    bucket->state.hash = (bucket->state.hash ^ (bit + 1)) * 0x100000001b3u + 1;
}

void replicas_oracle_acked(struct world *w, size_t part, const struct sim_op *op)
{
    size_t bit = replicas_bit_of(op);
    w->acked[part][op->bucket][bit / 64] |= (uint64_t)1 << bit % 64;
    w->is_changed[part] = true;
}

void replicas_oracle_counted(struct world *w, size_t part, const struct message *reply)
{
    for (size_t b = 0; b < w->n_buckets; b++)
        w->counted[part][b][reply->op.worker][reply->op.number] = (struct sim_counted){true, reply->steps[b]};
    w->is_changed[part] = true;
}

uint64_t replicas_last_step(const struct sim_state *state, size_t worker, size_t number)
{
    struct sim_op op = {.worker = (uint32_t)worker, .number = number, .step = MAX_STEPS};
    size_t bit = replicas_bit_of(&op);
    while (op.step > 0 && !has_bit(state->bits, bit--))
        op.step--;
    return op.step;
}

static void check_fences(struct world *w, size_t ps, size_t part, size_t b)
{
    const struct sim_state *state = &w->ps[ps].copies[part].buckets[b].state;
    for (size_t worker = 0; worker < w->n_workers; worker++)
        for (size_t number = 1; number < w->n_numbers[worker] + 1; number++) {
            const struct sim_counted *counted = &w->counted[part][b][worker][number];
            uint64_t last = counted->is_counted ? replicas_last_step(state, worker, number) : 0;
            if (counted->is_counted && last != counted->step)
                replicas_fail(w, "ps %zu serves part %zu with step %llu of worker %zu.%zu, its fence counted %llu", ps,
                              part, (unsigned long long)last, worker, number, (unsigned long long)counted->step);
        }
}

static void check_serving(struct world *w, size_t ps, size_t part)
{
    const struct sim_copy *copy = &w->ps[ps].copies[part];
    for (size_t b = 0; b < w->n_buckets; b++) {
        for (size_t i = 0; i < N_WORDS; i++)
            if (w->acked[part][b][i] & ~copy->buckets[b].state.bits[i])
                replicas_fail(w, "ps %zu serves part %zu without a push that was acknowledged", ps, part);
        check_fences(w, ps, part, b);
    }
}

// A peer that follows has the start of what its primary has; with as many operations it has all of it.
static void check_peer(struct world *w, size_t ps, size_t part, const struct mst_replica_peer *peer)
{
    const struct sim_copy *primary = &w->ps[ps].copies[part];
    const struct sim_ps *other = &w->ps[peer->id.ps];
    const struct sim_copy *copy = &other->copies[part];
    if (peer->phase != MST_PEER_FOLLOWS || !other->is_up || other->incarnation != peer->id.incarnation ||
        !mst_epoch_is_same(&copy->replica.stored.epoch, &primary->replica.acting.epoch) ||
        mst_replica_has_all(&copy->replica) == MST_REPLICA_NOTHING)
        return;
    for (size_t b = 0; b < w->n_buckets; b++) {
        const struct sim_state *mine = &primary->buckets[b].state;
        const struct sim_state *its = &copy->buckets[b].state;
        bool is_part = true;
        for (size_t i = 0; i < N_WORDS; i++)
            is_part = is_part && (its->bits[i] & ~mine->bits[i]) == 0;
        bool is_equal = copy->replica.seq != primary->replica.seq || mine->hash == its->hash;
        if (!is_part || !is_equal)
            replicas_fail(w, "ps %u has another bucket %zu of part %zu than its primary, ps %zu", peer->id.ps, b, part,
                          ps);
    }
}

void replicas_oracle_check(struct world *w, size_t part)
{
    unsigned serving = 0;
    for (size_t ps = 0; ps < w->n_ps; ps++) {
        const struct sim_copy *copy = &w->ps[ps].copies[part];
        if (!copy->replica.is_reigning || copy->awaits_values || !replicas_is_awake(w, ps) ||
            !mst_replica_is_primary(&copy->replica, w->engine.now_ms))
            continue;
        for (size_t i = 0; i < copy->replica.n_peers; i++)
            check_peer(w, ps, part, &copy->replica.peers[i]);
        if (!replicas_may_answer(w, ps, copy, 0))
            continue;
        serving |= 1u << ps;
    }
    if (serving & (serving - 1))
        replicas_fail(w, "more than one parameter server serves part %zu", part);
    for (size_t ps = 0; (w->is_changed[part] || serving != w->had_served[part]) && ps < w->n_ps; ps++)
        if (serving >> ps & 1)
            check_serving(w, ps, part);
    w->is_changed[part] = false;
    w->had_served[part] = serving;
}
