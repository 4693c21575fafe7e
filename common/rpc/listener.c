// One IPv6 socket with IPV6_V6ONLY off takes both families; kernels without IPv6 get an IPv4 socket.
#include "rpc/listener.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 512 };

static mst_status fail_errno(struct mst_error *err, uint16_t port, int error)
{
    switch (error) {
    case EADDRINUSE:
        return mst_fail(err, MST_UNAVAILABLE, "port %u is in use; stop what listens there, or give another port", port);
    case EACCES:
        return mst_fail(err, MST_PERMISSION_DENIED, "port %u may not be used by this user; give one above 1023", port);
    default:
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "port %u cannot be listened on: %s", port, strerror(error));
    }
}

// Binds and listens; 0 or an errno.
static int listen_on(int fd, const struct sockaddr *address, socklen_t len)
{
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one,
               sizeof one); // a restart need not wait for old connections to time out
    if (bind(fd, address, len) != 0 || listen(fd, BACKLOG) != 0)
        return errno;
    return 0;
}

static int open_v6(uint16_t port, int *fd_out)
{
    *fd_out = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int zero = 0;
    if (*fd_out < 0 || setsockopt(*fd_out, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero) != 0)
        return EAFNOSUPPORT;
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any};
    return listen_on(*fd_out, (const struct sockaddr *)&address, sizeof address);
}

static int open_v4(uint16_t port, int *fd_out)
{
    *fd_out = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd_out < 0)
        return errno;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_ANY)};
    return listen_on(*fd_out, (const struct sockaddr *)&address, sizeof address);
}

mst_status mst_listener_open(uint16_t port, int *fd_out, struct mst_error *err)
{
    int error = open_v6(port, fd_out);
    if (error == EAFNOSUPPORT || error == EADDRNOTAVAIL) {
        if (*fd_out >= 0)
            close(*fd_out);
        error = open_v4(port, fd_out);
    }
    if (!error)
        return MST_OK;
    if (*fd_out >= 0)
        close(*fd_out);
    *fd_out = -1;
    return fail_errno(err, port, error);
}

mst_status mst_listener_adopt(int fd, struct mst_error *err)
{
    int is_listening = 0;
    socklen_t len = sizeof is_listening;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len) != 0 || !is_listening || !mst_listener_port(fd))
        return mst_fail(err, MST_INVALID_ARGUMENT, "descriptor %d is not a listening TCP socket", fd);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "descriptor %d: %s", fd, strerror(errno));
    return MST_OK;
}

uint16_t mst_listener_port(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        return 0;
    if (address.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&address)->sin6_port);
    if (address.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&address)->sin_port);
    return 0;
}
