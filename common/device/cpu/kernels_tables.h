// Tables whose rows are found by number, and sums over whole variables, for kernels_body.h.

static bool all_ids_below(size_t n, size_t vocabulary, const int32_t *ids)
{
    const uint32_t limit = vocabulary > INT32_MAX ? (uint32_t)INT32_MAX + 1 : (uint32_t)vocabulary;
    uint32_t outside = 0;
    for (size_t i = 0; i < n; i++)
        outside |= (uint32_t)ids[i] >= limit ? 1u : 0u; // huge if negative
    return outside == 0;
}

static void scatter_add(const struct mst_scatter *scatter, size_t from, size_t to)
{
    const size_t n = to - from;
    for (size_t i = 0; i < scatter->n; i++) {
        const float *dy = scatter->dy + i * scatter->columns + from;
        if ((size_t)scatter->ids[i] >= scatter->vocabulary) // huge if negative
            continue;
        float *row = scatter->dtable + (size_t)scatter->ids[i] * scatter->columns + from;
        ANY_ORDER for (size_t c = 0; c < n; c++)
        {
            row[c] = row[c] + dy[c];
        }
    }
}

// -2^31 is a float, and so is 2^31, the first that is too large.
static void ids_from_f32(size_t n, const float *x, int32_t *ids)
{
    for (size_t i = 0; i < n; i++) {
        float fits = ((x[i] >= -0x1p31f) & (x[i] < 0x1p31f)) ? x[i] : -0x1p31f;
        ids[i] = (int32_t)fits;
    }
}

INLINE double fold_doubles(const double lanes[LANES])
{
    double sums[LANES];
    memcpy(sums, lanes, sizeof sums);
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            sums[i] = sums[i] + sums[i + half];
    return sums[0];
}

// Sixteen partial sums as in kernels_rows.h, but in double. term: an expression of the double x.
#define SUM_DOUBLES(name, term)                                                                                        \
    static double name(size_t n, const float *from)                                                                    \
    {                                                                                                                  \
        double lanes[LANES] = {0};                                                                                     \
        size_t at = 0;                                                                                                 \
        for (; at + LANES <= n; at += LANES)                                                                           \
            for (size_t i = 0; i < LANES; i++) {                                                                       \
                const double x = (double)from[at + i];                                                                 \
                lanes[i] = lanes[i] + (term);                                                                          \
            }                                                                                                          \
        for (size_t i = 0; at + i < n; i++) {                                                                          \
            const double x = (double)from[at + i];                                                                     \
            lanes[i] = lanes[i] + (term);                                                                              \
        }                                                                                                              \
        return fold_doubles(lanes);                                                                                    \
    }

SUM_DOUBLES(sum_absolute, x < 0.0 ? -x : x)
SUM_DOUBLES(sum_squares, x *x)

static void add_penalty(const struct mst_penalty *slice)
{
    const float l1 = slice->l1;
    const float l2 = slice->l2;
    const float *x = slice->x;
    float *grad = slice->grad;
    ANY_ORDER for (size_t i = 0; i < slice->n; i++)
    {
        grad[i] = grad[i] + (l1 * sign_f(x[i]) + l2 * (2.0f * x[i]));
    }
}
