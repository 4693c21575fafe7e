// A connect that fails at once is told from the loop as well, by the same event: the caller has one way to hear of it.
#include "rpc/probe.h"

#include "base/alloc.h"
#include "base/error.h"

#include <event2/event.h>
#include <event2/event_struct.h>

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct mst_probe {
    int fd;
    int error; // of a connect that failed at once
    struct event event;
    void (*on_probed)(void *arg, enum mst_probe_result result);
    void *arg;
};

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    struct mst_probe *probe = arg;
    int error = probe->error;
    socklen_t len = sizeof error;
    if (!error && (what & EV_TIMEOUT))
        error = ETIMEDOUT;
    else if (!error && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    enum mst_probe_result result = error == 0              ? MST_PROBE_TAKEN
                                   : error == ECONNREFUSED ? MST_PROBE_REFUSED
                                                           : MST_PROBE_UNKNOWN;
    probe->on_probed(probe->arg, result);
}

mst_status mst_probe_new(struct mst_loop *loop, const struct mst_socket_address *address,
                         void (*on_probed)(void *arg, enum mst_probe_result result), void *arg, struct mst_probe **out)
{
    *out = NULL;
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return MST_RESOURCE_EXHAUSTED;
    struct mst_probe *probe = mst_alloc(sizeof *probe);
    *probe = (struct mst_probe){.fd = fd, .on_probed = on_probed, .arg = arg};
    if (connect(fd, (const struct sockaddr *)&address->storage, address->len) != 0 && errno != EINPROGRESS)
        probe->error = errno;
    int result = event_assign(&probe->event, mst_loop_base(loop), fd, EV_WRITE, on_event, probe);
    MST_ASSERT(result == 0);
    struct timeval limit = {.tv_sec = 1}; // longer than a host that is there needs
    event_add(&probe->event, &limit);
    if (probe->error)
        event_active(&probe->event, EV_WRITE, 0);
    *out = probe;
    return MST_OK;
}

void mst_probe_free(struct mst_probe *probe)
{
    if (!probe)
        return;
    event_del(&probe->event);
    close(probe->fd);
    free(probe);
}
