/** @file
 *  One data thread of a PS: a loop, the holdings whose buckets it owns (ps/holding.h), the connections that push and
 *  pull them, and the staging buffers that gradients are read into.
 *
 *      MST_TRY(mst_data_thread_new(loop, &config, &thread, err));
 *      mst_data_thread_adopt(thread, conn, worker, number);           // a greeted connection, handed over
 *      mst_data_thread_serve(thread, holding, term, epoch);           // buckets of the map
 *
 *  While no staging buffer is free, connections that want to push are not read (parked); a push that finds all versions
 *  of its bucket held waits in the bucket's queue. Neither needs a lock: everything here belongs to the loop's thread.
 *  Thread: loop, but new and free.
 */
#pragma once

#include "event/loop.h"
#include "ps/holding.h"
#include "rpc/service.h"
#include "wire/messages.h"

enum {
    MST_STAGING_MAX_BYTES = 256 << 20, // of all staging buffers of a thread, or two of them if one is larger than half
    MST_STAGING_MAX = 64,              // buffers
};

struct mst_data_thread;

/** What it has done; read by other threads, so atomics in metrics stand behind it. */
struct mst_data_thread_counts {
    uint64_t n_updates;
    uint64_t n_pulls;
    uint64_t n_repeats;
    uint64_t n_refused;
};

/** New thread object on a loop that somebody runs. index is its number within the PS. */
struct mst_data_thread *mst_data_thread_new(struct mst_loop *loop, uint32_t index, uint64_t send_timeout_ms);
/** A CRC goes behind every body that it sends, to workers and to other servers. Before it has connections. */
void mst_data_thread_add_body_crc(struct mst_data_thread *thread);
/** Closes its connections and frees its holdings. NULL is fine. Thread: the loop has stopped */
void mst_data_thread_free(struct mst_data_thread *thread);
/** Serves a greeted connection of a worker, or of an evaluator (MST_NO_WORKER), which may only pull.
 *  Owner: steals conn, which was detached from another loop */
void mst_data_thread_adopt(struct mst_data_thread *thread, struct mst_conn *conn, uint32_t worker, uint64_t number);
/** Serves the buckets of this holding, too, from now on; term and epoch name the map. Owner: steals holding */
void mst_data_thread_serve(struct mst_data_thread *thread, struct mst_holding *holding, uint64_t term, uint64_t epoch);

/** What came of a contribution, or of a pull that waited for a round: the bucket as it is then and what is next.
 *  Owner: version is a reference of the callee's; turn is borrowed. Thread: loop */
typedef void (*mst_round_answer_fn)(void *arg, uint32_t bucket, struct mst_version *version,
                                    const struct mst_msg_turn *turn, bool is_finite);
/** A push to a synchronous round from within the process, which has no replicas: what a PUSH with this meta and the
 *  gradient as body does. The gradient is copied; fn(arg) hears when the round is applied, within the call if it is so
 *  already, and never if an error is returned.
 *  Errors: those that a PUSH is answered with: FAILED_PRECONDITION an incarnation that is out; INVALID_ARGUMENT not
 *          what the worker was dealt; NOT_FOUND no such bucket on this thread; UNAVAILABLE rounds have not begun */
MST_MUST_USE mst_status mst_data_thread_contribute(struct mst_data_thread *thread, const struct mst_msg_push *push,
                                                   const struct mst_gradients *gradients, mst_round_answer_fn fn,
                                                   void *arg, struct mst_error *err);
/** A pull from within the process: fn(arg) hears when pull->round is applied, within the call if it is so already.
 *  Errors: NOT_FOUND no such bucket on this thread; UNAVAILABLE rounds are not served here */
MST_MUST_USE mst_status mst_data_thread_await(struct mst_data_thread *thread, const struct mst_msg_pull *pull,
                                              mst_round_answer_fn fn, void *arg, struct mst_error *err);
/** No answer goes to this arg any more; what it has contributed stays. */
void mst_data_thread_forget(struct mst_data_thread *thread, const void *arg);

/** Its holdings, as a list. Owner: borrowed */
struct mst_holding *mst_data_thread_holdings(const struct mst_data_thread *thread);
/** Calls fn, from the loop, whenever pushes that were answered MST_PUSH_LATER may be tried again: for the carrier of
 *  one process, whose pushes do not come through here. */
void mst_data_thread_on_room(struct mst_data_thread *thread, void (*fn)(void *arg), void *arg);
/** The counts so far. */
struct mst_data_thread_counts mst_data_thread_counts(const struct mst_data_thread *thread);
