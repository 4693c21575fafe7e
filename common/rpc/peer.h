/** @file
 *  A lasting link to one peer: resolves its name, connects, greets, and does so again whenever the link breaks.
 *
 *      struct mst_peer_config config = {
 *          .name = "ps-1", .address = "ps-1.job.svc:4711", .events = &events, .arg = worker};
 *      MST_TRY(mst_peer_new(loop, resolver, &config, &peer, err));
 *      mst_peer_start(peer);                       // on_greet fills the greeting, on_up has the peer's answer
 *      mst_peer_call(peer, &call);                 // fails UNAVAILABLE unless up
 *      mst_peer_state(peer, text, sizeof text);    // "DNS not found, 12 s"
 *
 *  Back-off from 50 ms (from 1 ms where it is to be known whether the peer is gone) doubling to 1 s, reset when up. The
 *  name is resolved anew each time; each address is tried in turn. A peer that refuses the greeting with a retryable
 *  status, or because it was changed on the way (DATA_LOSS), is asked again; with another one, on_refused ends the
 *  link.
 *  Thread: loop.
 */
#pragma once

#include "rpc/client.h"
#include "rpc/resolve.h"
#include "wire/messages.h"

#define MST_PEER_CONNECT_MS 5000 // for one address to take the connection, and for the greeting's answer

struct mst_peer;

struct mst_peer_events {
    /** A connection stands: fill what to greet with (texts stay valid until this returns). May stop the peer, but
     *  not free it. */
    void (*on_greet)(void *arg, struct mst_peer *peer, struct mst_msg_greeting *greeting);
    /** The peer accepted the greeting; reply lives until this returns. May call mst_peer_retry. */
    void (*on_up)(void *arg, struct mst_peer *peer, const struct mst_msg_greeting_reply *reply);
    /** The link broke after on_up; pending calls have failed; it is being made again. May be NULL. */
    void (*on_down)(void *arg, struct mst_peer *peer, mst_status status, const char *text);
    /** The peer refused the greeting for good (another job or version); the link is idle. May free the peer, or ask
     *  again. */
    void (*on_refused)(void *arg, struct mst_peer *peer, mst_status status, const char *text);
};

struct mst_peer_config {
    const char *name;                     // copied
    const char *address;                  // "host:port", copied
    uint64_t user_timeout_ms;             // TCP_USER_TIMEOUT, 0: none (data connections that may be parked)
    uint64_t backoff_max_ms;              // the longest pause before it is dialled again, 0: a second
    bool adds_body_crc;                   // a CRC behind every body sent
    const struct mst_peer_events *events; // kept
    void *arg;
    /** Its process is gone: after on_down the address that it was up at refused a connection. Once; it is dialled on.
     *  May be NULL; if not, a link that broke is dialled anew at once. May not free the peer. */
    void (*on_gone)(void *arg, struct mst_peer *peer);
};

/** New link, idle. Owner: borrows resolver until free
 *  Errors: INVALID_ARGUMENT the address is not host:port */
MST_MUST_USE mst_status mst_peer_new(struct mst_loop *loop, struct mst_resolver *resolver,
                                     const struct mst_peer_config *config, struct mst_peer **out,
                                     struct mst_error *err);
/** Closes and frees it; calls are forgotten as by mst_client_free. NULL is fine. Callable from its callbacks. */
void mst_peer_free(struct mst_peer *peer);
/** Begins to connect; fine when it has begun. */
void mst_peer_start(struct mst_peer *peer);
/** Closes the connection and stays idle until start; pending calls are forgotten; on_down does not run. */
void mst_peer_stop(struct mst_peer *peer);
/** Closes the connection, and connects again after the back-off; `why` becomes the state's text. Pending calls are
 *  forgotten, on_down does not run. */
void mst_peer_retry(struct mst_peer *peer, const char *why);
/** From on_refused: connects again all the same, after the back-off; `why` becomes the state's text. */
void mst_peer_ask_again(struct mst_peer *peer, const char *why);
/** There is news that it can be reached: what is left of a back-off is not waited for. */
void mst_peer_hurry(struct mst_peer *peer);
/** Treats the connection of a peer that is up as lost: from the loop pending calls fail, on_down runs, and it connects
 *  again. `why` stands in the text: "connection with ps-1 <why>". */
void mst_peer_break(struct mst_peer *peer, const char *why);
/** True between on_up and on_down. */
bool mst_peer_is_up(const struct mst_peer *peer);
/** True while it cannot be said whether the peer is there: no attempt has failed since the link began, or broke. */
bool mst_peer_is_first_try(const struct mst_peer *peer);
/** Calls it; fails UNAVAILABLE (from the loop) when it is not up. */
void mst_peer_call(struct mst_peer *peer, const struct mst_call *call);
/** "ps-1". */
const char *mst_peer_name(const struct mst_peer *peer);
/** "ps-1.job.svc:4711". */
const char *mst_peer_address(const struct mst_peer *peer);
/** How it stands, for people: "connected", "DNS not found, 12 s", "connection refused, 3 s", "idle";
 *  "just disconnected" to who is told that a call failed, before on_down. */
void mst_peer_state(const struct mst_peer *peer, char *out, size_t out_bytes);
/** Milliseconds since it was last up (or started); 0 while up. */
uint64_t mst_peer_down_ms(const struct mst_peer *peer);
/** Its connection while up, else NULL. Owner: borrowed */
struct mst_conn *mst_peer_conn(struct mst_peer *peer);
