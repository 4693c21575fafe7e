// A libevent timeout in the caller's struct. Periodic ones are EV_PERSIST, so a late firing does not shift the next.
#include "event/timer.h"

#include "base/error.h"

#include <string.h>

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct mst_timer *timer = arg;
    timer->on_fire(timer->arg);
}

void mst_timer_init(struct mst_timer *timer, struct mst_loop *loop, void (*on_fire)(void *arg), void *arg)
{
    *timer = (struct mst_timer){.loop = loop, .on_fire = on_fire, .arg = arg};
}

void mst_timer_fini(struct mst_timer *timer)
{
    mst_timer_stop(timer);
    memset(timer, 0, sizeof *timer);
}

static void start(struct mst_timer *timer, uint64_t ms, short flags)
{
    mst_timer_stop(timer);
    struct timeval delay = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    int result = event_assign(&timer->event, mst_loop_base(timer->loop), -1, flags, on_timeout, timer);
    MST_ASSERT(result == 0);
    result = event_add(&timer->event, &delay);
    MST_ASSERT(result == 0); // only memory can fail it
}

void mst_timer_start_once(struct mst_timer *timer, uint64_t delay_ms)
{
    timer->period_ms = 0;
    start(timer, delay_ms, 0);
}

void mst_timer_start_periodic(struct mst_timer *timer, uint64_t period_ms)
{
    timer->period_ms = period_ms ? period_ms : 1;
    start(timer, timer->period_ms, EV_PERSIST);
}

void mst_timer_stop(struct mst_timer *timer)
{
    if (!timer->loop)
        return;
    mst_loop_assert_owner(timer->loop);
    if (event_initialized(&timer->event))
        event_del(&timer->event);
}

bool mst_timer_is_running(const struct mst_timer *timer)
{
    return timer->loop && event_initialized(&timer->event) && event_pending(&timer->event, EV_TIMEOUT, NULL);
}
