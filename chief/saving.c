// A checkpoint: a cut first, of which every group's primary writes a data file and says what is in it; then the chief
// adds `iterations`, writes the index and commits on the work thread. Training goes on meanwhile. Where storage is not
// shared (checkpoint.local) every PS commits a part of its own and the chief then its own, which says that there is
// such a checkpoint; with the last one PSs send their variables, for the chief makes the trained model of them.
#include "chief/chief_private.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "ckpt/checkpoint.h"
#include "ckpt/checkpoint_list.h"
#include "ckpt/checkpoint_part.h"
#include "ckpt/local_part.h"
#include "tfio/disk_file.h"

#include <stdlib.h>
#include <string.h>

enum {
    SAVE_MS = 600000, // a PS's part on a slow disk
    CUT_ATTEMPTS = 5, // where the job ends unless there is a checkpoint
};

// The argument of the answer for one group.
struct save_part {
    struct mst_chief_save *save;
    struct ps_link *link; // to who was asked
    uint32_t group;
    void *values; // of its variables, as the answer brought them; or NULL
    size_t n_values_bytes;
    struct iovec sink; // the same, while it comes
};

struct mst_chief_save {
    struct mst_chief *chief;
    uint64_t step; // of the cut
    uint64_t cut;  // 0: not marked yet
    unsigned n_attempts;
    struct mst_checkpoint_writer *writer;
    size_t n_waiting;   // groups without an answer
    uint64_t n_updates; // the fewest of a group
    uint64_t began_ms;
    int64_t *remembered; // of the callbacks; NULL: there are none
    size_t n_remembered;
    struct mst_buf state;            // MST_CHECKPOINT_STATE_TENSOR
    struct mst_buf rounds;           // MST_CHECKPOINT_ROUNDS_TENSOR; empty: there are no rounds
    struct mst_msg_client_row *rows; // of the cut
    size_t n_rows;
    bool is_after_failure; // another one failed before it
    bool is_interrupted;   // a primary changed
    bool has_lost_server;  // one that was writing its part
    size_t n_keep;         // checkpoints that stay
    uint64_t part_id;      // checkpoint.local; else 0
    bool wants_values;
    int64_t numbers[MST_CHIEF_PART_NUMBERS];
    mst_status status;
    struct mst_error err;
    struct save_part parts[]; // by group; here, so that they go also when no answer comes any more
};

bool mst_chief_is_saving(const struct mst_chief *chief)
{
    return chief->save != NULL;
}

// The writer is gone, or given to who commits.
static void release(struct mst_chief_save *save)
{
    for (size_t i = 0; i < save->chief->config.n_ps; i++)
        free(save->parts[i].values);
    free(save->remembered);
    free(save->rows);
    mst_buf_fini(&save->state);
    mst_buf_fini(&save->rounds);
    free(save);
}

void mst_chief_save_free(struct mst_chief *chief)
{
    if (!chief->save)
        return;
    mst_checkpoint_abort(chief->save->writer);
    release(chief->save);
    chief->save = NULL;
}

void mst_chief_take_rows(struct mst_chief *chief, const struct mst_msg_client_row *rows, size_t n_rows)
{
    chief->checkpoint_rows = mst_realloc_array(chief->checkpoint_rows, n_rows, sizeof *rows);
    chief->n_checkpoint_rows = n_rows;
    if (n_rows)
        memcpy(chief->checkpoint_rows, rows, n_rows * sizeof *rows);
}

static void over(struct mst_chief_save *save)
{
    struct mst_chief *chief = save->chief;
    mst_status status = save->status;
    struct mst_error err = save->err;
    if (status == MST_OK) {
        free(chief->checkpoint);
        chief->checkpoint = mst_checkpoint_prefix(chief->config.job->checkpoint_chief_dir, save->step);
        chief->checkpoint_step = chief->committed_step = save->step;
        mst_chief_take_rows(chief, save->rows, save->n_rows);
        mst_chief_groups_committed(chief);
        mst_chief_touch(chief);
        for (size_t i = 0; i < chief->config.n_ps; i++) // who begins with it is told when a later chief counts by it
            chief->links[i].place_mark = mst_chief_mark(chief);
        chief->checkpoint_ms = mst_clock_monotonic_ms();
        unsigned long long took_ms = chief->checkpoint_ms - save->began_ms;
        MST_LOG(INFO, "chief", "checkpoint written", "prefix=%s ms=%llu", chief->checkpoint, took_ms);
        mst_progress_write(chief->config.progress_fd, "checkpoint", json_pack("{s:s}", "prefix", chief->checkpoint));
    }
    if (status != MST_OK) {
        if (save->cut)
            mst_chief_cut_drop(chief, save->cut);
        mst_chief_best_save_failed(chief, save->step);
        // Others take the place of a server that is lost, and write it soon. Where the job ends with this checkpoint,
        // one that comes back is waited for as well, which it may be by now.
        bool is_last = chief->stop_text || chief->phase == CHIEF_CLOSING;
        bool is_lost = (mst_chief_has_replicas(chief) || is_last) && !mst_chief_groups_are_whole(chief);
        is_lost |= is_last && save->has_lost_server;
        if (mst_status_is_retryable(status) && (save->is_interrupted || is_lost)) {
            MST_LOG(INFO, "chief", "checkpoint put off", "reason=\"%s\"", err.text);
            status = MST_CANCELLED;
        }
    }
    chief->save = NULL;
    release(save);
    mst_chief_on_saved(chief, status, err.text);
}

static void on_committed(void *arg)
{
    over(arg);
}

// Who failed may not have been able to delete what it wrote.
static void clean(const char *dir)
{
    struct mst_error err;
    if (mst_checkpoint_clean(dir, &err) != MST_OK)
        MST_LOG(DEBUG, "chief", "leftover", "reason=\"%s\"", err.text);
}

static struct mst_checkpoint_value bytes_value(const char *name, const struct mst_buf *bytes)
{
    return (struct mst_checkpoint_value){
        .tensor = {.name = name, .type = MST_TF_UINT8, .shape = {.rank = 1, .dims = {bytes->len}}},
        .data = bytes->data};
}

// The last data file is the chief's own, and the only one where PSs keep theirs.
static struct mst_checkpoint_attempt attempt_of(const struct mst_chief_save *save)
{
    const struct mst_chief *chief = save->chief;
    return (struct mst_checkpoint_attempt){.dir = chief->config.job->checkpoint_chief_dir,
                                           .step = save->step,
                                           .n_shards =
                                               save->part_id && !save->wants_values ? 1 : chief->config.n_ps + 1,
                                           .id = save->cut};
}

// What PSs sent of their variables becomes their data files.
static mst_status write_sent(struct mst_chief_save *save)
{
    const struct mst_checkpoint_attempt attempt = attempt_of(save);
    for (size_t i = 0; save->wants_values && i < save->chief->config.n_ps; i++) {
        char *path = mst_checkpoint_part_path(&attempt, i);
        struct mst_bytes bytes = {save->parts[i].values, save->parts[i].n_values_bytes};
        mst_status status = mst_disk_write(path, bytes, &save->err);
        free(path);
        MST_TRY(status);
    }
    return MST_OK;
}

// On the work thread.
static void commit(void *arg)
{
    struct mst_chief_save *save = arg;
    int64_t iterations = (int64_t)save->n_updates;
    struct mst_checkpoint_value values[5] = {
        {.tensor = {.name = "iterations", .type = MST_TF_INT64}, .data = &iterations}};
    size_t n = 1;
    if (save->remembered)
        values[n++] = (struct mst_checkpoint_value){.tensor = {.name = MST_CALLBACKS_TENSOR,
                                                               .type = MST_TF_INT64,
                                                               .shape = {.rank = 1, .dims = {save->n_remembered}}},
                                                    .data = save->remembered};
    if (save->rounds.len)
        values[n++] = bytes_value(MST_CHECKPOINT_ROUNDS_TENSOR, &save->rounds);
    if (save->state.len)
        values[n++] = bytes_value(MST_CHECKPOINT_STATE_TENSOR, &save->state);
    if (save->part_id)
        values[n++] = (struct mst_checkpoint_value){.tensor = {.name = MST_LOCAL_PART_TENSOR,
                                                               .type = MST_TF_INT64,
                                                               .shape = {.rank = 1, .dims = {MST_CHIEF_PART_NUMBERS}}},
                                                    .data = save->numbers};
    save->status = write_sent(save);
    if (save->status == MST_OK)
        save->status = mst_checkpoint_write(save->writer, values, n, &save->err);
    if (save->status == MST_OK)
        save->status = mst_checkpoint_commit(save->writer, save->n_keep, &save->err);
    else
        mst_checkpoint_abort(save->writer);
    save->writer = NULL;
    if (save->is_after_failure && save->status == MST_OK)
        clean(save->chief->config.job->checkpoint_chief_dir);
    // A part that is gone from the disk is no NaN, which alone ends the job.
    if (save->status == MST_DATA_LOSS)
        save->status = MST_UNAVAILABLE;
    mst_loop_post(save->chief->config.control, on_committed, save);
}

static mst_status add_entry(const struct save_part *part, const struct mst_msg_bundle_entry *entry)
{
    struct mst_chief_save *save = part->save;
    struct mst_bundle_tensor tensor = {.name = entry->name, .type = (enum mst_tf_type)entry->dtype};
    if (entry->n_dims > MST_SHAPE_MAX_RANK)
        return mst_fail(&save->err, MST_INVALID_ARGUMENT, "ps-%u says that %s has %zu axes", part->link->index,
                        entry->name, entry->n_dims);
    tensor.shape.rank = entry->n_dims;
    for (size_t d = 0; d < entry->n_dims; d++)
        tensor.shape.dims[d] = (size_t)entry->dims[d];
    if (entry->n_starts > 0) {
        tensor.row_offset = entry->starts[0];
        tensor.n_rows = entry->lengths[0];
    }
    struct mst_bundle_piece piece = {entry->offset, entry->size_bytes, entry->crc32c};
    return mst_checkpoint_add(save->writer, &tensor, part->group, &piece, &save->err);
}

static void take_part(struct save_part *part, const struct mst_reply *reply)
{
    struct mst_chief_save *save = part->save;
    if (reply->status != MST_OK) {
        save->has_lost_server = !mst_peer_conn(part->link->peer);
        save->status =
            mst_fail(&save->err, reply->status, "ps-%u did not write its part: %s", part->link->index, reply->text);
        return;
    }
    struct mst_arena arena;
    struct mst_msg_save_reply answer;
    mst_arena_init(&arena, MST_MSG_ARENA_MAX);
    save->status = mst_msg_save_reply_decode(reply->message->meta, &arena, &answer, &save->err);
    for (size_t i = 0; save->status == MST_OK && i < answer.n_entries; i++)
        save->status = add_entry(part, &answer.entries[i]);
    if (save->status == MST_OK && save->n_updates > answer.iterations)
        save->n_updates = answer.iterations;
    mst_arena_fini(&arena);
}

static void on_part(void *arg, const struct mst_reply *reply)
{
    struct save_part *part = arg;
    struct mst_chief_save *save = part->save;
    if (save->status == MST_OK)
        take_part(part, reply);
    if (--save->n_waiting > 0)
        return;
    if (save->status == MST_OK) {
        // A group without buckets says so with the largest number.
        if (save->n_updates == UINT64_MAX)
            save->n_updates = save->step;
        mst_loop_post(save->chief->work, commit, save);
        return;
    }
    mst_checkpoint_abort(save->writer);
    over(save);
}

// How long a PS may take for its part: longer where a limit makes it slow.
static uint64_t save_ms(const struct mst_chief *chief)
{
    uint64_t limit = chief->config.job->checkpoint_max_bytes_per_second;
    const struct mst_model *model = chief->config.model;
    uint64_t n_bytes = 0;
    for (size_t v = 0; v < mst_model_n_variables(model); v++)
        n_bytes += mst_model_variable(model, v)->n_elements * sizeof(float) * (1 + MST_OPTIMIZER_MAX_SLOTS);
    return SAVE_MS + (limit ? (uint64_t)((double)n_bytes / (double)limit * 1e3) : 0);
}

// The body of an answer: what the PS's variables hold.
static enum mst_body_verdict on_values(void *arg, const struct mst_message *message, struct mst_sink *sink)
{
    struct save_part *part = arg;
    if (!part->save->wants_values || part->values ||
        mst_try_alloc((size_t)message->body_bytes, &part->values) != MST_OK)
        return MST_BODY_DRAIN;
    part->n_values_bytes = (size_t)message->body_bytes;
    part->sink = (struct iovec){part->values, part->n_values_bytes};
    *sink = (struct mst_sink){&part->sink, 1};
    return MST_BODY_TAKE;
}

// What a resumed job needs besides: the callbacks' numbers, what is left to train, and the last close.
static void remember(struct mst_chief_save *save)
{
    struct mst_chief *chief = save->chief;
    if (chief->config.job->n_callbacks) {
        save->n_remembered = mst_callbacks_n_numbers(chief->callbacks);
        save->remembered = mst_alloc_array(save->n_remembered, sizeof *save->remembered);
        mst_callbacks_save(chief->callbacks, save->remembered);
    }
    const struct mst_cuts *cut = &chief->cut.machine;
    save->rows = mst_alloc_array(cut->n_rows, sizeof *save->rows);
    save->n_rows = cut->n_rows;
    if (cut->n_rows)
        memcpy(save->rows, cut->rows, cut->n_rows * sizeof *save->rows);
    mst_status status = mst_buf_append(&save->state, cut->state.data, cut->state.len);
    MST_ASSERT(status == MST_OK); // as large as the one that it is from
    if (chief->coordinator.is_synchronous) {
        struct mst_msg_round round = {.has_close = true};
        mst_rounds_close(&chief->coordinator.rounds, &round.close);
        status = mst_msg_round_encode(&round, &save->rounds);
        MST_ASSERT(status == MST_OK); // it was sent to the PSs
    }
}

static void ask(struct save_part *part, const struct mst_msg_save *message)
{
    struct mst_buf meta;
    mst_buf_init(&meta, MST_FRAME_META_MAX);
    mst_status status = mst_msg_save_encode(message, &meta);
    MST_ASSERT(status == MST_OK); // a path of ours
    struct mst_call call = {.method = MST_METHOD_SAVE,
                            .meta = mst_buf_view(&meta),
                            .deadline_ms = save_ms(part->save->chief),
                            .on_body = on_values,
                            .on_reply = on_part,
                            .arg = part};
    mst_peer_call(part->link->peer, &call);
    mst_buf_fini(&meta);
}

static void ask_all(struct mst_chief_save *save, size_t n_shards, const uint64_t *keep, size_t n_keep)
{
    struct mst_chief *chief = save->chief;
    save->n_waiting = chief->config.n_ps;
    for (size_t i = 0; i < chief->config.n_ps; i++) {
        const struct mst_msg_save message = {.term = chief->term,
                                             .dir = chief->config.job->checkpoint_dir,
                                             .step = save->step,
                                             .shard_id = (uint32_t)i,
                                             .n_shards = (uint32_t)n_shards,
                                             .cut = save->cut,
                                             .part_id = save->part_id,
                                             .n_keep = n_keep,
                                             .keep = keep,
                                             .wants_values = save->wants_values,
                                             .group = (uint32_t)i};
        save->parts[i] =
            (struct save_part){.save = save, .link = mst_chief_primary(&chief->groups[i]), .group = (uint32_t)i};
        ask(&save->parts[i], &message);
    }
}

// The cut is marked: what the chief remembers is of this moment too.
static void write_parts(struct mst_chief_save *save)
{
    struct mst_chief *chief = save->chief;
    save->step = chief->cut.n_done;
    save->cut = chief->cut.machine.id;
    // The one before stays: a chief that comes after knows of that one, until the state that names this one is stored.
    size_t least = chief->phase == CHIEF_CLOSING ? 1 : 2;
    save->n_keep = chief->config.job->checkpoint_keep > least ? chief->config.job->checkpoint_keep : least;
    mst_chief_best_saving(chief, save->step);
    remember(save);
    if (!chief->stop_text)
        mst_chief_rounds_resume(chief);
    if (chief->config.job->checkpoint_local) {
        save->part_id = mst_chief_new_part_id();
        save->wants_values = chief->phase == CHIEF_CLOSING;
        mst_chief_part_numbers(chief, save->part_id, save->numbers);
    }
    const struct mst_checkpoint_attempt attempt = attempt_of(save);
    save->status = mst_checkpoint_begin(&attempt, &save->writer, &save->err);
    uint64_t *keep = NULL; // what the chief has: a PS keeps nothing else
    size_t n_keep = 0;
    if (save->status == MST_OK && !mst_chief_groups_are_whole(chief))
        save->status = mst_fail(&save->err, MST_UNAVAILABLE, "a parameter server is lost");
    if (save->status == MST_OK && save->part_id)
        save->status = mst_checkpoint_list(chief->config.job->checkpoint_chief_dir, &keep, &n_keep, &save->err);
    if (save->status != MST_OK) {
        mst_checkpoint_abort(save->writer);
        over(save);
        return;
    }
    uint64_t *steps;
    size_t n_steps = mst_chief_best_steps(chief, &steps);
    mst_checkpoint_spare(save->writer, steps, n_steps);
    free(steps);
    ask_all(save, attempt.n_shards, keep, n_keep);
    free(keep);
    mst_chief_rounds_go_on(chief); // they waited for the mark
}

static void on_cut(struct mst_chief *chief, bool is_marked)
{
    struct mst_chief_save *save = chief->save;
    bool is_needed = (chief->phase == CHIEF_CLOSING || chief->stop_text) && mst_chief_groups_are_whole(chief);
    if (is_marked) {
        write_parts(save);
    } else if (chief->phase >= CHIEF_TELLING || !is_needed || ++save->n_attempts == CUT_ATTEMPTS) {
        save->status = mst_fail(&save->err, MST_UNAVAILABLE, "no cut could be made for it: %s", chief->cut.machine.why);
        over(save);
    } // else the tick begins another one, when the PSs have heard that this one is given up
}

void mst_chief_save_interrupt(struct mst_chief *chief)
{
    if (chief->save)
        chief->save->is_interrupted = true;
}

void mst_chief_save_tick(struct mst_chief *chief)
{
    if (chief->save && !chief->save->cut && chief->save->status == MST_OK && !mst_chief_cut_is_busy(chief) &&
        mst_chief_rounds_are_quiet(chief))
        mst_chief_cut_begin(chief, on_cut);
}

void mst_chief_save(struct mst_chief *chief)
{
    struct mst_chief_save *save = mst_alloc(sizeof *save + chief->config.n_ps * sizeof save->parts[0]);
    *save = (struct mst_chief_save){.chief = chief, .n_updates = UINT64_MAX};
    save->is_after_failure = chief->n_saves_failed > 0;
    mst_buf_init(&save->state, chief->cut.machine.state.max_bytes);
    mst_buf_init(&save->rounds, MST_FRAME_META_MAX);
    save->began_ms = mst_clock_monotonic_ms();
    chief->save = save;
    mst_chief_save_tick(chief);
}
