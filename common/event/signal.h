/** @file
 *  SIGTERM and SIGINT as events on a loop.
 *
 *      mst_signals_init(&signals, loop, on_signal, role);   // on_signal(role, SIGTERM)
 *
 *  One at a time in a process. SIGPIPE needs no handler: rpc sends with MSG_NOSIGNAL.
 *  Thread: loop.
 */
#pragma once

#include "event/loop.h"

#include <event2/event.h>
#include <event2/event_struct.h>

enum { MST_SIGNALS = 2 };

struct mst_signals {
    struct event events[MST_SIGNALS];
    struct mst_loop *loop;
    void (*on_signal)(void *arg, int signal);
    void *arg;
};

/** Has on_signal(arg, SIGTERM or SIGINT) called on the loop from now on. Owner: keeps loop and arg */
void mst_signals_init(struct mst_signals *signals, struct mst_loop *loop, void (*on_signal)(void *arg, int signal),
                      void *arg);
/** Gives the signals back to their default action. A zeroed one is fine. */
void mst_signals_fini(struct mst_signals *signals);
