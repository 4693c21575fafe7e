/** @file
 *  Timers that live inside the caller's struct.
 *
 *      mst_timer_init(&role->tick, loop, on_tick, role);
 *      mst_timer_start_periodic(&role->tick, 1000);
 *      …
 *      mst_timer_fini(&role->tick);
 *
 *  Thread: loop.
 */
#pragma once

#include "event/loop.h"

#include <event2/event.h>
#include <event2/event_struct.h>

struct mst_timer {
    struct event event;
    struct mst_loop *loop;
    void (*on_fire)(void *arg);
    void *arg;
    uint64_t period_ms; // 0: one shot
};

/** A timer that is not running. Owner: keeps loop and arg */
void mst_timer_init(struct mst_timer *timer, struct mst_loop *loop, void (*on_fire)(void *arg), void *arg);
/** Stops it. A zeroed timer is fine. */
void mst_timer_fini(struct mst_timer *timer);
/** Fires once, delay_ms from now; a running timer is moved. */
void mst_timer_start_once(struct mst_timer *timer, uint64_t delay_ms);
/** Fires every period_ms (at least 1), first in period_ms. */
void mst_timer_start_periodic(struct mst_timer *timer, uint64_t period_ms);
/** Does not fire any more. */
void mst_timer_stop(struct mst_timer *timer);
/** True while it is going to fire. */
bool mst_timer_is_running(const struct mst_timer *timer);
