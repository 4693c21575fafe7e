// In two passes: first every tensor's cuts and the data file of each are decided, from the index alone (the largest
// goes to the file that has least, so that files come out even); then tensor by tensor is read and its cuts are
// appended, so that memory holds one tensor. What the reader gives was checked against its checksum, and the writer
// computes its own over the same bytes.
#include "cli/resharding.h"

#include "base/alloc.h"
#include "base/error.h"
#include "tfio/bundle_reader.h"
#include "tfio/bundle_writer.h"
#include "tfio/disk_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TMP_SUFFIX ".tmp"
#define PARTITIONER_FORMS                                                                                              \
    "none, fixed:SHARDS, min-size:BYTES[:SHARDS] or max-size:BYTES[:SHARDS], as TensorFlow's partitioners"

// One stored piece of the new checkpoint.
struct cut {
    size_t entry; // of the old one
    uint64_t row;
    uint64_t n_rows; // 0: the whole tensor
    uint64_t bytes;
    size_t shard;
};

struct resharding {
    const struct mst_resharding *request;
    struct mst_bundle *bundle;
    size_t n_shards;
    struct cut *cuts; // in order of entries and rows
    size_t n_cuts;
    size_t capacity;
    struct mst_bundle_data **files; // n_shards
    struct mst_bundle_index *index;
};

// ---- the partitioner's text ----

// The number from *text up to a colon or the end; *text moves behind it.
static bool take_number(const char **text, uint64_t *out)
{
    char *end;
    if (**text < '0' || **text > '9')
        return false;
    errno = 0;
    *out = strtoull(*text, &end, 10);
    if (errno != 0 || *out == 0 || (*end != '\0' && *end != ':'))
        return false;
    *text = *end ? end + 1 : end;
    return true;
}

mst_status mst_partitioner_read(const char *text, struct mst_partitioner *out, struct mst_error *err)
{
    static const struct {
        const char *word;
        enum mst_partitioner_kind kind;
    } kinds[] = {{"fixed:", MST_PARTITIONER_FIXED_SHARDS},
                 {"min-size:", MST_PARTITIONER_MIN_SIZE},
                 {"max-size:", MST_PARTITIONER_MAX_SIZE}};
    *out = (struct mst_partitioner){.kind = MST_PARTITIONER_NONE};
    if (strcmp(text, "none") == 0)
        return MST_OK;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t len = strlen(kinds[i].word);
        if (strncmp(text, kinds[i].word, len) != 0)
            continue;
        const char *at = text + len;
        uint64_t first;
        uint64_t shards = kinds[i].kind == MST_PARTITIONER_MIN_SIZE ? 1 : 0; // TensorFlow's defaults
        bool is_good = take_number(&at, &first);
        if (is_good && kinds[i].kind != MST_PARTITIONER_FIXED_SHARDS && *at)
            is_good = take_number(&at, &shards);
        if (!is_good || *at || at[-1] == ':')
            break;
        out->kind = kinds[i].kind;
        out->num_shards = out->kind == MST_PARTITIONER_FIXED_SHARDS ? first : 0;
        out->min_shard_bytes = out->kind == MST_PARTITIONER_MIN_SIZE ? first : 0;
        out->max_shard_bytes = out->kind == MST_PARTITIONER_MAX_SIZE ? first : 0;
        out->max_shards = shards;
        return MST_OK;
    }
    return mst_fail(err, MST_INVALID_ARGUMENT, "'%s' is no partitioner; there are " PARTITIONER_FORMS, text);
}

// ---- what is cut where ----

static void add_cut(struct resharding *work, struct cut cut)
{
    if (work->n_cuts == work->capacity) {
        work->capacity = work->capacity ? 2 * work->capacity : 64;
        work->cuts = mst_realloc_array(work->cuts, work->capacity, sizeof *work->cuts);
    }
    work->cuts[work->n_cuts++] = cut;
}

// Slices that are whole rows; other boxes of TensorFlow's are joined, for we write rows only.
static bool is_cut_by_rows(const struct resharding *work, const struct mst_bundle_entry *entry)
{
    size_t n_slices = mst_bundle_n_slices(entry);
    for (size_t i = 0; i < n_slices; i++) {
        struct mst_bundle_slice slice;
        mst_bundle_slice_at(work->bundle, entry, i, &slice);
        for (size_t axis = 1; axis < entry->shape.rank; axis++)
            if (slice.length[axis] != entry->shape.dims[axis])
                return false;
    }
    return n_slices > 1;
}

static mst_status cut_by_partitioner(struct resharding *work, size_t at, const struct mst_bundle_entry *entry,
                                     struct mst_error *err)
{
    uint64_t dims[MST_SHAPE_MAX_RANK] = {0};
    for (size_t axis = 0; axis < entry->shape.rank; axis++)
        dims[axis] = entry->shape.dims[axis];
    uint64_t n =
        mst_partitioner_n_parts(&work->request->partitioner, dims, entry->shape.rank, mst_tf_type_bytes(entry->type));
    if (n > MST_BUNDLE_SLICES_MAX)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s would be cut into %llu slices; %d are the limit", entry->name,
                        (unsigned long long)n, MST_BUNDLE_SLICES_MAX);
    if (n < 2 || dims[0] == 0) {
        add_cut(work, (struct cut){.entry = at, .bytes = entry->size_bytes});
        return MST_OK;
    }
    for (uint64_t i = 0; i < n; i++) {
        struct mst_part_rows rows = mst_part_rows_of(dims[0], n, i);
        add_cut(work, (struct cut){at, rows.first, rows.n_rows, rows.n_rows * (entry->size_bytes / dims[0]), 0});
    }
    return MST_OK;
}

static mst_status cut_entry(struct resharding *work, size_t at, struct mst_error *err)
{
    const struct mst_bundle_entry *entry = mst_bundle_entry_at(work->bundle, at);
    struct mst_bundle_slice slice;
    if (mst_tf_type_bytes(entry->type) == 0) {
        mst_bundle_slice_at(work->bundle, entry, 0, &slice);
        add_cut(work, (struct cut){.entry = at, .bytes = slice.size_bytes});
        return MST_OK;
    }
    if (work->request->is_recut)
        return cut_by_partitioner(work, at, entry, err);
    if (!is_cut_by_rows(work, entry)) {
        add_cut(work, (struct cut){.entry = at, .bytes = entry->size_bytes});
        return MST_OK;
    }
    for (size_t i = 0; i < mst_bundle_n_slices(entry); i++) {
        mst_bundle_slice_at(work->bundle, entry, i, &slice);
        add_cut(work, (struct cut){at, slice.start[0], slice.length[0], slice.size_bytes, 0});
    }
    return MST_OK;
}

static int largest_first(const void *a, const void *b)
{
    const struct cut *x = *(const struct cut *const *)a;
    const struct cut *y = *(const struct cut *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return (x > y) - (x < y); // both in one array
}

static void spread(struct resharding *work)
{
    struct cut **order = mst_alloc_array(work->n_cuts, sizeof(struct cut *));
    uint64_t *load = mst_alloc_array(work->n_shards, sizeof *load);
    for (size_t i = 0; i < work->n_cuts; i++)
        order[i] = &work->cuts[i];
    if (work->n_cuts > 0)
        qsort(order, work->n_cuts, sizeof *order, largest_first);
    for (size_t i = 0; i < work->n_cuts; i++) {
        size_t least = 0;
        for (size_t shard = 1; shard < work->n_shards; shard++)
            if (load[shard] < load[least])
                least = shard;
        order[i]->shard = least;
        load[least] += order[i]->bytes;
    }
    free(load);
    free(order);
}

// ---- files ----

static char *temporary_of(char *path)
{
    char *temporary = mst_text("%s" TMP_SUFFIX, path);
    free(path);
    return temporary;
}

static mst_status check_place(const char *to, struct mst_error *err)
{
    struct stat info;
    char *index = mst_bundle_index_path(to);
    bool is_there = stat(index, &info) == 0;
    mst_status status = MST_OK;
    if (is_there)
        status =
            mst_fail(err, MST_FAILED_PRECONDITION, "%s is there already; give another name, or delete it first", index);
    free(index);
    const char *slash = strrchr(to, '/');
    if (status != MST_OK || !slash || slash == to)
        return status;
    char *folder = mst_text("%.*s", (int)(slash - to), to);
    status = mst_disk_make_folders(folder, err);
    free(folder);
    return status;
}

static mst_status sync_folder_of(const char *to, struct mst_error *err)
{
    const char *slash = strrchr(to, '/');
    char *folder = slash ? mst_text("%.*s", slash == to ? 1 : (int)(slash - to), to) : mst_strdup(".");
    mst_status status = mst_disk_sync_folder(folder, err);
    free(folder);
    return status;
}

static mst_status open_files(struct resharding *work, struct mst_error *err)
{
    work->files = mst_alloc_array(work->n_shards, sizeof(struct mst_bundle_data *));
    work->index = mst_bundle_index_new(work->n_shards);
    mst_status status = MST_OK;
    for (size_t i = 0; i < work->n_shards && status == MST_OK; i++) {
        char *path = temporary_of(mst_bundle_data_path(work->request->to, i, work->n_shards));
        status = mst_bundle_data_new(path, &work->files[i], err);
        free(path);
    }
    return status;
}

static mst_status read_tensor(const struct resharding *work, const struct mst_bundle_entry *entry, void *bytes,
                              size_t n_bytes, struct mst_error *err)
{
    if (mst_tf_type_bytes(entry->type) == 0)
        return mst_bundle_read_stored(work->bundle, entry, 0, bytes, n_bytes, err);
    return mst_bundle_read(work->bundle, entry, bytes, n_bytes, err);
}

static mst_status write_cut(struct resharding *work, const struct cut *cut, const uint8_t *bytes, struct mst_error *err)
{
    const struct mst_bundle_entry *entry = mst_bundle_entry_at(work->bundle, cut->entry);
    struct mst_bundle_tensor tensor = {.name = entry->name,
                                       .type = (enum mst_tf_type)entry->type,
                                       .shape = entry->shape,
                                       .row_offset = cut->row,
                                       .n_rows = cut->n_rows};
    struct mst_bundle_piece piece;
    MST_TRY(mst_bundle_data_append(work->files[cut->shard], bytes, (size_t)cut->bytes, &piece, err));
    if (mst_tf_type_bytes(entry->type) == 0) {
        struct mst_bundle_slice slice;
        mst_bundle_slice_at(work->bundle, entry, 0, &slice);
        piece.crc32c = slice.crc32c; // is not over the bytes as they lie
    }
    return mst_bundle_index_add(work->index, &tensor, cut->shard, &piece, err);
}

// The n cuts of one tensor, which follow one another.
static mst_status write_tensor(struct resharding *work, const struct cut *cuts, size_t n, struct mst_error *err)
{
    const struct mst_bundle_entry *entry = mst_bundle_entry_at(work->bundle, cuts[0].entry);
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < n; i++)
        n_bytes += cuts[i].bytes;
    void *bytes;
    if (mst_try_alloc((size_t)n_bytes, &bytes) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "no memory for the %llu bytes of %s", (unsigned long long)n_bytes,
                        entry->name);
    mst_status status = read_tensor(work, entry, bytes, (size_t)n_bytes, err);
    const uint8_t *at = bytes;
    for (size_t i = 0; i < n && status == MST_OK; i++) {
        status = write_cut(work, &cuts[i], at, err);
        at += cuts[i].bytes;
    }
    free(bytes);
    return status;
}

static mst_status close_files(struct resharding *work, struct mst_error *err)
{
    mst_status status = MST_OK;
    for (size_t i = 0; i < work->n_shards; i++) {
        if (status == MST_OK)
            status = mst_bundle_data_close(work->files[i], err);
        else
            mst_bundle_data_abort(work->files[i]);
        work->files[i] = NULL;
    }
    return status;
}

static mst_status rename_temporary(char *path, struct mst_error *err)
{
    char *temporary = mst_text("%s" TMP_SUFFIX, path);
    mst_status status = mst_disk_rename(temporary, path, err);
    free(temporary);
    free(path);
    return status;
}

static mst_status commit(struct resharding *work, struct mst_error *err)
{
    const char *to = work->request->to;
    MST_TRY(close_files(work, err));
    char *index = temporary_of(mst_bundle_index_path(to));
    mst_status status = mst_bundle_index_write(work->index, index, err);
    free(index);
    for (size_t i = 0; i < work->n_shards && status == MST_OK; i++)
        status = rename_temporary(mst_bundle_data_path(to, i, work->n_shards), err);
    if (status == MST_OK)
        status = sync_folder_of(to, err);
    if (status == MST_OK)
        status = rename_temporary(mst_bundle_index_path(to), err);
    return status == MST_OK ? sync_folder_of(to, err) : status;
}

static void remove_path(char *path)
{
    struct mst_error ignored; // there is a failure to tell already
    (void)!mst_disk_remove(path, &ignored);
    free(path);
}

static void remove_files(const struct resharding *work)
{
    const char *to = work->request->to;
    remove_path(mst_bundle_index_path(to));
    remove_path(temporary_of(mst_bundle_index_path(to)));
    for (size_t i = 0; work->files && i < work->n_shards; i++) {
        mst_bundle_data_abort(work->files[i]);
        remove_path(mst_bundle_data_path(to, i, work->n_shards));
        remove_path(temporary_of(mst_bundle_data_path(to, i, work->n_shards)));
    }
}

static mst_status plan(struct resharding *work, struct mst_error *err)
{
    work->n_shards = work->request->n_shards ? work->request->n_shards : mst_bundle_n_shards(work->bundle);
    if (work->n_shards > MST_RESHARD_SHARDS_MAX)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%zu data files; at most %d are written: give fewer", work->n_shards,
                        MST_RESHARD_SHARDS_MAX);
    for (size_t i = 0; i < mst_bundle_n_entries(work->bundle); i++)
        MST_TRY(cut_entry(work, i, err));
    spread(work);
    return MST_OK;
}

static mst_status write_all(struct resharding *work, struct mst_resharded *out, struct mst_error *err)
{
    MST_TRY(open_files(work, err));
    struct mst_resharded done = {.n_shards = work->n_shards};
    for (size_t i = 0, n; i < work->n_cuts; i += n) {
        for (n = 1; i + n < work->n_cuts && work->cuts[i + n].entry == work->cuts[i].entry;)
            n++;
        MST_TRY(write_tensor(work, &work->cuts[i], n, err));
        done.n_tensors++;
        done.n_cut += n > 1;
        done.n_slices += n > 1 ? n : 0;
    }
    for (size_t i = 0; i < work->n_cuts; i++)
        done.n_bytes += work->cuts[i].bytes;
    MST_TRY(commit(work, err));
    *out = done;
    return MST_OK;
}

mst_status mst_reshard(const struct mst_resharding *request, struct mst_resharded *out, struct mst_error *err)
{
    struct resharding work = {.request = request};
    *out = (struct mst_resharded){0};
    MST_TRY(mst_bundle_open(request->from, &work.bundle, err));
    mst_status status = plan(&work, err);
    if (status == MST_OK)
        status = check_place(request->to, err);
    if (status == MST_OK) {
        status = write_all(&work, out, err);
        if (status != MST_OK)
            remove_files(&work);
    }
    mst_bundle_index_free(work.index);
    free(work.files);
    free(work.cuts);
    mst_bundle_free(work.bundle);
    return status;
}
