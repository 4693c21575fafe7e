// FENCE: whom to refuse. With replicas an operation of every holding of the group, which is answered when those that
// follow have it. Another one may have become primary meanwhile; then it is for that one to answer.
#include "ps/ps_private.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "wire/worker_numbers.h"

#include <stdio.h>
#include <stdlib.h>

struct ps_fence {
    struct ps_fence *next;
    struct late_call late;
    struct mst_msg_fence fence;
    const struct ps_group *group;
    size_t n_under_way;
    mst_status status;
    struct mst_error err;
    struct fence_part {
        struct ps_fence *fence;
        struct mst_holding *holding;
        struct mst_holding_fencing fencing;
        struct mst_msg_client_row *rows;
        size_t n_rows;
        mst_status status;
        char text[128];
    } parts[]; // by home thread
};

static void free_fence(struct ps_fence *fence)
{
    for (size_t t = 0; t < fence->group->n_holdings; t++)
        free(fence->parts[t].rows);
    free(fence);
}

void mst_ps_fences_free(struct mst_ps *ps)
{
    while (ps->fences) {
        struct ps_fence *fence = ps->fences;
        ps->fences = fence->next;
        free_fence(fence);
    }
}

static void answer(struct ps_fence *fence)
{
    size_t n_rows = 0;
    for (size_t t = 0; t < fence->group->n_holdings; t++)
        n_rows += fence->parts[t].n_rows;
    struct mst_msg_client_row *rows = mst_alloc_array(n_rows, sizeof *rows);
    struct mst_msg_fence_reply reply = {fence->group->index, 0, rows};
    for (size_t t = 0; t < fence->group->n_holdings; t++)
        for (size_t i = 0; i < fence->parts[t].n_rows; i++)
            rows[reply.n_rows++] = fence->parts[t].rows[i];
    if (fence->status == MST_OK) {
        MST_LOG(INFO, "ps", "worker fenced", "worker=%u number=%llu", fence->fence.worker,
                (unsigned long long)fence->fence.number);
        MST_PS_ANSWER(&fence->late, fence_reply, &reply);
    } else {
        mst_ps_answer_error(&fence->late, fence->status, fence->err.text);
    }
    free(rows);
    struct ps_fence **at = &fence->late.ps->fences;
    while (*at != fence)
        at = &(*at)->next;
    *at = fence->next;
    free_fence(fence);
}

static void on_part_done(void *arg)
{
    struct fence_part *part = arg;
    struct ps_fence *fence = part->fence;
    if (part->status != MST_OK) // the chief goes to whoever is primary
        fence->status = mst_fail(&fence->err, MST_UNAVAILABLE, "%s", part->text);
    if (--fence->n_under_way == 0)
        answer(fence);
}

static void on_row(void *arg, const struct mst_bucket *bucket, const struct mst_client_row *row)
{
    struct fence_part *part = arg;
    part->rows = mst_realloc_array(part->rows, part->n_rows + 1, sizeof *part->rows);
    part->rows[part->n_rows++] = mst_client_row_message(bucket->id, part->fencing.worker, row);
}

static void on_done(void *arg, mst_status status, const char *text)
{
    struct fence_part *part = arg;
    part->status = status;
    snprintf(part->text, sizeof part->text, "%s", text);
    mst_loop_post(part->fence->late.ps->config.control, on_part_done, part);
}

static void begin(void *arg)
{
    struct fence_part *part = arg;
    part->fencing = (struct mst_holding_fencing){.worker = part->fence->fence.worker,
                                                 .number = part->fence->fence.number,
                                                 .on_row = on_row,
                                                 .on_done = on_done,
                                                 .arg = part};
    mst_holding_fence(part->holding, &part->fencing);
}

void mst_ps_on_fence(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct control_conn *control = arg;
    struct mst_msg_fence asked;
    struct ps_group *group;
    struct mst_error err;
    struct mst_arena arena;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_fence_decode(message->meta, &arena, &asked, &err);
    mst_arena_fini(&arena); // it holds no texts or arrays
    if (status == MST_OK)
        status = mst_ps_check_term(control->ps, asked.term, &err);
    if (status == MST_OK)
        status = mst_worker_number_check(asked.worker, asked.number, &err);
    if (status == MST_OK)
        status = mst_ps_find_group(control->ps, asked.group, &group, &err);
    if (status != MST_OK) {
        mst_conn_reply_error(conn, message, status, "%s", err.text);
        return;
    }
    struct ps_fence *fence = mst_alloc(sizeof *fence + group->n_holdings * sizeof fence->parts[0]);
    *fence = (struct ps_fence){.late = mst_ps_late_call(control, message), .fence = asked, .group = group};
    fence->n_under_way = group->n_holdings;
    fence->next = control->ps->fences;
    control->ps->fences = fence;
    for (size_t t = 0; t < group->n_holdings; t++) {
        fence->parts[t] = (struct fence_part){.fence = fence, .holding = group->holdings[t]};
        mst_loop_post(mst_ps_group_loop(group, t), begin, &fence->parts[t]);
    }
}
