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
    double weight; // examples, or the sum of sample weights
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
};

struct mst_msg_pull {
    uint32_t bucket;
    uint64_t map_term;
    uint64_t map_epoch;
    uint32_t worker;
    uint64_t number;
};

struct mst_msg_pull_reply {
    uint32_t bucket;
    uint64_t version;
    uint64_t map_term;
    uint64_t map_epoch;
    uint64_t iterations;
};

struct mst_msg_fence {
    uint64_t term;
    uint32_t worker;
    uint64_t number;
};

/** What a bucket remembers of one worker. */
struct mst_msg_client_row {
    uint32_t bucket;
    uint32_t worker;
    uint64_t number;
    uint64_t step;
    uint64_t lease;
    uint64_t offset;
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
};

struct mst_msg_finish_reply {
    uint64_t updates;
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
    X(evaluate_reply)

#define X(name)                                                                                                        \
    MST_MUST_USE mst_status mst_msg_##name##_encode(const struct mst_msg_##name *message, struct mst_buf *out);        \
    MST_MUST_USE mst_status mst_msg_##name##_decode(struct mst_bytes bytes, struct mst_arena *arena,                   \
                                                    struct mst_msg_##name *out, struct mst_error *err);
MST_MSG_MAP(X)
#undef X

/** "chief", "worker", "ps", "evaluator", "unknown". */
const char *mst_peer_role_name(enum mst_peer_role role);
