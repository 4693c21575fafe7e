// What ps/round_serve.c and ps/round_replica.c share: how a holding stands with synchronous rounds. All on its loop.
#pragma once

#include "ps/data_thread_private.h"
#include "ps/round_serve.h"

// Who waits: a call of a connection, or fn(arg) of the direct carrier.
struct waiting {
    struct mst_round_waiter base;
    struct round_serving *serving;
    struct waiting *next_free;
    struct client *client; // NULL: fn
    uint32_t bucket;
    uint16_t method;
    uint64_t call;
    mst_round_answer_fn fn;
    void *arg;
};

struct round_serving {
    struct mst_data_thread *thread; // of the holding
    struct mst_holding *holding;
    struct mst_round_serving_config config;
    struct mst_round_places *rounds;
    struct waiting *free_waitings;
    bool is_acting; // the order is to act on the close that is stored, which has not been done yet
    int64_t n_held;
    struct mst_metric *held;
    struct mst_metric *wait_us;
    // With replicas.
    uint64_t reign;     // that began; orders of others are not looked at
    bool is_beginning;  // it is reported when …
    uint64_t begin_seq; // … operations up to this are at the followers
    bool is_ordered;    // the order's close is to be stored, if it is new
    bool is_storing;    // a close is stored here, but perhaps not at the followers
    uint64_t stored_seq;
    bool is_applying; // the same of a round
    uint64_t applied_seq;
    bool has_untold;                // somebody waits for a round that is applied
    struct mst_buf before;          // the close before the one that a sweep began with, or nothing
    bool was_reigning;              // when roles changed last
    struct mst_round_progress told; // to the control loop
};

// ---- ps/round_serve.c ----

// How far the table is.
struct mst_round_progress mst_round_serve_progress(const struct round_serving *serving);
// Reports it.
void mst_round_serve_report(const struct round_serving *serving, const struct mst_round_progress *progress);
// Norms of the close that is stored now.
void mst_round_serve_note_norms(const struct round_serving *serving);
// Acts, and counts; not before it can.
void mst_round_serve_try_act(struct round_serving *serving);
// It waits no more.
void mst_round_serve_give_waiting(struct waiting *waiting);

// ---- ps/round_replica.c: only where the holding has a replica ----

// There is an order. One that comes when this is not the primary any more is forgotten at once: what it says may go.
void mst_round_replica_order(struct round_serving *serving);
// The stored close is an operation from now on.
void mst_round_replica_stored(struct round_serving *serving, const struct mst_msg_close *close);
// So is the round that was applied.
void mst_round_replica_applied(struct round_serving *serving);
// Whether who asks for this round can be answered now.
bool mst_round_replica_has_told(const struct round_serving *serving);
