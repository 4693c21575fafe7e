/** @file
 *  Several requests at once, each with the same deadline: how `muster top` reads the pages of all roles, and
 *  `muster admin` asks the chief.
 *
 *      struct mst_http_get gets[] = {{.address = "127.0.0.1:8080", .path = "/metrics"}, …};
 *      mst_http_get_all(gets, 2, 900);
 *      …gets[0].code == 200: gets[0].body; code 0: gets[0].why says why nobody answered…
 *      mst_http_get_fini(&gets[0]);
 *
 *  HTTP/1.0, so an answer ends where the connection does; a page is at most MST_HTTP_GET_MAX_BYTES.
 *  Thread: one at a time; it blocks, names of hosts are looked up with getaddrinfo.
 */
#pragma once

#include "base/bytes.h"

#include <stdbool.h>

enum { MST_HTTP_GET_MAX_BYTES = 4 << 20 };

struct mst_http_get {
    const char *address;   // "host:port", borrowed
    const char *path;      // borrowed
    bool is_post;          // with no body; else GET
    int code;              // 0: no answer
    struct mst_buf answer; // all of it
    struct mst_bytes body; // in answer
    char why[128];         // without an answer
};

/** Sends all and waits until all have answered or the time is over. */
void mst_http_get_all(struct mst_http_get *gets, size_t n, unsigned timeout_ms);
/** Releases the answer; it can be used again. */
void mst_http_get_fini(struct mst_http_get *get);

/** Where in an answer the body begins and what its code is; 0: it is no answer of HTTP. *body_out: in answer */
int mst_http_answer_parse(struct mst_bytes answer, struct mst_bytes *body_out);
