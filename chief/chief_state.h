/** @file
 *  The chief's state as bytes: what a chief that comes after has to know. Parameter servers keep it (STATE), a starting
 *  chief reads it (RECALL), and a checkpoint holds its settled form. Pure.
 *
 *      MST_TRY(mst_chief_state_encode(&state, &coordinator, &buf));
 *      MST_TRY(mst_chief_state_decode(bytes, &arena, &coordinator, now_ms, &state, err)); // into a fresh coordinator
 *      mst_chief_state_settle(&coordinator, rows, n_rows);                                // for a checkpoint
 *
 *  The coordinator's part: the members with their numbers, who holds which lease, what was returned, how much is done
 *  of which epoch, what workers reported. Not in it: times. Who was live is live again and has two leases to be heard;
 *  a fence that was not complete is begun again. Sums and evaluations that would make it too large for a frame are left
 *  out; the losses shown are then of what is trained later.
 *  Thread: one at a time.
 */
#pragma once

#include "chief/coordinator.h"
#include "wire/frame.h"
#include "wire/messages.h"

/** Bytes of a state at most: what a starting chief reads holds a close and roles beside it, in one frame. */
#define MST_CHIEF_STATE_MAX (MST_FRAME_META_MAX / 2)
/** … and of the evaluations in it: the newest ones. */
#define MST_CHIEF_STATE_EVALUATED_MAX (64u << 10)

/** What stands beside the coordinator. A decoded one borrows from the arena. */
struct mst_chief_state {
    uint64_t map_term;
    uint64_t map_epoch;
    uint32_t plan_crc;          // of the map's shards
    size_t n_ps;                // that the map is of
    const uint64_t *ps_threads; // data threads that the plan has, by PS
    const char *restore_prefix; // the map's; "": initial values
    uint64_t n_steps_resumed;
    const char *checkpoint; // prefix of the last one that is committed; "": none
    uint64_t checkpoint_step;
    bool is_finished;             // the job is over and its result is written
    size_t n_numbers;             // that callbacks remember
    const int64_t *numbers;       // chief/callbacks.h
    struct mst_epoch_record last; // the last epoch that was over
    uint64_t trained_ms;          // since the first lease
    uint64_t first_step_ms;       // from the command to the first step; 0: there was none
    uint64_t n_lost_updates;      // of parameter servers that came back
    const char *evaluated;        // JSON: the newest of what result.json lists
    uint64_t evaluated_step;
    size_t n_checkpoint_rows;
    const struct mst_msg_client_row *checkpoint_rows; // steps of this run's workers that `checkpoint` has
    size_t n_untold; // epochs that wait for their validation: what callbacks remember is from before them
    const struct mst_msg_epoch_sums *untold; // … in order
    bool has_close;
    struct mst_msg_close close; // rounds: the last one, for where no PS has heard of any
    size_t n_setbacks;
    const struct mst_msg_setback *setbacks; // by group: what is known of its last loss
};

/** The progress of one worker at a cut, as one PS has it (all PSs have the same of a worker that nobody fenced). */
struct mst_chief_state_row {
    uint32_t worker;
    uint64_t number;
    uint64_t lease;
    uint64_t offset;
};

/** Appends the bytes to out. Errors: RESOURCE_EXHAUSTED they do not fit out, without sums too */
MST_MUST_USE mst_status mst_chief_state_encode(const struct mst_chief_state *state, const struct mst_coordinator *c,
                                               struct mst_buf *out);
/** Bytes that these parts add to a state, for who measures how large one can be: an element of a list adds as much
 *  alone as among others. */
uint64_t mst_chief_state_bytes(const struct mst_msg_chief_state *parts);
/** Bytes at most of what a state has whoever works: numbers, paths, and what is of each parameter server. */
uint64_t mst_chief_state_own_bytes(size_t n_ps);
/** Puts bytes into a coordinator of the same job, in which nothing has happened yet, and into *out.
 *  Errors: INVALID_ARGUMENT not such bytes, or of a job with other batches, another order or other measures, or what
 *          they say cannot be;
 *          RESOURCE_EXHAUSTED the arena's maximum (the coordinator is unchanged in all cases) */
MST_MUST_USE mst_status mst_chief_state_decode(struct mst_bytes bytes, struct mst_arena *arena,
                                               struct mst_coordinator *c, uint64_t now_ms, struct mst_chief_state *out,
                                               struct mst_error *err);
/** Whether a checkpoint's state, whatever else it says, is of a job whose epochs have this one's order.
 *  Errors: INVALID_ARGUMENT they have not (says which key changed), or not such bytes; RESOURCE_EXHAUSTED the arena's
 *          maximum */
MST_MUST_USE mst_status mst_chief_state_check_order(struct mst_bytes bytes, struct mst_arena *arena,
                                                    const struct mst_coordinator *c, struct mst_error *err);
/** Puts the members of a checkpoint's state into an empty membership, whatever else the state says.
 *  Errors: INVALID_ARGUMENT not such bytes; RESOURCE_EXHAUSTED the arena's maximum (nothing is put in) */
MST_MUST_USE mst_status mst_chief_state_members(struct mst_bytes bytes, struct mst_arena *arena,
                                                struct mst_membership *members, struct mst_error *err);
/** Makes everybody awaited, their leases taken back as the rows of a cut say: a job that starts from there trains what
 *  is not applied at the cut. For a coordinator of its own, put together by encode and decode.
 *  A worker without rows has done nothing of what it holds. Returns what was taken back. */
struct mst_leases_revoked mst_chief_state_settle(struct mst_coordinator *c, const struct mst_chief_state_row *rows,
                                                 size_t n_rows);
