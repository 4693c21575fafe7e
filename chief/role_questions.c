// Who is primary of what, for workers and evaluators: told with the map, and again whenever it has changed. A question
// for newer roles is kept until there are some; a peer that asks anew takes its older question back.
#include "chief/chief_private.h"

#include "base/error.h"

// Committed ones, as workers are to know them; NULL: there are none yet, or no replicas.
static const struct mst_roles *roles_of(const struct mst_chief *chief)
{
    return mst_chief_has_replicas(chief) ? mst_failover_committed(&chief->failover) : NULL;
}

mst_status mst_chief_map_roles(const struct mst_chief *chief, struct mst_arena *arena, struct mst_msg_map *map)
{
    const struct mst_roles *roles = roles_of(chief);
    if (!roles)
        return MST_OK;
    void *memory;
    MST_TRY(mst_arena_alloc_array(arena, chief->config.n_ps, sizeof(uint64_t), &memory));
    uint64_t *threads = memory;
    for (size_t i = 0; i < chief->config.n_ps; i++)
        threads[i] = chief->links[i].n_threads;
    map->n_ps_threads = chief->config.n_ps;
    map->ps_threads = threads;
    return mst_roles_view(roles, arena, &map->roles);
}

bool mst_chief_try_roles(const struct mst_chief *chief, const struct parked *parked, const struct mst_message *message)
{
    const struct mst_roles *roles = roles_of(chief);
    if (!roles || !mst_epoch_is_newer(&roles->epoch, &parked->epoch))
        return false;
    struct mst_arena arena;
    struct mst_msg_roles reply;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_roles_view(roles, &arena, &reply);
    if (status == MST_OK)
        MST_CHIEF_REPLY(parked->from->conn, message, roles, &reply);
    else
        mst_conn_reply_error(parked->from->conn, message, status, "the roles do not fit a frame");
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
