// A list and a timer of 0 ms.
#include "rpc/failed_calls.h"

#include "base/alloc.h"

#include <stdlib.h>

struct mst_failed_call {
    struct mst_failed_call *next;
    void (*on_reply)(void *arg, const struct mst_reply *reply);
    void *arg;
    mst_status status;
    char *text;
};

static struct mst_failed_call *take_first(struct mst_failed_calls *calls)
{
    struct mst_failed_call *call = calls->first;
    calls->first = call->next;
    if (!calls->first)
        calls->last = &calls->first;
    return call;
}

static void free_call(struct mst_failed_call *call)
{
    free(call->text);
    free(call);
}

bool mst_failed_calls_tell(struct mst_failed_calls *calls)
{
    if (!calls->first)
        return true;
    bool gone = false;
    calls->gone = &gone;
    // Those added meanwhile wait for the next round: a caller that tries again at once must not keep the loop here.
    struct mst_failed_call **end = calls->last;
    bool was_last = false;
    while (!gone && calls->first && !was_last) {
        struct mst_failed_call *call = take_first(calls);
        was_last = end == &call->next;
        struct mst_reply reply = {.status = call->status, .text = call->text};
        if (call->on_reply)
            call->on_reply(call->arg, &reply);
        free_call(call);
    }
    if (gone)
        return false;
    calls->gone = NULL;
    return true;
}

static void on_due(void *arg)
{
    struct mst_failed_calls *calls = arg;
    if (mst_failed_calls_tell(calls) && calls->first)
        mst_timer_start_once(&calls->timer, 0);
}

void mst_failed_calls_init(struct mst_failed_calls *calls, struct mst_loop *loop)
{
    *calls = (struct mst_failed_calls){.last = &calls->first};
    mst_timer_init(&calls->timer, loop, on_due, calls);
}

void mst_failed_calls_fini(struct mst_failed_calls *calls)
{
    while (calls->first)
        free_call(take_first(calls));
    mst_timer_fini(&calls->timer);
    if (calls->gone)
        *calls->gone = true;
    calls->gone = NULL;
}

void mst_failed_calls_add(struct mst_failed_calls *calls, const struct mst_call *call, mst_status status,
                          const char *text)
{
    struct mst_failed_call *failed = mst_alloc(sizeof *failed);
    failed->on_reply = call->on_reply;
    failed->arg = call->arg;
    failed->status = status;
    failed->text = mst_strdup(text);
    *calls->last = failed;
    calls->last = &failed->next;
    if (!mst_timer_is_running(&calls->timer))
        mst_timer_start_once(&calls->timer, 0);
    if (call->body.release)
        call->body.release(call->body.arg);
}
