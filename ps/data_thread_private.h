// What the files of a data thread share: ps/data_thread.c, ps/holding.c, for synchronous rounds ps/round_serve.c, for
// replicas those of ps/replication_private.h. All on its loop.
#pragma once

#include "base/metrics.h"
#include "ps/data_thread.h"
#include "ps/round_places.h"

struct staging {
    struct staging *next;
    size_t bytes;
    float *floats;
};

struct client;

// A push whose body is being read, or that waits for a free version. Its call is answered when it is applied.
struct pending_push {
    struct pending_push *next;
    struct client *client;
    uint16_t method;
    uint64_t call;
    struct mst_bucket *bucket;
    struct mst_holding *holding;
    struct mst_bucket_push push;
    struct staging *staging;
    struct iovec part; // the staging buffer as a sink
    // With replicas: the operation that it is, and what is answered when the followers have it.
    uint64_t seq;
    uint64_t staleness;
    bool is_repeat;
    bool is_finite;
};

// A connection of a worker.
struct client {
    struct client *next;
    struct mst_data_thread *thread;
    struct mst_conn *conn;
    uint32_t worker;
    uint64_t number;
    struct pending_push *reading; // the push whose body is coming in
    bool is_held;                 // parked because of a cut or of replicas, not for want of a buffer
    // In rounds: where the body that is coming in goes, or NULL; then its call.
    struct mst_round_place *place;
    struct round_serving *serving; // … whose place that is
    size_t n_waiting;              // calls that are answered when a round is applied
    struct iovec part;
    uint16_t method;
    uint64_t call;
};

struct data_thread_metrics {
    struct mst_metric *updates;
    struct mst_metric *pulls;
    struct mst_metric *repeats;
    struct mst_metric *refused;
    struct mst_metric *parked;
};

struct mst_data_thread {
    struct mst_loop *loop;
    uint32_t index;
    uint64_t send_timeout_ms;
    bool adds_body_crc;
    uint64_t term;
    uint64_t epoch;
    struct mst_holding *holdings;
    struct client *clients;
    struct staging *free_staging;
    size_t n_staging;
    size_t n_staging_max;
    size_t staging_bytes;         // of each: the largest bucket's
    struct pending_push *waiting; // for a free version, oldest first
    struct pending_push *free_pushes;
    void (*on_room)(void *arg);
    void *on_room_arg;
    struct mst_data_thread_counts counts;
    struct data_thread_metrics metrics;
    struct replicating *replicating; // with replicas, else NULL
};

// The bucket with this id and what it is held in, or NULL and NULL.
struct mst_bucket *mst_data_thread_find(const struct mst_data_thread *thread, uint32_t id,
                                        struct mst_holding **holding_out);
// Sends meta, which it releases, and the version, whose reference it takes: as a copy to an evaluator.
void mst_data_thread_send(const struct client *client, const struct mst_message *call, struct mst_buf *meta,
                          struct mst_version *version);
// A record as on the free list; one that is not needed any more, with the buffer it may have.
struct pending_push *mst_data_thread_take_push(struct mst_data_thread *thread);
void mst_data_thread_give_push(struct mst_data_thread *thread, struct pending_push *push);
// A buffer that every bucket fits; NULL: all are in use.
struct staging *mst_data_thread_take_staging(struct mst_data_thread *thread);
// A buffer that was a push's is free again.
void mst_data_thread_give_staging(struct mst_data_thread *thread, struct staging *staging);
// There is room for a buffer: a connection that was parked for want of one is read.
void mst_data_thread_resume_one(const struct mst_data_thread *thread);
// Answers with what is current. Owner: steals push
void mst_data_thread_answer_push(struct pending_push *push);
void mst_data_thread_answer_pull(struct pending_push *pull);
void mst_data_thread_count_refused(struct mst_data_thread *thread);
// All that are parked are asked again what they want.
void mst_data_thread_resume(const struct mst_data_thread *thread);
// From the loop: what a gate held is looked at again.
void mst_data_thread_try_held_later(struct mst_data_thread *thread);

// ---- ps/round_serve.c: what is called in their place while rounds are served ----

enum mst_body_verdict mst_round_serve_push_head(struct client *client, struct round_serving *serving,
                                                const struct mst_message *message, const struct mst_msg_push *meta,
                                                struct mst_sink *sink);
void mst_round_serve_push(struct client *client, const struct mst_message *message);
void mst_round_serve_pull(struct client *client, struct round_serving *serving, const struct mst_message *message,
                          const struct mst_msg_pull *pull);
// The client's connection is gone: nothing is read for it and no answer waits.
void mst_round_serve_closed(struct client *client, struct round_serving *serving);
// A version became free.
void mst_round_serve_version_free(struct round_serving *serving);
void mst_round_serve_free(struct round_serving *serving);

// ---- ps/round_replica.c: rounds of a holding that has a replica; for ps/replication.c and its two sides ----

// Does what the order wants, if that may become operations now.
void mst_round_replica_advance(struct round_serving *serving);
// Reports and answers what the followers have by now.
void mst_round_replica_confirm(struct round_serving *serving);
// Roles have changed.
void mst_round_replica_roles(struct round_serving *serving);
// The buckets are a checkpoint's: rounds have not begun.
void mst_round_replica_reset(struct round_serving *serving);
// An operation of rounds as it came, with its mean; mean: the body of an AGGREGATE, else NULL.
mst_status mst_round_replica_check_op(const struct mst_holding *holding, const struct mst_msg_op *op,
                                      const struct mst_round_mean *mean, struct mst_error *err);
// What it is about is not what is here.
bool mst_round_replica_differs(const struct mst_holding *holding, const struct mst_msg_op *op);
void mst_round_replica_follow(struct mst_holding *holding, const struct mst_msg_op *op, struct mst_round_mean *mean);
// Memory for one, with a reference; NULL: there is none, or no rounds.
struct mst_round_mean *mst_round_replica_mean_new(const struct mst_holding *holding, uint32_t bucket);
// What the stored close comes to in a bucket, or NULL. Owner: borrowed
struct mst_round_mean *mst_round_replica_mean_of(const struct mst_holding *holding, uint32_t bucket);
// Puts what belongs to rounds into a bucket's message. Owner: in arena, or borrowed
mst_status mst_round_replica_fill_sweep(const struct mst_holding *holding, struct mst_msg_sweep *sweep,
                                        struct mst_arena *arena);
mst_status mst_round_replica_check_sweep(const struct mst_holding *holding, const struct mst_msg_sweep *sweep,
                                         struct mst_error *err);
// The bucket has taken its place.
void mst_round_replica_swept(struct mst_holding *holding, const struct mst_msg_sweep *sweep,
                             struct mst_round_mean *mean);
