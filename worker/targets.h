/** @file
 *  The data threads of parameter servers that an exchange calls: a link to each that holds a bucket, and to each that
 *  may hold one soon, so that a change of roles costs no connection.
 *
 *      MST_TRY(mst_targets_find(&targets, ps, thread, &target, err)); // made when it is asked for the first time
 *      mst_targets_begin(&targets);                                   // new roles: nothing is used yet …
 *      mst_targets_use(target, MST_TARGET_USED);                      // … but these
 *      mst_targets_end(&targets);                                     // links are made; unused ones end after a while
 *
 *  Thread: loop of the config.
 */
#pragma once

#include "event/timer.h"
#include "rpc/peer.h"
#include "wire/greeting.h"

struct mst_targets;

enum mst_target_use {
    MST_TARGET_UNUSED,
    MST_TARGET_AHEAD, // it holds a copy of a bucket: it may be called soon
    MST_TARGET_USED,  // it is the primary of a bucket
};

struct mst_target {
    struct mst_targets *targets;
    uint32_t ps;
    uint32_t thread;
    struct mst_peer *peer;
    enum mst_target_use use;
    enum mst_target_use used_before; // between begin and end: what it was
    uint64_t used_since_ms;
    bool is_foreign; // a process of another job has its address
};

struct mst_targets_events {
    /** The link stands. */
    void (*on_up)(void *arg, struct mst_target *target);
    /** A server that is used refuses us for good; not one of another job, which is asked again. */
    void (*on_refused)(void *arg, mst_status status, const char *text);
};

/** Borrowed until fini. */
struct mst_targets_config {
    struct mst_loop *loop;
    struct mst_resolver *resolver;
    const struct mst_identity *identity;
    const char *const *ps_addresses; // by PS index
    size_t n_ps;
    uint64_t user_timeout_ms; // of the links; 0: none
    bool adds_body_crc;
    uint64_t linger_ms; // an unused link is kept for so long, for roles may come back; 0: 10 s
    struct mst_targets_events events;
    void *arg; // of the events
};

struct mst_targets {
    struct mst_targets_config config;
    struct mst_target **all; // each stays where it is
    size_t n;
    bool is_started;
    struct mst_timer linger;
};

/** Empty, idle. Owner: keeps config's loop, resolver, identity and addresses */
void mst_targets_init(struct mst_targets *targets, const struct mst_targets_config *config);
/** Closes all links. A zeroed object is fine. */
void mst_targets_fini(struct mst_targets *targets);
/** The target of a data thread in *out, made if there is none. Owner: borrowed until fini
 *  Errors: INVALID_ARGUMENT the PS has no address here */
MST_MUST_USE mst_status mst_targets_find(struct mst_targets *targets, uint32_t ps, uint32_t thread,
                                         struct mst_target **out, struct mst_error *err);
/** Nothing is used until it is said again. */
void mst_targets_begin(struct mst_targets *targets);
/** This one is used so, or more. */
void mst_targets_use(struct mst_target *target, enum mst_target_use use);
/** All is said: links of those in use are made, if mst_targets_start was called; others end after a while. */
void mst_targets_end(struct mst_targets *targets);
/** Makes the links of all in use; fine when they are made. */
void mst_targets_start(struct mst_targets *targets);
/** Makes the link anew at once: what is under way on it is forgotten, without a reply. */
void mst_target_renew(struct mst_target *target);
/** Milliseconds that the used one which is away longest is away; 0: all used ones are connected. */
uint64_t mst_targets_absent_ms(const struct mst_targets *targets);
/** Writes which used ones are waited for ("ps-1 (DNS not found, 12 s)"), or "". */
void mst_targets_state(const struct mst_targets *targets, char *out, size_t out_bytes);
