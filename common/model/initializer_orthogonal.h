// Orthogonal initial values. Private to model/.
#pragma once

#include "base/rng.h"
#include "initializer.h"

// A matrix of more elements is refused: making it takes min(rows, columns)² · max(rows, columns) operations.
#define MST_ORTHOGONAL_MAX_ELEMENTS ((size_t)1 << 22)

// Rows of the matrix that a variable of this shape is taken as: all axes but the last.
size_t mst_orthogonal_n_rows(const struct mst_shape *shape);
// Writes a range of gain * Q, Q with orthonormal columns (or rows, if there are more columns). normal_of makes a
// standard normal from the key's word of an element. The whole matrix is made for any range, so its bits do not depend
// on it.
void mst_orthogonal_fill(double gain, struct mst_rng_key key, double (*normal_of)(uint32_t word),
                         const struct mst_shape *shape, struct mst_initializer_range range, float *out);
