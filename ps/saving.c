// SAVE: this server's part of a checkpoint. One bucket after the other is taken from its data thread (its snapshot at
// the cut, or a copy of what is current) and written by a thread of its own, while training goes on. With a limit the
// writer pauses between buckets.
#include "ps/ps_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "ckpt/checkpoint_part.h"

#include <stdlib.h>
#include <string.h>

struct ps_save {
    struct late_call late;
    char *dir;
    uint64_t cut;
    uint64_t step;
    uint32_t shard;
    uint32_t n_shards;
    uint32_t thread; // of the next bucket
    size_t bucket;   // its place there
    struct mst_store_copy copy;
    struct mst_checkpoint_part *part;
    struct mst_bundle_tensor *tensors; // written so far, each with a name of its own
    struct mst_bundle_piece *pieces;
    size_t n_written;
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
    mst_store_copy_fini(&save->copy);
    mst_checkpoint_part_abort(save->part);
    for (size_t i = 0; i < save->n_written; i++)
        free((char *)(uintptr_t)save->tensors[i].name);
    free(save->tensors);
    free(save->pieces);
    free(save->dir);
    free(save);
}

// The process ends before the checkpoint does.
static void on_dropped(void *arg)
{
    struct ps_save *save = arg;
    save->late.ps->save = NULL;
    free_save(save);
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

static void answer(struct ps_save *save)
{
    enum { NUMBERS = 3 * MST_SHAPE_MAX_RANK };
    struct mst_msg_bundle_entry *entries = mst_alloc_array(save->n_written, sizeof *entries);
    uint64_t *numbers = mst_alloc_array(save->n_written * NUMBERS, sizeof *numbers);
    for (size_t i = 0; i < save->n_written; i++)
        describe(&save->tensors[i], &save->pieces[i], numbers + i * NUMBERS, &entries[i]);
    struct mst_msg_save_reply reply = {.n_entries = save->n_written,
                                       .entries = entries,
                                       .iterations = save->n_updates,
                                       .is_finite = true,
                                       .bytes = save->n_bytes};
    MST_PS_ANSWER(&save->late, save_reply, &reply);
    free(entries);
    free(numbers);
}

static void on_over(void *arg)
{
    struct ps_save *save = arg;
    save->late.ps->save = NULL;
    if (save->status == MST_OK)
        answer(save);
    else
        mst_ps_answer_error(&save->late, save->status, save->err.text);
    free_save(save);
}

// ---- writing, on the writer's loop ----

static void take_next(void *arg);
static void ask_next(struct ps_save *save);

static mst_status write_value(struct ps_save *save, const struct mst_checkpoint_value *value)
{
    struct mst_bundle_piece piece;
    MST_TRY(mst_checkpoint_part_add(save->part, value, &piece, &save->err));
    size_t n = save->n_written + 1;
    save->tensors = mst_realloc_array(save->tensors, n, sizeof *save->tensors);
    save->pieces = mst_realloc_array(save->pieces, n, sizeof *save->pieces);
    save->tensors[save->n_written] = value->tensor;
    save->tensors[save->n_written].name = mst_strdup(value->tensor.name);
    save->pieces[save->n_written++] = piece;
    save->n_bytes += piece.size_bytes;
    return MST_OK;
}

static mst_status write_copy(struct ps_save *save)
{
    for (size_t i = 0; i < save->copy.n_values; i++)
        MST_TRY(write_value(save, &save->copy.values[i]));
    if (save->n_updates > save->copy.n_updates)
        save->n_updates = save->copy.n_updates;
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
    save->status = write_copy(save);
    mst_store_copy_fini(&save->copy);
    uint64_t ms = pause_ms(save);
    if (save->status != MST_OK) {
        post(save->late.ps->config.control, on_over, save);
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
    save->status = mst_checkpoint_part_close(save->part, &save->err);
    save->part = NULL;
    post(save->late.ps->config.control, on_over, save);
}

static void ask_next(struct ps_save *save)
{
    struct mst_ps *ps = save->late.ps;
    if (save->thread < ps->config.n_data_loops)
        post(ps->config.data_loops[save->thread], take_next, save);
    else
        finish(save);
}

static void begin(void *arg)
{
    struct ps_save *save = arg;
    save->began_ns = mst_clock_monotonic_ns();
    save->status = mst_checkpoint_part_new(save->dir, save->step, save->shard, save->n_shards, &save->part, &save->err);
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
    size_t n;
    struct mst_bucket *const *buckets = mst_data_thread_buckets(ps->threads[save->thread], &n);
    if (save->bucket == n) {
        save->thread++;
        save->bucket = 0;
        mst_loop_fn next = save->thread < ps->config.n_data_loops ? take_next : finish;
        post(next == finish ? ps->writer : ps->config.data_loops[save->thread], next, save);
        return;
    }
    save->status = mst_store_copy(buckets[save->bucket++], save->cut, ps->config.model, &save->copy, &save->err);
    if (save->status == MST_OK)
        post(ps->writer, write_bucket, save);
    else
        post(ps->config.control, on_over, save);
}

// ---- the call ----

static mst_status check_save(const struct mst_ps *ps, const struct mst_msg_save *meta, struct mst_error *err)
{
    MST_TRY(mst_ps_check_term(ps, meta->term, err));
    if (ps->phase != PS_SERVING)
        return mst_fail(err, MST_UNAVAILABLE, "ps-%u does not hold its shards yet", ps->config.identity->index);
    if (ps->save)
        return mst_fail(err, MST_UNAVAILABLE, "ps-%u is still writing its part of step %llu",
                        ps->config.identity->index, (unsigned long long)ps->save->step);
    return MST_OK;
}

void mst_ps_on_save(void *arg, struct mst_conn *conn, const struct mst_message *message)
{
    struct control_conn *control = arg;
    struct mst_ps *ps = control->ps;
    struct mst_arena arena;
    struct mst_msg_save meta;
    struct mst_error err;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    mst_status status = mst_msg_save_decode(message->meta, &arena, &meta, &err);
    if (status == MST_OK)
        status = check_save(ps, &meta, &err);
    if (status != MST_OK) {
        mst_conn_reply_error(conn, message, status, "%s", err.text);
    } else {
        struct ps_save *save = mst_alloc(sizeof *save);
        *save = (struct ps_save){.late = mst_ps_late_call(control, message),
                                 .dir = mst_strdup(meta.dir),
                                 .cut = meta.cut,
                                 .step = meta.step,
                                 .shard = meta.shard_id,
                                 .n_shards = meta.n_shards,
                                 .n_updates = UINT64_MAX};
        ps->save = save;
        post(ps->writer, begin, save);
    }
    mst_arena_fini(&arena);
}
