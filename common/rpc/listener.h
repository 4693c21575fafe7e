// Listening sockets.
#pragma once

#include "muster/status.h"

#include <stdint.h>

// A non-blocking socket listening on the wildcard address, both families in one, in *fd_out (-1 when it fails).
// Errors: UNAVAILABLE the port is in use; PERMISSION_DENIED; RESOURCE_EXHAUSTED
MST_MUST_USE mst_status mst_listener_open(uint16_t port, int *fd_out, struct mst_error *err);
// Checks that fd is a listening TCP socket and makes it non-blocking. Errors: INVALID_ARGUMENT
MST_MUST_USE mst_status mst_listener_adopt(int fd, struct mst_error *err);
// The port that fd is bound to, 0 if it is none of ours.
uint16_t mst_listener_port(int fd);
