/** @file
 *  The operations a model needs, as a plain table on float arrays; today the CPU fills it, later a plugin may.
 *
 *      MST_TRY(mst_device_cpu_new(n_threads, &device, err));
 *      struct mst_gemm gemm = {.form = MST_GEMM_NN, .m = 64, .n = 300, .k = 784, .a = x, .b = w, .c = y,
 *                              .bias = b, .activation = &relu};
 *      device->ops->gemm(device, &gemm);                       // y = relu(x w + b)
 *      mst_device_free(device);
 *
 *  All arrays are f32, row-major and contiguous, unless a comment says otherwise; any alignment will do, 64 bytes is
 *  fastest. Results have the same bits for any number of threads and on every instruction set of ours (tensor/isa.h),
 *  but for the sign and payload of a NaN; those of gemm also depend on OpenBLAS's core type, which mst_device_describe
 *  names. Where a comment says so, output and input may be the same array; otherwise they must not overlap. Sizes may
 *  be 0. Nothing here allocates after the first call with a size.
 *  Thread: one caller at a time per device; the device's own threads work within the call.
 */
#pragma once

#include "base/rng.h"
#include "device/activation.h"
#include "muster/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Grows by one with every change of struct mst_device_ops; a plugin of another version is refused.
enum { MST_DEVICE_ABI = 6 };

enum { MST_DEVICE_MAX_THREADS = 256, MST_DEVICE_MAX_AXES = 8, MST_MERGE_MAX_INPUTS = 64 };

struct mst_device;

enum mst_copy_write { MST_COPY_SET, MST_COPY_ADD };

/** y[i · to] = x[i · from], or += with MST_COPY_ADD, for every index i below shape: a transpose, a block of a
 *  concatenation, a repetition, y += x. Steps are counted in elements. A step of `from` may be 0: x is repeated. With
 *  MST_COPY_ADD a step of `to` may be 0: the sum over that axis is added, in an order that only the shape decides;
 *  otherwise no element of y may be met twice. */
struct mst_copy {
    enum mst_copy_write write;
    size_t n_axes; // 0: one element
    size_t shape[MST_DEVICE_MAX_AXES];
    size_t from[MST_DEVICE_MAX_AXES];
    size_t to[MST_DEVICE_MAX_AXES];
    const float *x;
    float *y;
};

/** Keras's merge layers, and PReLU, whose second input is a variable. Maximum and minimum give the gradient of an
 *  element to the first input that has it. */
enum mst_merge_kind {
    MST_MERGE_ADD,
    MST_MERGE_SUBTRACT, // of exactly two
    MST_MERGE_MULTIPLY,
    MST_MERGE_AVERAGE,
    MST_MERGE_MAXIMUM,
    MST_MERGE_MINIMUM,
    MST_MERGE_PRELU, // of exactly two, x not repeated and alpha: max(x, 0) + alpha min(x, 0)
    MST_N_MERGES,
};

struct mst_merge_input {
    size_t shape[MST_DEVICE_MAX_AXES]; // that of the merge, or 1 where the input is repeated
    const float *x;                    // add, subtract and average need it forward only: then it may be NULL
    float *dx;                         // backward: its gradient, summed where the input is repeated; NULL: not wanted
};

/** Elementwise over several inputs: merge sets y, merge_backward the dx of the inputs. */
struct mst_merge {
    enum mst_merge_kind kind;
    size_t n_axes;
    size_t shape[MST_DEVICE_MAX_AXES]; // of y and dy
    size_t n_inputs;                   // 1 to MST_MERGE_MAX_INPUTS
    const struct mst_merge_input *inputs;
    float *y;        // merge: may be the x of inputs[0] if that has the shape of y; merge_backward: what merge set
                     // (needed for maximum and minimum)
    const float *dy; // merge_backward
};

/** Batch normalization of x (outer, channels, inner), which is any array with one axis of channels; inner is 1 if that
 *  is the last. y = (x - mean) gamma / √(variance + epsilon) + beta. Training: batch_moments, then batch_norm;
 *  inference: batch_norm with the moving averages.
 *  Source: Ioffe & Szegedy 2015, alg. 1 and 2; Keras 3, layers/normalization/batch_normalization.py */
struct mst_batch_norm {
    size_t outer;
    size_t channels;
    size_t inner;
    float epsilon;
    const float *x;
    const float *gamma; // (channels), or NULL: 1
    const float *beta;  // (channels), or NULL: 0
    float *mean;        // (channels): batch_moments sets both, the others read them
    float *variance;    // (channels): not below 0; that of the batch divides by its size (biased)
    float *y;           // may be x
};

/** Whether mean and variance are functions of x: those of the batch are, moving averages are not. */
enum mst_norm_moments { MST_NORM_OF_BATCH, MST_NORM_GIVEN };

struct mst_batch_norm_backward {
    struct mst_batch_norm forward; // as batch_norm was given it, but that y is not read
    enum mst_norm_moments moments;
    const float *dy;
    float *dx;     // may be dy; NULL: not wanted
    float *dgamma; // (channels), or NULL: not wanted
    float *dbeta;  // (channels), or NULL: not wanted
};

/** Normalizations of each row, y = (x - shift) inverse gamma + beta; mean and variance (biased) are of the row. */
enum mst_row_norm_kind {
    MST_ROW_NORM_LAYER,    // (x - mean) / √(variance + epsilon): LayerNormalization
    MST_ROW_NORM_RMS,      // x / √(mean of x² + epsilon): RMSNormalization
    MST_ROW_NORM_VARIANCE, // x / √(variance + epsilon): LayerNormalization with rms_scaling=True
    MST_ROW_NORM_LENGTH,   // x min(1 / |x|, 1 / epsilon): Dot with normalize=True, UnitNormalization
};

/** Source: Ba et al. 2016; Zhang & Sennrich 2019; Keras 3, keras/src/ops/nn.py */
struct mst_row_norm {
    enum mst_row_norm_kind kind;
    size_t rows;
    size_t columns;
    float epsilon;
    const float *x;
    const float *gamma; // (columns), or NULL: 1
    const float *beta;  // (columns), or NULL: 0
    float *mean;        // (rows): row_norm sets both for row_norm_backward
    float *inverse;     // (rows)
    float *y;           // may be x
};

struct mst_row_norm_backward {
    struct mst_row_norm forward; // as row_norm was given it, but that y is not read
    const float *dy;
    float *dx;     // may be dy; NULL: not wanted
    float *dgamma; // (columns), or NULL: not wanted
    float *dbeta;  // (columns), or NULL: not wanted
};

/** Which operand is used transposed; c is always (m, n). */
enum mst_gemm_form {
    MST_GEMM_NN, // a (m, k), b (k, n): forward            y  = x w
    MST_GEMM_NT, // a (m, k), b (n, k): input's gradient   dx = dy wᵀ
    MST_GEMM_TN, // a (k, m), b (k, n): weights' gradient  dw = xᵀ dy
};

enum mst_gemm_write { MST_GEMM_SET, MST_GEMM_ADD };

/** c = act(a b + bias), or c = act(c + a b + bias) with MST_GEMM_ADD. */
struct mst_gemm {
    enum mst_gemm_form form;
    enum mst_gemm_write write;
    size_t m, n, k;
    const float *a;
    const float *b;
    float *c;
    const float *bias;                       // (n), or NULL
    const struct mst_activation *activation; // or NULL
    float *before;                           // (m, n): what the activation was given (MST_KEEPS_INPUT); NULL: not kept
};

/** Products of n pairs of matrices, one after the other in memory; each is as gemm would make it. */
struct mst_gemm_batch {
    size_t n;
    struct mst_gemm gemm; // of the first pair; bias is that of all
    size_t a_step;        // elements from one a to the next; 0: all have the same
    size_t b_step;
    size_t c_step; // also of `before`; at least m n
};

/** Rows of a table by their numbers: y[i] = table[ids[i]]. */
struct mst_gather {
    size_t n;
    size_t vocabulary; // rows of the table
    size_t columns;
    const int32_t *ids;
    const float *table; // (vocabulary, columns)
    float *y;           // (n, columns)
};

/** Its gradient: dtable[ids[i]] += dy[i], added from the first i to the last. */
struct mst_scatter {
    enum mst_copy_write write; // MST_COPY_SET: dtable is 0 before
    size_t n;
    size_t vocabulary;
    size_t columns;
    const int32_t *ids; // one that is not a row of the table is passed over
    const float *dy;    // (n, columns)
    float *dtable;      // (vocabulary, columns)
};

/** The gradient of l1 Σ |x| + l2 Σ x², added: grad[i] += l1 sign(x[i]) + 2 l2 x[i]. */
struct mst_penalty {
    size_t n;
    float l1;
    float l2;
    const float *x;
    float *grad;
};

/** One batch for an activation. */
struct mst_activate {
    struct mst_activation activation;
    size_t rows;
    size_t columns; // softmax works on a row; the others on rows * columns elements
    const float *x;
    float *y;     // may be x
    size_t inner; // softmax and log_softmax over another axis than the last: x is (rows, columns, inner); else 0 or 1
};

struct mst_activate_backward {
    struct mst_activation activation;
    size_t rows;
    size_t columns;
    const float *x; // input of forward: needed if MST_KEEPS_INPUT, else may be NULL
    const float *y; // output of forward: needed if MST_KEEPS_OUTPUT, else may be NULL
    const float *dy;
    float *dx;    // may be dy
    size_t inner; // as forward's
};

/** y[i] = x[i] * scale + offset, x converted to float first. */
struct mst_convert {
    size_t n;
    float scale;
    float offset;
    float *y;
};

/** y[i] = x[i] / (1 - rate) where element first + i is kept, else 0. Forward and, with dy for x, backward. */
struct mst_dropout {
    size_t n;
    float rate; // 0 <= rate < 1: element e is dropped if mst_rng_unit(mst_rng_word(key, e)) < rate
    struct mst_rng_key key;
    uint64_t first; // number of element 0, a multiple of 4
    const float *x;
    float *y; // may be x
};

enum mst_loss_input { MST_LOSS_LOGITS, MST_LOSS_PROBABILITIES };

/** Losses against dense targets, of one row: x the output, t the target. */
enum mst_dense_loss {
    MST_DENSE_BINARY_CROSSENTROPY, // mean of -(t ln p + (1 - t) ln (1 - p)); probabilities clipped as below
    MST_DENSE_ABSOLUTE,            // mean of |x - t|
    MST_DENSE_PERCENTAGE,          // mean of 100 |x - t| / max(|t|, 1e-7)
    MST_DENSE_LOGARITHMIC,         // mean of (ln (1 + max(x, 1e-7)) - ln (1 + max(t, 1e-7)))²
    MST_DENSE_HUBER,               // mean of (x - t)² / 2 where |x - t| <= delta, else delta |x - t| - delta² / 2
    MST_DENSE_LOG_COSH,            // mean of ln cosh (x - t)
    MST_DENSE_HINGE,               // mean of max(1 - t x, 0)
    MST_DENSE_SQUARED_HINGE,       // mean of max(1 - t x, 0)²
    MST_DENSE_CATEGORICAL_HINGE,   // max(max (1 - t) x - Σ t x + 1, 0)
    MST_DENSE_KL_DIVERGENCE,       // Σ t ln (t / x), both clipped to [1e-7, 1]
    MST_DENSE_POISSON,             // mean of x - t ln (x + 1e-7)
    MST_DENSE_COSINE_SIMILARITY,   // -Σ t x / (|t| |x|), a length below 1e-7 taken for 1e-7
    MST_N_DENSE_LOSSES,
};

/** One batch for a loss. The gradient is that of grad_scale * (sum of the rows' losses) by `outputs`, each row's loss
 *  first multiplied by its weight if there are weights. */
struct mst_loss {
    enum mst_loss_input input; // for cross-entropies
    enum mst_dense_loss dense; // for dense_loss
    float delta;               // for MST_DENSE_HUBER
    size_t rows;
    size_t columns;
    const float *outputs;  // (rows, columns): what the model returned
    const int32_t *labels; // (rows): classes, for sparse_crossentropy; a label outside 0 … columns-1 makes the loss NaN
    const float *targets;  // (rows, columns): for all but sparse_crossentropy
    float *grad;           // (rows, columns), or NULL: not wanted; may be outputs
    float grad_scale;      // 1 / batch for the mean over the batch
    const float *row_weights; // (rows), or NULL: all 1. Keras's sample_weight
};

/** One batch for an accuracy. */
struct mst_matches {
    size_t rows;
    size_t columns;
    const float *outputs;  // (rows, columns)
    const int32_t *labels; // (rows), for sparse
    const float *targets;  // (rows, columns), for categorical and binary
    float threshold;       // for binary
    size_t k;              // for count_in_top_k
};

struct mst_device_ops {
    /** Releases the device. Use mst_device_free. */
    void (*free)(struct mst_device *device);
    /** Use mst_device_describe. */
    char *(*describe)(const struct mst_device *device, char *out, size_t out_bytes);
    /** Shape: see struct mst_gemm. Cost: 2 m n k operations; about 100 GFLOP/s a core */
    void (*gemm)(struct mst_device *device, const struct mst_gemm *gemm);
    /** Shape: see struct mst_gemm_batch. */
    void (*gemm_batch)(struct mst_device *device, const struct mst_gemm_batch *batch);
    /** y[r][c] = x[r][c] + bias[c]. Shape: x, y (rows, columns), y may be x; bias (columns) */
    void (*bias_add)(struct mst_device *device, size_t rows, size_t columns, const float *bias, const float *x,
                     float *y);
    /** out[c] = Σ_r x[r][c], added from the first row to the last: the gradient of a bias. */
    void (*column_sum)(struct mst_device *device, size_t rows, size_t columns, const float *x, float *out);
    void (*copy)(struct mst_device *device, const struct mst_copy *copy);
    void (*merge)(struct mst_device *device, const struct mst_merge *merge);
    void (*merge_backward)(struct mst_device *device, const struct mst_merge *merge);
    /** Sets norm->mean and norm->variance; the mean of nothing is 0. */
    void (*batch_moments)(struct mst_device *device, const struct mst_batch_norm *norm);
    void (*batch_norm)(struct mst_device *device, const struct mst_batch_norm *norm);
    void (*batch_norm_backward)(struct mst_device *device, const struct mst_batch_norm_backward *norm);
    void (*row_norm)(struct mst_device *device, const struct mst_row_norm *norm);
    void (*row_norm_backward)(struct mst_device *device, const struct mst_row_norm_backward *norm);
    void (*activate)(struct mst_device *device, const struct mst_activate *activate);
    void (*activate_backward)(struct mst_device *device, const struct mst_activate_backward *activate);
    /** Copies the rows. Returns n, or where the first id stands that is below 0 or not below vocabulary: then y is
     *  undefined. (Keras takes an id below 0 from the table's end.) */
    size_t (*gather)(struct mst_device *device, const struct mst_gather *gather);
    void (*scatter_add)(struct mst_device *device, const struct mst_scatter *scatter);
    /** Whole numbers of ids that came as floats, rounded towards 0; INT32_MIN for what no int32 can hold. */
    void (*ids_from_f32)(struct mst_device *device, size_t n, const float *x, int32_t *ids);
    /** Σ |x| and Σ x², in double and in an order that only n decides. */
    double (*sum_absolute)(struct mst_device *device, size_t n, const float *x);
    double (*sum_squares)(struct mst_device *device, size_t n, const float *x);
    void (*add_penalty)(struct mst_device *device, const struct mst_penalty *penalty);
    /** x is f32; y may be x: Keras's Rescaling. */
    void (*convert_f32)(struct mst_device *device, const struct mst_convert *convert, const float *x);
    void (*convert_u8)(struct mst_device *device, const struct mst_convert *convert, const uint8_t *x);
    void (*convert_i32)(struct mst_device *device, const struct mst_convert *convert, const int32_t *x);
    void (*dropout)(struct mst_device *device, const struct mst_dropout *dropout);
    /** Each returns the sum over rows of the row's loss (a float, as Keras computes it), added in double from the first
     *  row to the last, and writes loss->grad, the gradient through all that follows. Probabilities, of a class label:
     *  clipped to [1e-7, 1 - 1e-7], divided by the row's sum, then the logarithm; of dense targets: divided first, then
     *  clipped. From logits and dense targets the gradient is softmax - target, which is the loss's only where a row's
     *  targets add up to 1. mean_squared_error: the mean over a row's columns.
     *  Source: Keras 3, keras/src/backend/tensorflow/nn.py */
    double (*sparse_crossentropy)(struct mst_device *device, const struct mst_loss *loss);
    double (*crossentropy)(struct mst_device *device, const struct mst_loss *loss);
    double (*mean_squared_error)(struct mst_device *device, const struct mst_loss *loss);
    double (*dense_loss)(struct mst_device *device, const struct mst_loss *loss); // loss->dense
    /** Rows whose largest output (the first of equals) is the label, or is where the largest target is. */
    size_t (*count_matches_sparse)(struct mst_device *device, const struct mst_matches *matches);
    size_t (*count_matches_categorical)(struct mst_device *device, const struct mst_matches *matches);
    /** Elements (not rows) with (output > threshold) == target. */
    size_t (*count_matches_binary)(struct mst_device *device, const struct mst_matches *matches);
    /** Rows in which fewer than k outputs are larger than that of the label, or, without labels, of the largest target;
     *  a row with NaN or Inf is not counted. */
    size_t (*count_in_top_k)(struct mst_device *device, const struct mst_matches *matches);
    /** True if no element is NaN or Inf. */
    bool (*all_finite)(struct mst_device *device, size_t n, const float *x);
    /** True if the device has this operation for these parameters; the CPU has all. */
    bool (*supports_activation)(const struct mst_device *device, enum mst_activation_kind kind);
};

/** A device; what kind lies behind it starts with this. */
struct mst_device {
    unsigned abi;     // MST_DEVICE_ABI
    const char *name; // "cpu"
    const struct mst_device_ops *ops;
};

/** New CPU device in *out that uses n_threads, the caller's among them.
 *  Sets OpenBLAS to one thread for the whole process: call it before anybody else uses BLAS.
 *  Errors: INVALID_ARGUMENT n_threads is 0 or above MST_DEVICE_MAX_THREADS; RESOURCE_EXHAUSTED no thread to be had */
MST_MUST_USE mst_status mst_device_cpu_new(size_t n_threads, struct mst_device **out, struct mst_error *err);
/** Releases it; NULL is fine. Thread: the device's caller */
void mst_device_free(struct mst_device *device);
/** Prints "cpu: 2 threads, avx512, OpenBLAS 0.3.21 SkylakeX" to out. Returns out. */
char *mst_device_describe(const struct mst_device *device, char *out, size_t out_bytes);
