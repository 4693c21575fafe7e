/** @file
 *  A listening port whose connections begin with a greeting.
 *
 *      struct mst_server_config config = {
 *          .max_connections = 1000, .greeting_ms = 10000, .on_greeting = on_greeting, .arg = ps};
 *      MST_TRY(mst_server_new(loop, &config, &server));
 *      MST_TRY(mst_server_listen(server, 4711, err));
 *
 *  on_greeting owns the connection from then on: it answers (mst_conn_reply with a greeting_reply, or
 *  mst_conn_reply_error and mst_conn_close_flushed) and serves it here (mst_service_attach) or on another loop:
 *
 *      mst_conn_reply(conn, message, meta, NULL);
 *      mst_conn_detach(conn);
 *      mst_loop_post_or_drop(data_loop, on_arrival, drop_conn, conn);   // there: mst_conn_attach, mst_service_attach
 *
 *  What comes before a greeting, or no greeting in time, ends the connection; connections over the maximum are closed
 *  at once. Those handed over count until they are closed, on whatever loop.
 *  Thread: loop
 */
#pragma once

#include "rpc/conn.h"
#include "wire/messages.h"

struct mst_server;

struct mst_server_config {
    size_t max_connections; // handed over ones included; 0: 4096
    uint64_t greeting_ms;   // 0: 10 s
    /** A connection greeted; message is the call to answer, greeting lives until this returns. Must not be NULL. */
    void (*on_greeting)(void *arg, struct mst_conn *conn, const struct mst_message *message,
                        const struct mst_msg_greeting *greeting);
    void *arg;
};

/** New server that does not listen yet. Owner: copies config, keeps its arg */
MST_MUST_USE mst_status mst_server_new(struct mst_loop *loop, const struct mst_server_config *config,
                                       struct mst_server **out);
/** Closes the port and the connections that have not greeted. NULL is fine. */
void mst_server_free(struct mst_server *server);
/** Listens on the wildcard address, IPv6 and IPv4 in one (IPv4 alone where there is no IPv6). Port 0: any.
 *  Errors: UNAVAILABLE the port is in use; PERMISSION_DENIED; RESOURCE_EXHAUSTED */
MST_MUST_USE mst_status mst_server_listen(struct mst_server *server, uint16_t port, struct mst_error *err);
/** Accepts from a socket that listens already. Owner: steals fd, also when it fails
 *  Errors: INVALID_ARGUMENT it is no listening TCP socket */
MST_MUST_USE mst_status mst_server_listen_fd(struct mst_server *server, int fd, struct mst_error *err);
/** The port listened on, 0 before. */
uint16_t mst_server_port(const struct mst_server *server);
/** on_greeting refuses one for good: counts it. True if that is to be logged, which others can cause as often as they
 *  like; *n_unlogged_out: how many were not since the last one. */
bool mst_server_tells_refusal(struct mst_server *server, size_t *n_unlogged_out);
/** Accepts no more; what is open stays. */
void mst_server_stop_listening(struct mst_server *server);
/** Connections open now, handed over ones included. Thread: any */
size_t mst_server_n_connections(const struct mst_server *server);
