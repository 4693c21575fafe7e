/** @file
 *  Who is primary, backup and joiner of every group of buckets, as the chief decides it when parameter servers die,
 *  come back empty, are drained, or cannot reach each other. Pure: no clock, no sockets. (ps/replica.h: the other end.)
 *
 *      mst_failover_init(&failover, &config);
 *      mst_failover_begin(&failover, term);                    // a chief that starts reads first …
 *      mst_failover_read(&failover, ps, incarnation, &memory); // … what every PS has stored
 *      mst_failover_up(&failover, ps, incarnation);            // news of any kind, in any order
 *      mst_failover_dead(&failover, ps, how, now_ms);
 *      mst_failover_heard(&failover, ps, incarnation, &reply);
 *      while (mst_failover_advance(&failover, now_ms)) …       // commits and proposes what is possible by now
 *      if ((roles = mst_failover_to_send(&failover, ps, &is_committed))) … // to be stored, or acted on
 *
 *  One proposal of roles at a time, under an epoch (term, n). It is stored at more than half of the servers, of those
 *  that count, and at every one that lives, before it is committed; then all are told to act on it, and the next one
 *  may come.
 *  - A server that started empty counts once it acts on roles that name its incarnation. Of two servers one is enough
 *    for a change. Where all servers live, all of them are enough, whoever counts: nobody is left who could disagree.
 *  - A chief that starts takes the highest roles of more than half that count, or of all servers if none was started
 *    again since; of two servers, of every one that is not gone, and has not been silent for config.patience_ms. Where
 *    none counts, and all were read, it begins anew.
 *  - A dead primary is replaced by its live backup that is nearest to the home. The other one stays a backup: it may be
 *    the next to be promoted. A joiner never is.
 *  - A joiner becomes a backup when it has said that its sweep is there and the primary that it waits for it.
 *  - A group has its first copy on its home (the PS of its number) and the next ones on the servers behind it. A place
 *    whose server is dead is given to another one after config.patience_ms, or at once if the primary is to leave.
 *  - Handover: the primary is told to stop, says that it is quiet (its backups have all it applied), and changes places
 *    with a backup. So a server is drained, and so primaries go home again once redundancy is full.
 *  - A group whose copies are all gone for good (not only silent) is lost: it has no primary, the others go on. Its
 *    home, once it acts on roles which say so, is made its primary and restores it from the last checkpoint; not before
 *    every chief that comes after would know that it was lost (mst_failover_may_restore). One that is to leave does so
 *    first, for nobody else could.
 *  With no replicas the roles never change: group g is on ps-g, whichever incarnation; nothing is to be sent.
 *  Invariant: with the rules of ps/replica.h there are never two primaries that acknowledge, and nothing that was
 *  acknowledged is lost while redundancy is full at each death. (DESIGN §5)
 *  Thread: one at a time.
 */
#pragma once

#include "muster/status.h"
#include "wire/messages.h"
#include "wire/roles.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mst_failover_phase {
    MST_FAILOVER_READING, // what an earlier chief left
    MST_FAILOVER_LEADING,
};

enum mst_failover_death {
    MST_FAILOVER_SILENT, // beyond reach: it may still run
    MST_FAILOVER_GONE,   // its process is no more, and what it held neither
};

struct mst_failover_config {
    size_t n_ps;
    size_t n_replicas;    // backups of a group: 0, 1 or 2, fewer than n_ps
    uint64_t patience_ms; // how long a dead server's place is kept for it, and its word waited for
    uint64_t avoid_ms;    // how long one that its primary could not reach is not tried again
};

/** What a PS had stored when a chief that starts read it. */
struct mst_failover_memory {
    const struct mst_roles *roles; // the highest, or NULL
    bool is_counting;              // it has acted on roles that name its incarnation
};

struct mst_failover_ps;
struct mst_failover_group;

struct mst_failover {
    struct mst_failover_config config;
    enum mst_failover_phase phase;
    uint64_t term;
    struct mst_epoch found;     // of the roles that this chief took over; zero if it began anew
    struct mst_roles current;   // the last proposal; n_ps is 0 before the first
    struct mst_roles committed; // the last that was committed; n_ps is 0 before the first
    struct mst_failover_ps *servers;
    struct mst_failover_group *groups; // by home
};

/** Nothing is known; with no replicas it leads at once. Owner: the caller's until fini */
void mst_failover_init(struct mst_failover *f, const struct mst_failover_config *config);
/** Releases it. */
void mst_failover_fini(struct mst_failover *f);
/** A chief starts, with a term above all that servers have seen; nothing may be read before they have accepted it.
 *  Again with a higher one: all have to be read anew. */
void mst_failover_begin(struct mst_failover *f, uint64_t term);

/** A server is reached. Another incarnation than before: what the last one held is gone. */
void mst_failover_up(struct mst_failover *f, size_t ps, uint64_t incarnation);
/** A server is dead (see rpc/peer.h for how that is known). A link that only broke is no death. */
void mst_failover_dead(struct mst_failover *f, size_t ps, enum mst_failover_death how, uint64_t now_ms);
/** A server that accepted the term said what it has. Another incarnation than the one that is up is not listened to. */
void mst_failover_read(struct mst_failover *f, size_t ps, uint64_t incarnation,
                       const struct mst_failover_memory *memory);
/** A server answered ROLES. Late and repeated answers do no harm; one that wants to be drained is. */
void mst_failover_heard(struct mst_failover *f, size_t ps, uint64_t incarnation,
                        const struct mst_msg_roles_reply *reply);
/** This incarnation is to be relieved of all it holds: it was told to stop. */
void mst_failover_drain(struct mst_failover *f, size_t ps);

/** What has to be known of a group that is lost, is: its home may restore it. Nothing if it is not lost. */
void mst_failover_may_restore(struct mst_failover *f, size_t group);

/** Commits the proposal, or makes the next one, if that is possible; false if nothing was. To be repeated until then,
 *  after every news and when time went by. */
bool mst_failover_advance(struct mst_failover *f, uint64_t now_ms);
/** The roles that a live server has to be told: to store them, or, if *is_committed_out, to act on them. NULL if it
 *  has and does all. Owner: borrowed until the next advance */
const struct mst_roles *mst_failover_to_send(const struct mst_failover *f, size_t ps, bool *is_committed_out);
/** The newest committed roles, which workers go by; NULL if there are none yet. Owner: borrowed until the next
 *  advance */
const struct mst_roles *mst_failover_committed(const struct mst_failover *f);
/** The server that is primary of a group by the committed roles; MST_NO_PS if none is. With no replicas: its home. */
uint32_t mst_failover_primary(const struct mst_failover *f, size_t group);
/** True if the committed roles name the process of this server that is up: what they say of it is meant for this one.
 *  With no replicas: true. */
bool mst_failover_is_named(const struct mst_failover *f, size_t ps);
/** True unless this server is known to be dead. With no replicas: true. */
bool mst_failover_is_live(const struct mst_failover *f, size_t ps);
/** True if what these servers have stored will be known to every chief that comes after, by the rule that roles are
 *  committed by: at every live one, and at enough of those that count. has is asked of each. */
bool mst_failover_is_known(const struct mst_failover *f, bool (*has)(const void *arg, size_t ps), const void *arg);
/** True while roles are proposed and not decided. */
bool mst_failover_is_undecided(const struct mst_failover *f);
/** True when every group has all its copies, on live servers, and all act on the last roles: the next one may die. */
bool mst_failover_is_full(const struct mst_failover *f);
/** True if a group was lost and is not primary at its home again. */
bool mst_failover_is_lost(const struct mst_failover *f, size_t group);
/** True when a drained server (also one that is gone meanwhile) is named in no committed group any more, and is not to
 *  restore one. */
bool mst_failover_is_drained(const struct mst_failover *f, size_t ps);
/** OK if a server may be drained now: no other one is, it has the only copy of nothing, and every group has all copies
 *  that there can be.
 *  Errors: UNAVAILABLE not yet, and what has to be before; FAILED_PRECONDITION nobody is there to take what it has */
MST_MUST_USE mst_status mst_failover_may_drain(const struct mst_failover *f, size_t ps, uint64_t now_ms,
                                               struct mst_error *err);
/** True if a drain was wanted of every server: nobody is left to hand over to. */
bool mst_failover_is_all_draining(const struct mst_failover *f);
/** What holds the change of roles back, or a group, for people; "" if nothing is. */
void mst_failover_describe(const struct mst_failover *f, char *out, size_t out_bytes);
/** The rule that nothing can be decided by, for too few servers are here that know enough; "" if enough are. */
void mst_failover_describe_shortage(const struct mst_failover *f, char *out, size_t out_bytes);
