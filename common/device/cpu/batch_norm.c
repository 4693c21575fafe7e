// Batch normalization. x is taken apart into parts of a few lines: with the channels last a line holds all channels
// (numbers stand for columns), else a line is the elements of one channel and a part one element of the outer axis. How
// many lines make a part depends on the shape alone, and parts are joined in their order, in double: so the bits are
// the same for any number of threads.
#include "cpu_private.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

// A part goes through the first-level cache twice; few lines, for a column of it is added up in floats.
enum { PART_ELEMENTS = 8192, MIN_PART_LINES = 8, MAX_PART_LINES = 256 };

// Rows of few channels are taken several at a time, so that they fill vectors.
enum { WIDE = 64 };

struct norm_job {
    const struct mst_kernels *kernels;
    const struct mst_batch_norm *norm;
    const float *dy;
    bool by_columns;
    size_t n_parts;
    size_t part_lines;
    float *parts;
    // (wide) each: numbers of the channels, for columns repeated
    size_t repeats;
    float *mean;
    float *inverse;
    float *scale;
    float *offset;
    float *dy_mean;
    float *product_mean;
    float *out;
};

static void norm_job_init(struct norm_job *job, const struct mst_cpu *cpu, const struct mst_batch_norm *norm)
{
    *job = (struct norm_job){.kernels = cpu->kernels, .norm = norm, .by_columns = norm->inner == 1, .repeats = 1};
    size_t lines = PART_ELEMENTS / norm->channels;
    lines = lines < MIN_PART_LINES ? MIN_PART_LINES : lines > MAX_PART_LINES ? MAX_PART_LINES : lines;
    job->part_lines = job->by_columns ? lines : 1;
    job->n_parts = (norm->outer + job->part_lines - 1) / job->part_lines;
    if (job->by_columns && norm->channels < WIDE)
        job->repeats = WIDE / norm->channels;
}

// What all kernels are told of the lines that begin at element `outer` of the outer axis, n of them.
static struct mst_norm_lines lines_of(const struct norm_job *job, size_t outer, size_t n)
{
    const struct mst_batch_norm *norm = job->norm;
    size_t at = outer * norm->channels * norm->inner;
    struct mst_norm_lines lines = {.lines = job->by_columns ? n : norm->channels,
                                   .columns = job->by_columns ? norm->channels : norm->inner,
                                   .x = norm->x + at,
                                   .mean = job->mean,
                                   .inverse = job->inverse,
                                   .scale = job->scale,
                                   .offset = job->offset,
                                   .dy_mean = job->dy_mean,
                                   .product_mean = job->product_mean};
    if (job->dy != NULL)
        lines.dy = job->dy + at;
    if (job->out != NULL)
        lines.out = job->out + at;
    return lines;
}

// Fills the numbers of parts: moments, or with dy products.
static void sum_slice(void *context, size_t slice, size_t n_slices)
{
    const struct norm_job *job = context;
    const struct mst_kernels *kernels = job->kernels;
    mst_norm_fn *moments = job->by_columns ? kernels->column_moments : kernels->line_moments;
    mst_norm_fn *products = job->by_columns ? kernels->column_products : kernels->line_products;
    size_t end = mst_slice_begin(job->n_parts, 1, slice + 1, n_slices);
    for (size_t p = mst_slice_begin(job->n_parts, 1, slice, n_slices); p < end; p++) {
        size_t outer = p * job->part_lines;
        size_t left = job->norm->outer - outer;
        struct mst_norm_lines lines = lines_of(job, outer, left < job->part_lines ? left : job->part_lines);
        lines.sums = job->parts + 2 * p * job->norm->channels;
        lines.squares = lines.sums + job->norm->channels;
        (job->dy != NULL ? products : moments)(&lines);
    }
}

// Writes y, or with dy dx.
static void apply_slice(void *context, size_t slice, size_t n_slices)
{
    const struct norm_job *job = context;
    const struct mst_kernels *kernels = job->kernels;
    size_t begin = mst_slice_begin(job->norm->outer, 1, slice, n_slices);
    size_t end = mst_slice_begin(job->norm->outer, 1, slice + 1, n_slices);
    if (!job->by_columns) {
        for (size_t outer = begin; outer < end; outer++) {
            struct mst_norm_lines lines = lines_of(job, outer, 1);
            (job->dy != NULL ? kernels->line_slopes : kernels->normalize_lines)(&lines);
        }
        return;
    }
    size_t n_wide = (end - begin) / job->repeats;
    struct mst_norm_lines wide = lines_of(job, begin, n_wide);
    wide.columns *= job->repeats;
    struct mst_norm_lines rest = lines_of(job, begin + n_wide * job->repeats, end - begin - n_wide * job->repeats);
    (job->dy != NULL ? kernels->column_slopes : kernels->normalize_columns)(&wide);
    (job->dy != NULL ? kernels->column_slopes : kernels->normalize_columns)(&rest);
}

static size_t n_of(const struct mst_batch_norm *norm)
{
    return norm->outer * norm->channels * norm->inner;
}

static struct mst_norm_parts parts_of(const struct norm_job *job)
{
    size_t last = job->norm->outer - (job->n_parts - 1) * job->part_lines;
    return (struct mst_norm_parts){.n_parts = job->n_parts,
                                   .columns = job->norm->channels,
                                   .n = job->part_lines * job->norm->inner,
                                   .n_last = last * job->norm->inner,
                                   .parts = job->parts};
}

void mst_cpu_batch_moments(struct mst_device *device, const struct mst_batch_norm *norm)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    struct norm_job job;
    if (n_of(norm) == 0) {
        memset(norm->mean, 0, norm->channels * sizeof *norm->mean);
        memset(norm->variance, 0, norm->channels * sizeof *norm->variance);
        return;
    }
    norm_job_init(&job, cpu, norm);
    job.parts = mst_cpu_scratch(cpu, 2 * job.n_parts * norm->channels);
    mst_pool_run(cpu->pool, mst_cpu_slices(cpu, n_of(norm), MST_CPU_CHEAP), sum_slice, &job);
    struct mst_norm_parts parts = parts_of(&job);
    cpu->kernels->join_moments(&parts, norm->mean, norm->variance);
}

static float *repeat(const struct norm_job *job, float *numbers)
{
    size_t channels = job->norm->channels;
    for (size_t i = 1; i < job->repeats; i++)
        memcpy(numbers + i * channels, numbers, channels * sizeof *numbers);
    return numbers;
}

// The numbers of the channels that both directions need, in scratch; returns what of it is left.
static float *fill_numbers(struct norm_job *job, float *scratch)
{
    const struct mst_batch_norm *norm = job->norm;
    size_t wide = job->repeats * norm->channels;
    float *scale = scratch;
    float *offset = scratch + wide;
    float *mean = scratch + 2 * wide;
    float *inverse = scratch + 3 * wide;
    for (size_t c = 0; c < norm->channels; c++) {
        inverse[c] = 1.0f / sqrtf(norm->variance[c] + norm->epsilon);
        scale[c] = norm->gamma != NULL ? inverse[c] * norm->gamma[c] : inverse[c];
        offset[c] = norm->beta != NULL ? norm->beta[c] : 0.0f;
        mean[c] = norm->mean[c];
    }
    job->scale = repeat(job, scale);
    job->offset = repeat(job, offset);
    job->mean = repeat(job, mean);
    job->inverse = repeat(job, inverse);
    return scratch + 4 * wide;
}

void mst_cpu_batch_norm(struct mst_device *device, const struct mst_batch_norm *norm)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    struct norm_job job;
    if (n_of(norm) == 0)
        return;
    norm_job_init(&job, cpu, norm);
    fill_numbers(&job, mst_cpu_scratch(cpu, 4 * job.repeats * norm->channels));
    job.out = norm->y;
    mst_pool_run(cpu->pool, mst_cpu_slices(cpu, n_of(norm), MST_CPU_CHEAP), apply_slice, &job);
}

static void store(float *to, const float *numbers, size_t n)
{
    if (to != NULL)
        memcpy(to, numbers, n * sizeof *to);
}

void mst_cpu_batch_norm_backward(struct mst_device *device, const struct mst_batch_norm_backward *backward)
{
    struct mst_cpu *cpu = (struct mst_cpu *)device;
    const struct mst_batch_norm *norm = &backward->forward;
    size_t channels = norm->channels;
    struct norm_job job;
    if (n_of(norm) == 0) {
        if (backward->dgamma != NULL)
            memset(backward->dgamma, 0, channels * sizeof *backward->dgamma);
        if (backward->dbeta != NULL)
            memset(backward->dbeta, 0, channels * sizeof *backward->dbeta);
        return;
    }
    norm_job_init(&job, cpu, norm);
    size_t wide = job.repeats * channels;
    float *rest = fill_numbers(&job, mst_cpu_scratch(cpu, 6 * wide + 2 * job.n_parts * channels));
    float *dy_mean = rest;
    float *product_mean = rest + wide;
    job.parts = rest + 2 * wide;
    job.dy = backward->dy;
    size_t n_slices = mst_cpu_slices(cpu, n_of(norm), MST_CPU_CHEAP);
    mst_pool_run(cpu->pool, n_slices, sum_slice, &job);
    struct mst_norm_parts parts = parts_of(&job);
    cpu->kernels->join_sums(&parts, dy_mean, product_mean);
    store(backward->dbeta, dy_mean, channels);
    store(backward->dgamma, product_mean, channels);
    float n = (float)(norm->outer * norm->inner);
    for (size_t c = 0; c < channels; c++) {
        dy_mean[c] = backward->moments == MST_NORM_OF_BATCH ? dy_mean[c] / n : 0.0f;
        product_mean[c] = backward->moments == MST_NORM_OF_BATCH ? product_mean[c] / n : 0.0f;
    }
    job.dy_mean = repeat(&job, dy_mean);
    job.product_mean = repeat(&job, product_mean);
    job.out = backward->dx;
    if (backward->dx != NULL)
        mst_pool_run(cpu->pool, n_slices, apply_slice, &job);
}
