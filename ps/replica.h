/** @file
 *  One copy of the buckets of a group and home thread: what it may do under the roles that are stored here, what a
 *  primary has to send to whom, what a follower does with what comes. Pure: no I/O, time is passed in, no data.
 *
 *      mst_replica_store(&r, &roles);                    // Roles came; nothing is done under older ones from now on
 *      mst_replica_act(&r, &roles.epoch, now_ms);        // … they are committed
 *
 *      if (mst_replica_admits(&r, now_ms))               // a primary: …apply, then
 *          seq = mst_replica_applied(&r);                // keep the operation until mst_replica_floor() covers it
 *      while (mst_replica_next(&r, ps, now_ms, &m)) {…}  // for each other PS: send it, mst_replica_sent(&r, &m, …)
 *      mst_replica_heard, _swept, _granted, _refused     // what came back
 *      if (mst_replica_may_answer(&r, seq, now_ms)) …    // a push; a pull asks mst_replica_serves
 *
 *      switch (mst_replica_take_op(&r, &op, now_ms)) …   // a follower: apply, count, or say again what is here
 *      mst_replica_take_sweep, mst_replica_ask
 *
 *  A *peer* is a follower of this primary: a backup or the joiner. A *reign* is the time in which one PS is primary
 *  without another one between. What a follower has is the start of its primary's operations; a primary compares that
 *  at the start of its reign, and a backup that has another number of them than the primary is swept anew, while
 *  nothing is acknowledged. A joiner is always swept. Everything that comes back counts under the epoch of the question
 *  only.
 *  Everything is sent again after mst_replica_refused, so a broken connection needs nothing else.
 *  (DESIGN §5, Replication and failover; models of the rules are named there.)
 *  Thread: loop of the buckets.
 */
#pragma once

#include "wire/roles.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MST_REPLICA_PEERS = MST_REPLICAS_MAX + 1, MST_REPLICA_GRANTS = 4 };

#define MST_REPLICA_NOTHING UINT64_MAX // in place of how many operations are here: none that one could go on from

/** A process. */
struct mst_replica_id {
    uint32_t ps;
    uint64_t incarnation;
};

struct mst_replica_config {
    uint32_t group;
    struct mst_replica_id self;
    uint64_t lease_ms;
    size_t n_buckets; // at least 1
};

/** What an epoch says of one group. */
struct mst_replica_view {
    struct mst_epoch epoch; // (0, 0): none yet
    struct mst_replica_id primary;
    size_t n_backups;
    struct mst_replica_id backups[MST_REPLICAS_MAX];
    struct mst_replica_id joiner;
    bool is_handed_over;
};

enum mst_replica_peer_phase {
    MST_PEER_ASKED,   // a backup when this reign began: what has it?
    MST_PEER_SWEPT,   // is being sent bucket after bucket
    MST_PEER_FOLLOWS, // has the start of what is here
};

/** What a primary knows of one that follows it. */
struct mst_replica_peer {
    struct mst_replica_id id;
    enum mst_replica_peer_phase phase;
    bool is_backup;
    bool is_waited_for;  // joiner: as a backup from now on
    uint64_t waited_seq; // … from this operation on
    uint64_t acked;      // operations up to this are there
    uint64_t sent;       // … were sent
    bool has_base;       // the first bucket of the sweep is there
    size_t n_swept;      // buckets that are there
    size_t n_sent;       // … or on their way
    size_t n_offered;    // … or were, in this sweep
    bool is_too_large;   // the next one cannot be sent, under these roles
    uint64_t swept_ms;   // when the phase began
    uint64_t lease_ms;   // its lease runs until then
    uint64_t ask_at_ms;  // it is asked for a lease, if nothing else is sent before
    uint64_t heard_ms;
    uint64_t tried_ms; // when the last of …
    unsigned n_tries;  // … this many attempts since then was made
    uint64_t retry_ms; // nothing is sent before
    uint64_t pause_ms; // the last pause before something was sent again; 0: it took something since
};

/** A lease that this one granted. */
struct mst_replica_grant {
    struct mst_replica_id holder;
    uint64_t until_ms;
};

struct mst_replica {
    struct mst_replica_config config;
    struct mst_replica_view stored;
    struct mst_replica_view acting;
    uint64_t seq;  // operations applied or counted here
    bool is_whole; // all buckets are of that point
    // A follower's sweep.
    bool is_begun;
    struct mst_epoch begun; // under which epoch
    bool *is_swept;         // by bucket
    size_t n_swept;
    struct mst_replica_grant grants[MST_REPLICA_GRANTS];
    size_t n_grants;
    // A primary's reign.
    bool is_reigning;
    uint64_t base; // operations at its start; MST_REPLICA_NOTHING: whoever follows has to be swept
    struct mst_replica_peer peers[MST_REPLICA_PEERS];
    size_t n_peers;
    uint64_t release_until_ms; // leases of the last reign; 0: there is none to give back
    uint64_t release_retry_ms;
};

enum mst_replica_message_kind {
    MST_REPLICA_OP,      // operation seq
    MST_REPLICA_SWEEP,   // a bucket as it is now, that is after operation seq
    MST_REPLICA_GRANT,   // asks for a lease, and what is there
    MST_REPLICA_RELEASE, // gives the lease back
};

/** What a primary has to send. */
struct mst_replica_message {
    enum mst_replica_message_kind kind;
    struct mst_replica_id to;
    struct mst_epoch epoch;
    uint64_t seq;
    size_t bucket; // position in the replica
    bool is_first;
};

/** What came back. */
struct mst_replica_answer {
    struct mst_replica_id from;
    struct mst_epoch epoch; // that is stored there
    uint64_t asked_ms;      // when the question was sent
    uint64_t asked_seq;     // operation or sweep: the message's seq
    uint64_t seq;           // what is there
    size_t bucket;          // sweep: the message's
};

/** An operation, a bucket or a question as it came. */
struct mst_replica_call {
    struct mst_replica_id from;
    struct mst_epoch epoch;
    uint64_t seq;
    size_t bucket; // < n_buckets
    bool is_first; // sweep
    bool is_bare;  // operation: it came without what it does, to be counted
};

enum mst_follow_verdict {
    MST_FOLLOW_APPLY,   // operation: apply it; bucket: it takes the place of what is here
    MST_FOLLOW_COUNT,   // operation on a bucket that will come with the sweep: apply nothing, answer
    MST_FOLLOW_HAVE,    // answer again
    MST_FOLLOW_GAP,     // answer with what is here; it is sent again
    MST_FOLLOW_REFUSED, // not from the primary of the roles stored here: an error
};

/** A replica that knows no roles. */
void mst_replica_init(struct mst_replica *r, const struct mst_replica_config *config);
/** Releases it; a zeroed one is fine. */
void mst_replica_fini(struct mst_replica *r);

// ---- roles ----

/** Newer roles are stored: nothing is done under the older ones any more. Not newer ones change nothing. The first
 *  ones that are ever stored and name this process primary or backup take what is here, however it came, as what the
 *  job begins with. */
void mst_replica_store(struct mst_replica *r, const struct mst_roles *roles);
/** The stored roles are committed, if they are of this epoch: they are acted on. */
void mst_replica_act(struct mst_replica *r, const struct mst_epoch *epoch, uint64_t now_ms);
/** What this process is by the stored roles. */
enum mst_replica_role mst_replica_role(const struct mst_replica *r);
/** The process has no more connections, and a new one to its address was refused, or another process answers there: a
 *  lease it held is out. */
void mst_replica_gone(struct mst_replica *r, const struct mst_replica_id *who);

// ---- primary ----

/** True if it is primary by roles that it acts on, has stored none newer, and no lease it granted runs any more. */
bool mst_replica_is_primary(const struct mst_replica *r, uint64_t now_ms);
/** True if a push, or a fence, may be applied now: it is primary, and not handing over. */
bool mst_replica_admits(const struct mst_replica *r, uint64_t now_ms);
/** True if it is primary and holds the lease of each peer it waits for: pulls may be answered. */
bool mst_replica_serves(const struct mst_replica *r, uint64_t now_ms);
/** Something was applied here; returns its number, under which it is forwarded. */
uint64_t mst_replica_applied(struct mst_replica *r);
/** Operations up to this are at all peers it waits for; UINT64_MAX: it waits for none. It may fall again, while a
 *  backup is compared or swept. */
uint64_t mst_replica_acked(const struct mst_replica *r);
/** True if the push that was applied as operation seq may be answered, or a fence. */
bool mst_replica_may_answer(const struct mst_replica *r, uint64_t seq, uint64_t now_ms);
/** True if whoever follows would only count an operation on this bucket now: it comes with a sweep. What the operation
 *  does is needed by nobody then, and never will be. */
bool mst_replica_is_counted(const struct mst_replica *r, size_t bucket);
/** True if a follower is being sent all there is. */
bool mst_replica_is_sweeping(const struct mst_replica *r);
/** Operations up to this will not be asked for again. */
uint64_t mst_replica_floor(const struct mst_replica *r);
/** True if it is handed over and all it did is at all peers it waits for. It stays so under this epoch. */
bool mst_replica_is_quiet(const struct mst_replica *r, uint64_t now_ms);
/** True if the joiner has all that was acknowledged, and will have all that will be: it may be named backup. Stays
 *  true under this epoch. */
bool mst_replica_is_complete(const struct mst_replica *r);
/** The peer that was not heard for a lease, though it was tried again and again (so a process that did not run accuses
 *  nobody); MST_NO_PS: none. */
uint32_t mst_replica_lost(const struct mst_replica *r, uint64_t now_ms);

/** What is to be sent to a PS next; false: nothing now. Changes nothing. */
bool mst_replica_next(const struct mst_replica *r, uint32_t ps, uint64_t now_ms, struct mst_replica_message *out);
/** It was sent. */
void mst_replica_sent(struct mst_replica *r, const struct mst_replica_message *message, uint64_t now_ms);
/** Answer to an operation; it is a lease, too. */
void mst_replica_heard(struct mst_replica *r, const struct mst_replica_answer *answer, uint64_t now_ms);
/** Answer to a bucket; it is a lease, too. */
void mst_replica_swept(struct mst_replica *r, const struct mst_replica_answer *answer, uint64_t now_ms);
/** Answer to a question for a lease, which was granted. */
void mst_replica_granted(struct mst_replica *r, const struct mst_replica_answer *answer, uint64_t now_ms);
/** The lease was taken back there. */
void mst_replica_released(struct mst_replica *r, uint32_t ps);
/** What was sent was refused: what that PS has not answered is sent again after a pause, from a millisecond doubling to
 *  a sixteenth of a lease, for a PS that is only behind with its roles is not so for long. Of what was sent under
 *  earlier roles it means nothing: all was sent again since. */
void mst_replica_refused(struct mst_replica *r, const struct mst_replica_message *message, uint64_t now_ms);
/** The connection broke, or there is none although mst_replica_next has something for it: the same. */
void mst_replica_unreached(struct mst_replica *r, uint32_t ps, uint64_t now_ms);
/** The next bucket for a PS does not fit a message: no more are sent under these roles. If that PS is waited for, it is
 *  lost. */
void mst_replica_cannot_sweep(struct mst_replica *r, uint32_t ps);
/** A new connection stands: what is to be sent again need not wait for the pause. */
void mst_replica_linked(struct mst_replica *r, uint32_t ps);

// ---- follower ----

/** What to do with an operation, at the moment when it is applied and answered: it counts from now on, and the answer
 *  grants a lease. */
enum mst_follow_verdict mst_replica_take_op(struct mst_replica *r, const struct mst_replica_call *op, uint64_t now_ms);
/** What to do with a bucket of a sweep; changes nothing. */
enum mst_follow_verdict mst_replica_check_sweep(const struct mst_replica *r, const struct mst_replica_call *sweep);
/** The same at the moment when it takes its place and is answered; the answer grants a lease. APPLY: weights, slots,
 *  rows and fences of the bucket are what came and nothing else. */
enum mst_follow_verdict mst_replica_take_sweep(struct mst_replica *r, const struct mst_replica_call *sweep,
                                               uint64_t now_ms);
/** A primary asks for a lease. True: it is granted, to be answered now. */
bool mst_replica_ask(struct mst_replica *r, const struct mst_replica_call *call, uint64_t now_ms);
/** A primary that was gives its lease back. True: it is taken, or there was none; false: these are not the roles stored
 *  here. */
bool mst_replica_take_release(struct mst_replica *r, const struct mst_replica_call *call);
/** What the answer to an operation or a bucket says is here. */
uint64_t mst_replica_has(const struct mst_replica *r);
/** What the answer to a question for a lease says is here: MST_REPLICA_NOTHING if not all buckets are of one point. */
uint64_t mst_replica_has_all(const struct mst_replica *r);
/** True if a joiner has all buckets of the sweep. */
bool mst_replica_is_swept(const struct mst_replica *r);

/** When something may have changed without any call, so that mst_replica_next and the queries are to be asked again;
 *  UINT64_MAX: never. */
uint64_t mst_replica_next_wake(const struct mst_replica *r, uint64_t now_ms);
