/** @file
 *  What is lost with buckets that nobody has any more, and that begin anew from the last checkpoint. Pure.
 *
 *      mst_setback_emptied(&setback, n_steps, n_torn);    // their server died, when n_steps were known to be done
 *      mst_setback_restoring(&setback, checkpoint_step);  // another process was told what to begin with
 *      n_lost = mst_setback_restored(&setback, n_taken);  // it has
 *      mst_setback_seen(&setback, &cut);                  // at each cut …
 *      n_more = mst_setback_settle(&setback);             // … and when all workers have pushed there since
 *      n_more = mst_setback_committed(&setback, step);    // that one is a checkpoint now
 *
 *  Lost are the steps from that checkpoint, or from the last time that was later, to when it was gone. How many of
 *  those were done, the chief knows when they are restored but for what workers had not reported. A cut knows exactly
 *  how many are done in all, and a bucket how many updates it has had since: it counts on from the steps that the chief
 *  knew of, so what it is short of is what nobody had reported. One step of each worker may be missing in a cut that is
 *  too early: what it pushes to others still, and the lost buckets had answered. A worker that pushed there since, or
 *  that holds no leases any more, has none such.
 *  What was torn since then lacks on the bucket, or on others: as the chief does not keep where, it is taken for the
 *  former, and as many that are lost may be left out.
 *  Thread: one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct mst_setback {
    bool is_gone;             // nobody has them
    bool is_restoring;        // a server was told to begin …
    uint64_t checkpoint_step; // … with this checkpoint
    bool is_open;             // it did, and what had not been reported is to be counted
    uint64_t n_steps;         // known to be done when they were gone: from there on their updates are counted
    uint64_t n_torn;          // of these
    uint64_t from_step;       // of the last time, what is counted is from here
    uint64_t counted_step;    // steps up to this one were counted as lost
    uint64_t seen_step;       // the last cut had so many steps done
    uint64_t seen_to;         // … and by it, steps up to this one are lost
};

/** What a cut says. */
struct mst_setback_cut {
    uint64_t n_done;    // steps
    uint64_t n_torn;    // of these
    uint64_t n_updates; // that one of the buckets has counted, and the others fewer; UINT64_MAX: they count none
};

/** Nobody has them; whoever was told to begin with a checkpoint is gone, too. */
void mst_setback_emptied(struct mst_setback *setback, uint64_t n_steps, uint64_t n_torn);
/** A server is told to begin with a checkpoint of this step, and to count its updates on from setback->n_steps. Told
 *  again, it is what it was first told that counts. */
void mst_setback_restoring(struct mst_setback *setback, uint64_t checkpoint_step);
/** It serves them. Returns how many steps are lost, as far as is known. n_taken: steps that it is about to take as
 *  applied (rounds, of which all is known), or 0. */
uint64_t mst_setback_restored(struct mst_setback *setback, uint64_t n_taken);
/** Takes a cut that began after they were restored; nothing where they were not. */
void mst_setback_seen(struct mst_setback *setback, const struct mst_setback_cut *cut);
/** That cut has all that workers had done before. Returns how many more are lost than was known; it is then known
 *  exactly. */
uint64_t mst_setback_settle(struct mst_setback *setback);
/** The checkpoint of a cut with so many steps is the last one now. If that was the one that was seen last, it returns
 *  how many more are known to be lost: what is lost next begins behind it. */
uint64_t mst_setback_committed(struct mst_setback *setback, uint64_t step);
/** How many steps are lost, the last time. */
uint64_t mst_setback_n_lost(const struct mst_setback *setback);
