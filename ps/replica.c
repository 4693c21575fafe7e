// Each rule here is one that a schedule breaks if it is left out: tests/sim knows them by name (sim --list), and
// docs/decisions/replicas.md says which. Two are easy to take for details:
//
// - What a follower has is known by a number alone, so the number has to mean the same log. A primary that begins its
//   reign compares it once, at its own number of that moment; who has another one, or is in the middle of a sweep, is
//   swept. A backup that is swept keeps what it had of the buckets that did not come yet: nothing new is acknowledged
//   meanwhile, so each bucket by itself has all that ever was.
// - A sweep begins with a bucket that says so, and no operation is sent before that one is answered. So a follower that
//   still has something of an older sweep never takes an operation or a bucket as its continuation.
#include "ps/replica_private.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

enum { TRIES = 4 }; // a quarter of a lease apart

static struct mst_replica_id name(const struct mst_roles *roles, uint32_t ps)
{
    return (struct mst_replica_id){ps, ps == MST_NO_PS ? 0 : roles->incarnations[ps]};
}

static struct mst_replica_view view_of(const struct mst_roles *roles, uint32_t group)
{
    const struct mst_group_roles *from = &roles->groups[group];
    struct mst_replica_view view = {.epoch = roles->epoch,
                                    .primary = name(roles, from->primary),
                                    .n_backups = from->n_backups,
                                    .joiner = name(roles, from->joiner),
                                    .is_handed_over = from->is_handed_over};
    for (size_t i = 0; i < from->n_backups; i++)
        view.backups[i] = name(roles, from->backups[i]);
    return view;
}

void mst_replica_init(struct mst_replica *r, const struct mst_replica_config *config)
{
    MST_ASSERT(config->n_buckets > 0);
    *r = (struct mst_replica){.config = *config};
    r->is_swept = mst_alloc_array(config->n_buckets, sizeof *r->is_swept);
    struct mst_replica_id none = {MST_NO_PS, 0};
    r->stored.primary = r->stored.joiner = r->acting.primary = r->acting.joiner = none;
}

void mst_replica_fini(struct mst_replica *r)
{
    free(r->is_swept);
    *r = (struct mst_replica){0};
}

// ---- roles ----

static bool is_backup(const struct mst_replica_view *view, const struct mst_replica_id *id)
{
    for (size_t i = 0; i < view->n_backups; i++)
        if (is_same(&view->backups[i], id))
            return true;
    return false;
}

enum mst_replica_role mst_replica_role(const struct mst_replica *r)
{
    const struct mst_replica_view *view = &r->stored;
    if (view->epoch.term == 0 && view->epoch.n == 0)
        return MST_REPLICA_NONE;
    if (is_self(r, &view->primary))
        return MST_REPLICA_PRIMARY;
    if (is_backup(view, &r->config.self))
        return MST_REPLICA_BACKUP;
    return is_self(r, &view->joiner) ? MST_REPLICA_JOINER : MST_REPLICA_NONE;
}

// Which part of what is here is still of use under the roles that are stored now.
static void keep_what_counts(struct mst_replica *r, const struct mst_replica_view *old)
{
    bool has_same_primary = is_same(&old->primary, &r->stored.primary);
    switch (mst_replica_role(r)) {
    case MST_REPLICA_PRIMARY:
        break;
    case MST_REPLICA_BACKUP:
        if (!has_same_primary)
            r->is_begun = false;
        break;
    case MST_REPLICA_JOINER:
        if (!has_same_primary || !is_self(r, &old->joiner))
            forget(r);
        break;
    default:
        forget(r);
    }
}

// Another one is primary: what this one holds of leases it gives back, so that the other need not wait.
static void end_reign(struct mst_replica *r)
{
    r->is_reigning = false;
    r->release_until_ms = 0;
    r->release_retry_ms = 0;
    for (size_t i = 0; i < r->n_peers; i++)
        if (r->peers[i].lease_ms > r->release_until_ms)
            r->release_until_ms = r->peers[i].lease_ms;
    r->n_peers = 0;
}

void mst_replica_store(struct mst_replica *r, const struct mst_roles *roles)
{
    if (!mst_epoch_is_newer(&roles->epoch, &r->stored.epoch))
        return;
    struct mst_replica_view old = r->stored;
    bool is_first = old.epoch.term == 0 && old.epoch.n == 0;
    r->stored = view_of(roles, r->config.group);
    enum mst_replica_role role = mst_replica_role(r);
    if (is_first)
        r->is_whole = role == MST_REPLICA_PRIMARY || role == MST_REPLICA_BACKUP;
    else
        keep_what_counts(r, &old);
    // Also when nobody acts on these roles in the end: others may, and then what the peers have is unknown here.
    if (r->is_reigning && role != MST_REPLICA_PRIMARY)
        end_reign(r);
}

static void begin_sweep(struct mst_replica_peer *peer, uint64_t now_ms)
{
    peer->phase = MST_PEER_SWEPT;
    peer->has_base = false;
    peer->n_swept = peer->n_sent = peer->n_offered = 0;
    peer->swept_ms = now_ms;
}

static struct mst_replica_peer *find_peer(struct mst_replica *r, uint32_t ps)
{
    for (size_t i = 0; i < r->n_peers; i++)
        if (r->peers[i].id.ps == ps)
            return &r->peers[i];
    return NULL;
}

// Of the peers before, who is one still goes on where it was; who is new is asked or swept.
static void name_peer(struct mst_replica *r, const struct mst_replica_peer *before, size_t n_before,
                      const struct mst_replica_peer *named, bool is_new_reign)
{
    struct mst_replica_peer *peer = &r->peers[r->n_peers++];
    *peer = *named;
    for (size_t i = 0; i < n_before; i++)
        if (is_same(&before[i].id, &named->id) && (named->is_backup || !before[i].is_backup)) {
            *peer = before[i];
            peer->is_backup = named->is_backup;
            peer->heard_ms = peer->ask_at_ms = named->heard_ms;
            peer->n_tries = 0;
            peer->sent = peer->acked; // what is on its way may be refused under the new roles
            peer->n_sent = peer->n_swept;
            peer->retry_ms = peer->pause_ms = 0;
            peer->is_too_large = false;
            return;
        }
    if (is_new_reign && named->is_backup && r->base != MST_REPLICA_NOTHING)
        peer->phase = MST_PEER_ASKED;
    else
        begin_sweep(peer, named->heard_ms);
}

void mst_replica_act(struct mst_replica *r, const struct mst_epoch *epoch, uint64_t now_ms)
{
    if (!mst_epoch_is_same(&r->stored.epoch, epoch) || mst_epoch_is_same(&r->acting.epoch, epoch))
        return;
    r->acting = r->stored;
    if (mst_replica_role(r) != MST_REPLICA_PRIMARY)
        return;
    bool is_new_reign = !r->is_reigning;
    struct mst_replica_peer before[MST_REPLICA_PEERS];
    size_t n_before = is_new_reign ? 0 : r->n_peers;
    memcpy(before, r->peers, sizeof before);
    if (is_new_reign) {
        r->is_reigning = true;
        r->base = r->is_whole ? r->seq : MST_REPLICA_NOTHING;
        r->is_whole = true; // from now on what is here is what there is
        r->is_begun = false;
        r->release_until_ms = 0;
    }
    r->n_peers = 0;
    struct mst_replica_peer named = {.is_backup = true, .heard_ms = now_ms, .ask_at_ms = now_ms};
    for (size_t i = 0; i < r->acting.n_backups; i++) {
        named.id = r->acting.backups[i];
        name_peer(r, before, n_before, &named, is_new_reign);
    }
    if (r->acting.joiner.ps != MST_NO_PS) {
        named.id = r->acting.joiner;
        named.is_backup = false;
        name_peer(r, before, n_before, &named, is_new_reign);
    }
}

void mst_replica_gone(struct mst_replica *r, const struct mst_replica_id *who)
{
    for (size_t i = 0; i < r->n_grants; i++)
        if (is_same(&r->grants[i].holder, who))
            r->grants[i].until_ms = 0;
}

// ---- primary ----

static bool waits_for(const struct mst_replica_peer *peer)
{
    return peer->is_backup || peer->is_waited_for;
}

// It has its role by what is stored; whether its own grants ran out is another question.
static bool may_reign(const struct mst_replica *r)
{
    return r->is_reigning && mst_epoch_is_same(&r->acting.epoch, &r->stored.epoch);
}

bool mst_replica_is_primary(const struct mst_replica *r, uint64_t now_ms)
{
    if (!may_reign(r))
        return false;
    for (size_t i = 0; i < r->n_grants; i++)
        if (r->grants[i].until_ms > now_ms)
            return false;
    return true;
}

bool mst_replica_admits(const struct mst_replica *r, uint64_t now_ms)
{
    return mst_replica_is_primary(r, now_ms) && !r->acting.is_handed_over;
}

bool mst_replica_serves(const struct mst_replica *r, uint64_t now_ms)
{
    if (!mst_replica_is_primary(r, now_ms))
        return false;
    for (size_t i = 0; i < r->n_peers; i++)
        if (waits_for(&r->peers[i]) && r->peers[i].lease_ms <= now_ms)
            return false;
    return true;
}

uint64_t mst_replica_applied(struct mst_replica *r)
{
    return ++r->seq;
}

uint64_t mst_replica_acked(const struct mst_replica *r)
{
    uint64_t acked = UINT64_MAX;
    for (size_t i = 0; i < r->n_peers; i++) {
        const struct mst_replica_peer *peer = &r->peers[i];
        uint64_t has = peer->phase == MST_PEER_FOLLOWS ? peer->acked : 0;
        if (waits_for(peer) && has < acked)
            acked = has;
    }
    return acked;
}

bool mst_replica_may_answer(const struct mst_replica *r, uint64_t seq, uint64_t now_ms)
{
    return mst_replica_serves(r, now_ms) && mst_replica_acked(r) >= seq;
}

bool mst_replica_is_counted(const struct mst_replica *r, size_t bucket)
{
    for (size_t i = 0; i < r->n_peers; i++)
        if (r->peers[i].phase != MST_PEER_SWEPT || bucket < r->peers[i].n_offered)
            return false;
    return true;
}

bool mst_replica_is_sweeping(const struct mst_replica *r)
{
    for (size_t i = 0; i < r->n_peers; i++)
        if (r->peers[i].phase == MST_PEER_SWEPT)
            return true;
    return false;
}

uint64_t mst_replica_floor(const struct mst_replica *r)
{
    uint64_t floor = r->seq;
    for (size_t i = 0; i < r->n_peers; i++) {
        const struct mst_replica_peer *peer = &r->peers[i];
        uint64_t needed = peer->acked;
        if (peer->phase == MST_PEER_ASKED)
            needed = r->base;
        else if (peer->phase == MST_PEER_SWEPT && !peer->has_base && peer->n_sent == 0)
            needed = r->seq;
        if (needed < floor)
            floor = needed;
    }
    return floor;
}

bool mst_replica_is_quiet(const struct mst_replica *r, uint64_t now_ms)
{
    if (!mst_replica_is_primary(r, now_ms) || !r->acting.is_handed_over)
        return false;
    for (size_t i = 0; i < r->n_peers; i++)
        if (r->peers[i].is_backup && (r->peers[i].phase != MST_PEER_FOLLOWS || r->peers[i].acked < r->seq))
            return false;
    return true;
}

bool mst_replica_is_complete(const struct mst_replica *r)
{
    bool is_complete = false;
    for (size_t i = 0; may_reign(r) && i < r->n_peers; i++) {
        const struct mst_replica_peer *peer = &r->peers[i];
        // Who is named next to a backup that was not compared could be compared with it, by number alone.
        if (peer->phase != MST_PEER_FOLLOWS)
            return false;
        if (!peer->is_backup)
            is_complete = peer->is_waited_for && peer->acked >= peer->waited_seq;
    }
    return is_complete;
}

uint32_t mst_replica_lost(const struct mst_replica *r, uint64_t now_ms)
{
    for (size_t i = 0; may_reign(r) && i < r->n_peers; i++) {
        const struct mst_replica_peer *peer = &r->peers[i];
        bool is_silent = peer->n_tries >= TRIES && now_ms > peer->heard_ms + r->config.lease_ms;
        if (is_silent || (peer->is_too_large && waits_for(peer)))
            return peer->id.ps;
    }
    return MST_NO_PS;
}

static bool next_release(const struct mst_replica *r, uint32_t ps, uint64_t now_ms, struct mst_replica_message *out)
{
    if (r->is_reigning || r->release_until_ms <= now_ms || r->release_retry_ms > now_ms || r->stored.primary.ps != ps)
        return false;
    out->kind = MST_REPLICA_RELEASE;
    out->to = r->stored.primary;
    out->epoch = r->stored.epoch;
    return true;
}

static bool is_fed(const struct mst_replica_peer *peer)
{
    return peer->phase == MST_PEER_FOLLOWS || (peer->phase == MST_PEER_SWEPT && peer->has_base);
}

// One bucket on its way: what is behind a second one, operations that workers wait for, comes later by as much, and
// the sweep of another group uses the time between.
static bool may_sweep(const struct mst_replica *r, const struct mst_replica_peer *peer)
{
    return peer->phase == MST_PEER_SWEPT && !peer->is_too_large && peer->n_sent == peer->n_swept &&
           peer->n_sent < r->config.n_buckets;
}

bool mst_replica_next(const struct mst_replica *r, uint32_t ps, uint64_t now_ms, struct mst_replica_message *out)
{
    *out = (struct mst_replica_message){0};
    const struct mst_replica_peer *peer = NULL;
    for (size_t i = 0; i < r->n_peers && !peer; i++)
        if (r->peers[i].id.ps == ps)
            peer = &r->peers[i];
    if (!peer)
        return next_release(r, ps, now_ms, out);
    if (!may_reign(r) || peer->retry_ms > now_ms)
        return false;
    out->to = peer->id;
    out->epoch = r->acting.epoch;
    // Not before its own grants ran out: a joiner that is complete has to have waited for them, too.
    bool is_primary = mst_replica_is_primary(r, now_ms);
    if (is_primary && is_fed(peer) && peer->sent < r->seq) {
        out->kind = MST_REPLICA_OP;
        out->seq = peer->sent + 1;
        return true;
    }
    if (is_primary && may_sweep(r, peer)) {
        out->kind = MST_REPLICA_SWEEP;
        out->seq = r->seq;
        out->bucket = peer->n_sent;
        out->is_first = !peer->has_base;
        return true;
    }
    out->kind = MST_REPLICA_GRANT;
    return peer->ask_at_ms <= now_ms;
}

static void note_try(const struct mst_replica *r, struct mst_replica_peer *peer, uint64_t now_ms)
{
    if (now_ms < peer->tried_ms + r->config.lease_ms / TRIES)
        return;
    peer->tried_ms = now_ms;
    peer->n_tries++;
}

void mst_replica_sent(struct mst_replica *r, const struct mst_replica_message *message, uint64_t now_ms)
{
    if (message->kind == MST_REPLICA_RELEASE) {
        r->release_retry_ms = now_ms + r->config.lease_ms / 8;
        return;
    }
    struct mst_replica_peer *peer = find_peer(r, message->to.ps);
    if (!peer)
        return;
    peer->ask_at_ms = now_ms + r->config.lease_ms / TRIES;
    note_try(r, peer, now_ms);
    if (message->kind == MST_REPLICA_OP)
        peer->sent = message->seq;
    if (message->kind != MST_REPLICA_SWEEP)
        return;
    peer->n_sent = message->bucket + 1;
    if (peer->n_offered < peer->n_sent)
        peer->n_offered = peer->n_sent;
    if (message->is_first)
        peer->acked = peer->sent = message->seq;
}

// The peer that an answer is from, with its lease; NULL: the answer is not one to what is sent under these roles.
static struct mst_replica_peer *accept(struct mst_replica *r, const struct mst_replica_answer *answer, uint64_t now_ms)
{
    struct mst_replica_peer *peer = find_peer(r, answer->from.ps);
    if (!peer || !r->is_reigning || !is_same(&peer->id, &answer->from) ||
        !mst_epoch_is_same(&r->acting.epoch, &answer->epoch))
        return NULL;
    peer->heard_ms = now_ms;
    peer->n_tries = 0;
    if (peer->lease_ms < answer->asked_ms + r->config.lease_ms)
        peer->lease_ms = answer->asked_ms + r->config.lease_ms;
    return peer;
}

static void send_again(const struct mst_replica *r, struct mst_replica_peer *peer, uint64_t now_ms)
{
    uint64_t longest_ms = r->config.lease_ms / 16;
    peer->pause_ms = peer->pause_ms ? 2 * peer->pause_ms : 1;
    if (peer->pause_ms > longest_ms)
        peer->pause_ms = longest_ms;
    if (peer->phase == MST_PEER_FOLLOWS || peer->has_base)
        peer->sent = peer->acked;
    peer->n_sent = peer->n_swept;
    peer->retry_ms = now_ms + peer->pause_ms;
}

static void note_acked(const struct mst_replica *r, struct mst_replica_peer *peer, uint64_t seq)
{
    if (seq > r->seq)
        seq = r->seq;
    if (peer->acked < seq) {
        peer->acked = seq;
        peer->pause_ms = 0;
    }
    if (peer->sent < peer->acked)
        peer->sent = peer->acked;
}

void mst_replica_heard(struct mst_replica *r, const struct mst_replica_answer *answer, uint64_t now_ms)
{
    struct mst_replica_peer *peer = accept(r, answer, now_ms);
    if (!peer || !is_fed(peer))
        return;
    if (answer->seq == MST_REPLICA_NOTHING) {
        begin_sweep(peer, now_ms);
        return;
    }
    note_acked(r, peer, answer->seq);
    if (answer->seq < answer->asked_seq && peer->acked < answer->asked_seq)
        send_again(r, peer, now_ms);
}

void mst_replica_swept(struct mst_replica *r, const struct mst_replica_answer *answer, uint64_t now_ms)
{
    struct mst_replica_peer *peer = accept(r, answer, now_ms);
    if (!peer || peer->phase != MST_PEER_SWEPT || peer->n_sent == peer->n_swept || answer->bucket != peer->n_swept ||
        (!peer->has_base && answer->asked_seq != peer->acked))
        return;
    if (answer->seq == MST_REPLICA_NOTHING) {
        begin_sweep(peer, now_ms);
        return;
    }
    // It was taken only if it came between the operations before it and those after it.
    if (answer->seq != answer->asked_seq) {
        send_again(r, peer, now_ms);
        return;
    }
    peer->has_base = true;
    peer->pause_ms = 0;
    note_acked(r, peer, answer->seq);
    if (++peer->n_swept < r->config.n_buckets)
        return;
    peer->phase = MST_PEER_FOLLOWS;
    peer->swept_ms = now_ms;
    if (!peer->is_waited_for) {
        peer->is_waited_for = true;
        peer->waited_seq = r->seq; // up to here something may be acknowledged that it does not have yet
    }
}

void mst_replica_granted(struct mst_replica *r, const struct mst_replica_answer *answer, uint64_t now_ms)
{
    struct mst_replica_peer *peer = accept(r, answer, now_ms);
    if (!peer)
        return;
    peer->pause_ms = 0;
    if (peer->phase == MST_PEER_ASKED) {
        if (answer->seq == r->base) {
            peer->phase = MST_PEER_FOLLOWS;
            peer->swept_ms = now_ms;
            peer->acked = peer->sent = r->base;
        } else {
            begin_sweep(peer, now_ms);
        }
    } else if (peer->phase == MST_PEER_FOLLOWS && answer->seq == MST_REPLICA_NOTHING &&
               answer->asked_ms > peer->swept_ms) {
        begin_sweep(peer, now_ms); // it stored roles between that did not name it
    }
}

void mst_replica_released(struct mst_replica *r, uint32_t ps)
{
    if (!r->is_reigning && r->stored.primary.ps == ps)
        r->release_until_ms = 0;
}

void mst_replica_refused(struct mst_replica *r, const struct mst_replica_message *message, uint64_t now_ms)
{
    if (mst_epoch_is_same(&message->epoch, &r->acting.epoch))
        mst_replica_unreached(r, message->to.ps, now_ms);
}

void mst_replica_unreached(struct mst_replica *r, uint32_t ps, uint64_t now_ms)
{
    struct mst_replica_peer *peer = find_peer(r, ps);
    if (!peer || peer->retry_ms > now_ms) // nothing was sent since the pause began
        return;
    note_try(r, peer, now_ms);
    send_again(r, peer, now_ms);
}

void mst_replica_cannot_sweep(struct mst_replica *r, uint32_t ps)
{
    struct mst_replica_peer *peer = find_peer(r, ps);
    if (peer)
        peer->is_too_large = true;
}

void mst_replica_linked(struct mst_replica *r, uint32_t ps)
{
    struct mst_replica_peer *peer = find_peer(r, ps);
    if (peer)
        peer->retry_ms = peer->pause_ms = 0;
}

// ---- time ----

static void wake_at(uint64_t *wake_ms, uint64_t at_ms, uint64_t now_ms)
{
    if (at_ms > now_ms && at_ms < *wake_ms)
        *wake_ms = at_ms;
}

uint64_t mst_replica_next_wake(const struct mst_replica *r, uint64_t now_ms)
{
    uint64_t wake_ms = UINT64_MAX;
    for (size_t i = 0; r->is_reigning && i < r->n_grants; i++)
        wake_at(&wake_ms, r->grants[i].until_ms, now_ms);
    for (size_t i = 0; i < r->n_peers; i++) {
        const struct mst_replica_peer *peer = &r->peers[i];
        wake_at(&wake_ms, peer->ask_at_ms, now_ms);
        wake_at(&wake_ms, peer->retry_ms, now_ms);
        wake_at(&wake_ms, peer->lease_ms, now_ms);
        wake_at(&wake_ms, peer->heard_ms + r->config.lease_ms + 1, now_ms);
    }
    if (!r->is_reigning && r->release_until_ms > now_ms)
        wake_at(&wake_ms, r->release_retry_ms, now_ms);
    return wake_ms;
}
