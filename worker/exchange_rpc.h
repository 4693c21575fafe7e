/** @file
 *  The exchange over sockets: one connection to each data thread that holds a bucket; gradients go out straight from
 *  the gradient buffers, parameters come in straight into the spare one of two parameter buffers.
 *
 *      MST_TRY(mst_exchange_rpc_new(&config, &exchange, err));
 *      MST_TRY(mst_exchange_rpc_set_roles(exchange, &roles, err)); // who is primary has changed
 *
 *  A broken connection is made again and what it left unanswered is sent again, word for word; the PS applies it once.
 *  So it is when another PS becomes primary of a bucket. One that says it is not the primary is asked again, after
 *  20 ms and up to a second, unless newer roles come before.
 *  Thread: loop.
 */
#pragma once

#include "model/model.h"
#include "rpc/peer.h"
#include "wire/greeting.h"
#include "wire/roles.h"
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
    const struct mst_roles *roles; // read by new only; NULL: each bucket stays at its home
    uint64_t call_ms;              // an answer may take this long; then the push is sent again
    uint64_t user_timeout_ms;      // a PS whose host is silent for so long is lost; 0: only call_ms says so
    bool adds_body_crc;            // behind every gradient
    struct mst_exchange_events events;
};

/** New exchange in *out; its connections are made at the first pull.
 *  Errors: INVALID_ARGUMENT a bucket on a PS without address; DATA_LOSS roles that lack a bucket's group;
 *          RESOURCE_EXHAUSTED the parameter buffers */
MST_MUST_USE mst_status mst_exchange_rpc_new(const struct mst_exchange_rpc_config *config, struct mst_exchange **out,
                                             struct mst_error *err);
/** Pulls from now on ask for what is kept of this cut; 0: for what is current. */
void mst_exchange_rpc_set_cut(struct mst_exchange *exchange, uint64_t cut);
/** Follows these roles, if they are newer than those it follows. Owner: copies what it needs
 *  Errors: DATA_LOSS a bucket's group is not in them; INVALID_ARGUMENT a PS without address */
MST_MUST_USE mst_status mst_exchange_rpc_set_roles(struct mst_exchange *exchange, const struct mst_roles *roles,
                                                   struct mst_error *err);
/** Closes its connections and releases it; NULL is fine. */
void mst_exchange_rpc_free(struct mst_exchange *exchange);
/** Milliseconds that the PS which is away longest is away, or that a bucket is without primary; 0: all are there. */
uint64_t mst_exchange_rpc_absent_ms(const struct mst_exchange *exchange);
/** Writes which PSs are waited for ("ps-1 (DNS not found, 12 s)"), or which bucket has no primary, or "". */
void mst_exchange_rpc_state(const struct mst_exchange *exchange, char *out, size_t out_bytes);
