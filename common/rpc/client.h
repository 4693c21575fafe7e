/** @file
 *  Calls over one connection: an id, a deadline and a reply each.
 *
 *      struct mst_call call = {.method = MST_METHOD_PULL, .meta = mst_buf_view(&buf), .deadline_ms = 5000,
 *                              .on_body = on_pull_body, .on_reply = on_pulled, .arg = worker};
 *      mst_client_call(client, &call);
 *
 *  on_reply runs exactly once a call: with the reply, with the status and text of an ERROR reply, DEADLINE_EXCEEDED, or
 *  UNAVAILABLE when the connection is lost (all pending ones, then on_closed). Replies may come in any order.
 *  Thread: loop of the connection.
 */
#pragma once

#include "rpc/conn.h"

#define MST_CLIENT_CALLS_MAX 4096 // pending at once on one connection; one more fails RESOURCE_EXHAUSTED

struct mst_client;

/** How a call ended. */
struct mst_reply {
    mst_status status;
    const char *text;                  // status not OK: a sentence that names the peer; else ""
    const struct mst_message *message; // status OK: the reply; else NULL
};

struct mst_call {
    uint16_t method;
    struct mst_bytes meta; // copied
    struct mst_body body;  // n_parts 0: none; release runs when it is sent (or will never be)
    bool adds_body_crc;    // a CRC behind this body, whatever the connection does
    uint64_t deadline_ms;  // from now; 0: none
    /** Where the body of the reply goes: TAKE, PARK (then mst_conn_resume), or DRAIN: on_reply then says INTERNAL.
     *  NULL: a reply with a body fails. It must not free the client. */
    enum mst_body_verdict (*on_body)(void *arg, const struct mst_message *message, struct mst_sink *sink);
    /** The call ended. May be NULL. May call again and may free the client. */
    void (*on_reply)(void *arg, const struct mst_reply *reply);
    void *arg;
};

/** New client of a connection. on_closed(arg, …) runs after the pending calls failed; the client is then to be freed.
 *  Owner: steals conn */
MST_MUST_USE mst_status mst_client_new(struct mst_conn *conn,
                                       void (*on_closed)(void *arg, struct mst_client *client, mst_status status,
                                                         const char *text),
                                       void *arg, struct mst_client **out);
/** Closes the connection and forgets pending calls: their on_reply does not run (releases do). NULL is fine. */
void mst_client_free(struct mst_client *client);
/** Calls. What fails at once is told to on_reply from the loop, never from within.
 *  Cost: no allocation once the connection is warm */
void mst_client_call(struct mst_client *client, const struct mst_call *call);
/** Calls not answered yet. */
size_t mst_client_n_pending(const struct mst_client *client);
/** Its connection, borrowed; NULL once it is closed. */
struct mst_conn *mst_client_conn(struct mst_client *client);
