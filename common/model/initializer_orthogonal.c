// Q of a QR decomposition of a normal matrix, with the signs that make R's diagonal positive, which is what
// Gram-Schmidt gives. Each column is orthogonalised twice against those before it: once leaves errors that grow with
// the condition number, twice does not (Giraud et al. 2005). All in double, in a fixed order, so the bits are the same
// everywhere.
#include "initializer_orthogonal.h"

#include "base/alloc.h"
#include "base/error.h"

#include <math.h>
#include <stdlib.h>

enum { LANES = 4 }; // sums at a time: a fixed order that does not wait for each addition

size_t mst_orthogonal_n_rows(const struct mst_shape *shape)
{
    size_t n = 1;
    for (size_t axis = 0; axis + 1 < shape->rank; axis++)
        n *= shape->dims[axis];
    return n;
}

static double dot(const double *a, const double *b, size_t n)
{
    double sums[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t lane = 0; lane < LANES; lane++)
            sums[lane] += a[i + lane] * b[i + lane];
    for (; i < n; i++)
        sums[0] += a[i] * b[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// q (n_columns, length): each row becomes a unit vector orthogonal to those before it.
static void orthonormalise(double *q, size_t n_columns, size_t length)
{
    for (size_t j = 0; j < n_columns; j++) {
        double *column = q + j * length;
        for (int pass = 0; pass < 2; pass++) {
            for (size_t k = 0; k < j; k++) {
                const double *before = q + k * length;
                double along = dot(column, before, length);
                for (size_t i = 0; i < length; i++)
                    column[i] -= along * before[i];
            }
        }
        double norm = sqrt(dot(column, column, length));
        for (size_t i = 0; i < length; i++)
            column[i] /= norm;
    }
}

void mst_orthogonal_fill(double gain, struct mst_rng_key key, double (*normal_of)(uint32_t word),
                         const struct mst_shape *shape, struct mst_initializer_range range, float *out)
{
    size_t n_rows = mst_orthogonal_n_rows(shape);
    size_t n_columns = shape->dims[shape->rank - 1];
    MST_ASSERT(n_columns > 0); // no axis of a variable is empty
    size_t length = n_rows > n_columns ? n_rows : n_columns;
    size_t n_vectors = n_rows > n_columns ? n_columns : n_rows;
    double *q = mst_alloc_array(n_rows * n_columns, sizeof *q);
    uint32_t words[4];
    for (size_t i = 0; i < n_rows * n_columns; i++) {
        if (i % 4 == 0)
            mst_rng_block(key, i / 4, words);
        q[i] = normal_of(words[i % 4]);
    }
    orthonormalise(q, n_vectors, length);
    for (size_t i = 0; i < range.n; i++) {
        size_t row = (range.first + i) / n_columns;
        size_t column = (range.first + i) % n_columns;
        double value = n_rows > n_columns ? q[column * length + row] : q[row * length + column];
        out[i] = (float)(gain * value);
    }
    free(q);
}
