/** @file
 *  One simulated job: a chief, parameter servers and workers that run the product's own state machines, over a network
 *  that drops, duplicates, delays and reorders, while workers, chiefs and parameter servers are killed, restarted and
 *  paused. Everything follows from the seed. A counting oracle watches every applied push.
 *
 *      struct world *world = world_new(seed, plant);
 *      const char *fault = world_run(world);        // NULL, or what went wrong
 *      world_free(world);
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A rule left out on purpose, to show that the simulator would find its absence. */
enum plant {
    PLANT_NONE,
    PLANT_NO_CLIENT_TABLE,   // a PS applies whatever is not fenced
    PLANT_REPEAT_APPLIED,    // a PS applies the last step once more when it comes again
    PLANT_NO_REFUSAL,        // a fence is answered, but the incarnation is not refused
    PLANT_LOWEST_MARK,       // what the slowest shard has counts as done, not what the fastest has
    PLANT_FORGET_MARKS,      // a fence answers without the worker's progress
    PLANT_NEVER_FENCED,      // silent workers are never declared dead
    PLANT_FROZEN_QUESTION,   // a lease question is repeated word for word, though leases were done since
    PLANT_FROZEN_MARKS,      // a fence answers for buckets that are never pushed, too
    PLANT_CUT_LOWEST,        // a cut is the lowest row of each worker
    PLANT_CUT_HELD_LATE,     // a PS answers HOLD before all its buckets hold
    PLANT_CUT_LEASES_START,  // a checkpoint has the leases of the moment when the cut began
    PLANT_CUT_LEASES_COMMIT, // … of the moment when it was marked
    PLANT_CUT_FENCE_UNSAID,  // a PS does not say where a fence left it with less than the cut
    PLANT_LEAD_BY_MORE,      // a worker may lead the slowest by one step more than the job says
    PLANT_GRANT_EARLY,       // a lease is given before every PS has stored that it is
    PLANT_ADMIT_EARLY,       // a number is given before the fence of the one before it is complete and stored
    PLANT_SKIP_TERM,         // a PS does not refuse a lower term
    PLANT_FORGET_FENCED,     // a worker does not say which number of its own is out
    PLANT_PS_EARLY,          // a PS that comes back takes pushes before it has what it begins with
    PLANT_PS_UNCOMMITTED,    // … begins with a checkpoint that is not committed yet
    PLANT_PS_UNREFUSED,      // … is not told whom it has to refuse
    PLANT_PS_ZERO_MARKS,     // … and what it forgot of a dead worker counts as no progress
    PLANT_PS_ROWS_LOST,      // … does not know which steps the checkpoint holds
    PLANT_PS_STORED,         // the chief takes what it had stored on a PS for stored when that comes back
    PLANT_PS_LOST_AGAIN,     // what a PS lost is counted again when it dies again
    PLANT_PS_UNREPORTED,     // … and what of it nobody had reported is not counted
    PLANT_PS_FIRST_CUT,      // … or it is by the first cut, whether all have pushed there since or not
    PLANT_PS_GONE_UNSTORED,  // … or that it is lost is stored only after it is told what to begin with
    PLANT_OLD_MAP,           // a job that nobody knows any more begins anew under the name of its old map
    N_PLANTS,
};

struct world;

/** The name of a planted bug, for --plant. */
const char *plant_name(enum plant plant);
/** A job whose size and faults follow from the seed. */
struct world *world_new(uint64_t seed, enum plant plant);
/** Runs it to its end. NULL if every rule held, else a sentence (the world's, until it is freed). */
const char *world_run(struct world *world);
/** Messages delivered so far. */
size_t world_n_delivered(const struct world *world);
/** Releases it. */
void world_free(struct world *world);
