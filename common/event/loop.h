/** @file
 *  One libevent base per thread, and the mailbox by which other threads reach it.
 *
 *      MST_TRY(mst_loop_new("ps-data-0", &loop, err));
 *      mst_loop_thread_start(loop);                 // or mst_loop_run(loop) on this thread
 *      mst_loop_post(loop, on_work, arg);           // from any thread: on_work(arg) runs on the loop
 *      mst_loop_stop(loop); mst_loop_thread_join(loop); mst_loop_free(loop);
 *
 *  Everything made on a loop (timers, connections) belongs to the thread that runs it. Before it first runs, the thread
 *  that made it may set things up; mst_loop_assert_owner checks that.
 */
#pragma once

#include "muster/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct mst_loop;

typedef void (*mst_loop_fn)(void *arg);

/** New loop; the name is copied (at most 15 characters of it become the thread's name).
 *  Errors: RESOURCE_EXHAUSTED no descriptors left */
MST_MUST_USE mst_status mst_loop_new(const char *name, struct mst_loop **out, struct mst_error *err);
/** Releases it; what is still in the mailbox is dropped. NULL is fine. Thread: after the loop has stopped running */
void mst_loop_free(struct mst_loop *loop);
/** The name given at new. Thread: any */
const char *mst_loop_name(const struct mst_loop *loop);

/** Runs events on this thread until mst_loop_stop; a stop that came before makes it return at once. */
void mst_loop_run(struct mst_loop *loop);
/** Runs what is ready, and what becomes ready meanwhile, and returns without blocking. For work (below) that takes
 *  long; not from within an event. */
void mst_loop_poll(struct mst_loop *loop);
/** Has work(arg) run after each round of events, outside of any, so that it may take long and poll. True from it: there
 *  is more to do at once, so the next round does not wait for events. NULL: no more. One a loop. Thread: loop
 *  Owner: keeps arg */
void mst_loop_set_work(struct mst_loop *loop, bool (*work)(void *arg), void *arg);
/** Runs events until done(arg) is true, the loop is stopped, or timeout_ms (UINT64_MAX: no limit) have passed; returns
 *  done(arg). done is asked after each round of events. */
bool mst_loop_run_until(struct mst_loop *loop, bool (*done)(void *arg), void *arg, uint64_t timeout_ms);
/** Ends mst_loop_run or mst_loop_run_until after the events at hand. Thread: any */
void mst_loop_stop(struct mst_loop *loop);

/** Starts a thread of the loop's name that runs it. Errors: RESOURCE_EXHAUSTED no thread to be had */
MST_MUST_USE mst_status mst_loop_thread_start(struct mst_loop *loop, struct mst_error *err);
/** Waits for that thread to end (mst_loop_stop first). Nothing to wait for is fine. */
void mst_loop_thread_join(struct mst_loop *loop);

/** Has fn(arg) run on the loop, in the order of posting. Thread: any, also the loop's own
 *  Cost: a lock; a write to an eventfd only if the mailbox was empty */
void mst_loop_post(struct mst_loop *loop, mst_loop_fn fn, void *arg);
/** As mst_loop_post; if the loop is freed before fn could run, drop(arg) is called instead. Thread: any */
void mst_loop_post_or_drop(struct mst_loop *loop, mst_loop_fn fn, mst_loop_fn drop, void *arg);

/** Something that has to go when the loop goes and has no other owner; lives in the struct it is about. */
struct mst_loop_hook {
    void (*on_free)(void *arg);
    void *arg;
    struct mst_loop_hook *next;
    struct mst_loop_hook **link; // NULL: not hooked
};

/** Has hook->on_free(hook->arg) called when the loop is freed. Thread: loop */
void mst_loop_hook_add(struct mst_loop *loop, struct mst_loop_hook *hook);
/** Not any more. One that is not hooked is fine. Thread: loop */
void mst_loop_hook_remove(struct mst_loop_hook *hook);

/** The libevent base, borrowed. Thread: loop */
struct event_base *mst_loop_base(struct mst_loop *loop);
/** Aborts if another thread than the caller's runs this loop. Cost: one load */
void mst_loop_assert_owner(const struct mst_loop *loop);
