// The checkpoints of the best epochs. An epoch's weights have to be saved before it is known whether it is the best:
// so one is written at each epoch's end, and stays until the callbacks have heard of the epoch; then only those of the
// best epochs stay beyond checkpoint.keep. A checkpoint that is under way counts as there: what it remembers of
// callbacks is read only if it is.
#include "chief/chief_private.h"

#include "base/alloc.h"
#include "ckpt/checkpoint.h"

#include <stdlib.h>
#include <string.h>

struct epoch_checkpoint {
    uint64_t epoch;
    bool has_step; // is written, or being written
    bool is_known; // the callbacks have heard of the epoch
    uint64_t step;
};

bool mst_chief_keeps_best(const struct mst_chief *chief)
{
    for (size_t i = 0; i < chief->config.job->n_callbacks; i++)
        if (mst_callback_keeps_best(&chief->config.job->callbacks[i]))
            return true;
    return false;
}

static void add(struct mst_chief *chief, struct epoch_checkpoint one)
{
    chief->epoch_checkpoints = mst_realloc_array(chief->epoch_checkpoints, chief->n_epoch_checkpoints + 1, sizeof one);
    chief->epoch_checkpoints[chief->n_epoch_checkpoints++] = one;
}

void mst_chief_best_epoch_trained(struct mst_chief *chief, uint64_t epoch)
{
    if (mst_chief_keeps_best(chief))
        add(chief, (struct epoch_checkpoint){.epoch = epoch});
}

bool mst_chief_best_is_due(const struct mst_chief *chief)
{
    for (size_t i = 0; i < chief->n_epoch_checkpoints; i++)
        if (!chief->epoch_checkpoints[i].has_step)
            return true;
    return false;
}

static bool is_best(const struct mst_chief *chief, uint64_t epoch)
{
    for (size_t i = 0; i < chief->config.job->n_callbacks; i++) {
        struct mst_callback_view view = mst_callbacks_view(chief->callbacks, i);
        if (mst_callback_keeps_best(&chief->config.job->callbacks[i]) && view.has_best && view.best_epoch == epoch)
            return true;
    }
    return false;
}

// Forgets those that are known and not the best.
static void prune(struct mst_chief *chief)
{
    size_t n = 0;
    for (size_t i = 0; i < chief->n_epoch_checkpoints; i++) {
        struct epoch_checkpoint *one = &chief->epoch_checkpoints[i];
        if (!one->is_known || is_best(chief, one->epoch))
            chief->epoch_checkpoints[n++] = *one;
    }
    chief->n_epoch_checkpoints = n;
}

void mst_chief_best_epoch_known(struct mst_chief *chief, uint64_t epoch)
{
    for (size_t i = 0; i < chief->n_epoch_checkpoints; i++) {
        struct epoch_checkpoint *one = &chief->epoch_checkpoints[i];
        if (one->epoch != epoch)
            continue;
        one->is_known = true;
        if (one->has_step)
            mst_callbacks_saved(chief->callbacks, epoch, one->step);
    }
    prune(chief);
}

void mst_chief_best_saving(struct mst_chief *chief, uint64_t step)
{
    for (size_t i = 0; i < chief->n_epoch_checkpoints; i++) {
        struct epoch_checkpoint *one = &chief->epoch_checkpoints[i];
        if (one->has_step)
            continue;
        one->has_step = true;
        one->step = step;
        mst_callbacks_saved(chief->callbacks, one->epoch, step);
    }
}

void mst_chief_best_save_failed(struct mst_chief *chief, uint64_t step)
{
    size_t n = 0;
    for (size_t i = 0; i < chief->n_epoch_checkpoints; i++) {
        struct epoch_checkpoint *one = &chief->epoch_checkpoints[i];
        if (one->has_step && one->step == step)
            mst_callbacks_not_saved(chief->callbacks, one->epoch);
        else
            chief->epoch_checkpoints[n++] = *one;
    }
    chief->n_epoch_checkpoints = n;
}

size_t mst_chief_best_steps(const struct mst_chief *chief, uint64_t **steps_out)
{
    *steps_out = mst_alloc_array(chief->n_epoch_checkpoints + 1, sizeof **steps_out);
    size_t n = 0;
    for (size_t i = 0; i < chief->n_epoch_checkpoints; i++)
        if (chief->epoch_checkpoints[i].has_step)
            (*steps_out)[n++] = chief->epoch_checkpoints[i].step;
    return n;
}

void mst_chief_best_resume(struct mst_chief *chief)
{
    for (size_t i = 0; i < chief->config.job->n_callbacks; i++) {
        struct mst_callback_view view = mst_callbacks_view(chief->callbacks, i);
        if (view.has_best && view.has_step)
            add(chief, (struct epoch_checkpoint){
                           .epoch = view.best_epoch, .has_step = true, .is_known = true, .step = view.step});
    }
}

char *mst_chief_best_prefix(const struct mst_chief *chief, size_t i)
{
    struct mst_callback_view view = mst_callbacks_view(chief->callbacks, i);
    bool is_there = mst_callback_keeps_best(&chief->config.job->callbacks[i]) && view.has_best && view.has_step;
    return is_there ? mst_checkpoint_prefix(chief->config.job->checkpoint_chief_dir, view.step) : NULL;
}

char *mst_chief_restored_prefix(const struct mst_chief *chief)
{
    char *prefix = NULL;
    for (size_t i = 0; i < chief->config.job->n_callbacks; i++) {
        if (chief->config.job->callbacks[i].kind != MST_CALLBACK_EARLY_STOPPING)
            continue;
        char *one = mst_chief_best_prefix(chief, i); // the last one in the list has the last word, as in Keras
        if (one) {
            free(prefix);
            prefix = one;
        }
    }
    return prefix;
}

json_t *mst_chief_best_json(const struct mst_chief *chief)
{
    json_t *list = json_array();
    for (size_t i = 0; i < chief->config.job->n_callbacks; i++) {
        const struct mst_job_callback *job = &chief->config.job->callbacks[i];
        struct mst_callback_view view = mst_callbacks_view(chief->callbacks, i);
        char *prefix = mst_chief_best_prefix(chief, i);
        if (prefix)
            json_array_append_new(list,
                                  json_pack("{s:s, s:s, s:f, s:I, s:s, s:s?}", "callback", mst_callback_name(job->kind),
                                            "monitor", view.monitor, "value", view.best, "epoch",
                                            (json_int_t)view.best_epoch + 1, "checkpoint", prefix, "file", job->path));
        free(prefix);
    }
    return list;
}
