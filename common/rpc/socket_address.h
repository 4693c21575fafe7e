/** @file
 *  Internet addresses as the kernel takes them, with their ports. Thread: any */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct mst_socket_address {
    struct sockaddr_storage storage;
    socklen_t len;
};

/** Both ends of a connected socket. False: it is not connected, or no internet socket. */
bool mst_socket_address_ends(int fd, struct mst_socket_address *local, struct mst_socket_address *remote);
/** The same host, another port. */
void mst_socket_address_set_port(struct mst_socket_address *address, uint16_t port);
/** The same host and port; IPv4 as such and mapped into IPv6 is the same. Nothing is the same as an empty one. */
bool mst_socket_address_is_same(const struct mst_socket_address *a, const struct mst_socket_address *b);
/** The same, whatever the ports. */
bool mst_socket_address_is_same_host(const struct mst_socket_address *a, const struct mst_socket_address *b);
