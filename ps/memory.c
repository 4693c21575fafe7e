// What a PS keeps for the chief: its state (STATE), for the chief that comes after it to read (RECALL). The bytes are
// the chief's own affair (chief/chief_state.h).
#include "ps/ps_private.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

static mst_status keep(struct mst_ps *ps, const struct mst_msg_state *state, struct mst_error *err)
{
    MST_TRY(mst_ps_check_term(ps, state->term, err));
    bool is_newer = state->term > ps->memory_term || (state->term == ps->memory_term && state->n > ps->memory_n);
    if (!is_newer)
        return MST_OK;
    mst_buf_reset(&ps->memory);
    mst_status status = mst_buf_append(&ps->memory, state->data.data, state->data.len);
    if (status != MST_OK)
        return mst_fail(err, status, "ps-%u has no memory for the %zu bytes of the chief's state",
                        ps->config.identity->index, state->data.len);
    ps->memory_term = state->term;
    ps->memory_n = state->n;
    return MST_OK;
}

void mst_ps_on_state(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct mst_ps *ps = ((const struct control_conn *)arg)->ps;
    struct mst_arena arena;
    struct mst_msg_state state;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_state_decode(message->meta, &arena, &state, &err);
    if (status == MST_OK)
        status = keep(ps, &state, &err);
    if (status != MST_OK) {
        mst_conn_reply_error(conn, message, status, "%s", err.text);
    } else {
        ps->chief_heard_ms = mst_clock_monotonic_ms();
        struct mst_msg_state_reply reply = {ps->memory_term, ps->memory_n};
        struct mst_buf meta;
        mst_buf_init(&meta, MST_FRAME_META_MAX);
        if (mst_msg_state_reply_encode(&reply, &meta) == MST_OK)
            mst_conn_reply(conn, message, mst_buf_view(&meta), NULL);
        mst_buf_fini(&meta);
    }
    mst_arena_fini(&arena);
}

// From now on lower terms are refused.
static mst_status claim(struct mst_ps *ps, const struct mst_conn *conn, uint64_t term, struct mst_error *err)
{
    MST_TRY(mst_ps_check_term(ps, term, err));
    if (conn != ps->chief || (term == ps->chief_term && ps->term_incarnation != ps->chief_incarnation))
        return mst_fail(err, MST_ABORTED, "term %llu was claimed by another chief at ps-%u", (unsigned long long)term,
                        ps->config.identity->index);
    if (term > ps->chief_term)
        mst_ps_give_cuts_up(ps, "another chief began");
    ps->chief_term = term;
    ps->term_incarnation = ps->chief_incarnation;
    return MST_OK;
}

static void answer_recall(const struct mst_ps *ps, struct mst_conn *conn, const struct mst_message *message)
{
    struct mst_arena arena;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    struct mst_msg_recall_reply reply = {.term = ps->memory_term,
                                         .n = ps->memory_n,
                                         .data = mst_buf_view(&ps->memory),
                                         .map_term = ps->map.term,
                                         .map_epoch = ps->map.epoch,
                                         .is_serving = ps->phase == PS_SERVING};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    mst_status status = MST_OK;
    for (size_t g = 0; status == MST_OK && g < ps->n_groups; g++)
        if (ps->groups[g].rounds)
            status = mst_ps_rounds_close(ps->groups[g].rounds, &arena, &reply.has_close, &reply.close);
    if (status == MST_OK && mst_ps_has_roles(ps)) {
        reply.is_acting = mst_ps_is_counting(ps);
        status = mst_roles_view(mst_ps_roles_stored(ps), &arena, &reply.roles);
    }
    if (status == MST_OK)
        status = mst_msg_recall_reply_encode(&reply, &meta);
    if (status == MST_OK)
        mst_conn_reply(conn, message, mst_buf_view(&meta), NULL);
    else
        mst_conn_reply_error(conn, message, status, "what the chief left here does not fit a frame");
    mst_buf_fini(&meta);
    mst_arena_fini(&arena);
}

void mst_ps_on_recall(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct mst_ps *ps = ((const struct control_conn *)arg)->ps;
    struct mst_arena arena;
    struct mst_msg_recall recall;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_recall_decode(message->meta, &arena, &recall, &err);
    mst_arena_fini(&arena); // it is a number
    if (status == MST_OK)
        status = claim(ps, conn, recall.term, &err);
    if (status != MST_OK) {
        mst_conn_reply_error(conn, message, status, "%s", err.text);
        return;
    }
    MST_LOG(INFO, "ps", "chief recalls", "term=%llu state=%llu.%llu", (unsigned long long)recall.term,
            (unsigned long long)ps->memory_term, (unsigned long long)ps->memory_n);
    answer_recall(ps, conn, message);
}
