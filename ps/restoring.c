// MAP once more, on a server that serves already: all copies of a group were lost, this server was made its primary,
// and the map says from where its values are read. Nothing is done in such a holding before. A map that brings nothing
// of the kind is answered at once: the chief's link broke after it had sent it.
//
// Other groups are served by the same data threads meanwhile. So a holding is found there, its values are read on the
// reader's thread into buckets of their own, and back on its data thread the two change what they hold; then the next.
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
    size_t thread;
    // The holding that is read: which one, and which time that it waits for values.
    const struct ps_group *group;
    uint32_t home_thread;
    uint64_t awaited;
    struct mst_holding *from; // its values, when they are read
    size_t n_restored;
    bool *is_restored; // by group
    mst_status status;
    struct mst_error err;
};

static void free_restore(void *arg)
{
    struct restore *restore = arg;
    mst_arena_fini(&restore->arena);
    mst_holding_free(restore->from);
    free(restore->is_restored);
    free(restore);
}

static void on_restored(void *arg)
{
    struct restore *restore = arg;
    struct mst_ps *ps = restore->late.ps;
    ps->is_restoring = false;
    if (restore->n_restored > 0)
        MST_LOG(WARN, "ps", "group restored", "from=%s",
                restore->map.restore_prefix[0] ? restore->map.restore_prefix : "initial values");
    for (size_t g = 0; g < ps->n_groups; g++)
        if (restore->is_restored[g] && ps->groups[g].rounds)
            mst_ps_rounds_restored(ps->groups[g].rounds);
    if (restore->status != MST_OK) {
        mst_ps_answer_error(&restore->late, restore->status, restore->err.text);
    } else {
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

static mst_status exchange(struct mst_holding *holding, const struct mst_holding *from, struct mst_error *err)
{
    mst_status status = from->n_buckets == holding->n_buckets
                            ? MST_OK
                            : mst_fail(err, MST_INVALID_ARGUMENT, "another map than the one that is served");
    for (size_t i = 0; i < holding->n_buckets && status == MST_OK; i++)
        status = from->buckets[i]->n_floats == holding->buckets[i]->n_floats
                     ? replace(holding->buckets[i], from->buckets[i], err)
                     : mst_fail(err, MST_INVALID_ARGUMENT, "another map than the one that is served");
    return status;
}

static bool awaits(const struct mst_holding *holding)
{
    return mst_holding_awaits_values(holding) && mst_holding_status(holding).role == MST_REPLICA_PRIMARY;
}

// What was read goes where it belongs, unless roles have changed: then the chief asks anew, perhaps somebody else.
static void put_in(struct restore *restore, struct mst_holding *holdings)
{
    uint32_t group = restore->group->index;
    struct mst_holding *holding = mst_holding_of(holdings, group, restore->home_thread);
    if (!holding || !awaits(holding) || mst_holding_awaits_values(holding) != restore->awaited)
        restore->status =
            mst_fail(&restore->err, MST_UNAVAILABLE,
                     "who has the shards of ps-%u changed while their values were read; ask again", group);
    else
        restore->status = exchange(holding, restore->from, &restore->err);
    mst_holding_free(restore->from);
    restore->from = NULL;
    if (restore->status != MST_OK)
        return;
    mst_holding_restored(holding);
    restore->n_restored++;
    restore->is_restored[restore->group - restore->late.ps->groups] = true;
}

static void visit_thread(void *arg);

static void post(struct mst_loop *loop, mst_loop_fn fn, struct restore *restore)
{
    mst_loop_post_or_drop(loop, fn, free_restore, restore);
}

// On the reader's thread.
static void read_values(void *arg)
{
    struct restore *restore = arg;
    const struct mst_ps_config *config = &restore->late.ps->config;
    restore->status =
        mst_ps_build_holding(restore->group, restore->home_thread, &restore->map, &restore->from, &restore->err);
    if (restore->status == MST_OK)
        post(config->data_loops[restore->thread], visit_thread, restore);
    else
        post(config->control, on_restored, restore);
}

static void visit_thread(void *arg)
{
    struct restore *restore = arg;
    struct mst_ps *ps = restore->late.ps;
    struct mst_holding *holding = mst_data_thread_holdings(ps->threads[restore->thread]);
    if (restore->from)
        put_in(restore, holding);
    while (holding && !awaits(holding))
        holding = holding->next;
    if (restore->status == MST_OK && holding) {
        restore->group = mst_ps_group(ps, holding->group);
        restore->home_thread = holding->home_thread;
        restore->awaited = mst_holding_awaits_values(holding);
        post(ps->reader, read_values, restore);
    } else if (restore->status == MST_OK && ++restore->thread < ps->config.n_data_loops) {
        post(ps->config.data_loops[restore->thread], visit_thread, restore);
    } else {
        post(ps->config.control, on_restored, restore);
    }
}

void mst_ps_restore(struct control_conn *control, const struct mst_message *message)
{
    struct mst_error err;
    if (control->ps->is_restoring) {
        mst_conn_reply_error(control->conn, message, MST_UNAVAILABLE,
                             "values of shards that were lost are being read; ask again");
        return;
    }
    struct restore *restore = mst_alloc(sizeof *restore);
    *restore = (struct restore){.late = mst_ps_late_call(control, message)};
    restore->is_restored = mst_alloc_array(control->ps->n_groups, sizeof *restore->is_restored);
    mst_arena_init(&restore->arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_map_decode(message->meta, &restore->arena, &restore->map, &err);
    if (status == MST_OK)
        status = mst_ps_check_map_workers(&restore->map, &err);
    if (status != MST_OK) {
        mst_conn_reply_error(control->conn, message, status, "%s", err.text);
        free_restore(restore);
        return;
    }
    control->ps->is_restoring = true;
    post(control->ps->config.data_loops[0], visit_thread, restore);
}
