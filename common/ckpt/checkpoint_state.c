// Lines are taken strictly, as names are: a file of another program lists nothing of ours.
#include "checkpoint_state.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "checkpoint_names.h"
#include "muster/status.h"
#include "tfio/disk_file.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// 100 000 names of 60 bytes, and as much again.
enum { STATE_MAX_BYTES = 64 << 20, LINE_MAX_BYTES = 128 };

#define LISTED "all_model_checkpoint_paths: \""

// ---- reading ----

static bool take_line(const char *line, size_t len, uint64_t *step)
{
    char name[LINE_MAX_BYTES + sizeof ".index"];
    size_t begin = strlen(LISTED);
    if (len <= begin || len > LINE_MAX_BYTES || memcmp(line, LISTED, begin) != 0 || line[len - 1] != '"')
        return false;
    snprintf(name, sizeof name, "%.*s.index", (int)(len - 1 - begin), line + begin);
    return mst_checkpoint_name_kind(name, step) == MST_CHECKPOINT_INDEX;
}

void mst_checkpoint_state_parse(struct mst_bytes text, uint64_t **steps_out, size_t *n_steps_out)
{
    const char *at = text.data;
    size_t left = text.len;
    size_t capacity = 0;
    *steps_out = NULL;
    *n_steps_out = 0;
    while (left > 0) {
        const char *end = memchr(at, '\n', left);
        size_t len = end ? (size_t)(end - at) : left;
        uint64_t step;
        if (take_line(at, len, &step)) {
            if (*n_steps_out == capacity) {
                capacity = capacity ? 2 * capacity : 16;
                *steps_out = mst_realloc_array(*steps_out, capacity, sizeof **steps_out);
            }
            (*steps_out)[(*n_steps_out)++] = step;
        }
        size_t n_taken = end ? len + 1 : len;
        at += n_taken;
        left -= n_taken;
    }
}

// ---- order ----

struct aged {
    uint64_t step;
    size_t place; // from the oldest on
};

static int by_step(const void *a, const void *b)
{
    uint64_t x = ((const struct aged *)a)->step;
    uint64_t y = ((const struct aged *)b)->step;
    return (x > y) - (x < y);
}

static int by_place(const void *a, const void *b)
{
    size_t x = ((const struct aged *)a)->place;
    size_t y = ((const struct aged *)b)->place;
    return (x > y) - (x < y);
}

static void sort(const uint64_t *listed, size_t n_listed, uint64_t *steps, size_t n_steps)
{
    struct aged *known = mst_alloc_array(n_listed, sizeof *known);
    struct aged *order = mst_alloc_array(n_steps, sizeof *order);
    for (size_t i = 0; i < n_listed; i++)
        known[i] = (struct aged){listed[i], i};
    qsort(known, n_listed, sizeof *known, by_step);
    for (size_t i = 0; i < n_steps; i++) {
        const struct aged key = {steps[i], n_listed + i};
        const struct aged *found = bsearch(&key, known, n_listed, sizeof *known, by_step);
        order[i] = found ? *found : key;
    }
    qsort(order, n_steps, sizeof *order, by_place);
    for (size_t i = 0; i < n_steps; i++)
        steps[i] = order[i].step;
    free(order);
    free(known);
}

// Nothing where there is no such file: then the names have to do.
static void read_listed(const char *path, uint64_t **listed, size_t *n_listed)
{
    struct stat info;
    struct mst_buf text;
    *listed = NULL;
    *n_listed = 0;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode)) // a pipe would be waited for
        return;
    if (mst_disk_read(path, STATE_MAX_BYTES, &text, NULL) == MST_OK)
        mst_checkpoint_state_parse(mst_buf_view(&text), listed, n_listed);
    mst_buf_fini(&text);
}

void mst_checkpoint_state_sort(const char *dir, uint64_t *steps, size_t n_steps)
{
    uint64_t *listed;
    size_t n_listed;
    char *path = mst_text("%s/" MST_CHECKPOINT_STATE, dir);
    read_listed(path, &listed, &n_listed);
    if (n_listed > 0 && n_steps > 0)
        sort(listed, n_listed, steps, n_steps);
    free(listed);
    free(path);
}

// ---- writing ----

static mst_status append_quoted(struct mst_buf *buf, const char *begin, uint64_t step)
{
    return mst_buf_printf(buf, "%smodel-%llu\"\n", begin, (unsigned long long)step);
}

mst_status mst_checkpoint_state_write(const char *dir, const uint64_t *steps, size_t n_steps, struct mst_error *err)
{
    struct mst_buf text;
    mst_buf_init(&text, STATE_MAX_BYTES);
    // Names without a slash are relative to the folder that the file lies in.
    mst_status status = append_quoted(&text, "model_checkpoint_path: \"", steps[n_steps - 1]);
    for (size_t i = 0; status == MST_OK && i < n_steps; i++)
        status = append_quoted(&text, LISTED, steps[i]);
    char *path = mst_text("%s/" MST_CHECKPOINT_STATE, dir);
    char *temporary = mst_text("%s" MST_CHECKPOINT_TMP, path);
    if (status == MST_OK)
        status = mst_disk_write(temporary, mst_buf_view(&text), err);
    else
        status = mst_fail(err, status, "%s would be larger than its limit", path);
    if (status == MST_OK)
        status = mst_disk_rename(temporary, path, err);
    if (status == MST_OK)
        status = mst_disk_sync_folder(dir, err);
    free(temporary);
    free(path);
    mst_buf_fini(&text);
    return status;
}
