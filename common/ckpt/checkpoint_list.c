// The names say which checkpoints there are, the `checkpoint` file which are newer, the bundle reader whether one is
// whole. The file may be older than the newest index when a crash came between the two.
#include "ckpt/checkpoint_list.h"

#include "base/alloc.h"
#include "base/error.h"
#include "checkpoint_names.h"
#include "checkpoint_state.h"
#include "ckpt/checkpoint.h"
#include "muster/status.h"
#include "tfio/bundle_reader.h"

#include <stdint.h>
#include <stdlib.h>

struct list {
    uint64_t *steps;
    size_t n;
    size_t capacity;
};

static mst_status on_file(void *context, const char *name, enum mst_checkpoint_kind kind, uint64_t step,
                          struct mst_error *err)
{
    struct list *list = context;
    (void)name;
    (void)err;
    if (kind != MST_CHECKPOINT_INDEX)
        return MST_OK;
    if (list->n == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 16;
        list->steps = mst_realloc_array(list->steps, list->capacity, sizeof *list->steps);
    }
    list->steps[list->n++] = step;
    return MST_OK;
}

static int by_step(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

mst_status mst_checkpoint_list(const char *dir, uint64_t **steps_out, size_t *n_steps_out, struct mst_error *err)
{
    struct list list = {0};
    *steps_out = NULL;
    *n_steps_out = 0;
    mst_status status = mst_checkpoint_each_file(dir, on_file, &list, err);
    if (status != MST_OK) {
        free(list.steps);
        return status;
    }
    if (list.n > 0)
        qsort(list.steps, list.n, sizeof *list.steps, by_step);
    *steps_out = list.steps;
    *n_steps_out = list.n;
    return MST_OK;
}

// How one of them is looked for.
struct search {
    const char *dir;
    mst_checkpoint_passed_fn on_passed;
    void *context;
    mst_status (*check)(const char *prefix, struct mst_error *err);
};

static mst_status check_open(const char *prefix, struct mst_error *err)
{
    struct mst_bundle *bundle;
    MST_TRY(mst_bundle_open(prefix, &bundle, err));
    mst_bundle_free(bundle);
    return MST_OK;
}

mst_status mst_checkpoint_verify(const char *prefix, struct mst_error *err)
{
    struct mst_bundle *bundle;
    MST_TRY(mst_bundle_open(prefix, &bundle, err));
    mst_status status = mst_bundle_verify(bundle, err);
    mst_bundle_free(bundle);
    return status;
}

// A checkpoint that we may not read, or have no memory or descriptors for, can be whole: to pass it over would throw
// away what was trained since the one before.
static bool may_be_whole(mst_status status)
{
    return status == MST_PERMISSION_DENIED || status == MST_RESOURCE_EXHAUSTED;
}

static mst_status search(const struct search *search, char **prefix_out, uint64_t *step_out, struct mst_error *err)
{
    uint64_t *steps;
    size_t n_steps;
    struct mst_error newest = {0};
    mst_status status = MST_OK;
    *prefix_out = NULL;
    *step_out = 0;
    MST_TRY(mst_checkpoint_list(search->dir, &steps, &n_steps, err));
    mst_checkpoint_state_sort(search->dir, steps, n_steps);
    for (size_t i = n_steps; i > 0 && !*prefix_out; i--) {
        char *prefix = mst_checkpoint_prefix(search->dir, steps[i - 1]);
        struct mst_error why = {0};
        status = search->check(prefix, &why);
        if (status == MST_OK) {
            *prefix_out = prefix;
            *step_out = steps[i - 1];
            break;
        }
        if (!may_be_whole(status) && search->on_passed)
            search->on_passed(search->context, prefix, why.text);
        free(prefix);
        if (i == n_steps || may_be_whole(status))
            newest = why;
        if (may_be_whole(status))
            break;
    }
    free(steps);
    if (n_steps == 0)
        return mst_fail(err, MST_NOT_FOUND, "%s holds no checkpoint", search->dir);
    if (may_be_whole(status))
        return mst_fail(err, status, "%s", newest.text);
    if (!*prefix_out)
        return mst_fail(err, MST_DATA_LOSS, "none of the %zu checkpoints in %s is whole; the newest: %s", n_steps,
                        search->dir, newest.text);
    return MST_OK;
}

mst_status mst_checkpoint_newest(const char *dir, mst_checkpoint_passed_fn on_passed, void *context, char **prefix_out,
                                 uint64_t *step_out, struct mst_error *err)
{
    const struct search shallow = {dir, on_passed, context, check_open};
    return search(&shallow, prefix_out, step_out, err);
}

mst_status mst_checkpoint_newest_verified(const char *dir, mst_checkpoint_passed_fn on_passed, void *context,
                                          char **prefix_out, uint64_t *step_out, struct mst_error *err)
{
    const struct search deep = {dir, on_passed, context, mst_checkpoint_verify};
    return search(&deep, prefix_out, step_out, err);
}
