/** @file
 *  One simulated job with replicas: the product's ps/replica.h, ps/client_table.h, chief/failover.h and
 *  worker/session.h over a network that drops, duplicates, delays and reorders, while parameter servers crash and come
 *  back empty, in some jobs two of three copies just after each other or all copies of a group at once, are paused,
 *  drained and cut off from the chief or from each other, chiefs are killed, paused and succeeded while they live, and
 *  workers die and are fenced. Everything follows from the seed.
 *
 *      const char *fault = replicas_run(seed, plant, &n_delivered, text);  // NULL, or text says what went wrong
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** A rule left out on purpose, to show that the simulator would find its absence. */
enum replicas_plant {
    REPLICAS_PLANT_NONE,
    REPLICAS_PLANT_RELEASE_EARLY,      // a primary goes on after it gave its lease back
    REPLICAS_PLANT_FENCE_EARLY,        // a fence is answered with rows that the backups do not have yet
    REPLICAS_PLANT_FENCE_ANY,          // … by whoever holds a copy
    REPLICAS_PLANT_FULL_COMMITTED,     // servers die again as soon as the committed roles look full
    REPLICAS_PLANT_LINK_UNSAID,        // nobody tells the chief that a primary cannot reach its backup
    REPLICAS_PLANT_GRANT_OLD,          // a backup grants leases to the primary of older roles
    REPLICAS_PLANT_TAKE_GAPS,          // a backup takes operations in any order
    REPLICAS_PLANT_KEEP_ROWS,          // a joiner keeps its own client rows through the sweep
    REPLICAS_PLANT_SWEPT_EARLY,        // a joiner is named backup when its sweep has begun
    REPLICAS_PLANT_NO_REFUSAL,         // a fenced worker is not refused
    REPLICAS_PLANT_ACK_EARLY,          // a push is answered before the backups have it
    REPLICAS_PLANT_APPLY_LAST,         // the last step is applied again when it comes again
    REPLICAS_PLANT_FORGET_ROWS,        // operations carry no client rows
    REPLICAS_PLANT_PROMOTE_EARLY,      // a promoted backup begins before its grant ran out
    REPLICAS_PLANT_REUSE_TERM,         // a chief that starts takes the term of the last one
    REPLICAS_PLANT_OLD_OPS,            // a backup takes operations of older roles
    REPLICAS_PLANT_ANY_INCARNATION,    // a server that came back empty acts as what the roles name its index
    REPLICAS_PLANT_ALONE,              // a primary goes on alone when its backup is gone, without new roles
    REPLICAS_PLANT_LATE_BUCKET,        // a joiner takes a bucket as it was before operations that came since
    REPLICAS_PLANT_BARE_ON_ITS_WAY,    // an operation on a bucket on its way comes without its gradient
    REPLICAS_PLANT_BACKUP_EQUAL,       // the backup beside a promoted one is not swept whatever its number
    REPLICAS_PLANT_BACKUP_JOINS,       // … and is only a joiner of it
    REPLICAS_PLANT_MINORITY,           // a chief commits roles that one server has, whatever it hears of the others
    REPLICAS_PLANT_PROMOTE_JOINER,     // a joiner takes the place of a primary that is dead
    REPLICAS_PLANT_EMPTY_COUNTS,       // an empty server counts when a chief that starts reads it
    REPLICAS_PLANT_FIRST_THREAD,       // what one home thread of a group says counts for all of them
    REPLICAS_PLANT_TOLD_EARLY,         // roles count as stored when the first of them has stored them
    REPLICAS_PLANT_TEXT_EMPTY,         // an empty server counts as soon as any chief wrote to it
    REPLICAS_PLANT_NUMBER_UNSTORED,    // a worker hears of its number before that is stored
    REPLICAS_PLANT_FENCE_UNTOLD,       // a server hears of a fence before it is stored that there is one
    REPLICAS_PLANT_WATCH_NUMBER,       // roles of a later chief are no news if their number is lower
    REPLICAS_PLANT_SETBACK_UNTOLD,     // a chief does not hand on which groups are to be restored, and what was lost
    REPLICAS_PLANT_SILENT_LOST,        // a group whose copies are only out of reach is lost
    REPLICAS_PLANT_LOST_UNRESTORED,    // the home of a lost group serves what it has
    REPLICAS_PLANT_MAP_RESTORES_ALL,   // a map makes a server restore whatever it is primary of
    REPLICAS_PLANT_RESTORE_UNREFUSED,  // who restores is not told whom it has to refuse
    REPLICAS_PLANT_RESTORE_ROWLESS,    // … and forgets which steps the checkpoint has
    REPLICAS_PLANT_LOST_COUNTED_AGAIN, // what was counted as lost is counted with the next loss, too
    REPLICAS_PLANT_HOME_UNSTORED,      // a home is named before a later chief would know that its group was lost
    N_REPLICAS_PLANTS,
};

/** The name of a planted bug, for --plant. */
const char *replicas_plant_name(int plant);
/** Runs one job to its end. NULL if every rule held, else text (256 bytes) with a sentence. */
const char *replicas_run(uint64_t seed, int plant, size_t *n_delivered, char *text);
