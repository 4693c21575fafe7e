// SAVE where storage is not shared, as a question: which parts this PS has.
#include "ps/ps_private.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "ckpt/local_part.h"

#include <stdlib.h>

struct part_question {
    struct late_call late;
    char *dir;
    struct mst_local_parts parts;
    char why[1024]; // of the newest that is not whole
    mst_status status;
    struct mst_error err;
};

char *mst_ps_part_dir(const char *dir, uint32_t index)
{
    return mst_text("%s/ps-%u", dir, index);
}

static void release(void *arg)
{
    struct part_question *question = arg;
    mst_local_parts_fini(&question->parts);
    free(question->dir);
    free(question);
}

static void on_listed(void *arg)
{
    struct part_question *question = arg;
    const struct mst_local_parts *parts = &question->parts;
    const struct mst_msg_save_reply reply = {.text = question->why,
                                             .n_steps = parts->n,
                                             .steps = parts->steps,
                                             .n_part_ids = parts->n,
                                             .part_ids = parts->ids};
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    if (question->status == MST_OK) {
        question->status = mst_msg_save_reply_encode(&reply, &meta);
        if (question->status != MST_OK)
            (void)mst_fail(&question->err, question->status, "%s holds more checkpoints than an answer names",
                           question->dir);
    }
    if (question->status == MST_OK) {
        mst_ps_answer(&question->late, &meta);
    } else {
        mst_buf_fini(&meta);
        mst_ps_answer_error(&question->late, question->status, question->err.text);
    }
    release(question);
}

static void on_passed(void *context, const char *prefix, const char *why)
{
    struct part_question *question = context;
    MST_LOG(WARN, "ps", "checkpoint passed over", "prefix=%s reason=\"%s\"", prefix, why);
    if (!question->why[0])
        snprintf(question->why, sizeof question->why, "%s", why);
}

// On the reader's thread.
static void list(void *arg)
{
    struct part_question *question = arg;
    question->status = mst_local_parts_list(question->dir, on_passed, question, &question->parts, &question->err);
    mst_loop_post_or_drop(question->late.ps->config.control, on_listed, release, question);
}

void mst_ps_on_part_question(struct control_conn *control, const struct mst_message *message,
                             const struct mst_msg_save *meta)
{
    struct part_question *question = mst_alloc(sizeof *question);
    question->late = mst_ps_late_call(control, message);
    question->dir = mst_ps_part_dir(meta->dir, meta->shard_id);
    mst_loop_post_or_drop(control->ps->reader, list, release, question);
}
