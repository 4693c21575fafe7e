// Copies along two axes, and what merge layers do with blocks of their inputs, for kernels_body.h.

// Sixteen rows of sixteen: both what is read and what is written stay in the first-level cache.
enum { TILE = 16 };

INLINE void walk_line(size_t n, const float *x, size_t from, float *y, size_t to, enum mst_copy_write write)
{
    for (size_t c = 0; c < n; c++) {
        float term = x[c * from];
        y[c * to] = write == MST_COPY_ADD ? y[c * to] + term : term;
    }
}

// A whole tile of a transpose (x is walked along its lines by rows, y by columns): by way of a place where lines do not
// push each other out of the cache, as those a power of two apart do.
INLINE void turn_tile(const float *x, size_t from, float *y, size_t to, enum mst_copy_write write)
{
    float tile[TILE][TILE];
    for (size_t c = 0; c < TILE; c++)
        memcpy(tile[c], x + c * from, sizeof tile[c]);
    for (size_t r = 0; r < TILE; r++) {
        float *line = y + r * to;
        for (size_t c = 0; c < TILE; c++)
            line[c] = write == MST_COPY_ADD ? line[c] + tile[c][r] : tile[c][r];
    }
}

// y (rows, columns) = x, or += x, with steps of any size: in tiles, for one of the two may be walked across its lines.
INLINE void walk_tiles(const struct mst_copy *block, enum mst_copy_write write)
{
    const size_t rows = block->shape[0];
    const size_t columns = block->shape[1];
    const bool is_turned = block->from[0] == 1 && block->to[1] == 1;
    for (size_t r0 = 0; r0 < rows; r0 += TILE) {
        const size_t r1 = rows - r0 < TILE ? rows : r0 + TILE;
        for (size_t c0 = 0; c0 < columns; c0 += TILE) {
            const size_t n = columns - c0 < TILE ? columns - c0 : TILE;
            const float *x = block->x + r0 * block->from[0] + c0 * block->from[1];
            float *y = block->y + r0 * block->to[0] + c0 * block->to[1];
            if (is_turned && r1 - r0 == TILE && n == TILE) {
                turn_tile(x, block->from[1], y, block->to[0], write);
                continue;
            }
            for (size_t r = r0; r < r1; r++)
                walk_line(n, x + (r - r0) * block->from[0], block->from[1], y + (r - r0) * block->to[0], block->to[1],
                          write);
        }
    }
}

static void add_rows(const struct mst_copy *block)
{
    const size_t columns = block->shape[1];
    for (size_t r = 0; r < block->shape[0]; r++) {
        const float *x = block->x + r * block->from[0];
        float *y = block->y + r * block->to[0];
        ANY_ORDER for (size_t c = 0; c < columns; c++)
        {
            y[c] = y[c] + x[c];
        }
    }
}

static void add_sums_of_rows(const struct mst_copy *block)
{
    const size_t step = block->from[1];
    for (size_t r = 0; r < block->shape[0]; r++) {
        const float *x = block->x + r * block->from[0];
        float *y = block->y + r * block->to[0];
        float sum;
        if (step == 1)
            sum = sum_row(block->shape[1], x);
        else
            SUM_ROW(sum, block->shape[1], x[j * step]);
        *y = *y + sum;
    }
}

static void copy_block(const struct mst_copy *block)
{
    const bool is_dense = block->from[1] == 1 && block->to[1] == 1;
    if (block->write == MST_COPY_ADD) {
        if (block->to[1] == 0)
            add_sums_of_rows(block);
        else if (is_dense)
            add_rows(block);
        else
            walk_tiles(block, MST_COPY_ADD);
        return;
    }
    if (!is_dense) {
        walk_tiles(block, MST_COPY_SET);
        return;
    }
    for (size_t r = 0; r < block->shape[0]; r++)
        memcpy(block->y + r * block->to[0], block->x + r * block->from[0], block->shape[1] * sizeof *block->y);
}

// value: an expression of l and r, the left and the right operand.
#define MERGE(name, value)                                                                                             \
    static void merge_##name(size_t n, const float *a, size_t a_step, const float *b, size_t b_step, float *y)         \
    {                                                                                                                  \
        const float first_a = a[0];                                                                                    \
        const float first_b = b[0];                                                                                    \
        if (a_step == 1 && b_step == 1) {                                                                              \
            ANY_ORDER for (size_t i = 0; i < n; i++)                                                                   \
            {                                                                                                          \
                const float l = a[i];                                                                                  \
                const float r = b[i];                                                                                  \
                y[i] = (value);                                                                                        \
            }                                                                                                          \
        } else if (a_step == 1) {                                                                                      \
            ANY_ORDER for (size_t i = 0; i < n; i++)                                                                   \
            {                                                                                                          \
                const float l = a[i];                                                                                  \
                const float r = first_b;                                                                               \
                y[i] = (value);                                                                                        \
            }                                                                                                          \
        } else {                                                                                                       \
            ANY_ORDER for (size_t i = 0; i < n; i++)                                                                   \
            {                                                                                                          \
                const float l = first_a;                                                                               \
                const float r = b_step == 1 ? b[i] : first_b;                                                          \
                y[i] = (value);                                                                                        \
            }                                                                                                          \
        }                                                                                                              \
    }

MERGE(add, l + r)
MERGE(subtract, l - r)
MERGE(multiply, l *r)
// NaN comes through, whichever has it.
MERGE(maximum, ((l >= r) | (l != l)) ? l : r)
MERGE(minimum, ((l <= r) | (l != l)) ? l : r)
// As Keras adds its two branches: NaN of alpha shows wherever x is.
MERGE(prelu, (l < 0.0f ? 0.0f : l) + r * (l > 0.0f ? 0.0f : l))

// At 0 nothing goes through: Keras has relu(x) - alpha relu(-x).
static void prelu_slopes(const struct mst_prelu_block *block)
{
    const float *x = block->x;
    const float *alpha = block->alpha;
    const float *dy = block->dy;
    const float first = alpha[0];
    float *dx = block->dx;
    float *dalpha = block->dalpha;
    for (size_t i = 0; i < block->n; i++) {
        float a = block->alpha_step == 1 ? alpha[i] : first;
        float low = x[i] < 0.0f ? a * dy[i] : 0.0f;
        dx[i] = x[i] > 0.0f ? dy[i] : low;
        dalpha[i] = x[i] < 0.0f ? x[i] * dy[i] : 0.0f;
    }
}

static void divide(size_t n, float divisor, const float *x, float *y)
{
    ANY_ORDER for (size_t i = 0; i < n; i++)
    {
        y[i] = x[i] / divisor;
    }
}

static void take_where_equal(size_t n, const float *x, size_t x_step, const float *y, float *left, float *out)
{
    const float first = x[0];
    ANY_ORDER for (size_t i = 0; i < n; i++)
    {
        const bool is_it = (x_step == 1 ? x[i] : first) == y[i];
        const float all = left[i];
        out[i] = is_it ? all : 0.0f;
        left[i] = is_it ? 0.0f : all;
    }
}
