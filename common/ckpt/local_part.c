// A part is committed as a shared checkpoint is: a bundle of one data file whose index makes it exist.
// Rows become tensors of their own, because a bundle that has only some slices of a variable is none.
#include "ckpt/local_part.h"

#include "base/alloc.h"
#include "base/error.h"
#include "checkpoint_state.h"
#include "ckpt/checkpoint.h"
#include "ckpt/checkpoint_list.h"
#include "ckpt/checkpoint_part.h"
#include "muster/status.h"
#include "tensor/shape.h"
#include "tfio/bundle.h"
#include "tfio/bundle_reader.h"
#include "tfio/tf_types.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

char *mst_local_part_name(const char *name, uint64_t row_offset, uint64_t n_rows)
{
    if (n_rows == 0)
        return mst_strdup(name);
    return mst_text("%s/@rows-%llu-%llu", name, (unsigned long long)row_offset, (unsigned long long)n_rows);
}

struct mst_local_part {
    int64_t id; // as the file has it
    struct mst_checkpoint_part *file;
    struct mst_checkpoint_writer *writer;
};

mst_status mst_local_part_new(const char *dir, uint64_t step, uint64_t id, struct mst_local_part **out,
                              struct mst_error *err)
{
    struct mst_checkpoint_writer *writer;
    struct mst_checkpoint_part *file;
    *out = NULL;
    MST_TRY(mst_checkpoint_clean(dir, err)); // who failed may not have been able to delete what it wrote
    const struct mst_checkpoint_attempt attempt = {.dir = dir, .step = step, .n_shards = 1, .id = id};
    MST_TRY(mst_checkpoint_begin(&attempt, &writer, err));
    mst_status status = mst_checkpoint_part_new(&attempt, 0, &file, err);
    if (status != MST_OK) {
        mst_checkpoint_abort(writer);
        return status;
    }
    *out = mst_alloc(sizeof **out);
    **out = (struct mst_local_part){(int64_t)id, file, writer};
    return MST_OK;
}

mst_status mst_local_part_add(struct mst_local_part *part, const struct mst_checkpoint_value *value,
                              struct mst_error *err)
{
    struct mst_checkpoint_value own = *value;
    struct mst_bundle_piece piece;
    char *name = mst_local_part_name(own.tensor.name, own.tensor.row_offset, own.tensor.n_rows);
    own.tensor.name = name;
    if (own.tensor.n_rows)
        own.tensor.shape.dims[0] = (size_t)own.tensor.n_rows;
    own.tensor.row_offset = 0;
    own.tensor.n_rows = 0;
    mst_status status = mst_checkpoint_part_add(part->file, &own, &piece, err);
    if (status == MST_OK)
        status = mst_checkpoint_add(part->writer, &own.tensor, 0, &piece, err);
    free(name);
    return status;
}

mst_status mst_local_part_commit(struct mst_local_part *part, const uint64_t *keep, size_t n_keep,
                                 struct mst_error *err)
{
    const struct mst_checkpoint_value id = {
        .tensor = {.name = MST_LOCAL_PART_TENSOR, .type = MST_TF_INT64, .shape = {.rank = 1, .dims = {1}}},
        .data = &part->id};
    mst_status status = mst_local_part_add(part, &id, err);
    if (status == MST_OK) {
        status = mst_checkpoint_part_close(part->file, err);
        part->file = NULL;
    }
    if (status != MST_OK) {
        mst_local_part_abort(part);
        return status;
    }
    if (n_keep)
        mst_checkpoint_spare(part->writer, keep, n_keep);
    status = mst_checkpoint_commit(part->writer, 1, err); // this one and those that are spared
    free(part);
    return status;
}

void mst_local_part_abort(struct mst_local_part *part)
{
    if (!part)
        return;
    mst_checkpoint_part_abort(part->file);
    mst_checkpoint_abort(part->writer);
    free(part);
}

mst_status mst_local_part_numbers(const struct mst_bundle *bundle, int64_t *numbers, size_t *n_out,
                                  struct mst_error *err)
{
    const struct mst_bundle_entry *entry = mst_bundle_find(bundle, MST_LOCAL_PART_TENSOR);
    *n_out = 0;
    if (!entry || entry->type != MST_TF_INT64 || entry->shape.rank != 1 || entry->shape.dims[0] < 1 ||
        entry->shape.dims[0] > MST_LOCAL_PART_NUMBERS_MAX)
        return mst_fail(err, MST_NOT_FOUND, "there is no " MST_LOCAL_PART_TENSOR ": it is no part of checkpoint.local");
    MST_TRY(mst_bundle_read(bundle, entry, numbers, entry->shape.dims[0] * sizeof *numbers, err));
    *n_out = entry->shape.dims[0];
    return MST_OK;
}

static mst_status read_through(const char *prefix, uint64_t *id, struct mst_error *err)
{
    struct mst_bundle *bundle;
    int64_t numbers[MST_LOCAL_PART_NUMBERS_MAX] = {0};
    size_t n;
    MST_TRY(mst_bundle_open(prefix, &bundle, err));
    mst_status status = mst_bundle_verify(bundle, err);
    if (status == MST_OK) {
        status = mst_local_part_numbers(bundle, numbers, &n, err);
        if (status != MST_OK)
            status = mst_fail_prefix(err, status, "%s", prefix);
    }
    *id = (uint64_t)numbers[0];
    mst_bundle_free(bundle);
    return status;
}

// As in checkpoint_list.c: what cannot be opened for such reasons may be whole.
static bool may_be_whole(mst_status status)
{
    return status == MST_PERMISSION_DENIED || status == MST_RESOURCE_EXHAUSTED;
}

mst_status mst_local_parts_list(const char *dir, mst_checkpoint_passed_fn on_passed, void *context,
                                struct mst_local_parts *out, struct mst_error *err)
{
    *out = (struct mst_local_parts){0};
    uint64_t *steps;
    size_t n_steps;
    MST_TRY(mst_checkpoint_clean(dir, err));
    mst_status status = mst_checkpoint_list(dir, &steps, &n_steps, err);
    if (status == MST_NOT_FOUND)
        return MST_OK;
    MST_TRY(status);
    mst_checkpoint_state_sort(dir, steps, n_steps);
    out->steps = mst_alloc_array(n_steps, sizeof *out->steps);
    out->ids = mst_alloc_array(n_steps, sizeof *out->ids);
    for (size_t i = n_steps; i > 0 && status == MST_OK; i--) {
        char *prefix = mst_checkpoint_prefix(dir, steps[i - 1]);
        struct mst_error why = {0};
        uint64_t id = 0;
        mst_status whole = read_through(prefix, &id, &why);
        if (whole == MST_OK) {
            out->steps[out->n] = steps[i - 1];
            out->ids[out->n++] = id;
        } else if (may_be_whole(whole)) {
            status = mst_fail(err, whole, "%s", why.text);
        } else if (on_passed) {
            on_passed(context, prefix, why.text);
        }
        free(prefix);
    }
    free(steps);
    for (size_t i = 0; i < out->n / 2; i++) { // they came newest first
        size_t k = out->n - 1 - i;
        uint64_t step = out->steps[i];
        uint64_t id = out->ids[i];
        out->steps[i] = out->steps[k];
        out->ids[i] = out->ids[k];
        out->steps[k] = step;
        out->ids[k] = id;
    }
    return status;
}

size_t mst_local_parts_find(const struct mst_local_parts *parts, uint64_t step, uint64_t id)
{
    size_t i = 0;
    while (i < parts->n && (parts->steps[i] != step || parts->ids[i] != id))
        i++;
    return i;
}

void mst_local_parts_fini(struct mst_local_parts *parts)
{
    free(parts->steps);
    free(parts->ids);
    *parts = (struct mst_local_parts){0};
}
