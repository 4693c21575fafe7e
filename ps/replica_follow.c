// A follower's half of a replica: what it takes of operations and buckets, and the leases that its answers grant.
#include "ps/replica_private.h"

#include <string.h>

static bool is_from_primary(const struct mst_replica *r, const struct mst_replica_call *call)
{
    enum mst_replica_role role = mst_replica_role(r);
    return (role == MST_REPLICA_BACKUP || role == MST_REPLICA_JOINER) &&
           mst_epoch_is_same(&r->stored.epoch, &call->epoch) && is_same(&r->stored.primary, &call->from);
}

static void grant(struct mst_replica *r, const struct mst_replica_id *holder, uint64_t now_ms)
{
    uint64_t until_ms = now_ms + r->config.lease_ms;
    size_t n = 0;
    for (size_t i = 0; i < r->n_grants; i++)
        if (r->grants[i].until_ms > now_ms && !is_same(&r->grants[i].holder, holder))
            r->grants[n++] = r->grants[i];
    r->n_grants = n;
    if (n == MST_REPLICA_GRANTS) {
        // No room for one more: the last, which ends last, stands for both and cannot be given back.
        r->grants[n - 1] = (struct mst_replica_grant){{MST_NO_PS, 0}, until_ms};
        return;
    }
    r->grants[r->n_grants++] = (struct mst_replica_grant){*holder, until_ms};
}

static enum mst_follow_verdict check_op(const struct mst_replica *r, const struct mst_replica_call *op)
{
    if (!is_from_primary(r, op) || op->bucket >= r->config.n_buckets)
        return MST_FOLLOW_REFUSED;
    if (!r->is_whole && !r->is_begun)
        return MST_FOLLOW_GAP;
    if (op->seq <= r->seq)
        return MST_FOLLOW_HAVE;
    if (op->seq != r->seq + 1)
        return MST_FOLLOW_GAP;
    return r->is_whole || r->is_swept[op->bucket] ? MST_FOLLOW_APPLY : MST_FOLLOW_COUNT;
}

enum mst_follow_verdict mst_replica_take_op(struct mst_replica *r, const struct mst_replica_call *op, uint64_t now_ms)
{
    enum mst_follow_verdict verdict = check_op(r, op);
    if (verdict == MST_FOLLOW_APPLY && op->is_bare) {
        if (!r->is_begun)
            return MST_FOLLOW_REFUSED; // nothing is being swept
        // A bucket that was late came after all, and its primary does not count on it: all is begun again.
        forget(r);
        verdict = MST_FOLLOW_GAP;
    }
    if (verdict == MST_FOLLOW_APPLY || verdict == MST_FOLLOW_COUNT)
        r->seq = op->seq;
    if (verdict != MST_FOLLOW_REFUSED)
        grant(r, &op->from, now_ms);
    return verdict;
}

enum mst_follow_verdict mst_replica_check_sweep(const struct mst_replica *r, const struct mst_replica_call *sweep)
{
    if (!is_from_primary(r, sweep) || sweep->bucket >= r->config.n_buckets)
        return MST_FOLLOW_REFUSED;
    if (sweep->is_first) {
        // One of this epoch that is not newer than what was taken is an old one that was late.
        bool is_old = r->is_begun && mst_epoch_is_same(&r->begun, &sweep->epoch) && sweep->seq <= r->seq;
        return is_old ? MST_FOLLOW_HAVE : MST_FOLLOW_APPLY;
    }
    if (!r->is_begun)
        return r->is_whole ? MST_FOLLOW_REFUSED : MST_FOLLOW_GAP;
    if (r->is_swept[sweep->bucket])
        return MST_FOLLOW_HAVE;
    return sweep->seq == r->seq ? MST_FOLLOW_APPLY : MST_FOLLOW_GAP;
}

enum mst_follow_verdict mst_replica_take_sweep(struct mst_replica *r, const struct mst_replica_call *sweep,
                                               uint64_t now_ms)
{
    enum mst_follow_verdict verdict = mst_replica_check_sweep(r, sweep);
    if (verdict != MST_FOLLOW_REFUSED)
        grant(r, &sweep->from, now_ms);
    if (verdict != MST_FOLLOW_APPLY)
        return verdict;
    if (sweep->is_first) {
        r->is_begun = true;
        r->begun = sweep->epoch;
        r->is_whole = false;
        memset(r->is_swept, 0, r->config.n_buckets * sizeof *r->is_swept);
        r->n_swept = 0;
        r->seq = sweep->seq;
    }
    r->is_swept[sweep->bucket] = true;
    r->is_whole = ++r->n_swept == r->config.n_buckets;
    return verdict;
}

bool mst_replica_ask(struct mst_replica *r, const struct mst_replica_call *call, uint64_t now_ms)
{
    if (!is_from_primary(r, call))
        return false;
    grant(r, &call->from, now_ms);
    return true;
}

bool mst_replica_take_release(struct mst_replica *r, const struct mst_replica_call *call)
{
    // Under other roles the one that gives it back may have been given another one since.
    if (!mst_epoch_is_same(&r->stored.epoch, &call->epoch) || !is_self(r, &r->stored.primary))
        return false;
    mst_replica_gone(r, &call->from);
    return true;
}

uint64_t mst_replica_has(const struct mst_replica *r)
{
    return r->is_whole || r->is_begun ? r->seq : MST_REPLICA_NOTHING;
}

uint64_t mst_replica_has_all(const struct mst_replica *r)
{
    return r->is_whole ? r->seq : MST_REPLICA_NOTHING;
}

bool mst_replica_is_swept(const struct mst_replica *r)
{
    return mst_replica_role(r) == MST_REPLICA_JOINER && r->is_whole;
}
