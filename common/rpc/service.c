// One set of connection events for all services: they find the table and its arg at the connection.
#include "rpc/service.h"

#include "rpc/conn_private.h"

static const struct mst_handler *find(const struct mst_service *service, uint16_t method)
{
    for (size_t i = 0; i < service->n_handlers; i++)
        if (service->handlers[i].method == method)
            return &service->handlers[i];
    return NULL;
}

static void refuse_method(struct mst_conn *conn, const struct mst_message *message)
{
    mst_conn_reply_error(conn, message, MST_UNIMPLEMENTED, "method %u (%s) is not served here", message->method,
                         mst_method_name(message->method));
}

static enum mst_body_verdict on_head(void *arg, struct mst_conn *conn, const struct mst_message *message,
                                     struct mst_sink *sink)
{
    (void)arg;
    void *service_arg;
    const struct mst_service *service = mst_conn_service(conn, &service_arg);
    const struct mst_handler *handler = find(service, message->method);
    if (message->flags & MST_FRAME_REPLY)
        return MST_BODY_DRAIN;
    if (handler && handler->on_head)
        return handler->on_head(service_arg, conn, message, sink);
    if (handler)
        mst_conn_reply_error(conn, message, MST_INVALID_ARGUMENT, "%s takes no body, this one has %llu bytes",
                             mst_method_name(message->method), (unsigned long long)message->body_bytes);
    else
        refuse_method(conn, message);
    return MST_BODY_DRAIN;
}

static void on_message(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    (void)arg;
    void *service_arg;
    const struct mst_service *service = mst_conn_service(conn, &service_arg);
    if (message->flags & MST_FRAME_REPLY)
        return; // an answer to nothing we asked; it is whole, so the stream is sound
    const struct mst_handler *handler = find(service, message->method);
    if (handler)
        handler->on_call(service_arg, conn, message);
    else
        refuse_method(conn, message);
}

static void on_closed(void *arg, struct mst_conn *conn, mst_status status, const char *text)
{
    (void)arg;
    void *service_arg;
    const struct mst_service *service = mst_conn_service(conn, &service_arg);
    if (service->on_closed)
        service->on_closed(service_arg, conn, status, text);
}

void mst_service_attach(const struct mst_service *service, void *arg, struct mst_conn *conn)
{
    static const struct mst_conn_events events = {.on_head = on_head, .on_message = on_message, .on_closed = on_closed};
    mst_conn_set_service(conn, service, arg);
    mst_conn_set_events(conn, &events, NULL);
}
