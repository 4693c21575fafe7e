/** @file
 *  Shapes: up to eight axes, row-major. A plain value; no allocation.
 *
 *      struct mst_shape shape = {.rank = 2, .dims = {784, 300}};
 *      MST_TRY(mst_shape_count(&shape, &n_elements));
 *      mst_shape_print(&shape, text, sizeof text);      // "(784, 300)"
 *
 *  Thread: any
 */
#pragma once

#include "muster/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { MST_SHAPE_MAX_RANK = 8, MST_SHAPE_TEXT_BYTES = 192 };

struct mst_shape {
    size_t rank; // 0: a scalar
    size_t dims[MST_SHAPE_MAX_RANK];
};

/** Number of elements in *out: the product of all axes, 1 for a scalar.
 *  Errors: OUT_OF_RANGE more than eight axes or more elements than a size_t counts (*out 0) */
MST_MUST_USE mst_status mst_shape_count(const struct mst_shape *shape, size_t *out);
/** True if both have the same axes. */
bool mst_shape_equal(const struct mst_shape *a, const struct mst_shape *b);
/** Prints as Python does: "()", "(10,)", "(784, 300)"; cut to out_bytes (MST_SHAPE_TEXT_BYTES always suffices).
 *  Returns out. */
char *mst_shape_print(const struct mst_shape *shape, char *out, size_t out_bytes);
