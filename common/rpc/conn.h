/** @file
 *  One TCP connection on a loop: frames in, frames out, bodies read straight into their final place and written
 *  straight from the sender's memory.
 *
 *      MST_TRY(mst_conn_new(loop, fd, "worker-1", &conn, err));
 *      mst_conn_set_events(conn, &events, arg);         // on_head says where a body goes, on_message gets the whole
 *      mst_conn_reply(conn, message, meta, &body);      // body is borrowed until body.release(body.arg)
 *      mst_conn_close(conn);
 *
 *  A frame with a body is announced by on_head, when header and meta are in and checked; the answer says where the body
 *  goes (TAKE), that there is no room yet (PARK: nothing is read until mst_conn_resume, then on_head is asked again),
 *  or that nobody wants it (DRAIN: it is read and thrown away; on_message is not called). Bytes that are no frame of
 *  ours are counted, answered with an ERROR frame if the peer spoke our frames, and end the connection. While
 *  MST_CONN_REPLIES_MAX replies wait to be sent, nothing is read: a peer that does not read cannot pile up answers.
 *  Calls do not count, or two sides that both wait for the other to read would wait for ever.
 *
 *  Thread: loop of the connection, but mst_conn_detach/attach move it to another one. Every callback may close it.
 */
#pragma once

#include "base/bytes.h"
#include "event/loop.h"
#include "rpc/socket_address.h"
#include "wire/frame.h"
#include "wire/methods.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define MST_CONN_REPLIES_MAX 256                  // replies waiting to be sent before reading pauses
#define MST_CONN_DRAIN_MAX   (UINT64_C(64) << 20) // bodies that nobody wants: larger ones end the connection

struct mst_conn;

/** A frame as it came in. Meta is valid until on_message returns (or on_head, if that drains). */
struct mst_message {
    uint8_t flags; // enum mst_frame_flag
    uint16_t method;
    uint64_t call;
    struct mst_bytes meta;
    uint64_t body_bytes; // without its CRC
};

/** Where a body goes: n parts of exactly message->body_bytes together.
 *  Owner: list and memory stay the owner's, untouched, until on_message or on_closed */
struct mst_sink {
    const struct iovec *parts;
    size_t n_parts;
};

enum mst_body_verdict { MST_BODY_TAKE, MST_BODY_PARK, MST_BODY_DRAIN };

struct mst_conn_events {
    /** A frame with a body begins. NULL: bodies are drained, requests with one answered UNIMPLEMENTED. */
    enum mst_body_verdict (*on_head)(void *arg, struct mst_conn *conn, const struct mst_message *message,
                                     struct mst_sink *sink);
    /** A frame is whole. */
    void (*on_message)(void *arg, struct mst_conn *conn, const struct mst_message *message);
    /** The connection ended by the peer or an error (never by mst_conn_close); all releases have run; it is freed after
     *  this returns. UNAVAILABLE the peer closed or was lost; anything else: what was wrong with its bytes. */
    void (*on_closed)(void *arg, struct mst_conn *conn, mst_status status, const char *text);
};

/** Bytes to send behind meta. Owner: list and memory are borrowed, unchanged, until release(arg), which runs exactly
 *  once, on the loop of the connection, when the last byte was handed to the kernel or the connection ended. It may run
 *  from within send; it must not close the connection. */
struct mst_body {
    const struct iovec *parts;
    size_t n_parts;
    void (*release)(void *arg); // may be NULL
    void *arg;
};

/** New connection over a connected socket (made non-blocking, TCP_NODELAY). It reads nothing before set_events.
 *  Owner:  steals fd, also when it fails; copies name (for texts: "worker-1", "10.0.0.7:4711")
 *  Errors: RESOURCE_EXHAUSTED no memory */
MST_MUST_USE mst_status mst_conn_new(struct mst_loop *loop, int fd, const char *name, struct mst_conn **out,
                                     struct mst_error *err);
/** Who hears of its messages from now on; NULL: nobody, and nothing is read until somebody does. Owner: keeps events
 *  and arg */
void mst_conn_set_events(struct mst_conn *conn, const struct mst_conn_events *events, void *arg);
/** Closes and frees it now: no further callback but the releases of what was not sent. NULL is fine. */
void mst_conn_close(struct mst_conn *conn);
/** Treats it as lost: on_closed says so from the loop, UNAVAILABLE "connection with <name> <why>". */
void mst_conn_break(struct mst_conn *conn, const char *why);
/** Sends what is queued, then closes; no further callback but releases. Gives up after 2 s. */
void mst_conn_close_flushed(struct mst_conn *conn);

/** Sends a frame with these flags, method and call. Tries to write at once; the rest follows as the socket takes it.
 *  Owner: copies meta (at most MST_FRAME_META_MAX); body may be NULL, see struct mst_body */
void mst_conn_send(struct mst_conn *conn, const struct mst_frame *head, struct mst_bytes meta,
                   const struct mst_body *body);
/** Sends the reply to a message. */
void mst_conn_reply(struct mst_conn *conn, const struct mst_message *message, struct mst_bytes meta,
                    const struct mst_body *body);
/** Sends an ERROR reply to a message; printed text is cut at 1023 bytes. */
void mst_conn_reply_error(struct mst_conn *conn, const struct mst_message *message, mst_status status,
                          const char *format, ...) MST_PRINTF(4, 5);
/** Asks on_head again after MST_BODY_PARK; fine when nothing is parked. on_head runs from the loop, not from within. */
void mst_conn_resume(struct mst_conn *conn);
/** True while a body waits for mst_conn_resume. */
bool mst_conn_is_parked(const struct mst_conn *conn);
/** Throws away the rest of the body being read: its sink is not written any more, on_message is not called. */
void mst_conn_abandon_body(struct mst_conn *conn);

/** Takes the connection off its loop, with everything read and everything still to be sent; callable from on_message.
 *  Until attached it does nothing. */
void mst_conn_detach(struct mst_conn *conn);
/** Puts it on another loop. Thread: that loop (post it there; mst_conn_close is the drop function) */
void mst_conn_attach(struct mst_conn *conn, struct mst_loop *loop);

/** Whatever the owner wants to find again. */
void mst_conn_set_user(struct mst_conn *conn, void *user);
/** What was set, or NULL. */
void *mst_conn_user(const struct mst_conn *conn);
/** "worker-1". Owner: borrowed until close */
const char *mst_conn_name(const struct mst_conn *conn);
/** The address it is connected with, as the kernel sees it. False if it is closed or no internet address. */
bool mst_conn_peer_address(const struct mst_conn *conn, struct mst_socket_address *out);
/** The loop it is on. */
struct mst_loop *mst_conn_loop(const struct mst_conn *conn);
/** TCP_USER_TIMEOUT: bytes or, while nothing is sent, probes of the kernel that nobody acknowledges for this long end
 *  the connection. Only where the peer always reads: it also fires on a live one that does not. */
void mst_conn_set_user_timeout(struct mst_conn *conn, uint64_t timeout_ms);
/** A frame that could not be sent for this long ends the connection with DEADLINE_EXCEEDED. 0 (at first): no limit. */
void mst_conn_set_send_timeout(struct mst_conn *conn, uint64_t timeout_ms);
/** Adds a CRC to every body sent from now on (what comes in is checked whenever it has one). */
void mst_conn_add_body_crc(struct mst_conn *conn);
/** Frames not yet wholly handed to the kernel. */
size_t mst_conn_n_queued(const struct mst_conn *conn);
