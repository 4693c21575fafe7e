/** @file
 *  What is lost with buckets that nobody has any more, and that begin anew from the last checkpoint. Pure.
 *
 *      mst_setback_emptied(&setback);                                  // their server died
 *      mst_setback_restoring(&setback, checkpoint_step, n_steps);      // another process was told what to begin with
 *      n_lost = mst_setback_restored(&setback, n_taken);               // it has
 *
 *  Lost are the steps from that checkpoint, or from the last time that was later, to when it was told. That is exact
 *  but for steps that workers had not reported by then. A chief that starts does not know of earlier times, and may
 *  count too much.
 *  Thread: one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct mst_setback {
    bool is_restoring;        // a server was told to begin
    uint64_t checkpoint_step; // … with this checkpoint
    uint64_t n_steps;         // … when so many were done
    uint64_t counted_step;    // steps up to this one were counted as lost before
};

/** Nobody has them; whoever was told to begin with a checkpoint is gone, too. */
void mst_setback_emptied(struct mst_setback *setback);
/** A server is told to begin with a checkpoint of this step, when n_steps are done. Told again, it is what it was
 *  first told that counts. */
void mst_setback_restoring(struct mst_setback *setback, uint64_t checkpoint_step, uint64_t n_steps);
/** It serves them. Returns how many steps are lost. n_taken: steps that it is about to take as applied (rounds), or
 *  0. */
uint64_t mst_setback_restored(struct mst_setback *setback, uint64_t n_taken);
