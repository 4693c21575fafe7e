/** @file
 *  A process's sign of life to the chief, on a connection of its own: what it costs, how far it is, and what the chief
 *  says of the job in answer.
 *
 *      MST_TRY(mst_heartbeat_new(&config, &heartbeat, err));
 *      mst_heartbeat_start(heartbeat);
 *      mst_heartbeat_set_progress(heartbeat, n_steps);           // from any thread
 *
 *  Thread: loop of the config, unless said otherwise. Its events come on that loop.
 */
#pragma once

#include "rpc/peer.h"
#include "wire/greeting.h"

struct mst_heartbeat;

struct mst_heartbeat_events {
    /** The chief has not been reached for absence_ms, or refused us for good. */
    void (*on_lost)(void *arg, mst_status status, const char *text);
    /** The chief says that the job is over: OK finished; else why it failed. */
    void (*on_over)(void *arg, mst_status status, const char *text);
    void *arg;
};

/** Borrowed until free, but for events, which are copied. */
struct mst_heartbeat_config {
    struct mst_loop *loop;
    struct mst_resolver *resolver;
    const struct mst_identity *identity;
    const char *chief_address;
    uint64_t period_ms;
    uint64_t lease_ms;
    uint64_t absence_ms;
    struct mst_heartbeat_events events;
};

/** New heartbeat, silent until started. Errors: INVALID_ARGUMENT the address. Thread: any */
MST_MUST_USE mst_status mst_heartbeat_new(const struct mst_heartbeat_config *config, struct mst_heartbeat **out,
                                          struct mst_error *err);
/** Begins. Thread: any */
void mst_heartbeat_start(struct mst_heartbeat *heartbeat);
/** Ends it: its connection closes. Thread: any */
void mst_heartbeat_stop(struct mst_heartbeat *heartbeat);
/** Releases it; NULL is fine. Thread: the loop has stopped */
void mst_heartbeat_free(struct mst_heartbeat *heartbeat);
/** The chief has given this process a number, MST_NO_NUMBER: none any more. Under an earlier one no sign of life
 *  counts, so it greets again if it has one. Thread: any */
void mst_heartbeat_set_number(struct mst_heartbeat *heartbeat, uint64_t number);
/** How far this process is: a number that grows. The first one above 0 is sent at once. Thread: any */
void mst_heartbeat_set_progress(struct mst_heartbeat *heartbeat, uint64_t progress);
/** How long this process has been waiting for the answer of a parameter server; 0: it is not. Thread: any */
void mst_heartbeat_set_waits(struct mst_heartbeat *heartbeat, uint64_t waits_ms);
