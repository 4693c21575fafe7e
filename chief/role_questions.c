// Who is primary of what, for workers and evaluators: told with the map, and again whenever it has changed. A question
// for newer roles is kept until there are some; a peer that asks anew takes its older question back.
#include "chief/chief_private.h"

#include "base/error.h"

mst_status mst_chief_map_roles(const struct mst_chief *chief, struct mst_arena *arena, struct mst_msg_map *map)
{
    if (!chief->roles)
        return MST_OK;
    void *memory;
    MST_TRY(mst_arena_alloc_array(arena, chief->config.n_ps, sizeof(uint64_t), &memory));
    uint64_t *threads = memory;
    for (size_t i = 0; i < chief->config.n_ps; i++)
        threads[i] = chief->links[i].n_threads;
    map->n_ps_threads = chief->config.n_ps;
    map->ps_threads = threads;
    return mst_roles_view(chief->roles, arena, &map->roles);
}

bool mst_chief_try_roles(const struct mst_chief *chief, const struct parked *parked, const struct mst_message *message)
{
    if (!chief->roles || !mst_epoch_is_newer(&chief->roles->epoch, &parked->epoch))
        return false;
    struct mst_arena arena;
    struct mst_msg_roles roles;
    struct mst_buf meta;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    mst_status status = mst_roles_view(chief->roles, &arena, &roles);
    if (status == MST_OK)
        status = mst_msg_roles_encode(&roles, &meta);
    if (status == MST_OK)
        mst_conn_reply(parked->from->conn, message, mst_buf_view(&meta), NULL);
    else
        mst_conn_reply_error(parked->from->conn, message, status, "the roles do not fit a frame");
    mst_buf_fini(&meta);
    mst_arena_fini(&arena);
    return true;
}

void mst_chief_on_watch_roles(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct worker_conn *from = arg;
    struct mst_arena arena;
    struct mst_msg_roles_question question;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_roles_question_decode(message->meta, &arena, &question, &err);
    mst_arena_fini(&arena);
    if (status != MST_OK) {
        mst_conn_reply_error(conn, message, status, "%s", err.text);
        return;
    }
    mst_chief_park(from, message, NULL)->epoch = (struct mst_epoch){question.term, question.n};
    mst_chief_answer_parked(from->chief);
}
