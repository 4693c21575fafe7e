// Calls that failed before they were sent, told from the loop: a caller need not expect on_reply from within its call.
#pragma once

#include "event/timer.h"
#include "rpc/client.h"

struct mst_failed_call;

struct mst_failed_calls {
    struct mst_timer timer;
    struct mst_failed_call *first;
    struct mst_failed_call **last;
    bool *gone;
};

// No calls yet.
void mst_failed_calls_init(struct mst_failed_calls *calls, struct mst_loop *loop);
// Forgets all of them.
void mst_failed_calls_fini(struct mst_failed_calls *calls);
// Tells those that wait now, without waiting for the loop. False: a callback freed what the calls live in.
MST_MUST_USE bool mst_failed_calls_tell(struct mst_failed_calls *calls);
// call->on_reply(status, text) will run; the body is released now.
void mst_failed_calls_add(struct mst_failed_calls *calls, const struct mst_call *call, mst_status status,
                          const char *text);
