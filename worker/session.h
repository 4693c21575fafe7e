/** @file
 *  What a worker has been given and what it has outstanding: its number, its leases, the step in flight. Pure.
 *
 *      mst_session_admitted(&s, number);                 // by the chief: everything of an earlier number is forgotten
 *      if (mst_session_wants_lease(&s, &request)) …      // send it: mst_session_asked; answer: mst_session_lease
 *      if (mst_session_next_batch(&s, &batch)) …         // all parameters are in, nothing is outstanding: compute it
 *      mst_session_push_all(&s, &push);                  // one push a bucket, all with this identity
 *      mst_session_pushed(&s, bucket, push.step);        // a bucket answered; after the last one the batch is done
 *
 *  One outstanding step per worker and bucket; the same push is sent again, word for word, until it is answered.
 *  (DESIGN §5, Push and Data leases.)
 *  Thread: one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MST_SESSION_LEASES 2 // one being trained, one fetched ahead

/** A lease as the chief granted it. */
struct mst_session_lease {
    uint64_t id;
    uint64_t seq;
    uint64_t epoch;
    uint64_t first_batch;
    uint64_t n_batches;
};

/** What is asked of the chief: lease number seq; and told: how many leases are done. */
struct mst_session_request {
    uint64_t number;
    uint64_t seq;
    uint64_t done_seq;
};

/** The batch to be computed next. */
struct mst_session_batch {
    uint64_t epoch;
    uint64_t batch;
};

/** The identity of a step's pushes. */
struct mst_session_push {
    uint64_t number;
    uint64_t step;
    uint64_t lease;
    uint64_t offset; // batches of the lease done, this one included
};

struct mst_session {
    uint64_t number; // 0: not admitted
    uint64_t step;   // last step begun
    uint64_t done_seq;
    bool is_finished; // the chief said that nothing is left
    struct mst_session_lease leases[MST_SESSION_LEASES];
    size_t n_leases;
    uint64_t n_done; // batches of leases[0] done
    bool is_asked;   // `asked` is under way
    struct mst_session_request asked;
    unsigned char *outstanding; // by bucket: the push (or first pull) is not answered yet
    size_t n_buckets;
    size_t n_pushed; // the first ones; the others are frozen: pulled once, never pushed
    size_t n_outstanding;
    struct mst_session_push push; // of the step in flight
};

/** Not admitted, nothing held. n_pushed: 1 … n_buckets of the buckets, the first ones, are pushed. */
void mst_session_init(struct mst_session *s, size_t n_buckets, size_t n_pushed);
/** Releases it. */
void mst_session_fini(struct mst_session *s);
/** A number from the chief. A new one drops leases and pushes of the old, and all buckets count as outstanding until
 *  pulled (mst_session_pulled). The same number again changes nothing. */
void mst_session_admitted(struct mst_session *s, uint64_t number);
/** The chief or a PS said that this incarnation is fenced: nothing acts until admitted again. */
void mst_session_fenced(struct mst_session *s);
/** True if the chief is to be asked: a place for a lease is free, and the question (in *out) is another than the one
 *  under way. A lease that is done makes another question of it: the chief may be waiting for just that to end the job.
 */
bool mst_session_wants_lease(const struct mst_session *s, struct mst_session_request *out);
/** The question was sent. */
void mst_session_asked(struct mst_session *s, const struct mst_session_request *request);
/** No question is under way any more: it was lost, or answered with "wait". */
void mst_session_ask_again(struct mst_session *s);
/** A lease for this request came; ignored unless it is the one that is due. */
void mst_session_lease(struct mst_session *s, uint64_t number, const struct mst_session_lease *lease);
/** The chief said that nothing is left to train. */
void mst_session_finished(struct mst_session *s, uint64_t number);
/** The first parameters of a bucket are in. */
void mst_session_pulled(struct mst_session *s, uint64_t number, size_t bucket);
/** True if a batch can be computed now; which one in *out. */
bool mst_session_next_batch(const struct mst_session *s, struct mst_session_batch *out);
/** The batch that is `ahead` places after the next one, as far as leases reach; for fetching input. */
bool mst_session_batch_ahead(const struct mst_session *s, size_t ahead, struct mst_session_batch *out);
/** Begins the step of that batch: every bucket that is pushed is outstanding; *out is the identity of all its
 *  pushes. */
void mst_session_push_all(struct mst_session *s, struct mst_session_push *out);
/** A bucket answered the push of this step; others are ignored. True if it was the last: the batch is done. */
bool mst_session_pushed(struct mst_session *s, uint64_t number, uint64_t step, size_t bucket);
