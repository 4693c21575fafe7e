// A ring of `depth` slots and four counters that only grow: requested >= gathered >= taken >= released, and requested -
// released <= depth. Slot i holds the batches i, i + depth, … of the sequence of requests. The owner moves requested,
// taken and released; the thread moves gathered. In inline mode the thread ends once the data set is loaded and take
// gathers. Measured, 64 images of 784 bytes, 2 cores: inline 5.9 us a batch (3.9 of it the permutation), by thread 6.7
// us and 7.8 us of CPU, so where every core computes, inline takes less from the step.
#include "data/prefetch.h"

#include "base/alloc.h"
#include "base/error.h"
#include "data/batches.h"
#include "data/dataset.h"
#include "muster/status.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct slot {
    struct mst_batch batch;
    mst_status status;
    struct mst_error error;
};

struct mst_prefetch {
    const struct mst_batches *batches;
    size_t depth;
    enum mst_prefetch_mode mode;
    struct slot *slots;
    uint64_t taken;    // the owner's
    uint64_t released; // the owner's
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t has_work;  // requested moved, or stopping
    pthread_cond_t has_batch; // gathered moved
    uint64_t requested;       // written by the owner, guarded by lock
    uint64_t gathered;        // guarded by lock
    bool is_gathering;        // guarded by lock: the thread is at slot gathered % depth
    bool is_stopping;         // guarded by lock
};

static void gather(struct mst_prefetch *prefetch, struct slot *slot)
{
    slot->status =
        mst_batches_gather(prefetch->batches, slot->batch.epoch, slot->batch.number, &slot->batch, &slot->error);
}

static void *on_thread(void *argument)
{
    struct mst_prefetch *prefetch = argument;
    struct mst_error ignored; // the data set keeps the failure and each gather tells it
    (void)!mst_dataset_load(mst_batches_dataset(prefetch->batches), &ignored);
    if (prefetch->mode == MST_PREFETCH_INLINE)
        return NULL;
    pthread_mutex_lock(&prefetch->lock);
    while (!prefetch->is_stopping) {
        if (prefetch->gathered == prefetch->requested) {
            pthread_cond_wait(&prefetch->has_work, &prefetch->lock);
            continue;
        }
        prefetch->is_gathering = true;
        struct slot *slot = &prefetch->slots[prefetch->gathered % prefetch->depth];
        pthread_mutex_unlock(&prefetch->lock);
        gather(prefetch, slot);
        pthread_mutex_lock(&prefetch->lock);
        prefetch->is_gathering = false;
        prefetch->gathered++;
        pthread_cond_signal(&prefetch->has_batch);
    }
    pthread_mutex_unlock(&prefetch->lock);
    return NULL;
}

static mst_status alloc_slots(struct mst_prefetch *prefetch, struct mst_error *err)
{
    prefetch->slots = mst_alloc_array(prefetch->depth, sizeof *prefetch->slots);
    for (size_t i = 0; i < prefetch->depth; i++)
        MST_TRY(mst_batch_init(&prefetch->slots[i].batch, prefetch->batches, MST_BATCH_ALL, err));
    return MST_OK;
}

static void free_slots(struct mst_prefetch *prefetch)
{
    for (size_t i = 0; i < prefetch->depth; i++)
        mst_batch_fini(&prefetch->slots[i].batch);
    free(prefetch->slots);
    pthread_cond_destroy(&prefetch->has_batch);
    pthread_cond_destroy(&prefetch->has_work);
    pthread_mutex_destroy(&prefetch->lock);
    free(prefetch);
}

mst_status mst_prefetch_new(const struct mst_batches *batches, size_t depth, enum mst_prefetch_mode mode,
                            struct mst_prefetch **out, struct mst_error *err)
{
    *out = NULL;
    if (depth < 1 || depth > MST_PREFETCH_DEPTH_MAX)
        return mst_fail(err, MST_INVALID_ARGUMENT, "a prefetch depth of %zu; it must be from 1 to %d", depth,
                        MST_PREFETCH_DEPTH_MAX);
    struct mst_prefetch *prefetch = mst_alloc(sizeof *prefetch);
    prefetch->batches = batches;
    prefetch->depth = depth;
    prefetch->mode = mode;
    pthread_mutex_init(&prefetch->lock, NULL);
    pthread_cond_init(&prefetch->has_work, NULL);
    pthread_cond_init(&prefetch->has_batch, NULL);
    mst_status status = alloc_slots(prefetch, err);
    if (status == MST_OK) {
        int error = pthread_create(&prefetch->thread, NULL, on_thread, prefetch);
        if (error != 0)
            status = mst_fail(err, MST_RESOURCE_EXHAUSTED, "no thread for reading data: %s", strerror(error));
    }
    if (status != MST_OK) {
        free_slots(prefetch);
        return status;
    }
    *out = prefetch;
    return MST_OK;
}

void mst_prefetch_free(struct mst_prefetch *prefetch)
{
    if (!prefetch)
        return;
    pthread_mutex_lock(&prefetch->lock);
    prefetch->is_stopping = true;
    pthread_cond_signal(&prefetch->has_work);
    pthread_mutex_unlock(&prefetch->lock);
    pthread_join(prefetch->thread, NULL);
    free_slots(prefetch);
}

size_t mst_prefetch_n_free(const struct mst_prefetch *prefetch)
{
    return prefetch->depth - (size_t)(prefetch->requested - prefetch->released);
}

size_t mst_prefetch_n_pending(const struct mst_prefetch *prefetch)
{
    return (size_t)(prefetch->requested - prefetch->taken);
}

void mst_prefetch_request(struct mst_prefetch *prefetch, uint64_t epoch, uint64_t number)
{
    MST_ASSERT(mst_prefetch_n_free(prefetch) > 0);
    struct mst_batch *batch = &prefetch->slots[prefetch->requested % prefetch->depth].batch;
    batch->epoch = epoch;
    batch->number = number;
    pthread_mutex_lock(&prefetch->lock);
    prefetch->requested++;
    // The thread sleeps only when it has gathered all; it has then one to do, and no second signal is needed.
    if (prefetch->mode == MST_PREFETCH_THREAD && prefetch->requested - prefetch->gathered == 1)
        pthread_cond_signal(&prefetch->has_work);
    pthread_mutex_unlock(&prefetch->lock);
}

mst_status mst_prefetch_take(struct mst_prefetch *prefetch, const struct mst_batch **out, struct mst_error *err)
{
    MST_ASSERT(mst_prefetch_n_pending(prefetch) > 0);
    struct slot *slot = &prefetch->slots[prefetch->taken % prefetch->depth];
    if (prefetch->mode == MST_PREFETCH_INLINE) {
        gather(prefetch, slot);
        prefetch->gathered++;
    } else {
        pthread_mutex_lock(&prefetch->lock);
        while (prefetch->gathered <= prefetch->taken)
            pthread_cond_wait(&prefetch->has_batch, &prefetch->lock);
        pthread_mutex_unlock(&prefetch->lock);
    }
    prefetch->taken++;
    *out = &slot->batch;
    if (slot->status != MST_OK && err)
        *err = slot->error;
    return slot->status;
}

void mst_prefetch_release(struct mst_prefetch *prefetch)
{
    MST_ASSERT(prefetch->released < prefetch->taken);
    prefetch->released++;
}

void mst_prefetch_drop(struct mst_prefetch *prefetch)
{
    pthread_mutex_lock(&prefetch->lock);
    // Nothing new is begun once requested stands where the thread is; then that one batch is waited for.
    uint64_t begun = prefetch->gathered + (prefetch->is_gathering ? 1 : 0);
    if (prefetch->requested > begun)
        prefetch->requested = begun > prefetch->taken ? begun : prefetch->taken;
    while (prefetch->is_gathering)
        pthread_cond_wait(&prefetch->has_batch, &prefetch->lock);
    // What is gathered and not taken is forgotten by stepping back: its slots are free again.
    prefetch->requested = prefetch->gathered = prefetch->taken;
    pthread_mutex_unlock(&prefetch->lock);
}
