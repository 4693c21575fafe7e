// Softmax over an axis that is not the last, for kernels_body.h: many that lie side by side are taken at once, in
// groups; each is added up from its first element to its last.

struct across {
    size_t columns; // elements of one softmax
    size_t inner;   // from one to the next
    bool is_log;
};

INLINE void softmax_group(const struct across *across, size_t n, const float *x, float *y)
{
    float max[GROUP];
    float sums[GROUP] = {0};
    for (size_t i = 0; i < n; i++)
        max[i] = -INFINITY;
    for (size_t c = 0; c < across->columns; c++) {
        const float *from = x + c * across->inner;
        for (size_t i = 0; i < n; i++)
            max[i] = from[i] > max[i] ? from[i] : max[i];
    }
    for (size_t c = 0; c < across->columns; c++) {
        const float *from = x + c * across->inner;
        float *to = y + c * across->inner;
        ANY_ORDER for (size_t i = 0; i < n; i++)
        {
            float shifted = from[i] - max[i];
            float e = exp_f(shifted);
            sums[i] = sums[i] + e;
            to[i] = across->is_log ? shifted : e;
        }
    }
    for (size_t i = 0; i < n && across->is_log; i++)
        sums[i] = log_f(sums[i]);
    for (size_t c = 0; c < across->columns; c++) {
        float *to = y + c * across->inner;
        for (size_t i = 0; i < n; i++)
            to[i] = across->is_log ? to[i] - sums[i] : to[i] / sums[i];
    }
}

static void softmax_across(const struct mst_activate *slice)
{
    const struct across across = {slice->columns, slice->inner, slice->activation.kind == MST_ACTIVATION_LOG_SOFTMAX};
    for (size_t r = 0; r < slice->rows; r++) {
        const size_t at = r * slice->columns * slice->inner;
        for (size_t from = 0; from < slice->inner; from += GROUP) {
            const size_t left = slice->inner - from;
            softmax_group(&across, left < GROUP ? left : GROUP, slice->x + at + from, slice->y + at + from);
        }
    }
}

INLINE void softmax_group_slopes(const struct across *across, size_t n, const float *y, const float *dy, float *dx)
{
    float sums[GROUP] = {0};
    for (size_t c = 0; c < across->columns; c++) {
        const float *of_y = y + c * across->inner;
        const float *of_dy = dy + c * across->inner;
        for (size_t i = 0; i < n; i++)
            sums[i] = sums[i] + (across->is_log ? of_dy[i] : of_dy[i] * of_y[i]);
    }
    for (size_t c = 0; c < across->columns; c++) {
        const float *of_y = y + c * across->inner;
        const float *of_dy = dy + c * across->inner;
        float *to = dx + c * across->inner;
        ANY_ORDER for (size_t i = 0; i < n; i++)
        {
            float of_log = of_dy[i] - exp_f(of_y[i]) * sums[i];
            to[i] = across->is_log ? of_log : of_y[i] * (of_dy[i] - sums[i]);
        }
    }
}

static void softmax_across_backward(const struct mst_activate_backward *slice)
{
    const struct across across = {slice->columns, slice->inner, slice->activation.kind == MST_ACTIVATION_LOG_SOFTMAX};
    for (size_t r = 0; r < slice->rows; r++) {
        const size_t at = r * slice->columns * slice->inner;
        for (size_t from = 0; from < slice->inner; from += GROUP) {
            const size_t left = slice->inner - from;
            softmax_group_slopes(&across, left < GROUP ? left : GROUP, slice->y + at + from, slice->dy + at + from,
                                 slice->dx + at + from);
        }
    }
}
