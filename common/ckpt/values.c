// A checkpoint that holds NaN is worse than none: it would be resumed from. So floats are looked at before they are
// written, in blocks that the CRC then finds in the cache.
#include "values.h"

#include "base/error.h"
#include "ckpt/checkpoint.h"
#include "muster/status.h"
#include "tfio/bundle.h"
#include "tfio/bundle_writer.h"
#include "tfio/tf_types.h"

#include <stdint.h>
#include <string.h>

enum { SCAN_FLOATS = 4096 };

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

static mst_status check_finite(const struct mst_checkpoint_value *value, uint64_t bytes, struct mst_error *err)
{
    size_t n = (size_t)bytes / mst_tf_type_bytes(value->tensor.type);
    size_t i = n;
    if (value->tensor.type == MST_TF_FLOAT)
        i = find_not_finite_f32(value->data, n);
    else if (value->tensor.type == MST_TF_DOUBLE)
        i = find_not_finite_f64(value->data, n);
    if (i < n)
        return mst_fail(
            err, MST_DATA_LOSS,
            "%s holds NaN or Inf (element %zu of the %zu from row %llu on), so nothing is saved of this step",
            value->tensor.name, i, n, (unsigned long long)value->tensor.row_offset);
    return MST_OK;
}

mst_status mst_values_append(struct mst_bundle_data *data, const struct mst_checkpoint_value *value,
                             struct mst_bundle_piece *piece, struct mst_error *err)
{
    uint64_t bytes;
    MST_TRY(mst_bundle_tensor_bytes(&value->tensor, &bytes, err));
    MST_TRY(check_finite(value, bytes, err));
    return mst_bundle_data_append(data, value->data, (size_t)bytes, piece, err);
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
