// Losses against dense targets beside those of kernels_rows.h, whose sums and clipping they use. Slopes at kinks are
// TensorFlow's: 0 for an absolute value, that of the first branch for a maximum.

// The mean over a row's columns of name_value(x, t, delta), with name_slope its derivative by x.
#define MEAN_LOSS(name)                                                                                                \
    static void name##_loss(const struct mst_loss *slice, float *losses)                                               \
    {                                                                                                                  \
        const size_t columns = slice->columns;                                                                         \
        const float delta = slice->delta;                                                                              \
        const float scale = slice->grad_scale / (float)columns;                                                        \
        for (size_t r = 0; r < slice->rows; r++) {                                                                     \
            const float *x = slice->outputs + r * columns;                                                             \
            const float *t = slice->targets + r * columns;                                                             \
            float *grad = slice->grad + r * columns;                                                                   \
            float sum;                                                                                                 \
            SUM_ROW(sum, columns, name##_value(x[j], t[j], delta));                                                    \
            losses[r] = sum / (float)columns;                                                                          \
            ANY_ORDER for (size_t j = 0; j < columns; j++)                                                             \
            {                                                                                                          \
                grad[j] = name##_slope(x[j], t[j], delta) * scale;                                                     \
            }                                                                                                          \
        }                                                                                                              \
    }

// -1, 0 or 1; NaN of NaN.
INLINE float sign_f(float x)
{
    float sign = x < 0.0f ? -1.0f : x;
    return sign > 0.0f ? 1.0f : sign;
}

INLINE float at_least(float x, float least)
{
    return x < least ? least : x; // NaN stays
}

// Of logits: -(t ln s + (1 - t) ln (1 - s)) with s = sigmoid x, without an overflow.
INLINE float logits_binary_value(float x, float t, float delta)
{
    (void)delta;
    return at_least(x, 0.0f) - x * t + log1p_f(exp_f(-abs_f(x)));
}

INLINE float logits_binary_slope(float x, float t, float delta)
{
    (void)delta;
    return sigmoid_f(x) - t;
}

INLINE float binary_value(float x, float t, float delta)
{
    (void)delta;
    float p = clip(x);
    return -(t * log_f(p) + (1.0f - t) * log_f(1.0f - p));
}

INLINE float binary_slope(float x, float t, float delta)
{
    (void)delta;
    float p = clip(x);
    return clip_slope(x) * ((1.0f - t) / (1.0f - p) - t / p);
}

INLINE float absolute_value(float x, float t, float delta)
{
    (void)delta;
    return abs_f(x - t);
}

INLINE float absolute_slope(float x, float t, float delta)
{
    (void)delta;
    return sign_f(x - t);
}

INLINE float percentage_value(float x, float t, float delta)
{
    (void)delta;
    return 100.0f * abs_f((t - x) / at_least(abs_f(t), KERAS_EPSILON));
}

INLINE float percentage_slope(float x, float t, float delta)
{
    (void)delta;
    return 100.0f * (sign_f(x - t) / at_least(abs_f(t), KERAS_EPSILON));
}

INLINE float logarithmic_value(float x, float t, float delta)
{
    (void)delta;
    float d = log_f(at_least(x, KERAS_EPSILON) + 1.0f) - log_f(at_least(t, KERAS_EPSILON) + 1.0f);
    return d * d;
}

INLINE float logarithmic_slope(float x, float t, float delta)
{
    (void)delta;
    float above = at_least(x, KERAS_EPSILON) + 1.0f;
    float d = log_f(above) - log_f(at_least(t, KERAS_EPSILON) + 1.0f);
    return x < KERAS_EPSILON ? 0.0f : 2.0f * d / above;
}

INLINE float huber_value(float x, float t, float delta)
{
    float a = abs_f(x - t);
    float square = 0.5f * (a * a);
    float line = delta * a - 0.5f * (delta * delta);
    return a <= delta ? square : line;
}

INLINE float huber_slope(float x, float t, float delta)
{
    float d = x - t;
    float line = delta * sign_f(d);
    return abs_f(d) <= delta ? d : line;
}

INLINE float log_cosh_value(float x, float t, float delta)
{
    (void)delta;
    float d = x - t;
    return d + softplus_f(-2.0f * d) - 0.693147181f; // ln 2
}

INLINE float log_cosh_slope(float x, float t, float delta)
{
    (void)delta;
    return tanh_f(x - t);
}

INLINE float hinge_value(float x, float t, float delta)
{
    (void)delta;
    return at_least(1.0f - t * x, 0.0f);
}

INLINE float hinge_slope(float x, float t, float delta)
{
    (void)delta;
    return 1.0f - t * x < 0.0f ? 0.0f : -t;
}

INLINE float squared_hinge_value(float x, float t, float delta)
{
    float h = hinge_value(x, t, delta);
    return h * h;
}

INLINE float squared_hinge_slope(float x, float t, float delta)
{
    return -2.0f * t * hinge_value(x, t, delta);
}

INLINE float poisson_value(float x, float t, float delta)
{
    (void)delta;
    return x - t * log_f(x + KERAS_EPSILON);
}

INLINE float poisson_slope(float x, float t, float delta)
{
    (void)delta;
    return 1.0f - t / (x + KERAS_EPSILON);
}

MEAN_LOSS(logits_binary)
MEAN_LOSS(binary)
MEAN_LOSS(absolute)
MEAN_LOSS(percentage)
MEAN_LOSS(logarithmic)
MEAN_LOSS(huber)
MEAN_LOSS(log_cosh)
MEAN_LOSS(hinge)
MEAN_LOSS(squared_hinge)
MEAN_LOSS(poisson)

static void binary_crossentropy_loss(const struct mst_loss *slice, float *losses)
{
    if (slice->input == MST_LOSS_LOGITS)
        logits_binary_loss(slice, losses);
    else
        binary_loss(slice, losses);
}

// max(max_j (1 - t) x - Σ t x + 1, 0). Equal maxima share the slope.
static void categorical_hinge_loss(const struct mst_loss *slice, float *losses)
{
    const size_t columns = slice->columns;
    for (size_t r = 0; r < slice->rows; r++) {
        const float *x = slice->outputs + r * columns;
        const float *t = slice->targets + r * columns;
        float *grad = slice->grad + r * columns;
        float max = -INFINITY;
        float n_max = 0;
        float right = dot_row(columns, t, x);
        for (size_t j = 0; j < columns; j++) {
            float wrong = (1.0f - t[j]) * x[j];
            max = wrong > max || wrong != wrong ? wrong : max;
        }
        for (size_t j = 0; j < columns; j++)
            n_max += (1.0f - t[j]) * x[j] == max ? 1.0f : 0.0f;
        losses[r] = at_least(max - right + 1.0f, 0.0f);
        const float scale = max - right + 1.0f < 0.0f ? 0.0f : slice->grad_scale;
        for (size_t j = 0; j < columns; j++) {
            float share = (1.0f - t[j]) * x[j] == max ? (1.0f - t[j]) / n_max : 0.0f;
            grad[j] = (share - t[j]) * scale;
        }
    }
}

INLINE float clip_to_one(float p)
{
    return clamp_f(p, KERAS_EPSILON, 1.0f);
}

// Σ t ln (t / p), both clipped to [1e-7, 1].
static void kl_divergence_loss(const struct mst_loss *slice, float *losses)
{
    const size_t columns = slice->columns;
    const float scale = slice->grad_scale;
    for (size_t r = 0; r < slice->rows; r++) {
        const float *p = slice->outputs + r * columns;
        const float *t = slice->targets + r * columns;
        float *grad = slice->grad + r * columns;
        SUM_ROW(losses[r], columns, clip_to_one(t[j]) * log_f(clip_to_one(t[j]) / clip_to_one(p[j])));
        ANY_ORDER for (size_t j = 0; j < columns; j++)
        {
            float slope = ((p[j] >= KERAS_EPSILON) & (p[j] <= 1.0f)) ? scale : 0.0f;
            grad[j] = -(clip_to_one(t[j]) / clip_to_one(p[j])) * slope;
        }
    }
}

// 1 / |x|, as far as Keras lets it grow.
INLINE float inverse_length(float square)
{
    float inverse = 1.0f / sqrtf(square);
    return inverse > 1.0f / KERAS_EPSILON ? 1.0f / KERAS_EPSILON : inverse;
}

// -Σ x t / |x| |t|; by x: (x c - t) with both of length 1 and c their product, divided by |x|.
static void cosine_similarity_loss(const struct mst_loss *slice, float *losses)
{
    const size_t columns = slice->columns;
    for (size_t r = 0; r < slice->rows; r++) {
        const float *x = slice->outputs + r * columns;
        const float *t = slice->targets + r * columns;
        float *grad = slice->grad + r * columns;
        float square = dot_row(columns, x, x);
        float of_x = inverse_length(square);
        float of_t = inverse_length(dot_row(columns, t, t));
        float cosine = 0;
        SUM_ROW(cosine, columns, (t[j] * of_t) * (x[j] * of_x));
        // A length that is cut off is a constant.
        float turn = 1.0f / sqrtf(square) > 1.0f / KERAS_EPSILON ? 0.0f : cosine;
        const float scale = of_x * slice->grad_scale;
        losses[r] = -cosine;
        ANY_ORDER for (size_t j = 0; j < columns; j++)
        {
            grad[j] = (x[j] * of_x * turn - t[j] * of_t) * scale;
        }
    }
}

static void weigh_rows(const struct mst_loss *slice, const float *weights, float *losses)
{
    for (size_t r = 0; r < slice->rows; r++) {
        const float weight = weights[r];
        float *grad = slice->grad + r * slice->columns;
        losses[r] = losses[r] * weight;
        for (size_t j = 0; j < slice->columns; j++)
            grad[j] = grad[j] * weight;
    }
}
