// The catalog (bundle_index.h) says where everything lies; here are the data files. All are opened at the start and
// stay open, so a checkpoint that is deleted meanwhile can still be read to its end, and reads are preads that share
// nothing.
//
// A stored piece is always read whole, front to back, because its CRC covers all of it: what the caller wants goes
// straight to its place, the rest through a small buffer.
#include "tfio/bundle_reader.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "bundle_index.h"
#include "bundle_text.h"
#include "muster/status.h"
#include "tensor/shape.h"
#include "tfio/bundle.h"
#include "tfio/disk_file.h"
#include "tfio/tf_types.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensor bytes are used as the files hold them");

enum { STREAM_BYTES = 64 << 10, DIRECT_BYTES = 16 << 10 };

struct data_file {
    char *path;
    int fd;
    uint64_t size_bytes;
};

struct mst_bundle {
    char *prefix;
    struct mst_bundle_catalog catalog;
    struct data_file *files;
};

// The bytes of one stored piece, front to back, with their CRC so far.
struct stream {
    const struct data_file *file;
    const char *name; // of the tensor, for texts
    uint64_t offset;  // in the file, of what was not read yet
    uint64_t left;    // of the piece, not read yet
    uint32_t crc;
    size_t n_buffered;
    const uint8_t *next;
    uint8_t buffer[STREAM_BYTES];
};

// The rows of a tensor that are wanted, and where they go.
struct target {
    size_t row;
    size_t n_rows;
    uint64_t row_bytes;
    uint8_t *out;
};

static mst_status open_data(struct data_file *file, struct mst_error *err)
{
    struct stat info;
    file->fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a pipe is refused, not waited for
    if (file->fd < 0)
        return mst_disk_fail(err, errno, "open", file->path);
    if (fstat(file->fd, &info) != 0)
        return mst_disk_fail(err, errno, "examine", file->path);
    if (!S_ISREG(info.st_mode))
        return mst_fail(err, MST_DATA_LOSS, "%s is not a regular file", file->path);
    file->size_bytes = (uint64_t)info.st_size;
    return MST_OK;
}

static mst_status open_all_data(struct mst_bundle *bundle, struct mst_error *err)
{
    const struct mst_bundle_catalog *catalog = &bundle->catalog;
    bundle->files = mst_alloc_array(catalog->n_shards, sizeof *bundle->files);
    for (size_t i = 0; i < catalog->n_shards; i++)
        bundle->files[i].fd = -1;
    for (size_t i = 0; i < catalog->n_shards; i++) {
        bundle->files[i].path = mst_bundle_data_path(bundle->prefix, i, catalog->n_shards);
        MST_TRY(open_data(&bundle->files[i], err));
    }
    for (size_t i = 0; i < catalog->n_items; i++) {
        const struct mst_bundle_item *item = &catalog->items[i];
        for (size_t k = 0; k < item->n_stored; k++) {
            const struct mst_bundle_stored *stored = &catalog->stored[item->first_stored + k];
            const struct data_file *file = &bundle->files[stored->shard];
            uint64_t end = stored->piece.offset_bytes + stored->piece.size_bytes;
            if (end > file->size_bytes)
                return mst_fail(err, MST_DATA_LOSS, "%s is truncated: it has %llu bytes, \"%s\" ends at %llu",
                                file->path, (unsigned long long)file->size_bytes, item->entry.name,
                                (unsigned long long)end);
        }
    }
    return MST_OK;
}

static mst_status read_index(struct mst_bundle *bundle, struct mst_error *err)
{
    struct mst_buf content;
    char *path = mst_bundle_index_path(bundle->prefix);
    mst_status status = mst_disk_read(path, MST_BUNDLE_INDEX_MAX_BYTES, &content, err);
    if (status == MST_OK) {
        status = mst_bundle_catalog_parse(&bundle->catalog, mst_buf_view(&content), err);
        if (status != MST_OK)
            status = mst_fail_prefix(err, status, "%s", path);
    }
    mst_buf_fini(&content);
    free(path);
    return status;
}

mst_status mst_bundle_open(const char *prefix, struct mst_bundle **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_bundle *bundle = mst_alloc(sizeof *bundle);
    bundle->prefix = mst_strdup(prefix);
    mst_status status = read_index(bundle, err);
    if (status == MST_OK)
        status = open_all_data(bundle, err);
    if (status != MST_OK) {
        mst_bundle_free(bundle);
        return status;
    }
    *out = bundle;
    return MST_OK;
}

void mst_bundle_free(struct mst_bundle *bundle)
{
    if (!bundle)
        return;
    for (size_t i = 0; bundle->files && i < bundle->catalog.n_shards; i++) {
        if (bundle->files[i].fd >= 0)
            close(bundle->files[i].fd);
        free(bundle->files[i].path);
    }
    free(bundle->files);
    mst_bundle_catalog_fini(&bundle->catalog);
    free(bundle->prefix);
    free(bundle);
}

size_t mst_bundle_n_shards(const struct mst_bundle *bundle)
{
    return bundle->catalog.n_shards;
}

size_t mst_bundle_n_entries(const struct mst_bundle *bundle)
{
    return bundle->catalog.n_items;
}

const struct mst_bundle_entry *mst_bundle_entry_at(const struct mst_bundle *bundle, size_t i)
{
    MST_ASSERT(i < bundle->catalog.n_items);
    return &bundle->catalog.items[i].entry;
}

const struct mst_bundle_entry *mst_bundle_find(const struct mst_bundle *bundle, const char *name)
{
    size_t low = 0, high = bundle->catalog.n_items; // in bytewise order of names, as strcmp orders them
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct mst_bundle_entry *entry = &bundle->catalog.items[middle].entry;
        int order = strcmp(name, entry->name);
        if (order == 0)
            return entry;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

mst_status mst_bundle_find_float(const struct mst_bundle *bundle, const char *name, const struct mst_shape *shape,
                                 const struct mst_bundle_entry **out, struct mst_error *err)
{
    *out = NULL;
    const struct mst_bundle_entry *entry = mst_bundle_find(bundle, name);
    if (!entry)
        return mst_fail(err, MST_INVALID_ARGUMENT, "there is no %s: it is of another model or optimizer", name);
    if (entry->type != MST_TF_FLOAT || !mst_shape_equal(&entry->shape, shape)) {
        char have[128];
        char want[128];
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s is %s %s and the model's is float32 %s", name,
                        entry->type == MST_TF_FLOAT ? "float32" : "of another type, of shape",
                        mst_shape_print(&entry->shape, have, sizeof have), mst_shape_print(shape, want, sizeof want));
    }
    *out = entry;
    return MST_OK;
}

static mst_status pread_all(struct stream *stream, uint8_t *to, size_t len, struct mst_error *err)
{
    for (size_t got = 0; got < len;) {
        ssize_t n = pread(stream->file->fd, to + got, len - got, (off_t)(stream->offset + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return mst_disk_fail(err, errno, "read", stream->file->path);
        if (n == 0)
            return mst_fail(err, MST_DATA_LOSS, "%s is truncated: it ends within \"%s\"", stream->file->path,
                            stream->name);
        got += (size_t)n;
    }
    stream->offset += len;
    stream->left -= len;
    stream->crc = mst_crc32c_extend(stream->crc, to, len);
    return MST_OK;
}

// The next len bytes of the piece go to `to`, or nowhere if that is NULL.
static mst_status stream_take(struct stream *stream, uint8_t *to, uint64_t len, struct mst_error *err)
{
    while (len > 0) {
        if (stream->n_buffered == 0 && to && len >= DIRECT_BYTES) {
            size_t n = (size_t)len;
            return pread_all(stream, to, n, err);
        }
        if (stream->n_buffered == 0) {
            MST_ASSERT(stream->left > 0); // pieces have the size that their boxes give: checked by the catalog
            size_t n = stream->left < STREAM_BYTES ? (size_t)stream->left : STREAM_BYTES;
            MST_TRY(pread_all(stream, stream->buffer, n, err));
            stream->n_buffered = n;
            stream->next = stream->buffer;
        }
        size_t n = len < stream->n_buffered ? (size_t)len : stream->n_buffered;
        if (to) {
            memcpy(to, stream->next, n);
            to += n;
        }
        stream->next += n;
        stream->n_buffered -= n;
        len -= n;
    }
    return MST_OK;
}

static bool is_whole_rows(const struct mst_bundle_stored *stored, const struct mst_shape *shape)
{
    for (size_t axis = 1; axis < shape->rank; axis++)
        if (stored->length[axis] != shape->dims[axis])
            return false;
    return true;
}

// Rows of whole width lie in the file as they lie in memory: before, wanted, after.
static mst_status take_rows(struct stream *stream, const struct mst_bundle_stored *stored, size_t rank,
                            const struct target *target, struct mst_error *err)
{
    size_t first = rank ? stored->start[0] : 0;
    size_t end = rank ? first + stored->length[0] : 1;
    size_t from = first > target->row ? first : target->row;
    size_t to = end < target->row + target->n_rows ? end : target->row + target->n_rows;
    if (from >= to)
        return MST_OK;
    MST_TRY(stream_take(stream, NULL, (from - first) * target->row_bytes, err));
    MST_TRY(stream_take(stream, target->out + (from - target->row) * target->row_bytes, (to - from) * target->row_bytes,
                        err));
    return stream_take(stream, NULL, (end - to) * target->row_bytes, err);
}

// A box narrower than the tensor: one run of its last axis after the other.
static mst_status take_box(struct stream *stream, const struct mst_bundle_stored *stored, const struct mst_shape *shape,
                           const struct target *target, uint64_t element_bytes, struct mst_error *err)
{
    size_t at[MST_SHAPE_MAX_RANK] = {0}; // within the box; the last axis stays 0
    size_t last = shape->rank - 1;
    uint64_t run_bytes = stored->length[last] * element_bytes;
    while (stream->left > 0 || stream->n_buffered > 0) {
        size_t row = stored->start[0] + at[0];
        uint64_t offset = row - target->row; // wraps when the row is not wanted, and is not used then
        for (size_t axis = 1; axis <= last; axis++)
            offset = offset * shape->dims[axis] + stored->start[axis] + at[axis];
        bool is_wanted = row >= target->row && row < target->row + target->n_rows;
        MST_TRY(stream_take(stream, is_wanted ? target->out + offset * element_bytes : NULL, run_bytes, err));
        for (size_t axis = last; axis-- > 0;) {
            if (++at[axis] < stored->length[axis])
                break;
            at[axis] = 0;
        }
    }
    return MST_OK;
}

static mst_status wrong_checksum(const struct mst_bundle *bundle, const struct mst_bundle_item *item,
                                 const struct mst_bundle_stored *stored, struct mst_error *err)
{
    return mst_fail(err, MST_DATA_LOSS, "%s: the %llu bytes of \"%s\" at %llu have a wrong checksum",
                    bundle->files[stored->shard].path, (unsigned long long)stored->piece.size_bytes, item->entry.name,
                    (unsigned long long)stored->piece.offset_bytes);
}

static mst_status take_piece(const struct mst_bundle *bundle, const struct mst_bundle_item *item,
                             const struct mst_bundle_stored *stored, const struct target *target, struct mst_error *err)
{
    const struct mst_shape *shape = &item->entry.shape;
    struct stream stream; // 64 KiB that need no zeroing
    stream.file = &bundle->files[stored->shard];
    stream.name = item->entry.name;
    stream.offset = stored->piece.offset_bytes;
    stream.left = stored->piece.size_bytes;
    stream.crc = 0;
    stream.n_buffered = 0;
    stream.next = stream.buffer;
    if (!target)
        MST_TRY(stream_take(&stream, NULL, stored->piece.size_bytes, err));
    else if (shape->rank < 2 || is_whole_rows(stored, shape))
        MST_TRY(take_rows(&stream, stored, shape->rank, target, err));
    else
        MST_TRY(take_box(&stream, stored, shape, target, mst_tf_type_bytes(item->entry.type), err));
    return mst_crc32c_mask(stream.crc) == stored->piece.crc32c ? MST_OK : wrong_checksum(bundle, item, stored, err);
}

static bool touches(const struct mst_bundle_stored *stored, size_t rank, const struct target *target)
{
    if (stored->piece.size_bytes == 0)
        return false;
    return rank == 0 ||
           (stored->start[0] < target->row + target->n_rows && target->row < stored->start[0] + stored->length[0]);
}

static mst_status read_target(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry,
                              const struct target *target, struct mst_error *err)
{
    // The entry is the first member of the item that the catalog holds.
    const struct mst_bundle_item *item = (const struct mst_bundle_item *)entry;
    for (size_t i = 0; i < item->n_stored; i++) {
        const struct mst_bundle_stored *stored = &bundle->catalog.stored[item->first_stored + i];
        if (touches(stored, entry->shape.rank, target))
            MST_TRY(take_piece(bundle, item, stored, target, err));
    }
    return MST_OK;
}

static mst_status check_type(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry,
                             struct mst_error *err)
{
    if (mst_tf_type_bytes(entry->type) == 0)
        return mst_fail(err, MST_UNIMPLEMENTED, "%s: \"%s\" has type %s (%u), which cannot be read", bundle->prefix,
                        entry->name, mst_tf_type_name(entry->type), (unsigned)entry->type);
    return MST_OK;
}

mst_status mst_bundle_read(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry, void *out,
                           size_t out_bytes, struct mst_error *err)
{
    MST_TRY(check_type(bundle, entry, err));
    if (out_bytes != entry->size_bytes)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: \"%s\" has %llu bytes, %zu are wanted", bundle->prefix,
                        entry->name, (unsigned long long)entry->size_bytes, out_bytes);
    size_t n_rows = entry->shape.rank ? entry->shape.dims[0] : 1;
    struct target target = {0, n_rows, n_rows ? entry->size_bytes / n_rows : 0, out};
    return read_target(bundle, entry, &target, err);
}

// NOLINTNEXTLINE(readability-function-size): a range of rows and a sized destination belong together
mst_status mst_bundle_read_rows(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry, uint64_t row,
                                uint64_t n_rows, void *out, size_t out_bytes, struct mst_error *err)
{
    MST_TRY(check_type(bundle, entry, err));
    size_t all = entry->shape.rank ? entry->shape.dims[0] : 0;
    if (n_rows > all || row > all - n_rows)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: rows %llu to %llu of \"%s\", which has %zu", bundle->prefix,
                        (unsigned long long)row, (unsigned long long)row + n_rows, entry->name, all);
    uint64_t row_bytes = all ? entry->size_bytes / all : 0;
    if (out_bytes != n_rows * row_bytes)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: %llu rows of \"%s\" have %llu bytes, %zu are wanted",
                        bundle->prefix, (unsigned long long)n_rows, entry->name, (unsigned long long)n_rows * row_bytes,
                        out_bytes);
    struct target target = {(size_t)row, (size_t)n_rows, row_bytes, out};
    return n_rows ? read_target(bundle, entry, &target, err) : MST_OK;
}

// The bytes of a string tensor as they lie; its CRC is not over these, so nobody has checked them yet.
static mst_status read_raw(const struct mst_bundle *bundle, const struct mst_bundle_item *item,
                           const struct mst_bundle_stored *stored, uint8_t *out, struct mst_error *err)
{
    struct stream stream; // 64 KiB that need no zeroing
    stream.file = &bundle->files[stored->shard];
    stream.name = item->entry.name;
    stream.offset = stored->piece.offset_bytes;
    stream.left = stored->piece.size_bytes;
    stream.crc = 0;
    return pread_all(&stream, out, (size_t)stored->piece.size_bytes, err);
}

mst_status mst_bundle_read_text(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry,
                                struct mst_buf *out, struct mst_error *err)
{
    const struct mst_bundle_item *item = (const struct mst_bundle_item *)entry;
    size_t count = 0;
    mst_buf_init(out, MST_BUNDLE_TEXT_MAX_BYTES);
    if (entry->type != MST_TF_STRING || mst_shape_count(&entry->shape, &count) != MST_OK || count != 1 ||
        item->n_stored != 1)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s: \"%s\" is not one text", bundle->prefix, entry->name);
    const struct mst_bundle_stored *stored = &bundle->catalog.stored[item->first_stored];
    uint8_t *bytes;
    if (mst_buf_reserve(out, (size_t)stored->piece.size_bytes, &bytes) != MST_OK)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED,
                        "%s: no memory for the %llu bytes of \"%s\" (at most %llu are read)", bundle->prefix,
                        (unsigned long long)stored->piece.size_bytes, entry->name,
                        (unsigned long long)MST_BUNDLE_TEXT_MAX_BYTES);
    MST_TRY(read_raw(bundle, item, stored, bytes, err));
    struct mst_bytes piece = {bytes, (size_t)stored->piece.size_bytes};
    struct mst_bytes text;
    if (mst_bundle_text_of(piece, stored->piece.crc32c, &text) != MST_OK)
        return mst_fail(err, MST_DATA_LOSS, "%s: the text of \"%s\" has a wrong checksum", bundle->prefix, entry->name);
    memmove(bytes, text.data, text.len);
    out->len = text.len;
    return MST_OK;
}

size_t mst_bundle_n_slices(const struct mst_bundle_entry *entry)
{
    return ((const struct mst_bundle_item *)entry)->n_stored;
}

void mst_bundle_slice_at(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry, size_t i,
                         struct mst_bundle_slice *out)
{
    const struct mst_bundle_item *item = (const struct mst_bundle_item *)entry;
    MST_ASSERT(i < item->n_stored);
    const struct mst_bundle_stored *stored = &bundle->catalog.stored[item->first_stored + i];
    *out = (struct mst_bundle_slice){.shard = stored->shard,
                                     .offset_bytes = stored->piece.offset_bytes,
                                     .size_bytes = stored->piece.size_bytes,
                                     .crc32c = stored->piece.crc32c};
    memcpy(out->start, stored->start, sizeof out->start);
    memcpy(out->length, stored->length, sizeof out->length);
}

mst_status mst_bundle_read_stored(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry, size_t i,
                                  void *out, size_t out_bytes, struct mst_error *err)
{
    const struct mst_bundle_item *item = (const struct mst_bundle_item *)entry;
    MST_ASSERT(i < item->n_stored);
    const struct mst_bundle_stored *stored = &bundle->catalog.stored[item->first_stored + i];
    MST_ASSERT(out_bytes == stored->piece.size_bytes);
    MST_TRY(read_raw(bundle, item, stored, out, err));
    if (mst_tf_type_bytes(entry->type) > 0 && mst_crc32c_mask(mst_crc32c(out, out_bytes)) != stored->piece.crc32c)
        return wrong_checksum(bundle, item, stored, err);
    return MST_OK;
}

mst_status mst_bundle_verify_entry(const struct mst_bundle *bundle, const struct mst_bundle_entry *entry,
                                   struct mst_error *err)
{
    const struct mst_bundle_item *item = (const struct mst_bundle_item *)entry;
    if (mst_tf_type_bytes(entry->type) == 0)
        return MST_OK; // a string tensor's CRC is not over its bytes as they lie; mst_bundle_read_text checks it
    for (size_t k = 0; k < item->n_stored; k++)
        MST_TRY(take_piece(bundle, item, &bundle->catalog.stored[item->first_stored + k], NULL, err));
    return MST_OK;
}

mst_status mst_bundle_verify(const struct mst_bundle *bundle, struct mst_error *err)
{
    for (size_t i = 0; i < bundle->catalog.n_items; i++)
        MST_TRY(mst_bundle_verify_entry(bundle, &bundle->catalog.items[i].entry, err));
    return MST_OK;
}
