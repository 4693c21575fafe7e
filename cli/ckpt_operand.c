// A directory is listed once; a checkpoint is whole if its bundle opens.
#include "cli/ckpt_operand.h"

#include "base/alloc.h"
#include "base/error.h"
#include "spec/job.h"
#include "tfio/bundle_reader.h"
#include "tfio/disk_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INDEX_SUFFIX    MST_INDEX_SUFFIX
#define INDEX_MAX_NAMES ((size_t)100000) // of a directory: more means that it is not one of checkpoints

void mst_prefixes_fini(struct mst_prefixes *prefixes)
{
    for (size_t i = 0; i < prefixes->n; i++)
        free(prefixes->items[i]);
    free(prefixes->items);
    *prefixes = (struct mst_prefixes){0};
}

static void prefixes_add(struct mst_prefixes *prefixes, char *prefix)
{
    prefixes->items = mst_realloc_array(prefixes->items, prefixes->n + 1, sizeof *prefixes->items);
    prefixes->items[prefixes->n++] = prefix;
}

static int is_index(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    size_t suffix_len = strlen(INDEX_SUFFIX);
    return len > suffix_len && strcmp(entry->d_name + len - suffix_len, INDEX_SUFFIX) == 0;
}

static char *without_suffix(const char *path)
{
    return mst_text("%.*s", (int)(strlen(path) - strlen(INDEX_SUFFIX)), path);
}

// versionsort orders the numbers in names as numbers: model-9 before model-10, ckpt-9 before ckpt-10.
static mst_status list_directory(const char *dir, struct mst_prefixes *out, struct mst_error *err)
{
    struct dirent **entries;
    int n = scandir(dir, &entries, is_index, versionsort);
    if (n < 0)
        return mst_disk_fail(err, errno, "list", dir);
    bool too_many = (size_t)n > INDEX_MAX_NAMES;
    for (int i = 0; i < n; i++) {
        if (!too_many) {
            char *path = mst_text("%s/%s", dir, entries[i]->d_name);
            prefixes_add(out, without_suffix(path));
            free(path);
        }
        free(entries[i]);
    }
    free(entries);
    if (too_many)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "%s holds %d checkpoints; %zu are the limit", dir, n,
                        INDEX_MAX_NAMES);
    return MST_OK;
}

bool mst_is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

mst_status mst_prefixes_of_directory(const char *dir, struct mst_prefixes *out, struct mst_error *err)
{
    mst_status status = list_directory(dir, out, err);
    if (status == MST_OK && out->n == 0)
        return mst_fail(err, MST_NOT_FOUND, "%s holds no checkpoint: no file there ends with " INDEX_SUFFIX, dir);
    return status;
}

mst_status mst_prefixes_of_job(const char *path, struct mst_prefixes *out, struct mst_error *err)
{
    struct mst_job_request request = {.path = path};
    struct mst_job *job;
    MST_TRY(mst_job_load(&request, &job, err));
    mst_status status = MST_OK;
    if (mst_is_directory(job->checkpoint_dir))
        status = mst_prefixes_of_directory(job->checkpoint_dir, out, err);
    else
        status =
            mst_fail(err, MST_NOT_FOUND, "%s: checkpoint.dir %s is not there; train first", path, job->checkpoint_dir);
    mst_job_free(job);
    return status;
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text);
    size_t end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

// A file of the bundle is what people name, so the failure says what a prefix is.
mst_status mst_prefix_of_name(const char *name, char **out, struct mst_error *err)
{
    *out = NULL;
    char *prefix = ends_with(name, INDEX_SUFFIX) ? without_suffix(name) : mst_strdup(name);
    char *index = mst_bundle_index_path(prefix);
    struct stat info;
    mst_status status = MST_OK;
    if (stat(index, &info) == 0)
        *out = prefix;
    else if (errno == ENOENT || errno == ENOTDIR)
        status = mst_fail(err, MST_NOT_FOUND,
                          "%s is not there; a checkpoint is named by its prefix, the path of its files without "
                          "'" INDEX_SUFFIX "' or '.data-…' ('muster ckpt ls DIR' lists them)",
                          index);
    else
        status = mst_disk_fail(err, errno, "examine", index);
    free(index);
    if (!*out)
        free(prefix);
    return status;
}

mst_status mst_prefixes_of_operand(const char *name, struct mst_prefixes *out, struct mst_error *err)
{
    if (mst_is_directory(name))
        return mst_prefixes_of_directory(name, out, err);
    char *prefix;
    MST_TRY(mst_prefix_of_name(name, &prefix, err));
    prefixes_add(out, prefix);
    return MST_OK;
}

mst_status mst_prefix_newest(const char *name, char **out, struct mst_error *err)
{
    struct mst_prefixes prefixes = {0};
    struct mst_error why = {""};
    *out = NULL;
    if (!mst_is_directory(name))
        return mst_prefix_of_name(name, out, err);
    mst_status status = mst_prefixes_of_directory(name, &prefixes, err);
    for (size_t i = prefixes.n; status == MST_OK && i > 0 && !*out; i--) {
        struct mst_bundle *bundle;
        if (mst_bundle_open(prefixes.items[i - 1], &bundle, &why) == MST_OK)
            *out = mst_strdup(prefixes.items[i - 1]);
        else
            fprintf(stderr, "muster: %s is passed over: %s\n", prefixes.items[i - 1], why.text);
        mst_bundle_free(bundle);
    }
    if (status == MST_OK && !*out)
        status = mst_fail(err, MST_DATA_LOSS, "%s has %zu checkpoints, and none is whole", name, prefixes.n);
    mst_prefixes_fini(&prefixes);
    return status;
}
