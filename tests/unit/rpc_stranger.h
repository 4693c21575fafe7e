// The other end of a connection in the hands of a test: a bare socket that sends and reads bytes while the loop runs.
#pragma once

#include "base/bytes.h"
#include "event/loop.h"
#include "rpc/parser.h"
#include "wire/frame.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stranger {
    struct mst_loop *loop; // polled while the stranger waits
    int fd;
    bool has_ended; // the peer closed its half, or the connection is gone
    struct mst_parser parser;
    uint8_t *body; // of the last message
    struct iovec part;
};

// A pair of connected sockets: one is the stranger's, the other in *fd_out.
void stranger_pair(struct stranger *stranger, struct mst_loop *loop, int *fd_out);
// The same over TCP.
void stranger_tcp_pair(struct stranger *stranger, struct mst_loop *loop, int *fd_out);
// The same, the stranger from this IPv4 address; the other end is at 127.0.0.1.
void stranger_tcp_pair_from(struct stranger *stranger, struct mst_loop *loop, const char *host, int *fd_out);
// Connects to a port of this machine.
void stranger_connect(struct stranger *stranger, struct mst_loop *loop, uint16_t port);
// Closes it.
void stranger_close(struct stranger *stranger);
// Sends all of it; fails the test when the peer does not take it within 10 s. False: the connection is gone.
bool stranger_send(struct stranger *stranger, const void *data, size_t len);
// Sends a frame as rpc_append_frame makes it.
bool stranger_send_frame(struct stranger *stranger, const struct mst_frame *head, struct mst_bytes meta,
                         size_t body_bytes);
// Waits for the next whole frame; NULL: the connection ended before one. Valid until the next call.
const struct mst_message *stranger_read(struct stranger *stranger);
// The next frame is an ERROR reply with this status and a text that holds `says`.
void stranger_expect_error(struct stranger *stranger, uint64_t call, mst_status status, const char *says);
// Waits for the end of the connection, and fails the test if a frame comes before it.
void stranger_expect_end(struct stranger *stranger);
// Runs the loop until done(arg); fails the test after 10 s.
void run_until(struct mst_loop *loop, bool (*done)(void *arg), void *arg);
