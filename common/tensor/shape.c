// Shapes come from files, so counting checks for overflow, and a shape with a zero axis is legal and counts no element.
#include "tensor/shape.h"

#include <stdio.h>

mst_status mst_shape_count(const struct mst_shape *shape, size_t *out)
{
    *out = 0;
    if (shape->rank > MST_SHAPE_MAX_RANK)
        return MST_OUT_OF_RANGE;
    size_t n = 1;
    for (size_t axis = 0; axis < shape->rank; axis++)
        if (__builtin_mul_overflow(n, shape->dims[axis], &n))
            return MST_OUT_OF_RANGE;
    *out = n;
    return MST_OK;
}

bool mst_shape_equal(const struct mst_shape *a, const struct mst_shape *b)
{
    if (a->rank != b->rank)
        return false;
    for (size_t axis = 0; axis < a->rank; axis++)
        if (a->dims[axis] != b->dims[axis])
            return false;
    return true;
}

char *mst_shape_print(const struct mst_shape *shape, char *out, size_t out_bytes)
{
    size_t at = 0;
    size_t rank = shape->rank < MST_SHAPE_MAX_RANK ? shape->rank : MST_SHAPE_MAX_RANK;
    for (size_t axis = 0; axis < rank && at < out_bytes; axis++)
        at += (size_t)snprintf(out + at, out_bytes - at, "%s%zu", axis == 0 ? "(" : ", ", shape->dims[axis]);
    if (at < out_bytes)
        snprintf(out + at, out_bytes - at, "%s", rank == 0 ? "()" : rank == 1 ? ",)" : ")");
    return out;
}
