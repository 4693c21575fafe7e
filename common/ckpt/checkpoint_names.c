// Names are parsed strictly: what does not match to the last byte is not ours, and is never deleted.
#include "checkpoint_names.h"

#include "base/alloc.h"
#include "base/error.h"
#include "ckpt/checkpoint_list.h"
#include "muster/status.h"
#include "tfio/disk_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BEGIN "model-"

// A decimal number without leading zeros at *text, which moves past it.
static bool take_number(const char **text, uint64_t *out)
{
    const char *p = *text;
    uint64_t number = 0;
    if (*p < '0' || *p > '9' || (*p == '0' && p[1] >= '0' && p[1] <= '9'))
        return false;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*p - '0'), &number))
            return false;
    *text = p;
    *out = number;
    return true;
}

static bool take_digits(const char **text)
{
    for (size_t i = 0; i < 5; i++, (*text)++)
        if (**text < '0' || **text > '9')
            return false;
    return true;
}

static bool take_text(const char **text, const char *want)
{
    size_t len = strlen(want);
    if (strncmp(*text, want, len) != 0)
        return false;
    *text += len;
    return true;
}

char *mst_checkpoint_temporary(const char *path, uint64_t attempt)
{
    return mst_text("%s.%llu" MST_CHECKPOINT_TMP, path, (unsigned long long)attempt);
}

// What follows the name of a file that is being written.
static bool is_temporary_end(const char *text)
{
    uint64_t attempt;
    const char *p = text;
    if (strcmp(text, MST_CHECKPOINT_TMP) == 0)
        return true;
    return take_text(&p, ".") && take_number(&p, &attempt) && strcmp(p, MST_CHECKPOINT_TMP) == 0;
}

enum mst_checkpoint_kind mst_checkpoint_name_kind(const char *name, uint64_t *step)
{
    enum mst_checkpoint_kind kind;
    *step = 0;
    if (strcmp(name, MST_CHECKPOINT_STATE MST_CHECKPOINT_TMP) == 0)
        return MST_CHECKPOINT_TEMPORARY;
    if (!take_text(&name, NAME_BEGIN) || !take_number(&name, step))
        return MST_CHECKPOINT_OTHER;
    if (take_text(&name, ".index"))
        kind = MST_CHECKPOINT_INDEX;
    else if (take_text(&name, ".data-") && take_digits(&name) && take_text(&name, "-of-") && take_digits(&name))
        kind = MST_CHECKPOINT_DATA;
    else
        return MST_CHECKPOINT_OTHER;
    if (is_temporary_end(name))
        return MST_CHECKPOINT_TEMPORARY;
    return *name ? MST_CHECKPOINT_OTHER : kind;
}

// The walk is over a copy of the names, because readdir may or may not see what is deleted and made meanwhile.
static mst_status read_names(DIR *folder, const char *dir, char ***names, size_t *n_names, struct mst_error *err)
{
    size_t capacity = 0;
    struct dirent *entry;
    while ((errno = 0, entry = readdir(folder))) {
        uint64_t step;
        if (mst_checkpoint_name_kind(entry->d_name, &step) == MST_CHECKPOINT_OTHER)
            continue;
        if (*n_names == MST_CHECKPOINT_LIST_MAX)
            return mst_fail(err, MST_RESOURCE_EXHAUSTED, "%s holds more than %d checkpoint files", dir,
                            MST_CHECKPOINT_LIST_MAX);
        if (*n_names == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            *names = mst_realloc_array(*names, capacity, sizeof **names);
        }
        (*names)[(*n_names)++] = mst_strdup(entry->d_name);
    }
    return errno ? mst_disk_fail(err, errno, "list", dir) : MST_OK;
}

mst_status mst_checkpoint_each_file(const char *dir, mst_checkpoint_file_fn on_file, void *context,
                                    struct mst_error *err)
{
    char **names = NULL;
    size_t n_names = 0;
    DIR *folder = opendir(dir);
    if (!folder)
        return mst_disk_fail(err, errno, "open the checkpoint folder", dir);
    mst_status status = read_names(folder, dir, &names, &n_names, err);
    closedir(folder);
    for (size_t i = 0; i < n_names; i++) {
        uint64_t step;
        enum mst_checkpoint_kind kind = mst_checkpoint_name_kind(names[i], &step);
        if (status == MST_OK)
            status = on_file(context, names[i], kind, step, err);
        free(names[i]);
    }
    free(names);
    return status;
}
