#include "rpc/socket_address.h"

#include <netinet/in.h>
#include <string.h>

enum { HOST_BYTES = 16 };

static bool is_internet(const struct mst_socket_address *address)
{
    return address->storage.ss_family == AF_INET || address->storage.ss_family == AF_INET6;
}

bool mst_socket_address_ends(int fd, struct mst_socket_address *local, struct mst_socket_address *remote)
{
    *local = *remote = (struct mst_socket_address){.len = sizeof local->storage};
    return getsockname(fd, (struct sockaddr *)&local->storage, &local->len) == 0 &&
           getpeername(fd, (struct sockaddr *)&remote->storage, &remote->len) == 0 && is_internet(local) &&
           is_internet(remote);
}

void mst_socket_address_set_port(struct mst_socket_address *address, uint16_t port)
{
    if (address->storage.ss_family == AF_INET)
        ((struct sockaddr_in *)&address->storage)->sin_port = htons(port);
    else if (address->storage.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&address->storage)->sin6_port = htons(port);
}

// IPv4 in its mapped form. False for no internet address.
static bool split(const struct mst_socket_address *address, uint8_t host[HOST_BYTES], in_port_t *port_out)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (!is_internet(address))
        return false;
    if (address->storage.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&address->storage;
        memcpy(host, mapped, sizeof mapped);
        memcpy(host + sizeof mapped, &in->sin_addr, sizeof in->sin_addr);
        *port_out = in->sin_port;
    } else {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->storage;
        memcpy(host, &in6->sin6_addr, sizeof in6->sin6_addr);
        *port_out = in6->sin6_port;
    }
    return true;
}

static bool compare(const struct mst_socket_address *a, const struct mst_socket_address *b, bool with_ports)
{
    uint8_t hosts[2][HOST_BYTES];
    in_port_t ports[2];
    return split(a, hosts[0], &ports[0]) && split(b, hosts[1], &ports[1]) &&
           memcmp(hosts[0], hosts[1], HOST_BYTES) == 0 && (!with_ports || ports[0] == ports[1]);
}

bool mst_socket_address_is_same(const struct mst_socket_address *a, const struct mst_socket_address *b)
{
    return compare(a, b, true);
}

bool mst_socket_address_is_same_host(const struct mst_socket_address *a, const struct mst_socket_address *b)
{
    return compare(a, b, false);
}
