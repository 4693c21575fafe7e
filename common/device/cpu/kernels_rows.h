// What works on a row as a whole, for kernels_body.h: sums, softmax and the losses.
//
// A sum over a row has sixteen partial sums, element j going to number j mod 16, which are then added in pairs; so
// the order of additions, and with it the bits, is the same for vectors of 4, 8 or 16 lanes. Exponentials, the
// costly part, are taken over all rows at once, for a row of ten would leave most of a vector empty.
//
// What is added up along columns is taken in groups of them, whose sums stay in registers.
enum { LANES = 16, GROUP = 64 };

INLINE float fold(const float lanes[LANES])
{
    float sums[LANES];
    memcpy(sums, lanes, sizeof sums);
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            sums[i] = sums[i] + sums[i + half];
    return sums[0];
}

// Sets `result` to the sum of `term`, an expression of j, for j from 0 to n - 1.
#define SUM_ROW(result, n, term)                                                                                       \
    do {                                                                                                               \
        float lanes_[LANES] = {0};                                                                                     \
        size_t at_ = 0;                                                                                                \
        for (; at_ + LANES <= (n); at_ += LANES)                                                                       \
            for (size_t lane_ = 0; lane_ < LANES; lane_++) {                                                           \
                const size_t j = at_ + lane_;                                                                          \
                lanes_[lane_] = lanes_[lane_] + (term);                                                                \
            }                                                                                                          \
        for (size_t j = at_; j < (n); j++)                                                                             \
            lanes_[j - at_] = lanes_[j - at_] + (term);                                                                \
        (result) = fold(lanes_);                                                                                       \
    } while (0)

INLINE float sum_row(size_t n, const float *x)
{
    float sum;
    SUM_ROW(sum, n, x[j]);
    return sum;
}

INLINE float dot_row(size_t n, const float *x, const float *y)
{
    float sum;
    SUM_ROW(sum, n, x[j] * y[j]);
    return sum;
}

// The largest; anything if there is NaN, for then the sum of exponentials is NaN and with it all that is divided by
// it.
INLINE float max_row(size_t n, const float *x)
{
    float lanes[LANES];
    float max = -INFINITY;
    size_t at = 0;
    for (size_t i = 0; i < LANES; i++)
        lanes[i] = -INFINITY;
    for (; at + LANES <= n; at += LANES)
        for (size_t i = 0; i < LANES; i++)
            lanes[i] = x[at + i] > lanes[i] ? x[at + i] : lanes[i];
    for (size_t i = 0; n >= LANES && i < LANES; i++)
        max = lanes[i] > max ? lanes[i] : max;
    for (; at < n; at++)
        max = x[at] > max ? x[at] : max;
    return max;
}

// y = x - max of the row, so that no exponential overflows. y may be x.
INLINE void shift_row(size_t n, const float *x, float *y)
{
    float max = max_row(n, x);
    ANY_ORDER for (size_t j = 0; j < n; j++)
    {
        y[j] = x[j] - max;
    }
}

static void exp_all(size_t n, float *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = exp_f(y[i]);
}

static void softmax_forward(const struct mst_activate *slice)
{
    const size_t columns = slice->columns;
    for (size_t r = 0; r < slice->rows; r++)
        shift_row(columns, slice->x + r * columns, slice->y + r * columns);
    exp_all(slice->rows * columns, slice->y);
    for (size_t r = 0; r < slice->rows; r++) {
        float *y = slice->y + r * columns;
        float sum = sum_row(columns, y);
        for (size_t j = 0; j < columns; j++)
            y[j] = y[j] / sum;
    }
}

static void softmax_backward(const struct mst_activate_backward *slice)
{
    const size_t columns = slice->columns;
    for (size_t r = 0; r < slice->rows; r++) {
        const float *y = slice->y + r * columns;
        const float *dy = slice->dy + r * columns;
        float *dx = slice->dx + r * columns;
        float mean = dot_row(columns, dy, y);
        ANY_ORDER for (size_t j = 0; j < columns; j++)
        {
            dx[j] = y[j] * (dy[j] - mean);
        }
    }
}

static void log_softmax_forward(const struct mst_activate *slice)
{
    const size_t columns = slice->columns;
    for (size_t r = 0; r < slice->rows; r++) {
        float *y = slice->y + r * columns;
        float sum;
        shift_row(columns, slice->x + r * columns, y);
        SUM_ROW(sum, columns, exp_f(y[j]));
        float log_sum = log_f(sum);
        for (size_t j = 0; j < columns; j++)
            y[j] = y[j] - log_sum;
    }
}

static void log_softmax_backward(const struct mst_activate_backward *slice)
{
    const size_t columns = slice->columns;
    for (size_t r = 0; r < slice->rows; r++) {
        const float *y = slice->y + r * columns;
        const float *dy = slice->dy + r * columns;
        float *dx = slice->dx + r * columns;
        float sum = sum_row(columns, dy);
        ANY_ORDER for (size_t j = 0; j < columns; j++)
        {
            dx[j] = dy[j] - exp_f(y[j]) * sum;
        }
    }
}

// Losses. `grad` is always there (the caller has a place for one that nobody wants) and may be `outputs`; so what a
// row's loss needs of them is kept in `losses` before they are overwritten.

// Cross-entropy of class l from logits: ln Σ e^z - z[l] with z = x - max; by x: (softmax - 1 at l).
static void sparse_from_logits(const struct mst_loss *slice, float *losses)
{
    const size_t columns = slice->columns;
    const float scale = slice->grad_scale;
    for (size_t r = 0; r < slice->rows; r++) {
        float *grad = slice->grad + r * columns;
        shift_row(columns, slice->outputs + r * columns, grad);
        losses[r] = (size_t)slice->labels[r] < columns ? grad[slice->labels[r]] : NAN;
    }
    exp_all(slice->rows * columns, slice->grad);
    for (size_t r = 0; r < slice->rows; r++) {
        float *grad = slice->grad + r * columns;
        const size_t label = (size_t)slice->labels[r]; // huge if negative
        float sum = sum_row(columns, grad);
        float of_label = label < columns ? grad[label] : NAN;
        losses[r] = log_f(sum) - losses[r];
        if (label >= columns)
            sum = NAN;
        for (size_t j = 0; j < columns; j++)
            grad[j] = grad[j] / sum * scale;
        if (label < columns)
            grad[label] = (of_label / sum - 1.0f) * scale;
    }
}

// Keras clips probabilities to this far from 0 and 1.
#define KERAS_EPSILON 1e-7f

INLINE float clip(float p)
{
    return clamp_f(p, KERAS_EPSILON, 1.0f - KERAS_EPSILON);
}

// 1 where clipping changes nothing, as the slope of clip.
INLINE float clip_slope(float p)
{
    return ((p >= KERAS_EPSILON) & (p <= 1.0f - KERAS_EPSILON)) ? 1.0f : 0.0f;
}

// From probabilities c, clipped: ln Σ c - ln c[l], for Keras gives ln c as logits to the loss above.
static void sparse_from_probabilities(const struct mst_loss *slice, float *losses)
{
    const size_t columns = slice->columns;
    const float scale = slice->grad_scale;
    for (size_t r = 0; r < slice->rows; r++) {
        const float *p = slice->outputs + r * columns;
        float *grad = slice->grad + r * columns;
        const size_t label = (size_t)slice->labels[r];
        float of_label = label < columns ? p[label] : NAN;
        float sum;
        SUM_ROW(sum, columns, clip(p[j]));
        losses[r] = log_f(sum) - log_f(clip(of_label));
        if (label >= columns)
            sum = NAN;
        ANY_ORDER for (size_t j = 0; j < columns; j++)
        {
            grad[j] = clip_slope(p[j]) / sum * scale;
        }
        if (label < columns)
            grad[label] = clip_slope(of_label) * (1.0f / sum - 1.0f / clip(of_label)) * scale;
    }
}

static void sparse_crossentropy(const struct mst_loss *slice, float *losses)
{
    if (slice->input == MST_LOSS_LOGITS)
        sparse_from_logits(slice, losses);
    else
        sparse_from_probabilities(slice, losses);
}

// Σ t (ln Σ e^z - z); by z it is taken to be softmax - t, as TensorFlow does, also where the targets of a row do not
// add up to 1 (tests/golden: plain_linear_weights).
static void crossentropy_from_logits(const struct mst_loss *slice, float *losses)
{
    const size_t columns = slice->columns;
    const float scale = slice->grad_scale;
    for (size_t r = 0; r < slice->rows; r++) {
        float *grad = slice->grad + r * columns;
        shift_row(columns, slice->outputs + r * columns, grad);
        losses[r] = dot_row(columns, slice->targets + r * columns, grad);
    }
    exp_all(slice->rows * columns, slice->grad);
    for (size_t r = 0; r < slice->rows; r++) {
        const float *t = slice->targets + r * columns;
        float *grad = slice->grad + r * columns;
        float sum = sum_row(columns, grad);
        float weight = sum_row(columns, t);
        losses[r] = log_f(sum) * weight - losses[r];
        for (size_t j = 0; j < columns; j++)
            grad[j] = (grad[j] / sum - t[j]) * scale;
    }
}

// With q = p / Σ p and c = q clipped: -Σ t ln c. By c it is u = -t / c where q was not clipped, by p then (u - Σ u
// q) / Σ p.
static void crossentropy_from_probabilities(const struct mst_loss *slice, float *losses)
{
    const size_t columns = slice->columns;
    const float scale = slice->grad_scale;
    for (size_t r = 0; r < slice->rows; r++) {
        const float *p = slice->outputs + r * columns;
        const float *t = slice->targets + r * columns;
        float *grad = slice->grad + r * columns;
        float sum = sum_row(columns, p);
        float loss;
        float mean;
        SUM_ROW(loss, columns, t[j] * log_f(clip(p[j] / sum)));
        SUM_ROW(mean, columns, clip_slope(p[j] / sum) * t[j]); // u q is -t wherever it is not 0
        losses[r] = -loss;
        ANY_ORDER for (size_t j = 0; j < columns; j++)
        {
            float q = p[j] / sum;
            grad[j] = (mean - clip_slope(q) * t[j] / clip(q)) / sum * scale;
        }
    }
}

static void crossentropy(const struct mst_loss *slice, float *losses)
{
    if (slice->input == MST_LOSS_LOGITS)
        crossentropy_from_logits(slice, losses);
    else
        crossentropy_from_probabilities(slice, losses);
}

// Σ (x - t)² / columns; by x: 2 (x - t) / columns.
static void mean_squared_error(const struct mst_loss *slice, float *losses)
{
    const size_t columns = slice->columns;
    const float scale = 2.0f / (float)columns * slice->grad_scale;
    for (size_t r = 0; r < slice->rows; r++) {
        const float *x = slice->outputs + r * columns;
        const float *t = slice->targets + r * columns;
        float *grad = slice->grad + r * columns;
        float sum;
        SUM_ROW(sum, columns, (x[j] - t[j]) * (x[j] - t[j]));
        losses[r] = sum / (float)columns;
        ANY_ORDER for (size_t j = 0; j < columns; j++)
        {
            grad[j] = (x[j] - t[j]) * scale;
        }
    }
}
