/** @file
 *  Replication of holdings: the primary of a (group, home thread) forwards what it applied to its followers' data
 *  threads, which do the same. ps/replica.h decides, ps/forwarding.c is a primary's side, ps/following.c a follower's.
 *
 *      mst_data_thread_replicate(thread, &config);              // before any holding is served
 *      mst_data_thread_serve(thread, holding, term, epoch);     // has a replica from then on
 *      mst_holding_store_roles(holding, &roles); mst_holding_act(holding, &roles.epoch);
 *      status = mst_holding_status(holding);                    // any thread; config.on_status says that it changed
 *      mst_holding_fence(holding, &fence);                      // answered when the followers have it, too
 *
 *  Without mst_data_thread_replicate nothing here is ever called, and pushes and pulls are as if it were not there.
 *  Thread: loop of the data thread, unless said otherwise.
 */
#pragma once

#include "ps/holding.h"
#include "wire/greeting.h"
#include "wire/roles.h"

struct mst_conn;
struct mst_loop;
struct mst_resolver;

enum { MST_OPS_MAX_BYTES = 256 << 20 }; // gradients that a data thread keeps for followers; above it pushes wait
enum { MST_CHECKSUM_VERSIONS = 1000 };  // every so many versions of a bucket its content is compared

/** Borrowed until the thread is freed. */
struct mst_replicating_config {
    const struct mst_identity *identity;
    uint32_t ps; // own index by the map
    struct mst_resolver *resolver;
    const char *const *addresses; // by PS, "host:port"
    const uint64_t *threads;      // data threads, by PS
    size_t n_ps;
    uint64_t lease_ms;
    struct mst_loop *control;
    void (*on_status)(void *arg); // posted to control when the status of a holding changed
    void *arg;
};

/** How a replica stands. */
struct mst_holding_status {
    enum mst_replica_role role; // by the stored roles
    bool is_quiet;
    bool is_swept;
    bool is_complete;
    uint32_t lost; // MST_NO_PS: none
};

/** A fence, in memory of the caller until on_done. */
struct mst_holding_fencing {
    struct mst_holding_fencing *next;
    uint32_t worker;
    uint64_t number;
    uint64_t seq; // of the operation that it is
    bool is_applied;
    /** Runs on the bucket's loop for each bucket, when the fence takes effect: the worker's row. */
    void (*on_row)(void *arg, const struct mst_bucket *bucket, const struct mst_client_row *row);
    /** OK: the fence and all rows are at the followers, too; ABORTED: this is not the primary. Once. */
    void (*on_done)(void *arg, mst_status status, const char *text);
    void *arg;
};

/** Gives every holding that is served from now on a replica. Owner: copies config, keeps what it points to */
void mst_data_thread_replicate(struct mst_data_thread *thread, const struct mst_replicating_config *config);
/** Serves a greeted connection of another PS. Owner: steals conn, which was detached from another loop */
void mst_data_thread_adopt_ps(struct mst_data_thread *thread, struct mst_conn *conn, uint32_t ps, uint64_t incarnation);
/** These roles are stored: nothing is done under older ones. Fine without a replica. */
void mst_holding_store_roles(struct mst_holding *holding, const struct mst_roles *roles);
/** The stored roles are acted on, if they are of this epoch. Fine without a replica. */
void mst_holding_act(struct mst_holding *holding, const struct mst_epoch *epoch);
/** It is primary of a group that was lost: nothing is done before mst_holding_restored. So are those that were told by
 *  their roles. Fine without a replica. */
void mst_holding_await_values(struct mst_holding *holding);
/** Until then which time it does so, from 1; else 0. */
uint64_t mst_holding_awaits_values(const struct mst_holding *holding);
/** Its buckets hold what a checkpoint has. Fine without a replica. */
void mst_holding_restored(struct mst_holding *holding);
/** How it stands. Thread: any */
struct mst_holding_status mst_holding_status(const struct mst_holding *holding);
/** Refuses a worker's number from now on; told when that is so at all followers. Without a replica, within the call. */
void mst_holding_fence(struct mst_holding *holding, struct mst_holding_fencing *fencing);
