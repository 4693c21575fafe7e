/** @file
 *  The exchange over sockets: one connection to each data thread that holds a bucket; gradients go out straight from
 *  the gradient buffers, parameters come in straight into the spare one of two parameter buffers.
 *
 *      MST_TRY(mst_exchange_rpc_new(&config, &exchange, err));
 *
 *  A broken connection is made again and what it left unanswered is sent again, word for word; the PS applies it once.
 *  Thread: loop.
 */
#pragma once

#include "model/model.h"
#include "rpc/peer.h"
#include "wire/greeting.h"
#include "worker/exchange.h"
#include "worker/layout.h"

/** Borrowed until free, but for events and texts, which are copied. */
struct mst_exchange_rpc_config {
    struct mst_loop *loop;
    struct mst_resolver *resolver;
    const struct mst_identity *identity;
    const struct mst_model *model;
    const struct mst_layout *layout;
    const char *const *ps_addresses; // by PS index
    size_t n_ps;
    float *const *grads; // one whole variable each; those of frozen ones may be NULL; NULL: it only pulls
    uint64_t map_term;
    uint64_t map_epoch;
    uint64_t call_ms;         // an answer may take this long; then the push is sent again
    uint64_t user_timeout_ms; // a PS whose host is silent for so long is lost; 0: only call_ms says so
    struct mst_exchange_events events;
};

/** New exchange in *out; its connections are made at the first pull.
 *  Errors: INVALID_ARGUMENT a bucket on a PS without address; RESOURCE_EXHAUSTED the parameter buffers */
MST_MUST_USE mst_status mst_exchange_rpc_new(const struct mst_exchange_rpc_config *config, struct mst_exchange **out,
                                             struct mst_error *err);
/** Pulls from now on ask for what is kept of this cut; 0: for what is current. */
void mst_exchange_rpc_set_cut(struct mst_exchange *exchange, uint64_t cut);
/** Closes its connections and releases it; NULL is fine. */
void mst_exchange_rpc_free(struct mst_exchange *exchange);
/** Milliseconds that the PS which is away longest is away; 0: all are connected. */
uint64_t mst_exchange_rpc_absent_ms(const struct mst_exchange *exchange);
/** Writes which PSs are waited for ("ps-1 (DNS not found, 12 s)"), or "" when all are connected. */
void mst_exchange_rpc_state(const struct mst_exchange *exchange, char *out, size_t out_bytes);
