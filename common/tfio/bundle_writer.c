// Data files are bytes back to back, but for zeros before a large piece. The index is collected in any order (shards
// report as they finish) and only sorted and checked when it is written: slices of one variable must then follow one
// another without gap or overlap, because TensorFlow would fill a gap with whatever memory held.
#include "tfio/bundle_writer.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "bundle_fields.h"
#include "muster/status.h"
#include "tensor/shape.h"
#include "tfio/bundle.h"
#include "tfio/disk_file.h"
#include "tfio/ordered_code.h"
#include "tfio/proto_fields.h"
#include "tfio/table_writer.h"
#include "tfio/tf_types.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_MAX_BYTES = 64 << 20 };
// Checked and written before the next: what the checksum has read is then still in the core's cache for the write.
enum { CACHED_BYTES = 512 << 10 };
// From here on a piece begins at a block of the disk, so that it may be written from where it lies.
enum { LARGE_BYTES = 256 << 10 };

struct mst_bundle_data {
    struct mst_disk_file *file;
};

struct record {
    struct mst_bundle_tensor tensor; // with a name of its own
    size_t shard;
    struct mst_bundle_piece piece;
};

struct mst_bundle_index {
    size_t n_shards;
    struct record *records;
    size_t n_records;
    size_t capacity;
};

struct pair {
    struct mst_buf key;
    struct mst_buf value;
};

struct pairs {
    struct pair *all;
    size_t n;
};

mst_status mst_bundle_data_new(const char *path, struct mst_bundle_data **out, struct mst_error *err)
{
    struct mst_disk_file *file;
    *out = NULL;
    MST_TRY(mst_disk_file_new(path, &file, err));
    *out = mst_alloc(sizeof **out);
    (*out)->file = file;
    return MST_OK;
}

mst_status mst_bundle_data_begin(struct mst_bundle_data *data, size_t len, struct mst_bundle_piece *out,
                                 struct mst_error *err)
{
    *out = (struct mst_bundle_piece){.crc32c = mst_crc32c_mask(0)};
    if (len >= LARGE_BYTES)
        MST_TRY(mst_disk_file_align(data->file, err));
    out->offset_bytes = mst_disk_file_size_bytes(data->file);
    return MST_OK;
}

mst_status mst_bundle_data_extend(struct mst_bundle_data *data, struct mst_bytes bytes, uint32_t crc32c,
                                  struct mst_bundle_piece *piece, struct mst_error *err)
{
    piece->size_bytes += bytes.len;
    piece->crc32c = mst_crc32c_mask(crc32c);
    return mst_disk_file_append(data->file, bytes.data, bytes.len, err);
}

mst_status mst_bundle_data_append(struct mst_bundle_data *data, const void *bytes, size_t len,
                                  struct mst_bundle_piece *out, struct mst_error *err)
{
    uint32_t crc = 0;
    const uint8_t *at = bytes;
    MST_TRY(mst_bundle_data_begin(data, len, out, err));
    while (len > 0) {
        size_t n = len < CACHED_BYTES ? len : CACHED_BYTES;
        crc = mst_crc32c_extend(crc, at, n);
        MST_TRY(mst_bundle_data_extend(data, (struct mst_bytes){at, n}, crc, out, err));
        at += n;
        len -= n;
    }
    return MST_OK;
}

mst_status mst_bundle_data_close(struct mst_bundle_data *data, struct mst_error *err)
{
    mst_status status = mst_disk_file_close(data->file, err);
    free(data);
    return status;
}

void mst_bundle_data_abort(struct mst_bundle_data *data)
{
    if (!data)
        return;
    mst_disk_file_abort(data->file);
    free(data);
}

struct mst_bundle_index *mst_bundle_index_new(size_t n_shards)
{
    MST_ASSERT(n_shards >= 1 && n_shards <= MST_BUNDLE_SHARDS_MAX);
    struct mst_bundle_index *index = mst_alloc(sizeof *index);
    index->n_shards = n_shards;
    return index;
}

void mst_bundle_index_free(struct mst_bundle_index *index)
{
    if (!index)
        return;
    for (size_t i = 0; i < index->n_records; i++)
        free((char *)index->records[i].tensor.name);
    free(index->records);
    free(index);
}

mst_status mst_bundle_index_add(struct mst_bundle_index *index, const struct mst_bundle_tensor *tensor, size_t shard,
                                const struct mst_bundle_piece *piece, struct mst_error *err)
{
    uint64_t bytes;
    size_t name_len = strlen(tensor->name);
    if (name_len < 1 || name_len > MST_BUNDLE_NAME_MAX)
        return mst_fail(err, MST_INVALID_ARGUMENT, "a tensor name of %zu bytes; it must have 1 to %d", name_len,
                        MST_BUNDLE_NAME_MAX);
    if (shard >= index->n_shards)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s is said to be in shard %zu of %zu", tensor->name, shard,
                        index->n_shards);
    if (mst_tf_type_bytes(tensor->type) == 0 && tensor->n_rows == 0)
        bytes = piece->size_bytes <= INT64_MAX ? piece->size_bytes : 0;
    else
        MST_TRY(mst_bundle_tensor_bytes(tensor, &bytes, err));
    if (bytes != piece->size_bytes || piece->offset_bytes > INT64_MAX - bytes)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s has %llu bytes, a piece of %llu at %llu was written",
                        tensor->name, (unsigned long long)bytes, (unsigned long long)piece->size_bytes,
                        (unsigned long long)piece->offset_bytes);
    if (index->n_records == index->capacity) {
        index->capacity = index->capacity ? 2 * index->capacity : 64;
        index->records = mst_realloc_array(index->records, index->capacity, sizeof *index->records);
    }
    struct record *record = &index->records[index->n_records++];
    *record = (struct record){*tensor, shard, *piece};
    record->tensor.name = mst_strdup(tensor->name);
    return MST_OK;
}

static int by_name_and_row(const void *a, const void *b)
{
    const struct mst_bundle_tensor *x = &((const struct record *)a)->tensor;
    const struct mst_bundle_tensor *y = &((const struct record *)b)->tensor;
    int order = strcmp(x->name, y->name);
    return order ? order : (x->row_offset > y->row_offset) - (x->row_offset < y->row_offset);
}

static int by_key(const void *a, const void *b)
{
    const struct mst_buf *x = &((const struct pair *)a)->key;
    const struct mst_buf *y = &((const struct pair *)b)->key;
    size_t n = x->len < y->len ? x->len : y->len;
    int order = memcmp(x->data, y->data, n);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

static struct pair *next_pair(struct pairs *pairs)
{
    struct pair *pair = &pairs->all[pairs->n++];
    mst_buf_init(&pair->key, MESSAGE_MAX_BYTES);
    mst_buf_init(&pair->value, MESSAGE_MAX_BYTES);
    return pair;
}

static mst_status append_shape(struct mst_buf *buf, const struct mst_shape *shape)
{
    struct mst_buf dims, dim;
    mst_buf_init(&dims, MESSAGE_MAX_BYTES);
    mst_buf_init(&dim, MESSAGE_MAX_BYTES);
    mst_status status = MST_OK;
    for (size_t axis = 0; status == MST_OK && axis < shape->rank; axis++) {
        mst_buf_reset(&dim);
        if (shape->dims[axis] > 0) // proto3: a zero is absent
            status = mst_proto_append_varint(&dim, DIM_SIZE, shape->dims[axis]);
        if (status == MST_OK)
            status = mst_proto_append_bytes(&dims, SHAPE_DIM, mst_buf_view(&dim));
    }
    if (status == MST_OK)
        status = mst_proto_append_bytes(buf, ENTRY_SHAPE, mst_buf_view(&dims));
    mst_buf_fini(&dim);
    mst_buf_fini(&dims);
    return status;
}

static mst_status append_if_set(struct mst_buf *buf, uint32_t number, uint64_t value)
{
    return value ? mst_proto_append_varint(buf, number, value) : MST_OK;
}

// An entry with data: a whole tensor, or one slice with the shape of the slice.
static mst_status append_stored(struct mst_buf *buf, const struct record *record, const struct mst_shape *shape)
{
    MST_TRY(mst_proto_append_varint(buf, ENTRY_DTYPE, (uint64_t)record->tensor.type));
    MST_TRY(append_shape(buf, shape));
    MST_TRY(append_if_set(buf, ENTRY_SHARD, record->shard));
    MST_TRY(append_if_set(buf, ENTRY_OFFSET, record->piece.offset_bytes));
    MST_TRY(append_if_set(buf, ENTRY_SIZE, record->piece.size_bytes));
    return record->piece.crc32c ? mst_proto_append_fixed32(buf, ENTRY_CRC, record->piece.crc32c) : MST_OK;
}

static size_t slice_axes(const struct mst_bundle_tensor *tensor, struct mst_slice_axis *axes)
{
    axes[0] = (struct mst_slice_axis){(int64_t)tensor->row_offset, (int64_t)tensor->n_rows};
    for (size_t axis = 1; axis < tensor->shape.rank; axis++)
        axes[axis] = (struct mst_slice_axis){0, MST_SLICE_WHOLE};
    return tensor->shape.rank;
}

// TensorSliceProto: an extent for each axis, an empty one for a whole axis.
static mst_status append_slice(struct mst_buf *buf, const struct mst_bundle_tensor *tensor)
{
    struct mst_slice_axis axes[MST_SHAPE_MAX_RANK];
    size_t n_axes = slice_axes(tensor, axes);
    struct mst_buf slice, extent;
    mst_buf_init(&slice, MESSAGE_MAX_BYTES);
    mst_buf_init(&extent, MESSAGE_MAX_BYTES);
    mst_status status = MST_OK;
    for (size_t axis = 0; status == MST_OK && axis < n_axes; axis++) {
        mst_buf_reset(&extent);
        status = append_if_set(&extent, EXTENT_START, (uint64_t)axes[axis].start);
        if (status == MST_OK && axes[axis].length != MST_SLICE_WHOLE)
            status = mst_proto_append_varint(&extent, EXTENT_LENGTH, (uint64_t)axes[axis].length);
        if (status == MST_OK)
            status = mst_proto_append_bytes(&slice, SLICE_EXTENT, mst_buf_view(&extent));
    }
    if (status == MST_OK)
        status = mst_proto_append_bytes(buf, ENTRY_SLICES, mst_buf_view(&slice));
    mst_buf_fini(&extent);
    mst_buf_fini(&slice);
    return status;
}

static mst_status add_whole(struct pairs *pairs, const struct record *record)
{
    struct pair *pair = next_pair(pairs);
    MST_TRY(mst_buf_append(&pair->key, record->tensor.name, strlen(record->tensor.name)));
    return append_stored(&pair->value, record, &record->tensor.shape);
}

static mst_status add_slices(struct pairs *pairs, const struct record *records, size_t n)
{
    const struct mst_bundle_tensor *first = &records[0].tensor;
    struct pair *full = next_pair(pairs);
    MST_TRY(mst_buf_append(&full->key, first->name, strlen(first->name)));
    MST_TRY(mst_proto_append_varint(&full->value, ENTRY_DTYPE, (uint64_t)first->type));
    MST_TRY(append_shape(&full->value, &first->shape));
    for (size_t i = 0; i < n; i++) {
        struct mst_slice_axis axes[MST_SHAPE_MAX_RANK];
        size_t n_axes = slice_axes(&records[i].tensor, axes);
        struct mst_shape shape = first->shape;
        struct pair *pair = next_pair(pairs);
        shape.dims[0] = (size_t)records[i].tensor.n_rows;
        MST_TRY(append_slice(&full->value, &records[i].tensor));
        MST_TRY(mst_slice_key_append(&pair->key, first->name, axes, n_axes));
        MST_TRY(append_stored(&pair->value, &records[i], &shape));
    }
    return MST_OK;
}

// All records of one name, sorted by row: one whole tensor, or slices that cover all rows.
static mst_status check_group(const struct record *records, size_t n, struct mst_error *err)
{
    const struct mst_bundle_tensor *first = &records[0].tensor;
    uint64_t next_row = 0;
    for (size_t i = 0; i < n; i++) {
        const struct mst_bundle_tensor *tensor = &records[i].tensor;
        if (n > 1 && tensor->n_rows == 0)
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s is given %zu times", tensor->name, n);
        if (tensor->type != first->type || !mst_shape_equal(&tensor->shape, &first->shape))
            return mst_fail(err, MST_INVALID_ARGUMENT, "the slices of %s disagree about its type or shape",
                            tensor->name);
        if (tensor->n_rows > 0 && tensor->row_offset != next_row)
            return mst_fail(err, MST_INVALID_ARGUMENT, "the slices of %s %s at row %llu", tensor->name,
                            tensor->row_offset > next_row ? "leave a gap" : "overlap", (unsigned long long)next_row);
        next_row += tensor->n_rows;
    }
    if (first->n_rows > 0 && next_row != first->shape.dims[0])
        return mst_fail(err, MST_INVALID_ARGUMENT, "the slices of %s end at row %llu of %zu", first->name,
                        (unsigned long long)next_row, first->shape.dims[0]);
    return MST_OK;
}

static mst_status add_header(struct pairs *pairs, size_t n_shards)
{
    struct pair *pair = next_pair(pairs);
    struct mst_buf version;
    uint8_t *empty;
    mst_buf_init(&version, MESSAGE_MAX_BYTES);
    MST_TRY(mst_buf_reserve(&pair->key, 1, &empty)); // the empty key, with a pointer that may be compared
    mst_status status = mst_proto_append_varint(&version, VERSION_PRODUCER, BUNDLE_VERSION);
    if (status == MST_OK)
        status = mst_proto_append_varint(&pair->value, HEADER_NUM_SHARDS, n_shards);
    if (status == MST_OK)
        status = mst_proto_append_bytes(&pair->value, HEADER_VERSION, mst_buf_view(&version));
    mst_buf_fini(&version);
    return status;
}

static mst_status make_pairs(const struct mst_bundle_index *index, struct pairs *pairs, struct mst_error *err)
{
    mst_status status = add_header(pairs, index->n_shards);
    for (size_t i = 0, n; status == MST_OK && i < index->n_records; i += n) {
        const struct record *first = &index->records[i];
        for (n = 1; i + n < index->n_records && strcmp(first[n].tensor.name, first->tensor.name) == 0;)
            n++;
        MST_TRY(check_group(first, n, err));
        // One slice that is the whole variable is written as a whole one.
        status = n == 1 ? add_whole(pairs, first) : add_slices(pairs, first, n);
    }
    if (status != MST_OK)
        return mst_fail(err, status, "the index of %zu tensors is larger than its limit", index->n_records);
    return MST_OK;
}

static mst_status write_table(struct pairs *pairs, const char *path, struct mst_error *err)
{
    struct mst_table *table = mst_table_new();
    struct mst_bytes file = {0};
    mst_status status = MST_OK;
    qsort(pairs->all, pairs->n, sizeof *pairs->all, by_key);
    for (size_t i = 0; status == MST_OK && i < pairs->n; i++)
        status = mst_table_add(table, mst_buf_view(&pairs->all[i].key), mst_buf_view(&pairs->all[i].value));
    if (status == MST_OK)
        status = mst_table_finish(table, &file);
    if (status != MST_OK)
        status = mst_fail(err, status, "%s is larger than its limit of %zu bytes", path, MST_TABLE_MAX_BYTES);
    else
        status = mst_disk_write(path, file, err);
    mst_table_free(table);
    return status;
}

mst_status mst_bundle_index_write(struct mst_bundle_index *index, const char *path, struct mst_error *err)
{
    if (index->n_records > 0)
        qsort(index->records, index->n_records, sizeof *index->records, by_name_and_row);
    // The header, and at most one full entry more than there are records for each of them.
    struct pairs pairs = {mst_alloc_array(2 * index->n_records + 1, sizeof *pairs.all), 0};
    mst_status status = make_pairs(index, &pairs, err);
    if (status == MST_OK)
        status = write_table(&pairs, path, err);
    for (size_t i = 0; i < pairs.n; i++) {
        mst_buf_fini(&pairs.all[i].key);
        mst_buf_fini(&pairs.all[i].value);
    }
    free(pairs.all);
    return status;
}
