// Batch normalization along columns (channels last) and along lines (a channel's elements side by side), and
// normalizations of rows, for kernels_body.h.

// Sums over a few lines in floats; those of many lines are joined in double (join_moments, join_sums). Columns are
// taken in groups whose sums stay in registers.
INLINE void group_moments(const struct mst_norm_lines *part, size_t from, size_t n)
{
    float sums[GROUP] = {0};
    float means[GROUP];
    float squares[GROUP] = {0};
    for (size_t r = 0; r < part->lines; r++) {
        const float *x = part->x + r * part->columns + from;
        for (size_t c = 0; c < n; c++)
            sums[c] = sums[c] + x[c];
    }
    for (size_t c = 0; c < n; c++)
        means[c] = sums[c] / (float)part->lines;
    for (size_t r = 0; r < part->lines; r++) {
        const float *x = part->x + r * part->columns + from;
        for (size_t c = 0; c < n; c++) {
            float d = x[c] - means[c];
            squares[c] = squares[c] + d * d;
        }
    }
    memcpy(part->sums + from, sums, n * sizeof *sums);
    memcpy(part->squares + from, squares, n * sizeof *squares);
}

static void column_moments(const struct mst_norm_lines *part)
{
    size_t from = 0;
    for (; from + GROUP <= part->columns; from += GROUP)
        group_moments(part, from, GROUP);
    if (from < part->columns)
        group_moments(part, from, part->columns - from);
}

INLINE float squares_about(size_t n, const float *x, float mean)
{
    float sum;
    SUM_ROW(sum, n, (x[j] - mean) * (x[j] - mean));
    return sum;
}

static void line_moments(const struct mst_norm_lines *part)
{
    for (size_t r = 0; r < part->lines; r++) {
        const float *x = part->x + r * part->columns;
        float sum = sum_row(part->columns, x);
        part->sums[r] = sum;
        part->squares[r] = squares_about(part->columns, x, sum / (float)part->columns);
    }
}

INLINE void group_products(const struct mst_norm_lines *part, size_t from, size_t n)
{
    const float *mean = part->mean + from;
    const float *inverse = part->inverse + from;
    float sums[GROUP] = {0};
    float products[GROUP] = {0};
    for (size_t r = 0; r < part->lines; r++) {
        const float *x = part->x + r * part->columns + from;
        const float *dy = part->dy + r * part->columns + from;
        for (size_t c = 0; c < n; c++) {
            sums[c] = sums[c] + dy[c];
            products[c] = products[c] + dy[c] * ((x[c] - mean[c]) * inverse[c]);
        }
    }
    memcpy(part->sums + from, sums, n * sizeof *sums);
    memcpy(part->squares + from, products, n * sizeof *products);
}

static void column_products(const struct mst_norm_lines *part)
{
    size_t from = 0;
    for (; from + GROUP <= part->columns; from += GROUP)
        group_products(part, from, GROUP);
    if (from < part->columns)
        group_products(part, from, part->columns - from);
}

static void line_products(const struct mst_norm_lines *part)
{
    for (size_t r = 0; r < part->lines; r++) {
        const float *x = part->x + r * part->columns;
        const float *dy = part->dy + r * part->columns;
        const float mean = part->mean[r];
        const float inverse = part->inverse[r];
        part->sums[r] = sum_row(part->columns, dy);
        SUM_ROW(part->squares[r], part->columns, dy[j] * ((x[j] - mean) * inverse));
    }
}

static void normalize_columns(const struct mst_norm_lines *part)
{
    const size_t columns = part->columns;
    const float *mean = part->mean;
    const float *scale = part->scale;
    const float *offset = part->offset;
    for (size_t r = 0; r < part->lines; r++) {
        const float *x = part->x + r * columns;
        float *y = part->out + r * columns;
        ANY_ORDER for (size_t c = 0; c < columns; c++)
        {
            y[c] = (x[c] - mean[c]) * scale[c] + offset[c];
        }
    }
}

static void normalize_lines(const struct mst_norm_lines *part)
{
    const size_t columns = part->columns;
    for (size_t r = 0; r < part->lines; r++) {
        const float *x = part->x + r * columns;
        float *y = part->out + r * columns;
        const float mean = part->mean[r];
        const float scale = part->scale[r];
        const float offset = part->offset[r];
        ANY_ORDER for (size_t c = 0; c < columns; c++)
        {
            y[c] = (x[c] - mean) * scale + offset;
        }
    }
}

static void column_slopes(const struct mst_norm_lines *part)
{
    const size_t columns = part->columns;
    const float *mean = part->mean;
    const float *inverse = part->inverse;
    const float *scale = part->scale;
    const float *dy_mean = part->dy_mean;
    const float *product_mean = part->product_mean;
    for (size_t r = 0; r < part->lines; r++) {
        const float *x = part->x + r * columns;
        const float *dy = part->dy + r * columns;
        float *dx = part->out + r * columns;
        ANY_ORDER for (size_t c = 0; c < columns; c++)
        {
            dx[c] = scale[c] * ((dy[c] - dy_mean[c]) - (x[c] - mean[c]) * inverse[c] * product_mean[c]);
        }
    }
}

static void line_slopes(const struct mst_norm_lines *part)
{
    const size_t columns = part->columns;
    for (size_t r = 0; r < part->lines; r++) {
        const float *x = part->x + r * columns;
        const float *dy = part->dy + r * columns;
        float *dx = part->out + r * columns;
        const float mean = part->mean[r];
        const float inverse = part->inverse[r];
        const float scale = part->scale[r];
        const float dy_mean = part->dy_mean[r];
        const float product_mean = part->product_mean[r];
        ANY_ORDER for (size_t c = 0; c < columns; c++)
        {
            dx[c] = scale * ((dy[c] - dy_mean) - (x[c] - mean) * inverse * product_mean);
        }
    }
}

// Chan, Golub & LeVeque 1979: the squares about the common mean are those about the means of the parts and those of
// the parts' means about it.
static void join_moments(const struct mst_norm_parts *joined, float *mean, float *variance)
{
    const size_t last = joined->n_parts - 1;
    const double all = (double)last * (double)joined->n + (double)joined->n_last;
    for (size_t from = 0; from < joined->columns; from += GROUP) {
        const size_t n = joined->columns - from < GROUP ? joined->columns - from : GROUP;
        double means[GROUP] = {0};
        double squares[GROUP] = {0};
        for (size_t p = 0; p <= last; p++) {
            const float *sums = joined->parts + 2 * p * joined->columns + from;
            for (size_t c = 0; c < n; c++)
                means[c] = means[c] + (double)sums[c];
        }
        for (size_t c = 0; c < n; c++)
            means[c] = means[c] / all;
        for (size_t p = 0; p <= last; p++) {
            const float *sums = joined->parts + 2 * p * joined->columns + from;
            const float *own = sums + joined->columns;
            const double size = (double)(p < last ? joined->n : joined->n_last);
            for (size_t c = 0; c < n; c++) {
                double d = (double)sums[c] / size - means[c];
                squares[c] = squares[c] + ((double)own[c] + size * (d * d));
            }
        }
        for (size_t c = 0; c < n; c++) {
            mean[from + c] = (float)means[c];
            variance[from + c] = (float)(squares[c] / all);
        }
    }
}

static void join_sums(const struct mst_norm_parts *joined, float *sums, float *products)
{
    for (size_t from = 0; from < joined->columns; from += GROUP) {
        const size_t n = joined->columns - from < GROUP ? joined->columns - from : GROUP;
        double all[GROUP] = {0};
        double all_products[GROUP] = {0};
        for (size_t p = 0; p < joined->n_parts; p++) {
            const float *own = joined->parts + 2 * p * joined->columns + from;
            for (size_t c = 0; c < n; c++) {
                all[c] = all[c] + (double)own[c];
                all_products[c] = all_products[c] + (double)own[joined->columns + c];
            }
        }
        for (size_t c = 0; c < n; c++) {
            sums[from + c] = (float)all[c];
            products[from + c] = (float)all_products[c];
        }
    }
}

// Normalizations of rows. gamma and beta are there (the caller has arrays of 1 and 0).

INLINE float row_inverse(const struct mst_row_norm *slice, const float *x, float mean)
{
    const size_t n = slice->columns;
    float square = squares_about(n, x, mean);
    if (slice->kind != MST_ROW_NORM_LENGTH)
        return 1.0f / sqrtf(square / (float)n + slice->epsilon);
    float inverse = 1.0f / sqrtf(square);
    return inverse > 1.0f / slice->epsilon ? 1.0f / slice->epsilon : inverse;
}

INLINE float row_shift(const struct mst_row_norm *slice, size_t row)
{
    return slice->kind == MST_ROW_NORM_LAYER ? slice->mean[row] : 0.0f;
}

static void row_norm(const struct mst_row_norm *slice)
{
    const size_t n = slice->columns;
    const bool has_mean = slice->kind == MST_ROW_NORM_LAYER || slice->kind == MST_ROW_NORM_VARIANCE;
    const float *gamma = slice->gamma;
    const float *beta = slice->beta;
    for (size_t r = 0; r < slice->rows; r++) {
        const float *x = slice->x + r * n;
        float *y = slice->y + r * n;
        const float mean = has_mean ? sum_row(n, x) / (float)n : 0.0f;
        const float inverse = row_inverse(slice, x, mean);
        slice->mean[r] = mean;
        slice->inverse[r] = inverse;
        const float shift = row_shift(slice, r);
        ANY_ORDER for (size_t j = 0; j < n; j++)
        {
            y[j] = (x[j] - shift) * inverse * gamma[j] + beta[j];
        }
    }
}

static void row_norm_products(const struct mst_row_norm_backward *slice, float *sums, float *products)
{
    const struct mst_row_norm *norm = &slice->forward;
    const size_t n = norm->columns;
    for (size_t j = 0; j < n; j++)
        sums[j] = products[j] = 0.0f;
    for (size_t r = 0; r < norm->rows; r++) {
        const float *x = norm->x + r * n;
        const float *dy = slice->dy + r * n;
        const float shift = row_shift(norm, r);
        const float inverse = norm->inverse[r];
        ANY_ORDER for (size_t j = 0; j < n; j++)
        {
            sums[j] = sums[j] + dy[j];
            products[j] = products[j] + dy[j] * ((x[j] - shift) * inverse);
        }
    }
}

// Σ dy gamma (x - shift) inverse; how: shift and inverse.
INLINE float row_product(size_t n, const float *dy, const float *gamma, const float *x, const float how[2])
{
    float sum;
    SUM_ROW(sum, n, dy[j] * gamma[j] * ((x[j] - how[0]) * how[1]));
    return sum;
}

// With g = dy gamma, v what the row became and u = (x - mean) inverse, the direction in which its size grows:
// dx = inverse (g - mean of g - u (mean of g v)); the first mean only if the row's was taken off. A length has sums
// in place of means, and is a constant where it was cut off.
static void row_norm_slopes(const struct mst_row_norm_backward *slice)
{
    const struct mst_row_norm *norm = &slice->forward;
    const size_t n = norm->columns;
    const bool is_length = norm->kind == MST_ROW_NORM_LENGTH;
    const float *gamma = norm->gamma;
    for (size_t r = 0; r < norm->rows; r++) {
        const float *x = norm->x + r * n;
        const float *dy = slice->dy + r * n;
        float *dx = slice->dx + r * n;
        const float mean = norm->mean[r];
        const float shift = row_shift(norm, r);
        const float inverse = norm->inverse[r];
        const float g_mean = norm->kind == MST_ROW_NORM_LAYER ? dot_row(n, dy, gamma) / (float)n : 0.0f;
        float product = row_product(n, dy, gamma, x, (const float[2]){shift, inverse});
        product = is_length ? product : product / (float)n;
        if (is_length && inverse >= 1.0f / norm->epsilon)
            product = 0.0f;
        ANY_ORDER for (size_t j = 0; j < n; j++)
        {
            dx[j] = inverse * ((dy[j] * gamma[j] - g_mean) - (x[j] - mean) * inverse * product);
        }
    }
}
