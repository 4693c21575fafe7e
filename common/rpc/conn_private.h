// What the rooms' other files may do with a connection, but its users may not.
#pragma once

#include "rpc/conn.h"

struct mst_service;

// Frames with more meta are refused: before a greeting a stranger gets no more than a small buffer.
void mst_conn_set_max_meta(struct mst_conn *conn, uint32_t max_meta_bytes);
// Runs once when the connection is freed, on whatever loop that is; it must not touch the connection.
void mst_conn_set_on_freed(struct mst_conn *conn, void (*on_freed)(void *arg), void *arg);
// The service that answers its calls (rpc/service.c).
void mst_conn_set_service(struct mst_conn *conn, const struct mst_service *service, void *arg);
const struct mst_service *mst_conn_service(const struct mst_conn *conn, void **arg_out);
