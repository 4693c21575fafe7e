// The CPU as a device: cuts what works on elements or rows into slices, one a thread, and hands them to the kernels
// of the processor's instruction set. An operation too small to be worth a hand-over stays on the caller's thread.
#include "base/alloc.h"
#include "base/error.h"
#include "cpu_private.h"

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ELEMENT_GRANULE = MST_CPU_GRANULE, MIN_SLICE_CHEAP = MST_CPU_CHEAP, MIN_SLICE_COSTLY = MST_CPU_COSTLY };

size_t mst_cpu_slices(const struct mst_cpu *cpu, size_t n, size_t min_elements)
{
    size_t n_slices = n / min_elements;
    if (n_slices > cpu->n_threads)
        return cpu->n_threads;
    return n_slices > 0 ? n_slices : 1;
}

float *mst_cpu_scratch(struct mst_cpu *cpu, size_t n)
{
    if (cpu->n_scratch < n) {
        cpu->scratch = mst_realloc_array(cpu->scratch, n, sizeof *cpu->scratch);
        cpu->n_scratch = n;
    }
    return cpu->scratch;
}

// A piece of an operation on n elements, or on rows.
struct piece {
    size_t begin;
    size_t n;
};

static struct piece piece_of(size_t n, size_t granule, size_t slice, size_t n_slices)
{
    size_t begin = mst_slice_begin(n, granule, slice, n_slices);
    return (struct piece){begin, mst_slice_begin(n, granule, slice + 1, n_slices) - begin};
}

static size_t min_slice_of(enum mst_activation_kind kind)
{
    switch (kind) {
    case MST_ACTIVATION_LINEAR:
    case MST_ACTIVATION_RELU:
    case MST_ACTIVATION_LEAKY_RELU:
    case MST_ACTIVATION_RELU6:
    case MST_ACTIVATION_HARD_TANH:
    case MST_ACTIVATION_HARD_SHRINK:
    case MST_ACTIVATION_SOFT_SHRINK:
        return MIN_SLICE_CHEAP;
    default:
        return MIN_SLICE_COSTLY;
    }
}

static bool works_on_rows(enum mst_activation_kind kind)
{
    return kind == MST_ACTIVATION_SOFTMAX || kind == MST_ACTIVATION_LOG_SOFTMAX;
}

static size_t inner_of(size_t inner)
{
    return inner > 1 ? inner : 1;
}

struct activate_job {
    const struct mst_kernels *kernels;
    const struct mst_activate *activate;
};

static void activate_slice(void *context, size_t slice, size_t n_slices)
{
    const struct activate_job *job = context;
    struct mst_activate part = *job->activate;
    enum mst_activation_kind kind = part.activation.kind;
    size_t inner = inner_of(part.inner);
    if (works_on_rows(kind)) {
        struct piece rows = piece_of(part.rows, 1, slice, n_slices);
        part.rows = rows.n;
        part.x += rows.begin * part.columns * inner;
        part.y += rows.begin * part.columns * inner;
    } else {
        struct piece elements = piece_of(part.rows * part.columns, ELEMENT_GRANULE, slice, n_slices);
        part.rows = 1;
        part.columns = elements.n;
        part.x += elements.begin;
        part.y += elements.begin;
    }
    if (inner > 1)
        job->kernels->softmax_across(&part);
    else
        job->kernels->forward[kind](&part);
}

static void activate(struct mst_device *device, const struct mst_activate *activate)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    struct activate_job job = {cpu->kernels, activate};
    size_t n = activate->rows * activate->columns * inner_of(activate->inner);
    MST_ASSERT(activate->inner <= 1 || works_on_rows(activate->activation.kind));
    if (n > 0)
        mst_pool_run(cpu->pool, mst_cpu_slices(cpu, n, min_slice_of(activate->activation.kind)), activate_slice, &job);
}

struct backward_job {
    const struct mst_kernels *kernels;
    const struct mst_activate_backward *backward;
};

static const float *moved(const float *at, size_t n)
{
    return at != NULL ? at + n : NULL;
}

static void backward_slice(void *context, size_t slice, size_t n_slices)
{
    const struct backward_job *job = context;
    struct mst_activate_backward part = *job->backward;
    enum mst_activation_kind kind = part.activation.kind;
    size_t inner = inner_of(part.inner);
    size_t begin;
    if (works_on_rows(kind)) {
        struct piece rows = piece_of(part.rows, 1, slice, n_slices);
        part.rows = rows.n;
        begin = rows.begin * part.columns * inner;
    } else {
        struct piece elements = piece_of(part.rows * part.columns, ELEMENT_GRANULE, slice, n_slices);
        part.rows = 1;
        part.columns = elements.n;
        begin = elements.begin;
    }
    part.x = moved(part.x, begin);
    part.y = moved(part.y, begin);
    part.dy += begin;
    part.dx += begin;
    if (inner > 1)
        job->kernels->softmax_across_backward(&part);
    else
        job->kernels->backward[kind](&part);
}

static void activate_backward(struct mst_device *device, const struct mst_activate_backward *activate)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    struct backward_job job = {cpu->kernels, activate};
    size_t n = activate->rows * activate->columns * inner_of(activate->inner);
    MST_ASSERT(activate->inner <= 1 || works_on_rows(activate->activation.kind));
    if (n > 0)
        mst_pool_run(cpu->pool, mst_cpu_slices(cpu, n, min_slice_of(activate->activation.kind)), backward_slice, &job);
}

struct bias_job {
    const struct mst_kernels *kernels;
    size_t rows;
    size_t columns;
    const float *bias;
    const float *x;
    float *y;
};

static void bias_add_slice(void *context, size_t slice, size_t n_slices)
{
    const struct bias_job *job = context;
    struct piece rows = piece_of(job->rows, 1, slice, n_slices);
    size_t begin = rows.begin * job->columns;
    job->kernels->bias_add(rows.n, job->columns, job->bias, job->x + begin, job->y + begin);
}

static void bias_add(struct mst_device *device, size_t rows, size_t columns, const float *bias, const float *x,
                     float *y)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    struct bias_job job = {cpu->kernels, rows, columns, bias, x, y};
    if (rows > 0 && columns > 0)
        mst_pool_run(cpu->pool, mst_cpu_slices(cpu, rows * columns, MIN_SLICE_CHEAP), bias_add_slice, &job);
}

struct column_sum_job {
    const struct mst_kernels *kernels;
    size_t rows;
    size_t columns;
    const float *x;
    float *out;
};

// Each column is added up by one thread, from the first row to the last.
static void column_sum_slice(void *context, size_t slice, size_t n_slices)
{
    const struct column_sum_job *job = context;
    struct piece columns = piece_of(job->columns, ELEMENT_GRANULE, slice, n_slices);
    job->kernels->column_sum(job->rows, job->columns, columns.begin, columns.begin + columns.n, job->x, job->out);
}

static void column_sum(struct mst_device *device, size_t rows, size_t columns, const float *x, float *out)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    struct column_sum_job job = {cpu->kernels, rows, columns, x, out};
    size_t n_slices = mst_cpu_slices(cpu, rows * columns, MIN_SLICE_CHEAP);
    size_t n_granules = (columns + ELEMENT_GRANULE - 1) / ELEMENT_GRANULE;
    if (columns > 0)
        mst_pool_run(cpu->pool, n_slices < n_granules ? n_slices : n_granules, column_sum_slice, &job);
}

struct convert_job {
    const struct mst_kernels *kernels;
    const struct mst_convert *convert;
    const float *f32; // one of the three
    const uint8_t *u8;
    const int32_t *i32;
};

static void convert_slice(void *context, size_t slice, size_t n_slices)
{
    const struct convert_job *job = context;
    struct piece elements = piece_of(job->convert->n, ELEMENT_GRANULE, slice, n_slices);
    struct mst_convert part = *job->convert;
    part.n = elements.n;
    part.y += elements.begin;
    if (job->f32 != NULL)
        job->kernels->convert_f32(&part, job->f32 + elements.begin);
    else if (job->u8 != NULL)
        job->kernels->convert_u8(&part, job->u8 + elements.begin);
    else
        job->kernels->convert_i32(&part, job->i32 + elements.begin);
}

static void run_convert(struct mst_device *device, struct convert_job *job)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    job->kernels = cpu->kernels;
    if (job->convert->n > 0)
        mst_pool_run(cpu->pool, mst_cpu_slices(cpu, job->convert->n, MIN_SLICE_CHEAP), convert_slice, job);
}

static void convert_f32(struct mst_device *device, const struct mst_convert *convert, const float *x)
{
    run_convert(device, &(struct convert_job){.convert = convert, .f32 = x});
}

static void convert_u8(struct mst_device *device, const struct mst_convert *convert, const uint8_t *x)
{
    run_convert(device, &(struct convert_job){.convert = convert, .u8 = x});
}

static void convert_i32(struct mst_device *device, const struct mst_convert *convert, const int32_t *x)
{
    run_convert(device, &(struct convert_job){.convert = convert, .i32 = x});
}

struct dropout_job {
    const struct mst_kernels *kernels;
    const struct mst_dropout *dropout;
};

static void dropout_slice(void *context, size_t slice, size_t n_slices)
{
    const struct dropout_job *job = context;
    struct piece elements = piece_of(job->dropout->n, ELEMENT_GRANULE, slice, n_slices);
    struct mst_dropout part = *job->dropout;
    part.n = elements.n;
    part.first += elements.begin;
    part.x += elements.begin;
    part.y += elements.begin;
    job->kernels->dropout(&part);
}

static void dropout(struct mst_device *device, const struct mst_dropout *dropout)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    struct dropout_job job = {cpu->kernels, dropout};
    MST_ASSERT(dropout->first % 4 == 0);
    if (dropout->n > 0)
        mst_pool_run(cpu->pool, mst_cpu_slices(cpu, dropout->n, MIN_SLICE_COSTLY), dropout_slice, &job);
}

static bool all_finite(struct mst_device *device, size_t n, const float *x)
{
    return ((struct mst_cpu *)device)->kernels->all_finite(n, x);
}

static bool supports_activation(const struct mst_device *device, enum mst_activation_kind kind)
{
    (void)device;
    return (unsigned)kind < MST_N_ACTIVATIONS;
}

static char *describe(const struct mst_device *device, char *out, size_t out_bytes)
{
    const struct mst_cpu *cpu = (const struct mst_cpu *)device;
    const char *config = openblas_get_config(); // "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH …"
    size_t name = strcspn(config, " ");
    size_t version = config[name] == ' ' ? strcspn(config + name + 1, " ") + 1 : 0;
    snprintf(out, out_bytes, "cpu: %zu threads, %s, %.*s %s", cpu->n_threads, mst_isa_name(cpu->isa),
             (int)(name + version), config, openblas_get_corename());
    return out;
}

static void free_cpu(struct mst_device *device)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    mst_pool_free(cpu->pool);
    free(cpu->losses);
    free(cpu->spare);
    free(cpu->scratch);
    free(cpu);
}

static const struct mst_device_ops ops = {
    .free = free_cpu,
    .describe = describe,
    .gemm = mst_cpu_gemm,
    .gemm_batch = mst_cpu_gemm_batch,
    .gather = mst_cpu_gather,
    .scatter_add = mst_cpu_scatter_add,
    .ids_from_f32 = mst_cpu_ids_from_f32,
    .sum_absolute = mst_cpu_sum_absolute,
    .sum_squares = mst_cpu_sum_squares,
    .add_penalty = mst_cpu_add_penalty,
    .bias_add = bias_add,
    .column_sum = column_sum,
    .copy = mst_cpu_copy,
    .merge = mst_cpu_merge,
    .merge_backward = mst_cpu_merge_backward,
    .batch_moments = mst_cpu_batch_moments,
    .batch_norm = mst_cpu_batch_norm,
    .batch_norm_backward = mst_cpu_batch_norm_backward,
    .row_norm = mst_cpu_row_norm,
    .row_norm_backward = mst_cpu_row_norm_backward,
    .activate = activate,
    .activate_backward = activate_backward,
    .convert_f32 = convert_f32,
    .convert_u8 = convert_u8,
    .convert_i32 = convert_i32,
    .dropout = dropout,
    .sparse_crossentropy = mst_cpu_sparse_crossentropy,
    .crossentropy = mst_cpu_crossentropy,
    .mean_squared_error = mst_cpu_mean_squared_error,
    .dense_loss = mst_cpu_dense_loss,
    .count_matches_sparse = mst_cpu_count_matches_sparse,
    .count_matches_categorical = mst_cpu_count_matches_categorical,
    .count_matches_binary = mst_cpu_count_matches_binary,
    .count_in_top_k = mst_cpu_count_in_top_k,
    .all_finite = all_finite,
    .supports_activation = supports_activation,
};

mst_status mst_device_cpu_new(size_t n_threads, struct mst_device **out, struct mst_error *err)
{
    *out = NULL;
    if (n_threads == 0 || n_threads > MST_DEVICE_MAX_THREADS)
        return mst_fail(err, MST_INVALID_ARGUMENT, "%zu threads; it should be 1 to %d", n_threads,
                        MST_DEVICE_MAX_THREADS);
    openblas_set_num_threads(1);
    struct mst_cpu *cpu = mst_alloc(sizeof *cpu);
    cpu->device = (struct mst_device){MST_DEVICE_ABI, "cpu", &ops};
    cpu->isa = mst_isa_detect();
    cpu->kernels = mst_kernels_find(cpu->isa);
    cpu->n_threads = n_threads;
    cpu->row_granule = mst_cpu_row_granule(openblas_get_corename());
    mst_status status = mst_pool_new(n_threads, &cpu->pool);
    if (status != MST_OK) {
        free(cpu);
        return mst_fail(err, status, "the system has no %zu threads to give", n_threads);
    }
    *out = &cpu->device;
    return MST_OK;
}
