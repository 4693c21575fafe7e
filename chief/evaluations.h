/** @file
 *  Who evaluates what, and which answer counts: at most one evaluation is under way, at most one waits. Pure: time is
 *  passed in.
 *
 *      mst_evaluations_greet(&e, seat, incarnation, now_ms, &number)  // ADMITTED with its number, or BUSY: ask again
 *      mst_evaluations_want(&e, &wanted)                              // an epoch is over, so many steps are done
 *      mst_evaluations_next(&e, seat, number, now_ms, &evaluation)    // what this evaluator is to do
 *      mst_evaluations_done(&e, seat, number, id, &evaluation)        // its answer; false: it counts no more
 *      mst_evaluations_tick(&e, now_ms)                               // the silent one's work goes to the next to come
 *      while (mst_evaluations_take_skipped(&e, &evaluation)) …        // evaluations that will never be done
 *
 *  When evaluations are wanted faster than they are done, the newest waits and those before it, not begun, are skipped.
 *  There are two seats: the evaluator role's, and that of the chief's own thread, which works while nobody holds the
 *  first. An evaluator changes nothing, so its death needs no fence: what it still says carries an old number.
 *  Thread: one at a time.
 */
#pragma once

#include "chief/membership.h"

enum mst_evaluator_seat {
    MST_SEAT_ROLE, // a process of TF_CONFIG's evaluator role
    MST_SEAT_OWN,  // the chief's own thread
    MST_SEATS,
};

/** One evaluation, wanted or done. */
struct mst_evaluation_task {
    uint64_t id;       // from 1, growing; given by mst_evaluations_want
    uint64_t epoch;    // it belongs to, from 0
    uint64_t step;     // wanted when so many were done
    bool is_epoch_end; // it is that epoch's validation
    bool is_final;     // everything is trained
};

enum mst_evaluation_answer {
    MST_EVALUATION_DO,   // do this one
    MST_EVALUATION_WAIT, // nothing to do now
    MST_EVALUATION_OUT,  // this incarnation is not the seat's: greet again
};

struct mst_evaluator {
    bool is_here;
    bool was_here; // at any time
    uint64_t incarnation;
    uint64_t number;       // of the current or last incarnation
    uint64_t silent_at_ms; // when it counts as gone unless heard
};

struct mst_evaluations {
    uint64_t lease_ms;
    uint64_t grace_ms; // after its connection closed
    struct mst_evaluator seats[MST_SEATS];
    bool is_waiting;
    struct mst_evaluation_task waiting;
    bool is_running;
    struct mst_evaluation_task running;
    enum mst_evaluator_seat running_seat;
    uint64_t n_wanted;
    uint64_t n_done;
    uint64_t n_skipped;
    struct mst_evaluation_task *skipped; // not taken yet, oldest first
    size_t n_to_take;
};

/** Nobody is here, nothing is wanted. lease_ms: silence after which an evaluator counts as gone; grace_ms: the same
 *  once its connection closed. */
void mst_evaluations_init(struct mst_evaluations *e, uint64_t lease_ms, uint64_t grace_ms);
/** Releases it. */
void mst_evaluations_fini(struct mst_evaluations *e);
/** A process asks for a seat. ADMITTED: *number_out is its number (the same if it was in already). */
enum mst_greet_verdict mst_evaluations_greet(struct mst_evaluations *e, enum mst_evaluator_seat seat,
                                             uint64_t incarnation, uint64_t now_ms, uint64_t *number_out);
/** A message of this incarnation came. False if it is not the one in the seat. */
bool mst_evaluations_heard(struct mst_evaluations *e, enum mst_evaluator_seat seat, uint64_t number, uint64_t now_ms);
/** The last connection of this incarnation closed: it is gone unless heard within grace_ms. */
void mst_evaluations_lost(struct mst_evaluations *e, enum mst_evaluator_seat seat, uint64_t number, uint64_t now_ms);
/** This incarnation says that it leaves: it is gone. */
void mst_evaluations_leave(struct mst_evaluations *e, enum mst_evaluator_seat seat, uint64_t number);
/** Empties the seats of the silent; what one of them had begun waits again, or is skipped if a newer one waits. */
void mst_evaluations_tick(struct mst_evaluations *e, uint64_t now_ms);
/** Wants an evaluation, the id of *task being set here. One that waits already for the same epoch and step
 *  becomes this one; an older one is skipped. */
void mst_evaluations_want(struct mst_evaluations *e, struct mst_evaluation_task *task);
/** Skips what waits. */
void mst_evaluations_drop_waiting(struct mst_evaluations *e);
/** What this incarnation is to do now; the same again until it is done. */
enum mst_evaluation_answer mst_evaluations_next(struct mst_evaluations *e, enum mst_evaluator_seat seat,
                                                uint64_t number, uint64_t now_ms, struct mst_evaluation_task *out);
/** The evaluation with this id is over. True if it was the one under way in this seat, by this incarnation: it is in
 *  *out, and its scores count. */
bool mst_evaluations_done(struct mst_evaluations *e, enum mst_evaluator_seat seat, uint64_t number, uint64_t id,
                          struct mst_evaluation_task *out);
/** Takes the oldest skipped one that was not taken; false if there is none. */
bool mst_evaluations_take_skipped(struct mst_evaluations *e, struct mst_evaluation_task *out);
