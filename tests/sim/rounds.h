/** @file
 *  One simulated synchronous job: the product's rounds of chief, parameter servers and workers over a faulty network,
 *  while workers are killed (some for good), restarted and paused, parameter servers die and come back empty, or have a
 *  backup that takes over and may die, too, and the chief is paused and killed: the next one has a higher term and
 *  knows what the parameter servers have stored.
 *  Everything follows from the seed.
 *
 *      const char *fault = rounds_run(seed, plant, &n_delivered, text);    // NULL, or text says what went wrong
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** A rule left out on purpose, to show that the simulator would find its absence. */
enum rounds_plant {
    ROUNDS_PLANT_NONE,
    ROUNDS_PLANT_ONE_SHARD,         // the chief closes by what has arrived on the first PS
    ROUNDS_PLANT_ACK_ARRIVAL,       // a push is answered when it arrives
    ROUNDS_PLANT_RECLOSE,           // a new chief closes a round anew that not every PS has applied
    ROUNDS_PLANT_FORGET_CLOSE,      // a PS does not keep the close
    ROUNDS_PLANT_WAIT_N,            // a round waits for the fenced, too
    ROUNDS_PLANT_ACT_UNSTORED,      // a close is acted on before every PS has stored it
    ROUNDS_PLANT_FENCE_DROPS,       // a fence takes back contributions that are complete
    ROUNDS_PLANT_TERM_SKIP,         // a PS does not refuse a lower term
    ROUNDS_PLANT_NO_EMPTY,          // a round whose workers are all fenced is not closed
    ROUNDS_PLANT_NO_APPEND,         // what is left out is not dealt again
    ROUNDS_PLANT_PULL_ANY,          // a worker takes what each bucket has, without naming the round
    ROUNDS_PLANT_CUT_EARLY,         // a cut does not wait until the last round is applied
    ROUNDS_PLANT_ANY_NUMBER,        // the number of a worker is told before it is stored
    ROUNDS_PLANT_FENCE_UNSTORED,    // a fence is sent before it is stored that there is one
    ROUNDS_PLANT_PS_UNNOTICED,      // the chief takes what a PS had before it died for what it has
    ROUNDS_PLANT_PS_OWN_CLOSE,      // … takes only round 0 as applied, as at the start
    ROUNDS_PLANT_PS_NO_TAKEN,       // … and the round that it takes over is not counted as lost
    ROUNDS_PLANT_PS_NO_STATE_CLOSE, // where no PS has heard of a round, the next chief begins with the first
    ROUNDS_PLANT_STORED_EARLY,      // a primary says that a close is stored before its backup has it
    ROUNDS_PLANT_APPLIED_EARLY,     // … that a round is applied
    ROUNDS_PLANT_MOVED_UNNOTICED,   // the chief takes what a dead primary had for what its backup has
    ROUNDS_PLANT_NO_AGAIN,          // … waits for ever for what a fenced worker's contribution was lost with
    ROUNDS_PLANT_REPEAT_TEXT,       // … if it is not the one that closed the round
    ROUNDS_PLANT_SAME_ATTEMPT,      // two chiefs give the same numbers to their attempts
    ROUNDS_PLANT_LOST_MOVED,        // the home of a group that is lost is taken for one that took over
    ROUNDS_PLANT_SWEEP_NORMS,       // a sweep brings a stored close without what its group adds to the norm
    ROUNDS_PLANT_SETBACK_UNSAID,    // a chief does not hand on what it knows of losses
    N_ROUNDS_PLANTS,
};

/** The name of a planted bug, for --plant. */
const char *rounds_plant_name(int plant);
/** Runs one job to its end. NULL if every rule held, else text (256 bytes) with a sentence. */
const char *rounds_run(uint64_t seed, int plant, size_t *n_delivered, char *text);
