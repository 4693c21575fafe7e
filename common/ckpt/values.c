// A checkpoint that holds NaN is worse than none: it would be resumed from. So floats are looked at before they are
// written, in blocks that the CRC then finds in the cache: one pass over memory for both.
#include "values.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "ckpt/checkpoint.h"
#include "muster/status.h"
#include "tfio/bundle.h"
#include "tfio/bundle_writer.h"
#include "tfio/disk_file.h"
#include "tfio/tf_types.h"

#include <stdint.h>
#include <string.h>

enum {
    SCAN_FLOATS = 16384,
    BLOCK_BYTES = 4 * SCAN_FLOATS, // looked at twice: the second time it is in a cache of the core
    COPY_BYTES = 512 << 10,        // still in one of them
    WRITE_BYTES = 8 << 20,
};

// Index of the first float whose exponent is all ones (NaN or Inf), or n.
static size_t find_not_finite_f32(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i += SCAN_FLOATS) {
        size_t end = n - i < SCAN_FLOATS ? n : i + SCAN_FLOATS;
        uint32_t n_bad = 0; // counted without a branch, so that the loop becomes vector code
        for (size_t k = i; k < end; k++) {
            uint32_t bits;
            memcpy(&bits, bytes + 4 * k, sizeof bits);
            n_bad += (bits & 0x7f800000u) == 0x7f800000u;
        }
        for (size_t k = i; n_bad > 0 && k < end; k++) {
            uint32_t bits;
            memcpy(&bits, bytes + 4 * k, sizeof bits);
            if ((bits & 0x7f800000u) == 0x7f800000u)
                return k;
        }
    }
    return n;
}

static size_t find_not_finite_f64(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t bits;
        memcpy(&bits, bytes + 8 * i, sizeof bits);
        if ((bits >> 52 & 0x7ff) == 0x7ff)
            return i;
    }
    return n;
}

static size_t find_not_finite(enum mst_tf_type type, const uint8_t *bytes, size_t len)
{
    size_t n = len / mst_tf_type_bytes(type);
    size_t i = n;
    if (type == MST_TF_FLOAT)
        i = find_not_finite_f32(bytes, n);
    else if (type == MST_TF_DOUBLE)
        i = find_not_finite_f64(bytes, n);
    return i < n ? i : SIZE_MAX;
}

// Looks at the bytes [from, to) of a value and carries its CRC on. The first element that is not finite, or SIZE_MAX.
static size_t look_at(const struct mst_checkpoint_value *value, size_t from, size_t to, uint32_t *crc)
{
    const uint8_t *bytes = value->data;
    for (size_t at = from; at < to;) {
        size_t n = to - at < BLOCK_BYTES ? to - at : BLOCK_BYTES;
        size_t bad = find_not_finite(value->tensor.type, bytes + at, n);
        if (bad != SIZE_MAX)
            return at / mst_tf_type_bytes(value->tensor.type) + bad;
        *crc = mst_crc32c_extend(*crc, bytes + at, n);
        at += n;
    }
    return SIZE_MAX;
}

static mst_status fail_not_finite(const struct mst_checkpoint_value *value, size_t i, uint64_t bytes,
                                  struct mst_error *err)
{
    return mst_fail(err, MST_DATA_LOSS,
                    "%s holds NaN or Inf (element %zu of the %zu from row %llu on), so nothing is saved of this step",
                    value->tensor.name, i, (size_t)bytes / mst_tf_type_bytes(value->tensor.type),
                    (unsigned long long)value->tensor.row_offset);
}

mst_status mst_values_append(struct mst_bundle_data *data, const struct mst_checkpoint_value *value,
                             struct mst_bundle_piece *piece, struct mst_error *err)
{
    uint64_t bytes;
    uint32_t crc = 0;
    MST_TRY(mst_bundle_tensor_bytes(&value->tensor, &bytes, err));
    MST_TRY(mst_bundle_data_begin(data, (size_t)bytes, piece, err));
    // What may go to the disk from where it lies goes at once; what is copied is so while it is in the cache.
    size_t step = (uintptr_t)value->data % MST_DISK_BLOCK_BYTES == 0 ? WRITE_BYTES : COPY_BYTES;
    for (size_t at = 0; at < bytes;) {
        size_t n = bytes - at < step ? (size_t)bytes - at : step;
        size_t bad = look_at(value, at, at + n, &crc);
        if (bad != SIZE_MAX)
            return fail_not_finite(value, bad, bytes, err);
        MST_TRY(
            mst_bundle_data_extend(data, (struct mst_bytes){(const uint8_t *)value->data + at, n}, crc, piece, err));
        at += n;
    }
    return MST_OK;
}

mst_status mst_values_write(const char *path, const struct mst_checkpoint_value *values, size_t n_values,
                            struct mst_bundle_piece *pieces, struct mst_error *err)
{
    struct mst_bundle_data *data;
    MST_TRY(mst_bundle_data_new(path, &data, err));
    for (size_t i = 0; i < n_values; i++) {
        mst_status status = mst_values_append(data, &values[i], &pieces[i], err);
        if (status != MST_OK) {
            mst_bundle_data_abort(data);
            return status;
        }
    }
    return mst_bundle_data_close(data, err);
}
