/** @file
 *  What a worker of synchronous rounds holds and has outstanding: which round each bucket's parameters are of, what it
 *  is to compute, the push in flight. Pure. (Its asynchronous sister is worker/session.h.)
 *
 *      mst_round_session_admitted(&s, number);          // all buckets are to be pulled, as they are
 *      while (mst_round_session_next_pull(&s, &pull)) … // send it; after admitted and after every answer
 *      mst_round_session_answered(&s, &answer);         // of a pull or of a push
 *      if (mst_round_session_next_unit(&s, &unit)) …    // all parameters are of one round: compute it
 *      mst_round_session_push_all(&s, &push);           // one push a bucket, all with this identity
 *
 *  Every answer carries a turn: the last round applied there, and what this worker is to do for the next one. Buckets
 *  that answer an older round than others are pulled again, at the newest; with nothing to compute all are pulled at
 *  the round after, and the answers wait for it. A push is answered when its round is applied, with or without it.
 *  (DESIGN §5, Consistency and rounds.)
 *  Thread: one at a time.
 */
#pragma once

#include "wire/messages.h"
#include "worker/session.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A pull to be sent: answered when that round, or a later one, is applied. */
struct mst_round_session_pull {
    uint64_t number;
    size_t bucket;
    uint64_t round; // 0: at once
};

/** The answer of a pull or a push. */
struct mst_round_session_answer {
    uint64_t number; // of the call that it answers
    uint64_t step;   // of the push that it answers; 0: a pull
    size_t bucket;
    struct mst_msg_turn turn; // turn.round is also that of the parameters
};

/** What is to be computed, and for which round. */
struct mst_round_session_unit {
    uint64_t round;
    uint64_t epoch;
    uint64_t unit;
};

enum mst_round_session_call {
    MST_ROUND_SESSION_ANSWERED,
    MST_ROUND_SESSION_TO_PULL, // mst_round_session_next_pull will say so
    MST_ROUND_SESSION_PULLED,  // it has
    MST_ROUND_SESSION_PUSHED,
};

struct mst_round_session_bucket {
    enum mst_round_session_call call;
    uint64_t round;  // of the parameters it holds
    uint64_t wanted; // the call is answered with this round or a later one
};

struct mst_round_session {
    uint64_t number; // 0: not admitted
    struct mst_round_session_bucket *buckets;
    size_t n_buckets;
    size_t n_pushed; // the first ones; the others are frozen: pulled once, never pushed
    size_t n_outstanding;
    struct mst_msg_turn turn;     // of the newest round that a bucket has told
    struct mst_session_push push; // the last one; step 0: none under this number
};

/** Not admitted, nothing held. n_pushed: 1 … n_buckets of the buckets, the first ones, are pushed. */
void mst_round_session_init(struct mst_round_session *s, size_t n_buckets, size_t n_pushed);
/** Releases it. */
void mst_round_session_fini(struct mst_round_session *s);
/** A number from the chief. A new one drops the push of the old, and all buckets are to be pulled. The same number
 *  again changes nothing. */
void mst_round_session_admitted(struct mst_round_session *s, uint64_t number);
/** The chief or a PS said that this incarnation is fenced: nothing acts until admitted again. */
void mst_round_session_fenced(struct mst_round_session *s);
/** A pull to be sent now, in *out; it counts as sent. The carrier sends it again until it is answered. */
bool mst_round_session_next_pull(struct mst_round_session *s, struct mst_round_session_pull *out);
/** An answer came; one that no call waits for is ignored. True if it was the last one outstanding. */
bool mst_round_session_answered(struct mst_round_session *s, const struct mst_round_session_answer *answer);
/** True if a unit can be computed now; which one in *out. */
bool mst_round_session_next_unit(const struct mst_round_session *s, struct mst_round_session_unit *out);
/** Begins the push of that unit: every bucket that is pushed is outstanding; *out is the identity of all its pushes:
 *  step = round, lease = epoch + 1, offset = unit + 1. */
void mst_round_session_push_all(struct mst_round_session *s, struct mst_session_push *out);
/** True if a push is in flight. */
bool mst_round_session_is_pushing(const struct mst_round_session *s);
/** True if nothing is left to train. */
bool mst_round_session_is_over(const struct mst_round_session *s);
/** The round whose end it waits for; 0: it waits for none. */
uint64_t mst_round_session_waits_for(const struct mst_round_session *s);
