/** @file
 *  A PS's part of synchronous rounds: which contributions to the next round are here, which close is stored, and what
 *  the chief and a worker are told. Pure: no clock, no I/O, no gradients.
 *
 *      switch (mst_round_table_offer(&table, part, &push)) {
 *      case MST_ROUND_TAKE: …read it, then mst_round_table_hold(&table, part, &push); it waits for its round
 *      case MST_ROUND_HAVE: …throw it away; it waits for its round
 *      case MST_ROUND_OVER: …throw it away and answer with what is current
 *      …
 *      }
 *      if (mst_round_table_check(&table, &close) == MST_ROUND_CLOSE_NEW)
 *          …aggregate what close.ins names, then mst_round_table_store(&table, &close)
 *      if (mst_round_table_must_act(&table, act_round))
 *          …apply it, then mst_round_table_act(&table), and answer whoever waits, with mst_round_table_turn
 *
 *  A contribution is here when it is complete in every part. On a data thread the parts are its pushed buckets, on the
 *  control loop they are the data threads that have pushed buckets, in the simulator whatever it likes. What is
 *  complete stays until its round is applied: a fence refuses what comes, it takes back nothing.
 *
 *  Rounds begin with the first close that is stored and acted on, whatever its round and whom it names: the chief's
 *  first one (round 0, or the one that a checkpoint was made at), or, on a PS that came back, the last one. Before that
 *  pushes and workers' pulls wait (MST_ROUND_WAIT). From then on a close is of round applied + 1, so the chief closes a
 *  round only when every PS has applied the one before. A table without parts never has contributions: the chief does
 *  not wait for those of a PS that has no pushed buckets, and its closes name whom they will.
 *  Thread: one at a time.
 */
#pragma once

#include "wire/messages.h"

enum mst_round_verdict {
    MST_ROUND_TAKE, // it is wanted
    MST_ROUND_HAVE, // this worker's is complete here, perhaps from an earlier incarnation: same unit, same bits
    MST_ROUND_OVER, // the round is applied
    MST_ROUND_WAIT, // rounds have not begun here
    MST_ROUND_REFUSED_EARLY,  // a round after the next
    MST_ROUND_REFUSED_UNIT,   // not what the worker was dealt for this round
    MST_ROUND_REFUSED_NUMBER, // an older incarnation
    MST_ROUND_REFUSED_FENCED, // an incarnation that was declared dead
};

enum mst_round_close_verdict {
    MST_ROUND_CLOSE_NEW,   // to be stored
    MST_ROUND_CLOSE_OLD,   // it, or a later one, is stored already
    MST_ROUND_CLOSE_WAITS, // it names a contribution that is not here, or not any more: after a failover it comes again
    MST_ROUND_CLOSE_REFUSED, // it is not of the next round, or names who cannot be
};

/** What a push says about itself. Borrowed for the call. */
struct mst_round_push {
    uint32_t worker;
    uint64_t number;
    uint64_t round;
    uint64_t unit;
    double weight;
    const struct mst_training_sums *sums; // NULL: none
};

/** A worker's contribution to the next round. */
struct mst_round_contribution {
    uint64_t number;
    uint64_t unit;
    double weight;
    size_t n_held; // parts that are complete
    bool has_sums;
    struct mst_training_sums sums;
};

/** What a worker is dealt for the next round. */
struct mst_round_dealt {
    uint64_t unit;
    bool has_unit;
};

/** The deal of a round. */
struct mst_round_deal {
    uint64_t epoch;
    bool is_over;
    struct mst_round_dealt *workers; // n_workers
};

struct mst_round_table {
    size_t n_workers;
    size_t n_parts;
    bool *is_held;                                // n_parts * n_workers: this part of it is complete
    struct mst_round_contribution *contributions; // by worker
    uint64_t *fenced;                             // by worker: numbers up to this are refused
    uint64_t *newest;                             // by worker: the highest number that pushed
    bool has_begun;
    uint64_t applied;            // round; of no meaning before it has begun
    struct mst_round_deal dealt; // of round applied + 1
    bool has_close;
    uint64_t stored;            // round of the stored close
    uint64_t attempt;           // … and which attempt at it, of those of all chiefs
    size_t n_ins;               // whom it names
    uint64_t *ins;              // … ascending
    struct mst_round_deal next; // … and the deal it brings
    uint64_t status;            // grows whenever the reply to the chief changes
};

/** An empty table; workers >= n_workers are not its.
 *  Errors: RESOURCE_EXHAUSTED (it is zeroed) */
MST_MUST_USE mst_status mst_round_table_init(struct mst_round_table *table, size_t n_workers, size_t n_parts);
/** Releases it; a zeroed one is fine. */
void mst_round_table_fini(struct mst_round_table *table);

/** What to do with one part of a push of worker < n_workers; changes nothing. */
enum mst_round_verdict mst_round_table_offer(const struct mst_round_table *table, size_t part,
                                             const struct mst_round_push *push);
/** One part of a push is complete. The verdict as of now; TAKE: it is held from now on. */
enum mst_round_verdict mst_round_table_hold(struct mst_round_table *table, size_t part,
                                            const struct mst_round_push *push);
/** Holds a part that another table has admitted, whichever incarnation it is from; of another round than the next, or
 *  held already, it changes nothing. */
void mst_round_table_join(struct mst_round_table *table, size_t part, const struct mst_round_push *push);
/** True if worker's contribution is complete in this part. */
bool mst_round_table_holds(const struct mst_round_table *table, size_t part, size_t worker);
/** True if it is complete in every part, and there are parts: it is reported to the chief. */
bool mst_round_table_has(const struct mst_round_table *table, size_t worker);
/** Refuses pushes of the worker's numbers up to `number` from now on. */
void mst_round_table_fence(struct mst_round_table *table, size_t worker, uint64_t number);
/** True if this number of a worker is refused. */
bool mst_round_table_is_fenced(const struct mst_round_table *table, size_t worker, uint64_t number);

/** What to do with a close; changes nothing. Who it names ascends and is < n_workers, or it is refused. */
enum mst_round_close_verdict mst_round_table_check(const struct mst_round_table *table,
                                                   const struct mst_msg_close *close);
/** True if whom a close names, and whom its next deal names, ascends and is < n_workers. */
bool mst_round_table_is_of_its_workers(const struct mst_round_table *table, const struct mst_msg_close *close);
/** Stores a close that is new. */
void mst_round_table_store(struct mst_round_table *table, const struct mst_msg_close *close);
/** True if the stored close is to be acted on now: it is not applied, and rounds up to act_round are to be. */
bool mst_round_table_must_act(const struct mst_round_table *table, uint64_t act_round);
/** The stored close is applied: its contributions go, and those of its round that it does not name. */
void mst_round_table_act(struct mst_round_table *table);

/** It becomes a table without contributions that has applied the one close, or has not begun, and stored the other:
 *  what a replica has that takes over or is swept. It still refuses what it refused. Either may be NULL. */
void mst_round_table_take_closes(struct mst_round_table *table, const struct mst_msg_close *applied,
                                 const struct mst_msg_close *stored);

/** All contributions to the next round go: whoever sent them sends them again. */
void mst_round_table_drop(struct mst_round_table *table);

/** True if a pull that asks for this round (0: for what there is) can be answered now. */
bool mst_round_table_is_due(const struct mst_round_table *table, uint64_t round);
/** What worker (any number: one >= n_workers has no unit) is to do for round applied + 1. */
void mst_round_table_turn(const struct mst_round_table *table, size_t worker, struct mst_msg_turn *out);
/** What the chief is told, without norms. Owner: *out and arrivals (n_workers of them) are the caller's; they borrow
 *  from the table until its next change */
void mst_round_table_reply(const struct mst_round_table *table, struct mst_msg_arrival *arrivals,
                           struct mst_msg_round_reply *out);
/** A text for logs and refusals. */
const char *mst_round_verdict_text(enum mst_round_verdict verdict);
