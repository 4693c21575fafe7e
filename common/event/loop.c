// The mailbox is an array that posts append to under a lock and the loop swaps for an empty one, so a post costs no
// allocation once warm. The eventfd is written only when the mailbox was empty, and after the lock is given back: the
// woken loop would otherwise run straight into it. libevent gets no locks of its own (EVENT_BASE_FLAG_NOLOCK, no
// evthread): a base is touched by its owner alone, everybody else goes through the mailbox.
#include "event/loop.h"

#include "base/alloc.h"
#include "base/error.h"

#include <event2/event.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct post {
    mst_loop_fn fn;
    mst_loop_fn drop;
    void *arg;
};

struct mailbox {
    struct post *posts;
    size_t n;
    size_t capacity;
};

struct mst_loop {
    char *name;
    struct event_base *base;
    struct event *wake_event;
    int wake_fd;
    pthread_mutex_t lock;
    struct mailbox inbox;   // guarded by lock
    struct mailbox running; // loop's own: the one being worked off
    struct mst_loop_hook *hooks;
    bool (*work)(void *arg);
    void *work_arg;
    bool has_more_work;
    atomic_bool stopped;
    atomic_bool is_owned; // owner is set; release/acquire, so that owner is seen with it
    pthread_t owner;
    pthread_t thread;
    bool has_thread;
};

// Runs what was posted up to now; what is posted meanwhile waits for the next wake-up, so sockets get their turn.
static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct mst_loop *loop = arg;
    uint64_t count;
    ssize_t n_read = read(fd, &count, sizeof count);
    (void)n_read; // nothing to read is fine: the mailbox decides
    pthread_mutex_lock(&loop->lock);
    struct mailbox full = loop->inbox;
    loop->inbox = loop->running;
    loop->inbox.n = 0;
    loop->running = full;
    pthread_mutex_unlock(&loop->lock);
    for (size_t i = 0; i < full.n; i++)
        full.posts[i].fn(full.posts[i].arg);
    loop->running.n = 0;
}

mst_status mst_loop_new(const char *name, struct mst_loop **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_loop *loop = mst_alloc(sizeof *loop);
    loop->name = mst_strdup(name);
    pthread_mutex_init(&loop->lock, NULL);
    struct event_config *config = event_config_new();
    MST_ASSERT(config);
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    loop->base = event_base_new_with_config(config);
    event_config_free(config);
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (!loop->base || loop->wake_fd < 0) {
        int error = errno;
        mst_loop_free(loop);
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "event loop %s: %s; raise the limit on open files", name,
                        strerror(error));
    }
    loop->wake_event = event_new(loop->base, loop->wake_fd, EV_READ | EV_PERSIST, on_wake, loop);
    MST_ASSERT(loop->wake_event && event_add(loop->wake_event, NULL) == 0);
    *out = loop;
    return MST_OK;
}

static void drop_all(const struct mailbox *box)
{
    for (size_t i = 0; i < box->n; i++)
        if (box->posts[i].drop)
            box->posts[i].drop(box->posts[i].arg);
}

void mst_loop_free(struct mst_loop *loop)
{
    if (!loop)
        return;
    MST_ASSERT(!loop->has_thread);
    drop_all(&loop->inbox);
    while (loop->hooks) {
        struct mst_loop_hook *hook = loop->hooks;
        mst_loop_hook_remove(hook);
        hook->on_free(hook->arg);
    }
    if (loop->wake_event)
        event_free(loop->wake_event);
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    if (loop->base)
        event_base_free(loop->base);
    free(loop->inbox.posts);
    free(loop->running.posts);
    pthread_mutex_destroy(&loop->lock);
    free(loop->name);
    free(loop);
}

const char *mst_loop_name(const struct mst_loop *loop)
{
    return loop->name;
}

static void take_ownership(struct mst_loop *loop)
{
    mst_loop_assert_owner(loop);
    if (atomic_load_explicit(&loop->is_owned, memory_order_relaxed))
        return;
    loop->owner = pthread_self();
    atomic_store_explicit(&loop->is_owned, true, memory_order_release);
}

static void run_events(struct mst_loop *loop, int flags)
{
    int result = event_base_loop(loop->base, flags);
    MST_ASSERT(result >= 0); // epoll itself failed
}

// One round: waits for an event unless there is work at once, runs what is ready, then works.
static void run_round(struct mst_loop *loop)
{
    run_events(loop, loop->has_more_work ? EVLOOP_NONBLOCK : EVLOOP_ONCE);
    loop->has_more_work = loop->work && loop->work(loop->work_arg);
}

// True once for each stop.
static bool take_stop(struct mst_loop *loop)
{
    return atomic_load_explicit(&loop->stopped, memory_order_acquire) &&
           atomic_exchange_explicit(&loop->stopped, false, memory_order_acq_rel);
}

void mst_loop_run(struct mst_loop *loop)
{
    take_ownership(loop);
    while (!take_stop(loop))
        run_round(loop);
}

void mst_loop_poll(struct mst_loop *loop)
{
    take_ownership(loop);
    run_events(loop, EVLOOP_NONBLOCK);
}

void mst_loop_set_work(struct mst_loop *loop, bool (*work)(void *arg), void *arg)
{
    loop->work = work;
    loop->work_arg = arg;
    loop->has_more_work = false;
}

static void on_limit(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    *(bool *)arg = true;
}

bool mst_loop_run_until(struct mst_loop *loop, bool (*done)(void *arg), void *arg, uint64_t timeout_ms)
{
    take_ownership(loop);
    bool is_over = false;
    struct event *limit = NULL;
    if (timeout_ms != UINT64_MAX) {
        limit = event_new(loop->base, -1, 0, on_limit, &is_over);
        struct timeval delay = {.tv_sec = (time_t)(timeout_ms / 1000),
                                .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000};
        MST_ASSERT(limit && event_add(limit, &delay) == 0);
    }
    bool is_done = done(arg);
    while (!is_done && !is_over && !take_stop(loop)) {
        run_round(loop);
        is_done = done(arg);
    }
    if (limit)
        event_free(limit);
    return is_done;
}

static void on_stop(void *arg)
{
    (void)arg; // the wake-up is all that is needed: the flag is looked at after each round
}

void mst_loop_stop(struct mst_loop *loop)
{
    atomic_store_explicit(&loop->stopped, true, memory_order_release);
    mst_loop_post(loop, on_stop, NULL);
}

static void *on_thread(void *arg)
{
    struct mst_loop *loop = arg;
    char name[16]; // the kernel's limit
    snprintf(name, sizeof name, "%s", loop->name);
    pthread_setname_np(pthread_self(), name);
    mst_loop_run(loop);
    return NULL;
}

mst_status mst_loop_thread_start(struct mst_loop *loop, struct mst_error *err)
{
    MST_ASSERT(!loop->has_thread);
    int error = pthread_create(&loop->thread, NULL, on_thread, loop);
    if (error)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "thread %s: %s; raise the limit on processes", loop->name,
                        strerror(error));
    loop->has_thread = true;
    return MST_OK;
}

void mst_loop_thread_join(struct mst_loop *loop)
{
    if (!loop->has_thread)
        return;
    pthread_join(loop->thread, NULL);
    loop->has_thread = false;
    atomic_store_explicit(&loop->is_owned, false, memory_order_release); // the joiner may take things down
}

void mst_loop_post_or_drop(struct mst_loop *loop, mst_loop_fn fn, mst_loop_fn drop, void *arg)
{
    pthread_mutex_lock(&loop->lock);
    struct mailbox *inbox = &loop->inbox;
    if (inbox->n == inbox->capacity) {
        inbox->capacity = inbox->capacity ? 2 * inbox->capacity : 16;
        inbox->posts = mst_realloc_array(inbox->posts, inbox->capacity, sizeof *inbox->posts);
    }
    inbox->posts[inbox->n++] = (struct post){.fn = fn, .drop = drop, .arg = arg};
    bool was_empty = inbox->n == 1;
    pthread_mutex_unlock(&loop->lock);
    if (was_empty) {
        uint64_t one = 1;
        ssize_t n_written = write(loop->wake_fd, &one, sizeof one);
        (void)n_written; // fails only when the counter is full: it is readable then
    }
}

void mst_loop_post(struct mst_loop *loop, mst_loop_fn fn, void *arg)
{
    mst_loop_post_or_drop(loop, fn, NULL, arg);
}

void mst_loop_hook_add(struct mst_loop *loop, struct mst_loop_hook *hook)
{
    MST_ASSERT(!hook->link);
    hook->next = loop->hooks;
    hook->link = &loop->hooks;
    if (hook->next)
        hook->next->link = &hook->next;
    loop->hooks = hook;
}

void mst_loop_hook_remove(struct mst_loop_hook *hook)
{
    if (!hook->link)
        return;
    *hook->link = hook->next;
    if (hook->next)
        hook->next->link = hook->link;
    hook->next = NULL;
    hook->link = NULL;
}

struct event_base *mst_loop_base(struct mst_loop *loop)
{
    return loop->base;
}

void mst_loop_assert_owner(const struct mst_loop *loop)
{
    MST_ASSERT(!atomic_load_explicit(&loop->is_owned, memory_order_acquire) ||
               pthread_equal(loop->owner, pthread_self()));
}
