// The order of a commit is in checkpoint.h; each step here is one function, called in that order by commit_files. Data
// files are renamed by the chief, not by who wrote them, so that until the commit nothing that exists is touched.
#include "ckpt/checkpoint.h"

#include "base/alloc.h"
#include "base/error.h"
#include "checkpoint_names.h"
#include "checkpoint_state.h"
#include "ckpt/checkpoint_list.h"
#include "ckpt/checkpoint_part.h"
#include "muster/status.h"
#include "tfio/bundle.h"
#include "tfio/bundle_writer.h"
#include "tfio/disk_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct mst_checkpoint_writer {
    char *dir; // the attempt's
    struct mst_checkpoint_attempt attempt;
    char *prefix;
    uint64_t *shard_end; // for each shard, where its last added piece ends
    struct mst_bundle_index *index;
    uint64_t *spared; // steps
    size_t n_spared;
};

char *mst_checkpoint_prefix(const char *dir, uint64_t step)
{
    return mst_text("%s/model-%llu", dir, (unsigned long long)step);
}

static char *index_temporary(const struct mst_checkpoint_writer *writer)
{
    char *path = mst_bundle_index_path(writer->prefix);
    char *temporary = mst_checkpoint_temporary(path, writer->attempt.id);
    free(path);
    return temporary;
}

mst_status mst_checkpoint_begin(const struct mst_checkpoint_attempt *attempt, struct mst_checkpoint_writer **out,
                                struct mst_error *err)
{
    *out = NULL;
    if (attempt->n_shards < 1 || attempt->n_shards > MST_BUNDLE_SHARDS_MAX)
        return mst_fail(err, MST_INVALID_ARGUMENT, "a checkpoint of %zu shards; there are 1 to %d", attempt->n_shards,
                        MST_BUNDLE_SHARDS_MAX);
    MST_TRY(mst_disk_make_folders(attempt->dir, err));
    struct mst_checkpoint_writer *writer = mst_alloc(sizeof *writer);
    writer->dir = mst_strdup(attempt->dir);
    writer->attempt = *attempt;
    writer->attempt.dir = writer->dir;
    writer->prefix = mst_checkpoint_prefix(attempt->dir, attempt->step);
    writer->shard_end = mst_alloc_array(attempt->n_shards, sizeof *writer->shard_end);
    writer->index = mst_bundle_index_new(attempt->n_shards);
    *out = writer;
    return MST_OK;
}

static void writer_free(struct mst_checkpoint_writer *writer)
{
    free(writer->spared);
    mst_bundle_index_free(writer->index);
    free(writer->shard_end);
    free(writer->prefix);
    free(writer->dir);
    free(writer);
}

mst_status mst_checkpoint_add(struct mst_checkpoint_writer *writer, const struct mst_bundle_tensor *tensor,
                              size_t shard, const struct mst_bundle_piece *piece, struct mst_error *err)
{
    MST_TRY(mst_bundle_index_add(writer->index, tensor, shard, piece, err));
    uint64_t end = piece->offset_bytes + piece->size_bytes;
    if (end > writer->shard_end[shard])
        writer->shard_end[shard] = end;
    return MST_OK;
}

mst_status mst_checkpoint_write(struct mst_checkpoint_writer *writer, const struct mst_checkpoint_value *values,
                                size_t n_values, struct mst_error *err)
{
    size_t last = writer->attempt.n_shards - 1;
    struct mst_checkpoint_part *part;
    MST_TRY(mst_checkpoint_part_new(&writer->attempt, last, &part, err));
    mst_status status = MST_OK;
    for (size_t i = 0; status == MST_OK && i < n_values; i++) {
        struct mst_bundle_piece piece;
        status = mst_checkpoint_part_add(part, &values[i], &piece, err);
        if (status == MST_OK)
            status = mst_checkpoint_add(writer, &values[i].tensor, last, &piece, err);
    }
    if (status == MST_OK)
        return mst_checkpoint_part_close(part, err);
    mst_checkpoint_part_abort(part);
    return status;
}

static mst_status check_shards(const struct mst_checkpoint_writer *writer, struct mst_error *err)
{
    for (size_t i = 0; i < writer->attempt.n_shards; i++) {
        char *path = mst_checkpoint_part_path(&writer->attempt, i);
        struct stat info;
        mst_status status = MST_OK;
        if (stat(path, &info) != 0)
            status =
                errno == ENOENT
                    ? mst_fail(err, MST_DATA_LOSS,
                               "%s is not there: shard %zu of %zu was not written, or not to a folder that all share",
                               path, i, writer->attempt.n_shards)
                    : mst_disk_fail(err, errno, "examine", path);
        else if ((uint64_t)info.st_size < writer->shard_end[i])
            status = mst_fail(err, MST_DATA_LOSS, "%s has %llu bytes, its tensors end at %llu", path,
                              (unsigned long long)info.st_size, (unsigned long long)writer->shard_end[i]);
        free(path);
        MST_TRY(status);
    }
    return MST_OK;
}

static mst_status write_index(const struct mst_checkpoint_writer *writer, struct mst_error *err)
{
    char *path = index_temporary(writer);
    mst_status status = mst_bundle_index_write(writer->index, path, err);
    free(path);
    return status;
}

// An index that stays while its data files are replaced would name bytes that are not there any more.
static mst_status remove_old_index(const struct mst_checkpoint_writer *writer, struct mst_error *err)
{
    char *path = mst_bundle_index_path(writer->prefix);
    struct stat info;
    mst_status status = MST_OK;
    if (stat(path, &info) == 0) {
        status = mst_disk_remove(path, err);
        if (status == MST_OK)
            status = mst_disk_sync_folder(writer->dir, err);
    }
    free(path);
    return status;
}

// Releases both paths.
static mst_status rename_temporary(char *temporary, char *final_path, struct mst_error *err)
{
    mst_status status = mst_disk_rename(temporary, final_path, err);
    free(temporary);
    free(final_path);
    return status;
}

struct removal {
    const char *dir;
    uint64_t step;
    enum mst_checkpoint_kind kind;
};

static mst_status on_file_of_step(void *context, const char *name, enum mst_checkpoint_kind kind, uint64_t step,
                                  struct mst_error *err)
{
    const struct removal *removal = context;
    if (step != removal->step || kind != removal->kind)
        return MST_OK;
    char *path = mst_text("%s/%s", removal->dir, name);
    mst_status status = mst_disk_remove(path, err);
    free(path);
    return status;
}

// The index goes first: data files without an index are leftovers, an index without data files looks like damage. Last
// what attempts have left that were given up.
static mst_status remove_checkpoint(const char *dir, uint64_t step, struct mst_error *err)
{
    struct removal removal = {dir, step, MST_CHECKPOINT_INDEX};
    MST_TRY(mst_checkpoint_each_file(dir, on_file_of_step, &removal, err));
    removal.kind = MST_CHECKPOINT_DATA;
    MST_TRY(mst_checkpoint_each_file(dir, on_file_of_step, &removal, err));
    removal.kind = MST_CHECKPOINT_TEMPORARY;
    return mst_checkpoint_each_file(dir, on_file_of_step, &removal, err);
}

static bool is_spared(const struct mst_checkpoint_writer *writer, uint64_t step)
{
    for (size_t i = 0; i < writer->n_spared; i++)
        if (writer->spared[i] == step)
            return true;
    return false;
}

void mst_checkpoint_spare(struct mst_checkpoint_writer *writer, const uint64_t *steps, size_t n_steps)
{
    writer->spared = mst_realloc_array(writer->spared, n_steps + 1, sizeof *writer->spared);
    memcpy(writer->spared, steps, n_steps * sizeof *steps);
    writer->n_spared = n_steps;
}

// Steps in order of age: what was just committed is the newest, whatever its number.
static void put_last(uint64_t *steps, size_t n_steps, uint64_t step)
{
    size_t at = 0;
    while (at < n_steps && steps[at] != step)
        at++;
    if (at == n_steps)
        return;
    memmove(steps + at, steps + at + 1, (n_steps - at - 1) * sizeof *steps);
    steps[n_steps - 1] = step;
}

// Deletes the n_old first of them but for those that are spared; those that stay keep their order.
static mst_status remove_old(const struct mst_checkpoint_writer *writer, uint64_t *steps, size_t *n_steps, size_t n_old,
                             struct mst_error *err)
{
    size_t n_left = 0;
    for (size_t i = 0; i < *n_steps; i++) {
        if (i < n_old && !is_spared(writer, steps[i]))
            MST_TRY(remove_checkpoint(writer->dir, steps[i], err));
        else
            steps[n_left++] = steps[i];
    }
    *n_steps = n_left;
    return MST_OK;
}

// The state file lists what is there at any moment: first the new one beside all others, then what is left.
static mst_status publish(const struct mst_checkpoint_writer *writer, size_t keep, struct mst_error *err)
{
    uint64_t *steps;
    size_t n_steps;
    MST_TRY(mst_checkpoint_list(writer->dir, &steps, &n_steps, err));
    mst_checkpoint_state_sort(writer->dir, steps, n_steps);
    put_last(steps, n_steps, writer->attempt.step);
    mst_status status = mst_checkpoint_state_write(writer->dir, steps, n_steps, err);
    if (status == MST_OK && keep > 0 && n_steps > keep) {
        status = remove_old(writer, steps, &n_steps, n_steps - keep, err);
        if (status == MST_OK)
            status = mst_checkpoint_state_write(writer->dir, steps, n_steps, err);
    }
    free(steps);
    return status;
}

static mst_status commit_files(const struct mst_checkpoint_writer *writer, bool *is_committed, struct mst_error *err)
{
    MST_TRY(check_shards(writer, err));
    MST_TRY(write_index(writer, err));
    MST_TRY(remove_old_index(writer, err));
    for (size_t i = 0; i < writer->attempt.n_shards; i++) {
        char *path = mst_bundle_data_path(writer->prefix, i, writer->attempt.n_shards);
        MST_TRY(rename_temporary(mst_checkpoint_part_path(&writer->attempt, i), path, err));
    }
    MST_TRY(mst_disk_sync_folder(writer->dir, err));
    MST_TRY(rename_temporary(index_temporary(writer), mst_bundle_index_path(writer->prefix), err));
    *is_committed = true;
    return mst_disk_sync_folder(writer->dir, err);
}

mst_status mst_checkpoint_commit(struct mst_checkpoint_writer *writer, size_t keep, struct mst_error *err)
{
    bool is_committed = false;
    mst_status status = commit_files(writer, &is_committed, err);
    if (status == MST_OK)
        status = publish(writer, keep, err);
    if (is_committed)
        writer_free(writer);
    else
        mst_checkpoint_abort(writer);
    return status;
}

// Whoever aborts has a failure of his own to tell; clean finds what is left. Releases path.
static void remove_quietly(char *path)
{
    struct mst_error ignored;
    (void)!mst_disk_remove(path, &ignored);
    free(path);
}

void mst_checkpoint_abort(struct mst_checkpoint_writer *writer)
{
    if (!writer)
        return;
    struct removal removal = {writer->dir, writer->attempt.step, MST_CHECKPOINT_DATA};
    struct mst_error ignored;
    for (size_t i = 0; i < writer->attempt.n_shards; i++)
        remove_quietly(mst_checkpoint_part_path(&writer->attempt, i));
    remove_quietly(index_temporary(writer));
    // A commit that got as far as renaming data files had no index of this step any more.
    char *index = mst_bundle_index_path(writer->prefix);
    struct stat info;
    if (stat(index, &info) != 0 && errno == ENOENT)
        (void)!mst_checkpoint_each_file(writer->dir, on_file_of_step, &removal, &ignored);
    free(index);
    writer_free(writer);
}

struct cleaning {
    const char *dir;
    const uint64_t *steps; // committed
    size_t n_steps;
};

static mst_status on_leftover(void *context, const char *name, enum mst_checkpoint_kind kind, uint64_t step,
                              struct mst_error *err)
{
    const struct cleaning *cleaning = context;
    bool is_committed = false;
    for (size_t i = 0; i < cleaning->n_steps; i++)
        is_committed = is_committed || cleaning->steps[i] == step;
    if (kind == MST_CHECKPOINT_INDEX || (kind == MST_CHECKPOINT_DATA && is_committed))
        return MST_OK;
    char *path = mst_text("%s/%s", cleaning->dir, name);
    mst_status status = mst_disk_remove(path, err);
    free(path);
    return status;
}

mst_status mst_checkpoint_clean(const char *dir, struct mst_error *err)
{
    uint64_t *steps;
    struct cleaning cleaning = {.dir = dir};
    mst_status status = mst_checkpoint_list(dir, &steps, &cleaning.n_steps, err);
    if (status == MST_NOT_FOUND)
        return MST_OK;
    cleaning.steps = steps;
    if (status == MST_OK)
        status = mst_checkpoint_each_file(dir, on_leftover, &cleaning, err);
    free(steps);
    return status;
}
