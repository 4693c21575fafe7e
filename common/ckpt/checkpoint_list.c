// The names say which checkpoints there are; the bundle reader says whether one is whole. The `checkpoint` file is not
// asked: it may be older than the newest index when a crash came between the two.
#include "ckpt/checkpoint_list.h"

#include "base/alloc.h"
#include "base/error.h"
#include "checkpoint_names.h"
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

mst_status mst_checkpoint_newest(const char *dir, mst_checkpoint_passed_fn on_passed, void *context, char **prefix_out,
                                 uint64_t *step_out, struct mst_error *err)
{
    uint64_t *steps;
    size_t n_steps;
    *prefix_out = NULL;
    *step_out = 0;
    MST_TRY(mst_checkpoint_list(dir, &steps, &n_steps, err));
    for (size_t i = n_steps; i > 0 && !*prefix_out; i--) {
        char *prefix = mst_checkpoint_prefix(dir, steps[i - 1]);
        struct mst_bundle *bundle;
        struct mst_error why = {0};
        if (mst_bundle_open(prefix, &bundle, &why) == MST_OK) {
            mst_bundle_free(bundle);
            *prefix_out = prefix;
            *step_out = steps[i - 1];
            continue;
        }
        if (on_passed)
            on_passed(context, prefix, why.text);
        free(prefix);
    }
    free(steps);
    if (!*prefix_out)
        return mst_fail(err, MST_NOT_FOUND, "%s holds no whole checkpoint (%zu are broken)", dir, n_steps);
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
