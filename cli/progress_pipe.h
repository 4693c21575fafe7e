/** @file
 *  The pipe by which the chief tells its supervisor how far it is: one JSON object a line.
 *
 *      MST_TRY(mst_progress_pipe_init(&pipe, loop, on_event, arg, &write_fd, err));   // write_fd goes to the chief
 *      mst_progress_pipe_drain(&pipe);                                                 // after the chief's end
 *      mst_progress_pipe_fini(&pipe);
 *
 *  The chief's end does not block: a supervisor that is stopped (Ctrl-Z) makes it lose lines, not time.
 *  Thread: loop.
 */
#pragma once

#include "base/bytes.h"
#include "event/loop.h"

#include <event2/event_struct.h>
#include <jansson.h>

struct mst_progress_pipe {
    struct event event;
    int fd;              // -1: closed
    struct mst_buf line; // what came of a line whose end is still to come
    void (*on_event)(void *arg, const json_t *event);
    void *arg;
};

/** Opens it; on_event(arg, object) is called on the loop for each line. What is no JSON object is left out.
 *  *write_fd_out: the chief's end, the caller's; closed in children unless given to them.
 *  Errors: RESOURCE_EXHAUSTED no descriptors left */
MST_MUST_USE mst_status mst_progress_pipe_init(struct mst_progress_pipe *pipe, struct mst_loop *loop,
                                               void (*on_event)(void *arg, const json_t *event), void *arg,
                                               int *write_fd_out, struct mst_error *err);
/** Reads what is in it now. */
void mst_progress_pipe_drain(struct mst_progress_pipe *pipe);
/** Closes it. One that was never opened (fd -1) is fine. */
void mst_progress_pipe_fini(struct mst_progress_pipe *pipe);
