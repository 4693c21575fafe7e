// SAVE: this server's part of a checkpoint. One bucket after the other is taken from its data thread (its snapshot at
// the cut, or what is current) and written by a thread of its own from where it lies, while training goes on; then its
// data thread gets it back. With a limit the writer pauses between buckets. Where storage is not shared the part is
// committed here, and its variables, if they are wanted, are the body of the answer.
#include "ps/ps_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "ckpt/checkpoint_part.h"
#include "ckpt/local_part.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct ps_save {
    struct late_call late;
    struct ps_group *group;
    struct ps_save *next;    // waits until this one is over; control loop's
    atomic_bool is_given_up; // somebody else is to write now
    char *dir;
    uint64_t cut;
    uint64_t step;
    uint32_t shard;
    uint32_t n_shards;
    uint32_t thread;            // of the next bucket: its home thread
    size_t bucket;              // its place there
    struct mst_store_view view; // of the bucket that is written
    struct mst_checkpoint_part *part;
    uint64_t part_id; // checkpoint.local; else 0
    struct mst_local_part *own;
    uint64_t *keep;
    size_t n_keep;
    bool wants_values;
    struct iovec *sent; // that; as long as tensors
    uint64_t n_sent_bytes;
    struct mst_bundle_tensor *tensors; // that the answer names, each with a name of its own
    struct mst_bundle_piece *pieces;
    size_t n_named;
    uint64_t n_bytes;
    uint64_t n_updates; // the fewest of a bucket that is pushed
    uint64_t began_ns;
    struct mst_timer pause;    // writer's loop
    struct mst_loop_hook hook; // while it pauses
    mst_status status;
    struct mst_error err;
};

static void free_save(struct ps_save *save)
{
    if (!save)
        return;
    mst_store_view_abandon(&save->view);
    mst_checkpoint_part_abort(save->part);
    mst_local_part_abort(save->own);
    for (size_t i = 0; i < save->n_named; i++) {
        free((char *)(uintptr_t)save->tensors[i].name);
        if (save->sent)
            free(save->sent[i].iov_base);
    }
    free(save->sent);
    free(save->keep);
    free(save->tensors);
    free(save->pieces);
    free(save->dir);
    free(save);
}

// The process ends before the checkpoint does.
static void on_dropped(void *arg)
{
    struct ps_save *save = arg;
    if (save->group)
        save->group->save = NULL;
    free_save(save->next);
    free_save(save);
}

void mst_ps_save_forget(struct ps_save *save)
{
    save->group = NULL;
}

static void on_loop_freed(void *arg)
{
    struct ps_save *save = arg;
    mst_timer_fini(&save->pause);
    on_dropped(save);
}

static void post(struct mst_loop *loop, mst_loop_fn fn, struct ps_save *save)
{
    mst_loop_post_or_drop(loop, fn, on_dropped, save);
}

// ---- the answer, on the control loop ----

static void describe(const struct mst_bundle_tensor *tensor, const struct mst_bundle_piece *piece, uint64_t *numbers,
                     struct mst_msg_bundle_entry *out)
{
    uint64_t *dims = numbers;
    uint64_t *starts = dims + MST_SHAPE_MAX_RANK;
    uint64_t *lengths = starts + MST_SHAPE_MAX_RANK;
    for (size_t d = 0; d < tensor->shape.rank; d++) {
        dims[d] = tensor->shape.dims[d];
        starts[d] = d == 0 ? tensor->row_offset : 0;
        lengths[d] = d == 0 ? tensor->n_rows : tensor->shape.dims[d];
    }
    size_t n_slice = tensor->n_rows ? tensor->shape.rank : 0;
    *out = (struct mst_msg_bundle_entry){.name = tensor->name,
                                         .dtype = tensor->type,
                                         .n_dims = tensor->shape.rank,
                                         .dims = dims,
                                         .n_starts = n_slice,
                                         .starts = starts,
                                         .n_lengths = n_slice,
                                         .lengths = lengths,
                                         .offset = piece->offset_bytes,
                                         .size_bytes = piece->size_bytes,
                                         .crc32c = piece->crc32c};
}

static void on_sent(void *arg)
{
    free_save(arg);
}

// The save is released when its values are sent.
static void answer_with_values(struct ps_save *save, const struct mst_msg_save_reply *reply)
{
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    struct mst_body body = {.parts = save->sent, .n_parts = save->n_named, .release = on_sent, .arg = save};
    mst_status status = mst_msg_save_reply_encode(reply, &meta);
    if (status == MST_OK) {
        mst_ps_answer_with(&save->late, &meta, &body);
        return;
    }
    mst_buf_fini(&meta);
    mst_ps_answer_error(&save->late, status, "the answer does not fit a frame");
    free_save(save);
}

static void answer(struct ps_save *save)
{
    enum { NUMBERS = 3 * MST_SHAPE_MAX_RANK };
    struct mst_msg_bundle_entry *entries = mst_alloc_array(save->n_named, sizeof *entries);
    uint64_t *numbers = mst_alloc_array(save->n_named * NUMBERS, sizeof *numbers);
    for (size_t i = 0; i < save->n_named; i++)
        describe(&save->tensors[i], &save->pieces[i], numbers + i * NUMBERS, &entries[i]);
    struct mst_msg_save_reply reply = {.n_entries = save->n_named,
                                       .entries = entries,
                                       .iterations = save->n_updates,
                                       .is_finite = true,
                                       .bytes = save->n_bytes};
    if (save->wants_values && save->n_named) {
        answer_with_values(save, &reply);
    } else {
        MST_PS_ANSWER(&save->late, save_reply, &reply);
        free_save(save);
    }
    free(entries);
    free(numbers);
}

static void begin(void *arg);

static void on_over(void *arg)
{
    struct ps_save *save = arg;
    struct mst_ps *ps = save->late.ps;
    struct ps_save *next = save->next;
    save->group->save = next;
    mst_ps_trim_later(ps);
    if (save->status == MST_OK) {
        answer(save);
    } else {
        mst_ps_answer_error(&save->late, save->status, save->err.text);
        free_save(save);
    }
    if (next)
        post(ps->writer, begin, next);
}

// ---- writing, on the writer's loop ----

static void take_next(void *arg);
static void ask_next(struct ps_save *save);

// The answer names the value.
static void name_value(struct ps_save *save, const struct mst_checkpoint_value *value, struct mst_bundle_piece piece)
{
    size_t n = save->n_named + 1;
    save->tensors = mst_realloc_array(save->tensors, n, sizeof *save->tensors);
    save->pieces = mst_realloc_array(save->pieces, n, sizeof *save->pieces);
    save->tensors[save->n_named] = value->tensor;
    save->tensors[save->n_named].name = mst_strdup(value->tensor.name);
    save->pieces[save->n_named++] = piece;
}

static bool is_variable(const struct mst_model *model, const char *name)
{
    for (size_t v = 0; v < mst_model_n_variables(model); v++)
        if (strcmp(mst_model_variable(model, v)->name, name) == 0)
            return true;
    return false;
}

// The answer brings it, as a copy: the bucket is let go before that.
static mst_status keep_value(struct ps_save *save, const struct mst_checkpoint_value *value, uint64_t n_bytes)
{
    void *bytes;
    if (n_bytes > MST_FRAME_BODY_MAX - save->n_sent_bytes || mst_try_alloc((size_t)n_bytes, &bytes) != MST_OK)
        return mst_fail(&save->err, MST_RESOURCE_EXHAUSTED,
                        "the chief wants the variables of ps-%u for the trained model, and there is no memory for "
                        "them, or they are more than %llu bytes",
                        save->late.ps->config.identity->index, (unsigned long long)MST_FRAME_BODY_MAX);
    memcpy(bytes, value->data, (size_t)n_bytes);
    save->sent = mst_realloc_array(save->sent, save->n_named + 1, sizeof *save->sent);
    save->sent[save->n_named] = (struct iovec){bytes, (size_t)n_bytes};
    uint32_t crc32c = mst_crc32c_mask(mst_crc32c(bytes, (size_t)n_bytes));
    name_value(save, value, (struct mst_bundle_piece){save->n_sent_bytes, n_bytes, crc32c});
    save->n_sent_bytes += n_bytes;
    return MST_OK;
}

static mst_status write_own_value(struct ps_save *save, const struct mst_checkpoint_value *value)
{
    uint64_t n_bytes;
    MST_TRY(mst_local_part_add(save->own, value, &save->err));
    MST_TRY(mst_bundle_tensor_bytes(&value->tensor, &n_bytes, &save->err));
    save->n_bytes += n_bytes;
    if (save->wants_values && is_variable(save->late.ps->config.model, value->tensor.name))
        return keep_value(save, value, n_bytes);
    return MST_OK;
}

static mst_status write_value(struct ps_save *save, const struct mst_checkpoint_value *value)
{
    struct mst_bundle_piece piece;
    if (save->own)
        return write_own_value(save, value);
    MST_TRY(mst_checkpoint_part_add(save->part, value, &piece, &save->err));
    name_value(save, value, piece);
    save->n_bytes += piece.size_bytes;
    return MST_OK;
}

static mst_status write_view(struct ps_save *save)
{
    for (size_t i = 0; i < save->view.n_values; i++)
        MST_TRY(write_value(save, &save->view.values[i]));
    if (save->n_updates > save->view.n_updates)
        save->n_updates = save->view.n_updates;
    return MST_OK;
}

// How long the limit wants the writer to wait before the next bucket.
static uint64_t pause_ms(const struct ps_save *save)
{
    uint64_t limit = save->late.ps->config.save_bytes_per_second;
    if (limit == 0)
        return 0;
    double due_ms = (double)save->n_bytes / (double)limit * 1e3;
    double spent_ms = (double)(mst_clock_monotonic_ns() - save->began_ns) * 1e-6;
    return due_ms > spent_ms ? (uint64_t)(due_ms - spent_ms) : 0;
}

static void on_pause_over(void *arg)
{
    struct ps_save *save = arg;
    mst_loop_hook_remove(&save->hook);
    mst_timer_fini(&save->pause);
    ask_next(save);
}

static void write_bucket(void *arg)
{
    struct ps_save *save = arg;
    save->status = write_view(save);
    uint64_t ms = pause_ms(save);
    if (save->status != MST_OK) {
        ask_next(save); // the data thread gets the bucket back
    } else if (ms == 0) {
        ask_next(save);
    } else {
        save->hook = (struct mst_loop_hook){.on_free = on_loop_freed, .arg = save};
        mst_loop_hook_add(save->late.ps->writer, &save->hook);
        mst_timer_init(&save->pause, save->late.ps->writer, on_pause_over, save);
        mst_timer_start_once(&save->pause, ms);
    }
}

static void finish(void *arg)
{
    struct ps_save *save = arg;
    if (save->own)
        save->status = mst_local_part_commit(save->own, save->keep, save->n_keep, &save->err);
    else
        save->status = mst_checkpoint_part_close(save->part, &save->err);
    save->own = NULL;
    save->part = NULL;
    post(save->late.ps->config.control, on_over, save);
}

static void ask_next(struct ps_save *save)
{
    if (save->thread < save->group->n_holdings)
        post(mst_ps_group_loop(save->group, save->thread), take_next, save);
    else
        finish(save);
}

static void begin(void *arg)
{
    struct ps_save *save = arg;
    const struct mst_checkpoint_attempt attempt = {save->dir, save->step, save->n_shards, save->cut};
    save->began_ns = mst_clock_monotonic_ns();
    if (save->part_id)
        save->status = mst_local_part_new(save->dir, save->step, save->part_id, &save->own, &save->err);
    else
        save->status = mst_checkpoint_part_new(&attempt, save->shard, &save->part, &save->err);
    if (save->status == MST_OK)
        ask_next(save);
    else
        post(save->late.ps->config.control, on_over, save);
}

// ---- taking, on the bucket's data loop ----

static void take_next(void *arg)
{
    struct ps_save *save = arg;
    struct mst_ps *ps = save->late.ps;
    const struct mst_holding *holding = save->group->holdings[save->thread];
    mst_store_view_fini(&save->view); // of the bucket before, which is of this thread too
    if (save->status == MST_OK && atomic_load_explicit(&save->is_given_up, memory_order_relaxed)) // it guards no data
        save->status = mst_fail(&save->err, MST_UNAVAILABLE, "another chief wants a checkpoint");
    if (save->status != MST_OK) {
        post(ps->config.control, on_over, save);
        return;
    }
    if (save->bucket == holding->n_buckets) {
        save->thread++;
        save->bucket = 0;
        bool is_last = save->thread == save->group->n_holdings;
        post(is_last ? ps->writer : mst_ps_group_loop(save->group, save->thread), is_last ? finish : take_next, save);
        return;
    }
    save->status =
        mst_store_view(holding->buckets[save->bucket++], save->cut, ps->config.model, &save->view, &save->err);
    if (save->status == MST_OK)
        post(ps->writer, write_bucket, save);
    else
        post(ps->config.control, on_over, save);
}

// ---- the call ----

static mst_status check_save(const struct mst_ps *ps, const struct mst_msg_save *meta, struct ps_group **out,
                             struct mst_error *err)
{
    *out = NULL;
    MST_TRY(mst_ps_check_term(ps, meta->term, err));
    if (meta->is_question)
        *out = mst_ps_group(ps, mst_ps_asked_group(ps, meta->group));
    else if (meta->cut) // marked as primary; what it is since, or is about to be, changes nothing in that
        MST_TRY(mst_ps_find_held(ps, meta->group, out, err));
    else
        MST_TRY(mst_ps_find_group(ps, meta->group, out, err));
    if (meta->is_question && *out && (*out)->save)
        return mst_fail(err, MST_UNAVAILABLE, "ps-%u is still writing its part of step %llu",
                        ps->config.identity->index, (unsigned long long)(*out)->save->step);
    return MST_OK;
}

// A chief asks when its last one is over. So who comes while one is written has taken the place of the chief who asked
// for that, and nobody waits for it any more: it ends with its bucket. The new one is begun after it, for a local part
// begins with removing what others have left.
static void begin_or_wait(struct ps_save *save)
{
    struct ps_save *first = save->group->save;
    if (!first) {
        save->group->save = save;
        post(save->late.ps->writer, begin, save);
        return;
    }
    atomic_store_explicit(&first->is_given_up, true, memory_order_relaxed);
    if (first->next) {
        mst_ps_answer_error(&first->next->late, MST_UNAVAILABLE, "another chief wants a checkpoint");
        free_save(first->next);
    }
    first->next = save;
}

void mst_ps_on_save(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct control_conn *control = arg;
    struct mst_ps *ps = control->ps;
    struct mst_arena arena;
    struct mst_msg_save meta;
    struct ps_group *group;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_save_decode(message->meta, &arena, &meta, &err);
    if (status == MST_OK)
        status = check_save(ps, &meta, &group, &err);
    if (status != MST_OK) {
        mst_conn_reply_error(conn, message, status, "%s", err.text);
    } else if (meta.is_question) {
        mst_ps_on_part_question(control, message, &meta);
    } else {
        struct ps_save *save = mst_alloc(sizeof *save);
        *save = (struct ps_save){.late = mst_ps_late_call(control, message),
                                 .group = group,
                                 .dir = meta.part_id ? mst_ps_part_dir(meta.dir, meta.shard_id) : mst_strdup(meta.dir),
                                 .part_id = meta.part_id,
                                 .keep = mst_alloc_array(meta.n_keep, sizeof *meta.keep),
                                 .n_keep = meta.n_keep,
                                 .wants_values = meta.wants_values,
                                 .cut = meta.cut,
                                 .step = meta.step,
                                 .shard = meta.shard_id,
                                 .n_shards = meta.n_shards,
                                 .n_updates = UINT64_MAX};
        if (meta.n_keep)
            memcpy(save->keep, meta.keep, meta.n_keep * sizeof *save->keep);
        begin_or_wait(save);
    }
    mst_arena_fini(&arena);
}
