/** @file
 *  A table of methods that serves a connection.
 *
 *      static const struct mst_handler handlers[] = {
 *          {MST_METHOD_PUSH, on_push_head, on_push},
 *          {MST_METHOD_PULL, NULL, on_pull},
 *      };
 *      service = (struct mst_service){handlers, 2, on_closed};
 *      mst_service_attach(&service, ps, conn);
 *
 *  A handler answers with mst_conn_reply or mst_conn_reply_error, now or later (it keeps message->call and method).
 *  Methods outside the table are answered UNIMPLEMENTED; replies are ignored.
 *  Thread: loop of the connection.
 */
#pragma once

#include "rpc/conn.h"

struct mst_handler {
    uint16_t method;
    /** Where the body of a call goes; NULL: a call with one is refused. To refuse: mst_conn_reply_error, then DRAIN. */
    enum mst_body_verdict (*on_head)(void *arg, struct mst_conn *conn, const struct mst_message *message,
                                     struct mst_sink *sink);
    /** A call is whole. */
    void (*on_call)(void *arg, struct mst_conn *conn, const struct mst_message *message);
};

struct mst_service {
    const struct mst_handler *handlers;
    size_t n_handlers;
    /** As mst_conn_events.on_closed; may be NULL. */
    void (*on_closed)(void *arg, struct mst_conn *conn, mst_status status, const char *text);
};

/** Serves the connection from now on: handlers get arg. Owner: keeps service and arg */
void mst_service_attach(const struct mst_service *service, void *arg, struct mst_conn *conn);
