// Written whole beside its place, then exchanged with what is there in one step (renameat2), so a reader sees the old
// or the new one; file systems without exchange get two renames, with the old one aside for a moment.
#include "ckpt/model_dir.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "ckpt/checkpoint.h"
#include "muster/status.h"
#include "tfio/bundle.h"
#include "tfio/bundle_reader.h"
#include "tfio/bundle_writer.h"
#include "tfio/disk_file.h"
#include "values.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODEL_JSON "model.json"
#define WEIGHTS    "weights"

static mst_status write_weights(const char *folder, const struct mst_checkpoint_value *values, size_t n_values,
                                struct mst_error *err)
{
    char *prefix = mst_text("%s/" WEIGHTS, folder);
    char *data_path = mst_bundle_data_path(prefix, 0, 1);
    char *index_path = mst_bundle_index_path(prefix);
    struct mst_bundle_piece *pieces = mst_alloc_array(n_values, sizeof *pieces);
    struct mst_bundle_index *index = mst_bundle_index_new(1);
    mst_status status = mst_values_write(data_path, values, n_values, pieces, err);
    for (size_t i = 0; status == MST_OK && i < n_values; i++)
        status = mst_bundle_index_add(index, &values[i].tensor, 0, &pieces[i], err);
    if (status == MST_OK)
        status = mst_bundle_index_write(index, index_path, err);
    mst_bundle_index_free(index);
    free(pieces);
    free(index_path);
    free(data_path);
    free(prefix);
    return status;
}

// Deletes the files that a model directory has, and then the folder; anything else in it keeps it there.
static void remove_folder(const char *folder)
{
    static const char *const names[] = {MODEL_JSON, WEIGHTS ".index", WEIGHTS ".data-00000-of-00001"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = mst_text("%s/%s", folder, names[i]);
        (void)unlink(path);
        free(path);
    }
    (void)rmdir(folder);
}

// What is in the place of dir must be nothing, an empty folder or a model directory: all else is not ours to replace.
static mst_status check_place(const char *dir, struct mst_error *err)
{
    struct stat info;
    if (lstat(dir, &info) != 0)
        return errno == ENOENT ? MST_OK : mst_disk_fail(err, errno, "examine", dir);
    char *json = mst_text("%s/" MODEL_JSON, dir);
    mst_status status = MST_OK;
    // rmdir succeeds only on an empty folder.
    if (!S_ISDIR(info.st_mode) || (access(json, F_OK) != 0 && rmdir(dir) != 0))
        status = mst_fail(
            err, MST_FAILED_PRECONDITION,
            "%s is there and is not a model directory (no " MODEL_JSON " in it); remove it or choose another", dir);
    free(json);
    return status;
}

static mst_status put_in_place(const char *folder, const char *dir, const char *old, struct mst_error *err)
{
    struct stat info;
    if (lstat(dir, &info) != 0)
        return mst_disk_rename(folder, dir, err);
    if (renameat2(AT_FDCWD, folder, AT_FDCWD, dir, RENAME_EXCHANGE) == 0) {
        remove_folder(folder); // now the old one
        return MST_OK;
    }
    if (errno != EINVAL && errno != ENOSYS)
        return mst_disk_fail(err, errno, "replace", dir);
    remove_folder(old);
    MST_TRY(mst_disk_rename(dir, old, err));
    mst_status status = mst_disk_rename(folder, dir, err);
    if (status != MST_OK)
        (void)rename(old, dir);
    else
        remove_folder(old);
    return status;
}

static char *without_slashes(const char *dir)
{
    char *text = mst_strdup(dir);
    for (size_t len = strlen(text); len > 1 && text[len - 1] == '/'; len--)
        text[len - 1] = '\0';
    return text;
}

static char *parent_of(const char *dir)
{
    const char *slash = strrchr(dir, '/');
    if (!slash)
        return mst_strdup(".");
    return slash == dir ? mst_strdup("/") : mst_text("%.*s", (int)(slash - dir), dir);
}

static mst_status write_folder(const char *folder, struct mst_bytes model_json,
                               const struct mst_checkpoint_value *values, size_t n_values, struct mst_error *err)
{
    remove_folder(folder); // of a crash
    MST_TRY(mst_disk_make_folders(folder, err));
    MST_TRY(write_weights(folder, values, n_values, err));
    char *json_path = mst_text("%s/" MODEL_JSON, folder);
    mst_status status = mst_disk_write(json_path, model_json, err);
    free(json_path);
    return status == MST_OK ? mst_disk_sync_folder(folder, err) : status;
}

mst_status mst_model_dir_write(const char *dir, struct mst_bytes model_json, const struct mst_checkpoint_value *values,
                               size_t n_values, struct mst_error *err)
{
    char *place = without_slashes(dir);
    char *parent = parent_of(place);
    char *folder = mst_text("%s.tmp", place);
    char *old = mst_text("%s.old", place);
    mst_status status = check_place(place, err);
    if (status == MST_OK)
        status = write_folder(folder, model_json, values, n_values, err);
    if (status == MST_OK)
        status = put_in_place(folder, place, old, err);
    if (status == MST_OK)
        status = mst_disk_sync_folder(parent, err);
    else
        remove_folder(folder);
    free(old);
    free(folder);
    free(parent);
    free(place);
    return status;
}

mst_status mst_model_dir_open(const char *dir, struct mst_buf *json, struct mst_bundle **weights_out,
                              struct mst_error *err)
{
    *weights_out = NULL;
    char *json_path = mst_text("%s/" MODEL_JSON, dir);
    char *prefix = mst_text("%s/" WEIGHTS, dir);
    mst_status status = mst_disk_read(json_path, MST_MODEL_JSON_MAX_BYTES, json, err);
    if (status == MST_OK)
        status = mst_bundle_open(prefix, weights_out, err);
    if (status != MST_OK)
        mst_buf_fini(json);
    free(prefix);
    free(json_path);
    return status;
}
