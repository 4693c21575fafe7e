#include "source.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "ckpt/checkpoint_list.h"
#include "tfio/disk_file.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STATE_MAX_BYTES = 1 << 20 }; // TensorFlow's file `checkpoint`: a line for each checkpoint that is kept

static bool is_there(const char *dir, const char *name)
{
    char *path = mst_text("%s/%s", dir, name);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

// The text of the first line `model_checkpoint_path: "ckpt-3"`, a prefix relative to the directory unless absolute.
static char *named_by_state(const char *dir, const char *state)
{
    static const char key[] = "model_checkpoint_path: \"";
    const char *from = strncmp(state, key, sizeof key - 1) == 0 ? state : NULL;
    if (from == NULL)
        return NULL;
    from += sizeof key - 1;
    size_t len = strcspn(from, "\"\n");
    if (from[len] != '"' || len == 0)
        return NULL;
    return from[0] == '/' ? mst_text("%.*s", (int)len, from) : mst_text("%s/%.*s", dir, (int)len, from);
}

static mst_status newest_of_tensorflow(const char *dir, char **out, struct mst_error *err)
{
    struct mst_buf state;
    char *path = mst_text("%s/checkpoint", dir);
    mst_status status = mst_disk_read(path, STATE_MAX_BYTES, &state, err);
    if (status == MST_OK && mst_buf_append(&state, "", 1) == MST_OK)
        *out = named_by_state(dir, (const char *)state.data);
    mst_buf_fini(&state);
    free(path);
    if (*out != NULL)
        return MST_OK;
    if (status != MST_OK && status != MST_NOT_FOUND)
        return status; // it is there, and cannot be read
    return mst_fail(
        err, MST_NOT_FOUND,
        "%s has neither a whole checkpoint of a job, nor model.json and weights.*, nor a file 'checkpoint' of "
        "TensorFlow",
        dir);
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);
    return len > end_len && strcmp(text + len - end_len, end) == 0;
}

mst_status mst_weights_find_prefix(const char *path, char **out, struct mst_error *err)
{
    struct stat info;
    *out = NULL;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        uint64_t step;
        if (is_there(path, "model.json") && is_there(path, "weights.index")) {
            *out = mst_text("%s/weights", path);
            return MST_OK;
        }
        mst_status status = mst_checkpoint_newest(path, NULL, NULL, out, &step, err);
        return status == MST_NOT_FOUND ? newest_of_tensorflow(path, out, err) : status;
    }
    if (ends_with(path, ".index")) {
        *out = mst_text("%.*s", (int)(strlen(path) - strlen(".index")), path);
        return MST_OK;
    }
    *out = mst_text("%s.index", path);
    bool is_prefix = access(*out, F_OK) == 0;
    (*out)[strlen(path)] = '\0';
    if (is_prefix)
        return MST_OK;
    free(*out);
    *out = NULL;
    if (access(path, F_OK) != 0)
        return mst_fail(err, MST_NOT_FOUND,
                        "neither %s nor %s.index is there: give a .keras archive, a model directory or a checkpoint "
                        "(muster ckpt ls DIR lists those of a directory)",
                        path, path);
    return mst_fail(err, MST_INVALID_ARGUMENT,
                    "%s is %s: give the archive that model.save(\"my.keras\") of Keras writes", path,
                    ends_with(path, ".h5") ? "a file of Keras's weights alone or of an older format"
                                           : "no archive, no model directory and no checkpoint");
}
