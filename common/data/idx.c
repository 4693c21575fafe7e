// The header is believed only as far as the file can hold it: a plain file must have exactly the size that the
// dimensions give; for gzip the dimensions are bounded by deflate's best ratio before anybody allocates, and the stream
// must end with the last element. u8, i32 and f32 are decoded in place, the other types through a small buffer.
#include "data/idx.h"

#include "base/alloc.h"
#include "base/error.h"
#include "byte_source.h"
#include "muster/status.h"
#include "tensor/dtype.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAGIC_BYTES = 4,
    GZIP_BEST_RATIO = 1032,  // of deflate (zlib technical details): no stream inflates to more than this times its size
    CONVERT_BYTES = 64 << 10 // file bytes converted at a time: fits the first two cache levels
};

struct element_type {
    uint8_t code;
    size_t file_bytes;
    enum mst_dtype dtype;
    size_t memory_bytes;
};

static const struct element_type element_types[] = {
    {0x08, 1, MST_DTYPE_U8, 1},  // u8
    {0x09, 1, MST_DTYPE_I32, 4}, // i8
    {0x0B, 2, MST_DTYPE_I32, 4}, // i16
    {0x0C, 4, MST_DTYPE_I32, 4}, // i32
    {0x0D, 4, MST_DTYPE_F32, 4}, // f32
    {0x0E, 8, MST_DTYPE_F32, 4}, // f64
};

struct mst_idx {
    char *path;
    struct mst_byte_source *source; // NULL once read
    const struct element_type *type;
    size_t rank;
    size_t dims[MST_IDX_RANK_MAX];
    size_t n_elements;
};

static uint64_t load_big_endian(const uint8_t *bytes, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++)
        value = value << 8 | bytes[i];
    return value;
}

static mst_status read_header_bytes(struct mst_idx *idx, uint8_t *bytes, size_t n, struct mst_error *err)
{
    size_t got;
    MST_TRY(mst_byte_source_read(idx->source, bytes, n, &got, err));
    if (got < n)
        return mst_fail(err, MST_DATA_LOSS, "%s is truncated: it ends within its IDX header", idx->path);
    return MST_OK;
}

static mst_status read_magic(struct mst_idx *idx, struct mst_error *err)
{
    uint8_t magic[MAGIC_BYTES];
    MST_TRY(read_header_bytes(idx, magic, sizeof magic, err));
    if (magic[0] != 0 || magic[1] != 0)
        return mst_fail(
            err, MST_DATA_LOSS,
            "%s is not an IDX file: it begins with %02x %02x, an IDX file with 00 00 (plain) or 1f 8b (gzip)",
            idx->path, magic[0], magic[1]);
    for (size_t i = 0; i < sizeof element_types / sizeof *element_types; i++)
        if (element_types[i].code == magic[2])
            idx->type = &element_types[i];
    if (!idx->type)
        return mst_fail(
            err, MST_DATA_LOSS,
            "%s has IDX element type 0x%02x; known are 08 (u8), 09 (i8), 0B (i16), 0C (i32), 0D (f32), 0E (f64)",
            idx->path, magic[2]);
    idx->rank = magic[3];
    if (idx->rank < 1 || idx->rank > MST_IDX_RANK_MAX)
        return mst_fail(err, MST_DATA_LOSS, "%s has %zu dimensions; an IDX file has 1 to %d", idx->path, idx->rank,
                        MST_IDX_RANK_MAX);
    return MST_OK;
}

static mst_status read_dims(struct mst_idx *idx, struct mst_error *err)
{
    uint8_t bytes[4 * MST_IDX_RANK_MAX];
    MST_TRY(read_header_bytes(idx, bytes, 4 * idx->rank, err));
    uint64_t n_elements = 1;
    for (size_t axis = 0; axis < idx->rank; axis++) {
        idx->dims[axis] = (size_t)load_big_endian(bytes + 4 * axis, 4);
        if (__builtin_mul_overflow(n_elements, (uint64_t)idx->dims[axis], &n_elements) ||
            n_elements > MST_IDX_DATA_MAX_BYTES / idx->type->memory_bytes)
            return mst_fail(err, MST_OUT_OF_RANGE, "%s says that it holds more than %llu GiB of elements, the limit",
                            idx->path, (unsigned long long)(MST_IDX_DATA_MAX_BYTES >> 30));
    }
    idx->n_elements = (size_t)n_elements;
    return MST_OK;
}

// The file must be able to hold the elements, before anybody allocates for them.
static mst_status check_size(const struct mst_idx *idx, struct mst_error *err)
{
    uint64_t header_bytes = MAGIC_BYTES + 4 * idx->rank;
    uint64_t want = header_bytes + (uint64_t)idx->n_elements * idx->type->file_bytes;
    uint64_t have = mst_byte_source_file_bytes(idx->source);
    if (mst_byte_source_is_gzip(idx->source)) {
        if (want / GZIP_BEST_RATIO > have)
            return mst_fail(err, MST_DATA_LOSS,
                            "%s is truncated: %llu bytes of gzip cannot hold the %llu its header says", idx->path,
                            (unsigned long long)have, (unsigned long long)want);
        return MST_OK;
    }
    if (have < want)
        return mst_fail(err, MST_DATA_LOSS, "%s is truncated: it has %llu bytes, its header says %llu", idx->path,
                        (unsigned long long)have, (unsigned long long)want);
    if (have > want)
        return mst_fail(err, MST_DATA_LOSS, "%s has %llu bytes, %llu more than its header says", idx->path,
                        (unsigned long long)have, (unsigned long long)(have - want));
    return MST_OK;
}

mst_status mst_idx_open(const char *path, struct mst_idx **out, struct mst_error *err)
{
    *out = NULL;
    struct mst_idx *idx = mst_alloc(sizeof *idx);
    idx->path = mst_strdup(path);
    mst_status status = mst_byte_source_open(path, &idx->source, err);
    if (status == MST_OK)
        status = read_magic(idx, err);
    if (status == MST_OK)
        status = read_dims(idx, err);
    if (status == MST_OK)
        status = check_size(idx, err);
    if (status != MST_OK) {
        mst_idx_free(idx);
        return status;
    }
    *out = idx;
    return MST_OK;
}

void mst_idx_free(struct mst_idx *idx)
{
    if (!idx)
        return;
    mst_byte_source_free(idx->source);
    free(idx->path);
    free(idx);
}

enum mst_dtype mst_idx_dtype(const struct mst_idx *idx)
{
    return idx->type->dtype;
}

size_t mst_idx_rank(const struct mst_idx *idx)
{
    return idx->rank;
}

size_t mst_idx_dim(const struct mst_idx *idx, size_t axis)
{
    MST_ASSERT(axis < idx->rank);
    return idx->dims[axis];
}

size_t mst_idx_n_elements(const struct mst_idx *idx)
{
    return idx->n_elements;
}

size_t mst_idx_data_bytes(const struct mst_idx *idx)
{
    return idx->n_elements * idx->type->memory_bytes;
}

static mst_status read_elements(struct mst_idx *idx, void *data, size_t n_before, size_t n, struct mst_error *err)
{
    size_t got;
    MST_TRY(mst_byte_source_read(idx->source, data, n * idx->type->file_bytes, &got, err));
    if (got < n * idx->type->file_bytes)
        return mst_fail(err, MST_DATA_LOSS, "%s is truncated: it holds %zu of the %zu elements its header says",
                        idx->path, n_before + got / idx->type->file_bytes, idx->n_elements);
    return MST_OK;
}

static float double_to_float(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return (float)value;
}

// Converts n elements from file bytes to host memory; from == to is allowed for types of the same size.
static void convert(uint8_t code, const uint8_t *from, void *to, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        switch (code) {
        case 0x09:
            bits = (uint32_t)(int32_t)(int8_t)from[i];
            break;
        case 0x0B:
            bits = (uint32_t)(int32_t)(int16_t)load_big_endian(from + 2 * i, 2);
            break;
        case 0x0E: {
            float value = double_to_float(load_big_endian(from + 8 * i, 8));
            memcpy(&bits, &value, sizeof bits);
            break;
        }
        default: // i32, f32: the same bits in the other order
            bits = (uint32_t)load_big_endian(from + 4 * i, 4);
        }
        memcpy((uint8_t *)to + 4 * i, &bits, sizeof bits);
    }
}

static mst_status read_converted(struct mst_idx *idx, uint8_t *data, struct mst_error *err)
{
    const struct element_type *type = idx->type;
    uint8_t buffer[CONVERT_BYTES];
    bool in_place = type->file_bytes == type->memory_bytes;
    for (size_t i = 0, n; i < idx->n_elements; i += n) {
        n = CONVERT_BYTES / type->file_bytes;
        if (n > idx->n_elements - i)
            n = idx->n_elements - i;
        uint8_t *to = data + i * type->memory_bytes;
        uint8_t *from = in_place ? to : buffer;
        MST_TRY(read_elements(idx, from, i, n, err));
        convert(type->code, from, to, n);
    }
    return MST_OK;
}

mst_status mst_idx_read(struct mst_idx *idx, void *data, struct mst_error *err)
{
    if (!idx->source)
        return mst_fail(err, MST_FAILED_PRECONDITION, "%s was read before; open it again", idx->path);
    mst_status status = idx->type->dtype == MST_DTYPE_U8 ? read_elements(idx, data, 0, idx->n_elements, err)
                                                         : read_converted(idx, data, err);
    size_t n_more = 0;
    uint8_t more;
    // This read also brings gzip to its checksum.
    if (status == MST_OK)
        status = mst_byte_source_read(idx->source, &more, 1, &n_more, err);
    if (n_more > 0)
        status = mst_fail(err, MST_DATA_LOSS, "%s goes on after the %zu elements its header says", idx->path,
                          idx->n_elements);
    mst_byte_source_free(idx->source);
    idx->source = NULL;
    return status;
}
