// MAP once more, on a server that serves already: all copies of a group were lost, this server was made its primary,
// and the map says from where its values are read. Nothing is done in such a holding before. A map that brings nothing
// of the kind is answered at once: the chief's link broke after it had sent it.
#include "ps/ps_private.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"

#include <stdlib.h>

// On its way through the data threads, one after the other.
struct restore {
    struct late_call late;
    struct mst_msg_map map; // arrays in arena
    struct mst_arena arena;
    size_t next_thread;
    size_t n_restored;
    bool *is_restored; // by group
    mst_status status;
    struct mst_error err;
};

static void free_restore(void *arg)
{
    struct restore *restore = arg;
    mst_arena_fini(&restore->arena);
    free(restore->is_restored);
    free(restore);
}

static void on_restored(void *arg)
{
    struct restore *restore = arg;
    const struct mst_ps *ps = restore->late.ps;
    if (restore->status != MST_OK) {
        mst_ps_answer_error(&restore->late, restore->status, restore->err.text);
    } else {
        if (restore->n_restored > 0)
            MST_LOG(WARN, "ps", "group restored", "from=%s",
                    restore->map.restore_prefix[0] ? restore->map.restore_prefix : "initial values");
        for (size_t g = 0; g < ps->n_groups; g++)
            if (restore->is_restored[g] && ps->groups[g].rounds)
                mst_ps_rounds_restored(ps->groups[g].rounds);
        struct mst_msg_map_reply reply = {ps->map.term, ps->map.epoch, ps->n_bytes};
        MST_PS_ANSWER(&restore->late, map_reply, &reply);
    }
    free_restore(restore);
}

// What the bucket held goes with `from`. The fences of the map are in `from`.
static mst_status replace(struct mst_bucket *bucket, struct mst_bucket *from, struct mst_error *err)
{
    struct mst_bucket_content content = {from->current->floats, *from->slots, from->n_updates, from->current->counter};
    if (!mst_bucket_replace(bucket, &content))
        return mst_fail(err, MST_UNAVAILABLE, "bucket %u: every buffer is held; ask again", bucket->id);
    from->current->floats = content.floats;
    for (size_t s = 0; s < from->n_slots; s++)
        from->slots->slots[s] = content.slots.slots[s];
    struct mst_client_table clients = bucket->clients;
    bucket->clients = from->clients;
    from->clients = clients;
    return MST_OK;
}

static mst_status restore_holding(const struct restore *restore, struct mst_holding *holding, struct mst_error *err)
{
    const struct ps_group *group = mst_ps_group(restore->late.ps, holding->group);
    struct mst_holding *from;
    MST_TRY(mst_ps_build_holding(group, holding->home_thread, &restore->map, &from, err));
    mst_status status = from->n_buckets == holding->n_buckets
                            ? MST_OK
                            : mst_fail(err, MST_INVALID_ARGUMENT, "another map than the one that is served");
    for (size_t i = 0; i < holding->n_buckets && status == MST_OK; i++)
        status = from->buckets[i]->n_floats == holding->buckets[i]->n_floats
                     ? replace(holding->buckets[i], from->buckets[i], err)
                     : mst_fail(err, MST_INVALID_ARGUMENT, "another map than the one that is served");
    mst_holding_free(from);
    if (status == MST_OK)
        mst_holding_restored(holding);
    return status;
}

static void visit_thread(void *arg)
{
    struct restore *restore = arg;
    const struct mst_ps *ps = restore->late.ps;
    struct mst_holding *holding = mst_data_thread_holdings(ps->threads[restore->next_thread++]);
    for (; holding && restore->status == MST_OK; holding = holding->next)
        if (mst_holding_awaits_values(holding) && mst_holding_status(holding).role == MST_REPLICA_PRIMARY) {
            restore->status = restore_holding(restore, holding, &restore->err);
            restore->n_restored++;
            restore->is_restored[mst_ps_group(ps, holding->group) - ps->groups] = true;
        }
    bool goes_on = restore->status == MST_OK && restore->next_thread < ps->config.n_data_loops;
    mst_loop_post_or_drop(goes_on ? ps->config.data_loops[restore->next_thread] : ps->config.control,
                          goes_on ? visit_thread : on_restored, free_restore, restore);
}

void mst_ps_restore(struct control_conn *control, const struct mst_message *message)
{
    struct restore *restore = mst_alloc(sizeof *restore);
    struct mst_error err;
    *restore = (struct restore){.late = mst_ps_late_call(control, message)};
    restore->is_restored = mst_alloc_array(control->ps->n_groups, sizeof *restore->is_restored);
    mst_arena_init(&restore->arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_map_decode(message->meta, &restore->arena, &restore->map, &err);
    if (status != MST_OK) {
        mst_conn_reply_error(control->conn, message, status, "%s", err.text);
        free_restore(restore);
        return;
    }
    mst_loop_post_or_drop(control->ps->config.data_loops[0], visit_thread, free_restore, restore);
}
