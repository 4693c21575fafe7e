// The chief keeps the question without a limit; one that was kept for long is put anew, so that a chief which forgot it
// is found out.
#include "worker/role_watch.h"

#include "base/error.h"
#include "base/log.h"

enum {
    WATCH_CALL_MS = 20000,
    AGAIN_MS = 1000, // after an answer that is none
};

static void ask(struct mst_role_watch *watch);

static void ask_later(struct mst_role_watch *watch, const char *why)
{
    MST_LOG(DEBUG, "worker", "roles unanswered", "reason=\"%s\"", why);
    mst_timer_start_once(&watch->again, AGAIN_MS);
}

static mst_status take(struct mst_role_watch *watch, const struct mst_msg_roles *message, struct mst_error *err)
{
    struct mst_epoch epoch = {message->term, message->n};
    if (!mst_epoch_is_newer(&epoch, &watch->roles.epoch))
        return mst_fail(err, MST_INTERNAL, "the chief answered with roles that are not newer");
    return mst_role_watch_take(watch, message, err);
}

static void on_answer(void *arg, const struct mst_reply *reply)
{
    struct mst_role_watch *watch = arg;
    watch->is_asking = false;
    if (!watch->chief)
        return;
    if (reply->status == MST_DEADLINE_EXCEEDED) {
        ask(watch);
        return;
    }
    if (reply->status != MST_OK) { // the link is made anew, and then it is asked; or the chief has no answer yet
        ask_later(watch, reply->text);
        return;
    }
    struct mst_arena arena;
    struct mst_msg_roles message;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_roles_decode(reply->message->meta, &arena, &message, &err);
    if (status == MST_OK)
        status = take(watch, &message, &err);
    mst_arena_fini(&arena);
    if (status != MST_OK) {
        ask_later(watch, err.text);
        return;
    }
    MST_LOG(INFO, "worker", "roles changed", "epoch=%llu.%llu", (unsigned long long)watch->roles.epoch.term,
            (unsigned long long)watch->roles.epoch.n);
    watch->on_roles(watch->arg, &watch->roles);
    ask(watch);
}

static void ask(struct mst_role_watch *watch)
{
    if (!watch->chief || watch->is_asking || !mst_peer_is_up(watch->chief))
        return;
    struct mst_msg_roles_question question = {.term = watch->roles.epoch.term, .n = watch->roles.epoch.n};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    mst_status status = mst_msg_roles_question_encode(&question, &meta);
    MST_ASSERT(status == MST_OK); // two numbers
    struct mst_call call = {.method = MST_METHOD_WATCH_ROLES,
                            .meta = mst_buf_view(&meta),
                            .deadline_ms = WATCH_CALL_MS,
                            .on_reply = on_answer,
                            .arg = watch};
    watch->is_asking = true;
    mst_peer_call(watch->chief, &call);
    mst_buf_fini(&meta);
}

static void on_again(void *arg)
{
    ask(arg);
}

void mst_role_watch_init(struct mst_role_watch *watch, struct mst_loop *loop,
                         void (*on_roles)(void *arg, const struct mst_roles *roles), void *arg)
{
    *watch = (struct mst_role_watch){.on_roles = on_roles, .arg = arg};
    mst_timer_init(&watch->again, loop, on_again, watch);
}

mst_status mst_role_watch_take(struct mst_role_watch *watch, const struct mst_msg_roles *message, struct mst_error *err)
{
    return mst_roles_take(&watch->roles, message, err);
}

void mst_role_watch_start(struct mst_role_watch *watch, struct mst_peer *chief)
{
    watch->chief = chief;
    ask(watch);
}

void mst_role_watch_up(struct mst_role_watch *watch)
{
    watch->is_asking = false; // a question of the old link was forgotten or has failed
    ask(watch);
}

void mst_role_watch_stop(struct mst_role_watch *watch)
{
    watch->chief = NULL;
    mst_timer_stop(&watch->again);
}

void mst_role_watch_fini(struct mst_role_watch *watch)
{
    mst_timer_fini(&watch->again);
    mst_roles_fini(&watch->roles);
    *watch = (struct mst_role_watch){0};
}
