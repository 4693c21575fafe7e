/** @file
 *  How a worker or an evaluator comes into the job and stays in it: the chief's address (the parameter servers know it,
 *  if TF_CONFIG does not say), the greeting and its number, the map of variables and the roles of parameter servers,
 *  the heartbeat, the farewell.
 *
 *      MST_TRY(mst_joining_new(&config, &joining, err));
 *      mst_joining_start(joining);                 // events: on_map once, on_admitted whenever the link is made anew
 *      mst_peer_call(mst_joining_chief(joining), &call);
 *      mst_joining_stop(joining);                  // the chief waits for the connections of those it has told to close
 *      mst_joining_free(joining);
 *
 *  Thread: loop of the config; its events come on that loop.
 */
#pragma once

#include "rpc/peer.h"
#include "wire/greeting.h"
#include "wire/roles.h"

struct mst_loop;
struct mst_joining;

struct mst_joining_events {
    /** Where variables live. Once. Errors: any of its own; they end the role */
    mst_status (*on_map)(void *arg, const struct mst_msg_map *map, struct mst_error *err);
    /** Newer roles than those of the map or of the last call; they live until it returns. Not for a map without roles.
     *  Errors: any of its own; they end the role */
    mst_status (*on_roles)(void *arg, const struct mst_roles *roles, struct mst_error *err);
    /** The link to the chief stands again, after on_map: with this number, which may be a new one. */
    void (*on_admitted)(void *arg, uint64_t number);
    /** The job is over (OK), or this process cannot be in it. */
    void (*on_over)(void *arg, mst_status status, const char *text);
    void *arg;
};

/** Borrowed until free, but for events, which are copied. */
struct mst_joining_config {
    const struct mst_identity *identity;
    struct mst_loop *loop;
    struct mst_loop *control; // heartbeats go out from there
    struct mst_resolver *resolver;
    const char *chief_address;       // NULL: the parameter servers are asked
    const char *const *ps_addresses; // by index, NULL where there is none; none is greeted with n_ps 0
    size_t n_ps;
    uint64_t heartbeat_ms;
    uint64_t lease_ms;
    uint64_t absence_ms; // how long a chief that is gone is waited for
    struct mst_joining_events events;
};

/** New, idle. */
struct mst_joining *mst_joining_new(const struct mst_joining_config *config);
/** Begins. Errors end the role by on_over. Thread: before the loops run, or loop */
void mst_joining_start(struct mst_joining *joining);
/** Closes its connections; no more events. */
void mst_joining_stop(struct mst_joining *joining);
/** Releases it; NULL is fine. Thread: the loops have stopped */
void mst_joining_free(struct mst_joining *joining);
/** The link to the chief; NULL before its address is known. Owner: borrowed */
struct mst_peer *mst_joining_chief(const struct mst_joining *joining);
/** The number that the chief gave, 0 before. */
uint64_t mst_joining_number(const struct mst_joining *joining);
/** The newest roles of the parameter servers, from on_map on; NULL: the map has none. Owner: borrowed until the next
 *  event */
const struct mst_roles *mst_joining_roles(const struct mst_joining *joining);
/** How far this process is, for its heartbeats. */
void mst_joining_set_progress(struct mst_joining *joining, uint64_t progress);
/** How long it has been waiting for parameter servers, for the same. */
void mst_joining_set_waits(struct mst_joining *joining, uint64_t waits_ms);
/** This incarnation is out: greets the chief again for a new number. */
void mst_joining_again(struct mst_joining *joining);
/** Tells the chief that this process leaves; on_told(arg) when it knows, or cannot be reached. */
void mst_joining_leave(struct mst_joining *joining, void (*on_told)(void *arg), void *arg);
/** Writes who is waited for ("chief (DNS not found, 12 s), ps-1 (…)"), or "". */
void mst_joining_state(const struct mst_joining *joining, char *out, size_t out_bytes);
