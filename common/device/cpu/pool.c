// Slices are claimed from one atomic word: which run (upper half), how many slices, how many are taken. A
// compare-and-swap that succeeds proves that the run is still going on, for it ends only when every slice is done;
// so a helper that wakes up late finds nothing to claim and never looks at a job that is over.
//
// Threads that find nothing spin for a few microseconds, then give way to whoever else wants the processor for as long
// as the next operation of a step is usually away, and then sleep on a futex. To be woken costs the waker 7 and the
// sleeper 20 to 40 microseconds on a virtual machine (measured); to give way costs a busy neighbour nothing.
#include "pool.h"

#include "base/alloc.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    N_SPINS = 200, // pause instructions: about 5 microseconds
    N_YIELDS = 64, // system calls: about 30 microseconds when nobody else wants to run
};

struct mst_pool {
    mst_slice_fn *fn; // written before `work`, read by those who claimed a slice
    void *context;

    _Atomic uint64_t work;       // run << 32 | slices << 16 | taken
    _Atomic uint32_t posted;     // futex of the helpers: grows by one with each run
    _Atomic uint32_t n_sleeping; // helpers in, or about to enter, their futex
    _Atomic uint32_t pending;    // futex of the caller: slices not done
    _Atomic bool caller_sleeps;
    _Atomic bool ends;

    size_t n_helpers;
    pthread_t helpers[];
};

// The kernel reads *word again before it lets the thread sleep; woken for whatever reason, callers look for
// themselves.
static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, size_t n)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, (int)n, NULL, NULL, 0);
}

static void linger(unsigned round)
{
    if (round >= N_SPINS) {
        sched_yield();
        return;
    }
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static bool try_claim(struct mst_pool *pool, size_t *slice, size_t *n_slices)
{
    // acquire: the job of the run that the word names
    uint64_t work = atomic_load_explicit(&pool->work, memory_order_acquire);
    while ((work & 0xFFFF) < (work >> 16 & 0xFFFF)) {
        if (atomic_compare_exchange_weak_explicit(&pool->work, &work, work + 1, memory_order_acquire,
                                                  memory_order_acquire)) {
            *slice = work & 0xFFFF;
            *n_slices = work >> 16 & 0xFFFF;
            return true;
        }
    }
    return false;
}

static void work_off(struct mst_pool *pool)
{
    size_t slice;
    size_t n_slices;
    while (try_claim(pool, &slice, &n_slices)) {
        pool->fn(pool->context, slice, n_slices);
        // Release: what the slice wrote. Sequentially consistent, as the read below and the caller's two in
        // wait_for_all: either the caller sees 0 before it sleeps, or we see that it sleeps.
        if (atomic_fetch_sub(&pool->pending, 1) == 1 && atomic_load(&pool->caller_sleeps))
            futex_wake(&pool->pending, 1);
    }
}

static void wait_for_work(struct mst_pool *pool, uint32_t seen)
{
    for (unsigned round = 0; round < N_SPINS + N_YIELDS; round++) {
        if (atomic_load_explicit(&pool->posted, memory_order_acquire) != seen)
            return;
        linger(round);
    }
    // As above: either mst_pool_run sees that we sleep, or we see what it posted.
    atomic_fetch_add(&pool->n_sleeping, 1);
    while (atomic_load(&pool->posted) == seen)
        futex_wait(&pool->posted, seen);
    atomic_fetch_sub(&pool->n_sleeping, 1);
}

static void *helper_main(void *context)
{
    struct mst_pool *pool = context;
    for (;;) {
        uint32_t seen = atomic_load_explicit(&pool->posted, memory_order_acquire);
        if (atomic_load_explicit(&pool->ends, memory_order_acquire))
            return NULL;
        work_off(pool);
        wait_for_work(pool, seen);
    }
}

static void wait_for_all(struct mst_pool *pool)
{
    for (unsigned round = 0; round < N_SPINS + N_YIELDS; round++) {
        if (atomic_load_explicit(&pool->pending, memory_order_acquire) == 0)
            return;
        linger(round);
    }
    atomic_store(&pool->caller_sleeps, true);
    for (uint32_t left; (left = atomic_load(&pool->pending)) != 0;)
        futex_wait(&pool->pending, left);
    atomic_store(&pool->caller_sleeps, false);
}

static void post(struct mst_pool *pool, size_t n_wanted)
{
    atomic_fetch_add(&pool->posted, 1);
    if (atomic_load(&pool->n_sleeping) > 0)
        futex_wake(&pool->posted, n_wanted);
}

void mst_pool_run(struct mst_pool *pool, size_t n_slices, mst_slice_fn *fn, void *context)
{
    if (n_slices <= 1 || pool->n_helpers == 0) {
        for (size_t slice = 0; slice < n_slices; slice++)
            fn(context, slice, n_slices);
        return;
    }
    pool->fn = fn;
    pool->context = context;
    atomic_store_explicit(&pool->pending, (uint32_t)n_slices, memory_order_relaxed);
    uint64_t run = atomic_load_explicit(&pool->work, memory_order_relaxed) >> 32;
    // release: fn, context and pending, for those who claim
    atomic_store_explicit(&pool->work, (run + 1) << 32 | (uint64_t)n_slices << 16, memory_order_release);
    post(pool, n_slices - 1);
    work_off(pool);
    wait_for_all(pool);
}

mst_status mst_pool_new(size_t n_threads, struct mst_pool **out)
{
    *out = NULL;
    struct mst_pool *pool = mst_alloc(sizeof *pool + n_threads * sizeof *pool->helpers);
    // Signals belong to the loops: helpers start with all of them blocked.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool failed = false;
    while (!failed && pool->n_helpers + 1 < n_threads) {
        failed = pthread_create(&pool->helpers[pool->n_helpers], NULL, helper_main, pool) != 0;
        if (!failed)
            pool->n_helpers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        mst_pool_free(pool);
        return MST_RESOURCE_EXHAUSTED;
    }
    *out = pool;
    return MST_OK;
}

void mst_pool_free(struct mst_pool *pool)
{
    if (pool == NULL)
        return;
    atomic_store_explicit(&pool->ends, true, memory_order_release);
    post(pool, pool->n_helpers);
    for (size_t i = 0; i < pool->n_helpers; i++)
        pthread_join(pool->helpers[i], NULL);
    free(pool);
}
