/** @file
 *  How far a worker may lead the others: bounded staleness. Pure.
 *
 *      mst_pacing_init(&pacing, 8);                                 // at most 8 steps; 0: nobody waits for anybody
 *      n = mst_pacing_allows(&pacing, worker, number);              // its next lease may have n batches; 0: it waits
 *      mst_pacing_given(&pacing, worker, number, n);                // it got them, or (0) none
 *      mst_pacing_done(&pacing, worker, number, n);                 // it says that n more of its batches are done
 *      mst_pacing_forget(&pacing, worker, number);                  // it is dead
 *
 *  A worker's clock counts its steps that are known as done. It runs while it holds a lease; who rests, because nothing
 *  was left to give or because it leads, holds nobody back. Who starts to run starts at the lowest clock of those that
 *  run, unless its own is higher.
 *  Invariant: no worker begins a step that leads the slowest that runs by more than the limit, whatever is under way:
 *  clock + batches held <= lowest clock + limit when a lease is given, and the lowest clock never falls.
 *  Somebody can always go on: the slowest of those that run holds batches.
 *  (DESIGN §5, Consistency and rounds.)
 *  Thread: one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mst_pacing_runner {
    uint32_t worker;
    uint64_t number;  // of its incarnation
    uint64_t clock;   // steps done, and where it started
    uint64_t n_ahead; // batches held that are not known as done
    bool is_running;
    bool is_at_limit; // at its last question
};

struct mst_pacing {
    uint64_t limit;
    uint64_t lowest; // clock of the slowest that runs, or ran last
    struct mst_pacing_runner *runners;
    size_t n_runners;
};

/** Nobody runs. limit: steps; 0: none, everything is allowed and nothing is counted. */
void mst_pacing_init(struct mst_pacing *pacing, uint64_t limit);
/** Releases it. */
void mst_pacing_fini(struct mst_pacing *pacing);
/** Returns how many batches the worker's next lease may have at most; 0: it has to wait for others. Leases are short
 *  against the limit, for a lease is known as done only as a whole: old news of the slow would hold up the fast. */
uint64_t mst_pacing_allows(struct mst_pacing *pacing, uint32_t worker, uint64_t number);
/** Notes the answer to its question: a lease of n batches; 0: none, and it rests if it holds no other. */
void mst_pacing_given(struct mst_pacing *pacing, uint32_t worker, uint64_t number, uint64_t n);
/** Notes that n more of the batches it holds are done. */
void mst_pacing_done(struct mst_pacing *pacing, uint32_t worker, uint64_t number, uint64_t n);
/** Puts back what is known of a worker: its clock, and what it holds (0: it rests). Before anybody asks. */
void mst_pacing_restore(struct mst_pacing *pacing, uint32_t worker, uint64_t number, uint64_t clock, uint64_t n_ahead);
/** Returns a worker's clock; 0 if it is not known. */
uint64_t mst_pacing_clock(const struct mst_pacing *pacing, uint32_t worker, uint64_t number);
/** Returns how many workers rest because they lead the slowest by the limit. */
size_t mst_pacing_n_held_back(const struct mst_pacing *pacing);
/** Prints whom the others wait for, "worker-1, 8 steps behind worker-0"; "" if nobody is held back. */
void mst_pacing_awaited(const struct mst_pacing *pacing, char *out, size_t out_bytes);
/** Notes that this incarnation is out: it holds nobody back any more. */
void mst_pacing_forget(struct mst_pacing *pacing, uint32_t worker, uint64_t number);
