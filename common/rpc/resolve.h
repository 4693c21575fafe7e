/** @file
 *  Names to addresses by getaddrinfo in one helper thread, so that nsswitch is honoured and no loop waits.
 *
 *      MST_TRY(mst_resolver_new(&resolver, err));
 *      lookup = mst_resolver_ask(resolver, loop, "ps-1.job.svc", 4711, on_resolved, arg);
 *      mst_lookup_cancel(lookup);                      // unless on_resolved has run
 *
 *  Nothing is cached: a name is asked again on every reconnect. Thread: loop that asks, unless said otherwise.
 */
#pragma once

#include "event/loop.h"
#include "rpc/socket_address.h"

#include <stdint.h>

#define MST_SOCKET_ADDRESSES_MAX 8 // of one name; more are left out

struct mst_resolver;
struct mst_lookup;

/** A name resolved (status OK, n > 0) or not (NOT_FOUND no such name, UNAVAILABLE try again; text says which). */
typedef void (*mst_resolved_fn)(void *arg, mst_status status, const char *text,
                                const struct mst_socket_address *addresses, size_t n);

/** New resolver; its thread starts with the first question. */
MST_MUST_USE mst_status mst_resolver_new(struct mst_resolver **out, struct mst_error *err);
/** Forgets all questions and returns at once, even while a look-up hangs. Before the loops that asked are freed, after
 *  all cancels. NULL is fine. Thread: any */
void mst_resolver_free(struct mst_resolver *resolver);
/** Asks; on_resolved runs on the loop, once, never from within. Numeric addresses take no thread.
 *  Owner: copies host; the result is borrowed until on_resolved or cancel */
struct mst_lookup *mst_resolver_ask(struct mst_resolver *resolver, struct mst_loop *loop, const char *host,
                                    uint16_t port, mst_resolved_fn on_resolved, void *arg);
/** on_resolved will not run. NULL is fine. */
void mst_lookup_cancel(struct mst_lookup *lookup);
/** Splits "host:port" or "[v6]:port"; host_out of host_bytes. Errors: INVALID_ARGUMENT names the address */
MST_MUST_USE mst_status mst_address_split(const char *address, char *host_out, size_t host_bytes, uint16_t *port_out,
                                          struct mst_error *err);
