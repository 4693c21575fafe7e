// Names of a bundle's files, and how many bytes a tensor or its slice has.
#include "tfio/bundle.h"

#include "base/alloc.h"
#include "base/error.h"
#include "muster/status.h"
#include "tensor/shape.h"
#include "tfio/tf_types.h"

#include <stddef.h>
#include <stdint.h>

char *mst_bundle_index_path(const char *prefix)
{
    return mst_text("%s.index", prefix);
}

char *mst_bundle_data_path(const char *prefix, size_t shard, size_t n_shards)
{
    return mst_text("%s.data-%05zu-of-%05zu", prefix, shard, n_shards);
}

mst_status mst_bundle_tensor_bytes(const struct mst_bundle_tensor *tensor, uint64_t *out, struct mst_error *err)
{
    struct mst_shape shape = tensor->shape;
    size_t n_elements;
    *out = 0;
    if (mst_tf_type_bytes(tensor->type) == 0)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%s has type %s (%u), which has no fixed size", tensor->name,
                        mst_tf_type_name(tensor->type), (unsigned)tensor->type);
    if (tensor->n_rows > 0) {
        if (shape.rank == 0 || tensor->n_rows > shape.dims[0] || tensor->row_offset > shape.dims[0] - tensor->n_rows)
            return mst_fail(err, MST_INVALID_ARGUMENT, "%s: rows %llu to %llu are outside its %zu rows", tensor->name,
                            (unsigned long long)tensor->row_offset,
                            (unsigned long long)tensor->row_offset + tensor->n_rows, shape.rank ? shape.dims[0] : 0);
        shape.dims[0] = (size_t)tensor->n_rows;
    }
    uint64_t bytes;
    if (mst_shape_count(&shape, &n_elements) != MST_OK ||
        __builtin_mul_overflow((uint64_t)n_elements, mst_tf_type_bytes(tensor->type), &bytes) || bytes > INT64_MAX)
        return mst_fail(err, MST_RESOURCE_EXHAUSTED, "%s has more than 2^63 bytes", tensor->name);
    *out = bytes;
    return MST_OK;
}
