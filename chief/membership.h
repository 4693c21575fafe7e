/** @file
 *  Who is in the job: which incarnation of each worker index may act, and the fence that ends one. Pure: time is passed
 *  in.
 *
 *      mst_membership_greet(&m, worker, incarnation, now_ms, &number)   // ADMITTED with its number, or BUSY: ask again
 *      mst_membership_heard(&m, worker, number, now_ms)                 // false: this incarnation is out, greet again
 *      mst_membership_lost(&m, worker, number, now_ms)                  // its connection closed
 *      mst_membership_slept(&m, 40000, now_ms)                          // we did not run: that is no silence of theirs
 *      mst_membership_tick(&m, now_ms)                                  // the silent ones are fenced
 *      while (mst_membership_next_fence(&m, &cursor, &fence))           // to be sent, and sent again, to fence.ps
 *      mst_membership_fence_answered(&m, ps, worker, number, marks, n)  // true: all PSs have answered
 *      mst_membership_take_fenced(&m, worker, &marks, &n_marks)         // its work may now be given to others
 *
 *  Invariant: at most one incarnation of an index acts. A death is first a fence: every PS refuses the incarnation and
 *  answers with its rows; only then does its work move, or its index get a new number. (DESIGN §5, Greeting.)
 *  Thread: one at a time.
 */
#pragma once

#include "chief/leases.h"

enum mst_member_state {
    MST_MEMBER_ABSENT,
    MST_MEMBER_LIVE,
    MST_MEMBER_FENCING, // declared dead; not every PS has answered yet
    MST_MEMBER_AWAITED, // it was in the job that is gone on with, and has not come since
};

enum mst_greet_verdict {
    MST_GREET_ADMITTED,
    MST_GREET_BUSY, // another incarnation of this index still lives or is being fenced
};

struct mst_member {
    enum mst_member_state state;
    uint64_t incarnation;    // 0 while absent or awaited
    uint64_t number;         // of the current or last incarnation
    uint64_t silent_at_ms;   // when it counts as dead unless heard
    uint64_t set_at_ms;      // when silent_at_ms was set
    bool is_spared;          // this silence was prolonged once
    const char *ending;      // why it is dead then; a literal
    uint64_t fenced;         // the last number that this chief has fenced, or 0 …
    const char *fenced_why;  // … and why; a literal
    unsigned char *answered; // by PS, while fencing
    size_t n_answered;
    struct mst_lease_mark *marks; // what the PSs answered, one a bucket
    size_t n_marks;
};

struct mst_membership {
    struct mst_member *members; // by worker index
    size_t n_members;
    size_t n_ps;
    uint64_t lease_ms;
    uint64_t grace_ms; // after its connection closed
};

struct mst_fence {
    size_t ps;
    uint32_t worker;
    uint64_t number;
};

/** Nobody is in yet. lease_ms: silence after which a member counts as dead; grace_ms: the same once its connection
 *  closed. */
void mst_membership_init(struct mst_membership *m, size_t n_ps, uint64_t lease_ms, uint64_t grace_ms);
/** Releases it. */
void mst_membership_fini(struct mst_membership *m);
/** A process asks to be this worker. ADMITTED: *number_out is its number (the same if it was in already). */
enum mst_greet_verdict mst_membership_greet(struct mst_membership *m, uint32_t worker, uint64_t incarnation,
                                            uint64_t now_ms, uint64_t *number_out);
/** A process says that it had this number, perhaps from a chief of a life that nobody remembers: the next one of its
 *  index is higher, so that what is on its way under that number is nobody's. Nothing while a member lives. */
void mst_membership_had(struct mst_membership *m, uint32_t worker, uint64_t number);
/** True if another incarnation of this index lives or is being fenced; changes nothing. */
bool mst_membership_is_busy(const struct mst_membership *m, uint32_t worker, uint64_t incarnation);
/** A message of this incarnation came. False if it is not the acting one. */
bool mst_membership_heard(struct mst_membership *m, uint32_t worker, uint64_t number, uint64_t now_ms);
/** True if this incarnation is the acting one; changes nothing. */
bool mst_membership_is_acting(const struct mst_membership *m, uint32_t worker, uint64_t number);
/** The heartbeat connection of this incarnation closed: it is dead unless heard within grace_ms. */
void mst_membership_lost(struct mst_membership *m, uint32_t worker, uint64_t number, uint64_t now_ms);
/** This incarnation is dead at the next tick, whoever wants that. why: a literal, "it left" */
void mst_membership_leave(struct mst_membership *m, uint32_t worker, uint64_t number, const char *why, uint64_t now_ms);
/** Why a number that is not the acting one is out, as far as it is known: "it was not heard …". Owner: a literal */
const char *mst_membership_why_out(const struct mst_membership *m, uint32_t worker, uint64_t number);
/** This process did not run for slept_ms, until now (it was stopped, or the machine was asleep), and could hear nobody:
 *  that time does not count as silence of who was in before. Once in a silence, so that a chief that is always late
 *  still sees the dead. */
void mst_membership_slept(struct mst_membership *m, uint64_t slept_ms, uint64_t now_ms);
/** Puts a member in, as an earlier chief left it: absent, live and to be heard until silent_at_ms, or being fenced,
 *  which begins anew. */
void mst_membership_restore(struct mst_membership *m, uint32_t worker, enum mst_member_state state,
                            uint64_t incarnation, uint64_t number, uint64_t silent_at_ms);
/** The job is gone on with by other processes than those that began it: all numbers that were given, and those below
 *  first_number, are out, of n_members indexes at least, and everybody is awaited. */
void mst_membership_begin_again(struct mst_membership *m, size_t n_members, uint64_t first_number);
/** Begins the fence of each member that is silent for too long; returns how many fences began. */
size_t mst_membership_tick(struct mst_membership *m, uint64_t now_ms);
/** The next fence a PS has not answered yet; *cursor starts at 0. False after the last. */
bool mst_membership_next_fence(const struct mst_membership *m, size_t *cursor, struct mst_fence *out);
/** A PS answered a fence with its marks (copied). True exactly once, when it was the last to answer. */
bool mst_membership_fence_answered(struct mst_membership *m, size_t ps, uint32_t worker, uint64_t number,
                                   const struct mst_lease_mark *marks, size_t n_marks);
/** Makes a completely fenced member absent and lends its marks in *marks (until the next call). Its number is returned.
 */
uint64_t mst_membership_take_fenced(struct mst_membership *m, uint32_t worker, const struct mst_lease_mark **marks,
                                    size_t *n_marks);
/** Numbers of this index up to the returned one are out, and refused by every PS: all but one that is live. */
uint64_t mst_membership_refused(const struct mst_membership *m, uint32_t worker);
/** How many numbers were ever given, over all indexes. */
uint64_t mst_membership_n_numbers(const struct mst_membership *m);
/** How many worker indexes were ever admitted; of a job that is gone on with, since then. */
size_t mst_membership_n_ever(const struct mst_membership *m);
/** How many members are live. */
size_t mst_membership_n_live(const struct mst_membership *m);
