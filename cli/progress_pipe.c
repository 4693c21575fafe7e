#include "cli/progress_pipe.h"

#include "base/error.h"

#include <event2/event.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

// A result with the figures of a thousand roles stays below.
enum { LINE_MAX_BYTES = 1 << 20, READ_BYTES = 16384 };

static void take_line(struct mst_progress_pipe *pipe, const char *text, size_t len)
{
    json_t *object = json_loadb(text, len, 0, NULL);
    if (json_is_object(object))
        pipe->on_event(pipe->arg, object);
    json_decref(object);
}

static void take_bytes(struct mst_progress_pipe *pipe, const char *bytes, size_t len)
{
    while (len > 0) {
        const char *end = memchr(bytes, '\n', len);
        size_t n = end ? (size_t)(end - bytes) : len;
        if (mst_buf_append(&pipe->line, bytes, n) != MST_OK)
            mst_buf_reset(&pipe->line); // no line of ours is so long
        if (!end)
            return;
        take_line(pipe, (const char *)pipe->line.data, pipe->line.len);
        mst_buf_reset(&pipe->line);
        bytes += n + 1;
        len -= n + 1;
    }
}

// True while there may be more.
static bool read_some(struct mst_progress_pipe *pipe)
{
    char bytes[READ_BYTES];
    ssize_t n = read(pipe->fd, bytes, sizeof bytes);
    if (n > 0)
        take_bytes(pipe, bytes, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        event_del(&pipe->event); // nobody writes any more
    return n > 0;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    read_some(arg);
}

mst_status mst_progress_pipe_init(struct mst_progress_pipe *pipe, struct mst_loop *loop,
                                  void (*on_event)(void *arg, const json_t *event), void *arg, int *write_fd_out,
                                  struct mst_error *err)
{
    int fds[2];
    *pipe = (struct mst_progress_pipe){.fd = -1, .on_event = on_event, .arg = arg};
    *write_fd_out = -1;
    mst_buf_init(&pipe->line, LINE_MAX_BYTES);
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED,
                        "no pipe for the chief's progress: %s; raise the limit on open files", strerror(errno));
    pipe->fd = fds[0];
    *write_fd_out = fds[1];
    int result = event_assign(&pipe->event, mst_loop_base(loop), pipe->fd, EV_READ | EV_PERSIST, on_readable, pipe);
    MST_ASSERT(result == 0);
    result = event_add(&pipe->event, NULL);
    MST_ASSERT(result == 0);
    return MST_OK;
}

void mst_progress_pipe_drain(struct mst_progress_pipe *pipe)
{
    while (pipe->fd >= 0 && read_some(pipe)) {
    }
}

void mst_progress_pipe_fini(struct mst_progress_pipe *pipe)
{
    if (pipe->fd >= 0) {
        event_del(&pipe->event);
        close(pipe->fd);
    }
    mst_buf_fini(&pipe->line);
    pipe->fd = -1;
}
