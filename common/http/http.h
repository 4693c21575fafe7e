/** @file
 *  Metrics and health of a role over HTTP, on the role's control loop: GET and HEAD; POST where the role takes some.
 *
 *      MST_TRY(mst_http_new(loop, "8080", on_ready_asked, role, &http, err));   // --http [ADDR:]PORT
 *      …                                                                        // the loop runs
 *      mst_http_free(http);
 *
 *  /metrics  all metrics in Prometheus's text format 0.0.4
 *  /healthz  200 while the loop is alive
 *  /readyz   200 when the role has joined its job, else 503, with the sentence of the callback
 *  Any other path is 404; where POSTs are taken, one may be posted to. A method that is not for the path is 405, with
 *  those that are; one that HTTP does not know is 501. A connection answers one request.
 *  A POST that a browser sends for a page (it has an Origin) is 403: who can reach a port from his browser lends that
 *  to every page that he opens.
 *  Requests, their bodies, the number of connections and the life of each are bounded; the limits are named below.
 *
 *  The process ignores SIGPIPE: libevent writes without MSG_NOSIGNAL.
 *  Thread: all on the loop's thread, or before it runs.
 */
#pragma once

#include "muster/status.h"

#include <stdbool.h>
#include <stdint.h>

struct mst_loop;
struct mst_http;

enum {
    MST_HTTP_HEADERS_MAX_BYTES = 8192,
    MST_HTTP_BODY_MAX_BYTES = 4096, // read and thrown away
    MST_HTTP_METRICS_MAX_BYTES = 4 << 20,
    MST_HTTP_CONNECTIONS_MAX = 32, // one more ends the oldest, so that a probe is always answered
    MST_HTTP_IDLE_SECONDS = 5,
    MST_HTTP_LIFE_MS = 15000, // of a whole connection, however slowly it trickles
};

/** MST_OK when the role is ready; else any status, with a sentence in err that says what is missing. One that is ready
 *  may say there what it waits for all the same. */
typedef mst_status (*mst_http_ready_fn)(void *arg, struct mst_error *err);

/** What a POST is answered. */
struct mst_http_answer {
    mst_status status; // OK: 200 with JSON; else its code (muster/status.h) with a sentence
    bool is_pending;   // with OK: 202
    char text[1024];
};
/** A POST to a path has come, with its query, "" if it has none; both as they were sent, not decoded. */
typedef void (*mst_http_post_fn)(void *arg, const char *path, const char *query, struct mst_http_answer *answer);

/** Where to listen: "[ADDR:]PORT", ADDR numeric, an IPv6 one in brackets. Without ADDR: every address of the machine,
 *  so that a pod's probes reach it. */
struct mst_http_address {
    char host[64]; // "" : every address
    uint16_t port; // 0: the system picks one
};

/** Reads "[ADDR:]PORT". Errors: INVALID_ARGUMENT names the text and what is expected. Thread: any */
MST_MUST_USE mst_status mst_http_address_parse(const char *text, struct mst_http_address *out, struct mst_error *err);

/** Listens at once and answers from the loop; logs the port. ready NULL: always ready.
 *  Owner: keeps loop and ready_arg until mst_http_free
 *  Errors: INVALID_ARGUMENT the address; UNAVAILABLE names the port that is in use or may not be taken */
MST_MUST_USE mst_status mst_http_new(struct mst_loop *loop, const char *address, mst_http_ready_fn ready,
                                     void *ready_arg, struct mst_http **out, struct mst_error *err);

/** Closes the listener and all connections; NULL is fine. */
void mst_http_free(struct mst_http *http);

/** From now on post answers each POST; its body is thrown away. Owner: keeps arg until mst_http_free */
void mst_http_take_posts(struct mst_http *http, mst_http_post_fn post, void *arg);

/** The port it listens on. */
uint16_t mst_http_port(const struct mst_http *http);
