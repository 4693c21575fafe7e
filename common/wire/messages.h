/** @file
 *  Our messages as plain structs, and their bytes (protobuf, proto/muster.proto). One encode and one decode a message,
 *  all of one form:
 *
 *      mst_msg_push_encode(&push, &buf);                              // appends to an mst_buf
 *      MST_TRY(mst_msg_push_decode(bytes, &arena, &push, err));       // texts and arrays live in the arena
 *
 *  encode: Errors RESOURCE_EXHAUSTED the buffer's maximum. decode: Errors INVALID_ARGUMENT not this message, or a value
 *  outside its range; RESOURCE_EXHAUSTED the arena's maximum. A decoded text is never NULL; NULL encodes as "".
 *  Unknown fields are ignored, absent ones are 0, so fields may be added.
 *  Thread: any.
 */
#pragma once

#include "base/arena.h"
#include "base/bytes.h"
#include "wire/messages_replicas.h"
#include "wire/training_sums.h"

#include <stdbool.h>
#include <stdint.h>

#define MST_MSG_ARENA_MAX (16u << 20) // an arena for any message of MST_FRAME_META_MAX that is not made to be large

enum mst_peer_role {
    MST_PEER_UNKNOWN,
    MST_PEER_CHIEF, // and "master"
    MST_PEER_WORKER,
    MST_PEER_PS,
    MST_PEER_EVALUATOR,
    MST_PEER_ROLES, // how many
};

/** The term that a chief greets with before it has claimed one (mst_msg_recall). */
#define MST_TERM_NEWCOMER UINT64_MAX

enum mst_job_state {
    MST_JOB_WAITING,
    MST_JOB_RUNNING,
    MST_JOB_FINISHED,
    MST_JOB_FAILED,
    MST_JOB_STATES, // how many
};

enum mst_lease_reply_kind {
    MST_LEASE_REPLY_LEASE,
    MST_LEASE_REPLY_WAIT,
    MST_LEASE_REPLY_FINISHED,
    MST_LEASE_REPLY_FAILED,
    MST_LEASE_REPLY_FENCED,
    MST_LEASE_REPLY_KINDS, // how many
};

enum mst_evaluate_reply_kind {
    MST_EVALUATE_REPLY_WAIT,
    MST_EVALUATE_REPLY_EVALUATE,
    MST_EVALUATE_REPLY_FINISHED,
    MST_EVALUATE_REPLY_FAILED,
    MST_EVALUATE_REPLY_OUT,   // another incarnation evaluates; greet again
    MST_EVALUATE_REPLY_KINDS, // how many
};

enum mst_cut_phase {
    MST_CUT_HOLD,   // admit no new steps
    MST_CUT_ADMIT,  // those up to the rows, then mark and go on
    MST_CUT_RESUME, // it is given up
    MST_CUT_DROP,   // its snapshot is not needed any more
    MST_CUT_PHASES, // how many
};

/** An ERROR reply of any method. */
struct mst_msg_error {
    mst_status status; // an mst_status, never OK
    const char *text;
};

#define MST_GREETING_CONTROL (-1) // data_thread of a control connection

struct mst_msg_greeting {
    uint32_t min_version; // wire versions spoken
    uint32_t max_version;
    const char *job_name;
    uint64_t job_hash;
    enum mst_peer_role role;
    uint32_t index;
    const char *address;  // as in TF_CONFIG
    int32_t data_thread;  // which data thread is wanted, or MST_GREETING_CONTROL
    uint64_t incarnation; // random, of the process
    uint64_t number;      // given by the chief, 0 before
    uint64_t term;        // of the chief, if this is one
    uint64_t held;        // to the chief: the number that this worker goes by, 0 before it has one
    uint32_t wanted;      // the index of the parameter server that is meant, plus 1; 0: whoever is there
};

struct mst_msg_greeting_reply {
    uint32_t version; // chosen
    enum mst_peer_role role;
    uint32_t index;
    uint64_t incarnation;
    uint32_t n_data_threads;
    bool chief_known;
    const char *chief_address;
    uint32_t chief_index;
    enum mst_peer_role chief_role;
    uint64_t number;              // of the greeter
    uint64_t term;                // highest seen
    const char *state_text;       // for people: what the peer waits for
    enum mst_job_state job_state; // FINISHED: nothing is left to do
};

struct mst_msg_heartbeat {
    enum mst_peer_role role;
    uint32_t index;
    uint64_t incarnation;
    uint64_t number;
    uint64_t progress; // grows while the process gets on
    struct mst_training_sums sums;
    double cpu_seconds;
    uint64_t max_rss_bytes;
    const char *state_text;
    bool sets_learning_rate; // of the chief: another than the job's
    double learning_rate;
    uint64_t waits_ms; // of a worker: for the answer of a parameter server, so far
};

struct mst_msg_heartbeat_reply {
    enum mst_job_state job_state;
    mst_status status; // FAILED: why
    const char *text;
    uint64_t epoch;
    uint64_t step;
};

struct mst_msg_lease {
    uint32_t index;
    uint64_t incarnation;
    uint64_t number;
    uint64_t seq;      // the worker's count of leases: the one wanted
    uint64_t done_seq; // leases done
    uint64_t done_lease;
    uint64_t done_offset;
    struct mst_training_sums sums; // over what is done and was not reported before
};

struct mst_msg_lease_reply {
    enum mst_lease_reply_kind kind;
    uint64_t lease;
    uint64_t seq;
    uint64_t epoch;
    uint64_t first_batch;
    uint64_t n_batches;
    uint64_t first_step;
    mst_status status; // FAILED: why
    const char *text;
};

/** Whole rows of one variable on one PS. */
struct mst_msg_shard {
    uint32_t variable;
    uint32_t part;
    uint32_t n_parts;
    uint64_t row_offset;
    uint64_t n_rows;
    uint32_t ps;
    uint32_t thread;
    uint32_t bucket;
};

/** What a bucket remembers of one worker. */
struct mst_msg_client_row {
    uint32_t bucket;
    uint32_t worker;
    uint64_t number;
    uint64_t step;
    uint64_t lease;
    uint64_t offset;
    bool is_restored; // of a checkpoint: what came after it is lost in this bucket
};

struct mst_msg_map {
    uint64_t term;
    uint64_t epoch;
    uint64_t seed;
    size_t n_shards;
    const struct mst_msg_shard *shards;
    const char *restore_prefix; // "" : initial values
    uint64_t iterations;
    const char *nonce_path;  // a file that the chief wrote into the checkpoint directory; "": none
    const char *nonce;       // what it holds
    uint32_t ps;             // the index of the PS this is sent to: its own view may not say
    bool sets_learning_rate; // to another than the job's
    double learning_rate;
    uint32_t n_round_workers; // workers of a synchronous round; 0: there are no rounds
    size_t n_fenced;
    const uint64_t *fenced; // by worker: numbers up to this are refused
    size_t n_ps_threads;
    const uint64_t *ps_threads; // data threads, by PS
    struct mst_msg_roles roles; // no groups: each has its home as primary, for good
    size_t n_rows;
    const struct mst_msg_client_row *rows; // steps of workers that may still push and that are in restore_prefix
};

struct mst_msg_map_reply {
    uint64_t term;
    uint64_t epoch;
    uint64_t bytes; // held for parameters and slots
};

struct mst_msg_push {
    uint32_t bucket;
    uint64_t map_term;
    uint64_t map_epoch;
    uint32_t worker;
    uint64_t number;
    uint64_t step;
    uint64_t lease;
    uint64_t offset;
    double weight;                 // examples, or the sum of sample weights
    struct mst_training_sums sums; // rounds, the first bucket: what was measured over the unit
};

/** In rounds: what a worker is to do for the round after `round`, the last that is applied where this comes from. */
struct mst_msg_turn {
    uint64_t round;
    uint64_t epoch;
    uint64_t unit; // of the epoch
    bool has_unit; // false: it waits for the round after
    bool is_over;  // nothing is left to train
};

struct mst_msg_push_reply {
    uint32_t bucket;
    uint64_t version;
    uint64_t map_term;
    uint64_t map_epoch;
    uint64_t iterations;
    uint64_t staleness;
    bool is_repeat; // answered again, not applied again
    bool is_finite; // false: gradient or result held NaN or Inf
    struct mst_msg_turn turn;
};

struct mst_msg_pull {
    uint32_t bucket;
    uint64_t map_term;
    uint64_t map_epoch;
    uint32_t worker;
    uint64_t number;
    uint64_t round; // answered when that round, or a later one, is applied; 0: at once
    uint64_t cut;   // from the snapshot of this cut; 0: what is current
};

struct mst_msg_pull_reply {
    uint32_t bucket;
    uint64_t version;
    uint64_t map_term;
    uint64_t map_epoch;
    uint64_t iterations;
    struct mst_msg_turn turn;
};

struct mst_msg_fence {
    uint64_t term;
    uint32_t worker;
    uint64_t number;
    uint32_t group;
};

struct mst_msg_fence_reply {
    uint32_t ps;
    size_t n_rows;
    const struct mst_msg_client_row *rows;
};

struct mst_msg_save {
    uint64_t term;
    const char *dir; // of checkpoints
    uint64_t step;
    uint32_t shard_id;
    uint32_t n_shards;
    uint64_t cut; // the snapshot that is written; 0: what is current
    // checkpoint.local: a PS keeps its part in a folder of its own below dir, called ps-<shard_id>
    uint64_t part_id; // of all parts of this checkpoint; 0: storage is shared
    size_t n_keep;
    const uint64_t *keep; // steps of older ones that stay
    bool is_question;     // nothing is written: which steps are there whole?
    bool wants_values;    // the reply brings variables (no slots) as its body, entries say where they lie in it
    uint32_t group;
};

/** One tensor, or one slice of a tensor, in a data file. */
struct mst_msg_bundle_entry {
    const char *name;
    uint32_t dtype; // tfio/tf_types.h
    size_t n_dims;
    const uint64_t *dims; // of the whole tensor
    size_t n_starts;      // 0: the whole tensor, else n_dims
    const uint64_t *starts;
    size_t n_lengths; // = n_starts (checked by decode)
    const uint64_t *lengths;
    uint64_t offset;
    uint64_t size_bytes;
    uint32_t crc32c; // as the format wants it: masked
};

struct mst_msg_save_reply {
    size_t n_entries;
    const struct mst_msg_bundle_entry *entries;
    uint64_t iterations;
    bool is_finite; // false: what was saved held NaN or Inf
    const char *text;
    uint64_t bytes;
    size_t n_steps;
    const uint64_t *steps; // that are there whole, to is_question
    size_t n_part_ids;     // = n_steps (checked by decode)
    const uint64_t *part_ids;
};

struct mst_msg_stats {
    uint64_t term;
};

struct mst_msg_bucket_stats {
    uint32_t bucket;
    uint64_t bytes;
    uint64_t version;
    uint64_t updates;
    uint64_t pulls;
    uint64_t repeats;
};

struct mst_msg_stats_reply {
    double cpu_seconds;
    uint64_t max_rss_bytes;
    uint64_t updates;
    uint64_t pulls;
    size_t n_buckets;
    const struct mst_msg_bucket_stats *buckets;
};

struct mst_msg_finish {
    uint64_t term;
    mst_status status; // OK: finished
    const char *text;
};

/** What shall I evaluate; and what came of the last one. */
struct mst_msg_evaluate {
    uint32_t index;
    uint64_t number;
    uint64_t done;     // id of the evaluation that is over; 0: none
    mst_status status; // of that one
    const char *text;  // why it failed
    struct mst_training_sums sums;
    uint64_t first_iterations; // the fewest updates of a bucket that it was computed with
    uint64_t last_iterations;  // … and the most
};

struct mst_msg_evaluate_reply {
    enum mst_evaluate_reply_kind kind;
    uint64_t id;
    uint64_t epoch;    // in which it was asked for, from 0
    uint64_t step;     // … after so many
    mst_status status; // FAILED: why
    const char *text;
    uint64_t cut; // whose snapshots are to be pulled; 0: what is current
};

struct mst_msg_finish_reply {
    uint64_t updates;
};

/** A worker's part of a round. */
struct mst_msg_part {
    uint32_t worker;
    uint64_t unit;
};

/** Who is to contribute what to a round. */
struct mst_msg_deal {
    uint64_t epoch;
    uint64_t k;    // rounds of the epoch before it
    size_t n_tail; // units left out so far and not in plan
    const uint64_t *tail;
    size_t n_plan;
    const struct mst_msg_part *plan; // by worker
};

/** The end of a round, as the chief decided it. */
struct mst_msg_close {
    uint64_t term;
    uint64_t round;
    uint64_t attempt;
    size_t n_ins;
    const uint64_t *ins;      // the workers whose contributions count, in ascending order; none: the round is empty
    struct mst_msg_deal was;  // of this round
    struct mst_msg_deal next; // of the next one
    bool is_over;             // there is no next one
    uint64_t n_steps;         // rounds so far that were not empty
    struct mst_training_sums epoch_sums; // of was.epoch, this round included
    struct mst_training_sums total_sums; // of the job, since it began or was resumed
    uint32_t n_workers;                  // that rounds are of
    uint64_t n_units;                    // an epoch
    size_t n_worker_steps;
    const uint64_t *worker_steps;               // by worker: rounds that it is in, since the job began or was resumed
    struct mst_training_sums epoch_sums_before; // … without this round, until it is acted on: for another attempt
    struct mst_training_sums total_sums_before;
};

/** All that the chief has decided about rounds, to a PS. */
struct mst_msg_round {
    uint64_t term;
    uint64_t known; // status of the newest reply that has come
    bool has_close;
    struct mst_msg_close close; // the last one
    uint64_t act_round;         // rounds up to this are to be applied
    size_t n_scales;
    const double *scales; // what the mean gradient of act_round is multiplied with, by clip group
    uint32_t n_wanted;    // fewer arrivals than these are no news
    uint32_t group;
};

/** A contribution that is complete on a PS. */
struct mst_msg_arrival {
    uint32_t worker;
    uint64_t number;
    uint64_t unit;
    double weight;
    bool has_sums; // from the PS that holds bucket 0
    struct mst_training_sums sums;
};

/** A sum of squares on the grid of optim/square_norm.h. */
struct mst_msg_square_norm {
    uint32_t group; // 0: of all variables together; else of variable group - 1
    uint64_t hi;
    uint64_t lo;
    bool is_infinite;
};

/** All that a PS has of rounds. */
struct mst_msg_round_reply {
    uint64_t status; // grows whenever the rest changes
    uint64_t stored_round;
    uint64_t stored_attempt;
    uint64_t applied_round;
    size_t n_arrivals;
    const struct mst_msg_arrival *arrivals; // of round applied_round + 1
    size_t n_norms;
    const struct mst_msg_square_norm *norms; // of the mean gradient of stored_round, of its rows that are here
    bool has_begun;                          // a close is applied
};

/** The chief's own state, to be kept for the one that may come after it. */
struct mst_msg_state {
    uint64_t term;
    uint64_t n;
    struct mst_bytes data; // chief/chief_state.h
};

struct mst_msg_state_reply {
    uint64_t term;
    uint64_t n; // the highest that is stored
};

struct mst_msg_lease_range {
    uint64_t epoch;
    uint64_t first_batch;
    uint64_t n_batches;
};

struct mst_msg_held_lease {
    uint64_t id;
    uint64_t seq;
    uint64_t epoch;
    uint64_t first_batch;
    uint64_t n_batches;
};

struct mst_msg_lease_holder {
    uint32_t worker;
    uint64_t number;
    uint64_t last_seq;
    size_t n_held;
    const struct mst_msg_held_lease *held; // oldest first
    uint64_t clock;                        // where staleness is bounded
};

struct mst_msg_member {
    uint32_t state; // enum mst_member_state
    uint64_t incarnation;
    uint64_t number;
};

struct mst_msg_pace {
    uint64_t number;
    uint64_t n_steps;
    struct mst_training_sums counted;
};

struct mst_msg_epoch_sums {
    uint64_t epoch;
    uint64_t n_steps; // of the job, with it
    struct mst_training_sums sums;
};

/** What is known of a loss of all copies of a group (chief/setback.h). */
struct mst_msg_setback {
    bool is_gone;
    bool is_open;
    uint64_t n_steps;
    uint64_t n_torn;
    uint64_t from_step;
    uint64_t counted_step;
};

/** What a chief that comes after has to know: the data of a State, and part of a checkpoint. Written and read by
 *  chief/chief_state.c, which says what the fields of the coordinator mean. */
struct mst_msg_chief_state {
    uint64_t map_term;
    uint64_t map_epoch;
    uint32_t plan_crc; // of the map's shards
    size_t n_ps_threads;
    const uint64_t *ps_threads; // data threads that the plan has, by PS
    const char *restore_prefix; // the map's
    uint64_t n_steps_resumed;
    const char *checkpoint; // prefix of the last one that is committed
    uint64_t checkpoint_step;
    bool is_finished; // the job is over and its result is written
    size_t n_callbacks;
    const uint64_t *callbacks; // numbers that they remember
    struct mst_msg_epoch_sums last_epoch;
    uint64_t trained_ms;     // since the first lease
    uint64_t first_step_ms;  // from the command to the first step; 0: there was none
    uint64_t n_lost_updates; // of parameter servers that came back
    const char *evaluated;   // JSON: what result.json lists
    uint64_t evaluated_step;
    uint64_t n_batches;
    uint64_t n_epochs;
    bool is_stopped;
    uint64_t n_total;
    uint64_t n_granted;
    uint64_t n_done;
    uint64_t n_torn;
    uint64_t n_epochs_done;
    size_t n_open_epochs;
    const uint64_t *open_epochs;
    uint64_t next_id;
    size_t n_returned;
    const struct mst_msg_lease_range *returned;
    size_t n_holders;
    const struct mst_msg_lease_holder *holders;
    size_t n_members;
    const struct mst_msg_member *members; // by worker index
    struct mst_training_sums total;
    uint64_t first_epoch;
    size_t n_epoch_sums;
    const struct mst_msg_epoch_sums *epoch_sums; // of epochs from first_epoch on
    size_t n_paces;
    const struct mst_msg_pace *paces; // by worker index
    uint64_t lowest_clock;            // where staleness is bounded
    struct mst_training_sums counted; // rounds: what of a close's total_sums is in total, or from an earlier run
    size_t n_checkpoint_rows;
    const struct mst_msg_client_row *checkpoint_rows;
    size_t n_untold;
    const struct mst_msg_epoch_sums *untold; // epochs that are over and that callbacks have not heard of
    bool has_close;
    struct mst_msg_close close; // rounds: the last one, for where no PS has heard of any
    size_t n_setbacks;
    const struct mst_msg_setback *setbacks; // by group; none where no group was ever lost
    uint32_t order;                         // of an epoch's examples (chief/coordinator.h); 0: not said
    uint64_t order_seed;                    // of a shuffled one
};

/** A chief that starts claims its term and reads what is stored. */
struct mst_msg_recall {
    uint64_t term;
};

struct mst_msg_recall_reply {
    uint64_t term; // under which data was stored
    uint64_t n;
    struct mst_bytes data;
    bool has_close;
    struct mst_msg_close close;
    uint64_t map_term;
    uint64_t map_epoch;
    bool is_serving;            // it holds the shards of that map
    struct mst_msg_roles roles; // that are stored here; no groups: none
    bool is_acting;             // it acts, or has acted, on roles that name its incarnation: so it counts
};

struct mst_msg_cut {
    uint64_t term;
    uint64_t id; // grows
    enum mst_cut_phase phase;
    size_t n_rows;
    const struct mst_msg_client_row *rows; // ADMIT: up to which step of each worker; bucket is not used
    uint32_t group;
};

struct mst_msg_cut_reply {
    uint64_t id;
    size_t n_rows;
    const struct mst_msg_client_row *rows; // HOLD: each worker's newest row; refused: pushes that did not come
    bool is_marked;
    bool is_refused;
    const char *text;   // why
    uint64_t pause_us;  // from the hold to the mark
    uint64_t n_updates; // marked: the most that a bucket has counted; UINT64_MAX: none is pushed
};

// X(name): every message that is a frame's meta
#define MST_MSG_MAP(X)                                                                                                 \
    X(error)                                                                                                           \
    X(greeting)                                                                                                        \
    X(greeting_reply)                                                                                                  \
    X(heartbeat)                                                                                                       \
    X(heartbeat_reply)                                                                                                 \
    X(lease)                                                                                                           \
    X(lease_reply)                                                                                                     \
    X(map)                                                                                                             \
    X(map_reply)                                                                                                       \
    X(push)                                                                                                            \
    X(push_reply)                                                                                                      \
    X(pull)                                                                                                            \
    X(pull_reply)                                                                                                      \
    X(fence)                                                                                                           \
    X(fence_reply)                                                                                                     \
    X(save)                                                                                                            \
    X(save_reply)                                                                                                      \
    X(stats)                                                                                                           \
    X(stats_reply)                                                                                                     \
    X(finish)                                                                                                          \
    X(finish_reply)                                                                                                    \
    X(evaluate)                                                                                                        \
    X(evaluate_reply)                                                                                                  \
    X(round)                                                                                                           \
    X(round_reply)                                                                                                     \
    X(state)                                                                                                           \
    X(state_reply)                                                                                                     \
    X(chief_state)                                                                                                     \
    X(recall)                                                                                                          \
    X(recall_reply)                                                                                                    \
    X(cut)                                                                                                             \
    X(cut_reply)                                                                                                       \
    X(roles)                                                                                                           \
    X(roles_reply)                                                                                                     \
    X(roles_question)                                                                                                  \
    X(op)                                                                                                              \
    X(op_reply)                                                                                                        \
    X(grant)                                                                                                           \
    X(grant_reply)                                                                                                     \
    X(sweep)                                                                                                           \
    X(sweep_reply)

#define X(name)                                                                                                        \
    MST_MUST_USE mst_status mst_msg_##name##_encode(const struct mst_msg_##name *message, struct mst_buf *out);        \
    MST_MUST_USE mst_status mst_msg_##name##_decode(struct mst_bytes bytes, struct mst_arena *arena,                   \
                                                    struct mst_msg_##name *out, struct mst_error *err);
MST_MSG_MAP(X)
#undef X

/** "chief", "worker", "ps", "evaluator", "unknown". */
const char *mst_peer_role_name(enum mst_peer_role role);
