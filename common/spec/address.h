/** @file
 *  A peer's address as TF_CONFIG writes it: host:port, or [v6]:port. Thread: any.
 */
#pragma once

#include "muster/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { MST_ADDRESS_MAX_HOST = 253 }; // RFC 1035: a name is at most 253 characters

struct mst_address {
    char host[MST_ADDRESS_MAX_HOST + 1]; // without brackets
    uint16_t port;                       // 0 on localhost only: the system picks
};

/** Splits text. Errors: INVALID_ARGUMENT what is wrong with it, and what it should look like */
MST_MUST_USE mst_status mst_address_parse(const char *text, struct mst_address *out, struct mst_error *err);

/** Whether a host is this machine by name: localhost, 127.x.x.x, ::1. */
bool mst_host_is_loopback(const char *host);
