// The loops behind the device's operations. A file that defines KERNEL_TABLE includes this once for its instruction
// set; the compiler makes vectors of the set's width from loops whose bodies have no branches. Each element is
// computed by the same operations in the same order whatever the width, and sums over a row have a fixed order
// (kernels_rows.h), hence the same bits; a NaN is a NaN everywhere, but not always with the same sign and payload.
#include "kernels.h"

#include "kernels_math.h"

#include "kernels_activation.h"
#include "kernels_rows.h"

#include "kernels_across.h"
#include "kernels_losses.h"
#include "kernels_merge.h"
#include "kernels_normalize.h"
#include "kernels_tables.h"

static void bias_add(size_t rows, size_t columns, const float *bias, const float *x, float *y)
{
    for (size_t r = 0; r < rows; r++) {
        const float *from = x + r * columns;
        float *to = y + r * columns;
        ANY_ORDER for (size_t c = 0; c < columns; c++)
        {
            to[c] = from[c] + bias[c];
        }
    }
}

static void bias_relu(size_t rows, size_t columns, const float *bias, float *y)
{
    for (size_t r = 0; r < rows; r++) {
        float *to = y + r * columns;
        ANY_ORDER for (size_t c = 0; c < columns; c++)
        {
            float x = to[c] + bias[c];
            to[c] = x < 0.0f ? 0.0f : x;
        }
    }
}

static void column_sum(size_t rows, size_t columns, size_t from, size_t to, const float *x, float *out)
{
    for (size_t c = from; c < to; c++)
        out[c] = 0.0f;
    for (size_t r = 0; r < rows; r++) {
        const float *row = x + r * columns;
        ANY_ORDER for (size_t c = from; c < to; c++)
        {
            out[c] = out[c] + row[c];
        }
    }
}

static void convert_f32(const struct mst_convert *slice, const float *x)
{
    float *y = slice->y;
    const float scale = slice->scale;
    const float offset = slice->offset;
    ANY_ORDER for (size_t i = 0; i < slice->n; i++)
    {
        y[i] = x[i] * scale + offset;
    }
}

static void convert_u8(const struct mst_convert *slice, const uint8_t *x)
{
    float *y = slice->y;
    const float scale = slice->scale;
    const float offset = slice->offset;
    ANY_ORDER for (size_t i = 0; i < slice->n; i++)
    {
        y[i] = (float)x[i] * scale + offset;
    }
}

static void convert_i32(const struct mst_convert *slice, const int32_t *x)
{
    float *y = slice->y;
    const float scale = slice->scale;
    const float offset = slice->offset;
    ANY_ORDER for (size_t i = 0; i < slice->n; i++)
    {
        y[i] = (float)x[i] * scale + offset;
    }
}

// mst_rng_block for sixteen blocks in a row, so that its multiplications fill vectors.
enum { BLOCKS = 16, WORDS = 4 };

INLINE void random_words(struct mst_rng_key key, uint64_t first_block, uint32_t words[BLOCKS * WORDS])
{
    uint32_t w[WORDS][BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        const uint64_t block = first_block + i;
        uint32_t c0 = (uint32_t)block;
        uint32_t c1 = (uint32_t)(block >> 32);
        uint32_t c2 = key.stream[0];
        uint32_t c3 = key.stream[1];
        uint32_t k0 = key.k[0];
        uint32_t k1 = key.k[1];
        for (int round = 0; round < 10; round++) {
            const uint64_t p0 = (uint64_t)0xD2511F53u * c0;
            const uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
            c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
            c1 = (uint32_t)p1;
            c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
            c3 = (uint32_t)p0;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        w[0][i] = c0;
        w[1][i] = c1;
        w[2][i] = c2;
        w[3][i] = c3;
    }
    for (size_t i = 0; i < BLOCKS; i++)
        for (size_t k = 0; k < WORDS; k++)
            words[i * WORDS + k] = w[k][i];
}

static void dropout(const struct mst_dropout *slice)
{
    const float rate = slice->rate;
    const float kept = 1.0f - rate;
    const float *x = slice->x;
    float *y = slice->y;
    for (size_t at = 0; at < slice->n; at += BLOCKS * WORDS) {
        uint32_t words[BLOCKS * WORDS];
        const size_t n = slice->n - at < BLOCKS * WORDS ? slice->n - at : BLOCKS * WORDS;
        random_words(slice->key, (slice->first + at) / WORDS, words);
        ANY_ORDER for (size_t i = 0; i < n; i++)
        {
            float scaled = x[at + i] / kept;
            y[at + i] = mst_rng_unit(words[i]) < rate ? 0.0f : scaled;
        }
    }
}

// x - x is +0 for every finite x and NaN for NaN and Inf: the OR of the differences' bits tells.
static bool all_finite(size_t n, const float *x)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < n; i++)
        bits |= bits_of(x[i] - x[i]);
    return bits == 0;
}

#define BOTH(kind, name)                                                                                               \
    .forward[MST_ACTIVATION_##kind] = name##_forward, .backward[MST_ACTIVATION_##kind] = name##_backward

const struct mst_kernels KERNEL_TABLE = {
    BOTH(LINEAR, linear),
    BOTH(RELU, relu),
    BOTH(LEAKY_RELU, leaky_relu),
    BOTH(RELU6, relu6),
    BOTH(SIGMOID, sigmoid),
    BOTH(TANH, tanh),
    BOTH(SOFTMAX, softmax),
    BOTH(LOG_SOFTMAX, log_softmax),
    BOTH(ELU, elu),
    BOTH(SELU, selu),
    BOTH(CELU, celu),
    BOTH(SOFTPLUS, softplus),
    BOTH(SOFTSIGN, softsign),
    BOTH(GELU, gelu),
    BOTH(GELU_TANH, gelu_tanh),
    BOTH(SILU, silu),
    BOTH(EXPONENTIAL, exponential),
    BOTH(HARD_SIGMOID, hard_sigmoid),
    BOTH(HARD_SILU, hard_silu),
    BOTH(HARD_TANH, hard_tanh),
    BOTH(HARD_SHRINK, hard_shrink),
    BOTH(SOFT_SHRINK, soft_shrink),
    BOTH(TANH_SHRINK, tanh_shrink),
    BOTH(MISH, mish),
    BOTH(LOG_SIGMOID, log_sigmoid),
    BOTH(SQUAREPLUS, squareplus),
    BOTH(SPARSE_PLUS, sparse_plus),
    BOTH(SPARSE_SIGMOID, sparse_sigmoid),
    .softmax_across = softmax_across,
    .softmax_across_backward = softmax_across_backward,
    .bias_add = bias_add,
    .bias_relu = bias_relu,
    .column_sum = column_sum,
    .convert_f32 = convert_f32,
    .convert_u8 = convert_u8,
    .convert_i32 = convert_i32,
    .dropout = dropout,
    .sparse_crossentropy = sparse_crossentropy,
    .crossentropy = crossentropy,
    .mean_squared_error = mean_squared_error,
    .dense_loss = {[MST_DENSE_BINARY_CROSSENTROPY] = binary_crossentropy_loss,
                   [MST_DENSE_ABSOLUTE] = absolute_loss,
                   [MST_DENSE_PERCENTAGE] = percentage_loss,
                   [MST_DENSE_LOGARITHMIC] = logarithmic_loss,
                   [MST_DENSE_HUBER] = huber_loss,
                   [MST_DENSE_LOG_COSH] = log_cosh_loss,
                   [MST_DENSE_HINGE] = hinge_loss,
                   [MST_DENSE_SQUARED_HINGE] = squared_hinge_loss,
                   [MST_DENSE_CATEGORICAL_HINGE] = categorical_hinge_loss,
                   [MST_DENSE_KL_DIVERGENCE] = kl_divergence_loss,
                   [MST_DENSE_POISSON] = poisson_loss,
                   [MST_DENSE_COSINE_SIMILARITY] = cosine_similarity_loss},
    .weigh_rows = weigh_rows,
    .copy_block = copy_block,
    .merge = {[MST_MERGE_ADD] = merge_add,
              [MST_MERGE_SUBTRACT] = merge_subtract,
              [MST_MERGE_MULTIPLY] = merge_multiply,
              [MST_MERGE_MAXIMUM] = merge_maximum,
              [MST_MERGE_MINIMUM] = merge_minimum,
              [MST_MERGE_PRELU] = merge_prelu},
    .prelu_slopes = prelu_slopes,
    .divide = divide,
    .take_where_equal = take_where_equal,
    .column_moments = column_moments,
    .line_moments = line_moments,
    .column_products = column_products,
    .line_products = line_products,
    .normalize_columns = normalize_columns,
    .normalize_lines = normalize_lines,
    .column_slopes = column_slopes,
    .line_slopes = line_slopes,
    .join_moments = join_moments,
    .join_sums = join_sums,
    .row_norm = row_norm,
    .row_norm_products = row_norm_products,
    .row_norm_slopes = row_norm_slopes,
    .all_ids_below = all_ids_below,
    .scatter_add = scatter_add,
    .ids_from_f32 = ids_from_f32,
    .sum_absolute = sum_absolute,
    .sum_squares = sum_squares,
    .add_penalty = add_penalty,
    .all_finite = all_finite,
};
