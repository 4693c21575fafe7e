// Buffers that pushes are read into, and records of pushes on their way: both go round, so a step allocates nothing.
#include "ps/data_thread_private.h"

#include "base/alloc.h"

#include <stdlib.h>

static bool is_awaited(const struct mst_data_thread *thread)
{
    for (const struct mst_holding *holding = thread->holdings; holding; holding = holding->next)
        if (holding->gate.phase == MST_CUT_GATE_ADMITTING)
            return true;
    return false;
}

static void drop_staging(struct mst_data_thread *thread, struct staging *staging)
{
    thread->n_staging--;
    free(staging->floats);
    free(staging);
}

struct staging *mst_data_thread_take_staging(struct mst_data_thread *thread)
{
    struct staging *staging;
    while ((staging = thread->free_staging)) {
        thread->free_staging = staging->next;
        if (staging->bytes >= thread->staging_bytes)
            return staging;
        drop_staging(thread, staging); // of before there was a holding with larger buckets
    }
    // What a cut waits for may come while all buffers hold pushes that wait for the cut.
    if (thread->n_staging >= thread->n_staging_max && !is_awaited(thread))
        return NULL;
    void *floats;
    if (mst_try_alloc(thread->staging_bytes, &floats) != MST_OK)
        return NULL;
    staging = mst_alloc(sizeof *staging);
    staging->bytes = thread->staging_bytes;
    staging->floats = floats;
    thread->n_staging++;
    return staging;
}

void mst_data_thread_give_staging(struct mst_data_thread *thread, struct staging *staging)
{
    if (thread->n_staging > thread->n_staging_max) {
        drop_staging(thread, staging);
        return;
    }
    staging->next = thread->free_staging;
    thread->free_staging = staging;
    mst_data_thread_resume_one(thread);
}

void mst_data_thread_resume_one(const struct mst_data_thread *thread)
{
    for (struct client *client = thread->clients; client; client = client->next)
        if (mst_conn_is_parked(client->conn) && !client->is_held) {
            mst_conn_resume(client->conn);
            return; // one buffer, one connection
        }
}

struct pending_push *mst_data_thread_take_push(struct mst_data_thread *thread)
{
    struct pending_push *push = thread->free_pushes;
    if (push)
        thread->free_pushes = push->next;
    else
        push = mst_alloc(sizeof *push);
    *push = (struct pending_push){0};
    return push;
}

void mst_data_thread_give_push(struct mst_data_thread *thread, struct pending_push *push)
{
    if (push->staging)
        mst_data_thread_give_staging(thread, push->staging);
    push->next = thread->free_pushes;
    thread->free_pushes = push;
}
