// In place or into a spare buffer: in place touches a third less memory (1.7 x faster measured), but only when no reply
// is still being sent from the current version. The slots are nobody's but the optimizer's, so they are always updated
// in place.
#include "ps/bucket.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static mst_status alloc_floats(size_t n, uint32_t id, float **out, struct mst_error *err)
{
    void *memory;
    *out = NULL;
    if (mst_try_alloc(n * sizeof(float), &memory) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "bucket %u: %zu bytes of parameters could not be allocated", id,
                        n * sizeof(float));
    *out = memory;
    return MST_OK;
}

static mst_status alloc_buffers(struct mst_bucket *bucket, struct mst_error *err)
{
    // The other two versions are made when they are first needed: a PS with one worker seldom needs the third.
    MST_TRY(alloc_floats(bucket->n_floats, bucket->id, &bucket->versions[0].floats, err));
    for (size_t s = 0; s < bucket->n_slots; s++) {
        float *slot;
        MST_TRY(alloc_floats(bucket->n_floats, bucket->id, &slot, err));
        bucket->slots[s] = slot;
        float initial = mst_optimizer_slot_initial(bucket->optimizer, s);
        for (size_t i = 0; slot && initial != 0 && i < bucket->n_floats; i++)
            slot[i] = initial;
    }
    return MST_OK;
}

mst_status mst_bucket_new(uint32_t id, const struct mst_piece *pieces, size_t n_pieces,
                          const struct mst_optimizer *optimizer, struct mst_bucket **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_bucket *bucket = mst_alloc(sizeof *bucket);
    bucket->id = id;
    bucket->n_pieces = n_pieces;
    bucket->pieces = mst_alloc_array(n_pieces, sizeof *pieces);
    memcpy(bucket->pieces, pieces, n_pieces * sizeof *pieces);
    for (size_t i = 0; i < n_pieces; i++)
        bucket->n_floats += pieces[i].n_rows * pieces[i].row_floats;
    bucket->optimizer = optimizer;
    bucket->n_slots = mst_optimizer_n_slots(optimizer);
    MST_ASSERT(bucket->n_slots <= MST_OPTIMIZER_MAX_SLOTS);
    for (size_t v = 0; v < MST_BUCKET_VERSIONS; v++)
        bucket->versions[v].bucket = bucket;
    mst_client_table_init(&bucket->clients);
    mst_status status = alloc_buffers(bucket, err);
    if (status != MST_OK) {
        mst_bucket_free(bucket);
        return status;
    }
    bucket->current = &bucket->versions[0];
    bucket->current->n_refs = 1; // the bucket's own
    *out = bucket;
    return MST_OK;
}

void mst_bucket_free(struct mst_bucket *bucket)
{
    if (!bucket)
        return;
    for (size_t v = 0; v < MST_BUCKET_VERSIONS; v++)
        free(bucket->versions[v].floats);
    for (size_t s = 0; s < bucket->n_slots; s++)
        free(bucket->slots[s]);
    mst_client_table_fini(&bucket->clients);
    free(bucket->pieces);
    free(bucket);
}

size_t mst_bucket_bytes(const struct mst_bucket *bucket)
{
    return bucket->n_floats * sizeof(float);
}

static struct mst_version *ref_current(struct mst_bucket *bucket)
{
    struct mst_version *version = bucket->current;
    version->n_refs++;
    version->part = (struct iovec){version->floats, mst_bucket_bytes(bucket)};
    return version;
}

void mst_version_unref(struct mst_version *version)
{
    MST_ASSERT(version->n_refs > 0);
    struct mst_bucket *bucket = version->bucket;
    version->n_refs--;
    bool is_free = version->n_refs == (version == bucket->current ? 1u : 0u);
    if (is_free && bucket->on_free)
        bucket->on_free(bucket->on_free_arg, bucket);
}

// Where the next version is written: the current buffer if nobody else holds it, else a spare one; NULL if all are
// held.
static struct mst_version *next_version(struct mst_bucket *bucket)
{
    if (bucket->current->n_refs == 1)
        return bucket->current;
    for (size_t v = 0; v < MST_BUCKET_VERSIONS; v++) {
        struct mst_version *version = &bucket->versions[v];
        if (version->n_refs > 0)
            continue;
        if (!version->floats && alloc_floats(bucket->n_floats, bucket->id, &version->floats, NULL) != MST_OK)
            continue; // memory is short: wait for a buffer, as if this one were held
        return version;
    }
    return NULL;
}

static bool apply_run(struct mst_bucket *bucket, struct mst_version *next, size_t at, size_t n, const float *gradient)
{
    float *slots[MST_OPTIMIZER_MAX_SLOTS] = {0};
    for (size_t s = 0; s < bucket->n_slots; s++)
        slots[s] = bucket->slots[s] + at;
    return mst_optimizer_apply(bucket->optimizer, bucket->n_updates, n, gradient, bucket->current->floats + at,
                               next->floats + at, slots);
}

static bool apply(struct mst_bucket *bucket, struct mst_version *next, const struct mst_gradients *gradients)
{
    if (gradients->staged)
        return apply_run(bucket, next, 0, bucket->n_floats, gradients->staged);
    bool is_finite = true;
    size_t at = 0;
    for (size_t i = 0; i < bucket->n_pieces; i++) {
        size_t n = bucket->pieces[i].n_rows * bucket->pieces[i].row_floats;
        is_finite = apply_run(bucket, next, at, n, gradients->pieces[i]) && is_finite;
        at += n;
    }
    return is_finite;
}

static void publish(struct mst_bucket *bucket, struct mst_version *next)
{
    bucket->n_updates++;
    if (next != bucket->current) {
        bucket->current->n_refs--; // no on_free: whoever holds it still has it
        next->n_refs = 1;
        bucket->current = next;
    }
    bucket->current->counter = bucket->n_updates;
}

void mst_bucket_push(struct mst_bucket *bucket, const struct mst_bucket_push *push,
                     const struct mst_gradients *gradients, struct mst_push_result *result)
{
    *result = (struct mst_push_result){.outcome = MST_PUSH_REFUSED, .is_finite = true};
    result->verdict = mst_client_table_admit(&bucket->clients, push->worker, push->number, push->step);
    if (result->verdict != MST_PUSH_APPLY && result->verdict != MST_PUSH_REPEAT)
        return;
    struct mst_client_row row = *mst_client_table_row(&bucket->clients, push->worker);
    if (result->verdict == MST_PUSH_APPLY) {
        struct mst_version *next = next_version(bucket);
        if (!next) {
            result->outcome = MST_PUSH_LATER;
            return;
        }
        uint64_t seen = row.version;
        result->staleness = bucket->n_updates > seen ? bucket->n_updates - seen : 0;
        result->is_finite = apply(bucket, next, gradients);
        publish(bucket, next);
        row = (struct mst_client_row){.number = push->number, .step = push->step, .lease = push->lease};
        row.offset = push->offset;
    }
    row.version = bucket->n_updates;
    mst_client_table_record(&bucket->clients, push->worker, &row);
    result->outcome = MST_PUSH_DONE;
    result->version = ref_current(bucket);
}

struct mst_version *mst_bucket_pull(struct mst_bucket *bucket, uint32_t worker, uint64_t number)
{
    struct mst_client_row *row = worker == MST_NO_WORKER ? NULL : mst_client_table_row(&bucket->clients, worker);
    if (worker != MST_NO_WORKER && (!row || row->number < number)) {
        struct mst_client_row fresh = {.number = number};
        mst_client_table_record(&bucket->clients, worker, &fresh);
        row = mst_client_table_row(&bucket->clients, worker);
    }
    if (row && row->number == number)
        row->version = bucket->n_updates;
    return ref_current(bucket);
}
