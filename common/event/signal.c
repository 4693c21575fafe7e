// libevent's own signal events: its handler writes to a socket pair of the base, so the callback runs as any other
// event.
#include "event/signal.h"

#include "base/error.h"

#include <signal.h>
#include <string.h>

static const int handled[MST_SIGNALS] = {SIGTERM, SIGINT};

static void on_event(evutil_socket_t number, short what, void *arg)
{
    (void)what;
    struct mst_signals *signals = arg;
    signals->on_signal(signals->arg, (int)number);
}

void mst_signals_init(struct mst_signals *signals, struct mst_loop *loop, void (*on_signal)(void *arg, int signal),
                      void *arg)
{
    *signals = (struct mst_signals){.loop = loop, .on_signal = on_signal, .arg = arg};
    for (size_t i = 0; i < MST_SIGNALS; i++) {
        int result = event_assign(&signals->events[i], mst_loop_base(loop), handled[i], EV_SIGNAL | EV_PERSIST,
                                  on_event, signals);
        MST_ASSERT(result == 0);
        result = event_add(&signals->events[i], NULL);
        MST_ASSERT(result == 0);
    }
}

void mst_signals_fini(struct mst_signals *signals)
{
    if (!signals->loop)
        return;
    for (size_t i = 0; i < MST_SIGNALS; i++)
        event_del(&signals->events[i]);
    memset(signals, 0, sizeof *signals);
}
